/* SPDX-License-Identifier: GPL-3.0-only */
/* test_spare.c: spare segment files: which are used again, which are not, and how many are kept. */
#include "log/spare.h"

#include "log/segment_file.h"

#include "lib/fault_disk.h"
#include "lib/remove_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES UINT64_C(196608)
#define KEEP 3u

struct place {
	char dir[200], spares[220];
	struct fault_disk disk;
	struct spare_pool *pool;
};

static void open_pool(struct place *p)
{
	assert_int_equal(spare_pool_new(&p->disk.disk, p->spares, KEEP, &p->pool, NULL), 0);
}

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");
	struct place *p = calloc(1, sizeof *p);

	assert_non_null(p);
	snprintf(p->dir, sizeof p->dir, "%.150s/test_spare.XXXXXX", tmp && *tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(p->dir));
	snprintf(p->spares, sizeof p->spares, "%s/spare", p->dir);
	fault_disk_init(&p->disk);
	open_pool(p);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	spare_pool_free(p->pool);
	fault_disk_destroy(&p->disk);
	assert_int_equal(remove_tree(p->dir), 0);
	free(p);
	return 0;
}

static unsigned files_in(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	assert_non_null(dir);
	for (struct dirent *e; (e = readdir(dir));)
		n += e->d_name[0] != '.';
	closedir(dir);
	return n;
}

/* A file of the cache that is no longer needed; the path lives until the next call. */
static const char *used_file(struct place *p, unsigned i, uint64_t bytes)
{
	static char path[300];

	snprintf(path, sizeof path, "%s/used-%u", p->dir, i);
	assert_int_equal(segment_file_make_spare(disk_posix(), path, bytes, false, NULL), 0);
	return path;
}

static ino_t inode_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_ino;
}

/* Takes one, and tells which file it is. The file is deleted. */
static ino_t take(struct place *p, uint64_t bytes)
{
	char *path;

	assert_int_equal(spare_take(p->pool, bytes, &path, NULL), 0);
	ino_t inode = inode_of(path);
	assert_int_equal(unlink(path), 0);
	free(path);
	return inode;
}

/* A file put into the directory by other means. */
static void put_file(struct place *p, const char *name)
{
	char path[300];

	snprintf(path, sizeof path, "%s/%s", p->spares, name);
	int fd = open(path, O_CREAT | O_EXCL | O_RDWR, 0600);
	assert_true(fd >= 0);
	assert_int_equal(close(fd), 0);
}

