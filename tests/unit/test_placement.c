/* SPDX-License-Identifier: GPL-3.0-only */
/* test_placement.c: who holds what: shares as the weights say, little moves when nodes come and go, racks come first, and two sets
 * while the map is moving. */
#include "store/placement.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#define NAMES 20000

static struct cluster_map make(unsigned nodes, unsigned replicas)
{
	struct cluster_map map = { .id = "0123456789abcdef0123456789abcdef", .version = 1, .replicas = replicas };

	map.quorum = replicas / 2 + 1;
	map.node_count = nodes;
	for (unsigned i = 0; i < nodes; i++) {
		map.node[i] = (struct cluster_node){ .id = i + 1, .port = 7070, .weight = 100 };
		snprintf(map.node[i].host, sizeof map.node[i].host, "h%u", i + 1);
	}
	strcpy(map.agreement, nodes > 1 ? "http://h1:2379" : "local");
	assert_int_equal(cluster_map_check(&map, NULL), 0);
	return map;
}

static void place(const struct cluster_map *map, unsigned i, struct placement *p)
{
	char name[64];

	snprintf(name, sizeof name, "pool/images/0000000000000001/segments/%016x-00000001", i);
	placement_of(map, name, p);
}

/* How many of the names each node holds, by id. */
static void count_held(const struct cluster_map *map, unsigned held[CLUSTER_NODES_MAX + 1])
{
	struct placement p;

	memset(held, 0, (CLUSTER_NODES_MAX + 1) * sizeof *held);
	for (unsigned i = 0; i < NAMES; i++) {
		place(map, i, &p);
		assert_int_equal(p.sets, 1);
		for (size_t k = 0; k < p.count; k++)
			held[p.node[k]]++;
	}
}

/* Within four standard deviations of what chance does: a few percent. */
static void assert_about(unsigned n, double expected)
{
	assert_true((n - expected) * (n - expected) < 16 * expected);
}

static void every_machine_comes_to_the_same_result(void **state)
{
	/* Computed by another program, from the description in placement.h; must never change, or every cluster's data is in the wrong place. */
	static const struct {
		const char *name;
		unsigned node[3];
	} table[] = {
		{ "pool/a", { 7, 4, 6 } },
		{ "pool/images/0000000000000001/head", { 4, 5, 6 } },
		{ "fast/images/00000000000000ff/segments/0000000000000010-00000001", { 5, 7, 6 } },
		{ "x/y/z", { 2, 6, 3 } },
		{ "other/names/1/0123456789abcdef", { 4, 7, 5 } },
		{ "p/k1", { 4, 5, 7 } },
		{ "p/k2", { 6, 7, 5 } },
		{ "p/k3", { 7, 4, 6 } },
	};
	struct cluster_map map = make(7, 3);

	(void)state;
	for (unsigned i = 0; i < 7; i++)
		map.node[i].weight = 10 + 37 * i;
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		struct placement p;

		placement_of(&map, table[i].name, &p);
		assert_int_equal(p.count, 3);
		assert_memory_equal(p.set[0].node, table[i].node, sizeof table[i].node);
		assert_memory_equal(p.node, table[i].node, sizeof table[i].node);
		assert_int_equal(p.set[0].quorum, 2);
	}
}

static void the_first_choice_follows_the_weights(void **state)
{
	struct cluster_map map = make(6, 1);
	unsigned held[CLUSTER_NODES_MAX + 1], sum = 0;

	(void)state;
	for (unsigned i = 0; i < 6; i++)
		sum += map.node[i].weight = 100 + 60 * i;
	count_held(&map, held);
	for (unsigned i = 0; i < 6; i++)
		assert_about(held[i + 1], (double)NAMES * map.node[i].weight / sum);
}

static void nodes_alike_hold_alike(void **state)
{
	struct cluster_map map = make(7, 3);
	unsigned held[CLUSTER_NODES_MAX + 1];

	(void)state;
	count_held(&map, held);
	for (unsigned i = 1; i <= 7; i++)
		assert_about(held[i], NAMES * 3.0 / 7);
}

static void several_replicas_nearly_follow_the_weights(void **state)
{
	struct cluster_map map = make(8, 2);
	unsigned held[CLUSTER_NODES_MAX + 1];

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		map.node[i].weight = i < 4 ? 100 : 150;
	count_held(&map, held);
	for (unsigned i = 0; i < 8; i++) {
		double expected = 2.0 * NAMES * map.node[i].weight / 1000;

		assert_true(held[i + 1] > expected * 0.9 && held[i + 1] < expected * 1.1);
	}
}

/* Counts the replicas of all names that `after` has and `before` has not, and checks that only those of `moved` came or went. */
static unsigned count_moved(const struct cluster_map *before, const struct cluster_map *after, unsigned moved)
{
	struct placement a, b;
	unsigned count = 0;

	for (unsigned i = 0; i < NAMES; i++) {
		unsigned changes = 0;

		place(before, i, &a);
		place(after, i, &b);
		for (size_t k = 0; k < b.count; k++)
			changes += !placement_has(&a, b.node[k]);
		assert_in_range(changes, 0, 1);
		if (changes)
			assert_true(placement_has(&a, moved) != placement_has(&b, moved));
		count += changes;
	}
	return count;
}

static void only_its_share_moves_when_a_node_comes_or_goes(void **state)
{
	struct cluster_map map = make(7, 3), more = make(8, 3);
	unsigned moved;

	(void)state;
	moved = count_moved(&map, &more, 8);
	assert_about(moved, NAMES * 3.0 / 8);
	assert_int_equal(count_moved(&more, &map, 8), moved);
}

