/* SPDX-License-Identifier: GPL-3.0-only */
/* store_images.c: an engine for one command, and its images as disks that can be copied. */
#include "cli/store_images.h"

#include "cli/command.h"
#include "cli/whole_file.h"
#include "image/image.h"

#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CACHE_BYTES (UINT64_C(1) << 30)
#define UNSENT_BYTES (UINT64_C(256) << 20)

struct store_images {
	struct disk_place place; /* first */
	struct engine *engine;
	char cache[PATH_MAX];
};

struct image_file {
	struct disk_file file; /* first */
	struct image *image;
	unsigned flags;
	struct node_attr attr; /* when it was opened */
};

static int failed(const char *path, int rc, struct error *err)
{
	return error_set(err, rc, "%s: %s", path, strerror(-rc));
}

/* ---- waiting for an answer ---------------------------------------------------------------------------------------- */

struct answer {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool here;
	int64_t result;
};

#define ANSWER                                                                       \
	{                                                                            \
		.mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER \
	}

static void answered(void *arg, int64_t result)
{
	struct answer *a = arg;

	pthread_mutex_lock(&a->mutex);
	a->result = result;
	a->here = true;
	pthread_cond_signal(&a->cond);
	pthread_mutex_unlock(&a->mutex);
}

/* `result` is what the call returned that has been given answered() and `a`. */
static int64_t wait_for(struct answer *a, int64_t result)
{
	if (result == -EINPROGRESS) {
		pthread_mutex_lock(&a->mutex);
		while (!a->here)
			pthread_cond_wait(&a->cond, &a->mutex);
		result = a->result;
		pthread_mutex_unlock(&a->mutex);
	}
	pthread_cond_destroy(&a->cond);
	pthread_mutex_destroy(&a->mutex);
	return result;
}

/* ---- bytes -------------------------------------------------------------------------------------------------------- */

static struct image *image_of(const struct disk_file *f)
{
	return ((const struct image_file *)f)->image;
}

static int look(struct disk_file *f, struct disk_look *l)
{
	struct node_attr now = ((struct image_file *)f)->attr;

	image_stat(image_of(f), &now);
	*l = (struct disk_look){
		.size = now.size,
		.mode = now.mode,
		.mtime_s = (int64_t)(now.mtime_ns / 1000000000u),
		.mtime_ns = (uint32_t)(now.mtime_ns % 1000000000u),
	};
	return 0;
}

static int read_at(struct disk_file *f, uint8_t *buf, size_t len, uint64_t offset)
{
	struct answer a = ANSWER;
	int64_t n = wait_for(&a, image_read(image_of(f), offset, buf, len, answered, &a));

	return n < 0 ? (int)n : (size_t)n < len ? -ENODATA : 0;
}

static int write_at(struct disk_file *f, const uint8_t *buf, size_t len, uint64_t offset)
{
	struct answer a = ANSWER;
	int64_t n = wait_for(&a, image_write(image_of(f), offset, buf, len, answered, &a));

	return n < 0 ? (int)n : 0;
}

static int punch(struct disk_file *f, uint64_t offset, uint64_t len)
{
	struct answer a = ANSWER;

	return (int)wait_for(&a, image_discard(image_of(f), offset, len, answered, &a));
}

static int next(struct disk_file *f, uint64_t offset, bool data, uint64_t *found)
{
	struct answer a = ANSWER;
	int64_t at = wait_for(&a, image_seek(image_of(f), offset, data, answered, &a));

	*found = at < 0 ? UINT64_MAX : (uint64_t)at;
	return at < 0 && at != -ENXIO ? (int)at : 0;
}

static int resize(struct disk_file *f, uint64_t size)
{
	struct answer a = ANSWER;

	return (int)wait_for(&a, image_resize(image_of(f), size, answered, &a));
}

static void close_image(struct disk_file *f)
{
	image_close(image_of(f), ((struct image_file *)f)->flags);
	free(f);
}

static const struct disk_file_ops image_ops = { look, read_at, write_at, punch, next, resize, close_image };

