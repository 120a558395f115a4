/* SPDX-License-Identifier: GPL-3.0-only */
/* node.c: where a map node comes from: its row in SQLite, or else the slot of the log that its parent points at. */
#include "image/private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The row in SQLite: 0, -ENOENT (ask the log), or an error. While the image is being loaded damage only makes the load begin
 * anew, without the rows; a loaded one stops, and its next load does so. */
static int load_row(struct image *i, const struct map_need *need, map_entry_t *entries, struct error *err)
{
	/* What the log has of it may be older than its row was. */
	if (atomic_load(&i->rows_gone))
		return error_set(err, -EIO, "the map is rebuilt when the image is opened next");
	int rc = map_db_load_node(i->engine->db, i->id, need->level, need->index, entries, err);

	if (rc == -ENOENT && need->address == MAP_ENTRY_LOCAL)
		rc = error_set(err, -EBADMSG, "map node %u/%" PRIu64 " is missing", need->level, need->index);
	if (rc != -EBADMSG)
		return rc;
	atomic_store(&i->rows_damaged, true);
	if (i->loaded)
		image_fail(i, "failed", -EIO,
		           "garner.db in %s is damaged: the map is rebuilt when the image is opened next",
		           i->engine->cache_dir);
	return -EIO;
}

/* What lies in the log of a layer speaks of layers as they are seen from there. */
static int decode(struct image *i, const struct map_need *need, const uint8_t *bytes, map_entry_t *entries)
{
	unsigned layer = map_entry_layer(need->address);
	size_t layers = image_layer_count(i);
	int rc = map_node_decode(bytes, true, entries);

	for (size_t k = 0; !rc && k < MAP_FANOUT; k++) {
		if (entries[k] == MAP_ENTRY_NONE)
			continue;
		if (map_entry_layer(entries[k]) + layer > layers)
			rc = -EBADMSG;
		else
			entries[k] = map_entry_deeper(entries[k], layer);
	}

	if (rc)
		report_error("image %016" PRIx64 ": map node %u/%" PRIu64 " in segment %" PRIu64 " is damaged", i->id,
		             need->level, need->index, map_entry_segment(need->address));
	return rc == -EBADMSG ? -EIO : rc;
}

int image_read_logged(struct image *i, const struct map_need *need, map_entry_t *entries, struct error *err)
{
	uint8_t bytes[MAP_NODE_BYTES];
	int rc = image_fetch_wait(i, need->address, bytes, sizeof bytes);
	if (!rc)
		rc = decode(i, need, bytes, entries);
	if (rc)
		error_set(err, rc, "cannot read map node %u/%" PRIu64 " from segment %" PRIu64, need->level,
		          need->index, map_entry_segment(need->address));
	return rc;
}

int image_read_node(struct image *i, const struct map_need *need, map_entry_t *entries, struct error *err)
{
	int rc = load_row(i, need, entries, err);

	if (rc != -ENOENT)
		return rc;
	if (need->address == MAP_ENTRY_NONE)
		return error_set(err, -ENOENT, "map node %u/%" PRIu64 " was never written", need->level, need->index);
	return image_read_logged(i, need, entries, err);
}

/* Whether a node is where it was when it was looked for. The map may have begun anew since (image_start_over()), or the node have come into
 * memory. */
static bool is_still_there(struct image *i, const struct map_need *need)
{
	struct map_need now;

	return grain_map_find(i->map, need->level, need->index, &now) == -EAGAIN && now.level == need->level &&
	       now.address == need->address;
}

/* Installs the row if there is one, or leaves a node that is elsewhere by now to be asked for again. A row is read and installed under node_lock, so that no newer version of the node was saved and
 * dropped from memory in between (save.c). */
static int install_row(struct image *i, const struct map_need *need, struct error *err)
{
	map_entry_t entries[MAP_FANOUT];

	pthread_rwlock_rdlock(&i->node_lock);
	/* Only then a row that should be there and is not is damage. */
	bool there = need->address != MAP_ENTRY_LOCAL || is_still_there(i, need);
	int rc = there ? load_row(i, need, entries, err) : 0;
	if (there && !rc)
		rc = grain_map_install(i->map, need->level, need->index, entries);
	pthread_rwlock_unlock(&i->node_lock);
	return rc;
}

