/* SPDX-License-Identifier: GPL-3.0-only */
/* copy.c: copies one disk file, sparse, in a way that can be broken off and run again. */
#include "cli/copy.h"

#include "base/bytes.h"
#include "cli/whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_BYTES ((size_t)1 << 20) /* read and compared at a time */
#define PIECE_BYTES ((size_t)1 << 16) /* skipped or written as a whole */

struct copy {
	const char *from, *to;
	char part[PATH_MAX];
	int in, out;
	struct statx before; /* the source at the start */
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

/* The first offset from `offset` on that holds data, `size` when none does. Where holes cannot be told all is data. */
static int next_data(int fd, uint64_t offset, uint64_t size, uint64_t *data)
{
	off_t found = lseek(fd, (off_t)offset, SEEK_DATA);

	if (found >= 0)
		*data = (uint64_t)found < size ? (uint64_t)found : size;
	else if (errno == ENXIO)
		*data = size;
	else if (errno == EINVAL || errno == EOPNOTSUPP)
		*data = offset;
	else
		return -errno;
	return 0;
}

static int next_hole(int fd, uint64_t offset, uint64_t size, uint64_t *hole)
{
	off_t found = lseek(fd, (off_t)offset, SEEK_HOLE);

	*hole = size;
	if (found >= 0)
		*hole = (uint64_t)found < size ? (uint64_t)found : size;
	else if (errno != ENXIO && errno != EINVAL && errno != EOPNOTSUPP)
		return -errno;
	return 0;
}

/* Where the part has data next. Only ahead of what was written here, so what was found stays true. */
static int part_data(struct copy *c, uint64_t offset, uint64_t *data)
{
	int rc = 0;

	if (offset >= c->out_data)
		rc = next_data(c->out, offset, c->size, &c->out_data);
	*data = c->out_data > offset ? c->out_data : offset;
	return rc < 0 ? fail(c, c->part, rc) : 0;
}

static int write_part(struct copy *c, const uint8_t *buf, size_t len, uint64_t offset)
{
	int rc = len ? file_write_all(c->out, buf, len, offset) : 0;

	c->counts->written += len;
	return rc < 0 ? fail(c, c->part, rc) : 0;
}

/* Makes [offset, offset+len) of the part read as zeros. */
static int zero_part(struct copy *c, uint64_t offset, uint64_t len)
{
	int rc = 0;

	if (fallocate(c->out, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len) == 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != ENOSYS)
		return fail(c, c->part, -errno);
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
		rc = next_hole(c->out, from, c->size, &until);
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
	int rc = file_read_all(c->in, c->source, len, offset);

	if (rc == -ENODATA)
		return error_set(c->err, -EAGAIN, "%s became shorter while it was copied", c->from);
	if (rc < 0)
		return fail(c, c->from, rc);
	rc = part_data(c, offset, &data);
	if (rc < 0)
		return rc;
	have_target = data < offset + len;
	if (have_target) {
		rc = file_read_all(c->out, c->target, len, offset);
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
		rc = next_data(c->in, offset, c->size, &data);
		if (rc < 0)
			return fail(c, c->from, rc);
		rc = copy_hole(c, offset, data);
		if (rc < 0)
			return rc;
		offset = data;
		if (offset == c->size)
			break;
		rc = next_hole(c->in, offset, c->size, &hole);
		if (rc < 0)
			return fail(c, c->from, rc);
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

/* ---- files -------------------------------------------------------------------------------------------------------- */

/* The truth about the source, not what a cache of attributes remembers. */
static int look(struct copy *c, struct statx *stx)
{
	if (statx(c->in, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, stx) < 0)
		return fail(c, c->from, -errno);
	return 0;
}

static int open_source(struct copy *c)
{
	off_t end;
	int rc;

	c->in = open(c->from, O_RDONLY | O_CLOEXEC);
	if (c->in < 0)
		return fail(c, c->from, -errno);
	rc = look(c, &c->before);
	if (rc < 0)
		return rc;
	if (!S_ISREG(c->before.stx_mode) && !S_ISBLK(c->before.stx_mode))
		return error_set(c->err, -EINVAL, "%s is neither a regular file nor a block device", c->from);
	end = lseek(c->in, 0, SEEK_END);
	if (end < 0)
		return fail(c, c->from, -errno);
	c->size = c->counts->size = (uint64_t)end;
	return 0;
}

/* Whether the file that is there holds what the source holds: 1, 0, or -errno. */
static int same_contents(struct copy *c)
{
	uint64_t offset = 0, in_data, out_data;
	int rc;

	while (offset < c->size) {
		rc = next_data(c->in, offset, c->size, &in_data);
		if (rc < 0)
			return fail(c, c->from, rc);
		rc = next_data(c->out, offset, c->size, &out_data);
		if (rc < 0)
			return fail(c, c->to, rc);
		offset = round_down(in_data < out_data ? in_data : out_data, PIECE_BYTES);
		size_t len = c->size - offset < BLOCK_BYTES ? (size_t)(c->size - offset) : BLOCK_BYTES;
		rc = file_read_all(c->in, c->source, len, offset);
		if (rc < 0)
			return fail(c, c->from, rc);
		rc = file_read_all(c->out, c->target, len, offset);
		if (rc < 0)
			return fail(c, c->to, rc);
		if (memcmp(c->source, c->target, len) != 0)
			return 0;
		offset += len;
		rc = step(c, offset);
		if (rc < 0)
			return rc;
	}
	return 1;
}

/* What to do about a file that has the name already: 0 nothing, there is none, or it may be replaced; 1 it is the copy that
 * is wanted; -EEXIST. */
static int check_target(struct copy *c)
{
	struct stat st;
	int rc = 0;

	if (lstat(c->to, &st) < 0)
		return errno == ENOENT ? 0 : fail(c, c->to, -errno);
	if (!S_ISREG(st.st_mode))
		return error_set(c->err, -EEXIST, "%s is there already, and is no regular file", c->to);
	if (c->options->replace)
		return 0;
	if ((uint64_t)st.st_size == c->size) {
		c->out = open(c->to, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (c->out < 0)
			return fail(c, c->to, -errno);
		rc = same_contents(c);
		close(c->out);
		c->out = -1;
	}
	if (rc != 0)
		return rc;
	return error_set(c->err, -EEXIST, "%s is there already, and differs: remove it, or use --replace", c->to);
}

static int open_part(struct copy *c)
{
	mode_t mode = S_ISREG(c->before.stx_mode) ? (c->before.stx_mode & 0666) | 0600 : 0600;
	struct stat st;
	int rc = whole_file_open(c->to, mode, c->part, &c->out, c->err);

	if (rc < 0)
		return rc;
	if (fstat(c->out, &st) < 0)
		return fail(c, c->part, -errno);
	c->counts->part_left = true;
	if ((uint64_t)st.st_size != c->size && ftruncate(c->out, (off_t)c->size) < 0)
		return fail(c, c->part, -errno);
	return 0;
}

static bool same_time(const struct statx_timestamp *a, const struct statx_timestamp *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static int check_unchanged(struct copy *c)
{
	struct statx now;
	int rc = look(c, &now);

	if (rc < 0 || !S_ISREG(now.stx_mode))
		return rc;
	if (now.stx_size != c->before.stx_size || !same_time(&now.stx_mtime, &c->before.stx_mtime))
		return error_set(c->err, -EAGAIN, "%s was written to while it was copied: stop what writes to it first",
		                 c->from);
	return 0;
}

static int give_name(struct copy *c)
{
	bool named;
	int rc = whole_file_name(c->out, c->part, c->to, c->options->replace, &named, c->err);

	c->counts->part_left = !named;
	return rc;
}

int copy_file(const char *from, const char *to, const struct copy_options *options, struct copy_counts *counts,
              struct error *err)
{
	struct copy c = {
		.from = from, .to = to, .in = -1, .out = -1, .options = options, .counts = counts, .err = err
	};
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
	/* After the fsync above nothing is left that close could report; before it the copy has failed anyway. */
	if (c.out >= 0)
		close(c.out);
	if (c.in >= 0)
		close(c.in);
	free(c.zeros);
	free(c.target);
	free(c.source);
	return rc;
}
