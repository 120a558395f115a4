/* SPDX-License-Identifier: GPL-3.0-only */
/* test_snapshot.c: moments of images: that they stay what they were, whatever happens later, and are one moment for a group.
 *
 * GARNER_TEST_SEED repeats a run.
 */
#include "lib/image_fixture.h"

#include "base/clock.h"
#include "image/pool_copy.h"
#include "image/verify.h"
#include "log/log_private.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)
#define DISK (3 * MIB)
#define MOMENTS 6
#define APPENDERS 12 /* as many as the engine has threads to go on on */

static struct image_fixture f;
static struct error err;

static int set_up(void **state)
{
	(void)state;
	alarm(300);
	memset(&err, 0, sizeof err);
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

/* ---- help --------------------------------------------------------------------------------------------------------- */

static uint64_t id_of(struct engine *e, const char *path)
{
	struct node_attr attr;

	if (engine_resolve(e, path, &attr, &err))
		fail_msg("%s: %s", path, error_text(&err));
	return attr.id;
}

static void take(struct engine *e, uint64_t image, const char *name)
{
	if (engine_snapshot_create(e, &image, 1, name, &err))
		fail_msg("%s: %s", name, error_text(&err));
}

/* The snapshot's content, through its name. */
static void read_snapshot(struct engine *e, const char *image, const char *name, uint8_t *buf, size_t len)
{
	char path[200];
	struct image *i;

	snprintf(path, sizeof path, ".snapshots/%s/%s", image, name);
	if (image_open(e, id_of(e, path), IMAGE_READ, &i, &err))
		fail_msg("%s: %s", path, error_text(&err));
	memset(buf, 0xee, len);
	assert_int_equal(read_wait(i, 0, buf, len), len);
	image_close(i, IMAGE_READ);
}

static void write_some(struct random *r, struct image *i, uint8_t *disk, unsigned writes)
{
	static uint8_t buf[70000];

	while (writes--) {
		size_t len = 1 + random_below(r, random_once_in(r, 3) ? sizeof buf : 5000);
		uint64_t at = random_below(r, DISK - len);

		if (random_once_in(r, 10)) {
			assert_int_equal(discard_wait(i, at, len), 0);
			memset(disk + at, 0, len);
			continue;
		}
		random_fill(r, buf, len);
		assert_int_equal(write_wait(i, at, buf, len), len);
		memcpy(disk + at, buf, len);
	}
}

static uint64_t errors_in_pool(void)
{
	static struct verify_report report;
	struct pool *p = f.engine ? f.engine->pool : NULL;

	assert_non_null(p);
	memset(&report, 0, sizeof report);
	assert_int_equal(pool_verify(p, NULL, &report, NULL, NULL, &err), 0);
	for (size_t k = 0; k < report.text_count; k++)
		print_message("  %s\n", report.text[k]);
	return report.errors;
}

/* ---- moments ------------------------------------------------------------------------------------------------------ */

static void check_moments(struct engine *e, uint8_t *const *moment, unsigned count, uint64_t seed, const char *when)
{
	uint8_t *buf = malloc(DISK);
	char name[20];

	for (unsigned k = 0; k < count; k++) {
		snprintf(name, sizeof name, "m%u", k);
		read_snapshot(e, "disk", name, buf, DISK);
		if (memcmp(buf, moment[k], DISK) != 0)
			fail_msg("seed %" PRIu64 ": snapshot %u is not what it was, %s", seed, k, when);
	}
	free(buf);
}

/* Overwritten in the same segment and in later ones, with SQLite and the cache lost, on another host. */
static void a_snapshot_stays_what_it_was(void **state)
{
	uint64_t seed = env_number("GARNER_TEST_SEED", clock_wall_ns());
	struct random r = { seed };
	uint8_t *disk = calloc(1, DISK), *moment[MOMENTS], *buf = malloc(DISK);
	struct image *i;
	uint64_t id;

	(void)state;
	print_message("GARNER_TEST_SEED=%" PRIu64 "\n", seed);
	id = image_fixture_create(f.engine, "disk");
	i = image_fixture_open_image(f.engine, "disk");
	assert_int_equal(resize_wait(i, DISK), 0);
	for (unsigned k = 0; k < MOMENTS; k++) {
		char name[20];

		write_some(&r, i, disk, 1 + (unsigned)random_below(&r, 40));
		snprintf(name, sizeof name, "m%u", k);
		take(f.engine, id, name);
		moment[k] = malloc(DISK);
		memcpy(moment[k], disk, DISK);
		write_some(&r, i, disk, (unsigned)random_below(&r, 10));
		check_moments(f.engine, moment, k + 1, seed, "soon");
	}
	write_some(&r, i, disk, 60);
	check_moments(f.engine, moment, MOMENTS, seed, "later");
	image_fixture_close_image(i);
	image_fixture_close(&f);

	image_fixture_lose_db(&f, 0);
	image_fixture_open(&f, 0);
	check_moments(f.engine, moment, MOMENTS, seed, "with SQLite lost");
	image_fixture_close(&f);
	image_fixture_open(&f, 1);
	check_moments(f.engine, moment, MOMENTS, seed, "on another host");
	i = image_fixture_open_image(f.engine, "disk");
	assert_int_equal(read_wait(i, 0, buf, DISK), DISK);
	assert_memory_equal(buf, disk, DISK);
	write_some(&r, i, disk, 30);
	check_moments(f.engine, moment, MOMENTS, seed, "while the other host writes");
	image_fixture_close_image(i);
	image_fixture_close(&f);
	image_fixture_lose_cache(&f, 1);
	image_fixture_open(&f, 1);
	check_moments(f.engine, moment, MOMENTS, seed, "with the cache lost");
	assert_int_equal(errors_in_pool(), 0);
	for (unsigned k = 0; k < MOMENTS; k++)
		free(moment[k]);
	free(disk);
	free(buf);
}

struct chaser {
	struct image *image[2];
	atomic_bool stop;
	_Atomic uint64_t rounds;
};

/* Counts in the first image, and then in the second, for ever. */
static void *chase(void *arg)
{
	struct chaser *c = arg;

	for (uint64_t n = 1; !c->stop; n++) {
		for (unsigned k = 0; k < 2; k++)
			if (write_wait(c->image[k], 0, &n, sizeof n) != sizeof n)
				abort();
		c->rounds = n;
	}
	return NULL;
}

static void a_group_is_one_moment(void **state)
{
	struct chaser c = { 0 };
	pthread_t thread;
	uint64_t ids[2];

	(void)state;
	ids[0] = image_fixture_create(f.engine, "first");
	ids[1] = image_fixture_create(f.engine, "second");
	c.image[0] = image_fixture_open_image(f.engine, "first");
	c.image[1] = image_fixture_open_image(f.engine, "second");
	for (unsigned k = 0; k < 2; k++)
		assert_int_equal(write_wait(c.image[k], 0, "\0\0\0\0\0\0\0", 8), 8);
	assert_int_equal(pthread_create(&thread, NULL, chase, &c), 0);
	for (unsigned k = 0; k < 20; k++) {
		uint64_t before = c.rounds, n[2];
		char name[20];

		snprintf(name, sizeof name, "g%u", k);
		if (engine_snapshot_create(f.engine, ids, 2, name, &err))
			fail_msg("%s", error_text(&err));
		read_snapshot(f.engine, "first", name, (uint8_t *)&n[0], sizeof n[0]);
		read_snapshot(f.engine, "second", name, (uint8_t *)&n[1], sizeof n[1]);
		assert_true(n[0] >= before && n[1] >= before);
		if (n[0] != n[1] && n[0] != n[1] + 1)
			fail_msg("the first image is at %" PRIu64 ", the second at %" PRIu64, n[0], n[1]);
	}
	c.stop = true;
	pthread_join(thread, NULL);
	image_fixture_close_image(c.image[0]);
	image_fixture_close_image(c.image[1]);
}

/* ---- names -------------------------------------------------------------------------------------------------------- */

static int count_one(void *arg, const struct snapshot_info *s)
{
	unsigned *count = arg;

	assert_true(snapshot_name_valid(s->name));
	++*count;
	return 0;
}

static unsigned count_snapshots(uint64_t image)
{
	unsigned count = 0;

	assert_int_equal(engine_snapshot_each(f.engine, image, count_one, &count, &err), 0);
	return count;
}

static void names_are_taken_once_and_kept_when_protected(void **state)
{
	uint64_t id = image_fixture_create(f.engine, "disk"), twice[] = { id, id }, other;

	(void)state;
	take(f.engine, id, "one");
	assert_int_equal(engine_snapshot_create(f.engine, &id, 1, "one", &err), -EEXIST);
	assert_int_equal(engine_snapshot_check(f.engine, &id, 1, "one", &err), -EEXIST);
	assert_int_equal(engine_snapshot_check(f.engine, &id, 1, "two", &err), 0);
	assert_int_equal(count_snapshots(id), 1);
	assert_int_equal(engine_snapshot_create(f.engine, &id, 1, "a/b", &err), -EINVAL);
	assert_int_equal(engine_snapshot_create(f.engine, &id, 1, ".one", &err), -EINVAL);
	assert_int_equal(engine_snapshot_create(f.engine, &id, 1, "", &err), -EINVAL);
	assert_int_equal(engine_snapshot_create(f.engine, twice, 2, "two", &err), -EINVAL);
	assert_int_equal(engine_snapshot_create(f.engine, &id, 0, "two", &err), -EINVAL);
	/* Of a group none is made when one cannot be. */
	other = image_fixture_create(f.engine, "other");
	assert_int_equal(engine_snapshot_create(f.engine, (uint64_t[]){ other, id }, 2, "one", &err), -EEXIST);
	assert_int_equal(count_snapshots(other), 0);
	/* A snapshot has none. */
	uint64_t of = id_of(f.engine, ".snapshots/disk/one");
	assert_int_equal(engine_snapshot_create(f.engine, &of, 1, "two", &err), -EINVAL);

	assert_int_equal(engine_snapshot_protect(f.engine, id, "one", true, &err), 0);
	assert_int_equal(engine_snapshot_protect(f.engine, id, "one", true, &err), 0);
	assert_int_equal(engine_snapshot_delete(f.engine, id, "one", &err), -EBUSY);
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "disk", &err), -EBUSY);
	assert_int_equal(engine_rename(f.engine, NODE_ROOT, "other", NODE_ROOT, "disk", false, &err), -EBUSY);
	assert_int_equal(engine_snapshot_protect(f.engine, id, "one", false, &err), 0);
	assert_int_equal(engine_snapshot_delete(f.engine, id, "one", &err), 0);
	assert_int_equal(engine_snapshot_delete(f.engine, id, "one", &err), -ENOENT);
	assert_int_equal(count_snapshots(id), 0);
	take(f.engine, id, "one");
	assert_int_equal(engine_snapshot_delete(f.engine, id, "one", &err), 0);
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "disk", &err), 0);
}

