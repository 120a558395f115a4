/* SPDX-License-Identifier: GPL-3.0-only */
/* test_segment_header.c: the shape of a segment, the header of its file, and the digest that chains it. */
#include "log/segment_file.h"

#include "base/bytes.h"
#include "base/crc32c.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define GRAIN 4096u
#define IMAGE UINT64_C(0xabcdef0123456789)

static const uint8_t pool[POOL_UUID_BYTES] = "a pool's uuid ..";

static struct segment_header header_of(uint64_t number)
{
	struct segment_header h = {
		.image = IMAGE, .number = number, .epoch = 3, .slot_bytes = GRAIN, .created_ns = 1234567890
	};

	memcpy(h.pool, pool, sizeof pool);
	return h;
}

static void shape_follows_from_grain_and_segment_size(void **state)
{
	struct segment_shape s;

	(void)state;
	assert_int_equal(segment_shape(4096, 8u << 20, &s), 0);
	assert_int_equal(s.slots, 2048);
	assert_int_equal(s.records_max, 4096);
	assert_int_equal(s.chunks, 128);
	assert_int_equal(s.table_offset, 4096 + 4096 * 32);
	assert_int_equal(s.data_offset, 196608);
	assert_int_equal(s.file_bytes, 196608 + (8u << 20));
	assert_int_equal(segment_shape(65536, 1u << 20, &s), 0);
	assert_int_equal(s.slots, 16);
	assert_int_equal(s.records_max, 1024);
	assert_int_equal(s.chunks, 16);
	assert_int_equal(segment_shape(4096, 64u << 20, &s), 0);
	assert_int_equal(s.slots, SEGMENT_SLOTS_MAX);
	assert_int_equal(s.data_offset % CHUNK_BYTES, 0);
	assert_true(s.table_offset + 12 + (uint64_t)s.chunks * SEGMENT_TABLE_ENTRY <= s.data_offset);
	assert_int_equal(segment_chunk_of_slot(&s, 15), 0);
	assert_int_equal(segment_chunk_of_slot(&s, 16), 1);
	assert_int_equal(segment_chunk_of_slot(&s, SEGMENT_SLOTS_MAX - 1), 1023);
}

static void shape_out_of_range_is_refused(void **state)
{
	static const uint32_t bad[][2] = { { 2048, 8u << 20 },      { 131072, 8u << 20 }, { 0, 8u << 20 },
		                           { 5000, 8u << 20 },      { 4096, 1u << 19 },   { 4096, 128u << 20 },
		                           { 4096, 3u << 20 },      { 4096, 0 },          { 4096, UINT32_MAX },
		                           { UINT32_MAX, 8u << 20 } };

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct segment_shape s;

		assert_int_equal(segment_shape(bad[i][0], bad[i][1], &s), -EINVAL);
	}
}

static struct segment_header full_header(void)
{
	struct segment_header h = header_of(99);

	h.salt = 77;
	h.slots = 256;
	h.records_max = 1024;
	h.state = SEGMENT_SEALED;
	h.record_count = 300;
	h.slot_count = 256;
	memset(h.prev_digest, 1, sizeof h.prev_digest);
	memset(h.digest, 2, sizeof h.digest);
	return h;
}

static void header_survives_a_round_trip(void **state)
{
	struct segment_header h = full_header(), back;
	uint8_t bytes[SEGMENT_HEADER_BYTES], again[SEGMENT_HEADER_BYTES];

	(void)state;
	segment_header_encode(&h, bytes);
	assert_memory_equal(bytes, "GARNSEGF\2\0\0\0\2\0\0\0a pool's uuid ..", 32);
	assert_true(get_le64(bytes + 40) == 99 && get_le32(bytes + 76) == 300);
	assert_int_equal(segment_header_decode(bytes, &back, NULL), 0);
	assert_true(back.image == IMAGE && back.number == 99 && back.epoch == 3 && back.salt == 77);
	assert_true(back.slot_count == 256 && back.created_ns == 1234567890);
	segment_header_encode(&back, again);
	assert_memory_equal(bytes, again, sizeof bytes);
}

