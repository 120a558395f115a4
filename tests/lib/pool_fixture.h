/* SPDX-License-Identifier: GPL-3.0-only */
/* pool_fixture.h: a pool in a directory of its own, opened by several hosts; a store that stops at a chosen step; and small
 * segments in it. For tests only.
 */
#ifndef GARNER_TESTS_POOL_FIXTURE_H
#define GARNER_TESTS_POOL_FIXTURE_H

#include "base/crc32c.h"
#include "image/epoch.h"
#include "log/segment_object.h"
#include "lib/remove_tree.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- places and pools ---- */

/* A new empty directory under $TMPDIR or /tmp; `path` has room for 200 bytes. */
static inline void fixture_make_dir(char *path)
{
	const char *base = getenv("TMPDIR");

	snprintf(path, 200, "%s/garner-pool-XXXXXX", base ? base : "/tmp");
	if (!mkdtemp(path))
		abort();
}

static inline void fixture_remove_dir(const char *path)
{
	if (remove_tree(path) != 0)
		abort();
}

/* How many objects the store holds below `prefix`. */
static inline int fixture_count_one(void *arg, const struct store_entry *entry)
{
	(void)entry;
	(*(unsigned *)arg)++;
	return 0;
}

static inline unsigned fixture_count(struct pool *p, const char *prefix)
{
	unsigned count = 0;

	if (store_list_each(p->store, prefix, NULL, fixture_count_one, &count, NULL) != 0)
		abort();
	return count;
}

/* A plain pool at `path` as one host sees it, making it if `make`. */
static inline struct pool *fixture_open_pool(const char *path, bool make)
{
	struct store_options options = { .threads = 2 };
	struct error err = { 0 };
	struct pool *p;

	if ((make && pool_init(path, &options, NULL, 0, &err) != 0) || pool_open(path, &options, NULL, &p, &err) != 0) {
		fprintf(stderr, "%s\n", error_text(&err));
		abort();
	}
	return p;
}

/* ---- a store that stops ---- */

/* Passes everything to the store below. Once `steps` changes (puts and removals) have passed, the host is dead: nothing
 * goes through any more. `lose_answer`: the last of them happens, but is answered with a failure. `before`, if set, runs on
 * the calling thread before change number `before_step` (from 0), as another host may. */
struct faulty_store {
	struct store store;
	struct store *below;
	unsigned steps;
	_Atomic unsigned
		done; /* changes that were asked for: some go on from one to the next on threads of the store */
	bool lose_answer;
	void (*before)(void *arg);
	void *before_arg;
	unsigned before_step;
};

struct faulty_lost {
	store_done_fn *done;
	void *arg;
};

static inline void faulty_lose(void *arg, int status, const struct error *err)
{
	struct faulty_lost *lost = arg;

	(void)status;
	(void)err;
	lost->done(lost->arg, -ETIMEDOUT, NULL);
	free(lost);
}

/* Whether the change may pass; *done and *arg are replaced when its answer is to be lost. */
static inline bool faulty_step(struct faulty_store *f, store_done_fn **done, void **arg)
{
	unsigned step = atomic_fetch_add(&f->done, 1);

	if (step == f->before_step && f->before)
		f->before(f->before_arg);
	if (step >= f->steps)
		return false;
	if (f->lose_answer && step + 1 == f->steps) {
		struct faulty_lost *lost = malloc(sizeof *lost);
		if (!lost)
			abort();
		*lost = (struct faulty_lost){ *done, *arg };
		*done = faulty_lose;
		*arg = lost;
	}
	return true;
}

static inline bool faulty_dead(const struct faulty_store *f)
{
	return atomic_load(&f->done) >= f->steps;
}

static inline void faulty_put(struct store *s, const char *key, const struct iovec *iov, int iovcnt, unsigned flags,
                              store_done_fn *done, void *arg)
{
	struct faulty_store *f = (struct faulty_store *)s;

	if (faulty_step(f, &done, &arg))
		store_put(f->below, key, iov, iovcnt, flags, done, arg);
	else
		done(arg, -EIO, NULL);
}

static inline void faulty_remove(struct store *s, const char *key, store_done_fn *done, void *arg)
{
	struct faulty_store *f = (struct faulty_store *)s;

	if (faulty_step(f, &done, &arg))
		store_remove(f->below, key, done, arg);
	else
		done(arg, -EIO, NULL);
}

static inline void faulty_get(struct store *s, const char *key, uint64_t offset, void *buf, size_t len, unsigned flags,
                              store_length_fn *done, void *arg)
{
	struct faulty_store *f = (struct faulty_store *)s;

	if (faulty_dead(f))
		done(arg, -EIO, 0, NULL);
	else
		store_get(f->below, key, offset, buf, len, flags, done, arg);
}

static inline void faulty_head(struct store *s, const char *key, store_length_fn *done, void *arg)
{
	struct faulty_store *f = (struct faulty_store *)s;

	if (faulty_dead(f))
		done(arg, -EIO, 0, NULL);
	else
		store_head(f->below, key, done, arg);
}

