/* SPDX-License-Identifier: GPL-3.0-only */
/* segment_object.h: a segment as an object in the store: header, index, box table, chunks. Pure: bytes in, bytes out.
 *
 * Layout (little-endian):
 *   0    header, 512 bytes: magic "GARNSEGS", version, flags, pool uuid, image, number, epoch, slot bytes, slots (of the
 *        whole segment), record count, chunk count, position of the last checkpoint at or before the end of this segment
 *        (segment, record; 0 when none), prev digest, digest, image size after the last record, time of packing, index box
 *        (SEAL_BOX_BYTES), BLAKE2b-256 of the table, offset of the chunks, record count before packing; in its last 32
 *        bytes BLAKE2b-256 of all before, keyed with the image key in a sealed pool.
 *   512  index box: the needed records (record.h), encoded with salt 0 and numbered from 0. Always sealed.
 *   ...  table: chunk count entries of SEGMENT_TABLE_ENTRY bytes: offset from the chunks' start, box. A chunk without a
 *        needed slot has stored length 0.
 *   ...  chunks: chunk i holds slots [i*per, (i+1)*per), cut at the last slot in use; slots not needed are zeros.
 * Associated data of boxes: "gnrsegmt", pool uuid, image, number, part (u32: 0xffffffff index, else chunk number). Not the
 * epoch: a segment packed again in a later term is the same log.
 */
#ifndef GARNER_LOG_SEGMENT_OBJECT_H
#define GARNER_LOG_SEGMENT_OBJECT_H

#include "base/error.h"
#include "log/record.h"
#include "log/segment_file.h"
#include "log/types.h"
#include "seal/seal.h"

#include <inttypes.h>
#include <stdio.h>

/* One without share records is still of version 1. */
#define SEGMENT_OBJECT_VERSION 2
#define SEGMENT_OBJECT_HEADER 512
/* The header, index and table of any segment fit into this many bytes. */
#define SEGMENT_OBJECT_META_MAX (2u << 20)
/* What a reader fetches first: for most segments it holds header, index and table. */
#define SEGMENT_OBJECT_META_GUESS 65536u

/* Its key in the store: "images/<image>/segments/<number>-<epoch>". `size` of `out` is at least 80. */
static inline void segment_object_key(uint64_t image, segment_no_t number, uint64_t epoch, char *out, size_t size)
{
	snprintf(out, size, "images/%016" PRIx64 "/segments/%016" PRIx64 "-%016" PRIx64, image, number, epoch);
}

struct segment_meta {
	uint8_t pool[POOL_UUID_BYTES];
	uint64_t image;
	segment_no_t number;
	uint64_t epoch;
	uint32_t slot_bytes, slots, record_count, chunk_count;
	uint32_t written_count; /* records before packing; 0: not known */
	struct log_position checkpoint;
	uint8_t prev_digest[DIGEST_BYTES], digest[DIGEST_BYTES];
	uint64_t image_size;
	uint64_t packed_ns;
	uint64_t index_offset, table_offset, chunks_offset;
	struct seal_box index_box;
	uint8_t table_digest[DIGEST_BYTES];
};

/* How many slots packing has left in it, at most: there are records without a slot, too. */
static inline uint32_t segment_meta_kept(const struct segment_meta *m)
{
	return m->record_count < m->slots ? m->record_count : m->slots;
}

/* What there is to pack. `slot_data(arg, slot, count, buf)` gives the bytes of slots [slot, slot+count); 0 or -errno. */
struct segment_pack {
	const uint8_t *pool;
	uint64_t image;
	segment_no_t number;
	uint64_t epoch;
	struct segment_shape shape;
	const struct record *records; /* all of them; packing drops those not needed, unless it was sealed whole */
	size_t record_count;
	struct log_position checkpoint;
	const uint8_t *prev_digest, *digest;
	uint64_t image_size;
	uint32_t *kept_slots; /* NULL, or 0: how many slots are needed */
	int (*slot_data)(void *arg, uint32_t slot, uint32_t count, void *buf);
	void *arg;
};

/* Packs into `*object` (malloc'ed, the caller's). Verifies every needed slot against its record's data_crc first: -EBADMSG
 * says which slot is damaged. -ENOMEM, or what slot_data returned. */
int segment_object_pack(const struct segment_pack *p, struct sealer *sealer, const struct seal_key *key,
                        uint8_t **object, size_t *len, struct error *err);

/* Reads the header from at least SEGMENT_OBJECT_HEADER bytes. -EBADMSG (wrong magic, tag, or numbers that do not fit),
 * -EPROTONOSUPPORT. The caller compares pool, image and number with what it asked for. */
int segment_meta_decode(const uint8_t *bytes, size_t len, const struct seal_key *key, struct segment_meta *meta,
                        struct error *err);

/* How many bytes from the object's start hold header, index and table. */
static inline uint64_t segment_meta_bytes(const struct segment_meta *m)
{
	return m->chunks_offset;
}

/* Opens index and table from the first segment_meta_bytes() of the object. `*records` (meta->record_count of them) and
 * `*table` (chunk_count * SEGMENT_TABLE_ENTRY bytes, checked against the digest, every entry decoded once and found sane)
 * are malloc'ed and the caller's; either may be NULL when not wanted. The digest is recomputed and compared. Every record
 * with a slot has slot < slots, no slot twice. */
int segment_meta_open(const struct segment_meta *meta, const uint8_t *bytes, size_t len, const struct seal_key *key,
                      struct record **records, uint8_t **table, struct error *err);

/* One entry of a checked table: where chunk `i` lies in the object (absolute offset), and its box. stored_length 0: no slot
 * of it is needed, there is nothing to fetch. */
void segment_table_entry(const struct segment_meta *meta, const uint8_t *table, uint32_t i, uint64_t *offset,
                         struct seal_box *box);

/* Opens chunk `i` whose stored bytes are `stored`; `plain` has room for CHUNK_BYTES. `*plain_len` bytes are valid, the rest
 * of the chunk has no needed slot. -EBADMSG. */
int segment_chunk_open(const struct segment_meta *meta, uint32_t i, const struct seal_box *box, const uint8_t *stored,
                       const struct seal_key *key, uint8_t *plain, uint32_t *plain_len, struct error *err);

#endif
