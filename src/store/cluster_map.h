/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_map.h: which storage nodes a cluster has: a small text with a version, the same for all; read from cluster files, served
 * by every node, kept by the agreement.
 *
 *	garner-cluster 1
 *	id 0123456789abcdef0123456789abcdef
 *	version 3
 *	replicas 3
 *	quorum 2
 *	agreement etcd https://h1:2379,https://h2:2379     (or: agreement local)
 *	node 1 h1:7070 weight=100 rack=a state=up
 *	node 2 [fd00::2]:7070 weight=100 state=joining
 *	last-node 4                                        (only when nodes of higher ids than those above are gone)
 *	pool fast replicas=2 quorum=2
 *	checksum 89abcdef                                  (CRC-32C of all lines before)
 *
 * There is exactly one text for a map: one space between words, the lines in this order, numbers without leading zeros, every line
 * ended. What was parsed is formatted to the same bytes, so two maps are the same if their texts are.
 *
 * Pure: no I/O, no clock, no state; any thread. Knows nothing of where the text is kept, nor of which node holds what (placement.h).
 */
#ifndef GARNER_STORE_CLUSTER_MAP_H
#define GARNER_STORE_CLUSTER_MAP_H

#include "base/error.h"
#include "store/object_version.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLUSTER_NODES_MAX 16
#define CLUSTER_REPLICAS_MAX 5
#define CLUSTER_POOLS_MAX 64
#define CLUSTER_TEXT_MAX 16384 /* bytes of a map's text; every map that passes its checks fits */

#define CLUSTER_ID_TEXT 33 /* 32 hex digits and the NUL */
#define CLUSTER_HOST_MAX 255
#define CLUSTER_RACK_MAX 32
#define CLUSTER_AGREEMENT_MAX 1023
#define CLUSTER_WEIGHT_MAX 100000
#define CLUSTER_NODE_ID_MAX 65535
#define CLUSTER_VERSION_MAX (UINT64_MAX / 2)

enum cluster_node_state {
	NODE_UP,
	NODE_JOINING, /* gets what it will hold; is not yet relied on alone */
	NODE_LEAVING  /* gives away what it holds; is still relied on */
};

struct cluster_node {
	unsigned id; /* from 1; never given again */
	char host[CLUSTER_HOST_MAX +
	          1]; /* a name or address; of IPv6 without its brackets (see cluster_node_address()) */
	uint16_t port;
	unsigned weight;                 /* its share relative to the others, 1 to CLUSTER_WEIGHT_MAX */
	char rack[CLUSTER_RACK_MAX + 1]; /* what fails together; "": a rack of its own */
	enum cluster_node_state state;
};

struct cluster_pool {
	char name[OBJECT_POOL_MAX + 1];
	unsigned replicas, quorum;
};

struct cluster_map {
	char id[CLUSTER_ID_TEXT];
	uint64_t version;                          /* from 1 */
	unsigned replicas, quorum;                 /* of pools that are not listed */
	char agreement[CLUSTER_AGREEMENT_MAX + 1]; /* "local", or the URLs of etcd with commas between */
	size_t node_count;
	struct cluster_node node[CLUSTER_NODES_MAX];
	unsigned last_node; /* no id up to this one is given again; less than the highest id counts as that id */
	size_t pool_count;
	struct cluster_pool pool[CLUSTER_POOLS_MAX];
};

/* Reads a map. Returns 0; or -EBADMSG with `err` saying in which line what is wrong (the text comes from others: every byte is
 * checked, and so is all that cluster_map_check() checks), and *map all zero. */
int cluster_map_parse(const char *text, size_t len, struct cluster_map *map, struct error *err);

/* Writes the map's text and a NUL into `text`. Returns its length, or -ENOSPC when `room` bytes are too few. The map must have passed
 * its checks. */
int cluster_map_format(const struct cluster_map *map, char *text, size_t room);

/* Whether a map can be used: each value within its bounds; ids and addresses of nodes unique, names of pools too; quorums of more
 * than half of the replicas; enough nodes for the replicas of every pool both before and after what is joining and leaving; an
 * agreement that all nodes share. 0, or -EINVAL and the reason. */
int cluster_map_check(const struct cluster_map *map, struct error *err);

/* The node of that id, or NULL. It lives as long as the map. */
const struct cluster_node *cluster_map_node(const struct cluster_map *map, unsigned id);

/* The id for a node that is added: above all that were ever given. */
unsigned cluster_map_next_node(const struct cluster_map *map);

/* How many replicas the objects of a pool have, and how many of them a quorum is. */
void cluster_map_pool(const struct cluster_map *map, const char *pool, unsigned *replicas, unsigned *quorum);

/* Whether a node is joining or leaving. */
bool cluster_map_moving(const struct cluster_map *map);

/* "up", "joining" or "leaving". */
const char *cluster_node_state_name(enum cluster_node_state state);

/* "host:port", with the brackets that an IPv6 address needs there, as it stands in URLs; returns `text`. */
#define CLUSTER_ADDRESS_TEXT (CLUSTER_HOST_MAX + 9)
const char *cluster_node_address(const struct cluster_node *node, char text[CLUSTER_ADDRESS_TEXT]);

#endif
