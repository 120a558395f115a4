/* SPDX-License-Identifier: GPL-3.0-only */
/* test_login_time.c: points in time as log-in services write them, and how far apart they are. */
#include "store/login_time.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <time.h>

static void known_times_are_read(void **state)
{
	static const struct {
		const char *text;
		int64_t seconds;
	} cases[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "2000-02-29T12:34:56Z", 951827696 },
		{ "2016-02-25T06:03:31Z", 1456380211 },
		{ "2015-11-07T01:58:43.578887Z", 1446861523 },
		{ "2015-11-07T01:58:43", 1446861523 },
		{ "2015-11-07T03:28:43+01:30", 1446861523 },
		{ "2015-11-06T17:58:43-08:00", 1446861523 },
		{ "2100-03-01T00:00:00Z", 4107542400 },
	};
	int64_t seconds;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(login_time_parse(cases[i].text, &seconds), 0);
		assert_int_equal(seconds, cases[i].seconds);
	}
}

static void every_day_is_the_one_after_the_last(void **state)
{
	char text[32];
	int64_t seconds;

	(void)state;
	for (time_t t = 0; t < INT64_C(5000000000); t += 86400 + 3661) {
		struct tm tm;

		gmtime_r(&t, &tm);
		strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
		assert_int_equal(login_time_parse(text, &seconds), 0);
		assert_int_equal(seconds, t);
	}
}

static void other_texts_are_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"now",
		"2015",
		"2015-11-07",
		"2015-11-07 01:58:43",
		"2015-11-07T01:58:43 Z",
		"2015-11-07T01:58:43Zulu",
		"2015-11-07T01:58:43.Z",
		"2015-11-07T01:58:43+1:30",
		"2015-11-07T01:58:43+01:60",
		"2015-11-07T01:58:43+01:30x",
		"2015-02-29T00:00:00Z",
		"2015-00-01T00:00:00Z",
		"2015-13-01T00:00:00Z",
		"2015-01-00T00:00:00Z",
		"2015-01-01T24:00:00Z",
		"2015-01-01T00:60:00Z",
		"1969-12-31T23:59:59Z",
		"15-1-1T0:0:0Z",
		"-015-01-01T00:00:00Z",
	};
	int64_t seconds;

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		if (login_time_parse(texts[i], &seconds) != -EINVAL)
			fail_msg("'%s' was read as %lld", texts[i], (long long)seconds);
}

static void what_lies_between_is_bounded(void **state)
{
	(void)state;
	assert_true(login_time_between(10, 12) == UINT64_C(2000000000));
	assert_true(login_time_between(10, 10) == 0);
	assert_true(login_time_between(10, 9) == 0);
	assert_true(login_time_between(0, INT64_MAX) == UINT64_C(315360000000000000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_times_are_read),
		cmocka_unit_test(every_day_is_the_one_after_the_last),
		cmocka_unit_test(other_texts_are_refused),
		cmocka_unit_test(what_lies_between_is_bounded),
	};

	return cmocka_run_group_tests_name("login_time", tests, NULL, NULL);
}
