/* SPDX-License-Identifier: GPL-3.0-only */
/* flush.c: making what was written durable: on the local disk, or in the store. */
#include "image/private.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

/* Between two looks for a newer epoch that the store did not answer. */
#define LOOK_AGAIN_MS 1000

/* A flush that waits for the store. */
struct remote_flush {
	struct image *image;
	uint64_t began_ns, stored_ns;
	image_done_fn *done;
	void *arg;
};

/* Keeps for `garner status` how long a flush took. */
static void note_flush(struct image *i, uint64_t began_ns, uint64_t stored_ns)
{
	struct image_last_flush last = { .wall_ns = clock_wall_ns(),
		                         .remote = stored_ns,
		                         .us = (clock_monotonic_ns() - began_ns) / 1000,
		                         .stored_us = stored_ns ? (stored_ns - began_ns) / 1000 : 0 };

	if (stored_ns)
		store_get_acks(i->engine->pool->store, last.acks, sizeof last.acks);
	pthread_mutex_lock(&i->state_mutex);
	i->last_flush = last;
	pthread_mutex_unlock(&i->state_mutex);
}

/* Gives back what a remote flush holds. */
static void remote_end(struct remote_flush *f)
{
	engine_wait_end(f->image->engine);
	image_unuse_log(f->image);
	free(f);
}

static void remote_done(struct remote_flush *f, int rc)
{
	image_done_fn *done = f->done;
	void *arg = f->arg;

	remote_end(f);
	done(arg, rc);
}

static void remote_answer(struct remote_flush *f, int rc)
{
	if (!rc)
		note_flush(f->image, f->began_ns, f->stored_ns);
	remote_done(f, rc);
}

static void remote_look(void *arg);

/* While the store does not answer a flush waits, for this as for its upload; but not once the image has stopped or is handed over. */
static void remote_looked(void *arg, int status, uint64_t length, const struct error *err)
{
	struct remote_flush *f = arg;
	struct image *i = f->image;

	(void)length;
	if (!status)
		image_fenced(i);
	if (status == -ENOENT || atomic_load(&i->failed)) {
		remote_answer(f, atomic_load(&i->failed) ? -EIO : 0);
		return;
	}
	engine_store_state(i->engine, err);
	if (!atomic_load(&i->log) || executor_run_after(i->engine->work, LOOK_AGAIN_MS, remote_look, f))
		remote_answer(f, -EIO);
}

static void remote_look(void *arg)
{
	struct remote_flush *f = arg;

	epoch_look(f->image->engine->pool, f->image->id, f->image->epoch, remote_looked, f);
}

/* The upload got there. Whether it counts takes a look at the store. */
static void remote_stored(void *arg, int result)
{
	struct remote_flush *f = arg;

	f->stored_ns = clock_monotonic_ns();
	if (result)
		remote_answer(f, result);
	else
		remote_look(f);
}

static int64_t flush_remote(struct image *i, struct log *log, image_done_fn *done, void *arg)
{
	struct remote_flush *f = malloc(sizeof *f);

	if (!f) {
		image_unuse_log(i);
		return -ENOMEM;
	}
	*f = (struct remote_flush){ .image = i, .began_ns = clock_monotonic_ns(), .done = done, .arg = arg };
	engine_wait_begin(i->engine);
	segment_no_t last = log_close_segment(log);
	int rc = upload_wait(i->upload, last ? last : i->last, remote_stored, f);
	if (rc)
		remote_end(f);
	return rc ? rc : -EINPROGRESS;
}

struct local_flush {
	struct image *image;
	uint64_t began_ns;
	image_done_fn *done;
	void *arg;
};

static void local_done(void *arg, int64_t result)
{
	struct local_flush f = *(struct local_flush *)arg;

	free(arg);
	if (!result)
		note_flush(f.image, f.began_ns, 0);
	image_unuse_log(f.image);
	f.done(f.arg, result);
}

