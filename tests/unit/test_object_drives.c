/* SPDX-License-Identifier: GPL-3.0-only */
/* test_object_drives.c: drives of a storage node that are new, missing, wiped, stale, full, read-only and broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/drive_faults.h"
#include "lib/object_wait.h"
#include "lib/remove_tree.h"
#include "node/object_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define OBJECTS 60u

static char base[200], path[FAULT_DRIVES][256];
static const char *drives[FAULT_DRIVES] = { path[0], path[1], path[2], path[3] };
static struct drive_faults faults;
static struct object_store *s;
static struct object_store_stats stats;

static void open_some(size_t count)
{
	struct error err = { 0 };

	if (open_drives(&s, &faults.disk, count, drives, 1, &err) != 0)
		fail_msg("%s", err.text);
}

static void close_store(void)
{
	object_store_close(s);
	s = NULL;
}

static void assert_refused(size_t count, int rc, const char *text)
{
	struct error err = { 0 };

	assert_int_equal(open_drives(&s, &faults.disk, count, drives, 1, &err), rc);
	if (!strstr(err.text, text))
		fail_msg("\"%s\" does not tell \"%s\"", err.text, text);
}

static void recover(void)
{
	uint64_t loss;

	(void)object_store_state(s, &loss);
	assert_int_equal(object_store_recovered(s, loss), 0);
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_COMPLETE);
}

static const char *name_of(unsigned i)
{
	static char name[64];

	snprintf(name, sizeof name, "pool/o%u", i);
	return name;
}

static void put_all(uint64_t counter)
{
	for (unsigned i = 0; i < OBJECTS; i++)
		assert_int_equal(put_made(s, name_of(i), counter, 3000, 0, OBJECT_RULE_NEWER, NULL), 0);
}

/* How many of the objects there are in this version. */
static unsigned there(uint64_t counter)
{
	unsigned n = 0;

	for (unsigned i = 0; i < OBJECTS; i++)
		n += read_made(s, name_of(i), counter, 3000) == 0;
	return n;
}

static void wipe(unsigned i)
{
	remove_tree(path[i]);
	assert_int_equal(mkdir(path[i], 0700), 0);
}

static const struct object_drive_stats *drive_now(unsigned i)
{
	object_store_stats(s, &stats);
	return &stats.drive[i];
}

/* ---- which drives there are ---- */

static void objects_are_spread_over_the_drives_and_found_again(void **state)
{
	(void)state;
	open_some(3);
	put_all(5);
	for (unsigned i = 0; i < 3; i++)
		assert_true(drive_now(i)->objects > OBJECTS / 10);
	close_store();
	/* In another order, too. */
	drives[0] = path[2];
	drives[2] = path[0];
	open_some(3);
	assert_int_equal(there(5), OBJECTS);
	drives[0] = path[0];
	drives[2] = path[2];
}

static void a_first_start_is_told_until_all_was_pulled(void **state)
{
	uint64_t loss;

	(void)state;
	open_some(2);
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_NEW);
	put_all(5);
	close_store();
	open_some(2);
	assert_int_equal(object_store_state(s, &loss), OBJECT_STORE_NEW);
	assert_int_equal(object_store_recovered(s, loss + 1), -EAGAIN);
	recover();
	close_store();
	open_some(2);
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_COMPLETE);
	assert_int_equal(there(5), OBJECTS);
}

static void a_missing_drive_is_a_loss_and_stale_when_it_comes_back(void **state)
{
	(void)state;
	open_some(2);
	recover();
	put_all(5);
	close_store();
	open_some(1);
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_LOST);
	unsigned left = there(5);
	assert_true(left > 0 && left < OBJECTS);
	close_store();
	open_some(1);
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_LOST);
	recover();
	close_store();
	assert_refused(2, -EINVAL, "empty the directory");
	wipe(1);
	open_some(2);
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_COMPLETE);
	put_all(6);
	assert_int_equal(there(6), OBJECTS);
}

