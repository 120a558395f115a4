/* SPDX-License-Identifier: GPL-3.0-only */
/* admin.c: what operators have a node do: nodes join and leave, everything is compared, everything is read.
 *
 * Changes of the map are made through the agreement, whichever node is asked. They answer {"ok":true,"text":...}.
 */
#include "node/node_private.h"
#include "node/object_wire.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A change of the map that somebody waits for. */
struct change {
	struct exchange x;
	char text[256];
};

static void say(struct server_request *r, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void say(struct server_request *r, int status, const char *format, ...)
{
	char line[768];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	answer_json(r, status, json_pack("{s:b, s:s}", "ok", status == 200, "text", line));
}

/* ---- changes of the map ---- */

static void no_body(struct exchange *x, struct piece *piece)
{
	(void)x;
	piece_put(piece);
}

static void nothing(struct exchange *x)
{
	(void)x;
}

static const struct exchange_ops change_ops = { no_body, nothing, nothing };

static void changed(void *arg, int status, const struct error *err)
{
	struct change *c = arg;

	if (c->x.request) {
		if (!status)
			say(c->x.request, 200, "%s", c->text);
		else
			say(c->x.request, status == -EINVAL || status == -ESTALE ? 409 : 503, "%s", error_text(err));
		exchange_answered(&c->x);
	}
	exchange_end(&c->x);
	free(c);
}

/* `next` is the map as it is now with what was changed in it. */
static void change(struct node *n, struct server_request *r, struct cluster_map *next, const char *text)
{
	struct change *c = calloc(1, sizeof *c);

	if (!c) {
		say(r, 503, "out of memory");
		return;
	}
	next->version++;
	snprintf(c->text, sizeof c->text, "%s", text);
	c->x = (struct exchange){ .ops = &change_ops, .node = n, .request = r, .map = map_keeper_get(n->maps) };
	node_begin(n);
	server_request_set_context(r, &c->x);
	map_keeper_change(n->maps, next, changed, c);
}

/* Whether all nodes but `without` are up and have settled for the map as it is; answers when they have not. With force=1 it is enough that
 * they go by it: a node that is gone for good keeps the others from settling. */
static bool is_settled(struct node *n, struct server_request *r, const struct cluster_map *map, unsigned without)
{
	bool force = message_parameter(server_request_head(r), "force");
	struct heal_stats heal;

	heal_get_stats(n->heal, &heal);
	for (size_t i = 0; i < map->node_count; i++) {
		unsigned id = map->node[i].id;
		const struct neighbour *p = node_neighbour(n, id);
		uint64_t settled = id == n->self ? heal.settled : p ? p->settled : 0;
		uint64_t goes_by = id == n->self ? map_keeper_drained(n->maps) : p ? p->map : 0;

		if (id == without)
			continue;
		if (id != n->self && (!p || peer_state(p->peer) != PEER_UP)) {
			say(r, 409, "node %u is away: wait until it is back, or remove it first", id);
			return false;
		}
		if ((force ? goes_by : settled) != map->version) {
			say(r, 409, "node %u has not settled for the map as it is yet: try again in a moment", id);
			return false;
		}
	}
	return true;
}

/* A number among the parameters; 0 and an answer when it is none. */
static uint64_t number_of(struct server_request *r, const char *name, uint64_t max, uint64_t otherwise)
{
	const char *text = message_parameter(server_request_head(r), name);
	uint64_t number = otherwise;

	if ((text && message_number(text, max, &number)) || !number) {
		say(r, 400, "%s is a number from 1 to %" PRIu64, name, max);
		return 0;
	}
	return number;
}

static void join(struct node *n, struct server_request *r, struct cluster_map *map)
{
	const struct message_head *head = server_request_head(r);
	const char *host = message_parameter(head, "host"), *rack = message_parameter(head, "rack");
	struct cluster_node *c = &map->node[map->node_count];
	char text[160], address[CLUSTER_ADDRESS_TEXT];
	uint64_t port, weight;

	if (!host || strlen(host) > CLUSTER_HOST_MAX || (rack && strlen(rack) > CLUSTER_RACK_MAX)) {
		say(r, 400, "join needs a host, and a rack is at most %d characters", CLUSTER_RACK_MAX);
		return;
	}
	if (map->node_count == CLUSTER_NODES_MAX) {
		say(r, 409, "a cluster has at most %d nodes", CLUSTER_NODES_MAX);
		return;
	}
	port = number_of(r, "port", 65535, 0);
	weight = port ? number_of(r, "weight", CLUSTER_WEIGHT_MAX, 100) : 0;
	if (!weight)
		return;
	/* Who asks again did not get the answer. */
	for (size_t i = 0; i < map->node_count; i++) {
		if (map->node[i].port == port && strcmp(map->node[i].host, host) == 0) {
			say(r, 200, "node %u at that address is in the map already", map->node[i].id);
			return;
		}
	}
	if (!is_settled(n, r, map, 0))
		return;
	*c = (struct cluster_node){ .id = cluster_map_next_node(map),
		                    .port = (uint16_t)port,
		                    .weight = (unsigned)weight,
		                    .state = NODE_JOINING };
	snprintf(c->host, sizeof c->host, "%s", host);
	snprintf(c->rack, sizeof c->rack, "%s", rack ? rack : "");
	map->node_count++;
	snprintf(text, sizeof text, "node %u, %.80s, is joining", c->id, cluster_node_address(c, address));
	change(n, r, map, text);
}

static void leave(struct node *n, struct server_request *r, struct cluster_map *map, bool must_be_away)
{
	uint64_t id = number_of(r, "node", CLUSTER_NODE_ID_MAX, 0);
	struct cluster_node *c = NULL;
	const struct neighbour *p;
	char text[160];

	if (!id)
		return;
	for (size_t i = 0; i < map->node_count; i++)
		if (map->node[i].id == id)
			c = &map->node[i];
	if (!c) {
		say(r, 404, "there is no node %" PRIu64 " in the map", id);
		return;
	}
	p = node_neighbour(n, c->id);
	if (must_be_away && (c->id == n->self || (p && peer_state(p->peer) == PEER_UP))) {
		say(r, 409, "node %" PRIu64 " is up: drain it, then it goes by itself", id);
		return;
	}
	if (c->state == NODE_LEAVING) {
		say(r, 200, "node %" PRIu64 " is leaving already", id);
		return;
	}
	if (c->state == NODE_JOINING && !must_be_away) {
		say(r, 409, "node %" PRIu64 " is joining: wait until it has, then drain it", id);
		return;
	}
	if (c->state == NODE_JOINING) {
		/* What it holds the others have, too. */
		map->last_node = cluster_map_next_node(map) - 1;
		map->node_count--;
		memmove(c, c + 1, (size_t)(&map->node[map->node_count] - c) * sizeof *c);
		memset(&map->node[map->node_count], 0, sizeof *c);
		snprintf(text, sizeof text, "node %" PRIu64 " does not join", id);
		change(n, r, map, text);
		return;
	}
	if (!is_settled(n, r, map, must_be_away ? c->id : 0))
		return;
	c->state = NODE_LEAVING;
	snprintf(text, sizeof text, "node %" PRIu64 " is leaving: it goes when all it holds is elsewhere", id);
	change(n, r, map, text);
}

/* ---- what a node does for itself ---- */

static void scrub(struct node *n, struct server_request *r)
{
	if (!n->scrub) {
		say(r, 409, "this node does not scrub (--scrub-rate 0)");
		return;
	}
	object_scrub_now(n->scrub);
	say(r, 200, "node %u reads all its objects", n->self);
}

static void repair(struct node *n, struct server_request *r)
{
	heal_now(n->heal);
	say(r, 200, "node %u compares with all others", n->self);
}

void admin_serve(struct node *n, struct server_request *r, const char *what)
{
	struct map_ref *m = map_keeper_get(n->maps);
	struct cluster_map *map = malloc(sizeof *map);

	if (!map) {
		say(r, 503, "out of memory");
		goto out;
	}
	*map = m->map;
	if (strcmp(what, "join") == 0)
		join(n, r, map);
	else if (strcmp(what, "drain") == 0)
		leave(n, r, map, false);
	else if (strcmp(what, "remove") == 0)
		leave(n, r, map, true);
	else if (strcmp(what, "scrub") == 0)
		scrub(n, r);
	else if (strcmp(what, "repair") == 0)
		repair(n, r);
	else
		say(r, 404, "a node does not know how to %.40s", what);
out:
	free(map);
	map_ref_put(m);
}