/* ---- names -------------------------------------------------------------------------------------------------------- */

static struct engine *engine_of(struct disk_place *p)
{
	return ((struct store_images *)p)->engine;
}

static int open_image(struct disk_place *p, const struct node_attr *attr, unsigned flags, struct disk_file **file,
                      struct error *err)
{
	struct image_file *f = malloc(sizeof *f);
	int rc = f ? 0 : error_set(err, -ENOMEM, "out of memory");

	if (!rc)
		rc = image_open(engine_of(p), attr->id, flags, &f->image, err);
	if (rc) {
		free(f);
		return rc;
	}
	f->file.ops = &image_ops;
	f->flags = flags;
	f->attr = *attr;
	*file = &f->file;
	return 0;
}

/* "IMAGE@SNAPSHOT", where no image has that name. */
static int find_snapshot(struct engine *e, const char *path, struct node_attr *attr, struct error *err)
{
	const char *at = strrchr(path, '@');
	struct snapshot_info s;
	char image[PATH_MAX];
	int rc;

	if (!at || at - path >= PATH_MAX)
		return error_set(err, -ENOENT, "there is no image %s in the pool", path);
	snprintf(image, sizeof image, "%.*s", (int)(at - path), path);
	rc = engine_resolve(e, image, attr, err);
	if (!rc)
		rc = engine_snapshot_find(e, attr->id, at + 1, &s, err);
	if (!rc)
		attr->id = s.id;
	return rc;
}

static int find(struct engine *e, const char *path, struct node_attr *attr, struct error *err)
{
	int rc = engine_resolve(e, path, attr, err);

	if (rc == -ENOENT)
		rc = find_snapshot(e, path, attr, err);
	if (!rc && attr->type != NODE_FILE)
		rc = error_set(err, -EISDIR, "%s is a directory, not an image", path);
	return rc;
}

static int open_source(struct disk_place *p, const char *path, struct disk_file **file, struct error *err)
{
	struct node_attr attr;
	int rc = find(engine_of(p), path, &attr, err);

	return rc ? rc : open_image(p, &attr, IMAGE_READ, file, err);
}

static int is_there(struct disk_place *p, const char *path, struct error *err)
{
	struct node_attr attr;
	int rc = engine_resolve(engine_of(p), path, &attr, err);

	if (rc == -ENOENT)
		return 0;
	if (!rc && attr.type != NODE_FILE)
		rc = error_set(err, -EEXIST, "%s is there already, and is a directory", path);
	return rc ? rc : 1;
}

/* The directory of `path`, and the name in it. */
static int split(struct engine *e, const char *path, uint64_t *dir, const char **name, struct error *err)
{
	const char *slash = strrchr(path, '/');
	struct node_attr attr = { .id = NODE_ROOT };
	char above[PATH_MAX];
	int rc = 0;

	*name = slash ? slash + 1 : path;
	if (!**name || strlen(path) >= sizeof above)
		return error_set(err, -EINVAL, "%.100s: no name for an image", path);
	if (slash) {
		snprintf(above, sizeof above, "%.*s", (int)(slash - path), path);
		rc = engine_resolve(e, above, &attr, err);
	}
	*dir = attr.id;
	return rc;
}

static int open_part(struct disk_place *p, const char *to, uint32_t mode, char part[PATH_MAX], struct disk_file **file,
                     struct error *err)
{
	struct node_attr attr;
	const char *name;
	uint64_t dir;
	int n = snprintf(part, PATH_MAX, "%s" WHOLE_FILE_SUFFIX, to), rc;

	if (n < 0 || n >= PATH_MAX)
		return failed(to, -ENAMETOOLONG, err);
	rc = split(engine_of(p), part, &dir, &name, err);
	if (!rc)
		rc = engine_create(engine_of(p), dir, name, NODE_FILE, mode, geteuid(), getegid(), &attr, err);
	if (rc == -EEXIST)
		rc = engine_lookup(engine_of(p), dir, name, &attr, err);
	/* Who owns it is at it: nobody else can be. */
	return rc ? rc : open_image(p, &attr, IMAGE_READ | IMAGE_WRITE, file, err);
}

