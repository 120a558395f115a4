/* SPDX-License-Identifier: GPL-3.0-only */
/* test_cache.c: how much is in use, that it is no more than the limit, and what never goes: over a real log, upload and store.
 *
 * What the cache counts is compared with the blocks of the files themselves.
 */
#include "cache/cache.h"

#include "lib/cache_fixture.h"
#include "lib/random.h"
#include "log/upload.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define LIMIT ((uint64_t)4 << 20)
#define HEAD ((uint64_t)65536) /* of a file of TEST_SEGMENT: header, index and table */
#define FILE_BYTES (HEAD + TEST_SEGMENT)

struct world {
	struct cache_fixture c; /* first */
	struct upload *upload;
	_Atomic unsigned stored;
};

/* ---- the image's upload ---- */

static void on_stored(void *arg, struct segment *s)
{
	struct world *w = arg;

	cache_segment_stored(w->c.cache, s);
	atomic_fetch_add(&w->stored, 1);
}

static void on_sealed(void *arg, struct segment *s)
{
	must(!upload_segment(((struct world *)arg)->upload, s), "upload_segment");
}

static void on_store_state(void *arg, const struct error *err)
{
	(void)arg;
	(void)err;
}

static void on_failed(void *arg, int error, const char *text)
{
	(void)arg;
	(void)error;
	must(false, text);
}

static void start_upload(struct world *w)
{
	struct upload_options o = {
		.store = &w->c.spy.store,
		.executor = w->c.log.executor,
		.set = w->c.log.set,
		.key = w->c.source.key,
		.epoch = TEST_EPOCH,
		.window = 2,
		.hooks = { .stored = on_stored, .store_state = on_store_state, .failed = on_failed },
		.arg = w
	};

	w->upload = upload_new(&o);
	must(w->upload != NULL, "no upload");
	w->c.log.on_sealed = on_sealed;
	w->c.log.on_sealed_arg = w;
}

static void wait_until_stored(struct world *w, unsigned count)
{
	while (atomic_load(&w->stored) < count)
		usleep(1000);
	executor_drain(w->c.log.executor);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	must(w != NULL, "memory");
	cache_fixture_init(&w->c, LIMIT);
	must(w->c.log.shape.data_offset == HEAD, "the shape has changed");
	*state = w;
	return 0;
}

static void stop(struct world *w)
{
	log_fixture_stop(&w->c.log);
	if (w->upload)
		upload_stop(w->upload);
	upload_free(w->upload);
	w->upload = NULL;
	executor_drain(w->c.log.executor);
}

static int teardown(void **state)
{
	struct world *w = *state;

	stop(w);
	cache_fixture_destroy(&w->c);
	free(w);
	return 0;
}

/* ---- what is really here ---- */

struct real {
	struct world *w;
	uint64_t bytes;
	unsigned files;
};

/* A file of the log is all blocks; of another each chunk that has data counts. */
static int add_real(void *arg, struct segment *s)
{
	struct real *r = arg;
	uint8_t present[TEST_CHUNKS / 8] = { 0 };
	struct segment_file *f = NULL;
	char *path = segment_path(s->set, s->number);
	int rc = segment_file_open(disk_posix(), path, test_pool, TEST_IMAGE, s->number, &f, NULL);

	free(path);
	must(rc == 0 || rc == -ENOENT, "a file is damaged");
	must(s->local == !rc, "the segment does not know whether it has a file");
	if (rc)
		return 0;
	r->files++;
	must(!segment_file_present(f, present), "present");
	if (atomic_load(&s->life) < LIFE_STORED)
		memset(present, 0xff, sizeof present);
	r->bytes += HEAD;
	for (uint32_t i = 0; i < TEST_CHUNKS; i++) {
		bool data = present[i / 8] >> i % 8 & 1;
		r->bytes += data ? CHUNK_BYTES : 0;
		must(data || segment_chunk_state(s, i) == CHUNK_ABSENT, "a chunk is taken for present and is not");
	}
	segment_file_close(f);
	return 0;
}

static unsigned count_files(struct world *w)
{
	DIR *dir = opendir(w->c.log.images);
	unsigned files = 0;

	must(dir != NULL, "opendir");
	while (readdir(dir))
		files++;
	closedir(dir);
	return files - 2;
}

