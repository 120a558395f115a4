/* SPDX-License-Identifier: GPL-3.0-only */
/* disk.h: the seam between garnerfs and the local file system.
 *
 * Every local write, sync, rename and unlink of the engine goes through one of these calls, so that a test can record
 * them and build the states that a power cut could leave. `disk_posix()` is the real thing. Reads are here too, so that
 * a test can make them fail. Knows nothing of segments.
 *
 * All calls return 0 (or a count) or a negative errno. All may be called on any thread and block as the system call does.
 */
#ifndef GARNER_BASE_DISK_H
#define GARNER_BASE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct disk;

struct disk_ops {
	int (*open)(struct disk *d, const char *path, int flags, mode_t mode);
	int (*close)(struct disk *d, int fd);
	ssize_t (*pread)(struct disk *d, int fd, void *buf, size_t len, uint64_t offset);
	ssize_t (*pwritev)(struct disk *d, int fd, const struct iovec *iov, int iovcnt, uint64_t offset);
	int (*fdatasync)(struct disk *d, int fd);
	int (*fallocate)(struct disk *d, int fd, int mode, uint64_t offset, uint64_t len);
	int (*ftruncate)(struct disk *d, int fd, uint64_t len);
	int (*rename)(struct disk *d, const char *from, const char *to);
	int (*link)(struct disk *d, const char *from, const char *to);
	int (*unlink)(struct disk *d, const char *path);
	int (*mkdir)(struct disk *d, const char *path, mode_t mode);
	int (*rmdir)(struct disk *d, const char *path);
	int (*sync_dir)(struct disk *d, const char *path);
};

struct disk {
	const struct disk_ops *ops;
};

/* The local file system itself. Static; never freed. */
struct disk *disk_posix(void);

/* Opens `path` as open(2), O_CLOEXEC added. Returns the descriptor. */
int disk_open(struct disk *d, const char *path, int flags, mode_t mode);
int disk_close(struct disk *d, int fd);

/* Reads exactly `len` bytes unless the file ends first; returns how many. Interrupted and short reads are continued. */
ssize_t disk_pread(struct disk *d, int fd, void *buf, size_t len, uint64_t offset);

/* Writes all of it: returns 0, or the negative errno of the first failure (some bytes may then be written). */
int disk_pwrite(struct disk *d, int fd, const void *buf, size_t len, uint64_t offset);
int disk_pwritev(struct disk *d, int fd, const struct iovec *iov, int iovcnt, uint64_t offset);

/* fdatasync(2). A failure is final: the kernel has forgotten the dirty pages, so do not try again and believe. */
int disk_fdatasync(struct disk *d, int fd);

/* Has the kernel begin to write what is dirty of the file, without waiting: a disk_fdatasync() soon after finds it under way. It
 * promises nothing, so it is no part of the seam. */
void disk_start_writeback(int fd);

/* Lets the kernel forget the pages of the file that are clean. No part of the seam either. */
void disk_drop_pages(int fd);

/* Whether writes to the file go past the page cache from now on (O_DIRECT): false when the file system does not do that. No part of
 * the seam either; what is written so is aligned to 4096 bytes in memory, offset and length, and may still be refused with -EINVAL. */
bool disk_set_direct(int fd, bool direct);

/* fallocate(2) with its FALLOC_FL_ modes, and ftruncate(2). */
int disk_fallocate(struct disk *d, int fd, int mode, uint64_t offset, uint64_t len);
int disk_ftruncate(struct disk *d, int fd, uint64_t len);

int disk_rename(struct disk *d, const char *from, const char *to);
/* link(2): fails with -EEXIST when `to` exists, which makes it a create-only rename together with unlink. */
int disk_link(struct disk *d, const char *from, const char *to);
int disk_unlink(struct disk *d, const char *path);
int disk_mkdir(struct disk *d, const char *path, mode_t mode);
int disk_rmdir(struct disk *d, const char *path);

/* Makes the entries of the directory durable (fsync of the directory). */
int disk_sync_dir(struct disk *d, const char *path);

/* Calls each(arg, path) for every file in `dir` whose name begins with no dot, in no order, until it returns non-zero, which is then
 * returned; each() may delete it. 0 also when there is no `dir`. No part of the seam. */
int disk_each_file(const char *dir, int (*each)(void *arg, const char *path), void *arg);

/* mkdir -p: makes `path` and what is missing above it, mode 0700, and syncs each parent that got an entry. */
int disk_make_path(struct disk *d, const char *path);

#endif
