/* SPDX-License-Identifier: GPL-3.0-only */
/* image_fixture.h: an engine in directories of its own, for tests that drive image.h: small options, calls that wait, hosts that
 * lose things. For tests only: what should not happen ends the program.
 */
#ifndef GARNER_TESTS_IMAGE_FIXTURE_H
#define GARNER_TESTS_IMAGE_FIXTURE_H

#include "image/private.h"
#include "lib/random.h"

/* A pool and its hosts. Each host has a cache directory; one engine at a time is `engine`. */
struct image_fixture {
	char dir[200];
	char store[512], key_file[256];
	bool elsewhere; /* the store is not in `dir` */
	char cache[2][256];
	struct engine_options options; /* for the next opening; small to begin with */
	struct engine *engine;
	unsigned host; /* whose cache directory it is */
};

/* Makes the pool, with a key file if `sealed`. The engine is not open yet. */
void image_fixture_init(struct image_fixture *f, bool sealed);
/* The same in a store of which this is the URL, below a prefix that nobody else has; NULL: in a directory. */
void image_fixture_init_in(struct image_fixture *f, bool sealed, const char *store_url);
/* Closes the engine if it is open, and deletes everything. */
void image_fixture_destroy(struct image_fixture *f);

/* Opens the engine with the cache directory of `host`. */
void image_fixture_open(struct image_fixture *f, unsigned host);
/* Another one beside it. */
struct engine *image_fixture_open_beside(struct image_fixture *f, unsigned host);
/* Closes in order: everything must have reached the store. */
void image_fixture_close(struct image_fixture *f);
/* Reads everything in the store; a fault ends the program. */
void image_fixture_verify(struct image_fixture *f);

/* What a host may lose while its engine is closed. */
void image_fixture_lose_cache(struct image_fixture *f, unsigned host);
void image_fixture_lose_db(struct image_fixture *f, unsigned host);

/* Creates an image of size 0 in the root directory; its id. */
uint64_t image_fixture_create(struct engine *e, const char *name);
/* Looks the name up and opens the image for reading and writing. */
struct image *image_fixture_open_image(struct engine *e, const char *name);
void image_fixture_close_image(struct image *i);

/* The calls of image.h, waiting for the answer. An answer that never comes ends the program. */
int64_t read_wait(struct image *i, uint64_t offset, void *buf, size_t len);
int64_t write_wait(struct image *i, uint64_t offset, const void *buf, size_t len);
int64_t flush_wait(struct image *i, enum image_flush_level level);
int64_t discard_wait(struct image *i, uint64_t offset, uint64_t len);
int64_t resize_wait(struct image *i, uint64_t size);
int64_t set_mtime_wait(struct image *i, uint64_t mtime_ns);
int64_t seek_wait(struct image *i, uint64_t offset, bool data);
int64_t copy_wait(struct image *from, uint64_t offset, struct image *to, uint64_t to_offset, uint64_t len);

/* Saves the map, or writes a checkpoint, now. Nothing when the image has been handed over. */
int save_now(struct image *i, bool checkpoint);

#endif
