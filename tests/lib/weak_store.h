/* SPDX-License-Identifier: GPL-3.0-only */
/* weak_store.h: a store that promises less than the directory it passes everything on to: create-only puts at the same moment that
 * all succeed, or that it does not know; listings that show what was there when it was last told; replaced objects that are read
 * as they were. Any threads. For tests only.
 */
#ifndef GARNER_TESTS_WEAK_STORE_H
#define GARNER_TESTS_WEAK_STORE_H

#include "image/pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WEAK_PUTS_MAX 16
#define WEAK_PATIENCE_MS 300 /* how long a create-only put waits for another of the same key */

/* A create-only put that was checked: there was no such object. It is carried out when so many of one key were checked, one after
 * the other, and then all are answered; or when nobody else came. */
struct weak_put {
	struct weak_store *store;
	char key[STORE_KEY_MAX + 1];
	const struct iovec *iov; /* one */
	store_done_fn *done;
	void *arg;
	bool carried_out;
};

struct weak_store {
	struct store store;
	struct store *below;
	/* Set while no request is under way. */
	unsigned race;      /* so many puts of a key at once all succeed; 0 or 1: one does */
	bool unconditional; /* create-only puts are answered -EOPNOTSUPP */
	bool stale;         /* what replaces an object is answered, and not carried out */
	/* So many puts that are to be sent once are answered -EIO; every second of them, from the first, is carried out. */
	_Atomic unsigned faults;
	_Atomic unsigned gets, lists;
	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t changed;
	struct weak_put *checked[WEAK_PUTS_MAX];
	unsigned checked_count;
	unsigned threads; /* puts that are not answered yet */
	bool lags;
	struct store_entry *shown; /* what listings show while it lags */
	size_t shown_count;
};

/* ---- puts ---- */

static inline unsigned weak_same_key(const struct weak_store *w, const struct weak_put *p, bool carried_out)
{
	unsigned count = 0;

	for (unsigned i = 0; i < w->checked_count; i++)
		count += strcmp(w->checked[i]->key, p->key) == 0 && w->checked[i]->carried_out == carried_out;
	return count;
}

/* Waits, with the mutex held, until all of the key have come so far, or for as long as is reasonable. */
static inline void weak_wait_for_others(struct weak_store *w, const struct weak_put *p)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += WEAK_PATIENCE_MS * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	while (weak_same_key(w, p, false) + weak_same_key(w, p, true) < w->race && !weak_same_key(w, p, true))
		if (pthread_cond_timedwait(&w->changed, &w->mutex, &until))
			break;
}

static inline void *weak_put_late(void *arg)
{
	struct weak_put *p = arg;
	struct weak_store *w = p->store;
	int rc;

	pthread_mutex_lock(&w->mutex);
	weak_wait_for_others(w, p);
	rc = store_put_wait(w->below, p->key, p->iov->iov_base, p->iov->iov_len, 0, NULL);
	p->carried_out = true;
	pthread_cond_broadcast(&w->changed);
	while (weak_same_key(w, p, false))
		pthread_cond_wait(&w->changed, &w->mutex);
	pthread_mutex_unlock(&w->mutex);
	p->done(p->arg, rc, NULL);
	/* Only now does it count no longer, so that who is answered later has seen it. */
	pthread_mutex_lock(&w->mutex);
	for (unsigned i = 0; i < w->checked_count; i++)
		if (w->checked[i] == p)
			w->checked[i--] = w->checked[--w->checked_count];
	w->threads--;
	free(p);
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->mutex);
	return NULL;
}

/* Whether the put is checked against others at the same moment: its object is not there yet, or only theirs. */
static inline bool weak_race(struct weak_store *w, const char *key, const struct iovec *iov, store_done_fn *done,
                             void *arg)
{
	struct weak_put *p = calloc(1, sizeof *p);
	pthread_t thread;
	uint64_t size;

	if (!p)
		abort();
	*p = (struct weak_put){ .store = w, .iov = iov, .done = done, .arg = arg };
	snprintf(p->key, sizeof p->key, "%s", key);
	pthread_mutex_lock(&w->mutex);
	bool free_place = store_head_wait(w->below, key, &size, NULL) == -ENOENT && w->checked_count < WEAK_PUTS_MAX;
	if (free_place) {
		w->checked[w->checked_count++] = p;
		w->threads++;
		pthread_cond_broadcast(&w->changed);
	}
	pthread_mutex_unlock(&w->mutex);
	if (!free_place) {
		free(p);
		return false;
	}
	if (pthread_create(&thread, NULL, weak_put_late, p) || pthread_detach(thread))
		abort();
	return true;
}

