/* SPDX-License-Identifier: GPL-3.0-only */
/* test_trace.c: what is read first after an image was opened is kept, and has come before it is asked for on a host that has nothing. */
#include "lib/cold_image.h"
#include "lib/spy_store.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define UNIT ((uint64_t)TRACE_UNIT_BYTES)
#define SIZE (16 * MIB + 100)
#define HOLE (3 * MIB)
#define HOLE_ENDS (4 * MIB)
#define BOTH (IMAGE_READ | IMAGE_WRITE)

/* What a trace says, written out. */
static size_t units_of(const struct trace_run *runs, size_t count, uint32_t *units)
{
	size_t n = 0;

	for (size_t k = 0; k < count; k++)
		for (uint32_t u = 0; u < runs[k].count; u++) {
			assert_true(n < TRACE_UNITS);
			units[n++] = runs[k].first + u;
		}
	return n;
}

static struct cold_image cold;

static int setup(void **state)
{
	(void)state;
	cold_image_init(&cold, true, SIZE, HOLE, HOLE_ENDS);
	cold.f.options.boot_trace = true;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	cold_image_destroy(&cold);
	return 0;
}

static void trace_key_format(char key[STORE_KEY_MAX + 1])
{
	snprintf(key, STORE_KEY_MAX + 1, "images/%016" PRIx64 "/trace", cold.id);
}

/* The stored trace; how many units, or -errno. The engine is open. */
static int stored(uint32_t units[TRACE_UNITS])
{
	struct trace_run *runs;
	struct error err = { 0 };
	size_t count;
	int rc = trace_load(cold.f.engine->pool, cold.id, &runs, &count, &err);

	if (rc)
		return rc;
	count = units_of(runs, count, units);
	free(runs);
	return (int)count;
}

static int stored_count(void)
{
	static uint32_t units[TRACE_UNITS];

	return stored(units);
}

static void remove_stored(void)
{
	char key[STORE_KEY_MAX + 1];
	struct error err = { 0 };

	trace_key_format(key);
	assert_int_equal(store_remove_wait(cold.f.engine->pool->store, key, &err), 0);
}

static void put_bytes(const void *bytes, size_t len)
{
	char key[STORE_KEY_MAX + 1];
	struct error err = { 0 };

	trace_key_format(key);
	assert_int_equal(store_put_wait(cold.f.engine->pool->store, key, bytes, len, 0, &err), 0);
}

/* Puts a trace that somebody else made. */
static void put_trace(const uint32_t *units, size_t count)
{
	struct fields *f = trace_encode(units, count);
	struct seal_key key;
	char name[STORE_KEY_MAX + 1];
	struct error err = { 0 };

	trace_key_format(name);
	image_key(&cold.f.engine->pool->master, cold.id, &key);
	assert_int_equal(pool_put_object(cold.f.engine->pool, name, OBJECT_TRACE, &key, f, 0, &err), 0);
	fields_free(f);
}

/* A boot: pieces here and there, some of them twice, over several units, in parts of units. */
static const struct {
	uint64_t offset, len;
} boot[] = {
	{ 0, 512 },
	{ 4096, 4096 },
	{ 5 * MIB + 3, 300 * KIB },
	{ 2 * MIB, 64 * KIB },
	{ 12 * MIB, 512 * KIB },
	{ 5 * MIB, 64 * KIB },
	{ 3 * MIB + 500 * KIB, 4096 },
	{ MIB, 128 * KIB },
	{ 11 * MIB + 10 * KIB, 100 * KIB },
	{ 16 * MIB - 64 * KIB, 64 * KIB + 100 },
};
#define BOOT_READS (sizeof boot / sizeof boot[0])

/* What a trace of that is. */
static size_t boot_units(uint32_t *units)
{
	size_t count = 0;

	for (size_t k = 0; k < BOOT_READS; k++) {
		uint64_t last = (boot[k].offset + boot[k].len - 1) / UNIT;
		for (uint64_t u = boot[k].offset / UNIT; u <= last; u++) {
			bool known = false;
			for (size_t n = 0; n < count; n++)
				known |= units[n] == u;
			if (!known)
				units[count++] = (uint32_t)u;
		}
	}
	return count;
}

