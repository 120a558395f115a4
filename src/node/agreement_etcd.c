/* SPDX-License-Identifier: GPL-3.0-only */
/* agreement_etcd.c: the agreement of a cluster of several nodes, in etcd, by its JSON gateway.
 *
 * A call is a few rounds: look, decide by the rules, change if nothing has changed meanwhile (a transaction that compares the key's
 * revision), else decide again with what is there now. Reads are linearizable, which is etcd's default. A request whose answer was lost
 * is sent again, to the next endpoint: if the first one was carried out after all, the second changes nothing and shows what is there,
 * which the rules then find to be what was wanted.
 *
 * The first one may also be carried out later. A claim that was refused must not come to be then, when the one that was in its way has
 * been released: so each release changes a key, one of 256 by the name, and a claim looks at that first and is made only if it
 * has not changed since.
 */
#include "node/agreement_private.h"

#include "base/clock.h"
#include "base/crc32c.h"
#include "node/etcd_json.h"
#include "store/http.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEADLINE_MS 10000
#define TRY_MS 1000
#define DOUBLINGS 3             /* of try_ms: etcd may be slow altogether */
#define ROUNDS_MAX 32           /* of a call: others change the same key all the time */
#define ANSWER_MAX (192 * 1024) /* a value in base64, and what is around it */
#define ENDPOINT_MAX 300
#define MS 1000000ull

struct etcd {
	struct agreement agreement;
	struct http_engine *engine;
	struct agreement_etcd_options options;
	char prefix[64]; /* "/garnerfs/ID/" */
	size_t count;
	char endpoint[AGREEMENT_ENDPOINTS_MAX][ENDPOINT_MAX];
	_Atomic unsigned preferred; /* the one that answered last */
};

/* A call's way through its rounds: one request at a time. */
struct rounds {
	struct http_request request;
	struct etcd *etcd;
	struct agreement_call *call;
	char *body;
	struct iovec iov;
	bool txn, guarding;       /* else a look; at `guard` */
	enum agreement_step step; /* what the transaction does */
	unsigned endpoint;        /* of the newest try */
	unsigned count;
	int64_t revision; /* of what was found */
	uint8_t *before;  /* what was there when the change was asked for first; once `changing` */
	size_t before_length;
	bool changing;
	uint64_t end_ns;
	char key[sizeof((struct etcd *)0)->prefix + AGREEMENT_KEY_MAX];
	char guard[sizeof((struct etcd *)0)->prefix + 20]; /* of a claim, or a release; else "" */
	int64_t guard_revision;
};

static void look(struct rounds *r);
static void look_at_guard(struct rounds *r);
static void decide(struct rounds *r);

/* ---- the end ---- */

static void end(struct rounds *r, int status, struct error *err)
{
	struct agreement_call *call = r->call;

	if (status && status != -EEXIST && status != -ESTALE && status != -ENOENT && status != -EBADMSG)
		error_prefix(err, status, "etcd, the cluster's agreement");
	/* The node had registered this very text in a try whose answer was lost: it asks for what was there before. */
	if (!status && call->kind == AGREEMENT_NODE_REGISTER && r->changing) {
		free(call->found);
		call->found = r->before;
		call->found_length = r->before_length;
		r->before = NULL;
	}
	free(r->before);
	free(r->body);
	free(r);
	agreement_call_end(call, status, err);
}

static void end_without_memory(struct rounds *r)
{
	struct error err = { 0 };

	end(r, error_set(&err, -ENOMEM, "out of memory"), &err);
}

/* ---- requests ---- */

static int prepare(struct http_request *request, struct http_head *head, struct error *err)
{
	struct rounds *r = request->arg;
	struct etcd *e = r->etcd;
	unsigned tries = request->attempts, doublings = tries / (unsigned)e->count;
	char url[ENDPOINT_MAX + 32];
	int rc;

	r->endpoint = tries ? (r->endpoint + 1) % (unsigned)e->count : atomic_load(&e->preferred);
	request->try_ms = e->options.try_ms << (doublings < DOUBLINGS ? doublings : DOUBLINGS);
	snprintf(url, sizeof url, "%s/v3/kv/%s", e->endpoint[r->endpoint], r->txn ? "txn" : "range");
	http_head_direct(head);
	rc = http_head_url(head, url);
	if (!rc)
		rc = http_head_add(head, "Content-Type: application/json");
	return rc ? error_set(err, rc, "out of memory") : 0;
}

