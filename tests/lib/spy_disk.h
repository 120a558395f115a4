/* SPDX-License-Identifier: GPL-3.0-only */
/* spy_disk.h: a disk that passes every call on to the real file system, writes down which calls were made, and fails the one
 * that a test names. For one thread.
 */
#ifndef GARNER_TESTS_SPY_DISK_H
#define GARNER_TESTS_SPY_DISK_H

#include "base/disk.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

struct spy_disk {
	struct disk disk;
	char log[512]; /* a letter per call: Open Allocate Write Sync Rename Dirsync Unlink Truncate */
	unsigned reads, writes;
	int fail_at; /* the how-manieth logged call fails with EIO; 0: none */
	int calls;
	bool no_fallocate;
};

static inline int spied(struct disk *d, char letter)
{
	struct spy_disk *s = (struct spy_disk *)d;
	size_t n = strlen(s->log);

	if (n + 1 < sizeof s->log)
		s->log[n] = letter;
	return ++s->calls == s->fail_at ? -EIO : 0;
}

static inline int spy_open(struct disk *d, const char *path, int flags, mode_t mode)
{
	int rc = spied(d, 'O');

	return rc < 0 ? rc : disk_posix()->ops->open(d, path, flags, mode);
}

static inline int spy_close(struct disk *d, int fd)
{
	return disk_posix()->ops->close(d, fd);
}

static inline ssize_t spy_pread(struct disk *d, int fd, void *buf, size_t len, uint64_t offset)
{
	((struct spy_disk *)d)->reads++;
	return disk_posix()->ops->pread(d, fd, buf, len, offset);
}

static inline ssize_t spy_pwritev(struct disk *d, int fd, const struct iovec *iov, int iovcnt, uint64_t offset)
{
	int rc = spied(d, 'W');

	((struct spy_disk *)d)->writes++;
	return rc < 0 ? rc : disk_posix()->ops->pwritev(d, fd, iov, iovcnt, offset);
}

static inline int spy_fdatasync(struct disk *d, int fd)
{
	int rc = spied(d, 'S');

	return rc < 0 ? rc : disk_posix()->ops->fdatasync(d, fd);
}

static inline int spy_fallocate(struct disk *d, int fd, int mode, uint64_t offset, uint64_t len)
{
	int rc = spied(d, 'A');

	if (((struct spy_disk *)d)->no_fallocate)
		return -EOPNOTSUPP;
	return rc < 0 ? rc : disk_posix()->ops->fallocate(d, fd, mode, offset, len);
}

static inline int spy_ftruncate(struct disk *d, int fd, uint64_t len)
{
	int rc = spied(d, 'T');

	return rc < 0 ? rc : disk_posix()->ops->ftruncate(d, fd, len);
}

static inline int spy_rename(struct disk *d, const char *from, const char *to)
{
	int rc = spied(d, 'R');

	return rc < 0 ? rc : disk_posix()->ops->rename(d, from, to);
}

static inline int spy_unlink(struct disk *d, const char *path)
{
	int rc = spied(d, 'U');

	return rc < 0 ? rc : disk_posix()->ops->unlink(d, path);
}

static inline int spy_sync_dir(struct disk *d, const char *path)
{
	int rc = spied(d, 'D');

	return rc < 0 ? rc : disk_posix()->ops->sync_dir(d, path);
}

static const struct disk_ops spy_ops = {
	.open = spy_open,
	.close = spy_close,
	.pread = spy_pread,
	.pwritev = spy_pwritev,
	.fdatasync = spy_fdatasync,
	.fallocate = spy_fallocate,
	.ftruncate = spy_ftruncate,
	.rename = spy_rename,
	.unlink = spy_unlink,
	.sync_dir = spy_sync_dir,
};

static inline void spy_disk_init(struct spy_disk *s)
{
	memset(s, 0, sizeof *s);
	s->disk.ops = &spy_ops;
}

#endif
