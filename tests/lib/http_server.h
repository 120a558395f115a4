/* SPDX-License-Identifier: GPL-3.0-only */
/* http_server.h: an HTTP server on 127.0.0.1, on a thread of its own: many connections, kept open, answers later or never.
 *
 * A test gives a function that says what to answer; it runs on the server's thread, one call at a time. For tests only.
 */
#ifndef GARNER_TESTS_HTTP_SERVER_H
#define GARNER_TESTS_HTTP_SERVER_H

#include <arpa/inet.h>
#include <assert.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct http_server_request {
	enum evhttp_cmd_type method;
	const char *target;
	const uint8_t *body;
	size_t body_length;
	unsigned number; /* from 1: how many requests there were, this one included */
	struct evhttp_request *real;
};

/* All zeros: 200 without a body. */
struct http_server_answer {
	int status;
	const char *name[8], *value[8]; /* more headers */
	const void *body;
	size_t body_length;
	bool hold; /* not now: when http_server_let_go() is called, or never */
	bool drop; /* the connection is closed without an answer */
};

typedef void http_server_fn(void *arg, const struct http_server_request *request, struct http_server_answer *answer);

struct http_server_held {
	struct evhttp_request *request;
	struct http_server_answer answer;
};

struct http_server {
	struct event_base *base;
	struct evhttp *http;
	struct event *wake;
	int wake_fd;
	unsigned port;
	http_server_fn *answer;
	void *arg;
	pthread_t thread;
	atomic_uint requests, holding;
	atomic_bool stop, let_go;
	struct http_server_held held[128]; /* the thread's alone */
};

static inline const char *http_server_header(const struct http_server_request *r, const char *name)
{
	const char *value = evhttp_find_header(evhttp_request_get_input_headers(r->real), name);

	return value ? value : "";
}

static inline void http_server_send(struct evhttp_request *real, const struct http_server_answer *a)
{
	struct evbuffer *body = evbuffer_new();

	assert(body);
	for (size_t i = 0; i < sizeof a->name / sizeof a->name[0] && a->name[i]; i++)
		evhttp_add_header(evhttp_request_get_output_headers(real), a->name[i], a->value[i]);
	if (evhttp_request_get_command(real) == EVHTTP_REQ_HEAD) {
		char length[24];
		snprintf(length, sizeof length, "%zu", a->body_length);
		evhttp_add_header(evhttp_request_get_output_headers(real), "Content-Length", length);
	} else if (a->body_length) {
		evbuffer_add(body, a->body, a->body_length);
	}
	evhttp_send_reply(real, a->status ? a->status : 200, NULL, body);
	evbuffer_free(body);
}

static inline void http_server_forget(struct evhttp_connection *connection, void *arg)
{
	struct http_server *s = arg;

	for (size_t i = 0; i < sizeof s->held / sizeof s->held[0]; i++)
		if (s->held[i].request && evhttp_request_get_connection(s->held[i].request) == connection) {
			s->held[i].request = NULL;
			atomic_fetch_sub(&s->holding, 1);
		}
}

static inline void http_server_hold(struct http_server *s, struct evhttp_request *real,
                                    const struct http_server_answer *answer)
{
	for (size_t i = 0; i < sizeof s->held / sizeof s->held[0]; i++)
		if (!s->held[i].request) {
			s->held[i] = (struct http_server_held){ real, *answer };
			s->held[i].answer.hold = false;
			evhttp_connection_set_closecb(evhttp_request_get_connection(real), http_server_forget, s);
			atomic_fetch_add(&s->holding, 1);
			return;
		}
	abort();
}

static inline void http_server_asked(struct evhttp_request *real, void *arg)
{
	struct http_server *s = arg;
	struct evbuffer *in = evhttp_request_get_input_buffer(real);
	struct http_server_answer answer = { 0 };
	struct http_server_request r = {
		.method = evhttp_request_get_command(real),
		.target = evhttp_request_get_uri(real),
		.body_length = evbuffer_get_length(in),
		.number = atomic_fetch_add(&s->requests, 1) + 1,
		.real = real,
	};

	r.body = evbuffer_pullup(in, -1);
	s->answer(s->arg, &r, &answer);
	if (answer.drop)
		evhttp_connection_free(evhttp_request_get_connection(real));
	else if (answer.hold)
		http_server_hold(s, real, &answer);
	else
		http_server_send(real, &answer);
}

static inline void http_server_woken(evutil_socket_t fd, short what, void *arg)
{
	struct http_server *s = arg;
	uint64_t count;

	(void)what;
	if (read(fd, &count, sizeof count) != sizeof count)
		return;
	for (size_t i = 0; atomic_load(&s->let_go) && i < sizeof s->held / sizeof s->held[0]; i++) {
		struct evhttp_request *real = s->held[i].request;
		if (!real)
			continue;
		s->held[i].request = NULL;
		atomic_fetch_sub(&s->holding, 1);
		http_server_send(real, &s->held[i].answer);
	}
	atomic_store(&s->let_go, false);
	if (atomic_load(&s->stop))
		event_base_loopbreak(s->base);
}

static inline void *http_server_run(void *arg)
{
	event_base_dispatch(((struct http_server *)arg)->base);
	return NULL;
}

static inline void http_server_wake(struct http_server *s)
{
	uint64_t one = 1;

	if (write(s->wake_fd, &one, sizeof one) != sizeof one)
		abort();
}

static inline void http_server_start(struct http_server *s, http_server_fn *answer, void *arg)
{
	struct sockaddr_in address;
	socklen_t len = sizeof address;

	memset(s, 0, sizeof *s);
	s->answer = answer;
	s->arg = arg;
	s->base = event_base_new();
	s->http = evhttp_new(s->base);
	evhttp_set_allowed_methods(s->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_PUT | EVHTTP_REQ_POST |
	                                            EVHTTP_REQ_DELETE);
	evhttp_set_gencb(s->http, http_server_asked, s);
	struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(s->http, "127.0.0.1", 0);
	assert(bound);
	if (getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&address, &len))
		abort();
	s->port = ntohs(address.sin_port);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->wake = event_new(s->base, s->wake_fd, EV_READ | EV_PERSIST, http_server_woken, s);
	event_add(s->wake, NULL);
	if (pthread_create(&s->thread, NULL, http_server_run, s))
		abort();
}

/* Answers all that is held. */
static inline void http_server_let_go(struct http_server *s)
{
	atomic_store(&s->let_go, true);
	http_server_wake(s);
}

/* Waits until that many requests are held; ends the test program after 20 s. */
static inline void http_server_wait_held(struct http_server *s, unsigned count)
{
	for (int i = 0; i < 20000 && atomic_load(&s->holding) < count; i++)
		usleep(1000);
	if (atomic_load(&s->holding) < count)
		abort();
}

static inline void http_server_stop(struct http_server *s)
{
	atomic_store(&s->stop, true);
	http_server_wake(s);
	pthread_join(s->thread, NULL);
	evhttp_free(s->http);
	event_free(s->wake);
	event_base_free(s->base);
	close(s->wake_fd);
}

#endif
