/* SPDX-License-Identifier: GPL-3.0-only */
/* catalog_cache.c: what a catalog remembers in memory. */
#include "image/catalog_cache.h"

#include "base/bytes.h"
#include "base/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct node {
	struct cached_entry cached;
	struct cached_dir *dir;
	TAILQ_ENTRY(node) link;
};

struct cached_dir {
	uint64_t id;
	uint64_t listed_ns;
	TAILQ_HEAD(, node) nodes;
};

struct catalog_cache {
	struct hash *places; /* place_key() -> node; of two places with one key the later is remembered */
	struct hash *ids;    /* id -> the node that counts */
	struct hash *dirs;   /* id -> cached_dir */
};

static uint64_t place_key(const struct entry_place *place)
{
	return get_le64(place->hash) ^ place->dir * 0x9e3779b97f4a7c15u;
}

struct catalog_cache *catalog_cache_new(void)
{
	struct catalog_cache *cache = calloc(1, sizeof *cache);

	if (!cache)
		return NULL;
	cache->places = hash_new();
	cache->ids = hash_new();
	cache->dirs = hash_new();
	if (!cache->places || !cache->ids || !cache->dirs) {
		catalog_cache_free(cache);
		return NULL;
	}
	return cache;
}

void catalog_cache_free(struct catalog_cache *cache)
{
	size_t cursor = 0;
	uint64_t key;
	void *value;

	if (!cache)
		return;
	while (cache->places && (value = hash_next(cache->places, &cursor, &key)))
		free(value);
	cursor = 0;
	while (cache->dirs && (value = hash_next(cache->dirs, &cursor, &key)))
		free(value);
	hash_free(cache->places);
	hash_free(cache->ids);
	hash_free(cache->dirs);
	free(cache);
}

static struct cached_dir *dir_get(struct catalog_cache *cache, uint64_t id)
{
	struct cached_dir *dir = hash_get(cache->dirs, id);

	if (dir)
		return dir;
	dir = calloc(1, sizeof *dir);
	if (!dir)
		return NULL;
	dir->id = id;
	TAILQ_INIT(&dir->nodes);
	if (hash_put(cache->dirs, id, dir)) {
		free(dir);
		return NULL;
	}
	return dir;
}

static struct node *node_find(struct catalog_cache *cache, const struct entry_place *place)
{
	struct node *n = hash_get(cache->places, place_key(place));

	return n && entry_place_equal(&n->cached.place, place) ? n : NULL;
}

static void node_drop(struct catalog_cache *cache, struct node *n)
{
	hash_remove(cache->places, place_key(&n->cached.place));
	if (hash_get(cache->ids, n->cached.entry.id) == n)
		hash_remove(cache->ids, n->cached.entry.id);
	TAILQ_REMOVE(&n->dir->nodes, n, link);
	free(n);
}

static struct node *node_make(struct catalog_cache *cache, const struct entry_place *place)
{
	struct cached_dir *dir = dir_get(cache, place->dir);
	struct node *n = hash_get(cache->places, place_key(place));

	if (!dir)
		return NULL;
	if (n)
		node_drop(cache, n);
	n = calloc(1, sizeof *n);
	if (!n)
		return NULL;
	n->cached.place = *place;
	n->dir = dir;
	if (hash_put(cache->places, place_key(place), n)) {
		free(n);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&dir->nodes, n, link);
	return n;
}

int catalog_cache_put(struct catalog_cache *cache, const struct catalog_entry *entry, const struct entry_place *place,
                      uint64_t version, uint64_t read_ns, struct entry_place *rival)
{
	struct node *n = node_find(cache, place), *other;

	memset(rival, 0, sizeof *rival);
	if (!n)
		n = node_make(cache, place);
	if (!n) {
		catalog_cache_unlist(cache, place->dir);
		return -ENOMEM;
	}
	if (hash_get(cache->ids, n->cached.entry.id) == n && n->cached.entry.id != entry->id)
		hash_remove(cache->ids, n->cached.entry.id);
	n->cached.entry = *entry;
	n->cached.version = version;
	n->cached.read_ns = read_ns;
	other = hash_get(cache->ids, entry->id);
	if (other == n)
		return 0;
	if (other)
		*rival = other->cached.place;
	if (other && entry_counts_over(&other->cached.entry, &other->cached.place, entry, place))
		return 0;
	if (hash_put(cache->ids, entry->id, n)) {
		node_drop(cache, n);
		catalog_cache_unlist(cache, place->dir);
		return -ENOMEM;
	}
	return 0;
}

void catalog_cache_drop(struct catalog_cache *cache, const struct entry_place *place)
{
	struct node *n = node_find(cache, place);

	if (n)
		node_drop(cache, n);
}

const struct cached_entry *catalog_cache_find(struct catalog_cache *cache, const struct entry_place *place)
{
	struct node *n = node_find(cache, place);

	return n ? &n->cached : NULL;
}

const struct cached_entry *catalog_cache_find_id(struct catalog_cache *cache, uint64_t id)
{
	struct node *n = hash_get(cache->ids, id);

	return n ? &n->cached : NULL;
}

int catalog_cache_listed(struct catalog_cache *cache, uint64_t dir, uint64_t listed_ns)
{
	struct cached_dir *d = dir_get(cache, dir);
	struct node *n, *next;

	if (!d)
		return -ENOMEM;
	d->listed_ns = listed_ns;
	for (n = TAILQ_FIRST(&d->nodes); n; n = next) {
		next = TAILQ_NEXT(n, link);
		if (n->cached.read_ns < listed_ns)
			node_drop(cache, n);
	}
	return 0;
}

void catalog_cache_unlist(struct catalog_cache *cache, uint64_t dir)
{
	struct cached_dir *d = hash_get(cache->dirs, dir);

	if (d)
		d->listed_ns = 0;
}

uint64_t catalog_cache_listed_ns(struct catalog_cache *cache, uint64_t dir)
{
	struct cached_dir *d = hash_get(cache->dirs, dir);

	return d ? d->listed_ns : 0;
}

static size_t count_nodes(const struct cached_dir *d)
{
	const struct node *n;
	size_t count = 0;

	if (d)
		TAILQ_FOREACH(n, &d->nodes, link)
			count++;
	return count;
}

int catalog_cache_places(struct catalog_cache *cache, uint64_t dir, struct entry_place **places, size_t *count)
{
	struct cached_dir *d = hash_get(cache->dirs, dir);
	struct node *n;

	*count = 0;
	*places = malloc((count_nodes(d) + 1) * sizeof **places);
	if (!*places)
		return -ENOMEM;
	if (d)
		TAILQ_FOREACH(n, &d->nodes, link)
			(*places)[(*count)++] = n->cached.place;
	return 0;
}

int catalog_cache_copy(struct catalog_cache *cache, uint64_t dir, struct catalog_entry **entries, size_t *count)
{
	struct cached_dir *d = hash_get(cache->dirs, dir);
	struct node *n;

	*count = 0;
	*entries = NULL;
	if (!d)
		return 0;
	*entries = malloc((count_nodes(d) + 1) * sizeof **entries);
	if (!*entries)
		return -ENOMEM;
	TAILQ_FOREACH(n, &d->nodes, link)
		if (hash_get(cache->ids, n->cached.entry.id) == n)
			(*entries)[(*count)++] = n->cached.entry;
	return 0;
}
