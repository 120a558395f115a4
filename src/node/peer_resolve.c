/* SPDX-License-Identifier: GPL-3.0-only */
/* peer_resolve.c: the addresses of another node: numbers at once; names by getaddrinfo(3), which may block, on a thread that is made
 * for it.
 *
 * That thread may outlive the peer, when no name server answers: it knows only its struct lookup, which belongs to both.
 */
#include "node/peer_private.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define KEPT_MS 10000 /* so long a name's addresses are believed */

struct lookup {
	atomic_uint references;
	int done_fd; /* an eventfd; after it nothing changes any more */
	char *host;
	char service[8];
	int result;
	size_t count;
	struct peer_address addresses[PEER_ADDRESSES_MAX];
};

static void lookup_put(struct lookup *l)
{
	if (!l || atomic_fetch_sub(&l->references, 1) != 1)
		return;
	if (l->done_fd >= 0)
		close(l->done_fd);
	free(l->host);
	free(l);
}

static size_t keep(const struct addrinfo *list, struct peer_address *addresses)
{
	size_t n = 0;

	for (; list && n < PEER_ADDRESSES_MAX; list = list->ai_next) {
		if (list->ai_addrlen > sizeof addresses[n].address)
			continue;
		memcpy(&addresses[n].address, list->ai_addr, list->ai_addrlen);
		addresses[n].length = list->ai_addrlen;
		n++;
	}
	return n;
}

static void ask(struct lookup *l, int flags)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV }, *list = NULL;

	l->result = getaddrinfo(l->host, l->service, &hints, &list);
	if (l->result)
		return;
	l->count = keep(list, l->addresses);
	freeaddrinfo(list);
}

static void *ask_on_thread(void *arg)
{
	struct lookup *l = arg;

	ask(l, 0);
	(void)!eventfd_write(l->done_fd, 1);
	lookup_put(l);
	return NULL;
}

static struct lookup *lookup_new(const struct peer *p)
{
	struct lookup *l = calloc(1, sizeof *l);

	if (!l)
		return NULL;
	atomic_init(&l->references, 1);
	l->done_fd = -1;
	l->host = strdup(p->host);
	(void)snprintf(l->service, sizeof l->service, "%u", p->options.port);
	if (!l->host) {
		lookup_put(l);
		return NULL;
	}
	return l;
}

static void take(struct peer *p, const struct lookup *l)
{
	memcpy(p->addresses, l->addresses, l->count * sizeof l->addresses[0]);
	p->addresses_count = l->count;
	p->addresses_ms = loop_now_ms();
}

static struct peer_connection *first_waiting(const struct peer *p)
{
	struct peer_connection *c;

	TAILQ_FOREACH(c, &p->connections, link) {
		if (c->state == PEER_RESOLVES)
			return c;
	}
	return NULL;
}

static void found(evutil_socket_t fd, short what, void *arg)
{
	struct peer *p = arg;
	struct lookup *l = p->lookup;
	struct peer_connection *c;
	struct error err = { 0 };
	uint64_t count;
	int rc = 0;

	(void)what;
	if (read(fd, &count, sizeof count) < 0)
		return;
	p->lookup = NULL;
	(void)event_del(&p->lookup_event);
	take(p, l);
	if (!l->count)
		rc = error_set(&err, -EHOSTUNREACH, "no address of %s is known: %s", p->host,
		               l->result ? gai_strerror(l->result) : "there is none");
	lookup_put(l);
	/* What one leads to may end others: from the beginning, each time. */
	while ((c = first_waiting(p)))
		peer_connection_resolved(c, rc, &err);
}

static int begin(struct peer *p)
{
	struct lookup *l = lookup_new(p);
	pthread_t thread;
	int rc;

	if (!l)
		return -ENOMEM;
	l->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->done_fd < 0) {
		rc = -errno;
		lookup_put(l);
		return rc;
	}
	atomic_fetch_add(&l->references, 1);
	rc = -pthread_create(&thread, NULL, ask_on_thread, l);
	if (rc < 0) {
		lookup_put(l);
		lookup_put(l);
		return rc;
	}
	(void)pthread_detach(thread);
	p->lookup = l;
	event_assign(&p->lookup_event, loop_base(p->loop), l->done_fd, EV_READ | EV_PERSIST, found, p);
	(void)event_add(&p->lookup_event, NULL);
	return 0;
}

int peer_resolve(struct peer *p)
{
	struct lookup *l;
	int rc;

	if (p->lookup)
		return 1;
	if (p->addresses_count && (p->numeric || loop_now_ms() - p->addresses_ms < KEPT_MS))
		return 0;
	l = lookup_new(p);
	if (!l)
		return -ENOMEM;
	ask(l, AI_NUMERICHOST);
	p->numeric = l->count > 0;
	if (p->numeric)
		take(p, l);
	lookup_put(l);
	if (p->numeric)
		return 0;
	rc = begin(p);
	return rc < 0 ? rc : 1;
}

void peer_resolve_end(struct peer *p)
{
	if (!p->lookup)
		return;
	(void)event_del(&p->lookup_event);
	lookup_put(p->lookup);
	p->lookup = NULL;
}
