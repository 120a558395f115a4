/* SPDX-License-Identifier: GPL-3.0-only */
/* cache_fixture.h: the cache of one image over the directories of log_fixture.h and a store that spies; segments put into that
 * store, read through the cache, and compared. For tests only: what should not happen ends the program.
 */
#ifndef GARNER_TESTS_CACHE_FIXTURE_H
#define GARNER_TESTS_CACHE_FIXTURE_H

#include "cache/cache.h"
#include "cache/fetch.h"
#include "lib/log_fixture.h"
#include "lib/spy_store.h"
#include "log/segment_object.h"

#include <fcntl.h>
#include <semaphore.h>
#include <sys/stat.h>

#define TEST_EPOCH 3u
#define TEST_CHUNKS (TEST_SEGMENT / CHUNK_BYTES)
#define CHUNK_SLOTS (CHUNK_BYTES / TEST_GRAIN)

struct cache_fixture {
	struct log_fixture log; /* first: hooks of its log get it */
	char store_dir[220];
	struct spy_store spy;
	struct cache *cache;
	struct fetch_source source;
	_Atomic segment_no_t in_store; /* of later ones epoch_of says 0 */

	/* Reads of the cache disk; set while nobody reads. A read at `hold_reads_at` of a file waits while it is not 0 ... */
	struct disk_ops disk_ops;
	_Atomic uint64_t hold_reads_at;
	_Atomic int read_error; /* while not 0, reads of slots fail with this -errno */
	sem_t read_held, read_goes;
};

static inline uint64_t fixture_epoch_of(void *arg, segment_no_t number)
{
	struct cache_fixture *c = arg;

	return number <= atomic_load(&c->in_store) ? TEST_EPOCH : 0;
}

static inline ssize_t fixture_pread(struct disk *d, int fd, void *buf, size_t len, uint64_t offset)
{
	struct cache_fixture *c = (struct cache_fixture *)((char *)d - offsetof(struct cache_fixture, log.disk.disk));
	uint64_t here = offset;

	if (offset && atomic_compare_exchange_strong(&c->hold_reads_at, &here, 0)) {
		sem_post(&c->read_held);
		sem_wait(&c->read_goes);
	}
	if (atomic_load(&c->read_error) && offset >= c->log.shape.data_offset)
		return atomic_load(&c->read_error);
	return disk_posix()->ops->pread(d, fd, buf, len, offset);
}

static inline void cache_fixture_new_cache(struct cache_fixture *c, uint64_t limit)
{
	c->cache = cache_new(limit, c->log.spares, c->log.executor);
	must(c->cache != NULL, "no cache");
	c->source.cache = c->cache;
	c->source.set = c->log.set;
}

static inline void cache_fixture_init(struct cache_fixture *c, uint64_t limit)
{
	memset(c, 0, sizeof *c);
	log_fixture_init(&c->log);
	c->disk_ops = fault_ops;
	c->disk_ops.pread = fixture_pread;
	c->log.disk.disk.ops = &c->disk_ops;
	sem_init(&c->read_held, 0, 0);
	sem_init(&c->read_goes, 0, 0);
	snprintf(c->store_dir, sizeof c->store_dir, "%s/store", c->log.dir);
	spy_store_init(&c->spy, c->store_dir);
	atomic_store(&c->in_store, UINT64_MAX);
	c->source = (struct fetch_source){ .store = &c->spy.store,
		                           .key = { .plain = true },
		                           .slot_bytes = TEST_GRAIN,
		                           .epoch_of = fixture_epoch_of,
		                           .arg = c };
	cache_fixture_new_cache(c, limit);
}

/* That nothing is left of a fetch. */
static inline int fixture_at_rest(void *arg, struct segment *s)
{
	(void)arg;
	pthread_mutex_lock(&s->mutex);
	must(atomic_load(&s->pins) == 1, "a segment is still pinned");
	must(!s->fetches, "a fetch was left behind");
	pthread_mutex_unlock(&s->mutex);
	return 0;
}

