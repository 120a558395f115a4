/* SPDX-License-Identifier: GPL-3.0-only */
/* test_clean_clones.c: cleaning images whose logs others read: each keeps what somebody needs, and no more.
 *
 * GARNER_TEST_SEED repeats a run.
 */
#include "lib/recount.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)
#define GRAIN 4096u
#define DISK (3 * MIB)
#define ORDERS 4
#define WITHIN_NS (60 * 1000000000ull)

static struct image_fixture f;
static struct error err;
static struct random r;

static int set_up(void **state)
{
	(void)state;
	alarm(300);
	memset(&err, 0, sizeof err);
	r.state = env_number("GARNER_TEST_SEED", clock_wall_ns());
	print_message("GARNER_TEST_SEED=%" PRIu64 "\n", r.state);
	image_fixture_init(&f, true);
	image_fixture_open(&f, 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	image_fixture_destroy(&f);
	return 0;
}

/* ---- a family: a parent, its snapshot, a clone of each, and a clone of a clone ---- */

enum member { PARENT, OF_PARENT, OF_SNAPSHOT, OF_CLONE, IMAGES, SNAPSHOT = IMAGES, MEMBERS };

static const char *const names[IMAGES] = { "parent", "of-parent", "of-snapshot", "of-clone" };

struct family {
	bool there[MEMBERS];
	uint64_t id[IMAGES];
	uint8_t bytes[MEMBERS][DISK];
};

static uint64_t id_of(const char *path)
{
	struct node_attr attr;

	if (engine_resolve(f.engine, path, &attr, &err))
		fail_msg("%s: %s", path, error_text(&err));
	return attr.id;
}

/* Writes a third of it anew. */
static void write_part(struct family *m, enum member which)
{
	struct image *i = image_fixture_open_image(f.engine, names[which]);

	for (unsigned k = 0; k < 4; k++) {
		size_t at = random_below(&r, DISK / GRAIN - 64) * GRAIN, len = 64 * GRAIN;
		random_fill(&r, m->bytes[which] + at, len);
		assert_int_equal(write_wait(i, at, m->bytes[which] + at, len), len);
	}
	image_fixture_close_image(i);
}

static void make_clone(struct family *m, enum member which, enum member of, const char *path)
{
	struct node_attr attr;

	if (engine_clone(f.engine, id_of(path), NODE_ROOT, names[which], &attr, &err))
		fail_msg("%s: %s", names[which], error_text(&err));
	m->id[which] = attr.id;
	m->there[which] = true;
	memcpy(m->bytes[which], m->bytes[of], DISK);
}

static void make_family(struct family *m)
{
	struct image *i;

	memset(m, 0, sizeof *m);
	m->id[PARENT] = image_fixture_create(f.engine, "parent");
	m->there[PARENT] = m->there[SNAPSHOT] = true;
	i = image_fixture_open_image(f.engine, "parent");
	random_fill(&r, m->bytes[PARENT], DISK);
	assert_int_equal(write_wait(i, 0, m->bytes[PARENT], DISK), DISK);
	image_fixture_close_image(i);
	if (engine_snapshot_create(f.engine, &m->id[PARENT], 1, "then", &err))
		fail_msg("%s", error_text(&err));
	memcpy(m->bytes[SNAPSHOT], m->bytes[PARENT], DISK);
	write_part(m, PARENT);
	make_clone(m, OF_PARENT, PARENT, "parent");
	make_clone(m, OF_SNAPSHOT, SNAPSHOT, ".snapshots/parent/then");
	write_part(m, OF_PARENT);
	make_clone(m, OF_CLONE, OF_PARENT, "of-parent");
	for (enum member k = PARENT; k < IMAGES; k++)
		write_part(m, k);
}

static void clean(const struct family *m, enum member which)
{
	const struct clean_options options = { .now = true };
	struct clean_result result;

	if (m->there[which] && engine_clean(f.engine, id_of(names[which]), &options, NULL, NULL, &result, &err))
		fail_msg("%s: %s", names[which], error_text(&err));
}

static void check_image(const char *path, const uint8_t *bytes, const char *when)
{
	uint8_t *buf = malloc(DISK);
	struct image *i;

	memset(buf, 0xee, DISK);
	if (image_open(f.engine, id_of(path), IMAGE_READ, &i, &err))
		fail_msg("%s: %s", path, error_text(&err));
	assert_int_equal(read_wait(i, 0, buf, DISK), DISK);
	for (size_t k = 0; k < DISK; k += GRAIN)
		if (memcmp(buf + k, bytes + k, GRAIN) != 0)
			fail_msg("%s, %s: grain %zu is wrong", path, when, k / GRAIN);
	image_close(i, IMAGE_READ);
	free(buf);
}

/* Everybody reads what he should, though nothing of it is in the cache, and the logs hold what they must and no more. */
static void check_family(struct family *m, const char *when)
{
	for (enum member k = PARENT; k < IMAGES; k++) {
		if (!m->there[k])
			continue;
		clean(m, k);
		struct image *i = image_fixture_open_image(f.engine, names[k]);
		check_store(i, when);
		image_fixture_close_image(i);
	}
	cache_evict_all(f.engine->cache);
	for (enum member k = PARENT; k < IMAGES; k++)
		if (m->there[k])
			check_image(names[k], m->bytes[k], when);
	if (m->there[SNAPSHOT])
		check_image(".snapshots/parent/then", m->bytes[SNAPSHOT], when);
}

/* Its data goes when nobody needs it any more; what it held is let go then. */
static void remove_member(struct family *m, enum member which)
{
	m->there[which] = false;
	if (which == SNAPSHOT) {
		assert_int_equal(engine_snapshot_delete(f.engine, m->id[PARENT], "then", &err), 0);
		return;
	}
	if (engine_unlink(f.engine, NODE_ROOT, names[which], &err))
		fail_msg("%s: %s", names[which], error_text(&err));
}

static bool is_gone(uint64_t id)
{
	char prefix[STORE_KEY_MAX + 1];
	int rc;

	snprintf(prefix, sizeof prefix, "images/%016" PRIx64 "/", id);
	rc = store_any(f.engine->pool->store, prefix, &err);
	assert_true(rc >= 0);
	return rc == 0;
}

static void wait_until_gone(const struct family *m, enum member which)
{
	uint64_t until = clock_monotonic_ns() + WITHIN_NS;

	while (!is_gone(m->id[which])) {
		if (clock_monotonic_ns() > until)
			fail_msg("%s is still there", names[which]);
		engine_delete_later(f.engine);
		usleep(20000);
	}
}

/* ---- tests -------------------------------------------------------------------------------------------------------- */

static void test_a_family_that_ends_in_any_order_keeps_what_is_needed(void **state)
{
	struct family *m = malloc(sizeof *m);

	(void)state;
	for (unsigned n = 0; n < ORDERS; n++) {
		enum member left[] = { OF_PARENT, OF_SNAPSHOT, OF_CLONE, SNAPSHOT };
		make_family(m);
		check_family(m, "the whole family");
		for (unsigned count = 4; count; count--) {
			unsigned k = (unsigned)random_below(&r, count);
			char when[40];
			snprintf(when, sizeof when, "order %u, %u left", n, count - 1);
			remove_member(m, left[k]);
			/* A clone of a clone needs it though its name is gone. */
			if (left[k] == OF_SNAPSHOT || (left[k] == OF_PARENT && !m->there[OF_CLONE]))
				wait_until_gone(m, left[k]);
			if (left[k] == OF_CLONE) {
				wait_until_gone(m, OF_CLONE);
				if (!m->there[OF_PARENT])
					wait_until_gone(m, OF_PARENT);
			}
			left[k] = left[count - 1];
			check_family(m, when);
			write_part(m, PARENT);
		}
		check_family(m, "alone again");
		image_fixture_verify(&f);
		remove_member(m, PARENT);
		wait_until_gone(m, PARENT);
	}
	free(m);
}

static void test_a_clone_outlives_the_cleaning_of_all_that_its_parent_was(void **state)
{
	struct family *m = malloc(sizeof *m);
	struct image_space space;
	struct image *i;

	(void)state;
	make_family(m);
	for (unsigned round = 0; round < 3; round++) {
		i = image_fixture_open_image(f.engine, "parent");
		random_fill(&r, m->bytes[PARENT], DISK);
		assert_int_equal(write_wait(i, 0, m->bytes[PARENT], DISK), DISK);
		image_fixture_close_image(i);
		check_family(m, "overwritten");
	}
	assert_int_equal(engine_space(f.engine, m->id[OF_PARENT], &space, &err), 0);
	assert_int_equal(space.allocated, DISK);
	assert_true(space.shared > 0 && space.shared < DISK);
	assert_int_equal(engine_space(f.engine, m->id[PARENT], &space, &err), 0);
	assert_int_equal(space.shared, 0);
	assert_true(space.history >= DISK / 2);
	/* On another host all of it is there as well. */
	image_fixture_close(&f);
	image_fixture_verify(&f);
	image_fixture_open(&f, 1);
	check_family(m, "on another host");
	free(m);
}

/* Of a crash between the hold and the name. */
static void test_what_is_held_for_nobody_is_let_go_after_a_day(void **state)
{
	struct clean_options options = { .now = true };
	struct clean_result result;
	struct snapshot held, there;
	struct node_attr clone;
	uint64_t id = image_fixture_create(f.engine, "disk"), hold;
	struct image *i = image_fixture_open_image(f.engine, "disk");
	char real[SNAPSHOT_NAME_MAX + 1] = "";

	(void)state;
	assert_int_equal(write_wait(i, 0, "some bytes", 10), 10);
	image_fixture_close_image(i);
	assert_int_equal(engine_clone(f.engine, id, NODE_ROOT, "clone", &clone, &err), 0);
	struct layer_list list;
	assert_int_equal(layer_list_load(f.engine->pool, clone.id, &list, &err), 0);
	layer_hold_name(clone.id, list.refs[0].hold, real);
	layer_list_destroy(&list);
	/* One of a clone that is there, as old as can be, and two of one that is not. */
	assert_int_equal(snapshot_load_any(f.engine->pool, id, real, &there, &err), 0);
	there.info.time_ns = 1;
	assert_int_equal(snapshot_save(f.engine->pool, &there, false, &err), 0);
	assert_int_equal(moment_hold(f.engine, id, NULL, catalog_new_id(), NULL, &hold, &held, &err), 0);
	assert_int_equal(engine_clean(f.engine, id, &options, NULL, NULL, &result, &err), 0);
	assert_int_equal(snapshot_load_any(f.engine->pool, id, held.info.name, &there, &err), 0);
	there.info.time_ns -= UINT64_C(25) * 3600 * 1000000000;
	assert_int_equal(snapshot_save(f.engine->pool, &there, false, &err), 0);
	assert_int_equal(engine_clean(f.engine, id, &options, NULL, NULL, &result, &err), 0);
	assert_int_equal(snapshot_load_any(f.engine->pool, id, held.info.name, &there, &err), -ENOENT);
	assert_int_equal(snapshot_load_any(f.engine->pool, id, real, &there, &err), 0);
}

static void age_hold(uint64_t image, const char *name)
{
	struct snapshot held;

	assert_int_equal(snapshot_load_any(f.engine->pool, image, name, &held, &err), 0);
	held.info.time_ns -= UINT64_C(25) * 3600 * 1000000000;
	assert_int_equal(snapshot_save(f.engine->pool, &held, false, &err), 0);
}

static int count_trashed(void *arg, const struct trashed_image *t)
{
	++*(uint64_t *)arg;
	return strncmp(t->name, "orphan-", 7) ? -EINVAL : 0;
}

/* Of a crash between the layers and the name; and of an entry that was lost. */
static void test_images_that_never_got_a_name_go_by_way_of_the_trash(void **state)
{
	uint64_t id = image_fixture_create(f.engine, "disk"), lost = image_fixture_create(f.engine, "lost"), found,
		 trashed = 0;
	struct image *i = image_fixture_open_image(f.engine, "disk"), *l = image_fixture_open_image(f.engine, "lost");
	char hold[SNAPSHOT_NAME_MAX + 1], prefix[60];
	struct layer_list list;
	struct node_attr clone, attr;

	(void)state;
	assert_int_equal(write_wait(i, 0, "some bytes", 10), 10);
	assert_int_equal(write_wait(l, 0, "other bytes", 11), 11);
	image_fixture_close_image(i);
	image_fixture_close_image(l);
	assert_int_equal(engine_clone(f.engine, id, NODE_ROOT, "clone", &clone, &err), 0);
	assert_int_equal(layer_list_load(f.engine->pool, clone.id, &list, &err), 0);
	layer_hold_name(clone.id, list.refs[0].hold, hold);
	layer_list_destroy(&list);
	f.options.trash_ms = 3600000;
	image_fixture_close(&f);
	image_fixture_open(&f, 0);
	assert_int_equal(engine_find_orphans(f.engine, false, &found, &err), 0);
	assert_int_equal(found, 0);

	/* The names are lost. */
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "clone", &err), 0);
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "lost", &err), 0);
	assert_int_equal(engine_find_orphans(f.engine, false, &found, &err), 0);
	assert_int_equal(found, 0);
	assert_int_equal(catalog_trash_done(f.engine->catalog, clone.id, &err), 0);
	assert_int_equal(catalog_trash_done(f.engine->catalog, lost, &err), 0);
	image_fixture_close(&f);
	image_fixture_open(&f, 0);
	assert_int_equal(engine_lookup(f.engine, NODE_ROOT, "disk", &attr, &err), 0);

	/* One may be about to get its name. */
	assert_int_equal(engine_find_orphans(f.engine, true, &found, &err), 0);
	assert_int_equal(found, 1);
	assert_int_equal(engine_trash_each(f.engine, count_trashed, &trashed, &err), 0);
	assert_int_equal(trashed, 0);
	age_hold(id, hold);
	assert_int_equal(engine_find_orphans(f.engine, false, &found, &err), 0);
	assert_int_equal(found, 2);
	assert_int_equal(engine_find_orphans(f.engine, false, &found, &err), 0);
	assert_int_equal(found, 0);
	assert_int_equal(engine_trash_each(f.engine, count_trashed, &trashed, &err), 0);
	assert_int_equal(trashed, 2);

	/* One is had back, and the other one goes. */
	assert_int_equal(engine_undelete(f.engine, lost, NODE_ROOT, "lost", &err), 0);
	i = image_fixture_open_image(f.engine, "lost");
	char bytes[11];
	assert_int_equal(read_wait(i, 0, bytes, 11), 11);
	assert_memory_equal(bytes, "other bytes", 11);
	image_fixture_close_image(i);
	f.options.trash_ms = 1;
	image_fixture_close(&f);
	image_fixture_open(&f, 0);
	snprintf(prefix, sizeof prefix, "images/%016" PRIx64 "/", clone.id);
	for (int k = 0; k < 500 && store_any(f.engine->pool->store, prefix, &err) == 1; k++)
		usleep(20000);
	assert_int_equal(store_any(f.engine->pool->store, prefix, &err), 0);
	assert_int_equal(snapshot_any(f.engine->pool, id, false, &err), 0);
	assert_int_equal(engine_lookup(f.engine, NODE_ROOT, "lost", &attr, &err), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(test_a_family_that_ends_in_any_order_keeps_what_is_needed),
		T(test_a_clone_outlives_the_cleaning_of_all_that_its_parent_was),
		T(test_what_is_held_for_nobody_is_let_go_after_a_day),
		T(test_images_that_never_got_a_name_go_by_way_of_the_trash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
