/* SPDX-License-Identifier: GPL-3.0-only */
/* grain_map.c: grain number -> map entry: the tree of nodes, looked up, pinned, updated, frozen.
 *
 * A leaf in memory is found by one look into the table, whatever is above it. Only when it is not there is the lowest
 * ancestor in memory asked whether it exists. That answer is right because an inner node is always newer than, or the same
 * as, its saved copy, and a new child marks its parent dirty under the same mutex: one freeze takes both.
 */
#include "map/grain_map.h"

#include "map/map_batch.h"
#include "map/node_table.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define LEAF_MASK (MAP_FANOUT - 1)
#define PIN_GRAINS_MAX ((size_t)1 << 18)
/* How many leaves are looked at, or nodes given back, before others get the mutex. */
#define TURN_LEAVES 64
#define TURN_NODES 256

struct grain_map {
	pthread_mutex_t mutex; /* guards all below */
	struct node_table table;
	uint64_t allocated;
	struct map_batch *batch; /* outstanding, or NULL */
};

static void lock(struct grain_map *m)
{
	int rc = pthread_mutex_lock(&m->mutex);

	assert(rc == 0);
	(void)rc;
}

static void unlock(struct grain_map *m)
{
	int rc = pthread_mutex_unlock(&m->mutex);

	assert(rc == 0);
	(void)rc;
}

/* Another map is short of memory. */
static void give(struct map_holder *h, size_t nodes)
{
	struct grain_map *m = (struct grain_map *)((char *)h - offsetof(struct grain_map, table.holder));

	lock(m);
	node_table_evict(&m->table, nodes, false);
	unlock(m);
}

/* Unlocks, having first made room for what was added, from this map and if need be from others. */
static void unlock_balanced(struct grain_map *m)
{
	struct node_table *t = &m->table;
	size_t over = map_budget_over(t->budget);

	if (over) {
		size_t share = map_budget_share(t->budget), own = atomic_load(&t->holder.nodes);

		if (own > share)
			node_table_evict(t, over < own - share ? over : own - share, false);
		over = map_budget_over(t->budget);
	}
	unlock(m);
	if (over)
		map_budget_reclaim(t->budget, &t->holder);
}

struct grain_map *grain_map_new(struct map_budget *budget)
{
	struct grain_map *m = calloc(1, sizeof *m);
	struct map_node *root;

	if (!m)
		return NULL;
	if (node_table_init(&m->table, budget) < 0)
		goto free_map;
	root = map_node_new(MAP_LEVELS - 1, 0, NULL);
	if (!root)
		goto free_table;
	if (node_table_add(&m->table, root, true) < 0) {
		map_node_free(root);
		goto free_table;
	}
	if (pthread_mutex_init(&m->mutex, NULL) != 0)
		goto free_table;
	m->table.holder.give = give;
	map_budget_join(budget, &m->table.holder);
	return m;
free_table:
	node_table_destroy(&m->table);
free_map:
	free(m);
	return NULL;
}

void grain_map_free(struct grain_map *m)
{
	if (!m)
		return;
	assert(!m->batch);
	map_budget_leave(m->table.budget, &m->table.holder);
	node_table_destroy(&m->table);
	pthread_mutex_destroy(&m->mutex);
	free(m);
}

static void replace_root(struct node_table *t, const map_entry_t *entries)
{
	struct map_node *root = node_table_get(t, MAP_LEVELS - 1, 0);

	assert(!root->dirty && !root->frozen && hash_count(t->nodes) == 1);
	memcpy(root->entries, entries, MAP_NODE_BYTES);
}

int grain_map_install(struct grain_map *m, unsigned level, uint64_t index, const map_entry_t *entries)
{
	struct node_table *t = &m->table;
	struct map_node *n;
	int rc = 0;

	assert(level < MAP_LEVELS && index < map_level_nodes(level));
	if (level == MAP_LEVELS - 1) {
		lock(m);
		replace_root(t, entries);
		unlock(m);
		return 0;
	}
	n = map_node_new(level, index, entries);
	if (!n)
		return -ENOMEM;
	lock(m);
	if (!node_table_get(t, level, index)) {
		rc = node_table_add(t, n, true);
		if (rc == 0)
			n = NULL;
	}
	unlock_balanced(m);
	map_node_free(n);
	return rc;
}

