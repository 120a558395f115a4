/* SPDX-License-Identifier: GPL-3.0-only */
/* guest_agent.c: QEMU's guest agent: lines of JSON, of which the other side's may be anything. */
#include "cli/guest_agent.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE_BYTES_MAX 16384 /* the answers waited for have less than 200 */
#define SLICE_MS 100         /* how long a signal may be overlooked that comes just before poll(2) */
#define DELIMITER 0xff       /* in no JSON text: ends what was there before */

struct guest_agent {
	const char *socket; /* the caller's */
	int fd;
	unsigned answer_ms;
	const volatile bool *stop; /* NULL: never */
	bool holds;
	int64_t sync_id; /* of the answer to be waited for; before it there may be others */
	size_t have;     /* bytes in `in` */
	char in[LINE_BYTES_MAX];
};

static uint64_t in_ms(unsigned ms)
{
	return clock_monotonic_ns() + ms * 1000000ull;
}

/* ---- bytes -------------------------------------------------------------------------------------------------------- */

/* Waits until the socket is ready for `events`. `until` by clock_monotonic_ns(). */
static int wait_ready(struct guest_agent *a, short events, uint64_t until, bool stoppable, struct error *err)
{
	for (;;) {
		struct pollfd p = { .fd = a->fd, .events = events };
		uint64_t now = clock_monotonic_ns();

		if (stoppable && a->stop && *a->stop)
			return error_set(err, -EINTR, "%s: interrupted", a->socket);
		if (now >= until)
			return error_set(err, -ETIMEDOUT,
			                 "%s: the guest agent does not answer: it must run in the guest, and no other "
			                 "program may hold the socket",
			                 a->socket);
		uint64_t ms = (until - now) / 1000000 + 1;
		int n = poll(&p, 1, ms < SLICE_MS ? (int)ms : SLICE_MS);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return error_set(err, -errno, "%s: %s", a->socket, strerror(errno));
	}
}

static int broken(struct guest_agent *a, int code, struct error *err)
{
	if (code == -EPIPE || code == -ECONNRESET)
		return error_set(err, -ECONNRESET, "%s: the connection has ended: has the guest?", a->socket);
	return error_set(err, code, "%s: %s", a->socket, strerror(-code));
}

