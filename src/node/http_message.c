/* SPDX-License-Identifier: GPL-3.0-only */
/* http_message.c: the heads of HTTP/1.1 requests and answers, taken apart line by line, in place. */
#include "node/http_message.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define METHOD_MAX 16

void message_head_init(struct message_head *h, enum message_kind kind)
{
	/* Not the two large buffers: bytes there count only as far as they are written. */
	memset(h, 0, offsetof(struct message_head, text));
	h->kind = kind;
}

/* ---- characters ---- */

static bool is_token_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(const char *text)
{
	if (!*text)
		return false;
	for (; *text; text++)
		if (!is_token_char(*text))
			return false;
	return true;
}

/* What may stand in a header's value; the target has no blanks. */
static bool is_plain(char c)
{
	return (c >= ' ' && c <= '~') || c == '\t';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int message_number(const char *text, uint64_t max, uint64_t *number)
{
	uint64_t n = 0;

	if (!*text || (*text == '0' && text[1]))
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || __builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*text - '0'), &n))
			return -EINVAL;
	}
	if (n > max)
		return -EINVAL;
	*number = n;
	return 0;
}

/* ---- the first line ---- */

static int refuse(struct message_head *h, int status, struct error *err, const char *why)
{
	h->refusal = status;
	return error_set(err, -EBADMSG, "%s", why);
}

/* Decodes up to one of the characters of `ends` into *out, ended by a NUL, and moves both on. A slash that is written as %2F would
 * be taken for one of the path's own: refused with what cannot be seen. */
static bool decode(const char **from, const char *ends, bool is_path, char **out)
{
	for (; **from && !strchr(ends, **from); (*from)++) {
		int high, low;

		if (**from != '%') {
			*(*out)++ = **from;
			continue;
		}
		high = hex_digit((*from)[1]);
		low = high < 0 ? -1 : hex_digit((*from)[2]);
		if (low < 0)
			return false;
		char c = (char)(high << 4 | low);
		if ((unsigned char)c < ' ' || c == 0x7f || (is_path && c == '/'))
			return false;
		*(*out)++ = c;
		*from += 2;
	}
	*(*out)++ = '\0';
	return true;
}

static int parse_target(struct message_head *h, struct error *err)
{
	const char *at = h->target;
	char *out = h->decoded;

	if (*at != '/')
		return refuse(h, 400, err, "the target is not an absolute path");
	if (strchr(at, '#'))
		return refuse(h, 400, err, "the target has a fragment");
	h->path = out;
	if (!decode(&at, "?", true, &out))
		return refuse(h, 400, err, "the path is badly percent-encoded");
	while (*at) {
		struct node_header *p = &h->parameters[h->parameters_count];

		at++; /* '?' or '&' */
		if (h->parameters_count == MESSAGE_PARAMETERS_MAX)
			return refuse(h, 400, err, "the query has too many parameters");
		p->name = out;
		if (!decode(&at, "=&", false, &out) || *at != '=' || !*p->name)
			return refuse(h, 400, err, "the query is not of the form name=value&name=value");
		at++;
		p->value = out;
		if (!decode(&at, "&", false, &out))
			return refuse(h, 400, err, "the query is badly percent-encoded");
		if (message_parameter(h, p->name))
			return refuse(h, 400, err, "the query has a parameter twice");
		h->parameters_count++;
	}
	return 0;
}

static int parse_request_line(struct message_head *h, char *line, struct error *err)
{
	char *target = strchr(line, ' '), *version = target ? strchr(target + 1, ' ') : NULL;
	size_t method;

	if (!version)
		return refuse(h, 400, err, "the first line is not a request's");
	*target++ = '\0';
	*version++ = '\0';
	method = strlen(line);
	if (method < 1 || method > METHOD_MAX || strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != method)
		return refuse(h, 400, err, "the method is malformed");
	if (strncmp(version, "HTTP/", 5) != 0)
		return refuse(h, 400, err, "the first line is not a request's");
	if (strcmp(version, "HTTP/1.1") != 0)
		return refuse(h, 505, err, "the version of HTTP is not 1.1");
	if (strchr(target, '\t'))
		return refuse(h, 400, err, "the target has blanks in it");
	h->method = line;
	h->target = target;
	return parse_target(h, err);
}

static int parse_status_line(struct message_head *h, const char *line, struct error *err)
{
	if (strncmp(line, "HTTP/1.1 ", 9) != 0)
		return refuse(h, 400, err, "the answer is not one of HTTP/1.1");
	line += 9;
	for (int i = 0; i < 3; i++) {
		if (line[i] < '0' || line[i] > '9')
			return refuse(h, 400, err, "the answer's status is malformed");
		h->status = 10 * h->status + (line[i] - '0');
	}
	if (h->status < 100 || h->status > 599 || (line[3] && line[3] != ' '))
		return refuse(h, 400, err, "the answer's status is malformed");
	return 0;
}

