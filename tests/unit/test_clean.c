/* SPDX-License-Identifier: GPL-3.0-only */
/* test_clean.c: cleaning: what nothing needs goes, what something needs stays, and nobody notices.
 *
 * GARNER_TEST_SEED repeats a run.
 */
#include "lib/recount.h"

#include "base/clock.h"
#include "image/clean.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)
#define GRAIN 4096u
#define DISK (4 * MIB)
#define SNAPSHOTS 4

static struct image_fixture f;
static struct error err;

static int set_up(void **state)
{
	(void)state;
	alarm(900); /* ThreadSanitizer makes it slow */
	memset(&err, 0, sizeof err);
	image_fixture_init(&f, true);
	f.options.gc_grace_ms = 1;
	f.options.gc_target = 101;
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

static void clean(struct engine *e, uint64_t id, bool now, struct clean_result *result)
{
	struct clean_options options = { .now = now };
	struct clean_result unused;

	if (engine_clean(e, id, &options, NULL, NULL, result ? result : &unused, &err))
		fail_msg("%s", error_text(&err));
}

static void take(struct engine *e, uint64_t image, const char *name)
{
	if (engine_snapshot_create(e, &image, 1, name, &err))
		fail_msg("%s: %s", name, error_text(&err));
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

static void check_disk(struct image *i, const uint8_t *disk, const char *when)
{
	uint8_t *buf = malloc(DISK);

	memset(buf, 0xee, DISK);
	assert_int_equal(read_wait(i, 0, buf, DISK), DISK);
	for (size_t k = 0; k < DISK; k += GRAIN)
		if (memcmp(buf + k, disk + k, GRAIN) != 0)
			fail_msg("%s: grain %zu is wrong", when, k / GRAIN);
	free(buf);
}

static void check_snapshot(struct engine *e, const char *name, const uint8_t *disk)
{
	struct node_attr attr;
	char path[200];
	struct image *i = NULL;

	snprintf(path, sizeof path, ".snapshots/disk/%s", name);
	if (engine_resolve(e, path, &attr, &err) || image_open(e, attr.id, IMAGE_READ, &i, &err))
		fail_msg("%s: %s", path, error_text(&err));
	check_disk(i, disk, name);
	image_close(i, IMAGE_READ);
}

/* ---- tests -------------------------------------------------------------------------------------------------------- */

static void test_what_nothing_needs_goes_and_the_disk_stays(void **state)
{
	uint64_t seed = env_number("GARNER_TEST_SEED", clock_wall_ns()), id = image_fixture_create(f.engine, "disk");
	uint8_t *disk = calloc(1, DISK);
	struct random r = { seed };
	struct clean_result result;
	struct image *i;

	(void)state;
	print_message("GARNER_TEST_SEED=%" PRIu64 "\n", seed);
	i = image_fixture_open_image(f.engine, "disk");
	assert_int_equal(resize_wait(i, DISK), 0);
	for (unsigned round = 0; round < 12; round++) {
		write_some(&r, i, disk, 60);
		assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);
	}
	unsigned before = list_store(f.engine, id).count;
	clean(f.engine, id, true, &result);
	unsigned after = list_store(f.engine, id).count;
	print_message("%u segments before, %u after; %" PRIu64 " emptied\n", before, after, result.moved_segments);
	assert_true(after < before);
	assert_true(result.moved_segments > 0);
	assert_true(result.removed_segments >= before - after);
	assert_int_equal(result.waiting_segments, 0);
	check_disk(i, disk, "after cleaning");
	check_store(i, "after cleaning");

	/* It is not better a second time. */
	clean(f.engine, id, true, &result);
	assert_int_equal(result.moved_segments, 0);

	write_some(&r, i, disk, 60);
	check_disk(i, disk, "after writing on");
	image_fixture_close_image(i);
	image_fixture_close(&f);
	image_fixture_verify(&f);

	/* Elsewhere. */
	image_fixture_open(&f, 1);
	i = image_fixture_open_image(f.engine, "disk");
	check_disk(i, disk, "on another host");
	image_fixture_close_image(i);
	image_fixture_close(&f);

	/* Here, where there is a map of before that; and without it. */
	image_fixture_open(&f, 0);
	i = image_fixture_open_image(f.engine, "disk");
	check_disk(i, disk, "back on the first");
	image_fixture_close_image(i);
	image_fixture_close(&f);
	image_fixture_lose_db(&f, 0);
	image_fixture_open(&f, 0);
	i = image_fixture_open_image(f.engine, "disk");
	check_disk(i, disk, "without SQLite");
	image_fixture_close_image(i);
	free(disk);
}

/* Writes, and takes snapshots between: returns what each of them must show. */
static void make_snapshots(struct random *r, struct image *i, uint8_t *disk, uint8_t **moments)
{
	char name[20];

	assert_int_equal(resize_wait(i, DISK), 0);
	for (unsigned k = 0; k < SNAPSHOTS; k++) {
		/* Nearly all of it anew, so that there is much that only one of them needs. */
		random_fill(r, disk, DISK - MIB);
		assert_int_equal(write_wait(i, 0, disk, DISK - MIB), DISK - MIB);
		write_some(r, i, disk, 10);
		snprintf(name, sizeof name, "m%u", k);
		take(i->engine, i->id, name);
		moments[k] = malloc(DISK);
		memcpy(moments[k], disk, DISK);
	}
	random_fill(r, disk, DISK - MIB);
	assert_int_equal(write_wait(i, 0, disk, DISK - MIB), DISK - MIB);
	write_some(r, i, disk, 10);
}

static void delete_in_order(const unsigned *order, uint64_t seed)
{
	uint64_t id = image_fixture_create(f.engine, "disk");
	uint8_t *disk = calloc(1, DISK), *moments[SNAPSHOTS];
	struct image *i = image_fixture_open_image(f.engine, "disk");
	struct random r = { seed };
	char name[20];

	make_snapshots(&r, i, disk, moments);
	clean(f.engine, id, true, NULL);
	check_store(i, "with all snapshots");
	unsigned all = list_store(f.engine, id).count;
	for (unsigned k = 0; k < SNAPSHOTS; k++) {
		snprintf(name, sizeof name, "m%u", order[k]);
		assert_int_equal(engine_snapshot_delete(f.engine, id, name, &err), 0);
		clean(f.engine, id, true, NULL);
		snprintf(name, sizeof name, "%u deleted", k + 1);
		check_store(i, name);
		check_disk(i, disk, name);
		for (unsigned n = k + 1; n < SNAPSHOTS; n++) {
			snprintf(name, sizeof name, "m%u", order[n]);
			check_snapshot(f.engine, name, moments[order[n]]);
		}
	}
	assert_true(list_store(f.engine, id).count < all / 2);
	for (unsigned k = 0; k < SNAPSHOTS; k++)
		free(moments[k]);
	free(disk);
	image_fixture_close_image(i);
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, "disk", &err), 0);
}

