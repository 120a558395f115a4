/* SPDX-License-Identifier: GPL-3.0-only */
/* request.c: a request of the server's, from its head to its answer, and what the handler may do with it. */
#include "node/server_private.h"

#include "base/blake2bp.h"
#include "base/report.h"

#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 1024 /* bytes of a line that is an answer */

/* ---- beginning and end ---- */

struct server_request *request_new(struct connection *c)
{
	struct server_request *r = malloc(sizeof *r);

	if (!r)
		return NULL;
	memset(r, 0, offsetof(struct server_request, head));
	r->connection = c;
	message_head_init(&r->head, MESSAGE_REQUEST);
	return r;
}

static void drop_headers(struct server_request *r)
{
	for (size_t i = 0; i < r->headers_count; i++)
		free((char *)(uintptr_t)r->headers[i].name);
	r->headers_count = 0;
}

/* What is left of the body will not become pieces. */
static void release_body(struct server_request *r)
{
	struct server *s = r->connection->server;

	piece_put(r->piece);
	r->piece = NULL;
	piece_budget_release(s->budget, r->reserved);
	r->reserved = 0;
}

void request_free(struct server_request *r)
{
	if (!r)
		return;
	release_body(r);
	drop_headers(r);
	free(r);
}

void request_abort(struct server_request *r)
{
	const struct server_handler *h = &r->connection->server->options.handler;

	if (r->seen && !r->answered) {
		r->answered = true;
		h->on_abort(h->arg, r);
	}
}

/* Whether the body may come: there is room for it. */
static bool admit(struct server_request *r)
{
	struct server *s = r->connection->server;

	if (r->head.length > s->options.limits.body_max) {
		s->stats.refused_malformed++;
		server_refused(s, REFUSED_MALFORMED, r->connection->peer, "the body is too long");
		request_refuse(r, 413, NULL, "the body is too long");
		return false;
	}
	if (!piece_budget_reserve(s->budget, r->head.length)) {
		server_answer_overloaded(r, "too many bodies are under way");
		return false;
	}
	r->reserved = r->head.length;
	return true;
}

void request_begin(struct server_request *r)
{
	struct connection *c = r->connection;
	struct server *s = c->server;
	const struct server_handler *h = &s->options.handler;

	s->stats.requests++;
	r->body_left = r->head.length;
	r->phase = r->body_left ? REQUEST_BODY : REQUEST_WHOLE;
	if (r->head.close)
		c->closing = true;
	if (!request_authenticate(r))
		return;
	if (s->draining) {
		c->closing = true;
		request_refuse(r, 503, "stopping", "the node is being stopped");
		return;
	}
	if (!admit(r))
		return;
	r->seen = true;
	h->on_head(h->arg, r);
	if (!r->answered && r->phase == REQUEST_WHOLE)
		h->on_end(h->arg, r);
	if (!r->answered && r->head.expect_continue) {
		evbuffer_add_printf(channel_output(c->channel), "HTTP/1.1 100 Continue\r\n\r\n");
		s->stats.answers[1]++;
		r->continued = true;
	}
}

/* ---- the body ---- */

uint8_t *request_room(struct server_request *r, size_t *room)
{
	if (!r->piece) {
		size_t n = r->body_left < PIECE_ROOM ? (size_t)r->body_left : PIECE_ROOM;

		*room = 0;
		r->piece = piece_new(n, r->connection->server->budget);
		if (!r->piece)
			return NULL;
		r->reserved -= n;
	}
	return piece_room(r->piece, room);
}

/* The bytes are the handler's, and count for as long as anybody holds them. */
void request_hand_over(struct server_request *r)
{
	const struct server_handler *h = &r->connection->server->options.handler;
	struct piece *p = r->piece;

	if (!p || r->answered)
		return;
	r->piece = NULL;
	r->reserved += piece_shrink(&p);
	if (piece_length(p))
		h->on_body(h->arg, r, p);
	else
		piece_put(p);
}

void request_fill(struct server_request *r, size_t n)
{
	const struct server_handler *h = &r->connection->server->options.handler;
	size_t room;

	piece_fill(r->piece, n);
	r->body_left -= n;
	(void)piece_room(r->piece, &room);
	if (!room || !r->body_left)
		request_hand_over(r);
	if (r->body_left)
		return;
	r->phase = REQUEST_WHOLE;
	if (!r->answered)
		h->on_end(h->arg, r);
}

