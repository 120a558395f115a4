/* SPDX-License-Identifier: GPL-3.0-only */
/* flatten.c: an image that leads into the logs of others gets what it needs of them into its own, and lets them go.
 *
 * The map of a checkpoint is walked. What lies in another log is appended to the image's own as a move, which loses against whatever was written
 * meanwhile; nodes that lie there are marked as changed. Then there is a checkpoint again, and it is looked whether anything was left.
 *
 * Older moments lead to the other logs on and on: history begins anew with the last checkpoint, which is said like a cleaning, before they
 * are let go.
 */
#include "image/private.h"

#include "image/clean.h"
#include "image/flight.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PASSES 8
#define RUN_BYTES ((size_t)1 << 20)
#define PROGRESS_NODES 64
#define PAUSE_MS 20

struct flatten {
	struct image *image;
	bool (*progress)(void *arg, uint64_t bytes_left);
	void *arg;
	struct error *err;
	uint64_t left;        /* bytes that are mapped and were not walked yet */
	uint64_t nodes;       /* read in this pass */
	segment_no_t segment; /* of the last checkpoint */
	bool found;           /* something in another log, in this pass */
	bool parted;          /* its list of layers may be gone: there is no way back */
	uint8_t *bytes;       /* RUN_BYTES */
	map_entry_t entries[MAP_LEVELS][MAP_FANOUT];
};

static void pause_a_little(void)
{
	struct timespec t = { .tv_nsec = PAUSE_MS * 1000000l };

	nanosleep(&t, NULL);
}

/* Uploads must keep up: guests write, too. */
static int go_on(struct flatten *f)
{
	struct engine *e = f->image->engine;

	do {
		if (atomic_load(&f->image->failed))
			return error_set(f->err, -EIO, "the image has stopped: see garner status");
		if (engine_is_stopping(e) || (f->progress && !f->progress(f->arg, f->left)))
			return error_set(f->err, -EINTR, "stopped; what was done is done");
		if (atomic_load(&e->unsent) <= e->options.dirty_limit / 2)
			return 0;
		pause_a_little();
	} while (true);
}

/* ---- grains ------------------------------------------------------------------------------------------------------ */

struct reading {
	struct fetch_op op; /* first */
	struct flight flight;
};

static void read_complete(struct fetch_op *op)
{
	flight_end(&((struct reading *)op)->flight, 0, NULL);
}

/* Reads where these entries lead, all at once. */
static int read_grains(struct flatten *f, const map_entry_t *entries, size_t count)
{
	struct image *i = f->image;
	struct reading r;
	int rc = flight_init(&r.flight);

	if (rc)
		return rc;
	flight_begin(&r.flight, 1);
	fetch_op_begin(&r.op, read_complete);
	for (size_t k = 0; k < count; k++)
		image_fetch(i, &r.op, entries[k], 0, f->bytes + (k << i->grain_shift), i->grain_bytes);
	if (fetch_op_end(&r.op))
		flight_end(&r.flight, 0, NULL);
	(void)flight_wait(&r.flight, NULL);
	flight_destroy(&r.flight);
	rc = atomic_load(&r.op.result);
	return rc ? error_set(f->err, rc, "cannot read what the image is a clone of: %s", strerror(-rc)) : 0;
}

static int move_run(struct flatten *f, grain_no_t first, const map_entry_t *entries, size_t count)
{
	const void *data[MOVE_GRAINS_MAX];
	int rc = read_grains(f, entries, count);

	for (size_t k = 0; k < count; k++)
		data[k] = f->bytes + (k << f->image->grain_shift);
	if (!rc)
		rc = image_move_grains(f->image, first, count, entries, data, f->err);
	return rc < 0 ? rc : 0;
}

