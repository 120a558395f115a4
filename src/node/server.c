/* SPDX-License-Identifier: GPL-3.0-only */
/* server.c: a node's HTTP/1.1 server: listening, limits, the end. */
#include "node/server_private.h"

#include "base/report.h"
#include "store/object_version.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEBI ((uint64_t)1024 * 1024)
#define ACCEPT_TURN 64      /* connections in one event */
#define ACCEPT_PAUSE_MS 100 /* when there are no file descriptors left */
#define TICK_MS 1000
#define REFUSAL_SPAN_MS 10000

/* A nonce can come again for as long as its time is within the window, on either side. */
#define NONCE_SPAN_MS ((uint64_t)2 * NODE_AUTH_WINDOW_MS + 1000)

/* ---- limits ---- */

static void set_default(unsigned *limit, unsigned value)
{
	if (!*limit)
		*limit = value;
}

static void set_default_bytes(uint64_t *limit, uint64_t value)
{
	if (!*limit)
		*limit = value;
}

static void fill_limits(struct server_limits *l)
{
	set_default(&l->connections, 512);
	set_default(&l->head_ms, 10000);
	set_default(&l->idle_ms, 60000);
	set_default(&l->progress_ms, 15000);
	set_default(&l->progress_bytes, 61440);
	set_default(&l->linger_ms, 2000);
	set_default_bytes(&l->body_max, OBJECT_LENGTH_MAX);
	set_default_bytes(&l->bodies_max, 256 * MEBI);
	set_default_bytes(&l->drain_max, MEBI);
	if (!l->nonces_max)
		l->nonces_max = 4 * MEBI;
}

void server_refused(struct server *s, enum refusal_kind kind, const char *peer, const char *why)
{
	refusal_log_add(s->log, kind, peer, loop_now_ms(), "%s", why);
}

/* ---- connections ---- */

static void show_address(const struct sockaddr_storage *a, char text[PEER_TEXT_MAX], bool *loopback)
{
	char host[INET6_ADDRSTRLEN] = "?";

	*loopback = false;
	if (a->ss_family == AF_INET) {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;

		(void)inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
		*loopback = ntohl(v4->sin_addr.s_addr) >> 24 == 127;
		(void)snprintf(text, PEER_TEXT_MAX, "%s:%u", host, ntohs(v4->sin_port));
	} else {
		const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;

		(void)inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
		*loopback = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
		            (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) && v6->sin6_addr.s6_addr[12] == 127);
		(void)snprintf(text, PEER_TEXT_MAX, "[%s]:%u", host, ntohs(v6->sin6_port));
	}
}

