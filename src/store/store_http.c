/* SPDX-License-Identifier: GPL-3.0-only */
/* store_http.c: store operations as requests of the HTTP engine.
 *
 * Every op is one allocation that lives until its answer was given. Must know nothing of S3 or Swift.
 */
#include "store/store_http.h"

#include "base/bytes.h"
#include "base/report.h"
#include "store/waiter.h"

#include <curl/curl.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_MAX 1000
#define LIST_BYTES_MAX (8 * 1024 * 1024)
#define DIGEST_THREADS 2
#define DIGEST_INLINE (16 * 1024) /* bodies up to here are summed at once */

static void op_done(struct http_request *r);

/* ---- an op's life ---- */

static struct http_op *op_new(struct http_store *s, enum http_op_kind kind, const char *key, unsigned flags, int iovcnt,
                              void *arg)
{
	struct http_op *op;
	size_t size = sizeof *op + (size_t)iovcnt * sizeof op->iov[0];

	size = (size + _Alignof(max_align_t) - 1) / _Alignof(max_align_t) * _Alignof(max_align_t);
	op = calloc(1, size + s->kind->op_size);
	if (!op)
		return NULL;
	op->own = (char *)op + size;
	op->store = s;
	op->kind = kind;
	op->flags = flags;
	op->arg = arg;
	/* One that is too long is cut, and refused before it is asked for. */
	snprintf(op->key, sizeof op->key, "%s", key);
	return op;
}

static void op_free(struct http_op *op)
{
	free(op->doubted);
	free(op);
}

static int prepare(struct http_request *r, struct http_head *head, struct error *err)
{
	struct http_op *op = r->arg;

	return op->store->kind->prepare(op->store, op, head, err);
}

static enum http_verdict judge(struct http_request *r, struct error *err)
{
	struct http_op *op = r->arg;

	if (op->store->kind->judges_all)
		return op->store->kind->judge(op->store, op, err);
	/* A range past the object's end: there is nothing to be read there. */
	if (op->kind == HTTP_OP_GET && r->status == 416)
		return HTTP_JUDGE_DONE;
	if (op->kind == HTTP_OP_REMOVE && r->status == 404)
		return HTTP_JUDGE_DONE;
	return op->store->kind->judge(op->store, op, err);
}

static enum http_verdict lost(struct http_request *r, struct error *err)
{
	struct http_op *op = r->arg;

	return op->store->kind->lost ? op->store->kind->lost(op->store, op, err) : HTTP_JUDGE_AGAIN;
}

static enum http_class class_of(unsigned flags)
{
	if (flags & STORE_BACKGROUND)
		return HTTP_BACKGROUND;
	if (flags & STORE_UPLOAD)
		return HTTP_UPLOAD;
	return flags & STORE_PREFETCH ? HTTP_PREFETCH : HTTP_WAITED;
}

static void op_submit(struct http_op *op)
{
	static const enum http_method methods[] = {
		[HTTP_OP_PUT] = HTTP_PUT,        [HTTP_OP_GET] = HTTP_GET,   [HTTP_OP_HEAD] = HTTP_HEAD,
		[HTTP_OP_REMOVE] = HTTP_DELETE,  [HTTP_OP_LIST] = HTTP_GET,  [HTTP_OP_PLACE] = HTTP_GET,
		[HTTP_OP_MAKE_PLACE] = HTTP_PUT, [HTTP_OP_POST] = HTTP_POST,
	};

	op->request.method = methods[op->kind];
	op->request.class = class_of(op->flags);
	op->request.prepare = prepare;
	op->request.judge = judge;
	op->request.lost = lost;
	op->request.done = op_done;
	op->request.arg = op;
	op->refused = 0;
	if (op->kind == HTTP_OP_LIST)
		atomic_fetch_add(&op->store->lists, 1);
	http_submit(op->store->engine, &op->request);
}

void http_store_name(const struct http_store *s, const char *key, char name[HTTP_NAME_MAX])
{
	snprintf(name, HTTP_NAME_MAX, "%s%s", s->prefix, key);
}

/* ---- answers ---- */

