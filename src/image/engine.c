/* SPDX-License-Identifier: GPL-3.0-only */
/* engine.c: putting an engine together, and taking it apart. */
#include "image/private.h"

#include "image/clean.h"

#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#define WORK_THREADS 12
#define PACK_THREADS 2
#define PREFETCH_THREADS 4
#define SPARES 8
#define CACHE_ROOT "/var/cache/garnerfs"

static void default_u64(uint64_t *value, uint64_t fallback)
{
	if (!*value)
		*value = fallback;
}

static int fill_options(struct engine_options *o, struct error *err)
{
	struct segment_shape shape;

	default_u64(&o->cache_size, 20ull << 30);
	default_u64(&o->dirty_limit, 4ull << 30);
	default_u64(&o->seal_after_ms, 5000);
	default_u64(&o->map_memory, 64u << 20);
	default_u64(&o->stage_size, 64u << 20);
	default_u64(&o->share_min, 16u << 20);
	default_u64(&o->lease_ms, 15000);
	default_u64(&o->stop_deadline_ms, 60000);
	default_u64(&o->gc_grace_ms, 600 * 1000);
	if (!o->gc_target)
		o->gc_target = 25;
	default_u64(&o->trash_ms, UINT64_C(7) * 24 * 3600 * 1000);
	if (!o->segment_size)
		o->segment_size = 8u << 20;
	if (!o->uploads)
		o->uploads = 4;
	if (!o->compression)
		o->compression = 1;
	if (o->dirty_limit > o->cache_size / 2)
		o->dirty_limit = o->cache_size / 2;
	if (!o->disk)
		o->disk = disk_posix();
	if (segment_shape(GRAIN_BYTES_MIN, o->segment_size, &shape))
		return error_set(err, -EINVAL, "segment_size must be a power of two from 1M to 64M");
	if (o->grain_size && segment_shape(o->grain_size, o->segment_size, &shape))
		return error_set(err, -EINVAL, "grain must be a power of two from 4K to 64K");
	if (o->cache_size < 4ull * o->segment_size)
		return error_set(err, -EINVAL, "cache_size must hold at least four segments of %u bytes",
		                 o->segment_size);
	return 0;
}

/* ---- the cache directory ---- */

/* Makes a small file whole: written beside, synced, renamed. */
static int make_small_file(struct engine *e, const char *path, const char *text)
{
	char *new;
	int fd, rc;

	if (asprintf(&new, "%s.new", path) < 0)
		return -ENOMEM;
	rc = fd = disk_open(e->disk, new, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd >= 0) {
		rc = disk_pwrite(e->disk, fd, text, strlen(text), 0);
		if (!rc)
			rc = disk_fdatasync(e->disk, fd);
		int close_rc = disk_close(e->disk, fd);
		rc = rc ? rc : close_rc;
	}
	if (!rc)
		rc = disk_rename(e->disk, new, path);
	if (!rc)
		rc = disk_sync_dir(e->disk, e->cache_dir);
	free(new);
	return rc;
}

/* Reads the first line of a small file of the cache directory, which is made with `make` (may be NULL) when it is not there. */
static int small_file(struct engine *e, const char *name, char *text, size_t size, const char *make, struct error *err)
{
	char *path;
	int rc = asprintf(&path, "%s/%s", e->cache_dir, name) < 0 ? -ENOMEM : 0;
	int fd = rc ? rc : disk_open(e->disk, path, O_RDONLY, 0);

	if (rc)
		return rc;
	if (fd == -ENOENT && make) {
		rc = make_small_file(e, path, make);
		fd = rc ? rc : disk_open(e->disk, path, O_RDONLY, 0);
	}
	if (fd < 0) {
		rc = fd;
	} else {
		ssize_t n = disk_pread(e->disk, fd, text, size - 1, 0);
		rc = n < 0 ? (int)n : 0;
		text[n < 0 ? 0 : n] = 0;
		text[strcspn(text, "\n")] = 0;
		disk_close(e->disk, fd);
	}
	if (rc && rc != -ENOENT)
		error_set(err, rc, "%s: %s", path, strerror(-rc));
	free(path);
	return rc;
}

