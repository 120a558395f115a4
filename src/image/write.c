/* SPDX-License-Identifier: GPL-3.0-only */
/* write.c: everything that changes an image: writing, zeroing, resizing, setting the time.
 *
 * One operation goes: lock its grains -> for each piece of at most 1 MiB: merge partial grains with their old bytes -> pin the
 * map's leaves -> wait its turn (pace, room in the log) -> reserve, fill, point the map, complete -> unlock, answer. Any of
 * the waits gives the thread back. An operation that goes past the end locks everything from there on, so that sizes are
 * logged in order.
 */
#include "image/private.h"

#include "base/bytes.h"
#include "base/clock.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_BYTES (1u << 20)
/* Grains that one record may zero: what grain_map_pin() takes. */
#define ZERO_GRAINS ((uint64_t)1 << 18)
/* Grains of one piece of data, which may begin and end inside one; and a resize before them. */
#define PIECE_RECORDS (PIECE_BYTES / GRAIN_BYTES_MIN + 2)

enum write_kind { WRITE_DATA, WRITE_ZEROS, WRITE_RESIZE, WRITE_TIMES };
enum write_stage { STAGE_LOCK, STAGE_PIECE, STAGE_MERGE, STAGE_PIN, STAGE_ROOM, STAGE_DONE };

struct write_op {
	struct op op;
	enum write_kind kind;
	enum write_stage stage;
	uint64_t offset, len, at; /* `at`: how much is done */
	uint64_t new_size;        /* WRITE_RESIZE; WRITE_TIMES: the time */
	const uint8_t *data;      /* of the caller, or own */
	uint8_t *own;
	bool moved; /* to `own`, since the records were made */
	struct range_lock lock;
	bool locked, wide;
	_Atomic int turn; /* of parking and waking, whichever comes second goes on */
	int error;        /* found while parking */

	/* the piece */
	grain_no_t first;
	uint32_t grains;    /* of data; WRITE_ZEROS with whole grains: of the one record */
	uint64_t piece_len; /* bytes of the operation that it covers */
	bool whole_zeros, single, pinned, paced, map_paced, fetched;
	unsigned merged;  /* partial grains dealt with: 0, 1, 2 */
	uint8_t *edge[2]; /* first and last grain, merged */
	size_t count;     /* of records */
	unsigned slots;
	struct record records[PIECE_RECORDS];
	const void *slot_data[PIECE_RECORDS];
	struct log_append append;
};

static void write_destroy(struct op *op)
{
	struct write_op *w = (struct write_op *)op;

	if (w->pinned)
		grain_map_unpin(op->image->map, w->first, w->grains);
	if (w->locked)
		range_unlock(&op->image->locks, &w->lock);
	free(w->edge[0]);
	free(w->edge[1]);
	free(w->own);
}

/* Before the caller's thread is given back, its bytes are copied. */
static int keep_data(struct write_op *w)
{
	if (w->kind != WRITE_DATA || w->own)
		return 0;
	w->own = malloc(w->len);
	if (!w->own)
		return -ENOMEM;
	memcpy(w->own, w->data, w->len);
	w->data = w->own;
	w->moved = true;
	return 0;
}

/* ---- waiting without a thread ----
 *
 * A waker may come before the caller's bytes have been copied. So both parking and waking take the turn, and the second of the
 * two goes on. */

static void wake(void *arg)
{
	struct write_op *w = arg;

	if (!atomic_exchange(&w->turn, 1))
		return;
	if (executor_run(w->op.image->engine->work, image_op_resume, &w->op))
		image_op_resume(&w->op);
}

/* -EINPROGRESS: the caller's thread is free. 0: woken already. */
static int park(struct write_op *w)
{
	w->error = keep_data(w);
	return atomic_exchange(&w->turn, 1) ? 0 : -EINPROGRESS;
}

/* ---- locking ---- */

