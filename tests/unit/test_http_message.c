/* SPDX-License-Identifier: GPL-3.0-only */
/* test_http_message.c: which heads are read and how, which are refused and with which status, and that what is written can be read. */
#include "node/http_message.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define HOST "Host: n1\r\n"

/* Feeds it in steps of `step` bytes: the status of the refusal, or 0. */
static int feed(struct message_head *h, enum message_kind kind, const char *text, size_t length, size_t step)
{
	struct error err = { 0 };

	message_head_init(h, kind);
	for (size_t at = 0; at < length && !h->complete; at += step) {
		size_t n = length - at < step ? length - at : step;
		ssize_t taken = message_head_feed(h, text + at, n, &err);

		if (taken < 0) {
			assert_int_equal(taken, -EBADMSG);
			assert_true(h->refusal >= 400 && err.text[0]);
			return h->refusal;
		}
		assert_true(h->complete || (size_t)taken == n);
	}
	return 0;
}

static int feed_request(struct message_head *h, const char *text)
{
	int all = feed(h, MESSAGE_REQUEST, text, strlen(text), strlen(text));

	for (size_t step = 1; step < 40; step += 3)
		assert_int_equal(feed(h, MESSAGE_REQUEST, text, strlen(text), step), all);
	return all;
}

static void a_request_is_taken_apart(void **state)
{
	struct message_head h;

	(void)state;
	assert_int_equal(feed_request(&h, "PUT /v1/object/p/a%20b?x=1&y=%26+&z= HTTP/1.1\r\n" HOST
	                                  "content-length:  12 \t\r\nX-Garner-Map: 3\r\nRange: bytes=4-9\r\n"
	                                  "Expect: 100-continue\r\nConnection: foo, Close\r\n\r\n"),
	                 0);
	assert_true(h.complete);
	assert_string_equal(h.method, "PUT");
	assert_string_equal(h.target, "/v1/object/p/a%20b?x=1&y=%26+&z=");
	assert_string_equal(h.path, "/v1/object/p/a b");
	assert_string_equal(message_parameter(&h, "x"), "1");
	assert_string_equal(message_parameter(&h, "y"), "&+");
	assert_string_equal(message_parameter(&h, "z"), "");
	assert_null(message_parameter(&h, "w"));
	assert_true(h.has_length && h.length == 12);
	assert_string_equal(message_header(&h, "Content-Length"), "12");
	assert_string_equal(message_header(&h, "x-garner-map"), "3");
	assert_true(h.has_range && h.range_first == 4 && h.range_last == 9);
	assert_true(h.expect_continue && h.close);
}

static void what_follows_a_head_is_not_taken(void **state)
{
	static const char text[] = "GET / HTTP/1.1\r\n" HOST "\r\nGET /next HTTP/1.1\r\n";
	struct message_head h;

	(void)state;
	message_head_init(&h, MESSAGE_REQUEST);
	assert_int_equal(message_head_feed(&h, text, strlen(text), NULL), strstr(text, "GET /next") - text);
	assert_true(h.complete && !h.has_length && !h.close);
	assert_int_equal(message_head_feed(&h, "more", 4, NULL), 0);
}

