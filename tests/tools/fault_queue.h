/* SPDX-License-Identifier: GPL-3.0-only */
/* fault_queue.h: bytes under way in one direction of a connection, each with the time when it is due.
 *
 * Bytes are received straight into the queue's current block and sent from there: they are not copied, and two queues may
 * share them. Signals (open, end, reset, change of pace) travel in line with the bytes. Nothing overtakes: what is queued
 * with an earlier time than what is before it is due with that. Knows neither sockets nor HTTP. Not thread-safe.
 */
#ifndef GARNER_TESTS_FAULT_QUEUE_H
#define GARNER_TESTS_FAULT_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct fault_block;

/* Blocks ready to be used again, for all queues. */
struct fault_pool {
	struct fault_block *ready;
	size_t count;
	uint64_t held; /* bytes in all blocks that queues hold */
};

/* Frees what is ready. All queues are cleared before. */
void fault_pool_clear(struct fault_pool *pool);

enum fault_item_kind {
	FAULT_ITEM_BYTES,
	FAULT_ITEM_OPEN,  /* connect to the server */
	FAULT_ITEM_PACE,  /* from here on `argument` bytes per second; 0: no limit */
	FAULT_ITEM_END,   /* orderly end of this direction */
	FAULT_ITEM_RESET, /* of the whole connection */
};

struct fault_item {
	uint64_t due_ns;
	uint64_t argument;
	struct fault_block *block;
	uint32_t offset, length; /* of the bytes in the block */
	enum fault_item_kind kind;
};

struct fault_queue {
	struct fault_pool *pool;
	struct fault_item *ring;
	size_t size, first, count; /* of the ring; the size is a power of two, or 0 */
	uint64_t bytes;
	uint64_t last_due_ns;
	struct fault_block *fill; /* where bytes are received */
};

void fault_queue_init(struct fault_queue *q, struct fault_pool *pool);

/* Drops everything. The queue can be used again. */
void fault_queue_clear(struct fault_queue *q);

/* Gives memory that an empty queue does not need back to the pool. */
void fault_queue_rest(struct fault_queue *q);

/* What the queue costs in memory, in bytes: for back-pressure. */
uint64_t fault_queue_cost(const struct fault_queue *q);

/* Where to receive bytes, and how many (at least 64 KiB). Good until the next call. 0, or -ENOMEM. */
int fault_queue_room(struct fault_queue *q, uint8_t **room, size_t *size);

/* `size` bytes were received into the room. They are queued with fault_queue_keep(), or forgotten. */
void fault_queue_filled(struct fault_queue *q, size_t size);

/* Queues `size` bytes at `bytes`, which were received into `from` (this queue, or one of the same pool) and are part of what
 * fault_queue_filled() was told of last. 0, or -ENOMEM. */
int fault_queue_keep(struct fault_queue *q, const struct fault_queue *from, uint64_t due_ns, const uint8_t *bytes,
                     size_t size);

/* Queues a copy of `size` bytes. 0, or -ENOMEM. */
int fault_queue_copy(struct fault_queue *q, uint64_t due_ns, const void *bytes, size_t size);

/* Queues a signal. 0, or -ENOMEM. */
int fault_queue_signal(struct fault_queue *q, uint64_t due_ns, enum fault_item_kind kind, uint64_t argument);

/* The first item, or NULL. Good until the queue changes. */
const struct fault_item *fault_queue_front(const struct fault_queue *q);

/* Takes off the first item, which is a signal. */
void fault_queue_pop(struct fault_queue *q);

/* Points `iov` (of `iov_max`) at bytes at the front that are due at `now_ns`, `max` (at least 1) of them at most. Returns
 * how many entries were set. */
int fault_queue_gather(const struct fault_queue *q, uint64_t now_ns, size_t max, struct iovec *iov, int iov_max);

/* Takes off the first `bytes`, which were gathered. */
void fault_queue_sent(struct fault_queue *q, size_t bytes);

#endif
