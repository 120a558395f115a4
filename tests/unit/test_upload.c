/* SPDX-License-Identifier: GPL-3.0-only */
/* test_upload.c: sealed segments on their way to the store: several at a time, counted as a prefix, tried again while the store
 * is away, and stopped for good when somebody else's segment is in their place.
 */
#include "log/upload.h"

#include "lib/log_fixture.h"
#include "lib/random.h"
#include "lib/spy_store.h"
#include "log/segment_object.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define EPOCH 1u
#define WINDOW 3u

struct upload_fixture {
	struct log_fixture log;
	char store_dir[220];
	struct spy_store spy;
	struct executor *executor; /* packs */
	struct upload *upload;
	/* Guarded by log.mutex. */
	segment_no_t stored[64];
	unsigned stored_count, bad_states, good_states, failures;
	int error;
	char text[300];
	unsigned answers, refusals; /* waiters answered with 0; with -EIO */
};

/* ---- hooks ---- */

static void hook_stored(void *arg, struct segment *s)
{
	struct upload_fixture *u = arg;

	must(upload_stored(u->upload) == s->number, "told when it is not so");
	pthread_mutex_lock(&u->log.mutex);
	must(u->stored_count < 64, "too many segments");
	u->stored[u->stored_count++] = s->number;
	pthread_cond_broadcast(&u->log.changed);
	pthread_mutex_unlock(&u->log.mutex);
}

static void hook_state(void *arg, const struct error *err)
{
	struct upload_fixture *u = arg;

	pthread_mutex_lock(&u->log.mutex);
	if (err)
		u->bad_states++;
	else
		u->good_states++;
	pthread_cond_broadcast(&u->log.changed);
	pthread_mutex_unlock(&u->log.mutex);
}

static void hook_upload_failed(void *arg, int error, const char *text)
{
	struct upload_fixture *u = arg;

	pthread_mutex_lock(&u->log.mutex);
	u->failures++;
	u->error = error;
	snprintf(u->text, sizeof u->text, "%s", text);
	pthread_cond_broadcast(&u->log.changed);
	pthread_mutex_unlock(&u->log.mutex);
}

static void waiter_answered(void *arg, int result)
{
	struct upload_fixture *u = arg;

	pthread_mutex_lock(&u->log.mutex);
	must(result == 0 || result == -EIO, "an answer that is none");
	if (result)
		u->refusals++;
	else
		u->answers++;
	pthread_cond_broadcast(&u->log.changed);
	pthread_mutex_unlock(&u->log.mutex);
}

static void send_complete(void *arg, struct segment *s)
{
	struct upload_fixture *u = arg;

	must(atomic_load(&s->life) == LIFE_CLOSED, "sealed before it was complete");
	must(!upload_segment(u->upload, s), "upload_segment");
}

static void tell_sealed(void *arg, struct segment *s)
{
	struct upload_fixture *u = arg;

	upload_sealed(u->upload, s);
}

/* As for a segment that was recovered. */
static void send_sealed(void *arg, struct segment *s)
{
	struct upload_fixture *u = arg;

	must(!upload_segment(u->upload, s), "upload_segment");
}

/* ---- fixture ---- */

static void start_upload(struct upload_fixture *u)
{
	struct upload_options o = {
		.store = &u->spy.store,
		.executor = u->executor,
		.set = u->log.set,
		.key = { .plain = true },
		.epoch = EPOCH,
		.window = WINDOW,
		.hooks = { .stored = hook_stored, .store_state = hook_state, .failed = hook_upload_failed },
		.arg = u,
	};

	u->upload = upload_new(&o);
	must(u->upload != NULL, "no upload");
}

static int setup(void **state)
{
	struct upload_fixture *u = calloc(1, sizeof *u);

	must(u != NULL, "memory");
	log_fixture_init(&u->log);
	snprintf(u->store_dir, sizeof u->store_dir, "%s/store", u->log.dir);
	spy_store_init(&u->spy, u->store_dir);
	u->executor = executor_new("pack", 2, false);
	must(u->executor != NULL, "executor");
	start_upload(u);
	u->log.on_sealed = send_sealed;
	u->log.on_sealed_arg = u;
	log_fixture_start(&u->log);
	*state = u;
	return 0;
}

