/* SPDX-License-Identifier: GPL-3.0-only */
/* test_clone.c: images that begin as others: that each stays what it is, whichever changes or goes first.
 *
 * GARNER_TEST_SEED repeats a run.
 */
#include "lib/image_fixture.h"
#include "lib/spy_store.h"

#include "base/clock.h"
#include "image/pool_copy.h"
#include "image/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)
#define DISK (3 * MIB)
#define IMAGES 5

static struct image_fixture f;
static struct error err;

static int set_up(void **state)
{
	(void)state;
	alarm(900); /* ThreadSanitizer makes it slow */
	memset(&err, 0, sizeof err);
	image_fixture_init(&f, true);
	f.options.trash_ms = 1;
	image_fixture_open(&f, 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	image_fixture_destroy(&f);
	return 0;
}

static struct random some_random(void)
{
	uint64_t seed = env_number("GARNER_TEST_SEED", clock_wall_ns());

	print_message("seed %" PRIu64 "\n", seed);
	return (struct random){ seed };
}

/* ---- help --------------------------------------------------------------------------------------------------------- */

static uint64_t id_of(struct engine *e, const char *path)
{
	struct node_attr attr;

	if (engine_resolve(e, path, &attr, &err))
		fail_msg("%s: %s", path, error_text(&err));
	return attr.id;
}

/* A new image of that size, with nothing in it. */
static uint64_t make_disk(const char *name)
{
	uint64_t id = image_fixture_create(f.engine, name);
	struct image *i = image_fixture_open_image(f.engine, name);

	assert_int_equal(resize_wait(i, DISK), 0);
	image_fixture_close_image(i);
	return id;
}

static void clone_image(struct engine *e, const char *from, const char *to)
{
	struct node_attr attr, of;

	assert_int_equal(engine_resolve(e, from, &of, &err), 0);
	if (engine_clone(e, of.id, NODE_ROOT, to, &attr, &err))
		fail_msg("%s: %s", to, error_text(&err));
	assert_int_equal(attr.size, of.size);
	assert_int_equal(attr.allocated_bytes, of.allocated_bytes);
	assert_int_not_equal(attr.id, of.id);
}

static void write_some(struct random *r, struct engine *e, const char *name, uint8_t *disk, unsigned writes)
{
	struct image *i = image_fixture_open_image(e, name);
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
	image_fixture_close_image(i);
}

static void check(struct engine *e, const char *path, const uint8_t *disk)
{
	uint8_t *buf = malloc(DISK);
	struct image *i;

	assert_non_null(buf);
	if (image_open(e, id_of(e, path), IMAGE_READ, &i, &err))
		fail_msg("%s: %s", path, error_text(&err));
	memset(buf, 0xee, DISK);
	assert_int_equal(read_wait(i, 0, buf, DISK), DISK);
	image_close(i, IMAGE_READ);
	for (size_t k = 0; k < DISK; k += 512)
		if (memcmp(buf + k, disk + k, 512) != 0)
			fail_msg("%s: other bytes at %zu", path, k);
	free(buf);
}

static uint64_t errors_in_pool(void)
{
	static struct verify_report report;

	memset(&report, 0, sizeof report);
	assert_int_equal(pool_verify(f.engine->pool, NULL, &report, NULL, NULL, &err), 0);
	for (size_t k = 0; k < report.text_count; k++)
		print_message("  %s\n", report.text[k]);
	return report.errors;
}

/* Goes over to a new daemon, and with it to one that knows nothing. */
static void restart(bool lose_cache)
{
	image_fixture_close(&f);
	if (lose_cache)
		image_fixture_lose_cache(&f, 0);
	image_fixture_open(&f, 0);
}

static struct spy_store spy;

static void spy_on_store(void)
{
	spy_store_over(&spy, f.engine->pool->store);
	f.engine->pool->store = &spy.store;
}

static void restart_without_spy(void)
{
	image_fixture_close(&f);
	spy_store_destroy(&spy);
	image_fixture_lose_cache(&f, 0);
	image_fixture_open(&f, 0);
}

static int count_below(void *arg, const struct store_entry *entry)
{
	unsigned *count = arg;

	(void)entry;
	++*count;
	return 0;
}

static unsigned objects_of(uint64_t id)
{
	char prefix[STORE_KEY_MAX + 1];
	unsigned count = 0;

	snprintf(prefix, sizeof prefix, "images/%016" PRIx64 "/", id);
	assert_int_equal(store_list_each(f.engine->pool->store, prefix, NULL, count_below, &count, &err), 0);
	return count;
}

/* ---- one clone ---------------------------------------------------------------------------------------------------- */

static void neither_sees_what_is_written_to_the_other(void **state)
{
	struct random r = some_random();
	uint8_t *parent = calloc(1, DISK), *child = malloc(DISK);

	(void)state;
	assert_true(parent && child);
	make_disk("parent");
	for (int round = 0; round < 2; round++) {
		char name[20];
		snprintf(name, sizeof name, "child%d", round);
		write_some(&r, f.engine, "parent", parent, 60);
		memcpy(child, parent, DISK);
		clone_image(f.engine, "parent", name);
		check(f.engine, name, child);
		for (int k = 0; k < 3; k++) {
			write_some(&r, f.engine, "parent", parent, 20);
			write_some(&r, f.engine, name, child, 20);
			check(f.engine, "parent", parent);
			check(f.engine, name, child);
			restart(k == 1);
			check(f.engine, name, child);
		}
		check(f.engine, "parent", parent);
		assert_int_equal(errors_in_pool(), 0);
	}
	free(parent);
	free(child);
}

static void an_empty_image_and_one_of_holes_can_be_cloned(void **state)
{
	struct image *i;
	uint8_t buf[4096];

	(void)state;
	image_fixture_create(f.engine, "empty");
	clone_image(f.engine, "empty", "empty2");
	i = image_fixture_open_image(f.engine, "empty2");
	assert_int_equal(read_wait(i, 0, buf, sizeof buf), 0);
	assert_int_equal(resize_wait(i, DISK), 0);
	image_fixture_close_image(i);
	clone_image(f.engine, "empty2", "holes");
	restart(true);
	i = image_fixture_open_image(f.engine, "holes");
	memset(buf, 1, sizeof buf);
	assert_int_equal(read_wait(i, DISK - sizeof buf, buf, sizeof buf), sizeof buf);
	assert_true(buf[0] == 0 && buf[4095] == 0);
	assert_int_equal(seek_wait(i, 0, true), -ENXIO);
	image_fixture_close_image(i);
	assert_int_equal(errors_in_pool(), 0);
}

static void a_snapshot_is_cloned_on_a_host_that_does_not_own_the_image(void **state)
{
	struct random r = some_random();
	uint8_t *moment = malloc(DISK), *now = calloc(1, DISK);
	struct node_attr attr;
	struct engine *other;
	uint64_t id = image_fixture_create(f.engine, "disk");
	struct image *i = image_fixture_open_image(f.engine, "disk");

	(void)state;
	assert_true(moment && now);
	assert_int_equal(resize_wait(i, DISK), 0);
	write_some(&r, f.engine, "disk", now, 80);
	assert_int_equal(engine_snapshot_create(f.engine, &id, 1, "s", &err), 0);
	memcpy(moment, now, DISK);
	write_some(&r, f.engine, "disk", now, 80);
	other = image_fixture_open_beside(&f, 1);
	/* The image itself is its owner's to clone. */
	assert_int_equal(engine_clone(other, id_of(other, "disk"), NODE_ROOT, "no", &attr, &err), -EBUSY);
	clone_image(other, ".snapshots/disk/s", "copy");
	check(other, "copy", moment);
	assert_int_equal(engine_snapshot_delete(f.engine, id, "s", &err), 0);
	write_some(&r, other, "copy", moment, 30);
	check(other, "copy", moment);
	image_fixture_close_image(i);
	assert_int_equal(engine_close(other, &err), 0);
	restart(true);
	check(f.engine, "copy", moment);
	check(f.engine, "disk", now);
	assert_int_equal(errors_in_pool(), 0);
	free(moment);
	free(now);
}

static void what_cannot_be_cloned_is_refused_and_leaves_nothing(void **state)
{
	struct node_attr attr;
	uint64_t id = image_fixture_create(f.engine, "disk"), before;

	(void)state;
	assert_int_equal(engine_create(f.engine, NODE_ROOT, "dir", NODE_DIRECTORY, 0755, 0, 0, &attr, &err), 0);
	before = objects_of(id);
	assert_int_equal(engine_clone(f.engine, id, NODE_ROOT, "disk", &attr, &err), -EEXIST);
	assert_int_equal(engine_clone(f.engine, id, NODE_ROOT, "a/b", &attr, &err), -EINVAL);
	assert_int_equal(engine_clone(f.engine, id, NODE_ROOT, "..", &attr, &err), -EINVAL);
	assert_int_equal(engine_clone(f.engine, id_of(f.engine, "dir"), NODE_ROOT, "x", &attr, &err), -ENOENT);
	assert_int_equal(engine_clone(f.engine, 12345, NODE_ROOT, "x", &attr, &err), -ENOENT);
	assert_int_equal(engine_clone(f.engine, id, id_of(f.engine, ".snapshots"), "x", &attr, &err), -EROFS);
	assert_int_equal(objects_of(id), before);
	assert_int_equal(errors_in_pool(), 0);
}

/* What a put is answered with when it was done, or may have been, but for what the store itself makes sure of. */
static void what_may_have_been_cloned_keeps_what_it_needs(void **state)
{
	static const int errors[] = { -EBUSY, -EACCES, -ENOSPC, -EIO, -ETIMEDOUT };
	struct random r = some_random();
	uint8_t *disk = calloc(1, DISK);
	struct node_attr attr;
	char name[8];

	(void)state;
	assert_non_null(disk);
	uint64_t a = make_disk("a");
	write_some(&r, f.engine, "a", disk, 50);
	spy_on_store();
	atomic_store(&spy.lose_only, "names/");
	for (unsigned k = 0; k < sizeof errors / sizeof errors[0]; k++) {
		atomic_store(&spy.lost_error, errors[k]);
		atomic_store(&spy.lose_answers, 1);
		snprintf(name, sizeof name, "b%u", k);
		assert_int_equal(engine_clone(f.engine, a, NODE_ROOT, name, &attr, &err), errors[k]);
		assert_int_equal(atomic_load(&spy.lose_answers), 0);
	}
	restart_without_spy();
	for (unsigned k = 0; k < sizeof errors / sizeof errors[0]; k++) {
		snprintf(name, sizeof name, "b%u", k);
		check(f.engine, name, disk);
	}
	assert_int_equal(errors_in_pool(), 0);
	free(disk);
}

static void take_the_name(void *arg, const char *key)
{
	bool *done = arg;

	/* The list comes last before the name. */
	if (!strstr(key, "/layers") || *done)
		return;
	*done = true;
	struct engine *other = image_fixture_open_beside(&f, 1);
	image_fixture_create(other, "b");
	assert_int_equal(engine_close(other, &err), 0);
}

static void what_was_not_cloned_as_the_name_was_taken_leaves_nothing(void **state)
{
	struct node_attr attr;
	bool done = false;

	(void)state;
	uint64_t a = make_disk("a");
	spy_on_store();
	atomic_store(&spy.before_put_arg, &done);
	atomic_store(&spy.before_put, take_the_name);
	assert_int_equal(engine_clone(f.engine, a, NODE_ROOT, "b", &attr, &err), -EEXIST);
	assert_true(done);
	assert_int_equal(snapshot_any(f.engine->pool, a, SNAPSHOTS_FOREIGN, &err), 0);
	restart_without_spy();
	assert_int_equal(errors_in_pool(), 0);
}

/* ---- generations -------------------------------------------------------------------------------------------------- */

static void a_chain_of_clones_of_clones_is_right_at_every_depth(void **state)
{
	struct random r = some_random();
	enum { DEPTH = 66 };
	uint8_t *disk[DEPTH + 1];
	char name[20], next[20];

	(void)state;
	make_disk("g0");
	disk[0] = calloc(1, DISK);
	assert_non_null(disk[0]);
	for (unsigned k = 0; k < DEPTH; k++) {
		snprintf(name, sizeof name, "g%u", k);
		snprintf(next, sizeof next, "g%u", k + 1);
		/* Some are never written to before they are cloned. */
		if (k % 4 != 3)
			write_some(&r, f.engine, name, disk[k], k ? 2 : 100);
		disk[k + 1] = malloc(DISK);
		assert_non_null(disk[k + 1]);
		memcpy(disk[k + 1], disk[k], DISK);
		clone_image(f.engine, name, next);
	}
	/* Their parents change, and they do not. */
	for (unsigned k = 0; k < DEPTH; k += 5) {
		snprintf(name, sizeof name, "g%u", k);
		write_some(&r, f.engine, name, disk[k], 3);
	}
	restart(true);
	for (unsigned k = 0; k <= DEPTH; k++) {
		snprintf(name, sizeof name, "g%u", k);
		check(f.engine, name, disk[k]);
		free(disk[k]);
	}
	assert_int_equal(errors_in_pool(), 0);
}

static void a_clone_s_snapshot_is_cloned_and_read(void **state)
{
	struct random r = some_random();
	uint8_t *disk = calloc(1, DISK), *moment = malloc(DISK);
	uint64_t id;

	(void)state;
	assert_true(disk && moment);
	make_disk("a");
	write_some(&r, f.engine, "a", disk, 100);
	clone_image(f.engine, "a", "b");
	id = id_of(f.engine, "b");
	for (int k = 0; k < 2; k++) {
		char snapshot[20], path[40], copy[20];
		snprintf(snapshot, sizeof snapshot, "s%d", k);
		snprintf(path, sizeof path, ".snapshots/b/%s", snapshot);
		snprintf(copy, sizeof copy, "c%d", k);
		/* The first is taken of a clone that nobody wrote to. */
		if (k)
			write_some(&r, f.engine, "b", disk, 40);
		memcpy(moment, disk, DISK);
		assert_int_equal(engine_snapshot_create(f.engine, &id, 1, snapshot, &err), 0);
		write_some(&r, f.engine, "b", disk, 40);
		check(f.engine, path, moment);
		clone_image(f.engine, path, copy);
		check(f.engine, copy, moment);
		restart(true);
		check(f.engine, path, moment);
		check(f.engine, copy, moment);
		check(f.engine, "b", disk);
	}
	assert_int_equal(errors_in_pool(), 0);
	free(disk);
	free(moment);
}

/* ---- deleting ----------------------------------------------------------------------------------------------------- */

/* The n-th order of IMAGES things. */
static void order_of(unsigned n, unsigned *order)
{
	unsigned left[IMAGES];

	for (unsigned k = 0; k < IMAGES; k++)
		left[k] = k;
	for (unsigned k = IMAGES; k > 0; k--) {
		unsigned pick = n % k;
		n /= k;
		order[IMAGES - k] = left[pick];
		memmove(left + pick, left + pick + 1, (k - pick - 1) * sizeof *left);
	}
}

/* The images: a; b, c of a; d of b; e of d. What an image's log is needed for: itself, or one that has it as a layer. */
static bool as_it_should_be(const uint64_t *ids, const bool *there)
{
	static const bool needs[IMAGES][IMAGES] = {
		{ 1 }, { 1, 1 }, { 1, 0, 1 }, { 1, 1, 0, 1 }, { 1, 1, 0, 1, 1 },
	};

	for (unsigned k = 0; k < IMAGES; k++) {
		const char name[2] = { (char)('a' + k), 0 };
		bool needed = false;
		for (unsigned by = 0; by < IMAGES; by++)
			needed |= there[by] && needs[by][k];
		bool is = objects_of(ids[k]) > 0;
		if (needed && !is)
			fail_msg("the log of %s is gone", name);
		if (!needed && is)
			return false;
	}
	return true;
}

static void any_order_of_deleting_leaves_what_the_others_need(void **state)
{
	static const char *const parent[IMAGES] = { NULL, "a", "a", "b", "d" };
	struct random r = some_random();
	uint64_t rounds = env_number("GARNER_TEST_ROUNDS", 120);
	uint8_t *disk[IMAGES];

	(void)state;
	for (unsigned k = 0; k < IMAGES; k++)
		assert_non_null(disk[k] = malloc(DISK));
	for (uint64_t n = 0; n < rounds && n < 120; n++) {
		bool there[IMAGES];
		uint64_t ids[IMAGES];
		unsigned order[IMAGES];

		order_of((unsigned)(rounds < 120 ? random_below(&r, 120) : n), order);
		for (unsigned k = 0; k < IMAGES; k++) {
			char name[2] = { (char)('a' + k), 0 };
			if (parent[k]) {
				clone_image(f.engine, parent[k], name);
				memcpy(disk[k], disk[parent[k][0] - 'a'], DISK);
			} else {
				make_disk(name);
				memset(disk[k], 0, DISK);
			}
			write_some(&r, f.engine, name, disk[k], 4);
			ids[k] = id_of(f.engine, name);
			there[k] = true;
		}
		for (unsigned k = 0; k < IMAGES; k++) {
			char name[2] = { (char)('a' + order[k]), 0 };
			assert_int_equal(engine_unlink(f.engine, NODE_ROOT, name, &err), 0);
			there[order[k]] = false;
			/* What is looked at just now, or held, goes the next time. */
			engine_delete_now(f.engine, true);
			for (unsigned tries = 0; !as_it_should_be(ids, there); tries++) {
				if (tries == 1000)
					fail_msg("after %s was deleted a log is still there", name);
				usleep(10000);
				engine_delete_now(f.engine, true);
			}
			for (unsigned i = 0; i < IMAGES; i++)
				if (there[i])
					check(f.engine, (char[]){ (char)('a' + i), 0 }, disk[i]);
		}
	}
	for (unsigned k = 0; k < IMAGES; k++)
		free(disk[k]);
	assert_int_equal(errors_in_pool(), 0);
}

/* ---- flattening --------------------------------------------------------------------------------------------------- */

static void a_flat_clone_needs_nobody(void **state)
{
	struct random r = some_random();
	uint8_t *disk = calloc(1, DISK);
	uint64_t a, b;

	(void)state;
	assert_non_null(disk);
	a = make_disk("a");
	write_some(&r, f.engine, "a", disk, 100);
	clone_image(f.engine, "a", "b");
	write_some(&r, f.engine, "b", disk, 20);
	b = id_of(f.engine, "b");
	/* Snapshots lead to what it was a clone of. */
	assert_int_equal(engine_snapshot_create(f.engine, &b, 1, "s", &err), 0);
	assert_int_equal(engine_flatten(f.engine, b, NULL, NULL, &err), -EBUSY);
	check(f.engine, "b", disk);
	assert_int_equal(engine_snapshot_delete(f.engine, b, "s", &err), 0);
	assert_int_equal(engine_flatten(f.engine, a, NULL, NULL, &err), 0);
	assert_int_equal(engine_flatten(f.engine, b, NULL, NULL, &err), 0);
	assert_int_equal(snapshot_any(f.engine->pool, a, false, &err), 0);
	check(f.engine, "b", disk);
	assert_int_equal(engine_snapshot_create(f.engine, &b, 1, "later", &err), 0);
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "a", &err), 0);
	for (unsigned tries = 0; objects_of(a) && tries < 1000; tries++) {
		engine_delete_now(f.engine, true);
		usleep(10000);
	}
	assert_int_equal(objects_of(a), 0);
	write_some(&r, f.engine, "b", disk, 20);
	restart(true);
	check(f.engine, "b", disk);
	clone_image(f.engine, "b", "c");
	check(f.engine, "c", disk);
	assert_int_equal(engine_flatten(f.engine, b, NULL, NULL, &err), 0);
	assert_int_equal(errors_in_pool(), 0);
	free(disk);
}