static void with_racks_no_more_moves_than_one_replica(void **state)
{
	struct cluster_map map = make(7, 3), more = make(8, 3);

	(void)state;
	for (unsigned racks = 1; racks <= 5; racks++) {
		for (unsigned i = 0; i < 8; i++) {
			snprintf(more.node[i].rack, sizeof more.node[i].rack, "r%u", i % racks);
			map.node[i < 7 ? i : 0].rack[0] = '\0';
		}
		for (unsigned i = 0; i < 7; i++)
			strcpy(map.node[i].rack, more.node[i].rack);
		assert_true(count_moved(&map, &more, 8) > 0);
	}
}

static void a_heavier_node_takes_and_nothing_else_moves(void **state)
{
	struct cluster_map map = make(7, 3), heavier = make(7, 3);

	(void)state;
	heavier.node[4].weight = 170;
	assert_true(count_moved(&map, &heavier, 5) > 0);
}

/* How many of the first `count` nodes are in racks of their own. */
static unsigned racks_of(const struct cluster_map *map, const struct placement_set *set)
{
	unsigned racks = 0;

	for (size_t i = 0; i < set->count; i++) {
		const char *rack = cluster_map_node(map, set->node[i])->rack;
		bool is_new = true;

		for (size_t k = 0; k < i; k++)
			is_new = is_new && (!*rack || strcmp(cluster_map_node(map, set->node[k])->rack, rack) != 0);
		racks += is_new;
	}
	return racks;
}

static void replicas_are_in_different_racks_while_there_are_enough(void **state)
{
	(void)state;
	for (unsigned racks = 1; racks <= 8; racks++) {
		struct cluster_map map = make(8, 3);
		struct placement p;

		for (unsigned i = 0; i < 8; i++)
			snprintf(map.node[i].rack, sizeof map.node[i].rack, "r%u", i % racks);
		for (unsigned i = 0; i < NAMES / 10; i++) {
			place(&map, i, &p);
			assert_int_equal(p.count, 3);
			assert_int_equal(racks_of(&map, &p.set[0]), racks < 3 ? racks : 3);
		}
	}
}

static void nodes_without_a_rack_are_racks_of_their_own(void **state)
{
	struct cluster_map map = make(5, 3);
	struct placement p;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		strcpy(map.node[i].rack, "same");
	for (unsigned i = 0; i < NAMES / 10; i++) {
		place(&map, i, &p);
		assert_true(placement_has(&p, 4) && placement_has(&p, 5));
	}
}

static void while_nodes_come_and_go_there_are_two_sets(void **state)
{
	struct cluster_map map = make(6, 3), old = make(5, 3), new = make(6, 3);
	unsigned two = 0;

	(void)state;
	map.node[5].state = NODE_JOINING;
	map.node[1].state = NODE_LEAVING;
	new.node[1] = new.node[5]; /* without node 2 */
	new.node_count = 5;
	for (unsigned i = 0; i < NAMES / 10; i++) {
		struct placement p, a, b;

		place(&map, i, &p);
		place(&old, i, &a);
		place(&new, i, &b);
		assert_memory_equal(&p.set[0], &a.set[0], sizeof a.set[0]);
		if (p.sets == 1) {
			for (size_t k = 0; k < 3; k++)
				assert_true(placement_set_has(&b.set[0], p.node[k]));
			assert_int_equal(p.count, 3);
			continue;
		}
		two++;
		assert_memory_equal(&p.set[1], &b.set[0], sizeof b.set[0]);
		assert_in_range(p.count, 4, 5);
		for (size_t k = 0; k < 3; k++)
			assert_true(placement_has(&p, a.node[k]) && placement_has(&p, b.node[k]));
	}
	assert_in_range(two, NAMES / 20, NAMES / 10);
}

static void pools_have_their_own_replicas(void **state)
{
	struct cluster_map map = make(5, 3);
	struct placement p;

	(void)state;
	map.pool_count = 1;
	map.pool[0] = (struct cluster_pool){ .name = "wide", .replicas = 5, .quorum = 4 };
	placement_of(&map, "wide/key", &p);
	assert_true(p.count == 5 && p.set[0].quorum == 4);
	placement_of(&map, "wider/key", &p);
	assert_true(p.count == 3 && p.set[0].quorum == 2);
}

static void clusters_of_other_ids_place_otherwise(void **state)
{
	struct cluster_map map = make(5, 1), other = make(5, 1);
	unsigned same = 0;

	(void)state;
	other.id[0] = 'f';
	for (unsigned i = 0; i < NAMES; i++) {
		struct placement a, b;

		place(&map, i, &a);
		place(&other, i, &b);
		same += a.node[0] == b.node[0];
	}
	assert_about(same, NAMES / 5.0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_machine_comes_to_the_same_result),
		cmocka_unit_test(the_first_choice_follows_the_weights),
		cmocka_unit_test(nodes_alike_hold_alike),
		cmocka_unit_test(several_replicas_nearly_follow_the_weights),
		cmocka_unit_test(only_its_share_moves_when_a_node_comes_or_goes),
		cmocka_unit_test(with_racks_no_more_moves_than_one_replica),
		cmocka_unit_test(a_heavier_node_takes_and_nothing_else_moves),
		cmocka_unit_test(replicas_are_in_different_racks_while_there_are_enough),
		cmocka_unit_test(nodes_without_a_rack_are_racks_of_their_own),
		cmocka_unit_test(while_nodes_come_and_go_there_are_two_sets),
		cmocka_unit_test(pools_have_their_own_replicas),
		cmocka_unit_test(clusters_of_other_ids_place_otherwise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
