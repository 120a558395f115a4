/* SPDX-License-Identifier: GPL-3.0-only */
/* connection.c: a connection of the server's: whose turn it is, reading, deadlines.
 *
 * Everything is done by work(), which takes one step after the other until it has to wait for bytes, for the handler or for the
 * client to read. Only work() and timers close a connection, and nothing looks at it after that.
 */
#include "node/server_private.h"

#include "node/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURN ((size_t)1024 * 1024) /* bytes read before the others have their turn */
#define PIECE_WAIT_MS 100          /* for more bytes of a piece */

enum step { STEP_ON, STEP_WAIT, STEP_CLOSE };

static void work(struct connection *c);

/* ---- deadlines ---- */

static enum deadline which_deadline(const struct connection *c)
{
	const struct server_request *r = c->request;

	if (!c->ready)
		return DEADLINE_READY;
	if (c->lingering)
		return DEADLINE_LINGER;
	if (!r)
		return DEADLINE_IDLE;
	if (r->answered)
		return DEADLINE_ANSWER;
	if (r->phase == REQUEST_HEAD)
		return DEADLINE_HEAD;
	return r->phase == REQUEST_BODY && !r->paused ? DEADLINE_BODY : DEADLINE_NONE;
}

static uint64_t deadline_span(const struct connection *c)
{
	const struct server_limits *l = &c->server->options.limits;

	switch (c->deadline) {
	case DEADLINE_READY:
	case DEADLINE_HEAD:
		return l->head_ms;
	case DEADLINE_IDLE:
		return l->idle_ms;
	case DEADLINE_LINGER:
		return l->linger_ms;
	default:
		return l->progress_ms;
	}
}

/* The bytes that count as progress. */
static uint64_t moved(const struct connection *c)
{
	return c->deadline == DEADLINE_BODY ? channel_bytes_in(c->channel)
	                                    : channel_bytes_out(c->channel) + channel_bytes_in(c->channel);
}

static void begin_deadline(struct connection *c)
{
	uint64_t now = loop_now_ms();

	c->deadline_ms = now + deadline_span(c);
	c->window_bytes = moved(c);
	/* A timer that runs sooner sets itself again. */
	if (!c->timer_ms || c->timer_ms > c->deadline_ms) {
		c->timer_ms = c->deadline_ms;
		loop_timer_set(&c->timer, c->deadline_ms - now);
	}
}

static void update_deadline(struct connection *c)
{
	enum deadline which = which_deadline(c);

	if (which == c->deadline && c->requests == c->deadline_request)
		return;
	c->deadline = which;
	c->deadline_request = c->requests;
	if (which != DEADLINE_NONE)
		begin_deadline(c);
}

static void too_slow(struct connection *c)
{
	static const char *const what[] = { [DEADLINE_READY] = "the TLS handshake was not finished in time",
		                            [DEADLINE_HEAD] = "a request's head was not finished in time",
		                            [DEADLINE_BODY] = "a request's body came too slowly, or not at all",
		                            [DEADLINE_ANSWER] = "an answer was read too slowly, or not at all" };

	if (what[c->deadline]) {
		c->server->stats.refused_slow++;
		server_refused(c->server, REFUSED_SLOW, c->peer, what[c->deadline]);
	}
}

static void timer(void *arg)
{
	struct connection *c = arg;
	uint64_t now = loop_now_ms();

	c->timer_ms = 0;
	if (c->deadline == DEADLINE_NONE)
		return;
	if (now < c->deadline_ms) {
		c->timer_ms = c->deadline_ms;
		loop_timer_set(&c->timer, c->deadline_ms - now);
		return;
	}
	if ((c->deadline == DEADLINE_BODY || c->deadline == DEADLINE_ANSWER) &&
	    moved(c) - c->window_bytes >= c->server->options.limits.progress_bytes) {
		begin_deadline(c);
		return;
	}
	if (c->deadline != DEADLINE_IDLE && c->deadline != DEADLINE_LINGER)
		too_slow(c);
	connection_close(c);
}

/* ---- reading ---- */

/* Reads into `bytes`: how many, 0 at the end, or -errno. */
static ssize_t take(struct connection *c, void *bytes, size_t room)
{
	size_t have = c->input_to - c->input_from;
	ssize_t n;

	if (have) {
		n = (ssize_t)(have < room ? have : room);
		memcpy(bytes, c->input + c->input_from, (size_t)n);
		c->input_from += (size_t)n;
		return n;
	}
	if (c->dry)
		return -EAGAIN;
	n = channel_read(c->channel, bytes, room);
	/* A short read has emptied the socket: it says itself when there is more. */
	c->dry = n == -EAGAIN || (n > 0 && (size_t)n < room);
	return n;
}

