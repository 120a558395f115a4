/* SPDX-License-Identifier: GPL-3.0-only */
/* clean_holds.c: what was held for a clone that never came to be is let go.
 *
 * A moment is held before the list of layers says so, and before the clone has a name: a crash in between leaves a hold that nobody will ever
 * remove. One that is old enough, and in no list, is such.
 */
#include "image/private.h"

#include "base/clock.h"
#include "image/clean.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct holds {
	struct snapshot *list;
	size_t count;
};

static int keep_old(void *arg, const struct snapshot *s)
{
	struct holds *h = arg;
	struct snapshot *more;

	if (!snapshot_hidden(s) || (int64_t)(clock_wall_ns() - s->info.time_ns) < (int64_t)CLEAN_HOLD_GRACE_NS)
		return 0;
	more = reallocarray(h->list, h->count + 1, sizeof *more);
	if (!more)
		return -ENOMEM;
	h->list = more;
	h->list[h->count++] = *s;
	return 0;
}

/* Whether the list of layers of the one that it was held for has it: 1, 0, or an error. */
static int is_in_use(struct pool *p, uint64_t holder, uint64_t hold, struct error *err)
{
	struct layer_list list;
	int rc = layer_list_load(p, holder, &list, err), used = 0;

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	for (size_t k = 0; k < list.count; k++)
		used |= list.refs[k].hold == hold;
	layer_list_destroy(&list);
	return used;
}

int clean_holds(struct clean *c)
{
	struct pool *p = c->image->engine->pool;
	struct holds h = { 0 };
	int rc = snapshot_list(p, c->image->id, keep_old, &h, c->err);

	for (size_t k = 0; k < h.count && !rc; k++) {
		const struct snapshot *s = &h.list[k];
		uint64_t holder, hold;

		if (!layer_hold_parse(s->info.name, &holder, &hold))
			continue;
		rc = is_in_use(p, holder, hold, c->err);
		if (!rc) {
			report_notice("image %016" PRIx64 ": what was kept for a clone %016" PRIx64
			              ", that never came to be, is let go",
			              c->image->id, holder);
			rc = snapshot_remove(p, c->image->id, s->info.name, c->err);
		}
		if (rc == 1 || rc == -ENOENT)
			rc = 0;
	}
	free(h.list);
	return rc;
}
