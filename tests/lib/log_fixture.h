/* SPDX-License-Identifier: GPL-3.0-only */
/* log_fixture.h: one image's log in a directory of its own, on a disk that can fail, with hooks that remember. For tests only:
 * what should not happen ends the program.
 */
#ifndef GARNER_TESTS_LOG_FIXTURE_H
#define GARNER_TESTS_LOG_FIXTURE_H

#include "base/clock.h"
#include "base/crc32c.h"
#include "lib/fault_disk.h"
#include "lib/remove_tree.h"
#include "log/log.h"

#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <unistd.h>

#define TEST_IMAGE 0x1234u
#define TEST_GRAIN 4096u
#define TEST_SEGMENT (1u << 20)
#define TEST_THREADS 3u
#define TEST_STAGES 3
#define TEST_SLOTS (TEST_SEGMENT / TEST_GRAIN)
static const uint8_t test_pool[POOL_UUID_BYTES] = "a pool of tests";

struct log_fixture {
	char dir[200], images[220], spare_dir[220], stage_dir[220];
	struct fault_disk disk;
	struct segment_set *set;
	struct spare_pool *spares;
	struct stage_pool *stages;
	struct executor *executor;
	struct log *log;
	struct segment_shape shape;
	void (*on_complete)(void *arg,
	                    struct segment *s);          /* what to do when a segment may be uploaded; NULL: nothing */
	void (*on_sealed)(void *arg, struct segment *s); /* more to do when a segment is sealed */
	void *on_sealed_arg;                             /* of both */

	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t changed;
	segment_no_t sealed[256];
	unsigned sealed_count, failures, short_of_space, dropped, parked;
	bool parking;
	uint64_t grown;
	int error;
	char text[300];
};

/* Whether logs have stages: their tests run without and with. */
static bool log_fixture_staged;

static inline void must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "fixture: %s\n", what);
	abort();
}

static inline void hook_grown(void *arg, uint64_t bytes)
{
	struct log_fixture *f = arg;

	pthread_mutex_lock(&f->mutex);
	f->grown += bytes;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->mutex);
}

static inline void hook_dropped(void *arg, struct segment *s)
{
	struct log_fixture *f = arg;

	pthread_mutex_lock(&f->mutex);
	f->dropped++;
	f->grown -= s->shape.file_bytes;
	pthread_mutex_unlock(&f->mutex);
}

static inline void hook_need_space(void *arg)
{
	struct log_fixture *f = arg;

	pthread_mutex_lock(&f->mutex);
	f->short_of_space++;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->mutex);
}

static inline void hook_complete(void *arg, struct segment *s)
{
	struct log_fixture *f = arg;

	if (f->on_complete)
		f->on_complete(f->on_sealed_arg, s);
}

static inline void hook_sealed(void *arg, struct segment *s)
{
	struct log_fixture *f = arg;

	pthread_mutex_lock(&f->mutex);
	must(f->sealed_count < 256, "too many segments");
	f->sealed[f->sealed_count++] = s->number;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->mutex);
	if (f->on_sealed)
		f->on_sealed(f->on_sealed_arg, s);
}

static inline void hook_failed(void *arg, int error, const char *text)
{
	struct log_fixture *f = arg;

	pthread_mutex_lock(&f->mutex);
	f->failures++;
	f->error = error;
	snprintf(f->text, sizeof f->text, "%s", text);
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->mutex);
}

static inline struct segment_set *log_fixture_new_set(struct log_fixture *f)
{
	struct segment_set *set = segment_set_new(&f->disk.disk, f->images, test_pool, TEST_IMAGE);

	must(set != NULL, "no set");
	return set;
}

