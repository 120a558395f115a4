/* SPDX-License-Identifier: GPL-3.0-only */
/* copy.c: copies one disk, sparse, in a way that can be broken off and run again. */
#include "cli/copy.h"

#include "base/bytes.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES ((size_t)1 << 20) /* read and compared at a time */
#define PIECE_BYTES ((size_t)1 << 16) /* skipped or written as a whole */

struct copy {
	struct copy_end from, to;
	char part[PATH_MAX];
	struct disk_file *in, *out;
	struct disk_look before; /* the source at the start */
	uint64_t size;
	uint64_t out_data; /* the part has no data from where it was last asked up to here */
	uint8_t *source, *target;
	uint8_t *zeros;
	const struct copy_options *options;
	struct copy_counts *counts;
	struct error *err;
};

static int fail(struct copy *c, const char *path, int rc)
{
	return error_set(c->err, rc, "%s: %s", path, strerror(-rc));
}

/* ---- bytes -------------------------------------------------------------------------------------------------------- */

/* The first data, or hole, from `offset` on; `size` when there is none before it. */
static int next(struct disk_file *f, uint64_t offset, uint64_t size, bool data, uint64_t *found)
{
	int rc;

	*found = size;
	rc = f->ops->next(f, offset, data, found);
	if (*found > size)
		*found = size;
	return rc;
}

/* Where the part has data next. Only ahead of what was written here, so what was found stays true. */
static int part_data(struct copy *c, uint64_t offset, uint64_t *data)
{
	int rc = 0;

	if (offset >= c->out_data)
		rc = next(c->out, offset, c->size, true, &c->out_data);
	*data = c->out_data > offset ? c->out_data : offset;
	return rc < 0 ? fail(c, c->part, rc) : 0;
}

static int write_part(struct copy *c, const uint8_t *buf, size_t len, uint64_t offset)
{
	int rc = len ? c->out->ops->write(c->out, buf, len, offset) : 0;

	c->counts->written += len;
	return rc < 0 ? fail(c, c->part, rc) : 0;
}

/* Makes [offset, offset+len) of the part read as zeros. */
static int zero_part(struct copy *c, uint64_t offset, uint64_t len)
{
	int rc = c->out->ops->punch(c->out, offset, len);

	if (rc != -EOPNOTSUPP)
		return rc < 0 ? fail(c, c->part, rc) : 0;
	rc = 0;
	while (len > 0 && rc == 0) {
		size_t n = len < BLOCK_BYTES ? (size_t)len : BLOCK_BYTES;

		rc = write_part(c, c->zeros, n, offset);
		offset += n;
		len -= n;
	}
	return rc;
}

static int step(struct copy *c, uint64_t done)
{
	if (c->options->step && !c->options->step(c->options->arg, done, c->size))
		return error_set(c->err, -EINTR, "interrupted at %u%%",
		                 c->size ? (unsigned)((double)done / (double)c->size * 100) : 0);
	return 0;
}

