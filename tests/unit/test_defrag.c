/* SPDX-License-Identifier: GPL-3.0-only */
/* test_defrag.c: what was written at random and is read in disk order comes to lie in that order, and stays what it is. */
#include "lib/image_fixture.h"
#include "lib/oracle.h"

#include "base/clock.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GRAIN 4096u
#define SIZE ((uint64_t)28 << 20)
#define READ ((uint64_t)128 << 10)
#define PATIENCE_NS seconds_ns(200)

static struct image_fixture f;
static struct error err;
static struct oracle *oracle;
static struct random dice;

static int set_up(void **state)
{
	(void)state;
	dice = (struct random){ env_number("GARNER_TEST_SEED", clock_wall_ns()) };
	print_message("seed %" PRIu64 "\n", dice.state);
	image_fixture_init(&f, true);
	/* Small enough for a scattered image to be fetched many times over. */
	f.options.cache_size = 20u << 20;
	oracle = oracle_new();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	oracle_free(oracle);
	image_fixture_destroy(&f);
	return 0;
}

static void write_some(struct image *i, uint64_t offset, size_t len)
{
	static uint8_t buf[1 << 16];

	random_fill(&dice, buf, len);
	assert_int_equal(write_wait(i, offset, buf, len), len);
	oracle_write(oracle, offset, buf, len);
}

/* Each grain once, in no order, and into the store. */
static void make_scattered(void)
{
	static uint32_t order[SIZE / GRAIN];
	const uint32_t count = SIZE / GRAIN;

	image_fixture_open(&f, 0);
	image_fixture_create(f.engine, "disk");
	struct image *i = image_fixture_open_image(f.engine, "disk");
	for (uint32_t k = 0; k < count; k++)
		order[k] = k;
	for (uint32_t k = count; k-- > 1;) {
		uint32_t other = (uint32_t)random_below(&dice, k + 1), was = order[k];
		order[k] = order[other];
		order[other] = was;
	}
	for (uint32_t k = 0; k < count; k++)
		write_some(i, (uint64_t)order[k] * GRAIN, GRAIN);
	image_fixture_close_image(i);
	image_fixture_close(&f);
}

static struct image *open_cold(unsigned gc_target)
{
	image_fixture_lose_cache(&f, 0);
	f.options.gc_target = gc_target;
	image_fixture_open(&f, 0);
	return image_fixture_open_image(f.engine, "disk");
}

static void close_all(struct image *i)
{
	image_fixture_close_image(i);
	image_fixture_close(&f);
}

static struct engine_status status(void)
{
	struct engine_status st;

	engine_status(f.engine, &st);
	return st;
}

static bool has_ranges(struct image *i)
{
	pthread_mutex_lock(&i->defrag.mutex);
	bool any = i->defrag.count != 0;
	pthread_mutex_unlock(&i->defrag.mutex);
	return any;
}

static void wait_until_done(struct image *i)
{
	uint64_t until = clock_monotonic_ns() + PATIENCE_NS;

	while (has_ranges(i)) {
		assert_true(clock_monotonic_ns() < until);
		usleep(5000);
	}
}

static void check(struct image *i, uint64_t offset, uint64_t len)
{
	static uint8_t is[READ], should[READ];

	assert_int_equal(read_wait(i, offset, is, len), len);
	oracle_read(oracle, offset, should, len);
	assert_memory_equal(is, should, len);
}

/* From begin to end. With `writes` what was just read is written while it is moved. Returns the bytes that were fetched for it. */
static uint64_t read_all(struct image *i, bool writes, bool waits)
{
	uint64_t before = status().store_get_bytes;

	for (uint64_t at = 0; at < SIZE; at += READ) {
		check(i, at, READ);
		for (unsigned k = 0; writes && k < 20; k++)
			write_some(i, at + random_below(&dice, READ - GRAIN), 1 + random_below(&dice, GRAIN));
		if (waits)
			wait_until_done(i);
	}
	return status().store_get_bytes - before;
}

static void what_a_reader_went_through_is_fetched_at_once_by_the_next(void **state)
{
	(void)state;
	make_scattered();
	struct image *i = open_cold(50);
	uint64_t first = read_all(i, false, true), moved = status().moved_bytes;
	close_all(i);
	i = open_cold(50);
	uint64_t second = read_all(i, false, true), again = status().moved_bytes;
	close_all(i);
	print_message("%" PRIu64 " bytes fetched, %" PRIu64 " moved; then %" PRIu64 " and %" PRIu64 "\n", first, moved,
	              second, again);
	/* Not the first few reads, before they are taken for a stream; and of what is evicted meanwhile nothing. */
	assert_true(moved > SIZE / 2 && moved <= SIZE);
	assert_true(second < first / 2);
	assert_true(again < moved / 2);
	image_fixture_verify(&f);
}

