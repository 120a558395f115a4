/* SPDX-License-Identifier: GPL-3.0-only */
/* fake_agent.h: a guest agent on a unix socket, on a thread of its own, that freezes nothing, and can be made to misbehave. For
 * tests only.
 *
 * Set what it is to do between fake_agent_init() and fake_agent_start(); look at what it saw after fake_agent_stop().
 */
#ifndef GARNER_TESTS_FAKE_AGENT_H
#define GARNER_TESTS_FAKE_AGENT_H

#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct fake_agent {
	char path[100];
	/* What it does. Commands are called sync, status, freeze and thaw. */
	int file_systems;     /* how many are frozen */
	bool frozen;          /* to begin with */
	bool thaws_itself;    /* at once */
	const char *greeting; /* is there to be read before anything is asked */
	size_t greeting_length;
	const char *silent_at;       /* does this command, and does not answer until the next one comes */
	unsigned silent_times;       /* how often; 0: always, and not later either */
	const char *closes_at;       /* hangs up instead of doing this */
	const char *odd_at, *answer; /* answers so to this command, and does nothing */
	size_t answer_length;
	unsigned answer_repeats; /* so often, as long as anybody takes it */
	/* What it saw. */
	char seen[200]; /* "sync status freeze sync thaw " */
	/* Its own. */
	int listen_fd, stop_fd, fd;
	pthread_t thread;
	char in[2000], late[200];
	size_t have;
};

static inline void fake_agent_init(struct fake_agent *a, const char *dir, const char *name)
{
	memset(a, 0, sizeof *a);
	snprintf(a->path, sizeof a->path, "%s/%s", dir, name);
	a->file_systems = 2;
	a->answer_repeats = 1;
}

static inline void fake_agent_send(struct fake_agent *a, const void *buf, size_t len)
{
	/* Who has left takes nothing. */
	if (a->fd >= 0 && len > 0 && send(a->fd, buf, len, MSG_NOSIGNAL) < 0) {
		close(a->fd);
		a->fd = -1;
	}
}

/* Carries a command out and prints the answer. */
static inline void fake_agent_do(struct fake_agent *a, const char *what, const char *line, char *out, size_t room)
{
	const char *id = strstr(line, "\"id\":");

	if (!strcmp(what, "sync")) {
		snprintf(out, room, "\xff{\"return\": %ld}\n", id ? atol(id + 5) : -1);
	} else if (!strcmp(what, "status")) {
		snprintf(out, room, "{\"return\": \"%s\"}\n", a->frozen ? "frozen" : "thawed");
	} else if (!strcmp(what, "freeze")) {
		a->frozen = a->file_systems > 0 && !a->thaws_itself;
		snprintf(out, room, "{\"return\": %d}\n", a->file_systems);
	} else {
		snprintf(out, room, "{\"return\": %d}\n", a->frozen ? a->file_systems : 0);
		a->frozen = false;
	}
}

static inline void fake_agent_command(struct fake_agent *a, const char *line)
{
	const char *what = strstr(line, "guest-sync-delimited")    ? "sync"
	                   : strstr(line, "guest-fsfreeze-status") ? "status"
	                   : strstr(line, "guest-fsfreeze-freeze") ? "freeze"
	                                                           : "thaw";
	size_t used = strlen(a->seen);
	char out[200] = "";

	snprintf(a->seen + used, sizeof a->seen - used, "%s ", what);
	fake_agent_send(a, a->late, strlen(a->late));
	a->late[0] = '\0';
	if (a->closes_at && !strcmp(what, a->closes_at)) {
		close(a->fd);
		a->fd = -1;
	} else if (a->odd_at && !strcmp(what, a->odd_at)) {
		for (unsigned k = 0; k < a->answer_repeats && a->fd >= 0; k++)
			fake_agent_send(a, a->answer, a->answer_length);
	} else {
		bool silent = a->silent_at && !strcmp(what, a->silent_at);

		fake_agent_do(a, what, line, out, sizeof out);
		if (!silent) {
			fake_agent_send(a, out, strlen(out));
		} else if (a->silent_times) {
			strcpy(a->late, out);
			if (!--a->silent_times)
				a->silent_at = NULL;
		}
	}
}

static inline void fake_agent_read(struct fake_agent *a)
{
	ssize_t n = recv(a->fd, a->in + a->have, sizeof a->in - 1 - a->have, 0);
	char *end;

	if (n <= 0) {
		close(a->fd);
		a->fd = -1;
		return;
	}
	a->have += (size_t)n;
	while (a->fd >= 0 && (end = memchr(a->in, '\n', a->have))) {
		*end = '\0';
		fake_agent_command(a, a->in);
		a->have -= (size_t)(end + 1 - a->in);
		memmove(a->in, end + 1, a->have);
	}
}

static inline void *fake_agent_thread(void *arg)
{
	struct fake_agent *a = arg;

	for (;;) {
		struct pollfd p[] = { { a->fd < 0 ? a->listen_fd : a->fd, POLLIN, 0 }, { a->stop_fd, POLLIN, 0 } };

		if (poll(p, 2, -1) < 0)
			continue;
		/* All that was sent before is seen. */
		if (!p[0].revents)
			return NULL;
		if (a->fd >= 0) {
			fake_agent_read(a);
		} else {
			/* One that floods must not hang when nobody reads. */
			const struct timeval patience = { .tv_sec = 2 };

			a->fd = accept(a->listen_fd, NULL, NULL);
			a->have = 0;
			if (setsockopt(a->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) < 0)
				abort();
			fake_agent_send(a, a->greeting, a->greeting_length);
		}
	}
}

static inline void fake_agent_start(struct fake_agent *a)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	memcpy(address.sun_path, a->path, sizeof a->path);
	a->fd = -1;
	a->stop_fd = eventfd(0, 0);
	a->listen_fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert(a->stop_fd >= 0 && a->listen_fd >= 0);
	if (bind(a->listen_fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(a->listen_fd, 1) < 0 ||
	    pthread_create(&a->thread, NULL, fake_agent_thread, a) != 0)
		abort();
}

static inline void fake_agent_stop(struct fake_agent *a)
{
	if (!a->stop_fd)
		return;
	eventfd_write(a->stop_fd, 1);
	pthread_join(a->thread, NULL);
	if (a->fd >= 0)
		close(a->fd);
	close(a->listen_fd);
	close(a->stop_fd);
	unlink(a->path);
	a->stop_fd = 0;
}

#endif
