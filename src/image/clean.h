/* SPDX-License-Identifier: GPL-3.0-only */
/* clean.h: cleaning (GC): what of an image's log is still needed, and what goes. Private to src/image.
 *
 * Needed is what a kept root leads to, and what opening needs. Kept roots: the newest checkpoint that is in the store; every snapshot
 * object of the image (clones hold one of their parent); a snapshot that was deleted and is still open here. Opening needs everything
 * from the segment before the newest checkpoint's cut on.
 *
 * One cleaning goes: a checkpoint, into the store, its head written and read back; the maps of the kept roots are walked
 * (clean_mark); segments that nothing leads to are noted, and deleted when they have been that for the grace time (clean_sweep); of those
 * with little in them what is needed is appended to the log again (clean_move). The segments that this empties go the same way in the next
 * round. Where much waits for its upload, an image that is cleaned by itself is looked at as of the checkpoints that happen to be made, whenever
 * one has reached the store, as a new one would be there much later.
 *
 * Rules by which something is deleted:
 *   - nothing led to it in a walk that began after the head was read back;
 *   - images/<id>/cleaned, put before, says so to those who may have an older map: hosts that read the image, and this one after a
 *     crash: they begin anew from a checkpoint that is not older;
 *   - the epoch is still ours, looked at after all that;
 *   - no snapshot has appeared since that may be of a moment before the checkpoint.
 */
#ifndef GARNER_IMAGE_CLEAN_H
#define GARNER_IMAGE_CLEAN_H

#include "image/clean_pace.h"
#include "image/epoch.h"
#include "image/image.h"
#include "image/live.h"
#include "map/checkpoint.h"

struct image;

/* What of an image's log its history needs (history.c). */
struct kept_past {
	segment_no_t from;    /* all from this segment on; 0: it keeps none */
	segment_no_t segment; /* of the checkpoint that was cut there; 0: from the begin of the log */
	map_entry_t root;     /* of that */
};
int history_kept(struct image *i, struct kept_past *k, struct error *err);

/* ---- cleaned.c: what is said of cleanings in the store ---- */

/* Object images/<id>/cleaned: whatever the map of this checkpoint, and those of the snapshots, do not lead to may be gone. */
struct cleaned {
	uint64_t epoch;
	segment_no_t segment; /* of the checkpoint: everything up to here was in the store */
	map_entry_t root;     /* its root */
	segment_no_t
		oldest; /* of the oldest checkpoint whose map, and the log from its cut on, is all there: for history; at most `segment` */
};

/* -ENOENT: the image was never cleaned. */
int cleaned_load(struct pool *p, uint64_t image, struct cleaned *c, struct error *err);
int cleaned_save(struct pool *p, uint64_t image, const struct cleaned *c, struct error *err);
/* Whether a map that begins at `root` may lead to what is gone, by what is said. Roots are written in the order of the log. */
bool cleaned_after(const struct cleaned *c, map_entry_t root);
/* Whether the image's, last written by the checkpoint in segment `written` (0: by none), may, also when what is said came late. Its view and
 * the end of its log are known. */
bool image_cleaned_after(const struct image *i, const struct cleaned *c, map_entry_t root, segment_no_t written);

/* ---- mark.c ---- */

/* What a listing shows of the image's log. */
struct stored_segment {
	segment_no_t number;
	uint64_t epoch;
	uint64_t bytes;
};

struct kept_root {
	uint64_t id; /* of the snapshot */
	map_entry_t root;
	segment_no_t segment;    /* of its checkpoint */
	segment_no_t whole_from; /* from here up to there all is needed; 0: only what the root leads to */
};

struct clean {
	struct image *image;
	struct clean_options options;
	bool by_itself; /* nobody asked for it */
	struct clean_result *result;
	clean_progress_fn *progress; /* may be NULL */
	void *arg;
	struct error *err;

