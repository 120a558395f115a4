/* SPDX-License-Identifier: GPL-3.0-only */
/* test_segment_file.c: segments as local files: spares, the lives of a file, and what is left of torn ones. */
#include "log/segment_file.h"

#include "base/bytes.h"
#include "base/crc32c.h"

#include "lib/spy_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define GRAIN 4096u
#define SEGMENT (1u << 20)
#define IMAGE UINT64_C(0xabcdef0123456789)

static const uint8_t pool[POOL_UUID_BYTES] = "a pool's uuid ..";

/* ---- a directory with one segment in it ---- */

struct place {
	char dir[256], spare[300], path[300];
	struct spy_disk spy;
	struct error err;
};

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");
	struct place *p = calloc(1, sizeof *p);

	assert_non_null(p);
	snprintf(p->dir, sizeof p->dir, "%s/test_segment_file.XXXXXX", tmp && *tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(p->dir));
	snprintf(p->spare, sizeof p->spare, "%s/spare", p->dir);
	snprintf(p->path, sizeof p->path, "%s/7.seg", p->dir);
	spy_disk_init(&p->spy);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	unlink(p->spare);
	unlink(p->path);
	/* Fails when a test left something else behind. */
	assert_int_equal(rmdir(p->dir), 0);
	free(p);
	return 0;
}

static struct segment_header header_of(uint64_t number)
{
	struct segment_header h = {
		.image = IMAGE, .number = number, .epoch = 3, .slot_bytes = GRAIN, .created_ns = 1234567890
	};

	memcpy(h.pool, pool, sizeof pool);
	return h;
}

static uint64_t file_bytes(void)
{
	struct segment_shape shape;

	assert_int_equal(segment_shape(GRAIN, SEGMENT, &shape), 0);
	return shape.file_bytes;
}

static struct segment_file *create(struct place *p)
{
	struct segment_header h = header_of(7);
	struct segment_file *f;

	if (access(p->spare, F_OK) < 0)
		assert_int_equal(segment_file_make_spare(&p->spy.disk, p->spare, file_bytes(), false, &p->err), 0);
	assert_int_equal(segment_file_create(&p->spy.disk, p->spare, p->dir, p->path, &h, SEGMENT, &f, &p->err), 0);
	return f;
}

static struct segment_file *reopen(struct place *p)
{
	struct segment_file *f;

	assert_int_equal(segment_file_open(&p->spy.disk, p->path, pool, IMAGE, 7, &f, &p->err), 0);
	return f;
}

/* The bytes of a slot: `seed` all over, with the slot's number in front. */
static void fill(uint8_t *buf, uint32_t slot, uint8_t seed)
{
	memset(buf, seed, GRAIN);
	put_le32(buf, slot);
}

static void put(struct segment_file *f, uint32_t number, const struct record *r)
{
	assert_int_equal(segment_file_put_records(f, number, r, 1), 0);
}

/* Writes slot `slot` and record `number` for it. */
static void append(struct segment_file *f, uint32_t number, uint32_t slot, uint8_t seed)
{
	uint8_t buf[GRAIN];
	struct iovec iov = { buf, sizeof buf };
	struct record r = { .kind = RECORD_DATA, .slot = (uint16_t)slot, .value = 1000 + slot, .count = 1 };

	fill(buf, slot, seed);
	r.data_crc = crc32c(0, buf, sizeof buf);
	assert_int_equal(segment_file_write_slots(f, slot, &iov, 1), 0);
	put(f, number, &r);
}

static size_t count_records(struct place *p, struct segment_file *f, bool check_data)
{
	struct record *records;
	size_t count;

	assert_int_equal(segment_file_read_records(f, check_data, &records, &count, &p->err), 0);
	for (size_t i = 0; i < count; i++)
		assert_true(records[i].kind == RECORD_ZERO || records[i].value == 1000u + records[i].slot);
	free(records);
	return count;
}

static void overwrite(const char *path, uint64_t offset, const void *bytes, size_t len)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, len, (off_t)offset), len);
	assert_int_equal(close(fd), 0);
}

static void flip(const char *path, uint64_t offset)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
	assert_int_equal(close(fd), 0);
}

/* ---- spares ---- */

