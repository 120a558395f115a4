/* SPDX-License-Identifier: GPL-3.0-only */
/* past.c: finding moments by their time or position. Segments are in the order of time, as far as the clocks of their owners were. */
#include "image/past.h"

#include "base/clock.h"
#include "image/clean.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* 0: nothing was cleaned away. */
static int load_floor(struct past *p, segment_no_t *floor, struct error *err)
{
	struct cleaned cleaned;
	int rc = cleaned_load(p->engine->pool, p->image, &cleaned, err);

	/* Where a map and all from its cut on is kept, and that is segment 1, nothing is missing. */
	*floor = rc || cleaned.oldest == 1 ? 0 : cleaned.oldest;
	return rc == -ENOENT ? 0 : rc;
}

int past_still_there(struct past *p, struct error *err)
{
	segment_no_t floor;
	int rc = load_floor(p, &floor, err);

	return rc || floor == p->floor ? rc : error_set(err, -EAGAIN, "cleaning came in between: try again");
}

int past_open(struct engine *e, const struct catalog_entry *image, struct past *p, struct error *err)
{
	int rc;

	*p = (struct past){ .engine = e, .image = image->id };
	p->log = stored_log_new(e, image->id, image->grain_bytes);
	if (!p->log)
		return error_set(err, -ENOMEM, "out of memory");
	rc = log_view_load(e->pool, image->id, &p->log->view, err);
	if (!rc && p->log->view.term_count)
		rc = log_find_end_from(e->pool, image->id, &p->log->view, p->log->view.checkpoint.segment, &p->end,
		                       err);
	if (!rc && !p->end)
		return error_set(err, -ENODATA, "%s has no past: nothing that was written to it is in the store",
		                 image->name);
	if (!rc)
		rc = load_floor(p, &p->floor, err);
	return rc ? rc : image_settle_log(e, &p->log->source, &p->log->view, p->end, err);
}

static void forget_last(struct past *p)
{
	free(p->last.records);
	p->last = (struct past_segment){ 0 };
}

void past_close(struct past *p)
{
	forget_last(p);
	stored_log_free(p->log);
	p->log = NULL;
}

/* ---- one segment ------------------------------------------------------------------------------------------------- */

/* Of records as they were packed: up to which nothing can have been dropped. Slots were given in the order of the records, so a
 * slot that is missing shows where. */
static size_t dense_prefix(const struct record *records, size_t count)
{
	uint32_t next = 0;
	size_t whole = 0;

	for (size_t k = 0; k < count; k++) {
		if (!record_has_slot(records[k].kind))
			continue;
		if (records[k].slot != next)
			break;
		next++;
		whole = k + 1;
	}
	return whole;
}

/* Of records as they were written, of which the store has fewer. */
static int first_dropped(const struct record *records, size_t count, size_t *whole)
{
	bool *keep = malloc(count + 1);
	int rc = keep ? records_mark_needed(records, count, keep) : -ENOMEM;

	for (*whole = 0; !rc && *whole < count && keep[*whole]; ++*whole)
		;
	free(keep);
	return rc;
}

/* A moment must be the same wherever it is asked for: as the store has the segment, whether it is here as it was written or not. */
static int find_whole(struct past *p, struct past_segment *s, struct error *err)
{
	struct segment_meta meta;
	int rc = fetch_meta(&p->log->source, s->number, &meta, err);

	if (!rc && meta.record_count != s->count)
		return first_dropped(s->records, s->count, &s->whole);
	if (!rc)
		s->whole = meta.written_count == s->count ? s->count : dense_prefix(s->records, s->count);
	return rc;
}

int past_look_at_records(struct past *p, segment_no_t number, struct error *err)
{
	int rc;

	if (p->last.number == number)
		return 0;
	forget_last(p);
	rc = fetch_records(&p->log->source, number, &p->last.records, &p->last.count, err);
	if (rc || !p->last.count) {
		free(p->last.records);
		p->last.records = NULL;
		return rc ? rc : error_set(err, -EBADMSG, "segment %" PRIu64 " has no records", number);
	}
	p->last.number = number;
	p->last.whole = SIZE_MAX;
	return 0;
}

int past_look(struct past *p, segment_no_t number, struct error *err)
{
	int rc = past_look_at_records(p, number, err);

	if (!rc && p->last.whole == SIZE_MAX)
		rc = find_whole(p, &p->last, err);
	if (rc)
		forget_last(p);
	return rc;
}

/* ---- moments ----------------------------------------------------------------------------------------------------- */

/* The time of the last record before the position. */
static int find_time(struct past *p, struct image_moment *m, struct error *err)
{
	int rc = past_look_at_records(p, m->record ? m->segment : m->segment - 1, err);

	if (!rc)
		m->time_ns = p->last.records[(m->record ? m->record : p->last.count) - 1].time_ns;
	return rc;
}