static int teardown(void **state)
{
	struct upload_fixture *u = *state;

	log_fixture_stop(&u->log);
	spy_hold_puts(&u->spy, false);
	while (spy_let_go(&u->spy, ""))
		;
	upload_stop(u->upload);
	upload_free(u->upload);
	executor_free(u->executor);
	spy_store_destroy(&u->spy);
	log_fixture_destroy(&u->log);
	free(u);
	return 0;
}

/* Writes a grain each into `count` segments, which are sealed and given to the upload. */
static void seal_segments(struct upload_fixture *u, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		must(!append_grains(u->log.log, i, 1, i), "append");
		seal_now(&u->log);
	}
	log_drain(u->log.log);
}

static void wait_for(struct upload_fixture *u, const unsigned *counter, unsigned least)
{
	log_fixture_wait(&u->log, counter, least);
}

static unsigned count_of(struct upload_fixture *u, const unsigned *counter)
{
	return log_fixture_read(&u->log, counter);
}

/* As it is in a key. */
static const char *part_of(segment_no_t number, char part[24])
{
	snprintf(part, 24, "/%016llx-", (unsigned long long)number);
	return part;
}

static void let_go(struct upload_fixture *u, segment_no_t number)
{
	char part[24];

	assert_true(spy_let_go(&u->spy, part_of(number, part)));
}

static void key_of(segment_no_t number, char key[STORE_KEY_MAX + 1])
{
	segment_object_key(TEST_IMAGE, number, EPOCH, key, STORE_KEY_MAX + 1);
}

static bool in_store(struct upload_fixture *u, segment_no_t number)
{
	char key[STORE_KEY_MAX + 1];
	uint64_t size;

	key_of(number, key);
	int rc = store_head_wait(u->spy.below, key, &size, NULL);
	assert_true(rc == 0 || rc == -ENOENT);
	return !rc;
}

static unsigned held(struct upload_fixture *u)
{
	pthread_mutex_lock(&u->spy.mutex);
	unsigned n = u->spy.held_count;
	pthread_mutex_unlock(&u->spy.mutex);
	return n;
}

static void assert_stored_in_order(struct upload_fixture *u, unsigned count)
{
	wait_for(u, &u->stored_count, count);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(u->stored[i], i + 1);
	assert_int_equal(count_of(u, &u->stored_count), count);
}

static void assert_state(struct upload_fixture *u, segment_no_t number, uint32_t state)
{
	struct segment_header h;

	assert_int_equal(header_of(&u->log, number, &h), 0);
	assert_int_equal(h.state, state);
}

/* ---- what is put ---- */

static void segment_is_put_whole_under_its_number_and_epoch(void **state)
{
	struct upload_fixture *u = *state;
	uint8_t bytes[70000];
	struct segment_meta meta;
	struct record *records;
	char key[STORE_KEY_MAX + 1];
	size_t got;

	seal_segments(u, 2);
	assert_stored_in_order(u, 2);
	key_of(2, key);
	assert_int_equal(store_get_wait(u->spy.below, key, 0, bytes, sizeof bytes, &got, NULL), 0);
	struct seal_key plain = { .plain = true };
	assert_int_equal(segment_meta_decode(bytes, got, &plain, &meta, NULL), 0);
	struct segment *s = segment_pin_known(u->log.set, 2), *before = segment_pin_known(u->log.set, 1);
	assert_true(meta.image == TEST_IMAGE && meta.number == 2 && meta.epoch == EPOCH);
	assert_memory_equal(meta.digest, s->digest, DIGEST_BYTES);
	assert_memory_equal(meta.prev_digest, before->digest, DIGEST_BYTES);
	segment_unpin(s);
	segment_unpin(before);
	assert_int_equal(segment_meta_open(&meta, bytes, got, &plain, &records, NULL, NULL), 0);
	assert_int_equal(meta.record_count, 2);
	assert_int_equal(records[1].kind, RECORD_DATA);
	free(records);
	assert_int_equal(u->good_states, 2);
	assert_int_equal(u->bad_states, 0);
}

static void stored_segment_says_so_and_may_be_let_go(void **state)
{
	struct upload_fixture *u = *state;

	seal_segments(u, 1);
	assert_stored_in_order(u, 1);
	upload_stop(u->upload);
	assert_state(u, 1, SEGMENT_STORED);
	struct segment *s = segment_pin_known(u->log.set, 1);
	assert_int_equal(atomic_load(&s->pins), 1);
	segment_unpin(s);
}

