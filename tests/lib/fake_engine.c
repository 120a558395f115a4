/* SPDX-License-Identifier: GPL-3.0-only */
/* fake_engine.c: as much of an engine as the control socket asks for. */
#include "lib/fake_engine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static struct fake_engine *fake_of(struct engine *e)
{
	return (struct fake_engine *)e;
}

struct engine *fake_engine(struct fake_engine *fake)
{
	return (struct engine *)fake;
}

void fake_engine_init(struct fake_engine *fake, const char *cache_dir)
{
	memset(fake, 0, sizeof *fake);
	snprintf(fake->status.store_url, sizeof fake->status.store_url, "file:///srv/pool");
	snprintf(fake->status.cache_dir, sizeof fake->status.cache_dir, "%s", cache_dir);
	fake->status.store_ok = true;
	pthread_mutex_init(&fake->mutex, NULL);
	pthread_cond_init(&fake->changed, NULL);
}

void fake_engine_destroy(struct fake_engine *fake)
{
	pthread_mutex_destroy(&fake->mutex);
	pthread_cond_destroy(&fake->changed);
}

static struct timespec in_ten_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += 10;
	return t;
}

bool fake_engine_wait(struct fake_engine *fake, unsigned running, unsigned given_up)
{
	struct timespec until = in_ten_seconds();
	bool reached;
	int rc = 0;

	pthread_mutex_lock(&fake->mutex);
	while ((fake->flushes_running != running || fake->flushes_given_up != given_up) && rc == 0)
		rc = pthread_cond_timedwait(&fake->changed, &fake->mutex, &until);
	reached = fake->flushes_running == running && fake->flushes_given_up == given_up;
	pthread_mutex_unlock(&fake->mutex);
	return reached;
}

void engine_status(struct engine *e, struct engine_status *status)
{
	*status = fake_of(e)->status;
}

static const struct image_status *find(struct fake_engine *fake, uint64_t id)
{
	for (unsigned i = 0; i < fake->image_count; i++)
		if (fake->image[i].id == id)
			return &fake->image[i];
	return NULL;
}

int engine_image_status(struct engine *e, uint64_t id, struct image_status *status, struct error *err)
{
	const struct image_status *s = find(fake_of(e), id);

	if (!s)
		return error_set(err, -ENOENT, "no image %016" PRIx64 "\nin this pool", id);
	*status = *s;
	return 0;
}

int engine_each_image(struct engine *e, int (*each)(void *arg, const struct image_status *status), void *arg)
{
	struct fake_engine *fake = fake_of(e);
	int rc = 0;

	for (unsigned i = 0; i < fake->image_count && rc == 0; i++)
		rc = each(arg, &fake->image[i]);
	return rc;
}

static void note_flush(struct fake_engine *fake, int running, unsigned given_up)
{
	pthread_mutex_lock(&fake->mutex);
	fake->flushes_running += (unsigned)running;
	fake->flushes_given_up += given_up;
	pthread_cond_broadcast(&fake->changed);
	pthread_mutex_unlock(&fake->mutex);
}

int engine_flush(struct engine *e, uint64_t id, bool (*progress)(void *arg, uint64_t bytes_left), void *arg,
                 struct error *err)
{
	const struct timespec nap = { .tv_nsec = 5 * 1000 * 1000 };
	struct fake_engine *fake = fake_of(e);

	note_flush(fake, 1, 0);
	for (uint64_t left = 2; left > 0 || fake->flush_blocks; left -= left > 0) {
		if (progress && !progress(arg, left * 1000)) {
			note_flush(fake, -1, 1);
			return error_set(err, -EINTR, "given up");
		}
		nanosleep(&nap, NULL);
	}
	fake->flushed = id;
	note_flush(fake, -1, 0);
	return 0;
}

int engine_takeover(struct engine *e, uint64_t id, struct error *err)
{
	if (!find(fake_of(e), id))
		return error_set(err, -ENOENT, "no image %016" PRIx64, id);
	fake_of(e)->taken_over = id;
	return 0;
}

static void note_snapshot(struct engine *e, const char *what, const char *name, const uint64_t *images, size_t count)
{
	struct fake_engine *fake = fake_of(e);
	int n = snprintf(fake->snapshot, sizeof fake->snapshot, "%s %s", what, name);

	for (size_t k = 0; k < count && n > 0 && (size_t)n < sizeof fake->snapshot; k++)
		n += snprintf(fake->snapshot + n, sizeof fake->snapshot - (size_t)n, " %016" PRIx64, images[k]);
}

int engine_snapshot_check(struct engine *e, const uint64_t *images, size_t count, const char *name, struct error *err)
{
	note_snapshot(e, "check", name, images, count);
	return strcmp(name, "taken") ? 0 : error_set(err, -EEXIST, "there is a snapshot \"taken\"");
}

