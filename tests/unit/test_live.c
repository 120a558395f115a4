/* SPDX-License-Identifier: GPL-3.0-only */
/* test_live.c: sets of slots, and what is said of maps that are too old. */
#include "image/live.h"

#include "image/clean.h"
#include "lib/random.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEGMENTS 20u

static void an_empty_log_has_nothing_but_garbage(void **state)
{
	struct live l;

	(void)state;
	assert_int_equal(live_init(&l, 3), 0);
	assert_false(live_is_garbage(&l, 0));
	for (segment_no_t n = 1; n <= 3; n++) {
		assert_true(live_is_garbage(&l, n));
		assert_false(live_is_movable(&l, n));
		assert_int_equal(live_union(&l, n), 0);
	}
	/* Of what lies past the end nothing is known: it is left alone. */
	assert_false(live_is_garbage(&l, 4));
	assert_false(live_is_movable(&l, 4));
	live_destroy(&l);
	live_destroy(&l);
}

static void a_slot_past_the_end_is_refused(void **state)
{
	struct live l;

	(void)state;
	assert_int_equal(live_init(&l, 2), 0);
	assert_int_equal(live_add(&l, LIVE_NOW, map_entry(0, 3, 0)), -EBADMSG);
	assert_int_equal(live_add(&l, LIVE_NOW, MAP_ENTRY_NONE), -EBADMSG);
	assert_int_equal(live_add(&l, LIVE_NOW, map_entry(0, 2, SEGMENT_SLOTS_MAX - 1)), 0);
	assert_true(live_has(&l, LIVE_NOW, 2, SEGMENT_SLOTS_MAX - 1));
	assert_int_equal(live_count(&l, LIVE_NOW, 2), 1);
	live_keep(&l, 3);
	live_destroy(&l);
}

static void what_only_the_newest_map_needs_can_be_moved(void **state)
{
	struct live l;

	(void)state;
	assert_int_equal(live_init(&l, 4), 0);
	assert_int_equal(live_add(&l, LIVE_NOW, map_entry(0, 1, 7)), 0);
	assert_int_equal(live_add(&l, LIVE_NOW, map_entry(0, 2, 7)), 0);
	assert_int_equal(live_add(&l, LIVE_PAST, map_entry(0, 2, 7)), 0);
	assert_int_equal(live_add(&l, LIVE_PAST, map_entry(0, 3, 7)), 0);
	live_keep(&l, 4);
	assert_true(live_is_movable(&l, 1));
	assert_false(live_is_movable(&l, 2));
	assert_false(live_is_movable(&l, 3));
	assert_false(live_is_movable(&l, 4));
	for (segment_no_t n = 1; n <= 4; n++)
		assert_false(live_is_garbage(&l, n));
	assert_int_equal(live_union(&l, 2), 1);
	live_keep(&l, 1);
	assert_false(live_is_movable(&l, 1));
	live_destroy(&l);
}

static void sets_hold_what_was_added(void **state)
{
	static bool in[LIVE_SETS][SEGMENTS][SEGMENT_SLOTS_MAX];
	struct random r = { env_number("GARNER_TEST_SEED", 4711) };
	uint64_t slots[LIVE_SETS] = { 0 };
	struct live l;

	(void)state;
	print_message("GARNER_TEST_SEED=%llu\n", (unsigned long long)r.state);
	assert_int_equal(live_init(&l, SEGMENTS), 0);
	for (unsigned k = 0; k < 50000; k++) {
		enum live_set set = (enum live_set)random_below(&r, LIVE_SETS);
		segment_no_t n = 1 + random_below(&r, SEGMENTS);
		uint32_t slot = (uint32_t)random_below(&r, random_once_in(&r, 2) ? 100 : SEGMENT_SLOTS_MAX);
		assert_int_equal(live_add(&l, set, map_entry(0, n, slot)), 0);
		slots[set] += !in[set][n - 1][slot];
		in[set][n - 1][slot] = true;
	}
	for (segment_no_t n = 1; n <= SEGMENTS; n++) {
		uint32_t count[LIVE_SETS] = { 0 }, all = 0;
		for (uint32_t slot = 0; slot < SEGMENT_SLOTS_MAX; slot++) {
			for (enum live_set set = 0; set < LIVE_SETS; set++) {
				assert_int_equal(live_has(&l, set, n, slot), in[set][n - 1][slot]);
				count[set] += in[set][n - 1][slot];
			}
			all += in[LIVE_NOW][n - 1][slot] || in[LIVE_PAST][n - 1][slot];
		}
		assert_int_equal(live_count(&l, LIVE_NOW, n), count[LIVE_NOW]);
		assert_int_equal(live_count(&l, LIVE_PAST, n), count[LIVE_PAST]);
		assert_int_equal(live_union(&l, n), all);
	}
	assert_true(l.slots[LIVE_NOW] == slots[LIVE_NOW] && l.slots[LIVE_PAST] == slots[LIVE_PAST]);
	live_destroy(&l);
}

static void an_older_root_may_lead_to_what_is_gone(void **state)
{
	struct cleaned c = { .epoch = 1, .segment = 10, .root = map_entry(0, 9, 100) };

	(void)state;
	assert_true(cleaned_after(&c, MAP_ENTRY_NONE));
	assert_true(cleaned_after(&c, map_entry(0, 8, 4000)));
	assert_true(cleaned_after(&c, map_entry(0, 9, 99)));
	assert_false(cleaned_after(&c, map_entry(0, 9, 100)));
	assert_false(cleaned_after(&c, map_entry(0, 9, 101)));
	assert_false(cleaned_after(&c, map_entry(0, 10, 0)));
	/* A clone begins with a root in its parent's log. */
	assert_true(cleaned_after(&c, map_entry(1, 500, 0)));
	c.root = map_entry(1, 500, 0);
	assert_false(cleaned_after(&c, map_entry(1, 500, 0)));
	assert_false(cleaned_after(&c, map_entry(0, 1, 0)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_log_has_nothing_but_garbage),
		cmocka_unit_test(a_slot_past_the_end_is_refused),
		cmocka_unit_test(what_only_the_newest_map_needs_can_be_moved),
		cmocka_unit_test(sets_hold_what_was_added),
		cmocka_unit_test(an_older_root_may_lead_to_what_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
