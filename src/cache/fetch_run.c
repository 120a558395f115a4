/* SPDX-License-Identifier: GPL-3.0-only */
/* fetch_run.c: the way of chunks from the store into a local file.
 *
 * A fetch goes: (segment's header, index and table, if they are not here) -> a run of neighbouring chunks in one request -> each
 * opened -> its readers answered -> written -> present. Of the fetches of one segment that need its table, one gets it, and takes all
 * that wait by then along; or, when the store does not answer, those that waited when it asked. What somebody waits for and what is fetched ahead are never in one run, so that nobody waits for
 * more than was asked for.
 */
#include "base/bytes.h"
#include "cache/fetch_private.h"
#include "cache/object_heads.h"

#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A run holds at most so many chunks: enough that requests do not count, and few enough that the first need not wait long. */
#define RUN_CHUNKS 16u
#define RUN_CHUNKS_AHEAD 64u

/* The turn for the table of one segment. */
struct turn {
	struct fetch_source source; /* of that fetch; a copy */
	struct segment *segment;    /* pinned, by the fetch that has the turn */
	struct fetch *fetch;        /* which that is */
	struct segment_meta meta;
	uint8_t *buf; /* what the store fills */
	size_t length;
	char key[STORE_KEY_MAX + 1];
};

/* One request. */
struct run {
	struct fetch_source source;
	struct segment *segment; /* pinned by its fetches */
	struct segment_meta meta;
	struct fetch *fetches; /* in order of chunks, linked by next_in_run */
	uint64_t offset;       /* in the object */
	size_t length;
	uint8_t *buf;
	char key[STORE_KEY_MAX + 1];
};

void fetch_tell(struct segment *s, enum report_level level, const char *format, ...)
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

/* The map points past what the chunk holds. */
static bool is_past(const struct fetch_reader *r, uint32_t plain_len)
{
	return r->len > plain_len || r->skip > plain_len - r->len;
}

static void answer(struct fetch_reader *r, int status, const uint8_t *plain, uint32_t plain_len)
{
	while (r) {
		struct fetch_reader *next = r->next;
		int rc = status;
		if (!rc && is_past(r, plain_len))
			rc = -EIO;
		if (!rc && r->buf)
			memcpy(r->buf, plain + r->skip, r->len);
		fetch_op_done(r->op, rc);
		free(r);
		r = next;
	}
}

/* Takes the fetch out of its segment's list, answers its readers, ends it. */
static void fetch_end(struct fetch *f, int rc, const uint8_t *plain, uint32_t plain_len)
{
	struct segment *s = f->segment;
	bool past = false;
	struct fetch **p;

	pthread_mutex_lock(&s->mutex);
	for (p = &s->fetches; *p != f; p = &(*p)->next)
		;
	*p = f->next;
	struct fetch_reader *readers = f->readers;
	if (!rc && f->got)
		s->told = 0;
	pthread_mutex_unlock(&s->mutex);
	for (const struct fetch_reader *r = readers; !rc && r; r = r->next)
		past |= is_past(r, plain_len);
	if (past)
		fetch_tell(s, REPORT_ERROR,
		           "image %016llx: segment %llu, chunk %u has %u bytes, and the map points behind them",
		           (unsigned long long)segment_set_image(s->set), (unsigned long long)s->number, f->chunk,
		           plain_len);
	segment_unpin(s);
	answer(readers, rc, plain, plain_len);
	free(f);
}

/* What came is damaged: perhaps it was only so on its way. Puts the fetch back among those that wait, once. The segment is pinned
 * once more then, until the caller has let them go on. */
static bool wait_again(struct fetch *f)
{
	bool again;

	pthread_mutex_lock(&f->segment->mutex);
	again = !f->again;
	if (again) {
		f->again = true;
		f->stage = FETCH_WAITS;
		f->in_request = false;
		atomic_fetch_add(&f->segment->pins, 1);
	}
	pthread_mutex_unlock(&f->segment->mutex);
	return again;
}

/* ---- a run of chunks ---- */

