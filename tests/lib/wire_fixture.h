/* SPDX-License-Identifier: GPL-3.0-only */
/* wire_fixture.h: a node's server on 127.0.0.1 with a handler for tests, and requests to it that wait. For tests only.
 *
 * What the handler does, by path:
 *   /v1/health      200 "good"; open from this host
 *   /open           200; open from everywhere
 *   /echo           200 with the request's body and its X-Garner-Digest
 *   /sink           201; the body is counted and summed (BLAKE2bp) and thrown away
 *   /pause          as /sink, but pauses for 20 ms after each piece
 *   /pause-refuse   pauses after the first piece, and answers 409 after 20 ms
 *   /refuse         409 with the head
 *   /refuse-later   409 with the first piece of the body
 *   /hold           is not answered until wire_release()
 *   /keep           as /hold, and keeps the pieces until then
 *   /bytes?n=N      200 with N bytes
 *   /bad            an answer with a header that cannot be sent
 */
#ifndef GARNER_TESTS_WIRE_FIXTURE_H
#define GARNER_TESTS_WIRE_FIXTURE_H

#include "base/blake2bp.h"
#include "node/loop.h"
#include "node/peer.h"
#include "node/server.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WIRE_HELD_MAX 2048
#define WIRE_PATIENCE_MS 60000
#define WIRE_HEAD_MAX 16384

struct wire_request;

struct wire {
	struct loop *loop;
	struct server *server;
	struct node_key key;
	struct server_limits limits;
	struct tls *tls;
	unsigned port;
	atomic_uint heads, pieces, ends, aborts;
	atomic_uint held_count;
	struct wire_request *held[WIRE_HELD_MAX]; /* the loop's */
	unsigned held_used;
	struct error err;
	int rc;
};

struct wire_request {
	struct wire *wire;
	struct server_request *request;
	struct evbuffer *body;
	struct blake2bp state;
	uint64_t length;
	struct loop_timer timer;
};

static inline void wire_request_free(struct wire_request *w)
{
	loop_timer_cancel(&w->timer);
	evbuffer_free(w->body);
	free(w);
}

static inline bool wire_is(const struct server_request *r, const char *path)
{
	return strcmp(server_request_head(r)->path, path) == 0;
}

static inline void wire_resume(void *arg)
{
	struct wire_request *w = arg;

	if (!wire_is(w->request, "/pause-refuse")) {
		server_resume(w->request);
		return;
	}
	server_answer_text(w->request, 409, "no");
	wire_request_free(w);
}

static inline void wire_free_bytes(const void *bytes, size_t length, void *arg)
{
	(void)bytes;
	(void)length;
	free(arg);
}

static inline void wire_answer_bytes(struct server_request *r)
{
	const char *n = message_parameter(server_request_head(r), "n");
	size_t length = n ? strtoul(n, NULL, 10) : 0;
	uint8_t *bytes = malloc(length + 1);

	assert(bytes);
	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251);
	server_answer_bytes(r, 200, bytes, length, wire_free_bytes, bytes);
}

static inline void wire_on_head(void *arg, struct server_request *r)
{
	struct wire *wire = arg;
	struct wire_request *w;

	atomic_fetch_add(&wire->heads, 1);
	if (wire_is(r, "/refuse")) {
		server_answer_header(r, "X-Garner-Reason", "newer");
		server_answer_text(r, 409, "no");
		return;
	}
	w = calloc(1, sizeof *w);
	assert(w);
	w->wire = wire;
	w->request = r;
	w->body = evbuffer_new();
	assert(w->body);
	blake2bp_init(&w->state);
	loop_timer_init(&w->timer, wire->loop, wire_resume, w);
	server_request_set_context(r, w);
}

static inline void wire_on_body(void *arg, struct server_request *r, struct piece *piece)
{
	struct wire *wire = arg;
	struct wire_request *w = server_request_context(r);

	atomic_fetch_add(&wire->pieces, 1);
	w->length += piece_length(piece);
	if (wire_is(r, "/echo") || wire_is(r, "/keep"))
		piece_add_to(piece, w->body);
	else
		blake2bp_update(&w->state, piece_bytes(piece), piece_length(piece));
	piece_put(piece);
	if (wire_is(r, "/pause") || wire_is(r, "/pause-refuse")) {
		server_pause(r);
		loop_timer_set(&w->timer, 20);
	} else if (wire_is(r, "/refuse-later")) {
		server_answer_text(r, 409, "no more");
		wire_request_free(w);
	}
}

