/* SPDX-License-Identifier: GPL-3.0-only */
/* tamper_proxy.h: stands between a client and a server on 127.0.0.1, and changes what the server says; or is a server itself, that says
 * always the same. One connection at a time, on a thread of its own. For tests only.
 */
#ifndef GARNER_TESTS_TAMPER_PROXY_H
#define GARNER_TESTS_TAMPER_PROXY_H

#include "lib/loopback_http.h"
#include "lib/wire_fixture.h"

struct tamper_proxy {
	unsigned port, server_port; /* server_port 0: there is none */
	const char *what, *with;    /* in what the server says, the first `what` becomes `with`, as long as it */
	const char *says;           /* without a server: the answer to every request; NULL: none, ever */
	bool replay;                /* every answer is the first one after the challenge */
	atomic_uint requests;
	int listener, stop;
	pthread_t thread;
	char *kept;
	size_t kept_length;
};

/* Waits for one of two sockets to say something: its index, or -1 at the end. */
static inline int tamper_wait(const struct tamper_proxy *t, int a, int b)
{
	struct pollfd fds[3] = { { .fd = t->stop, .events = POLLIN },
		                 { .fd = a, .events = POLLIN },
		                 { .fd = b, .events = POLLIN } };

	while (poll(fds, 3, -1) < 0)
		if (errno != EINTR)
			return -1;
	if (fds[0].revents)
		return -1;
	return fds[1].revents ? 0 : 1;
}

static inline void tamper_change(struct tamper_proxy *t, char *bytes, size_t length)
{
	char *at = t->what ? memmem(bytes, length, t->what, strlen(t->what)) : NULL;

	if (at)
		memcpy(at, t->with, strlen(t->with));
}

/* Answers of the server's; the first that is a success is kept, and is all that the client gets from then on. */
static inline bool tamper_answer(struct tamper_proxy *t, int client, char *bytes, size_t length)
{
	if (t->replay && t->kept)
		return loopback_send(client, t->kept, t->kept_length);
	if (t->replay && memmem(bytes, length, "HTTP/1.1 2", 10)) {
		t->kept = malloc(length);
		assert(t->kept);
		memcpy(t->kept, bytes, length);
		t->kept_length = length;
	}
	tamper_change(t, bytes, length);
	return loopback_send(client, bytes, length);
}

static inline void tamper_serve(struct tamper_proxy *t, int client)
{
	static char bytes[1 << 18];
	int server = t->server_port ? wire_connect(t->server_port) : -1;

	for (;;) {
		int which = tamper_wait(t, client, server);
		ssize_t n = which < 0 ? 0 : recv(which ? server : client, bytes, sizeof bytes, 0);

		if (n <= 0)
			break;
		if (which == 1) {
			if (!tamper_answer(t, client, bytes, (size_t)n))
				break;
			continue;
		}
		if (memmem(bytes, (size_t)n, "\r\n\r\n", 4))
			atomic_fetch_add(&t->requests, 1);
		if (server >= 0 ? !loopback_send(server, bytes, (size_t)n)
		                : t->says && !loopback_send(client, t->says, strlen(t->says)))
			break;
	}
	if (server >= 0)
		close(server);
}

static inline void *tamper_main(void *arg)
{
	struct tamper_proxy *t = arg;

	while (tamper_wait(t, t->listener, -1) == 0) {
		int client = accept4(t->listener, NULL, NULL, SOCK_CLOEXEC);

		if (client < 0)
			continue;
		tamper_serve(t, client);
		close(client);
	}
	return NULL;
}

/* What the caller has set is kept. End it with tamper_stop(). */
static inline void tamper_start(struct tamper_proxy *t)
{
	int rc;

	t->listener = loopback_listen(&t->port);
	t->stop = eventfd(0, EFD_CLOEXEC);
	assert(t->stop >= 0);
	rc = pthread_create(&t->thread, NULL, tamper_main, t);
	assert(rc == 0);
	(void)rc;
}

static inline void tamper_stop(struct tamper_proxy *t)
{
	(void)!eventfd_write(t->stop, 1);
	(void)pthread_join(t->thread, NULL);
	close(t->listener);
	close(t->stop);
	free(t->kept);
}

#endif