/* Keeps the chunk in the local file; failing that, it is only not cached. */
static void keep(const struct run *run, uint32_t chunk, const uint8_t *plain, uint32_t plain_len)
{
	struct segment *s = run->segment;
	struct segment_file *file = atomic_load(&s->file);
	struct iovec iov = { (void *)plain, plain_len };

	/* Without a file the segment may have no shape either. */
	if (!file || plain_len % s->shape.slot_bytes || chunk >= s->shape.chunks)
		return;
	uint32_t first = (uint32_t)((uint64_t)chunk * CHUNK_BYTES / s->shape.slot_bytes);
	if (segment_file_write_slots(file, first, &iov, 1))
		return;
	segment_chunk_set(s, chunk, CHUNK_PRESENT);
	cache_chunk_filled(run->source.cache, s, chunk);
}

static void run_free(struct run *run)
{
	sodium_memzero(&run->source.key, sizeof run->source.key);
	free(run->buf);
	free(run);
}

/* Opens one chunk of the `length` bytes that came, and ends its fetch. False when it waits again. */
static bool chunk_arrived(const struct run *run, struct fetch *f, uint64_t length)
{
	uint8_t plain[CHUNK_BYTES];
	uint32_t plain_len = 0;
	struct error bad = { 0 };
	uint64_t at = f->offset - run->offset;
	int rc;

	if (length < at + f->box.stored_length)
		rc = error_set(&bad, -EBADMSG, "cut short: %llu bytes of a chunk of %u",
		               (unsigned long long)(length > at ? length - at : 0), f->box.stored_length);
	else
		rc = segment_chunk_open(&run->meta, f->chunk, &f->box, run->buf + at, &run->source.key, plain,
		                        &plain_len, &bad);
	if (rc == -EBADMSG)
		object_heads_drop(cache_heads(run->source.cache), run->key);
	if (rc == -EBADMSG && wait_again(f))
		return false;
	if (rc)
		fetch_tell(run->segment, REPORT_ERROR, "%s, chunk %u: %s", run->key, f->chunk, error_text(&bad));
	f->got = !rc;
	if (!rc)
		keep(run, f->chunk, plain, plain_len);
	fetch_end(f, read_error(rc), plain, plain_len);
	return true;
}

static void run_done(void *arg, int status, uint64_t length, const struct error *err)
{
	struct run *run = arg;
	struct segment *s = run->segment;
	struct fetch *f, *next;
	unsigned again = 0;

	if (status)
		fetch_tell(run->segment, REPORT_WARNING, "cannot read %s: %s", run->key, error_text(err));
	for (f = run->fetches; f; f = next) {
		next = f->next_in_run;
		if (status)
			fetch_end(f, read_error(status), NULL, 0);
		else
			again += !chunk_arrived(run, f, length);
	}
	if (again)
		fetch_go_on(s);
	while (again--)
		segment_unpin(s);
	run_free(run);
}

static void fail_all(struct fetch *f, int rc)
{
	while (f) {
		struct fetch *next = f->next_in_run;
		fetch_end(f, rc, NULL, 0);
		f = next;
	}
}

/* Asks for the chunks of `fetches`, which lie next to each other in the object. */
static void start_run(const struct turn *turn, struct fetch *fetches, const struct fetch *last, bool ahead)
{
	struct run *run = malloc(sizeof *run);

	if (!run || !(run->buf = malloc(last->offset + last->box.stored_length - fetches->offset))) {
		free(run);
		fail_all(fetches, -ENOMEM);
		return;
	}
	run->source = turn->source;
	run->segment = fetches->segment;
	run->meta = turn->meta;
	run->fetches = fetches;
	run->offset = fetches->offset;
	run->length = (size_t)(last->offset + last->box.stored_length - fetches->offset);
	memcpy(run->key, turn->key, sizeof run->key);
	size_t length = run->length;
	if (object_heads_read(cache_heads(run->source.cache), run->key, run->offset, run->buf, &length))
		run_done(run, 0, length, NULL);
	else
		store_get(run->source.store, run->key, run->offset, run->buf, run->length,
		          STORE_GET_IMMUTABLE | (ahead ? STORE_PREFETCH : 0), run_done, run);
}