static inline void wire_answer_sum(struct wire_request *w, int status)
{
	uint8_t digest[32];
	char text[NODE_DIGEST_TEXT];

	blake2bp_final(&w->state, digest, sizeof digest);
	node_digest_text(digest, text);
	server_answer_header(w->request, "X-Garner-Sum", text);
	server_answer_headerf(w->request, "X-Garner-Length", "%llu", (unsigned long long)w->length);
	server_answer(w->request, status, NULL);
	wire_request_free(w);
}

static inline void wire_on_end(void *arg, struct server_request *r)
{
	struct wire *wire = arg;
	struct wire_request *w = server_request_context(r);

	atomic_fetch_add(&wire->ends, 1);
	if (wire_is(r, "/hold") || wire_is(r, "/keep")) {
		assert(wire->held_used < WIRE_HELD_MAX);
		wire->held[wire->held_used++] = w;
		atomic_fetch_add(&wire->held_count, 1);
		return;
	}
	if (wire_is(r, "/sink") || wire_is(r, "/pause")) {
		wire_answer_sum(w, 201);
		return;
	}
	if (wire_is(r, "/echo")) {
		const char *digest = message_header(server_request_head(r), "X-Garner-Digest");

		if (digest)
			server_answer_header(r, "X-Garner-Digest", digest);
		server_answer(r, 200, w->body);
	} else if (wire_is(r, "/bytes")) {
		wire_answer_bytes(r);
	} else if (wire_is(r, "/bad")) {
		server_answer_header(r, "X-Garner-Bad", "two\r\nlines: x");
		server_answer(r, 200, NULL);
	} else if (wire_is(r, "/v1/health") || wire_is(r, "/open")) {
		server_answer_text(r, 200, "good");
	} else {
		server_answer_text(r, 404, "there is nothing at %s", server_request_head(r)->path);
	}
	wire_request_free(w);
}

static inline void wire_on_abort(void *arg, struct server_request *r)
{
	struct wire *wire = arg;
	struct wire_request *w = server_request_context(r);

	atomic_fetch_add(&wire->aborts, 1);
	for (unsigned i = 0; i < wire->held_used; i++)
		if (wire->held[i] == w)
			wire->held[i] = wire->held[--wire->held_used];
	wire_request_free(w);
}

/* ---- the server ---- */

static inline void wire_start_here(void *arg)
{
	static const struct server_open_path open[] = { { "/v1/health", true }, { "/open", false } };
	struct wire *wire = arg;
	struct server_options options = {
		.host = "127.0.0.1",
		.port = wire->port,
		.tls = wire->tls,
		.key = wire->key,
		.limits = wire->limits,
		.open_paths = open,
		.open_paths_count = 2,
		.handler = { wire_on_head, wire_on_body, wire_on_end, wire_on_abort, wire },
	};

	wire->rc = server_new(wire->loop, &options, &wire->server, &wire->err);
	if (wire->rc == 0)
		wire->port = server_port(wire->server);
}

static inline void wire_stop_here(void *arg)
{
	struct wire *wire = arg;

	server_free(wire->server);
	wire->server = NULL;
}

static inline void wire_release_here(void *arg)
{
	struct wire *wire = arg;

	while (wire->held_used)
		wire_answer_sum(wire->held[--wire->held_used], 200);
}

/* Answers what is held. */
static inline void wire_release(struct wire *wire)
{
	int rc = loop_run(wire->loop, wire_release_here, wire);
	assert(rc == 0);
	(void)rc;
}

