/* SPDX-License-Identifier: GPL-3.0-only */
/* pool_copy_segments.c: the segments of one image, several on their way at once, checked in the order of their numbers.
 *
 * Of a segment that the target has in the same size only the headers are read and compared: in them are the digests, and through
 * them tags, of all the rest. What a store made of its bytes after that, garner verify finds.
 *
 * Where the list of layers is to be another one the first segment that is put is put last, see pool_copy_layers.c.
 */
#include "image/pool_copy_private.h"

#include "base/clock.h"
#include "image/verify_private.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define AT_ONCE 8
#define BYTES_AT_ONCE ((uint64_t)128 << 20)
#define OBJECT_MAX ((uint64_t)SEGMENT_BYTES_MAX + SEGMENT_OBJECT_META_MAX)
#define WAKE_NS 250000000 /* to show progress, and to be stopped */

enum transfer_state {
	TRANSFER_FREE,
	TRANSFER_COMPARING, /* both headers are being read */
	TRANSFER_COMPARED,
	TRANSFER_GETTING,
	TRANSFER_GOT,
	TRANSFER_HELD, /* checked, and to be put when all others are */
	TRANSFER_PUTTING,
	TRANSFER_PUT,
};

/* What was read of one object. */
struct transfer_read {
	struct transfer *transfer;
	uint8_t *bytes;
	uint64_t length;
};

struct transfer {
	struct segments *all;
	enum transfer_state
		state;    /* guarded by the mutex; in a state that waits for a store the rest is the callbacks' */
	unsigned pending; /* of COMPARING; likewise */
	segment_no_t number;
	uint64_t epoch, size;
	char key[STORE_KEY_MAX + 1];
	bool replace;
	struct transfer_read object, here, there; /* all; the headers in the source and in the target */
	struct iovec iov;
	int status;
	struct error err;
};

struct segments {
	struct image_copy *i;
	struct verify v;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	struct transfer transfers[AT_ONCE];
	struct transfer *held; /* HELD, or it was; NULL: none is to be */
	segment_no_t next_begin, next_check;
	uint64_t finished, bytes; /* segments done; bytes of buffers */
};

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

struct sizing {
	struct image_copy *i;
	uint64_t *sizes;
};

static int note_size(void *arg, const struct store_entry *entry)
{
	struct sizing *s = arg;
	struct image_copy *i = s->i;
	char expected[STORE_KEY_MAX + 1];
	segment_no_t number;
	uint64_t image;

	if (sscanf(entry->key, "images/%16" SCNx64 "/segments/%16" SCNx64, &image, &number) != 2 || number == 0 ||
	    number > i->end)
		return pool_copy_go_on(i->c) ? 0 : -EINTR;
	segment_key_format(i->image, number, log_view_epoch_of(&i->view, number), expected);
	if (strcmp(expected, entry->key) == 0)
		s->sizes[number - 1] = entry->size;
	return 0;
}

static int list_sizes(struct image_copy *i, struct store *store, uint64_t *sizes, struct error *err)
{
	struct sizing s = { .i = i, .sizes = sizes };
	char prefix[STORE_KEY_MAX + 1];

	snprintf(prefix, sizeof prefix, "images/%016" PRIx64 "/segments/", i->image);
	memset(sizes, 0, i->end * sizeof *sizes);
	return store_list_each(store, prefix, NULL, note_size, &s, err);
}

/* That all of them are in the target, as large as they should be. A listing that lags proves nothing: then each is asked for. */
static int check_sizes(struct image_copy *i, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	int rc = list_sizes(i, i->c->to->store, i->there_sizes, err);

	for (segment_no_t n = 1; n <= i->end && !rc; n++) {
		uint64_t size = i->there_sizes[n - 1];

		/* One that was cleaned away here may still be there: whoever cleans that pool finds it. */
		if (size == i->sizes[n - 1] || (i->sizes[n - 1] == 0 && n <= i->cleaned))
			continue;
		segment_key_format(i->image, n, log_view_epoch_of(&i->view, n), key);
		rc = store_head_wait(i->c->to->store, key, &size, err);
		if (rc == -ENOENT)
			rc = error_set(err, -EIO, "%s: segment %" PRIu64 " was stored and is not there",
			               i->c->to->store->url, n);
		else if (!rc && size != i->sizes[n - 1])
			rc = error_set(err, -EIO,
			               "%s: segment %" PRIu64 " was stored, and has %" PRIu64
			               " bytes instead of %" PRIu64,
			               i->c->to->store->url, n, size, i->sizes[n - 1]);
		if (!rc && !pool_copy_go_on(i->c))
			rc = -EINTR;
	}
	return rc;
}

