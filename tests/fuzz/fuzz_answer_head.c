/* SPDX-License-Identifier: GPL-3.0-only */
/* fuzz_answer_head.c: any bytes, in pieces of any size, are the head of an answer, or are refused with a message; and always the same,
 * however they are cut. The first byte chooses how. */
#include "node/http_message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct message_head whole, cut;

static ssize_t feed(struct message_head *h, const uint8_t *data, size_t len, size_t step)
{
	struct error err = { 0 };
	ssize_t taken = 0;

	message_head_init(h, MESSAGE_ANSWER);
	for (size_t at = 0; at < len && !h->complete; at += step) {
		size_t n = len - at < step ? len - at : step;
		ssize_t rc = message_head_feed(h, data + at, n, &err);

		if (rc < 0) {
			if (rc != -EBADMSG || !err.text[0])
				abort();
			return rc;
		}
		taken += rc;
	}
	return taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	ssize_t a, b;

	if (len < 1)
		return 0;
	a = feed(&whole, data + 1, len - 1, len);
	b = feed(&cut, data + 1, len - 1, 1 + data[0] % 61);
	if (a != b || whole.complete != cut.complete || whole.status != cut.status || whole.length != cut.length)
		abort();
	if (a < 0 || !whole.complete)
		return 0;
	if (whole.status < 100 || whole.status > 599 || whole.headers_count > MESSAGE_HEADERS_MAX ||
	    whole.length > MESSAGE_LENGTH_MAX)
		abort();
	for (size_t i = 0; i < whole.headers_count; i++)
		if (!message_header_valid(whole.headers[i].name, whole.headers[i].value))
			abort();
	return 0;
}
