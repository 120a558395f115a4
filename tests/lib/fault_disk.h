/* SPDX-License-Identifier: GPL-3.0-only */
/* fault_disk.h: the real file system behind a seam that fails or delays what a test names, on any threads, and that knows which
 * moments of a file's life a sync has covered. For tests only.
 */
#ifndef GARNER_TESTS_FAULT_DISK_H
#define GARNER_TESTS_FAULT_DISK_H

#include "base/disk.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FAULT_FILES 1024

struct fault_disk {
	struct disk disk;
	_Atomic uint64_t clock; /* moments: grows with every call below */
	_Atomic unsigned syncs, opens, unlinks, punches;
	/* While not 0, each such call fails with this -errno. */
	_Atomic int sync_error, allocate_error, write_error, open_error;
	_Atomic unsigned sync_delay_us; /* each sync takes up to that long, before and again after */
	/* Counts down with each change (write, sync, rename, unlink, sync of a directory); at 0 and from there on they fail. */
	_Atomic int changes_left;
	_Atomic uint64_t covered[FAULT_FILES]; /* by descriptor: what happened before this moment is synced */
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

/* What a change is answered with before it is done: 0 to let it pass. */
static inline int fault_change(struct fault_disk *d, int error)
{
	fault_now(d);
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
	if (rc >= 0)
		atomic_store(&f->covered[rc], 0);
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
	int rc = fault_change(f, atomic_load(&f->write_error));

	return rc ? rc : disk_posix()->ops->pwritev(d, fd, iov, iovcnt, offset);
}

static inline int fault_fdatasync(struct disk *d, int fd)
{
	struct fault_disk *f = (struct fault_disk *)d;
	int rc = fault_change(f, atomic_load(&f->sync_error));
	uint64_t began = fault_now(f);

	atomic_fetch_add(&f->syncs, 1);
	fault_pause(atomic_load(&f->sync_delay_us));
	if (!rc)
		rc = disk_posix()->ops->fdatasync(d, fd);
	fault_pause(atomic_load(&f->sync_delay_us));
	uint64_t before = atomic_load(&f->covered[fd]);
	while (!rc && before < began && !atomic_compare_exchange_weak(&f->covered[fd], &before, began))
		;
	return rc;
}

static inline int fault_fallocate(struct disk *d, int fd, int mode, uint64_t offset, uint64_t len)
{
	struct fault_disk *f = (struct fault_disk *)d;

	if (mode)
		atomic_fetch_add(&f->punches, 1);
	else if (atomic_load(&f->allocate_error))
		return atomic_load(&f->allocate_error);
	return disk_posix()->ops->fallocate(d, fd, mode, offset, len);
}

static inline int fault_ftruncate(struct disk *d, int fd, uint64_t len)
{
	return disk_posix()->ops->ftruncate(d, fd, len);
}

static inline int fault_rename(struct disk *d, const char *from, const char *to)
{
	int rc = fault_change((struct fault_disk *)d, 0);

	return rc ? rc : disk_posix()->ops->rename(d, from, to);
}

static inline int fault_link(struct disk *d, const char *from, const char *to)
{
	return disk_posix()->ops->link(d, from, to);
}

static inline int fault_unlink(struct disk *d, const char *path)
{
	int rc = fault_change((struct fault_disk *)d, 0);

	atomic_fetch_add(&((struct fault_disk *)d)->unlinks, 1);
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
	int rc = fault_change((struct fault_disk *)d, 0);

	return rc ? rc : disk_posix()->ops->sync_dir(d, path);
}

static inline void *fault_map(struct disk *d, int fd, uint64_t offset, size_t len)
{
	return disk_posix()->ops->map(d, fd, offset, len);
}

static inline int fault_unmap(struct disk *d, int fd, void *addr, size_t len)
{
	return disk_posix()->ops->unmap(d, fd, addr, len);
}

static inline void fault_map_store(struct disk *d, int fd, uint64_t offset, void *dst, const void *src, size_t len)
{
	disk_posix()->ops->map_store(d, fd, offset, dst, src, len);
	fault_now((struct fault_disk *)d);
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
	.map = fault_map,
	.unmap = fault_unmap,
	.map_store = fault_map_store,
};

static inline void fault_disk_init(struct fault_disk *f)
{
	memset(f, 0, sizeof *f);
	f->disk.ops = &fault_ops;
	atomic_store(&f->changes_left, 1 << 30);
}

#endif
