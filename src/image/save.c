/* SPDX-License-Identifier: GPL-3.0-only */
/* save.c: the map goes to SQLite, and checkpoints go into the log.
 *
 * A cut is a position of the log at which no reservation is under way: the map then is the log up to there, no more, no less.
 * Saving: cut, sync the log up to the cut, write the dirty nodes and the position in one transaction. So SQLite is never ahead of
 * the log. A checkpoint: save; append the nodes that changed since the last checkpoint, children before parents; append a
 * body that names the root and the cut; sync; only then do addresses become known to SQLite and to the map.
 */
#include "image/private.h"

#include "base/clock.h"
#include "map/checkpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The batch and state at a cut: the gate is closed. */
static int take_cut(struct image *i, struct map_batch **batch, struct map_state *st)
{
	struct log *log = atomic_load(&i->log);

	*st = i->saved;
	st->position = log ? log_position(log) : i->position;
	st->size = atomic_load(&i->size);
	st->mtime_ns = atomic_load(&i->mtime_ns);
	st->allocated = grain_map_allocated(i->map);
	st->layers = i->flat ? 0 : (uint16_t)image_layer_count(i);
	i->cut_sequence = log ? log_sequence(log) : i->clean_sequence;
	st->clean = !i->ahead && i->cut_sequence == i->clean_sequence;
	st->remapped = i->remapped;
	*batch = grain_map_freeze(i->map);
	return *batch ? 0 : -ENOMEM;
}

static int cannot_cut(struct image *i, int rc, struct error *err)
{
	return error_set(err, rc, "cannot cut the log of image %016" PRIx64 ": %s", i->id, strerror(-rc));
}

static int cut(struct image *i, struct map_batch **batch, struct map_state *st, struct error *err)
{
	pthread_rwlock_wrlock(&i->gate);
	int rc = take_cut(i, batch, st);
	pthread_rwlock_unlock(&i->gate);
	return rc ? cannot_cut(i, rc, err) : 0;
}

/* When the segment in which the state's position is was made; 0 when it is not here any more. */
static uint64_t created_at(struct image *i, struct log_position p)
{
	struct segment *s = p.record ? segment_pin_known(i->set, p.segment) : NULL;
	struct segment_file *f = s && s->local ? segment_open_file(s, NULL) : NULL;
	uint64_t ns = f ? f->created_ns : 0;

	if (s)
		segment_unpin(s);
	return ns;
}

/* Fills in what tells later whether the log is still the one of this state. */
static int chain_at(struct image *i, struct map_state *st, struct error *err)
{
	struct log *log = atomic_load(&i->log);
	struct segment_meta meta;
	segment_no_t before = st->position.segment - 1;
	int rc;

	st->segment_created_ns = created_at(i, st->position);
	memset(st->prev_digest, 0, DIGEST_BYTES);
	/* Segment 0: while what the image began as is put together. */
	if (st->position.segment <= 1)
		return 0;
	if (log && before == i->last) {
		/* Where the log began: it may be nowhere here. */
		memcpy(st->prev_digest, i->end_digest, DIGEST_BYTES);
		return 0;
	}
	if (log)
		return log_wait_sealed(log, before, st->prev_digest);
	struct segment *s = segment_pin_known(i->set, before);
	rc = s && atomic_load(&s->life) >= LIFE_SEALED ? 0 : -ENOENT;
	if (!rc)
		memcpy(st->prev_digest, s->digest, DIGEST_BYTES);
	if (s)
		segment_unpin(s);
	if (!rc)
		return 0;
	rc = fetch_meta(&i->source, before, &meta, err);
	if (!rc)
		memcpy(st->prev_digest, meta.digest, DIGEST_BYTES);
	return rc;
}

static int save_cut(struct image *i, struct map_batch *batch, struct map_state *st, struct error *err)
{
	struct log *log = atomic_load(&i->log);
	int rc = log ? log_flush_wait(log) : 0;

	if (!rc)
		rc = chain_at(i, st, err);
	if (!rc)
		rc = map_db_save(i->engine->db, i->id, st, batch, err);
	pthread_rwlock_wrlock(&i->node_lock);
	grain_map_thaw(i->map, batch, !rc);
	pthread_rwlock_unlock(&i->node_lock);
	if (rc)
		return error_prefix(err, rc, "cannot save the map of image %016" PRIx64, i->id);
	i->saved = *st;
	i->saved_ns = clock_monotonic_ns();
	return 0;
}