/* The next endpoint at once, until all were asked. */
static enum http_verdict next_endpoint(const struct rounds *r)
{
	return r->request.attempts % r->etcd->count ? HTTP_JUDGE_AT_ONCE : HTTP_JUDGE_AGAIN;
}

static enum http_verdict lost(struct http_request *request, struct error *err)
{
	(void)err;
	return next_endpoint(request->arg);
}

/* No status is taken for a result of its own: a stranger's 404 does not mean that there is no map. */
static enum http_verdict judge(struct http_request *request, struct error *err)
{
	struct rounds *r = request->arg;
	char text[ETCD_FAULT_TEXT];

	if (request->status == 200) {
		atomic_store(&r->etcd->preferred, r->endpoint);
		return HTTP_JUDGE_DONE;
	}
	etcd_fault_text(request->fault, request->fault_length, text);
	if (strstr(text, "database space exceeded")) {
		error_set(err, -ENOSPC, "its space is used up: compact and defragment it (%s)", text);
		return HTTP_JUDGE_FAIL;
	}
	error_set(err, request->status == 401 || request->status == 403 ? -EACCES : -EIO,
	          "%s answers with status %ld: %s", r->etcd->endpoint[r->endpoint], request->status, text);
	return next_endpoint(r);
}

static void txn_done(struct rounds *r, struct error *err)
{
	struct etcd_found found;
	bool changed;
	int rc = etcd_txn_parse(r->request.buf, r->request.length, r->key, AGREEMENT_VALUE_MAX, &changed, &found, err);

	if (rc) {
		end(r, rc, err);
	} else if (changed) {
		end(r, 0, err);
	} else if (!found.value && r->call->kind == AGREEMENT_CLAIM) {
		look_at_guard(r); /* something was released */
	} else {
		free(r->call->found);
		r->call->found = found.value;
		r->call->found_length = found.length;
		r->revision = found.revision;
		decide(r);
	}
}

static void guard_done(struct rounds *r, struct error *err)
{
	struct etcd_found found;
	int rc = etcd_range_parse(r->request.buf, r->request.length, r->guard, AGREEMENT_VALUE_MAX, &found, err);

	if (rc) {
		end(r, rc, err);
		return;
	}
	free(found.value);
	r->guard_revision = found.revision;
	decide(r); /* as if there were no claim: the transaction says if there is */
}

static void range_done(struct rounds *r, struct error *err)
{
	struct etcd_found found;
	int rc = etcd_range_parse(r->request.buf, r->request.length, r->key, AGREEMENT_VALUE_MAX, &found, err);

	if (rc) {
		end(r, rc, err);
		return;
	}
	r->call->found = found.value;
	r->call->found_length = found.length;
	r->revision = found.revision;
	decide(r);
}

static void done(struct http_request *request)
{
	struct rounds *r = request->arg;
	struct error err = request->err;
	int rc = request->result;
	uint8_t *answer = request->buf;

	free(r->body);
	r->body = NULL;
	if (rc)
		end(r, rc, &err);
	else if (r->txn)
		txn_done(r, &err);
	else if (r->guarding)
		guard_done(r, &err);
	else
		range_done(r, &err);
	free(answer);
}

/* Sends `body`, which it takes. */
static void send_body(struct rounds *r, char *body, bool txn)
{
	uint64_t now = clock_monotonic_ns(), left_ms = r->end_ns > now ? (r->end_ns - now) / MS : 0;
	struct error err = { 0 };

	if (!body) {
		end_without_memory(r);
		return;
	}
	r->body = body;
	if (!left_ms || r->count++ == ROUNDS_MAX) {
		end(r, error_set(&err, -ETIMEDOUT, "%s is changed by others all the time", r->call->key), &err);
		return;
	}
	r->txn = txn;
	r->iov = (struct iovec){ body, strlen(body) };
	r->request = (struct http_request){
		.method = HTTP_POST,
		.class = HTTP_WAITED,
		.body = &r->iov,
		.body_count = 1,
		.room = ANSWER_MAX,
		.deadline_ms = left_ms,
		.prepare = prepare,
		.judge = judge,
		.lost = lost,
		.done = done,
		.arg = r,
	};
	http_submit(r->etcd->engine, &r->request);
}

/* ---- rounds ---- */

static void look(struct rounds *r)
{
	send_body(r, etcd_range_body(r->key), false);
}

static void look_at_guard(struct rounds *r)
{
	r->guarding = true;
	send_body(r, etcd_range_body(r->guard), false);
}

