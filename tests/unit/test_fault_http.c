/* SPDX-License-Identifier: GPL-3.0-only */
/* test_fault_http.c: the fault proxy finds where messages begin and end, wherever the bytes are cut, and bears any bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/random.h"
#include "tools/fault_http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPTURED_MAX 4096

/* What was found in a stream. */
struct found {
	unsigned heads, ends;
	bool opaque;
	struct http_message last; /* of the last head */
	size_t body_length;
	char body[CAPTURED_MAX];
	size_t all_length;
	char all[CAPTURED_MAX]; /* what would be passed on */
};

static struct http_framing framing;

static void capture(char *to, size_t *have, const void *bytes, size_t size)
{
	assert_true(*have + size <= CAPTURED_MAX);
	memcpy(to + *have, bytes, size);
	*have += size;
}

/* Feeds pieces of 1 to `piece_max` bytes (0: all at once) to the framing as it is. */
static void feed(struct found *f, const char *text, size_t len, size_t piece_max, struct random *r)
{
	while (len > 0) {
		size_t piece = piece_max ? 1 + random_below(r, piece_max) : len;

		if (piece > len)
			piece = len;
		len -= piece;
		for (size_t used = 0; used < piece;) {
			struct http_span s = http_framing_next(&framing, (const uint8_t *)text + used, piece - used);

			assert_in_range(s.length, 1, piece - used);
			if (s.part == HTTP_PART_HEAD_END) {
				f->heads++;
				memcpy(&f->last, &framing.message, sizeof f->last);
				capture(f->all, &f->all_length, framing.head, framing.head_length);
			} else if (s.part != HTTP_PART_HEAD) {
				capture(f->all, &f->all_length, text + used, s.length);
			}
			if (s.part == HTTP_PART_BODY)
				capture(f->body, &f->body_length, text + used, s.length);
			f->opaque |= s.part == HTTP_PART_OPAQUE;
			f->ends += s.last;
			used += s.length;
		}
		text += piece;
	}
}

/* Reads `text` whole, and then cut in many ways, which must all give the same. */
static struct found read_all(enum http_role role, bool answers_head, const char *text)
{
	static struct found whole, cut;
	struct random r = { .state = env_number("SEED", 1) };

	for (int i = 0; i < 50; i++) {
		struct found *f = i ? &cut : &whole;

		memset(f, 0, sizeof *f);
		http_framing_init(&framing, role);
		framing.answers_head = answers_head;
		feed(f, text, strlen(text), i ? 1 + (size_t)i / 4 : 0, &r);
		if (i)
			assert_memory_equal(&whole, &cut, sizeof whole);
	}
	return whole;
}

static struct found request(const char *text)
{
	return read_all(HTTP_REQUEST, false, text);
}

static struct found answer(const char *text)
{
	return read_all(HTTP_ANSWER, false, text);
}

static void assert_body(const struct found *f, const char *body)
{
	assert_int_equal(f->body_length, strlen(body));
	assert_memory_equal(f->body, body, strlen(body));
}

static void a_request_without_a_length_has_no_body(void **state)
{
	struct found f = request("GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\n\r\n");

	(void)state;
	assert_int_equal(f.heads, 2);
	assert_int_equal(f.ends, 2);
	assert_true(f.last.understood);
	assert_false(f.last.closes);
	assert_body(&f, "");
}

static void a_body_is_as_long_as_its_head_says(void **state)
{
	struct found f = request("PUT /a HTTP/1.1\r\ncontent-length:5\r\n\r\nhelloPUT /b HTTP/1.1\r\nContent-Length: 0 "
	                         "\r\n\r\nPUT /c HTTP/1.1\r\nContent-Length:\t3\r\n\r\nabc");

	(void)state;
	assert_int_equal(f.heads, 3);
	assert_int_equal(f.ends, 3);
	assert_body(&f, "helloabc");
	assert_int_equal(f.last.length, 3);
}

static void a_chunked_body_ends_with_the_chunk_of_size_zero(void **state)
{
	struct found f = answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
	                        "5\r\nhello\r\n00C;name=\"v\"\r\n to everyone\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n"
	                        "HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno");

	(void)state;
	assert_int_equal(f.heads, 2);
	assert_int_equal(f.ends, 1 + 1);
	assert_int_equal(f.last.status, 404);
	assert_false(f.opaque);
	assert_body(&f, "hello to everyoneno");
}

static void chunks_go_before_a_length(void **state)
{
	struct found f = answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n"
	                        "1\r\na\r\n0\r\n\r\n");

	(void)state;
	assert_int_equal(f.ends, 1);
	assert_body(&f, "a");
}

