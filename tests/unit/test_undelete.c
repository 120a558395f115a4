/* SPDX-License-Identifier: GPL-3.0-only */
/* test_undelete.c: images that were deleted, and are had back with all that was in them, or go when their time is up. */
#include "lib/image_fixture.h"

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

#define HOUR_MS (3600 * UINT64_C(1000))

static struct image_fixture f;
static struct error err;

static int set_up(void **state)
{
	(void)state;
	alarm(300);
	memset(&err, 0, sizeof err);
	image_fixture_init(&f, true);
	f.options.trash_ms = HOUR_MS;
	image_fixture_open(&f, 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	image_fixture_destroy(&f);
	return 0;
}

struct trash {
	unsigned count;
	uint64_t id[8];
	char name[8][40];
};

static int note_one(void *arg, const struct trashed_image *t)
{
	struct trash *all = arg;

	assert_int_equal(t->expires_ns - t->deleted_ns, f.options.trash_ms * 1000000);
	all->id[all->count] = t->id;
	snprintf(all->name[all->count++], 40, "%.39s", t->name);
	return 0;
}

static struct trash look(void)
{
	struct trash all = { 0 };

	if (engine_trash_each(f.engine, note_one, &all, &err))
		fail_msg("%s", error_text(&err));
	return all;
}

static uint64_t make(const char *name, const char *text)
{
	uint64_t id = image_fixture_create(f.engine, name);
	struct image *i = image_fixture_open_image(f.engine, name);

	assert_int_equal(write_wait(i, 0, text, strlen(text)), strlen(text));
	image_fixture_close_image(i);
	return id;
}

static void holds(const char *name, const char *text)
{
	char buf[100] = "";
	struct image *i = image_fixture_open_image(f.engine, name);

	assert_int_equal(read_wait(i, 0, buf, strlen(text)), strlen(text));
	assert_string_equal(buf, text);
	/* And goes on. */
	assert_int_equal(write_wait(i, 0, text, strlen(text)), strlen(text));
	image_fixture_close_image(i);
}

static bool is_stored(uint64_t id)
{
	char key[STORE_KEY_MAX + 1];
	uint64_t size;

	snprintf(key, sizeof key, "images/%016" PRIx64 "/epochs/%016x", id, 1);
	return store_head_wait(f.engine->pool->store, key, &size, NULL) == 0;
}

static void a_deleted_image_comes_back_with_its_bytes_and_attributes(void **state)
{
	struct node_attr attr;
	struct trash t;
	uint64_t id = make("disk", "what was written");

	(void)state;
	assert_int_equal(engine_getattr(f.engine, id, &attr, &err), 0);
	attr.mode = 0640;
	attr.uid = 7;
	attr.gid = 8;
	assert_int_equal(engine_setattr(f.engine, id, ATTR_MODE | ATTR_OWNER, &attr, &err), 0);
	assert_int_equal(look().count, 0);
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "disk", &err), 0);
	t = look();
	assert_int_equal(t.count, 1);
	assert_int_equal(t.id[0], id);
	assert_string_equal(t.name[0], "disk");
	assert_int_equal(engine_undelete(f.engine, id, 0, NULL, &err), 0);
	assert_int_equal(look().count, 0);
	assert_int_equal(engine_lookup(f.engine, NODE_ROOT, "disk", &attr, &err), 0);
	assert_int_equal(attr.id, id);
	assert_int_equal(attr.mode, 0640);
	assert_int_equal(attr.uid, 7);
	assert_int_equal(attr.gid, 8);
	assert_int_equal(attr.nlink, 1);
	holds("disk", "what was written");
	assert_int_equal(engine_undelete(f.engine, id, 0, NULL, &err), -ENOENT);
}

/* What had not been sent is sent, deleted or not. */
static void it_comes_back_after_the_mount_on_another_host(void **state)
{
	uint64_t id = make("disk", "what was written");

	(void)state;
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "disk", &err), 0);
	image_fixture_close(&f);
	image_fixture_lose_cache(&f, 0);
	image_fixture_open(&f, 1);
	assert_int_equal(look().count, 1);
	assert_int_equal(engine_undelete(f.engine, id, 0, NULL, &err), 0);
	holds("disk", "what was written");
}

