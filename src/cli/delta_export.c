/* SPDX-License-Identifier: GPL-3.0-only */
/* delta_export.c: what differs between two moments of an image, out of a mount as a stream. */
#include "cli/delta.h"

#include "base/bytes.h"
#include "cli/command.h"
#include "cli/whole_file.h"
#include "seal/delta_stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct export
{
	const struct delta_options *options;
	struct delta_counts *counts;
	const struct moment *from, *to; /* from: NULL for all */
	int in, out;
	const char *to_name; /* where it is written, for messages */
	struct delta_writer *writer;
	uint8_t *buf; /* DELTA_DATA_MAX */
	uint64_t total;
	struct error *err;
};

/* A pipe may be full for long. */
static int put(void *arg, const void *buf, size_t len)
{
	struct export *x = arg;
	const uint8_t *at = buf;

	x->counts->stream += len;
	while (len) {
		ssize_t n = write(x->out, at, len);

		if (n < 0 && errno == EINTR && !interrupted())
			continue;
		if (n < 0)
			return error_set(x->err, -errno, "%s: %s", x->to_name, strerror(errno));
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int step(struct export *x, uint64_t done)
{
	return x->options->step(x->options->arg, done, x->total) ? 0 : -EINTR;
}

static int put_zero(struct export *x, uint64_t offset, uint64_t len)
{
	x->counts->zeros += len;
	return delta_write_zero(x->writer, offset, len);
}

static int put_data(struct export *x, uint64_t offset, uint64_t end)
{
	int rc = 0;

	while (offset < end && !rc) {
		uint64_t until = round_down(offset, DELTA_DATA_MAX) + DELTA_DATA_MAX;
		size_t len = (size_t)((until < end ? until : end) - offset);

		rc = file_read_all(x->in, x->buf, len, offset);
		if (rc)
			return error_set(x->err, rc, "%s@%s: %s", x->to->path, x->to->s.name, strerror(-rc));
		if (is_zero(x->buf, len)) {
			rc = put_zero(x, offset, len);
		} else {
			x->counts->data += len;
			rc = delta_write_data(x->writer, offset, x->buf, len);
		}
		offset += len;
		if (!rc)
			rc = step(x, offset);
	}
	return rc;
}

/* What is past the end is said by the size. */
static int put_range(void *arg, const struct image_range *r)
{
	struct export *x = arg;
	uint64_t size = x->to->s.size, end;
	int rc;

	if (r->offset >= size)
		return 0;
	end = r->length < size - r->offset ? r->offset + r->length : size;
	rc = r->data ? put_data(x, r->offset, end) : put_zero(x, r->offset, end - r->offset);
	return rc ? rc : step(x, end);
}

static int put_all(struct export *x)
{
	const struct moment *from = x->from, *to = x->to;
	struct delta_header h = {
		.image = to->image,
		.from = from ? from->s.origin : 0,
		.to = to->s.origin,
		.from_size = from ? from->s.size : 0,
		.to_size = to->s.size,
		.time_ns = to->s.time_ns,
	};
	int rc;

	if (from)
		strcpy(h.from_name, from->s.name);
	if (!to->passing)
		strcpy(h.to_name, to->s.name);
	strcpy(x->counts->from_name, h.from_name);
	strcpy(x->counts->to_name, h.to_name);
	rc = delta_write_header(x->writer, &h);
	if (!rc)
		rc = moment_diff(from, to, put_range, x, x->err);
	if (!rc)
		rc = delta_write_end(x->writer);
	return rc;
}

/* With the moments found. */
static int export_to(struct export *x, const char *file)
{
	char part[PATH_MAX];
	bool named = true;
	int rc = 0;

	if (!strcmp(file, "-")) {
		x->out = STDOUT_FILENO;
		return put_all(x);
	}
	if (!x->options->replace && access(file, F_OK) == 0)
		return error_set(x->err, -EEXIST, "%s is there already: remove it, or use --replace", file);
	rc = whole_file_open(file, 0666, part, &x->out, x->err);
	if (rc)
		return rc;
	/* What another export left cannot be gone on with. */
	if (ftruncate(x->out, 0) < 0)
		rc = error_set(x->err, -errno, "%s: %s", part, strerror(errno));
	if (!rc)
		rc = put_all(x);
	named = false;
	if (!rc)
		rc = whole_file_name(x->out, part, file, x->options->replace, &named, x->err);
	if (!named)
		unlink(part);
	/* After the fsync there is nothing left that close could report; before it the export has failed anyway. */
	close(x->out);
	return rc;
}

int delta_export(struct moment *from, struct moment *to, const char *file, const struct delta_options *options,
                 struct delta_counts *counts, struct error *err)
{
	struct export x = { .options = options, .counts = counts, .from = from, .to = to, .in = -1, .err = err };
	int rc = moment_find(to, "export", err);

	*counts = (struct delta_counts){ 0 };
	x.to_name = strcmp(file, "-") ? file : "standard output";
	if (!rc && from)
		rc = moment_find(from, "export", err);
	if (!rc)
		rc = moment_open(to, &x.in, err);
	x.total = to->s.size;
	x.buf = malloc(DELTA_DATA_MAX);
	x.writer = delta_writer_new(put, &x);
	if (!rc && (!x.buf || !x.writer))
		rc = error_set(err, -ENOMEM, "out of memory");
	if (!rc)
		rc = export_to(&x, file);
	if (x.in >= 0)
		close(x.in);
	free(x.buf);
	delta_writer_free(x.writer);
	moment_release(to);
	return rc == -EINTR ? error_set(err, rc, "interrupted") : rc;
}
