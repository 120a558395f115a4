/* SPDX-License-Identifier: GPL-3.0-only */
/* test_object_index.c: the index of one drive by itself: rows, order, transactions, and damage of a row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/remove_tree.h"
#include "node/object_index.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char dir[256], path[300];
static struct object_index *x;
static struct object_entry e[10];

static bool start(void)
{
	struct error err = { 0 };
	bool complete;

	if (object_index_open(path, &x, &complete, &err) != 0)
		fail_msg("%s", err.text);
	return complete;
}

static struct object_entry entry_of(const char *name, uint64_t counter)
{
	struct object_entry entry = { .stored_s = UINT64_MAX - counter };

	snprintf(entry.name, sizeof entry.name, "%s", name);
	entry.meta.version = (struct object_version){ OBJECT_COUNTER_MAX - counter, UINT64_MAX - counter };
	entry.meta.length = OBJECT_LENGTH_MAX;
	entry.meta.flags = 0xf;
	memset(entry.meta.digest, (int)counter, sizeof entry.meta.digest);
	return entry;
}

static void put(const char *name, uint64_t counter)
{
	struct object_entry entry = entry_of(name, counter);

	assert_int_equal(object_index_begin(x, counter % 2, NULL), 0);
	assert_int_equal(object_index_end(x, object_index_put(x, &entry, NULL), NULL), 0);
}

static void a_row_is_read_as_it_was_written(void **state)
{
	struct object_entry want = entry_of("pool/a", 2);

	(void)state;
	assert_int_equal(object_index_get(x, "pool/a", e, NULL), 0);
	put("pool/a", 1);
	put("pool/a", 2);
	assert_int_equal(object_index_get(x, "pool/a", e, NULL), 1);
	assert_memory_equal(&want, e, sizeof want);
	assert_int_equal(object_index_close(x), 0);
	start();
	assert_int_equal(object_index_get(x, "pool/a", e, NULL), 1);
	assert_memory_equal(&want, e, sizeof want);
}

static void an_index_is_complete_only_when_that_was_said(void **state)
{
	(void)state;
	put("pool/a", 1);
	assert_int_equal(object_index_close(x), 0);
	assert_false(start());
	assert_int_equal(object_index_complete(x, NULL), 0);
	assert_int_equal(object_index_complete(x, NULL), 0);
	assert_int_equal(object_index_close(x), 0);
	assert_true(start());
}

static void a_transaction_that_fails_changes_nothing(void **state)
{
	struct object_entry entry = entry_of("pool/a", 1);

	(void)state;
	put("pool/b", 1);
	assert_int_equal(object_index_begin(x, false, NULL), 0);
	assert_int_equal(object_index_put(x, &entry, NULL), 0);
	assert_int_equal(object_index_remove(x, "pool/b", NULL), 0);
	assert_int_equal(object_index_get_changing(x, "pool/a", e, NULL), 1);
	assert_int_equal(object_index_get(x, "pool/a", e, NULL), 0);
	assert_int_equal(object_index_end(x, -EIO, NULL), -EIO);
	assert_int_equal(object_index_get(x, "pool/a", e, NULL), 0);
	assert_int_equal(object_index_get(x, "pool/b", e, NULL), 1);
}

static void pages_are_in_byte_order(void **state)
{
	static const char *const names[] = { "a/-", "a/A", "a/_", "a/a", "a/a.", "a/a/b", "a/aa", "b/a" };

	(void)state;
	for (size_t i = 8; i--;)
		put(names[i], i);
	assert_int_equal(object_index_page(x, "", NULL, e, 10, NULL), 8);
	for (size_t i = 0; i < 8; i++)
		assert_string_equal(e[i].name, names[i]);
	assert_int_equal(object_index_page(x, "a/a", NULL, e, 3, NULL), 3);
	assert_string_equal(e[0].name, "a/a");
	assert_int_equal(object_index_page(x, NULL, "a/a", e, 3, NULL), 3);
	assert_string_equal(e[0].name, "a/a.");
	unsigned bucket = object_bucket_of("a/a");
	int n = object_index_bucket(x, bucket, NULL, e, 10, NULL);
	assert_true(n >= 1);
	for (int i = 0; i < n; i++)
		assert_int_equal(object_bucket_of(e[i].name), bucket);
	assert_int_equal(object_index_bucket(x, bucket, e[n - 1].name, e, 10, NULL), 0);
}

static void a_row_that_is_damaged_is_not_believed(void **state)
{
	sqlite3 *db;

	(void)state;
	put("pool/a", 1);
	put("pool/b", 1);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db,
	                              "UPDATE objects SET row = (SELECT row FROM objects WHERE name = 'pool/b')"
	                              " WHERE name = 'pool/a'",
	                              NULL, NULL, NULL),
	                 SQLITE_OK);
	assert_int_equal(object_index_get(x, "pool/a", e, NULL), -EBADMSG);
	assert_int_equal(object_index_page(x, "", NULL, e, 10, NULL), -EBADMSG);
	assert_int_equal(sqlite3_exec(db, "UPDATE objects SET row = x'00' WHERE name = 'pool/a'", NULL, NULL, NULL),
	                 SQLITE_OK);
	assert_int_equal(object_index_get(x, "pool/a", e, NULL), -EBADMSG);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	assert_int_equal(object_index_get(x, "pool/b", e, NULL), 1);
}

static void another_programs_database_is_refused(void **state)
{
	struct object_index *other;
	bool complete;
	sqlite3 *db;

	(void)state;
	assert_int_equal(object_index_close(x), 0);
	x = NULL;
	assert_int_equal(object_index_delete(disk_posix(), path), 0);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "CREATE TABLE objects (name)", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	assert_int_equal(object_index_open(path, &other, &complete, NULL), -EBADMSG);
}

static int make(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(dir, sizeof dir, "%s/garner-index-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof path, "%s/index.db", dir);
	return start();
}

static int unmake(void **state)
{
	(void)state;
	object_index_close(x);
	x = NULL;
	return remove_tree(dir);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_row_is_read_as_it_was_written),          TEST(an_index_is_complete_only_when_that_was_said),
		TEST(a_transaction_that_fails_changes_nothing), TEST(pages_are_in_byte_order),
		TEST(a_row_that_is_damaged_is_not_believed),    TEST(another_programs_database_is_refused),
	};

	return cmocka_run_group_tests_name("object_index", tests, NULL, NULL);
}
