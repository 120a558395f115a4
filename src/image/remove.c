/* SPDX-License-Identifier: GPL-3.0-only */
/* remove.c: deleting the data of images whose names are gone.
 *
 * Nothing is deleted while somebody here has the image open, or while another host owns it. The mark in the trash goes last, so that a
 * crash in between only means doing it again. With keep_trash nothing is deleted at all: the trash is not even read.
 */
#include "image/private.h"

#include "base/clock.h"
#include "image/clean.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The trash is read again after this long, for images that other hosts unlinked and did not get to delete. */
#define TRASH_INTERVAL_NS seconds_ns(3600)

void engine_delete_later(struct engine *e)
{
	pthread_mutex_lock(&e->mutex);
	e->trash_wanted = true;
	pthread_mutex_unlock(&e->mutex);
	engine_kick(e);
}

/* How long it has been there. */
static uint64_t age_of(const struct trashed *t)
{
	uint64_t age = clock_wall_ns() - t->time_ns;

	/* Of a clock that was put back the age is huge. */
	return (int64_t)age < 0 ? 0 : age;
}

struct trash_reader {
	struct engine *e;
	struct hash *gone; /* ids of e->unlinked from before the trash was read, that were not found there */
};

/* Its time is up, or it is looked at again when it is. */
static int from_trash(void *arg, const struct trashed *t)
{
	struct trash_reader *r = arg;
	struct engine *e = r->e;
	uint64_t age = age_of(t), keep = e->options.trash_ms * 1000000;
	int rc = 0;

	hash_remove(r->gone, t->entry.id);
	pthread_mutex_lock(&e->mutex);
	if (age >= keep) {
		rc = hash_put(e->deletions, t->entry.id, e);
	} else {
		uint64_t due = clock_monotonic_ns() + (keep - age) + seconds_ns(1);
		if (due < e->trash_due_ns)
			e->trash_due_ns = due;
	}
	pthread_mutex_unlock(&e->mutex);
	return rc;
}

/* ---- having it back ---- */

/* Who deletes looks at the time, too; clocks of hosts may differ by so much, and looking takes its time. */
#define EXPIRY_MARGIN_MS 60000u

struct trash_looker {
	struct engine *e;
	int (*each)(void *arg, const struct trashed_image *t);
	void *arg;
};

static int tell_trashed(void *arg, const struct trashed *t)
{
	struct trash_looker *l = arg;
	struct trashed_image image = {
		.id = t->entry.id,
		.dir = t->entry.parent,
		.name = t->entry.name,
		.deleted_ns = t->time_ns,
		.expires_ns = t->time_ns + l->e->options.trash_ms * 1000000,
	};

	return l->each(l->arg, &image);
}

int engine_trash_each(struct engine *e, int (*each)(void *arg, const struct trashed_image *t), void *arg,
                      struct error *err)
{
	struct trash_looker l = { e, each, arg };

	return catalog_trash_list(e->catalog, tell_trashed, &l, err);
}

int engine_undelete(struct engine *e, uint64_t id, uint64_t dir, const char *name, struct error *err)
{
	uint64_t keep_ms = e->options.trash_ms > EXPIRY_MARGIN_MS ? e->options.trash_ms - EXPIRY_MARGIN_MS : 0;
	struct catalog_entry entry;
	struct trashed t;
	int rc = engine_writable(e, err);

	if (!rc)
		rc = catalog_trash_get(e->catalog, id, &t, err);
	if (rc == -ENOENT)
		return error_set(err, rc, "image %016" PRIx64 " is not in the trash", id);
	/* One that has snapshots is not deleted, and these can only be deleted while it has a name. */
	if (!rc && clock_wall_ns() > t.time_ns + keep_ms * 1000000 &&
	    snapshot_any(e->pool, id, SNAPSHOTS_NAMED, NULL) != 1)
		rc = error_set(err, -ETIME, "its time in the trash is up: it is being deleted");
	if (!rc && (snapshot_names_have(e, dir ? dir : t.entry.parent, name ? name : t.entry.name)))
		rc = error_set(err, -EROFS, "not among the snapshots");
	if (!rc)
		rc = catalog_restore(e->catalog, id, dir ? dir : t.entry.parent, name ? name : t.entry.name, &entry,
		                     err);
	if (rc)
		return rc;
	pthread_mutex_lock(&e->mutex);
	free(hash_remove(e->unlinked, id));
	hash_remove(e->deletions, id);
	struct image *i = hash_get(e->images, id);
	if (i)
		i->unlinked = false;
	pthread_mutex_unlock(&e->mutex);
	return 0;
}

