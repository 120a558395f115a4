/* SPDX-License-Identifier: GPL-3.0-only */
/* record.h: the index records of a segment: one per slot, and one per range, resize or time change.
 *
 * 32 bytes each, little-endian: crc u32 | kind u8 | level u8 | slot u16 | value u64 | count u32 | data crc u32 | time u64.
 * The crc covers bytes 4..31 and is continued from a seed of the segment's random salt and the record's number, so that a
 * record left over in a recycled file is never taken for one of the new segment. Pure functions.
 */
#ifndef GARNER_LOG_RECORD_H
#define GARNER_LOG_RECORD_H

#include "log/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_BYTES 32
#define RECORD_NO_SLOT 0xffffu

enum record_kind {
	RECORD_DATA = 1,   /* value: grain; slot, data_crc: its bytes */
	RECORD_ZERO = 2,   /* value: first grain, count: grains (1..2^32-1) that read as zeros from here on */
	RECORD_RESIZE = 3, /* value: the image's new size in bytes */
	RECORD_NODE = 4, /* a map node: level, value: index within the level; slot, data_crc: its bytes, zero-padded */
	RECORD_CHECKPOINT =
		5, /* slot, data_crc: a checkpoint body (map/checkpoint.h), zero-padded to the slot; value: flags */
	RECORD_MARK = 6,    /* a named point: value: its id. Written by snapshots; readers of today pass over it */
	RECORD_TIMES = 7,   /* value: modification time set by hand, ns since 1970 */
	RECORD_FOLLOWS = 8, /* first record of a segment: value: how many records the segment before holds */
	/* 9: see garnerfs-format(5) */
	RECORD_MOVE =
		10, /* as DATA, of a grain that cleaning brought here from an older segment: the disk did not change */
	RECORD_SHARE =
		11, /* value: first of some grains that other logs hold; slot, data_crc: where (map/share_list.h) */
};

/* Flags of a checkpoint's record: the records before it do not make its map out of that of the checkpoint before. */
#define CHECKPOINT_REMAPPED UINT64_C(1)

struct record {
	uint8_t kind;
	uint8_t level;
	uint16_t slot; /* RECORD_NO_SLOT when the kind has none */
	uint64_t value;
	uint32_t count; /* 1 for kinds with a slot; grains for RECORD_ZERO; else 0 */
	uint32_t data_crc;
	uint64_t time_ns; /* wall clock at the write: what people see, never used to order */
};

/* Whether records of this kind own a slot. */
static inline bool record_has_slot(uint8_t kind)
{
	return kind == RECORD_DATA || kind == RECORD_NODE || kind == RECORD_CHECKPOINT || kind == RECORD_MOVE ||
	       kind == RECORD_SHARE;
}

/* Whether the slot holds a grain of the disk. */
static inline bool record_is_grain(uint8_t kind)
{
	return kind == RECORD_DATA || kind == RECORD_MOVE;
}

void record_encode(const struct record *r, uint64_t salt, uint32_t number, uint8_t out[RECORD_BYTES]);

/* Returns 0, or -EBADMSG when the crc is wrong (as of a place never written), the kind unknown, or a field out of its range
 * (slot without need or missing, over SEGMENT_SLOTS_MAX; count; level over 7). */
int record_decode(const uint8_t in[RECORD_BYTES], uint64_t salt, uint32_t number, struct record *r);

/* Which of `count` records are still needed once all are written: clears keep[i] for a DATA or MOVE record whose grain a later
 * record of the list overwrites or zeroes, unless a CHECKPOINT or MARK lies between (that one may point at the slot).
 * Everything else is kept. Deterministic: the same list gives the same answer on any host. Returns 0 or -ENOMEM. */
int records_mark_needed(const struct record *records, size_t count, bool *keep);

#endif