static void do_boot(void)
{
	for (size_t k = 0; k < BOOT_READS; k++)
		assert_true(cold_image_read(&cold, boot[k].offset, boot[k].len));
}

static uint64_t misses(void)
{
	return cold_image_status(&cold).cache_misses;
}

/* As if its time had come. */
static void end_of_time(void)
{
	pthread_mutex_lock(&cold.image->open_mutex);
	atomic_store(&cold.image->trace.listening, false);
	trace_tend(cold.image);
	pthread_mutex_unlock(&cold.image->open_mutex);
}

/* After each test: nothing is open, and there is no trace. */
static int forget(void **state)
{
	(void)state;
	if (cold.image)
		cold_image_close(&cold);
	cold.f.options.boot_trace = false;
	cold.f.options.read_only = false;
	cold_image_open(&cold, 0, IMAGE_READ);
	remove_stored();
	cold_image_close(&cold);
	cold.f.options.boot_trace = true;
	return 0;
}

/* Opens on a host with nothing, boots, closes. */
static void boot_once(unsigned flags)
{
	cold_image_open_new(&cold, 0, flags);
	do_boot();
	cold_image_close(&cold);
}

static void what_was_read_first_is_kept_in_its_order(void **state)
{
	uint32_t units[TRACE_UNITS], wanted[TRACE_UNITS];
	size_t count = boot_units(wanted);

	(void)state;
	boot_once(BOTH);
	cold_image_open_new(&cold, 0, IMAGE_READ);
	assert_int_equal(stored(units), count);
	assert_memory_equal(units, wanted, count * sizeof *units);
}

static void a_later_boot_on_another_host_misses_nothing(void **state)
{
	(void)state;
	boot_once(BOTH);
	cold_image_open_new(&cold, 1, BOTH);
	cold_image_settle(&cold);
	uint64_t chunks = cold_image_chunks_here(&cold);
	assert_int_equal(misses(), 0);
	do_boot();
	assert_int_equal(misses(), 0);
	/* And has not got the rest. */
	assert_int_equal(cold_image_chunks_here(&cold), chunks);
	assert_in_range(chunks, 20, 80);
	assert_true(cold_image_read(&cold, 8 * MIB, 4096));
	assert_int_equal(misses(), 1);
}

static void without_a_trace_all_of_it_is_missed(void **state)
{
	(void)state;
	cold.f.options.boot_trace = false;
	boot_once(BOTH);
	cold_image_open_new(&cold, 1, BOTH);
	assert_int_equal(stored_count(), -ENOENT);
	cold_image_settle(&cold);
	do_boot();
	assert_true(misses() > 5);
}

static void a_trace_is_not_used_where_it_is_not_wanted(void **state)
{
	(void)state;
	boot_once(BOTH);
	cold.f.options.boot_trace = false;
	cold_image_open_new(&cold, 1, BOTH);
	cold_image_settle(&cold);
	do_boot();
	assert_true(misses() > 5);
	cold_image_close(&cold);
	cold_image_open(&cold, 1, IMAGE_READ);
	assert_true(stored_count() > 0);
}

static void it_comes_in_the_order_of_the_trace(void **state)
{
	uint32_t units[64];

	(void)state;
	for (uint32_t k = 0; k < 64; k++)
		units[k] = 64 + k * 89 % 192;
	cold_image_open(&cold, 0, BOTH);
	put_trace(units, 64);
	cold_image_close(&cold);
	/* Where there is no room for all of it, the first ones come. */
	uint64_t cache = cold.f.options.cache_size, dirty = cold.f.options.dirty_limit;
	cold.f.options.cache_size = 4 * MIB;
	cold.f.options.dirty_limit = MIB;
	cold_image_open_new(&cold, 1, BOTH);
	cold_image_settle(&cold);
	cold.f.options.cache_size = cache;
	cold.f.options.dirty_limit = dirty;
	for (unsigned k = 0; k < 64; k++) {
		assert_true(cold_image_read(&cold, units[k] * UNIT, UNIT));
		if (k == 11)
			assert_int_equal(misses(), 0);
	}
	assert_true(misses() > 20);
}

