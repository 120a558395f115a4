/* SPDX-License-Identifier: GPL-3.0-only */
/* test_catalog.c: the tree of names: what one host does and the others see. */
#include "lib/catalog_fixture.h"

static void what_is_created_is_seen_by_every_host(void **state)
{
	struct catalog_entry e = { .parent = NODE_ROOT,
		                   .name = "vm 1.raw",
		                   .type = NODE_FILE,
		                   .mode = 0100640,
		                   .uid = 5,
		                   .gid = 6 },
			     got;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(catalog_create(host[0], &e, &err), 0);
	assert_true(e.id > NODE_ROOT);
	assert_int_equal(e.serial, 1);
	assert_int_equal(e.mode, 0640);
	assert_int_equal(e.grain_bytes, 4096);
	assert_int_equal(catalog_get(host[1], e.id, &got), -ENOENT);
	assert_int_equal(catalog_lookup(host[1], NODE_ROOT, "vm 1.raw", 0, &got, &err), 0);
	assert_memory_equal(&got, &e, sizeof e);
	assert_int_equal(catalog_get(host[1], e.id, &got), 0);
	assert_memory_equal(&got, &e, sizeof e);
	assert_int_equal(try_create(host[1], NODE_ROOT, "vm 1.raw", NODE_DIRECTORY, &got.id), -EEXIST);
}

static void names_that_are_none_are_refused(void **state)
{
	char longest[NAME_BYTES_MAX + 2];
	struct catalog_entry e = { .parent = NODE_ROOT, .type = NODE_FILE };
	struct error err = { 0 };
	uint64_t id;

	(void)state;
	assert_int_equal(try_create(host[0], NODE_ROOT, "", NODE_FILE, &id), -EINVAL);
	assert_int_equal(try_create(host[0], NODE_ROOT, ".", NODE_FILE, &id), -EINVAL);
	assert_int_equal(try_create(host[0], NODE_ROOT, "..", NODE_FILE, &id), -EINVAL);
	assert_int_equal(try_create(host[0], NODE_ROOT, "a/b", NODE_FILE, &id), -EINVAL);
	memset(longest, 'n', sizeof longest - 1);
	longest[NAME_BYTES_MAX + 1] = '\0';
	assert_int_equal(catalog_lookup(host[0], NODE_ROOT, longest, 0, &e, &err), -ENAMETOOLONG);
	longest[NAME_BYTES_MAX] = '\0';
	create(host[0], NODE_ROOT, longest, NODE_FILE);
	create(host[0], NODE_ROOT, "new\nline \\ \xff", NODE_FILE);
	assert_true(at(host[1], NODE_ROOT, longest) != 0);
	assert_true(at(host[1], NODE_ROOT, "new\nline \\ \xff") != 0);
}

static void attributes_are_changed_for_all_hosts_the_root_s_too(void **state)
{
	uint64_t id = create(host[0], NODE_ROOT, "a", NODE_FILE);
	struct catalog_entry change = { .id = id, .mode = 0600, .uid = 1, .gid = 2 }, got;
	struct seen seen = { 0 };
	struct error err = { 0 };

	(void)state;
	assert_int_equal(catalog_update(host[0], &change, &err), 0);
	assert_int_equal(catalog_lookup(host[1], NODE_ROOT, "a", 0, &got, &err), 0);
	assert_int_equal(got.mode, 0600);
	assert_int_equal(got.uid, 1);
	assert_int_equal(got.gid, 2);
	assert_int_equal(got.serial, 2);
	assert_int_equal(catalog_get(host[0], NODE_ROOT, &got), 0);
	assert_int_equal(got.mode, 0755);
	change = (struct catalog_entry){ .id = NODE_ROOT, .mode = 0711, .uid = 3, .gid = 4 };
	assert_int_equal(catalog_update(host[0], &change, &err), 0);
	assert_int_equal(catalog_list(host[1], NODE_ROOT, see_entry, &seen, &err), 0);
	assert_int_equal(seen.count, 1);
	assert_int_equal(catalog_get(host[1], NODE_ROOT, &got), 0);
	assert_int_equal(got.mode, 0711);
	assert_int_equal(got.uid, 3);
}

