/* SPDX-License-Identifier: GPL-3.0-only */
/* drive_journal.c: the journal of a drive at work: entries are written, and halves emptied. */
#include "node/drive_journal_private.h"

#include "base/report.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define SYNC_AT_ONCE 16u /* files that the kernel writes back together: one commit of the file system has all of them */

/* ---- room ---- */

/* With the mutex. */
static void close_half(struct drive_journal *j, struct journal_half *h)
{
	if (h->state != HALF_OPEN)
		return;
	h->state = HALF_FULL;
	pthread_cond_broadcast(&j->changed);
}

static bool fits(const struct drive_journal *j, const struct journal_half *h, uint64_t bytes)
{
	return h->state == HALF_OPEN && h->file_count < j->files_max && j->half_bytes - h->taken >= bytes;
}

/* The half that takes so many bytes, or NULL. With the mutex. */
static struct journal_half *half_with_room(struct drive_journal *j, uint64_t bytes)
{
	if (fits(j, &j->half[j->current], bytes))
		return &j->half[j->current];
	close_half(j, &j->half[j->current]);
	for (unsigned i = 0; i < JOURNAL_HALVES; i++)
		if (j->half[i].state == HALF_EMPTY) {
			j->half[i].state = HALF_OPEN;
			j->half[i].taken = JOURNAL_BLOCK;
			j->current = i;
			return &j->half[i];
		}
	return NULL;
}

bool drive_journal_begin(struct drive *d, struct journal_put *p)
{
	struct drive_journal *j = d->journal;
	struct journal_half *h = NULL;
	const struct object_entry *entry = &p->object->entry;
	uint64_t bytes = journal_entry_bytes(entry->meta.length);
	uint8_t hash[OBJECT_HASH_BYTES];

	if (!j || entry->meta.length > JOURNAL_BODY_MAX || bytes > j->half_bytes - JOURNAL_BLOCK)
		return false;
	object_name_hash(entry->name, hash);
	pthread_mutex_lock(&j->mutex);
	if (!j->closed)
		h = half_with_room(j, bytes);
	if (h) {
		p->half = (unsigned)(h - j->half);
		p->slot = h->file_count++;
		h->taken += bytes;
		h->outstanding++;
		h->file[p->slot].fd = -1;
		memcpy(h->file[p->slot].hash, hash, sizeof hash);
	}
	pthread_mutex_unlock(&j->mutex);
	return h;
}

void drive_journal_end(struct drive *d, struct journal_put *p, int fd)
{
	struct drive_journal *j = d->journal;
	struct journal_half *h = &j->half[p->half];

	pthread_mutex_lock(&j->mutex);
	assert(h->outstanding > 0);
	h->file[p->slot].fd = fd;
	if (--h->outstanding == 0)
		pthread_cond_broadcast(&j->changed);
	pthread_mutex_unlock(&j->mutex);
}

/* ---- errors ---- */

/* The journal takes nothing more. What it has is synced as files by its thread, which then removes it. */
static void break_journal(struct drive_journal *j, int rc)
{
	pthread_mutex_lock(&j->mutex);
	j->closed = true;
	for (unsigned i = 0; i < JOURNAL_HALVES; i++)
		close_half(j, &j->half[i]);
	pthread_cond_broadcast(&j->changed);
	pthread_mutex_unlock(&j->mutex);
	if (!atomic_exchange(&j->failed, true))
		report_error(
			"drive %s: its journal is out of use until the node is started again, and small objects take "
			"longer: %s",
			j->d->path, strerror(-rc));
}

bool drive_journal_failed(const struct drive *d)
{
	return d->journal && atomic_load(&d->journal->failed);
}

/* ---- entries ---- */

static int write_entry(struct drive_journal *j, struct journal_put *p)
{
	static const uint8_t zeros[JOURNAL_BLOCK];
	struct journal_half *h = &j->half[p->half];
	struct journal_entry entry = { .sequence = h->sequence, .durable = h->durable, .object = *p->object };
	uint64_t length = entry.object.entry.meta.length, bytes = journal_entry_bytes(length);

	assert(h->at + bytes <= j->half_bytes);
	memcpy(entry.tag, h->tag, sizeof entry.tag);
	journal_entry_encode(&entry, p->header);
	p->iov[0] = (struct iovec){ p->header, sizeof p->header };
	/* Whole blocks: nothing has to be read for them, and no other entry is touched. */
	p->iov[p->iov_count - 1] =
		(struct iovec){ (void *)(uintptr_t)zeros, (size_t)(bytes - JOURNAL_HEADER - length) };
	int rc = disk_pwritev(j->d->disk, j->fd, p->iov, p->iov_count, p->half * j->half_bytes + h->at);
	h->at += bytes;
	h->sequence++;
	return rc;
}

int drive_journal_write(struct drive *d, struct journal_put *const *puts, size_t count)
{
	struct drive_journal *j = d->journal;
	int rc = atomic_load(&j->failed) ? -EIO : 0;

	if (rc < 0)
		return rc;
	/* One after the other: what a power cut leaves half-written is behind everything that was answered. */
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = write_entry(j, puts[i]);
	if (rc == 0)
		rc = disk_fdatasync(d->disk, j->fd);
	if (rc < 0) {
		break_journal(j, rc);
		return rc;
	}
	for (size_t i = 0; i < count; i++)
		j->half[puts[i]->half].durable = j->half[puts[i]->half].sequence;
	return 0;
}

/* ---- emptying ---- */

/* A file that has no name any more was replaced by what is durable, or was found damaged: nobody needs it. */
static bool is_needed(const struct journal_file *f)
{
	struct stat st;

	return f->fd >= 0 && (fstat(f->fd, &st) < 0 || st.st_nlink > 0);
}

