/* SPDX-License-Identifier: GPL-3.0-only */
/* channel.c: a TCP connection on a loop, plain or with TLS. */
#include "node/channel.h"

#include "node/tls.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of the output, in one event: so that one fast reader does not hold up the others. */
#define SEND_TURN ((size_t)1024 * 1024)
#define RECORD ((size_t)16 * 1024) /* bytes that TLS sends at a time */

struct channel {
	int fd;
	SSL *ssl; /* NULL: plain */
	struct channel_handler handler;
	struct event read_event, write_event;
	struct evbuffer *output;
	uint64_t bytes_in, bytes_out;
	bool connecting, shaking; /* not ready yet: what it waits for */
	bool want_read, watch_write;
	bool read_wants_write, write_wants_read; /* what TLS waits for before it can go on with the other direction */
	bool shut;
	int failure; /* found out where no callback could be made: the write event tells it */
	char why[160];
};

/* ---- what is waited for ---- */

static void watch_write(struct channel *c, bool watch)
{
	if (watch == c->watch_write)
		return;
	c->watch_write = watch;
	if (watch)
		(void)event_add(&c->write_event, NULL);
	else
		(void)event_del(&c->write_event);
}

static void fail(struct channel *c, int rc)
{
	if (c->failure)
		return;
	c->failure = rc;
	if (!c->why[0])
		(void)snprintf(c->why, sizeof c->why, "%s", strerror(-rc));
}

/* Tells the owner, as the last thing that an event does. */
static void tell_failure(struct channel *c)
{
	(void)event_del(&c->read_event);
	watch_write(c, false);
	c->handler.on_failed(c->handler.arg, c->failure, c->why);
}

/* ---- TLS ---- */

/* After an operation that did not succeed: -EAGAIN with *reads or *writes set as it has to wait, 0 at the end of the connection, or
 * another -errno. */
