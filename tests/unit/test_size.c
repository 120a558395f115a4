/* SPDX-License-Identifier: GPL-3.0-only */
/* test_size.c: sizes and durations as people write them. */
#include "base/size.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define GIB (MIB * KIB)
#define TIB (GIB * KIB)
#define PIB (TIB * KIB)
#define EIB (PIB * KIB)

static void sizes_are_read_in_powers_of_1024(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} cases[] = {
		{ "0", 0 },
		{ "512", 512 },
		{ "10G", 10 * GIB },
		{ "4K", 4 * KIB },
		{ "4k", 4 * KIB },
		{ "1.5T", TIB + TIB / 2 },
		{ "8MiB", 8 * MIB },
		{ "8MB", 8 * MIB },
		{ "8mib", 8 * MIB },
		{ "2P", 2 * PIB },
		{ "7E", 7 * EIB },
		{ "0.5K", 512 },
		{ "1.50000000000000000000000M", MIB + MIB / 2 },
		{ "0.0009765625K", 1 },
		{ "1.0", 1 },
		{ "0007", 7 },
		{ "9223372036854775807", INT64_MAX },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct error err = { 0 };
		uint64_t bytes = 1234567;
		assert_int_equal(size_parse(cases[i].text, &bytes, &err), 0);
		if (bytes != cases[i].bytes)
			fail_msg("%s became %llu", cases[i].text, (unsigned long long)bytes);
	}
}

static void what_is_not_a_size_is_refused_and_quoted(void **state)
{
	static const char *const cases[] = {
		"-1",
		"-5G",
		"+5",
		"x",
		" 5",
		"5 ",
		"5 G",
		"10Q",
		"10GG",
		"10GiBs",
		"10iB",
		"10Bi",
		"1.G",
		".5G",
		"1..5",
		"1.5.5G",
		"1e3",
		"0x10",
		"0.5",
		"1.0001K",
		"8E",
		"9223372036854775808",
		"18446744073709551616",
		"99999999999999999999999G",
		"17179869184G",
		"0.0000000000000000001E",
		"1,5G",
		"G",
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct error err = { 0 };
		uint64_t bytes = 77;
		if (size_parse(cases[i], &bytes, &err) != -EINVAL)
			fail_msg("'%s' was taken", cases[i]);
		assert_int_equal(err.code, -EINVAL);
		assert_non_null(strstr(error_text(&err), cases[i]));
	}
}

static void each_refusal_says_why(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{ "", "is empty" },    { "-1G", "negative" }, { "12parsecs", "unknown unit" },
		{ "0.3", "fraction" }, { "9E", "too large" }, { "many", "not a number" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct error err = { 0 };
		uint64_t bytes;
		assert_int_equal(size_parse(cases[i].text, &bytes, &err), -EINVAL);
		if (!strstr(error_text(&err), cases[i].why))
			fail_msg("'%s' gave: %s", cases[i].text, error_text(&err));
	}
}

static void durations_are_read_in_milliseconds(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} cases[] = {
		{ "5s", 5000 },      { "5", 5000 }, { "500ms", 500 }, { "2m", 120000 },   { "1h", 3600000 },
		{ "7d", 604800000 }, { "0", 0 },    { "1.5s", 1500 }, { "0.25m", 15000 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct error err = { 0 };
		uint64_t ms = 7;
		assert_int_equal(duration_parse(cases[i].text, &ms, &err), 0);
		if (ms != cases[i].ms)
			fail_msg("%s became %llu", cases[i].text, (unsigned long long)ms);
	}
}

static void what_is_not_a_duration_is_refused_and_quoted(void **state)
{
	static const char *const cases[] = { "", "-1s", "5S", "5M", "5y", "1.5ms", "5 s", "s", "9223372036854775807h" };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct error err = { 0 };
		uint64_t ms;
		if (duration_parse(cases[i], &ms, &err) != -EINVAL)
			fail_msg("'%s' was taken", cases[i]);
		assert_non_null(strstr(error_text(&err), cases[i]));
	}
	assert_int_equal(duration_parse("x", &(uint64_t){ 0 }, NULL), -EINVAL);
}

static void sizes_are_written_with_at_most_one_decimal(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{ 0, "0 B" },
		{ 1, "1 B" },
		{ 1023, "1023 B" },
		{ 1024, "1 KiB" },
		{ 1536, "1.5 KiB" },
		{ 1075, "1 KiB" },
		{ 1076, "1.1 KiB" },
		{ MIB - 1, "1 MiB" },
		{ MIB - 60, "1023.9 KiB" },
		{ GIB + GIB / 2, "1.5 GiB" },
		{ 10 * GIB, "10 GiB" },
		{ GIB - 1, "1 GiB" },
		{ 3 * PIB, "3 PiB" },
		{ EIB + EIB / 5, "1.2 EiB" },
		{ UINT64_MAX, "16 EiB" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char out[SIZE_TEXT_MAX];
		assert_ptr_equal(size_format(cases[i].bytes, out), out);
		assert_string_equal(out, cases[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_read_in_powers_of_1024),
		cmocka_unit_test(what_is_not_a_size_is_refused_and_quoted),
		cmocka_unit_test(each_refusal_says_why),
		cmocka_unit_test(durations_are_read_in_milliseconds),
		cmocka_unit_test(what_is_not_a_duration_is_refused_and_quoted),
		cmocka_unit_test(sizes_are_written_with_at_most_one_decimal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
