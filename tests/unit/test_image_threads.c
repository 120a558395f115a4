/* SPDX-License-Identifier: GPL-3.0-only */
/* test_image_threads.c: several guests' threads on one image at once, while it is saved, checkpointed and evicted; ended in order,
 * killed in the middle, and killed after writes that overlapped.
 *
 * Each thread owns cells of the disk that begin and end anywhere, so that neighbours share grains. GARNER_TEST_SEED repeats one
 * run as far as threads can; GARNER_TEST_ROUNDS: how many runs (3); GARNER_TEST_SCALE: steps in percent (100).
 */
#include "lib/image_fixture.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define THREADS 5
#define MIB ((size_t)1 << 20)
#define DISK (20 * MIB)
#define CELLS_MAX 2000

/* What a parent knows of a child that was killed. */
struct shared {
	uint8_t done[DISK];    /* what the image holds for sure, but for ... */
	uint8_t next[DISK];    /* what is being written: bytes that differ may be either */
	_Atomic uint64_t size; /* the image is at least so large */
	_Atomic bool worked;   /* the threads have ended */
};

struct run {
	struct image_fixture f;
	struct shared *shared;
	struct image *image;
	uint64_t id, seed;
	struct random r;
	uint64_t cell[CELLS_MAX + 1]; /* where each begins; belongs to thread number % THREADS */
	unsigned cells, steps;
	bool overlap;
	_Atomic unsigned working;
};

struct worker {
	struct run *run;
	unsigned index;
	struct random r;
	pthread_t thread;
	uint8_t *buf;
};

/* Assertions of cmocka may not fail on other threads, nor in a child. */
static void die(const struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));
static void die(const struct run *run, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "seed %" PRIu64 ": ", run->seed);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

/* ---- the threads of guests ---- */

/* A range within a cell of this thread's, or of anybody's. */
static void any_range(struct worker *w, uint64_t *offset, size_t *len)
{
	struct run *run = w->run;
	uint64_t c = random_below(&w->r, run->cells), grain = run->image->grain_bytes;

	if (!run->overlap)
		c = c - c % THREADS + w->index < run->cells ? c - c % THREADS + w->index : w->index;
	uint64_t begin = run->cell[c], end = run->cell[c + 1], to;
	/* Where writes overlap, whole grains decide who was last; what is in a cell begins at one. */
	*offset = begin + random_below(&w->r, end - begin);
	if (random_once_in(&w->r, 2) && *offset - *offset % grain >= begin)
		*offset -= *offset % grain;
	to = *offset + 1 + random_below(&w->r, end - *offset);
	if (random_once_in(&w->r, 2) && to - to % grain > *offset)
		to -= to % grain;
	*len = (size_t)(to - *offset);
}

static void check_own(struct worker *w, uint64_t offset, size_t len)
{
	struct run *run = w->run;
	int64_t got = read_wait(run->image, offset, w->buf, len);

	if (got < 0 || (uint64_t)got > len)
		die(run, "reading %zu at %" PRIu64 " answered %" PRId64, len, offset, got);
	memset(w->buf + got, 0, len - (size_t)got);
	for (size_t k = 0; !run->overlap && k < len; k++)
		if (w->buf[k] != run->shared->done[offset + k])
			die(run,
			    "thread %u: byte %" PRIu64 " (of a read of %zu at %" PRIu64 ", grain %u) is %02x, not %02x",
			    w->index, offset + k, len, offset, run->image->grain_bytes, w->buf[k],
			    run->shared->done[offset + k]);
}

static void change_own(struct worker *w, uint64_t offset, size_t len, uint64_t what)
{
	struct run *run = w->run;
	int64_t got, want = what < 70 ? (int64_t)len : 0;
	uint64_t size = atomic_load(&run->shared->size);

	memset(w->buf, 0, len);
	if (what < 60)
		random_fill(&w->r, w->buf, len);
	if (!run->overlap)
		memcpy(run->shared->next + offset, w->buf, len);
	if (what < 70)
		got = write_wait(run->image, offset, w->buf, len);
	else
		got = discard_wait(run->image, offset, len);
	if (got != want)
		die(run, "changing %zu at %" PRIu64 " answered %" PRId64, len, offset, got);
	if (!run->overlap)
		memcpy(run->shared->done + offset, w->buf, len);
	while (what < 70 && size < offset + len &&
	       !atomic_compare_exchange_weak(&run->shared->size, &size, offset + len))
		;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct run *run = w->run;

	for (unsigned k = 0; k < run->steps; k++) {
		uint64_t offset, what = random_below(&w->r, 100);
		size_t len;
		int64_t rc = 0;

		any_range(w, &offset, &len);
		if (what < 80)
			change_own(w, offset, len, what);
		else if (what < 96)
			check_own(w, offset, len);
		else
			rc = flush_wait(run->image, what == 99 ? IMAGE_FLUSH_REMOTE : IMAGE_FLUSH_LOCAL);
		if (rc)
			die(run, "a flush answered %" PRId64, rc);
	}
	atomic_fetch_sub(&run->working, 1);
	return NULL;
}