/* A hole of the source: whatever an earlier run left there goes. */
static int copy_hole(struct copy *c, uint64_t offset, uint64_t end)
{
	uint64_t from, until;
	int rc;

	while (offset < end) {
		rc = part_data(c, offset, &from);
		if (rc < 0 || from >= end)
			return rc;
		rc = next(c->out, from, c->size, false, &until);
		if (rc < 0)
			return fail(c, c->part, rc);
		if (until > end)
			until = end;
		if (until - from > 64 * BLOCK_BYTES) /* so that it can be interrupted where zeros are written */
			until = from + 64 * BLOCK_BYTES;
		rc = zero_part(c, from, until - from);
		if (rc < 0)
			return rc;
		offset = until;
		rc = step(c, offset);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Writes the pieces of c->source that differ from c->target, neighbours together. */
static int write_differences(struct copy *c, uint64_t offset, size_t len, bool have_target)
{
	size_t run = 0, at, n;
	int rc;

	for (at = 0; at < len; at += n) {
		bool zero = is_zero(c->source + at, n = len - at < PIECE_BYTES ? len - at : PIECE_BYTES);

		if (have_target ? memcmp(c->source + at, c->target + at, n) != 0 : !zero) {
			if (!zero) {
				run += n;
				continue;
			}
			rc = zero_part(c, offset + at, n);
			if (rc < 0)
				return rc;
		}
		rc = write_part(c, c->source + at - run, run, offset + at - run);
		if (rc < 0)
			return rc;
		run = 0;
	}
	return write_part(c, c->source + at - run, run, offset + at - run);
}

static int copy_block(struct copy *c, uint64_t offset, size_t len)
{
	uint64_t data;
	bool have_target;
	int rc = c->in->ops->read(c->in, c->source, len, offset);

	if (rc == -ENODATA)
		return error_set(c->err, -EAGAIN, "%s became shorter while it was copied", c->from.name);
	if (rc < 0)
		return fail(c, c->from.name, rc);
	rc = part_data(c, offset, &data);
	if (rc < 0)
		return rc;
	have_target = data < offset + len;
	if (have_target) {
		rc = c->out->ops->read(c->out, c->target, len, offset);
		if (rc < 0)
			return fail(c, c->part, rc);
	}
	c->counts->data += len;
	return write_differences(c, offset, len, have_target);
}

static int copy_all(struct copy *c)
{
	uint64_t offset = 0, data, hole;
	int rc;

	while (offset < c->size) {
		rc = next(c->in, offset, c->size, true, &data);
		if (rc < 0)
			return fail(c, c->from.name, rc);
		rc = copy_hole(c, offset, data);
		if (rc < 0)
			return rc;
		offset = data;
		if (offset == c->size)
			break;
		rc = next(c->in, offset, c->size, false, &hole);
		if (rc < 0)
			return fail(c, c->from.name, rc);
		while (offset < hole) {
			uint64_t end = round_down(offset, BLOCK_BYTES) + BLOCK_BYTES;
			size_t len = (size_t)((end < hole ? end : hole) - offset);

			rc = copy_block(c, offset, len);
			if (rc == 0)
				rc = step(c, offset + len);
			if (rc < 0)
				return rc;
			offset += len;
		}
	}
	return step(c, c->size);
}

/* ---- names -------------------------------------------------------------------------------------------------------- */

static int look(struct copy *c, struct disk_look *l)
{
	int rc = c->in->ops->look(c->in, l);

	return rc < 0 ? fail(c, c->from.name, rc) : 0;
}

static int open_source(struct copy *c)
{
	int rc = c->from.place->ops->open_source(c->from.place, c->from.name, &c->in, c->err);

	if (rc == 0)
		rc = look(c, &c->before);
	if (rc == 0)
		c->size = c->counts->size = c->before.size;
	return rc;
}

/* Whether the disk that is there holds what the source holds: 1, 0, or -errno. */
static int same_contents(struct copy *c, struct disk_file *there)
{
	uint64_t offset = 0, in_data, out_data;
	int rc;

	while (offset < c->size) {
		rc = next(c->in, offset, c->size, true, &in_data);
		if (rc < 0)
			return fail(c, c->from.name, rc);
		rc = next(there, offset, c->size, true, &out_data);
		if (rc < 0)
			return fail(c, c->to.name, rc);
		offset = round_down(in_data < out_data ? in_data : out_data, PIECE_BYTES);
		size_t len = c->size - offset < BLOCK_BYTES ? (size_t)(c->size - offset) : BLOCK_BYTES;
		rc = c->in->ops->read(c->in, c->source, len, offset);
		if (rc < 0)
			return fail(c, c->from.name, rc);
		rc = there->ops->read(there, c->target, len, offset);
		if (rc < 0)
			return fail(c, c->to.name, rc);
		if (memcmp(c->source, c->target, len) != 0)
			return 0;
		offset += len;
		rc = step(c, offset);
		if (rc < 0)
			return rc;
	}
	return 1;
}

/* What to do about a disk that has the name already: 0 nothing, there is none, or it may be replaced; 1 it is the copy that
 * is wanted; -EEXIST. */
static int check_target(struct copy *c)
{
	struct disk_file *there;
	struct disk_look l;
	int rc = c->to.place->ops->is_there(c->to.place, c->to.name, c->err);

	/* What is replaced need not be readable. */
	if (rc <= 0 || c->options->replace)
		return rc < 0 ? rc : 0;
	rc = c->to.place->ops->open_source(c->to.place, c->to.name, &there, c->err);
	if (rc < 0)
		return rc;
	rc = there->ops->look(there, &l);
	if (rc < 0)
		rc = fail(c, c->to.name, rc);
	else if (l.size == c->size)
		rc = same_contents(c, there);
	there->ops->close(there);
	if (rc != 0)
		return rc;
	return error_set(c->err, -EEXIST, "%s is there already, and differs: remove it, or use --replace", c->to.name);
}

static int open_part(struct copy *c)
{
	uint32_t mode = c->before.fixed ? 0600 : (c->before.mode & 0666) | 0600;
	struct disk_look l;
	int rc = c->to.place->ops->open_part(c->to.place, c->to.name, mode, c->part, &c->out, c->err);

	if (rc < 0)
		return rc;
	rc = c->out->ops->look(c->out, &l);
	if (rc < 0)
		return fail(c, c->part, rc);
	c->counts->part_left = true;
	if (l.size != c->size)
		rc = c->out->ops->resize(c->out, c->size);
	return rc < 0 ? fail(c, c->part, rc) : 0;
}

static int check_unchanged(struct copy *c)
{
	struct disk_look now;
	int rc = look(c, &now);

	if (rc < 0 || now.fixed)
		return rc;
	if (now.size != c->before.size || now.mtime_s != c->before.mtime_s || now.mtime_ns != c->before.mtime_ns)
		return error_set(c->err, -EAGAIN, "%s was written to while it was copied: stop what writes to it first",
		                 c->from.name);
	return 0;
}

static int give_name(struct copy *c)
{
	bool named;
	int rc = c->to.place->ops->name_part(c->to.place, c->out, c->part, c->to.name, c->options->replace, &named,
	                                     c->err);

	c->counts->part_left = !named;
	return rc;
}

int copy_disk(const struct copy_end *from, const struct copy_end *to, const struct copy_options *options,
              struct copy_counts *counts, struct error *err)
{
	struct copy c = { .from = *from, .to = *to, .options = options, .counts = counts, .err = err };
	int rc;

	*counts = (struct copy_counts){ 0 };
	c.source = malloc(BLOCK_BYTES);
	c.target = malloc(BLOCK_BYTES);
	c.zeros = calloc(1, BLOCK_BYTES);
	if (!c.source || !c.target || !c.zeros) {
		rc = error_set(err, -ENOMEM, "out of memory");
		goto out;
	}
	if ((rc = open_source(&c)) < 0 || (rc = check_target(&c)) < 0)
		goto out;
	if (rc == 1) {
		counts->same_before = true;
		rc = 0;
		goto out;
	}
	if ((rc = open_part(&c)) < 0)
		goto out;
	if ((rc = copy_all(&c)) < 0 || (rc = check_unchanged(&c)) < 0)
		goto out;
	rc = give_name(&c);
out:
	if (c.out)
		c.out->ops->close(c.out);
	if (c.in)
		c.in->ops->close(c.in);
	free(c.zeros);
	free(c.target);
	free(c.source);
	return rc;
}
