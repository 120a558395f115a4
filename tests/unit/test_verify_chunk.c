/* SPDX-License-Identifier: GPL-3.0-only */
/* test_verify_chunk.c: chunks that were here before a restart: whole ones are used, damaged ones are fetched again where the
 * store has them, and are an error where it does not.
 */
#include "cache/verify_chunk.h"

#include "lib/cache_fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define LIMIT ((uint64_t)64 << 20)

/* Segment 1 is in the store and its first `chunks` chunks are here; then the daemon starts anew. */
static struct segment *start_stored(struct cache_fixture *c, uint32_t chunks)
{
	put_segment(c, 1, TEST_SLOTS);
	for (uint32_t i = 0; i < chunks; i++)
		assert_int_equal(read_chunk(c, 1, i), 0);
	cache_fixture_restart(c);
	struct segment *s = segment_pin_known(c->log.set, 1);
	assert_non_null(s);
	assert_int_equal(atomic_load(&s->life), LIFE_STORED);
	return s;
}

/* Segment 1 was written here and sealed, and is not in the store; likewise. */
static struct segment *start_sealed(struct cache_fixture *c)
{
	atomic_store(&c->in_store, 0);
	cache_fixture_start_log(c, 1);
	write_segment(c, 1, TEST_SLOTS);
	log_fixture_stop(&c->log);
	cache_fixture_restart(c);
	struct segment *s = segment_pin_known(c->log.set, 1);
	assert_non_null(s);
	assert_int_equal(atomic_load(&s->life), LIFE_SEALED);
	return s;
}

/* A sector of the slot is as it was before the last write: zeros. */
static void tear_slot(struct cache_fixture *c, uint32_t slot)
{
	static const uint8_t zeros[512];
	char *path = segment_path(c->log.set, 1);
	int fd = open(path, O_RDWR);

	must(fd >= 0, "open");
	must(pwrite(fd, zeros, sizeof zeros, (off_t)segment_slot_offset(&c->log.shape, slot) + 1024) == 512, "tear");
	must(!close(fd), "close");
	free(path);
}

/* ---- whole ---- */

static void whole_chunk_is_present_after_its_first_use(void **state)
{
	struct cache_fixture *c = *state;
	struct segment *s = start_stored(c, 3);

	assert_int_equal(segment_chunk_state(s, 1), CHUNK_UNVERIFIED);
	assert_int_equal(verify_chunk(s, 1), 1);
	assert_int_equal(segment_chunk_state(s, 1), CHUNK_PRESENT);
	assert_int_equal(verify_chunk(s, 1), 1);
	assert_int_equal(segment_chunk_state(s, 0), CHUNK_UNVERIFIED);
	assert_int_equal(segment_chunk_state(s, 2), CHUNK_UNVERIFIED);
	unsigned gets = fixture_gets(c);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(read_chunk(c, 1, i), 0);
	assert_int_equal(fixture_gets(c), gets);
	segment_unpin(s);
}

static void checksums_are_kept_until_every_chunk_was_looked_at(void **state)
{
	struct cache_fixture *c = *state;
	struct segment *s = start_stored(c, 3);

	assert_null(s->checksums);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(verify_chunk(s, i), 1);
		assert_int_equal(s->checksums != NULL, i < 2);
	}
	segment_unpin(s);
}

static void chunk_that_is_not_here_is_not_looked_for(void **state)
{
	struct cache_fixture *c = *state;
	struct segment *s = start_stored(c, 1);

	assert_int_equal(verify_chunk(s, 1), 0);
	assert_int_equal(segment_chunk_state(s, 1), CHUNK_ABSENT);
	assert_null(s->checksums);
	segment_unpin(s);
}

