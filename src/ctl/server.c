/* SPDX-License-Identifier: GPL-3.0-only */
/* server.c: the daemon's side of the control socket.
 *
 * One thread polls: it accepts, reads request lines and hands each to a few workers, since commands may block on the store;
 * what only looks at memory has workers of its own, which long commands do not hold up. A connection has at most one command
 * running. Input is bounded and clean ASCII, or the connection is refused. */
#include "ctl/ctl.h"

#include "base/clock.h"
#include "base/executor.h"
#include "base/report.h"
#include "ctl/server_private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECTIONS_MAX 16
#define WORKERS 4
#define QUICK_WORKERS 2 /* one may wait for a peer that does not read */
#define IDLE_NS (60 * 1000000000ull)
#define SEND_TIMEOUT_S 10

struct connection {
	struct ctl_server *server;
	int fd;             /* -1: free */
	size_t have;        /* bytes in `in` */
	uint64_t active_ns; /* when the peer last did something, or was answered */
	atomic_bool busy;   /* a worker has it: only `gone` may be touched by the poll thread */
	atomic_bool gone;   /* the peer closed, or cannot be written to */
	char in[CTL_REQUEST_MAX];
	char request[CTL_REQUEST_MAX]; /* what the worker runs */
};

struct ctl_server {
	struct engine *engine;
	char path[sizeof(((struct engine_status *)0)->cache_dir) + sizeof CTL_SOCKET_NAME + 1];
	int dir_fd, listen_fd, wake_fd;
	pthread_t thread;
	bool thread_started;
	struct executor *workers, *quick;
	atomic_bool stopping;
	struct connection connections[CONNECTIONS_MAX]; /* the poll thread's */
};

/* ---- answers ----------------------------------------------------------------------------------------------------- */

void connection_send(struct connection *c, const char *buf, size_t len)
{
	while (len > 0 && !c->gone) {
		ssize_t n = send(c->fd, buf, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			c->gone = true;
			return;
		}
		buf += n;
		len -= (size_t)n;
	}
}

bool connection_listens(const struct connection *c)
{
	return !c->gone && !c->server->stopping;
}

struct engine *connection_engine(const struct connection *c)
{
	return c->server->engine;
}

/* The last line of every answer. */
static void send_end(struct connection *c, int rc, const struct error *err)
{
	char line[ERROR_TEXT_MAX + 32];
	int n;

	if (rc >= 0) {
		connection_send(c, "ok\n", 3);
		return;
	}
	n = snprintf(line, sizeof line - 1, "error %d %s", -rc, err->text[0] ? err->text : strerror(-rc));
	if (n < 0)
		n = 0;
	if ((size_t)n >= sizeof line - 1)
		n = sizeof line - 2;
	for (int i = 0; i < n; i++)
		if ((unsigned char)line[i] < 0x20)
			line[i] = ' ';
	line[n] = '\n';
	connection_send(c, line, (size_t)n + 1);
}

/* ---- requests ----------------------------------------------------------------------------------------------------- */

static void wake(struct ctl_server *s)
{
	if (eventfd_write(s->wake_fd, 1) < 0)
		report_warning("control socket: cannot wake its thread: %s", strerror(errno));
}

static void request_job(void *arg)
{
	struct connection *c = arg;
	struct ctl_server *s = c->server;
	struct error err = { 0 };
	int rc = server_run_request(c, c->request, &err);

	send_end(c, rc, &err);
	c->active_ns = clock_monotonic_ns();
	c->busy = false; /* from here on it is the poll thread's */
	wake(s);
}

/* ---- connections: all on the poll thread ------------------------------------------------------------------------- */

static void connection_close(struct connection *c)
{
	close(c->fd);
	c->fd = -1;
	c->have = 0;
}

static void refuse(struct connection *c, int code, const char *text)
{
	struct error err = { 0 };

	error_set(&err, code, "%s", text);
	send_end(c, code, &err);
	c->gone = true;
}

