/* SPDX-License-Identifier: GPL-3.0-only */
/* move.c: what is needed of segments with little in them is appended to the log again, so that they become garbage.
 *
 * A grain is moved under its lock, and only if the map still points at the old place: whatever was written meanwhile wins, in the map
 * and in the log alike. Map nodes are not moved: they are marked as changed, and the next checkpoint writes them.
 */
#include "image/private.h"

#include "base/clock.h"
#include "image/clean.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A segment fuller than this is left alone: moving costs more than it gives. */
#define FULL_PERCENT 80
/* Of one append: grains, and bytes. */
#define APPEND_BYTES ((size_t)1 << 20)
/* What is moved in one round, before a checkpoint: bytes; and of what is stored so small a part, as it takes its place twice until the next
 * round, but some segments in any case. */
#define ROUND_BYTES ((uint64_t)1 << 30)
#define ROUND_PART 32
#define ROUND_SEGMENTS 16
/* One that is less full than this may be merged with others even if all that it has is needed. */
#define SMALL_PART 4
/* Beside guests that write, cleaning writes half as much as they do, and as much or twice as much when it falls behind; and so many bytes per
 * second in any case. */
#define GENTLE_RATE (8u << 20)
#define PAUSE_MS 20

struct victim {
	segment_no_t number;
	uint32_t live, slots; /* needed, of so many */
	double score;
};

/* A grain of the victim that is needed. */
struct grain_slot {
	grain_no_t grain;
	uint16_t slot;
};

struct mover {
	struct clean *clean;
	struct image *image;
	uint8_t *bytes; /* of the victim's slots, as far as they are needed */
	struct grain_slot *grains;
	size_t count;
	uint64_t moved;                  /* bytes */
	uint64_t began_ns, guests_wrote; /* when this began */
};

/* ---- choosing ---- */

static uint32_t capacity(const struct clean *c)
{
	return c->image->engine->options.segment_size / c->image->grain_bytes;
}