/* Starts a server on the loop that is there, or on a new one. At the port of the server before, if there was one. */
static inline void wire_start(struct wire *wire)
{
	int rc = wire->loop ? 0 : loop_new("test", &wire->loop, &wire->err);

	if (rc == 0)
		rc = loop_run(wire->loop, wire_start_here, wire);
	if (rc == 0)
		rc = wire->rc;
	if (rc < 0)
		(void)fprintf(stderr, "%s\n", error_text(&wire->err));
	assert(rc == 0);
}

static inline void wire_stop(struct wire *wire)
{
	int rc = loop_run(wire->loop, wire_stop_here, wire);
	assert(rc == 0);
	(void)rc;
}

struct wire_stats_call {
	struct wire *wire;
	struct server_stats stats;
};

static inline void wire_stats_here(void *arg)
{
	struct wire_stats_call *call = arg;

	server_get_stats(call->wire->server, &call->stats);
}

static inline struct server_stats wire_stats(struct wire *wire)
{
	struct wire_stats_call call = { .wire = wire };
	int rc = loop_run(wire->loop, wire_stats_here, &call);

	assert(rc == 0);
	(void)rc;
	return call.stats;
}

static inline struct wire *wire_new(const struct server_limits *limits, struct tls *tls)
{
	struct wire *wire = calloc(1, sizeof *wire);

	assert(wire);
	randombytes_buf(wire->key.bytes, sizeof wire->key.bytes);
	if (limits)
		wire->limits = *limits;
	wire->tls = tls;
	wire_start(wire);
	return wire;
}

static inline void wire_free(struct wire *wire)
{
	if (wire->server)
		wire_stop(wire);
	loop_free(wire->loop);
	free(wire);
}

/* Whether `condition` comes true within a minute. */
#define wire_becomes(condition)                                         \
	({                                                              \
		int tries_ = 0;                                         \
		while (!(condition) && tries_++ < WIRE_PATIENCE_MS / 5) \
			(void)usleep(5000);                             \
		(condition);                                            \
	})

/* ---- a peer, and requests that wait ---- */

struct wire_peer {
	struct wire *wire;
	struct loop *loop;
	struct peer *peer;
	struct peer_options options;
	atomic_uint ups, downs;
	int rc;
	struct error err;
};

static inline void wire_peer_up(void *arg, struct peer *p)
{
	struct wire_peer *w = arg;

	(void)p;
	atomic_fetch_add(&w->ups, 1);
}

static inline void wire_peer_down(void *arg, struct peer *p, const char *why)
{
	struct wire_peer *w = arg;

	(void)p;
	(void)why;
	atomic_fetch_add(&w->downs, 1);
}

static inline void wire_peer_start_here(void *arg)
{
	struct wire_peer *w = arg;

	w->rc = peer_new(w->loop, &w->options, &w->peer, &w->err);
}

static inline void wire_peer_stop_here(void *arg)
{
	struct wire_peer *w = arg;

	peer_free(w->peer);
}

/* A client of `wire`, with its key, and of its own `options` (which may be NULL); without pings unless they say so. */
static inline struct wire_peer *wire_peer_new(struct wire *wire, const struct peer_options *options)
{
	struct wire_peer *w = calloc(1, sizeof *w);
	int rc;

	assert(w);
	w->wire = wire;
	w->loop = wire->loop;
	if (options)
		w->options = *options;
	else
		w->options.key = wire->key;
	if (sodium_is_zero(w->options.key.bytes, sizeof w->options.key.bytes))
		w->options.key = wire->key;
	if (!w->options.name)
		w->options.name = "n2";
	if (!w->options.host)
		w->options.host = "127.0.0.1";
	if (!w->options.port)
		w->options.port = wire->port;
	if (!w->options.ping_ms)
		w->options.ping_ms = UINT_MAX;
	if (!w->options.stall_ms)
		w->options.stall_ms = WIRE_PATIENCE_MS;
	if (!w->options.connect_ms)
		w->options.connect_ms = WIRE_PATIENCE_MS;
	w->options.on_up = wire_peer_up;
	w->options.on_down = wire_peer_down;
	w->options.arg = w;
	rc = loop_run(w->loop, wire_peer_start_here, w);
	assert(rc == 0 && w->rc == 0);
	(void)rc;
	return w;
}

