/* SPDX-License-Identifier: GPL-3.0-only */
/* loopback_http.h: a small HTTP server on 127.0.0.1 that answers what a test says. One connection at a time, one
 * request each.
 *
 * The answering function runs on the server's thread, so it records what it saw and asserts nothing. For tests only.
 */
#ifndef GARNER_TESTS_LOOPBACK_HTTP_H
#define GARNER_TESTS_LOOPBACK_HTTP_H

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOOPBACK_HEAD_MAX 16384
#define LOOPBACK_BODY_MAX 65536

/* What was asked. */
struct loopback_request {
	char method[16];
	char target[1024];
	char head[LOOPBACK_HEAD_MAX]; /* header lines, each ended by CR LF */
	char body[LOOPBACK_BODY_MAX]; /* and a NUL */
	size_t body_length;
};

/* What to answer; all zeros: 200, with no body. */
struct loopback_answer {
	int status;
	char head[8192];  /* more header lines, each ended by CR LF */
	const void *body; /* must outlive the answer; NULL: the text */
	size_t body_length;
	char text[8192];
	const char *raw; /* sent instead of all of that, as it is, and the connection closed */
	bool silent;     /* nothing is sent until the client goes away */
};

typedef void loopback_answer_fn(void *arg, const struct loopback_request *request, struct loopback_answer *answer);

struct loopback_http {
	int listener, stop;
	unsigned port;
	char url[64]; /* http://127.0.0.1:PORT */
	loopback_answer_fn *answer;
	void *arg;
	pthread_t thread;
	atomic_uint requests;
	struct loopback_request request; /* the thread's alone */
};

/* Copies the value of a header line; "" when there is none. */
static inline const char *loopback_header(const struct loopback_request *r, const char *name, char *out, size_t room)
{
	size_t length = strlen(name);

	out[0] = '\0';
	for (const char *line = r->head; *line; line = strstr(line, "\r\n") + 2) {
		const char *value = line + length;

		if (strncasecmp(line, name, length) != 0 || *value++ != ':')
			continue;
		value += strspn(value, " ");
		(void)snprintf(out, room, "%.*s", (int)strcspn(value, "\r"), value);
		break;
	}
	return out;
}

/* Whether `fd` can be read before the server is to stop. */
static inline bool loopback_wait(const struct loopback_http *s, int fd)
{
	struct pollfd fds[2] = { { .fd = fd, .events = POLLIN }, { .fd = s->stop, .events = POLLIN } };

	while (poll(fds, 2, -1) < 0)
		if (errno != EINTR)
			return false;
	return !fds[1].revents;
}

/* Reads until `length` bytes are in `buf`, or until they hold an empty line where `length` is 0. Returns how many are
 * there, or -1. */
static inline ssize_t loopback_read(const struct loopback_http *s, int fd, char *buf, size_t used, size_t length,
                                    size_t room)
{
	while (length ? used < length : !memmem(buf, used, "\r\n\r\n", 4)) {
		ssize_t n = used < room && loopback_wait(s, fd) ? recv(fd, buf + used, room - used, 0) : -1;

		if (n <= 0)
			return -1;
		used += (size_t)n;
		if (buf[0] < 'A' || buf[0] > 'Z') { /* such as TLS */
			(void)send(fd, "HTTP/1.1 400 No\r\n\r\n", 19, MSG_NOSIGNAL);
			return -1;
		}
	}
	return (ssize_t)used;
}

static inline bool loopback_read_request(struct loopback_http *s, int fd)
{
	struct loopback_request *r = &s->request;
	char buf[LOOPBACK_HEAD_MAX + LOOPBACK_BODY_MAX], length[32];
	ssize_t used = loopback_read(s, fd, buf, 0, 0, LOOPBACK_HEAD_MAX);
	size_t head, first;

	if (used < 0)
		return false;
	head = (size_t)((char *)memmem(buf, (size_t)used, "\r\n\r\n", 4) - buf) + 2;
	first = (size_t)((char *)memmem(buf, (size_t)used, "\r\n", 2) - buf) + 2;
	if (sscanf(buf, "%15s %1023s", r->method, r->target) != 2)
		return false;
	memcpy(r->head, buf + first, head - first);
	r->head[head - first] = '\0';
	head += 2;
	r->body_length = strtoul(loopback_header(r, "Content-Length", length, sizeof length), NULL, 10);
	if (r->body_length >= LOOPBACK_BODY_MAX)
		return false;
	if (loopback_read(s, fd, buf, (size_t)used, head + r->body_length, sizeof buf) < 0)
		return false;
	memcpy(r->body, buf + head, r->body_length);
	r->body[r->body_length] = '\0';
	return true;
}