bool grain_map_reset(struct grain_map *m, const map_entry_t *entries)
{
	bool alone;

	lock(m);
	node_table_evict(&m->table, SIZE_MAX, true);
	alone = !m->table.held && hash_count(m->table.nodes) == 1;
	if (alone)
		replace_root(&m->table, entries);
	unlock(m);
	return alone;
}

/* The lowest node in memory above one that is not. There always is one: the root. */
static struct map_node *ancestor_of(struct node_table *t, unsigned level, uint64_t index)
{
	for (unsigned up = 1; level + up < MAP_LEVELS; up++) {
		struct map_node *n = node_table_get(t, level + up, index >> (MAP_FANOUT_BITS * up));

		if (n)
			return n;
	}
	abort();
}

static struct map_node *lowest_ancestor(struct node_table *t, uint64_t leaf)
{
	return ancestor_of(t, 0, leaf);
}

static map_entry_t *child_entry(struct map_node *parent, uint64_t child_index)
{
	return &parent->entries[child_index & LEAF_MASK];
}

/* A node is not in memory. Returns 0 when that is because it does not exist, else -EAGAIN with what to load. */
static int resolve_node(struct node_table *t, unsigned level, uint64_t index, struct map_need *need)
{
	struct map_node *n = ancestor_of(t, level, index);
	uint64_t child = index >> (MAP_FANOUT_BITS * (n->level - 1 - level));
	map_entry_t e = *child_entry(n, child);

	if (e == MAP_ENTRY_NONE)
		return 0;
	*need = (struct map_need){ .level = n->level - 1u, .index = child, .address = e };
	return -EAGAIN;
}

static int resolve(struct node_table *t, uint64_t leaf, struct map_need *need)
{
	return resolve_node(t, 0, leaf, need);
}

/* The leaves that a range of grains touches. */
struct leaf_range {
	uint64_t first, end;
};

static struct leaf_range leaf_range(grain_no_t first, size_t count)
{
	assert(first <= MAP_GRAINS_MAX && count <= MAP_GRAINS_MAX - first);
	return (struct leaf_range){
		.first = first >> MAP_FANOUT_BITS,
		.end = count ? ((first + count - 1) >> MAP_FANOUT_BITS) + 1 : first >> MAP_FANOUT_BITS,
	};
}

/* How many nodes a call that needs all these leaves may have to load. */
static size_t nodes_for(struct leaf_range r)
{
	return (size_t)(r.end - r.first) + (size_t)((r.end - r.first) >> MAP_FANOUT_BITS) + 2 * MAP_LEVELS;
}

/* The part of a range that lies in the leaf of its first grain. */
static size_t in_first_leaf(grain_no_t first, size_t count)
{
	size_t room = MAP_FANOUT - (first & LEAF_MASK);

	return count < room ? count : room;
}

int grain_map_lookup(struct grain_map *m, grain_no_t first, size_t count, map_entry_t *out, struct map_need *need)
{
	struct node_table *t = &m->table;
	struct leaf_range range = leaf_range(first, count);
	int rc = 0;

	lock(m);
	while (count > 0) {
		size_t n = in_first_leaf(first, count);
		struct map_node *leaf = node_table_get(t, 0, first >> MAP_FANOUT_BITS);

		if (leaf) {
			memcpy(out, leaf->entries + (first & LEAF_MASK), n * sizeof *out);
		} else {
			rc = resolve(t, first >> MAP_FANOUT_BITS, need);
			if (rc < 0) {
				node_table_expect(t, nodes_for(range));
				break;
			}
			memset(out, 0, n * sizeof *out);
		}
		first += n;
		out += n;
		count -= n;
	}
	unlock(m);
	return rc;
}

