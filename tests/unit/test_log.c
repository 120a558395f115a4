/* SPDX-License-Identifier: GPL-3.0-only */
/* test_log.c: reservations and the making of segments: what is appended is found in order and whole, over the ends of segments,
 * with many threads, and with a full disk.
 */
#include "log/log_private.h"

#include "lib/log_fixture.h"
#include "lib/random.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

/* A full disk, and what the log is to do about it. */
static void start_on_full_disk(struct log_fixture *f, bool error_when_full)
{
	struct log_options o = log_fixture_options(f);

	o.error_when_full = error_when_full;
	f->log = log_new(&o);
	assert_non_null(f->log);
	atomic_store(&f->disk.allocate_error, -ENOSPC);
}

static void assert_file(struct log_fixture *f, segment_no_t number, bool there)
{
	char *path = segment_path(f->set, number);

	assert_int_equal(access(path, F_OK), there ? 0 : -1);
	free(path);
}

/* The records of a segment as its file holds them, up to the first that does not fit its slot if `check_data`. */
static size_t read_records(struct log_fixture *f, segment_no_t number, bool check_data, struct record **records)
{
	char *path = segment_path(f->set, number);
	struct segment_file *file;
	size_t count;

	assert_int_equal(segment_file_open(disk_posix(), path, test_pool, TEST_IMAGE, number, &file, NULL), 0);
	assert_int_equal(segment_file_read_records(file, check_data, records, &count, NULL), 0);
	segment_file_close(file);
	free(path);
	return count;
}

static size_t records_of(struct log_fixture *f, segment_no_t number, struct record **records)
{
	if (log_fixture_staged)
		(void)log_flush_wait(f->log); /* a log that failed has told it */
	return read_records(f, number, true, records);
}

static void assert_slot_holds(struct log_fixture *f, segment_no_t number, uint32_t slot, uint64_t grain,
                              uint64_t version)
{
	uint8_t want[TEST_GRAIN], got[TEST_GRAIN];
	struct segment *s = segment_pin_known(f->set, number);

	assert_non_null(s);
	test_grain(grain, version, want);
	assert_int_equal(segment_read(s, slot, 0, got, sizeof got), 0);
	assert_memory_equal(got, want, sizeof got);
	segment_unpin(s);
}

static void zero_record(struct record *r, uint64_t grain)
{
	*r = (struct record){ .kind = RECORD_ZERO, .value = grain, .count = 1, .time_ns = 1 };
}

/* ---- reserving and filling ---- */

static void first_reservation_waits_for_a_segment_and_is_woken(void **state)
{
	struct log_fixture *f = *state;
	struct room r = { .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };
	struct log_append a;
	struct record zero;
	const void *none = NULL;

	zero_record(&zero, 1);
	assert_int_equal(log_reserve(f->log, &zero, 1, &a, room_wake, &r), -EAGAIN);
	pthread_mutex_lock(&r.mutex);
	while (!r.there)
		pthread_cond_wait(&r.cond, &r.mutex);
	r.there = false;
	pthread_mutex_unlock(&r.mutex);
	assert_int_equal(log_reserve(f->log, &zero, 1, &a, room_wake, &r), 0);
	assert_int_equal(log_fill(f->log, &a, &zero, &none), 0);
	log_complete(f->log, &a);
	log_drain(f->log);
	executor_drain(f->executor);
	assert_false(r.there); /* once only */
}

static void reservation_gives_places_one_behind_the_other(void **state)
{
	struct log_fixture *f = *state;
	const void *data[4];
	uint8_t grain[TEST_GRAIN];
	struct log_append a;

	test_grain(9, 1, grain);
	for (unsigned round = 0; round < 2; round++) {
		struct record records[4];
		for (unsigned i = 0; i < 4; i++) {
			zero_record(&records[i], i);
			if (i == 1 || i == 3)
				records[i] = (struct record){ .kind = RECORD_DATA, .value = 9, .count = 1 };
			data[i] = i % 2 ? grain : NULL;
		}
		assert_int_equal(reserve_wait(f->log, records, 4, &a), 0);
		assert_int_equal(a.parts, 1);
		assert_int_equal(a.part[0].segment->number, 1);
		assert_int_equal(a.part[0].record, 1 + 4 * round);
		assert_int_equal(a.part[0].sequence, 4 * round);
		assert_int_equal(records[0].slot, RECORD_NO_SLOT);
		assert_int_equal(records[1].slot, 2 * round);
		assert_int_equal(records[2].slot, RECORD_NO_SLOT);
		assert_int_equal(records[3].slot, 2 * round + 1);
		assert_int_equal(log_fill(f->log, &a, records, data), 0);
		log_complete(f->log, &a);
	}
	assert_int_equal(log_position(f->log).segment, 1);
	assert_int_equal(log_position(f->log).record, 9);
	assert_int_equal(log_sequence(f->log), 8);
	assert_int_equal(log_open_bytes(f->log), 4 * TEST_GRAIN);
}