/* What no record speaks of is never read: it may hold anything. */
static void only_slots_with_a_record_are_compared(void **state)
{
	struct cache_fixture *c = *state;

	put_segment(c, 1, 5);
	uint8_t buf[5 * TEST_GRAIN];
	assert_int_equal(fetch_read_wait(&c->source, 1, 0, 0, buf, sizeof buf), 0);
	cache_fixture_restart(c);
	spoil_file(c, 1, segment_slot_offset(&c->log.shape, 5));
	struct segment *s = segment_pin_known(c->log.set, 1);
	assert_int_equal(verify_chunk(s, 0), 1);
	segment_unpin(s);
}

/* ---- damaged, and in the store ---- */

static void torn_slot_of_a_stored_segment_is_dropped_and_fetched_again(void **state)
{
	struct cache_fixture *c = *state;
	struct segment *s = start_stored(c, 4);
	static struct reading r;

	/* The first slot of a chunk, one between, and the last; the chunks beside them are whole. */
	tear_slot(c, CHUNK_SLOTS);
	tear_slot(c, 2 * CHUNK_SLOTS + 5);
	tear_slot(c, 4 * CHUNK_SLOTS - 1);
	unsigned gets = fixture_gets(c);
	assert_int_equal(verify_chunk(s, 1), 0);
	assert_int_equal(segment_chunk_state(s, 1), CHUNK_ABSENT);
	for (uint32_t i = 0; i < 4; i++) {
		/* Also when the slot that is asked for is whole itself. */
		reading_begin(c, &r, 1, i * CHUNK_SLOTS + 3, 0, TEST_GRAIN);
		assert_int_equal(reading_end(&r), 0);
		assert_int_equal(segment_chunk_state(s, i), CHUNK_PRESENT);
		assert_int_equal(read_chunk_now(c, 1, i), 0);
	}
	assert_int_equal(fixture_gets(c), gets + 3);
	segment_unpin(s);
	cache_fixture_restart(c);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(read_chunk(c, 1, i), 0);
	assert_int_equal(fixture_gets(c), gets + 3);
}

static void torn_chunk_is_an_error_while_the_store_is_away(void **state)
{
	struct cache_fixture *c = *state;
	struct segment *s = start_stored(c, 2);

	tear_slot(c, 7);
	atomic_store(&c->spy.get_error, -ETIMEDOUT);
	for (int again = 0; again < 2; again++) {
		assert_int_equal(read_chunk(c, 1, 0), -ETIMEDOUT);
		assert_int_equal(read_chunk(c, 1, 1), 0);
	}
	atomic_store(&c->spy.get_error, 0);
	assert_int_equal(read_chunk(c, 1, 0), 0);
	segment_unpin(s);
}

static void stored_segment_with_a_damaged_index_is_fetched_again(void **state)
{
	struct cache_fixture *c = *state;
	struct segment *s = start_stored(c, 2);

	spoil_file(c, 1, 4096 + 40);
	unsigned gets = fixture_gets(c);
	assert_int_equal(verify_chunk(s, 0), 0);
	assert_int_equal(segment_chunk_state(s, 0), CHUNK_ABSENT);
	assert_int_equal(read_chunk(c, 1, 0), 0);
	assert_int_equal(read_chunk(c, 1, 1), 0);
	assert_int_equal(fixture_gets(c), gets + 2);
	segment_unpin(s);
}

static void stored_chunk_that_the_disk_cannot_read_is_dropped(void **state)
{
	struct cache_fixture *c = *state;
	struct segment *s = start_stored(c, 1);

	atomic_store(&c->read_error, -EIO);
	assert_int_equal(verify_chunk(s, 0), 0);
	assert_int_equal(segment_chunk_state(s, 0), CHUNK_ABSENT);
	atomic_store(&c->read_error, 0);
	assert_int_equal(read_chunk(c, 1, 0), 0);
	segment_unpin(s);
}