int engine_snapshot_create_watched(struct engine *e, const uint64_t *images, size_t count, const char *name,
                                   const struct snapshot_watch *watch, struct error *err)
{
	note_snapshot(e, "create", name, images, count);
	if (!strcmp(name, "never-taken"))
		return engine_flush(e, images[0], watch->left, watch->arg, err);
	if (strcmp(name, "taken") != 0 && (!watch->taken(watch->arg) || !watch->left(watch->arg, 1000)))
		return error_set(err, -EINTR, "given up");
	return strcmp(name, "taken") ? 0 : error_set(err, -EEXIST, "there is a snapshot \"taken\"");
}

int engine_snapshot_delete(struct engine *e, uint64_t image, const char *name, struct error *err)
{
	(void)err;
	note_snapshot(e, "delete", name, &image, 1);
	return 0;
}

int engine_snapshot_protect(struct engine *e, uint64_t image, const char *name, bool on, struct error *err)
{
	(void)err;
	note_snapshot(e, on ? "protect" : "unprotect", name, &image, 1);
	return 0;
}

int engine_snapshot_import(struct engine *e, uint64_t image, const char *name, uint64_t origin, struct error *err)
{
	(void)err;
	note_snapshot(e, "import", name, (uint64_t[]){ image, origin }, 2);
	return 0;
}

/* Only "one" and "two" are there; their handles say which. */
int engine_snapshot_find(struct engine *e, uint64_t image, const char *name, struct snapshot_info *info,
                         struct error *err)
{
	if (!find(fake_of(e), image) || (strcmp(name, "one") != 0 && strcmp(name, "two") != 0))
		return error_set(err, -ENOENT, "there is no snapshot \"%s\"", name);
	*info = (struct snapshot_info){
		.id = name[0] == 'o' ? 0x51 : 0x52, .origin = 0x99, .time_ns = 7, .size = 4096
	};
	return 0;
}

int image_open(struct engine *e, uint64_t id, unsigned flags, struct image **image, struct error *err)
{
	(void)flags;
	(void)err;
	fake_of(e)->opened++;
	fake_of(e)->handle[id - 0x51] = fake_of(e);
	*image = (struct image *)&fake_of(e)->handle[id - 0x51];
	return 0;
}

void image_close(struct image *i, unsigned flags)
{
	struct fake_engine *fake = *(struct fake_engine **)i;

	(void)flags;
	fake->opened--;
}

/* A range of a grain every second grain, `ranges` in all. */
int image_diff(struct image *from, struct image *to, uint64_t begin, image_range_fn *each, void *arg,
               uint64_t *nodes_read, struct error *err)
{
	struct fake_engine *fake = *(struct fake_engine **)to;
	int rc = 0;

	(void)nodes_read;
	(void)err;
	for (uint64_t k = begin / 8192; k < fake->ranges && !rc; k++)
		rc = each(arg, &(struct image_range){ k * 8192, 4096, !from || k % 2 });
	return rc;
}

int engine_snapshot_each(struct engine *e, uint64_t image, int (*each)(void *arg, const struct snapshot_info *s),
                         void *arg, struct error *err)
{
	static const struct snapshot_info two[] = {
		{ .name = "one", .id = 0x51, .time_ns = 1000000000, .size = 1 << 20, .allocated_bytes = 4096 },
		{ .name = "two", .id = 0x52, .time_ns = 2000000000, .size = 2 << 20, .is_protected = true },
	};
	int rc = find(fake_of(e), image) ? 0 : error_set(err, -ENOENT, "no image %016" PRIx64, image);

	for (size_t k = 0; k < 2 && !rc; k++)
		rc = each(arg, &two[k]);
	return rc;
}

int engine_trash_each(struct engine *e, int (*each)(void *arg, const struct trashed_image *t), void *arg,
                      struct error *err)
{
	static const struct trashed_image two[] = {
		{ .id = 0x71, .dir = 1, .name = "old disk", .deleted_ns = 1000000000, .expires_ns = 2000000000 },
		{ .id = 0x72, .dir = 1, .name = "\xc3\xa4\n", .deleted_ns = 1500000000, .expires_ns = 2500000000 },
	};
	int rc = 0;

	(void)e;
	(void)err;
	for (size_t k = 0; k < 2 && !rc; k++)
		rc = each(arg, &two[k]);
	return rc;
}

int engine_clone(struct engine *e, uint64_t source, uint64_t dir, const char *name, struct node_attr *attr,
                 struct error *err)
{
	struct fake_engine *fake = fake_of(e);

	memset(attr, 0, sizeof *attr);
	if (source == 0xdead)
		return error_set(err, -ENOENT, "no image %016" PRIx64, source);
	snprintf(fake->cloned, sizeof fake->cloned, "%" PRIx64 " %" PRIx64 " %s", source, dir, name);
	return 0;
}

int engine_flatten(struct engine *e, uint64_t id, bool (*progress)(void *arg, uint64_t bytes_left), void *arg,
                   struct error *err)
{
	fake_of(e)->flattened = id;
	return engine_flush(e, id, progress, arg, err);
}

