/* SPDX-License-Identifier: GPL-3.0-only */
/* test_log_seal.c: closed segments become sealed ones: in order, chained, and durable before anybody hears of it. */
#include "log/log_private.h"

#include "lib/log_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* The digest of a segment, from its records and what the chain was before. */
static void digest_of_segment(struct log_fixture *f, segment_no_t number, const uint8_t prev[DIGEST_BYTES],
                              uint8_t out[DIGEST_BYTES])
{
	struct segment *s = segment_pin_known(f->set, number);
	struct record *records;
	size_t count;

	assert_int_equal(segment_file_read_records(atomic_load(&s->file), false, &records, &count, NULL), 0);
	assert_int_equal(segment_digest(TEST_IMAGE, number, prev, records, count, out), 0);
	free(records);
	segment_unpin(s);
}

static void assert_state(struct log_fixture *f, segment_no_t number, uint32_t state)
{
	struct segment_header h;

	assert_int_equal(header_of(f, number, &h), 0);
	assert_int_equal(h.state, state);
}

/* ---- order ---- */

static void segments_are_sealed_and_told_in_order_of_numbers(void **state)
{
	struct log_fixture *f = *state;

	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(append_grains(f->log, i, TEST_SLOTS, 1), 0);
		assert_int_equal(append_grains(f->log, i, 10, 1), 0);
		if (i % 2)
			log_close_segment(f->log);
	}
	segment_no_t last = seal_now(f);
	log_drain(f->log);
	assert_true(last > 6);
	assert_int_equal(f->sealed_count, last);
	for (unsigned i = 0; i < last; i++)
		assert_int_equal(f->sealed[i], i + 1);
}

static void segment_is_sealed_only_when_the_one_before_is(void **state)
{
	struct log_fixture *f = *state;
	struct record slow = { .kind = RECORD_ZERO, .value = 7, .count = 1 };
	const void *none = NULL;
	struct log_append a;

	assert_int_equal(append_grains(f->log, 0, 1, 1), 0);
	assert_int_equal(reserve_wait(f->log, &slow, 1, &a), 0);
	assert_int_equal(log_close_segment(f->log), 1);
	assert_int_equal(append_grains(f->log, 0, 1, 2), 0);
	assert_int_equal(log_close_segment(f->log), 2);
	/* Until the job has looked at the first and waits for its last record. */
	bool waits = false;
	while (!waits && !log_fixture_read(f, &f->sealed_count)) {
		pthread_mutex_lock(&f->log->mutex);
		waits = f->log->frontier_waiters > 0;
		pthread_mutex_unlock(&f->log->mutex);
	}
	assert_int_equal(log_fixture_read(f, &f->sealed_count), 0);
	assert_state(f, 1, SEGMENT_OPEN);
	assert_state(f, 2, SEGMENT_OPEN);
	assert_int_equal(log_fill(f->log, &a, &slow, &none), 0);
	log_complete(f->log, &a);
	log_drain(f->log);
	assert_int_equal(f->sealed_count, 2);
	struct segment_header h;
	assert_int_equal(header_of(f, 1, &h), 0);
	assert_int_equal(h.record_count, 3);
}

/* ---- durability ---- */

struct seal_seen {
	struct log_fixture *f;
	unsigned headers, early_headers; /* headers rewritten; of these, before all else was synced */
	unsigned hooks, early_hooks;     /* hooks called; of these, before the header was there */
	int fd[3];                       /* the files of which they were told */
};

static void see_header(void *arg, char change, int fd, uint64_t offset, const char *path)
{
	struct seal_seen *seen = arg;
	struct fault_disk *d = &seen->f->disk;

	(void)path;
	/* What is written to the place of the header once slots or records are there, is the seal. */
	if (change != 'W' || offset || !atomic_load(&d->written[fd]))
		return;
	seen->headers++;
	seen->early_headers += atomic_load(&d->covered[fd]) <= atomic_load(&d->written[fd]);
}

static void see_hook(void *arg, struct segment *s)
{
	struct seal_seen *seen = arg;
	int fd = atomic_load(&s->file)->fd;
	struct segment_header h;

	seen->fd[seen->hooks++] = fd;
	must(!header_of(seen->f, s->number, &h), "header");
	if (h.state != SEGMENT_SEALED || atomic_load(&s->life) != LIFE_SEALED)
		seen->early_hooks++;
}

