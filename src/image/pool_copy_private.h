/* SPDX-License-Identifier: GPL-3.0-only */
/* pool_copy_private.h: what the files behind pool_copy.h share. Private to src/image. One thread works; only callbacks of the stores
 * run on others.
 *
 * pool_copy.c goes through the images, pool_copy_place.c makes sure what the target is, pool_copy_names.c copies directory entries,
 * pool_copy_image.c one image, pool_copy_segments.c its segments, pool_copy_layers.c what it is a clone of, pool_copy_object.c
 * small objects, many at a time.
 */
#ifndef GARNER_IMAGE_POOL_COPY_PRIVATE_H
#define GARNER_IMAGE_POOL_COPY_PRIVATE_H

#include "image/catalog_entry.h"
#include "image/epoch_private.h"
#include "image/flight.h"
#include "image/layers.h"
#include "image/pool_copy.h"

#define COPY_MARKER_KEY "copy/pool"

/* ---- small objects ---- */

/* One small object, as it is stored. */
struct copy_object {
	char key[STORE_KEY_MAX + 1];
	uint64_t version; /* of the listing; 0: not known */
	uint8_t *bytes;   /* malloc'ed; NULL: not read, or gone */
	size_t len;
	bool gone;    /* was asked for, and is not there */
	bool skip;    /* is not to be put */
	bool replace; /* may be put over what is there */

	/* While it is under way. */
	struct flight *flight;
	struct iovec iov;
	int status;
};

/* Directory entries: three arrays of `count`, in order of their keys but for names/root. */
struct copy_names {
	struct copy_object *objects;
	struct catalog_entry *entries;
	struct entry_place *places;
	size_t count;
	struct hash *directories; /* id -> struct catalog_entry * */
};

struct pool_copy {
	struct pool *from, *to; /* `to` has the keys of `from` */
	struct pool_copy_report *report;
	pool_copy_progress_fn *progress;
	void *arg;
	uint64_t done, total;
	const char *path;      /* of the image under way, or "" */
	bool whole;            /* all of the pool */
	struct fields *format; /* of the target, when it is no pool yet */
	struct copy_names names;
	struct hash *copied; /* images whose logs are in the target, by id: the last segment, and one more */
};

/* False when the caller wants no more. */
bool pool_copy_go_on(struct pool_copy *c);

/* Reads those that have no bytes and are not known to be gone. */
int pool_copy_get(struct pool_copy *c, struct store *s, struct copy_object *list, size_t count, struct error *err);
/* Puts those that are there and not to be skipped. Where one is that may not be replaced: success if it has these bytes,
 * else -EEXIST. */
int pool_copy_put(struct pool_copy *c, struct copy_object *list, size_t count, struct error *err);
/* The same for one, under this key. With get, -ENOENT is success and sets `gone`. */
int pool_copy_get_one(struct pool_copy *c, struct store *s, const char *key, struct copy_object *o, struct error *err);
int pool_copy_put_one(struct pool_copy *c, struct copy_object *o, struct error *err);
void pool_copy_objects_free(struct copy_object *list, size_t count);

/* ---- the target ---- */

/* Finds out what `store` holds, and puts the marker when that is nothing. Sets c->to, to be freed with pool_copy_place_close(). */
int pool_copy_place_open(struct pool_copy *c, struct store *store, struct error *err);
/* All is there: makes it a pool. */
int pool_copy_place_finish(struct pool_copy *c, struct error *err);
void pool_copy_place_close(struct pool_copy *c);

/* ---- names ---- */

/* Reads all entries of the source as of one moment, or those on the way to `path`. */
int pool_copy_names_load(struct pool_copy *c, const char *path, struct error *err);
/* Compares them with those of the target, and decides what is to be put. */
int pool_copy_names_check(struct pool_copy *c, struct error *err);
int pool_copy_names_put(struct pool_copy *c, struct error *err);
/* The path of an entry, cut if it is very long. Returns `out`. */
const char *pool_copy_names_path(const struct copy_names *n, const struct catalog_entry *entry, char *out, size_t size);
void pool_copy_names_free(struct copy_names *n);

/* ---- images ---- */

struct image_copy {
	struct pool_copy *c;
	uint64_t image;
	uint32_t grain_bytes;
	struct seal_key key;
	struct log_view view;     /* of the source */
	segment_no_t end;         /* the last segment to copy */
	struct log_view there;    /* of the target, before */
	struct copy_object head;  /* read before the end was found, as is: */
	struct copy_object said;  /* what is said of cleaning */
	segment_no_t cleaned;     /* up to here segments may be missing */
	uint64_t *sizes;          /* [number - 1] of the source's segments; 0: not known */
	uint64_t *there_sizes;    /* likewise the target's; 0: not listed */
	segment_no_t counted;     /* up to here segments were reported when it was copied before */
	struct layer_list layers; /* of the source: all that the log up to the end leads to; empty: nothing */
	bool relist;              /* the target's list is another: the image was flattened since it was copied */
	bool turned;              /* pool_copy_layers_turn() was called */
};

/* Copies an image, but not its name, and the logs that it is a clone of; nothing when that was done already. -ENOENT, -EBADMSG and -EAGAIN
 * may mean that it is being deleted. */
int pool_copy_image(struct pool_copy *c, const struct catalog_entry *entry, struct error *err);
/* The same, also when it was done already: what came since. */
int pool_copy_image_again(struct pool_copy *c, const struct catalog_entry *entry, struct error *err);
/* The last segment of an image that was copied; 0: there is none, or it was not. */
segment_no_t pool_copy_end_of(const struct pool_copy *c, uint64_t image);

/* Copies the segments 1..end that the target does not have, and looks that they are there. */
int pool_copy_segments(struct image_copy *i, struct error *err);

/* ---- layers ---- */

/* Reads the source's list, anew. An image that has none has an empty one. */
int pool_copy_layers_read(struct image_copy *i, struct error *err);
/* Whether `list` begins with all of `before`: the image was not flattened in between. */
bool pool_copy_layers_extend(const struct layer_list *list, const struct layer_list *before);
/* Copies the logs that the list leads to, as far as what is held of them is not in the target: they may have no names any more. -EAGAIN:
 * the image was flattened meanwhile. */
int pool_copy_layers_bases(struct image_copy *i, struct error *err);
/* Before the log is copied, and after it: puts the list, or removes that of the target. -EEXIST: somebody needs what it has. */
int pool_copy_layers_begin(struct image_copy *i, struct error *err);
/* With `relist`, before the segment is put after which the log leads by another list. */
int pool_copy_layers_turn(struct image_copy *i, struct error *err);
int pool_copy_layers_end(struct image_copy *i, struct error *err);
/* Whether a snapshot of the target is what another image holds there, by its list of layers: 1, 0, or an error. */
int pool_copy_hold_used(struct pool_copy *c, const struct snapshot *s, struct error *err);

#endif
