/* SPDX-License-Identifier: GPL-3.0-only */
/* map_keeper.c: the newest map: from the agreement, from what was remembered, from the cluster file. */
#include "node/map_keeper.h"

#include "base/disk.h"
#include "base/executor.h"
#include "base/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POLL_MS 1000

struct map_keeper {
	struct loop *loop;
	struct agreement *agreement;
	struct executor *writer; /* of the file */
	char *path;
	unsigned poll_ms;
	void (*on_change)(void *arg, const struct cluster_map *map);
	void *arg;
	struct map_ref *newest; /* the head of the list of those that somebody has */
	struct loop_timer poll;
	bool asking, again; /* a question is under way; another one is wanted after it */
	bool agrees, told;  /* the last answer was good; it was reported that it was not */
	bool stopped;
};

/* What came back from the agreement, on its way to the loop. */
struct answer {
	struct map_keeper *keeper;
	int status;
	struct error err;
	char *text; /* of a map */
	size_t length;
	/* of a change: */
	agreement_done_fn *done;
	void *arg;
	struct cluster_map map;
};

static void ask(void *keeper);

/* ---- references ---- */

struct map_ref *map_ref_get(struct map_ref *m)
{
	m->users++;
	return m;
}

void map_ref_put(struct map_ref *m)
{
	struct map_ref **at;

	if (--m->users || m == m->keeper->newest)
		return;
	for (at = &m->keeper->newest; *at != m; at = &(*at)->older)
		;
	*at = m->older;
	free(m);
}

struct map_ref *map_keeper_get(struct map_keeper *k)
{
	return map_ref_get(k->newest);
}

uint64_t map_keeper_version(const struct map_keeper *k)
{
	return k->newest->map.version;
}

uint64_t map_keeper_drained(const struct map_keeper *k)
{
	const struct map_ref *m = k->newest;

	while (m->older)
		m = m->older;
	return m->map.version;
}

bool map_keeper_has(const struct map_keeper *k, unsigned node)
{
	return cluster_map_node(&k->newest->map, node) != NULL;
}

bool map_keeper_agrees(const struct map_keeper *k)
{
	return k->agrees;
}

/* ---- what is remembered ---- */

static int read_file(const char *path, char *text, size_t room, size_t *length)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = disk_pread(disk_posix(), fd, text, room, 0);
	close(fd);
	*length = n > 0 ? (size_t)n : 0;
	return n < 0 ? (int)n : 0;
}

static void recall(struct map_keeper *k)
{
	char text[CLUSTER_TEXT_MAX];
	struct cluster_map *map = malloc(sizeof *map);
	struct error err = { 0 };
	size_t length = 0;

	if (!map)
		return;
	if (read_file(k->path, text, sizeof text, &length) == 0) {
		if (cluster_map_parse(text, length, map, &err))
			report_warning("%s: %s; the cluster file is used instead", k->path, error_text(&err));
		else if (strcmp(map->id, k->newest->map.id) != 0)
			report_warning("%s is of another cluster, and not used", k->path);
		else if (map->version > k->newest->map.version)
			k->newest->map = *map;
	}
	free(map);
}

struct remembered {
	struct map_keeper *keeper;
	size_t length;
	char text[CLUSTER_TEXT_MAX];
};

