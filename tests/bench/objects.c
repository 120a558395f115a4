/* SPDX-License-Identifier: GPL-3.0-only */
/* objects.c: how fast a storage node's object store is, beside what the disk does: puts of one size from some callers at a time.
 *
 *	objects DIR put BYTES COUNT CALLERS    puts, and then the same bytes as files of their own, each synced with its directory
 *	objects DIR index COUNT                what going through an index of that many entries costs
 *	objects DIR open COUNT                 puts of that many tombstones, and what opening the drive costs then
 */
#include "base/clock.h"
#include "lib/object_wait.h"
#include "lib/remove_tree.h"
#include "node/object_index.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

struct run {
	const char *dir;
	struct object_store *s; /* NULL: files */
	size_t bytes;
	unsigned count;
	const uint8_t *body;
	struct object_meta meta;
	atomic_uint next;
	_Atomic uint64_t slowest;
};

static void raise_to(_Atomic uint64_t *most, uint64_t to)
{
	uint64_t before = atomic_load(most);

	while (before < to && !atomic_compare_exchange_weak(most, &before, to))
		;
}

static void put_object(struct run *r, unsigned i)
{
	struct object_put *put;
	struct object_waiter w;
	char name[64];

	snprintf(name, sizeof name, "pool/bench/%u", i);
	waiter_begin(&w);
	if (r->bytes == 0) {
		object_store_remove(r->s, name, r->meta.version, 0, OBJECT_RULE_NEWER, waiter_put, &w);
	} else {
		if (object_put_begin(r->s, name, &r->meta, OBJECT_RULE_NEWER, &put) < 0)
			abort();
		for (size_t at = 0; at < r->bytes; at += 65536)
			object_put_append(put, r->body + at, r->bytes - at < 65536 ? r->bytes - at : 65536, NULL, NULL);
		object_put_finish(put, waiter_put, &w);
	}
	if (waiter_end(&w) != 0) {
		fprintf(stderr, "put: %s\n", strerror(-w.status));
		exit(1);
	}
}

static void write_file(struct run *r, unsigned i)
{
	char path[300];

	snprintf(path, sizeof path, "%s/files/%u", r->dir, i);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600), dir;
	if (fd < 0 || pwrite(fd, r->body, r->bytes, 0) != (ssize_t)r->bytes || fdatasync(fd) < 0)
		exit(1);
	close(fd);
	snprintf(path, sizeof path, "%s/files", r->dir);
	dir = open(path, O_RDONLY);
	if (dir < 0 || fsync(dir) < 0)
		exit(1);
	close(dir);
}

static void *caller(void *arg)
{
	struct run *r = arg;
	unsigned i;

	while ((i = atomic_fetch_add(&r->next, 1)) < r->count) {
		uint64_t began = clock_monotonic_ns();
		if (r->s)
			put_object(r, i);
		else
			write_file(r, i);
		raise_to(&r->slowest, clock_monotonic_ns() - began);
	}
	return NULL;
}

static void run(struct run *r, const char *what, unsigned callers)
{
	pthread_t thread[256];
	uint64_t began = clock_monotonic_ns();

	atomic_store(&r->next, 0);
	atomic_store(&r->slowest, 0);
	for (unsigned i = 0; i < callers; i++)
		pthread_create(&thread[i], NULL, caller, r);
	for (unsigned i = 0; i < callers; i++)
		pthread_join(thread[i], NULL);
	double s = (double)(clock_monotonic_ns() - began) / 1e9;
	printf("%-8s %9zu bytes x %u, %u callers: %8.1f/s %8.1f MB/s, %7.2f ms each, slowest %.1f ms\n", what, r->bytes,
	       r->count, callers, r->count / s, (double)r->bytes * r->count / s / 1e6, s * 1e3 * callers / r->count,
	       (double)r->slowest / 1e6);
}

static double seconds_since(uint64_t began)
{
	return (double)(clock_monotonic_ns() - began) / 1e9;
}

