/* SPDX-License-Identifier: GPL-3.0-only */
/* map_batch.c: the dirty nodes of a grain map as of one moment. */
#include "map/map_batch.h"

#include "map/map_page.h"

#include <assert.h>
#include <stdlib.h>

struct batch_item {
	struct map_node *node; /* frozen, so it stays in memory */
	map_entry_t *entries;  /* the node's own while it is shared, else the batch's */
	uint64_t key;
};

struct map_batch {
	size_t count;
	struct batch_item items[];
};

static bool must_copy(const struct map_node *n)
{
	return n->level > 0 || n->pins > 0;
}

static void free_copies(struct map_batch *b)
{
	for (size_t i = 0; i < b->count; i++)
		if (b->items[i].entries != b->items[i].node->entries)
			map_page_free(b->items[i].entries);
}

struct map_batch *map_batch_take(struct node_table *t)
{
	struct map_batch *b = malloc(sizeof *b + t->dirty_count * sizeof b->items[0]);
	struct map_node *n;
	size_t copies = 0;

	if (!b)
		return NULL;
	b->count = 0;
	TAILQ_FOREACH(n, &t->dirty, link) {
		struct batch_item *item = &b->items[b->count];

		assert(!n->frozen && !n->shared);
		*item = (struct batch_item){ .node = n, .entries = n->entries, .key = n->key };
		if (must_copy(n)) {
			item->entries = map_entries_copy(n->entries);
			if (!item->entries) {
				free_copies(b);
				free(b);
				return NULL;
			}
			copies++;
		}
		b->count++;
	}
	for (size_t i = 0; i < b->count; i++) {
		n = b->items[i].node;
		n->shared = b->items[i].entries == n->entries;
		n->frozen = true;
		n->dirty = false;
		node_table_settle(t, n);
	}
	map_budget_count(t->budget, (ptrdiff_t)copies);
	return b;
}

static int compare_items(const void *a, const void *b)
{
	const struct batch_item *x = a, *y = b;

	return x->key < y->key ? -1 : x->key > y->key;
}

void map_batch_sort(struct map_batch *b)
{
	qsort(b->items, b->count, sizeof b->items[0], compare_items);
}

void map_batch_return(struct map_batch *b, struct node_table *t, size_t from, size_t count, bool saved)
{
	size_t held = 0, copies = 0;

	for (size_t i = from; i < b->count && i - from < count; i++) {
		struct map_node *n = b->items[i].node;

		if (b->items[i].entries != n->entries) {
			map_page_free(b->items[i].entries);
			copies++;
		}
		n->shared = false;
		n->frozen = false;
		if (!saved)
			n->dirty = true;
		if (!n->dirty)
			held++;
		node_table_settle(t, n);
	}
	t->held -= held;
	map_budget_count_dirty(t->budget, -(ptrdiff_t)held);
	map_budget_count(t->budget, -(ptrdiff_t)copies);
}

void map_batch_free(struct map_batch *b)
{
	free(b);
}

size_t map_batch_count(const struct map_batch *b)
{
	return b->count;
}

const map_entry_t *map_batch_node(const struct map_batch *b, size_t i, unsigned *level, uint64_t *index)
{
	assert(i < b->count);
	*level = (unsigned)(b->items[i].key >> 58);
	*index = b->items[i].key & (((uint64_t)1 << 58) - 1);
	return b->items[i].entries;
}
