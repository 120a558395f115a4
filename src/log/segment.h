/* SPDX-License-Identifier: GPL-3.0-only */
/* segment.h: the segments of one image that this host knows of, and what is here of each: shared by log, cache and image.
 *
 * A segment is found by its number and pinned while its file is used. Each chunk has a state byte: absent, unverified (was
 * here before a restart: checksums not looked at yet) or present, with a two-bit count of recent uses beside it. Rules:
 *   - a reader pins, then looks at the chunk's state, and touches the file only if the chunk is not absent;
 *   - the evictor first marks chunks absent, then punches them only if nobody has the segment pinned (else later);
 * so set bits always mean readable bytes. Segments that are not in the store yet are never evicted. A segment object lives as
 * long as its set, or until it is forgotten or taken out: only who has it pinned, or keeps others from that, may look at it.
 */
#ifndef GARNER_LOG_SEGMENT_H
#define GARNER_LOG_SEGMENT_H

#include "base/disk.h"
#include "base/error.h"
#include "log/segment_file.h"
#include "log/types.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum segment_life {
	LIFE_UNKNOWN = 0, /* nothing is known but the number; the store has it */
	LIFE_OPEN,        /* the log appends to it */
	LIFE_CLOSED,      /* full or aged; not sealed yet; perhaps in the store */
	LIFE_SEALED,      /* durable here; perhaps in the store */
	LIFE_STORED,      /* durable here once, and in the store; here it is cache */
};

#define CHUNK_ABSENT 0u
#define CHUNK_UNVERIFIED 1u
#define CHUNK_PRESENT 2u
#define CHUNK_STATE 3u /* mask */
#define CHUNK_USES_ONE 4u
#define CHUNK_USES 12u /* mask: 0..3 recent uses */
#define CHUNK_HELD 16u /* the cache counts its bytes as in use */

struct segment_set;
struct fetch;
struct stage;
struct retired;

struct segment {
	struct segment_set *set;
	segment_no_t number;
	_Atomic uint32_t pins;
	_Atomic int life;                    /* enum segment_life */
	_Atomic(struct segment_file *) file; /* NULL: no file here, or not opened yet; set under mutex */
	_Atomic(struct stage *) stage;       /* open segments: what is in it need not be in the file yet; NULL: none */
	_Atomic(_Atomic uint8_t *) chunk; /* shape.chunks state bytes; NULL until the shape is known; set under mutex */
	struct segment_shape shape;       /* valid once chunk is set */
	_Atomic uint32_t stored_slots;    /* that packing left in the object in the store; 0: not known here */
	_Atomic uint64_t read_end;        /* cache/fetch.c: where the last read ended, in bytes of slots */

	pthread_mutex_t mutex; /* guards what follows; may be held over opening, punching or removing this one file */
	uint32_t follows;      /* how many records the segment before holds; set when it is opened */
	_Atomic bool local;    /* a file is in the cache directory */
	int sync_error;        /* sticky: a sync of the file failed once */
	uint64_t *
		checksums; /* per slot: bit 32 set and data_crc, or 0: no record, while chunks are being verified; else NULL */
	struct fetch *fetches;     /* cache/fetch.c: chunks on their way */
	uint8_t told;              /* likewise: levels of report.h at which it was said that it cannot be read */
	bool punched;              /* the file has holes: it cannot be recycled */
	struct retired *retired;   /* arrays of states that somebody may look at still */
	struct segment *next_gone; /* guarded by the set's mutex: forgotten, and still pinned */
	bool taken;                /* cache/cache.c: out of the table; of its rounds */

	/* Written by the log's owner before the life that makes them valid. */
	uint32_t record_count, slot_count; /* closed and later */
	uint64_t image_size; /* after the last record: given to the upload and later, of this host's making */
	struct log_position checkpoint;                          /* likewise: the last one at or before its end */
	uint8_t prev_digest[DIGEST_BYTES], digest[DIGEST_BYTES]; /* likewise, and when sealed or stored here */
	_Atomic uint32_t filling;                                /* reservations not yet filled */
	uint64_t opened_ns, closed_ns;                           /* monotonic: first record; when it was closed */
};

/* The segments of image `image` in directory `dir` (copied). NULL when memory is short. */
struct segment_set *segment_set_new(struct disk *disk, const char *dir, const uint8_t pool[POOL_UUID_BYTES],
                                    uint64_t image);
/* Closes all files. Nothing is pinned. */
void segment_set_free(struct segment_set *set);

uint64_t segment_set_image(const struct segment_set *set);
const char *segment_set_dir(const struct segment_set *set);
struct disk *segment_set_disk(const struct segment_set *set);
const uint8_t *segment_set_pool(const struct segment_set *set);

/* "<dir>/<16 hex digits>.seg", malloc'ed. */
char *segment_path(const struct segment_set *set, segment_no_t number);

