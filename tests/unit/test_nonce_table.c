/* SPDX-License-Identifier: GPL-3.0-only */
/* test_nonce_table.c: what was seen is known for at least its span of time, and not for ever. */
#include "node/nonce_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lib/random.h"

#define SPAN 60000

static enum nonce_verdict add(struct nonce_table *t, uint64_t number, uint64_t now)
{
	struct random r = { .state = number };
	uint64_t words[2] = { random_next(&r), random_next(&r) };
	uint8_t nonce[NODE_NONCE_BYTES];

	memcpy(nonce, words, sizeof nonce);
	return nonce_table_add(t, nonce, now);
}

static void a_nonce_is_fresh_once(void **state)
{
	struct nonce_table *t = nonce_table_new(SPAN, 100000);

	(void)state;
	for (uint64_t i = 0; i < 50000; i++)
		assert_int_equal(add(t, i, 1000), NONCE_FRESH);
	for (uint64_t i = 0; i < 50000; i++)
		assert_int_equal(add(t, i, 2000), NONCE_REPLAYED);
	nonce_table_free(t);
}

static void a_nonce_is_known_for_its_span_whenever_it_came(void **state)
{
	(void)state;
	for (uint64_t offset = 0; offset < 2 * SPAN; offset += 997) {
		struct nonce_table *t = nonce_table_new(SPAN, 1000);

		assert_int_equal(add(t, 1, SPAN * 5), NONCE_FRESH);
		assert_int_equal(add(t, 2, SPAN * 5 + offset), NONCE_FRESH);
		assert_int_equal(add(t, 2, SPAN * 5 + offset + SPAN / 2), NONCE_REPLAYED);
		assert_int_equal(add(t, 2, SPAN * 5 + offset + SPAN - 1), NONCE_REPLAYED);
		nonce_table_free(t);
	}
}

static void after_two_spans_it_is_forgotten(void **state)
{
	struct nonce_table *t = nonce_table_new(SPAN, 1000);

	(void)state;
	assert_int_equal(add(t, 1, 5), NONCE_FRESH);
	assert_int_equal(add(t, 1, 5 + 2 * SPAN), NONCE_FRESH);
	nonce_table_free(t);
}

static void no_more_than_so_many_are_remembered_and_then_there_is_room_again(void **state)
{
	struct nonce_table *t = nonce_table_new(SPAN, 1000);

	(void)state;
	for (uint64_t i = 0; i < 1000; i++)
		assert_int_equal(add(t, i, 10), NONCE_FRESH);
	assert_int_equal(add(t, 5000, 10), NONCE_FULL);
	assert_int_equal(add(t, 7, 10), NONCE_REPLAYED);
	assert_int_equal(add(t, 5000, 10 + 3 * SPAN), NONCE_FRESH);
	nonce_table_free(t);
}

static void a_nonce_of_zeros_is_one_as_any_other(void **state)
{
	struct nonce_table *t = nonce_table_new(SPAN, 1000);
	const uint8_t zeros[NODE_NONCE_BYTES] = { 0 };

	(void)state;
	assert_int_equal(nonce_table_add(t, zeros, 0), NONCE_FRESH);
	assert_int_equal(nonce_table_add(t, zeros, 0), NONCE_REPLAYED);
	nonce_table_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_nonce_is_fresh_once),
		cmocka_unit_test(a_nonce_is_known_for_its_span_whenever_it_came),
		cmocka_unit_test(after_two_spans_it_is_forgotten),
		cmocka_unit_test(no_more_than_so_many_are_remembered_and_then_there_is_room_again),
		cmocka_unit_test(a_nonce_of_zeros_is_one_as_any_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
