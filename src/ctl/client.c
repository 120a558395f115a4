/* SPDX-License-Identifier: GPL-3.0-only */
/* client.c: the command's side of the control socket. */
#include "ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

struct ctl_client {
	int fd;               /* -1 once the connection is of no use */
	uint64_t deadline_ns; /* of calls; 0: none */
	size_t have;          /* bytes in `in` */
	char in[CTL_LINE_MAX];
};

static void client_drop(struct ctl_client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->have = 0;
}

void ctl_disconnect(struct ctl_client *client)
{
	if (!client)
		return;
	client_drop(client);
	free(client);
}

/* connect(2) through the directory's descriptor, since sun_path holds but 108 bytes. */
static int connect_in(int dir_fd, const char *name, int *fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int s, n, rc;

	n = snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", dir_fd, name);
	if (n < 0 || (size_t)n >= sizeof address.sun_path)
		return -ENAMETOOLONG;
	s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s < 0)
		return -errno;
	if (connect(s, (struct sockaddr *)&address, sizeof address) < 0) {
		rc = -errno;
		close(s);
		return rc;
	}
	*fd = s;
	return 0;
}

static int connect_failed(int rc, const char *path, struct error *err)
{
	switch (rc) {
	case -ENOENT:
	case -ECONNREFUSED:
		return error_set(err, -ECONNREFUSED, "%s: no garnerfs daemon answers there", path);
	case -EACCES:
	case -EPERM:
		return error_set(err, -EACCES, "%s: only root and the user who mounted may ask this daemon", path);
	default:
		return error_set(err, rc, "%s: cannot connect to the garnerfs daemon: %s", path, strerror(-rc));
	}
}

int ctl_connect_socket(const char *socket_path, struct ctl_client **client, struct error *err)
{
	const char *slash = strrchr(socket_path, '/');
	struct ctl_client *c = NULL;
	char *dir = NULL;
	int dir_fd = -1, rc;

	*client = NULL;
	dir = slash ? strndup(socket_path, (size_t)(slash - socket_path) + 1) : strdup(".");
	c = calloc(1, sizeof *c);
	if (!dir || !c) {
		rc = error_set(err, -ENOMEM, "out of memory");
		goto out;
	}
	c->fd = -1;
	dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	rc = dir_fd < 0 ? -errno : connect_in(dir_fd, slash ? slash + 1 : socket_path, &c->fd);
	if (rc < 0) {
		rc = connect_failed(rc, socket_path, err);
		goto out;
	}
	*client = c;
	c = NULL;
out:
	if (dir_fd >= 0)
		close(dir_fd);
	free(dir);
	ctl_disconnect(c);
	return rc;
}

int ctl_connect(const char *path, struct ctl_client **client, uint64_t *id, struct error *err)
{
	char socket_path[PATH_MAX];
	struct stat st;
	ssize_t n;
	int rc;

	*client = NULL;
	if (stat(path, &st) < 0)
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	n = getxattr(path, CTL_XATTR_SOCKET, socket_path, sizeof socket_path - 1);
	if (n <= 0) {
		if (n == 0 || errno == ENODATA || errno == ENOTSUP)
			return error_set(err, -ENOTSUP, "%s is not in a garnerfs mount", path);
		return error_set(err, -errno, "%s: cannot ask for its control socket: %s", path, strerror(errno));
	}
	socket_path[n] = '\0';
	*id = S_ISDIR(st.st_mode) ? 0 : st.st_ino;
	rc = ctl_connect_socket(socket_path, client, err);
	return rc < 0 ? error_prefix(err, rc, "%s", path) : 0;
}

static int send_all(int fd, const char *buf, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, buf, len, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EPIPE ? -ECONNRESET : -errno;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

void ctl_set_deadline(struct ctl_client *client, uint64_t deadline_ns)
{
	client->deadline_ns = deadline_ns;
}

/* Waits until there is something to read, or the deadline. */
static int wait_readable(const struct ctl_client *c)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	uint64_t now = clock_monotonic_ns(), left_ms = 0;
	int n;

	if (!c->deadline_ns)
		return 0; /* recv() waits */
	if (now < c->deadline_ns)
		left_ms = (c->deadline_ns - now) / 1000000 + 1;
	n = poll(&p, 1, left_ms < INT_MAX ? (int)left_ms : INT_MAX);
	return n < 0 ? -errno : n ? 0 : -ETIMEDOUT;
}