static void a_wiped_drive_is_a_loss(void **state)
{
	(void)state;
	open_some(3);
	recover();
	put_all(5);
	close_store();
	wipe(1);
	open_some(3);
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_LOST);
	assert_true(there(5) < OBJECTS);
	put_all(5);
	assert_int_equal(there(5), OBJECTS);
	close_store();
	open_some(3);
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_LOST);
	recover();
}

static void a_drive_more_is_no_loss(void **state)
{
	(void)state;
	open_some(1);
	recover();
	put_all(5);
	close_store();
	open_some(2);
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_COMPLETE);
	assert_int_equal(there(5), OBJECTS);
	put_all(6);
	assert_int_equal(there(6), OBJECTS);
	assert_true(drive_now(1)->objects > 0);
	/* What was replaced on the other drive is gone from there: soon after the answer. */
	close_store();
	open_some(2);
	object_store_stats(s, &stats);
	assert_int_equal(stats.objects, OBJECTS);
	assert_int_equal(there(6), OBJECTS);
}

static void what_is_no_drive_of_this_node_is_refused(void **state)
{
	struct object_store_options options = {
		.drives = drives, .drive_count = 1, .cluster_id = "ffffffffffffffffffffffffffffffff", .node_id = 1
	};
	struct object_store *other;
	struct error err = { 0 };
	char file[300];

	(void)state;
	snprintf(file, sizeof file, "%s/somebody's", path[1]);
	close(open(file, O_CREAT | O_WRONLY, 0600));
	assert_refused(2, -EINVAL, "not empty");
	unlink(file);
	open_some(1);
	assert_int_equal(object_store_open(&options, &other, &err), -EBUSY);
	close_store();
	assert_int_equal(object_store_open(&options, &other, &err), -EINVAL);
	assert_non_null(strstr(err.text, "another cluster"));
	options.cluster_id = WAIT_CLUSTER;
	options.node_id = 2;
	assert_int_equal(object_store_open(&options, &other, &err), -EINVAL);
	assert_non_null(strstr(err.text, "belongs to node 1"));
	options.cluster_id = "short";
	assert_int_equal(object_store_open(&options, &other, &err), -EINVAL);
	rmdir(path[2]);
	assert_refused(3, -ENOENT, path[2]);
	snprintf(file, sizeof file, "%s/drive", path[0]);
	assert_int_equal(truncate(file, 20), 0);
	assert_refused(1, -EBADMSG, "cut short");
}

/* ---- drives that fail ---- */

static void a_drive_that_cannot_sync_is_left_out_and_the_put_goes_to_another(void **state)
{
	uint64_t loss, after;

	(void)state;
	open_some(2);
	recover();
	put_all(5);
	(void)object_store_state(s, &loss);
	atomic_store(&faults.sync_error[0], -EIO);
	put_all(6);
	assert_int_equal(object_store_state(s, &after), OBJECT_STORE_LOST);
	assert_true(after > loss);
	assert_int_equal(object_store_recovered(s, loss), -EAGAIN);
	assert_int_equal(there(6), OBJECTS);
	assert_string_equal(drive_now(0)->state, "failed");
	assert_false(drive_now(0)->takes_new);
	assert_string_equal(drive_now(1)->state, "ok");
	/* Nothing is forgotten while a drive is out that might know better. */
	assert_int_equal(forget_wait(s, name_of(1), 6), -EROFS);
	close_store();
	atomic_store(&faults.sync_error[0], 0);
	assert_refused(2, -EINVAL, "left out");
	wipe(0);
	open_some(2);
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_LOST);
	assert_int_equal(there(6), OBJECTS);
}

static void a_single_drive_that_fails_answers_nothing_as_stored(void **state)
{
	struct object_meta meta;

	(void)state;
	open_some(1);
	recover();
	put_all(5);
	atomic_store(&faults.sync_error[0], -EIO);
	assert_int_equal(put_made(s, name_of(1), 6, 3000, 0, OBJECT_RULE_NEWER, NULL), -EIO);
	atomic_store(&faults.sync_error[0], 0);
	/* A sync that goes well now says nothing about what failed. */
	assert_int_equal(put_made(s, name_of(1), 6, 3000, 0, OBJECT_RULE_NEWER, NULL), -EIO);
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_LOST);
	assert_int_equal(look_wait(s, name_of(1), &meta), -EIO);
	close_store();
	open_some(1);
	for (unsigned i = 2; i < OBJECTS; i++)
		assert_int_equal(read_made(s, name_of(i), 5, 3000), 0);
}

