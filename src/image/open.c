/* SPDX-License-Identifier: GPL-3.0-only */
/* open.c: which images are in memory, who has them open, and when they leave. */
#include "image/private.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* An image that nobody has open stays in memory this long. */
#define KEEP_NS seconds_ns(30)

/* Who only looks at an image, as maintenance and status do, has let go of it after that long. */
#define LOOK_TRIES 5000
#define LOOK_PAUSE_NS 2000000

/* What a try asks for, beside success and errors. */
enum again {
	AGAIN = 1,       /* what was in memory is gone */
	AGAIN_LATER = 2, /* it has to go, and somebody looks at it, but nobody has it open */
};

/* ---- making and freeing ---- */

static uint64_t epoch_of(void *arg, segment_no_t number)
{
	struct image *i = arg;

	pthread_mutex_lock(&i->view_mutex);
	uint64_t epoch = log_view_epoch_of(&i->view, number);
	pthread_mutex_unlock(&i->view_mutex);
	return epoch;
}

static void image_free(struct image *i)
{
	grain_map_free(i->map);
	image_layers_free(i);
	log_view_destroy(&i->view);
	range_locks_destroy(&i->locks);
	readahead_destroy(&i->readahead);
	defrag_destroy(&i->defrag);
	trace_destroy(&i->trace);
	pthread_rwlock_destroy(&i->gate);
	pthread_rwlock_destroy(&i->node_lock);
	pthread_mutex_destroy(&i->open_mutex);
	pthread_mutex_destroy(&i->clean_mutex);
	free(i->clean_state.emptied);
	pthread_mutex_destroy(&i->clean_state.mutex);
	pthread_mutex_destroy(&i->view_mutex);
	pthread_mutex_destroy(&i->state_mutex);
	sodium_memzero(&i->source.key, sizeof i->source.key);
	if (i->past)
		grain_list_destroy(&i->past->touched);
	free(i->past);
	free((void *)(uintptr_t)i->snapshot);
	free(i);
}

/* `snapshot`: NULL, or what it is; copied. */
static struct image *image_new(struct engine *e, uint64_t id, uint32_t grain_bytes, const struct snapshot *snapshot)
{
	struct image *i = calloc(1, sizeof *i);

	if (!i)
		return NULL;
	i->engine = e;
	i->id = id;
	i->log_id = snapshot ? snapshot->image : id;
	i->grain_bytes = grain_bytes;
	i->grain_shift = (unsigned)__builtin_ctz(grain_bytes);
	pthread_mutex_init(&i->open_mutex, NULL);
	pthread_mutex_init(&i->clean_mutex, NULL);
	pthread_mutex_init(&i->clean_state.mutex, NULL);
	pthread_mutex_init(&i->view_mutex, NULL);
	pthread_mutex_init(&i->state_mutex, NULL);
	pthread_rwlock_init(&i->node_lock, NULL);
	/* Cuts are rare and short, and must not be starved by writers. */
	pthread_rwlockattr_t attr;
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&i->gate, &attr);
	pthread_rwlockattr_destroy(&attr);
	range_locks_init(&i->locks);
	readahead_init(&i->readahead);
	defrag_init(&i->defrag);
	i->map = grain_map_new(e->budget);
	i->set = engine_set(e, i->log_id);
	if (snapshot) {
		struct snapshot *copy = malloc(sizeof *copy);
		if (copy)
			*copy = *snapshot;
		i->snapshot = copy;
	}
	if (!i->map || !i->set || (snapshot && !i->snapshot)) {
		image_free(i);
		return NULL;
	}
	i->source = (struct fetch_source){
		.cache = e->cache,
		.store = e->pool->store,
		.set = i->set,
		.slot_bytes = grain_bytes,
		.epoch_of = epoch_of,
		.arg = i,
	};
	image_key(&e->pool->master, i->log_id, &i->source.key);
	return i;
}

uint64_t image_allocated(struct image *i)
{
	pthread_mutex_lock(&i->state_mutex);
	uint64_t grains = grain_map_allocated(i->map);
	pthread_mutex_unlock(&i->state_mutex);
	return grains;
}

