/* SPDX-License-Identifier: GPL-3.0-only */
/* test_fetch.c: chunks on their way from the store: who shares a request, who waits for whom, what is kept, and what happens
 * when the store or the cache disk is damaged, full or away.
 */
#include "cache/fetch.h"

#include "lib/cache_fixture.h"
#include "lib/segment_forge.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* ---- hits and misses ---- */

static void chunk_is_fetched_once_and_then_read_from_the_file(void **state)
{
	struct cache_fixture *c = *state;

	put_segment(c, 1, TEST_SLOTS);
	assert_int_equal(read_chunk_now(c, 1, 3), -EAGAIN);
	assert_int_equal(read_chunk(c, 1, 3), 0);
	assert_int_equal(fixture_gets(c), 2); /* the header, the chunk */
	/* The store is not needed any more, not even by the next daemon. */
	atomic_store(&c->spy.get_error, -EIO);
	assert_int_equal(read_chunk(c, 1, 3), 0);
	assert_int_equal(read_chunk_now(c, 1, 3), 0);
	cache_fixture_restart(c);
	assert_int_equal(read_chunk_now(c, 1, 3), -EAGAIN); /* it may not verify */
	assert_int_equal(read_chunk(c, 1, 3), 0);
	assert_int_equal(read_chunk_now(c, 1, 3), 0);
	assert_int_equal(fixture_gets(c), 2);
	assert_int_equal(read_chunk(c, 1, 4), -EIO);
}

static void parts_of_slots_and_of_chunks_are_read_in_their_places(void **state)
{
	struct cache_fixture *c = *state;
	static struct reading r;

	put_segment(c, 1, TEST_SLOTS);
	for (int again = 0; again < 2; again++) {
		reading_begin(c, &r, 1, 5, 100, 1);
		assert_int_equal(reading_end(&r), 0);
		reading_begin(c, &r, 1, 14, 4095, 3 * TEST_GRAIN); /* over the border of two chunks */
		assert_int_equal(reading_end(&r), 0);
		reading_begin(c, &r, 1, 40, 1, CHUNK_BYTES);
		assert_int_equal(reading_end(&r), 0);
		reading_begin(c, &r, 1, TEST_SLOTS - 1, 0, TEST_GRAIN);
		assert_int_equal(reading_end(&r), 0);
	}
	assert_int_equal(fixture_gets(c), 1 + 4);
}

static void read_at_once_needs_every_chunk_of_it(void **state)
{
	struct cache_fixture *c = *state;
	static uint8_t buf[2 * CHUNK_BYTES];

	put_segment(c, 1, TEST_SLOTS);
	assert_int_equal(read_chunk(c, 1, 0), 0);
	memset(buf, 0xee, sizeof buf);
	assert_int_equal(fetch_read_now(&c->source, 1, CHUNK_SLOTS - 1, 0, buf, 2 * TEST_GRAIN), -EAGAIN);
	assert_int_equal(fetch_read_now(&c->source, 1, 0, 0, buf, CHUNK_BYTES), 0);
	assert_int_equal(read_chunk(c, 1, 1), 0);
	assert_int_equal(fetch_read_now(&c->source, 1, CHUNK_SLOTS / 2, 7, buf, CHUNK_BYTES), 0);
	assert_true(fixture_right(1, CHUNK_SLOTS / 2, 7, buf, CHUNK_BYTES));
	/* Nor does it look behind the segment's end. */
	assert_int_equal(read_chunk(c, 1, TEST_CHUNKS - 1), 0);
	assert_int_equal(fetch_read_now(&c->source, 1, TEST_SLOTS - 1, 1, buf, TEST_GRAIN), -EAGAIN);
}

static void chunk_without_a_needed_slot_is_zeros_and_not_asked_for(void **state)
{
	struct cache_fixture *c = *state;
	struct record records[2 * CHUNK_SLOTS];
	static uint8_t buf[CHUNK_BYTES], zeros[CHUNK_BYTES];
	size_t len;

	for (uint32_t i = 0; i < 2 * CHUNK_SLOTS; i++)
		records[i] = fixture_record(1, i, i % CHUNK_SLOTS);
	uint8_t *object = fixture_pack(c, 1, TEST_SEGMENT, records, 2 * CHUNK_SLOTS, &len);
	put_object(c, 1, object, len);
	free(object);
	memset(buf, 0xee, sizeof buf);
	assert_int_equal(fetch_read_wait(&c->source, 1, 0, 0, buf, sizeof buf), 0);
	assert_memory_equal(buf, zeros, sizeof buf);
	assert_int_equal(fixture_gets(c), 1);
	assert_int_equal(read_chunk(c, 1, 1), 0);
	assert_int_equal(fixture_gets(c), 2);
}

static void read_past_what_a_chunk_holds_fails_alone(void **state)
{
	struct cache_fixture *c = *state;
	static struct reading before, past, after;

	put_segment(c, 1, 4);
	spy_hold_gets(&c->spy, true);
	reading_begin(c, &before, 1, 3, 0, TEST_GRAIN);
	reading_begin(c, &past, 1, 3, 1, TEST_GRAIN);
	reading_begin(c, &after, 1, 0, 0, 4 * TEST_GRAIN);
	spy_hold_gets(&c->spy, false);
	assert_true(spy_let_get_go(&c->spy));
	assert_int_equal(reading_end(&before), 0);
	assert_int_equal(reading_end(&past), -EIO);
	assert_int_equal(reading_end(&after), 0);
	/* The same of one that is known to end before: nobody is asked. */
	unsigned gets = fixture_gets(c);
	reading_begin(c, &past, 1, TEST_SLOTS, 0, TEST_GRAIN);
	assert_int_equal(reading_end(&past), -EIO);
	reading_begin(c, &past, 1, TEST_SLOTS + 5 * CHUNK_SLOTS, 7, TEST_GRAIN);
	assert_int_equal(reading_end(&past), -EIO);
	fetch_op_begin(&past.op, reading_done);
	assert_int_equal(fetch_ahead(&c->source, &past.op, 1, TEST_CHUNKS, 3), 0);
	assert_true(fetch_op_end(&past.op));
	assert_int_equal(atomic_load(&past.op.result), -EIO);
	assert_int_equal(fixture_gets(c), gets);
	/* A chunk that an object does not have at all. */
	put_segment(c, 2, 4);
	reading_begin(c, &past, 2, CHUNK_SLOTS, 0, TEST_GRAIN);
	assert_int_equal(reading_end(&past), -EIO);
}