static void reads_before_the_end_of_its_time_count_and_others_do_not(void **state)
{
	uint32_t units[TRACE_UNITS];

	(void)state;
	cold_image_open_new(&cold, 0, BOTH);
	assert_true(cold_image_read(&cold, 0, MIB));
	assert_true(trace_listens(&cold.image->trace));
	end_of_time();
	assert_false(trace_listens(&cold.image->trace));
	assert_null(atomic_load(&cold.image->trace.recording));
	/* It is there at once. */
	assert_int_equal(stored(units), 16);
	assert_true(cold_image_read(&cold, 5 * MIB, MIB));
	cold_image_close(&cold);
	cold_image_open(&cold, 0, IMAGE_READ);
	assert_int_equal(stored(units), 16);
}

static void less_than_a_mebibyte_is_not_kept(void **state)
{
	(void)state;
	cold_image_open_new(&cold, 0, BOTH);
	assert_true(cold_image_read(&cold, 0, 15 * UNIT));
	/* It goes on over a hand-over, as if nobody had come yet. */
	pthread_mutex_lock(&cold.image->open_mutex);
	trace_before_release(cold.image);
	pthread_mutex_unlock(&cold.image->open_mutex);
	assert_true(trace_listens(&cold.image->trace));
	cold_image_close(&cold);
	cold_image_open(&cold, 0, IMAGE_READ);
	assert_int_equal(stored_count(), -ENOENT);
}

static void the_first_gibibyte_is_recorded(void **state)
{
	struct trace *t;
	uint32_t units[TRACE_UNITS];

	(void)state;
	cold_image_open_new(&cold, 0, BOTH);
	t = &cold.image->trace;
	for (uint64_t k = 0; k < TRACE_UNITS / 2; k++)
		trace_note(t, k * UNIT + k, 1);
	trace_note(t, ((uint64_t)TRACE_UNIT_MAX + 1) * UNIT, UINT32_MAX);
	assert_true(trace_listens(t));
	trace_note(t, UINT32_MAX * UNIT, 3 * UNIT);
	trace_note(t, 0, 2 * TRACE_UNITS * UNIT);
	assert_false(trace_listens(t));
	trace_note(t, 5 * TRACE_UNITS * UNIT, UNIT);
	cold_image_close(&cold);
	cold_image_open(&cold, 0, IMAGE_READ);
	assert_int_equal(stored(units), TRACE_UNITS);
	for (uint32_t k = 0; k < TRACE_UNITS; k++)
		assert_int_equal(units[k], k);
}

static void a_whole_session_of_other_reads_replaces_the_trace(void **state)
{
	uint32_t units[TRACE_UNITS];

	(void)state;
	boot_once(BOTH);
	cold_image_open_new(&cold, 0, BOTH);
	assert_true(cold_image_read(&cold, 8 * MIB, 20 * UNIT));
	cold_image_close(&cold);
	cold_image_open(&cold, 0, BOTH);
	assert_int_equal(stored(units), 20);
	assert_int_equal(units[0], 8 * MIB / UNIT);
	/* A part of it, by one who only looked, does not. */
	assert_true(cold_image_read(&cold, 8 * MIB, 17 * UNIT));
	cold_image_close(&cold);
	cold_image_open(&cold, 0, BOTH);
	assert_int_equal(stored(units), 20);
	assert_true(cold_image_read(&cold, 8 * MIB, 17 * UNIT));
	end_of_time();
	assert_int_equal(stored(units), 17);
}

static int take_version(void *arg, const struct store_entry *entry)
{
	*(uint64_t *)arg = entry->version;
	return 0;
}

