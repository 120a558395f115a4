/* SPDX-License-Identifier: GPL-3.0-only */
/* catalog_load.c: many entries at once: a listing, and a get for each entry whose version is not known already.
 *
 * What the store has is kept, sealed as it is, in the cache directory's database under the version that the listing
 * showed. An entry that is replaced between the listing and its get is kept under the older version, so that the next
 * listing shows another one and it is got again.
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

static int add_listed(void *arg, const struct store_entry *stored)
{
	struct listing *l = arg;
	struct entry_place place;

	if (!entry_key_parse(stored->key, &place))
		return 0;
	if (l->entries->count == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		void *grown = realloc(l->entries->list, room * sizeof *l->entries->list);
		if (!grown)
			return -ENOMEM;
		l->entries->list = grown;
		l->room = room;
	}
	l->entries->list[l->entries->count++] = (struct listed_entry){ .place = place, .version = stored->version };
	return 0;
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

	if (e->version == 0)
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
	if (e->rc) {
		e->text = strdup(error_text(&err));
		return;
	}
	entry_key(&e->place, key);
	/* Best effort: what is not kept is got again. */
	if (c->db && e->version)
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
		store_get(c->pool->store, key, 0, gets[i].bytes, ENTRY_BYTES_MAX, got, &gets[i]);
	}
	int waited = flight_wait(&flight, err);
	flight_destroy(&flight);
	return rc ? rc : waited;
}

int catalog_load(struct catalog *c, const char *prefix, struct listed_entries *entries, struct error *err)
{
	struct listing listing = { .entries = entries };
	struct entry_get *gets = NULL;
	char key[STORE_KEY_MAX + 1];
	size_t count = 0;
	int rc;

	*entries = (struct listed_entries){ 0 };
	rc = store_list_each(c->pool->store, prefix, NULL, add_listed, &listing, err);
	if (rc || entries->count == 0)
		return rc;
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
