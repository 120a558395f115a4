/* SPDX-License-Identifier: GPL-3.0-only */
/* clean_holds.c: what was held and is not needed any more is let go.
 *
 * A moment is held before the list of layers says so, and before the clone has a name: a crash in between leaves a hold that nobody will ever
 * remove. One that is old enough, and in no list, is such.
 *
 * What an image holds of itself that was rewound in place is needed while a moment from before can be had: history is kept as the map of its
 * oldest checkpoint and all that was written since, and to that rewinding added what is older.
 */
#include "image/private.h"

#include "base/clock.h"
#include "image/clean.h"

#include <errno.h>
#include <inttypes.h>

struct dropping {
	struct pool *pool;
	bool of_clones; /* beside what the image holds of itself */
	struct error *err;
};

static bool is_old(const struct snapshot *s)
{
	return (int64_t)(clock_wall_ns() - s->info.time_ns) >= (int64_t)CLEAN_HOLD_GRACE_NS;
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

/* Whether somebody can have a moment from before segment `next` still: 1, 0, or an error. */
static int is_reachable(struct pool *p, uint64_t image, segment_no_t next, struct error *err)
{
	struct cleaned cleaned;
	int rc = cleaned_load(p, image, &cleaned, err);

	if (rc)
		return rc == -ENOENT ? 1 : rc;
	return cleaned.oldest < next;
}

/* Whether it is still needed, or not looked at: 1, 0, or an error. */
static int is_needed(struct dropping *d, const struct snapshot *s)
{
	uint64_t holder, hold;
	segment_no_t next;

	if (snapshot_rewound_parse(s->info.name, &next))
		return is_reachable(d->pool, s->image, next, d->err);
	if (!d->of_clones || !layer_hold_parse(s->info.name, &holder, &hold) || !is_old(s))
		return 1;
	int rc = is_in_use(d->pool, holder, hold, d->err);
	if (!rc)
		report_notice("image %016" PRIx64 ": what was kept for a clone %016" PRIx64
		              ", that never came to be, is let go",
		              s->image, holder);
	return rc;
}

static int drop_unneeded(void *arg, const struct snapshot *s)
{
	struct dropping *d = arg;
	int rc = is_needed(d, s);

	if (!rc)
		rc = snapshot_remove(d->pool, s->image, s->info.name, d->err);
	return rc == 1 || rc == -ENOENT ? 0 : rc;
}

int clean_rewound(struct pool *p, uint64_t image, struct error *err)
{
	struct dropping d = { p, false, err };

	return snapshot_list(p, image, drop_unneeded, &d, err);
}

int clean_holds(struct clean *c)
{
	struct dropping d = { c->image->engine->pool, true, c->err };

	return snapshot_list(d.pool, c->image->id, drop_unneeded, &d, c->err);
}