/* Adds what was asked for, once, where the store's name is known. */
static void name_error(struct http_op *op, int rc, struct error *err)
{
	static const char *const verbs[] = {
		[HTTP_OP_PUT] = "writing",     [HTTP_OP_GET] = "reading",  [HTTP_OP_HEAD] = "looking for",
		[HTTP_OP_REMOVE] = "removing", [HTTP_OP_LIST] = "listing",
	};
	const char *key = op->kind == HTTP_OP_LIST ? op->prefix : op->key;

	if (op->kind == HTTP_OP_PLACE || op->kind == HTTP_OP_MAKE_PLACE)
		return; /* who opens the store says which */
	if (rc == -ENOENT)
		error_set(err, rc, "%s: no such object: %s", op->store->store.url, key);
	else if (rc == -EEXIST)
		error_set(err, rc, "%s: the object exists: %s", op->store->store.url, key);
	else
		error_prefix(err, rc, "%s: %s %s", op->store->store.url, verbs[op->kind], key);
}

static void answer(struct http_op *op, int rc, uint64_t length, struct error *err)
{
	if (rc)
		name_error(op, rc, err);
	switch (op->kind) {
	case HTTP_OP_GET:
	case HTTP_OP_HEAD:
		op->answer.length(op->arg, rc, length, rc ? err : NULL);
		break;
	case HTTP_OP_LIST:
		op->answer.list(op->arg, rc, NULL, 0, false, err);
		break;
	default:
		op->answer.done(op->arg, rc, rc ? err : NULL);
	}
	op_free(op);
}

static void fail(struct http_op *op, int rc, const char *text)
{
	struct error err = { 0 };

	error_set(&err, rc, "%s", text);
	answer(op, rc, 0, &err);
}

/* ---- a put whose answer was lost ---- */

static bool same_bytes(const struct http_op *put, const uint8_t *bytes, size_t length)
{
	size_t at = 0;

	for (int i = 0; i < put->request.body_count; i++) {
		size_t n = put->request.body[i].iov_len;
		if (n > length - at || memcmp(bytes + at, put->request.body[i].iov_base, n) != 0)
			return false;
		at += n;
	}
	return at == length;
}

/* What is there was read: it is ours, or somebody else's. */
static void doubt_done(struct http_request *r)
{
	struct http_op *look = r->arg, *put = look->doubted;
	struct error err = r->err;
	int rc = r->result;

	/* What is longer does not fit into the buffer. */
	if (rc == -EFBIG || (!rc && !same_bytes(put, r->buf, r->length)))
		rc = error_set(&err, -EEXIST, "exists");
	/* What is gone by now was there, and perhaps ours: who asked has to look at the whole again. */
	if (rc == -ENOENT)
		rc = error_set(&err, -EIO, "it was made and is gone again");
	free(r->buf);
	look->doubted = NULL;
	op_free(look);
	answer(put, rc, 0, &err);
}

/* The key exists, and an earlier try of the same put may have made it. */
static void look_at_existing(struct http_op *put)
{
	struct http_op *look = op_new(put->store, HTTP_OP_GET, put->key, 0, 0, NULL);

	if (!look) {
		fail(put, -ENOMEM, "out of memory");
		return;
	}
	look->doubted = put;
	look->request.room = iovec_bytes(put->request.body, put->request.body_count) + 1;
	op_submit(look);
}

/* ---- listings ---- */

/* Whether it was asked for. What was not may be another one, damaged on its way, which is missing then. */
static bool was_asked_for(const struct http_op *op, const char *key)
{
	size_t skip = strlen(op->store->prefix);

	return strncmp(key, op->store->prefix, skip) == 0 && strncmp(key + skip, op->prefix, strlen(op->prefix)) == 0;
}

/* The entries of a page that are keys of ours, without the prefix. The caller frees. */
static int entries_of(const struct http_op *op, const struct listed_objects *page, struct store_entry **entries,
                      size_t *count, struct error *err)
{
	size_t skip = strlen(op->store->prefix);

	*count = 0;
	*entries = calloc(page->count ? page->count : 1, sizeof **entries);
	if (!*entries)
		return error_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < page->count; i++) {
		const struct listed_object *from = &page->list[i];
		struct store_entry *to = *entries + *count;

		if (!was_asked_for(op, from->key))
			return error_set(err, -EIO, "the server lists an object that was not asked for");
		if (!store_key_valid(from->key + skip)) {
			report_debug("%s holds an object that is none of garnerfs", op->store->store.url);
			continue;
		}
		snprintf(to->key, sizeof to->key, "%s", from->key + skip);
		to->size = from->size;
		to->version = from->version;
		++*count;
	}
	return 0;
}

