/* SPDX-License-Identifier: GPL-3.0-only */
/* image_fixture.c: see image_fixture.h. */
#include "lib/image_fixture.h"
#include "lib/remove_tree.h"

#include "image/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* How long an answer may take before it counts as lost, in seconds. */
#define ANSWER_SECONDS 300

static _Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	abort();
}

/* ---- places ---- */

static void lose_tree(const char *path)
{
	if (remove_tree(path) && errno != ENOENT)
		die(path, strerror(errno));
}

static void make_key_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, "a key that only tests may use", 29) != 29 || close(fd))
		die(path, strerror(errno));
}

/* The name of the directory is that of nobody else. */
static void choose_store(struct image_fixture *f, const char *store_url)
{
	size_t path = store_url ? strcspn(store_url, "?") : 0;
	int n;

	f->elsewhere = store_url != NULL;
	if (store_url)
		n = snprintf(f->store, sizeof f->store, "%.*s%s%s", (int)path, store_url, strrchr(f->dir, '/'),
		             store_url + path);
	else
		n = snprintf(f->store, sizeof f->store, "file://%s/store", f->dir);
	if (n < 0 || (size_t)n >= sizeof f->store)
		die(store_url, "the URL is too long");
}

void image_fixture_init(struct image_fixture *f, bool sealed)
{
	image_fixture_init_in(f, sealed, NULL);
}

void image_fixture_init_in(struct image_fixture *f, bool sealed, const char *store_url)
{
	const char *base = getenv("TMPDIR");
	struct store_options so = { .create = true };
	struct secret *secret = NULL;
	struct error err = { 0 };

	memset(f, 0, sizeof *f);
	snprintf(f->dir, sizeof f->dir, "%.150s/garner-image-XXXXXX", base ? base : "/tmp");
	if (!mkdtemp(f->dir))
		die(f->dir, strerror(errno));
	choose_store(f, store_url);
	for (unsigned h = 0; h < 2; h++)
		snprintf(f->cache[h], sizeof f->cache[h], "%s/host%u", f->dir, h);
	f->options = (struct engine_options){
		.store_url = f->store,
		.segment_size = 1u << 20,
		.map_memory = 1u << 20,
		.cache_size = 8u << 20,
		.dirty_limit = 4u << 20,
		.seal_after_ms = 100,
		.trash_ms = 1,
		.gc_target = 101, /* who wants cleaning asks for it */
		.uploads = 4,
	};
	if (sealed) {
		snprintf(f->key_file, sizeof f->key_file, "%s/key", f->dir);
		make_key_file(f->key_file);
		f->options.key_file = f->key_file;
	}
	if (pool_secret(f->options.key_file, NULL, &secret, &err) || pool_init(f->store, &so, secret, 0, &err))
		die("making the pool", error_text(&err));
	secret_free(secret);
}

static int remove_object(void *arg, const struct store_entry *entry)
{
	return store_remove_wait(arg, entry->key, NULL);
}

/* Where a test did not end in order what it made is left, to be looked at. */
static void empty_store(const char *url)
{
	struct store_options so = { 0 };
	struct error err = { 0 };
	struct store *s;

	if (store_open(url, &so, &s, &err) || store_list_each(s, "", NULL, remove_object, s, &err))
		die("emptying the store", error_text(&err));
	store_close(s);
}

void image_fixture_destroy(struct image_fixture *f)
{
	if (f->engine)
		image_fixture_close(f);
	if (f->elsewhere)
		empty_store(f->store);
	lose_tree(f->dir);
}

struct engine *image_fixture_open_beside(struct image_fixture *f, unsigned host)
{
	struct error err = { 0 };
	struct engine *e;

	f->options.cache_dir = f->cache[host];
	if (engine_open(&f->options, &e, &err))
		die("opening the engine", error_text(&err));
	return e;
}

void image_fixture_open(struct image_fixture *f, unsigned host)
{
	f->engine = image_fixture_open_beside(f, host);
	f->host = host;
}

void image_fixture_close(struct image_fixture *f)
{
	struct error err = { 0 };

	if (engine_close(f->engine, &err))
		die("closing the engine", error_text(&err));
	f->engine = NULL;
}

void image_fixture_verify(struct image_fixture *f)
{
	struct verify_report *report = calloc(1, sizeof *report);
	struct secret *secret = NULL;
	struct error err = { 0 };
	struct pool *pool;

	if (!report || pool_secret(f->options.key_file, NULL, &secret, &err) ||
	    pool_open(f->store, NULL, secret, &pool, &err) || pool_verify(pool, NULL, report, NULL, NULL, &err))
		die("verifying the pool", error_text(&err));
	if (report->errors)
		die("the pool has a fault", report->text[0]);
	pool_close(pool);
	secret_free(secret);
	free(report);
}

void image_fixture_lose_cache(struct image_fixture *f, unsigned host)
{
	lose_tree(f->cache[host]);
}