struct patience {
	unsigned taken, left; /* calls */
	bool until_taken;     /* gives up as soon as the moment is taken, else with the upload */
};

static bool is_taken(void *arg)
{
	struct patience *p = arg;

	p->taken++;
	return !p->until_taken;
}

static bool has_left(void *arg, uint64_t bytes_left)
{
	struct patience *p = arg;

	(void)bytes_left;
	p->left++;
	return false;
}

static void of_a_snapshot_that_is_given_up_nothing_is_left(void **state)
{
	static uint8_t disk[DISK], read[DISK];
	uint64_t seed = env_number("GARNER_TEST_SEED", clock_wall_ns()), id = image_fixture_create(f.engine, "disk");
	struct image *i = image_fixture_open_image(f.engine, "disk");
	struct random r = { seed };

	(void)state;
	print_message("GARNER_TEST_SEED=%" PRIu64 "\n", seed);
	memset(disk, 0, sizeof disk);
	assert_int_equal(resize_wait(i, DISK), 0);
	for (unsigned round = 0; round < 2; round++) {
		struct patience p = { .until_taken = !round };
		const struct snapshot_watch watch = { is_taken, has_left, &p };

		write_some(&r, i, disk, 20);
		assert_int_equal(engine_snapshot_create_watched(f.engine, &id, 1, "one", &watch, &err), -EINTR);
		assert_int_equal(p.taken, 1);
		assert_true(round ? p.left > 0 : p.left == 0);
		assert_int_equal(count_snapshots(id), 0);
	}
	/* The image goes on as if nothing had been. */
	write_some(&r, i, disk, 20);
	take(f.engine, id, "one");
	read_snapshot(f.engine, "disk", "one", read, DISK);
	assert_memory_equal(read, disk, DISK);
	image_fixture_close_image(i);
	assert_int_equal(errors_in_pool(), 0);
}

