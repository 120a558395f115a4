/* SPDX-License-Identifier: GPL-3.0-only */
/* crash_run.c: see crash_run.h. */
#include "lib/crash_run.h"

#include "image/private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define WRITE_MOST (192u << 10)
#define SOURCE_BYTES (3u << 20)

static void pause_us(uint64_t us)
{
	struct timespec ts = { .tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000 };

	nanosleep(&ts, NULL);
}

/* ---- the journal ------------------------------------------------------------------------------------------------- */

void journal_init(struct journal *j, struct recording *recording)
{
	*j = (struct journal){ .recording = recording };
	pthread_mutex_init(&j->mutex, NULL);
}

void journal_destroy(struct journal *j)
{
	free(j->event);
	pthread_mutex_destroy(&j->mutex);
}

void journal_note(struct journal *j, enum event_kind kind, unsigned image, uint32_t step)
{
	if (!j->recording)
		return;
	pthread_mutex_lock(&j->mutex);
	if (j->count == j->room) {
		j->room = j->room ? j->room * 2 : 256;
		j->event = realloc(j->event, j->room * sizeof j->event[0]);
		if (!j->event)
			abort();
	}
	recording_note(j->recording, 0, j->count + 1);
	j->event[j->count++] = (struct event){ kind, image, step, recording_moments(j->recording) };
	pthread_mutex_unlock(&j->mutex);
}

void journal_bounds(const struct journal *j, size_t count, unsigned image, struct bounds *b)
{
	*b = (struct bounds){ 0 };
	for (size_t i = 0; i < count; i++) {
		const struct event *e = &j->event[i];
		if (e->image != image)
			continue;
		b->any[e->kind] = true;
		if (e->step > b->step[e->kind])
			b->step[e->kind] = e->step;
	}
}

/* ---- calls that are waited for ----------------------------------------------------------------------------------- */

struct call {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool done;
	int64_t result;
};

#define CALL_NEW                                                                     \
	{                                                                            \
		.mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER \
	}

static void call_done(void *arg, int64_t result)
{
	struct call *c = arg;

	pthread_mutex_lock(&c->mutex);
	c->result = result;
	c->done = true;
	pthread_cond_signal(&c->cond);
	pthread_mutex_unlock(&c->mutex);
}

static int64_t call_result(struct call *c, int64_t rc)
{
	if (rc == -EINPROGRESS) {
		pthread_mutex_lock(&c->mutex);
		while (!c->done)
			pthread_cond_wait(&c->cond, &c->mutex);
		rc = c->result;
		pthread_mutex_unlock(&c->mutex);
	}
	pthread_cond_destroy(&c->cond);
	pthread_mutex_destroy(&c->mutex);
	return rc;
}

static int read_wait(struct image *i, uint64_t offset, uint8_t *buf, size_t len)
{
	struct call c = CALL_NEW;
	int64_t n = call_result(&c, image_read(i, offset, buf, len, call_done, &c));

	return n < 0 ? (int)n : (uint64_t)n == len ? 0 : -EIO;
}

int image_read_all(struct image *i, uint8_t *bytes, uint64_t room, uint64_t *size)
{
	struct node_attr attr;
	int rc = 0;

	image_stat(i, &attr);
	*size = attr.size;
	if (attr.size > room)
		return -EFBIG;
	memset(bytes, 0, room);
	for (uint64_t at = 0; rc == 0 && at < attr.size; at += 1u << 20)
		rc = read_wait(i, at, bytes + at, attr.size - at < 1u << 20 ? attr.size - at : 1u << 20);
	return rc;
}

/* ---- operations on one image ------------------------------------------------------------------------------------- */