static void test_snapshots_deleted_in_any_order_leave_exactly_what_is_needed(void **state)
{
	uint64_t seed = env_number("GARNER_TEST_SEED", clock_wall_ns());

	(void)state;
	print_message("GARNER_TEST_SEED=%" PRIu64 "\n", seed);
	for (unsigned n = 0; n < 24; n++) {
		unsigned left[SNAPSHOTS] = { 0, 1, 2, 3 }, order[SNAPSHOTS], rest = n;
		for (unsigned k = SNAPSHOTS; k; k--) {
			unsigned which = rest % k;
			rest /= k;
			order[SNAPSHOTS - k] = left[which];
			left[which] = left[k - 1];
		}
		delete_in_order(order, seed + n);
	}
	image_fixture_close(&f);
	image_fixture_verify(&f);
}

static void test_who_has_a_deleted_snapshot_open_reads_on(void **state)
{
	uint64_t id = image_fixture_create(f.engine, "disk");
	uint8_t *disk = calloc(1, DISK), *then = malloc(DISK);
	struct random r = { env_number("GARNER_TEST_SEED", clock_wall_ns()) };
	struct image *i = image_fixture_open_image(f.engine, "disk"), *snapshot;
	struct clean_result result;
	struct node_attr attr;

	(void)state;
	print_message("GARNER_TEST_SEED=%" PRIu64 "\n", r.state);
	assert_int_equal(resize_wait(i, DISK), 0);
	random_fill(&r, disk, DISK);
	assert_int_equal(write_wait(i, 0, disk, DISK), DISK);
	memcpy(then, disk, DISK);
	take(f.engine, id, "then");
	random_fill(&r, disk, DISK);
	assert_int_equal(write_wait(i, 0, disk, DISK), DISK);
	assert_int_equal(engine_resolve(f.engine, ".snapshots/disk/then", &attr, &err), 0);
	assert_int_equal(image_open(f.engine, attr.id, IMAGE_READ, &snapshot, &err), 0);
	assert_int_equal(engine_snapshot_delete(f.engine, id, "then", &err), 0);
	clean(f.engine, id, true, &result);
	/* On a slow machine a checkpoint between the two was in a segment of its own. */
	assert_true(result.removed_segments < DISK / MIB);
	cache_evict_all(f.engine->cache);
	check_disk(snapshot, then, "the deleted snapshot");
	image_close(snapshot, IMAGE_READ);
	clean(f.engine, id, true, &result);
	assert_true(result.removed_segments >= DISK / MIB);
	check_store(i, "after its last close");
	check_disk(i, disk, "the image");
	image_fixture_close_image(i);
	free(then);
	free(disk);
}

