/* SPDX-License-Identifier: GPL-3.0-only */
/* chunk_queue.c: a growing ring, and a direct-mapped table of hashes. */
#include "cache/chunk_queue.h"

#include "base/bytes.h"

#include <errno.h>
#include <stdlib.h>

void chunk_queue_destroy(struct chunk_queue *q)
{
	free(q->ring);
	*q = (struct chunk_queue){ 0 };
}

static int grow(struct chunk_queue *q)
{
	size_t capacity = q->capacity ? q->capacity * 2 : 1024;
	struct chunk_ref *ring = malloc(capacity * sizeof *ring);

	if (!ring)
		return -ENOMEM;
	for (size_t i = 0; i < q->count; i++)
		ring[i] = q->ring[(q->head + i) & (q->capacity - 1)];
	free(q->ring);
	q->ring = ring;
	q->capacity = capacity;
	q->head = 0;
	return 0;
}

/* Drops what is forgotten or over; the others keep their order. */
static void compact(struct chunk_queue *q)
{
	size_t kept = 0;

	for (size_t i = 0; i < q->count; i++) {
		struct chunk_ref ref = q->ring[(q->head + i) & (q->capacity - 1)];
		if (ref.segment && !(q->is_over && q->is_over(&ref)))
			q->ring[(q->head + kept++) & (q->capacity - 1)] = ref;
	}
	q->count = kept;
}

int chunk_queue_push(struct chunk_queue *q, struct chunk_ref ref)
{
	if (q->count == q->capacity) {
		compact(q);
		int rc = q->count >= q->capacity / 2 ? grow(q) : 0;
		if (rc && q->count == q->capacity)
			return rc;
	}
	q->ring[(q->head + q->count++) & (q->capacity - 1)] = ref;
	return 0;
}

bool chunk_queue_pop(struct chunk_queue *q, struct chunk_ref *ref)
{
	if (!q->count)
		return false;
	*ref = q->ring[q->head];
	q->head = (q->head + 1) & (q->capacity - 1);
	q->count--;
	return true;
}

void chunk_queue_forget(struct chunk_queue *q, bool (*gone)(const struct segment *s, const void *arg), const void *arg)
{
	for (size_t i = 0; i < q->count; i++) {
		struct chunk_ref *ref = &q->ring[(q->head + i) & (q->capacity - 1)];
		if (ref->segment && gone(ref->segment, arg))
			ref->segment = NULL;
	}
}

static uint64_t ghost_key(const struct chunk_ref *ref)
{
	uint64_t k =
		segment_set_image(ref->segment->set) ^ (ref->segment->number << 12 | ref->chunk) * 0x9e3779b97f4a7c15u;

	k = (k ^ k >> 31) * 0xbf58476d1ce4e5b9u;
	k ^= k >> 29;
	return k ? k : 1;
}

int ghosts_init(struct ghosts *g, size_t slots)
{
	size_t n = 1024;

	while (n < slots)
		n *= 2;
	g->key = calloc(n, sizeof *g->key);
	g->mask = n - 1;
	return g->key ? 0 : -ENOMEM;
}

void ghosts_destroy(struct ghosts *g)
{
	free(g->key);
	g->key = NULL;
}

void ghosts_add(struct ghosts *g, const struct chunk_ref *ref)
{
	uint64_t k = ghost_key(ref);

	g->key[k & g->mask] = k;
}

bool ghosts_take(struct ghosts *g, const struct chunk_ref *ref)
{
	uint64_t k = ghost_key(ref);

	if (g->key[k & g->mask] != k)
		return false;
	g->key[k & g->mask] = 0;
	return true;
}