static void segment_is_synced_before_its_header_says_sealed_and_that_soon_after(void **state)
{
	struct log_fixture *f = *state;
	struct seal_seen seen = { .f = f };

	f->on_sealed = see_hook;
	f->on_sealed_arg = &seen;
	/* The headers of new segments are made before there is anything else in the file. */
	f->disk.watch = see_header;
	f->disk.watch_arg = &seen;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(append_grains(f->log, i, 20, 1), 0);
		seal_now(f);
	}
	log_drain(f->log);
	f->disk.watch = NULL;
	assert_int_equal(seen.headers, 3);
	assert_int_equal(seen.early_headers, 0);
	assert_int_equal(seen.hooks, 3);
	assert_int_equal(seen.early_hooks, 0);
	for (unsigned i = 0; i < 3; i++)
		assert_true(atomic_load(&f->disk.covered[seen.fd[i]]) > atomic_load(&f->disk.written[seen.fd[i]]));
}

/* ---- what the header says ---- */

static void sealed_segments_are_a_chain_of_digests(void **state)
{
	struct log_fixture *f = *state;
	struct log_options o = log_fixture_options(f);
	uint8_t prev[DIGEST_BYTES], digest[DIGEST_BYTES], told[DIGEST_BYTES];
	struct segment_header h;

	memset(o.prev_digest, 0x5a, sizeof o.prev_digest);
	memcpy(prev, o.prev_digest, sizeof prev);
	o.next = 3;
	f->log = log_new(&o);
	for (segment_no_t n = 3; n < 6; n++) {
		assert_int_equal(append_grains(f->log, n, 5, 1), 0);
		assert_int_equal(append_plain(f->log, RECORD_ZERO, n, 1), 0);
		assert_int_equal(log_close_segment(f->log), n);
		assert_int_equal(log_wait_sealed(f->log, n, told), 0);
		digest_of_segment(f, n, prev, digest);
		assert_int_equal(header_of(f, n, &h), 0);
		assert_int_equal(h.state, SEGMENT_SEALED);
		assert_int_equal(h.record_count, 7);
		assert_int_equal(h.slot_count, 5);
		assert_memory_equal(h.prev_digest, prev, DIGEST_BYTES);
		assert_memory_equal(h.digest, digest, DIGEST_BYTES);
		assert_memory_equal(told, digest, DIGEST_BYTES);
		struct segment *s = segment_pin_known(f->set, n);
		assert_int_equal(s->record_count, 7);
		assert_int_equal(s->slot_count, 5);
		assert_memory_equal(s->prev_digest, prev, DIGEST_BYTES);
		assert_memory_equal(s->digest, digest, DIGEST_BYTES);
		segment_unpin(s);
		memcpy(prev, digest, sizeof prev);
	}
}

static void digest_of_an_earlier_segment_can_still_be_asked_for(void **state)
{
	struct log_fixture *f = *state;
	uint8_t digest[3][DIGEST_BYTES], again[DIGEST_BYTES];

	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(append_grains(f->log, i, 1, 1), 0);
		assert_int_equal(log_wait_sealed(f->log, log_close_segment(f->log), digest[i]), 0);
	}
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(log_wait_sealed(f->log, i + 1, again), 0);
		assert_memory_equal(again, digest[i], DIGEST_BYTES);
	}
}

static int append_checkpoint(struct log_fixture *f)
{
	static const uint8_t body[TEST_GRAIN] = "a checkpoint";
	struct record r = { .kind = RECORD_CHECKPOINT, .count = 1 };
	const void *data = body;
	struct log_append a;
	int rc = reserve_wait(f->log, &r, 1, &a);

	if (!rc) {
		rc = log_fill(f->log, &a, &r, &data);
		log_complete(f->log, &a);
	}
	return rc;
}

static void assert_carries(struct log_fixture *f, segment_no_t number, uint64_t size, struct log_position checkpoint)
{
	struct segment *s = segment_pin_known(f->set, number);

	assert_non_null(s);
	assert_int_equal(s->image_size, size);
	assert_int_equal(s->checkpoint.segment, checkpoint.segment);
	assert_int_equal(s->checkpoint.record, checkpoint.record);
	segment_unpin(s);
}

