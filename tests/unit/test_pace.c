/* SPDX-License-Identifier: GPL-3.0-only */
/* test_pace.c: what writes meet when all that may wait for its upload does: with a store that answers, and with one that is away. And for
 * whom uploads hurry, and what cleaning does without room.
 */
#include "image/clean.h"
#include "lib/image_fixture.h"
#include "lib/spy_store.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)
#define LIMIT (4 * MIB)
#define PATIENCE_MS 30000

static struct {
	struct image_fixture f;
	struct spy_store spy;
	struct image *image;
} t;

/* Puts of segments, and whatever else, wait until they are let go. */
static void open_with(enum full_policy on_full)
{
	t.f.options.on_full = on_full;
	t.f.options.dirty_limit = LIMIT;
	t.f.options.cache_size = 32 * MIB;
	image_fixture_open(&t.f, 0);
	image_fixture_create(t.f.engine, "disk");
	spy_store_over(&t.spy, t.f.engine->pool->store);
	t.f.engine->pool->store = &t.spy.store;
	t.image = image_fixture_open_image(t.f.engine, "disk");
	assert_int_equal(resize_wait(t.image, 64 * MIB), 0);
	assert_int_equal(flush_wait(t.image, IMAGE_FLUSH_REMOTE), 0);
	spy_hold_puts(&t.spy, true);
}

static void let_all_go(void)
{
	spy_hold_puts(&t.spy, false);
	while (spy_let_go(&t.spy, ""))
		;
}

static int setup(void **state)
{
	(void)state;
	memset(&t, 0, sizeof t);
	image_fixture_init(&t.f, false);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	atomic_store(&t.spy.put_error, 0);
	let_all_go();
	image_fixture_close_image(t.image);
	image_fixture_close(&t.f);
	spy_store_destroy(&t.spy);
	image_fixture_destroy(&t.f);
	return 0;
}

/* ---- a guest that writes on and on ---- */

struct writer {
	pthread_t thread;
	atomic_size_t written; /* bytes that were answered well */
	_Atomic int64_t error; /* the first other answer; it ends then */
	atomic_bool enough;
};

static void *write_on(void *arg)
{
	struct writer *w = arg;
	uint8_t *buf = malloc(MIB / 4);
	int64_t rc;

	if (!buf)
		abort();
	for (size_t at = 0; at < 60 * MIB && !atomic_load(&w->enough); at += MIB / 4) {
		memset(buf, 1 + (int)(at / (MIB / 4) % 250), MIB / 4);
		rc = write_wait(t.image, at, buf, MIB / 4);
		if (rc < 0) {
			atomic_store(&w->error, rc);
			break;
		}
		atomic_fetch_add(&w->written, (size_t)rc);
	}
	free(buf);
	return NULL;
}

static void begin(struct writer *w)
{
	*w = (struct writer){ .written = 0 };
	assert_int_equal(pthread_create(&w->thread, NULL, write_on, w), 0);
}

static void end(struct writer *w)
{
	atomic_store(&w->enough, true);
	assert_int_equal(pthread_join(w->thread, NULL), 0);
}

static bool within(bool (*what)(const struct writer *w), const struct writer *w)
{
	struct timespec pause = { .tv_nsec = 1000000 };

	for (unsigned ms = 0; ms < PATIENCE_MS && !what(w); ms++)
		nanosleep(&pause, NULL);
	return what(w);
}

/* A write that does not fit waits for room. */
static bool waits(const struct writer *w)
{
	(void)w;
	pthread_mutex_lock(&t.f.engine->pace_mutex);
	bool parked = !STAILQ_EMPTY(&t.f.engine->dirty_waiters);
	pthread_mutex_unlock(&t.f.engine->pace_mutex);
	return parked;
}

static bool failed(const struct writer *w)
{
	return atomic_load(&w->error);
}

static bool wrote_all(const struct writer *w)
{
	return atomic_load(&w->written) >= 16 * MIB;
}

/* ---- */

static void with_a_store_that_answers_it_waits(void **state)
{
	struct writer w;

	(void)state;
	open_with(FULL_ERROR);
	begin(&w);
	bool parked = within(waits, &w);
	size_t before = atomic_load(&w.written);
	let_all_go();
	bool all = within(wrote_all, &w);
	end(&w);
	assert_true(parked);
	assert_in_range(before, LIMIT - MIB, LIMIT + MIB);
	assert_true(all);
	assert_int_equal(atomic_load(&w.error), 0);
}

