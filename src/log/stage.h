/* SPDX-License-Identifier: GPL-3.0-only */
/* stage.h: where open segments are gathered in memory before they are written to their files in large pieces.
 *
 * A stage is a file of the cache directory, mapped, with the layout of a segment file (segment_file.h). What is put there costs a
 * memcpy, and outlives the daemon, though not the machine: after a crash stage_restore() gives each segment what its file lacks.
 * A stage has one owner at a time, an open segment's file; the pool bounds how many there are. Every stage of a pool is used
 * again and again, so its pages stay in memory; writing them back is of no use to anybody, and is left to the kernel's leisure.
 *
 * Threads: putting into distinct slots and records, reading and writing out may all happen at once. A stage is safe to look at
 * for as long as its pool lives, whoever owns it by then: stage_read() and stage_write_out() say whether it was still the caller's.
 */
#ifndef GARNER_LOG_STAGE_H
#define GARNER_LOG_STAGE_H

#include "base/disk.h"
#include "base/error.h"
#include "log/record.h"
#include "log/segment_file.h"

#include <stdbool.h>
#include <stdint.h>

struct stage;
struct stage_pool;

/* Stages of together at most `limit` bytes as files in `dir`, which is made if need be. They are made as they are wanted. What is
 * in `dir` is deleted: stage_restore() comes first. */
int stage_pool_new(struct disk *disk, const char *dir, uint64_t limit, struct stage_pool **pool, struct error *err);
/* Deletes the files of all stages but those that have an owner: they hold what could not be written, and stay for the next start.
 * NULL is ignored. */
void stage_pool_free(struct stage_pool *p);

/* Sees to it that a stage of `file_bytes` can be taken, if the limit and the disk allow: without it there is none, which costs
 * only speed. Blocks on the local disk. */
void stage_prepare(struct stage_pool *p, uint64_t file_bytes);

/* A stage for the open segment `owner`; NULL when none is ready. Never blocks. */
struct stage *stage_take(struct stage_pool *p, const struct segment_file *owner);
/* Gives it back: everything in it was written out. */
void stage_give(struct stage *s);

/* Puts one whole slot, whose crc32c it returns, or records as `number` and on. By those who fill the owner only. */
uint32_t stage_put_slot(struct stage *s, uint32_t slot, const void *data);
void stage_put_records(struct stage *s, uint32_t number, const struct record *records, size_t count);

/* segment_file_read() of slots that were put. False: it is no longer `owner`'s, whose file has all of it. */
bool stage_read(struct stage *s, const struct segment_file *owner, uint32_t slot, uint32_t skip, void *buf, size_t len);

/* How many slots have been written out. */
uint32_t stage_written(const struct stage *s);

/* Writes what is not in the owner's file of the first `slots` slots and `records` records, all of which are put. `stream`: nobody
 * will soon read it again, so it goes past the page cache. 0 (also when it is no longer `owner`'s) or -errno. */
int stage_write_out(struct stage *s, struct segment_file *owner, uint32_t slots, uint32_t records, bool stream);

/* After a crash: for each stage in `dir`, the segment it belonged to gets from it what its file below `images_dir`
 * (<id>/<number>.seg) lacks, synced. Counts what was given back in *records. Stages that are nobody's any more, torn, or of another
 * pool are passed over. 0 or the first error: no stage is lost then. */
int stage_restore(struct disk *disk, const char *dir, const char *images_dir, const uint8_t pool[POOL_UUID_BYTES],
                  uint64_t *records, struct error *err);

#endif