static void complain(struct worker *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void complain(struct worker *w, const char *format, ...)
{
	va_list args;

	if (w->error[0])
		return;
	va_start(args, format);
	vsnprintf(w->error, sizeof w->error, format, args);
	va_end(args);
}

/* The answer to an operation that ends at `step`. */
static void answered(struct worker *w, const char *what, uint32_t step, int64_t got, int64_t wanted)
{
	if (got != wanted) {
		complain(w, "image %u: %s answered %" PRId64, w->number, what, got);
		return;
	}
	atomic_store(&w->answered, step);
	journal_note(w->journal, EVENT_ANSWERED, w->number, step);
}

/* Somewhere on the disk: often in the same few places, sometimes past the end, often at a grain. */
static uint64_t some_offset(struct worker *w)
{
	uint64_t room = disk_model_room(w->model), size = disk_model_size(w->model), offset;

	if (random_below(&w->random, 2))
		offset = random_below(&w->random, room / 8);
	else if (size && random_below(&w->random, 8))
		offset = random_below(&w->random, size);
	else
		offset = random_below(&w->random, room);
	return random_below(&w->random, 3) ? offset & ~(uint64_t)(MODEL_GRAIN - 1) : offset;
}

static uint64_t some_length(struct worker *w, uint64_t most)
{
	static const uint32_t scales[] = { 4096, 4096, 16384, WRITE_MOST };
	uint64_t len = 1 + random_below(&w->random, scales[random_below(&w->random, 4)]);

	if (random_below(&w->random, 3))
		len = (len + MODEL_GRAIN - 1) & ~(uint64_t)(MODEL_GRAIN - 1);
	return len < most ? len : most;
}

static void do_write(struct worker *w)
{
	uint64_t offset = some_offset(w), len = some_length(w, disk_model_room(w->model) - offset);
	uint8_t *data = malloc(len);
	struct call c = CALL_NEW;

	if (!data)
		abort();
	/* A word for each sector, so that it packs well. Now and then a grain of zeros. */
	for (uint64_t at = 0; at < len;) {
		uint64_t word = random_next(&w->random), n = 512 - (offset + at) % 512;
		n = n < len - at ? n : len - at;
		if ((offset + at) / MODEL_GRAIN % 8 == w->random.state % 8)
			word = 0;
		for (uint64_t k = 0; k < n; k++)
			data[at + k] = (uint8_t)(word >> (k % 8 * 8));
		at += n;
	}
	uint32_t step = disk_model_write(w->model, offset, data, len);
	journal_note(w->journal, EVENT_ISSUED, w->number, step);
	answered(w, "write", step, call_result(&c, image_write(w->image, offset, data, len, call_done, &c)),
	         (int64_t)len);
	free(data);
}

/* What the source holds at an offset: one grain in four is nothing. */
static uint8_t source_byte(uint64_t at)
{
	return at / MODEL_GRAIN % 4 == 1 ? 0 : (uint8_t)(1 + at / 512 * 7 % 251);
}

static uint8_t *source_bytes(uint64_t offset, uint64_t len)
{
	uint8_t *bytes = malloc(len);

	if (!bytes)
		abort();
	for (uint64_t k = 0; k < len; k++)
		bytes[k] = source_byte(offset + k);
	return bytes;
}

/* A range of the source, to the same place or another one. */
static void do_copy(struct worker *w)
{
	uint64_t size = disk_model_size(w->model), most = size < SOURCE_BYTES ? size : SOURCE_BYTES, offset, to, len;
	struct call c = CALL_NEW;

	if (!w->source || most < 4 * MODEL_GRAIN) {
		do_write(w);
		return;
	}
	offset = random_below(&w->random, most / MODEL_GRAIN) * MODEL_GRAIN;
	to = random_below(&w->random, 2) ? offset : random_below(&w->random, most / MODEL_GRAIN) * MODEL_GRAIN;
	most -= offset > to ? offset : to;
	len = random_below(&w->random, 4) ? some_length(w, most) : 1 + random_below(&w->random, most);
	uint8_t *data = source_bytes(offset, len);
	uint32_t step = disk_model_write(w->model, to, data, len);
	journal_note(w->journal, EVENT_ISSUED, w->number, step);
	answered(w, "copy", step, call_result(&c, image_copy(w->source, offset, w->image, to, len, call_done, &c)),
	         (int64_t)len);
	free(data);
}

static void do_discard(struct worker *w)
{
	uint64_t offset = some_offset(w), len = some_length(w, disk_model_room(w->model) - offset);
	struct call c = CALL_NEW;

	len *= 1 + random_below(&w->random, 16);
	uint32_t step = disk_model_discard(w->model, offset, len);
	journal_note(w->journal, EVENT_ISSUED, w->number, step);
	answered(w, "discard", step, call_result(&c, image_discard(w->image, offset, len, call_done, &c)), 0);
}

static void do_resize(struct worker *w)
{
	uint64_t size = disk_model_room(w->model) / 2 + random_below(&w->random, disk_model_room(w->model) / 2);
	struct call c = CALL_NEW;

	uint32_t step = disk_model_resize(w->model, size);
	journal_note(w->journal, EVENT_ISSUED, w->number, step);
	answered(w, "resize", step, call_result(&c, image_resize(w->image, size, call_done, &c)), 0);
}

int worker_flush(struct worker *w, enum image_flush_level level)
{
	uint32_t before = atomic_load(&w->answered);
	struct call c = CALL_NEW;
	int64_t rc = call_result(&c, image_flush(w->image, level, call_done, &c));

	if (rc == 0)
		journal_note(w->journal, level == IMAGE_FLUSH_REMOTE ? EVENT_REMOTE : EVENT_LOCAL, w->number, before);
	return (int)rc;
}

static void do_flush(struct worker *w, enum image_flush_level level)
{
	int rc = worker_flush(w, level);

	if (rc)
		complain(w, "image %u: flush answered %s", w->number, strerror(-rc));
}

static void do_save(struct worker *w, bool checkpoint)
{
	struct error err = { 0 };
	int rc = 0;

	pthread_mutex_lock(&w->image->open_mutex);
	if (atomic_load(&w->image->log))
		rc = checkpoint ? image_checkpoint(w->image, &err) : image_save(w->image, &err);
	pthread_mutex_unlock(&w->image->open_mutex);
	if (rc)
		complain(w, "%s", error_text(&err));
}

static void do_clean(struct worker *w)
{
	const struct clean_options options = { .now = true };
	struct clean_result result;
	struct error err = { 0 };

	if (engine_clean(w->image->engine, w->image->id, &options, NULL, NULL, &result, &err))
		complain(w, "%s", error_text(&err));
}

static void do_read(struct worker *w)
{
	uint64_t size = disk_model_size(w->model), offset = size ? random_below(&w->random, size) : 0;
	uint64_t len = size ? some_length(w, size - offset) : 0;
	uint8_t *buf = malloc(len + 1);

	if (!buf)
		abort();
	int rc = len ? read_wait(w->image, offset, buf, len) : 0;
	if (rc || memcmp(buf, disk_model_bytes(w->model) + offset, len) != 0)
		complain(w, "image %u: reading %" PRIu64 " + %" PRIu64 ": %s", w->number, offset, len,
		         rc ? strerror(-rc) : "other bytes than were written");
	free(buf);
}

void *worker_run(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < w->operations && !w->error[0]; i++) {
		uint64_t pick = random_below(&w->random, 100);

		if (pick < 46)
			do_write(w);
		else if (pick < 58)
			do_copy(w);
		else if (pick < 64)
			do_discard(w);
		else if (pick < 67)
			do_resize(w);
		else if (pick < 79)
			do_flush(w, IMAGE_FLUSH_LOCAL);
		else if (pick < 82)
			do_flush(w, IMAGE_FLUSH_REMOTE);
		else if (pick < 85)
			do_save(w, false);
		else if (pick < 88)
			do_save(w, true);
		else if (pick < 93)
			do_read(w);
		else if (pick < 95)
			do_clean(w);
		else
			pause_us(random_below(&w->random, 4000));
	}
	atomic_store(&w->done, true);
	return NULL;
}

