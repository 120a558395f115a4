/* SPDX-License-Identifier: GPL-3.0-only */
/* clean_pace.h: how fast cleaning moves what is needed, beside guests that write. Private to src/image.
 *
 * Rules by which it is decided whether more may be moved now:
 *   - while guests write nothing: as fast as it can be;
 *   - beside them: a round takes its time, so that the more there is to be moved, the faster it goes;
 *   - but while uploads keep up no more than twice what guests write, or a few megabytes per second, and less the more waits for its
 *     upload: nothing from half of the limit on, where guests are slowed;
 *   - except that, as garbage grows from what is allowed of it to twice that, it takes up to a quarter of what guests write whatever waits:
 *     else the store would grow without a bound under guests that never pause.
 * Pure: time and counters come from the caller. Not thread-safe.
 */
#ifndef GARNER_IMAGE_CLEAN_PACE_H
#define GARNER_IMAGE_CLEAN_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* What there is at a moment. */
struct clean_load {
	uint64_t now_ns;        /* monotonic */
	uint64_t guests_wrote;  /* bytes, ever */
	uint64_t unsent, limit; /* bytes that wait for their upload, and how many may */
};

struct clean_pace {
	bool at_once;      /* uploads are all that it gives way to, and they only above the half */
	double pressure;   /* 0: no more garbage than is allowed; 1: twice as much, or more */
	uint64_t total;    /* bytes that this round moves ... */
	uint64_t round_ns; /* ... in so long, beside guests */

	uint64_t moved;    /* of those so far */
	uint64_t began_ns; /* the round */
	uint64_t last_ns;  /* clean_pace_may() before this one */
	uint64_t wrote_ns; /* when guests were last seen to have written; 0: not yet */
	uint64_t guests_wrote;
	double allowance; /* bytes that may be moved for what guests have written and time that has passed; less than 0: too many were */
};

/* The pressure when there is so much garbage, and so much is allowed. */
double clean_pressure(uint64_t garbage, uint64_t allowed);
/* A round begins; `plan` says the first four of the fields, the others are 0. */
void clean_pace_begin(struct clean_pace *p, const struct clean_pace *plan, const struct clean_load *load);
/* Whether the next of them may be moved now. To be asked every few milliseconds until it is so. */
bool clean_pace_may(struct clean_pace *p, const struct clean_load *load);
/* So many were. */
void clean_pace_moved(struct clean_pace *p, uint64_t bytes);

#endif