/* What the store calls the trace that is there. */
static uint64_t version(void)
{
	char key[STORE_KEY_MAX + 1];
	uint64_t v = 0;

	trace_key_format(key);
	assert_int_equal(store_list_each(cold.f.engine->pool->store, key, NULL, take_version, &v, NULL), 0);
	return v;
}

static void the_same_boot_again_puts_nothing(void **state)
{
	uint64_t before;

	(void)state;
	boot_once(BOTH);
	cold_image_open_new(&cold, 0, BOTH);
	before = version();
	assert_true(before);
	do_boot();
	end_of_time();
	assert_null(atomic_load(&cold.image->trace.recording));
	assert_int_equal(version(), before);
	remove_stored();
	assert_int_equal(version(), 0);
}

static void a_reader_uses_a_trace_and_keeps_none(void **state)
{
	(void)state;
	cold_image_open_new(&cold, 1, IMAGE_READ);
	do_boot();
	end_of_time();
	assert_int_equal(stored_count(), -ENOENT);
	cold_image_close(&cold);
	cold.f.options.read_only = true;
	cold_image_open_new(&cold, 1, IMAGE_READ);
	assert_false(trace_listens(&cold.image->trace));
	do_boot();
	cold_image_close(&cold);
	cold.f.options.read_only = false;
	boot_once(BOTH);
	cold.f.options.read_only = true;
	cold_image_open_new(&cold, 1, IMAGE_READ);
	cold_image_settle(&cold);
	do_boot();
	assert_int_equal(misses(), 0);
	cold_image_close(&cold);
	cold.f.options.read_only = false;
}

static void one_who_lost_the_image_keeps_no_trace(void **state)
{
	struct error err = { 0 };
	unsigned host = cold.f.host;
	struct engine *other;

	(void)state;
	cold_image_open_new(&cold, 0, BOTH);
	do_boot();
	image_fixture_lose_cache(&cold.f, 1);
	other = image_fixture_open_beside(&cold.f, 1);
	struct node_attr attr;
	assert_int_equal(engine_lookup(other, NODE_ROOT, COLD_NAME, &attr, &err), 0);
	assert_int_equal(engine_takeover(other, cold.id, &err), 0);
	end_of_time();
	assert_int_equal(stored_count(), -ENOENT);
	assert_true(atomic_load(&cold.image->failed));
	assert_int_equal(engine_close(other, &err), 0);
	cold.f.host = host;
	image_close(cold.image, BOTH);
	cold.image = NULL;
	assert_int_equal(engine_close(cold.f.engine, &err) == 0 || err.code == -EAGAIN, 1);
	cold.f.engine = NULL;
	image_fixture_lose_cache(&cold.f, 0);
}

static void a_damaged_trace_is_passed_over_and_replaced(void **state)
{
	static const uint32_t far[] = { 5, 0xff000000u, 1u << 20, 257, 258 };
	static const char rubbish[] = "what is this, and how did it come to be in a pool?";
	uint8_t *large = calloc(1, OBJECT_BYTES_MAX + 1000);

	(void)state;
	for (unsigned k = 0; k < 4; k++) {
		cold_image_open(&cold, 0, IMAGE_READ);
		if (k == 0)
			put_bytes(rubbish, sizeof rubbish);
		else if (k == 1)
			put_bytes(rubbish, 0);
		else if (k == 2)
			put_bytes(large, OBJECT_BYTES_MAX + 1000);
		else
			put_trace(far, 5); /* units that the image does not have */
		cold_image_close(&cold);
		cold_image_open_new(&cold, 0, BOTH);
		cold_image_settle(&cold);
		assert_true(stored_count() == (k == 3 ? 5 : -EBADMSG));
		assert_false(atomic_load(&cold.image->failed));
		do_boot();
		assert_true(misses() > 3);
		cold_image_close(&cold);
		cold_image_open(&cold, 0, IMAGE_READ);
		assert_true(stored_count() > 10);
		cold_image_close(&cold);
	}
	free(large);
}