/* A page without one object of ours: goes on after it. */
static void list_again(struct http_op *op, const struct listed_object *last)
{
	const char *prefix = op->store->prefix;
	struct error err = { 0 };

	free(op->request.buf);
	op->request.buf = NULL;
	if (strncmp(last->key, prefix, strlen(prefix)) != 0 || strcmp(last->key + strlen(prefix), op->after) <= 0) {
		answer(op, error_set(&err, -EIO, "the listing does not go forward"), 0, &err);
		return;
	}
	snprintf(op->after, sizeof op->after, "%s", last->key + strlen(prefix));
	op_submit(op);
}

static void list_done(struct http_op *op)
{
	struct http_request *r = &op->request;
	struct store_entry *entries = NULL;
	struct listed_objects page = { 0 };
	struct error err = r->err;
	size_t count = 0;
	bool more = false;
	int rc = r->result;

	if (!rc)
		rc = op->store->kind->read_listing(op, &page, &more, &err);
	if (!rc)
		rc = entries_of(op, &page, &entries, &count, &err);
	if (!rc && !count && more && page.count) {
		list_again(op, &page.list[page.count - 1]);
		goto out;
	}
	free(r->buf);
	if (rc) {
		answer(op, rc, 0, &err);
	} else {
		op->answer.list(op->arg, 0, entries, count, more, NULL);
		op_free(op);
	}
out:
	listed_objects_destroy(&page);
	free(entries);
}

static void post_done(struct http_op *op)
{
	op->answer.posted(op->arg, &op->request);
	free(op->request.buf);
	op_free(op);
}

/* An empty body is not known to have been sent before, so that it is always looked at what is there. */
static void op_done(struct http_request *r)
{
	struct http_op *op = r->arg;

	if (op->doubted)
		doubt_done(r);
	else if (op->kind == HTTP_OP_LIST)
		list_done(op);
	else if (op->kind == HTTP_OP_POST)
		post_done(op);
	else if (op->kind == HTTP_OP_PUT && r->result == -EEXIST &&
	         (r->maybe_done || !iovec_bytes(r->body, r->body_count)))
		look_at_existing(op);
	else {
		if (op->kind == HTTP_OP_PLACE || op->kind == HTTP_OP_MAKE_PLACE)
			free(r->buf);
		answer(op, r->result, op->kind == HTTP_OP_HEAD ? r->object_size : r->length, &r->err);
	}
}

/* ---- the operations ---- */

/* Hands over what cannot be asked for, on a thread of the store. */
static void refuse_job(void *arg)
{
	struct http_op *op = arg;

	fail(op, -EINVAL, "not a key that a store accepts");
}

static void op_start(struct http_op *op)
{
	if (store_key_valid(op->key) || op->kind == HTTP_OP_LIST)
		op_submit(op);
	else if (executor_run(op->store->digests, refuse_job, op))
		refuse_job(op);
}

static void digest_job(void *arg)
{
	struct http_op *op = arg;
	struct error err = { 0 };
	int rc;

	switch (op->store->kind->sum) {
	case HTTP_SUM_MD5:
		rc = body_md5(op->request.body, op->request.body_count, &op->digest.md5, &err);
		break;
	case HTTP_SUM_BLAKE2BP:
		rc = body_blake2bp(op->request.body, op->request.body_count, op->digest.blake2bp, &err);
		break;
	default:
		rc = body_sha256(op->request.body, op->request.body_count, op->digest.sha256, &err);
	}
	if (rc)
		answer(op, rc, 0, &err);
	else
		op_start(op);
}

static void http_store_put(struct store *store, const char *key, const struct iovec *iov, int iovcnt, unsigned flags,
                           store_done_fn *done, void *arg)
{
	struct http_store *s = (struct http_store *)store;
	struct http_op *op = op_new(s, HTTP_OP_PUT, key, flags, iovcnt, arg);

	if (!op) {
		done(arg, -ENOMEM, NULL);
		return;
	}
	op->answer.done = done;
	if (iovcnt)
		memcpy(op->iov, iov, (size_t)iovcnt * sizeof iov[0]);
	op->request.once = flags & STORE_PUT_ONCE;
	op->request.body = op->iov;
	op->request.body_count = iovcnt;
	if (iovec_bytes(iov, iovcnt) <= DIGEST_INLINE || executor_run(s->digests, digest_job, op))
		digest_job(op);
}

