/* SPDX-License-Identifier: GPL-3.0-only */
/* test_error.c: messages carried beside an errno. */
#include "base/error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void setting_keeps_code_and_text_and_returns_the_code(void **state)
{
	struct error err = { 0 };

	(void)state;
	assert_int_equal(error_set(&err, -ENOSPC, "pool %s: %d left", "a", 3), -ENOSPC);
	assert_int_equal(err.code, -ENOSPC);
	assert_string_equal(error_text(&err), "pool a: 3 left");
}

static void a_prefix_goes_in_front_and_keeps_the_first_code(void **state)
{
	struct error err = { 0 };

	(void)state;
	error_set(&err, -EBADMSG, "wrong crc");
	assert_int_equal(error_prefix(&err, -EIO, "segment %d", 7), -EBADMSG);
	assert_int_equal(error_prefix(&err, -EIO, "image vm1"), -EBADMSG);
	assert_string_equal(error_text(&err), "image vm1: segment 7: wrong crc");
}

static void a_prefix_without_text_adds_what_the_code_means(void **state)
{
	struct error err = { 0 };
	char expected[ERROR_TEXT_MAX];

	(void)state;
	assert_int_equal(error_prefix(&err, -ENOENT, "names/%d", 1), -ENOENT);
	snprintf(expected, sizeof expected, "names/1: %s", strerror(ENOENT));
	assert_string_equal(error_text(&err), expected);
	assert_int_equal(err.code, -ENOENT);
}

static void without_an_error_to_fill_the_code_still_comes_back(void **state)
{
	(void)state;
	assert_int_equal(error_set(NULL, -EIO, "nobody %s", "listens"), -EIO);
	assert_int_equal(error_prefix(NULL, -EPERM, "nobody"), -EPERM);
}

static void a_code_without_text_is_explained(void **state)
{
	struct error err = { .code = -EACCES };

	(void)state;
	assert_string_equal(error_text(&err), strerror(EACCES));
}

static void errno_survives(void **state)
{
	struct error err = { 0 };

	(void)state;
	errno = ESTALE;
	error_set(&err, -EIO, "%s", "x");
	error_prefix(&err, -EIO, "%s", "y");
	assert_int_equal(errno, ESTALE);
}

static void long_text_is_cut_and_marked(void **state)
{
	struct error err = { 0 };
	char longest[2 * ERROR_TEXT_MAX];

	(void)state;
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';

	error_set(&err, -EIO, "%s", longest);
	assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
	assert_string_equal(err.text + ERROR_TEXT_MAX - 5, "x...");

	error_set(&err, -EIO, "%.*s", ERROR_TEXT_MAX - 1, longest);
	assert_null(strstr(err.text, "..."));
	error_prefix(&err, -EIO, "a");
	assert_memory_equal(err.text, "a: xxx", 6);
	assert_string_equal(err.text + ERROR_TEXT_MAX - 5, "x...");
	error_prefix(&err, -EIO, "%s", longest);
	assert_string_equal(err.text + ERROR_TEXT_MAX - 5, "x...");
}

static void the_cut_does_not_split_a_character(void **state)
{
	struct error err = { 0 };
	char wide[2 * ERROR_TEXT_MAX + 1] = "";

	(void)state;
	for (unsigned shift = 0; shift < 2; shift++) {
		size_t len = shift;
		memset(wide, 'x', shift);
		for (; len + 2 < sizeof wide; len += 2)
			memcpy(wide + len, "\xc3\xa9", 3);
		error_set(&err, -EIO, "%s", wide);
		char *dots = strstr(err.text, "...");
		assert_non_null(dots);
		assert_int_equal((unsigned char)dots[-1], 0xa9);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(setting_keeps_code_and_text_and_returns_the_code),
		cmocka_unit_test(a_prefix_goes_in_front_and_keeps_the_first_code),
		cmocka_unit_test(a_prefix_without_text_adds_what_the_code_means),
		cmocka_unit_test(without_an_error_to_fill_the_code_still_comes_back),
		cmocka_unit_test(a_code_without_text_is_explained),
		cmocka_unit_test(errno_survives),
		cmocka_unit_test(long_text_is_cut_and_marked),
		cmocka_unit_test(the_cut_does_not_split_a_character),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
