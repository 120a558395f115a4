/* SPDX-License-Identifier: GPL-3.0-only */
/* test_catalog_lag.c: the tree of names on a store whose listings show late what was done, and whose creating is not atomic. */
#include "image/catalog_private.h"
#include "lib/catalog_fixture.h"
#include "lib/weak_store.h"

#include <pthread.h>

static struct weak_store weak;

/* All hosts use the one weak store. */
static int setup_weak(void **state)
{
	setup(state);
	weak_init(&weak, pool[0]->store, STORE_READ_LATEST);
	for (int i = 1; i < HOSTS; i++)
		store_close(pool[i]->store);
	for (int i = 0; i < HOSTS; i++)
		pool[i]->store = &weak.store;
	return 0;
}

static int teardown_weak(void **state)
{
	weak_destroy(&weak);
	pool[0]->store = weak.below;
	return teardown(state);
}

/* Reads the directory, however short ago it was read last. */
static struct seen list_now(struct catalog *c, uint64_t parent)
{
	struct seen seen = { 0 };
	struct error err = { 0 };

	if (catalog_refresh(c, parent, 0, &err) || catalog_list(c, parent, see_entry, &seen, &err))
		fail_msg("%s", error_text(&err));
	return seen;
}

/* ---- what is shown ---- */

static void what_was_created_here_does_not_vanish_because_it_is_not_listed_yet(void **state)
{
	(void)state;
	weak_lag(&weak);
	uint64_t id = create(host[0], NODE_ROOT, "new", NODE_FILE);
	struct seen here = list_now(host[0], NODE_ROOT);
	assert_int_equal(here.count, 1);
	assert_true(has(&here, id));
	here = list_now(host[0], NODE_ROOT);
	assert_true(has(&here, id));
	/* Others find it by its name, and from then on list it too. */
	assert_int_equal(list_now(host[1], NODE_ROOT).count, 0);
	assert_int_equal(at(host[1], NODE_ROOT, "new"), id);
	here = list_now(host[1], NODE_ROOT);
	assert_true(has(&here, id));
	weak_lag(&weak);
	assert_int_equal(list_now(host[2], NODE_ROOT).count, 1);
}

static void a_listing_does_not_answer_for_what_it_does_not_show(void **state)
{
	struct seen seen = { 0 };
	struct catalog_entry e;
	struct error err = { 0 };

	(void)state;
	weak_lag(&weak);
	assert_int_equal(catalog_list(host[1], NODE_ROOT, see_entry, &seen, &err), 0);
	create(host[0], NODE_ROOT, "new", NODE_FILE);
	assert_int_equal(catalog_lookup(host[1], NODE_ROOT, "new", 60000, &e, &err), 0);
}

static void what_is_gone_is_not_shown_though_it_is_listed(void **state)
{
	(void)state;
	create(host[0], NODE_ROOT, "here", NODE_FILE);
	uint64_t kept = create(host[0], NODE_ROOT, "kept", NODE_FILE);
	create(host[0], NODE_ROOT, "there", NODE_FILE);
	assert_int_equal(list_now(host[0], NODE_ROOT).count, 3);
	weak_lag(&weak);
	assert_int_equal(drop(host[0], NODE_ROOT, "here", NODE_FILE), 0);
	assert_int_equal(drop(host[1], NODE_ROOT, "there", NODE_FILE), 0);
	struct seen seen = list_now(host[0], NODE_ROOT);
	assert_int_equal(seen.count, 1);
	assert_true(has(&seen, kept));
}

static void what_another_host_removed_goes_though_it_was_never_listed(void **state)
{
	(void)state;
	weak_lag(&weak);
	create(host[0], NODE_ROOT, "brief", NODE_FILE);
	assert_int_equal(drop(host[1], NODE_ROOT, "brief", NODE_FILE), 0);
	assert_int_equal(list_now(host[0], NODE_ROOT).count, 0);
}