/* When there is only left to let go. */
static bool stop_at_the_end(void *arg, uint64_t left)
{
	const struct image *i = arg;

	(void)left;
	return !i->flat;
}

/* Else later checkpoints would say that it leads into no other log, though it may do so again. */
static void a_flattening_that_is_stopped_at_its_end_changes_nothing(void **state)
{
	struct random r = some_random();
	uint8_t *disk = calloc(1, DISK);
	struct image *i;

	(void)state;
	assert_non_null(disk);
	make_disk("a");
	write_some(&r, f.engine, "a", disk, 100);
	clone_image(f.engine, "a", "b");
	i = image_fixture_open_image(f.engine, "b");
	assert_int_not_equal(engine_flatten(f.engine, i->id, stop_at_the_end, i, &err), 0);
	assert_false(i->flat);
	assert_false(atomic_load(&i->layers_closed));
	write_some(&r, f.engine, "b", disk, 20);
	assert_int_equal(save_now(i, true), 0);
	assert_int_equal(image_layer_count(i), 1);
	assert_int_equal(i->saved.layers, 1);
	assert_int_equal(engine_flatten(f.engine, i->id, NULL, NULL, &err), 0);
	image_fixture_close_image(i);
	restart(true);
	check(f.engine, "b", disk);
	assert_int_equal(errors_in_pool(), 0);
	free(disk);
}