static void a_replaced_image_comes_back_under_another_name(void **state)
{
	uint64_t old = make("disk", "the old one"), folder;
	struct node_attr attr;

	(void)state;
	make("new", "the new one");
	assert_int_equal(engine_rename(f.engine, NODE_ROOT, "new", NODE_ROOT, "disk", false, &err), 0);
	assert_int_equal(look().count, 1);
	assert_int_equal(engine_undelete(f.engine, old, 0, NULL, &err), -EEXIST);
	assert_int_equal(engine_undelete(f.engine, old, 0x1234, "old", &err), -ESTALE);
	assert_int_equal(engine_undelete(f.engine, old, NODE_ROOT, "a/b", &err), -EINVAL);
	assert_int_equal(engine_undelete(f.engine, old, NODE_ROOT, ".snapshots", &err), -EROFS);
	assert_int_equal(look().count, 1);
	assert_int_equal(engine_create(f.engine, NODE_ROOT, "folder", NODE_DIRECTORY, 0755, 0, 0, &attr, &err), 0);
	folder = attr.id;
	assert_int_equal(engine_undelete(f.engine, old, folder, "old", &err), 0);
	holds("disk", "the new one");
	assert_int_equal(engine_resolve(f.engine, "folder/old", &attr, &err), 0);
	assert_int_equal(attr.id, old);
}

/* Deleted while a guest has it open: it writes on, and all of it comes back. */
static void what_was_open_comes_back_as_its_guest_left_it(void **state)
{
	uint64_t id = make("disk", "before");
	struct image *i = image_fixture_open_image(f.engine, "disk");

	(void)state;
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "disk", &err), 0);
	assert_int_equal(write_wait(i, 0, "after!", 6), 6);
	assert_int_equal(engine_undelete(f.engine, id, 0, NULL, &err), 0);
	assert_int_equal(write_wait(i, 6, " more", 5), 5);
	image_fixture_close_image(i);
	holds("disk", "after! more");
	image_fixture_close(&f);
	image_fixture_lose_cache(&f, 0);
	image_fixture_open(&f, 0);
	holds("disk", "after! more");
}

static void when_its_time_is_up_it_goes(void **state)
{
	uint64_t id = make("disk", "what was written"), other = make("other", "kept"), until;

	(void)state;
	image_fixture_close(&f);
	f.options.trash_ms = 2000;
	image_fixture_open(&f, 0);
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "disk", &err), 0);
	assert_true(is_stored(id));
	assert_int_equal(engine_undelete(f.engine, id, 0, NULL, &err), -ETIME); /* too near the end */
	until = clock_monotonic_ns() + seconds_ns(60);
	while ((is_stored(id) || look().count) && clock_monotonic_ns() < until)
		usleep(20000);
	assert_false(is_stored(id));
	assert_true(is_stored(other));
	assert_int_equal(engine_undelete(f.engine, id, 0, NULL, &err), -ENOENT);
	assert_int_equal(look().count, 0);
}

static void what_a_longer_time_keeps_a_shorter_one_lets_go(void **state)
{
	uint64_t id = make("disk", "what was written"), until;

	(void)state;
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "disk", &err), 0);
	usleep(600000); /* a few looks at the trash */
	assert_true(is_stored(id));
	image_fixture_close(&f);
	f.options.trash_ms = 1;
	image_fixture_open(&f, 0);
	until = clock_monotonic_ns() + seconds_ns(60);
	while (is_stored(id) && clock_monotonic_ns() < until)
		usleep(20000);
	assert_false(is_stored(id));
}

static bool is_to_go(struct engine *e, uint64_t id)
{
	pthread_mutex_lock(&e->mutex);
	bool there = hash_get(e->deletions, id);
	pthread_mutex_unlock(&e->mutex);
	return there;
}

/* Hosts may keep the trash for different times, or their clocks differ. */
static void what_another_host_had_back_is_not_deleted_when_it_is_closed_here(void **state)
{
	struct timespec pause = { .tv_nsec = 1000000 };
	char buf[100] = "";
	struct image *reader;

	(void)state;
	image_fixture_close(&f);
	f.options.trash_ms = 1;
	image_fixture_open(&f, 0);
	uint64_t id = make("disk", "what was written");
	assert_int_equal(image_open(f.engine, id, IMAGE_READ, &reader, &err), 0);
	f.options.trash_ms = HOUR_MS;
	struct engine *other = image_fixture_open_beside(&f, 1);
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "disk", &err), 0);
	while (!is_to_go(f.engine, id))
		nanosleep(&pause, NULL);
	assert_int_equal(engine_undelete(other, id, 0, NULL, &err), 0);
	image_close(reader, IMAGE_READ);
	while (is_to_go(f.engine, id))
		nanosleep(&pause, NULL);
	assert_true(is_stored(id));
	assert_int_equal(image_open(other, id, IMAGE_READ, &reader, &err), 0);
	assert_int_equal(read_wait(reader, 0, buf, 16), 16);
	assert_string_equal(buf, "what was written");
	image_close(reader, IMAGE_READ);
	assert_int_equal(engine_close(other, &err), 0);
}

