/* SPDX-License-Identifier: GPL-3.0-only */
/* test_readahead.c: who is taken for a sequential reader, how much comes before he asks, and that nothing else does.
 *
 * Readers wait for what is fetched ahead before they go on, so that what is counted does not hang on how fast anything is.
 */
#include "lib/cold_image.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define SIZE (24 * MIB + 5000)
#define HOLE (9 * MIB)
#define HOLE_ENDS (14 * MIB)
#define BOTH (IMAGE_READ | IMAGE_WRITE)
/* Reads that wait before a stream is known. */
#define FIRST 3

static struct cold_image cold;

static int setup(void **state)
{
	(void)state;
	cold_image_init(&cold, true, SIZE, HOLE, HOLE_ENDS);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	cold_image_destroy(&cold);
	return 0;
}

/* After a test that failed. */
static int close_cold(void **state)
{
	(void)state;
	if (cold.image)
		cold_image_close(&cold);
	return 0;
}

/* ---- readers ---- */

static uint64_t misses(void)
{
	return cold_image_status(&cold).cache_misses;
}

static void read_and_settle(uint64_t offset, uint64_t len)
{
	assert_true(cold_image_read(&cold, offset, len));
	cold_image_settle(&cold);
}

static unsigned streams(void)
{
	return atomic_load(&cold.image->readahead.active);
}

static void a_sequential_reader_waits_only_at_the_begin(void **state)
{
	static const uint64_t blocks[] = { 4 * KIB, 10000, 64 * KIB, 100 * KIB, MIB };

	(void)state;
	for (size_t b = 0; b < sizeof blocks / sizeof blocks[0]; b++) {
		cold_image_open_new(&cold, 0, BOTH);
		for (uint64_t at = 0; at < SIZE; at += blocks[b])
			read_and_settle(at, blocks[b]);
		if (misses() > FIRST)
			fail_msg("blocks of %" PRIu64 ": %" PRIu64 " reads had to wait", blocks[b], misses());
		cold_image_close(&cold);
	}
}

static void a_stream_may_begin_anywhere(void **state)
{
	(void)state;
	cold_image_open_new(&cold, 0, BOTH);
	for (uint64_t at = 3 * MIB + 12345; at < SIZE; at += 50000)
		read_and_settle(at, 50000);
	assert_in_range(misses(), 1, FIRST);
	cold_image_close(&cold);
}

static void streams_side_by_side_do_not_disturb_each_other(void **state)
{
	static const uint64_t from[] = { 0, 5 * MIB, 15 * MIB };

	(void)state;
	cold_image_open_new(&cold, 0, BOTH);
	for (uint64_t at = 0; at < 4 * MIB; at += 64 * KIB)
		for (unsigned s = 0; s < 3; s++)
			read_and_settle(from[s] + at, 64 * KIB);
	assert_in_range(misses(), 3, 3 * FIRST);
	cold_image_close(&cold);
}

static void reads_of_a_stream_may_change_places(void **state)
{
	(void)state;
	cold_image_open_new(&cold, 0, BOTH);
	for (uint64_t at = 0; at < SIZE - MIB; at += 128 * KIB)
		for (unsigned k = 4; k--;)
			read_and_settle(at + k * 32 * KIB, 32 * KIB);
	/* They count as they go forward. */
	assert_in_range(misses(), 1, 2 * FIRST + 1);
	cold_image_close(&cold);
}

/* Neither in small steps, which are well within what changes places in a stream, nor in large ones. */
static void a_reader_that_goes_back_is_no_stream(void **state)
{
	static const uint64_t blocks[] = { 4 * KIB, 64 * KIB, MIB };

	(void)state;
	for (size_t b = 0; b < sizeof blocks / sizeof blocks[0]; b++) {
		uint64_t at = HOLE;

		cold_image_open_new(&cold, 0, BOTH);
		cold_image_settle(&cold);
		while (at >= MIB + blocks[b]) {
			at -= blocks[b];
			read_and_settle(at, blocks[b]);
			assert_int_equal(streams(), 0);
		}
		cold_image_close(&cold);
	}
}

static void the_same_read_again_is_no_stream(void **state)
{
	(void)state;
	cold_image_open_new(&cold, 0, BOTH);
	for (unsigned k = 0; k < 20; k++) {
		read_and_settle(5 * MIB, 100 * KIB);
		cache_evict_all(cold.f.engine->cache);
	}
	assert_int_equal(misses(), 20);
	assert_int_equal(streams(), 0);
	cold_image_close(&cold);
}

