/* SPDX-License-Identifier: GPL-3.0-only */
/* drive_replay.c: what the journal of a drive has after an unclean end becomes files.
 *
 * Every block of a half is looked at that is not within an entry: an entry is known by the half's tag and its sums. What a power cut left
 * half-written was never answered, and is passed over. What was, and is not there any more, is seen by the entries after it, as each
 * tells how many before it were synced.
 */
#include "node/drive_journal_private.h"

#include "base/report.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct found_entry {
	struct journal_entry entry;
	struct object_file_id id;
	uint64_t body_at; /* in the journal */
};

struct replay {
	struct drive *d;
	struct drive_check *check;
	int fd;
	uint64_t half_bytes;
	struct found_entry *found;
	size_t count, room;
	uint8_t *body; /* JOURNAL_BODY_MAX bytes */
	uint8_t sums[4 * (JOURNAL_BODY_MAX / OBJECT_FILE_BLOCK)];
	struct error *err;
};

/* ---- reading ---- */

/* False: it cannot be read, and the journal counts as damaged. */
static bool read_part(struct replay *r, void *bytes, size_t len, uint64_t at)
{
	bool there = disk_pread(r->d->disk, r->fd, bytes, len, at) == (ssize_t)len;

	r->check->journal_damaged |= !there;
	return there;
}

/* Reads the body of an entry: whether it is that of its object. */
static bool read_body(struct replay *r, const struct journal_entry *entry, uint64_t at)
{
	return read_part(r, r->body, (size_t)entry->object.entry.meta.length, at) &&
	       journal_entry_check_body(entry, r->body, r->sums) == 0;
}

static int add_entry(struct replay *r, const struct journal_entry *entry, uint64_t body_at)
{
	if (r->count == r->room) {
		size_t room = r->room ? 2 * r->room : 64;
		struct found_entry *bigger = realloc(r->found, room * sizeof *bigger);
		if (!bigger)
			return -ENOMEM;
		r->found = bigger;
		r->room = room;
	}
	struct found_entry *f = &r->found[r->count++];
	f->entry = *entry;
	f->body_at = body_at;
	object_file_id(entry->object.entry.name, &entry->object.entry.meta, &f->id);
	return 0;
}

/* Whether entries that were durable are missing among those from `first` on, which are of one half. */
static bool some_are_missing(const struct replay *r, size_t first)
{
	uint64_t durable = 0, there = 0;

	for (size_t i = first; i < r->count; i++)
		if (r->found[i].entry.durable > durable)
			durable = r->found[i].entry.durable;
	for (size_t i = first; i < r->count; i++)
		there += r->found[i].entry.sequence < durable;
	return there < durable;
}

static int scan_half(struct replay *r, uint64_t begin)
{
	struct journal_half_header half;
	struct journal_entry entry;
	uint8_t bytes[JOURNAL_HEADER];
	size_t first = r->count;
	int rc = 0;

	if (!read_part(r, bytes, sizeof bytes, begin))
		return 0;
	if (journal_half_decode(bytes, &half) < 0 || half.bytes != r->half_bytes) {
		r->check->journal_damaged = true;
		return 0;
	}
	for (uint64_t at = JOURNAL_BLOCK; rc == 0 && at < r->half_bytes;) {
		uint64_t taken = JOURNAL_BLOCK;
		if (!read_part(r, bytes, sizeof bytes, begin + at))
			break;
		if (journal_entry_decode(bytes, &entry) == 0 && memcmp(entry.tag, half.tag, sizeof half.tag) == 0 &&
		    journal_entry_bytes(entry.object.entry.meta.length) <= r->half_bytes - at &&
		    read_body(r, &entry, begin + at + JOURNAL_HEADER)) {
			taken = journal_entry_bytes(entry.object.entry.meta.length);
			rc = add_entry(r, &entry, begin + at + JOURNAL_HEADER);
		}
		at += taken;
	}
	r->check->journal_damaged |= some_are_missing(r, first);
	return rc;
}

/* ---- files ---- */

