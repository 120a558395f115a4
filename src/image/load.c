/* SPDX-License-Identifier: GPL-3.0-only */
/* load.c: the map of an image as of the end of its log: from SQLite if that is of the same log, else from the newest checkpoint;
 * then the records after that are replayed.
 */
#include "image/private.h"

#include "image/clean.h"
#include "log/recover.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- the end of the log ---- */

static int find_stored_end(struct image *i, segment_no_t *end, struct error *err)
{
	struct pool *p = i->engine->pool;
	struct head head = { .checkpoint = i->view.checkpoint };
	segment_no_t hint = i->stored_end;
	int rc = -ENOENT;

	if (!i->view.term_count) {
		*end = 0;
		return 0;
	}
	/* The one that was the last may have been cleaned away. */
	if (hint)
		rc = log_find_end(p, i->id, &i->view, hint, end, err);
	if (rc != -ENOENT)
		return rc;
	rc = head.checkpoint.segment ? 0 : head_load(p, i->id, &head, err);
	if (rc && rc != -ENOENT)
		report_warning("image %016" PRIx64 ": %s; looking for the end of the log by listing", i->id,
		               error_text(err));
	if (!rc && !i->head_checkpoint.segment)
		i->head_checkpoint = head.checkpoint;
	hint = rc ? 0 : head.checkpoint.segment;
	return log_find_end_from(p, i->id, &i->view, hint, end, err);
}

/* The digest of a segment that is sealed here or in the store. */
static int digest_of_segment(struct image *i, segment_no_t number, uint8_t digest[DIGEST_BYTES], struct error *err)
{
	struct segment_meta meta;
	struct segment *s;
	bool here = false;

	memset(digest, 0, DIGEST_BYTES);
	if (!number)
		return 0;
	s = segment_pin_known(i->set, number);
	if (s && atomic_load(&s->life) >= LIFE_SEALED) {
		memcpy(digest, s->digest, DIGEST_BYTES);
		here = true;
	}
	if (s)
		segment_unpin(s);
	if (here)
		return 0;
	int rc = fetch_meta(&i->source, number, &meta, err);
	if (!rc)
		memcpy(digest, meta.digest, DIGEST_BYTES);
	return rc;
}

/* ---- where to begin ---- */

/* Whether the segment in which the map was saved is here, the same one, and not shorter: another host may have gone on with a
 * segment of its own under that number, and a disk may have lost what it had synced. */
static bool same_segment(struct image *i, const struct map_state *st)
{
	struct segment *s = segment_pin_known(i->set, st->position.segment);
	struct segment_file *f = s && s->local ? segment_open_file(s, NULL) : NULL;
	bool same = f && atomic_load(&s->life) >= LIFE_SEALED && f->created_ns == st->segment_created_ns &&
	            s->record_count >= st->position.record;

	if (s)
		segment_unpin(s);
	return same;
}

/* Whether the nodes that a checkpoint has written are in this log, as the rows' addresses say. They lie behind its position: until a later
 * state was saved, all that is known of them is that this host wrote them. Where another host has gone on from before the checkpoint,
 * others' bytes lie there. */
static bool has_checkpoint(const struct map_state *st, segment_no_t last, bool ours)
{
	bool later = st->checkpoint.segment < st->position.segment ||
	             (st->checkpoint.segment == st->position.segment && st->position.record);

	return later || (ours && st->checkpoint.segment <= last);
}

