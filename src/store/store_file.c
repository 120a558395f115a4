/* SPDX-License-Identifier: GPL-3.0-only */
/* store_file.c: objects as files below a directory: <root>/<key>.
 *
 * A put writes <root>/.tmp/<unique>, syncs it, moves it to its name (rename, or link for create-only), and syncs the
 * directory. Durable means the directories above too, up to the root: see sync_parents(). Removing the last object of a
 * directory removes the directory; a put that loses its directory to that makes it again. Paths in a URL are taken as they
 * are, without %-escapes. Reads and writes have threads of their own, so that a read need not wait behind the syncs of
 * uploads. Must never know what an object holds.
 */
#include "base/bytes.h"
#include "base/executor.h"
#include "base/report.h"
#include "store/file_list.h"
#include "store/store_types.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define THREADS_DEFAULT 4
#define LIST_MAX 1000
#define FILE_PATH_MAX 1024 /* a URL of 512 and a key of 200 fit */
#define TMP_DIR ".tmp"
#define LEFTOVER_AGE_S 3600
/* How often a put makes its directory again when others keep removing it. */
#define PLACE_TRIES 16
#define KNOWN_DIRS 1024 /* a power of two */
#define SETTLED_S 2     /* no clock of a file system is coarser */
#define IOV_AT_ONCE 1024

/* Which directory it is. A new one of the same name may get the same inode number, and when it is made at once, the same
 * time of birth, since clocks of file systems are coarse. So a directory is remembered only when it is SETTLED_S old: one
 * that replaces it later is then younger. */
struct dir_identity {
	uint64_t device, inode;
	int64_t born_s;
	uint32_t born_ns;
};

enum file_op { FILE_PUT, FILE_GET, FILE_HEAD, FILE_REMOVE, FILE_LIST, FILE_OPS };

struct file_store {
	struct store store;
	struct disk *disk;
	struct executor *readers, *writers;
	char root[sizeof((struct store *)0)->url]; /* no '/' at its end */
	uint64_t random;                           /* in the names of temporary files */
	atomic_uint_fast64_t counter;
	_Atomic uint64_t asked[FILE_OPS], bytes_up, bytes_down;
	pthread_mutex_t mutex;
	struct dir_identity known[KNOWN_DIRS]; /* whose own entry is durable; by inode; guarded by mutex */
};

struct file_job {
	struct file_store *fs;
	enum file_op op;
	bool bad_key;
	char key[STORE_KEY_MAX + 1]; /* or the prefix of a listing */
	union {
		store_done_fn *done;
		store_length_fn *length;
		store_list_fn *list;
	} answer;
	void *arg;
	unsigned flags;
	uint64_t offset;
	void *buf;
	size_t len; /* bytes, or entries at most */
	bool has_after;
	char after[STORE_KEY_MAX + 1];
	int iovcnt;
	struct iovec iov[]; /* a copy: the caller keeps the buffers, not the array */
};

/* ---- names ---- */

static void object_path(const struct file_store *fs, const char *key, char path[FILE_PATH_MAX])
{
	snprintf(path, FILE_PATH_MAX, "%s/%s", fs->root, key);
}

static void temporary_path(struct file_store *fs, char path[FILE_PATH_MAX])
{
	snprintf(path, FILE_PATH_MAX, "%s/" TMP_DIR "/%ld-%016" PRIx64 "-%" PRIu64, fs->root, (long)getpid(),
	         fs->random, (uint64_t)atomic_fetch_add(&fs->counter, 1));
}

/* Cuts the last component off `path`. False when that would leave less than the root. */
static bool path_up(const struct file_store *fs, char *path)
{
	char *slash = strrchr(path, '/');

	if (!slash || (size_t)(slash - path) < strlen(fs->root))
		return false;
	*slash = '\0';
	return true;
}

/* Whether the errno says that no object is there: no file, or something of the kind of a directory in its place. */
static bool means_absent(int rc)
{
	return rc == -ENOENT || rc == -ENOTDIR || rc == -EISDIR;
}

static int fail(struct error *err, int rc, const char *what, const char *path)
{
	return error_set(err, rc, "%s %s: %s", what, path, strerror(-rc));
}

/* ---- directories that last ---- */

