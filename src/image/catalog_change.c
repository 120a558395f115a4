/* SPDX-License-Identifier: GPL-3.0-only */
/* catalog_change.c: creating, changing, removing and renaming entries, so that a crash at any step loses nothing.
 *
 * The store has no transactions and, but for the create-only put, no conditions. The order of steps makes up for it: what
 * would be lost is marked first, what is new is put before the old is removed, and whatever is removed is read once more
 * immediately before. What remains is the moment between that read and the removal.
 *
 * A directory that vanishes while an entry is put into it: who puts, then looks for the directory; who removes the
 * directory, then lists it once more. Whatever the order, one of the two sees the other and takes back what it did.
 *
 * Two who write one entry: a rename looks at its new name once more before it removes the old one, and whoever changes attributes
 * leaves an entry alone whose image has just been marked.
 *
 * Not defended against: two hosts that at the same moment each move a directory below the other's. A host that
 * stands still between its last look at an entry and its write over it, with new attributes or another image, while another host renames an
 * image to that name from beginning to end: the latter image then has no name and no mark (garner gc finds it, as one without a name). The same
 * when the write falls between that rename's last look and its removal of the old name. Where create-only puts are not
 * atomic: two hosts that within a moment put the same name. Where listings lag: a directory that is removed while another host
 * has just put something into it.
 */
#include "image/catalog_private.h"

#include "base/clock.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define CHANGE_TRIES 4 /* when another host changes the same name */
#define DEPTH_MAX 256
/* A mark of an image that has its name is of a change under way elsewhere, or of one that did not end: by its age one is told from the other,
 * and where clocks differ by more it is taken for the latter. */
#define CHANGE_NS (UINT64_C(60) * 1000000000)

/* Where the entry of a known id is. */
static int place_of_id(struct catalog *c, uint64_t id, struct entry_place *place, struct error *err)
{
	const struct cached_entry *cached;

	memset(place, 0, sizeof *place);
	if (id == NODE_ROOT)
		return 0;
	pthread_mutex_lock(&c->mutex);
	cached = catalog_cache_find_id(c->cache, id);
	if (cached)
		*place = cached->place;
	pthread_mutex_unlock(&c->mutex);
	return cached ? 0 : error_set(err, -ESTALE, "a directory on the way was removed or moved");
}

/* Reads the entry of a known id anew. -ESTALE when it is not where it was. */
static int read_id(struct catalog *c, uint64_t id, struct catalog_entry *entry, struct error *err)
{
	struct entry_place place;
	int rc = place_of_id(c, id, &place, err);

	if (rc)
		return rc;
	rc = catalog_read(c, &place, entry, err);
	if (rc == -ENOENT || (!rc && entry->id != id))
		return error_set(err, -ESTALE, "it was removed or moved by another host");
	return rc;
}

/* Whether entries may be put into the directory. */
static int check_dir(struct catalog *c, uint64_t dir, struct error *err)
{
	struct catalog_entry entry;
	int rc;

	if (dir == NODE_ROOT)
		return 0;
	rc = read_id(c, dir, &entry, err);
	if (!rc && entry.type != NODE_DIRECTORY)
		rc = error_set(err, -ENOTDIR, "'%s' is no directory", entry.name);
	return rc;
}

static int not_empty(const struct catalog_entry *dir, struct error *err)
{
	return error_set(err, -ENOTEMPTY, "directory '%s' is not empty", dir->name);
}

/* Where listings lag what is listed may be gone, and what is there may be known here only. */
static int check_empty_by_asking(struct catalog *c, const struct catalog_entry *dir, struct error *err)
{
	struct listed_entries entries;
	int rc = catalog_load_dir(c, dir->id, &entries, err);

	if (!rc && entries.strangers)
		rc = not_empty(dir, err);
	for (size_t i = 0; i < entries.count && !rc; i++) {
		const struct listed_entry *e = &entries.list[i];

		if (e->rc == 0 || e->rc == -EBADMSG || e->rc == -EPROTONOSUPPORT)
			rc = not_empty(dir, err);
		else if (e->rc != -ENOENT)
			rc = error_set(err, e->rc, "%s", e->text ? e->text : strerror(-e->rc));
	}
	listed_entries_destroy(&entries);
	return rc;
}

