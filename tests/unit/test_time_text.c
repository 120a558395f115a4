/* SPDX-License-Identifier: GPL-3.0-only */
/* test_time_text.c: points in time as people write them. */
#include "base/time_text.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define S UINT64_C(1000000000)
#define NOW (UINT64_C(1800000000) * S)

static void zone_is(const char *name)
{
	assert_int_equal(setenv("TZ", name, 1), 0);
	tzset();
}

static uint64_t parsed(const char *text)
{
	struct error err = { 0 };
	uint64_t ns = 0;

	if (time_parse(text, NOW, &ns, &err))
		fail_msg("%s: %s", text, error_text(&err));
	return ns;
}

static void times_are_read_with_and_without_zone(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} cases[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "2026-11-21T23:10:05Z", 1795302605 * S },
		{ "2026-11-21 23:10:05Z", 1795302605 * S },
		{ "2026-11-21T23:10:05.25Z", 1795302605 * S + S / 4 },
		{ "2026-11-21T23:10:05.123456789123Z", 1795302605 * S + 123456789 },
		{ "2026-11-22T00:40:05+01:30", 1795302605 * S },
		{ "2026-11-21 18:10:05 -0500", 1795302605 * S },
		{ "2026-11-21 23:10Z", 1795302600 * S },
		{ "2028-02-29 00:00:00Z", 1835395200 * S },
		/* two hours east of Greenwich */
		{ "2026-11-22 01:10:05", 1795302605 * S },
		{ "2026-11-22 01:10", 1795302600 * S },
		{ "2026-11-22", 1795298400 * S },
	};

	(void)state;
	zone_is("XXX-2");
	for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++)
		if (parsed(cases[k].text) != cases[k].ns)
			fail_msg("%s: %" PRIu64, cases[k].text, parsed(cases[k].text));
}

static void times_may_be_so_long_ago(void **state)
{
	(void)state;
	assert_true(parsed("-10s") == NOW - 10 * S);
	assert_true(parsed("-5m") == NOW - 300 * S);
	assert_true(parsed("-0") == NOW);
	assert_true(parsed("-250ms") == NOW - S / 4);
	assert_true(parsed("-1.5h") == NOW - 5400 * S);
}

static void what_is_no_time_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"now",
		"-",
		"-5x",
		"2026",
		"2026-11",
		"12:30",
		"2026-13-01",
		"2026-02-30",
		"2026-11-00",
		"2026-11-21 24:00",
		"2026-11-21 23:60",
		"2026-11-21 23:10:61",
		"2026-11-21 23:10:05.",
		"2026-11-21 23:10:05 CET",
		"2026-11-21 23:10:05+1",
		"2026-11-21x",
		"1969-12-31",
		"-99999999d",
		"2026-11-21 23:10:05Z ",
		"26-11-21",
	};

	(void)state;
	for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
		struct error err = { 0 };
		uint64_t ns;
		if (time_parse(bad[k], NOW, &ns, &err) != -EINVAL)
			fail_msg("'%s' is taken for a time", bad[k]);
		assert_true(error_text(&err)[0]);
	}
}

static void what_is_printed_is_read_back_as_no_earlier_time(void **state)
{
	const uint64_t times[] = { 0, 1, 1795302605 * S, 1795302605 * S + 1, 1795302605 * S + 999999999 };
	char text[TIME_TEXT_MAX];

	(void)state;
	zone_is("XXX+3:30");
	assert_string_equal(time_format(1795302605 * S + 1, text), "2026-11-21 19:40:05.001 -0330");
	for (size_t k = 0; k < sizeof times / sizeof times[0]; k++) {
		uint64_t back = parsed(time_format(times[k] + 12 * 3600 * S, text)) - 12 * 3600 * S;
		assert_true(back >= times[k] && back < times[k] + 1000000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times_are_read_with_and_without_zone),
		cmocka_unit_test(times_may_be_so_long_ago),
		cmocka_unit_test(what_is_no_time_is_refused),
		cmocka_unit_test(what_is_printed_is_read_back_as_no_earlier_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
