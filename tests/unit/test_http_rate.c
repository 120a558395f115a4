/* SPDX-License-Identifier: GPL-3.0-only */
/* test_http_rate.c: limits in bytes per second. */
#include "store/http_rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SECOND 1000000000ull

static void without_a_limit_everything_passes(void **state)
{
	struct http_rate r;
	uint64_t wait;

	(void)state;
	http_rate_init(&r, 0, 0);
	http_rate_take(&r, 1ull << 40);
	assert_true(http_rate_open(&r, 0, &wait));
}

/* Passes pieces of 16 KiB whenever they may, for ten seconds of the given clock. */
static uint64_t bytes_in_ten_seconds(uint64_t per_second, uint64_t piece)
{
	struct http_rate r;
	uint64_t now = 5 * SECOND, end = now + 10 * SECOND, bytes = 0, wait;

	http_rate_init(&r, per_second, now);
	while (now < end) {
		if (http_rate_open(&r, now, &wait)) {
			http_rate_take(&r, piece);
			bytes += piece;
			now += 1000;
		} else {
			assert_true(wait > 0);
			now += wait;
		}
	}
	return bytes;
}

static void what_passes_is_the_rate_and_at_most_a_burst_more(void **state)
{
	static const uint64_t rates[] = { 1000, 100000, 1000000, 125000000 };

	(void)state;
	for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
		uint64_t bytes = bytes_in_ten_seconds(rates[i], 16384);
		assert_in_range(bytes, rates[i] * 10 > 16384 ? rates[i] * 10 - 16384 : 1,
		                rates[i] * 10 + rates[i] / 10 + 2 * 16384);
	}
}

static void a_piece_larger_than_a_burst_is_paid_for_afterwards(void **state)
{
	struct http_rate r;
	uint64_t wait;

	(void)state;
	http_rate_init(&r, 1000, 0);
	assert_true(http_rate_open(&r, 0, &wait));
	http_rate_take(&r, 10000);
	assert_false(http_rate_open(&r, SECOND, &wait));
	assert_in_range(wait, 8 * SECOND, 10 * SECOND);
	assert_true(http_rate_open(&r, SECOND + wait, &wait));
}

static void a_long_pause_saves_no_more_than_a_burst(void **state)
{
	struct http_rate r;
	uint64_t wait;

	(void)state;
	http_rate_init(&r, 1000, 0);
	assert_true(http_rate_open(&r, 1000000 * SECOND, &wait));
	http_rate_take(&r, 101);
	assert_false(http_rate_open(&r, 1000000 * SECOND, &wait));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_limit_everything_passes),
		cmocka_unit_test(what_passes_is_the_rate_and_at_most_a_burst_more),
		cmocka_unit_test(a_piece_larger_than_a_burst_is_paid_for_afterwards),
		cmocka_unit_test(a_long_pause_saves_no_more_than_a_burst),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
