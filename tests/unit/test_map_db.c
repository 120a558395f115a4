/* SPDX-License-Identifier: GPL-3.0-only */
/* test_map_db.c: maps in SQLite: what was saved comes back, damage is found, and a checkpoint is all or nothing. */
#include "map/map_db.h"

#include "map/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define IMAGE 0xfedcba9876543210ull /* over INT64_MAX: ids are unsigned */
#define OTHER 7ull

struct fixture {
	char dir[PATH_MAX - 32];
	char path[PATH_MAX];
	struct map_db *db;
	struct map_budget *budget;
	struct grain_map *map;
	struct error err;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	const char *tmp = getenv("TMPDIR");

	assert_non_null(f);
	snprintf(f->dir, sizeof f->dir, "%s/test_map_db.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof f->path, "%s/garner.db", f->dir);
	assert_int_equal(map_db_open(f->path, false, &f->db, &f->err), 0);
	f->budget = map_budget_new(64 << 20);
	f->map = grain_map_new(f->budget);
	assert_true(f->budget && f->map);
	*state = f;
	return 0;
}

static void remove_files(const struct fixture *f)
{
	static const char *const names[] = { "garner.db",         "garner.db-wal", "garner.db-shm",
		                             "garner.db-journal", "copy",          "copy-wal" };
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		snprintf(path, sizeof path, "%s/%s", f->dir, names[i]);
		if (unlink(path) < 0)
			assert_int_equal(errno, ENOENT);
	}
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	map_db_close(f->db);
	grain_map_free(f->map);
	map_budget_free(f->budget);
	remove_files(f);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static void reopen(struct fixture *f, bool check)
{
	map_db_close(f->db);
	f->db = NULL;
	if (map_db_open(f->path, check, &f->db, &f->err) < 0)
		fail_msg("%s", f->err.text);
}

/* A state that differs in every field for every `n`. */
static struct map_state state_of(uint64_t n)
{
	struct map_state s = {
		.position = { .segment = n * 10 + 1, .record = (uint32_t)n * 10 + 2 },
		.size = n * 10 + 3,
		.allocated = n * 10 + 4,
		.mtime_ns = UINT64_MAX - n,
		.checkpoint = { .segment = n * 10 + 6, .record = (uint32_t)n * 10 + 7 },
		.checkpoint_root = map_entry(1, n + 1, 9),
		.segment_created_ns = n * 10 + 8,
		.clean = n % 2,
		.remapped = n / 2 % 2,
	};

