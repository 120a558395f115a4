/* SPDX-License-Identifier: GPL-3.0-only */
/* test_object_file.c: the header of an object's file, and its name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "lib/random.h"
#include "node/object_file.h"

#include <errno.h>
#include <stdio.h>

static struct object_header sample(void)
{
	struct object_header h = { .entry = { .name = "pool/images/1/head", .stored_s = 1700000000 }, .sums_crc = 77 };

	h.entry.meta.version = (struct object_version){ 5, UINT64_MAX };
	h.entry.meta.length = 200000;
	h.entry.meta.flags = OBJECT_CLAIMED;
	memset(h.entry.meta.digest, 0xab, OBJECT_DIGEST_BYTES);
	return h;
}

static int decode(const uint8_t *bytes, struct object_header *h, struct error *err)
{
	int rc = object_header_decode(bytes, h, err);

	if (rc < 0)
		assert_int_equal(rc, -EBADMSG);
	return rc;
}

/* What is said of the header after its byte at `at` is changed to `value`, and the checksum made right. */
static int with_byte(struct object_header h, size_t at, uint8_t value)
{
	uint8_t bytes[OBJECT_FILE_HEADER];
	struct error err = { 0 };

	object_header_encode(&h, bytes);
	bytes[at] = value;
	put_le32(bytes + OBJECT_FILE_HEADER - 4, crc32c(0, bytes, OBJECT_FILE_HEADER - 4));
	int rc = decode(bytes, &h, &err);
	if (rc < 0)
		assert_true(err.text[0]);
	return rc;
}

static void a_header_is_read_as_it_was_written(void **state)
{
	struct object_header h = sample(), again;
	uint8_t bytes[OBJECT_FILE_HEADER];

	(void)state;
	object_header_encode(&h, bytes);
	assert_int_equal(decode(bytes, &again, NULL), 0);
	assert_memory_equal(&h, &again, sizeof h);
	/* The longest name, and local marks that files do not have. */
	memset(h.entry.name, 'a', OBJECT_NAME_MAX);
	h.entry.name[64] = '/';
	h.entry.name[OBJECT_NAME_MAX] = '\0';
	h.entry.meta.flags |= OBJECT_CONFIRMED;
	object_header_encode(&h, bytes);
	assert_int_equal(decode(bytes, &again, NULL), 0);
	assert_string_equal(again.entry.name, h.entry.name);
	assert_int_equal(again.entry.meta.flags, OBJECT_CLAIMED);
}

