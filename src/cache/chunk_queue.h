/* SPDX-License-Identifier: GPL-3.0-only */
/* chunk_queue.h: a FIFO of chunks, and the memory of chunks evicted not long ago. Not thread-safe. */
#ifndef GARNER_CACHE_CHUNK_QUEUE_H
#define GARNER_CACHE_CHUNK_QUEUE_H

#include "log/segment.h"

#include <stddef.h>
#include <stdint.h>

struct chunk_ref {
	struct segment *segment; /* NULL: forgotten meanwhile */
	uint32_t chunk;
};

struct chunk_queue {
	struct chunk_ref *ring;
	size_t capacity, head, count;
	/* Whether a chunk that is not forgotten needs no place any more; NULL: all need theirs. Such are dropped before the ring grows. */
	bool (*is_over)(const struct chunk_ref *ref);
};

void chunk_queue_destroy(struct chunk_queue *q);
/* 0 or -ENOMEM (and the chunk is then not queued). A full ring first drops what is forgotten or over, and grows only if more
 * than half of it is left: so its size follows those that count, and a push takes constant time on average. */
int chunk_queue_push(struct chunk_queue *q, struct chunk_ref ref);
/* False when it is empty. */
bool chunk_queue_pop(struct chunk_queue *q, struct chunk_ref *ref);
/* Makes all entries NULL of segments that are `gone`. */
void chunk_queue_forget(struct chunk_queue *q, bool (*gone)(const struct segment *s, const void *arg), const void *arg);

/* Remembers about `slots` keys; a newer one may drive out an older one early. */
struct ghosts {
	uint64_t *key;
	size_t mask;
};
int ghosts_init(struct ghosts *g, size_t slots);
void ghosts_destroy(struct ghosts *g);
void ghosts_add(struct ghosts *g, const struct chunk_ref *ref);
/* Whether it is remembered; forgets it. */
bool ghosts_take(struct ghosts *g, const struct chunk_ref *ref);

#endif
