/* SPDX-License-Identifier: GPL-3.0-only */
/* snapshot_engine.c: taking snapshots of images that are in use, and what becomes of them. */
#include "image/private.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* ---- those that are known here ---- */

int snapshot_remember(struct engine *e, const struct snapshot *s)
{
	struct snapshot *copy = malloc(sizeof *copy);
	int rc = copy ? 0 : -ENOMEM;

	if (rc)
		return rc;
	*copy = *s;
	pthread_mutex_lock(&e->mutex);
	struct snapshot *known = hash_get(e->snapshots, s->info.id);
	if (known)
		*known = *s;
	else
		rc = hash_put(e->snapshots, s->info.id, copy);
	pthread_mutex_unlock(&e->mutex);
	if (known || rc)
		free(copy);
	return rc;
}

int snapshot_get(struct engine *e, uint64_t id, struct snapshot *s)
{
	pthread_mutex_lock(&e->mutex);
	const struct snapshot *known = hash_get(e->snapshots, id);
	if (known)
		*s = *known;
	pthread_mutex_unlock(&e->mutex);
	return known ? 0 : -ENOENT;
}

void snapshot_forget(struct engine *e, uint64_t id)
{
	pthread_mutex_lock(&e->mutex);
	struct snapshot *known = hash_remove(e->snapshots, id);
	pthread_mutex_unlock(&e->mutex);
	free(known);
}

/* ---- taking ---- */

struct member {
	struct image *image;
	uint64_t origin; /* 0: it is its own */
	struct snapshot snapshot;
	bool put;
};

