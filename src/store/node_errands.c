/* SPDX-License-Identifier: GPL-3.0-only */
/* node_errands.c: what a gateway asks storage nodes of its own accord: the newest map, and whether a node is back. Must not know what
 * the store's users ask for.
 */
#include "store/node_store.h"

#include "base/clock.h"
#include "base/report.h"
#include "store/node_ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAP_MS 5000
#define LOOK_MS 1000

struct errand {
	struct node_ask ask;
	struct node_store *store;
	unsigned node;
};

static struct errand *errand_new(struct node_store *s, const char *target)
{
	struct errand *e = calloc(1, sizeof *e);

	if (!e)
		return NULL;
	e->store = s;
	e->ask.engine = s->http.engine;
	e->ask.key = &s->file.key;
	e->ask.tls = s->file.tls;
	e->ask.method = HTTP_GET;
	e->ask.target = target;
	e->ask.try_ms = NODE_TRY_MS;
	e->ask.room = CLUSTER_TEXT_MAX;
	e->ask.arg = e;
	return e;
}

/* ---- maps ---- */

/* Reads a map that was asked for, and takes it if it is newer. */
static int take_map(struct node_store *s, const char *text, size_t length, struct error *err)
{
	struct cluster_map map;
	int rc = cluster_map_parse(text, length, &map, err);

	if (rc)
		return error_prefix(err, rc, "a node's map of the cluster");
	if (strcmp(map.id, s->file.map.id) != 0)
		return error_set(err, -EINVAL, "the nodes are of another cluster (%s) than the cluster's file (%s)",
		                 map.id, s->file.map.id);
	pthread_mutex_lock(&s->mutex);
	if (map.version > s->map.version) {
		report_debug("the cluster's map has version %llu", (unsigned long long)map.version);
		s->map = map;
		node_peers_set(&s->peers, &map);
	}
	pthread_mutex_unlock(&s->mutex);
	return 0;
}

static void map_done(struct node_ask *ask)
{
	struct errand *e = ask->arg;
	struct node_store *s = e->store;
	struct error err = { 0 };

	if (ask->result)
		report_debug("the cluster's map cannot be had: %s", error_text(&ask->err));
	else if (take_map(s, ask->body, ask->length, &err))
		report_warning("%s: %s", s->http.store.url, error_text(&err));
	pthread_mutex_lock(&s->mutex);
	s->map_asked_for = false;
	pthread_mutex_unlock(&s->mutex);
	free(ask->body);
	free(e);
}

/* Sets the address of the node's errand. False: it is gone. The mutex is held. */
static bool address_errand(struct errand *e, const struct node_peer *peer)
{
	if (!peer)
		return false;
	e->node = peer->id;
	snprintf(e->ask.address[0], sizeof e->ask.address[0], "%s", peer->address);
	e->ask.count = 1;
	e->ask.one_round = true;
	return true;
}

void node_store_ask_for_map(struct node_store *s, unsigned node)
{
	struct errand *e = errand_new(s, "/v1/map");
	bool wanted = false;

	if (!e)
		return;
	pthread_mutex_lock(&s->mutex);
	if (!s->map_asked_for)
		wanted = s->map_asked_for = address_errand(e, node_peers_find(&s->peers, node));
	pthread_mutex_unlock(&s->mutex);
	if (!wanted) {
		free(e);
		return;
	}
	e->ask.class = HTTP_WAITED;
	e->ask.deadline_ms = MAP_MS;
	e->ask.done = map_done;
	node_ask_submit(&e->ask);
}

static void add_address(struct node_ask *ask, const char *address, size_t length)
{
	if (ask->count == NODE_ASK_ADDRESSES || length >= sizeof ask->address[0])
		return;
	for (size_t i = 0; i < ask->count; i++)
		if (strlen(ask->address[i]) == length && strncmp(ask->address[i], address, length) == 0)
			return;
	memcpy(ask->address[ask->count], address, length);
	ask->address[ask->count++][length] = '\0';
}

int node_store_find_map(struct node_store *s, uint64_t deadline_ms, struct error *err)
{
	struct errand *e = errand_new(s, "/v1/map");
	int rc;

	if (!e)
		return error_set(err, -ENOMEM, "out of memory");
	for (const char *host = s->hosts; *host;) {
		size_t length = strcspn(host, ",");

		add_address(&e->ask, host, length);
		host += length + (host[length] == ',');
	}
	for (size_t i = 0; i < s->file.map.node_count; i++) {
		char address[CLUSTER_ADDRESS_TEXT];

		cluster_node_address(&s->file.map.node[i], address);
		add_address(&e->ask, address, strlen(address));
	}
	e->ask.class = HTTP_WAITED;
	e->ask.deadline_ms = deadline_ms;
	rc = node_ask_wait(&e->ask, err);
	if (rc)
		rc = error_prefix(err, rc, "no node of the cluster answers");
	else
		rc = take_map(s, e->ask.body, e->ask.length, err);
	free(e->ask.body);
	free(e);
	return rc;
}

/* ---- nodes that were away ---- */

static void look_done(struct node_ask *ask)
{
	struct errand *e = ask->arg;
	struct node_store *s = e->store;

	pthread_mutex_lock(&s->mutex);
	struct node_peer *peer = node_peers_find(&s->peers, e->node);
	if (peer && ask->result)
		node_peer_lost(peer, clock_monotonic_ns());
	else if (peer)
		node_peer_answered(peer);
	pthread_mutex_unlock(&s->mutex);
	free(ask->body);
	free(e);
}

void node_store_look_for_nodes(struct node_store *s)
{
	for (;;) {
		struct node_peer *peer;
		struct errand *e;
		bool wanted;

		pthread_mutex_lock(&s->mutex);
		peer = node_peers_to_look_for(&s->peers, clock_monotonic_ns());
		e = peer ? errand_new(s, "/v1/health") : NULL;
		wanted = e && address_errand(e, peer);
		if (peer && !wanted) /* later, then */
			node_peer_lost(peer, clock_monotonic_ns());
		pthread_mutex_unlock(&s->mutex);
		if (!wanted)
			return;
		e->ask.class = HTTP_BACKGROUND;
		e->ask.deadline_ms = 2 * LOOK_MS;
		e->ask.done = look_done;
		node_ask_submit(&e->ask);
	}
}
