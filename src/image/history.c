/* SPDX-License-Identifier: GPL-3.0-only */
/* history.c: what there is of an image's past, how much of it is to be kept, and what that needs. */
#include "image/past.h"

#include "base/clock.h"
#include "image/clean.h"

#include <errno.h>
#include <inttypes.h>

/* The owner looks as often for a policy that another host has put. */
#define POLICY_AGE_NS seconds_ns(60)
/* The most segments whose indexes are read for an overview. */
#define SAMPLES_MAX 256

static int entry_of(struct engine *e, uint64_t image, struct catalog_entry *entry, struct error *err)
{
	if (catalog_get(e->catalog, image, entry) || entry->type != NODE_FILE)
		return error_set(err, -ENOENT, "no image %016" PRIx64, image);
	return 0;
}

/* ---- keeping ----------------------------------------------------------------------------------------------------- */

/* The open_mutex is held. */
static void go_by(struct image *i, const struct policy *policy)
{
	i->policy = *policy;
	i->policy_looked_ns = clock_monotonic_ns();
	if (atomic_load(&i->log))
		log_keep_all(atomic_load(&i->log), policy->history_s != 0);
}

void image_look_at_policy(struct image *i)
{
	struct policy policy;
	struct error err = { 0 };

	if (clock_monotonic_ns() - i->policy_looked_ns < POLICY_AGE_NS || !image_changed(i))
		return;
	i->policy_looked_ns = clock_monotonic_ns();
	if (policy_load(i->engine->pool, i->id, &policy, &err))
		report_debug("%s", error_text(&err));
	else if (policy.history_s != i->policy.history_s)
		go_by(i, &policy);
}

int engine_history_keep(struct engine *e, uint64_t image, uint64_t seconds, struct error *err)
{
	struct policy policy = { .history_s = seconds };
	struct catalog_entry entry;
	struct image *i;
	int rc = engine_writable(e, err);

	if (!rc)
		rc = entry_of(e, image, &entry, err);
	if (!rc && seconds > HISTORY_MAX_S)
		rc = error_set(err, -EINVAL, "history is kept for ten years at most");
	if (rc)
		return rc;
	i = image_get(e, image);
	if (i)
		pthread_mutex_lock(&i->open_mutex);
	rc = policy_save(e->pool, image, &policy, err);
	if (i && !rc)
		go_by(i, &policy);
	if (i) {
		pthread_mutex_unlock(&i->open_mutex);
		image_put(i);
	}
	return rc;
}

/* The newest checkpoint that is older than the window; none, or one that was cleaned away: what there is. */
static int find_kept(struct past *p, uint64_t since_ns, struct kept_past *k, struct error *err)
{
	struct image_moment m = { 0 };
	struct checkpoint c;
	int rc = past_segment_at(p, since_ns, &m.segment, err);

	*k = (struct kept_past){ .from = 1 };
	if (!rc && m.segment <= p->floor)
		m.segment = p->floor ? p->floor + 1 : 0;
	if (rc || m.segment < 2)
		return rc;
	rc = past_checkpoint(p, &m, &c, &k->segment, err);
	if (rc)
		return rc == 1 ? 0 : rc;
	k->root = c.root;
	k->from = c.position.segment ? c.position.segment : 1;
	return 0;
}

int history_kept(struct image *i, struct kept_past *k, struct error *err)
{
	const struct catalog_entry entry = { .id = i->id, .grain_bytes = i->grain_bytes };
	struct past p = { .engine = i->engine };
	struct policy policy;
	int rc = policy_load(i->engine->pool, i->id, &policy, err);

	*k = (struct kept_past){ 0 };
	if (rc || !policy.history_s)
		return rc;
	rc = past_open(i->engine, &entry, &p, err);
	if (!rc) {
		uint64_t now = clock_wall_ns(), window = policy.history_s * 1000000000;
		rc = find_kept(&p, now > window ? now - window : 0, k, err);
	}
	past_close(&p);
	return rc == -ENODATA ? 0 : rc;
}

/* ---- an overview ------------------------------------------------------------------------------------------------- */

static uint64_t data_bytes(const struct past *p)
{
	uint64_t grains = 0;

	for (size_t k = 0; k < p->last.count; k++)
		grains += p->last.records[k].kind == RECORD_DATA;
	return grains * p->log->source.slot_bytes;
}

/* Each sample stands for the segments up to the next one. */
static int tell_spans(struct past *p, segment_no_t first, int (*span)(void *arg, const struct history_span *s),
                      void *arg, struct error *err)
{
	segment_no_t step = (p->end - first) / SAMPLES_MAX + 1;
	struct history_span s;
	int rc = 0;

	for (segment_no_t n = first; !rc && n <= p->end; n += step) {
		segment_no_t left = p->end - n + 1;
		rc = past_look_at_records(p, n, err);
		if (rc)
			break;
		s.begin = (struct image_moment){ .segment = n, .time_ns = p->last.records[0].time_ns };
		s.bytes = data_bytes(p) * (left < step ? left : step);
		rc = span(arg, &s);
	}
	return rc;
}

int engine_history(struct engine *e, uint64_t image, uint64_t since_ns, struct history *h,
                   int (*span)(void *arg, const struct history_span *s), void *arg, struct error *err)
{
	struct history_span end = { 0 };
	struct catalog_entry entry;
	struct policy policy;
	segment_no_t first = 0;
	struct past p = { .engine = e };
	int rc = entry_of(e, image, &entry, err);

	if (!rc)
		rc = policy_load(e->pool, image, &policy, err);
	if (rc)
		return rc;
	rc = past_open(e, &entry, &p, err);
	*h = (struct history){ .keep_s = policy.history_s, .segments = p.end };
	if (!rc)
		rc = past_ends(&p, &h->oldest, &h->newest, err);
	if (!rc)
		rc = past_segment_at(&p, since_ns, &first, err);
	if (!rc)
		rc = tell_spans(&p, first ? first : p.floor ? p.floor : 1, span, arg, err);
	end.begin = h->newest;
	if (!rc)
		rc = span(arg, &end);
	past_close(&p);
	return rc;
}
