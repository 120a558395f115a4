/* SPDX-License-Identifier: GPL-3.0-only */
/* http_private.h: what the files of the HTTP engine share. All of it belongs to the loop's thread, but where it says otherwise.
 *
 *   http.c            requests: queues, tries, deadlines, hedges, the end
 *   http_transfer.c   one try: its curl handle, what goes out and comes in
 *   http_loop.c       curl multi on libevent, the thread, the limits in bytes per second
 */
#ifndef GARNER_STORE_HTTP_PRIVATE_H
#define GARNER_STORE_HTTP_PRIVATE_H

#include "base/executor.h"
#include "store/http.h"
#include "store/http_latency.h"
#include "store/http_rate.h"

#include <curl/curl.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

/* ---- one try ---- */

struct http_attempt {
	struct http_job *job;
	CURL *easy;
	struct curl_slist *headers;
	int body_index; /* where in the body we are */
	size_t body_offset;
	bool begun;   /* the answer's status has been looked at */
	bool success; /* it is a 2xx */
	bool resent;  /* curl has sent the body again, over another connection */
	bool unasked; /* it is a 2xx with a body, and there is no room for one */
	bool enough;  /* all that was asked for is here, and the server sends more */
	uint8_t *buf; /* the request's, or a hedge's own */
	size_t length;
	uint64_t moved;   /* bytes of bodies, either way */
	uint64_t reached; /* the same, counted anew when curl sends the body again: how far the try has come */
	uint64_t began_ns;
	/* The limit of silence, 0 for none; when something had moved last, as far as was seen; and what was seen then. */
	uint64_t silence_ns, moved_ns, seen_moved;
	int seen_unsent;
	struct error bad; /* why the answer was not taken */
	size_t fault_length;
	char fault[sizeof((struct http_request *)0)->fault];
	char curl_error[CURL_ERROR_SIZE];
	int pause;    /* CURLPAUSE_* that the limits impose */
	bool stopped; /* by a limit, and nothing has moved since: it may go on by now, but curl has not come to it */
	TAILQ_ENTRY(http_attempt) paused_link;
};

struct http_head {
	CURL *easy;
	struct curl_slist *headers;
	bool has_url;
};

TAILQ_HEAD(http_attempts, http_attempt);

struct http_loop {
	CURLM *multi;
	struct event_base *base;
	struct event curl_timer;
	struct event pause_timer;
	struct http_attempts paused;
	struct http_rate up, down;
};

/* ---- requests ---- */

struct http_job {
	struct http_request *request;
	struct http_engine *engine;
	struct http_attempt *attempt[2]; /* the first, and its hedge */
	struct event timer;              /* the deadline, the next try or the hedge, whichever comes first */
	uint64_t deadline_ns;            /* how long it may take */
	uint64_t end_ns, next_try_ns, hedge_ns;
	uint64_t backoff_ms;
	unsigned at_once;            /* tries in a row that did not wait */
	struct http_attempt *judged; /* whose answer judge() looks at */
	uint64_t reached;            /* by the try that came furthest, as far as it is counted */
	unsigned fresh_tries;        /* how often that was counted anew */
	uint64_t seen_reached;       /* the same, when the deadline was last looked at; and ... */
	uint64_t seen_progress;      /* ... the progress of its class */
	struct error last;           /* of the newest failed try */
	TAILQ_ENTRY(http_job) link;  /* in `incoming` (with the mutex), then in the queue of its class */
	bool queued;
	bool fixed_buf; /* the request came with its buffer */
};

TAILQ_HEAD(http_jobs, http_job);

struct http_engine {
	struct http_options options; /* constant */
	char *tls_strings[3];
	struct executor *done; /* calls done() */
	pthread_t thread;
	bool have_thread;
	int wake_fd;
	struct event wake;
	struct http_loop loop;
	struct http_jobs queue[HTTP_CLASSES];
	unsigned active[HTTP_CLASSES];   /* tries under way */
	uint64_t progress[HTTP_CLASSES]; /* grows with `reached` of each request, and with each that is done */
	struct http_latency latency;

	_Atomic uint64_t requests[5], bytes_up, bytes_down, retries, hedges;

	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t idle;
	struct http_jobs incoming;
	uint64_t unfinished; /* submitted, and done() has not returned */
	bool stopping;
};

/* http_transfer.c: makes a try of the request, ready to be added to the loop. `hedge`: with a buffer of its own. 0 or -errno; -EAGAIN
 * as of prepare(). */
int http_attempt_new(struct http_job *job, bool hedge, struct http_attempt **attempt, struct error *err);
/* It is out of the loop. NULL is ignored. */
void http_attempt_free(struct http_attempt *a);

/* Looks at the answer's head, which a transfer without a body has not done yet; then a->success, a->bad and a->begun are known. */
void http_attempt_look(struct http_attempt *a);

/* Whether nothing has moved for longer than the try may be silent. To be asked every http_attempt_look_ns(). */
bool http_attempt_silent(struct http_attempt *a, uint64_t now_ns);
/* When to ask next; 0: never. */
uint64_t http_attempt_look_ns(const struct http_attempt *a, uint64_t now_ns);

/* http.c: the transfer has ended, in whatever way, and is out of the loop. */
void http_attempt_ended(struct http_attempt *a, CURLcode code);
/* New requests came, or the engine stops. */
void http_take_incoming(struct http_engine *e);

static inline struct timeval timeval_of_ns(uint64_t ns)
{
	return (struct timeval){ .tv_sec = (time_t)(ns / 1000000000),
		                 .tv_usec = (suseconds_t)((ns % 1000000000 + 999) / 1000) };
}

/* http_loop.c */
int http_loop_init(struct http_engine *e, struct error *err);
void http_loop_destroy(struct http_engine *e);
void *http_loop_run(void *engine);
int http_loop_add(struct http_engine *e, struct http_attempt *a);
void http_loop_remove(struct http_engine *e, struct http_attempt *a);
/* Whether bytes may pass; if not, the attempt is noted and goes on (`direction`: CURLPAUSE_RECV or CURLPAUSE_SEND) when they may. */
bool http_loop_may_pass(struct http_attempt *a, int direction);

#endif
