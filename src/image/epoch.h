/* SPDX-License-Identifier: GPL-3.0-only */
/* epoch.h: who may write an image: epochs, terms, leases, and the end of a log in the store.
 *
 * Objects (all sealed with the image key, but leases with the catalog key):
 *   images/<id>/epochs/<epoch>   made as pool_claim.h says: host id, hostname, time; rewritten by its owner with `released 1`,
 *                                `last` (last segment number) when it hands over in order
 *   images/<id>/terms/<epoch>    written after the claim: the list of all terms that count, "epoch:first", oldest first, this
 *                                one last, the digest of segment first-1, and the owner's host id and hostname
 *   images/<id>/head             a hint, rewritten after each checkpoint: epoch, checkpoint position, segment number and
 *                                digest, size, allocated, mtime
 *   leases/<host id>             a host's heartbeat: counter, hostname, lease_ms
 *
 * Where create-only puts are not atomic, the host that epochs/N names may be one that lost (pool_claim.h). An owner is owner
 * because it remembers so; the object counts by being there, which fences. What others are told of an owner comes from
 * terms/N, which nobody else writes. Only of an owner that has claimed and not yet begun its term may the name be wrong, and
 * then it may be fenced before it has written anything.
 *
 * Claiming epoch N+1: create epochs/N+1 (claims, and fences), find the end of the gap-free run under the older terms, write
 * terms/N+1 with first = end+1. The newest epoch that has a term object names the terms that count; an epoch without one
 * never wrote. All calls block on the store; any thread; nothing is cached here.
 */
#ifndef GARNER_IMAGE_EPOCH_H
#define GARNER_IMAGE_EPOCH_H

#include "image/pool.h"
#include "log/types.h"

#include <stdatomic.h>

#define HOST_ID_BYTES 8

struct term {
	uint64_t epoch;
	segment_no_t first; /* the first segment number that is this epoch's */
};

/* What the store says about an image's log. */
struct log_view {
	uint64_t newest_epoch; /* 0: never owned */
	uint64_t owner_host;   /* of newest_epoch */
	char owner_name[65];   /* its hostname */
	bool released;         /* it handed over in order */
	uint64_t writer_host;  /* of the newest term: what only it has goes on with the log; 0: there is no term */
	struct term *terms;    /* oldest first */
	size_t term_count;
	struct log_position checkpoint; /* as the head says; segment 0: not known */
};

struct head {
	uint64_t epoch;
	struct log_position checkpoint; /* the checkpoint record; segment 0: none */
	uint64_t size, allocated, mtime_ns, grain_bytes;
};

/* Reads epochs and terms. An image that nobody ever wrote gives newest_epoch 0 and no terms. */
int log_view_load(struct pool *p, uint64_t image, struct log_view *view, struct error *err);
void log_view_destroy(struct log_view *view);

/* The epoch in whose name segment `number` was stored, or 0 when no term has it. */
uint64_t log_view_epoch_of(const struct log_view *view, segment_no_t number);

/* "images/<id>/segments/<number>-<epoch>" */
void segment_key_format(uint64_t image, segment_no_t number, uint64_t epoch, char out[STORE_KEY_MAX + 1]);

/* Finds the last segment number of the gap-free run, by probing from `hint` (a number known to exist, or 0 to begin at
 * the start of the log) forward: *end, 0 when there is none. Probes in growing parallel batches, so a long run costs few round trips. A hint that does not exist is
 * an error of the caller's (-ENOENT): load it from the head and verify, or pass 0 after log_find_by_listing(). */
int log_find_end(struct pool *p, uint64_t image, const struct log_view *view, segment_no_t hint, segment_no_t *end,
                 struct error *err);

/* Where to begin probing when there is no head: the last number of the run that a listing shows (0: none). It has no gaps but where
 * the log was cleaned. */
int log_find_by_listing(struct pool *p, uint64_t image, const struct log_view *view, segment_no_t *last,
                        struct error *err);

/* The same from a hint that need not be right, or is 0. */
int log_find_end_from(struct pool *p, uint64_t image, const struct log_view *view, segment_no_t hint, segment_no_t *end,
                      struct error *err);

/* The image's head. -ENOENT. */
int head_load(struct pool *p, uint64_t image, struct head *head, struct error *err);
int head_save(struct pool *p, uint64_t image, const struct head *head, struct error *err);

struct host {
	uint64_t id;
	char name[65];
};

/* Claims epoch view->newest_epoch + 1 for `host`. -EBUSY when another host was quicker; -ETIMEDOUT, -EAGAIN when that cannot be told:
 * load the view anew and try again, the epoch may have been made. Updates the view's epoch, owner, and the terms that are older. */
int epoch_claim(struct pool *p, uint64_t image, const struct host *host, struct log_view *view, struct error *err);

/* The same; where the store has no create-only puts, a claim of which nothing can be told (by the two above, or -EIO) is made again
 * some times, past the epoch that it may have made. `*stop`, looked at in between, ends that. */
int epoch_claim_patiently(struct pool *p, uint64_t image, const struct host *host, struct log_view *view,
                          const atomic_bool *stop, struct error *err);

/* Records that the claimed term begins at `first`; adds it to the view. From then on segments may be put. */
int epoch_begin_term(struct pool *p, uint64_t image, struct log_view *view, segment_no_t first, struct error *err);

/* Orderly hand-over: marks our newest epoch as released, with the last segment. */
int epoch_release(struct pool *p, uint64_t image, const struct host *host, const struct log_view *view,
                  segment_no_t last, struct error *err);

/* Asks the store for an epoch newer than `epoch`: done() comes with -ENOENT when there is none, on a thread of the store's. Answers
 * correctly if called after a put was answered. */
void epoch_look(struct pool *p, uint64_t image, uint64_t epoch, store_length_fn *done, void *arg);
/* The same for who may block: 1, 0, -errno. */
int epoch_superseded(struct pool *p, uint64_t image, uint64_t epoch, struct error *err);

/* The lease of a host. `counter` changes at every renewal; an observer measures with its own clock how long it stays. */
struct lease {
	uint64_t counter;
	uint64_t lease_ms;
	char name[65];
};
int lease_load(struct pool *p, uint64_t host_id, struct lease *lease, struct error *err); /* -ENOENT */
int lease_renew(struct pool *p, const struct host *host, uint64_t counter, uint64_t lease_ms, struct error *err);
int lease_drop(struct pool *p, const struct host *host, struct error *err);

/* Watches until the lease of view's owner changes (-EBUSY: it is alive; err names it), or has stayed for its lease_ms plus a
 * third (0: may be taken). Gone altogether counts as run out. Blocks that long. `*stop`, polled, ends it with -EINTR. */
int lease_wait_expired(struct pool *p, const struct log_view *view, const atomic_bool *stop, struct error *err);

/* Deletes all objects below images/<id>/: segments first, epochs last, so that a crash leaves it deletable. */
int image_objects_remove(struct pool *p, uint64_t image, struct error *err);

#endif
