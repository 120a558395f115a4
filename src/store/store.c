/* SPDX-License-Identifier: GPL-3.0-only */
/* store.c: what all stores share: choosing one by its URL, the rules for keys, and the calls that wait.
 *
 * A store checks the keys it is given itself, on its own thread, since a callback must not run inside the call that asks
 * for it. Must never know how a store keeps its objects.
 */
#include "store/store.h"

#include "store/store_types.h"
#include "store/waiter.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct store_type *const store_types[] = {
	&store_file_type,
	&store_s3_type,
	&store_swift_type,
	&store_node_type,
};

#define TYPES (sizeof store_types / sizeof store_types[0])
#define EXAMPLE "file:///srv/garner"

/* The schemes there are, as "file, s3", cut when `room` is short. */
static const char *scheme_names(char *out, size_t room)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < TYPES; i++) {
		size_t len = strlen(store_types[i]->scheme);

		if (used + len + 3 > room)
			break;
		if (used) {
			memcpy(out + used, ", ", 2);
			used += 2;
		}
		memcpy(out + used, store_types[i]->scheme, len + 1);
		used += len;
	}
	return out;
}

/* The length of the scheme in front of ':', or 0 when there is none. */
static size_t scheme_length(const char *url)
{
	const char *p = url;

	while ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
	       (p > url && ((*p >= '0' && *p <= '9') || *p == '+' || *p == '-' || *p == '.')))
		p++;
	return *p == ':' ? (size_t)(p - url) : 0;
}

static const struct store_type *find_type(const char *scheme, size_t len)
{
	for (size_t i = 0; i < TYPES; i++)
		if (strlen(store_types[i]->scheme) == len && strncmp(store_types[i]->scheme, scheme, len) == 0)
			return store_types[i];
	return NULL;
}

/* Messages and records are single lines, so a URL with a line break in it is refused unseen. */
static bool has_control_bytes(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return true;
	return false;
}

int store_open(const char *url, const struct store_options *options, struct store **store, struct error *err)
{
	static const struct store_options defaults;
	const struct store_type *type;
	char names[128];
	size_t len;

	*store = NULL;
	if (has_control_bytes(url))
		return error_set(err, -EINVAL, "a store's URL cannot contain control characters; example: %s", EXAMPLE);
	if (strlen(url) >= sizeof((struct store *)0)->url)
		return error_set(err, -EINVAL, "the store's URL is longer than %zu bytes",
		                 sizeof((struct store *)0)->url - 1);
	if (url[0] == '/') {
		type = find_type("file", 4);
	} else {
		len = scheme_length(url);
		if (len == 0)
			return error_set(err, -EINVAL,
			                 "'%s' is neither a URL nor an absolute path; stores there are: %s; "
			                 "example: %s",
			                 url, scheme_names(names, sizeof names), EXAMPLE);
		type = find_type(url, len);
		/* What follows the scheme is not shown: it may hold a secret. */
		if (!type)
			return error_set(err, -EINVAL,
			                 "there is no store type '%.*s'; stores there are: %s; example: %s",
			                 len < 32 ? (int)len : 32, url, scheme_names(names, sizeof names), EXAMPLE);
	}
	return type->open(url, options ? options : &defaults, store, err);
}

void store_close(struct store *s)
{
	if (s)
		s->ops->close(s);
}

void store_put(struct store *s, const char *key, const struct iovec *iov, int iovcnt, unsigned flags,
               store_done_fn *done, void *arg)
{
	s->ops->put(s, key, iov, iovcnt, flags, done, arg);
}

void store_get(struct store *s, const char *key, uint64_t offset, void *buf, size_t len, unsigned flags,
               store_length_fn *done, void *arg)
{
	s->ops->get(s, key, offset, buf, len, flags, done, arg);
}

void store_head(struct store *s, const char *key, store_length_fn *done, void *arg)
{
	s->ops->head(s, key, done, arg);
}

void store_remove(struct store *s, const char *key, store_done_fn *done, void *arg)
{
	s->ops->remove(s, key, done, arg);
}

/* ---- removing many ---- */

/* ---- many removals, one by one ---- */

#define REMOVALS_AT_ONCE 16u /* or whoever reads would wait behind them all */

