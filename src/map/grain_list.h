/* SPDX-License-Identifier: GPL-3.0-only */
/* grain_list.h: ranges of grains, gathered in any order and then asked for. One thread at a time; once it is settled, any. */
#ifndef GARNER_MAP_GRAIN_LIST_H
#define GARNER_MAP_GRAIN_LIST_H

#include "log/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct grain_range {
	grain_no_t first, end; /* not `end` itself */
};

/* All zero: empty. Ended by grain_list_destroy(). */
struct grain_list {
	struct grain_range *ranges;
	size_t count, room;
};

/* Adds `count` grains; what lies past the last grain of all is left out. Memory follows the number of ranges that are apart.
 * -ENOMEM, and the list is as it was. */
int grain_list_add(struct grain_list *l, grain_no_t first, uint64_t count);

/* Puts the ranges in order, joined where they meet. To be done once all are there. */
void grain_list_settle(struct grain_list *l);

/* Whether any grain of [first, end) is in the list, which is settled. */
bool grain_list_meets(const struct grain_list *l, grain_no_t first, grain_no_t end);

void grain_list_destroy(struct grain_list *l);

#endif
