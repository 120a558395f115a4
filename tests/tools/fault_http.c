/* SPDX-License-Identifier: GPL-3.0-only */
/* fault_http.c: where HTTP/1.x messages begin and end. Pure: bytes in, spans out; it knows no sockets and no faults. */
#include "tools/fault_http.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

/* Some text within a head. */
struct text {
	const char *at;
	size_t len;
};

void http_framing_init(struct http_framing *f, enum http_role role)
{
	f->role = role;
	f->state = HTTP_STATE_START;
	f->answers_head = false;
	f->left = 0;
	f->head_length = 0;
	memset(&f->message, 0, sizeof f->message);
}

void http_framing_give_up(struct http_framing *f)
{
	f->state = HTTP_STATE_OPAQUE;
	f->left = 0;
}

/* ---- the head ---------------------------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct text trim(struct text t)
{
	while (t.len > 0 && is_blank(t.at[0])) {
		t.at++;
		t.len--;
	}
	while (t.len > 0 && (is_blank(t.at[t.len - 1]) || t.at[t.len - 1] == '\r'))
		t.len--;
	return t;
}

static bool text_is(struct text t, const char *word)
{
	return t.len == strlen(word) && strncasecmp(t.at, word, t.len) == 0;
}

/* Takes what is before the first `mark` (or everything) off the front of `rest`. */
static struct text text_until(struct text *rest, char mark)
{
	const char *end = memchr(rest->at, mark, rest->len);
	struct text t = { rest->at, end ? (size_t)(end - rest->at) : rest->len };
	size_t skip = end ? t.len + 1 : t.len;

	rest->at += skip;
	rest->len -= skip;
	return t;
}

/* "HTTP/1.0" or "HTTP/1.1". */
static int read_version(struct text t, struct http_message *m)
{
	if (t.len != 8 || memcmp(t.at, "HTTP/1.", 7) != 0 || (t.at[7] != '0' && t.at[7] != '1'))
		return -EBADMSG;
	m->minor_0 = t.at[7] == '0';
	return 0;
}

static int read_request_line(struct text line, struct http_message *m)
{
	struct text method = text_until(&line, ' '), target = text_until(&line, ' ');

	m->head_method = method.len == 4 && memcmp(method.at, "HEAD", 4) == 0;
	m->connect_method = method.len == 7 && memcmp(method.at, "CONNECT", 7) == 0;
	return method.len == 0 || target.len == 0 ? -EBADMSG : read_version(line, m);
}

static int read_status_line(struct text line, struct http_message *m)
{
	int rc = read_version(text_until(&line, ' '), m);
	struct text code = text_until(&line, ' ');

	if (rc < 0 || code.len != 3)
		return -EBADMSG;
	for (size_t i = 0; i < code.len; i++) {
		if (code.at[i] < '0' || code.at[i] > '9')
			return -EBADMSG;
		m->status = m->status * 10 + (unsigned)(code.at[i] - '0');
	}
	m->interim = m->status >= 100 && m->status < 200 && m->status != 101;
	return m->status < 100 ? -EBADMSG : 0;
}

static int read_length(struct text t, struct http_message *m)
{
	uint64_t v = 0;

	if (t.len == 0)
		return -EBADMSG;
	for (size_t i = 0; i < t.len; i++)
		if (t.at[i] < '0' || t.at[i] > '9' || __builtin_mul_overflow(v, 10u, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(t.at[i] - '0'), &v) || v > INT64_MAX)
			return -EBADMSG;
	if (m->has_length && m->length != v)
		return -EBADMSG;
	m->has_length = true;
	m->length = v;
	return 0;
}

static void read_connection(struct text value, struct http_message *m)
{
	while (value.len > 0) {
		struct text word = trim(text_until(&value, ','));

		m->closes |= text_is(word, "close");
		m->keep_alive |= text_is(word, "keep-alive");
	}
}

static int read_field(struct text line, struct http_message *m)
{
	struct text name = text_until(&line, ':'), value = trim(line);

	if (text_is(name, "Content-Length"))
		return read_length(value, m);
	if (text_is(name, "Transfer-Encoding")) {
		struct text coding = value;

		while (value.len > 0)
			coding = trim(text_until(&value, ','));
		if (!text_is(coding, "chunked"))
			return -EBADMSG;
		m->chunked = true;
	} else if (text_is(name, "Expect")) {
		m->expects_continue |= text_is(value, "100-continue");
	} else if (text_is(name, "Connection")) {
		read_connection(value, m);
	}
	return 0;
}

static int read_head(struct http_framing *f)
{
	struct text rest = { f->head, f->head_length };
	struct http_message *m = &f->message;
	bool begun = false;
	int rc = 0;

	while (rest.len > 0 && rc == 0) {
		struct text line = text_until(&rest, '\n');

		if (line.len > 0 && line.at[line.len - 1] == '\r')
			line.len--;
		if (line.len == 0)
			continue;
		if (begun)
			rc = read_field(line, m);
		else
			rc = f->role == HTTP_REQUEST ? read_request_line(line, m) : read_status_line(line, m);
		begun = true;
	}
	if (m->minor_0 && !m->keep_alive)
		m->closes = true;
	return rc;
}