int image_save(struct image *i, struct error *err)
{
	struct map_batch *batch;
	struct map_state st;
	int rc = cut(i, &batch, &st, err);

	return rc ? rc : save_cut(i, batch, &st, err);
}

/* ---- checkpoints ---- */

/* A node written into the log, to be entered into its parent. */
struct written {
	uint64_t index;
	map_entry_t address;
};

struct level {
	struct written *node;
	size_t count, room;
};

struct checkpoint_job {
	struct image *image;
	unsigned level;
	struct level levels[MAP_LEVELS];
	uint8_t *slot;     /* one grain of zeros, its first bytes overwritten */
	uint64_t sequence; /* of the log after the last record appended */
	uint64_t appended; /* records */
	struct error *err;
};

static int append_slot(struct checkpoint_job *j, enum record_kind kind, uint64_t value, map_entry_t *address)
{
	struct image *i = j->image;
	struct record r = {
		.kind = (uint8_t)kind,
		.level = kind == RECORD_NODE ? (uint8_t)j->level : 0,
		.value = value,
		.count = 1,
		.time_ns = clock_wall_ns(),
	};
	segment_no_t number;
	int rc = image_append_wait(i, &r, j->slot, &number, &j->sequence);

	if (rc)
		return error_set(j->err, rc, "cannot append to the log: %s", strerror(-rc));
	j->appended++;
	*address = map_entry(0, number, r.slot);
	return 0;
}

static int write_node(struct checkpoint_job *j, uint64_t index, const map_entry_t *entries)
{
	struct level *l = &j->levels[j->level];
	map_entry_t address;

	if (l->count == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		struct written *more = realloc(l->node, room * sizeof *more);
		if (!more)
			return error_set(j->err, -ENOMEM, "out of memory");
		l->node = more;
		l->room = room;
	}
	map_node_encode(entries, j->slot);
	int rc = append_slot(j, RECORD_NODE, index, &address);
	if (!rc)
		l->node[l->count++] = (struct written){ index, address };
	return rc;
}

static int write_leaf(void *arg, uint64_t index, const map_entry_t *entries)
{
	return write_node(arg, index, entries);
}

static int note_index(void *arg, uint64_t index, const map_entry_t *entries)
{
	struct level *l = arg;

	(void)entries;
	if (l->count == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		struct written *more = realloc(l->node, room * sizeof *more);
		if (!more)
			return -ENOMEM;
		l->node = more;
		l->room = room;
	}
	l->node[l->count++] = (struct written){ index, MAP_ENTRY_NONE };
	return 0;
}

/* The address that an inner node's parent has for it, as saved: needed when the node itself has no row. */
static int saved_address(struct image *i, unsigned level, uint64_t index, map_entry_t *address, struct error *err)
{
	map_entry_t entries[MAP_FANOUT];
	struct map_need need = { .level = MAP_LEVELS - 1, .index = 0, .address = i->saved.checkpoint_root };

	*address = need.address;
	while (need.level > level) {
		int rc = image_read_node(i, &need, entries, err);
		if (rc)
			return rc;
		need.level--;
		need.index = index >> (MAP_FANOUT_BITS * (need.level - level));
		need.address = entries[need.index % MAP_FANOUT];
		*address = need.address;
	}
	return 0;
}

