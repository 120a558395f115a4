/* SPDX-License-Identifier: GPL-3.0-only */
/* layers.h: the logs that an image's map can point into besides its own. Private to src/image.
 *
 * A clone begins with the map of a moment of another image, whose entries point into that image's log. Layer 0 is an image's own
 * log; the others are listed in the object images/<id>/layers, sealed with the image key, which only ever grows. What a layer
 * brought with it follows it at once in the same order: so an entry of layer j in a map node that lies in the log of layer k
 * is of layer k + j for the image that reads it. A layer is an image and the epoch whose list of terms says which of its
 * segments count.
 *
 * An image that begins at a moment between two checkpoints has, besides the map of the first of them, the records after it: those are
 * replayed when the map is made, until the image's own log has a checkpoint.
 *
 * The first layer of a group holds on to what it needs: a snapshot of that image, with a name that no user can give (layer_hold_name()),
 * which is put before the first entry that leads there and removed when the image here is.
 */
#ifndef GARNER_IMAGE_LAYERS_H
#define GARNER_IMAGE_LAYERS_H

#include "image/pool.h"
#include "image/snapshot.h"

#define LAYERS_MAX ((1u << MAP_ENTRY_LAYER_BITS) - 1)

/* One layer as the object says it. */
struct layer_ref {
	uint64_t image;    /* whose log it is */
	uint64_t epoch;    /* its terms up to there count; 0: nothing of it was ever written */
	segment_no_t last; /* no entry leads further */
	uint64_t hold;     /* of the first of a group: which snapshot there is held (layer_hold_name()); else 0 */
};

/* Whether both are the same part of the same log, and hold the same. */
static inline bool layer_ref_equal(const struct layer_ref *a, const struct layer_ref *b)
{
	return a->image == b->image && a->epoch == b->epoch && a->last == b->last && a->hold == b->hold;
}

/* Records of a layer that go on top of the base: those of segments from... before position `to`. */
struct layer_replay {
	unsigned layer;
	segment_no_t from;
	struct log_position to;
};

/* The object. `base` is where the map begins while the log has no checkpoint: root (with its layer), size, allocated_bytes,
 * mtime_ns, grain_bytes; then come the replays, in this order. */
struct layer_list {
	struct snapshot base;
	struct layer_ref *refs; /* layers 1... */
	size_t count;
	struct layer_replay *replays;
	size_t replay_count;
};

/* -ENOENT: the image has none. */
int layer_list_load(struct pool *p, uint64_t image, struct layer_list *list, struct error *err);
int layer_list_save(struct pool *p, uint64_t image, const struct layer_list *list, struct error *err);
/* -E2BIG when there would be too many, -ENOMEM. */
int layer_list_add(struct layer_list *list, const struct layer_ref *ref, struct error *err);
int layer_list_add_replay(struct layer_list *list, const struct layer_replay *replay, struct error *err);
int layer_list_remove(struct pool *p, uint64_t image, struct error *err);
void layer_list_destroy(struct layer_list *list);

/* Whether `image` leads to the log of `other`, by layers of any depth: 1, 0, or an error. Blocks on the store. */
int layer_reaches(struct pool *p, uint64_t image, uint64_t other, struct error *err);

/* The name of a snapshot that `image` holds on to. */
void layer_hold_name(uint64_t image, uint64_t hold, char name[SNAPSHOT_NAME_MAX + 1]);
/* The other way. False: it is no such name. */
bool layer_hold_parse(const char *name, uint64_t *image, uint64_t *hold);

/* Adds the layers of who takes over entries of `held`: that image's log, held as `hold`, and the layers that it has itself. Blocks on the
 * store. */
int layer_list_add_group(struct layer_list *list, struct pool *p, const struct snapshot *held, uint64_t hold,
                         struct error *err);

#endif
