/* SPDX-License-Identifier: GPL-3.0-only */
/* fetch.c: the way of a chunk from the store into a local file, and the reads that wait for it.
 *
 * A fetch goes: (segment's header, index and table, if they are not here) -> chunk -> open -> answer -> write -> present.
 * Of the fetches of one segment that need its meta, one gets it and the others wait for that.
 */
#include "cache/fetch.h"

#include "base/bytes.h"
#include "base/report.h"
#include "cache/verify_chunk.h"

#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
	struct fetch_op *op;
	uint8_t *buf;
	uint32_t skip; /* into the chunk */
	size_t len;
	struct reader *next;
};

enum fetch_stage { STAGE_META_WAIT, STAGE_META, STAGE_CHUNK };

struct fetch {
	struct fetch_source source; /* a copy: the image's may be rebuilt */
	struct segment *segment;    /* pinned */
	uint32_t chunk;
	enum fetch_stage stage; /* guarded by the segment's mutex */
	struct reader *readers; /* likewise */
	struct fetch *next;     /* likewise: segment->fetches */
	struct segment_meta meta;
	struct seal_box box;
	uint8_t *buf; /* what the store fills */
	size_t length;
	char key[STORE_KEY_MAX + 1];
};

/* Reports why the segment cannot be read: one error and one warning until it was read again, however many chunks are asked for. */
__attribute__((format(printf, 3, 4))) static void tell(struct segment *s, enum report_level level, const char *format,
                                                       ...)
{
	uint8_t bit = (uint8_t)(1u << level);
	char text[ERROR_TEXT_MAX + STORE_KEY_MAX + 40];
	va_list args;

	pthread_mutex_lock(&s->mutex);
	bool news = !(s->told & bit);
	s->told |= bit;
	pthread_mutex_unlock(&s->mutex);
	if (!news)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	report(level, "%s", text);
}

/* An object that is damaged or gone is an I/O error to who reads the disk; other errors of the store pass. */
static int read_error(int rc)
{
	return rc == -EBADMSG || rc == -ENOENT ? -EIO : rc;
}

static void op_error(struct fetch_op *op, int rc)
{
	int none = 0;

	if (rc)
		atomic_compare_exchange_strong(&op->result, &none, rc);
}

static void op_done(struct fetch_op *op, int rc)
{
	op_error(op, rc);
	if (atomic_fetch_sub(&op->pending, 1) == 1)
		op->complete(op);
}

static void answer(struct reader *r, int status, const uint8_t *plain, uint32_t plain_len)
{
	while (r) {
		struct reader *next = r->next;
		int rc = status;
		if (!rc && r->skip + r->len > plain_len)
			rc = -EBADMSG; /* the map points past what the chunk holds */
		if (!rc)
			memcpy(r->buf, plain + r->skip, r->len);
		op_done(r->op, rc);
		free(r);
		r = next;
	}
}

/* Takes the fetch out of its segment's list, answers its readers, ends it. */
static void fetch_end(struct fetch *f, int rc, const uint8_t *plain, uint32_t plain_len)
{
	struct segment *s = f->segment;
	struct fetch **p;

	pthread_mutex_lock(&s->mutex);
	for (p = &s->fetches; *p != f; p = &(*p)->next)
		;
	*p = f->next;
	struct reader *readers = f->readers;
	if (!rc && f->buf)
		s->told = 0; /* the store gave what was asked for */
	pthread_mutex_unlock(&s->mutex);
	segment_unpin(s);
	answer(readers, rc, plain, plain_len);
	sodium_memzero(&f->source.key, sizeof f->source.key);
	free(f->buf);
	free(f);
}

/* ---- the chunk ---- */

/* Keeps the chunk in the local file; failing that, it is only not cached. */
static void keep(struct fetch *f, const uint8_t *plain, uint32_t plain_len)
{
	struct segment *s = f->segment;
	struct segment_file *file = atomic_load(&s->file);
	struct iovec iov = { (void *)plain, plain_len };

	/* Without a file the segment may have no shape either. */
	if (!file || plain_len % s->shape.slot_bytes)
		return;
	uint32_t first = (uint32_t)((uint64_t)f->chunk * CHUNK_BYTES / s->shape.slot_bytes);
	if (segment_file_write_slots(file, first, &iov, 1))
		return;
	segment_chunk_set(s, f->chunk, CHUNK_PRESENT);
	cache_chunk_filled(f->source.cache, s, f->chunk);
}

