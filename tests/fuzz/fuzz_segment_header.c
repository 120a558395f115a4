/* SPDX-License-Identifier: GPL-3.0-only */
/* fuzz_segment_header.c: the header of a local segment file, as it comes and with magic and checksum made right. */
#include "base/bytes.h"
#include "base/crc32c.h"
#include "log/segment_file.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is accepted gives a shape in which everything that it says has room, and is encoded to itself. */
static void decode(const uint8_t bytes[SEGMENT_HEADER_BYTES])
{
	struct segment_header h, again;
	struct segment_shape shape;
	uint8_t encoded[SEGMENT_HEADER_BYTES];
	struct error err = { 0 };
	int rc = segment_header_decode(bytes, &h, &err);

	if (rc < 0) {
		if (err.code != rc || !err.text[0])
			abort();
		return;
	}
	if (segment_shape(h.slot_bytes, h.slots * h.slot_bytes, &shape) < 0 || shape.slots != h.slots ||
	    shape.records_max != h.records_max || h.record_count > shape.records_max || h.slot_count > shape.slots)
		abort();
	if (shape.data_offset % CHUNK_BYTES || shape.file_bytes > (UINT64_C(80) << 20) ||
	    segment_slot_offset(&shape, shape.slots) != shape.file_bytes)
		abort();
	segment_header_encode(&h, encoded);
	if (segment_header_decode(encoded, &again, NULL) < 0 || again.salt != h.salt || again.number != h.number)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t bytes[SEGMENT_HEADER_BYTES] = { 0 };

	memcpy(bytes, data, size < sizeof bytes ? size : sizeof bytes);
	decode(bytes);
	memcpy(bytes, "GARNSEGF", 8);
	put_le32(bytes + 508, crc32c(0, bytes, 508));
	decode(bytes);
	put_le32(bytes + 8, SEGMENT_FILE_VERSION);
	put_le32(bytes + 508, crc32c(0, bytes, 508));
	decode(bytes);
	return 0;
}
