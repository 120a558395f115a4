/* SPDX-License-Identifier: GPL-3.0-only */
/* mark.c: what of an image's log is needed: the maps of its kept roots are walked, node by node, from the log itself. */
#include "image/private.h"

#include "image/clean.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PROGRESS_NODES 256
#define LIST_TRIES 4

bool clean_goes_on(struct clean *c, enum clean_phase phase, uint64_t done, uint64_t all)
{
	return !engine_is_stopping(c->image->engine) && (!c->progress || c->progress(c->arg, phase, done, all));
}

/* ---- roots ---- */

struct root_list {
	struct kept_root *list;
	size_t count, room;
};

static int add_root(struct root_list *l, const struct snapshot *s)
{
	for (size_t k = 0; k < l->count; k++)
		if (l->list[k].id == s->info.id)
			return 0;
	if (l->count == l->room) {
		size_t room = l->room ? 2 * l->room : 16;
		void *more = reallocarray(l->list, room, sizeof *l->list);
		if (!more)
			return -ENOMEM;
		l->list = more;
		l->room = room;
	}
	l->list[l->count++] = (struct kept_root){ s->info.id, s->root, s->segment, s->whole_from };
	return 0;
}

static int listed_root(void *arg, const struct snapshot *s)
{
	return add_root(arg, s);
}

/* Those that a listing which lags may not show yet: they were made here. */
static int add_remembered(struct clean *c, struct root_list *l)
{
	struct engine *e = c->image->engine;
	struct snapshot *mine = NULL, *s, now;
	size_t cursor = 0, count = 0;
	uint64_t id;
	int rc = 0;

	pthread_mutex_lock(&e->mutex);
	mine = calloc(hash_count(e->snapshots) + 1, sizeof *mine);
	while (mine && (s = hash_next(e->snapshots, &cursor, &id)))
		if (s->image == c->image->id)
			mine[count++] = *s;
	pthread_mutex_unlock(&e->mutex);
	if (!mine)
		return error_set(c->err, -ENOMEM, "out of memory");
	for (size_t k = 0; k < count && !rc; k++) {
		bool listed = false;
		for (size_t n = 0; n < l->count; n++)
			listed |= l->list[n].id == mine[k].info.id;
		if (listed)
			continue;
		rc = snapshot_load_any(e->pool, c->image->id, mine[k].info.name, &now, c->err);
		/* Deleted by somebody else; who has it open has a copy. */
		if (rc == -ENOENT && e->pool->store->capabilities & STORE_READ_LATEST)
			snapshot_forget(e, mine[k].info.id);
		rc = rc == -ENOENT ? 0 : rc ? rc : add_root(l, &now);
	}
	free(mine);
	return rc;
}

/* A deleted one that is in memory: one that nobody has open any more leaves it, if nobody looks at it just now. */
static int add_if_open(struct root_list *l, struct image *i)
{
	bool listed = false;

	for (size_t k = 0; k < l->count; k++)
		listed |= l->list[k].id == i->id;
	pthread_mutex_lock(&i->engine->mutex);
	bool open = i->opens != 0;
	pthread_mutex_unlock(&i->engine->mutex);
	int rc = listed || !open ? 0 : add_root(l, i->snapshot);
	if (!listed && !open) {
		readahead_hold(i);
		if (image_unload(i, true))
			return 0;
		readahead_resume(i);
	}
	image_put(i);
	return rc;
}

/* Deleted ones that somebody here still reads. */
static int add_open(struct clean *c, struct root_list *l)
{
	struct image **images;
	size_t count;
	int rc = images_get_all(c->image->engine, &images, &count);

	for (size_t k = 0; !rc && k < count; k++)
		if (images[k]->snapshot && images[k]->log_id == c->image->id)
			rc = add_if_open(l, images[k]);
		else
			image_put(images[k]);
	free(images);
	return rc;
}

/* How many objects there are: one that cannot be read is reported and passed over by the listing, and nobody knows what it needs. */
static int count_entry(void *arg, const struct store_entry *entry)
{
	(void)entry;
	++*(size_t *)arg;
	return 0;
}

static int list_all(struct clean *c, struct root_list *l)
{
	struct store *store = c->image->engine->pool->store;
	char prefix[STORE_KEY_MAX + 1];
	int rc = 0;

	snprintf(prefix, sizeof prefix, "images/%016" PRIx64 "/snapshots/", c->image->id);
	/* Now and then one is deleted while they are read. */
	for (int tries = 0; tries < LIST_TRIES; tries++) {
		size_t there = 0;
		l->count = 0;
		rc = store_list_each(store, prefix, NULL, count_entry, &there, c->err);
		if (!rc)
			rc = snapshot_list(c->image->engine->pool, c->image->id, listed_root, l, c->err);
		if (rc || l->count >= there)
			return rc;
	}
	return error_set(
		c->err, -EBADMSG,
		"one of them cannot be read, and nobody knows what it needs: garner verify names it; delete it, "
		"or clean when it can be read again");
}

int clean_find_roots(struct clean *c, struct kept_root **roots, size_t *count)
{
	struct root_list l = { 0 };
	int rc = list_all(c, &l);

	if (!rc)
		rc = add_remembered(c, &l);
	if (!rc)
		rc = add_open(c, &l);
	if (rc) {
		free(l.list);
		return error_prefix(c->err, rc, "cannot tell what the snapshots of the image need");
	}
	*roots = l.list;
	*count = l.count;
	return 0;
}

/* ---- walking ---- */