static void what_was_appended_is_in_the_file_in_order(void **state)
{
	struct log_fixture *f = *state;
	struct record *records;

	assert_int_equal(append_grains(f->log, 10, 3, 1), 0);
	assert_int_equal(append_plain(f->log, RECORD_ZERO, 11, 2), 0);
	assert_int_equal(append_grains(f->log, 11, 1, 2), 0);
	assert_int_equal(records_of(f, 1, &records), 6);
	assert_int_equal(records[0].kind, RECORD_FOLLOWS);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(records[1 + i].kind, RECORD_DATA);
		assert_int_equal(records[1 + i].value, 10 + i);
		assert_slot_holds(f, 1, records[1 + i].slot, 10 + i, 1);
	}
	assert_int_equal(records[4].kind, RECORD_ZERO);
	assert_int_equal(records[4].count, 2);
	assert_slot_holds(f, 1, records[5].slot, 11, 2);
	free(records);
}

static void data_that_lies_in_pieces_is_written_to_its_slots(void **state)
{
	struct log_fixture *f = *state;
	static uint8_t grains[5][TEST_GRAIN];
	static const unsigned order[5] = { 3, 4, 0, 2, 1 };
	struct record records[5];
	const void *data[5];
	struct log_append a;

	for (unsigned i = 0; i < 5; i++) {
		test_grain(i, 1, grains[order[i]]);
		data[i] = grains[order[i]];
		records[i] = (struct record){ .kind = RECORD_DATA, .value = i, .count = 1 };
	}
	assert_int_equal(reserve_wait(f->log, records, 5, &a), 0);
	assert_int_equal(log_fill(f->log, &a, records, data), 0);
	log_complete(f->log, &a);
	for (unsigned i = 0; i < 5; i++)
		assert_slot_holds(f, 1, records[i].slot, i, 1);
}

struct order_seen {
	struct log_fixture *f;
	unsigned writes, stores_before_write;
};

static void see_write(void *arg, char change, int fd, uint64_t offset, const char *path)
{
	struct order_seen *seen = arg;

	(void)fd;
	(void)path;
	if (change != 'W' || offset < seen->f->shape.data_offset)
		return;
	seen->writes++;
	/* Not even record 0, the segment's own, which comes with the first. */
	struct record *records;
	seen->stores_before_write += read_records(seen->f, 1, false, &records) != 0;
	free(records);
}

static void records_are_written_after_the_bytes_they_vouch_for(void **state)
{
	struct log_fixture *f = *state;
	struct order_seen seen = { .f = f };

	f->disk.watch = see_write;
	f->disk.watch_arg = &seen;
	assert_int_equal(append_grains(f->log, 0, 2, 1), 0);
	assert_int_equal(log_flush_wait(f->log), 0);
	f->disk.watch = NULL;
	assert_int_equal(seen.writes, 1);
	assert_int_equal(seen.stores_before_write, 0);
}

/* ---- segments ---- */

static void segment_that_is_full_is_followed_by_the_next(void **state)
{
	struct log_fixture *f = *state;
	struct record *records;

	for (unsigned i = 0; i < TEST_SLOTS; i++)
		assert_int_equal(append_grains(f->log, i, 1, 1), 0);
	assert_int_equal(log_position(f->log).segment, 1);
	assert_int_equal(append_grains(f->log, 7, 1, 2), 0);
	assert_int_equal(log_position(f->log).segment, 2);
	assert_int_equal(records_of(f, 1, &records), TEST_SLOTS + 1);
	free(records);
	assert_int_equal(records_of(f, 2, &records), 2);
	free(records);
	assert_slot_holds(f, 2, 0, 7, 2);
}

static void segment_is_full_when_its_index_is(void **state)
{
	struct log_fixture *f = *state;

	for (uint32_t i = 1; i < f->shape.records_max; i++)
		assert_int_equal(append_plain(f->log, RECORD_ZERO, i, 1), 0);
	assert_int_equal(log_position(f->log).segment, 1);
	assert_int_equal(append_plain(f->log, RECORD_ZERO, 1, 1), 0);
	assert_int_equal(log_position(f->log).segment, 2);
	assert_int_equal(log_position(f->log).record, 2);
}