static void http_store_get(struct store *store, const char *key, uint64_t offset, void *buf, size_t len, unsigned flags,
                           store_length_fn *done, void *arg)
{
	struct http_op *op = op_new((struct http_store *)store, HTTP_OP_GET, key, flags, 0, arg);

	if (!op) {
		done(arg, -ENOMEM, 0, NULL);
		return;
	}
	op->answer.length = done;
	op->request.buf = buf;
	op->request.room = len;
	op->request.offset = offset;
	op->request.range = len > 0;
	op->request.hedge = flags & STORE_GET_IMMUTABLE;
	if (!len)
		op->kind = HTTP_OP_HEAD; /* only whether it exists */
	op_start(op);
}

static void http_store_head(struct store *store, const char *key, store_length_fn *done, void *arg)
{
	struct http_op *op = op_new((struct http_store *)store, HTTP_OP_HEAD, key, 0, 0, arg);

	if (!op) {
		done(arg, -ENOMEM, 0, NULL);
		return;
	}
	op->answer.length = done;
	op_start(op);
}

static void http_store_remove(struct store *store, const char *key, store_done_fn *done, void *arg)
{
	struct http_op *op = op_new((struct http_store *)store, HTTP_OP_REMOVE, key, 0, 0, arg);

	if (!op) {
		done(arg, -ENOMEM, NULL);
		return;
	}
	op->answer.done = done;
	op_start(op);
}

static void http_store_remove_many(struct store *store, const char *const *keys, size_t count, store_done_fn *done,
                                   void *arg)
{
	struct http_store *s = (struct http_store *)store;

	if (s->kind->remove_many)
		s->kind->remove_many(s, keys, count, done, arg);
	else
		store_remove_each(store, keys, count, done, arg);
}

int http_store_post(struct http_store *s, const struct iovec *body, size_t room, http_posted_fn *posted, void *arg,
                    struct error *err)
{
	struct http_op *op = op_new(s, HTTP_OP_POST, "", 0, 1, arg);
	int rc;

	if (!op)
		return error_set(err, -ENOMEM, "out of memory");
	rc = body_sha256(body, 1, op->digest.sha256, err);
	if (!rc)
		rc = body_md5(body, 1, &op->digest.md5, err);
	if (rc) {
		op_free(op);
		return rc;
	}
	op->iov[0] = *body;
	op->request.body = op->iov;
	op->request.body_count = 1;
	op->request.room = room;
	op->answer.posted = posted;
	op_submit(op);
	return 0;
}

static void http_store_list(struct store *store, const char *prefix, const char *after, size_t max, store_list_fn *done,
                            void *arg)
{
	struct http_op *op = op_new((struct http_store *)store, HTTP_OP_LIST, "", 0, 0, arg);

	if (!op) {
		done(arg, -ENOMEM, NULL, 0, false, NULL);
		return;
	}
	op->answer.list = done;
	op->max = max && max < LIST_MAX ? max : LIST_MAX;
	op->request.room = LIST_BYTES_MAX;
	snprintf(op->prefix, sizeof op->prefix, "%s", prefix);
	snprintf(op->after, sizeof op->after, "%s", after ? after : "");
	op_start(op);
}

static void http_store_stats(struct store *store, struct store_stats *stats)
{
	struct http_store *s = (struct http_store *)store;
	struct http_counters c;

	http_engine_counters(s->engine, &c);
	*stats = (struct store_stats){
		.puts = c.requests[HTTP_PUT],
		.gets = c.requests[HTTP_GET],
		.heads = c.requests[HTTP_HEAD],
		.removes = c.requests[HTTP_DELETE] + c.requests[HTTP_POST],
		.lists = atomic_load(&s->lists),
		.bytes_up = c.bytes_up,
		.bytes_down = c.bytes_down,
		.retries = c.retries,
		.hedges = c.hedges,
	};
	stats->gets -= stats->lists < stats->gets ? stats->lists : stats->gets;
}

static void http_store_acks(struct store *store, char *text, size_t room)
{
	struct http_store *s = (struct http_store *)store;

	if (s->kind->acks)
		s->kind->acks(s, text, room);
}

static void http_store_close(struct store *store)
{
	struct http_store *s = (struct http_store *)store;

	/* What is being summed is submitted first; then the engine waits for all that was submitted. */
	executor_free(s->digests);
	http_engine_free(s->engine);
	s->kind->destroy(s);
	free(s);
}

static const struct store_ops http_store_ops = {
	.put = http_store_put,
	.get = http_store_get,
	.head = http_store_head,
	.remove = http_store_remove,
	.remove_many = http_store_remove_many,
	.list = http_store_list,
	.stats = http_store_stats,
	.acks = http_store_acks,
	.close = http_store_close,
};

