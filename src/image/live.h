/* SPDX-License-Identifier: GPL-3.0-only */
/* live.h: which slots of a log the maps of its moments lead to: two sets of slots, by segment. Private to src/image.
 *
 * Memory: a few dozen bytes per segment of the log, and a bit per slot of those that something leads to. Knows nothing of stores and
 * maps. Not thread-safe.
 */
#ifndef GARNER_IMAGE_LIVE_H
#define GARNER_IMAGE_LIVE_H

#include "log/types.h"

#include <stdbool.h>
#include <stdint.h>

enum live_set {
	LIVE_NOW,  /* the newest map */
	LIVE_PAST, /* those of snapshots */
	LIVE_SETS
};

struct live_segment {
	uint64_t *bits[LIVE_SETS]; /* a bit per slot; NULL: none */
	uint16_t words[LIVE_SETS];
	uint16_t count[LIVE_SETS];
	bool kept; /* whatever its slots are */
};

struct live {
	struct live_segment *segments; /* [number - 1] */
	segment_no_t end;
	uint64_t slots[LIVE_SETS];
};

/* For the segments 1..end, nothing live. 0 or -ENOMEM. */
int live_init(struct live *l, segment_no_t end);
void live_destroy(struct live *l);

/* Adds a slot. 0, -EBADMSG when no segment up to `end` can have it, -ENOMEM. */
int live_add(struct live *l, enum live_set set, map_entry_t slot);
bool live_has(const struct live *l, enum live_set set, segment_no_t number, uint32_t slot);
uint32_t live_count(const struct live *l, enum live_set set, segment_no_t number);
/* Slots in any of the sets. */
uint32_t live_union(const struct live *l, segment_no_t number);
/* Keeps the segment as a whole; a number past the end is passed over. */
void live_keep(struct live *l, segment_no_t number);

bool live_is_kept(const struct live *l, segment_no_t number);

/* Whether nothing leads to the segment. */
bool live_is_garbage(const struct live *l, segment_no_t number);
/* Whether only the newest map leads to it, so that moving what that needs makes it garbage. */
bool live_is_movable(const struct live *l, segment_no_t number);

#endif