static void first_record_of_a_segment_says_how_long_the_one_before_is(void **state)
{
	struct log_fixture *f = *state;
	struct record *records;
	uint64_t before = 0;

	append_grains(f->log, 0, 5, 1);
	assert_int_equal(log_close_segment(f->log), 1);
	append_plain(f->log, RECORD_ZERO, 1, 1);
	append_grains(f->log, 0, 200, 1);
	append_grains(f->log, 0, 100, 1); /* over the end */
	assert_int_equal(log_close_segment(f->log), 3);
	append_grains(f->log, 0, 1, 1);
	for (segment_no_t n = 1; n <= 4; n++) {
		size_t count = records_of(f, n, &records);
		assert_int_equal(records[0].kind, RECORD_FOLLOWS);
		assert_int_equal(records[0].value, before);
		for (size_t i = 1; i < count; i++)
			assert_int_not_equal(records[i].kind, RECORD_FOLLOWS);
		before = count;
		free(records);
	}
}

static void reservation_runs_over_the_end_of_a_segment(void **state)
{
	struct log_fixture *f = *state;
	struct record *first, *second;

	assert_int_equal(append_grains(f->log, 0, TEST_SLOTS - 3, 1), 0);
	assert_int_equal(append_grains(f->log, 1000, 10, 1), 0);
	assert_int_equal(records_of(f, 1, &first), TEST_SLOTS + 1);
	assert_int_equal(records_of(f, 2, &second), 8);
	for (uint32_t i = 0; i < 3; i++)
		assert_slot_holds(f, 1, first[TEST_SLOTS - 2 + i].slot, 1000 + i, 1);
	for (uint32_t i = 3; i < 10; i++)
		assert_slot_holds(f, 2, second[1 + i - 3].slot, 1000 + i, 1);
	free(first);
	free(second);
}

static void reservation_runs_over_the_end_of_an_index(void **state)
{
	struct log_fixture *f = *state;
	struct record records[10];
	const void *data[10] = { NULL };
	struct log_append a;

	for (uint32_t i = 1; i < f->shape.records_max - 3; i++)
		assert_int_equal(append_plain(f->log, RECORD_ZERO, i, 1), 0);
	for (unsigned i = 0; i < 10; i++)
		zero_record(&records[i], i);
	assert_int_equal(reserve_wait(f->log, records, 10, &a), 0);
	assert_int_equal(a.parts, 2);
	assert_int_equal(a.part[0].count, 3);
	assert_int_equal(a.part[0].record, f->shape.records_max - 3);
	assert_int_equal(a.part[1].first, 3);
	assert_int_equal(a.part[1].count, 7);
	assert_int_equal(a.part[1].record, 1);
	assert_int_equal(log_fill(f->log, &a, records, data), 0);
	log_complete(f->log, &a);
}

/* Begins a segment with `count` grains from `first` on. */
static void append_anew(struct log_fixture *f, uint64_t first, size_t count)
{
	struct room r = { .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };
	static uint8_t bytes[LOG_APPEND_MAX][TEST_GRAIN];
	struct record records[LOG_APPEND_MAX];
	const void *data[LOG_APPEND_MAX];
	struct log_append a;

	for (size_t k = 0; k < count; k++) {
		test_grain(first + k, 1, bytes[k]);
		records[k] = (struct record){ .kind = RECORD_MOVE, .value = first + k, .count = 1, .time_ns = 1 };
		data[k] = bytes[k];
	}
	segment_no_t before = log_position(f->log).segment;
	bool open = log_position(f->log).record;
	while (log_reserve_anew(f->log, records, count, &a, room_wake, &r) == -EAGAIN) {
		pthread_mutex_lock(&r.mutex);
		while (!r.there)
			pthread_cond_wait(&r.cond, &r.mutex);
		r.there = false;
		pthread_mutex_unlock(&r.mutex);
	}
	assert_int_equal(a.parts, 1);
	assert_int_equal(a.part[0].segment->number, open ? before + 1 : before);
	assert_int_equal(a.part[0].slot, 0);
	assert_int_equal(a.part[0].count, count);
	assert_int_equal(log_fill(f->log, &a, records, data), 0);
	log_complete(f->log, &a);
}