static bool extends(const struct write_op *w)
{
	uint64_t size = atomic_load(&w->op.image->size);

	return w->kind == WRITE_RESIZE || (w->kind == WRITE_DATA && w->offset + w->len > size);
}

/* Takes the lock: 0 when it is held, -EINPROGRESS. Widens it if the end was passed only by what happened meanwhile. */
static int lock_grains(struct write_op *w)
{
	struct image *i = w->op.image;

	for (;;) {
		if (w->locked && (w->wide || !extends(w)))
			return 0;
		if (w->locked)
			range_unlock(&i->locks, &w->lock);
		w->wide = extends(w);
		uint64_t first = grain_of(i, w->offset), last = grain_of(i, w->offset + (w->len ? w->len - 1 : 0));
		atomic_store(&w->turn, 0);
		/* Set now: whoever goes on after the wait finds it held. */
		w->locked = true;
		if (!range_lock(&i->locks, &w->lock, first, w->wide ? UINT64_MAX : last, wake, w)) {
			int rc = park(w);
			if (rc)
				return rc;
		}
	}
}

/* ---- pieces ---- */

/* Sets up a piece that zeroes whole grains, from the next mapped one on. Returns 1 when nothing is left to zero. */
static int zero_piece(struct write_op *w)
{
	struct image *i = w->op.image;
	uint64_t from = w->offset + w->at, left = w->len - w->at;
	grain_no_t g = grain_of(i, from), limit = g + (left >> i->grain_shift), found;
	struct map_need need;
	int rc = 0;

	while (!rc && grain_map_next(i->map, g, limit, true, &found, &need) == -EAGAIN) {
		w->at += (found - g) << i->grain_shift;
		g = found;
		rc = image_load_node(i, &need, &w->op);
	}
	if (rc)
		return rc;
	if (found == GRAIN_NONE) {
		w->at += (limit - g) << i->grain_shift;
		return 1;
	}
	w->at += (found - g) << i->grain_shift;
	w->first = found;
	uint64_t n = round_down(found, ZERO_GRAINS) + ZERO_GRAINS - found;
	w->grains = (uint32_t)(n < limit - found ? n : limit - found);
	w->piece_len = (uint64_t)w->grains << i->grain_shift;
	w->whole_zeros = true;
	return 0;
}

/* Sets up the next piece. 1: the operation is complete. */
static int next_piece(struct write_op *w)
{
	struct image *i = w->op.image;
	uint64_t mask = i->grain_bytes - 1;
	int rc = 1;

	w->merged = 0;
	w->paced = w->map_paced = false;
	while (rc == 1 && w->at < w->len) {
		uint64_t from = w->offset + w->at, left = w->len - w->at;
		w->whole_zeros = false;
		if (w->kind != WRITE_DATA && !(from & mask) && left > mask) {
			rc = zero_piece(w);
			continue;
		}
		uint64_t most = w->kind == WRITE_DATA ? PIECE_BYTES : i->grain_bytes - (from & mask);
		if (w->kind == WRITE_DATA && ((from & mask) || left > most))
			most -= from & mask; /* later pieces begin at a grain */
		w->piece_len = left < most ? left : most;
		w->first = grain_of(i, from);
		w->grains = (uint32_t)(grain_of(i, from + w->piece_len - 1) - w->first + 1);
		rc = 0;
	}
	return rc;
}

/* ---- partial grains ---- */

/* The bytes of the operation that fall into grain `g`: [*begin, *end) within the grain. */
static void span(const struct write_op *w, grain_no_t g, uint32_t *begin, uint32_t *end)
{
	const struct image *i = w->op.image;
	uint64_t from = w->offset + w->at, to = from + w->piece_len, base = g << i->grain_shift;

	*begin = from > base ? (uint32_t)(from - base) : 0;
	*end = to < base + i->grain_bytes ? (uint32_t)(to - base) : i->grain_bytes;
}

