/* SPDX-License-Identifier: GPL-3.0-only */
/* catalog_load.c: many entries at once: a listing, and a get for each entry whose version is not known already.
 *
 * What the store has is kept, sealed as it is, in the cache directory's database under the version that the listing
 * showed. An entry that is replaced between the listing and its get is kept under the older version, so that the next
 * listing shows another one and it is got again.
 *
 * Where listings lag a version says nothing, and nothing is kept under it.
 */
#include "image/catalog_private.h"
#include "image/flight.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GETS_MAX 16u

struct listing {
	struct listed_entries *entries;
	size_t room;
};

static int add_place(struct listing *l, const struct entry_place *place, uint64_t version)
{
	if (l->entries->count == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		void *grown = realloc(l->entries->list, room * sizeof *l->entries->list);
		if (!grown)
			return -ENOMEM;
		l->entries->list = grown;
		l->room = room;
	}
	l->entries->list[l->entries->count++] = (struct listed_entry){ .place = *place, .version = version };
	return 0;
}

static int add_listed(void *arg, const struct store_entry *stored)
{
	struct listing *l = arg;
	struct entry_place place;

	if (!entry_key_parse(stored->key, &place)) {
		l->entries->strangers = true;
		return 0;
	}
	return add_place(l, &place, stored->version);
}

static int by_place(const void *a, const void *b)
{
	const struct entry_place *of_a = &((const struct listed_entry *)a)->place;
	const struct entry_place *of_b = &((const struct listed_entry *)b)->place;

	return memcmp(of_a->hash, of_b->hash, sizeof of_a->hash);
}

/* What is remembered of the directory and was not listed. */
static int add_remembered(struct catalog *c, uint64_t dir, struct listing *l)
{
	size_t listed = l->entries->count, count;
	struct entry_place *places;
	int rc;

	pthread_mutex_lock(&c->mutex);
	rc = catalog_cache_places(c->cache, dir, &places, &count);
	pthread_mutex_unlock(&c->mutex);
	if (rc)
		return rc;
	/* As the keys were, unless the store mixed them up. */
	if (listed)
		qsort(l->entries->list, listed, sizeof *l->entries->list, by_place);
	for (size_t i = 0; i < count && !rc; i++) {
		struct listed_entry wanted = { .place = places[i] };

		if (!listed || !bsearch(&wanted, l->entries->list, listed, sizeof wanted, by_place))
			rc = add_place(l, &places[i], 0);
	}
	free(places);
	return rc;
}

void listed_entries_destroy(struct listed_entries *entries)
{
	for (size_t i = 0; i < entries->count; i++)
		free(entries->list[i].text);
	free(entries->list);
	*entries = (struct listed_entries){ 0 };
}

/* From memory or the database. */
static bool known(struct catalog *c, struct listed_entry *e, const char *key)
{
	const struct cached_entry *cached;
	uint64_t version;
	void *bytes;
	size_t len;
	bool found;

	if (e->version == 0 || catalog_listings_lag(c))
		return false;
	pthread_mutex_lock(&c->mutex);
	cached = catalog_cache_find(c->cache, &e->place);
	found = cached && cached->version == e->version;
	if (found)
		e->entry = cached->entry;
	pthread_mutex_unlock(&c->mutex);
	if (found || !c->db || map_db_cache_get(c->db, key, &version, &bytes, &len))
		return found;
	found = version == e->version && entry_decode(c->pool, &e->place, bytes, len, &e->entry, NULL) == 0;
	free(bytes);
	return found;
}

/* ---- gets -------------------------------------------------------------------------------------------------------- */

struct entry_get {
	struct listed_entry *into;
	struct flight *flight;
	int status;
	size_t len;
	uint8_t *bytes;
	char *text;
};

