/* SPDX-License-Identifier: GPL-3.0-only */
/* map_node.c: making and freeing the nodes of a grain map. */
#include "map/map_node.h"

#include <stdlib.h>
#include <string.h>

map_entry_t *map_entries_copy(const map_entry_t *entries)
{
	map_entry_t *copy = malloc(MAP_NODE_BYTES);

	if (copy)
		memcpy(copy, entries, MAP_NODE_BYTES);
	return copy;
}

struct map_node *map_node_new(unsigned level, uint64_t index, const map_entry_t *entries)
{
	struct map_node *n = calloc(1, sizeof *n);

	if (!n)
		return NULL;
	n->entries = entries ? map_entries_copy(entries) : calloc(1, MAP_NODE_BYTES);
	if (!n->entries) {
		free(n);
		return NULL;
	}
	n->key = map_node_key(level, index);
	n->level = (uint8_t)level;
	return n;
}

void map_node_free(struct map_node *n)
{
	if (!n)
		return;
	if (!n->shared)
		free(n->entries);
	free(n);
}
