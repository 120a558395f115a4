/* SPDX-License-Identifier: GPL-3.0-only */
/* map_node.c: making and freeing the nodes of a grain map. */
#include "map/map_node.h"

#include "map/map_page.h"

#include <stdlib.h>
#include <string.h>

map_entry_t *map_entries_copy(const map_entry_t *entries)
{
	map_entry_t *copy = map_page_new();

	if (copy)
		memcpy(copy, entries, MAP_NODE_BYTES);
	return copy;
}

struct map_node *map_node_new(unsigned level, uint64_t index, const map_entry_t *entries)
{
	struct map_node *n = calloc(1, sizeof *n);

	if (!n)
		return NULL;
	n->entries = entries ? map_entries_copy(entries) : map_page_new();
	if (!n->entries) {
		free(n);
		return NULL;
	}
	if (!entries)
		memset(n->entries, 0, MAP_NODE_BYTES);
	n->key = map_node_key(level, index);
	n->level = (uint8_t)level;
	return n;
}

void map_node_free(struct map_node *n)
{
	if (!n)
		return;
	if (!n->shared)
		map_page_free(n->entries);
	free(n);
}