static int write_file(const char *path, const char *text, size_t length)
{
	struct disk *d = disk_posix();
	char fresh[4096], dir[4096];
	int fd, rc;

	snprintf(fresh, sizeof fresh, "%s.new", path);
	snprintf(dir, sizeof dir, "%s", path);
	*strrchr(dir, '/') = '\0';
	fd = disk_open(d, fresh, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		return fd;
	rc = disk_pwrite(d, fd, text, length, 0);
	if (!rc)
		rc = disk_fdatasync(d, fd);
	int closed = disk_close(d, fd);
	if (!rc)
		rc = closed;
	if (!rc)
		rc = disk_rename(d, fresh, path);
	return rc ? rc : disk_sync_dir(d, dir);
}

static void remember_job(void *arg)
{
	struct remembered *r = arg;
	int rc = write_file(r->keeper->path, r->text, r->length);

	if (rc)
		report_warning("%s: %s; the map is asked for again after a restart", r->keeper->path, strerror(-rc));
	free(r);
}

static void remember(struct map_keeper *k)
{
	struct remembered *r = malloc(sizeof *r);
	int n;

	if (!r)
		return;
	r->keeper = k;
	n = cluster_map_format(&k->newest->map, r->text, sizeof r->text);
	r->length = n > 0 ? (size_t)n : 0;
	if (n <= 0 || executor_run(k->writer, remember_job, r))
		free(r);
}

/* ---- a newer map ---- */

static void take(struct map_keeper *k, const struct cluster_map *map)
{
	struct map_ref *m, *last = k->newest;

	if (map->version <= last->map.version)
		return;
	m = calloc(1, sizeof *m);
	if (!m)
		return; /* the next answer brings it again */
	m->map = *map;
	m->keeper = k;
	m->older = last;
	k->newest = m;
	if (!last->users) {
		m->older = last->older;
		free(last);
	}
	report_notice("the cluster's map is version %llu now, with %zu nodes", (unsigned long long)map->version,
	              map->node_count);
	remember(k);
	k->on_change(k->arg, &m->map);
}

/* A map that the agreement gave: it may be damaged, or another's. */
static void take_text(struct map_keeper *k, const char *text, size_t length)
{
	struct cluster_map *map = malloc(sizeof *map);
	struct error err = { 0 };

	if (!map)
		return;
	if (cluster_map_parse(text, length, map, &err))
		report_error("the agreement's map is not used: %s", error_text(&err));
	else if (strcmp(map->id, k->newest->map.id) != 0)
		report_error("the agreement's map is of another cluster: is this node's cluster file the right one?");
	else
		take(k, map);
	free(map);
}

/* ---- asking ---- */

static struct answer *answer_new(struct map_keeper *k)
{
	struct answer *a = calloc(1, sizeof *a);

	if (a)
		a->keeper = k;
	return a;
}

/* The agreement is there, or not: said once each. */
static void note(struct map_keeper *k, int status, const struct error *err)
{
	k->agrees = !status || status == -ENOENT;
	if (!k->agrees && !k->told)
		report_warning("the agreement does not answer: %s; objects that may be made only once have to wait",
		               error_text(err));
	if (k->agrees && k->told)
		report_notice("the agreement answers again");
	k->told = !k->agrees;
}

static void next(struct map_keeper *k)
{
	k->asking = false;
	if (k->stopped)
		return;
	loop_timer_set(&k->poll, k->again ? 0 : k->poll_ms);
	k->again = false;
}

static void set_first(void *arg, int status, const struct error *err);

static void asked(void *arg)
{
	struct answer *a = arg;
	struct map_keeper *k = a->keeper;
	char first[CLUSTER_TEXT_MAX];
	int n;

	if (!k->stopped && a->status == -ENOENT && k->newest->map.version == 1) {
		n = cluster_map_format(&k->newest->map, first, sizeof first);
		agreement_map_set(k->agreement, 0, first, n > 0 ? (size_t)n : 0, set_first, a);
		return;
	}
	if (!k->stopped) {
		note(k, a->status, &a->err);
		if (a->text)
			take_text(k, a->text, a->length);
	}
	next(k);
	free(a->text);
	free(a);
}

/* Answers come on threads of the agreement. Who was quicker with the first map is asked for it the next time. */
static void hand_over(struct answer *a, int status, const struct error *err)
{
	a->status = status;
	if (status && err)
		a->err = *err;
	if (loop_post(a->keeper->loop, asked, a))
		report_error("out of memory: the cluster's map is not followed any more");
}

static void set_first(void *arg, int status, const struct error *err)
{
	hand_over(arg, status == -ESTALE ? 0 : status, err);
}

static void got(void *arg, int status, const char *text, size_t length, uint64_t version, const struct error *err)
{
	struct answer *a = arg;

	(void)version;
	if (!status && (a->text = malloc(length + 1))) {
		memcpy(a->text, text, length);
		a->text[length] = '\0';
		a->length = length;
	}
	hand_over(a, status, err);
}

static void ask(void *keeper)
{
	struct map_keeper *k = keeper;
	struct answer *a;

	if (k->stopped)
		return;
	if (k->asking) {
		k->again = true;
		return;
	}
	a = answer_new(k);
	if (!a) {
		loop_timer_set(&k->poll, k->poll_ms);
		return;
	}
	k->asking = true;
	agreement_map_get(k->agreement, got, a);
}

void map_keeper_seen(struct map_keeper *k, uint64_t version)
{
	if (version > k->newest->map.version)
		ask(k);
}

/* ---- changing ---- */

static void changed(void *arg)
{
	struct answer *a = arg;

	if (!a->keeper->stopped && !a->status)
		take(a->keeper, &a->map);
	if (a->status == -ESTALE)
		ask(a->keeper);
	a->done(a->arg, a->status, &a->err);
	free(a);
}

static void was_set(void *arg, int status, const struct error *err)
{
	struct answer *a = arg;

	a->status = status;
	if (status && err)
		a->err = *err;
	if (loop_post(a->keeper->loop, changed, a))
		changed(a);
}

void map_keeper_change(struct map_keeper *k, const struct cluster_map *map, agreement_done_fn *done, void *arg)
{
	char text[CLUSTER_TEXT_MAX];
	struct error err = { 0 };
	struct answer *a;
	int n, rc = cluster_map_check(map, &err);

	if (!rc && map->version != k->newest->map.version + 1)
		rc = error_set(&err, -ESTALE, "the map has changed meanwhile: try again");
	n = rc ? 0 : cluster_map_format(map, text, sizeof text);
	if (n < 0)
		rc = error_set(&err, n, "the map is too long");
	a = rc ? NULL : answer_new(k);
	if (!a) {
		done(arg, rc ? rc : -ENOMEM, &err);
		return;
	}
	a->map = *map;
	a->done = done;
	a->arg = arg;
	agreement_map_set(k->agreement, map->version - 1, text, (size_t)n, was_set, a);
}

/* ---- the keeper ---- */

int map_keeper_new(const struct map_keeper_options *options, struct map_keeper **keeper, struct error *err)
{
	struct map_keeper *k = calloc(1, sizeof *k);

	if (!k)
		return error_set(err, -ENOMEM, "out of memory");
	k->loop = options->loop;
	k->agreement = options->agreement;
	k->poll_ms = options->poll_ms ? options->poll_ms : POLL_MS;
	k->on_change = options->on_change;
	k->arg = options->arg;
	k->path = strdup(options->path);
	k->newest = calloc(1, sizeof *k->newest);
	k->writer = executor_new("map", 1, false);
	if (!k->path || !k->newest || !k->writer) {
		executor_free(k->writer);
		free(k->newest);
		free(k->path);
		free(k);
		return error_set(err, -ENOMEM, "out of memory");
	}
	k->newest->keeper = k;
	k->newest->map = *options->first;
	loop_timer_init(&k->poll, k->loop, ask, k);
	recall(k);
	ask(k);
	*keeper = k;
	return 0;
}

void map_keeper_stop(struct map_keeper *k)
{
	k->stopped = true;
	loop_timer_cancel(&k->poll);
}

void map_keeper_free(struct map_keeper *k)
{
	if (!k)
		return;
	executor_free(k->writer);
	while (k->newest) {
		struct map_ref *m = k->newest;
		k->newest = m->older;
		free(m);
	}
	free(k->path);
	free(k);
}
