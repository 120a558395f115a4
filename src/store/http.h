/* SPDX-License-Identifier: GPL-3.0-only */
/* http.h: the HTTP engine: many requests at once to one server, on one event loop (libevent and curl multi) in its own thread.
 *
 * A request waits in the queue of its class until it may start, is tried as often as its deadline allows (after connection
 * faults, timeouts, 408, 429 and 5xx, with decorrelated jitter, honouring a Retry-After that ends before the deadline), and
 * ends with one call of done(). Connections are kept and used again; HTTP/2 is used where a TLS server offers it. A read
 * that somebody waits for, and whose answer takes longer than nearly all do, is asked for a second time (hedged); the first
 * whole answer counts. Knows nothing of S3, Swift, keys or segments: a request's prepare() writes its head, its judge() reads
 * what the answer means.
 */
#ifndef GARNER_STORE_HTTP_H
#define GARNER_STORE_HTTP_H

#include "base/error.h"
#include "store/http_tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct http_engine;
struct http_head;
struct http_job;

#define HTTP_DEADLINE_MS 30000

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_PUT, HTTP_POST, HTTP_DELETE };

/* Who goes first. Each class has its own limit of requests under way, so that none of the later ones can hold up the first. */
enum http_class {
	HTTP_WAITED,     /* somebody waits for it */
	HTTP_PREFETCH,   /* somebody will probably ask for it soon */
	HTTP_UPLOAD,     /* a segment of the log */
	HTTP_BACKGROUND, /* verifying, cleaning */
	HTTP_CLASSES
};

/* What the store's kind makes of an answer. */
enum http_verdict {
	HTTP_JUDGE_BY_STATUS, /* http_retry.h decides */
	HTTP_JUDGE_DONE,      /* success */
	HTTP_JUDGE_AGAIN,     /* try again, within the deadline */
	HTTP_JUDGE_AT_ONCE, /* the same without a wait: another server is asked; so many times in a row, then as above */
	HTTP_JUDGE_FAIL,    /* `err` says why; its code is the result */
};

#define HTTP_AT_ONCE_MAX 16

struct http_request {
	/* ---- set by the caller, who keeps all of it, and what it points to, until done() ---- */
	enum http_method method;
	enum http_class class;
	/* Sent once at most, over a connection of its own, so that curl does not repeat it either; again only when judge() finds in an
	 * answer of 4xx that nothing was done (HTTP_JUDGE_AT_ONCE). */
	bool once;
	bool hedge; /* may be asked for twice: reads of immutable objects */
	const struct iovec *body;
	int body_count;
	/* Where the body of a 2xx answer goes, at most `room` bytes of it; more is an error: without any room, and if the body is short,
	 * when judge() finds a success. When `buf` is NULL and `room` is not 0, a buffer is made as it is needed, and the caller frees
	 * `buf` afterwards, also after a failure. */
	uint8_t *buf;
	size_t room;
	uint64_t offset; /* a read of a range: asked for with Range, and checked in the answer ... */
	bool range;      /* ... when this is true */
	/* From the submission, all tries included; 0: the engine's. Of what nobody waits for: from the first try, and before that it may
	 * wait for its turn as long as others of its class get on; and it may take longer as long as bytes move, or a slow link would never
	 * be done with a segment; after the first tries only bytes that no try has moved before. */
	uint64_t deadline_ms;
	/* A try during which nothing moves for so long, no byte of either side, is given up. 0: when the engine thinks so, after some
	 * seconds. prepare() may set it for each try. */
	uint64_t try_ms;
	uint64_t again_ms; /* after -EAGAIN of prepare(); 0: 100 */
	/* Writes URL and header lines of one try: http_head_url(), http_head_add(). On the engine's thread: must not block. Returns
	 * 0, -EAGAIN (a log-in is being renewed: tried again in a moment), or another negative errno, which ends the request. */
	int (*prepare)(struct http_request *r, struct http_head *head, struct error *err);
	/* May be NULL. On the engine's thread, after each answer of any status. Meanwhile `buf` is where the answer's body is: of the
	 * second of two tries, elsewhere. */
	enum http_verdict (*judge)(struct http_request *r, struct error *err);
	/* May be NULL. On the engine's thread, when a try ended without an answer and may be made again: HTTP_JUDGE_AGAIN, _AT_ONCE, or
	 * _FAIL with another error than `err` holds already, if it is to be. */
	enum http_verdict (*lost)(struct http_request *r, struct error *err);
	/* Called once, on a thread of the engine other than its loop, which may be used for short work that blocks. */
	void (*done)(struct http_request *r);
	void *arg;

	/* ---- set by the engine: valid in judge() (but `result`) and in done() ---- */
	int result; /* 0 or -errno; `err` holds the text */
	struct error err;
	long status;          /* of the last answer, or 0 when there was none */
	size_t length;        /* bytes put into `buf` */
	uint64_t object_size; /* Content-Length of a HEAD's answer */
	unsigned attempts;    /* tries that reached the network */
	unsigned
		which; /* in prepare(), judge() and lost(): 0, or 1 when it is about the second of two tries at a time */
	bool maybe_done;  /* a try of it before the last answer, if any, was sent and its own never seen */
	char etag[72];    /* without quotes; "" when there was none or it is longer */
	char fault[1024]; /* the beginning of a body that is not for `buf`: of no 2xx, or without room; terminated */
	size_t fault_length;

	struct http_job *job; /* the engine's own */
};

struct http_options {
	struct http_tls tls;                 /* strings copied */
	uint64_t deadline_ms;                /* of a request; 0: HTTP_DEADLINE_MS */
	uint64_t upload_rate, download_rate; /* bytes per second; 0: no limit */
};

/* Starts the engine's threads. NULL with `err` when that cannot be done. Free with http_engine_free(). */
struct http_engine *http_engine_new(const struct http_options *options, struct error *err);

/* Waits for what is under way (at most until its deadline), then frees. Not from a callback. NULL is ignored. */
void http_engine_free(struct http_engine *e);

/* Hands over a request. Any thread; never blocks. */
void http_submit(struct http_engine *e, struct http_request *r);

struct http_counters {
	uint64_t requests[5]; /* by enum http_method, each try counted */
	uint64_t bytes_up, bytes_down;
	uint64_t retries; /* tries after the first of a request, hedges not counted */
	uint64_t hedges;
};
/* Any thread. */
void http_engine_counters(struct http_engine *e, struct http_counters *counters);

/* For prepare(): the URL, and a header line "Name: value". 0 or -ENOMEM. */
int http_head_url(struct http_head *head, const char *url);
int http_head_add(struct http_head *head, const char *line);
/* No proxy of the environment's is asked. */
void http_head_direct(struct http_head *head);

/* For judge(): the value of the first header of that name (in any case) of the answer, or NULL. Lives until the next call for the
 * same request. */
const char *http_answer_header(const struct http_request *r, const char *name);
/* Calls each(arg, name, value) for every header of the answer, in their order, as they were received, until it returns non-zero, which is
 * then returned; else 0. */
int http_answer_headers(const struct http_request *r, int (*each)(void *arg, const char *name, const char *value),
                        void *arg);

#endif
