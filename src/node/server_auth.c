/* SPDX-License-Identifier: GPL-3.0-only */
/* server_auth.c: who may ask, and proving who answers. */
#include "node/server_private.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

static bool is_open(const struct server_request *r)
{
	const struct server_options *o = &r->connection->server->options;

	if (strcmp(r->head.method, "GET") != 0 && strcmp(r->head.method, "HEAD") != 0)
		return false;
	for (size_t i = 0; i < o->open_paths_count; i++)
		if (strcmp(r->head.path, o->open_paths[i].path) == 0)
			return r->connection->loopback || !o->open_paths[i].loopback_only;
	return false;
}

static bool refuse_stranger(struct server_request *r, const char *why)
{
	struct server *s = r->connection->server;

	s->stats.refused_unauthenticated++;
	server_refused(s, REFUSED_UNAUTHENTICATED, r->connection->peer, why);
	server_answer_header(r, "WWW-Authenticate", "Garner");
	request_refuse(r, 401, NULL, why);
	return false;
}

/* Signed, but nothing that could be done. */
static bool refuse_malformed(struct server_request *r, const char *why)
{
	struct server *s = r->connection->server;

	s->stats.refused_malformed++;
	server_refused(s, REFUSED_MALFORMED, r->connection->peer, why);
	request_refuse(r, 400, NULL, why);
	return false;
}

/* The client has the key, but not our session, or not our time. */
static bool challenge(struct server_request *r, const struct node_credentials *credentials)
{
	struct server *s = r->connection->server;
	char text[NODE_CHALLENGE_TEXT];

	/* Not to know the session is how everybody begins. */
	if (sodium_memcmp(credentials->session, s->session.id, sizeof s->session.id) == 0)
		server_refused(s, REFUSED_UNAUTHENTICATED, r->connection->peer,
		               "the request's time is long past, or yet to come");
	node_challenge_make(&s->options.key, &s->session, loop_now_ms(), r->nonce, text);
	server_answer_header(r, "WWW-Authenticate", "Garner");
	server_answer_header(r, "X-Garner-Challenge", text);
	request_refuse(r, 401, "session", "another session or time: see X-Garner-Challenge");
	return false;
}

/* The nonce, once all else is right: nobody without the key can fill the table. */
static bool note_nonce(struct server_request *r)
{
	struct server *s = r->connection->server;

	switch (nonce_table_add(s->nonces, r->nonce, loop_now_ms())) {
	case NONCE_FRESH:
		return true;
	case NONCE_REPLAYED:
		s->stats.refused_replayed++;
		server_refused(s, REFUSED_REPLAYED, r->connection->peer, r->head.path);
		server_answer_header(r, "WWW-Authenticate", "Garner");
		request_refuse(r, 401, "replayed", "this very request was received before");
		return false;
	default:
		s->stats.refused_overload++;
		server_refused(s, REFUSED_OVERLOAD, r->connection->peer, "too many requests a minute");
		request_refuse(r, 503, "nonces", "too many requests a minute");
		return false;
	}
}

bool request_authenticate(struct server_request *r)
{
	const struct server *s = r->connection->server;
	const struct message_head *h = &r->head;
	const char *authorization = message_header(h, "Authorization");
	const char *digest = message_header(h, "X-Garner-Digest");
	struct node_auth_request request = { .method = h->method,
		                             .target = h->target,
		                             .headers = h->headers,
		                             .count = h->headers_count,
		                             .length = h->length };
	struct node_credentials credentials;
	uint8_t bytes[32];

	if (!authorization && is_open(r) && !h->length)
		return true;
	if (!authorization)
		return refuse_stranger(r, "the request is not signed");
	if (node_auth_parse(authorization, &credentials) < 0)
		return refuse_stranger(r, "the Authorization is malformed");
	if (node_auth_verify(&s->options.key, &request, &credentials) < 0)
		return refuse_stranger(r, "the request is signed with another key, or was changed");
	memcpy(r->nonce, credentials.nonce, sizeof r->nonce);
	r->proven = true;
	if (h->length && !digest)
		return refuse_malformed(r, "a body without X-Garner-Digest");
	if (digest && node_digest_parse(digest, bytes) < 0)
		return refuse_malformed(r, "the X-Garner-Digest is malformed");
	if (!node_auth_current(&s->session, &credentials, loop_now_ms()))
		return challenge(r, &credentials);
	r->trusted = note_nonce(r);
	return r->trusted;
}

int request_sign_answer(struct server_request *r, int status, uint64_t length)
{
	struct node_auth_answer answer = {
		.status = status, .headers = r->headers, .count = r->headers_count, .length = length
	};
	char text[NODE_ANSWER_TEXT];
	int rc;

	if (!r->proven)
		return 0;
	rc = node_answer_sign(&r->connection->server->options.key, r->nonce, &answer, text);
	if (rc == 0)
		server_answer_header(r, "X-Garner-Answer", text);
	return rc;
}
