/* SPDX-License-Identifier: GPL-3.0-only */
/* fault_control.c: the fault proxy's control socket. It changes what the proxy does from now on; it moves no bytes. */
#include "tools/fault_control.h"

#include "tools/fault_session.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE_MAX_BYTES 256
#define PEERS_MAX 16
#define ANSWER_MAX 1024

struct peer {
	struct fault_control *control;
	struct event *readable; /* NULL: not in use */
	int fd;
	size_t have;
	char line[LINE_MAX_BYTES];
};

struct fault_control {
	struct fault_proxy *proxy;
	struct event *acceptable;
	int fd;
	struct sockaddr_un address;
	bool bound;
	struct peer peers[PEERS_MAX];
};

/* ---- commands ---------------------------------------------------------------------------------------------------- */

static int run_down(struct fault_proxy *p, const char *text, struct error *err)
{
	(void)text;
	(void)err;
	p->down = true;
	fault_sessions_reset(p);
	return 0;
}

static int run_up(struct fault_proxy *p, const char *text, struct error *err)
{
	(void)text;
	(void)err;
	p->down = false;
	return 0;
}

static int run_delay(struct fault_proxy *p, const char *text, struct error *err)
{
	return fault_delay_parse(text, &p->delay_ns, err);
}

static int run_rate(struct fault_proxy *p, const char *text, struct error *err)
{
	uint64_t rate;

	if (fault_number_parse(text, TOKEN_RATE_MAX, &rate) < 0)
		return error_set(err, -EINVAL, "'%s' is not a number of bytes per second (0: no limit)", text);
	fault_rate_set(p, rate);
	return 0;
}

static int run_faults(struct fault_proxy *p, const char *text, struct error *err)
{
	if (strcmp(text, "off") != 0)
		return error_set(err, -EINVAL, "\"faults\" can only be \"off\"; use \"fault KIND=P[,ARG]\" to set one");
	fault_schedule_off(&p->schedule);
	return 0;
}

static int run_fault(struct fault_proxy *p, const char *text, struct error *err)
{
	return fault_schedule_add(&p->schedule, text, err);
}

/* Writes the counters into `out`. */
static void print_stats(const struct fault_proxy *p, char *out, size_t size)
{
	const struct fault_schedule *s = &p->schedule;
	int n = snprintf(out, size,
	                 "requests=%" PRIu64 " connections=%" PRIu64 " open=%u bytes_up=%" PRIu64 " bytes_down=%" PRIu64
	                 " faults=%" PRIu64 " harmless=%" PRIu64,
	                 s->requests, p->connections, p->session_count, p->bytes[UP], p->bytes[DOWN], s->faults,
	                 p->harmless);

	for (enum fault_kind k = FAULT_NONE + 1; k < FAULT_KINDS && n > 0 && (size_t)n < size; k++)
		n += snprintf(out + n, size - (size_t)n, " %s=%" PRIu64, fault_kind_name(k), s->counts[k]);
}

static int run_line(struct fault_proxy *p, const char *line, struct error *err)
{
	static const struct {
		const char *name;
		bool takes_text;
		int (*run)(struct fault_proxy *p, const char *text, struct error *err);
	} commands[] = { { "down", false, run_down }, { "up", false, run_up },        { "delay", true, run_delay },
		         { "rate", true, run_rate },  { "faults", true, run_faults }, { "fault", true, run_fault } };
	size_t len = strcspn(line, " ");

	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
		if (strlen(commands[i].name) == len && memcmp(commands[i].name, line, len) == 0 &&
		    commands[i].takes_text == (line[len] != '\0'))
			return commands[i].run(p, line[len] ? line + len + 1 : "", err);
	return error_set(err, -EINVAL,
	                 "not a command: down, up, delay MS, rate BYTES_PER_S, faults off, fault KIND=P[,ARG], stats");
}

/* ---- peers ------------------------------------------------------------------------------------------------------- */

static void close_peer(struct peer *peer)
{
	if (!peer->readable)
		return;
	event_free(peer->readable);
	peer->readable = NULL;
	(void)close(peer->fd);
}

