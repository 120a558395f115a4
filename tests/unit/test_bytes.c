/* SPDX-License-Identifier: GPL-3.0-only */
/* test_bytes.c: little-endian integers, rounding, and the test for zeros. */
#include "base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void integers_are_stored_least_byte_first(void **state)
{
	uint8_t buf[8];

	(void)state;
	put_le16(buf, 0x0102);
	assert_memory_equal(buf, "\x02\x01", 2);
	put_le32(buf, 0x01020304);
	assert_memory_equal(buf, "\x04\x03\x02\x01", 4);
	put_le64(buf, UINT64_C(0x0102030405060708));
	assert_memory_equal(buf, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
}

static void integers_are_read_back_from_any_address(void **state)
{
	uint8_t buf[16];

	(void)state;
	for (size_t at = 0; at < 8; at++) {
		put_le16(buf + at, 0xfeff);
		assert_int_equal(get_le16(buf + at), 0xfeff);
		put_le32(buf + at, 0xfefdfcfbu);
		assert_int_equal(get_le32(buf + at), 0xfefdfcfbu);
		put_le64(buf + at, UINT64_MAX - 77);
		assert_int_equal(get_le64(buf + at), UINT64_MAX - 77);
	}
}

static void rounding_keeps_multiples_and_moves_the_rest(void **state)
{
	(void)state;
	assert_int_equal(round_up(0, 4096), 0);
	assert_int_equal(round_up(1, 4096), 4096);
	assert_int_equal(round_up(4096, 4096), 4096);
	assert_int_equal(round_up(4097, 4096), 8192);
	assert_int_equal(round_down(4095, 4096), 0);
	assert_int_equal(round_down(8191, 4096), 4096);
	assert_int_equal(round_down(UINT64_MAX, UINT64_C(1) << 63), UINT64_C(1) << 63);
}

static void only_powers_of_two_are_powers_of_two(void **state)
{
	(void)state;
	assert_false(is_power_of_two(0));
	for (unsigned i = 0; i < 64; i++) {
		assert_true(is_power_of_two(UINT64_C(1) << i));
		if (i > 0)
			assert_false(is_power_of_two((UINT64_C(1) << i) + 1));
	}
}

static void one_byte_that_is_not_zero_is_found_anywhere(void **state)
{
	(void)state;
	for (size_t len = 0; len <= 200; len++) {
		/* Exactly as long as said, so that a sanitizer sees a read past the end. */
		uint8_t *buf = calloc(1, len + !len);
		assert_non_null(buf);
		assert_true(is_zero(buf, len));
		for (size_t i = 0; i < len; i++) {
			buf[i] = 1;
			assert_false(is_zero(buf, len));
			buf[i] = 0;
		}
		free(buf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers_are_stored_least_byte_first),
		cmocka_unit_test(integers_are_read_back_from_any_address),
		cmocka_unit_test(rounding_keeps_multiples_and_moves_the_rest),
		cmocka_unit_test(only_powers_of_two_are_powers_of_two),
		cmocka_unit_test(one_byte_that_is_not_zero_is_found_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