static bool is_unlinked(struct engine *e, uint64_t id)
{
	pthread_mutex_lock(&e->mutex);
	struct image *i = hash_get(e->images, id);
	bool unlinked = hash_get(e->unlinked, id) || (i && i->unlinked);
	pthread_mutex_unlock(&e->mutex);
	return unlinked;
}

static uint32_t stored_mode(struct engine *e, const char *name)
{
	struct catalog_entry entry;

	assert_int_equal(catalog_lookup(e->catalog, NODE_ROOT, name, 0, &entry, &err), 0);
	return entry.mode;
}

/* Under its old name, of which this host hears when it changes the attributes; and under another one, that it has seen. */
static void attributes_of_what_another_host_had_back_are_changed_in_the_store(void **state)
{
	uint64_t id = make("disk", "what was written");
	struct engine *other = image_fixture_open_beside(&f, 1);
	struct image *reader;
	struct node_attr attr = { .mode = 0604 };

	(void)state;
	assert_int_equal(image_open(f.engine, id, IMAGE_READ, &reader, &err), 0);
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "disk", &err), 0);
	assert_int_equal(engine_setattr(f.engine, id, ATTR_MODE, &attr, &err), 0);
	assert_int_equal(engine_getattr(f.engine, id, &attr, &err), 0);
	assert_int_equal(attr.nlink, 0);
	assert_int_equal(attr.mode, 0604);
	assert_int_equal(engine_undelete(other, id, 0, NULL, &err), 0);
	attr.mode = 0640;
	assert_int_equal(engine_setattr(f.engine, id, ATTR_MODE, &attr, &err), 0);
	assert_int_equal(stored_mode(other, "disk"), 0640);
	assert_int_equal(engine_getattr(f.engine, id, &attr, &err), 0);
	assert_int_equal(attr.nlink, 1);
	assert_false(is_unlinked(f.engine, id));

	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "disk", &err), 0);
	assert_true(is_unlinked(f.engine, id));
	assert_int_equal(engine_undelete(other, id, NODE_ROOT, "again", &err), 0);
	assert_int_equal(engine_lookup(f.engine, NODE_ROOT, "again", &attr, &err), 0);
	assert_false(is_unlinked(f.engine, id));
	attr.mode = 0600;
	assert_int_equal(engine_setattr(f.engine, id, ATTR_MODE, &attr, &err), 0);
	assert_int_equal(stored_mode(other, "again"), 0600);
	image_close(reader, IMAGE_READ);
	assert_int_equal(engine_close(other, &err), 0);
}

static void what_another_host_deletes_is_forgotten_here(void **state)
{
	struct image *reader;
	struct node_attr attr;
	uint64_t id = make("disk", "what was written"), open = make("open", "what is read");

	(void)state;
	image_fixture_close(&f);
	image_fixture_open(&f, 0); /* nothing is in memory */
	assert_int_equal(engine_lookup(f.engine, NODE_ROOT, "open", &attr, &err), 0);
	assert_int_equal(image_open(f.engine, open, IMAGE_READ, &reader, &err), 0);
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "disk", &err), 0);
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "open", &err), 0);
	f.options.trash_ms = 1;
	struct engine *other = image_fixture_open_beside(&f, 1);
	while (is_stored(id))
		usleep(20000);
	assert_int_equal(engine_close(other, &err), 0);
	while (is_unlinked(f.engine, id)) {
		engine_delete_later(f.engine);
		usleep(20000);
	}
	/* But not of what is still open. */
	assert_int_equal(engine_getattr(f.engine, open, &attr, &err), 0);
	assert_int_equal(attr.nlink, 0);
	image_close(reader, IMAGE_READ);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		T(what_another_host_had_back_is_not_deleted_when_it_is_closed_here),
		T(attributes_of_what_another_host_had_back_are_changed_in_the_store),
		T(what_another_host_deletes_is_forgotten_here),
		T(a_deleted_image_comes_back_with_its_bytes_and_attributes),
		T(it_comes_back_after_the_mount_on_another_host),
		T(a_replaced_image_comes_back_under_another_name),
		T(what_was_open_comes_back_as_its_guest_left_it),
		T(when_its_time_is_up_it_goes),
		T(what_a_longer_time_keeps_a_shorter_one_lets_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
