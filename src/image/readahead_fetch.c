/* SPDX-License-Identifier: GPL-3.0-only */
/* readahead_fetch.c: what lies in a part of the disk comes, through the map, and so does what leads to it. */
#include "image/readahead.h"

#include "image/private.h"

#include <errno.h>
#include <stdlib.h>

#define GRAINS_AT_ONCE 512u

/* ---- data ---- */

struct ahead {
	struct fetch_op fetch; /* first */
	uint64_t asked, at;
	readahead_done_fn *done;
	void *arg;
};

static void ahead_complete(struct fetch_op *fetch)
{
	struct ahead *a = (struct ahead *)fetch;

	a->done(a->arg, a->asked, a->at, atomic_load(&fetch->result));
	free(a);
}

/* Chunks that lie next to each other in one segment. */
struct chunk_run {
	const struct fetch_source *source;
	segment_no_t number;
	uint32_t first, count;
};

/* Asks for the chunks of the run that are neither here nor on their way, and returns their bytes. */
static uint64_t ask_for_run(struct fetch_op *fetch, const struct chunk_run *run)
{
	if (!run->count)
		return 0;
	return fetch_ahead(run->source, fetch, run->number, run->first, run->count) * (uint64_t)CHUNK_BYTES;
}

/* Adds a grain's chunk to the run; one that it does not go on with, or that does not fit into `room`, is asked for first.
 * False when there is no room then. */
static bool add_grain(struct image *i, struct fetch_op *fetch, struct chunk_run *run, map_entry_t entry, uint64_t room,
                      uint64_t *asked)
{
	const struct fetch_source *source = image_source(i, entry);
	segment_no_t number = map_entry_segment(entry);
	uint32_t chunk = (uint32_t)((uint64_t)map_entry_slot(entry) * i->grain_bytes / CHUNK_BYTES);
	bool near = run->count && run->source == source && run->number == number && chunk >= run->first;

	if (near && chunk < run->first + run->count)
		return true;
	if (near && chunk == run->first + run->count && *asked + (uint64_t)run->count * CHUNK_BYTES < room) {
		run->count++;
		return true;
	}
	*asked += ask_for_run(fetch, run);
	run->count = 0;
	if (*asked >= room)
		return false;
	*run = (struct chunk_run){ source, number, chunk, source != NULL };
	return true;
}

/* The next entries of the map from `at`; how many grains they are. */
static int look_up(struct image *i, uint64_t at, uint64_t end, map_entry_t *entries, size_t *count)
{
	grain_no_t first = grain_of(i, at);

	*count = (size_t)(grain_of(i, end - 1) - first + 1);
	if (*count > GRAINS_AT_ONCE)
		*count = GRAINS_AT_ONCE;
	return image_look_up_wait(i, first, *count, entries, NULL);
}

int readahead_fetch(struct image *i, uint64_t *at, uint64_t end, uint64_t room, uint64_t *asked,
                    readahead_done_fn *done, void *arg)
{
	map_entry_t entries[GRAINS_AT_ONCE];
	struct chunk_run run = { 0 };
	struct ahead *a = malloc(sizeof *a);
	uint64_t size = atomic_load(&i->size);
	size_t count;
	int rc = a ? 0 : -ENOMEM;

	*asked = 0;
	if (!a)
		return rc;
	a->done = done;
	a->arg = arg;
	fetch_op_begin(&a->fetch, ahead_complete);
	if (end > size)
		end = size;
	while (!rc && *at < end && *asked < room) {
		rc = look_up(i, *at, end, entries, &count);
		for (size_t g = 0; !rc && g < count; g++) {
			if (entries[g] && !add_grain(i, &a->fetch, &run, entries[g], room, asked))
				break;
			*at = (grain_of(i, *at) + 1) << i->grain_shift;
		}
	}
	*asked += ask_for_run(&a->fetch, &run);
	a->asked = *asked;
	a->at = *at;
	if (fetch_op_end(&a->fetch))
		ahead_complete(&a->fetch);
	return 0;
}

/* ---- the way there ---- */

struct tables {
	struct fetch_op fetch; /* first */
	struct image *image;   /* readahead_begin() */
};

static void tables_here(struct fetch_op *fetch)
{
	struct tables *t = (struct tables *)fetch;

	readahead_end(t->image);
	free(t);
}

int readahead_find_way(struct image *i, uint64_t at, uint64_t end)
{
	map_entry_t entries[GRAINS_AT_ONCE];
	const struct fetch_source *source = NULL;
	segment_no_t number = 0;
	struct tables *t = malloc(sizeof *t);
	uint64_t size = atomic_load(&i->size);
	size_t count;
	int rc = 0;

	if (!t || !readahead_begin(i)) {
		free(t);
		return -ESHUTDOWN;
	}
	if (end > size)
		end = size;
	t->image = i;
	fetch_op_begin(&t->fetch, tables_here);
	for (; !rc && at < end; at = (grain_of(i, at) + count) << i->grain_shift) {
		rc = look_up(i, at, end, entries, &count);
		for (size_t g = 0; !rc && g < count; g++) {
			const struct fetch_source *from = entries[g] ? image_source(i, entries[g]) : NULL;
			if (!from || (from == source && map_entry_segment(entries[g]) == number))
				continue;
			source = from;
			number = map_entry_segment(entries[g]);
			fetch_table(source, &t->fetch, number);
		}
	}
	if (fetch_op_end(&t->fetch))
		tables_here(&t->fetch);
	return rc;
}
