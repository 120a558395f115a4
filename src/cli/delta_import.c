/* SPDX-License-Identifier: GPL-3.0-only */
/* delta_import.c: a stream of what differs between two moments of an image, into a mount. */
#include "cli/delta.h"

#include "cli/command.h"
#include "cli/target.h"
#include "cli/whole_file.h"
#include "seal/delta_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE_BYTES ((size_t)1 << 20)

struct import {
	const struct delta_options *options;
	struct delta_counts *counts;
	const char *image, *file;
	int in, out;
	bool seekable; /* read twice: checked, then applied */
	off_t begin;   /* where in the file the stream begins */
	struct delta_header h;
	struct delta_reader *reader;
	struct moment base; /* where the stream begins, at the image; known if h.from */
	bool resumed;       /* another import was not finished */
	uint8_t *a, *b;     /* PIECE_BYTES each */
	int base_fd;
	uint64_t steps, total; /* bytes of the image before this pass, and of all passes */
	struct error *err;
};

static int failed(const struct import *m, const char *path, int rc)
{
	return error_set(m->err, rc, "%s: %s", path, strerror(-rc));
}

static int step(struct import *m, uint64_t done)
{
	return m->options->step(m->options->arg, m->steps + done, m->total) ? 0 : -EINTR;
}

/* ---- the stream --------------------------------------------------------------------------------------------------- */

/* A pipe may have nothing for long. */
static int64_t get(void *arg, void *buf, size_t len)
{
	struct import *m = arg;
	ssize_t n;

	do
		n = read(m->in, buf, len);
	while (n < 0 && errno == EINTR && !interrupted());
	if (n > 0)
		m->counts->stream += (uint64_t)n;
	return n < 0 ? -errno : n;
}

/* A new reader at the begin of the stream, and the header. */
static int begin_stream(struct import *m, struct delta_header *h)
{
	delta_reader_free(m->reader);
	m->reader = delta_reader_new(get, m);
	m->counts->stream = 0;
	return m->reader ? delta_read_header(m->reader, h, m->err) : error_set(m->err, -ENOMEM, "out of memory");
}

static int check_header(struct import *m)
{
	const struct delta_header *h = &m->h;

	if ((h->from && !snapshot_name_valid(h->from_name)) || (h->to_name[0] && !snapshot_name_valid(h->to_name)) ||
	    !strcmp(h->to_name, DELTA_MARKER))
		return error_set(m->err, -EBADMSG, "the names of the snapshots in the stream are none");
	strcpy(m->counts->from_name, h->from_name);
	strcpy(m->counts->to_name, h->to_name);
	return 0;
}

