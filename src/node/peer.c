/* SPDX-License-Identifier: GPL-3.0-only */
/* peer.c: another node, as a client sees it: requests, those that wait for a connection, and whether the node is there. */
#include "node/peer_private.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ANSWER_MAX ((size_t)64 * 1024)

/* ---- whether it is there ---- */

static void set_state(struct peer *p, enum peer_state state)
{
	p->state = state;
	p->stats.since_ms = loop_now_ms();
}

/* Those that wait would be asked of a node that is not there. */
static void fail_queue(struct peer *p)
{
	struct error err = { 0 };
	struct peer_requests failing = TAILQ_HEAD_INITIALIZER(failing);
	struct peer_request *r, *next;

	(void)error_set(&err, -EHOSTDOWN, "node %s (%s) is down: %s", p->name, p->host_text, p->stats.last_error);
	for (r = TAILQ_FIRST(&p->queue); r; r = next) {
		next = TAILQ_NEXT(r, link);
		if (r->even_when_down)
			continue;
		TAILQ_REMOVE(&p->queue, r, link);
		TAILQ_INSERT_TAIL(&failing, r, link);
		r->failing = true;
	}
	/* What one leads to may cancel others, which takes them out of the list. */
	p->failing = &failing;
	while ((r = TAILQ_FIRST(&failing))) {
		TAILQ_REMOVE(&failing, r, link);
		p->queued--;
		r->queued = false;
		peer_request_end(r, -EHOSTDOWN, NULL, &err, false);
	}
	p->failing = NULL;
}

static void went_down(struct peer *p, const char *why)
{
	bool change = p->state != PEER_DOWN;

	p->good_pings = 0;
	(void)snprintf(p->stats.last_error, sizeof p->stats.last_error, "%s", why);
	if (!change)
		return;
	set_state(p, PEER_DOWN);
	if (p->options.on_down)
		p->options.on_down(p->options.arg, p, p->stats.last_error);
	fail_queue(p);
}

static void answered(struct peer *p, bool by_ping)
{
	bool pings = p->options.ping_ms != UINT_MAX;

	if (p->state == PEER_UP || (p->state == PEER_DOWN && pings && !by_ping))
		return;
	if (p->state == PEER_DOWN && pings && ++p->good_pings < p->options.up_after)
		return;
	set_state(p, PEER_UP);
	if (p->options.on_up)
		p->options.on_up(p->options.arg, p);
}

static void ping_done(void *arg, int rc, const struct peer_answer *answer, const struct error *err)
{
	struct peer *p = arg;
	char why[96];

	(void)err; /* peer_request_end() has seen to failures */
	p->ping = NULL;
	if (rc == -ECANCELED)
		return;
	loop_timer_set(&p->ping_timer, p->options.ping_ms);
	if (rc == 0 && answer->status >= 300) {
		(void)snprintf(why, sizeof why, "node %s answered %d when asked how it is", p->name, answer->status);
		went_down(p, why);
	}
}

static void ping(void *arg)
{
	struct peer *p = arg;
	struct peer_call call = {
		.method = "GET", .target = "/v1/health", .even_when_down = true, .done = ping_done, .arg = p
	};

	if (p->ping)
		return;
	if (peer_request(p, &call, &p->ping, NULL) < 0)
		loop_timer_set(&p->ping_timer, p->options.ping_ms);
	else
		p->ping->is_ping = true;
}

void peer_ping_now(struct peer *p)
{
	if (p->options.ping_ms != UINT_MAX && !p->ping)
		loop_timer_set(&p->ping_timer, 0);
}

/* ---- requests ---- */

static void request_free(struct peer_request *r)
{
	for (size_t i = 0; i < r->headers_count; i++) {
		free((char *)(uintptr_t)r->headers[i].name);
		free((char *)(uintptr_t)r->headers[i].value);
	}
	if (r->body)
		evbuffer_free(r->body);
	free(r->method);
	free(r->target);
	free(r);
}

static bool copy_texts(struct peer_request *r, const struct peer_call *call)
{
	bool good;

	r->method = strdup(call->method);
	r->target = strdup(call->target);
	r->body = evbuffer_new();
	good = r->method && r->target && r->body;
	for (size_t i = 0; i < call->headers_count; i++) {
		r->headers[i].name = strdup(call->headers[i].name);
		r->headers[i].value = strdup(call->headers[i].value);
		r->headers_count++;
		good = good && r->headers[i].name && r->headers[i].value;
	}
	return good;
}