static inline void weak_put(struct store *s, const char *key, const struct iovec *iov, int iovcnt, unsigned flags,
                            store_done_fn *done, void *arg)
{
	struct weak_store *w = (struct weak_store *)s;
	uint64_t size;

	if (flags & STORE_PUT_ONCE && atomic_load(&w->faults)) {
		if (atomic_fetch_sub(&w->faults, 1) % 2 == 0)
			store_put_wait(w->below, key, iov->iov_base, iov->iov_len, 0, NULL);
		done(arg, -EIO, NULL);
	} else if (flags & STORE_PUT_CREATE_ONLY && w->unconditional)
		done(arg, -EOPNOTSUPP, NULL);
	else if (!(flags & STORE_PUT_CREATE_ONLY) && w->stale && store_head_wait(w->below, key, &size, NULL) == 0)
		done(arg, 0, NULL);
	else if (!(flags & STORE_PUT_CREATE_ONLY) || w->race < 2 || iovcnt != 1 || !weak_race(w, key, iov, done, arg))
		store_put(w->below, key, iov, iovcnt, flags, done, arg);
}

/* ---- the rest ---- */

static inline void weak_get(struct store *s, const char *key, uint64_t offset, void *buf, size_t len, unsigned flags,
                            store_length_fn *done, void *arg)
{
	struct weak_store *w = (struct weak_store *)s;

	atomic_fetch_add(&w->gets, 1);
	store_get(w->below, key, offset, buf, len, flags, done, arg);
}

static inline void weak_head(struct store *s, const char *key, store_length_fn *done, void *arg)
{
	store_head(((struct weak_store *)s)->below, key, done, arg);
}

static inline void weak_remove(struct store *s, const char *key, store_done_fn *done, void *arg)
{
	store_remove(((struct weak_store *)s)->below, key, done, arg);
}

/* In one page, however long. */
static inline void weak_list(struct store *s, const char *prefix, const char *after, size_t max, store_list_fn *done,
                             void *arg)
{
	struct weak_store *w = (struct weak_store *)s;
	size_t count = 0;

	atomic_fetch_add(&w->lists, 1);
	pthread_mutex_lock(&w->mutex);
	bool lags = w->lags;
	struct store_entry *page = calloc(w->shown_count + 1, sizeof *page);
	if (!page)
		abort();
	for (size_t i = 0; i < w->shown_count; i++)
		if (strncmp(w->shown[i].key, prefix, strlen(prefix)) == 0 &&
		    (!after || strcmp(w->shown[i].key, after) > 0))
			page[count++] = w->shown[i];
	pthread_mutex_unlock(&w->mutex);
	if (lags)
		done(arg, 0, page, count, false, NULL);
	else
		store_list(w->below, prefix, after, max, done, arg);
	free(page);
}

static inline void weak_close(struct store *s)
{
	(void)s; /* it belongs to the test, and what is below to its pool */
}

static const struct store_ops weak_ops = {
	.put = weak_put,
	.get = weak_get,
	.head = weak_head,
	.remove = weak_remove,
	.list = weak_list,
	.close = weak_close,
};

static inline int weak_show_one(void *arg, const struct store_entry *entry)
{
	struct weak_store *w = arg;

	w->shown = realloc(w->shown, (w->shown_count + 1) * sizeof *w->shown);
	if (!w->shown)
		abort();
	w->shown[w->shown_count++] = *entry;
	return 0;
}

/* From now on listings show what is there now, until it is called again. */
static inline void weak_lag(struct weak_store *w)
{
	pthread_mutex_lock(&w->mutex);
	w->shown_count = 0;
	w->lags = true;
	if (store_list_each(w->below, "", NULL, weak_show_one, w, NULL))
		abort();
	pthread_mutex_unlock(&w->mutex);
}

/* In front of `below`, which it says to be able to do less: what is not in `capabilities` it does not claim. */
static inline void weak_init(struct weak_store *w, struct store *below, unsigned capabilities)
{
	*w = (struct weak_store){ .store = *below, .below = below };
	w->store.ops = &weak_ops;
	w->store.capabilities &= capabilities;
	pthread_mutex_init(&w->mutex, NULL);
	pthread_cond_init(&w->changed, NULL);
}

/* Waits for what is under way. */
static inline void weak_destroy(struct weak_store *w)
{
	pthread_mutex_lock(&w->mutex);
	while (w->threads)
		pthread_cond_wait(&w->changed, &w->mutex);
	pthread_mutex_unlock(&w->mutex);
	free(w->shown);
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->mutex);
}

/* Puts it between `p` and its store; weak_take_out() gives the store back, before the pool is closed. */
static inline void weak_put_in(struct weak_store *w, struct pool *p, unsigned capabilities)
{
	weak_init(w, p->store, capabilities);
	p->store = &w->store;
}

static inline void weak_take_out(struct weak_store *w, struct pool *p)
{
	p->store = w->below;
	weak_destroy(w);
}

/* ---- time ---- */

/* A clock whose claims settle at once: for tests in which hosts act one after the other. Its time stands still. */
static inline uint64_t weak_now_ns(void *arg)
{
	(void)arg;
	return 1;
}

/* One by which everything takes too long. */
static inline uint64_t weak_slow_ns(void *arg)
{
	static _Atomic uint64_t now;

	(void)arg;
	return atomic_fetch_add(&now, 1000);
}

static inline void weak_sleep_ns(void *arg, uint64_t ns)
{
	(void)arg;
	(void)ns;
}

static const struct pool_clock weak_clock = { .now_ns = weak_now_ns, .sleep_ns = weak_sleep_ns, .settle_ns = 1 };

#endif
