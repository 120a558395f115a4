/* SPDX-License-Identifier: GPL-3.0-only */
/* test_cache_order.c: which chunks go first: those that were used once, not those that are used again and again. */
#include "cache/cache.h"

#include "lib/cache_fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define LIMIT ((uint64_t)4 << 20)

static int setup(void **state)
{
	return cache_fixture_setup_limited(state, LIMIT);
}

static unsigned count_present(struct cache_fixture *c, segment_no_t number, uint32_t chunks)
{
	unsigned present = 0;

	for (uint32_t i = 0; i < chunks; i++)
		present += state_of_chunk(c, number, i) == CHUNK_PRESENT;
	return present;
}

/* One pass over segments first to last; `piece` bytes a read. */
static void scan(struct cache_fixture *c, segment_no_t first, segment_no_t last, size_t piece)
{
	static uint8_t buf[CHUNK_BYTES];

	for (segment_no_t n = first; n <= last; n++)
		for (uint32_t at = 0; at + piece <= TEST_SEGMENT; at += (uint32_t)piece) {
			must(!fetch_read_wait(&c->source, n, at / TEST_GRAIN, at % TEST_GRAIN, buf, piece), "scan");
			if (at % CHUNK_BYTES == 0)
				executor_drain(c->log.executor);
		}
}

static void chunks_in_use_survive_a_scan_of_much_more_than_the_limit(void **state)
{
	struct cache_fixture *c = *state;

	put_segments(c, 21);
	for (int again = 0; again < 2; again++)
		for (uint32_t i = 0; i < 12; i++)
			assert_int_equal(read_chunk(c, 1, i), 0);
	scan(c, 2, 21, CHUNK_BYTES);
	assert_true(cache_used(c->cache) <= LIMIT);
	assert_int_equal(count_present(c, 1, 12), 12);
	assert_int_equal(count_present(c, 2, TEST_CHUNKS), 0);
	for (uint32_t i = 0; i < 12; i++)
		assert_int_equal(read_chunk_now(c, 1, i), 0);
}

/* The many reads of one pass over a chunk are one use of it. */
static void scan_in_small_pieces_is_a_scan_too(void **state)
{
	struct cache_fixture *c = *state;

	put_segments(c, 21);
	for (int again = 0; again < 2; again++)
		for (uint32_t i = 0; i < 12 * CHUNK_SLOTS; i++) {
			uint8_t buf[TEST_GRAIN];
			assert_int_equal(fetch_read_wait(&c->source, 1, i, 0, buf, sizeof buf), 0);
		}
	scan(c, 2, 11, TEST_GRAIN);
	/* Nor is it another thing when they do not end where chunks do. */
	scan(c, 12, 21, 3 * TEST_GRAIN);
	assert_int_equal(count_present(c, 1, 12), 12);
}

static void chunk_that_was_missed_soon_after_it_went_survives_the_next_scan(void **state)
{
	struct cache_fixture *c = *state;

	put_segments(c, 21);
	assert_int_equal(read_chunk(c, 1, 3), 0);
	scan(c, 2, 7, CHUNK_BYTES);
	assert_int_equal(count_present(c, 1, TEST_CHUNKS), 0);
	assert_int_equal(read_chunk(c, 1, 3), 0);
	assert_int_equal(read_chunk(c, 1, 4), 0);
	scan(c, 8, 21, CHUNK_BYTES);
	assert_int_equal(state_of_chunk(c, 1, 3), CHUNK_PRESENT);
	assert_int_equal(state_of_chunk(c, 1, 4), CHUNK_ABSENT);
}

static void chunks_that_were_in_use_once_go_in_the_end(void **state)
{
	struct cache_fixture *c = *state;

	put_segments(c, 16);
	for (int again = 0; again < 5; again++)
		for (uint32_t i = 0; i < 12; i++)
			assert_int_equal(read_chunk(c, 1, i), 0);
	/* Others are in use now, each for a while, and they are more than there is room for. */
	for (int again = 0; again < 3; again++)
		for (segment_no_t n = 2; n <= 16; n++)
			for (int twice = 0; twice < 2; twice++)
				scan(c, n, n, CHUNK_BYTES);
	assert_int_equal(count_present(c, 1, 12), 0);
	assert_true(cache_used(c->cache) <= LIMIT);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, cache_fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(chunks_in_use_survive_a_scan_of_much_more_than_the_limit),
		T(scan_in_small_pieces_is_a_scan_too),
		T(chunk_that_was_missed_soon_after_it_went_survives_the_next_scan),
		T(chunks_that_were_in_use_once_go_in_the_end),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