static void spare_is_made_with_all_its_blocks_when_there_is_none(void **state)
{
	struct place *p = *state;
	struct stat st;
	char *path;

	assert_int_equal(spare_take(p->pool, BYTES, &path, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, BYTES);
	assert_true((uint64_t)st.st_blocks * 512 >= BYTES);
	assert_int_equal(unlink(path), 0);
	free(path);
}

static void recycled_file_is_used_again(void **state)
{
	struct place *p = *state;
	const char *used = used_file(p, 1, BYTES);
	ino_t inode = inode_of(used);

	assert_int_equal(spare_give(p->pool, used, BYTES), 0);
	assert_int_equal(access(used, F_OK), -1);
	unsigned allocations = atomic_load(&p->disk.allocations);
	assert_true(take(p, BYTES) == inode);
	assert_int_equal(atomic_load(&p->disk.allocations), allocations);
	/* Once only. */
	take(p, BYTES);
	assert_int_equal(atomic_load(&p->disk.allocations), allocations + 1);
}

static void file_of_another_size_is_not_taken(void **state)
{
	struct place *p = *state;
	const char *used = used_file(p, 1, 2 * BYTES);
	ino_t inode = inode_of(used);
	struct stat st;
	char *path;

	assert_int_equal(spare_give(p->pool, used, 2 * BYTES), 0);
	assert_int_equal(spare_take(p->pool, BYTES, &path, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, BYTES);
	assert_true(st.st_ino != inode);
	assert_int_equal(unlink(path), 0);
	free(path);
	assert_true(take(p, 2 * BYTES) == inode);
}

static void no_more_are_kept_than_are_wanted(void **state)
{
	struct place *p = *state;

	for (unsigned i = 0; i < KEEP + 2; i++) {
		const char *used = used_file(p, i, BYTES);
		assert_int_equal(spare_give(p->pool, used, BYTES), 0);
		assert_int_equal(access(used, F_OK), -1);
		assert_int_equal(files_in(p->spares), i < KEEP ? i + 1 : KEEP);
	}
	/* Each size counts for itself. */
	assert_int_equal(spare_give(p->pool, used_file(p, 9, 2 * BYTES), 2 * BYTES), 0);
	assert_int_equal(files_in(p->spares), KEEP + 1);
}

static void spares_outlive_the_daemon(void **state)
{
	struct place *p = *state;
	ino_t inode[2];

	for (unsigned i = 0; i < 2; i++) {
		const char *used = used_file(p, i, (i + 1) * BYTES);
		inode[i] = inode_of(used);
		assert_int_equal(spare_give(p->pool, used, (i + 1) * BYTES), 0);
	}
	spare_pool_free(p->pool);
	open_pool(p);
	assert_true(take(p, 2 * BYTES) == inode[1]);
	assert_true(take(p, BYTES) == inode[0]);
}

static void half_made_and_foreign_files_are_swept_up_and_never_used(void **state)
{
	static const char *const names[] = {
		"0123456789abcdef-196608.new",
		"0123456789abcdef-196608.spare.tmp",
		"0123456789abcdef-196608",
		"0123456789abcdef-.spare",
		"notes.txt",
		"0000000000000007.seg",
	};
	struct place *p = *state;

	spare_pool_free(p->pool);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		put_file(p, names[i]);
	put_file(p, ".nfs0001");
	open_pool(p);
	assert_int_equal(files_in(p->spares), 0);
	unsigned allocations = atomic_load(&p->disk.allocations);
	take(p, BYTES);
	assert_int_equal(atomic_load(&p->disk.allocations), allocations + 1);
}

static void quiet_moments_fill_the_pool_with_written_files(void **state)
{
	struct place *p = *state;

	for (unsigned i = 0; i < KEEP; i++) {
		unsigned syncs = atomic_load(&p->disk.syncs);
		assert_int_equal(spare_refill(p->pool, BYTES), 1);
		assert_int_equal(atomic_load(&p->disk.syncs), syncs + 1);
		assert_int_equal(files_in(p->spares), i + 1);
	}
	assert_int_equal(spare_refill(p->pool, BYTES), 0);
	assert_int_equal(files_in(p->spares), KEEP);
	take(p, BYTES);
	assert_int_equal(spare_refill(p->pool, BYTES), 1);
}

static void dropping_all_gives_the_space_back(void **state)
{
	struct place *p = *state;

	assert_int_equal(spare_give(p->pool, used_file(p, 1, BYTES), BYTES), 0);
	assert_int_equal(spare_give(p->pool, used_file(p, 2, 2 * BYTES), 2 * BYTES), 0);
	assert_int_equal(spare_drop_all(p->pool), 3 * BYTES);
	assert_int_equal(files_in(p->spares), 0);
	assert_int_equal(spare_drop_all(p->pool), 0);
	take(p, BYTES);
}

static void full_disk_is_told_and_leaves_no_half_made_file(void **state)
{
	struct place *p = *state;
	struct error err = { 0 };
	char *path;

	atomic_store(&p->disk.allocate_error, -ENOSPC);
	assert_int_equal(spare_take(p->pool, BYTES, &path, &err), -ENOSPC);
	assert_null(path);
	assert_non_null(strstr(error_text(&err), p->spares));
	assert_int_equal(spare_refill(p->pool, BYTES), -ENOSPC);
	assert_int_equal(files_in(p->spares), 0);
}

static void file_that_cannot_be_renamed_is_not_in_the_pool(void **state)
{
	struct place *p = *state;
	const char *used = used_file(p, 1, BYTES);
	ino_t inode = inode_of(used);

	atomic_store(&p->disk.changes_left, 0);
	assert_int_equal(spare_give(p->pool, used, BYTES), -EIO);
	atomic_store(&p->disk.changes_left, 1 << 30);
	assert_true(inode_of(used) == inode);
	assert_true(take(p, BYTES) != inode);
}

static void directory_that_cannot_be_made_is_an_error(void **state)
{
	struct place *p = *state;
	struct spare_pool *pool = NULL;
	struct error err = { 0 };
	char path[300];

	put_file(p, "file");
	snprintf(path, sizeof path, "%s/file/spare", p->spares);
	assert_int_equal(spare_pool_new(&p->disk.disk, path, KEEP, &pool, &err), -ENOTDIR);
	assert_null(pool);
	assert_non_null(strstr(error_text(&err), path));
}

/* Takes, marks as its own, looks whether the mark stays, and gives back. */
static void *take_and_give(void *arg)
{
	struct place *p = arg;

	for (unsigned i = 0; i < 100; i++) {
		char *path;
		if (spare_take(p->pool, BYTES, &path, NULL))
			return "cannot take";
		int fd = open(path, O_RDWR);
		uintptr_t mine = (uintptr_t)&path, seen = 0;
		bool good = fd >= 0 && pwrite(fd, &mine, sizeof mine, 0) == sizeof mine && !sched_yield() &&
		            pread(fd, &seen, sizeof seen, 0) == sizeof seen && seen == mine;
		if (fd >= 0)
			close(fd);
		if (!good || spare_give(p->pool, path, BYTES))
			return "two have the same file";
		free(path);
	}
	return NULL;
}

static void no_file_is_given_to_two_threads(void **state)
{
	struct place *p = *state;
	pthread_t threads[4];
	void *failed[4];

	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, p), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], &failed[i]), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_null(failed[i]);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(spare_is_made_with_all_its_blocks_when_there_is_none),
		T(recycled_file_is_used_again),
		T(file_of_another_size_is_not_taken),
		T(no_more_are_kept_than_are_wanted),
		T(spares_outlive_the_daemon),
		T(half_made_and_foreign_files_are_swept_up_and_never_used),
		T(quiet_moments_fill_the_pool_with_written_files),
		T(dropping_all_gives_the_space_back),
		T(full_disk_is_told_and_leaves_no_half_made_file),
		T(file_that_cannot_be_renamed_is_not_in_the_pool),
		T(directory_that_cannot_be_made_is_an_error),
		T(no_file_is_given_to_two_threads),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