/* Whether `f` may be the next of a run that ends with `last`. */
static bool goes_on(const struct fetch *last, const struct fetch *f, unsigned count)
{
	return count < (f->asked_ahead ? RUN_CHUNKS_AHEAD : RUN_CHUNKS) && f->asked_ahead == last->asked_ahead &&
	       f->chunk == last->chunk + 1 && f->offset == last->offset + last->box.stored_length;
}

/* Ends those that need nothing from the store, and cuts the others into runs. `list` is in order of chunks. */
static void start_runs(const struct turn *turn, const uint8_t *table, struct fetch *list)
{
	static const uint8_t nothing[CHUNK_BYTES];
	struct fetch *first = NULL, *last = NULL, *next;
	unsigned count = 0;

	for (struct fetch *f = list; f; f = next) {
		next = f->next_in_run;
		f->next_in_run = NULL;
		if (f->chunk == FETCH_TABLE) {
			fetch_end(f, 0, NULL, 0);
			continue;
		}
		if (f->chunk >= turn->meta.chunk_count) {
			fetch_tell(f->segment, REPORT_ERROR, "%s has no chunk %u", turn->key, f->chunk);
			fetch_end(f, -EIO, NULL, 0);
			continue;
		}
		segment_table_entry(&turn->meta, table, f->chunk, &f->offset, &f->box);
		if (!f->box.stored_length) {
			fetch_end(f, 0, nothing, sizeof nothing);
			continue;
		}
		if (last && !goes_on(last, f, count)) {
			start_run(turn, first, last, last->asked_ahead);
			last = NULL;
		}
		if (last) {
			last->next_in_run = f;
			count++;
		} else {
			first = f;
			count = 1;
		}
		last = f;
	}
	if (last)
		start_run(turn, first, last, last->asked_ahead);
}

/* ---- the turn: header, index and table ---- */

static void turn_free(struct turn *t)
{
	sodium_memzero(&t->source.key, sizeof t->source.key);
	free(t->buf);
	free(t);
}

/* Gives the turn up without having brought the table. */
static void leave_turn(struct fetch *f)
{
	pthread_mutex_lock(&f->segment->mutex);
	f->stage = FETCH_CHUNK;
	pthread_mutex_unlock(&f->segment->mutex);
}

static int by_chunk(const void *a, const void *b)
{
	const struct fetch *x = *(struct fetch *const *)a, *y = *(struct fetch *const *)b;

	return x->chunk < y->chunk ? -1 : x->chunk > y->chunk;
}

/* The request for the table answers those that wait now: who comes while it is under way shares what it brings, not its failure. */
static void note_request(struct segment *s)
{
	pthread_mutex_lock(&s->mutex);
	for (struct fetch *f = s->fetches; f; f = f->next)
		f->in_request = f->stage == FETCH_WAITS;
	pthread_mutex_unlock(&s->mutex);
}

static bool is_taken(const struct turn *t, const struct fetch *f, bool all)
{
	return f == t->fetch || (f->stage == FETCH_WAITS && (all || f->in_request));
}

/* Takes the fetch with the turn and those that wait, `all` or those of its request, which are under way from now on, in order of
 * chunks. The turn is free then. Without memory for the order they come as they are. */
static struct fetch *take_waiting(struct turn *t, bool all)
{
	struct segment *s = t->segment;
	struct fetch *list = NULL, **order = NULL, **end = &list;
	size_t count = 0, n = 0;