static void reservation_begins_a_segment_where_it_is_to(void **state)
{
	struct log_fixture *f = *state;
	struct record *records;

	append_anew(f, 1, 3); /* the first segment */
	assert_int_equal(append_grains(f->log, 10, 2, 1), 0);
	append_anew(f, 20, 1);
	append_anew(f, 30, TEST_SLOTS); /* a whole one */
	append_anew(f, 500, 2);
	assert_int_equal(append_grains(f->log, 600, 1, 1), 0);
	assert_int_equal(log_position(f->log).segment, 4);
	assert_int_equal(seal_now(f), 4);
	assert_int_equal(records_of(f, 1, &records), 6);
	assert_int_equal(records[5].value, 11);
	free(records);
	assert_int_equal(records_of(f, 2, &records), 2);
	assert_int_equal(records[0].kind, RECORD_FOLLOWS);
	assert_int_equal(records[1].value, 20);
	free(records);
	assert_int_equal(records_of(f, 3, &records), TEST_SLOTS + 1);
	free(records);
	assert_int_equal(records_of(f, 4, &records), 4);
	assert_slot_holds(f, 4, records[3].slot, 600, 1);
	assert_slot_holds(f, 3, TEST_SLOTS - 1, 30 + TEST_SLOTS - 1, 1);
	free(records);
}

static void next_segment_is_made_before_it_is_needed(void **state)
{
	struct log_fixture *f = *state;

	assert_int_equal(append_grains(f->log, 0, TEST_SLOTS / 4 - 1, 1), 0);
	log_drain(f->log);
	assert_file(f, 2, false);
	assert_int_equal(append_grains(f->log, 0, 1, 1), 0);
	log_drain(f->log);
	assert_file(f, 2, true);
	assert_int_equal(f->grown, 2 * log_file_bytes(f->log));
}

static void segment_that_nobody_used_is_dropped_at_the_end(void **state)
{
	struct log_fixture *f = *state;
	uint64_t bytes = log_file_bytes(f->log);

	assert_int_equal(append_grains(f->log, 0, TEST_SLOTS / 2, 1), 0);
	log_fixture_stop(f);
	assert_file(f, 1, true);
	assert_file(f, 2, false);
	assert_int_equal(f->dropped, 1);
	assert_int_equal(f->grown, bytes);
}

static void log_goes_on_where_it_is_told(void **state)
{
	struct log_fixture *f = *state;
	struct log_options o = log_fixture_options(f);

	o.next = 8;
	f->log = log_new(&o);
	assert_int_equal(log_position(f->log).segment, 8);
	assert_int_equal(log_position(f->log).record, 0);
	assert_int_equal(log_close_segment(f->log), 0);
	assert_int_equal(append_grains(f->log, 0, 1, 1), 0);
	assert_file(f, 8, true);
	assert_int_equal(log_close_segment(f->log), 8);
}

static void grain_or_segment_of_no_valid_size_is_refused(void **state)
{
	struct log_options o = log_fixture_options(*state);

	o.grain_bytes = 3000;
	assert_null(log_new(&o));
	o.grain_bytes = TEST_GRAIN;
	o.segment_bytes = SEGMENT_BYTES_MIN / 2;
	assert_null(log_new(&o));
}

/* ---- a full disk ---- */

static void full_disk_fails_writes_where_told_to(void **state)
{
	struct log_fixture *f = *state;

	start_on_full_disk(f, true);
	assert_int_equal(append_grains(f->log, 0, 1, 1), -ENOSPC);
	assert_int_equal(append_grains(f->log, 0, 1, 1), -ENOSPC);
	log_drain(f->log);
	assert_true(f->short_of_space > 0);
	assert_int_equal(f->failures, 0);
	/* Once there is room, writes work again, if not at once: that there is none is believed for a moment. */
	atomic_store(&f->disk.allocate_error, 0);
	int rc;
	while ((rc = append_grains(f->log, 0, 1, 1)) == -ENOSPC)
		usleep(1000);
	assert_int_equal(rc, 0);
	assert_int_equal(log_flush_wait(f->log), 0);
}

static void *append_thread(void *arg)
{
	struct log_fixture *f = arg;

	return append_grains(f->log, 0, 1, 1) ? f : NULL;
}

