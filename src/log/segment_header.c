/* SPDX-License-Identifier: GPL-3.0-only */
/* segment_header.c: the pure half of segment_file.h: the shape of a segment, its header as bytes, and its digest.
 *
 * Header, little-endian: 0 magic "GARNSEGF", 8 version u32, 12 state u32, 16 pool uuid, 32 image u64, 40 number u64,
 * 48 epoch u64, 56 salt u64, 64 slot bytes u32, 68 slots u32, 72 records max u32, 76 record count u32, 80 slot count u32,
 * 84 zero u32, 88 created u64, 96 prev digest, 128 digest, zeros, 508 crc32c of the 508 bytes before. Magic, version and
 * crc stay where they are in every later version, so that damage is told from progress.
 */
#include "log/segment_file.h"

#include "base/bytes.h"
#include "base/crc32c.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define HEADER_BLOCK 4096u
#define RECORDS_MIN 1024u
#define TABLE_FRONT 12u /* crc u32, chunks offset u64 */
#define HEADER_CRC (SEGMENT_HEADER_BYTES - 4)

static const uint8_t header_magic[8] = "GARNSEGF";

int segment_shape(uint32_t grain_bytes, uint32_t segment_bytes, struct segment_shape *shape)
{
	if (!is_power_of_two(grain_bytes) || grain_bytes < GRAIN_BYTES_MIN || grain_bytes > GRAIN_BYTES_MAX)
		return -EINVAL;
	if (!is_power_of_two(segment_bytes) || segment_bytes < SEGMENT_BYTES_MIN || segment_bytes > SEGMENT_BYTES_MAX)
		return -EINVAL;

	shape->slot_bytes = grain_bytes;
	shape->slots = segment_bytes / grain_bytes;
	if (shape->slots > SEGMENT_SLOTS_MAX)
		return -EINVAL;
	shape->records_max = 2 * shape->slots > RECORDS_MIN ? 2 * shape->slots : RECORDS_MIN;
	shape->chunks = segment_bytes / CHUNK_BYTES;
	shape->table_offset = HEADER_BLOCK + round_up((uint64_t)shape->records_max * RECORD_BYTES, 4096);
	shape->data_offset = round_up(
		shape->table_offset + round_up(TABLE_FRONT + shape->chunks * SEGMENT_TABLE_ENTRY, 4096), CHUNK_BYTES);
	shape->file_bytes = shape->data_offset + segment_bytes;
	return 0;
}

void segment_header_encode(const struct segment_header *h, uint8_t out[SEGMENT_HEADER_BYTES])
{
	memset(out, 0, SEGMENT_HEADER_BYTES);
	memcpy(out, header_magic, sizeof header_magic);
	put_le32(out + 8, SEGMENT_FILE_VERSION);
	put_le32(out + 12, h->state);
	memcpy(out + 16, h->pool, POOL_UUID_BYTES);
	put_le64(out + 32, h->image);
	put_le64(out + 40, h->number);
	put_le64(out + 48, h->epoch);
	put_le64(out + 56, h->salt);
	put_le32(out + 64, h->slot_bytes);
	put_le32(out + 68, h->slots);
	put_le32(out + 72, h->records_max);
	put_le32(out + 76, h->record_count);
	put_le32(out + 80, h->slot_count);
	put_le64(out + 88, h->created_ns);
	memcpy(out + 96, h->prev_digest, DIGEST_BYTES);
	memcpy(out + 128, h->digest, DIGEST_BYTES);
	put_le32(out + HEADER_CRC, crc32c(0, out, HEADER_CRC));
}

static const char *header_misfit(const struct segment_header *h)
{
	struct segment_shape shape;

	if (h->slots > SEGMENT_SLOTS_MAX || h->slot_bytes > GRAIN_BYTES_MAX ||
	    segment_shape(h->slot_bytes, h->slot_bytes * h->slots, &shape) < 0)
		return "no segment has that shape";
	if (h->records_max != shape.records_max)
		return "the index has another size than the shape asks for";
	if (h->number == 0 || h->number >> MAP_ENTRY_SEGMENT_BITS)
		return "the segment number is out of range";
	if (h->state < SEGMENT_OPEN || h->state > SEGMENT_STORED)
		return "the state is unknown";
	if (h->state == SEGMENT_OPEN && (h->record_count || h->slot_count))
		return "it is open but claims to know its end";
	if (h->record_count > shape.records_max || h->slot_count > shape.slots)
		return "it claims more records or slots than fit";
	return NULL;
}

