/* SPDX-License-Identifier: GPL-3.0-only */
/* pool_copy_names.c: the directory entries of a copy: read as of one moment before everything else, put after everything else.
 *
 * A listing takes a while, and what is renamed meanwhile may be missed under both names. So the names are listed until two listings
 * are the same; only what changed is read again. Where listings lag, what they do not show yet is not copied.
 */
#include "image/pool_copy_private.h"

#include "base/hash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_TRIES 8
#define DEPTH_MAX 256
#define ROOT_KEY "names/root"

void pool_copy_names_free(struct copy_names *n)
{
	pool_copy_objects_free(n->objects, n->count);
	hash_free(n->directories);
	free(n->objects);
	free(n->entries);
	free(n->places);
	*n = (struct copy_names){ 0 };
}

/* ---- listing ----------------------------------------------------------------------------------------------------- */

struct listing {
	struct copy_object *list;
	size_t count, room;
};

static int add_key(struct listing *l, const char *key, uint64_t version)
{
	if (l->count == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		void *grown = reallocarray(l->list, room, sizeof *l->list);

		if (!grown)
			return -ENOMEM;
		l->list = grown;
		l->room = room;
	}
	l->list[l->count] = (struct copy_object){ .version = version };
	snprintf(l->list[l->count++].key, sizeof l->list->key, "%s", key);
	return 0;
}

static int add_listed(void *arg, const struct store_entry *entry)
{
	struct entry_place place;

	return entry_key_parse(entry->key, &place) ? add_key(arg, entry->key, entry->version) : 0;
}

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct copy_object *)a)->key, ((const struct copy_object *)b)->key);
}

static struct copy_object *find_key(struct copy_object *list, size_t count, const char *key)
{
	struct copy_object wanted;

	snprintf(wanted.key, sizeof wanted.key, "%s", key);
	return count ? bsearch(&wanted, list, count, sizeof *list, by_key) : NULL;
}

/* What was read under the version that is still listed. Returns how many are new. */
static size_t take_known(struct listing *now, struct listing *before)
{
	size_t unknown = 0;

	for (size_t i = 0; i < now->count; i++) {
		struct copy_object *o = &now->list[i], *old = find_key(before->list, before->count, o->key);

		if (!old || old->version != o->version) {
			unknown++;
			continue;
		}
		o->bytes = old->bytes;
		o->len = old->len;
		o->gone = old->gone;
		old->bytes = NULL;
	}
	return unknown;
}

static void free_listing(struct listing *l)
{
	pool_copy_objects_free(l->list, l->count);
	free(l->list);
	*l = (struct listing){ 0 };
}

static int list_once(struct pool_copy *c, struct listing *known, bool *same, struct error *err)
{
	struct listing now = { 0 };
	size_t before = known->count;
	int rc = store_list_each(c->from->store, "names/", NULL, add_listed, &now, err);

	if (!rc && now.count)
		qsort(now.list, now.count, sizeof *now.list, by_key);
	if (!rc) {
		*same = take_known(&now, known) == 0 && now.count == before;
		rc = pool_copy_get(c, c->from->store, now.list, now.count, err);
	}
	free_listing(known);
	*known = now;
	return rc;
}

static int list_all(struct pool_copy *c, struct listing *l, struct error *err)
{
	struct copy_object root;
	bool same = false;
	int rc = 0;

	for (int try = 0; try < LIST_TRIES && !rc && !same; try++)
		rc = list_once(c, l, &same, err);
	if (!rc && !same)
		rc = error_set(err, -EAGAIN, "%s: names are being changed faster than they can be read: run it again",
		               c->from->store->url);
	/* At the end, out of order: it is never looked for. */
	if (!rc)
		rc = pool_copy_get_one(c, c->from->store, ROOT_KEY, &root, err);
	if (rc || root.gone)
		return rc;
	rc = add_key(l, root.key, 0);
	if (rc) {
		free(root.bytes);
		return rc;
	}
	l->list[l->count - 1] = root;
	return 0;
}

