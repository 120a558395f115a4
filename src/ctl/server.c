/* SPDX-License-Identifier: GPL-3.0-only */
/* server.c: the daemon's side of the control socket.
 *
 * One thread polls: it accepts, reads request lines and hands each to a few workers, since commands may block on the store;
 * a connection has at most one command running. Input is bounded and clean ASCII, or the connection is refused. */
#include "ctl/ctl.h"

#include "base/clock.h"
#include "base/executor.h"
#include "base/report.h"
#include "ctl/server_clean.h"
#include "ctl/status.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
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
#define IDLE_NS (60 * 1000000000ull)
#define SEND_TIMEOUT_S 10
#define WORDS_MAX (2 + CTL_SNAPSHOT_IMAGES_MAX)

struct connection {
	struct ctl_server *server;
	int fd;             /* -1: free */
	size_t have;        /* bytes in `in` */
	uint64_t active_ns; /* when the peer last did something */
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
	struct executor *workers;
	atomic_bool stopping;
	struct connection connections[CONNECTIONS_MAX]; /* the poll thread's */
};

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static void send_bytes(struct connection *c, const char *buf, size_t len)
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

/* Sends what was printed into a memory stream, each line marked as data. */
static void send_lines(struct connection *c, const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "\n");

		send_bytes(c, "= ", 2);
		send_bytes(c, text, len);
		send_bytes(c, "\n", 1);
		text += len + (text[len] == '\n');
	}
}

/* The last line of every answer. */
static void send_end(struct connection *c, int rc, const struct error *err)
{
	char line[ERROR_TEXT_MAX + 32];
	int n;

	if (rc >= 0) {
		send_bytes(c, "ok\n", 3);
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
	send_bytes(c, line, (size_t)n + 1);
}

/* ---- commands ---------------------------------------------------------------------------------------------------- */

struct command {
	const char *name;
	int words_min, words_max; /* after the name */
	int (*run)(struct connection *c, char **word, int words, struct error *err);
};

static int parse_format(const char *word, bool *json, struct error *err)
{
	*json = strcmp(word, "json") == 0;
	if (!*json && strcmp(word, "text") != 0)
		return error_set(err, -EINVAL, "\"%s\" is not a format: text or json", word);
	return 0;
}

static int parse_id(const char *word, uint64_t *id, struct error *err)
{
	if (strlen(word) != 16 || strspn(word, "0123456789abcdef") != 16)
		return error_set(err, -EINVAL, "\"%s\" is not an id: 16 hex digits", word);
	*id = strtoull(word, NULL, 16);
	return 0;
}

static int parse_number(const char *word, uint64_t *number, struct error *err)
{
	char *end;

	errno = 0;
	*number = strtoull(word, &end, 10);
	return word[0] >= '0' && word[0] <= '9' && !*end && !errno
	               ? 0
	               : error_set(err, -EINVAL, "\"%s\" is not a number", word);
}

static int finish_stream(struct connection *c, FILE *out, char **text, int rc, struct error *err)
{
	if (fclose(out) != 0 && rc == 0)
		rc = error_set(err, -ENOMEM, "out of memory");
	if (rc == 0)
		send_lines(c, *text);
	free(*text);
	return rc;
}

static int run_status(struct connection *c, char **word, int words, struct error *err)
{
	struct engine_status engine = { 0 };
	struct image_status image = { 0 };
	char *text = NULL;
	size_t size = 0;
	uint64_t id = 0;
	bool json;
	FILE *out;
	int rc;

	rc = parse_format(word[0], &json, err);
	if (rc == 0 && words > 1)
		rc = parse_id(word[1], &id, err);
	if (rc == 0 && id)
		rc = engine_image_status(c->server->engine, id, &image, err);
	if (rc < 0)
		return rc;
	out = open_memstream(&text, &size);
	if (!out)
		return error_set(err, -errno, "out of memory");
	if (id) {
		(json ? status_image_json : status_image_text)(out, &image);
	} else {
		engine_status(c->server->engine, &engine);
		(json ? status_engine_json : status_engine_text)(out, &engine);
	}
	return finish_stream(c, out, &text, 0, err);
}

struct lines_out {
	FILE *out;
	bool json;
};

static int print_image(void *arg, const struct image_status *status)
{
	struct lines_out *o = arg;

	(o->json ? status_image_json : status_image_line)(o->out, status);
	putc('\n', o->out);
	return 0;
}

static int run_images(struct connection *c, char **word, int words, struct error *err)
{
	struct lines_out o = { 0 };
	char *text = NULL;
	size_t size = 0;
	int rc;

	(void)words;
	rc = parse_format(word[0], &o.json, err);
	if (rc < 0)
		return rc;
	o.out = open_memstream(&text, &size);
	if (!o.out)
		return error_set(err, -errno, "out of memory");
	rc = engine_each_image(c->server->engine, print_image, &o);
	return finish_stream(c, o.out, &text, rc, err);
}

static bool flush_progress(void *arg, uint64_t bytes_left)
{
	struct connection *c = arg;
	char line[48];
	int n = snprintf(line, sizeof line, "= left %" PRIu64 "\n", bytes_left);

	send_bytes(c, line, (size_t)n);
	return !c->gone && !c->server->stopping;
}

static bool snapshot_taken(void *arg)
{
	static const char line[] = "= taken\n";
	struct connection *c = arg;

	send_bytes(c, line, sizeof line - 1);
	return !c->gone && !c->server->stopping;
}

static int run_flush(struct connection *c, char **word, int words, struct error *err)
{
	uint64_t id;
	int rc;

	(void)words;
	rc = parse_id(word[0], &id, err);
	return rc < 0 ? rc : engine_flush(c->server->engine, id, flush_progress, c, err);
}

static int run_flatten(struct connection *c, char **word, int words, struct error *err)
{
	uint64_t id;
	int rc = parse_id(word[0], &id, err);

	(void)words;
	return rc ? rc : engine_flatten(c->server->engine, id, flush_progress, c, err);
}

static int run_takeover(struct connection *c, char **word, int words, struct error *err)
{
	uint64_t id;
	int rc;

	(void)words;
	rc = parse_id(word[0], &id, err);
	return rc < 0 ? rc : engine_takeover(c->server->engine, id, err);
}

static int print_snapshot(void *arg, const struct snapshot_info *s)
{
	struct lines_out *o = arg;

	(o->json ? status_snapshot_json : status_snapshot_line)(o->out, s);
	putc('\n', o->out);
	return 0;
}

static int run_snapshot_list(struct connection *c, char **word, struct error *err)
{
	struct lines_out o = { 0 };
	char *text = NULL;
	size_t size = 0;
	uint64_t id;
	int rc = parse_format(word[0], &o.json, err);

	if (!rc)
		rc = parse_id(word[1], &id, err);
	if (rc)
		return rc;
	o.out = open_memstream(&text, &size);
	if (!o.out)
		return error_set(err, -errno, "out of memory");
	rc = engine_snapshot_each(c->server->engine, id, print_snapshot, &o, err);
	return finish_stream(c, o.out, &text, rc, err);
}

static int run_snapshot_find(struct connection *c, const char *name, uint64_t id, struct error *err)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return error_set(err, -errno, "out of memory");
	return finish_stream(c, out, &text, ctl_print_found(out, c->server->engine, name, id, err), err);
}

