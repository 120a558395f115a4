/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_init.h: makes the directory of a new cluster: its map, key and certificates, and for each node what is copied to its host.
 *
 *	DIR/cluster DIR/cluster.key DIR/ca.pem DIR/ca.key DIR/gateway.pem
 *	DIR/node-N/ cluster cluster.key ca.pem node.pem garnerd.service, and of etcd's members etcd.yaml etcd.service
 */
#ifndef GARNER_CLI_CLUSTER_INIT_H
#define GARNER_CLI_CLUSTER_INIT_H

#include "base/error.h"
#include "store/cluster_map.h"

struct cluster_plan {
	const char *nodes; /* "h1:7070,h2:7070@rack" */
	unsigned replicas, quorum;
	const char *out;
	bool plain; /* no certificates */
	const char *data, *garnerd;
	unsigned etcd_port;
};

/* "HOST:PORT" or "HOST:PORT@RACK", of `length` bytes, into host, port and rack. 0 or -EINVAL. */
int cluster_node_parse(const char *text, size_t length, struct cluster_node *node, struct error *err);

/* Makes the directory, whole or not at all; one that is there is refused (-EEXIST), unless it is empty. `*map` becomes the cluster's. */
int cluster_init(const struct cluster_plan *plan, struct cluster_map *map, struct error *err);

/* Makes DIR/node-N for a node that joins, where DIR is that of `cluster_file`; `map` is the newest, with the node in it. -ENOENT when ca.key is
 * not there. */
int cluster_add_node(const char *cluster_file, const struct cluster_map *map, unsigned node,
                     const struct cluster_plan *plan, struct error *err);

#endif
