/* SPDX-License-Identifier: GPL-3.0-only */
/* snapshot_names.c: the tree below .snapshots: that of the pool, with a directory of snapshots where an image is.
 *
 * The directory that stands for a node has the node's id with some bits turned over; whether an id is of that kind is known by
 * which of the two the catalog knows. A snapshot has the id that its object says.
 */
#include "image/private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define TOP_NAME ".snapshots"
#define MIRROR UINT64_C(0x2e736e617073686f)

/* The node for which the directory `id` stands. -ENOENT: it stands for none. */
static int mirrored(struct engine *e, uint64_t id, struct catalog_entry *entry)
{
	struct catalog_entry own;

	if (!catalog_get(e->catalog, id, &own))
		return -ENOENT;
	return catalog_get(e->catalog, id ^ MIRROR, entry);
}

static void attr_of_directory(const struct catalog_entry *entry, struct node_attr *attr)
{
	*attr = (struct node_attr){
		.id = entry->id ^ MIRROR,
		.type = NODE_DIRECTORY,
		/* Who may read an image may look for its snapshots. */
		.mode = (entry->mode & 0444) | (entry->mode & 0444) >> 2,
		.uid = entry->uid,
		.gid = entry->gid,
		.mtime_ns = entry->changed_ns,
		.ctime_ns = entry->changed_ns,
		.nlink = 2,
	};
}

static void attr_of_snapshot(const struct catalog_entry *image, const struct snapshot *s, struct node_attr *attr)
{
	*attr = (struct node_attr){
		.id = s->info.id,
		.type = NODE_FILE,
		.mode = image->mode & 0444,
		.uid = image->uid,
		.gid = image->gid,
		.size = s->info.size,
		.allocated_bytes = s->info.allocated_bytes,
		.mtime_ns = s->info.mtime_ns ? s->info.mtime_ns : s->info.time_ns,
		.ctime_ns = s->info.time_ns,
		.nlink = 1,
		.grain_bytes = s->grain_bytes,
	};
}

bool snapshot_names_have(struct engine *e, uint64_t dir, const char *name)
{
	struct catalog_entry entry;

	return (dir == NODE_ROOT && !strcmp(name, TOP_NAME)) || !mirrored(e, dir, &entry);
}

int snapshot_names_lookup(struct engine *e, uint64_t dir, const char *name, struct node_attr *attr, struct error *err)
{
	struct catalog_entry entry;
	struct node_attr child;
	struct snapshot s;
	int rc;

	if (dir == NODE_ROOT && !strcmp(name, TOP_NAME)) {
		rc = catalog_get(e->catalog, NODE_ROOT, &entry);
		if (!rc)
			attr_of_directory(&entry, attr);
		return rc;
	}
	if (mirrored(e, dir, &entry))
		return 1;
	if (entry.type == NODE_FILE) {
		rc = snapshot_load(e->pool, entry.id, name, &s, err);
		if (!rc)
			rc = snapshot_remember(e, &s);
		if (!rc)
			attr_of_snapshot(&entry, &s, attr);
		return rc;
	}
	rc = engine_lookup(e, entry.id, name, &child, err);
	if (!rc)
		rc = catalog_get(e->catalog, child.id, &entry);
	if (!rc)
		attr_of_directory(&entry, attr);
	return rc;
}

int snapshot_names_getattr(struct engine *e, uint64_t id, struct node_attr *attr, struct error *err)
{
	struct catalog_entry entry;
	struct snapshot s;

	if (!snapshot_get(e, id, &s)) {
		if (catalog_get(e->catalog, s.image, &entry))
			return error_set(err, -ENOENT, "no node %016" PRIx64, id);
		attr_of_snapshot(&entry, &s, attr);
		return 0;
	}
	if (mirrored(e, id, &entry))
		return 1;
	attr_of_directory(&entry, attr);
	return 0;
}

/* ---- listing ---- */

struct listing {
	struct engine *e;
	struct catalog_entry image;
	int (*each)(void *arg, const char *name, const struct node_attr *attr);
	void *arg;
};

static int list_node(void *arg, const struct catalog_entry *entry)
{
	struct listing *l = arg;
	struct node_attr attr;

	attr_of_directory(entry, &attr);
	return l->each(l->arg, entry->name, &attr);
}

static int list_snapshot(void *arg, const struct snapshot *s)
{
	struct listing *l = arg;
	struct node_attr attr;
	int rc = 0;

	if (snapshot_hidden(s))
		return 0;
	rc = snapshot_remember(l->e, s);
	attr_of_snapshot(&l->image, s, &attr);
	return rc ? rc : l->each(l->arg, s->info.name, &attr);
}

int snapshot_names_list(struct engine *e, uint64_t dir,
                        int (*each)(void *arg, const char *name, const struct node_attr *attr), void *arg,
                        struct error *err)
{
	struct listing l = { .e = e, .each = each, .arg = arg };

	if (mirrored(e, dir, &l.image))
		return 1;
	if (l.image.type == NODE_DIRECTORY)
		return catalog_list(e->catalog, l.image.id, list_node, &l, err);
	return snapshot_list(e->pool, l.image.id, list_snapshot, &l, err);
}