/* Brings the first or last grain of the piece together with its old bytes, if it is a partial one. */
static int merge_edge(struct write_op *w, unsigned edge)
{
	struct image *i = w->op.image;
	grain_no_t g = edge ? w->first + w->grains - 1 : w->first;
	uint32_t begin, end;
	int rc;

	span(w, g, &begin, &end);
	if ((begin == 0 && end == i->grain_bytes) || (edge && w->grains == 1))
		return 0;
	if (!w->edge[edge] && !(w->edge[edge] = malloc(i->grain_bytes)))
		return -ENOMEM;
	rc = keep_data(w);
	if (!rc)
		rc = image_op_read_grain(&w->op, g, w->edge[edge], &w->fetched);
	if (rc)
		return rc;
	if (w->kind == WRITE_DATA)
		memcpy(w->edge[edge] + begin, w->data + ((g << i->grain_shift) + begin - w->offset), end - begin);
	else
		memset(w->edge[edge] + begin, 0, end - begin);
	return 0;
}

/* The bytes of a grain of the piece, after merging. */
static const uint8_t *grain_bytes_of(const struct write_op *w, grain_no_t g)
{
	uint32_t begin, end;

	span(w, g, &begin, &end);
	if (begin == 0 && end == w->op.image->grain_bytes)
		return w->data + ((g << w->op.image->grain_shift) - w->offset);
	return w->edge[g == w->first ? 0 : 1];
}

/* ---- records ---- */

static void add_zero(struct write_op *w, grain_no_t g, uint32_t count, uint64_t now)
{
	struct record *last = w->count ? &w->records[w->count - 1] : NULL;

	if (last && last->kind == RECORD_ZERO && last->value + last->count == g) {
		last->count += count;
		return;
	}
	w->slot_data[w->count] = NULL;
	w->records[w->count++] = (struct record){
		.kind = RECORD_ZERO, .slot = RECORD_NO_SLOT, .value = g, .count = count, .time_ns = now
	};
}

/* What the piece says, as records: a resize if it ends past the end, then data and zeros in order. */
static void make_records(struct write_op *w)
{
	struct image *i = w->op.image;
	uint64_t now = clock_wall_ns(), end = w->offset + w->at + w->piece_len;

	w->count = 0;
	w->slots = 0;
	w->moved = false;
	if (w->kind == WRITE_DATA && end > atomic_load(&i->size)) {
		w->slot_data[0] = NULL;
		w->records[w->count++] =
			(struct record){ .kind = RECORD_RESIZE, .slot = RECORD_NO_SLOT, .value = end, .time_ns = now };
	}
	if (w->whole_zeros) {
		add_zero(w, w->first, w->grains, now);
		return;
	}
	for (grain_no_t g = w->first; g < w->first + w->grains; g++) {
		const uint8_t *bytes = grain_bytes_of(w, g);
		if (is_zero(bytes, i->grain_bytes)) {
			add_zero(w, g, 1, now);
			continue;
		}
		w->slot_data[w->count] = bytes;
		w->records[w->count++] = (struct record){ .kind = RECORD_DATA, .value = g, .count = 1, .time_ns = now };
		w->slots++;
	}
}

/* The one record of a resize or of set times. */
static void make_single(struct write_op *w)
{
	w->records[0] = (struct record){ .kind = w->kind == WRITE_RESIZE ? RECORD_RESIZE : RECORD_TIMES,
		                         .slot = RECORD_NO_SLOT,
		                         .value = w->new_size,
		                         .time_ns = clock_wall_ns() };
	w->slot_data[0] = NULL;
	w->count = 1;
	w->slots = 0;
}

/* The caller's bytes have moved to a copy: points the records at that. */
static void make_records_again(struct write_op *w)
{
	if (w->single)
		make_single(w);
	else
		make_records(w);
}