/* One more than there may be. With TLS there is nothing that could be said. */
static void turn_away(struct server *s, int fd, const char *peer)
{
	static const char answer[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
				     "Connection: close\r\n\r\n";

	s->stats.refused_connections++;
	server_refused(s, REFUSED_CONNECTION, peer, "all connections are in use");
	if (!s->options.tls)
		(void)!send(fd, answer, sizeof answer - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	close(fd);
}

static void accept_one(struct server *s, int fd, const struct sockaddr_storage *address)
{
	char peer[PEER_TEXT_MAX];
	bool loopback;

	show_address(address, peer, &loopback);
	if (s->connections_count >= s->options.limits.connections && !TAILQ_EMPTY(&s->idle))
		connection_close(TAILQ_FIRST(&s->idle));
	if (s->connections_count >= s->options.limits.connections)
		turn_away(s, fd, peer);
	else
		connection_new(s, fd, peer, loopback);
}

static void accept_event(evutil_socket_t listener, short what, void *arg)
{
	struct server *s = arg;

	(void)what;
	for (int i = 0; i < ACCEPT_TURN; i++) {
		struct sockaddr_storage address = { 0 };
		socklen_t length = sizeof address;
		int fd = accept4(listener, (struct sockaddr *)&address, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
			server_refused(s, REFUSED_CONNECTION, "all", strerror(errno));
			(void)event_del(&s->accept_event);
			loop_timer_set(&s->accept_timer, ACCEPT_PAUSE_MS);
			return;
		}
		if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (fd >= 0)
			accept_one(s, fd, &address);
	}
}

static void accept_again(void *arg)
{
	struct server *s = arg;

	if (!s->draining)
		(void)event_add(&s->accept_event, NULL);
}

static void tick(void *arg)
{
	struct server *s = arg;

	refusal_log_tick(s->log, loop_now_ms());
	loop_timer_set(&s->tick, TICK_MS);
}

/* ---- beginning ---- */

static int listen_at(const struct addrinfo *a)
{
	static const int yes = 1;
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc;

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
	if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

static int begin_to_listen(struct server *s, const char *host, unsigned port, struct error *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV }, *list;
	struct sockaddr_storage address = { 0 };
	socklen_t length = sizeof address;
	char service[8], text[PEER_TEXT_MAX];
	const char *colon;
	bool loopback;
	int rc;

	(void)snprintf(service, sizeof service, "%u", port);
	rc = getaddrinfo(host, service, &hints, &list);
	if (rc)
		return error_set(err, -EADDRNOTAVAIL, "cannot listen at %s: %s", host, gai_strerror(rc));
	s->listen_fd = listen_at(list);
	freeaddrinfo(list);
	if (s->listen_fd < 0)
		return error_set(err, s->listen_fd, "cannot listen at %s, port %u: %s", host, port,
		                 strerror(-s->listen_fd));
	if (getsockname(s->listen_fd, (struct sockaddr *)&address, &length) < 0)
		return error_set(err, -errno, "cannot listen at %s: %s", host, strerror(errno));
	show_address(&address, text, &loopback);
	colon = strrchr(text, ':');
	s->port = (unsigned)strtoul(colon + 1, NULL, 10);
	event_assign(&s->accept_event, loop_base(s->loop), s->listen_fd, EV_READ | EV_PERSIST, accept_event, s);
	return event_add(&s->accept_event, NULL) ? error_set(err, -ENOMEM, "no memory to listen at %s", host) : 0;
}

static void destroy(struct server *s)
{
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	nonce_table_free(s->nonces);
	refusal_log_free(s->log);
	piece_budget_put(s->budget);
	node_key_wipe(&s->options.key);
	free(s);
}

int server_new(struct loop *l, const struct server_options *options, struct server **server, struct error *err)
{
	struct server *s = calloc(1, sizeof *s);
	int rc;

	*server = NULL;
	if (!s)
		return error_set(err, -ENOMEM, "no memory for a server");
	s->loop = l;
	s->options = *options;
	s->options.host = NULL;
	s->listen_fd = -1;
	fill_limits(&s->options.limits);
	TAILQ_INIT(&s->connections);
	TAILQ_INIT(&s->idle);
	node_session_begin(&s->session, loop_now_ms());
	s->nonces = nonce_table_new(NONCE_SPAN_MS, s->options.limits.nonces_max);
	s->budget = piece_budget_new(s->options.limits.bodies_max);
	s->log = refusal_log_new(REFUSAL_SPAN_MS);
	if (s->nonces && s->budget && s->log)
		rc = begin_to_listen(s, options->host, options->port, err);
	else
		rc = error_set(err, -ENOMEM, "no memory for a server");
	if (rc < 0) {
		destroy(s);
		return rc;
	}
	loop_timer_init(&s->accept_timer, l, accept_again, s);
	loop_timer_init(&s->tick, l, tick, s);
	loop_timer_set(&s->tick, TICK_MS);
	*server = s;
	return 0;
}

/* ---- the end ---- */

static void stop_listening(struct server *s)
{
	if (s->listen_fd < 0)
		return;
	(void)event_del(&s->accept_event);
	loop_timer_cancel(&s->accept_timer);
	close(s->listen_fd);
	s->listen_fd = -1;
}

void server_free(struct server *s)
{
	struct connection *c;

	if (!s)
		return;
	stop_listening(s);
	if (s->drained)
		loop_timer_cancel(&s->drain_timer);
	s->drained = NULL;
	while ((c = TAILQ_FIRST(&s->connections)))
		connection_close(c);
	loop_timer_cancel(&s->tick);
	destroy(s);
}

static void drained(void *arg)
{
	struct server *s = arg;
	loop_fn *fn = s->drained;

	s->drained = NULL;
	if (fn)
		fn(s->drained_arg);
}

void server_connection_gone(struct server *s)
{
	/* By the timer, so that it is not called from within whatever closed the connection. */
	if (s->drained && !s->connections_count)
		loop_timer_set(&s->drain_timer, 0);
}

void server_drain(struct server *s, unsigned ms, loop_fn *done, void *arg)
{
	struct connection *c, *next;

	stop_listening(s);
	s->draining = true;
	for (c = TAILQ_FIRST(&s->idle); c; c = next) {
		next = TAILQ_NEXT(c, idle_link);
		connection_close(c);
	}
	s->drained = done;
	s->drained_arg = arg;
	loop_timer_init(&s->drain_timer, s->loop, drained, s);
	loop_timer_set(&s->drain_timer, s->connections_count ? ms : 0);
}

/* ---- what is known of it ---- */

unsigned server_port(const struct server *s)
{
	return s->port;
}

const struct node_session *server_session(const struct server *s)
{
	return &s->session;
}

void server_get_stats(const struct server *s, struct server_stats *stats)
{
	const struct connection *c;

	*stats = s->stats;
	stats->connections = s->connections_count;
	stats->body_bytes = piece_budget_used(s->budget);
	TAILQ_FOREACH(c, &s->connections, link) {
		stats->bytes_in += channel_bytes_in(c->channel);
		stats->bytes_out += channel_bytes_out(c->channel);
	}
}
