/* SPDX-License-Identifier: GPL-3.0-only */
/* log.c: reservations, the frontier, and the making of segments. Flushing and sealing are in log_flush.c and log_seal.c. */
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
	l->newest = options->next - 1;
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

void log_free(struct log *l)
{
	if (!l)
		return;
	assert(TAILQ_EMPTY(&l->inflight) && TAILQ_EMPTY(&l->flushes) && !l->jobs);
	if (l->open && !l->records_used)
		drop_unused(l, l->open);
	else if (l->open)
		segment_unpin(l->open);
	drop_unused(l, l->next);
	free(l->spare_closing);
	struct closing *c;
	while ((c = TAILQ_FIRST(&l->closing))) {
		TAILQ_REMOVE(&l->closing, c, link);
		segment_unpin(c->segment);
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
	while (l->jobs || (!l->failed && !TAILQ_EMPTY(&l->closing)))
		pthread_cond_wait(&l->changed, &l->mutex);
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

static void wake_room_waiters(struct log *l)
{
	struct room_waiter *w;

	while ((w = STAILQ_FIRST(&l->room_waiters))) {
		STAILQ_REMOVE_HEAD(&l->room_waiters, link);
		executor_run(l->options.executor, w->wake, w->arg);
		free(w);
	}
}

static void prepare_job(void *arg)
{
	struct log *l = arg;
	struct error err = { 0 };
	struct segment *s = NULL;
	int rc = make_segment(l, l->newest + 1, &s, &err);

	if (rc && l->options.hooks.need_space)
		l->options.hooks.need_space(l->options.arg);
	if (!rc && l->options.hooks.grown)
		l->options.hooks.grown(l->options.arg, l->shape.file_bytes);
	pthread_mutex_lock(&l->mutex);
	l->preparing = false;
	if (rc) {
		if (!l->no_room)
			report_warning("cannot make a log segment in %s: %s; writes %s until there is room",
			               segment_set_dir(l->options.set), error_text(&err),
			               l->options.error_when_full ? "fail" : "wait");
		l->no_room = rc;
		l->no_room_ns = clock_monotonic_ns();
		if (!l->draining && !STAILQ_EMPTY(&l->room_waiters) && !l->options.error_when_full) {
			l->preparing = log_job_start(l, prepare_job, 1000);
		}
		if (l->options.error_when_full || l->failed)
			wake_room_waiters(l);
	} else {
		if (l->no_room)
			report_notice("there is room for the log again in %s", segment_set_dir(l->options.set));
		l->no_room = 0;
		l->newest++;
		l->next = s;
		wake_room_waiters(l);
	}
	pthread_mutex_unlock(&l->mutex);
	log_job_end(l);
}

void log_prepare_next(struct log *l)
{
	if (l->next || l->preparing || l->failed)
		return;
	l->preparing = log_job_start(l, prepare_job, 0);
}

/* ---- reservations ---- */

void log_close_locked(struct log *l)
{
	struct segment *s = l->open;
	struct closing *c = l->spare_closing;

	assert(s && c);
	l->spare_closing = NULL;
	c->segment = s;
	c->synced = false;
	s->record_count = l->last_records = l->records_used;
	s->slot_count = l->slots_used;
	atomic_store(&s->life, LIFE_CLOSED);
	TAILQ_INSERT_TAIL(&l->closing, c, link);
	l->closing_bytes += (uint64_t)l->slots_used * l->shape.slot_bytes;
	l->open = NULL;
	l->slots_used = l->records_used = 0;
	if (!l->sealing)
		l->sealing = log_job_start(l, log_seal_job, 0);
}

/* Goes on in the next segment. Its first record is put by whoever fills the first part (put_records()). */
static void open_next(struct log *l)
{
	l->open = l->next;
	l->next = NULL;
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
	struct room_waiter *w;

	/* Told so just now: else there may be room again, and it is tried. */
	if (l->no_room && l->options.error_when_full && clock_monotonic_ns() - l->no_room_ns < NO_ROOM_NS)
		return -ENOSPC;
	log_prepare_next(l);
	w = malloc(sizeof *w);
	if (!w)
		return -ENOMEM;
	w->wake = wake;
	w->arg = arg;
	STAILQ_INSERT_TAIL(&l->room_waiters, w, link);
	return -EAGAIN;
}

int log_reserve(struct log *l, struct record *records, size_t count, struct log_append *append, job_fn *wake, void *arg)
{
	int rc = 0;

	assert(count && count <= LOG_APPEND_MAX);
	append->parts = 0;
	pthread_mutex_lock(&l->mutex);
	if (l->failed) {
		rc = -EIO;
		goto out;
	}
	size_t fits = l->open ? fitting(l, records, 0, count) : 0;
	if (fits < count) {
		if (!l->next) {
			rc = wait_for_room(l, wake, arg);
			goto out;
		}
		/* The entry that the next segment's closing will need, so that closing cannot fail. */
		struct closing *c = malloc(sizeof *c);
		if (!c) {
			rc = -ENOMEM;
			goto out;
		}
		if (fits)
			take(l, records, 0, fits, append);
		if (l->open)
			log_close_locked(l);
		l->spare_closing = c;
		open_next(l);
		assert(fitting(l, records, fits, count) == count - fits);
	} else {
		fits = 0;
	}
	take(l, records, fits, count - fits, append);
	/* A quarter full: someone is writing in earnest, so have the next one ready. */
	if (l->slots_used >= l->shape.slots / 4 || l->records_used >= l->shape.records_max / 4)
		log_prepare_next(l);
out:
	pthread_mutex_unlock(&l->mutex);
	return rc;
}

/* The first record of a segment says how long the one before is, so that recovery can tell whether that is complete before it is
 * sealed. It goes with the second. */
static int put_records(struct segment *s, uint32_t number, const struct record *records, size_t count)
{
	struct segment_file *f = atomic_load_explicit(&s->file, memory_order_relaxed);
	struct record both[2] = {
		{ .kind = RECORD_FOLLOWS, .slot = RECORD_NO_SLOT, .value = s->follows, .time_ns = records[0].time_ns }
	};
	int rc;

	if (number != 1)
		return segment_file_put_records(f, number, records, count);
	both[1] = records[0];
	rc = segment_file_put_records(f, 0, both, 2);
	return rc || count == 1 ? rc : segment_file_put_records(f, 2, records + 1, count - 1);
}

static int fill_part(const struct log_part *part, const struct record *records, const void *const *data)
{
	struct segment_file *f = atomic_load_explicit(&part->segment->file, memory_order_relaxed);
	struct iovec iov[LOG_APPEND_MAX];
	uint32_t slot_bytes = f->shape.slot_bytes, first_slot = 0;
	int n = 0;

	for (size_t i = part->first; i < part->first + part->count; i++) {
		if (!record_has_slot(records[i].kind))
			continue;
		if (!n)
			first_slot = records[i].slot;
		if (n && (const char *)iov[n - 1].iov_base + iov[n - 1].iov_len == data[i]) {
			iov[n - 1].iov_len += slot_bytes;
		} else {
			iov[n].iov_base = (void *)data[i];
			iov[n++].iov_len = slot_bytes;
		}
	}
	int rc = n ? segment_file_write_slots(f, first_slot, iov, n) : 0;
	/* The bytes first, then the records that vouch for them. */
	return rc ? rc : put_records(part->segment, part->record, &records[part->first], part->count);
}

int log_fill(struct log *l, const struct log_append *append, const struct record *records, const void *const *data)
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < append->parts; i++)
		rc = fill_part(&append->part[i], records, data);
	if (!rc && atomic_load_explicit(&l->eager, memory_order_relaxed))
		disk_start_writeback(atomic_load(&append->part[append->parts - 1].segment->file)->fd);
	if (rc) {
		log_fail(l, rc, "cannot write to the log");
		rc = -EIO;
	}
	return rc;
}

void log_complete(struct log *l, struct log_append *append)
{
	pthread_mutex_lock(&l->mutex);
	for (unsigned i = 0; i < append->parts; i++) {
		TAILQ_REMOVE(&l->inflight, &append->part[i], link);
		atomic_fetch_sub(&append->part[i].segment->filling, 1);
	}
	if (l->frontier_waiters)
		pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->mutex);
}

void log_fail(struct log *l, int error, const char *text)
{
	bool first;

	pthread_mutex_lock(&l->mutex);
	first = !l->failed;
	if (first)
		l->failed = error;
	wake_room_waiters(l);
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
	p.segment = l->open ? l->open->number : l->next ? l->next->number : l->newest + 1;
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
	last = c ? c->segment->number : l->last_sealed;
	pthread_mutex_unlock(&l->mutex);
	return last < l->options.next ? 0 : last;
}

segment_no_t log_close_segment(struct log *l)
{
	return close_if(l, UINT64_MAX);
}

void log_close_aged(struct log *l, uint64_t age_ns)
{
	uint64_t now = clock_monotonic_ns();

	close_if(l, now > age_ns ? now - age_ns : 0);
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
