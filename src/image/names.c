/* SPDX-License-Identifier: GPL-3.0-only */
/* names.c: the tree of names as front ends see it: the catalog's entries, with size and times from the images' logs. */
#include "image/private.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* How old an answer about a name may be. */
#define NAME_AGE_MS 1000

static void from_entry(const struct catalog_entry *entry, struct node_attr *attr)
{
	*attr = (struct node_attr){
		.id = entry->id,
		.type = entry->type,
		.mode = entry->mode,
		.uid = entry->uid,
		.gid = entry->gid,
		.mtime_ns = entry->changed_ns,
		.ctime_ns = entry->changed_ns,
		.nlink = entry->type == NODE_DIRECTORY ? 2 : 1,
		.grain_bytes = entry->grain_bytes,
	};
}

void image_stat(struct image *i, struct node_attr *attr)
{
	attr->size = atomic_load(&i->size);
	attr->allocated_bytes = image_allocated(i) << i->grain_shift;
	attr->mtime_ns = atomic_load(&i->mtime_ns);
	attr->grain_bytes = i->grain_bytes;
}

/* Size and times of an image that is not in memory: from its head; without one nothing was written yet, or not yet a checkpoint, and the
 * little that there is is read. */
static int stored_stat(struct engine *e, struct node_attr *attr, struct error *err)
{
	struct head head;
	struct image *i;
	int rc = head_load(e->pool, attr->id, &head, err);

	if (!rc) {
		attr->size = head.size;
		attr->allocated_bytes = head.allocated * attr->grain_bytes;
		attr->mtime_ns = head.mtime_ns;
	}
	if (rc != -ENOENT)
		return rc;
	rc = image_open(e, attr->id, IMAGE_READ, &i, err);
	if (rc)
		return rc;
	image_stat(i, attr);
	image_close(i, IMAGE_READ);
	return 0;
}

/* Adds what the catalog does not know of an image. */
static int add_data(struct engine *e, struct node_attr *attr, struct error *err)
{
	uint64_t created = attr->mtime_ns;
	int rc = 0;

	if (attr->type != NODE_FILE)
		return 0;
	struct image *i = image_get(e, attr->id);
	bool known = i && i->loaded;
	if (known)
		image_stat(i, attr);
	if (i)
		image_put(i);
	if (!known)
		rc = stored_stat(e, attr, err);
	if (!attr->mtime_ns)
		attr->mtime_ns = created;
	if (attr->mtime_ns > attr->ctime_ns)
		attr->ctime_ns = attr->mtime_ns;
	return rc;
}

/* An entry by id, also of an image that was unlinked while open. One of which the catalog knows a name is not unlinked, or no more: another
 * host has had it back. An unlink here takes the name out of the catalog before it says so in e->unlinked; that is why the mutex is held. */
static int entry_of(struct engine *e, uint64_t id, struct catalog_entry *entry, bool *unlinked)
{
	pthread_mutex_lock(&e->mutex);
	struct catalog_entry *gone = hash_get(e->unlinked, id);
	struct image *i = hash_get(e->images, id);
	int rc = catalog_get(e->catalog, id, entry);
	*unlinked = rc && gone;
	if (*unlinked) {
		*entry = *gone;
		rc = 0;
	} else if (!rc) {
		free(hash_remove(e->unlinked, id));
		if (i)
			i->unlinked = false;
	}
	pthread_mutex_unlock(&e->mutex);
	return rc;
}

/* A name of it was just seen. */
static void note_name(struct engine *e, uint64_t id)
{
	struct catalog_entry entry;
	bool unlinked;

	(void)entry_of(e, id, &entry, &unlinked);
}

int engine_lookup(struct engine *e, uint64_t dir, const char *name, struct node_attr *attr, struct error *err)
{
	struct catalog_entry entry;
	int rc = snapshot_names_lookup(e, dir, name, attr, err);

	if (rc <= 0)
		return rc;
	/* While the store is away a name leads where it led: who has the image open here must find it. */
	pthread_mutex_lock(&e->mutex);
	bool away = e->store_error[0];
	pthread_mutex_unlock(&e->mutex);
	rc = away ? catalog_remembered(e->catalog, dir, name, &entry) : -ENOENT;
	if (rc)
		rc = catalog_lookup(e->catalog, dir, name, NAME_AGE_MS, &entry, err);
	if (rc && rc != -ENOENT && !catalog_remembered(e->catalog, dir, name, &entry))
		rc = 0;
	if (rc)
		return rc;
	note_name(e, entry.id);
	from_entry(&entry, attr);
	return add_data(e, attr, err);
}

