/* SPDX-License-Identifier: GPL-3.0-only */
/* types.h: the small values of the log: grain and segment numbers, positions, and map entries. */
#ifndef GARNER_LOG_TYPES_H
#define GARNER_LOG_TYPES_H

#include <stdbool.h>
#include <stdint.h>

typedef uint64_t grain_no_t;   /* grain of a disk, from 0 */
typedef uint64_t segment_no_t; /* segment of a log, from 1; 0 means none */

#define GRAIN_BYTES_MIN 4096u
#define GRAIN_BYTES_MAX 65536u
#define GRAIN_NONE UINT64_MAX

#define SEGMENT_BYTES_MIN (1u << 20)
#define SEGMENT_BYTES_MAX (64u << 20)
#define SEGMENT_SLOTS_MAX 16384u /* 64 MiB of 4 KiB slots */
#define CHUNK_BYTES 65536u

static inline bool grain_bytes_valid(uint64_t bytes)
{
	return bytes >= GRAIN_BYTES_MIN && bytes <= GRAIN_BYTES_MAX && (bytes & (bytes - 1)) == 0;
}

/* A place in the log: after `record` records of segment `segment`. Ordered by segment, then record. */
struct log_position {
	segment_no_t segment;
	uint32_t record;
};

static inline int log_position_compare(struct log_position a, struct log_position b)
{
	if (a.segment != b.segment)
		return a.segment < b.segment ? -1 : 1;
	return a.record < b.record ? -1 : a.record > b.record;
}

/* Where the bytes of one grain (or map node) are: layer, segment, slot in 64 bits. 0 is "nothing: reads as zeros". */
typedef uint64_t map_entry_t;

#define MAP_ENTRY_NONE ((map_entry_t)0)
/* Only in inner map nodes: the child exists, but no copy of it is in the log yet (see map/grain_map.h). Never in a
 * checkpoint. No segment has the number 0, so this is no address. */
#define MAP_ENTRY_LOCAL ((map_entry_t)1)
#define MAP_ENTRY_SLOT_BITS 14
#define MAP_ENTRY_SEGMENT_BITS 40
#define MAP_ENTRY_LAYER_BITS 10

static inline map_entry_t map_entry(unsigned layer, segment_no_t segment, uint32_t slot)
{
	return (map_entry_t)layer << (MAP_ENTRY_SEGMENT_BITS + MAP_ENTRY_SLOT_BITS) | segment << MAP_ENTRY_SLOT_BITS |
	       slot;
}

static inline unsigned map_entry_layer(map_entry_t e)
{
	return (unsigned)(e >> (MAP_ENTRY_SEGMENT_BITS + MAP_ENTRY_SLOT_BITS));
}

/* The same place, said by who has that layer `layers` further away; there is room for the sum. */
static inline map_entry_t map_entry_deeper(map_entry_t e, unsigned layers)
{
	return e + ((map_entry_t)layers << (MAP_ENTRY_SEGMENT_BITS + MAP_ENTRY_SLOT_BITS));
}

static inline segment_no_t map_entry_segment(map_entry_t e)
{
	return e >> MAP_ENTRY_SLOT_BITS & (((uint64_t)1 << MAP_ENTRY_SEGMENT_BITS) - 1);
}

static inline uint32_t map_entry_slot(map_entry_t e)
{
	return (uint32_t)(e & ((1u << MAP_ENTRY_SLOT_BITS) - 1));
}

#endif