static void a_trace_of_a_newer_version_is_left_alone(void **state)
{
	uint8_t newer[200] = "GARNOBJ1\2";

	(void)state;
	cold_image_open(&cold, 0, IMAGE_READ);
	put_bytes(newer, sizeof newer);
	cold_image_close(&cold);
	cold_image_open_new(&cold, 0, BOTH);
	do_boot();
	cold_image_close(&cold);
	cold_image_open(&cold, 0, IMAGE_READ);
	assert_int_equal(stored_count(), -EPROTONOSUPPORT);
}

static void a_warm_cache_needs_no_trace(void **state)
{
	uint64_t gets;

	(void)state;
	boot_once(BOTH);
	cold_image_open(&cold, 0, IMAGE_READ);
	for (uint64_t at = 0; at < SIZE; at += MIB)
		assert_true(cold_image_read(&cold, at, MIB));
	cold_image_close(&cold);
	cold_image_open(&cold, 0, IMAGE_READ);
	gets = cold_image_status(&cold).store_get_bytes;
	cold_image_settle(&cold);
	assert_true(cold_image_read(&cold, 0, MIB));
	assert_int_equal(cold_image_status(&cold).store_get_bytes, gets);
}

/* ---- how much at a time ---- */

#define HELD 512

/* A store that keeps the chunks back that nobody waits for, until it is told. */
struct lazy_store {
	struct spy_store spy;  /* passes everything else on */
	pthread_mutex_t mutex; /* guards what follows */
	bool holds;
	unsigned count;
	uint64_t bytes;
	struct lazy_get {
		char key[STORE_KEY_MAX + 1];
		uint64_t offset;
		void *buf;
		size_t len;
		unsigned flags;
		store_length_fn *done;
		void *arg;
	} get[HELD];
};

static struct lazy_store lazy = {
	.mutex = PTHREAD_MUTEX_INITIALIZER,
};

static void lazy_get(struct store *s, const char *key, uint64_t offset, void *buf, size_t len, unsigned flags,
                     store_length_fn *done, void *arg)
{
	struct lazy_get g = { .offset = offset, .buf = buf, .len = len, .flags = flags, .done = done, .arg = arg };

	(void)s;
	snprintf(g.key, sizeof g.key, "%s", key);
	pthread_mutex_lock(&lazy.mutex);
	/* Headers lie at 0. */
	bool keep = lazy.holds && (flags & STORE_PREFETCH) && offset && lazy.count < HELD;
	if (keep) {
		lazy.get[lazy.count++] = g;
		lazy.bytes += len;
	}
	pthread_mutex_unlock(&lazy.mutex);
	if (!keep)
		store_get(lazy.spy.below, key, offset, buf, len, flags, done, arg);
}

static uint64_t lazy_bytes(void)
{
	pthread_mutex_lock(&lazy.mutex);
	uint64_t bytes = lazy.bytes;
	pthread_mutex_unlock(&lazy.mutex);
	return bytes;
}

/* Gives what was kept back, and keeps nothing more. */
static void lazy_let_go(void)
{
	pthread_mutex_lock(&lazy.mutex);
	lazy.holds = false;
	pthread_mutex_unlock(&lazy.mutex);
	for (unsigned k = 0; k < lazy.count; k++) {
		const struct lazy_get *g = &lazy.get[k];
		store_get(lazy.spy.below, g->key, g->offset, g->buf, g->len, g->flags, g->done, g->arg);
	}
}

/* Opens the image over such a store. */
static void open_lazily(void)
{
	static struct store_ops ops;
	struct pool *p;

	image_fixture_lose_cache(&cold.f, 1);
	image_fixture_open(&cold.f, 1);
	p = cold.f.engine->pool;
	ops = spy_store_ops;
	ops.get = lazy_get;
	spy_store_over(&lazy.spy, p->store);
	lazy.spy.store.ops = &ops;
	lazy.holds = true;
	p->store = &lazy.spy.store;
	cold.flags = BOTH;
	cold.image = image_fixture_open_image(cold.f.engine, COLD_NAME);
}