static void size_and_checkpoint_are_carried_from_segment_to_segment(void **state)
{
	struct log_fixture *f = *state;
	struct log_options o = log_fixture_options(f);

	o.next = 5;
	o.image_size = 777;
	o.checkpoint = (struct log_position){ 2, 9 };
	f->log = log_new(&o);
	assert_int_equal(append_grains(f->log, 0, 1, 1), 0);
	seal_now(f);
	assert_int_equal(append_plain(f->log, RECORD_RESIZE, 1 << 20, 0), 0);
	assert_int_equal(append_plain(f->log, RECORD_RESIZE, 2 << 20, 0), 0);
	assert_int_equal(append_checkpoint(f), 0);
	assert_int_equal(append_grains(f->log, 0, 1, 1), 0);
	seal_now(f);
	assert_int_equal(append_grains(f->log, 0, 1, 1), 0);
	seal_now(f);
	assert_carries(f, 5, 777, (struct log_position){ 2, 9 });
	assert_carries(f, 6, 2 << 20, (struct log_position){ 6, 3 });
	assert_carries(f, 7, 2 << 20, (struct log_position){ 6, 3 });
}

static void chunks_behind_the_last_slot_are_absent_once_sealed(void **state)
{
	struct log_fixture *f = *state;
	uint32_t per_chunk = CHUNK_BYTES / TEST_GRAIN;

	assert_int_equal(append_grains(f->log, 0, 2 * per_chunk + 1, 1), 0);
	segment_no_t n = seal_now(f);
	struct segment *s = segment_pin_known(f->set, n);
	for (uint32_t i = 0; i < s->shape.chunks; i++)
		assert_int_equal(segment_chunk_state(s, i), i < 3 ? CHUNK_PRESENT : CHUNK_ABSENT);
	segment_unpin(s);
}

/* ---- closing ---- */

static void log_without_records_has_nothing_to_close(void **state)
{
	struct log_fixture *f = *state;

	assert_int_equal(log_close_segment(f->log), 0);
	assert_int_equal(append_grains(f->log, 0, 1, 1), 0);
	assert_int_equal(log_close_segment(f->log), 1);
	/* Nothing more was written: the same one. */
	assert_int_equal(log_close_segment(f->log), 1);
	log_drain(f->log);
	assert_int_equal(log_close_segment(f->log), 1);
	assert_int_equal(f->sealed_count, 1);
}

static void only_an_old_segment_is_closed_for_its_age(void **state)
{
	struct log_fixture *f = *state;

	log_tend(f->log, 0);
	assert_int_equal(append_grains(f->log, 0, 1, 1), 0);
	log_tend(f->log, UINT64_C(3600) * 1000000000);
	assert_int_equal(log_position(f->log).segment, 1);
	assert_int_equal(log_position(f->log).record, 2);
	log_tend(f->log, 0);
	log_drain(f->log);
	assert_int_equal(f->sealed_count, 1);
	assert_int_equal(log_position(f->log).segment, 2);
}

static void bytes_and_age_count_what_is_not_sealed(void **state)
{
	struct log_fixture *f = *state;
	uint64_t start = clock_monotonic_ns();

	assert_int_equal(log_oldest_ns(f->log), 0);
	assert_int_equal(append_grains(f->log, 0, TEST_SLOTS, 1), 0);
	executor_drain(f->executor);
	uint64_t oldest = log_oldest_ns(f->log);
	assert_true(oldest >= start && oldest <= clock_monotonic_ns());
	log_fixture_park(f);
	assert_int_equal(append_grains(f->log, 0, 3, 1), 0);
	assert_int_equal(log_position(f->log).segment, 2);
	assert_int_equal(log_open_bytes(f->log), (TEST_SLOTS + 3) * TEST_GRAIN);
	assert_int_equal(log_oldest_ns(f->log), oldest);
	log_fixture_unpark(f);
	log_drain(f->log);
	assert_int_equal(log_open_bytes(f->log), 3 * TEST_GRAIN);
	assert_true(log_oldest_ns(f->log) >= oldest);
	seal_now(f);
	assert_int_equal(log_open_bytes(f->log), 0);
	assert_int_equal(log_oldest_ns(f->log), 0);
}

/* ---- failure ---- */

static void failed_sync_stops_sealing_for_good(void **state)
{
	struct log_fixture *f = *state;
	uint8_t digest[DIGEST_BYTES];

	assert_int_equal(append_grains(f->log, 0, 1, 1), 0);
	atomic_store(&f->disk.sync_error, -EIO);
	assert_int_equal(log_close_segment(f->log), 1);
	assert_int_equal(log_wait_sealed(f->log, 1, digest), -EIO);
	atomic_store(&f->disk.sync_error, 0);
	log_drain(f->log);
	assert_int_equal(f->sealed_count, 0);
	assert_int_equal(f->failures, 1);
	assert_state(f, 1, SEGMENT_OPEN);
	assert_int_equal(append_grains(f->log, 0, 1, 1), -EIO);
	assert_int_equal(log_flush_wait(f->log), -EIO);
}

