/* SPDX-License-Identifier: GPL-3.0-only */
/* clone.c: new images that begin as a moment of another one, and share its log.
 *
 * What the clone needs is held before it is visible, and let go after it is gone. Whoever deletes the other image takes its name away
 * first and looks for what is held then; who clones holds first and looks for the name then: one of them sees the other.
 */
#include "image/private.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

/* ---- the moment -------------------------------------------------------------------------------------------------- */

/* Of a snapshot: the same under another name, so that it can be deleted. */
static int hold_snapshot(struct engine *e, const struct snapshot *s, const char *name, struct snapshot *held,
                         struct error *err)
{
	int rc;

	*held = *s;
	held->info.is_protected = false;
	held->info.time_ns = clock_wall_ns();
	randombytes_buf(&held->info.id, sizeof held->info.id);
	snprintf(held->info.name, sizeof held->info.name, "%s", name);
	rc = snapshot_save(e->pool, held, true, err);
	if (rc)
		return rc;
	/* What it alone holds may be on its way out if it was deleted meanwhile. */
	rc = snapshot_still_there(e->pool, s, err);
	if (rc)
		moment_let_go(e, held);
	return rc;
}

static uint64_t name_hold(uint64_t holder, char name[SNAPSHOT_NAME_MAX + 1])
{
	uint64_t hold;

	randombytes_buf(&hold, sizeof hold);
	hold |= 1;
	layer_hold_name(holder, hold, name);
	return hold;
}

int moment_hold(struct engine *e, uint64_t source, const struct snapshot *snapshot, uint64_t holder,
                const struct snapshot_watch *watch, uint64_t *hold, struct snapshot *held, struct error *err)
{
	char name[SNAPSHOT_NAME_MAX + 1];

	*hold = name_hold(holder, name);
	return snapshot ? hold_snapshot(e, snapshot, name, held, err)
	                : snapshot_take(e, &source, 1, name, watch, held, err);
}

static int save_past(struct engine *e, struct snapshot *held, struct error *err)
{
	randombytes_buf(&held->info.id, sizeof held->info.id);
	held->info.time_ns = clock_wall_ns(); /* of the hold: see clean_holds.c */
	return snapshot_save(e->pool, held, true, err);
}

int moment_hold_past(struct engine *e, struct snapshot *held, uint64_t holder, uint64_t *hold, struct error *err)
{
	*hold = name_hold(holder, held->info.name);
	return save_past(e, held, err);
}

int moment_hold_rewound(struct engine *e, struct snapshot *held, segment_no_t next, struct error *err)
{
	held->info.is_protected = false;
	snapshot_rewound_name(next, held->info.name);
	return save_past(e, held, err);
}

void moment_let_go(struct engine *e, const struct snapshot *held)
{
	struct error err = { 0 };

	if (snapshot_remove(e->pool, held->image, held->info.name, &err))
		report_debug("%s", error_text(&err));
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

/* The records that come on top of the map: those with which the other image begins so itself, then its own. */
static int add_replays(struct engine *e, const struct beginning *b, struct layer_list *list, struct error *err)
{
	struct layer_replay replay = { .layer = 1, .from = b->held.whole_from, .to = b->to };
	struct layer_list own = { 0 };
	int rc = b->of_base ? layer_list_load(e->pool, b->held.image, &own, err) : 0;

	for (size_t k = 0; !rc && k < own.replay_count; k++) {
		own.replays[k].layer++;
		rc = layer_list_add_replay(list, &own.replays[k], err);
	}
	layer_list_destroy(&own);
	return rc || !replay.from ? rc : layer_list_add_replay(list, &replay, err);
}

/* The name comes last. `*begun`: whether something of it may be in the store. */
static int make_image(struct engine *e, const struct beginning *b, const struct catalog_entry *entry, uint64_t dir,
                      const char *name, uint64_t id, bool *begun, struct error *err)
{
	struct catalog_entry clone = *entry;
	struct layer_list list = { .base = b->held };
	int rc = still_there(e, entry, err);

	if (list.base.root != MAP_ENTRY_NONE)
		list.base.root = map_entry_deeper(list.base.root, 1);
	if (!rc)
		rc = layer_list_add_group(&list, e->pool, &b->held, b->hold, err);
	if (!rc)
		rc = add_replays(e, b, &list, err);
	*begun = !rc;
	if (!rc)
		rc = layer_list_save(e->pool, id, &list, err);
	layer_list_destroy(&list);
	clone.id = id;
	clone.parent = dir;
	snprintf(clone.name, sizeof clone.name, "%s", name);
	return rc ? rc : catalog_create_as(e->catalog, &clone, err);
}

/* Whether `id` was not made for certain: another image has the name, or there is no such directory. Whatever else came back of a put, it may
 * have been done, or be done still. */
static bool was_not_made(struct engine *e, uint64_t dir, const char *name, uint64_t id, int rc)
{
	struct catalog_entry there;

	if (rc == -ENOTDIR)
		return true;
	return rc == -EEXIST && !catalog_lookup(e->catalog, dir, name, 0, &there, NULL) && there.id != id;
}

int image_begin(struct engine *e, const struct beginning *b, const struct catalog_entry *entry, uint64_t dir,
                const char *name, uint64_t id, struct node_attr *attr, struct error *err)
{
	bool begun = false;
	int rc = make_image(e, b, entry, dir, name, id, &begun, err);

	if (!rc)
		return engine_getattr(e, id, attr, err);
	/* What an image needs that may be there stays: if it is not, clean_holds.c and orphans.c find that later. The list goes first. */
	if (begun && (!was_not_made(e, dir, name, id, rc) || layer_list_remove(e->pool, id, NULL)))
		return rc;
	moment_let_go(e, &b->held);
	return rc;
}

int engine_clone(struct engine *e, uint64_t source, uint64_t dir, const char *name, struct node_attr *attr,
                 struct error *err)
{
	struct beginning b = { 0 };
	struct catalog_entry entry;
	struct snapshot from;
	uint64_t id = catalog_new_id();
	bool is_snapshot = !snapshot_get(e, source, &from);
	int rc = engine_name_free(e, dir, name, err);

	if (!rc && (catalog_get(e->catalog, is_snapshot ? from.image : source, &entry) || entry.type != NODE_FILE))
		rc = error_set(err, -ENOENT, "no image %016" PRIx64, source);
	if (!rc)
		rc = moment_hold(e, source, is_snapshot ? &from : NULL, id, NULL, &b.hold, &b.held, err);
	return rc ? rc : image_begin(e, &b, &entry, dir, name, id, attr, err);
}

int layers_let_go(struct engine *e, uint64_t id, const struct layer_list *list, struct error *err)
{
	char hold[SNAPSHOT_NAME_MAX + 1];
	int rc = 0;

	for (size_t k = 0; rc >= 0 && k < list->count; k++) {
		if (!list->refs[k].hold)
			continue;
		layer_hold_name(id, list->refs[k].hold, hold);
		rc = snapshot_remove(e->pool, list->refs[k].image, hold, err);
		if (!rc || rc == -ENOENT)
			rc = 1;
	}
	return rc;
}

int engine_layers_release(struct engine *e, uint64_t id, struct error *err)
{
	struct layer_list list;
	int rc = layer_list_load(e->pool, id, &list, err);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	rc = layers_let_go(e, id, &list, err);
	layer_list_destroy(&list);
	return rc;
}
