/* SPDX-License-Identifier: GPL-3.0-only */
/* real_nodes.h: whole storage nodes in this process: some node_start(), on ports of 127.0.0.1, with a real etcd, and a store that is their
 * gateway. For tests only.
 */
#ifndef GARNER_TESTS_REAL_NODES_H
#define GARNER_TESTS_REAL_NODES_H

#include "lib/etcd_server.h"
#include "node/node.h"
#include "node/node_private.h"
#include "store/cluster_map.h"
#include "store/store.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <sodium.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#define REAL_NODES_MAX 6

struct real_node {
	struct node_options options;
	char host[32], listen[48], cluster[200], data[200];
	struct node *node; /* NULL: it does not run */
};

struct real_nodes {
	struct etcd_server *etcd;
	char dir[64], key[65];
	struct cluster_map map;
	struct real_node node[REAL_NODES_MAX];
	size_t count;
	struct store *store;
};

/* A port that is free now, and that the kernel gives to no connection meanwhile: below those. */
static inline uint16_t real_nodes_port(const struct real_nodes *r)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	for (;;) {
		uint16_t port = (uint16_t)(12000 + randombytes_uniform(20000));
		int fd = socket(AF_INET, SOCK_STREAM, 0), rc;

		at.sin_port = htons(port);
		assert_true(fd >= 0);
		rc = bind(fd, (struct sockaddr *)&at, sizeof at);
		close(fd);
		for (size_t i = 0; i < r->count; i++)
			rc |= r->node[i].options.port == port;
		if (!rc)
			return port;
	}
}

static inline void real_nodes_file(const char *dir, const char *name, const char *text)
{
	char path[300];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fchmod(fileno(f), 0600), 0);
	assert_int_equal(fclose(f), 0);
}

/* Writes the cluster's file as the map is. */
static inline void real_nodes_write_map(struct real_nodes *r)
{
	char text[CLUSTER_TEXT_MAX];

	assert_true(cluster_map_format(&r->map, text, sizeof text) > 0);
	real_nodes_file(r->dir, "cluster", text);
}

/* One more, which is not in the map yet. Returns its number from 0. */
static inline size_t real_nodes_add(struct real_nodes *r)
{
	struct real_node *n = &r->node[r->count];
	uint16_t port = real_nodes_port(r);

	snprintf(n->host, sizeof n->host, "127.0.0.1");
	snprintf(n->listen, sizeof n->listen, "127.0.0.1:%u", port);
	snprintf(n->cluster, sizeof n->cluster, "%s/cluster", r->dir);
	snprintf(n->data, sizeof n->data, "%s/data%zu", r->dir, r->count);
	n->options = (struct node_options){ .drive = { n->data },
		                            .drive_count = 1,
		                            .listen = n->listen,
		                            .host = n->host,
		                            .port = port,
		                            .cluster_file = n->cluster,
		                            .memory = 64 << 20,
		                            .connections = 64,
		                            .heal_ms = 1000,
		                            .tombstone_ms = 86400000 };
	return r->count++;
}

static inline void real_nodes_start(struct real_nodes *r, size_t i)
{
	struct error err = { 0 };

	if (node_start(&r->node[i].options, &r->node[i].node, &err))
		fail_msg("node %zu: %s", i, error_text(&err));
}

static inline void real_nodes_stop(struct real_nodes *r, size_t i)
{
	node_stop(r->node[i].node);
	r->node[i].node = NULL;
}

/* Opens the gateway. */
static inline void real_nodes_connect(struct real_nodes *r)
{
	struct store_options options = { .create = true, .deadline_ms = 20000 };
	struct error err = { 0 };
	char url[500];
	size_t used = (size_t)snprintf(url, sizeof url, "node://");

	for (size_t i = 0; i < r->count; i++)
		used += (size_t)snprintf(url + used, sizeof url - used, "%s%s", i ? "," : "", r->node[i].listen);
	snprintf(url + used, sizeof url - used, "/p?cluster=%s/cluster", r->dir);
	if (store_open(url, &options, &r->store, &err))
		fail_msg("%s", error_text(&err));
}

/* Starts `count` nodes with so many replicas, and their gateway. */
static inline void real_nodes_begin(struct real_nodes *r, struct etcd_server *etcd, size_t count, unsigned replicas,
                                    unsigned quorum)
{
	uint8_t random[32];
	char key[65];

	memset(r, 0, sizeof *r);
	r->etcd = etcd;
	snprintf(r->dir, sizeof r->dir, "/tmp/garner-nodes-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	randombytes_buf(random, sizeof random);
	sodium_bin2hex(key, sizeof key, random, sizeof random);
	real_nodes_file(r->dir, "cluster.key", key);
	randombytes_buf(random, 16);
	sodium_bin2hex(r->map.id, sizeof r->map.id, random, 16);
	r->map.version = 1;
	r->map.replicas = replicas;
	r->map.quorum = quorum;
	snprintf(r->map.agreement, sizeof r->map.agreement, "%s", count == 1 ? "local" : etcd->endpoints);
	for (size_t i = 0; i < count; i++) {
		struct real_node *n = &r->node[real_nodes_add(r)];
		r->map.node[i] = (struct cluster_node){ .id = (unsigned)i + 1, .port = n->options.port, .weight = 100 };
		snprintf(r->map.node[i].host, sizeof r->map.node[i].host, "%s", n->host);
	}
	r->map.node_count = count;
	real_nodes_write_map(r);
	for (size_t i = 0; i < count; i++)
		real_nodes_start(r, i);
	real_nodes_connect(r);
}

static inline void real_nodes_end(struct real_nodes *r)
{
	store_close(r->store);
	for (size_t i = 0; i < r->count; i++)
		if (r->node[i].node)
			real_nodes_stop(r, i);
	remove_tree(r->dir);
}

/* ---- what a node says of itself ---- */

struct real_nodes_look {
	struct node *node;
	uint64_t map, hints;
	size_t nodes;
	bool ok, calm; /* its answers count; and nothing is missing, damaged or on the way */
};

static inline void real_nodes_look_here(void *arg)
{
	struct real_nodes_look *l = arg;
	struct heal_stats heal;
	struct map_ref *m = map_keeper_get(l->node->maps);

	heal_get_stats(l->node->heal, &heal);
	l->map = m->map.version;
	l->nodes = m->map.node_count;
	l->hints = hint_count(l->node->hints, 0);
	l->ok = node_votes(l->node);
	l->calm = l->ok && !l->hints && !heal.running && !heal.missing && heal.last_complete_ms &&
	          !cluster_map_moving(&m->map);
	map_ref_put(m);
}

static inline struct real_nodes_look real_nodes_look(struct real_nodes *r, size_t i)
{
	struct real_nodes_look l = { .node = r->node[i].node };

	assert_int_equal(loop_run(l.node->loop, real_nodes_look_here, &l), 0);
	return l;
}

/* Waits until all that run are calm, for at most a minute. */
static inline void real_nodes_calm(struct real_nodes *r)
{
	for (int tries = 0; tries < 1200; tries++) {
		bool calm = true;
		for (size_t i = 0; i < r->count; i++)
			calm &= !r->node[i].node || real_nodes_look(r, i).calm;
		if (calm)
			return;
		nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
	}
	fail_msg("the nodes do not come to rest");
}

static inline void real_nodes_heal_here(void *arg)
{
	heal_now(((struct node *)arg)->heal);
}

/* Has it compare with all others, now. */
static inline void real_nodes_heal(struct real_nodes *r, size_t i)
{
	assert_int_equal(loop_run(r->node[i].node->loop, real_nodes_heal_here, r->node[i].node), 0);
}

#endif
