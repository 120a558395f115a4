/* SPDX-License-Identifier: GPL-3.0-only */
/* test_store_file.c: the store in a directory: all of an object or nothing, one winner, and nothing left lying about. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "store/store.h"
#include "lib/remove_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char dir[256];
static char root[300];

/* A disk that counts, and fails where the test says. The real operations do not look at their disk. */
static struct disk_ops faulty_ops;
static struct disk faulty = { .ops = &faulty_ops };
static atomic_int fail_write, fail_fdatasync, fail_sync_dir, fail_rename, fail_link, fail_read; /* errno, or 0 */
static atomic_int sync_dirs, fdatasyncs;
static char synced[20][400]; /* the directories, in order; for tests with one request at a time */

static ssize_t faulty_pwritev(struct disk *d, int fd, const struct iovec *iov, int iovcnt, uint64_t offset)
{
	return fail_write ? -fail_write : disk_posix()->ops->pwritev(d, fd, iov, iovcnt, offset);
}

static ssize_t faulty_pread(struct disk *d, int fd, void *buf, size_t len, uint64_t offset)
{
	return fail_read ? -fail_read : disk_posix()->ops->pread(d, fd, buf, len, offset);
}

static int faulty_fdatasync(struct disk *d, int fd)
{
	fdatasyncs++;
	return fail_fdatasync ? -fail_fdatasync : disk_posix()->ops->fdatasync(d, fd);
}

static int faulty_sync_dir(struct disk *d, const char *path)
{
	int n = sync_dirs++;

	if (n < 20)
		snprintf(synced[n], sizeof synced[n], "%s", path);
	return fail_sync_dir ? -fail_sync_dir : disk_posix()->ops->sync_dir(d, path);
}

static int faulty_rename(struct disk *d, const char *from, const char *to)
{
	return fail_rename ? -fail_rename : disk_posix()->ops->rename(d, from, to);
}

static int faulty_link(struct disk *d, const char *from, const char *to)
{
	return fail_link ? -fail_link : disk_posix()->ops->link(d, from, to);
}

static struct store *open_store(unsigned threads)
{
	struct store_options options = { .disk = &faulty, .create = true, .threads = threads };
	struct store *s = NULL;
	struct error err = { 0 };

	if (store_open(root, &options, &s, &err) != 0)
		fail_msg("%s", err.text);
	return s;
}

static size_t temporary_files(void)
{
	char path[400];
	struct dirent *d;
	size_t n = 0;
	DIR *dp;

	snprintf(path, sizeof path, "%s/.tmp", root);
	dp = opendir(path);
	if (!dp)
		return 0;
	while ((d = readdir(dp)) != NULL)
		n += d->d_name[0] != '.';
	closedir(dp);
	return n;
}

static void assert_object(struct store *s, const char *key, const char *text)
{
	char buf[100];
	size_t n = 0;

	assert_int_equal(store_get_wait(s, key, 0, buf, sizeof buf, &n, NULL), 0);
	assert_int_equal(n, strlen(text));
	assert_memory_equal(buf, text, n);
}

static void put_text(struct store *s, const char *key, const char *text)
{
	struct error err = { 0 };

	if (store_put_wait(s, key, text, strlen(text), 0, &err) != 0)
		fail_msg("%s", err.text);
}

static void what_was_put_is_got_in_any_part(void **state)
{
	struct store *s = open_store(0);
	uint64_t size = 0;
	char buf[20];
	size_t n;

	(void)state;
	put_text(s, "images/1/head", "0123456789");
	assert_object(s, "images/1/head", "0123456789");
	assert_int_equal(store_head_wait(s, "images/1/head", &size, NULL), 0);
	assert_int_equal(size, 10);
	assert_int_equal(store_get_wait(s, "images/1/head", 3, buf, 4, &n, NULL), 0);
	assert_int_equal(n, 4);
	assert_memory_equal(buf, "3456", 4);
	assert_int_equal(store_get_wait(s, "images/1/head", 8, buf, 4, &n, NULL), 0);
	assert_int_equal(n, 2);
	assert_int_equal(store_get_wait(s, "images/1/head", 10, buf, 4, &n, NULL), 0);
	assert_int_equal(n, 0);
	assert_int_equal(store_get_wait(s, "images/1/head", UINT64_MAX - 1, buf, 4, &n, NULL), 0);
	assert_int_equal(n, 0);
	assert_int_equal(store_get_wait(s, "images/1/head", INT64_MAX - 1, buf, 4, &n, NULL), 0);
	assert_int_equal(n, 0);
	assert_int_equal(temporary_files(), 0);
	store_close(s);
}

