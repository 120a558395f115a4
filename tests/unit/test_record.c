/* SPDX-License-Identifier: GPL-3.0-only */
/* test_record.c: index records as bytes, and which of them a packed segment needs. */
#include "log/record.h"

#include "base/bytes.h"
#include "base/crc32c.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define SALT UINT64_C(0x1122334455667788)

static const struct record samples[] = {
	{ .kind = RECORD_DATA, .slot = 7, .value = 123456, .count = 1, .data_crc = 0xdeadbeef, .time_ns = 1 },
	{ .kind = RECORD_DATA,
	  .slot = SEGMENT_SLOTS_MAX - 1,
	  .value = GRAIN_NONE - 1,
	  .count = 1,
	  .time_ns = UINT64_MAX },
	{ .kind = RECORD_ZERO, .slot = RECORD_NO_SLOT, .value = 5, .count = 1 },
	{ .kind = RECORD_ZERO, .slot = RECORD_NO_SLOT, .value = UINT64_MAX - UINT32_MAX, .count = UINT32_MAX },
	{ .kind = RECORD_RESIZE, .slot = RECORD_NO_SLOT, .value = UINT64_C(1) << 62 },
	{ .kind = RECORD_NODE, .level = 3, .slot = 0, .value = 99, .count = 1, .data_crc = 1 },
	{ .kind = RECORD_CHECKPOINT, .slot = 1, .count = 1, .data_crc = 2 },
	{ .kind = RECORD_MARK, .slot = RECORD_NO_SLOT, .value = 77 },
	{ .kind = RECORD_TIMES, .slot = RECORD_NO_SLOT, .value = UINT64_C(1700000000000000000) },
	{ .kind = RECORD_FOLLOWS, .slot = RECORD_NO_SLOT, .value = 4096 },
	{ .kind = RECORD_MOVE, .slot = 3, .value = 4711, .count = 1, .data_crc = 3, .time_ns = 2 },
	{ .kind = RECORD_SHARE, .slot = 4, .value = 4711, .count = 1, .data_crc = 3, .time_ns = 2 },
};
#define SAMPLES (sizeof samples / sizeof samples[0])

static void assert_same_record(const struct record *a, const struct record *b)
{
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->level, b->level);
	assert_int_equal(a->slot, b->slot);
	assert_true(a->value == b->value);
	assert_int_equal(a->count, b->count);
	assert_int_equal(a->data_crc, b->data_crc);
	assert_true(a->time_ns == b->time_ns);
}

/* Makes the crc of a hand-made record right for its place. */
static void fix_crc(uint8_t bytes[RECORD_BYTES], uint64_t salt, uint32_t number)
{
	uint8_t place[12];

	put_le64(place, salt);
	put_le32(place + 8, number);
	put_le32(bytes, crc32c(crc32c(0, place, sizeof place), bytes + 4, RECORD_BYTES - 4));
}

static void every_kind_of_record_survives_a_round_trip(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < SAMPLES; i++) {
		uint8_t bytes[RECORD_BYTES];
		struct record back;

		record_encode(&samples[i], SALT, i, bytes);
		assert_int_equal(record_decode(bytes, SALT, i, &back), 0);
		assert_same_record(&samples[i], &back);
	}
}

static void fields_lie_where_the_format_says(void **state)
{
	const struct record r = { .kind = RECORD_NODE,
		                  .level = 2,
		                  .slot = 0x0304,
		                  .value = UINT64_C(0x05060708090a0b0c),
		                  .count = 1,
		                  .data_crc = 0x11121314,
		                  .time_ns = UINT64_C(0x15161718191a1b1c) };
	const uint8_t expected[RECORD_BYTES] = { 0,    0,    0,    0,    4,    2,    0x04, 0x03, 0x0c, 0x0b, 0x0a,
		                                 0x09, 0x08, 0x07, 0x06, 0x05, 1,    0,    0,    0,    0x14, 0x13,
		                                 0x12, 0x11, 0x1c, 0x1b, 0x1a, 0x19, 0x18, 0x17, 0x16, 0x15 };
	uint8_t bytes[RECORD_BYTES], fixed[RECORD_BYTES];

	(void)state;
	record_encode(&r, SALT, 9, bytes);
	assert_memory_equal(bytes + 4, expected + 4, RECORD_BYTES - 4);
	memcpy(fixed, expected, sizeof fixed);
	fix_crc(fixed, SALT, 9);
	assert_memory_equal(bytes, fixed, sizeof fixed);
}