static inline void log_fixture_init(struct log_fixture *f)
{
	const char *base = getenv("TMPDIR");

	memset(f, 0, sizeof *f);
	must(sodium_init() >= 0, "sodium_init");
	snprintf(f->dir, sizeof f->dir, "%.150s/garner-log-XXXXXX", base ? base : "/tmp");
	must(mkdtemp(f->dir) != NULL, "mkdtemp");
	snprintf(f->images, sizeof f->images, "%s/image", f->dir);
	snprintf(f->spare_dir, sizeof f->spare_dir, "%s/spare", f->dir);
	fault_disk_init(&f->disk);
	must(!disk_make_path(disk_posix(), f->images), "mkdir");
	must(!segment_shape(TEST_GRAIN, TEST_SEGMENT, &f->shape), "shape");
	must(!spare_pool_new(&f->disk.disk, f->spare_dir, 2, &f->spares, NULL), "spares");
	if (log_fixture_staged) {
		snprintf(f->stage_dir, sizeof f->stage_dir, "%s/stage", f->dir);
		must(!stage_pool_new(&f->disk.disk, f->stage_dir, TEST_STAGES * f->shape.file_bytes, &f->stages, NULL),
		     "stages");
	}
	f->executor = executor_new("test", TEST_THREADS, false);
	must(f->executor != NULL, "executor");
	pthread_mutex_init(&f->mutex, NULL);
	pthread_cond_init(&f->changed, NULL);
	f->set = log_fixture_new_set(f);
}

static inline struct log_options log_fixture_options(struct log_fixture *f)
{
	return (struct log_options){
		.set = f->set,
		.spares = f->spares,
		.stages = f->stages,
		.executor = f->executor,
		.grain_bytes = TEST_GRAIN,
		.segment_bytes = TEST_SEGMENT,
		.epoch = 1,
		.next = 1,
		.arg = f,
		.hooks = { .grown = hook_grown,
		           .dropped = hook_dropped,
		           .need_space = hook_need_space,
		           .complete = hook_complete,
		           .sealed = hook_sealed,
		           .failed = hook_failed },
	};
}

static inline void log_fixture_start(struct log_fixture *f)
{
	struct log_options o = log_fixture_options(f);

	f->log = log_new(&o);
	must(f->log != NULL, "no log");
}

/* Waits until one of the fixture's counters is `least` or more. */
static inline void log_fixture_wait(struct log_fixture *f, const unsigned *counter, unsigned least)
{
	pthread_mutex_lock(&f->mutex);
	while (*counter < least)
		pthread_cond_wait(&f->changed, &f->mutex);
	pthread_mutex_unlock(&f->mutex);
}

static inline unsigned log_fixture_read(struct log_fixture *f, const unsigned *counter)
{
	pthread_mutex_lock(&f->mutex);
	unsigned n = *counter;
	pthread_mutex_unlock(&f->mutex);
	return n;
}

static inline void park_job(void *arg)
{
	struct log_fixture *f = arg;

	pthread_mutex_lock(&f->mutex);
	f->parked++;
	pthread_cond_broadcast(&f->changed);
	while (f->parking)
		pthread_cond_wait(&f->changed, &f->mutex);
	f->parked--;
	pthread_mutex_unlock(&f->mutex);
}

/* Keeps every thread of the executor busy, so that nothing is sealed and no segment made until log_fixture_unpark(). */
static inline void log_fixture_park(struct log_fixture *f)
{
	f->parking = true;
	for (unsigned i = 0; i < TEST_THREADS; i++)
		must(!executor_run(f->executor, park_job, f), "park");
	log_fixture_wait(f, &f->parked, TEST_THREADS);
}

static inline void log_fixture_unpark(struct log_fixture *f)
{
	pthread_mutex_lock(&f->mutex);
	f->parking = false;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->mutex);
}

/* Ends the log as a shutdown does, or a crash: what is closed is sealed, what is open stays open. */
static inline void log_fixture_stop(struct log_fixture *f)
{
	if (!f->log)
		return;
	log_fixture_unpark(f);
	fault_hold_syncs(&f->disk, false);
	log_drain(f->log);
	log_free(f->log);
	f->log = NULL;
}

static inline void log_fixture_destroy(struct log_fixture *f)
{
	log_fixture_stop(f);
	executor_free(f->executor);
	segment_set_free(f->set);
	spare_pool_free(f->spares);
	stage_pool_free(f->stages);
	fault_disk_destroy(&f->disk);
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->mutex);
	must(!remove_tree(f->dir), "cannot clean up");
}