/* Writes the inner nodes of one level: those that changed, and those whose children were written. */
static int write_inner(struct checkpoint_job *j)
{
	struct image *i = j->image;
	const struct level *below = &j->levels[j->level - 1];
	struct level changed = { 0 };
	map_entry_t entries[MAP_FANOUT];
	size_t c = 0, k = 0;
	int rc = map_db_each_changed(i->engine->db, i->id, j->level, note_index, &changed, j->err);

	while (!rc && (c < below->count || k < changed.count)) {
		uint64_t index = UINT64_MAX;
		if (c < below->count)
			index = below->node[c].index / MAP_FANOUT;
		if (k < changed.count && changed.node[k].index <= index)
			index = changed.node[k++].index;
		struct map_need need = { .level = j->level, .index = index };
		rc = saved_address(i, j->level, index, &need.address, j->err);
		if (!rc)
			rc = image_read_node(i, &need, entries, j->err);
		for (; !rc && c < below->count && below->node[c].index / MAP_FANOUT == index; c++)
			entries[below->node[c].index % MAP_FANOUT] = below->node[c].address;
		for (size_t n = 0; !rc && n < MAP_FANOUT; n++)
			if (entries[n] == MAP_ENTRY_LOCAL)
				rc = error_set(j->err, -EIO, "map node %u/%" PRIu64 " has a child that was not written",
				               j->level, index);
		if (!rc)
			rc = write_node(j, index, entries);
		if (!rc)
			rc = map_db_checkpoint_node(i->engine->db, i->id, j->level, index, entries, j->err);
	}
	free(changed.node);
	return rc;
}

/* The body, and everything so far on the local disk. */
static int write_body(struct checkpoint_job *j, struct map_state *st)
{
	struct image *i = j->image;
	const struct level *top = &j->levels[MAP_LEVELS - 1];
	struct checkpoint c = {
		.root = top->count ? top->node[0].address : st->checkpoint_root,
		.position = st->position,
		.size = st->size,
		.allocated = st->allocated,
		.mtime_ns = st->mtime_ns,
		.time_ns = clock_wall_ns(),
		.layers = st->layers,
	};
	map_entry_t address;

	memset(j->slot, 0, i->grain_bytes);
	checkpoint_encode(&c, j->slot);
	int rc = append_slot(j, RECORD_CHECKPOINT, i->remapped ? CHECKPOINT_REMAPPED : 0, &address);
	if (!rc)
		rc = log_flush_wait(atomic_load(&i->log));
	st->checkpoint = (struct log_position){ map_entry_segment(address), 0 };
	st->checkpoint_root = c.root;
	st->remapped = false;
	return rc;
}

/* Where too many wait for their upload the newest is forgotten: an older one is in the store sooner. */
static void note_made(struct image *i, const struct map_state *st)
{
	struct map_state *last = i->made_count ? &i->made[i->made_count - 1] : NULL;

	if (last && (i->made_count == CHECKPOINTS_MADE || last->checkpoint.segment == st->checkpoint.segment))
		*last = *st;
	else
		i->made[i->made_count++] = *st;
}

/* From what was saved at the cut. */
static int write_checkpoint(struct image *i, struct error *err)
{
	struct checkpoint_job j = { .image = i, .err = err };
	struct map_state st;
	int rc;

	st = i->saved;
	j.slot = calloc(1, i->grain_bytes);
	rc = j.slot ? map_db_checkpoint_begin(i->engine->db, i->id, err) : -ENOMEM;
	if (rc)
		goto out;
	rc = map_db_each_changed(i->engine->db, i->id, 0, write_leaf, &j, err);
	for (j.level = 1; !rc && j.level < MAP_LEVELS; j.level++)
		rc = write_inner(&j);
	if (!rc)
		rc = write_body(&j, &st);
	pthread_rwlock_wrlock(&i->node_lock);
	int end = map_db_checkpoint_end(i->engine->db, i->id, &st, !rc, rc ? NULL : err);
	if (!rc)
		rc = end;
	for (unsigned l = 0; !rc && l + 1 < MAP_LEVELS; l++)
		for (size_t k = 0; k < j.levels[l].count; k++)
			grain_map_set_address(i->map, l, j.levels[l].node[k].index, j.levels[l].node[k].address);
	pthread_rwlock_unlock(&i->node_lock);
	if (!rc) {
		i->saved = st;
		note_made(i, &st);
		i->base_checkpoint = st.checkpoint.segment;
		/* Whether guests wrote between the cut and the body. */
		i->ahead = j.sequence - i->cut_sequence != j.appended;
		i->remapped = false;
		i->clean_sequence = j.sequence;
	}
out:
	for (unsigned l = 0; l < MAP_LEVELS; l++)
		free(j.levels[l].node);
	free(j.slot);
	return rc ? error_prefix(err, rc, "cannot write a checkpoint of image %016" PRIx64, i->id) : 0;
}

