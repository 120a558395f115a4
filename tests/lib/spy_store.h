/* SPDX-License-Identifier: GPL-3.0-only */
/* spy_store.h: a store that passes everything on to another, counts puts and gets, holds them back or loses answers of puts
 * as a test says, fails puts, gets and removals, and damages what gets bring. Any threads. For tests only.
 */
#ifndef GARNER_TESTS_SPY_STORE_H
#define GARNER_TESTS_SPY_STORE_H

#include "store/store.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A put that waits until the test lets it go. */
struct spy_held {
	char key[STORE_KEY_MAX + 1];
	const struct iovec *iov;
	int iovcnt;
	unsigned flags;
	store_done_fn *done;
	void *arg;
};

/* Likewise a get. */
struct spy_held_get {
	char key[STORE_KEY_MAX + 1];
	uint64_t offset;
	void *buf;
	size_t len;
	unsigned flags;
	store_length_fn *done;
	void *arg;
};

struct spy_store {
	struct store store;
	struct store *below;
	_Atomic unsigned puts, gets, gets_at_0; /* those that begin with the object's first byte */
	_Atomic unsigned heads;
	_Atomic int put_error, get_error, head_error; /* -errno; while not 0, such requests fail */
	_Atomic unsigned lose_answers;                /* so many puts work, and are answered with lost_error */
	_Atomic int lost_error;                       /* -ETIMEDOUT to begin with */
	const char *_Atomic lose_only;                /* of keys that contain it; NULL: of any */
	_Atomic unsigned damage_gets;                 /* so many gets bring a wrong first byte */
	const char *_Atomic fail_removes;             /* removals of keys that contain it fail; NULL: none */
	/* Called before each put, on the thread that asks for it, which may be any. The argument is set first. */
	void (*_Atomic before_put)(void *arg, const char *key);
	void *_Atomic before_put_arg;
	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t changed;
	bool hold_puts;
	struct spy_held held[64];
	unsigned held_count;
	bool hold_gets;
	struct spy_held_get held_get[64];
	unsigned held_gets;
};

struct spy_lost {
	int error;
	store_done_fn *done;
	void *arg;
};

static inline void spy_lose(void *arg, int status, const struct error *err)
{
	struct spy_lost *lost = arg;
	struct error why = { .code = lost->error, .text = "no answer" };

	(void)status;
	(void)err;
	lost->done(lost->arg, lost->error, &why);
	free(lost);
}

static const struct error spy_fault = { .code = -EIO, .text = "a fault of the store" };

static inline void spy_pass(struct spy_store *s, const struct spy_held *h)
{
	int rc = atomic_load(&s->put_error);
	const char *only = atomic_load(&s->lose_only);
	struct spy_lost *lost;

	if (rc) {
		h->done(h->arg, rc, &spy_fault);
	} else if ((!only || strstr(h->key, only)) && atomic_load(&s->lose_answers) && (lost = malloc(sizeof *lost))) {
		atomic_fetch_sub(&s->lose_answers, 1);
		*lost = (struct spy_lost){ atomic_load(&s->lost_error), h->done, h->arg };
		store_put(s->below, h->key, h->iov, h->iovcnt, h->flags, spy_lose, lost);
	} else {
		store_put(s->below, h->key, h->iov, h->iovcnt, h->flags, h->done, h->arg);
	}
}

static inline void spy_put(struct store *store, const char *key, const struct iovec *iov, int iovcnt, unsigned flags,
                           store_done_fn *done, void *arg)
{
	struct spy_store *s = (struct spy_store *)store;
	struct spy_held h = { .iov = iov, .iovcnt = iovcnt, .flags = flags, .done = done, .arg = arg };

	snprintf(h.key, sizeof h.key, "%s", key);
	void (*before)(void *arg, const char *key) = atomic_load(&s->before_put);
	if (before)
		before(atomic_load(&s->before_put_arg), key);
	atomic_fetch_add(&s->puts, 1);
	pthread_mutex_lock(&s->mutex);
	bool hold = s->hold_puts;
	if (hold) {
		if (s->held_count == 64)
			abort();
		s->held[s->held_count++] = h;
		pthread_cond_broadcast(&s->changed);
	}
	pthread_mutex_unlock(&s->mutex);
	if (!hold)
		spy_pass(s, &h);
}

static inline void spy_damage(void *arg, int status, uint64_t length, const struct error *err)
{
	struct spy_held_get *h = arg;

	if (length)
		*(uint8_t *)h->buf ^= 1;
	h->done(h->arg, status, length, err);
	free(h);
}

static inline void spy_pass_get(struct spy_store *s, const struct spy_held_get *h)
{
	int rc = atomic_load(&s->get_error);
	struct spy_held_get *damaged;

	if (rc) {
		h->done(h->arg, rc, 0, &spy_fault);
	} else if (atomic_load(&s->damage_gets) && (damaged = malloc(sizeof *damaged))) {
		atomic_fetch_sub(&s->damage_gets, 1);
		*damaged = *h;
		store_get(s->below, h->key, h->offset, h->buf, h->len, h->flags, spy_damage, damaged);
	} else {
		store_get(s->below, h->key, h->offset, h->buf, h->len, h->flags, h->done, h->arg);
	}
}

