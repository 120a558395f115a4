/* SPDX-License-Identifier: GPL-3.0-only */
/* disk_file.c: disks that are files and block devices of this host. */
#include "cli/disk_file.h"

#include "cli/whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct local_file {
	struct disk_file file; /* first */
	int fd;
};

static int fd_of(const struct disk_file *f)
{
	return ((const struct local_file *)f)->fd;
}

static int failed(const char *path, int rc, struct error *err)
{
	return error_set(err, rc, "%s: %s", path, strerror(-rc));
}

/* ---- bytes -------------------------------------------------------------------------------------------------------- */

static int look(struct disk_file *f, struct disk_look *l)
{
	struct statx stx;

	if (statx(fd_of(f), "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &stx) < 0)
		return -errno;
	*l = (struct disk_look){
		.mode = stx.stx_mode & 0777,
		.fixed = !S_ISREG(stx.stx_mode),
		.mtime_s = stx.stx_mtime.tv_sec,
		.mtime_ns = stx.stx_mtime.tv_nsec,
	};
	/* A device has no size but this. */
	off_t end = lseek(fd_of(f), 0, SEEK_END);
	if (end < 0)
		return -errno;
	l->size = (uint64_t)end;
	return 0;
}

static int read_at(struct disk_file *f, uint8_t *buf, size_t len, uint64_t offset)
{
	return file_read_all(fd_of(f), buf, len, offset);
}

static int write_at(struct disk_file *f, const uint8_t *buf, size_t len, uint64_t offset)
{
	return file_write_all(fd_of(f), buf, len, offset);
}

static int punch(struct disk_file *f, uint64_t offset, uint64_t len)
{
	if (fallocate(fd_of(f), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len) == 0)
		return 0;
	return errno == ENOSYS ? -EOPNOTSUPP : -errno;
}

static int next(struct disk_file *f, uint64_t offset, bool data, uint64_t *found)
{
	off_t at = lseek(fd_of(f), (off_t)offset, data ? SEEK_DATA : SEEK_HOLE);

	if (at >= 0)
		*found = (uint64_t)at;
	else if (errno == ENXIO)
		*found = UINT64_MAX;
	else if (errno == EINVAL || errno == EOPNOTSUPP)
		*found = data ? offset : UINT64_MAX;
	else
		return -errno;
	return 0;
}

static int resize(struct disk_file *f, uint64_t size)
{
	return ftruncate(fd_of(f), (off_t)size) < 0 ? -errno : 0;
}

static void close_file(struct disk_file *f)
{
	/* What matters was synced, or has failed already. */
	close(fd_of(f));
	free(f);
}

static const struct disk_file_ops file_ops = { look, read_at, write_at, punch, next, resize, close_file };

/* ---- names -------------------------------------------------------------------------------------------------------- */

/* Takes the descriptor over, also when it fails. */
static int wrap(int fd, const char *path, struct disk_file **file, struct error *err)
{
	struct local_file *f = malloc(sizeof *f);

	if (!f) {
		close(fd);
		return failed(path, -ENOMEM, err);
	}
	*f = (struct local_file){ { &file_ops }, fd };
	*file = &f->file;
	return 0;
}

static int open_source(struct disk_place *p, const char *path, struct disk_file **file, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	(void)p;
	if (fd < 0)
		return failed(path, -errno, err);
	if (fstat(fd, &st) < 0) {
		int rc = failed(path, -errno, err);
		close(fd);
		return rc;
	}
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
		close(fd);
		return error_set(err, -EINVAL, "%s is neither a regular file nor a block device", path);
	}
	return wrap(fd, path, file, err);
}

static int is_there(struct disk_place *p, const char *path, struct error *err)
{
	struct stat st;

	(void)p;
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : failed(path, -errno, err);
	if (!S_ISREG(st.st_mode))
		return error_set(err, -EEXIST, "%s is there already, and is no regular file", path);
	return 1;
}

static int open_part(struct disk_place *p, const char *to, uint32_t mode, char part[PATH_MAX], struct disk_file **file,
                     struct error *err)
{
	int fd, rc = whole_file_open(to, mode, part, &fd, err);

	(void)p;
	return rc < 0 ? rc : wrap(fd, part, file, err);
}

static int name_part(struct disk_place *p, struct disk_file *file, const char *part, const char *to, bool replace,
                     bool *named, struct error *err)
{
	(void)p;
	return whole_file_name(fd_of(file), part, to, replace, named, err);
}

struct disk_place *disk_place_files(void)
{
	static const struct disk_place_ops ops = { open_source, is_there, open_part, name_part };
	static struct disk_place files = { &ops };

	return &files;
}