static int check_call(const struct peer *p, const struct peer_call *call, struct error *err)
{
	const struct node_header *h = call->headers;
	struct message_writer w;

	/* Host, Authorization and Content-Length are added. */
	if (call->headers_count > NODE_HEADERS_MAX - 3)
		return error_set(err, -EINVAL, "a request cannot have %zu headers", call->headers_count);
	if (call->length && !node_header_find(h, call->headers_count, "X-Garner-Digest"))
		return error_set(err, -EINVAL, "a request with a body needs X-Garner-Digest");
	message_write_request(&w, call->method, call->target, p->host_text);
	for (size_t i = 0; i < call->headers_count; i++) {
		message_write_header(&w, h[i].name, h[i].value);
		for (size_t j = 0; j < i; j++)
			if (strcasecmp(h[i].name, h[j].name) == 0)
				return error_set(err, -EINVAL, "a request cannot have %s twice", h[i].name);
	}
	/* Room for those that are added. */
	if (message_write_end(&w) < 0 || w.used > MESSAGE_HEAD_MAX - 512)
		return error_set(err, -EINVAL, "the request for %.100s cannot be written", call->target);
	return 0;
}

int peer_request(struct peer *p, const struct peer_call *call, struct peer_request **request, struct error *err)
{
	struct peer_request *r;
	int rc;

	if (request)
		*request = NULL;
	if (p->state == PEER_DOWN && !call->even_when_down)
		return error_set(err, -EHOSTDOWN, "node %s (%s) is down: %s", p->name, p->host_text,
		                 p->stats.last_error);
	if (p->queued >= p->options.queue_max)
		return error_set(err, -EBUSY, "too many requests wait for node %s (%s)", p->name, p->host_text);
	rc = check_call(p, call, err);
	if (rc < 0)
		return rc;
	r = calloc(1, sizeof *r);
	if (!r || !copy_texts(r, call)) {
		if (r)
			request_free(r);
		return error_set(err, -ENOMEM, "no memory for a request");
	}
	r->peer = p;
	r->length = call->length;
	r->answer_max = call->answer_max ? call->answer_max : ANSWER_MAX;
	r->stall_ms = call->stall_ms;
	r->even_when_down = call->even_when_down;
	r->done = call->done;
	r->arg = call->arg;
	r->queued = true;
	TAILQ_INSERT_TAIL(&p->queue, r, link);
	p->queued++;
	p->stats.requests++;
	peer_kick(p);
	if (request)
		*request = r;
	return 0;
}

void peer_request_end(struct peer_request *r, int rc, const struct peer_answer *answer, const struct error *err,
                      bool blame)
{
	struct peer *p = r->peer;
	bool is_ping = r->is_ping;

	/* Those who are told of the node's state may cancel this very request. */
	r->ending = true;
	if (rc < 0)
		p->stats.failures++;
	if (rc < 0 && blame)
		went_down(p, error_text(err));
	else if (rc == 0 && (!is_ping || answer->status < 300))
		answered(p, is_ping);
	if (r->done)
		r->done(r->arg, rc, answer, err);
	request_free(r);
}

void peer_request_again(struct peer_request *r)
{
	struct peer *p = r->peer;

	r->again = true;
	r->connection = NULL;
	r->queued = true;
	TAILQ_INSERT_HEAD(&p->queue, r, link);
	p->queued++;
	peer_kick(p);
}

static void unqueue(struct peer_request *r)
{
	struct peer *p = r->peer;

	if (!r->queued)
		return;
	if (r->failing)
		TAILQ_REMOVE(p->failing, r, link);
	else
		TAILQ_REMOVE(&p->queue, r, link);
	r->queued = false;
	p->queued--;
}

void peer_cancel(struct peer_request *r)
{
	struct peer_connection *c = r->connection;

	if (r->ending) {
		r->done = NULL;
		return;
	}
	unqueue(r);
	if (c)
		peer_connection_free(c);
	request_free(r);
}

int peer_send(struct peer_request *r, struct piece *piece)
{
	size_t length = piece_length(piece);
	int rc;

	if (length > r->length - r->given) {
		peer_cancel(r);
		return -EINVAL;
	}
	r->given += length;
	rc = r->connection ? peer_connection_send(r->connection, piece) : piece_add_to(piece, r->body);
	if (rc < 0)
		peer_cancel(r);
	return rc;
}

uint64_t peer_backlog(const struct peer_request *r)
{
	return r->connection ? peer_connection_backlog(r->connection) : evbuffer_get_length(r->body);
}

/* ---- the queue ---- */

static struct peer_connection *find_idle(struct peer *p, bool for_pings)
{
	struct peer_connection *c;

	TAILQ_FOREACH(c, &p->connections, link) {
		if (c->state == PEER_IDLES && !c->request && c->for_pings == for_pings)
			return c;
	}
	return NULL;
}

/* False when there is no connection for it, and none may be made. */
static bool assign(struct peer *p, struct peer_request *r)
{
	struct peer_connection *c = find_idle(p, r->is_ping);
	struct error err = { 0 };

	if (!c && (r->is_ping ? p->ping_connection != NULL : p->connections_count >= p->options.connections_max))
		return false;
	unqueue(r);
	if (c) {
		peer_connection_ask(c, r);
	} else if (peer_connection_new(p, r) < 0) {
		(void)error_set(&err, -ENOMEM, "no memory for a connection to node %s (%s)", p->name, p->host_text);
		peer_request_end(r, -ENOMEM, NULL, &err, false);
	}
	return true;
}

