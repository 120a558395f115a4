/* SPDX-License-Identifier: GPL-3.0-only */
/* log_end.c: where a log ends in the store: probing for the last object of a dense sequence, many at a time.
 *
 * The end decides what an image is after a take-over, so it comes from asking for names, never from a listing alone. A
 * listing only says where to begin.
 */
#include "image/clean.h"
#include "image/epoch_private.h"
#include "image/flight.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBE_BATCH_MAX 32u
#define REMOVE_BATCHES_MAX 2u /* under way at once */

/* ---- probing ----------------------------------------------------------------------------------------------------- */

struct probe {
	struct flight *flight;
	bool exists; /* written before flight_end() */
};

static void probed(void *arg, int status, uint64_t length, const struct error *err)
{
	struct probe *probe = arg;

	(void)length;
	probe->exists = status == 0;
	flight_end(probe->flight, status == -ENOENT ? 0 : status, err);
}

/* Asks for first..first+count-1; *found: how many of them exist before the first that does not. */
static int probe_batch(struct store *s, const struct probe_sequence *sequence, uint64_t first, unsigned count,
                       unsigned *found, struct error *err)
{
	struct probe probes[PROBE_BATCH_MAX + 1];
	char key[STORE_KEY_MAX + 1];
	struct flight flight;
	int rc = flight_init(&flight);

	if (rc)
		return rc;
	for (unsigned i = 0; i < count; i++) {
		probes[i] = (struct probe){ .flight = &flight };
		sequence->key(sequence->arg, first + i, key);
		flight_begin(&flight, PROBE_BATCH_MAX + 1);
		store_head(s, key, probed, &probes[i]);
	}
	rc = flight_wait(&flight, err);
	flight_destroy(&flight);
	for (*found = 0; *found < count && probes[*found].exists; (*found)++)
		;
	return rc;
}

int probe_run(struct store *s, const struct probe_sequence *sequence, uint64_t from, uint64_t *last, struct error *err)
{
	uint64_t first = from ? from : 1;
	unsigned count = from ? 2 : 1, next = 2, found;

	for (;;) {
		int rc = probe_batch(s, sequence, first, count, &found, err);

		if (rc)
			return rc;
		if (found < count)
			break;
		first += count;
		count = next;
		next = next < PROBE_BATCH_MAX ? next * 2 : PROBE_BATCH_MAX;
	}
	*last = first + found - 1;
	if (*last < from) {
		char key[STORE_KEY_MAX + 1];
		sequence->key(sequence->arg, from, key);
		return error_set(err, -ENOENT, "%s: no such object", key);
	}
	return 0;
}

/* ---- segments ---------------------------------------------------------------------------------------------------- */

void segment_key_format(uint64_t image, segment_no_t number, uint64_t epoch, char out[STORE_KEY_MAX + 1])
{
	snprintf(out, STORE_KEY_MAX + 1, "images/%016" PRIx64 "/segments/%016" PRIx64 "-%016" PRIx64, image, number,
	         epoch);
}

struct log_names {
	uint64_t image;
	const struct log_view *view;
};

static void key_of_segment(const void *arg, uint64_t number, char key[STORE_KEY_MAX + 1])
{
	const struct log_names *names = arg;

	segment_key_format(names->image, number, log_view_epoch_of(names->view, number), key);
}

int log_find_end(struct pool *p, uint64_t image, const struct log_view *view, segment_no_t hint, segment_no_t *end,
                 struct error *err)
{
	struct log_names names = { .image = image, .view = view };
	struct probe_sequence segments = { .key = key_of_segment, .arg = &names };
	const struct term *last;
	int rc;

	*end = 0;
	if (view->term_count == 0) {
		if (hint)
			return error_set(err, -ENOENT, "segment %" PRIu64 " of an image without a term", hint);
		return 0;
	}
	rc = probe_run(p->store, &segments, hint, end, err);
	if (rc)
		return rc;
	/* A term began after segments that were there. Should one of them be gone, the log must not be taken for a shorter one. */
	last = &view->terms[view->term_count - 1];
	if (*end + 1 < last->first)
		return error_set(err, -EBADMSG,
		                 "segment %" PRIu64 " of image %016" PRIx64
		                 " is missing in the store, though epoch %" PRIu64
		                 " began after it, at segment %" PRIu64,
		                 *end + 1, image, last->epoch, last->first);
	return 0;
}

/* "images/<id>/segments/<number>-<epoch>" */
static bool segment_key_parse(const char *key, size_t prefix, segment_no_t *number, uint64_t *epoch)
{
	char again[STORE_KEY_MAX + 1];
	uint64_t image;

	if (sscanf(key, "images/%16" SCNx64 "/segments/%16" SCNx64 "-%16" SCNx64, &image, number, epoch) != 3)
		return false;
	segment_key_format(image, *number, *epoch, again);
	return strlen(key) > prefix && strcmp(key, again) == 0;
}

