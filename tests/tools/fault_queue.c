/* SPDX-License-Identifier: GPL-3.0-only */
/* fault_queue.c: bytes under way and when they are due: a ring of items that point into counted blocks. It knows neither
 * sockets nor HTTP. */
#include "tools/fault_queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES (256u << 10)
#define ROOM_MIN (64u << 10)
#define READY_MAX 256 /* blocks: 64 MiB */
#define RING_MIN 16

struct fault_block {
	struct fault_block *next; /* while it is ready */
	unsigned users;           /* items, and the queue that fills it */
	uint32_t size, used;
	uint8_t data[];
};

static struct fault_block *block_new(struct fault_pool *pool, size_t size)
{
	struct fault_block *b = size == BLOCK_BYTES ? pool->ready : NULL;

	if (b) {
		pool->ready = b->next;
		pool->count--;
	} else {
		b = malloc(sizeof *b + size);
	}
	if (!b)
		return NULL;
	b->next = NULL;
	b->users = 1;
	b->size = (uint32_t)size;
	b->used = 0;
	pool->held += size;
	return b;
}

static void block_release(struct fault_pool *pool, struct fault_block *b)
{
	if (!b || --b->users > 0)
		return;
	pool->held -= b->size;
	if (b->size != BLOCK_BYTES || pool->count >= READY_MAX) {
		free(b);
		return;
	}
	b->next = pool->ready;
	pool->ready = b;
	pool->count++;
}

void fault_pool_clear(struct fault_pool *pool)
{
	while (pool->ready) {
		struct fault_block *b = pool->ready;

		pool->ready = b->next;
		free(b);
	}
	pool->count = 0;
}

void fault_queue_init(struct fault_queue *q, struct fault_pool *pool)
{
	*q = (struct fault_queue){ .pool = pool };
}

void fault_queue_clear(struct fault_queue *q)
{
	for (size_t i = 0; i < q->count; i++)
		block_release(q->pool, q->ring[(q->first + i) & (q->size - 1)].block);
	block_release(q->pool, q->fill);
	free(q->ring);
	fault_queue_init(q, q->pool);
}

void fault_queue_rest(struct fault_queue *q)
{
	if (q->count > 0)
		return;
	block_release(q->pool, q->fill);
	q->fill = NULL;
}

uint64_t fault_queue_cost(const struct fault_queue *q)
{
	return q->bytes + q->count * sizeof(struct fault_item);
}

int fault_queue_room(struct fault_queue *q, uint8_t **room, size_t *size)
{
	if (q->fill && q->fill->users == 1)
		q->fill->used = 0;
	if (!q->fill || q->fill->size - q->fill->used < ROOM_MIN) {
		block_release(q->pool, q->fill);
		q->fill = block_new(q->pool, BLOCK_BYTES);
	}
	if (!q->fill)
		return -ENOMEM;
	*room = q->fill->data + q->fill->used;
	*size = q->fill->size - q->fill->used;
	return 0;
}

void fault_queue_filled(struct fault_queue *q, size_t size)
{
	assert(size <= q->fill->size - q->fill->used);
	q->fill->used += (uint32_t)size;
}

/* A new last item, or NULL when memory is short. */
static struct fault_item *ring_add(struct fault_queue *q, uint64_t due_ns, enum fault_item_kind kind)
{
	if (q->count == q->size) {
		size_t size = q->size ? 2 * q->size : RING_MIN;
		struct fault_item *ring = calloc(size, sizeof *ring);

		if (!ring)
			return NULL;
		for (size_t i = 0; i < q->count; i++)
			ring[i] = q->ring[(q->first + i) & (q->size - 1)];
		free(q->ring);
		q->ring = ring;
		q->size = size;
		q->first = 0;
	}
	struct fault_item *item = &q->ring[(q->first + q->count++) & (q->size - 1)];
	if (due_ns > q->last_due_ns)
		q->last_due_ns = due_ns;
	*item = (struct fault_item){ .due_ns = q->last_due_ns, .kind = kind };
	return item;
}

static int add_bytes(struct fault_queue *q, uint64_t due_ns, struct fault_block *b, size_t offset, size_t size)
{
	struct fault_item *last = q->count ? &q->ring[(q->first + q->count - 1) & (q->size - 1)] : NULL;

	if (size == 0)
		return 0;
	if (last && last->kind == FAULT_ITEM_BYTES && last->block == b && last->offset + last->length == offset &&
	    due_ns <= last->due_ns) {
		last->length += (uint32_t)size;
	} else {
		last = ring_add(q, due_ns, FAULT_ITEM_BYTES);
		if (!last)
			return -ENOMEM;
		last->block = b;
		last->offset = (uint32_t)offset;
		last->length = (uint32_t)size;
		b->users++;
	}
	q->bytes += size;
	return 0;
}

int fault_queue_keep(struct fault_queue *q, const struct fault_queue *from, uint64_t due_ns, const uint8_t *bytes,
                     size_t size)
{
	assert(bytes >= from->fill->data && bytes + size <= from->fill->data + from->fill->used);
	return add_bytes(q, due_ns, from->fill, (size_t)(bytes - from->fill->data), size);
}

int fault_queue_copy(struct fault_queue *q, uint64_t due_ns, const void *bytes, size_t size)
{
	struct fault_block *b = block_new(q->pool, size);
	int rc = -ENOMEM;

	if (!b)
		return rc;
	memcpy(b->data, bytes, size);
	b->used = (uint32_t)size;
	rc = add_bytes(q, due_ns, b, 0, size);
	block_release(q->pool, b);
	return rc;
}

int fault_queue_signal(struct fault_queue *q, uint64_t due_ns, enum fault_item_kind kind, uint64_t argument)
{
	struct fault_item *item = ring_add(q, due_ns, kind);

	if (!item)
		return -ENOMEM;
	item->argument = argument;
	return 0;
}

const struct fault_item *fault_queue_front(const struct fault_queue *q)
{
	return q->count ? &q->ring[q->first] : NULL;
}

void fault_queue_pop(struct fault_queue *q)
{
	assert(q->count > 0);
	q->first = (q->first + 1) & (q->size - 1);
	q->count--;
}

int fault_queue_gather(const struct fault_queue *q, uint64_t now_ns, size_t max, struct iovec *iov, int iov_max)
{
	int n = 0;

	for (size_t i = 0; i < q->count && n < iov_max && max > 0; i++) {
		struct fault_item *item = &q->ring[(q->first + i) & (q->size - 1)];

		if (item->kind != FAULT_ITEM_BYTES || item->due_ns > now_ns)
			break;
		iov[n].iov_base = item->block->data + item->offset;
		iov[n].iov_len = item->length < max ? item->length : max;
		max -= iov[n++].iov_len;
	}
	return n;
}

void fault_queue_sent(struct fault_queue *q, size_t bytes)
{
	q->bytes -= bytes;
	while (bytes > 0) {
		struct fault_item *item = &q->ring[q->first];

		assert(q->count > 0 && item->kind == FAULT_ITEM_BYTES);
		if (bytes < item->length) {
			item->offset += (uint32_t)bytes;
			item->length -= (uint32_t)bytes;
			return;
		}
		bytes -= item->length;
		block_release(q->pool, item->block);
		fault_queue_pop(q);
	}
}
