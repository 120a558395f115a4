/* SPDX-License-Identifier: GPL-3.0-only */
/* checkpoint.h: the body of a checkpoint record: the image as of one log position. Pure.
 *
 * 256 bytes, little-endian, padded with zeros to the slot: magic "GCKP" u32, version u32, root entry u64, position
 * (segment u64, record u32, zero u32), image size u64, allocated grains u64, mtime u64, time u64, layers u32, zeros, crc32c of
 * the first 252 bytes u32. Without layers the version is 1, as before there were any. "Position" is where the map was frozen: replay begins with the record at that position.
 */
#ifndef GARNER_MAP_CHECKPOINT_H
#define GARNER_MAP_CHECKPOINT_H

#include "base/error.h"
#include "log/types.h"

#define CHECKPOINT_BYTES 256
#define CHECKPOINT_VERSION 2

struct checkpoint {
	map_entry_t root; /* MAP_ENTRY_NONE: nothing is mapped */
	struct log_position position;
	uint64_t size;      /* bytes */
	uint64_t allocated; /* grains */
	uint64_t mtime_ns;
	uint64_t time_ns; /* when it was made */
	uint32_t layers;  /* that entries may point into, besides the image's own log */
};

void checkpoint_encode(const struct checkpoint *c, uint8_t out[CHECKPOINT_BYTES]);
/* -EBADMSG, or -EPROTONOSUPPORT for a newer version. */
int checkpoint_decode(const uint8_t in[CHECKPOINT_BYTES], struct checkpoint *c, struct error *err);

/* A map node as the bytes of a log slot or SQLite row (512 little-endian words), and back. Decoding a node that came from
 * the log refuses (-EBADMSG) MAP_ENTRY_LOCAL, and entries with segment 0 that are not NONE. */
void map_node_encode(const map_entry_t *entries, uint8_t out[4096]);
int map_node_decode(const uint8_t in[4096], bool from_log, map_entry_t *entries);

#endif
