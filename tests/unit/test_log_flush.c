/* SPDX-License-Identifier: GPL-3.0-only */
/* test_log_flush.c: what a flush promises, seen at the seam to the disk: no answer before the sync that covers it, one sync for
 * all who wait, and no second chance for a sync that failed.
 */
#include "log/log_private.h"

#include "lib/log_fixture.h"
#include "lib/random.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* ---- what the disk knows of a segment ---- */

static int fd_of(struct log_fixture *f, segment_no_t number)
{
	struct segment *s = segment_pin_known(f->set, number);

	must(s && atomic_load(&s->file), "no such segment");
	int fd = atomic_load(&s->file)->fd;
	segment_unpin(s);
	return fd;
}

/* Up to which moment the disk has synced the segment. */
static uint64_t covered(struct log_fixture *f, segment_no_t number)
{
	return atomic_load(&f->disk.covered[fd_of(f, number)]);
}

static segment_no_t open_segment(struct log_fixture *f)
{
	return log_position(f->log).segment;
}

/* Appends a grain for which the next segment need not be made, and tells the moment when it was complete. */
static uint64_t append_one(struct log_fixture *f, uint64_t grain)
{
	must(!append_grains(f->log, grain, 1, 1), "append");
	return fault_now(&f->disk);
}

/* Fills segment 1 but for `left` slots, with segment 2 made, nothing sealed, and the executor parked. */
static void fill_first_segment(struct log_fixture *f, size_t left)
{
	assert_int_equal(append_grains(f->log, 0, TEST_SLOTS - left, 1), 0);
	executor_drain(f->executor);
	log_fixture_park(f);
}

/* ---- a flush on a thread of its own, or one that is answered later ---- */

struct flusher {
	struct log_fixture *f;
	pthread_t thread;
	atomic_bool answered;
	int64_t result;
	segment_no_t segment; /* what the disk has synced of this one ... */
	uint64_t covered;     /* ... when the flush is answered */
};

static void flush_answered(void *arg, int64_t result)
{
	struct flusher *w = arg;

	w->result = result;
	w->covered = covered(w->f, w->segment);
	atomic_store(&w->answered, true);
}

static void *flush_thread(void *arg)
{
	struct flusher *w = arg;

	flush_answered(w, log_flush_wait(w->f->log));
	return NULL;
}

static void start_flush(struct log_fixture *f, struct flusher *w)
{
	*w = (struct flusher){ .f = f, .segment = open_segment(f) };
	must(!pthread_create(&w->thread, NULL, flush_thread, w), "thread");
}

static int64_t finish_flush(struct flusher *w)
{
	must(!pthread_join(w->thread, NULL), "join");
	return w->result;
}

/* A flush that finds a sync under way. */
static void queue_flush(struct log_fixture *f, struct flusher *w)
{
	*w = (struct flusher){ .f = f, .segment = open_segment(f) };
	assert_int_equal(log_flush(f->log, flush_answered, w), -EINPROGRESS);
}

/* Whether somebody waits for a completion; gives up when `answered`. */
static bool waits_for_completion(struct log *l, const atomic_bool *answered)
{
	bool waits = false;

	while (!waits && !atomic_load(answered)) {
		pthread_mutex_lock(&l->mutex);
		waits = l->frontier_waiters > 0;
		pthread_mutex_unlock(&l->mutex);
	}
	return waits;
}

/* ---- order ---- */

static void flush_is_answered_after_the_sync_that_covers_it(void **state)
{
	struct log_fixture *f = *state;

	for (uint64_t grain = 0; grain < 10; grain++) {
		uint64_t complete = append_one(f, grain);
		assert_true(covered(f, open_segment(f)) < complete);
		assert_int_equal(log_flush_wait(f->log), 0);
		assert_true(covered(f, open_segment(f)) > complete);
	}
}