static void test_a_snapshot_that_cannot_be_read_stops_everything(void **state)
{
	uint64_t id = image_fixture_create(f.engine, "disk");
	const struct clean_options options = { .now = true };
	struct image *i = image_fixture_open_image(f.engine, "disk");
	struct clean_result result;
	char key[STORE_KEY_MAX + 1];

	(void)state;
	assert_int_equal(resize_wait(i, DISK), 0);
	snprintf(key, sizeof key, "images/%016" PRIx64 "/snapshots/00000000000000000000000000000000", id);
	assert_int_equal(store_put_wait(f.engine->pool->store, key, "damaged", 7, 0, &err), 0);
	assert_int_equal(engine_clean(f.engine, id, &options, NULL, NULL, &result, &err), -EBADMSG);
	assert_non_null(strstr(error_text(&err), "garner verify"));
	assert_int_equal(store_remove_wait(f.engine->pool->store, key, &err), 0);
	clean(f.engine, id, true, NULL);
	image_fixture_close_image(i);
}

/* ---- time and space ---- */

static void set_grace(uint64_t ms)
{
	pthread_mutex_lock(&f.engine->mutex);
	f.engine->options.gc_grace_ms = ms;
	pthread_mutex_unlock(&f.engine->mutex);
}

static void test_garbage_waits_for_its_time(void **state)
{
	uint64_t id = image_fixture_create(f.engine, "disk");
	uint8_t *disk = calloc(1, DISK);
	struct random r = { 1 };
	struct image *i = image_fixture_open_image(f.engine, "disk");
	struct clean_result result;
	struct image_space space;

	(void)state;
	set_grace(3600 * 1000);
	assert_int_equal(resize_wait(i, DISK), 0);
	for (unsigned k = 0; k < 3; k++) {
		random_fill(&r, disk, DISK);
		assert_int_equal(write_wait(i, 0, disk, DISK), DISK);
	}
	clean(f.engine, id, false, &result);
	assert_true(result.waiting_segments >= 2 * DISK / MIB);
	assert_true(result.waiting_bytes > 0);
	assert_int_equal(result.removed_segments, 0);
	unsigned before = list_store(f.engine, id).count;

	/* What waits is garbage to df; random bytes cannot be compressed. */
	assert_int_equal(engine_space(f.engine, id, &space, &err), 0);
	assert_int_equal(space.logical, DISK);
	assert_int_equal(space.allocated, DISK);
	assert_int_equal(space.live + space.history + space.garbage, space.stored);
	assert_int_equal(space.history, 0);
	assert_int_equal(space.segments, before);
	assert_true(space.garbage >= 2 * DISK - MIB);
	assert_true(space.live >= DISK);
	assert_true(space.ratio > 0.9 && space.ratio < 1.1);

	/* A dry run tells the same, and does nothing. */
	const struct clean_options dry = { .dry_run = true };
	struct clean_result would;
	assert_int_equal(engine_clean(f.engine, id, &dry, NULL, NULL, &would, &err), 0);
	assert_int_equal(would.removed_segments, result.waiting_segments);
	assert_int_equal(list_store(f.engine, id).count, before);

	/* A second look does not begin the time anew: once it is over all go. */
	clean(f.engine, id, false, &result);
	assert_int_equal(result.removed_segments, 0);
	usleep(20000);
	set_grace(10);
	clean(f.engine, id, false, &result);
	assert_true(result.removed_segments >= 2 * DISK / MIB);
	assert_int_equal(engine_space(f.engine, id, &space, &err), 0);
	assert_true(space.garbage < MIB);
	check_disk(i, disk, "at the end");
	image_fixture_close_image(i);
	free(disk);
}

static bool stop_at_once(void *arg, enum clean_phase phase, uint64_t done, uint64_t all)
{
	(void)phase;
	(void)done;
	(void)all;
	return --*(int *)arg > 0;
}