static inline void faulty_list(struct store *s, const char *prefix, const char *after, size_t max, store_list_fn *done,
                               void *arg)
{
	struct faulty_store *f = (struct faulty_store *)s;

	if (faulty_dead(f))
		done(arg, -EIO, NULL, 0, false, NULL);
	else
		store_list(f->below, prefix, after, max, done, arg);
}

static inline void faulty_close(struct store *s)
{
	(void)s; /* it belongs to the test, and what is below to its pool */
}

static const struct store_ops faulty_ops = {
	.put = faulty_put,
	.get = faulty_get,
	.head = faulty_head,
	.remove = faulty_remove,
	.list = faulty_list,
	.close = faulty_close,
};

/* Puts it between `p` and its store. faulty_take_out() gives the store back, before the pool is closed. */
static inline void faulty_put_in(struct faulty_store *f, struct pool *p, unsigned steps, bool lose_answer)
{
	*f = (struct faulty_store){ .store = *p->store, .below = p->store, .steps = steps, .lose_answer = lose_answer };
	f->store.ops = &faulty_ops;
	p->store = &f->store;
}

static inline void faulty_take_out(struct faulty_store *f, struct pool *p)
{
	p->store = f->below;
}

/* ---- segments ---- */

#define FIXTURE_SLOT 4096u
#define FIXTURE_SLOTS 64u

/* A segment that is being made: its records, and its slots' bytes. */
struct fixture_segment {
	struct record records[FIXTURE_SLOTS];
	uint32_t count, slots;
	uint8_t bytes[FIXTURE_SLOTS * FIXTURE_SLOT];
	struct log_position checkpoint; /* as its header will say */
};

/* Adds a slot with these bytes; returns its number. */
static inline uint32_t fixture_add(struct fixture_segment *s, uint8_t kind, uint8_t level, uint64_t value,
                                   const void *bytes, size_t len)
{
	uint32_t slot = s->slots++;
	uint8_t *at = s->bytes + (size_t)slot * FIXTURE_SLOT;

	if (slot >= FIXTURE_SLOTS)
		abort();
	memset(at, 0, FIXTURE_SLOT);
	memcpy(at, bytes, len);
	s->records[s->count++] = (struct record){
		.kind = kind,
		.level = level,
		.slot = (uint16_t)slot,
		.value = value,
		.count = 1,
		.data_crc = crc32c(0, at, FIXTURE_SLOT),
		.time_ns = 1,
	};
	return slot;
}

static inline int fixture_slot_data(void *arg, uint32_t slot, uint32_t count, void *buf)
{
	struct fixture_segment *s = arg;

	memcpy(buf, s->bytes + (size_t)slot * FIXTURE_SLOT, (size_t)count * FIXTURE_SLOT);
	return 0;
}

/* Packs and puts it as `number` in `epoch`. `digest`: of the segment before, then of this one. */
static inline void fixture_put_segment(struct pool *p, uint64_t image, segment_no_t number, uint64_t epoch,
                                       struct fixture_segment *s, uint8_t digest[DIGEST_BYTES])
{
	uint8_t own[DIGEST_BYTES];
	char key[STORE_KEY_MAX + 1];
	struct seal_key sealing;
	struct sealer *sealer = sealer_new(0);
	struct segment_pack pack = {
		.pool = p->uuid,
		.image = image,
		.number = number,
		.epoch = epoch,
		.records = s->records,
		.record_count = s->count,
		.checkpoint = s->checkpoint,
		.prev_digest = digest,
		.digest = own,
		.slot_data = fixture_slot_data,
		.arg = s,
	};
	struct error err = { 0 };
	uint8_t *object;
	size_t len;

	image_key(&p->master, image, &sealing);
	segment_key_format(image, number, epoch, key);
	if (!sealer || segment_shape(FIXTURE_SLOT, SEGMENT_BYTES_MIN, &pack.shape) ||
	    segment_digest(image, number, digest, s->records, s->count, own) ||
	    segment_object_pack(&pack, sealer, &sealing, &object, &len, &err) ||
	    store_put_wait(p->store, key, object, len, 0, &err)) {
		fprintf(stderr, "segment %llu: %s\n", (unsigned long long)number, error_text(&err));
		abort();
	}
	memcpy(digest, own, DIGEST_BYTES);
	free(object);
	sealer_free(sealer);
}

/* A segment with one data slot. */
static inline void fixture_put_small(struct pool *p, uint64_t image, segment_no_t number, uint64_t epoch,
                                     uint8_t digest[DIGEST_BYTES])
{
	struct fixture_segment *s = calloc(1, sizeof *s);

	if (!s)
		abort();
	fixture_add(s, RECORD_DATA, 0, number, "data", 4);
	fixture_put_segment(p, image, number, epoch, s, digest);
	free(s);
}

#endif