static void every_flipped_bit_of_a_header_is_found(void **state)
{
	struct object_header h = sample();
	uint8_t bytes[OBJECT_FILE_HEADER];

	(void)state;
	object_header_encode(&h, bytes);
	for (size_t bit = 0; bit < 8 * OBJECT_FILE_HEADER; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(decode(bytes, &h, NULL), -EBADMSG);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_int_equal(decode(bytes, &h, NULL), 0);
}

static void headers_that_make_no_sense_are_refused_though_their_checksum_is_right(void **state)
{
	struct object_header h = sample();

	(void)state;
	assert_int_equal(with_byte(h, 40, 1), 0);           /* another time */
	assert_int_equal(with_byte(h, 8, 2), -EBADMSG);     /* format */
	assert_int_equal(with_byte(h, 13, 1), -EBADMSG);    /* an unknown flag */
	assert_int_equal(with_byte(h, 12, 1), -EBADMSG);    /* a tombstone with a body */
	assert_int_equal(with_byte(h, 23, 0x80), -EBADMSG); /* a counter too high */
	assert_int_equal(with_byte(h, 36, 1), -EBADMSG);    /* too long */
	assert_int_equal(with_byte(h, 84, 19), -EBADMSG);   /* a name with a zero in it */
	assert_int_equal(with_byte(h, 84, 17), -EBADMSG);   /* more than the name */
	assert_int_equal(with_byte(h, 85, 2), -EBADMSG);    /* a name too long */
	assert_int_equal(with_byte(h, 88, 'P'), -EBADMSG);  /* no pool is named so */
	assert_int_equal(with_byte(h, 600, 1), -EBADMSG);   /* something where nothing is */
	h.entry.meta.version = OBJECT_VERSION_NONE;
	assert_int_equal(with_byte(h, 40, 1), -EBADMSG);
}

static void a_file_has_room_for_the_body_and_a_sum_for_each_block(void **state)
{
	struct object_meta meta = { .version = { 5, 5 } };

	(void)state;
	assert_int_equal(object_file_bytes(&meta), 4096);
	meta.length = 1;
	assert_int_equal(object_file_bytes(&meta), 4096 + 1 + 4);
	meta.length = 65536;
	assert_int_equal(object_file_bytes(&meta), 4096 + 65536 + 4);
	meta.length = 65537;
	assert_int_equal(object_file_bytes(&meta), 4096 + 65537 + 8);
	meta.flags = OBJECT_DAMAGED;
	assert_int_equal(object_file_bytes(&meta), 4096);
}

static void names_of_files_are_read_as_they_were_written_and_no_others_are(void **state)
{
	static const char *const bad[] = {
		"",
		"README",
		"0123456789abcdef0123456789abcdef-0000000000000005.0000000000000005-",
		"0123456789abcdef0123456789abcdef-0000000000000000.0000000000000000-0",
		"0123456789abcdef0123456789abcdef-0000000000000005.0000000000000005-4",
		"0123456789abcdef0123456789abcdef-0000000000000005.0000000000000005-x",
		"0123456789abcdef0123456789abcdef_0000000000000005.0000000000000005-0",
		"0123456789ABCDEF0123456789abcdef-0000000000000005.0000000000000005-0",
		"0123456789abcdef0123456789abcdeg-0000000000000005.0000000000000005-0",
		"0123456789abcdef0123456789abcdef-0000000000000005.0000000000000005-0x",
	};
	struct object_meta meta = { .version = { 0x123456789abcdef0, UINT64_MAX } };
	struct object_file_id id, again;
	char text[OBJECT_FILE_NAME];

	(void)state;
	for (unsigned flags = 0; flags < 16; flags++) {
		meta.flags = flags;
		object_file_id("pool/a", &meta, &id);
		object_file_name(&id, text);
		assert_int_equal(strlen(text), OBJECT_FILE_NAME - 1);
		assert_int_equal(object_file_name_parse(text, &again), 0);
		assert_memory_equal(id.hash, again.hash, sizeof id.hash);
		assert_int_equal(object_version_compare(id.version, again.version), 0);
		assert_int_equal(again.flags, flags & ~(unsigned)OBJECT_CONFIRMED);
		assert_true(object_file_dir(&again) < OBJECT_DIRS);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(object_file_name_parse(bad[i], &again), -EINVAL);
}

static void of_one_version_what_is_whole_counts_then_what_is_claimed(void **state)
{
	const struct object_meta order[] = {
		{ .version = { 4, 9 }, .flags = OBJECT_CLAIMED },
		{ .version = { 5, 5 }, .flags = OBJECT_DAMAGED },
		{ .version = { 5, 5 }, .flags = OBJECT_DAMAGED | OBJECT_CLAIMED },
		{ .version = { 5, 5 } },
		{ .version = { 5, 5 }, .flags = OBJECT_CLAIMED },
		{ .version = { 5, 6 }, .flags = OBJECT_DAMAGED },
	};

	(void)state;
	for (int i = 0; i < 6; i++)
		for (int k = 0; k < 6; k++) {
			int got = object_precedence(&order[i], &order[k]);
			assert_int_equal(got > 0, i > k);
			assert_int_equal(got < 0, i < k);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_header_is_read_as_it_was_written),
		cmocka_unit_test(every_flipped_bit_of_a_header_is_found),
		cmocka_unit_test(headers_that_make_no_sense_are_refused_though_their_checksum_is_right),
		cmocka_unit_test(a_file_has_room_for_the_body_and_a_sum_for_each_block),
		cmocka_unit_test(names_of_files_are_read_as_they_were_written_and_no_others_are),
		cmocka_unit_test(of_one_version_what_is_whole_counts_then_what_is_claimed),
	};

	return cmocka_run_group_tests_name("object_file", tests, NULL, NULL);
}
