/* SPDX-License-Identifier: GPL-3.0-only */
/* http.c: requests from their submission to their end: queues, tries, deadlines, hedges.
 *
 * A request is in one of these states: incoming (another thread has handed it over), queued, under way (one try or two),
 * waiting for its next try, ended (its done() runs on the executor). All but the first and last belong to the loop's thread.
 */
#include "store/http.h"

#include "base/clock.h"
#include "store/http_private.h"
#include "store/http_retry.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define LOGIN_WAIT_MS 100
#define DONE_THREADS 2
#define MS 1000000ull
/* So many tries of a long transfer may each put off the deadline from their beginning on. */
#define FRESH_TRIES 2

static const unsigned active_max[HTTP_CLASSES] = {
	[HTTP_WAITED] = 256,
	[HTTP_PREFETCH] = 32,
	[HTTP_UPLOAD] = 32,
	[HTTP_BACKGROUND] = 16,
};

static void start_more(struct http_engine *e);

/* ---- the end ---- */

static void done_job(void *arg)
{
	struct http_job *job = arg;
	struct http_engine *e = job->engine;

	job->request->done(job->request);
	free(job);
	pthread_mutex_lock(&e->mutex);
	if (--e->unfinished == 0)
		pthread_cond_broadcast(&e->idle);
	pthread_mutex_unlock(&e->mutex);
}

static void drop_attempt(struct http_job *job, int which)
{
	struct http_attempt *a = job->attempt[which];

	if (!a)
		return;
	job->attempt[which] = NULL;
	job->engine->active[job->request->class]--;
	http_loop_remove(job->engine, a);
	http_attempt_free(a);
}

/* Ends the request: `rc` with the text in `err`, if it is not 0. */
static void end(struct http_job *job, int rc, const struct error *err)
{
	struct http_engine *e = job->engine;
	struct http_request *r = job->request;

	drop_attempt(job, 0);
	drop_attempt(job, 1);
	event_del(&job->timer);
	if (job->queued)
		TAILQ_REMOVE(&e->queue[r->class], job, link);
	r->result = rc;
	if (rc) {
		r->err = *err;
		r->err.code = rc;
	}
	if (executor_run(e->done, done_job, job))
		done_job(job);
}

/* ---- waiting ---- */

/* Arms the timer for what comes next. */
static void arm(struct http_job *job)
{
	uint64_t now = clock_monotonic_ns(), next = job->end_ns, wait;

	if (job->next_try_ns && job->next_try_ns < next)
		next = job->next_try_ns;
	if (job->hedge_ns && job->hedge_ns < next)
		next = job->hedge_ns;
	for (int i = 0; i < 2; i++) {
		uint64_t look = http_attempt_look_ns(job->attempt[i], now);
		if (look && look < next)
			next = look;
	}
	wait = next > now ? next - now : 0;
	struct timeval t = timeval_of_ns(wait);
	event_add(&job->timer, &t);
}

/* Those that were tried come first: their deadlines run. */
static void enqueue(struct http_job *job)
{
	struct http_jobs *queue = &job->engine->queue[job->request->class];
	struct http_job *untried = NULL;

	if (job->request->attempts)
		untried = TAILQ_FIRST(queue);
	while (untried && untried->request->attempts)
		untried = TAILQ_NEXT(untried, link);
	if (untried)
		TAILQ_INSERT_BEFORE(untried, job, link);
	else
		TAILQ_INSERT_TAIL(queue, job, link);
	job->queued = true;
}

/* Tries again after `wait_ms`, or ends the request if its deadline comes first. */
static void try_again(struct http_job *job, uint64_t wait_ms, const struct error *why)
{
	uint64_t at = clock_monotonic_ns() + wait_ms * MS;

	job->last = *why;
	if (at >= job->end_ns) {
		struct error err = *why;
		end(job, why->code == -EAGAIN ? -ETIMEDOUT : why->code, &err);
		return;
	}
	job->next_try_ns = at;
	arm(job);
}

static void back_off(struct http_job *job, uint64_t at_least_ms, const struct error *why)
{
	uint64_t now = clock_monotonic_ns(), left_ms = job->end_ns > now ? (job->end_ns - now) / MS : 0;

	/* A server that asks for more time than there is may be there sooner, as it would if it had asked for none. */
	if (at_least_ms >= left_ms)
		at_least_ms = left_ms / 2;
	job->at_once = 0;
	job->backoff_ms = http_backoff_ms(job->backoff_ms, randombytes_random());
	try_again(job, job->backoff_ms > at_least_ms ? job->backoff_ms : at_least_ms, why);
}

