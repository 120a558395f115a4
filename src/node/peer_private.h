/* SPDX-License-Identifier: GPL-3.0-only */
/* peer_private.h: what the files of the client share. All of it belongs to the loop's thread.
 *
 *   peer.c             requests, the queue, whether the node is there
 *   peer_connection.c  a connection: connecting, one request at a time, its answer
 *   peer_resolve.c     the node's addresses
 */
#ifndef GARNER_NODE_PEER_PRIVATE_H
#define GARNER_NODE_PEER_PRIVATE_H

#include "node/channel.h"
#include "node/peer.h"

#include <sys/queue.h>

#define PEER_HOST_TEXT 300
#define PEER_ADDRESSES_MAX 8

struct lookup;

struct peer_address {
	struct sockaddr_storage address;
	socklen_t length;
};

struct peer_request {
	struct peer *peer;
	struct peer_connection *connection; /* NULL: waits in the queue */
	char *method, *target;
	struct node_header headers[NODE_HEADERS_MAX];
	size_t headers_count;
	uint64_t length, given; /* of the body: announced; and there, or gone already */
	size_t answer_max;
	unsigned stall_ms;
	bool is_ping, even_when_down;
	bool queued, failing;  /* in the queue; in the list of those that fail as the node is down */
	bool ending;           /* done() is about to be called */
	bool again;            /* was sent before, without an answer that counts */
	struct evbuffer *body; /* what waits for a connection */
	void (*done)(void *arg, int rc, const struct peer_answer *answer, const struct error *err);
	void *arg;
	TAILQ_ENTRY(peer_request) link; /* in the queue */
};

TAILQ_HEAD(peer_requests, peer_request);

enum peer_connection_state { PEER_RESOLVES, PEER_CONNECTS, PEER_IDLES, PEER_ASKS };

struct peer_connection {
	struct peer *peer;
	struct channel *channel; /* NULL while it resolves */
	enum peer_connection_state state;
	bool for_pings;
	size_t tried;   /* so many of the addresses */
	bool used;      /* an answer came over it before */
	bool learning;  /* asks for the session, before the request itself */
	bool head_sent; /* of the request */
	struct peer_request *request;
	uint8_t nonce[NODE_NONCE_BYTES];
	struct message_head *head; /* of the answer; NULL while there is no request */
	struct evbuffer *body;     /* of the answer */
	bool answered;             /* some of the answer is there */
	uint64_t asked_ns;
	uint64_t progress_ms; /* when the node last did something, or it became its turn */
	struct loop_timer timer;
	TAILQ_ENTRY(peer_connection) link;
};

TAILQ_HEAD(peer_connections, peer_connection);

struct peer {
	struct loop *loop;
	struct peer_options options; /* without zeros; the texts are below */
	char *name, *host, *tls_name;
	char host_text[PEER_HOST_TEXT]; /* "host:port" */
	struct node_session session;
	enum peer_state state;
	unsigned good_pings;
	struct peer_connections connections;
	unsigned connections_count; /* without that for pings */
	struct peer_connection *ping_connection;
	struct peer_requests queue;
	struct peer_requests *failing; /* while those end, that wait for a node that went down */
	unsigned queued;
	bool ending;
	struct event kick;
	struct loop_timer ping_timer;
	struct peer_request *ping;
	struct peer_stats stats;

	struct lookup *lookup; /* under way */
	struct event lookup_event;
	bool numeric; /* the host is an address */
	struct peer_address addresses[PEER_ADDRESSES_MAX];
	size_t addresses_count, next_address;
	uint64_t addresses_ms; /* when they were found */
};

/* ---- peer.c ---- */

/* The request is over: tells who asked, and frees it. `blame`: a failure is the node's, which is taken for down. */
void peer_request_end(struct peer_request *r, int rc, const struct peer_answer *answer, const struct error *err,
                      bool blame);
/* Back to the front of the queue: nothing of it has been carried out, or it may be carried out twice. */
void peer_request_again(struct peer_request *r);
/* A connection has become free, or there is one less: what waits may go on. */
void peer_kick(struct peer *p);
/* Asks now whether the node is there. */
void peer_ping_now(struct peer *p);

/* ---- peer_connection.c ---- */

/* A new one, which takes the request as soon as it is connected; the request may have failed when this returns. -ENOMEM: it was not
 * taken. From an event. */
int peer_connection_new(struct peer *p, struct peer_request *r);
/* Has an idle one take the request. */
void peer_connection_ask(struct peer_connection *c, struct peer_request *r);
/* More of the body is there. */
int peer_connection_send(struct peer_connection *c, struct piece *piece);
/* Bytes of the body that are given and not sent. */
uint64_t peer_connection_backlog(const struct peer_connection *c);
/* Closes it; its request, if there is one, is not its any more. */
void peer_connection_free(struct peer_connection *c);
/* The addresses are there, or (rc < 0) are not. */
void peer_connection_resolved(struct peer_connection *c, int rc, const struct error *err);

/* ---- peer_resolve.c ---- */

/* Looks for the addresses. 0: they are there already; 1: all connections that wait for them will be told; or -errno. */
int peer_resolve(struct peer *p);
void peer_resolve_end(struct peer *p);

#endif