static void memory_answers_only_as_long_as_it_may(void **state)
{
	struct catalog_entry e;
	struct error err = { 0 };

	(void)state;
	create(host[0], NODE_ROOT, "a", NODE_FILE);
	assert_true(at(host[1], NODE_ROOT, "a") != 0);
	assert_int_equal(drop(host[0], NODE_ROOT, "a", NODE_FILE), 0);
	assert_int_equal(catalog_lookup(host[1], NODE_ROOT, "a", 60000, &e, &err), 0);
	assert_int_equal(catalog_lookup(host[1], NODE_ROOT, "a", 0, &e, &err), -ENOENT);
	assert_int_equal(catalog_lookup(host[1], NODE_ROOT, "a", 60000, &e, &err), -ENOENT);
	assert_int_equal(catalog_get(host[1], e.id, &e), -ENOENT);
}

static void a_listing_answers_for_what_is_not_there_too(void **state)
{
	struct faulty_store dead;
	struct seen seen = { 0 };
	struct catalog_entry e;
	struct error err = { 0 };

	(void)state;
	create(host[0], NODE_ROOT, "a", NODE_FILE);
	assert_int_equal(catalog_list(host[1], NODE_ROOT, see_entry, &seen, &err), 0);
	faulty_put_in(&dead, pool[1], 0, false);
	assert_int_equal(catalog_lookup(host[1], NODE_ROOT, "b", 60000, &e, &err), -ENOENT);
	assert_int_equal(catalog_lookup(host[1], NODE_ROOT, "a", 60000, &e, &err), 0);
	assert_int_equal(catalog_lookup(host[1], NODE_ROOT, "b", 0, &e, &err), -EIO);
	faulty_take_out(&dead, pool[1]);
}

/* A key in it that is no entry's may be that of one, damaged on its way: then the store is asked for each name. */
static void a_doubtful_listing_does_not_answer_for_what_is_not_there(void **state)
{
	struct faulty_store dead;
	struct seen seen = { 0 };
	struct catalog_entry e;
	struct error err = { 0 };

	(void)state;
	create(host[0], NODE_ROOT, "a", NODE_FILE);
	assert_int_equal(store_put_wait(pool[0]->store, "names/0000000000000001/g0000000000000000000000000000000", "?",
	                                1, 0, &err),
	                 0);
	assert_int_equal(catalog_list(host[1], NODE_ROOT, see_entry, &seen, &err), 0);
	assert_int_equal(seen.count, 1);
	create(host[0], NODE_ROOT, "b", NODE_FILE);
	assert_int_equal(catalog_lookup(host[1], NODE_ROOT, "b", 60000, &e, &err), 0);
	faulty_put_in(&dead, pool[1], 0, false);
	assert_int_equal(catalog_lookup(host[1], NODE_ROOT, "a", 60000, &e, &err), 0);
	assert_int_equal(catalog_lookup(host[1], NODE_ROOT, "c", 60000, &e, &err), -EIO);
	faulty_take_out(&dead, pool[1]);
}

static void a_listing_shows_what_other_hosts_did(void **state)
{
	struct seen before = { 0 }, after = { 0 };
	struct error err = { 0 };
	uint64_t gone, moved, kept;

	(void)state;
	gone = create(host[0], NODE_ROOT, "gone", NODE_FILE);
	moved = create(host[0], NODE_ROOT, "old", NODE_FILE);
	kept = create(host[0], NODE_ROOT, "kept", NODE_FILE);
	assert_int_equal(catalog_list(host[1], NODE_ROOT, see_entry, &before, &err), 0);
	assert_int_equal(before.count, 3);
	assert_int_equal(drop(host[0], NODE_ROOT, "gone", NODE_FILE), 0);
	assert_int_equal(move(host[0], NODE_ROOT, "old", NODE_ROOT, "new"), 0);
	usleep(1100 * 1000);
	assert_int_equal(catalog_list(host[1], NODE_ROOT, see_entry, &after, &err), 0);
	assert_int_equal(after.count, 2);
	assert_true(has(&after, kept) && has(&after, moved) && !has(&after, gone));
	assert_true(strcmp(after.names[0], "old") != 0 && strcmp(after.names[1], "old") != 0);
}

