/* SPDX-License-Identifier: GPL-3.0-only */
/* follow.c: an image that is open here for reading only goes with what its owner, another host, has put into the store. */
#include "image/private.h"

#include "base/clock.h"
#include "image/readahead.h"

#include <inttypes.h>

#define FOLLOW_NS seconds_ns(5)

/* Readers are not kept off: replaying the log changes the map from one moment of the disk to the next. */
static void follow_job(void *arg)
{
	struct image *i = arg;
	struct error err = { 0 };
	int rc = 0;

	pthread_mutex_lock(&i->open_mutex);
	if (i->loaded && !atomic_load(&i->log) && !atomic_load(&i->failed))
		rc = image_load_to_read(i, &err);
	i->followed_ns = clock_monotonic_ns();
	i->following = false;
	pthread_mutex_unlock(&i->open_mutex);
	if (rc)
		report_debug("image %016" PRIx64 " stays as it was read before: %s", i->id, error_text(&err));
	readahead_end(i);
}

void image_follow(struct image *i)
{
	if (!i->loaded || i->snapshot || atomic_load(&i->log) || i->following ||
	    clock_monotonic_ns() - i->followed_ns < FOLLOW_NS)
		return;
	pthread_mutex_lock(&i->engine->mutex);
	bool read = i->refs > 1; /* besides the caller's */
	pthread_mutex_unlock(&i->engine->mutex);
	if (!read || !readahead_begin(i))
		return;
	i->following = !executor_run(i->engine->prefetch, follow_job, i);
	if (!i->following)
		readahead_end(i);
}
