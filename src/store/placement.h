/* SPDX-License-Identifier: GPL-3.0-only */
/* placement.h: which nodes hold an object: rendezvous hashing with weights, racks first.
 *
 * Every node has for every name a cost, drawn from a hash of the cluster's id, the node's id and the name, as -log(u) / weight with u
 * in (0, 1]; the nodes of the least costs hold the object. So a node's cost for a name depends on nobody else: when a node comes, it
 * takes its share from the others and nothing moves between those; when one goes, only what it held moves. Of each rack only its
 * cheapest node is taken before any rack gives a second one.
 *
 * A node is an object's first choice in exact proportion to its weight (where racks do not come first). Of several replicas a node can
 * hold only one, so nodes that are much heavier than the others get less than their weight says.
 *
 * All nodes and gateways, of any processor and compiler, must come to the same result: so the hash is XXH64, whose value is fixed for
 * good and does not depend on the byte order, the logarithm is taken in integers, bit by bit, and costs are compared by multiplying
 * crosswise; no floating point, no math library.
 *
 * Pure; any thread. Must be given a map that has passed its checks.
 */
#ifndef GARNER_STORE_PLACEMENT_H
#define GARNER_STORE_PLACEMENT_H

#include "store/cluster_map.h"

struct placement_set {
	size_t count;
	unsigned node[CLUSTER_REPLICAS_MAX]; /* ids; the first is preferred as coordinator */
	unsigned quorum;
};

struct placement {
	size_t sets; /* 1; 2 while nodes are joining or leaving, if that changes who holds this object */
	struct placement_set
		set[2]; /* as without the joining nodes; as without the leaving ones: a quorum is needed in each */
	size_t count;
	unsigned node[2 * CLUSTER_REPLICAS_MAX]; /* all of them, once each, those of set[0] first */
};

/* Who holds "POOL/KEY". */
void placement_of(const struct cluster_map *map, const char *name, struct placement *p);

bool placement_set_has(const struct placement_set *set, unsigned node);

/* Whether the node is one of them, in any set. */
bool placement_has(const struct placement *p, unsigned node);

#endif