static void a_directory_that_cannot_be_synced_fails_the_drive(void **state)
{
	(void)state;
	open_some(2);
	atomic_store(&faults.change_error[1], -EIO);
	put_all(5);
	assert_int_equal(there(5), OBJECTS);
	assert_string_equal(drive_now(1)->state, "failed");
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_LOST);
}

static void a_put_whose_drive_fails_amid_its_body_goes_on_with_another(void **state)
{
	const size_t len = 3000000;

	(void)state;
	open_some(2);
	for (int drive = 0; drive < 2; drive++) {
		atomic_store(&faults.writes_left[drive], 3);
		atomic_store(&faults.write_error[drive], -ENOSPC);
		/* Which drive a name goes to is hashed with the drive's identity, made at random: on, until the drive was met. */
		for (unsigned i = 0; i < OBJECTS && atomic_load(&faults.writes_left[drive]) >= 0; i++) {
			assert_int_equal(put_made(s, name_of(i), 10 + (uint64_t)drive, len, 0, OBJECT_RULE_NEWER, NULL),
			                 0);
			assert_int_equal(read_made(s, name_of(i), 10 + (uint64_t)drive, len), 0);
		}
		assert_true(atomic_load(&faults.writes_left[drive]) < 0);
		assert_string_equal(drive_now((unsigned)drive)->state, "full");
		assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_NEW);
		atomic_store(&faults.write_error[drive], 0);
		close_store();
		open_some(2);
	}
}

static void full_drives_take_tombstones_only(void **state)
{
	struct error err = { 0 };

	(void)state;
	open_some(1);
	put_all(5);
	close_store();
	assert_int_equal(open_drives(&s, NULL, 1, drives, UINT64_MAX / 4, &err), 0);
	assert_int_equal(put_made(s, name_of(1), 6, 3000, 0, OBJECT_RULE_NEWER, NULL), -ENOSPC);
	assert_string_equal(drive_now(0)->state, "full");
	assert_false(drive_now(0)->takes_new);
	assert_int_equal(remove_wait(s, name_of(1), 7, 0, NULL), 0);
	assert_int_equal(drive_now(0)->tombstones, 1);
	assert_int_equal(read_made(s, name_of(2), 5, 3000), 0);
}

static void a_read_only_drive_is_read_and_newer_versions_go_elsewhere(void **state)
{
	struct object_entry e[OBJECTS + 1];
	bool more;

	(void)state;
	open_some(2);
	recover();
	put_all(5);
	atomic_store(&faults.open_error[0], -EROFS);
	put_all(6);
	assert_string_equal(drive_now(0)->state, "read-only");
	assert_true(drive_now(0)->objects > 0);
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_COMPLETE);
	assert_int_equal(there(6), OBJECTS);
	assert_int_equal(list_wait(s, "", NULL, 0, e, OBJECTS + 1, &more), OBJECTS);
	for (unsigned i = 0; i < OBJECTS; i++)
		assert_int_equal(e[i].meta.version.counter, 6);
	assert_int_equal(forget_wait(s, name_of(1), 6), -EROFS);
	close_store();
	atomic_store(&faults.open_error[0], 0);
	open_some(2);
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_COMPLETE);
	assert_int_equal(there(6), OBJECTS);
	/* It can be changed again: what is older goes with what is newer. */
	for (unsigned i = 0; i < OBJECTS; i++)
		assert_int_equal(forget_wait(s, name_of(i), 6), 0);
	assert_int_equal(there(5), 0);
	assert_int_equal(drive_now(0)->objects, 0);
}