static void malformed_requests_are_refused(void **state)
{
	static const struct {
		const char *text;
		int status;
	} cases[] = {
		{ "GET / HTTP/1.1\n" HOST "\r\n", 400 },
		{ "\r\n", 400 },
		{ "GET /\r\n", 400 },
		{ "GET  / HTTP/1.1\r\n", 400 },
		{ "GET / HTTP/1.1 \r\n", 505 },
		{ "get / HTTP/1.1\r\n", 400 },
		{ " / HTTP/1.1\r\n", 400 },
		{ "ABCDEFGHIJKLMNOPQ / HTTP/1.1\r\n", 400 },
		{ "GET / HTTP/1.0\r\n", 505 },
		{ "GET / HTTP/2.0\r\n", 505 },
		{ "GET / ICAP/1.0\r\n", 400 },
		{ "GET http://x/ HTTP/1.1\r\n", 400 },
		{ "GET * HTTP/1.1\r\n", 400 },
		{ "GET /#a HTTP/1.1\r\n", 400 },
		{ "GET /\ta HTTP/1.1\r\n", 400 },
		{ "GET /\x80 HTTP/1.1\r\n", 400 },
		{ "GET /%4 HTTP/1.1\r\n", 400 },
		{ "GET /%zz HTTP/1.1\r\n", 400 },
		{ "GET /%00 HTTP/1.1\r\n", 400 },
		{ "GET /%0a HTTP/1.1\r\n", 400 },
		{ "GET /%7F HTTP/1.1\r\n", 400 },
		{ "GET /a%2Fb HTTP/1.1\r\n", 400 },
		{ "GET /?a HTTP/1.1\r\n", 400 },
		{ "GET /? HTTP/1.1\r\n", 400 },
		{ "GET /?=b HTTP/1.1\r\n", 400 },
		{ "GET /?a=1&a=2 HTTP/1.1\r\n", 400 },
		{ "GET /?a=1&%61=2 HTTP/1.1\r\n", 400 },
		{ "GET /?a=%0 HTTP/1.1\r\n", 400 },
		{ "GET /?a=1&b=2&c=3&d=4&e=5&f=6&g=7&h=8&i=9&j=1&k=2&l=3&m=4&n=5&o=6&p=7&q=8 HTTP/1.1\r\n", 400 },
		{ "GET / HTTP/1.1\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400 },
		{ "GET / HTTP/1.1\r\n" HOST "A: b\r\n c\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\n" HOST "A : b\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\n" HOST ": b\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\n" HOST "A\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\n" HOST "A: b\x01\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\n" HOST "A: b\rc\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\n" HOST "A: \xc3\xa9\r\n\r\n", 400 },
		{ "PUT / HTTP/1.1\r\n" HOST "\r\n", 411 },
		{ "POST / HTTP/1.1\r\n" HOST "\r\n", 411 },
		{ "PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", 501 },
		{ "PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400 },
		{ "PUT / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400 },
		{ "PUT / HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n\r\n", 400 },
		{ "PUT / HTTP/1.1\r\n" HOST "Content-Length: +1\r\n\r\n", 400 },
		{ "PUT / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n", 400 },
		{ "PUT / HTTP/1.1\r\n" HOST "Content-Length: 01\r\n\r\n", 400 },
		{ "PUT / HTTP/1.1\r\n" HOST "Content-Length: 0x1\r\n\r\n", 400 },
		{ "PUT / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n", 400 },
		{ "PUT / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551616\r\n\r\n", 400 },
		{ "PUT / HTTP/1.1\r\n" HOST "Content-Length: 9223372036854775808\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\n" HOST "Authorization: a\r\nAuthorization: b\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\n" HOST "X-Garner-Map: 1\r\nx-garner-map: 1\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\n" HOST "Expect: 200-ok\r\n\r\n", 417 },
		{ "GET / HTTP/1.1\r\n" HOST "Range: bytes=1-\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\n" HOST "Range: bytes=-5\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\n" HOST "Range: bytes=5-4\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\n" HOST "Range: bytes=1-2,5-6\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\n" HOST "Range: lines=1-2\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\n" HOST "Range: bytes=1-99999999999999999999\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\n" HOST "Range: bytes\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\n" HOST "Range: bytes=-\r\n\r\n", 400 },
	};
	struct message_head h;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		int status = feed_request(&h, cases[i].text);
		if (status != cases[i].status)
			print_message("case %zu: %s\n", i, cases[i].text);
		assert_int_equal(status, cases[i].status);
	}
}

static void a_nul_is_refused_anywhere(void **state)
{
	static const char text[] = "GET /abc HTTP/1.1\r\n" HOST "Accept: all\r\n\r\n";
	struct message_head h;
	char bad[sizeof text];

	(void)state;
	for (size_t i = 0; i + 1 < sizeof text; i++) {
		memcpy(bad, text, sizeof text);
		bad[i] = '\0';
		(void)feed(&h, MESSAGE_REQUEST, bad, sizeof text - 1, sizeof text);
		assert_false(h.complete && !h.refusal);
	}
}

static char *repeat(char c, size_t n)
{
	char *text = malloc(n + 1);

	assert_non_null(text);
	memset(text, c, n);
	text[n] = '\0';
	return text;
}

/* The refusal of a request with a target of `target`, and `count` headers with values of `value` bytes. */
static int large(size_t target, size_t count, size_t value)
{
	struct message_head h;
	char *a = repeat('a', target), *v = repeat('v', value), *text = malloc(target + (count + 2) * (value + 64));
	size_t used;
	int rc;

	assert_non_null(text);
	used = (size_t)sprintf(text, "GET /%s HTTP/1.1\r\n" HOST, a);
	for (size_t i = 0; i < count; i++)
		used += (size_t)sprintf(text + used, "A%zu: %s\r\n", i, v);
	used += (size_t)sprintf(text + used, "\r\n");
	rc = feed(&h, MESSAGE_REQUEST, text, used, used);
	assert_int_equal(feed(&h, MESSAGE_REQUEST, text, used, 1000), rc);
	assert_true(rc || h.complete);
	free(a);
	free(v);
	free(text);
	return rc;
}

static void heads_have_limits(void **state)
{
	(void)state;
	assert_int_equal(large(8000, 0, 0), 0);
	assert_int_equal(large(MESSAGE_LINE_MAX - 16, 0, 0), 0);
	assert_int_equal(large(MESSAGE_LINE_MAX - 15, 0, 0), 414);
	assert_int_equal(large(100000, 0, 0), 414);
	assert_int_equal(large(1, MESSAGE_HEADERS_MAX - 1, 10), 0);
	assert_int_equal(large(1, MESSAGE_HEADERS_MAX, 10), 431);
	assert_int_equal(large(1, 1, 8000), 0);
	assert_int_equal(large(1, 1, 9000), 431);
	assert_int_equal(large(1, 40, 350), 0);
	assert_int_equal(large(1, 60, 350), 431);
}

static void answers_are_taken_apart_or_refused(void **state)
{
	static const struct {
		const char *text;
		int refusal, status;
		uint64_t length;
	} cases[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 0, 200, 5 },
		{ "HTTP/1.1 204 \r\n\r\n", 0, 204, 0 },
		{ "HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", 0, 404, 0 },
		{ "HTTP/1.1 100 Continue\r\n\r\n", 0, 100, 0 },
		{ "HTTP/1.1 200 OK\r\n\r\n", 400, 200, 0 },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 501, 200, 0 },
		{ "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", 400, 0, 0 },
		{ "HTTP/1.1 20 OK\r\n\r\n", 400, 20, 0 },
		{ "HTTP/1.1 099 OK\r\n\r\n", 400, 99, 0 },
		{ "HTTP/1.1 600 OK\r\n\r\n", 400, 600, 0 },
		{ "HTTP/1.1 2000 OK\r\n\r\n", 400, 200, 0 },
		{ "HTTP/1.1 200OK\r\n\r\n", 400, 200, 0 },
		{ "SSH-2.0-x\r\n", 400, 0, 0 },
	};
	struct message_head h;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		int rc = feed(&h, MESSAGE_ANSWER, cases[i].text, strlen(cases[i].text), 7);

		assert_int_equal(rc, cases[i].refusal);
		assert_int_equal(h.length, cases[i].length);
		if (!rc)
			assert_int_equal(h.status, cases[i].status);
	}
}