static int flatten_leaf(struct flatten *f, uint64_t index)
{
	const map_entry_t *entries = f->entries[0];
	size_t most = RUN_BYTES >> f->image->grain_shift, n;
	uint64_t mapped = 0;
	int rc = 0;

	if (most > MOVE_GRAINS_MAX)
		most = MOVE_GRAINS_MAX;
	for (size_t k = 0; !rc && k < MAP_FANOUT; k += n) {
		for (n = 0; n < most && k + n < MAP_FANOUT && map_entry_layer(entries[k + n]); n++)
			;
		mapped += n ? n : entries[k] != MAP_ENTRY_NONE;
		if (n) {
			f->found = true;
			rc = move_run(f, index * MAP_FANOUT + k, entries + k, n);
		} else {
			n = 1;
		}
	}
	mapped <<= f->image->grain_shift;
	f->left -= mapped < f->left ? mapped : f->left;
	return rc;
}

/* ---- the walk ---------------------------------------------------------------------------------------------------- */

static int walk(struct flatten *f, struct map_need node)
{
	map_entry_t *entries = f->entries[node.level];
	int rc = f->nodes++ % PROGRESS_NODES ? 0 : go_on(f);

	if (!rc)
		rc = image_read_logged(f->image, &node, entries, f->err);
	if (!rc && map_entry_layer(node.address)) {
		f->found = true;
		rc = image_touch_node_wait(f->image, node.level, node.index, f->err);
	}
	if (rc || !node.level)
		return rc ? rc : flatten_leaf(f, node.index);
	for (unsigned k = 0; k < MAP_FANOUT && !rc; k++)
		if (entries[k] != MAP_ENTRY_NONE)
			rc = walk(f, (struct map_need){ .level = node.level - 1,
			                                .index = node.index * MAP_FANOUT + k,
			                                .address = entries[k] });
	return rc;
}

/* A checkpoint; with `flat` it says that there are no layers, and is the only one of its segment: moments can be had from there on. */
static int checkpoint(struct flatten *f, bool flat, map_entry_t *root)
{
	struct image *i = f->image;
	int rc = 0;

	pthread_mutex_lock(&i->open_mutex);
	i->flat = flat;
	if (!atomic_load(&i->log) || atomic_load(&i->failed))
		rc = error_set(f->err, -EIO, "the image has stopped: see garner status");
	if (!rc && flat)
		log_close_segment(atomic_load(&i->log));
	if (!rc)
		rc = image_checkpoint(i, f->err);
	if (!rc && flat)
		log_close_segment(atomic_load(&i->log));
	*root = i->saved.checkpoint_root;
	f->segment = i->saved.checkpoint.segment;
	f->left = i->saved.allocated << i->grain_shift;
	if (rc)
		i->flat = false;
	pthread_mutex_unlock(&i->open_mutex);
	return rc;
}

static int run(struct flatten *f, map_entry_t *flat_root)
{
	map_entry_t root;
	int rc = 0;

	f->found = true;
	for (int k = 0; !rc && f->found; k++) {
		if (k == PASSES)
			return error_set(f->err, -EAGAIN, "it gets new layers all the time: try again");
		f->found = false;
		f->nodes = 0;
		rc = checkpoint(f, false, &root);
		if (!rc && root != MAP_ENTRY_NONE)
			rc = walk(f, (struct map_need){ .level = MAP_LEVELS - 1, .address = root });
	}
	return rc ? rc : checkpoint(f, true, flat_root);
}

/* ---- letting go -------------------------------------------------------------------------------------------------- */

static int is_layered(void *arg, const struct snapshot *s)
{
	segment_no_t next;

	(void)arg;
	return s->layers != 0 && !snapshot_rewound_parse(s->info.name, &next);
}

/* Snapshots, and what clones hold, lead to where the image led then. What the image itself holds goes with its history. */
static int check_snapshots(struct flatten *f)
{
	struct image *i = f->image;
	int rc;

	/* Those that are being made have no names yet. */
	while (atomic_load(&i->moments)) {
		rc = go_on(f);
		if (rc)
			return rc;
		pause_a_little();
	}
	rc = snapshot_list(i->engine->pool, i->id, is_layered, NULL, f->err);
	return rc <= 0 ? rc
	               : error_set(
				 f->err, -EBUSY,
				 "snapshots or clones of it need what it is a clone of: delete or flatten them first");
}

