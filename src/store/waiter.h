/* SPDX-License-Identifier: GPL-3.0-only */
/* waiter.h: a thread that waits for the answer to a call that does not. Private to src/store. */
#ifndef GARNER_STORE_WAITER_H
#define GARNER_STORE_WAITER_H

#include "base/error.h"
#include "store/store.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* One thread that waits for one answer. */
struct waiter {
	pthread_mutex_t mutex;
	pthread_cond_t answered;
	/* guarded by mutex */
	bool done;
	int status;
	uint64_t length;
	/* of a listing: */
	struct store_entry *entries;
	size_t count;
	bool more;
	struct error *err; /* the caller's, or NULL */
};

#define WAITER(e)                                                                                    \
	{                                                                                            \
		.mutex = PTHREAD_MUTEX_INITIALIZER, .answered = PTHREAD_COND_INITIALIZER, .err = (e) \
	}

/* Takes the answer and wakes the waiter, which may be gone as soon as the mutex is free. */
static inline void waiter_answer(struct waiter *w, int status, uint64_t length, const struct error *err)
{
	pthread_mutex_lock(&w->mutex);
	w->status = status;
	w->length = length;
	if (status < 0 && w->err) {
		if (err && err->code)
			*w->err = *err;
		else
			error_set(w->err, status, "%s", strerror(-status));
	}
	w->done = true;
	pthread_cond_signal(&w->answered);
	pthread_mutex_unlock(&w->mutex);
}

/* Blocks until the answer is there, and returns its status. The waiter is then used up. */
static inline int waiter_wait(struct waiter *w)
{
	pthread_mutex_lock(&w->mutex);
	while (!w->done)
		pthread_cond_wait(&w->answered, &w->mutex);
	pthread_mutex_unlock(&w->mutex);
	pthread_cond_destroy(&w->answered);
	pthread_mutex_destroy(&w->mutex);
	return w->status;
}

/* A store_done_fn; `arg` is the waiter. */
static inline void waiter_done(void *arg, int status, const struct error *err)
{
	waiter_answer(arg, status, 0, err);
}

#endif