void image_replace_map(struct image *i, struct grain_map *map)
{
	pthread_mutex_lock(&i->state_mutex);
	struct grain_map *old = i->map;
	i->map = map;
	pthread_mutex_unlock(&i->state_mutex);
	grain_map_free(old);
}

struct image *image_get(struct engine *e, uint64_t id)
{
	pthread_mutex_lock(&e->mutex);
	struct image *i = hash_get(e->images, id);
	if (i)
		i->refs++;
	pthread_mutex_unlock(&e->mutex);
	return i;
}

void image_put(struct image *i)
{
	struct engine *e = i->engine;

	pthread_mutex_lock(&e->mutex);
	i->refs--; /* whoever looks at it for a moment, as maintenance does all the time, does not use it */
	pthread_mutex_unlock(&e->mutex);
}

bool image_is_owned(struct engine *e, uint64_t id)
{
	struct image *i = image_get(e, id);
	bool owned = i && atomic_load(&i->log);

	if (i)
		image_put(i);
	return owned;
}

int images_get_all(struct engine *e, struct image ***images, size_t *count)
{
	size_t cursor = 0;
	struct image *i;
	uint64_t id;

	*count = 0;
	pthread_mutex_lock(&e->mutex);
	*images = malloc((hash_count(e->images) + 1) * sizeof **images);
	if (*images)
		while ((i = hash_next(e->images, &cursor, &id))) {
			i->refs++;
			(*images)[(*count)++] = i;
		}
	pthread_mutex_unlock(&e->mutex);
	return *images ? 0 : -ENOMEM;
}

void images_each(struct engine *e, void (*each)(struct image *i))
{
	struct image **images, *i;
	size_t count;

	if (images_get_all(e, &images, &count))
		return;
	uint64_t *ids = malloc((count + 1) * sizeof *ids);
	for (size_t k = 0; k < count; k++) {
		if (ids)
			ids[k] = images[k]->id;
		image_put(images[k]);
	}
	free(images);
	for (size_t k = 0; ids && k < count; k++)
		if ((i = image_get(e, ids[k])))
			each(i);
	free(ids);
}

/* A moment that nobody has open any more: what is kept for it, here and in the store. */
static void let_past_go(struct image *i)
{
	struct error err = { 0 };

	if (map_db_forget(i->engine->db, i->id, &err))
		report_warning("%s", error_text(&err));
	moment_let_go(i->engine, &i->past->b.held);
}

/* Whether the caller holds the one reference that is left of an image that nobody needs here; the engine's mutex is held. */
static bool may_go(const struct image *i, bool even_recent)
{
	return i->refs == 1 && !atomic_load(&i->log) &&
	       (even_recent || clock_monotonic_ns() - i->idle_since_ns > KEEP_NS);
}

bool image_unload(struct image *i, bool even_recent)
{
	struct engine *e = i->engine;
	struct error err = { 0 };

	if (i->loaded && !i->past && grain_map_dirty(i->map) && !atomic_load(&i->failed)) {
		pthread_mutex_lock(&i->open_mutex);
		if (image_save(i, &err))
			report_debug("%s", error_text(&err));
		pthread_mutex_unlock(&i->open_mutex);
	}
	pthread_mutex_lock(&e->mutex);
	bool go = may_go(i, even_recent);
	pthread_mutex_unlock(&e->mutex);
	/* Before others can load the image anew. It has failed, so nobody saves. */
	if (go && atomic_load(&i->rows_damaged)) {
		atomic_store(&i->rows_gone, true);
		if (map_db_forget(e->db, i->id, &err))
			report_warning("%s", error_text(&err));
	}
	pthread_mutex_lock(&e->mutex);
	go = go && may_go(i, even_recent);
	if (go)
		hash_remove(e->images, i->id);
	pthread_mutex_unlock(&e->mutex);
	if (go && i->past)
		let_past_go(i);
	if (go)
		image_free(i);
	return go;
}

