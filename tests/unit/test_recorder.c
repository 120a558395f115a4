/* SPDX-License-Identifier: GPL-3.0-only */
/* test_recorder.c: the recording disk and the states it builds: what must be there, what may be missing, what cannot be. */
#include "lib/crash_state.h"
#include "lib/recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define STATES 400

struct place {
	char top[64], dir[96], out[96], path[512];
	struct recording *r;
	struct disk *d;
	uint64_t seed;
};

static int set_up(void **state)
{
	struct place *p = calloc(1, sizeof *p);
	const char *tmp = getenv("TMPDIR"), *seed = getenv("GARNER_TEST_SEED");

	assert_non_null(p);
	snprintf(p->top, sizeof p->top, "%.30s/garner-recorder-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(p->top));
	snprintf(p->dir, sizeof p->dir, "%s/disk", p->top);
	snprintf(p->out, sizeof p->out, "%s/state", p->top);
	assert_int_equal(mkdir(p->dir, 0700), 0);
	p->r = recording_new(p->dir);
	assert_non_null(p->r);
	p->d = recording_disk(p->r);
	p->seed = seed ? strtoull(seed, NULL, 0) : (uint64_t)getpid();
	printf("GARNER_TEST_SEED=%llu\n", (unsigned long long)p->seed);
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	struct place *p = *state;

	recording_free(p->r);
	crash_state_remove(p->top);
	free(p);
	return 0;
}

static const char *in(struct place *p, const char *dir, const char *name)
{
	snprintf(p->path, sizeof p->path, "%s/%s", dir, name);
	return p->path;
}

static int create(struct place *p, const char *name)
{
	int fd = disk_open(p->d, in(p, p->dir, name), O_RDWR | O_CREAT, 0600);

	assert_true(fd >= 0);
	return fd;
}

static void put(struct place *p, int fd, int c, size_t len, uint64_t offset)
{
	uint8_t buf[16384];

	assert_true(len <= sizeof buf);
	memset(buf, c, len);
	assert_int_equal(disk_pwrite(p->d, fd, buf, len, offset), 0);
}

/* Builds state number `i` of a cut at `cut` into p->out, which was removed before. */
static struct crash_state build(struct place *p, uint64_t cut, uint64_t i, enum crash_mode mode)
{
	struct crash_state s;

	assert_int_equal(crash_state_build(p->r, cut, p->seed * 1000003 + i, mode, p->out, &s), 0);
	return s;
}

static void drop(struct place *p)
{
	assert_int_equal(crash_state_remove(p->out), 0);
}

/* Reads a file of the state: its size, or -1 when it is not there. */
static ssize_t get(struct place *p, const char *name, uint8_t *buf, size_t len)
{
	int fd = open(in(p, p->out, name), O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return -1;
	memset(buf, 0xee, len);
	n = read(fd, buf, len);
	close(fd);
	return n;
}

static bool all(const uint8_t *buf, int c, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (buf[i] != (uint8_t)c)
			return false;
	return true;
}

static void what_was_synced_is_in_every_state(void **state)
{
	struct place *p = *state;
	int fd = create(p, "file");
	uint8_t buf[8192];

	put(p, fd, 'a', sizeof buf, 0);
	assert_int_equal(disk_fdatasync(p->d, fd), 0);
	assert_int_equal(disk_sync_dir(p->d, p->dir), 0);
	for (unsigned i = 0; i < STATES; i++) {
		build(p, recording_moments(p->r), i, CRASH_ANY);
		assert_int_equal(get(p, "file", buf, sizeof buf), sizeof buf);
		assert_true(all(buf, 'a', sizeof buf));
		drop(p);
	}
	disk_close(p->d, fd);
}

static void an_unsynced_write_may_be_missing_there_or_torn_by_sectors(void **state)
{
	struct place *p = *state;
	int fd = create(p, "file");
	unsigned missing = 0, there = 0, torn = 0;
	uint8_t buf[4096];

	put(p, fd, 'a', sizeof buf, 0);
	assert_int_equal(disk_fdatasync(p->d, fd), 0);
	assert_int_equal(disk_sync_dir(p->d, p->dir), 0);
	put(p, fd, 'b', sizeof buf, 0);
	for (unsigned i = 0; i < STATES; i++) {
		unsigned new = 0;
		build(p, recording_moments(p->r), i, CRASH_ANY);
		assert_int_equal(get(p, "file", buf, sizeof buf), sizeof buf);
		for (size_t s = 0; s < sizeof buf; s += 512) {
			assert_true(all(buf + s, 'a', 512) || all(buf + s, 'b', 512));
			new += buf[s] == 'b';
		}
		missing += new == 0;
		there += new == sizeof buf / 512;
		torn += new != 0 && new != sizeof buf / 512;
		drop(p);
	}
	assert_true(missing > STATES / 20);
	assert_true(there > STATES / 20);
	assert_true(torn > STATES / 20);
	disk_close(p->d, fd);
}

static void nothing_after_the_cut_is_there(void **state)
{
	struct place *p = *state;
	int fd = create(p, "file");
	uint8_t buf[512];
	uint64_t cut;

	put(p, fd, 'a', sizeof buf, 0);
	disk_fdatasync(p->d, fd);
	disk_sync_dir(p->d, p->dir);
	cut = recording_moments(p->r);
	recording_note(p->r, 0, 7);
	put(p, fd, 'b', sizeof buf, 0);
	disk_fdatasync(p->d, fd);
	for (unsigned i = 0; i < STATES / 4; i++) {
		struct crash_state s = build(p, cut, i, CRASH_ANY);
		assert_false(s.noted[0]);
		get(p, "file", buf, sizeof buf);
		assert_true(all(buf, 'a', sizeof buf));
		drop(p);
	}
	assert_true(build(p, recording_moments(p->r), 1, CRASH_NOTHING).noted[0]);
	get(p, "file", buf, sizeof buf);
	assert_true(all(buf, 'b', sizeof buf));
	drop(p);
	disk_close(p->d, fd);
}

static void a_sync_that_is_not_yet_answered_promises_nothing(void **state)
{
	struct place *p = *state;
	int fd = create(p, "file");
	unsigned missing = 0;
	uint8_t buf[512];
	uint64_t answered;

	disk_sync_dir(p->d, p->dir);
	put(p, fd, 'a', sizeof buf, 0);
	disk_fdatasync(p->d, fd);
	answered = recording_moments(p->r);
	for (unsigned i = 0; i < STATES; i++) {
		build(p, answered - 1, i, CRASH_ANY);
		missing += get(p, "file", buf, sizeof buf) == 0;
		drop(p);
		build(p, answered, i, CRASH_ANY);
		assert_int_equal(get(p, "file", buf, sizeof buf), sizeof buf);
		drop(p);
	}
	assert_true(missing > STATES / 20);
	disk_close(p->d, fd);
}

static void a_sector_with_a_later_write_holds_the_earlier_ones_too(void **state)
{
	struct place *p = *state;
	int fd = create(p, "file");
	uint8_t buf[512];

	disk_sync_dir(p->d, p->dir);
	put(p, fd, 'a', 100, 0);
	put(p, fd, 'b', 100, 100);
	put(p, fd, 'c', 100, 50);
	for (unsigned i = 0; i < STATES; i++) {
		build(p, recording_moments(p->r), i, CRASH_ANY);
		memset(buf, 0, sizeof buf);
		get(p, "file", buf, sizeof buf);
		if (buf[120] == 'b' || buf[60] == 'c')
			assert_int_equal(buf[0], 'a');
		if (buf[60] == 'c')
			assert_int_equal(buf[199], 'b');
		drop(p);
	}
	disk_close(p->d, fd);
}

static void small_writes_may_all_run_ahead_of_large_ones_or_stay_behind(void **state)
{
	struct place *p = *state;
	int fd = create(p, "file");
	unsigned small_missing = 0, large_missing = 0;
	uint8_t buf[8192];

	put(p, fd, 'o', sizeof buf, 0);
	disk_fdatasync(p->d, fd);
	disk_sync_dir(p->d, p->dir);
	put(p, fd, 'l', 4096, 4096);
	put(p, fd, 's', 4095, 0);
	for (unsigned i = 0; i < STATES; i++) {
		build(p, recording_moments(p->r), i, CRASH_SMALL_AHEAD);
		assert_int_equal(get(p, "file", buf, sizeof buf), sizeof buf);
		assert_true(all(buf, 's', 4095));
		large_missing += all(buf + 4096, 'o', 4096);
		drop(p);
		build(p, recording_moments(p->r), i, CRASH_SMALL_BEHIND);
		assert_int_equal(get(p, "file", buf, sizeof buf), sizeof buf);
		assert_true(all(buf + 4096, 'l', 4096));
		small_missing += all(buf, 'o', 4095);
		drop(p);
	}
	assert_true(large_missing > STATES / 20 && large_missing < STATES);
	assert_true(small_missing > STATES / 20 && small_missing < STATES);
	disk_close(p->d, fd);
}

static void a_new_name_is_certain_only_after_its_directory_was_synced(void **state)
{
	struct place *p = *state;
	unsigned absent = 0, dir_absent = 0;
	uint8_t buf[16];
	struct stat st;
	int fd = create(p, "file");

	disk_fdatasync(p->d, fd);
	assert_int_equal(disk_mkdir(p->d, in(p, p->dir, "sub"), 0700), 0);
	for (unsigned i = 0; i < STATES; i++) {
		build(p, recording_moments(p->r), i, CRASH_ANY);
		absent += get(p, "file", buf, sizeof buf) < 0;
		dir_absent += stat(in(p, p->out, "sub"), &st) < 0;
		if (stat(in(p, p->out, "sub"), &st) == 0)
			assert_int_equal(get(p, "file", buf, sizeof buf), 0); /* it came first */
		drop(p);
	}
	assert_true(absent > STATES / 20 && absent < STATES);
	assert_true(dir_absent >= absent);
	disk_sync_dir(p->d, p->dir);
	for (unsigned i = 0; i < STATES / 4; i++) {
		build(p, recording_moments(p->r), i, CRASH_ANY);
		assert_int_equal(get(p, "file", buf, sizeof buf), 0);
		drop(p);
	}
	disk_close(p->d, fd);
}

static void a_rename_is_there_in_both_directories_or_in_neither(void **state)
{
	struct place *p = *state;
	char from[512], to[512];
	unsigned old = 0, new = 0;
	uint8_t buf[16];
	int fd;

	assert_int_equal(disk_mkdir(p->d, in(p, p->dir, "a"), 0700), 0);
	assert_int_equal(disk_mkdir(p->d, in(p, p->dir, "b"), 0700), 0);
	fd = create(p, "a/file");
	put(p, fd, 'x', 16, 0);
	disk_fdatasync(p->d, fd);
	disk_close(p->d, fd);
	disk_sync_dir(p->d, p->dir);
	disk_sync_dir(p->d, in(p, p->dir, "a"));
	snprintf(from, sizeof from, "%s/a/file", p->dir);
	snprintf(to, sizeof to, "%s/b/file", p->dir);
	assert_int_equal(disk_rename(p->d, from, to), 0);
	for (unsigned i = 0; i < STATES; i++) {
		bool in_a, in_b;
		build(p, recording_moments(p->r), i, CRASH_ANY);
		in_a = get(p, "a/file", buf, sizeof buf) == 16;
		in_b = get(p, "b/file", buf, sizeof buf) == 16;
		assert_true(in_a != in_b);
		old += in_a;
		new += in_b;
		drop(p);
	}
	assert_true(old > STATES / 20 && new > STATES / 20);
	disk_sync_dir(p->d, in(p, p->dir, "b"));
	for (unsigned i = 0; i < STATES / 4; i++) {
		build(p, recording_moments(p->r), i, CRASH_ANY);
		assert_int_equal(get(p, "b/file", buf, sizeof buf), 16);
		assert_int_equal(get(p, "a/file", buf, sizeof buf), -1);
		drop(p);
	}
}

static void links_unlinks_and_what_was_there_before_are_kept(void **state)
{
	struct place *p = *state;
	char from[512], to[512];
	struct stat one, two;
	uint8_t buf[16];
	int fd = create(p, "first");

	put(p, fd, 'x', 16, 0);
	disk_fdatasync(p->d, fd);
	disk_close(p->d, fd);
	recording_free(p->r); /* from here on "first" is something of old */
	p->r = recording_new(p->dir);
	p->d = recording_disk(p->r);
	snprintf(from, sizeof from, "%s/first", p->dir);
	snprintf(to, sizeof to, "%s/second", p->dir);
	assert_int_equal(disk_link(p->d, from, to), 0);
	assert_int_equal(disk_link(p->d, from, to), -EEXIST);
	disk_sync_dir(p->d, p->dir);
	build(p, recording_moments(p->r), 0, CRASH_NOTHING);
	assert_int_equal(get(p, "first", buf, sizeof buf), 16);
	assert_int_equal(stat(in(p, p->out, "first"), &one), 0);
	assert_int_equal(stat(in(p, p->out, "second"), &two), 0);
	assert_true(one.st_ino == two.st_ino);
	drop(p);
	assert_int_equal(disk_unlink(p->d, from), 0);
	disk_sync_dir(p->d, p->dir);
	build(p, recording_moments(p->r), 0, CRASH_NOTHING);
	assert_int_equal(get(p, "first", buf, sizeof buf), -1);
	assert_int_equal(get(p, "second", buf, sizeof buf), 16);
	assert_true(all(buf, 'x', 16));
	drop(p);
}

static void truncating_and_punching_are_followed(void **state)
{
	struct place *p = *state;
	int fd = create(p, "file");
	unsigned longer = 0, shorter = 0;
	uint8_t buf[16384];
	struct stat st;

	put(p, fd, 'a', sizeof buf, 0);
	assert_int_equal(disk_fallocate(p->d, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096), 0);
	disk_fdatasync(p->d, fd);
	disk_sync_dir(p->d, p->dir);
	build(p, recording_moments(p->r), 0, CRASH_NOTHING);
	assert_int_equal(get(p, "file", buf, sizeof buf), sizeof buf);
	assert_true(all(buf, 'a', 4096) && all(buf + 4096, 0, 4096) && all(buf + 8192, 'a', 8192));
	assert_int_equal(stat(in(p, p->out, "file"), &st), 0);
	drop(p);
	assert_int_equal(disk_ftruncate(p->d, fd, 100), 0);
	assert_int_equal(disk_ftruncate(p->d, fd, 8192), 0);
	for (unsigned i = 0; i < STATES; i++) {
		ssize_t n;
		build(p, recording_moments(p->r), i, CRASH_ANY);
		n = get(p, "file", buf, sizeof buf);
		assert_true(n == sizeof buf || n == 100 || n == 8192);
		longer += n == sizeof buf;
		shorter += n == 100;
		if (n == 8192)
			assert_true(all(buf, 'a', 100) && all(buf + 100, 0, 8092));
		drop(p);
	}
	assert_true(longer > 0 && shorter > 0);
	disk_fdatasync(p->d, fd);
	build(p, recording_moments(p->r), 0, CRASH_NOTHING);
	assert_int_equal(get(p, "file", buf, sizeof buf), 8192);
	assert_true(all(buf, 'a', 100) && all(buf + 100, 0, 8092));
	drop(p);
	disk_close(p->d, fd);
}

static void a_killed_process_loses_nothing_that_was_answered(void **state)
{
	struct place *p = *state;
	int fd = create(p, "file");
	uint8_t buf[4096];

	put(p, fd, 'a', sizeof buf, 0);
	for (unsigned i = 0; i < 20; i++) {
		build(p, recording_moments(p->r), i, CRASH_KILLED);
		assert_int_equal(get(p, "file", buf, sizeof buf), sizeof buf);
		assert_true(all(buf, 'a', sizeof buf));
		drop(p);
	}
	disk_close(p->d, fd);
}

static void the_same_seed_builds_the_same_state(void **state)
{
	struct place *p = *state;
	int fd = create(p, "file");
	uint8_t one[16384], two[16384];

	for (unsigned i = 0; i < 64; i++)
		put(p, fd, 'a' + (int)(i % 26), 700, i * 200);
	for (unsigned i = 0; i < 50; i++) {
		ssize_t n;
		build(p, recording_moments(p->r), i, CRASH_ANY);
		n = get(p, "file", one, sizeof one);
		drop(p);
		build(p, recording_moments(p->r), i, CRASH_ANY);
		assert_int_equal(get(p, "file", two, sizeof two), n);
		assert_true(n < 0 || memcmp(one, two, (size_t)n) == 0);
		drop(p);
	}
	disk_close(p->d, fd);
}

static void a_forgotten_sync_shows(void **state)
{
	struct place *p = *state;
	int fd = create(p, "0001.seg");
	uint8_t buf[512];

	disk_sync_dir(p->d, p->dir);
	recording_forget_syncs(p->r, ".seg");
	put(p, fd, 'a', sizeof buf, 0);
	assert_int_equal(disk_fdatasync(p->d, fd), 0);
	build(p, recording_moments(p->r), 0, CRASH_NOTHING);
	assert_int_equal(get(p, "0001.seg", buf, sizeof buf), 0);
	drop(p);
	recording_forget_syncs(p->r, NULL);
	assert_int_equal(disk_fdatasync(p->d, fd), 0);
	build(p, recording_moments(p->r), 0, CRASH_NOTHING);
	assert_int_equal(get(p, "0001.seg", buf, sizeof buf), sizeof buf);
	drop(p);
	disk_close(p->d, fd);
}

struct writer {
	struct place *p;
	int fd, number;
};

static void *write_and_sync(void *arg)
{
	struct writer *w = arg;

	for (unsigned i = 0; i < 50; i++) {
		put(w->p, w->fd, 'a' + w->number, 512, ((uint64_t)w->number * 50 + i) * 512);
		disk_fdatasync(w->p->d, w->fd);
		recording_note(w->p->r, (unsigned)w->number, i + 1);
	}
	return NULL;
}

static void writers_on_many_threads_find_what_was_noted_after_their_sync(void **state)
{
	struct place *p = *state;
	int fd = create(p, "file");
	struct writer w[RECORDING_NOTE_KINDS];
	pthread_t t[RECORDING_NOTE_KINDS];
	static uint8_t buf[RECORDING_NOTE_KINDS * 50 * 512];

	disk_sync_dir(p->d, p->dir);
	for (int i = 0; i < RECORDING_NOTE_KINDS; i++) {
		w[i] = (struct writer){ p, fd, i };
		assert_int_equal(pthread_create(&t[i], NULL, write_and_sync, &w[i]), 0);
	}
	for (int i = 0; i < RECORDING_NOTE_KINDS; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	for (unsigned i = 0; i < STATES; i++) {
		struct crash_state s = build(p, (p->seed + i * 7919) % (recording_moments(p->r) + 1), i, CRASH_ANY);
		memset(buf, 0, sizeof buf);
		get(p, "file", buf, sizeof buf);
		for (unsigned k = 0; k < RECORDING_NOTE_KINDS; k++)
			if (s.noted[k])
				assert_true(all(buf + (size_t)k * 50 * 512, 'a' + (int)k, s.note[k] * 512));
		drop(p);
	}
	disk_close(p->d, fd);
}

static int run(sqlite3 *db, const char *sql)
{
	char *text = NULL;
	int rc = sqlite3_exec(db, sql, NULL, NULL, &text);

	if (rc != SQLITE_OK)
		fprintf(stderr, "%s: %s\n", sql, text ? text : "?");
	sqlite3_free(text);
	return rc;
}

static int64_t number(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *st;
	int64_t n = -1;

	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
		return -1;
	if (sqlite3_step(st) == SQLITE_ROW)
		n = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return n;
}

static bool is_sound(sqlite3 *db)
{
	sqlite3_stmt *st;
	bool sound = false;

	if (sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &st, NULL) != SQLITE_OK)
		return false;
	if (sqlite3_step(st) == SQLITE_ROW)
		sound = strcmp((const char *)sqlite3_column_text(st, 0), "ok") == 0;
	sqlite3_finalize(st);
	return sound;
}

static void sqlite_keeps_what_it_committed_in_every_state(void **state)
{
	struct place *p = *state;
	struct recording_counts counts;
	unsigned uncommitted = 0;
	sqlite3 *db;

	assert_int_equal(record_vfs_install(p->r), 0);
	assert_int_equal(sqlite3_open(in(p, p->dir, "db"), &db), SQLITE_OK);
	assert_int_equal(run(db, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
	                         "PRAGMA wal_autocheckpoint=8; CREATE TABLE t(n INTEGER PRIMARY KEY, x BLOB)"),
	                 SQLITE_OK);
	disk_sync_dir(p->d, p->dir);
	for (int i = 1; i <= 30; i++) {
		char sql[200];
		snprintf(sql, sizeof sql, "INSERT INTO t VALUES(%d, randomblob(3000))", i);
		assert_int_equal(run(db, sql), SQLITE_OK);
		recording_note(p->r, 0, (uint64_t)i);
	}
	sqlite3_close(db);
	record_vfs_remove();
	recording_counts(p->r, &counts);
	assert_true(counts.writes > 60 && counts.syncs > 30);
	assert_int_equal(counts.unseen, 0);

	for (unsigned i = 0; i < STATES / 2; i++) {
		struct crash_state s = build(p, (p->seed + i * 104729) % (recording_moments(p->r) + 1), i, CRASH_ANY);
		if (s.noted[0]) {
			int64_t rows;
			assert_int_equal(sqlite3_open(in(p, p->out, "db"), &db), SQLITE_OK);
			assert_true(is_sound(db));
			rows = number(db, "SELECT count(*) FROM t");
			assert_true(rows >= (int64_t)s.note[0]);
			assert_int_equal(number(db, "SELECT max(n) FROM t"), rows);
			uncommitted += rows > (int64_t)s.note[0];
			sqlite3_close(db);
		}
		drop(p);
	}
	printf("%u states with a commit that was not yet noted\n", uncommitted);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_synced_is_in_every_state, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_unsynced_write_may_be_missing_there_or_torn_by_sectors, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(nothing_after_the_cut_is_there, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_sync_that_is_not_yet_answered_promises_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_sector_with_a_later_write_holds_the_earlier_ones_too, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(small_writes_may_all_run_ahead_of_large_ones_or_stay_behind, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(a_new_name_is_certain_only_after_its_directory_was_synced, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(a_rename_is_there_in_both_directories_or_in_neither, set_up, tear_down),
		cmocka_unit_test_setup_teardown(links_unlinks_and_what_was_there_before_are_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(truncating_and_punching_are_followed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_killed_process_loses_nothing_that_was_answered, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_same_seed_builds_the_same_state, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_forgotten_sync_shows, set_up, tear_down),
		cmocka_unit_test_setup_teardown(writers_on_many_threads_find_what_was_noted_after_their_sync, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(sqlite_keeps_what_it_committed_in_every_state, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
