/* SPDX-License-Identifier: GPL-3.0-only */
/* copy.c: copying a range between images: what is not small is shared where it can be (share.c), else data is read and
 * written, and holes are discarded at the other end.
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
	uint64_t read_until; /* value of `at` up to which nothing is shared */
	enum copy_stage stage;
	uint8_t *buf; /* NULL until it is needed */
	size_t piece;
	int64_t result; /* of the call under way */
	image_done_fn *done;
	void *arg;
};

static void copy_run(void *arg);
static void copy_run_sharing(void *arg);

static void copy_called(void *arg, int64_t result)
{
	struct copy *c = arg;

	c->result = result;
	if (executor_run(c->from->engine->work, copy_run, c))
		copy_run(c);
}

/* What cannot be shared is copied. Blocks. */
static int64_t copy_share(struct copy *c)
{
	struct error err = { 0 };
	uint64_t copy;
	int64_t r = image_share(c->from, c->offset + c->at, c->to, c->to_offset + c->at, c->len - c->at, &copy, &err);

	if (r < 0) {
		report_debug("image %016" PRIx64 ": nothing is shared: %s", c->to->id, error_text(&err));
		copy = c->len - c->at;
		r = 0;
	}
	c->read_until = c->at + (uint64_t)r + copy;
	return r;
}

/* Starts the call that the stage is about: its result, or -EINPROGRESS. */
static int64_t copy_call(struct copy *c, bool may_share)
{
	uint64_t at = c->offset + c->at, left;

	switch (c->stage) {
	case COPY_SHARE:
		if (may_share)
			return copy_share(c);
		c->result = -EAGAIN;
		if (!executor_run(c->from->engine->sharing, copy_run_sharing, c))
			return -EINPROGRESS;
		c->read_until = c->len;
		return 0;
	case COPY_SEEK:
		return image_seek(c->from, at, true, copy_called, c);
	case COPY_HOLE:
		return image_discard(c->to, c->to_offset + c->at, c->hole_until - c->at, copy_called, c);
	case COPY_READ:
		if (!c->buf && !(c->buf = malloc(COPY_BYTES)))
			return -ENOMEM;
		left = c->read_until - c->at;
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

/* How to go on with what is left. */
static enum copy_stage copy_on(struct copy *c)
{
	if (c->at >= c->len)
		return COPY_EXTEND;
	if (c->at < c->read_until)
		return COPY_SEEK;
	if (image_can_share(c->from, c->offset + c->at, c->to, c->to_offset + c->at, c->len - c->at))
		return COPY_SHARE;
	c->read_until = c->len;
	return COPY_SEEK;
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
		c->stage = copy_on(c);
		break;
	case COPY_SEEK:
		c->hole_until = (uint64_t)r - c->offset < c->read_until ? (uint64_t)r - c->offset : c->read_until;
		c->stage = c->hole_until > c->at ? COPY_HOLE : COPY_READ;
		break;
	case COPY_HOLE:
		c->at = c->hole_until;
		c->stage = c->at < c->read_until ? COPY_READ : copy_on(c);
		break;
	case COPY_READ:
		c->piece = (size_t)r;
		c->stage = r ? COPY_WRITE : COPY_EXTEND;
		break;
	case COPY_WRITE:
		c->at += c->piece;
		c->stage = copy_on(c);
		break;
	case COPY_EXTEND:
		c->stage = COPY_END;
		break;
	case COPY_END:
		break;
	}
	return 0;
}

/* On the executor `sharing`, or (not `may_share`) `work`. */
static void run(struct copy *c, bool may_share)
{
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
		r = copy_call(c, may_share);
		if (r == -EINPROGRESS)
			return;
	}
	image_done_fn *done = c->done;
	void *done_arg = c->arg;
	free(c->buf);
	free(c);
	done(done_arg, r);
}

static void copy_run(void *arg)
{
	run(arg, false);
}

static void copy_run_sharing(void *arg)
{
	run(arg, true);
}

int64_t image_copy(struct image *from, uint64_t offset, struct image *to, uint64_t to_offset, uint64_t len,
                   image_done_fn *done, void *arg)
{
	uint64_t size = atomic_load(&from->size);
	struct copy *c;
	bool shares;

	if (offset >= size || !len)
		return 0;
	if (len > size - offset)
		len = size - offset;
	if (from == to && offset < to_offset + len && to_offset < offset + len)
		return -EINVAL;
	shares = image_can_share(from, offset, to, to_offset, len);
	c = calloc(1, sizeof *c);
	if (c)
		*c = (struct copy){ .from = from,
			            .to = to,
			            .offset = offset,
			            .to_offset = to_offset,
			            .len = len,
			            .result = -EAGAIN,
			            .stage = shares ? COPY_GROW : COPY_SEEK,
			            .read_until = shares ? 0 : len,
			            .done = done,
			            .arg = arg };
	if (!c || executor_run(shares ? from->engine->sharing : from->engine->work,
	                       shares ? copy_run_sharing : copy_run, c)) {
		free(c);
		return -ENOMEM;
	}
	return -EINPROGRESS;
}