/* Each request that finds a connection may lead to anything: from the beginning, each time. */
static bool assign_one(struct peer *p)
{
	struct peer_request *r;
	bool full = false;

	TAILQ_FOREACH(r, &p->queue, link) {
		if (full && !r->is_ping)
			continue;
		if (assign(p, r))
			return true;
		full = full || !r->is_ping;
		if (full && (!p->ping || !p->ping->queued))
			return false;
	}
	return false;
}

static void kick(evutil_socket_t fd, short what, void *arg)
{
	struct peer *p = arg;

	(void)fd;
	(void)what;
	/* What is asked for anew by those that fail at once has its own turn. */
	for (unsigned n = p->queued; n && assign_one(p); n--)
		;
}

void peer_kick(struct peer *p)
{
	if (!p->ending && !TAILQ_EMPTY(&p->queue))
		event_active(&p->kick, EV_TIMEOUT, 0);
}

/* ---- beginning and end ---- */

static void set_default(unsigned *option, unsigned value)
{
	if (!*option)
		*option = value;
}

static void destroy(struct peer *p)
{
	node_key_wipe(&p->options.key);
	free(p->name);
	free(p->host);
	free(p->tls_name);
	free(p);
}

static bool fill_options(struct peer *p, const struct peer_options *options)
{
	struct peer_options *o = &p->options;

	*o = *options;
	set_default(&o->connections_max, 8);
	set_default(&o->queue_max, 256);
	set_default(&o->connect_ms, 1000);
	set_default(&o->stall_ms, 700);
	set_default(&o->idle_ms, 30000);
	set_default(&o->ping_ms, 500);
	set_default(&o->up_after, 1);
	p->name = strdup(options->name);
	p->host = strdup(options->host);
	p->tls_name = options->tls_name ? strdup(options->tls_name) : NULL;
	o->name = o->host = o->tls_name = NULL;
	return p->name && p->host && (p->tls_name || !options->tls_name);
}

int peer_new(struct loop *l, const struct peer_options *options, struct peer **peer, struct error *err)
{
	struct peer *p = calloc(1, sizeof *p);
	int n;

	*peer = NULL;
	if (!p)
		return error_set(err, -ENOMEM, "no memory for a node");
	p->loop = l;
	TAILQ_INIT(&p->connections);
	TAILQ_INIT(&p->queue);
	if (!fill_options(p, options)) {
		destroy(p);
		return error_set(err, -ENOMEM, "no memory for a node");
	}
	n = snprintf(p->host_text, sizeof p->host_text, strchr(p->host, ':') ? "[%s]:%u" : "%s:%u", p->host,
	             options->port);
	if (n < 0 || (size_t)n >= sizeof p->host_text || !message_header_valid("Host", p->host_text)) {
		destroy(p);
		return error_set(err, -EINVAL, "'%.100s' is neither an address nor a name", options->host);
	}
	event_assign(&p->kick, loop_base(l), -1, 0, kick, p);
	loop_timer_init(&p->ping_timer, l, ping, p);
	set_state(p, PEER_UNKNOWN);
	if (p->options.ping_ms != UINT_MAX)
		loop_timer_set(&p->ping_timer, 0);
	*peer = p;
	return 0;
}

static void cancel_for_good(struct peer_request *r)
{
	struct error err = { 0 };

	(void)error_set(&err, -ECANCELED, "the request to node %s was given up", r->peer->name);
	r->done(r->arg, -ECANCELED, NULL, &err);
	request_free(r);
}

void peer_free(struct peer *p)
{
	struct peer_connection *c;
	struct peer_request *r;

	if (!p)
		return;
	p->ending = true;
	loop_timer_cancel(&p->ping_timer);
	peer_resolve_end(p);
	(void)set_state(p, PEER_DOWN);
	while ((r = TAILQ_FIRST(&p->queue))) {
		unqueue(r);
		cancel_for_good(r);
	}
	while ((c = TAILQ_FIRST(&p->connections))) {
		r = c->request;
		peer_connection_free(c);
		if (r)
			cancel_for_good(r);
	}
	(void)event_del(&p->kick);
	destroy(p);
}

const char *peer_name(const struct peer *p)
{
	return p->name;
}

enum peer_state peer_state(const struct peer *p)
{
	return p->state;
}

void peer_get_stats(const struct peer *p, struct peer_stats *stats)
{
	const struct peer_connection *c;

	*stats = p->stats;
	stats->state = p->state;
	stats->queued = p->queued;
	stats->connections = 0;
	TAILQ_FOREACH(c, &p->connections, link) {
		stats->connections++;
		if (c->channel) {
			stats->bytes_in += channel_bytes_in(c->channel);
			stats->bytes_out += channel_bytes_out(c->channel);
		}
	}
}