/* ---- deleting ---- */

static int copy_unlinked(struct engine *e, struct hash *ids)
{
	size_t cursor = 0;
	uint64_t id;
	int rc = 0;

	pthread_mutex_lock(&e->mutex);
	while (!rc && hash_next(e->unlinked, &cursor, &id))
		rc = hash_put(ids, id, e);
	pthread_mutex_unlock(&e->mutex);
	return rc;
}

/* Other hosts deleted these, or had them back: who has one open here goes on with its entry. */
static void forget_unlinked(struct engine *e, const struct hash *ids)
{
	size_t cursor = 0;
	uint64_t id;

	pthread_mutex_lock(&e->mutex);
	while (hash_next(ids, &cursor, &id))
		if (!hash_get(e->images, id))
			free(hash_remove(e->unlinked, id));
	pthread_mutex_unlock(&e->mutex);
}

void engine_read_trash(struct engine *e, bool now)
{
	struct trash_reader r = { .e = e };
	struct error err = { 0 };
	uint64_t began = clock_monotonic_ns();

	if (e->options.keep_trash)
		return;
	pthread_mutex_lock(&e->mutex);
	bool due = began >= e->trash_due_ns || (e->trash_wanted && (now || began >= e->trash_next_ns));
	if (due) {
		e->trash_wanted = false;
		e->trash_due_ns = began + TRASH_INTERVAL_NS;
	}
	pthread_mutex_unlock(&e->mutex);
	if (!due)
		return;
	r.gone = hash_new();
	int rc = r.gone ? copy_unlinked(e, r.gone) : -ENOMEM;
	if (rc)
		error_set(&err, rc, "out of memory");
	else
		rc = catalog_trash_each(e->catalog, from_trash, &r, &err);
	if (!rc)
		forget_unlinked(e, r.gone);
	hash_free(r.gone);
	if (rc == -EOPNOTSUPP)
		report_debug("%s", error_text(&err));
	else if (rc)
		report_warning("cannot read the trash: %s", error_text(&err));
	uint64_t end = clock_monotonic_ns();
	pthread_mutex_lock(&e->mutex);
	e->trash_next_ns = end + seconds_ns(1) + 20 * (end - began);
	pthread_mutex_unlock(&e->mutex);
}

/* Deletes the local segments and what SQLite holds. */
static void remove_local(struct engine *e, uint64_t id)
{
	pthread_mutex_lock(&e->mutex);
	struct segment_set *set = hash_remove(e->sets, id);
	pthread_mutex_unlock(&e->mutex);
	if (!set)
		return;
	cache_forget_set(e->cache, set);
	(void)segment_set_forget_all(set); /* what stays is found at the next start */
	disk_rmdir(e->disk, segment_set_dir(set));
	/* Another host may have flattened a clone that is open here for reading: it still looks there. */
	pthread_mutex_lock(&e->mutex);
	(void)hash_put(e->old_sets, (uint64_t)(uintptr_t)set, set);
	pthread_mutex_unlock(&e->mutex);
	map_db_forget(e->db, id, NULL);
}

/* Takes the image out of memory if nobody has it open. */
static bool take_out(struct engine *e, uint64_t id)
{
	struct image *i = image_get(e, id);

	if (!i)
		return true;
	pthread_mutex_lock(&e->mutex);
	bool open = i->refs > 1;
	pthread_mutex_unlock(&e->mutex);
	if (!open) {
		pthread_mutex_lock(&i->open_mutex);
		image_stop(i, "deleted", -ENOENT, "the image was deleted");
		image_release(i, 0, true, NULL);
		pthread_mutex_unlock(&i->open_mutex);
		if (image_unload(i, true))
			return true;
	}
	image_put(i);
	return false;
}