static void record_of_another_salt_or_place_is_refused(void **state)
{
	uint8_t bytes[RECORD_BYTES];
	struct record r;

	(void)state;
	record_encode(&samples[0], SALT, 5, bytes);
	assert_int_equal(record_decode(bytes, SALT + 1, 5, &r), -EBADMSG);
	assert_int_equal(record_decode(bytes, SALT ^ UINT64_C(1) << 63, 5, &r), -EBADMSG);
	assert_int_equal(record_decode(bytes, SALT, 4, &r), -EBADMSG);
	assert_int_equal(record_decode(bytes, SALT, 6, &r), -EBADMSG);
	assert_int_equal(record_decode(bytes, 0, 5, &r), -EBADMSG);
}

static void place_never_written_is_refused(void **state)
{
	uint8_t zeros[RECORD_BYTES] = { 0 }, ones[RECORD_BYTES];
	struct record r;

	(void)state;
	memset(ones, 0xff, sizeof ones);
	for (uint32_t number = 0; number < 40000; number++) {
		assert_int_equal(record_decode(zeros, 0, number, &r), -EBADMSG);
		assert_int_equal(record_decode(zeros, SALT, number, &r), -EBADMSG);
		assert_int_equal(record_decode(ones, SALT, number, &r), -EBADMSG);
	}
}

