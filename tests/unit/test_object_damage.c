/* SPDX-License-Identifier: GPL-3.0-only */
/* test_object_damage.c: damaged objects and indexes of a storage node: nothing wrong is served, nothing that was stored is forgotten,
 * and all that can be put right is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/drive_faults.h"
#include "lib/object_wait.h"
#include "lib/remove_tree.h"
#include "node/object_file.h"
#include "node/object_scrub.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "pool/images/1/head"
#define BODY 200000u

static char dir[256];
static const char *drives[] = { dir };
static struct object_store *s;
static struct object_meta meta;
static uint8_t *bytes;
static size_t got;

static void start(void)
{
	struct error err = { 0 };

	if (open_drives(&s, NULL, 1, drives, 1, &err) != 0)
		fail_msg("%s", err.text);
}

static void stop(void)
{
	object_store_close(s);
	s = NULL;
}

static void recover(void)
{
	uint64_t loss;

	(void)object_store_state(s, &loss);
	assert_int_equal(object_store_recovered(s, loss), 0);
}

static void in_dir(const char *file, char out[400])
{
	snprintf(out, 400, "%s/%s", dir, file);
}

static void touch(const char *file)
{
	char path[400];

	in_dir(file, path);
	close(open(path, O_CREAT | O_WRONLY, 0600));
}

static void file_of(const char *name, uint64_t counter, unsigned flags, char out[400])
{
	struct object_meta of = { .version = version_of(counter), .flags = flags };
	struct object_file_id id;
	char file[OBJECT_FILE_NAME];

	object_file_id(name, &of, &id);
	object_file_name(&id, file);
	snprintf(out, 400, "%s/objects/%x/%s", dir, object_file_dir(&id), file);
}

static void flip(const char *path, off_t at, unsigned bit)
{
	uint8_t byte;
	int fd = open(path, O_RDWR);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= (uint8_t)(1u << bit);
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static off_t file_bytes(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

static unsigned files_in(const char *sub)
{
	char path[400];
	struct dirent *e;
	unsigned n = 0;

	in_dir(sub, path);
	DIR *d = opendir(path);
	assert_non_null(d);
	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static uint64_t damaged_now(void)
{
	struct object_store_stats stats;

	object_store_stats(s, &stats);
	assert_int_equal(stats.drive[0].quarantined, files_in("quarantine"));
	return stats.damaged;
}

static void assert_is_damaged(uint64_t counter)
{
	assert_int_equal(read_wait(s, NAME, 0, SIZE_MAX, &meta, &bytes, &got), -EBADMSG);
	assert_null(bytes);
	assert_int_equal(look_wait(s, NAME, &meta), 0);
	assert_true(meta.flags & OBJECT_DAMAGED);
	assert_int_equal(meta.length, BODY);
	assert_int_equal(object_version_compare(meta.version, version_of(counter)), 0);
}

/* ---- bits ---- */

static void a_flipped_bit_anywhere_in_a_file_is_found(void **state)
{
	struct random r = { .state = env_number("GARNER_TEST_SEED", (uint64_t)time(NULL)) };
	char path[400];
	struct stat st;

	(void)state;
	printf("GARNER_TEST_SEED=%llu\n", (unsigned long long)r.state);
	for (uint64_t i = 1; i <= 40; i++) {
		assert_int_equal(put_made(s, NAME, i, BODY, 0, OBJECT_RULE_NEWER, NULL), 0);
		file_of(NAME, i, 0, path);
		assert_int_equal(stat(path, &st), 0);
		/* In turn: the header, the body, anywhere. Sums are read for ranges only. */
		off_t end = i % 3 == 0 ? OBJECT_FILE_HEADER : i % 3 == 1 ? OBJECT_FILE_HEADER + BODY : st.st_size;
		off_t at = (off_t)random_below(&r, (uint64_t)end);
		flip(path, at, (unsigned)random_below(&r, 8));
		if (at >= (off_t)(OBJECT_FILE_HEADER + BODY)) {
			assert_int_equal(read_wait(s, NAME, 1, 5, &meta, &bytes, &got), -EBADMSG);
			free(bytes);
		}
		assert_is_damaged(i);
		assert_int_equal(damaged_now(), i);
	}
}