static int ssl_outcome(struct channel *c, int result, bool *wants_read, bool *wants_write)
{
	int saved = errno;

	switch (SSL_get_error(c->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		*wants_read = true;
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		*wants_write = true;
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_SYSCALL:
		ERR_clear_error();
		(void)snprintf(c->why, sizeof c->why, "%s", saved ? strerror(saved) : "the connection was cut off");
		return saved ? -saved : -ECONNRESET;
	default:
		tls_why(c->ssl, c->why, sizeof c->why);
		return -EPROTO;
	}
}

static ssize_t ssl_read(struct channel *c, void *bytes, size_t room)
{
	size_t got = 0;
	bool wants_read = false, wants_write = false;
	int rc = 0;

	while (got < room) {
		size_t n = room - got > INT_MAX ? INT_MAX : room - got;

		ERR_clear_error();
		errno = 0;
		rc = SSL_read(c->ssl, (char *)bytes + got, (int)n);
		if (rc <= 0) {
			rc = got ? -EAGAIN : ssl_outcome(c, rc, &wants_read, &wants_write);
			break;
		}
		got += (size_t)rc;
	}
	if (wants_write) {
		c->read_wants_write = true;
		watch_write(c, true);
	}
	return got ? (ssize_t)got : rc;
}

static ssize_t ssl_send(struct channel *c)
{
	struct evbuffer_iovec part;
	bool wants_read = false, wants_write = false;
	int rc;

	if (evbuffer_peek(c->output, -1, NULL, &part, 1) < 1)
		return 0;
	/* A head and a small body are one record, not two. */
	if (part.iov_len < RECORD && part.iov_len < evbuffer_get_length(c->output)) {
		size_t length = evbuffer_get_length(c->output);

		part.iov_len = length < RECORD ? length : RECORD;
		part.iov_base = evbuffer_pullup(c->output, (ev_ssize_t)part.iov_len);
		if (!part.iov_base)
			return -ENOMEM;
	}
	ERR_clear_error();
	errno = 0;
	rc = SSL_write(c->ssl, part.iov_base, part.iov_len > INT_MAX ? INT_MAX : (int)part.iov_len);
	if (rc > 0) {
		(void)evbuffer_drain(c->output, (size_t)rc);
		return rc;
	}
	rc = ssl_outcome(c, rc, &wants_read, &wants_write);
	c->write_wants_read = wants_read;
	return rc == 0 ? -EPIPE : rc;
}

/* ---- reading ---- */

ssize_t channel_read(struct channel *c, void *bytes, size_t room)
{
	ssize_t n;

	if (c->failure)
		return c->failure;
	if (c->ssl) {
		n = ssl_read(c, bytes, room);
	} else {
		do
			n = recv(c->fd, bytes, room, 0);
		while (n < 0 && errno == EINTR);
		if (n < 0)
			n = errno == EWOULDBLOCK ? -EAGAIN : -errno;
	}
	if (n > 0)
		c->bytes_in += (uint64_t)n;
	return n;
}

void channel_want_read(struct channel *c, bool want)
{
	if (want == c->want_read)
		return;
	c->want_read = want;
	if (c->connecting || c->shaking)
		return;
	if (!want) {
		(void)event_del(&c->read_event);
		return;
	}
	(void)event_add(&c->read_event, NULL);
	/* What TLS has taken from the socket already does not wake anybody. */
	if (c->ssl && SSL_has_pending(c->ssl))
		channel_again(c);
}

void channel_again(struct channel *c)
{
	if (c->want_read && !c->connecting && !c->shaking)
		event_active(&c->read_event, EV_READ, 0);
}

/* ---- writing ---- */

struct evbuffer *channel_output(struct channel *c)
{
	return c->output;
}

static ssize_t plain_send(struct channel *c)
{
	int n = evbuffer_write_atmost(c->output, c->fd, (ev_ssize_t)SEND_TURN);

	if (n >= 0)
		return n;
	return errno == EINTR || errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

void channel_flush(struct channel *c)
{
	size_t turn = 0;
	ssize_t n = 0;

	if (c->connecting || c->shaking || c->failure)
		return;
	while (evbuffer_get_length(c->output) && turn < SEND_TURN) {
		n = c->ssl ? ssl_send(c) : plain_send(c);
		if (n <= 0)
			break;
		turn += (size_t)n;
		c->bytes_out += (uint64_t)n;
	}
	if (n < 0 && n != -EAGAIN) {
		fail(c, (int)n);
		event_active(&c->write_event, EV_WRITE, 0);
		return;
	}
	watch_write(c, (evbuffer_get_length(c->output) && !c->write_wants_read) || c->read_wants_write);
}

void channel_shutdown(struct channel *c)
{
	if (c->shut || c->failure || c->connecting || c->shaking)
		return;
	c->shut = true;
	if (c->ssl) {
		ERR_clear_error();
		(void)SSL_shutdown(c->ssl);
		ERR_clear_error();
	}
	(void)shutdown(c->fd, SHUT_WR);
}

/* ---- until it is ready ---- */

static void become_ready(struct channel *c)
{
	watch_write(c, false);
	(void)event_del(&c->read_event);
	if (c->want_read) {
		(void)event_add(&c->read_event, NULL);
		if (c->ssl && SSL_has_pending(c->ssl))
			channel_again(c);
	}
	c->handler.on_ready(c->handler.arg);
}

static void shake_hands(struct channel *c)
{
	bool wants_read = false, wants_write = false;
	int rc;

	ERR_clear_error();
	errno = 0;
	rc = SSL_do_handshake(c->ssl);
	if (rc == 1) {
		c->shaking = false;
		become_ready(c);
		return;
	}
	rc = ssl_outcome(c, rc, &wants_read, &wants_write);
	if (rc != -EAGAIN) {
		fail(c, rc == 0 ? -ECONNRESET : rc);
		tell_failure(c);
		return;
	}
	watch_write(c, wants_write);
	if (wants_read)
		(void)event_add(&c->read_event, NULL);
}

static void connected(struct channel *c)
{
	int rc = 0;
	socklen_t length = sizeof rc;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &rc, &length) < 0)
		rc = errno;
	if (rc) {
		fail(c, -rc);
		tell_failure(c);
		return;
	}
	c->connecting = false;
	if (c->shaking)
		shake_hands(c);
	else
		become_ready(c);
}