static void assert_used_is_real(struct world *w)
{
	struct real r = { .w = w };

	executor_drain(w->c.log.executor);
	must(!segment_set_each(w->c.log.set, add_real, &r), "each");
	assert_int_equal(cache_used(w->c.cache), r.bytes);
	assert_int_equal(r.files, count_files(w));
}

/* A chunk that is still on its way into its file would stay. */
static void evict_all(struct world *w)
{
	executor_drain(w->c.log.executor);
	cache_evict_all(w->c.cache);
}

/* ---- counting ---- */

static void files_and_chunks_are_counted_once_each(void **state)
{
	struct world *w = *state;

	put_segments(&w->c, 2);
	assert_int_equal(cache_limit(w->c.cache), LIMIT);
	assert_int_equal(cache_used(w->c.cache), 0);
	assert_int_equal(read_chunk(&w->c, 1, 0), 0);
	assert_int_equal(cache_used(w->c.cache), HEAD + CHUNK_BYTES);
	assert_int_equal(read_chunk(&w->c, 1, 0), 0);
	assert_int_equal(read_chunk(&w->c, 1, 5), 0);
	assert_int_equal(read_chunk(&w->c, 2, 5), 0);
	assert_int_equal(cache_used(w->c.cache), 2 * HEAD + 3 * CHUNK_BYTES);
	assert_used_is_real(w);
	cache_fixture_restart(&w->c);
	assert_int_equal(cache_used(w->c.cache), 2 * HEAD + 3 * CHUNK_BYTES);
	evict_all(w);
	assert_int_equal(cache_used(w->c.cache), 0);
	assert_used_is_real(w);
}

static void log_segment_keeps_only_what_it_uses_once_it_is_stored(void **state)
{
	struct world *w = *state;

	start_upload(w);
	cache_fixture_start_log(&w->c, 1);
	spy_hold_puts(&w->c.spy, true);
	write_segment(&w->c, 1, TEST_SLOTS);
	write_segment(&w->c, 2, 2 * CHUNK_SLOTS + 1);
	spy_wait_held(&w->c.spy, 2);
	executor_drain(w->c.log.executor);
	uint64_t before = cache_used(w->c.cache);
	assert_int_equal(before % FILE_BYTES, 0);
	assert_used_is_real(w);
	spy_hold_puts(&w->c.spy, false);
	while (spy_let_go(&w->c.spy, ""))
		;
	wait_until_stored(w, 2);
	assert_int_equal(cache_used(w->c.cache), before - (TEST_CHUNKS - 3) * CHUNK_BYTES);
	assert_used_is_real(w);
	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(read_chunk_now(&w->c, 2, i), 0);
}

/* Also of a segment that does not fill its file. */
static void file_of_a_stored_log_segment_goes_when_all_its_chunks_have(void **state)
{
	struct world *w = *state;

	/* Room enough that nothing goes by itself. */
	cache_free(w->c.cache);
	cache_fixture_new_cache(&w->c, 4 * LIMIT);
	start_upload(w);
	cache_fixture_start_log(&w->c, 1);
	for (segment_no_t n = 1; n <= 6; n++)
		write_segment(&w->c, n, n == 3 ? TEST_SLOTS : (uint32_t)n * 3);
	wait_until_stored(w, 6);
	assert_used_is_real(w);
	evict_all(w);
	for (segment_no_t n = 1; n <= 6; n++)
		assert_false(file_is_here(&w->c, n));
	assert_used_is_real(w);
	/* The full one had no holes: the log gets it again. */
	stop(w);
	assert_int_equal(spare_drop_all(w->c.log.spares), FILE_BYTES);
}

static void file_with_holes_is_not_given_to_the_log(void **state)
{
	struct world *w = *state;

	put_segments(&w->c, 1);
	for (uint32_t i = 0; i < TEST_CHUNKS; i++)
		assert_int_equal(read_chunk(&w->c, 1, i), 0);
	evict_all(w);
	assert_false(file_is_here(&w->c, 1));
	assert_int_equal(spare_drop_all(w->c.log.spares), 0);
}

static void log_segment_that_went_piece_by_piece_is_not_given_to_the_log(void **state)
{
	struct world *w = *state;

	start_upload(w);
	cache_fixture_start_log(&w->c, 1);
	write_segment(&w->c, 1, TEST_SLOTS);
	wait_until_stored(w, 1);
	stop(w);
	(void)spare_drop_all(w->c.log.spares);
	cache_make_room(w->c.cache, LIMIT - cache_used(w->c.cache) + 1);
	assert_true(file_is_here(&w->c, 1));
	assert_used_is_real(w);
	evict_all(w);
	assert_false(file_is_here(&w->c, 1));
	assert_int_equal(spare_drop_all(w->c.log.spares), 0);
}