/* With what is there (call->found, r->revision). */
static void decide(struct rounds *r)
{
	struct agreement_call *call = r->call;
	struct error err = { 0 };
	int status;

	r->step = agreement_decide(call, &status, &err);
	if (r->step == AGREEMENT_ANSWER) {
		end(r, status, &err);
		return;
	}
	if (call->kind == AGREEMENT_NODE_REGISTER) {
		free(r->before);
		r->before = call->found ? malloc(call->found_length + 1) : NULL;
		if (call->found && !r->before) {
			end_without_memory(r);
			return;
		}
		if (call->found)
			memcpy(r->before, call->found, call->found_length);
		r->before_length = call->found_length;
		r->changing = true;
	}
	send_body(r,
	          etcd_txn_body(r->key, r->revision, r->step == AGREEMENT_PUT ? call->value : NULL, call->value_length,
	                        r->guard[0] ? &(struct etcd_guard){ r->guard, r->guard_revision } : NULL),
	          true);
}

static void etcd_start(struct agreement *a, struct agreement_call *call)
{
	struct etcd *e = (struct etcd *)a;
	struct rounds *r = calloc(1, sizeof *r);

	if (!r) {
		agreement_call_end(call, -ENOMEM, NULL);
		return;
	}
	r->etcd = e;
	r->call = call;
	r->end_ns = clock_monotonic_ns() + e->options.deadline_ms * MS;
	snprintf(r->key, sizeof r->key, "%s%s", e->prefix, call->key);
	if (call->kind == AGREEMENT_CLAIM || call->kind == AGREEMENT_RELEASE)
		snprintf(r->guard, sizeof r->guard, "%sreleases/%02x", e->prefix,
		         (unsigned)(crc32c(0, call->key, strlen(call->key)) & 0xff));
	if (call->kind == AGREEMENT_CLAIM)
		look_at_guard(r);
	else
		look(r);
}

/* ---- opening and closing ---- */

static void etcd_close(struct agreement *a)
{
	struct etcd *e = (struct etcd *)a;

	http_engine_free(e->engine);
	free(e);
}

static const struct agreement_ops etcd_ops = { .start = etcd_start, .close = etcd_close };

static int take_endpoint(struct etcd *e, const char *text, size_t length, const struct http_tls *tls, struct error *err)
{
	char *url = e->endpoint[e->count];

	while (length && text[length - 1] == '/')
		length--;
	if (!length || length >= ENDPOINT_MAX || e->count == AGREEMENT_ENDPOINTS_MAX)
		return error_set(err, -EINVAL,
		                 "the agreement has 1 to %d endpoints, written like https://h1:2379,https://h2:2379",
		                 AGREEMENT_ENDPOINTS_MAX);
	memcpy(url, text, length);
	url[length] = '\0';
	e->count++;
	return http_url_allowed(url, tls, err);
}

static int take_options(struct etcd *e, const struct agreement_etcd_options *options, struct error *err)
{
	const char *text = options->endpoints;
	size_t id = strspn(options->cluster_id, "0123456789abcdef");
	int rc = 0;

	if (id != 32 || options->cluster_id[id])
		return error_set(err, -EINVAL, "a cluster's id has 32 hexadecimal digits");
	snprintf(e->prefix, sizeof e->prefix, "/garnerfs/%s/", options->cluster_id);
	e->options = *options;
	e->options.deadline_ms = options->deadline_ms ? options->deadline_ms : DEADLINE_MS;
	e->options.try_ms = options->try_ms ? options->try_ms : TRY_MS;
	for (bool more = true; more && !rc;) {
		size_t length = strcspn(text, ",");

		rc = take_endpoint(e, text, length, &options->tls, err);
		more = text[length];
		text += length + more;
	}
	return rc;
}

int agreement_open_etcd(const struct agreement_etcd_options *options, struct agreement **agreement, struct error *err)
{
	struct etcd *e = calloc(1, sizeof *e);
	struct http_options http = { .tls = options->tls };
	int rc;

	*agreement = NULL;
	if (!e)
		return error_set(err, -ENOMEM, "out of memory");
	e->agreement.ops = &etcd_ops;
	rc = take_options(e, options, err);
	http.deadline_ms = e->options.deadline_ms;
	if (!rc) {
		e->engine = http_engine_new(&http, err);
		rc = e->engine ? 0 : -EAGAIN;
	}
	/* The engine has copies. */
	e->options.tls = (struct http_tls){ 0 };
	e->options.endpoints = e->options.cluster_id = NULL;
	if (rc) {
		free(e);
		return rc;
	}
	*agreement = &e->agreement;
	return 0;
}