static int lock_cache_dir(struct engine *e, struct error *err)
{
	char *path, pid[32] = "";
	int rc;

	if (asprintf(&path, "%s/lock", e->cache_dir) < 0)
		return -ENOMEM;
	e->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	rc = e->lock_fd < 0 ? -errno : 0;
	if (!rc && flock(e->lock_fd, LOCK_EX | LOCK_NB)) {
		ssize_t n = pread(e->lock_fd, pid, sizeof pid - 1, 0);
		pid[n > 0 ? n : 0] = 0;
		pid[strcspn(pid, "\n")] = 0;
		rc = error_set(err, -EBUSY, "the cache directory %s is in use by another mount (process %s)",
		               e->cache_dir, *pid ? pid : "unknown");
	} else if (rc) {
		error_set(err, rc, "cannot open %s: %s", path, strerror(-rc));
	} else {
		int len = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
		if (ftruncate(e->lock_fd, 0) || pwrite(e->lock_fd, pid, (size_t)len, 0) != len)
			rc = error_set(err, -errno, "cannot write %s: %s", path, strerror(errno));
	}
	free(path);
	return rc;
}

/* Makes and locks the directory; it belongs to one pool and gives this host its id. */
static int open_cache_dir(struct engine *e, struct error *err)
{
	char uuid[UUID_TEXT_BYTES], text[64], id[32];
	uint64_t host;
	int rc;

	uuid_format(e->pool->uuid, uuid);
	if (e->options.cache_dir)
		e->cache_dir = strdup(e->options.cache_dir);
	else if (asprintf(&e->cache_dir, "%s/%s", CACHE_ROOT, uuid) < 0)
		e->cache_dir = NULL;
	if (!e->cache_dir)
		return error_set(err, -ENOMEM, "out of memory");
	rc = disk_make_path(e->disk, e->cache_dir);
	if (rc)
		return error_set(err, rc, "cannot make the cache directory %s: %s", e->cache_dir, strerror(-rc));
	rc = lock_cache_dir(e, err);
	if (!rc)
		rc = small_file(e, "pool", text, sizeof text, uuid, err);
	if (!rc && strcmp(text, uuid) != 0)
		rc = error_set(err, -EEXIST,
		               "the cache directory %s belongs to another pool (%s); choose another with cache_dir=",
		               e->cache_dir, text);
	randombytes_buf(&host, sizeof host);
	snprintf(id, sizeof id, "%016" PRIx64 "\n", host | 1);
	if (!rc)
		rc = small_file(e, "host", text, sizeof text, id, err);
	if (rc)
		return rc;
	e->host.id = strtoull(text, NULL, 16);
	if (!e->host.id)
		return error_set(err, -EBADMSG, "%s/host is damaged; delete it only if no unsent data is in %s/images",
		                 e->cache_dir, e->cache_dir);
	if (gethostname(e->host.name, sizeof e->host.name - 1))
		snprintf(e->host.name, sizeof e->host.name, "unknown");
	return 0;
}

/* Takes garner.db out of use, for the reason given; it is closed. */
static int set_db_aside(struct engine *e, const char *why)
{
	char *path = NULL, *bad = NULL;
	int rc = -ENOMEM;

	if (asprintf(&path, "%s/garner.db", e->cache_dir) >= 0 &&
	    asprintf(&bad, "%s/garner.db.damaged", e->cache_dir) >= 0) {
		report_warning("%s: %s; it is rebuilt, the old one is kept as %s", path, why, bad);
		rc = disk_rename(e->disk, path, bad);
	}
	for (unsigned k = 0; k < 2; k++) {
		char *extra;
		if (asprintf(&extra, "%s/garner.db-%s", e->cache_dir, k ? "shm" : "wal") >= 0) {
			disk_unlink(e->disk, extra);
			free(extra);
		}
	}
	free(path);
	free(bad);
	return rc;
}