static void flush_covers_records_without_slots_too(void **state)
{
	struct log_fixture *f = *state;

	assert_int_equal(append_plain(f->log, RECORD_RESIZE, 1 << 20, 0), 0);
	uint64_t complete = fault_now(&f->disk);
	assert_int_equal(log_flush_wait(f->log), 0);
	assert_true(covered(f, 1) > complete);
}

static void flush_syncs_closed_segments_before_the_open_one(void **state)
{
	struct log_fixture *f = *state;

	fill_first_segment(f, 1);
	assert_int_equal(append_grains(f->log, 5000, 3, 1), 0);
	uint64_t complete = fault_now(&f->disk);
	assert_int_equal(open_segment(f), 2);
	assert_int_equal(log_flush_wait(f->log), 0);
	assert_true(covered(f, 1) > complete);
	assert_true(covered(f, 2) > covered(f, 1));
}

static void closed_segment_is_synced_by_one_flush_only(void **state)
{
	struct log_fixture *f = *state;

	fill_first_segment(f, 0);
	append_one(f, 5000);
	assert_int_equal(log_flush_wait(f->log), 0);
	uint64_t first = covered(f, 1);
	unsigned syncs = atomic_load(&f->disk.syncs);
	uint64_t complete = append_one(f, 5001);
	assert_int_equal(log_flush_wait(f->log), 0);
	assert_int_equal(atomic_load(&f->disk.syncs) - syncs, 1);
	assert_true(covered(f, 1) == first);
	assert_true(covered(f, 2) > complete);
}

static void closed_segment_that_is_still_filled_is_synced_again(void **state)
{
	struct log_fixture *f = *state;
	struct record zero[2] = { { .kind = RECORD_ZERO, .value = 7, .count = 1 },
		                  { .kind = RECORD_ZERO, .value = 8, .count = 1 } };
	const void *none = NULL;
	struct log_append before, after;
	struct flusher w;

	fill_first_segment(f, 0);
	assert_int_equal(reserve_wait(f->log, &zero[0], 1, &before), 0);
	start_flush(f, &w);
	assert_true(waits_for_completion(f->log, &w.answered));
	/* Of a record that comes after the flush, nothing is there yet when the flush syncs the segment, closed by then. */
	assert_int_equal(reserve_wait(f->log, &zero[1], 1, &after), 0);
	assert_int_equal(after.part[0].segment->number, 1);
	append_one(f, 5000);
	assert_int_equal(open_segment(f), 2);
	assert_int_equal(log_fill(f->log, &before, &zero[0], &none), 0);
	log_complete(f->log, &before);
	assert_int_equal(finish_flush(&w), 0);

	assert_int_equal(log_fill(f->log, &after, &zero[1], &none), 0);
	uint64_t filled = fault_now(&f->disk);
	log_complete(f->log, &after);
	assert_int_equal(log_flush_wait(f->log), 0);
	assert_true(covered(f, 1) > filled);
}

static void flush_waits_for_records_that_are_still_being_filled(void **state)
{
	struct log_fixture *f = *state;
	struct record slow = { .kind = RECORD_ZERO, .value = 7, .count = 1, .time_ns = 1 };
	const void *none = NULL;
	struct log_append a;
	struct flusher w;

	append_one(f, 0);
	assert_int_equal(reserve_wait(f->log, &slow, 1, &a), 0);
	append_one(f, 1);
	unsigned syncs = atomic_load(&f->disk.syncs);
	start_flush(f, &w);
	assert_true(waits_for_completion(f->log, &w.answered));
	/* A sync before that would be of no use: recovery stops at the hole. */
	assert_int_equal(atomic_load(&f->disk.syncs), syncs);
	assert_int_equal(log_fill(f->log, &a, &slow, &none), 0);
	uint64_t filled = fault_now(&f->disk);
	log_complete(f->log, &a);
	assert_int_equal(finish_flush(&w), 0);
	assert_true(w.covered > filled);
}

