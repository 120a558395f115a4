/* SPDX-License-Identifier: GPL-3.0-only */
/* fuzz_journal_entry.c: the headers of a drive's journal, as they come and with magic, format and checksum made right, and the body
 * behind that of an entry.
 */
#include "base/bytes.h"
#include "base/crc32c.h"
#include "node/journal_entry.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is accepted is valid in all its parts and is encoded to itself. */
static void decode_half(const uint8_t bytes[JOURNAL_HEADER])
{
	uint8_t encoded[JOURNAL_HEADER];
	struct journal_half_header h;

	if (journal_half_decode(bytes, &h) < 0)
		return;
	if (!h.bytes || h.bytes > JOURNAL_HALF_MAX || h.bytes % JOURNAL_BLOCK != 0)
		abort();
	journal_half_encode(&h, encoded);
	if (memcmp(encoded, bytes, sizeof encoded) != 0)
		abort();
}

static void decode_entry(const uint8_t bytes[JOURNAL_HEADER], const uint8_t *body, size_t size)
{
	static uint8_t sums[4 * (JOURNAL_BODY_MAX / OBJECT_FILE_BLOCK)];
	uint8_t encoded[JOURNAL_HEADER];
	struct journal_entry e;

	if (journal_entry_decode(bytes, &e) < 0)
		return;
	const struct object_meta *meta = &e.object.entry.meta;
	if (e.durable > e.sequence || meta->length > JOURNAL_BODY_MAX || !object_has_body(meta) ||
	    !object_name_valid(e.object.entry.name) || journal_entry_bytes(meta->length) % JOURNAL_BLOCK != 0 ||
	    journal_entry_bytes(meta->length) < JOURNAL_HEADER + meta->length)
		abort();
	journal_entry_encode(&e, encoded);
	if (memcmp(encoded, bytes, sizeof encoded) != 0)
		abort();
	if (meta->length <= size)
		(void)journal_entry_check_body(&e, body, sums);
}

static void decode(const uint8_t bytes[JOURNAL_HEADER], const uint8_t *body, size_t size)
{
	decode_half(bytes);
	decode_entry(bytes, body, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const magic[] = { "GARNJRNH", "GARNJRNE" };
	size_t head = size < JOURNAL_HEADER ? size : JOURNAL_HEADER;
	uint8_t bytes[JOURNAL_HEADER] = { 0 };

	memcpy(bytes, data, head);
	decode(bytes, data + head, size - head);
	for (int i = 0; i < 2; i++) {
		memcpy(bytes, magic[i], 8);
		put_le32(bytes + 8, 1);
		put_le32(bytes + JOURNAL_HEADER - 4, crc32c(0, bytes, JOURNAL_HEADER - 4));
		decode(bytes, data + head, size - head);
	}
	return 0;
}
