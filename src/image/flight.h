/* SPDX-License-Identifier: GPL-3.0-only */
/* flight.h: several calls to the store at once, and a caller that waits for them.
 *
 * The caller begins a call (waiting for room), gives it to the store, and its `done` ends it. Knows nothing of what the
 * calls do.
 */
#ifndef GARNER_IMAGE_FLIGHT_H
#define GARNER_IMAGE_FLIGHT_H

#include "base/error.h"

#include <pthread.h>

struct flight {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	unsigned pending; /* guarded by mutex, as is all below */
	int rc;           /* of the first call that failed */
	struct error err;
};

/* 0 or -errno. */
int flight_init(struct flight *f);
/* Nothing is pending. */
void flight_destroy(struct flight *f);

/* Waits until fewer than `max` calls are pending, then counts one more. */
void flight_begin(struct flight *f, unsigned max);
/* From the store's callback: one call ended. `status` other than 0 is kept, if it is the first. Does not block. */
void flight_end(struct flight *f, int status, const struct error *err);

/* Waits until nothing is pending. Returns 0, or the first failure, with its text in `err`. */
int flight_wait(struct flight *f, struct error *err);

#endif