static void an_answer_without_a_length_goes_on_to_the_end(void **state)
{
	struct found f = answer("HTTP/1.0 200 OK\r\n\r\nall of this\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");

	(void)state;
	assert_int_equal(f.heads, 1);
	assert_int_equal(f.ends, 0);
	assert_body(&f, "all of this\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
}

static void some_answers_never_have_a_body(void **state)
{
	struct found f =
		answer("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n");

	(void)state;
	assert_int_equal(f.ends, 2);
	f = read_all(HTTP_ANSWER, true, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
	assert_int_equal(f.ends, 1);
	assert_int_equal(f.last.length, 1000);
	assert_body(&f, "");
}

static void an_interim_answer_is_not_the_last(void **state)
{
	struct found f = answer("HTTP/1.1 100 Continue\r\n\r\n");

	(void)state;
	assert_true(f.last.interim);
	f = answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
	assert_int_equal(f.heads, 2);
	assert_false(f.last.interim);
	assert_body(&f, "x");
}

static void what_a_head_says_about_the_connection_is_understood(void **state)
{
	(void)state;
	assert_true(request("PUT / HTTP/1.1\r\nExpect: 100-Continue\r\n\r\n").last.expects_continue);
	assert_true(request("GET / HTTP/1.1\r\nConnection: foo, Close\r\n\r\n").last.closes);
	assert_true(request("GET / HTTP/1.0\r\n\r\n").last.closes);
	assert_false(request("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").last.closes);
	assert_true(request("HEAD / HTTP/1.1\r\n\r\n").last.head_method);
	assert_false(request("GET /HEAD HTTP/1.1\r\n\r\n").last.head_method);
}

static void line_ends_may_lack_the_carriage_return(void **state)
{
	struct found f = request("\r\n\nPUT / HTTP/1.1\nContent-Length: 2\n\nabGET / HTTP/1.1\n\n");

	(void)state;
	assert_int_equal(f.ends, 2);
	assert_body(&f, "ab");
}

static void what_is_not_http_passes_as_it_is(void **state)
{
	static const char *const streams[] = {
		"hello\r\n\r\nmore",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"GET /\r\n\r\nmore",
		"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\nmore",
		"GET / HTTP/1.1\r\nContent-Length: \r\n\r\nmore",
		"GET / HTTP/1.1\r\nContent-Length: -5\r\n\r\nmore",
		"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\nmore",
		"GET / HTTP/1.1\r\nContent-Length: 9223372036854775808\r\n\r\nmore",
		"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nmore",
		"GET / HTTP/1.1\r\nTransfer-Encoding: rot13\r\n\r\nmore",
		"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nmore",
		"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\r\nmore",
		"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1111111111111111\r\nmore",
		"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabmore",
		"CONNECT x:1 HTTP/1.1\r\n\r\nmore",
	};

	(void)state;
	for (size_t i = 0; i < sizeof streams / sizeof streams[0]; i++) {
		struct found f = request(streams[i]);

		if (!f.opaque || f.ends > 0)
			fail_msg("understood: %s", streams[i]);
		assert_int_equal(f.all_length, strlen(streams[i]));
		assert_memory_equal(f.all, streams[i], f.all_length);
	}
	assert_true(answer("HTTP/1.1 101 Switching\r\n\r\nmore").opaque);
	assert_true(answer("HTTP/1.1 20 OK\r\n\r\nmore").opaque);
	assert_true(answer("HTTP/1.1 099 OK\r\n\r\nmore").opaque);
	assert_true(answer("GET / HTTP/1.1\r\n\r\nmore").opaque);
}

static void all_that_is_understood_passes_unchanged_too(void **state)
{
	static const char stream[] =
		"\r\nPUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: u\r\n\r\n"
		"GET /b HTTP/1.1\r\n\r\nPUT /c HTTP/1.1\r\nContent-Length: 4\r\n\r\nwxyz";
	struct found f = request(stream);

	(void)state;
	assert_false(f.opaque);
	assert_int_equal(f.ends, 3);
	assert_int_equal(f.all_length, sizeof stream - 1);
	assert_memory_equal(f.all, stream, sizeof stream - 1);
}

static void how_much_is_left_of_a_piece_is_known(void **state)
{
	static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc";
	struct http_span s;
	size_t head = sizeof text - 1 - 3;

	(void)state;
	http_framing_init(&framing, HTTP_ANSWER);
	s = http_framing_next(&framing, (const uint8_t *)text, sizeof text - 1);
	assert_int_equal(s.part, HTTP_PART_HEAD_END);
	assert_int_equal(s.length, head);
	s = http_framing_next(&framing, (const uint8_t *)text + head, 3);
	assert_int_equal(s.part, HTTP_PART_BODY);
	assert_int_equal(s.length, 3);
	assert_int_equal(framing.left, 997);
}

static void a_head_that_never_ends_is_given_up(void **state)
{
	static uint8_t bytes[HTTP_HEAD_MAX + 100];
	size_t used = 0;
	struct http_span s;

	(void)state;
	memset(bytes, 'a', sizeof bytes);
	http_framing_init(&framing, HTTP_REQUEST);
	do {
		s = http_framing_next(&framing, bytes + used, 1 + used % 7);
		used += s.length;
	} while (s.part == HTTP_PART_HEAD);
	assert_int_equal(s.part, HTTP_PART_HEAD_END);
	assert_false(framing.message.understood);
	assert_int_equal(framing.head_length, HTTP_HEAD_MAX);
	assert_int_equal(used, HTTP_HEAD_MAX);
	assert_int_equal(http_framing_next(&framing, bytes, 10).part, HTTP_PART_OPAQUE);
}

/* A stream of fragments that mean something, and of bytes that do not. */
static size_t make_stream(struct random *r, char *out, size_t max)
{
	static const char *const words[] = {
		"GET / HTTP/1.1\r\n",
		"HTTP/1.1 200 OK\r\n",
		"Content-Length: 3\r\n",
		"Transfer-Encoding: chunked\r\n",
		"\r\n",
		"\r\n\r\n",
		"3\r\nabc\r\n",
		"0\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n",
		"abc",
		"Connection: close\r\n",
		"HTTP/1.0 204 x\r\n",
		"ffffffffffffff\r\n",
		"\n",
		"Expect: 100-continue\r\n",
		": \r\n",
	};
	size_t len = 0;

	while (len + 64 < max) {
		if (random_once_in(r, 8)) {
			random_fill(r, out + len, 4);
			len += 4;
		} else {
			const char *word = words[random_below(r, sizeof words / sizeof words[0])];
			memcpy(out + len, word, strlen(word));
			len += strlen(word);
		}
	}
	return len;
}

static void any_bytes_pass_unchanged_wherever_they_are_cut(void **state)
{
	uint64_t seed = env_number("SEED", 1);
	static struct found a, b;
	char stream[600];

	(void)state;
	for (uint64_t i = 0; i < 2000; i++) {
		struct random r = { .state = seed + i };
		enum http_role role = i & 1 ? HTTP_REQUEST : HTTP_ANSWER;
		size_t len = make_stream(&r, stream, sizeof stream);

		memset(&a, 0, sizeof a);
		memset(&b, 0, sizeof b);
		http_framing_init(&framing, role);
		feed(&a, stream, len, 0, &r);
		if (framing.state == HTTP_STATE_HEAD)
			capture(a.all, &a.all_length, framing.head, framing.head_length);
		http_framing_init(&framing, role);
		feed(&b, stream, len, 9, &r);
		if (framing.state == HTTP_STATE_HEAD)
			capture(b.all, &b.all_length, framing.head, framing.head_length);
		if (a.all_length != len || memcmp(a.all, stream, len) != 0 || a.heads != b.heads || a.ends != b.ends ||
		    b.all_length != len || memcmp(b.all, stream, len) != 0)
			fail_msg("SEED=%ju shows it", (uintmax_t)(seed + i));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_without_a_length_has_no_body),
		cmocka_unit_test(a_body_is_as_long_as_its_head_says),
		cmocka_unit_test(a_chunked_body_ends_with_the_chunk_of_size_zero),
		cmocka_unit_test(chunks_go_before_a_length),
		cmocka_unit_test(an_answer_without_a_length_goes_on_to_the_end),
		cmocka_unit_test(some_answers_never_have_a_body),
		cmocka_unit_test(an_interim_answer_is_not_the_last),
		cmocka_unit_test(what_a_head_says_about_the_connection_is_understood),
		cmocka_unit_test(line_ends_may_lack_the_carriage_return),
		cmocka_unit_test(what_is_not_http_passes_as_it_is),
		cmocka_unit_test(all_that_is_understood_passes_unchanged_too),
		cmocka_unit_test(how_much_is_left_of_a_piece_is_known),
		cmocka_unit_test(a_head_that_never_ends_is_given_up),
		cmocka_unit_test(any_bytes_pass_unchanged_wherever_they_are_cut),
	};

	return cmocka_run_group_tests_name("fault_http", tests, NULL, NULL);
}