static void open_gates(struct image *const *images, size_t count)
{
	for (size_t k = 0; k < count; k++)
		pthread_rwlock_unlock(&images[k]->gate);
}

/* Closes the gates of all, each with a mark in the log, which keeps packing from dropping slots that the map at the cut points at. While one
 * of the logs has no room all are open: those who write, and hold the threads that make room, must not wait for it. */
static int close_gates(struct image *const *images, size_t count, struct error *err)
{
	struct room_wait w;

	for (size_t k = 0; k < count;) {
		struct record r = { .kind = RECORD_MARK, .slot = RECORD_NO_SLOT, .time_ns = clock_wall_ns() };
		int rc = image_try_append_at_cut(images[k], &r, &w);
		if (!rc) {
			k++;
			continue;
		}
		open_gates(images, k);
		if (rc != -EAGAIN)
			return cannot_cut(images[k], rc, err);
		image_wait_for_room(&w);
		k = 0;
	}
	return 0;
}

int images_checkpoint(struct image *const *images, size_t count, const struct snapshot_watch *watch, struct error *err)
{
	struct cut {
		struct map_batch *batch;
		struct map_state state;
		int rc;
	} *cuts = calloc(count, sizeof *cuts);
	int rc = cuts ? close_gates(images, count, err) : error_set(err, -ENOMEM, "out of memory");

	/* Nothing is written to any of them now. */
	for (size_t k = 0; !rc && k < count; k++)
		cuts[k].rc = take_cut(images[k], &cuts[k].batch, &cuts[k].state);
	if (!rc)
		open_gates(images, count);
	for (size_t k = 0; !rc && k < count; k++)
		if (cuts[k].rc)
			rc = cannot_cut(images[k], cuts[k].rc, err);
	if (!rc && watch && !watch->taken(watch->arg))
		rc = error_set(err, -EINTR, "given up");
	/* A batch that was taken must be given back, whatever became of the others. */
	for (size_t k = 0; cuts && k < count; k++)
		if (cuts[k].batch) {
			cuts[k].rc = save_cut(images[k], cuts[k].batch, &cuts[k].state, rc ? NULL : err);
			rc = rc ? rc : cuts[k].rc;
		}
	for (size_t k = 0; !rc && k < count; k++)
		rc = write_checkpoint(images[k], err);
	free(cuts);
	return rc;
}

int image_checkpoint(struct image *i, struct error *err)
{
	return images_checkpoint(&i, 1, NULL, err);
}

const struct map_state *image_stored_checkpoint(struct image *i)
{
	segment_no_t stored = i->upload ? upload_stored(i->upload) : 0;
	unsigned old = 0;

	while (old < i->made_count && i->made[old].checkpoint.segment <= stored)
		old++;
	if (!old)
		return NULL;
	i->made_count -= old - 1;
	memmove(i->made, i->made + old - 1, i->made_count * sizeof *i->made);
	return i->made;
}

int image_update_head(struct image *i, struct error *err)
{
	const struct map_state *st = &i->saved;

	if (!i->upload || !st->checkpoint.segment)
		return 0;
	/* Under guests that write all the time the newest never is. */
	if (upload_stored(i->upload) < st->checkpoint.segment)
		st = image_stored_checkpoint(i);
	if (!st || st->checkpoint.segment == i->head_checkpoint.segment)
		return 0;
	struct head head = {
		.epoch = i->epoch,
		.checkpoint = st->checkpoint,
		.size = st->size,
		.allocated = st->allocated,
		.mtime_ns = st->mtime_ns,
		.grain_bytes = i->grain_bytes,
	};
	/* It is but a hint, and still not one to be written over that of a new owner. */
	int rc = image_entitled(i);
	if (rc)
		return error_set(err, rc, "the head of image %016" PRIx64 " is left as it is", i->id);
	rc = head_save(i->engine->pool, i->id, &head, err);
	if (!rc)
		i->head_checkpoint = st->checkpoint;
	return rc;
}