/* ---- sharing ---- */

static void readers_of_one_chunk_share_one_get(void **state)
{
	struct cache_fixture *c = *state;
	static struct reading r[24];

	put_segment(c, 1, TEST_SLOTS);
	spy_hold_gets(&c->spy, true);
	for (unsigned i = 0; i < 8; i++)
		reading_begin(c, &r[i], 1, 16 + i, i * 10, TEST_GRAIN);
	spy_wait_held_gets(&c->spy, 1);
	assert_true(spy_let_get_go(&c->spy));
	/* They also share it when they come while the chunk itself is on its way. */
	spy_wait_held_gets(&c->spy, 1);
	for (unsigned i = 8; i < 24; i++)
		reading_begin(c, &r[i], 1, 16, i * 1000, TEST_GRAIN);
	assert_int_equal(fixture_gets(c), 2);
	spy_hold_gets(&c->spy, false);
	assert_true(spy_let_get_go(&c->spy));
	for (unsigned i = 0; i < 24; i++)
		assert_int_equal(reading_end(&r[i]), 0);
	assert_int_equal(fixture_gets(c), 2);
}

/* Another image that reads the same log. */
struct neighbour {
	struct cache_fixture *fixture;
	atomic_bool gone;
};

static uint64_t epoch_of_neighbour(void *arg, segment_no_t number)
{
	struct neighbour *n = arg;

	must(!atomic_load(&n->gone), "who has its answer is still asked");
	return fixture_epoch_of(n->fixture, number);
}

/* An image may be freed once it has its answer, while others wait on for the same segment. */
static void fetches_of_others_do_without_who_has_its_answer(void **state)
{
	struct cache_fixture *c = *state;
	struct neighbour n = { .fixture = c };
	struct fetch_source own = c->source, theirs = c->source;
	static struct reading first, second, third;

	theirs.epoch_of = epoch_of_neighbour;
	theirs.arg = &n;
	put_segment(c, 1, TEST_SLOTS);
	spy_hold_gets(&c->spy, true);
	atomic_store(&c->spy.get_error, -EIO);
	reading_begin_of(&theirs, &first, 1, 0, 0, TEST_GRAIN);
	reading_begin_of(&own, &second, 1, CHUNK_SLOTS, 0, TEST_GRAIN);
	reading_begin_of(&own, &third, 1, 2 * CHUNK_SLOTS, 0, TEST_GRAIN);
	spy_wait_held_gets(&c->spy, 1);
	assert_true(spy_let_get_go(&c->spy));
	assert_int_equal(reading_end(&first), -EIO);
	atomic_store(&n.gone, true);
	spy_hold_gets(&c->spy, false);
	assert_true(spy_let_get_go(&c->spy));
	assert_int_equal(reading_end(&second), -EIO);
	assert_int_equal(reading_end(&third), -EIO);
}

/* It was known with another shape, as may be when another host went on with the log. */
static void segment_of_another_shape_is_read_and_leaves_no_file(void **state)
{
	struct cache_fixture *c = *state;
	struct segment *s = segment_pin(c->log.set, 1);
	struct segment_shape shape;

	assert_int_equal(segment_shape(TEST_GRAIN, 2 * TEST_SEGMENT, &shape), 0);
	assert_int_equal(segment_set_shape(s, &shape, CHUNK_ABSENT), 0);
	segment_unpin(s);
	put_segment(c, 1, TEST_SLOTS);
	assert_int_equal(read_chunk(c, 1, 0), 0);
	assert_false(file_is_here(c, 1));
}

static void chunks_of_one_segment_get_its_header_once(void **state)
{
	struct cache_fixture *c = *state;
	static struct reading r[TEST_CHUNKS];

	put_segment(c, 1, TEST_SLOTS);
	spy_hold_gets(&c->spy, true);
	for (uint32_t i = 0; i < TEST_CHUNKS; i++)
		reading_begin(c, &r[i], 1, i * CHUNK_SLOTS, 0, CHUNK_BYTES);
	spy_wait_held_gets(&c->spy, 1);
	assert_int_equal(fixture_gets(c), 1);
	assert_true(spy_let_get_go(&c->spy));
	spy_wait_held_gets(&c->spy, 1); /* of all chunks, which lie next to each other */
	assert_int_equal(fixture_gets(c), 2);
	assert_int_equal(atomic_load(&c->spy.gets_at_0), 1);
	while (spy_let_get_go(&c->spy))
		;
	for (uint32_t i = 0; i < TEST_CHUNKS; i++)
		assert_int_equal(reading_end(&r[i]), 0);
	assert_int_equal(fixture_gets(c), 2);
}

static void one_read_of_many_chunks_is_answered_once_all_are_here(void **state)
{
	struct cache_fixture *c = *state;
	static struct reading r;
	static uint8_t buf[TEST_SEGMENT];

	put_segment(c, 1, TEST_SLOTS);
	spy_hold_gets(&c->spy, true);
	sem_init(&r.done, 0, 0);
	fetch_op_begin(&r.op, reading_done);
	fetch_read(&c->source, &r.op, 1, 0, 0, buf, sizeof buf);
	assert_false(fetch_op_end(&r.op));
	assert_true(spy_let_get_go(&c->spy));
	spy_wait_held_gets(&c->spy, 1);
	assert_int_not_equal(sem_trywait(&r.done), 0);
	spy_hold_gets(&c->spy, false);
	while (spy_let_get_go(&c->spy))
		;
	sem_wait(&r.done);
	assert_int_equal(atomic_load(&r.op.result), 0);
	assert_true(fixture_right(1, 0, 0, buf, sizeof buf));
	sem_destroy(&r.done);
}

