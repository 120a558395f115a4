/* SPDX-License-Identifier: GPL-3.0-only */
/* test_grain_map.c: the tree in memory, one rule at a time. Its random life: test_grain_map_model.c. */
#include "lib/map_dictionary.h"

#define MIB ((size_t)1 << 20)

struct fixture {
	struct map_budget *budget;
	struct grain_map *map;
	struct dictionary d;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	assert_non_null(f);
	f->budget = map_budget_new(MIB);
	assert_non_null(f->budget);
	f->map = grain_map_new(f->budget);
	assert_non_null(f->map);
	dictionary_init(&f->d);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	grain_map_free(f->map);
	map_budget_free(f->budget);
	dictionary_destroy(&f->d);
	free(f);
	return 0;
}

static void an_empty_map_answers_none_and_makes_nothing(void **state)
{
	struct fixture *f = *state;
	map_entry_t out[600];
	struct map_need need;
	grain_no_t found;

	memset(out, 0xff, sizeof out);
	assert_int_equal(grain_map_lookup(f->map, MAP_GRAINS_MAX - 600, 600, out, &need), 0);
	for (int i = 0; i < 600; i++)
		assert_int_equal(out[i], MAP_ENTRY_NONE);
	assert_int_equal(grain_map_next(f->map, 0, MAP_GRAINS_MAX, true, &found, &need), 0);
	assert_true(found == GRAIN_NONE);
	assert_int_equal(grain_map_next(f->map, 77, MAP_GRAINS_MAX, false, &found, &need), 0);
	assert_int_equal(found, 77);
	assert_int_equal(grain_map_dirty(f->map), 0);
	assert_int_equal(map_budget_used(f->budget), MAP_NODE_BYTES);
	assert_int_equal(grain_map_allocated(f->map), 0);
}

static void a_new_leaf_and_its_parents_are_dirty_together(void **state)
{
	struct fixture *f = *state;
	map_entry_t e = map_entry(3, 9, 5);
	bool seen[MAP_LEVELS] = { false };
	struct map_batch *b;

	play_update(&f->d, f->map, 123456789, 1, &e);
	assert_int_equal(grain_map_dirty(f->map), 4 * MAP_NODE_BYTES);
	assert_int_equal(map_budget_dirty(f->budget), 4 * MAP_NODE_BYTES);
	b = grain_map_freeze(f->map);
	assert_int_equal(map_batch_count(b), 4);
	for (size_t i = 0; i < 4; i++) {
		unsigned level;
		uint64_t index;
		const map_entry_t *entries = map_batch_node(b, i, &level, &index);

		assert_int_equal(level, i);
		assert_int_equal(index, 123456789ull >> (9 * (level + 1)));
		assert_true(entries[(123456789ull >> (9 * level)) & 511] == (level ? MAP_ENTRY_LOCAL : e));
		seen[level] = true;
	}
	assert_true(seen[0] && seen[1] && seen[2] && seen[3]);
	grain_map_thaw(f->map, b, true);
	assert_int_equal(grain_map_dirty(f->map), 0);
	assert_int_equal(grain_map_allocated(f->map), 1);
}

static void a_range_over_leaves_is_set_and_cleared(void **state)
{
	struct fixture *f = *state;
	map_entry_t in[1500], out[1500];
	struct map_need need;

	for (size_t i = 0; i < 1500; i++)
		in[i] = map_entry(0, i + 1, 1);
	play_update(&f->d, f->map, 300, 1500, in);
	assert_int_equal(grain_map_allocated(f->map), 1500);
	assert_int_equal(grain_map_lookup(f->map, 300, 1500, out, &need), 0);
	assert_memory_equal(in, out, sizeof in);
	play_clear(&f->d, f->map, 512, 600);
	assert_int_equal(grain_map_allocated(f->map), 900);
	memset(in + 212, 0, 600 * sizeof in[0]);
	assert_int_equal(grain_map_lookup(f->map, 300, 1500, out, &need), 0);
	assert_memory_equal(in, out, sizeof in);
}

