/* SPDX-License-Identifier: GPL-3.0-only */
/* fuzz_delta_stream.c: streams from outside, as they are and with the checksums of their frames made right: what comes out lies
 * within the image and in order, and a header that decodes is encoded to the same bytes.
 */
#include "base/bytes.h"
#include "base/crc32c.h"
#include "seal/delta_stream.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct bytes {
	const uint8_t *at;
	size_t left;
};

static int64_t get(void *arg, void *buf, size_t len)
{
	struct bytes *b = arg;
	size_t n = len < b->left ? len : b->left;

	memcpy(buf, b->at, n);
	b->at += n;
	b->left -= n;
	return (int64_t)n;
}

static void read_all(const uint8_t *data, size_t size)
{
	struct bytes b = { data, size };
	struct delta_reader *r = delta_reader_new(get, &b);
	uint8_t again[DELTA_HEADER_BYTES];
	struct delta_frame f = { 0 };
	struct delta_header h;
	volatile uint8_t sink = 0;
	uint64_t end = 0;

	if (!r)
		abort();
	if (delta_read_header(r, &h, NULL) == 0) {
		delta_header_encode(&h, again);
		if (memcmp(again, data, sizeof again) != 0)
			abort();
		while (delta_read_frame(r, &f, NULL) == 0 && f.kind != DELTA_END) {
			if (!f.length || f.offset < end || f.offset > h.to_size || f.length > h.to_size - f.offset)
				abort();
			end = f.offset + f.length;
			for (uint64_t k = 0; f.kind == DELTA_DATA && k < f.length; k++)
				sink ^= f.data[k];
		}
	}
	(void)sink;
	delta_reader_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;
	size_t at = DELTA_HEADER_BYTES;

	read_all(data, size);
	if (size < DELTA_HEADER_BYTES)
		return 0;
	copy = malloc(size);
	if (!copy)
		return 0;
	memcpy(copy, data, size);
	memcpy(copy, "GRNDELTA\1\0\0\0\0\0\0\0", 16);
	put_le32(copy + DELTA_HEADER_BYTES - 4, crc32c(0, copy, DELTA_HEADER_BYTES - 4));
	while (size - at >= DELTA_FRAME_HEADER_BYTES) {
		uint8_t *frame = copy + at;
		size_t left = size - at - DELTA_FRAME_HEADER_BYTES, stored = get_le32(frame + 4);

		if (stored > left) {
			stored = left;
			put_le32(frame + 4, (uint32_t)stored);
		}
		put_le32(frame + 28, crc32c(crc32c(0, frame, 28), frame + DELTA_FRAME_HEADER_BYTES, stored));
		at += DELTA_FRAME_HEADER_BYTES + stored;
	}
	read_all(copy, size);
	free(copy);
	return 0;
}