/* Makes what is missing above a leaf that does not exist, down to `lowest`; 0: and the leaf. */
static int make_nodes(struct node_table *t, uint64_t leaf, unsigned lowest)
{
	struct map_node *parent = lowest_ancestor(t, leaf);

	while (parent->level > lowest) {
		unsigned level = parent->level - 1u;
		uint64_t index = leaf >> (MAP_FANOUT_BITS * level);
		struct map_node *child = map_node_new(level, index, NULL);

		assert(*child_entry(parent, index) == MAP_ENTRY_NONE);
		if (!child)
			return -ENOMEM;
		if (node_table_add(t, child, false) < 0) {
			map_node_free(child);
			return -ENOMEM;
		}
		*child_entry(parent, index) = MAP_ENTRY_LOCAL;
		node_table_mark_dirty(t, parent);
		parent = child;
	}
	return 0;
}

static void unpin_leaves(struct node_table *t, struct leaf_range range)
{
	for (uint64_t i = range.first; i < range.end; i++) {
		struct map_node *leaf = node_table_get(t, 0, i);

		if (!leaf) {
			node_table_ghost_unpin(t, map_node_key(0, i));
			continue;
		}
		assert(leaf->pins > 0);
		leaf->pins--;
	}
}

/* Everything that is needed is in memory. */
static int pin_leaves(struct node_table *t, struct leaf_range range)
{
	struct leaf_range pinned = { range.first, range.first };
	int rc = 0;

	for (; pinned.end < range.end; pinned.end++) {
		struct map_node *leaf = node_table_get(t, 0, pinned.end);

		if (leaf) {
			rc = node_table_unshare(t, leaf);
			if (rc < 0)
				break;
			leaf->pins++;
		} else {
			rc = node_table_ghost_pin(t, map_node_key(0, pinned.end));
			if (rc < 0)
				break;
		}
	}
	if (rc < 0)
		unpin_leaves(t, pinned);
	return rc;
}

int grain_map_pin(struct grain_map *m, grain_no_t first, size_t count, bool existing_only, struct map_need *need)
{
	struct node_table *t = &m->table;
	struct leaf_range range = leaf_range(first, count);
	bool missing = false;
	int rc = 0;

	assert(count <= PIN_GRAINS_MAX);
	lock(m);
	for (uint64_t i = range.first; i < range.end; i++) {
		if (node_table_get(t, 0, i))
			continue;
		rc = resolve(t, i, need);
		if (rc < 0) {
			node_table_expect(t, nodes_for(range));
			goto out;
		}
		missing = true;
	}
	for (uint64_t i = range.first; missing && !existing_only && i < range.end; i++) {
		if (node_table_get(t, 0, i))
			continue;
		rc = make_nodes(t, i, 0);
		if (rc < 0)
			goto out;
	}
	rc = pin_leaves(t, range);
out:
	unlock_balanced(m);
	return rc;
}

void grain_map_unpin(struct grain_map *m, grain_no_t first, size_t count)
{
	struct leaf_range range = leaf_range(first, count);

	lock(m);
	unpin_leaves(&m->table, range);
	unlock(m);
}

int grain_map_leaf(struct grain_map *m, grain_no_t grain, map_entry_t *address, struct map_need *need)
{
	struct node_table *t = &m->table;
	uint64_t leaf = grain >> MAP_FANOUT_BITS;
	struct map_node *parent;
	int rc = 0;

	*address = MAP_ENTRY_NONE;
	lock(m);
	parent = node_table_get(t, 1, leaf >> MAP_FANOUT_BITS);
	if (parent)
		*address = *child_entry(parent, leaf);
	else
		rc = resolve(t, leaf, need);
	unlock(m);
	return rc;
}

/* The parent of a leaf that there is not yet, made if it was not there: it is dirty. */
static int graft_parent(struct node_table *t, uint64_t leaf, struct map_node **parent, struct map_need *need)
{
	int rc = node_table_get(t, 0, leaf) ? -EEXIST : resolve(t, leaf, need);

	if (rc == -EAGAIN && need->level == 0)
		rc = -EEXIST;
	if (!rc)
		rc = make_nodes(t, leaf, 1);
	if (rc)
		return rc;
	*parent = node_table_get(t, 1, leaf >> MAP_FANOUT_BITS);
	node_table_mark_dirty(t, *parent);
	return 0;
}