static int run_diff(struct connection *c, char **word, int words, struct error *err)
{
	char *text = NULL;
	size_t size = 0;
	uint64_t id, begin;
	FILE *out;
	int rc = parse_id(word[0], &id, err);

	(void)words;
	if (!rc)
		rc = parse_number(word[3], &begin, err);
	if (rc)
		return rc;
	out = open_memstream(&text, &size);
	if (!out)
		return error_set(err, -errno, "out of memory");
	rc = ctl_print_diff(out, c->server->engine, id, word[1], word[2], begin, err);
	return finish_stream(c, out, &text, rc, err);
}

static int run_snapshot(struct connection *c, char **word, int words, struct error *err)
{
	const struct snapshot_watch watch = { snapshot_taken, flush_progress, c };
	struct engine *e = c->server->engine;
	uint64_t ids[CTL_SNAPSHOT_IMAGES_MAX];
	int rc = 0, count = words - 2;

	if (!strcmp(word[0], "list"))
		return words == 3 ? run_snapshot_list(c, word + 1, err)
		                  : error_set(err, -EINVAL, "snapshot: wrong words");
	if (count > CTL_SNAPSHOT_IMAGES_MAX)
		return error_set(err, -E2BIG, "at most %d images at once", CTL_SNAPSHOT_IMAGES_MAX);
	for (int k = 0; k < count && !rc; k++)
		rc = parse_id(word[2 + k], &ids[k], err);
	if (rc)
		return rc;
	if (!strcmp(word[0], "create"))
		return engine_snapshot_create_watched(e, ids, (size_t)count, word[1], &watch, err);
	if (!strcmp(word[0], "check"))
		return engine_snapshot_check(e, ids, (size_t)count, word[1], err);
	if (!strcmp(word[0], "import") && count == 2)
		return engine_snapshot_import(e, ids[0], word[1], ids[1], err);
	if (count != 1)
		return error_set(err, -EINVAL, "snapshot: wrong words");
	if (!strcmp(word[0], "find"))
		return run_snapshot_find(c, word[1], ids[0], err);
	if (!strcmp(word[0], "delete"))
		return engine_snapshot_delete(e, ids[0], word[1], err);
	if (!strcmp(word[0], "protect") || !strcmp(word[0], "unprotect"))
		return engine_snapshot_protect(e, ids[0], word[1], word[0][0] == 'p', err);
	return error_set(err, -EOPNOTSUPP, "this daemon knows no \"snapshot %s\"", word[0]);
}

