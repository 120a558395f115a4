/* SPDX-License-Identifier: GPL-3.0-only */
/* catalog.c: reading the tree of names: lookups, listings, and which of two entries for one image exists.
 *
 * The store is the truth, memory a short-lived copy of it. Anything that removes an object of the store has read that
 * object, and what makes it superfluous, immediately before.
 */
#include "image/catalog_private.h"

#include "base/clock.h"
#include "base/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LIST_AGE_MS 1000u
#define LIST_TRIES 3
#define READ_TRIES 32 /* when this host changes names meanwhile */

struct catalog *catalog_new(struct pool *pool, struct map_db *db)
{
	struct catalog *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->cache = catalog_cache_new();
	if (!c->cache || pthread_mutex_init(&c->mutex, NULL))
		goto fail;
	if (pthread_mutex_init(&c->changes, NULL)) {
		pthread_mutex_destroy(&c->mutex);
		goto fail;
	}
	c->pool = pool;
	c->db = db;
	c->root = (struct catalog_entry){
		.id = NODE_ROOT,
		.type = NODE_DIRECTORY,
		.mode = 0755,
		.created_ns = pool->created_ns,
		.changed_ns = pool->created_ns,
	};
	return c;
fail:
	catalog_cache_free(c->cache);
	free(c);
	return NULL;
}

void catalog_free(struct catalog *c)
{
	if (!c)
		return;
	pthread_mutex_destroy(&c->changes);
	pthread_mutex_destroy(&c->mutex);
	catalog_cache_free(c->cache);
	free(c);
}

void catalog_set_read_only(struct catalog *c)
{
	c->read_only = true;
}

static bool fresh(uint64_t read_ns, uint64_t max_age_ms)
{
	return read_ns != 0 && (clock_monotonic_ns() - read_ns) / 1000000 < max_age_ms;
}

/* ---- two entries for one id -------------------------------------------------------------------------------------- */

static int read_place(struct catalog *c, const struct entry_place *place, struct catalog_entry *entry, bool *exists,
                      struct error *err)
{
	int rc = entry_read(c->pool, place, entry, err);

	*exists = rc == 0;
	return rc == -ENOENT ? 0 : rc;
}

/* No longer says anything about the place, nor that there is nothing. */
static void forget(struct catalog *c, const struct entry_place *place)
{
	pthread_mutex_lock(&c->mutex);
	catalog_cache_drop(c->cache, place);
	catalog_cache_unlist(c->cache, place->dir);
	pthread_mutex_unlock(&c->mutex);
}

/* Both places were seen to hold the same id. Asks the store; where it still is so, removes the one that does not count, or where nothing is to
 * be written only forgets it. 1: that was `a`. */
static int settle(struct catalog *c, const struct entry_place *a, const struct entry_place *b, struct error *err)
{
	struct catalog_entry at_a, at_b;
	bool a_exists, b_exists;
	const struct entry_place *loser;
	int rc = read_place(c, a, &at_a, &a_exists, err);

	if (!rc)
		rc = read_place(c, b, &at_b, &b_exists, err);
	if (rc)
		return rc;
	if (a_exists && b_exists && at_a.id == at_b.id) {
		loser = entry_counts_over(&at_a, a, &at_b, b) ? b : a;
		/* As a rename does, which this one completes. */
		if (at_a.type == NODE_FILE && !c->read_only)
			rc = trash_unmark(c, at_a.id, err);
		if (!rc && !c->read_only)
			rc = entry_remove(c->pool, loser, err);
		if (rc)
			return rc;
		forget(c, loser);
		return loser == a;
	}
	/* What is not there, or is something else now, is read anew when it is asked for. */
	if (!a_exists || (b_exists && at_a.id != at_b.id))
		forget(c, a);
	if (!b_exists || (a_exists && at_a.id != at_b.id))
		forget(c, b);
	return 0;
}