int engine_undelete(struct engine *e, uint64_t id, uint64_t dir, const char *name, struct error *err)
{
	struct fake_engine *fake = fake_of(e);

	if (id == 0xdead)
		return error_set(err, -ENOENT, "image %016" PRIx64 " is not in the trash", id);
	snprintf(fake->undeleted, sizeof fake->undeleted, "%" PRIx64 " %" PRIx64 " %s", id, dir,
	         name ? name : "(none)");
	return 0;
}

int engine_rewind(struct engine *e, uint64_t image, struct image_moment *m, uint64_t dir, const char *name,
                  struct node_attr *attr, struct error *err)
{
	struct fake_engine *fake = fake_of(e);

	memset(attr, 0, sizeof *attr);
	if (image == 0xdead)
		return error_set(err, -ERANGE, "that is before the image's first moment");
	snprintf(fake->rewound, sizeof fake->rewound, "%" PRIx64 " %" PRIu64 ".%" PRIu32 " %" PRIu64 " %" PRIx64 " %s",
	         image, m->segment, m->record, m->time_ns, dir, name);
	*m = (struct image_moment){ 12, 34, 5600000000 };
	return 0;
}

int engine_moment_find(struct engine *e, uint64_t image, struct image_moment *m, struct error *err)
{
	if (!find(fake_of(e), image))
		return error_set(err, -ERANGE, "that is before the image's first moment");
	*m = (struct image_moment){ m->segment + 1, m->record + 1, m->time_ns + 1 };
	return 0;
}

int engine_moment_open(struct engine *e, uint64_t image, struct image_moment *m, struct image **i, struct error *err)
{
	snprintf(fake_of(e)->moment, sizeof fake_of(e)->moment, "%" PRIu64 ".%" PRIu32, m->segment, m->record);
	(void)image;
	return image_open(e, 0x52, IMAGE_READ, i, err);
}

int engine_history(struct engine *e, uint64_t image, uint64_t since_ns, struct history *h,
                   int (*span)(void *arg, const struct history_span *s), void *arg, struct error *err)
{
	static const struct history_span two[] = { { { 1, 0, 1000000000 }, 4096 }, { { 3, 0, 3000000000 }, 0 } };
	int rc = find(fake_of(e), image) ? 0 : error_set(err, -ENODATA, "no past");

	*h = (struct history){
		.keep_s = 60, .oldest = { 1, 1, 1000000000 }, .newest = { 3, 0, since_ns }, .segments = 2
	};
	for (size_t k = 0; k < 2 && !rc; k++)
		rc = span(arg, &two[k]);
	return rc;
}

int engine_history_keep(struct engine *e, uint64_t image, uint64_t seconds, struct error *err)
{
	struct fake_engine *fake = fake_of(e);

	if (image == 0xdead)
		return error_set(err, -ENOENT, "no image %016" PRIx64, image);
	fake->kept_s = seconds;
	return 0;
}

int engine_rewind_in_place(struct engine *e, uint64_t image, struct image_moment *m, struct image_moment *now,
                           struct error *err)
{
	struct fake_engine *fake = fake_of(e);

	if (image == 0xdead)
		return error_set(err, -EBUSY, "the image is in use");
	snprintf(fake->rewound, sizeof fake->rewound, "%" PRIx64 " %" PRIu64 ".%" PRIu32 " %" PRIu64 " itself", image,
	         m->segment, m->record, m->time_ns);
	*m = (struct image_moment){ 12, 34, 5600000000 };
	*now = (struct image_moment){ 78, 0, 9000000000 };
	return 0;
}

int engine_clean(struct engine *e, uint64_t image, const struct clean_options *options, clean_progress_fn *progress,
                 void *arg, struct clean_result *result, struct error *err)
{
	struct fake_engine *fake = fake_of(e);

	snprintf(fake->cleaned, sizeof fake->cleaned, "%" PRIx64 "%s%s", image, options->dry_run ? " dry" : "",
	         options->now ? " now" : "");
	if (image == 0xdead)
		return error_set(err, -ENOENT, "no image %016" PRIx64, image);
	for (uint64_t k = 0; k < 3; k++)
		if (!progress(arg, CLEAN_MOVE, k, 3))
			return error_set(err, -EINTR, "stopped");
	*result = (struct clean_result){ 1, 2, 3, 4, 5, 6, 7, 8, 9 };
	return 0;
}

int engine_find_orphans(struct engine *e, bool dry_run, uint64_t *found, struct error *err)
{
	struct fake_engine *fake = fake_of(e);

	if (!dry_run && fake->cleaned[0])
		return error_set(err, -EOPNOTSUPP, "a listing does not show all");
	*found = 5;
	return 0;
}

int engine_space(struct engine *e, uint64_t image, struct image_space *space, struct error *err)
{
	(void)e;
	if (image == 0xdead)
		return error_set(err, -ENOENT, "no image %016" PRIx64, image);
	*space = (struct image_space){ 1, 2, 3, 4, 5, 6, 7, 8, 9, 1.5 };
	return 0;
}