/* What follows the head that was just read. Returns whether the message ends with it. */
static bool begin_body(struct http_framing *f)
{
	struct http_message *m = &f->message;
	bool bodiless;

	m->understood = read_head(f) == 0;
	bodiless = f->role == HTTP_ANSWER && (f->answers_head || m->interim || m->status == 204 || m->status == 304);
	f->digits = 0;
	if (!m->understood || m->connect_method || m->status == 101)
		http_framing_give_up(f);
	else if (bodiless)
		f->state = HTTP_STATE_START;
	else if (m->chunked)
		f->state = HTTP_STATE_CHUNK_SIZE;
	else if (m->has_length || f->role == HTTP_REQUEST)
		f->state = m->length ? HTTP_STATE_BODY : HTTP_STATE_START;
	else
		f->state = HTTP_STATE_BODY_TO_END;
	if (f->state == HTTP_STATE_BODY)
		f->left = m->length;
	return f->state == HTTP_STATE_START;
}

static struct http_span next_of_head(struct http_framing *f, const uint8_t *bytes, size_t len)
{
	size_t used = 0;
	bool ends = false;

	while (used < len && !ends && f->head_length < HTTP_HEAD_MAX) {
		char c = (char)bytes[used++];

		f->head[f->head_length++] = c;
		if (c == '\n') {
			ends = f->text_begun && !f->line_begun;
			f->line_begun = false;
		} else if (c != '\r') {
			f->line_begun = f->text_begun = true;
		}
	}
	if (ends)
		return (struct http_span){ HTTP_PART_HEAD_END, used, begin_body(f) };
	if (f->head_length < HTTP_HEAD_MAX)
		return (struct http_span){ HTTP_PART_HEAD, used, false };
	http_framing_give_up(f);
	return (struct http_span){ HTTP_PART_HEAD_END, used, false };
}

/* ---- the body ---------------------------------------------------------------------------------------------------- */

static struct http_span next_of_body(struct http_framing *f, size_t len)
{
	size_t n = len < f->left ? len : (size_t)f->left;

	f->left -= n;
	if (f->left > 0)
		return (struct http_span){ HTTP_PART_BODY, n, false };
	bool last = f->state == HTTP_STATE_BODY;
	f->state = last ? HTTP_STATE_START : HTTP_STATE_CHUNK_LINE_END;
	return (struct http_span){ HTTP_PART_BODY, n, last };
}

/* The value of a hex digit, or -1. */
static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte of a chunk's size line. Returns -EBADMSG when it cannot be one. */
static int read_chunk_size(struct http_framing *f, uint8_t c)
{
	int digit = hex_value(c);

	if (f->state == HTTP_STATE_CHUNK_SIZE && digit >= 0) {
		if (++f->digits > 15)
			return -EBADMSG;
		f->left = f->left << 4 | (uint64_t)digit;
		return 0;
	}
	if (f->digits == 0)
		return -EBADMSG;
	f->state = HTTP_STATE_CHUNK_EXTENSION;
	if (c != '\n')
		return 0;
	f->state = f->left ? HTTP_STATE_CHUNK_BODY : HTTP_STATE_TRAILER;
	f->digits = 0;
	f->line_begun = false;
	return 0;
}

/* One byte between pieces of a chunked body. Returns 1 when the message ends with it, 0, or -EBADMSG. */
static int read_frame(struct http_framing *f, uint8_t c)
{
	switch (f->state) {
	case HTTP_STATE_CHUNK_SIZE:
	case HTTP_STATE_CHUNK_EXTENSION:
		return read_chunk_size(f, c);
	case HTTP_STATE_CHUNK_LINE_END:
		if (c == '\n')
			f->state = HTTP_STATE_CHUNK_SIZE;
		return c == '\n' || c == '\r' ? 0 : -EBADMSG;
	default: /* trailer */
		if (c == '\n' && !f->line_begun) {
			f->state = HTTP_STATE_START;
			return 1;
		}
		f->line_begun = c != '\n' && (f->line_begun || c != '\r');
		return 0;
	}
}

static struct http_span next_of_frame(struct http_framing *f, const uint8_t *bytes, size_t len)
{
	size_t used = 0;

	while (used < len && f->state != HTTP_STATE_CHUNK_BODY) {
		int rc = read_frame(f, bytes[used]);

		if (rc < 0) {
			http_framing_give_up(f);
			return (struct http_span){ HTTP_PART_OPAQUE, len, false };
		}
		used++;
		if (rc > 0)
			return (struct http_span){ HTTP_PART_FRAME, used, true };
	}
	return (struct http_span){ HTTP_PART_FRAME, used, false };
}

struct http_span http_framing_next(struct http_framing *f, const uint8_t *bytes, size_t len)
{
	switch (f->state) {
	case HTTP_STATE_START:
		f->state = HTTP_STATE_HEAD;
		f->head_length = 0;
		f->left = 0;
		f->line_begun = f->text_begun = false;
		memset(&f->message, 0, sizeof f->message);
		return next_of_head(f, bytes, len);
	case HTTP_STATE_HEAD:
		return next_of_head(f, bytes, len);
	case HTTP_STATE_BODY:
	case HTTP_STATE_CHUNK_BODY:
		return next_of_body(f, len);
	case HTTP_STATE_BODY_TO_END:
		return (struct http_span){ HTTP_PART_BODY, len, false };
	case HTTP_STATE_OPAQUE:
		return (struct http_span){ HTTP_PART_OPAQUE, len, false };
	default:
		return next_of_frame(f, bytes, len);
	}
}