/* The state in SQLite, if it is of this log. */
static int base_from_db(struct image *i, segment_no_t last, bool ours, struct error *err)
{
	struct map_state st;
	struct cleaned cleaned;
	uint8_t digest[DIGEST_BYTES];
	int rc = map_db_load_state(i->engine->db, i->id, &st, err);

	if (rc)
		return rc == -EBADMSG ? -ENOENT : rc;
	if (!st.position.segment || st.position.segment > last + 1)
		return -ENOENT;
	/* Of a rewinding that got no further than here: others know the log alone, which does not tell of it. */
	if (st.remapped)
		return -ENOENT;
	rc = digest_of_segment(i, st.position.segment - 1, digest, err);
	if (rc)
		return rc;
	if (memcmp(digest, st.prev_digest, DIGEST_BYTES) != 0)
		return -ENOENT;
	if (st.position.record && !same_segment(i, &st))
		return -ENOENT;
	if (!has_checkpoint(&st, last, ours))
		return -ENOENT;
	rc = cleaned_load(i->engine->pool, i->id, &cleaned, err);
	if (rc != -ENOENT && (rc || image_cleaned_after(i, &cleaned, st.checkpoint_root, st.checkpoint.segment)))
		return rc ? rc : -ENOENT;
	/* Flattened on another host since; it may have had nothing to write for that, so that the root is the same. */
	rc = image_layers_need(i, st.layers, err);
	if (rc)
		return rc == -EBADMSG ? -ENOENT : rc;
	struct map_need root = { .level = MAP_LEVELS - 1, .index = 0, .address = st.checkpoint_root };
	map_entry_t entries[MAP_FANOUT];
	rc = image_read_node(i, &root, entries, err);
	if (rc == -ENOENT && st.checkpoint_root == MAP_ENTRY_NONE)
		memset(entries, 0, sizeof entries);
	else if (rc)
		return rc == -ENOENT || rc == -EIO ? -ENOENT : rc;
	rc = grain_map_install(i->map, root.level, root.index, entries);
	if (rc)
		return rc;
	i->saved = st;
	i->base_checkpoint = 0;
	i->ahead = i->since_mark = !st.clean;
	i->remapped = false;
	i->position = st.position;
	grain_map_set_allocated(i->map, st.allocated);
	atomic_store(&i->size, st.size);
	atomic_store(&i->mtime_ns, st.mtime_ns);
	return 0;
}

/* The newest checkpoint at or before the end of segment `last`: segment 0 if there is none. */
static int newest_checkpoint(struct image *i, segment_no_t last, struct log_position *checkpoint, struct error *err)
{
	struct segment_meta meta;
	struct segment *s = last ? segment_pin_known(i->set, last) : NULL;
	int rc = 0;

	*checkpoint = (struct log_position){ 0, 0 };
	if (s && atomic_load(&s->life) == LIFE_SEALED) {
		*checkpoint = s->checkpoint; /* recovered just now */
	} else if (last) {
		rc = fetch_meta(&i->source, last, &meta, err);
		if (!rc)
			*checkpoint = meta.checkpoint;
	}
	if (s)
		segment_unpin(s);
	return rc;
}

int checkpoint_read(const struct fetch_source *source, segment_no_t number, size_t before, struct checkpoint *c,
                    struct error *err)
{
	uint8_t body[CHECKPOINT_BYTES];
	struct record *records = NULL;
	size_t count = 0;
	int rc = fetch_records(source, number, &records, &count, err);

	size_t k = count < before ? count : before;
	while (!rc && k && records[k - 1].kind != RECORD_CHECKPOINT)
		k--;
	if (!rc && !k)
		rc = 1;
	if (!rc)
		rc = fetch_read_wait(source, number, records[k - 1].slot, 0, body, sizeof body);
	if (!rc)
		rc = checkpoint_decode(body, c, err);
	free(records);
	return rc < 0 ? error_prefix(err, rc, "checkpoint in segment %" PRIu64, number) : rc;
}

int image_read_checkpoint(struct image *i, segment_no_t number, struct checkpoint *c, struct error *err)
{
	/* Packing drops overwritten records, so its number may have moved: the last checkpoint of the segment is meant. */
	int rc = checkpoint_read(&i->source, number, SIZE_MAX, c, err);

	return rc == 1 ? error_set(err, -EBADMSG, "segment %" PRIu64 " has no checkpoint", number) : rc;
}