static bool has_list(uint64_t id)
{
	struct layer_list list;
	int rc = layer_list_load(f.engine->pool, id, &list, &err);

	assert_true(!rc || rc == -ENOENT);
	if (!rc)
		layer_list_destroy(&list);
	return !rc;
}

/* As a crash would, at either step: what a list names is held. */
static void a_flattening_that_cannot_let_go_leaves_no_list_without_holds(void **state)
{
	struct random r = some_random();
	uint8_t *disk = calloc(1, DISK);

	(void)state;
	assert_non_null(disk);
	uint64_t a = make_disk("a");
	write_some(&r, f.engine, "a", disk, 100);
	clone_image(f.engine, "a", "b");
	write_some(&r, f.engine, "b", disk, 20);
	uint64_t b = id_of(f.engine, "b");
	spy_on_store();
	atomic_store(&spy.fail_removes, "/layers");
	assert_int_equal(engine_flatten(f.engine, b, NULL, NULL, &err), -EIO);
	assert_true(has_list(b));
	assert_int_equal(snapshot_any(f.engine->pool, a, SNAPSHOTS_FOREIGN, &err), 1);
	check(f.engine, "b", disk);
	atomic_store(&spy.fail_removes, "/snapshots/");
	assert_int_equal(engine_flatten(f.engine, b, NULL, NULL, &err), -EIO);
	assert_false(has_list(b));
	assert_int_equal(snapshot_any(f.engine->pool, a, SNAPSHOTS_FOREIGN, &err), 1);
	atomic_store(&spy.fail_removes, NULL);
	write_some(&r, f.engine, "b", disk, 20);
	restart_without_spy();
	check(f.engine, "b", disk);
	assert_int_equal(engine_flatten(f.engine, id_of(f.engine, "b"), NULL, NULL, &err), 0);
	assert_int_equal(errors_in_pool(), 0);
	free(disk);
}