/* Adds to the input: how many bytes, 0 at the end, or -errno; -ENOBUFS when it is full. */
static ssize_t fill_input(struct connection *c)
{
	ssize_t n;

	if (!c->input && !(c->input = malloc(INPUT_ROOM)))
		return -ENOMEM;
	if (c->input_from == c->input_to)
		c->input_from = c->input_to = 0;
	if (c->input_to == INPUT_ROOM)
		return -ENOBUFS;
	if (c->dry)
		return -EAGAIN;
	n = channel_read(c->channel, c->input + c->input_to, INPUT_ROOM - c->input_to);
	c->dry = n == -EAGAIN || (n > 0 && (size_t)n < INPUT_ROOM - c->input_to);
	if (n > 0)
		c->input_to += (size_t)n;
	return n;
}

static enum step step_of(ssize_t n)
{
	if (n == -EAGAIN)
		return STEP_WAIT;
	return n > 0 ? STEP_ON : STEP_CLOSE;
}

static void set_idle(struct connection *c, bool idle)
{
	if (idle == c->idle)
		return;
	c->idle = idle;
	if (idle)
		TAILQ_INSERT_TAIL(&c->server->idle, c, idle_link);
	else
		TAILQ_REMOVE(&c->server->idle, c, idle_link);
}

/* ---- steps ---- */

static void refuse_head(struct connection *c, const struct error *err)
{
	struct server_request *r = c->request;

	c->server->stats.refused_malformed++;
	server_refused(c->server, REFUSED_MALFORMED, c->peer, error_text(err));
	/* What can be said of it must be there. */
	r->head.method = "";
	r->head.path = "";
	r->phase = REQUEST_WHOLE;
	c->closing = true;
	request_refuse(r, r->head.refusal, NULL, error_text(err));
}

static enum step read_head(struct connection *c)
{
	struct error err = { 0 };
	ssize_t n;

	if (c->input_from == c->input_to) {
		n = fill_input(c);
		if (n <= 0)
			return step_of(n);
	}
	if (!c->request) {
		c->request = request_new(c);
		if (!c->request)
			return STEP_CLOSE;
		c->requests++;
		set_idle(c, false);
	}
	n = message_head_feed(&c->request->head, c->input + c->input_from, c->input_to - c->input_from, &err);
	if (n < 0) {
		refuse_head(c, &err);
		return STEP_ON;
	}
	c->input_from += (size_t)n;
	if (c->request->head.complete)
		request_begin(c->request);
	if (c->request->continued)
		channel_flush(c->channel);
	return STEP_ON;
}

static enum step read_body(struct connection *c)
{
	struct server_request *r = c->request;
	size_t room;
	uint8_t *bytes;
	ssize_t n;

	if (r->paused) {
		channel_want_read(c->channel, false);
		return STEP_WAIT;
	}
	bytes = request_room(r, &room);
	if (!bytes)
		return STEP_CLOSE;
	n = take(c, bytes, room);
	if (n > 0) {
		request_fill(r, (size_t)n);
	} else if (n == -EAGAIN && room < piece_length(r->piece) + room && !loop_timer_is_set(&c->piece_timer)) {
		loop_timer_set(&c->piece_timer, PIECE_WAIT_MS);
	}
	return step_of(n);
}

/* The rest of a body that was refused: up to its end when the connection is to be kept, and whatever comes otherwise. */
static enum step discard(struct connection *c)
{
	struct server_request *r = c->request;
	uint8_t bytes[INPUT_ROOM];
	size_t room = sizeof bytes;
	ssize_t n;

	if (r && !c->closing && r->body_left < room)
		room = (size_t)r->body_left;
	n = take(c, bytes, room);
	if (n > 0 && r && (r->body_left -= (uint64_t)n < r->body_left ? (uint64_t)n : r->body_left) == 0)
		r->phase = REQUEST_WHOLE;
	return step_of(n);
}

/* While the handler has its turn: to see whether the client is still there; what it sends is kept for later. */
static enum step read_ahead(struct connection *c)
{
	ssize_t n = fill_input(c);

	/* Who has said all and waits for the answer that is on its way may have it. */
	if (n == -ENOBUFS || (n == 0 && c->request->answered)) {
		c->closing = c->closing || n == 0;
		channel_want_read(c->channel, false);
		return STEP_WAIT;
	}
	return step_of(n);
}

/* Sends what can be sent of the answer: true when the request is over. Only here, as nobody says when the rest was sent at once. */
static bool look_at_answer(struct connection *c)
{
	size_t left;

	channel_flush(c->channel);
	left = evbuffer_get_length(channel_output(c->channel));
	if (left < c->answer_left) {
		c->server->stats.answer_bytes -= c->answer_left - left;
		c->answer_left = left;
	}
	return !left && (c->closing || c->request->phase == REQUEST_WHOLE);
}