/* ---- made durable here and in the store side by side ---- */

static int setup_side_by_side(void **state)
{
	struct upload_fixture *u;
	int rc = setup(state);

	u = *state;
	u->log.on_complete = send_complete;
	u->log.on_sealed = tell_sealed;
	return rc;
}

static void assert_life(struct upload_fixture *u, segment_no_t number, int life)
{
	struct segment *s = segment_pin_known(u->log.set, number);

	assert_int_equal(atomic_load(&s->life), life);
	segment_unpin(s);
}

/* Segment 1 is in the store, and its syncs are held. Who waits for the store does not wait for the disk. */
static void store_before_it_is_synced(struct upload_fixture *u)
{
	must(!append_grains(u->log.log, 0, 5, 1), "append");
	fault_hold_syncs(&u->log.disk, true);
	assert_int_equal(log_close_segment(u->log.log), 1);
	assert_int_equal(upload_wait(u->upload, 1, waiter_answered, u), 0);
	wait_for(u, &u->answers, 1);
}

static void segment_in_the_store_stays_as_it_is_here_until_it_is_sealed(void **state)
{
	struct upload_fixture *u = *state;

	store_before_it_is_synced(u);
	assert_true(in_store(u, 1));
	assert_life(u, 1, LIFE_CLOSED);
	assert_state(u, 1, SEGMENT_OPEN);

	fault_hold_syncs(&u->log.disk, false);
	log_drain(u->log.log);
	upload_stop(u->upload);
	assert_life(u, 1, LIFE_STORED);
	assert_state(u, 1, SEGMENT_STORED);
}

static void segment_that_was_sealed_first_is_marked_when_it_is_stored(void **state)
{
	struct upload_fixture *u = *state;

	spy_hold_puts(&u->spy, true);
	seal_segments(u, 2);
	assert_life(u, 1, LIFE_SEALED);
	assert_state(u, 2, SEGMENT_SEALED);
	spy_wait_held(&u->spy, 2);
	let_go(u, 1);
	let_go(u, 2);
	assert_stored_in_order(u, 2);
	upload_stop(u->upload);
	assert_life(u, 1, LIFE_STORED);
	assert_state(u, 2, SEGMENT_STORED);
}

static void sync_that_fails_leaves_what_is_in_the_store_unmarked(void **state)
{
	struct upload_fixture *u = *state;

	store_before_it_is_synced(u);
	atomic_store(&u->log.disk.sync_error, -EIO);
	fault_hold_syncs(&u->log.disk, false);
	log_drain(u->log.log);
	upload_stop(u->upload);
	assert_int_equal(u->log.failures, 1);
	assert_life(u, 1, LIFE_CLOSED);
	assert_state(u, 1, SEGMENT_OPEN);
	atomic_store(&u->log.disk.sync_error, 0);
}

/* ---- window and prefix ---- */

static void no_more_than_the_window_are_under_way(void **state)
{
	struct upload_fixture *u = *state;

	spy_hold_puts(&u->spy, true);
	seal_segments(u, WINDOW + 2);
	spy_wait_held(&u->spy, WINDOW);
	executor_drain(u->executor);
	assert_int_equal(held(u), WINDOW);
	assert_int_equal(atomic_load(&u->spy.puts), WINDOW);
	/* Each that is answered makes room for one. */
	let_go(u, 2);
	spy_wait_held(&u->spy, WINDOW);
	executor_drain(u->executor);
	assert_int_equal(atomic_load(&u->spy.puts), WINDOW + 1);
	let_go(u, 4);
	spy_wait_held(&u->spy, WINDOW);
	assert_int_equal(atomic_load(&u->spy.puts), WINDOW + 2);
}