/* 0, or -ENOTEMPTY. An entry that cannot be read counts too. */
static int check_empty(struct catalog *c, const struct catalog_entry *dir, struct error *err)
{
	char prefix[STORE_KEY_MAX + 1];
	int rc;

	if (catalog_listings_lag(c))
		return check_empty_by_asking(c, dir, err);
	entry_prefix(dir->id, prefix);
	rc = store_any(c->pool->store, prefix, err);
	return rc > 0 ? not_empty(dir, err) : rc;
}

/* The same, after taking away what renames have left over. */
static int tidy_and_check_empty(struct catalog *c, const struct catalog_entry *dir, struct error *err)
{
	int rc = catalog_refresh(c, dir->id, 0, err);

	return rc ? rc : check_empty(c, dir, err);
}

/* Removes the entry at `place` if it is still the one of `id`. -EAGAIN: it is another, or gone. */
static int remove_if_still(struct catalog *c, const struct entry_place *place, uint64_t id, struct error *err)
{
	struct catalog_entry there;
	int rc = entry_read(c->pool, place, &there, err);

	if (rc == -ENOENT || (!rc && there.id != id))
		return -EAGAIN;
	return rc ? rc : entry_remove(c->pool, place, err);
}

static int give_up(int rc, const char *name, struct error *err)
{
	return rc == -EAGAIN ? error_set(err, -EBUSY, "other hosts keep changing '%s'", name) : rc;
}

/* ---- creating ---------------------------------------------------------------------------------------------------- */

/* A create-only put of an entry. -EEXIST is not believed when it is this very entry that is there: a store repeats a put
 * whose answer was lost. Nor is success where another host's put may have been answered so too. */
static int put_new_entry(struct catalog *c, const struct catalog_entry *entry, struct error *err)
{
	struct entry_place place = entry_place(c->pool, entry->parent, entry->name);
	struct catalog_entry there;
	int put = entry_write(c->pool, entry, STORE_PUT_CREATE_ONLY, err), rc;

	if (put != -EEXIST && (put || c->pool->store->capabilities & STORE_CREATE_ONLY))
		return put;
	rc = entry_read(c->pool, &place, &there, err);
	if (rc == -ENOENT)
		return put ? -EAGAIN : 0; /* removed by another host */
	if (!rc && (there.id != entry->id || there.serial != entry->serial))
		rc = error_set(err, -EEXIST, "'%s' exists", entry->name);
	return rc;
}

static int create_once(struct catalog *c, const struct catalog_entry *entry, struct error *err)
{
	struct entry_place place = entry_place(c->pool, entry->parent, entry->name);
	struct catalog_entry there;
	int rc = put_new_entry(c, entry, err);

	if (rc == -EEXIST) {
		/* Perhaps only what a rename left over: reading it takes that away. */
		rc = catalog_read(c, &place, &there, err);
		if (rc == -ENOENT)
			return -EAGAIN;
		return rc ? rc : error_set(err, -EEXIST, "'%s' exists", entry->name);
	}
	if (rc)
		return rc;
	rc = check_dir(c, entry->parent, err);
	if (rc)
		(void)remove_if_still(c, &place, entry->id, NULL); /* the directory is gone, nobody can see it */
	return rc;
}

uint64_t catalog_new_id(void)
{
	uint64_t id;

	do
		randombytes_buf(&id, sizeof id);
	while (id <= NODE_ROOT);
	return id;
}

int catalog_create(struct catalog *c, struct catalog_entry *entry, struct error *err)
{
	entry->id = catalog_new_id();
	return catalog_create_as(c, entry, err);
}

int catalog_create_as(struct catalog *c, struct catalog_entry *entry, struct error *err)
{
	int rc = entry_name_check(entry->name, err);

	if (rc)
		return rc;
	if (entry->type == NODE_FILE && entry->grain_bytes == 0)
		entry->grain_bytes = c->pool->grain_bytes;
	entry->mode &= 07777;
	entry->serial = 1;
	entry->created_ns = entry->changed_ns = clock_wall_ns();
	pthread_mutex_lock(&c->changes);
	rc = check_dir(c, entry->parent, err);
	for (int try = 0; !rc && try < CHANGE_TRIES; try++) {
		rc = create_once(c, entry, err);
		if (rc != -EAGAIN)
			break;
		if (try + 1 < CHANGE_TRIES)
			rc = 0;
	}
	if (!rc)
		catalog_changed(c, NULL, entry);
	pthread_mutex_unlock(&c->changes);
	return give_up(rc, entry->name, err);
}