static void every_single_bit_flip_in_a_header_is_refused(void **state)
{
	struct segment_header h = full_header();
	uint8_t bytes[SEGMENT_HEADER_BYTES];

	(void)state;
	segment_header_encode(&h, bytes);
	for (unsigned bit = 0; bit < sizeof bytes * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(segment_header_decode(bytes, &h, NULL), -EBADMSG);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

static int decode_patched(uint32_t offset, uint64_t value, size_t len)
{
	struct segment_header h = full_header();
	uint8_t bytes[SEGMENT_HEADER_BYTES], v[8];

	segment_header_encode(&h, bytes);
	put_le64(v, value);
	memcpy(bytes + offset, v, len);
	put_le32(bytes + 508, crc32c(0, bytes, 508));
	return segment_header_decode(bytes, &h, NULL);
}

static void header_that_makes_no_sense_is_refused_in_spite_of_its_checksum(void **state)
{
	(void)state;
	assert_int_equal(decode_patched(40, 99, 8), 0);
	assert_int_equal(decode_patched(8, 1, 4), 0); /* from before there were shares */
	assert_int_equal(decode_patched(8, 3, 4), -EPROTONOSUPPORT);
	assert_int_equal(decode_patched(8, 0, 4), -EBADMSG);
	assert_int_equal(decode_patched(12, 0, 4), -EBADMSG); /* state */
	assert_int_equal(decode_patched(12, 4, 4), -EBADMSG); /* state */
	assert_int_equal(decode_patched(12, 1, 4), -EBADMSG); /* open, with counts */
	assert_int_equal(decode_patched(40, 0, 8), -EBADMSG); /* number */
	assert_int_equal(decode_patched(40, UINT64_C(1) << 40, 8), -EBADMSG);
	assert_int_equal(decode_patched(64, 12288, 4), -EBADMSG); /* slot bytes */
	assert_int_equal(decode_patched(64, 0x80000000u, 4), -EBADMSG);
	assert_int_equal(decode_patched(68, 0, 4), -EBADMSG); /* slots */
	assert_int_equal(decode_patched(68, UINT32_MAX, 4), -EBADMSG);
	assert_int_equal(decode_patched(68, 257, 4), -EBADMSG);
	assert_int_equal(decode_patched(72, 2048, 4), -EBADMSG); /* records max */
	assert_int_equal(decode_patched(76, 1025, 4), -EBADMSG); /* record count */
	assert_int_equal(decode_patched(80, 257, 4), -EBADMSG);  /* slot count */
}

static void digest_covers_the_chain_the_place_and_the_needed_records(void **state)
{
	struct record list[3] = { { .kind = RECORD_DATA, .value = 5, .slot = 0, .count = 1, .data_crc = 1 },
		                  { .kind = RECORD_DATA, .value = 6, .slot = 1, .count = 1, .data_crc = 2 },
		                  { .kind = RECORD_DATA, .value = 5, .slot = 2, .count = 1, .data_crc = 3 } };
	uint8_t zeros[DIGEST_BYTES] = { 0 }, prev[DIGEST_BYTES] = { 1 };
	uint8_t base[DIGEST_BYTES], other[DIGEST_BYTES];
	uint8_t index[2 * RECORD_BYTES];

	(void)state;
	assert_int_equal(segment_digest(1, 1, zeros, list, 3, base), 0);
	/* The first record is overwritten by the third: whatever it says, the digest is the same. */
	assert_int_equal(segment_digest(1, 1, zeros, list + 1, 2, other), 0);
	assert_memory_equal(base, other, DIGEST_BYTES);
	record_encode(&list[1], 0, 0, index);
	record_encode(&list[2], 0, 1, index + RECORD_BYTES);
	segment_digest_index(1, 1, zeros, index, sizeof index, other);
	assert_memory_equal(base, other, DIGEST_BYTES);

	assert_int_equal(segment_digest(1, 1, prev, list, 3, other), 0);
	assert_memory_not_equal(base, other, DIGEST_BYTES);
	assert_int_equal(segment_digest(2, 1, zeros, list, 3, other), 0);
	assert_memory_not_equal(base, other, DIGEST_BYTES);
	assert_int_equal(segment_digest(1, 2, zeros, list, 3, other), 0);
	assert_memory_not_equal(base, other, DIGEST_BYTES);
	assert_int_equal(segment_digest(1, 1, zeros, list, 2, other), 0);
	assert_memory_not_equal(base, other, DIGEST_BYTES);
	list[2].data_crc++;
	assert_int_equal(segment_digest(1, 1, zeros, list, 3, other), 0);
	assert_memory_not_equal(base, other, DIGEST_BYTES);
	assert_int_equal(segment_digest(1, 1, zeros, NULL, 0, other), 0);
	assert_memory_not_equal(base, other, DIGEST_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shape_follows_from_grain_and_segment_size),
		cmocka_unit_test(shape_out_of_range_is_refused),
		cmocka_unit_test(header_survives_a_round_trip),
		cmocka_unit_test(every_single_bit_flip_in_a_header_is_refused),
		cmocka_unit_test(header_that_makes_no_sense_is_refused_in_spite_of_its_checksum),
		cmocka_unit_test(digest_covers_the_chain_the_place_and_the_needed_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