static void flush_does_not_wait_for_records_reserved_after_it(void **state)
{
	struct log_fixture *f = *state;
	struct record later = { .kind = RECORD_ZERO, .value = 7, .count = 1, .time_ns = 1 };
	const void *none = NULL;
	struct log_append a;
	struct flusher w;

	append_one(f, 0);
	fault_hold_syncs(&f->disk, true);
	start_flush(f, &w);
	fault_wait_held(&f->disk);
	assert_int_equal(reserve_wait(f->log, &later, 1, &a), 0);
	fault_hold_syncs(&f->disk, false);
	/* The reservation is not completed before this is answered. */
	assert_int_equal(finish_flush(&w), 0);
	assert_int_equal(log_fill(f->log, &a, &later, &none), 0);
	log_complete(f->log, &a);
}

/* ---- sharing ---- */

static void flush_that_comes_during_a_sync_is_answered_by_the_next(void **state)
{
	struct log_fixture *f = *state;
	struct flusher first, second;

	append_one(f, 0);
	fault_hold_syncs(&f->disk, true);
	start_flush(f, &first);
	fault_wait_held(&f->disk);
	uint64_t complete = append_one(f, 1);
	queue_flush(f, &second);
	fault_let_go(&f->disk);
	/* Once the next sync is asked for, the answers of the first have been given. */
	fault_wait_held(&f->disk);
	assert_int_equal(finish_flush(&first), 0);
	assert_false(atomic_load(&second.answered));
	fault_hold_syncs(&f->disk, false);
	log_drain(f->log);
	assert_true(atomic_load(&second.answered));
	assert_int_equal(second.result, 0);
	assert_true(second.covered > complete);
}

static void flushes_that_wait_share_one_sync(void **state)
{
	struct log_fixture *f = *state;
	struct flusher first, waiting[16];
	unsigned syncs;

	append_one(f, 0);
	syncs = atomic_load(&f->disk.syncs);
	fault_hold_syncs(&f->disk, true);
	start_flush(f, &first);
	fault_wait_held(&f->disk);
	for (unsigned i = 0; i < 16; i++) {
		append_one(f, i + 1);
		queue_flush(f, &waiting[i]);
	}
	uint64_t complete = fault_now(&f->disk);
	fault_hold_syncs(&f->disk, false);
	assert_int_equal(finish_flush(&first), 0);
	log_drain(f->log);
	for (unsigned i = 0; i < 16; i++) {
		assert_true(atomic_load(&waiting[i].answered));
		assert_int_equal(waiting[i].result, 0);
		assert_true(waiting[i].covered > complete);
	}
	assert_int_equal(atomic_load(&f->disk.syncs) - syncs, 2);
}

static void flush_of_nothing_new_costs_no_sync(void **state)
{
	struct log_fixture *f = *state;

	assert_int_equal(log_flush_wait(f->log), 0);
	assert_int_equal(atomic_load(&f->disk.syncs), 0);
	append_one(f, 0);
	assert_int_equal(log_flush_wait(f->log), 0);
	unsigned syncs = atomic_load(&f->disk.syncs);
	for (int i = 0; i < 5; i++)
		assert_int_equal(log_flush_wait(f->log), 0);
	assert_int_equal(atomic_load(&f->disk.syncs), syncs);
	append_one(f, 1);
	assert_int_equal(log_flush_wait(f->log), 0);
	assert_int_equal(atomic_load(&f->disk.syncs), syncs + 1);
}

/* ---- failure ---- */