	memset(s.prev_digest, (int)n + 1, sizeof s.prev_digest);
	return s;
}

static void assert_state(struct fixture *f, uint64_t image, uint64_t n)
{
	struct map_state want = state_of(n), got;

	memset(&got, 0, sizeof got);
	assert_int_equal(map_db_load_state(f->db, image, &got, &f->err), 0);
	assert_int_equal(log_position_compare(got.position, want.position), 0);
	assert_int_equal(log_position_compare(got.checkpoint, want.checkpoint), 0);
	assert_true(got.size == want.size && got.allocated == want.allocated && got.mtime_ns == want.mtime_ns);
	assert_true(got.checkpoint_root == want.checkpoint_root);
	assert_memory_equal(got.prev_digest, want.prev_digest, sizeof got.prev_digest);
	assert_true(got.segment_created_ns == want.segment_created_ns && got.clean == want.clean &&
	            got.remapped == want.remapped);
}

/* Writes one grain in each of `count` leaves from `leaf`, and saves with state `n`. */
static int save(struct fixture *f, uint64_t image, uint64_t leaf, size_t count, uint64_t n)
{
	struct map_state s = state_of(n);
	struct map_need need;
	struct map_batch *b;
	int rc;

	for (size_t i = 0; i < count; i++) {
		map_entry_t e = map_entry(0, n + 1, (uint32_t)(leaf + i) & 8191);
		grain_no_t grain = (leaf + i) * MAP_FANOUT + (leaf + i) % MAP_FANOUT;

		assert_int_equal(grain_map_pin(f->map, grain, 1, false, &need), 0);
		grain_map_update(f->map, grain, 1, &e);
		grain_map_unpin(f->map, grain, 1);
	}
	b = grain_map_freeze(f->map);
	assert_non_null(b);
	rc = map_db_save(f->db, image, &s, b, &f->err);
	grain_map_thaw(f->map, b, rc == 0);
	return rc;
}

static void assert_leaf(struct fixture *f, uint64_t image, uint64_t leaf, uint64_t n)
{
	map_entry_t entries[MAP_FANOUT];

	if (map_db_load_node(f->db, image, 0, leaf, entries, &f->err) < 0)
		fail_msg("leaf %llu: %s", (unsigned long long)leaf, f->err.text);
	for (uint64_t i = 0; i < MAP_FANOUT; i++)
		assert_true(entries[i] == (i == leaf % MAP_FANOUT ? map_entry(0, n + 1, leaf & 8191) : MAP_ENTRY_NONE));
}

static void nothing_is_there_at_first(void **state)
{
	struct fixture *f = *state;
	map_entry_t entries[MAP_FANOUT];
	struct map_state s;

	assert_int_equal(map_db_load_state(f->db, IMAGE, &s, &f->err), -ENOENT);
	assert_int_equal(map_db_load_node(f->db, IMAGE, 3, 0, entries, &f->err), -ENOENT);
	assert_int_equal(map_db_forget(f->db, IMAGE, &f->err), 0);
}

static void what_was_saved_is_there_after_reopening(void **state)
{
	struct fixture *f = *state;
	map_entry_t entries[MAP_FANOUT];

	assert_int_equal(save(f, IMAGE, 0, 600, 1), 0);
	assert_int_equal(save(f, IMAGE, 100, 3, 2), 0);
	reopen(f, true);
	assert_state(f, IMAGE, 2);
	assert_leaf(f, IMAGE, 0, 1);
	assert_leaf(f, IMAGE, 99, 1);
	assert_leaf(f, IMAGE, 102, 2);
	assert_leaf(f, IMAGE, 599, 1);
	assert_int_equal(map_db_load_node(f->db, IMAGE, 0, 600, entries, &f->err), -ENOENT);
	assert_int_equal(map_db_load_node(f->db, OTHER, 0, 0, entries, &f->err), -ENOENT);
	assert_int_equal(map_db_load_node(f->db, IMAGE, 1, 1, entries, &f->err), 0);
	assert_true(entries[87] == MAP_ENTRY_LOCAL && entries[88] == MAP_ENTRY_NONE);
}

static void the_ends_of_every_level_have_rows_of_their_own(void **state)
{
	struct fixture *f = *state;
	map_entry_t entries[MAP_FANOUT];

	assert_int_equal(save(f, IMAGE, 0, 1, 1), 0);
	assert_int_equal(save(f, IMAGE, MAP_GRAINS_MAX / MAP_FANOUT - 1, 1, 2), 0);
	reopen(f, false);
	assert_leaf(f, IMAGE, 0, 1);
	assert_leaf(f, IMAGE, MAP_GRAINS_MAX / MAP_FANOUT - 1, 2);
	for (unsigned level = 1; level < MAP_LEVELS; level++) {
		uint64_t last = (MAP_GRAINS_MAX - 1) >> (9 * (level + 1));

		assert_int_equal(map_db_load_node(f->db, IMAGE, level, last, entries, &f->err), 0);
		assert_true(entries[511] == MAP_ENTRY_LOCAL);
		assert_int_equal(map_db_load_node(f->db, IMAGE, level, 0, entries, &f->err), 0);
		assert_true(entries[0] == MAP_ENTRY_LOCAL);
	}
}

struct visit {
	size_t count;
	uint64_t last;
	uint64_t stop_at;
};

static int visit(void *arg, uint64_t index, const map_entry_t *entries)
{
	struct visit *v = arg;

	assert_true(v->count == 0 || index > v->last);
	assert_non_null(entries);
	v->last = index;
	v->count++;
	return index == v->stop_at ? -ECANCELED : 0;
}

static size_t changed(struct fixture *f, uint64_t image, unsigned level)
{
	struct visit v = { .stop_at = UINT64_MAX };

	assert_int_equal(map_db_each_changed(f->db, image, level, visit, &v, &f->err), 0);
	return v.count;
}

static void changed_nodes_come_in_order_by_level(void **state)
{
	struct fixture *f = *state;
	struct visit v = { .stop_at = 300 };

	assert_int_equal(changed(f, IMAGE, 0), 0);
	assert_int_equal(save(f, IMAGE, 0, 1024, 1), 0);
	assert_int_equal(save(f, IMAGE, 50, 10, 2), 0);
	assert_int_equal(changed(f, IMAGE, 0), 1024);
	assert_int_equal(changed(f, IMAGE, 1), 2);
	assert_int_equal(changed(f, IMAGE, 2), 1);
	assert_int_equal(changed(f, IMAGE, 3), 1);
	assert_int_equal(changed(f, OTHER, 0), 0);
	assert_int_equal(map_db_each_changed(f->db, IMAGE, 0, visit, &v, &f->err), -ECANCELED);
	assert_int_equal(v.count, 301);
}

static void a_checkpoint_shows_at_its_end_and_not_before(void **state)
{
	struct fixture *f = *state;
	map_entry_t inner[MAP_FANOUT] = { map_entry(0, 5, 5) }, entries[MAP_FANOUT];
	struct map_state s = state_of(9);

	assert_int_equal(save(f, IMAGE, 0, 5, 1), 0);
	assert_int_equal(map_db_checkpoint_begin(f->db, IMAGE, &f->err), 0);
	assert_int_equal(map_db_checkpoint_node(f->db, IMAGE, 1, 0, inner, &f->err), 0);
	assert_int_equal(map_db_load_node(f->db, IMAGE, 1, 0, entries, &f->err), 0);
	assert_true(entries[0] == MAP_ENTRY_LOCAL);
	assert_state(f, IMAGE, 1);
	assert_int_equal(changed(f, IMAGE, 0), 5);
	assert_int_equal(save(f, OTHER, 0, 5, 3), 0); /* another image goes on */
	assert_int_equal(save(f, IMAGE, 0, 5, 4), -EBUSY);
	assert_int_equal(map_db_checkpoint_begin(f->db, IMAGE, &f->err), -EBUSY);
	assert_int_equal(map_db_checkpoint_end(f->db, IMAGE, &s, true, &f->err), 0);
	assert_state(f, IMAGE, 9);
	assert_int_equal(map_db_load_node(f->db, IMAGE, 1, 0, entries, &f->err), 0);
	assert_true(entries[0] == inner[0]);
	for (unsigned level = 0; level < MAP_LEVELS; level++)
		assert_int_equal(changed(f, IMAGE, level), 0);
	assert_int_equal(changed(f, OTHER, 0), 5);
	assert_leaf(f, IMAGE, 4, 1);
	assert_int_equal(save(f, IMAGE, 3, 1, 10), 0);
	assert_int_equal(changed(f, IMAGE, 0), 5); /* the five of the refused save */
}

static void a_checkpoint_rolled_back_leaves_no_trace(void **state)
{
	struct fixture *f = *state;
	map_entry_t inner[MAP_FANOUT] = { map_entry(0, 5, 5) }, entries[MAP_FANOUT];

	assert_int_equal(save(f, IMAGE, 0, 5, 1), 0);
	assert_int_equal(map_db_checkpoint_begin(f->db, IMAGE, &f->err), 0);
	assert_int_equal(map_db_checkpoint_node(f->db, IMAGE, 1, 0, inner, &f->err), 0);
	assert_int_equal(map_db_checkpoint_end(f->db, IMAGE, NULL, false, &f->err), 0);
	assert_int_equal(map_db_checkpoint_end(f->db, IMAGE, NULL, false, &f->err), -EINVAL);
	assert_int_equal(map_db_checkpoint_node(f->db, IMAGE, 1, 0, inner, &f->err), -EINVAL);
	assert_state(f, IMAGE, 1);
	assert_int_equal(changed(f, IMAGE, 0), 5);
	assert_int_equal(map_db_load_node(f->db, IMAGE, 1, 0, entries, &f->err), 0);
	assert_true(entries[0] == MAP_ENTRY_LOCAL);
	/* One still open when the database is closed goes the same way. */
	assert_int_equal(map_db_checkpoint_begin(f->db, IMAGE, &f->err), 0);
	assert_int_equal(map_db_checkpoint_node(f->db, IMAGE, 1, 0, inner, &f->err), 0);
	reopen(f, false);
	assert_state(f, IMAGE, 1);
	assert_int_equal(changed(f, IMAGE, 0), 5);
}

/* A child process saves, begins a checkpoint and dies without closing. */
static void a_killed_process_leaves_its_finished_saves(void **state)
{
	struct fixture *f = *state;
	map_entry_t inner[MAP_FANOUT] = { map_entry(0, 5, 5) }, entries[MAP_FANOUT];
	int status;
	pid_t pid;

	map_db_close(f->db);
	f->db = NULL;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		bool good = map_db_open(f->path, false, &f->db, &f->err) == 0 && save(f, IMAGE, 0, 300, 1) == 0 &&
		            save(f, IMAGE, 10, 2, 2) == 0 && map_db_checkpoint_begin(f->db, IMAGE, &f->err) == 0 &&
		            map_db_checkpoint_node(f->db, IMAGE, 1, 0, inner, &f->err) == 0;

		_exit(good ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	if (map_db_open(f->path, true, &f->db, &f->err) < 0)
		fail_msg("%s", f->err.text);
	assert_state(f, IMAGE, 2);
	assert_leaf(f, IMAGE, 299, 1);
	assert_leaf(f, IMAGE, 11, 2);
	assert_int_equal(changed(f, IMAGE, 0), 300);
	assert_int_equal(map_db_load_node(f->db, IMAGE, 1, 0, entries, &f->err), 0);
	assert_true(entries[0] == MAP_ENTRY_LOCAL);
}

/* The WAL is cut at many places, as a power cut may leave it: what is there is one of the saves, whole. */
static void a_cut_wal_gives_one_of_the_saves_whole(void **state)
{
	struct fixture *f = *state;
	char wal[PATH_MAX + 8], copy[PATH_MAX + 8];
	uint8_t *db_bytes, *wal_bytes;
	size_t db_len, wal_len;
	bool seen[4] = { false };
	struct stat st;
	int fd;

	map_db_close(f->db); /* the schema is in the database, so that the WAL holds saves only */
	f->db = NULL;
	assert_int_equal(map_db_open(f->path, false, &f->db, &f->err), 0);
	for (uint64_t n = 1; n <= 3; n++)
		assert_int_equal(save(f, IMAGE, 0, 20, n), 0);
	snprintf(wal, sizeof wal, "%s-wal", f->path);
	assert_int_equal(stat(f->path, &st), 0);
	db_len = (size_t)st.st_size;
	assert_int_equal(stat(wal, &st), 0);
	wal_len = (size_t)st.st_size;
	db_bytes = malloc(db_len + 1);
	wal_bytes = malloc(wal_len + 1);
	fd = open(f->path, O_RDONLY);
	assert_int_equal(read(fd, db_bytes, db_len), db_len);
	close(fd);
	fd = open(wal, O_RDONLY);
	assert_int_equal(read(fd, wal_bytes, wal_len), wal_len);
	close(fd);
	map_db_close(f->db);
	f->db = NULL;
	snprintf(copy, sizeof copy, "%s/copy-wal", f->dir);
	for (size_t part = 0; part <= 40; part++) {
		size_t cut = wal_len * part / 40;
		char *path = strndup(copy, strlen(copy) - 4);
		struct map_state s = { .position = { .segment = 0 } };
		uint64_t n;
		int rc;

		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		assert_int_equal(write(fd, db_bytes, db_len), db_len);
		close(fd);
		fd = open(copy, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		assert_int_equal(write(fd, wal_bytes, cut), cut);
		close(fd);
		assert_int_equal(map_db_open(path, true, &f->db, &f->err), 0);
		rc = map_db_load_state(f->db, IMAGE, &s, &f->err);
		n = rc == -ENOENT ? 0 : s.position.segment / 10;
		assert_true(n <= 3);
		seen[n] = true;
		if (n > 0) {
			assert_state(f, IMAGE, n);
			assert_int_equal(changed(f, IMAGE, 0), 20);
		}
		for (uint64_t leaf = 0; n > 0 && leaf < 20; leaf++)
			assert_leaf(f, IMAGE, leaf, n);
		map_db_close(f->db);
		f->db = NULL;
		free(path);
	}
	assert_true(seen[0] && seen[1] && seen[2] && seen[3]);
	free(db_bytes);
	free(wal_bytes);
}

static void poke(const char *path, const char *sql)
{
	sqlite3 *raw;

	assert_int_equal(sqlite3_open(path, &raw), SQLITE_OK);
	if (sqlite3_exec(raw, sql, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(raw));
	assert_true(sqlite3_total_changes(raw) > 0);
	assert_int_equal(sqlite3_close(raw), SQLITE_OK);
}

static void poke_closed(struct fixture *f, const char *sql)
{
	map_db_close(f->db);
	f->db = NULL;
	poke(f->path, sql);
	assert_int_equal(map_db_open(f->path, true, &f->db, &f->err), 0);
}

static void damaged_rows_are_refused(void **state)
{
	struct fixture *f = *state;
	map_entry_t entries[MAP_FANOUT];
	struct map_state s;
	struct visit v = { .stop_at = UINT64_MAX };

	assert_int_equal(save(f, IMAGE, 0, 3, 1), 0);
	poke_closed(f, "UPDATE node SET entries = zeroblob(4096) WHERE key & 0xffffffff = 0");
	assert_int_equal(map_db_load_node(f->db, IMAGE, 0, 0, entries, &f->err), -EBADMSG);
	assert_int_equal(map_db_each_changed(f->db, IMAGE, 0, visit, &v, &f->err), -EBADMSG);
	/* A good row in another's place. */
	poke_closed(f, "UPDATE node SET (crc, entries) = (SELECT crc, entries FROM node WHERE key & 0xffffffff = 2)"
	               " WHERE key & 0xffffffff = 1");
	assert_int_equal(map_db_load_node(f->db, IMAGE, 0, 1, entries, &f->err), -EBADMSG);
	assert_leaf(f, IMAGE, 2, 1);
	poke_closed(f, "UPDATE node SET entries = x'00' WHERE key & 0xffffffff = 2");
	assert_int_equal(map_db_load_node(f->db, IMAGE, 0, 2, entries, &f->err), -EBADMSG);
	/* A mark whose row is gone must not be passed over: the checkpoint would lose the node. */
	poke_closed(f, "DELETE FROM node WHERE key & 0xffffffff = 0");
	assert_int_equal(map_db_load_node(f->db, IMAGE, 0, 0, entries, &f->err), -EBADMSG);
	v.count = 0;
	assert_int_equal(map_db_each_changed(f->db, IMAGE, 0, visit, &v, &f->err), -EBADMSG);
	poke_closed(f, "UPDATE image SET state = substr(state, 1, 95) || x'ff'");
	assert_int_equal(map_db_load_state(f->db, IMAGE, &s, &f->err), -EBADMSG);
	poke_closed(f, "UPDATE image SET state = x''");
	assert_int_equal(map_db_load_state(f->db, IMAGE, &s, &f->err), -EBADMSG);
}

static void save_and_close(struct fixture *f)
{
	assert_int_equal(save(f, IMAGE, 0, 200, 1), 0);
	map_db_close(f->db);
	f->db = NULL;
}

/* Overwrites `len` bytes of the closed file at random. Opening and reading may succeed or say -EBADMSG, but never give a wrong entry.
 * Returns whether the damage was found; it is undone. */
static bool damage_and_read(struct fixture *f, off_t at, size_t len, bool check)
{
	uint8_t was[512], is[512];
	int fd = open(f->path, O_RDWR), rc;

	assert_int_equal(pread(fd, was, len, at), len);
	for (size_t i = 0; i < len; i++)
		is[i] = was[i] ^ (uint8_t)(1 + rand() % 255);
	assert_int_equal(pwrite(fd, is, len, at), len);
	close(fd);
	rc = map_db_open(f->path, check, &f->db, &f->err);
	for (uint64_t leaf = 0; rc == 0 && leaf < 200; leaf++) {
		map_entry_t entries[MAP_FANOUT];

		rc = map_db_load_node(f->db, IMAGE, 0, leaf, entries, &f->err);
		if (rc == 0)
			assert_leaf(f, IMAGE, leaf, 1);
	}
	/* The image's own row may have become invisible: then all is rebuilt. */
	if (rc != 0 && rc != -EBADMSG && rc != -ENOENT)
		fail_msg("%zu bytes at %lld: %d %s", len, (long long)at, rc, f->err.text);
	map_db_close(f->db);
	f->db = NULL;
	fd = open(f->path, O_RDWR);
	assert_int_equal(pwrite(fd, was, len, at), len);
	close(fd);
	return rc != 0;
}

static off_t seeded_and_closed(struct fixture *f)
{
	const char *text = getenv("GARNER_TEST_SEED");
	unsigned seed = text ? (unsigned)strtoul(text, NULL, 0) : 4711;
	struct stat st;

	print_message("seed %u\n", seed);
	srand(seed);
	save_and_close(f);
	assert_int_equal(stat(f->path, &st), 0);
	return st.st_size;
}

static void flipped_bytes_are_never_believed(void **state)
{
	struct fixture *f = *state;
	off_t size = seeded_and_closed(f);
	unsigned found = 0;

	for (int round = 0; round < 150; round++)
		found += damage_and_read(f, rand() % size, 1, round % 2);
	assert_true(found > 50);
}

static void junk_sectors_are_never_believed(void **state)
{
	struct fixture *f = *state;
	off_t size = seeded_and_closed(f);
	unsigned found = 0;

	/* The first pages hold the schema. */
	for (int round = 0; round < 300; round++)
		found += damage_and_read(f, rand() % (round % 3 ? 65536 : size) & ~511, 512, round % 2);
	assert_true(found > 100);
}

static void a_cut_file_is_refused(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	save_and_close(f);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(truncate(f->path, st.st_size / 2 & ~4095), 0);
	assert_int_equal(map_db_open(f->path, true, &f->db, &f->err), -EBADMSG);
	assert_non_null(strstr(f->err.text, f->path));
	assert_int_equal(truncate(f->path, 5000), 0);
	assert_int_equal(map_db_open(f->path, true, &f->db, &f->err), -EBADMSG);
	assert_int_equal(truncate(f->path, 77), 0);
	assert_int_equal(map_db_open(f->path, false, &f->db, &f->err), -EBADMSG);
	assert_null(f->db);
}

static void a_file_of_garbage_is_refused(void **state)
{
	struct fixture *f = *state;
	FILE *file;

	save_and_close(f);
	file = fopen(f->path, "w");
	assert_non_null(file);
	for (int i = 0; i < 20000; i++)
		assert_true(fputc(i * 7 % 251, file) != EOF);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(map_db_open(f->path, false, &f->db, &f->err), -EBADMSG);
	assert_int_equal(unlink(f->path), 0); /* what the caller does: begin anew */
	assert_int_equal(map_db_open(f->path, false, &f->db, &f->err), 0);
}

static void a_database_of_another_kind_or_version_is_refused(void **state)
{
	struct fixture *f = *state;

	save_and_close(f);
	poke(f->path, "PRAGMA user_version = 2; DELETE FROM changed");
	assert_int_equal(map_db_open(f->path, false, &f->db, &f->err), -EBADMSG);
	poke(f->path, "PRAGMA user_version = 1; PRAGMA application_id = 5; DELETE FROM node WHERE key & 255 = 0");
	assert_int_equal(map_db_open(f->path, false, &f->db, &f->err), -EBADMSG);
	poke(f->path, "PRAGMA application_id = 0x67726e72; DELETE FROM node; DROP TABLE changed");
	assert_int_equal(map_db_open(f->path, false, &f->db, &f->err), -EBADMSG);
}

static void a_directory_that_is_not_there_is_told(void **state)
{
	struct fixture *f = *state;
	struct map_db *db = NULL;

	assert_int_equal(map_db_open("/nonexistent/garner.db", false, &db, &f->err), -ENOENT);
	assert_null(db);
}

static void a_second_opener_is_kept_out(void **state)
{
	struct fixture *f = *state;
	struct map_db *second = NULL;

	assert_int_equal(save(f, IMAGE, 0, 1, 1), 0);
	assert_int_equal(map_db_open(f->path, false, &second, &f->err), -EBUSY);
	assert_int_equal(save(f, IMAGE, 0, 1, 2), 0);
}

/* The file size limit makes writes fail as a full disk does. */
static void a_save_that_fails_leaves_the_one_before(void **state)
{
	struct fixture *f = *state;
	char wal[PATH_MAX + 8];
	struct stat st;
	int status;
	pid_t pid;

	assert_int_equal(save(f, IMAGE, 0, 50, 1), 0);
	map_db_close(f->db);
	f->db = NULL;
	snprintf(wal, sizeof wal, "%s-wal", f->path);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct rlimit limit;
		int rc = map_db_open(f->path, false, &f->db, &f->err);

		signal(SIGXFSZ, SIG_IGN);
		limit.rlim_cur = limit.rlim_max = 300000; /* the WAL gets this far */
		if (rc < 0 || setrlimit(RLIMIT_FSIZE, &limit) < 0)
			_exit(1);
		rc = save(f, IMAGE, 0, 3000, 2);
		if (rc != -EIO && rc != -ENOSPC)
			_exit(2);
		if (f->err.text[0] == 0)
			_exit(3);
		/* Still of use: the old rows are read, and a small save works. */
		assert_leaf(f, IMAGE, 49, 1);
		assert_state(f, IMAGE, 1);
		_exit(map_db_save(f->db, OTHER, &(struct map_state){ .size = 1 }, NULL, &f->err) == 0 ? 0 : 4);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(stat(wal, &st), 0);
	if (map_db_open(f->path, true, &f->db, &f->err) < 0)
		fail_msg("%s", f->err.text);
	assert_state(f, IMAGE, 1);
	for (uint64_t leaf = 0; leaf < 50; leaf++)
		assert_leaf(f, IMAGE, leaf, 1);
}

static void a_forgotten_image_is_gone_and_others_are_not(void **state)
{
	struct fixture *f = *state;
	map_entry_t entries[MAP_FANOUT];
	struct map_state s;

	assert_int_equal(save(f, IMAGE, 0, 1500, 1), 0);
	assert_int_equal(save(f, OTHER, 0, 3, 2), 0);
	assert_int_equal(map_db_forget(f->db, IMAGE, &f->err), 0);
	assert_int_equal(map_db_load_state(f->db, IMAGE, &s, &f->err), -ENOENT);
	assert_int_equal(map_db_load_node(f->db, IMAGE, 0, 1499, entries, &f->err), -ENOENT);
	assert_int_equal(changed(f, IMAGE, 0), 0);
	assert_state(f, OTHER, 2);
	assert_leaf(f, OTHER, 2, 2);
	assert_int_equal(changed(f, OTHER, 0), 3);
	assert_int_equal(save(f, IMAGE, 5, 1, 3), 0);
	assert_int_equal(map_db_load_node(f->db, IMAGE, 0, 1499, entries, &f->err), -ENOENT);
	assert_leaf(f, IMAGE, 5, 3);
}

static void forgetting_is_finished_after_a_crash(void **state)
{
	struct fixture *f = *state;
	map_entry_t entries[MAP_FANOUT];
	struct map_state s;

	assert_int_equal(save(f, IMAGE, 0, 30, 1), 0);
	poke_closed(f, "UPDATE image SET state = NULL"); /* as its first step leaves it */
	assert_int_equal(map_db_load_state(f->db, IMAGE, &s, &f->err), -ENOENT);
	assert_int_equal(map_db_load_node(f->db, IMAGE, 0, 3, entries, &f->err), -ENOENT);
	assert_int_equal(save(f, IMAGE, 7, 1, 2), 0);
	assert_leaf(f, IMAGE, 7, 2);
	assert_int_equal(map_db_load_node(f->db, IMAGE, 0, 3, entries, &f->err), -ENOENT);
}

static void cached_values_are_kept_and_replaced(void **state)
{
	struct fixture *f = *state;
	uint64_t version;
	void *value;
	size_t len;

	assert_int_equal(map_db_cache_get(f->db, "names/1/a", &version, &value, &len), -ENOENT);
	assert_int_equal(map_db_cache_put(f->db, "names/1/a", UINT64_MAX, "hello", 5), 0);
	assert_int_equal(map_db_cache_put(f->db, "names/1/b", 2, NULL, 0), 0);
	reopen(f, true);
	assert_int_equal(map_db_cache_get(f->db, "names/1/a", &version, &value, &len), 0);
	assert_true(version == UINT64_MAX && len == 5);
	assert_memory_equal(value, "hello", 5);
	free(value);
	assert_int_equal(map_db_cache_get(f->db, "names/1/b", &version, &value, &len), 0);
	assert_int_equal(len, 0);
	free(value);
	assert_int_equal(map_db_cache_put(f->db, "names/1/a", 3, "x", 1), 0);
	assert_int_equal(map_db_cache_get(f->db, "names/1/a", &version, &value, &len), 0);
	assert_true(version == 3 && len == 1);
	free(value);
	poke_closed(f, "UPDATE cache SET value = x'79' WHERE version = 3");
	assert_int_equal(map_db_cache_get(f->db, "names/1/a", &version, &value, &len), -EBADMSG);
	assert_int_equal(map_db_cache_remove(f->db, "names/1/a"), 0);
	assert_int_equal(map_db_cache_remove(f->db, "names/1/a"), 0);
	assert_int_equal(map_db_cache_get(f->db, "names/1/a", &version, &value, &len), -ENOENT);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(nothing_is_there_at_first),
		T(what_was_saved_is_there_after_reopening),
		T(the_ends_of_every_level_have_rows_of_their_own),
		T(changed_nodes_come_in_order_by_level),
		T(a_checkpoint_shows_at_its_end_and_not_before),
		T(a_checkpoint_rolled_back_leaves_no_trace),
		T(a_killed_process_leaves_its_finished_saves),
		T(a_cut_wal_gives_one_of_the_saves_whole),
		T(damaged_rows_are_refused),
		T(flipped_bytes_are_never_believed),
		T(junk_sectors_are_never_believed),
		T(a_cut_file_is_refused),
		T(a_file_of_garbage_is_refused),
		T(a_database_of_another_kind_or_version_is_refused),
		T(a_directory_that_is_not_there_is_told),
		T(a_second_opener_is_kept_out),
		T(a_save_that_fails_leaves_the_one_before),
		T(a_forgotten_image_is_gone_and_others_are_not),
		T(forgetting_is_finished_after_a_crash),
		T(cached_values_are_kept_and_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
