/* SPDX-License-Identifier: GPL-3.0-only */
/* node_table.h: the nodes of one grain map that are in memory: found by key, counted, evicted. Private to src/map.
 *
 * A node is clean (it may go: the clock decides), dirty (it stays until a batch takes it) or frozen (in the batch). Knows
 * nothing of the tree: what a missing node means is the map's business. Not thread-safe: the map locks.
 *
 * Eviction and progress: a caller that needs several nodes loads them one after the other, so those installed last must
 * still be there when the last one comes, even when everything else is dirty and the budget long exceeded. Therefore the
 * newest `grace` installed nodes never go, nor does the table shrink below that many clean ones.
 */
#ifndef GARNER_MAP_NODE_TABLE_H
#define GARNER_MAP_NODE_TABLE_H

#include "base/hash.h"
#include "map/map_budget.h"
#include "map/map_node.h"

struct node_table {
	struct map_budget *budget;
	struct map_holder holder;
	struct hash *nodes;
	struct hash
		*ghosts; /* key of a leaf that does not exist -> how many pins wait for it to be made, as a pointer */
	struct map_node *last; /* the leaf found last, or NULL */
	struct map_node_queue_head clean, dirty;
	size_t clean_count, dirty_count;
	size_t held; /* dirty or frozen */
	uint32_t installs;
	uint32_t grace;
};

/* 0 or -ENOMEM. The holder's give() is set by the caller, who then joins the budget. */
int node_table_init(struct node_table *t, struct map_budget *budget);
/* Frees every node. None is frozen. */
void node_table_destroy(struct node_table *t);

/* The node, marked as used, or NULL. */
struct map_node *node_table_get(struct node_table *t, unsigned level, uint64_t index);

/* Adds a new node, which becomes the table's: `installed` as loaded (clean), else as made (dirty). Pins that wait for it
 * become its own. 0, or -ENOMEM with the node still the caller's. */
int node_table_add(struct node_table *t, struct map_node *n, bool installed);

void node_table_mark_dirty(struct node_table *t, struct map_node *n);
/* Puts the node on the queue that its flags ask for. Called after changing `dirty` or `frozen`. */
void node_table_settle(struct node_table *t, struct map_node *n);

/* Gives a shared node entries of its own. 0 or -ENOMEM. */
int node_table_unshare(struct node_table *t, struct map_node *n);

/* Pins that wait for a leaf that does not exist. 0 or -ENOMEM. */
int node_table_ghost_pin(struct node_table *t, uint64_t key);
void node_table_ghost_unpin(struct node_table *t, uint64_t key);

/* Someone is about to load up to `nodes` nodes for one call: those must fit together. */
void node_table_expect(struct node_table *t, size_t nodes);

/* Drops up to `want` clean, unpinned nodes; `all` overrides the grace. Returns how many. */
size_t node_table_evict(struct node_table *t, size_t want, bool all);

#endif
