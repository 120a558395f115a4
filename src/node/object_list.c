/* SPDX-License-Identifier: GPL-3.0-only */
/* object_list.c: listings of a store: the indexes of its drives merged, and what anti-entropy compares. */
#include "node/object_store_private.h"

#include "base/bytes.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define SCAN_ROWS 1024u

/* ---- a page of all drives ---- */

struct drive_page {
	struct object_entry *entries;
	size_t count, at;
};

static int page_of(struct drive *d, int bucket, const char *from, const char *after, struct object_entry *entries,
                   size_t max)
{
	struct error err = { 0 };
	int rc = bucket < 0 ? object_index_page(d->index, from, after, entries, max, &err)
	                    : object_index_bucket(d->index, (unsigned)bucket, after, entries, max, &err);

	return rc < 0 ? drive_index_failed(d, rc, &err) : rc;
}

/* The next name in order, with its entry that counts. */
static bool merge_next(struct drive_page *pages, size_t count, struct object_entry *out)
{
	const struct object_entry *best = NULL;

	for (size_t i = 0; i < count; i++) {
		const struct object_entry *e = &pages[i].entries[pages[i].at];
		if (pages[i].at == pages[i].count)
			continue;
		int order = best ? strcmp(e->name, best->name) : -1;
		if (order < 0 || (order == 0 && object_precedence(&e->meta, &best->meta) > 0))
			best = e;
	}
	if (!best)
		return false;
	*out = *best;
	for (size_t i = 0; i < count; i++)
		if (pages[i].at < pages[i].count && strcmp(pages[i].entries[pages[i].at].name, out->name) == 0)
			pages[i].at++;
	return true;
}

static int merge(struct drive_page *pages, size_t count, struct object_entry *entries, size_t max, bool *complete)
{
	size_t n = 0;

	while (n < max && merge_next(pages, count, &entries[n]))
		n++;
	*complete = true;
	for (size_t i = 0; i < count; i++)
		*complete &= pages[i].at == pages[i].count && pages[i].count < max;
	return (int)n;
}

/* One drive has the page as it is. */
static int single_page(struct drive *d, int bucket, const char *from, const char *after, struct object_entry *entries,
                       size_t max, bool *complete)
{
	int n = drive_readable(d) ? page_of(d, bucket, from, after, entries, max) : -EIO;

	*complete = n >= 0 && (size_t)n < max;
	return n;
}

static int read_pages(struct object_store *s, int bucket, const char *from, const char *after, struct drive_page *pages,
                      size_t max)
{
	bool any = false;

	for (size_t i = 0; i < s->drive_count; i++) {
		struct drive *d = &s->drive[i];
		int n = drive_readable(d) ? page_of(d, bucket, from, after, pages[i].entries, max) : -EIO;
		if (n < 0 && drive_readable(d))
			return n;
		any |= n >= 0;
		pages[i].count = n < 0 ? 0 : (size_t)n;
		pages[i].at = 0;
	}
	return any ? 0 : -EIO;
}

int store_page(struct object_store *s, int bucket, const char *from, const char *after, struct object_entry *entries,
               size_t max, bool *complete)
{
	struct drive_page pages[OBJECT_STORE_DRIVES_MAX];
	struct object_entry *room;
	uint64_t moves;
	int rc;

	if (s->drive_count == 1)
		return single_page(&s->drive[0], bucket, from, after, entries, max, complete);
	room = calloc(s->drive_count * max, sizeof *room);
	if (!room)
		return -ENOMEM;
	for (size_t i = 0; i < s->drive_count; i++)
		pages[i] = (struct drive_page){ .entries = room + i * max };
	do {
		moves = atomic_load(&s->moves);
		rc = read_pages(s, bucket, from, after, pages, max);
	} while (rc == 0 && atomic_load(&s->moves) != moves);
	if (rc == 0)
		rc = merge(pages, s->drive_count, entries, max, complete);
	free(room);
	return rc;
}

/* ---- listings ---- */

struct list_job {
	struct object_store *s;
	object_list_fn *done;
	void *arg;
	size_t max;
	int bucket; /* -1: all */
	object_want_fn *want;
	void *want_arg;
	bool has_after;
	char after[OBJECT_NAME_MAX + 1];
	char prefix[OBJECT_NAME_MAX + 1];
};

static struct list_job *list_job_new(struct object_store *s, const char *prefix, const char *after, size_t max,
                                     object_list_fn *done, void *arg)
{
	size_t prefix_len = strlen(prefix), after_len = after ? strlen(after) : 0;
	bool valid = prefix_len <= OBJECT_NAME_MAX && after_len <= OBJECT_NAME_MAX;
	struct list_job *job = valid ? calloc(1, sizeof *job) : NULL;

	if (!job) {
		done(arg, valid ? -ENOMEM : -EINVAL, NULL, 0, false);
		return NULL;
	}
	job->s = s;
	job->done = done;
	job->arg = arg;
	job->bucket = -1;
	job->max = max && max < OBJECT_LIST_MAX ? max : OBJECT_LIST_MAX;
	memcpy(job->prefix, prefix, prefix_len + 1);
	job->has_after = after != NULL;
	if (after)
		memcpy(job->after, after, after_len + 1);
	store_enter(s);
	return job;
}