/* Removals that have one answer. */
struct removals {
	struct store *store;
	store_done_fn *done;
	void *arg;
	size_t count;
	_Atomic size_t next;    /* of the keys: which is removed next */
	_Atomic size_t pending; /* that are not answered yet */
	pthread_mutex_t mutex;  /* guards what follows */
	int status;             /* of the first that failed */
	struct error err;
	char keys[][STORE_KEY_MAX + 1];
};

static void remove_next(struct removals *r);

static void removals_put(struct removals *r)
{
	if (atomic_fetch_sub(&r->pending, 1) != 1)
		return;
	r->done(r->arg, r->status, r->status ? &r->err : NULL);
	pthread_mutex_destroy(&r->mutex);
	free(r);
}

static void one_removed(void *arg, int status, const struct error *err)
{
	struct removals *r = arg;

	if (status) {
		pthread_mutex_lock(&r->mutex);
		if (!r->status) {
			r->status = status;
			if (err && err->code)
				r->err = *err;
			else
				error_set(&r->err, status, "%s", strerror(-status));
		}
		pthread_mutex_unlock(&r->mutex);
	}
	remove_next(r);
	removals_put(r);
}

/* Whoever calls it holds one that is pending. */
static void remove_next(struct removals *r)
{
	size_t i = atomic_fetch_add(&r->next, 1);

	if (i < r->count)
		store_remove(r->store, r->keys[i], one_removed, r);
}

void store_remove_each(struct store *s, const char *const *keys, size_t count, store_done_fn *done, void *arg)
{
	struct removals *r = calloc(1, sizeof *r + count * sizeof r->keys[0]);

	if (!r || pthread_mutex_init(&r->mutex, NULL)) {
		free(r);
		done(arg, -ENOMEM, NULL);
		return;
	}
	r->store = s;
	r->done = done;
	r->arg = arg;
	r->count = count;
	for (size_t i = 0; i < count; i++)
		snprintf(r->keys[i], sizeof r->keys[i], "%s", keys[i]);
	/* All that are there, and this call: one that is answered at once does not end it. */
	atomic_store(&r->pending, count + 1);
	for (unsigned n = 0; n < REMOVALS_AT_ONCE; n++)
		remove_next(r);
	removals_put(r);
}

void store_remove_many(struct store *s, const char *const *keys, size_t count, store_done_fn *done, void *arg)
{
	struct error err = { 0 };

	if (count > STORE_REMOVE_MANY_MAX) {
		error_set(&err, -EINVAL, "at most %d objects can be removed at once", STORE_REMOVE_MANY_MAX);
		done(arg, -EINVAL, &err);
		return;
	}
	if (count == 0) {
		done(arg, 0, NULL);
		return;
	}
	/* The store refuses it, and says so. */
	for (size_t i = 0; i < count; i++)
		if (!store_key_valid(keys[i])) {
			store_remove(s, keys[i], done, arg);
			return;
		}
	if (s->ops->remove_many)
		s->ops->remove_many(s, keys, count, done, arg);
	else
		store_remove_each(s, keys, count, done, arg);
}

void store_list(struct store *s, const char *prefix, const char *after, size_t max, store_list_fn *done, void *arg)
{
	s->ops->list(s, prefix, after, max, done, arg);
}

void store_get_stats(struct store *s, struct store_stats *stats)
{
	*stats = (struct store_stats){ 0 };
	if (s->ops->stats)
		s->ops->stats(s, stats);
}

void store_get_acks(struct store *s, char *text, size_t room)
{
	if (room)
		text[0] = '\0';
	if (s->ops->acks)
		s->ops->acks(s, text, room);
}

static void waiter_length(void *arg, int status, uint64_t length, const struct error *err)
{
	waiter_answer(arg, status, length, err);
}

int store_put_wait(struct store *s, const char *key, const void *buf, size_t len, unsigned flags, struct error *err)
{
	struct waiter w = WAITER(err);
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = len };

	store_put(s, key, &iov, 1, flags, waiter_done, &w);
	return waiter_wait(&w);
}

int store_get_wait(struct store *s, const char *key, uint64_t offset, void *buf, size_t len, size_t *length,
                   struct error *err)
{
	struct waiter w = WAITER(err);
	int rc;