static void a_name_that_was_changed_is_shown_once_and_as_it_is(void **state)
{
	uint64_t id = create(host[0], NODE_ROOT, "old", NODE_FILE);
	struct catalog_entry change = { .id = id, .mode = 0400 }, got;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(list_now(host[0], NODE_ROOT).count, 1);
	weak_lag(&weak);
	assert_int_equal(at(host[1], NODE_ROOT, "old"), id);
	assert_int_equal(catalog_update(host[1], &change, &err), 0);
	assert_int_equal(list_now(host[0], NODE_ROOT).count, 1);
	assert_int_equal(catalog_get(host[0], id, &got), 0);
	assert_int_equal(got.mode, 0400);
	assert_int_equal(move(host[0], NODE_ROOT, "old", NODE_ROOT, "new"), 0);
	struct seen seen = list_now(host[0], NODE_ROOT);
	assert_int_equal(seen.count, 1);
	assert_string_equal(seen.names[0], "new");
}

static void where_listings_do_not_lag_nothing_more_is_asked(void **state)
{
	unsigned gets, lists;

	(void)state;
	weak.store.capabilities = STORE_READ_LATEST | STORE_LIST_CONSISTENT;
	create(host[0], NODE_ROOT, "a", NODE_FILE);
	create(host[0], NODE_ROOT, "d", NODE_DIRECTORY);
	list_now(host[0], NODE_ROOT);
	gets = atomic_load(&weak.gets);
	lists = atomic_load(&weak.lists);
	assert_int_equal(list_now(host[0], NODE_ROOT).count, 2);
	/* The root's own attributes. */
	assert_int_equal(atomic_load(&weak.gets) - gets, 1);
	assert_int_equal(atomic_load(&weak.lists) - lists, 1);
}

/* ---- directories ---- */

static void a_directory_is_not_removed_for_what_is_not_listed_yet(void **state)
{
	(void)state;
	weak_lag(&weak);
	uint64_t d = create(host[0], NODE_ROOT, "d", NODE_DIRECTORY), f = create(host[0], d, "f", NODE_FILE);
	create(host[0], NODE_ROOT, "h", NODE_DIRECTORY);
	assert_int_equal(drop(host[0], NODE_ROOT, "d", NODE_DIRECTORY), -ENOTEMPTY);
	assert_int_equal(move(host[0], NODE_ROOT, "h", NODE_ROOT, "d"), -ENOTEMPTY);
	assert_int_equal(at(host[1], NODE_ROOT, "d"), d);
	assert_int_equal(at(host[1], d, "f"), f);
	/* Host 1 has met the file by now. */
	assert_int_equal(drop(host[1], NODE_ROOT, "d", NODE_DIRECTORY), -ENOTEMPTY);
	assert_int_equal(drop(host[2], d, "f", NODE_FILE), 0);
	assert_int_equal(drop(host[1], NODE_ROOT, "d", NODE_DIRECTORY), 0);
}

static void a_directory_is_removed_though_what_was_in_it_is_still_listed(void **state)
{
	uint64_t d = create(host[0], NODE_ROOT, "d", NODE_DIRECTORY),
		 h = create(host[0], NODE_ROOT, "h", NODE_DIRECTORY);

	(void)state;
	create(host[0], d, "f", NODE_FILE);
	weak_lag(&weak);
	assert_int_equal(drop(host[0], d, "f", NODE_FILE), 0);
	assert_int_equal(move(host[0], NODE_ROOT, "h", NODE_ROOT, "d"), 0);
	assert_int_equal(at(host[1], NODE_ROOT, "d"), h);
	assert_int_equal(drop(host[1], NODE_ROOT, "d", NODE_DIRECTORY), 0);
}

