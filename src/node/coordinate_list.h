/* SPDX-License-Identifier: GPL-3.0-only */
/* coordinate_list.h: one page of a listing, out of the pages of the nodes.
 *
 * Every node gives what it has itself, tombstones too, in the order of the keys (strcmp()). Of each key the highest version counts,
 * and tombstones drop out. An object that a quorum of W replicas accepted may be missing at all nodes but W, so at most W - 1 of them may
 * be silent or without a vote: coordinate_list_enough().
 *
 * Pure; any thread.
 */
#ifndef GARNER_NODE_COORDINATE_LIST_H
#define GARNER_NODE_COORDINATE_LIST_H

#include "store/cluster_map.h"
#include "store/object_version.h"

struct list_entry {
	const char *key; /* the caller's */
	struct object_meta meta;
};

/* A node's page: entries in ascending order of their keys, all after the key that was asked for. */
struct list_page {
	const struct list_entry *entry;
	size_t count;
	bool has_more; /* it may have keys after the last entry (or, without any entry, any) */
};

struct list_result {
	size_t count;
	bool has_more; /* there may be more: ask again after `last` */
	const char
		*last; /* up to which key (inclusive) this page is complete; NULL when nothing at all could be told */
	bool is_out_of_order; /* a page was not in order: nothing of the result may be used */
};

/* Merges the pages into `out`, which has room for `max` entries (whose keys are those of the pages). Only keys that all pages reach are
 * given: after the end of a page that has more, its node may have a version that is not known. So a page can be empty and have more, as
 * when all are tombstones. A key never comes that is out of place, whatever nodes send. */
struct list_result coordinate_list_merge(const struct list_page *pages, size_t page_count, struct list_entry *out,
                                         size_t max);

/* Whether the answers of these nodes suffice for a listing of the pool: in both states of a map that is moving, so many are missing at
 * most as are fewer than a quorum. `answered`: ids of nodes that answered with a vote. */
bool coordinate_list_enough(const struct cluster_map *map, const char *pool, const unsigned *answered, size_t count);

#endif
