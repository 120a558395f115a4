/* SPDX-License-Identifier: GPL-3.0-only */
/* recorder.c: the recording itself and the disk that fills it. See recorder.h. */
#include "lib/recording.h"

#include "base/bytes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void *must(void *p)
{
	if (!p) {
		fprintf(stderr, "recorder: out of memory\n");
		abort();
	}
	return p;
}

/* ---- operations -------------------------------------------------------------------------------------------------- */

static void count(struct recording_counts *c, enum op_kind kind)
{
	switch (kind) {
	case OP_NONE:
		break;
	case OP_WRITE:
	case OP_ZERO:
	case OP_TRUNCATE:
	case OP_GROW:
		c->writes++;
		break;
	case OP_SYNC:
		c->syncs++;
		break;
	case OP_SYNC_DIR:
		c->dir_syncs++;
		break;
	case OP_NOTE:
		c->notes++;
		break;
	default:
		c->dir_changes++;
		break;
	}
}

size_t recording_begin(struct recording *r, const struct op *op)
{
	size_t i;

	pthread_mutex_lock(&r->lock);
	if (r->op_count == r->op_room) {
		r->op_room = r->op_room ? r->op_room * 2 : 1024;
		r->ops = must(realloc(r->ops, r->op_room * sizeof r->ops[0]));
	}
	i = r->op_count++;
	r->ops[i] = *op;
	r->ops[i].end = MOMENT_NEVER;
	if (op->base) {
		r->ops[i].begin = r->ops[i].end = 0;
	} else {
		r->ops[i].begin = r->moment++;
		count(&r->counts, op->kind);
	}
	pthread_mutex_unlock(&r->lock);
	return i;
}

void recording_end(struct recording *r, size_t index, bool ok)
{
	pthread_mutex_lock(&r->lock);
	if (ok && !r->ops[index].base)
		r->ops[index].end = r->moment++;
	pthread_mutex_unlock(&r->lock);
}

void recording_cancel(struct recording *r, size_t index)
{
	pthread_mutex_lock(&r->lock);
	r->ops[index].kind = OP_NONE;
	r->ops[index].end = r->moment++;
	pthread_mutex_unlock(&r->lock);
}

void recording_shorten(struct recording *r, size_t index, uint64_t len)
{
	pthread_mutex_lock(&r->lock);
	r->ops[index].len = len;
	pthread_mutex_unlock(&r->lock);
}

size_t recording_begin_write(struct recording *r, uint32_t ino, bool durable, const struct iovec *iov, int iovcnt,
                             uint64_t offset)
{
	struct op op = { .kind = OP_WRITE, .ino = ino, .durable = durable, .offset = offset };
	bool zero = true;
	uint8_t *to;

	for (int i = 0; i < iovcnt; i++) {
		op.len += iov[i].iov_len;
		zero = zero && (iov[i].iov_len == 0 || is_zero(iov[i].iov_base, iov[i].iov_len));
	}
	if (!zero) {
		to = op.data = must(malloc(op.len));
		for (int i = 0; i < iovcnt; i++) {
			memcpy(to, iov[i].iov_base, iov[i].iov_len);
			to += iov[i].iov_len;
		}
	}
	return recording_begin(r, &op);
}

void recording_note(struct recording *r, unsigned kind, uint64_t value)
{
	recording_end(r, recording_begin(r, &(struct op){ .kind = OP_NOTE, .offset = kind, .len = value }), true);
}

uint64_t recording_moments(struct recording *r)
{
	uint64_t n;

	pthread_mutex_lock(&r->lock);
	n = r->moment;
	pthread_mutex_unlock(&r->lock);
	return n;
}

void recording_counts(struct recording *r, struct recording_counts *counts)
{
	pthread_mutex_lock(&r->lock);
	*counts = r->counts;
	pthread_mutex_unlock(&r->lock);
}

void recording_forget_syncs(struct recording *r, const char *part)
{
	pthread_mutex_lock(&r->names_lock);
	free(r->forget);
	r->forget = part ? must(strdup(part)) : NULL;
	pthread_mutex_unlock(&r->names_lock);
}

