/* SPDX-License-Identifier: GPL-3.0-only */
/* recover.h: what a crash left of a log: the segments here that are not in the store.
 *
 * Rules: segments are taken in order of their numbers, from the one after the store's last. A sealed one counts whole, if it
 * continues the hash chain. An open one counts up to the first record that fails its checksum, or whose slot does. The next
 * one counts only if the one before is complete: sealed, or holding as many records as the first record of the next says
 * (RECORD_FOLLOWS). Everything after the stop is deleted, durably, before the last one is sealed where it stopped: so a
 * crash during recovery recovers to the same place.
 */
#ifndef GARNER_LOG_RECOVER_H
#define GARNER_LOG_RECOVER_H

#include "base/error.h"
#include "log/segment.h"

struct recovery {
	/* in: what the store's last segment says; out: what the last recovered one says */
	segment_no_t last;
	uint8_t digest[DIGEST_BYTES];
	uint64_t image_size;
	struct log_position checkpoint;
	bool keep_all; /* what is sealed here is sealed whole: the image keeps history */
	void (*dropping)(void *arg, struct segment *s); /* a segment file is about to be deleted; may be NULL */
	void *arg;
	/* out */
	unsigned segments, dropped; /* found good; deleted */
};

/* Recovers the segments of `set` after r->last. They are all sealed, or gone, on success. Blocks. -EBADMSG when a sealed segment does not
 * fit the chain, is damaged or lies behind the end of the log, or any one's header is damaged (it was durable before the file had its
 * name): nothing is deleted then, and the text says where it is. -EIO ... */
int log_recover(struct segment_set *set, struct recovery *r, struct error *err);

#endif