static void what_counts_is_the_gap_free_prefix(void **state)
{
	struct upload_fixture *u = *state;

	spy_hold_puts(&u->spy, true);
	seal_segments(u, 5);
	spy_wait_held(&u->spy, 3);
	assert_int_equal(upload_wait(u->upload, 2, waiter_answered, u), 0);
	let_go(u, 3);
	spy_wait_held(&u->spy, 3); /* 1, 2, 4: so 3 is over and done with */
	let_go(u, 2);
	spy_wait_held(&u->spy, 3);
	assert_int_equal(count_of(u, &u->good_states), 2);
	assert_int_equal(upload_stored(u->upload), 0);
	assert_int_equal(count_of(u, &u->stored_count), 0);
	assert_int_equal(count_of(u, &u->answers), 0);
	assert_state(u, 2, SEGMENT_SEALED);
	struct segment *s = segment_pin_known(u->log.set, 3);
	assert_int_equal(atomic_load(&s->life), LIFE_SEALED);
	segment_unpin(s);
	let_go(u, 1);
	assert_stored_in_order(u, 3);
	wait_for(u, &u->answers, 1);
	assert_int_equal(upload_stored(u->upload), 3);
}

static void answers_in_any_order_are_told_in_order(void **state)
{
	struct upload_fixture *u = *state;
	struct random r = { test_seed() };
	const unsigned count = 20;

	spy_hold_puts(&u->spy, true);
	seal_segments(u, count);
	for (unsigned done = 0; done < count; done++) {
		spy_wait_held(&u->spy, count - done < WINDOW ? count - done : WINDOW);
		pthread_mutex_lock(&u->spy.mutex);
		char key[STORE_KEY_MAX + 1];
		snprintf(key, sizeof key, "%s", u->spy.held[random_below(&r, u->spy.held_count)].key);
		pthread_mutex_unlock(&u->spy.mutex);
		assert_true(spy_let_go(&u->spy, key));
	}
	assert_stored_in_order(u, count);
}

static void waiters_are_answered_when_the_prefix_reaches_them(void **state)
{
	struct upload_fixture *u = *state;

	assert_int_equal(upload_wait(u->upload, 0, waiter_answered, u), 0);
	assert_int_equal(count_of(u, &u->answers), 1);
	spy_hold_puts(&u->spy, true);
	seal_segments(u, 2);
	spy_wait_held(&u->spy, 2);
	for (segment_no_t n = 1; n <= 2; n++)
		assert_int_equal(upload_wait(u->upload, n, waiter_answered, u), 0);
	let_go(u, 1);
	wait_for(u, &u->answers, 2);
	assert_stored_in_order(u, 1);
	assert_int_equal(count_of(u, &u->answers), 2);
	let_go(u, 2);
	wait_for(u, &u->answers, 3);
	/* Now at once, on this thread. */
	assert_int_equal(upload_wait(u->upload, 2, waiter_answered, u), 0);
	assert_int_equal(count_of(u, &u->answers), 4);
	assert_int_equal(count_of(u, &u->refusals), 0);
}

static void bytes_and_age_count_what_is_not_stored(void **state)
{
	struct upload_fixture *u = *state;
	uint64_t oldest;

	assert_int_equal(upload_bytes(u->upload, &oldest), 0);
	assert_int_equal(oldest, 0);
	spy_hold_puts(&u->spy, true);
	seal_segments(u, 5);
	struct segment *first = segment_pin_known(u->log.set, 1), *second = segment_pin_known(u->log.set, 2);
	assert_int_equal(upload_bytes(u->upload, &oldest), 5 * TEST_GRAIN);
	assert_true(oldest == first->opened_ns);
	spy_wait_held(&u->spy, 3);
	let_go(u, 1);
	assert_stored_in_order(u, 1);
	assert_int_equal(upload_bytes(u->upload, &oldest), 4 * TEST_GRAIN);
	assert_true(oldest == second->opened_ns);
	segment_unpin(first);
	segment_unpin(second);
}

/* ---- a store that is away ---- */

static void put_that_failed_is_tried_again_and_each_try_told_once(void **state)
{
	struct upload_fixture *u = *state;

	atomic_store(&u->spy.put_error, -EIO);
	seal_segments(u, 1);
	wait_for(u, &u->bad_states, 2);
	assert_int_equal(upload_stored(u->upload), 0);
	atomic_store(&u->spy.put_error, 0);
	assert_stored_in_order(u, 1);
	assert_int_equal(u->bad_states, atomic_load(&u->spy.puts) - 1);
	assert_int_equal(u->good_states, 1);
	assert_int_equal(u->failures, 0);
}

