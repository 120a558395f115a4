/* SPDX-License-Identifier: GPL-3.0-only */
/* seek.c: SEEK_DATA and SEEK_HOLE by the map. */
#include "image/private.h"

#include <errno.h>
#include <stdlib.h>

struct seek_op {
	struct op op;
	uint64_t offset;
	grain_no_t from; /* up to there it was looked for already */
	bool data;
};

static int64_t seek_step(struct op *op)
{
	struct seek_op *s = (struct seek_op *)op;
	struct image *i = op->image;
	uint64_t size = atomic_load(&i->size);
	struct map_need need;
	grain_no_t found;
	int rc = image_op_node_arrived(op);

	if (s->offset >= size)
		return -ENXIO;
	while (!rc && grain_map_next(i->map, s->from, grain_of(i, size - 1) + 1, s->data, &found, &need) == -EAGAIN) {
		s->from = found;
		rc = image_load_node(i, &need, op);
	}
	if (rc)
		return rc;
	if (found == GRAIN_NONE)
		return s->data ? -ENXIO : (int64_t)size;
	uint64_t at = found << i->grain_shift;
	return (int64_t)(at > s->offset ? at : s->offset);
}

int64_t image_seek(struct image *i, uint64_t offset, bool data, image_done_fn *done, void *arg)
{
	struct seek_op *s = calloc(1, sizeof *s);

	if (!s)
		return -ENOMEM;
	s->op = (struct op){ .image = i, .step = seek_step, .done = done, .arg = arg };
	s->offset = offset;
	s->from = grain_of(i, offset);
	s->data = data;
	return image_op_start(&s->op);
}
