/* SPDX-License-Identifier: GPL-3.0-only */
/* node_peers.h: what a gateway knows of each storage node: is it there, how fast does it answer; and which one is asked next.
 *
 * Pure: the time is given. One thread. Knows nothing of HTTP.
 */
#ifndef GARNER_STORE_NODE_PEERS_H
#define GARNER_STORE_NODE_PEERS_H

#include "store/cluster_map.h"
#include "store/node_auth.h"

#define NODE_DOWN_MS 1500 /* a node that did not answer is left alone, then somebody looks whether it is back */

struct node_peer {
	unsigned id;
	char address[CLUSTER_ADDRESS_TEXT];
	struct node_session session;
	bool down, looked_for; /* looked_for: somebody asks it whether it is back */
	uint64_t down_since_ns;
	uint64_t latency_us; /* of small reads, a moving average; 0: not known */
	uint64_t latency_ns; /* when that was */
};

struct node_peers {
	struct node_peer peer[CLUSTER_NODES_MAX];
	size_t count;
};

/* Takes the nodes of a map; what is known of those that were there, at the same address, is kept. */
void node_peers_set(struct node_peers *p, const struct cluster_map *map);

/* The node of that id, or NULL. It may be another one after node_peers_set(). */
struct node_peer *node_peers_find(struct node_peers *p, unsigned id);

/* It did not answer, or it did. */
void node_peer_lost(struct node_peer *peer, uint64_t now_ns);
void node_peer_answered(struct node_peer *peer);
/* A small read was answered after that long. */
void node_peer_took(struct node_peer *peer, uint64_t us, uint64_t now_ns);

/* How long an answer may take, for comparing: what is known ages, so that one that was slow once is tried again. 0: not known. */
uint64_t node_peer_latency_us(const struct node_peer *peer, uint64_t now_ns);

/* One that is down and for which it is time to look whether it is back; it is then looked_for, until node_peer_lost() or
 * node_peer_answered(). NULL: none. */
struct node_peer *node_peers_to_look_for(struct node_peers *p, uint64_t now_ns);

/* Which of the `count` nodes `ids` (in order of preference) to ask, of those whose bit is not set in `tried` (bit i: ids[i]): the first
 * that is not down, or, if `nearest`, the one that answers fastest; if all are down, the first. Returns its index, or -1 when all were
 * tried. Nodes that are not known are left out. */
int node_peers_choose(struct node_peers *p, const unsigned *ids, size_t count, unsigned tried, bool nearest,
                      uint64_t now_ns);

#endif