static void spare_has_all_its_blocks(void **state)
{
	struct place *p = *state;

	for (int written = 0; written < 2; written++) {
		struct stat st;

		assert_int_equal(segment_file_make_spare(&p->spy.disk, p->spare, file_bytes(), written, &p->err), 0);
		assert_int_equal(stat(p->spare, &st), 0);
		assert_int_equal(st.st_size, file_bytes());
		assert_true((uint64_t)st.st_blocks * 512 >= file_bytes());
		assert_int_equal(strchr(p->spy.log, 'S') != NULL, written);
		assert_int_equal(unlink(p->spare), 0);
	}
}

static void spare_is_written_and_synced_where_there_is_no_fallocate(void **state)
{
	struct place *p = *state;
	struct stat st;
	struct segment_file *f;

	p->spy.no_fallocate = true;
	assert_int_equal(segment_file_make_spare(&p->spy.disk, p->spare, file_bytes(), false, &p->err), 0);
	assert_int_equal(stat(p->spare, &st), 0);
	assert_true((uint64_t)st.st_blocks * 512 >= file_bytes());
	assert_int_equal(p->spy.log[strlen(p->spy.log) - 1], 'S');
	f = create(p);
	append(f, 0, 0, 'x');
	assert_int_equal(count_records(p, f, true), 1);
	segment_file_close(f);
}

static void failed_spare_leaves_nothing_behind(void **state)
{
	struct place *p = *state;

	/* No file system holds this. */
	assert_true(segment_file_make_spare(&p->spy.disk, p->spare, UINT64_C(1) << 61, false, &p->err) < 0);
	assert_int_not_equal(access(p->spare, F_OK), 0);
	for (int at = 1;; at++) {
		int rc;

		p->spy.calls = 0;
		p->spy.fail_at = at;
		rc = segment_file_make_spare(&p->spy.disk, p->spare, file_bytes(), true, &p->err);
		if (rc == 0) {
			assert_true(at > 4); /* open, allocate, writes, sync were all made to fail */
			break;
		}
		assert_int_equal(rc, -EIO);
		assert_int_not_equal(access(p->spare, F_OK), 0);
	}
	/* And one that is there already is another's. */
	p->spy.fail_at = 0;
	assert_int_equal(segment_file_make_spare(&p->spy.disk, p->spare, file_bytes(), false, &p->err), -EEXIST);
	assert_int_equal(access(p->spare, F_OK), 0);
	assert_non_null(strstr(p->err.text, p->spare));
}

/* ---- creating ---- */

static void header_is_durable_before_the_name_and_the_name_before_use(void **state)
{
	struct place *p = *state;
	struct segment_file *f;

	assert_int_equal(segment_file_make_spare(&p->spy.disk, p->spare, file_bytes(), false, &p->err), 0);
	memset(p->spy.log, 0, sizeof p->spy.log);
	f = create(p);
	assert_string_equal(p->spy.log, "OAWSRD");
	assert_int_not_equal(access(p->spare, F_OK), 0);
	assert_true(f->header.salt != 0);
	assert_int_equal(f->header.state, SEGMENT_OPEN);
	assert_int_equal(count_records(p, f, true), 0);
	segment_file_close(f);
}

static void failed_creation_leaves_no_segment(void **state)
{
	struct place *p = *state;
	struct segment_header h = header_of(7);
	struct segment_file *f;

	for (int at = 1;; at++) {
		int rc;

		unlink(p->spare);
		p->spy.fail_at = 0;
		assert_int_equal(segment_file_make_spare(&p->spy.disk, p->spare, file_bytes(), false, &p->err), 0);
		p->spy.calls = 0;
		p->spy.fail_at = at;
		rc = segment_file_create(&p->spy.disk, p->spare, p->dir, p->path, &h, SEGMENT, &f, &p->err);
		if (rc == 0) {
			assert_int_equal(at, 7); /* the six steps were all made to fail */
			segment_file_close(f);
			break;
		}
		assert_int_equal(rc, -EIO);
		assert_null(f);
		assert_int_not_equal(access(p->path, F_OK), 0);
	}
}