static void chunk_done(void *arg, int status, uint64_t length, const struct error *err)
{
	struct fetch *f = arg;
	struct error bad = { 0 };
	uint8_t plain[CHUNK_BYTES];
	uint32_t plain_len = 0;

	if (status) {
		tell(f->segment, REPORT_WARNING, "cannot read %s: %s", f->key, error_text(err));
	} else if (length != f->box.stored_length) {
		status = -EBADMSG;
		tell(f->segment, REPORT_ERROR, "%s is cut short: %llu bytes of a chunk of %u", f->key,
		     (unsigned long long)length, f->box.stored_length);
	} else {
		if (f->source.counted)
			f->source.counted(f->source.arg, 1, length);
		status = segment_chunk_open(&f->meta, f->chunk, &f->box, f->buf, &f->source.key, plain, &plain_len,
		                            &bad);
		if (status)
			tell(f->segment, REPORT_ERROR, "%s, chunk %u: %s", f->key, f->chunk, error_text(&bad));
	}
	if (!status)
		keep(f, plain, plain_len);
	fetch_end(f, read_error(status), plain, plain_len);
}

static void get_chunk(struct fetch *f, const uint8_t *table)
{
	static const uint8_t nothing[CHUNK_BYTES];
	uint64_t offset;

	if (f->chunk >= f->meta.chunk_count) {
		tell(f->segment, REPORT_ERROR, "%s has no chunk %u", f->key, f->chunk);
		fetch_end(f, -EIO, NULL, 0);
		return;
	}
	segment_table_entry(&f->meta, table, f->chunk, &offset, &f->box);
	if (!f->box.stored_length) {
		fetch_end(f, 0, nothing, sizeof nothing);
		return;
	}
	free(f->buf);
	f->buf = malloc(f->box.stored_length);
	if (!f->buf) {
		fetch_end(f, -ENOMEM, NULL, 0);
		return;
	}
	store_get(f->source.store, f->key, offset, f->buf, f->box.stored_length, chunk_done, f);
}

/* ---- header, index and table ---- */

/* The table of the local file, as far as it is there. `*table` is malloc'ed. */
static int local_table(struct fetch *f, uint8_t **table)
{
	struct segment *s = f->segment;
	struct segment_file *file = segment_open_file(s, NULL);
	size_t len;
	int rc;

	if (!file || !atomic_load(&s->chunk))
		return -ENOENT;
	len = (size_t)file->shape.chunks * SEGMENT_TABLE_ENTRY;
	*table = malloc(len);
	if (!*table)
		return -ENOMEM;
	rc = segment_file_get_table(file, &f->meta.chunks_offset, *table, len);
	if (rc) {
		free(*table);
		*table = NULL;
		return rc;
	}
	memcpy(f->meta.pool, segment_set_pool(s->set), sizeof f->meta.pool);
	f->meta.image = segment_set_image(s->set);
	f->meta.number = s->number;
	f->meta.slot_bytes = file->shape.slot_bytes;
	f->meta.slots = file->shape.slots;
	f->meta.chunk_count = file->shape.chunks;
	return 0;
}

static void meta_done(void *arg, int status, uint64_t length, const struct error *err);

/* Whoever has the turn for the meta gives it up; a fetch waits for its chunk from here on. */
static void leave_meta(struct fetch *f)
{
	pthread_mutex_lock(&f->segment->mutex);
	f->stage = STAGE_CHUNK;
	pthread_mutex_unlock(&f->segment->mutex);
}

/* The next step of a fetch that has its segment's turn for the meta. Returns whether the turn is free again. */
static bool get_meta(struct fetch *f)
{
	uint8_t *table = NULL;

	if (!local_table(f, &table)) {
		leave_meta(f);
		get_chunk(f, table);
		free(table);
		return true;
	}
	f->length = SEGMENT_OBJECT_META_GUESS;
	f->buf = malloc(f->length);
	if (!f->buf) {
		leave_meta(f);
		fetch_end(f, -ENOMEM, NULL, 0);
		return true;
	}
	store_get(f->source.store, f->key, 0, f->buf, f->length, meta_done, f);
	return false;
}

