/* SPDX-License-Identifier: GPL-3.0-only */
/* upload.h: segments of one image go to the store, several at a time; what counts is the gap-free prefix.
 *
 * A segment comes once it is whole, and may be sealed meanwhile: it is made durable here and in the store side by side.
 * A segment is packed on a background executor and put create-only under its number and the epoch. Answers may come in any
 * order; upload_stored() moves only over a gap-free run. A put that fails is tried again, later and later (up to 15 s apart),
 * until the store is back. A key that exists already holds the same segment (a crash after an earlier put), which is
 * checked by its digest; else the upload stops for good. What is no segment at all is read once more before, as it may have been
 * damaged on its way only. Nothing is dropped, ever. Knows nothing of the map or guests.
 */
#ifndef GARNER_LOG_UPLOAD_H
#define GARNER_LOG_UPLOAD_H

#include "base/executor.h"
#include "log/segment.h"
#include "seal/seal.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

struct upload;

struct upload_hooks {
	/* Everything up to `s` is in the store. In order of numbers, one call per segment, before anybody who waits is told: to be
	 * quick. */
	void (*stored)(void *arg, struct segment *s);
	/* After that, and once `s` is sealed: it may be evicted now. May take time. */
	void (*tidy)(void *arg, struct segment *s);
	/* A put worked (`err` NULL) or failed and will be tried again. */
	void (*store_state)(void *arg, const struct error *err);
	/* The upload has stopped for good: a damaged segment, or another content in its place. */
	void (*failed)(void *arg, int error, const char *text);
};

struct upload_options {
	struct store *store;
	struct executor *executor; /* packing; background priority */
	struct segment_set *set;
	struct seal_key key; /* of the image */
	uint64_t epoch;
	bool unconditional; /* the store knows no create-only puts, and no other host writes: put over what is there */
	unsigned window;    /* segments packed or under way at a time */
	int compression;
	segment_no_t stored; /* everything up to this one is in the store already */
	struct upload_hooks hooks;
	void *arg;
};

struct upload *upload_new(const struct upload_options *options);
/* upload_stop() came before. NULL is ignored. */
void upload_free(struct upload *u);

/* Queues a segment, whole and with its digest; numbers come in order without gaps. 0, or -ENOMEM: then nothing is uploaded any more. Any thread. */
int upload_segment(struct upload *u, struct segment *s);
/* A segment that was queued has LIFE_SEALED now. Until then it stays as it is here, whether or not it is in the store. Any thread. */
void upload_sealed(struct upload *u, struct segment *s);

/* The end of the gap-free run in the store. */
segment_no_t upload_stored(struct upload *u);

/* Bytes in slots of segments queued or under way, and the monotonic time of the first record of the oldest (0: none). */
uint64_t upload_bytes(struct upload *u, uint64_t *oldest_ns);

/* Calls done(arg, 0) once everything up to `number` is in the store, or done(arg, -EIO) when the upload failed or stopped:
 * at once on this thread, or later. */
typedef void upload_done_fn(void *arg, int result);
int upload_wait(struct upload *u, segment_no_t number, upload_done_fn *done, void *arg);

/* Nobody waits any more: who does, and who comes, is answered with -EIO. What is queued goes to the store all the same. Any thread. */
void upload_refuse(struct upload *u);

/* Starts nothing more, waits for what is under way, answers waiters with -EIO. What is queued stays in its files. */
void upload_stop(struct upload *u);

#endif
