/* SPDX-License-Identifier: GPL-3.0-only */
/* test_object_heads.c: what is kept of an object's beginning, what a read of it gets, and what makes room. */
#include "cache/object_heads.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct object_heads *heads;

static int setup(void **state)
{
	(void)state;
	heads = object_heads_new();
	return heads ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	object_heads_free(heads);
	return 0;
}

/* Whether [offset, offset+len) of the object is there; `expected`: what comes, which may be shorter. */
static bool gives(const char *key, uint64_t offset, size_t len, const char *expected)
{
	uint8_t buf[64];
	size_t got = len;

	memset(buf, 0xee, sizeof buf);
	if (!object_heads_read(heads, key, offset, buf, &got)) {
		assert_int_equal(got, len);
		assert_int_equal(buf[0], 0xee);
		return false;
	}
	assert_int_equal(got, strlen(expected));
	assert_memory_equal(buf, expected, got);
	assert_int_equal(buf[got], 0xee);
	return true;
}

static void keep(const char *key, const char *text, bool whole)
{
	object_heads_keep(heads, key, (const uint8_t *)text, strlen(text), whole);
}

static void a_beginning_gives_what_it_has(void **state)
{
	(void)state;
	keep("a", "0123456789", false);
	assert_true(gives("a", 0, 10, "0123456789"));
	assert_true(gives("a", 3, 4, "3456"));
	assert_false(gives("a", 3, 8, ""));
	assert_false(gives("a", 10, 1, ""));
	assert_false(gives("a", UINT64_MAX - 2, 8, ""));
	assert_false(gives("b", 0, 1, ""));
}

static void a_whole_object_ends_where_it_ends(void **state)
{
	(void)state;
	keep("a", "0123456789", true);
	assert_true(gives("a", 3, 40, "3456789"));
	assert_true(gives("a", 10, 4, ""));
	assert_false(gives("a", 11, 4, ""));
}

static void what_is_kept_again_is_replaced_and_what_is_dropped_is_gone(void **state)
{
	(void)state;
	keep("a", "old", false);
	keep("a", "newer", true);
	assert_true(gives("a", 0, 5, "newer"));
	object_heads_drop(heads, "b");
	assert_true(gives("a", 0, 5, "newer"));
	object_heads_drop(heads, "a");
	assert_false(gives("a", 0, 1, ""));
}

static void the_oldest_makes_room(void **state)
{
	char key[16];

	(void)state;
	for (int k = 0; k < 20; k++) {
		snprintf(key, sizeof key, "%d", k);
		keep(key, key, true);
		assert_true(gives(key, 0, strlen(key), key));
	}
	assert_true(gives("18", 0, 2, "18"));
	assert_false(gives("0", 0, 1, ""));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_beginning_gives_what_it_has),
		T(a_whole_object_ends_where_it_ends),
		T(what_is_kept_again_is_replaced_and_what_is_dropped_is_gone),
		T(the_oldest_makes_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
