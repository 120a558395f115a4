/* SPDX-License-Identifier: GPL-3.0-only */
/* object_scrub.h: reads every object of a store again and again, slowly, so that damage is found while others still have good copies.
 *
 * Damaged ones are moved aside as object_store_read() does it, and told to whoever can repair them. Knows nothing of other nodes.
 */
#ifndef GARNER_NODE_OBJECT_SCRUB_H
#define GARNER_NODE_OBJECT_SCRUB_H

#include "node/object_store.h"

struct object_scrub;

/* Runs on the scrub's thread with no lock held, for each damaged object; may block, and holds up the scrub then. */
typedef void object_scrub_found_fn(void *arg, const char *name, const struct object_meta *meta);

/* Starts a thread that goes through all objects at `rate` bytes per second (0: as fast as it goes), waits `pause_s` seconds, and
 * begins again. `found` may be NULL. Returns 0 and *scrub; -ENOMEM, -EAGAIN. */
int object_scrub_start(struct object_store *s, uint64_t rate, uint64_t pause_s, object_scrub_found_fn *found, void *arg,
                       struct object_scrub **scrub);
/* Ends it after the object it is at, and frees. Before object_store_close(). Not from the callback. NULL is ignored. Blocks. */
void object_scrub_stop(struct object_scrub *scrub);

/* From now on. Any thread; never blocks. */
void object_scrub_set_rate(struct object_scrub *scrub, uint64_t rate);
/* Ends the pause between passes: begins one now. */
void object_scrub_now(struct object_scrub *scrub);

struct object_scrub_stats {
	uint64_t passes;           /* that were completed since the start */
	uint64_t last_complete_ns; /* wall clock at the end of the last one; 0: none yet */
	uint64_t objects, bytes;   /* read, over all passes */
	uint64_t damaged, failed;  /* found; could not be read for another reason */
	uint64_t pass_objects;     /* read in this pass */
	bool running;              /* a pass is under way */
};
void object_scrub_stats(struct object_scrub *scrub, struct object_scrub_stats *stats);

/* One whole pass on the calling thread, without a rate: for tests and for a command. 0, or the first error that was not a damaged
 * object. */
int object_scrub_pass(struct object_store *s, object_scrub_found_fn *found, void *arg,
                      struct object_scrub_stats *stats);

#endif
