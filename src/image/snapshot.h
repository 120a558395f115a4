/* SPDX-License-Identifier: GPL-3.0-only */
/* snapshot.h: names for moments of an image. Private to src/image.
 *
 * A snapshot is a checkpoint with a name: an object that says where the map of that moment has its root. Every slot that it leads
 * to lies in the log up to the checkpoint's segment, so the log must keep what a snapshot needs for as long as it is there.
 *
 * Object images/<id>/snapshots/<hash of the name>, sealed with the image key: name, id, origin, time, checkpoint's segment, root, size,
 * allocated, mtime, grain, layers, from, protected. It is put when all it leads to is in the store. The calls here block on the store; any
 * thread; nothing is cached.
 */
#ifndef GARNER_IMAGE_SNAPSHOT_H
#define GARNER_IMAGE_SNAPSHOT_H

#include "image/image.h"
#include "image/pool.h"
#include "log/types.h"

struct snapshot {
	uint64_t image;
	struct snapshot_info info;
	segment_no_t segment; /* that of the checkpoint */
	map_entry_t root;     /* MAP_ENTRY_NONE: nothing was mapped */
	uint32_t grain_bytes;
	uint32_t layers; /* that entries may point into, besides the image's own log (layers.h) */
	segment_no_t
		whole_from; /* this segment and those after it, up to `segment`, are held with all they hold; 0: none */
};

/* Puts the object: -EEXIST when `fresh` and there is one of that name, else over what is there. */
int snapshot_save(struct pool *p, const struct snapshot *s, bool fresh, struct error *err);
/* -ENOENT. */
int snapshot_load(struct pool *p, uint64_t image, const char *name, struct snapshot *s, struct error *err);
/* Also one that is hidden (below). */
int snapshot_load_any(struct pool *p, uint64_t image, const char *name, struct snapshot *s, struct error *err);
/* Whether that very one is there still. -ENOENT: it was deleted, and another one may have its name. */
int snapshot_still_there(struct pool *p, const struct snapshot *s, struct error *err);
int snapshot_remove(struct pool *p, uint64_t image, const char *name, struct error *err);

/* Calls each() for every snapshot of the image, oldest first, until it returns non-zero, which is returned. A damaged one is
 * reported, and passed over. */
int snapshot_list(struct pool *p, uint64_t image, int (*each)(void *arg, const struct snapshot *s), void *arg,
                  struct error *err);

/* The same, but of each damaged one damaged() is told, with why, before any each(); non-zero from it ends the listing likewise. */
int snapshot_list_checked(struct pool *p, uint64_t image, int (*each)(void *arg, const struct snapshot *s),
                          int (*damaged)(void *arg, const struct error *why), void *arg, struct error *err);

enum snapshot_kinds {
	SNAPSHOTS_NAMED,  /* those that people made */
	SNAPSHOTS_FOREIGN /* and what other images hold on to */
};

/* Whether the image has any of these, be it one that cannot be read: 1, 0, or an error. */
int snapshot_any(struct pool *p, uint64_t image, enum snapshot_kinds kinds, struct error *err);

/* Those that clones hold on to (layers.h), or the image itself, have names that begin with a dot, and nobody sees them. */
static inline bool snapshot_hidden(const struct snapshot *s)
{
	return s->info.name[0] == '.';
}

/* The name of what an image holds of itself that is rewound in place: what it is from then on, which no earlier checkpoint and no record
 * leads to. `next`: the number of the segment with which its log goes on. It is unique. */
void snapshot_rewound_name(segment_no_t next, char name[SNAPSHOT_NAME_MAX + 1]);
/* The other way. False: it is no such name. */
bool snapshot_rewound_parse(const char *name, segment_no_t *next);

#endif
