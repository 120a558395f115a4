/* SPDX-License-Identifier: GPL-3.0-only */
/* server.h: a node's HTTP/1.1 server: connections, limits, authentication.
 *
 * The handler sees requests only that were signed with the cluster's key (store/node_auth.h), are of this session, and are not
 * replayed; but for the paths that are open. A request's life, all on the loop's thread:
 *
 *     on_head -> on_body, for each piece of the body, in order -> on_end -> server_answer(), then or later
 *
 * At any time after on_head has begun the handler may answer, which ends the request: no other function is called for it, and the
 * rest of its body is thrown away. When the client goes away, or its body does not come, before the handler has answered,
 * on_abort is called, which ends the request, too. So each request ends by exactly one of the two, and the pointer is not to be used
 * after that. Requests on one connection follow each other.
 *
 * That X-Garner-Digest is there and well-formed with every body is checked here; that it is the body's, by the handler. Knows
 * nothing of objects or of what paths mean.
 */
#ifndef GARNER_NODE_SERVER_H
#define GARNER_NODE_SERVER_H

#include "base/error.h"
#include "node/http_message.h"
#include "node/loop.h"
#include "node/piece.h"
#include "store/node_auth.h"

#include <event2/buffer.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct server;
struct server_request;
struct tls;

struct server_handler {
	/* The head is here. If it does not answer, the body follows (or on_end, at once, if there is none). */
	void (*on_head)(void *arg, struct server_request *r);
	/* The next bytes of the body, at most 128 KiB. The reference is the handler's: piece_put(). */
	void (*on_body)(void *arg, struct server_request *r, struct piece *piece);
	/* All of the body was there. */
	void (*on_end)(void *arg, struct server_request *r);
	/* There will be no more, and nobody waits for the answer: `r` is gone when this returns. */
	void (*on_abort)(void *arg, struct server_request *r);
	void *arg;
};

/* A path that may be asked for without authentication, with GET or HEAD. */
struct server_open_path {
	const char *path;
	bool loopback_only; /* only by clients on this host */
};

/* Zeros are the defaults. */
struct server_limits {
	unsigned connections; /* 512; one more makes room by closing one that has been idle, or is refused with 503 */
	unsigned head_ms;     /* 10000: from a head's first byte to its end; and for the TLS handshake */
	unsigned idle_ms;     /* 60000: without a request */
	unsigned progress_ms; /* 15000: in each such span of time a body or answer ... */
	unsigned progress_bytes; /* ... moves by at least so much (61440: 4 KiB/s), or the connection is closed */
	unsigned linger_ms;      /* 2000: how long a refused client may go on sending before it is cut off */
	uint64_t body_max;       /* 128 MiB: a longer one is refused with 413 */
	uint64_t bodies_max;     /* 256 MiB: of all bodies announced and pieces held; beyond it 503 */
	uint64_t drain_max;      /* 1 MiB: the rest of a refused body that is read so that the connection can be kept */
	size_t nonces_max;       /* 4 Mi per minute; more are refused with 503 */
};

struct server_options {
	const char *host;    /* an address or a name that is one, such as "127.0.0.1" or "::" */
	unsigned port;       /* 0: any that is free */
	struct tls *tls;     /* NULL: plain */
	struct node_key key; /* copied */
	struct server_limits limits;
	const struct server_open_path *open_paths;
	size_t open_paths_count; /* kept by the caller as long as the server */
	struct server_handler handler;
};

/* Listens. 0 with *server; -EADDRINUSE and so on with a text. On the loop's thread, or by loop_run(). May wait for a name server
 * when `host` is no address. */
int server_new(struct loop *l, const struct server_options *options, struct server **server, struct error *err);

/* Listens no longer, and closes all connections: on_abort for requests that are not answered. Answers that are not yet sent are
 * lost. On the loop's thread, but not from the handler. NULL is ignored. */
void server_free(struct server *s);

/* No new connections and no new requests (503, and closed); calls done(arg) on the loop when the requests there are answered and
 * sent, or after `ms`. Then comes server_free(). */
void server_drain(struct server *s, unsigned ms, loop_fn *done, void *arg);

unsigned server_port(const struct server *s);
const struct node_session *server_session(const struct server *s);

struct server_stats {
	uint64_t requests;   /* whose head was whole */
	uint64_t answers[6]; /* [1..5]: of statuses 1xx to 5xx */
	uint64_t refused_unauthenticated, refused_replayed, refused_malformed, refused_overload, refused_slow,
		refused_connections;
	uint64_t bytes_in, bytes_out;
	uint64_t body_bytes;   /* now: bodies announced and pieces held */
	uint64_t answer_bytes; /* now: answers given and not sent yet */
	unsigned connections;  /* now */
};
void server_get_stats(const struct server *s, struct server_stats *stats);

/* ---- of a request: on the loop's thread ---- */

/* Stays until the request ends. */
const struct message_head *server_request_head(const struct server_request *r);
/* "127.0.0.1:4711". Stays as the head. */
const char *server_request_peer(const struct server_request *r);
/* False on open paths, for requests without Authorization. */
bool server_request_authenticated(const struct server_request *r);
struct server *server_request_server(const struct server_request *r);
/* Anything of the handler's. */
void server_request_set_context(struct server_request *r, void *context);
void *server_request_context(const struct server_request *r);

/* No more on_body until server_resume(), but for one piece that may be under way; the client has to wait. That it
 * goes away meanwhile is not noticed before server_resume(). */
void server_pause(struct server_request *r);
void server_resume(struct server_request *r);

/* Adds a header to the answer; the strings are copied. Those beginning with X-Garner- are signed. Content-Length, Connection,
 * X-Garner-Answer, X-Garner-Body and Retry-After (of 503) are added by the server. A header that cannot be sent, or is there already,
 * or is one too many, makes the answer a 500, with a line in the log. */
void server_answer_header(struct server_request *r, const char *name, const char *value)
	__attribute__((nonnull(1, 2, 3)));
void server_answer_headerf(struct server_request *r, const char *name, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Answers and ends the request. `body` (NULL: empty) is emptied, its bytes are sent by reference where they are there by reference; the
 * buffer itself stays the caller's. When neither X-Garner-Digest (status 200) nor X-Garner-Body was added, the server computes
 * X-Garner-Body: give one of the two with large bodies, which would hold up the loop. */
void server_answer(struct server_request *r, int status, struct evbuffer *body);
/* The same with bytes that are not copied: free_body(arg, ...) is called when they are sent or lost. */
void server_answer_bytes(struct server_request *r, int status, const void *body, size_t length,
                         evbuffer_ref_cleanup_cb free_body, void *arg);
/* The same with a line of text, to which a line end is added. */
void server_answer_text(struct server_request *r, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Says in the log that what this request asks for is refused, and why: for what its sender should know better than to ask. Before the
 * answer. */
void server_request_refused(struct server_request *r, const char *why);
/* Answers 503 with a line in the log: too much is under way. */
void server_answer_overloaded(struct server_request *r, const char *why);
/* To HEAD: without the body, which is `length` bytes. (Other answers to HEAD are sent without their body, too.) */
void server_answer_head(struct server_request *r, int status, uint64_t length);

#endif