/* ---- opening what was read --------------------------------------------------------------------------------------- */

static int decode_one(struct pool_copy *c, size_t i, struct error *err)
{
	struct copy_names *n = &c->names;
	struct copy_object *o = &n->objects[i];
	struct catalog_entry *e = &n->entries[i];
	const struct catalog_entry *other;
	int rc;

	if (o->gone)
		return 0;
	if (!entry_key_parse(o->key, &n->places[i]))
		n->places[i] = (struct entry_place){ 0 }; /* names/root */
	rc = entry_decode(c->from, &n->places[i], o->bytes, o->len, e, err);
	if (rc)
		return error_prefix(err, rc, "%s", c->from->store->url);
	if (e->type != NODE_DIRECTORY)
		return 0;
	other = hash_get(n->directories, e->id);
	/* Of two for one id the higher serial counts; on equal ones the path is only shown. */
	return other && other->serial >= e->serial ? 0 : hash_put(n->directories, e->id, e);
}

/* Takes the listing over. */
static int decode_all(struct pool_copy *c, struct listing *l, struct error *err)
{
	struct copy_names *n = &c->names;
	int rc = 0;

	n->objects = l->list;
	n->count = l->count;
	*l = (struct listing){ 0 };
	n->entries = calloc(n->count + 1, sizeof *n->entries);
	n->places = calloc(n->count + 1, sizeof *n->places);
	n->directories = hash_new();
	if (!n->entries || !n->places || !n->directories)
		return -ENOMEM;
	for (size_t i = 0; i < n->count && !rc; i++)
		rc = decode_one(c, i, err);
	return rc;
}

const char *pool_copy_names_path(const struct copy_names *n, const struct catalog_entry *entry, char *out, size_t size)
{
	size_t at = size - 1;

	out[at] = '\0';
	for (unsigned depth = 0; entry && entry->parent && depth < DEPTH_MAX; depth++) {
		size_t len = strlen(entry->name);

		if (len + 1 > at)
			break;
		if (out[at])
			out[--at] = '/';
		at -= len;
		memcpy(out + at, entry->name, len);
		entry = hash_get(n->directories, entry->parent);
	}
	return memmove(out, out + at, size - at);
}

/* ---- one path ---------------------------------------------------------------------------------------------------- */

/* Reads the entry of a name in a directory, and adds it. */
static int add_step(struct pool_copy *c, struct listing *l, uint64_t dir, const char *name, struct catalog_entry *entry,
                    struct error *err)
{
	struct entry_place place = entry_place(c->from, dir, name);
	char key[STORE_KEY_MAX + 1];
	struct copy_object o;
	int rc;

	entry_key(&place, key);
	rc = pool_copy_get_one(c, c->from->store, key, &o, err);
	if (rc)
		return rc;
	if (o.gone)
		return error_set(err, -ENOENT, "'%s' does not exist in %s", name, c->from->store->url);
	rc = entry_decode(c->from, &place, o.bytes, o.len, entry, err);
	if (!rc)
		rc = add_key(l, key, 0);
	if (rc) {
		free(o.bytes);
		return rc;
	}
	l->list[l->count - 1] = o;
	return 0;
}

static int list_path(struct pool_copy *c, struct listing *l, const char *path, struct error *err)
{
	struct catalog_entry entry = { .id = NODE_ROOT, .type = NODE_DIRECTORY };
	char name[NAME_BYTES_MAX + 1];
	int rc = 0;

	while (!rc) {
		path += strspn(path, "/");
		size_t len = strcspn(path, "/");
		if (len == 0)
			break;
		if (len > NAME_BYTES_MAX)
			return error_set(err, -ENAMETOOLONG, "a name of more than %d bytes", NAME_BYTES_MAX);
		if (entry.type != NODE_DIRECTORY)
			return error_set(err, -ENOTDIR, "'%s' is no directory", entry.name);
		memcpy(name, path, len);
		name[len] = '\0';
		rc = entry_name_check(name, err);
		if (!rc)
			rc = add_step(c, l, entry.id, name, &entry, err);
		path += len;
	}
	if (!rc && entry.type != NODE_FILE)
		rc = error_set(err, -EISDIR, "'%s' is a directory, not an image", entry.name[0] ? entry.name : "/");
	return rc;
}