/* Waits for a whole line and takes it out of the buffer into `line`, without its newline. */
static int read_line(struct ctl_client *c, char line[CTL_LINE_MAX])
{
	for (;;) {
		char *end = memchr(c->in, '\n', c->have);
		ssize_t n;
		int rc;

		if (end) {
			size_t len = (size_t)(end - c->in);

			memcpy(line, c->in, len);
			line[len] = '\0';
			c->have -= len + 1;
			memmove(c->in, end + 1, c->have);
			return memchr(line, '\0', len) ? -EPROTO : 0;
		}
		if (c->have == sizeof c->in)
			return -EPROTO;
		rc = wait_readable(c);
		if (rc < 0)
			return rc;
		n = recv(c->fd, c->in + c->have, sizeof c->in - c->have, 0);
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ECONNRESET;
		c->have += (size_t)n;
	}
}

/* The last line of an answer: 0, the daemon's error, or -EPROTO. */
static int parse_end(const char *line, struct error *err)
{
	char *text;
	long code;

	if (strcmp(line, "ok") == 0)
		return 0;
	if (strncmp(line, "error ", 6) != 0)
		return error_set(err, -EPROTO, "the daemon answered out of protocol; is it of another version?");
	errno = 0;
	code = strtol(line + 6, &text, 10);
	if (errno || *text != ' ' || code < 1 || code > 4095)
		return error_set(err, -EPROTO, "the daemon answered out of protocol; is it of another version?");
	return error_set(err, -(int)code, "%s", text + 1);
}

static int answer(struct ctl_client *c, ctl_line_fn *each, void *arg, bool *finished, struct error *err)
{
	char line[CTL_LINE_MAX];
	int rc;

	for (;;) {
		rc = read_line(c, line);
		if (rc < 0)
			return rc == -EINTR ? error_set(err, rc, "interrupted")
			                    : error_set(err, rc, "the daemon broke off: %s", strerror(-rc));
		if (strncmp(line, "= ", 2) != 0) {
			rc = parse_end(line, err);
			*finished = rc != -EPROTO;
			return rc;
		}
		rc = each ? each(arg, line + 2) : 0;
		if (rc != 0)
			return rc;
	}
}

int ctl_call(struct ctl_client *client, const char *request, ctl_line_fn *line, void *arg, struct error *err)
{
	char buf[CTL_REQUEST_MAX];
	bool finished = false;
	int n, rc;

	if (client->fd < 0)
		return error_set(err, -ENOTCONN, "not connected to the daemon");
	n = snprintf(buf, sizeof buf, "garner %d %s\n", CTL_VERSION, request);
	if (n < 0 || (size_t)n >= sizeof buf || strchr(request, '\n'))
		return error_set(err, -EINVAL, "not a request: %.40s", request);
	rc = send_all(client->fd, buf, (size_t)n);
	/* A daemon that refuses says so before it closes: read that even when it took no request. */
	if (rc < 0 && rc != -ECONNRESET)
		error_set(err, rc, "control socket: %s", strerror(-rc));
	else
		rc = answer(client, line, arg, &finished, err);
	if (!finished)
		client_drop(client);
	return rc;
}

int ctl_status(struct ctl_client *client, uint64_t id, bool json, ctl_line_fn *line, void *arg, struct error *err)
{
	char request[64];

	if (id)
		snprintf(request, sizeof request, "status %s %016" PRIx64, json ? "json" : "text", id);
	else
		snprintf(request, sizeof request, "status %s", json ? "json" : "text");
	return ctl_call(client, request, line, arg, err);
}

int ctl_images(struct ctl_client *client, bool json, ctl_line_fn *line, void *arg, struct error *err)
{
	return ctl_call(client, json ? "images json" : "images text", line, arg, err);
}

struct flush_watch {
	bool (*progress)(void *arg, uint64_t bytes_left);
	void *arg;
};

static int flush_line(void *arg, const char *line)
{
	struct flush_watch *w = arg;
	uint64_t left;
	char *end;

	if (strncmp(line, "left ", 5) != 0 || line[5] < '0' || line[5] > '9')
		return 0; /* a later daemon may say more */
	errno = 0;
	left = strtoull(line + 5, &end, 10);
	if (errno || *end || !w->progress)
		return 0;
	return w->progress(w->arg, left) ? 0 : -EINTR;
}

int ctl_flush(struct ctl_client *client, uint64_t id, bool (*progress)(void *arg, uint64_t bytes_left), void *arg,
              struct error *err)
{
	struct flush_watch w = { progress, arg };
	char request[64];

	snprintf(request, sizeof request, "flush %016" PRIx64, id);
	return ctl_call(client, request, flush_line, &w, err);
}

int ctl_flatten(struct ctl_client *client, uint64_t id, bool (*progress)(void *arg, uint64_t bytes_left), void *arg,
                struct error *err)
{
	struct flush_watch w = { progress, arg };
	char request[64];

	snprintf(request, sizeof request, "flatten %016" PRIx64, id);
	return ctl_call(client, request, flush_line, &w, err);
}