/* The entry is put before the mark is taken away: a crash in between leaves a mark of an image that lives. */
int catalog_restore(struct catalog *c, uint64_t id, uint64_t dir, const char *name, struct catalog_entry *entry,
                    struct error *err)
{
	struct trashed t;
	int rc = entry_name_check(name, err);

	if (rc)
		return rc;
	pthread_mutex_lock(&c->changes);
	rc = catalog_trash_get(c, id, &t, err);
	if (!rc)
		rc = check_dir(c, dir, err);
	if (!rc) {
		*entry = t.entry;
		entry->parent = dir;
		entry->serial++;
		entry->changed_ns = clock_wall_ns();
		snprintf(entry->name, sizeof entry->name, "%s", name);
		rc = create_once(c, entry, err);
	}
	if (!rc)
		rc = trash_unmark(c, id, err);
	if (!rc)
		catalog_changed(c, NULL, entry);
	pthread_mutex_unlock(&c->changes);
	return give_up(rc, name, err);
}

static bool is_new(const struct trashed *t)
{
	uint64_t now = clock_wall_ns();

	return (now > t->time_ns ? now - t->time_ns : t->time_ns - now) < CHANGE_NS;
}

/* Whether the entry, which has just been read, may be written again: -EAGAIN when another host is about to remove or replace it. */
static int check_unmarked(struct catalog *c, const struct catalog_entry *entry, struct error *err)
{
	struct trashed t;
	int rc;

	if (entry->type != NODE_FILE)
		return 0;
	rc = catalog_trash_get(c, entry->id, &t, err);
	if (!rc)
		return is_new(&t) ? -EAGAIN : 0;
	/* A damaged one has not been put just now, and tells nothing. */
	return rc == -ENOENT || rc == -EBADMSG ? 0 : rc;
}

static int update_once(struct catalog *c, const struct catalog_entry *entry, struct catalog_entry *now,
                       struct error *err)
{
	struct entry_place root = { 0 };
	int rc;

	if (entry->id == NODE_ROOT) {
		rc = entry_read(c->pool, &root, now, err);
		if (rc == -ENOENT)
			rc = catalog_get(c, NODE_ROOT, now);
	} else {
		rc = read_id(c, entry->id, now, err);
		if (rc == -ESTALE)
			rc = error_set(err, -ENOENT, "it was removed or moved by another host");
	}
	if (!rc)
		rc = check_unmarked(c, now, err);
	if (rc)
		return rc;
	now->mode = entry->mode & 07777;
	now->uid = entry->uid;
	now->gid = entry->gid;
	now->changed_ns = clock_wall_ns();
	now->serial++;
	return entry_write(c->pool, now, 0, err);
}

int catalog_update(struct catalog *c, const struct catalog_entry *entry, struct error *err)
{
	struct catalog_entry now = { 0 };
	int rc = -EAGAIN;

	pthread_mutex_lock(&c->changes);
	for (int try = 0; try < CHANGE_TRIES && rc == -EAGAIN; try++)
		rc = update_once(c, entry, &now, err);
	if (!rc)
		catalog_changed(c, NULL, &now);
	pthread_mutex_unlock(&c->changes);
	return rc == -EAGAIN
	               ? error_set(err, -EBUSY,
	                           "another host is removing or replacing '%s', or has just ended while it did: try "
	                           "again in a minute",
	                           now.name)
	               : rc;
}

/* ---- removing ---------------------------------------------------------------------------------------------------- */

static int remove_file(struct catalog *c, const struct entry_place *place, const struct catalog_entry *entry,
                       struct error *err)
{
	int rc = trash_mark(c, entry, err);

	/* Should it not be removed after all, the mark does no harm: see catalog_trash.c. */
	return rc ? rc : remove_if_still(c, place, entry->id, err);
}

static int remove_directory(struct catalog *c, const struct entry_place *place, const struct catalog_entry *entry,
                            struct error *err)
{
	struct catalog_entry back = *entry;
	int rc = tidy_and_check_empty(c, entry, err), restored;

	if (!rc)
		rc = remove_if_still(c, place, entry->id, err);
	if (rc)
		return rc;
	rc = check_empty(c, entry, err);
	if (rc == 0)
		return 0;
	/* Something was put into it meanwhile (or that cannot be told): the directory must stay. */
	back.serial++;
	restored = put_new_entry(c, &back, NULL);
	if (restored)
		return error_set(err, -EIO, "directory '%s' was removed while another host used it: %s", entry->name,
		                 strerror(-restored));
	return rc;
}

