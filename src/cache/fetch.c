/* SPDX-License-Identifier: GPL-3.0-only */
/* fetch.c: reads of slots: from the local file, or by joining the fetch of a chunk (fetch_run.c) that two may wait for. */
#include "cache/fetch.h"

#include "cache/fetch_private.h"
#include "cache/verify_chunk.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void op_error(struct fetch_op *op, int rc)
{
	int none = 0;

	if (rc)
		atomic_compare_exchange_strong(&op->result, &none, rc);
}

void fetch_op_done(struct fetch_op *op, int rc)
{
	op_error(op, rc);
	if (atomic_fetch_sub(&op->pending, 1) == 1)
		op->complete(op);
}

/* ---- waiting for a chunk ---- */

/* Whether the segment is known to end before the chunk: a damaged map points there. */
static bool is_behind(const struct segment *s, uint32_t chunk)
{
	return atomic_load(&s->chunk) && chunk >= s->shape.chunks;
}

/* Adds a reader to the chunk's fetch, made if there is none: returns 1 then, else 0, -ENOMEM, -ERANGE when the segment has no such
 * chunk, or -EALREADY when the chunk has become present meanwhile: then there is nothing to wait for. A fetch that was made begins
 * with fetch_go_on(). */
static int join(const struct fetch_source *source, struct segment *s, uint32_t chunk, struct fetch_reader *r)
{
	bool ahead = !r->buf;
	struct fetch *f;
	int rc = 0;

	pthread_mutex_lock(&s->mutex);
	if (chunk != FETCH_TABLE && is_behind(s, chunk)) {
		rc = -ERANGE;
		goto out;
	}
	for (f = s->fetches; f && f->chunk != chunk; f = f->next)
		;
	if (!f && chunk != FETCH_TABLE && segment_chunk_state(s, chunk) == CHUNK_PRESENT) {
		rc = -EALREADY;
		goto out;
	}
	if (!f) {
		f = calloc(1, sizeof *f);
		if (!f) {
			rc = -ENOMEM;
			goto out;
		}
		f->segment = s;
		f->source = source;
		f->chunk = chunk;
		f->stage = FETCH_WAITS;
		f->ahead = ahead;
		f->next = s->fetches;
		s->fetches = f;
		atomic_fetch_add(&s->pins, 1);
		rc = 1;
	}
	f->ahead &= ahead;
	r->next = f->readers;
	f->readers = r;
out:
	pthread_mutex_unlock(&s->mutex);
	return rc;
}

/* Counts the uses of chunks by a read of [begin, begin+len). One that goes on within a chunk where the last one ended is no new
 * use: a pass in pieces uses each chunk once, or it would drive out what is in use. */
static void count_uses(struct segment *s, uint64_t begin, size_t len)
{
	bool goes_on = atomic_exchange(&s->read_end, begin + len) == begin && begin % CHUNK_BYTES;

	for (uint64_t c = begin / CHUNK_BYTES + goes_on; c <= (begin + len - 1) / CHUNK_BYTES; c++)
		segment_chunk_used(s, (uint32_t)c);
}

/* Reads [begin, begin+len) of the segment's slot bytes, all within present chunks. */
static int read_present(struct segment *s, uint64_t begin, void *buf, size_t len)
{
	uint32_t slot_bytes = s->shape.slot_bytes;

	count_uses(s, begin, len);
	return segment_read(s, (uint32_t)(begin / slot_bytes), (uint32_t)(begin % slot_bytes), buf, len);
}

/* Joins the fetch of one chunk's part of a read; with `buf` NULL the chunk is only wanted here. Whether it is a new one. */
static bool fetch_chunk(const struct fetch_source *source, struct fetch_op *op, struct segment *s, uint32_t chunk,
                        uint32_t skip, uint8_t *buf, size_t len)
{
	struct fetch_reader *r = malloc(sizeof *r);
	uint64_t epoch = source->epoch_of(source->arg, s->number);
	int rc;

	if (!r || !epoch) {
		if (r)
			fetch_tell(s, REPORT_ERROR, "image %016llx: segment %llu is not in the store",
			           (unsigned long long)segment_set_image(s->set), (unsigned long long)s->number);
		op_error(op, r ? -EIO : -ENOMEM);
		free(r);
		return false;
	}
	*r = (struct fetch_reader){ .op = op, .buf = buf, .skip = skip, .len = len };
	atomic_fetch_add(&op->pending, 1);
	rc = join(source, s, chunk, r);
	if (rc >= 0)
		return rc > 0;
	free(r);
	atomic_fetch_sub(&op->pending, 1);
	if (rc == -ERANGE) {
		fetch_tell(s, REPORT_ERROR, "image %016llx: segment %llu has no chunk %u, and the map points there",
		           (unsigned long long)segment_set_image(s->set), (unsigned long long)s->number, chunk);
		rc = -EIO;
	}
	if (rc == -EALREADY)
		rc = buf ? read_present(s, (uint64_t)chunk * CHUNK_BYTES + skip, buf, len) : 0;
	op_error(op, rc);
	return false;
}

