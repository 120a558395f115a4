/* SPDX-License-Identifier: GPL-3.0-only */
/* past.h: the moments of an image that its log in the store still holds. Private to src/image.
 *
 * A moment is a position of the log: the disk after the records before it. Packing drops records that others of the same segment
 * overwrite, unless the image keeps history; then there are no moments between the first of those and the end of the
 * segment. Nothing here depends on who owns the image, or changes it. Calls block on the store; one thread at a time.
 */
#ifndef GARNER_IMAGE_PAST_H
#define GARNER_IMAGE_PAST_H

#include "image/private.h"

/* A segment, as far as it is known. */
struct past_segment {
	segment_no_t number; /* 0: none */
	struct record *records;
	size_t count;
	size_t whole; /* moments are after each of so many records, and at the end */
};

struct past {
	struct engine *engine;
	uint64_t image;
	struct stored_log *log;
	segment_no_t end; /* the last one in the store: not 0 */
	segment_no_t
		floor; /* of the first checkpoint that cleaning has left as it was: moments come after it; 0: it has left all */
	struct past_segment last; /* looked at */
};

/* -ENODATA: nothing of it is in the store. Ended by past_close() in any case. */
int past_open(struct engine *e, const struct catalog_entry *image, struct past *p, struct error *err);
void past_close(struct past *p);

/* Has everything in the store that `m` may need: opens anew after a flush, if this host is the owner; when it is another one, and `m`
 * is later than what that has uploaded, -EAGAIN. */
int past_reach(struct past *p, const struct catalog_entry *image, const struct image_moment *m, struct error *err);

/* Brings a segment's records into p->last; and says in there, too, how many are whole. */
int past_look_at_records(struct past *p, segment_no_t number, struct error *err);
int past_look(struct past *p, segment_no_t number, struct error *err);

/* The first and the last one. */
int past_ends(struct past *p, struct image_moment *oldest, struct image_moment *newest, struct error *err);

/* The last segment that begins no later than that; 0: none does. Clocks may have been put back: of several one is given. */
int past_segment_at(struct past *p, uint64_t time_ns, segment_no_t *number, struct error *err);

/* The moment that is meant by `m` (see image.h): fills in the rest. -ERANGE says what there is. */
int past_find(struct past *p, struct image_moment *m, struct error *err);

/* The newest checkpoint before the moment, and its segment. 1: there is none. */
int past_checkpoint(struct past *p, const struct image_moment *m, struct checkpoint *c, segment_no_t *segment,
                    struct error *err);

/* What an image begins with that is as this one was at the moment: all but the name and id of what is to be held. */
int past_beginning(struct past *p, const struct image_moment *m, struct beginning *b, struct error *err);

/* Whether cleaning has come on meanwhile: -EAGAIN. To be asked after what is needed is held: from then on it stays. */
int past_still_there(struct past *p, struct error *err);

/* All of that: what an image begins with that is as `image` was at `m`, which is found and filled in, held for `holder`. */
int past_hold(struct engine *e, const struct catalog_entry *image, struct image_moment *m, uint64_t holder,
              struct beginning *b, struct error *err);

#endif