static int remove_once(struct catalog *c, const struct entry_place *place, const char *name, enum node_type type,
                       struct catalog_entry *entry, struct error *err)
{
	int rc = catalog_read(c, place, entry, err);

	if (rc == -ENOENT)
		return error_set(err, rc, "'%s' does not exist", name);
	if (rc)
		return rc;
	if (entry->type != type)
		return type == NODE_FILE ? error_set(err, -EISDIR, "'%s' is a directory", name)
		                         : error_set(err, -ENOTDIR, "'%s' is no directory", name);
	return type == NODE_FILE ? remove_file(c, place, entry, err) : remove_directory(c, place, entry, err);
}

int catalog_remove(struct catalog *c, uint64_t dir, const char *name, enum node_type type,
                   struct catalog_entry *removed, struct error *err)
{
	struct entry_place place;
	struct catalog_entry entry;
	int rc = entry_name_check(name, err);

	if (rc)
		return rc;
	place = entry_place(c->pool, dir, name);
	pthread_mutex_lock(&c->changes);
	for (int try = 0; try < CHANGE_TRIES; try++) {
		rc = remove_once(c, &place, name, type, &entry, err);
		if (rc != -EAGAIN)
			break;
	}
	if (!rc)
		catalog_changed(c, &place, NULL);
	pthread_mutex_unlock(&c->changes);
	if (!rc && removed)
		*removed = entry;
	return give_up(rc, name, err);
}

/* ---- renaming ---------------------------------------------------------------------------------------------------- */

struct renaming {
	struct entry_place from_place, to_place;
	struct catalog_entry from, to; /* to.id 0: there is none */
	struct catalog_entry made;     /* the new entry */
	struct catalog_entry replaced; /* by it, also by an earlier try; id 0: none */
	bool no_replace;
};

static int read_both(struct catalog *c, struct renaming *r, const char *name, struct error *err)
{
	int rc = catalog_read(c, &r->from_place, &r->from, err);

	if (rc)
		return rc == -ENOENT ? error_set(err, rc, "'%s' does not exist", name) : rc;
	rc = catalog_read(c, &r->to_place, &r->to, err);
	if (rc == -ENOENT) {
		memset(&r->to, 0, sizeof r->to);
		rc = 0;
	}
	return rc;
}

static int check_replaced(struct catalog *c, const struct renaming *r, struct error *err)
{
	if (r->to.id == 0 || (r->to.id == r->from.id && !r->no_replace))
		return 0;
	if (r->no_replace)
		return error_set(err, -EEXIST, "'%s' exists", r->to.name);
	if (r->from.type == NODE_DIRECTORY && r->to.type != NODE_DIRECTORY)
		return error_set(err, -ENOTDIR, "'%s' is no directory", r->to.name);
	if (r->from.type != NODE_DIRECTORY && r->to.type == NODE_DIRECTORY)
		return error_set(err, -EISDIR, "'%s' is a directory", r->to.name);
	return r->to.type == NODE_DIRECTORY ? tidy_and_check_empty(c, &r->to, err) : 0;
}

/* The directory `dir` is not `id`, nor below it. Every step is read anew. */
static int check_not_below(struct catalog *c, uint64_t dir, uint64_t id, struct error *err)
{
	struct catalog_entry entry;

	for (int depth = 0; dir != NODE_ROOT; depth++) {
		if (dir == id)
			return error_set(err, -EINVAL, "a directory cannot be moved below itself");
		if (depth == DEPTH_MAX)
			return error_set(err, -ELOOP, "directories are nested too deeply");
		int rc = read_id(c, dir, &entry, err);
		if (rc)
			return rc;
		dir = entry.parent;
	}
	return 0;
}

/* Puts the new entry where there was none. */
static int put_free(struct catalog *c, struct renaming *r, struct error *err)
{
	int rc = put_new_entry(c, &r->made, err);

	if (rc == -EEXIST)
		return r->no_replace ? rc : -EAGAIN;
	if (rc)
		return rc;
	rc = check_dir(c, r->made.parent, err);
	if (rc)
		(void)remove_if_still(c, &r->to_place, r->made.id, NULL); /* the directory is gone, nobody can see it */
	return rc;
}