/* ---- the answer ---- */

static bool has_body(const struct server_request *r, int status)
{
	return status != 204 && status != 304 && strcmp(r->head.method, "HEAD") != 0;
}

/* What an answer's body was to be is known to who has asked, or is said here. */
static void add_body_digest(struct server_request *r, int status, struct evbuffer *body)
{
	struct blake2bp state;
	struct evbuffer_ptr at;
	struct evbuffer_iovec part;
	uint8_t digest[32];
	char text[NODE_DIGEST_TEXT];
	size_t length = body ? evbuffer_get_length(body) : 0, done = 0;

	if (!length || !r->proven || node_header_find(r->headers, r->headers_count, "X-Garner-Body") ||
	    (status == 200 && node_header_find(r->headers, r->headers_count, "X-Garner-Digest")))
		return;
	blake2bp_init(&state);
	evbuffer_ptr_set(body, &at, 0, EVBUFFER_PTR_SET);
	while (done < length && evbuffer_peek(body, -1, &at, &part, 1) > 0) {
		blake2bp_update(&state, part.iov_base, part.iov_len);
		done += part.iov_len;
		evbuffer_ptr_set(body, &at, part.iov_len, EVBUFFER_PTR_ADD);
	}
	blake2bp_final(&state, digest, sizeof digest);
	node_digest_text(digest, text);
	server_answer_header(r, "X-Garner-Body", text);
}

/* Decides what becomes of the connection, when there is a body that nobody wants. */
static void decide_on_rest(struct server_request *r)
{
	struct connection *c = r->connection;

	if (r->phase != REQUEST_BODY)
		return;
	/* Who waits to be told to go on may send the body or not after a refusal: its end could not be found. */
	if ((r->head.expect_continue && !r->continued) || r->body_left > c->server->options.limits.drain_max)
		c->closing = true;
}

static int write_head(struct server_request *r, int status, bool with_length, uint64_t length)
{
	struct connection *c = r->connection;
	struct message_writer w;

	message_write_answer(&w, status);
	for (size_t i = 0; i < r->headers_count; i++)
		message_write_header(&w, r->headers[i].name, r->headers[i].value);
	if (with_length)
		message_write_number(&w, "Content-Length", length);
	if (c->closing)
		message_write_header(&w, "Connection", "close");
	if (message_write_end(&w) < 0)
		return -EINVAL;
	return evbuffer_add(channel_output(c->channel), w.text, w.used) < 0 ? -ENOMEM : 0;
}

/* Instead of an answer that cannot be sent. */
static void answer_failed(struct server_request *r)
{
	struct connection *c = r->connection;

	report_error("the answer to %s %s could not be written: this is a fault of the node's", r->head.method,
	             r->head.path);
	drop_headers(r);
	c->closing = true;
	if (request_sign_answer(r, 500, 0) < 0 || write_head(r, 500, true, 0) < 0)
		report_error("no memory for an answer");
	c->server->stats.answers[5]++;
}

/* `length`: as Content-Length says. */
static void answer(struct server_request *r, int status, struct evbuffer *body, uint64_t length)
{
	struct connection *c = r->connection;
	struct server *s = c->server;
	struct evbuffer *output = channel_output(c->channel);
	size_t before = evbuffer_get_length(output);
	bool with_length = status != 204 && status != 304, with_body = has_body(r, status);

	if (r->answered)
		return;
	r->answered = true;
	release_body(r);
	decide_on_rest(r);
	if (status == 503 && !node_header_find(r->headers, r->headers_count, "Retry-After"))
		server_answer_header(r, "Retry-After", "1");
	if (with_body)
		add_body_digest(r, status, body);
	if (!with_length)
		length = 0;
	if (r->bad_answer || status < 200 || status > 599 || request_sign_answer(r, status, length) < 0 ||
	    write_head(r, status, with_length, length) < 0) {
		answer_failed(r);
	} else {
		s->stats.answers[status / 100]++;
		if (body && with_body && evbuffer_add_buffer(output, body) < 0)
			c->closing = true;
	}
	if (body)
		(void)evbuffer_drain(body, evbuffer_get_length(body));
	s->stats.answer_bytes += evbuffer_get_length(output) - before;
	c->answer_left += evbuffer_get_length(output) - before;
	connection_answered(c);
}