static int identify(const char *path, struct dir_identity *id)
{
	struct statx stx;

	if (statx(AT_FDCWD, path, 0, STATX_INO | STATX_BTIME, &stx) < 0)
		return -errno;
	if (!(stx.stx_mask & STATX_BTIME))
		return -ENODATA;
	id->device = (uint64_t)stx.stx_dev_major << 32 | stx.stx_dev_minor;
	id->inode = stx.stx_ino;
	id->born_s = stx.stx_btime.tv_sec;
	id->born_ns = stx.stx_btime.tv_nsec;
	return 0;
}

static bool identity_equal(const struct dir_identity *a, const struct dir_identity *b)
{
	return a->device == b->device && a->inode == b->inode && a->born_s == b->born_s && a->born_ns == b->born_ns;
}

/* The time by the file system's clock at which the object got its name, or 0 when it is gone again. */
static int64_t placed_at(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_ctim.tv_sec : 0;
}

static bool dir_known(struct file_store *fs, const struct dir_identity *id)
{
	bool known;

	pthread_mutex_lock(&fs->mutex);
	known = identity_equal(&fs->known[id->inode % KNOWN_DIRS], id);
	pthread_mutex_unlock(&fs->mutex);
	return known;
}

static void dir_remember(struct file_store *fs, const struct dir_identity *id)
{
	pthread_mutex_lock(&fs->mutex);
	fs->known[id->inode % KNOWN_DIRS] = *id;
	pthread_mutex_unlock(&fs->mutex);
}

/* Makes the object's entry durable, and the entries of the directories above it. Whoever made those directories may not
 * have come to sync them yet, on this host or another, so each process syncs them itself: each time while they are young,
 * then once. `path` is the object's, and is cut to pieces. A directory that is gone took the object with it: somebody
 * removed that. */
static int sync_parents(struct file_store *fs, char path[FILE_PATH_MAX], struct error *err)
{
	int64_t now = placed_at(path);
	int rc;

	if (!path_up(fs, path))
		return 0;
	rc = disk_sync_dir(fs->disk, path);
	while (rc == 0 && strcmp(path, fs->root) != 0) {
		struct dir_identity id = { 0 };
		bool has_identity;

		rc = identify(path, &id);
		if (rc < 0 && rc != -ENODATA)
			break;
		has_identity = rc == 0;
		rc = 0;
		if (has_identity && dir_known(fs, &id)) {
			path_up(fs, path);
			continue;
		}
		path_up(fs, path);
		rc = disk_sync_dir(fs->disk, path);
		if (rc == 0 && has_identity && id.born_s + SETTLED_S < now)
			dir_remember(fs, &id);
	}
	if (rc == -ENOENT)
		return 0;
	return rc < 0 ? fail(err, rc, "syncing directory", path) : 0;
}

/* Makes the directories above the object at `path`. They are synced later, together. */
static int make_parents(struct file_store *fs, const char *path)
{
	char dir[FILE_PATH_MAX];

	for (const char *p = path + strlen(fs->root) + 1; (p = strchr(p, '/')) != NULL; p++) {
		int rc;

		memcpy(dir, path, (size_t)(p - path));
		dir[p - path] = '\0';
		rc = disk_mkdir(fs->disk, dir, 0700);
		if (rc < 0 && rc != -EEXIST)
			return rc;
	}
	return 0;
}

/* ---- put ---- */

static int temporary_open(struct file_store *fs, char path[FILE_PATH_MAX])
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL;
	char dir[FILE_PATH_MAX];
	int fd, rc;

	temporary_path(fs, path);
	fd = disk_open(fs->disk, path, flags, 0600);
	if (fd != -ENOENT)
		return fd;
	object_path(fs, TMP_DIR, dir);
	rc = disk_mkdir(fs->disk, dir, 0700);
	if (rc < 0 && rc != -EEXIST)
		return rc;
	return disk_open(fs->disk, path, flags, 0600);
}