/* The directory that was replaced was empty. If something was put into it since, it must come back. */
static int check_nothing_hidden(struct catalog *c, const struct renaming *r, struct error *err)
{
	struct catalog_entry back = r->to;
	int rc = check_empty(c, &r->to, err), restored;

	if (rc == 0)
		return 0;
	back.serial++;
	restored = entry_write(c->pool, &back, 0, NULL);
	if (restored)
		return error_set(err, -EIO, "directory '%s' was replaced while another host used it: %s", back.name,
		                 strerror(-restored));
	return rc;
}

/* Puts the new entry over another one, whose image is marked first. */
static int put_over(struct catalog *c, struct renaming *r, struct error *err)
{
	struct catalog_entry there;
	int rc = 0;

	if (r->to.type == NODE_FILE && r->to.id != r->from.id)
		rc = trash_mark(c, &r->to, err);
	if (!rc)
		rc = entry_read(c->pool, &r->to_place, &there, err);
	if (rc == -ENOENT || (!rc && (there.id != r->to.id || there.serial != r->to.serial)))
		return -EAGAIN;
	if (!rc)
		rc = entry_write(c->pool, &r->made, 0, err);
	return rc || r->to.type == NODE_FILE || r->to.id == r->from.id ? rc : check_nothing_hidden(c, r, err);
}

/* The old name is all that the image has when another host has written to, or removed, the new one meanwhile: -EAGAIN. */
static int remove_old_name(struct catalog *c, const struct renaming *r, struct error *err)
{
	struct catalog_entry there;
	int rc = entry_read(c->pool, &r->to_place, &there, err);

	if (rc == -ENOENT || (!rc && there.id != r->made.id))
		return -EAGAIN;
	if (!rc)
		rc = remove_if_still(c, &r->from_place, r->made.id, err);
	return rc == -EAGAIN ? 0 : rc; /* gone already, or another image's */
}

static int rename_once(struct catalog *c, struct renaming *r, const char *name, struct error *err)
{
	int rc = read_both(c, r, name, err);

	if (rc)
		return rc;
	rc = check_replaced(c, r, err);
	if (!rc)
		rc = check_dir(c, r->made.parent, err);
	if (!rc && r->from.type == NODE_DIRECTORY)
		rc = check_not_below(c, r->made.parent, r->from.id, err);
	if (rc)
		return rc;

	struct catalog_entry made = r->from;
	made.parent = r->made.parent;
	memcpy(made.name, r->made.name, sizeof made.name);
	made.serial = r->from.serial + 1;
	made.changed_ns = clock_wall_ns();
	r->made = made;

	rc = r->to.id ? put_over(c, r, err) : put_free(c, r, err);
	if (rc)
		return rc;
	if (r->to.id && r->to.id != made.id)
		r->replaced = r->to;
	/* A mark that a crash left on the image: it lives, and has just been given a name. */
	if (made.type == NODE_FILE)
		rc = trash_unmark(c, made.id, err);
	if (!rc)
		rc = remove_old_name(c, r, err);
	if (rc && rc != -EAGAIN) {
		catalog_changed(c, NULL, &made);
		return error_prefix(err, rc, "renamed to '%s', but the old name '%s' is still there too", made.name,
		                    name);
	}
	return rc;
}

int catalog_rename(struct catalog *c, uint64_t dir, const char *name, uint64_t new_dir, const char *new_name,
                   bool no_replace, struct catalog_entry *replaced, struct error *err)
{
	struct renaming r = { .no_replace = no_replace };
	int rc = entry_name_check(name, err);

	if (!rc)
		rc = entry_name_check(new_name, err);
	if (rc)
		return rc;
	if (replaced)
		memset(replaced, 0, sizeof *replaced);
	r.from_place = entry_place(c->pool, dir, name);
	r.to_place = entry_place(c->pool, new_dir, new_name);
	if (entry_place_equal(&r.from_place, &r.to_place)) {
		rc = catalog_lookup(c, dir, name, 0, &r.from, err);
		return !rc && no_replace ? error_set(err, -EEXIST, "'%s' exists", name) : rc;
	}
	pthread_mutex_lock(&c->changes);
	for (int try = 0; try < CHANGE_TRIES; try++) {
		r.made.parent = new_dir;
		snprintf(r.made.name, sizeof r.made.name, "%s", new_name);
		rc = rename_once(c, &r, name, err);
		if (rc != -EAGAIN)
			break;
	}
	if (!rc)
		catalog_changed(c, &r.from_place, &r.made);
	pthread_mutex_unlock(&c->changes);
	if (!rc && replaced && r.replaced.id)
		*replaced = r.replaced;
	return give_up(rc, new_name, err);
}
