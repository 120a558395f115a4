/* SPDX-License-Identifier: GPL-3.0-only */
/* http_loop.c: curl multi on libevent, in a thread of its own, and the limits in bytes per second.
 *
 * curl says which sockets it waits for and when it wants to be called next; libevent waits. Knows nothing of requests.
 */
#include "store/http_private.h"

#include "base/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Connections kept open for the next request. */
#define IDLE_CONNECTIONS 256

/* Tells of all transfers that have ended. */
static void collect(struct http_engine *e)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(e->loop.multi, &left))) {
		struct http_attempt *a = NULL;
		CURLcode code = message->data.result;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&a);
		http_loop_remove(e, a);
		http_attempt_ended(a, code);
	}
}

static void act(struct http_engine *e, curl_socket_t fd, int what)
{
	int running;

	curl_multi_socket_action(e->loop.multi, fd, what, &running);
	collect(e);
}

static void socket_event(evutil_socket_t fd, short what, void *arg)
{
	act(arg, fd, (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0));
}

static void timer_event(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	act(arg, CURL_SOCKET_TIMEOUT, 0);
}

/* curl says what it waits for on a socket. Its event is kept with the socket until curl lets go of that. */
static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	struct http_engine *e = arg;
	struct event *event = known;
	short events = EV_PERSIST;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (event)
			event_free(event);
		return 0;
	}
	if (what & CURL_POLL_IN)
		events |= EV_READ;
	if (what & CURL_POLL_OUT)
		events |= EV_WRITE;
	if (event) {
		event_del(event);
		event_assign(event, e->loop.base, fd, events, socket_event, e);
	} else {
		event = event_new(e->loop.base, fd, events, socket_event, e);
		if (!event)
			return -1;
		curl_multi_assign(e->loop.multi, fd, event);
	}
	return event_add(event, NULL);
}

static int watch_time(CURLM *multi, long timeout_ms, void *arg)
{
	struct http_engine *e = arg;

	(void)multi;
	if (timeout_ms < 0)
		return event_del(&e->loop.curl_timer);
	struct timeval t = timeval_of_ns((uint64_t)timeout_ms * 1000000);
	return event_add(&e->loop.curl_timer, &t);
}

/* ---- limits ---- */

static void pass_later(struct http_engine *e, uint64_t wait_ns)
{
	struct timeval t = timeval_of_ns(wait_ns < 1000000 ? 1000000 : wait_ns);

	if (!event_pending(&e->loop.pause_timer, EV_TIMEOUT, NULL))
		event_add(&e->loop.pause_timer, &t);
}

bool http_loop_may_pass(struct http_attempt *a, int direction)
{
	struct http_engine *e = a->job->engine;
	struct http_rate *rate = direction == CURLPAUSE_RECV ? &e->loop.down : &e->loop.up;
	uint64_t wait_ns;

	if (http_rate_open(rate, clock_monotonic_ns(), &wait_ns))
		return true;
	if (!a->pause)
		TAILQ_INSERT_TAIL(&e->loop.paused, a, paused_link);
	a->pause |= direction;
	a->stopped = true;
	pass_later(e, wait_ns);
	return false;
}

/* Those that a limit has stopped go on: what somebody waits for first, each until the limit stops it again. */
static void pause_event(evutil_socket_t fd, short what, void *arg)
{
	struct http_engine *e = arg;
	struct http_attempts resumed = TAILQ_HEAD_INITIALIZER(resumed);
	uint64_t now = clock_monotonic_ns();
	struct http_attempt *a;

	(void)fd;
	(void)what;
	TAILQ_CONCAT(&resumed, &e->loop.paused, paused_link);
	for (int class = 0; class < HTTP_CLASSES; class ++) {
		struct http_attempt *next;
		for (a = TAILQ_FIRST(&resumed); a; a = next) {
			next = TAILQ_NEXT(a, paused_link);
			if ((int)a->job->request->class != class)
				continue;
			TAILQ_REMOVE(&resumed, a, paused_link);
			a->pause = 0;
			a->moved_ns = now; /* its silence begins here */
			curl_easy_pause(a->easy, CURLPAUSE_CONT);
		}
	}
	collect(e);
}

/* ---- transfers ---- */

int http_loop_add(struct http_engine *e, struct http_attempt *a)
{
	return curl_multi_add_handle(e->loop.multi, a->easy) == CURLM_OK ? 0 : -ENOMEM;
}

void http_loop_remove(struct http_engine *e, struct http_attempt *a)
{
	if (a->pause)
		TAILQ_REMOVE(&e->loop.paused, a, paused_link);
	a->pause = 0;
	curl_multi_remove_handle(e->loop.multi, a->easy);
}

/* ---- the thread ---- */

static void wake_event(evutil_socket_t fd, short what, void *arg)
{
	uint64_t count;

	(void)what;
	if (read(fd, &count, sizeof count) < 0 && errno != EAGAIN && errno != EINTR)
		return;
	http_take_incoming(arg);
}

void *http_loop_run(void *engine)
{
	struct http_engine *e = engine;
	sigset_t set;

	/* A TLS library may write to a connection that the server has closed. */
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	event_base_loop(e->loop.base, EVLOOP_NO_EXIT_ON_EMPTY);
	return NULL;
}

static struct event_base *make_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (!config)
		return NULL;
	/* Used on one thread; and deadlines of milliseconds need a timer that has them. */
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_PRECISE_TIMER);
	base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

int http_loop_init(struct http_engine *e, struct error *err)
{
	uint64_t now = clock_monotonic_ns();
	struct http_loop *l = &e->loop;

	TAILQ_INIT(&l->paused);
	http_rate_init(&l->up, e->options.upload_rate, now);
	http_rate_init(&l->down, e->options.download_rate, now);
	if (!http_library_init()) {
		l->base = make_base();
		l->multi = curl_multi_init();
		e->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
	if (!l->base || !l->multi || e->wake_fd < 0)
		return error_set(err, -ENOMEM, "cannot start the HTTP engine: out of memory or of file descriptors");
	curl_multi_setopt(l->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl_multi_setopt(l->multi, CURLMOPT_SOCKETDATA, e);
	curl_multi_setopt(l->multi, CURLMOPT_TIMERFUNCTION, watch_time);
	curl_multi_setopt(l->multi, CURLMOPT_TIMERDATA, e);
	curl_multi_setopt(l->multi, CURLMOPT_MAXCONNECTS, (long)IDLE_CONNECTIONS);
	curl_multi_setopt(l->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
	evtimer_assign(&l->curl_timer, l->base, timer_event, e);
	evtimer_assign(&l->pause_timer, l->base, pause_event, e);
	event_assign(&e->wake, l->base, e->wake_fd, EV_READ | EV_PERSIST, wake_event, e);
	if (event_add(&e->wake, NULL))
		return error_set(err, -ENOMEM, "cannot start the HTTP engine: out of memory");
	return 0;
}

void http_loop_destroy(struct http_engine *e)
{
	if (e->loop.multi)
		curl_multi_cleanup(e->loop.multi);
	if (e->loop.base)
		event_base_free(e->loop.base);
	if (e->wake_fd >= 0)
		close(e->wake_fd);
}