/* As after a while. */
static void forget_patches(void)
{
	struct readahead *r = &cold.image->readahead;

	pthread_mutex_lock(&r->mutex);
	memset(r->patch, 0, sizeof r->patch);
	pthread_mutex_unlock(&r->mutex);
}

static void random_reads_get_their_chunks_and_no_others(void **state)
{
	uint64_t before, reads = 0;

	(void)state;
	cold_image_open_new(&cold, 0, BOTH);
	/* The map's nodes are in chunks, too, and come first: of a part that is read later, which has chunks of its own. */
	for (uint64_t at = 0; at < 24 * MIB; at += 2 * MIB) {
		read_and_settle(at + 900 * KIB, 4 * KIB);
		read_and_settle((at + 11 * MIB) % (24 * MIB) + 900 * KIB, 4 * KIB);
	}
	before = cold_image_chunks_here(&cold);
	for (uint64_t part = 0; part < 4; part++) {
		forget_patches();
		for (uint64_t k = 0; k < 12; k++) {
			uint64_t at = k * 7 % 12 * 2 * MIB + part % 2 * MIB + part / 2 * 400 * KIB;
			if (at < HOLE || at >= HOLE_ENDS)
				reads++;
			read_and_settle(at - at % (4 * KIB), 4 * KIB);
		}
	}
	assert_int_equal(streams(), 0);
	assert_in_range(cold_image_chunks_here(&cold), before + 1, before + reads);
	cold_image_close(&cold);
}

/* A guest that loads a program: here and there, but near. */
static void who_jumps_about_in_one_place_has_all_of_it_come(void **state)
{
	static const uint64_t jumps[] = { 700 * KIB, 60 * KIB, 1900 * KIB, 1200 * KIB, 330 * KIB };
	struct engine_status began;

	(void)state;
	for (uint64_t place = 0; place < HOLE - MIB; place += 4 * MIB) {
		cold_image_open_new(&cold, 0, BOTH);
		for (unsigned k = 0; k < 2; k++) {
			usleep(10000); /* not at once */
			read_and_settle(place + jumps[k], 4 * KIB);
		}
		began = cold_image_status(&cold);
		for (unsigned k = 2; k < 5; k++)
			read_and_settle(place + jumps[k], 4 * KIB);
		assert_int_equal(cold_image_status(&cold).cache_misses, began.cache_misses);
		assert_int_equal(streams(), 0);
		/* And no more than that. */
		read_and_settle(place + 3 * MIB, 4 * KIB);
		assert_int_equal(cold_image_status(&cold).cache_misses, began.cache_misses + 1);
		cold_image_close(&cold);
	}
}

static void holes_are_passed_and_what_is_behind_them_has_come(void **state)
{
	uint64_t before;

	(void)state;
	cold_image_open_new(&cold, 0, BOTH);
	for (uint64_t at = HOLE - 2 * MIB; at < HOLE; at += 64 * KIB)
		read_and_settle(at, 64 * KIB);
	before = misses();
	assert_in_range(before, 1, FIRST);
	for (uint64_t at = HOLE; at < HOLE_ENDS + 3 * MIB; at += 64 * KIB)
		read_and_settle(at, 64 * KIB);
	assert_int_equal(misses(), before);
	cold_image_close(&cold);
}

static void a_stream_ends_with_the_image(void **state)
{
	(void)state;
	cold_image_open_new(&cold, 0, BOTH);
	for (uint64_t at = SIZE - 600 * KIB; at < SIZE; at += 10 * KIB)
		read_and_settle(at, 10 * KIB);
	assert_in_range(misses(), 1, FIRST);
	assert_int_equal(read_wait(cold.image, SIZE, &(uint8_t){ 0 }, 1), 0);
	cold_image_settle(&cold);
	assert_in_range(cold_image_chunks_here(&cold), 1, 60);
	cold_image_close(&cold);
}

static void a_stream_over_what_is_here_ceases_to_listen(void **state)
{
	(void)state;
	cold_image_open_new(&cold, 0, BOTH);
	for (uint64_t at = 0; at < SIZE; at += 256 * KIB)
		read_and_settle(at, 256 * KIB);
	/* At the end of the image there was nothing more to be had. */
	assert_int_equal(streams(), 0);
	assert_false(readahead_listens(&cold.image->readahead));
	for (uint64_t at = 0; at < SIZE; at += 256 * KIB)
		read_and_settle(at, 256 * KIB);
	assert_int_equal(streams(), 0);
	cold_image_close(&cold);
}