static int print_trashed(void *arg, const struct trashed_image *t)
{
	char name[CTL_NAME_TEXT_MAX];

	ctl_name_encode(t->name, name);
	fprintf(arg, "%016" PRIx64 " %" PRIu64 " %" PRIu64 " %s\n", t->id, t->deleted_ns, t->expires_ns, name);
	return 0;
}

static int run_trash(struct connection *c, char **word, int words, struct error *err)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	int rc;

	(void)word;
	(void)words;
	if (!out)
		return error_set(err, -errno, "out of memory");
	rc = engine_trash_each(c->server->engine, print_trashed, out, err);
	return finish_stream(c, out, &text, rc, err);
}

/* "ID DIR NAME" */
struct placing {
	uint64_t id, dir;
	char name[NAME_BYTES_MAX + 1];
};

static int parse_placing(char **word, bool named, struct placing *p, struct error *err)
{
	int rc = parse_id(word[0], &p->id, err);

	if (!rc)
		rc = parse_id(word[1], &p->dir, err);
	if (!rc && named && ctl_name_decode(word[2], p->name))
		rc = error_set(err, -EINVAL, "\"%s\" is not a name in hex", word[2]);
	return rc;
}

static int run_undelete(struct connection *c, char **word, int words, struct error *err)
{
	bool named = strcmp(word[2], "-") != 0;
	struct placing p;
	int rc = parse_placing(word, named, &p, err);

	(void)words;
	return rc ? rc : engine_undelete(c->server->engine, p.id, p.dir, named ? p.name : NULL, err);
}

static int run_clone(struct connection *c, char **word, int words, struct error *err)
{
	struct node_attr attr;
	struct placing p;
	int rc = parse_placing(word, true, &p, err);

	(void)words;
	return rc ? rc : engine_clone(c->server->engine, p.id, p.dir, p.name, &attr, err);
}

static void send_moment(struct connection *c, const char *what, const struct image_moment *m)
{
	char line[96];
	int n = snprintf(line, sizeof line, "= %s %" PRIu64 " %" PRIu32 " %" PRIu64 "\n", what, m->segment, m->record,
	                 m->time_ns);

	send_bytes(c, line, (size_t)n);
}

static int parse_moment(char **word, struct image_moment *m, struct error *err)
{
	uint64_t record;
	int rc = parse_number(word[0], &m->segment, err);

	if (!rc)
		rc = parse_number(word[1], &record, err);
	if (!rc)
		rc = parse_number(word[2], &m->time_ns, err);
	if (!rc && record > UINT32_MAX)
		rc = error_set(err, -EINVAL, "no segment has %" PRIu64 " records", record);
	m->record = rc ? 0 : (uint32_t)record;
	return rc;
}

static int run_rewind(struct connection *c, char **word, int words, struct error *err)
{
	bool named = strcmp(word[2], "-") != 0;
	struct image_moment m, before;
	struct node_attr attr;
	struct placing p;
	int rc = parse_placing(word, named, &p, err);

	(void)words;
	if (!rc)
		rc = parse_moment(word + 3, &m, err);
	if (!rc && !named && p.dir)
		rc = error_set(err, -EINVAL, "a directory and no name");
	if (rc)
		return rc;
	if (named)
		rc = engine_rewind(c->server->engine, p.id, &m, p.dir, p.name, &attr, err);
	else
		rc = engine_rewind_in_place(c->server->engine, p.id, &m, &before, err);
	if (rc)
		return rc;
	send_moment(c, "moment", &m);
	if (!named)
		send_moment(c, "before", &before);
	return 0;
}

struct past_out {
	FILE *out;
	uint64_t since_ns;
};

static int print_span(void *arg, const struct history_span *s)
{
	struct past_out *o = arg;

	fprintf(o->out, "span %" PRIu64 " %" PRIu32 " %" PRIu64 " %" PRIu64 "\n", s->begin.segment, s->begin.record,
	        s->begin.time_ns, s->bytes);
	return 0;
}