static int send_all(struct guest_agent *a, const char *buf, size_t len, struct error *err)
{
	uint64_t until = in_ms(a->answer_ms);

	while (len > 0) {
		ssize_t n = send(a->fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		int rc = 0;

		if (n >= 0) {
			buf += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			rc = wait_ready(a, POLLOUT, until, false, err);
		} else if (errno != EINTR) {
			rc = broken(a, -errno, err);
		}
		if (rc)
			return rc;
	}
	return 0;
}

/* Waits for more bytes in `in`, where there is room. */
static int receive(struct guest_agent *a, uint64_t until, bool stoppable, struct error *err)
{
	int rc = wait_ready(a, POLLIN, until, stoppable, err);
	ssize_t n;

	if (rc)
		return rc;
	n = recv(a->fd, a->in + a->have, sizeof a->in - a->have, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : broken(a, -errno, err);
	if (n == 0)
		return broken(a, -ECONNRESET, err);
	a->have += (size_t)n;
	return 0;
}

/* Takes the first `len` bytes out of `in`. */
static void drop(struct guest_agent *a, size_t len)
{
	a->have -= len;
	memmove(a->in, a->in + len, a->have);
}

/* ---- answers ------------------------------------------------------------------------------------------------------ */

static int not_understood(struct guest_agent *a, struct error *err)
{
	return error_set(err, -EPROTO, "%s: what answers there is not QEMU's guest agent", a->socket);
}

/* The agent's own words, as far as they can be printed. */
static int agent_error(struct guest_agent *a, const char *command, const json_t *error, struct error *err)
{
	const char *class = json_string_value(json_object_get(error, "class"));
	const char *desc = json_string_value(json_object_get(error, "desc"));
	char words[200];

	snprintf(words, sizeof words, "%s", desc ? desc : "it does not say why");
	for (char *c = words; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	if (class && !strcmp(class, "CommandNotFound"))
		return error_set(err, -EOPNOTSUPP, "%s: the guest agent may not do %s: allow it in the guest (%s)",
		                 a->socket, command, words);
	return error_set(err, -EIO, "%s: %s in the guest: %s", a->socket, command, words);
}

/* Reads a line, whose "return" becomes *value, to be freed with json_decref(). */
static int read_answer(struct guest_agent *a, const char *command, uint64_t until, bool stoppable, json_t **value,
                       struct error *err)
{
	const char *end;
	json_t *line;
	int rc = 0;

	while (!(end = memchr(a->in, '\n', a->have))) {
		if (a->have == sizeof a->in) {
			a->have = 0;
			return not_understood(a, err);
		}
		rc = receive(a, until, stoppable, err);
		if (rc)
			return rc;
	}
	line = json_loadb(a->in, (size_t)(end - a->in), 0, NULL);
	drop(a, (size_t)(end - a->in) + 1);
	*value = json_incref(json_object_get(line, "return"));
	if (!*value && json_object_get(line, "error"))
		rc = agent_error(a, command, json_object_get(line, "error"), err);
	else if (!*value)
		rc = not_understood(a, err);
	json_decref(line);
	return rc;
}

/* What a command that counts has counted. */
static int read_count(struct guest_agent *a, const char *command, uint64_t until, bool stoppable, int64_t *count,
                      struct error *err)
{
	json_t *value = NULL;
	int rc = read_answer(a, command, until, stoppable, &value, err);

	if (!rc && !json_is_integer(value))
		rc = not_understood(a, err);
	*count = rc ? 0 : json_integer_value(value);
	json_decref(value);
	return rc;
}

static int send_command(struct guest_agent *a, const char *command, struct error *err)
{
	char line[100];
	int n = snprintf(line, sizeof line, "{\"execute\":\"%s\"}\n", command);

	return send_all(a, line, (size_t)n, err);
}

/* ---- synchronisation ---------------------------------------------------------------------------------------------- */

/* An answer is wanted that cannot be to anything asked before. The delimiter ends what an earlier client may have left off in the
 * middle of; the agent puts one before its answer, too. */
static int send_sync(struct guest_agent *a, struct error *err)
{
	char line[100];
	int n;

	a->sync_id = (int64_t)(randombytes_random() >> 1);
	n = snprintf(line, sizeof line, "%c{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":%" PRId64 "}}\n",
	             DELIMITER, a->sync_id);
	return send_all(a, line, (size_t)n, err);
}

/* Throws away all that comes before that answer, and the answer. */
static int read_sync(struct guest_agent *a, uint64_t until, bool stoppable, struct error *err)
{
	int64_t id = -1;
	int rc = 0;

	while (!rc && id != a->sync_id) {
		const char *delimiter = memchr(a->in, DELIMITER, a->have);

		if (!delimiter) {
			a->have = 0;
			rc = receive(a, until, stoppable, err);
			continue;
		}
		drop(a, (size_t)(delimiter - a->in) + 1);
		rc = read_count(a, "guest-sync-delimited", until, stoppable, &id, err);
		/* Another one's, or nonsense: the right one may follow. */
		if (rc == -EPROTO || rc == -EIO || rc == -EOPNOTSUPP)
			rc = 0;
	}
	return rc;
}

/* ---- connecting --------------------------------------------------------------------------------------------------- */

static int connect_failed(const char *socket, int code, struct error *err)
{
	switch (code) {
	case -ENOENT:
	case -ENOTDIR:
		return error_set(err, -ENOENT,
		                 "%s: there is no such socket: it is the one of the guest's channel "
		                 "org.qemu.guest_agent.0",
		                 socket);
	case -ECONNREFUSED:
		return error_set(err, code, "%s: nobody listens there: is it a socket, and does the guest run?",
		                 socket);
	case -EAGAIN:
		return error_set(err, -EBUSY, "%s: other programs are connected, or wait to be", socket);
	default:
		return error_set(err, code, "%s: cannot connect: %s", socket, strerror(-code));
	}
}

static int connect_to(struct guest_agent *a, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (strlen(a->socket) >= sizeof address.sun_path)
		return error_set(err, -ENAMETOOLONG, "%s: too long for the path of a socket", a->socket);
	strcpy(address.sun_path, a->socket);
	a->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (a->fd < 0)
		return error_set(err, -errno, "%s: %s", a->socket, strerror(errno));
	if (connect(a->fd, (struct sockaddr *)&address, sizeof address) < 0)
		return connect_failed(a->socket, -errno, err);
	return 0;
}

/* Another one's freeze is not ours to end. */
static int check_thawed(struct guest_agent *a, struct error *err)
{
	static const char command[] = "guest-fsfreeze-status";
	json_t *value = NULL;
	int rc = send_command(a, command, err);

	if (!rc)
		rc = read_answer(a, command, in_ms(a->answer_ms), true, &value, err);
	if (!rc && !json_is_string(value))
		rc = not_understood(a, err);
	else if (!rc && strcmp(json_string_value(value), "thawed") != 0)
		rc = error_set(err, -EALREADY,
		               "%s: the guest's file systems are frozen already: another program is at work, or has "
		               "left them so",
		               a->socket);
	json_decref(value);
	return rc;
}

int guest_agent_connect(const char *socket, unsigned answer_ms, const volatile bool *stop, struct guest_agent **agent,
                        struct error *err)
{
	struct guest_agent *a = calloc(1, sizeof *a);
	int rc;

	*agent = NULL;
	if (!a)
		return error_set(err, -ENOMEM, "out of memory");
	a->socket = socket;
	a->fd = -1;
	a->answer_ms = answer_ms;
	a->stop = stop;
	rc = connect_to(a, err);
	if (!rc)
		rc = send_sync(a, err);
	if (!rc)
		rc = read_sync(a, in_ms(answer_ms), true, err);
	if (!rc)
		rc = check_thawed(a, err);
	if (rc)
		guest_agent_close(a);
	else
		*agent = a;
	return rc;
}

void guest_agent_close(struct guest_agent *agent)
{
	if (!agent)
		return;
	if (agent->fd >= 0)
		close(agent->fd);
	free(agent);
}

/* ---- freezing and thawing ----------------------------------------------------------------------------------------- */

static const char freeze_command[] = "guest-fsfreeze-freeze", thaw_command[] = "guest-fsfreeze-thaw";

int guest_agent_freeze(struct guest_agent *a, struct error *err)
{
	a->holds = true;
	return send_command(a, freeze_command, err);
}

int guest_agent_frozen(struct guest_agent *a, unsigned timeout_ms, struct error *err)
{
	int64_t count;
	int rc = read_count(a, freeze_command, in_ms(timeout_ms), true, &count, err);

	if (rc == -ETIMEDOUT)
		return error_set(err, rc, "%s: the guest's file systems are not frozen after %u s", a->socket,
		                 timeout_ms / 1000);
	if (rc == -EOPNOTSUPP)
		a->holds = false;
	if (!rc && count <= 0)
		rc = error_set(err, -ENODATA, "%s: the guest has no file system mounted that can be frozen", a->socket);
	return rc;
}

bool guest_agent_holds(const struct guest_agent *a)
{
	return a->holds;
}

static int may_be_frozen(int rc, struct error *err)
{
	return error_prefix(err, rc, "the guest may still be frozen");
}

/* The answer to the freezing may be still to come: what follows the synchronisation is the one to this. */
int guest_agent_thaw(struct guest_agent *a, struct error *err)
{
	int rc = send_sync(a, err);

	if (!rc)
		rc = send_command(a, thaw_command, err);
	return rc ? may_be_frozen(rc, err) : 0;
}

int guest_agent_thawed(struct guest_agent *a, unsigned timeout_ms, struct error *err)
{
	uint64_t until = in_ms(timeout_ms);
	int64_t count = 0;
	int rc = read_sync(a, until, false, err);

	if (!rc)
		rc = read_count(a, thaw_command, until, false, &count, err);
	if (rc)
		return may_be_frozen(rc, err);
	a->holds = false;
	if (count <= 0)
		return error_set(err, -ESTALE, "%s: the guest has thawed by itself too early", a->socket);
	return 0;
}