/* ---- reading ---- */

/* Whether the chunk can be read from the file: verifies it if that was not done yet. */
static int ready(struct segment *s, uint32_t chunk)
{
	if (is_behind(s, chunk))
		return 0;
	switch (segment_chunk_state(s, chunk)) {
	case CHUNK_PRESENT:
		return 1;
	case CHUNK_UNVERIFIED:
		return verify_chunk(s, chunk);
	default:
		return 0;
	}
}

int fetch_read_now(const struct fetch_source *source, segment_no_t number, uint32_t slot, uint32_t skip, void *buf,
                   size_t len)
{
	struct segment *s = segment_pin_known(source->set, number);
	int rc = -EAGAIN;

	if (!s)
		return -EAGAIN;
	if (atomic_load_explicit(&s->chunk, memory_order_acquire)) {
		uint64_t begin = (uint64_t)slot * s->shape.slot_bytes + skip;
		uint64_t last = (begin + len - 1) / CHUNK_BYTES;
		rc = last < s->shape.chunks ? 0 : -EAGAIN;
		for (uint64_t c = begin / CHUNK_BYTES; !rc && c <= last; c++)
			if (segment_chunk_state(s, (uint32_t)c) != CHUNK_PRESENT)
				rc = -EAGAIN;
		if (!rc && read_present(s, begin, buf, len))
			rc = -EAGAIN; /* let the slow way decide what to do about it */
	}
	segment_unpin(s);
	return rc;
}

/* One chunk's part of a read, on the slow way. */
static void read_part(const struct fetch_source *source, struct fetch_op *op, struct segment *s, uint64_t begin,
                      uint8_t *buf, size_t len)
{
	uint32_t chunk = (uint32_t)(begin / CHUNK_BYTES);
	int rc = 0, have = atomic_load(&s->chunk) ? ready(s, chunk) : 0;

	if (have > 0) {
		rc = read_present(s, begin, buf, len);
		if (!rc)
			return;
		report_error("image %016llx: cannot read segment %llu from the cache: %s",
		             (unsigned long long)segment_set_image(s->set), (unsigned long long)s->number,
		             strerror(-rc));
		if (atomic_load(&s->life) == LIFE_STORED)
			segment_chunk_set(s, chunk, CHUNK_ABSENT);
	}
	if (have < 0 || (rc && atomic_load(&s->life) != LIFE_STORED)) {
		op_error(op, -EIO);
		return;
	}
	atomic_store(&s->read_end, begin + len);
	fetch_chunk(source, op, s, chunk, (uint32_t)(begin % CHUNK_BYTES), buf, len);
}

void fetch_read(const struct fetch_source *source, struct fetch_op *op, segment_no_t number, uint32_t slot,
                uint32_t skip, uint8_t *buf, size_t len)
{
	struct segment *s;

	if (!fetch_read_now(source, number, slot, skip, buf, len))
		return;
	s = segment_pin(source->set, number);
	if (!s) {
		op_error(op, -ENOMEM);
		return;
	}
	uint32_t slot_bytes = source->slot_bytes;
	uint64_t begin = (uint64_t)slot * slot_bytes + skip;
	while (len) {
		size_t part = CHUNK_BYTES - begin % CHUNK_BYTES;
		if (part > len)
			part = len;
		read_part(source, op, s, begin, buf, part);
		begin += part;
		buf += part;
		len -= part;
	}
	fetch_go_on(s);
	segment_unpin(s);
}

uint32_t fetch_ahead(const struct fetch_source *source, struct fetch_op *op, segment_no_t number, uint32_t chunk,
                     uint32_t count)
{
	struct segment *s = segment_pin(source->set, number);
	uint32_t begun = 0;

	if (!s) {
		op_error(op, -ENOMEM);
		return 0;
	}
	for (uint32_t c = chunk; c < chunk + count; c++)
		if (is_behind(s, c) || segment_chunk_state(s, c) == CHUNK_ABSENT)
			begun += fetch_chunk(source, op, s, c, 0, NULL, 0);
	fetch_go_on(s);
	segment_unpin(s);
	return begun;
}

void fetch_table(const struct fetch_source *source, struct fetch_op *op, segment_no_t number)
{
	struct segment *s = segment_pin(source->set, number);

	if (!s) {
		op_error(op, -ENOMEM);
		return;
	}
	/* A file of its own has the table, or all chunks. */
	if (!atomic_load(&s->chunk)) {
		fetch_chunk(source, op, s, FETCH_TABLE, 0, NULL, 0);
		fetch_go_on(s);
	}
	segment_unpin(s);
}
