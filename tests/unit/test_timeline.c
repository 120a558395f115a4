/* SPDX-License-Identifier: GPL-3.0-only */
/* test_timeline.c: how much was written when, as rows of equal time. */
#include "cli/timeline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define S UINT64_C(1000000000)
#define DAY (86400 * S)

static void nothing_makes_no_rows(void **state)
{
	struct timeline t;

	(void)state;
	timeline_make(NULL, 0, &t);
	assert_int_equal(t.count, 0);
}

static void bytes_are_spread_over_the_time_in_which_they_were_written(void **state)
{
	/* 10 s at 100 a second, 4 s of nothing, one second of 50. */
	const struct history_span spans[] = {
		{ { 1, 0, 1000 * S }, 1000 },
		{ { 2, 0, 1010 * S }, 0 },
		{ { 3, 0, 1014 * S }, 50 },
		{ { 4, 0, 1015 * S }, 0 },
	};
	struct timeline t;

	(void)state;
	timeline_make(spans, 4, &t);
	assert_true(t.step_ns == S);
	assert_int_equal(t.count, 16);
	for (size_t k = 0; k < 16; k++) {
		assert_true(t.row[k].begin_ns == (1000 + k) * S);
		assert_int_equal(t.row[k].bytes, k < 10 ? 100 : k == 14 ? 50 : 0);
	}
	assert_int_equal(t.row[5].segment, 1);
	assert_int_equal(t.row[12].segment, 2);
}

static void any_time_fits_into_the_rows_and_no_byte_is_lost(void **state)
{
	static const uint64_t lengths[] = { 0,       1,         S,         37 * S,     599 * S,    86399 * S,
		                            9 * DAY, 100 * DAY, 365 * DAY, 3650 * DAY, 36500 * DAY };

	(void)state;
	for (size_t n = 0; n < sizeof lengths / sizeof lengths[0]; n++) {
		const struct history_span spans[] = {
			{ { 1, 0, 1795302605 * S + 17 }, 1000000 },
			{ { 2, 0, 1795302605 * S + 17 + lengths[n] / 3 }, 500000 },
			{ { 9, 0, 1795302605 * S + 17 + lengths[n] }, 0 },
		};
		uint64_t bytes = 0;
		struct timeline t;
		timeline_make(spans, 3, &t);
		assert_true(t.count >= 1 && t.count <= TIMELINE_ROWS_MAX);
		for (size_t k = 0; k < t.count; k++)
			bytes += t.row[k].bytes;
		assert_true(bytes > 1500000 - TIMELINE_ROWS_MAX && bytes < 1500000 + TIMELINE_ROWS_MAX);
	}
}

static void clocks_that_were_put_back_do_no_harm(void **state)
{
	const struct history_span spans[] = { { { 1, 0, 1000 * S }, 100 },
		                              { { 2, 0, 400 * S }, 100 },
		                              { { 3, 0, 900 * S }, 100 },
		                              { { 4, 0, 800 * S }, 0 } };
	struct timeline t;

	(void)state;
	timeline_make(spans, 4, &t);
	assert_true(t.count >= 1 && t.count <= TIMELINE_ROWS_MAX);
	assert_true(t.row[0].begin_ns <= 400 * S && t.row[t.count - 1].begin_ns + t.step_ns > 1000 * S);
}

static void snapshots_stand_where_they_belong(void **state)
{
	struct history_span spans[] = { { { 1, 0, 1000 * S }, 400 }, { { 2, 0, 1004 * S }, 0 } };
	struct ctl_past past = { .spans = spans, .span_count = 2, .snapshot_count = 2 };
	struct timeline t;
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	assert_non_null(out);
	assert_int_equal(setenv("TZ", "UTC", 1), 0);
	tzset();
	past.snapshots = calloc(2, sizeof *past.snapshots);
	assert_non_null(past.snapshots);
	strcpy(past.snapshots[0].name, "one");
	past.snapshots[0].time_ns = 1002 * S + S / 2;
	strcpy(past.snapshots[1].name, "late");
	past.snapshots[1].time_ns = 2000 * S;
	timeline_make(spans, 2, &t);
	timeline_draw(out, &t, &past, 10);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text, "1970-01-01 00:16:40 +0000  ##########  100 B\n"
	                          "1970-01-01 00:16:41 +0000  ##########  100 B\n"
	                          "1970-01-01 00:16:42 +0000  ##########  100 B\n"
	                          "1970-01-01 00:16:42 +0000  @one\n"
	                          "1970-01-01 00:16:43 +0000  ##########  100 B\n"
	                          "1970-01-01 00:16:44 +0000              -\n"
	                          "1970-01-01 00:33:20 +0000  @late\n");
	free(text);
	free(past.snapshots);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_makes_no_rows),
		cmocka_unit_test(bytes_are_spread_over_the_time_in_which_they_were_written),
		cmocka_unit_test(any_time_fits_into_the_rows_and_no_byte_is_lost),
		cmocka_unit_test(clocks_that_were_put_back_do_no_harm),
		cmocka_unit_test(snapshots_stand_where_they_belong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
