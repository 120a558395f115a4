/* SPDX-License-Identifier: GPL-3.0-only */
/* map_budget.h: how the maps of one process share the memory for their nodes. Private to src/map.
 *
 * Counters, and a list of who holds nodes. A map that goes over the limit gives up its own nodes as long as it holds more
 * than its share (the limit divided by the number of maps); a smaller one takes from those that hold more than theirs, so
 * that a busy disk is not starved by the memory of an idle one. The limit is soft: dirty and pinned nodes stay.
 *
 * Lock order: the budget's mutex, then a map's.
 */
#ifndef GARNER_MAP_MAP_BUDGET_H
#define GARNER_MAP_MAP_BUDGET_H

#include "map/grain_map.h"

#include <stdatomic.h>
#include <sys/queue.h>

/* One map, as the budget sees it; embedded in the map. */
struct map_holder {
	atomic_size_t nodes;
	/* Drops up to `nodes` nodes. Takes the map's mutex. */
	void (*give)(struct map_holder *h, size_t nodes);
	TAILQ_ENTRY(map_holder) link; /* guarded by the budget's mutex */
};

void map_budget_join(struct map_budget *b, struct map_holder *h);
void map_budget_leave(struct map_budget *b, struct map_holder *h);

/* Counts nodes (or copies of nodes) that came, and with a negative number, that went. Any thread; never blocks. */
void map_budget_count(struct map_budget *b, ptrdiff_t nodes);
void map_budget_count_dirty(struct map_budget *b, ptrdiff_t nodes);

/* By how many nodes the limit is exceeded. */
size_t map_budget_over(const struct map_budget *b);
/* The nodes that each map may hold when memory is short. */
size_t map_budget_share(const struct map_budget *b);

/* Asks the maps that hold more than their share, then `self`, for nodes until the limit is kept. No map's mutex is held. */
void map_budget_reclaim(struct map_budget *b, struct map_holder *self);

#endif