/* Its bytes are still counted until the evictor has taken them out. */
static void bytes_of_a_dropped_chunk_are_given_back(void **state)
{
	struct cache_fixture *c = *state;
	struct segment *s = start_stored(c, 2);

	assert_int_equal(cache_used(c->cache), c->log.shape.data_offset + 2 * CHUNK_BYTES);
	tear_slot(c, 0);
	assert_int_equal(verify_chunk(s, 0), 0);
	assert_int_equal(read_chunk(c, 1, 0), 0);
	assert_int_equal(cache_used(c->cache), c->log.shape.data_offset + 2 * CHUNK_BYTES);
	segment_unpin(s);
	cache_fixture_restart(c);
	s = segment_pin_known(c->log.set, 1);
	tear_slot(c, 0);
	assert_int_equal(verify_chunk(s, 0), 0);
	segment_unpin(s);
	cache_evict_all(c->cache);
	assert_int_equal(cache_used(c->cache), 0);
	assert_false(file_is_here(c, 1));
}

/* And it is they that go first, not what is whole. */
static void dropped_chunk_makes_room_before_others_do(void **state)
{
	struct cache_fixture *c = *state;
	struct segment *s = start_stored(c, 4);

	tear_slot(c, 0);
	assert_int_equal(verify_chunk(s, 0), 0);
	segment_unpin(s);
	cache_make_room(c->cache, LIMIT - cache_used(c->cache) + 1);
	assert_int_equal(cache_used(c->cache), c->log.shape.data_offset + 3 * CHUNK_BYTES);
	for (uint32_t i = 1; i < 4; i++)
		assert_int_equal(state_of_chunk(c, 1, i), CHUNK_UNVERIFIED);
}

/* Puts segment 1, of which the first half of each chunk was overwritten by the next, and reads the first three chunks. */
static void read_overwritten(struct cache_fixture *c, bool whole)
{
	struct record records[TEST_SLOTS];
	uint8_t buf[3 * CHUNK_BYTES];
	size_t len;

	for (uint32_t i = 0; i < TEST_SLOTS; i++)
		records[i] = fixture_record(1, i, i % CHUNK_SLOTS < CHUNK_SLOTS / 2 ? i % CHUNK_SLOTS : i);
	uint8_t *object = fixture_pack_as(c, 1, TEST_SEGMENT, whole, records, TEST_SLOTS, &len);
	put_object(c, 1, object, len);
	free(object);
	assert_int_equal(fetch_read_wait(&c->source, 1, 0, 0, buf, sizeof buf), 0);
	assert_int_equal(fixture_right(1, 0, 0, buf, sizeof buf), whole);
}

/* An image that keeps history reads the slots that were overwritten, too. */
static void overwritten_slot_of_a_segment_sealed_whole_is_compared(void **state)
{
	struct cache_fixture *c = *state;

	read_overwritten(c, true);
	cache_fixture_restart(c);
	tear_slot(c, CHUNK_SLOTS + 2);
	struct segment *s = segment_pin_known(c->log.set, 1);
	assert_int_equal(verify_chunk(s, 0), 1);
	assert_int_equal(verify_chunk(s, 1), 0);
	assert_int_equal(segment_chunk_state(s, 1), CHUNK_ABSENT);
	assert_int_equal(verify_chunk(s, 2), 1);
	assert_int_equal(read_chunk(c, 1, 1), 0);
	segment_unpin(s);
}

static void overwritten_slot_that_came_as_zeros_is_not_compared(void **state)
{
	struct cache_fixture *c = *state;

	read_overwritten(c, false);
	cache_fixture_restart(c);
	tear_slot(c, 2 * CHUNK_SLOTS - 1);
	struct segment *s = segment_pin_known(c->log.set, 1);
	assert_int_equal(verify_chunk(s, 0), 1);
	assert_int_equal(verify_chunk(s, 1), 0);
	assert_int_equal(verify_chunk(s, 2), 1);
	segment_unpin(s);
}

/* ---- damaged, and nowhere else ---- */