static void got(void *arg, int status, uint64_t length, const struct error *err)
{
	struct entry_get *g = arg;
	uint8_t *fitting;

	g->status = status;
	g->len = status ? 0 : (size_t)length;
	if (status && err)
		g->text = strdup(error_text(err));
	/* Many may wait to be decoded: keep only what is used. */
	fitting = realloc(g->bytes, g->len ? g->len : 1);
	if (fitting)
		g->bytes = fitting;
	flight_end(g->flight, 0, NULL);
}

static void decode(struct catalog *c, struct entry_get *g)
{
	struct listed_entry *e = g->into;
	char key[STORE_KEY_MAX + 1];
	struct error err = { 0 };

	e->rc = g->status;
	e->text = g->text;
	g->text = NULL;
	if (e->rc)
		return;
	e->rc = entry_decode(c->pool, &e->place, g->bytes, g->len, &e->entry, &err);
	if (e->rc == -EBADMSG) {
		/* Perhaps it was only damaged on its way. What is kept below are the bytes that came: not these. */
		e->rc = entry_read(c->pool, &e->place, &e->entry, &err);
		if (!e->rc)
			return;
	}
	if (e->rc) {
		e->text = strdup(error_text(&err));
		return;
	}
	entry_key(&e->place, key);
	/* Best effort: what is not kept is got again. */
	if (c->db && e->version && !catalog_listings_lag(c))
		(void)map_db_cache_put(c->db, key, e->version, g->bytes, g->len);
}

static int get_all(struct catalog *c, struct entry_get *gets, size_t count, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct flight flight;
	int rc = flight_init(&flight);

	if (rc)
		return rc;
	for (size_t i = 0; i < count && !rc; i++) {
		gets[i].bytes = malloc(ENTRY_BYTES_MAX);
		if (!gets[i].bytes) {
			rc = -ENOMEM;
			break;
		}
		gets[i].flight = &flight;
		entry_key(&gets[i].into->place, key);
		flight_begin(&flight, GETS_MAX);
		store_get(c->pool->store, key, 0, gets[i].bytes, ENTRY_BYTES_MAX, 0, got, &gets[i]);
	}
	int waited = flight_wait(&flight, err);
	flight_destroy(&flight);
	return rc ? rc : waited;
}

/* Gets what is not known. */
static int fill_in(struct catalog *c, struct listed_entries *entries, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct entry_get *gets;
	size_t count = 0;
	int rc;

	if (entries->count == 0)
		return 0;
	gets = calloc(entries->count, sizeof *gets);
	if (!gets)
		return -ENOMEM;
	for (size_t i = 0; i < entries->count; i++) {
		entry_key(&entries->list[i].place, key);
		if (!known(c, &entries->list[i], key))
			gets[count++].into = &entries->list[i];
	}
	rc = get_all(c, gets, count, err);
	for (size_t i = 0; i < count; i++) {
		if (!rc)
			decode(c, &gets[i]);
		free(gets[i].bytes);
		free(gets[i].text);
	}
	free(gets);
	return rc;
}

bool catalog_listings_lag(const struct catalog *c)
{
	return !(c->pool->store->capabilities & STORE_LIST_CONSISTENT);
}

int catalog_load(struct catalog *c, const char *prefix, struct listed_entries *entries, struct error *err)
{
	struct listing listing = { .entries = entries };
	int rc;

	*entries = (struct listed_entries){ 0 };
	rc = store_list_each(c->pool->store, prefix, NULL, add_listed, &listing, err);
	return rc ? rc : fill_in(c, entries, err);
}

int catalog_load_dir(struct catalog *c, uint64_t dir, struct listed_entries *entries, struct error *err)
{
	struct listing listing = { .entries = entries };
	char prefix[STORE_KEY_MAX + 1];
	int rc;

	*entries = (struct listed_entries){ 0 };
	entry_prefix(dir, prefix);
	rc = store_list_each(c->pool->store, prefix, NULL, add_listed, &listing, err);
	if (!rc && catalog_listings_lag(c))
		rc = add_remembered(c, dir, &listing);
	return rc ? rc : fill_in(c, entries, err);
}
