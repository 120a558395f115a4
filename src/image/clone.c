/* SPDX-License-Identifier: GPL-3.0-only */
/* clone.c: new images that begin as a moment of another one, and share its log.
 *
 * What the clone needs is held before it is visible, and let go after it is gone. Whoever deletes the other image takes its name away
 * first and looks for what is held then; who clones holds first and looks for the name then: one of them sees the other.
 */
#include "image/private.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

/* ---- the moment -------------------------------------------------------------------------------------------------- */

/* Of an image as it is now, under a name of its own; this host is its owner then. */
static int hold_now(struct engine *e, uint64_t image, const char *name, struct snapshot *held, struct error *err)
{
	return snapshot_take(e, &image, 1, name, NULL, held, err);
}

/* Of a snapshot: the same under another name, so that it can be deleted. */
static int hold_snapshot(struct engine *e, const struct snapshot *s, const char *name, struct snapshot *held,
                         struct error *err)
{
	struct snapshot there;
	int rc;

	*held = *s;
	held->info.is_protected = false;
	randombytes_buf(&held->info.id, sizeof held->info.id);
	snprintf(held->info.name, sizeof held->info.name, "%s", name);
	rc = snapshot_save(e->pool, held, true, err);
	if (rc)
		return rc;
	/* What it alone holds may be on its way out if it was deleted meanwhile. */
	rc = snapshot_load(e->pool, s->image, s->info.name, &there, err);
	if (!rc && there.info.id != s->info.id)
		rc = error_set(err, -ENOENT, "snapshot %s was deleted meanwhile", s->info.name);
	if (rc)
		(void)snapshot_remove(e->pool, s->image, name, NULL);
	return rc;
}

/* Whether the image that is held still has its name, as seen by all. */
static int still_there(struct engine *e, const struct catalog_entry *entry, struct error *err)
{
	struct catalog_entry now;
	int rc = catalog_lookup(e->catalog, entry->parent, entry->name, 0, &now, err);

	if (!rc && now.id != entry->id)
		rc = -ENOENT;
	return rc == -ENOENT ? error_set(err, rc, "the image was moved or deleted meanwhile: try again") : rc;
}

/* ---- the clone --------------------------------------------------------------------------------------------------- */

/* The image's own list of layers, as one that begins with it has them: behind it. */
static int inherit_layers(struct engine *e, const struct beginning *b, struct layer_list *list, struct error *err)
{
	struct layer_list own;
	int rc = layer_list_load(e->pool, b->held.image, &own, err);

	if (rc == -ENOENT || (!rc && own.count < b->held.layers))
		rc = error_set(err, -EBADMSG, "the list of the layers of image %016" PRIx64 " is missing or too short",
		               b->held.image);
	for (size_t k = 0; !rc && k < b->held.layers; k++) {
		own.refs[k].first = false;
		rc = layer_list_add(list, &own.refs[k], err);
	}
	for (size_t k = 0; !rc && b->of_base && k < own.replay_count; k++) {
		own.replays[k].layer++;
		rc = layer_list_add_replay(list, &own.replays[k], err);
	}
	layer_list_destroy(&own);
	return rc;
}

/* The layers of who begins so: that image's log, and the layers that it has itself. */
static int make_layers(struct engine *e, const struct beginning *b, struct layer_list *list, struct error *err)
{
	const struct snapshot *held = &b->held;
	struct log_view view = { 0 };
	struct layer_ref ref = { .image = held->image, .last = held->segment, .first = true };
	struct layer_replay replay = { .layer = 1, .from = held->whole_from, .to = b->to };
	int rc = log_view_load(e->pool, held->image, &view, err);

	*list = (struct layer_list){ .base = *held };
	if (!rc && view.term_count)
		ref.epoch = view.terms[view.term_count - 1].epoch;
	log_view_destroy(&view);
	if (!rc)
		rc = layer_list_add(list, &ref, err);
	if (!rc && held->layers)
		rc = inherit_layers(e, b, list, err);
	if (!rc && replay.from)
		rc = layer_list_add_replay(list, &replay, err);
	if (list->base.root != MAP_ENTRY_NONE)
		list->base.root = map_entry_deeper(list->base.root, 1);
	if (rc)
		layer_list_destroy(list);
	return rc;
}

/* The name comes last. */
static int make_image(struct engine *e, const struct beginning *b, const struct catalog_entry *entry, uint64_t dir,
                      const char *name, uint64_t id, struct error *err)
{
	struct catalog_entry clone = *entry;
	struct layer_list list;
	int rc = still_there(e, entry, err);

	if (!rc)
		rc = make_layers(e, b, &list, err);
	if (rc)
		return rc;
	rc = layer_list_save(e->pool, id, &list, err);
	layer_list_destroy(&list);
	clone.id = id;
	clone.parent = dir;
	snprintf(clone.name, sizeof clone.name, "%s", name);
	return rc ? rc : catalog_create_as(e->catalog, &clone, err);
}

int image_begin(struct engine *e, const struct beginning *b, const struct catalog_entry *entry, uint64_t dir,
                const char *name, uint64_t id, struct node_attr *attr, struct error *err)
{
	int rc = make_image(e, b, entry, dir, name, id, err);

	if (!rc)
		return engine_getattr(e, id, attr, err);
	/* Whether the name was made may be unknown: then what it needs stays. */
	if (rc != -ETIMEDOUT && rc != -EIO) {
		(void)layer_list_remove(e->pool, id);
		(void)snapshot_remove(e->pool, b->held.image, b->held.info.name, NULL);
	}
	return rc;
}

int engine_clone(struct engine *e, uint64_t source, uint64_t dir, const char *name, struct node_attr *attr,
                 struct error *err)
{
	struct beginning b = { 0 };
	struct catalog_entry entry;
	struct snapshot from;
	char hold[SNAPSHOT_NAME_MAX + 1];
	uint64_t id = catalog_new_id();
	bool is_snapshot = !snapshot_get(e, source, &from);
	int rc = engine_name_free(e, dir, name, err);

	if (!rc && (catalog_get(e->catalog, is_snapshot ? from.image : source, &entry) || entry.type != NODE_FILE))
		rc = error_set(err, -ENOENT, "no image %016" PRIx64, source);
	if (rc)
		return rc;
	layer_hold_name(id, 1, hold);
	rc = is_snapshot ? hold_snapshot(e, &from, hold, &b.held, err) : hold_now(e, source, hold, &b.held, err);
	return rc ? rc : image_begin(e, &b, &entry, dir, name, id, attr, err);
}

int engine_layers_release(struct engine *e, uint64_t id, struct error *err)
{
	char hold[SNAPSHOT_NAME_MAX + 1];
	struct layer_list list;
	int rc = layer_list_load(e->pool, id, &list, err);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	for (size_t k = 0; rc >= 0 && k < list.count; k++) {
		if (!list.refs[k].first)
			continue;
		layer_hold_name(id, k + 1, hold);
		rc = snapshot_remove(e->pool, list.refs[k].image, hold, err);
		if (!rc || rc == -ENOENT)
			rc = 1;
	}
	layer_list_destroy(&list);
	return rc;
}
