/* SPDX-License-Identifier: GPL-3.0-only */
/* node_head.c: signs requests, and believes answers only with a proof. */
#include "store/node_head.h"

#include "base/blake2bp.h"
#include "base/bytes.h"
#include "base/clock.h"

#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define ANSWER_TEXT 4096 /* of the headers that are signed */

static const char *const methods[] = {
	[HTTP_GET] = "GET", [HTTP_HEAD] = "HEAD", [HTTP_PUT] = "PUT", [HTTP_POST] = "POST", [HTTP_DELETE] = "DELETE",
};

uint64_t node_head_now_ms(void)
{
	return clock_monotonic_ns() / 1000000;
}

void node_head_begin(struct node_head *h)
{
	h->count = 0;
	h->target[0] = '\0';
}

void node_head_header(struct node_head *h, const char *name, const char *format, ...)
{
	va_list arguments;

	if (h->count == NODE_HEAD_HEADERS)
		return; /* cannot be: there are as many as requests of ours have */
	va_start(arguments, format);
	vsnprintf(h->value[h->count], NODE_HEAD_LINE, format, arguments);
	va_end(arguments);
	h->header[h->count] = (struct node_header){ name, h->value[h->count] };
	h->count++;
}

int node_head_sign(const struct node_head *h, const struct http_request *r, struct http_head *head, bool tls,
                   const char *address, const struct node_key *key, const struct node_session *session,
                   uint8_t nonce[NODE_NONCE_BYTES], struct error *err)
{
	struct node_header headers[NODE_HEAD_HEADERS + 1];
	char url[NODE_TARGET_MAX + 300], line[NODE_AUTHORIZATION_TEXT + 32], range[80];
	struct node_auth_request request = {
		.method = methods[r->method],
		.target = h->target,
		.headers = headers,
		.count = h->count,
		.length = iovec_bytes(r->body, r->body_count),
	};
	char authorization[NODE_AUTHORIZATION_TEXT];
	int rc;

	memcpy(headers, h->header, h->count * sizeof headers[0]);
	if (r->range) { /* as the engine writes it */
		snprintf(range, sizeof range, "bytes=%llu-%llu", (unsigned long long)r->offset,
		         (unsigned long long)(r->offset + r->room - 1));
		headers[request.count++] = (struct node_header){ "Range", range };
	}
	rc = node_auth_sign(key, &request, session, node_head_now_ms(), nonce, authorization);
	if (rc)
		return error_set(err, rc, "a request cannot be signed");
	snprintf(url, sizeof url, "%s://%s%s", tls ? "https" : "http", address, h->target);
	http_head_direct(head);
	rc = http_head_url(head, url);
	for (size_t i = 0; i < h->count && !rc; i++) {
		snprintf(line, sizeof line, "%s: %s", h->header[i].name, h->header[i].value);
		rc = http_head_add(head, line);
	}
	snprintf(line, sizeof line, "Authorization: %s", authorization);
	if (!rc)
		rc = http_head_add(head, line);
	return rc ? error_set(err, rc, "out of memory for a request") : 0;
}

/* ---- answers ---- */

struct answer {
	struct node_header header[NODE_HEADERS_MAX];
	size_t count, used;
	char text[ANSWER_TEXT];
};

/* Copies what is signed: what curl shows does not last. */
static int keep(void *arg, const char *name, const char *value)
{
	struct answer *a = arg;
	size_t n = strlen(name) + 1, m = strlen(value) + 1;
	char *at = a->text + a->used;

	if (strncasecmp(name, "X-Garner-", 9) != 0)
		return 0;
	if (a->count == NODE_HEADERS_MAX || n + m > sizeof a->text - a->used)
		return -E2BIG;
	memcpy(at, name, n);
	memcpy(at + n, value, m);
	a->header[a->count++] = (struct node_header){ at, at + n };
	a->used += n + m;
	return 0;
}

/* Whether the body is the one that was signed: by X-Garner-Body, or of a whole object by X-Garner-Digest. */
static int check_body(const struct http_request *r, const struct answer *a, struct error *err)
{
	const char *text = node_header_find(a->header, a->count, "X-Garner-Body");
	uint8_t said[32], is[32];

	if (!text && r->status == 200)
		text = node_header_find(a->header, a->count, "X-Garner-Digest");
	if (!text && !r->length)
		return 0;
	if (!text || node_digest_parse(text, said))
		return error_set(err, -EACCES, "the node's answer does not prove its body");
	blake2bp(r->buf, r->length, is, sizeof is);
	if (sodium_memcmp(said, is, sizeof is) != 0)
		return error_set(err, -EBADMSG, "the node's answer arrived damaged");
	return 0;
}

enum node_proof node_head_check(const struct http_request *r, const struct node_key *key,
                                const uint8_t nonce[NODE_NONCE_BYTES], struct node_session *session, size_t body_max,
                                struct error *err)
{
	struct answer a = { .count = 0 };
	struct node_auth_answer answer = { .status = (int)r->status, .headers = a.header, .length = r->object_size };
	const char *challenge;

	if (http_answer_headers(r, keep, &a)) {
		error_set(err, -EACCES, "the node's answer has too many headers");
		return NODE_STRANGER;
	}
	answer.count = a.count;
	challenge = node_header_find(a.header, a.count, "X-Garner-Challenge");
	if (r->status == 401 && challenge &&
	    !node_challenge_learn(key, challenge, nonce, node_head_now_ms(), session)) {
		error_set(err, -EACCES, "the node does not take the request's session");
		return NODE_CHALLENGED;
	}
	if (r->status == 401 && !node_answer_verify(key, nonce, &answer, NULL)) {
		error_set(err, -EACCES, "the node had the request before");
		return NODE_REPLAYED;
	}
	if (r->status == 401) {
		error_set(err, -EACCES, "the node does not accept the cluster's key: is cluster.key the same there?");
		return NODE_STRANGER;
	}
	if (node_answer_verify(key, nonce, &answer, err))
		return NODE_STRANGER;
	/* A part that is all the room there was for is not the whole body. */
	if (r->method == HTTP_HEAD || r->status < 200 || r->status >= 300 || r->length > body_max ||
	    r->length != r->object_size)
		return NODE_PROVEN;
	return check_body(r, &a, err) ? NODE_STRANGER : NODE_PROVEN;
}