static int by_score(const void *a, const void *b)
{
	const struct victim *x = a, *y = b;

	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

/* What can be won from a segment is what it has of garbage, and not what packing has left out: else one that was written again and again before it
 * was stored, and is needed as it is, would be moved for nothing. Who asks for a cleaning wants fewer segments, too. */
static uint32_t slots_to_win(struct clean *c, const struct stored_segment *s)
{
	uint32_t per = capacity(c), slots = c->by_itself ? (uint32_t)clean_slots_of(c, s) : per;

	return slots < per / SMALL_PART ? per / SMALL_PART : slots;
}

/* Cost and benefit: what becomes free by its age, over reading all and writing what is needed. Of a log that what is moved shares with what
 * is new the age says less than where those are apart: by simulation its root does best. */
static double score_of(const struct clean *c, segment_no_t number, uint32_t live, uint32_t slots)
{
	double u = (double)live / slots, gain = (1 - u) / (1 + u);

	return (double)(c->segment - number) * gain * gain;
}

/* What an earlier run or another host has stored is looked at before it is moved. */
static void look_at_header(struct clean *c, struct victim *v)
{
	struct segment *s = segment_pin_known(c->image->set, v->number);
	struct segment_meta meta;

	if ((!s || !atomic_load(&s->stored_slots)) && !fetch_meta(&c->image->source, v->number, &meta, NULL)) {
		uint32_t kept = segment_meta_kept(&meta), least = capacity(c) / SMALL_PART;
		v->slots = kept < least ? least : kept;
		if (s)
			atomic_store(&s->stored_slots, kept);
	}
	if (s)
		segment_unpin(s);
}

static bool is_full(uint32_t live, uint32_t slots)
{
	return live * 100ull > slots * (uint64_t)FULL_PERCENT;
}

/* The victims, best first; as many as one round moves. None when fewer segments would not be the result. */
static struct victim *choose(struct clean *c, size_t *count)
{
	struct victim *v = malloc((c->stored_count + 1) * sizeof *v);
	uint64_t most = ROUND_BYTES / c->image->grain_bytes, total = 0, won = 0, per = capacity(c);
	uint64_t part = c->stored_count / ROUND_PART > ROUND_SEGMENTS ? c->stored_count / ROUND_PART : ROUND_SEGMENTS;
	size_t n = 0, taken = 0;

	if (!v)
		return NULL;
	if (c->by_itself && most > part * per)
		most = part * per;
	for (size_t k = 0; k < c->stored_count; k++) {
		segment_no_t number = c->stored[k].number;
		uint32_t live = live_count(&c->live, LIVE_NOW, number);
		if (number >= c->floor || !live_is_movable(&c->live, number) || (n && v[n - 1].number == number))
			continue;
		uint32_t slots = slots_to_win(c, &c->stored[k]);
		if (!is_full(live, slots))
			v[n++] = (struct victim){ number, live, slots, score_of(c, number, live, slots) };
	}
	qsort(v, n, sizeof *v, by_score);
	for (size_t k = 0; k < n && won < c->wanted && (!taken || total + v[k].live <= most); k++) {
		if (c->by_itself)
			look_at_header(c, &v[k]);
		if (is_full(v[k].live, v[k].slots))
			continue;
		won += v[k].slots - v[k].live;
		total += v[k].live;
		v[taken++] = v[k];
	}
	/* One more for the checkpoint, and one that is not full. */
	*count = total / per + 2 < taken ? taken : 0;
	return v;
}

/* ---- the victim's content ---- */

static int by_grain(const void *a, const void *b)
{
	const struct grain_slot *x = a, *y = b;

	return x->grain < y->grain ? -1 : x->grain > y->grain;
}

/* Reads a run of slots into their places. */
static int read_slots(struct mover *m, segment_no_t number, uint32_t first, uint32_t count)
{
	struct image *i = m->image;
	int rc = fetch_read_wait(&i->source, number, first, 0, m->bytes + ((size_t)first << i->grain_shift),
	                         (size_t)count << i->grain_shift);

	return rc ? error_set(m->clean->err, rc, "cannot read slots %" PRIu32 " to %" PRIu32 " of segment %" PRIu64,
	                      first, first + count - 1, number)
	          : 0;
}

/* Which grains are to be moved, in order; their bytes; and nodes are touched. */
static int read_victim(struct mover *m, segment_no_t number)
{
	struct clean *c = m->clean;
	struct record *records;
	bool wanted[SEGMENT_SLOTS_MAX + 1] = { false };
	uint32_t slots = 0;
	size_t count;
	int rc = fetch_records(&m->image->source, number, &records, &count, c->err);

	if (rc)
		return rc;
	m->count = 0;
	for (size_t k = 0; !rc && k < count; k++) {
		const struct record *r = &records[k];
		if (!record_has_slot(r->kind) || !live_has(&c->live, LIVE_NOW, number, r->slot))
			continue;
		if (r->kind == RECORD_NODE)
			rc = r->level < MAP_LEVELS ? image_touch_node_wait(m->image, r->level, r->value, c->err)
			                           : -EBADMSG;
		if (!record_is_grain(r->kind) || r->value >= MAP_GRAINS_MAX)
			continue;
		m->grains[m->count++] = (struct grain_slot){ r->value, r->slot };
		wanted[r->slot] = true;
		slots = slots > r->slot ? slots : r->slot + 1u;
	}
	free(records);
	for (uint32_t first = 0, end; !rc && first < slots; first = end + 1) {
		for (end = first; end < slots && wanted[end]; end++)
			;
		if (end > first)
			rc = read_slots(m, number, first, end - first);
	}
	if (!rc && m->count)
		qsort(m->grains, m->count, sizeof *m->grains, by_grain);
	return rc;
}

/* ---- moving ---- */

/* Those of a run of grains that are still where they were; the range is locked and pinned. Returns how many. */
static int append_run(struct image *i, grain_no_t first, size_t count, const map_entry_t *old, const void *const *data)
{
	struct record records[MOVE_GRAINS_MAX];
	const void *moved[MOVE_GRAINS_MAX];
	map_entry_t now[MOVE_GRAINS_MAX];
	struct map_need need;
	uint64_t time_ns = clock_wall_ns();
	size_t n = 0;
	int rc = grain_map_lookup(i->map, first, count, now, &need);

	for (size_t k = 0; !rc && k < count; k++) {
		if (now[k] != old[k])
			continue;
		moved[n] = data[k];
		records[n++] =
			(struct record){ .kind = RECORD_MOVE, .value = first + k, .count = 1, .time_ns = time_ns };
	}
	if (!rc && n)
		rc = image_append_moves(i, records, n, moved);
	atomic_fetch_add_explicit(&i->engine->counters.moved_bytes, n << i->grain_shift, memory_order_relaxed);
	return rc ? rc : (int)n;
}

int image_move_grains(struct image *i, grain_no_t first, size_t count, const map_entry_t *old, const void *const *data,
                      struct error *err)
{
	struct range_lock lock;
	int rc;

	image_lock_grains(i, &lock, first, first + count - 1);
	rc = image_pin_wait(i, first, count, true, err);
	if (!rc) {
		rc = append_run(i, first, count, old, data);
		grain_map_unpin(i->map, first, count);
	}
	range_unlock(&i->locks, &lock);
	return rc;
}

static int move_run(struct mover *m, segment_no_t victim, const struct grain_slot *run, size_t count)
{
	map_entry_t old[MOVE_GRAINS_MAX];
	const void *data[MOVE_GRAINS_MAX];

	for (size_t k = 0; k < count; k++) {
		old[k] = map_entry(0, victim, run[k].slot);
		data[k] = m->bytes + ((size_t)run[k].slot << m->image->grain_shift);
	}
	int rc = image_move_grains(m->image, run[0].grain, count, old, data, m->clean->err);
	if (rc < 0)
		return rc;
	m->moved += (uint64_t)rc << m->image->grain_shift;
	m->clean->result->moved_bytes += (uint64_t)rc << m->image->grain_shift;
	return 0;
}

/* ---- yielding ---- */

/* What guests have written since this began allows this much. */
static bool may_go_on(const struct mover *m)
{
	struct engine *e = m->image->engine;
	uint64_t guests = atomic_load(&e->counters.write_bytes) - m->guests_wrote;
	double seconds = (double)(clock_monotonic_ns() - m->began_ns) / 1e9;

	if (atomic_load(&e->unsent) > e->options.dirty_limit / 2)
		return false;
	if (m->clean->options.now || !guests)
		return true;
	uint64_t share = guests / 2 << m->clean->behind;
	return m->moved <= share + (uint64_t)(seconds * GENTLE_RATE) + GENTLE_RATE;
}

static int yield_to_guests(struct mover *m, uint64_t done, uint64_t all)
{
	struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000 };

	for (;;) {
		if (atomic_load(&m->image->failed))
			return error_set(m->clean->err, -EIO, "the image has stopped: see garner status");
		if (!clean_goes_on(m->clean, CLEAN_MOVE, done, all))
			return -EINTR;
		if (may_go_on(m))
			return 0;
		nanosleep(&pause, NULL);
	}
}

