/* SPDX-License-Identifier: GPL-3.0-only */
/* placement.c: the cost of a node for a name, and the cheapest nodes of different racks. */
#include "store/placement.h"

#include <string.h>
#include <xxhash.h>

#define FRACTION_BITS 40

/* A node that may be chosen. Its cost is `log` / `weight`. */
struct candidate {
	const struct cluster_node *node;
	uint64_t log;  /* -log2(u), in 2^-FRACTION_BITS */
	bool is_taken; /* chosen already */
};

/* -log2(u / 2^64) in units of 2^-FRACTION_BITS, for u > 0: the whole part is the place of the highest bit; then each squaring of what
 * is left, a number in [1, 2), brings one more bit of the fraction out in front. */
static uint64_t minus_log2(uint64_t u)
{
	unsigned zeros = (unsigned)__builtin_clzll(u);
	uint64_t x = u << zeros; /* x / 2^63 is in [1, 2) */
	uint64_t fraction = 0;

	for (int i = 0; i < FRACTION_BITS; i++) {
		unsigned __int128 square = (unsigned __int128)x * x >> 63;

		fraction <<= 1;
		if (square >> 64) {
			fraction |= 1;
			square >>= 1;
		}
		x = (uint64_t)square;
	}
	return ((uint64_t)(zeros + 1) << FRACTION_BITS) - fraction;
}

/* The hash of node, cluster and name; the seed of each (cluster, node) is itself a hash, so that no two are alike. */
static uint64_t draw(const struct cluster_map *map, unsigned node, const char *name)
{
	char key[CLUSTER_ID_TEXT + 4];
	size_t id = strnlen(map->id, CLUSTER_ID_TEXT);

	memcpy(key, map->id, id);
	for (int i = 0; i < 4; i++)
		key[id + (size_t)i] = (char)(node >> 8 * i & 0xff);
	return XXH64(name, strlen(name), XXH64(key, id + 4, 0));
}

static bool is_cheaper(const struct candidate *a, const struct candidate *b)
{
	unsigned __int128 x = (unsigned __int128)a->log * b->node->weight,
			  y = (unsigned __int128)b->log * a->node->weight;

	return x != y ? x < y : a->node->id < b->node->id;
}

static bool same_rack(const struct cluster_node *a, const struct cluster_node *b)
{
	return a == b || (a->rack[0] && strcmp(a->rack, b->rack) == 0);
}

/* How many nodes of the candidate's rack are chosen already. */
static unsigned rack_used(const struct candidate *all, size_t count, const struct cluster_node *node)
{
	unsigned used = 0;

	for (size_t i = 0; i < count; i++)
		used += all[i].is_taken && same_rack(all[i].node, node);
	return used;
}

/* The cheapest that is left, of a rack that was used the least; NULL when none is left. */
static struct candidate *best(struct candidate *all, size_t count)
{
	struct candidate *found = NULL;
	unsigned found_used = 0;

	for (size_t i = 0; i < count; i++) {
		unsigned used;

		if (all[i].is_taken)
			continue;
		used = rack_used(all, count, all[i].node);
		if (!found || used < found_used || (used == found_used && is_cheaper(&all[i], found))) {
			found = &all[i];
			found_used = used;
		}
	}
	return found;
}

/* The set of those nodes that are not in the state `without`. */
static void choose(const struct cluster_map *map, const char *name, enum cluster_node_state without, unsigned replicas,
                   struct placement_set *set)
{
	struct candidate all[CLUSTER_NODES_MAX], *next;
	size_t count = 0;

	for (size_t i = 0; i < map->node_count && i < CLUSTER_NODES_MAX; i++) {
		uint64_t u;

		if (map->node[i].state == without)
			continue;
		u = draw(map, map->node[i].id, name);
		all[count++] = (struct candidate){ .node = &map->node[i], .log = minus_log2(u ? u : 1) };
	}
	while (set->count < replicas && set->count < CLUSTER_REPLICAS_MAX && (next = best(all, count))) {
		next->is_taken = true;
		set->node[set->count++] = next->node->id;
	}
}

bool placement_set_has(const struct placement_set *set, unsigned node)
{
	for (size_t i = 0; i < set->count; i++)
		if (set->node[i] == node)
			return true;
	return false;
}

bool placement_has(const struct placement *p, unsigned node)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->node[i] == node)
			return true;
	return false;
}

static bool same_nodes(const struct placement_set *a, const struct placement_set *b)
{
	for (size_t i = 0; i < a->count; i++)
		if (!placement_set_has(b, a->node[i]))
			return false;
	return a->count == b->count;
}

void placement_of(const struct cluster_map *map, const char *name, struct placement *p)
{
	char pool[OBJECT_POOL_MAX + 1] = "";
	size_t len = strcspn(name, "/");
	unsigned replicas, quorum;

	memcpy(pool, name, len < sizeof pool ? len : sizeof pool - 1);
	cluster_map_pool(map, pool, &replicas, &quorum);
	memset(p, 0, sizeof *p);
	p->sets = 1;
	choose(map, name, NODE_JOINING, replicas, &p->set[0]);
	p->set[0].quorum = quorum;
	if (cluster_map_moving(map)) {
		choose(map, name, NODE_LEAVING, replicas, &p->set[1]);
		p->set[1].quorum = quorum;
		if (same_nodes(&p->set[0], &p->set[1]))
			memset(&p->set[1], 0, sizeof p->set[1]);
		else
			p->sets = 2;
	}
	for (size_t s = 0; s < p->sets; s++)
		for (size_t i = 0; i < p->set[s].count; i++)
			if (!placement_has(p, p->set[s].node[i]))
				p->node[p->count++] = p->set[s].node[i];
}