/* The turn for the meta is free: those that wait for it go on, until one has to ask the store. The segment is pinned. */
static void pass_turn(struct segment *s)
{
	struct fetch *f;

	do {
		pthread_mutex_lock(&s->mutex);
		for (f = s->fetches; f && f->stage != STAGE_META_WAIT; f = f->next)
			;
		if (f)
			f->stage = STAGE_META;
		pthread_mutex_unlock(&s->mutex);
	} while (f && get_meta(f));
}

static int make_local(struct fetch *f, const struct segment_meta *meta, const struct record *records)
{
	struct segment *s = f->segment;
	struct segment_header h = {
		.image = meta->image,
		.number = meta->number,
		.epoch = meta->epoch,
		.slot_bytes = meta->slot_bytes,
		.state = SEGMENT_STORED,
		.record_count = meta->record_count,
		.slot_count = meta->slots,
		.created_ns = meta->packed_ns,
	};
	struct segment_file *file;
	char *path = segment_path(s->set, s->number);
	struct error err = { 0 };
	int rc;

	if (!path)
		return -ENOMEM;
	memcpy(h.pool, meta->pool, sizeof h.pool);
	memcpy(h.digest, meta->digest, sizeof h.digest);
	memcpy(h.prev_digest, meta->prev_digest, sizeof h.prev_digest);
	pthread_mutex_lock(&s->mutex);
	rc = 0;
	if (s->local && !atomic_load(&s->chunk)) {
		/* A file with a damaged header was found at start; the store has what it should have held. */
		disk_unlink(segment_set_disk(s->set), path);
		s->local = false;
	}
	if (!s->local) {
		rc = disk_make_path(segment_set_disk(s->set), segment_set_dir(s->set));
		if (!rc)
			rc = segment_file_create_stored(segment_set_disk(s->set), path, &h,
			                                meta->slots * meta->slot_bytes, records, meta->record_count,
			                                &file, &err);
		if (!rc)
			rc = segment_set_shape(s, &file->shape, CHUNK_ABSENT);
		if (rc) {
			report_debug("not cached: %s: %s", path, error_text(&err));
		} else {
			segment_adopt_file(s, file);
			memcpy(s->digest, meta->digest, sizeof s->digest);
			memcpy(s->prev_digest, meta->prev_digest, sizeof s->prev_digest);
			s->record_count = meta->record_count;
			atomic_store(&s->life, LIFE_STORED);
			cache_file_made(f->source.cache, s);
		}
	}
	pthread_mutex_unlock(&s->mutex);
	free(path);
	return rc;
}

/* The bytes in f->buf hold all of header, index and table. */
static void meta_ready(struct fetch *f, const struct segment_meta *meta)
{
	struct segment *s = f->segment;
	struct record *records = NULL;
	uint8_t *table = NULL;
	struct error err = { 0 };
	int rc = segment_meta_open(meta, f->buf, f->length, &f->source.key, &records, &table, &err);

	if (rc) {
		tell(s, REPORT_ERROR, "%s: %s", f->key, error_text(&err));
		free(records);
		leave_meta(f);
		pass_turn(s);
		fetch_end(f, read_error(rc), NULL, 0);
		return;
	}
	f->meta = *meta;
	if (!make_local(f, meta, records) && atomic_load(&s->file))
		segment_file_set_table(atomic_load(&s->file), meta->chunks_offset, table,
		                       (size_t)meta->chunk_count * SEGMENT_TABLE_ENTRY);
	free(records);
	leave_meta(f);
	pass_turn(s);
	get_chunk(f, table);
	free(table);
}

static void meta_failed(struct fetch *f, int rc, const char *text)
{
	tell(f->segment, rc == -EBADMSG ? REPORT_ERROR : REPORT_WARNING, "cannot read %s: %s", f->key, text);
	leave_meta(f);
	pass_turn(f->segment);
	fetch_end(f, read_error(rc), NULL, 0);
}

