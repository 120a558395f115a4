/* SPDX-License-Identifier: GPL-3.0-only */
/* whole_file.c: files that get their names when they are whole and synced. */
#include "cli/whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

int file_read_all(int fd, uint8_t *buf, size_t len, uint64_t offset)
{
	while (len > 0) {
		ssize_t n = pread(fd, buf, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		buf += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

int file_write_all(int fd, const uint8_t *buf, size_t len, uint64_t offset)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, buf, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		buf += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

static int failed(const char *path, int rc, struct error *err)
{
	return error_set(err, rc, "%s: %s", path, strerror(-rc));
}

static int lock_part(int fd, const char *to, const char *part, struct error *err)
{
	struct stat st, named;

	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? error_set(err, -EBUSY, "%s: another copy to it is running", to)
		                            : failed(part, -errno, err);
	/* The other copy may have finished between open and lock: then this is its result, and not to be touched. */
	if (fstat(fd, &st) < 0)
		return failed(part, -errno, err);
	if (lstat(part, &named) < 0 || named.st_ino != st.st_ino || named.st_dev != st.st_dev)
		return error_set(err, -EBUSY, "%s: another copy to it has just ended", to);
	if (!S_ISREG(st.st_mode))
		return error_set(err, -EINVAL, "%s is no regular file", part);
	return 0;
}

int whole_file_open(const char *to, mode_t mode, char part[PATH_MAX], int *fd, struct error *err)
{
	int n = snprintf(part, PATH_MAX, "%s" WHOLE_FILE_SUFFIX, to), rc;

	if (n < 0 || n >= PATH_MAX)
		return failed(to, -ENAMETOOLONG, err);
	*fd = open(part, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, mode);
	if (*fd < 0)
		return failed(part, -errno, err);
	rc = lock_part(*fd, to, part, err);
	if (rc < 0) {
		close(*fd);
		*fd = -1;
	}
	return rc;
}

static int sync_directory(const char *part, const char *to, struct error *err)
{
	char path[PATH_MAX];
	char *slash;
	int fd, rc = 0;

	snprintf(path, sizeof path, "%s", part);
	slash = strrchr(path, '/');
	if (slash)
		slash[1] = '\0';
	fd = open(slash ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		rc = failed(to, -errno, err);
	if (fd >= 0)
		close(fd);
	return rc;
}

int whole_file_name(int fd, const char *part, const char *to, bool replace, bool *named, struct error *err)
{
	int rc = 0;

	*named = false;
	if (fsync(fd) < 0)
		return failed(part, -errno, err);
	if (replace) {
		rc = rename(part, to) < 0 ? -errno : 0;
	} else if (renameat2(AT_FDCWD, part, AT_FDCWD, to, RENAME_NOREPLACE) < 0) {
		rc = -errno;
		if (rc == -EINVAL || rc == -ENOSYS) { /* a file system without it: the check is then our own */
			rc = access(to, F_OK) == 0 ? -EEXIST : rename(part, to) < 0 ? -errno : 0;
		}
	}
	if (rc < 0)
		return failed(to, rc, err);
	*named = true;
	return sync_directory(part, to, err);
}