/* ---- the end of a try ---- */

static void read_head(struct http_request *r, struct http_attempt *a)
{
	struct curl_header *h;
	curl_off_t size = -1;

	curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &r->status);
	curl_easy_getinfo(a->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &size);
	r->object_size = size > 0 ? (uint64_t)size : 0;
	r->length = a->success ? a->length : 0;
	r->etag[0] = '\0';
	if (curl_easy_header(a->easy, "ETag", 0, CURLH_HEADER, -1, &h) == CURLHE_OK) {
		const char *from = h->value + (h->value[0] == '"');
		size_t n = strcspn(from, "\"");
		if (n < sizeof r->etag) {
			memcpy(r->etag, from, n);
			r->etag[n] = '\0';
		}
	}
	r->fault_length = a->fault_length;
	memcpy(r->fault, a->fault, a->fault_length);
	r->fault[a->fault_length] = '\0';
}

static uint64_t retry_after_ms(const struct http_attempt *a)
{
	struct curl_header *h;

	if (curl_easy_header(a->easy, "Retry-After", 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
		return 0;
	return http_retry_after_ms(h->value, time(NULL));
}

/* What the status alone says. */
static void status_error(const struct http_request *r, struct error *err)
{
	int rc = http_status_errno(r->status);

	if (rc == -EACCES)
		error_set(err, rc, "the server denies access (status %ld): check the keys, and what they may do",
		          r->status);
	else
		error_set(err, rc ? rc : -EIO, "the server answered with status %ld", r->status);
}

/* What a whole answer means. */
static enum http_verdict judge(struct http_job *job, struct http_attempt *a, struct error *err)
{
	struct http_request *r = job->request;
	enum http_verdict verdict = HTTP_JUDGE_BY_STATUS;

	if (r->judge) {
		uint8_t *buf = r->buf;

		r->which = job->attempt[1] == a;
		r->buf = a->buf; /* a second try has its own */
		job->judged = a;
		verdict = r->judge(r, err);
		job->judged = NULL;
		r->buf = buf;
	}
	if (verdict != HTTP_JUDGE_BY_STATUS)
		return verdict;
	if (r->status >= 200 && r->status < 300)
		return HTTP_JUDGE_DONE;
	status_error(r, err);
	return http_status_passes(r->status) ? HTTP_JUDGE_AGAIN : HTTP_JUDGE_FAIL;
}

/* Why a transfer did not come to its end. */
static void transfer_error(const struct http_attempt *a, CURLcode code, struct error *err)
{
	const char *text = a->curl_error[0] ? a->curl_error : curl_easy_strerror(code);
	int rc = code == CURLE_OPERATION_TIMEDOUT || code == CURLE_COULDNT_CONNECT ? -ETIMEDOUT : -EIO;

	error_set(err, rc, "no answer from the server: %s", text);
}

/* Takes the attempt out of its request; a hedge that has won gives its bytes. */
static void settle(struct http_job *job, struct http_attempt *a, bool won)
{
	struct http_request *r = job->request;
	int which = job->attempt[1] == a;

	if (won && which)
		memcpy(r->buf, a->buf, a->length);
	job->attempt[which] = NULL;
	job->engine->active[r->class]--;
	http_attempt_free(a);
}

/* Whether something of it went out. */
static bool was_sent(const struct http_attempt *a)
{
	long sent = 0;

	curl_easy_getinfo(a->easy, CURLINFO_REQUEST_SIZE, &sent);
	return sent > 0;
}

/* What a try without an answer means. */
static enum http_verdict judge_lost(struct http_job *job, const struct http_attempt *a, struct error *err)
{
	struct http_request *r = job->request;

	if (!r->lost)
		return HTTP_JUDGE_AGAIN;
	r->which = job->attempt[1] == a;
	return r->lost(r, err);
}

static bool to_be_repeated(enum http_verdict verdict)
{
	return verdict == HTTP_JUDGE_AGAIN || verdict == HTTP_JUDGE_AT_ONCE;
}

/* A try is over, and the attempt gone: what becomes of its request. `sent`: the server may have seen something of it; `refused`: it has
 * answered that it did nothing. */
static void go_on(struct http_job *job, enum http_verdict verdict, bool sent, bool refused, uint64_t after_ms,
                  struct error *err)
{
	struct http_engine *e = job->engine;

	if (verdict != HTTP_JUDGE_DONE && !err->code)
		error_set(err, -EIO, "the server gave no answer of use");
	if (to_be_repeated(verdict) && (job->attempt[0] || job->attempt[1])) {
		arm(job);
		return; /* the other one may still bring it */
	}
	job->hedge_ns = 0;
	/* Without end, one that sends all and gets no answer would be tried for ever. */
	if (job->reached && job->fresh_tries++ < FRESH_TRIES)
		job->reached = job->seen_reached = 0;
	if (to_be_repeated(verdict) && job->request->once && sent && !(verdict == HTTP_JUDGE_AT_ONCE && refused))
		verdict = HTTP_JUDGE_FAIL;
	if (verdict == HTTP_JUDGE_AT_ONCE && job->at_once++ < HTTP_AT_ONCE_MAX)
		try_again(job, 0, err);
	else if (to_be_repeated(verdict))
		back_off(job, after_ms, err);
	else
		end(job, verdict == HTTP_JUDGE_DONE ? 0 : err->code, err);
	start_more(e);
}

void http_attempt_ended(struct http_attempt *a, CURLcode code)
{
	struct http_job *job = a->job;
	struct http_request *r = job->request;
	enum http_verdict verdict;
	struct error err = { 0 };
	uint64_t after_ms = 0;
	bool sent = was_sent(a);

	if (code == CURLE_WRITE_ERROR && a->enough)
		code = CURLE_OK;
	if (code == CURLE_OK)
		http_attempt_look(a);
	if (a->bad.code) {
		verdict = a->bad.code == -ENOMEM ? HTTP_JUDGE_AGAIN : HTTP_JUDGE_FAIL;
		err = a->bad;
	} else if (code != CURLE_OK) {
		transfer_error(a, code, &err);
		verdict = http_transfer_passes(code) ? judge_lost(job, a, &err) : HTTP_JUDGE_FAIL;
	} else {
		read_head(r, a);
		verdict = judge(job, a, &err);
		if (verdict == HTTP_JUDGE_DONE && a->unasked) {
			error_set(&err, -EFBIG, "the server's answer has a body, which was not asked for");
			verdict = HTTP_JUDGE_FAIL;
		}
		after_ms = retry_after_ms(a);
	}
	if (verdict == HTTP_JUDGE_DONE && r->hedge)
		http_latency_add(&job->engine->latency, (clock_monotonic_ns() - a->began_ns) / 1000);
	if (verdict == HTTP_JUDGE_DONE)
		job->engine->progress[r->class]++;
	r->maybe_done |= a->resent;
	/* An answer of 4xx says what became of it; with anything else, and a 2xx that is no success, it may have been done. */
	if (to_be_repeated(verdict) && sent &&
	    (code != CURLE_OK || r->status < 300 || r->status >= 500 || r->status == 408))
		r->maybe_done = true;
	settle(job, a, verdict == HTTP_JUDGE_DONE);
	go_on(job, verdict, sent, code == CURLE_OK && r->status >= 400 && r->status < 500, after_ms, &err);
}

/* Nothing has moved for too long. */
static void give_up(struct http_job *job, struct http_attempt *a)
{
	struct http_request *r = job->request;
	struct error err = { 0 };
	bool sent = was_sent(a);

	error_set(&err, -ETIMEDOUT, "no answer from the server for %llu ms", (unsigned long long)(a->silence_ns / MS));
	enum http_verdict verdict = judge_lost(job, a, &err);
	r->maybe_done |= sent;
	http_loop_remove(job->engine, a);
	settle(job, a, false);
	go_on(job, verdict, sent, false, 0, &err);
}

/* ---- the beginning of a try ---- */

static void start_try(struct http_job *job, int which)
{
	struct http_engine *e = job->engine;
	struct http_request *r = job->request;
	struct http_attempt *a = NULL;
	struct error err = { 0 };
	int rc = http_attempt_new(job, which == 1, &a, &err);

	if (!rc && http_loop_add(e, a)) {
		http_attempt_free(a);
		rc = error_set(&err, -ENOMEM, "out of memory for a request");
	}
	if (rc) {
		if (which == 1)
			return; /* the first one goes on */
		err.code = rc;
		if (rc == -EAGAIN || rc == -ENOMEM)
			try_again(job, rc == -EAGAIN && r->again_ms ? r->again_ms : LOGIN_WAIT_MS, &err);
		else
			end(job, rc, &err);
		return;
	}
	job->attempt[which] = a;
	e->active[r->class]++;
	atomic_fetch_add_explicit(&e->requests[r->method], 1, memory_order_relaxed);
	if (which == 0 && r->attempts)
		atomic_fetch_add_explicit(&e->retries, 1, memory_order_relaxed);
	/* What nobody waits for may have been in the queue for long. */
	if (!r->attempts && r->class != HTTP_WAITED)
		job->end_ns = a->began_ns + job->deadline_ns;
	r->attempts++;
	if (which == 0 && r->hedge && r->class == HTTP_WAITED && r->range) {
		uint64_t us = http_latency_hedge_us(&e->latency);
		job->hedge_ns = us ? a->began_ns + us * 1000 : 0;
	}
	arm(job);
}

static void start_more(struct http_engine *e)
{
	for (int class = 0; class < HTTP_CLASSES; class ++) {
		struct http_job *job;
		while (e->active[class] < active_max[class] && (job = TAILQ_FIRST(&e->queue[class]))) {
			TAILQ_REMOVE(&e->queue[class], job, link);
			job->queued = false;
			start_try(job, 0);
		}
	}
}

static void hedge(struct http_job *job)
{
	struct http_engine *e = job->engine;

	job->hedge_ns = 0;
	if (job->attempt[0] && !job->attempt[1] && e->active[job->request->class] < active_max[job->request->class] &&
	    http_latency_spend(&e->latency)) {
		start_try(job, 1);
		if (job->attempt[1])
			atomic_fetch_add_explicit(&e->hedges, 1, memory_order_relaxed);
	}
	arm(job);
}

/* Whether it has not had its turn yet: it waits for others to be done, or a limit in bytes per second lets them pass. */
static bool waits_for_its_turn(const struct http_job *job)
{
	const struct http_attempt *a = job->attempt[0];

	return a ? a->stopped && job->request->attempts == 1 : job->queued && !job->request->attempts;
}

/* Whether the request may go on past its deadline. What is only moved again does not count: a server that takes the whole body each time,
 * and never answers, would be tried for ever. */
static bool still_moving(struct http_job *job)
{
	uint64_t before = job->seen_reached, class_before = job->seen_progress;

	if (job->request->class == HTTP_WAITED)
		return false;
	job->seen_reached = job->reached;
	job->seen_progress = job->engine->progress[job->request->class];
	if (waits_for_its_turn(job))
		return job->seen_progress > class_before;
	return job->attempt[0] && job->reached > before;
}

/* The first of the tries that has been silent for too long, or NULL. */
static struct http_attempt *silent_try(struct http_job *job, uint64_t now)
{
	struct http_attempt *silent = NULL;

	for (int i = 1; i >= 0; i--)
		if (http_attempt_silent(job->attempt[i], now))
			silent = job->attempt[i];
	return silent;
}

static void timer_fired(evutil_socket_t fd, short what, void *arg)
{
	struct http_job *job = arg;
	struct http_engine *e = job->engine;
	uint64_t now = clock_monotonic_ns();
	struct http_attempt *silent = silent_try(job, now);

	(void)fd;
	(void)what;
	if (now >= job->end_ns && still_moving(job)) {
		job->end_ns = now + job->deadline_ns;
		arm(job);
	} else if (now >= job->end_ns) {
		struct error err = job->last;
		if (job->attempt[0] && was_sent(job->attempt[0]))
			job->request->maybe_done = true;
		if (!err.code)
			error_set(&err, -ETIMEDOUT, "the server did not answer in time");
		end(job, err.code == -EAGAIN ? -ETIMEDOUT : err.code, &err);
	} else if (job->next_try_ns && now >= job->next_try_ns) {
		job->next_try_ns = 0;
		enqueue(job);
		arm(job);
	} else if (silent) {
		give_up(job, silent);
	} else if (job->hedge_ns && now >= job->hedge_ns) {
		hedge(job);
	} else {
		arm(job);
	}
	start_more(e);
}

/* ---- handing over ---- */

void http_take_incoming(struct http_engine *e)
{
	struct http_jobs incoming = TAILQ_HEAD_INITIALIZER(incoming);
	struct http_job *job;
	bool stopping;

	pthread_mutex_lock(&e->mutex);
	TAILQ_CONCAT(&incoming, &e->incoming, link);
	stopping = e->stopping;
	pthread_mutex_unlock(&e->mutex);
	while ((job = TAILQ_FIRST(&incoming))) {
		TAILQ_REMOVE(&incoming, job, link);
		evtimer_assign(&job->timer, e->loop.base, timer_fired, job);
		job->seen_progress = e->progress[job->request->class];
		enqueue(job);
		arm(job);
	}
	start_more(e);
	if (stopping)
		event_base_loopbreak(e->loop.base);
}

static void wake(struct http_engine *e)
{
	uint64_t one = 1;

	/* It can only fail when the counter is full, and then the loop is awake. */
	if (write(e->wake_fd, &one, sizeof one) < 0)
		return;
}

static void no_memory_job(void *arg)
{
	struct http_request *r = arg;

	r->done(r);
}

void http_submit(struct http_engine *e, struct http_request *r)
{
	struct http_job *job = calloc(1, sizeof *job);

	r->result = 0;
	r->err = (struct error){ 0 };
	r->status = 0;
	r->length = r->fault_length = 0;
	r->object_size = 0;
	r->attempts = 0;
	r->maybe_done = false;
	r->which = 0;
	r->job = NULL;
	r->etag[0] = r->fault[0] = '\0';
	if (!job) {
		r->result = error_set(&r->err, -ENOMEM, "out of memory for a request");
		if (executor_run(e->done, no_memory_job, r))
			r->done(r);
		return;
	}
	job->request = r;
	job->engine = e;
	r->job = job;
	job->fixed_buf = r->buf || !r->room;
	job->deadline_ns = (r->deadline_ms ? r->deadline_ms : e->options.deadline_ms) * MS;
	job->end_ns = clock_monotonic_ns() + job->deadline_ns;
	pthread_mutex_lock(&e->mutex);
	bool first = TAILQ_EMPTY(&e->incoming);
	TAILQ_INSERT_TAIL(&e->incoming, job, link);
	e->unfinished++;
	pthread_mutex_unlock(&e->mutex);
	if (first)
		wake(e);
}

/* ---- the engine ---- */

static int copy_tls(struct http_engine *e, const struct http_tls *tls)
{
	const char *from[3] = { tls->ca_file, tls->client_cert, tls->client_key };

	for (int i = 0; i < 3; i++) {
		if (!from[i])
			continue;
		e->tls_strings[i] = strdup(from[i]);
		if (!e->tls_strings[i])
			return -ENOMEM;
	}
	e->options.tls.ca_file = e->tls_strings[0];
	e->options.tls.client_cert = e->tls_strings[1];
	e->options.tls.client_key = e->tls_strings[2];
	return 0;
}

struct http_engine *http_engine_new(const struct http_options *options, struct error *err)
{
	struct http_engine *e = calloc(1, sizeof *e);
	int rc;

	if (!e) {
		error_set(err, -ENOMEM, "cannot start the HTTP engine: out of memory");
		return NULL;
	}
	pthread_mutex_init(&e->mutex, NULL);
	pthread_cond_init(&e->idle, NULL);
	TAILQ_INIT(&e->incoming);
	for (int class = 0; class < HTTP_CLASSES; class ++)
		TAILQ_INIT(&e->queue[class]);
	e->wake_fd = -1;
	e->options = *options;
	if (!e->options.deadline_ms)
		e->options.deadline_ms = HTTP_DEADLINE_MS;
	rc = http_loop_init(e, err);
	if (!rc && copy_tls(e, &options->tls))
		rc = error_set(err, -ENOMEM, "cannot start the HTTP engine: out of memory");
	if (!rc)
		e->done = executor_new("store-done", DONE_THREADS, false);
	if (!rc && (!e->done || pthread_create(&e->thread, NULL, http_loop_run, e)))
		rc = error_set(err, -EAGAIN, "cannot start the HTTP engine: no thread to be had");
	if (rc) {
		http_engine_free(e);
		return NULL;
	}
	e->have_thread = true;
	pthread_setname_np(e->thread, "store-http");
	return e;
}

void http_engine_free(struct http_engine *e)
{
	if (!e)
		return;
	if (e->have_thread) {
		pthread_mutex_lock(&e->mutex);
		while (e->unfinished)
			pthread_cond_wait(&e->idle, &e->mutex);
		e->stopping = true;
		pthread_mutex_unlock(&e->mutex);
		wake(e);
		pthread_join(e->thread, NULL);
	}
	executor_free(e->done);
	http_loop_destroy(e);
	for (int i = 0; i < 3; i++)
		free(e->tls_strings[i]);
	pthread_cond_destroy(&e->idle);
	pthread_mutex_destroy(&e->mutex);
	free(e);
}

void http_engine_counters(struct http_engine *e, struct http_counters *counters)
{
	for (size_t i = 0; i < sizeof counters->requests / sizeof counters->requests[0]; i++)
		counters->requests[i] = atomic_load(&e->requests[i]);
	counters->bytes_up = atomic_load(&e->bytes_up);
	counters->bytes_down = atomic_load(&e->bytes_down);
	counters->retries = atomic_load(&e->retries);
	counters->hedges = atomic_load(&e->hedges);
}
