/* SPDX-License-Identifier: GPL-3.0-only */
/* map_node.h: one node of a grain map in memory. Private to src/map. Knows no lock: the map that owns it has one. */
#ifndef GARNER_MAP_MAP_NODE_H
#define GARNER_MAP_MAP_NODE_H

#include "map/grain_map.h"

#include <sys/queue.h>

/* Which queue of its table a node is on. */
enum map_node_queue { MAP_QUEUE_NONE, MAP_QUEUE_CLEAN, MAP_QUEUE_DIRTY };

struct map_node {
	map_entry_t *entries; /* MAP_FANOUT of them; a batch reads the same array while `shared` */
	uint64_t key;         /* map_node_key() */
	uint32_t pins;
	uint32_t born; /* the table's count of installed nodes when this one was */
	uint8_t level;
	uint8_t referenced; /* rounds of the clock that it will survive */
	uint8_t queue;
	bool dirty;  /* changed since the last freeze */
	bool frozen; /* part of the outstanding batch */
	bool shared; /* `entries` belongs to that batch too: copy before a change. Only leaves, never a pinned one */
	TAILQ_ENTRY(map_node) link;
};

TAILQ_HEAD(map_node_queue_head, map_node);

static inline uint64_t map_node_key(unsigned level, uint64_t index)
{
	return (uint64_t)level << 58 | index;
}

static inline uint64_t map_node_index(const struct map_node *n)
{
	return n->key & (((uint64_t)1 << 58) - 1);
}

/* How many nodes a level has. */
static inline uint64_t map_level_nodes(unsigned level)
{
	return (uint64_t)1 << (MAP_FANOUT_BITS * (MAP_LEVELS - 1 - level));
}

/* A clean node with a copy of `entries`, or all NONE when that is NULL. NULL when memory is short. */
struct map_node *map_node_new(unsigned level, uint64_t index, const map_entry_t *entries);
/* Frees the node and, unless shared, its entries. */
void map_node_free(struct map_node *n);
/* A copy of a node's entries, for map_page_free(), or NULL. */
map_entry_t *map_entries_copy(const map_entry_t *entries);

#endif