static void what_is_written_meanwhile_wins(void **state)
{
	(void)state;
	make_scattered();
	struct image *i = open_cold(50);
	read_all(i, true, false);
	wait_until_done(i);
	assert_true(status().moved_bytes > 0);
	read_all(i, false, false);
	close_all(i);
	i = open_cold(101);
	read_all(i, false, false);
	close_all(i);
	image_fixture_verify(&f);
}

/* Where nobody cleans, and where what is moved would be kept where it was, too. */
static void nothing_is_moved_where_that_is_not_wanted(void **state)
{
	(void)state;
	make_scattered();
	struct image *i = open_cold(101);
	read_all(i, false, true);
	assert_int_equal(status().moved_bytes, 0);
	close_all(i);

	i = open_cold(50);
	assert_int_equal(engine_history_keep(f.engine, i->id, 3600, &err), 0);
	read_all(i, false, true);
	assert_int_equal(status().moved_bytes, 0);
	assert_int_equal(engine_history_keep(f.engine, i->id, 0, &err), 0);
	assert_int_equal(engine_snapshot_create(f.engine, &i->id, 1, "now", &err), 0);
	close_all(i);

	i = open_cold(50);
	read_all(i, false, true);
	assert_int_equal(status().moved_bytes, 0);
	close_all(i);
}

/* What lies in the order of the disk stays where it is. */
static void what_lies_in_order_is_not_moved(void **state)
{
	(void)state;
	image_fixture_open(&f, 0);
	image_fixture_create(f.engine, "disk");
	struct image *i = image_fixture_open_image(f.engine, "disk");
	for (uint64_t at = 0; at < SIZE; at += 1 << 16)
		write_some(i, at, 1 << 16);
	close_all(i);
	i = open_cold(50);
	read_all(i, false, true);
	assert_int_equal(status().moved_bytes, 0);
	close_all(i);
}

static map_entry_t entry_of(struct image *i, grain_no_t grain)
{
	map_entry_t entry;

	assert_int_equal(image_look_up_wait(i, grain, 1, &entry, &err), 0);
	return entry;
}

/* A segment that is as large as can be has so many slots that its last and the first of the next have entries that go on. */
static void what_lies_across_the_end_of_a_segment_is_moved(void **state)
{
	const uint32_t slots = SEGMENT_SLOTS_MAX, part = 64, pair = 30; /* in the middle of a part of its own */
	const uint32_t base = 2 * slots;

	(void)state;
	f.options.segment_size = SEGMENT_BYTES_MAX;
	f.options.cache_size = 1u << 30;
	f.options.dirty_limit = 256u << 20;
	f.options.seal_after_ms = 600000;
	f.options.gc_target = 50;
	image_fixture_open(&f, 0);
	image_fixture_create(f.engine, "disk");
	struct image *i = image_fixture_open_image(f.engine, "disk");
	assert_int_equal(resize_wait(i, (uint64_t)(base + part) * GRAIN), 0);
	/* Of the part every grain but the pair lies in a chunk of its own. */
	grain_no_t last = GRAIN_NONE;
	uint32_t next = 0;
	for (uint32_t k = 0; last == GRAIN_NONE || map_entry_slot(entry_of(i, last)) != slots - 2; k++) {
		assert_true(k < base);
		next += next == pair ? 2 : 0;
		last = k % 32 == 31 && next < part ? base + next++ : k;
		write_some(i, last * GRAIN, GRAIN);
	}
	write_some(i, (uint64_t)(base + pair) * GRAIN, GRAIN);
	write_some(i, (uint64_t)(base + pair + 1) * GRAIN, GRAIN);
	map_entry_t before = entry_of(i, base + pair);
	assert_int_equal(map_entry_slot(before), slots - 1);
	assert_int_equal(entry_of(i, base + pair + 1), before + 1);
	close_all(i);

	/* All of it is here still, and in the store. */
	image_fixture_open(&f, 0);
	i = image_fixture_open_image(f.engine, "disk");
	assert_int_equal(entry_of(i, base + pair), before);
	defrag_note(i, (uint64_t)base * GRAIN, (uint64_t)(base + part) * GRAIN, UINT64_MAX);
	uint64_t until = clock_monotonic_ns() + PATIENCE_NS;
	while (entry_of(i, base + pair) == before || entry_of(i, base + pair + 1) == before + 1) {
		assert_true(clock_monotonic_ns() < until);
		usleep(5000);
	}
	check(i, (uint64_t)base * GRAIN, READ);
	check(i, (uint64_t)base * GRAIN + READ, READ);
	close_all(i);
	image_fixture_verify(&f);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(what_a_reader_went_through_is_fetched_at_once_by_the_next),
		T(what_is_written_meanwhile_wins),
		T(nothing_is_moved_where_that_is_not_wanted),
		T(what_lies_in_order_is_not_moved),
		T(what_lies_across_the_end_of_a_segment_is_moved),
	};

	alarm(600);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