static void clearing_nothing_dirties_nothing(void **state)
{
	struct fixture *f = *state;
	map_entry_t e = map_entry(0, 1, 1);

	play_clear(&f->d, f->map, 0, 1 << 18);
	assert_int_equal(grain_map_dirty(f->map), 0);
	play_update(&f->d, f->map, 5, 1, &e);
	play_save(&f->d, f->map);
	play_clear(&f->d, f->map, 6, 2000);
	play_update(&f->d, f->map, 5, 1, &e);
	assert_int_equal(grain_map_dirty(f->map), 0);
}

static void a_batch_keeps_its_moment_while_the_map_goes_on(void **state)
{
	struct fixture *f = *state;
	map_entry_t e[2] = { map_entry(0, 1, 1), map_entry(0, 2, 2) };
	struct map_batch *b;
	const map_entry_t *frozen;
	unsigned level;
	uint64_t index;

	play_update(&f->d, f->map, 10, 1, &e[0]);
	b = grain_map_freeze(f->map);
	frozen = map_batch_node(b, 0, &level, &index);
	play_update(&f->d, f->map, 10, 1, &e[1]);
	play_update(&f->d, f->map, 600, 1, &e[1]); /* a new child of the frozen parent */
	assert_true(frozen[10] == e[0]);
	assert_true(play_get(&f->d, f->map, 10) == e[1]);
	assert_int_equal(map_batch_node(b, 1, &level, &index)[1], MAP_ENTRY_NONE);
	assert_int_equal(level, 1);
	grain_map_thaw(f->map, b, true);
	assert_int_equal(grain_map_dirty(f->map), 3 * MAP_NODE_BYTES); /* both leaves, and their parent */
	assert_int_equal(map_budget_used(f->budget), 5 * MAP_NODE_BYTES);
}

static void a_pinned_leaf_may_change_after_a_freeze(void **state)
{
	struct fixture *f = *state;
	map_entry_t e[2] = { map_entry(0, 1, 1), map_entry(0, 2, 2) };
	struct map_need need;
	struct map_batch *b;
	unsigned level;
	uint64_t index;

	play_update(&f->d, f->map, 10, 1, &e[0]);
	assert_int_equal(grain_map_pin(f->map, 10, 1, false, &need), 0);
	b = grain_map_freeze(f->map);
	grain_map_update(f->map, 10, 1, &e[1]);
	grain_map_unpin(f->map, 10, 1);
	assert_true(map_batch_node(b, 0, &level, &index)[10] == e[0]);
	grain_map_thaw(f->map, b, true);
	assert_int_equal(grain_map_dirty(f->map), MAP_NODE_BYTES);
}

static void what_was_not_saved_is_dirty_again(void **state)
{
	struct fixture *f = *state;
	map_entry_t e = map_entry(0, 1, 1);
	struct map_batch *b;

	play_update(&f->d, f->map, 10, 1, &e);
	b = grain_map_freeze(f->map);
	assert_int_equal(grain_map_dirty(f->map), 4 * MAP_NODE_BYTES);
	grain_map_shrink(f->map, 0);
	grain_map_thaw(f->map, b, false);
	assert_int_equal(grain_map_dirty(f->map), 4 * MAP_NODE_BYTES);
	b = grain_map_freeze(f->map);
	assert_int_equal(map_batch_count(b), 4);
	grain_map_thaw(f->map, b, true);
	assert_int_equal(map_budget_used(f->budget), 4 * MAP_NODE_BYTES);
}