static void forgetting_a_segment_gives_back_what_it_used(void **state)
{
	struct world *w = *state;

	put_segments(&w->c, 2);
	for (segment_no_t n = 1; n <= 2; n++)
		for (uint32_t i = 0; i < 3; i++)
			assert_int_equal(read_chunk(&w->c, n, i), 0);
	struct segment *s = segment_pin_known(w->c.log.set, 1);
	segment_unpin(s);
	cache_forget_segment(w->c.cache, s);
	assert_int_equal(segment_forget(w->c.log.set, 1), 0);
	assert_int_equal(cache_used(w->c.cache), HEAD + 3 * CHUNK_BYTES);
	assert_used_is_real(w);
	/* Its entries lead nowhere any more. */
	evict_all(w);
	assert_int_equal(cache_used(w->c.cache), 0);
	assert_int_equal(read_chunk(&w->c, 1, 1), 0);
	assert_int_equal(cache_used(w->c.cache), HEAD + CHUNK_BYTES);
}

static void forgetting_a_set_leaves_the_others(void **state)
{
	struct world *w = *state;
	static const uint8_t pool[POOL_UUID_BYTES];
	struct segment_set *far = segment_set_new(&w->c.log.disk.disk, w->c.log.images, pool, 77);
	struct segment *s = segment_pin(far, 1);

	put_segments(&w->c, 1);
	assert_int_equal(read_chunk(&w->c, 1, 1), 0);
	assert_int_equal(segment_set_shape(s, &w->c.log.shape, CHUNK_ABSENT), 0);
	atomic_store(&s->life, LIFE_STORED);
	s->local = true;
	cache_file_made(w->c.cache, s);
	segment_chunk_set(s, 4, CHUNK_PRESENT);
	cache_chunk_filled(w->c.cache, s, 4);
	segment_unpin(s);
	assert_int_equal(cache_used(w->c.cache), 2 * (HEAD + CHUNK_BYTES));
	cache_forget_set(w->c.cache, far);
	segment_set_free(far);
	assert_used_is_real(w);
	assert_int_equal(cache_used(w->c.cache), HEAD + CHUNK_BYTES);
	evict_all(w);
	assert_int_equal(cache_used(w->c.cache), 0);
}

/* A chunk comes back while the bytes of its eviction are still there, since somebody had the segment pinned. */
static void chunk_that_comes_back_before_it_has_left_is_counted_once(void **state)
{
	struct world *w = *state;

	put_segments(&w->c, 1);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(read_chunk(&w->c, 1, i), 0);
	struct segment *s = segment_pin_known(w->c.log.set, 1);
	for (int again = 0; again < 3; again++) {
		evict_all(w);
		assert_int_equal(cache_used(w->c.cache), HEAD + 3 * CHUNK_BYTES);
		assert_int_equal(read_chunk(&w->c, 1, 1), 0);
		assert_int_equal(cache_used(w->c.cache), HEAD + 3 * CHUNK_BYTES);
	}
	segment_unpin(s);
	/* What came back stays, what did not goes now. */
	cache_make_room(w->c.cache, 0);
	assert_int_equal(read_chunk_now(&w->c, 1, 1), 0);
	assert_int_equal(cache_used(w->c.cache), HEAD + CHUNK_BYTES);
	assert_used_is_real(w);
	evict_all(w);
	assert_int_equal(cache_used(w->c.cache), 0);
}

struct comeback {
	struct world *w;
	segment_no_t number;
	unsigned unlinks;
};

/* On the evictor's thread, when it removes the first file of its batch. */
static void read_the_other(void *arg, char change, int fd, uint64_t offset, const char *path)
{
	struct comeback *b = arg;

	(void)fd;
	(void)offset;
	(void)path;
	if (change == 'U' && !b->unlinks++)
		must(!read_chunk(&b->w->c, b->number, 0), "a reader was refused");
}

