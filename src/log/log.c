/* SPDX-License-Identifier: GPL-3.0-only */
/* log.c: reservations, the frontier, and the making of segments. Filling, flushing and sealing are in files of their own. */
#include "log/log_private.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct log *log_new(const struct log_options *options)
{
	struct log *l = calloc(1, sizeof *l);

	if (!l)
		return NULL;
	l->options = *options;
	if (segment_shape(options->grain_bytes, options->segment_bytes, &l->shape)) {
		free(l);
		return NULL;
	}
	if (!l->options.ahead)
		l->options.ahead = 1;
	if (l->options.ahead > LOG_AHEAD_MAX)
		l->options.ahead = LOG_AHEAD_MAX;
	l->last_opened = options->next - 1;
	l->last_sealed = options->next - 1;
	l->image_size = options->image_size;
	l->checkpoint = options->checkpoint;
	memcpy(l->digest, options->prev_digest, sizeof l->digest);
	pthread_mutex_init(&l->mutex, NULL);
	pthread_cond_init(&l->changed, NULL);
	TAILQ_INIT(&l->inflight);
	TAILQ_INIT(&l->closing);
	TAILQ_INIT(&l->flushes);
	STAILQ_INIT(&l->room_waiters);
	return l;
}

/* Where segment `number`, one of the next to be opened, is when it is made. The mutex is held. */
static struct segment **ahead(struct log *l, segment_no_t number)
{
	return &l->ahead[number % LOG_AHEAD_MAX];
}

/* A segment that was opened and never written is of no use to anyone. */
static void drop_unused(struct log *l, struct segment *s)
{
	if (!s)
		return;
	segment_no_t number = s->number;
	if (l->options.hooks.dropped)
		l->options.hooks.dropped(l->options.arg, s);
	segment_unpin(s);
	segment_forget(l->options.set, number);
}

/* Of a log that failed, before all was written out. What cannot be now stays in the stage: for readers, and for the next start. */
static void let_go(struct segment *s, uint32_t slots, uint32_t records)
{
	s->slot_count = slots;
	s->record_count = records;
	(void)segment_end_stage(s, false);
	segment_unpin(s);
}

void log_free(struct log *l)
{
	if (!l)
		return;
	assert(TAILQ_EMPTY(&l->inflight) && TAILQ_EMPTY(&l->flushes) && !l->jobs);
	if (l->open)
		let_go(l->open, l->slots_used, l->records_used);
	for (segment_no_t n = l->last_opened + LOG_AHEAD_MAX; n > l->last_opened; n--)
		drop_unused(l, *ahead(l, n));
	free(l->spare_closing);
	struct closing *c;
	while ((c = TAILQ_FIRST(&l->closing))) {
		TAILQ_REMOVE(&l->closing, c, link);
		let_go(c->segment, c->segment->slot_count, c->segment->record_count);
		free(c);
	}
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->mutex);
	free(l);
}

/* ---- jobs: what runs on the executor for this log ---- */

bool log_job_start(struct log *l, job_fn *job, uint64_t delay_ms)
{
	int rc = delay_ms ? executor_run_after(l->options.executor, delay_ms, job, l)
	                  : executor_run(l->options.executor, job, l);

	if (!rc)
		l->jobs++;
	return !rc;
}

void log_job_end(struct log *l)
{
	pthread_mutex_lock(&l->mutex);
	l->jobs--;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->mutex);
}

void log_drain(struct log *l)
{
	pthread_mutex_lock(&l->mutex);
	l->draining = true;
	while (l->jobs || (!l->failed && !TAILQ_EMPTY(&l->closing))) {
		if (l->jobs) {
			pthread_cond_wait(&l->changed, &l->mutex);
			continue;
		}
		/* Sealing could not be begun. */
		l->jobs++;
		l->sealing = true;
		pthread_mutex_unlock(&l->mutex);
		log_seal_job(l);
		pthread_mutex_lock(&l->mutex);
	}
	l->draining = false;
	pthread_mutex_unlock(&l->mutex);
}

/* ---- making segments ahead of need ---- */