/* ---- callbacks --------------------------------------------------------------------------------------------------- */

static void keep_error(struct transfer *t, int status, const struct error *err)
{
	if (!status || t->status)
		return;
	t->status = status;
	error_set(&t->err, status, "%s", err && err->text[0] ? err->text : strerror(-status));
}

static void moved_on(struct transfer *t, enum transfer_state state)
{
	t->state = state;
	pthread_cond_signal(&t->all->changed);
}

static void was_read(void *arg, int status, uint64_t length, const struct error *err)
{
	struct transfer_read *r = arg;
	struct transfer *t = r->transfer;

	pthread_mutex_lock(&t->all->mutex);
	r->length = status ? 0 : length;
	/* Whatever is wrong with the one in the target, it is put anew. */
	if (r != &t->there)
		keep_error(t, status, err);
	if (t->state == TRANSFER_GETTING)
		moved_on(t, TRANSFER_GOT);
	else if (--t->pending == 0)
		moved_on(t, TRANSFER_COMPARED);
	pthread_mutex_unlock(&t->all->mutex);
}

static void was_put(void *arg, int status, const struct error *err)
{
	struct transfer *t = arg;

	pthread_mutex_lock(&t->all->mutex);
	keep_error(t, status, err);
	moved_on(t, TRANSFER_PUT);
	pthread_mutex_unlock(&t->all->mutex);
}

static enum transfer_state state_of(struct transfer *t)
{
	pthread_mutex_lock(&t->all->mutex);
	enum transfer_state state = t->state;
	pthread_mutex_unlock(&t->all->mutex);
	return state;
}

static void set_state(struct transfer *t, enum transfer_state state)
{
	pthread_mutex_lock(&t->all->mutex);
	t->state = state;
	pthread_mutex_unlock(&t->all->mutex);
}

/* ---- one segment ------------------------------------------------------------------------------------------------- */

static void release(struct transfer *t)
{
	if (t->object.bytes)
		t->all->bytes -= t->size + 1;
	free(t->object.bytes);
	free(t->here.bytes);
	free(t->there.bytes);
	t->object.bytes = t->here.bytes = t->there.bytes = NULL;
	set_state(t, TRANSFER_FREE);
}

static int finish(struct transfer *t, bool same)
{
	struct pool_copy *c = t->all->i->c;
	bool again = t->number <= t->all->i->counted;

	t->all->i->sizes[t->number - 1] = t->size;
	if (!again)
		c->done += t->size;
	/* What has no name, or came since, was not known when the sum was made. */
	if (c->done > c->total)
		c->total = c->done;
	if (!same) {
		c->report->segments++;
		c->report->bytes += t->size;
	} else if (!again) {
		c->report->same_segments++;
		c->report->same_bytes += t->size;
	}
	t->all->finished++;
	release(t);
	return 0;
}

static int failed(const struct transfer *t, struct error *err)
{
	return error_set(err, t->status, "segment %" PRIu64 ": %s", t->number, t->err.text);
}

static int begin_get(struct transfer *t)
{
	struct store *s = t->all->i->c->from->store;

	t->object.bytes = malloc(t->size + 1);
	if (!t->object.bytes)
		return -ENOMEM;
	t->all->bytes += t->size + 1;
	set_state(t, TRANSFER_GETTING);
	store_get(s, t->key, 0, t->object.bytes, t->size + 1, STORE_BACKGROUND, was_read, &t->object);
	return 0;
}

static int begin_compare(struct transfer *t)
{
	struct image_copy *i = t->all->i;

	t->here.bytes = malloc(SEGMENT_OBJECT_HEADER);
	t->there.bytes = malloc(SEGMENT_OBJECT_HEADER);
	if (!t->here.bytes || !t->there.bytes)
		return -ENOMEM;
	t->pending = 2;
	set_state(t, TRANSFER_COMPARING);
	store_get(i->c->from->store, t->key, 0, t->here.bytes, SEGMENT_OBJECT_HEADER, 0, was_read, &t->here);
	store_get(i->c->to->store, t->key, 0, t->there.bytes, SEGMENT_OBJECT_HEADER, 0, was_read, &t->there);
	return 0;
}