/* image_unload(), of which what is only fetched ahead does not keep it. */
static bool unload_alone(struct image *i)
{
	readahead_hold(i);
	if (image_unload(i, true))
		return true;
	readahead_resume(i);
	return false;
}

/* The caller has let go of it, so that two who wait do not wait for each other. */
static bool again(struct engine *e, int rc, unsigned *tries, struct error *err)
{
	struct timespec pause = { .tv_nsec = LOOK_PAUSE_NS };

	if (rc != AGAIN_LATER)
		return rc == AGAIN;
	if (e->stop_waiting || ++*tries > LOOK_TRIES) {
		error_set(err, -EBUSY, "the image is in use here by work that does not end: see garner status");
		return false;
	}
	nanosleep(&pause, NULL);
	return true;
}

static bool has_openers(struct image *i)
{
	pthread_mutex_lock(&i->engine->mutex);
	bool any = i->opens;
	pthread_mutex_unlock(&i->engine->mutex);
	return any;
}

/* The image in memory, made if it is not there, with a reference. */
static int find_or_make(struct engine *e, uint64_t id, struct image **image, struct error *err)
{
	struct catalog_entry entry;
	struct snapshot snapshot;
	struct image *i = image_get(e, id);

	if (i) {
		*image = i;
		return 0;
	}
	if (!snapshot_get(e, id, &snapshot))
		i = image_new(e, id, snapshot.grain_bytes, &snapshot);
	else if (!catalog_get(e->catalog, id, &entry) && entry.type == NODE_FILE)
		i = image_new(e, id, entry.grain_bytes, NULL);
	else
		return error_set(err, -ENOENT, "no image %016" PRIx64, id);
	if (!i)
		return error_set(err, -ENOMEM, "out of memory");
	pthread_mutex_lock(&e->mutex);
	struct image *other = hash_get(e->images, id);
	int rc = other ? 0 : hash_put(e->images, id, i);
	if (!rc)
		(other ? other : i)->refs++;
	pthread_mutex_unlock(&e->mutex);
	if (other || rc)
		image_free(i);
	*image = other ? other : i;
	return rc;
}

/* ---- opening and closing ---- */

static int unsent(void *arg, struct segment *s)
{
	int life = atomic_load(&s->life);

	(void)arg;
	return s->local && (life == LIFE_CLOSED || life == LIFE_SEALED);
}

bool set_has_unsent(struct segment_set *set)
{
	return segment_set_each(set, unsent, NULL) == 1;
}

/* Unless it is ours and not all of it is in the store. With what is left here another host may have gone on without that, and own the
 * image: then it is no part of the log any more, is kept aside (reconcile.c), and what the store has is read. */
int image_load_to_read(struct image *i, struct error *err)
{
	struct log_view view = { 0 };
	int rc;

	if (i->snapshot && i->loaded)
		return 0;
	rc = log_view_load(i->engine->pool, i->log_id, &view, err);
	if (!rc && !i->snapshot && !i->loaded && !i->engine->options.read_only &&
	    view.writer_host == i->engine->host.id && set_has_unsent(i->set)) {
		log_view_destroy(&view);
		rc = image_acquire(i, false, err);
		return rc == -EBUSY ? error_prefix(err, rc,
		                                   "data of it that is not in the store is here, and another host is "
		                                   "about to go on without that: try again")
		                    : rc;
	}
	if (!rc && !i->snapshot)
		rc = image_same_log(i, &view, err);
	if (rc) {
		log_view_destroy(&view);
		return rc;
	}
	pthread_mutex_lock(&i->view_mutex);
	struct log_view old = i->view;
	i->view = view;
	pthread_mutex_unlock(&i->view_mutex);
	log_view_destroy(&old);
	i->followed_ns = clock_monotonic_ns();
	if (i->snapshot)
		return image_load_snapshot(i, err);
	return image_load(i, view.writer_host == i->engine->host.id, err);
}