/* Also after it was changed, and on another host. */
static void an_imported_one_knows_where_it_is_from(void **state)
{
	uint64_t id = image_fixture_create(f.engine, "disk");
	struct snapshot_info own, imported;

	(void)state;
	take(f.engine, id, "own");
	assert_int_equal(engine_snapshot_import(f.engine, id, "imported", 0x1234, &err), 0);
	assert_int_equal(engine_snapshot_import(f.engine, id, "imported", 0x1234, &err), -EEXIST);
	assert_int_equal(engine_snapshot_protect(f.engine, id, "imported", true, &err), 0);
	image_fixture_close(&f);
	image_fixture_open(&f, 1);
	assert_int_equal(engine_snapshot_find(f.engine, id, "own", &own, &err), 0);
	assert_int_equal(engine_snapshot_find(f.engine, id, "imported", &imported, &err), 0);
	assert_int_equal(own.origin, own.id);
	assert_int_equal(imported.origin, 0x1234);
	assert_true(imported.id != 0x1234 && imported.is_protected);
}

struct names {
	char text[400];
};

static int add_name(void *arg, const char *name, const struct node_attr *attr)
{
	struct names *n = arg;
	size_t used = strlen(n->text);

	snprintf(n->text + used, sizeof n->text - used, "%s%s ", name, attr->type == NODE_DIRECTORY ? "/" : "");
	return 0;
}

