/* SPDX-License-Identifier: GPL-3.0-only */
/* fault_disk.h: the real file system behind a seam that fails, delays or holds back what a test names, on any threads, shows it
 * each change, and knows which moments of a file's life a sync has covered. For tests only.
 */
#ifndef GARNER_TESTS_FAULT_DISK_H
#define GARNER_TESTS_FAULT_DISK_H

#include "base/disk.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FAULT_FILES 1024

struct fault_disk {
	struct disk disk;
	_Atomic uint64_t clock; /* moments: grows with every call below */
	_Atomic unsigned syncs, opens, allocations;
	/* While not 0, each such call fails with this -errno. */
	_Atomic int sync_error, allocate_error, write_error, open_error;
	_Atomic unsigned sync_delay_us; /* each sync takes up to that long, before and again after */
	/* Counts down with each change (write, sync, rename, unlink, sync of a directory); at 0 and from there on they fail. */
	_Atomic int changes_left;
	_Atomic uint64_t written[FAULT_FILES]; /* by descriptor: the moment of the last write */
	_Atomic uint64_t covered[FAULT_FILES]; /* by descriptor: what happened before this moment is synced */
	/* Shown each change just before it is made: Write, Sync, Rename, Unlink or Directory synced. `fd` or `path` says of what
	 * (the other is -1 or NULL). Set while no other thread uses the disk. */
	void (*watch)(void *arg, char change, int fd, uint64_t offset, const char *path);
	void *watch_arg;

	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t changed;
	bool hold_syncs;
	uint64_t entered, let_go; /* syncs that came; that need not wait */
};

static inline uint64_t fault_now(struct fault_disk *d)
{
	return atomic_fetch_add(&d->clock, 1) + 1;
}

static inline void fault_pause(unsigned most_us)
{
	static _Thread_local unsigned seed;

	if (!most_us)
		return;
	if (!seed)
		seed = (unsigned)(uintptr_t)&seed;
	struct timespec t = { .tv_nsec = (long)(rand_r(&seed) % most_us) * 1000 };
	nanosleep(&t, NULL);
}

static inline void fault_raise(_Atomic uint64_t *moment, uint64_t to)
{
	uint64_t before = atomic_load(moment);

	while (before < to && !atomic_compare_exchange_weak(moment, &before, to))
		;
}

/* What a change is answered with before it is done: 0 to let it pass. */
static inline int fault_change(struct fault_disk *d, int error, char change, int fd, uint64_t offset, const char *path)
{
	fault_now(d);
	if (d->watch)
		d->watch(d->watch_arg, change, fd, offset, path);
	if (error)
		return error;
	return atomic_fetch_sub(&d->changes_left, 1) > 0 ? 0 : -EIO;
}

static inline int fault_open(struct disk *d, const char *path, int flags, mode_t mode)
{
	struct fault_disk *f = (struct fault_disk *)d;
	int rc = atomic_load(&f->open_error);

	if (rc)
		return rc;
	atomic_fetch_add(&f->opens, 1);
	rc = disk_posix()->ops->open(d, path, flags, mode);
	if (rc >= FAULT_FILES)
		abort();
	if (rc >= 0) {
		atomic_store(&f->written[rc], 0);
		atomic_store(&f->covered[rc], 0);
	}
	return rc;
}

static inline int fault_close(struct disk *d, int fd)
{
	return disk_posix()->ops->close(d, fd);
}

static inline ssize_t fault_pread(struct disk *d, int fd, void *buf, size_t len, uint64_t offset)
{
	return disk_posix()->ops->pread(d, fd, buf, len, offset);
}

static inline ssize_t fault_pwritev(struct disk *d, int fd, const struct iovec *iov, int iovcnt, uint64_t offset)
{
	struct fault_disk *f = (struct fault_disk *)d;
	int rc = fault_change(f, atomic_load(&f->write_error), 'W', fd, offset, NULL);

	if (rc)
		return rc;
	ssize_t n = disk_posix()->ops->pwritev(d, fd, iov, iovcnt, offset);
	fault_raise(&f->written[fd], fault_now(f));
	return n;
}

/* Waits while syncs are held back. */
static inline void fault_gate(struct fault_disk *f)
{
	pthread_mutex_lock(&f->mutex);
	uint64_t ticket = f->entered++;
	pthread_cond_broadcast(&f->changed);
	while (f->hold_syncs && ticket >= f->let_go)
		pthread_cond_wait(&f->changed, &f->mutex);
	pthread_mutex_unlock(&f->mutex);
}

