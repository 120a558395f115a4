/* SPDX-License-Identifier: GPL-3.0-only */
/* refresh.c: an image that is open for reading, while its owner cleans: the map here remembers where nodes were when it was loaded, and
 * goes over to where the newest checkpoint has them.
 */
#include "image/private.h"

#include "image/clean.h"

#include <errno.h>
#include <stdlib.h>

/* A map node of the newest checkpoint and those below it, but for leaves: where they are is made known to the map here, which
 * remembers older places. What they say is the same: what changed since is in memory or has a row. */
static int refresh_below(struct image *i, unsigned level, uint64_t index, map_entry_t address, struct error *err)
{
	map_entry_t *entries = malloc(MAP_NODE_BYTES);
	struct map_need need;
	struct map_need at = { .level = level, .index = index, .address = address };
	int rc = entries ? image_read_logged(i, &at, entries, err) : -ENOMEM;

	/* Brought into memory, and saved later: it may have a row. */
	while (!rc && grain_map_touch(i->map, level, index, &need) == -EAGAIN)
		rc = image_load_node_wait(i, &need, err);
	for (unsigned k = 0; !rc && k < MAP_FANOUT; k++) {
		uint64_t child = index * MAP_FANOUT + k;
		if (entries[k] == MAP_ENTRY_NONE)
			continue;
		grain_map_set_address(i->map, level - 1, child, entries[k]);
		if (level > 1 && !map_entry_layer(entries[k]))
			rc = refresh_below(i, level - 1, child, entries[k], err);
	}
	free(entries);
	return rc;
}

int image_refresh(struct image *i, struct error *err)
{
	segment_no_t newest = i->end_checkpoint.segment;
	struct cleaned cleaned;
	struct checkpoint c;
	int rc = i->base_checkpoint < newest ? cleaned_load(i->engine->pool, i->id, &cleaned, err) : -ENOENT;

	if (rc || !image_cleaned_after(i, &cleaned, i->saved.checkpoint_root, i->saved.checkpoint.segment))
		return rc == -ENOENT ? 0 : rc;
	rc = image_read_checkpoint(i, newest, &c, err);
	if (!rc)
		rc = image_layers_need(i, c.layers, err);
	if (!rc && c.root != MAP_ENTRY_NONE && !map_entry_layer(c.root))
		rc = refresh_below(i, MAP_LEVELS - 1, 0, c.root, err);
	if (rc)
		return error_prefix(err, rc, "what is remembered here of the map is from before a cleaning");
	i->saved.checkpoint_root = c.root;
	i->base_checkpoint = newest;
	return 0;
}

int image_start_over(struct image *i, struct error *err)
{
	struct log_position at = i->end_checkpoint;
	map_entry_t root[MAP_FANOUT] = { 0 };
	struct checkpoint c;
	/* What is saved is not dirty. */
	int rc = at.segment ? image_save(i, err) : error_set(err, -EIO, "there is no checkpoint to begin with");

	if (!rc)
		rc = image_read_checkpoint(i, at.segment, &c, err);
	if (!rc)
		rc = image_layers_need(i, c.layers, err);
	struct map_need need = { .level = MAP_LEVELS - 1, .index = 0, .address = c.root };
	if (!rc && c.root != MAP_ENTRY_NONE)
		rc = image_read_logged(i, &need, root, err);
	if (rc)
		return error_prefix(err, rc, "the log was cleaned past what was read here");
	/* A node that is being loaded just now is installed only if it is still where it was looked for (node.c). */
	pthread_rwlock_wrlock(&i->node_lock);
	rc = map_db_forget(i->engine->db, i->id, err);
	if (!rc && !grain_map_reset(i->map, root))
		rc = error_set(err, -EBUSY, "the map is in use");
	pthread_rwlock_unlock(&i->node_lock);
	if (!rc)
		image_begin_at(i, at, &c);
	return rc;
}