static int open_stream(struct import *m)
{
	struct stat st;
	int rc;

	m->in = strcmp(m->file, "-") ? open(m->file, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
	if (m->in < 0 || fstat(m->in, &st) < 0)
		return failed(m, m->file, -errno);
	m->begin = S_ISREG(st.st_mode) ? lseek(m->in, 0, SEEK_CUR) : -1;
	m->seekable = m->begin >= 0;
	rc = begin_stream(m, &m->h);
	if (!rc)
		rc = check_header(m);
	m->total = m->h.to_size * (m->seekable ? 2 : 1);
	return rc;
}

/* Reads a file to its end, and goes back to where the frames begin. */
static int check_stream(struct import *m)
{
	struct delta_frame f = { 0 };
	uint8_t before[DELTA_HEADER_BYTES], after[DELTA_HEADER_BYTES];
	struct delta_header again;
	int rc = 0;

	while (!rc && f.kind != DELTA_END) {
		rc = delta_read_frame(m->reader, &f, m->err);
		if (!rc && f.kind != DELTA_END)
			rc = step(m, f.offset + f.length);
	}
	m->steps = m->h.to_size;
	if (!rc && lseek(m->in, m->begin, SEEK_SET) < 0)
		rc = failed(m, m->file, -errno);
	if (!rc)
		rc = begin_stream(m, &again);
	if (!rc) {
		delta_header_encode(&m->h, before);
		delta_header_encode(&again, after);
		if (memcmp(before, after, sizeof before) != 0)
			rc = error_set(m->err, -EAGAIN, "%s was written to meanwhile", m->file);
	}
	return rc;
}

/* ---- the image as it is ------------------------------------------------------------------------------------------- */

static int open_image(struct import *m)
{
	int rc;

	if (!m->h.from && access(m->image, F_OK) < 0 && errno == ENOENT) {
		rc = target_want_place(m->image, m->err);
		if (!rc)
			m->out = open(m->image, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	} else {
		rc = target_want_image(m->image, m->err);
		if (!rc)
			m->out = open(m->image, O_RDWR | O_CLOEXEC);
	}
	if (rc)
		return rc;
	if (m->out < 0)
		return failed(m, m->image, -errno);
	if (flock(m->out, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK
		               ? error_set(m->err, -EBUSY, "%s: another import into it is running", m->image)
		               : failed(m, m->image, -errno);
	return 0;
}

/* 0, -ENOENT (no text), or an error. */
static int find(struct import *m, const char *name, struct snapshot_info *info)
{
	struct ctl_client *client = NULL;
	uint64_t id;
	int rc = moment_connect(m->image, &client, &id, m->err);

	if (!rc)
		rc = ctl_snapshot_find(client, name, id, info, m->err);
	ctl_disconnect(client);
	return rc;
}

static int make_snapshot(struct import *m, const char *name)
{
	struct ctl_client *client = NULL;
	uint64_t id;
	int rc = moment_connect(m->image, &client, &id, m->err);

	if (!rc)
		rc = ctl_snapshot_import(client, name, id, m->h.to, m->err);
	ctl_disconnect(client);
	return rc;
}

static int remove_marker(struct import *m)
{
	struct ctl_client *client = NULL;
	uint64_t id;
	int rc = moment_connect(m->image, &client, &id, m->err);

	if (!rc)
		rc = ctl_snapshot_change(client, "delete", DELTA_MARKER, id, m->err);
	ctl_disconnect(client);
	return rc == -ENOENT ? 0 : rc;
}

/* 1: the image has had the moment at which the stream ends. */
static int look_for_end(struct import *m)
{
	struct snapshot_info s, marker;
	int rc = m->h.to_name[0] ? find(m, m->h.to_name, &s) : -ENOENT;

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	if (s.origin != m->h.to)
		return error_set(m->err, -EEXIST, "%s has another snapshot \"%s\" than that with which the stream ends",
		                 m->image, m->h.to_name);
	m->counts->there_before = true;
	rc = find(m, DELTA_MARKER, &marker);
	/* A newer one is of an import that has begun from there on, and is unfinished. */
	if (!rc && marker.time_ns <= s.time_ns)
		rc = remove_marker(m);
	return rc && rc != -ENOENT ? rc : 1;
}

static int look_for_begin(struct import *m)
{
	int rc;

	if (!m->h.from)
		return 0;
	snprintf(m->base.path, sizeof m->base.path, "%s", m->image);
	strcpy(m->base.s.name, m->h.from_name);
	rc = moment_find(&m->base, "", m->err);
	if (rc == -ENOENT)
		return error_set(m->err, rc,
		                 "%s has no snapshot \"%s\", at which the stream begins: first import the one that "
		                 "ends there",
		                 m->image, m->h.from_name);
	if (!rc && (m->base.s.origin != m->h.from || m->base.s.size != m->h.from_size))
		rc = error_set(m->err, -ESTALE,
		               "snapshot \"%s\" of %s is not that at which the stream begins, but has only its name",
		               m->h.from_name, m->image);
	return rc ? rc : moment_open(&m->base, &m->base_fd, m->err);
}

/* Whether an import was begun and not finished. A marker that is older than where this stream begins is of one that was, but for
 * its marker. */
static int look_for_marker(struct import *m)
{
	struct snapshot_info marker;
	int rc = find(m, DELTA_MARKER, &marker);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	if (m->h.from && marker.time_ns < m->base.s.time_ns)
		return remove_marker(m);
	if (!m->h.from && marker.origin != m->h.to)
		return error_set(m->err, -EBUSY,
		                 "an import of another stream into %s is unfinished: finish it, or remove the image",
		                 m->image);
	m->resumed = true;
	return 0;
}

/* ---- back to where the stream begins ------------------------------------------------------------------------------ */

/* Calls each() for the pieces of a range below the size of the base. */
static int pieces(struct import *m, const struct image_range *r,
                  int (*each)(struct import *m, uint64_t offset, size_t len))
{
	uint64_t at = r->offset, end = r->offset + r->length;
	int rc = 0;

	if (end > m->base.s.size)
		end = m->base.s.size;
	while (at < end && !rc) {
		size_t len = end - at < PIECE_BYTES ? (size_t)(end - at) : PIECE_BYTES;

		rc = file_read_all(m->base_fd, m->a, len, at);
		rc = rc ? failed(m, m->base.path, rc) : each(m, at, len);
		if (!rc)
			rc = step(m, 0);
		at += len;
	}
	return rc;
}

static int compare_piece(struct import *m, uint64_t offset, size_t len)
{
	int rc = file_read_all(m->out, m->b, len, offset);

	if (rc)
		return failed(m, m->image, rc);
	return memcmp(m->a, m->b, len) ? -EBUSY : 0;
}

static int compare_range(void *arg, const struct image_range *r)
{
	return pieces(arg, r, compare_piece);
}

static int restore_piece(struct import *m, uint64_t offset, size_t len)
{
	int rc = file_write_all(m->out, m->a, len, offset);

	return rc ? failed(m, m->image, rc) : 0;
}

static int restore_range(void *arg, const struct image_range *r)
{
	return pieces(arg, r, restore_piece);
}

static int resize(struct import *m, uint64_t size)
{
	return ftruncate(m->out, (off_t)size) < 0 ? failed(m, m->image, -errno) : 0;
}

static int refuse_data(void *arg, const struct image_range *r)
{
	(void)arg;
	return r->data ? -EEXIST : 0;
}

static int want_empty(struct import *m, const struct moment *now)
{
	int rc = moment_diff(NULL, now, refuse_data, m, m->err);

	return rc == -EEXIST
	               ? error_set(m->err, rc, "%s is not empty, and the stream is of all of an image: give a new name",
	                           m->image)
	               : rc;
}

/* What was moved by cleaning is told, and is not changed: so what differs is compared. */
static int want_unchanged(struct import *m, const struct moment *now)
{
	int rc;

	if (!m->h.from)
		return want_empty(m, now);
	rc = now->s.size == m->base.s.size ? moment_diff(&m->base, now, compare_range, m, m->err) : -EBUSY;
	return rc == -EBUSY
	               ? error_set(m->err, rc, "%s has changed since its snapshot \"%s\", at which the stream begins",
	                           m->image, m->h.from_name)
	               : rc;
}

static int take_back(struct import *m, const struct moment *now)
{
	int rc;

	m->counts->half_way = true;
	rc = resize(m, m->h.from_size);
	return rc || !m->h.from ? rc : moment_diff(&m->base, now, restore_range, m, m->err);
}

static int go_to_begin(struct import *m)
{
	struct moment now = { 0 };
	int rc;

	snprintf(now.path, sizeof now.path, "%s", m->image);
	rc = moment_find(&now, "import", m->err);
	if (!rc)
		rc = m->resumed ? take_back(m, &now) : want_unchanged(m, &now);
	moment_release(&now);
	if (!rc && !m->resumed)
		rc = make_snapshot(m, DELTA_MARKER);
	return rc;
}

/* ---- forward ------------------------------------------------------------------------------------------------------ */

static int apply_frame(struct import *m, const struct delta_frame *f)
{
	int rc = 0;

	if (f->kind == DELTA_DATA) {
		m->counts->data += f->length;
		rc = file_write_all(m->out, f->data, (size_t)f->length, f->offset);
	} else {
		m->counts->zeros += f->length;
		if (fallocate(m->out, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)f->offset, (off_t)f->length) <
		    0)
			rc = -errno;
	}
	return rc ? failed(m, m->image, rc) : step(m, f->offset + f->length);
}

static int apply(struct import *m)
{
	struct delta_frame f = { 0 };
	int rc;

	m->counts->half_way = true;
	rc = resize(m, m->h.to_size);
	while (!rc && f.kind != DELTA_END) {
		rc = delta_read_frame(m->reader, &f, m->err);
		if (!rc && f.kind != DELTA_END)
			rc = apply_frame(m, &f);
	}
	if (!rc && fsync(m->out) < 0)
		rc = failed(m, m->image, -errno);
	if (!rc && m->h.to_name[0])
		rc = make_snapshot(m, m->h.to_name);
	if (rc)
		return rc;
	m->counts->half_way = false;
	return remove_marker(m);
}

static int run(struct import *m)
{
	int rc = open_stream(m);

	if (!rc && m->seekable)
		rc = check_stream(m);
	if (!rc)
		rc = open_image(m);
	if (!rc)
		rc = look_for_end(m);
	if (rc)
		return rc == 1 ? 0 : rc;
	rc = look_for_begin(m);
	if (!rc)
		rc = look_for_marker(m);
	if (!rc)
		rc = go_to_begin(m);
	return rc ? rc : apply(m);
}

int delta_import(const char *image, const char *file, const struct delta_options *options, struct delta_counts *counts,
                 struct error *err)
{
	struct import m = {
		.options = options,
		.counts = counts,
		.image = image,
		.file = file,
		.in = -1,
		.out = -1,
		.base_fd = -1,
		.a = malloc(PIECE_BYTES),
		.b = malloc(PIECE_BYTES),
		.err = err,
	};
	int rc;

	*counts = (struct delta_counts){ 0 };
	rc = m.a && m.b ? run(&m) : error_set(err, -ENOMEM, "out of memory");
	if (m.base_fd >= 0)
		close(m.base_fd);
	/* What was written was synced, or the import has failed. */
	if (m.out >= 0)
		close(m.out);
	if (m.in > STDERR_FILENO)
		close(m.in);
	delta_reader_free(m.reader);
	free(m.a);
	free(m.b);
	return rc == -EINTR ? error_set(err, rc, "interrupted") : rc;
}
