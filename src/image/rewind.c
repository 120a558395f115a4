/* SPDX-License-Identifier: GPL-3.0-only */
/* rewind.c: new images that begin as another one was at some moment.
 *
 * The moment's map is that of the newest checkpoint before it, and the records after that: a new image begins with both, as
 * layers.h says, so that making it costs the same for any size. The segments of those records are held whole.
 */
#include "image/past.h"

#include "map/checkpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* What the image itself began as, if it began as another one. */
static int own_base(struct past *p, struct beginning *b, struct error *err)
{
	struct layer_list own;
	int rc = layer_list_load(p->engine->pool, p->image, &own, err);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	b->held.root = own.base.root;
	b->held.info.size = own.base.info.size;
	b->held.info.allocated_bytes = own.base.info.allocated_bytes;
	b->held.info.mtime_ns = own.base.info.mtime_ns;
	b->held.layers = (uint32_t)own.count;
	b->of_base = true;
	layer_list_destroy(&own);
	return 0;
}

/* The segments to be held begin where the checkpoint was cut. */
static int begin_at(struct past *p, const struct image_moment *m, struct beginning *b, struct error *err)
{
	struct checkpoint c;
	segment_no_t last = m->record ? m->segment : m->segment - 1, from = 1;
	int rc = past_checkpoint(p, m, &c, err);

	b->held.image = p->image;
	b->held.segment = last;
	b->held.grain_bytes = p->log->source.slot_bytes;
	b->held.info.time_ns = m->time_ns;
	b->to = (struct log_position){ m->segment, m->record };
	if (!rc) {
		b->held.root = c.root;
		b->held.info.size = c.size;
		b->held.info.allocated_bytes = c.allocated * p->log->source.slot_bytes;
		b->held.info.mtime_ns = c.mtime_ns;
		b->held.layers = c.layers;
		from = c.position.segment;
	} else if (rc == 1) {
		rc = own_base(p, b, err);
	}
	if (!rc && !from)
		rc = error_set(err, -EBADMSG, "the checkpoint before that moment is damaged");
	b->held.whole_from = from <= last ? from : 0;
	return rc;
}

int engine_rewind(struct engine *e, uint64_t image, struct image_moment *m, uint64_t dir, const char *name,
                  struct node_attr *attr, struct error *err)
{
	struct beginning b = { 0 };
	struct catalog_entry entry;
	struct past p = { .engine = e };
	uint64_t id = catalog_new_id();
	int rc = engine_name_free(e, dir, name, err);

	if (!rc && (catalog_get(e->catalog, image, &entry) || entry.type != NODE_FILE))
		rc = error_set(err, -ENOENT, "no image %016" PRIx64, image);
	if (rc)
		return rc;
	rc = past_reach(&p, &entry, m, err);
	if (!rc)
		rc = past_find(&p, m, err);
	if (!rc)
		rc = begin_at(&p, m, &b, err);
	past_close(&p);
	if (rc)
		return rc;
	rc = moment_hold_past(e, &b.held, id, &b.hold, err);
	return rc ? rc : image_begin(e, &b, &entry, dir, name, id, attr, err);
}