static void spare_that_is_too_small_is_grown_or_refused(void **state)
{
	struct place *p = *state;
	struct segment_header h = header_of(7);
	struct segment_file *f;

	p->spy.no_fallocate = true;
	assert_int_equal(segment_file_make_spare(&p->spy.disk, p->spare, 65536, false, &p->err), 0);
	assert_int_equal(segment_file_create(&p->spy.disk, p->spare, p->dir, p->path, &h, SEGMENT, &f, &p->err),
	                 -EINVAL);
	p->spy.no_fallocate = false;
	assert_int_equal(segment_file_make_spare(&p->spy.disk, p->spare, 65536, false, &p->err), 0);
	f = create(p);
	append(f, 0, 255, 'e');
	assert_int_equal(count_records(p, f, true), 1);
	segment_file_close(f);
	h.slot_bytes = 5000;
	assert_int_equal(segment_file_create(&p->spy.disk, p->spare, p->dir, p->path, &h, SEGMENT, &f, &p->err),
	                 -EINVAL);
}

static void recycled_cache_file_gets_its_holes_filled(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p);
	struct stat st;

	assert_int_equal(segment_file_punch(f, 0, f->shape.chunks), 0);
	segment_file_close(f);
	assert_int_equal(rename(p->path, p->spare), 0);
	f = create(p);
	assert_int_equal(stat(p->path, &st), 0);
	assert_true((uint64_t)st.st_blocks * 512 >= file_bytes());
	segment_file_close(f);
}

static void stale_records_of_a_recycled_file_never_appear(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p);
	uint64_t salt = f->header.salt;

	for (uint32_t i = 0; i < 256; i++)
		append(f, i, i, 'a');
	assert_int_equal(count_records(p, f, true), 256);
	segment_file_close(f);

	for (unsigned life = 0; life < 3; life++) {
		/* Also of the same image and number: only the salt tells the lives apart. */
		assert_int_equal(rename(p->path, p->spare), 0);
		f = create(p);
		assert_true(f->header.salt != salt);
		salt = f->header.salt;
		assert_int_equal(count_records(p, f, false), 0);
		for (uint32_t i = 0; i < 3; i++)
			append(f, i, i, 'a');
		assert_int_equal(count_records(p, f, false), 3);
		segment_file_close(f);
		f = reopen(p);
		assert_int_equal(count_records(p, f, false), 3);
		segment_file_close(f);
	}
}

/* ---- appending and recovering ---- */

static void slots_and_records_are_read_back_after_reopening(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p);
	uint8_t a[GRAIN], b[2 * GRAIN], back[3 * GRAIN];
	struct iovec iov[2] = { { a, sizeof a }, { b, sizeof b } };
	struct record zero = { .kind = RECORD_ZERO, .slot = RECORD_NO_SLOT, .value = 3, .count = 9, .time_ns = 5 };
	struct record *records;
	size_t count;

	fill(a, 10, 'a');
	fill(b, 11, 'b');
	fill(b + GRAIN, 12, 'c');
	assert_int_equal(segment_file_write_slots(f, 10, iov, 2), 0);
	append(f, 0, 0, 'z');
	put(f, 1, &zero);
	assert_int_equal(segment_file_sync(f), 0);
	segment_file_close(f);

	f = reopen(p);
	assert_int_equal(f->header.epoch, 3);
	assert_int_equal(segment_file_read(f, 10, 0, back, sizeof back), 0);
	assert_memory_equal(back, a, GRAIN);
	assert_memory_equal(back + GRAIN, b, 2 * GRAIN);
	assert_int_equal(segment_file_read(f, 10, GRAIN + 100, back, 50), 0);
	assert_memory_equal(back, b + 100, 50);
	assert_int_equal(segment_file_read_records(f, true, &records, &count, &p->err), 0);
	assert_int_equal(count, 2);
	assert_int_equal(records[1].kind, RECORD_ZERO);
	assert_true(records[1].count == 9 && records[1].time_ns == 5);
	free(records);
	segment_file_close(f);
}

static void reading_outside_the_segment_is_an_error(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p);
	uint8_t buf[2 * GRAIN];

	assert_int_equal(segment_file_read(f, 255, 0, buf, GRAIN), 0);
	assert_int_equal(segment_file_read(f, 255, 0, buf, GRAIN + 1), -EIO);
	assert_int_equal(segment_file_read(f, 256, 0, buf, 1), -EIO);
	assert_int_equal(segment_file_read(f, UINT32_MAX, UINT32_MAX, buf, 1), -EIO);
	assert_int_equal(segment_file_read(f, 0, 0, buf, SIZE_MAX), -EIO);
	assert_int_equal(truncate(p->path, (off_t)(file_bytes() - 10)), 0);
	assert_int_equal(segment_file_read(f, 255, 0, buf, GRAIN), -EIO);
	segment_file_close(f);
}

