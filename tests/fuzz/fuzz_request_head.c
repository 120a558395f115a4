/* SPDX-License-Identifier: GPL-3.0-only */
/* fuzz_request_head.c: any bytes, in pieces of any size, are the head of a request whose parts are what they should be, or are refused with
 * a status and a message; and always the same, however they are cut. The first byte chooses how. */
#include "node/http_message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct message_head whole, cut;

/* Returns how many bytes were taken, or -EBADMSG. */
static ssize_t feed(struct message_head *h, const uint8_t *data, size_t len, size_t step)
{
	struct error err = { 0 };
	ssize_t taken = 0;

	message_head_init(h, MESSAGE_REQUEST);
	for (size_t at = 0; at < len && !h->complete; at += step) {
		size_t n = len - at < step ? len - at : step;
		ssize_t rc = message_head_feed(h, data + at, n, &err);

		if (rc < 0) {
			if (rc != -EBADMSG || h->refusal < 400 || h->refusal > 599 || !err.text[0])
				abort();
			return rc;
		}
		taken += rc;
		if (!h->complete && (size_t)rc != n)
			abort();
	}
	return taken;
}

static void check_text(const char *text, bool may_be_blank)
{
	for (; *text; text++)
		if ((*text < ' ' && *text != '\t') || *text > '~' || (!may_be_blank && *text == ' '))
			abort();
}

static void check(const struct message_head *h)
{
	if (!h->method[0] || strlen(h->method) > 16 || h->target[0] != '/' || h->path[0] != '/' ||
	    !message_header(h, "Host") || h->headers_count > MESSAGE_HEADERS_MAX ||
	    h->parameters_count > MESSAGE_PARAMETERS_MAX || h->length > MESSAGE_LENGTH_MAX ||
	    (h->length && !h->has_length) || message_header(h, "Transfer-Encoding") ||
	    (h->has_range && h->range_first > h->range_last))
		abort();
	check_text(h->target, false);
	for (const char *c = h->path; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			abort();
	for (size_t i = 0; i < h->headers_count; i++)
		if (!message_header_valid(h->headers[i].name, h->headers[i].value))
			abort();
	for (size_t i = 0; i < h->parameters_count; i++)
		if (message_parameter(h, h->parameters[i].name) != h->parameters[i].value)
			abort();
}

/* What was read can be written, and is the same again. */
static void check_again(const struct message_head *h)
{
	static struct message_writer w;
	static struct message_head again;

	message_write_request(&w, h->method, h->target, message_header(h, "Host"));
	for (size_t i = 0; i < h->headers_count; i++)
		if (h->headers[i].value != message_header(h, "Host"))
			message_write_header(&w, h->headers[i].name, h->headers[i].value);
	if (message_write_end(&w) < 0)
		return; /* blanks that were dropped may have made room for less: too long is possible, wrong is not */
	if (feed(&again, (const uint8_t *)w.text, w.used, w.used) != (ssize_t)w.used || !again.complete ||
	    again.headers_count != h->headers_count || again.length != h->length || strcmp(again.path, h->path) != 0 ||
	    again.close != h->close)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	ssize_t a, b;

	if (len < 1)
		return 0;
	a = feed(&whole, data + 1, len - 1, len);
	b = feed(&cut, data + 1, len - 1, 1 + data[0] % 61);
	if (a != b || whole.complete != cut.complete || whole.refusal != cut.refusal)
		abort();
	if (a >= 0 && whole.complete) {
		check(&whole);
		check_again(&whole);
	}
	return 0;
}