/* ---- all at once ---- */

/* What the engine does now and then, all the time. */
static void meddle(struct run *run)
{
	struct timespec pause = { .tv_nsec = (long)random_below(&run->r, 30) * 1000000 };

	switch (random_below(&run->r, 4)) {
	case 0:
		if (save_now(run->image, false))
			die(run, "saving failed");
		break;
	case 1:
		if (save_now(run->image, true))
			die(run, "a checkpoint failed");
		break;
	case 2:
		cache_evict_all(run->f.engine->cache);
		break;
	default:
		nanosleep(&pause, NULL);
		break;
	}
}

static void all_work(struct run *run)
{
	struct worker worker[THREADS];

	atomic_store(&run->working, THREADS);
	for (unsigned k = 0; k < THREADS; k++) {
		worker[k] =
			(struct worker){ .run = run, .index = k, .r = { random_next(&run->r) }, .buf = malloc(DISK) };
		if (!worker[k].buf || pthread_create(&worker[k].thread, NULL, work, &worker[k]))
			die(run, "cannot make a thread");
	}
	while (atomic_load(&run->working))
		meddle(run);
	for (unsigned k = 0; k < THREADS; k++) {
		pthread_join(worker[k].thread, NULL);
		free(worker[k].buf);
	}
}

/* Cuts the disk into cells: many small ones, a few large ones. */
static void cut_cells(struct run *run)
{
	uint64_t at = 0;

	for (run->cells = 0; at < DISK && run->cells < CELLS_MAX; run->cells++) {
		run->cell[run->cells] = at;
		at += 1 + random_below(&run->r, random_once_in(&run->r, 10) ? 2 * MIB : 100000);
	}
	run->cell[run->cells] = at < DISK ? at : DISK;
}

static void open_again(struct run *run)
{
	static const uint32_t segment[] = { 1u << 20, 1u << 20, 2u << 20 };
	struct engine_options *o = &run->f.options;

	o->segment_size = segment[random_below(&run->r, 3)];
	o->cache_size = (4 + random_below(&run->r, 2) * 8) * o->segment_size;
	o->dirty_limit = o->cache_size / 2;
	o->seal_after_ms = 50 + random_below(&run->r, 150);
	o->uploads = 1 + (unsigned)random_below(&run->r, 4);
	image_fixture_open(&run->f, 0);
}

static void open_image(struct run *run)
{
	run->image = image_fixture_open_image(run->f.engine, "disk");
}

static void close_all(struct run *run)
{
	image_fixture_close_image(run->image);
	image_fixture_close(&run->f);
}

/* Every byte is what was answered, or what was being written; from now on it is what it is. `exactly`: so is the size. */
static void check_image(struct run *run, const char *when, bool exactly)
{
	struct shared *s = run->shared;
	uint8_t *buf = calloc(1, DISK);
	struct node_attr attr;

	assert_non_null(buf);
	int64_t got = read_wait(run->image, 0, buf, DISK);
	image_stat(run->image, &attr);
	if (got < 0 || (uint64_t)got != attr.size || attr.size < s->size || (exactly && attr.size != s->size))
		die(run, "%s: reading answered %" PRId64 "; the size is %" PRIu64 ", and should be %" PRIu64, when, got,
		    attr.size, s->size);
	for (size_t k = 0; k < DISK; k++)
		if (buf[k] != s->done[k] && buf[k] != s->next[k])
			die(run, "%s: byte %zu (grain %u) is %02x, not %02x%s", when, k, run->image->grain_bytes,
			    buf[k], s->done[k], s->done[k] == s->next[k] ? "" : " nor what was being written");
	memcpy(s->done, buf, DISK);
	memcpy(s->next, buf, DISK);
	s->size = attr.size;
	free(buf);
}

