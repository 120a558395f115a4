/* SPDX-License-Identifier: GPL-3.0-only */
/* test_node_auth.c: what is signed can be neither changed nor used for another request; the key's file. */
#include "store/node_auth.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/random.h"

#define NOW 1000000
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const struct node_key key = { { 1, 2, 3 } }, other_key = { { 1, 2, 4 } };
static const char digest_text[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static struct node_session session_since(uint64_t start_ms)
{
	struct node_session s = { .id = { 9, 8, 7 }, .start_ms = start_ms };

	return s;
}

static const struct node_header plain_headers[] = {
	{ "Host", "n1" },
	{ "X-Garner-Version", "0000000000000001.0000000000000002" },
	{ "X-Garner-Digest", digest_text },
	{ "x-garner-map", "7" },
	{ "Range", "bytes=1-2" },
};

static const struct node_auth_request plain_request = { .method = "PUT",
	                                                .target = "/v1/object/p/k?a=b",
	                                                .headers = plain_headers,
	                                                .count = COUNT(plain_headers),
	                                                .length = 5 };

/* Signs one request and verifies another with what that gave. */
static int sign_and_verify(const struct node_auth_request *signed_one, const struct node_auth_request *seen)
{
	struct node_session s = session_since(NOW - 5000);
	struct node_credentials c;
	uint8_t nonce[NODE_NONCE_BYTES];
	char text[NODE_AUTHORIZATION_TEXT];

	assert_int_equal(node_auth_sign(&key, signed_one, &s, NOW, nonce, text), 0);
	assert_int_equal(node_auth_parse(text, &c), 0);
	assert_int_equal(c.time_ms, 5000);
	assert_memory_equal(c.session, s.id, sizeof s.id);
	assert_memory_equal(c.nonce, nonce, sizeof nonce);
	return node_auth_verify(&key, seen, &c);
}

static void a_request_is_verified_as_it_was_signed(void **state)
{
	(void)state;
	assert_int_equal(sign_and_verify(&plain_request, &plain_request), 0);
}

static void headers_count_in_any_order_and_case_and_others_do_not(void **state)
{
	static const struct node_header seen[] = {
		{ "range", "bytes=1-2" },
		{ "X-GARNER-MAP", "7" },
		{ "Accept", "*/*" },
		{ "x-garner-version", "0000000000000001.0000000000000002" },
		{ "X-Garner-digest", digest_text },
		{ "Accept", "text/plain" },
	};
	struct node_auth_request r = plain_request;

	(void)state;
	r.headers = seen;
	r.count = COUNT(seen);
	assert_int_equal(sign_and_verify(&plain_request, &r), 0);
}

static void a_request_that_was_changed_is_refused(void **state)
{
	struct node_header headers[COUNT(plain_headers)];
	struct node_auth_request r;

	(void)state;
	r = plain_request;
	r.method = "GET";
	assert_int_equal(sign_and_verify(&plain_request, &r), -EACCES);
	r = plain_request;
	r.target = "/v1/object/p/k?a=c";
	assert_int_equal(sign_and_verify(&plain_request, &r), -EACCES);
	r = plain_request;
	r.length = 6;
	assert_int_equal(sign_and_verify(&plain_request, &r), -EACCES);
	for (size_t i = 1; i < COUNT(plain_headers); i++) {
		/* Another value, another name, and none. */
		memcpy(headers, plain_headers, sizeof headers);
		r = plain_request;
		r.headers = headers;
		headers[i].value = "8";
		assert_int_equal(sign_and_verify(&plain_request, &r), -EACCES);
		headers[i].name = "X-Garner-Other";
		headers[i].value = plain_headers[i].value;
		assert_int_equal(sign_and_verify(&plain_request, &r), -EACCES);
		headers[i] = headers[--r.count];
		assert_int_equal(sign_and_verify(&plain_request, &r), -EACCES);
	}
}

static void moving_bytes_between_fields_is_seen(void **state)
{
	static const struct node_header one[] = { { "X-Garner-A", "bc" } }, two[] = { { "X-Garner-Ab", "c" } },
					three[] = { { "X-Garner-A", "b" }, { "X-Garner-C", "" } };
	struct node_auth_request a = { .method = "GET", .target = "/x", .headers = one, .count = 1 }, b = a;

	(void)state;
	b.headers = two;
	assert_int_equal(sign_and_verify(&a, &b), -EACCES);
	b.headers = three;
	b.count = 2;
	assert_int_equal(sign_and_verify(&a, &b), -EACCES);
	b = a;
	b.method = "GE";
	b.target = "T/x";
	assert_int_equal(sign_and_verify(&a, &b), -EACCES);
}

static void a_header_that_counts_may_not_be_there_twice(void **state)
{
	static const struct node_header twice[] = { { "X-Garner-Map", "1" }, { "x-garner-map", "1" } },
					ranges[] = { { "Range", "bytes=1-2" }, { "range", "bytes=1-2" } },
					digests[] = { { "X-Garner-Digest", "a" }, { "X-Garner-Digest", "a" } };
	const struct node_header *const cases[] = { twice, ranges, digests };
	struct node_session s = session_since(0);
	uint8_t nonce[NODE_NONCE_BYTES];
	char text[NODE_AUTHORIZATION_TEXT];

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct node_auth_request r = { .method = "GET", .target = "/", .headers = cases[i], .count = 2 };
		assert_int_equal(node_auth_sign(&key, &r, &s, NOW, nonce, text), -EINVAL);
	}
}

