/* SPDX-License-Identifier: GPL-3.0-only */
/* test_object_version.c: which version is newer, what is a version in text, what a clock that is set back does; names of objects. */
#include "store/object_version.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void the_counter_counts_first_then_the_tie(void **state)
{
	struct object_version low = { 5, 9 }, high = { 6, 1 }, higher = { 6, 2 };

	(void)state;
	assert_true(object_version_compare(low, high) < 0);
	assert_true(object_version_compare(higher, high) > 0);
	assert_int_equal(object_version_compare(high, high), 0);
	assert_true(object_version_compare(OBJECT_VERSION_NONE, (struct object_version){ 0, 1 }) < 0);
	assert_true(object_version_is_none(OBJECT_VERSION_NONE));
	assert_false(object_version_is_none(low));
}

static void text_and_version_are_the_same(void **state)
{
	struct object_version v = { 0x0123456789abcdefu, UINT64_MAX }, back;
	char text[OBJECT_VERSION_TEXT];

	(void)state;
	object_version_format(v, text);
	assert_string_equal(text, "0123456789abcdef.ffffffffffffffff");
	assert_int_equal(object_version_parse(text, &back), 0);
	assert_int_equal(object_version_compare(v, back), 0);
}

static void what_is_no_version_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"1",
		".",
		"0123456789abcdef",
		"0123456789abcdef.",
		"0123456789abcdef.0123456789abcde",
		"0123456789abcdef.0123456789abcdef0",
		"0123456789abcdef-0123456789abcdef",
		"0123456789ABCDEF.0123456789abcdef",
		"0123456789abcde .0123456789abcdef",
		"0000000000000000.0000000000000000",
		"8000000000000000.0000000000000000",
	};
	struct object_version v;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(object_version_parse(bad[i], &v), -EINVAL);
}

static void a_clock_never_gives_less_than_it_gave_or_saw(void **state)
{
	struct version_clock c;
	struct object_version last = OBJECT_VERSION_NONE;
	uint64_t far = clock_wall_ns() + 1000000000000ull;

	(void)state;
	version_clock_init(&c);
	for (int i = 0; i < 1000; i++) {
		struct object_version v = version_clock_next(&c);
		assert_true(object_version_compare(v, last) > 0);
		assert_true(v.counter > last.counter);
		last = v;
	}
	version_clock_seen(&c, far);
	assert_true(version_clock_next(&c).counter > far);
	version_clock_seen(&c, 1);
	assert_true(version_clock_next(&c).counter > far + 1);
	version_clock_destroy(&c);
}

static void names_are_a_pool_and_a_key(void **state)
{
	char longest[OBJECT_POOL_MAX + 3];

	(void)state;
	assert_true(object_name_valid("p/a"));
	assert_true(object_name_valid("my-pool.2/images/0123/segments/7-1"));
	assert_false(object_name_valid("p"));
	assert_false(object_name_valid("p/"));
	assert_false(object_name_valid("/a"));
	assert_false(object_name_valid("P/a"));
	assert_false(object_name_valid("p/../a"));
	assert_false(object_name_valid(".p/a"));
	memset(longest, 'p', OBJECT_POOL_MAX);
	memcpy(longest + OBJECT_POOL_MAX, "/a", 3);
	assert_true(object_name_valid(longest));
	assert_true(object_pool_valid("0"));
	assert_false(object_pool_valid("-"));
	assert_false(object_pool_valid("a b"));
	longest[OBJECT_POOL_MAX] = 'p';
	longest[OBJECT_POOL_MAX + 1] = '\0';
	assert_false(object_pool_valid(longest));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_counter_counts_first_then_the_tie),
		cmocka_unit_test(text_and_version_are_the_same),
		cmocka_unit_test(what_is_no_version_is_refused),
		cmocka_unit_test(a_clock_never_gives_less_than_it_gave_or_saw),
		cmocka_unit_test(names_are_a_pool_and_a_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
