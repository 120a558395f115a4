/* SPDX-License-Identifier: GPL-3.0-only */
/* drive_open.c: one drive, from its lock file to an index that agrees with its files; and its end. */
#include "node/drive.h"

#include "base/report.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define PAGE_ROWS 512

static void path_of(const struct drive *d, const char *file, char path[DRIVE_FILE_PATH])
{
	snprintf(path, DRIVE_FILE_PATH, "%s/%s", d->path, file);
}

int drive_lock(struct drive *d, struct disk *disk, const char *path, struct error *err)
{
	char file[DRIVE_FILE_PATH];
	size_t len = strlen(path);

	memset(d, 0, sizeof *d);
	d->disk = disk;
	d->lock_fd = -1;
	if (len >= sizeof d->path)
		return error_set(err, -ENAMETOOLONG, "the path of a drive is too long");
	memcpy(d->path, path, len + 1);
	while (len > 1 && d->path[len - 1] == '/')
		d->path[--len] = '\0';
	pthread_mutex_init(&d->mutex, NULL);
	pthread_cond_init(&d->finished, NULL);
	TAILQ_INIT(&d->waiting);
	path_of(d, "lock", file);
	d->lock_fd = disk_open(disk, file, O_RDWR | O_CREAT, 0600);
	if (d->lock_fd < 0)
		return error_set(err, d->lock_fd, "%s: %s", file, strerror(-d->lock_fd));
	if (flock(d->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		int rc = errno == EWOULDBLOCK ? -EBUSY : -errno;
		return rc == -EBUSY ? error_set(err, rc, "%s: another process has this drive open", path)
		                    : error_set(err, rc, "%s: %s", file, strerror(-rc));
	}
	return 0;
}

/* ---- directories ---- */

static int make_directory(struct drive *d, const char *name, bool *made)
{
	char path[DRIVE_FILE_PATH];
	int rc;

	path_of(d, name, path);
	rc = disk_mkdir(d->disk, path, 0700);
	*made |= rc == 0;
	return rc == -EEXIST ? 0 : rc;
}

static int make_directories(struct drive *d)
{
	static const char *const names[] = { "tmp", "quarantine", "node", "objects" };
	char path[DRIVE_FILE_PATH];
	bool made = false;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof names / sizeof names[0]; i++)
		rc = make_directory(d, names[i], &made);
	for (unsigned i = 0; rc == 0 && i < OBJECT_DIRS; i++) {
		char name[32];
		snprintf(name, sizeof name, "objects/%x", i);
		rc = make_directory(d, name, &made);
	}
	if (rc == 0 && made) {
		path_of(d, "objects", path);
		rc = disk_sync_dir(d->disk, path);
		if (rc == 0)
			rc = disk_sync_dir(d->disk, d->path);
	}
	return rc;
}

static int remove_file(void *arg, const char *path)
{
	return disk_unlink(((struct drive *)arg)->disk, path);
}

static int count_file(void *arg, const char *path)
{
	(void)path;
	atomic_fetch_add(&((struct drive *)arg)->quarantined, 1);
	return 0;
}

/* What was being written when the node ended goes. */
static int tidy_up(struct drive *d)
{
	char path[DRIVE_FILE_PATH];
	int rc;

	path_of(d, "tmp", path);
	rc = disk_each_file(path, remove_file, d);
	path_of(d, "quarantine", path);
	return rc < 0 ? rc : disk_each_file(path, count_file, d);
}

/* ---- the marker of an end that was not clean ---- */