/* What is fetched ahead must be there when its reader comes. */
/* How many of the grains of [begin, end) lie in segments of which the table is here, and in chunks that are. */
static void count_here(uint64_t begin, uint64_t end, unsigned *tables, unsigned *chunks)
{
	struct image *i = cold.image;

	*tables = *chunks = 0;
	for (uint64_t at = begin; at < end; at += i->grain_bytes) {
		map_entry_t entry;
		assert_int_equal(image_look_up_wait(i, at / i->grain_bytes, 1, &entry, NULL), 0);
		struct segment *s = segment_pin_known(i->set, map_entry_segment(entry));
		uint32_t chunk = (uint32_t)((uint64_t)map_entry_slot(entry) * i->grain_bytes / CHUNK_BYTES);
		*tables += s && atomic_load(&s->chunk);
		*chunks += s && atomic_load(&s->chunk) && segment_chunk_state(s, chunk) == CHUNK_PRESENT;
		if (s)
			segment_unpin(s);
	}
}

static void the_way_is_known_for_twice_the_window(void **state)
{
	unsigned tables, chunks;

	(void)state;
	cold_image_open_new(&cold, 0, BOTH);
	for (unsigned k = 0; k < FIRST; k++)
		read_and_settle(k * 64 * KIB, 64 * KIB);
	uint64_t next = FIRST * 64 * KIB, window = cold.image->readahead.stream[0].window;
	assert_in_range(window, MIB, 3 * MIB);
	count_here(next, next + window, &tables, &chunks);
	assert_int_equal(chunks, tables);
	assert_int_equal(tables, window / cold.image->grain_bytes);
	count_here(next + window, next + 2 * window, &tables, &chunks);
	assert_int_equal(tables, window / cold.image->grain_bytes);
	assert_in_range(chunks, 0, tables - 1);
	cold_image_close(&cold);
}

static void a_window_is_but_a_small_part_of_the_cache(void **state)
{
	uint64_t size = cold.f.options.cache_size, dirty = cold.f.options.dirty_limit, gets;

	(void)state;
	cold.f.options.cache_size = 8 * MIB;
	cold.f.options.dirty_limit = 4 * MIB;
	cold_image_open_new(&cold, 0, BOTH);
	for (unsigned pass = 0; pass < 2; pass++)
		for (uint64_t at = 0; at < SIZE; at += 32 * KIB) {
			assert_true(cold_image_read(&cold, at, 32 * KIB));
			/* As if all came late. */
			readahead_note(cold.image, at, 32 * KIB, true);
		}
	for (unsigned s = 0; s < READAHEAD_STREAMS; s++)
		assert_true(cold.image->readahead.stream[s].window <= 256 * KIB);
	cold_image_settle(&cold);
	gets = cold_image_status(&cold).store_get_bytes;
	/* Segments' headers and map nodes are a part of it. */
	assert_true(gets < 2 * SIZE + 8 * MIB);
	cold_image_close(&cold);
	cold.f.options.cache_size = size;
	cold.f.options.dirty_limit = dirty;
}

/* ---- readahead_fetch() ---- */

struct fetched {
	_Atomic uint64_t asked;
	_Atomic unsigned calls;
	_Atomic int result;
};

static void on_fetched(void *arg, uint64_t asked, uint64_t at, int result)
{
	struct fetched *f = arg;

	(void)at;
	atomic_store(&f->asked, asked);
	atomic_store(&f->result, result);
	atomic_fetch_add(&f->calls, 1);
}

static uint64_t fetch_wait(uint64_t *at, uint64_t end, uint64_t room, int *result)
{
	struct fetched f = { 0 };
	struct timespec pause = { .tv_nsec = 50000 };
	uint64_t asked;

	assert_int_equal(readahead_fetch(cold.image, at, end, room, &asked, on_fetched, &f), 0);
	while (!atomic_load(&f.calls))
		nanosleep(&pause, NULL);
	assert_int_equal(atomic_load(&f.asked), asked);
	*result = atomic_load(&f.result);
	return asked;
}

