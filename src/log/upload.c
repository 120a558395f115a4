/* SPDX-License-Identifier: GPL-3.0-only */
/* upload.c: the window of uploads of one image. */
#include "log/upload.h"

#include "base/report.h"
#include "log/segment_object.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define RETRY_FIRST_MS 500
#define RETRY_MAX_MS 15000
#define DELAY_STEP_MS 200
/* Where a put looks for its key first, that many keys are looked for ahead of need. */
#define LOOK_AHEAD 8

enum item_state { ITEM_QUEUED, ITEM_BUSY, ITEM_WAITING, ITEM_DONE };

struct item {
	struct upload *u;
	struct segment *segment; /* pinned */
	enum item_state state;
	unsigned attempts;
	bool damaged;      /* what is there under its key was read once, and was no segment */
	uint64_t delay_ms; /* what is left of it while waiting */
	uint8_t *object;   /* while it is put */
	size_t length;
	struct iovec iov;
	char key[STORE_KEY_MAX + 1];
	TAILQ_ENTRY(item) link;
};

struct waiter {
	segment_no_t number;
	upload_done_fn *done;
	void *arg;
	TAILQ_ENTRY(waiter) link;
};

struct upload {
	struct upload_options options; /* constant */
	pthread_mutex_t mutex;         /* guards what follows */
	pthread_cond_t idle;
	TAILQ_HEAD(item_list, item) items; /* in order of numbers; removed from the front once done */
	struct item_list unsealed;         /* removed from there, and not sealed yet */
	TAILQ_HEAD(, waiter) waiters;
	segment_no_t stored;
	uint64_t bytes;
	unsigned busy;       /* items packed or under way */
	unsigned delayed;    /* timers that have not fired */
	bool moving;         /* somebody calls the stored hooks */
	bool looking;        /* for the key of looked + 1 */
	segment_no_t looked; /* segments up to this one, and after `stored`, were not there */
	bool stopping, failed, refusing;
};

static void start_more(struct upload *u);

struct upload *upload_new(const struct upload_options *options)
{
	struct upload *u = calloc(1, sizeof *u);

	if (!u)
		return NULL;
	u->options = *options;
	u->stored = options->stored;
	TAILQ_INIT(&u->items);
	TAILQ_INIT(&u->unsealed);
	TAILQ_INIT(&u->waiters);
	pthread_mutex_init(&u->mutex, NULL);
	pthread_cond_init(&u->idle, NULL);
	return u;
}

static void item_free(struct item *i)
{
	segment_unpin(i->segment);
	free(i->object);
	free(i);
}

static void items_free(struct item_list *list)
{
	struct item *i;

	while ((i = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, i, link);
		item_free(i);
	}
}

void upload_free(struct upload *u)
{
	if (!u)
		return;
	assert(!u->busy && !u->delayed && !u->looking);
	items_free(&u->items);
	items_free(&u->unsealed);
	sodium_memzero(&u->options.key, sizeof u->options.key);
	pthread_cond_destroy(&u->idle);
	pthread_mutex_destroy(&u->mutex);
	free(u);
}

static uint64_t item_bytes(const struct item *i)
{
	return (uint64_t)i->segment->slot_count * i->segment->shape.slot_bytes;
}

/* ---- moving the prefix ---- */

/* Takes out the waiters that can be answered; the mutex is held. */
static struct waiter *ready_waiters(struct upload *u, bool all)
{
	struct waiter *list = NULL, *w, *next;

	for (w = TAILQ_FIRST(&u->waiters); w; w = next) {
		next = TAILQ_NEXT(w, link);
		if (!all && w->number > u->stored)
			continue;
		TAILQ_REMOVE(&u->waiters, w, link);
		w->link.tqe_next = list;
		list = w;
	}
	return list;
}

static void answer(struct waiter *list, int result)
{
	while (list) {
		struct waiter *w = list;

		list = w->link.tqe_next;
		w->done(w->arg, result);
		free(w);
	}
}

/* It is in the store, and durable here: a part of the cache from now on. */
static void settle(struct item *i)
{
	struct upload *u = i->u;

	atomic_store(&i->segment->life, LIFE_STORED);
	segment_file_mark_stored(atomic_load(&i->segment->file), NULL);
	if (u->options.hooks.tidy)
		u->options.hooks.tidy(u->options.arg, i->segment);
	item_free(i);
}

