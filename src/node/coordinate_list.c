/* SPDX-License-Identifier: GPL-3.0-only */
/* coordinate_list.c: merging the nodes' pages of a listing. */
#include "node/coordinate_list.h"

#include <string.h>

/* The key after which some node may have more that we were not told of; NULL: there is no such. *is_blind: a node told nothing. */
static const char *horizon_of(const struct list_page *pages, size_t page_count, bool *is_blind)
{
	const char *horizon = NULL;

	*is_blind = false;
	for (size_t i = 0; i < page_count; i++) {
		const char *last;

		if (!pages[i].has_more)
			continue;
		if (!pages[i].count) {
			*is_blind = true;
			continue;
		}
		last = pages[i].entry[pages[i].count - 1].key;
		if (!horizon || strcmp(last, horizon) < 0)
			horizon = last;
	}
	return horizon;
}

static bool is_in_order(const struct list_page *page)
{
	for (size_t i = 1; i < page->count; i++)
		if (strcmp(page->entry[i - 1].key, page->entry[i].key) >= 0)
			return false;
	return true;
}

/* The least key that is left, or NULL. */
static const char *least_key(const struct list_page *pages, size_t page_count, const size_t *at)
{
	const char *least = NULL;

	for (size_t i = 0; i < page_count; i++)
		if (at[i] < pages[i].count && (!least || strcmp(pages[i].entry[at[i]].key, least) < 0))
			least = pages[i].entry[at[i]].key;
	return least;
}

/* Takes `key` from all pages: the newest of what they have. */
static struct list_entry take_key(const struct list_page *pages, size_t page_count, size_t *at, const char *key)
{
	struct list_entry newest = { .key = key };

	for (size_t i = 0; i < page_count; i++) {
		const struct list_entry *e;

		if (at[i] == pages[i].count || strcmp(pages[i].entry[at[i]].key, key) != 0)
			continue;
		e = &pages[i].entry[at[i]++];
		if (object_version_compare(e->meta.version, newest.meta.version) > 0)
			newest = *e;
	}
	return newest;
}

struct list_result coordinate_list_merge(const struct list_page *pages, size_t page_count, struct list_entry *out,
                                         size_t max)
{
	size_t at[CLUSTER_NODES_MAX] = { 0 };
	struct list_result result = { 0 };
	const char *horizon, *key;
	bool is_blind;

	if (page_count > CLUSTER_NODES_MAX)
		page_count = CLUSTER_NODES_MAX;
	for (size_t i = 0; i < page_count; i++)
		result.is_out_of_order = result.is_out_of_order || !is_in_order(&pages[i]);
	horizon = horizon_of(pages, page_count, &is_blind);
	if (is_blind || result.is_out_of_order) {
		result.has_more = true;
		return result;
	}
	while ((key = least_key(pages, page_count, at)) && (!horizon || strcmp(key, horizon) <= 0)) {
		struct list_entry e;

		if (result.count == max) {
			result.has_more = true;
			return result;
		}
		e = take_key(pages, page_count, at, key);
		result.last = key;
		if (!(e.meta.flags & OBJECT_TOMBSTONE))
			out[result.count++] = e;
	}
	result.has_more = horizon != NULL;
	return result;
}

bool coordinate_list_enough(const struct cluster_map *map, const char *pool, const unsigned *answered, size_t count)
{
	unsigned replicas, quorum, missing_before = 0, missing_after = 0;

	cluster_map_pool(map, pool, &replicas, &quorum);
	for (size_t i = 0; i < map->node_count; i++) {
		bool is_there = false;

		for (size_t k = 0; k < count; k++)
			is_there = is_there || answered[k] == map->node[i].id;
		missing_before += !is_there && map->node[i].state != NODE_JOINING;
		missing_after += !is_there && map->node[i].state != NODE_LEAVING;
	}
	return missing_before < quorum && missing_after < quorum;
}