static void no_more_than_the_window_is_on_its_way_and_readers_need_not_wait_for_it(void **state)
{
	static uint32_t units[TRACE_UNITS];
	const uint32_t count = (uint32_t)(SIZE / UNIT) - 4;
	struct timespec pause = { .tv_nsec = 1000000 };
	unsigned aheads;
	uint64_t bytes;

	(void)state;
	/* All but the first four, in runs of four. */
	for (uint32_t k = 0; k < count; k++)
		units[k] = 4 + k / 4 * 17 % (count / 4) * 4 + k % 4;
	cold_image_open(&cold, 0, IMAGE_READ);
	put_trace(units, count);
	cold_image_close(&cold);
	open_lazily();
	while (lazy_bytes() < TRACE_WINDOW / 2)
		nanosleep(&pause, NULL);
	executor_drain(cold.f.engine->prefetch);
	pthread_mutex_lock(&cold.f.engine->mutex);
	aheads = cold.image->aheads;
	pthread_mutex_unlock(&cold.f.engine->mutex);
	bool right = cold_image_read(&cold, 0, 4 * UNIT);
	bytes = lazy_bytes();
	lazy_let_go();
	/* Its job, and a request for each run, which is four chunks, or five where it begins within one. */
	assert_in_range(aheads, 1 + TRACE_WINDOW / (5 * UNIT), 2 + TRACE_WINDOW / (4 * UNIT));
	assert_in_range(bytes, 1, TRACE_WINDOW + MIB);
	assert_true(right);
	cold_image_settle(&cold);
	uint64_t before = misses();
	for (uint32_t k = 0; k < count; k++)
		assert_true(cold_image_read(&cold, units[k] * UNIT, UNIT));
	assert_int_equal(misses(), before);
	cold.f.engine->pool->store = spy_store_leave(&lazy.spy);
}

static void closing_during_a_replay_ends_in_order(void **state)
{
	static uint32_t units[TRACE_UNITS];

	(void)state;
	for (uint32_t k = 0; k < SIZE / UNIT; k++)
		units[k] = k * 37 % (uint32_t)(SIZE / UNIT);
	cold_image_open(&cold, 0, IMAGE_READ);
	put_trace(units, SIZE / UNIT);
	cold_image_close(&cold);
	for (unsigned k = 0; k < 10; k++) {
		cold_image_open_new(&cold, 1, k % 2 ? BOTH : IMAGE_READ);
		if (k % 3 == 0)
			assert_true(cold_image_read(&cold, k * MIB, MIB));
		cold_image_close(&cold);
	}
	/* More than the window: it is asked for piece by piece. */
	cold_image_open_new(&cold, 1, BOTH);
	cold_image_settle(&cold);
	for (uint32_t k = 0; k < SIZE / UNIT; k++)
		assert_true(cold_image_read(&cold, k * UNIT, UNIT));
	assert_int_equal(misses(), 0);
}

static int is_trace(void *arg, const struct store_entry *entry)
{
	(void)arg;
	return strstr(entry->key, "/trace") != NULL;
}

static void a_deleted_image_leaves_no_trace(void **state)
{
	struct cold_image other = cold;
	struct error err = { 0 };

	(void)state;
	cold_image_init(&cold, false, SIZE, HOLE, HOLE_ENDS);
	cold.f.options.boot_trace = true;
	boot_once(BOTH);
	/* And verifying finds nothing wrong with it. */
	image_fixture_verify(&cold.f);
	cold_image_open_new(&cold, 0, BOTH);
	assert_int_equal(store_list_each(cold.f.engine->pool->store, "images/", NULL, is_trace, NULL, &err), 1);
	do_boot();
	assert_int_equal(engine_unlink(cold.f.engine, NODE_ROOT, COLD_NAME, &err), 0);
	cold_image_close(&cold);
	image_fixture_open(&cold.f, 0);
	assert_int_equal(store_list_each(cold.f.engine->pool->store, "images/", NULL, is_trace, NULL, &err), 0);
	image_fixture_close(&cold.f);
	cold_image_destroy(&cold);
	cold = other;
}

