/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_map.c: what a cluster map must be, whoever made it; questions about one. cluster_map_text.c reads and writes its text. */
#include "store/cluster_map.h"

#include "store/cluster_map_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char lower[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
static const char name_chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

const char *cluster_node_state_name(enum cluster_node_state state)
{
	static const char *const names[] = { "up", "joining", "leaving" };

	return state <= NODE_LEAVING ? names[state] : "unknown";
}

const char *cluster_node_address(const struct cluster_node *node, char text[CLUSTER_ADDRESS_TEXT])
{
	bool is_ipv6 = strchr(node->host, ':');

	snprintf(text, CLUSTER_ADDRESS_TEXT, is_ipv6 ? "[%s]:%u" : "%s:%u", node->host, (unsigned)node->port);
	return text;
}

/* ---- one value after the other ---- */

/* Whether `text`, in an array of `room`, ends there, is not empty, and has only characters of `set`. */
static bool consists_of(const char *text, size_t room, const char *set)
{
	return memchr(text, '\0', room) && *text && !text[strspn(text, set)];
}

static int check_id(const char *id, struct error *err)
{
	if (!consists_of(id, CLUSTER_ID_TEXT, "0123456789abcdef") || strlen(id) != CLUSTER_ID_TEXT - 1)
		return error_set(err, -EINVAL, "the cluster's id is not %d hexadecimal digits", CLUSTER_ID_TEXT - 1);
	return 0;
}

int cluster_check_quorum(const char *of, unsigned replicas, unsigned quorum, struct error *err)
{
	if (replicas < 1 || replicas > CLUSTER_REPLICAS_MAX)
		return error_set(err, -EINVAL, "%s: %u replicas, not 1 to %d", of, replicas, CLUSTER_REPLICAS_MAX);
	if (quorum > replicas)
		return error_set(err, -EINVAL, "%s: a quorum of %u cannot be had of %u replicas", of, quorum, replicas);
	if (2 * quorum <= replicas)
		return error_set(err, -EINVAL, "%s: a quorum of %u is not more than half of %u replicas", of, quorum,
		                 replicas);
	return 0;
}

/* "http://h1:2379": a scheme, and then what a host and port may have; no user, no path. */
static bool is_endpoint(const char *url, size_t len)
{
	size_t scheme = len > 8 && strncmp(url, "https://", 8) == 0  ? 8
	                : len > 7 && strncmp(url, "http://", 7) == 0 ? 7
	                                                             : 0;

	if (!scheme)
		return false;
	for (size_t i = scheme; i < len; i++)
		if (!strchr(name_chars, url[i]) && !strchr(":[]", url[i]))
			return false;
	return strchr(letters, url[scheme]) || url[scheme] == '[';
}

int cluster_check_agreement(const char *agreement, struct error *err)
{
	if (!memchr(agreement, '\0', CLUSTER_AGREEMENT_MAX + 1) || !*agreement)
		return error_set(err, -EINVAL, "no agreement: \"local\", or the URLs of etcd");
	if (strcmp(agreement, "local") == 0)
		return 0;
	for (const char *at = agreement;;) {
		size_t len = strcspn(at, ",");

		if (!is_endpoint(at, len))
			return error_set(err, -EINVAL,
			                 "the agreement's \"%.*s\" is not a URL like https://host:2379 (several have "
			                 "commas between)",
			                 len < 64 ? (int)len : 64, at);
		if (!at[len])
			return 0;
		at += len + 1;
	}
}

static bool host_is_good(const char *host)
{
	struct in6_addr address;

	if (strchr(host, ':'))
		return inet_pton(AF_INET6, host, &address) == 1;
	return consists_of(host, CLUSTER_HOST_MAX + 1, name_chars) && strchr(letters, host[0]);
}

static int check_node_alone(const struct cluster_node *n, struct error *err)
{
	if (n->id < 1 || n->id > CLUSTER_NODE_ID_MAX)
		return error_set(err, -EINVAL, "node %u: its number is not 1 to %d", n->id, CLUSTER_NODE_ID_MAX);
	if (!memchr(n->host, '\0', sizeof n->host) || !host_is_good(n->host))
		return error_set(err, -EINVAL, "node %u: its host is neither a name nor an address", n->id);
	if (!n->port)
		return error_set(err, -EINVAL, "node %u: its port is not 1 to 65535", n->id);
	if (n->weight < 1 || n->weight > CLUSTER_WEIGHT_MAX)
		return error_set(err, -EINVAL, "node %u: a weight of %u is not 1 to %d", n->id, n->weight,
		                 CLUSTER_WEIGHT_MAX);
	if (n->rack[0] && !consists_of(n->rack, sizeof n->rack, name_chars))
		return error_set(err, -EINVAL,
		                 "node %u: its rack's name is not 1 to %d of A-Z, a-z, 0-9, '.', '_', '-'", n->id,
		                 CLUSTER_RACK_MAX);
	if (n->state > NODE_LEAVING)
		return error_set(err, -EINVAL, "node %u: it has no state that is known", n->id);
	return 0;
}