static void numbers_have_one_form(void **state)
{
	static const char *const bad[] = { "", "+1", "-1", "01", "1 ", " 1", "1a", "18446744073709551616", "101" };
	uint64_t n = 7;

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(message_number(bad[i], 100, &n), -EINVAL);
	assert_int_equal(n, 7);
	assert_int_equal(message_number("0", 100, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(message_number("18446744073709551615", UINT64_MAX, &n), 0);
	assert_true(n == UINT64_MAX);
}

static void what_is_written_can_be_read(void **state)
{
	struct message_writer w;
	struct message_head h;

	(void)state;
	message_write_request(&w, "PUT", "/a?b=c", "[::1]:80");
	message_write_header(&w, "X-Garner-Map", "1");
	message_write_header(&w, "X-Garner-Empty", "");
	message_write_number(&w, "Content-Length", UINT32_MAX);
	assert_int_equal(message_write_end(&w), 0);
	assert_int_equal(feed(&h, MESSAGE_REQUEST, w.text, w.used, 5), 0);
	assert_true(h.complete && h.length == UINT32_MAX);
	assert_string_equal(message_header(&h, "X-Garner-Empty"), "");
	for (int status = 100; status < 600; status++) {
		message_write_answer(&w, status);
		message_write_number(&w, "Content-Length", 1);
		assert_int_equal(message_write_end(&w), 0);
		assert_int_equal(feed(&h, MESSAGE_ANSWER, w.text, w.used, 5), 0);
		assert_int_equal(h.status, status);
	}
}

static void what_could_not_be_read_is_not_written(void **state)
{
	static const struct node_header bad[] = { { "A", "b\r\nC: d" }, { "A", " b" },   { "A", "b " },
		                                  { "A", "\x7f" },      { "A", "\xe9" }, { "", "b" },
		                                  { "A:", "b" },        { "A b", "c" },  { "A\n", "b" } };
	struct message_writer w;
	char *long_value = repeat('x', MESSAGE_LINE_MAX);

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		assert_false(message_header_valid(bad[i].name, bad[i].value));
		message_write_answer(&w, 200);
		message_write_header(&w, bad[i].name, bad[i].value);
		assert_true(message_write_end(&w) < 0);
	}
	message_write_request(&w, "GET", "/a b", "h");
	assert_true(message_write_end(&w) < 0);
	message_write_request(&w, "GET", "a", "h");
	assert_true(message_write_end(&w) < 0);
	message_write_request(&w, "get", "/", "h");
	assert_true(message_write_end(&w) < 0);
	message_write_answer(&w, 99);
	assert_true(message_write_end(&w) < 0);
	message_write_answer(&w, 200);
	message_write_header(&w, "A", long_value);
	assert_true(message_write_end(&w) < 0);
	long_value[300] = '\0';
	message_write_answer(&w, 200);
	for (int i = 0; i < 60; i++)
		message_write_header(&w, "A", long_value);
	assert_true(message_write_end(&w) < 0);
	message_write_answer(&w, 200);
	for (int i = 0; i < 65; i++)
		message_write_header(&w, "A", "b");
	assert_true(message_write_end(&w) < 0);
	free(long_value);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_is_taken_apart),
		cmocka_unit_test(what_follows_a_head_is_not_taken),
		cmocka_unit_test(malformed_requests_are_refused),
		cmocka_unit_test(a_nul_is_refused_anywhere),
		cmocka_unit_test(heads_have_limits),
		cmocka_unit_test(answers_are_taken_apart_or_refused),
		cmocka_unit_test(numbers_have_one_form),
		cmocka_unit_test(what_is_written_can_be_read),
		cmocka_unit_test(what_could_not_be_read_is_not_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
