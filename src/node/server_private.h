/* SPDX-License-Identifier: GPL-3.0-only */
/* server_private.h: what the files of the server share. All of it belongs to the loop's thread.
 *
 *   server.c        listening, limits, the end
 *   connection.c    a connection: whose turn it is, reading, deadlines
 *   request.c       a request: from its head to its answer, and what the handler may do with it
 *   server_auth.c   who may ask, and proving who answers
 */
#ifndef GARNER_NODE_SERVER_PRIVATE_H
#define GARNER_NODE_SERVER_PRIVATE_H

#include "node/channel.h"
#include "node/nonce_table.h"
#include "node/refusal_log.h"
#include "node/server.h"

#include <sys/queue.h>

#define PIECE_ROOM ((size_t)128 * 1024) /* bytes of a body that are handed over at a time */
#define INPUT_ROOM ((size_t)16 * 1024)  /* bytes that are read ahead of a request's turn */
#define PEER_TEXT_MAX 64

struct connection;

enum request_phase {
	REQUEST_HEAD, /* is being read */
	REQUEST_BODY, /* is being read, for the handler or for nobody */
	REQUEST_WHOLE /* all was read */
};

struct server_request {
	struct connection *connection;
	enum request_phase phase;
	bool seen;      /* by the handler */
	bool answered;  /* or aborted: the handler does not know it any more */
	bool proven;    /* signed with the key: so is the answer */
	bool trusted;   /* proven, current and not replayed */
	bool continued; /* the client was told to go on */
	bool paused;
	bool bad_answer;
	bool has_reason;
	uint8_t nonce[NODE_NONCE_BYTES];
	uint64_t body_left;  /* bytes not read yet */
	uint64_t reserved;   /* of these and of the piece, in the server's budget */
	struct piece *piece; /* being filled */
	void *context;
	struct node_header headers[NODE_HEADERS_MAX]; /* of the answer; each one's name is the start of its memory */
	size_t headers_count;
	struct message_head head;
};

/* What a connection's deadline is for. */
enum deadline {
	DEADLINE_NONE, /* the handler has its turn */
	DEADLINE_READY,
	DEADLINE_IDLE,
	DEADLINE_HEAD,
	DEADLINE_BODY,
	DEADLINE_ANSWER,
	DEADLINE_LINGER
};

struct connection {
	struct server *server;
	struct channel *channel;
	struct server_request *request; /* NULL: none, and nothing of one was read */
	uint64_t requests;              /* so many were begun */
	char peer[PEER_TEXT_MAX];
	bool loopback, ready;
	bool closing;   /* after this answer */
	bool lingering; /* it is sent: what still comes is read and thrown away */
	bool working;   /* somebody further up goes on when this returns */
	bool dry;       /* nothing more to read until on_readable */
	bool idle;      /* in the server's list of those */
	uint8_t *input; /* read, but not looked at yet: INPUT_ROOM, or NULL */
	size_t input_from, input_to;
	uint64_t answer_left; /* bytes given to the channel and not sent, when last looked */
	enum deadline deadline;
	uint64_t deadline_request;      /* `requests` when it was set */
	uint64_t deadline_ms, timer_ms; /* when it is, and when the timer runs (0: it does not) */
	uint64_t window_bytes;          /* moved when the deadline for progress was set */
	struct loop_timer timer;
	struct loop_timer piece_timer; /* a piece that does not become full is handed over as it is */
	struct event advance;
	TAILQ_ENTRY(connection) link;
	TAILQ_ENTRY(connection) idle_link;
};

TAILQ_HEAD(connections, connection);

struct server {
	struct loop *loop;
	struct server_options options; /* limits without zeros; host is not kept */
	struct node_session session;
	struct nonce_table *nonces;
	struct piece_budget *budget;
	struct refusal_log *log;
	int listen_fd;
	unsigned port;
	struct event accept_event;
	struct loop_timer accept_timer; /* listens again, when there may be file descriptors */
	struct loop_timer tick;
	struct connections connections, idle; /* idle: the longest first */
	unsigned connections_count;
	struct server_stats stats;
	bool draining;
	loop_fn *drained;
	void *drained_arg;
	struct loop_timer drain_timer;
};

/* ---- connection.c ---- */

void connection_new(struct server *s, int fd, const char *peer, bool loopback);
/* Ends it, and its request. */
void connection_close(struct connection *c);
/* The request's answer is in the output: go on from there, from an event. */
void connection_answered(struct connection *c);
/* The handler takes pieces again. */
void connection_resume(struct connection *c);

/* ---- server.c ---- */

void server_connection_gone(struct server *s);
void server_refused(struct server *s, enum refusal_kind kind, const char *peer, const char *why);

/* ---- request.c ---- */

/* NULL when memory is short. */
struct server_request *request_new(struct connection *c);
/* What it still holds of the budget, and itself. */
void request_free(struct server_request *r);
/* The head is there: may it be asked, is there room for its body; then the handler's on_head, or a refusal. */
void request_begin(struct server_request *r);
/* `n` bytes more of the piece are filled. */
void request_fill(struct server_request *r, size_t n);
/* Room for the next bytes of the body; 0 in *room when memory is short. */
uint8_t *request_room(struct server_request *r, size_t *room);
/* What is there of a piece is handed over. */
void request_hand_over(struct server_request *r);
/* Nobody waits for it any more: tells the handler, if it knows of it. */
void request_abort(struct server_request *r);
/* An answer of the server's own: one line of text. */
void request_refuse(struct server_request *r, int status, const char *reason, const char *text);

/* ---- server_auth.c ---- */

/* Whether the handler may see it; if not, it is answered. */
bool request_authenticate(struct server_request *r);
/* Adds X-Garner-Answer, when the request was proven to be of somebody with the key. */
int request_sign_answer(struct server_request *r, int status, uint64_t length);

#endif
