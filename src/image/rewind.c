/* SPDX-License-Identifier: GPL-3.0-only */
/* rewind.c: new images that begin as another one was at some moment, and images that are so again themselves.
 *
 * The moment's map is that of the newest checkpoint before it, and the records after that: a new image begins with both, as
 * layers.h says, so that making it costs the same for any size. The segments of those records are held whole.
 */
#include "image/past.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

int engine_rewind(struct engine *e, uint64_t image, struct image_moment *m, uint64_t dir, const char *name,
                  struct node_attr *attr, struct error *err)
{
	struct beginning b = { 0 };
	struct catalog_entry entry;
	uint64_t id = catalog_new_id();
	int rc = engine_name_free(e, dir, name, err);

	if (!rc && (catalog_get(e->catalog, image, &entry) || entry.type != NODE_FILE))
		rc = error_set(err, -ENOENT, "no image %016" PRIx64, image);
	if (rc)
		return rc;
	rc = past_hold(e, &entry, m, id, &b, err);
	return rc ? rc : image_begin(e, &b, &entry, dir, name, id, attr, err);
}

/* ---- in place ---------------------------------------------------------------------------------------------------- */

/* How long somebody may just be closing it, or cleaning. */
#define ALONE_TRIES 1000
#define ALONE_PAUSE_NS 10000000
#define REWIND_DEADLINE_NS seconds_ns(600)

/* Whether only the caller has it open; the open_mutex is held, but not all the while, and nothing is fetched ahead. Cleaning, too, has it open
 * while it runs, and needs that mutex to come to an end. */
static bool is_alone(struct image *i)
{
	struct timespec pause = { .tv_nsec = ALONE_PAUSE_NS };

	for (int tries = 0; tries < ALONE_TRIES; tries++) {
		pthread_mutex_lock(&i->engine->mutex);
		bool alone = i->opens == 1;
		pthread_mutex_unlock(&i->engine->mutex);
		if (alone)
			return true;
		pthread_mutex_unlock(&i->open_mutex);
		nanosleep(&pause, NULL);
		pthread_mutex_lock(&i->open_mutex);
	}
	return false;
}

/* Its map is that of the moment from here on: in memory, and then by a checkpoint, in segment `next`, as the moment is held for it. The
 * open_mutex is held, and it has been released. */
static int take_over_past(struct image *i, const struct beginning *b, segment_no_t next, struct error *err)
{
	struct grain_map *map = grain_map_new(i->engine->budget);
	int rc;

	if (!map)
		return error_set(err, -ENOMEM, "out of memory");
	i->loaded = false;
	image_replace_map(i, map);
	i->rewound = b;
	rc = image_acquire(i, false, err);
	i->rewound = NULL;
	if (!rc && i->last + 1 != next)
		rc = error_set(err, -EAGAIN, "another host has written it meanwhile: try again");
	if (!rc) {
		i->remapped = i->ahead = true;
		atomic_store(&i->mtime_ns, clock_wall_ns());
		rc = image_checkpoint(i, err);
	}
	if (!rc)
		return 0;
	/* What is in memory is neither: whoever opens it next begins with what is durable. */
	atomic_store(&i->rows_damaged, true);
	image_fail(i, "failed", -EIO, "it could not be rewound: %s", error_text(err));
	return rc;
}

/* What `b` begins as is held for the segment `next`. The image is nobody's: another host may have cleaned it, or deleted the snapshot, since
 * it was looked at, and not have seen the hold. */
static int hold_rewound(struct past *p, const struct beginning *b, const struct snapshot *snapshot, segment_no_t next,
                        struct error *err)
{
	struct snapshot held = b->held;
	int rc = moment_hold_rewound(p->engine, &held, next, err);

	if (rc)
		return rc;
	rc = snapshot ? snapshot_still_there(p->engine->pool, snapshot, err) : past_still_there(p, err);
	if (rc)
		moment_let_go(p->engine, &held);
	return rc;
}

/* Nobody else has the image open, and the open_mutex is held. `snapshot`: to that, or NULL. */
static int rewind_alone(struct image *i, const struct catalog_entry *entry, const struct snapshot *snapshot,
                        struct image_moment *m, struct image_moment *now, struct error *err)
{
	struct past p = { .engine = i->engine };
	struct beginning b = { 0 };
	int rc = image_release(i, clock_monotonic_ns() + REWIND_DEADLINE_NS, false, err);

	if (!rc)
		rc = past_open(i->engine, entry, &p, err);
	if (!rc) {
		*now = (struct image_moment){ .segment = p.end + 1 };
		rc = past_find(&p, now, err);
	}
	if (!rc && snapshot) {
		b.held = *snapshot;
		*m = (struct image_moment){ .segment = snapshot->segment, .time_ns = snapshot->info.time_ns };
	} else if (!rc) {
		rc = past_find(&p, m, err);
		rc = rc ? rc : past_beginning(&p, m, &b, err);
	}
	segment_no_t next = p.end + 1;
	if (!rc)
		rc = hold_rewound(&p, &b, snapshot, next, err);
	past_close(&p);
	return rc ? rc : take_over_past(i, &b, next, err);
}

int engine_rewind_in_place(struct engine *e, uint64_t image, struct image_moment *m, struct image_moment *now,
                           struct error *err)
{
	struct catalog_entry entry;
	struct snapshot snapshot;
	struct image *i;
	bool is_snapshot = !snapshot_get(e, image, &snapshot);
	int rc = 0;

	if (catalog_get(e->catalog, is_snapshot ? snapshot.image : image, &entry) || entry.type != NODE_FILE)
		return error_set(err, -ENOENT, "no image %016" PRIx64, image);
	/* Its owner knows where its log ends. */
	rc = image_open(e, entry.id, IMAGE_READ | IMAGE_WRITE, &i, err);
	if (rc)
		return rc;
	readahead_hold(i);
	pthread_mutex_lock(&i->open_mutex);
	if (!is_alone(i))
		rc = error_set(err, -EBUSY, "the image is in use: close it first, or rewind to a new image (--as)");
	else if (!atomic_load(&i->log) || atomic_load(&i->failed))
		rc = error_set(err, -EIO, "the image has stopped: see garner status");
	if (!rc)
		rc = rewind_alone(i, &entry, is_snapshot ? &snapshot : NULL, m, now, err);
	pthread_mutex_unlock(&i->open_mutex);
	readahead_resume(i);
	image_close(i, IMAGE_READ | IMAGE_WRITE);
	return rc ? rc : engine_flush(e, entry.id, NULL, NULL, err);
}