void image_begin_at(struct image *i, struct log_position at, const struct checkpoint *c)
{
	i->base_checkpoint = at.segment;
	i->saved = (struct map_state){
		.checkpoint = at,
		.checkpoint_root = c->root,
		.size = c->size,
		.allocated = c->allocated,
		.mtime_ns = c->mtime_ns,
		.layers = c->layers,
	};
	i->ahead = i->since_mark = i->remapped = false;
	i->position = c->position;
	grain_map_set_allocated(i->map, c->allocated);
	atomic_store(&i->size, c->size);
	atomic_store(&i->mtime_ns, c->mtime_ns);
}

/* Where the map of a clone begins. */
static int base_of_clone(struct image *i, struct checkpoint *c, struct layer_list *list, struct error *err)
{
	int rc = image_layers_load(i, 0, list, err);

	if (rc || !list->count)
		return rc;
	c->root = list->base.root;
	c->size = list->base.info.size;
	c->allocated = list->base.info.allocated_bytes >> i->grain_shift;
	c->mtime_ns = list->base.info.mtime_ns;
	c->layers = (uint32_t)list->count;
	return 0;
}

static int replay_past(struct image *i, const struct layer_replay *r, struct error *err);

/* What comes on top of where it begins that is to be as it was at a moment: in `list`. */
static int replays_of_past(struct image *i, const struct beginning *b, struct layer_list *list, struct error *err)
{
	struct layer_replay own = { .from = b->held.whole_from, .to = b->to };
	int rc = b->of_base ? image_layers_load(i, 0, list, err) : 0;

	return rc || !own.from ? rc : layer_list_add_replay(list, &own, err);
}

/* Where that begins. */
static int base_of_past(struct image *i, struct checkpoint *c, struct layer_list *list, struct error *err)
{
	const struct beginning *b = i->rewound;

	/* As the image itself has its layers, and not one that begins so. */
	c->root = b->held.root;
	c->size = b->held.info.size;
	c->allocated = b->held.info.allocated_bytes >> i->grain_shift;
	c->mtime_ns = b->held.info.mtime_ns;
	c->layers = b->held.layers;
	return replays_of_past(i, b, list, err);
}

static int base_from_checkpoint(struct image *i, segment_no_t last, struct error *err)
{
	struct log_position at;
	struct checkpoint c = { .position = { 1, 0 } };
	struct layer_list list = { 0 };
	map_entry_t entries[MAP_FANOUT] = { 0 };
	int rc = map_db_forget(i->engine->db, i->id, err);

	if (rc == -EBADMSG)
		return error_set(err, -EIO, "garner.db in %s is damaged: unmount and mount again, it is then rebuilt",
		                 i->engine->cache_dir);
	if (!rc)
		rc = newest_checkpoint(i, last, &at, err);
	if (!rc && i->rewound)
		rc = base_of_past(i, &c, &list, err);
	else if (!rc && at.segment)
		rc = image_read_checkpoint(i, at.segment, &c, err);
	else if (!rc)
		rc = base_of_clone(i, &c, &list, err);
	if (!rc)
		rc = image_layers_need(i, c.layers, err);
	struct map_need root = { .level = MAP_LEVELS - 1, .index = 0, .address = c.root };
	if (!rc && c.root != MAP_ENTRY_NONE)
		rc = image_read_node(i, &root, entries, err);
	if (!rc)
		rc = grain_map_install(i->map, root.level, root.index, entries);
	if (rc)
		goto out;
	image_begin_at(i, at, &c);
	for (size_t k = 0; !rc && k < list.replay_count; k++)
		rc = replay_past(i, &list.replays[k], err);
	if (i->rewound) {
		i->base_checkpoint = 0;
		i->position = (struct log_position){ last + 1, 0 };
	}
out:
	layer_list_destroy(&list);
	return rc;
}

/* ---- replay ---- */

/* Saves what was replayed so far, when too much of it is dirty. */
static int save_if_full(struct image *i, struct error *err)
{
	if (map_budget_dirty(i->engine->budget) < map_budget_limit(i->engine->budget) / 2)
		return 0;
	return image_save(i, err);
}