/* Takes a free transfer for the next segment. */
static int begin(struct segments *s, struct transfer *t, uint64_t size, struct error *err)
{
	struct image_copy *i = s->i;
	segment_no_t number = s->next_begin;
	uint64_t there = i->there_sizes[number - 1];

	*t = (struct transfer){ .all = s, .number = number, .size = size };
	t->object.transfer = t->here.transfer = t->there.transfer = t;
	t->epoch = log_view_epoch_of(&i->view, number);
	t->replace = there != 0;
	segment_key_format(i->image, number, t->epoch, t->key);
	if (size > OBJECT_MAX)
		return error_set(err, -EBADMSG, "segment %" PRIu64 ": an object of %" PRIu64 " bytes is none", number,
		                 size);
	s->next_begin++;
	return there == size ? begin_compare(t) : begin_get(t);
}

/* Counts a finding of verify as the end of it. */
static int verdict(struct segments *s, struct error *err)
{
	if (s->v.report->errors == 0)
		return 0;
	return error_set(err, -EBADMSG, "%s: garner verify tells more of the source", s->v.report->text[0]);
}

/* Of a segment whose header is the same in both: that it is this one, and follows the one before. */
static int check_header(struct transfer *t, struct error *err)
{
	struct verify *v = &t->all->v;
	struct segment_meta meta;
	int rc = segment_meta_decode(t->here.bytes, (size_t)t->here.length, &v->key, &meta, err);

	if (rc)
		return error_prefix(err, rc, "segment %" PRIu64, t->number);
	if (memcmp(meta.pool, v->pool->uuid, sizeof meta.pool) != 0 || meta.image != v->image ||
	    meta.number != t->number)
		return error_set(err, -EBADMSG, "segment %" PRIu64 ": its place holds another", t->number);
	if (v->digest_known && memcmp(meta.prev_digest, v->digest, DIGEST_BYTES) != 0)
		return error_set(err, -EBADMSG,
		                 "segment %" PRIu64 ": does not follow the segment before: the chain is broken",
		                 t->number);
	memcpy(v->digest, meta.digest, DIGEST_BYTES);
	v->digest_known = true;
	v->incomplete = true; /* whether it has a checkpoint was not looked at */
	return 0;
}

/* The next in order has its headers: done with, or it is read whole. */
static int after_compare(struct transfer *t, struct error *err)
{
	bool same = t->here.length == SEGMENT_OBJECT_HEADER && t->there.length == SEGMENT_OBJECT_HEADER &&
	            memcmp(t->here.bytes, t->there.bytes, SEGMENT_OBJECT_HEADER) == 0;
	int rc;

	if (t->status)
		return failed(t, err);
	if (!same)
		return begin_get(t);
	rc = check_header(t, err);
	if (rc)
		return rc;
	t->all->next_check++;
	return finish(t, true);
}

static void begin_put(struct transfer *t)
{
	struct store *to = t->all->i->c->to->store;
	unsigned flags = STORE_UPLOAD;

	if (!t->replace && to->capabilities & STORE_CREATE_ONLY)
		flags |= STORE_PUT_CREATE_ONLY;
	t->iov = (struct iovec){ t->object.bytes, t->size };
	set_state(t, TRANSFER_PUTTING);
	store_put(to, t->key, &t->iov, 1, flags, was_put, t);
}

/* The next in order was read: checked, and on its way. What is there of an epoch that the target did not have may be a host's. */
static int after_get(struct transfer *t, struct error *err)
{
	struct segments *s = t->all;
	struct store *to = s->i->c->to->store;
	int rc;

	if (t->status)
		return failed(t, err);
	rc = verify_segment(&s->v, t->number, t->epoch, t->object.bytes, (size_t)t->object.length);
	free(s->v.segments[t->number - 1].uses);
	s->v.segments[t->number - 1] = (struct segment_slots){ 0 };
	if (!rc && t->object.length != t->size)
		rc = error_set(err, -EBADMSG, "segment %" PRIu64 ": %" PRIu64 " bytes were read instead of %" PRIu64,
		               t->number, t->object.length, t->size);
	if (!rc)
		rc = verdict(s, err);
	if (!rc && t->replace && t->epoch > s->i->there.newest_epoch)
		rc = error_set(err, -EEXIST, "%s: segment %" PRIu64 " is there already, and another: %s", to->url,
		               t->number, t->key);
	if (rc)
		return rc;
	s->next_check++;
	if (s->i->relist && !s->held) {
		s->held = t;
		set_state(t, TRANSFER_HELD);
	} else {
		begin_put(t);
	}
	return 0;
}