/* ---- the bucket or container ---- */

static int place_op(struct http_store *s, enum http_op_kind kind, struct error *err)
{
	struct waiter w = WAITER(err);
	struct http_op *op = op_new(s, kind, "", 0, 0, &w);

	if (!op)
		return error_set(err, -ENOMEM, "out of memory");
	op->answer.done = waiter_done;
	/* A listing of one object: other than to a HEAD, an answer has a body that says what is wrong. */
	op->request.room = LIST_BYTES_MAX;
	op->max = 1;
	op_submit(op);
	return waiter_wait(&w);
}

/* Asks whether the bucket or container is there, and makes it when that is missing and `create`. */
static int find_place(struct http_store *s, bool create, struct error *err)
{
	int rc = place_op(s, HTTP_OP_PLACE, err);

	if (rc == -ENODEV)
		rc = -ENOENT;
	if (rc == -ENOENT && create)
		rc = place_op(s, HTTP_OP_MAKE_PLACE, err);
	else if (rc == -ENOENT)
		error_set(err, rc, "no such bucket or container: check the URL, or make the pool with garner init");
	return rc;
}

/* ---- opening ---- */

static int read_access(const struct store_url *url, const struct store_options *options, struct http_access *access,
                       struct error *err)
{
	const char *plain = store_url_parameter(url, "plain");

	if (plain && strcmp(plain, "yes") != 0 && strcmp(plain, "no") != 0)
		return error_set(err, -EINVAL, "plain is yes or no");
	access->tls = (struct http_tls){
		.ca_file = options->ca_file ? options->ca_file : store_url_parameter(url, "ca_file"),
		.client_cert = options->client_cert ? options->client_cert : store_url_parameter(url, "client_cert"),
		.client_key = options->client_key,
		.allow_plain = options->allow_plain || (plain && strcmp(plain, "yes") == 0),
	};
	access->passwd_file = options->passwd_file ? options->passwd_file : store_url_parameter(url, "passwd_file");
	return 0;
}

/* What is wrong with the files is said at once, not after trying again and again. */
static int check_tls(const struct http_tls *tls, struct error *err)
{
	CURL *easy = curl_easy_init();
	int rc = easy ? http_tls_apply(tls, easy, err) : -ENOMEM;

	curl_easy_cleanup(easy);
	return rc;
}

static int start(struct http_store *s, const struct http_tls *tls, const struct store_options *options,
                 struct error *err)
{
	struct http_options http = {
		.tls = *tls,
		.deadline_ms = options->deadline_ms,
		.upload_rate = options->upload_rate,
		.download_rate = options->download_rate,
	};
	int rc = check_tls(tls, err);

	if (rc)
		return rc;
	s->engine = http_engine_new(&http, err);
	if (!s->engine)
		return err && err->code ? err->code : -ENOMEM;
	s->digests = executor_new("store-sum", DIGEST_THREADS, false);
	if (!s->digests)
		return error_set(err, errno ? -errno : -ENOMEM, "threads cannot be started");
	return 0;
}

int http_store_open(const struct http_store_kind *kind, const char *url, const struct store_options *options,
                    struct store **store, struct error *err)
{
	struct http_access access;
	struct store_url parsed;
	struct http_store *s;
	int rc = store_url_parse(url, kind->parameters, kind->parameter_count, &parsed, err);

	if (rc)
		return rc;
	s = calloc(1, kind->size);
	if (!s)
		return error_set(err, -ENOMEM, "opening the store: out of memory");
	s->kind = kind;
	s->store.ops = &http_store_ops;
	s->store.capabilities = kind->capabilities;
	s->store.looks_first = kind->looks_first;
	snprintf(s->store.url, sizeof s->store.url, "%s", store_url_show(&parsed));
	snprintf(s->prefix, sizeof s->prefix, "%s%s", parsed.prefix, parsed.prefix[0] ? "/" : "");
	rc = read_access(&parsed, options, &access, err);
	if (!rc && kind->access)
		rc = kind->access(s, &parsed, &access, err);
	if (!rc)
		rc = start(s, &access.tls, options, err);
	if (!rc)
		rc = kind->log_in(s, &parsed, &access, options, err);
	if (!rc)
		rc = find_place(s, options->create, err);
	if (rc) {
		store_close(&s->store);
		return error_prefix(err, rc, "%s", store_url_show(&parsed));
	}
	*store = &s->store;
	return 0;
}