static void end_request(struct connection *c)
{
	request_free(c->request);
	c->request = NULL;
	loop_timer_cancel(&c->piece_timer);
	channel_want_read(c->channel, true);
	if (c->closing) {
		c->lingering = true;
		channel_shutdown(c->channel);
		return;
	}
	if (c->input_from == c->input_to) {
		free(c->input);
		c->input = NULL;
		c->input_from = c->input_to = 0;
		set_idle(c, true);
	}
}

static enum step step(struct connection *c)
{
	struct server_request *r = c->request;

	if (c->lingering)
		return discard(c);
	if (r && r->answered && look_at_answer(c)) {
		end_request(c);
		return STEP_ON;
	}
	if (!r && c->server->draining && c->input_from == c->input_to)
		return STEP_CLOSE;
	if (!r || r->phase == REQUEST_HEAD)
		return read_head(c);
	if (r->answered && (r->phase == REQUEST_BODY || c->closing))
		return discard(c);
	return r->phase == REQUEST_BODY ? read_body(c) : read_ahead(c);
}

static void work(struct connection *c)
{
	uint64_t start = channel_bytes_in(c->channel);
	enum step s;

	if (c->working)
		return;
	c->working = true;
	do
		s = step(c);
	while (s == STEP_ON && channel_bytes_in(c->channel) - start < TURN);
	c->working = false;
	if (s == STEP_CLOSE) {
		connection_close(c);
		return;
	}
	if (s == STEP_ON)
		channel_again(c->channel);
	update_deadline(c);
}

/* ---- what happens ---- */

static void on_ready(void *arg)
{
	struct connection *c = arg;

	c->ready = true;
	c->dry = true;
	set_idle(c, true);
	work(c); /* which ends it if the server is to end */
}

static void on_readable(void *arg)
{
	struct connection *c = arg;

	c->dry = false;
	work(c);
}

static void on_sent(void *arg)
{
	work(arg);
}

static void on_failed(void *arg, int rc, const char *why)
{
	struct connection *c = arg;

	(void)rc;
	if (!c->ready)
		server_refused(c->server, REFUSED_TLS, c->peer, why);
	connection_close(c);
}

static void advance(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	work(arg);
}

static void piece_timer(void *arg)
{
	struct connection *c = arg;

	if (!c->request || c->request->phase != REQUEST_BODY || c->request->paused)
		return;
	c->working = true;
	request_hand_over(c->request);
	c->working = false;
	work(c);
}

void connection_answered(struct connection *c)
{
	if (c->request->paused)
		channel_want_read(c->channel, true);
	if (!c->working)
		event_active(&c->advance, EV_TIMEOUT, 0);
}

void connection_resume(struct connection *c)
{
	channel_want_read(c->channel, true);
	if (!c->working)
		event_active(&c->advance, EV_TIMEOUT, 0);
}

/* ---- beginning and end ---- */

void connection_new(struct server *s, int fd, const char *peer, bool loopback)
{
	struct connection *c = calloc(1, sizeof *c);
	struct channel_handler handler = {
		.on_ready = on_ready, .on_readable = on_readable, .on_sent = on_sent, .on_failed = on_failed, .arg = c
	};

	if (!c) {
		evutil_closesocket(fd);
		return;
	}
	c->server = s;
	c->loopback = loopback;
	(void)snprintf(c->peer, sizeof c->peer, "%s", peer);
	c->channel = channel_accept(s->loop, fd, s->options.tls, &handler);
	if (!c->channel) {
		free(c);
		return;
	}
	loop_timer_init(&c->timer, s->loop, timer, c);
	loop_timer_init(&c->piece_timer, s->loop, piece_timer, c);
	event_assign(&c->advance, loop_base(s->loop), -1, 0, advance, c);
	TAILQ_INSERT_TAIL(&s->connections, c, link);
	s->connections_count++;
	update_deadline(c);
}

void connection_close(struct connection *c)
{
	struct server *s = c->server;

	if (c->request)
		request_abort(c->request);
	set_idle(c, false);
	s->stats.answer_bytes -= c->answer_left;
	s->stats.bytes_in += channel_bytes_in(c->channel);
	s->stats.bytes_out += channel_bytes_out(c->channel);
	loop_timer_cancel(&c->timer);
	loop_timer_cancel(&c->piece_timer);
	(void)event_del(&c->advance);
	request_free(c->request);
	channel_free(c->channel);
	free(c->input);
	TAILQ_REMOVE(&s->connections, c, link);
	s->connections_count--;
	free(c);
	server_connection_gone(s);
}