static void others_go_on_while_one_waits_for_its_next_try(void **state)
{
	struct upload_fixture *u = *state;

	spy_hold_puts(&u->spy, true);
	seal_segments(u, WINDOW + 1);
	spy_wait_held(&u->spy, WINDOW);
	atomic_store(&u->spy.put_error, -ETIMEDOUT);
	let_go(u, 1);
	wait_for(u, &u->bad_states, 1);
	atomic_store(&u->spy.put_error, 0);
	/* Its place in the window is free for the next. */
	spy_wait_held(&u->spy, WINDOW);
	spy_hold_puts(&u->spy, false);
	for (segment_no_t n = WINDOW + 1; n > 1; n--)
		let_go(u, n);
	assert_stored_in_order(u, WINDOW + 1);
}

static void answer_that_was_lost_is_found_out_by_the_digest(void **state)
{
	struct upload_fixture *u = *state;

	atomic_store(&u->spy.lose_answers, 1);
	seal_segments(u, 1);
	assert_stored_in_order(u, 1);
	assert_int_equal(u->bad_states, 1);
	assert_int_equal(u->good_states, 1);
	assert_int_equal(atomic_load(&u->spy.puts), 2);
	assert_int_equal(u->failures, 0);
}

static void segment_put_before_a_crash_is_not_put_again(void **state)
{
	struct upload_fixture *u = *state;

	seal_segments(u, 2);
	assert_stored_in_order(u, 2);
	/* The next daemon knows only that the store had nothing. */
	upload_stop(u->upload);
	upload_free(u->upload);
	u->stored_count = 0;
	start_upload(u);
	for (segment_no_t n = 1; n <= 2; n++) {
		struct segment *s = segment_pin_known(u->log.set, n);
		assert_int_equal(upload_segment(u->upload, s), 0);
		segment_unpin(s);
	}
	assert_stored_in_order(u, 2);
	assert_int_equal(u->failures, 0);
	assert_int_equal(u->bad_states, 0);
}

static void comparison_that_the_store_does_not_answer_is_tried_again(void **state)
{
	struct upload_fixture *u = *state;

	atomic_store(&u->spy.lose_answers, 1);
	atomic_store(&u->spy.get_error, -ETIMEDOUT);
	seal_segments(u, 1);
	wait_for(u, &u->bad_states, 2);
	assert_int_equal(upload_stored(u->upload), 0);
	atomic_store(&u->spy.get_error, 0);
	assert_stored_in_order(u, 1);
	assert_int_equal(u->failures, 0);
}

static void comparison_that_was_damaged_on_its_way_is_made_again(void **state)
{
	struct upload_fixture *u = *state;

	atomic_store(&u->spy.lose_answers, 1);
	atomic_store(&u->spy.damage_gets, 1);
	seal_segments(u, 1);
	assert_stored_in_order(u, 1);
	assert_int_equal(atomic_load(&u->spy.damage_gets), 0);
	assert_int_equal(atomic_load(&u->spy.puts), 3);
	assert_int_equal(u->bad_states, 2);
	assert_int_equal(u->good_states, 1);
	assert_int_equal(u->failures, 0);
}

/* ---- stopped for good ---- */

/* Puts the object of segment `from` where segment `to` belongs. */
static void put_in_place_of(struct upload_fixture *u, segment_no_t from, segment_no_t to)
{
	uint8_t bytes[70000];
	char key[STORE_KEY_MAX + 1];
	size_t got;

	key_of(from, key);
	assert_int_equal(store_get_wait(u->spy.below, key, 0, bytes, sizeof bytes, &got, NULL), 0);
	key_of(to, key);
	assert_int_equal(store_put_wait(u->spy.below, key, bytes, got, STORE_PUT_CREATE_ONLY, NULL), 0);
}

