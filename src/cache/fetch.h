/* SPDX-License-Identifier: GPL-3.0-only */
/* fetch.h: reads slots of segments: from the local file where the chunk is here, else from the store, without holding a thread.
 *
 * A chunk that is fetched is opened (which checks its tag), handed to those who wait, and written at its place in the local file.
 * Two readers of one chunk share one request. A chunk that was here before a restart is checked against its records' checksums
 * on first use; if it is damaged it is fetched again, or, if the store does not have it yet, the read fails with -EIO.
 */
#ifndef GARNER_CACHE_FETCH_H
#define GARNER_CACHE_FETCH_H

#include "cache/cache.h"
#include "log/segment.h"
#include "log/segment_object.h"
#include "seal/seal.h"
#include "store/store.h"

#include <stdatomic.h>
#include <stdint.h>

/* One image as the cache sees it. Constant, and where it is, while reads are under way that were begun with it. */
struct fetch_source {
	struct cache *cache;
	struct store *store;
	struct segment_set *set;
	struct seal_key key;
	uint32_t slot_bytes;
	/* The epoch in whose name the segment was stored; 0: none. Any thread. */
	uint64_t (*epoch_of)(void *arg, segment_no_t number);
	void *arg;
};

/* Gathers the reads of one caller. Begin with fetch_op_begin(), issue reads, end with fetch_op_end(). */
struct fetch_op {
	_Atomic unsigned pending;
	_Atomic int result; /* the first error, or 0 */
	void (*complete)(struct fetch_op *op);
};

static inline void fetch_op_begin(struct fetch_op *op, void (*complete)(struct fetch_op *op))
{
	atomic_init(&op->pending, 1);
	atomic_init(&op->result, 0);
	op->complete = complete;
}

/* Ends the issuing of reads. Returns true when all of them are done: complete() is not called then; otherwise it will be, once,
 * on an executor thread or the store's. */
static inline bool fetch_op_end(struct fetch_op *op)
{
	return atomic_fetch_sub(&op->pending, 1) == 1;
}

/* Reads `len` bytes beginning `skip` bytes into `slot` of segment `number`, which must lie within that segment, into `buf`.
 * Done at once, or counted in op->pending and done later. Errors go to op->result: -EIO (damage, too), -ETIMEDOUT, -ENOMEM. */
void fetch_read(const struct fetch_source *source, struct fetch_op *op, segment_no_t number, uint32_t slot,
                uint32_t skip, uint8_t *buf, size_t len);

/* Has chunks [chunk, chunk+count) of segment `number` come, as far as they are not here: after everything that somebody waits for.
 * Counted in op->pending like reads. Those that are here, or on their way already, cost nothing. Returns how many were neither. */
uint32_t fetch_ahead(const struct fetch_source *source, struct fetch_op *op, segment_no_t number, uint32_t chunk,
                     uint32_t count);

/* Has the table of segment `number` come, if it is not here: what a fetch of its chunks needs first. Counted in op->pending. */
void fetch_table(const struct fetch_source *source, struct fetch_op *op, segment_no_t number);

/* For small cases on the hit path: reads if it can be done at once from present chunks (returns 0), else does nothing and returns -EAGAIN. `len`
 * may be anything within the segment. */
int fetch_read_now(const struct fetch_source *source, segment_no_t number, uint32_t slot, uint32_t skip, void *buf,
                   size_t len);

/* The records of a sealed or stored segment, from its local file or from the store. Blocks. `*records` is malloc'ed. */
int fetch_records(const struct fetch_source *source, segment_no_t number, struct record **records, size_t *count,
                  struct error *err);

/* Header of a segment in the store. Blocks. -ENOENT. */
int fetch_meta(const struct fetch_source *source, segment_no_t number, struct segment_meta *meta, struct error *err);
/* The same of a segment of which more will be asked for next: one request brings what it can (object_heads.h). */
int fetch_head(const struct fetch_source *source, segment_no_t number, struct segment_meta *meta, struct error *err);

/* fetch_read() for callers that may block. */
int fetch_read_wait(const struct fetch_source *source, segment_no_t number, uint32_t slot, uint32_t skip, void *buf,
                    size_t len);

#endif
