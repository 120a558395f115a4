/* SPDX-License-Identifier: GPL-3.0-only */
/* peer_connection.c: a connection to another node: connecting, one request at a time, and whether its answer can be believed. */
#include "node/peer_private.h"

#include "base/blake2bp.h"
#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_ROOM ((size_t)16 * 1024)
#define BODY_ROOM ((size_t)256 * 1024)
#define LEARNT_MAX ((size_t)4096)  /* bytes of the body of an answer with a challenge */
#define TURN ((size_t)1024 * 1024) /* bytes read before others have their turn */

static void send_request(struct peer_connection *c);

/* ---- whose turn it is ---- */

static unsigned stall_span(const struct peer_connection *c)
{
	if (c->state != PEER_ASKS)
		return c->state == PEER_IDLES ? c->peer->options.idle_ms : c->peer->options.connect_ms;
	return c->request->stall_ms ? c->request->stall_ms : c->peer->options.stall_ms;
}

/* Whether the node has something to do: to take bytes, or to answer. Otherwise we wait for more of the body ourselves. */
static bool is_its_turn(const struct peer_connection *c)
{
	return c->state != PEER_ASKS || evbuffer_get_length(channel_output(c->channel)) || !c->head_sent ||
	       c->request->given == c->request->length;
}

static void note_progress(struct peer_connection *c)
{
	c->progress_ms = loop_now_ms();
}

/* The timer is set once for a state, and looks itself how long ago the last progress was. */
static void enter(struct peer_connection *c, enum peer_connection_state state)
{
	c->state = state;
	note_progress(c);
	loop_timer_set(&c->timer, stall_span(c));
}

/* ---- failures ---- */

/* The connection cannot be used any more; what becomes of its request depends on how far that was. */
static void fail(struct peer_connection *c, int rc, const char *why)
{
	struct peer *p = c->peer;
	struct peer_request *r = c->request;
	/* The node may close a connection that was not used for long just as we use it again: no sign of anything. */
	bool stale = c->used && !c->answered && c->state == PEER_ASKS && rc != -ETIMEDOUT;
	/* Or it has waited long enough for the rest of a body that a client of ours does not send. */
	bool ours = rc != -ETIMEDOUT && !is_its_turn(c);
	bool again = stale && r && !r->length && !r->again;
	struct error err = { 0 };

	/* `why` may be the channel's. */
	(void)error_set(&err, rc, "node %s (%s): %s", p->name, p->host_text, why);
	peer_connection_free(c);
	if (!r)
		return;
	if (again) {
		peer_request_again(r);
		return;
	}
	peer_request_end(r, rc, NULL, &err, !stale && !ours && rc != -EMSGSIZE && rc != -ENOMEM && rc != -ESTALE);
	if (stale || ours)
		peer_ping_now(p);
}

static void timer(void *arg)
{
	struct peer_connection *c = arg;
	uint64_t span = stall_span(c), past;
	char why[96];

	if (!is_its_turn(c))
		note_progress(c);
	past = loop_now_ms() - c->progress_ms;
	if (past < span) {
		loop_timer_set(&c->timer, span - past);
		return;
	}
	if (c->state == PEER_IDLES) {
		peer_connection_free(c);
		return;
	}
	if (c->state == PEER_CONNECTS)
		c->peer->next_address++;
	(void)snprintf(why, sizeof why, "no %s for %" PRIu64 " ms", c->state == PEER_ASKS ? "progress" : "connection",
	               span);
	fail(c, -ETIMEDOUT, why);
}

/* ---- answers ---- */

/* Whether the body is the one that was signed, as far as X-Garner-Body says. */
static int check_body(struct peer_connection *c, const char **why)
{
	const char *text = message_header(c->head, "X-Garner-Body");
	size_t length = evbuffer_get_length(c->body);
	uint8_t expected[32], digest[32];
	int parts;

	if (!length || (!text && c->head->status == 200 && message_header(c->head, "X-Garner-Digest")))
		return 0;
	*why = "the answer's body is not covered by its signature";
	if (!text || node_digest_parse(text, expected) < 0)
		return -EACCES;
	parts = evbuffer_peek(c->body, -1, NULL, NULL, 0);
	struct evbuffer_iovec *part = calloc((size_t)parts, sizeof *part);
	*why = "no memory for an answer";
	if (!part)
		return -ENOMEM;
	struct blake2bp state;
	blake2bp_init(&state);
	parts = evbuffer_peek(c->body, -1, NULL, part, parts);
	for (int i = 0; i < parts; i++)
		blake2bp_update(&state, part[i].iov_base, part[i].iov_len);
	blake2bp_final(&state, digest, sizeof digest);
	free(part);
	*why = "the answer's body is not the one that was signed";
	return sodium_memcmp(digest, expected, sizeof digest) == 0 ? 0 : -EACCES;
}