/* Hands the next whole line in the buffer to a worker. */
static void connection_next(struct connection *c)
{
	char *end = memchr(c->in, '\n', c->have);
	size_t len;

	if (!end) {
		if (c->have == sizeof c->in)
			refuse(c, -EMSGSIZE, "request too long");
		return;
	}
	len = (size_t)(end - c->in);
	for (size_t i = 0; i < len; i++) {
		if (c->in[i] < 0x20 || c->in[i] > 0x7e) {
			refuse(c, -EPROTO, "request is not plain text");
			return;
		}
	}
	memcpy(c->request, c->in, len);
	c->request[len] = '\0';
	c->have -= len + 1;
	memmove(c->in, end + 1, c->have);
	c->busy = true;
	struct executor *workers = server_request_is_quick(c->request) ? c->server->quick : c->server->workers;
	if (executor_run(workers, request_job, c) < 0) {
		c->busy = false;
		refuse(c, -ENOMEM, "out of memory");
	}
}

static void connection_read(struct connection *c)
{
	ssize_t n = recv(c->fd, c->in + c->have, sizeof c->in - c->have, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		c->gone = true;
		return;
	}
	c->have += (size_t)n;
	c->active_ns = clock_monotonic_ns();
}

/* The file mode says who may connect; this says it again, should somebody have changed it. */
static bool peer_allowed(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof peer;

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}

static void accept_one(struct ctl_server *s)
{
	static const char full[] = "error 16 too many connections to the daemon\n"; /* EBUSY */
	const struct timeval timeout = { .tv_sec = SEND_TIMEOUT_S };
	struct connection *c = NULL;
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	for (size_t i = 0; i < CONNECTIONS_MAX && !c; i++)
		if (s->connections[i].fd < 0)
			c = &s->connections[i];
	if (!peer_allowed(fd) || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) < 0) {
		close(fd);
		return;
	}
	if (!c) {
		if (send(fd, full, sizeof full - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			report_debug("control socket: %s", strerror(errno));
		close(fd);
		return;
	}
	c->server = s;
	c->fd = fd;
	c->have = 0;
	c->busy = false;
	c->gone = false;
	c->active_ns = clock_monotonic_ns();
}

/* Starts what can be started, closes what is over. */
static void connection_tend(struct connection *c)
{
	if (c->fd < 0 || c->busy)
		return;
	if (!c->gone)
		connection_next(c);
	if (!c->busy && (c->gone || clock_monotonic_ns() - c->active_ns > IDLE_NS))
		connection_close(c);
}

static void *server_thread(void *arg)
{
	struct ctl_server *s = arg;
	struct pollfd fds[2 + CONNECTIONS_MAX];
	eventfd_t count;

	while (!s->stopping) {
		fds[0] = (struct pollfd){ .fd = s->wake_fd, .events = POLLIN };
		fds[1] = (struct pollfd){ .fd = s->listen_fd, .events = POLLIN };
		for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
			struct connection *c = &s->connections[i];

			connection_tend(c);
			/* A running command's connection is watched only for its end, and no more once that is known. */
			fds[2 + i] = (struct pollfd){ .fd = c->fd >= 0 && !(c->busy && c->gone) ? c->fd : -1,
				                      .events = c->busy ? POLLRDHUP : POLLIN };
		}
		if (poll(fds, 2 + CONNECTIONS_MAX, 5000) < 0)
			continue;
		if (fds[0].revents & POLLIN && eventfd_read(s->wake_fd, &count) < 0)
			continue;
		for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
			struct connection *c = &s->connections[i];
			short seen = fds[2 + i].revents;

			if (fds[2 + i].fd < 0 || seen == 0)
				continue;
			if (fds[2 + i].events & POLLRDHUP)
				c->gone = true;
			else
				connection_read(c);
		}
		if (fds[1].revents & POLLIN)
			accept_one(s);
	}
	return NULL;
}