/* ---- headers ---- */

/* Of these, two would mean that somebody reads the other one. */
static bool only_once(const char *name)
{
	static const char *const names[] = { "Content-Length", "Host", "Authorization", "Range",
		                             "Expect",         "Date", "Content-Range", "Transfer-Encoding" };

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (strcasecmp(name, names[i]) == 0)
			return true;
	return strncasecmp(name, "X-Garner-", 9) == 0;
}

static int parse_header(struct message_head *h, char *line, struct error *err)
{
	struct node_header *header = &h->headers[h->headers_count];
	char *colon = strchr(line, ':'), *end;

	if (*line == ' ' || *line == '\t')
		return refuse(h, 400, err, "a header is folded");
	if (!colon)
		return refuse(h, 400, err, "a header has no colon");
	*colon = '\0';
	if (!is_token(line))
		return refuse(h, 400, err, "a header's name is malformed");
	if (h->headers_count == MESSAGE_HEADERS_MAX)
		return refuse(h, 431, err, "there are too many headers");
	header->name = line;
	header->value = colon + 1 + strspn(colon + 1, " \t");
	for (end = colon + 1 + strlen(colon + 1); end > header->value && (end[-1] == ' ' || end[-1] == '\t'); end--)
		end[-1] = '\0';
	if (only_once(line) && message_header(h, line))
		return refuse(h, 400, err, "a header that may be there once is there twice");
	h->headers_count++;
	return 0;
}

static int parse_range(struct message_head *h, struct error *err)
{
	const char *range = message_header(h, "Range"), *dash;
	char first[24];

	if (!range)
		return 0;
	dash = strchr(range, '-');
	if (strncmp(range, "bytes=", 6) != 0 || !dash || (size_t)(dash - range - 6) >= sizeof first)
		return refuse(h, 400, err, "the Range is not bytes=FIRST-LAST");
	memcpy(first, range + 6, (size_t)(dash - range - 6));
	first[dash - range - 6] = '\0';
	if (message_number(first, MESSAGE_LENGTH_MAX, &h->range_first) < 0 ||
	    message_number(dash + 1, MESSAGE_LENGTH_MAX, &h->range_last) < 0 || h->range_first > h->range_last)
		return refuse(h, 400, err, "the Range is not bytes=FIRST-LAST");
	h->has_range = true;
	return 0;
}

/* Whether one of the words between commas is "close". */
static bool says_close(const char *value)
{
	while (*value) {
		size_t length;

		value += strspn(value, ", \t");
		length = strcspn(value, ", \t");
		if (length == 5 && strncasecmp(value, "close", 5) == 0)
			return true;
		value += length;
	}
	return false;
}

static int parse_request_end(struct message_head *h, struct error *err)
{
	const char *expect = message_header(h, "Expect");

	if (!message_header(h, "Host"))
		return refuse(h, 400, err, "there is no Host");
	if (expect && strcasecmp(expect, "100-continue") != 0)
		return refuse(h, 417, err, "what is expected cannot be met");
	h->expect_continue = expect && h->length;
	if (!h->has_length && (strcmp(h->method, "PUT") == 0 || strcmp(h->method, "POST") == 0))
		return refuse(h, 411, err, "there is no Content-Length");
	return parse_range(h, err);
}

static int parse_end(struct message_head *h, struct error *err)
{
	const char *length = message_header(h, "Content-Length");

	if (message_header(h, "Transfer-Encoding"))
		return refuse(h, length ? 400 : 501, err, "Transfer-Encoding is not known here: use Content-Length");
	if (length && message_number(length, MESSAGE_LENGTH_MAX, &h->length) < 0)
		return refuse(h, 400, err, "the Content-Length is malformed");
	h->has_length = length != NULL;
	for (size_t i = 0; i < h->headers_count; i++)
		if (strcasecmp(h->headers[i].name, "Connection") == 0 && says_close(h->headers[i].value))
			h->close = true;
	h->complete = true;
	if (h->kind == MESSAGE_REQUEST)
		return parse_request_end(h, err);
	if (!h->has_length && h->status >= 200 && h->status != 204 && h->status != 304)
		return refuse(h, 400, err, "the answer has no Content-Length");
	return 0;
}

/* A line, from h->parsed to h->used, which ends with a line feed. */
static int parse_line(struct message_head *h, struct error *err)
{
	char *line = h->text + h->parsed;
	size_t length = h->used - h->parsed;
	int rc;

	h->parsed = h->used;
	if (length < 2 || line[length - 2] != '\r')
		return refuse(h, 400, err, "a line does not end with CR LF");
	length -= 2;
	line[length] = '\0';
	for (size_t i = 0; i < length; i++)
		if (!is_plain(line[i]))
			return refuse(h, 400, err, "there are characters that are not plain text");
	if (h->first_line_done)
		return length ? parse_header(h, line, err) : parse_end(h, err);
	h->first_line_done = true;
	rc = h->kind == MESSAGE_REQUEST ? parse_request_line(h, line, err) : parse_status_line(h, line, err);
	return rc;
}