/* After the first record, or the first checkpoint that was left. */
static int find_oldest(struct past *p, struct image_moment *m, struct error *err)
{
	segment_no_t number = p->floor ? p->floor : 1;
	size_t k = 1;
	int rc = past_look(p, number, err);

	if (rc)
		return rc;
	for (size_t n = 0; p->floor && n < p->last.count; n++)
		if (p->last.records[n].kind == RECORD_CHECKPOINT)
			k = n + 1;
	*m = k <= p->last.whole && k < p->last.count ? (struct image_moment){ .segment = number, .record = (uint32_t)k }
	                                             : (struct image_moment){ .segment = number + 1 };
	return find_time(p, m, err);
}

int past_ends(struct past *p, struct image_moment *oldest, struct image_moment *newest, struct error *err)
{
	int rc = find_oldest(p, oldest, err);

	*newest = (struct image_moment){ .segment = p->end + 1 };
	return rc ? rc : find_time(p, newest, err);
}

static int out_of_range(struct past *p, const char *why, struct error *err)
{
	char from[CLOCK_TEXT_MAX], to[CLOCK_TEXT_MAX];
	struct image_moment oldest, newest;
	int rc = past_ends(p, &oldest, &newest, err);

	if (rc)
		return rc;
	clock_wall_format(oldest.time_ns, from);
	clock_wall_format(newest.time_ns, to);
	return error_set(err, -ERANGE,
	                 "%s; there are moments from %s (log %" PRIu64 ".%" PRIu32 ") to %s (log %" PRIu64
	                 ".0): see garner history",
	                 why, from, oldest.segment, oldest.record, to, newest.segment);
}

int past_segment_at(struct past *p, uint64_t time_ns, segment_no_t *number, struct error *err)
{
	segment_no_t first = p->floor ? p->floor : 1, low = first - 1, high = p->end + 1;

	while (high - low > 1) {
		segment_no_t middle = low + (high - low) / 2;
		int rc = past_look_at_records(p, middle, err);

		if (rc)
			return rc;
		if (p->last.records[0].time_ns <= time_ns)
			low = middle;
		else
			high = middle;
	}
	*number = low < first ? 0 : low;
	return 0;
}

/* Where the records before are no later than that. */
static int find_by_time(struct past *p, struct image_moment *m, struct error *err)
{
	segment_no_t number;
	size_t k = 0;
	int rc = past_segment_at(p, m->time_ns, &number, err);

	if (!rc && !number)
		return out_of_range(p,
		                    p->floor ? "what was there then was cleaned away"
		                             : "that is before the image's first moment",
		                    err);
	if (!rc)
		rc = past_look(p, number, err);
	if (rc)
		return rc;
	while (k < p->last.count && p->last.records[k].time_ns <= m->time_ns)
		k++;
	if (k < p->last.count && k > p->last.whole)
		k = p->last.whole;
	m->segment = k < p->last.count ? number : number + 1;
	m->record = k < p->last.count ? (uint32_t)k : 0;
	return 0;
}

static int check_position(struct past *p, struct image_moment *m, struct error *err)
{
	char why[160];
	int rc;

	if (m->segment > p->end + 1 || (m->segment == p->end + 1 && m->record))
		return out_of_range(p, "the log has no such position", err);
	if (!m->record)
		return 0;
	rc = past_look(p, m->segment, err);
	if (rc)
		return rc;
	if (m->record <= p->last.whole && m->record <= p->last.count)
		return 0;
	snprintf(why, sizeof why,
	         "of segment %" PRIu64 " there are no moments between %" PRIu64 ".%zu and %" PRIu64
	         ".0: what others overwrote was dropped (garner history --keep)",
	         m->segment, m->segment, p->last.whole, m->segment + 1);
	return out_of_range(p, why, err);
}

static bool is_before(const struct image_moment *a, const struct image_moment *b)
{
	return a->segment < b->segment || (a->segment == b->segment && a->record < b->record);
}

int past_find(struct past *p, struct image_moment *m, struct error *err)
{
	struct image_moment oldest;
	int rc = find_oldest(p, &oldest, err);

	if (!rc && !m->segment)
		rc = find_by_time(p, m, err);
	if (!rc && is_before(m, &oldest))
		rc = out_of_range(p,
		                  p->floor ? "what was there then was cleaned away"
		                           : "that is before the image's first moment",
		                  err);
	if (!rc)
		rc = check_position(p, m, err);
	return rc ? rc : find_time(p, m, err);
}

/* ---- what is not in the store yet -------------------------------------------------------------------------------- */

/* Whether the moment may be later than what the store has. */
static int is_later(struct past *p, const struct image_moment *m, bool *later, struct error *err)
{
	int rc;

	*later = m->segment > p->end + !m->record;
	if (m->segment)
		return 0;
	rc = past_look_at_records(p, p->end, err);
	if (!rc)
		*later = p->last.records[p->last.count - 1].time_ns <= m->time_ns;
	return rc;
}

