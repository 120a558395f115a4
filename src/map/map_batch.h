/* SPDX-License-Identifier: GPL-3.0-only */
/* map_batch.h: the dirty nodes of a table as of one moment. Private to src/map; what a batch is for: grain_map.h.
 *
 * Leaves are not copied: the batch and the node share their entries until someone pins the leaf. Pinned leaves (which are
 * about to change, and whose change must not fail) and inner nodes (few, and changed under the batch's nose by new
 * addresses) are copied at once.
 */
#ifndef GARNER_MAP_MAP_BATCH_H
#define GARNER_MAP_MAP_BATCH_H

#include "map/node_table.h"

/* Takes the dirty nodes. The caller holds the map's mutex. NULL when memory is short. */
struct map_batch *map_batch_take(struct node_table *t);
/* Orders the nodes by level and index, which is how a database likes them. Needs no lock. */
void map_batch_sort(struct map_batch *b);
/* Gives nodes [from, from+count) back (as far as there are so many), saved or dirty. The caller holds the map's mutex. */
void map_batch_return(struct map_batch *b, struct node_table *t, size_t from, size_t count, bool saved);
/* Frees the batch; all its nodes were returned. */
void map_batch_free(struct map_batch *b);

#endif
