/* SPDX-License-Identifier: GPL-3.0-only */
/* drive.c: one drive: its health and its files. */
#include "node/drive.h"

#include "base/clock.h"
#include "base/report.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#define FULL_NS UINT64_C(30000000000) /* how long a drive that had no room is not tried again */
#define READ_ERRORS_MAX 16u
#define QUARANTINE_MAX 1000u /* files: what is damaged may be of use to somebody, but not without end */

/* ---- health ---- */

bool drive_readable(const struct drive *d)
{
	return d->index && atomic_load(&d->state) <= DRIVE_READ_ONLY;
}

uint64_t drive_free_bytes(struct drive *d)
{
	struct statvfs st;

	if (statvfs(d->path, &st) < 0)
		return 0;
	atomic_store(&d->capacity, (uint64_t)st.f_blocks * st.f_frsize);
	return (uint64_t)st.f_bavail * st.f_frsize;
}

static uint64_t reserve_of(struct drive *d)
{
	const uint64_t most = UINT64_C(1) << 30;
	uint64_t share = atomic_load(&d->capacity) / 50;

	if (d->reserve)
		return d->reserve;
	return share < most ? share : most;
}

/* Says so once, and again only after the drive had room for a while. */
static void tell_full(struct drive *d, uint64_t free_bytes)
{
	if (!atomic_exchange(&d->full_told, true))
		report_warning("drive %s is full (%" PRIu64 " bytes are free): it takes no new objects", d->path,
		               free_bytes);
}

static bool has_room(struct drive *d, uint64_t bytes)
{
	uint64_t full_at = atomic_load(&d->full_at), free_bytes = drive_free_bytes(d), reserve = reserve_of(d);

	if (full_at && clock_monotonic_ns() - full_at < FULL_NS)
		return false;
	if (free_bytes < reserve || free_bytes - reserve < bytes) {
		tell_full(d, free_bytes);
		return false;
	}
	if (free_bytes > 2 * reserve)
		atomic_store(&d->full_told, false);
	return true;
}

bool drive_takes(struct drive *d, uint64_t bytes, bool tombstone)
{
	return d->index && atomic_load(&d->state) == DRIVE_OK && (tombstone || has_room(d, bytes));
}

const char *drive_state_text(struct drive *d)
{
	switch ((enum drive_state)atomic_load(&d->state)) {
	case DRIVE_OK:
		return has_room(d, 0) ? "ok" : "full";
	case DRIVE_READ_ONLY:
		return "read-only";
	case DRIVE_INDEX_DAMAGED:
		return "index damaged";
	case DRIVE_FAILED:
		break;
	}
	return "failed";
}

static void get_worse(struct drive *d, enum drive_state state, const char *what, const char *why)
{
	int before = atomic_load(&d->state);

	/* First: whoever misses the drive's objects must be able to know. */
	if (before < (int)state && state >= DRIVE_INDEX_DAMAGED && d->loss)
		atomic_fetch_add(d->loss, 1);
	while (before < (int)state)
		if (atomic_compare_exchange_weak(&d->state, &before, (int)state)) {
			report_error("drive %s is %s from now on: %s: %s", d->path,
			             state == DRIVE_FAILED          ? "out of use"
			             : state == DRIVE_INDEX_DAMAGED ? "out of use until the node is started again"
			                                            : "read-only",
			             what, why);
			if (d->watch)
				d->watch(d->watch_arg, d, state);
			return;
		}
}

int drive_write_failed(struct drive *d, int rc, const char *what)
{
	switch (rc) {
	case -ENOMEM:
	case -EMFILE:
	case -ENFILE:
	case -EBUSY: /* somebody looks at the index with a tool */
		break;
	case -ENOSPC:
	case -EDQUOT:
		atomic_store(&d->full_at, clock_monotonic_ns());
		tell_full(d, drive_free_bytes(d));
		return -ENOSPC;
	case -EROFS:
		get_worse(d, DRIVE_READ_ONLY, what, strerror(-rc));
		break;
	default:
		get_worse(d, DRIVE_FAILED, what, strerror(-rc));
		break;
	}
	return rc;
}

/* What is damaged may be what a start does not read. */
static void ask_for_rebuild(struct drive *d)
{
	char path[DRIVE_FILE_PATH];
	int fd, rc;

	snprintf(path, sizeof path, "%s/rebuild", d->path);
	fd = disk_open(d->disk, path, O_WRONLY | O_CREAT, 0600);
	rc = fd < 0 ? fd : disk_close(d->disk, fd);
	if (rc == 0)
		rc = disk_sync_dir(d->disk, d->path);
	if (rc < 0)
		report_error("drive %s: cannot note that its index is to be built anew (%s): remove its index.db* "
		             "before the "
		             "node is started again",
		             d->path, strerror(-rc));
}