struct walk {
	struct clean *clean;
	enum live_set set;
	struct hash *seen; /* nodes met below earlier roots; NULL: there are none */
	uint8_t bytes[MAP_NODE_BYTES];
	map_entry_t entries[MAP_LEVELS][MAP_FANOUT];
};

static int read_node(struct walk *w, unsigned level, map_entry_t at)
{
	struct clean *c = w->clean;
	int rc = fetch_read_wait(&c->image->source, map_entry_segment(at), map_entry_slot(at), 0, w->bytes,
	                         sizeof w->bytes);

	if (!rc)
		rc = map_node_decode(w->bytes, true, w->entries[level]);
	return rc ? error_set(c->err, rc, "cannot read the map node in slot %" PRIu32 " of segment %" PRIu64,
	                      map_entry_slot(at), map_entry_segment(at))
	          : 0;
}

static int add(struct walk *w, map_entry_t at)
{
	int rc = live_add(&w->clean->live, w->set, at);

	if (rc == -EBADMSG)
		error_set(w->clean->err, rc, "a map leads to segment %" PRIu64 ", which is past the log's end",
		          map_entry_segment(at));
	return rc;
}

/* What lies in other logs leads on only there. */
static int walk_node(struct walk *w, unsigned level, map_entry_t at)
{
	struct clean *c = w->clean;
	const map_entry_t *entries = w->entries[level];

	if (at == MAP_ENTRY_NONE || map_entry_layer(at) || (w->seen && hash_get(w->seen, at)))
		return 0;
	if (c->nodes++ % PROGRESS_NODES == 0 && !clean_goes_on(c, CLEAN_MARK, c->nodes, 0))
		return -EINTR;
	int rc = w->seen ? hash_put(w->seen, at, w) : 0;
	if (!rc)
		rc = add(w, at);
	if (!rc)
		rc = read_node(w, level, at);
	for (unsigned k = 0; !rc && k < MAP_FANOUT; k++) {
		if (level) {
			rc = walk_node(w, level - 1, entries[k]);
		} else if (entries[k] != MAP_ENTRY_NONE && !map_entry_layer(entries[k])) {
			rc = add(w, entries[k]);
			c->own += w->set == LIVE_NOW;
		}
	}
	return rc;
}

/* All that is in these segments, whatever leads there. */
static void keep_whole(struct clean *c, segment_no_t from, segment_no_t to)
{
	for (segment_no_t n = from; n && n <= to && n <= c->segment; n++)
		live_keep(&c->live, n);
}

/* What snapshots lead to, and what the history that is to be kept does. */
static int walk_past(struct clean *c, struct walk *w)
{
	int rc = 0;

	w->set = LIVE_PAST;
	w->seen = hash_new();
	if (!w->seen)
		return -ENOMEM;
	for (size_t k = 0; !rc && k < c->root_count; k++) {
		live_keep(&c->live, c->roots[k].segment);
		keep_whole(c, c->roots[k].whole_from, c->roots[k].segment);
		/* One made since the checkpoint leads to nothing that this does not lead to, but to what came later. */
		if (c->roots[k].segment <= c->segment)
			rc = walk_node(w, MAP_LEVELS - 1, c->roots[k].root);
	}
	keep_whole(c, c->history.from, c->segment);
	if (!rc && c->history.from && c->history.segment < c->segment)
		rc = walk_node(w, MAP_LEVELS - 1, c->history.root);
	hash_free(w->seen);
	return rc;
}

int clean_mark(struct clean *c)
{
	struct walk *w = calloc(1, sizeof *w);
	int rc = w ? live_init(&c->live, c->segment) : -ENOMEM;

	c->nodes = c->own = 0;
	if (rc)
		goto out;
	w->clean = c;
	w->set = LIVE_NOW;
	rc = walk_node(w, MAP_LEVELS - 1, c->checkpoint.root);
	if (!rc)
		rc = history_kept(c->image, &c->history, c->err);
	if (!rc && (c->root_count || c->history.from))
		rc = walk_past(c, w);
out:
	free(w);
	return rc == -ENOMEM ? error_set(c->err, rc, "out of memory") : rc;
}

/* ---- what is stored ---- */

struct listing {
	struct clean *clean;
	size_t room, prefix;
};

static int add_listed(void *arg, const struct store_entry *entry)
{
	struct listing *l = arg;
	struct clean *c = l->clean;
	struct stored_segment s = { .bytes = entry->size };
	char again[STORE_KEY_MAX + 1];

	if (sscanf(entry->key + l->prefix, "%16" SCNx64 "-%16" SCNx64, &s.number, &s.epoch) != 2)
		return 0;
	segment_key_format(c->image->id, s.number, s.epoch, again);
	if (strcmp(again, entry->key) != 0)
		return 0;
	if (c->stored_count == l->room) {
		size_t room = l->room ? 2 * l->room : 256;
		void *more = reallocarray(c->stored, room, sizeof *c->stored);
		if (!more)
			return -ENOMEM;
		c->stored = more;
		l->room = room;
	}
	c->stored[c->stored_count++] = s;
	return 0;
}

int clean_list(struct clean *c)
{
	struct listing l = { .clean = c };
	char prefix[STORE_KEY_MAX + 1];

	free(c->stored);
	c->stored = NULL;
	c->stored_count = 0;
	l.prefix = (size_t)snprintf(prefix, sizeof prefix, "images/%016" PRIx64 "/segments/", c->image->id);
	int rc = store_list_each(c->image->engine->pool->store, prefix, NULL, add_listed, &l, c->err);
	return rc == -ENOMEM ? error_set(c->err, rc, "out of memory") : rc;
}