/* All others are there: the log leads on with this one. */
static int put_held(struct segments *s, struct error *err)
{
	int rc = pool_copy_layers_turn(s->i, err);

	if (!rc)
		begin_put(s->held);
	return rc ? rc : 1;
}

/* Of a create-only put that was refused: a run before this one has put it and it was not listed, or the store has repeated the put. */
static int settle(struct transfer *t, struct error *err)
{
	struct store *to = t->all->i->c->to->store;
	uint8_t there[SEGMENT_OBJECT_HEADER];
	uint64_t size;
	size_t len;
	int rc = store_head_wait(to, t->key, &size, err);

	if (!rc)
		rc = store_get_wait(to, t->key, 0, there, sizeof there, &len, err);
	if (!rc && (size != t->size || len != sizeof there || memcmp(there, t->object.bytes, sizeof there) != 0))
		rc = error_set(err, -EEXIST, "%s: segment %" PRIu64 " is there already, and another: %s", to->url,
		               t->number, t->key);
	return rc ? rc : finish(t, true);
}

static int after_put(struct transfer *t, struct error *err)
{
	if (t->status == -EEXIST)
		return settle(t, err);
	return t->status ? failed(t, err) : finish(t, false);
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

static struct transfer *find_free(struct segments *s)
{
	for (int n = 0; n < AT_ONCE; n++)
		if (state_of(&s->transfers[n]) == TRANSFER_FREE)
			return &s->transfers[n];
	return NULL;
}

/* Passes over one that was cleaned away. */
static int skip(struct segments *s)
{
	s->i->sizes[s->next_begin++ - 1] = 0;
	s->finished++;
	return 1;
}

/* 1 when one was begun, 0 when that is not to be, or -errno. */
static int begin_next(struct segments *s, struct error *err)
{
	struct image_copy *i = s->i;
	struct transfer *t = s->next_begin <= i->end ? find_free(s) : NULL;
	char key[STORE_KEY_MAX + 1];
	uint64_t size;
	int rc = 0;

	if (!t)
		return 0;
	size = i->sizes[s->next_begin - 1];
	if (size == 0) { /* not listed */
		segment_key_format(i->image, s->next_begin, log_view_epoch_of(&i->view, s->next_begin), key);
		rc = store_head_wait(i->c->from->store, key, &size, err);
		if (rc == -ENOENT && s->next_begin <= i->cleaned)
			return skip(s);
		i->sizes[s->next_begin - 1] = size;
	}
	if (rc)
		return error_prefix(err, rc, "segment %" PRIu64, s->next_begin);
	uint64_t held = s->held ? s->held->size + 1 : 0;
	if (s->bytes > held && s->bytes - held + size + 1 > BYTES_AT_ONCE)
		return 0;
	rc = begin(s, t, size, err);
	return rc ? rc : 1;
}

/* Does whatever can be done now, what keeps the stores busy first: 1, 0 when there is nothing, or -errno. */
static int step(struct segments *s, struct error *err)
{
	int rc;

	for (int n = 0; n < AT_ONCE; n++) {
		if (state_of(&s->transfers[n]) != TRANSFER_PUT)
			continue;
		rc = after_put(&s->transfers[n], err);
		return rc ? rc : 1;
	}
	if (s->held && state_of(s->held) == TRANSFER_HELD && s->finished + 1 == s->i->end)
		return put_held(s, err);
	rc = begin_next(s, err);
	/* The chain of digests cannot be checked over a gap. */
	for (; s->next_check < s->next_begin && s->next_check <= s->i->cleaned && !s->i->sizes[s->next_check - 1];
	     s->next_check++) {
		s->v.digest_known = false;
		s->v.gap = true;
	}
	for (int n = 0; n < AT_ONCE && rc == 0; n++) {
		struct transfer *t = &s->transfers[n];
		enum transfer_state state = state_of(t);

		if ((state != TRANSFER_COMPARED && state != TRANSFER_GOT) || t->number != s->next_check)
			continue;
		rc = state == TRANSFER_GOT ? after_get(t, err) : after_compare(t, err);
		return rc ? rc : 1;
	}
	return rc;
}

static bool waits_for_store(enum transfer_state state)
{
	return state == TRANSFER_COMPARING || state == TRANSFER_GETTING || state == TRANSFER_PUTTING;
}

/* Whether the main thread could do something, with the mutex held. */
static bool something_came(const struct segments *s)
{
	for (int n = 0; n < AT_ONCE; n++) {
		const struct transfer *t = &s->transfers[n];

		if (t->state == TRANSFER_PUT ||
		    ((t->state == TRANSFER_COMPARED || t->state == TRANSFER_GOT) && t->number == s->next_check))
			return true;
	}
	return false;
}

static void wait_a_while(struct segments *s)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += WAKE_NS;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&s->mutex);
	while (!something_came(s))
		if (pthread_cond_timedwait(&s->changed, &s->mutex, &until))
			break;
	pthread_mutex_unlock(&s->mutex);
}