int drive_index_failed(struct drive *d, int rc, const struct error *err)
{
	if (rc == -EBADMSG) {
		if (atomic_load(&d->state) < DRIVE_INDEX_DAMAGED)
			ask_for_rebuild(d);
		get_worse(d, DRIVE_INDEX_DAMAGED, "its index is damaged", error_text(err));
		return -EIO;
	}
	return drive_write_failed(d, rc, error_text(err));
}

void drive_read_failed(struct drive *d)
{
	if (atomic_fetch_add(&d->read_errors, 1) + 1 >= READ_ERRORS_MAX)
		get_worse(d, DRIVE_FAILED, "reading", "too many errors");
}

/* ---- files ---- */

void drive_object_path(const struct drive *d, const char *name, const struct object_meta *meta,
                       char path[DRIVE_FILE_PATH])
{
	struct object_file_id id;
	char file[OBJECT_FILE_NAME];

	object_file_id(name, meta, &id);
	object_file_name(&id, file);
	snprintf(path, DRIVE_FILE_PATH, "%s/objects/%x/%s", d->path, object_file_dir(&id), file);
}

void drive_directory(const struct drive *d, unsigned number, char path[DRIVE_FILE_PATH])
{
	snprintf(path, DRIVE_FILE_PATH, "%s/objects/%x", d->path, number);
}

int drive_sync_directories(struct drive *d, const bool *wanted)
{
	char path[DRIVE_FILE_PATH];
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < OBJECT_DIRS; i++) {
		if (wanted && !wanted[i])
			continue;
		drive_directory(d, i, path);
		rc = disk_sync_dir(d->disk, path);
	}
	return rc;
}

int drive_new_file(struct drive *d, char path[DRIVE_FILE_PATH])
{
	snprintf(path, DRIVE_FILE_PATH, "%s/tmp/%" PRIu64, d->path, atomic_fetch_add(&d->next_tmp, 1));
	int fd = disk_open(d->disk, path, O_RDWR | O_CREAT | O_EXCL, 0600);

	return fd < 0 ? drive_write_failed(d, fd, "making a file") : fd;
}

int drive_place_file(struct drive *d, int fd, const char *path, const struct object_header *h)
{
	char place[DRIVE_FILE_PATH];
	uint8_t bytes[OBJECT_FILE_HEADER];
	int rc;

	object_header_encode(h, bytes);
	rc = disk_pwrite(d->disk, fd, bytes, sizeof bytes, 0);
	if (rc < 0)
		return drive_write_failed(d, rc, "writing");
	/* Before the sync: a journal that has both needs one commit for them. Until the sync is answered nobody relies on the
	 * file, and what a power cut leaves of it does not verify, or is whole. */
	drive_object_path(d, h->entry.name, &h->entry.meta, place);
	rc = disk_rename(d->disk, path, place);
	if (rc < 0)
		return drive_write_failed(d, rc, "renaming");
	rc = disk_fdatasync(d->disk, fd);
	if (rc < 0) {
		rc = drive_write_failed(d, rc, "syncing");
		(void)disk_unlink(d->disk, place);
	}
	return rc;
}

int drive_place_bare(struct drive *d, const struct object_entry *entry)
{
	struct object_header h = { .entry = *entry };
	char path[DRIVE_FILE_PATH];
	int fd = drive_new_file(d, path), rc;

	if (fd < 0)
		return fd;
	rc = drive_place_file(d, fd, path, &h);
	if (rc < 0)
		(void)disk_unlink(d->disk, path);
	disk_close(d->disk, fd);
	return rc;
}

void drive_unlink_object(struct drive *d, const char *name, const struct object_meta *meta)
{
	char path[DRIVE_FILE_PATH];

	drive_object_path(d, name, meta, path);
	int rc = disk_unlink(d->disk, path);
	if (rc < 0 && rc != -ENOENT)
		(void)drive_write_failed(d, rc, "removing a file");
}

void drive_quarantine(struct drive *d, const char *path)
{
	char aside[DRIVE_FILE_PATH];
	const char *slash = strrchr(path, '/');
	int rc = -ENOSPC;

	if (atomic_load(&d->quarantined) < QUARANTINE_MAX) {
		snprintf(aside, sizeof aside, "%s/quarantine%s", d->path, slash);
		rc = disk_rename(d->disk, path, aside);
		if (rc == 0)
			atomic_fetch_add(&d->quarantined, 1);
	}
	if (rc < 0)
		rc = disk_unlink(d->disk, path);
	if (rc < 0 && rc != -ENOENT)
		(void)drive_write_failed(d, rc, "moving a damaged file aside");
}
