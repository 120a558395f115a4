/* SPDX-License-Identifier: GPL-3.0-only */
/* moment.c: moments of an image that are opened for reading, without a name.
 *
 * Such an image is in memory only: a snapshot that has no name, of the newest checkpoint before the moment, with the records after that on
 * top. What it needs in the store is held as for a clone that has not come to be yet: it is let go when the image leaves
 * memory, some time after its last closing, and by cleaning when that did not come to pass.
 */
#include "image/past.h"

#include <errno.h>
#include <inttypes.h>

/* The entry of an image that has a past. */
static int find_image(struct engine *e, uint64_t image, struct catalog_entry *entry, struct error *err)
{
	if (!catalog_get(e->catalog, image, entry) && entry->type == NODE_FILE)
		return 0;
	return error_set(err, -ENOENT, "no image %016" PRIx64, image);
}

int engine_moment_find(struct engine *e, uint64_t image, struct image_moment *m, struct error *err)
{
	struct catalog_entry entry;
	struct past p = { .engine = e };
	int rc = find_image(e, image, &entry, err);

	if (rc)
		return rc;
	rc = past_reach(&p, &entry, m, err);
	if (!rc)
		rc = past_find(&p, m, err);
	past_close(&p);
	return rc;
}

/* One that is in memory: its id, or 0. */
static uint64_t find_open(struct engine *e, uint64_t image, const struct image_moment *m)
{
	size_t cursor = 0;
	uint64_t id, found = 0;
	struct image *i;

	pthread_mutex_lock(&e->mutex);
	while (!found && (i = hash_next(e->images, &cursor, &id)))
		if (i->past && i->log_id == image && i->past->b.to.segment == m->segment &&
		    i->past->b.to.record == m->record)
			found = id;
	pthread_mutex_unlock(&e->mutex);
	return found;
}

int engine_moment_open(struct engine *e, uint64_t image, struct image_moment *m, struct image **i, struct error *err)
{
	struct beginning b = { 0 };
	struct catalog_entry entry;
	uint64_t id = m->segment ? find_open(e, image, m) : 0;
	int rc = id ? image_open(e, id, IMAGE_READ, i, NULL) : -ENOENT;

	if (!rc)
		return 0;
	rc = engine_writable(e, err);
	if (!rc)
		rc = find_image(e, image, &entry, err);
	if (!rc)
		rc = past_hold(e, &entry, m, catalog_new_id(), &b, err);
	return rc ? rc : image_open_past(e, &b, i, err);
}
