/* SPDX-License-Identifier: GPL-3.0-only */
/* drive_journal_open.c: the file of a drive's journal is made or used again; and its end. */
#include "node/drive_journal_private.h"

#include "base/bytes.h"
#include "base/report.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define MIB (UINT64_C(1) << 20)
#define MOST (32 * MIB)
#define LEAST_CHOSEN (2 * MIB)
#define SHARE 64u       /* of the file system, at most */
#define FREE_NEEDED 16u /* times its size, when it is made */
#define FILES_MOST 256u
#define FILES_LEAST 16u
#define FILES_SHARE 64u /* of the files that the process may have open: of each half of each drive */

void journal_path(const struct drive *d, char path[DRIVE_FILE_PATH])
{
	snprintf(path, DRIVE_FILE_PATH, "%s/journal", d->path);
}

int journal_half_reset(struct drive_journal *j, unsigned half, int fd)
{
	struct journal_half *h = &j->half[half];
	struct journal_half_header header = { .bytes = j->half_bytes };
	uint8_t bytes[JOURNAL_HEADER];

	randombytes_buf(h->tag, sizeof h->tag);
	memcpy(header.tag, h->tag, sizeof header.tag);
	h->at = JOURNAL_BLOCK;
	h->sequence = h->durable = 0;
	journal_half_encode(&header, bytes);
	return disk_pwrite(j->d->disk, fd, bytes, sizeof bytes, half * j->half_bytes);
}

/* ---- the file ---- */

static uint64_t size_for(struct drive *d)
{
	uint64_t free_bytes = drive_free_bytes(d), reserve = drive_reserve(d);
	uint64_t bytes = round_down(atomic_load(&d->capacity) / SHARE, 2 * MIB);

	if (bytes > MOST)
		bytes = MOST;
	if (bytes < LEAST_CHOSEN || free_bytes < reserve || (free_bytes - reserve) / FREE_NEEDED < bytes)
		return 0;
	return bytes;
}

static int write_zeros(struct drive *d, int fd, uint64_t bytes)
{
	uint8_t *zeros = calloc(1, MIB);
	int rc = zeros ? 0 : -ENOMEM;

	for (uint64_t at = 0; rc == 0 && at < bytes; at += MIB)
		rc = disk_pwrite(d->disk, fd, zeros, bytes - at < MIB ? (size_t)(bytes - at) : MIB, at);
	free(zeros);
	return rc;
}

/* Makes a file of zeros: all of its blocks are there, and were written. */
static int make_file(struct drive *d, const char *path, uint64_t bytes)
{
	char new_path[DRIVE_FILE_PATH];

	snprintf(new_path, sizeof new_path, "%s/journal.new", d->path);
	int rc = disk_unlink(d->disk, new_path);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	int fd = disk_open(d->disk, new_path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return fd;
	rc = write_zeros(d, fd, bytes);
	if (rc == 0)
		rc = disk_fdatasync(d->disk, fd);
	int closed = disk_close(d->disk, fd);
	if (rc == 0)
		rc = closed;
	if (rc == 0)
		rc = disk_rename(d->disk, new_path, path);
	if (rc < 0)
		(void)disk_unlink(d->disk, new_path);
	return rc < 0 ? rc : disk_sync_dir(d->disk, d->path);
}

/* Both descriptors. */
static int open_file(struct drive_journal *j, const char *path)
{
	j->fd = disk_open(j->d->disk, path, O_WRONLY, 0);
	j->reset_fd = disk_open(j->d->disk, path, O_WRONLY, 0);
	return j->fd < 0 ? j->fd : j->reset_fd < 0 ? j->reset_fd : 0;
}

/* The size of the file, or 0 when it is none that can be used. */
static uint64_t usable_size(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0)
		return 0;
	uint64_t bytes = (uint64_t)st.st_size;
	return bytes >= DRIVE_JOURNAL_LEAST && bytes % (2 * JOURNAL_BLOCK) == 0 && bytes / 2 <= JOURNAL_HALF_MAX ? bytes
	                                                                                                         : 0;
}

static size_t files_of_a_half(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur / FILES_SHARE < FILES_LEAST)
		return FILES_LEAST;
	return limit.rlim_cur / FILES_SHARE < FILES_MOST ? (size_t)(limit.rlim_cur / FILES_SHARE) : FILES_MOST;
}

