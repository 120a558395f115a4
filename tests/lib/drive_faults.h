/* SPDX-License-Identifier: GPL-3.0-only */
/* drive_faults.h: the real file system behind a seam, of which some directories fail: a drive that breaks among others. For tests. */
#ifndef GARNER_TESTS_DRIVE_FAULTS_H
#define GARNER_TESTS_DRIVE_FAULTS_H

#include "base/disk.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define FAULT_DRIVES 4
#define FAULT_FDS 1024

struct drive_faults {
	struct disk disk;
	const char *path[FAULT_DRIVES]; /* NULL: none */
	/* -errno of every such call on that drive; 0: as it is. */
	_Atomic int open_error[FAULT_DRIVES]; /* of opening to write */
	_Atomic int write_error[FAULT_DRIVES], sync_error[FAULT_DRIVES], read_error[FAULT_DRIVES];
	_Atomic int change_error[FAULT_DRIVES]; /* rename, unlink, sync of a directory */
	_Atomic int writes_left[FAULT_DRIVES];  /* writes that go well before write_error */
	_Atomic int of_fd[FAULT_FDS];           /* which drive, plus 1 */
};

static inline int faults_drive_of(struct drive_faults *f, const char *path)
{
	for (int i = 0; i < FAULT_DRIVES; i++)
		if (f->path[i] && strncmp(path, f->path[i], strlen(f->path[i])) == 0 &&
		    (path[strlen(f->path[i])] == '/' || !path[strlen(f->path[i])]))
			return i;
	return -1;
}

static inline int faults_of_fd(struct disk *d, int fd, _Atomic int *errors)
{
	int drive = atomic_load(&((struct drive_faults *)d)->of_fd[fd]) - 1;

	return drive < 0 ? 0 : atomic_load(&errors[drive]);
}

static inline int faults_of_path(struct disk *d, const char *path, _Atomic int *errors)
{
	int drive = faults_drive_of((struct drive_faults *)d, path);

	return drive < 0 ? 0 : atomic_load(&errors[drive]);
}

static inline int faults_open(struct disk *d, const char *path, int flags, mode_t mode)
{
	struct drive_faults *f = (struct drive_faults *)d;
	int rc = flags & 3 ? faults_of_path(d, path, f->open_error) : 0;

	if (rc)
		return rc;
	rc = disk_posix()->ops->open(d, path, flags, mode);
	if (rc >= FAULT_FDS)
		abort();
	if (rc >= 0)
		atomic_store(&f->of_fd[rc], faults_drive_of(f, path) + 1);
	return rc;
}

static inline int faults_close(struct disk *d, int fd)
{
	return disk_posix()->ops->close(d, fd);
}

static inline ssize_t faults_pread(struct disk *d, int fd, void *buf, size_t len, uint64_t offset)
{
	int rc = faults_of_fd(d, fd, ((struct drive_faults *)d)->read_error);

	return rc ? rc : disk_posix()->ops->pread(d, fd, buf, len, offset);
}

static inline ssize_t faults_pwritev(struct disk *d, int fd, const struct iovec *iov, int iovcnt, uint64_t offset)
{
	struct drive_faults *f = (struct drive_faults *)d;
	int rc = faults_of_fd(d, fd, f->write_error);

	if (rc && atomic_fetch_sub(&f->writes_left[atomic_load(&f->of_fd[fd]) - 1], 1) <= 0)
		return rc;
	return disk_posix()->ops->pwritev(d, fd, iov, iovcnt, offset);
}

static inline int faults_fdatasync(struct disk *d, int fd)
{
	int rc = faults_of_fd(d, fd, ((struct drive_faults *)d)->sync_error);

	return rc ? rc : disk_posix()->ops->fdatasync(d, fd);
}

static inline int faults_fallocate(struct disk *d, int fd, int mode, uint64_t offset, uint64_t len)
{
	return disk_posix()->ops->fallocate(d, fd, mode, offset, len);
}

static inline int faults_ftruncate(struct disk *d, int fd, uint64_t len)
{
	return disk_posix()->ops->ftruncate(d, fd, len);
}

static inline int faults_rename(struct disk *d, const char *from, const char *to)
{
	int rc = faults_of_path(d, to, ((struct drive_faults *)d)->change_error);

	return rc ? rc : disk_posix()->ops->rename(d, from, to);
}

static inline int faults_link(struct disk *d, const char *from, const char *to)
{
	return disk_posix()->ops->link(d, from, to);
}

static inline int faults_unlink(struct disk *d, const char *path)
{
	int rc = faults_of_path(d, path, ((struct drive_faults *)d)->change_error);

	return rc ? rc : disk_posix()->ops->unlink(d, path);
}

static inline int faults_mkdir(struct disk *d, const char *path, mode_t mode)
{
	return disk_posix()->ops->mkdir(d, path, mode);
}

static inline int faults_rmdir(struct disk *d, const char *path)
{
	return disk_posix()->ops->rmdir(d, path);
}

static inline int faults_sync_dir(struct disk *d, const char *path)
{
	int rc = faults_of_path(d, path, ((struct drive_faults *)d)->change_error);

	return rc ? rc : disk_posix()->ops->sync_dir(d, path);
}

static const struct disk_ops drive_faults_ops = {
	.open = faults_open,
	.close = faults_close,
	.pread = faults_pread,
	.pwritev = faults_pwritev,
	.fdatasync = faults_fdatasync,
	.fallocate = faults_fallocate,
	.ftruncate = faults_ftruncate,
	.rename = faults_rename,
	.link = faults_link,
	.unlink = faults_unlink,
	.mkdir = faults_mkdir,
	.rmdir = faults_rmdir,
	.sync_dir = faults_sync_dir,
};

static inline void drive_faults_init(struct drive_faults *f)
{
	memset(f, 0, sizeof *f);
	f->disk.ops = &drive_faults_ops;
}

#endif
