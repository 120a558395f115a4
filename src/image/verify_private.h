/* SPDX-License-Identifier: GPL-3.0-only */
/* verify_private.h: one image that is being verified, and what is lost of the tree. Private to src/image. */
#ifndef GARNER_IMAGE_VERIFY_PRIVATE_H
#define GARNER_IMAGE_VERIFY_PRIVATE_H

#include "base/hash.h"
#include "image/catalog_private.h"
#include "image/epoch.h"
#include "image/layers.h"
#include "image/snapshot.h"
#include "image/verify.h"
#include "log/segment_object.h"
#include "map/checkpoint.h"

/* What a slot of a segment holds, in two bits. */
enum slot_use { SLOT_UNUSED = 0, SLOT_DATA = 1, SLOT_NODE = 2, SLOT_OTHER = 3 /* no map leads there */ };

struct segment_slots {
	uint32_t slots; /* 0: the segment could not be read, or is not there: */
	bool cleaned;
	uint16_t layers; /* the highest that a share in it leads to */
	uint8_t *uses;
};

struct verify {
	struct pool *pool;
	struct verify_report *report;
	verify_progress_fn *progress;
	void *arg;

	/* the image */
	const char *path;
	uint64_t image;
	uint32_t grain_bytes;
	struct seal_key key;
	segment_no_t cleaned; /* up to here segments may be missing that no map leads to */
	struct head head;     /* as it was before the rest was read; zeros: none that can be used */
	struct log_view view;
	segment_no_t end;
	struct snapshot *snapshots; /* likewise */
	size_t snapshot_count;
	struct layer_list layers;    /* what entries of other layers may lead to */
	struct hash *seen, *unnamed; /* all images so far; those that others are clones of, by id: what is left to do */
	struct segment_slots *segments; /* [number - 1] */
	bool incomplete;                /* a segment could not be read */

	uint8_t digest[DIGEST_BYTES]; /* of the segment before */
	bool digest_known;
	bool gap; /* since the last checkpoint that was met, segments were missing that cleaning took */

	bool have_checkpoint; /* the newest one so far */
	struct checkpoint checkpoint;
	segment_no_t checkpoint_segment;
};

/* Counts an error of this image. */
void verify_note(struct verify *v, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* False when the caller wants no more. */
bool verify_go_on(struct verify *v, segment_no_t number);

/* verify_segment.c: checks one object of the run, as read; and remembers what its slots hold. 0, or -ENOMEM. */
int verify_segment(struct verify *v, segment_no_t number, uint64_t epoch, const uint8_t *bytes, size_t len);
enum slot_use verify_slot_use(const struct verify *v, segment_no_t number, uint32_t slot);

/* verify_map.c: checks the map below a root, node by node. 0, -EINTR, -ENOMEM, -ETIMEDOUT. */
int verify_map(struct verify *v, map_entry_t root, struct error *err);

/* verify_lost.c: entries that do not lie below the root, by their directories; `parent` is where each was found. */
struct verify_lost {
	struct catalog_entry *list;
	size_t count;
};

/* Finds them among all entries of the pool, as they were listed, and when there are some reads all once more. `lost` is empty before, and to
 * be destroyed in any case. 0, -ENOMEM, or the store's error. Blocks. */
int verify_find_lost(struct catalog *c, const struct listed_entries *entries, struct verify_lost *lost,
                     struct error *err);
void verify_lost_destroy(struct verify_lost *lost);

#endif