static void journal_free(struct drive_journal *j)
{
	for (unsigned i = 0; i < JOURNAL_HALVES; i++) {
		/* What a drive that failed left. */
		for (size_t k = 0; k < j->half[i].file_count; k++)
			if (j->half[i].file[k].fd >= 0)
				disk_close(j->d->disk, j->half[i].file[k].fd);
		free(j->half[i].file);
	}
	if (j->fd >= 0)
		disk_close(j->d->disk, j->fd);
	if (j->reset_fd >= 0)
		disk_close(j->d->disk, j->reset_fd);
	pthread_cond_destroy(&j->changed);
	pthread_mutex_destroy(&j->mutex);
	free(j);
}

static struct drive_journal *journal_new(struct drive *d, uint64_t bytes)
{
	struct drive_journal *j = calloc(1, sizeof *j);

	if (!j)
		return NULL;
	j->d = d;
	j->fd = j->reset_fd = -1;
	j->half_bytes = bytes / 2;
	j->files_max = files_of_a_half();
	pthread_mutex_init(&j->mutex, NULL);
	pthread_cond_init(&j->changed, NULL);
	for (unsigned i = 0; i < JOURNAL_HALVES; i++) {
		j->half[i].file = calloc(j->files_max, sizeof *j->half[i].file);
		if (!j->half[i].file) {
			journal_free(j);
			return NULL;
		}
	}
	return j;
}

/* The file there is: with halves that have no entries, and a thread. */
static int start(struct drive *d, const char *path, uint64_t bytes)
{
	struct drive_journal *j = journal_new(d, bytes);
	int rc = j ? open_file(j, path) : -ENOMEM;

	for (unsigned i = 0; rc == 0 && i < JOURNAL_HALVES; i++)
		rc = journal_half_reset(j, i, j->fd);
	if (rc == 0)
		rc = disk_fdatasync(d->disk, j->fd);
	if (rc == 0)
		rc = -pthread_create(&j->thread, NULL, journal_main, j);
	if (rc == 0)
		d->journal = j;
	else if (j)
		journal_free(j);
	return rc;
}

/* What may still have entries must not be left there without use: they would be old when they are found. */
static int remove_file(struct drive *d, const char *path, struct error *err)
{
	int rc = disk_unlink(d->disk, path);

	if (rc == 0)
		rc = disk_sync_dir(d->disk, d->path);
	return rc < 0 && rc != -ENOENT ? error_set(err, rc, "%s: %s", path, strerror(-rc)) : 0;
}

int drive_journal_open(struct drive *d, uint64_t bytes, struct error *err)
{
	char path[DRIVE_FILE_PATH];
	int rc = 0;

	journal_path(d, path);
	uint64_t size = usable_size(path);
	if (bytes && size != bytes)
		size = 0;
	if (!size) {
		rc = remove_file(d, path, err);
		if (rc < 0)
			return rc;
		size = bytes ? round_down(bytes, 2 * JOURNAL_BLOCK) : size_for(d);
		if (size < DRIVE_JOURNAL_LEAST)
			return 0;
		rc = make_file(d, path, size);
	}
	if (rc == 0)
		rc = start(d, path, size);
	if (rc == 0)
		return 0;
	report_warning("drive %s has no journal, and small objects take longer: %s", d->path, strerror(-rc));
	return remove_file(d, path, err);
}

int drive_journal_close(struct drive *d)
{
	struct drive_journal *j = d->journal;

	if (!j)
		return 0;
	pthread_mutex_lock(&j->mutex);
	j->closed = true;
	for (unsigned i = 0; i < JOURNAL_HALVES; i++)
		if (j->half[i].state == HALF_OPEN)
			j->half[i].state = HALF_FULL;
	pthread_cond_broadcast(&j->changed);
	pthread_mutex_unlock(&j->mutex);
	pthread_join(j->thread, NULL);
	/* A drive that failed on the way is marked so. */
	int rc = atomic_load(&d->state) == DRIVE_OK ? 0 : -EIO;
	journal_free(j);
	d->journal = NULL;
	return rc;
}