/* Points the map at what was filled. The leaves are pinned. */
static void apply(struct write_op *w)
{
	struct image *i = w->op.image;
	map_entry_t entries[PIECE_RECORDS];

	for (unsigned p = 0; p < w->append.parts; p++) {
		const struct log_part *part = &w->append.part[p];
		size_t end = part->first + part->count, n;
		for (size_t k = part->first; k < end; k += n) {
			const struct record *r = &w->records[k];
			n = 1;
			if (r->kind == RECORD_RESIZE)
				atomic_store(&i->size, r->value);
			if (r->kind == RECORD_ZERO)
				grain_map_clear(i->map, r->value, r->count);
			if (r->kind != RECORD_DATA)
				continue;
			for (n = 0; k + n < end && r[n].kind == RECORD_DATA && r[n].value == r->value + n; n++)
				entries[n] = map_entry(0, part->segment->number, r[n].slot);
			grain_map_update(i->map, r->value, n, entries);
		}
	}
	atomic_store(&i->mtime_ns, w->kind == WRITE_TIMES ? w->new_size : w->records[0].time_ns);
}

/* Reserve, fill, apply, complete. 0, -EAGAIN (no room: woken later), or an error. */
static int append_piece(struct write_op *w)
{
	struct image *i = w->op.image;
	struct log *log = atomic_load(&i->log);

	pthread_rwlock_rdlock(&i->gate);
	int rc = log_reserve(log, w->records, w->count, &w->append, wake, w);
	if (!rc) {
		/* Before it can be sent. */
		image_unsent_add(i, (uint64_t)w->slots * i->grain_bytes);
		rc = log_fill(log, &w->append, w->records, w->slot_data);
		if (!rc)
			apply(w);
		log_complete(log, &w->append);
	}
	pthread_rwlock_unlock(&i->gate);
	return rc;
}

/* ---- the steps ---- */

static int pin_leaves(struct write_op *w)
{
	struct image *i = w->op.image;
	struct map_need need;
	int rc = image_op_node_arrived(&w->op);

	while (!rc && (rc = grain_map_pin(i->map, w->first, w->grains, !w->slots, &need)) == -EAGAIN) {
		rc = keep_data(w);
		if (!rc)
			rc = image_load_node(i, &need, &w->op);
	}
	if (rc)
		return rc;
	w->pinned = true;
	if (w->moved)
		make_records(w);
	return 0;
}

/* Waits for its turn and for room, then appends. */
static int append_in_turn(struct write_op *w)
{
	struct image *i = w->op.image;
	int rc;

	for (;;) {
		if (atomic_load(&i->failed))
			return -EIO;
		atomic_store(&w->turn, 0);
		rc = image_pace(i, (uint64_t)w->slots * i->grain_bytes, &w->paced, wake, w);
		if (!rc)
			rc = engine_pace_map(i->engine, &w->map_paced, wake, w);
		if (!rc)
			rc = append_piece(w);
		if (rc != -EAGAIN)
			return rc;
		rc = park(w);
		if (rc)
			return rc;
		if (w->error)
			return w->error;
		make_records_again(w);
	}
}

/* What is left once every piece is done: the record of a resize or time, if that is what this is. */
static enum write_stage after_pieces(struct write_op *w)
{
	if (w->single || w->kind == WRITE_DATA || w->kind == WRITE_ZEROS)
		return STAGE_DONE;
	w->single = true;
	make_single(w);
	return STAGE_ROOM;
}

/* After the lock of a resize is held, the size stands still: what lies past the new one is zeroed first. */
static void plan_shrink(struct write_op *w)
{
	uint64_t end = round_up(atomic_load(&w->op.image->size), w->op.image->grain_bytes);

	if (w->kind == WRITE_RESIZE)
		w->len = end > w->offset && atomic_load(&w->op.image->size) > w->offset ? end - w->offset : 0;
}