/* Whether a key is to be looked for now: then that is under way, and the caller asks the store, without the mutex, which is held. */
static bool look_begin(struct upload *u, char key[STORE_KEY_MAX + 1])
{
	const struct upload_options *o = &u->options;

	if (!o->store->looks_first || o->unconditional || u->looking || u->stopping || u->failed)
		return false;
	if (u->looked < u->stored)
		u->looked = u->stored;
	if (u->looked >= u->stored + LOOK_AHEAD)
		return false;
	u->looking = true;
	segment_object_key(segment_set_image(o->set), u->looked + 1, o->epoch, key, STORE_KEY_MAX + 1);
	return true;
}

static void looked(void *arg, int status, uint64_t length, const struct error *err)
{
	struct upload *u = arg;
	char key[STORE_KEY_MAX + 1];
	bool goes_on = false;

	(void)length;
	(void)err;
	pthread_mutex_lock(&u->mutex);
	u->looking = false;
	/* Another answer shows when it is put. */
	if (status == -ENOENT) {
		u->looked++;
		goes_on = look_begin(u, key);
	}
	pthread_cond_broadcast(&u->idle);
	pthread_mutex_unlock(&u->mutex);
	if (goes_on)
		store_head(u->options.store, key, looked, u);
}

/* Moves the prefix over what is done, one caller at a time, so that hooks come in order. The mutex is held. */
static void move_prefix(struct upload *u)
{
	char key[STORE_KEY_MAX + 1];
	struct item *i;

	if (u->moving)
		return;
	u->moving = true;
	while ((i = TAILQ_FIRST(&u->items)) && i->state == ITEM_DONE) {
		TAILQ_REMOVE(&u->items, i, link);
		u->bytes -= item_bytes(i);
		u->stored = i->segment->number;
		struct waiter *list = ready_waiters(u, false);
		pthread_mutex_unlock(&u->mutex);
		if (u->options.hooks.stored)
			u->options.hooks.stored(u->options.arg, i->segment);
		answer(list, 0);
		pthread_mutex_lock(&u->mutex);
		bool sealed = atomic_load(&i->segment->life) >= LIFE_SEALED;
		if (!sealed)
			TAILQ_INSERT_TAIL(&u->unsealed, i, link);
		pthread_mutex_unlock(&u->mutex);
		if (sealed)
			settle(i);
		pthread_mutex_lock(&u->mutex);
	}
	u->moving = false;
	if (TAILQ_EMPTY(&u->items) && look_begin(u, key)) {
		pthread_mutex_unlock(&u->mutex);
		store_head(u->options.store, key, looked, u);
		pthread_mutex_lock(&u->mutex);
	}
}

/* ---- one item: pack, put, done or try again ---- */

static void finish(struct item *i, enum item_state state)
{
	struct upload *u = i->u;

	pthread_mutex_lock(&u->mutex);
	i->state = state;
	if (state == ITEM_DONE)
		move_prefix(u);
	u->busy--;
	if (!u->stopping && !u->failed)
		start_more(u);
	pthread_cond_broadcast(&u->idle);
	pthread_mutex_unlock(&u->mutex);
}

static void fail(struct item *i, int error, const char *text)
{
	struct upload *u = i->u;

	pthread_mutex_lock(&u->mutex);
	bool first = !u->failed;
	u->failed = true;
	struct waiter *list = ready_waiters(u, true);
	pthread_mutex_unlock(&u->mutex);
	if (first && u->options.hooks.failed)
		u->options.hooks.failed(u->options.arg, error, text);
	answer(list, -EIO);
	finish(i, ITEM_QUEUED);
}

static void delay_job(void *arg);

/* Waits in steps, so that stopping need not wait for the whole delay. The mutex is held. */
static bool delay_step(struct item *i)
{
	uint64_t step = i->delay_ms < DELAY_STEP_MS ? i->delay_ms : DELAY_STEP_MS;

	if (!step || i->u->stopping || executor_run_after(i->u->options.executor, step, delay_job, i))
		return false;
	i->delay_ms -= step;
	i->u->delayed++;
	return true;
}

static void delay_job(void *arg)
{
	struct item *i = arg;
	struct upload *u = i->u;

	pthread_mutex_lock(&u->mutex);
	u->delayed--;
	if (!delay_step(i)) {
		i->state = ITEM_QUEUED;
		if (!u->stopping && !u->failed)
			start_more(u);
		pthread_cond_broadcast(&u->idle);
	}
	pthread_mutex_unlock(&u->mutex);
}