static void hole_in_the_index_ends_the_list(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p);

	for (uint32_t i = 0; i < 9; i++)
		if (i != 5)
			append(f, i, i, 'h');
	assert_int_equal(count_records(p, f, false), 5);
	append(f, 5, 5, 'h');
	assert_int_equal(count_records(p, f, true), 9);
	segment_file_close(f);
	flip(p->path, 4096 + 7 * RECORD_BYTES + 9);
	f = reopen(p);
	assert_int_equal(count_records(p, f, false), 7);
	segment_file_close(f);
}

static void record_of_a_slot_that_the_segment_has_not_ends_the_list(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p);
	struct record r = { .kind = RECORD_DATA, .slot = 256, .value = 1, .count = 1 };
	uint8_t bytes[RECORD_BYTES];

	append(f, 0, 0, 'o');
	record_encode(&r, f->header.salt, 1, bytes);
	overwrite(p->path, 4096 + RECORD_BYTES, bytes, sizeof bytes);
	assert_int_equal(count_records(p, f, false), 1);
	segment_file_close(f);
}

static void torn_slot_ends_the_list_when_data_is_checked(void **state)
{
	struct place *p = *state;

	for (uint32_t torn = 0; torn < 40; torn += 13) {
		struct segment_file *f = create(p);

		for (uint32_t i = 0; i < 40; i++)
			append(f, i, i, 't');
		segment_file_close(f);
		f = reopen(p);
		assert_int_equal(count_records(p, f, true), 40);
		flip(p->path, segment_slot_offset(&f->shape, torn) + 4095);
		assert_int_equal(count_records(p, f, true), torn);
		assert_int_equal(count_records(p, f, false), 40);
		segment_file_close(f);
	}
}

static void slots_in_any_order_are_checked(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p);
	struct record zero = { .kind = RECORD_ZERO, .slot = RECORD_NO_SLOT, .value = 3, .count = 9 };
	/* Runs, jumps back and forth, and records without a slot between. */
	static const uint32_t slots[] = { 5, 6, 7, 200, 199, 198, 0, 1, 9, 10, 11, 255 };
	uint32_t number = 0;

	for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
		append(f, number++, slots[i], 'p');
		put(f, number++, &zero);
	}
	assert_int_equal(count_records(p, f, true), number);
	flip(p->path, segment_slot_offset(&f->shape, 198));
	assert_int_equal(count_records(p, f, true), 10);
	flip(p->path, segment_slot_offset(&f->shape, 7) + 77);
	assert_int_equal(count_records(p, f, true), 4);
	segment_file_close(f);
}

static void file_cut_short_loses_only_what_was_cut_off(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p);

	for (uint32_t i = 0; i < 100; i++)
		append(f, i, i, 'c');
	assert_int_equal(truncate(p->path, (off_t)(segment_slot_offset(&f->shape, 60) + 100)), 0);
	assert_int_equal(count_records(p, f, true), 60);
	segment_file_close(f);
	assert_int_equal(truncate(p->path, 4096 + 10 * RECORD_BYTES + 5), 0);
	f = reopen(p);
	assert_int_equal(count_records(p, f, false), 10);
	assert_int_equal(count_records(p, f, true), 0);
	segment_file_close(f);
}

static void data_is_checked_in_few_large_reads(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p);

	for (uint32_t i = 0; i < 256; i++)
		append(f, i, i, 'l');
	p->spy.reads = 0;
	assert_int_equal(count_records(p, f, true), 256);
	assert_true(p->spy.reads <= 4);
	segment_file_close(f);
}

/* ---- sealed and stored ---- */