static void a_put_replaces_the_whole_object(void **state)
{
	struct store *s = open_store(0);

	(void)state;
	put_text(s, "k", "a long first text");
	put_text(s, "k", "short");
	assert_object(s, "k", "short");
	put_text(s, "k", "");
	assert_object(s, "k", "");
	store_close(s);
}

struct waiting {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	int answers, status;
};

static void answered(void *arg, int status, const struct error *err)
{
	struct waiting *w = arg;

	(void)err;
	pthread_mutex_lock(&w->mutex);
	w->answers++;
	w->status = status;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->mutex);
}

static void a_put_of_many_pieces_joins_them_and_needs_their_array_no_longer(void **state)
{
	enum { PIECES = 3000 };
	struct waiting w = { .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };
	struct store *s = open_store(0);
	struct iovec *iov = calloc(PIECES, sizeof *iov);
	uint8_t bytes[256], *back = malloc(2 * PIECES);
	size_t n = 0;

	(void)state;
	for (int i = 0; i < 256; i++)
		bytes[i] = (uint8_t)i;
	for (int i = 0; i < PIECES; i++)
		iov[i] = (struct iovec){ .iov_base = &bytes[i % 250], .iov_len = (size_t)i % 3 };
	store_put(s, "many", iov, PIECES, 0, answered, &w);
	free(iov);
	pthread_mutex_lock(&w.mutex);
	while (!w.answers)
		pthread_cond_wait(&w.cond, &w.mutex);
	pthread_mutex_unlock(&w.mutex);
	assert_int_equal(w.status, 0);
	assert_int_equal(store_get_wait(s, "many", 0, back, 2 * PIECES, &n, NULL), 0);
	assert_int_equal(n, PIECES);
	for (size_t i = 0, at = 0; i < PIECES; i++)
		for (size_t j = 0; j < i % 3; j++)
			assert_int_equal(back[at++], (i % 250 + j) % 256);
	free(back);
	store_close(s);
}

static void create_only_leaves_an_object_as_it_was(void **state)
{
	struct store *s = open_store(0);
	struct error err = { 0 };

	(void)state;
	assert_int_equal(store_put_wait(s, "images/1/epochs/1", "first", 5, STORE_PUT_CREATE_ONLY, &err), 0);
	assert_int_equal(store_put_wait(s, "images/1/epochs/1", "second", 6, STORE_PUT_CREATE_ONLY, &err), -EEXIST);
	assert_non_null(strstr(err.text, "images/1/epochs/1"));
	assert_object(s, "images/1/epochs/1", "first");
	assert_int_equal(temporary_files(), 0);
	store_close(s);
}

struct racer {
	struct store *store;
	pthread_barrier_t *start;
	int number;
	int wins[50];
};

static void *race(void *arg)
{
	struct racer *r = arg;
	char key[100];

	for (int i = 0; i < 50; i++) {
		int rc;

		snprintf(key, sizeof key, "images/%d/epochs/%d", i / 2, i);
		pthread_barrier_wait(r->start);
		rc = store_put_wait(r->store, key, &r->number, sizeof r->number, STORE_PUT_CREATE_ONLY, NULL);
		r->wins[i] = rc == 0 ? 1 : rc == -EEXIST ? 0 : 1000;
	}
	return NULL;
}

static void of_eight_who_create_at_once_one_wins(void **state)
{
	struct store *stores[2] = { open_store(8), open_store(8) }; /* as two hosts would */
	struct racer racers[8] = { 0 };
	pthread_barrier_t start;
	pthread_t threads[8];

	(void)state;
	assert_int_equal(pthread_barrier_init(&start, NULL, 8), 0);
	for (int i = 0; i < 8; i++) {
		racers[i] = (struct racer){ .store = stores[i % 2], .start = &start, .number = i };
		assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
	}
	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (int round = 0; round < 50; round++) {
		int wins = 0, winner = -1, content = -1;
		char key[100];

		for (int i = 0; i < 8; i++) {
			wins += racers[i].wins[round];
			if (racers[i].wins[round])
				winner = i;
		}
		assert_int_equal(wins, 1);
		snprintf(key, sizeof key, "images/%d/epochs/%d", round / 2, round);
		assert_int_equal(store_get_wait(stores[0], key, 0, &content, sizeof content, NULL, NULL), 0);
		assert_int_equal(content, winner);
	}
	assert_int_equal(temporary_files(), 0);
	pthread_barrier_destroy(&start);
	store_close(stores[0]);
	store_close(stores[1]);
}