static void no_more_is_asked_for_than_there_is_room(void **state)
{
	static const uint64_t rooms[] = { 1, 64 * KIB, 100 * KIB, MIB, 64 * MIB };

	(void)state;
	for (size_t r = 0; r < sizeof rooms / sizeof rooms[0]; r++) {
		uint64_t at = MIB, whole = (rooms[r] + CHUNK_BYTES - 1) / CHUNK_BYTES * CHUNK_BYTES;
		int result;

		cold_image_open_new(&cold, 0, BOTH);
		while (at < HOLE) {
			uint64_t began = at, asked = fetch_wait(&at, HOLE, rooms[r], &result);
			assert_true(asked <= whole);
			assert_true(at > began);
			assert_int_equal(result, 0);
		}
		assert_int_equal(at, HOLE);
		for (at = MIB; at < HOLE; at += MIB)
			assert_true(cold_image_read(&cold, at, MIB));
		assert_int_equal(misses(), 0);
		/* It is all here. */
		at = MIB;
		assert_int_equal(fetch_wait(&at, HOLE, MIB, &result), 0);
		assert_int_equal(at, HOLE);
		cold_image_close(&cold);
	}
}

static void fetching_past_the_end_is_nothing(void **state)
{
	uint64_t at = SIZE + MIB;
	int result;

	(void)state;
	cold_image_open_new(&cold, 0, BOTH);
	assert_int_equal(fetch_wait(&at, SIZE + 2 * MIB, MIB, &result), 0);
	at = SIZE - 1;
	assert_int_equal(fetch_wait(&at, SIZE + 2 * MIB, MIB, &result), CHUNK_BYTES);
	assert_true(at >= SIZE);
	cold_image_close(&cold);
}

/* ---- beginning and end ---- */

static void closing_while_much_is_on_its_way_ends_in_order(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 12; k++) {
		cold_image_open_new(&cold, 0, k % 2 ? BOTH : IMAGE_READ);
		for (uint64_t at = 0; at < (3 + k % 3) * MIB; at += MIB)
			assert_true(cold_image_read(&cold, at, MIB));
		cold_image_close(&cold);
	}
	image_fixture_verify(&cold.f);
}

static void one_who_holds_an_image_is_alone_with_it(void **state)
{
	(void)state;
	cold_image_open_new(&cold, 0, BOTH);
	for (uint64_t at = 0; at < 4 * MIB; at += MIB)
		assert_true(cold_image_read(&cold, at, MIB));
	readahead_hold(cold.image);
	readahead_hold(cold.image);
	assert_int_equal(cold.image->aheads, 0);
	assert_false(readahead_begin(cold.image));
	/* Reads go on. */
	assert_true(cold_image_read(&cold, 5 * MIB, MIB));
	readahead_resume(cold.image);
	assert_false(readahead_begin(cold.image));
	readahead_resume(cold.image);
	assert_true(readahead_begin(cold.image));
	readahead_end(cold.image);
	cold_image_close(&cold);
}

static void an_image_can_be_taken_over_while_it_is_fetched(void **state)
{
	struct error err = { 0 };

	(void)state;
	for (unsigned k = 0; k < 5; k++) {
		cold_image_open_new(&cold, 0, IMAGE_READ);
		for (uint64_t at = 0; at < 4 * MIB; at += MIB)
			assert_true(cold_image_read(&cold, at, MIB));
		image_close(cold.image, IMAGE_READ);
		int rc = engine_takeover(cold.f.engine, cold.id, &err);
		/* The maintenance thread has a reference now and then. */
		if (rc != -EBUSY)
			assert_int_equal(rc, 0);
		assert_int_equal(image_open(cold.f.engine, cold.id, BOTH, &cold.image, &err), 0);
		cold.flags = BOTH;
		assert_true(cold_image_read(&cold, 4 * MIB, MIB));
		cold_image_close(&cold);
	}
}

static int damage(void *arg, const struct store_entry *entry)
{
	struct store *s = cold.f.engine->pool->store;
	unsigned *number = arg;
	struct error err = { 0 };

	if (*number == 5)
		assert_int_equal(store_put_wait(s, entry->key, "rubbish", 7, 0, &err), 0);
	if (*number == 6)
		assert_int_equal(store_remove_wait(s, entry->key, &err), 0);
	(*number)++;
	return 0;
}