	pthread_mutex_lock(&s->mutex);
	for (struct fetch *f = s->fetches; f; f = f->next)
		count += is_taken(t, f, all);
	order = count > 1 ? malloc(count * sizeof(struct fetch *)) : NULL;
	for (struct fetch *f = s->fetches; f; f = f->next) {
		if (!is_taken(t, f, all))
			continue;
		f->stage = FETCH_CHUNK;
		f->asked_ahead = f->ahead;
		f->next_in_run = NULL;
		if (order) {
			order[n++] = f;
		} else {
			*end = f;
			end = &f->next_in_run;
		}
	}
	pthread_mutex_unlock(&s->mutex);
	if (!order)
		return list;
	qsort(order, n, sizeof(struct fetch *), by_chunk);
	for (size_t i = 0; i < n; i++)
		order[i]->next_in_run = i + 1 < n ? order[i + 1] : NULL;
	list = order[0];
	free(order);
	return list;
}

/* The table is known: everything that waits for it goes on. Ends the turn. */
static void turn_done(struct turn *t, const uint8_t *table)
{
	struct fetch *list = take_waiting(t, true);

	/* For those that come after; the segment is pinned by those in the list. */
	fetch_go_on(t->segment);
	start_runs(t, table, list);
	turn_free(t);
}

/* The request failed with `rc`, and `text` is told. When the store did not give the table, all that waited for that request end, as
 * each of them would wait as long again; who came later asks anew. What came damaged is asked for once more, and then ends only
 * the one with the turn. Ends the turn. */
static void turn_failed(struct turn *t, int rc, const char *text)
{
	struct segment *s = t->segment;

	/* First: whoever goes on from then on must not find it there again. */
	if (rc == -EBADMSG)
		object_heads_drop(cache_heads(t->source.cache), t->key);
	if (rc == -EBADMSG && wait_again(t->fetch)) {
		fetch_go_on(s);
		segment_unpin(s);
		turn_free(t);
		return;
	}
	fetch_tell(s, rc == -EBADMSG ? REPORT_ERROR : REPORT_WARNING, "cannot read %s: %s", t->key, text);
	if (rc == -EBADMSG) {
		leave_turn(t->fetch);
		fetch_go_on(s);
		fetch_end(t->fetch, read_error(rc), NULL, 0);
	} else {
		struct fetch *list = take_waiting(t, false);
		/* The segment is pinned by those in the list. */
		fetch_go_on(s);
		fail_all(list, read_error(rc));
	}
	turn_free(t);
}

/* The table of the local file, as far as it is there. `*table` is malloc'ed. */
static int local_table(struct turn *t, uint8_t **table)
{
	struct segment *s = t->segment;
	struct segment_file *file = segment_open_file(s, NULL);
	size_t len;
	int rc;

	if (!file || !atomic_load(&s->chunk))
		return -ENOENT;
	len = (size_t)file->shape.chunks * SEGMENT_TABLE_ENTRY;
	*table = malloc(len);
	if (!*table)
		return -ENOMEM;
	rc = segment_file_get_table(file, &t->meta.chunks_offset, *table, len);
	if (rc) {
		free(*table);
		*table = NULL;
		return rc;
	}
	memcpy(t->meta.pool, segment_set_pool(s->set), sizeof t->meta.pool);
	t->meta.image = segment_set_image(s->set);
	t->meta.number = s->number;
	t->meta.slot_bytes = file->shape.slot_bytes;
	t->meta.slots = file->shape.slots;
	t->meta.chunk_count = file->shape.chunks;
	return 0;
}

static int make_local(struct turn *t, const struct segment_meta *meta, const struct record *records)
{
	struct segment *s = t->segment;
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
		if (!rc && (rc = segment_set_shape(s, &file->shape, CHUNK_ABSENT))) {
			segment_file_close(file);
			disk_unlink(segment_set_disk(s->set), path);
		}
		if (rc) {
			report_debug("not cached: %s: %s", path, error_text(&err));
		} else {
			segment_adopt_file(s, file);
			memcpy(s->digest, meta->digest, sizeof s->digest);
			memcpy(s->prev_digest, meta->prev_digest, sizeof s->prev_digest);
			s->record_count = meta->record_count;
			atomic_store(&s->life, LIFE_STORED);
			cache_file_made(t->source.cache, s);
		}
	}
	pthread_mutex_unlock(&s->mutex);
	free(path);
	return rc;
}