static int make_segment(struct log *l, segment_no_t number, struct segment **out, struct error *err)
{
	const struct log_options *o = &l->options;
	struct segment_header h = {
		.image = segment_set_image(o->set),
		.number = number,
		.epoch = o->epoch,
		.slot_bytes = o->grain_bytes,
		.created_ns = clock_wall_ns(),
	};
	struct segment_file *f;
	char *spare = NULL, *path = NULL;
	int rc;

	memcpy(h.pool, segment_set_pool(o->set), sizeof h.pool);
	path = segment_path(o->set, number);
	struct segment *s = segment_pin(o->set, number);
	if (!path || !s) {
		rc = error_set(err, -ENOMEM, "out of memory");
		goto out;
	}
	rc = spare_take(o->spares, l->shape.file_bytes, &spare, err);
	if (rc)
		goto out;
	rc = segment_file_create(segment_set_disk(o->set), spare, segment_set_dir(o->set), path, &h, o->segment_bytes,
	                         &f, err);
	if (rc)
		goto out;
	pthread_mutex_lock(&s->mutex);
	rc = segment_set_shape(s, &l->shape, CHUNK_PRESENT | CHUNK_HELD);
	if (rc)
		segment_file_close(f);
	else
		segment_adopt_file(s, f);
	pthread_mutex_unlock(&s->mutex);
	if (!rc)
		atomic_store(&s->life, LIFE_OPEN);
out:
	if (rc && s) {
		segment_unpin(s);
		s = NULL;
		segment_forget(o->set, number);
	}
	free(spare);
	free(path);
	*out = s;
	return rc;
}

void log_wake_room_waiters(struct log *l)
{
	struct room_waiter *w;

	while ((w = STAILQ_FIRST(&l->room_waiters))) {
		if (executor_run(l->options.executor, w->wake, w->arg))
			return; /* log_tend() tries again */
		STAILQ_REMOVE_HEAD(&l->room_waiters, link);
		free(w);
	}
}

static void prepare_job(void *arg)
{
	struct log *l = arg;
	struct error err = { 0 };
	struct segment *s = NULL;

	pthread_mutex_lock(&l->mutex);
	segment_no_t number = l->last_opened + 1;
	while (*ahead(l, number) || l->making[number % LOG_AHEAD_MAX])
		number++;
	l->making[number % LOG_AHEAD_MAX] = true;
	pthread_mutex_unlock(&l->mutex);
	int rc = make_segment(l, number, &s, &err);

	if (!rc && l->options.stages)
		stage_prepare(l->options.stages, l->shape.file_bytes);
	if (rc && l->options.hooks.need_space)
		l->options.hooks.need_space(l->options.arg);
	if (!rc && l->options.hooks.grown)
		l->options.hooks.grown(l->options.arg, l->shape.file_bytes);
	pthread_mutex_lock(&l->mutex);
	l->makers--;
	l->making[number % LOG_AHEAD_MAX] = false;
	*ahead(l, number) = s;
	if (rc) {
		if (!l->no_room)
			report_warning("cannot make a log segment in %s: %s; writes %s until there is room",
			               segment_set_dir(l->options.set), error_text(&err),
			               l->options.error_when_full ? "fail" : "wait");
		l->no_room = rc;
		l->no_room_ns = clock_monotonic_ns();
		if (!l->draining && !STAILQ_EMPTY(&l->room_waiters) && !l->options.error_when_full && !l->makers)
			l->makers += log_job_start(l, prepare_job, 1000);
		if (l->options.error_when_full || l->failed)
			log_wake_room_waiters(l);
	} else {
		if (l->no_room)
			report_notice("there is room for the log again in %s", segment_set_dir(l->options.set));
		l->no_room = 0;
		if (number == l->last_opened + 1)
			log_wake_room_waiters(l);
		else if (!l->draining && !STAILQ_EMPTY(&l->room_waiters))
			log_prepare_next(l); /* the one that they wait for may have failed meanwhile */
	}
	pthread_mutex_unlock(&l->mutex);
	log_job_end(l);
}

/* One; a stream fills a segment in less time than it takes to make its file, so for that several are made at once. Those behind one that
 * could not be made are there, and still that one is to be made first. */
void log_prepare_next(struct log *l)
{
	unsigned wanted = l->stream ? l->options.ahead : 1, all = l->makers, ready = 0;

	for (segment_no_t n = l->last_opened + 1; n <= l->last_opened + LOG_AHEAD_MAX; n++) {
		all += *ahead(l, n) != NULL;
		ready += *ahead(l, n) && ready == n - l->last_opened - 1;
	}
	for (unsigned made = l->makers + ready; made < wanted && all < LOG_AHEAD_MAX; made++, all++) {
		if (l->failed || !log_job_start(l, prepare_job, 0))
			break;
		l->makers++;
	}
}

/* ---- reservations ---- */

