/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_units.h: the configuration files of a storage node: systemd's units, and etcd's. Pure: texts from a map. */
#ifndef GARNER_CLI_CLUSTER_UNITS_H
#define GARNER_CLI_CLUSTER_UNITS_H

#include "store/cluster_map.h"

#define CLUSTER_CONFIG_DIR "/etc/garnerfs"
#define CLUSTER_DATA_DIR "/var/lib/garnerd"
#define CLUSTER_ETCD_DIR "/var/lib/garner-etcd"
#define CLUSTER_ETCD_PORT 2379
#define CLUSTER_ETCD_MEMBERS_MAX 5

struct cluster_units {
	const struct cluster_map *map;
	bool plain;          /* no TLS */
	const char *data;    /* "DIR[,DIR...]": where a node keeps objects */
	const char *garnerd; /* the program's path */
	unsigned
		etcd_port; /* the first: of clients; the next one is the members' own; several members of a host have two each */
};

/* How many of so many nodes have an etcd: an odd number, the first ones. 0: a single node agrees with itself. */
size_t cluster_etcd_members(size_t nodes);

/* The endpoints of etcd for a map: "https://h1:2379,https://h2:2379,...". The length, or -ENOSPC. */
int cluster_etcd_endpoints(const struct cluster_units *u, char *text, size_t room);

/* The files' texts, malloc'ed; NULL: no memory. `node` is one of the map's; of etcd it is one of its members. */
char *cluster_garnerd_service(const struct cluster_units *u, const struct cluster_node *node);
char *cluster_etcd_service(const struct cluster_units *u);
char *cluster_etcd_yaml(const struct cluster_units *u, const struct cluster_node *node);

#endif
