/* SPDX-License-Identifier: GPL-3.0-only */
/* diff.c: what differs between two moments of an image, by their maps alone.
 *
 * Both maps are as their checkpoints wrote them: a node's address names its content for good, so two subtrees at one address are
 * the same, and are passed over unread. What is read are the nodes on the ways to what differs. Where records have come on top of a
 * checkpoint (moment.c) leaves are asked for in the map that is in memory. The bytes are not looked at: grains that were
 * written again with the same bytes, or moved by cleaning, differ.
 */
#include "image/private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum side { FROM, TO };

struct diff {
	struct image *image[2]; /* NULL: empty */
	uint64_t begin, common; /* where to begin; the smaller size: from there on everything differs */
	uint64_t end;           /* the larger size */
	uint64_t to_size;
	unsigned shift;
	uint64_t nodes;
	uint64_t told;            /* up to there everything has been told, or does not differ */
	struct image_range range; /* not told yet, length 0: none */
	image_range_fn *each;
	void *arg;
	struct error *err;
	map_entry_t entries[2][MAP_LEVELS][MAP_FANOUT]; /* the nodes from the root down to where the walk is */
};

/* ---- ranges ---- */

static int tell_last(struct diff *d)
{
	struct image_range range = d->range;

	d->range.length = 0;
	return range.length ? d->each(d->arg, &range) : 0;
}

/* [from, until) differs: joined to what came before it where it can be. */
static int add(struct diff *d, uint64_t from, uint64_t until, bool data)
{
	struct image_range *r = &d->range;
	int rc;

	if (from >= until)
		return 0;
	if (r->length && r->data == data && r->offset + r->length == from) {
		r->length += until - from;
		return 0;
	}
	rc = tell_last(d);
	*r = (struct image_range){ .offset = from, .length = until - from, .data = data };
	return rc;
}

/* Past the end of the shorter one all differs: what is in neither map reads as zeros. */
static int fill(struct diff *d, uint64_t until)
{
	uint64_t from = d->told > d->common ? d->told : d->common;

	return add(d, from, until, false);
}

static int add_grain(struct diff *d, grain_no_t grain, bool data)
{
	uint64_t from = grain << d->shift, until = (grain + 1) << d->shift, cut;
	int rc;

	if (from < d->told)
		from = d->told;
	if (until > d->end)
		until = d->end;
	if (from >= until)
		return 0;
	rc = fill(d, from);
	/* What lies past the end of the second moment is not there any more. */
	cut = data ? d->to_size : from;
	cut = cut < from ? from : cut > until ? until : cut;
	if (!rc)
		rc = add(d, from, cut, true);
	if (!rc)
		rc = add(d, cut, until, false);
	d->told = until;
	return rc;
}

/* ---- one side ---- */

static const struct grain_list *touched(const struct image *i)
{
	return i && i->past ? &i->past->touched : NULL;
}

static bool is_touched(const struct image *i, grain_no_t first, grain_no_t end)
{
	return touched(i) && grain_list_meets(touched(i), first, end);
}

/* 1: there is something there; a zero record may be of all of a disk that has nothing. */
static int maps_any(struct image *i, grain_no_t first, grain_no_t end, struct error *err)
{
	struct map_need need;
	grain_no_t found;
	int rc;

	while ((rc = grain_map_next(i->map, first, end, true, &found, &need)) == -EAGAIN) {
		first = found;
		rc = image_load_node_wait(i, &need, err);
		if (rc)
			return rc;
	}
	return rc ? rc : found != GRAIN_NONE;
}

/* Whether records have come on top there, which the checkpoint's `entry` says nothing of: 1, 0. */
static int is_changed(struct image *i, map_entry_t entry, grain_no_t first, grain_no_t end, struct error *err)
{
	if (!i || !is_touched(i, first, end))
		return 0;
	return entry != MAP_ENTRY_NONE ? 1 : maps_any(i, first, end, err);
}

/* ---- the walk ---- */