/* The same for its snapshots, which read the same files. */
static bool take_out_snapshots(struct engine *e, uint64_t id)
{
	struct image **images;
	bool out = true;
	size_t count;

	if (images_get_all(e, &images, &count))
		return false;
	for (size_t k = 0; k < count; k++) {
		if (images[k]->log_id == id && images[k]->id != id) {
			readahead_hold(images[k]);
			if (image_unload(images[k], true))
				continue;
			readahead_resume(images[k]);
			out = false;
		}
		image_put(images[k]);
	}
	free(images);
	return out;
}

/* Whether the mark that was found is still there, and as old: the image may have been open here for long since, and been had back elsewhere.
 * 0; -ENOENT: it is not; or an error. */
static int check_mark(struct engine *e, uint64_t id, struct error *err)
{
	struct trashed t;
	int rc = catalog_trash_get(e->catalog, id, &t, err);

	if (!rc && age_of(&t) < e->options.trash_ms * 1000000)
		rc = error_set(err, -ENOENT, "it was had back meanwhile, and deleted again");
	return rc;
}

/* 0: gone; 1: it is not to be deleted; -EAGAIN: not now; or an error. */
static int delete_image(struct engine *e, uint64_t id, struct error *err)
{
	struct log_view view = { 0 };
	int rc = snapshot_any(e->pool, id, SNAPSHOTS_FOREIGN, err);

	if (rc)
		return rc < 0 ? rc : error_set(err, -EBUSY, "it has snapshots or clones");
	rc = take_out_snapshots(e, id) && take_out(e, id) ? log_view_load(e->pool, id, &view, err) : -EAGAIN;
	if (rc)
		return rc;
	bool written = view.newest_epoch, foreign = written && view.owner_host != e->host.id && !view.released;
	log_view_destroy(&view);
	if (foreign)
		return error_set(err, -EBUSY, "another host owns it");
	rc = check_mark(e, id, err);
	if (rc && (rc != -ENOENT || written))
		return rc == -ENOENT ? 1 : rc;
	clean_forget(e, id);
	remove_local(e, id);
	/* Another host was quicker. */
	if (rc)
		return 0;
	rc = engine_layers_release(e, id, err);
	if (rc < 0)
		return rc;
	if (rc)
		engine_delete_later(e);
	rc = image_objects_remove(e->pool, id, err);
	return rc ? rc : catalog_trash_done(e->catalog, id, err);
}

void engine_delete_now(struct engine *e, bool at_end)
{
	size_t cursor = 0, count = 0;
	uint64_t id, *ids;

	if (e->options.keep_trash)
		return;
	engine_read_trash(e, at_end);
	pthread_mutex_lock(&e->mutex);
	ids = malloc((hash_count(e->deletions) + 1) * sizeof *ids);
	while (ids && hash_next(e->deletions, &cursor, &id))
		ids[count++] = id;
	pthread_mutex_unlock(&e->mutex);
	for (size_t k = 0; k < count; k++) {
		struct error err = { 0 };
		int rc = delete_image(e, ids[k], &err);

		if (rc == -EAGAIN)
			continue; /* open: its turn comes again */
		if (rc == 1)
			engine_delete_later(e); /* if it is in the trash again, its time comes */
		else if (rc == -EBUSY)
			report_debug("image %016" PRIx64 " stays in the trash: %s", ids[k], error_text(&err));
		else if (rc)
			report_notice("image %016" PRIx64 " stays in the trash: %s", ids[k], error_text(&err));
		pthread_mutex_lock(&e->mutex);
		hash_remove(e->deletions, ids[k]);
		if (rc >= 0)
			free(hash_remove(e->unlinked, ids[k]));
		pthread_mutex_unlock(&e->mutex);
	}
	free(ids);
}
