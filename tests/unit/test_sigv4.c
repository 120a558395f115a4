/* SPDX-License-Identifier: GPL-3.0-only */
/* test_sigv4.c: AWS signature version 4, against the examples in the documentation of S3. */
#include "store/sigv4.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SCOPE "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"

/* Sentinels: no message may hold them. */
#define SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

static const struct sigv4_request example = {
	.method = "GET",
	.host = "examplebucket.s3.amazonaws.com",
	.path = "/",
	.payload_sha256_hex = EMPTY_SHA256,
	.now = 1369353600, /* 24 May 2013 */
	.region = "us-east-1",
	.service = "s3",
	.access_key = "AKIAIOSFODNN7EXAMPLE",
	.secret_key = SECRET,
};

static void assert_signed(const struct sigv4_request *request, const char *target, const char *authorization)
{
	struct sigv4_signed result;

	assert_int_equal(sigv4_sign(request, &result, NULL), 0);
	assert_string_equal(result.target, target);
	assert_string_equal(result.lines[0], authorization);
	sigv4_signed_destroy(&result);
}

/* Refused, with a text that has `word` in it, and nothing left to free. */
static void assert_refused(const struct sigv4_request *request, const char *word)
{
	struct sigv4_signed result;
	struct error err = { 0 };

	assert_int_equal(sigv4_sign(request, &result, &err), -EINVAL);
	assert_int_equal(err.code, -EINVAL);
	if (!strstr(err.text, word))
		fail_msg("'%s' does not say '%s'", err.text, word);
	assert_null(strstr(err.text, "wJalr"));
	assert_null(strstr(err.text, "TOKEN"));
	assert_null(result.target);
	assert_int_equal(result.line_count, 0);
	assert_int_equal(sigv4_sign(request, &result, NULL), -EINVAL);
}

