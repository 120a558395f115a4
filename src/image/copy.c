/* SPDX-License-Identifier: GPL-3.0-only */
/* copy.c: copying a range between images: what is large is shared where it can be (share.c), else data is read and written, and holes are
 * discarded at the other end.
 */
#include "image/private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define COPY_BYTES (1u << 20)

enum copy_stage { COPY_GROW, COPY_SHARE, COPY_SEEK, COPY_HOLE, COPY_READ, COPY_WRITE, COPY_EXTEND, COPY_END };

struct copy {
	struct image *from, *to;
	uint64_t offset, to_offset, len, at;
	uint64_t hole_until; /* value of `at` where the hole ends */
	enum copy_stage stage;
	uint8_t *buf;
	size_t piece;
	int64_t result; /* of the call under way */
	image_done_fn *done;
	void *arg;
};

static void copy_run(void *arg);
static void copy_share(void *arg);

static void copy_called(void *arg, int64_t result)
{
	struct copy *c = arg;

	c->result = result;
	if (executor_run(c->from->engine->work, copy_run, c))
		copy_run(c);
}

/* Starts the call that the stage is about: its result, or -EINPROGRESS. */
static int64_t copy_call(struct copy *c)
{
	uint64_t at = c->offset + c->at, left = c->len - c->at;

	switch (c->stage) {
	case COPY_SHARE:
		return executor_run(c->from->engine->sharing, copy_share, c) ? 0 : -EINPROGRESS;
	case COPY_SEEK:
		return image_seek(c->from, at, true, copy_called, c);
	case COPY_HOLE:
		return image_discard(c->to, c->to_offset + c->at, c->hole_until - c->at, copy_called, c);
	case COPY_READ:
		c->piece = left < COPY_BYTES ? left : COPY_BYTES;
		return image_read(c->from, at, c->buf, c->piece, copy_called, c);
	case COPY_WRITE:
		return image_write(c->to, c->to_offset + c->at, c->buf, c->piece, copy_called, c);
	case COPY_GROW:
	case COPY_EXTEND:
		if (atomic_load(&c->to->size) >= c->to_offset + c->len)
			return 0;
		return image_resize(c->to, c->to_offset + c->len, copy_called, c);
	case COPY_END:
		break;
	}
	return 0;
}

/* What comes after a call that answered `r`. Returns 0 or an error. */
static int64_t copy_next(struct copy *c, int64_t r)
{
	if (c->stage == COPY_SEEK && r == -ENXIO)
		r = (int64_t)(c->offset + c->len); /* no data from here on */
	if (r < 0)
		return r;
	switch (c->stage) {
	case COPY_GROW:
		c->stage = COPY_SHARE;
		break;
	case COPY_SHARE:
		c->at += (uint64_t)r;
		c->stage = r && image_can_share(c->from, c->offset + c->at, c->to, c->to_offset + c->at, c->len - c->at)
		                   ? COPY_SHARE
		                   : COPY_SEEK;
		break;
	case COPY_SEEK:
		c->hole_until = (uint64_t)r - c->offset < c->len ? (uint64_t)r - c->offset : c->len;
		c->stage = c->hole_until > c->at ? COPY_HOLE : COPY_READ;
		break;
	case COPY_HOLE:
		c->at = c->hole_until;
		c->stage = COPY_READ;
		break;
	case COPY_READ:
		c->piece = (size_t)r;
		c->stage = r ? COPY_WRITE : COPY_EXTEND;
		break;
	case COPY_WRITE:
		c->at += c->piece;
		c->stage = COPY_SEEK;
		break;
	case COPY_EXTEND:
		c->stage = COPY_END;
		break;
	case COPY_END:
		break;
	}
	if (c->stage != COPY_EXTEND && c->stage != COPY_END && c->at >= c->len)
		c->stage = COPY_EXTEND;
	return 0;
}

/* What cannot be shared is copied. */
static void copy_share(void *arg)
{
	struct copy *c = arg;
	struct error err = { 0 };
	int64_t r = image_share(c->from, c->offset + c->at, c->to, c->to_offset + c->at, c->len - c->at, &err);

	if (r < 0)
		report_debug("image %016" PRIx64 ": nothing is shared: %s", c->to->id, error_text(&err));
	copy_called(c, r < 0 ? 0 : r);
}

static void copy_run(void *arg)
{
	struct copy *c = arg;
	int64_t r = c->result;

	for (;;) {
		if (r != -EAGAIN) /* the first time there is no call to look back at */
			r = copy_next(c, r);
		if (r < 0 && r != -EAGAIN)
			break;
		if (c->stage == COPY_END) {
			r = (int64_t)c->len;
			break;
		}
		r = copy_call(c);
		if (r == -EINPROGRESS)
			return;
	}
	image_done_fn *done = c->done;
	void *done_arg = c->arg;
	free(c->buf);
	free(c);
	done(done_arg, r);
}

int64_t image_copy(struct image *from, uint64_t offset, struct image *to, uint64_t to_offset, uint64_t len,
                   image_done_fn *done, void *arg)
{
	uint64_t size = atomic_load(&from->size);
	struct copy *c;

	if (offset >= size || !len)
		return 0;
	if (len > size - offset)
		len = size - offset;
	if (from == to && offset < to_offset + len && to_offset < offset + len)
		return -EINVAL;
	c = calloc(1, sizeof *c);
	if (c) {
		*c = (struct copy){ .from = from,
			            .to = to,
			            .offset = offset,
			            .to_offset = to_offset,
			            .len = len,
			            .result = -EAGAIN,
			            .stage = image_can_share(from, offset, to, to_offset, len) ? COPY_GROW : COPY_SEEK,
			            .done = done,
			            .arg = arg };
		c->buf = malloc(COPY_BYTES);
	}
	if (!c || !c->buf || executor_run(from->engine->work, copy_run, c)) {
		if (c)
			free(c->buf);
		free(c);
		return -ENOMEM;
	}
	return -EINPROGRESS;
}