void log_close_locked(struct log *l)
{
	struct segment *s = l->open;
	struct closing *c = l->spare_closing;

	assert(s && c);
	l->spare_closing = NULL;
	c->segment = s;
	c->synced = c->writing = false;
	s->record_count = l->last_records = l->records_used;
	s->slot_count = l->slots_used;
	s->closed_ns = clock_monotonic_ns();
	atomic_store(&s->life, LIFE_CLOSED);
	l->stream = log_is_stream(l, s, l->slots_used);
	TAILQ_INSERT_TAIL(&l->closing, c, link);
	l->closing_stages += atomic_load(&s->stage) != NULL;
	l->closing_bytes += (uint64_t)l->slots_used * l->shape.slot_bytes;
	l->open = NULL;
	l->slots_used = l->records_used = 0;
	if (!l->sealing)
		l->sealing = log_job_start(l, log_seal_job, 0);
}

/* Goes on in the next segment. Its first record is put by whoever fills the first part (put_records()). */
static void open_next(struct log *l, struct stage *stage)
{
	struct segment **next = ahead(l, ++l->last_opened);

	l->open = *next;
	*next = NULL;
	atomic_store(&l->open->stage, stage);
	l->open->follows = l->last_records;
	l->records_used = 1;
}

/* How many of records[first..count) fit into the open segment, as a prefix. */
static size_t fitting(const struct log *l, const struct record *records, size_t first, size_t count)
{
	uint32_t slots = l->shape.slots - l->slots_used, places = l->shape.records_max - l->records_used;
	size_t n = 0;

	for (; first + n < count && places; n++, places--) {
		if (!record_has_slot(records[first + n].kind))
			continue;
		if (!slots)
			break;
		slots--;
	}
	return n;
}

static void take(struct log *l, struct record *records, size_t first, size_t count, struct log_append *append)
{
	struct log_part *part = &append->part[append->parts++];

	part->segment = l->open;
	part->first = first;
	part->count = count;
	part->record = l->records_used;
	part->slot = l->slots_used;
	part->sequence = l->next_sequence;
	for (size_t i = first; i < first + count; i++)
		records[i].slot = record_has_slot(records[i].kind) ? (uint16_t)l->slots_used++ : RECORD_NO_SLOT;
	if (!l->open->opened_ns)
		l->open->opened_ns = clock_monotonic_ns();
	l->records_used += (uint32_t)count;
	l->next_sequence += count;
	atomic_fetch_add(&l->open->filling, 1);
	TAILQ_INSERT_TAIL(&l->inflight, part, link);
}

/* How long it is believed that there is no room, before a write that would rather fail has it tried again. */
#define NO_ROOM_NS 20000000u

static int wait_for_room(struct log *l, job_fn *wake, void *arg)
{
	struct room_waiter *w = malloc(sizeof *w);

	if (!w)
		return -ENOMEM;
	w->wake = wake;
	w->arg = arg;
	STAILQ_INSERT_TAIL(&l->room_waiters, w, link);
	return -EAGAIN;
}

/* A segment to go on in, and a stage for it: 0, with or without one; -EAGAIN: it is worth waiting. */
static int next_is_ready(struct log *l, struct stage **stage)
{
	struct segment *next = *ahead(l, l->last_opened + 1);

	if (!next) {
		/* Told so just now: else there may be room again, and it is tried. */
		if (l->no_room && l->options.error_when_full && clock_monotonic_ns() - l->no_room_ns < NO_ROOM_NS)
			return -ENOSPC;
		log_prepare_next(l);
		return -EAGAIN;
	}
	*stage = l->options.stages ? stage_take(l->options.stages, atomic_load(&next->file)) : NULL;
	/* Where others have them all, one goes on without. But who is ahead of the disk waits for it. */
	return !*stage && l->closing_stages > 1 && l->sealing ? -EAGAIN : 0;
}

static int reserve(struct log *l, struct record *records, size_t count, struct log_append *append, bool anew,
                   job_fn *wake, void *arg)
{
	int rc = 0;

	assert(count && count <= LOG_APPEND_MAX);
	append->parts = 0;
	pthread_mutex_lock(&l->mutex);
	if (l->failed) {
		rc = -EIO;
		goto out;
	}
	size_t fits = l->open && !anew ? fitting(l, records, 0, count) : 0;
	if (fits < count) {
		struct stage *stage = NULL;
		rc = next_is_ready(l, &stage);
		if (rc == -EAGAIN)
			rc = wait_for_room(l, wake, arg);
		if (rc)
			goto out;
		/* The entry that the next segment's closing will need, so that closing cannot fail. */
		struct closing *c = malloc(sizeof *c);
		if (!c) {
			if (stage)
				stage_give(stage);
			rc = -ENOMEM;
			goto out;
		}
		if (fits)
			take(l, records, 0, fits, append);
		if (l->open)
			log_close_locked(l);
		l->spare_closing = c;
		open_next(l, stage);
		assert(fitting(l, records, fits, count) == count - fits);
	} else {
		fits = 0;
	}
	take(l, records, fits, count - fits, append);
	/* A quarter full: someone is writing in earnest, so have the next one ready. */
	if (l->stream || l->slots_used >= l->shape.slots / 4 || l->records_used >= l->shape.records_max / 4)
		log_prepare_next(l);
out:
	pthread_mutex_unlock(&l->mutex);
	return rc;
}