/* It was chosen, and is fetched again before the evictor comes to its file. */
static void chunk_that_comes_back_before_its_turn_is_not_taken_out(void **state)
{
	struct world *w = *state;

	put_segments(&w->c, 2);
	for (segment_no_t n = 1; n <= 2; n++)
		for (uint32_t i = 0; i < 2; i++)
			assert_int_equal(read_chunk(&w->c, n, i), 0);
	struct segment *one = segment_pin_known(w->c.log.set, 1), *two = segment_pin_known(w->c.log.set, 2);
	segment_unpin(one);
	segment_unpin(two);
	struct comeback b = { w, one < two ? 2 : 1, 0 }; /* they are taken in the order of their addresses */
	/* A chunk that is still on its way into its file would keep that one. */
	executor_drain(w->c.log.executor);
	w->c.log.disk.watch_arg = &b;
	w->c.log.disk.watch = read_the_other;
	/* All four chunks are chosen; with one of them back it is enough all the same. */
	cache_make_room(w->c.cache, LIMIT - (HEAD + CHUNK_BYTES));
	w->c.log.disk.watch = NULL;
	assert_int_equal(b.unlinks, 1);
	assert_int_equal(read_chunk_now(&w->c, b.number, 0), 0);
	assert_used_is_real(w);
	assert_int_equal(cache_used(w->c.cache), HEAD + CHUNK_BYTES);
}

/* The state of things after any sequence of what can happen. */
static void used_never_drifts_whatever_happens(void **state)
{
	struct world *w = *state;
	struct random r = { test_seed() };
	segment_no_t written = 0;
	const unsigned segments = 10;
	unsigned stored = 0;

	start_upload(w);
	cache_fixture_start_log(&w->c, 1);
	for (unsigned step = 0; step < 400; step++) {
		segment_no_t n = written ? 1 + random_below(&r, written) : 0;
		switch (random_below(&r, 12)) {
		case 0:
			cache_evict_all(w->c.cache);
			break;
		case 1:
			cache_make_room(w->c.cache, random_below(&r, LIMIT));
			break;
		case 2:
			if (written < segments) {
				static const uint32_t slots[] = { TEST_SLOTS, 1, CHUNK_SLOTS, 100 };
				write_segment(&w->c, ++written, slots[random_below(&r, 4)]);
				wait_until_stored(w, ++stored);
			}
			break;
		case 3:
			if (n) {
				struct segment *s = segment_pin(w->c.log.set, n);
				segment_unpin(s);
				cache_forget_segment(w->c.cache, s);
				assert_int_equal(segment_forget(w->c.log.set, n), 0);
			}
			break;
		case 4:
			if (n) {
				struct segment *s = segment_pin(w->c.log.set, n);
				uint8_t byte;
				cache_evict_all(w->c.cache);
				(void)fetch_read_wait(&w->c.source, n, 0, 0, &byte, 1);
				segment_unpin(s);
			}
			break;
		default:
			for (uint64_t i = n ? random_below(&r, 20) : 0; i; i--) {
				uint8_t byte;
				uint32_t slot = (uint32_t)random_below(&r, TEST_SLOTS);
				(void)fetch_read_wait(&w->c.source, n, slot, 0, &byte, 1);
			}
		}
		if (step % 8 == 0)
			assert_used_is_real(w);
	}
	cache_make_room(w->c.cache, 0);
	assert_used_is_real(w);
	stop(w);
	cache_evict_all(w->c.cache);
	assert_used_is_real(w);
}

/* ---- the limit ---- */

static void limit_is_kept_while_much_more_is_read(void **state)
{
	struct world *w = *state;

	put_segments(&w->c, 12);
	for (segment_no_t n = 1; n <= 12; n++)
		for (uint32_t i = 0; i < TEST_CHUNKS; i++) {
			assert_int_equal(read_chunk(&w->c, n, i), 0);
			executor_drain(w->c.log.executor);
			assert_true(cache_used(w->c.cache) <= LIMIT);
		}
	/* And it is made use of. */
	assert_true(cache_used(w->c.cache) > LIMIT - 2 * HEAD - 2 * CHUNK_BYTES);
	assert_used_is_real(w);
}

static void limit_is_kept_while_much_more_is_written(void **state)
{
	struct world *w = *state;

	start_upload(w);
	cache_fixture_start_log(&w->c, 1);
	for (segment_no_t n = 1; n <= 40; n++) {
		write_segment(&w->c, n, n % 3 ? CHUNK_SLOTS / 2 : TEST_SLOTS);
		wait_until_stored(w, (unsigned)n);
		cache_make_room(w->c.cache, 0);
		assert_true(cache_used(w->c.cache) <= LIMIT);
	}
	assert_used_is_real(w);
	/* What went is in the store. */
	for (segment_no_t n = 1; n <= 40; n++) {
		static struct reading r;
		reading_begin(&w->c, &r, n, 1, 0, CHUNK_BYTES / 4);
		assert_int_equal(reading_end(&r), 0);
	}
}