static void failed_sync_is_final(void **state)
{
	struct log_fixture *f = *state;

	append_one(f, 0);
	assert_int_equal(log_flush_wait(f->log), 0);
	append_one(f, 1);
	atomic_store(&f->disk.sync_error, -ENOSPC);
	assert_int_equal(log_flush_wait(f->log), -EIO);
	assert_int_equal(f->failures, 1);
	assert_int_equal(f->error, -ENOSPC);
	assert_true(f->text[0]);
	/* The disk is well again, and is not asked: the kernel has forgotten what it could not write. */
	atomic_store(&f->disk.sync_error, 0);
	unsigned syncs = atomic_load(&f->disk.syncs);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(log_flush_wait(f->log), -EIO);
		assert_int_equal(append_grains(f->log, 2, 1, 1), -EIO);
		assert_int_equal(append_plain(f->log, RECORD_ZERO, 2, 1), -EIO);
	}
	assert_int_equal(atomic_load(&f->disk.syncs), syncs);
	assert_int_equal(f->failures, 1);
}

static void flush_of_a_failed_log_fails_even_if_all_is_synced(void **state)
{
	struct log_fixture *f = *state;

	append_one(f, 0);
	assert_int_equal(log_flush_wait(f->log), 0);
	log_fail(f->log, -EROFS, "fenced");
	assert_int_equal(log_flush_wait(f->log), -EIO);
}

static void everyone_who_waits_learns_of_a_failed_sync(void **state)
{
	struct log_fixture *f = *state;
	struct flusher first, waiting[5];

	append_one(f, 0);
	fault_hold_syncs(&f->disk, true);
	start_flush(f, &first);
	fault_wait_held(&f->disk);
	for (unsigned i = 0; i < 5; i++) {
		append_one(f, i + 1);
		queue_flush(f, &waiting[i]);
	}
	atomic_store(&f->disk.sync_error, -EIO);
	unsigned syncs = atomic_load(&f->disk.syncs);
	fault_hold_syncs(&f->disk, false);
	assert_int_equal(finish_flush(&first), -EIO);
	log_drain(f->log);
	for (unsigned i = 0; i < 5; i++) {
		assert_true(atomic_load(&waiting[i].answered));
		assert_int_equal(waiting[i].result, -EIO);
	}
	assert_int_equal(atomic_load(&f->disk.syncs), syncs);
	assert_int_equal(f->failures, 1);
}

/* ---- many threads ---- */

#define FLUSHERS 8
#define FLUSHES_EACH 30

struct writer {
	struct log_fixture *f;
	pthread_t thread;
	unsigned number;
	uint64_t seed;
	bool wide; /* appends of many grains, which run over the ends of segments */
	unsigned done, failed;
};

/* Tells the moment when all was written. It is taken before the completion, after which any thread's flush may cover it. */
static uint64_t append_random(struct writer *w, struct random *r, struct log_append *a)
{
	uint64_t written = 0;
	struct record records[LOG_APPEND_MAX];
	const void *data[LOG_APPEND_MAX];
	static const uint8_t zeros[TEST_GRAIN];
	size_t count = w->wide ? 1 + random_below(r, 40) : 1;

	for (size_t i = 0; i < count; i++) {
		bool slot = w->wide && !random_once_in(r, 4);
		records[i] = (struct record){ .kind = slot ? RECORD_DATA : RECORD_ZERO,
			                      .value = w->number * 1000 + i,
			                      .count = 1 };
		data[i] = slot ? zeros : NULL;
	}
	int rc = reserve_wait(w->f->log, records, count, a);
	if (!rc) {
		rc = log_fill(w->f->log, a, records, data);
		written = fault_now(&w->f->disk);
		log_complete(w->f->log, a);
	}
	if (rc)
		a->parts = 0;
	return written;
}

/* Appends and flushes; after each flush that worked, what was appended must be covered. */
static void *write_thread(void *arg)
{
	struct writer *w = arg;
	struct random r = { w->seed + w->number };

	for (unsigned i = 0; i < FLUSHES_EACH; i++) {
		struct log_append a;
		uint64_t written = append_random(w, &r, &a);
		int rc = log_flush_wait(w->f->log);
		must(rc == 0 || rc == -EIO, "an answer that is none");
		w->done += rc == 0;
		w->failed += rc != 0;
		for (unsigned p = 0; !rc && p < a.parts; p++)
			must(covered(w->f, a.part[p].segment->number) > written, "answered before the sync");
		/* Once failed, always failed. */
		must(rc != 0 || w->failed == 0, "success after a failure");
	}
	return NULL;
}