/* Whether the answer is of somebody with the key, and to this request. */
static int check_answer(struct peer_connection *c, struct error *err)
{
	struct node_auth_answer answer = { .status = c->head->status,
		                           .headers = c->head->headers,
		                           .count = c->head->headers_count,
		                           .length = c->head->length };
	const char *why;
	int rc = node_answer_verify(&c->peer->options.key, c->nonce, &answer, err);

	if (rc == 0) {
		rc = check_body(c, &why);
		if (rc < 0)
			return error_set(err, rc, "%s", why);
	}
	return rc;
}

/* The node has another session than we thought: true when it is known now. */
static bool learn(struct peer_connection *c)
{
	struct peer *p = c->peer;
	const char *challenge = c->head->status == 401 ? message_header(c->head, "X-Garner-Challenge") : NULL;

	return challenge && node_challenge_learn(&p->options.key, challenge, c->nonce, loop_now_ms(), &p->session) == 0;
}

static bool wants_no_body(const struct peer_connection *c)
{
	return c->head->status == 204 || c->head->status == 304 ||
	       (!c->learning && strcmp(c->request->method, "HEAD") == 0);
}

static void drop_answer(struct peer_connection *c)
{
	message_head_init(c->head, MESSAGE_ANSWER);
	(void)evbuffer_drain(c->body, evbuffer_get_length(c->body));
	c->answered = false;
}

/* The session was learnt. Asks (again), over the same connection if it can be used. */
static void go_on_with_session(struct peer_connection *c, bool keep)
{
	struct peer_request *r = c->request;
	bool was_learning = c->learning;

	if (!was_learning)
		c->peer->stats.session_changes++;
	if (!was_learning && (r->length || r->again)) {
		struct error err = { 0 };

		(void)error_set(&err, -ESTALE, "node %s (%s) has started again: its session changed", c->peer->name,
		                c->peer->host_text);
		peer_connection_free(c);
		peer_request_end(r, -ESTALE, NULL, &err, false);
		return;
	}
	r->again = r->again || !was_learning;
	if (!keep) {
		peer_connection_free(c);
		peer_request_again(r);
		return;
	}
	c->learning = false;
	c->used = true;
	drop_answer(c);
	send_request(c);
}

static void take_answer(struct peer_connection *c)
{
	struct peer *p = c->peer;
	struct peer_request *r = c->request;
	struct peer_answer answer = { .status = c->head->status, .head = c->head, .body = c->body };
	bool whole = r->given == r->length && c->head_sent && !evbuffer_get_length(channel_output(c->channel));
	bool keep = !c->head->close && (whole || c->learning);
	struct error err = { 0 };
	int rc = check_answer(c, &err);

	if (rc < 0) {
		fail(c, rc, error_text(&err));
		return;
	}
	if (learn(c)) {
		go_on_with_session(c, keep);
		return;
	}
	if (c->learning) {
		char why[64];
		(void)snprintf(why, sizeof why, "answered %d when asked for its session", c->head->status);
		fail(c, -EPROTO, why);
		return;
	}
	if (c->for_pings) {
		uint64_t us = (clock_monotonic_ns() - c->asked_ns) / 1000;
		uint64_t old = p->stats.round_trip_us;
		p->stats.round_trip_us = old ? (7 * old + us) / 8 : us;
	}
	/* The request first: what it leads to cannot touch this connection, which has no request any more. */
	c->request = NULL;
	r->connection = NULL;
	c->used = true;
	enter(c, PEER_IDLES);
	channel_want_read(c->channel, keep);
	peer_request_end(r, 0, &answer, NULL, false);
	if (!keep) {
		peer_connection_free(c);
		return;
	}
	drop_answer(c);
	peer_kick(p);
}

/* ---- reading ---- */

/* What came is put where it belongs. 1: the answer is whole; 0: more is needed; or -errno with `err`. */
static int feed(struct peer_connection *c, const uint8_t *bytes, size_t length, struct error *err)
{
	size_t most = c->learning ? LEARNT_MAX : c->request->answer_max;

	while (!c->head->complete) {
		ssize_t n = message_head_feed(c->head, bytes, length, err);

		if (n < 0)
			return -EPROTO;
		bytes += n;
		length -= (size_t)n;
		if (!c->head->complete)
			return 0;
		if (c->head->status < 200) /* "Continue" */
			message_head_init(c->head, MESSAGE_ANSWER);
		else if (!wants_no_body(c) && c->head->length > most)
			return error_set(err, -EMSGSIZE, "the answer (status %d) is %" PRIu64 " bytes long: too much",
			                 c->head->status, c->head->length);
	}
	uint64_t wanted = wants_no_body(c) ? 0 : c->head->length - evbuffer_get_length(c->body);
	if (length > wanted)
		return error_set(err, -EPROTO, "more came than the answer");
	if (length && evbuffer_add(c->body, bytes, length) < 0)
		return error_set(err, -ENOMEM, "no memory for an answer");
	return wants_no_body(c) || evbuffer_get_length(c->body) == c->head->length;
}

