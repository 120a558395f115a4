/* SPDX-License-Identifier: GPL-3.0-only */
/* puts.c: how fast a store takes objects: a number of puts, some at a time, and how long each took.
 *
 *   puts URL SIZE COUNT AT-A-TIME
 *
 * Prints one line: megabytes per second, and the median, the 99th percentile and the longest of the latencies. The objects, of
 * random bytes, are removed afterwards. What the store needs to log in comes from the environment, as for garner.
 */
#include "base/clock.h"
#include "base/size.h"
#include "store/store.h"

#include <inttypes.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bench {
	struct store *store;
	uint8_t *bytes;
	size_t size;
	unsigned count;
	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t changed;
	unsigned begun, under_way, failed;
	uint64_t *took_ns;
	unsigned ended;
};

struct put {
	struct bench *b;
	struct iovec iov;
	uint64_t began_ns;
	char key[64];
};

static void key_of(unsigned number, char key[64])
{
	snprintf(key, 64, "bench/%016x", number);
}

static void was_put(void *arg, int status, const struct error *err)
{
	struct put *p = arg;
	struct bench *b = p->b;

	pthread_mutex_lock(&b->mutex);
	if (status && !b->failed++)
		fprintf(stderr, "puts: %s\n", error_text(err));
	b->took_ns[b->ended++] = clock_monotonic_ns() - p->began_ns;
	b->under_way--;
	pthread_cond_signal(&b->changed);
	pthread_mutex_unlock(&b->mutex);
	free(p);
}

static int by_time(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void run(struct bench *b, unsigned at_a_time)
{
	pthread_mutex_lock(&b->mutex);
	while (b->ended < b->count) {
		if (b->begun == b->count || b->under_way == at_a_time) {
			pthread_cond_wait(&b->changed, &b->mutex);
			continue;
		}
		struct put *p = calloc(1, sizeof *p);
		if (!p)
			abort();
		p->b = b;
		p->iov = (struct iovec){ b->bytes, b->size };
		key_of(b->begun++, p->key);
		b->under_way++;
		pthread_mutex_unlock(&b->mutex);
		p->began_ns = clock_monotonic_ns();
		store_put(b->store, p->key, &p->iov, 1, STORE_UPLOAD | STORE_PUT_CREATE_ONLY, was_put, p);
		pthread_mutex_lock(&b->mutex);
	}
	pthread_mutex_unlock(&b->mutex);
}

static void clean(struct bench *b)
{
	char key[64];

	for (unsigned i = 0; i < b->count; i++) {
		key_of(i, key);
		store_remove_wait(b->store, key, NULL);
	}
}

int main(int argc, char **argv)
{
	struct bench b = { .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
	struct store_options options = { .create = true };
	struct error err = { 0 };
	uint64_t size, began, took;

	if (argc != 5 || size_parse(argv[2], &size, &err) || sodium_init() < 0) {
		fprintf(stderr, "usage: puts URL SIZE COUNT AT-A-TIME\n");
		return 2;
	}
	b.size = (size_t)size;
	b.count = (unsigned)atoi(argv[3]);
	b.bytes = malloc(b.size);
	b.took_ns = calloc(b.count, sizeof *b.took_ns);
	if (!b.bytes || !b.took_ns)
		return 1;
	randombytes_buf(b.bytes, b.size);
	if (store_open(argv[1], &options, &b.store, &err)) {
		fprintf(stderr, "puts: %s\n", error_text(&err));
		return 1;
	}
	began = clock_monotonic_ns();
	run(&b, (unsigned)atoi(argv[4]));
	took = clock_monotonic_ns() - began;
	qsort(b.took_ns, b.count, sizeof *b.took_ns, by_time);
	const unsigned middle = b.count / 2, late = (unsigned)((uint64_t)b.count * 99 / 100);
	printf("%8.1f MB/s   median %7.2f ms   99%% %7.2f ms   longest %7.2f ms%s\n",
	       (double)size * b.count / 1e6 / ((double)took / 1e9), (double)b.took_ns[middle] / 1e6,
	       (double)b.took_ns[late] / 1e6, (double)b.took_ns[b.count - 1] / 1e6, b.failed ? "   with failures" : "");
	clean(&b);
	store_close(b.store);
	free(b.took_ns);
	free(b.bytes);
	return b.failed ? 1 : 0;
}