static void what_is_not_there_is_said_to_be_absent(void **state)
{
	static const char *const absent[] = { "nothing", "no/such/place", "object/below", "place" };
	struct store *s = open_store(0);
	char buf[4];

	(void)state;
	put_text(s, "object", "x");
	put_text(s, "place/object", "x");
	for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++) {
		struct error err = { 0 };

		assert_int_equal(store_get_wait(s, absent[i], 0, buf, sizeof buf, NULL, &err), -ENOENT);
		assert_non_null(strstr(err.text, absent[i]));
		assert_int_equal(store_head_wait(s, absent[i], NULL, NULL), -ENOENT);
		assert_int_equal(store_remove_wait(s, absent[i], NULL), 0);
	}
	assert_object(s, "object", "x");
	assert_object(s, "place/object", "x");
	store_close(s);
}

static void a_key_that_is_none_is_refused_by_every_call(void **state)
{
	static const char *const bad[] = { "", "../escape", "/etc/passwd", ".tmp/x", "a//b", "a/" };
	struct store *s = open_store(0);
	char buf[4], longest[300];

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(store_put_wait(s, bad[i], "x", 1, 0, NULL), -EINVAL);
		assert_int_equal(store_get_wait(s, bad[i], 0, buf, 4, NULL, NULL), -EINVAL);
		assert_int_equal(store_head_wait(s, bad[i], NULL, NULL), -EINVAL);
		assert_int_equal(store_remove_wait(s, bad[i], NULL), -EINVAL);
	}
	memset(longest, 'k', sizeof longest);
	longest[STORE_KEY_MAX + 1] = '\0';
	assert_int_equal(store_put_wait(s, longest, "x", 1, 0, NULL), -EINVAL);
	longest[STORE_KEY_MAX] = '\0';
	assert_int_equal(store_put_wait(s, longest, "x", 1, 0, NULL), 0);
	store_close(s);
}

static void removing_the_last_object_removes_its_directories(void **state)
{
	struct store *s = open_store(0);
	char path[400];

	(void)state;
	put_text(s, "images/1/segments/1", "x");
	put_text(s, "images/2/segments/1", "x");
	assert_int_equal(store_remove_wait(s, "images/1/segments/1", NULL), 0);
	snprintf(path, sizeof path, "%s/images/1", root);
	assert_int_equal(access(path, F_OK), -1);
	assert_object(s, "images/2/segments/1", "x");
	assert_int_equal(store_remove_wait(s, "images/2/segments/1", NULL), 0);
	snprintf(path, sizeof path, "%s/images", root);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(access(root, F_OK), 0);
	store_close(s);
}

static atomic_bool stop_removing;

static void many_are_removed_at_once_and_a_failure_is_told(void **state)
{
	struct store *s = open_store(4);
	static char text[300][20];
	const char *keys[300];
	struct error err = { 0 };
	struct store_stats stats;

	(void)state;
	put_text(s, "other", "x");
	for (int i = 0; i < 300; i++) {
		snprintf(text[i], sizeof text[i], "d%d/%d", i % 7, i);
		keys[i] = text[i];
		if (i % 10 == 0)
			put_text(s, keys[i], "x");
	}
	assert_int_equal(store_remove_many_wait(s, keys, 300, &err), 0);
	for (int i = 0; i < 300; i++)
		assert_int_equal(store_head_wait(s, keys[i], NULL, NULL), -ENOENT);
	assert_object(s, "other", "x");
	store_get_stats(s, &stats);
	assert_int_equal(stats.removes, 300);
	fail_sync_dir = EIO;
	assert_int_equal(store_remove_many_wait(s, keys, 300, &err), -EIO);
	fail_sync_dir = 0;
	store_close(s);
}

static void *put_and_remove(void *arg)
{
	struct store *s = arg;
	long failures = 0;

	while (!stop_removing) {
		failures += store_put_wait(s, "a/b/c/other", "o", 1, 0, NULL) != 0;
		failures += store_remove_wait(s, "a/b/c/other", NULL) != 0;
	}
	return (void *)failures;
}

