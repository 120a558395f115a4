/* SPDX-License-Identifier: GPL-3.0-only */
/* map_budget.c: the memory that all grain maps of a process share. */
#include "map/map_budget.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#define BUDGET_BYTES_MIN ((size_t)1 << 20)

struct map_budget {
	atomic_size_t nodes, dirty;
	atomic_size_t holders_count;
	size_t limit; /* nodes */
	pthread_mutex_t mutex;
	TAILQ_HEAD(, map_holder) holders; /* guarded by mutex */
};

struct map_budget *map_budget_new(size_t bytes)
{
	struct map_budget *b = calloc(1, sizeof *b);

	if (!b)
		return NULL;
	b->limit = (bytes < BUDGET_BYTES_MIN ? BUDGET_BYTES_MIN : bytes) / MAP_NODE_BYTES;
	TAILQ_INIT(&b->holders);
	if (pthread_mutex_init(&b->mutex, NULL) != 0) {
		free(b);
		return NULL;
	}
	return b;
}

void map_budget_free(struct map_budget *b)
{
	if (!b)
		return;
	assert(TAILQ_EMPTY(&b->holders));
	assert(atomic_load(&b->nodes) == 0 && atomic_load(&b->dirty) == 0);
	pthread_mutex_destroy(&b->mutex);
	free(b);
}

size_t map_budget_used(const struct map_budget *b)
{
	return atomic_load_explicit(&b->nodes, memory_order_relaxed) * MAP_NODE_BYTES;
}

size_t map_budget_dirty(const struct map_budget *b)
{
	return atomic_load_explicit(&b->dirty, memory_order_relaxed) * MAP_NODE_BYTES;
}

size_t map_budget_limit(const struct map_budget *b)
{
	return b->limit * MAP_NODE_BYTES;
}

static void lock(struct map_budget *b)
{
	int rc = pthread_mutex_lock(&b->mutex);

	assert(rc == 0);
	(void)rc;
}

static void unlock(struct map_budget *b)
{
	int rc = pthread_mutex_unlock(&b->mutex);

	assert(rc == 0);
	(void)rc;
}

void map_budget_join(struct map_budget *b, struct map_holder *h)
{
	lock(b);
	TAILQ_INSERT_TAIL(&b->holders, h, link);
	unlock(b);
	atomic_fetch_add(&b->holders_count, 1);
}

void map_budget_leave(struct map_budget *b, struct map_holder *h)
{
	lock(b);
	TAILQ_REMOVE(&b->holders, h, link);
	unlock(b);
	atomic_fetch_sub(&b->holders_count, 1);
}

void map_budget_count(struct map_budget *b, ptrdiff_t nodes)
{
	atomic_fetch_add_explicit(&b->nodes, (size_t)nodes, memory_order_relaxed);
}

void map_budget_count_dirty(struct map_budget *b, ptrdiff_t nodes)
{
	atomic_fetch_add_explicit(&b->dirty, (size_t)nodes, memory_order_relaxed);
}

size_t map_budget_over(const struct map_budget *b)
{
	size_t nodes = atomic_load_explicit(&b->nodes, memory_order_relaxed);

	return nodes > b->limit ? nodes - b->limit : 0;
}

size_t map_budget_share(const struct map_budget *b)
{
	size_t holders = atomic_load_explicit(&b->holders_count, memory_order_relaxed);

	return holders ? b->limit / holders : b->limit;
}

void map_budget_reclaim(struct map_budget *b, struct map_holder *self)
{
	size_t share = map_budget_share(b), over;
	struct map_holder *h;

	lock(b);
	TAILQ_FOREACH(h, &b->holders, link) {
		size_t held = atomic_load_explicit(&h->nodes, memory_order_relaxed);

		over = map_budget_over(b);
		if (!over)
			break;
		if (h == self || held <= share)
			continue;
		h->give(h, over < held - share ? over : held - share);
	}
	over = map_budget_over(b);
	if (over)
		self->give(self, over);
	unlock(b);
}