static void dropped_nodes_are_asked_for_with_their_address(void **state)
{
	struct fixture *f = *state;
	map_entry_t e = map_entry(0, 1, 1), address = map_entry(0, 77, 7), out;
	struct map_need need;

	play_update(&f->d, f->map, 1000, 1, &e);
	play_save(&f->d, f->map);
	grain_map_shrink(f->map, 0);
	assert_int_equal(map_budget_used(f->budget), MAP_NODE_BYTES);
	for (unsigned level = 2;; level--) {
		assert_int_equal(grain_map_lookup(f->map, 1000, 1, &out, &need), -EAGAIN);
		assert_int_equal(need.level, level);
		assert_int_equal(need.index, 1000 >> (9 * (level + 1)));
		assert_true(need.address == MAP_ENTRY_LOCAL);
		if (level == 0)
			break;
		load(&f->d, f->map, &need);
	}
	grain_map_set_address(f->map, 0, 1, address);
	assert_int_equal(grain_map_lookup(f->map, 1000, 1, &out, &need), -EAGAIN);
	assert_true(need.address == address);
	assert_int_equal(grain_map_dirty(f->map), 0);
	load(&f->d, f->map, &need);
	assert_int_equal(grain_map_lookup(f->map, 1000, 1, &out, &need), 0);
	assert_true(out == e);
}

static void an_address_set_during_a_batch_is_not_lost_with_it(void **state)
{
	struct fixture *f = *state;
	map_entry_t e = map_entry(0, 1, 1), address = map_entry(0, 77, 7), out;
	struct map_need need;
	struct map_batch *b;
	unsigned level;
	uint64_t index;

	play_update(&f->d, f->map, 0, 1, &e);
	b = grain_map_freeze(f->map);
	grain_map_set_address(f->map, 0, 0, address);
	assert_true(map_batch_node(b, 1, &level, &index)[0] == MAP_ENTRY_LOCAL);
	save_batch(&f->d, b);
	grain_map_thaw(f->map, b, true);
	assert_int_equal(grain_map_dirty(f->map), MAP_NODE_BYTES); /* the row has the old address */
	play_save(&f->d, f->map);
	grain_map_shrink(f->map, 0);
	while (grain_map_lookup(f->map, 0, 1, &out, &need) == -EAGAIN && need.level > 0)
		load(&f->d, f->map, &need);
	assert_true(need.level == 0 && need.address == address);
}

static void pinned_and_dirty_leaves_stay_when_memory_is_short(void **state)
{
	struct fixture *f = *state;
	map_entry_t e = map_entry(0, 1, 1), out;
	struct map_need need;

	for (uint64_t leaf = 0; leaf < 200; leaf++)
		play_update(&f->d, f->map, leaf * 512, 1, &e);
	play_save(&f->d, f->map);
	assert_int_equal(grain_map_pin(f->map, 0, 1, false, &need), 0);
	play_update(&f->d, f->map, 512 * 3 + 1, 1, &e);
	grain_map_shrink(f->map, 0);
	assert_int_equal(grain_map_lookup(f->map, 0, 1, &out, &need), 0);
	assert_int_equal(grain_map_lookup(f->map, 512 * 3 + 1, 1, &out, &need), 0);
	assert_int_equal(map_budget_used(f->budget), 3 * MAP_NODE_BYTES);
	assert_int_equal(grain_map_lookup(f->map, 512, 1, &out, &need), -EAGAIN);
	grain_map_unpin(f->map, 0, 1);
	grain_map_shrink(f->map, 0);
	assert_int_equal(grain_map_lookup(f->map, 0, 1, &out, &need), -EAGAIN);
}

static void a_pin_on_an_absent_leaf_holds_once_it_is_made(void **state)
{
	struct fixture *f = *state;
	map_entry_t e = map_entry(0, 1, 1), out;
	struct map_need need;

	/* One call clears the first half of the leaf while another writes the second half. */
	assert_int_equal(grain_map_pin(f->map, 0, 100, true, &need), 0);
	assert_int_equal(grain_map_pin(f->map, 200, 1, false, &need), 0);
	grain_map_clear(f->map, 0, 100);
	grain_map_unpin(f->map, 0, 100);
	play_save(&f->d, f->map);
	grain_map_shrink(f->map, 0);
	grain_map_update(f->map, 200, 1, &e); /* still pinned: asserted inside */
	grain_map_unpin(f->map, 200, 1);
	assert_int_equal(grain_map_lookup(f->map, 200, 1, &out, &need), 0);
	assert_true(out == e);
}

