/* SPDX-License-Identifier: GPL-3.0-only */
/* grain_map.h: grain number -> map entry, as a radix tree of 4 KiB nodes with bounded memory.
 *
 * Four levels of 512 entries: level 0 (leaves) covers 512 grains, level 3 (the root, always in memory) 2^36. A leaf entry
 * says where the grain is; an inner entry says where the child's newest copy in the log is, MAP_ENTRY_LOCAL when the child
 * exists but was never written to the log, or MAP_ENTRY_NONE when nothing beneath is mapped. A child may have a newer copy
 * in SQLite than the one its parent points at; the caller looks there first.
 *
 * The tree does no I/O: a call that meets a node that is not in memory returns -EAGAIN and says in `need` which; the caller
 * loads it, gives it to grain_map_install(), and calls again. Nodes changed since the last freeze are dirty and stay in
 * memory; clean, unpinned ones leave it when the budget is exceeded. The caller orders updates of the same grain (range
 * lock) and keeps updates out while it freezes. One mutex inside; every call on any thread; none blocks but for that.
 */
#ifndef GARNER_MAP_GRAIN_MAP_H
#define GARNER_MAP_GRAIN_MAP_H

#include "log/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAP_LEVELS 4
#define MAP_FANOUT 512
#define MAP_FANOUT_BITS 9
#define MAP_NODE_BYTES 4096
#define MAP_GRAINS_MAX ((uint64_t)1 << (MAP_LEVELS * MAP_FANOUT_BITS))

/* The memory that all maps of one process share, in nodes. */
struct map_budget;
/* `bytes`: how much memory nodes may take; at least 1 MiB is granted. NULL when memory is short. */
struct map_budget *map_budget_new(size_t bytes);
/* All maps are freed before. */
void map_budget_free(struct map_budget *b);
/* Bytes held by nodes now, and in dirty ones (which cannot be dropped until they are saved). */
size_t map_budget_used(const struct map_budget *b);
size_t map_budget_dirty(const struct map_budget *b);
size_t map_budget_limit(const struct map_budget *b);

struct grain_map;

/* An empty map (everything unmapped, root in memory). NULL when memory is short. */
struct grain_map *grain_map_new(struct map_budget *budget);
/* Frees it and its nodes. No batch is outstanding, nothing pinned. NULL is ignored. */
void grain_map_free(struct grain_map *m);

/* A node that is needed. `address` is the parent's entry for it: MAP_ENTRY_LOCAL (only SQLite has it) or a log address. */
struct map_need {
	unsigned level;
	uint64_t index; /* within the level: first grain >> (9 * (level + 1)) */
	map_entry_t address;
};

/* Gives the map a node's 512 entries (copied), as loaded. Installing level MAP_LEVELS-1 index 0 replaces the root, and is
 * done before anything else. A node that is in memory already is left as it is. Returns 0, or -ENOMEM.
 *
 * What is installed must be the node's newest copy. So the caller joins concurrent needs of one node into one load (which
 * begins after the -EAGAIN and ends with the install), and lets no load of an inner node run from before the end of a
 * checkpoint until after its grain_map_set_address() calls. */
int grain_map_install(struct grain_map *m, unsigned level, uint64_t index, const map_entry_t *entries);

/* Drops every node, and makes `entries` the root: another state of the disk. The caller has saved what was dirty, and lets nothing be
 * installed meanwhile that belongs to the state before. False, and the map is as it was but for some nodes that are not in memory any
 * more, when something is dirty, pinned or in a batch. */
bool grain_map_reset(struct grain_map *m, const map_entry_t *entries);

/* Fills out[0..count) with the entries of grains first... Returns 0, or -EAGAIN with `need`. */
int grain_map_lookup(struct grain_map *m, grain_no_t first, size_t count, map_entry_t *out, struct map_need *need);

/* Makes sure that every leaf of [first, first+count) is in memory, made empty where there was none, and pins them until
 * grain_map_unpin() with the same range. Count at most 2^18. Returns 0; -EAGAIN with `need`, or -ENOMEM, and nothing pinned.
 * With `existing_only`, leaves that do not exist are not made (for clearing). */
