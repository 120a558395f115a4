/* SPDX-License-Identifier: GPL-3.0-only */
/* verify_map.c: checks the map of a moment: every node is where its parent says, is the node it should be,
 * and points only at what is there. A few segments' indexes and chunks are kept, since neighbours lie together.
 */
#include "image/verify_private.h"

#include "base/crc32c.h"
#include "map/grain_map.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define METAS_KEPT 8
#define CHUNKS_KEPT 64

struct kept_meta {
	segment_no_t number; /* 0: empty */
	uint64_t used;
	struct segment_meta meta;
	struct record *records;
	uint8_t *table;
};

struct kept_chunk {
	segment_no_t number; /* 0: empty */
	uint32_t chunk, length;
	uint64_t used;
	uint8_t *plain;
};

struct map_walk {
	struct verify *v;
	struct error *err;
	uint64_t clock; /* counts uses, to find the longest unused */
	uint64_t nodes;
	struct kept_meta metas[METAS_KEPT];
	struct kept_chunk chunks[CHUNKS_KEPT];
};

/* Errors that end the walk; all others are findings. */
static bool is_final(int rc)
{
	return rc == -EINTR || rc == -ENOMEM || rc == -ETIMEDOUT;
}

/* ---- reading nodes ----------------------------------------------------------------------------------------------- */

static int fetch_meta(struct map_walk *w, struct kept_meta *m, segment_no_t number)
{
	struct verify *v = w->v;
	char key[STORE_KEY_MAX + 1];
	size_t len, want = SEGMENT_OBJECT_META_GUESS;
	uint8_t *bytes = malloc(SEGMENT_OBJECT_META_MAX);
	int rc;

	if (!bytes)
		return -ENOMEM;
	segment_key_format(v->image, number, log_view_epoch_of(&v->view, number), key);
	rc = store_get_wait(v->pool->store, key, 0, bytes, want, &len, w->err);
	if (!rc)
		rc = segment_meta_decode(bytes, len, &v->key, &m->meta, w->err);
	if (!rc && segment_meta_bytes(&m->meta) > len && len == want &&
	    segment_meta_bytes(&m->meta) <= SEGMENT_OBJECT_META_MAX)
		rc = store_get_wait(v->pool->store, key, 0, bytes, segment_meta_bytes(&m->meta), &len, w->err);
	if (!rc)
		rc = segment_meta_open(&m->meta, bytes, len, &v->key, &m->records, &m->table, w->err);
	free(bytes);
	return rc;
}

static int get_meta(struct map_walk *w, segment_no_t number, struct kept_meta **meta)
{
	struct kept_meta *oldest = &w->metas[0];
	int rc;

	for (int i = 0; i < METAS_KEPT; i++) {
		if (w->metas[i].number == number) {
			w->metas[i].used = ++w->clock;
			*meta = &w->metas[i];
			return 0;
		}
		if (w->metas[i].used < oldest->used)
			oldest = &w->metas[i];
	}
	free(oldest->records);
	free(oldest->table);
	memset(oldest, 0, sizeof *oldest);
	rc = fetch_meta(w, oldest, number);
	if (rc)
		return rc;
	oldest->number = number;
	oldest->used = ++w->clock;
	*meta = oldest;
	return 0;
}

static int fetch_chunk(struct map_walk *w, const struct kept_meta *m, struct kept_chunk *c, uint32_t chunk)
{
	struct verify *v = w->v;
	char key[STORE_KEY_MAX + 1];
	struct seal_box box;
	uint64_t offset;
	uint8_t *stored;
	size_t len;
	int rc;

	if (chunk >= m->meta.chunk_count)
		return error_set(w->err, -EBADMSG, "chunk %" PRIu32 " is missing", chunk);
	segment_table_entry(&m->meta, m->table, chunk, &offset, &box);
	if (box.stored_length == 0)
		return error_set(w->err, -EBADMSG, "chunk %" PRIu32 " is empty", chunk);
	stored = malloc(box.stored_length);
	if (!c->plain)
		c->plain = malloc(CHUNK_BYTES);
	if (!stored || !c->plain) {
		free(stored);
		return -ENOMEM;
	}
	segment_key_format(v->image, m->number, log_view_epoch_of(&v->view, m->number), key);
	rc = store_get_wait(v->pool->store, key, offset, stored, box.stored_length, &len, w->err);
	if (!rc && len != box.stored_length)
		rc = error_set(w->err, -EBADMSG, "chunk %" PRIu32 " is cut short", chunk);
	if (!rc)
		rc = segment_chunk_open(&m->meta, chunk, &box, stored, &v->key, c->plain, &c->length, w->err);
	free(stored);
	return rc;
}

static int get_chunk(struct map_walk *w, const struct kept_meta *m, uint32_t chunk, struct kept_chunk **found)
{
	struct kept_chunk *oldest = &w->chunks[0];
	int rc;

	for (int i = 0; i < CHUNKS_KEPT; i++) {
		if (w->chunks[i].number == m->number && w->chunks[i].chunk == chunk) {
			w->chunks[i].used = ++w->clock;
			*found = &w->chunks[i];
			return 0;
		}
		if (w->chunks[i].used < oldest->used)
			oldest = &w->chunks[i];
	}
	oldest->number = 0;
	rc = fetch_chunk(w, m, oldest, chunk);
	if (rc)
		return rc;
	oldest->number = m->number;
	oldest->chunk = chunk;
	oldest->used = ++w->clock;
	*found = oldest;
	return 0;
}

static const struct record *owner_of(const struct kept_meta *m, uint32_t slot)
{
	for (uint32_t i = 0; i < m->meta.record_count; i++)
		if (record_has_slot(m->records[i].kind) && m->records[i].slot == slot)
			return &m->records[i];
	return NULL;
}