/* Finds segment files in the directory and makes their segments known, headers and presence read (chunks unverified). Files
 * that are no segments of this image are left alone, and named in a warning. */
int segment_set_scan(struct segment_set *set, struct error *err);

/* Finds or makes the segment and pins it. NULL when memory is short. Any thread. */
struct segment *segment_pin(struct segment_set *set, segment_no_t number);
/* NULL when this host knows nothing of it. */
struct segment *segment_pin_known(struct segment_set *set, segment_no_t number);
void segment_unpin(struct segment *s);

/* Forgets the segment and deletes its file (recovery and deletion of images, and what was made ahead of need). Who has it pinned may look at
 * it until he lets it go. */
int segment_forget(struct segment_set *set, segment_no_t number);

/* Takes a segment of which only the store had anything, and that nobody has pinned, out of the table: nobody can find it any more. NULL when it
 * is not known, or not so. It is freed by segment_taken_free(). */
struct segment *segment_take(struct segment_set *set, segment_no_t number);
void segment_taken_free(struct segment *s);

/* segment_forget() of all. The first error. */
int segment_set_forget_all(struct segment_set *set);

/* The file of a local segment, opened if need be; NULL with an error when there is none or it is damaged. The segment is
 * pinned. */
struct segment_file *segment_open_file(struct segment *s, struct error *err);

/* Gives the segment its shape and an array of chunk states, all `state` (with or without CHUNK_HELD). The mutex is held, or nobody
 * else knows the segment. 0, -ENOMEM, or -EBADMSG when it has another shape. */
int segment_set_shape(struct segment *s, const struct segment_shape *shape, uint8_t state);

/* Forgets all but the number of a segment of which no file is here any more: what the store has under that number may be another one. */
void segment_make_unknown(struct segment *s);

/* Makes a just created file the segment's (mutex as above). */
void segment_adopt_file(struct segment *s, struct segment_file *f);

static inline unsigned segment_chunk_state(const struct segment *s, uint32_t chunk)
{
	_Atomic uint8_t *states = atomic_load_explicit(&s->chunk, memory_order_acquire);

	return states ? atomic_load(&states[chunk]) & CHUNK_STATE : CHUNK_ABSENT;
}

/* Counts a use of the chunk, up to 3. */
static inline void segment_chunk_used(struct segment *s, uint32_t chunk)
{
	_Atomic uint8_t *states = atomic_load_explicit(&s->chunk, memory_order_acquire);
	uint8_t b = atomic_load_explicit(&states[chunk], memory_order_relaxed);

	while ((b & CHUNK_USES) != CHUNK_USES &&
	       !atomic_compare_exchange_weak_explicit(&states[chunk], &b, (uint8_t)(b + CHUNK_USES_ONE),
	                                              memory_order_relaxed, memory_order_relaxed))
		;
}

/* Changes the state of a chunk, keeping its use count; returns the state before. */
static inline unsigned segment_chunk_set(struct segment *s, uint32_t chunk, unsigned state)
{
	_Atomic uint8_t *states = atomic_load_explicit(&s->chunk, memory_order_acquire);
	uint8_t b = atomic_load(&states[chunk]);

	while (!atomic_compare_exchange_weak(&states[chunk], &b, (uint8_t)((b & ~CHUNK_STATE) | state)))
		;
	return b & CHUNK_STATE;
}

/* The same, but only if it is `from` still. Whether it was. */
static inline bool segment_chunk_change(struct segment *s, uint32_t chunk, unsigned from, unsigned to)
{
	_Atomic uint8_t *states = atomic_load_explicit(&s->chunk, memory_order_acquire);
	uint8_t b = atomic_load(&states[chunk]);

	while ((b & CHUNK_STATE) == from)
		if (atomic_compare_exchange_weak(&states[chunk], &b, (uint8_t)((b & ~CHUNK_STATE) | to)))
			return true;
	return false;
}

/* Reads `len` bytes beginning `skip` bytes into `slot` from present chunks, wherever they are. Pinned. 0 or -errno. */
int segment_read(struct segment *s, uint32_t slot, uint32_t skip, void *buf, size_t len);

/* Has the file hold what the stage does of the first `slots` slots and `records` records, all filled: see stage_write_out(). 0 or
 * -errno. */
int segment_write_out(struct segment *s, uint32_t slots, uint32_t records, bool stream);

/* Writes everything out (s->slot_count, s->record_count) and gives the stage back. On failure the stage stays. */
int segment_end_stage(struct segment *s, bool stream);

/* Syncs the file once more, unless a sync of it failed before: that failure stays. */
int segment_sync(struct segment *s);

/* Calls each() for every known segment, in no order, pinned meanwhile; it may not call segment_forget(). */
int segment_set_each(struct segment_set *set, int (*each)(void *arg, struct segment *s), void *arg);

#endif