int engine_getattr(struct engine *e, uint64_t id, struct node_attr *attr, struct error *err)
{
	struct catalog_entry entry;
	bool unlinked;
	int rc = entry_of(e, id, &entry, &unlinked);

	if (rc) {
		int other = snapshot_names_getattr(e, id, attr, err);
		return other <= 0 ? other : error_set(err, rc, "no node %016" PRIx64, id);
	}
	from_entry(&entry, attr);
	if (unlinked)
		attr->nlink = 0;
	return add_data(e, attr, err);
}

/* Whether the name may come or go. */
static int changeable(struct engine *e, uint64_t dir, const char *name, struct error *err)
{
	int rc = engine_writable(e, err);

	if (!rc && snapshot_names_have(e, dir, name))
		rc = error_set(err, -EROFS, "what is below .snapshots is changed by garner snapshot only");
	return rc;
}

int engine_setattr(struct engine *e, uint64_t id, unsigned mask, const struct node_attr *attr, struct error *err)
{
	struct catalog_entry entry, now;
	struct node_attr there;
	bool unlinked;
	int rc = engine_writable(e, err);

	if (rc)
		return rc;
	rc = entry_of(e, id, &entry, &unlinked);
	/* Another host may have had it back since, and who has it open here need not have looked. */
	if (!rc && unlinked && !catalog_lookup(e->catalog, entry.parent, entry.name, 0, &now, NULL))
		rc = entry_of(e, id, &entry, &unlinked);
	if (rc && snapshot_names_getattr(e, id, &there, NULL) <= 0)
		rc = error_set(err, -EROFS, "a snapshot does not change");
	if (rc)
		return rc;
	if (mask & ATTR_MODE)
		entry.mode = attr->mode & 07777;
	if (mask & ATTR_OWNER) {
		entry.uid = attr->uid;
		entry.gid = attr->gid;
	}
	if (!unlinked)
		return catalog_update(e->catalog, &entry, err);
	pthread_mutex_lock(&e->mutex);
	struct catalog_entry *gone = hash_get(e->unlinked, id);
	if (gone)
		*gone = entry;
	pthread_mutex_unlock(&e->mutex);
	return 0;
}

static int check_name(const char *name, struct error *err)
{
	if (!*name || !strcmp(name, ".") || !strcmp(name, "..") || strchr(name, '/'))
		return error_set(err, -EINVAL, "\"%s\" is not a file name", name);
	if (strlen(name) > NAME_BYTES_MAX)
		return error_set(err, -ENAMETOOLONG, "the name is longer than %d bytes", NAME_BYTES_MAX);
	return 0;
}

int engine_name_free(struct engine *e, uint64_t dir, const char *name, struct error *err)
{
	struct catalog_entry there;
	int rc = changeable(e, dir, name, err);

	if (!rc)
		rc = check_name(name, err);
	if (!rc)
		rc = catalog_lookup(e->catalog, dir, name, 0, &there, err);
	if (!rc)
		return error_set(err, -EEXIST, "'%s' exists", name);
	return rc == -ENOENT ? 0 : rc;
}

int engine_create(struct engine *e, uint64_t dir, const char *name, enum node_type type, uint32_t mode, uint32_t uid,
                  uint32_t gid, struct node_attr *attr, struct error *err)
{
	struct catalog_entry entry = {
		.parent = dir,
		.type = type,
		.mode = mode & 07777,
		.uid = uid,
		.gid = gid,
	};
	int rc = changeable(e, dir, name, err);

	if (!rc)
		rc = check_name(name, err);
	if (rc)
		return rc;
	if (type == NODE_FILE)
		entry.grain_bytes = e->options.grain_size ? e->options.grain_size : e->pool->grain_bytes;
	snprintf(entry.name, sizeof entry.name, "%s", name);
	rc = catalog_create(e->catalog, &entry, err);
	if (!rc)
		from_entry(&entry, attr);
	return rc;
}