static void full_disk_holds_writes_back_until_there_is_room(void **state)
{
	struct log_fixture *f = *state;
	pthread_t thread;
	void *failed;

	start_on_full_disk(f, false);
	must(!pthread_create(&thread, NULL, append_thread, f), "thread");
	/* Asked for again and again, while the write waits. */
	log_fixture_wait(f, &f->short_of_space, 2);
	assert_int_equal(log_sequence(f->log), 0);
	atomic_store(&f->disk.allocate_error, 0);
	must(!pthread_join(thread, &failed), "join");
	assert_null(failed);
	assert_int_equal(log_sequence(f->log), 1);
	assert_int_equal(f->failures, 0);
}

static void segment_that_cannot_be_made_leaves_nothing_behind(void **state)
{
	struct log_fixture *f = *state;

	start_on_full_disk(f, true);
	atomic_store(&f->disk.allocate_error, 0);
	/* Found out only by the sync of its header: the spare is there by then. */
	atomic_store(&f->disk.sync_error, -ENOSPC);
	assert_int_equal(append_grains(f->log, 0, 1, 1), -ENOSPC);
	log_drain(f->log);
	assert_file(f, 1, false);
	assert_int_equal(rmdir(f->spare_dir), 0);
	assert_int_equal(f->grown, 0);
	assert_null(segment_pin_known(f->set, 1));
}

/* Of two segments that are made at once the second comes to be, and the first does not: it is made when it is needed. */
static void segment_that_could_not_be_made_is_made_when_another_is_ready(void **state)
{
	struct log_fixture *f = *state;
	struct log_options o = log_fixture_options(f);
	char *second = segment_path(f->set, 2);

	o.ahead = 2;
	f->log = log_new(&o);
	assert_non_null(f->log);
	assert_int_equal(append_grains(f->log, 0, 1, 1), 0);
	assert_int_equal(mkdir(second, 0700), 0); /* nothing can be renamed to that */
	pthread_mutex_lock(&f->log->mutex);
	f->log->stream = true;
	log_prepare_next(f->log);
	while (f->log->makers)
		pthread_cond_wait(&f->log->changed, &f->log->mutex);
	f->log->stream = false;
	pthread_mutex_unlock(&f->log->mutex);
	log_fixture_wait(f, &f->short_of_space, 1);
	assert_int_equal(rmdir(second), 0);
	free(second);
	for (unsigned k = 0; k < 3; k++)
		assert_int_equal(append_grains(f->log, 0, TEST_SLOTS, 2), 0);
	assert_int_equal(log_flush_wait(f->log), 0);
}

/* ---- failure ---- */

static void write_that_fails_stops_the_log(void **state)
{
	struct log_fixture *f = *state;
	struct record *records;

	assert_int_equal(append_grains(f->log, 0, 2, 1), 0);
	assert_int_equal(log_flush_wait(f->log), 0);
	atomic_store(&f->disk.write_error, -ENOSPC);
	if (log_fixture_staged) {
		assert_int_equal(append_grains(f->log, 2, 1, 1), 0);
		assert_int_equal(log_flush_wait(f->log), -EIO);
	} else {
		assert_int_equal(append_grains(f->log, 2, 1, 1), -EIO);
	}
	atomic_store(&f->disk.write_error, 0);
	assert_int_equal(f->failures, 1);
	assert_int_equal(f->error, -ENOSPC);
	assert_int_equal(append_grains(f->log, 2, 1, 1), -EIO);
	assert_int_equal(log_flush_wait(f->log), -EIO);
	/* No record vouches for bytes that were not written. */
	assert_int_equal(read_records(f, 1, true, &records), 3);
	free(records);
	assert_int_equal(f->failures, 1);
}

static void log_that_is_failed_refuses_everything_and_says_so_once(void **state)
{
	struct log_fixture *f = *state;
	uint8_t digest[DIGEST_BYTES];

	assert_int_equal(append_grains(f->log, 0, 1, 1), 0);
	log_fail(f->log, -EROFS, "fenced");
	log_fail(f->log, -EIO, "again");
	assert_int_equal(f->failures, 1);
	assert_int_equal(f->error, -EROFS);
	assert_string_equal(f->text, "fenced");
	assert_int_equal(append_grains(f->log, 0, 1, 1), -EIO);
	assert_int_equal(log_flush_wait(f->log), -EIO);
	assert_int_equal(log_wait_sealed(f->log, 1, digest), -EIO);
	log_close_segment(f->log);
	log_drain(f->log);
	assert_int_equal(f->sealed_count, 0);
}

