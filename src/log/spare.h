/* SPDX-License-Identifier: GPL-3.0-only */
/* spare.h: segment files ready to be used: allocated ahead of need, and, where time allows, written once.
 *
 * A file whose blocks were written before can be overwritten and synced without the file system's journal, which makes
 * small flushes cheap. Files come from the evictor (recycled), or are made here. Knows nothing of what is in them.
 */
#ifndef GARNER_LOG_SPARE_H
#define GARNER_LOG_SPARE_H

#include "base/disk.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct spare_pool;

/* Spares in `dir` (made if need be); files found there are used. `keep`: how many written ones are held ready. */
int spare_pool_new(struct disk *disk, const char *dir, unsigned keep, struct spare_pool **pool, struct error *err);
void spare_pool_free(struct spare_pool *p);

/* Takes a spare of at least `file_bytes`, or makes one (allocated, not written). `*path` is malloc'ed and the caller's; the file is the caller's too.
 * -ENOSPC ... Blocks on the local disk. Any thread. */
int spare_take(struct spare_pool *p, uint64_t file_bytes, char **path, struct error *err);

/* Gives the file at `path`, `file_bytes` long and without holes, to the pool, by rename; deletes it when there are enough.
 * Returns 0 or -errno. */
int spare_give(struct spare_pool *p, const char *path, uint64_t file_bytes);

/* Makes one written spare of `file_bytes` if fewer than `keep` of that size are ready. Returns 1 when it made one, 0 when
 * there are enough, or -errno. For quiet moments. */
int spare_refill(struct spare_pool *p, uint64_t file_bytes);

/* Deletes all that are ready, to give space back; returns how many bytes. */
uint64_t spare_drop_all(struct spare_pool *p);

#endif