int segment_header_decode(const uint8_t in[SEGMENT_HEADER_BYTES], struct segment_header *h, struct error *err)
{
	struct segment_header got;
	const char *misfit;
	uint32_t version;

	if (memcmp(in, header_magic, sizeof header_magic) != 0)
		return error_set(err, -EBADMSG, "not a segment file: no magic");
	if (get_le32(in + HEADER_CRC) != crc32c(0, in, HEADER_CRC))
		return error_set(err, -EBADMSG, "segment header damaged: wrong checksum");
	version = get_le32(in + 8);
	if (version > SEGMENT_FILE_VERSION)
		return error_set(err, -EPROTONOSUPPORT,
		                 "segment file of format version %" PRIu32 ", this program knows %d: upgrade garnerfs",
		                 version, SEGMENT_FILE_VERSION);
	if (version == 0)
		return error_set(err, -EBADMSG, "segment file of impossible format version %" PRIu32, version);

	got.state = get_le32(in + 12);
	memcpy(got.pool, in + 16, POOL_UUID_BYTES);
	got.image = get_le64(in + 32);
	got.number = get_le64(in + 40);
	got.epoch = get_le64(in + 48);
	got.salt = get_le64(in + 56);
	got.slot_bytes = get_le32(in + 64);
	got.slots = get_le32(in + 68);
	got.records_max = get_le32(in + 72);
	got.record_count = get_le32(in + 76);
	got.slot_count = get_le32(in + 80);
	got.created_ns = get_le64(in + 88);
	memcpy(got.prev_digest, in + 96, DIGEST_BYTES);
	memcpy(got.digest, in + 128, DIGEST_BYTES);

	misfit = header_misfit(&got);
	if (misfit)
		return error_set(err, -EBADMSG, "segment header makes no sense: %s", misfit);
	*h = got;
	return 0;
}

void segment_digest_index(uint64_t image, segment_no_t number, const uint8_t prev_digest[DIGEST_BYTES],
                          const uint8_t *index, size_t len, uint8_t out[DIGEST_BYTES])
{
	uint8_t link[DIGEST_BYTES + 16];

	memcpy(link, prev_digest, DIGEST_BYTES);
	put_le64(link + DIGEST_BYTES, image);
	put_le64(link + DIGEST_BYTES + 8, number);
	digest_of(link, sizeof link, index, len, out);
}

/* `keep`: which of the records; NULL: all. */
static int digest_records(uint64_t image, segment_no_t number, const uint8_t prev_digest[DIGEST_BYTES],
                          const struct record *records, size_t count, const bool *keep, uint8_t out[DIGEST_BYTES])
{
	uint8_t *index = malloc(count * RECORD_BYTES + 1);
	uint32_t n = 0;

	if (!index)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		if (keep && !keep[i])
			continue;
		record_encode(&records[i], 0, n, index + (size_t)n * RECORD_BYTES);
		n++;
	}
	segment_digest_index(image, number, prev_digest, index, (size_t)n * RECORD_BYTES, out);
	free(index);
	return 0;
}

int segment_digest(uint64_t image, segment_no_t number, const uint8_t prev_digest[DIGEST_BYTES],
                   const struct record *records, size_t count, uint8_t out[DIGEST_BYTES])
{
	bool *keep = malloc(count + 1);
	int rc = keep ? records_mark_needed(records, count, keep) : -ENOMEM;

	if (rc == 0)
		rc = digest_records(image, number, prev_digest, records, count, keep, out);
	free(keep);
	return rc;
}

int segment_digest_whole(uint64_t image, segment_no_t number, const uint8_t prev_digest[DIGEST_BYTES],
                         const struct record *records, size_t count, uint8_t out[DIGEST_BYTES])
{
	return digest_records(image, number, prev_digest, records, count, NULL, out);
}

int segment_digest_fits(uint64_t image, segment_no_t number, const uint8_t prev_digest[DIGEST_BYTES],
                        const struct record *records, size_t count, const uint8_t digest[DIGEST_BYTES], bool *whole)
{
	uint8_t is[DIGEST_BYTES];
	int rc = segment_digest(image, number, prev_digest, records, count, is);

	if (whole)
		*whole = false;
	if (rc || !memcmp(is, digest, sizeof is))
		return rc;
	rc = segment_digest_whole(image, number, prev_digest, records, count, is);
	if (rc)
		return rc;
	if (whole)
		*whole = true;
	return memcmp(is, digest, sizeof is) ? -EBADMSG : 0;
}