static void damaged_and_missing_segments_disturb_nothing_else(void **state)
{
	struct cold_image other;
	unsigned number = 0, bad = 0, good = 0;
	char prefix[STORE_KEY_MAX + 1];
	struct error err = { 0 };

	(void)state;
	/* One of its own, as it is spoilt. */
	other = cold;
	cold_image_init(&cold, false, SIZE, HOLE, HOLE_ENDS);
	cold_image_open_new(&cold, 0, BOTH);
	snprintf(prefix, sizeof prefix, "images/%016" PRIx64 "/segments/", cold.id);
	assert_int_equal(store_list_each(cold.f.engine->pool->store, prefix, NULL, damage, &number, &err), 0);
	assert_true(number > 10);
	for (uint64_t at = 0; at < SIZE; at += 64 * KIB) {
		uint8_t *buf = malloc(64 * KIB);
		int64_t rc = read_wait(cold.image, at, buf, 64 * KIB);

		cold_image_settle(&cold);
		bad += rc < 0;
		if (rc < 0)
			assert_int_equal(rc, -EIO);
		else
			assert_true(cold_image_read(&cold, at, 64 * KIB));
		good += rc >= 0;
		free(buf);
	}
	/* Two segments of 1 MiB. */
	assert_in_range(bad, 16, 34);
	assert_in_range(misses(), bad, bad + 40);
	assert_true(good > 300);
	cold_image_close(&cold);
	cold_image_destroy(&cold);
	cold = other;
}

/* ---- several at once ---- */

struct reader {
	pthread_t thread;
	unsigned index;
	bool right;
};

static void *read_along(void *arg)
{
	struct reader *r = arg;
	struct random random = { r->index + 1 };

	r->right = true;
	for (uint64_t at = 0; r->right && at < 6 * MIB; at += 48 * KIB)
		r->right = cold_image_read(&cold, r->index * 4 * MIB + at, 48 * KIB);
	for (unsigned k = 0; r->right && k < 100; k++)
		r->right = cold_image_read(&cold, random_below(&random, SIZE), 1 + random_below(&random, 100 * KIB));
	return NULL;
}

static void many_readers_find_what_was_written(void **state)
{
	uint64_t size = cold.f.options.cache_size, dirty = cold.f.options.dirty_limit;

	(void)state;
	for (unsigned k = 0; k < 3; k++) {
		struct reader r[5];

		/* In a small cache chunks leave while others come. */
		cold.f.options.cache_size = k ? 8 * MIB : size;
		cold.f.options.dirty_limit = k ? 4 * MIB : dirty;
		cold_image_open_new(&cold, 0, BOTH);
		for (unsigned n = 0; n < 5; n++) {
			r[n] = (struct reader){ .index = n };
			assert_int_equal(pthread_create(&r[n].thread, NULL, read_along, &r[n]), 0);
		}
		for (unsigned n = 0; n < 5; n++) {
			pthread_join(r[n].thread, NULL);
			assert_true(r[n].right);
		}
		cold_image_close(&cold);
	}
	cold.f.options.cache_size = size;
	cold.f.options.dirty_limit = dirty;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_sequential_reader_waits_only_at_the_begin, close_cold),
		cmocka_unit_test_teardown(a_stream_may_begin_anywhere, close_cold),
		cmocka_unit_test_teardown(streams_side_by_side_do_not_disturb_each_other, close_cold),
		cmocka_unit_test_teardown(reads_of_a_stream_may_change_places, close_cold),
		cmocka_unit_test_teardown(a_reader_that_goes_back_is_no_stream, close_cold),
		cmocka_unit_test_teardown(the_same_read_again_is_no_stream, close_cold),
		cmocka_unit_test_teardown(random_reads_get_their_chunks_and_no_others, close_cold),
		cmocka_unit_test_teardown(who_jumps_about_in_one_place_has_all_of_it_come, close_cold),
		cmocka_unit_test_teardown(holes_are_passed_and_what_is_behind_them_has_come, close_cold),
		cmocka_unit_test_teardown(a_stream_ends_with_the_image, close_cold),
		cmocka_unit_test_teardown(a_stream_over_what_is_here_ceases_to_listen, close_cold),
		cmocka_unit_test_teardown(the_way_is_known_for_twice_the_window, close_cold),
		cmocka_unit_test_teardown(a_window_is_but_a_small_part_of_the_cache, close_cold),
		cmocka_unit_test_teardown(no_more_is_asked_for_than_there_is_room, close_cold),
		cmocka_unit_test_teardown(fetching_past_the_end_is_nothing, close_cold),
		cmocka_unit_test_teardown(closing_while_much_is_on_its_way_ends_in_order, close_cold),
		cmocka_unit_test_teardown(one_who_holds_an_image_is_alone_with_it, close_cold),
		cmocka_unit_test_teardown(an_image_can_be_taken_over_while_it_is_fetched, close_cold),
		cmocka_unit_test_teardown(damaged_and_missing_segments_disturb_nothing_else, close_cold),
		cmocka_unit_test_teardown(many_readers_find_what_was_written, close_cold),
	};

	report_init("test_readahead", REPORT_ERROR);
	return cmocka_run_group_tests(tests, setup, teardown);
}