static int write_all(struct file_store *fs, int fd, const struct iovec *iov, int iovcnt)
{
	uint64_t offset = 0;

	while (iovcnt > 0) {
		int n = iovcnt < IOV_AT_ONCE ? iovcnt : IOV_AT_ONCE;
		uint64_t bytes = iovec_bytes(iov, n);
		int rc = bytes ? disk_pwritev(fs->disk, fd, iov, n, offset) : 0;
		if (rc < 0)
			return rc;
		offset += bytes;
		iov += n;
		iovcnt -= n;
	}
	return 0;
}

/* Writes the object under a temporary name, durably. On failure nothing is left. */
static int temporary_write(const struct file_job *job, char path[FILE_PATH_MAX], struct error *err)
{
	struct file_store *fs = job->fs;
	int fd, rc, rc2;

	fd = temporary_open(fs, path);
	if (fd < 0)
		return fail(err, fd == -ENOENT ? -EIO : fd, "creating", path);
	rc = write_all(fs, fd, job->iov, job->iovcnt);
	if (rc == 0)
		rc = disk_fdatasync(fs->disk, fd);
	rc2 = disk_close(fs->disk, fd);
	if (rc == 0)
		rc = rc2;
	if (rc < 0) {
		fail(err, rc, "writing", path);
		disk_unlink(fs->disk, path);
	}
	return rc;
}

/* Gives the temporary file its name if no object has that name. Over NFS a link that was made can be answered with
 * -EEXIST, when the first answer was lost; the count of links tells. */
static int place_new(struct file_store *fs, const char *from, const char *to)
{
	struct stat st;
	int rc = disk_link(fs->disk, from, to);

	if (rc == -EEXIST && stat(from, &st) == 0 && st.st_nlink > 1)
		rc = 0;
	return rc;
}

static int place(struct file_store *fs, const char *from, const char *to, bool create_only, struct error *err)
{
	int rc = -ENOENT;

	for (int i = 0; i < PLACE_TRIES && rc == -ENOENT; i++) {
		if (i > 0)
			rc = make_parents(fs, to);
		if (i > 0 && rc < 0)
			continue;
		rc = create_only ? place_new(fs, from, to) : disk_rename(fs->disk, from, to);
	}
	if (rc == -EEXIST && create_only)
		return error_set(err, rc, "%s exists", to);
	if ((rc == -EPERM || rc == -EOPNOTSUPP) && create_only)
		return error_set(err, rc, "creating %s: the file system has no hard links, which a pool needs", to);
	/* Its own directory is gone, or the temporary file: to the caller, -ENOENT would mean something else. */
	if (rc == -ENOENT)
		rc = -EIO;
	return rc < 0 ? fail(err, rc, "creating", to) : 0;
}

static int do_put(const struct file_job *job, struct error *err)
{
	struct file_store *fs = job->fs;
	bool create_only = job->flags & STORE_PUT_CREATE_ONLY;
	char path[FILE_PATH_MAX], temporary[FILE_PATH_MAX];
	int rc;

	rc = temporary_write(job, temporary, err);
	if (rc < 0)
		return rc;
	object_path(fs, job->key, path);
	rc = place(fs, temporary, path, create_only, err);
	/* After a rename it is gone; one that stays behind is removed at an open an hour later. */
	if (rc < 0 || create_only)
		disk_unlink(fs->disk, temporary);
	return rc < 0 ? rc : sync_parents(fs, path, err);
}

/* ---- get, head, remove, list ---- */

static int do_get(const struct file_job *job, uint64_t *length, struct error *err)
{
	struct file_store *fs = job->fs;
	char path[FILE_PATH_MAX];
	ssize_t n = 0;
	int fd;

	object_path(fs, job->key, path);
	fd = disk_open(fs->disk, path, O_RDONLY, 0);
	if (fd < 0 && means_absent(fd))
		return fail(err, -ENOENT, "reading", path);
	if (fd < 0)
		return fail(err, fd, "reading", path);
	/* No file reaches there, and the system call would refuse the offset. */
	if (job->offset < INT64_MAX) {
		uint64_t room = INT64_MAX - job->offset;

		n = disk_pread(fs->disk, fd, job->buf, job->len < room ? job->len : room, job->offset);
	}
	disk_close(fs->disk, fd);
	if (n < 0)
		return fail(err, means_absent((int)n) ? -ENOENT : (int)n, "reading", path);
	*length = (uint64_t)n;
	return 0;
}

