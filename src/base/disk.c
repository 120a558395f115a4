/* SPDX-License-Identifier: GPL-3.0-only */
/* disk.c: the seam between garnerfs and the local file system: the real file system, and what is the same for any. */
#include "base/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

static int result(int rc)
{
	return rc < 0 ? -errno : rc;
}

static int local_open(UNUSED struct disk *d, const char *path, int flags, mode_t mode)
{
	return result(open(path, flags, mode));
}

static int local_close(UNUSED struct disk *d, int fd)
{
	/* Linux has closed the descriptor even when it says EINTR. */
	return close(fd) < 0 && errno != EINTR ? -errno : 0;
}

static ssize_t local_pread(UNUSED struct disk *d, int fd, void *buf, size_t len, uint64_t offset)
{
	ssize_t n = pread(fd, buf, len, (off_t)offset);

	return n < 0 ? -errno : n;
}

static ssize_t local_pwritev(UNUSED struct disk *d, int fd, const struct iovec *iov, int iovcnt, uint64_t offset)
{
	ssize_t n = pwritev(fd, iov, iovcnt, (off_t)offset);

	return n < 0 ? -errno : n;
}

static int local_fdatasync(UNUSED struct disk *d, int fd)
{
	return result(fdatasync(fd));
}

static int local_fallocate(UNUSED struct disk *d, int fd, int mode, uint64_t offset, uint64_t len)
{
	return result(fallocate(fd, mode, (off_t)offset, (off_t)len));
}

static int local_ftruncate(UNUSED struct disk *d, int fd, uint64_t len)
{
	return result(ftruncate(fd, (off_t)len));
}

static int local_rename(UNUSED struct disk *d, const char *from, const char *to)
{
	return result(rename(from, to));
}

static int local_link(UNUSED struct disk *d, const char *from, const char *to)
{
	return result(link(from, to));
}

static int local_unlink(UNUSED struct disk *d, const char *path)
{
	return result(unlink(path));
}

static int local_mkdir(UNUSED struct disk *d, const char *path, mode_t mode)
{
	return result(mkdir(path, mode));
}

static int local_rmdir(UNUSED struct disk *d, const char *path)
{
	return result(rmdir(path));
}

static int local_sync_dir(UNUSED struct disk *d, const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return -errno;
	rc = result(fsync(fd));
	(void)close(fd); /* nothing was written through it */
	return rc;
}

struct disk *disk_posix(void)
{
	static const struct disk_ops ops = {
		.open = local_open,
		.close = local_close,
		.pread = local_pread,
		.pwritev = local_pwritev,
		.fdatasync = local_fdatasync,
		.fallocate = local_fallocate,
		.ftruncate = local_ftruncate,
		.rename = local_rename,
		.link = local_link,
		.unlink = local_unlink,
		.mkdir = local_mkdir,
		.rmdir = local_rmdir,
		.sync_dir = local_sync_dir,
	};
	static struct disk disk = { .ops = &ops };

	return &disk;
}

int disk_open(struct disk *d, const char *path, int flags, mode_t mode)
{
	int fd;

	do
		fd = d->ops->open(d, path, flags | O_CLOEXEC, mode);
	while (fd == -EINTR);
	return fd;
}

int disk_close(struct disk *d, int fd)
{
	return d->ops->close(d, fd);
}

ssize_t disk_pread(struct disk *d, int fd, void *buf, size_t len, uint64_t offset)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = d->ops->pread(d, fd, (char *)buf + done, len - done, offset + done);
		if (n == -EINTR)
			continue;
		if (n < 0)
			return n;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int disk_pwrite(struct disk *d, int fd, const void *buf, size_t len, uint64_t offset)
{
	struct iovec iov = { .iov_base = (void *)buf, .iov_len = len };

	return disk_pwritev(d, fd, &iov, 1, offset);
}

int disk_pwritev(struct disk *d, int fd, const struct iovec *iov, int iovcnt, uint64_t offset)
{
	size_t skip = 0; /* bytes of iov[0] that are written */

	while (iovcnt > 0) {
		/* After a short write the rest of that piece goes alone, so that the caller's list can stay as it is. */
		struct iovec rest = { .iov_base = (char *)iov->iov_base + skip, .iov_len = iov->iov_len - skip };
		if (rest.iov_len == 0) {
			iov++;
			iovcnt--;
			skip = 0;
			continue;
		}
		int count = iovcnt < IOV_MAX ? iovcnt : IOV_MAX;
		ssize_t n = d->ops->pwritev(d, fd, skip ? &rest : iov, skip ? 1 : count, offset);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		offset += (uint64_t)n;
		skip += (size_t)n;
		for (; iovcnt > 0 && skip >= iov->iov_len; iov++, iovcnt--)
			skip -= iov->iov_len;
	}
	return 0;
}

