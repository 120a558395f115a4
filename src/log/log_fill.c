/* SPDX-License-Identifier: GPL-3.0-only */
/* log_fill.c: the bytes of a reservation, into the stage or the file; and from the stage to the file. */
#include "log/log_private.h"

#include "base/clock.h"
#include "base/crc32c.h"

#include <errno.h>

/* So much is gathered in a stage before it is written out. */
#define WRITE_OUT_BYTES (1u << 20)
/* A segment that is filled faster than this belongs to a stream. Nobody reads that again soon, and its pages are better used for
 * the next segments than to push out what guests do read. */
#define STREAM_NS 250000000u
#define WRITERS 3 /* jobs that write out at once */

/* ---- filling ---- */

static int put_some(struct segment *s, uint32_t number, const struct record *records, size_t count)
{
	struct stage *stage = atomic_load_explicit(&s->stage, memory_order_relaxed);

	if (!stage)
		return segment_file_put_records(atomic_load(&s->file), number, records, count);
	stage_put_records(stage, number, records, count);
	return 0;
}

/* The first record of a segment says how long the one before is, so that recovery can tell whether that is complete before it is
 * sealed. It goes with the second. */
static int put_records(struct segment *s, uint32_t number, const struct record *records, size_t count)
{
	struct record both[2] = {
		{ .kind = RECORD_FOLLOWS, .slot = RECORD_NO_SLOT, .value = s->follows, .time_ns = records[0].time_ns }
	};
	int rc;

	if (number != 1)
		return put_some(s, number, records, count);
	both[1] = records[0];
	rc = put_some(s, 0, both, 2);
	return rc || count == 1 ? rc : put_some(s, 2, records + 1, count - 1);
}

static void stage_part(struct stage *stage, const struct log_part *part, struct record *records,
                       const void *const *data)
{
	for (size_t i = part->first; i < part->first + part->count; i++)
		if (record_has_slot(records[i].kind))
			records[i].data_crc = stage_put_slot(stage, records[i].slot, data[i]);
}

static int write_part(const struct log_part *part, struct record *records, const void *const *data)
{
	struct segment *s = part->segment;
	struct iovec iov[LOG_APPEND_MAX];
	uint32_t slot_bytes = s->shape.slot_bytes;
	int n = 0;

	for (size_t i = part->first; i < part->first + part->count; i++) {
		if (!record_has_slot(records[i].kind))
			continue;
		records[i].data_crc = crc32c(0, data[i], slot_bytes);
		if (n && (const char *)iov[n - 1].iov_base + iov[n - 1].iov_len == data[i]) {
			iov[n - 1].iov_len += slot_bytes;
		} else {
			iov[n].iov_base = (void *)data[i];
			iov[n++].iov_len = slot_bytes;
		}
	}
	return n ? segment_file_write_slots(atomic_load(&s->file), part->slot, iov, n) : 0;
}

static int fill_part(const struct log_part *part, struct record *records, const void *const *data)
{
	struct stage *stage = atomic_load_explicit(&part->segment->stage, memory_order_relaxed);
	int rc = 0;

	if (stage)
		stage_part(stage, part, records, data);
	else
		rc = write_part(part, records, data);
	/* The bytes first, then the records that vouch for them. */
	return rc ? rc : put_records(part->segment, part->record, &records[part->first], part->count);
}

int log_fill(struct log *l, const struct log_append *append, struct record *records, const void *const *data)
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < append->parts; i++)
		rc = fill_part(&append->part[i], records, data);
	if (rc) {
		log_fail(l, rc, "cannot write to the log");
		rc = -EIO;
	}
	return rc;
}

/* ---- from the stage to the file ---- */

bool log_is_stream(const struct log *l, const struct segment *s, uint32_t slots)
{
	return clock_monotonic_ns() - s->opened_ns < (uint64_t)STREAM_NS * slots / l->shape.slots;
}

struct log_filled log_filled(const struct log *l, const struct segment *s)
{
	struct log_filled f = { s->slot_count, s->record_count };
	const struct log_part *part;

	if (s == l->open)
		f = (struct log_filled){ l->slots_used, l->records_used };
	TAILQ_FOREACH(part, &l->inflight, link)
		if (part->segment == s) {
			f = (struct log_filled){ part->slot, part->record };
			break;
		}
	if (f.records == 1)
		f.records = 0; /* the first goes with the second */
	return f;
}

/* Bytes of the open segment that are in the stage only, some of them perhaps still being filled. */
static uint64_t gathered(const struct log *l)
{
	struct stage *stage = l->open ? atomic_load(&l->open->stage) : NULL;

	return stage ? (uint64_t)(l->slots_used - stage_written(stage)) * l->shape.slot_bytes : 0;
}

/* Writes out what is filled of the open segment, with `start` on its way to the disk. The mutex is held, and let go of meanwhile. */
static void write_out_open(struct log *l, bool start)
{
	struct segment *s = l->open;
	struct log_filled f = log_filled(l, s);
	bool stream = log_is_stream(l, s, f.slots);

	atomic_fetch_add(&s->pins, 1);
	pthread_mutex_unlock(&l->mutex);
	int rc = segment_write_out(s, f.slots, f.records, stream);
	if (!rc && start)
		disk_start_writeback(atomic_load(&s->file)->fd);
	segment_unpin(s);
	if (rc)
		log_fail(l, rc, "cannot write to the log");
	pthread_mutex_lock(&l->mutex);
}

int log_write_out_closed(struct log *l, struct closing *c)
{
	struct segment *s = c->segment;
	bool stream = log_is_stream(l, s, s->slot_count);
	int rc;

	c->writing = true;
	pthread_mutex_unlock(&l->mutex);
	rc = segment_end_stage(s, stream);
	if (rc)
		log_fail(l, rc, "cannot write to the log");
	pthread_mutex_lock(&l->mutex);
	c->writing = false;
	if (!rc) {
		l->closing_stages--;
		log_wake_room_waiters(l);
	}
	if (l->frontier_waiters)
		pthread_cond_broadcast(&l->changed);
	return rc;
}

/* The first closed segment that is filled, still in its stage, and in nobody's hands. */
static struct closing *to_write_out(const struct log *l)
{
	struct closing *c;

	TAILQ_FOREACH(c, &l->closing, link)
		if (!c->writing && atomic_load(&c->segment->stage) && !atomic_load(&c->segment->filling))
			break;
	return c;
}

static bool open_is_due(const struct log *l)
{
	return !l->writing_open && gathered(l) >= WRITE_OUT_BYTES;
}

static void write_out_job(void *arg)
{
	struct log *l = arg;

	pthread_mutex_lock(&l->mutex);
	while (!l->failed) {
		struct closing *c = to_write_out(l);
		if (c) {
			log_write_out_closed(l, c);
		} else if (open_is_due(l)) {
			l->writing_open = true;
			write_out_open(l, false);
			l->writing_open = false;
		} else {
			break;
		}
	}
	l->writers--;
	pthread_mutex_unlock(&l->mutex);
	log_job_end(l);
}

/* Has somebody write out what is there in earnest. */
static void start_writing_out(struct log *l)
{
	if (l->writers < WRITERS && !l->failed && (open_is_due(l) || to_write_out(l)))
		l->writers += log_job_start(l, write_out_job, 0);
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
	/* Before the answer: measured, that is quicker than while the guest prepares its flush. */
	if (l->open && !l->failed && l->eager)
		write_out_open(l, true);
	start_writing_out(l);
	pthread_mutex_unlock(&l->mutex);
}
