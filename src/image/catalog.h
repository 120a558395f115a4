/* SPDX-License-Identifier: GPL-3.0-only */
/* catalog.h: the tree of names of a pool: one small object per directory entry, seen by every host.
 *
 * An entry's key is names/<dir id>/<BLAKE2b-128 of the name, keyed with the catalog key in a sealed pool, in hex>; inside
 * are name, type, id, mode, uid, gid, grain, created, changed (ctime), and `serial`. Creating is a create-only put. Renaming is put new (serial
 * one higher), then remove old: of two entries for one id that a crash leaves, the one with the higher serial counts, and
 * the other is removed when it is met. Renaming over a name, and unlinking, first put trash/<id> for the image that goes. Ids are random; the
 * root is NODE_ROOT and has no entry (mode 0755 root; its attributes can be changed: object names/root).
 *
 * Entries are remembered by id in memory (so that calls by id work after a lookup), and by key in SQLite; a directory is read
 * again when older than a second, which costs one listing, and a get for each entry whose version changed. Where listings lag it costs
 * a get for every entry, those remembered here and not listed among them, so that this host's view is never older than its memory;
 * what another host has just created is listed late, though found by its name. All calls block on the store; any thread. Knows
 * nothing of sizes or segments.
 */
#ifndef GARNER_IMAGE_CATALOG_H
#define GARNER_IMAGE_CATALOG_H

#include "image/image.h"
#include "image/pool.h"
#include "map/map_db.h"

struct catalog;
struct hash;

struct catalog_entry {
	uint64_t id;
	uint64_t parent;
	char name[NAME_BYTES_MAX + 1];
	enum node_type type;
	uint32_t mode, uid, gid;
	uint32_t grain_bytes; /* images */
	uint64_t created_ns, changed_ns;
	uint64_t serial;
};

/* `db` may be NULL (nothing is kept between runs: commands without a cache directory). NULL when memory is short. */
struct catalog *catalog_new(struct pool *pool, struct map_db *db);
void catalog_free(struct catalog *c);
/* Reading changes nothing in the store from now on: what renames have left over is not shown, but stays. Before the first call. */
void catalog_set_read_only(struct catalog *c);

/* `max_age_ms`: how old an answer from memory may be; 0: ask the store. */
int catalog_lookup(struct catalog *c, uint64_t dir, const char *name, uint64_t max_age_ms, struct catalog_entry *entry,
                   struct error *err);
/* The entry as it was when it was last seen here, however long ago; -ENOENT when it was not. Never asks the store. */
int catalog_remembered(struct catalog *c, uint64_t dir, const char *name, struct catalog_entry *entry);
/* By id, from memory: what a lookup, listing or creation has seen. -ENOENT otherwise. Never asks the store. */
int catalog_get(struct catalog *c, uint64_t id, struct catalog_entry *entry);

/* Fills in id, serial and times; the caller sets parent, name, type, mode, uid, gid, grain. -EEXIST. */
int catalog_create(struct catalog *c, struct catalog_entry *entry, struct error *err);
/* The same with an id of catalog_new_id() that is set already. */
int catalog_create_as(struct catalog *c, struct catalog_entry *entry, struct error *err);
uint64_t catalog_new_id(void);

/* Changes mode, uid, gid (as in `entry`) of entry->id. -ENOENT when it is not where it was; -EBUSY while another host is removing or replacing
 * it, and for a minute after one that ended while it did. */
int catalog_update(struct catalog *c, const struct catalog_entry *entry, struct error *err);

/* Unlinks a file (trash first) or an empty directory. `*removed` (may be NULL) says what it was. */
int catalog_remove(struct catalog *c, uint64_t dir, const char *name, enum node_type type,
                   struct catalog_entry *removed, struct error *err);

/* rename(2). `*replaced` gets the image that was at the new name (id 0: none). -EEXIST with no_replace, -ENOTEMPTY, -EISDIR,
 * -ENOTDIR, -EINVAL when a directory would move below itself. */
int catalog_rename(struct catalog *c, uint64_t dir, const char *name, uint64_t new_dir, const char *new_name,
                   bool no_replace, struct catalog_entry *replaced, struct error *err);

int catalog_list(struct catalog *c, uint64_t dir, int (*each)(void *arg, const struct catalog_entry *entry), void *arg,
                 struct error *err);

/* An image in the trash: its entry as it was, but for what a mark of an earlier version does not say, and when it was put there. */
struct trashed {
	struct catalog_entry entry;
	uint64_t time_ns;
};

/* Every image in the trash: those that no entry names. -EOPNOTSUPP where listings lag: for deletion that is not proven.
 * catalog_trash_done() removes the mark after the data is gone. */
int catalog_trash_each(struct catalog *c, int (*each)(void *arg, const struct trashed *t), void *arg,
                       struct error *err);
/* The same for looking only, which does without a proof; oldest first. */
int catalog_trash_list(struct catalog *c, int (*each)(void *arg, const struct trashed *t), void *arg,
                       struct error *err);
int catalog_trash_get(struct catalog *c, uint64_t id, struct trashed *t, struct error *err);
/* Takes out of `ids` (base/hash.h) those of images that have a name, or had one and are in the trash. -EOPNOTSUPP where listings lag; an error, too,
 * when an entry cannot be read. */
int catalog_drop_known(struct catalog *c, struct hash *ids, struct error *err);
/* Takes an image out of the trash: under `name` in `dir`. `*entry` is its entry then. -EEXIST, -ESTALE (no such directory),
 * -ENOENT (it is not in the trash). Nobody may be about to delete it. */
int catalog_restore(struct catalog *c, uint64_t id, uint64_t dir, const char *name, struct catalog_entry *entry,
                    struct error *err);
int catalog_trash_done(struct catalog *c, uint64_t id, struct error *err);

/* Walks every image of the pool, depth first; `path` is "a/b.raw". For ls, verify. */
int catalog_walk(struct catalog *c, int (*each)(void *arg, const char *path, const struct catalog_entry *entry),
                 void *arg, struct error *err);

#endif
