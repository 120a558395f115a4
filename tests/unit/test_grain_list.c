/* SPDX-License-Identifier: GPL-3.0-only */
/* test_grain_list.c: ranges of grains against a table of all. GARNER_TEST_SEED repeats a run. */
#include "map/grain_list.h"

#include "base/clock.h"
#include "lib/random.h"
#include "map/grain_map.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define GRAINS 3000

static void what_was_added_is_met_and_nothing_else(void **state)
{
	uint64_t seed = env_number("GARNER_TEST_SEED", clock_wall_ns());
	struct random rnd = { .state = seed };

	(void)state;
	print_message("GARNER_TEST_SEED=%" PRIu64 "\n", seed);
	for (unsigned round = 0; round < 200; round++) {
		struct grain_list l = { 0 };
		bool there[GRAINS] = { false };

		for (unsigned n = (unsigned)random_below(&rnd, 400); n; n--) {
			uint64_t count = random_below(&rnd, random_once_in(&rnd, 10) ? 100 : 4);
			uint64_t first = random_below(&rnd, GRAINS - count);

			assert_int_equal(grain_list_add(&l, first, count), 0);
			memset(there + first, true, count);
		}
		grain_list_settle(&l);
		for (size_t k = 0; k < l.count; k++)
			assert_true(l.ranges[k].first < l.ranges[k].end &&
			            (!k || l.ranges[k - 1].end < l.ranges[k].first));
		for (unsigned n = 0; n < 1000; n++) {
			uint64_t first = random_below(&rnd, GRAINS), end = first + 1 + random_below(&rnd, 50);
			bool any = false;

			for (uint64_t g = first; g < end && g < GRAINS; g++)
				any = any || there[g];
			assert_int_equal(grain_list_meets(&l, first, end), any);
		}
		grain_list_destroy(&l);
	}
}

static void an_empty_list_meets_nothing(void **state)
{
	struct grain_list l = { 0 };

	(void)state;
	grain_list_settle(&l);
	assert_false(grain_list_meets(&l, 0, MAP_GRAINS_MAX));
	assert_int_equal(grain_list_add(&l, 7, 0), 0);
	assert_false(grain_list_meets(&l, 0, MAP_GRAINS_MAX));
	grain_list_destroy(&l);
}

static void past_the_last_grain_there_is_nothing(void **state)
{
	struct grain_list l = { 0 };

	(void)state;
	assert_int_equal(grain_list_add(&l, MAP_GRAINS_MAX, 1), 0);
	assert_int_equal(l.count, 0);
	assert_int_equal(grain_list_add(&l, MAP_GRAINS_MAX - 1, UINT64_MAX), 0);
	grain_list_settle(&l);
	assert_true(l.ranges[0].end == MAP_GRAINS_MAX);
	grain_list_destroy(&l);
}

static void the_same_again_and_again_needs_no_memory(void **state)
{
	struct grain_list l = { 0 };

	(void)state;
	for (unsigned k = 0; k < 100000; k++)
		assert_int_equal(grain_list_add(&l, k * 7 % 20 * 2, 1), 0);
	assert_true(l.room <= 64);
	grain_list_settle(&l);
	assert_int_equal(l.count, 20);
	grain_list_destroy(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_added_is_met_and_nothing_else),
		cmocka_unit_test(an_empty_list_meets_nothing),
		cmocka_unit_test(past_the_last_grain_there_is_nothing),
		cmocka_unit_test(the_same_again_and_again_needs_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