/* Installs a node that came from the log, unless a row has appeared since it was asked for: that is newer. One that is elsewhere by now is
 * left to be asked for again. */
static int install_from_log(struct image *i, const struct map_need *need, const uint8_t *bytes, struct error *err)
{
	map_entry_t entries[MAP_FANOUT];

	pthread_rwlock_rdlock(&i->node_lock);
	int rc = load_row(i, need, entries, err);
	bool there = rc == -ENOENT && is_still_there(i, need);
	bool passed_over = rc == -ENOENT && !there;
	if (there)
		rc = decode(i, need, bytes, entries);
	if (passed_over)
		rc = 0;
	else if (!rc)
		rc = grain_map_install(i->map, need->level, need->index, entries);
	pthread_rwlock_unlock(&i->node_lock);
	return rc;
}

/* A node cannot be read from the log. 0 when it is elsewhere by now, or in memory: it was written anew, and what was there before may
 * have been cleaned away. */
static int unless_moved(struct image *i, const struct map_need *need, int rc)
{
	struct map_need now;

	if (rc != -EIO)
		return rc;
	if (grain_map_find(i->map, need->level, need->index, &now) == -EAGAIN &&
	    (now.level != need->level || now.address == need->address))
		return rc;
	return 0;
}

int image_load_node_wait(struct image *i, const struct map_need *need, struct error *err)
{
	uint8_t bytes[MAP_NODE_BYTES];
	int rc = install_row(i, need, err);

	if (rc != -ENOENT)
		return rc;
	rc = image_fetch_wait(i, need->address, bytes, sizeof bytes);
	if (rc && !(rc = unless_moved(i, need, rc)))
		return 0;
	if (rc)
		return error_set(err, rc, "cannot read map node %u/%" PRIu64 " from segment %" PRIu64, need->level,
		                 need->index, map_entry_segment(need->address));
	return install_from_log(i, need, bytes, err);
}

int image_look_up_wait(struct image *i, grain_no_t first, size_t count, map_entry_t *entries, struct error *err)
{
	struct map_need need;
	int rc;

	while ((rc = grain_map_lookup(i->map, first, count, entries, &need)) == -EAGAIN) {
		rc = image_load_node_wait(i, &need, err);
		if (rc)
			return rc;
	}
	return rc;
}

int image_pin_wait(struct image *i, grain_no_t first, size_t count, bool existing_only, struct error *err)
{
	struct map_need need;
	int rc;

	while ((rc = grain_map_pin(i->map, first, count, existing_only, &need)) == -EAGAIN) {
		rc = image_load_node_wait(i, &need, err);
		if (rc)
			return rc;
	}
	return rc;
}

int image_touch_node_wait(struct image *i, unsigned level, uint64_t index, struct error *err)
{
	struct map_need need;
	int rc;

	while ((rc = grain_map_touch(i->map, level, index, &need)) == -EAGAIN) {
		rc = image_load_node_wait(i, &need, err);
		if (rc)
			return rc;
	}
	return rc;
}

int image_load_node(struct image *i, const struct map_need *need, struct op *op)
{
	int rc = install_row(i, need, NULL);

	if (rc != -ENOENT)
		return rc;
	if (!op->node_bytes && !(op->node_bytes = malloc(MAP_NODE_BYTES)))
		return -ENOMEM;
	op->need = *need;
	op->node_coming = true;
	fetch_op_begin(&op->fetch, image_op_fetched);
	image_fetch(i, &op->fetch, need->address, 0, op->node_bytes, MAP_NODE_BYTES);
	return fetch_op_end(&op->fetch) ? image_op_node_arrived(op) : -EINPROGRESS;
}

int image_op_node_arrived(struct op *op)
{
	int rc;

	if (!op->node_coming)
		return 0;
	op->node_coming = false;
	rc = atomic_load(&op->fetch.result);
	if (rc)
		return unless_moved(op->image, &op->need, rc);
	return install_from_log(op->image, &op->need, op->node_bytes, NULL);
}