static inline bool loopback_send(int fd, const void *bytes, size_t length)
{
	while (length) {
		ssize_t n = send(fd, bytes, length, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		bytes = (const char *)bytes + n;
		length -= (size_t)n;
	}
	return true;
}

static inline void loopback_serve(struct loopback_http *s, int fd)
{
	struct loopback_answer *a;
	char line[128];
	int n;

	if (!loopback_read_request(s, fd))
		return;
	a = calloc(1, sizeof *a);
	assert(a);
	a->status = 200;
	atomic_fetch_add(&s->requests, 1);
	s->answer(s->arg, &s->request, a);
	if (!a->body) {
		a->body = a->text;
		a->body_length = strlen(a->text);
	}
	n = snprintf(line, sizeof line, "HTTP/1.1 %d Scripted\r\nConnection: close\r\nContent-Length: %zu\r\n",
	             a->status, a->body_length);
	if (a->silent)
		(void)loopback_wait(s, fd);
	else if (a->raw)
		(void)loopback_send(fd, a->raw, strlen(a->raw));
	else if (loopback_send(fd, line, (size_t)n) && loopback_send(fd, a->head, strlen(a->head)) &&
	         loopback_send(fd, "\r\n", 2))
		(void)loopback_send(fd, a->body, a->body_length);
	free(a);
}

static inline void *loopback_main(void *arg)
{
	struct loopback_http *s = arg;

	while (loopback_wait(s, s->listener)) {
		int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			continue;
		loopback_serve(s, fd);
		(void)shutdown(fd, SHUT_WR);
		close(fd);
	}
	return NULL;
}

/* A listening socket on a free port of 127.0.0.1. */
static inline int loopback_listen(unsigned *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&address, sizeof address);

	if (rc == 0)
		rc = listen(fd, 16);
	if (rc == 0)
		rc = getsockname(fd, (struct sockaddr *)&address, &length);
	assert(rc == 0);
	*port = ntohs(address.sin_port);
	return fd;
}

/* Starts a server. End it with loopback_http_stop(). */
static inline struct loopback_http *loopback_http_start(loopback_answer_fn *answer, void *arg)
{
	struct loopback_http *s = calloc(1, sizeof *s);
	int rc;

	assert(s);
	s->answer = answer;
	s->arg = arg;
	s->listener = loopback_listen(&s->port);
	s->stop = eventfd(0, EFD_CLOEXEC);
	assert(s->stop >= 0);
	(void)snprintf(s->url, sizeof s->url, "http://127.0.0.1:%u", s->port);
	rc = pthread_create(&s->thread, NULL, loopback_main, s);
	assert(rc == 0);
	return s;
}

/* NULL is ignored. */
static inline void loopback_http_stop(struct loopback_http *s)
{
	const uint64_t one = 1;
	ssize_t n;
	int rc;

	if (!s)
		return;
	n = write(s->stop, &one, sizeof one);
	assert(n == sizeof one);
	rc = pthread_join(s->thread, NULL);
	assert(rc == 0);
	close(s->stop);
	close(s->listener);
	free(s);
	(void)n;
	(void)rc;
}

/* A URL at which nobody listens. */
static inline const char *loopback_nobody(char url[64])
{
	unsigned port;

	close(loopback_listen(&port));
	(void)snprintf(url, 64, "http://127.0.0.1:%u", port);
	return url;
}

/* ---- what such tests also need: an environment that is made up, and patience ---- */

/* `arg`: lines "NAME=value", ended by NULL. For struct environment. */
static inline const char *loopback_environment(void *arg, const char *name)
{
	size_t length = strlen(name);

	for (const char *const *line = arg; line && *line; line++)
		if (strncmp(*line, name, length) == 0 && (*line)[length] == '=')
			return *line + length + 1;
	return NULL;
}

/* Whether `test` comes true within half a minute. */
static inline bool loopback_becomes(bool (*test)(void *arg), void *arg)
{
	for (int i = 0; i < 3000; i++) {
		if (test(arg))
			return true;
		(void)usleep(10000);
	}
	return false;
}

#endif