int disk_fdatasync(struct disk *d, int fd)
{
	return d->ops->fdatasync(d, fd);
}

void disk_start_writeback(int fd)
{
	/* An error is kept by the kernel for the sync. */
	(void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

void disk_drop_pages(int fd)
{
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

bool disk_set_direct(int fd, bool direct)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && fcntl(fd, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

int disk_fallocate(struct disk *d, int fd, int mode, uint64_t offset, uint64_t len)
{
	int rc;

	do
		rc = d->ops->fallocate(d, fd, mode, offset, len);
	while (rc == -EINTR);
	return rc;
}

int disk_ftruncate(struct disk *d, int fd, uint64_t len)
{
	int rc;

	do
		rc = d->ops->ftruncate(d, fd, len);
	while (rc == -EINTR);
	return rc;
}

int disk_rename(struct disk *d, const char *from, const char *to)
{
	return d->ops->rename(d, from, to);
}

int disk_link(struct disk *d, const char *from, const char *to)
{
	return d->ops->link(d, from, to);
}

int disk_unlink(struct disk *d, const char *path)
{
	return d->ops->unlink(d, path);
}

int disk_mkdir(struct disk *d, const char *path, mode_t mode)
{
	return d->ops->mkdir(d, path, mode);
}

int disk_rmdir(struct disk *d, const char *path)
{
	return d->ops->rmdir(d, path);
}

int disk_sync_dir(struct disk *d, const char *path)
{
	return d->ops->sync_dir(d, path);
}

/* Cuts the last component off and returns where it was cut, so that the caller can put '/' back; NULL when there is no
 * other directory above. */
static char *cut_last(char *path)
{
	char *slash = strrchr(path, '/');

	while (slash && slash > path && slash[-1] == '/')
		slash--;
	if (!slash || slash == path)
		return NULL;
	*slash = '\0';
	return slash;
}

/* The directory above `path` got an entry: makes that durable. */
static int sync_above(struct disk *d, char *path)
{
	char *cut = cut_last(path);
	int rc = disk_sync_dir(d, cut ? path : *path == '/' ? "/" : ".");

	if (cut)
		*cut = '/';
	return rc;
}

static int check_is_dir(struct disk *d, const char *path)
{
	int fd = disk_open(d, path, O_RDONLY | O_DIRECTORY, 0);

	return fd < 0 ? fd : disk_close(d, fd);
}

/* As deep as the path has components. */
static int make_path(struct disk *d, char *path)
{
	int rc = disk_mkdir(d, path, 0700);

	if (rc == -ENOENT) {
		char *cut = cut_last(path);
		if (!cut)
			return rc;
		rc = make_path(d, path);
		*cut = '/';
		if (rc < 0)
			return rc;
		rc = disk_mkdir(d, path, 0700);
	}
	if (rc == -EEXIST)
		return check_is_dir(d, path);
	return rc < 0 ? rc : sync_above(d, path);
}

int disk_make_path(struct disk *d, const char *path)
{
	char *copy = strdup(path);
	int rc;

	if (!copy)
		return -ENOMEM;
	for (size_t len = strlen(copy); len > 1 && copy[len - 1] == '/'; len--)
		copy[len - 1] = '\0';
	rc = make_path(d, copy);
	free(copy);
	return rc;
}

int disk_each_file(const char *dir, int (*each)(void *arg, const char *path), void *arg)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	int rc = 0;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while (!rc && (errno = 0, entry = readdir(d))) {
		char *path;
		if (entry->d_name[0] == '.')
			continue;
		if (asprintf(&path, "%s/%s", dir, entry->d_name) < 0) {
			rc = -ENOMEM;
			break;
		}
		rc = each(arg, path);
		free(path);
	}
	/* A listing that broke off is no listing: what was not seen would count as lost. */
	if (!rc && errno)
		rc = -errno;
	closedir(d);
	return rc;
}
