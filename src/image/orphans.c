/* SPDX-License-Identifier: GPL-3.0-only */
/* orphans.c: images of which there are objects in the store, and no name: a crash came between a clone's layers and its name, or an
 * entry was lost.
 *
 * They are put into the trash, like what somebody removed: from there they can be had back for a while, and are then deleted by the rules of
 * remove.c. What may be on its way to its name just now is left alone, and so is what others need or another host owns. The images are
 * listed before the names: whoever makes one of both kinds gives it its name first, or holds a moment, which says when.
 */
#include "image/catalog_private.h"
#include "image/private.h"

#include "base/clock.h"
#include "image/clean.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- candidates -------------------------------------------------------------------------------------------------- */

struct finding {
	struct hash *ids;
	uint64_t last;
};

static int first_of_next(void *arg, const struct store_entry *entry)
{
	struct finding *f = arg;
	char again[STORE_KEY_MAX + 1];
	uint64_t id;

	if (sscanf(entry->key, "images/%16" SCNx64 "/", &id) != 1)
		return 0;
	snprintf(again, sizeof again, "images/%016" PRIx64 "/", id);
	if (strncmp(again, entry->key, strlen(again)) != 0)
		return 0;
	f->last = id;
	int rc = id > NODE_ROOT ? hash_put(f->ids, id, f) : 0;
	return rc ? rc : 1;
}

/* The ids of all images that have objects: a listing for each goes on behind it. */
static int list_images(struct pool *p, struct hash *ids, struct error *err)
{
	struct finding f = { .ids = ids };
	char after[STORE_KEY_MAX + 1] = "";
	int rc;

	do {
		rc = store_list_each(p->store, "images/", after[0] ? after : NULL, first_of_next, &f, err);
		/* '0' comes after '/'. */
		snprintf(after, sizeof after, "images/%016" PRIx64 "0", f.last);
	} while (rc == 1);
	return rc;
}

/* Whether all that it holds was held so long ago that nobody is about to give it a name. `*grain_bytes`: as its layers say. */
static int is_old(struct pool *p, uint64_t id, uint32_t *grain_bytes, struct error *err)
{
	char name[SNAPSHOT_NAME_MAX + 1];
	struct layer_list list;
	struct snapshot held;
	int rc = layer_list_load(p, id, &list, err), old = 1;

	if (rc)
		return rc == -ENOENT ? 1 : rc;
	*grain_bytes = list.base.grain_bytes;
	for (size_t k = 0; k < list.count && !rc; k++) {
		if (!list.refs[k].hold)
			continue;
		layer_hold_name(id, list.refs[k].hold, name);
		rc = snapshot_load_any(p, list.refs[k].image, name, &held, err);
		if (!rc && (int64_t)(clock_wall_ns() - held.info.time_ns) < (int64_t)CLEAN_HOLD_GRACE_NS)
			old = 0;
		rc = rc == -ENOENT ? 0 : rc;
	}
	layer_list_destroy(&list);
	return rc ? rc : old;
}

/* Whether the image, which has no name, is nobody's: 1, 0, or an error. */
static int is_orphan(struct engine *e, uint64_t id, uint32_t *grain_bytes, struct error *err)
{
	struct image *open = image_get(e, id);
	struct log_view view = { 0 };
	struct head head;
	int rc;

	if (open) {
		image_put(open);
		return 0;
	}
	*grain_bytes = head_load(e->pool, id, &head, NULL) ? 4096 : head.grain_bytes;
	rc = snapshot_any(e->pool, id, SNAPSHOTS_FOREIGN, err);
	if (rc)
		return rc < 0 ? rc : 0;
	rc = log_view_load(e->pool, id, &view, err);
	bool foreign = !rc && view.newest_epoch && view.owner_host != e->host.id && !view.released;
	log_view_destroy(&view);
	if (rc || foreign)
		return rc;
	return is_old(e->pool, id, grain_bytes, err);
}

/* ---- the trash --------------------------------------------------------------------------------------------------- */

static int put_into_trash(struct engine *e, uint64_t id, uint32_t grain_bytes, struct error *err)
{
	struct catalog_entry entry = {
		.id = id, .parent = NODE_ROOT, .type = NODE_FILE, .mode = 0600, .grain_bytes = grain_bytes
	};

	snprintf(entry.name, sizeof entry.name, "orphan-%016" PRIx64, id);
	report_notice("image %016" PRIx64 " has no name: it is put into the trash as %s", id, entry.name);
	return trash_mark(e->catalog, &entry, err);
}

/* One that cannot be looked at stays, and the others are gone through. */
static int go_through(struct engine *e, struct hash *ids, bool dry_run, uint64_t *found, struct error *err)
{
	size_t cursor = 0;
	uint64_t id;
	int rc = 0;

	while (!rc && hash_next(ids, &cursor, &id)) {
		uint32_t grain_bytes = 0;
		int orphan = is_orphan(e, id, &grain_bytes, err);
		if (orphan < 0)
			report_warning("image %016" PRIx64 ", which has no name: %s", id, error_text(err));
		if (orphan <= 0)
			continue;
		++*found;
		if (!dry_run)
			rc = put_into_trash(e, id, grain_bytes, err);
	}
	return rc;
}

int engine_find_orphans(struct engine *e, bool dry_run, uint64_t *found, struct error *err)
{
	struct hash *ids = hash_new();
	int rc = ids ? 0 : -ENOMEM;

	*found = 0;
	if (!rc && !dry_run)
		rc = engine_writable(e, err);
	if (!rc)
		rc = list_images(e->pool, ids, err);
	/* Twice: a name that moves while they are listed can be missed once. */
	for (int k = 0; k < 2 && !rc && hash_count(ids); k++)
		rc = catalog_drop_known(e->catalog, ids, err);
	if (!rc)
		rc = go_through(e, ids, dry_run, found, err);
	if (!rc && *found && !dry_run)
		engine_delete_later(e);
	hash_free(ids);
	return rc == -ENOMEM ? error_set(err, rc, "out of memory") : rc;
}