static void header_that_cannot_be_written_fails_the_log(void **state)
{
	struct log_fixture *f = *state;
	uint8_t digest[DIGEST_BYTES];

	assert_int_equal(append_grains(f->log, 0, 1, 1), 0);
	atomic_store(&f->disk.write_error, -EDQUOT);
	assert_int_equal(log_close_segment(f->log), 1);
	assert_int_equal(log_wait_sealed(f->log, 1, digest), -EIO);
	log_drain(f->log);
	assert_int_equal(f->sealed_count, 0);
	assert_int_equal(f->error, -EDQUOT);
}

/* From the header's being written again on no sync works. */
static void fail_syncs_after_header(void *arg, char change, int fd, uint64_t offset, const char *path)
{
	struct fault_disk *d = arg;

	(void)path;
	if (change == 'W' && !offset && atomic_load(&d->written[fd]))
		atomic_store(&d->sync_error, -EIO);
}

static void header_that_cannot_be_synced_fails_the_log(void **state)
{
	struct log_fixture *f = *state;
	uint8_t digest[DIGEST_BYTES];

	assert_int_equal(append_grains(f->log, 0, 1, 1), 0);
	f->disk.watch = fail_syncs_after_header;
	f->disk.watch_arg = &f->disk;
	assert_int_equal(log_close_segment(f->log), 1);
	assert_int_equal(log_wait_sealed(f->log, 1, digest), 0);
	log_drain(f->log);
	f->disk.watch = NULL;
	assert_int_equal(f->sealed_count, 1);
	assert_int_equal(f->failures, 1);
	assert_int_equal(append_grains(f->log, 0, 1, 1), -EIO);
}

static void segment_that_has_lost_a_record_is_not_sealed(void **state)
{
	struct log_fixture *f = *state;
	uint8_t digest[DIGEST_BYTES], garbage[RECORD_BYTES];

	assert_int_equal(append_grains(f->log, 0, 5, 1), 0);
	assert_int_equal(log_flush_wait(f->log), 0);
	char *path = segment_path(f->set, 1);
	int fd = open(path, O_RDWR);
	free(path);
	memset(garbage, 0xff, sizeof garbage);
	assert_int_equal(pwrite(fd, garbage, sizeof garbage, 4096 + 3 * RECORD_BYTES), RECORD_BYTES);
	close(fd);
	assert_int_equal(log_close_segment(f->log), 1);
	assert_int_equal(log_wait_sealed(f->log, 1, digest), -EIO);
	log_drain(f->log);
	assert_int_equal(f->sealed_count, 0);
	assert_non_null(strstr(f->text, "record 3 of 6 is damaged"));
	assert_state(f, 1, SEGMENT_OPEN);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, log_fixture_setup_started, log_fixture_teardown)
#define U(name) cmocka_unit_test_setup_teardown(name, log_fixture_setup, log_fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(segments_are_sealed_and_told_in_order_of_numbers),
		T(segment_is_sealed_only_when_the_one_before_is),
		T(segment_is_synced_before_its_header_says_sealed_and_that_soon_after),
		U(sealed_segments_are_a_chain_of_digests),
		T(digest_of_an_earlier_segment_can_still_be_asked_for),
		U(size_and_checkpoint_are_carried_from_segment_to_segment),
		T(chunks_behind_the_last_slot_are_absent_once_sealed),
		T(log_without_records_has_nothing_to_close),
		T(only_an_old_segment_is_closed_for_its_age),
		T(bytes_and_age_count_what_is_not_sealed),
		T(failed_sync_stops_sealing_for_good),
		T(header_that_cannot_be_written_fails_the_log),
		T(header_that_cannot_be_synced_fails_the_log),
		T(segment_that_has_lost_a_record_is_not_sealed),
	};

	alarm(300);
	int failed = cmocka_run_group_tests_name("test_log_seal, each write to its file at once", tests, NULL, NULL);
	log_fixture_staged = true;
	return failed + cmocka_run_group_tests_name("test_log_seal, writes gathered in stages", tests, NULL, NULL);
}