int past_reach(struct past *p, const struct catalog_entry *image, const struct image_moment *m, struct error *err)
{
	struct engine *e = p->engine;
	const struct log_view *v;
	bool later, here = image_is_owned(e, image->id);
	int rc = past_open(e, image, p, err);

	if (!rc)
		rc = is_later(p, m, &later, err);
	if (rc == -ENODATA && here) {
		later = true;
		rc = 0;
	}
	if (rc || !later)
		return rc;
	if (here) {
		past_close(p);
		rc = engine_flush(e, image->id, NULL, NULL, err);
		return rc ? rc : past_open(e, image, p, err);
	}
	v = &p->log->view;
	if (v->newest_epoch && !v->released && v->owner_host != e->host.id)
		return error_set(
			err, -EAGAIN,
			"%s is written by %s, and what it has not uploaded is not in the store yet: rewind there, or "
			"to an earlier moment",
			image->name, v->owner_name);
	return 0;
}

int past_checkpoint(struct past *p, const struct image_moment *m, struct checkpoint *c, segment_no_t *segment,
                    struct error *err)
{
	const struct fetch_source *source = &p->log->source;
	struct segment_meta meta;
	int rc = m->record ? checkpoint_read(source, m->segment, m->record, c, err) : 1;

	*segment = m->segment;
	if (rc <= 0 || m->segment == 1)
		return rc;
	rc = fetch_meta(source, m->segment - 1, &meta, err);
	if (rc)
		return rc;
	*segment = meta.checkpoint.segment;
	if (!*segment)
		return 1;
	rc = checkpoint_read(source, *segment, SIZE_MAX, c, err);
	return rc == 1 ? error_set(err, -EBADMSG, "segment %" PRIu64 " has no checkpoint", *segment) : rc;
}

/* ---- what an image begins with ----------------------------------------------------------------------------------- */

/* What the image itself began as, if it began as another one. */
static int own_base(struct past *p, struct beginning *b, struct error *err)
{
	struct layer_list own;
	int rc = layer_list_load(p->engine->pool, p->image, &own, err);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	b->held.root = own.base.root;
	b->held.info.size = own.base.info.size;
	b->held.info.allocated_bytes = own.base.info.allocated_bytes;
	b->held.info.mtime_ns = own.base.info.mtime_ns;
	b->held.layers = (uint32_t)own.count;
	b->of_base = true;
	layer_list_destroy(&own);
	return 0;
}

/* Records that come on top of a checkpoint may lead to layers that it does not know. */
static int need_all_layers(struct past *p, struct beginning *b, struct error *err)
{
	struct layer_list own;
	int rc = layer_list_load(p->engine->pool, p->image, &own, err);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	if (own.count > b->held.layers)
		b->held.layers = (uint32_t)own.count;
	layer_list_destroy(&own);
	return 0;
}

/* The segments to be held begin where the checkpoint was cut. */
int past_beginning(struct past *p, const struct image_moment *m, struct beginning *b, struct error *err)
{
	struct checkpoint c;
	segment_no_t last = m->record ? m->segment : m->segment - 1, from = 1, at;
	int rc = past_checkpoint(p, m, &c, &at, err);

	b->held.image = p->image;
	b->held.segment = last;
	b->held.grain_bytes = p->log->source.slot_bytes;
	b->held.info.time_ns = m->time_ns;
	b->to = (struct log_position){ m->segment, m->record };
	if (!rc) {
		b->held.root = c.root;
		b->held.info.size = c.size;
		b->held.info.allocated_bytes = c.allocated * p->log->source.slot_bytes;
		b->held.info.mtime_ns = c.mtime_ns;
		b->held.layers = c.layers;
		from = c.position.segment;
	} else if (rc == 1) {
		rc = own_base(p, b, err);
	}
	if (!rc && !from)
		rc = error_set(err, -EBADMSG, "the checkpoint before that moment is damaged");
	b->held.whole_from = from <= last ? from : 0;
	return rc || !b->held.whole_from ? rc : need_all_layers(p, b, err);
}

int past_hold(struct engine *e, const struct catalog_entry *image, struct image_moment *m, uint64_t holder,
              struct beginning *b, struct error *err)
{
	struct past p = { .engine = e };
	int rc = past_reach(&p, image, m, err);

	if (!rc)
		rc = past_find(&p, m, err);
	if (!rc)
		rc = past_beginning(&p, m, b, err);
	if (!rc)
		rc = moment_hold_past(e, &b->held, holder, &b->hold, err);
	if (!rc && (rc = past_still_there(&p, err)))
		moment_let_go(e, &b->held);
	past_close(&p);
	return rc;
}