	/* The round: */
	uint64_t began_ns;            /* when it began */
	uint64_t look_ns;             /* how long it took to see what there is */
	uint64_t round_ns;            /* how long it is to be */
	struct checkpoint checkpoint; /* the newest, in the store */
	segment_no_t segment;         /* where it is */
	segment_no_t floor;           /* nothing from here on is deleted */
	struct kept_past history;     /* as the image's policy is */
	struct kept_root *roots;      /* of snapshots */
	size_t root_count;
	struct live live;
	uint64_t nodes;  /* of maps, read so far */
	uint64_t own;    /* grains of the newest map that are in this log */
	uint64_t wanted; /* so many slots should be won by moving; UINT64_MAX: whatever can be */
	double pressure; /* clean_pace.h */
	struct stored_segment *stored;
	size_t stored_count;
};

/* False when the caller of the cleaning, or the engine's end, wants no more. */
bool clean_goes_on(struct clean *c, enum clean_phase phase, uint64_t done, uint64_t all);
/* The snapshots that are there now. */
int clean_find_roots(struct clean *c, struct kept_root **roots, size_t *count);
/* Walks the maps of all kept roots. */
int clean_mark(struct clean *c);
/* Lists what is stored. */
int clean_list(struct clean *c);

/* ---- clean_holds.c ---- */

/* Longer than anybody is about to make a clone. */
#define CLEAN_HOLD_GRACE_NS (UINT64_C(24) * 3600 * 1000000000)

/* Lets go of what is held for clones that never came to be, and of what clean_rewound() does. */
int clean_holds(struct clean *c);
/* Lets go of what an image that was rewound in place holds of itself, as far as the object cleaned says that no moment needs it. */
int clean_rewound(struct pool *p, uint64_t image, struct error *err);

/* ---- sweep.c ---- */

/* Notes garbage, and deletes what has been that for long enough. -EAGAIN: mark again. */
int clean_sweep(struct clean *c);
/* Whether something of the image has waited for long enough. */
bool clean_is_due(struct engine *e, uint64_t image);
/* Forgets what was noted: of the image, or of all. */
void clean_forget(struct engine *e, uint64_t image);
void clean_forget_all(struct engine *e);

/* ---- move.c ---- */

/* Moves what is needed out of the segments where that pays. Returns how many segments it emptied, or an error. */
int64_t clean_move(struct clean *c);
/* What it would move. */
int clean_would_move(struct clean *c, uint64_t *segments, uint64_t *bytes);

/* Whether what was needed of the segment was moved out of it, which the round's checkpoint does not know. */
bool clean_is_emptied(const struct clean *c, segment_no_t number);
/* The round's checkpoint is another one than the last. */
void clean_forget_emptied(struct clean *c);

/* ---- measure.c ---- */

int clean_measure(struct clean *c, struct image_space *space);

/* ---- clean.c ---- */

/* Slots of a stored segment, as far as this host knows; else as if it were full. */
uint64_t clean_slots_of(struct clean *c, const struct stored_segment *s);
/* engine_clean(); `by_itself`: one round towards what gc_target allows; -EALREADY: not now, as another cleaning of the
 * image goes on, or nothing new of it is in the store. */
int clean_image(struct engine *e, uint64_t id, const struct clean_options *options, bool by_itself,
                clean_progress_fn *progress, void *arg, struct clean_result *result, struct error *err);

/* ---- clean_itself.c ---- */

/* So much of the garbage that gc_target allows there may be before something is done: it grows on meanwhile. */
static inline uint64_t clean_allowed(uint64_t stored, uint64_t target)
{
	return stored * target / 100 * 8 / 10;
}

/* Whether so much is garbage of so many slots stored, that a round of moves down to what is allowed is worth a checkpoint and a walk. */
static inline bool clean_is_too_much(uint64_t garbage, uint64_t stored, uint64_t target)
{
	return garbage > clean_allowed(stored, target) + stored / 128;
}

/* The thread that cleans what needs it. */
int clean_start(struct engine *e, struct error *err);
void clean_stop(struct engine *e);

#endif