static int by_id(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* The checkpoints that name the moment; `images` are in the order of their ids, by which they are locked. */
static int take_moment(struct member *m, size_t count, const char *name, const struct snapshot_watch *watch,
                       struct error *err)
{
	struct image **images = calloc(count, sizeof *images);
	uint64_t now;
	int rc;

	if (!images)
		return error_set(err, -ENOMEM, "out of memory");
	for (size_t k = 0; k < count; k++) {
		images[k] = m[k].image;
		pthread_mutex_lock(&images[k]->open_mutex);
	}
	now = clock_wall_ns();
	rc = 0;
	for (size_t k = 0; k < count && !rc; k++)
		if (!atomic_load(&images[k]->log) || atomic_load(&images[k]->failed))
			rc = error_set(err, -EIO, "image %016" PRIx64 " has stopped: see garner status", images[k]->id);
	if (!rc)
		rc = images_checkpoint(images, count, watch, err);
	for (size_t k = 0; k < count; k++) {
		struct image *i = images[k];
		const struct map_state *st = &i->saved;

		m[k].snapshot = (struct snapshot){
			.image = i->id,
			.segment = st->checkpoint.segment,
			.root = st->checkpoint_root,
			.grain_bytes = i->grain_bytes,
			.layers = st->layers,
			.info = { .time_ns = now,
			          .size = st->size,
			          .allocated_bytes = st->allocated << i->grain_shift,
			          .mtime_ns = st->mtime_ns },
		};
		randombytes_buf(&m[k].snapshot.info.id, sizeof m[k].snapshot.info.id);
		m[k].snapshot.info.origin = m[k].origin ? m[k].origin : m[k].snapshot.info.id;
		snprintf(m[k].snapshot.info.name, sizeof m[k].snapshot.info.name, "%s", name);
		pthread_mutex_unlock(&i->open_mutex);
	}
	free(images);
	return rc;
}

/* All that the names will lead to gets into the store before they do. */
static int put_names(struct engine *e, struct member *m, size_t count, const struct snapshot_watch *watch,
                     struct error *err)
{
	int rc = 0;

	for (size_t k = 0; k < count && !rc; k++)
		rc = engine_flush(e, m[k].snapshot.image, watch ? watch->left : NULL, watch ? watch->arg : NULL, err);
	/* One who left before anything had a name has asked for none. */
	if (!rc && watch && !watch->left(watch->arg, 0))
		rc = error_set(err, -EINTR, "given up");
	for (size_t k = 0; k < count && !rc; k++) {
		rc = snapshot_save(e->pool, &m[k].snapshot, true, err);
		m[k].put = !rc;
		/* Who takes it over from here on lists the name before anything of that moment is deleted. */
		if (!rc && image_entitled(m[k].image))
			rc = error_set(err, -EIO, "the image is not ours any more, or the store cannot tell");
	}
	for (size_t k = 0; k < count && !rc; k++)
		if (!snapshot_hidden(&m[k].snapshot))
			rc = snapshot_remember(e, &m[k].snapshot);
	/* One moment of all, or none. */
	for (size_t k = 0; k < count && rc; k++)
		if (m[k].put)
			(void)snapshot_remove(e->pool, m[k].snapshot.image, m[k].snapshot.info.name, NULL);
	return rc;
}

static int check_new(struct engine *e, const uint64_t *ids, size_t count, const char *name, struct error *err)
{
	struct snapshot there;
	int rc;

	for (size_t k = 0; k < count; k++) {
		if (k && ids[k] == ids[k - 1])
			return error_set(err, -EINVAL, "an image is named twice");
		if (!snapshot_get(e, ids[k], &there))
			return error_set(err, -EINVAL, "a snapshot has no snapshots");
		rc = snapshot_load(e->pool, ids[k], name, &there, err);
		if (rc != -ENOENT)
			return rc ? rc : error_set(err, -EEXIST, "there is a snapshot \"%s\"", name);
	}
	return 0;
}

static void close_members(struct member *m, size_t count)
{
	for (size_t k = 0; m && k < count; k++)
		if (m[k].image) {
			atomic_fetch_sub(&m[k].image->moments, 1);
			image_close(m[k].image, IMAGE_WRITE);
		}
	free(m);
}

/* Opens the images, in the order of their ids, when they can have such a snapshot. *members goes to close_members() in any case. */
static int open_members(struct engine *e, const uint64_t *images, size_t count, const char *name,
                        struct member **members, struct error *err)
{
	struct member *m = *members = calloc(count, sizeof *m);
	uint64_t *ids = calloc(count, sizeof *ids);
	int rc = m && ids && count ? 0 : error_set(err, count ? -ENOMEM : -EINVAL, "no image, or out of memory");

	if (!rc) {
		memcpy(ids, images, count * sizeof *ids);
		qsort(ids, count, sizeof *ids, by_id);
		rc = check_new(e, ids, count, name, err);
	}
	for (size_t k = 0; !rc && k < count; k++) {
		rc = image_open(e, ids[k], IMAGE_WRITE, &m[k].image, err);
		if (rc)
			m[k].image = NULL;
		else
			atomic_fetch_add(&m[k].image->moments,
			                 1); /* cleaning waits: what it will need has no name yet */
	}
	free(ids);
	return rc;
}

static int check_name(const char *name, struct error *err)
{
	if (snapshot_name_valid(name))
		return 0;
	return error_set(err, -EINVAL, "\"%s\" is no name for a snapshot: up to %d letters, digits and . _ : + -", name,
	                 SNAPSHOT_NAME_MAX);
}

int engine_snapshot_check(struct engine *e, const uint64_t *images, size_t count, const char *name, struct error *err)
{
	struct member *m;
	int rc = check_name(name, err);

	if (rc)
		return rc;
	rc = open_members(e, images, count, name, &m, err);
	close_members(m, count);
	return rc;
}

int snapshot_take(struct engine *e, const uint64_t *images, size_t count, const char *name,
                  const struct snapshot_watch *watch, struct snapshot *first, struct error *err)
{
	struct member *m;
	int rc = open_members(e, images, count, name, &m, err);

	if (!rc)
		rc = take_moment(m, count, name, watch, err);
	if (!rc)
		rc = put_names(e, m, count, watch, err);
	if (!rc && first)
		*first = m[0].snapshot;
	close_members(m, count);
	return rc;
}

int engine_snapshot_create_watched(struct engine *e, const uint64_t *images, size_t count, const char *name,
                                   const struct snapshot_watch *watch, struct error *err)
{
	int rc = check_name(name, err);

	return rc ? rc : snapshot_take(e, images, count, name, watch, NULL, err);
}

int engine_snapshot_create(struct engine *e, const uint64_t *images, size_t count, const char *name, struct error *err)
{
	return engine_snapshot_create_watched(e, images, count, name, NULL, err);
}

int engine_snapshot_import(struct engine *e, uint64_t image, const char *name, uint64_t origin, struct error *err)
{
	struct member *m = NULL;
	int rc = check_name(name, err);

	if (!rc)
		rc = open_members(e, &image, 1, name, &m, err);
	if (!rc)
		m->origin = origin;
	if (!rc)
		rc = take_moment(m, 1, name, NULL, err);
	if (!rc)
		rc = put_names(e, m, 1, NULL, err);
	close_members(m, 1);
	return rc;
}

/* ---- afterwards ---- */

int engine_snapshot_delete(struct engine *e, uint64_t image, const char *name, struct error *err)
{
	struct snapshot s;
	int rc = engine_writable(e, err);

	if (!rc)
		rc = snapshot_load(e->pool, image, name, &s, err);
	if (!rc && s.info.is_protected)
		rc = error_set(err, -EBUSY, "snapshot \"%s\" is protected: unprotect it first", name);
	/* One that cannot be read is of no more use. */
	if (rc && rc != -EBADMSG)
		return rc;
	bool known = !rc;
	rc = snapshot_remove(e->pool, image, name, err);
	if (!rc && known)
		snapshot_forget(e, s.info.id);
	return rc;
}

int engine_snapshot_protect(struct engine *e, uint64_t image, const char *name, bool on, struct error *err)
{
	struct snapshot s;
	int rc = engine_writable(e, err);

	if (!rc)
		rc = snapshot_load(e->pool, image, name, &s, err);
	if (rc || s.info.is_protected == on)
		return rc;
	s.info.is_protected = on;
	return snapshot_save(e->pool, &s, false, err);
}

int engine_snapshot_find(struct engine *e, uint64_t image, const char *name, struct snapshot_info *info,
                         struct error *err)
{
	struct snapshot s;
	int rc = snapshot_name_valid(name) ? snapshot_load(e->pool, image, name, &s, err)
	                                   : error_set(err, -ENOENT, "there is no snapshot \"%s\"", name);

	if (!rc)
		rc = snapshot_remember(e, &s);
	if (!rc)
		*info = s.info;
	return rc;
}

struct each_info {
	struct engine *engine;
	int (*each)(void *arg, const struct snapshot_info *s);
	void *arg;
};

static int tell_info(void *arg, const struct snapshot *s)
{
	struct each_info *t = arg;
	int rc = snapshot_hidden(s) ? 0 : snapshot_remember(t->engine, s);

	return rc || snapshot_hidden(s) ? rc : t->each(t->arg, &s->info);
}

int engine_snapshot_each(struct engine *e, uint64_t image, int (*each)(void *arg, const struct snapshot_info *s),
                         void *arg, struct error *err)
{
	struct each_info t = { e, each, arg };

	return snapshot_list(e->pool, image, tell_info, &t, err);
}