static bool go_on(void *arg, uint64_t bytes_left)
{
	(void)arg;
	(void)bytes_left;
	return !interrupted();
}

static int name_part(struct disk_place *p, struct disk_file *file, const char *part, const char *to, bool replace,
                     bool *named, struct error *err)
{
	const char *old_name, *new_name;
	uint64_t dir;
	int rc = engine_flush(engine_of(p), ((struct image_file *)file)->attr.id, go_on, NULL, err);

	*named = false;
	if (!rc)
		rc = split(engine_of(p), to, &dir, &new_name, err);
	if (!rc)
		rc = split(engine_of(p), part, &dir, &old_name, err);
	if (!rc)
		rc = engine_rename(engine_of(p), dir, old_name, dir, new_name, !replace, err);
	*named = !rc;
	return rc;
}

static const struct disk_place_ops place_ops = { open_source, is_there, open_part, name_part };

struct disk_place *store_images_place(struct store_images *s)
{
	return &s->place;
}

/* ---- taking over -------------------------------------------------------------------------------------------------- */

int store_images_take_over(struct store_images *s, const char *path, char owner[128], struct error *err)
{
	struct image_status status = { 0 };
	struct node_attr attr;
	int rc = engine_resolve(s->engine, path, &attr, err);

	if (!rc && attr.type != NODE_FILE)
		rc = error_set(err, -EISDIR, "%s is a directory, not an image", path);
	if (!rc)
		rc = engine_image_status(s->engine, attr.id, &status, err);
	if (!rc)
		rc = engine_takeover(s->engine, attr.id, err);
	snprintf(owner, 128, "%s", status.owner);
	return rc;
}

/* ---- the engine --------------------------------------------------------------------------------------------------- */

static int make_cache(char path[PATH_MAX], struct error *err)
{
	const char *dir = getenv("TMPDIR");
	int n = snprintf(path, PATH_MAX, "%s/garner-XXXXXX", dir && *dir ? dir : "/var/tmp");

	if (n < 0 || n >= PATH_MAX)
		return error_set(err, -ENAMETOOLONG, "TMPDIR is too long a path");
	if (!mkdtemp(path))
		return error_set(err, -errno, "%s: cannot make a directory for the cache: %s (TMPDIR says where)", path,
		                 strerror(errno));
	return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st;
	(void)type;
	(void)where;
	(void)remove(path);
	return 0;
}

static void free_images(struct store_images *s)
{
	if (s->cache[0])
		nftw(s->cache, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(s);
}

int store_images_open(const char *word, const struct target_key *key, bool read_only, struct store_images **images,
                      struct error *err)
{
	struct store_images *s = calloc(1, sizeof *s);
	char url[PATH_MAX];
	int rc = s ? target_url(word, url, err) : error_set(err, -ENOMEM, "out of memory");

	if (!rc && (rc = make_cache(s->cache, err)))
		s->cache[0] = '\0';
	if (!rc) {
		const struct engine_options options = {
			.store_url = url,
			.cache_dir = s->cache,
			.key_file = key->key_file,
			.passphrase_file = key->passphrase_file,
			.passwd_file = key->passwd_file,
			.cache_size = CACHE_BYTES,
			.dirty_limit = UNSENT_BYTES,
			.read_only = read_only,
			/* Mounts say how long it is kept, each for itself. */
			.keep_trash = true,
		};
		rc = engine_open(&options, &s->engine, err);
	}
	if (rc) {
		if (s)
			free_images(s);
		return rc;
	}
	s->place.ops = &place_ops;
	*images = s;
	return 0;
}

int store_images_close(struct store_images *s, struct error *err)
{
	int rc = engine_close(s->engine, err);

	free_images(s);
	/* It is not kept: nobody was told that it is durable. */
	return rc == -EAGAIN ? error_set(err, -EIO, "not all that was written has reached the store") : rc;
}