static void failure_wakes_those_who_wait_for_room(void **state)
{
	struct log_fixture *f = *state;
	pthread_t thread;
	void *failed;

	start_on_full_disk(f, false);
	must(!pthread_create(&thread, NULL, append_thread, f), "thread");
	log_fixture_wait(f, &f->short_of_space, 1);
	log_fail(f->log, -EIO, "stopped");
	must(!pthread_join(thread, &failed), "join");
	assert_non_null(failed);
}

/* ---- many threads ---- */

#define WRITERS 6
#define WRITES_EACH 40

struct writer {
	struct log_fixture *f;
	pthread_t thread;
	unsigned number;
	uint64_t seed;
	uint64_t appended; /* grains; each of its own number */
};

static void *write_thread(void *arg)
{
	struct writer *w = arg;
	struct random r = { w->seed + w->number };

	for (unsigned i = 0; i < WRITES_EACH; i++) {
		size_t count = 1 + random_below(&r, 30);
		must(!append_grains(w->f->log, w->number * 100000 + w->appended, count, w->number), "append");
		w->appended += count;
	}
	return NULL;
}

/* Checks the records of one segment, and counts each writer's. */
static void count_segment(struct log_fixture *f, segment_no_t number, uint64_t found[WRITERS])
{
	struct record *records;
	size_t count = records_of(f, number, &records);

	for (size_t i = 1; i < count; i++) {
		uint64_t writer = records[i].value / 100000;
		assert_true(writer < WRITERS);
		/* Each writer's grains come in the order in which it wrote them. */
		assert_int_equal(records[i].value % 100000, found[writer]++);
		assert_int_equal(records[i].slot, i - 1);
		assert_slot_holds(f, number, records[i].slot, records[i].value, writer);
	}
	free(records);
}

static void records_of_many_threads_are_all_there_and_never_overlap(void **state)
{
	struct log_fixture *f = *state;
	struct writer writers[WRITERS];
	uint64_t found[WRITERS] = { 0 }, seed = test_seed(), all = 0;

	for (unsigned i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){ .f = f, .number = i, .seed = seed };
		must(!pthread_create(&writers[i].thread, NULL, write_thread, &writers[i]), "thread");
	}
	for (unsigned i = 0; i < WRITERS; i++)
		must(!pthread_join(writers[i].thread, NULL), "join");
	log_drain(f->log);
	segment_no_t last = log_position(f->log).segment;
	for (segment_no_t n = 1; n <= last; n++)
		count_segment(f, n, found);
	for (unsigned i = 0; i < WRITERS; i++) {
		assert_int_equal(found[i], writers[i].appended);
		all += found[i];
	}
	assert_int_equal(log_sequence(f->log), all);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, log_fixture_setup_started, log_fixture_teardown)
#define U(name) cmocka_unit_test_setup_teardown(name, log_fixture_setup, log_fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(first_reservation_waits_for_a_segment_and_is_woken),
		T(reservation_gives_places_one_behind_the_other),
		T(what_was_appended_is_in_the_file_in_order),
		T(data_that_lies_in_pieces_is_written_to_its_slots),
		T(records_are_written_after_the_bytes_they_vouch_for),
		T(segment_that_is_full_is_followed_by_the_next),
		T(segment_is_full_when_its_index_is),
		T(first_record_of_a_segment_says_how_long_the_one_before_is),
		T(reservation_runs_over_the_end_of_a_segment),
		T(reservation_runs_over_the_end_of_an_index),
		T(reservation_begins_a_segment_where_it_is_to),
		T(next_segment_is_made_before_it_is_needed),
		T(segment_that_nobody_used_is_dropped_at_the_end),
		U(log_goes_on_where_it_is_told),
		U(grain_or_segment_of_no_valid_size_is_refused),
		U(full_disk_fails_writes_where_told_to),
		U(full_disk_holds_writes_back_until_there_is_room),
		U(segment_that_cannot_be_made_leaves_nothing_behind),
		U(segment_that_could_not_be_made_is_made_when_another_is_ready),
		T(write_that_fails_stops_the_log),
		T(log_that_is_failed_refuses_everything_and_says_so_once),
		U(failure_wakes_those_who_wait_for_room),
		T(records_of_many_threads_are_all_there_and_never_overlap),
	};

	alarm(300);
	int failed = cmocka_run_group_tests_name("test_log, each write to its file at once", tests, NULL, NULL);
	log_fixture_staged = true;
	return failed + cmocka_run_group_tests_name("test_log, writes gathered in stages", tests, NULL, NULL);
}
