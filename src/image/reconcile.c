/* SPDX-License-Identifier: GPL-3.0-only */
/* reconcile.c: the segments of a log that are here, against what the store says is the log. */
#include "image/private.h"

#include "image/clean.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Moves a segment that is no part of the log any more out of the way, where its owner can find it, and forgets it. `epoch`: of who
 * says so. */
static int set_aside(struct engine *e, struct segment_set *set, struct segment *s, uint64_t epoch, struct error *err)
{
	char *dir = NULL, *from = segment_path(set, s->number), *to = NULL;
	int rc = -ENOMEM;

	cache_forget_segment(e->cache, s);
	if (from && asprintf(&dir, "%s/lost", segment_set_dir(set)) >= 0 &&
	    asprintf(&to, "%s/%016" PRIx64 "-%016" PRIx64 ".seg", dir, s->number, epoch) >= 0)
		rc = disk_make_path(e->disk, dir);
	if (!rc)
		rc = disk_rename(e->disk, from, to);
	if (rc && rc != -ENOENT)
		error_set(err, rc, "cannot move %s aside: %s", from ? from : "a segment", strerror(-rc));
	else
		report_error("image %016" PRIx64 ": segment %" PRIu64
		             " was never part of the stored log, which another host went on with; it is kept as %s",
		             segment_set_image(set), s->number, to);
	if (!rc || rc == -ENOENT)
		rc = segment_forget(set, s->number);
	free(from);
	free(dir);
	free(to);
	return rc;
}

struct check_local {
	struct segment_set *set;
	const struct log_view *view;
	const struct fetch_source *source;
	segment_no_t end;
	struct engine *engine;
	bool alone;           /* nobody uses the set now: what comes after the end is looked at, too */
	bool ours;            /* unsent segments after the end go on with the log */
	segment_no_t cleaned; /* what is missing up to here was deleted by cleaning; asked for when one is */
	struct bad_segment {
		struct segment *segment;
		bool part; /* of the log, or it was: cleaned away since, or not whole here */
	} * bad;
	size_t count, room;
	struct error *err;
};

/* A segment is not in the store: whether cleaning took it. 0, or -ENOENT; or an error. */
static int was_cleaned(struct check_local *c, segment_no_t number)
{
	struct cleaned cleaned = { 0 };
	struct error err = { 0 };
	int rc = 0;

	if (!c->cleaned)
		rc = cleaned_load(c->engine->pool, segment_set_image(c->set), &cleaned, &err);
	if (rc && rc != -ENOENT)
		return error_set(c->err, rc, "%s", error_text(&err));
	if (!c->cleaned)
		c->cleaned = cleaned.segment;
	return number <= c->cleaned ? 0 : -ENOENT;
}

/* Whether a segment that is here is what the store holds under its number. If it is not: *part, whether it belongs to what the store
 * holds, or held before that was cleaned. */
static int compare_with_stored(struct check_local *c, struct segment *s, bool *same, bool *part)
{
	struct segment_file *f = segment_open_file(s, NULL);
	struct segment_meta meta;
	int rc, life = atomic_load(&s->life);

	bool same_epoch = f && f->header.epoch == log_view_epoch_of(c->view, s->number);

	*same = life == LIFE_STORED && same_epoch;
	/* Where the set is in use it may just have been evicted. */
	if (!f && !c->alone)
		*same = true;
	/* Where the log goes on, what was closed is being sealed, while the store may have it already. */
	if (!c->alone && life == LIFE_CLOSED && same_epoch && image_is_owned(c->engine, segment_set_image(c->set)))
		*same = true;
	if (*same)
		return 0;
	rc = fetch_meta(c->source, s->number, &meta, c->err);
	*part = rc == -ENOENT && !was_cleaned(c, s->number);
	if (*part)
		*same = !c->alone;
	if (rc)
		return *part ? 0 : rc;
	*same = f && life != LIFE_CLOSED && !memcmp(meta.digest, s->digest, DIGEST_BYTES);
	/* The power failed before it was durable here, and after it was in the store. */
	*part = life == LIFE_CLOSED && same_epoch;
	if (*same)
		atomic_store(&s->life, LIFE_STORED);
	return 0;
}

/* Finds local segments that are not what the log holds under their number. */
static int check_local(void *arg, struct segment *s)
{
	struct check_local *c = arg;
	bool good = true, part = false;
	int rc = 0;

	if (!c->alone && s->number > c->end)
		return 0;
	if (!s->local) {
		/* Found at the start and evicted since: nobody compared its digest. */
		if (c->alone)
			segment_make_unknown(s);
		return 0;
	}
	if (atomic_load(&s->life) == LIFE_UNKNOWN)
		return 0;
	if (s->number > c->end)
		good = c->ours;
	else
		rc = compare_with_stored(c, s, &good, &part);
	if (rc || good)
		return rc;
	if (c->count == c->room) {
		size_t room = c->room ? c->room * 2 : 16;
		struct bad_segment *more = realloc(c->bad, room * sizeof *more);
		if (!more)
			return -ENOMEM;
		c->bad = more;
		c->room = room;
	}
	c->bad[c->count++] = (struct bad_segment){ s, part };
	return 0;
}

/* Who was never part of the log is kept where its owner can find it. */
static int put_away(struct check_local *c, const struct bad_segment *b, uint64_t epoch)
{
	if (!b->part)
		return set_aside(c->engine, c->set, b->segment, epoch, c->err);
	cache_forget_segment(c->engine->cache, b->segment);
	return segment_forget(c->set, b->segment->number);
}

int image_reconcile(struct image *i, segment_no_t end, bool ours, struct error *err)
{
	struct check_local c = { .engine = i->engine,
		                 .set = i->set,
		                 .view = &i->view,
		                 .source = &i->source,
		                 .end = end,
		                 .alone = true,
		                 .ours = ours,
		                 .err = err };
	int rc = segment_set_each(i->set, check_local, &c);

	for (size_t k = 0; !rc && k < c.count; k++)
		rc = put_away(&c, &c.bad[k], i->view.newest_epoch);
	free(c.bad);
	return rc;
}

int image_settle_log(struct engine *e, const struct fetch_source *source, const struct log_view *view,
                     segment_no_t last, struct error *err)
{
	struct check_local c = {
		.engine = e, .set = source->set, .view = view, .source = source, .end = last, .err = err
	};
	int rc = segment_set_each(c.set, check_local, &c);
	struct image *owner = c.count ? image_get(e, segment_set_image(c.set)) : NULL;

	if (owner) {
		rc = error_set(err, -EBUSY,
		               "image %016" PRIx64
		               " has stopped here, with data that is not part of it: see garner status; close it first",
		               owner->id);
		image_put(owner);
	}
	for (size_t k = 0; !rc && k < c.count; k++)
		rc = put_away(&c, &c.bad[k], view->newest_epoch);
	free(c.bad);
	return rc;
}