static void a_put_makes_again_the_directory_that_others_remove(void **state)
{
	struct store *s = open_store(4);
	pthread_t thread;
	void *failures;

	(void)state;
	stop_removing = false;
	assert_int_equal(pthread_create(&thread, NULL, put_and_remove, s), 0);
	for (int i = 0; i < 200; i++) {
		put_text(s, "a/b/c/mine", "m");
		assert_object(s, "a/b/c/mine", "m");
		assert_int_equal(store_remove_wait(s, "a/b/c/mine", NULL), 0);
	}
	stop_removing = true;
	assert_int_equal(pthread_join(thread, &failures), 0);
	assert_int_equal((long)failures, 0);
	store_close(s);
}

static void assert_synced(int n, const char *below)
{
	char path[400];

	snprintf(path, sizeof path, "%s%s", root, below);
	assert_string_equal(synced[n], path);
}

/* Without them the store cannot tell a directory from a later one of the same name, and syncs more often. */
static bool has_birth_times(void)
{
	struct statx stx;

	assert_int_equal(statx(AT_FDCWD, root, 0, STATX_BTIME, &stx), 0);
	return stx.stx_mask & STATX_BTIME;
}

static void directories_that_have_settled_are_synced_once_and_then_only_the_last(void **state)
{
	struct store *s = open_store(0);

	(void)state;
	sync_dirs = fdatasyncs = 0;
	put_text(s, "images/1/segments/1", "x");
	assert_int_equal(fdatasyncs, 1);
	assert_int_equal(sync_dirs, 4);
	assert_synced(0, "/images/1/segments");
	assert_synced(1, "/images/1");
	assert_synced(2, "/images");
	assert_synced(3, "");
	sleep(4);
	sync_dirs = 0;
	put_text(s, "images/1/segments/1", "y");
	assert_int_equal(sync_dirs, 4);
	if (!has_birth_times())
		print_message("no times of birth here: directories are synced every time\n");
	sync_dirs = 0;
	put_text(s, "images/1/segments/2", "x");
	assert_int_equal(sync_dirs, has_birth_times() ? 1 : 4);
	assert_synced(0, "/images/1/segments");
	store_close(s);
}

static void a_directory_that_another_made_is_made_durable_before_the_put_is_answered(void **state)
{
	struct store *s, *other = open_store(0);

	(void)state;
	put_text(other, "names/1/x", "x");
	store_close(other);
	s = open_store(0);
	sync_dirs = 0;
	put_text(s, "names/1/y", "y");
	assert_int_equal(sync_dirs, 3);
	assert_synced(1, "/names");
	assert_synced(2, "");
	store_close(s);
}

/* Every fault: the errno comes back, the text names the path, nothing is there and nothing is left. */
static void a_failed_put_leaves_nothing(void **state)
{
	static atomic_int *const faults[] = { &fail_write, &fail_fdatasync, &fail_rename };
	struct store *s = open_store(0);

	(void)state;
	put_text(s, "k", "old");
	for (size_t i = 0; i < 3; i++) {
		struct error err = { 0 };

		*faults[i] = ENOSPC;
		assert_int_equal(store_put_wait(s, "k", "new", 3, 0, &err), -ENOSPC);
		assert_non_null(strstr(err.text, root));
		assert_non_null(strstr(err.text, "No space left"));
		*faults[i] = 0;
		assert_object(s, "k", "old");
		assert_int_equal(temporary_files(), 0);
	}
	store_close(s);
}

static void a_directory_that_cannot_be_synced_fails_the_put_and_the_removal(void **state)
{
	struct store *s = open_store(0);
	struct error err = { 0 };

	(void)state;
	fail_sync_dir = EIO;
	assert_int_equal(store_put_wait(s, "k", "x", 1, 0, &err), -EIO);
	assert_non_null(strstr(err.text, "syncing directory"));
	assert_int_equal(store_remove_wait(s, "k", &err), -EIO);
	fail_sync_dir = 0;
	assert_int_equal(temporary_files(), 0);
	store_close(s);
}

static void a_file_system_without_hard_links_is_named_as_the_cause(void **state)
{
	struct store *s = open_store(0);
	struct error err = { 0 };

	(void)state;
	fail_link = EPERM;
	assert_int_equal(store_put_wait(s, "k", "x", 1, STORE_PUT_CREATE_ONLY, &err), -EPERM);
	fail_link = 0;
	assert_non_null(strstr(err.text, "hard links"));
	assert_int_equal(store_head_wait(s, "k", NULL, NULL), -ENOENT);
	assert_int_equal(temporary_files(), 0);
	store_close(s);
}

/* Links, and then answers as NFS does when its first answer was lost. */
static int link_twice(struct disk *d, const char *from, const char *to)
{
	int rc = disk_posix()->ops->link(d, from, to);

	return rc < 0 ? rc : -EEXIST;
}