static void run_writers(struct log_fixture *f, struct writer *writers, bool wide)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < FLUSHERS; i++) {
		writers[i] = (struct writer){ .f = f, .number = i, .seed = seed, .wide = wide };
		must(!pthread_create(&writers[i].thread, NULL, write_thread, &writers[i]), "thread");
	}
}

static void join_writers(struct writer *writers)
{
	for (unsigned i = 0; i < FLUSHERS; i++)
		must(!pthread_join(writers[i].thread, NULL), "join");
}

static void flushes_of_many_threads_cost_few_syncs(void **state)
{
	struct log_fixture *f = *state;
	struct writer writers[FLUSHERS];
	unsigned done = 0;

	atomic_store(&f->disk.sync_delay_us, 2000);
	run_writers(f, writers, false);
	join_writers(writers);
	for (unsigned i = 0; i < FLUSHERS; i++)
		done += writers[i].done;
	assert_int_equal(done, FLUSHERS * FLUSHES_EACH);
	assert_true(atomic_load(&f->disk.syncs) < done / 2);
}

static void flushes_of_many_threads_cover_segments_that_close_meanwhile(void **state)
{
	struct log_fixture *f = *state;
	struct writer writers[FLUSHERS];

	atomic_store(&f->disk.sync_delay_us, 500);
	run_writers(f, writers, true);
	join_writers(writers);
	for (unsigned i = 0; i < FLUSHERS; i++)
		assert_int_equal(writers[i].done, FLUSHES_EACH);
	assert_true(open_segment(f) > 2);
}

static void threads_that_meet_a_failed_sync_never_see_success_again(void **state)
{
	struct log_fixture *f = *state;
	struct writer writers[FLUSHERS];
	unsigned failed = 0;

	atomic_store(&f->disk.sync_delay_us, 500);
	atomic_store(&f->disk.changes_left, log_fixture_staged ? 80 : 300); /* stages take fewer writes */
	run_writers(f, writers, true);
	join_writers(writers);
	for (unsigned i = 0; i < FLUSHERS; i++)
		failed += writers[i].failed;
	assert_true(failed > 0);
	assert_int_equal(log_fixture_read(f, &f->failures), 1);
	assert_int_equal(log_flush_wait(f->log), -EIO);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, log_fixture_setup_started, log_fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(flush_is_answered_after_the_sync_that_covers_it),
		T(flush_covers_records_without_slots_too),
		T(flush_syncs_closed_segments_before_the_open_one),
		T(closed_segment_is_synced_by_one_flush_only),
		T(closed_segment_that_is_still_filled_is_synced_again),
		T(flush_waits_for_records_that_are_still_being_filled),
		T(flush_does_not_wait_for_records_reserved_after_it),
		T(flush_that_comes_during_a_sync_is_answered_by_the_next),
		T(flushes_that_wait_share_one_sync),
		T(flush_of_nothing_new_costs_no_sync),
		T(failed_sync_is_final),
		T(flush_of_a_failed_log_fails_even_if_all_is_synced),
		T(everyone_who_waits_learns_of_a_failed_sync),
		T(flushes_of_many_threads_cost_few_syncs),
		T(flushes_of_many_threads_cover_segments_that_close_meanwhile),
		T(threads_that_meet_a_failed_sync_never_see_success_again),
	};

	alarm(300);
	int failed = cmocka_run_group_tests_name("test_log_flush, each write to its file at once", tests, NULL, NULL);
	log_fixture_staged = true;
	return failed + cmocka_run_group_tests_name("test_log_flush, writes gathered in stages", tests, NULL, NULL);
}