/* ---- the turn for the header ---- */

struct begin {
	struct cache_fixture *c;
	struct reading *r;
	uint32_t chunk;
};

static void *begin_thread(void *arg)
{
	struct begin *b = arg;

	reading_begin(b->c, b->r, 1, b->chunk * CHUNK_SLOTS, 0, CHUNK_BYTES);
	return NULL;
}

/* One has the turn and is reading the table from the file; the others come meanwhile. */
static void fetch_that_finds_the_table_here_lets_the_others_go_on(void **state)
{
	struct cache_fixture *c = *state;
	static struct reading r[TEST_CHUNKS];
	struct begin b = { c, &r[0], 0 };
	pthread_t thread;

	put_segment(c, 1, TEST_SLOTS);
	assert_int_equal(read_chunk(c, 1, 0), 0);
	empty_the_file(c, 1);
	unsigned headers = atomic_load(&c->spy.gets_at_0);
	atomic_store(&c->hold_reads_at, c->log.shape.table_offset);
	must(!pthread_create(&thread, NULL, begin_thread, &b), "thread");
	sem_wait(&c->read_held);
	for (uint32_t i = 1; i < TEST_CHUNKS; i++)
		reading_begin(c, &r[i], 1, i * CHUNK_SLOTS, 0, CHUNK_BYTES);
	sem_post(&c->read_goes);
	must(!pthread_join(thread, NULL), "join");
	for (uint32_t i = 0; i < TEST_CHUNKS; i++)
		assert_int_equal(reading_end(&r[i]), 0);
	assert_int_equal(atomic_load(&c->spy.gets_at_0), headers);
}

struct crowd {
	struct cache_fixture *c;
	pthread_barrier_t barrier;
	unsigned rounds;
	_Atomic unsigned next;
};

static void *crowd_thread(void *arg)
{
	struct crowd *crowd = arg;
	uint32_t chunk = atomic_fetch_add(&crowd->next, 1) % TEST_CHUNKS;

	for (unsigned i = 0; i < crowd->rounds; i++) {
		pthread_barrier_wait(&crowd->barrier);
		must(!read_chunk(crowd->c, 1, chunk), "a reader was refused");
		pthread_barrier_wait(&crowd->barrier);
	}
	return NULL;
}

static void everyone_is_answered_when_many_threads_read_a_known_file_without_chunks(void **state)
{
	struct cache_fixture *c = *state;
	pthread_t thread[TEST_CHUNKS];
	struct crowd crowd = { .c = c, .rounds = 60 };

	put_segment(c, 1, TEST_SLOTS);
	assert_int_equal(read_chunk(c, 1, 0), 0);
	pthread_barrier_init(&crowd.barrier, NULL, TEST_CHUNKS + 1);
	for (unsigned i = 0; i < TEST_CHUNKS; i++)
		must(!pthread_create(&thread[i], NULL, crowd_thread, &crowd), "thread");
	for (unsigned i = 0; i < crowd.rounds; i++) {
		if (i % 4 != 3)
			empty_the_file(c, 1);
		else
			cache_evict_all(c->cache); /* now and then the file goes, too */
		pthread_barrier_wait(&crowd.barrier);
		pthread_barrier_wait(&crowd.barrier);
	}
	for (unsigned i = 0; i < TEST_CHUNKS; i++)
		must(!pthread_join(thread[i], NULL), "join");
	pthread_barrier_destroy(&crowd.barrier);
}

static void those_that_come_after_a_header_was_asked_for_ask_again_when_it_fails(void **state)
{
	struct cache_fixture *c = *state;
	static struct reading r[4];

	put_segment(c, 1, TEST_SLOTS);
	spy_hold_gets(&c->spy, true);
	for (unsigned i = 0; i < 4; i++)
		reading_begin(c, &r[i], 1, i * CHUNK_SLOTS, 0, CHUNK_BYTES);
	atomic_store(&c->spy.get_error, -ETIMEDOUT);
	assert_true(spy_let_get_go(&c->spy));
	assert_int_equal(reading_end(&r[0]), -ETIMEDOUT);
	spy_wait_held_gets(&c->spy, 1);
	atomic_store(&c->spy.get_error, 0);
	spy_hold_gets(&c->spy, false);
	assert_true(spy_let_get_go(&c->spy));
	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(reading_end(&r[i]), 0);
	assert_int_equal(atomic_load(&c->spy.gets_at_0), 2);
}

/* A store that is silent is waited for once, not once for each chunk. */
static void read_of_many_chunks_ends_with_the_first_header_that_fails(void **state)
{
	struct cache_fixture *c = *state;
	static struct reading many, late;
	static uint8_t buf[8 * CHUNK_BYTES];

	put_segment(c, 1, TEST_SLOTS);
	spy_hold_gets(&c->spy, true);
	sem_init(&many.done, 0, 0);
	fetch_op_begin(&many.op, reading_done);
	fetch_read(&c->source, &many.op, 1, 0, 0, buf, sizeof buf);
	assert_false(fetch_op_end(&many.op));
	spy_wait_held_gets(&c->spy, 1);
	reading_begin(c, &late, 1, 9 * CHUNK_SLOTS, 0, TEST_GRAIN);
	atomic_store(&c->spy.get_error, -ETIMEDOUT);
	assert_true(spy_let_get_go(&c->spy));
	assert_int_equal(sem_trywait(&many.done), 0);
	assert_int_equal(atomic_load(&many.op.result), -ETIMEDOUT);
	sem_destroy(&many.done);
	/* Who came after it was sent has a request of his own. */
	spy_wait_held_gets(&c->spy, 1);
	assert_int_equal(atomic_load(&c->spy.gets_at_0), 2);
	atomic_store(&c->spy.get_error, 0);
	spy_hold_gets(&c->spy, false);
	assert_true(spy_let_get_go(&c->spy));
	assert_int_equal(reading_end(&late), 0);
	assert_int_equal(read_chunk(c, 1, 7), 0);
	assert_int_equal(atomic_load(&c->spy.gets_at_0), 2);
}

