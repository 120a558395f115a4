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
#include <stdio.h>
#include <stdlib.h>

struct dropping {
	struct pool *pool;
	struct error *err;
};

struct holds {
	struct snapshot *list;
	size_t count;
};

static bool is_old(const struct snapshot *s)
{
	return (int64_t)(clock_wall_ns() - s->info.time_ns) >= (int64_t)CLEAN_HOLD_GRACE_NS;
}

static int keep_hold(void *arg, const struct snapshot *s)
{
	struct holds *h = arg;
	struct snapshot *more;

	if (!snapshot_hidden(s) || !is_old(s))
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

/* Whether nobody can have a moment any more from before segment `next`: 0 then, else 1; or an error. */
static int is_reachable(struct pool *p, uint64_t image, segment_no_t next, struct error *err)
{
	struct cleaned cleaned;
	int rc = cleaned_load(p, image, &cleaned, err);

	if (rc)
		return rc == -ENOENT ? 1 : rc;
	return cleaned.oldest < next;
}

/* Whether it is still needed: 1, 0, or an error. */
static int is_needed(struct clean *c, const struct snapshot *s)
{
	struct pool *p = c->image->engine->pool;
	uint64_t holder, hold;

	if (!layer_hold_parse(s->info.name, &holder, &hold))
		return 1;
	int rc = is_in_use(p, holder, hold, c->err);
	if (!rc)
		report_notice("image %016" PRIx64 ": what was kept for a clone %016" PRIx64
		              ", that never came to be, is let go",
		              c->image->id, holder);
	return rc;
}

static int drop_rewound(void *arg, const struct snapshot *s)
{
	struct dropping *d = arg;
	segment_no_t next;
	int rc = snapshot_rewound_parse(s->info.name, &next) ? is_reachable(d->pool, s->image, next, d->err) : 1;

	if (!rc)
		rc = snapshot_remove(d->pool, s->image, s->info.name, d->err);
	return rc == 1 || rc == -ENOENT ? 0 : rc;
}

int clean_rewound(struct pool *p, uint64_t image, struct error *err)
{
	struct dropping d = { p, err };

	return snapshot_list(p, image, drop_rewound, &d, err);
}

int clean_holds(struct clean *c)
{
	struct pool *p = c->image->engine->pool;
	struct holds h = { 0 };
	int rc = clean_rewound(p, c->image->id, c->err);

	if (!rc)
		rc = snapshot_list(p, c->image->id, keep_hold, &h, c->err);

	for (size_t k = 0; k < h.count && !rc; k++) {
		rc = is_needed(c, &h.list[k]);
		if (!rc)
			rc = snapshot_remove(p, c->image->id, h.list[k].info.name, c->err);
		if (rc == 1 || rc == -ENOENT)
			rc = 0;
	}
	free(h.list);
	return rc;
}
