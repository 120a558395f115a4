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
	fields_add_u64(f, "mode", entry->mode);
	fields_add_u64(f, "uid", entry->uid);
	fields_add_u64(f, "gid", entry->gid);
	fields_add_u64(f, "grain", entry->grain_bytes);
	fields_add_u64(f, "created", entry->created_ns);
	fields_add_u64(f, "serial", entry->serial);
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

int catalog_drop_known(struct catalog *c, struct hash *ids, struct error *err)
{
	struct ids marked = { 0 };
	struct hash *named = hash_new();
	size_t cursor = 0;
	uint64_t id;
	int rc = named ? 0 : -ENOMEM;

	if (catalog_listings_lag(c))
		rc = error_set(err, -EOPNOTSUPP, "a listing of this store does not show all there is");
	if (!rc)
		rc = named_ids(c, named, err);
	/* What is unlinked meanwhile is marked before its entry goes. */
	if (!rc)
		rc = store_list_each(c->pool->store, "trash/", NULL, add_id, &marked, err);
	while (!rc && hash_next(named, &cursor, &id))
		hash_remove(ids, id);
	for (size_t k = 0; !rc && k < marked.count; k++)
		hash_remove(ids, marked.list[k]);
	free(marked.list);
	hash_free(named);
	return rc;
}

static int mark_decode(const struct fields *f, uint64_t id, struct trashed *t)
{
	struct catalog_entry *e = &t->entry;
	const char *name = fields_text(f, "name", 0);
	uint64_t inside, mode, uid, gid, grain;

	memset(t, 0, sizeof *t);
	if (fields_hex64(f, "id", &inside) || inside != id || fields_hex64(f, "parent", &e->parent) || !name ||
	    fields_u64(f, "time", &t->time_ns) || fields_u64(f, "mode", &mode) || fields_u64(f, "uid", &uid) ||
	    fields_u64(f, "gid", &gid) || fields_u64(f, "grain", &grain) || fields_u64(f, "created", &e->created_ns) ||
	    fields_u64(f, "serial", &e->serial))
		return -EBADMSG;
	if (entry_name_check(name, NULL) || mode > 07777 || uid > UINT32_MAX || gid > UINT32_MAX ||
	    !grain_bytes_valid(grain))
		return -EBADMSG;
	e->id = id;
	e->type = NODE_FILE;
	e->mode = (uint32_t)mode;
	e->uid = (uint32_t)uid;
	e->gid = (uint32_t)gid;
	e->grain_bytes = (uint32_t)grain;
	e->changed_ns = t->time_ns;
	snprintf(e->name, sizeof e->name, "%s", name);
	return 0;
}

int catalog_trash_get(struct catalog *c, uint64_t id, struct trashed *t, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct fields *f;
	int rc;

	trash_key(id, key);
	rc = pool_get_object(c->pool, key, OBJECT_TRASH, &c->pool->catalog, &f, err);
	if (rc)
		return rc;
	rc = mark_decode(f, id, t);
	fields_free(f);
	return rc ? error_set(err, rc, "%s: damaged mark", key) : 0;
}

/* With `proof` all entries were read, and no image is handed out that one of them names. */
static int each_mark(struct catalog *c, bool proof, struct ids *ids, struct hash *named,
                     int (*each)(void *arg, const struct trashed *t), void *arg, struct error *err)
{
	struct trashed t;
	int rc = 0;

	for (size_t i = 0; i < ids->count && !rc; i++) {
		if (hash_get(named, ids->list[i]))
			continue;
		rc = catalog_trash_get(c, ids->list[i], &t, err);
		if (rc == -ENOENT || (rc == -EBADMSG && !proof))
			rc = 0;
		else if (rc == 0)
			rc = each(arg, &t);
	}
	return rc;
}

static int trash_each(struct catalog *c, bool proof, int (*each)(void *arg, const struct trashed *t), void *arg,
                      struct error *err)
{
	struct ids ids = { 0 };
	struct hash *named = NULL;
	int rc = store_list_each(c->pool->store, "trash/", NULL, add_id, &ids, err);

	if (rc || ids.count == 0)
		goto out;
	if (proof && catalog_listings_lag(c)) {
		rc = error_set(err, -EOPNOTSUPP,
		               "the trash is kept: a listing of this store does not show all there is");
		goto out;
	}
	named = hash_new();
	rc = named ? named_ids(c, named, err) : -ENOMEM;
	/* What cannot be read keeps nobody from looking. */
	if (!proof && rc == -EBADMSG)
		rc = 0;
	if (!rc)
		rc = each_mark(c, proof, &ids, named, each, arg, err);
out:
	hash_free(named);
	free(ids.list);
	return rc;
}

int catalog_trash_each(struct catalog *c, int (*each)(void *arg, const struct trashed *t), void *arg, struct error *err)
{
	return trash_each(c, true, each, arg, err);
}

struct trash_list {
	struct trashed *list;
	size_t count;
};

static int keep_trashed(void *arg, const struct trashed *t)
{
	struct trash_list *l = arg;
	struct trashed *more = reallocarray(l->list, l->count + 1, sizeof *more);

	if (!more)
		return -ENOMEM;
	l->list = more;
	l->list[l->count++] = *t;
	return 0;
}

static int by_time(const void *a, const void *b)
{
	const struct trashed *x = a, *y = b;

	return x->time_ns < y->time_ns ? -1 : x->time_ns > y->time_ns;
}

int catalog_trash_list(struct catalog *c, int (*each)(void *arg, const struct trashed *t), void *arg, struct error *err)
{
	struct trash_list l = { 0 };
	int rc = trash_each(c, false, keep_trashed, &l, err);

	if (!rc && l.count)
		qsort(l.list, l.count, sizeof *l.list, by_time);
	for (size_t k = 0; k < l.count && !rc; k++)
		rc = each(arg, &l.list[k]);
	free(l.list);
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