struct noter {
	pthread_t thread;
	unsigned index;
};

static void *note_along(void *arg)
{
	const struct noter *n = arg;

	for (unsigned k = 0; k < 3000; k++)
		trace_note(&cold.image->trace, (k * 3 + n->index) % 5000 * UNIT, 1 + k % (3 * UNIT));
	return NULL;
}

static void threads_record_each_unit_once(void **state)
{
	static uint32_t units[TRACE_UNITS];
	static bool seen[6000];
	struct noter n[4];
	int count;

	(void)state;
	cold_image_open_new(&cold, 0, BOTH);
	for (unsigned k = 0; k < 4; k++) {
		n[k].index = k;
		assert_int_equal(pthread_create(&n[k].thread, NULL, note_along, &n[k]), 0);
	}
	for (unsigned k = 0; k < 4; k++)
		pthread_join(n[k].thread, NULL);
	end_of_time();
	count = stored(units);
	assert_in_range(count, 4900, 5010);
	for (int k = 0; k < count; k++) {
		assert_in_range(units[k], 0, 5009);
		assert_false(seen[units[k]]);
		seen[units[k]] = true;
	}
}

static void a_recording_may_end_while_reads_are_noted(void **state)
{
	struct noter n[4];

	(void)state;
	for (unsigned round = 0; round < 5; round++) {
		cold_image_open_new(&cold, 0, BOTH);
		for (unsigned k = 0; k < 4; k++) {
			n[k].index = k;
			assert_int_equal(pthread_create(&n[k].thread, NULL, note_along, &n[k]), 0);
		}
		end_of_time();
		for (unsigned k = 0; k < 4; k++)
			pthread_join(n[k].thread, NULL);
		assert_null(atomic_load(&cold.image->trace.recording));
		cold_image_close(&cold);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(what_was_read_first_is_kept_in_its_order, forget),
		cmocka_unit_test_teardown(a_later_boot_on_another_host_misses_nothing, forget),
		cmocka_unit_test_teardown(without_a_trace_all_of_it_is_missed, forget),
		cmocka_unit_test_teardown(a_trace_is_not_used_where_it_is_not_wanted, forget),
		cmocka_unit_test_teardown(it_comes_in_the_order_of_the_trace, forget),
		cmocka_unit_test_teardown(reads_before_the_end_of_its_time_count_and_others_do_not, forget),
		cmocka_unit_test_teardown(less_than_a_mebibyte_is_not_kept, forget),
		cmocka_unit_test_teardown(the_first_gibibyte_is_recorded, forget),
		cmocka_unit_test_teardown(a_whole_session_of_other_reads_replaces_the_trace, forget),
		cmocka_unit_test_teardown(the_same_boot_again_puts_nothing, forget),
		cmocka_unit_test_teardown(a_reader_uses_a_trace_and_keeps_none, forget),
		cmocka_unit_test_teardown(one_who_lost_the_image_keeps_no_trace, forget),
		cmocka_unit_test_teardown(a_damaged_trace_is_passed_over_and_replaced, forget),
		cmocka_unit_test_teardown(a_trace_of_a_newer_version_is_left_alone, forget),
		cmocka_unit_test_teardown(a_warm_cache_needs_no_trace, forget),
		cmocka_unit_test_teardown(no_more_than_the_window_is_on_its_way_and_readers_need_not_wait_for_it,
		                          forget),
		cmocka_unit_test_teardown(closing_during_a_replay_ends_in_order, forget),
		cmocka_unit_test_teardown(a_deleted_image_leaves_no_trace, forget),
		cmocka_unit_test_teardown(threads_record_each_unit_once, forget),
		cmocka_unit_test_teardown(a_recording_may_end_while_reads_are_noted, forget),
	};

	report_init("test_trace", REPORT_ERROR);
	return cmocka_run_group_tests(tests, setup, teardown);
}