static void room_is_made_as_asked(void **state)
{
	struct world *w = *state;

	put_segments(&w->c, 4);
	for (segment_no_t n = 1; n <= 4; n++)
		for (uint32_t i = 0; i < TEST_CHUNKS - 4; i++)
			assert_int_equal(read_chunk(&w->c, n, i), 0);
	executor_drain(w->c.log.executor);
	cache_make_room(w->c.cache, LIMIT / 2);
	assert_in_range(cache_used(w->c.cache), LIMIT / 2 - 2 * HEAD, LIMIT / 2);
	assert_used_is_real(w);
	cache_make_room(w->c.cache, 2 * LIMIT);
	assert_int_equal(cache_used(w->c.cache), 0);
}

static void what_was_here_before_a_restart_counts_against_the_limit(void **state)
{
	struct world *w = *state;

	put_segments(&w->c, 4);
	for (segment_no_t n = 1; n <= 4; n++)
		for (uint32_t i = 0; i < TEST_CHUNKS - 4; i++)
			assert_int_equal(read_chunk(&w->c, n, i), 0);
	cache_fixture_restart(&w->c);
	assert_int_equal(cache_used(w->c.cache), 4 * (HEAD + (TEST_CHUNKS - 4) * CHUNK_BYTES));
	/* The next daemon is given less. */
	executor_drain(w->c.log.executor);
	cache_free(w->c.cache);
	segment_set_free(w->c.log.set);
	w->c.log.set = log_fixture_new_set(&w->c.log);
	assert_int_equal(segment_set_scan(w->c.log.set, NULL), 0);
	cache_fixture_new_cache(&w->c, LIMIT / 2);
	assert_int_equal(segment_set_each(w->c.log.set, fixture_found, w->c.cache), 0);
	executor_drain(w->c.log.executor);
	cache_make_room(w->c.cache, 0);
	assert_in_range(cache_used(w->c.cache), 1, LIMIT / 2);
	assert_used_is_real(w);
}

/* ---- what never goes ---- */

/* Cleaning takes segments away as others come, and nothing is ever evicted: the limit is far. */
static void memory_does_not_grow_with_what_came_and_went(void **state)
{
	struct world *w = *state;
	size_t few = 0;

	for (segment_no_t n = 1; n <= 150; n++) {
		put_segment(&w->c, n, TEST_SLOTS);
		for (uint32_t i = 0; i < TEST_CHUNKS; i++)
			assert_int_equal(read_chunk(&w->c, n, i), 0);
		executor_drain(w->c.log.executor);
		struct segment *used = n == 20 ? segment_pin_known(w->c.log.set, n) : NULL;
		if (n != 10) /* that one stays */
			cache_drop_segments(w->c.cache, w->c.log.set, &n, 1);
		struct segment *s = segment_pin_known(w->c.log.set, n);
		assert_true((s != NULL) == (n == 10 || n == 20));
		if (s)
			segment_unpin(s);
		if (used) {
			segment_unpin(used);
			cache_drop_segments(w->c.cache, w->c.log.set, &n, 1);
			assert_null(segment_pin_known(w->c.log.set, n));
		}
		if (n == 1)
			few = cache_queue_bytes(w->c.cache);
	}
	assert_used_is_real(w);
	assert_true(few > 0);
	assert_int_equal(cache_queue_bytes(w->c.cache), few);
	/* What stayed is still known, and can go. */
	assert_int_equal(cache_used(w->c.cache), FILE_BYTES);
	evict_all(w);
	assert_int_equal(cache_used(w->c.cache), 0);
	assert_used_is_real(w);
}