static int replay(struct image *i, segment_no_t last, struct error *err)
{
	struct replayed_log log = { .source = &i->source };
	int rc = 0;

	while (!rc && i->position.segment <= last) {
		struct record *records;
		segment_no_t number = i->position.segment;
		size_t count;

		rc = fetch_records(&i->source, number, &records, &count, err);
		if (rc)
			break;
		/* The position counts records as written; packing may have dropped some, all of them overwritten: replaying from the
		 * start of the segment gives the same map. */
		for (size_t k = 0; !rc && k < count; k++)
			rc = image_replay_record(i, &log, number, &records[k], err);
		free(records);
		if (!rc) {
			i->position = (struct log_position){ number + 1, 0 };
			rc = save_if_full(i, err);
		}
	}
	return rc;
}

/* What is saved meanwhile is no state to begin with: its position says that it is none. */
static int replay_past(struct image *i, const struct layer_replay *r, struct error *err)
{
	const struct fetch_source *source = image_source(i, map_entry(r->layer, r->from, 0));
	struct replayed_log log = {
		.source = source, .layer = r->layer, .past = true, .touched = i->past ? &i->past->touched : NULL
	};
	int rc = source ? 0 : error_set(err, -EBADMSG, "there is no layer %u", r->layer);

	i->position = (struct log_position){ 0, 0 };
	for (segment_no_t n = r->from; !rc && n <= r->to.segment; n++) {
		struct record *records;
		size_t count;

		if (n == r->to.segment && !r->to.record)
			break;
		rc = fetch_records(source, n, &records, &count, err);
		if (rc)
			break;
		if (n == r->to.segment && count > r->to.record)
			count = r->to.record;
		for (size_t k = 0; !rc && k < count; k++)
			rc = image_replay_record(i, &log, n, &records[k], err);
		free(records);
		if (!rc)
			rc = save_if_full(i, err);
	}
	i->position = (struct log_position){ 1, 0 };
	return rc ? error_prefix(err, rc, "what the image began as") : 0;
}

/* ---- all of it ---- */

/* What the segment after the end will refer to; with `ours` the end is that of the segments that are here and not in the store. */
static int settle_end(struct image *i, segment_no_t end, bool ours, segment_no_t *last, struct error *err)
{
	struct recovery r = {
		.last = end, .keep_all = i->policy.history_s != 0, .dropping = image_segment_dropped, .arg = i
	};
	struct segment_meta meta;
	int rc = 0;

	if (end) {
		rc = fetch_head(&i->source, end, &meta, err);
		if (rc)
			return rc;
		memcpy(r.digest, meta.digest, sizeof r.digest);
		r.image_size = meta.image_size;
		r.checkpoint = meta.checkpoint;
	}
	if (ours)
		rc = log_recover(i->set, &r, err);
	if (rc)
		return error_prefix(err, rc,
		                    "what is here and not in the store cannot be used (garner takeover sets it aside)");
	if (r.segments || r.dropped)
		report_notice("image %016" PRIx64
		              ": recovered %u segment(s) that were not in the store, dropped %u unfinished",
		              i->id, r.segments, r.dropped);
	*last = r.last;
	memcpy(i->end_digest, r.digest, sizeof i->end_digest);
	i->end_size = r.image_size;
	i->end_checkpoint = r.checkpoint;
	return 0;
}

/* Begins anew, from the newest checkpoint. */
static int rebuild_map(struct image *i, segment_no_t last, struct error *err)
{
	struct grain_map *map = grain_map_new(i->engine->budget);
	int rc;

	if (!map)
		return error_set(err, -ENOMEM, "out of memory");
	image_replace_map(i, map);
	atomic_store(&i->rows_damaged, false);
	rc = base_from_checkpoint(i, last, err);
	return rc ? rc : replay(i, last, err);
}

/* Brings a map that is in memory up to `last`. */
static int catch_up(struct image *i, segment_no_t last, struct error *err)
{
	int rc = replay(i, last, err);

	/* The log has gone on for so long that what comes next was cleaned away; or the map is another one. */
	if (rc == -ENOENT || rc == -ESTALE) {
		rc = image_start_over(i, err);
		return rc ? rc : replay(i, last, err);
	}
	/* Perhaps for want of nodes that were cleaned away. */
	if (rc && !image_refresh(i, NULL))
		rc = replay(i, last, err);
	return rc ? rc : image_refresh(i, err);
}