static void a_link_that_was_made_wins_though_it_is_said_to_exist(void **state)
{
	struct store *s = open_store(0);

	(void)state;
	faulty_ops.link = link_twice;
	assert_int_equal(store_put_wait(s, "k", "x", 1, STORE_PUT_CREATE_ONLY, NULL), 0);
	assert_int_equal(store_put_wait(s, "k", "y", 1, STORE_PUT_CREATE_ONLY, NULL), -EEXIST);
	assert_object(s, "k", "x");
	store_close(s);
}

static void a_read_that_fails_names_the_path(void **state)
{
	struct store *s = open_store(0);
	struct error err = { 0 };
	char buf[4];

	(void)state;
	put_text(s, "some/key", "x");
	fail_read = EIO;
	assert_int_equal(store_get_wait(s, "some/key", 0, buf, 4, NULL, &err), -EIO);
	fail_read = 0;
	assert_non_null(strstr(err.text, "some/key"));
	store_close(s);
}

static void a_missing_directory_is_made_or_refused_with_advice(void **state)
{
	struct store_options options = { 0 };
	struct store *s;
	struct error err = { 0 };
	char deep[400], expected[900];

	(void)state;
	snprintf(deep, sizeof deep, "%s/x/y", root);
	snprintf(expected, sizeof expected, "no such directory: %s; create the pool with: garner init file://%s", deep,
	         deep);
	assert_int_equal(store_open(deep, &options, &s, &err), -ENOENT);
	assert_string_equal(err.text, expected);
	assert_int_equal(access(root, F_OK), -1);
	options.create = true;
	assert_int_equal(store_open(deep, &options, &s, &err), 0);
	store_close(s);
	options.create = false;
	assert_int_equal(store_open(deep, &options, &s, &err), 0);
	assert_int_equal(s->capabilities,
	                 STORE_CREATE_ONLY | STORE_LIST_CONSISTENT | STORE_DIRECTORY | STORE_READ_LATEST);
	store_close(s);
}

static void what_is_no_directory_is_refused(void **state)
{
	struct store_options options = { .create = true };
	struct store *s;
	struct error err = { 0 };
	int fd = open(root, O_CREAT | O_WRONLY, 0600);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(store_open(root, &options, &s, &err), -ENOTDIR);
	assert_non_null(strstr(err.text, root));
	assert_int_equal(unlink(root), 0);
}

static void a_directory_that_is_not_writable_is_refused(void **state)
{
	struct store *s;
	struct error err = { 0 };
	int rc;

	(void)state;
	assert_int_equal(mkdir(root, 0700), 0);
	assert_int_equal(chmod(root, 0500), 0);
	assert_int_equal(chmod(dir, 0755), 0);
	if (geteuid() == 0)
		assert_int_equal(seteuid(12345), 0);
	rc = store_open(root, NULL, &s, &err);
	if (getuid() == 0)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(rc, -EACCES);
	assert_non_null(strstr(err.text, root));
}