static void another_segment_in_its_place_stops_the_upload_for_good(void **state)
{
	struct upload_fixture *u = *state;

	seal_segments(u, 1);
	assert_stored_in_order(u, 1);
	for (segment_no_t n = 2; n <= 3; n++)
		put_in_place_of(u, 1, n);
	assert_int_equal(upload_wait(u->upload, 2, waiter_answered, u), 0);
	spy_hold_puts(&u->spy, true);
	seal_segments(u, 3);
	spy_wait_held(&u->spy, 3);
	for (segment_no_t n = 4; n >= 2; n--)
		let_go(u, n);
	wait_for(u, &u->refusals, 1);
	assert_int_equal(u->failures, 1);
	assert_int_equal(u->error, -EEXIST);
	assert_non_null(strstr(u->text, "somebody else writes this image"));
	/* The prefix does not move, even though one behind got through; and it is told once. */
	upload_stop(u->upload);
	assert_true(in_store(u, 4));
	assert_int_equal(upload_stored(u->upload), 1);
	assert_int_equal(u->stored_count, 1);
	assert_int_equal(u->failures, 1);
	assert_state(u, 2, SEGMENT_SEALED);
	assert_int_equal(upload_wait(u->upload, 2, waiter_answered, u), 0);
	assert_int_equal(u->refusals, 2);
	assert_int_equal(u->answers, 0);
}

/* Of the same number, image and chain, but written by another host. */
static void segment_of_the_same_number_and_another_digest_stops_it_too(void **state)
{
	struct upload_fixture *u = *state;
	struct record other = { .kind = RECORD_RESIZE, .slot = RECORD_NO_SLOT, .value = 99 };
	uint8_t zeros[DIGEST_BYTES] = { 0 }, digest[DIGEST_BYTES], *object;
	struct seal_key plain = { .plain = true };
	struct sealer *sealer = sealer_new(0);
	char key[STORE_KEY_MAX + 1];
	size_t length;

	assert_int_equal(segment_digest(TEST_IMAGE, 1, zeros, &other, 1, digest), 0);
	struct segment_pack p = { .pool = test_pool,
		                  .image = TEST_IMAGE,
		                  .number = 1,
		                  .epoch = EPOCH,
		                  .shape = u->log.shape,
		                  .records = &other,
		                  .record_count = 1,
		                  .prev_digest = zeros,
		                  .digest = digest };
	assert_int_equal(segment_object_pack(&p, sealer, &plain, &object, &length, NULL), 0);
	sealer_free(sealer);
	key_of(1, key);
	assert_int_equal(store_put_wait(u->spy.below, key, object, length, 0, NULL), 0);
	free(object);
	seal_segments(u, 1);
	wait_for(u, &u->failures, 1);
	assert_int_equal(u->error, -EEXIST);
	assert_int_equal(upload_stored(u->upload), 0);
}

static void garbage_in_its_place_stops_the_upload_and_stays(void **state)
{
	struct upload_fixture *u = *state;
	uint8_t garbage[1000], after[1000];
	char key[STORE_KEY_MAX + 1];
	size_t got;

	memset(garbage, 0x77, sizeof garbage);
	key_of(1, key);
	assert_int_equal(store_put_wait(u->spy.below, key, garbage, sizeof garbage, 0, NULL), 0);
	seal_segments(u, 1);
	wait_for(u, &u->failures, 1);
	assert_int_equal(u->error, -EBADMSG);
	assert_int_equal(atomic_load(&u->spy.gets), 2);
	assert_int_equal(u->bad_states, 1);
	assert_int_equal(upload_stored(u->upload), 0);
	assert_int_equal(store_get_wait(u->spy.below, key, 0, after, sizeof after, &got, NULL), 0);
	assert_int_equal(got, sizeof garbage);
	assert_memory_equal(after, garbage, sizeof garbage);
}

static void damaged_segment_is_never_put(void **state)
{
	struct upload_fixture *u = *state;

	/* The window is full until segment 4 is damaged in its file. */
	spy_hold_puts(&u->spy, true);
	seal_segments(u, 4);
	spy_wait_held(&u->spy, 3);
	char *path = segment_path(u->log.set, 4);
	int fd = open(path, O_RDWR);
	free(path);
	assert_int_equal(pwrite(fd, "x", 1, (off_t)segment_slot_offset(&u->log.shape, 0) + 100), 1);
	assert_int_equal(close(fd), 0);
	spy_hold_puts(&u->spy, false);
	for (segment_no_t n = 1; n <= 3; n++)
		let_go(u, n);
	wait_for(u, &u->failures, 1);
	assert_int_equal(u->error, -EBADMSG);
	assert_non_null(strstr(u->text, "segment 4"));
	upload_stop(u->upload);
	assert_int_equal(upload_stored(u->upload), 3);
	assert_false(in_store(u, 4));
	assert_int_equal(u->failures, 1);
}

