/* SPDX-License-Identifier: GPL-3.0-only */
/* node_ask.c: asks nodes in turn. */
#include "store/node_ask.h"

#include "store/node_head.h"
#include "store/waiter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int prepare(struct http_request *r, struct http_head *head, struct error *err)
{
	struct node_ask *a = r->arg;
	struct node_head h;

	if (a->begun && !a->same) {
		a->from = (a->from + 1) % a->count;
		a->session = (struct node_session){ 0 };
	}
	if (!a->same)
		a->turns++;
	a->begun = true;
	a->same = false;
	node_head_begin(&h);
	if (snprintf(h.target, sizeof h.target, "%s", a->target) >= (int)sizeof h.target)
		return error_set(err, -EINVAL, "the request is too long");
	return node_head_sign(&h, r, head, a->tls, a->address[a->from], a->key, &a->session, a->nonce, err);
}

/* The next one at once, until each was asked. */
static enum http_verdict next(const struct node_ask *a)
{
	if (a->turns % a->count)
		return HTTP_JUDGE_AT_ONCE;
	return a->one_round ? HTTP_JUDGE_FAIL : HTTP_JUDGE_AGAIN;
}

static enum http_verdict lost(struct http_request *r, struct error *err)
{
	struct node_ask *a = r->arg;

	error_prefix(err, err->code, "%s", a->address[a->from]);
	return next(a);
}

/* The first line of what a node says, as text for people. */
static void fault(struct node_ask *a, struct error *err)
{
	const struct http_request *r = &a->request;
	char text[200];

	snprintf(text, sizeof text, "%.*s", (int)strcspn(r->fault, "\r\n"), r->fault);
	for (char *p = text; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
	error_set(err,
	          r->status == 403   ? -EACCES
	          : r->status == 404 ? -ENOENT
	                             : -EIO,
	          "%s: %s (status %ld)", a->address[a->from], text[0] ? text : "refused", r->status);
}

static enum http_verdict judge(struct http_request *r, struct error *err)
{
	struct node_ask *a = r->arg;

	switch (node_head_check(r, a->key, a->nonce, &a->session, SIZE_MAX, err)) {
	case NODE_CHALLENGED:
		a->same = true;
		return HTTP_JUDGE_AT_ONCE;
	case NODE_REPLAYED:
	case NODE_STRANGER:
		error_prefix(err, err->code, "%s", a->address[a->from]);
		return next(a);
	case NODE_PROVEN:
		break;
	}
	if (r->status == 200)
		return a->answered ? a->answered(a, err) : HTTP_JUDGE_DONE;
	fault(a, err);
	return r->status >= 500 || r->status == 429 ? next(a) : HTTP_JUDGE_FAIL;
}

static void done(struct http_request *r)
{
	struct node_ask *a = r->arg;

	a->result = r->result;
	a->err = r->err;
	a->length = r->length;
	a->body = NULL;
	if (!a->result) {
		a->body = malloc(r->length + 1);
		if (!a->body)
			a->result = error_set(&a->err, -ENOMEM, "out of memory for an answer");
	}
	if (a->body) {
		if (r->length)
			memcpy(a->body, r->buf, r->length);
		a->body[r->length] = '\0';
	}
	free(r->buf);
	r->buf = NULL;
	a->done(a);
}

void node_ask_submit(struct node_ask *a)
{
	a->from = 0;
	a->begun = a->same = false;
	a->turns = 0;
	a->session = (struct node_session){ 0 };
	a->request = (struct http_request){
		.method = a->method,
		.class = a->class,
		.room = a->room,
		.deadline_ms = a->deadline_ms,
		.try_ms = a->try_ms,
		.prepare = prepare,
		.judge = judge,
		.lost = lost,
		.done = done,
		.arg = a,
	};
	http_submit(a->engine, &a->request);
}

static void wake(struct node_ask *a)
{
	waiter_answer(a->arg, a->result, 0, &a->err);
}

int node_ask_wait(struct node_ask *a, struct error *err)
{
	struct waiter w = WAITER(err);

	a->done = wake;
	a->arg = &w;
	node_ask_submit(a);
	return waiter_wait(&w);
}