/* Until no store uses anything of it any more. */
static void drain(struct segments *s)
{
	for (int n = 0; n < AT_ONCE; n++) {
		struct transfer *t = &s->transfers[n];

		pthread_mutex_lock(&s->mutex);
		while (waits_for_store(t->state))
			pthread_cond_wait(&s->changed, &s->mutex);
		pthread_mutex_unlock(&s->mutex);
		release(t);
	}
}

static int run(struct segments *s, struct error *err)
{
	int rc = 0;

	while (rc >= 0 && s->finished < s->i->end) {
		rc = step(s, err);
		if (rc >= 0 && !pool_copy_go_on(s->i->c))
			rc = -EINTR;
		else if (rc == 0)
			wait_a_while(s);
	}
	drain(s);
	return rc < 0 ? rc : 0;
}

static int init(struct segments *s, struct image_copy *i)
{
	int rc;

	s->i = i;
	s->next_begin = s->next_check = 1;
	for (int n = 0; n < AT_ONCE; n++)
		s->transfers[n].all = s;
	s->v = (struct verify){
		.pool = i->c->from,
		.path = "", /* said by the caller */
		.image = i->image,
		.grain_bytes = i->grain_bytes,
		.key = i->key,
		.end = i->end,
		.digest_known = true, /* zeros come before the first segment */
	};
	s->v.report = calloc(1, sizeof *s->v.report);
	s->v.segments = calloc(i->end, sizeof *s->v.segments);
	if (!s->v.report || !s->v.segments)
		return -ENOMEM;
	rc = pthread_mutex_init(&s->mutex, NULL);
	if (rc)
		return -rc;
	rc = clock_cond_init(&s->changed);
	if (rc)
		pthread_mutex_destroy(&s->mutex);
	return rc;
}

static int copy_all(struct image_copy *i, struct error *err)
{
	struct segments *s = sodium_malloc(sizeof *s); /* locked memory: it holds a key */
	int rc;

	if (!s)
		return -ENOMEM;
	memset(s, 0, sizeof *s);
	rc = init(s, i);
	if (!rc) {
		rc = run(s, err);
		pthread_cond_destroy(&s->changed);
		pthread_mutex_destroy(&s->mutex);
	}
	free(s->v.report);
	free(s->v.segments);
	sodium_free(s);
	return rc;
}

int pool_copy_segments(struct image_copy *i, struct error *err)
{
	int rc;

	if (i->end == 0)
		return 0;
	i->sizes = calloc(i->end, sizeof *i->sizes);
	i->there_sizes = calloc(i->end, sizeof *i->there_sizes);
	if (!i->sizes || !i->there_sizes)
		return -ENOMEM;
	rc = list_sizes(i, i->c->from->store, i->sizes, err);
	if (!rc)
		rc = list_sizes(i, i->c->to->store, i->there_sizes, err);
	if (!rc)
		rc = copy_all(i, err);
	/* Nothing was put: the segments are there from a copy that was broken off, and what is said of them next leads by the new list. */
	if (!rc && i->relist && !i->turned)
		rc = pool_copy_layers_turn(i, err);
	return rc ? rc : check_sizes(i, err);
}
