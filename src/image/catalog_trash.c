/* SPDX-License-Identifier: GPL-3.0-only */
/* catalog_trash.c: images whose entry is gone and whose data is to go; and walking the whole tree.
 *
 * A mark in the trash permits nothing by itself. It is put before the entry is removed, so a crash leaves marks of images
 * that live, and so does a rename elsewhere at the same moment. What is handed out for deletion has been proven: the mark
 * exists, every entry of the pool was read and none names the image, and the mark still exists afterwards. A rename takes
 * the mark away between putting the new entry and removing the old, so that one which slipped past the listing shows there.
 */
#include "image/catalog_private.h"

#include "base/clock.h"
#include "base/hash.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WALK_DEPTH_MAX 256

static void trash_key(uint64_t id, char key[STORE_KEY_MAX + 1])
{
	snprintf(key, STORE_KEY_MAX + 1, "trash/%016" PRIx64, id);
}

int trash_mark(struct catalog *c, const struct catalog_entry *entry, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct fields *f = fields_new();
	int rc;

	if (!f)
		return -ENOMEM;
	trash_key(entry->id, key);
	fields_add_hex64(f, "id", entry->id);
	fields_add_hex64(f, "parent", entry->parent);
	fields_add_text(f, "name", entry->name);
	fields_add_u64(f, "time", clock_wall_ns());
	rc = pool_put_object(c->pool, key, OBJECT_TRASH, &c->pool->catalog, f, 0, err);
	fields_free(f);
	return rc;
}

int trash_unmark(struct catalog *c, uint64_t id, struct error *err)
{
	char key[STORE_KEY_MAX + 1];

	trash_key(id, key);
	return store_remove_wait(c->pool->store, key, err);
}

int catalog_trash_done(struct catalog *c, uint64_t id, struct error *err)
{
	return trash_unmark(c, id, err);
}

/* ---- what may be deleted ----------------------------------------------------------------------------------------- */

struct ids {
	uint64_t *list;
	size_t count, room;
};

static int add_id(void *arg, const struct store_entry *stored)
{
	struct ids *ids = arg;
	char again[STORE_KEY_MAX + 1];
	uint64_t id;

	if (sscanf(stored->key, "trash/%16" SCNx64, &id) != 1)
		return 0;
	trash_key(id, again);
	if (strcmp(again, stored->key) != 0)
		return 0;
	if (ids->count == ids->room) {
		size_t room = ids->room ? ids->room * 2 : 64;
		uint64_t *grown = realloc(ids->list, room * sizeof *grown);
		if (!grown)
			return -ENOMEM;
		ids->list = grown;
		ids->room = room;
	}
	ids->list[ids->count++] = id;
	return 0;
}

/* The ids that some entry names. Anything that cannot be read could be an entry of any image: then nothing is known. */
static int named_ids(struct catalog *c, struct hash *named, struct error *err)
{
	struct listed_entries entries;
	int rc = catalog_load(c, "names/", &entries, err);

	for (size_t i = 0; i < entries.count && !rc; i++) {
		const struct listed_entry *e = &entries.list[i];

		if (e->rc == 0)
			rc = hash_put(named, e->entry.id, named);
		else if (e->rc != -ENOENT)
			rc = error_set(err, e->rc,
			               "nothing is taken out of the trash while an entry cannot be read: %s",
			               e->text ? e->text : strerror(-e->rc));
	}
	listed_entries_destroy(&entries);
	return rc;
}

/* The mark as it is now: 0 and valid, -ENOENT. */
static int check_mark(struct catalog *c, uint64_t id, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct fields *f;
	uint64_t inside;
	int rc;

	trash_key(id, key);
	rc = pool_get_object(c->pool, key, OBJECT_TRASH, &c->pool->catalog, &f, err);
	if (rc)
		return rc;
	rc = fields_hex64(f, "id", &inside);
	fields_free(f);
	return rc || inside != id ? error_set(err, -EBADMSG, "%s: damaged mark", key) : 0;
}

int catalog_trash_each(struct catalog *c, int (*each)(void *arg, uint64_t id), void *arg, struct error *err)
{
	struct ids ids = { 0 };
	struct hash *named = NULL;
	int rc = store_list_each(c->pool->store, "trash/", NULL, add_id, &ids, err);

	if (rc || ids.count == 0)
		goto out;
	if (catalog_listings_lag(c)) {
		rc = error_set(err, -EOPNOTSUPP,
		               "the trash is kept: a listing of this store does not show all there is");
		goto out;
	}
	named = hash_new();
	if (!named) {
		rc = -ENOMEM;
		goto out;
	}
	rc = named_ids(c, named, err);
	for (size_t i = 0; i < ids.count && !rc; i++) {
		if (hash_get(named, ids.list[i]))
			continue;
		rc = check_mark(c, ids.list[i], err);
		if (rc == -ENOENT)
			rc = 0;
		else if (rc == 0)
			rc = each(arg, ids.list[i]);
	}
out:
	hash_free(named);
	free(ids.list);
	return rc;
}

/* ---- walking ----------------------------------------------------------------------------------------------------- */

struct walk {
	struct catalog *c;
	int (*each)(void *arg, const char *path, const struct catalog_entry *entry);
	void *arg;
	struct error *err;
	char *path; /* WALK_DEPTH_MAX names */
};

struct collected {
	struct catalog_entry *list;
	size_t count, room;
};

static int collect(void *arg, const struct catalog_entry *entry)
{
	struct collected *all = arg;

	if (all->count == all->room) {
		size_t room = all->room ? all->room * 2 : 32;
		void *grown = realloc(all->list, room * sizeof *all->list);
		if (!grown)
			return -ENOMEM;
		all->list = grown;
		all->room = room;
	}
	all->list[all->count++] = *entry;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct catalog_entry *)a)->name, ((const struct catalog_entry *)b)->name);
}

static int walk_dir(struct walk *w, uint64_t dir, size_t path_len, unsigned depth)
{
	struct collected all = { 0 };
	int rc;

	if (depth == WALK_DEPTH_MAX)
		return error_set(w->err, -ELOOP, "'%.100s...': directories are nested too deeply", w->path);
	rc = catalog_list(w->c, dir, collect, &all, w->err);
	if (!rc && all.count)
		qsort(all.list, all.count, sizeof *all.list, by_name);
	for (size_t i = 0; i < all.count && !rc; i++) {
		size_t len = strlen(all.list[i].name);

		memcpy(w->path + path_len, all.list[i].name, len + 1);
		if (all.list[i].type == NODE_FILE) {
			rc = w->each(w->arg, w->path, &all.list[i]);
		} else {
			memcpy(w->path + path_len + len, "/", 2);
			rc = walk_dir(w, all.list[i].id, path_len + len + 1, depth + 1);
		}
	}
	free(all.list);
	return rc;
}

int catalog_walk(struct catalog *c, int (*each)(void *arg, const char *path, const struct catalog_entry *entry),
                 void *arg, struct error *err)
{
	struct walk w = { .c = c, .each = each, .arg = arg, .err = err };
	int rc;

	w.path = malloc((size_t)(NAME_BYTES_MAX + 1) * WALK_DEPTH_MAX + 1);
	if (!w.path)
		return -ENOMEM;
	w.path[0] = '\0';
	rc = walk_dir(&w, NODE_ROOT, 0, 0);
	free(w.path);
	return rc;
}