/* The bytes in t->buf hold all of header, index and table. */
static void meta_ready(struct turn *t, const struct segment_meta *meta)
{
	struct segment *s = t->segment;
	struct record *records = NULL;
	uint8_t *table = NULL;
	struct error err = { 0 };
	int rc = segment_meta_open(meta, t->buf, t->length, &t->source.key, &records, &table, &err);

	if (rc) {
		free(records);
		turn_failed(t, rc, error_text(&err));
		return;
	}
	t->meta = *meta;
	if (!make_local(t, meta, records) && atomic_load(&s->file))
		segment_file_set_table(atomic_load(&s->file), meta->chunks_offset, table,
		                       (size_t)meta->chunk_count * SEGMENT_TABLE_ENTRY);
	free(records);
	turn_done(t, table);
	free(table);
}

static void meta_done(void *arg, int status, uint64_t length, const struct error *err)
{
	struct turn *t = arg;
	struct segment_set *set = t->segment->set;
	struct segment_meta meta;
	struct error bad = { 0 };

	if (status) {
		turn_failed(t, status, error_text(err));
		return;
	}
	status = segment_meta_decode(t->buf, length, &t->source.key, &meta, &bad);
	if (!status && (meta.image != segment_set_image(set) || meta.number != t->segment->number ||
	                memcmp(meta.pool, segment_set_pool(set), sizeof meta.pool) != 0))
		status = error_set(&bad, -EBADMSG, "is a segment of another place");
	if (status) {
		turn_failed(t, status, error_text(&bad));
		return;
	}
	uint64_t need = segment_meta_bytes(&meta);
	if (need <= length) {
		t->length = length;
		meta_ready(t, &meta);
		return;
	}
	if (length < t->length || need > SEGMENT_OBJECT_META_MAX) {
		turn_failed(t, -EBADMSG, "cut short");
		return;
	}
	uint8_t *buf = realloc(t->buf, need);
	if (!buf) {
		turn_failed(t, -ENOMEM, strerror(ENOMEM));
		return;
	}
	t->buf = buf;
	t->length = need;
	note_request(t->segment);
	store_get(t->source.store, t->key, 0, t->buf, need, STORE_GET_IMMUTABLE, meta_done, t);
}

/* A fetch has the turn. */
static void take_turn(struct fetch *f)
{
	const struct fetch_source *source = f->source;
	struct segment *s = f->segment;
	struct turn *t = calloc(1, sizeof *t);
	uint8_t *table = NULL;

	if (!t) {
		leave_turn(f);
		fetch_go_on(s);
		fetch_end(f, -ENOMEM, NULL, 0);
		return;
	}
	t->source = *source;
	t->segment = s;
	t->fetch = f;
	segment_object_key(segment_set_image(s->set), s->number, source->epoch_of(source->arg, s->number), t->key,
	                   sizeof t->key);
	if (!local_table(t, &table)) {
		turn_done(t, table);
		free(table);
		return;
	}
	t->length = SEGMENT_OBJECT_META_GUESS;
	t->buf = malloc(t->length);
	size_t length = t->length;
	if (!t->buf) {
		turn_failed(t, -ENOMEM, strerror(ENOMEM));
	} else if (object_heads_read(cache_heads(source->cache), t->key, 0, t->buf, &length)) {
		meta_done(t, 0, length, NULL);
	} else {
		note_request(s);
		store_get(t->source.store, t->key, 0, t->buf, t->length, STORE_GET_IMMUTABLE, meta_done, t);
	}
}

void fetch_go_on(struct segment *s)
{
	struct fetch *f, *first = NULL;

	pthread_mutex_lock(&s->mutex);
	for (f = s->fetches; f && f->stage != FETCH_META; f = f->next)
		if (f->stage == FETCH_WAITS && (!first || !f->ahead))
			first = f;
	if (f)
		first = NULL;
	else if (first)
		first->stage = FETCH_META;
	pthread_mutex_unlock(&s->mutex);
	if (first)
		take_turn(first);
}
