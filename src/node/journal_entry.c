/* SPDX-License-Identifier: GPL-3.0-only */
/* journal_entry.c: the form of a drive's journal. */
#include "node/journal_entry.h"

#include "base/blake2bp.h"
#include "base/bytes.h"
#include "base/crc32c.h"

#include <errno.h>
#include <string.h>

#define HALF_MAGIC "GARNJRNH"
#define ENTRY_MAGIC "GARNJRNE"
#define FORMAT 1u

/* Where what is in both headers. What lies between is zero. */
enum {
	AT_MAGIC = 0,
	AT_FORMAT = 8,
	AT_TAG = 16,
	AT_BYTES = 32,    /* of a half */
	AT_SEQUENCE = 32, /* of an entry, as what follows */
	AT_DURABLE = 40,
	AT_OBJECT = 48, /* how the header of the object's file begins: the rest of that is zeros and a checksum */
	AT_CRC = JOURNAL_HEADER - 4,
};

#define OBJECT_PART (AT_CRC - AT_OBJECT)

_Static_assert(OBJECT_FILE_HEADER_USED <= OBJECT_PART, "the header of an object has room in that of an entry");

static void begin(uint8_t bytes[JOURNAL_HEADER], const char *magic, const uint8_t tag[JOURNAL_TAG_BYTES])
{
	memset(bytes, 0, JOURNAL_HEADER);
	memcpy(bytes + AT_MAGIC, magic, 8);
	put_le32(bytes + AT_FORMAT, FORMAT);
	memcpy(bytes + AT_TAG, tag, JOURNAL_TAG_BYTES);
}

static bool begins(const uint8_t bytes[JOURNAL_HEADER], const char *magic)
{
	return memcmp(bytes + AT_MAGIC, magic, 8) == 0 && get_le32(bytes + AT_CRC) == crc32c(0, bytes, AT_CRC) &&
	       get_le32(bytes + AT_FORMAT) == FORMAT && get_le32(bytes + AT_FORMAT + 4) == 0;
}

void journal_half_encode(const struct journal_half_header *h, uint8_t bytes[JOURNAL_HEADER])
{
	begin(bytes, HALF_MAGIC, h->tag);
	put_le64(bytes + AT_BYTES, h->bytes);
	put_le32(bytes + AT_CRC, crc32c(0, bytes, AT_CRC));
}

int journal_half_decode(const uint8_t bytes[JOURNAL_HEADER], struct journal_half_header *h)
{
	if (!begins(bytes, HALF_MAGIC) || !is_zero(bytes + AT_BYTES + 8, AT_CRC - AT_BYTES - 8))
		return -EBADMSG;
	memcpy(h->tag, bytes + AT_TAG, JOURNAL_TAG_BYTES);
	h->bytes = get_le64(bytes + AT_BYTES);
	return h->bytes && h->bytes <= JOURNAL_HALF_MAX && h->bytes % JOURNAL_BLOCK == 0 ? 0 : -EBADMSG;
}

uint64_t journal_entry_bytes(uint64_t body_length)
{
	return round_up(JOURNAL_HEADER + body_length, JOURNAL_BLOCK);
}

void journal_entry_encode(const struct journal_entry *e, uint8_t bytes[JOURNAL_HEADER])
{
	uint8_t object[OBJECT_FILE_HEADER];

	begin(bytes, ENTRY_MAGIC, e->tag);
	put_le64(bytes + AT_SEQUENCE, e->sequence);
	put_le64(bytes + AT_DURABLE, e->durable);
	object_header_encode(&e->object, object);
	memcpy(bytes + AT_OBJECT, object, OBJECT_PART);
	put_le32(bytes + AT_CRC, crc32c(0, bytes, AT_CRC));
}

int journal_entry_decode(const uint8_t bytes[JOURNAL_HEADER], struct journal_entry *e)
{
	uint8_t object[OBJECT_FILE_HEADER] = { 0 };

	if (!begins(bytes, ENTRY_MAGIC))
		return -EBADMSG;
	memcpy(e->tag, bytes + AT_TAG, JOURNAL_TAG_BYTES);
	e->sequence = get_le64(bytes + AT_SEQUENCE);
	e->durable = get_le64(bytes + AT_DURABLE);
	memcpy(object, bytes + AT_OBJECT, OBJECT_PART);
	put_le32(object + OBJECT_FILE_HEADER - 4, crc32c(0, object, OBJECT_FILE_HEADER - 4));
	if (object_header_decode(object, &e->object, NULL) < 0)
		return -EBADMSG;
	if (e->durable > e->sequence || !object_has_body(&e->object.entry.meta) ||
	    e->object.entry.meta.length > JOURNAL_BODY_MAX)
		return -EBADMSG;
	return 0;
}

int journal_entry_check_body(const struct journal_entry *e, const uint8_t *body, uint8_t *sums)
{
	size_t len = (size_t)e->object.entry.meta.length, blocks = object_file_blocks(len);
	uint8_t digest[OBJECT_DIGEST_BYTES];

	for (size_t i = 0, at = 0; i < blocks; i++, at += OBJECT_FILE_BLOCK) {
		size_t n = len - at < OBJECT_FILE_BLOCK ? len - at : OBJECT_FILE_BLOCK;
		put_le32(sums + 4 * i, crc32c(0, body + at, n));
	}
	if (crc32c(0, sums, 4 * blocks) != e->object.sums_crc)
		return -EBADMSG;
	blake2bp(body, len, digest, sizeof digest);
	return memcmp(digest, e->object.entry.meta.digest, sizeof digest) == 0 ? 0 : -EBADMSG;
}