static void a_directory_goes_only_when_it_is_empty(void **state)
{
	uint64_t d = create(host[0], NODE_ROOT, "d", NODE_DIRECTORY);
	uint64_t f = create(host[0], d, "f", NODE_FILE);

	(void)state;
	assert_int_equal(at(host[1], NODE_ROOT, "d"), d);
	assert_int_equal(drop(host[1], NODE_ROOT, "d", NODE_DIRECTORY), -ENOTEMPTY);
	assert_int_equal(drop(host[1], NODE_ROOT, "d", NODE_FILE), -EISDIR);
	assert_int_equal(drop(host[1], d, "f", NODE_DIRECTORY), -ENOTDIR);
	assert_int_equal(at(host[1], d, "f"), f);
	assert_int_equal(drop(host[1], d, "f", NODE_FILE), 0);
	assert_int_equal(drop(host[1], NODE_ROOT, "d", NODE_DIRECTORY), 0);
	assert_int_equal(drop(host[1], NODE_ROOT, "d", NODE_DIRECTORY), -ENOENT);
	/* Host 0 still knows the directory's id, but nothing can be put into it. */
	assert_int_equal(try_create(host[0], d, "g", NODE_FILE, &f), -ESTALE);
	assert_int_equal(fixture_count(pool[0], "names/"), 0);
}

static void renaming_follows_the_rules(void **state)
{
	uint64_t d = create(host[0], NODE_ROOT, "d", NODE_DIRECTORY), e = create(host[0], d, "e", NODE_DIRECTORY);
	uint64_t f = create(host[0], NODE_ROOT, "f", NODE_FILE), g = create(host[0], NODE_ROOT, "g", NODE_FILE);
	struct catalog_entry replaced;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(move(host[0], NODE_ROOT, "none", NODE_ROOT, "x"), -ENOENT);
	assert_int_equal(move(host[0], NODE_ROOT, "f", NODE_ROOT, "d"), -EISDIR);
	assert_int_equal(move(host[0], NODE_ROOT, "d", NODE_ROOT, "f"), -ENOTDIR);
	assert_int_equal(move(host[0], NODE_ROOT, "d", d, "x"), -EINVAL);
	assert_int_equal(move(host[0], NODE_ROOT, "d", e, "x"), -EINVAL);
	assert_int_equal(move(host[0], NODE_ROOT, "f", NODE_ROOT, "f"), 0);
	assert_int_equal(catalog_rename(host[0], NODE_ROOT, "f", NODE_ROOT, "g", true, NULL, &err), -EEXIST);
	create(host[0], NODE_ROOT, "h", NODE_DIRECTORY);
	assert_int_equal(move(host[0], NODE_ROOT, "h", NODE_ROOT, "d"), -ENOTEMPTY);
	assert_int_equal(move(host[0], NODE_ROOT, "d", NODE_ROOT, "h"), 0);
	assert_int_equal(at(host[1], NODE_ROOT, "h"), d);
	assert_int_equal(at(host[1], d, "e"), e);
	assert_int_equal(catalog_rename(host[0], NODE_ROOT, "f", NODE_ROOT, "g", false, &replaced, &err), 0);
	assert_int_equal(replaced.id, g);
	assert_int_equal(at(host[1], NODE_ROOT, "g"), f);
	assert_int_equal(at(host[1], NODE_ROOT, "f"), 0);
	assert_int_equal(catalog_rename(host[0], NODE_ROOT, "g", e, "deep", true, &replaced, &err), 0);
	assert_int_equal(replaced.id, 0);
	assert_int_equal(at(host[0], e, "deep"), f);
	struct seen gone = trash(host[1]);
	assert_int_equal(gone.count, 1);
	assert_true(has(&gone, g));
	assert_int_equal(catalog_trash_done(host[1], g, &err), 0);
	assert_int_equal(trash(host[0]).count, 0);
}

static int check_path(void *arg, const char *path, const struct catalog_entry *entry)
{
	char *all = arg;

	assert_int_equal(entry->type, NODE_FILE);
	strcat(strcat(all, path), " ");
	return 0;
}