static void what_waits_fails_when_the_store_goes_away(void **state)
{
	struct writer w;
	uint8_t byte;

	(void)state;
	open_with(FULL_ERROR);
	begin(&w);
	bool parked = within(waits, &w);
	atomic_store(&t.spy.put_error, -EIO);
	let_all_go();
	bool ended = within(failed, &w);
	end(&w);
	assert_true(parked);
	assert_true(ended);
	assert_int_equal(atomic_load(&w.error), -ENOSPC);
	/* The next at once, and what was answered is there. */
	assert_int_equal(write_wait(t.image, 0, "x", 1), -ENOSPC);
	assert_int_equal(read_wait(t.image, atomic_load(&w.written) - 1, &byte, 1), 1);
	assert_int_equal(byte, atomic_load(&w.written) / (MIB / 4) % 251);
	/* The store is back: there is room when all is there. */
	atomic_store(&t.spy.put_error, 0);
	assert_int_equal(flush_wait(t.image, IMAGE_FLUSH_REMOTE), 0);
	assert_int_equal(write_wait(t.image, 0, "x", 1), 1);
}

static void on_full_block_waits_for_the_store_to_come_back(void **state)
{
	struct writer w;
	struct timespec pause = { .tv_nsec = 300000000 };

	(void)state;
	open_with(FULL_BLOCK);
	begin(&w);
	bool parked = within(waits, &w);
	atomic_store(&t.spy.put_error, -EIO);
	let_all_go();
	while (!atomic_load(&t.f.engine->store_away))
		nanosleep(&pause, NULL);
	nanosleep(&pause, NULL);
	bool still = within(waits, &w);
	atomic_store(&t.spy.put_error, 0);
	bool all = within(wrote_all, &w);
	end(&w);
	assert_true(parked);
	assert_true(still);
	assert_true(all);
	assert_int_equal(atomic_load(&w.error), 0);
}

/* ---- cleaning that nobody asked for ---- */

#define LOOKS 10

struct settling {
	unsigned looks;
	bool waited_for, settles;
};

/* The store takes what is held back only after some looks. */
static bool look_for_hurry(void *arg, enum clean_phase phase, uint64_t done, uint64_t all)
{
	struct settling *s = arg;

	(void)done;
	(void)all;
	if (phase == CLEAN_SETTLE && s->looks < LOOKS) {
		s->waited_for |= atomic_load(&t.f.engine->waiting) > 0;
		s->settles |= atomic_load(&t.f.engine->settling) > 0;
		if (++s->looks == LOOKS)
			let_all_go();
	}
	return true;
}

static void nobody_waits_for_cleaning_by_itself(void **state)
{
	struct clean_options options = { 0 };
	struct settling by_itself = { 0 }, asked_for = { 0 };
	struct clean_result result;
	struct error err;

	(void)state;
	open_with(FULL_BLOCK);
	assert_int_equal(write_wait(t.image, 0, "x", 1), 1);
	if (clean_image(t.f.engine, t.image->id, &options, true, look_for_hurry, &by_itself, &result, &err))
		fail_msg("%s", error_text(&err));
	assert_int_equal(by_itself.looks, LOOKS);
	assert_false(by_itself.waited_for);
	assert_true(by_itself.settles);
	spy_hold_puts(&t.spy, true);
	assert_int_equal(write_wait(t.image, 0, "y", 1), 1);
	if (clean_image(t.f.engine, t.image->id, &options, false, look_for_hurry, &asked_for, &result, &err))
		fail_msg("%s", error_text(&err));
	assert_true(asked_for.waited_for);
	assert_false(asked_for.settles);
}

/* Other images want their turns. */
static void cleaning_by_itself_does_not_wait_for_what_is_behind(void **state)
{
	static uint8_t buf[MIB];
	struct clean_options options = { 0 };
	struct clean_result result;
	struct error err;

	(void)state;
	open_with(FULL_BLOCK);
	memset(buf, 1, sizeof buf);
	assert_int_equal(write_wait(t.image, 0, buf, sizeof buf), sizeof buf);
	assert_int_equal(clean_image(t.f.engine, t.image->id, &options, true, NULL, NULL, &result, &err), -EALREADY);
}

/* However soon after its first byte a segment is closed. */
static void small_segments_are_no_rush(void **state)
{
	(void)state;
	open_with(FULL_BLOCK);
	let_all_go();
	for (unsigned k = 0; k < 10; k++) {
		assert_int_equal(write_wait(t.image, 0, "x", 1), 1);
		assert_int_equal(flush_wait(t.image, IMAGE_FLUSH_REMOTE), 0);
	}
	assert_int_equal(atomic_load(&t.f.engine->rush_ns), 0);
}

/* ---- cleaning that finds no room ---- */

#define GRAIN ((size_t)4096)
#define KEPT 4 /* one grain of so many is not overwritten */

static uint8_t value_of(size_t grain)
{
	return (uint8_t)(grain % KEPT ? 2 : 1);
}