/* 1: the object's file is there as it was written, durably. 0: it is not. An error is that of syncing it. */
static int file_is_whole(struct replay *r, const struct found_entry *f, const char *path)
{
	struct object_header h;
	int fd = disk_open(r->d->disk, path, O_RDONLY, 0), rc;

	if (fd < 0)
		return 0;
	rc = object_file_read_header(r->d->disk, fd, &h, NULL);
	if (rc == 0 && (strcmp(h.entry.name, f->entry.object.entry.name) != 0 ||
	                memcmp(h.entry.meta.digest, f->entry.object.entry.meta.digest, OBJECT_DIGEST_BYTES) != 0 ||
	                object_version_compare(h.entry.meta.version, f->id.version) != 0 ||
	                (h.entry.meta.flags & OBJECT_FLAGS_FILE) != f->id.flags))
		rc = -EBADMSG;
	if (rc == 0)
		rc = object_file_read_all(r->d->disk, fd, &h, NULL, true, NULL);
	bool whole = rc == 0;
	if (whole)
		rc = disk_fdatasync(r->d->disk, fd);
	disk_close(r->d->disk, fd);
	return !whole ? 0 : rc < 0 ? rc : 1;
}

static int write_file(struct replay *r, const struct found_entry *f)
{
	const struct object_header *h = &f->entry.object;
	uint64_t length = h->entry.meta.length;
	char path[DRIVE_FILE_PATH];
	struct iovec iov[] = { { r->body, (size_t)length }, { r->sums, 4 * object_file_blocks(length) } };
	int fd, rc;

	if (!read_body(r, &f->entry, f->body_at))
		return -EIO; /* it could be read a moment ago */
	fd = drive_new_file(r->d, path);
	if (fd < 0)
		return fd;
	rc = disk_pwritev(r->d->disk, fd, iov, 2, OBJECT_FILE_HEADER);
	if (rc == 0)
		rc = drive_place_file(r->d, fd, path, h);
	if (rc < 0)
		(void)disk_unlink(r->d->disk, path);
	disk_close(r->d->disk, fd);
	r->check->replayed += rc == 0;
	return rc;
}

static int make_durable(struct replay *r, const struct found_entry *f)
{
	char path[DRIVE_FILE_PATH];

	drive_object_path(r->d, f->entry.object.entry.name, &f->entry.object.entry.meta, path);
	int rc = file_is_whole(r, f, path);
	if (rc == 0)
		rc = write_file(r, f);
	return rc < 0 ? rc : 0;
}

/* Of one name what counts most first. */
static int compare_found(const void *a, const void *b)
{
	const struct found_entry *x = a, *y = b;
	int order = memcmp(x->id.hash, y->id.hash, sizeof x->id.hash);

	return order ? order : object_precedence(&y->entry.object.entry.meta, &x->entry.object.entry.meta);
}

static int replay_all(struct replay *r)
{
	int rc = 0;

	if (r->count)
		qsort(r->found, r->count, sizeof *r->found, compare_found);
	/* What was replaced within the journal needs no file. */
	for (size_t i = 0; rc == 0 && i < r->count; i++)
		if (i == 0 || memcmp(r->found[i].id.hash, r->found[i - 1].id.hash, OBJECT_HASH_BYTES) != 0)
			rc = make_durable(r, &r->found[i]);
	return rc;
}

/* ---- all ---- */

static int replay(struct replay *r)
{
	struct stat st;

	if (fstat(r->fd, &st) < 0)
		return -errno;
	r->half_bytes = (uint64_t)st.st_size / JOURNAL_HALVES;
	r->body = malloc(JOURNAL_BODY_MAX);
	int rc = r->body ? 0 : -ENOMEM;
	for (unsigned i = 0; rc == 0 && i < JOURNAL_HALVES; i++)
		rc = scan_half(r, i * r->half_bytes);
	return rc == 0 ? replay_all(r) : rc;
}

int drive_replay(struct drive *d, struct drive_check *check, struct error *err)
{
	struct replay r = { .d = d, .check = check };
	char path[DRIVE_FILE_PATH];

	journal_path(d, path);
	r.fd = disk_open(d->disk, path, O_RDONLY, 0);
	if (r.fd == -ENOENT)
		return 0;
	int rc = r.fd < 0 ? r.fd : replay(&r);
	if (r.fd >= 0)
		disk_close(d->disk, r.fd);
	free(r.found);
	free(r.body);
	if (rc < 0)
		return error_set(err, rc, "%s: %s", path, strerror(-rc));
	if (check->replayed)
		report_notice("drive %s: after an unclean end %" PRIu64 " objects were written anew from its journal",
		              d->path, check->replayed);
	if (check->journal_damaged)
		report_error("drive %s: its journal is damaged: objects may be missing that were in it", d->path);
	return 0;
}
