/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_call.c: asks nodes, and waits. */
#include "store/cluster_call.h"

#include "store/cluster_file.h"
#include "store/node_ask.h"
#include "store/waiter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALL_MS 5000   /* what all nodes are asked */
#define ASK_MS 60000  /* what one is told to do: it may have to ask the others */
#define TRY_MS 3000   /* of a node that says nothing: of ones that are not there a person wants to be told soon */
#define TOLD_MS 20000 /* the same of one that has to do something */
#define MAP_MS 4000

struct cluster_client {
	struct cluster_file file;
	struct cluster_map map;
	struct http_engine *engine;
};

static struct node_ask *ask_new(struct cluster_client *c, enum http_method method, const char *target)
{
	struct node_ask *a = calloc(1, sizeof *a);

	if (!a)
		return NULL;
	a->engine = c->engine;
	a->key = &c->file.key;
	a->tls = c->file.tls;
	a->method = method;
	a->target = target;
	a->class = HTTP_WAITED;
	a->one_round = true;
	a->room = CLUSTER_ANSWER_MAX;
	return a;
}

static void add_node(struct node_ask *a, const struct cluster_node *node)
{
	cluster_node_address(node, a->address[a->count++]);
}

/* ---- the map ---- */

int cluster_client_refresh(struct cluster_client *c, struct error *err)
{
	struct node_ask *a = ask_new(c, HTTP_GET, "/v1/map");
	struct cluster_map map;
	int rc;

	if (!a)
		return error_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < c->map.node_count; i++)
		add_node(a, &c->map.node[i]);
	a->deadline_ms = MAP_MS;
	a->try_ms = MAP_MS / 4;
	rc = node_ask_wait(a, err);
	if (!rc)
		rc = cluster_map_parse(a->body, a->length, &map, err);
	if (!rc && strcmp(map.id, c->map.id) != 0)
		rc = error_set(err, -EINVAL, "the nodes are of another cluster than the cluster's file");
	if (!rc && map.version > c->map.version)
		c->map = map;
	free(a->body);
	free(a);
	return rc;
}

const struct cluster_map *cluster_client_map(const struct cluster_client *c)
{
	return &c->map;
}

/* ---- questions ---- */

static void take_answer(struct node_ask *a, struct cluster_answer *answer)
{
	snprintf(answer->address, sizeof answer->address, "%s", a->address[a->from]);
	answer->result = a->result;
	answer->err = a->err;
	answer->body = a->body;
	answer->length = a->length;
}

static int no_memory(struct cluster_answer *answer)
{
	answer->result = error_set(&answer->err, -ENOMEM, "out of memory");
	return answer->result;
}

int cluster_client_ask(struct cluster_client *c, enum http_method method, const char *target, unsigned node, bool only,
                       struct cluster_answer *answer)
{
	struct node_ask *a = ask_new(c, method, target);
	const struct cluster_node *first = cluster_map_node(&c->map, node);

	*answer = (struct cluster_answer){ .node = node };
	if (!a)
		return no_memory(answer);
	if (first)
		add_node(a, first);
	for (size_t i = 0; i < c->map.node_count && !only; i++)
		if (&c->map.node[i] != first)
			add_node(a, &c->map.node[i]);
	a->deadline_ms = ASK_MS;
	a->try_ms = method == HTTP_POST ? TOLD_MS : TRY_MS;
	if (a->count) {
		node_ask_wait(a, NULL);
		take_answer(a, answer);
	} else {
		answer->result = error_set(&answer->err, -ENOENT, "the cluster has no node %u", node);
	}
	free(a);
	return answer->result;
}

static void wake(struct node_ask *a)
{
	waiter_answer(a->arg, 0, 0, NULL);
}

size_t cluster_client_ask_all(struct cluster_client *c, const char *target,
                              struct cluster_answer answers[CLUSTER_NODES_MAX])
{
	struct node_ask *asks[CLUSTER_NODES_MAX];
	struct waiter waiters[CLUSTER_NODES_MAX];

	for (size_t i = 0; i < c->map.node_count; i++) {
		answers[i] = (struct cluster_answer){ .node = c->map.node[i].id };
		cluster_node_address(&c->map.node[i], answers[i].address);
		asks[i] = ask_new(c, HTTP_GET, target);
		if (!asks[i])
			continue;
		waiters[i] = (struct waiter)WAITER(NULL);
		add_node(asks[i], &c->map.node[i]);
		asks[i]->deadline_ms = ALL_MS;
		asks[i]->try_ms = TRY_MS;
		asks[i]->done = wake;
		asks[i]->arg = &waiters[i];
		node_ask_submit(asks[i]);
	}
	for (size_t i = 0; i < c->map.node_count; i++) {
		if (!asks[i]) {
			no_memory(&answers[i]);
			continue;
		}
		waiter_wait(&waiters[i]);
		take_answer(asks[i], &answers[i]);
		free(asks[i]);
	}
	return c->map.node_count;
}

void cluster_answer_destroy(struct cluster_answer *a)
{
	free(a->body);
	a->body = NULL;
}

/* ---- opening and closing ---- */

int cluster_client_open(const char *path, struct cluster_client **client, struct error *err)
{
	struct cluster_client *c = calloc(1, sizeof *c);
	struct http_options http = { .deadline_ms = ASK_MS };
	struct error ignored;
	int rc;

	*client = NULL;
	if (!c)
		return error_set(err, -ENOMEM, "out of memory");
	rc = cluster_file_load(path, CLUSTER_GATEWAY_PEM, &c->file, err);
	if (!rc) {
		c->map = c->file.map;
		http.tls = cluster_file_tls(&c->file);
		c->engine = http_engine_new(&http, err);
		rc = c->engine ? 0 : -EAGAIN;
	}
	if (rc) {
		cluster_client_close(c);
		return rc;
	}
	/* Without an answer the one of the file is tried; whoever is asked then says why. */
	(void)cluster_client_refresh(c, &ignored);
	*client = c;
	return 0;
}

void cluster_client_close(struct cluster_client *c)
{
	if (!c)
		return;
	http_engine_free(c->engine);
	cluster_file_destroy(&c->file);
	free(c);
}