struct writer {
	struct random r;
	struct image *image;
	uint8_t *disk;
	atomic_bool stop;
	unsigned failed;
};

static bool has_set(struct engine *e, uint64_t id)
{
	pthread_mutex_lock(&e->mutex);
	bool has = hash_get(e->sets, id);
	pthread_mutex_unlock(&e->mutex);
	return has;
}

/* Who reads it elsewhere has not looked at the store since. */
static void what_a_clone_was_made_of_goes_while_another_host_reads_it(void **state)
{
	struct timespec pause = { .tv_nsec = 1000000 };
	struct random r = some_random();
	static uint8_t disk[DISK];
	uint8_t buf[4096];
	struct image *reader;
	int64_t rc;

	(void)state;
	/* The host that reads is the one that deletes. */
	uint64_t trash_ms = f.options.trash_ms;
	image_fixture_close(&f);
	f.options.trash_ms = 3600000;
	image_fixture_open(&f, 0);
	f.options.trash_ms = trash_ms;
	uint64_t a = make_disk("a");
	write_some(&r, f.engine, "a", disk, 20);
	clone_image(f.engine, "a", "b");
	uint64_t b = id_of(f.engine, "b");
	struct engine *other = image_fixture_open_beside(&f, 1);
	assert_int_equal(image_open(other, id_of(other, "b"), IMAGE_READ, &reader, &err), 0);
	assert_int_equal(read_wait(reader, 0, buf, sizeof buf), sizeof buf);
	assert_true(has_set(other, a));
	assert_int_equal(engine_flatten(f.engine, b, NULL, NULL, &err), 0);
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "a", &err), 0);
	while (has_set(other, a)) {
		engine_delete_later(other);
		nanosleep(&pause, NULL);
	}
	for (uint64_t at = 0; at < DISK; at += sizeof buf) {
		rc = read_wait(reader, at, buf, sizeof buf);
		assert_true(rc == -EIO || rc == sizeof buf);
		assert_true(rc < 0 || !memcmp(buf, disk + at, sizeof buf));
	}
	image_close(reader, IMAGE_READ);
	assert_int_equal(engine_close(other, &err), 0);
}