/* ---- stopping ---- */

static void *stop_thread(void *arg)
{
	struct upload_fixture *u = arg;

	upload_stop(u->upload);
	return NULL;
}

static void stop_waits_for_what_is_under_way_and_leaves_the_rest(void **state)
{
	struct upload_fixture *u = *state;
	pthread_t thread;

	spy_hold_puts(&u->spy, true);
	seal_segments(u, WINDOW + 2);
	spy_wait_held(&u->spy, WINDOW);
	assert_int_equal(upload_wait(u->upload, 1, waiter_answered, u), 0);
	assert_int_equal(upload_wait(u->upload, WINDOW + 2, waiter_answered, u), 0);
	must(!pthread_create(&thread, NULL, stop_thread, u), "thread");
	/* A wait that begins after the stop is refused at once: by that we know that it has begun. */
	unsigned asked = 1;
	for (; !count_of(u, &u->refusals); asked++) {
		assert_int_equal(upload_wait(u->upload, WINDOW + 2, waiter_answered, u), 0);
		usleep(1000);
	}
	assert_int_equal(count_of(u, &u->answers), 0);
	for (segment_no_t n = WINDOW; n >= 1; n--)
		let_go(u, n);
	must(!pthread_join(thread, NULL), "join");
	assert_stored_in_order(u, WINDOW);
	assert_int_equal(atomic_load(&u->spy.puts), WINDOW);
	for (segment_no_t n = WINDOW + 1; n <= WINDOW + 2; n++) {
		assert_false(in_store(u, n));
		assert_state(u, n, SEGMENT_SEALED);
	}
	/* Of those who waited, one got what it waited for. */
	assert_int_equal(u->answers, 1);
	assert_int_equal(u->refusals, asked);
}

static void stop_does_not_wait_for_a_store_to_come_back(void **state)
{
	struct upload_fixture *u = *state;

	atomic_store(&u->spy.put_error, -EIO);
	seal_segments(u, 2);
	assert_int_equal(upload_wait(u->upload, 2, waiter_answered, u), 0);
	wait_for(u, &u->bad_states, 3);
	upload_stop(u->upload);
	unsigned puts = atomic_load(&u->spy.puts);
	assert_int_equal(u->refusals, 1);
	/* Nothing more is started. */
	seal_segments(u, 1);
	executor_drain(u->executor);
	assert_int_equal(atomic_load(&u->spy.puts), puts);
	for (segment_no_t n = 1; n <= 3; n++)
		assert_state(u, n, SEGMENT_SEALED);
	assert_int_equal(u->stored_count, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define S(name) cmocka_unit_test_setup_teardown(name, setup_side_by_side, teardown)
	const struct CMUnitTest tests[] = {
		T(segment_is_put_whole_under_its_number_and_epoch),
		T(stored_segment_says_so_and_may_be_let_go),
		S(segment_in_the_store_stays_as_it_is_here_until_it_is_sealed),
		S(segment_that_was_sealed_first_is_marked_when_it_is_stored),
		S(sync_that_fails_leaves_what_is_in_the_store_unmarked),
		T(no_more_than_the_window_are_under_way),
		T(what_counts_is_the_gap_free_prefix),
		T(answers_in_any_order_are_told_in_order),
		T(waiters_are_answered_when_the_prefix_reaches_them),
		T(bytes_and_age_count_what_is_not_stored),
		T(put_that_failed_is_tried_again_and_each_try_told_once),
		T(others_go_on_while_one_waits_for_its_next_try),
		T(answer_that_was_lost_is_found_out_by_the_digest),
		T(segment_put_before_a_crash_is_not_put_again),
		T(comparison_that_the_store_does_not_answer_is_tried_again),
		T(comparison_that_was_damaged_on_its_way_is_made_again),
		T(another_segment_in_its_place_stops_the_upload_for_good),
		T(segment_of_the_same_number_and_another_digest_stops_it_too),
		T(garbage_in_its_place_stops_the_upload_and_stays),
		T(damaged_segment_is_never_put),
		T(stop_waits_for_what_is_under_way_and_leaves_the_rest),
		T(stop_does_not_wait_for_a_store_to_come_back),
	};

	alarm(300);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