/* After -EINPROGRESS from anything, another thread may be on the next step already: nothing of the operation is touched. */
static int64_t write_step(struct op *op)
{
	struct write_op *w = (struct write_op *)op;
	int rc = w->error;

	if (!rc && w->stage == STAGE_ROOM)
		make_records_again(w);
	while (!rc && w->stage != STAGE_DONE) {
		switch (w->stage) {
		case STAGE_LOCK:
			rc = w->kind == WRITE_TIMES ? 0 : lock_grains(w);
			if (rc)
				break;
			plan_shrink(w);
			w->stage = STAGE_PIECE;
			break;
		case STAGE_PIECE:
			rc = image_op_node_arrived(op);
			if (!rc)
				rc = next_piece(w);
			if (rc == 1) {
				w->stage = after_pieces(w);
				rc = 0;
			} else if (!rc) {
				w->stage = STAGE_MERGE;
			}
			break;
		case STAGE_MERGE:
			while (!rc && w->merged < 2 && !w->whole_zeros) {
				rc = merge_edge(w, w->merged);
				if (!rc)
					w->merged++;
			}
			if (!rc) {
				make_records(w);
				w->stage = STAGE_PIN;
			}
			break;
		case STAGE_PIN:
			rc = pin_leaves(w);
			if (!rc)
				w->stage = STAGE_ROOM;
			break;
		case STAGE_ROOM:
			rc = append_in_turn(w);
			if (rc)
				break;
			if (w->pinned)
				grain_map_unpin(op->image->map, w->first, w->grains);
			w->pinned = false;
			w->at += w->single ? 0 : w->piece_len;
			w->stage = w->single ? STAGE_DONE : STAGE_PIECE;
			break;
		case STAGE_DONE:
			break;
		}
	}
	if (rc)
		return rc;
	return w->kind == WRITE_DATA ? (int64_t)w->len : 0;
}

/* ---- the calls ---- */

static int64_t start(struct image *i, enum write_kind kind, uint64_t offset, uint64_t len, const void *data,
                     uint64_t value, image_done_fn *done, void *arg)
{
	uint64_t end;

	if (__builtin_add_overflow(offset, len, &end) || end > MAP_GRAINS_MAX << i->grain_shift)
		return -EFBIG;
	if (atomic_load(&i->failed))
		return -EIO;
	if (!image_use_log(i))
		return -EROFS;
	struct write_op *w = malloc(sizeof *w);
	if (!w) {
		image_unuse_log(i);
		return -ENOMEM;
	}
	/* The arrays at the end are large, and are written before they are read. */
	memset(w, 0, offsetof(struct write_op, records));
	w->op = (struct op){
		.image = i, .step = write_step, .destroy = write_destroy, .done = done, .arg = arg, .uses_log = true
	};
	w->kind = kind;
	w->offset = offset;
	w->len = len;
	w->data = data;
	w->new_size = value;
	return image_op_start(&w->op);
}

int64_t image_write(struct image *i, uint64_t offset, const void *buf, size_t len, image_done_fn *done, void *arg)
{
	if (!len)
		return 0;
	atomic_fetch_add_explicit(&i->engine->counters.writes, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&i->engine->counters.write_bytes, len, memory_order_relaxed);
	return start(i, WRITE_DATA, offset, len, buf, 0, done, arg);
}

int64_t image_discard(struct image *i, uint64_t offset, uint64_t len, image_done_fn *done, void *arg)
{
	uint64_t size = atomic_load(&i->size);

	if (offset >= size || !len)
		return 0;
	if (len >= size - offset)
		len = round_up(size, i->grain_bytes) - offset;
	return start(i, WRITE_ZEROS, offset, len, NULL, 0, done, arg);
}

int64_t image_resize(struct image *i, uint64_t size, image_done_fn *done, void *arg)
{
	if (size == atomic_load(&i->size))
		return 0;
	return start(i, WRITE_RESIZE, size, 0, NULL, size, done, arg);
}

int64_t image_set_mtime(struct image *i, uint64_t mtime_ns, image_done_fn *done, void *arg)
{
	return start(i, WRITE_TIMES, 0, 0, NULL, mtime_ns, done, arg);
}
