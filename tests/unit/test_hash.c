/* SPDX-License-Identifier: GPL-3.0-only */
/* test_hash.c: the table from 64-bit keys to pointers, against a plain array. */
#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static int things[4096];

static unsigned seed(void)
{
	const char *given = getenv("GARNER_TEST_SEED");
	unsigned s = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);

	print_message("GARNER_TEST_SEED=%u\n", s);
	return s;
}

static void what_was_put_is_found_until_it_is_removed(void **state)
{
	struct hash *h = hash_new();

	(void)state;
	assert_non_null(h);
	assert_null(hash_get(h, 0));
	assert_null(hash_remove(h, 0));
	assert_int_equal(hash_put(h, 0, &things[0]), 0);
	assert_int_equal(hash_put(h, UINT64_MAX, &things[1]), 0);
	assert_int_equal(hash_count(h), 2);
	assert_ptr_equal(hash_get(h, 0), &things[0]);
	assert_ptr_equal(hash_get(h, UINT64_MAX), &things[1]);
	assert_null(hash_get(h, 1));
	assert_ptr_equal(hash_remove(h, 0), &things[0]);
	assert_null(hash_get(h, 0));
	assert_null(hash_remove(h, 0));
	assert_ptr_equal(hash_get(h, UINT64_MAX), &things[1]);
	assert_int_equal(hash_count(h), 1);
	hash_free(h);
	hash_free(NULL);
}

static void putting_again_replaces_the_value(void **state)
{
	struct hash *h = hash_new();

	(void)state;
	assert_non_null(h);
	assert_int_equal(hash_put(h, 5, &things[0]), 0);
	assert_int_equal(hash_put(h, 5, &things[1]), 0);
	assert_int_equal(hash_count(h), 1);
	assert_ptr_equal(hash_get(h, 5), &things[1]);
	hash_free(h);
}

static void it_grows_and_keeps_every_pair(void **state)
{
	enum { COUNT = 100000 };
	struct hash *h = hash_new();

	(void)state;
	assert_non_null(h);
	/* Keys as grain numbers and offsets are: in a row, and multiples of a power of two. */
	for (uint64_t i = 0; i < COUNT; i++)
		assert_int_equal(hash_put(h, i % 2 ? i : i << 32, &things[i % 4096]), 0);
	assert_int_equal(hash_count(h), COUNT);
	for (uint64_t i = 0; i < COUNT; i++)
		assert_ptr_equal(hash_get(h, i % 2 ? i : i << 32), &things[i % 4096]);
	assert_null(hash_get(h, 2));
	hash_free(h);
}

/* Small tables that are nearly full, so that runs wrap around the end and are taken apart in every way. */
static void it_agrees_with_an_array_through_random_changes(void **state)
{
	(void)state;
	srand(seed());
	for (unsigned round = 0; round < 200; round++) {
		struct hash *h = hash_new();
		void *model[64] = { 0 };
		size_t count = 0;
		uint64_t base = (uint64_t)rand() << 20;

		assert_non_null(h);
		for (unsigned step = 0; step < 500; step++) {
			unsigned k = (unsigned)rand() % (8 + round % 56);
			if (rand() % 5 < 3) {
				void *value = &things[rand() % 4096];
				assert_int_equal(hash_put(h, base + k, value), 0);
				count += !model[k];
				model[k] = value;
			} else {
				assert_ptr_equal(hash_remove(h, base + k), model[k]);
				count -= model[k] != NULL;
				model[k] = NULL;
			}
			assert_int_equal(hash_count(h), count);
			for (unsigned i = 0; i < 64; i++)
				assert_ptr_equal(hash_get(h, base + i), model[i]);
		}
		hash_free(h);
	}
}

/* Visits all of `h`, which holds keys base..base+n, and removes about `percent` of what it sees. */
static void visit(struct hash *h, uint64_t base, size_t n, unsigned percent)
{
	bool seen[64] = { false }, removed[64] = { false };
	size_t cursor = 0, visits = 0, gone = 0;
	uint64_t key;
	void *value;

	while ((value = hash_next(h, &cursor, &key))) {
		size_t k = (size_t)(key - base);
		assert_true(k < n);
		assert_false(seen[k]);
		assert_ptr_equal(value, &things[k]);
		seen[k] = true;
		visits++;
		if ((unsigned)rand() % 100 < percent) {
			assert_ptr_equal(hash_remove(h, key), value);
			removed[k] = true;
			gone++;
		}
	}
	assert_int_equal(visits, n);
	assert_int_equal(hash_count(h), n - gone);
	for (size_t k = 0; k < n; k++)
		assert_ptr_equal(hash_get(h, base + k), removed[k] ? NULL : &things[k]);
	assert_null(hash_next(h, &cursor, &key));
}

static void visiting_sees_each_pair_once_even_while_removing(void **state)
{
	static const unsigned percents[] = { 0, 20, 50, 80, 100 };

	(void)state;
	srand(seed());
	for (unsigned round = 0; round < 5000; round++) {
		struct hash *h = hash_new();
		uint64_t base = (uint64_t)rand() << 16;
		/* 12 pairs are all that the smallest table of 16 takes: runs that wrap around are common. */
		size_t n = (size_t)rand() % 5 ? 12 : (size_t)rand() % 64;

		assert_non_null(h);
		for (size_t k = 0; k < n; k++)
			assert_int_equal(hash_put(h, base + k, &things[k]), 0);
		visit(h, base, n, percents[round % 5]);
		hash_free(h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_put_is_found_until_it_is_removed),
		cmocka_unit_test(putting_again_replaces_the_value),
		cmocka_unit_test(it_grows_and_keeps_every_pair),
		cmocka_unit_test(it_agrees_with_an_array_through_random_changes),
		cmocka_unit_test(visiting_sees_each_pair_once_even_while_removing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
