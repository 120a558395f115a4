/* SPDX-License-Identifier: GPL-3.0-only */
/* peer.h: another node, as a client sees it: requests to it over a few connections that are kept, and whether it is there.
 *
 * Each request is signed, and its answer believed only when it is signed (store/node_auth.h); how the session is learnt is not the
 * caller's concern. A node that does not answer is asked every so often whether it is back. All on the loop's thread; all
 * callbacks, too, and never from within the call that leads to them. Knows nothing of objects.
 */
#ifndef GARNER_NODE_PEER_H
#define GARNER_NODE_PEER_H

#include "base/error.h"
#include "node/http_message.h"
#include "node/loop.h"
#include "node/piece.h"
#include "store/node_auth.h"

#include <event2/buffer.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct peer;
struct peer_request;
struct tls;

enum peer_state {
	PEER_UNKNOWN, /* has not answered yet, nor failed: at the start */
	PEER_UP,
	PEER_DOWN,
};

/* Zeros are the defaults. */
struct peer_options {
	const char *name; /* for messages: "n2" */
	const char *host; /* address or name; names are looked up on a thread of their own */
	unsigned port;
	struct tls *tls;          /* NULL: plain */
	const char *tls_name;     /* the name (or address) its certificate must be for; NULL: any of the authority */
	struct node_key key;      /* copied */
	unsigned connections_max; /* 8, and one for pings */
	unsigned queue_max;       /* 256 requests that wait for a connection */
	unsigned connect_ms;      /* 1000, the TLS handshake included */
	unsigned stall_ms;        /* 700: without any progress that is the peer's to make */
	unsigned idle_ms;         /* 30000: a connection not used so long is closed; less than the server's */
	unsigned ping_ms;  /* 500; UINT_MAX: never, and then a peer that is down is up again by any good answer */
	unsigned up_after; /* 1: good pings in a row until a node that was down is up */

	/* May be NULL. */
	void (*on_up)(void *arg, struct peer *p);
	void (*on_down)(void *arg, struct peer *p, const char *why);
	void *arg;
};

int peer_new(struct loop *l, const struct peer_options *options, struct peer **peer, struct error *err);
/* Requests under way end with -ECANCELED, before this returns. Not from one of its callbacks. NULL is ignored. */
void peer_free(struct peer *p);

const char *peer_name(const struct peer *p);
enum peer_state peer_state(const struct peer *p);

struct peer_stats {
	enum peer_state state;
	uint64_t since_ms;      /* loop_now_ms() of the last change of the state */
	uint64_t round_trip_us; /* of pings, smoothed; 0: none yet */
	uint64_t requests, failures, session_changes;
	uint64_t bytes_in, bytes_out;
	unsigned connections, queued;
	char last_error[ERROR_TEXT_MAX]; /* "" when there was none */
};
void peer_get_stats(const struct peer *p, struct peer_stats *stats);

/* ---- requests ---- */

/* What came back; all of it is the peer's, until done() returns. */
struct peer_answer {
	int status; /* 200 to 599 */
	const struct message_head *head;
	struct evbuffer *
		body; /* done() may take bytes out. X-Garner-Body was checked; X-Garner-Digest is the caller's to check */
};

struct peer_call {
	const char *method, *target;       /* copied, and so are the headers. A body needs X-Garner-Digest. */
	const struct node_header *headers; /* Authorization, Host and Content-Length are added */
	size_t headers_count;
	uint64_t length;     /* of the body, which follows by peer_send() */
	size_t answer_max;   /* bytes of the answer's body; 0: 64 KiB */
	unsigned stall_ms;   /* 0: as of the options */
	bool even_when_down; /* try although the peer is down */

	/* Called once, when it is over. rc 0: a signed answer, of whatever status. Otherwise `answer` is NULL and `err` has a text:
	 *   -ETIMEDOUT, -ECONNREFUSED, -ECONNRESET, -EPIPE, -EHOSTUNREACH ...  no answer; the request may have been carried out.
	 *                An -ECONNRESET or -EPIPE may mean no more than that the node has just closed a connection that was idle:
	 *                requests without a body are sent once more by themselves, others are the caller's to try again
	 *   -EHOSTDOWN   the peer went down while the request was waiting for a connection; nothing was sent
	 *   -EACCES      the answer is not signed with the key, or its body is not the one that was signed
	 *   -ESTALE      the node has started again since (its session is known now, ask again): nothing was carried out
	 *   -EMSGSIZE    the answer is longer than answer_max
	 *   -EPROTO      the answer is not HTTP
	 *   -ENOMEM, -ECANCELED (peer_free())
	 */
	void (*done)(void *arg, int rc, const struct peer_answer *answer, const struct error *err);
	void *arg;
};

/* Begins a request. 0 with *request (which may be NULL for requests without a body that are never cancelled); or, and then done() is not
 * called: -EHOSTDOWN when the peer is down, -EBUSY when too many wait, -EINVAL, -ENOMEM. */
int peer_request(struct peer *p, const struct peer_call *call, struct peer_request **request, struct error *err);

/* The next bytes of the body; takes a reference of its own. After done() there is nothing to send to: the caller drops `request` then.
 * When all the bytes that were announced are there, the request goes on by itself. 0; -EINVAL (more than that); -ENOMEM. A failure
 * ends the request, as peer_cancel(). */
int peer_send(struct peer_request *request, struct piece *piece);

/* How many bytes of the body wait to be sent: so that the caller may slow down. */
uint64_t peer_backlog(const struct peer_request *request);

/* Ends it without done(). Its connection is closed when anything was sent. */
void peer_cancel(struct peer_request *request);

#endif