static void a_drive_that_cannot_be_read_is_left_out_after_some_errors(void **state)
{
	struct object_meta meta;
	unsigned i;

	(void)state;
	open_some(2);
	recover();
	put_all(5);
	atomic_store(&faults.read_error[0], -EIO);
	for (i = 0; i < OBJECTS && object_store_state(s, NULL) == OBJECT_STORE_COMPLETE; i++)
		(void)read_made(s, name_of(i), 5, 3000);
	assert_true(i > 1);
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_LOST);
	assert_string_equal(drive_now(0)->state, "failed");
	assert_int_equal(look_wait(s, name_of(OBJECTS - 1), &meta) == 0,
	                 read_made(s, name_of(OBJECTS - 1), 5, 3000) == 0);
}

static void a_broken_drive_at_the_start_is_left_out_while_another_works(void **state)
{
	(void)state;
	open_some(2);
	recover();
	put_all(5);
	close_store();
	atomic_store(&faults.open_error[1], -EIO);
	open_some(2);
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_LOST);
	assert_string_equal(drive_now(1)->state, "failed");
	put_all(6);
	assert_int_equal(there(6), OBJECTS);
	close_store();
	atomic_store(&faults.open_error[0], -EIO);
	assert_refused(2, -EIO, "");
}

static void a_start_that_fails_while_it_compares_is_no_clean_end(void **state)
{
	struct object_meta of = { .version = version_of(6) };
	char file[1024], aside[1024], name[OBJECT_FILE_NAME];
	struct object_file_id id;

	(void)state;
	open_some(1);
	recover();
	object_file_id(name_of(1), &of, &id);
	object_file_name(&id, name);
	snprintf(file, sizeof file, "%s/objects/%x/%s", path[0], object_file_dir(&id), name);
	snprintf(aside, sizeof aside, "%s/aside", base);
	assert_int_equal(put_made(s, name_of(1), 6, 3000, 0, OBJECT_RULE_NEWER, NULL), 0);
	assert_int_equal(link(file, aside), 0);
	assert_int_equal(forget_wait(s, name_of(1), 6), 0);
	assert_int_equal(put_made(s, name_of(1), 5, 3000, 0, OBJECT_RULE_NEWER, NULL), 0);
	close_store();
	assert_int_equal(link(aside, file), 0);
	snprintf(aside, sizeof aside, "%s/unclean", path[0]);
	close(open(aside, O_CREAT | O_WRONLY, 0600));
	atomic_store(&faults.sync_error[0], -EIO);
	assert_refused(1, -EIO, "");
	atomic_store(&faults.sync_error[0], 0);
	open_some(1);
	assert_int_equal(read_made(s, name_of(1), 6, 3000), 0);
	assert_int_equal(object_store_state(s, NULL), OBJECT_STORE_COMPLETE);
}

static int make(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(base, sizeof base, "%s/garner-drives-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(base))
		return -1;
	drive_faults_init(&faults);
	for (int i = 0; i < FAULT_DRIVES; i++) {
		snprintf(path[i], sizeof path[i], "%s/%d", base, i);
		faults.path[i] = path[i];
		if (mkdir(path[i], 0700) < 0)
			return -1;
	}
	return 0;
}

static int unmake(void **state)
{
	(void)state;
	close_store();
	return remove_tree(base);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(objects_are_spread_over_the_drives_and_found_again),
		TEST(a_first_start_is_told_until_all_was_pulled),
		TEST(a_missing_drive_is_a_loss_and_stale_when_it_comes_back),
		TEST(a_wiped_drive_is_a_loss),
		TEST(a_drive_more_is_no_loss),
		TEST(what_is_no_drive_of_this_node_is_refused),
		TEST(a_drive_that_cannot_sync_is_left_out_and_the_put_goes_to_another),
		TEST(a_single_drive_that_fails_answers_nothing_as_stored),
		TEST(a_directory_that_cannot_be_synced_fails_the_drive),
		TEST(a_put_whose_drive_fails_amid_its_body_goes_on_with_another),
		TEST(full_drives_take_tombstones_only),
		TEST(a_read_only_drive_is_read_and_newer_versions_go_elsewhere),
		TEST(a_drive_that_cannot_be_read_is_left_out_after_some_errors),
		TEST(a_broken_drive_at_the_start_is_left_out_while_another_works),
		TEST(a_start_that_fails_while_it_compares_is_no_clean_end),
	};

	return cmocka_run_group_tests_name("object_drives", tests, NULL, NULL);
}