static inline void wire_peer_free(struct wire_peer *w)
{
	int rc = loop_run(w->loop, wire_peer_stop_here, w);
	assert(rc == 0);
	(void)rc;
	free(w);
}

struct wire_peer_stats_call {
	struct wire_peer *w;
	struct peer_stats stats;
};

static inline void wire_peer_stats_here(void *arg)
{
	struct wire_peer_stats_call *call = arg;

	peer_get_stats(call->w->peer, &call->stats);
}

static inline struct peer_stats wire_peer_stats(struct wire_peer *w)
{
	struct wire_peer_stats_call call = { .w = w };
	int rc = loop_run(w->loop, wire_peer_stats_here, &call);

	assert(rc == 0);
	(void)rc;
	return call.stats;
}

/* A request, and what came of it. */
struct wire_ask {
	/* set by the test */
	const char *method, *target;
	const void *body;
	size_t length;
	size_t piece; /* bytes sent at a time; 0: all */
	size_t answer_max;
	unsigned stall_ms;
	bool stop_short; /* sends only half the body */
	/* the result */
	int rc;
	struct error err;
	int status;
	uint8_t *answer;
	size_t answer_length;
	char reason[32], sum[NODE_DIGEST_TEXT], length_seen[24];

	struct wire_peer *w;
	struct peer_request *request;
	char digest[NODE_DIGEST_TEXT];
	size_t sent;
	bool over;
	sem_t done;
};

static inline void wire_copy_header(const struct message_head *h, const char *name, char *out, size_t room)
{
	const char *value = message_header(h, name);

	(void)snprintf(out, room, "%s", value ? value : "");
}

static inline void wire_ask_done(void *arg, int rc, const struct peer_answer *answer, const struct error *err)
{
	struct wire_ask *a = arg;

	a->rc = rc;
	a->over = true;
	a->request = NULL;
	if (rc < 0) {
		a->err = *err;
	} else {
		a->status = answer->status;
		a->answer_length = evbuffer_get_length(answer->body);
		a->answer = malloc(a->answer_length + 1);
		assert(a->answer);
		evbuffer_remove(answer->body, a->answer, a->answer_length);
		a->answer[a->answer_length] = '\0';
		wire_copy_header(answer->head, "X-Garner-Reason", a->reason, sizeof a->reason);
		wire_copy_header(answer->head, "X-Garner-Sum", a->sum, sizeof a->sum);
		wire_copy_header(answer->head, "X-Garner-Length", a->length_seen, sizeof a->length_seen);
	}
	sem_post(&a->done);
}

static inline void wire_ask_more(void *arg);

static inline void wire_ask_here(void *arg)
{
	struct wire_ask *a = arg;
	struct node_header header = { "X-Garner-Digest", a->digest };
	uint8_t digest[32];
	struct peer_call call = { .method = a->method,
		                  .target = a->target,
		                  .headers = &header,
		                  .headers_count = a->length ? 1 : 0,
		                  .length = a->length,
		                  .answer_max = a->answer_max,
		                  .stall_ms = a->stall_ms,
		                  .done = wire_ask_done,
		                  .arg = a };

	blake2bp(a->body, a->length, digest, sizeof digest);
	node_digest_text(digest, a->digest);
	a->rc = peer_request(a->w->peer, &call, &a->request, &a->err);
	if (a->rc < 0) {
		a->over = true;
		sem_post(&a->done);
		return;
	}
	wire_ask_more(a);
}

/* One piece of the body, and the next one when the loop comes by again. */
static inline void wire_ask_more(void *arg)
{
	struct wire_ask *a = arg;
	size_t length = a->length - a->sent, most = a->piece ? a->piece : a->length;
	struct piece *p;
	int rc;

	if (a->over || !length || (a->stop_short && a->sent >= a->length / 2))
		return;
	if (length > most)
		length = most;
	p = piece_copy((const uint8_t *)a->body + a->sent, length);
	assert(p);
	a->sent += length;
	rc = peer_send(a->request, p);
	piece_put(p);
	assert(rc == 0);
	rc = loop_post(a->w->loop, wire_ask_more, a);
	assert(rc == 0);
}

