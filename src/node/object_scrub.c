/* SPDX-License-Identifier: GPL-3.0-only */
/* object_scrub.c: reads every object of a store again and again, slowly. */
#include "node/object_scrub.h"

#include "base/clock.h"
#include "node/object_store_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAGE_ROWS 256u
#define NS_PER_S UINT64_C(1000000000)

struct object_scrub {
	struct object_store *s;
	object_scrub_found_fn *found;
	void *arg;
	uint64_t pause_s;
	pthread_t thread;
	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t changed;
	uint64_t rate;
	bool stopping, now;
	struct object_scrub_stats stats;
};

/* ---- one object ---- */

/* Counts in `sum`. Returns the bytes that were read. */
static uint64_t scrub_object(struct object_store *s, const struct object_entry *entry, object_scrub_found_fn *found,
                             void *arg, struct object_scrub_stats *sum, int *error)
{
	struct object_meta meta = entry->meta;
	int rc = store_verify(s, entry->name, &meta);

	sum->objects++;
	sum->pass_objects++;
	if (rc == -EBADMSG) {
		sum->damaged++;
		if (found)
			found(arg, entry->name, &meta);
	} else if (rc < 0 && rc != -ENOENT) { /* one that was forgotten meanwhile is no failure */
		sum->failed++;
		if (error && !*error)
			*error = rc;
	}
	if (rc < 0)
		return 0;
	sum->bytes += meta.length;
	return meta.length;
}

/* ---- a thread ---- */

/* Waits until the time is there, or less when something changed that it waits for. With the mutex. */
static void wait_ns(struct object_scrub *scrub, uint64_t ns)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	uint64_t at = (uint64_t)until.tv_nsec + ns % NS_PER_S;
	until.tv_sec += (time_t)(ns / NS_PER_S + at / NS_PER_S);
	until.tv_nsec = (long)(at % NS_PER_S);
	while (!scrub->stopping && !scrub->now &&
	       pthread_cond_timedwait(&scrub->changed, &scrub->mutex, &until) != ETIMEDOUT)
		;
}

/* Waits as long as these bytes may take. False when it is over. */
static bool keep_rate(struct object_scrub *scrub, const struct object_scrub_stats *sum, uint64_t bytes,
                      uint64_t took_ns)
{
	pthread_mutex_lock(&scrub->mutex);
	scrub->stats = *sum;
	scrub->now = false; /* it is at it */
	uint64_t rate = scrub->rate;
	uint64_t due = rate ? (uint64_t)((double)bytes * (double)NS_PER_S / (double)rate) : 0;
	if (due > took_ns)
		wait_ns(scrub, due - took_ns);
	bool on = !scrub->stopping;
	pthread_mutex_unlock(&scrub->mutex);
	return on;
}

/* One pass over everything. False when it was ended before. */
static bool pass(struct object_scrub *scrub, struct object_entry *page, struct object_scrub_stats *sum)
{
	char after[OBJECT_NAME_MAX + 1] = "";
	bool complete = false;

	sum->pass_objects = 0;
	while (!complete) {
		int n = store_page(scrub->s, -1, NULL, after, page, PAGE_ROWS, &complete);
		if (n < 0)
			return false;
		for (int i = 0; i < n; i++) {
			uint64_t began = clock_monotonic_ns();
			uint64_t bytes = scrub_object(scrub->s, &page[i], scrub->found, scrub->arg, sum, NULL);
			if (!keep_rate(scrub, sum, bytes, clock_monotonic_ns() - began))
				return false;
		}
		if (n > 0)
			memcpy(after, page[n - 1].name, sizeof after);
	}
	sum->passes++;
	sum->last_complete_ns = clock_wall_ns();
	return true;
}

static void *scrub_main(void *arg)
{
	struct object_scrub *scrub = arg;
	struct object_entry *page = malloc(PAGE_ROWS * sizeof *page);
	struct object_scrub_stats sum = { 0 };

	pthread_mutex_lock(&scrub->mutex);
	while (!scrub->stopping) {
		scrub->now = false;
		sum.running = true;
		scrub->stats = sum;
		pthread_mutex_unlock(&scrub->mutex);
		if (page)
			(void)pass(scrub, page, &sum);
		pthread_mutex_lock(&scrub->mutex);
		sum.running = false;
		scrub->stats = sum;
		/* At least a little, so that a store that cannot be read is not asked without end. */
		wait_ns(scrub, scrub->pause_s ? scrub->pause_s * NS_PER_S : NS_PER_S / 10);
	}
	pthread_mutex_unlock(&scrub->mutex);
	free(page);
	return NULL;
}

int object_scrub_start(struct object_store *s, uint64_t rate, uint64_t pause_s, object_scrub_found_fn *found, void *arg,
                       struct object_scrub **out)
{
	struct object_scrub *scrub = calloc(1, sizeof *scrub);

	if (!scrub)
		return -ENOMEM;
	scrub->s = s;
	scrub->rate = rate;
	scrub->pause_s = pause_s;
	scrub->found = found;
	scrub->arg = arg;
	pthread_mutex_init(&scrub->mutex, NULL);
	clock_cond_init(&scrub->changed);
	int rc = pthread_create(&scrub->thread, NULL, scrub_main, scrub);
	if (rc) {
		pthread_cond_destroy(&scrub->changed);
		pthread_mutex_destroy(&scrub->mutex);
		free(scrub);
		return -rc;
	}
	*out = scrub;
	return 0;
}

void object_scrub_stop(struct object_scrub *scrub)
{
	if (!scrub)
		return;
	pthread_mutex_lock(&scrub->mutex);
	scrub->stopping = true;
	pthread_cond_broadcast(&scrub->changed);
	pthread_mutex_unlock(&scrub->mutex);
	pthread_join(scrub->thread, NULL);
	pthread_cond_destroy(&scrub->changed);
	pthread_mutex_destroy(&scrub->mutex);
	free(scrub);
}

void object_scrub_set_rate(struct object_scrub *scrub, uint64_t rate)
{
	pthread_mutex_lock(&scrub->mutex);
	scrub->rate = rate;
	pthread_mutex_unlock(&scrub->mutex);
}

void object_scrub_now(struct object_scrub *scrub)
{
	pthread_mutex_lock(&scrub->mutex);
	scrub->now = true;
	pthread_cond_broadcast(&scrub->changed);
	pthread_mutex_unlock(&scrub->mutex);
}

void object_scrub_stats(struct object_scrub *scrub, struct object_scrub_stats *stats)
{
	pthread_mutex_lock(&scrub->mutex);
	*stats = scrub->stats;
	pthread_mutex_unlock(&scrub->mutex);
}

int object_scrub_pass(struct object_store *s, object_scrub_found_fn *found, void *arg, struct object_scrub_stats *stats)
{
	struct object_entry *page = malloc(PAGE_ROWS * sizeof *page);
	char after[OBJECT_NAME_MAX + 1] = "";
	bool complete = false;
	int rc = page ? 0 : -ENOMEM, error = 0;

	memset(stats, 0, sizeof *stats);
	while (rc >= 0 && !complete) {
		rc = store_page(s, -1, NULL, after, page, PAGE_ROWS, &complete);
		for (int i = 0; i < rc; i++)
			(void)scrub_object(s, &page[i], found, arg, stats, &error);
		if (rc > 0)
			memcpy(after, page[rc - 1].name, sizeof after);
	}
	free(page);
	if (rc < 0)
		return rc;
	stats->passes = 1;
	stats->last_complete_ns = clock_wall_ns();
	return error;
}