void image_fixture_lose_db(struct image_fixture *f, unsigned host)
{
	static const char *const suffix[] = { "", "-wal", "-shm" };

	for (unsigned k = 0; k < 3; k++) {
		char path[300];
		snprintf(path, sizeof path, "%s/garner.db%s", f->cache[host], suffix[k]);
		if (unlink(path) && errno != ENOENT)
			die(path, strerror(errno));
	}
}

/* ---- images ---- */

uint64_t image_fixture_create(struct engine *e, const char *name)
{
	struct error err = { 0 };
	struct node_attr attr;

	if (engine_create(e, NODE_ROOT, name, NODE_FILE, 0600, 0, 0, &attr, &err))
		die(name, error_text(&err));
	return attr.id;
}

struct image *image_fixture_open_image(struct engine *e, const char *name)
{
	struct error err = { 0 };
	struct node_attr attr;
	struct image *i;

	if (engine_lookup(e, NODE_ROOT, name, &attr, &err) ||
	    image_open(e, attr.id, IMAGE_READ | IMAGE_WRITE, &i, &err))
		die(name, error_text(&err));
	return i;
}

void image_fixture_close_image(struct image *i)
{
	image_close(i, IMAGE_READ | IMAGE_WRITE);
}

/* ---- waiting ---- */

struct answer {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool here;
	int64_t result;
};

#define ANSWER_INIT                                                                  \
	{                                                                            \
		.mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER \
	}

static void answered(void *arg, int64_t result)
{
	struct answer *a = arg;

	pthread_mutex_lock(&a->mutex);
	if (a->here)
		die("an operation", "answered twice");
	a->here = true;
	a->result = result;
	pthread_cond_signal(&a->cond);
	pthread_mutex_unlock(&a->mutex);
}

static int64_t wait_answer(struct answer *a, int64_t result)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ANSWER_SECONDS;
	if (result == -EINPROGRESS) {
		pthread_mutex_lock(&a->mutex);
		while (!a->here)
			if (pthread_cond_timedwait(&a->cond, &a->mutex, &until) == ETIMEDOUT)
				die("an operation", "was never answered");
		result = a->result;
		pthread_mutex_unlock(&a->mutex);
	} else if (a->here) {
		die("an operation", "answered at once and later");
	}
	pthread_mutex_destroy(&a->mutex);
	pthread_cond_destroy(&a->cond);
	return result;
}

int64_t read_wait(struct image *i, uint64_t offset, void *buf, size_t len)
{
	struct answer a = ANSWER_INIT;

	return wait_answer(&a, image_read(i, offset, buf, len, answered, &a));
}

/* The engine may keep nothing of the caller's buffer after the call: it is changed at once. */
int64_t write_wait(struct image *i, uint64_t offset, const void *buf, size_t len)
{
	struct answer a = ANSWER_INIT;
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		die("a write", "out of memory");
	memcpy(copy, buf, len);
	int64_t result = image_write(i, offset, copy, len, answered, &a);
	memset(copy, 0xa5, len);
	free(copy);
	return wait_answer(&a, result);
}

int64_t flush_wait(struct image *i, enum image_flush_level level)
{
	struct answer a = ANSWER_INIT;

	return wait_answer(&a, image_flush(i, level, answered, &a));
}

int64_t discard_wait(struct image *i, uint64_t offset, uint64_t len)
{
	struct answer a = ANSWER_INIT;

	return wait_answer(&a, image_discard(i, offset, len, answered, &a));
}

int64_t resize_wait(struct image *i, uint64_t size)
{
	struct answer a = ANSWER_INIT;

	return wait_answer(&a, image_resize(i, size, answered, &a));
}

int64_t set_mtime_wait(struct image *i, uint64_t mtime_ns)
{
	struct answer a = ANSWER_INIT;

	return wait_answer(&a, image_set_mtime(i, mtime_ns, answered, &a));
}

int64_t seek_wait(struct image *i, uint64_t offset, bool data)
{
	struct answer a = ANSWER_INIT;

	return wait_answer(&a, image_seek(i, offset, data, answered, &a));
}

int64_t copy_wait(struct image *from, uint64_t offset, struct image *to, uint64_t to_offset, uint64_t len)
{
	struct answer a = ANSWER_INIT;

	return wait_answer(&a, image_copy(from, offset, to, to_offset, len, answered, &a));
}

int save_now(struct image *i, bool checkpoint)
{
	struct error err = { 0 };
	int rc = 0;

	pthread_mutex_lock(&i->open_mutex);
	if (atomic_load(&i->log)) {
		rc = checkpoint ? image_checkpoint(i, &err) : image_save(i, &err);
		if (!rc && checkpoint)
			rc = image_update_head(i, &err);
	}
	pthread_mutex_unlock(&i->open_mutex);
	if (rc)
		fprintf(stderr, "%s\n", error_text(&err));
	return rc;
}
