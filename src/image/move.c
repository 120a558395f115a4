/* SPDX-License-Identifier: GPL-3.0-only */
/* move.c: what is needed of segments with little in them is appended to the log again, so that they become garbage.
 *
 * What has stayed needed for long is likely to stay so, and what guests write is likely to be overwritten soon. Lying in one segment the two
 * would make victims that are half full, again and again. So what is needed of several victims of about the same age is gathered, and fills
 * segments of its own. By simulation (a disk overwritten ten times at random with Zipf's law, a quarter of garbage) this halves what is moved. Map
 * nodes are not moved: they are marked as changed, and the next checkpoint writes them.
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
/* So much is gathered at a time, ... */
#define GATHER_BYTES ((size_t)8 << 20)
/* ... and what of that fills so much of a segment begins one. */
#define ANEW_PERCENT 50
/* What is moved in one round, before a checkpoint: bytes; and of what is stored so small a part, as it takes its place twice until the next
 * round, but some segments in any case. */
#define ROUND_BYTES ((uint64_t)1 << 30)
#define ROUND_PART 8
#define ROUND_SEGMENTS 16
/* By itself a round ends after so long, or so many times what looking took, with what it has moved: other images want their turns. */
#define ROUND_MOST_NS seconds_ns(10)
#define ROUND_MOST_LOOKS 8
/* One that is less full than this may be merged with others even if all that it has is needed. */
#define SMALL_PART 4
#define PAUSE_MS 10

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
	struct clean_pace pace;
	struct grain_slot *needed; /* of the victim */
	struct gathered *grains;   /* what has been gathered: so many, of at most `room` */
	size_t count, room;
	uint8_t *bytes;           /* theirs, in the same order */
	uint64_t before, victims; /* segments emptied before this round; to be emptied in it */
	uint64_t emptied;         /* victims of which nothing is left but what has been gathered */
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
		if (number >= c->floor || !live_is_movable(&c->live, number) || clean_is_emptied(c, number) ||
		    (n && v[n - 1].number == number))
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

/* ---- what is empty ---- */