static void the_widest_pin_gets_there_though_all_memory_is_dirty(void **state)
{
	struct fixture *f = *state;
	map_entry_t e = map_entry(0, 1, 1);
	struct map_need need;

	for (uint64_t leaf = 0; leaf < 512; leaf++)
		play_update(&f->d, f->map, leaf * 512, 1, &e);
	play_save(&f->d, f->map);
	for (uint64_t leaf = 1000; leaf < 1400; leaf++)
		play_update(&f->d, f->map, leaf * 512, 1, &e);
	grain_map_shrink(f->map, 0);
	assert_true(map_budget_dirty(f->budget) > map_budget_limit(f->budget));
	PLAY(&f->d, f->map, grain_map_pin(f->map, 0, 1 << 18, true, &need));
	grain_map_clear(f->map, 0, 1 << 18);
	grain_map_unpin(f->map, 0, 1 << 18);
	assert_int_equal(grain_map_allocated(f->map), 400);
}

static void the_budget_holds_while_much_is_read(void **state)
{
	struct fixture *f = *state;
	map_entry_t e = map_entry(0, 1, 1);

	for (uint64_t leaf = 0; leaf < 2000; leaf++) {
		play_update(&f->d, f->map, leaf * 512, 1, &e);
		if (leaf % 50 == 0)
			play_save(&f->d, f->map);
	}
	play_save(&f->d, f->map);
	for (uint64_t leaf = 0; leaf < 2000; leaf++) {
		assert_true(play_get(&f->d, f->map, leaf * 512) == e);
		assert_true(map_budget_used(f->budget) <= map_budget_limit(f->budget));
	}
	assert_true(map_budget_used(f->budget) > map_budget_limit(f->budget) / 2);
}

static void a_busy_map_takes_memory_from_an_idle_one(void **state)
{
	struct fixture *f = *state;
	map_entry_t e = map_entry(0, 1, 1), out;
	struct grain_map *idle = grain_map_new(f->budget);
	struct dictionary d;
	struct map_need need;
	size_t there = 0;

	dictionary_init(&d);
	for (uint64_t leaf = 0; leaf < 250; leaf++)
		play_update(&d, idle, leaf * 512, 1, &e);
	play_save(&d, idle);
	for (uint64_t leaf = 0; leaf < 120; leaf++)
		play_update(&f->d, f->map, leaf * 512, 1, &e);
	play_save(&f->d, f->map);
	for (int round = 0; round < 2; round++)
		for (uint64_t leaf = 0; leaf < 120; leaf++)
			play_get(&f->d, f->map, leaf * 512);
	for (uint64_t leaf = 0; leaf < 120; leaf++)
		there += grain_map_lookup(f->map, leaf * 512, 1, &out, &need) == 0;
	assert_true(there >= 110);
	assert_true(map_budget_used(f->budget) <= map_budget_limit(f->budget));
	grain_map_free(idle);
	dictionary_destroy(&d);
}

static void next_crosses_absent_trees_and_stops_at_the_limit(void **state)
{
	struct fixture *f = *state;
	map_entry_t e[600];
	struct map_need need;
	grain_no_t found, far = MAP_GRAINS_MAX - 5;

	for (int i = 0; i < 600; i++)
		e[i] = map_entry(0, 1, 1);
	play_update(&f->d, f->map, 1000, 600, e);
	play_update(&f->d, f->map, far, 1, e);
	play_save(&f->d, f->map);
	grain_map_shrink(f->map, 0);
	PLAY(&f->d, f->map, grain_map_next(f->map, 0, MAP_GRAINS_MAX, true, &found, &need));
	assert_int_equal(found, 1000);
	PLAY(&f->d, f->map, grain_map_next(f->map, 1000, MAP_GRAINS_MAX, false, &found, &need));
	assert_int_equal(found, 1600);
	PLAY(&f->d, f->map, grain_map_next(f->map, 1600, MAP_GRAINS_MAX, true, &found, &need));
	assert_int_equal(found, far);
	PLAY(&f->d, f->map, grain_map_next(f->map, 1600, far, true, &found, &need));
	assert_true(found == GRAIN_NONE);
	PLAY(&f->d, f->map, grain_map_next(f->map, 1000, 1600, false, &found, &need));
	assert_true(found == GRAIN_NONE);
	PLAY(&f->d, f->map, grain_map_next(f->map, far + 1, MAP_GRAINS_MAX, true, &found, &need));
	assert_true(found == GRAIN_NONE);
}