static void walking_visits_every_image_by_its_path(void **state)
{
	uint64_t a = create(host[0], NODE_ROOT, "a", NODE_DIRECTORY), b = create(host[0], a, "b", NODE_DIRECTORY);
	char all[200] = "";
	struct error err = { 0 };

	(void)state;
	create(host[0], b, "1.raw", NODE_FILE);
	create(host[0], a, "2.raw", NODE_FILE);
	create(host[0], NODE_ROOT, "3.raw", NODE_FILE);
	create(host[0], NODE_ROOT, "empty", NODE_DIRECTORY);
	assert_int_equal(catalog_walk(host[1], check_path, all, &err), 0);
	assert_string_equal(all, "3.raw a/2.raw a/b/1.raw ");
}

static void entries_are_kept_in_the_database_by_version(void **state)
{
	char path[300];
	struct map_db *db;
	struct catalog *c;
	struct seen seen = { 0 };
	struct error err = { 0 };
	uint64_t a = create(host[0], NODE_ROOT, "a", NODE_FILE), b = create(host[0], NODE_ROOT, "b", NODE_FILE);
	struct catalog_entry change = { .id = a, .mode = 0444 }, got;

	(void)state;
	snprintf(path, sizeof path, "%s.db", dir);
	assert_int_equal(map_db_open(path, false, &db, &err), 0);
	for (int round = 0; round < 3; round++) {
		c = catalog_new(pool[1], db);
		seen.count = 0;
		assert_int_equal(catalog_list(c, NODE_ROOT, see_entry, &seen, &err), 0);
		assert_int_equal(seen.count, 2);
		assert_true(has(&seen, a) && has(&seen, b));
		assert_int_equal(catalog_get(c, a, &got), 0);
		assert_int_equal(got.mode, round == 2 ? 0444 : 0640);
		catalog_free(c);
		if (round == 1)
			assert_int_equal(catalog_update(host[0], &change, &err), 0);
	}
	map_db_close(db);
	assert_int_equal(unlink(path), 0);
	snprintf(path, sizeof path, "%s.db-wal", dir);
	(void)unlink(path);
	snprintf(path, sizeof path, "%s.db-shm", dir);
	(void)unlink(path);
}

static void a_damaged_entry_hides_no_other_and_holds_its_directory_and_the_trash(void **state)
{
	uint64_t d = create(host[0], NODE_ROOT, "d", NODE_DIRECTORY), f = create(host[0], d, "f", NODE_FILE);
	char key[STORE_KEY_MAX + 1];
	struct seen seen;
	struct error err = { 0 };

	(void)state;
	create(host[0], NODE_ROOT, "unwanted", NODE_FILE);
	assert_int_equal(drop(host[0], NODE_ROOT, "unwanted", NODE_FILE), 0);
	assert_int_equal(trash(host[0]).count, 1);
	snprintf(key, sizeof key, "names/%016llx/00112233445566778899aabbccddeeff", (unsigned long long)d);
	assert_int_equal(store_put_wait(pool[0]->store, key, "rubbish", 7, 0, &err), 0);
	assert_int_equal(at(host[1], NODE_ROOT, "d"), d);
	seen = list_anew(d);
	assert_int_equal(seen.count, 1);
	assert_true(has(&seen, f));
	assert_int_equal(drop(host[1], d, "f", NODE_FILE), 0);
	assert_int_equal(drop(host[1], NODE_ROOT, "d", NODE_DIRECTORY), -ENOTEMPTY);
	assert_int_equal(catalog_trash_each(host[1], see_id, &seen, &err), -EBADMSG);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(what_is_created_is_seen_by_every_host),
		T(names_that_are_none_are_refused),
		T(attributes_are_changed_for_all_hosts_the_root_s_too),
		T(memory_answers_only_as_long_as_it_may),
		T(a_listing_answers_for_what_is_not_there_too),
		T(a_doubtful_listing_does_not_answer_for_what_is_not_there),
		T(a_listing_shows_what_other_hosts_did),
		T(a_directory_goes_only_when_it_is_empty),
		T(renaming_follows_the_rules),
		T(walking_visits_every_image_by_its_path),
		T(entries_are_kept_in_the_database_by_version),
		T(a_damaged_entry_hides_no_other_and_holds_its_directory_and_the_trash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