static void unsent_segments_are_never_evicted(void **state)
{
	struct world *w = *state;
	const unsigned segments = 8;

	start_upload(w);
	cache_fixture_start_log(&w->c, 1);
	spy_hold_puts(&w->c.spy, true);
	atomic_store(&w->c.in_store, 0);
	for (segment_no_t n = 1; n <= segments; n++)
		write_segment(&w->c, n, TEST_SLOTS);
	assert_true(cache_used(w->c.cache) > LIMIT);
	for (int again = 0; again < 2; again++) {
		cache_evict_all(w->c.cache);
		cache_make_room(w->c.cache, LIMIT);
		for (segment_no_t n = 1; n <= segments; n++)
			for (uint32_t i = 0; i < TEST_CHUNKS; i++)
				assert_int_equal(read_chunk_now(&w->c, n, i), 0);
	}
	assert_used_is_real(w);
	/* Segment 2 is in the store and 1 is not: it may not go either. */
	spy_wait_held(&w->c.spy, 2);
	assert_true(spy_let_go(&w->c.spy, "/0000000000000002-"));
	spy_wait_held(&w->c.spy, 2);
	cache_evict_all(w->c.cache);
	assert_int_equal(read_chunk_now(&w->c, 2, 0), 0);
	/* The next daemon finds them as they are: sealed, or in the store. */
	spy_hold_puts(&w->c.spy, false);
	while (spy_let_go(&w->c.spy, ""))
		;
	wait_until_stored(w, segments);
	cache_make_room(w->c.cache, 0);
	assert_true(cache_used(w->c.cache) <= LIMIT);
	assert_int_equal(fixture_gets(&w->c), 0);
	atomic_store(&w->c.in_store, segments);
	for (segment_no_t n = 1; n <= segments; n++)
		assert_int_equal(read_chunk(&w->c, n, 9), 0);
	assert_true(fixture_gets(&w->c) > 0);
}

static void unsent_segments_found_at_start_are_never_evicted(void **state)
{
	struct world *w = *state;

	cache_fixture_start_log(&w->c, 1);
	for (segment_no_t n = 1; n <= 5; n++)
		write_segment(&w->c, n, TEST_SLOTS);
	log_fixture_stop(&w->c.log);
	cache_fixture_restart(&w->c);
	cache_evict_all(w->c.cache);
	for (segment_no_t n = 1; n <= 5; n++)
		for (uint32_t i = 0; i < TEST_CHUNKS; i++)
			assert_int_equal(read_chunk(&w->c, n, i), 0);
	assert_int_equal(fixture_gets(&w->c), 0);
}

static void pinned_segment_keeps_its_bytes_until_it_is_let_go(void **state)
{
	struct world *w = *state;
	static uint8_t buf[CHUNK_BYTES];

	put_segments(&w->c, 2);
	for (segment_no_t n = 1; n <= 2; n++)
		for (uint32_t i = 0; i < 4; i++)
			assert_int_equal(read_chunk(&w->c, n, i), 0);
	struct segment *s = segment_pin_known(w->c.log.set, 1);
	for (int again = 0; again < 3; again++)
		cache_evict_all(w->c.cache);
	assert_false(file_is_here(&w->c, 2));
	assert_int_equal(cache_used(w->c.cache), HEAD + 4 * CHUNK_BYTES);
	/* Who looked at the chunk's state before that may still read. */
	struct segment_file *f = atomic_load(&s->file);
	assert_non_null(f);
	for (uint32_t i = 0; i < 4; i++) {
		assert_int_equal(segment_chunk_state(s, i), CHUNK_ABSENT);
		assert_int_equal(segment_file_read(f, i * CHUNK_SLOTS, 0, buf, sizeof buf), 0);
		assert_true(fixture_right(1, i * CHUNK_SLOTS, 0, buf, sizeof buf));
	}
	segment_unpin(s);
	cache_evict_all(w->c.cache);
	assert_false(file_is_here(&w->c, 1));
	assert_int_equal(cache_used(w->c.cache), 0);
}

static void chunk_on_its_way_keeps_its_file(void **state)
{
	struct world *w = *state;
	static struct reading r;

	put_segments(&w->c, 1);
	assert_int_equal(read_chunk(&w->c, 1, 0), 0);
	spy_hold_gets(&w->c.spy, true);
	reading_begin(&w->c, &r, 1, CHUNK_SLOTS, 0, CHUNK_BYTES);
	cache_evict_all(w->c.cache);
	assert_true(file_is_here(&w->c, 1));
	spy_hold_gets(&w->c.spy, false);
	assert_true(spy_let_get_go(&w->c.spy));
	assert_int_equal(reading_end(&r), 0);
	assert_int_equal(read_chunk_now(&w->c, 1, 1), 0);
	cache_make_room(w->c.cache, 0);
	assert_int_equal(cache_used(w->c.cache), HEAD + CHUNK_BYTES);
	assert_used_is_real(w);
}