static int64_t flush_local(struct image *i, struct log *log, image_done_fn *done, void *arg)
{
	struct local_flush *f = malloc(sizeof *f);
	int64_t rc = -ENOMEM;

	if (f) {
		*f = (struct local_flush){ .image = i, .began_ns = clock_monotonic_ns(), .done = done, .arg = arg };
		rc = log_flush(log, local_done, f);
	}
	if (rc == -EINPROGRESS)
		return rc;
	free(f);
	image_unuse_log(i);
	return rc;
}

int64_t image_flush(struct image *i, enum image_flush_level level, image_done_fn *done, void *arg)
{
	enum sync_policy policy = i->engine->options.sync;

	atomic_fetch_add_explicit(&i->engine->counters.flushes, 1, memory_order_relaxed);
	if (atomic_load(&i->failed))
		return -EIO;
	if (level == IMAGE_FLUSH_POLICY && policy == SYNC_NONE)
		return 0;
	struct log *log = image_use_log(i);
	if (!log)
		return 0; /* read only, or handed over: there is nothing of ours */
	if (level == IMAGE_FLUSH_REMOTE || (level == IMAGE_FLUSH_POLICY && policy == SYNC_REMOTE))
		return flush_remote(i, log, done, arg);
	return flush_local(i, log, done, arg);
}

/* ---- for the flush command ---- */

struct flush_all {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	unsigned refs, pending;
	int64_t result;
};

static void flush_all_put(struct flush_all *f)
{
	pthread_mutex_lock(&f->mutex);
	bool last = --f->refs == 0;
	pthread_mutex_unlock(&f->mutex);
	if (last) {
		pthread_cond_destroy(&f->cond);
		pthread_mutex_destroy(&f->mutex);
		free(f);
	}
}

static void flush_one_done(void *arg, int64_t result)
{
	struct flush_all *f = arg;

	pthread_mutex_lock(&f->mutex);
	f->pending--;
	if (result && !f->result)
		f->result = result;
	pthread_cond_signal(&f->cond);
	pthread_mutex_unlock(&f->mutex);
	flush_all_put(f);
}

/* Starts the flush of one image. */
static void flush_one(struct image *i, struct flush_all *f)
{
	pthread_mutex_lock(&f->mutex);
	f->refs++;
	f->pending++;
	pthread_mutex_unlock(&f->mutex);
	int64_t rc = image_flush(i, IMAGE_FLUSH_REMOTE, flush_one_done, f);
	if (rc != -EINPROGRESS)
		flush_one_done(f, rc);
}

static int wait_all(struct engine *e, struct flush_all *f, bool (*progress)(void *arg, uint64_t left), void *arg)
{
	int rc = 0;

	pthread_mutex_lock(&f->mutex);
	while (f->pending && !rc) {
		struct timespec until;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += 200000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&f->cond, &f->mutex, &until);
		if (!progress)
			continue;
		pthread_mutex_unlock(&f->mutex);
		if (!progress(arg, atomic_load(&e->unsent)))
			rc = -EINTR;
		pthread_mutex_lock(&f->mutex);
	}
	if (!rc)
		rc = (int)f->result;
	pthread_mutex_unlock(&f->mutex);
	return rc;
}

int engine_flush(struct engine *e, uint64_t id, bool (*progress)(void *arg, uint64_t bytes_left), void *arg,
                 struct error *err)
{
	struct flush_all *f = calloc(1, sizeof *f);
	struct image **images = NULL;
	size_t count = 0;
	int rc = f ? images_get_all(e, &images, &count) : -ENOMEM;

	if (rc) {
		free(f);
		return error_set(err, rc, "out of memory");
	}
	pthread_mutex_init(&f->mutex, NULL);
	clock_cond_init(&f->cond);
	f->refs = 1;
	for (size_t k = 0; k < count; k++)
		if (!id || images[k]->id == id)
			flush_one(images[k], f);
	rc = wait_all(e, f, progress, arg);
	for (size_t k = 0; k < count; k++)
		image_put(images[k]);
	free(images);
	flush_all_put(f);
	if (rc == -EINTR)
		return error_set(err, rc, "interrupted; the upload goes on");
	return rc ? error_set(err, rc, "not everything could be uploaded: see garner status") : 0;
}
