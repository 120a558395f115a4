/* SPDX-License-Identifier: GPL-3.0-only */
/* test_crc32c.c: both ways of computing CRC-32C, against known answers and the definition. */
#include "base/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

typedef uint32_t crc_fn(uint32_t crc, const void *buf, size_t len);
static crc_fn *const ways[] = { crc32c, crc32c_portable };

static void the_published_answers_come_out(void **state)
{
	uint8_t buf[32];

	(void)state;
	for (size_t w = 0; w < 2; w++) {
		assert_int_equal(ways[w](0, "123456789", 9), 0xe3069283);
		assert_int_equal(ways[w](0, "", 0), 0);
		/* RFC 3720, B.4 */
		memset(buf, 0, sizeof buf);
		assert_int_equal(ways[w](0, buf, sizeof buf), 0x8a9136aa);
		memset(buf, 0xff, sizeof buf);
		assert_int_equal(ways[w](0, buf, sizeof buf), 0x62a8ab43);
		for (size_t i = 0; i < sizeof buf; i++)
			buf[i] = (uint8_t)i;
		assert_int_equal(ways[w](0, buf, sizeof buf), 0x46dd794e);
	}
}

static uint32_t by_definition(uint32_t crc, const uint8_t *p, size_t len)
{
	crc = ~crc;
	for (; len > 0; len--, p++) {
		crc ^= *p;
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
	}
	return ~crc;
}

static unsigned seed(void)
{
	const char *given = getenv("GARNER_TEST_SEED");
	unsigned s = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);

	print_message("GARNER_TEST_SEED=%u\n", s);
	return s;
}

static void any_length_and_alignment_agrees_with_the_definition(void **state)
{
	enum { SIZE = 20000 };
	/* Around the lengths at which the streams begin (3 * 1360), and those of grains. */
	static const size_t lengths[] = { 0,    1,    7,    8,    9,     28,    63,    64,   1359,
		                          1360, 1361, 4079, 4080, 4081,  4088,  4096,  4097, 8159,
		                          8160, 8161, 8192, 9000, 12240, 12247, 16384, 19990 };
	uint8_t *buf = malloc(SIZE);

	(void)state;
	assert_non_null(buf);
	srand(seed());
	for (size_t i = 0; i < SIZE; i++)
		buf[i] = (uint8_t)rand();
	for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
		for (size_t at = 0; at < 9; at += 1 + (size_t)rand() % 3) {
			uint32_t start = (uint32_t)rand();
			uint32_t expected = by_definition(start, buf + at, lengths[i]);
			assert_int_equal(crc32c(start, buf + at, lengths[i]), expected);
			assert_int_equal(crc32c_portable(start, buf + at, lengths[i]), expected);
		}
	free(buf);
}

static void a_sum_can_be_continued_at_any_place(void **state)
{
	uint8_t buf[5000];

	(void)state;
	srand(seed());
	for (size_t i = 0; i < sizeof buf; i++)
		buf[i] = (uint8_t)rand();
	uint32_t whole = crc32c(0, buf, sizeof buf);
	for (size_t cut = 0; cut <= sizeof buf; cut += 1 + (size_t)rand() % 100)
		assert_int_equal(crc32c(crc32c(0, buf, cut), buf + cut, sizeof buf - cut), whole);
}

static void one_changed_bit_changes_the_sum(void **state)
{
	uint8_t buf[4096] = { 0 };
	uint32_t before = crc32c(0, buf, sizeof buf);

	(void)state;
	for (size_t bit = 0; bit < sizeof buf * 8; bit += 37) {
		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_not_equal(crc32c(0, buf, sizeof buf), before);
		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_published_answers_come_out),
		cmocka_unit_test(any_length_and_alignment_agrees_with_the_definition),
		cmocka_unit_test(a_sum_can_be_continued_at_any_place),
		cmocka_unit_test(one_changed_bit_changes_the_sum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