static void sealed_segment_knows_its_records_and_digests(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p);
	uint8_t prev[DIGEST_BYTES], digest[DIGEST_BYTES];

	memset(prev, 3, sizeof prev);
	memset(digest, 4, sizeof digest);
	for (uint32_t i = 0; i < 6; i++)
		append(f, i, i, 's');
	assert_int_equal(segment_file_sync(f), 0);
	memset(p->spy.log, 0, sizeof p->spy.log);
	assert_int_equal(segment_file_seal(f, 5, 6, prev, digest, &p->err), 0);
	assert_string_equal(p->spy.log, "W");
	assert_int_equal(count_records(p, f, false), 5);
	segment_file_close(f);

	f = reopen(p);
	assert_int_equal(f->header.state, SEGMENT_SEALED);
	assert_int_equal(f->header.slot_count, 6);
	assert_memory_equal(f->header.prev_digest, prev, DIGEST_BYTES);
	assert_memory_equal(f->header.digest, digest, DIGEST_BYTES);
	assert_int_equal(count_records(p, f, false), 5);
	memset(p->spy.log, 0, sizeof p->spy.log);
	assert_int_equal(segment_file_mark_stored(f, &p->err), 0);
	assert_string_equal(p->spy.log, "W");
	segment_file_close(f);
	f = reopen(p);
	assert_int_equal(f->header.state, SEGMENT_STORED);
	assert_int_equal(count_records(p, f, false), 5);
	segment_file_close(f);
}

static void failed_seal_leaves_the_segment_open(void **state)
{
	struct place *p = *state;
	uint8_t digest[DIGEST_BYTES] = { 0 };

	struct segment_file *f = create(p);

	append(f, 0, 0, 'f');
	p->spy.calls = 0;
	p->spy.fail_at = 1;
	assert_int_equal(segment_file_seal(f, 1, 1, digest, digest, &p->err), -EIO);
	p->spy.fail_at = 0;
	assert_int_equal(f->header.state, SEGMENT_OPEN);
	append(f, 1, 1, 'f');
	segment_file_close(f);
}

static void damaged_record_of_a_sealed_segment_is_an_error(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p);
	uint8_t digest[DIGEST_BYTES] = { 0 };
	struct record *records;
	size_t count;

	for (uint32_t i = 0; i < 6; i++)
		append(f, i, i, 's');
	assert_int_equal(segment_file_seal(f, 6, 6, digest, digest, &p->err), 0);
	flip(p->path, 4096 + 3 * RECORD_BYTES);
	assert_int_equal(segment_file_read_records(f, false, &records, &count, &p->err), -EBADMSG);
	assert_non_null(strstr(p->err.text, "record 3 of 6"));
	segment_file_close(f);
}

static struct segment_file *create_stored(struct place *p, size_t count)
{
	struct segment_header h = header_of(7);
	struct segment_file *f;
	struct record *list = calloc(count + 1, sizeof *list);

	assert_non_null(list);
	for (size_t i = 0; i < count; i++)
		list[i] = (struct record){
			.kind = RECORD_DATA, .slot = (uint16_t)(count - i), .value = 1000 + count - i, .count = 1
		};
	assert_int_equal(segment_file_create_stored(&p->spy.disk, p->path, &h, SEGMENT, list, count, &f, &p->err), 0);
	free(list);
	return f;
}

static void cache_of_a_stored_object_begins_with_all_records_and_no_slots(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create_stored(p, 20);
	uint8_t present[2] = { 0 };
	struct stat st;

	assert_null(strchr(p->spy.log, 'S'));
	assert_int_equal(segment_file_present(f, present), 0);
	assert_int_equal(present[0] | present[1], 0);
	segment_file_close(f);
	f = reopen(p);
	assert_int_equal(f->header.state, SEGMENT_STORED);
	assert_int_equal(f->header.slot_count, 21);
	assert_int_equal(count_records(p, f, false), 20);
	assert_int_equal(stat(p->path, &st), 0);
	assert_int_equal(st.st_size, file_bytes());
	assert_true((uint64_t)st.st_blocks * 512 < 65536);
	segment_file_close(f);
}

static void cache_file_is_never_made_over_another_file(void **state)
{
	struct place *p = *state;
	struct segment_header h = header_of(7);
	struct segment_file *f = create(p);

	append(f, 0, 0, 'u');
	segment_file_close(f);
	assert_int_equal(segment_file_create_stored(&p->spy.disk, p->path, &h, SEGMENT, NULL, 0, &f, &p->err), -EEXIST);
	f = reopen(p);
	assert_int_equal(count_records(p, f, true), 1);
	segment_file_close(f);
}