static void make_leftover(const char *name, time_t age, char path[400])
{
	struct timespec times[2];
	int fd;

	snprintf(path, 400, "%s/.tmp/%s", root, name);
	fd = open(path, O_CREAT | O_WRONLY | O_EXCL, 0600);
	assert_true(fd >= 0);
	close(fd);
	clock_gettime(CLOCK_REALTIME, &times[0]);
	times[0].tv_sec -= age;
	times[1] = times[0];
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void leftovers_older_than_an_hour_are_removed_at_open(void **state)
{
	char old[400], young[400];
	struct store *s = open_store(0);

	(void)state;
	put_text(s, "k", "x");
	store_close(s);
	make_leftover("1-old", 3700, old);
	make_leftover("2-young", 3500, young);
	s = open_store(0);
	assert_int_equal(access(old, F_OK), -1);
	assert_int_equal(access(young, F_OK), 0);
	assert_int_equal(temporary_files(), 1);
	assert_object(s, "k", "x");
	store_close(s);
}

static void closing_waits_for_what_is_under_way(void **state)
{
	struct waiting w = { .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };
	struct store *s = open_store(1);
	char key[20];

	(void)state;
	for (int i = 0; i < 50; i++) {
		snprintf(key, sizeof key, "k%d", i);
		store_put(s, key, &iov, 1, 0, answered, &w);
	}
	store_close(s);
	assert_int_equal(w.answers, 50);
}

struct listed {
	size_t count;
	struct store_entry last;
};

static int take(void *arg, const struct store_entry *e)
{
	struct listed *l = arg;

	if (l->count)
		assert_true(strcmp(e->key, l->last.key) > 0);
	l->count++;
	l->last = *e;
	return 0;
}

static void a_listing_shows_what_was_put_and_a_new_version_when_it_is_replaced(void **state)
{
	struct store *s = open_store(0);
	struct listed l = { 0 };
	uint64_t version;

	(void)state;
	put_text(s, "names/1/a", "x");
	put_text(s, "names/2/b", "xyz");
	assert_int_equal(store_list_each(s, "names/", NULL, take, &l, NULL), 0);
	assert_int_equal(l.count, 2);
	assert_string_equal(l.last.key, "names/2/b");
	assert_int_equal(l.last.size, 3);
	version = l.last.version;
	l = (struct listed){ 0 };
	assert_int_equal(store_list_each(s, "names/2", "names/2/a", take, &l, NULL), 0);
	assert_int_equal(l.count, 1);
	assert_true(l.last.version == version);
	put_text(s, "names/2/b", "xyZ");
	l = (struct listed){ 0 };
	assert_int_equal(store_list_each(s, "names/2/", NULL, take, &l, NULL), 0);
	assert_true(l.last.version != version);
	assert_int_equal(store_list_each(s, "../", NULL, take, &l, NULL), -EINVAL);
	store_close(s);
}

static void a_listing_of_more_than_a_page_is_complete(void **state)
{
	struct store *s = open_store(0);
	struct listed l = { 0 };
	char path[400];

	(void)state;
	put_text(s, "d/x", "x");
	for (int i = 0; i < 2100; i++) {
		int fd;

		snprintf(path, sizeof path, "%s/d/%d", root, i);
		fd = open(path, O_CREAT | O_WRONLY, 0600);
		assert_true(fd >= 0);
		close(fd);
	}
	assert_int_equal(store_list_each(s, "d", NULL, take, &l, NULL), 0);
	assert_int_equal(l.count, 2101);
	store_close(s);
}

static int make_dir(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(dir, sizeof dir, "%s/garner-store-file-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	snprintf(root, sizeof root, "%s/pool", dir);
	faulty_ops = *disk_posix()->ops;
	faulty_ops.pwritev = faulty_pwritev;
	faulty_ops.pread = faulty_pread;
	faulty_ops.fdatasync = faulty_fdatasync;
	faulty_ops.sync_dir = faulty_sync_dir;
	faulty_ops.rename = faulty_rename;
	faulty_ops.link = faulty_link;
	fail_write = fail_fdatasync = fail_sync_dir = fail_rename = fail_link = fail_read = 0;
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	return remove_tree(dir);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_put_is_got_in_any_part),
		TEST(a_put_replaces_the_whole_object),
		TEST(a_put_of_many_pieces_joins_them_and_needs_their_array_no_longer),
		TEST(create_only_leaves_an_object_as_it_was),
		TEST(of_eight_who_create_at_once_one_wins),
		TEST(what_is_not_there_is_said_to_be_absent),
		TEST(a_key_that_is_none_is_refused_by_every_call),
		TEST(removing_the_last_object_removes_its_directories),
		TEST(many_are_removed_at_once_and_a_failure_is_told),
		TEST(a_put_makes_again_the_directory_that_others_remove),
		TEST(directories_that_have_settled_are_synced_once_and_then_only_the_last),
		TEST(a_directory_that_another_made_is_made_durable_before_the_put_is_answered),
		TEST(a_failed_put_leaves_nothing),
		TEST(a_directory_that_cannot_be_synced_fails_the_put_and_the_removal),
		TEST(a_file_system_without_hard_links_is_named_as_the_cause),
		TEST(a_link_that_was_made_wins_though_it_is_said_to_exist),
		TEST(a_read_that_fails_names_the_path),
		TEST(a_missing_directory_is_made_or_refused_with_advice),
		TEST(what_is_no_directory_is_refused),
		TEST(a_directory_that_is_not_writable_is_refused),
		TEST(leftovers_older_than_an_hour_are_removed_at_open),
		TEST(closing_waits_for_what_is_under_way),
		TEST(a_listing_shows_what_was_put_and_a_new_version_when_it_is_replaced),
		TEST(a_listing_of_more_than_a_page_is_complete),
	};

	return cmocka_run_group_tests_name("store_file", tests, NULL, NULL);
}