static void *write_all_the_time(void *arg)
{
	struct writer *w = arg;
	uint8_t buf[9000];

	while (!atomic_load(&w->stop)) {
		size_t len = 1 + random_below(&w->r, sizeof buf);
		uint64_t at = random_below(&w->r, DISK - len);
		random_fill(&w->r, buf, len);
		w->failed += write_wait(w->image, at, buf, len) != (int64_t)len;
		memcpy(w->disk + at, buf, len);
		usleep(200);
	}
	return NULL;
}

static void guests_write_while_it_is_flattened(void **state)
{
	struct random r = some_random();
	uint8_t *disk = calloc(1, DISK);
	struct writer w = { .r = { random_next(&r) }, .disk = disk };
	pthread_t thread;

	(void)state;
	assert_non_null(disk);
	make_disk("a");
	write_some(&r, f.engine, "a", disk, 300);
	clone_image(f.engine, "a", "b");
	for (int again = 0; again < 3; again++) {
		char name[2] = { (char)('b' + again), 0 }, next[2] = { (char)('c' + again), 0 };
		w.image = image_fixture_open_image(f.engine, name);
		atomic_store(&w.stop, false);
		assert_int_equal(pthread_create(&thread, NULL, write_all_the_time, &w), 0);
		int rc = engine_flatten(f.engine, w.image->id, NULL, NULL, &err);
		atomic_store(&w.stop, true);
		assert_int_equal(pthread_join(thread, NULL), 0);
		if (rc)
			fail_msg("%s", error_text(&err));
		assert_int_equal(w.failed, 0);
		image_fixture_close_image(w.image);
		check(f.engine, name, disk);
		clone_image(f.engine, name, next);
	}
	restart(true);
	check(f.engine, "d", disk);
	check(f.engine, "e", disk);
	assert_int_equal(errors_in_pool(), 0);
	free(disk);
}