static inline void spy_get(struct store *store, const char *key, uint64_t offset, void *buf, size_t len, unsigned flags,
                           store_length_fn *done, void *arg)
{
	struct spy_store *s = (struct spy_store *)store;
	struct spy_held_get h = { .offset = offset, .buf = buf, .len = len, .flags = flags, .done = done, .arg = arg };

	snprintf(h.key, sizeof h.key, "%s", key);
	atomic_fetch_add(&s->gets, 1);
	atomic_fetch_add(&s->gets_at_0, offset == 0);
	pthread_mutex_lock(&s->mutex);
	bool hold = s->hold_gets;
	if (hold) {
		if (s->held_gets == 64)
			abort();
		s->held_get[s->held_gets++] = h;
		pthread_cond_broadcast(&s->changed);
	}
	pthread_mutex_unlock(&s->mutex);
	if (!hold)
		spy_pass_get(s, &h);
}

static inline void spy_head(struct store *store, const char *key, store_length_fn *done, void *arg)
{
	struct spy_store *s = (struct spy_store *)store;
	int rc = atomic_load(&s->head_error);

	atomic_fetch_add(&s->heads, 1);
	if (rc)
		done(arg, rc, 0, &spy_fault);
	else
		store_head(s->below, key, done, arg);
}

static inline void spy_remove(struct store *store, const char *key, store_done_fn *done, void *arg)
{
	struct spy_store *s = (struct spy_store *)store;
	const char *part = atomic_load(&s->fail_removes);

	if (part && strstr(key, part))
		done(arg, -EIO, &spy_fault);
	else
		store_remove(s->below, key, done, arg);
}

static inline void spy_list(struct store *store, const char *prefix, const char *after, size_t max, store_list_fn *done,
                            void *arg)
{
	store_list(((struct spy_store *)store)->below, prefix, after, max, done, arg);
}

static inline void spy_close(struct store *store)
{
	(void)store; /* the test's */
}

static const struct store_ops spy_store_ops = {
	.put = spy_put,
	.get = spy_get,
	.head = spy_head,
	.remove = spy_remove,
	.list = spy_list,
	.close = spy_close,
};

/* Over a store that is open, which remains the caller's. */
static inline void spy_store_over(struct spy_store *s, struct store *below)
{
	memset(s, 0, sizeof *s);
	s->below = below;
	s->store = *below;
	s->store.ops = &spy_store_ops;
	atomic_store(&s->lost_error, -ETIMEDOUT);
	pthread_mutex_init(&s->mutex, NULL);
	pthread_cond_init(&s->changed, NULL);
}

/* Over a new directory. */
static inline void spy_store_init(struct spy_store *s, const char *dir)
{
	struct store_options o = { .threads = 2, .create = true };
	struct error err = { 0 };
	struct store *below;

	if (store_open(dir, &o, &below, &err)) {
		fprintf(stderr, "%s\n", error_text(&err));
		abort();
	}
	spy_store_over(s, below);
}

/* Gives back the store below, which stays open. */
static inline struct store *spy_store_leave(struct spy_store *s)
{
	if (s->held_count || s->held_gets)
		abort(); /* a test that ends with requests held */
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->mutex);
	return s->below;
}

static inline void spy_store_destroy(struct spy_store *s)
{
	store_close(spy_store_leave(s));
}

static inline void spy_hold_puts(struct spy_store *s, bool hold)
{
	pthread_mutex_lock(&s->mutex);
	s->hold_puts = hold;
	pthread_mutex_unlock(&s->mutex);
}

/* Waits until so many puts are held. */
static inline void spy_wait_held(struct spy_store *s, unsigned count)
{
	pthread_mutex_lock(&s->mutex);
	while (s->held_count < count)
		pthread_cond_wait(&s->changed, &s->mutex);
	pthread_mutex_unlock(&s->mutex);
}

/* Lets the one go whose key contains `part` ("": any). Whether there was one. */
static inline bool spy_let_go(struct spy_store *s, const char *part)
{
	struct spy_held h;
	bool found = false;

	pthread_mutex_lock(&s->mutex);
	for (unsigned i = 0; i < s->held_count && !found; i++) {
		if (!strstr(s->held[i].key, part))
			continue;
		found = true;
		h = s->held[i];
		s->held[i] = s->held[--s->held_count];
	}
	pthread_mutex_unlock(&s->mutex);
	if (found)
		spy_pass(s, &h);
	return found;
}

static inline void spy_hold_gets(struct spy_store *s, bool hold)
{
	pthread_mutex_lock(&s->mutex);
	s->hold_gets = hold;
	pthread_mutex_unlock(&s->mutex);
}

/* Waits until so many gets are held. */
static inline void spy_wait_held_gets(struct spy_store *s, unsigned count)
{
	pthread_mutex_lock(&s->mutex);
	while (s->held_gets < count)
		pthread_cond_wait(&s->changed, &s->mutex);
	pthread_mutex_unlock(&s->mutex);
}

/* Lets the get go that was held last. Whether there was one. */
static inline bool spy_let_get_go(struct spy_store *s)
{
	struct spy_held_get h;

	pthread_mutex_lock(&s->mutex);
	bool found = s->held_gets > 0;
	if (found)
		h = s->held_get[--s->held_gets];
	pthread_mutex_unlock(&s->mutex);
	if (found)
		spy_pass_get(s, &h);
	return found;
}

#endif