static void a_search_that_needs_a_node_says_where_to_go_on(void **state)
{
	struct fixture *f = *state;
	map_entry_t e[4 * MAP_FANOUT];
	struct map_need need;
	grain_no_t from = 0, found;
	unsigned needs = 0;
	int rc;

	for (int i = 0; i < 4 * MAP_FANOUT; i++)
		e[i] = map_entry(0, 1, 1);
	play_update(&f->d, f->map, 0, 4 * MAP_FANOUT, e);
	play_save(&f->d, f->map);
	grain_map_shrink(f->map, 0);
	while ((rc = grain_map_next(f->map, from, MAP_GRAINS_MAX, false, &found, &need)) == -EAGAIN) {
		/* What was looked at need not be there any more. */
		assert_true(found >= from && found >> (9 * (need.level + 1)) == need.index);
		from = found;
		grain_map_shrink(f->map, 0);
		load(&f->d, f->map, &need);
		needs++;
	}
	assert_int_equal(rc, 0);
	assert_int_equal(found, 4 * MAP_FANOUT);
	assert_true(needs >= 4);
}

static void a_leaf_is_taken_over_only_where_there_is_none(void **state)
{
	struct fixture *f = *state;
	const map_entry_t address = map_entry(2, 7, 30);
	const grain_no_t grain = 123456789 / MAP_FANOUT * MAP_FANOUT;
	map_entry_t e = map_entry(0, 1, 1), out;
	struct map_need need;

	assert_int_equal(grain_map_leaf(f->map, grain, &out, &need), 0);
	assert_true(out == MAP_ENTRY_NONE);
	assert_int_equal(grain_map_graft_begin(f->map, grain, &need), 0);
	/* What is above is there, and stays; the leaf is not. */
	assert_int_equal(grain_map_dirty(f->map), 3 * MAP_NODE_BYTES);
	grain_map_shrink(f->map, 0);
	assert_int_equal(grain_map_dirty(f->map), 3 * MAP_NODE_BYTES);
	assert_int_equal(grain_map_leaf(f->map, grain, &out, &need), 0);
	assert_true(out == MAP_ENTRY_NONE);
	assert_int_equal(grain_map_graft(f->map, grain, address, 100, &need), 0);
	assert_int_equal(grain_map_allocated(f->map), 100);
	assert_int_equal(grain_map_leaf(f->map, grain, &out, &need), 0);
	assert_true(out == address);
	assert_int_equal(grain_map_lookup(f->map, grain, 1, &out, &need), -EAGAIN);
	assert_true(need.level == 0 && need.index == grain / MAP_FANOUT && need.address == address);
	assert_int_equal(grain_map_graft_begin(f->map, grain, &need), -EEXIST);
	assert_int_equal(grain_map_graft(f->map, grain, address, 100, &need), -EEXIST);
	play_update(&f->d, f->map, grain + MAP_FANOUT, 1, &e);
	assert_int_equal(grain_map_graft_begin(f->map, grain + MAP_FANOUT, &need), -EEXIST);
	assert_int_equal(grain_map_allocated(f->map), 101);
}