int grain_map_graft_begin(struct grain_map *m, grain_no_t grain, struct map_need *need)
{
	struct map_node *parent;
	int rc;

	lock(m);
	rc = graft_parent(&m->table, grain >> MAP_FANOUT_BITS, &parent, need);
	unlock_balanced(m);
	return rc;
}

int grain_map_graft(struct grain_map *m, grain_no_t grain, map_entry_t address, uint64_t grains, struct map_need *need)
{
	uint64_t leaf = grain >> MAP_FANOUT_BITS;
	struct map_node *parent;
	int rc;

	assert(address != MAP_ENTRY_NONE);
	lock(m);
	rc = graft_parent(&m->table, leaf, &parent, need);
	if (!rc) {
		*child_entry(parent, leaf) = address;
		m->allocated += grains;
	}
	unlock_balanced(m);
	return rc;
}

/* Sets `n` entries of a pinned leaf from `at`, to `entries` or (NULL) to NONE. */
static void set_entries(struct grain_map *m, struct map_node *leaf, size_t at, size_t n, const map_entry_t *entries)
{
	map_entry_t *to = leaf->entries + at, changed = 0;
	uint64_t before = 0, after = 0;

	assert(leaf->pins > 0 && !leaf->shared);
	if (entries) {
		for (size_t i = 0; i < n; i++) {
			before += to[i] != MAP_ENTRY_NONE;
			after += entries[i] != MAP_ENTRY_NONE;
			changed |= to[i] ^ entries[i];
			to[i] = entries[i];
		}
	} else {
		for (size_t i = 0; i < n; i++) {
			before += to[i] != MAP_ENTRY_NONE;
			changed |= to[i];
			to[i] = MAP_ENTRY_NONE;
		}
	}
	m->allocated += after - before;
	if (changed)
		node_table_mark_dirty(&m->table, leaf);
}

void grain_map_update(struct grain_map *m, grain_no_t first, size_t count, const map_entry_t *entries)
{
	(void)leaf_range(first, count);
	lock(m);
	while (count > 0) {
		size_t n = in_first_leaf(first, count);
		struct map_node *leaf = node_table_get(&m->table, 0, first >> MAP_FANOUT_BITS);

		assert(leaf);
		set_entries(m, leaf, first & LEAF_MASK, n, entries);
		first += n;
		entries += n;
		count -= n;
	}
	unlock(m);
}

void grain_map_clear(struct grain_map *m, grain_no_t first, size_t count)
{
	(void)leaf_range(first, count);
	lock(m);
	while (count > 0) {
		size_t n = in_first_leaf(first, count);
		struct map_node *leaf = node_table_get(&m->table, 0, first >> MAP_FANOUT_BITS);

		if (leaf)
			set_entries(m, leaf, first & LEAF_MASK, n, NULL);
		first += n;
		count -= n;
	}
	unlock(m);
}

static int find_node(struct grain_map *m, unsigned level, uint64_t index, bool touch, struct map_need *need)
{
	struct map_node *n;
	int rc = 0;

	if (level >= MAP_LEVELS || index >= map_level_nodes(level))
		return 0;
	lock(m);
	n = node_table_get(&m->table, level, index);
	if (!n)
		rc = resolve_node(&m->table, level, index, need);
	else if (touch)
		node_table_mark_dirty(&m->table, n);
	unlock(m);
	return rc;
}

int grain_map_find(struct grain_map *m, unsigned level, uint64_t index, struct map_need *need)
{
	return find_node(m, level, index, false, need);
}

int grain_map_touch(struct grain_map *m, unsigned level, uint64_t index, struct map_need *need)
{
	return find_node(m, level, index, true, need);
}

/* The first grain after `from` that could be mapped, where the leaf of `from` does not exist: beyond the run of empty
 * entries in the lowest node above it that is in memory. */