static int do_head(const struct file_job *job, uint64_t *length, struct error *err)
{
	char path[FILE_PATH_MAX];
	struct stat st;

	object_path(job->fs, job->key, path);
	if (stat(path, &st) < 0) {
		int rc = -errno;

		return fail(err, means_absent(rc) ? -ENOENT : rc, "looking for", path);
	}
	if (!S_ISREG(st.st_mode))
		return fail(err, -ENOENT, "looking for", path);
	*length = (uint64_t)st.st_size;
	return 0;
}

static int do_remove(const struct file_job *job, struct error *err)
{
	struct file_store *fs = job->fs;
	char path[FILE_PATH_MAX];
	int rc;

	object_path(fs, job->key, path);
	rc = disk_unlink(fs->disk, path);
	if (rc < 0 && !means_absent(rc))
		return fail(err, rc, "removing", path);
	path_up(fs, path);
	/* Also when it was gone: who removed it may not have synced it yet. */
	rc = disk_sync_dir(fs->disk, path);
	if (rc < 0 && !means_absent(rc))
		return fail(err, rc, "syncing directory", path);
	/* Ends at the first that is not empty. One that comes back after a crash does no harm. */
	while (strcmp(path, fs->root) != 0 && disk_rmdir(fs->disk, path) == 0)
		path_up(fs, path);
	return 0;
}

static void run_list(const struct file_job *job, struct error *err)
{
	struct store_entry *entries = NULL;
	size_t count = 0;
	bool more = false;
	int rc;

	if (job->bad_key)
		rc = error_set(err, -EINVAL, "the prefix or start of a listing is longer than a key");
	else
		rc = file_list(job->fs->root, job->key, job->has_after ? job->after : NULL, job->len, &entries, &count,
		               &more, err);
	job->answer.list(job->arg, rc, entries, count, more, rc < 0 ? err : NULL);
	free(entries);
}

static void run_job(void *arg)
{
	struct file_job *job = arg;
	struct error err = { 0 };
	uint64_t length = 0;
	int rc = 0;

	atomic_fetch_add_explicit(&job->fs->asked[job->op], 1, memory_order_relaxed);
	if (job->op == FILE_LIST) {
		run_list(job, &err);
		free(job);
		return;
	}
	if (job->bad_key)
		rc = error_set(&err, -EINVAL, "not a key of an object: '%s'", job->key);
	else if (job->op == FILE_PUT)
		rc = do_put(job, &err);
	else if (job->op == FILE_GET)
		rc = do_get(job, &length, &err);
	else if (job->op == FILE_HEAD)
		rc = do_head(job, &length, &err);
	else
		rc = do_remove(job, &err);
	if (job->op == FILE_PUT && rc == 0)
		atomic_fetch_add_explicit(&job->fs->bytes_up, iovec_bytes(job->iov, job->iovcnt), memory_order_relaxed);
	else if (job->op == FILE_GET)
		atomic_fetch_add_explicit(&job->fs->bytes_down, length, memory_order_relaxed);
	if (job->op == FILE_PUT || job->op == FILE_REMOVE)
		job->answer.done(job->arg, rc, rc < 0 ? &err : NULL);
	else
		job->answer.length(job->arg, rc, length, rc < 0 ? &err : NULL);
	free(job);
}

/* ---- the face ---- */

static struct file_job *job_new(struct store *s, enum file_op op, const char *key, int iovcnt, void *arg)
{
	struct file_job *job = calloc(1, sizeof *job + (size_t)iovcnt * sizeof job->iov[0]);

	if (!job)
		return NULL;
	job->fs = (struct file_store *)s;
	job->op = op;
	job->arg = arg;
	job->iovcnt = iovcnt;
	job->bad_key = op == FILE_LIST ? strlen(key) > STORE_KEY_MAX : !store_key_valid(key);
	snprintf(job->key, sizeof job->key, "%s", key);
	return job;
}

/* Queues the job. False when memory is short, and the job is freed; the caller then answers itself, which is the one case
 * of an answer on the asking thread. */
static bool job_queue(struct file_job *job)
{
	bool writes;

	if (!job)
		return false;
	writes = job->op == FILE_PUT || job->op == FILE_REMOVE;
	if (executor_run(writes ? job->fs->writers : job->fs->readers, run_job, job) == 0)
		return true;
	free(job);
	return false;
}