static void try_later(struct item *i, const struct error *err)
{
	struct upload *u = i->u;
	uint64_t delay = RETRY_FIRST_MS << (i->attempts < 5 ? i->attempts : 5);

	if (delay > RETRY_MAX_MS)
		delay = RETRY_MAX_MS;
	i->delay_ms = delay / 2 + randombytes_uniform((uint32_t)(delay / 2 + 1));
	i->attempts++;
	if (u->options.hooks.store_state)
		u->options.hooks.store_state(u->options.arg, err);
	free(i->object);
	i->object = NULL;
	pthread_mutex_lock(&u->mutex);
	i->state = ITEM_WAITING;
	if (!delay_step(i))
		i->state = ITEM_QUEUED;
	u->busy--;
	if (!u->stopping && !u->failed)
		start_more(u);
	pthread_cond_broadcast(&u->idle);
	pthread_mutex_unlock(&u->mutex);
}

static void put_worked(struct item *i)
{
	struct upload *u = i->u;

	if (u->options.hooks.store_state)
		u->options.hooks.store_state(u->options.arg, NULL);
	free(i->object);
	i->object = NULL;
	finish(i, ITEM_DONE);
}

/* The key exists: is it this very segment? Runs on the executor, so it may wait for the store. */
static void compare_job(void *arg)
{
	struct item *i = arg;
	struct upload *u = i->u;
	struct segment_meta meta;
	struct error err = { 0 };
	size_t got = 0;
	int rc = store_get_wait(u->options.store, i->key, 0, i->object, SEGMENT_OBJECT_HEADER, &got, &err);

	/* What is not there after all was perhaps never there for good. */
	if (rc) {
		try_later(i, &err);
		return;
	}
	rc = segment_meta_decode(i->object, got, &u->options.key, &meta, &err);
	/* It may have been cut short or damaged on its way only. */
	if (rc == -EBADMSG && !i->damaged) {
		i->damaged = true;
		error_prefix(&err, rc, "%s", i->key);
		try_later(i, &err);
		return;
	}
	if (!rc && (meta.number != i->segment->number || memcmp(meta.digest, i->segment->digest, DIGEST_BYTES) != 0))
		rc = error_set(&err, -EEXIST, "%s holds another segment: somebody else writes this image", i->key);
	if (rc)
		fail(i, rc, error_text(&err));
	else
		put_worked(i);
}

static void put_done(void *arg, int status, const struct error *err)
{
	struct item *i = arg;

	if (!status)
		put_worked(i);
	else if (status != -EEXIST)
		try_later(i, err);
	else if (executor_run(i->u->options.executor, compare_job, i))
		try_later(i, err);
}

static int read_slots(void *arg, uint32_t slot, uint32_t count, void *buf)
{
	struct segment_file *f = arg;

	return segment_file_read(f, slot, 0, buf, (size_t)count * f->shape.slot_bytes);
}

static int pack(struct item *i, struct error *err)
{
	const struct upload_options *o = &i->u->options;
	struct segment *s = i->segment;
	struct segment_file *f = segment_open_file(s, err);
	struct record *records = NULL;
	struct sealer *sealer = NULL;
	uint32_t kept = 0;
	size_t count = s->record_count;
	int rc;

	if (!f)
		return err->code ? err->code : -EIO;
	rc = segment_file_read_index(f, count, &records, err);
	if (rc)
		return rc;
	sealer = sealer_new(o->compression);
	struct segment_pack p = {
		.pool = segment_set_pool(o->set),
		.image = segment_set_image(o->set),
		.number = s->number,
		.epoch = o->epoch,
		.shape = f->shape,
		.records = records,
		.record_count = count,
		.checkpoint = s->checkpoint,
		.prev_digest = s->prev_digest,
		.digest = s->digest,
		.image_size = s->image_size,
		.kept_slots = &kept,
		.slot_data = read_slots,
		.arg = f,
	};
	rc = sealer ? segment_object_pack(&p, sealer, &o->key, &i->object, &i->length, err) : -ENOMEM;
	atomic_store(&s->stored_slots, rc ? 0 : kept);
	sealer_free(sealer);
	free(records);
	return rc;
}

static unsigned put_flags(struct item *i)
{
	struct upload *u = i->u;

	if (u->options.unconditional)
		return STORE_UPLOAD;
	pthread_mutex_lock(&u->mutex);
	bool looked = i->segment->number <= u->looked && !i->attempts;
	pthread_mutex_unlock(&u->mutex);
	return STORE_UPLOAD | STORE_PUT_CREATE_ONLY | (looked ? STORE_PUT_LOOKED : 0);
}

