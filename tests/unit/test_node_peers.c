/* SPDX-License-Identifier: GPL-3.0-only */
/* test_node_peers.c: which storage node is asked next, by what is known of each. */
#include "store/node_peers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SECOND 1000000000ull
#define NOW (1000 * SECOND)

static const unsigned ids[] = { 3, 1, 2 };

static struct cluster_map map_of(unsigned count)
{
	struct cluster_map map = { .version = 1 };

	for (unsigned i = 0; i < count; i++) {
		map.node[i].id = i + 1;
		map.node[i].port = (uint16_t)(7000 + i);
		snprintf(map.node[i].host, sizeof map.node[i].host, "h%u", i + 1);
	}
	map.node_count = count;
	return map;
}

static struct node_peers three(void)
{
	struct cluster_map map = map_of(3);
	struct node_peers p = { 0 };

	node_peers_set(&p, &map);
	return p;
}

static int choose(struct node_peers *p, unsigned tried, bool nearest, uint64_t now)
{
	return node_peers_choose(p, ids, 3, tried, nearest, now);
}

static void nodes_are_asked_in_the_order_given(void **state)
{
	struct node_peers p = three();

	(void)state;
	assert_int_equal(choose(&p, 0, false, NOW), 0);
	assert_int_equal(choose(&p, 1, false, NOW), 1);
	assert_int_equal(choose(&p, 3, false, NOW), 2);
	assert_int_equal(choose(&p, 7, false, NOW), -1);
	assert_int_equal(choose(&p, 2, false, NOW), 0);
}

static void one_that_is_down_comes_last(void **state)
{
	struct node_peers p = three();

	(void)state;
	node_peer_lost(node_peers_find(&p, 3), NOW);
	assert_int_equal(choose(&p, 0, false, NOW), 1);
	assert_int_equal(choose(&p, 2 | 4, false, NOW), 0);
	node_peer_lost(node_peers_find(&p, 1), NOW);
	node_peer_lost(node_peers_find(&p, 2), NOW);
	assert_int_equal(choose(&p, 0, false, NOW), 0);
	assert_int_equal(choose(&p, 1, true, NOW), 1);
	node_peer_answered(node_peers_find(&p, 2));
	assert_int_equal(choose(&p, 0, false, NOW), 2);
}

static void one_that_is_down_is_looked_for_after_a_while_by_one(void **state)
{
	struct node_peers p = three();
	struct node_peer *third = node_peers_find(&p, 3);
	uint64_t later = NOW + NODE_DOWN_MS * 1000000ull;

	(void)state;
	assert_null(node_peers_to_look_for(&p, NOW));
	node_peer_lost(third, NOW);
	assert_null(node_peers_to_look_for(&p, later - 1));
	assert_ptr_equal(node_peers_to_look_for(&p, later), third);
	assert_null(node_peers_to_look_for(&p, later));
	/* It is still away. */
	node_peer_lost(third, later);
	assert_null(node_peers_to_look_for(&p, later));
	assert_ptr_equal(node_peers_to_look_for(&p, 2 * later), third);
	node_peer_answered(third);
	assert_null(node_peers_to_look_for(&p, 3 * later));
}

static void the_nearest_is_the_one_that_answers_fastest(void **state)
{
	struct node_peers p = three();

	(void)state;
	node_peer_took(node_peers_find(&p, 3), 900, NOW);
	node_peer_took(node_peers_find(&p, 1), 300, NOW);
	/* Of the second nothing is known: it is tried. */
	assert_int_equal(choose(&p, 0, true, NOW), 2);
	node_peer_took(node_peers_find(&p, 2), 500, NOW);
	assert_int_equal(choose(&p, 0, true, NOW), 1);
	assert_int_equal(choose(&p, 2, true, NOW), 2);
	assert_int_equal(choose(&p, 0, false, NOW), 0);
	node_peer_lost(node_peers_find(&p, 1), NOW);
	assert_int_equal(choose(&p, 0, true, NOW), 2);
}

static void a_latency_is_a_moving_average_and_is_forgotten(void **state)
{
	struct node_peers p = three();
	struct node_peer *peer = node_peers_find(&p, 1);

	(void)state;
	assert_int_equal(node_peer_latency_us(peer, NOW), 0);
	node_peer_took(peer, 800, NOW);
	assert_int_equal(node_peer_latency_us(peer, NOW), 800);
	node_peer_took(peer, 1600, NOW);
	assert_int_equal(node_peer_latency_us(peer, NOW), 900);
	assert_int_equal(node_peer_latency_us(peer, NOW + 5 * SECOND), 450);
	assert_int_equal(node_peer_latency_us(peer, NOW + 500 * SECOND), 0);
	/* A clock that seems to go back, between threads, changes nothing. */
	assert_int_equal(node_peer_latency_us(peer, NOW - 1), 900);
	node_peer_took(peer, 0, NOW + 500 * SECOND);
	assert_int_equal(node_peer_latency_us(peer, NOW + 500 * SECOND), 1);
}

static void a_new_map_keeps_what_is_known_of_those_that_stay(void **state)
{
	struct node_peers p = three();
	struct cluster_map map = map_of(3);

	(void)state;
	for (unsigned id = 1; id <= 3; id++) {
		node_peer_lost(node_peers_find(&p, id), NOW);
		memset(node_peers_find(&p, id)->session.id, (int)id, NODE_SESSION_BYTES);
	}
	map.node[1].port = 9999; /* another address, so another process */
	map.node[2].id = 9;      /* another node at the old address */
	node_peers_set(&p, &map);
	assert_int_equal(p.count, 3);
	assert_true(node_peers_find(&p, 1)->down);
	assert_true(node_session_known(&node_peers_find(&p, 1)->session));
	assert_false(node_peers_find(&p, 2)->down);
	assert_false(node_session_known(&node_peers_find(&p, 2)->session));
	assert_string_equal(node_peers_find(&p, 2)->address, "h2:9999");
	assert_null(node_peers_find(&p, 3));
	assert_false(node_peers_find(&p, 9)->down);
	/* Ids that are not known are left out. */
	assert_int_equal(choose(&p, 0, false, NOW), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_are_asked_in_the_order_given),
		cmocka_unit_test(one_that_is_down_comes_last),
		cmocka_unit_test(one_that_is_down_is_looked_for_after_a_while_by_one),
		cmocka_unit_test(the_nearest_is_the_one_that_answers_fastest),
		cmocka_unit_test(a_latency_is_a_moving_average_and_is_forgotten),
		cmocka_unit_test(a_new_map_keeps_what_is_known_of_those_that_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