/* Set-up and tear-down of cmocka tests whose state is the fixture: without a log, with one, and for both. */
static inline int log_fixture_setup(void **state)
{
	struct log_fixture *f = malloc(sizeof *f);

	must(f != NULL, "memory");
	log_fixture_init(f);
	*state = f;
	return 0;
}

static inline int log_fixture_setup_started(void **state)
{
	log_fixture_setup(state);
	log_fixture_start(*state);
	return 0;
}

static inline int log_fixture_teardown(void **state)
{
	log_fixture_destroy(*state);
	free(*state);
	return 0;
}

/* ---- appending ---- */

/* What grain `grain` holds after write number `version`. */
static inline void test_grain(uint64_t grain, uint64_t version, uint8_t out[TEST_GRAIN])
{
	uint64_t x = grain * 0x9e3779b97f4a7c15u + version;

	for (size_t i = 0; i < TEST_GRAIN; i += 8) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		memcpy(out + i, &x, 8);
	}
}

struct room {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool there;
};

static inline void room_wake(void *arg)
{
	struct room *r = arg;

	pthread_mutex_lock(&r->mutex);
	r->there = true;
	pthread_cond_signal(&r->cond);
	pthread_mutex_unlock(&r->mutex);
}

/* log_reserve(), waiting for room. */
static inline int reserve_wait(struct log *l, struct record *records, size_t count, struct log_append *a)
{
	struct room r = { .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };
	int rc;

	while ((rc = log_reserve(l, records, count, a, room_wake, &r)) == -EAGAIN) {
		pthread_mutex_lock(&r.mutex);
		while (!r.there)
			pthread_cond_wait(&r.cond, &r.mutex);
		r.there = false;
		pthread_mutex_unlock(&r.mutex);
	}
	pthread_cond_destroy(&r.cond);
	pthread_mutex_destroy(&r.mutex);
	return rc;
}

/* Appends `count` grains from `first` on, as their version `version`. */
static inline int append_grains(struct log *l, uint64_t first, size_t count, uint64_t version)
{
	struct record records[LOG_APPEND_MAX];
	const void *data[LOG_APPEND_MAX];
	struct log_append a;
	uint8_t *bytes = malloc(count * TEST_GRAIN);

	must(bytes && count <= LOG_APPEND_MAX, "append");
	for (size_t i = 0; i < count; i++) {
		data[i] = bytes + i * TEST_GRAIN;
		test_grain(first + i, version, bytes + i * TEST_GRAIN);
		records[i] = (struct record){ .kind = RECORD_DATA, .value = first + i, .count = 1, .time_ns = 1 };
	}
	int rc = reserve_wait(l, records, count, &a);
	if (!rc) {
		rc = log_fill(l, &a, records, data);
		log_complete(l, &a);
	}
	free(bytes);
	return rc;
}

/* Appends one record without a slot. */
static inline int append_plain(struct log *l, uint8_t kind, uint64_t value, uint32_t count)
{
	struct record r = { .kind = kind, .value = value, .count = count, .time_ns = 1 };
	const void *none = NULL;
	struct log_append a;
	int rc = reserve_wait(l, &r, 1, &a);

	if (!rc) {
		rc = log_fill(l, &a, &r, &none);
		log_complete(l, &a);
	}
	return rc;
}

/* Closes the open segment, and waits until it is sealed. */
static inline segment_no_t seal_now(struct log_fixture *f)
{
	uint8_t digest[DIGEST_BYTES];
	segment_no_t n = log_close_segment(f->log);

	must(n && !log_wait_sealed(f->log, n, digest), "cannot seal");
	return n;
}

/* The header on the disk. */
static inline int header_of(struct log_fixture *f, segment_no_t number, struct segment_header *h)
{
	char *path = segment_path(f->set, number);
	struct segment_file *file = NULL;
	int rc = segment_file_open(disk_posix(), path, test_pool, TEST_IMAGE, number, &file, NULL);

	if (!rc)
		*h = file->header;
	segment_file_close(file);
	free(path);
	return rc;
}

static inline uint64_t test_seed(void)
{
	const char *text = getenv("GARNER_TEST_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : clock_wall_ns();

	printf("seed %llu\n", (unsigned long long)seed);
	return seed;
}

#endif
