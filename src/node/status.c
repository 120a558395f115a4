/* SPDX-License-Identifier: GPL-3.0-only */
/* status.c: what a node says of itself: to other nodes (health), to operators (JSON), to monitoring (Prometheus' text). */
#include "node/node_private.h"
#include "node/object_wire.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void health_serve(struct node *n, struct server_request *r)
{
	struct heal_stats heal;

	heal_get_stats(n->heal, &heal);
	server_answer_headerf(r, WIRE_MAP, "%" PRIu64, map_keeper_drained(n->maps));
	server_answer_headerf(r, "X-Garner-Settled", "%" PRIu64, heal.settled);
	server_answer_header(r, WIRE_VOTE, node_votes(n) ? "1" : "0");
	server_answer_text(r, 200, "%s", node_state_text(n));
}

void map_serve(struct node *n, struct server_request *r)
{
	struct map_ref *m = map_keeper_get(n->maps);
	char *text = malloc(CLUSTER_TEXT_MAX);
	struct evbuffer *body = evbuffer_new();
	int length = text ? cluster_map_format(&m->map, text, CLUSTER_TEXT_MAX) : -ENOMEM;

	map_ref_put(m);
	if (!body || length < 0 || evbuffer_add(body, text, (size_t)length))
		server_answer_text(r, 503, "out of memory");
	else
		server_answer(r, 200, body);
	if (body)
		evbuffer_free(body);
	free(text);
}

/* ---- JSON ---- */

static json_t *peers_json(struct node *n, uint64_t *hints)
{
	json_t *list = json_array();

	*hints = 0;
	for (size_t i = 0; i < CLUSTER_NODES_MAX; i++) {
		const struct neighbour *p = &n->neighbours[i];
		struct peer_stats s;
		uint64_t waiting;

		if (!p->id)
			continue;
		peer_get_stats(p->peer, &s);
		waiting = hint_count(n->hints, p->id);
		*hints += waiting;
		json_array_append_new(list, json_pack("{s:I, s:s, s:b, s:I, s:I, s:s}", "node", (json_int_t)p->id,
		                                      "address", p->address, "up", s.state == PEER_UP, "rtt_us",
		                                      (json_int_t)s.round_trip_us, "hints", (json_int_t)waiting,
		                                      "error", s.state == PEER_UP ? "" : s.last_error));
	}
	return list;
}

static json_t *drives_json(const struct object_store_stats *stats)
{
	json_t *list = json_array();

	for (size_t i = 0; i < stats->drive_count; i++) {
		const struct object_drive_stats *d = &stats->drive[i];
		json_array_append_new(
			list, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "path", d->path, "state", d->state,
		                        "bytes", (json_int_t)d->bytes, "objects", (json_int_t)d->objects, "tombstones",
		                        (json_int_t)d->tombstones, "free", (json_int_t)d->free_bytes, "capacity",
		                        (json_int_t)d->capacity_bytes, "quarantined", (json_int_t)d->quarantined));
	}
	return list;
}

static json_t *scrub_json(struct node *n)
{
	struct object_scrub_stats s = { 0 };

	if (n->scrub)
		object_scrub_stats(n->scrub, &s);
	return json_pack("{s:I, s:I, s:I, s:I, s:b}", "passes", (json_int_t)s.passes, "last",
	                 (json_int_t)(s.last_complete_ns / 1000000000u), "errors", (json_int_t)s.damaged, "objects",
	                 (json_int_t)s.objects, "running", s.running);
}

static json_t *healing_json(struct node *n)
{
	struct heal_stats s;

	heal_get_stats(n->heal, &s);
	return json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:s}", "running", s.running, "passes", (json_int_t)s.passes,
	                 "missing", (json_int_t)s.missing, "pulled", (json_int_t)s.pulled, "failed",
	                 (json_int_t)s.failed, "settled", (json_int_t)s.settled, "error", s.last_error);
}

static json_t *requests_json(struct node *n)
{
	const struct node_counters *c = &n->counters;
	struct server_stats s;

	server_get_stats(n->server, &s);
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "puts",
	                 (json_int_t)c->puts, "gets", (json_int_t)c->gets, "heads", (json_int_t)c->heads, "removes",
	                 (json_int_t)c->removes, "lists", (json_int_t)c->lists, "no_quorum", (json_int_t)c->no_quorum,
	                 "repaired", (json_int_t)c->repaired, "all", (json_int_t)s.requests, "unauthenticated",
	                 (json_int_t)s.refused_unauthenticated, "replayed", (json_int_t)s.refused_replayed, "overload",
	                 (json_int_t)s.refused_overload, "connections", (json_int_t)s.connections, "body_bytes",
	                 (json_int_t)s.body_bytes);
}

static json_t *status_json(struct node *n)
{
	struct object_store_stats objects;
	struct map_ref *m = map_keeper_get(n->maps);
	uint64_t hints = 0, damaged;
	json_t *all;

	object_store_stats(n->objects, &objects);
	damaged = 0;
	for (size_t i = 0; i < objects.drive_count; i++)
		damaged += objects.drive[i].quarantined;
	json_t *peers = peers_json(n, &hints);
	all = json_pack("{s:I, s:s, s:I, s:b, s:b, s:s, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "node",
	                (json_int_t)n->self, "cluster", m->map.id, "map", (json_int_t)m->map.version, "moving",
	                cluster_map_moving(&m->map), "agreement", map_keeper_agrees(n->maps), "state",
	                node_state_text(n), "uptime_s", (json_int_t)((loop_now_ms() - n->started_ms) / 1000), "peers",
	                peers, "drives", drives_json(&objects), "objects", (json_int_t)objects.objects, "bytes",
	                (json_int_t)objects.bytes, "hints", (json_int_t)hints, "quarantined", (json_int_t)damaged,
	                "scrub", scrub_json(n), "healing", healing_json(n), "requests", requests_json(n));
	map_ref_put(m);
	return all;
}