/* Likewise when it came and is damaged: the header itself, or the index behind it. */
static void those_that_wait_for_a_header_that_is_damaged_are_refused(void **state)
{
	struct cache_fixture *c = *state;
	static const size_t places[] = { 40, SEGMENT_OBJECT_HEADER + 40 };
	static struct reading r[4];
	size_t len;

	put_segment(c, 1, TEST_SLOTS);
	uint8_t *object = get_object(c, 1, &len);
	for (unsigned k = 0; k < 2; k++) {
		object[places[k]] ^= 1;
		put_object(c, 1, object, len);
		object[places[k]] ^= 1;
		spy_hold_gets(&c->spy, true);
		for (unsigned i = 0; i < 4; i++)
			reading_begin(c, &r[i], 1, i * CHUNK_SLOTS, 0, CHUNK_BYTES);
		spy_hold_gets(&c->spy, false);
		assert_true(spy_let_get_go(&c->spy));
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(reading_end(&r[i]), -EIO);
	}
	free(object);
}

/* Of many small records: index and table do not fit into what is asked for first. */
static void long_index_is_asked_for_again_as_a_whole(void **state)
{
	struct cache_fixture *c = *state;
	const uint32_t segment_bytes = 8u << 20, count = 4096;
	struct record *records = calloc(count, sizeof *records);
	uint64_t x = 1;
	size_t len;

	for (uint32_t i = 0; i < count; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		records[i] = i < CHUNK_SLOTS ? fixture_record(1, i, i)
		                             : (struct record){ .kind = RECORD_TIMES,
			                                        .slot = RECORD_NO_SLOT,
			                                        .value = x,
			                                        .time_ns = x * x };
	}
	uint8_t *object = fixture_pack(c, 1, segment_bytes, records, count, &len);
	put_object(c, 1, object, len);
	assert_int_equal(read_chunk(c, 1, 0), 0);
	assert_int_equal(fixture_gets(c), 3);
	assert_int_equal(atomic_load(&c->spy.gets_at_0), 2);
	free(object);
	/* Cut within that part it is no segment. */
	for (uint32_t i = 0; i < CHUNK_SLOTS; i++)
		records[i] = fixture_record(2, i, i);
	object = fixture_pack(c, 2, segment_bytes, records, count, &len);
	put_object(c, 2, object, SEGMENT_OBJECT_META_GUESS + 100);
	assert_int_equal(read_chunk(c, 2, 0), -EIO);
	assert_false(file_is_here(c, 2));
	free(object);
	free(records);
}

/* ---- what is no segment, or not this one ---- */

/* Reads fail and leave nothing, as often as one asks; when the right object is back they work. */
static void refuses(struct cache_fixture *c, segment_no_t number, uint32_t chunk)
{
	static struct reading r[3];

	for (int again = 0; again < 2; again++) {
		unsigned gets = fixture_gets(c);
		spy_hold_gets(&c->spy, true);
		for (unsigned i = 0; i < 3; i++)
			reading_begin(c, &r[i], number, chunk * CHUNK_SLOTS + i, 0, TEST_GRAIN);
		spy_hold_gets(&c->spy, false);
		assert_true(spy_let_get_go(&c->spy));
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(reading_end(&r[i]), -EIO);
		assert_true(fixture_gets(c) > gets);
		assert_int_equal(state_of_chunk(c, number, chunk), CHUNK_ABSENT);
		assert_int_equal(read_chunk_now(c, number, chunk), -EAGAIN);
	}
	put_segment(c, number, TEST_SLOTS);
	assert_int_equal(read_chunk(c, number, chunk), 0);
	assert_int_equal(read_chunk_now(c, number, chunk), 0);
}

/* Every part of what comes before the chunks, a byte of it changed. */
static void damaged_header_index_or_table_is_refused_and_nothing_cached(void **state)
{
	struct cache_fixture *c = *state;
	struct seal_key plain = { .plain = true };
	struct segment_meta meta;
	size_t len;

	put_segment(c, 1, TEST_SLOTS);
	uint8_t *object = get_object(c, 1, &len);
	assert_int_equal(segment_meta_decode(object, len, &plain, &meta, NULL), 0);
	const uint64_t places[] = {
		0, FORGE_NUMBER, FORGE_DIGEST, meta.index_offset + 5, meta.table_offset + 5, meta.chunks_offset - 1
	};
	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
		object[places[i]] ^= 0x10;
		put_object(c, 1, object, len);
		object[places[i]] ^= 0x10;
		refuses(c, 1, 2);
		cache_evict_all(c->cache);
		assert_false(file_is_here(c, 1));
	}
	free(object);
}

static void damaged_chunk_is_refused_and_not_cached_and_others_are_read(void **state)
{
	struct cache_fixture *c = *state;
	size_t len;

	put_segment(c, 1, TEST_SLOTS);
	uint8_t *object = get_object(c, 1, &len);
	object[len - 1] ^= 1;
	put_object(c, 1, object, len);
	free(object);
	assert_int_equal(read_chunk(c, 1, 0), 0);
	assert_int_equal(read_chunk(c, 1, TEST_CHUNKS - 1), -EIO);
	assert_int_equal(state_of_chunk(c, 1, TEST_CHUNKS - 1), CHUNK_ABSENT);
	assert_int_equal(read_chunk(c, 1, TEST_CHUNKS - 2), 0);
	assert_int_equal(read_chunk(c, 1, TEST_CHUNKS - 1), -EIO);
	put_segment(c, 1, TEST_SLOTS);
	assert_int_equal(read_chunk(c, 1, TEST_CHUNKS - 1), 0);
}

