/* SPDX-License-Identifier: GPL-3.0-only */
/* test_object_body.c: bodies of all lengths, in pieces of all sizes, into files: past the page cache and through it, to another file when
 * a drive fails, and never without what was announced.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/blake2bp.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "lib/fault_disk.h"
#include "lib/random.h"
#include "node/object_body.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LENGTH_MAX (4 * BODY_WRITE)

static struct fault_disk faults, *d = &faults;
static struct body_buffers pool;
static struct random rnd;
static uint8_t *bytes;
static unsigned released, given;
static int fd = -1;

/* A file that has no name. */
static int new_file(void)
{
	char path[] = "/tmp/garner-body-XXXXXX";
	int made = mkstemp(path);

	assert_true(made >= 0);
	unlink(path);
	return made;
}

static void was_released(void *arg)
{
	(void)arg;
	released++;
}

static struct body_piece *piece_of(uint64_t at, size_t len)
{
	struct body_piece *piece = malloc(sizeof *piece);

	assert_non_null(piece);
	*piece = (struct body_piece){ .bytes = bytes + at, .len = len, .release = was_released };
	given++;
	return piece;
}

static void digest_of(uint64_t length, uint8_t digest[OBJECT_DIGEST_BYTES])
{
	blake2bp(bytes, length, digest, OBJECT_DIGEST_BYTES);
}

static void begin(struct object_body *b, uint64_t length)
{
	released = given = 0;
	assert_int_equal(body_init(b, &d->disk, &pool, length), 0);
	if (fd >= 0)
		close(fd);
	fd = new_file();
	body_begin_file(b, fd);
}

static void assert_written(const struct object_body *b)
{
	uint8_t *found = malloc(b->length + 1);
	uint8_t digest[OBJECT_DIGEST_BYTES];

	assert_int_equal(b->written, b->length);
	assert_false(fcntl(fd, F_GETFL) & O_DIRECT);
	assert_int_equal(pread(fd, found, b->length + 1, OBJECT_FILE_HEADER), b->length);
	assert_memory_equal(found, bytes, b->length);
	for (uint64_t at = 0; at < b->length; at += OBJECT_FILE_BLOCK) {
		size_t n = b->length - at < OBJECT_FILE_BLOCK ? (size_t)(b->length - at) : OBJECT_FILE_BLOCK;
		assert_int_equal(get_le32(b->sums + 4 * (at / OBJECT_FILE_BLOCK)), crc32c(0, bytes + at, n));
	}
	free(found);
	digest_of(b->length, digest);
	assert_int_equal(body_check((struct object_body *)(uintptr_t)b, digest), 0);
}

/* Sizes that a socket may give: one byte, a few, a page, a lot. */
static size_t some_size(uint64_t left)
{
	static const size_t most[] = { 3, 4096, 70000, 300000, 3000000 };
	uint64_t n = 1 + random_below(&rnd, most[random_below(&rnd, 5)]);

	return n < left ? (size_t)n : (size_t)left;
}

static void pieces_of_all_sizes_make_the_file(void **state)
{
	static const uint64_t lengths[] = { 1,          4095,           65536,          BODY_WRITE - 1,
		                            BODY_WRITE, BODY_WRITE + 1, 2 * BODY_WRITE, 3 * BODY_WRITE + 70001,
		                            LENGTH_MAX };
	(void)state;
	for (unsigned round = 0; round < 4 * sizeof lengths / sizeof *lengths; round++) {
		struct object_body b;
		uint64_t length = lengths[round / 4];

		begin(&b, length);
		for (uint64_t at = 0, n; at < length; at += n) {
			n = some_size(length - at);
			assert_int_equal(body_take(&b, piece_of(at, (size_t)n)), 0);
			assert_int_equal(body_write(&b, fd), 0);
			/* What is held is less than one write. */
			assert_true(b.summed - b.written < BODY_WRITE);
		}
		assert_written(&b);
		assert_int_equal(released, given);
		body_free(&b);
	}
}

static void an_empty_body_is_there_at_once(void **state)
{
	struct object_body b;

	(void)state;
	begin(&b, 0);
	assert_int_equal(body_write(&b, fd), 0);
	assert_written(&b);
	body_free(&b);
}

static void more_than_was_announced_stays_the_callers(void **state)
{
	struct object_body b;
	struct body_piece *more;

	(void)state;
	begin(&b, 100000);
	assert_int_equal(body_take(&b, piece_of(0, 99999)), 0);
	more = piece_of(99999, 2);
	assert_int_equal(body_take(&b, more), -EBADMSG);
	assert_int_equal(released, 0);
	free(more);
	body_free(&b);
	assert_int_equal(released, 1);
}

static void less_than_was_announced_or_something_else_is_noticed(void **state)
{
	struct object_body b;
	uint8_t digest[OBJECT_DIGEST_BYTES];

	(void)state;
	begin(&b, 100000);
	digest_of(99999, digest);
	assert_int_equal(body_take(&b, piece_of(0, 99999)), 0);
	assert_int_equal(body_check(&b, digest), -EBADMSG);
	assert_int_equal(body_take(&b, piece_of(99999, 1)), 0);
	assert_int_equal(body_write(&b, fd), 0);
	assert_int_equal(body_check(&b, digest), -EBADMSG);
	body_free(&b);
}