static inline void wire_ask_start(struct wire_peer *w, struct wire_ask *a)
{
	int rc;

	a->w = w;
	sem_init(&a->done, 0, 0);
	rc = loop_post(w->loop, wire_ask_here, a);
	assert(rc == 0);
	(void)rc;
}

static inline void wire_nothing(void *arg)
{
	(void)arg;
}

/* Ends within a minute, or the test. */
static inline void wire_ask_wait(struct wire_ask *a)
{
	struct timespec end;
	int rc;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += WIRE_PATIENCE_MS / 1000;
	do
		rc = sem_timedwait(&a->done, &end);
	while (rc < 0 && errno == EINTR);
	assert(rc == 0);
	sem_destroy(&a->done);
	/* What it has posted has run. */
	rc = loop_run(a->w->loop, wire_nothing, NULL);
	assert(rc == 0);
}

static inline void wire_ask(struct wire_peer *w, struct wire_ask *a)
{
	wire_ask_start(w, a);
	wire_ask_wait(a);
}

/* ---- a client that speaks for itself ---- */

static inline int wire_connect(unsigned port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		                       .sin_port = htons((uint16_t)port),
		                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc = fd < 0 ? -1 : connect(fd, (struct sockaddr *)&address, sizeof address), yes = 1;

	/* A head and a body are two writes here: not to wait for each other. */
	if (rc == 0)
		rc = setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
	assert(rc == 0);
	(void)rc;
	return fd;
}

/* False when the other side does not take it. */
static inline bool wire_send(int fd, const void *bytes, size_t length)
{
	while (length) {
		ssize_t n = send(fd, bytes, length, MSG_NOSIGNAL);
		if (n <= 0)
			return false;
		bytes = (const char *)bytes + n;
		length -= (size_t)n;
	}
	return true;
}

static inline bool wire_say(int fd, const char *text)
{
	return wire_send(fd, text, strlen(text));
}

/* Reads until `text` was seen, or the end; returns all that came (free it). */
static inline char *wire_hear(int fd, const char *text)
{
	size_t room = 1 << 20, used = 0;
	char *got = calloc(1, room);

	assert(got);
	while (used < room - 1 && (!text || !strstr(got, text))) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n = poll(&p, 1, WIRE_PATIENCE_MS) == 1 ? recv(fd, got + used, room - 1 - used, 0) : -1;

		if (n <= 0)
			break;
		used += (size_t)n;
	}
	return got;
}

/* Whether the other side closes within a minute, whatever it says before. */
static inline bool wire_is_closed(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char bytes[4096];

	while (poll(&p, 1, WIRE_PATIENCE_MS) == 1) {
		ssize_t n = recv(fd, bytes, sizeof bytes, 0);
		if (n <= 0)
			return true;
	}
	return false;
}

/* A signed request's head as text: free it. `more`: header lines, each with its CR LF; `headers` says the same of those that count. */
static inline char *wire_head(struct wire *wire, const struct node_session *session, const char *method,
                              const char *target, const struct node_header *headers, size_t count, uint64_t length,
                              const char *more)
{
	struct node_auth_request request = {
		.method = method, .target = target, .headers = headers, .count = count, .length = length
	};
	uint8_t nonce[NODE_NONCE_BYTES];
	char authorization[NODE_AUTHORIZATION_TEXT], *text = malloc(WIRE_HEAD_MAX);
	int rc = node_auth_sign(&wire->key, &request, session, loop_now_ms(), nonce, authorization), n;

	assert(rc == 0 && text);
	(void)rc;
	n = snprintf(text, WIRE_HEAD_MAX, "%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n", method, target,
	             authorization);
	for (size_t i = 0; i < count; i++)
		n += snprintf(text + n, (size_t)(WIRE_HEAD_MAX - n), "%s: %s\r\n", headers[i].name, headers[i].value);
	n += snprintf(text + n, (size_t)(WIRE_HEAD_MAX - n), "Content-Length: %llu\r\n%s\r\n",
	              (unsigned long long)length, more ? more : "");
	assert(n > 0 && n < WIRE_HEAD_MAX);
	return text;
}

#endif
