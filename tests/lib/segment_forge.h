/* SPDX-License-Identifier: GPL-3.0-only */
/* segment_forge.h: segment objects of a plain pool that nobody packed: any header, index and table, with every digest and
 * tag made right, so that what lies behind the digests gets to see them. For tests and fuzzers only.
 */
#ifndef GARNER_TESTS_SEGMENT_FORGE_H
#define GARNER_TESTS_SEGMENT_FORGE_H

#include "base/bytes.h"
#include "log/segment_object.h"

#define FORGE_FLAGS 12
#define FORGE_IMAGE 32
#define FORGE_NUMBER 40
#define FORGE_RECORD_COUNT 64
#define FORGE_CHUNK_COUNT 68
#define FORGE_PREV_DIGEST 88
#define FORGE_DIGEST 120
#define FORGE_INDEX_BOX 168
#define FORGE_TABLE_DIGEST 224
#define FORGE_CHUNKS_OFFSET 256
#define FORGE_TAG 480

static inline void forge_header_tag(uint8_t *object)
{
	digest_of(object, FORGE_TAG, NULL, 0, object + FORGE_TAG);
}

/* Writes header, index and table of an object to `out` (room for SEGMENT_OBJECT_HEADER and both lengths). `header` (512
 * bytes) gives everything but the counts' consequences: index box, digests, chunks offset and tag are made to fit. Returns
 * the length, or 0 when memory is short. */
static inline size_t forge_object(const uint8_t *header, const uint8_t *index, size_t index_len, const uint8_t *table,
                                  size_t table_len, uint8_t *out)
{
	static const struct seal_key plain_key = { .plain = true };
	struct sealer *sealer = sealer_new(0);
	struct seal_box box = { 0 };
	uint8_t ad[8 + POOL_UUID_BYTES + 8 + 8 + 4] = "gnrsegmt";
	int rc = sealer ? 0 : -1;

	memmove(out, header, SEGMENT_OBJECT_HEADER);
	memcpy(ad + 8, out + 16, POOL_UUID_BYTES + 16); /* pool, image, number */
	put_le32(ad + 40, UINT32_MAX);
	if (rc == 0 && index_len)
		rc = seal(sealer, &plain_key, ad, sizeof ad, index, index_len, out + SEGMENT_OBJECT_HEADER, &box);
	sealer_free(sealer);
	if (rc < 0)
		return 0;
	seal_box_encode(&box, out + FORGE_INDEX_BOX);
	segment_digest_index(get_le64(out + FORGE_IMAGE), get_le64(out + FORGE_NUMBER), out + FORGE_PREV_DIGEST, index,
	                     index_len, out + FORGE_DIGEST);
	digest_of(table, table_len, NULL, 0, out + FORGE_TABLE_DIGEST);
	put_le64(out + FORGE_CHUNKS_OFFSET, SEGMENT_OBJECT_HEADER + box.stored_length + table_len);
	forge_header_tag(out);
	if (table_len)
		memcpy(out + SEGMENT_OBJECT_HEADER + box.stored_length, table, table_len);
	return SEGMENT_OBJECT_HEADER + box.stored_length + table_len;
}

#endif