/* ---- one entry --------------------------------------------------------------------------------------------------- */

/* False when this host has changed names since `generation`. */
static bool remember(struct catalog *c, const struct entry_place *place, const struct catalog_entry *entry,
                     uint64_t read_ns, uint64_t generation, struct entry_place *rival, int *rc)
{
	bool current;

	*rc = 0;
	memset(rival, 0, sizeof *rival);
	pthread_mutex_lock(&c->mutex);
	current = c->generation == generation;
	if (current && entry)
		*rc = catalog_cache_put(c->cache, entry, place, 0, read_ns, rival);
	else if (current)
		catalog_cache_drop(c->cache, place);
	pthread_mutex_unlock(&c->mutex);
	return current;
}

/* -EAGAIN: this host changed names meanwhile, or the entry was one of two for one id: read it again. */
static int read_once(struct catalog *c, const struct entry_place *place, struct catalog_entry *entry, struct error *err)
{
	uint64_t read_ns = clock_monotonic_ns(), generation;
	struct entry_place rival;
	int rc, kept;

	pthread_mutex_lock(&c->mutex);
	generation = c->generation;
	pthread_mutex_unlock(&c->mutex);
	rc = entry_read(c->pool, place, entry, err);
	if (rc && rc != -ENOENT)
		return rc;
	if (!remember(c, place, rc ? NULL : entry, read_ns, generation, &rival, &kept))
		return -EAGAIN;
	if (kept)
		return kept;
	if (rival.dir == 0)
		return rc;
	rc = settle(c, place, &rival, err);
	if (rc < 0)
		return error_prefix(err, rc, "it has two names, and which one is left over cannot be told");
	/* What was not removed would be met again. */
	return rc && c->read_only ? -ENOENT : -EAGAIN;
}

int catalog_read(struct catalog *c, const struct entry_place *place, struct catalog_entry *entry, struct error *err)
{
	int rc = -EAGAIN;

	for (int try = 0; try < READ_TRIES && rc == -EAGAIN; try++)
		rc = read_once(c, place, entry, err);
	return rc == -EAGAIN ? error_set(err, -EBUSY, "names are being changed too fast to read one") : rc;
}

static int read_root(struct catalog *c, struct error *err)
{
	struct entry_place place = { 0 };
	struct catalog_entry root;
	uint64_t generation;
	int rc;

	pthread_mutex_lock(&c->mutex);
	generation = c->generation;
	pthread_mutex_unlock(&c->mutex);
	rc = entry_read(c->pool, &place, &root, err);
	if (rc == -ENOENT)
		return 0;
	if (rc)
		return rc;
	pthread_mutex_lock(&c->mutex);
	if (c->generation == generation)
		c->root = root;
	pthread_mutex_unlock(&c->mutex);
	return 0;
}

/* Answers from memory: 0, -ENOENT (known not to exist), or -EAGAIN. */
static int recall(struct catalog *c, const struct entry_place *place, uint64_t max_age_ms, struct catalog_entry *entry)
{
	const struct cached_entry *cached;
	int rc = -EAGAIN;

	if (max_age_ms == 0)
		return rc;
	pthread_mutex_lock(&c->mutex);
	cached = catalog_cache_find(c->cache, place);
	if (cached && fresh(cached->read_ns, max_age_ms) &&
	    catalog_cache_find_id(c->cache, cached->entry.id) == cached) {
		*entry = cached->entry;
		rc = 0;
	} else if (!cached && !catalog_listings_lag(c) &&
	           fresh(catalog_cache_listed_ns(c->cache, place->dir), max_age_ms)) {
		rc = -ENOENT;
	}
	pthread_mutex_unlock(&c->mutex);
	return rc;
}

int catalog_lookup(struct catalog *c, uint64_t dir, const char *name, uint64_t max_age_ms, struct catalog_entry *entry,
                   struct error *err)
{
	struct entry_place place;
	int rc = entry_name_check(name, err);

