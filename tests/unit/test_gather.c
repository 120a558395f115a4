/* SPDX-License-Identifier: GPL-3.0-only */
/* test_gather.c: grains from anywhere are moved together: they come to lie together, newer writes win, and nobody waits for long.
 *
 * GARNER_TEST_SEED repeats a run.
 */
#include "lib/image_fixture.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define GRAIN 4096u
#define GRAINS 3000u

static struct image_fixture f;
static struct error err;
static struct random dice;

static int set_up(void **state)
{
	(void)state;
	alarm(300);
	memset(&err, 0, sizeof err);
	dice = (struct random){ env_number("GARNER_TEST_SEED", clock_wall_ns()) };
	print_message("GARNER_TEST_SEED=%" PRIu64 "\n", dice.state);
	image_fixture_init(&f, true);
	image_fixture_open(&f, 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	image_fixture_destroy(&f);
	return 0;
}

/* ---- help --------------------------------------------------------------------------------------------------------- */

/* Grain `g` as it was written the `version`th time. */
static void make_grain(uint64_t g, uint32_t version, uint8_t *buf)
{
	struct random r = { g << 32 | version };

	random_fill(&r, buf, GRAIN);
}

static void write_grain(struct image *i, uint64_t g, uint32_t version)
{
	uint8_t buf[GRAIN];

	make_grain(g, version, buf);
	if (write_wait(i, g * GRAIN, buf, GRAIN) != GRAIN)
		fail_msg("grain %" PRIu64 " cannot be written", g);
}

static bool is_right(struct image *i, uint64_t g, uint32_t version)
{
	uint8_t is[GRAIN], should[GRAIN];

	make_grain(g, version, should);
	return read_wait(i, g * GRAIN, is, GRAIN) == GRAIN && !memcmp(is, should, GRAIN);
}

static void check_grain(struct image *i, uint64_t g, uint32_t version, const char *when)
{
	if (!is_right(i, g, version))
		fail_msg("%s: grain %" PRIu64 " is not what was written the %" PRIu32 "th time", when, g, version);
}

static void check_all(struct image *i, const uint32_t *version, const char *when)
{
	for (uint64_t g = 0; g < GRAINS; g++)
		check_grain(i, g, version[g], when);
}

/* An image of GRAINS grains, all of the version 0. */
static struct image *make_image(void)
{
	image_fixture_create(f.engine, "disk");
	struct image *i = image_fixture_open_image(f.engine, "disk");

	assert_int_equal(resize_wait(i, (uint64_t)GRAINS * GRAIN), 0);
	for (uint64_t g = 0; g < GRAINS; g++)
		write_grain(i, g, 0);
	return i;
}

static map_entry_t entry_of(struct image *i, uint64_t g)
{
	map_entry_t entry;

	assert_int_equal(image_look_up_wait(i, g, 1, &entry, &err), 0);
	return entry;
}

struct batch {
	struct gathered grains[GATHERED_MAX];
	uint8_t bytes[GATHERED_MAX][GRAIN];
	size_t count;
};

static void gather_one(struct batch *b, struct image *i, uint64_t g)
{
	map_entry_t entry = entry_of(i, g);

	assert_int_equal(fetch_read_wait(&i->source, map_entry_segment(entry), map_entry_slot(entry), 0,
	                                 b->bytes[b->count], GRAIN),
	                 0);
	b->grains[b->count] = (struct gathered){ g, entry, b->bytes[b->count] };
	b->count++;
}

/* `count` grains in ascending order: lonely ones, and runs. */
static void gather_some(struct batch *b, struct random *r, struct image *i, size_t count)
{
	uint64_t g = random_below(r, GRAINS / 10);

	for (b->count = 0; b->count < count && g < GRAINS; g += random_once_in(r, 3) ? 1 : 2 + random_below(r, 15))
		gather_one(b, i, g);
}

static size_t move(struct image *i, const struct batch *b, bool anew)
{
	int rc = image_move_gathered(i, b->grains, b->count, anew, &err);

	if (rc < 0)
		fail_msg("%s", error_text(&err));
	return (size_t)rc;
}

/* ---- tests -------------------------------------------------------------------------------------------------------- */

static void what_is_moved_lies_together(void **state)
{
	struct image *i = make_image();
	struct batch *b = malloc(sizeof *b);
	uint32_t version[GRAINS] = { 0 };

	(void)state;
	for (unsigned round = 0; round < 20; round++) {
		uint64_t moved = atomic_load(&f.engine->counters.moved_bytes);
		write_grain(i, 7, ++version[7]); /* there is an open segment */
		gather_some(b, &dice, i, 1 + random_below(&dice, GATHERED_MAX));
		assert_int_equal(move(i, b, true), b->count);
		moved = atomic_load(&f.engine->counters.moved_bytes) - moved;
		assert_int_equal(moved, b->count * GRAIN);
		map_entry_t first = entry_of(i, b->grains[0].grain);
		assert_int_equal(map_entry_slot(first), 0);
		for (size_t k = 0; k < b->count; k++)
			assert_int_equal(entry_of(i, b->grains[k].grain), first + k);
		/* Those after them go on behind them. */
		gather_some(b, &dice, i, 10);
		segment_no_t last = log_position(atomic_load(&i->log)).segment;
		assert_int_equal(move(i, b, false), b->count);
		assert_in_range(map_entry_segment(entry_of(i, b->grains[0].grain)), last, last + 1);
	}
	check_all(i, version, "after moving");
	image_fixture_close_image(i);
	image_fixture_close(&f);
	image_fixture_verify(&f);
	free(b);
}

static void what_was_written_since_it_was_read_stays(void **state)
{
	struct image *i = make_image();
	struct batch *b = malloc(sizeof *b);
	uint32_t version[GRAINS] = { 0 };
	static bool gone[GRAINS];

	(void)state;
	memset(gone, 0, sizeof gone);
	for (unsigned round = 0; round < 20; round++) {
		map_entry_t now[GATHERED_MAX];
		size_t newer = 0;
		gather_some(b, &dice, i, GATHERED_MAX);
		for (size_t k = 0; k < b->count; k++) {
			uint64_t g = b->grains[k].grain;
			if (random_once_in(&dice, 3)) {
				write_grain(i, g, ++version[g]);
				newer++;
			}
			now[k] = entry_of(i, g);
		}
		assert_int_equal(move(i, b, random_once_in(&dice, 2)), b->count - newer);
		for (size_t k = 0; k < b->count; k++)
			if (now[k] != b->grains[k].old)
				assert_int_equal(entry_of(i, b->grains[k].grain), now[k]);
			else
				assert_int_not_equal(entry_of(i, b->grains[k].grain), now[k]);
		/* A second time there is nothing left of them. */
		assert_int_equal(move(i, b, true), 0);
	}
	/* What was discarded stays so. */
	gather_some(b, &dice, i, 100);
	for (size_t k = 0; k < b->count; k++) {
		assert_int_equal(discard_wait(i, b->grains[k].grain * GRAIN, GRAIN), 0);
		gone[b->grains[k].grain] = true;
	}
	assert_int_equal(move(i, b, true), 0);
	for (uint64_t g = 0; g < GRAINS; g++)
		if (gone[g])
			assert_int_equal(entry_of(i, g), MAP_ENTRY_NONE);
		else
			check_grain(i, g, version[g], "at the end");
	image_fixture_close_image(i);
	free(b);
}

struct mover {
	struct image *image;
	struct batch *batch;
	int moved;
};

static void *move_on_a_thread(void *arg)
{
	struct mover *m = arg;

	m->moved = image_move_gathered(m->image, m->batch->grains, m->batch->count, true, &err);
	return NULL;
}

/* Nobody waits with locks held: what is locked by others is passed over, and comes last. */
static void what_somebody_writes_holds_up_none_of_the_others(void **state)
{
	struct mover m = { .image = make_image(), .batch = calloc(1, sizeof *m.batch) };
	struct range_lock one, run;
	pthread_t thread;

	(void)state;
	for (uint64_t g = 100; g < 200; g++)
		gather_one(m.batch, m.image, g < 150 ? g : 10 * g);
	image_lock_grains(m.image, &one, 1600, 1600);
	image_lock_grains(m.image, &run, 149, 149); /* the last one of a run of 50 */
	assert_int_equal(pthread_create(&thread, NULL, move_on_a_thread, &m), 0);
	for (size_t k = 50; k < 100; k++)
		while (k != 60 && entry_of(m.image, m.batch->grains[k].grain) == m.batch->grains[k].old)
			usleep(1000);
	/* They can be written, too, though the move still goes on. */
	write_grain(m.image, 1500, 1);
	write_grain(m.image, 1990, 1);
	assert_int_equal(entry_of(m.image, 1600), m.batch->grains[60].old);
	for (size_t k = 0; k < 50; k++)
		assert_int_equal(entry_of(m.image, 100 + k), m.batch->grains[k].old);
	range_unlock(&m.image->locks, &run);
	range_unlock(&m.image->locks, &one);
	pthread_join(thread, NULL);
	assert_int_equal(m.moved, 100);
	for (uint64_t g = 0; g < GRAINS; g++)
		check_grain(m.image, g, g == 1500 || g == 1990, "after moving");
	image_fixture_close_image(m.image);
	free(m.batch);
}

/* ---- beside those who write ---- */

#define WRITERS 3u

struct writer {
	struct image *image;
	struct random random;
	unsigned number;
	uint32_t version[GRAINS]; /* of those that are its own */
	atomic_bool *stop;
	unsigned failed;
	pthread_t thread;
};

/* Writes runs of its own grains, every WRITERSth chunk of 16. */
static void *write_on(void *arg)
{
	struct writer *w = arg;
	uint8_t buf[4][GRAIN];

	while (!atomic_load(w->stop)) {
		uint64_t chunk = w->number + WRITERS * random_below(&w->random, GRAINS / 16 / WRITERS);
		uint64_t g = chunk * 16 + random_below(&w->random, 12);
		for (unsigned k = 0; k < 4; k++)
			make_grain(g + k, ++w->version[g + k], buf[k]);
		w->failed += write_wait(w->image, g * GRAIN, buf, sizeof buf) != sizeof buf;
		w->failed += !is_right(w->image, g, w->version[g]);
	}
	return NULL;
}

/* Locks everything from its end on, again and again: who waits for that stands in the way of all who come later. */
static void *grow(void *arg)
{
	struct writer *w = arg;
	uint64_t size = (uint64_t)GRAINS * GRAIN;

	while (!atomic_load(w->stop)) {
		uint8_t byte = 1;
		w->failed += resize_wait(w->image, size - 2000 * (uint64_t)GRAIN) != 0;
		w->failed += write_wait(w->image, size - 1, &byte, 1) != 1;
	}
	return NULL;
}

static void guests_and_moves_do_not_disturb_each_other(void **state)
{
	static struct writer writer[WRITERS];
	struct image *i = make_image();
	struct batch *b = malloc(sizeof *b);
	atomic_bool stop = false;
	uint64_t moved = 0, until = clock_monotonic_ns() + seconds_ns(3);

	(void)state;
	for (unsigned k = 0; k < WRITERS; k++) {
		writer[k] = (struct writer){ .image = i, .random = { random_next(&dice) }, .number = k, .stop = &stop };
		assert_int_equal(pthread_create(&writer[k].thread, NULL, write_on, &writer[k]), 0);
	}
	while (clock_monotonic_ns() < until) {
		gather_some(b, &dice, i, GATHERED_MAX);
		moved += move(i, b, random_once_in(&dice, 2));
	}
	atomic_store(&stop, true);
	for (unsigned k = 0; k < WRITERS; k++) {
		pthread_join(writer[k].thread, NULL);
		assert_int_equal(writer[k].failed, 0);
	}
	assert_true(moved > 0);
	for (uint64_t g = 0; g < GRAINS; g++)
		check_grain(i, g, writer[g / 16 % WRITERS].version[g], "after all");

	/* From the store alone. */
	image_fixture_close_image(i);
	image_fixture_close(&f);
	image_fixture_lose_cache(&f, 0);
	image_fixture_verify(&f);
	image_fixture_open(&f, 0);
	i = image_fixture_open_image(f.engine, "disk");
	for (uint64_t g = 0; g < GRAINS; g++)
		check_grain(i, g, writer[g / 16 % WRITERS].version[g], "from the store");
	image_fixture_close_image(i);
	free(b);
}

static void who_locks_all_up_to_the_end_and_moves_do_not_wait_for_each_other(void **state)
{
	static struct writer writer;
	struct batch *b = malloc(sizeof *b);
	struct image *i = make_image();
	atomic_bool stop = false;

	(void)state;
	writer = (struct writer){ .image = i, .stop = &stop };
	assert_int_equal(pthread_create(&writer.thread, NULL, grow, &writer), 0);
	for (unsigned round = 0; round < 300; round++) {
		b->count = 0;
		for (uint64_t g = random_below(&dice, 20); g < GRAINS && b->count < GATHERED_MAX;
		     g += 1 + random_below(&dice, 20)) {
			/* What may be cut off just now cannot be read. */
			if (g < GRAINS - 2000)
				gather_one(b, i, g);
			else
				b->grains[b->count++] = (struct gathered){ g, map_entry(0, 1, 0), b->bytes[0] };
		}
		(void)move(i, b, random_once_in(&dice, 2));
	}
	atomic_store(&stop, true);
	pthread_join(writer.thread, NULL);
	assert_int_equal(writer.failed, 0);
	for (uint64_t g = 0; g < GRAINS - 2000; g++)
		check_grain(i, g, 0, "beside resizing");
	image_fixture_close_image(i);
	free(b);
}

/* ---- a crash ---- */

/* Moves until it is killed. */
static void live_and_die(uint64_t seed, int ready)
{
	struct random r = { seed };
	struct batch *b = malloc(sizeof *b);

	alarm(300);
	image_fixture_open(&f, 0);
	struct image *i = image_fixture_open_image(f.engine, "disk");
	for (unsigned round = 0;; round++) {
		gather_some(b, &r, i, GATHERED_MAX);
		if (round == 2 && write(ready, "", 1) != 1)
			_exit(2);
		(void)move(i, b, random_once_in(&r, 2));
	}
}

static void killed_in_the_middle_of_moves_it_is_what_it_was(void **state)
{
	uint32_t version[GRAINS] = { 0 };
	struct image *i = make_image();

	(void)state;
	image_fixture_close_image(i);
	image_fixture_close(&f);
	for (unsigned round = 0; round < 8; round++) {
		int pipes[2], status;
		char byte;
		assert_int_equal(pipe(pipes), 0);
		pid_t child = fork();
		assert_true(child >= 0);
		if (!child)
			live_and_die(dice.state + round, pipes[1]);
		close(pipes[1]);
		assert_int_equal(read(pipes[0], &byte, 1), 1);
		close(pipes[0]);
		usleep((unsigned)random_below(&dice, 30000));
		kill(child, SIGKILL);
		assert_true(waitpid(child, &status, 0) == child);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		if (random_once_in(&dice, 2))
			image_fixture_lose_db(&f, 0);
		image_fixture_open(&f, 0);
		i = image_fixture_open_image(f.engine, "disk");
		check_all(i, version, "after the crash");
		uint64_t g = random_below(&dice, GRAINS);
		write_grain(i, g, ++version[g]);
		image_fixture_close_image(i);
		image_fixture_close(&f);
		image_fixture_verify(&f);
	}
	image_fixture_lose_cache(&f, 0);
	image_fixture_open(&f, 0);
	i = image_fixture_open_image(f.engine, "disk");
	check_all(i, version, "from the store");
	image_fixture_close_image(i);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(what_is_moved_lies_together),
		T(what_was_written_since_it_was_read_stays),
		T(what_somebody_writes_holds_up_none_of_the_others),
		T(guests_and_moves_do_not_disturb_each_other),
		T(who_locks_all_up_to_the_end_and_moves_do_not_wait_for_each_other),
		T(killed_in_the_middle_of_moves_it_is_what_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