static int sync_files(struct drive_journal *j, struct journal_half *h)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < h->file_count; i++) {
		if (i % SYNC_AT_ONCE == 0)
			for (size_t k = i; k < h->file_count && k < i + SYNC_AT_ONCE; k++)
				if (is_needed(&h->file[k]))
					disk_start_writeback(h->file[k].fd);
		if (is_needed(&h->file[i]))
			rc = disk_fdatasync(j->d->disk, h->file[i].fd);
	}
	return rc;
}

static int sync_directories(struct drive_journal *j, struct journal_half *h)
{
	bool needed[OBJECT_DIRS] = { false };
	char path[DRIVE_FILE_PATH];
	int rc = 0;

	for (size_t i = 0; i < h->file_count; i++) {
		struct object_file_id id;
		memcpy(id.hash, h->file[i].hash, sizeof id.hash);
		needed[object_file_dir(&id)] |= h->file[i].fd >= 0;
	}
	for (unsigned i = 0; rc == 0 && i < OBJECT_DIRS; i++)
		if (needed[i]) {
			drive_objects_dir(j->d, i, path);
			rc = disk_sync_dir(j->d->disk, path);
		}
	return rc;
}

static void close_files(struct drive_journal *j, struct journal_half *h)
{
	for (size_t i = 0; i < h->file_count; i++)
		if (h->file[i].fd >= 0)
			disk_close(j->d->disk, h->file[i].fd);
}

/* What was answered cannot be made durable otherwise: whatever the reason is, the drive cannot be relied on. */
static int files_failed(struct drive_journal *j, int rc)
{
	return drive_write_failed(j->d, rc == -EROFS ? rc : -EIO, "syncing what its journal has");
}

/* Of a half that is full and in which nothing is outstanding. */
static int empty_half(struct drive_journal *j, struct journal_half *h)
{
	int rc = sync_files(j, h);

	if (rc == 0)
		rc = sync_directories(j, h);
	if (rc < 0)
		return files_failed(j, rc);
	if (!atomic_load(&j->failed)) {
		int reset = journal_half_reset(j, (unsigned)(h - j->half), j->reset_fd);
		if (reset == 0)
			reset = disk_fdatasync(j->d->disk, j->reset_fd);
		if (reset < 0)
			break_journal(j, reset);
	}
	close_files(j, h);
	return 0;
}

/* Its entries would be taken for what is there after the next unclean end. */
static void remove_journal(struct drive_journal *j)
{
	char path[DRIVE_FILE_PATH];
	int rc;

	journal_path(j->d, path);
	rc = disk_unlink(j->d->disk, path);
	if (rc == 0 || rc == -ENOENT)
		rc = disk_sync_dir(j->d->disk, j->d->path);
	if (rc < 0)
		(void)files_failed(j, rc);
}

static struct journal_half *half_to_empty(struct drive_journal *j)
{
	for (unsigned i = 0; i < JOURNAL_HALVES; i++)
		if (j->half[i].state == HALF_FULL && !j->half[i].outstanding)
			return &j->half[i];
	return NULL;
}

static bool is_empty(const struct drive_journal *j)
{
	for (unsigned i = 0; i < JOURNAL_HALVES; i++)
		if (j->half[i].state != HALF_EMPTY)
			return false;
	return true;
}

void *journal_main(void *arg)
{
	struct drive_journal *j = arg;
	struct journal_half *h;
	int rc = 0;

	pthread_mutex_lock(&j->mutex);
	while (rc == 0 && !(j->closed && is_empty(j))) {
		h = half_to_empty(j);
		if (!h) {
			pthread_cond_wait(&j->changed, &j->mutex);
			continue;
		}
		pthread_mutex_unlock(&j->mutex);
		rc = empty_half(j, h);
		pthread_mutex_lock(&j->mutex);
		if (rc < 0)
			break;
		h->state = HALF_EMPTY;
		h->file_count = 0;
		h->emptied++;
		pthread_cond_broadcast(&j->changed);
	}
	pthread_mutex_unlock(&j->mutex);
	if (rc == 0 && atomic_load(&j->failed))
		remove_journal(j);
	pthread_mutex_lock(&j->mutex);
	j->closed = true;
	j->over = true;
	pthread_cond_broadcast(&j->changed);
	pthread_mutex_unlock(&j->mutex);
	return NULL;
}

/* ---- waiting until it is empty ---- */

static bool has_entry(const struct journal_half *h, const uint8_t hash[OBJECT_HASH_BYTES])
{
	for (size_t i = 0; i < h->file_count; i++)
		if (memcmp(h->file[i].hash, hash, OBJECT_HASH_BYTES) == 0)
			return true;
	return false;
}

/* Has those halves emptied that have an entry of it: whether there is one. With the mutex. */
static bool close_halves_with(struct drive_journal *j, const uint8_t hash[OBJECT_HASH_BYTES])
{
	bool there = false;

	for (unsigned i = 0; i < JOURNAL_HALVES; i++)
		if (has_entry(&j->half[i], hash)) {
			close_half(j, &j->half[i]);
			there = true;
		}
	return there;
}

int drive_journal_settle(struct drive *d, const char *name)
{
	struct drive_journal *j = d->journal;
	uint8_t hash[OBJECT_HASH_BYTES];
	bool there;

	if (!j)
		return 0;
	object_name_hash(name, hash);
	pthread_mutex_lock(&j->mutex);
	/* After an error the file itself has to be gone: it has entries that nobody knows any more. */
	while ((there = close_halves_with(j, hash) || atomic_load(&j->failed)) && !j->over)
		pthread_cond_wait(&j->changed, &j->mutex);
	pthread_mutex_unlock(&j->mutex);
	return there && atomic_load(&d->state) != DRIVE_OK ? -EIO : 0;
}