static grain_no_t skip_absent(struct node_table *t, grain_no_t from)
{
	struct map_node *n = lowest_ancestor(t, from >> MAP_FANOUT_BITS);
	unsigned shift = MAP_FANOUT_BITS * n->level; /* grains beneath one entry */
	uint64_t child = from >> shift;

	do
		child++;
	while ((child & LEAF_MASK) && *child_entry(n, child) == MAP_ENTRY_NONE);
	return child << shift;
}

/* Searches one leaf, or one gap where leaves are absent. Returns 1 when *at is the grain looked for; 0, having moved *at
 * on; or -EAGAIN. */
static int next_step(struct node_table *t, grain_no_t *at, bool mapped, struct map_need *need)
{
	struct map_node *leaf = node_table_get(t, 0, *at >> MAP_FANOUT_BITS);
	int rc;

	if (!leaf) {
		rc = resolve(t, *at >> MAP_FANOUT_BITS, need);
		if (rc < 0)
			return rc;
		if (!mapped)
			return 1;
		*at = skip_absent(t, *at);
		return 0;
	}
	do {
		if ((leaf->entries[*at & LEAF_MASK] != MAP_ENTRY_NONE) == mapped)
			return 1;
		++*at;
	} while (*at & LEAF_MASK);
	return 0;
}

int grain_map_next(struct grain_map *m, grain_no_t from, grain_no_t limit, bool mapped, grain_no_t *found,
                   struct map_need *need)
{
	int rc = 0;

	assert(limit <= MAP_GRAINS_MAX);
	*found = GRAIN_NONE;
	while (rc == 0 && from < limit) {
		lock(m);
		for (int turn = 0; turn < TURN_LEAVES && rc == 0 && from < limit; turn++)
			rc = next_step(&m->table, &from, mapped, need);
		unlock(m);
	}
	if (rc && from < limit)
		*found = from;
	return rc < 0 ? rc : 0;
}

uint64_t grain_map_allocated(struct grain_map *m)
{
	uint64_t grains;

	lock(m);
	grains = m->allocated;
	unlock(m);
	return grains;
}

void grain_map_set_allocated(struct grain_map *m, uint64_t grains)
{
	lock(m);
	m->allocated = grains;
	unlock(m);
}

size_t grain_map_dirty(struct grain_map *m)
{
	size_t held;

	lock(m);
	held = m->table.held;
	unlock(m);
	return held * MAP_NODE_BYTES;
}

struct map_batch *grain_map_freeze(struct grain_map *m)
{
	struct map_batch *b;

	lock(m);
	assert(!m->batch);
	b = map_batch_take(&m->table);
	m->batch = b;
	unlock(m);
	if (b)
		map_batch_sort(b);
	return b;
}

void grain_map_thaw(struct grain_map *m, struct map_batch *b, bool saved)
{
	size_t count = map_batch_count(b);

	for (size_t from = 0; from < count; from += TURN_NODES) {
		lock(m);
		assert(m->batch == b);
		map_batch_return(b, &m->table, from, TURN_NODES, saved);
		unlock(m);
	}
	lock(m);
	m->batch = NULL;
	unlock_balanced(m);
	map_batch_free(b);
}

void grain_map_set_address(struct grain_map *m, unsigned level, uint64_t index, map_entry_t address)
{
	struct node_table *t = &m->table;
	struct map_node *parent;

	assert(level < MAP_LEVELS && index < map_level_nodes(level));
	if (level == MAP_LEVELS - 1)
		return;
	lock(m);
	parent = node_table_get(t, level + 1, index >> MAP_FANOUT_BITS);
	if (parent && *child_entry(parent, index) != address) {
		assert(!parent->shared);
		*child_entry(parent, index) = address;
		/* The batch has the old address, and may be saved after this: then the parent must be saved once more. */
		if (parent->frozen)
			node_table_mark_dirty(t, parent);
	}
	unlock(m);
}

void grain_map_shrink(struct grain_map *m, size_t bytes)
{
	size_t nodes = bytes / MAP_NODE_BYTES, own;

	lock(m);
	own = atomic_load(&m->table.holder.nodes);
	if (own > nodes)
		node_table_evict(&m->table, own - nodes, true);
	unlock(m);
}