static const char *names_in(const char *path)
{
	static struct names n;

	n.text[0] = 0;
	if (engine_list(f.engine, id_of(f.engine, path), add_name, &n, &err))
		fail_msg("%s: %s", path, error_text(&err));
	return n.text;
}

static void the_tree_is_there_a_second_time_and_cannot_be_changed(void **state)
{
	struct node_attr attr, got;
	struct image *i;
	uint64_t id, folder, mirror;

	(void)state;
	assert_int_equal(engine_create(f.engine, NODE_ROOT, "folder", NODE_DIRECTORY, 0755, 0, 0, &attr, &err), 0);
	folder = attr.id;
	assert_int_equal(engine_create(f.engine, folder, "disk", NODE_FILE, 0640, 7, 8, &attr, &err), 0);
	id = attr.id;
	assert_int_equal(image_open(f.engine, id, IMAGE_READ | IMAGE_WRITE, &i, &err), 0);
	assert_int_equal(write_wait(i, 0, "moment", 6), 6);
	take(f.engine, id, "one");
	take(f.engine, id, "two");
	assert_string_equal(names_in(""), "folder/ ");
	assert_string_equal(names_in(".snapshots"), "folder/ ");
	assert_string_equal(names_in(".snapshots/folder"), "disk/ ");
	assert_string_equal(names_in(".snapshots/folder/disk"), "one two ");
	assert_int_equal(engine_resolve(f.engine, ".snapshots/folder/disk/two", &attr, &err), 0);
	assert_int_equal(attr.mode, 0440);
	assert_int_equal(attr.uid, 7);
	assert_int_equal(attr.gid, 8);
	assert_int_equal(attr.size, 6);
	assert_int_equal(engine_getattr(f.engine, attr.id, &got, &err), 0);
	assert_memory_equal(&attr, &got, sizeof attr);
	assert_int_equal(engine_resolve(f.engine, ".snapshots/folder/disk/three", &got, &err), -ENOENT);
	assert_int_equal(engine_resolve(f.engine, ".snapshots/nothing", &got, &err), -ENOENT);

	assert_int_equal(image_open(f.engine, attr.id, IMAGE_WRITE, &i, &err), -EROFS);
	assert_int_equal(engine_takeover(f.engine, attr.id, &err), -EROFS);
	assert_int_equal(engine_setattr(f.engine, attr.id, ATTR_MODE, &attr, &err), -EROFS);
	mirror = id_of(f.engine, ".snapshots/folder/disk");
	assert_int_equal(engine_unlink(f.engine, mirror, "one", &err), -EROFS);
	assert_int_equal(engine_create(f.engine, mirror, "new", NODE_FILE, 0644, 0, 0, &got, &err), -EROFS);
	assert_int_equal(engine_rename(f.engine, mirror, "one", folder, "one", false, &err), -EROFS);
	assert_int_equal(engine_rename(f.engine, folder, "disk", mirror, "one", false, &err), -EROFS);
	assert_int_equal(engine_rmdir(f.engine, NODE_ROOT, ".snapshots", &err), -EROFS);
	assert_int_equal(engine_create(f.engine, NODE_ROOT, ".snapshots", NODE_FILE, 0644, 0, 0, &got, &err), -EROFS);
	i = image_get(f.engine, id);
	image_put(i);
	image_close(i, IMAGE_READ | IMAGE_WRITE);
}

