/* SPDX-License-Identifier: GPL-3.0-only */
/* image_life_past.c: the moments of the images: snapshots, and what history keeps. See image_life.h. */
#include "lib/image_life.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- snapshots ---- */

void check_past(struct world *w, struct past *p)
{
	struct error err = { 0 };
	struct node_attr attr;
	char path[60];

	snprintf(path, sizeof path, ".snapshots/%s/%s", p->of->name, p->was.name);
	if (engine_resolve(w->f.engine, path, &attr, &err) ||
	    image_open(w->f.engine, attr.id, IMAGE_READ, &p->was.image, &err))
		fail_msg("seed %" PRIu64 " step %u: %s: %s", w->seed, w->step, path, error_text(&err));
	check_file(w, &p->was);
	image_close(p->was.image, IMAGE_READ);
}

static void drop_past(struct world *w, struct past *p)
{
	struct error err = { 0 };

	trace(w, "%s@%s: delete", p->of->name, p->was.name);
	check_past(w, p);
	if (p->is_protected) {
		assert_int_equal(engine_snapshot_delete(w->f.engine, p->of->id, p->was.name, NULL), -EBUSY);
		assert_int_equal(engine_snapshot_protect(w->f.engine, p->of->id, p->was.name, false, &err), 0);
	}
	if (engine_snapshot_delete(w->f.engine, p->of->id, p->was.name, &err))
		fail_msg("seed %" PRIu64 " step %u: %s", w->seed, w->step, error_text(&err));
	oracle_free(p->was.oracle);
	memset(p, 0, sizeof *p);
}

void drop_pasts_of(struct world *w, const struct file *f)
{
	for (unsigned k = 0; k < PASTS; k++) {
		if (!w->past[k].was.name[0] || w->past[k].of != f)
			continue;
		assert_int_equal(engine_unlink(w->f.engine, NODE_ROOT, f->name, NULL), -EBUSY);
		drop_past(w, &w->past[k]);
	}
}

/* Of one file, or of all as one moment. */
static void do_snapshot(struct world *w)
{
	bool group = random_once_in(&w->r, 3);
	const struct file *chosen = any_file(w);
	uint64_t ids[FILES];
	size_t count = 0;
	struct error err = { 0 };
	char name[16];

	snprintf(name, sizeof name, "s%u", w->names++);
	for (unsigned k = 0, at = 0; k < FILES; k++) {
		struct file *f = &w->file[k];
		if (!f->name[0] || (!group && f != chosen))
			continue;
		while (at < PASTS && w->past[at].was.name[0])
			at++;
		/* Those of this moment are not there yet. */
		while (at == PASTS || !strcmp(w->past[at].was.name, name))
			at = (unsigned)random_below(&w->r, PASTS);
		if (w->past[at].was.name[0])
			drop_past(w, &w->past[at]);
		ids[count++] = f->id;
		w->past[at] = (struct past){ .was = *f, .of = f };
		w->past[at].was.oracle = oracle_clone(f->oracle);
		memcpy(w->past[at].was.name, name, sizeof name);
		at++;
	}
	trace(w, "%s@%s: snapshot of %zu", chosen->name, name, count);
	if (engine_snapshot_create(w->f.engine, ids, count, name, &err))
		fail_msg("seed %" PRIu64 " step %u: %s", w->seed, w->step, error_text(&err));
}

void snapshot_step(struct world *w)
{
	struct past *p = &w->past[random_below(&w->r, PASTS)];

	if (!p->was.name[0] || random_once_in(&w->r, 3)) {
		do_snapshot(w);
	} else if (random_once_in(&w->r, 2)) {
		check_past(w, p);
	} else if (random_once_in(&w->r, 3)) {
		p->is_protected = !p->is_protected;
		assert_int_equal(engine_snapshot_protect(w->f.engine, p->of->id, p->was.name, p->is_protected, NULL),
		                 0);
	} else {
		drop_past(w, p);
	}
}

/* ---- moments that have no names ---- */

static void free_moment(struct moment *m)
{
	if (m->of)
		oracle_free(m->oracle);
	memset(m, 0, sizeof *m);
}

void free_moments(struct world *w)
{
	for (unsigned k = 0; k < MOMENTS; k++)
		free_moment(&w->moment[k]);
}