static void more_headers_than_there_may_be_are_refused(void **state)
{
	struct node_header many[NODE_HEADERS_MAX + 1];
	struct node_auth_request r = { .method = "GET", .target = "/", .headers = many, .count = NODE_HEADERS_MAX + 1 };
	struct node_session s = session_since(0);
	uint8_t nonce[NODE_NONCE_BYTES];
	char text[NODE_AUTHORIZATION_TEXT];

	(void)state;
	for (size_t i = 0; i <= NODE_HEADERS_MAX; i++)
		many[i] = (struct node_header){ "Accept", "x" };
	assert_int_equal(node_auth_sign(&key, &r, &s, NOW, nonce, text), -E2BIG);
}

static void another_key_is_refused(void **state)
{
	struct node_session s = session_since(0);
	struct node_credentials c;
	uint8_t nonce[NODE_NONCE_BYTES];
	char text[NODE_AUTHORIZATION_TEXT];

	(void)state;
	assert_int_equal(node_auth_sign(&other_key, &plain_request, &s, NOW, nonce, text), 0);
	assert_int_equal(node_auth_parse(text, &c), 0);
	assert_int_equal(node_auth_verify(&key, &plain_request, &c), -EACCES);
	assert_int_equal(node_auth_verify(&other_key, &plain_request, &c), 0);
}