void *worker_flush_run(void *arg)
{
	struct worker *w = arg;
	struct random random = { 0xf1u + w->number };

	while (!atomic_load(&w->done)) {
		if (worker_flush(w, IMAGE_FLUSH_LOCAL))
			break; /* the other thread finds out why */
		pause_us(random_below(&random, 3000));
	}
	return NULL;
}

/* ---- a whole run ------------------------------------------------------------------------------------------------- */

int crash_run_open_engine(const struct crash_run *r, const char *dir, struct disk *disk, struct engine **e,
                          struct error *err)
{
	struct engine_options o = r->options;
	char url[300], cache[300];

	snprintf(url, sizeof url, "file://%s/store", dir);
	snprintf(cache, sizeof cache, "%s/cache", dir);
	o.store_url = url;
	o.cache_dir = cache;
	o.disk = disk;
	return engine_open(&o, e, err);
}

static int open_image(struct crash_run *r, struct engine *e, unsigned n, struct image **image, struct error *err)
{
	struct node_attr attr;
	char name[16];
	int rc;

	snprintf(name, sizeof name, "disk%u", n);
	rc = engine_lookup(e, NODE_ROOT, name, &attr, err);
	if (rc == -ENOENT) {
		rc = engine_create(e, NODE_ROOT, name, NODE_FILE, 0600, 0, 0, &attr, err);
		if (rc == 0)
			journal_note(&r->journal, EVENT_CREATED, n, 0);
	}
	return rc ? rc : image_open(e, attr.id, IMAGE_READ | IMAGE_WRITE, image, err);
}

