/* SPDX-License-Identifier: GPL-3.0-only */
/* test_copy.c: copying a disk file: sparse, all or nothing, to be broken off and run again. */
#include "cli/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)
#define PIECE ((size_t)1 << 16)

struct place {
	char dir[256], from[300], to[300], part[320];
};

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");
	struct place *p = calloc(1, sizeof *p);

	assert_non_null(p);
	snprintf(p->dir, sizeof p->dir, "%.200s/garner-copy.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(p->dir));
	snprintf(p->from, sizeof p->from, "%s/from", p->dir);
	snprintf(p->to, sizeof p->to, "%s/to", p->dir);
	snprintf(p->part, sizeof p->part, "%s" COPY_PART_SUFFIX, p->to);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	unlink(p->from);
	unlink(p->to);
	unlink(p->part);
	assert_int_equal(rmdir(p->dir), 0);
	free(p);
	return 0;
}

static void put(const char *path, const void *bytes, size_t len, off_t offset)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0644);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, len, offset), (ssize_t)len);
	assert_int_equal(close(fd), 0);
}

static void fill(const char *path, int byte, size_t len, off_t offset)
{
	uint8_t *bytes = malloc(len);

	assert_non_null(bytes);
	memset(bytes, byte, len);
	put(path, bytes, len, offset);
	free(bytes);
}

static void resize(const char *path, off_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0644);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	assert_int_equal(close(fd), 0);
}

static uint8_t *whole(const char *path, size_t *len)
{
	int fd = open(path, O_RDONLY);
	struct stat st;
	uint8_t *bytes;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	bytes = malloc((size_t)st.st_size + 1);
	assert_non_null(bytes);
	assert_int_equal(read(fd, bytes, (size_t)st.st_size), st.st_size);
	close(fd);
	*len = (size_t)st.st_size;
	return bytes;
}

static void assert_same(const char *a, const char *b)
{
	size_t a_len, b_len;
	uint8_t *a_bytes = whole(a, &a_len), *b_bytes = whole(b, &b_len);

	assert_int_equal(a_len, b_len);
	assert_true(memcmp(a_bytes, b_bytes, a_len) == 0);
	free(a_bytes);
	free(b_bytes);
}

static bool is_there(const char *path)
{
	return access(path, F_OK) == 0;
}

static int copy_files(const struct place *p, const struct copy_options *options, struct copy_counts *counts,
                      struct error *err)
{
	const struct copy_end from = { disk_place_files(), p->from }, to = { disk_place_files(), p->to };

	return copy_disk(&from, &to, options, counts, err);
}

static int copy(const struct place *p, bool replace, struct copy_counts *counts)
{
	const struct copy_options options = { .replace = replace };
	struct error err = { 0 };
	int rc = copy_files(p, &options, counts, &err);

	if (rc < 0)
		assert_true(err.text[0] != '\0');
	return rc;
}

/* Breaks off after `steps` more steps. */
static bool stop_after(void *arg, uint64_t done, uint64_t total)
{
	unsigned *steps = arg;

	assert_true(done <= total);
	return (*steps)-- > 0;
}

static void holes_and_runs_of_zeros_stay_holes(void **state)
{
	struct place *p = *state;
	struct copy_counts counts;
	struct stat st;

	resize(p->from, 64 * MIB + 100);
	fill(p->from, 'a', 3000, 5 * MIB + 77);
	fill(p->from, 0, 2 * MIB, 10 * MIB); /* written zeros */
	fill(p->from, 'z', 100, 64 * MIB);
	assert_int_equal(copy(p, false, &counts), 0);
	assert_same(p->from, p->to);
	assert_false(is_there(p->part));
	assert_int_equal(counts.size, 64 * MIB + 100);
	assert_true(counts.written <= 2 * PIECE + 100);
	assert_int_equal(stat(p->to, &st), 0);
	assert_true((uint64_t)st.st_blocks * 512 < MIB);
}

static void an_empty_file_is_copied(void **state)
{
	struct place *p = *state;
	struct copy_counts counts;

	resize(p->from, 0);
	assert_int_equal(copy(p, false, &counts), 0);
	assert_same(p->from, p->to);
}

static void what_was_broken_off_has_no_name_and_goes_on_without_writing_twice(void **state)
{
	struct place *p = *state;
	struct copy_counts counts;
	struct error err = { 0 };
	unsigned steps = 5;
	const struct copy_options options = { .step = stop_after, .arg = &steps };

	fill(p->from, 'q', 12 * MIB, 0);
	assert_int_equal(copy_files(p, &options, &counts, &err), -EINTR);
	assert_true(counts.part_left);
	assert_false(is_there(p->to));
	assert_true(is_there(p->part));
	assert_int_equal(counts.written, 6 * MIB);

	assert_int_equal(copy(p, false, &counts), 0);
	assert_int_equal(counts.written, 6 * MIB);
	assert_false(counts.part_left);
	assert_same(p->from, p->to);
}

