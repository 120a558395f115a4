/* SPDX-License-Identifier: GPL-3.0-only */
/* spare.c: the list of spare segment files. A spare's name is "<unique>-<bytes>.spare", so that the list survives restarts. */
#include "log/spare.h"

#include "log/segment_file.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct spare {
	char *path;
	uint64_t bytes;
	LIST_ENTRY(spare) link;
};

struct spare_pool {
	struct disk *disk;
	char *dir;
	unsigned keep;
	pthread_mutex_t mutex; /* guards the list */
	LIST_HEAD(, spare) list;
};

static void spare_free(struct spare *s)
{
	free(s->path);
	free(s);
}

static int add(struct spare_pool *p, char *path, uint64_t bytes)
{
	struct spare *s = malloc(sizeof *s);

	if (!s) {
		free(path);
		return -ENOMEM;
	}
	s->path = path;
	s->bytes = bytes;
	pthread_mutex_lock(&p->mutex);
	LIST_INSERT_HEAD(&p->list, s, link);
	pthread_mutex_unlock(&p->mutex);
	return 0;
}

static unsigned count_of(struct spare_pool *p, uint64_t bytes)
{
	struct spare *s;
	unsigned n = 0;

	pthread_mutex_lock(&p->mutex);
	LIST_FOREACH(s, &p->list, link)
		n += s->bytes == bytes;
	pthread_mutex_unlock(&p->mutex);
	return n;
}

static char *new_path(struct spare_pool *p, uint64_t bytes, const char *suffix)
{
	uint64_t unique;
	char *path;

	randombytes_buf(&unique, sizeof unique);
	if (asprintf(&path, "%s/%016" PRIx64 "-%" PRIu64 "%s", p->dir, unique, bytes, suffix) < 0)
		return NULL;
	return path;
}

/* A spare that was being made when the daemon ended has no ".spare" at its end, and goes. */
static int found(void *arg, const char *path)
{
	struct spare_pool *p = arg;
	const char *name = strrchr(path, '/') + 1;
	uint64_t unique, bytes;
	int end = 0;

	if (sscanf(name, "%16" SCNx64 "-%" SCNu64 ".spare%n", &unique, &bytes, &end) != 2 || !end || name[end]) {
		disk_unlink(p->disk, path);
		return 0;
	}
	char *copy = strdup(path);
	return copy ? add(p, copy, bytes) : -ENOMEM;
}

static int scan(struct spare_pool *p, struct error *err)
{
	int rc = disk_each_file(p->dir, found, p);

	return rc ? error_set(err, rc, "cannot read %s: %s", p->dir, strerror(-rc)) : 0;
}

int spare_pool_new(struct disk *disk, const char *dir, unsigned keep, struct spare_pool **pool, struct error *err)
{
	struct spare_pool *p = calloc(1, sizeof *p);
	int rc;

	if (!p)
		return -ENOMEM;
	p->disk = disk;
	p->keep = keep;
	LIST_INIT(&p->list);
	pthread_mutex_init(&p->mutex, NULL);
	p->dir = strdup(dir);
	rc = p->dir ? disk_make_path(disk, dir) : -ENOMEM;
	if (rc)
		error_set(err, rc, "cannot make %s: %s", dir, strerror(-rc));
	else
		rc = scan(p, err);
	if (rc) {
		spare_pool_free(p);
		return rc;
	}
	*pool = p;
	return 0;
}

void spare_pool_free(struct spare_pool *p)
{
	struct spare *s;

	if (!p)
		return;
	while ((s = LIST_FIRST(&p->list))) {
		LIST_REMOVE(s, link);
		spare_free(s);
	}
	pthread_mutex_destroy(&p->mutex);
	free(p->dir);
	free(p);
}

int spare_take(struct spare_pool *p, uint64_t file_bytes, char **path, struct error *err)
{
	struct spare *s;

	pthread_mutex_lock(&p->mutex);
	LIST_FOREACH(s, &p->list, link)
		if (s->bytes == file_bytes)
			break;
	if (s)
		LIST_REMOVE(s, link);
	pthread_mutex_unlock(&p->mutex);
	if (s) {
		*path = s->path;
		free(s);
		return 0;
	}
	*path = new_path(p, file_bytes, ".new");
	if (!*path)
		return error_set(err, -ENOMEM, "out of memory");
	int rc = segment_file_make_spare(p->disk, *path, file_bytes, false, err);
	if (rc) {
		free(*path);
		*path = NULL;
	}
	return rc;
}

int spare_give(struct spare_pool *p, const char *path, uint64_t file_bytes)
{
	char *to;
	int rc;

	if (count_of(p, file_bytes) >= p->keep)
		return disk_unlink(p->disk, path);
	to = new_path(p, file_bytes, ".spare");
	if (!to)
		return -ENOMEM;
	rc = disk_rename(p->disk, path, to);
	if (rc) {
		free(to);
		return rc;
	}
	return add(p, to, file_bytes);
}

int spare_refill(struct spare_pool *p, uint64_t file_bytes)
{
	if (count_of(p, file_bytes) >= p->keep)
		return 0;
	char *path = new_path(p, file_bytes, ".new");
	if (!path)
		return -ENOMEM;
	int rc = segment_file_make_spare(p->disk, path, file_bytes, true, NULL);
	if (!rc)
		rc = spare_give(p, path, file_bytes);
	free(path);
	return rc ? rc : 1;
}

uint64_t spare_drop_all(struct spare_pool *p)
{
	uint64_t bytes = 0;
	struct spare *s;

	pthread_mutex_lock(&p->mutex);
	while ((s = LIST_FIRST(&p->list))) {
		LIST_REMOVE(s, link);
		if (!disk_unlink(p->disk, s->path))
			bytes += s->bytes;
		spare_free(s);
	}
	pthread_mutex_unlock(&p->mutex);
	return bytes;
}