bool recording_forgets(struct recording *r, uint32_t ino)
{
	bool forgets = false;

	pthread_mutex_lock(&r->names_lock);
	for (size_t i = 0; r->forget && i < r->name_count; i++)
		forgets = forgets || (r->names[i].ino == ino && strstr(r->names[i].name, r->forget));
	forgets = forgets || (r->forget && r->forget[0] == '\0');
	pthread_mutex_unlock(&r->names_lock);
	return forgets;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

struct name_entry *recording_find(struct recording *r, uint32_t dir, const char *name)
{
	for (size_t i = 0; i < r->name_count; i++)
		if (r->names[i].dir == dir && strcmp(r->names[i].name, name) == 0)
			return &r->names[i];
	return NULL;
}

static void name_add(struct recording *r, uint32_t dir, const char *name, uint32_t ino, bool is_dir)
{
	if (r->name_count == r->name_room) {
		r->name_room = r->name_room ? r->name_room * 2 : 64;
		r->names = must(realloc(r->names, r->name_room * sizeof r->names[0]));
	}
	r->names[r->name_count++] = (struct name_entry){ dir, ino, is_dir, must(strdup(name)) };
}

static void name_remove(struct recording *r, uint32_t dir, const char *name)
{
	struct name_entry *e = recording_find(r, dir, name);

	if (!e)
		return;
	free(e->name);
	*e = r->names[--r->name_count];
}

static uint32_t new_ino(struct recording *r)
{
	uint32_t ino;

	pthread_mutex_lock(&r->lock);
	ino = r->next_ino++;
	pthread_mutex_unlock(&r->lock);
	return ino;
}

/* What of `path` comes after the root, or NULL when it leads elsewhere. */
static const char *below(const struct recording *r, const char *path)
{
	const char *roots[] = { r->root, r->alias };

	for (int i = 0; i < 2; i++) {
		size_t n = strlen(roots[i]);
		if (strncmp(path, roots[i], n) == 0 && (path[n] == '/' || path[n] == '\0'))
			return path + n;
	}
	return NULL;
}

bool recording_resolve(struct recording *r, const char *path, char buf[4096], uint32_t *dir, const char **name)
{
	const char *rest = below(r, path);
	char *save = NULL, *part, *next;

	if (!rest || strlen(rest) >= 4096)
		return false;
	strcpy(buf, rest);
	*dir = ROOT_INO;
	part = strtok_r(buf, "/", &save);
	while (part && strcmp(part, ".") == 0)
		part = strtok_r(NULL, "/", &save);
	if (!part)
		return false;
	while ((next = strtok_r(NULL, "/", &save))) {
		struct name_entry *e;
		if (strcmp(next, ".") == 0)
			continue;
		e = recording_find(r, *dir, part);
		if (!e || !e->is_dir)
			return false;
		*dir = e->ino;
		part = next;
	}
	*name = part;
	return true;
}

uint32_t recording_dir(struct recording *r, const char *path)
{
	const char *rest = below(r, path), *name;
	struct name_entry *e;
	char buf[4096];
	uint32_t dir;

	if (rest && rest[strspn(rest, "/.")] == '\0')
		return ROOT_INO;
	if (!recording_resolve(r, path, buf, &dir, &name))
		return 0;
	e = recording_find(r, dir, name);
	return e && e->is_dir ? e->ino : 0;
}

/* Takes a file's content as it is on the disk into the recording, durable. */
static int adopt_content(struct recording *r, const char *path, uint32_t ino)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
	uint8_t *buf = must(malloc(65536));
	off_t at = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		rc = -errno;
		goto out;
	}
	recording_begin(r, &(struct op){ .kind = OP_TRUNCATE, .base = true, .ino = ino, .len = (uint64_t)st.st_size });
	while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
		ssize_t n = pread(fd, buf, 65536, at);
		struct op op = {
			.kind = OP_WRITE, .base = true, .ino = ino, .offset = (uint64_t)at, .len = (uint64_t)n
		};
		if (n <= 0) {
			rc = n < 0 ? -errno : 0;
			goto out;
		}
		op.data = memcpy(must(malloc((size_t)n)), buf, (size_t)n);
		recording_begin(r, &op);
		at += n;
	}
	rc = errno == ENXIO ? 0 : -errno;
