/* SPDX-License-Identifier: GPL-3.0-only */
/* test_clock.c: the two clocks. */
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static void the_monotonic_clock_counts_nanoseconds_and_never_goes_back(void **state)
{
	uint64_t before = clock_monotonic_ns(), last = before;

	(void)state;
	for (int i = 0; i < 10000; i++) {
		uint64_t now = clock_monotonic_ns();
		assert_true(now >= last);
		last = now;
	}
	before = clock_monotonic_ns();
	nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	uint64_t slept = clock_monotonic_ns() - before;
	assert_true(slept >= 20000000);
	assert_true(slept < UINT64_C(60000000000));
}

static void the_wall_clock_is_what_time_says(void **state)
{
	(void)state;
	time_t before = time(NULL);
	uint64_t seconds = clock_wall_ns() / 1000000000u;
	time_t after = time(NULL);
	/* time(2) may lag behind by a tick. */
	assert_in_range(seconds, (uint64_t)before, (uint64_t)after + 1);
}

static void a_time_is_shown_as_local_time(void **state)
{
	char text[CLOCK_TEXT_MAX];

	(void)state;
	assert_int_equal(setenv("TZ", "XYZ-2", 1), 0);
	tzset();
	assert_string_equal(clock_wall_format(UINT64_C(1000000000999999999), text), "2001-09-09 03:46:40 +0200");
	assert_string_equal(clock_wall_format(UINT64_MAX, text), "2554-07-22 01:34:33 +0200");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_monotonic_clock_counts_nanoseconds_and_never_goes_back),
		cmocka_unit_test(the_wall_clock_is_what_time_says),
		cmocka_unit_test(a_time_is_shown_as_local_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
