/* SPDX-License-Identifier: GPL-3.0-only */
/* object_wait.h: the calls of a storage node's object store, waited for; and bodies that a number makes. For tests. */
#ifndef GARNER_TESTS_OBJECT_WAIT_H
#define GARNER_TESTS_OBJECT_WAIT_H

#include "base/blake2bp.h"
#include "lib/random.h"
#include "node/object_store.h"

#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_CLUSTER "0123456789abcdef0123456789abcdef"

struct object_waiter {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool done;
	int status;
	struct object_put_result result;
	struct object_meta meta;
	bool has_meta;
	void *bytes;
	size_t len;
	struct object_entry *entries;
	size_t count, room;
	bool more;
	struct object_bucket *buckets;
};

static inline void waiter_begin(struct object_waiter *w)
{
	memset(w, 0, sizeof *w);
	pthread_mutex_init(&w->mutex, NULL);
	pthread_cond_init(&w->cond, NULL);
}

static inline void waiter_tell(struct object_waiter *w)
{
	pthread_mutex_lock(&w->mutex);
	if (w->done)
		abort(); /* a callback runs once */
	w->done = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->mutex);
}

static inline int waiter_end(struct object_waiter *w)
{
	pthread_mutex_lock(&w->mutex);
	while (!w->done)
		pthread_cond_wait(&w->cond, &w->mutex);
	pthread_mutex_unlock(&w->mutex);
	pthread_cond_destroy(&w->cond);
	pthread_mutex_destroy(&w->mutex);
	return w->status;
}

static inline void waiter_put(void *arg, const struct object_put_result *result)
{
	struct object_waiter *w = arg;

	w->result = *result;
	w->status = result->status;
	waiter_tell(w);
}

static inline void waiter_done(void *arg, int status)
{
	((struct object_waiter *)arg)->status = status;
	waiter_tell(arg);
}

static inline void waiter_look(void *arg, int status, const struct object_meta *meta)
{
	struct object_waiter *w = arg;

	w->status = status;
	w->has_meta = meta;
	if (meta)
		w->meta = *meta;
	waiter_tell(w);
}

static inline void waiter_read(void *arg, int status, const struct object_meta *meta, void *bytes, size_t len)
{
	struct object_waiter *w = arg;

	w->bytes = bytes;
	w->len = len;
	waiter_look(w, status, meta);
}

static inline void waiter_list(void *arg, int status, const struct object_entry *entries, size_t count, bool more)
{
	struct object_waiter *w = arg;

	w->status = status;
	w->more = more;
	w->count = count < w->room ? count : w->room;
	if (w->count)
		memcpy(w->entries, entries, w->count * sizeof *entries);
	waiter_tell(w);
}

static inline void waiter_buckets(void *arg, int status, const struct object_bucket buckets[OBJECT_BUCKETS])
{
	struct object_waiter *w = arg;

	w->status = status;
	if (status == 0)
		memcpy(w->buckets, buckets, OBJECT_BUCKETS * sizeof *buckets);
	waiter_tell(w);
}

/* ---- bodies ---- */

/* The bytes that `seed` makes. */
static inline void body_fill(uint64_t seed, uint8_t *bytes, size_t len)
{
	struct random r = { .state = seed };

	random_fill(&r, bytes, len);
}

static inline struct object_meta body_meta(struct object_version version, const void *bytes, size_t len, unsigned flags)
{
	struct object_meta meta = { .version = version, .length = len, .flags = flags };

	blake2bp(bytes, len, meta.digest, sizeof meta.digest);
	return meta;
}

static inline struct object_version version_of(uint64_t counter)
{
	return (struct object_version){ counter, counter * 0x9e3779b97f4a7c15u | 1 };
}

/* ---- calls ---- */

static inline int put_wait(struct object_store *s, const char *name, const struct object_meta *meta, const void *bytes,
                           size_t len, enum object_rule rule, struct object_put_result *result)
{
	struct object_waiter w;
	struct object_put *put;
	int rc = object_put_begin(s, name, meta, rule, &put);

	if (rc < 0)
		return rc;
	waiter_begin(&w);
	/* In pieces that fit nothing. */
	for (size_t at = 0; at < len; at += 50001)
		object_put_append(put, (const char *)bytes + at, len - at < 50001 ? len - at : 50001, NULL, NULL);
	object_put_finish(put, waiter_put, &w);
	rc = waiter_end(&w);
	if (result)
		*result = w.result;
	return rc;
}