static void fill_mostly_with_garbage(void)
{
	static uint8_t buf[6 * MIB];

	memset(buf, 1, sizeof buf);
	assert_int_equal(write_wait(t.image, 0, buf, sizeof buf), sizeof buf);
	assert_int_equal(flush_wait(t.image, IMAGE_FLUSH_REMOTE), 0);
	for (size_t k = 0; k < sizeof buf / GRAIN; k++)
		if (k % KEPT) {
			memset(buf, value_of(k), GRAIN);
			assert_int_equal(write_wait(t.image, k * GRAIN, buf, GRAIN), GRAIN);
		}
	assert_int_equal(flush_wait(t.image, IMAGE_FLUSH_REMOTE), 0);
}

static void check_what_was_kept(void)
{
	static uint8_t buf[6 * MIB];

	assert_int_equal(read_wait(t.image, 0, buf, sizeof buf), sizeof buf);
	for (size_t k = 0; k < sizeof buf / GRAIN; k++)
		assert_int_equal(buf[k * GRAIN], value_of(k));
}

/* Now that it is known what is to be moved, the store goes away, and guests take what room there is. */
static bool take_all_room(void *arg, enum clean_phase phase, uint64_t done, uint64_t all)
{
	static uint8_t buf[MIB];
	bool *full = arg;
	uint64_t at = 16 * MIB;

	(void)done;
	(void)all;
	if (phase != CLEAN_MOVE || *full)
		return true;
	atomic_store(&t.spy.put_error, -EIO);
	while (write_wait(t.image, at, buf, sizeof buf) == sizeof buf) {
		memset(buf, (int)(at / MIB), sizeof buf);
		at += MIB;
	}
	*full = true;
	return true;
}

static void cleaning_that_finds_no_room_ends_and_loses_nothing(void **state)
{
	struct clean_options options = { 0 };
	struct clean_result result;
	struct error err;

	(void)state;
	t.f.options.gc_target = 25;
	open_with(FULL_ERROR);
	let_all_go();
	fill_mostly_with_garbage();
	for (unsigned k = 0; k < 2; k++) {
		bool by_itself = !k, full = false;
		int rc = clean_image(t.f.engine, t.image->id, &options, by_itself, take_all_room, &full, &result, &err);
		assert_true(full);
		/* Nobody is to be told about what nobody asked for. */
		assert_int_equal(rc, by_itself ? 0 : -ENOSPC);
		assert_true(by_itself || strstr(error_text(&err), "dirty_limit"));
		assert_int_equal(result.moved_segments, 0);
		check_what_was_kept();
		atomic_store(&t.spy.put_error, 0);
		assert_int_equal(flush_wait(t.image, IMAGE_FLUSH_REMOTE), 0);
	}
	if (clean_image(t.f.engine, t.image->id, &options, false, NULL, NULL, &result, &err))
		fail_msg("%s", error_text(&err));
	assert_true(result.moved_segments > 0);
	check_what_was_kept();
}

/* It holds all the room, and none of it will come into the store. */
static void others_do_not_wait_for_an_image_that_has_stopped(void **state)
{
	struct writer w;

	(void)state;
	open_with(FULL_BLOCK);
	let_all_go();
	image_fixture_create(t.f.engine, "other");
	struct image *other = image_fixture_open_image(t.f.engine, "other");
	assert_int_equal(resize_wait(other, MIB), 0);
	assert_int_equal(flush_wait(other, IMAGE_FLUSH_REMOTE), 0);
	spy_hold_puts(&t.spy, true);
	begin(&w);
	bool parked = within(waits, &w);
	image_fail(t.image, "failed", -EIO, "a fault of the test's");
	bool ended = within(failed, &w);
	end(&w);
	assert_true(parked);
	assert_true(ended);
	assert_int_equal(atomic_load(&w.error), -EIO);
	assert_int_equal(write_wait(other, 0, "x", 1), 1);
	let_all_go();
	assert_int_equal(flush_wait(other, IMAGE_FLUSH_REMOTE), 0);
	assert_int_equal(atomic_load(&t.f.engine->unsent), 0);
	image_fixture_close_image(other);
	/* What is kept of the one is sent when it is opened again. */
	image_fixture_close_image(t.image);
	t.image = image_fixture_open_image(t.f.engine, "disk");
	assert_int_equal(flush_wait(t.image, IMAGE_FLUSH_REMOTE), 0);
	assert_int_equal(atomic_load(&t.f.engine->unsent), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(with_a_store_that_answers_it_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(what_waits_fails_when_the_store_goes_away, setup, teardown),
		cmocka_unit_test_setup_teardown(on_full_block_waits_for_the_store_to_come_back, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_waits_for_cleaning_by_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(cleaning_by_itself_does_not_wait_for_what_is_behind, setup, teardown),
		cmocka_unit_test_setup_teardown(small_segments_are_no_rush, setup, teardown),
		cmocka_unit_test_setup_teardown(others_do_not_wait_for_an_image_that_has_stopped, setup, teardown),
		cmocka_unit_test_setup_teardown(cleaning_that_finds_no_room_ends_and_loses_nothing, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