static void test_a_cleaning_that_is_stopped_leaves_all_in_order(void **state)
{
	uint64_t id = image_fixture_create(f.engine, "disk");
	const struct clean_options options = { .now = true };
	uint8_t *disk = calloc(1, DISK);
	struct random r = { env_number("GARNER_TEST_SEED", clock_wall_ns()) };
	struct image *i = image_fixture_open_image(f.engine, "disk");
	struct clean_result result;
	int rc = -EINTR;

	(void)state;
	print_message("GARNER_TEST_SEED=%" PRIu64 "\n", r.state);
	assert_int_equal(resize_wait(i, DISK), 0);
	for (int calls = 1; rc == -EINTR && calls < 1000; calls++) {
		int left = calls;
		write_some(&r, i, disk, 60);
		assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);
		rc = engine_clean(f.engine, id, &options, stop_at_once, &left, &result, &err);
		check_disk(i, disk, "after it was stopped");
	}
	assert_int_equal(rc, 0);
	image_fixture_close_image(i);
	image_fixture_close(&f);
	image_fixture_verify(&f);
	free(disk);
}

/* ---- beside those who write ---- */

struct writer {
	struct image *image;
	struct random random;
	uint8_t *disk;
	atomic_bool stop;
	unsigned failed;
};

static void *write_on(void *arg)
{
	struct writer *w = arg;
	uint8_t buf[2 * GRAIN];

	while (!atomic_load(&w->stop)) {
		size_t len = 1 + random_below(&w->random, sizeof buf);
		uint64_t at = random_below(&w->random, DISK - len);
		random_fill(&w->random, buf, len);
		w->failed += write_wait(w->image, at, buf, len) != (int64_t)len;
		memcpy(w->disk + at, buf, len);
		len = 1 + random_below(&w->random, sizeof buf);
		at = random_below(&w->random, DISK - len);
		w->failed += read_wait(w->image, at, buf, len) != (int64_t)len;
		w->failed += memcmp(buf, w->disk + at, len) != 0;
	}
	return NULL;
}

static void test_moves_lose_against_newer_writes(void **state)
{
	uint64_t seed = env_number("GARNER_TEST_SEED", clock_wall_ns()), id = image_fixture_create(f.engine, "disk");
	struct writer w = { .random = { seed + 1 }, .disk = calloc(1, DISK) };
	struct random r = { seed };
	struct clean_result result;
	uint64_t moved = 0;
	pthread_t thread;

	(void)state;
	print_message("GARNER_TEST_SEED=%" PRIu64 "\n", seed);
	w.image = image_fixture_open_image(f.engine, "disk");
	assert_int_equal(resize_wait(w.image, DISK), 0);
	for (unsigned round = 0; round < 8; round++) {
		write_some(&r, w.image, w.disk, 60);
		assert_int_equal(flush_wait(w.image, IMAGE_FLUSH_REMOTE), 0);
	}
	assert_int_equal(pthread_create(&thread, NULL, write_on, &w), 0);
	for (unsigned round = 0; round < 6; round++) {
		clean(f.engine, id, true, &result);
		moved += result.moved_bytes;
	}
	atomic_store(&w.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(w.failed, 0);
	assert_true(moved > 0);
	check_disk(w.image, w.disk, "after cleaning beside a writer");
	image_fixture_close_image(w.image);
	image_fixture_close(&f);
	image_fixture_lose_cache(&f, 0);
	image_fixture_verify(&f);
	image_fixture_open(&f, 0);
	w.image = image_fixture_open_image(f.engine, "disk");
	check_disk(w.image, w.disk, "from the store");
	image_fixture_close_image(w.image);
	free(w.disk);
}

/* Until cleaning has moved something, and has deleted what was stored first of the image. */
static void wait_for_cleaning(uint64_t id)
{
	for (bool done = false; !done; usleep(20000)) {
		struct stored s = list_store(f.engine, id);
		done = atomic_load(&f.engine->counters.moved_bytes) > MIB / 4;
		for (unsigned n = 1; n <= 16; n++)
			done = done && !s.there[n];
	}
}

/* More waits for its upload all the while than cleaning waits for: it goes by the checkpoints that come to be in the store. And each of the
 * images has its turns, though there is always something to be won from the one before. */
static void test_under_guests_that_never_pause_it_goes_on(void **state)
{
	enum { WRITERS = 2 };
	uint64_t seed = env_number("GARNER_TEST_SEED", clock_wall_ns()), id[WRITERS];
	struct writer w[WRITERS];
	pthread_t thread[WRITERS];

	(void)state;
	print_message("GARNER_TEST_SEED=%" PRIu64 "\n", seed);
	image_fixture_close(&f);
	f.options.gc_target = 25;
	image_fixture_open(&f, 0);
	for (unsigned k = 0; k < WRITERS; k++) {
		char name[20];
		snprintf(name, sizeof name, "disk%u", k);
		id[k] = image_fixture_create(f.engine, name);
		w[k] = (struct writer){ .random = { seed + k }, .disk = calloc(1, DISK) };
		w[k].image = image_fixture_open_image(f.engine, name);
		assert_int_equal(resize_wait(w[k].image, DISK), 0);
		assert_int_equal(pthread_create(&thread[k], NULL, write_on, &w[k]), 0);
	}
	for (unsigned k = 0; k < WRITERS; k++)
		wait_for_cleaning(id[k]);
	for (unsigned k = 0; k < WRITERS; k++) {
		atomic_store(&w[k].stop, true);
		pthread_join(thread[k], NULL);
		assert_int_equal(w[k].failed, 0);
		check_disk(w[k].image, w[k].disk, "after cleaning beside a writer");
		image_fixture_close_image(w[k].image);
	}
	image_fixture_close(&f);
	image_fixture_verify(&f);
	image_fixture_open(&f, 1);
	for (unsigned k = 0; k < WRITERS; k++) {
		char name[20];
		snprintf(name, sizeof name, "disk%u", k);
		w[k].image = image_fixture_open_image(f.engine, name);
		check_disk(w[k].image, w[k].disk, "on another host");
		image_fixture_close_image(w[k].image);
		free(w[k].disk);
	}
}

/* Grains first to first + count - 1, each several times: together they fill about a segment, which then goes to the store. */
static void write_segment(struct random *r, struct image *i, uint64_t first, unsigned count, unsigned times)
{
	static uint8_t buf[GRAIN];

	for (unsigned n = 0; n < times; n++)
		for (uint64_t k = first; k < first + count; k++) {
			random_fill(r, buf, sizeof buf);
			assert_int_equal(write_wait(i, k * GRAIN, buf, sizeof buf), sizeof buf);
		}
	assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);
}