/* Opens garner.db. A damaged one is moved away: everything in it is rebuilt. */
static int open_db(struct engine *e, struct error *err)
{
	char *path, text[8];
	bool clean = small_file(e, "clean", text, sizeof text, NULL, NULL) == 0;
	int rc;

	if (asprintf(&path, "%s/garner.db", e->cache_dir) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	rc = map_db_open(path, !clean, &e->db, err);
	if (rc == -EBADMSG && !(rc = set_db_aside(e, error_text(err))))
		rc = map_db_open(path, false, &e->db, err);
	free(path);
	if (asprintf(&path, "%s/clean", e->cache_dir) >= 0) {
		disk_unlink(e->disk, path);
		free(path);
	}
	return rc;
}

/* ---- the segments that are here ---- */

struct segment_set *engine_set(struct engine *e, uint64_t image)
{
	char *dir = NULL;

	pthread_mutex_lock(&e->mutex);
	struct segment_set *set = hash_get(e->sets, image);
	if (!set && asprintf(&dir, "%s/images/%016" PRIx64, e->cache_dir, image) >= 0)
		set = segment_set_new(e->disk, dir, e->pool->uuid, image);
	if (set && dir && hash_put(e->sets, image, set)) {
		segment_set_free(set);
		set = NULL;
	}
	pthread_mutex_unlock(&e->mutex);
	free(dir);
	return set;
}

/* What was written before a crash and had not reached its segments yet goes there; then there are stages again. */
static int open_stages(struct engine *e, struct error *err)
{
	char *dir = NULL, *images = NULL;
	uint64_t restored = 0;
	int rc;

	if (asprintf(&dir, "%s/stage", e->cache_dir) < 0 || asprintf(&images, "%s/images", e->cache_dir) < 0)
		rc = error_set(err, -ENOMEM, "out of memory");
	else
		rc = stage_restore(e->disk, dir, images, e->pool->uuid, &restored, err);
	if (restored)
		report_notice("put back %" PRIu64 " records that had not been flushed before the last end", restored);
	if (!rc)
		rc = stage_pool_new(e->disk, dir, e->options.stage_size, &e->stages, err);
	free(images);
	free(dir);
	return rc;
}

static int found_segment(void *arg, struct segment *s)
{
	struct engine *e = arg;

	cache_segment_found(e->cache, s);
	return 0;
}

static int scan_segments(struct engine *e, struct error *err)
{
	struct dirent *entry;
	char *path;
	int rc = 0;

	if (asprintf(&path, "%s/images", e->cache_dir) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	DIR *dir = opendir(path);
	if (!dir && errno != ENOENT)
		rc = error_set(err, -errno, "cannot read %s: %s", path, strerror(errno));
	while (dir && !rc && (entry = readdir(dir))) {
		char *end;
		uint64_t id = strtoull(entry->d_name, &end, 16);
		if (end != entry->d_name + 16 || *end || !id)
			continue;
		struct segment_set *set = engine_set(e, id);
		rc = set ? segment_set_scan(set, err) : -ENOMEM;
		if (!rc)
			rc = segment_set_each(set, found_segment, e);
	}
	if (dir)
		closedir(dir);
	free(path);
	return rc;
}

/* ---- opening ---- */

static int open_pool(struct engine *e, struct error *err)
{
	struct engine_options *o = &e->options;
	struct store_options so = {
		.disk = o->disk,
		.deadline_ms = o->store_timeout_ms,
		.create = o->may_init,
		.passwd_file = o->passwd_file,
		.ca_file = o->ca_file,
		.client_cert = o->client_cert,
		.client_key = o->client_key,
		.allow_plain = o->allow_plain,
		.upload_rate = o->upload_rate,
		.download_rate = o->download_rate,
	};
	struct secret *secret = NULL;
	int rc = pool_secret(o->key_file, o->passphrase_file, &secret, err);

	if (!rc && o->may_init && !secret) {
		so.create = false;
		if (pool_may_begin(o->store_url, &so, NULL) == 1) {
			rc = pool_init(o->store_url, &so, NULL, o->grain_size ? o->grain_size : GRAIN_BYTES_MIN, err);
			if (!rc)
				report_notice("made a new pool without a key in %s", o->store_url);
		}
	}
	so.create = false;
	if (!rc)
		rc = pool_open(o->store_url, &so, secret, &e->pool, err);
	if (!rc && !o->read_only)
		rc = pool_may_write(e->pool, o->exclusive, err);
	secret_free(secret);
	return rc;
}

/* A file per local segment is open: as many as the system lets us have. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int open_parts(struct engine *e, struct error *err)
{
	char *spare_dir = NULL;
	int rc = open_pool(e, err);

	if (!rc)
		rc = open_cache_dir(e, err);
	if (!rc)
		rc = open_db(e, err);
	if (rc)
		return rc;
	e->images = hash_new();
	e->sets = hash_new();
	e->old_sets = hash_new();
	e->unlinked = hash_new();
	e->deletions = hash_new();
	e->snapshots = hash_new();
	e->garbage = hash_new();
	e->budget = map_budget_new(e->options.map_memory);
	e->work = executor_new("garner-work", WORK_THREADS, false);
	e->packers = executor_new("garner-pack", PACK_THREADS, true);
	e->prefetch = executor_new("garner-ahead", PREFETCH_THREADS, false);
	e->sharing = executor_new("garner-share", 1, false);
	e->catalog = catalog_new(e->pool, e->db);
	if (!e->images || !e->sets || !e->old_sets || !e->unlinked || !e->deletions || !e->snapshots || !e->garbage ||
	    !e->budget || !e->work || !e->packers || !e->prefetch || !e->sharing || !e->catalog ||
	    asprintf(&spare_dir, "%s/spare", e->cache_dir) < 0)
		return error_set(err, -ENOMEM, "cannot start: out of memory or threads");
	if (e->options.read_only)
		catalog_set_read_only(e->catalog);
	rc = spare_pool_new(e->disk, spare_dir, SPARES, &e->spares, err);
	free(spare_dir);
	if (!rc && !e->options.read_only)
		rc = open_stages(e, err);
	if (rc)
		return rc;
	e->cache = cache_new(e->options.cache_size, e->spares, e->work);
	if (!e->cache)
		return error_set(err, -ENOMEM, "out of memory");
	return scan_segments(e, err);
}

static void mark_clean(struct engine *e)
{
	char text[8];

	small_file(e, "clean", text, sizeof text, "clean\n", NULL);
}

static void engine_free(struct engine *e)
{
	size_t cursor = 0;
	struct segment_set *set;
	uint64_t id;
	void *entry;

	executor_free(e->prefetch);
	executor_free(e->sharing);
	if (e->work)
		executor_drain(e->work);
	executor_free(e->packers);
	executor_free(e->work);
	catalog_free(e->catalog);
	while (e->sets && (set = hash_next(e->sets, &cursor, &id)))
		segment_set_free(set);
	for (cursor = 0; e->old_sets && (set = hash_next(e->old_sets, &cursor, &id));)
		segment_set_free(set);
	for (cursor = 0; e->unlinked && (entry = hash_next(e->unlinked, &cursor, &id));)
		free(entry);
	for (cursor = 0; e->snapshots && (entry = hash_next(e->snapshots, &cursor, &id));)
		free(entry);
	hash_free(e->snapshots);
	clean_forget_all(e);
	hash_free(e->images);
	hash_free(e->sets);
	hash_free(e->old_sets);
	hash_free(e->unlinked);
	hash_free(e->deletions);
	cache_free(e->cache);
	spare_pool_free(e->spares);
	stage_pool_free(e->stages);
	map_budget_free(e->budget);
	/* What a check at the next start would not find was found by using it. */
	bool damaged = e->db && map_db_damaged(e->db);
	map_db_close(e->db);
	if (damaged)
		set_db_aside(e, "it is damaged");
	if (e->ended)
		mark_clean(e);
	pool_close(e->pool);
	if (e->lock_fd >= 0)
		close(e->lock_fd);
	free(e->cache_dir);
	pthread_cond_destroy(&e->tick);
	pthread_cond_destroy(&e->ahead_ended);
	pthread_mutex_destroy(&e->mutex);
	pthread_mutex_destroy(&e->pace_mutex);
	pthread_mutex_destroy(&e->lease_mutex);
	free(e);
}

int engine_open(const struct engine_options *options, struct engine **engine, struct error *err)
{
	struct engine *e = calloc(1, sizeof *e);
	int rc;

	if (!e)
		return error_set(err, -ENOMEM, "out of memory");
	e->options = *options;
	e->lock_fd = -1;
	pthread_mutex_init(&e->mutex, NULL);
	pthread_mutex_init(&e->pace_mutex, NULL);
	pthread_mutex_init(&e->lease_mutex, NULL);
	clock_cond_init(&e->tick);
	pthread_cond_init(&e->ahead_ended, NULL);
	STAILQ_INIT(&e->dirty_waiters);
	e->drain_since_ns = clock_monotonic_ns();
	raise_file_limit();
	rc = fill_options(&e->options, err);
	e->disk = e->options.disk;
	if (!rc)
		rc = open_parts(e, err);
	if (!rc && !e->options.read_only)
		engine_read_trash(e, true);
	if (!rc)
		rc = engine_start_threads(e, err);
	if (rc) {
		readahead_stop(e);
		engine_stop_threads(e);
		e->stop_waiting = true;
		if (e->heartbeat_runs)
			pthread_join(e->heartbeat, NULL);
		engine_free(e);
		return rc;
	}
	if (!e->options.read_only)
		engine_recover_images(e);
	*engine = e;
	return 0;
}

/* ---- closing ---- */

/* Hands every image over, or keeps what could not be sent. Returns how many were kept. */
static unsigned release_all(struct engine *e)
{
	uint64_t deadline = clock_monotonic_ns() + e->options.stop_deadline_ms * 1000000;
	struct image **images;
	unsigned kept = 0;
	size_t count;

	if (images_get_all(e, &images, &count))
		return 1;
	/* All begin to upload at once; then each is waited for. */
	for (size_t k = 0; k < count; k++)
		if (atomic_load(&images[k]->log))
			log_close_segment(atomic_load(&images[k]->log));
	for (size_t k = 0; k < count; k++) {
		struct error err = { 0 };
		pthread_mutex_lock(&images[k]->open_mutex);
		int rc = image_release(images[k], deadline, true, &err);
		pthread_mutex_unlock(&images[k]->open_mutex);
		if (rc == -EAGAIN && (!images[k]->unlinked || e->options.trash_ms > 1)) {
			kept++;
			report_warning("%s", error_text(&err));
		} else if (rc && rc != -EAGAIN) {
			report_warning("%s", error_text(&err));
		}
		if (!image_unload_at_end(images[k]))
			report_error("image %016" PRIx64 " is still open", images[k]->id);
	}
	free(images);
	return kept;
}

/* A local disk that is full is no reason never to end: what has no room now is made of the log at the next start. Gives the reference
 * back. */
static void refuse_to_wait(struct image *i)
{
	struct log *log = image_use_log(i);

	if (log) {
		log_refuse_to_wait(log);
		image_unuse_log(i);
	}
	image_put(i);
}

int engine_close(struct engine *e, struct error *err)
{
	struct error why = { 0 };

	readahead_stop(e);
	images_each(e, refuse_to_wait);
	engine_stop_threads(e);
	engine_wake_dirty_waiters(e);
	if (!e->options.read_only)
		engine_delete_now(e, true);
	unsigned kept = release_all(e);
	e->stop_waiting = true;
	if (e->heartbeat_runs)
		pthread_join(e->heartbeat, NULL);
	if (e->heartbeat_runs && !kept && lease_drop(e->pool, &e->host, &why))
		report_debug("%s", error_text(&why));
	e->ended = true;
	int rc = kept ? error_set(err, -EAGAIN,
	                          "data of %u image(s) that is not in the store is kept in %s for the next mount", kept,
	                          e->cache_dir)
	              : 0;
	engine_free(e);
	return rc;
}

bool engine_is_stopping(struct engine *e)
{
	return atomic_load(&e->stopping);
}

int engine_writable(struct engine *e, struct error *err)
{
	return e->options.read_only ? error_set(err, -EROFS, "mounted read only") : 0;
}

void engine_store_state(struct engine *e, const struct error *err)
{
	bool was, is = !err;

	pthread_mutex_lock(&e->mutex);
	was = !e->store_error[0];
	snprintf(e->store_error, sizeof e->store_error, "%s", err ? error_text(err) : "");
	atomic_store(&e->store_away, !is);
	pthread_mutex_unlock(&e->mutex);
	if (!is)
		engine_wake_dirty_waiters(e);
	if (was && !is)
		report_warning("the store does not answer: %s; uploads are tried again until it does", error_text(err));
	if (!was && is)
		report_notice("the store answers again");
}
