/* SPDX-License-Identifier: GPL-3.0-only */
/* test_coordinate_list.c: pages of several nodes become one page, and how many nodes that takes. */
#include "lib/random.h"
#include "node/coordinate_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#define KEYS 20
#define NODES 4

static struct list_entry entry(const char *key, uint64_t counter, unsigned flags)
{
	return (struct list_entry){ .key = key,
		                    .meta = { .version = { .counter = counter, .tie = 1 }, .flags = flags } };
}

static void the_highest_version_counts_and_tombstones_drop_out(void **state)
{
	struct list_entry a[] = { entry("a", 1, 0), entry("b", 5, 0), entry("c", 3, 0) };
	struct list_entry b[] = { entry("a", 2, 0), entry("b", 6, OBJECT_TOMBSTONE), entry("d", 1, 0) };
	struct list_page pages[] = { { a, 3, false }, { b, 3, false } };
	struct list_entry out[8];
	struct list_result r = coordinate_list_merge(pages, 2, out, 8);

	(void)state;
	assert_int_equal(r.count, 3);
	assert_false(r.has_more);
	assert_string_equal(r.last, "d");
	assert_true(strcmp(out[0].key, "a") == 0 && out[0].meta.version.counter == 2);
	assert_true(strcmp(out[1].key, "c") == 0 && strcmp(out[2].key, "d") == 0);
}

static void no_key_is_given_that_a_node_may_know_better(void **state)
{
	struct list_entry a[] = { entry("a", 1, 0), entry("b", 1, 0) };
	struct list_entry b[] = { entry("b", 1, 0), entry("c", 1, 0), entry("d", 1, 0) };
	struct list_page pages[] = { { a, 2, true }, { b, 3, false } };
	struct list_entry out[8];
	struct list_result r = coordinate_list_merge(pages, 2, out, 8);

	(void)state;
	assert_int_equal(r.count, 2);
	assert_true(r.has_more);
	assert_string_equal(r.last, "b");
}

static void a_page_of_tombstones_goes_on_after_them(void **state)
{
	struct list_entry a[] = { entry("a", 1, OBJECT_TOMBSTONE), entry("b", 1, OBJECT_TOMBSTONE) };
	struct list_page pages[] = { { a, 2, true } };
	struct list_entry out[1];
	struct list_result r = coordinate_list_merge(pages, 1, out, 1);

	(void)state;
	assert_int_equal(r.count, 0);
	assert_true(r.has_more);
	assert_string_equal(r.last, "b");
}

static void a_page_is_cut_at_its_most(void **state)
{
	struct list_entry a[] = { entry("a", 1, 0), entry("b", 1, 0), entry("c", 1, 0) };
	struct list_page pages[] = { { a, 3, false } };
	struct list_entry out[2];
	struct list_result r = coordinate_list_merge(pages, 1, out, 2);

	(void)state;
	assert_int_equal(r.count, 2);
	assert_true(r.has_more);
	assert_string_equal(r.last, "b");
}

static void nonsense_from_a_node_is_noticed(void **state)
{
	struct list_entry a[] = { entry("b", 1, 0), entry("a", 1, 0) }, b[] = { entry("a", 1, 0), entry("a", 2, 0) };
	struct list_page back = { a, 2, false }, twice = { b, 2, false }, empty = { NULL, 0, true };
	struct list_entry out[4];

	(void)state;
	assert_true(coordinate_list_merge(&back, 1, out, 4).is_out_of_order);
	assert_true(coordinate_list_merge(&twice, 1, out, 4).is_out_of_order);
	assert_null(coordinate_list_merge(&empty, 1, out, 4).last);
	assert_true(coordinate_list_merge(&empty, 1, out, 4).has_more);
}

/* Page after page, of any sizes, is the same as all at once. */
static void page_after_page_is_the_whole(void **state)
{
	struct random random = { env_number("GARNER_TEST_SEED", 1) };
	static char key[KEYS][12];

	(void)state;
	for (int i = 0; i < KEYS; i++)
		snprintf(key[i], sizeof key[i], "%02d", i);
	for (int round = 0; round < 2000; round++) {
		struct list_entry has[NODES][KEYS], out[KEYS];
		size_t count[NODES] = { 0 }, got = 0, most = 1 + random_below(&random, 5);
		struct object_meta newest[KEYS] = { 0 };
		const char *after = "";
		struct list_result r;

		for (int n = 0; n < NODES; n++) {
			for (int i = 0; i < KEYS; i++) {
				struct list_entry e = entry(key[i], 1 + random_below(&random, 3), 0);

				e.meta.flags = e.meta.version.counter == 2 ? OBJECT_TOMBSTONE : 0;
				if (random_once_in(&random, 2))
					continue;
				has[n][count[n]++] = e;
				if (object_version_compare(e.meta.version, newest[i].version) > 0)
					newest[i] = e.meta;
			}
		}
		do {
			struct list_page pages[NODES] = { 0 };
			struct list_entry page[NODES][KEYS];

			for (int n = 0; n < NODES; n++) {
				pages[n].entry = page[n];
				for (size_t i = 0; i < count[n]; i++) {
					if (strcmp(has[n][i].key, after) <= 0)
						continue;
					if (pages[n].count == most)
						pages[n].has_more = true;
					else
						page[n][pages[n].count++] = has[n][i];
				}
			}
			r = coordinate_list_merge(pages, NODES, out + got,
			                          1 + random_below(&random, KEYS - got ? KEYS - got : 1));
			got += r.count;
			after = r.last;
		} while (r.has_more);
		for (int i = 0, at = 0; i < KEYS; i++) {
			if (object_version_is_none(newest[i].version) || newest[i].flags)
				continue;
			assert_in_range(at, 0, got - 1);
			assert_string_equal(out[at].key, key[i]);
			assert_int_equal(out[at++].meta.version.counter, newest[i].version.counter);
		}
	}
}

static void fewer_than_a_quorum_may_be_missing_before_and_after_a_change(void **state)
{
	struct cluster_map map = { .replicas = 3, .quorum = 2, .node_count = 5 };
	unsigned all[] = { 1, 2, 3, 4, 5 };

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		map.node[i].id = i + 1;
	assert_true(coordinate_list_enough(&map, "p", all, 4));
	assert_false(coordinate_list_enough(&map, "p", all, 3));
	map.node[4].state = NODE_JOINING; /* after: 2 of 5 are missing */
	assert_false(coordinate_list_enough(&map, "p", all, 3));
	map.node[3].state = NODE_JOINING;
	map.node[4].state = NODE_LEAVING;
	assert_true(coordinate_list_enough(&map, "p", all, 3));
	map.pool_count = 1;
	map.pool[0] = (struct cluster_pool){ .name = "p", .replicas = 1, .quorum = 1 };
	assert_false(coordinate_list_enough(&map, "p", all, 4));
	assert_true(coordinate_list_enough(&map, "p", all, 5));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_highest_version_counts_and_tombstones_drop_out),
		cmocka_unit_test(no_key_is_given_that_a_node_may_know_better),
		cmocka_unit_test(a_page_of_tombstones_goes_on_after_them),
		cmocka_unit_test(a_page_is_cut_at_its_most),
		cmocka_unit_test(nonsense_from_a_node_is_noticed),
		cmocka_unit_test(page_after_page_is_the_whole),
		cmocka_unit_test(fewer_than_a_quorum_may_be_missing_before_and_after_a_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