static inline void cache_fixture_destroy(struct cache_fixture *c)
{
	executor_drain(c->log.executor);
	spy_store_destroy(&c->spy);
	if (!c->log.log)
		must(!segment_set_each(c->log.set, fixture_at_rest, NULL), "each");
	cache_forget_set(c->cache, c->log.set);
	executor_drain(c->log.executor);
	must(cache_used(c->cache) == 0, "the cache counts bytes of nothing");
	cache_free(c->cache);
	sem_destroy(&c->read_held);
	sem_destroy(&c->read_goes);
	log_fixture_destroy(&c->log);
}

static inline int fixture_found(void *arg, struct segment *s)
{
	cache_segment_found(arg, s);
	return 0;
}

/* What the next daemon finds. The log is not running. */
static inline void cache_fixture_restart(struct cache_fixture *c)
{
	uint64_t limit = cache_limit(c->cache);

	executor_drain(c->log.executor);
	cache_free(c->cache);
	segment_set_free(c->log.set);
	c->log.set = log_fixture_new_set(&c->log);
	must(!segment_set_scan(c->log.set, NULL), "scan");
	cache_fixture_new_cache(c, limit);
	must(!segment_set_each(c->log.set, fixture_found, c->cache), "each");
	executor_drain(c->log.executor);
}

/* ---- the image's log ---- */

static inline void fixture_log_grown(void *arg, uint64_t bytes)
{
	struct cache_fixture *c = arg;

	hook_grown(&c->log, bytes);
	cache_grown(c->cache, bytes);
}

static inline void fixture_log_dropped(void *arg, struct segment *s)
{
	struct cache_fixture *c = arg;

	hook_dropped(&c->log, s);
	cache_forget_segment(c->cache, s);
}

/* Starts the log with segment `next`; its files are counted. log_fixture_stop() ends it. */
static inline void cache_fixture_start_log(struct cache_fixture *c, segment_no_t next)
{
	struct log_options o = log_fixture_options(&c->log);

	o.next = next;
	o.hooks.grown = fixture_log_grown;
	o.hooks.dropped = fixture_log_dropped;
	c->log.log = log_new(&o);
	must(c->log.log != NULL, "no log");
}

/* Fills and seals segment `number`, which is the next, with `slots` slots. */
static inline void write_segment(struct cache_fixture *c, segment_no_t number, uint32_t slots)
{
	for (uint32_t i = 0; i < slots; i += CHUNK_SLOTS)
		must(!append_grains(c->log.log, i, slots - i < CHUNK_SLOTS ? slots - i : CHUNK_SLOTS, number),
		     "append");
	must(seal_now(&c->log) == number, "not the next segment");
}

/* ---- objects ---- */

/* Slot `slot` of segment `number` holds test_grain(slot, number). */
static inline int fixture_slots(void *arg, uint32_t slot, uint32_t count, void *buf)
{
	segment_no_t number = *(segment_no_t *)arg;

	for (uint32_t i = 0; i < count; i++)
		test_grain(slot + i, number, (uint8_t *)buf + (size_t)i * TEST_GRAIN);
	return 0;
}

static inline struct record fixture_record(segment_no_t number, uint32_t slot, uint64_t grain)
{
	uint8_t bytes[TEST_GRAIN];

	test_grain(slot, number, bytes);
	return (struct record){ .kind = RECORD_DATA,
		                .slot = (uint16_t)slot,
		                .value = grain,
		                .count = 1,
		                .time_ns = 1,
		                .data_crc = crc32c(0, bytes, TEST_GRAIN) };
}

/* Packs `number` with these records, whole or what is needed of them; the object is the caller's. */
static inline uint8_t *fixture_pack_as(struct cache_fixture *c, segment_no_t number, uint32_t segment_bytes, bool whole,
                                       const struct record *records, size_t count, size_t *len)
{
	uint8_t zeros[DIGEST_BYTES] = { 0 }, digest[DIGEST_BYTES], *object;
	struct sealer *sealer = sealer_new(0);
	struct segment_pack p = { .pool = test_pool,
		                  .image = TEST_IMAGE,
		                  .number = number,
		                  .epoch = TEST_EPOCH,
		                  .records = records,
		                  .record_count = count,
		                  .prev_digest = zeros,
		                  .digest = digest,
		                  .slot_data = fixture_slots,
		                  .arg = &number };
	struct error err = { 0 };

	must(sealer && !segment_shape(TEST_GRAIN, segment_bytes, &p.shape), "shape");
	must(!(whole ? segment_digest_whole : segment_digest)(TEST_IMAGE, number, zeros, records, count, digest),
	     "digest");
	if (segment_object_pack(&p, sealer, &c->source.key, &object, len, &err))
		must(false, error_text(&err));
	sealer_free(sealer);
	return object;
}