static void file_put(struct store *s, const char *key, const struct iovec *iov, int iovcnt, unsigned flags,
                     store_done_fn *done, void *arg)
{
	struct file_job *job = job_new(s, FILE_PUT, key, iovcnt, arg);

	if (job) {
		job->answer.done = done;
		job->flags = flags;
		if (iovcnt)
			memcpy(job->iov, iov, (size_t)iovcnt * sizeof iov[0]);
	}
	if (!job_queue(job))
		done(arg, -ENOMEM, NULL);
}

static void file_get(struct store *s, const char *key, uint64_t offset, void *buf, size_t len, unsigned flags,
                     store_length_fn *done, void *arg)
{
	struct file_job *job = job_new(s, FILE_GET, key, 0, arg);

	(void)flags; /* who waits matters where requests wait for each other */
	if (job) {
		job->answer.length = done;
		job->offset = offset;
		job->buf = buf;
		job->len = len;
	}
	if (!job_queue(job))
		done(arg, -ENOMEM, 0, NULL);
}

static void file_head(struct store *s, const char *key, store_length_fn *done, void *arg)
{
	struct file_job *job = job_new(s, FILE_HEAD, key, 0, arg);

	if (job)
		job->answer.length = done;
	if (!job_queue(job))
		done(arg, -ENOMEM, 0, NULL);
}

static void file_remove(struct store *s, const char *key, store_done_fn *done, void *arg)
{
	struct file_job *job = job_new(s, FILE_REMOVE, key, 0, arg);

	if (job)
		job->answer.done = done;
	if (!job_queue(job))
		done(arg, -ENOMEM, NULL);
}

static void file_list_start(struct store *s, const char *prefix, const char *after, size_t max, store_list_fn *done,
                            void *arg)
{
	struct file_job *job = job_new(s, FILE_LIST, prefix, 0, arg);

	if (job) {
		job->answer.list = done;
		job->len = max == 0 || max > LIST_MAX ? LIST_MAX : max;
		job->has_after = after != NULL;
		if (after && strlen(after) > STORE_KEY_MAX)
			job->bad_key = true;
		else if (after)
			strcpy(job->after, after);
	}
	if (!job_queue(job))
		done(arg, -ENOMEM, NULL, 0, false, NULL);
}

static void file_close(struct store *s)
{
	struct file_store *fs = (struct file_store *)s;

	executor_free(fs->writers);
	executor_free(fs->readers);
	pthread_mutex_destroy(&fs->mutex);
	free(fs);
}

static void file_stats(struct store *s, struct store_stats *stats)
{
	struct file_store *fs = (struct file_store *)s;

	*stats = (struct store_stats){
		.puts = atomic_load(&fs->asked[FILE_PUT]),
		.gets = atomic_load(&fs->asked[FILE_GET]),
		.heads = atomic_load(&fs->asked[FILE_HEAD]),
		.removes = atomic_load(&fs->asked[FILE_REMOVE]),
		.lists = atomic_load(&fs->asked[FILE_LIST]),
		.bytes_up = atomic_load(&fs->bytes_up),
		.bytes_down = atomic_load(&fs->bytes_down),
	};
}

static const struct store_ops file_ops = {
	.put = file_put,
	.get = file_get,
	.head = file_head,
	.remove = file_remove,
	.list = file_list_start,
	.stats = file_stats,
	.close = file_close,
};

/* ---- open ---- */

/* The path of the URL, without slashes at its end. */
static int parse_url(const char *url, char root[sizeof((struct store *)0)->url], struct error *err)
{
	const char *path = url;
	size_t len;

	if (url[0] != '/') {
		if (strncmp(url, "file:///", 8) != 0)
			return error_set(err, -EINVAL,
			                 "'%s' should be file:// and an absolute path; example: "
			                 "file:///srv/garner",
			                 url);
		path = url + 7;
	}
	len = strlen(path);
	while (len > 0 && path[len - 1] == '/')
		len--;
	if (len == 0)
		return error_set(err, -EINVAL, "the root directory cannot be a pool; example: file:///srv/garner");
	memcpy(root, path, len);
	root[len] = '\0';
	return 0;
}