void status_serve(struct node *n, struct server_request *r)
{
	answer_json(r, 200, status_json(n));
}

/* ---- Prometheus ---- */

static void metric(struct evbuffer *b, const char *name, const char *kind, const char *help, uint64_t value)
{
	evbuffer_add_printf(b, "# HELP garnerd_%s %s\n# TYPE garnerd_%s %s\ngarnerd_%s %" PRIu64 "\n", name, help, name,
	                    kind, name, value);
}

static void object_metrics(struct node *n, struct evbuffer *b)
{
	struct object_store_stats s;

	object_store_stats(n->objects, &s);
	metric(b, "objects", "gauge", "Objects kept here.", s.objects);
	metric(b, "tombstones", "gauge", "Removed objects that are remembered.", s.tombstones);
	metric(b, "object_bytes", "gauge", "Bytes of objects kept here.", s.bytes);
	metric(b, "damaged_total", "counter", "Copies that were found damaged.", s.damaged);
	evbuffer_add_printf(
		b, "# HELP garnerd_drive_ok Whether a drive takes new objects.\n# TYPE garnerd_drive_ok gauge\n");
	for (size_t i = 0; i < s.drive_count; i++)
		evbuffer_add_printf(b, "garnerd_drive_ok{drive=\"%zu\",state=\"%s\"} %d\n", i, s.drive[i].state,
		                    s.drive[i].takes_new);
	evbuffer_add_printf(b, "# HELP garnerd_drive_free_bytes Free bytes of a drive.\n"
	                       "# TYPE garnerd_drive_free_bytes gauge\n");
	for (size_t i = 0; i < s.drive_count; i++)
		evbuffer_add_printf(b, "garnerd_drive_free_bytes{drive=\"%zu\"} %" PRIu64 "\n", i,
		                    s.drive[i].free_bytes);
}

static void peer_metrics(struct node *n, struct evbuffer *b)
{
	struct peer_stats s;

	evbuffer_add_printf(b, "# HELP garnerd_peer_up Whether another node answers.\n# TYPE garnerd_peer_up gauge\n");
	for (size_t i = 0; i < CLUSTER_NODES_MAX; i++) {
		if (!n->neighbours[i].id)
			continue;
		peer_get_stats(n->neighbours[i].peer, &s);
		evbuffer_add_printf(b, "garnerd_peer_up{node=\"%u\"} %d\n", n->neighbours[i].id, s.state == PEER_UP);
	}
	evbuffer_add_printf(b,
	                    "# HELP garnerd_hints Objects that another node has missed.\n# TYPE garnerd_hints gauge\n");
	for (size_t i = 0; i < CLUSTER_NODES_MAX; i++)
		if (n->neighbours[i].id)
			evbuffer_add_printf(b, "garnerd_hints{node=\"%u\"} %" PRIu64 "\n", n->neighbours[i].id,
			                    hint_count(n->hints, n->neighbours[i].id));
}

static void request_metrics(struct node *n, struct evbuffer *b)
{
	const struct node_counters *c = &n->counters;
	struct server_stats s;

	server_get_stats(n->server, &s);
	metric(b, "puts_total", "counter", "Objects put by this node as coordinator.", c->puts);
	metric(b, "put_bytes_total", "counter", "Bytes of them.", c->put_bytes);
	metric(b, "gets_total", "counter", "Objects read by this node as coordinator.", c->gets);
	metric(b, "get_bytes_total", "counter", "Bytes of them.", c->get_bytes);
	metric(b, "removes_total", "counter", "Objects removed by this node as coordinator.", c->removes);
	metric(b, "lists_total", "counter", "Listings.", c->lists);
	metric(b, "no_quorum_total", "counter", "Operations that too few replicas answered.", c->no_quorum);
	metric(b, "delivered_total", "counter", "Hints delivered.", c->delivered);
	metric(b, "pulled_total", "counter", "Objects got from other nodes.", c->pulled);
	metric(b, "repaired_total", "counter", "Replicas mended while reading, or by a scrub.", c->repaired);
	metric(b, "requests_total", "counter", "HTTP requests.", s.requests);
	metric(b, "refused_unauthenticated_total", "counter", "Requests without the key.", s.refused_unauthenticated);
	metric(b, "refused_replayed_total", "counter", "Requests that were sent a second time.", s.refused_replayed);
	metric(b, "refused_overload_total", "counter", "Requests that were put off.", s.refused_overload);
	metric(b, "connections", "gauge", "Open connections.", s.connections);
	metric(b, "body_bytes", "gauge", "Bytes of bodies under way.", s.body_bytes);
}

void metrics_serve(struct node *n, struct server_request *r)
{
	struct evbuffer *b = evbuffer_new();
	struct heal_stats heal;

	if (!b) {
		server_answer_text(r, 503, "out of memory");
		return;
	}
	heal_get_stats(n->heal, &heal);
	metric(b, "up", "gauge", "Whether the answers of this node count.", node_votes(n));
	metric(b, "map_version", "gauge", "The cluster's map here.", map_keeper_version(n->maps));
	metric(b, "missing", "gauge", "Objects that the last comparison did not get.", heal.missing);
	object_metrics(n, b);
	peer_metrics(n, b);
	request_metrics(n, b);
	server_answer_header(r, "Content-Type", "text/plain; version=0.0.4");
	server_answer(r, 200, b);
	evbuffer_free(b);
}