void forget_moments_of(struct world *w, const struct file *f)
{
	for (unsigned k = 0; k < MOMENTS; k++)
		if (w->moment[k].of == f)
			free_moment(&w->moment[k]);
}

void forget_positions(struct world *w)
{
	for (unsigned k = 0; k < MOMENTS; k++) {
		struct moment *m = &w->moment[k];
		if (!m->of)
			continue;
		pthread_mutex_lock(&m->of->image->view_mutex);
		const struct log_view *v = &m->of->image->view;
		if (!v->term_count || m->at.segment >= v->terms[v->term_count - 1].first)
			m->at.segment = 0;
		pthread_mutex_unlock(&m->of->image->view_mutex);
	}
}

void end_history(struct world *w, struct file *f)
{
	(void)w;
	f->since_ns = clock_wall_ns();
}

static struct moment *free_place(struct world *w)
{
	uint64_t at = random_below(&w->r, MOMENTS);

	for (unsigned k = 0; k < MOMENTS; k++)
		if (!w->moment[k].of)
			return &w->moment[k];
	free_moment(&w->moment[at]);
	return &w->moment[at];
}

/* The same numbers are drawn by a child and by who repeats what it did. */
void note_moment(struct world *w, struct file *f)
{
	bool flushed = random_once_in(&w->r, 2);
	struct log *log = w->only_oracle ? NULL : atomic_load(&f->image->log);
	struct note *note = &w->note[w->notes++ % NOTES];

	if (!w->only_oracle) {
		if (flushed)
			expect(w, f, "a flush", flush_wait(f->image, IMAGE_FLUSH_LOCAL), 0);
		*note = (struct note){ 0 };
		if (log)
			note->at = log_position(log);
		/* After that: saving may append records at any time, and no record before the position is to be later. */
		note->time_ns = clock_wall_ns();
		/* With the segment's first record nothing is changed yet. */
		if (note->at.record == 1)
			note->at.record = 0;
	}
	/* The first moment is after something was written. */
	if (note->at.segment == 1 && !note->at.record)
		return;
	struct moment *m = free_place(w);
	*m = (struct moment){ .of = f, .oracle = oracle_clone(f->oracle), .time_ns = note->time_ns, .at = note->at };
	trace(w, "%s: this moment is %" PRIu64 ".%" PRIu32, f->name, m->at.segment, m->at.record);
}

struct moment *any_moment(struct world *w)
{
	for (unsigned k = (unsigned)random_below(&w->r, MOMENTS), n = 0; n < MOMENTS; n++, k = (k + 1) % MOMENTS)
		if (w->moment[k].of)
			return &w->moment[k];
	return NULL;
}

/* Whether the moment lies in the window, and has all the time. */
static bool must_be_there(const struct moment *m)
{
	const struct file *f = m->of;

	return f->history_s && m->time_ns >= f->since_ns && m->time_ns + f->history_s * 1000000000 > clock_wall_ns();
}

/* Says it as it is asked for: by its position, or its time, which say the same where all is kept. False: by neither. */
static bool ask_for(struct world *w, const struct moment *m, bool must, struct image_moment *ask)
{
	bool by_time = must && (!m->at.segment || random_once_in(&w->r, 2));

	*ask = by_time ? (struct image_moment){ .time_ns = m->time_ns }
	               : (struct image_moment){ .segment = m->at.segment, .record = m->at.record };
	return by_time || m->at.segment;
}

static void answered(struct world *w, const struct moment *m, bool must, int rc, const struct error *err)
{
	w->had += !rc;
	w->gone += rc != 0;
	if (rc && (must || rc != -ERANGE))
		fail_msg("seed %" PRIu64 " step %u: %s as of %" PRIu64 ".%" PRIu32 ", %.3f s ago%s: %s", w->seed,
		         w->step, m->of->name, m->at.segment, m->at.record,
		         (double)(clock_wall_ns() - m->time_ns) / 1e9, must ? ", which is kept" : "", error_text(err));
}

bool rewind_to(struct world *w, struct moment *m, const char *name, struct node_attr *attr)
{
	bool must = must_be_there(m);
	struct image_moment ask;
	struct error err = { 0 };

	if (!ask_for(w, m, must, &ask))
		return false;
	int rc = engine_rewind(w->f.engine, m->of->id, &ask, NODE_ROOT, name, attr, &err);
	answered(w, m, must && must_be_there(m), rc, &err);
	if (!rc && ask.time_ns > m->time_ns)
		fail_msg("seed %" PRIu64 " step %u: %s: what is later than the moment is in it", w->seed, w->step,
		         m->of->name);
	trace(w, "%s: as of %" PRIu64 ".%" PRIu32 " of %s: %s", name, ask.segment, ask.record, m->of->name,
	      rc ? "not there" : "there");
	return !rc;
}