/* A file system that takes O_DIRECT when it is set, and refuses the write. */
static ssize_t refuse_direct(struct disk *disk, int at, const struct iovec *iov, int iovcnt, uint64_t offset)
{
	return fcntl(at, F_GETFL) & O_DIRECT ? -EINVAL : disk_posix()->ops->pwritev(disk, at, iov, iovcnt, offset);
}

static void where_direct_writes_are_refused_the_page_cache_is_used(void **state)
{
	struct disk_ops ops = *disk_posix()->ops;
	struct disk refusing = { &ops };
	struct object_body b;

	(void)state;
	ops.pwritev = refuse_direct;
	begin(&b, LENGTH_MAX - 5);
	b.disk = &refusing;
	for (uint64_t at = 0, n; at < b.length; at += n) {
		n = some_size(b.length - at);
		assert_int_equal(body_take(&b, piece_of(at, (size_t)n)), 0);
		assert_int_equal(body_write(&b, fd), 0);
		assert_true(!b.direct || b.written == 0);
	}
	assert_written(&b);
	assert_int_equal(released, given);
	body_free(&b);
}

/* At each write of a body the drive fails, once: what it has is read back, and the body goes on in another file. */
static void a_failed_write_goes_on_in_another_file(void **state)
{
	const uint64_t length = 3 * BODY_WRITE + 12345;

	(void)state;
	for (int fails = 0; fails < 4; fails++) {
		struct object_body b;
		bool failed = false, write_failed;

		begin(&b, length);
		atomic_store(&d->changes_left, fails);
		for (uint64_t at = 0, n; at < length; at += n) {
			n = some_size(length - at);
			assert_int_equal(body_take(&b, piece_of(at, (size_t)n)), 0);
			int rc = body_write(&b, fd);
			if (rc < 0) {
				int from = fd;
				failed = true;
				assert_int_equal(rc, -EIO);
				atomic_store(&d->changes_left, 1 << 30);
				fd = new_file();
				assert_int_equal(body_copy(&b, from, fd, &write_failed), 0);
				assert_false(write_failed);
				close(from);
				assert_int_equal(body_write(&b, fd), 0);
			}
		}
		assert_true(failed);
		assert_written(&b);
		assert_int_equal(released, given);
		body_free(&b);
	}
}

static void what_cannot_be_read_back_whole_is_not_copied(void **state)
{
	struct object_body b;
	bool write_failed;
	int to = new_file();

	(void)state;
	begin(&b, 2 * BODY_WRITE + 1);
	assert_int_equal(body_take(&b, piece_of(0, 2 * BODY_WRITE)), 0);
	assert_int_equal(body_write(&b, fd), 0);
	assert_true(disk_set_direct(fd, false));
	assert_int_equal(pwrite(fd, &(uint64_t){ 1 }, 8, OBJECT_FILE_HEADER + BODY_WRITE + 5), 8);
	assert_int_equal(body_copy(&b, fd, to, &write_failed), -EIO);
	assert_false(write_failed);
	atomic_store(&d->changes_left, 0);
	assert_int_equal(body_copy(&b, fd, to, &write_failed), -EIO);
	assert_true(write_failed);
	atomic_store(&d->changes_left, 1 << 30);
	body_free(&b);
	close(to);
}

static void what_is_still_held_is_released_with_the_body(void **state)
{
	struct object_body b;

	(void)state;
	begin(&b, LENGTH_MAX);
	assert_int_equal(body_take(&b, piece_of(0, BODY_WRITE + 10)), 0);
	assert_int_equal(body_take(&b, piece_of(BODY_WRITE + 10, 10)), 0);
	assert_int_equal(body_write(&b, fd), 0);
	assert_int_equal(b.written, BODY_WRITE);
	assert_int_equal(released, 0);
	body_free(&b);
	assert_int_equal(released, 2);
}

static int set_up(void **state)
{
	(void)state;
	fault_disk_init(d);
	body_buffers_init(&pool);
	rnd.state = env_number("GARNER_TEST_SEED", 1);
	bytes = malloc(LENGTH_MAX);
	random_fill(&rnd, bytes, LENGTH_MAX);
	return bytes && sodium_init() >= 0 ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	if (fd >= 0)
		close(fd);
	free(bytes);
	body_buffers_free(&pool);
	fault_disk_destroy(d);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_of_all_sizes_make_the_file),
		cmocka_unit_test(an_empty_body_is_there_at_once),
		cmocka_unit_test(more_than_was_announced_stays_the_callers),
		cmocka_unit_test(less_than_was_announced_or_something_else_is_noticed),
		cmocka_unit_test(where_direct_writes_are_refused_the_page_cache_is_used),
		cmocka_unit_test(a_failed_write_goes_on_in_another_file),
		cmocka_unit_test(what_cannot_be_read_back_whole_is_not_copied),
		cmocka_unit_test(what_is_still_held_is_released_with_the_body),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