static int read_node(struct map_walk *w, unsigned level, uint64_t index, map_entry_t address, map_entry_t *entries)
{
	uint32_t slot = map_entry_slot(address), within;
	struct kept_chunk *chunk;
	const struct record *r;
	struct kept_meta *m;
	int rc = get_meta(w, map_entry_segment(address), &m);

	if (rc)
		return rc;
	r = owner_of(m, slot);
	if (!r || r->kind != RECORD_NODE || r->level != level || r->value != index)
		return error_set(w->err, -EBADMSG, "another thing is there");
	rc = get_chunk(w, m, (uint32_t)((uint64_t)slot * m->meta.slot_bytes / CHUNK_BYTES), &chunk);
	if (rc)
		return rc;
	within = (uint32_t)((uint64_t)slot * m->meta.slot_bytes % CHUNK_BYTES);
	if (within + m->meta.slot_bytes > chunk->length ||
	    crc32c(0, chunk->plain + within, m->meta.slot_bytes) != r->data_crc)
		return error_set(w->err, -EBADMSG, "it is damaged");
	if (map_node_decode(chunk->plain + within, true, entries))
		return error_set(w->err, -EBADMSG, "it holds an impossible entry");
	return 0;
}

/* ---- walking ----------------------------------------------------------------------------------------------------- */

/* Whether the address is one of the log up to the checkpoint. */
static bool in_log(const struct verify *v, map_entry_t e)
{
	segment_no_t number = map_entry_segment(e);

	return map_entry_layer(e) == 0 && number >= 1 && number <= v->end && number <= v->checkpoint_segment;
}

/* What lies in another log is checked there: the snapshot by which it is held leads to it (verify.c). */
static bool in_layer(const struct verify *v, map_entry_t e)
{
	unsigned layer = map_entry_layer(e);

	return layer && layer <= v->layers.count && map_entry_segment(e) <= v->layers.refs[layer - 1].last;
}

static void check_data(struct verify *v, uint64_t grain, map_entry_t e)
{
	segment_no_t number = map_entry_segment(e);
	enum slot_use use;

	if (in_layer(v, e))
		return;
	if (!in_log(v, e)) {
		verify_note(v, "checkpoint: grain %" PRIu64 " is said to be in layer %u, segment %" PRIu64, grain,
		            map_entry_layer(e), number);
		return;
	}
	if (v->segments[number - 1].cleaned) {
		verify_note(v, "checkpoint: grain %" PRIu64 " points at segment %" PRIu64 ", which was cleaned away",
		            grain, number);
		return;
	}
	if (v->segments[number - 1].slots == 0)
		return; /* reported already */
	use = verify_slot_use(v, number, map_entry_slot(e));
	/* Also in the segment in which the map was frozen: the mark there keeps packing from dropping what the map points at. */
	if (use != SLOT_DATA)
		verify_note(v,
		            "checkpoint: grain %" PRIu64 " points at slot %" PRIu32 " of segment %" PRIu64
		            ", which holds no data",
		            grain, map_entry_slot(e), number);
}

static int check_node(struct map_walk *w, unsigned level, uint64_t index, map_entry_t address)
{
	struct verify *v = w->v;
	map_entry_t *entries;
	int rc;

	if (w->nodes++ % 64 == 0 && !verify_go_on(v, v->end))
		return -EINTR;
	if (in_layer(v, address))
		return 0;
	if (!in_log(v, address) || v->segments[map_entry_segment(address) - 1].slots == 0 ||
	    verify_slot_use(v, map_entry_segment(address), map_entry_slot(address)) != SLOT_NODE) {
		verify_note(v,
		            "checkpoint: map node %u:%" PRIu64 " is said to be in slot %" PRIu32 " of segment %" PRIu64
		            ", where no node is",
		            level, index, map_entry_slot(address), map_entry_segment(address));
		return 0;
	}
	entries = malloc(MAP_FANOUT * sizeof *entries);
	if (!entries)
		return -ENOMEM;
	rc = read_node(w, level, index, address, entries);
	if (rc && !is_final(rc)) {
		verify_note(v, "checkpoint: map node %u:%" PRIu64 " in slot %" PRIu32 " of segment %" PRIu64 ": %s",
		            level, index, map_entry_slot(address), map_entry_segment(address), error_text(w->err));
		free(entries);
		return 0;
	}
	for (unsigned i = 0; i < MAP_FANOUT && !rc; i++) {
		uint64_t child = index * MAP_FANOUT + i;

		if (entries[i] == MAP_ENTRY_NONE)
			continue;
		if (level == 0)
			check_data(v, child, entries[i]);
		else
			rc = check_node(w, level - 1, child, entries[i]);
	}
	free(entries);
	return rc;
}

int verify_map(struct verify *v, map_entry_t root, struct error *err)
{
	struct error local = { 0 };
	struct map_walk *w;
	int rc;

	if (root == MAP_ENTRY_NONE)
		return 0;
	w = calloc(1, sizeof *w);
	if (!w)
		return -ENOMEM;
	w->v = v;
	w->err = &local;
	rc = check_node(w, MAP_LEVELS - 1, 0, root);
	if (rc)
		error_set(err, rc, "%s", local.text[0] ? error_text(&local) : strerror(-rc));
	for (int i = 0; i < METAS_KEPT; i++) {
		free(w->metas[i].records);
		free(w->metas[i].table);
	}
	for (int i = 0; i < CHUNKS_KEPT; i++)
		free(w->chunks[i].plain);
	free(w);
	return rc;
}