static void object_cut_short_anywhere_is_refused(void **state)
{
	struct cache_fixture *c = *state;
	struct seal_key plain = { .plain = true };
	struct segment_meta meta;
	size_t len;

	put_segment(c, 1, TEST_SLOTS);
	uint8_t *object = get_object(c, 1, &len);
	assert_int_equal(segment_meta_decode(object, len, &plain, &meta, NULL), 0);
	const uint64_t cuts[] = { 0,
		                  1,
		                  SEGMENT_OBJECT_HEADER - 1,
		                  SEGMENT_OBJECT_HEADER,
		                  meta.table_offset + 1,
		                  meta.chunks_offset - 1,
		                  meta.chunks_offset,
		                  len - 1 };
	for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
		put_object(c, 1, object, cuts[i]);
		refuses(c, 1, TEST_CHUNKS - 1);
		cache_evict_all(c->cache);
		assert_false(file_is_here(c, 1));
	}
	free(object);
}

static void another_object_in_its_place_is_refused(void **state)
{
	struct cache_fixture *c = *state;
	uint8_t header[SEGMENT_OBJECT_HEADER];
	size_t len;

	/* Another number: whole, and as a chunk behind a table that is here. */
	put_segment(c, 2, TEST_SLOTS);
	uint8_t *object = get_object(c, 2, &len);
	put_object(c, 1, object, len);
	refuses(c, 1, 2);
	put_object(c, 1, object, len);
	refuses(c, 1, 3);
	cache_evict_all(c->cache);
	/* Another image, another pool, with every digest right. */
	static const uint32_t places[] = { FORGE_IMAGE, 16 };
	for (unsigned i = 0; i < 2; i++) {
		put_segment(c, 1, TEST_SLOTS);
		free(object);
		object = get_object(c, 1, &len);
		memcpy(header, object, sizeof header);
		header[places[i]] ^= 1;
		struct seal_key plain = { .plain = true };
		struct segment_meta meta;
		struct record *records;
		assert_int_equal(segment_meta_decode(object, len, &plain, &meta, NULL), 0);
		assert_int_equal(segment_meta_open(&meta, object, len, &plain, &records, NULL, NULL), 0);
		uint8_t *index = malloc(meta.record_count * RECORD_BYTES), *forged = malloc(len + CHUNK_BYTES);
		for (uint32_t k = 0; k < meta.record_count; k++)
			record_encode(&records[k], 0, k, index + k * RECORD_BYTES);
		size_t n = forge_object(header, index, meta.record_count * RECORD_BYTES, object + meta.table_offset,
		                        meta.chunks_offset - meta.table_offset, forged);
		assert_true(n > 0);
		memcpy(forged + n, object + meta.chunks_offset, len - meta.chunks_offset);
		put_object(c, 1, forged, n + len - meta.chunks_offset);
		free(records);
		free(index);
		free(forged);
		refuses(c, 1, 2);
		cache_evict_all(c->cache);
	}
	free(object);
}

static void object_that_is_gone_is_an_error_of_reading(void **state)
{
	struct cache_fixture *c = *state;
	char key[STORE_KEY_MAX + 1];

	refuses(c, 1, 0);
	/* And when its table is here. */
	fixture_key(1, key);
	assert_int_equal(store_remove_wait(c->spy.below, key, NULL), 0);
	refuses(c, 1, 1);
}

static void segment_that_is_not_in_the_store_is_an_error_at_once(void **state)
{
	struct cache_fixture *c = *state;
	static struct reading r;

	put_segment(c, 1, TEST_SLOTS);
	atomic_store(&c->in_store, 0);
	reading_begin(c, &r, 1, 0, 0, TEST_GRAIN);
	assert_false(r.later);
	assert_int_equal(reading_end(&r), -EIO);
	assert_int_equal(fixture_gets(c), 0);
	atomic_store(&c->in_store, 1);
	assert_int_equal(read_chunk(c, 1, 0), 0);
}

/* ---- a store that is away ---- */

static void error_of_the_store_is_passed_on_and_the_next_read_asks_again(void **state)
{
	struct cache_fixture *c = *state;
	static const int errors[] = { -ETIMEDOUT, -EIO };

	put_segment(c, 1, TEST_SLOTS);
	for (uint32_t i = 0; i < 2; i++) {
		atomic_store(&c->spy.get_error, errors[i]);
		for (unsigned again = 0; again < 2; again++) {
			unsigned gets = fixture_gets(c);
			assert_int_equal(read_chunk(c, 1, i), errors[i]);
			assert_int_equal(fixture_gets(c), gets + 1);
			assert_int_equal(state_of_chunk(c, 1, i), CHUNK_ABSENT);
		}
		atomic_store(&c->spy.get_error, 0);
		/* The second time round it is the chunk that fails: the table is here. */
		assert_int_equal(read_chunk(c, 1, i), 0);
	}
}

static void everyone_who_waits_for_a_chunk_gets_its_error(void **state)
{
	struct cache_fixture *c = *state;
	static struct reading r[5];

	put_segment(c, 1, TEST_SLOTS);
	assert_int_equal(read_chunk(c, 1, 0), 0);
	spy_hold_gets(&c->spy, true);
	for (unsigned i = 0; i < 5; i++)
		reading_begin(c, &r[i], 1, CHUNK_SLOTS + i, 0, TEST_GRAIN);
	atomic_store(&c->spy.get_error, -ETIMEDOUT);
	spy_hold_gets(&c->spy, false);
	assert_true(spy_let_get_go(&c->spy));
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(reading_end(&r[i]), -ETIMEDOUT);
}

/* ---- the cache disk ---- */