/* Checks the directory, or makes it. */
static int open_root(const char *root, bool create, struct disk *disk, struct error *err)
{
	struct stat st;
	int rc;

	if (stat(root, &st) < 0) {
		if (errno != ENOENT)
			return error_set(err, -errno, "%s: %s", root, strerror(errno));
		if (!create)
			return error_set(err, -ENOENT,
			                 "no such directory: %s; create the pool with: garner init file://%s", root,
			                 root);
		rc = disk_make_path(disk, root);
		if (rc < 0)
			return error_set(err, rc == -ENOENT ? -EIO : rc, "creating directory %s: %s", root,
			                 strerror(-rc));
	} else if (!S_ISDIR(st.st_mode)) {
		return error_set(err, -ENOTDIR, "not a directory: %s", root);
	}
	if (faccessat(AT_FDCWD, root, R_OK | W_OK | X_OK, AT_EACCESS) < 0)
		return error_set(err, -errno, "cannot read and write in directory %s: %s", root, strerror(errno));
	return 0;
}

/* The time by the clock that stamps files here, which may be another machine's: that of a file made now. */
static int file_system_time(struct file_store *fs, time_t *now)
{
	char path[FILE_PATH_MAX];
	struct stat st;
	int fd, rc = 0;

	fd = temporary_open(fs, path);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		rc = -errno;
	disk_close(fs->disk, fd);
	disk_unlink(fs->disk, path);
	*now = st.st_mtim.tv_sec;
	return rc;
}

/* Removes what puts left behind that were cut off long ago. Failure costs space only. */
static void remove_leftovers(struct file_store *fs)
{
	char path[FILE_PATH_MAX];
	bool have_now = false;
	struct dirent *d;
	struct stat st;
	time_t now = 0;
	DIR *dir;

	object_path(fs, TMP_DIR, path);
	dir = opendir(path);
	if (!dir)
		return;
	while ((d = readdir(dir)) != NULL) {
		if (d->d_name[0] == '.' || fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		if (!have_now && file_system_time(fs, &now) < 0)
			break;
		have_now = true;
		if (now - st.st_mtim.tv_sec <= LEFTOVER_AGE_S)
			continue;
		snprintf(path, sizeof path, "%s/" TMP_DIR "/%s", fs->root, d->d_name);
		if (disk_unlink(fs->disk, path) < 0)
			report_debug("%s: an old temporary file cannot be removed", path);
	}
	closedir(dir);
}

static int file_open(const char *url, const struct store_options *options, struct store **store, struct error *err)
{
	unsigned threads = options->threads ? options->threads : THREADS_DEFAULT;
	struct file_store *fs;
	int rc;

	fs = calloc(1, sizeof *fs);
	if (!fs)
		return error_set(err, -ENOMEM, "opening %s: out of memory", url);
	pthread_mutex_init(&fs->mutex, NULL);
	fs->disk = options->disk ? options->disk : disk_posix();
	fs->store.ops = &file_ops;
	fs->store.capabilities = STORE_CREATE_ONLY | STORE_LIST_CONSISTENT | STORE_DIRECTORY | STORE_READ_LATEST;
	snprintf(fs->store.url, sizeof fs->store.url, "%s", url);
	rc = parse_url(url, fs->root, err);
	if (rc == 0)
		rc = open_root(fs->root, options->create, fs->disk, err);
	if (rc < 0)
		goto out;
	if (getrandom(&fs->random, sizeof fs->random, 0) != (ssize_t)sizeof fs->random) {
		rc = error_set(err, -EIO, "opening %s: the system has no random numbers", url);
		goto out;
	}
	remove_leftovers(fs);
	fs->readers = executor_new("store-read", threads, false);
	if (fs->readers)
		fs->writers = executor_new("store-write", threads, false);
	if (!fs->writers) {
		rc = error_set(err, errno ? -errno : -ENOMEM, "opening %s: threads cannot be started", url);
		goto out;
	}
	*store = &fs->store;
	return 0;
out:
	file_close(&fs->store);
	return rc;
}

const struct store_type store_file_type = {
	.scheme = "file",
	.open = file_open,
};