static int mark_open(struct drive *d, bool *unclean)
{
	char path[DRIVE_FILE_PATH];
	int fd, rc;

	path_of(d, "unclean", path);
	fd = disk_open(d->disk, path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	*unclean = fd == -EEXIST;
	if (*unclean)
		return 0;
	if (fd < 0)
		return fd;
	rc = disk_close(d->disk, fd);
	return rc < 0 ? rc : disk_sync_dir(d->disk, d->path);
}

static void mark_closed(struct drive *d)
{
	char path[DRIVE_FILE_PATH];

	/* What was replaced must be gone for good: nobody looks for it after a clean end. */
	if (drive_sync_directories(d, NULL) < 0)
		return;
	path_of(d, "unclean", path);
	if (disk_unlink(d->disk, path) == 0)
		(void)disk_sync_dir(d->disk, d->path);
}

/* ---- the marker of an index that was found damaged while it was in use (drive.c) ---- */

static int is_rebuild_asked(struct drive *d, bool *asked)
{
	char path[DRIVE_FILE_PATH];

	path_of(d, "rebuild", path);
	int fd = disk_open(d->disk, path, O_RDONLY, 0);
	*asked = fd >= 0;
	if (fd >= 0)
		disk_close(d->disk, fd);
	return fd < 0 && fd != -ENOENT ? fd : 0;
}

static int forget_rebuild(struct drive *d)
{
	char path[DRIVE_FILE_PATH];

	path_of(d, "rebuild", path);
	int rc = disk_unlink(d->disk, path);
	return rc < 0 ? rc : disk_sync_dir(d->disk, d->path);
}

/* ---- the index ---- */

/* Goes through all rows: the counts, and whether each is whole. */
static int count_all(struct drive *d, struct error *err)
{
	struct object_entry *page = malloc(PAGE_ROWS * sizeof *page);
	int n = page ? object_index_page(d->index, "", NULL, page, PAGE_ROWS, err) : -ENOMEM;

	atomic_store(&d->objects, 0);
	atomic_store(&d->tombstones, 0);
	atomic_store(&d->bytes, 0);
	while (n > 0) {
		for (int i = 0; i < n; i++)
			drive_count(d, &page[i].meta, 1);
		n = object_index_page(d->index, NULL, page[n - 1].name, page, PAGE_ROWS, err);
	}
	free(page);
	return n;
}

/* An index with nothing in it. */
static int new_index(struct drive *d, const char *path, struct error *err)
{
	bool complete;
	int rc;

	(void)object_index_close(d->index);
	d->index = NULL;
	rc = object_index_delete(d->disk, path);
	return rc < 0 ? error_set(err, rc, "%s: %s", path, strerror(-rc))
	              : object_index_open(path, &d->index, &complete, err);
}

static int build_index(struct drive *d, const char *path, struct drive_check *check, struct error *err)
{
	int rc = new_index(d, path, err);

	/* What was set aside in an earlier comparison is not found again. */
	*check = (struct drive_check){ .rebuilt = true, .damaged = check->damaged };
	if (rc == 0)
		rc = drive_compare(d, true, check, err);
	return rc == 0 ? object_index_complete(d->index, err) : rc;
}

static int ready_index(struct drive *d, bool unclean, struct drive_check *check, struct error *err)
{
	char path[DRIVE_FILE_PATH];
	bool complete = false, asked = false;
	int rc = is_rebuild_asked(d, &asked);

	path_of(d, "index.db", path);
	if (rc < 0)
		return error_set(err, rc, "rebuild: %s", strerror(-rc));
	rc = asked ? error_set(err, -EBADMSG, "it was found damaged while it was in use")
	           : object_index_open(path, &d->index, &complete, err);
	if (rc == 0 && complete && unclean)
		rc = drive_compare(d, false, check, err);
	if (rc == 0 && complete)
		rc = count_all(d, err);
	if (rc == -EBADMSG)
		report_warning("drive %s: its index is damaged, and is built anew: %s", d->path, error_text(err));
	if (rc == -EBADMSG || (rc == 0 && !complete)) {
		rc = build_index(d, path, check, err);
		if (rc == 0)
			rc = count_all(d, err);
	}
	if (rc == 0 && asked && (rc = forget_rebuild(d)) < 0)
		error_set(err, rc, "rebuild: %s", strerror(-rc));
	return rc;
}

int drive_open(struct drive *d, const char *id, uint64_t reserve, struct drive_check *check, struct error *err)
{
	bool unclean = false;
	uint8_t hash[8];
	int rc;

	memset(check, 0, sizeof *check);
	snprintf(d->id, sizeof d->id, "%s", id);
	crypto_generichash(hash, sizeof hash, (const uint8_t *)id, strlen(id), NULL, 0);
	memcpy(&d->seed, hash, sizeof hash);
	d->reserve = reserve;
	rc = make_directories(d);
	if (rc == 0)
		rc = tidy_up(d);
	if (rc == 0)
		rc = mark_open(d, &unclean);
	if (rc < 0)
		return error_set(err, rc, "drive %s: %s", d->path, strerror(-rc));
	rc = ready_index(d, unclean, check, err);
	if (rc < 0)
		return error_prefix(err, rc, "drive %s", d->path);
	(void)drive_free_bytes(d);
	d->ready = true;
	return 0;
}

void drive_close(struct drive *d)
{
	int rc = object_index_close(d->index);

	d->index = NULL;
	if (d->ready && rc == 0 && atomic_load(&d->state) == DRIVE_OK)
		mark_closed(d);
	if (d->lock_fd >= 0)
		disk_close(d->disk, d->lock_fd);
	pthread_cond_destroy(&d->finished);
	pthread_mutex_destroy(&d->mutex);
}