static void chunk_is_served_but_not_kept_when_the_cache_disk_is_full(void **state)
{
	struct cache_fixture *c = *state;

	put_segment(c, 1, TEST_SLOTS);
	/* No room for the file. */
	atomic_store(&c->log.disk.write_error, -ENOSPC);
	for (unsigned again = 0; again < 2; again++) {
		assert_int_equal(read_chunk(c, 1, 0), 0);
		assert_int_equal(state_of_chunk(c, 1, 0), CHUNK_ABSENT);
		assert_false(file_is_here(c, 1));
		assert_int_equal(cache_used(c->cache), 0);
	}
	assert_int_equal(fixture_gets(c), 4);
	atomic_store(&c->log.disk.write_error, 0);
	assert_int_equal(read_chunk(c, 1, 0), 0);
	uint64_t used = cache_used(c->cache);
	/* No room for one more chunk in it. */
	atomic_store(&c->log.disk.write_error, -ENOSPC);
	for (unsigned again = 0; again < 2; again++) {
		assert_int_equal(read_chunk(c, 1, 1), 0);
		assert_int_equal(state_of_chunk(c, 1, 1), CHUNK_ABSENT);
	}
	assert_int_equal(read_chunk_now(c, 1, 0), 0);
	assert_int_equal(cache_used(c->cache), used);
	atomic_store(&c->log.disk.write_error, 0);
	assert_int_equal(read_chunk(c, 1, 1), 0);
	assert_int_equal(read_chunk_now(c, 1, 1), 0);
}

static void damaged_table_of_the_file_is_asked_for_again(void **state)
{
	struct cache_fixture *c = *state;

	put_segment(c, 1, TEST_SLOTS);
	assert_int_equal(read_chunk(c, 1, 0), 0);
	spoil_file(c, 1, c->log.shape.table_offset + 20);
	assert_int_equal(read_chunk(c, 1, 1), 0);
	assert_int_equal(atomic_load(&c->spy.gets_at_0), 2);
	assert_int_equal(read_chunk(c, 1, 2), 0);
	assert_int_equal(atomic_load(&c->spy.gets_at_0), 2);
}

static void file_with_a_damaged_header_is_made_anew(void **state)
{
	struct cache_fixture *c = *state;

	put_segment(c, 1, TEST_SLOTS);
	assert_int_equal(read_chunk(c, 1, 0), 0);
	spoil_file(c, 1, 40);
	cache_fixture_restart(c);
	assert_int_equal(cache_used(c->cache), 0);
	assert_int_equal(read_chunk(c, 1, 0), 0);
	assert_int_equal(read_chunk_now(c, 1, 0), 0);
	assert_int_equal(cache_used(c->cache), c->log.shape.data_offset + CHUNK_BYTES);
	cache_fixture_restart(c);
	assert_int_equal(read_chunk(c, 1, 0), 0);
	assert_int_equal(atomic_load(&c->spy.gets_at_0), 2);
}

static void chunk_that_the_cache_disk_cannot_read_is_fetched_again(void **state)
{
	struct cache_fixture *c = *state;

	put_segment(c, 1, TEST_SLOTS);
	assert_int_equal(read_chunk(c, 1, 0), 0);
	atomic_store(&c->read_error, -EIO);
	unsigned gets = fixture_gets(c);
	assert_int_equal(read_chunk(c, 1, 0), 0);
	assert_int_equal(fixture_gets(c), gets + 1);
	/* Unless the store does not have it: then its bytes must stay for a better day. */
	struct segment *s = segment_pin_known(c->log.set, 1);
	atomic_store(&s->life, LIFE_SEALED);
	assert_int_equal(read_chunk(c, 1, 0), -EIO);
	assert_int_equal(fixture_gets(c), gets + 1);
	atomic_store(&c->read_error, 0);
	assert_int_equal(read_chunk(c, 1, 0), 0);
	atomic_store(&s->life, LIFE_STORED);
	segment_unpin(s);
}

/* ---- runs, and fetching ahead ---- */

static void neighbours_come_in_one_request_and_others_do_not(void **state)
{
	struct cache_fixture *c = *state;
	static struct reading r[5];
	static const uint32_t chunks[] = { 7, 2, 3, 9, 1 };

	put_segment(c, 1, TEST_SLOTS);
	assert_int_equal(read_chunk(c, 1, 15), 0); /* the table is here */
	unsigned gets = fixture_gets(c);
	put_segment(c, 2, TEST_SLOTS);
	spy_hold_gets(&c->spy, true);
	for (unsigned i = 0; i < 5; i++)
		reading_begin(c, &r[i], 2, chunks[i] * CHUNK_SLOTS, 0, CHUNK_BYTES);
	assert_true(spy_let_get_go(&c->spy)); /* the header */
	spy_wait_held_gets(&c->spy, 3);       /* 1 to 3, 7, 9 */
	assert_int_equal(fixture_gets(c), gets + 4);
	spy_hold_gets(&c->spy, false);
	while (spy_let_get_go(&c->spy))
		;
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(reading_end(&r[i]), 0);
}

static void ahead_begin(struct cache_fixture *c, struct reading *r, segment_no_t number, uint32_t chunk, uint32_t count)
{
	sem_init(&r->done, 0, 0);
	fetch_op_begin(&r->op, reading_done);
	fetch_ahead(&c->source, &r->op, number, chunk, count);
	if (fetch_op_end(&r->op))
		sem_post(&r->done);
}

static int ahead_end(struct reading *r)
{
	sem_wait(&r->done);
	sem_destroy(&r->done);
	return atomic_load(&r->op.result);
}

static void what_is_fetched_ahead_is_here_when_it_is_read(void **state)
{
	struct cache_fixture *c = *state;
	static struct reading r;
	static uint8_t buf[TEST_SEGMENT];

	put_segment(c, 1, TEST_SLOTS);
	ahead_begin(c, &r, 1, 0, TEST_CHUNKS);
	assert_int_equal(ahead_end(&r), 0);
	assert_int_equal(fixture_gets(c), 2);
	assert_int_equal(fetch_read_now(&c->source, 1, 0, 0, buf, sizeof buf), 0);
	assert_true(fixture_right(1, 0, 0, buf, sizeof buf));
	/* Once more costs nothing. */
	ahead_begin(c, &r, 1, 0, TEST_CHUNKS);
	assert_int_equal(ahead_end(&r), 0);
	assert_int_equal(fixture_gets(c), 2);
}