static void meta_done(void *arg, int status, uint64_t length, const struct error *err)
{
	struct fetch *f = arg;
	struct segment_meta meta;
	struct error bad = { 0 };

	if (status) {
		meta_failed(f, status, error_text(err));
		return;
	}
	if (f->source.counted)
		f->source.counted(f->source.arg, 1, length);
	status = segment_meta_decode(f->buf, length, &f->source.key, &meta, &bad);
	if (!status && (meta.image != segment_set_image(f->segment->set) || meta.number != f->segment->number ||
	                memcmp(meta.pool, segment_set_pool(f->segment->set), sizeof meta.pool) != 0))
		status = error_set(&bad, -EBADMSG, "is a segment of another place");
	if (status) {
		meta_failed(f, status, error_text(&bad));
		return;
	}
	uint64_t need = segment_meta_bytes(&meta);
	if (need <= length) {
		f->length = length;
		meta_ready(f, &meta);
		return;
	}
	if (length < f->length || need > SEGMENT_OBJECT_META_MAX) {
		meta_failed(f, -EBADMSG, "cut short");
		return;
	}
	uint8_t *buf = realloc(f->buf, need);
	if (!buf) {
		meta_failed(f, -ENOMEM, strerror(ENOMEM));
		return;
	}
	f->buf = buf;
	f->length = need;
	store_get(f->source.store, f->key, 0, f->buf, need, meta_done, f);
}

/* ---- starting ---- */

/* Adds a reader to the chunk's fetch, made if there is none; `*start` is the fetch to be started, or NULL. Returns 0, -ENOMEM,
 * or -EALREADY when the chunk has become present meanwhile: then there is nothing to wait for. */
static int join(const struct fetch_source *source, struct segment *s, uint32_t chunk, uint64_t epoch, struct reader *r,
                struct fetch **start)
{
	struct fetch *f;
	bool meta_busy = false;
	int rc = 0;

	*start = NULL;
	pthread_mutex_lock(&s->mutex);
	for (f = s->fetches; f && f->chunk != chunk; f = f->next)
		meta_busy |= f->stage == STAGE_META;
	if (f) {
		r->next = f->readers;
		f->readers = r;
		goto out;
	}
	if (segment_chunk_state(s, chunk) == CHUNK_PRESENT) {
		rc = -EALREADY;
		goto out;
	}
	f = calloc(1, sizeof *f);
	if (!f) {
		rc = -ENOMEM;
		goto out;
	}
	f->source = *source;
	f->segment = s;
	f->chunk = chunk;
	f->readers = r;
	segment_object_key(segment_set_image(s->set), s->number, epoch, f->key, sizeof f->key);
	f->stage = meta_busy ? STAGE_META_WAIT : STAGE_META;
	f->next = s->fetches;
	s->fetches = f;
	atomic_fetch_add(&s->pins, 1);
	if (!meta_busy)
		*start = f;
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

static void fetch_chunk(const struct fetch_source *source, struct fetch_op *op, struct segment *s, uint32_t chunk,
                        uint32_t skip, uint8_t *buf, size_t len)
{
	struct reader *r = malloc(sizeof *r);
	uint64_t epoch = source->epoch_of(source->arg, s->number);
	struct fetch *start;

	if (!r || !epoch) {
		if (r)
			tell(s, REPORT_ERROR, "image %016llx: segment %llu is not in the store",
			     (unsigned long long)segment_set_image(s->set), (unsigned long long)s->number);
		op_error(op, r ? -EIO : -ENOMEM);
		free(r);
		return;
	}
	*r = (struct reader){ .op = op, .buf = buf, .skip = skip, .len = len };
	atomic_store(&s->read_end, (uint64_t)chunk * CHUNK_BYTES + skip + len);
	atomic_fetch_add(&op->pending, 1);
	int rc = join(source, s, chunk, epoch, r, &start);
	if (rc) {
		free(r);
		atomic_fetch_sub(&op->pending, 1);
		op_error(op, rc == -EALREADY ? read_present(s, (uint64_t)chunk * CHUNK_BYTES + skip, buf, len) : rc);
		return;
	}
	if (start && get_meta(start))
		pass_turn(s);
}

/* ---- reading ---- */

/* Whether the chunk can be read from the file: verifies it if that was not done yet. */
static int ready(struct segment *s, uint32_t chunk)
{
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
	segment_unpin(s);
}