static void a_directory_with_what_cannot_be_told_stays(void **state)
{
	uint64_t d = create(host[0], NODE_ROOT, "d", NODE_DIRECTORY);
	char key[STORE_KEY_MAX + 1];
	struct error err = { 0 };

	(void)state;
	snprintf(key, sizeof key, "names/%016llx/00112233445566778899aabbccddeeff", (unsigned long long)d);
	assert_int_equal(store_put_wait(weak.below, key, "rubbish", 7, 0, &err), 0);
	assert_int_equal(drop(host[0], NODE_ROOT, "d", NODE_DIRECTORY), -ENOTEMPTY);
	assert_int_equal(store_remove_wait(weak.below, key, &err), 0);
	snprintf(key, sizeof key, "names/%016llx/stranger", (unsigned long long)d);
	assert_int_equal(store_put_wait(weak.below, key, "rubbish", 7, 0, &err), 0);
	assert_int_equal(drop(host[0], NODE_ROOT, "d", NODE_DIRECTORY), -ENOTEMPTY);
}

static void the_trash_is_kept(void **state)
{
	struct seen seen = { 0 };
	struct error err = { 0 };

	(void)state;
	create(host[0], NODE_ROOT, "a", NODE_FILE);
	assert_int_equal(drop(host[0], NODE_ROOT, "a", NODE_FILE), 0);
	assert_int_equal(catalog_trash_each(host[0], see_id, &seen, &err), -EOPNOTSUPP);
	assert_int_equal(seen.count, 0);
	assert_int_equal(fixture_count(pool[0], "trash/"), 1);
}

/* ---- two hosts, one name ---- */

struct creator {
	pthread_t thread;
	struct catalog *c;
	uint64_t id;
	int rc;
};

static void *create_same(void *arg)
{
	struct creator *c = arg;

	c->rc = try_create(c->c, NODE_ROOT, "same", NODE_FILE, &c->id);
	return NULL;
}

static void of_two_who_create_one_name_the_one_whose_entry_is_there_has_it(void **state)
{
	struct creator creators[2];
	unsigned winners = 0;

	(void)state;
	weak.race = 2;
	for (int i = 0; i < 2; i++) {
		creators[i] = (struct creator){ .c = host[i] };
		assert_int_equal(pthread_create(&creators[i].thread, NULL, create_same, &creators[i]), 0);
	}
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(creators[i].thread, NULL), 0);
	for (int i = 0; i < 2; i++) {
		if (creators[i].rc) {
			assert_int_equal(creators[i].rc, -EEXIST);
			continue;
		}
		winners++;
		assert_int_equal(at(host[2], NODE_ROOT, "same"), creators[i].id);
	}
	assert_int_equal(winners, 1);
}

static void where_no_condition_is_known_what_is_there_stays(void **state)
{
	uint64_t id = create(host[0], NODE_ROOT, "a", NODE_FILE), other;

	(void)state;
	weak.unconditional = true;
	assert_int_equal(try_create(host[1], NODE_ROOT, "a", NODE_FILE, &other), -EEXIST);
	assert_int_equal(at(host[2], NODE_ROOT, "a"), id);
	other = create(host[1], NODE_ROOT, "b", NODE_FILE);
	assert_int_equal(at(host[2], NODE_ROOT, "b"), other);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup_weak, teardown_weak)
	const struct CMUnitTest tests[] = {
		T(what_was_created_here_does_not_vanish_because_it_is_not_listed_yet),
		T(a_listing_does_not_answer_for_what_it_does_not_show),
		T(what_is_gone_is_not_shown_though_it_is_listed),
		T(what_another_host_removed_goes_though_it_was_never_listed),
		T(a_name_that_was_changed_is_shown_once_and_as_it_is),
		T(where_listings_do_not_lag_nothing_more_is_asked),
		T(a_directory_is_not_removed_for_what_is_not_listed_yet),
		T(a_directory_is_removed_though_what_was_in_it_is_still_listed),
		T(a_directory_with_what_cannot_be_told_stays),
		T(the_trash_is_kept),
		T(of_two_who_create_one_name_the_one_whose_entry_is_there_has_it),
		T(where_no_condition_is_known_what_is_there_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