/* Rounds until there is nothing more to do; the engine may have begun. */
static void clean_by_itself(struct image *i)
{
	struct clean_options options = { 0 };
	struct clean_result result;
	bool again = true;

	while (again) {
		int rc = clean_image(f.engine, i->id, &options, true, NULL, NULL, &result, &err);
		assert_true(!rc || rc == -EALREADY);
		pthread_mutex_lock(&i->clean_state.mutex);
		again = rc || i->clean_state.again;
		pthread_mutex_unlock(&i->clean_state.mutex);
	}
}

/* Packing has left most of them out, and all that it put into the store is needed: there is nothing to be won from it. */
static void test_what_packing_has_made_small_is_not_taken_for_garbage(void **state)
{
	enum { SEGMENTS = 16, HOT = 80, COLD = 240 };
	struct random r = { env_number("GARNER_TEST_SEED", clock_wall_ns()) };
	uint64_t bytes;
	struct image *i;

	(void)state;
	image_fixture_close(&f);
	f.options.gc_target = 25;
	f.options.seal_after_ms = 60000;
	/* It is never behind, and does not wait until a segment is that old. */
	f.options.cache_size = 1024 * MIB;
	f.options.dirty_limit = 512 * MIB;
	image_fixture_open(&f, 0);
	image_fixture_create(f.engine, "disk");
	i = image_fixture_open_image(f.engine, "disk");
	/* Not by itself meanwhile. */
	pthread_mutex_lock(&i->clean_mutex);
	for (uint64_t k = 0; k < SEGMENTS; k++)
		write_segment(&r, i, k * HOT, HOT, 3);
	for (uint64_t k = 0; k < SEGMENTS; k++)
		write_segment(&r, i, (k + SEGMENTS) * COLD, COLD, 1);
	for (uint64_t k = 0; k < SEGMENTS; k++)
		assert_int_equal(discard_wait(i, (k + SEGMENTS) * COLD * GRAIN, COLD / 2 * GRAIN), 0);
	pthread_mutex_unlock(&i->clean_mutex);
	clean_by_itself(i);
	bytes = atomic_load(&f.engine->counters.moved_bytes);
	/* A third and more of 5120 slots is garbage, and a quarter may be: half of some segments wins that. */
	print_message("%" PRIu64 " bytes were moved\n", bytes);
	assert_true(bytes >= 200 * GRAIN && bytes <= 1300 * GRAIN);
	image_fixture_close_image(i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_nothing_needs_goes_and_the_disk_stays, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_snapshots_deleted_in_any_order_leave_exactly_what_is_needed,
		                                set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_who_has_a_deleted_snapshot_open_reads_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_snapshot_that_cannot_be_read_stops_everything, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(test_garbage_waits_for_its_time, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_cleaning_that_is_stopped_leaves_all_in_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_moves_lose_against_newer_writes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_under_guests_that_never_pause_it_goes_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_packing_has_made_small_is_not_taken_for_garbage, set_up,
		                                tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