static void a_source_that_changed_between_two_runs_is_copied_as_it_is_now(void **state)
{
	struct place *p = *state;
	struct copy_counts counts;
	struct error err = { 0 };
	unsigned steps = 8;
	const struct copy_options options = { .step = stop_after, .arg = &steps };

	fill(p->from, 'q', 10 * MIB, 0);
	assert_int_equal(copy_files(p, &options, &counts, &err), -EINTR);
	fill(p->from, 'r', 10, 3 * MIB + 5);
	fill(p->from, 0, 2 * PIECE, MIB); /* zeros now */
	resize(p->from, 7 * MIB + 1);     /* and shorter */
	resize(p->from, 9 * MIB + 1);     /* with a hole where data was */
	assert_int_equal(copy(p, false, &counts), 0);
	assert_same(p->from, p->to);
	assert_true(counts.written <= 2 * PIECE);
}

static void a_target_that_is_there_is_kept_unless_told_otherwise(void **state)
{
	struct place *p = *state;
	struct copy_counts counts;
	size_t len;
	uint8_t *bytes;

	fill(p->from, 'n', 1000, 0);
	fill(p->to, 'o', 10, 0);
	assert_int_equal(copy(p, false, &counts), -EEXIST);
	assert_false(counts.part_left);
	assert_false(is_there(p->part));
	bytes = whole(p->to, &len);
	assert_int_equal(len, 10);
	free(bytes);

	assert_int_equal(copy(p, true, &counts), 0);
	assert_same(p->from, p->to);
}

static void a_copy_that_is_whole_already_is_found_so(void **state)
{
	struct place *p = *state;
	struct copy_counts counts;

	resize(p->from, 9 * MIB + 3);
	fill(p->from, 'n', 100, 2 * MIB - 50);
	fill(p->from, 'm', 3, 9 * MIB);
	assert_int_equal(copy(p, false, &counts), 0);
	assert_false(counts.same_before);
	assert_int_equal(copy(p, false, &counts), 0);
	assert_true(counts.same_before);
	assert_int_equal(counts.written, 0);
	assert_false(is_there(p->part));
	fill(p->to, 'x', 1, 9 * MIB + 2);
	assert_int_equal(copy(p, false, &counts), -EEXIST);
	fill(p->to, 'm', 1, 9 * MIB + 2);
	fill(p->to, 'x', 1, 5 * MIB); /* data where the source has a hole */
	assert_int_equal(copy(p, false, &counts), -EEXIST);
}

static void two_copies_to_one_target_do_not_mix(void **state)
{
	struct place *p = *state;
	struct copy_counts counts;
	int fd;

	fill(p->from, 'n', 1000, 0);
	fd = open(p->part, O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(copy(p, false, &counts), -EBUSY);
	assert_false(counts.part_left);
	close(fd);
	assert_int_equal(copy(p, false, &counts), 0);
}

static bool write_to_source(void *arg, uint64_t done, uint64_t total)
{
	const struct place *p = arg;

	if (done < total)
		fill(p->from, 'w', 1, 0);
	return true;
}

static void a_source_written_to_meanwhile_is_not_given_the_name(void **state)
{
	struct place *p = *state;
	struct copy_counts counts;
	struct error err = { 0 };
	const struct copy_options options = { .step = write_to_source, .arg = p };
	const struct timespec old[2] = { { 1000, 0 }, { 1000, 0 } }; /* so that the write shows in any clock's grain */

	fill(p->from, 'n', 2 * MIB, 0);
	assert_int_equal(utimensat(AT_FDCWD, p->from, old, 0), 0);
	assert_int_equal(copy_files(p, &options, &counts, &err), -EAGAIN);
	assert_false(is_there(p->to));
	assert_true(counts.part_left);
}

static void what_is_no_disk_is_refused(void **state)
{
	struct place *p = *state;
	struct copy_counts counts;

	assert_int_equal(copy(p, false, &counts), -ENOENT);
	assert_int_equal(mkfifo(p->to, 0600), 0);
	fill(p->from, 'n', 10, 0);
	assert_int_equal(copy(p, true, &counts), -EEXIST);
}

/* Random sources over the parts of random earlier ones, always against the source's own bytes. */
static void any_part_becomes_the_source(void **state)
{
	struct place *p = *state;
	const char *given = getenv("GARNER_TEST_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
	struct copy_counts counts;

	print_message("seed %u\n", seed);
	for (int round = 0; round < 40; round++) {
		for (int file = 0; file < 2; file++) {
			const char *path = file ? p->part : p->from;

			unlink(path);
			resize(path, rand_r(&seed) % (4 * (int)MIB));
			for (int i = rand_r(&seed) % 12; i > 0; i--)
				fill(path, rand_r(&seed) % 3, 1 + (size_t)rand_r(&seed) % (5 * PIECE),
				     rand_r(&seed) % (4 * (int)MIB));
		}
		unlink(p->to);
		assert_int_equal(copy(p, false, &counts), 0);
		assert_same(p->from, p->to);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(holes_and_runs_of_zeros_stay_holes, setup, teardown),
		cmocka_unit_test_setup_teardown(an_empty_file_is_copied, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_broken_off_has_no_name_and_goes_on_without_writing_twice,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(a_source_that_changed_between_two_runs_is_copied_as_it_is_now, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_target_that_is_there_is_kept_unless_told_otherwise, setup, teardown),
		cmocka_unit_test_setup_teardown(a_copy_that_is_whole_already_is_found_so, setup, teardown),
		cmocka_unit_test_setup_teardown(two_copies_to_one_target_do_not_mix, setup, teardown),
		cmocka_unit_test_setup_teardown(a_source_written_to_meanwhile_is_not_given_the_name, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_disk_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(any_part_becomes_the_source, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