	store_get(s, key, offset, buf, len, 0, waiter_length, &w);
	rc = waiter_wait(&w);
	if (rc == 0 && length)
		*length = w.length;
	return rc;
}

int store_head_wait(struct store *s, const char *key, uint64_t *size, struct error *err)
{
	struct waiter w = WAITER(err);
	int rc;

	store_head(s, key, waiter_length, &w);
	rc = waiter_wait(&w);
	if (rc == 0 && size)
		*size = w.length;
	return rc;
}

int store_remove_wait(struct store *s, const char *key, struct error *err)
{
	struct waiter w = WAITER(err);

	store_remove(s, key, waiter_done, &w);
	return waiter_wait(&w);
}

int store_remove_many_wait(struct store *s, const char *const *keys, size_t count, struct error *err)
{
	struct waiter w = WAITER(err);

	store_remove_many(s, keys, count, waiter_done, &w);
	return waiter_wait(&w);
}

/* Copies the page, because it lives only during this call. */
static void waiter_list(void *arg, int status, const struct store_entry *entries, size_t count, bool more,
                        const struct error *err)
{
	struct waiter *w = arg;
	struct error no_memory = { 0 };
	struct store_entry *copy = NULL;

	if (status == 0 && count) {
		copy = reallocarray(NULL, count, sizeof *copy);
		if (copy) {
			memcpy(copy, entries, count * sizeof *copy);
		} else {
			status = error_set(&no_memory, -ENOMEM, "out of memory while listing");
			err = &no_memory;
		}
	}
	pthread_mutex_lock(&w->mutex);
	w->entries = copy;
	w->count = copy ? count : 0;
	w->more = more;
	pthread_mutex_unlock(&w->mutex);
	waiter_answer(w, status, 0, err);
}

/* Calls `each` for one page. `last` is the key before the page on entry ("" for none), and the page's last on return.
 * Refuses a page that does not go forward, which would be listed for ever. */
static int each_of_page(struct store *s, const struct waiter *page, char last[STORE_KEY_MAX + 1],
                        int (*each)(void *arg, const struct store_entry *entry), void *arg, struct error *err)
{
	for (size_t i = 0; i < page->count; i++) {
		int rc;

		if (strcmp(page->entries[i].key, last) <= 0)
			return error_set(err, -EIO, "%s lists its objects out of order", s->url);
		memcpy(last, page->entries[i].key, STORE_KEY_MAX + 1);
		rc = each(arg, &page->entries[i]);
		if (rc != 0)
			return rc;
	}
	return 0;
}

int store_list_each(struct store *s, const char *prefix, const char *after,
                    int (*each)(void *arg, const struct store_entry *entry), void *arg, struct error *err)
{
	char last[STORE_KEY_MAX + 1] = "";
	const char *from = after;
	bool more = true;
	int rc = 0;

	while (more && rc == 0) {
		struct waiter w = WAITER(err);

		store_list(s, prefix, from, 0, waiter_list, &w);
		rc = waiter_wait(&w);
		if (rc < 0)
			return rc;
		more = w.more;
		if (more && w.count == 0)
			rc = error_set(err, -EIO, "%s sends empty pages of a listing", s->url);
		else
			rc = each_of_page(s, &w, last, each, arg, err);
		free(w.entries);
		from = last;
	}
	return rc;
}

static bool key_char(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
	       c == '-';
}

/* A component may not begin with a dot: "." and ".." mean something to a file system, and stores on one keep files of their
 * own under such names. */
bool store_key_valid(const char *key)
{
	const char *p = key;

	for (;;) {
		if (!key_char(*p) || *p == '.')
			return false;
		while (key_char(*p))
			p++;
		if (p - key > STORE_KEY_MAX)
			return false;
		if (*p == '\0')
			return true;
		if (*p++ != '/')
			return false;
	}
}

static int stop_at_first(void *arg, const struct store_entry *entry)
{
	(void)arg;
	(void)entry;
	return 1;
}

int store_any(struct store *s, const char *prefix, struct error *err)
{
	return store_list_each(s, prefix, NULL, stop_at_first, NULL, err);
}