static int move_victim(struct mover *m, const struct victim *v)
{
	size_t most = APPEND_BYTES >> m->image->grain_shift;
	int rc = read_victim(m, v->number);

	if (most > MOVE_GRAINS_MAX)
		most = MOVE_GRAINS_MAX;
	for (size_t k = 0, n; !rc && k < m->count; k += n) {
		for (n = 1; n < most && k + n < m->count && m->grains[k + n].grain == m->grains[k].grain + n; n++)
			;
		rc = move_run(m, v->number, m->grains + k, n);
	}
	if (!rc)
		m->clean->result->moved_segments++;
	return rc;
}

int clean_would_move(struct clean *c, uint64_t *segments, uint64_t *bytes)
{
	size_t count = 0;
	struct victim *victims = choose(c, &count);

	if (!victims)
		return error_set(c->err, -ENOMEM, "out of memory");
	*segments = count;
	for (size_t k = 0; k < count; k++)
		*bytes += (uint64_t)victims[k].live << c->image->grain_shift;
	free(victims);
	return 0;
}

int64_t clean_move(struct clean *c)
{
	struct mover m = {
		.clean = c,
		.image = c->image,
		.began_ns = clock_monotonic_ns(),
		.guests_wrote = atomic_load(&c->image->engine->counters.write_bytes),
	};
	size_t count = 0;
	struct victim *victims = choose(c, &count);
	int rc = victims ? 0 : -ENOMEM;

	if (!rc && count) {
		m.bytes = malloc(SEGMENT_BYTES_MAX);
		m.grains = malloc(SEGMENT_SLOTS_MAX * sizeof *m.grains);
		rc = m.bytes && m.grains ? 0 : -ENOMEM;
	}
	for (size_t k = 0; !rc && k < count; k++) {
		rc = yield_to_guests(&m, k, count);
		if (!rc)
			rc = move_victim(&m, &victims[k]);
	}
	free(m.grains);
	free(m.bytes);
	free(victims);
	if (rc == -ENOMEM)
		error_set(c->err, rc, "out of memory");
	else if (rc && rc != -EINTR)
		error_prefix(c->err, rc, "cannot move what is needed of image %016" PRIx64, c->image->id);
	return rc ? rc : (int64_t)count;
}