static void a_damaged_object_refuses_what_is_older_and_is_repaired_by_itself(void **state)
{
	struct object_put_result result;
	struct object_bucket whole[OBJECT_BUCKETS], damaged[OBJECT_BUCKETS];
	char path[400];

	(void)state;
	assert_int_equal(put_made(s, NAME, 5, BODY, OBJECT_CLAIMED, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(confirm_wait(s, NAME, 5), 0);
	assert_int_equal(buckets_wait(s, NULL, whole), 0);
	file_of(NAME, 5, OBJECT_CLAIMED, path);
	flip(path, 50000, 3);
	assert_is_damaged(5);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(put_made(s, NAME, 4, 10, 0, OBJECT_RULE_NEWER, NULL), -ESTALE);
		assert_int_equal(put_made(s, NAME, 6, 10, 0, OBJECT_RULE_ABSENT, &result), -EEXIST);
		assert_true(result.claimed);
		assert_int_equal(confirm_wait(s, NAME, 5), 0);
		assert_is_damaged(5);
		assert_int_equal(buckets_wait(s, NULL, damaged), 0);
		assert_memory_not_equal(whole, damaged, sizeof whole);
		/* Also after a restart, and without the index. */
		stop();
		if (i == 1) {
			in_dir("index.db", path);
			unlink(path);
		}
		start();
	}
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_NEW);
	assert_int_equal(put_made(s, NAME, 5, BODY, 0, OBJECT_RULE_NEWER, &result), 0);
	assert_false(result.already);
	assert_int_equal(read_made(s, NAME, 5, BODY), 0);
	assert_int_equal(look_wait(s, NAME, &meta), 0);
	assert_int_equal(meta.flags, OBJECT_CLAIMED);
	assert_int_equal(buckets_wait(s, NULL, damaged), 0);
	assert_memory_equal(whole, damaged, sizeof whole);
	stop();
	start();
	assert_int_equal(read_made(s, NAME, 5, BODY), 0);
}

static void a_range_is_read_although_another_block_is_damaged(void **state)
{
	char path[400];

	(void)state;
	assert_int_equal(put_made(s, NAME, 5, BODY, 0, OBJECT_RULE_NEWER, NULL), 0);
	file_of(NAME, 5, 0, path);
	flip(path, OBJECT_FILE_HEADER + 70000, 0);
	assert_int_equal(read_wait(s, NAME, 0, 65536, &meta, &bytes, &got), 0);
	free(bytes);
	assert_int_equal(read_wait(s, NAME, 131072, 60000, &meta, &bytes, &got), 0);
	free(bytes);
	assert_int_equal(damaged_now(), 0);
	assert_int_equal(read_wait(s, NAME, 65535, 2, &meta, &bytes, &got), -EBADMSG);
	assert_is_damaged(5);
	assert_int_equal(files_in("quarantine"), 1);
}