static void every_single_bit_flip_is_refused(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < SAMPLES; i++) {
		uint8_t bytes[RECORD_BYTES];
		struct record r;

		record_encode(&samples[i], SALT, i, bytes);
		for (unsigned bit = 0; bit < RECORD_BYTES * 8; bit++) {
			bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
			assert_int_equal(record_decode(bytes, SALT, i, &r), -EBADMSG);
			bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
}

static void field_out_of_range_is_refused_in_spite_of_its_checksum(void **state)
{
	static const struct record bad[] = {
		{ .kind = 0, .slot = RECORD_NO_SLOT },
		{ .kind = 9, .slot = RECORD_NO_SLOT },
		{ .kind = 255, .slot = RECORD_NO_SLOT },
		{ .kind = RECORD_DATA, .slot = RECORD_NO_SLOT, .count = 1 },
		{ .kind = RECORD_DATA, .slot = SEGMENT_SLOTS_MAX, .count = 1 },
		{ .kind = RECORD_DATA, .slot = 0, .count = 0 },
		{ .kind = RECORD_DATA, .slot = 0, .count = 2 },
		{ .kind = RECORD_DATA, .slot = 0, .count = 1, .level = 8 },
		{ .kind = RECORD_DATA, .slot = 0, .count = 1, .value = GRAIN_NONE },
		{ .kind = RECORD_NODE, .slot = 0, .count = 1, .level = 8 },
		{ .kind = RECORD_NODE, .slot = RECORD_NO_SLOT, .count = 1 },
		{ .kind = RECORD_CHECKPOINT, .slot = RECORD_NO_SLOT, .count = 1 },
		{ .kind = RECORD_ZERO, .slot = 0, .count = 1 },
		{ .kind = RECORD_ZERO, .slot = RECORD_NO_SLOT, .count = 0 },
		{ .kind = RECORD_ZERO, .slot = RECORD_NO_SLOT, .count = 2, .value = UINT64_MAX - 1 },
		{ .kind = RECORD_RESIZE, .slot = 0 },
		{ .kind = RECORD_RESIZE, .slot = RECORD_NO_SLOT, .count = 1 },
		{ .kind = RECORD_MARK, .slot = 3 },
		{ .kind = RECORD_TIMES, .slot = RECORD_NO_SLOT, .count = 7 },
		{ .kind = RECORD_FOLLOWS, .slot = 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		uint8_t bytes[RECORD_BYTES] = { 0 };
		struct record r;

		bytes[4] = bad[i].kind;
		bytes[5] = bad[i].level;
		put_le16(bytes + 6, bad[i].slot);
		put_le64(bytes + 8, bad[i].value);
		put_le32(bytes + 16, bad[i].count);
		fix_crc(bytes, SALT, 3);
		if (record_decode(bytes, SALT, 3, &r) != -EBADMSG)
			fail_msg("bad record %zu was taken", i);
	}
}

static struct record data(uint64_t grain)
{
	return (struct record){ .kind = RECORD_DATA, .value = grain, .count = 1 };
}

static struct record zeros(uint64_t first, uint32_t count)
{
	return (struct record){ .kind = RECORD_ZERO, .slot = RECORD_NO_SLOT, .value = first, .count = count };
}

static struct record other(uint8_t kind)
{
	return (struct record){ .kind = kind, .slot = RECORD_NO_SLOT };
}

#define NEEDED(expected, ...)                                                   \
	do {                                                                    \
		const struct record list_[] = { __VA_ARGS__ };                  \
		assert_needed(list_, sizeof list_ / sizeof list_[0], expected); \
	} while (0)

/* `expected`: a letter per record, k for kept, d for dropped. */
static void assert_needed(const struct record *list, size_t count, const char *expected)
{
	bool keep[64];

	assert_int_equal(strlen(expected), count);
	assert_int_equal(records_mark_needed(list, count, keep), 0);
	for (size_t i = 0; i < count; i++)
		if (keep[i] != (expected[i] == 'k'))
			fail_msg("record %zu of \"%s\" is %s", i, expected, keep[i] ? "kept" : "dropped");
}

static void overwritten_grain_is_not_needed(void **state)
{
	(void)state;
	NEEDED("k", data(1));
	NEEDED("dk", data(1), data(1));
	NEEDED("kk", data(1), data(2));
	NEEDED("ddkk", data(1), data(1), data(2), data(1));
}

static void zeroed_grain_is_not_needed_and_the_zeroing_is(void **state)
{
	(void)state;
	NEEDED("dk", data(1), zeros(1, 1));
	NEEDED("kk", data(1), zeros(2, 1));
	NEEDED("kk", data(2), zeros(1, 1));
	NEEDED("kdddkk", data(9), data(10), data(11), data(12), data(13), zeros(10, 3));
	NEEDED("kk", zeros(1, 1), data(1));
	NEEDED("kk", zeros(1, 5), zeros(1, 5));
	NEEDED("dkkk", data(3), zeros(1, 3), data(2), zeros(3, 1));
}

static void everything_else_is_kept(void **state)
{
	(void)state;
	NEEDED("kkkkk", other(RECORD_RESIZE), other(RECORD_RESIZE), other(RECORD_TIMES), other(RECORD_TIMES),
	       other(RECORD_NODE));
	NEEDED("dkkk", data(0), other(RECORD_RESIZE), other(RECORD_TIMES), data(0));
	/* Map nodes count by level and index, not by grain. */
	NEEDED("kkk", other(RECORD_NODE), data(0), other(RECORD_NODE));
}

static void checkpoint_or_mark_keeps_what_came_before_it(void **state)
{
	(void)state;
	NEEDED("kkk", data(1), other(RECORD_CHECKPOINT), data(1));
	NEEDED("kkk", data(1), other(RECORD_MARK), zeros(0, 9));
	NEEDED("dkkdk", data(1), data(1), other(RECORD_MARK), data(1), data(1));
	NEEDED("dkkkkdk", data(1), data(1), other(RECORD_CHECKPOINT), other(RECORD_CHECKPOINT), other(RECORD_NODE),
	       data(1), data(1));
	NEEDED("kk", other(RECORD_MARK), other(RECORD_CHECKPOINT));
}

static void huge_and_repeated_ranges_cost_no_more_than_small_ones(void **state)
{
	size_t count = 32768;
	struct record *list = calloc(count, sizeof *list);
	bool *keep = malloc(count);
	clock_t begun = clock();

	(void)state;
	assert_true(list && keep);
	for (size_t i = 0; i < count / 2; i++) {
		list[i] = data(i * 1000003);
		list[count / 2 + i] = zeros(i, UINT32_MAX);
	}
	assert_int_equal(records_mark_needed(list, count, keep), 0);
	for (size_t i = 0; i < count / 2; i++) {
		/* The ranges together cover [0, 2^32 - 1 + 16383). */
		assert_int_equal(keep[i], list[i].value >= UINT32_MAX + UINT64_C(16383));
		assert_true(keep[count / 2 + i]);
	}
	/* By the grain, or each pair, this would be many seconds. */
	assert_true((double)(clock() - begun) / CLOCKS_PER_SEC < 3.0);
	free(keep);
	free(list);
}

static void range_at_the_end_of_all_numbers_does_not_wrap(void **state)
{
	(void)state;
	NEEDED("kdk", data(0), data(UINT64_MAX - 5), zeros(UINT64_MAX - UINT32_MAX, UINT32_MAX));
	NEEDED("kk", data(UINT64_MAX - 1), zeros(UINT64_MAX - 10, 9));
}

static bool needed_by_definition(const struct record *list, size_t count, size_t i)
{
	if (list[i].kind != RECORD_DATA)
		return true;
	for (size_t j = i + 1; j < count; j++) {
		if (list[j].kind == RECORD_CHECKPOINT || list[j].kind == RECORD_MARK)
			return true;
		if (list[j].kind == RECORD_DATA && list[j].value == list[i].value)
			return false;
		if (list[j].kind == RECORD_ZERO && list[i].value >= list[j].value &&
		    list[i].value - list[j].value < list[j].count)
			return false;
	}
	return true;
}

static unsigned random_seed(void)
{
	const char *text = getenv("GARNER_TEST_SEED");
	unsigned seed = text ? (unsigned)strtoul(text, NULL, 0) : (unsigned)time(NULL);

	print_message("GARNER_TEST_SEED=%u\n", seed);
	return seed;
}

static void random_lists_are_marked_as_the_definition_says(void **state)
{
	unsigned seed = random_seed();

	(void)state;
	for (unsigned round = 0; round < 4000; round++) {
		struct record list[48];
		bool keep[48];
		size_t count = (size_t)rand_r(&seed) % 49;
		uint64_t grains = 1 + (uint64_t)rand_r(&seed) % 20;

		for (size_t i = 0; i < count; i++) {
			unsigned dice = (unsigned)rand_r(&seed) % 20;
			uint64_t grain = (uint64_t)rand_r(&seed) % grains;

			if (dice < 12)
				list[i] = data(grain);
			else if (dice < 17)
				list[i] = zeros(grain, 1 + (uint32_t)rand_r(&seed) % 6);
			else
				list[i] = other(dice == 17   ? RECORD_CHECKPOINT
				                : dice == 18 ? RECORD_MARK
				                             : RECORD_RESIZE);
		}
		assert_int_equal(records_mark_needed(list, count, keep), 0);
		for (size_t i = 0; i < count; i++)
			if (keep[i] != needed_by_definition(list, count, i))
				fail_msg("round %u: record %zu of %zu", round, i, count);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_of_record_survives_a_round_trip),
		cmocka_unit_test(fields_lie_where_the_format_says),
		cmocka_unit_test(record_of_another_salt_or_place_is_refused),
		cmocka_unit_test(place_never_written_is_refused),
		cmocka_unit_test(every_single_bit_flip_is_refused),
		cmocka_unit_test(field_out_of_range_is_refused_in_spite_of_its_checksum),
		cmocka_unit_test(overwritten_grain_is_not_needed),
		cmocka_unit_test(zeroed_grain_is_not_needed_and_the_zeroing_is),
		cmocka_unit_test(everything_else_is_kept),
		cmocka_unit_test(checkpoint_or_mark_keeps_what_came_before_it),
		cmocka_unit_test(huge_and_repeated_ranges_cost_no_more_than_small_ones),
		cmocka_unit_test(range_at_the_end_of_all_numbers_does_not_wrap),
		cmocka_unit_test(random_lists_are_marked_as_the_definition_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
