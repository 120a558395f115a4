/* SPDX-License-Identifier: GPL-3.0-only */
/* node_peers.c: which storage nodes answer, and how fast. */
#include "store/node_peers.h"

#include <string.h>

#define MS 1000000ull
#define HALF_LIFE_NS (5000 * MS) /* of a latency that nobody has measured since */
#define AVERAGE_OF 8

void node_peers_set(struct node_peers *p, const struct cluster_map *map)
{
	struct node_peers old = *p;

	memset(p, 0, sizeof *p);
	for (size_t i = 0; i < map->node_count; i++) {
		struct node_peer *peer = &p->peer[p->count++];
		const struct node_peer *known = node_peers_find(&old, map->node[i].id);

		peer->id = map->node[i].id;
		cluster_node_address(&map->node[i], peer->address);
		if (known && strcmp(known->address, peer->address) == 0)
			*peer = *known;
	}
}

struct node_peer *node_peers_find(struct node_peers *p, unsigned id)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->peer[i].id == id)
			return &p->peer[i];
	return NULL;
}

void node_peer_lost(struct node_peer *peer, uint64_t now_ns)
{
	peer->down = true;
	peer->looked_for = false;
	peer->down_since_ns = now_ns;
}

void node_peer_answered(struct node_peer *peer)
{
	peer->down = peer->looked_for = false;
}

uint64_t node_peer_latency_us(const struct node_peer *peer, uint64_t now_ns)
{
	uint64_t halvings = now_ns > peer->latency_ns ? (now_ns - peer->latency_ns) / HALF_LIFE_NS : 0;

	return halvings < 64 ? peer->latency_us >> halvings : 0;
}

void node_peer_took(struct node_peer *peer, uint64_t us, uint64_t now_ns)
{
	uint64_t before = node_peer_latency_us(peer, now_ns);

	if (us < 1)
		us = 1;
	peer->latency_us = before ? (before * (AVERAGE_OF - 1) + us + AVERAGE_OF - 1) / AVERAGE_OF : us;
	peer->latency_ns = now_ns;
}

struct node_peer *node_peers_to_look_for(struct node_peers *p, uint64_t now_ns)
{
	for (size_t i = 0; i < p->count; i++) {
		struct node_peer *peer = &p->peer[i];

		if (peer->down && !peer->looked_for && now_ns - peer->down_since_ns >= NODE_DOWN_MS * MS) {
			peer->looked_for = true;
			return peer;
		}
	}
	return NULL;
}

int node_peers_choose(struct node_peers *p, const unsigned *ids, size_t count, unsigned tried, bool nearest,
                      uint64_t now_ns)
{
	int best = -1, last_resort = -1;
	uint64_t least = UINT64_MAX;

	for (size_t i = 0; i < count; i++) {
		const struct node_peer *peer = node_peers_find(p, ids[i]);
		uint64_t us;

		if (!peer || tried & 1u << i)
			continue;
		if (last_resort < 0)
			last_resort = (int)i;
		if (peer->down)
			continue;
		us = nearest ? node_peer_latency_us(peer, now_ns) : i;
		if (us < least) {
			least = us;
			best = (int)i;
		}
	}
	return best >= 0 ? best : last_resort;
}