/* ---- elsewhere ---------------------------------------------------------------------------------------------------- */

static void a_clone_is_copied_with_all_it_needs(void **state)
{
	struct random r = some_random();
	uint8_t *disk = calloc(1, DISK);
	static struct pool_copy_report report;
	struct store_options so = { .create = true };
	struct store *to;
	char url[300];

	(void)state;
	assert_non_null(disk);
	f.options.trash_ms = 0;
	restart(false);
	make_disk("a");
	write_some(&r, f.engine, "a", disk, 50);
	clone_image(f.engine, "a", "b");
	write_some(&r, f.engine, "b", disk, 50);
	clone_image(f.engine, "b", "c");
	write_some(&r, f.engine, "c", disk, 50);
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "a", &err), 0);
	restart(false);
	snprintf(url, sizeof url, "file://%s/copy", f.dir);
	assert_int_equal(store_open(url, &so, &to, &err), 0);
	assert_int_equal(pool_copy(f.engine->pool, to, NULL, &report, NULL, NULL, &err), 0);
	store_close(to);
	image_fixture_close(&f);
	snprintf(f.store, sizeof f.store, "%.255s", url);
	f.options.store_url = f.store;
	image_fixture_open(&f, 1);
	check(f.engine, "c", disk);
	assert_int_equal(errors_in_pool(), 0);
	free(disk);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(what_a_clone_was_made_of_goes_while_another_host_reads_it),
		T(neither_sees_what_is_written_to_the_other),
		T(an_empty_image_and_one_of_holes_can_be_cloned),
		T(a_snapshot_is_cloned_on_a_host_that_does_not_own_the_image),
		T(what_cannot_be_cloned_is_refused_and_leaves_nothing),
		T(what_may_have_been_cloned_keeps_what_it_needs),
		T(what_was_not_cloned_as_the_name_was_taken_leaves_nothing),
		T(a_chain_of_clones_of_clones_is_right_at_every_depth),
		T(a_clone_s_snapshot_is_cloned_and_read),
		T(any_order_of_deleting_leaves_what_the_others_need),
		T(a_flat_clone_needs_nobody),
		T(a_flattening_that_is_stopped_at_its_end_changes_nothing),
		T(a_flattening_that_cannot_let_go_leaves_no_list_without_holds),
		T(guests_write_while_it_is_flattened),
		T(a_clone_is_copied_with_all_it_needs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