/* ---- the end of snapshots ------------------------------------------------------------------------------------------ */

/* Who has a snapshot open reads on after it was deleted, and the image's data goes only when he has closed it. */
static void an_open_snapshot_outlives_its_name(void **state)
{
	uint64_t id = image_fixture_create(f.engine, "disk"), until;
	struct image *i = image_fixture_open_image(f.engine, "disk"), *s;
	char key[100], buf[8] = "";
	uint64_t size;

	(void)state;
	assert_int_equal(write_wait(i, 0, "moment", 6), 6);
	take(f.engine, id, "one");
	image_fixture_close_image(i);
	assert_int_equal(image_open(f.engine, id_of(f.engine, ".snapshots/disk/one"), IMAGE_READ, &s, &err), 0);
	assert_int_equal(engine_snapshot_delete(f.engine, id, "one", &err), 0);
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "disk", &err), 0);
	usleep(600000); /* a few looks at the trash */
	cache_evict_all(f.engine->cache);
	assert_int_equal(read_wait(s, 0, buf, 6), 6);
	assert_string_equal(buf, "moment");
	image_close(s, IMAGE_READ);
	/* Now it goes. */
	snprintf(key, sizeof key, "images/%016" PRIx64 "/head", id);
	until = clock_monotonic_ns() + seconds_ns(60);
	while (store_head_wait(f.engine->pool->store, key, &size, NULL) != -ENOENT && clock_monotonic_ns() < until)
		usleep(20000);
	assert_int_equal(store_head_wait(f.engine->pool->store, key, &size, NULL), -ENOENT);
}

/* ---- what the store holds ------------------------------------------------------------------------------------------ */

static int damage_one(void *arg, const struct store_entry *entry)
{
	(void)arg;
	return store_put_wait(f.engine->pool->store, entry->key, "nonsense", 8, 0, NULL);
}

static void a_damaged_snapshot_hides_no_other_and_still_keeps_the_image(void **state)
{
	uint64_t id = image_fixture_create(f.engine, "disk");
	char prefix[100];

	(void)state;
	take(f.engine, id, "one");
	snprintf(prefix, sizeof prefix, "images/%016" PRIx64 "/snapshots/", id);
	assert_int_equal(store_list_each(f.engine->pool->store, prefix, NULL, damage_one, NULL, &err), 0);
	take(f.engine, id, "two");
	assert_int_equal(count_snapshots(id), 1);
	assert_int_equal(engine_snapshot_delete(f.engine, id, "two", &err), 0);
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "disk", &err), -EBUSY);
	assert_int_equal(engine_snapshot_delete(f.engine, id, "one", &err), 0);
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "disk", &err), 0);
}

static void verify_looks_at_the_maps_of_snapshots(void **state)
{
	uint64_t id = image_fixture_create(f.engine, "disk");
	struct image *i = image_fixture_open_image(f.engine, "disk");
	struct snapshot s;

	(void)state;
	assert_int_equal(write_wait(i, 0, "moment", 6), 6);
	take(f.engine, id, "one");
	assert_int_equal(errors_in_pool(), 0);
	assert_int_equal(snapshot_load(f.engine->pool, id, "one", &s, &err), 0);
	/* A root that is no node; a checkpoint that is not there. */
	struct snapshot wrong = s;
	wrong.root = map_entry(0, map_entry_segment(s.root), 0);
	assert_int_equal(snapshot_save(f.engine->pool, &wrong, false, &err), 0);
	assert_true(errors_in_pool() > 0);
	wrong = s;
	wrong.segment += 100;
	assert_int_equal(snapshot_save(f.engine->pool, &wrong, false, &err), 0);
	assert_true(errors_in_pool() > 0);
	assert_int_equal(snapshot_save(f.engine->pool, &s, false, &err), 0);
	assert_int_equal(errors_in_pool(), 0);
	image_fixture_close_image(i);
}