static void pack_job(void *arg)
{
	struct item *i = arg;
	struct upload *u = i->u;
	struct error err = { 0 };
	int rc = pack(i, &err);

	if (rc == -ENOMEM || rc == -EMFILE || rc == -ENFILE) {
		try_later(i, &err);
		return;
	}
	if (rc) {
		error_prefix(&err, rc, "segment %llu in %s", (unsigned long long)i->segment->number,
		             segment_set_dir(u->options.set));
		fail(i, rc, error_text(&err));
		return;
	}
	segment_object_key(segment_set_image(u->options.set), i->segment->number, u->options.epoch, i->key,
	                   sizeof i->key);
	i->iov = (struct iovec){ i->object, i->length };
	store_put(u->options.store, i->key, &i->iov, 1, put_flags(i), put_done, i);
}

/* Fills the window; the mutex is held. */
static void start_more(struct upload *u)
{
	struct item *i;

	TAILQ_FOREACH(i, &u->items, link) {
		if (u->busy >= u->options.window)
			break;
		if (i->state != ITEM_QUEUED)
			continue;
		if (executor_run(u->options.executor, pack_job, i))
			break;
		i->state = ITEM_BUSY;
		u->busy++;
	}
}

int upload_segment(struct upload *u, struct segment *s)
{
	struct item *i = calloc(1, sizeof *i);

	if (!i) {
		/* Nothing may come after a gap. */
		pthread_mutex_lock(&u->mutex);
		u->failed = true;
		pthread_mutex_unlock(&u->mutex);
		return -ENOMEM;
	}
	i->u = u;
	i->segment = s;
	atomic_fetch_add(&s->pins, 1);
	pthread_mutex_lock(&u->mutex);
	TAILQ_INSERT_TAIL(&u->items, i, link);
	u->bytes += item_bytes(i);
	if (!u->stopping && !u->failed)
		start_more(u);
	pthread_mutex_unlock(&u->mutex);
	return 0;
}

void upload_sealed(struct upload *u, struct segment *s)
{
	struct item *i;

	pthread_mutex_lock(&u->mutex);
	TAILQ_FOREACH(i, &u->unsealed, link)
		if (i->segment == s)
			break;
	if (i)
		TAILQ_REMOVE(&u->unsealed, i, link);
	pthread_mutex_unlock(&u->mutex);
	if (i)
		settle(i);
}

segment_no_t upload_stored(struct upload *u)
{
	pthread_mutex_lock(&u->mutex);
	segment_no_t stored = u->stored;
	pthread_mutex_unlock(&u->mutex);
	return stored;
}

uint64_t upload_bytes(struct upload *u, uint64_t *oldest_ns)
{
	pthread_mutex_lock(&u->mutex);
	uint64_t bytes = u->bytes;
	struct item *first = TAILQ_FIRST(&u->items);
	if (oldest_ns)
		*oldest_ns = first ? first->segment->opened_ns : 0;
	pthread_mutex_unlock(&u->mutex);
	return bytes;
}

int upload_wait(struct upload *u, segment_no_t number, upload_done_fn *done, void *arg)
{
	struct waiter *w = malloc(sizeof *w);
	int result = 1;

	if (!w)
		return -ENOMEM;
	*w = (struct waiter){ .number = number, .done = done, .arg = arg };
	pthread_mutex_lock(&u->mutex);
	if (number <= u->stored)
		result = 0;
	else if (u->failed || u->stopping || u->refusing)
		result = -EIO;
	else
		TAILQ_INSERT_TAIL(&u->waiters, w, link);
	pthread_mutex_unlock(&u->mutex);
	if (result <= 0) {
		done(arg, result);
		free(w);
	}
	return 0;
}

void upload_refuse(struct upload *u)
{
	pthread_mutex_lock(&u->mutex);
	u->refusing = true;
	struct waiter *list = ready_waiters(u, true);
	pthread_mutex_unlock(&u->mutex);
	answer(list, -EIO);
}

void upload_stop(struct upload *u)
{
	pthread_mutex_lock(&u->mutex);
	u->stopping = true;
	while (u->busy || u->delayed || u->moving || u->looking)
		pthread_cond_wait(&u->idle, &u->mutex);
	struct waiter *list = ready_waiters(u, true);
	pthread_mutex_unlock(&u->mutex);
	answer(list, -EIO);
}