static void a_file_that_is_cut_short_or_gone_or_anothers_counts_as_damaged(void **state)
{
	char path[400], other[400];

	(void)state;
	assert_int_equal(put_made(s, NAME, 5, BODY, 0, OBJECT_RULE_NEWER, NULL), 0);
	file_of(NAME, 5, 0, path);
	assert_int_equal(truncate(path, 100000), 0);
	assert_is_damaged(5);
	assert_int_equal(put_made(s, NAME, 6, BODY, 0, OBJECT_RULE_NEWER, NULL), 0);
	file_of(NAME, 6, 0, path);
	assert_int_equal(unlink(path), 0);
	assert_is_damaged(6);
	assert_int_equal(put_made(s, NAME, 7, BODY, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(put_made(s, "pool/other", 7, BODY, 0, OBJECT_RULE_NEWER, NULL), 0);
	file_of(NAME, 7, 0, path);
	file_of("pool/other", 7, 0, other);
	unlink(path);
	assert_int_equal(link(other, path), 0);
	assert_is_damaged(7);
}

/* ---- scrub ---- */

struct found {
	unsigned count;
	char name[OBJECT_NAME_MAX + 1];
};

static void note(void *arg, const char *name, const struct object_meta *of)
{
	struct found *f = arg;

	(void)of;
	f->count++;
	snprintf(f->name, sizeof f->name, "%s", name);
}

static void scrubbing_finds_what_nobody_reads(void **state)
{
	struct object_scrub_stats stats;
	struct found f = { 0 };
	char path[400];

	(void)state;
	for (uint64_t i = 0; i < 20; i++) {
		char name[64];
		snprintf(name, sizeof name, "pool/o%llu", (unsigned long long)i);
		assert_int_equal(put_made(s, name, 5, BODY, 0, OBJECT_RULE_NEWER, NULL), 0);
	}
	assert_int_equal(remove_wait(s, "pool/gone", 5, 0, NULL), 0);
	assert_int_equal(object_scrub_pass(s, note, &f, &stats), 0);
	assert_true(f.count == 0 && stats.objects == 21 && stats.bytes == 20 * BODY && stats.damaged == 0);
	file_of("pool/o7", 5, 0, path);
	flip(path, OBJECT_FILE_HEADER + BODY + 5, 2); /* a sum that no read of the whole looks at */
	file_of("pool/gone", 5, OBJECT_TOMBSTONE, path);
	flip(path, 100, 2);
	assert_int_equal(object_scrub_pass(s, note, &f, &stats), 0);
	assert_true(f.count == 2 && stats.damaged == 2 && stats.last_complete_ns > 0);
	assert_string_equal(f.name, "pool/o7");
	/* What is not repaired is told of again; a tombstone was made anew from what is known of it. */
	assert_int_equal(object_scrub_pass(s, note, &f, &stats), 0);
	assert_int_equal(f.count, 3);
	assert_int_equal(put_made(s, "pool/o7", 5, BODY, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(object_scrub_pass(s, note, &f, &stats), 0);
	assert_int_equal(f.count, 3);
	assert_int_equal(look_wait(s, "pool/gone", &meta), 0);
	assert_int_equal(meta.flags, OBJECT_TOMBSTONE);
}

static void a_scrub_thread_goes_round_and_can_be_ended_at_any_time(void **state)
{
	struct object_scrub_stats stats = { 0 };
	struct object_scrub *scrub;
	struct found f = { 0 };
	char path[400];

	(void)state;
	assert_int_equal(put_made(s, "pool/a", 5, BODY, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(put_made(s, "pool/b", 5, BODY, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(object_scrub_start(s, 0, 1000000, note, &f, &scrub), 0);
	while (stats.passes < 1)
		object_scrub_stats(scrub, &stats);
	file_of("pool/b", 5, 0, path);
	flip(path, 60000, 1);
	while (stats.passes < 2) {
		object_scrub_now(scrub);
		object_scrub_stats(scrub, &stats);
		usleep(1000);
	}
	assert_true(stats.damaged >= 1 && stats.objects >= 4);
	/* At a byte a second it would not end by itself. */
	object_scrub_set_rate(scrub, 1);
	object_scrub_now(scrub);
	object_scrub_stop(scrub);
	assert_true(f.count >= 1);
	assert_string_equal(f.name, "pool/b");
}

/* ---- the index ---- */

static void put_some(void)
{
	char name[64];

	for (uint64_t i = 0; i < 30; i++) {
		snprintf(name, sizeof name, "pool/o%llu", (unsigned long long)i);
		assert_int_equal(put_made(s, name, 5, 1000 * i, i % 2 ? OBJECT_CLAIMED : 0, OBJECT_RULE_NEWER, NULL),
		                 0);
		if (i % 3 == 0)
			assert_int_equal(remove_wait(s, name, 6, 0, NULL), 0);
	}
}

static void assert_some(void)
{
	char name[64];

	for (uint64_t i = 0; i < 30; i++) {
		snprintf(name, sizeof name, "pool/o%llu", (unsigned long long)i);
		assert_int_equal(look_wait(s, name, &meta), 0);
		assert_int_equal(meta.flags, (i % 2 ? OBJECT_CLAIMED : 0) | (i % 3 ? 0 : OBJECT_TOMBSTONE));
		assert_int_equal(read_made(s, name, 5, 1000 * i), i % 3 ? 0 : -ENOENT);
	}
}

static void an_index_that_is_gone_or_damaged_is_built_anew(void **state)
{
	char path[400];

	(void)state;
	put_some();
	recover();
	in_dir("index.db", path);
	for (int i = 0; i < 4; i++) {
		stop();
		if (i == 0)
			assert_int_equal(unlink(path), 0);
		else if (i == 1)
			assert_int_equal(truncate(path, 5000), 0);
		else
			for (off_t at = i == 2 ? 0 : 4096; at < file_bytes(path); at += 50)
				flip(path, at, 5);
		start();
		assert_some();
		assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_COMPLETE);
	}
	assert_int_equal(put_made(s, "pool/o1", 7, 10, 0, OBJECT_RULE_NEWER, NULL), 0);
	stop();
	start();
	assert_int_equal(read_made(s, "pool/o1", 7, 10), 0);
}

static void a_damaged_object_without_an_index_is_a_loss(void **state)
{
	char path[400];

	(void)state;
	put_some();
	recover();
	stop();
	file_of("pool/o4", 5, 0, path);
	flip(path, 4200, 5);
	in_dir("index.db", path);
	unlink(path);
	start();
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_LOST);
	assert_int_equal(look_wait(s, "pool/o4", &meta), -ENOENT);
	assert_int_equal(files_in("quarantine"), 1);
	assert_int_equal(put_made(s, "pool/o4", 5, 4000, 0, OBJECT_RULE_NEWER, NULL), 0);
	recover();
	assert_some();
}

static void an_index_that_is_found_damaged_while_it_is_in_use_is_no_vote_and_is_built_at_the_next_start(void **state)
{
	struct object_store_stats stats;
	char path[400];
	uint64_t loss;
	sqlite3 *db;

	(void)state;
	put_some();
	recover();
	in_dir("index.db", path);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_exec(db, "UPDATE objects SET row = zeroblob(72) WHERE name = 'pool/o7'", NULL, NULL, NULL),
		SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	assert_int_equal(look_wait(s, "pool/o8", &meta), 0);
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_COMPLETE);
	assert_int_equal(look_wait(s, "pool/o7", &meta), -EIO);
	assert_int_equal(object_store_state(s, &loss), OBJECT_STORE_LOST);
	assert_int_equal(object_store_recovered(s, loss), -EAGAIN);
	assert_int_equal(look_wait(s, "pool/o8", &meta), -EIO);
	assert_int_equal(put_made(s, "pool/o8", 9, 10, 0, OBJECT_RULE_NEWER, NULL), -EIO);
	object_store_stats(s, &stats);
	assert_string_equal(stats.drive[0].state, "index damaged");
	stop();
	start();
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_COMPLETE);
	assert_some();
}

/* A start goes through the rows by their names only. */
static void damage_of_what_a_start_does_not_read_is_gone_after_the_next(void **state)
{
	char path[400], marker[400];
	sqlite3_stmt *sql;
	uint64_t loss;
	sqlite3 *db;

	(void)state;
	put_some();
	recover();
	stop();
	in_dir("index.db", path);
	in_dir("rebuild", marker);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_prepare_v2(db, "SELECT rootpage FROM sqlite_master WHERE name = 'by_bucket'", -1, &sql, NULL),
		SQLITE_OK);
	assert_int_equal(sqlite3_step(sql), SQLITE_ROW);
	off_t page = sqlite3_column_int64(sql, 0) - 1;
	sqlite3_finalize(sql);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	for (off_t at = 0; at < 8; at++)
		flip(path, page * 4096 + at, 6);
	start();
	assert_some();
	assert_int_equal(access(marker, F_OK), -1);
	assert_int_equal(put_made(s, "pool/o31", 9, 10, 0, OBJECT_RULE_NEWER, NULL), -EIO);
	assert_int_equal(object_store_state(s, &loss), OBJECT_STORE_LOST);
	assert_int_equal(access(marker, F_OK), 0);
	stop();
	start();
	assert_int_equal(access(marker, F_OK), -1);
	assert_some();
	assert_int_equal(put_made(s, "pool/o31", 9, 10, 0, OBJECT_RULE_NEWER, NULL), 0);
	stop();
	start();
	assert_int_equal(read_made(s, "pool/o31", 9, 10), 0);
}

/* ---- an unclean end ---- */

static void copy_file(const char *from, const char *to, off_t cut)
{
	uint8_t *buf = malloc(1 << 20);
	int in = open(from, O_RDONLY), out = open(to, O_CREAT | O_WRONLY | O_TRUNC, 0600);
	ssize_t n = read(in, buf, 1 << 20);

	assert_true(n > 0 && in >= 0 && out >= 0);
	assert_int_equal(write(out, buf, (size_t)n), n);
	if (cut)
		assert_int_equal(ftruncate(out, n - cut), 0);
	close(in);
	close(out);
	free(buf);
}

/* The file that version 6 would have, and a copy of it: the object itself is forgotten again. */
static void set_six_aside(char six[400], char aside[400])
{
	assert_int_equal(put_made(s, NAME, 6, BODY, 0, OBJECT_RULE_NEWER, NULL), 0);
	file_of(NAME, 6, 0, six);
	in_dir("six", aside);
	copy_file(six, aside, 0);
	assert_int_equal(forget_wait(s, NAME, 6), 0);
}

/* After an unclean end of a store whose index knows version 5, and that has these files, the object is that version. */
static void assert_becomes(bool whole_6, bool torn_7, uint64_t counter)
{
	char five[400], six[400], seven[400], aside[400];

	stop();
	remove_tree(dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	start();
	set_six_aside(six, aside);
	assert_int_equal(put_made(s, NAME, 5, BODY, 0, OBJECT_RULE_NEWER, NULL), 0);
	stop();
	file_of(NAME, 5, 0, five);
	file_of(NAME, 7, 0, seven);
	if (whole_6)
		copy_file(aside, six, 0);
	if (torn_7)
		copy_file(five, seven, 7000);
	touch("unclean");
	touch("tmp/123");
	start();
	assert_int_equal(read_made(s, NAME, counter, BODY), 0);
	assert_int_equal(access(five, F_OK), counter == 5 ? 0 : -1);
	assert_int_equal(access(six, F_OK), counter == 6 ? 0 : -1);
	assert_int_equal(access(seven, F_OK), -1);
	assert_int_equal(files_in("tmp"), 0);
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_NEW);
}

static void of_two_files_after_an_unclean_end_the_newer_that_is_whole_counts(void **state)
{
	(void)state;
	assert_becomes(false, false, 5);
	assert_becomes(true, false, 6);
	assert_becomes(false, true, 5);
	assert_becomes(true, true, 6);
}

/* A torn write can be read. What cannot may have been answered, and nobody knows its name any more. */
static void a_file_that_cannot_be_read_after_an_unclean_end_is_a_loss(void **state)
{
	struct error err = { 0 };
	struct drive_faults faults;
	char six[400], aside[400];

	(void)state;
	set_six_aside(six, aside);
	stop();
	copy_file(aside, six, 0);
	touch("unclean");
	drive_faults_init(&faults);
	faults.path[0] = six;
	atomic_store(&faults.read_error[0], -EIO);
	if (open_drives(&s, &faults.disk, 1, drives, 1, &err) != 0)
		fail_msg("%s", err.text);
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_LOST);
	assert_int_equal(access(six, F_OK), -1);
	assert_int_equal(files_in("quarantine"), 1);
	recover();
	assert_int_equal(look_wait(s, NAME, &meta), -ENOENT);
	stop();
}

static void an_entry_without_a_file_is_kept_as_damaged_and_a_tombstone_is_written_again(void **state)
{
	char path[400];

	(void)state;
	assert_int_equal(put_made(s, NAME, 5, BODY, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(remove_wait(s, "pool/gone", 8, 0, NULL), 0);
	stop();
	file_of(NAME, 5, 0, path);
	assert_int_equal(unlink(path), 0);
	file_of("pool/gone", 8, OBJECT_TOMBSTONE, path);
	assert_int_equal(unlink(path), 0);
	touch("unclean");
	start();
	assert_is_damaged(5);
	assert_int_equal(look_wait(s, "pool/gone", &meta), 0);
	assert_int_equal(access(path, F_OK), 0);
	in_dir("index.db", path);
	stop();
	unlink(path);
	start();
	assert_is_damaged(5);
	assert_int_equal(look_wait(s, "pool/gone", &meta), 0);
	assert_int_equal(meta.flags, OBJECT_TOMBSTONE);
}

/* The older file goes when the newer one is entered: the row of that was lost, and nothing tells what it was. */
static void a_damaged_file_that_has_replaced_that_of_its_row_is_a_loss(void **state)
{
	char five[400], seven[400];

	(void)state;
	assert_int_equal(put_made(s, NAME, 5, BODY, 0, OBJECT_RULE_NEWER, NULL), 0);
	recover();
	file_of(NAME, 5, 0, five);
	file_of(NAME, 7, 0, seven);
	for (int marked = 1; marked >= 0; marked--) {
		stop();
		copy_file(five, seven, 7000);
		if (marked) {
			/* It was found damaged before. */
			char mark[400];
			file_of(NAME, 5, OBJECT_DAMAGED, mark);
			copy_file(seven, mark, 0);
		}
		assert_int_equal(unlink(five), 0);
		touch("unclean");
		start();
		assert_is_damaged(5);
		assert_int_equal(access(seven, F_OK), -1);
		assert_int_equal(files_in("quarantine"), marked ? 0 : 1);
		assert_int_equal(object_store_state(s, NULL), marked ? OBJECT_STORE_COMPLETE : OBJECT_STORE_LOST);
		assert_int_equal(put_made(s, NAME, 5, BODY, 0, OBJECT_RULE_NEWER, NULL), 0);
	}
	recover();
	assert_int_equal(read_made(s, NAME, 5, BODY), 0);
}

static void strange_files_are_left_alone(void **state)
{
	char path[400];

	(void)state;
	put_some();
	stop();
	touch("objects/3/README");
	touch("unclean");
	start();
	assert_some();
	in_dir("objects/3/README", path);
	assert_int_equal(access(path, F_OK), 0);
}

static int make(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(dir, sizeof dir, "%s/garner-damage-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	start();
	return 0;
}

static int unmake(void **state)
{
	(void)state;
	stop();
	return remove_tree(dir);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_flipped_bit_anywhere_in_a_file_is_found),
		TEST(a_damaged_object_refuses_what_is_older_and_is_repaired_by_itself),
		TEST(a_range_is_read_although_another_block_is_damaged),
		TEST(a_file_that_is_cut_short_or_gone_or_anothers_counts_as_damaged),
		TEST(scrubbing_finds_what_nobody_reads),
		TEST(a_scrub_thread_goes_round_and_can_be_ended_at_any_time),
		TEST(an_index_that_is_gone_or_damaged_is_built_anew),
		TEST(a_damaged_object_without_an_index_is_a_loss),
		TEST(an_index_that_is_found_damaged_while_it_is_in_use_is_no_vote_and_is_built_at_the_next_start),
		TEST(damage_of_what_a_start_does_not_read_is_gone_after_the_next),
		TEST(of_two_files_after_an_unclean_end_the_newer_that_is_whole_counts),
		TEST(a_file_that_cannot_be_read_after_an_unclean_end_is_a_loss),
		TEST(a_damaged_file_that_has_replaced_that_of_its_row_is_a_loss),
		TEST(an_entry_without_a_file_is_kept_as_damaged_and_a_tombstone_is_written_again),
		TEST(strange_files_are_left_alone),
	};

	return cmocka_run_group_tests_name("object_damage", tests, NULL, NULL);
}