static void a_copy_of_the_pool_has_the_same_snapshots(void **state)
{
	struct store_options so = { .create = true };
	struct pool_copy_report report = { 0 };
	struct snapshot there;
	struct store *to;
	char url[300];
	uint64_t id = image_fixture_create(f.engine, "disk");
	struct image *i = image_fixture_open_image(f.engine, "disk");

	(void)state;
	assert_int_equal(write_wait(i, 0, "moment", 6), 6);
	take(f.engine, id, "one");
	take(f.engine, id, "two");
	image_fixture_close_image(i);
	snprintf(url, sizeof url, "file://%s/copy", f.dir);
	for (unsigned round = 0; round < 2; round++) {
		assert_int_equal(store_open(url, &so, &to, &err), 0);
		if (pool_copy(f.engine->pool, to, NULL, &report, NULL, NULL, &err))
			fail_msg("%s", error_text(&err));
		struct pool p = *f.engine->pool;
		p.store = to;
		assert_int_equal(snapshot_load(&p, id, "one", &there, &err), round ? -ENOENT : 0);
		assert_int_equal(snapshot_load(&p, id, "two", &there, &err), 0);
		store_close(to);
		if (!round)
			assert_int_equal(engine_snapshot_delete(f.engine, id, "one", &err), 0);
	}
}

/* ---- a group of which one has no room in its log yet ---- */

/* As an operation that goes on on the engine's threads, and comes to append when the group waits. */
struct appender {
	struct image *first, *second;
	atomic_bool seen; /* that the group waits for room, by one of them: it has room as soon as one has gone on */
};

static bool is_waited_for(struct log *l)
{
	pthread_mutex_lock(&l->mutex);
	bool any = !STAILQ_EMPTY(&l->room_waiters);
	pthread_mutex_unlock(&l->mutex);
	return any;
}

static void append_job(void *arg)
{
	struct appender *a = arg;
	struct timespec pause = { .tv_nsec = 1000000 };

	while (!atomic_load(&a->seen) && !is_waited_for(atomic_load(&a->second->log)))
		nanosleep(&pause, NULL);
	atomic_store(&a->seen, true);
	pthread_rwlock_rdlock(&a->first->gate);
	pthread_rwlock_unlock(&a->first->gate);
}

/* Room for the second is made on threads that may all wait for the gate of the first. */
static void test_group_waits_for_room_with_open_gates(void **state)
{
	uint64_t a = image_fixture_create(f.engine, "a"), b = image_fixture_create(f.engine, "b");
	struct image *first = image_fixture_open_image(f.engine, a < b ? "a" : "b"),
		     *second = image_fixture_open_image(f.engine, a < b ? "b" : "a");
	uint64_t ids[] = { first->id, second->id };
	struct appender appender = { .first = first, .second = second };
	uint8_t buf[4096] = "x";

	(void)state;
	assert_int_equal(write_wait(first, 0, buf, sizeof buf), sizeof buf);
	for (unsigned k = 0; k < APPENDERS; k++)
		assert_int_equal(executor_run(f.engine->work, append_job, &appender), 0);
	if (engine_snapshot_create(f.engine, ids, 2, "group", &err))
		fail_msg("%s", error_text(&err));
	executor_drain(f.engine->work);
	image_fixture_close_image(first);
	image_fixture_close_image(second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		T(test_group_waits_for_room_with_open_gates),
		T(a_snapshot_stays_what_it_was),
		T(a_group_is_one_moment),
		T(names_are_taken_once_and_kept_when_protected),
		T(of_a_snapshot_that_is_given_up_nothing_is_left),
		T(an_imported_one_knows_where_it_is_from),
		T(the_tree_is_there_a_second_time_and_cannot_be_changed),
		T(an_open_snapshot_outlives_its_name),
		T(a_damaged_snapshot_hides_no_other_and_still_keeps_the_image),
		T(verify_looks_at_the_maps_of_snapshots),
		T(a_copy_of_the_pool_has_the_same_snapshots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