static void a_get_of_a_range_is_signed_as_documented(void **state)
{
	static const struct sigv4_pair headers[] = { { "range", "bytes=0-9" } };
	struct sigv4_request r = example;

	(void)state;
	r.path = "/test.txt";
	r.headers = headers;
	r.header_count = 1;
	assert_signed(&r, "/test.txt",
	              "Authorization: AWS4-HMAC-SHA256 Credential=" SCOPE
	              ", SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
	              "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

static void a_put_is_signed_as_documented(void **state)
{
	static const struct sigv4_pair headers[] = { { "x-amz-storage-class", "REDUCED_REDUNDANCY" },
		                                     { "date", "Fri, 24 May 2013 00:00:00 GMT" } };
	struct sigv4_request r = example;

	(void)state;
	r.method = "PUT";
	r.path = "/test$file.text";
	r.payload_sha256_hex = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
	r.headers = headers;
	r.header_count = 2;
	assert_signed(&r, "/test%24file.text",
	              "Authorization: AWS4-HMAC-SHA256 Credential=" SCOPE
	              ", SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class, "
	              "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

static void a_parameter_without_a_value_is_signed_as_documented(void **state)
{
	static const struct sigv4_pair query[] = { { "lifecycle", NULL } };
	struct sigv4_request r = example;

	(void)state;
	r.query = query;
	r.query_count = 1;
	assert_signed(&r, "/?lifecycle=",
	              "Authorization: AWS4-HMAC-SHA256 Credential=" SCOPE
	              ", SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
	              "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
}

static void a_listing_is_signed_as_documented_in_whatever_order_its_parameters_come(void **state)
{
	static const struct sigv4_pair query[] = { { "prefix", "J" }, { "max-keys", "2" } };
	struct sigv4_request r = example;

	(void)state;
	r.query = query;
	r.query_count = 2;
	assert_signed(&r, "/?max-keys=2&prefix=J",
	              "Authorization: AWS4-HMAC-SHA256 Credential=" SCOPE
	              ", SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
	              "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

/* The signature was computed by another program. */
static void odd_names_blanks_and_a_session_token_are_signed(void **state)
{
	static const struct sigv4_pair query[] = { { "b", "2" }, { "a-b", "1" }, { "a", "z" }, { "a", "%41" },
		                                   { "a", "ä" }, { "a", "" },    { "a:", "0" } };
	static const struct sigv4_pair headers[] = { { "x-amz-meta-x", "  two \t words  " }, { "if-none-match", "*" } };
	struct sigv4_request r = { .method = "GET",
		                   .host = "127.0.0.1:7480",
		                   .path = "/bucket/a b/ü+%/~x",
		                   .query = query,
		                   .query_count = sizeof query / sizeof query[0],
		                   .headers = headers,
		                   .header_count = 2,
		                   .payload_sha256_hex = SIGV4_UNSIGNED_PAYLOAD,
		                   .now = 1709251199,
		                   .region = "eu_central.1",
		                   .service = "s3",
		                   .access_key = "testkey",
		                   .secret_key = "test secret",
		                   .session_token = "TOKEN+/==" };
	struct sigv4_signed result;

	(void)state;
	assert_int_equal(sigv4_sign(&r, &result, NULL), 0);
	assert_string_equal(result.target, "/bucket/a%20b/%C3%BC%2B%25/~x?a=&a=%2541&a=%C3%A4&a=z&a%3A=0&a-b=1&b=2");
	assert_int_equal(result.line_count, 4);
	assert_string_equal(result.lines[0],
	                    "Authorization: AWS4-HMAC-SHA256 Credential=testkey/20240229/eu_central.1/s3/aws4_request, "
	                    "SignedHeaders=host;if-none-match;x-amz-content-sha256;x-amz-date;x-amz-meta-x;"
	                    "x-amz-security-token, "
	                    "Signature=a49640cd55916147357331a9c350a29d348a1e639e94f4a145ff58c9f813a66e");
	assert_string_equal(result.lines[1], "x-amz-date: 20240229T235959Z");
	assert_string_equal(result.lines[2], "x-amz-content-sha256: UNSIGNED-PAYLOAD");
	assert_string_equal(result.lines[3], "x-amz-security-token: TOKEN+/==");
	sigv4_signed_destroy(&result);
	assert_null(result.target);
	assert_int_equal(result.line_count, 0);
	sigv4_signed_destroy(&result);
}

static void without_a_token_three_lines_are_sent(void **state)
{
	struct sigv4_signed result;

	(void)state;
	assert_int_equal(sigv4_sign(&example, &result, NULL), 0);
	assert_int_equal(result.line_count, 3);
	assert_string_equal(result.target, "/");
	assert_string_equal(result.lines[2], "x-amz-content-sha256: " EMPTY_SHA256);
	sigv4_signed_destroy(&result);
}

static void every_byte_but_the_unreserved_is_encoded_once(void **state)
{
	static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
	char path[257] = "/", value[256] = "";
	struct sigv4_pair query = { "v", value };
	struct sigv4_request r = example;
	struct sigv4_signed result;
	const char *p;

	(void)state;
	for (int c = 1; c < 256; c++)
		path[c] = value[c - 1] = (char)c;
	r.path = path;
	r.query = &query;
	r.query_count = 1;
	assert_int_equal(sigv4_sign(&r, &result, NULL), 0);
	p = result.target + 1;
	for (int c = 1; c < 256; c++) {
		if (strchr(unreserved, c) || c == '/')
			assert_int_equal((unsigned char)*p++, c);
		else
			assert_int_equal(strtoul((char[]){ p[1], p[2], '\0' }, NULL, 16), c), p += 3;
	}
	assert_memory_equal(p, "?v=", 3);
	assert_non_null(strstr(p, "%2F"));
	assert_int_equal(strlen(p + 3), (size_t)255 * 3 - 2 * strlen(unreserved));
	sigv4_signed_destroy(&result);
}

static void each_part_of_the_request_changes_the_signature(void **state)
{
	struct sigv4_request changed[9];
	struct sigv4_signed first, other;
	static const struct sigv4_pair pair = { "x-amz-meta-a", "b" };

	(void)state;
	for (size_t i = 0; i < 9; i++)
		changed[i] = example;
	changed[0].method = "HEAD";
	changed[1].host = "examplebucket.s3.amazonaws.org";
	changed[2].path = "/a";
	changed[3].query = &pair;
	changed[3].query_count = 1;
	changed[4].headers = &pair;
	changed[4].header_count = 1;
	changed[5].payload_sha256_hex = SIGV4_UNSIGNED_PAYLOAD;
	changed[6].now++;
	changed[7].region = "us-east-2";
	changed[8].secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEX";
	assert_int_equal(sigv4_sign(&example, &first, NULL), 0);
	for (size_t i = 0; i < 9; i++) {
		assert_int_equal(sigv4_sign(&changed[i], &other, NULL), 0);
		assert_string_not_equal(strstr(first.lines[0], "Signature="), strstr(other.lines[0], "Signature="));
		sigv4_signed_destroy(&other);
	}
	sigv4_signed_destroy(&first);
}

static void a_part_that_is_missing_or_cannot_be_sent_is_refused_by_name(void **state)
{
	static const struct {
		const char *word;
		size_t offset;
		const char *value;
	} cases[] = {
		{ "method", offsetof(struct sigv4_request, method), NULL },
		{ "method", offsetof(struct sigv4_request, method), "GET /x" },
		{ "host", offsetof(struct sigv4_request, host), "" },
		{ "host", offsetof(struct sigv4_request, host), "a\r\nb" },
		{ "path", offsetof(struct sigv4_request, path), NULL },
		{ "path", offsetof(struct sigv4_request, path), "no-slash" },
		{ "payload", offsetof(struct sigv4_request, payload_sha256_hex), NULL },
		{ "payload", offsetof(struct sigv4_request, payload_sha256_hex), "E3B0C44298FC1C149AFBF4C8996FB924" },
		{ "payload", offsetof(struct sigv4_request, payload_sha256_hex), EMPTY_SHA256 "0" },
		{ "region", offsetof(struct sigv4_request, region), "us/east" },
		{ "region", offsetof(struct sigv4_request, region), "" },
		{ "service", offsetof(struct sigv4_request, service), "s3\n" },
		{ "access key", offsetof(struct sigv4_request, access_key), "AKIA,x" },
		{ "access key", offsetof(struct sigv4_request, access_key), "AKIA x" },
		{ "secret key", offsetof(struct sigv4_request, secret_key), NULL },
		{ "secret key", offsetof(struct sigv4_request, secret_key), SECRET "\n" },
		{ "session token", offsetof(struct sigv4_request, session_token), "TOKEN\r\nEvil: 1" },
		{ "session token", offsetof(struct sigv4_request, session_token), "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct sigv4_request r = example;

		memcpy((char *)&r + cases[i].offset, &cases[i].value, sizeof cases[i].value);
		assert_refused(&r, cases[i].word);
	}
}

static void headers_that_would_break_the_request_are_refused(void **state)
{
	static const struct {
		struct sigv4_pair header;
		const char *word;
	} cases[] = {
		{ { "Range", "bytes=0-9" }, "name" },
		{ { "range:", "bytes=0-9" }, "name" },
		{ { "", "x" }, "name" },
		{ { "range", "bytes=0-9\r\nx-evil: 1" }, "value" },
		{ { "range", NULL }, "value" },
		{ { "range", "a\x7f" }, "value" },
		{ { "host", "another" }, "two headers host" },
		{ { "x-amz-date", "20130524T000000Z" }, "x-amz-date" },
		{ { "authorization", "x" }, "authorization" },
	};
	static const struct sigv4_pair twice[] = { { "range", "bytes=0-1" }, { "range", "bytes=2-3" } };
	struct sigv4_request r = example;

	(void)state;
	r.header_count = 1;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		r.headers = &cases[i].header;
		assert_refused(&r, cases[i].word);
	}
	r.headers = twice;
	r.header_count = 2;
	assert_refused(&r, "two headers range");
}

/* A string of `length` times `c` in front of its end; static, for one use at a time. */
static const char *repeated(char c, size_t length)
{
	static char text[2 * SIGV4_TEXT_MAX + 2];

	assert_true(length < sizeof text);
	memset(text, c, length);
	text[length] = '\0';
	return text;
}

static void what_is_too_long_or_too_much_is_refused_and_the_most_is_signed(void **state)
{
	struct sigv4_pair pairs[SIGV4_QUERY_MAX + 1];
	char names[SIGV4_QUERY_MAX + 1][65];
	struct sigv4_request r = example;
	struct sigv4_signed result;

	(void)state;
	for (size_t i = 0; i <= SIGV4_QUERY_MAX; i++) {
		memset(names[i], 'a' + (char)(i % 26), 64);
		names[i][0] = (char)('a' + i / 26);
		names[i][64] = '\0';
		pairs[i] = (struct sigv4_pair){ names[i], repeated('/', SIGV4_TEXT_MAX) };
	}
	r.query = r.headers = pairs;
	r.query_count = SIGV4_QUERY_MAX;
	r.header_count = SIGV4_HEADERS_MAX;
	assert_int_equal(sigv4_sign(&r, &result, NULL), 0);
	assert_int_equal(strlen(result.target), 1 + SIGV4_QUERY_MAX * (2 + 64 + 3 * SIGV4_TEXT_MAX));
	sigv4_signed_destroy(&result);
	r.query_count++;
	assert_refused(&r, "query");
	r.query_count = 0;
	r.header_count++;
	assert_refused(&r, "headers");

	r = example;
	r.path = repeated('/', SIGV4_TEXT_MAX + 1);
	assert_refused(&r, "path is longer");
	r = example;
	r.secret_key = repeated('s', 1025);
	assert_refused(&r, "secret key is longer");
	r.secret_key = repeated('s', 1024);
	assert_int_equal(sigv4_sign(&r, &result, NULL), 0);
	sigv4_signed_destroy(&result);
	r = example;
	r.session_token = repeated('t', 2 * SIGV4_TEXT_MAX + 1);
	assert_refused(&r, "session token is longer");
	r.session_token = repeated('t', 2 * SIGV4_TEXT_MAX);
	assert_int_equal(sigv4_sign(&r, &result, NULL), 0);
	assert_int_equal(strlen(result.lines[3]), strlen("x-amz-security-token: ") + 2 * SIGV4_TEXT_MAX);
	sigv4_signed_destroy(&result);
}

static void a_clock_without_a_year_of_four_digits_is_refused(void **state)
{
	struct sigv4_request r = example;
	struct sigv4_signed result;

	(void)state;
	r.now = 253402300799; /* the last second of 9999 */
	assert_int_equal(sigv4_sign(&r, &result, NULL), 0);
	assert_string_equal(result.lines[1], "x-amz-date: 99991231T235959Z");
	sigv4_signed_destroy(&result);
	r.now++;
	assert_refused(&r, "clock");
	r.now = -1;
	assert_refused(&r, "clock");
	r.now = INT64_MAX;
	assert_refused(&r, "clock");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_get_of_a_range_is_signed_as_documented),
		cmocka_unit_test(a_put_is_signed_as_documented),
		cmocka_unit_test(a_parameter_without_a_value_is_signed_as_documented),
		cmocka_unit_test(a_listing_is_signed_as_documented_in_whatever_order_its_parameters_come),
		cmocka_unit_test(odd_names_blanks_and_a_session_token_are_signed),
		cmocka_unit_test(without_a_token_three_lines_are_sent),
		cmocka_unit_test(every_byte_but_the_unreserved_is_encoded_once),
		cmocka_unit_test(each_part_of_the_request_changes_the_signature),
		cmocka_unit_test(a_part_that_is_missing_or_cannot_be_sent_is_refused_by_name),
		cmocka_unit_test(headers_that_would_break_the_request_are_refused),
		cmocka_unit_test(what_is_too_long_or_too_much_is_refused_and_the_most_is_signed),
		cmocka_unit_test(a_clock_without_a_year_of_four_digits_is_refused),
	};

	return cmocka_run_group_tests_name("sigv4", tests, NULL, NULL);
}
