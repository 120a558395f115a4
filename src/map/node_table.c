/* SPDX-License-Identifier: GPL-3.0-only */
/* node_table.c: the nodes of one grain map that are in memory. */
#include "map/node_table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* Rounds of the clock that a use buys. Inner nodes are few, and losing one costs a load for each of 512 leaves. */
#define ROUNDS_LEAF 1
#define ROUNDS_INNER 3

#define GRACE_MIN 64

int node_table_init(struct node_table *t, struct map_budget *budget)
{
	/* Nodes that were made, not installed, are born in 0: long ago. */
	*t = (struct node_table){ .budget = budget, .grace = GRACE_MIN, .installs = (uint32_t)1 << 31 };
	TAILQ_INIT(&t->clean);
	TAILQ_INIT(&t->dirty);
	t->nodes = hash_new();
	t->ghosts = hash_new();
	if (t->nodes && t->ghosts)
		return 0;
	hash_free(t->nodes);
	hash_free(t->ghosts);
	return -ENOMEM;
}

static void count_nodes(struct node_table *t, ptrdiff_t nodes)
{
	atomic_fetch_add_explicit(&t->holder.nodes, (size_t)nodes, memory_order_relaxed);
	map_budget_count(t->budget, nodes);
}

void node_table_destroy(struct node_table *t)
{
	struct map_node *n;
	size_t cursor = 0;
	uint64_t key;

	assert(hash_count(t->ghosts) == 0);
	while ((n = hash_next(t->nodes, &cursor, &key))) {
		assert(!n->frozen && n->pins == 0);
		map_node_free(n);
	}
	count_nodes(t, -(ptrdiff_t)hash_count(t->nodes));
	map_budget_count_dirty(t->budget, -(ptrdiff_t)t->held);
	hash_free(t->nodes);
	hash_free(t->ghosts);
}

struct map_node *node_table_get(struct node_table *t, unsigned level, uint64_t index)
{
	uint64_t key = map_node_key(level, index);
	struct map_node *n = t->last;

	if (!n || n->key != key) {
		n = hash_get(t->nodes, key);
		if (!n)
			return NULL;
		if (!level)
			t->last = n;
	}
	n->referenced = level ? ROUNDS_INNER : ROUNDS_LEAF;
	return n;
}

static void queue_remove(struct node_table *t, struct map_node *n)
{
	if (n->queue == MAP_QUEUE_CLEAN) {
		TAILQ_REMOVE(&t->clean, n, link);
		t->clean_count--;
	} else if (n->queue == MAP_QUEUE_DIRTY) {
		TAILQ_REMOVE(&t->dirty, n, link);
		t->dirty_count--;
	}
	n->queue = MAP_QUEUE_NONE;
}

static void queue_insert(struct node_table *t, struct map_node *n, uint8_t queue)
{
	if (queue == MAP_QUEUE_CLEAN) {
		TAILQ_INSERT_TAIL(&t->clean, n, link);
		t->clean_count++;
	} else if (queue == MAP_QUEUE_DIRTY) {
		TAILQ_INSERT_TAIL(&t->dirty, n, link);
		t->dirty_count++;
	}
	n->queue = queue;
}

/* The root is on no queue while it is clean, so the clock never meets it. */
static uint8_t queue_for(const struct map_node *n)
{
	if (n->dirty)
		return MAP_QUEUE_DIRTY;
	return n->frozen || n->level == MAP_LEVELS - 1 ? MAP_QUEUE_NONE : MAP_QUEUE_CLEAN;
}

void node_table_settle(struct node_table *t, struct map_node *n)
{
	uint8_t queue = queue_for(n);

	if (queue == n->queue)
		return;
	queue_remove(t, n);
	queue_insert(t, n, queue);
}

static void count_held(struct node_table *t, ptrdiff_t nodes)
{
	t->held += (size_t)nodes;
	map_budget_count_dirty(t->budget, nodes);
}

void node_table_mark_dirty(struct node_table *t, struct map_node *n)
{
	if (n->dirty)
		return;
	n->dirty = true;
	if (!n->frozen)
		count_held(t, 1);
	node_table_settle(t, n);
}

int node_table_add(struct node_table *t, struct map_node *n, bool installed)
{
	uintptr_t pins;

	if (hash_put(t->nodes, n->key, n) < 0)
		return -ENOMEM;
	count_nodes(t, 1);
	pins = (uintptr_t)hash_remove(t->ghosts, n->key);
	n->pins += (uint32_t)pins;
	n->referenced = n->level ? ROUNDS_INNER : ROUNDS_LEAF;
	if (installed) {
		n->born = ++t->installs;
		/* Wide calls are rare: what they asked for fades away with the loads of others. */
		if (t->grace > GRACE_MIN && t->installs % 64 == 0)
			t->grace -= (t->grace - GRACE_MIN + 15) / 16;
		node_table_settle(t, n);
	} else {
		node_table_mark_dirty(t, n);
	}
	return 0;
}

int node_table_unshare(struct node_table *t, struct map_node *n)
{
	map_entry_t *copy;

	if (!n->shared)
		return 0;
	copy = map_entries_copy(n->entries);
	if (!copy)
		return -ENOMEM;
	n->entries = copy; /* the batch keeps, and frees, the old ones */
	n->shared = false;
	map_budget_count(t->budget, 1);
	return 0;
}

int node_table_ghost_pin(struct node_table *t, uint64_t key)
{
	uintptr_t pins = (uintptr_t)hash_get(t->ghosts, key);

	return hash_put(t->ghosts, key, (void *)(pins + 1));
}

void node_table_ghost_unpin(struct node_table *t, uint64_t key)
{
	uintptr_t pins = (uintptr_t)hash_get(t->ghosts, key);
	int rc = 0;

	assert(pins > 0);
	if (pins == 1)
		hash_remove(t->ghosts, key);
	else
		rc = hash_put(t->ghosts, key, (void *)(pins - 1)); /* replaces: needs no memory */
	assert(rc == 0);
}

void node_table_expect(struct node_table *t, size_t nodes)
{
	if (nodes * 2 > t->grace)
		t->grace = (uint32_t)(nodes * 2);
}

static void drop(struct node_table *t, struct map_node *n)
{
	assert(!n->dirty && !n->frozen && !n->shared && n->pins == 0);
	queue_remove(t, n);
	hash_remove(t->nodes, n->key);
	if (t->last == n)
		t->last = NULL;
	map_node_free(n);
	count_nodes(t, -1);
}

size_t node_table_evict(struct node_table *t, size_t want, bool all)
{
	size_t steps = t->clean_count * (ROUNDS_INNER + 1), gone = 0;

	while (gone < want && steps-- > 0) {
		struct map_node *n = TAILQ_FIRST(&t->clean);

		if (!n || (!all && t->clean_count <= t->grace))
			break;
		if (n->referenced || n->pins || (!all && t->installs - n->born < t->grace)) {
			if (n->referenced)
				n->referenced--;
			TAILQ_REMOVE(&t->clean, n, link);
			TAILQ_INSERT_TAIL(&t->clean, n, link);
			continue;
		}
		drop(t, n);
		gone++;
	}
	return gone;
}
