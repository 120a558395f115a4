/* SPDX-License-Identifier: GPL-3.0-only */
/* test_disk.c: the local file system behind its seam, and a disk that does everything by halves. */
#include "base/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[PATH_MAX / 4];

/* `name` in this test's directory. Good until the fourth call after. */
static const char *in_dir(const char *name)
{
	static char paths[4][PATH_MAX];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, PATH_MAX, "%s/%s", dir, name);
	return path;
}

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(dir, sizeof dir, "%s/garner-test-disk.XXXXXX", tmp ? tmp : "/tmp");
	return mkdtemp(dir) ? 0 : -1;
}

/* Each test removes what it made; one that failed leaves its directory to be looked at. */
static int teardown(void **state)
{
	(void)state;
	return rmdir(dir);
}

static bool is_dir(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void what_is_written_is_read_back(void **state)
{
	struct disk *d = disk_posix();
	const char *path = in_dir("f");
	char buf[32];

	(void)state;
	int fd = disk_open(d, path, O_RDWR | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(disk_pwrite(d, fd, "hello world", 11, 5), 0);
	assert_int_equal(disk_fdatasync(d, fd), 0);
	assert_int_equal(disk_pread(d, fd, buf, 11, 5), 11);
	assert_memory_equal(buf, "hello world", 11);
	/* Up to the end of the file, and past it. */
	assert_int_equal(disk_pread(d, fd, buf, sizeof buf, 11), 5);
	assert_memory_equal(buf, "world", 5);
	assert_int_equal(disk_pread(d, fd, buf, sizeof buf, 100), 0);
	assert_int_equal(disk_ftruncate(d, fd, 10), 0);
	assert_int_equal(disk_pread(d, fd, buf, sizeof buf, 0), 10);
	assert_int_equal(disk_close(d, fd), 0);
	assert_int_equal(disk_unlink(d, path), 0);
	assert_int_equal(disk_open(d, path, O_RDWR, 0), -ENOENT);
}

static void space_is_allocated_and_punched_out(void **state)
{
	struct disk *d = disk_posix();
	const char *path = in_dir("f");
	char buf[8];

	(void)state;
	int fd = disk_open(d, path, O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	int rc = disk_fallocate(d, fd, 0, 0, 1 << 20);
	if (rc == -EOPNOTSUPP) {
		assert_int_equal(disk_close(d, fd), 0);
		assert_int_equal(disk_unlink(d, path), 0);
		print_message("the file system of %s has no fallocate\n", dir);
		skip();
	}
	assert_int_equal(rc, 0);
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 1 << 20);
	assert_int_equal(disk_pwrite(d, fd, "abcdefgh", 8, 65536), 0);
	assert_int_equal(disk_fallocate(d, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 65536, 65536), 0);
	assert_int_equal(disk_pread(d, fd, buf, 8, 65536), 8);
	assert_memory_equal(buf, "\0\0\0\0\0\0\0\0", 8);
	assert_int_equal(disk_close(d, fd), 0);
	assert_int_equal(disk_unlink(d, path), 0);
}

static void errors_come_back_as_negative_errno(void **state)
{
	struct disk *d = disk_posix();
	char buf[8];

	(void)state;
	assert_int_equal(disk_close(d, -1), -EBADF);
	assert_int_equal(disk_pread(d, -1, buf, 8, 0), -EBADF);
	assert_int_equal(disk_pwrite(d, -1, buf, 8, 0), -EBADF);
	assert_int_equal(disk_fdatasync(d, -1), -EBADF);
	assert_int_equal(disk_fallocate(d, -1, 0, 0, 8), -EBADF);
	assert_int_equal(disk_ftruncate(d, -1, 0), -EBADF);
	assert_int_equal(disk_rename(d, in_dir("a"), in_dir("b")), -ENOENT);
	assert_int_equal(disk_link(d, in_dir("a"), in_dir("b")), -ENOENT);
	assert_int_equal(disk_unlink(d, in_dir("a")), -ENOENT);
	assert_int_equal(disk_mkdir(d, dir, 0700), -EEXIST);
	assert_int_equal(disk_rmdir(d, in_dir("a")), -ENOENT);
	assert_int_equal(disk_sync_dir(d, in_dir("a")), -ENOENT);
}

static void names_move_and_a_link_never_replaces(void **state)
{
	struct disk *d = disk_posix();

	(void)state;
	int fd = disk_open(d, in_dir("a"), O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(disk_close(d, fd), 0);
	assert_int_equal(disk_rename(d, in_dir("a"), in_dir("b")), 0);
	assert_int_equal(disk_link(d, in_dir("b"), in_dir("c")), 0);
	assert_int_equal(disk_link(d, in_dir("b"), in_dir("c")), -EEXIST);
	assert_int_equal(disk_sync_dir(d, dir), 0);
	assert_int_equal(disk_unlink(d, in_dir("b")), 0);
	assert_int_equal(disk_unlink(d, in_dir("c")), 0);
	assert_int_equal(disk_mkdir(d, in_dir("d"), 0700), 0);
	assert_int_equal(disk_rmdir(d, in_dir("d")), 0);
}

/* A disk that is interrupted every now and then, reads and writes only a few bytes at a time, and remembers what it was
 * asked to make and sync. */
static char history[4096];
static int write_error;

static bool interrupted(void)
{
	return rand() % 4 == 0;
}

static int half_open(struct disk *d, const char *path, int flags, mode_t mode)
{
	(void)d;
	return interrupted() ? -EINTR : disk_posix()->ops->open(disk_posix(), path, flags, mode);
}

static ssize_t half_pread(struct disk *d, int fd, void *buf, size_t len, uint64_t offset)
{
	(void)d;
	return interrupted() ? -EINTR
	                     : disk_posix()->ops->pread(disk_posix(), fd, buf, 1 + (size_t)rand() % len, offset);
}

static ssize_t half_pwritev(struct disk *d, int fd, const struct iovec *iov, int iovcnt, uint64_t offset)
{
	struct iovec some[4];
	int count = 1 + rand() % (iovcnt < 4 ? iovcnt : 4);

	(void)d;
	if (interrupted())
		return -EINTR;
	if (write_error)
		return write_error;
	memcpy(some, iov, sizeof *iov * (size_t)count);
	/* The last piece only in part, but never nothing at all. */
	if (some[count - 1].iov_len > 1)
		some[count - 1].iov_len = 1 + (size_t)rand() % some[count - 1].iov_len;
	for (int i = 0; i < count; i++)
		if (some[i].iov_len > 0)
			return disk_posix()->ops->pwritev(disk_posix(), fd, some, count, offset);
	return disk_posix()->ops->pwritev(disk_posix(), fd, iov, iovcnt < IOV_MAX ? iovcnt : IOV_MAX, offset);
}

static int half_close(struct disk *d, int fd)
{
	(void)d;
	return disk_posix()->ops->close(disk_posix(), fd);
}

static int half_mkdir(struct disk *d, const char *path, mode_t mode)
{
	int rc = disk_posix()->ops->mkdir(disk_posix(), path, mode);

	(void)d;
	if (rc == 0)
		snprintf(history + strlen(history), sizeof history - strlen(history), "mkdir %s %o;",
		         path + strlen(dir), (unsigned)mode);
	return rc;
}

static int half_sync_dir(struct disk *d, const char *path)
{
	(void)d;
	snprintf(history + strlen(history), sizeof history - strlen(history), "sync %s;", path + strlen(dir));
	return 0;
}

static struct disk *half_disk(void)
{
	static const struct disk_ops ops = {
		.open = half_open,
		.close = half_close,
		.pread = half_pread,
		.pwritev = half_pwritev,
		.mkdir = half_mkdir,
		.sync_dir = half_sync_dir,
	};
	static struct disk disk = { .ops = &ops };

	history[0] = '\0';
	write_error = 0;
	return &disk;
}

static void seed(void)
{
	const char *given = getenv("GARNER_TEST_SEED");
	unsigned s = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);

	print_message("GARNER_TEST_SEED=%u\n", s);
	srand(s);
}

static void short_and_interrupted_transfers_are_continued(void **state)
{
	enum { BYTES = 3000, PIECES = 9 };
	struct disk *d = half_disk();
	const char *path = in_dir("f");
	uint8_t data[BYTES], back[BYTES];

	(void)state;
	seed();
	int fd = disk_open(d, path, O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	for (unsigned round = 0; round < 200; round++) {
		struct iovec iov[PIECES], before[PIECES];
		size_t used = 0;
		for (size_t i = 0; i < PIECES; i++) {
			size_t left = BYTES - used;
			size_t len = i + 1 == PIECES ? left : (size_t)rand() % 3 ? (size_t)rand() % (left / 2 + 1) : 0;
			iov[i] = (struct iovec){ .iov_base = data + used, .iov_len = len };
			used += len;
		}
		for (size_t i = 0; i < BYTES; i++)
			data[i] = (uint8_t)rand();
		memcpy(before, iov, sizeof iov);
		assert_int_equal(disk_pwritev(d, fd, iov, PIECES, 100), 0);
		assert_memory_equal(before, iov, sizeof iov);
		memset(back, 0, sizeof back);
		assert_int_equal(disk_pread(d, fd, back, BYTES, 100), BYTES);
		assert_memory_equal(back, data, BYTES);
	}
	/* The end of the file ends a read that asks for more. */
	assert_int_equal(disk_pread(d, fd, back, BYTES, 200), BYTES - 100);
	write_error = -ENOSPC;
	assert_int_equal(disk_pwrite(d, fd, data, 10, 0), -ENOSPC);
	assert_int_equal(disk_pwritev(d, fd, NULL, 0, 0), 0);
	assert_int_equal(disk_close(d, fd), 0);
	assert_int_equal(disk_unlink(disk_posix(), path), 0);
}

static void more_pieces_than_the_system_takes_at_once_are_written(void **state)
{
	enum { PIECES = 2500 };
	struct disk *d = disk_posix();
	const char *path = in_dir("f");
	static struct iovec iov[PIECES];
	static uint8_t data[PIECES * 3], back[PIECES * 3];

	(void)state;
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)(i * 7 + i / 256);
	for (size_t i = 0; i < PIECES; i++)
		iov[i] = (struct iovec){ .iov_base = data + 3 * i, .iov_len = 3 };
	int fd = disk_open(d, path, O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(disk_pwritev(d, fd, iov, PIECES, 0), 0);
	assert_int_equal(disk_pread(d, fd, back, sizeof back, 0), sizeof back);
	assert_memory_equal(back, data, sizeof data);
	assert_int_equal(disk_close(d, fd), 0);
	assert_int_equal(disk_unlink(d, path), 0);
}

/* Unlinks it, up to the last that *arg allows. */
static int unlink_one(void *arg, const char *path)
{
	int *left = arg;

	if (!*left)
		return -EDQUOT;
	--*left;
	return disk_unlink(disk_posix(), path);
}

static void each_file_is_met_once_until_one_says_stop(void **state)
{
	static const char *const names[] = { "1", "2", ".hidden", "3" };
	int left = 2;

	(void)state;
	for (int i = 0; i < 4; i++)
		close(open(in_dir(names[i]), O_CREAT | O_WRONLY, 0600));
	assert_int_equal(disk_each_file(dir, unlink_one, &left), -EDQUOT);
	left = 2;
	assert_int_equal(disk_each_file(dir, unlink_one, &left), 0);
	assert_int_equal(left, 1);
	assert_int_equal(unlink(in_dir(".hidden")), 0);
	assert_int_equal(disk_each_file(in_dir("none"), unlink_one, &left), 0);
	close(open(in_dir("f"), O_CREAT | O_WRONLY, 0600));
	assert_int_equal(disk_each_file(in_dir("f"), unlink_one, &left), -ENOTDIR);
	assert_int_equal(unlink(in_dir("f")), 0);
	assert_int_equal(left, 1);
}

static void a_path_is_made_from_the_top_and_each_new_entry_is_synced(void **state)
{
	struct disk *d = half_disk();

	(void)state;
	assert_int_equal(disk_make_path(d, in_dir("a//b/c/")), 0);
	assert_true(is_dir(in_dir("a/b/c")));
	assert_string_equal(history, "mkdir /a 700;sync ;mkdir /a//b 700;sync /a;mkdir /a//b/c 700;sync /a//b;");

	/* Again: nothing to make, nothing to sync. */
	history[0] = '\0';
	assert_int_equal(disk_make_path(d, in_dir("a/b/c")), 0);
	assert_string_equal(history, "");

	assert_int_equal(disk_make_path(d, in_dir("a/b/x")), 0);
	assert_string_equal(history, "mkdir /a/b/x 700;sync /a/b;");

	assert_int_equal(rmdir(in_dir("a/b/x")), 0);
	assert_int_equal(rmdir(in_dir("a/b/c")), 0);
	assert_int_equal(rmdir(in_dir("a/b")), 0);
	assert_int_equal(rmdir(in_dir("a")), 0);
}

static void a_file_in_the_way_of_a_path_is_an_error(void **state)
{
	struct disk *d = disk_posix();

	(void)state;
	int fd = disk_open(d, in_dir("file"), O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(disk_close(d, fd), 0);
	assert_int_equal(disk_make_path(d, in_dir("file")), -ENOTDIR);
	assert_int_equal(disk_make_path(d, in_dir("file/below")), -ENOTDIR);
	assert_int_equal(disk_make_path(d, ""), -ENOENT);
	assert_int_equal(disk_make_path(d, "/"), 0);
	assert_int_equal(disk_unlink(d, in_dir("file")), 0);
}

static void a_relative_path_is_made_below_the_working_directory(void **state)
{
	char before[PATH_MAX];

	(void)state;
	assert_non_null(getcwd(before, sizeof before));
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(disk_make_path(disk_posix(), "x/y"), 0);
	assert_int_equal(disk_make_path(disk_posix(), "z"), 0);
	assert_int_equal(chdir(before), 0);
	assert_int_equal(rmdir(in_dir("x/y")), 0);
	assert_int_equal(rmdir(in_dir("x")), 0);
	assert_int_equal(rmdir(in_dir("z")), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_written_is_read_back),
		TEST(space_is_allocated_and_punched_out),
		TEST(errors_come_back_as_negative_errno),
		TEST(names_move_and_a_link_never_replaces),
		TEST(short_and_interrupted_transfers_are_continued),
		TEST(more_pieces_than_the_system_takes_at_once_are_written),
		TEST(each_file_is_met_once_until_one_says_stop),
		TEST(a_path_is_made_from_the_top_and_each_new_entry_is_synced),
		TEST(a_file_in_the_way_of_a_path_is_an_error),
		TEST(a_relative_path_is_made_below_the_working_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
