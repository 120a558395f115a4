/* SPDX-License-Identifier: GPL-3.0-only */
/* cold_image.h: an image that is in the store and nowhere else, and whose bytes tell where they belong: for tests of what is fetched
 * before it is asked for. It was written in pieces in no order, so that the log's order is not the disk's. For tests only.
 */
#ifndef GARNER_TESTS_COLD_IMAGE_H
#define GARNER_TESTS_COLD_IMAGE_H

#include "lib/image_fixture.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COLD_NAME "disk"
#define COLD_PIECE (256u << 10)
/* How long anything may take before it counts as lost, in seconds. */
#define COLD_PATIENCE 300

struct cold_image {
	struct image_fixture f; /* its engine is open while the image is */
	struct image *image;
	unsigned flags;           /* it is open with */
	uint64_t id, size;        /* bytes */
	uint64_t hole, hole_ends; /* nothing was written there */
};

static inline _Noreturn void cold_die(const char *what)
{
	fprintf(stderr, "%s\n", what);
	abort();
}

static inline uint8_t cold_byte(const struct cold_image *c, uint64_t offset)
{
	struct random r = { offset / 8 };

	if (offset >= c->hole && offset < c->hole_ends)
		return 0;
	return (uint8_t)(random_next(&r) >> offset % 8 * 8);
}

/* Opens engine and image on a host. Whatever that host has of the image stays. */
static inline void cold_image_open(struct cold_image *c, unsigned host, unsigned flags)
{
	struct error err = { 0 };
	struct node_attr attr;

	image_fixture_open(&c->f, host);
	c->flags = flags;
	if (engine_lookup(c->f.engine, NODE_ROOT, COLD_NAME, &attr, &err) ||
	    image_open(c->f.engine, attr.id, flags, &c->image, &err))
		cold_die(error_text(&err));
}

/* The same on one that has nothing. */
static inline void cold_image_open_new(struct cold_image *c, unsigned host, unsigned flags)
{
	image_fixture_lose_cache(&c->f, host);
	cold_image_open(c, host, flags);
}

/* Everything reaches the store. */
static inline void cold_image_close(struct cold_image *c)
{
	image_close(c->image, c->flags);
	c->image = NULL;
	image_fixture_close(&c->f);
}

static inline void cold_image_write(struct cold_image *c, uint64_t offset, uint64_t len)
{
	uint8_t *buf = malloc(len);

	if (!buf)
		cold_die("out of memory");
	for (uint64_t k = 0; k < len; k++)
		buf[k] = cold_byte(c, offset + k);
	if (write_wait(c->image, offset, buf, len) != (int64_t)len)
		cold_die("a write failed");
	free(buf);
}

/* Makes pool and image on host 0, and closes. A hole begins and ends at pieces. */
static inline void cold_image_init(struct cold_image *c, bool sealed, uint64_t size, uint64_t hole, uint64_t hole_ends)
{
	uint64_t pieces = (size + COLD_PIECE - 1) / COLD_PIECE;

	*c = (struct cold_image){ .size = size, .hole = hole, .hole_ends = hole_ends };
	image_fixture_init(&c->f, sealed);
	c->f.options.cache_size = 128u << 20;
	c->f.options.dirty_limit = 64u << 20;
	image_fixture_open(&c->f, 0);
	c->id = image_fixture_create(c->f.engine, COLD_NAME);
	c->flags = IMAGE_READ | IMAGE_WRITE;
	c->image = image_fixture_open_image(c->f.engine, COLD_NAME);
	/* 61 is a prime: every piece has its turn. */
	for (uint64_t k = 0; k < pieces; k++) {
		uint64_t offset = (pieces % 61 ? k * 61 % pieces : k) * COLD_PIECE;
		if (offset < hole || offset >= hole_ends)
			cold_image_write(c, offset, size - offset < COLD_PIECE ? size - offset : COLD_PIECE);
	}
	cold_image_close(c);
}

static inline void cold_image_destroy(struct cold_image *c)
{
	if (c->image)
		image_close(c->image, c->flags);
	image_fixture_destroy(&c->f);
}

/* Reads, and whether all came and is right. Any thread. */
static inline bool cold_image_read(const struct cold_image *c, uint64_t offset, uint64_t len)
{
	uint8_t *buf = malloc(len);
	int64_t wanted = (int64_t)(c->size - offset < len ? c->size - offset : len);

	if (!buf)
		cold_die("out of memory");
	memset(buf, 0xee, len);
	bool right = read_wait(c->image, offset, buf, len) == wanted;
	for (int64_t k = 0; right && k < wanted; k++)
		right = buf[k] == cold_byte(c, offset + (uint64_t)k);
	free(buf);
	return right;
}

/* Waits until nothing is fetched ahead. */
static inline void cold_image_settle(const struct cold_image *c)
{
	struct engine *e = c->f.engine;
	uint64_t until = clock_monotonic_ns() + seconds_ns(COLD_PATIENCE);
	struct timespec pause = { .tv_nsec = 50000 };
	unsigned aheads;

	do {
		pthread_mutex_lock(&e->mutex);
		aheads = e->aheads;
		pthread_mutex_unlock(&e->mutex);
		if (aheads)
			nanosleep(&pause, NULL);
		if (clock_monotonic_ns() > until)
			cold_die("what is fetched ahead does not end");
	} while (aheads);
}

static inline int cold_count_here(void *arg, struct segment *s)
{
	uint64_t *chunks = arg;

	for (uint32_t k = 0; atomic_load(&s->chunk) && k < s->shape.chunks; k++)
		*chunks += segment_chunk_state(s, k) != CHUNK_ABSENT;
	return 0;
}

/* How many of the image's chunks are in the cache. */
static inline uint64_t cold_image_chunks_here(const struct cold_image *c)
{
	uint64_t chunks = 0;

	segment_set_each(c->image->set, cold_count_here, &chunks);
	return chunks;
}

static inline struct engine_status cold_image_status(const struct cold_image *c)
{
	struct engine_status st;

	engine_status(c->f.engine, &st);
	return st;
}

#endif
