/* SPDX-License-Identifier: GPL-3.0-only */
/* log.h: the writing end of one image's log: reserve, fill, complete; flush; close and seal segments.
 *
 * A write reserves its records and slots (their order is the order of the log), fills them without a lock, points the map at
 * them, and completes. What is filled is gathered in the segment's stage, if there is one, and written to its file when a
 * megabyte has gathered, when a flush wants it, or when the segment is sealed. Rules by which flush decides:
 *   - a flush covers every reservation made before it; it waits until all of those are completed (the frontier), for
 *     recovery stops at the first record that is not there;
 *   - then every segment with records before that point is synced, oldest first, and only then is it answered;
 *   - flushes that arrive while a sync is under way share the next one;
 *   - a failed sync is final: the log fails, every later call answers -EIO.
 * A segment that is full, aged, or asked for is closed, then sealed on the executor in order of numbers: synced, its digest
 * chained to the one before, its header rewritten. Knows nothing of the map, stores or guests.
 *
 * Locks: log mutex, then segment mutex. Hooks are called with no lock held, on executor threads.
 */
#ifndef GARNER_LOG_LOG_H
#define GARNER_LOG_LOG_H

#include "base/error.h"
#include "base/executor.h"
#include "log/record.h"
#include "log/segment.h"
#include "log/spare.h"
#include "log/stage.h"
#include "log/types.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct log;

struct log_hooks {
	/* A segment file was made: `bytes` more of the cache directory are in use. */
	void (*grown)(void *arg, uint64_t bytes);
	/* A segment that was made and never used is about to be deleted (by log_free()). */
	void (*dropped)(void *arg, struct segment *s);
	/* No segment can be made for want of space: give some back if possible. Called again every second. */
	void (*need_space)(void *arg);
	/* `s` is closed and whole, its digest is known: it may be uploaded, while it is made durable here. In order of numbers. */
	void (*complete)(void *arg, struct segment *s);
	/* `s` is sealed: durable here. After `complete`, likewise in order; not called when the log has failed. */
	void (*sealed)(void *arg, struct segment *s);
	/* The log failed with this error (once). */
	void (*failed)(void *arg, int error, const char *text);
};

#define LOG_AHEAD_MAX 6

struct log_options {
	struct segment_set *set;
	struct spare_pool *spares;
	struct stage_pool *stages; /* NULL: every write goes to its file at once */
	struct executor *executor; /* may block on the local disk */
	unsigned ahead; /* segments made ahead of need for a stream, at most LOG_AHEAD_MAX; one in any case */
	uint32_t grain_bytes, segment_bytes;
	uint64_t epoch;
	bool error_when_full; /* -ENOSPC instead of waiting */
	bool keep_all;        /* segments are sealed whole: see log_keep_all() */
	struct log_hooks hooks;
	void *arg;
	/* Where the log goes on: */
	segment_no_t next;                 /* number of the next segment */
	uint8_t prev_digest[DIGEST_BYTES]; /* of segment next-1 */
	uint64_t image_size;
	struct log_position checkpoint;
};

struct log *log_new(const struct log_options *options);
/* Nothing is reserved, no flush waits. Closed segments have been sealed (log_drain). NULL is ignored. */
void log_free(struct log *l);

/* One reservation, at most two parts, since it may run over the end of a segment. The caller embeds it; it stays where it is
 * until completed. */
struct log_part {
	struct segment *segment;
	size_t first; /* index into the caller's records */
	size_t count;
	uint32_t record; /* number of the first record within the segment */
	uint32_t slot;   /* likewise of the first slot, if there is any */
	uint64_t sequence;
	TAILQ_ENTRY(log_part) link;
};
struct log_append {
	struct log_part part[2];
	unsigned parts;
};

/* The most records of one reservation. */
#define LOG_APPEND_MAX 512

/* Reserves places for `count` records (at most LOG_APPEND_MAX, slots of at most 1 MiB), setting `slot` in those that have one.
 * Returns 0; -EAGAIN when there is no room yet: wake(arg) is called once, on the executor, when it is worth trying again;
 * -ENOSPC (error_when_full); -EIO when the log has failed. Never blocks. */
int log_reserve(struct log *l, struct record *records, size_t count, struct log_append *append, job_fn *wake,
                void *arg);
/* The same, in a segment that begins with these records: the open one is closed, however little is in it. One part, as far as all of
 * them fit into a segment. */
int log_reserve_anew(struct log *l, struct record *records, size_t count, struct log_append *append, job_fn *wake,
                     void *arg);

/* Puts the slots and then the index records of a reservation where they outlive the daemon: data[i] is the grain of records[i] if
 * its kind has a slot (grain bytes), and data_crc is set here. Blocks on the page cache only. On failure the log has failed
 * (-EIO). */
int log_fill(struct log *l, const struct log_append *append, struct record *records, const void *const *data);

/* Ends a reservation, whether its filling worked or not. */
void log_complete(struct log *l, struct log_append *append);

/* Makes everything reserved before durable on the local disk. Returns 0 or -EIO at once, having done the sync on this thread,
 * or -EINPROGRESS: done(arg, result) is called when a sync by another thread covered it. */
typedef void log_done_fn(void *arg, int64_t result);
int64_t log_flush(struct log *l, log_done_fn *done, void *arg);
/* The same, waiting. */
int log_flush_wait(struct log *l);

/* Where the next record will be. Meaningful when the caller keeps reservations out. */
struct log_position log_position(struct log *l);

/* Closes the open segment if it holds records. Returns the number of the last segment that holds records (0: none since
 * log_new()). */
segment_no_t log_close_segment(struct log *l);
/* To be called every now and then: closes the open segment if its first record is older than `age_ns`, and begins what could not be begun for
 * want of memory. */
void log_tend(struct log *l, uint64_t age_ns);
/* There may be room again: the next write tries, however short a time ago there was none. */
void log_room_was_made(struct log *l);
/* From now on a write for which there is no room fails with -ENOSPC, also one that waits already. For the end: nothing can be waited for. */
void log_refuse_to_wait(struct log *l);

/* Waits until all segments up to `number` are sealed, and copies the digest of `number`. 0 or -EIO. */
int log_wait_sealed(struct log *l, segment_no_t number, uint8_t digest[DIGEST_BYTES]);

/* Whether segments that are sealed from now on are to go to the store with all they hold, or without what their own later records
 * overwrite. */
void log_keep_all(struct log *l, bool all);

/* Bytes in slots of segments that were not given to the hook `complete` yet. */
uint64_t log_open_bytes(struct log *l);
/* Monotonic time of the oldest record that is not sealed; 0: none. */
uint64_t log_oldest_ns(struct log *l);
/* Records reserved so far: tells whether anything was appended meanwhile. */
uint64_t log_sequence(struct log *l);
uint64_t log_file_bytes(const struct log *l);

/* Stops the log with an error, as a failed sync does. */
void log_fail(struct log *l, int error, const char *text);

/* Waits until no job of the log is queued or running: everything closed is sealed (or the log has failed). */
void log_drain(struct log *l);

#endif