static int load_map(struct image *i, segment_no_t last, bool ours, struct error *err)
{
	if (i->loaded)
		return catch_up(i, last, err);
	int rc = i->rewound ? -ENOENT : base_from_db(i, last, ours, err);
	bool from_rows = rc == 0;

	if (rc == -ENOENT)
		rc = base_from_checkpoint(i, last, err);
	if (!rc)
		report_debug("image %016" PRIx64 ": segments up to %" PRIu64 ", the map is as of %" PRIu64 ".%" PRIu32,
		             i->id, last, i->position.segment, i->position.record);
	if (!rc)
		rc = replay(i, last, err);
	bool cleaned = rc == -ENOENT && from_rows;
	if (rc == -ESTALE)
		return rebuild_map(i, last, err);
	if (!rc || (!cleaned && !atomic_load(&i->rows_damaged)))
		return rc;
	report_warning("image %016" PRIx64 ": %s; rebuilding its map from the log", i->id, error_text(err));
	return rebuild_map(i, last, err);
}

/* Brings the map of a checkpoint to the moment after it, and out of the memory of those that change. */
static int load_past(struct image *i, struct error *err)
{
	struct layer_list list = { 0 };
	int rc = replays_of_past(i, &i->past->b, &list, err);

	grain_list_destroy(&i->past->touched);
	for (size_t k = 0; !rc && k < list.replay_count; k++)
		rc = replay_past(i, &list.replays[k], err);
	layer_list_destroy(&list);
	grain_list_settle(&i->past->touched);
	return rc ? rc : image_save(i, err);
}

int image_load_snapshot(struct image *i, struct error *err)
{
	const struct snapshot *s = i->snapshot;
	struct map_need root = { .level = MAP_LEVELS - 1, .index = 0, .address = s->root };
	map_entry_t entries[MAP_FANOUT] = { 0 };
	int rc = image_settle_log(i->engine, &i->source, &i->view, s->segment, err);

	if (!rc)
		rc = image_layers_need(i, s->layers, err);
	if (!rc && s->root != MAP_ENTRY_NONE)
		rc = image_read_node(i, &root, entries, err);
	if (!rc)
		rc = grain_map_install(i->map, root.level, root.index, entries);
	if (rc)
		return error_prefix(err, rc, "snapshot %s of image %016" PRIx64, s->info.name, s->image);
	grain_map_set_allocated(i->map, s->info.allocated_bytes >> i->grain_shift);
	atomic_store(&i->size, s->info.size);
	atomic_store(&i->mtime_ns, s->info.mtime_ns);
	if (i->past && (rc = load_past(i, err)))
		return rc;
	i->loaded = true;
	return 0;
}

int image_same_log(struct image *i, const struct log_view *view, struct error *err)
{
	if (!i->loaded || !i->last || log_view_epoch_of(view, i->last) == i->end_epoch)
		return 0;
	atomic_store(&i->rows_damaged, true);
	return error_set(err, -ESTALE, "segment %" PRIu64 " was read here, and another host went on without it",
	                 i->last);
}

int image_load(struct image *i, bool ours, struct error *err)
{
	segment_no_t end, last;
	int rc = i->loaded ? image_layers_check(i, err) : 0;

	if (!rc)
		rc = find_stored_end(i, &end, err);
	if (!rc && !i->loaded)
		rc = image_reconcile(i, end, ours, err);
	if (!rc)
		rc = settle_end(i, end, ours, &last, err);
	if (!rc)
		rc = load_map(i, last, ours, err);
	if (rc)
		return error_prefix(err, rc, "image %016" PRIx64, i->id);
	i->stored_end = end;
	i->last = last;
	i->end_epoch = log_view_epoch_of(&i->view, last);
	i->loaded = true;
	return 0;
}