/* ---- events ---- */

static void read_event(evutil_socket_t fd, short what, void *arg)
{
	struct channel *c = arg;

	(void)fd;
	(void)what;
	if (c->failure) {
		tell_failure(c);
		return;
	}
	if (c->shaking) {
		shake_hands(c);
		return;
	}
	if (c->write_wants_read) {
		c->write_wants_read = false;
		channel_flush(c);
	}
	if (c->want_read)
		c->handler.on_readable(c->handler.arg);
}

static void write_event(evutil_socket_t fd, short what, void *arg)
{
	struct channel *c = arg;
	uint64_t before = c->bytes_out;

	(void)fd;
	(void)what;
	if (c->failure) {
		tell_failure(c);
		return;
	}
	if (c->connecting) {
		connected(c);
		return;
	}
	if (c->shaking) {
		shake_hands(c);
		return;
	}
	if (c->read_wants_write) {
		c->read_wants_write = false;
		channel_again(c);
	}
	channel_flush(c);
	if (c->bytes_out != before)
		c->handler.on_sent(c->handler.arg);
}

/* ---- beginning and end ---- */

static struct channel *make(struct loop *l, int fd, const struct channel_handler *handler)
{
	static const int yes = 1;
	struct channel *c = calloc(1, sizeof *c);

	if (!c || !(c->output = evbuffer_new())) {
		free(c);
		return NULL;
	}
	c->fd = fd;
	c->handler = *handler;
	c->want_read = true;
	event_assign(&c->read_event, loop_base(l), fd, EV_READ | EV_PERSIST, read_event, c);
	event_assign(&c->write_event, loop_base(l), fd, EV_WRITE | EV_PERSIST, write_event, c);
	/* Messages are written whole; nothing is gained by waiting for more. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
	return c;
}

struct channel *channel_accept(struct loop *l, int fd, struct tls *tls, const struct channel_handler *handler)
{
	struct channel *c = make(l, fd, handler);

	if (!c) {
		close(fd);
		return NULL;
	}
	if (tls && !(c->ssl = tls_begin(tls, fd, true, NULL))) {
		channel_free(c);
		return NULL;
	}
	c->shaking = tls != NULL;
	c->connecting = !tls; /* on_ready is called by an event, as always */
	if (tls)
		(void)event_add(&c->read_event, NULL);
	else
		watch_write(c, true);
	return c;
}

int channel_connect(struct loop *l, const struct sockaddr *address, socklen_t length, struct tls *tls,
                    const char *tls_name, const struct channel_handler *handler, struct channel **channel)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc;
	struct channel *c;

	*channel = NULL;
	if (fd < 0)
		return -errno;
	if (connect(fd, address, length) < 0 && errno != EINPROGRESS && errno != EINTR) {
		rc = -errno;
		close(fd);
		return rc;
	}
	c = make(l, fd, handler);
	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	if (tls && !(c->ssl = tls_begin(tls, fd, false, tls_name))) {
		channel_free(c);
		return -ENOMEM;
	}
	c->connecting = true;
	c->shaking = tls != NULL;
	watch_write(c, true);
	*channel = c;
	return 0;
}

void channel_free(struct channel *c)
{
	if (!c)
		return;
	if (!c->failure && evbuffer_get_length(c->output) == 0)
		channel_shutdown(c);
	(void)event_del(&c->read_event);
	(void)event_del(&c->write_event);
	SSL_free(c->ssl);
	close(c->fd);
	evbuffer_free(c->output);
	free(c);
}

uint64_t channel_bytes_in(const struct channel *c)
{
	return c->bytes_in;
}

uint64_t channel_bytes_out(const struct channel *c)
{
	return c->bytes_out;
}
