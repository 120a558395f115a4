/* SPDX-License-Identifier: GPL-3.0-only */
/* node_store.h: what the files of the store of storage nodes share.
 *
 *   store_node.c     the heads of requests, what answers mean
 *   node_errands.c   what the store asks of its own accord: the newest map, whether a node is back
 */
#ifndef GARNER_STORE_NODE_STORE_H
#define GARNER_STORE_NODE_STORE_H

#include "store/cluster_file.h"
#include "store/node_peers.h"
#include "store/placement.h"
#include "store/store_http.h"

#include <pthread.h>

#define NODE_TRY_MS 1000 /* a node that says nothing for so long is left for the next */

struct node_store {
	struct http_store http;
	struct cluster_file file; /* constant; its map is the one of the file */
	char pool[OBJECT_POOL_MAX + 1];
	char hosts[STORE_URL_MAX + 1]; /* of the URL: where to ask for the map, too */
	struct version_clock versions;
	bool ready; /* mutex and versions are there */

	pthread_mutex_t mutex; /* guards what follows */
	struct cluster_map map;
	struct node_peers peers;
	bool map_asked_for;
	unsigned turn; /* of requests that any node can answer */
	char acks[STORE_ACKS_TEXT];
};

/* Asks for the newest map, of all nodes that are known, and waits. 0 or a negative errno. When the store is opened. */
int node_store_find_map(struct node_store *s, uint64_t deadline_ms, struct error *err);

/* Asks that node for its map, unless one is being asked for. The mutex is not held. */
void node_store_ask_for_map(struct node_store *s, unsigned node);

/* Looks whether nodes that were down are back, if it is time. The mutex is not held. */
void node_store_look_for_nodes(struct node_store *s);

#endif