/* Nothing was asked, and still something came: the end, in nearly all cases. */
static void idle_readable(struct peer_connection *c)
{
	uint8_t byte;
	ssize_t n = channel_read(c->channel, &byte, 1);

	if (n != -EAGAIN)
		peer_connection_free(c);
}

/* Bytes of the body that are still to come, once the head is there. */
static uint64_t body_left(const struct peer_connection *c)
{
	return c->head->complete && !wants_no_body(c) ? c->head->length - evbuffer_get_length(c->body) : 0;
}

/* Straight into the buffer in which they stay. */
static ssize_t read_body(struct peer_connection *c)
{
	uint64_t left = body_left(c);
	struct evbuffer_iovec room;
	ssize_t n;

	if (evbuffer_reserve_space(c->body, left < BODY_ROOM ? (ev_ssize_t)left : (ev_ssize_t)BODY_ROOM, &room, 1) != 1)
		return -ENOMEM;
	if (room.iov_len > left)
		room.iov_len = (size_t)left;
	n = channel_read(c->channel, room.iov_base, room.iov_len);
	room.iov_len = n > 0 ? (size_t)n : 0;
	if (evbuffer_commit_space(c->body, &room, 1) < 0)
		return -ENOMEM;
	return n;
}

/* What there is to read, up to 16 KiB of a head and what follows it. As channel_read(), or -EPROTO and so on with `err`; *whole: that
 * was all of the answer. */
static ssize_t read_some(struct peer_connection *c, bool *whole, struct error *err)
{
	uint8_t bytes[HEAD_ROOM];
	ssize_t n;
	int rc;

	if (body_left(c)) {
		n = read_body(c);
		*whole = n > 0 && !body_left(c);
		return n;
	}
	n = channel_read(c->channel, bytes, sizeof bytes);
	if (n <= 0)
		return n;
	c->answered = true;
	rc = feed(c, bytes, (size_t)n, err);
	*whole = rc > 0;
	return rc < 0 ? rc : n;
}

static void on_readable(void *arg)
{
	struct peer_connection *c = arg;
	struct error err = { 0 };
	bool whole = false;

	if (c->state != PEER_ASKS) {
		idle_readable(c);
		return;
	}
	for (size_t turn = 0; !whole && turn < TURN;) {
		ssize_t n = read_some(c, &whole, &err);

		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			fail(c, n ? (int)n : -ECONNRESET,
			     err.code ? error_text(&err)
			     : n      ? strerror((int)-n)
			              : "it closed the connection");
			return;
		}
		note_progress(c);
		turn += (size_t)n;
	}
	if (whole)
		take_answer(c);
	else
		channel_again(c->channel);
}

static void on_sent(void *arg)
{
	note_progress(arg);
}

/* ---- asking ---- */

static int write_head(struct peer_connection *c, const char *method, const char *target,
                      const struct node_header *headers, size_t count, uint64_t length, bool with_length)
{
	const struct peer *p = c->peer;
	static const struct node_session none;
	struct node_auth_request request = {
		.method = method, .target = target, .headers = headers, .count = count, .length = length
	};
	struct message_writer w;
	char authorization[NODE_AUTHORIZATION_TEXT];
	int rc = node_auth_sign(&p->options.key, &request, c->learning ? &none : &p->session, loop_now_ms(), c->nonce,
	                        authorization);

	if (rc < 0)
		return rc;
	message_write_request(&w, method, target, p->host_text);
	message_write_header(&w, "Authorization", authorization);
	for (size_t i = 0; i < count; i++)
		message_write_header(&w, headers[i].name, headers[i].value);
	if (with_length)
		message_write_number(&w, "Content-Length", length);
	rc = message_write_end(&w);
	if (rc == 0 && evbuffer_add(channel_output(c->channel), w.text, w.used) < 0)
		rc = -ENOMEM;
	return rc;
}

static bool has_length(const struct peer_request *r)
{
	return r->length || strcmp(r->method, "PUT") == 0 || strcmp(r->method, "POST") == 0;
}

/* The request; or the question for the session, when the request has a body that would be sent for nothing. Is called from events only, so
 * that it may fail at once. */
static void send_request(struct peer_connection *c)
{
	struct peer_request *r = c->request;
	int rc;

	c->learning = r->length && !node_session_known(&c->peer->session);
	c->head_sent = !c->learning;
	c->asked_ns = clock_monotonic_ns();
	if (c->learning)
		rc = write_head(c, "GET", "/v1/health", NULL, 0, 0, false);
	else
		rc = write_head(c, r->method, r->target, r->headers, r->headers_count, r->length, has_length(r));
	if (rc == 0 && !c->learning && evbuffer_add_buffer(channel_output(c->channel), r->body) < 0)
		rc = -ENOMEM;
	if (rc < 0) {
		fail(c, -ENOMEM, "no memory for a request");
		return;
	}
	enter(c, PEER_ASKS);
	channel_flush(c->channel);
}