/* The name of an image is gone: its data goes when nobody has it open. */
static void name_gone(struct engine *e, const struct catalog_entry *entry)
{
	struct catalog_entry *copy;

	if (!entry->id || entry->type != NODE_FILE)
		return;
	copy = malloc(sizeof *copy);
	pthread_mutex_lock(&e->mutex);
	struct image *i = hash_get(e->images, entry->id);
	if (i)
		i->unlinked = true;
	if (copy) {
		*copy = *entry;
		free(hash_remove(e->unlinked, entry->id));
		if (hash_put(e->unlinked, entry->id, copy))
			free(copy);
	}
	pthread_mutex_unlock(&e->mutex);
	engine_delete_later(e);
}

/* An image with snapshots stays: they are kept in its log. */
static int may_go(struct engine *e, uint64_t dir, const char *name, struct error *err)
{
	struct catalog_entry entry;
	int rc = catalog_lookup(e->catalog, dir, name, NAME_AGE_MS, &entry, err);

	if (rc == -ENOENT || (!rc && entry.type != NODE_FILE))
		return 0;
	if (!rc)
		rc = snapshot_any(e->pool, entry.id, SNAPSHOTS_NAMED, err);
	return rc > 0 ? error_set(err, -EBUSY, "%s has snapshots: delete them first (garner snapshot delete)", name)
	              : rc;
}

int engine_unlink(struct engine *e, uint64_t dir, const char *name, struct error *err)
{
	struct catalog_entry entry = { 0 };
	int rc = changeable(e, dir, name, err);

	if (!rc)
		rc = may_go(e, dir, name, err);
	if (!rc)
		rc = catalog_remove(e->catalog, dir, name, NODE_FILE, &entry, err);
	if (!rc)
		name_gone(e, &entry);
	return rc;
}

int engine_rmdir(struct engine *e, uint64_t dir, const char *name, struct error *err)
{
	int rc = changeable(e, dir, name, err);

	return rc ? rc : catalog_remove(e->catalog, dir, name, NODE_DIRECTORY, NULL, err);
}

int engine_rename(struct engine *e, uint64_t dir, const char *name, uint64_t new_dir, const char *new_name,
                  bool no_replace, struct error *err)
{
	struct catalog_entry replaced = { 0 };
	int rc = changeable(e, dir, name, err);

	if (!rc)
		rc = changeable(e, new_dir, new_name, err);
	if (!rc)
		rc = check_name(new_name, err);
	if (!rc && !no_replace)
		rc = may_go(e, new_dir, new_name, err);
	if (!rc)
		rc = catalog_rename(e->catalog, dir, name, new_dir, new_name, no_replace, &replaced, err);
	if (!rc)
		name_gone(e, &replaced);
	return rc;
}

struct list_arg {
	struct engine *e;
	int (*each)(void *arg, const char *name, const struct node_attr *attr);
	void *arg;
};

static int list_one(void *arg, const struct catalog_entry *entry)
{
	struct list_arg *l = arg;
	struct node_attr attr;
	struct error err = { 0 };

	note_name(l->e, entry->id);
	from_entry(entry, &attr);
	if (add_data(l->e, &attr, &err)) {
		report_warning("%s: %s", entry->name, error_text(&err));
		attr.nlink = 0;
	}
	return l->each(l->arg, entry->name, &attr);
}

int engine_list(struct engine *e, uint64_t dir, int (*each)(void *arg, const char *name, const struct node_attr *attr),
                void *arg, struct error *err)
{
	struct list_arg l = { e, each, arg };
	int rc = snapshot_names_list(e, dir, each, arg, err);

	return rc <= 0 ? rc : catalog_list(e->catalog, dir, list_one, &l, err);
}

int engine_resolve(struct engine *e, const char *path, struct node_attr *attr, struct error *err)
{
	char name[NAME_BYTES_MAX + 1];
	int rc = engine_getattr(e, NODE_ROOT, attr, err);

	while (!rc) {
		path += strspn(path, "/");
		if (!*path)
			break;
		size_t len = strcspn(path, "/");
		if (len > NAME_BYTES_MAX)
			return error_set(err, -ENAMETOOLONG, "a name is longer than %d bytes", NAME_BYTES_MAX);
		memcpy(name, path, len);
		name[len] = 0;
		path += len;
		rc = engine_lookup(e, attr->id, name, attr, err);
	}
	return rc;
}