static int make_source(struct image *i)
{
	struct worker flush = { .image = i };
	struct journal none;
	struct call c = CALL_NEW;
	uint8_t *bytes = source_bytes(0, SOURCE_BYTES);
	int64_t rc = call_result(&c, image_write(i, 0, bytes, SOURCE_BYTES, call_done, &c));

	journal_init(&none, NULL);
	flush.journal = &none;
	if (rc == SOURCE_BYTES)
		rc = worker_flush(&flush, IMAGE_FLUSH_REMOTE);
	journal_destroy(&none);
	free(bytes);
	return (int)rc;
}

/* Whether a crash before anybody copied from it has left all of it. */
static int check_source(struct image *i, struct error *err)
{
	uint8_t *is = malloc(SOURCE_BYTES), *should = source_bytes(0, SOURCE_BYTES);
	uint64_t size;

	if (!is)
		abort();
	int rc = image_read_all(i, is, SOURCE_BYTES, &size);
	if (!rc && (size != SOURCE_BYTES || memcmp(is, should, SOURCE_BYTES) != 0))
		rc = error_set(err, -ENODATA, "the source is not whole");
	free(is);
	free(should);
	return rc;
}

int crash_source_open(struct engine *e, bool make, struct image **source, struct error *err)
{
	struct node_attr attr;
	bool made = false;
	int rc = engine_lookup(e, NODE_ROOT, "source", &attr, err);

	if (rc == -ENOENT && make) {
		rc = engine_create(e, NODE_ROOT, "source", NODE_FILE, 0600, 0, 0, &attr, err);
		made = !rc;
	}
	if (!rc)
		rc = image_open(e, attr.id, IMAGE_READ | (made ? IMAGE_WRITE : 0), source, err);
	if (rc)
		return rc;
	rc = made ? make_source(*source) : check_source(*source, err);
	if (made && !rc) {
		struct image *again;
		rc = image_open(e, attr.id, IMAGE_READ, &again, err);
		image_close(*source, IMAGE_READ | IMAGE_WRITE);
		*source = again;
	} else if (rc) {
		image_close(*source, IMAGE_READ | (made ? IMAGE_WRITE : 0));
	}
	return rc;
}

/* What is read now must be what was there when the session before ended. */
static int check_whole(struct crash_run *r, struct image *i, unsigned n)
{
	uint8_t *bytes = malloc(disk_model_room(r->model[n]));
	uint32_t step, last = disk_model_step(r->model[n]);
	uint64_t size;

	if (!bytes)
		abort();
	int rc = image_read_all(i, bytes, disk_model_room(r->model[n]), &size);
	if (rc == 0 && !disk_model_matches(r->model[n], bytes, size, last, last, &step)) {
		fprintf(stderr, "run seed %" PRIu64 ": image %u is not what it was before it was closed\n", r->seed, n);
		disk_model_explain(r->model[n], bytes, size, last);
		rc = -EIO;
	}
	free(bytes);
	return rc;
}

static int work(struct crash_run *r, struct worker *w, struct image **image, struct image *source)
{
	pthread_t writer[RUN_IMAGES], flusher[RUN_IMAGES];
	bool flushing = random_below(&r->random, 2);
	int rc = 0;

	for (unsigned n = 0; n < r->images; n++) {
		w[n] = (struct worker){
			.image = image[n], .source = source, .number = n, .model = r->model[n], .journal = &r->journal
		};
		w[n].random.state = random_next(&r->random);
		w[n].operations = 20 + (unsigned)random_below(&r->random, 140);
		w[n].answered = disk_model_step(r->model[n]);
		if (pthread_create(&writer[n], NULL, worker_run, &w[n]) ||
		    (flushing && pthread_create(&flusher[n], NULL, worker_flush_run, &w[n])))
			abort();
	}
	for (unsigned n = 0; n < r->images; n++) {
		pthread_join(writer[n], NULL);
		if (flushing)
			pthread_join(flusher[n], NULL);
		if (w[n].error[0]) {
			fprintf(stderr, "run seed %" PRIu64 ": %s\n", r->seed, w[n].error);
			rc = -EIO;
		}
	}
	return rc;
}