static void a_touched_node_is_in_the_next_batch_and_no_other(void **state)
{
	struct fixture *f = *state;
	map_entry_t e = map_entry(0, 1, 1);
	struct map_need need;
	struct map_batch *b;
	unsigned level;
	uint64_t index;

	play_update(&f->d, f->map, 1000, 1, &e);
	play_save(&f->d, f->map);
	for (unsigned l = 0; l < MAP_LEVELS; l++) {
		grain_map_shrink(f->map, 0);
		if (l + 1 < MAP_LEVELS)
			assert_int_equal(grain_map_find(f->map, l, 1000ull >> (9 * (l + 1)), &need), -EAGAIN);
		PLAY(&f->d, f->map, grain_map_touch(f->map, l, 1000ull >> (9 * (l + 1)), &need));
		assert_int_equal(grain_map_dirty(f->map), MAP_NODE_BYTES);
		assert_int_equal(grain_map_find(f->map, l, 1000ull >> (9 * (l + 1)), &need), 0);
		b = grain_map_freeze(f->map);
		assert_int_equal(map_batch_count(b), 1);
		map_batch_node(b, 0, &level, &index);
		assert_int_equal(level, l);
		assert_int_equal(index, 1000ull >> (9 * (l + 1)));
		grain_map_thaw(f->map, b, true);
	}
	/* One that does not exist is not made. */
	PLAY(&f->d, f->map, grain_map_touch(f->map, 0, 77, &need));
	assert_int_equal(grain_map_touch(f->map, MAP_LEVELS, 0, &need), 0);
	assert_int_equal(grain_map_touch(f->map, 0, UINT64_MAX, &need), 0);
	assert_int_equal(grain_map_dirty(f->map), 0);
	play_get(&f->d, f->map, 1000);
}

static void another_state_of_the_disk_takes_the_place_of_a_clean_one(void **state)
{
	struct fixture *f = *state;
	map_entry_t e = map_entry(0, 1, 1), root[MAP_FANOUT] = { 0 }, out;
	struct map_need need;

	play_update(&f->d, f->map, 1000, 1, &e);
	root[5] = map_entry(0, 9, 9);
	assert_false(grain_map_reset(f->map, root));
	play_get(&f->d, f->map, 1000);
	play_save(&f->d, f->map);
	assert_int_equal(grain_map_pin(f->map, 1000, 1, false, &need), 0);
	assert_false(grain_map_reset(f->map, root));
	grain_map_unpin(f->map, 1000, 1);
	assert_true(grain_map_reset(f->map, root));
	assert_int_equal(grain_map_lookup(f->map, 1000, 1, &out, &need), 0);
	assert_true(out == MAP_ENTRY_NONE);
	assert_int_equal(grain_map_lookup(f->map, 5ull << 27, 1, &out, &need), -EAGAIN);
	assert_int_equal(need.level, MAP_LEVELS - 2);
	assert_true(need.address == root[5]);
	assert_int_equal(map_budget_used(f->budget), MAP_NODE_BYTES);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(an_empty_map_answers_none_and_makes_nothing),
		T(a_new_leaf_and_its_parents_are_dirty_together),
		T(a_range_over_leaves_is_set_and_cleared),
		T(clearing_nothing_dirties_nothing),
		T(a_batch_keeps_its_moment_while_the_map_goes_on),
		T(a_pinned_leaf_may_change_after_a_freeze),
		T(what_was_not_saved_is_dirty_again),
		T(dropped_nodes_are_asked_for_with_their_address),
		T(an_address_set_during_a_batch_is_not_lost_with_it),
		T(pinned_and_dirty_leaves_stay_when_memory_is_short),
		T(a_pin_on_an_absent_leaf_holds_once_it_is_made),
		T(the_widest_pin_gets_there_though_all_memory_is_dirty),
		T(the_budget_holds_while_much_is_read),
		T(a_busy_map_takes_memory_from_an_idle_one),
		T(next_crosses_absent_trees_and_stops_at_the_limit),
		T(a_search_that_needs_a_node_says_where_to_go_on),
		T(a_leaf_is_taken_over_only_where_there_is_none),
		T(a_touched_node_is_in_the_next_batch_and_no_other),
		T(another_state_of_the_disk_takes_the_place_of_a_clean_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