ssize_t message_head_feed(struct message_head *h, const void *bytes, size_t length, struct error *err)
{
	const char *from = bytes;
	size_t taken = 0;

	while (taken < length && !h->complete) {
		const char *feed = memchr(from + taken, '\n', length - taken);
		size_t n = feed ? (size_t)(feed - from) + 1 - taken : length - taken;

		h->line += n;
		if (h->line > MESSAGE_LINE_MAX && !h->first_line_done && h->kind == MESSAGE_REQUEST)
			return refuse(h, 414, err, "the first line is too long");
		if (h->line > MESSAGE_LINE_MAX || n > sizeof h->text - h->used)
			return refuse(h, 431, err, "the head is too long");
		memcpy(h->text + h->used, from + taken, n);
		h->used += n;
		taken += n;
		if (!feed)
			break;
		h->line = 0;
		int rc = parse_line(h, err);
		if (rc < 0)
			return rc;
	}
	return (ssize_t)taken;
}

const char *message_header(const struct message_head *h, const char *name)
{
	return node_header_find(h->headers, h->headers_count, name);
}

const char *message_parameter(const struct message_head *h, const char *name)
{
	for (size_t i = 0; i < h->parameters_count; i++)
		if (strcmp(h->parameters[i].name, name) == 0)
			return h->parameters[i].value;
	return NULL;
}

/* ---- writing ---- */

static bool is_value(const char *value)
{
	size_t length = strlen(value);

	for (size_t i = 0; i < length; i++)
		if (!is_plain(value[i]))
			return false;
	return !length || (!strchr(" \t", value[0]) && !strchr(" \t", value[length - 1]));
}

bool message_header_valid(const char *name, const char *value)
{
	return is_token(name) && is_value(value);
}

static void write_line(struct message_writer *w, const char *a, const char *b, const char *c)
{
	size_t room = sizeof w->text - w->used;
	int n = snprintf(w->text + w->used, room, "%s%s%s\r\n", a, b, c);

	if (n < 0 || (size_t)n >= room || n > MESSAGE_LINE_MAX) {
		w->bad = true;
		return;
	}
	w->used += (size_t)n;
}

void message_write_request(struct message_writer *w, const char *method, const char *target, const char *host)
{
	w->used = w->headers = 0;
	w->bad = false;
	for (const char *c = target; *c; c++)
		if (*c <= ' ' || *c > '~')
			w->bad = true;
	if (*target != '/' || strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != strlen(method) || !*method) {
		w->bad = true;
		return;
	}
	char first[METHOD_MAX + 2];
	if (snprintf(first, sizeof first, "%s ", method) >= (int)sizeof first)
		w->bad = true;
	write_line(w, first, target, " HTTP/1.1");
	message_write_header(w, "Host", host);
}

void message_write_answer(struct message_writer *w, int status)
{
	char first[32];

	w->used = w->headers = 0;
	w->bad = status < 100 || status > 599;
	(void)snprintf(first, sizeof first, "HTTP/1.1 %03d ", status);
	write_line(w, first, message_reason(status), "");
}

void message_write_header(struct message_writer *w, const char *name, const char *value)
{
	if (!message_header_valid(name, value) || ++w->headers > MESSAGE_HEADERS_MAX) {
		w->bad = true;
		return;
	}
	write_line(w, name, ": ", value);
}

void message_write_number(struct message_writer *w, const char *name, uint64_t number)
{
	char text[24];

	(void)snprintf(text, sizeof text, "%" PRIu64, number);
	message_write_header(w, name, text);
}

int message_write_end(struct message_writer *w)
{
	bool bad = w->bad;

	write_line(w, "", "", "");
	if (bad)
		return -EINVAL;
	return w->bad ? -EMSGSIZE : 0;
}

const char *message_reason(int status)
{
	static const struct {
		int status;
		const char *text;
	} reasons[] = {
		{ 100, "Continue" },
		{ 200, "OK" },
		{ 201, "Created" },
		{ 202, "Accepted" },
		{ 204, "No Content" },
		{ 206, "Partial Content" },
		{ 304, "Not Modified" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 408, "Request Timeout" },
		{ 409, "Conflict" },
		{ 410, "Gone" },
		{ 411, "Length Required" },
		{ 412, "Precondition Failed" },
		{ 413, "Content Too Large" },
		{ 414, "URI Too Long" },
		{ 416, "Range Not Satisfiable" },
		{ 417, "Expectation Failed" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 502, "Bad Gateway" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
		{ 505, "HTTP Version Not Supported" },
		{ 507, "Insufficient Storage" },
	};

	for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "Unknown";
}