static inline uint8_t *fixture_pack(struct cache_fixture *c, segment_no_t number, uint32_t segment_bytes,
                                    const struct record *records, size_t count, size_t *len)
{
	return fixture_pack_as(c, number, segment_bytes, false, records, count, len);
}

static inline void fixture_key(segment_no_t number, char key[STORE_KEY_MAX + 1])
{
	segment_object_key(TEST_IMAGE, number, TEST_EPOCH, key, STORE_KEY_MAX + 1);
}

static inline void put_object(struct cache_fixture *c, segment_no_t number, const void *bytes, size_t len)
{
	char key[STORE_KEY_MAX + 1];

	fixture_key(number, key);
	must(!store_put_wait(c->spy.below, key, bytes, len, 0, NULL), "put");
}

/* The object as it is in the store; the caller's. */
static inline uint8_t *get_object(struct cache_fixture *c, segment_no_t number, size_t *len)
{
	char key[STORE_KEY_MAX + 1];
	uint64_t size;

	fixture_key(number, key);
	must(!store_head_wait(c->spy.below, key, &size, NULL), "head");
	uint8_t *bytes = malloc(size + 1);
	must(bytes && !store_get_wait(c->spy.below, key, 0, bytes, size, len, NULL), "get");
	return bytes;
}

/* Puts segment `number` with its first `slots` slots in use into the store. */
static inline void put_segment(struct cache_fixture *c, segment_no_t number, uint32_t slots)
{
	struct record records[TEST_SLOTS];
	size_t len;

	for (uint32_t i = 0; i < slots; i++)
		records[i] = fixture_record(number, i, i);
	uint8_t *object = fixture_pack(c, number, TEST_SEGMENT, records, slots, &len);
	put_object(c, number, object, len);
	free(object);
}

static inline void put_segments(struct cache_fixture *c, unsigned count)
{
	for (segment_no_t n = 1; n <= count; n++)
		put_segment(c, n, TEST_SLOTS);
}

/* ---- reading ---- */

/* Whether `buf` is what [skip, skip+len) from the start of `slot` holds. */
static inline bool fixture_right(segment_no_t number, uint32_t slot, uint32_t skip, const uint8_t *buf, size_t len)
{
	uint8_t bytes[TEST_GRAIN];

	slot += skip / TEST_GRAIN;
	for (skip %= TEST_GRAIN; len; slot++, skip = 0) {
		size_t n = TEST_GRAIN - skip < len ? TEST_GRAIN - skip : len;
		test_grain(slot, number, bytes);
		if (memcmp(buf, bytes + skip, n) != 0)
			return false;
		buf += n;
		len -= n;
	}
	return true;
}

/* Reads a whole chunk; what comes back with 0 is right. */
static inline int read_chunk(struct cache_fixture *c, segment_no_t number, uint32_t chunk)
{
	uint8_t buf[CHUNK_BYTES];
	int rc = fetch_read_wait(&c->source, number, chunk * CHUNK_SLOTS, 0, buf, sizeof buf);

	must(rc || fixture_right(number, chunk * CHUNK_SLOTS, 0, buf, sizeof buf), "a chunk holds other bytes");
	return rc;
}

/* The same, only if it can be done at once. */
static inline int read_chunk_now(struct cache_fixture *c, segment_no_t number, uint32_t chunk)
{
	uint8_t buf[CHUNK_BYTES];
	int rc = fetch_read_now(&c->source, number, chunk * CHUNK_SLOTS, 0, buf, sizeof buf);

	must(rc || fixture_right(number, chunk * CHUNK_SLOTS, 0, buf, sizeof buf), "a chunk holds other bytes");
	return rc;
}