int ctl_takeover(struct ctl_client *client, uint64_t id, struct error *err)
{
	char request[64];

	snprintf(request, sizeof request, "takeover %016" PRIx64, id);
	return ctl_call(client, request, NULL, NULL, err);
}

struct taken_watch {
	void (*taken)(void *arg);
	void *arg;
};

static int snapshot_line(void *arg, const char *line)
{
	struct taken_watch *w = arg;

	if (!strcmp(line, "taken") && w->taken) {
		w->taken(w->arg);
		w->taken = NULL;
	}
	return 0;
}

/* "snapshot VERB NAME ID..." */
static int ask_for_group(struct ctl_client *client, const char *verb, const char *name, const uint64_t *ids,
                         size_t count, struct taken_watch *w, struct error *err)
{
	char request[CTL_REQUEST_MAX];
	int n = snprintf(request, sizeof request, "snapshot %s %s", verb, name);

	for (size_t k = 0; k < count && n >= 0 && (size_t)n < sizeof request; k++)
		n += snprintf(request + n, sizeof request - (size_t)n, " %016" PRIx64, ids[k]);
	/* In front stands "garner 1 ". */
	if (count > CTL_SNAPSHOT_IMAGES_MAX || n < 0 || (size_t)n > sizeof request - 16)
		return error_set(err, -E2BIG, "too many images at once");
	return ctl_call(client, request, snapshot_line, w, err);
}

int ctl_snapshot_check(struct ctl_client *client, const char *name, const uint64_t *ids, size_t count,
                       struct error *err)
{
	struct taken_watch w = { NULL, NULL };

	return ask_for_group(client, "check", name, ids, count, &w, err);
}

int ctl_snapshot_create(struct ctl_client *client, const char *name, const uint64_t *ids, size_t count,
                        void (*taken)(void *arg), void *arg, struct error *err)
{
	struct taken_watch w = { taken, arg };

	return ask_for_group(client, "create", name, ids, count, &w, err);
}

int ctl_snapshot_list(struct ctl_client *client, uint64_t id, bool json, ctl_line_fn *line, void *arg,
                      struct error *err)
{
	char request[64];

	snprintf(request, sizeof request, "snapshot list %s %016" PRIx64, json ? "json" : "text", id);
	return ctl_call(client, request, line, arg, err);
}

int ctl_snapshot_change(struct ctl_client *client, const char *verb, const char *name, uint64_t id, struct error *err)
{
	char request[64 + SNAPSHOT_NAME_MAX];

	snprintf(request, sizeof request, "snapshot %.10s %.*s %016" PRIx64, verb, SNAPSHOT_NAME_MAX, name, id);
	return ctl_call(client, request, NULL, NULL, err);
}

/* ---- the trash ---- */

struct trash_reader {
	int (*each)(void *arg, const struct ctl_trashed *t);
	void *arg;
};

static int trash_line(void *arg, const char *line)
{
	struct trash_reader *r = arg;
	struct ctl_trashed t;
	uint64_t deleted, expires;
	char hex[CTL_NAME_TEXT_MAX];

	if (sscanf(line, "%16" SCNx64 " %" SCNu64 " %" SCNu64 " %510s", &t.id, &deleted, &expires, hex) != 4 ||
	    ctl_name_decode(hex, t.name))
		return -EPROTO;
	clock_wall_format(deleted, t.deleted);
	clock_wall_format(expires, t.expires);
	return r->each(r->arg, &t);
}

int ctl_trash_list(struct ctl_client *client, int (*each)(void *arg, const struct ctl_trashed *t), void *arg,
                   struct error *err)
{
	struct trash_reader r = { each, arg };
	int rc = ctl_call(client, "trash", trash_line, &r, err);

	return rc == -EPROTO ? error_set(err, rc, "the daemon's answer is not understood") : rc;
}

/* Something is made of the image: `name` in `dir`; NULL: it is known where. */
static int place_image(struct ctl_client *client, const char *verb, uint64_t id, uint64_t dir, const char *name,
                       struct error *err)
{
	char hex[CTL_NAME_TEXT_MAX] = "-", request[64 + CTL_NAME_TEXT_MAX];

	if (name)
		ctl_name_encode(name, hex);
	snprintf(request, sizeof request, "%s %016" PRIx64 " %016" PRIx64 " %s", verb, id, dir, hex);
	return ctl_call(client, request, NULL, NULL, err);
}

int ctl_undelete(struct ctl_client *client, uint64_t id, uint64_t dir, const char *name, struct error *err)
{
	return place_image(client, "undelete", id, dir, name, err);
}

int ctl_clone(struct ctl_client *client, uint64_t id, uint64_t dir, const char *name, struct error *err)
{
	return place_image(client, "clone", id, dir, name, err);
}
