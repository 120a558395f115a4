/* SPDX-License-Identifier: GPL-3.0-only */
/* image_list.h: the images of a pool, from its store or through a mount, as one list in order of their paths. */
#ifndef GARNER_CLI_IMAGE_LIST_H
#define GARNER_CLI_IMAGE_LIST_H

#include "base/error.h"
#include "image/pool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct listed_image {
	char *path; /* below the root of the pool, or below the directory that was listed */
	uint64_t id;
	bool known; /* whether the fields below are: in a store an image that was never written has no head, and one may be unreadable */
	uint64_t size, allocated, mtime_ns;
};

struct image_list {
	struct listed_image *image;
	size_t count, room;
};

/* Appends every image of the pool; with `details` also size and so on, which costs a request for each image. The store knows
 * what was uploaded and checkpointed: a mount may be ahead of it. */
int image_list_from_store(struct image_list *list, struct pool *pool, bool details, struct error *err);

/* Appends every file below directory `path` of a mount; of one that cannot be looked up it is warned. */
int image_list_from_mount(struct image_list *list, const char *path, struct error *err);

/* By path, in the order of bytes. */
void image_list_sort(struct image_list *list);

/* The path of an image by its id, or NULL. */
const char *image_list_path(const struct image_list *list, uint64_t id);

void image_list_destroy(struct image_list *list);

#endif
