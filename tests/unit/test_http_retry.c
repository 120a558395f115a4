/* SPDX-License-Identifier: GPL-3.0-only */
/* test_http_retry.c: what is tried again, and when. */
#include "store/http_retry.h"

#include <curl/curl.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void answers_that_may_be_different_next_time_are_tried_again(void **state)
{
	static const long pass[] = { 408, 425, 429, 500, 502, 503, 504 };
	static const long stay[] = { 200, 206, 301, 400, 401, 403, 404, 409, 412, 416, 501, 505, 507 };

	(void)state;
	for (size_t i = 0; i < sizeof pass / sizeof pass[0]; i++)
		assert_true(http_status_passes(pass[i]));
	for (size_t i = 0; i < sizeof stay / sizeof stay[0]; i++)
		assert_false(http_status_passes(stay[i]));
}

static void a_status_becomes_an_errno(void **state)
{
	static const struct {
		long status;
		int rc;
	} known[] = { { 200, 0 },       { 204, 0 },       { 206, 0 },       { 401, -EACCES },     { 403, -EACCES },
		      { 404, -ENOENT }, { 412, -EEXIST }, { 507, -ENOSPC }, { 501, -EOPNOTSUPP }, { 504, -ETIMEDOUT },
		      { 418, -EIO },    { 0, -EIO },      { 302, -EIO } };

	(void)state;
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		assert_int_equal(http_status_errno(known[i].status), known[i].rc);
}

static void what_the_network_did_passes_and_what_was_asked_does_not(void **state)
{
	(void)state;
	assert_true(http_transfer_passes(CURLE_COULDNT_CONNECT));
	assert_true(http_transfer_passes(CURLE_RECV_ERROR));
	assert_true(http_transfer_passes(CURLE_PARTIAL_FILE));
	assert_true(http_transfer_passes(CURLE_OPERATION_TIMEDOUT));
	assert_true(http_transfer_passes(CURLE_GOT_NOTHING));
	assert_false(http_transfer_passes(CURLE_URL_MALFORMAT));
	assert_false(http_transfer_passes(CURLE_PEER_FAILED_VERIFICATION));
	assert_false(http_transfer_passes(CURLE_WRITE_ERROR));
}

static void waits_grow_with_chance_and_stay_within_their_bounds(void **state)
{
	uint64_t last = 0, most = 0;
	uint32_t random = 1;

	(void)state;
	for (int i = 0; i < 10000; i++) {
		random = random * 1664525 + 1013904223;
		uint64_t next = http_backoff_ms(last, random);
		assert_in_range(next, HTTP_BACKOFF_MIN_MS, HTTP_BACKOFF_MAX_MS);
		assert_true(next <= (last ? 3 * last : 3 * HTTP_BACKOFF_MIN_MS));
		if (next > most)
			most = next;
		last = next;
	}
	assert_true(most > HTTP_BACKOFF_MAX_MS / 2);
}

static void a_server_may_say_when_to_come_back(void **state)
{
	(void)state;
	assert_int_equal(http_retry_after_ms("3", 0), 3000);
	assert_int_equal(http_retry_after_ms("0", 0), 0);
	assert_int_equal(http_retry_after_ms("Thu, 01 Jan 1970 00:01:40 GMT", 90), 10000);
	assert_int_equal(http_retry_after_ms("Thu, 01 Jan 1970 00:01:40 GMT", 200), 0);
	assert_int_equal(http_retry_after_ms("", 0), 0);
	assert_int_equal(http_retry_after_ms("soon", 0), 0);
	assert_int_equal(http_retry_after_ms("12 o'clock", 0), 0);
	assert_int_equal(http_retry_after_ms("99999999999999999999", 0), 0);
	assert_int_equal(http_retry_after_ms("86401", 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_that_may_be_different_next_time_are_tried_again),
		cmocka_unit_test(a_status_becomes_an_errno),
		cmocka_unit_test(what_the_network_did_passes_and_what_was_asked_does_not),
		cmocka_unit_test(waits_grow_with_chance_and_stay_within_their_bounds),
		cmocka_unit_test(a_server_may_say_when_to_come_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