bool image_unload_at_end(struct image *i)
{
	struct timespec pause = { .tv_nsec = LOOK_PAUSE_NS };

	for (unsigned tries = 0; tries < LOOK_TRIES && !has_openers(i); tries++) {
		if (image_unload(i, true))
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

/* One try. AGAIN, AGAIN_LATER: the image had failed, or is of an old map, and nobody has it open any more. */
static int try_open(struct engine *e, uint64_t id, unsigned flags, struct image **image, struct error *err)
{
	struct image *i;
	int rc = find_or_make(e, id, &i, err);

	if (rc)
		return rc;
	if (i->snapshot && flags & IMAGE_WRITE) {
		image_put(i);
		return error_set(err, -EROFS, "a snapshot does not change");
	}
	pthread_mutex_lock(&i->open_mutex);
	if (atomic_load(&i->failed) && atomic_load(&i->log) && !i->writers)
		image_release(i, 0, true, NULL);
	bool stopped = atomic_load(&i->failed) && !atomic_load(&i->log), fresh = !i->loaded;
	if (!stopped && !atomic_load(&i->log))
		rc = flags & IMAGE_WRITE ? image_acquire(i, false, err) : image_load_to_read(i, err);
	/* Who has it open for reading keeps it as it is, and who comes to him sees that. */
	if (rc == -ESTALE && i->loaded && !(flags & IMAGE_WRITE) && has_openers(i))
		rc = 0;
	if (!stopped && !rc && fresh && !i->snapshot)
		trace_image_loaded(i);
	if (!stopped && !rc) {
		pthread_mutex_lock(&e->mutex);
		i->opens++;
		i->writers += flags & IMAGE_WRITE ? 1 : 0;
		pthread_mutex_unlock(&e->mutex);
	}
	bool stale = rc == -ESTALE && i->loaded, unusable = stopped || stale || (rc && !i->loaded);
	pthread_mutex_unlock(&i->open_mutex);
	if (!stopped && !rc) {
		*image = i;
		return 0;
	}
	if (unusable && unload_alone(i))
		return stopped || stale ? AGAIN : rc;
	if ((stopped || stale) && !has_openers(i)) {
		image_put(i);
		return AGAIN_LATER;
	}
	image_put(i);
	if (stale)
		return error_set(
			err, -EBUSY,
			"image %016" PRIx64
			" was changed on another host in a way that who reads it here cannot follow: close it first",
			id);
	return rc ? rc
	          : error_set(err, -EIO,
	                      "image %016" PRIx64
	                      " has stopped: see garner status; open it again when all have closed it",
	                      id);
}

int image_open(struct engine *e, uint64_t id, unsigned flags, struct image **image, struct error *err)
{
	unsigned tries = 0;
	int rc;

	if (flags & IMAGE_WRITE && engine_writable(e, err))
		return -EROFS;
	do
		rc = try_open(e, id, flags, image, err);
	while (again(e, rc, &tries, err));
	return rc == AGAIN_LATER ? -EBUSY : rc;
}

void image_close(struct image *i, unsigned flags)
{
	struct engine *e = i->engine;

	pthread_mutex_lock(&e->mutex);
	i->opens--;
	if (flags & IMAGE_WRITE) {
		i->writers--;
		i->idle_since_ns = clock_monotonic_ns();
	}
	if (--i->refs == 0)
		i->idle_since_ns = clock_monotonic_ns();
	bool gone = i->unlinked && !i->refs;
	pthread_mutex_unlock(&e->mutex);
	if (gone)
		engine_kick(e);
}

int image_open_past(struct engine *e, const struct beginning *b, struct image **image, struct error *err)
{
	struct image *i = image_new(e, b->held.info.id, b->held.grain_bytes, &b->held);
	struct image_past *past = calloc(1, sizeof *past);
	int rc = i && past ? 0 : -ENOMEM;

	if (!rc) {
		past->b = *b;
		i->past = past;
		i->refs = 1;
		pthread_mutex_lock(&e->mutex);
		rc = hash_put(e->images, i->id, i);
		pthread_mutex_unlock(&e->mutex);
	} else {
		free(past);
	}
	if (rc) {
		if (i)
			image_free(i);
		moment_let_go(e, &b->held);
		return error_set(err, rc, "out of memory");
	}
	rc = image_open(e, i->id, IMAGE_READ, image, err);
	/* One that cannot be loaded leaves memory as one does that was closed. */
	image_put(i);
	return rc;
}

/* One try. AGAIN, AGAIN_LATER: the image is in memory, as of its last reading, and nobody has it open. */
static int try_takeover(struct engine *e, uint64_t id, struct error *err)
{
	struct image *i;
	int rc = find_or_make(e, id, &i, err);

	if (rc)
		return rc;
	if (i->snapshot) {
		image_put(i);
		return error_set(err, -EROFS, "a snapshot has no owner");
	}
	pthread_mutex_lock(&i->open_mutex);
	bool used = i->loaded && (!atomic_load(&i->log) || atomic_load(&i->failed)), fresh = !i->loaded;
	if (atomic_load(&i->log) && !atomic_load(&i->failed))
		rc = error_set(err, -EALREADY, "this host is the owner already");
	else if (!used)
		rc = image_acquire(i, true, err);
	if (!rc && !used && fresh)
		trace_image_loaded(i);
	pthread_mutex_unlock(&i->open_mutex);
	if (used && unload_alone(i))
		return AGAIN;
	if (used)
		rc = has_openers(i) ? error_set(err, -EBUSY, "the image is open here: close it first") : AGAIN_LATER;
	image_put(i);
	return rc;
}

int engine_takeover(struct engine *e, uint64_t id, struct error *err)
{
	unsigned tries = 0;
	int rc;

	if (engine_writable(e, err))
		return -EROFS;
	do
		rc = try_takeover(e, id, err);
	while (again(e, rc, &tries, err));
	return rc == AGAIN_LATER ? -EBUSY : rc;
}

/* ---- after a crash ---- */

static int ignore(void *arg, const char *path, const struct catalog_entry *entry)
{
	(void)arg;
	(void)path;
	(void)entry;
	return 0;
}

/* Opening goes by id, and the catalog knows the ids that it has met. 1: it is no image of the pool any more. */
static int meet_image(struct engine *e, uint64_t id, struct error *err)
{
	struct catalog_entry entry;
	int rc;

	if (!catalog_get(e->catalog, id, &entry))
		return 0;
	rc = catalog_walk(e->catalog, ignore, NULL, err);
	if (rc)
		return rc;
	return catalog_get(e->catalog, id, &entry) ? 1 : 0;
}

static void recover_image(struct engine *e, uint64_t id, const char *dir)
{
	struct error err = { 0 };
	struct image *i;
	int rc = meet_image(e, id, &err);

	/* Not that it was deleted: its entry may be damaged, or not be listed yet. */
	if (rc == 1) {
		report_warning("image %016" PRIx64
		               " has data here that is not in the store, kept in %s, and no name in the "
		               "pool: only if it was deleted, remove that directory to give it up",
		               id, dir);
		return;
	}
	if (!rc)
		rc = image_open(e, id, IMAGE_READ | IMAGE_WRITE, &i, &err);
	if (rc)
		report_warning("image %016" PRIx64 " has data here that is not in the store, kept in %s: %s", id, dir,
		               error_text(&err));
	else
		image_close(i, IMAGE_READ | IMAGE_WRITE);
}

void engine_recover_images(struct engine *e)
{
	size_t cursor = 0, count = 0;
	uint64_t id, *ids;
	struct segment_set *set;

	pthread_mutex_lock(&e->mutex);
	ids = malloc((hash_count(e->sets) + 1) * sizeof *ids);
	while (ids && (set = hash_next(e->sets, &cursor, &id)))
		if (set_has_unsent(set))
			ids[count++] = id;
	pthread_mutex_unlock(&e->mutex);
	for (size_t k = 0; k < count; k++) {
		pthread_mutex_lock(&e->mutex);
		set = hash_get(e->deletions, ids[k]) ? NULL : hash_get(e->sets, ids[k]);
		pthread_mutex_unlock(&e->mutex);
		if (set)
			recover_image(e, ids[k], segment_set_dir(set));
	}
	free(ids);
}