	if (rc)
		return rc;
	place = entry_place(c->pool, dir, name);
	rc = recall(c, &place, max_age_ms, entry);
	if (rc == -EAGAIN)
		rc = catalog_read(c, &place, entry, err);
	return rc == -ENOENT ? error_set(err, rc, "'%s' does not exist", name) : rc;
}

int catalog_remembered(struct catalog *c, uint64_t dir, const char *name, struct catalog_entry *entry)
{
	struct entry_place place = entry_place(c->pool, dir, name);
	const struct cached_entry *cached;

	pthread_mutex_lock(&c->mutex);
	cached = catalog_cache_find(c->cache, &place);
	if (cached)
		*entry = cached->entry;
	pthread_mutex_unlock(&c->mutex);
	return cached ? 0 : -ENOENT;
}

int catalog_get(struct catalog *c, uint64_t id, struct catalog_entry *entry)
{
	const struct cached_entry *cached;
	int rc = 0;

	pthread_mutex_lock(&c->mutex);
	cached = catalog_cache_find_id(c->cache, id);
	if (id == NODE_ROOT)
		*entry = c->root;
	else if (cached)
		*entry = cached->entry;
	else
		rc = -ENOENT;
	pthread_mutex_unlock(&c->mutex);
	return rc;
}

void catalog_changed(struct catalog *c, const struct entry_place *gone, const struct catalog_entry *entry)
{
	struct entry_place place, rival;
	char key[STORE_KEY_MAX + 1];

	if (gone && c->db) {
		entry_key(gone, key);
		(void)map_db_cache_remove(c->db, key); /* only a cache: its version would not fit any more */
	}
	pthread_mutex_lock(&c->mutex);
	c->generation++;
	if (gone)
		catalog_cache_drop(c->cache, gone);
	if (entry && entry->parent == 0) {
		c->root = *entry;
	} else if (entry) {
		place = entry_place(c->pool, entry->parent, entry->name);
		/* Short memory: it is then read from the store when it is asked for. */
		(void)catalog_cache_put(c->cache, entry, &place, 0, clock_monotonic_ns(), &rival);
	}
	pthread_mutex_unlock(&c->mutex);
}

/* ---- a directory ------------------------------------------------------------------------------------------------- */

struct rivals {
	struct entry_place (*pairs)[2];
	size_t count;
};

static int note_rivals(struct rivals *r, const struct entry_place *a, const struct entry_place *b)
{
	void *grown = realloc(r->pairs, (r->count + 1) * sizeof *r->pairs);

	if (!grown)
		return -ENOMEM;
	r->pairs = grown;
	r->pairs[r->count][0] = *a;
	r->pairs[r->count++][1] = *b;
	return 0;
}

/* Remembers a listing. An entry that cannot be read must not hide the others, but a store that fails must not make a
 * directory look shorter than it is. */
static int take_listing(struct catalog *c, uint64_t dir, const struct listed_entries *entries, uint64_t listed_ns,
                        bool complete, struct rivals *rivals, struct error *err)
{
	struct entry_place rival;
	bool doubtful = entries->strangers;
	int rc = 0;

	for (size_t i = 0; i < entries->count && !rc; i++) {
		const struct listed_entry *e = &entries->list[i];

		if (e->rc == 0)
			rc = catalog_cache_put(c->cache, &e->entry, &e->place, e->version, listed_ns, &rival);
		else if (e->rc != -ENOENT && e->rc != -EBADMSG && e->rc != -EPROTONOSUPPORT)
			rc = error_set(err, e->rc, "%s", e->text ? e->text : strerror(-e->rc));
		if (!rc && e->rc == 0 && rival.dir)
			rc = note_rivals(rivals, &e->place, &rival);
		doubtful |= e->rc == -EBADMSG || e->rc == -EPROTONOSUPPORT || (e->rc == -ENOENT && e->version);
	}
	if (!rc && complete)
		rc = catalog_cache_listed(c->cache, dir, listed_ns);
	/* One of these may be another entry, whose key was damaged on its way: a name that is not known is not known to be none. */
	if (!rc && complete && doubtful)
		catalog_cache_unlist(c->cache, dir);
	return rc;
}