static int by_emptied(const void *a, const void *b)
{
	const struct emptied *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

bool clean_is_emptied(const struct clean *c, segment_no_t number)
{
	const struct clean_state *s = &c->image->clean_state;
	const struct emptied key = { .number = number };

	/* Who only looks does so beside another cleaning. */
	return !c->options.dry_run && s->emptied_count &&
	       bsearch(&key, s->emptied, s->emptied_count, sizeof key, by_emptied);
}

void clean_forget_emptied(struct clean *c)
{
	struct clean_state *s = &c->image->clean_state;
	struct log_position cut = c->checkpoint.position;
	size_t left = 0;

	s->checkpoint = c->segment;
	for (size_t k = 0; k < s->emptied_count; k++) {
		struct log_position until = s->emptied[k].until;
		if (until.segment > cut.segment || (until.segment == cut.segment && until.record > cut.record))
			s->emptied[left++] = s->emptied[k];
	}
	s->emptied_count = left;
}

/* Where memory is short they will be found empty, or to be empty already. */
static void note_emptied(struct clean *c, const struct victim *victims, size_t count)
{
	struct clean_state *s = &c->image->clean_state;
	struct log_position until = log_position(atomic_load(&c->image->log));
	struct emptied *more = reallocarray(s->emptied, s->emptied_count + count, sizeof *more);

	if (!more)
		return;
	s->emptied = more;
	for (size_t k = 0; k < count; k++)
		s->emptied[s->emptied_count++] = (struct emptied){ victims[k].number, until };
	qsort(s->emptied, s->emptied_count, sizeof *s->emptied, by_emptied);
}

/* ---- the victim's content ---- */

/* Reads a run of slots behind what has been gathered. */
static int read_slots(struct mover *m, segment_no_t number, uint32_t first, size_t count)
{
	struct image *i = m->image;
	int rc = fetch_read_wait(&i->source, number, first, 0, m->bytes + (m->count << i->grain_shift),
	                         count << i->grain_shift);

	return rc ? error_set(m->clean->err, rc, "cannot read slots %" PRIu32 " to %" PRIu32 " of segment %" PRIu64,
	                      first, first + (uint32_t)count - 1, number)
	          : 0;
}

static int by_slot(const void *a, const void *b)
{
	const struct grain_slot *x = a, *y = b;

	return x->slot - y->slot;
}

/* Which grains are to be moved, in the order of slots; nodes are touched. */
static int find_needed(struct mover *m, segment_no_t number, size_t *needed)
{
	struct clean *c = m->clean;
	struct record *records;
	size_t count, n = 0;
	int rc = fetch_records(&m->image->source, number, &records, &count, c->err);

	if (rc)
		return rc;
	for (size_t k = 0; !rc && k < count && n < SEGMENT_SLOTS_MAX; k++) {
		const struct record *r = &records[k];
		if (!record_has_slot(r->kind) || !live_has(&c->live, LIVE_NOW, number, r->slot))
			continue;
		if (r->kind == RECORD_NODE)
			rc = r->level < MAP_LEVELS ? image_touch_node_wait(m->image, r->level, r->value, c->err)
			                           : -EBADMSG;
		if (record_is_grain(r->kind) && r->value < MAP_GRAINS_MAX)
			m->needed[n++] = (struct grain_slot){ r->value, r->slot };
	}
	free(records);
	qsort(m->needed, n, sizeof *m->needed, by_slot);
	*needed = n;
	return rc;
}

/* ---- yielding ---- */

static struct clean_load load_of(const struct engine *e)
{
	return (struct clean_load){ .now_ns = clock_monotonic_ns(),
		                    .guests_wrote = atomic_load(&e->counters.write_bytes),
		                    .unsent = atomic_load(&e->unsent),
		                    .limit = e->options.dirty_limit };
}

static int yield_to_guests(struct mover *m)
{
	struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000 };

	for (;;) {
		struct clean_load load = load_of(m->image->engine);
		if (atomic_load(&m->image->failed))
			return error_set(m->clean->err, -EIO, "the image has stopped: see garner status");
		if (!clean_goes_on(m->clean, CLEAN_MOVE, m->clean->result->moved_segments - m->before, m->victims))
			return -EINTR;
		if (clean_pace_may(&m->pace, &load))
			return 0;
		nanosleep(&pause, NULL);
	}
}

/* ---- moving ---- */

static int by_grain(const void *a, const void *b)
{
	const struct gathered *x = a, *y = b;

	return x->grain < y->grain ? -1 : x->grain > y->grain;
}

/* Appends grains in ascending order, with `anew` from the begin of a segment on. */
static int append_in_order(struct mover *m, const struct gathered *grains, size_t count, bool anew)
{
	struct image *i = m->image;
	size_t most = GATHERED_BYTES_MAX >> i->grain_shift;
	int rc = 0;

	if (most > GATHERED_MAX)
		most = GATHERED_MAX;
	for (size_t k = 0, n; rc >= 0 && k < count; k += n) {
		n = count - k < most ? count - k : most;
		rc = image_move_gathered(i, grains + k, n, anew && !k, m->clean->err);
		if (rc > 0)
			m->clean->result->moved_bytes += (uint64_t)rc << i->grain_shift;
	}
	return rc < 0 ? rc : 0;
}

/* Appends what has been gathered: a segment's worth after the other, each in the order of grains. */
static int append_gathered(struct mover *m)
{
	size_t per = capacity(m->clean);
	int rc = 0;

	if (m->count)
		rc = yield_to_guests(m);
	clean_pace_moved(&m->pace, (uint64_t)m->count << m->image->grain_shift);
	for (size_t k = 0, n; !rc && k < m->count; k += n) {
		n = m->count - k < per ? m->count - k : per;
		qsort(m->grains + k, n, sizeof *m->grains, by_grain);
		rc = append_in_order(m, m->grains + k, n, n * 100 >= per * ANEW_PERCENT);
	}
	m->count = 0;
	if (!rc)
		m->clean->result->moved_segments += m->emptied;
	m->emptied = 0;
	return rc;
}