int grain_map_pin(struct grain_map *m, grain_no_t first, size_t count, bool existing_only, struct map_need *need);
void grain_map_unpin(struct grain_map *m, grain_no_t first, size_t count);

/* Sets the entries of a pinned range; grain_map_clear() sets them to NONE, passing over leaves that do not exist. Never
 * fails. Marks leaves dirty where something changed and keeps the count of mapped grains. */
void grain_map_update(struct grain_map *m, grain_no_t first, size_t count, const map_entry_t *entries);
void grain_map_clear(struct grain_map *m, grain_no_t first, size_t count);

/* Where the leaf of the grain has its newest copy, as its parent says: MAP_ENTRY_NONE when there is no leaf. Returns 0, or -EAGAIN with
 * `need`. */
int grain_map_leaf(struct grain_map *m, grain_no_t grain, map_entry_t *address, struct map_need *need);

/* Has what is above a leaf that there is not yet in memory, until it is saved, so that grain_map_graft() finds it.
 * Returns 0; -EEXIST when there is one; -EAGAIN with `need`; -ENOMEM. */
int grain_map_graft_begin(struct grain_map *m, grain_no_t grain, struct map_need *need);

/* Makes a leaf that there is not yet, with `grains` of its grains mapped, whose only copy is at `address` of the log. Returns 0; -EEXIST when there
 * is one; -EAGAIN with `need`; -ENOMEM. */
int grain_map_graft(struct grain_map *m, grain_no_t grain, map_entry_t address, uint64_t grains, struct map_need *need);
/* Whether a node is in memory, or does not exist: 0; or -EAGAIN with `need`: it, or one above it, would have to be loaded. */
int grain_map_find(struct grain_map *m, unsigned level, uint64_t index, struct map_need *need);

/* Marks a node as changed, if it exists, so that the next checkpoint writes it anew. 0, or -EAGAIN with `need`. */
int grain_map_touch(struct grain_map *m, unsigned level, uint64_t index, struct map_need *need);

/* Finds the first grain in [from, limit) that is mapped (or, if !mapped, not mapped): *found, or GRAIN_NONE. Skips what
 * does not exist without visiting it. 0; or -EAGAIN with `need`, and *found is where to go on from when that is there. */
int grain_map_next(struct grain_map *m, grain_no_t from, grain_no_t limit, bool mapped, grain_no_t *found,
                   struct map_need *need);

/* How many grains are mapped: kept by updates; set after loading a saved state. */
uint64_t grain_map_allocated(struct grain_map *m);
void grain_map_set_allocated(struct grain_map *m, uint64_t grains);

/* Bytes of dirty nodes in this map. */
size_t grain_map_dirty(struct grain_map *m);

/* The dirty nodes as of now. The caller has made sure that no update is under way, so it is the map at one position of
 * the log. Updates may go on at once after: nodes in the batch are copied when they change. One batch at a time. Returns
 * NULL when memory is short. A batch may be empty. */
struct map_batch;
struct map_batch *grain_map_freeze(struct grain_map *m);
size_t map_batch_count(const struct map_batch *b);
const map_entry_t *map_batch_node(const struct map_batch *b, size_t i, unsigned *level, uint64_t *index);
/* Ends the batch: `saved`: its nodes are clean unless changed since; else they are dirty as before. Frees it. */
void grain_map_thaw(struct grain_map *m, struct map_batch *b, bool saved);

/* After a checkpoint: the node's newest copy in the log is at `address`. Sets the entry in its parent, if the parent is in
 * memory, without making that dirty (the caller saves the parent with the same entry itself). */
void grain_map_set_address(struct grain_map *m, unsigned level, uint64_t index, map_entry_t address);

/* Drops clean, unpinned nodes until the map holds at most `bytes` or no more can go. */
void grain_map_shrink(struct grain_map *m, size_t bytes);

#endif