static void each_bit_of_the_credentials_counts(void **state)
{
	struct node_session s = session_since(NOW - 77);
	struct node_credentials c, changed;
	uint8_t nonce[NODE_NONCE_BYTES];
	char text[NODE_AUTHORIZATION_TEXT];

	(void)state;
	assert_int_equal(node_auth_sign(&key, &plain_request, &s, NOW, nonce, text), 0);
	assert_int_equal(node_auth_parse(text, &c), 0);
	for (size_t i = 0; i < NODE_SESSION_BYTES * 8; i++) {
		changed = c;
		changed.session[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(node_auth_verify(&key, &plain_request, &changed), -EACCES);
		changed = c;
		changed.nonce[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(node_auth_verify(&key, &plain_request, &changed), -EACCES);
		changed = c;
		changed.time_ms ^= 1ull << (i % 63);
		assert_int_equal(node_auth_verify(&key, &plain_request, &changed), -EACCES);
		changed = c;
		changed.mac[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(node_auth_verify(&key, &plain_request, &changed), -EACCES);
	}
}

static void authorizations_that_are_cut_or_garbled_are_malformed(void **state)
{
	struct node_session s = session_since(0);
	struct random random = { .state = env_number("SEED", 4711) };
	struct node_credentials c;
	uint8_t nonce[NODE_NONCE_BYTES];
	char text[NODE_AUTHORIZATION_TEXT], bad[NODE_AUTHORIZATION_TEXT + 1];

	(void)state;
	print_message("SEED=%llu\n", (unsigned long long)random.state);
	assert_int_equal(node_auth_sign(&key, &plain_request, &s, NOW, nonce, text), 0);
	for (size_t i = 0; i < strlen(text); i++) {
		memcpy(bad, text, sizeof text);
		bad[i] = '\0';
		assert_int_equal(node_auth_parse(bad, &c), -EINVAL);
	}
	(void)snprintf(bad, sizeof bad, "%s0", text);
	assert_int_equal(node_auth_parse(bad, &c), -EINVAL);
	for (int i = 0; i < 20000; i++) {
		memcpy(bad, text, sizeof text);
		bad[random_below(&random, strlen(text))] = (char)random_below(&random, 256);
		if (node_auth_parse(bad, &c) == 0 && strcmp(bad, text) != 0)
			assert_int_equal(node_auth_verify(&key, &plain_request, &c), -EACCES);
	}
	assert_int_equal(node_auth_parse("", &c), -EINVAL);
	assert_int_equal(node_auth_parse("Basic dXNlcjpwYXNz", &c), -EINVAL);
}

static void times_have_one_form(void **state)
{
	static const char *const times[] = { "",   "00", "01", "+1", "-1", " 1", "1 ", "0x1", "99999999999999999999",
		                             "1.5" };
	struct node_credentials c;
	char text[NODE_AUTHORIZATION_TEXT + 32], hex[65];

	(void)state;
	memset(hex, 'a', 64);
	hex[64] = '\0';
	for (size_t i = 0; i <= COUNT(times); i++) {
		(void)snprintf(text, sizeof text, "Garner session=%.32s,time=%s,nonce=%.32s,mac=%s", hex,
		               i < COUNT(times) ? times[i] : "0", hex, hex);
		assert_int_equal(node_auth_parse(text, &c), i < COUNT(times) ? -EINVAL : 0);
	}
}

static void times_are_current_within_the_window_of_the_own_session(void **state)
{
	struct node_session own = session_since(NOW);
	struct node_credentials c = { .time_ms = 100000 };
	uint64_t now = NOW + 100000;

	(void)state;
	memcpy(c.session, own.id, sizeof c.session);
	assert_true(node_auth_current(&own, &c, now));
	assert_true(node_auth_current(&own, &c, now + NODE_AUTH_WINDOW_MS));
	assert_false(node_auth_current(&own, &c, now + NODE_AUTH_WINDOW_MS + 1));
	assert_true(node_auth_current(&own, &c, now - NODE_AUTH_WINDOW_MS));
	assert_false(node_auth_current(&own, &c, now - NODE_AUTH_WINDOW_MS - 1));
	c.session[15] ^= 1;
	assert_false(node_auth_current(&own, &c, now));
	memset(c.session, 0, sizeof c.session);
	assert_false(node_auth_current(&own, &c, now));
}

static void a_challenge_teaches_the_session_and_its_time(void **state)
{
	struct node_session own = session_since(500), learnt = { 0 };
	uint8_t nonce[NODE_NONCE_BYTES] = { 1 }, other[NODE_NONCE_BYTES] = { 2 };
	char text[NODE_CHALLENGE_TEXT], bad[NODE_CHALLENGE_TEXT];

	(void)state;
	/* The client's clock has another zero, and is even behind the session's age. */
	node_challenge_make(&key, &own, 100500, nonce, text);
	assert_int_equal(node_challenge_learn(&other_key, text, nonce, 7, &learnt), -EACCES);
	assert_int_equal(node_challenge_learn(&key, text, other, 7, &learnt), -EACCES);
	assert_false(node_session_known(&learnt));
	assert_int_equal(node_challenge_learn(&key, text, nonce, 7, &learnt), 0);
	assert_memory_equal(learnt.id, own.id, sizeof own.id);
	assert_int_equal(node_session_time(&learnt, 7), 100000);
	assert_int_equal(node_session_time(&learnt, 1007), 101000);
	for (size_t i = 0; i < strlen(text); i++) {
		memcpy(bad, text, sizeof bad);
		bad[i] = '\0';
		assert_int_equal(node_challenge_learn(&key, bad, nonce, 7, &learnt), -EINVAL);
		memcpy(bad, text, sizeof bad);
		bad[i] = bad[i] == '1' ? '2' : '1';
		assert_true(node_challenge_learn(&key, bad, nonce, 7, &learnt) < 0);
	}
}

static void what_is_learnt_is_current_for_the_node(void **state)
{
	struct node_session own, learnt = { 0 };
	uint8_t nonce[NODE_NONCE_BYTES] = { 0 };
	char challenge[NODE_CHALLENGE_TEXT], text[NODE_AUTHORIZATION_TEXT];
	struct node_credentials c;

	(void)state;
	node_session_begin(&own, 123456);
	assert_true(node_session_known(&own));
	assert_int_equal(node_auth_sign(&key, &plain_request, &learnt, 50, nonce, text), 0);
	assert_int_equal(node_auth_parse(text, &c), 0);
	assert_int_equal(node_auth_verify(&key, &plain_request, &c), 0);
	assert_false(node_auth_current(&own, &c, 123456));
	node_challenge_make(&key, &own, 123456 + 90000, c.nonce, challenge);
	assert_int_equal(node_challenge_learn(&key, challenge, nonce, 50, &learnt), 0);
	assert_int_equal(node_auth_sign(&key, &plain_request, &learnt, 60, nonce, text), 0);
	assert_int_equal(node_auth_parse(text, &c), 0);
	assert_true(node_auth_current(&own, &c, 123456 + 90010));
}

static const struct node_header answer_headers[] = { { "Content-Type", "text/plain" },
	                                             { "X-Garner-Acks", "n1=3" },
	                                             { "X-Garner-Version", "a" },
	                                             { "X-Garner-Answer", "" } };

/* Verifies an answer with the proof that was made for the plain one. */
static int prove(const struct node_key *k, uint8_t nonce_byte, int status, uint64_t length, size_t drop,
                 const char *acks)
{
	uint8_t nonce[NODE_NONCE_BYTES] = { 5 };
	struct node_header headers[COUNT(answer_headers)];
	struct node_auth_answer a = { .status = 201, .headers = headers, .count = COUNT(headers), .length = 3 };
	struct error err = { 0 };
	char text[NODE_ANSWER_TEXT];
	int rc;

	memcpy(headers, answer_headers, sizeof headers);
	assert_int_equal(node_answer_sign(&key, nonce, &a, text), 0);
	headers[3].value = text;
	nonce[0] = nonce_byte;
	a.status = status;
	a.length = length;
	headers[1].value = acks;
	if (drop)
		headers[drop] = headers[--a.count];
	rc = node_answer_verify(k, nonce, &a, &err);
	assert_true(rc == 0 || (rc == -EACCES && err.text[0]));
	return rc;
}

static void an_answer_is_of_its_request_and_unchanged(void **state)
{
	(void)state;
	assert_int_equal(prove(&key, 5, 201, 3, 0, "n1=3"), 0);
	assert_int_equal(prove(&other_key, 5, 201, 3, 0, "n1=3"), -EACCES);
	assert_int_equal(prove(&key, 6, 201, 3, 0, "n1=3"), -EACCES);
	assert_int_equal(prove(&key, 5, 200, 3, 0, "n1=3"), -EACCES);
	assert_int_equal(prove(&key, 5, 201, 4, 0, "n1=3"), -EACCES);
	assert_int_equal(prove(&key, 5, 201, 3, 0, "n1=4"), -EACCES);
	assert_int_equal(prove(&key, 5, 201, 3, 1, "n1=3"), -EACCES);
	assert_int_equal(prove(&key, 5, 201, 3, 2, "n1=3"), -EACCES);
	/* Without the proof itself. */
	assert_int_equal(prove(&key, 5, 201, 3, 3, "n1=3"), -EACCES);
}

static void a_request_is_no_answer_and_no_challenge(void **state)
{
	/* A proof of one kind with the MAC of another: the labels keep them apart, whatever the fields are. */
	struct node_session s = session_since(0);
	struct node_credentials c;
	struct node_session learnt = { 0 };
	uint8_t nonce[NODE_NONCE_BYTES];
	char text[NODE_AUTHORIZATION_TEXT], forged[NODE_CHALLENGE_TEXT], session_hex[33], mac_hex[65];

	(void)state;
	assert_int_equal(node_auth_sign(&key, &plain_request, &s, NOW, nonce, text), 0);
	assert_int_equal(node_auth_parse(text, &c), 0);
	sodium_bin2hex(session_hex, sizeof session_hex, c.session, sizeof c.session);
	sodium_bin2hex(mac_hex, sizeof mac_hex, c.mac, sizeof c.mac);
	(void)snprintf(forged, sizeof forged, "session=%s,time=%d,mac=%s", session_hex, NOW, mac_hex);
	assert_int_equal(node_challenge_learn(&key, forged, nonce, NOW, &learnt), -EACCES);
}

static void digests_have_one_form(void **state)
{
	uint8_t digest[32];
	char text[NODE_DIGEST_TEXT], bad[80];

	(void)state;
	assert_int_equal(node_digest_parse(digest_text, digest), 0);
	node_digest_text(digest, text);
	assert_string_equal(text, digest_text);
	(void)snprintf(bad, sizeof bad, "%s0", digest_text);
	assert_int_equal(node_digest_parse(bad, digest), -EINVAL);
	(void)snprintf(bad, sizeof bad, "%.63s", digest_text);
	assert_int_equal(node_digest_parse(bad, digest), -EINVAL);
	(void)snprintf(bad, sizeof bad, "%.63sA", digest_text);
	assert_int_equal(node_digest_parse(bad, digest), -EINVAL);
	assert_int_equal(node_digest_parse("", digest), -EINVAL);
}

/* ---- the key's file ---- */

static int load(const char *content, size_t length, mode_t mode, struct node_key *k)
{
	char path[] = "/tmp/garner-key-XXXXXX";
	int fd = mkstemp(path), rc;
	struct error err = { 0 };

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, length), (ssize_t)length);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
	rc = node_key_load(path, k, &err);
	assert_int_equal(unlink(path), 0);
	assert_true(rc == 0 || strstr(err.text, path));
	assert_null(strstr(err.text, "0123456789abcdef"));
	return rc;
}

static void a_key_is_read_from_a_file_that_is_its_owners_alone(void **state)
{
	struct node_key k;
	struct error err = { 0 };
	char text[200];

	(void)state;
	(void)snprintf(text, sizeof text, "%s\n", digest_text);
	assert_int_equal(load(text, 65, 0600, &k), 0);
	assert_int_equal(k.bytes[0], 0x01);
	assert_int_equal(k.bytes[31], 0xef);
	assert_int_equal(load(text, 64, 0400, &k), 0);
	assert_int_equal(load(text, 65, 0640, &k), -EACCES);
	assert_int_equal(load(text, 65, 0604, &k), -EACCES);
	assert_int_equal(load(text, 63, 0600, &k), -EINVAL);
	assert_int_equal(load("", 0, 0600, &k), -EINVAL);
	text[7] = 'x';
	assert_int_equal(load(text, 65, 0600, &k), -EINVAL);
	text[7] = '\0';
	assert_int_equal(load(text, 65, 0600, &k), -EINVAL);
	memset(text, 'a', sizeof text);
	assert_int_equal(load(text, sizeof text, 0600, &k), -EINVAL);
	assert_int_equal(node_key_load("/tmp/garner-no-such-key", &k, &err), -ENOENT);
	assert_int_equal(node_key_load("/tmp", &k, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_is_verified_as_it_was_signed),
		cmocka_unit_test(headers_count_in_any_order_and_case_and_others_do_not),
		cmocka_unit_test(a_request_that_was_changed_is_refused),
		cmocka_unit_test(moving_bytes_between_fields_is_seen),
		cmocka_unit_test(a_header_that_counts_may_not_be_there_twice),
		cmocka_unit_test(more_headers_than_there_may_be_are_refused),
		cmocka_unit_test(another_key_is_refused),
		cmocka_unit_test(each_bit_of_the_credentials_counts),
		cmocka_unit_test(authorizations_that_are_cut_or_garbled_are_malformed),
		cmocka_unit_test(times_have_one_form),
		cmocka_unit_test(times_are_current_within_the_window_of_the_own_session),
		cmocka_unit_test(a_challenge_teaches_the_session_and_its_time),
		cmocka_unit_test(what_is_learnt_is_current_for_the_node),
		cmocka_unit_test(an_answer_is_of_its_request_and_unchanged),
		cmocka_unit_test(a_request_is_no_answer_and_no_challenge),
		cmocka_unit_test(digests_have_one_form),
		cmocka_unit_test(a_key_is_read_from_a_file_that_is_its_owners_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