static void go_through(struct object_store *s)
{
	static struct object_bucket buckets[OBJECT_BUCKETS];
	static struct object_entry page[OBJECT_LIST_MAX];
	uint64_t began = clock_monotonic_ns();
	struct object_meta meta;
	size_t count = 0;
	bool more;

	if (buckets_wait(s, NULL, buckets) != 0)
		exit(1);
	for (unsigned b = 0; b < OBJECT_BUCKETS; b++)
		count += buckets[b].count;
	printf("digests of all buckets, %zu entries: %.2f s\n", count, seconds_since(began));
	began = clock_monotonic_ns();
	int n = bucket_wait(s, 7, NULL, page, OBJECT_LIST_MAX);
	printf("entries of one bucket, %d: %.4f s\n", n, seconds_since(began));
	began = clock_monotonic_ns();
	n = list_wait(s, "pool/", NULL, 1000, page, 1000, &more);
	printf("a page of a listing, %d: %.4f s\n", n, seconds_since(began));
	began = clock_monotonic_ns();
	for (int i = 0; i < 10000; i++)
		if (look_wait(s, page[i % n].name, &meta) != 0)
			exit(1);
	printf("a lookup, one at a time: %.1f us\n", seconds_since(began) * 1e6 / 10000);
}

static struct object_store *open_or_exit(const char *dir, const char *what)
{
	struct error err = { 0 };
	struct object_store *s;
	uint64_t began = clock_monotonic_ns();

	if (open_drives(&s, NULL, 1, &dir, 1, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	if (what)
		printf("opening %s: %.2f s\n", what, seconds_since(began));
	return s;
}

static void touch(const char *dir, const char *file)
{
	char path[300];

	snprintf(path, sizeof path, "%s/%s", dir, file);
	close(open(path, O_CREAT | O_WRONLY, 0600));
}

/* An index of entries that have no files. */
static void bench_index(struct run *r)
{
	struct object_entry entry = { .meta = r->meta, .stored_s = 1 };
	struct object_index *index;
	char path[300];
	bool complete;

	object_store_close(r->s);
	snprintf(path, sizeof path, "%s/index.db", r->dir);
	if (object_index_open(path, &index, &complete, NULL) < 0)
		exit(1);
	for (unsigned i = 0; i < r->count; i++) {
		if (i % 1000 == 0 && object_index_begin(index, false, NULL) < 0)
			exit(1);
		snprintf(entry.name, sizeof entry.name, "pool/images/%016x/segments/%016x-0001", i % 1000, i);
		if (object_index_put(index, &entry, NULL) < 0)
			exit(1);
		if ((i % 1000 == 999 || i + 1 == r->count) && object_index_end(index, 0, NULL) < 0)
			exit(1);
	}
	if (object_index_close(index) < 0)
		exit(1);
	r->s = open_or_exit(r->dir, "after a clean end");
	go_through(r->s);
	object_store_close(r->s);
}

static void bench_open(struct run *r)
{
	struct object_store_stats stats;
	char path[300];

	run(r, "remove", 64);
	object_store_stats(r->s, &stats);
	printf("%.1f objects share an index transaction\n", (double)stats.puts / (double)stats.groups);
	object_store_close(r->s);
	object_store_close(open_or_exit(r->dir, "after a clean end"));
	touch(r->dir, "unclean");
	object_store_close(open_or_exit(r->dir, "after an unclean end"));
	snprintf(path, sizeof path, "%s/index.db", r->dir);
	unlink(path);
	object_store_close(open_or_exit(r->dir, "without an index"));
}

int main(int argc, char **argv)
{
	char dir[256], files[300];
	struct run r = { .dir = dir, .meta = { .version = version_of(5) } };

	if (!(argc == 6 && strcmp(argv[2], "put") == 0) &&
	    !(argc == 4 && (strcmp(argv[2], "index") == 0 || strcmp(argv[2], "open") == 0))) {
		fprintf(stderr, "usage: objects DIR put BYTES COUNT CALLERS | objects DIR index|open COUNT\n");
		return 2;
	}
	snprintf(dir, sizeof dir, "%s/objects-XXXXXX", argv[1]);
	if (!mkdtemp(dir))
		return 1;
	r.s = open_or_exit(dir, NULL);
	if (argc == 4) {
		r.count = (unsigned)atoi(argv[3]);
		if (strcmp(argv[2], "index") == 0)
			bench_index(&r);
		else
			bench_open(&r);
	} else {
		unsigned callers = (unsigned)atoi(argv[5]);
		r.bytes = (size_t)atoll(argv[3]);
		r.count = (unsigned)atoi(argv[4]);
		uint8_t *body = malloc(r.bytes);
		body_fill(1, body, r.bytes);
		r.body = body;
		r.meta = body_meta(version_of(5), body, r.bytes, 0);
		run(&r, "put", callers ? callers : 1);
		object_store_close(r.s);
		r.s = NULL;
		snprintf(files, sizeof files, "%s/files", dir);
		mkdir(files, 0700);
		run(&r, "file", callers ? callers : 1);
		free(body);
	}
	return remove_tree(dir) < 0;
}
