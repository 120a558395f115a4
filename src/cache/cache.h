/* SPDX-License-Identifier: GPL-3.0-only */
/* cache.h: how much of the cache directory is used, and which chunks go when it is too much.
 *
 * S3-FIFO over chunks: new ones enter a small queue (a tenth), and only those used again, or remembered as evicted not long
 * ago, enter the main one; so a scan passes through without driving out what is in use. Only chunks of segments that are in
 * the store are ever in a queue. A file whose chunks have all gone is recycled for the log, or deleted. One cache serves all
 * images of a mount. Knows nothing of the map.
 */
#ifndef GARNER_CACHE_CACHE_H
#define GARNER_CACHE_CACHE_H

#include "base/executor.h"
#include "log/segment.h"
#include "log/spare.h"

#include <stdint.h>

struct cache;
struct object_heads;

/* `limit`: bytes of the cache directory that segments may take. NULL when memory is short. */
struct cache *cache_new(uint64_t limit, struct spare_pool *spares, struct executor *executor);
/* Nothing else uses it any more. NULL is ignored. */
void cache_free(struct cache *c);

/* The directory grew by `bytes` outside of the calls below (a log segment was made). May start eviction in the background. */
void cache_grown(struct cache *c, uint64_t bytes);

/* A segment of the log is in the store now: gives its unused tail back and puts its chunks into the queues. Blocks on the
 * local disk. */
void cache_segment_stored(struct cache *c, struct segment *s);

/* A segment found at start: counts it, and queues its chunks if it is in the store. */
void cache_segment_found(struct cache *c, struct segment *s);

/* A file for a stored segment was made with no chunk in it; a chunk of it has been filled. */
void cache_file_made(struct cache *c, struct segment *s);
void cache_chunk_filled(struct cache *c, struct segment *s, uint32_t chunk);

/* The set's segments are about to be freed: forgets them and what they used. */
void cache_forget_set(struct cache *c, struct segment_set *set);

/* The same for one segment. */
void cache_forget_segment(struct cache *c, struct segment *s);

/* Nobody will read these stored segments again: their files go, and all that is known of them, but of one that is in use just now. Blocks on
 * the local disk. */
void cache_drop_segments(struct cache *c, struct segment_set *set, const segment_no_t *numbers, size_t count);

/* Evicts until `bytes` less than the limit are in use, if that much can go; blocks on the local disk. Spares go too if that is not enough. */
void cache_make_room(struct cache *c, uint64_t bytes);

/* Evicts everything that can be: for tests. */
void cache_evict_all(struct cache *c);

/* What is kept of the objects that were read last. */
struct object_heads *cache_heads(struct cache *c);

/* Memory of the queues of chunks: for tests. */
size_t cache_queue_bytes(struct cache *c);

uint64_t cache_used(struct cache *c);
uint64_t cache_limit(struct cache *c);

#endif