void peer_connection_ask(struct peer_connection *c, struct peer_request *r)
{
	c->request = r;
	r->connection = c;
	if (c->state == PEER_IDLES)
		send_request(c);
}

int peer_connection_send(struct peer_connection *c, struct piece *piece)
{
	struct evbuffer *output;
	uint64_t sent;
	int rc;

	if (!c->head_sent)
		return piece_add_to(piece, c->request->body);
	output = channel_output(c->channel);
	/* Until now it was our turn. */
	if (!evbuffer_get_length(output))
		note_progress(c);
	rc = piece_add_to(piece, output);
	sent = channel_bytes_out(c->channel);
	channel_flush(c->channel);
	if (channel_bytes_out(c->channel) != sent)
		note_progress(c);
	return rc;
}

uint64_t peer_connection_backlog(const struct peer_connection *c)
{
	return (c->head_sent ? evbuffer_get_length(channel_output(c->channel)) : 0) +
	       evbuffer_get_length(c->request->body);
}

/* ---- connecting ---- */

static void on_ready(void *arg)
{
	struct peer_connection *c = arg;

	enter(c, PEER_IDLES);
	if (c->request)
		send_request(c);
	else
		peer_kick(c->peer);
}

static void connect_to_next(struct peer_connection *c);

static void on_failed(void *arg, int rc, const char *why)
{
	struct peer_connection *c = arg;
	struct peer *p = c->peer;

	if (c->state == PEER_CONNECTS) {
		p->next_address++;
		if (c->tried < p->addresses_count) {
			channel_free(c->channel);
			c->channel = NULL;
			connect_to_next(c);
			return;
		}
	}
	if (c->state == PEER_IDLES)
		peer_connection_free(c);
	else
		fail(c, rc, why);
}

/* To the address that was good for the last connection, and then to each of the others. */
static void connect_to_next(struct peer_connection *c)
{
	struct channel_handler handler = {
		.on_ready = on_ready, .on_readable = on_readable, .on_sent = on_sent, .on_failed = on_failed, .arg = c
	};
	struct peer *p = c->peer;
	int rc = -EHOSTUNREACH;

	while (c->tried < p->addresses_count) {
		const struct peer_address *a = &p->addresses[p->next_address % p->addresses_count];

		c->tried++;
		rc = channel_connect(p->loop, (const struct sockaddr *)&a->address, a->length, p->options.tls,
		                     p->tls_name, &handler, &c->channel);
		if (rc == 0) {
			c->state = PEER_CONNECTS;
			return;
		}
		p->next_address++;
	}
	fail(c, rc, strerror(-rc));
}

void peer_connection_resolved(struct peer_connection *c, int rc, const struct error *err)
{
	if (rc < 0)
		fail(c, rc, error_text(err));
	else
		connect_to_next(c);
}

int peer_connection_new(struct peer *p, struct peer_request *r)
{
	struct peer_connection *c = calloc(1, sizeof *c);
	int rc;

	if (!c || !(c->head = malloc(sizeof *c->head)) || !(c->body = evbuffer_new())) {
		if (c)
			free(c->head);
		free(c);
		return -ENOMEM;
	}
	message_head_init(c->head, MESSAGE_ANSWER);
	c->peer = p;
	c->for_pings = r->is_ping;
	c->request = r;
	r->connection = c;
	loop_timer_init(&c->timer, p->loop, timer, c);
	TAILQ_INSERT_TAIL(&p->connections, c, link);
	if (c->for_pings)
		p->ping_connection = c;
	else
		p->connections_count++;
	enter(c, PEER_RESOLVES);
	rc = peer_resolve(p);
	if (rc <= 0) {
		struct error err = { 0 };

		(void)error_set(&err, rc, "%s", strerror(-rc));
		peer_connection_resolved(c, rc, &err);
	}
	return 0;
}

void peer_connection_free(struct peer_connection *c)
{
	struct peer *p = c->peer;

	if (c->request)
		c->request->connection = NULL;
	if (c->channel) {
		p->stats.bytes_in += channel_bytes_in(c->channel);
		p->stats.bytes_out += channel_bytes_out(c->channel);
	}
	loop_timer_cancel(&c->timer);
	channel_free(c->channel);
	evbuffer_free(c->body);
	free(c->head);
	TAILQ_REMOVE(&p->connections, c, link);
	if (c->for_pings)
		p->ping_connection = NULL;
	else
		p->connections_count--;
	free(c);
	peer_kick(p);
}