static void who_reads_does_not_wait_for_what_is_fetched_ahead_beside_it(void **state)
{
	struct cache_fixture *c = *state;
	static struct reading r, ahead;

	put_segment(c, 1, TEST_SLOTS);
	spy_hold_gets(&c->spy, true);
	reading_begin(c, &r, 1, 4 * CHUNK_SLOTS, 0, CHUNK_BYTES);
	ahead_begin(c, &ahead, 1, 0, TEST_CHUNKS);
	assert_true(spy_let_get_go(&c->spy));
	spy_wait_held_gets(&c->spy, 3); /* 0 to 3, 4, 5 and on */
	unsigned waited = 0, prefetch = 0;
	for (unsigned i = 0; i < 3; i++) {
		bool one = c->spy.held_get[i].len < 2 * CHUNK_BYTES;
		assert_int_equal(!one, !!(c->spy.held_get[i].flags & STORE_PREFETCH));
		waited += one;
		prefetch += !one;
	}
	assert_int_equal(waited, 1);
	assert_int_equal(prefetch, 2);
	spy_hold_gets(&c->spy, false);
	while (spy_let_get_go(&c->spy))
		;
	assert_int_equal(reading_end(&r), 0);
	assert_int_equal(ahead_end(&ahead), 0);
}

static void who_reads_what_is_on_its_way_asks_no_second_time(void **state)
{
	struct cache_fixture *c = *state;
	static struct reading r, ahead;

	put_segment(c, 1, TEST_SLOTS);
	spy_hold_gets(&c->spy, true);
	ahead_begin(c, &ahead, 1, 2, 3);
	assert_true(spy_let_get_go(&c->spy));
	spy_wait_held_gets(&c->spy, 1);
	reading_begin(c, &r, 1, 3 * CHUNK_SLOTS, 0, CHUNK_BYTES);
	assert_int_equal(fixture_gets(c), 2);
	spy_hold_gets(&c->spy, false);
	assert_true(spy_let_get_go(&c->spy));
	assert_int_equal(reading_end(&r), 0);
	assert_int_equal(ahead_end(&ahead), 0);
	assert_int_equal(fixture_gets(c), 2);
}

static void a_damaged_chunk_hurts_none_of_its_run(void **state)
{
	struct cache_fixture *c = *state;
	static struct reading r[3];
	size_t len;

	put_segment(c, 1, TEST_SLOTS);
	uint8_t *object = get_object(c, 1, &len);
	object[len - 1] ^= 1;
	put_object(c, 1, object, len);
	free(object);
	spy_hold_gets(&c->spy, true);
	for (uint32_t i = 0; i < 3; i++)
		reading_begin(c, &r[i], 1, (TEST_CHUNKS - 3 + i) * CHUNK_SLOTS, 0, CHUNK_BYTES);
	spy_hold_gets(&c->spy, false);
	assert_true(spy_let_get_go(&c->spy));
	assert_int_equal(reading_end(&r[0]), 0);
	assert_int_equal(reading_end(&r[1]), 0);
	assert_int_equal(reading_end(&r[2]), -EIO);
	assert_int_equal(fixture_gets(c), 3); /* the damaged one is asked for once more, alone */
	assert_int_equal(state_of_chunk(c, 1, TEST_CHUNKS - 2), CHUNK_PRESENT);
	assert_int_equal(state_of_chunk(c, 1, TEST_CHUNKS - 1), CHUNK_ABSENT);
}

/* `at` is damaged in the first answer, and not in the second. */
static void damage_on_the_way(struct cache_fixture *c, segment_no_t number, size_t at)
{
	static struct reading r;
	size_t len;
	uint8_t *object = get_object(c, number, &len);

	object[at] ^= 1;
	put_object(c, number, object, len);
	object[at] ^= 1;
	spy_hold_gets(&c->spy, true);
	reading_begin(c, &r, number, 0, 0, CHUNK_BYTES);
	spy_wait_held_gets(&c->spy, 1);
	assert_true(spy_let_get_go(&c->spy));
	spy_wait_held_gets(&c->spy, 1);
	put_object(c, number, object, len);
	free(object);
	spy_hold_gets(&c->spy, false);
	assert_true(spy_let_get_go(&c->spy));
	assert_int_equal(reading_end(&r), 0);
}

static void what_came_damaged_once_is_asked_for_again(void **state)
{
	struct cache_fixture *c = *state;
	struct seal_key plain = { .plain = true };
	struct segment_meta meta;
	size_t len;

	put_segment(c, 1, TEST_SLOTS);
	put_segment(c, 2, TEST_SLOTS);
	put_segment(c, 3, TEST_SLOTS);
	uint8_t *object = get_object(c, 1, &len);
	assert_int_equal(segment_meta_decode(object, len, &plain, &meta, NULL), 0);
	free(object);
	damage_on_the_way(c, 1, 40);
	damage_on_the_way(c, 2, meta.table_offset + 5);
	assert_int_equal(read_chunk(c, 3, 5), 0); /* the table is here */
	damage_on_the_way(c, 3, meta.chunks_offset + 100);
}

static int table_of(struct cache_fixture *c, segment_no_t number)
{
	static struct reading r;

	sem_init(&r.done, 0, 0);
	fetch_op_begin(&r.op, reading_done);
	fetch_table(&c->source, &r.op, number);
	if (fetch_op_end(&r.op))
		sem_post(&r.done);
	return ahead_end(&r);
}