int cluster_check_node(const struct cluster_map *map, size_t i, struct error *err)
{
	const struct cluster_node *n = &map->node[i];
	char address[CLUSTER_ADDRESS_TEXT];
	int rc = check_node_alone(n, err);

	if (rc < 0)
		return rc;
	for (size_t k = 0; k < i; k++) {
		const struct cluster_node *other = &map->node[k];

		if (other->id == n->id)
			return error_set(err, -EINVAL, "node %u is there twice", n->id);
		if (other->port == n->port && strcmp(other->host, n->host) == 0)
			return error_set(err, -EINVAL, "node %u: its address %s is that of node %u, too", n->id,
			                 cluster_node_address(n, address), other->id);
	}
	return 0;
}

int cluster_check_pool(const struct cluster_map *map, size_t i, struct error *err)
{
	const struct cluster_pool *p = &map->pool[i];
	char of[OBJECT_POOL_MAX + 16];

	if (!consists_of(p->name, sizeof p->name, lower) || !object_pool_valid(p->name))
		return error_set(
			err, -EINVAL,
			"a pool's name is 1 to %d of a-z, 0-9, '.', '_', '-', and begins with a letter or digit",
			OBJECT_POOL_MAX);
	for (size_t k = 0; k < i; k++)
		if (strcmp(map->pool[k].name, p->name) == 0)
			return error_set(err, -EINVAL, "pool %s is there twice", p->name);
	snprintf(of, sizeof of, "pool %s", p->name);
	return cluster_check_quorum(of, p->replicas, p->quorum, err);
}

/* ---- all of it together ---- */

static int check_enough(const struct cluster_map *map, const char *of, unsigned replicas, struct error *err)
{
	size_t before = 0, after = 0;

	for (size_t i = 0; i < map->node_count; i++) {
		before += map->node[i].state != NODE_JOINING;
		after += map->node[i].state != NODE_LEAVING;
	}
	if (before < replicas)
		return error_set(err, -EINVAL,
		                 "%s: %u replicas need as many nodes, and without those joining there are %zu", of,
		                 replicas, before);
	if (after < replicas)
		return error_set(err, -EINVAL,
		                 "%s: %u replicas need as many nodes, and without those leaving there are %zu", of,
		                 replicas, after);
	return 0;
}

int cluster_check_whole(const struct cluster_map *map, struct error *err)
{
	char of[OBJECT_POOL_MAX + 16];
	int rc;

	if (map->last_node > CLUSTER_NODE_ID_MAX)
		return error_set(err, -EINVAL, "the last node's number %u is more than %d", map->last_node,
		                 CLUSTER_NODE_ID_MAX);
	/* A claim that one node keeps for itself binds no other. */
	if (strcmp(map->agreement, "local") == 0 && map->node_count > 1)
		return error_set(err, -EINVAL,
		                 "agreement local is for a single node, and there are %zu: they need etcd",
		                 map->node_count);
	rc = check_enough(map, "other pools", map->replicas, err);
	for (size_t i = 0; i < map->pool_count && rc == 0; i++) {
		snprintf(of, sizeof of, "pool %s", map->pool[i].name);
		rc = check_enough(map, of, map->pool[i].replicas, err);
	}
	return rc;
}

int cluster_map_check(const struct cluster_map *map, struct error *err)
{
	int rc;

	if (map->version < 1 || map->version > CLUSTER_VERSION_MAX)
		return error_set(err, -EINVAL, "the map's version is not 1 to %" PRIu64, (uint64_t)CLUSTER_VERSION_MAX);
	if (map->node_count > CLUSTER_NODES_MAX || map->pool_count > CLUSTER_POOLS_MAX)
		return error_set(err, -EINVAL, "more than %d nodes or %d pools", CLUSTER_NODES_MAX, CLUSTER_POOLS_MAX);
	rc = check_id(map->id, err);
	if (rc == 0)
		rc = cluster_check_quorum("other pools", map->replicas, map->quorum, err);
	if (rc == 0)
		rc = cluster_check_agreement(map->agreement, err);
	for (size_t i = 0; i < map->node_count && rc == 0; i++)
		rc = cluster_check_node(map, i, err);
	for (size_t i = 0; i < map->pool_count && rc == 0; i++)
		rc = cluster_check_pool(map, i, err);
	return rc == 0 ? cluster_check_whole(map, err) : rc;
}

/* ---- questions ---- */

const struct cluster_node *cluster_map_node(const struct cluster_map *map, unsigned id)
{
	for (size_t i = 0; i < map->node_count; i++)
		if (map->node[i].id == id)
			return &map->node[i];
	return NULL;
}

unsigned cluster_map_last_node(const struct cluster_map *map)
{
	unsigned last = map->last_node;

	for (size_t i = 0; i < map->node_count; i++)
		last = map->node[i].id > last ? map->node[i].id : last;
	return last;
}

unsigned cluster_map_next_node(const struct cluster_map *map)
{
	return cluster_map_last_node(map) + 1;
}

void cluster_map_pool(const struct cluster_map *map, const char *pool, unsigned *replicas, unsigned *quorum)
{
	*replicas = map->replicas;
	*quorum = map->quorum;
	for (size_t i = 0; i < map->pool_count; i++) {
		if (strcmp(map->pool[i].name, pool) == 0) {
			*replicas = map->pool[i].replicas;
			*quorum = map->pool[i].quorum;
		}
	}
}

bool cluster_map_moving(const struct cluster_map *map)
{
	for (size_t i = 0; i < map->node_count; i++)
		if (map->node[i].state != NODE_UP)
			return true;
	return false;
}