struct run {
	const struct log_view *view;
	size_t prefix;
	segment_no_t last;
};

static int extend_run(void *arg, const struct store_entry *entry)
{
	struct run *run = arg;
	segment_no_t number;
	uint64_t epoch;

	if (!segment_key_parse(entry->key, run->prefix, &number, &epoch) ||
	    epoch != log_view_epoch_of(run->view, number) || number <= run->last)
		return 0;
	if (number > run->last + 1)
		return 1;
	run->last = number;
	return 0;
}

int log_find_by_listing(struct pool *p, uint64_t image, const struct log_view *view, segment_no_t *last,
                        struct error *err)
{
	char prefix[STORE_KEY_MAX + 1];
	struct run run = { .view = view };
	struct cleaned cleaned = { 0 };
	int rc = cleaned_load(p, image, &cleaned, err);

	if (rc && rc != -ENOENT)
		return rc;
	/* All of them up to there were in the store once. */
	run.last = cleaned.segment;
	run.prefix = (size_t)snprintf(prefix, sizeof prefix, "images/%016" PRIx64 "/segments/", image);
	rc = store_list_each(p->store, prefix, NULL, extend_run, &run, err);
	*last = run.last;
	return rc < 0 ? rc : 0;
}

/* ---- removing everything ----------------------------------------------------------------------------------------- */

struct removal {
	struct store *store;
	struct flight flight;
	const char *keep; /* keys that begin so stay; NULL: none */
	const char *keys[STORE_REMOVE_MANY_MAX];
	char text[STORE_REMOVE_MANY_MAX][STORE_KEY_MAX + 1]; /* of `keys` */
	size_t count;
};

static void removed(void *arg, int status, const struct error *err)
{
	flight_end(arg, status, err);
}

/* Gives those that were gathered to the store. */
static void remove_gathered(struct removal *r)
{
	if (r->count == 0)
		return;
	flight_begin(&r->flight, REMOVE_BATCHES_MAX);
	store_remove_many(r->store, r->keys, r->count, removed, &r->flight);
	r->count = 0;
}

static int remove_one(void *arg, const struct store_entry *entry)
{
	struct removal *r = arg;

	if (r->keep && strncmp(entry->key, r->keep, strlen(r->keep)) == 0)
		return 0;
	memcpy(r->text[r->count], entry->key, sizeof entry->key);
	r->keys[r->count] = r->text[r->count];
	if (++r->count == STORE_REMOVE_MANY_MAX)
		remove_gathered(r);
	return 0;
}

static int remove_below(struct store *s, const char *prefix, const char *keep, struct error *err)
{
	struct removal *r = malloc(sizeof *r);
	int rc, listed;

	if (!r)
		return error_set(err, -ENOMEM, "out of memory while removing what is below %s", prefix);
	r->store = s;
	r->keep = keep;
	r->count = 0;
	rc = flight_init(&r->flight);
	if (rc)
		goto out;
	listed = store_list_each(s, prefix, NULL, remove_one, r, err);
	remove_gathered(r);
	rc = flight_wait(&r->flight, listed ? NULL : err);
	flight_destroy(&r->flight);
	if (listed)
		rc = listed;
out:
	free(r);
	return rc;
}

int image_objects_remove(struct pool *p, uint64_t image, struct error *err)
{
	char all[STORE_KEY_MAX + 1], segments[STORE_KEY_MAX + 1], epochs[STORE_KEY_MAX + 1];
	int rc;

	snprintf(all, sizeof all, "images/%016" PRIx64 "/", image);
	snprintf(segments, sizeof segments, "images/%016" PRIx64 "/segments/", image);
	snprintf(epochs, sizeof epochs, "images/%016" PRIx64 "/epochs/", image);
	rc = remove_below(p->store, segments, NULL, err);
	if (!rc)
		rc = remove_below(p->store, all, epochs, err);
	if (!rc)
		rc = remove_below(p->store, all, NULL, err);
	return rc;
}

int log_find_end_from(struct pool *p, uint64_t image, const struct log_view *view, segment_no_t hint, segment_no_t *end,
                      struct error *err)
{
	int rc = hint ? log_find_end(p, image, view, hint, end, err) : -ENOENT;

	if (rc != -ENOENT)
		return rc;
	rc = log_find_by_listing(p, image, view, &hint, err);
	return rc ? rc : log_find_end(p, image, view, hint, end, err);
}