static void check_moment(struct world *w, struct moment *m)
{
	struct file was = { .grain = m->of->grain, .oracle = m->oracle };
	struct error err = { 0 };
	struct node_attr attr;

	make_name(w, was.name);
	if (!rewind_to(w, m, was.name, &attr))
		return;
	if (image_open(w->f.engine, attr.id, IMAGE_READ, &was.image, &err))
		fail_msg("seed %" PRIu64 " step %u: %s: %s", w->seed, w->step, was.name, error_text(&err));
	check_file(w, &was);
	image_close(was.image, IMAGE_READ);
	assert_int_equal(engine_unlink(w->f.engine, NODE_ROOT, was.name, &err), 0);
}

void check_moments(struct world *w)
{
	trace(w, "every moment is compared");
	for (unsigned k = 0; k < MOMENTS; k++)
		if (w->moment[k].of)
			check_moment(w, &w->moment[k]);
}

/* What was kept before is kept on as far as the old window goes. */
void keep_history(struct world *w, struct file *f, uint64_t seconds)
{
	uint64_t now, kept;
	struct error err = { 0 };

	trace(w, "%s: %" PRIu64 " s of history are kept", f->name, seconds);
	if (engine_history_keep(w->f.engine, f->id, seconds, &err))
		fail_msg("seed %" PRIu64 " step %u: %s: %s", w->seed, w->step, f->name, error_text(&err));
	now = clock_wall_ns();
	kept = now - f->history_s * 1000000000;
	if (f->since_ns < kept)
		f->since_ns = kept;
	f->history_s = seconds;
}

void history_step(struct world *w)
{
	static const uint64_t windows[] = { 0, 2, 3600, 3600 };
	struct moment *m = any_moment(w);

	if (!m || random_once_in(&w->r, 4))
		keep_history(w, any_file(w), windows[random_below(&w->r, 4)]);
	else if (random_once_in(&w->r, 3))
		note_moment(w, any_file(w));
	else
		check_moment(w, m);
}

/* What it was before is one more moment. */
void do_rewind_in_place(struct world *w)
{
	struct past *p = &w->past[random_below(&w->r, PASTS)];
	struct moment *m = any_moment(w);
	bool named = p->was.name[0] && (!m || random_once_in(&w->r, 3)), must = named || (m && must_be_there(m));
	struct file *f = named ? &w->file[p->of - w->file] : m ? &w->file[m->of - w->file] : NULL;
	struct image_moment ask = { 0 }, before;
	struct error err = { 0 };
	struct node_attr attr;
	char path[60];

	if (!f || (!named && !ask_for(w, m, must, &ask)))
		return;
	snprintf(path, sizeof path, "%s%s%s%s", named ? ".snapshots/" : "", f->name, named ? "/" : "",
	         named ? p->was.name : "");
	if (engine_resolve(w->f.engine, path, &attr, &err))
		fail_msg("seed %" PRIu64 " step %u: %s: %s", w->seed, w->step, path, error_text(&err));
	image_fixture_close_image(f->image);
	int rc = engine_rewind_in_place(w->f.engine, attr.id, &ask, &before, &err);
	trace(w, "%s: rewound in place to %s %" PRIu64 ".%" PRIu32 ": %s", f->name, named ? p->was.name : "",
	      ask.segment, ask.record, rc ? error_text(&err) : "done");
	if (named && rc)
		fail_msg("seed %" PRIu64 " step %u: %s: %s", w->seed, w->step, path, error_text(&err));
	if (!named)
		answered(w, m, must && must_be_there(m), rc, &err);
	f->image = image_fixture_open_image(w->f.engine, f->name);
	if (!rc) {
		struct oracle *was = f->oracle;
		f->oracle = oracle_clone(named ? p->was.oracle : m->oracle);
		m = free_place(w);
		*m = (struct moment){ .of = f,
			              .oracle = was,
			              .time_ns = before.time_ns,
			              .at = { (segment_no_t)before.segment, before.record } };
	}
	check_file(w, f);
}