/* A read under way. */
struct reading {
	struct fetch_op op;
	sem_t done;
	bool later; /* done is to be waited for */
	segment_no_t number;
	uint32_t slot, skip;
	size_t len;
	uint8_t buf[CHUNK_BYTES];
};

static inline void reading_done(struct fetch_op *op)
{
	sem_post(&((struct reading *)op)->done);
}

static inline void reading_begin_of(const struct fetch_source *source, struct reading *r, segment_no_t number,
                                    uint32_t slot, uint32_t skip, size_t len)
{
	sem_init(&r->done, 0, 0);
	r->number = number;
	r->slot = slot;
	r->skip = skip;
	r->len = len;
	memset(r->buf, 0xee, sizeof r->buf);
	fetch_op_begin(&r->op, reading_done);
	fetch_read(source, &r->op, number, slot, skip, r->buf, len);
	r->later = !fetch_op_end(&r->op);
}

static inline void reading_begin(struct cache_fixture *c, struct reading *r, segment_no_t number, uint32_t slot,
                                 uint32_t skip, size_t len)
{
	reading_begin_of(&c->source, r, number, slot, skip, len);
}

/* Waits for its answer: 0 with the right bytes, or an error with none of them. */
static inline int reading_end(struct reading *r)
{
	if (r->later)
		sem_wait(&r->done);
	sem_destroy(&r->done);
	int rc = atomic_load(&r->op.result);
	must(rc || fixture_right(r->number, r->slot, r->skip, r->buf, r->len), "a read brought other bytes");
	for (size_t i = 0; rc && i < sizeof r->buf; i++)
		must(r->buf[i] == 0xee, "a read that failed brought bytes");
	return rc;
}

/* ---- what is here ---- */

static inline bool file_is_here(struct cache_fixture *c, segment_no_t number)
{
	char *path = segment_path(c->log.set, number);
	struct stat st;
	int rc = stat(path, &st);

	free(path);
	return rc == 0;
}

static inline unsigned state_of_chunk(struct cache_fixture *c, segment_no_t number, uint32_t chunk)
{
	struct segment *s = segment_pin_known(c->log.set, number);
	unsigned state = s ? segment_chunk_state(s, chunk) : CHUNK_ABSENT;

	if (s)
		segment_unpin(s);
	return state;
}

/* Changes a byte of a local file behind its back. */
static inline void spoil_file(struct cache_fixture *c, segment_no_t number, uint64_t offset)
{
	char *path = segment_path(c->log.set, number);
	int fd = open(path, O_RDWR);
	uint8_t byte = 0;

	must(fd >= 0 && pread(fd, &byte, 1, (off_t)offset) == 1, "cannot spoil");
	byte ^= 0x40;
	must(pwrite(fd, &byte, 1, (off_t)offset) == 1 && !close(fd), "cannot spoil");
	free(path);
}

static inline unsigned fixture_gets(struct cache_fixture *c)
{
	return atomic_load(&c->spy.gets);
}

/* Takes everything but the file, its header and its table out of segment `number`. */
static inline void empty_the_file(struct cache_fixture *c, segment_no_t number)
{
	struct segment *s = segment_pin_known(c->log.set, number);

	must(s != NULL, "unknown");
	cache_evict_all(c->cache);
	segment_unpin(s);
	for (uint32_t i = 0; i < TEST_CHUNKS; i++)
		must(state_of_chunk(c, number, i) == CHUNK_ABSENT, "a chunk stayed");
	must(file_is_here(c, number), "the file went");
}

/* Set-up and tear-down of cmocka tests whose state is the fixture; the first for those that want another limit. */
static inline int cache_fixture_setup_limited(void **state, uint64_t limit)
{
	struct cache_fixture *c = calloc(1, sizeof *c);

	must(c != NULL, "memory");
	cache_fixture_init(c, limit);
	*state = c;
	return 0;
}

static inline int cache_fixture_setup(void **state)
{
	return cache_fixture_setup_limited(state, (uint64_t)64 << 20);
}

static inline int cache_fixture_teardown(void **state)
{
	cache_fixture_destroy(*state);
	free(*state);
	return 0;
}

#endif
