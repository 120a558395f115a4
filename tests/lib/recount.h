/* SPDX-License-Identifier: GPL-3.0-only */
/* recount.h: what the store should hold of an image's log, found again by the plainest means, and what it does hold. For tests. */
#ifndef GARNER_TESTS_RECOUNT_H
#define GARNER_TESTS_RECOUNT_H

#include "lib/image_fixture.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct error recount_err;

/* The segments that the store holds, by number. */
struct stored {
	bool there[4096];
	unsigned count;
};

static inline int note_stored(void *arg, const struct store_entry *entry)
{
	struct stored *s = arg;
	segment_no_t number;
	uint64_t image;

	assert_int_equal(sscanf(entry->key, "images/%16" SCNx64 "/segments/%16" SCNx64, &image, &number), 2);
	assert_true(number < 4096);
	s->there[number] = true;
	s->count++;
	return 0;
}

static inline struct stored list_store(struct engine *e, uint64_t id)
{
	struct stored s = { 0 };
	char prefix[STORE_KEY_MAX + 1];

	snprintf(prefix, sizeof prefix, "images/%016" PRIx64 "/segments/", id);
	assert_int_equal(store_list_each(e->pool->store, prefix, NULL, note_stored, &s, &recount_err), 0);
	return s;
}

/* ---- a recount, of its own making: every map that is kept, read from the log ---- */

static inline void need_below(struct image *i, unsigned level, map_entry_t at, struct stored *s)
{
	uint8_t bytes[MAP_NODE_BYTES];
	map_entry_t *entries;

	/* What lies in other logs leads only there. */
	if (at == MAP_ENTRY_NONE || map_entry_layer(at))
		return;
	s->there[map_entry_segment(at)] = true;
	assert_int_equal(fetch_read_wait(&i->source, map_entry_segment(at), map_entry_slot(at), 0, bytes, sizeof bytes),
	                 0);
	entries = malloc(MAP_NODE_BYTES);
	assert_int_equal(map_node_decode(bytes, true, entries), 0);
	for (unsigned k = 0; k < MAP_FANOUT; k++)
		if (level)
			need_below(i, level - 1, entries[k], s);
		else if (entries[k] != MAP_ENTRY_NONE && !map_entry_layer(entries[k]))
			s->there[map_entry_segment(entries[k])] = true;
	free(entries);
}

struct recount {
	struct image *image;
	struct stored *needed;
};

static inline int need_snapshot(void *arg, const struct snapshot *s)
{
	struct recount *r = arg;

	need_below(r->image, MAP_LEVELS - 1, s->root, r->needed);
	r->needed->there[s->segment] = true;
	return 0;
}

/* What the store should hold: what a map leads to, and all from the newest checkpoint's cut on, with the one before that. */
static inline struct stored recount(struct image *i)
{
	struct stored s = { 0 };
	struct recount r = { i, &s };
	struct checkpoint c;

	assert_int_equal(image_read_checkpoint(i, i->saved.checkpoint.segment, &c, &recount_err), 0);
	need_below(i, MAP_LEVELS - 1, c.root, &s);
	assert_int_equal(snapshot_list(i->engine->pool, i->id, need_snapshot, &r, &recount_err), 0);
	for (segment_no_t n = c.position.segment - 1; n <= upload_stored(i->upload); n++)
		s.there[n] = true;
	s.there[0] = false;
	return s;
}

static inline void check_store(struct image *i, const char *when)
{
	struct stored there = list_store(i->engine, i->id), needed = recount(i);

	for (unsigned n = 1; n < 4096; n++)
		if (there.there[n] != needed.there[n])
			fail_msg("%s: segment %u is %s", when, n, there.there[n] ? "there and not needed" : "missing");
}

#endif