/* ---- all at once ---- */

#define CROWD 4

struct crowd {
	struct world *w;
	uint64_t seed;
	_Atomic bool over;
};

static void *read_at_random(void *arg)
{
	struct crowd *crowd = arg;
	struct random r = { crowd->seed ^ (uint64_t)(uintptr_t)&r };
	uint8_t buf[2 * TEST_GRAIN];

	for (unsigned i = 0; i < 3000; i++) {
		segment_no_t n = 1 + random_below(&r, 3);
		uint32_t slot = (uint32_t)random_below(&r, TEST_SLOTS - 2),
			 skip = (uint32_t)random_below(&r, TEST_GRAIN);
		int rc = fetch_read_wait(&crowd->w->c.source, n, slot, skip, buf, sizeof buf);
		must(!rc, "a reader was refused");
		must(fixture_right(n, slot, skip, buf, sizeof buf), "a reader got other bytes");
	}
	return NULL;
}

/* These look at the file whatever chunks are in it. */
static void *read_indexes(void *arg)
{
	struct crowd *crowd = arg;

	while (!atomic_load(&crowd->over)) {
		struct record *records = NULL;
		size_t count = 0;
		must(!fetch_records(&crowd->w->c.source, 1, &records, &count, NULL), "no records");
		must(count == TEST_SLOTS && records[7].value == 7, "other records");
		free(records);
	}
	return NULL;
}

static void *evict_all_the_time(void *arg)
{
	struct crowd *crowd = arg;

	while (!atomic_load(&crowd->over)) {
		cache_evict_all(crowd->w->c.cache);
		usleep(200);
	}
	return NULL;
}

static void readers_get_their_bytes_while_everything_is_evicted(void **state)
{
	struct world *w = *state;
	struct crowd crowd = { .w = w, .seed = test_seed() };
	pthread_t reader[CROWD], evictor, index;

	put_segments(&w->c, 3);
	must(!pthread_create(&evictor, NULL, evict_all_the_time, &crowd), "thread");
	must(!pthread_create(&index, NULL, read_indexes, &crowd), "thread");
	for (unsigned i = 0; i < CROWD; i++)
		must(!pthread_create(&reader[i], NULL, read_at_random, &crowd), "thread");
	for (unsigned i = 0; i < CROWD; i++)
		must(!pthread_join(reader[i], NULL), "join");
	atomic_store(&crowd.over, true);
	must(!pthread_join(evictor, NULL), "join");
	must(!pthread_join(index, NULL), "join");
	assert_true(fixture_gets(&w->c) > 3 * (TEST_CHUNKS + 1)); /* it did evict */
	assert_used_is_real(w);
	/* A chunk whose reader has been answered may still be on its way into the file, which it pins. */
	cache_evict_all(w->c.cache);
	for (unsigned tries = 0; cache_used(w->c.cache) && tries < 5000; tries++) {
		usleep(1000);
		cache_evict_all(w->c.cache);
	}
	assert_int_equal(cache_used(w->c.cache), 0);
	assert_used_is_real(w);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(files_and_chunks_are_counted_once_each),
		T(log_segment_keeps_only_what_it_uses_once_it_is_stored),
		T(file_of_a_stored_log_segment_goes_when_all_its_chunks_have),
		T(file_with_holes_is_not_given_to_the_log),
		T(log_segment_that_went_piece_by_piece_is_not_given_to_the_log),
		T(forgetting_a_segment_gives_back_what_it_used),
		T(forgetting_a_set_leaves_the_others),
		T(chunk_that_comes_back_before_it_has_left_is_counted_once),
		T(chunk_that_comes_back_before_its_turn_is_not_taken_out),
		T(used_never_drifts_whatever_happens),
		T(limit_is_kept_while_much_more_is_read),
		T(limit_is_kept_while_much_more_is_written),
		T(room_is_made_as_asked),
		T(what_was_here_before_a_restart_counts_against_the_limit),
		T(memory_does_not_grow_with_what_came_and_went),
		T(unsent_segments_are_never_evicted),
		T(unsent_segments_found_at_start_are_never_evicted),
		T(pinned_segment_keeps_its_bytes_until_it_is_let_go),
		T(chunk_on_its_way_keeps_its_file),
		T(readers_get_their_bytes_while_everything_is_evicted),
	};

	alarm(300);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
