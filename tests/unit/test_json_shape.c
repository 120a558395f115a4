/* SPDX-License-Identifier: GPL-3.0-only */
/* test_json_shape.c: how deep and how full a text is, whatever it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "store/json_shape.h"

#include <string.h>

static const struct json_shape plenty = { .depth = 100, .values = 100 };

static void assert_shape(const char *text, size_t depth, size_t values)
{
	struct json_shape shape = json_shape_of(text, strlen(text), plenty);

	assert_int_equal(shape.depth, depth);
	assert_int_equal(shape.values, values);
}

static void brackets_and_commas_are_counted(void **state)
{
	(void)state;
	assert_shape("", 0, 0);
	assert_shape("17", 0, 0);
	assert_shape("[]", 1, 1);
	assert_shape("[1,2,3]", 1, 3);
	assert_shape("[{\"a\":1},{\"a\":[2]}]", 3, 5);
	assert_shape("[[[]]],[]", 3, 5);
}

static void what_is_in_strings_is_not(void **state)
{
	(void)state;
	assert_shape("[\"[{,\"]", 1, 1);
	assert_shape("[\"\\\"[,\",1]", 1, 2);
	assert_shape("\"[[[", 0, 0);
	assert_shape("[\"\\", 1, 1);
}

static void what_closes_too_often_opens_nothing(void **state)
{
	(void)state;
	assert_shape("]]]}[", 1, 1);
}

static void it_ends_where_one_is_too_many(void **state)
{
	char deep[1000], full[1000];
	struct json_shape shape;

	(void)state;
	memset(deep, '[', sizeof deep);
	memset(full, ',', sizeof full);
	shape = json_shape_of(deep, sizeof deep, plenty);
	assert_int_equal(shape.depth, plenty.depth + 1);
	shape = json_shape_of(full, sizeof full, plenty);
	assert_int_equal(shape.values, plenty.values + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(brackets_and_commas_are_counted),
		cmocka_unit_test(what_is_in_strings_is_not),
		cmocka_unit_test(what_closes_too_often_opens_nothing),
		cmocka_unit_test(it_ends_where_one_is_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
