/* SPDX-License-Identifier: GPL-3.0-only */
/* route.c: which path is served by whom; what is the same for all that serve. */
#include "node/node_private.h"
#include "node/object_wire.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Asked for by programs on this host that have no key: monitoring, and whoever wants to know whether the node runs. */
const struct server_open_path node_open_paths[] = {
	{ "/metrics", true },
	{ "/v1/health", true },
};
const size_t node_open_paths_count = sizeof node_open_paths / sizeof node_open_paths[0];

/* ---- exchanges ---- */

/* Whether the request goes by the newest map; answers when it does not. */
static bool by_this_map(struct node *node, struct server_request *r)
{
	uint64_t theirs = wire_map_version(server_request_head(r)), ours = map_keeper_version(node->maps);

	server_answer_headerf(r, WIRE_MAP, "%" PRIu64, ours);
	if (theirs > ours)
		map_keeper_seen(node->maps, theirs);
	if (theirs != ours) {
		server_answer_header(r, WIRE_REASON, "map");
		server_answer_text(r, theirs < ours ? 409 : 503, "%s has an older map of the cluster: version %" PRIu64,
		                   theirs < ours ? "the request" : "this node", theirs < ours ? theirs : ours);
		return false;
	}
	return true;
}

void exchange_begin(struct exchange *x, const struct exchange_ops *ops, struct node *node, struct server_request *r)
{
	x->ops = ops;
	x->node = node;
	x->request = r;
	x->map = map_keeper_get(node->maps);
	node_begin(node);
	server_request_set_context(r, x);
}

void exchange_answered(struct exchange *x)
{
	x->request = NULL;
}

void exchange_end(struct exchange *x)
{
	map_ref_put(x->map);
	node_done(x->node);
}

static void free_text(const void *text, size_t length, void *arg)
{
	(void)length;
	(void)arg;
	free((void *)(uintptr_t)text);
}

void answer_json(struct server_request *r, int status, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	json_decref(json);
	if (!text) {
		server_answer_text(r, 503, "out of memory");
		return;
	}
	server_answer_header(r, "Content-Type", "application/json");
	server_answer_bytes(r, status, text, strlen(text), free_text, NULL);
}

/* ---- answers that were read ---- */

bool node_admit(struct node *n, uint64_t bytes)
{
	return piece_budget_reserve(n->answers, bytes);
}

void node_give_back(struct node *n, uint64_t bytes)
{
	piece_budget_release(n->answers, bytes);
}

void answer_overloaded(struct exchange *x)
{
	server_answer_overloaded(x->request, "too many answers are under way");
	exchange_answered(x);
}

static void was_sent(const void *bytes, size_t length, void *arg)
{
	free((void *)(uintptr_t)bytes);
	node_give_back(arg, length);
}

void answer_read(struct exchange *x, int status, uint8_t *bytes, size_t length)
{
	server_answer_bytes(x->request, status, bytes, length, was_sent, x->node);
	exchange_answered(x);
}

/* ---- requests ---- */

static bool is(const struct message_head *head, const char *method)
{
	return strcmp(head->method, method) == 0;
}

/* Of names: whether the path was one of those. */
static bool route_object(struct node *n, struct server_request *r, const struct message_head *head)
{
	static const struct {
		const char *prefix;
		void (*put)(struct node *n, struct server_request *r, const char *name);
		void (*get)(struct node *n, struct server_request *r, const char *name);
		void (*remove)(struct node *n, struct server_request *r, const char *name);
	} kinds[] = {
		{ "/v1/object/", object_serve_put, object_serve_get, object_serve_remove },
		{ "/v1/replica/", replica_serve_put, replica_serve_get, replica_serve_remove },
	};

	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		const char *name = wire_name(head->path, kinds[i].prefix);
		if (!name)
			continue;
		if (!by_this_map(n, r))
			return true;
		if (is(head, "PUT"))
			kinds[i].put(n, r, name);
		else if (is(head, "GET") || is(head, "HEAD"))
			kinds[i].get(n, r, name);
		else if (is(head, "DELETE"))
			kinds[i].remove(n, r, name);
		else
			server_answer_text(r, 405, "an object is put, got, looked for or deleted");
		return true;
	}
	return false;
}

static bool route_get(struct node *n, struct server_request *r, const struct message_head *head)
{
	static const struct {
		const char *path;
		void (*serve)(struct node *n, struct server_request *r);
		bool by_map;
	} pages[] = {
		{ "/v1/health", health_serve, false },
		{ "/v1/map", map_serve, false },
		{ "/v1/status", status_serve, false },
		{ "/metrics", metrics_serve, false },
		{ "/v1/replica-list", replica_serve_list, true },
		{ "/v1/digests", replica_serve_digests, true },
		{ "/v1/bucket", replica_serve_bucket, true },
	};
	static const char list[] = "/v1/list/";

	for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
		if (strcmp(head->path, pages[i].path) == 0) {
			if (!pages[i].by_map || by_this_map(n, r))
				pages[i].serve(n, r);
			return true;
		}
	}
	if (strncmp(head->path, list, sizeof list - 1) != 0 || !object_pool_valid(head->path + sizeof list - 1))
		return false;
	if (by_this_map(n, r))
		object_serve_list(n, r, head->path + sizeof list - 1);
	return true;
}

static void on_head(void *arg, struct server_request *r)
{
	static const char admin[] = "/v1/admin/";
	const struct message_head *head = server_request_head(r);
	struct node *n = arg;

	server_request_set_context(r, NULL);
	if (n->stopping) {
		server_answer_text(r, 503, "this node is stopping");
		return;
	}
	if (route_object(n, r, head) || ((is(head, "GET") || is(head, "HEAD")) && route_get(n, r, head)))
		return;
	if (is(head, "POST") && strncmp(head->path, admin, sizeof admin - 1) == 0) {
		admin_serve(n, r, head->path + sizeof admin - 1);
		return;
	}
	server_answer_text(r, 404, "there is nothing at %.200s", head->path);
}

static void on_body(void *arg, struct server_request *r, struct piece *piece)
{
	struct exchange *x = server_request_context(r);

	(void)arg;
	if (x)
		x->ops->body(x, piece);
	else
		piece_put(piece);
}

static void on_end(void *arg, struct server_request *r)
{
	struct exchange *x = server_request_context(r);

	(void)arg;
	if (x)
		x->ops->end(x);
}

static void on_abort(void *arg, struct server_request *r)
{
	struct exchange *x = server_request_context(r);

	(void)arg;
	if (!x)
		return;
	x->request = NULL;
	x->ops->abort(x);
}

void route_handler(struct node *n, struct server_handler *handler)
{
	*handler = (struct server_handler){
		.on_head = on_head, .on_body = on_body, .on_end = on_end, .on_abort = on_abort, .arg = n
	};
}