int pool_copy_names_load(struct pool_copy *c, const char *path, struct error *err)
{
	struct listing l = { 0 };
	int rc = path ? list_path(c, &l, path, err) : list_all(c, &l, err);

	if (!rc)
		rc = decode_all(c, &l, err);
	free_listing(&l);
	return rc;
}

/* ---- the target -------------------------------------------------------------------------------------------------- */

/* Of an entry that is in both. */
static int compare(struct pool_copy *c, size_t i, const struct copy_object *there, struct error *err)
{
	struct copy_object *o = &c->names.objects[i];
	const struct catalog_entry *mine = &c->names.entries[i];
	char path[1024], why[256] = "";
	struct catalog_entry theirs;
	struct error damage = { 0 };
	int rc;

	if (there->gone)
		return 0;
	pool_copy_names_path(&c->names, mine, path, sizeof path);
	rc = entry_decode(c->to, &c->names.places[i], there->bytes, there->len, &theirs, &damage);
	if (rc)
		snprintf(why, sizeof why, "cannot be read (%.200s)", error_text(&damage));
	else if (theirs.id != mine->id || theirs.type != mine->type)
		snprintf(why, sizeof why, "is another %s than in the source",
		         theirs.type == NODE_FILE ? "image" : "directory");
	if (why[0])
		return error_set(err, rc ? rc : -EEXIST,
		                 "%s: '%.200s' %s: rename or remove it there if it is not needed", c->to->store->url,
		                 path[0] ? path : "/", why);
	/* What was changed in the target alone, say a mode, stays. */
	o->skip = theirs.serial >= mine->serial;
	o->replace = true;
	return 0;
}

struct strangers {
	struct pool_copy *c;
	size_t count; /* of the source's entries that are in order */
};

static int count_stranger(void *arg, const struct store_entry *entry)
{
	struct strangers *s = arg;
	struct entry_place place;

	if (entry_key_parse(entry->key, &place) && !find_key(s->c->names.objects, s->count, entry->key))
		s->c->report->left++;
	return 0;
}

static int count_strangers(struct pool_copy *c, struct error *err)
{
	struct strangers s = { .c = c, .count = c->names.count };

	if (s.count && strcmp(c->names.objects[s.count - 1].key, ROOT_KEY) == 0)
		s.count--;
	return store_list_each(c->to->store, "names/", NULL, count_stranger, &s, err);
}

int pool_copy_names_check(struct pool_copy *c, struct error *err)
{
	struct copy_names *n = &c->names;
	struct copy_object *there = calloc(n->count + 1, sizeof *there);
	int rc = 0;

	if (!there)
		return -ENOMEM;
	for (size_t i = 0; i < n->count; i++) {
		snprintf(there[i].key, sizeof there[i].key, "%s", n->objects[i].key);
		there[i].gone = n->objects[i].gone;
	}
	rc = pool_copy_get(c, c->to->store, there, n->count, err);
	for (size_t i = 0; i < n->count && !rc; i++)
		rc = compare(c, i, &there[i], err);
	if (!rc && c->whole)
		rc = count_strangers(c, err);
	pool_copy_objects_free(there, n->count);
	free(there);
	return rc;
}

int pool_copy_names_put(struct pool_copy *c, struct error *err)
{
	struct copy_names *n = &c->names;
	int rc = pool_copy_put(c, n->objects, n->count, err);

	for (size_t i = 0; i < n->count && !rc; i++)
		c->report->names += !n->objects[i].gone && !n->objects[i].skip;
	return rc;
}