static void torn_slot_of_an_unsent_segment_is_an_error_and_stays(void **state)
{
	struct cache_fixture *c = *state;
	struct segment *s = start_sealed(c);

	tear_slot(c, CHUNK_SLOTS + 9);
	for (int again = 0; again < 2; again++) {
		assert_int_equal(verify_chunk(s, 1), -EIO);
		assert_int_equal(segment_chunk_state(s, 1), CHUNK_UNVERIFIED);
		assert_int_equal(read_chunk(c, 1, 1), -EIO);
		assert_int_equal(read_chunk(c, 1, 0), 0);
		assert_int_equal(read_chunk(c, 1, 2), 0);
	}
	assert_int_equal(fixture_gets(c), 0);
	cache_evict_all(c->cache);
	assert_true(file_is_here(c, 1));
	assert_int_equal(read_chunk(c, 1, 2), 0);
	/* Nothing is written over it while it is not known to be in the store, even if there is an object of its name. */
	put_segment(c, 1, TEST_SLOTS);
	atomic_store(&c->in_store, 1);
	assert_int_equal(read_chunk(c, 1, 1), -EIO);
	assert_int_equal(fixture_gets(c), 0);
	segment_unpin(s);
}

static void unsent_segment_with_a_damaged_index_is_an_error(void **state)
{
	struct cache_fixture *c = *state;
	struct segment *s = start_sealed(c);

	spoil_file(c, 1, 4096 + 40);
	assert_int_equal(verify_chunk(s, 0), -EIO);
	assert_int_equal(segment_chunk_state(s, 0), CHUNK_UNVERIFIED);
	assert_int_equal(read_chunk(c, 1, 0), -EIO);
	assert_int_equal(fixture_gets(c), 0);
	segment_unpin(s);
}

/* ---- together with others ---- */

struct verify_thread {
	struct segment *s;
	pthread_barrier_t *barrier;
};

static void *verify_all(void *arg)
{
	struct verify_thread *t = arg;

	pthread_barrier_wait(t->barrier);
	for (uint32_t i = 0; i < TEST_CHUNKS; i++) {
		int rc = verify_chunk(t->s, i);
		must(rc == (i != 6), "a chunk was taken for another");
	}
	return NULL;
}

static void many_threads_find_the_same(void **state)
{
	struct cache_fixture *c = *state;
	struct segment *s = start_stored(c, TEST_CHUNKS);
	struct verify_thread t[4];
	pthread_barrier_t barrier;
	pthread_t thread[4];

	tear_slot(c, 6 * CHUNK_SLOTS);
	pthread_barrier_init(&barrier, NULL, 4);
	for (unsigned i = 0; i < 4; i++) {
		t[i] = (struct verify_thread){ s, &barrier };
		must(!pthread_create(&thread[i], NULL, verify_all, &t[i]), "thread");
	}
	for (unsigned i = 0; i < 4; i++)
		must(!pthread_join(thread[i], NULL), "join");
	pthread_barrier_destroy(&barrier);
	assert_null(s->checksums);
	segment_unpin(s);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, cache_fixture_setup, cache_fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(whole_chunk_is_present_after_its_first_use),
		T(checksums_are_kept_until_every_chunk_was_looked_at),
		T(chunk_that_is_not_here_is_not_looked_for),
		T(only_slots_with_a_record_are_compared),
		T(torn_slot_of_a_stored_segment_is_dropped_and_fetched_again),
		T(torn_chunk_is_an_error_while_the_store_is_away),
		T(stored_segment_with_a_damaged_index_is_fetched_again),
		T(stored_chunk_that_the_disk_cannot_read_is_dropped),
		T(bytes_of_a_dropped_chunk_are_given_back),
		T(dropped_chunk_makes_room_before_others_do),
		T(overwritten_slot_of_a_segment_sealed_whole_is_compared),
		T(overwritten_slot_that_came_as_zeros_is_not_compared),
		T(torn_slot_of_an_unsent_segment_is_an_error_and_stays),
		T(unsent_segment_with_a_damaged_index_is_an_error),
		T(many_threads_find_the_same),
	};

	alarm(180);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
