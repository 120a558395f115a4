/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_map_private.h: the checks of a map's parts, for cluster_map_text.c, which can tell in which line a bad part stands. All
 * return 0, or -EINVAL and the reason. */
#ifndef GARNER_STORE_CLUSTER_MAP_PRIVATE_H
#define GARNER_STORE_CLUSTER_MAP_PRIVATE_H

#include "store/cluster_map.h"

/* `of`: what the replicas are of, for the text. */
int cluster_check_quorum(const char *of, unsigned replicas, unsigned quorum, struct error *err);
int cluster_check_agreement(const char *agreement, struct error *err);
/* Node or pool `i`, alone and against those before it. */
int cluster_check_node(const struct cluster_map *map, size_t i, struct error *err);
int cluster_check_pool(const struct cluster_map *map, size_t i, struct error *err);
/* What only all parts together show, when each of them is good. */
int cluster_check_whole(const struct cluster_map *map, struct error *err);

/* The highest id that was ever given. */
unsigned cluster_map_last_node(const struct cluster_map *map);

#endif