static int print_snapshot_time(void *arg, const struct snapshot_info *s)
{
	struct past_out *o = arg;

	if (s->time_ns >= o->since_ns)
		fprintf(o->out, "snapshot %" PRIu64 " %s\n", s->time_ns, s->name);
	return 0;
}

static int run_history(struct connection *c, char **word, int words, struct error *err)
{
	struct past_out o;
	struct history h;
	char *text = NULL;
	size_t size = 0;
	uint64_t id;
	int rc = parse_id(word[0], &id, err);

	(void)words;
	if (!rc)
		rc = parse_number(word[1], &o.since_ns, err);
	if (rc)
		return rc;
	o.out = open_memstream(&text, &size);
	if (!o.out)
		return error_set(err, -errno, "out of memory");
	rc = engine_history(c->server->engine, id, o.since_ns, &h, print_span, &o, err);
	if (!rc)
		rc = engine_snapshot_each(c->server->engine, id, print_snapshot_time, &o, err);
	if (!rc)
		fprintf(o.out,
		        "keep %" PRIu64 "\nsegments %" PRIu64 "\noldest %" PRIu64 " %" PRIu32 " %" PRIu64
		        "\nnewest %" PRIu64 " %" PRIu32 " %" PRIu64 "\n",
		        h.keep_s, h.segments, h.oldest.segment, h.oldest.record, h.oldest.time_ns, h.newest.segment,
		        h.newest.record, h.newest.time_ns);
	return finish_stream(c, o.out, &text, rc, err);
}

static int run_keep(struct connection *c, char **word, int words, struct error *err)
{
	uint64_t id, seconds;
	int rc = parse_id(word[0], &id, err);

	(void)words;
	if (!rc)
		rc = parse_number(word[1], &seconds, err);
	return rc ? rc : engine_history_keep(c->server->engine, id, seconds, err);
}

static bool say_line(void *arg, const char *line)
{
	struct connection *c = arg;

	send_lines(c, line);
	return !c->gone && !c->server->stopping;
}

static int run_clean(struct connection *c, char **word, int words, struct error *err)
{
	uint64_t id;
	int rc = parse_id(word[1], &id, err);

	(void)words;
	return rc ? rc : server_clean(c->server->engine, word[0], id, say_line, c, err);
}

static int run_space(struct connection *c, char **word, int words, struct error *err)
{
	uint64_t id;
	int rc = parse_id(word[0], &id, err);

	(void)words;
	return rc ? rc : server_space(c->server->engine, id, say_line, c, err);
}

static const struct command commands[] = {
	{ "status", 1, 2, run_status },   { "images", 1, 1, run_images },
	{ "flush", 1, 1, run_flush },     { "takeover", 1, 1, run_takeover },
	{ "clean", 2, 2, run_clean },     { "space", 1, 1, run_space },
	{ "trash", 0, 0, run_trash },     { "undelete", 3, 3, run_undelete },
	{ "clone", 3, 3, run_clone },     { "rewind", 6, 6, run_rewind },
	{ "history", 2, 2, run_history }, { "keep", 2, 2, run_keep },
	{ "diff", 4, 4, run_diff },       { "snapshot", 3, 2 + CTL_SNAPSHOT_IMAGES_MAX, run_snapshot },
	{ "flatten", 1, 1, run_flatten },
};

/* "garner 1 COMMAND [WORD...]". The line is cut up in place. */
static int run_request(struct connection *c, char *line, struct error *err)
{
	char *word[2 + 1 + WORDS_MAX], *save = NULL;
	int words = 0;

	for (char *w = strtok_r(line, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		if (words == (int)(sizeof word / sizeof word[0]))
			return error_set(err, -EINVAL, "too many words");
		word[words++] = w;
	}
	if (words < 3 || strcmp(word[0], "garner") != 0)
		return error_set(err, -EPROTO, "not a request of the garner protocol");
	if (strcmp(word[1], "1") != 0)
		return error_set(err, -EPROTO, "this daemon speaks version %d of the protocol, not %s", CTL_VERSION,
		                 word[1]);
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		const struct command *k = &commands[i];

		if (strcmp(word[2], k->name) != 0)
			continue;
		if (words - 3 < k->words_min || words - 3 > k->words_max)
			return error_set(err, -EINVAL, "%s: wrong number of words", k->name);
		return k->run(c, word + 3, words - 3, err);
	}
	return error_set(err, -EOPNOTSUPP, "this daemon knows no command \"%s\"", word[2]);
}

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
	int rc = run_request(c, c->request, &err);

	send_end(c, rc, &err);
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
	if (executor_run(c->server->workers, request_job, c) < 0) {
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
	if (!s->workers) {
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