/* Once in the life of a catalog: directories are listed every second. */
static void warn_of_damage(struct catalog *c, const struct listed_entries *entries)
{
	for (size_t i = 0; i < entries->count; i++) {
		const struct listed_entry *e = &entries->list[i];
		bool first;

		if (e->rc != -EBADMSG && e->rc != -EPROTONOSUPPORT)
			continue;
		pthread_mutex_lock(&c->mutex);
		first = !c->damage_told;
		c->damage_told = true;
		pthread_mutex_unlock(&c->mutex);
		if (first)
			report_warning("a directory entry is left out, and maybe more (garner verify shows all): %s",
			               e->text ? e->text : strerror(-e->rc));
		return;
	}
}

/* One listing. -EAGAIN when this host changed names meanwhile. */
static int refresh_once(struct catalog *c, uint64_t dir, struct error *err)
{
	struct listed_entries entries;
	struct rivals rivals = { 0 };
	uint64_t listed_ns = clock_monotonic_ns(), generation;
	int rc;

	pthread_mutex_lock(&c->mutex);
	generation = c->generation;
	pthread_mutex_unlock(&c->mutex);
	rc = catalog_load_dir(c, dir, &entries, err);
	if (!rc) {
		pthread_mutex_lock(&c->mutex);
		if (c->generation != generation)
			rc = -EAGAIN;
		else
			rc = take_listing(c, dir, &entries, listed_ns, true, &rivals, err);
		pthread_mutex_unlock(&c->mutex);
	}
	if (!rc)
		warn_of_damage(c, &entries);
	for (size_t i = 0; i < rivals.count && rc >= 0; i++)
		rc = settle(c, &rivals.pairs[i][0], &rivals.pairs[i][1], err);
	free(rivals.pairs);
	listed_entries_destroy(&entries);
	return rc < 0 ? rc : 0;
}

int catalog_refresh(struct catalog *c, uint64_t dir, uint64_t max_age_ms, struct error *err)
{
	bool known;
	int rc;

	pthread_mutex_lock(&c->mutex);
	known = max_age_ms && fresh(catalog_cache_listed_ns(c->cache, dir), max_age_ms);
	pthread_mutex_unlock(&c->mutex);
	if (known)
		return 0;
	rc = dir == NODE_ROOT ? read_root(c, err) : 0;
	if (rc)
		return rc;
	rc = -EAGAIN;
	for (int try = 0; try < LIST_TRIES && rc == -EAGAIN; try++)
		rc = refresh_once(c, dir, err);
	if (rc != -EAGAIN)
		return rc;
	/* Names change faster here than they can be listed: keep the changes waiting for once. Whoever makes one and lists in
	 * between does not get here, since nobody else can be changing names then. */
	pthread_mutex_lock(&c->changes);
	rc = refresh_once(c, dir, err);
	pthread_mutex_unlock(&c->changes);
	return rc;
}

int catalog_list(struct catalog *c, uint64_t dir, int (*each)(void *arg, const struct catalog_entry *entry), void *arg,
                 struct error *err)
{
	struct catalog_entry *entries;
	size_t count;
	int rc = catalog_refresh(c, dir, LIST_AGE_MS, err);

	if (rc)
		return rc;
	pthread_mutex_lock(&c->mutex);
	rc = catalog_cache_copy(c->cache, dir, &entries, &count);
	pthread_mutex_unlock(&c->mutex);
	if (rc)
		return rc;
	for (size_t i = 0; i < count && !rc; i++)
		rc = each(arg, &entries[i]);
	free(entries);
	return rc;
}