static inline int fault_fdatasync(struct disk *d, int fd)
{
	struct fault_disk *f = (struct fault_disk *)d;
	uint64_t began = fault_now(f);

	atomic_fetch_add(&f->syncs, 1);
	fault_gate(f);
	fault_pause(atomic_load(&f->sync_delay_us));
	int rc = fault_change(f, atomic_load(&f->sync_error), 'S', fd, 0, NULL);
	if (!rc)
		rc = disk_posix()->ops->fdatasync(d, fd);
	fault_pause(atomic_load(&f->sync_delay_us));
	if (!rc)
		fault_raise(&f->covered[fd], began);
	return rc;
}

static inline int fault_fallocate(struct disk *d, int fd, int mode, uint64_t offset, uint64_t len)
{
	struct fault_disk *f = (struct fault_disk *)d;

	if (atomic_load(&f->allocate_error))
		return atomic_load(&f->allocate_error);
	atomic_fetch_add(&f->allocations, 1);
	return disk_posix()->ops->fallocate(d, fd, mode, offset, len);
}

static inline int fault_ftruncate(struct disk *d, int fd, uint64_t len)
{
	return disk_posix()->ops->ftruncate(d, fd, len);
}

static inline int fault_rename(struct disk *d, const char *from, const char *to)
{
	int rc = fault_change((struct fault_disk *)d, 0, 'R', -1, 0, from);

	return rc ? rc : disk_posix()->ops->rename(d, from, to);
}

static inline int fault_link(struct disk *d, const char *from, const char *to)
{
	return disk_posix()->ops->link(d, from, to);
}

static inline int fault_unlink(struct disk *d, const char *path)
{
	int rc = fault_change((struct fault_disk *)d, 0, 'U', -1, 0, path);

	return rc ? rc : disk_posix()->ops->unlink(d, path);
}

static inline int fault_mkdir(struct disk *d, const char *path, mode_t mode)
{
	return disk_posix()->ops->mkdir(d, path, mode);
}

static inline int fault_rmdir(struct disk *d, const char *path)
{
	return disk_posix()->ops->rmdir(d, path);
}

static inline int fault_sync_dir(struct disk *d, const char *path)
{
	int rc = fault_change((struct fault_disk *)d, 0, 'D', -1, 0, path);

	return rc ? rc : disk_posix()->ops->sync_dir(d, path);
}

static const struct disk_ops fault_ops = {
	.open = fault_open,
	.close = fault_close,
	.pread = fault_pread,
	.pwritev = fault_pwritev,
	.fdatasync = fault_fdatasync,
	.fallocate = fault_fallocate,
	.ftruncate = fault_ftruncate,
	.rename = fault_rename,
	.link = fault_link,
	.unlink = fault_unlink,
	.mkdir = fault_mkdir,
	.rmdir = fault_rmdir,
	.sync_dir = fault_sync_dir,
};

static inline void fault_disk_init(struct fault_disk *f)
{
	memset(f, 0, sizeof *f);
	f->disk.ops = &fault_ops;
	atomic_store(&f->changes_left, 1 << 30);
	pthread_mutex_init(&f->mutex, NULL);
	pthread_cond_init(&f->changed, NULL);
}

static inline void fault_disk_destroy(struct fault_disk *f)
{
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->mutex);
}

/* From now on syncs wait, or (false) no longer do. */
static inline void fault_hold_syncs(struct fault_disk *f, bool hold)
{
	pthread_mutex_lock(&f->mutex);
	f->hold_syncs = hold;
	f->let_go = f->entered;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->mutex);
}

/* Waits until a sync is held back that was not let go yet. */
static inline void fault_wait_held(struct fault_disk *f)
{
	pthread_mutex_lock(&f->mutex);
	while (f->entered == f->let_go)
		pthread_cond_wait(&f->changed, &f->mutex);
	pthread_mutex_unlock(&f->mutex);
}

/* Lets go those that are held now; later ones wait again. */
static inline void fault_let_go(struct fault_disk *f)
{
	pthread_mutex_lock(&f->mutex);
	f->let_go = f->entered;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->mutex);
}

#endif