static void cache_file_that_cannot_be_made_leaves_nothing(void **state)
{
	struct place *p = *state;
	struct segment_header h = header_of(7);
	struct record bad = { .kind = RECORD_DATA, .slot = 256, .count = 1 };
	struct segment_file *f;

	for (int at = 1; at <= 4; at++) { /* open, truncate, index, header */
		p->spy.calls = 0;
		p->spy.fail_at = at;
		assert_int_equal(
			segment_file_create_stored(&p->spy.disk, p->path, &h, SEGMENT,
		                                   &(struct record){ .kind = RECORD_DATA, .slot = 1, .count = 1 }, 1,
		                                   &f, &p->err),
			-EIO);
		assert_int_not_equal(access(p->path, F_OK), 0);
	}
	p->spy.fail_at = 0;
	assert_int_equal(segment_file_create_stored(&p->spy.disk, p->path, &h, SEGMENT, &bad, 1, &f, &p->err), -EINVAL);
	assert_int_equal(segment_file_create_stored(&p->spy.disk, p->path, &h, SEGMENT, &bad, 1025, &f, &p->err),
	                 -EINVAL);
	assert_int_not_equal(access(p->path, F_OK), 0);
}

static void chunk_is_present_from_its_writing_to_its_punching(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create_stored(p, 3);
	uint8_t buf[GRAIN], present[2] = { 0 };
	struct iovec iov = { buf, sizeof buf };

	memset(buf, 'c', sizeof buf);
	/* One slot makes its chunk present: its bytes are checked on first use anyway. */
	assert_int_equal(segment_file_write_slots(f, 3 * 16 + 15, &iov, 1), 0);
	for (uint32_t slot = 9 * 16; slot < 11 * 16; slot++)
		assert_int_equal(segment_file_write_slots(f, slot, &iov, 1), 0);
	assert_int_equal(segment_file_write_slots(f, 255, &iov, 1), 0);
	assert_int_equal(segment_file_present(f, present), 0);
	assert_int_equal(present[0], 1 << 3);
	assert_int_equal(present[1], 1 << 1 | 1 << 2 | 1 << 7);

	assert_int_equal(segment_file_punch(f, 9, 1), 0);
	assert_int_equal(segment_file_punch(f, 15, 1), 0);
	memset(present, 0, sizeof present);
	assert_int_equal(segment_file_present(f, present), 0);
	assert_int_equal(present[0], 1 << 3);
	assert_int_equal(present[1], 1 << 2);
	assert_int_equal(segment_file_read(f, 10 * 16, 0, buf, sizeof buf), 0);
	assert_int_equal(buf[17], 'c');
	assert_int_equal(segment_file_punch(f, 0, 16), 0);
	memset(present, 0, sizeof present);
	assert_int_equal(segment_file_present(f, present), 0);
	assert_int_equal(present[0] | present[1], 0);
	assert_int_equal(segment_file_punch(f, 0, 0), 0);
	assert_int_equal(segment_file_punch(f, 16, 1), -EINVAL);
	assert_int_equal(segment_file_punch(f, 1, UINT32_MAX), -EINVAL);
	assert_int_equal(count_records(p, f, false), 3);
	segment_file_close(f);
}

static void box_table_is_kept_and_its_damage_found(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create_stored(p, 1);
	uint8_t table[16 * SEGMENT_TABLE_ENTRY], back[sizeof table];
	uint64_t offset = 0;

	for (size_t i = 0; i < sizeof table; i++)
		table[i] = (uint8_t)(i * 7 + 1);
	assert_int_equal(segment_file_get_table(f, &offset, back, sizeof back), -ENOENT);
	assert_int_equal(segment_file_set_table(f, 4711, table, sizeof table + 1), -EINVAL);
	assert_int_equal(segment_file_set_table(f, 4711, table, sizeof table), 0);
	segment_file_close(f);
	f = reopen(p);
	assert_int_equal(segment_file_get_table(f, &offset, back, sizeof back), 0);
	assert_int_equal(offset, 4711);
	assert_memory_equal(table, back, sizeof table);
	/* A segment that uses fewer chunks has a shorter table. */
	assert_int_equal(segment_file_set_table(f, 99, table, 3 * SEGMENT_TABLE_ENTRY), 0);
	assert_int_equal(segment_file_get_table(f, &offset, back, 3 * SEGMENT_TABLE_ENTRY), 0);
	assert_int_equal(offset, 99);
	assert_int_equal(segment_file_get_table(f, &offset, back, sizeof back + 1), -EINVAL);
	for (uint32_t at = 0; at < 12 + sizeof table; at += 37) {
		flip(p->path, f->shape.table_offset + at);
		assert_int_equal(segment_file_get_table(f, &offset, back, sizeof back), -EBADMSG);
		flip(p->path, f->shape.table_offset + at);
	}
	assert_int_equal(segment_file_get_table(f, &offset, back, sizeof back), 0);
	segment_file_close(f);
}