int log_reserve(struct log *l, struct record *records, size_t count, struct log_append *append, job_fn *wake, void *arg)
{
	return reserve(l, records, count, append, false, wake, arg);
}

int log_reserve_anew(struct log *l, struct record *records, size_t count, struct log_append *append, job_fn *wake,
                     void *arg)
{
	return reserve(l, records, count, append, true, wake, arg);
}

void log_fail(struct log *l, int error, const char *text)
{
	bool first;

	pthread_mutex_lock(&l->mutex);
	first = !l->failed;
	if (first)
		l->failed = error;
	log_wake_room_waiters(l);
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->mutex);
	if (first && l->options.hooks.failed)
		l->options.hooks.failed(l->options.arg, error, text);
}

/* ---- asking and closing ---- */

struct log_position log_position(struct log *l)
{
	struct log_position p;

	pthread_mutex_lock(&l->mutex);
	p.segment = l->open ? l->open->number : l->last_opened + 1;
	p.record = l->open ? l->records_used : 0;
	pthread_mutex_unlock(&l->mutex);
	return p;
}

static segment_no_t close_if(struct log *l, uint64_t not_after_ns)
{
	segment_no_t last;

	pthread_mutex_lock(&l->mutex);
	if (l->open && l->records_used && l->open->opened_ns <= not_after_ns && !l->failed)
		log_close_locked(l);
	struct closing *c = TAILQ_LAST(&l->closing, closing_list);
	/* One that could not be closed, as the log has failed, is waited for in vain. */
	if (l->open && l->records_used)
		last = l->open->number;
	else
		last = c ? c->segment->number : l->last_sealed;
	pthread_mutex_unlock(&l->mutex);
	return last < l->options.next ? 0 : last;
}

segment_no_t log_close_segment(struct log *l)
{
	return close_if(l, UINT64_MAX);
}

void log_tend(struct log *l, uint64_t age_ns)
{
	uint64_t now = clock_monotonic_ns();

	close_if(l, now > age_ns ? now - age_ns : 0);
	pthread_mutex_lock(&l->mutex);
	if (!l->sealing && !l->failed && !TAILQ_EMPTY(&l->closing))
		l->sealing = log_job_start(l, log_seal_job, 0);
	if (!STAILQ_EMPTY(&l->room_waiters)) {
		if (l->failed || *ahead(l, l->last_opened + 1))
			log_wake_room_waiters(l);
		else if (!l->makers)
			log_prepare_next(l);
	}
	pthread_mutex_unlock(&l->mutex);
}

void log_room_was_made(struct log *l)
{
	pthread_mutex_lock(&l->mutex);
	l->no_room_ns = 0;
	pthread_mutex_unlock(&l->mutex);
}

void log_refuse_to_wait(struct log *l)
{
	pthread_mutex_lock(&l->mutex);
	l->options.error_when_full = true;
	log_wake_room_waiters(l);
	pthread_mutex_unlock(&l->mutex);
}

uint64_t log_open_bytes(struct log *l)
{
	pthread_mutex_lock(&l->mutex);
	uint64_t bytes = l->closing_bytes + (uint64_t)l->slots_used * l->shape.slot_bytes;
	pthread_mutex_unlock(&l->mutex);
	return bytes;
}

uint64_t log_oldest_ns(struct log *l)
{
	pthread_mutex_lock(&l->mutex);
	struct closing *c = TAILQ_FIRST(&l->closing);
	uint64_t ns = c ? c->segment->opened_ns : l->open && l->records_used ? l->open->opened_ns : 0;
	pthread_mutex_unlock(&l->mutex);
	return ns;
}

uint64_t log_sequence(struct log *l)
{
	pthread_mutex_lock(&l->mutex);
	uint64_t sequence = l->next_sequence;
	pthread_mutex_unlock(&l->mutex);
	return sequence;
}

uint64_t log_file_bytes(const struct log *l)
{
	return l->shape.file_bytes;
}
