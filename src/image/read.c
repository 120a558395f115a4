/* SPDX-License-Identifier: GPL-3.0-only */
/* read.c: reading: look the grains up, then read each run of slots from the cache, or wait for it from the store. */
#include "image/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Reads up to this many grains are tried on the stack, without an operation. */
#define QUICK_GRAINS 257

/* One run: grains that lie together in one segment, or that are not mapped. */
struct run {
	uint64_t offset; /* into the caller's buffer */
	size_t len;
	map_entry_t entry; /* of its first grain; NONE: zeros */
	uint32_t skip;     /* bytes into that grain */
};

/* Cuts the next run off [*done, len) of a read at `offset`, whose grains' entries begin at entries[0]. */
static struct run next_run(const struct image *i, uint64_t offset, size_t len, const map_entry_t *entries, size_t *done)
{
	uint64_t grain_bytes = i->grain_bytes, at = offset + *done;
	size_t g = (size_t)(grain_of(i, at) - grain_of(i, offset));
	struct run r = { .offset = *done, .entry = entries[g], .skip = (uint32_t)(at & (grain_bytes - 1)) };
	size_t n = 1, bytes;

	for (;; n++) {
		bytes = n * grain_bytes - r.skip;
		if (bytes >= len - *done)
			break;
		map_entry_t e = entries[g + n];
		if (r.entry ? e != r.entry + n || map_entry_segment(e) != map_entry_segment(r.entry)
		            : e != MAP_ENTRY_NONE)
			break;
	}
	r.len = bytes < len - *done ? bytes : len - *done;
	*done += r.len;
	return r;
}

/* Everything from memory and present chunks: 0, or -EAGAIN. */
static int read_quickly(struct image *i, uint64_t offset, uint8_t *buf, size_t len)
{
	map_entry_t entries[QUICK_GRAINS];
	size_t grains = (size_t)(grain_of(i, offset + len - 1) - grain_of(i, offset) + 1), done = 0;
	struct map_need need;

	if (grains > QUICK_GRAINS || grain_map_lookup(i->map, grain_of(i, offset), grains, entries, &need))
		return -EAGAIN;
	while (done < len) {
		struct run r = next_run(i, offset, len, entries, &done);
		if (!r.entry)
			memset(buf + r.offset, 0, r.len);
		else if (image_fetch_now(i, r.entry, r.skip, buf + r.offset, r.len))
			return -EAGAIN;
	}
	return 0;
}

struct read_op {
	struct op op;
	uint64_t offset;
	uint8_t *buf;
	size_t len;
	map_entry_t *entries;
	bool issued, again;
};

static void read_destroy(struct op *op)
{
	free(((struct read_op *)op)->entries);
}

/* Whether the grains are elsewhere by now, so that cleaning may have taken the places where they were. */
static bool have_moved(struct read_op *r, grain_no_t first, size_t grains)
{
	map_entry_t *now = malloc(grains * sizeof *now);
	struct map_need need;
	bool moved = now && (grain_map_lookup(r->op.image->map, first, grains, now, &need) ||
	                     memcmp(now, r->entries, grains * sizeof *now) != 0);

	free(now);
	return moved;
}

static int64_t read_step(struct op *op)
{
	struct read_op *r = (struct read_op *)op;
	struct image *i = op->image;
	grain_no_t first = grain_of(i, r->offset);
	size_t grains = (size_t)(grain_of(i, r->offset + r->len - 1) - first + 1), done = 0;
	struct map_need need;
	int rc;

	if (r->issued)
		goto answered;
again:
	rc = image_op_node_arrived(op);
	while (!rc && grain_map_lookup(i->map, first, grains, r->entries, &need) == -EAGAIN)
		rc = image_load_node(i, &need, op);
	if (rc)
		return rc;
	r->issued = true;
	fetch_op_begin(&op->fetch, image_op_fetched);
	while (done < r->len) {
		struct run run = next_run(i, r->offset, r->len, r->entries, &done);
		if (!run.entry)
			memset(r->buf + run.offset, 0, run.len);
		else
			image_fetch(i, &op->fetch, run.entry, run.skip, r->buf + run.offset, run.len);
	}
	if (!fetch_op_end(&op->fetch))
		return -EINPROGRESS;
answered:
	rc = atomic_load(&op->fetch.result);
	if (rc == -EIO && !r->again && have_moved(r, first, grains)) {
		r->again = true;
		r->issued = false;
		done = 0;
		goto again;
	}
	return rc ? rc : (int64_t)r->len;
}

int64_t image_read(struct image *i, uint64_t offset, void *buf, size_t len, image_done_fn *done, void *arg)
{
	uint64_t size = atomic_load(&i->size);

	if (offset >= size || !len)
		return 0;
	if (len > size - offset)
		len = (size_t)(size - offset);
	atomic_fetch_add_explicit(&i->engine->counters.reads, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&i->engine->counters.read_bytes, len, memory_order_relaxed);
	if (trace_listens(&i->trace))
		trace_note(&i->trace, offset, len);
	if (!read_quickly(i, offset, buf, len)) {
		atomic_fetch_add_explicit(&i->engine->counters.hits, 1, memory_order_relaxed);
		if (readahead_listens(&i->readahead))
			readahead_note(i, offset, len, false);
		return (int64_t)len;
	}
	atomic_fetch_add_explicit(&i->engine->counters.misses, 1, memory_order_relaxed);
	struct read_op *r = calloc(1, sizeof *r);
	size_t grains = (size_t)(grain_of(i, offset + len - 1) - grain_of(i, offset) + 1);
	if (!r || !(r->entries = malloc(grains * sizeof *r->entries))) {
		free(r);
		return -ENOMEM;
	}
	r->op = (struct op){ .image = i, .step = read_step, .destroy = read_destroy, .done = done, .arg = arg };
	r->offset = offset;
	r->buf = buf;
	r->len = len;
	/* Before, as the image may be closed once the answer is out. */
	readahead_note(i, offset, len, true);
	return image_op_start(&r->op);
}

int image_op_read_grain(struct op *op, grain_no_t grain, uint8_t *buf, bool *fetched)
{
	struct image *i = op->image;
	map_entry_t entry = MAP_ENTRY_NONE;
	struct map_need need;
	int rc;

	if (*fetched) {
		*fetched = false;
		return atomic_load(&op->fetch.result);
	}
	rc = image_op_node_arrived(op);
	while (!rc && grain_map_lookup(i->map, grain, 1, &entry, &need) == -EAGAIN)
		rc = image_load_node(i, &need, op);
	if (rc)
		return rc;
	if (!entry) {
		memset(buf, 0, i->grain_bytes);
		return 0;
	}
	fetch_op_begin(&op->fetch, image_op_fetched);
	*fetched = true;
	image_fetch(i, &op->fetch, entry, 0, buf, i->grain_bytes);
	if (!fetch_op_end(&op->fetch))
		return -EINPROGRESS;
	*fetched = false;
	return atomic_load(&op->fetch.result);
}