static void box_table_of_an_earlier_life_is_not_believed(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create_stored(p, 1);
	uint8_t table[SEGMENT_TABLE_ENTRY] = { 1 };
	uint64_t offset;

	assert_int_equal(segment_file_set_table(f, 4711, table, sizeof table), 0);
	segment_file_close(f);
	assert_int_equal(rename(p->path, p->spare), 0);
	f = create(p);
	assert_int_equal(segment_file_get_table(f, &offset, table, sizeof table), -EBADMSG);
	segment_file_close(f);
}

/* ---- opening ---- */

static void file_of_another_pool_image_or_number_is_refused(void **state)
{
	struct place *p = *state;
	struct segment_file *f = create(p);
	uint8_t other[POOL_UUID_BYTES] = "another pool ...";

	segment_file_close(f);
	assert_int_equal(segment_file_open(&p->spy.disk, p->path, other, IMAGE, 7, &f, &p->err), -EBADMSG);
	assert_int_equal(segment_file_open(&p->spy.disk, p->path, pool, IMAGE + 1, 7, &f, &p->err), -EBADMSG);
	assert_int_equal(segment_file_open(&p->spy.disk, p->path, pool, IMAGE, 8, &f, &p->err), -EBADMSG);
	assert_null(f);
	assert_non_null(strstr(p->err.text, p->path));
	assert_int_equal(segment_file_open(&p->spy.disk, p->spare, pool, IMAGE, 7, &f, &p->err), -ENOENT);
	flip(p->path, 33);
	assert_int_equal(segment_file_open(&p->spy.disk, p->path, pool, IMAGE, 7, &f, &p->err), -EBADMSG);
	assert_int_equal(truncate(p->path, 511), 0);
	assert_int_equal(segment_file_open(&p->spy.disk, p->path, pool, IMAGE, 7, &f, &p->err), -EBADMSG);
	assert_int_equal(truncate(p->path, 0), 0);
	assert_int_equal(segment_file_open(&p->spy.disk, p->path, pool, IMAGE, 7, &f, &p->err), -EBADMSG);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(spare_has_all_its_blocks),
		T(spare_is_written_and_synced_where_there_is_no_fallocate),
		T(failed_spare_leaves_nothing_behind),
		T(header_is_durable_before_the_name_and_the_name_before_use),
		T(failed_creation_leaves_no_segment),
		T(spare_that_is_too_small_is_grown_or_refused),
		T(recycled_cache_file_gets_its_holes_filled),
		T(stale_records_of_a_recycled_file_never_appear),
		T(slots_and_records_are_read_back_after_reopening),
		T(reading_outside_the_segment_is_an_error),
		T(hole_in_the_index_ends_the_list),
		T(record_of_a_slot_that_the_segment_has_not_ends_the_list),
		T(torn_slot_ends_the_list_when_data_is_checked),
		T(slots_in_any_order_are_checked),
		T(file_cut_short_loses_only_what_was_cut_off),
		T(data_is_checked_in_few_large_reads),
		T(sealed_segment_knows_its_records_and_digests),
		T(failed_seal_leaves_the_segment_open),
		T(damaged_record_of_a_sealed_segment_is_an_error),
		T(cache_of_a_stored_object_begins_with_all_records_and_no_slots),
		T(cache_file_is_never_made_over_another_file),
		T(cache_file_that_cannot_be_made_leaves_nothing),
		T(chunk_is_present_from_its_writing_to_its_punching),
		T(box_table_is_kept_and_its_damage_found),
		T(box_table_of_an_earlier_life_is_not_believed),
		T(file_of_another_pool_image_or_number_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
