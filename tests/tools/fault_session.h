/* SPDX-License-Identifier: GPL-3.0-only */
/* fault_session.h: one connection through the fault proxy: a client's socket, a server's socket, a lane each way.
 *
 * fault_session.c owns connections and moves bytes; fault_exchange.c reads the requests and answers in them and carries out
 * faults. One thread (the event loop) runs all of it. An event's handler may end a session: it marks it `dead`, and the
 * outermost handler frees it.
 */
#ifndef GARNER_TESTS_FAULT_SESSION_H
#define GARNER_TESTS_FAULT_SESSION_H

#include "tools/fault_http.h"
#include "tools/fault_queue.h"
#include "tools/fault_schedule.h"

#include <event2/event.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#define SESSIONS_MAX 1000
#define EXCHANGES_MAX 64 /* requests under way on one connection, a power of two; with more it is reset */

enum fault_side { CLIENT, SERVER };
enum fault_direction { UP, DOWN }; /* to the server, to the client */

struct fault_session;

/* One direction of a connection. */
struct fault_lane {
	struct fault_session *session;
	enum fault_direction direction;
	struct event *readable, *writable, *timer; /* NULL where a twin has no client */
	struct fault_queue queue;
	struct http_framing framing;
	struct token_bucket pace;        /* of the fault "slow" */
	uint64_t armed_ns;               /* when `timer` is to fire; 0: it is not armed */
	uint64_t grant;                  /* bytes of the shared rate that may be sent now */
	TAILQ_ENTRY(fault_lane) waiters; /* for the shared rate, while `waiting` */
	bool waiting;
	bool reading;  /* `readable` is added */
	bool blocked;  /* `writable` is added */
	bool stopped;  /* nothing more is read */
	bool deaf;     /* what is still read is dropped */
	bool finished; /* its end was passed on */
};

/* A request whose answer has not ended yet. */
struct fault_exchange {
	struct fault_verdict verdict;
	bool head_method, closes, expects_continue;
	bool complete; /* all of the request was read */
};

struct fault_session {
	struct fault_proxy *proxy;
	TAILQ_ENTRY(fault_session) sessions;
	int fd[2];                  /* by fault_side; a twin's client is -1 */
	struct fault_lane lanes[2]; /* by fault_direction */
	struct event *timer;        /* end of a stall; a twin's deadline */
	struct event *gone;         /* the client went away during an endless stall */
	uint64_t established_ns;    /* when a client far away would have known that it is connected */
	bool connecting, connected; /* to the server */
	bool stalled, endless;      /* nothing passes; and that does not end */
	bool forsaken;              /* an endless stall is old: what the client sends is dropped, so as to see it go */
	bool dead;
	bool is_twin;

	struct fault_session *twin;   /* gets a copy of the request that is being read */
	struct fault_session *origin; /* of a twin whose request is not complete */

	struct fault_exchange exchanges[EXCHANGES_MAX];
	unsigned first, next;                  /* of the exchanges, by number; those between are under way */
	bool request_dropped;                  /* the body that is being read is the proxy's */
	const struct fault_exchange *answered; /* by the answer that is being read; NULL: by none */
	bool answer_begun;                     /* the first bytes of the answer's body were seen */
	uint64_t answer_seen;                  /* bytes of its body so far */
	uint64_t answer_mark;                  /* where in its body it is cut, or corrupted */
};

/* What all connections share, in one direction. */
struct fault_rate {
	struct token_bucket bucket;
	TAILQ_HEAD(, fault_lane) waiters;
	struct event *timer;
};

struct fault_proxy {
	struct event_base *base;
	struct fault_schedule schedule;
	struct fault_pool pool;
	struct fault_rate rates[2]; /* by fault_direction */
	struct sockaddr_in to;
	struct event *listener;
	struct event *accept_again;
	int listen_fd;
	uint64_t delay_ns;
	bool down;
	TAILQ_HEAD(, fault_session) sessions;
	unsigned session_count;
	uint64_t connections;
	uint64_t bytes[2]; /* passed on, by fault_direction */
	uint64_t harmless; /* faults that found nothing to harm: no body to corrupt */
};

/* ---- fault_session.c --------------------------------------------------------------------------------------------- */

/* Sets up what sessions share. 0, or -ENOMEM. fault_sessions_end() frees it, and is for a failed call too. */
int fault_sessions_begin(struct fault_proxy *p);
/* Resets every connection and frees. */
void fault_sessions_end(struct fault_proxy *p);
/* Resets every connection. Not from a session's own event. */
void fault_sessions_reset(struct fault_proxy *p);

/* Sets the rate of both directions; 0: no limit. */
void fault_rate_set(struct fault_proxy *p, uint64_t rate);

/* Serves a client; owns `client` from now on, also when it fails. 0, or -ENOMEM when sockets or memory are short. */
int fault_session_accept(struct fault_proxy *p, int client);

/* A connection of the proxy's own, which sends what it is fed and drops the answer. NULL when sockets or memory are
 * short. */
struct fault_session *fault_session_twin(struct fault_session *origin);

/* Closes `fd` with a reset; -1 is ignored. */
void fault_close_reset(int fd);

/* When what was read at `now_ns` in this direction is due. */
uint64_t fault_session_due(const struct fault_session *s, enum fault_direction direction, uint64_t now_ns);

/* Queues in a lane, see fault_queue.h. When memory is short the session is dead afterwards. */
void fault_lane_keep(struct fault_lane *l, const struct fault_lane *from, uint64_t due_ns, const uint8_t *bytes,
                     size_t size);
void fault_lane_copy(struct fault_lane *l, uint64_t due_ns, const void *bytes, size_t size);
void fault_lane_signal(struct fault_lane *l, uint64_t due_ns, enum fault_item_kind kind, uint64_t argument);

/* Nothing more is read from either side; the client's connection is reset at `due_ns`. */
void fault_session_cut(struct fault_session *s, uint64_t due_ns);

/* The server is closed now; the client's connection is closed in order at `due_ns`, after what is queued for it. */
void fault_session_finish(struct fault_session *s, uint64_t due_ns);

/* Nothing passes for `ms` milliseconds; 0: until the client goes away. */
void fault_session_stall(struct fault_session *s, uint64_t ms);

/* The twin is fed no more: complete (it waits for its answer), or not (it is ended). */
void fault_session_part(struct fault_session *origin, bool complete);

/* Sends what is due in a lane, as far as rate and socket allow, and sees to it that the rest follows. */
void fault_lane_pump(struct fault_lane *l);

/* ---- fault_exchange.c -------------------------------------------------------------------------------------------- */

/* Takes `size` bytes that were received into the lane's queue at `now_ns`: queues them, or does what a fault wants. */
void fault_exchange_bytes(struct fault_lane *l, uint8_t *bytes, size_t size, uint64_t now_ns);

/* The lane's source ended in order: a head that was begun goes on its way, and the end after it. */
void fault_exchange_end(struct fault_lane *l, uint64_t now_ns);

#endif