/* Puts the bytes that the version's counter makes. */
static inline int put_made(struct object_store *s, const char *name, uint64_t counter, size_t len, unsigned flags,
                           enum object_rule rule, struct object_put_result *result)
{
	uint8_t *bytes = malloc(len + 1);

	body_fill(counter, bytes, len);
	struct object_meta meta = body_meta(version_of(counter), bytes, len, flags);
	int rc = put_wait(s, name, &meta, bytes, len, rule, result);
	free(bytes);
	return rc;
}

static inline int remove_wait(struct object_store *s, const char *name, uint64_t counter, unsigned flags,
                              struct object_put_result *result)
{
	struct object_waiter w;

	waiter_begin(&w);
	object_store_remove(s, name, version_of(counter), flags, OBJECT_RULE_NEWER, waiter_put, &w);
	int rc = waiter_end(&w);
	if (result)
		*result = w.result;
	return rc;
}

static inline int look_wait(struct object_store *s, const char *name, struct object_meta *meta)
{
	struct object_waiter w;

	waiter_begin(&w);
	object_store_look(s, name, waiter_look, &w);
	int rc = waiter_end(&w);
	*meta = w.meta;
	return rc;
}

/* *bytes is to be freed. */
static inline int read_wait(struct object_store *s, const char *name, uint64_t offset, size_t len,
                            struct object_meta *meta, uint8_t **bytes, size_t *got)
{
	struct object_waiter w;

	waiter_begin(&w);
	object_store_read(s, name, offset, len, waiter_read, &w);
	int rc = waiter_end(&w);
	*meta = w.meta;
	*bytes = w.bytes;
	*got = w.len;
	return rc;
}

static inline int confirm_wait(struct object_store *s, const char *name, uint64_t counter)
{
	struct object_waiter w;

	waiter_begin(&w);
	object_store_confirm(s, name, version_of(counter), waiter_done, &w);
	return waiter_end(&w);
}

static inline int forget_wait(struct object_store *s, const char *name, uint64_t counter)
{
	struct object_waiter w;

	waiter_begin(&w);
	object_store_forget(s, name, version_of(counter), waiter_done, &w);
	return waiter_end(&w);
}

/* Returns how many, or -errno. */
static inline int list_wait(struct object_store *s, const char *prefix, const char *after, size_t max,
                            struct object_entry *entries, size_t room, bool *more)
{
	struct object_waiter w;

	waiter_begin(&w);
	w.entries = entries;
	w.room = room;
	object_store_list(s, prefix, after, max, waiter_list, &w);
	int rc = waiter_end(&w);
	*more = w.more;
	return rc < 0 ? rc : (int)w.count;
}

static inline int bucket_wait(struct object_store *s, unsigned bucket, object_want_fn *want,
                              struct object_entry *entries, size_t room)
{
	struct object_waiter w;

	waiter_begin(&w);
	w.entries = entries;
	w.room = room;
	object_store_bucket(s, bucket, NULL, 0, want, NULL, waiter_list, &w);
	int rc = waiter_end(&w);
	return rc < 0 ? rc : (int)w.count;
}

static inline int buckets_wait(struct object_store *s, object_want_fn *want,
                               struct object_bucket buckets[OBJECT_BUCKETS])
{
	struct object_waiter w;

	waiter_begin(&w);
	w.buckets = buckets;
	object_store_buckets(s, want, NULL, waiter_buckets, &w);
	return waiter_end(&w);
}

/* 0 when the object holds what `counter` makes, all of it. */
static inline int read_made(struct object_store *s, const char *name, uint64_t counter, size_t len)
{
	struct object_meta meta;
	uint8_t *bytes, *want = malloc(len + 1);
	size_t got;
	int rc = read_wait(s, name, 0, SIZE_MAX, &meta, &bytes, &got);

	body_fill(counter, want, len);
	if (rc == 0 && (got != len || memcmp(bytes ? (void *)bytes : "", want, len) != 0 ||
	                object_version_compare(meta.version, version_of(counter)) != 0))
		rc = 1;
	free(want);
	free(bytes);
	return rc;
}

static inline int open_drives(struct object_store **s, struct disk *disk, size_t count, const char *const *drives,
                              uint64_t reserve, struct error *err)
{
	struct object_store_options options = {
		.drives = drives,
		.drive_count = count,
		.cluster_id = WAIT_CLUSTER,
		.node_id = 1,
		.disk = disk,
		.reserve = reserve,
	};

	return object_store_open(&options, s, err);
}

#endif
