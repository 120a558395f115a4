/* SPDX-License-Identifier: GPL-3.0-only */
/* grain_list.c: see grain_list.h. */
#include "map/grain_list.h"

#include "map/grain_map.h"

#include <errno.h>
#include <stdlib.h>

#define ROOM_FIRST 64

static int by_first(const void *a, const void *b)
{
	const struct grain_range *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

void grain_list_settle(struct grain_list *l)
{
	size_t kept = 0;

	if (!l->count)
		return;
	qsort(l->ranges, l->count, sizeof *l->ranges, by_first);
	for (size_t k = 1; k < l->count; k++) {
		const struct grain_range *r = &l->ranges[k];
		struct grain_range *last = &l->ranges[kept];

		if (r->first > last->end)
			l->ranges[++kept] = *r;
		else if (r->end > last->end)
			last->end = r->end;
	}
	l->count = kept + 1;
}

/* Room for one more: what is the same grain again and again, or one after the other, needs none. */
static int make_room(struct grain_list *l)
{
	grain_list_settle(l);
	if (l->room && l->count <= l->room / 2)
		return 0;
	size_t room = l->room ? 2 * l->room : ROOM_FIRST;
	void *grown = reallocarray(l->ranges, room, sizeof *l->ranges);
	if (!grown)
		return -ENOMEM;
	l->ranges = grown;
	l->room = room;
	return 0;
}

int grain_list_add(struct grain_list *l, grain_no_t first, uint64_t count)
{
	if (first >= MAP_GRAINS_MAX || !count)
		return 0;
	if (count > MAP_GRAINS_MAX - first)
		count = MAP_GRAINS_MAX - first;
	if (l->count && l->ranges[l->count - 1].end == first) {
		l->ranges[l->count - 1].end += count;
		return 0;
	}
	if (l->count == l->room && make_room(l))
		return -ENOMEM;
	l->ranges[l->count++] = (struct grain_range){ first, first + count };
	return 0;
}

bool grain_list_meets(const struct grain_list *l, grain_no_t first, grain_no_t end)
{
	size_t low = 0, high = l->count;

	/* The first range that ends after `first`. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (l->ranges[middle].end > first)
			high = middle;
		else
			low = middle + 1;
	}
	return low < l->count && l->ranges[low].first < end;
}

void grain_list_destroy(struct grain_list *l)
{
	free(l->ranges);
	*l = (struct grain_list){ 0 };
}