/* Cuts a page where names no longer begin with the prefix, and takes out what is not wanted. Returns how many are left. */
static size_t choose(const struct list_job *job, struct object_entry *entries, size_t count, bool *complete)
{
	size_t prefix_len = strlen(job->prefix), n = 0;

	for (size_t i = 0; i < count; i++) {
		if (strncmp(entries[i].name, job->prefix, prefix_len) != 0) {
			*complete = true;
			break;
		}
		if (job->want && !job->want(job->want_arg, entries[i].name))
			continue;
		if (n != i)
			entries[n] = entries[i];
		n++;
	}
	return n;
}

/* Pages until there are enough. Returns how many, or -errno. */
static int collect(struct list_job *job, struct object_entry *entries, bool *complete)
{
	char after[OBJECT_NAME_MAX + 1];
	bool has_after = job->has_after && strcmp(job->after, job->prefix) >= 0;
	size_t count = 0;

	*complete = false;
	memcpy(after, job->after, sizeof after);
	while (count < job->max && !*complete) {
		int n = store_page(job->s, job->bucket, job->prefix, has_after ? after : NULL, entries + count,
		                   job->max - count, complete);
		if (n <= 0)
			return n < 0 ? n : (int)count;
		memcpy(after, entries[count + (size_t)n - 1].name, sizeof after);
		has_after = true;
		count += choose(job, entries + count, (size_t)n, complete);
	}
	return (int)count;
}

static void list_run(void *arg)
{
	struct list_job *job = arg;
	struct object_store *s = job->s;
	struct object_entry *entries = malloc(job->max * sizeof *entries);
	bool complete = false;
	int n = entries ? collect(job, entries, &complete) : -ENOMEM;

	job->done(job->arg, n < 0 ? n : 0, entries, n < 0 ? 0 : (size_t)n, n >= 0 && !complete);
	free(entries);
	free(job);
	store_leave(s);
}

void object_store_list(struct object_store *s, const char *prefix, const char *after, size_t max, object_list_fn *done,
                       void *arg)
{
	struct list_job *job = list_job_new(s, prefix, after, max, done, arg);

	if (job)
		store_run(s->lookers, list_run, job);
}

void object_store_bucket(struct object_store *s, unsigned bucket, const char *after, size_t max, object_want_fn *want,
                         void *want_arg, object_list_fn *done, void *arg)
{
	struct list_job *job;

	if (bucket >= OBJECT_BUCKETS) {
		done(arg, -EINVAL, NULL, 0, false);
		return;
	}
	job = list_job_new(s, "", after, max, done, arg);
	if (!job)
		return;
	job->bucket = (int)bucket;
	job->want = want;
	job->want_arg = want_arg;
	store_run(s->scanners, list_run, job);
}

/* ---- buckets ---- */

struct buckets_job {
	struct object_store *s;
	object_want_fn *want;
	void *want_arg;
	object_buckets_fn *done;
	void *arg;
	struct object_bucket bucket[OBJECT_BUCKETS];
	struct object_entry page[SCAN_ROWS];
};

static void add_to_bucket(struct object_bucket buckets[OBJECT_BUCKETS], const struct object_entry *e)
{
	struct object_bucket *b = &buckets[object_bucket_of(e->name)];
	uint8_t bytes[OBJECT_NAME_MAX + 1 + 20], hash[sizeof b->digest];
	size_t len = strlen(e->name) + 1;

	memcpy(bytes, e->name, len);
	put_le64(bytes + len, e->meta.version.counter);
	put_le64(bytes + len + 8, e->meta.version.tie);
	put_le32(bytes + len + 16, e->meta.flags & (OBJECT_FLAGS_SHARED | OBJECT_DAMAGED));
	crypto_generichash(hash, sizeof hash, bytes, len + 20, NULL, 0);
	for (size_t i = 0; i < sizeof hash; i++)
		b->digest[i] ^= hash[i];
	b->count++;
}

static void buckets_run(void *arg)
{
	struct buckets_job *job = arg;
	struct object_store *s = job->s;
	char after[OBJECT_NAME_MAX + 1] = "";
	bool complete = false;
	int n = 0;

	while (!complete && n >= 0) {
		n = store_page(s, -1, NULL, after, job->page, SCAN_ROWS, &complete);
		for (int i = 0; i < n; i++) {
			const struct object_entry *e = &job->page[i];
			if (!job->want || job->want(job->want_arg, e->name))
				add_to_bucket(job->bucket, e);
		}
		if (n > 0)
			memcpy(after, job->page[n - 1].name, sizeof after);
	}
	job->done(job->arg, n < 0 ? n : 0, job->bucket);
	free(job);
	store_leave(s);
}

void object_store_buckets(struct object_store *s, object_want_fn *want, void *want_arg, object_buckets_fn *done,
                          void *arg)
{
	struct buckets_job *job = calloc(1, sizeof *job);

	if (!job) {
		done(arg, -ENOMEM, NULL);
		return;
	}
	job->s = s;
	job->want = want;
	job->want_arg = want_arg;
	job->done = done;
	job->arg = arg;
	store_enter(s);
	store_run(s->scanners, buckets_run, job);
}