out:
	free(buf);
	if (fd >= 0)
		close(fd);
	return rc;
}

static int adopt(struct recording *r, const char *path, uint32_t dir, const char *name, uint32_t *ino);

static int adopt_children(struct recording *r, const char *path, uint32_t ino)
{
	DIR *d = opendir(path);
	struct dirent *e;
	int rc = 0;

	if (!d)
		return -errno;
	while (rc == 0 && (e = readdir(d))) {
		char child[4096];
		uint32_t unused;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (snprintf(child, sizeof child, "%s/%s", path, e->d_name) >= (int)sizeof child)
			rc = -ENAMETOOLONG;
		else
			rc = adopt(r, child, ino, e->d_name, &unused);
	}
	closedir(d);
	return rc;
}

/* Takes what is on the disk at `path` into the recording as something durable. Sockets and the like are left out. */
static int adopt(struct recording *r, const char *path, uint32_t dir, const char *name, uint32_t *ino)
{
	struct op op = { .kind = OP_CREATE, .base = true, .dir = dir };
	struct stat st;

	*ino = 0;
	if (lstat(path, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return 0;
	*ino = op.ino = new_ino(r);
	op.kind = S_ISDIR(st.st_mode) ? OP_MKDIR : OP_CREATE;
	op.mode = st.st_mode & 07777;
	op.name = must(strdup(name));
	recording_begin(r, &op);
	name_add(r, dir, name, op.ino, S_ISDIR(st.st_mode));
	return S_ISDIR(st.st_mode) ? adopt_children(r, path, op.ino) : adopt_content(r, path, op.ino);
}

void recording_opening(struct recording *r, const char *path, int flags, mode_t mode, struct opening *o)
{
	struct name_entry *e;
	const char *name;
	char buf[4096];
	struct stat st;
	uint32_t dir;

	*o = (struct opening){ .existed = lstat(path, &st) == 0, .create = SIZE_MAX, .truncate = SIZE_MAX };
	if (!recording_resolve(r, path, buf, &dir, &name))
		return;
	e = recording_find(r, dir, name);
	if (o->existed && e && !e->is_dir && flags & O_TRUNC)
		o->truncate = recording_begin(r, &(struct op){ .kind = OP_TRUNCATE, .ino = e->ino });
	if (!o->existed && flags & O_CREAT)
		o->create = recording_begin(r, &(struct op){ .kind = OP_CREATE,
		                                             .ino = new_ino(r),
		                                             .dir = dir,
		                                             .mode = mode,
		                                             .name = must(strdup(name)) });
}

uint32_t recording_opened(struct recording *r, const char *path, const struct opening *o, bool ok)
{
	uint32_t dir, ino = 0;
	struct name_entry *e;
	const char *name;
	char buf[4096];

	if (o->truncate != SIZE_MAX) {
		if (ok)
			recording_end(r, o->truncate, true);
		else
			recording_cancel(r, o->truncate);
	}
	if (o->create != SIZE_MAX) {
		if (!ok) {
			recording_cancel(r, o->create);
			return 0;
		}
		recording_end(r, o->create, true);
	}
	if (!ok || !recording_resolve(r, path, buf, &dir, &name))
		return 0;
	if (o->create != SIZE_MAX) {
		pthread_mutex_lock(&r->lock);
		ino = r->ops[o->create].ino;
		pthread_mutex_unlock(&r->lock);
		name_add(r, dir, name, ino, false);
		return ino;
	}
	e = recording_find(r, dir, name);
	if (e)
		return e->is_dir ? 0 : e->ino;
	pthread_mutex_lock(&r->lock);
	r->counts.unseen++;
	pthread_mutex_unlock(&r->lock);
	if (adopt(r, path, dir, name, &ino) < 0)
		return 0;
	e = recording_find(r, dir, name);
	return e && !e->is_dir ? ino : 0;
}

size_t recording_removing(struct recording *r, const char *path)
{
	struct name_entry *e;
	const char *name;
	char buf[4096];
	uint32_t dir;

	if (!recording_resolve(r, path, buf, &dir, &name) || !(e = recording_find(r, dir, name)))
		return SIZE_MAX;
	return recording_begin(
		r, &(struct op){ .kind = OP_UNLINK, .dir = dir, .ino = e->ino, .name = must(strdup(name)) });
}

void recording_removed(struct recording *r, const char *path, size_t op, bool ok)
{
	const char *name;
	char buf[4096];
	uint32_t dir;

	if (op == SIZE_MAX)
		return;
	if (!ok) {
		recording_cancel(r, op);
		return;
	}
	recording_end(r, op, true);
	if (recording_resolve(r, path, buf, &dir, &name))
		name_remove(r, dir, name);
}

/* ---- the disk ---------------------------------------------------------------------------------------------------- */

static const struct disk_ops *real(void)
{
	return disk_posix()->ops;
}

static struct recording *of(struct disk *d)
{
	return (struct recording *)d;
}

static struct open_file file_of(struct recording *r, int fd)
{
	struct open_file f = { 0 };

	pthread_mutex_lock(&r->lock);
	if (fd >= 0 && (size_t)fd < r->open_room)
		f = r->open_files[fd];
	pthread_mutex_unlock(&r->lock);
	return f;
}

static void set_file(struct recording *r, int fd, struct open_file f)
{
	pthread_mutex_lock(&r->lock);
	if ((size_t)fd >= r->open_room) {
		size_t room = (size_t)fd + 64;
		r->open_files = must(realloc(r->open_files, room * sizeof r->open_files[0]));
		memset(r->open_files + r->open_room, 0, (room - r->open_room) * sizeof r->open_files[0]);
		r->open_room = room;
	}
	r->open_files[fd] = f;
	pthread_mutex_unlock(&r->lock);
}

static int rec_open(struct disk *d, const char *path, int flags, mode_t mode)
{
	struct recording *r = of(d);
	struct open_file f = { .dsync = (flags & O_DSYNC) != 0 };
	struct opening o;
	int fd;

	pthread_mutex_lock(&r->names_lock);
	recording_opening(r, path, flags, mode, &o);
	fd = real()->open(disk_posix(), path, flags, mode);
	f.ino = recording_opened(r, path, &o, fd >= 0);
	if (fd >= 0)
		set_file(r, fd, f);
	pthread_mutex_unlock(&r->names_lock);
	return fd;
}

static int rec_close(struct disk *d, int fd)
{
	if (file_of(of(d), fd).ino)
		set_file(of(d), fd, (struct open_file){ 0 });
	return real()->close(disk_posix(), fd);
}

static ssize_t rec_pread(struct disk *d, int fd, void *buf, size_t len, uint64_t offset)
{
	(void)d;
	return real()->pread(disk_posix(), fd, buf, len, offset);
}

static ssize_t rec_pwritev(struct disk *d, int fd, const struct iovec *iov, int iovcnt, uint64_t offset)
{
	struct recording *r = of(d);
	struct open_file f = file_of(r, fd);
	size_t op = SIZE_MAX;
	ssize_t n;

	if (f.ino)
		op = recording_begin_write(r, f.ino, f.dsync, iov, iovcnt, offset);
	n = real()->pwritev(disk_posix(), fd, iov, iovcnt, offset);
	if (op != SIZE_MAX) {
		if (n >= 0)
			recording_shorten(r, op, (uint64_t)n);
		recording_end(r, op, n >= 0);
	}
	return n;
}

static int rec_fdatasync(struct disk *d, int fd)
{
	struct recording *r = of(d);
	uint32_t ino = file_of(r, fd).ino;
	size_t op = SIZE_MAX;
	int rc;

	if (ino && !recording_forgets(r, ino))
		op = recording_begin(r, &(struct op){ .kind = OP_SYNC, .ino = ino });
	rc = real()->fdatasync(disk_posix(), fd);
	if (op != SIZE_MAX)
		recording_end(r, op, rc == 0);
	return rc;
}

static int rec_fallocate(struct disk *d, int fd, int mode, uint64_t offset, uint64_t len)
{
	struct recording *r = of(d);
	struct op op = { .kind = OP_GROW, .ino = file_of(r, fd).ino, .offset = offset, .len = len };
	size_t i = SIZE_MAX, grow = SIZE_MAX;
	int rc;

	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		op.kind = OP_ZERO;
	if (op.ino && (op.kind == OP_ZERO || !(mode & FALLOC_FL_KEEP_SIZE)))
		i = recording_begin(r, &op);
	if (op.ino && op.kind == OP_ZERO && !(mode & FALLOC_FL_KEEP_SIZE)) {
		op.kind = OP_GROW;
		grow = recording_begin(r, &op);
	}
	rc = real()->fallocate(disk_posix(), fd, mode, offset, len);
	if (i != SIZE_MAX)
		recording_end(r, i, rc == 0);
	if (grow != SIZE_MAX)
		recording_end(r, grow, rc == 0);
	return rc;
}

static int rec_ftruncate(struct disk *d, int fd, uint64_t len)
{
	struct recording *r = of(d);
	uint32_t ino = file_of(r, fd).ino;
	size_t op = SIZE_MAX;
	int rc;

	if (ino)
		op = recording_begin(r, &(struct op){ .kind = OP_TRUNCATE, .ino = ino, .len = len });
	rc = real()->ftruncate(disk_posix(), fd, len);
	if (op != SIZE_MAX)
		recording_end(r, op, rc == 0);
	return rc;
}

/* A rename or link whose one end is outside is recorded as the other end alone: a removal, or a durable newcomer. */
static int two_names(struct disk *d, const char *from, const char *to, enum op_kind kind)
{
	struct recording *r = of(d);
	char buf[4096], buf2[4096];
	const char *name, *name2;
	struct op op = { .kind = kind };
	struct name_entry *e = NULL;
	size_t i = SIZE_MAX;
	bool is_dir = false;
	int rc;

	pthread_mutex_lock(&r->names_lock);
	if (recording_resolve(r, from, buf, &op.dir, &name) && recording_resolve(r, to, buf2, &op.dir2, &name2))
		e = recording_find(r, op.dir, name);
	if (e) {
		op.ino = e->ino;
		is_dir = e->is_dir;
		op.name = must(strdup(name));
		op.name2 = must(strdup(name2));
		i = recording_begin(r, &op);
	}
	rc = kind == OP_RENAME ? real()->rename(disk_posix(), from, to) : real()->link(disk_posix(), from, to);
	if (e && rc < 0) {
		recording_cancel(r, i);
	} else if (e) {
		recording_end(r, i, true);
		if (kind == OP_RENAME) {
			name_remove(r, op.dir, name);
			name_remove(r, op.dir2, name2);
		}
		name_add(r, op.dir2, name2, op.ino, is_dir);
	} else if (rc == 0 && (below(r, from) || below(r, to))) {
		pthread_mutex_lock(&r->lock);
		r->counts.unseen++;
		pthread_mutex_unlock(&r->lock);
	}
	pthread_mutex_unlock(&r->names_lock);
	return rc;
}

static int rec_rename(struct disk *d, const char *from, const char *to)
{
	return two_names(d, from, to, OP_RENAME);
}

static int rec_link(struct disk *d, const char *from, const char *to)
{
	return two_names(d, from, to, OP_LINK);
}

static int removal(struct disk *d, const char *path, bool dir)
{
	struct recording *r = of(d);
	size_t op;
	int rc;

	pthread_mutex_lock(&r->names_lock);
	op = recording_removing(r, path);
	rc = dir ? real()->rmdir(disk_posix(), path) : real()->unlink(disk_posix(), path);
	recording_removed(r, path, op, rc == 0);
	pthread_mutex_unlock(&r->names_lock);
	return rc;
}

static int rec_unlink(struct disk *d, const char *path)
{
	return removal(d, path, false);
}

static int rec_rmdir(struct disk *d, const char *path)
{
	return removal(d, path, true);
}

static int rec_mkdir(struct disk *d, const char *path, mode_t mode)
{
	struct recording *r = of(d);
	struct op op = { .kind = OP_MKDIR, .mode = mode };
	size_t i = SIZE_MAX;
	const char *name;
	char buf[4096];
	int rc;

	pthread_mutex_lock(&r->names_lock);
	if (recording_resolve(r, path, buf, &op.dir, &name) && !recording_find(r, op.dir, name)) {
		op.ino = new_ino(r);
		op.name = must(strdup(name));
		i = recording_begin(r, &op);
	}
	rc = real()->mkdir(disk_posix(), path, mode);
	if (i != SIZE_MAX && rc == 0) {
		recording_end(r, i, true);
		name_add(r, op.dir, name, op.ino, true);
	} else if (i != SIZE_MAX) {
		recording_cancel(r, i);
	}
	pthread_mutex_unlock(&r->names_lock);
	return rc;
}

static int rec_sync_dir(struct disk *d, const char *path)
{
	struct recording *r = of(d);
	size_t op = SIZE_MAX;
	uint32_t ino;
	int rc;

	pthread_mutex_lock(&r->names_lock);
	ino = recording_dir(r, path);
	pthread_mutex_unlock(&r->names_lock);
	if (ino && !recording_forgets(r, ino))
		op = recording_begin(r, &(struct op){ .kind = OP_SYNC_DIR, .ino = ino });
	rc = real()->sync_dir(disk_posix(), path);
	if (op != SIZE_MAX)
		recording_end(r, op, rc == 0);
	return rc;
}

static const struct disk_ops recorder_ops = {
	.open = rec_open,
	.close = rec_close,
	.pread = rec_pread,
	.pwritev = rec_pwritev,
	.fdatasync = rec_fdatasync,
	.fallocate = rec_fallocate,
	.ftruncate = rec_ftruncate,
	.rename = rec_rename,
	.link = rec_link,
	.unlink = rec_unlink,
	.mkdir = rec_mkdir,
	.rmdir = rec_rmdir,
	.sync_dir = rec_sync_dir,
};

struct recording *recording_new(const char *dir)
{
	struct recording *r = must(calloc(1, sizeof *r));
	int rc;

	r->disk.ops = &recorder_ops;
	r->next_ino = ROOT_INO + 1;
	pthread_mutex_init(&r->lock, NULL);
	pthread_mutex_init(&r->names_lock, NULL);
	r->alias = must(strdup(dir));
	for (size_t n = strlen(r->alias); n > 1 && r->alias[n - 1] == '/'; n--)
		r->alias[n - 1] = '\0';
	r->root = realpath(dir, NULL);
	rc = r->root ? adopt_children(r, r->root, ROOT_INO) : -errno;
	if (rc < 0) {
		recording_free(r);
		errno = -rc;
		return NULL;
	}
	return r;
}

void recording_free(struct recording *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->op_count; i++) {
		free(r->ops[i].name);
		free(r->ops[i].name2);
		free(r->ops[i].data);
	}
	for (size_t i = 0; i < r->name_count; i++)
		free(r->names[i].name);
	free(r->ops);
	free(r->names);
	free(r->open_files);
	free(r->forget);
	free(r->root);
	free(r->alias);
	pthread_mutex_destroy(&r->lock);
	pthread_mutex_destroy(&r->names_lock);
	free(r);
}

struct disk *recording_disk(struct recording *r)
{
	return &r->disk;
}

void recording_print(struct recording *r, uint64_t from, uint64_t to)
{
	static const char *const kinds[] = { "called off", "write", "zero",   "truncate", "grow",     "sync", "create",
		                             "mkdir",      "link",  "unlink", "rename",   "sync dir", "note" };

	pthread_mutex_lock(&r->lock);
	for (size_t i = 0; i < r->op_count; i++) {
		const struct op *o = &r->ops[i];
		if (o->base || o->begin < from || o->begin >= to)
			continue;
		fprintf(stderr, "%6" PRIu64 "..%-6" PRId64 " %-9s", o->begin, (int64_t)o->end, kinds[o->kind]);
		if (o->kind == OP_NOTE)
			fprintf(stderr, " %" PRIu64 " = %" PRIu64 "\n", o->offset, o->len);
		else if (o->name)
			fprintf(stderr, " file %" PRIu32 ": %" PRIu32 "/%s -> %" PRIu32 "/%s\n", o->ino, o->dir,
			        o->name, o->dir2, o->name2 ? o->name2 : "");
		else
			fprintf(stderr, " file %" PRIu32 ": %" PRIu64 " + %" PRIu64 "%s\n", o->ino, o->offset, o->len,
			        o->data ? "" : " (no bytes)");
	}
	pthread_mutex_unlock(&r->lock);
}