/* ---- for the handler ---- */

void server_answer(struct server_request *r, int status, struct evbuffer *body)
{
	answer(r, status, body, body ? evbuffer_get_length(body) : 0);
}

void server_answer_head(struct server_request *r, int status, uint64_t length)
{
	if (has_body(r, status))
		r->bad_answer = true;
	answer(r, status, NULL, length);
}

void server_answer_bytes(struct server_request *r, int status, const void *body, size_t length,
                         evbuffer_ref_cleanup_cb free_body, void *arg)
{
	struct evbuffer *buffer = evbuffer_new();

	if (!buffer || evbuffer_add_reference(buffer, body, length, free_body, arg) < 0) {
		if (free_body)
			free_body(body, length, arg);
		r->bad_answer = true;
	}
	answer(r, status, buffer, length);
	if (buffer)
		evbuffer_free(buffer);
}

static void answer_line(struct server_request *r, int status, const char *line)
{
	struct evbuffer *body = evbuffer_new();

	if (body && evbuffer_add_printf(body, "%s\n", line) < 0)
		(void)evbuffer_drain(body, evbuffer_get_length(body));
	if (body && !node_header_find(r->headers, r->headers_count, "Content-Type"))
		server_answer_header(r, "Content-Type", "text/plain");
	server_answer(r, status, body);
	if (body)
		evbuffer_free(body);
}

void server_answer_text(struct server_request *r, int status, const char *format, ...)
{
	char line[TEXT_MAX];
	va_list args;

	va_start(args, format);
	if (vsnprintf(line, sizeof line, format, args) < 0)
		line[0] = '\0';
	va_end(args);
	answer_line(r, status, line);
}

void request_refuse(struct server_request *r, int status, const char *reason, const char *text)
{
	if (reason)
		server_answer_header(r, "X-Garner-Reason", reason);
	answer_line(r, status, text);
}

void server_answer_header(struct server_request *r, const char *name, const char *value)
{
	size_t name_room = strlen(name) + 1, value_room = strlen(value) + 1;
	char *memory;

	/* A few are added by the server. */
	if (!message_header_valid(name, value) || r->headers_count >= NODE_HEADERS_MAX - 4 ||
	    node_header_find(r->headers, r->headers_count, name) || !(memory = malloc(name_room + value_room))) {
		r->bad_answer = true;
		return;
	}
	memcpy(memory, name, name_room);
	memcpy(memory + name_room, value, value_room);
	r->headers[r->headers_count].name = memory;
	r->headers[r->headers_count].value = memory + name_room;
	r->headers_count++;
}

void server_answer_headerf(struct server_request *r, const char *name, const char *format, ...)
{
	char value[TEXT_MAX];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(value, sizeof value, format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof value)
		r->bad_answer = true;
	else
		server_answer_header(r, name, value);
}

const struct message_head *server_request_head(const struct server_request *r)
{
	return &r->head;
}

const char *server_request_peer(const struct server_request *r)
{
	return r->connection->peer;
}

bool server_request_authenticated(const struct server_request *r)
{
	return r->trusted;
}

struct server *server_request_server(const struct server_request *r)
{
	return r->connection->server;
}

void server_answer_overloaded(struct server_request *r, const char *why)
{
	struct server *s = r->connection->server;

	s->stats.refused_overload++;
	server_refused(s, REFUSED_OVERLOAD, r->connection->peer, why);
	request_refuse(r, 503, "overload", why);
}

void server_request_refused(struct server_request *r, const char *why)
{
	struct server *s = r->connection->server;

	s->stats.refused_malformed++;
	server_refused(s, REFUSED_MALFORMED, r->connection->peer, why);
}

void server_request_set_context(struct server_request *r, void *context)
{
	r->context = context;
}

void *server_request_context(const struct server_request *r)
{
	return r->context;
}

void server_pause(struct server_request *r)
{
	r->paused = true;
}

void server_resume(struct server_request *r)
{
	if (!r->paused)
		return;
	r->paused = false;
	connection_resume(r->connection);
}
