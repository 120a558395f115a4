/* SPDX-License-Identifier: GPL-3.0-only */
/* test_progress.c: the line that says how far long work has come. */
#include "cli/progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define GIB ((uint64_t)1 << 30)

static void a_plain_line_tells_share_bytes_rate_and_time_left(void **state)
{
	const struct progress_view view = { "import", NULL, 4 * GIB, 10 * GIB, 100 * 1048576.0 };
	char line[PROGRESS_LINE_MAX];

	(void)state;
	assert_string_equal(progress_format(&view, 0, line), "import: 40%, 4 GiB of 10 GiB, 100 MiB/s, 1:01 left");
}

static void before_a_rate_is_known_no_time_is_promised(void **state)
{
	const struct progress_view view = { "import", NULL, 0, 10 * GIB, 0 };
	char line[PROGRESS_LINE_MAX];

	(void)state;
	assert_string_equal(progress_format(&view, 0, line), "import: 0%, 0 B of 10 GiB");
}

static void without_a_total_only_what_is_done_is_told(void **state)
{
	const struct progress_view view = { "verify", NULL, 3 * GIB, 0, 1048576.0 };
	char line[PROGRESS_LINE_MAX];

	(void)state;
	assert_string_equal(progress_format(&view, 80, line), "verify: 3 GiB, 1 MiB/s");
}

static void what_is_no_bytes_is_counted(void **state)
{
	const struct progress_view view = { "verify a.raw", "segments", 30, 90, 0.5 };
	char line[PROGRESS_LINE_MAX];

	(void)state;
	assert_string_equal(progress_format(&view, 0, line), "verify a.raw: 33%, 30 of 90 segments, 2:00 left");
}

static void more_than_all_is_shown_as_all(void **state)
{
	const struct progress_view view = { "flush", NULL, 12 * GIB, 10 * GIB, 0 };
	char line[PROGRESS_LINE_MAX];

	(void)state;
	assert_string_equal(progress_format(&view, 0, line), "flush: 100%, 10 GiB of 10 GiB");
}

static void hours_and_days_are_told_as_such(void **state)
{
	struct progress_view view = { "import", NULL, 0, 3600 * 1048576ull * 2, 1048576.0 };
	char line[PROGRESS_LINE_MAX];

	(void)state;
	assert_non_null(strstr(progress_format(&view, 0, line), ", 2:00:00 left"));
	view.total = UINT64_MAX;
	view.rate = 1;
	assert_non_null(strstr(progress_format(&view, 0, line), ", days left"));
}

static void no_line_is_wider_than_the_terminal(void **state)
{
	struct progress_view view = { "export", NULL, 0, 1000 * GIB, 123456789.0 };
	char line[PROGRESS_LINE_MAX];

	(void)state;
	for (unsigned width = 1; width < PROGRESS_LINE_MAX; width++)
		for (view.done = 0; view.done <= view.total; view.done += 125 * GIB)
			assert_true(strlen(progress_format(&view, width, line)) <= width);
}

static void the_bar_fills_from_left_to_right(void **state)
{
	struct progress_view view = { "export", NULL, 0, 100, 0 };
	char line[PROGRESS_LINE_MAX];
	size_t last = 0;

	(void)state;
	for (view.done = 0; view.done <= 100; view.done += 10) {
		const char *bar = strchr(progress_format(&view, 79, line), '[');
		size_t full;

		assert_non_null(bar);
		full = strspn(bar + 1, "=");
		assert_true(view.done == 0 || full > last);
		assert_int_equal(bar[1 + full], view.done == 100 ? ']' : '>');
		last = full;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_plain_line_tells_share_bytes_rate_and_time_left),
		cmocka_unit_test(before_a_rate_is_known_no_time_is_promised),
		cmocka_unit_test(without_a_total_only_what_is_done_is_told),
		cmocka_unit_test(what_is_no_bytes_is_counted),
		cmocka_unit_test(more_than_all_is_shown_as_all),
		cmocka_unit_test(hours_and_days_are_told_as_such),
		cmocka_unit_test(no_line_is_wider_than_the_terminal),
		cmocka_unit_test(the_bar_fills_from_left_to_right),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