/* The list goes first: what is held and in no list is found by cleaning (clean_holds.c), while a list of what nobody holds would be
 * believed. */
static int part(struct flatten *f)
{
	struct image *i = f->image;
	struct engine *e = i->engine;
	struct layer_list list;
	int rc = layer_list_load(e->pool, i->id, &list, f->err);

	if (rc)
		return rc;
	f->parted = true;
	rc = layer_list_remove(e->pool, i->id, f->err);
	if (!rc || rc == -ENOENT)
		rc = layers_let_go(e, i->id, &list, f->err);
	layer_list_destroy(&list);
	if (rc > 0)
		engine_delete_later(e);
	return rc < 0 ? rc : 0;
}

static int let_go(struct flatten *f, map_entry_t root)
{
	struct image *i = f->image;
	struct engine *e = i->engine;
	struct cleaned begin = { i->epoch, f->segment, root, f->segment };
	int rc = engine_flush(e, i->id, f->progress, f->arg, f->err);

	if (!rc)
		rc = check_snapshots(f);
	pthread_mutex_lock(&i->open_mutex);
	if (!rc)
		rc = image_update_head(i, f->err);
	if (!rc && image_entitled(i))
		rc = error_set(f->err, -EIO, "the image is not ours any more, or the store cannot tell");
	pthread_mutex_unlock(&i->open_mutex);
	if (!rc)
		rc = cleaned_save(e->pool, i->id, &begin, f->err);
	/* Who begins as an older moment holds it first, and looks then whether it can be had still: one of both sees the other. */
	if (!rc)
		rc = check_snapshots(f);
	if (!rc)
		rc = clean_rewound(e->pool, i->id, f->err);
	return rc ? rc : part(f);
}

static void reopen(struct image *i)
{
	pthread_mutex_lock(&i->open_mutex);
	i->flat = false;
	pthread_mutex_unlock(&i->open_mutex);
	atomic_store(&i->layers_closed, false);
}

int engine_flatten(struct engine *e, uint64_t id, bool (*progress)(void *arg, uint64_t bytes_left), void *arg,
                   struct error *err)
{
	struct flatten *f = calloc(1, sizeof *f);
	struct layer_list list;
	struct image *i;
	map_entry_t root = MAP_ENTRY_NONE;
	int rc = f ? image_open(e, id, IMAGE_READ | IMAGE_WRITE, &i, err) : -ENOMEM;

	if (rc) {
		free(f);
		return rc;
	}
	*f = (struct flatten){ .image = i, .progress = progress, .arg = arg, .err = err };
	rc = layer_list_load(e->pool, id, &list, err);
	if (rc == -ENOENT) {
		rc = 0;
		goto out;
	}
	layer_list_destroy(&list);
	f->bytes = malloc(RUN_BYTES > i->grain_bytes ? RUN_BYTES : i->grain_bytes);
	if (!rc && !f->bytes)
		rc = -ENOMEM;
	/* Nothing that the checkpoint leads to is cleaned away meanwhile, and no new layers come. */
	pthread_mutex_lock(&i->clean_mutex);
	atomic_store(&i->layers_closed, true);
	if (!rc)
		rc = check_snapshots(f);
	if (!rc)
		rc = run(f, &root);
	if (!rc)
		rc = let_go(f, root);
	/* A list that is gone is begun anew by who loads the image next: until then it gets no new ones. One that stays is what checkpoints
	 * lead to. */
	if (rc && !f->parted)
		reopen(i);
	pthread_mutex_unlock(&i->clean_mutex);
out:
	image_close(i, IMAGE_READ | IMAGE_WRITE);
	free(f->bytes);
	free(f);
	return rc == -ENOMEM ? error_set(err, rc, "out of memory") : rc;
}