/* Runs one line and answers. Returns whether the peer took the answer. */
static bool answer(struct peer *peer, const char *line)
{
	char out[ANSWER_MAX];
	struct error err = { 0 };
	size_t len;

	if (strcmp(line, "stats") == 0)
		print_stats(peer->control->proxy, out, sizeof out - 1);
	else if (run_line(peer->control->proxy, line, &err) < 0)
		(void)snprintf(out, sizeof out - 1, "error %s", error_text(&err));
	else
		(void)snprintf(out, sizeof out - 1, "ok");
	len = strlen(out);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)out[i] < 0x20)
			out[i] = '?';
	out[len++] = '\n';
	return send(peer->fd, out, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len;
}

static void on_line(evutil_socket_t fd, short what, void *arg)
{
	struct peer *peer = arg;
	ssize_t n = recv(fd, peer->line + peer->have, sizeof peer->line - peer->have, 0);
	char *end;

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		close_peer(peer);
		return;
	}
	peer->have += (size_t)n;
	while ((end = memchr(peer->line, '\n', peer->have))) {
		size_t used = (size_t)(end - peer->line) + 1;

		*end = '\0';
		if (end > peer->line && end[-1] == '\r')
			end[-1] = '\0';
		if (!answer(peer, peer->line)) {
			close_peer(peer);
			return;
		}
		peer->have -= used;
		memmove(peer->line, peer->line + used, peer->have);
	}
	if (peer->have == sizeof peer->line) {
		(void)answer(peer, "too long");
		close_peer(peer);
	}
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
	struct fault_control *c = arg;
	int peer_fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct peer *peer = NULL;

	(void)what;
	if (peer_fd < 0)
		return;
	for (size_t i = 0; i < PEERS_MAX && !peer; i++)
		if (!c->peers[i].readable)
			peer = &c->peers[i];
	if (peer) {
		*peer = (struct peer){ .control = c, .fd = peer_fd };
		peer->readable = event_new(c->proxy->base, peer_fd, EV_READ | EV_PERSIST, on_line, peer);
	}
	if (!peer || !peer->readable || event_add(peer->readable, NULL) < 0) {
		if (peer && peer->readable)
			event_free(peer->readable);
		if (peer)
			peer->readable = NULL;
		(void)close(peer_fd);
	}
}

/* ---- beginning and end ------------------------------------------------------------------------------------------- */

/* Removes a socket that nobody listens at any more. */
static void remove_stale(const struct sockaddr_un *address)
{
	struct stat st;
	int fd;

	if (lstat(address->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 && errno == ECONNREFUSED)
		(void)unlink(address->sun_path);
	(void)close(fd);
}

static int bind_private(struct fault_control *c)
{
	mode_t mask = umask(0177);
	int rc = bind(c->fd, (const struct sockaddr *)&c->address, sizeof c->address) < 0 ? -errno : 0;

	(void)umask(mask);
	c->bound = rc == 0;
	return rc;
}

int fault_control_listen(struct fault_proxy *proxy, const char *path, struct fault_control **control, struct error *err)
{
	struct fault_control *c;
	int rc;

	if (strlen(path) == 0 || strlen(path) >= sizeof c->address.sun_path)
		return error_set(err, -ENAMETOOLONG, "the control socket's path must have 1 to %zu characters: %s",
		                 sizeof c->address.sun_path - 1, path);
	c = calloc(1, sizeof *c);
	if (!c)
		return error_set(err, -ENOMEM, "out of memory");
	c->proxy = proxy;
	c->address.sun_family = AF_UNIX;
	memcpy(c->address.sun_path, path, strlen(path));
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	rc = c->fd < 0 ? -errno : 0;
	if (rc == 0) {
		remove_stale(&c->address);
		rc = bind_private(c);
	}
	if (rc == 0 && listen(c->fd, PEERS_MAX) < 0)
		rc = -errno;
	if (rc == 0) {
		c->acceptable = event_new(proxy->base, c->fd, EV_READ | EV_PERSIST, on_acceptable, c);
		rc = c->acceptable && event_add(c->acceptable, NULL) == 0 ? 0 : -ENOMEM;
	}
	if (rc < 0) {
		fault_control_free(c);
		return error_set(err, rc, "cannot listen at the control socket %s: %s%s", path, strerror(-rc),
		                 rc == -EADDRINUSE ? "; remove it, or choose another path" : "");
	}
	*control = c;
	return 0;
}

void fault_control_free(struct fault_control *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < PEERS_MAX; i++)
		close_peer(&c->peers[i]);
	if (c->acceptable)
		event_free(c->acceptable);
	if (c->fd >= 0)
		(void)close(c->fd);
	if (c->bound)
		(void)unlink(c->address.sun_path);
	free(c);
}