/* ---- ends ---- */

static void end_in_order(struct run *run)
{
	open_again(run);
	open_image(run);
	all_work(run);
	check_image(run, "before closing", true);
	close_all(run);
	if (random_once_in(&run->r, 3))
		image_fixture_lose_cache(&run->f, 0);
	open_again(run);
	open_image(run);
	check_image(run, "after closing", true);
	close_all(run);
}

static pid_t begin_child(struct run *run)
{
	atomic_store(&run->shared->worked, false);
	pid_t child = fork();

	if (child < 0)
		die(run, "cannot fork");
	if (child)
		return child;
	open_again(run);
	open_image(run);
	all_work(run);
	atomic_store(&run->shared->worked, true);
	return 0;
}

static void wait_killed(struct run *run, pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		die(run, "the child ended with status %x", (unsigned)status);
}

static void check_recovered(struct run *run, const char *when, bool exactly)
{
	if (random_once_in(&run->r, 2))
		image_fixture_lose_db(&run->f, 0);
	open_again(run);
	open_image(run);
	check_image(run, when, exactly);
	close_all(run);
}

/* Killed while it saves, seals and uploads what all threads have written. While they write, an answered write may go with an earlier
 * one that was not answered yet, and nothing could be said. */
static void end_killed(struct run *run)
{
	struct timespec pause = { .tv_nsec = (long)random_below(&run->r, 300) * 1000000 },
			look = { .tv_nsec = 1000000 };
	pid_t child = begin_child(run);

	if (!child)
		for (;;)
			meddle(run);
	while (!atomic_load(&run->shared->worked) && waitpid(child, NULL, WNOHANG) == 0)
		nanosleep(&look, NULL);
	nanosleep(&pause, NULL);
	kill(child, SIGKILL);
	wait_killed(run, child);
	check_recovered(run, "after a kill", false);
}

/* Of writes that overlapped, recovery lets the same ones win that won while running. */
static void end_killed_after_overlaps(struct run *run)
{
	run->overlap = true;
	pid_t child = begin_child(run);
	if (!child) {
		struct node_attr attr;
		memset(run->shared->done, 0, DISK);
		int64_t got = read_wait(run->image, 0, run->shared->done, DISK);
		image_stat(run->image, &attr);
		if (got != (int64_t)attr.size)
			die(run, "reading all answered %" PRId64, got);
		memcpy(run->shared->next, run->shared->done, DISK);
		run->shared->size = attr.size;
		kill(getpid(), SIGKILL);
	}
	wait_killed(run, child);
	run->overlap = false;
	check_recovered(run, "after a kill that followed overlapping writes", true);
}

static void one_run(uint64_t seed, unsigned steps)
{
	static const uint32_t grain[] = { 4096, 16384, 65536 };
	struct run *run = calloc(1, sizeof *run);

	assert_non_null(run);
	run->seed = seed;
	run->r.state = seed;
	run->steps = steps;
	run->shared = mmap(NULL, sizeof *run->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(run->shared != MAP_FAILED);
	cut_cells(run);
	image_fixture_init(&run->f, random_once_in(&run->r, 2));
	run->f.options.grain_size = grain[random_below(&run->r, 3)];
	open_again(run);
	run->id = image_fixture_create(run->f.engine, "disk");
	image_fixture_close(&run->f);
	end_in_order(run);
	end_killed(run);
	end_killed_after_overlaps(run);
	end_killed(run);
	end_in_order(run);
	image_fixture_destroy(&run->f);
	munmap(run->shared, sizeof *run->shared);
	free(run);
}

static void threads_find_what_they_wrote_and_so_does_recovery(void **state)
{
	uint64_t seed = env_number("GARNER_TEST_SEED", 0), rounds = env_number("GARNER_TEST_ROUNDS", seed ? 1 : 3);
	unsigned steps = (unsigned)(60 * env_number("GARNER_TEST_SCALE", 100) / 100);

	(void)state;
	for (uint64_t k = 0; k < rounds; k++) {
		uint64_t s = seed ? seed + k : clock_wall_ns() % 1000000000 + 1;
		printf("GARNER_TEST_SEED=%" PRIu64 "\n", s);
		fflush(stdout);
		one_run(s, steps ? steps : 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_find_what_they_wrote_and_so_does_recovery),
	};

	report_init("test_image_threads", REPORT_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