/* One engine from opening to closing; how it closes is drawn. */
static int session(struct crash_run *r)
{
	struct image *image[RUN_IMAGES] = { 0 }, *source = NULL;
	struct worker w[RUN_IMAGES];
	struct error err = { 0 };
	struct engine *e;
	int rc;

	r->options.stop_deadline_ms = random_below(&r->random, 2) ? 1 : 10000;
	rc = crash_run_open_engine(r, r->dir, recording_disk(r->recording), &e, &err);
	if (rc) {
		fprintf(stderr, "run seed %" PRIu64 ": cannot open: %s\n", r->seed, error_text(&err));
		return -1;
	}
	rc = crash_source_open(e, true, &source, &err);
	if (rc)
		source = NULL;
	for (unsigned n = 0; n < r->images && rc == 0; n++) {
		rc = open_image(r, e, n, &image[n], &err);
		if (rc == 0)
			rc = check_whole(r, image[n], n);
	}
	if (rc)
		fprintf(stderr, "run seed %" PRIu64 ": %s\n", r->seed, error_text(&err));
	else
		rc = work(r, w, image, source);
	if (source)
		image_close(source, IMAGE_READ);
	for (unsigned n = 0; n < r->images; n++)
		if (image[n])
			image_close(image[n], IMAGE_READ | IMAGE_WRITE);
	int closed = engine_close(e, &err);
	if (closed == -EAGAIN && r->options.stop_deadline_ms == 1)
		return rc;
	if (closed)
		fprintf(stderr, "run seed %" PRIu64 ": closing: %s\n", r->seed, error_text(&err));
	for (unsigned n = 0; n < r->images && !rc && !closed; n++)
		journal_note(&r->journal, EVENT_REMOTE, n, disk_model_step(r->model[n]));
	return rc ? rc : closed;
}

static void draw_options(struct crash_run *r)
{
	struct engine_options *o = &r->options;

	r->images = 1 + (unsigned)random_below(&r->random, RUN_IMAGES);
	r->sessions = 1 + (unsigned)random_below(&r->random, 3);
	o->segment_size = 1u << 20;
	o->map_memory = 1u << 20;
	o->seal_after_ms = 20 + random_below(&r->random, 400);
	o->cache_size = (5 + random_below(&r->random, 20)) << 20;
	o->dirty_limit = (2 + random_below(&r->random, 8)) << 20;
	o->uploads = 1 + (unsigned)random_below(&r->random, 4);
	o->sync = random_below(&r->random, 4) ? SYNC_LOCAL : SYNC_REMOTE;
	o->may_init = true;
	o->share_min = random_below(&r->random, 2) ? 4096 : 64u << 10;
	r->options.gc_target = 101; /* only when a worker asks for it */
	r->options.stage_size = random_below(&r->random, 3) ? 0 : RUN_NO_STAGES;
}

static int make_dirs(const char *dir)
{
	static const char *const names[] = { "store", "cache" };
	char path[300];

	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		if (mkdir(path, 0700) < 0) {
			fprintf(stderr, "%s: %s\n", path, strerror(errno));
			return -1;
		}
	}
	return 0;
}

int crash_run_record(struct crash_run *r, const char *dir, uint64_t seed)
{
	uint64_t room;
	int rc = make_dirs(dir);

	*r = (struct crash_run){ .seed = seed, .random = { seed } };
	snprintf(r->dir, sizeof r->dir, "%s", dir);
	draw_options(r);
	r->recording = rc ? NULL : recording_new(dir);
	journal_init(&r->journal, r->recording);
	if (!r->recording || record_vfs_install(r->recording)) {
		fprintf(stderr, "run seed %" PRIu64 ": cannot record %s\n", seed, dir);
		return -1;
	}
	for (unsigned n = 0; n < r->images; n++) {
		room = (4 + random_below(&r->random, 5)) << 20;
		r->model[n] = disk_model_new(room, NULL, 0);
	}
	for (unsigned s = 0; s < r->sessions && rc == 0; s++)
		rc = session(r);
	record_vfs_remove();
	return rc ? -1 : 0;
}

void crash_run_destroy(struct crash_run *r)
{
	for (unsigned n = 0; n < RUN_IMAGES; n++)
		disk_model_free(r->model[n]);
	journal_destroy(&r->journal);
	recording_free(r->recording);
}