static int read_side(struct diff *d, enum side side, unsigned level, uint64_t index, map_entry_t address)
{
	map_entry_t *entries = d->entries[side][level];
	struct map_need need = { .level = level, .index = index, .address = address };
	grain_no_t first = index * MAP_FANOUT;

	if (!level && is_touched(d->image[side], first, first + MAP_FANOUT)) {
		d->nodes++;
		return image_look_up_wait(d->image[side], first, MAP_FANOUT, entries, d->err);
	}
	if (address == MAP_ENTRY_NONE) {
		memset(entries, 0, sizeof d->entries[side][level]);
		return 0;
	}
	d->nodes++;
	return image_read_logged(d->image[side], &need, entries, d->err);
}

/* Whether what is beneath an entry of a node may differ: 1, 0. */
static int differs(struct diff *d, const map_entry_t entry[2], grain_no_t first, grain_no_t end)
{
	int rc = entry[FROM] != entry[TO];

	for (unsigned side = FROM; side <= TO && !rc; side++)
		rc = is_changed(d->image[side], entry[side], first, end, d->err);
	return rc;
}

/* The subtree of a node that may differ. */
static int walk(struct diff *d, unsigned level, uint64_t index, map_entry_t from, map_entry_t to)
{
	const map_entry_t *a = d->entries[FROM][level], *b = d->entries[TO][level];
	unsigned shift = MAP_FANOUT_BITS * level; /* grains beneath one entry */
	grain_no_t first = d->begin >> d->shift;
	int rc = read_side(d, FROM, level, index, from);

	if (!rc)
		rc = read_side(d, TO, level, index, to);
	for (unsigned k = 0; k < MAP_FANOUT && !rc; k++) {
		uint64_t child = index * MAP_FANOUT + k;

		if ((child + 1) << shift <= first)
			continue;
		if (child << shift << d->shift >= d->end)
			break;
		if (!level) {
			rc = a[k] == b[k] ? 0 : add_grain(d, child, b[k] != MAP_ENTRY_NONE);
			continue;
		}
		rc = differs(d, (map_entry_t[]){ a[k], b[k] }, child << shift, (child + 1) << shift);
		if (rc == 1)
			rc = walk(d, level - 1, child, a[k], b[k]);
	}
	return rc;
}

static map_entry_t root_of(const struct image *i)
{
	return i ? i->snapshot->root : MAP_ENTRY_NONE;
}

static int walk_all(struct diff *d)
{
	map_entry_t from = root_of(d->image[FROM]), to = root_of(d->image[TO]);
	int rc = differs(d, (map_entry_t[]){ from, to }, 0, MAP_GRAINS_MAX);

	if (rc == 1)
		rc = walk(d, MAP_LEVELS - 1, 0, from, to);
	if (!rc)
		rc = fill(d, d->end);
	return rc ? rc : tell_last(d);
}

int image_diff(struct image *from, struct image *to, uint64_t begin, image_range_fn *each, void *arg,
               uint64_t *nodes_read, struct error *err)
{
	uint64_t from_size = from ? atomic_load(&from->size) : 0, to_size = atomic_load(&to->size);
	struct diff *d;
	int rc;

	if (!to->snapshot || (from && (!from->snapshot || from->log_id != to->log_id)))
		return error_set(err, -EINVAL, "only moments of one image can be compared");
	d = calloc(1, sizeof *d);
	if (!d)
		return error_set(err, -ENOMEM, "out of memory");
	d->image[FROM] = from;
	d->image[TO] = to;
	d->begin = d->told = begin;
	d->common = from_size < to_size ? from_size : to_size;
	d->end = from_size < to_size ? to_size : from_size;
	d->to_size = to_size;
	d->shift = to->grain_shift;
	d->each = each;
	d->arg = arg;
	d->err = err;
	rc = walk_all(d);
	if (nodes_read)
		*nodes_read = d->nodes;
	free(d);
	return rc;
}