static void a_table_that_came_ahead_is_not_asked_for_again(void **state)
{
	struct cache_fixture *c = *state;

	put_segment(c, 1, TEST_SLOTS);
	assert_int_equal(table_of(c, 1), 0);
	assert_int_equal(fixture_gets(c), 1);
	for (uint32_t k = 0; k < TEST_CHUNKS; k++)
		assert_int_equal(state_of_chunk(c, 1, k), CHUNK_ABSENT);
	assert_int_equal(read_chunk(c, 1, 3), 0);
	assert_int_equal(fixture_gets(c), 2);
	assert_int_equal(atomic_load(&c->spy.gets_at_0), 1);
	assert_int_equal(table_of(c, 1), 0);
	assert_int_equal(fixture_gets(c), 2);
	atomic_store(&c->spy.get_error, -ETIMEDOUT);
	put_segment(c, 2, TEST_SLOTS);
	assert_int_equal(table_of(c, 2), -ETIMEDOUT);
	atomic_store(&c->spy.get_error, 0);
	assert_int_equal(read_chunk(c, 2, 0), 0);
}

/* Who reads meanwhile shares the request. */
static void who_reads_while_its_table_comes_ahead_waits_for_that(void **state)
{
	struct cache_fixture *c = *state;
	static struct reading r, table;

	put_segment(c, 1, TEST_SLOTS);
	spy_hold_gets(&c->spy, true);
	sem_init(&table.done, 0, 0);
	fetch_op_begin(&table.op, reading_done);
	fetch_table(&c->source, &table.op, 1);
	assert_false(fetch_op_end(&table.op));
	reading_begin(c, &r, 1, 3 * CHUNK_SLOTS, 0, CHUNK_BYTES);
	assert_int_equal(fixture_gets(c), 1);
	spy_hold_gets(&c->spy, false);
	assert_true(spy_let_get_go(&c->spy));
	assert_int_equal(reading_end(&r), 0);
	assert_int_equal(ahead_end(&table), 0);
	assert_int_equal(fixture_gets(c), 2);
}

static void what_is_on_its_way_is_not_begun_again(void **state)
{
	struct cache_fixture *c = *state;
	static struct reading r, ahead;

	put_segment(c, 1, TEST_SLOTS);
	spy_hold_gets(&c->spy, true);
	reading_begin(c, &r, 1, 3 * CHUNK_SLOTS, 0, CHUNK_BYTES);
	sem_init(&ahead.done, 0, 0);
	fetch_op_begin(&ahead.op, reading_done);
	assert_int_equal(fetch_ahead(&c->source, &ahead.op, 1, 2, 4), 3);
	assert_int_equal(fetch_ahead(&c->source, &ahead.op, 1, 2, 4), 0);
	assert_false(fetch_op_end(&ahead.op));
	spy_hold_gets(&c->spy, false);
	while (spy_let_get_go(&c->spy))
		;
	assert_int_equal(reading_end(&r), 0);
	assert_int_equal(ahead_end(&ahead), 0);
	/* Nor is what is here. */
	fetch_op_begin(&ahead.op, reading_done);
	assert_int_equal(fetch_ahead(&c->source, &ahead.op, 1, 2, 4), 0);
	assert_true(fetch_op_end(&ahead.op));
}

static void what_cannot_be_fetched_ahead_is_an_error_that_reading_does_not_keep(void **state)
{
	struct cache_fixture *c = *state;
	static struct reading r;

	put_segment(c, 1, TEST_SLOTS);
	atomic_store(&c->spy.get_error, -ETIMEDOUT);
	ahead_begin(c, &r, 1, 0, 4);
	assert_int_equal(ahead_end(&r), -ETIMEDOUT);
	atomic_store(&c->spy.get_error, 0);
	assert_int_equal(read_chunk(c, 1, 2), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, cache_fixture_setup, cache_fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(chunk_is_fetched_once_and_then_read_from_the_file),
		T(parts_of_slots_and_of_chunks_are_read_in_their_places),
		T(read_at_once_needs_every_chunk_of_it),
		T(chunk_without_a_needed_slot_is_zeros_and_not_asked_for),
		T(read_past_what_a_chunk_holds_fails_alone),
		T(readers_of_one_chunk_share_one_get),
		T(fetches_of_others_do_without_who_has_its_answer),
		T(segment_of_another_shape_is_read_and_leaves_no_file),
		T(chunks_of_one_segment_get_its_header_once),
		T(one_read_of_many_chunks_is_answered_once_all_are_here),
		T(fetch_that_finds_the_table_here_lets_the_others_go_on),
		T(everyone_is_answered_when_many_threads_read_a_known_file_without_chunks),
		T(those_that_come_after_a_header_was_asked_for_ask_again_when_it_fails),
		T(read_of_many_chunks_ends_with_the_first_header_that_fails),
		T(those_that_wait_for_a_header_that_is_damaged_are_refused),
		T(long_index_is_asked_for_again_as_a_whole),
		T(damaged_header_index_or_table_is_refused_and_nothing_cached),
		T(damaged_chunk_is_refused_and_not_cached_and_others_are_read),
		T(object_cut_short_anywhere_is_refused),
		T(another_object_in_its_place_is_refused),
		T(object_that_is_gone_is_an_error_of_reading),
		T(segment_that_is_not_in_the_store_is_an_error_at_once),
		T(error_of_the_store_is_passed_on_and_the_next_read_asks_again),
		T(everyone_who_waits_for_a_chunk_gets_its_error),
		T(chunk_is_served_but_not_kept_when_the_cache_disk_is_full),
		T(damaged_table_of_the_file_is_asked_for_again),
		T(file_with_a_damaged_header_is_made_anew),
		T(chunk_that_the_cache_disk_cannot_read_is_fetched_again),
		T(neighbours_come_in_one_request_and_others_do_not),
		T(what_is_fetched_ahead_is_here_when_it_is_read),
		T(who_reads_does_not_wait_for_what_is_fetched_ahead_beside_it),
		T(who_reads_what_is_on_its_way_asks_no_second_time),
		T(a_damaged_chunk_hurts_none_of_its_run),
		T(what_came_damaged_once_is_asked_for_again),
		T(a_table_that_came_ahead_is_not_asked_for_again),
		T(who_reads_while_its_table_comes_ahead_waits_for_that),
		T(what_is_on_its_way_is_not_begun_again),
		T(what_cannot_be_fetched_ahead_is_an_error_that_reading_does_not_keep),
	};

	alarm(300);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