/* ---- start and stop ---------------------------------------------------------------------------------------------- */

static int listen_in(int dir_fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, rc;

	snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/" CTL_SOCKET_NAME, dir_fd);
	if (unlinkat(dir_fd, CTL_SOCKET_NAME, 0) < 0 && errno != ENOENT)
		return -errno;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* On Linux the file gets the socket's own mode, so that it is never open to others, not even for a moment. */
	if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 16) < 0) {
		rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}

/* The engine holds the lock of the cache directory, so a socket found there is nobody's. */
static int open_socket(struct ctl_server *s, struct error *err)
{
	struct engine_status status = { 0 };
	char *dir;

	engine_status(s->engine, &status);
	dir = realpath(status.cache_dir, NULL);
	if (!dir)
		return error_set(err, -errno, "%s: %s", status.cache_dir, strerror(errno));
	if ((size_t)snprintf(s->path, sizeof s->path, "%s/" CTL_SOCKET_NAME, dir) >= sizeof s->path) {
		error_set(err, -ENAMETOOLONG, "%s: too long for a cache directory", dir);
		free(dir);
		return -ENAMETOOLONG;
	}
	s->dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	free(dir);
	if (s->dir_fd < 0)
		return error_set(err, -errno, "%s: %s", s->path, strerror(errno));
	s->listen_fd = listen_in(s->dir_fd);
	if (s->listen_fd < 0)
		return error_set(err, s->listen_fd, "%s: cannot make the control socket: %s", s->path,
		                 strerror(-s->listen_fd));
	return 0;
}

int ctl_server_start(struct engine *engine, struct ctl_server **server, struct error *err)
{
	struct ctl_server *s;
	int rc;

	*server = NULL;
	s = calloc(1, sizeof *s);
	if (!s)
		return error_set(err, -ENOMEM, "out of memory");
	s->engine = engine;
	s->dir_fd = s->listen_fd = s->wake_fd = -1;
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		s->connections[i].fd = -1;
	rc = open_socket(s, err);
	if (rc < 0)
		goto fail;
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->wake_fd < 0) {
		rc = error_set(err, -errno, "control socket: %s", strerror(errno));
		goto fail;
	}
	s->workers = executor_new("ctl", WORKERS, false);
	s->quick = executor_new("ctl-quick", QUICK_WORKERS, false);
	if (!s->workers || !s->quick) {
		rc = error_set(err, -errno, "control socket: cannot start threads: %s", strerror(errno));
		goto fail;
	}
	rc = -pthread_create(&s->thread, NULL, server_thread, s);
	if (rc < 0) {
		error_set(err, rc, "control socket: cannot start a thread: %s", strerror(-rc));
		goto fail;
	}
	s->thread_started = true;
	*server = s;
	return 0;
fail:
	ctl_server_stop(s);
	return rc;
}

void ctl_server_stop(struct ctl_server *s)
{
	if (!s)
		return;
	s->stopping = true;
	if (s->thread_started) {
		wake(s);
		pthread_join(s->thread, NULL);
	}
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		if (s->connections[i].fd >= 0)
			shutdown(s->connections[i].fd, SHUT_RD); /* answers may still go out */
	executor_free(s->workers);
	executor_free(s->quick);
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		if (s->connections[i].fd >= 0)
			close(s->connections[i].fd);
	if (s->listen_fd >= 0) {
		close(s->listen_fd);
		if (unlinkat(s->dir_fd, CTL_SOCKET_NAME, 0) < 0 && errno != ENOENT)
			report_warning("%s: cannot remove: %s", s->path, strerror(errno));
	}
	if (s->wake_fd >= 0)
		close(s->wake_fd);
	if (s->dir_fd >= 0)
		close(s->dir_fd);
	free(s);
}

const char *ctl_server_path(const struct ctl_server *server)
{
	return server->path;
}