/* Gathers what is needed of a segment; whenever there is as much as is gathered at a time, that is appended. */
static int gather_victim(struct mover *m, segment_no_t number)
{
	size_t needed;
	int rc = find_needed(m, number, &needed);

	for (size_t k = 0, n; !rc && k < needed; k += n) {
		if (m->count == m->room)
			rc = append_gathered(m);
		for (n = 1; k + n < needed && m->count + n < m->room && m->needed[k + n].slot == m->needed[k].slot + n;
		     n++)
			;
		rc = rc ? rc : read_slots(m, number, m->needed[k].slot, n);
		for (size_t j = 0; !rc && j < n; j++) {
			const struct grain_slot *g = &m->needed[k + j];
			m->grains[m->count] = (struct gathered){ g->grain, map_entry(0, number, g->slot),
				                                 m->bytes + (m->count << m->image->grain_shift) };
			m->count++;
		}
	}
	m->emptied += !rc;
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

static int by_number(const void *a, const void *b)
{
	const struct victim *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

static int mover_init(struct mover *m, struct clean *c, const struct victim *victims, size_t count)
{
	struct clean_load load = load_of(c->image->engine);
	uint64_t total = 0;

	*m = (struct mover){ .clean = c,
		             .image = c->image,
		             .room = GATHER_BYTES >> c->image->grain_shift,
		             .before = c->result->moved_segments,
		             .victims = count };
	for (size_t k = 0; k < count; k++)
		total += (uint64_t)victims[k].live << c->image->grain_shift;
	/* What looking took is part of the round. */
	uint64_t looked_ns = load.now_ns - c->began_ns, least = c->round_ns / 4;
	const struct clean_pace plan = {
		.at_once = c->options.now,
		.pressure = c->pressure,
		.total = total,
		.round_ns = looked_ns + least < c->round_ns ? c->round_ns - looked_ns : least,
	};
	clean_pace_begin(&m->pace, &plan, &load);
	m->bytes = malloc(GATHER_BYTES);
	m->grains = malloc(m->room * sizeof *m->grains);
	m->needed = malloc(SEGMENT_SLOTS_MAX * sizeof *m->needed);
	return m->bytes && m->grains && m->needed ? 0 : -ENOMEM;
}

static void mover_destroy(struct mover *m)
{
	free(m->needed);
	free(m->grains);
	free(m->bytes);
}

static bool is_over(const struct mover *m)
{
	const struct clean *c = m->clean;
	uint64_t most = c->look_ns * ROUND_MOST_LOOKS;

	if (most < ROUND_MOST_NS)
		most = ROUND_MOST_NS;
	return c->by_itself && clock_monotonic_ns() - m->pace.began_ns > most;
}

int64_t clean_move(struct clean *c)
{
	struct mover m = { 0 };
	size_t count = 0;
	struct victim *victims = choose(c, &count);
	int rc = victims ? 0 : -ENOMEM;

	if (!rc && count)
		rc = mover_init(&m, c, victims, count);
	/* What is about as old comes to lie together: it will be needed for about as long. */
	if (!rc && count)
		qsort(victims, count, sizeof *victims, by_number);
	for (size_t k = 0; !rc && k < count; k++) {
		if (k && is_over(&m))
			count = k;
		else
			rc = clean_goes_on(c, CLEAN_MOVE, k, count) ? gather_victim(&m, victims[k].number) : -EINTR;
	}
	if (!rc && count)
		rc = append_gathered(&m);
	if (!rc && count)
		note_emptied(c, victims, count);
	mover_destroy(&m);
	free(victims);
	/* Where writes fail rather than wait for room, there may be some again the next time. */
	if (rc == -ENOSPC && c->by_itself)
		return 0;
	if (rc == -ENOMEM)
		error_set(c->err, rc, "out of memory");
	else if (rc && rc != -EINTR)
		error_prefix(c->err, rc, "cannot move what is needed of image %016" PRIx64, c->image->id);
	return rc ? rc : (int64_t)count;
}
