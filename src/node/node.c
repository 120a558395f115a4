/* SPDX-License-Identifier: GPL-3.0-only */
/* node.c: a node begins and ends; which others there are; whether its answers count. */
#include "node/node.h"

#include "base/report.h"
#include "node/node_private.h"
#include "node/object_wire.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ASK_HEALTH_MS 1000
#define DRAIN_MS 3000
#define WRONG_AGAIN_MS 10000
#define WORK_THREADS 4

/* ---- references ---- */

void node_begin(struct node *n)
{
	n->unfinished++;
}

void node_done(struct node *n)
{
	n->unfinished--;
}

/* ---- the others ---- */

struct neighbour *node_neighbour(struct node *n, unsigned id)
{
	for (size_t i = 0; id && i < CLUSTER_NODES_MAX; i++)
		if (n->neighbours[i].id == id)
			return &n->neighbours[i];
	return NULL;
}

void node_gave_wrong_bytes(struct node *n, unsigned id, const char *name)
{
	struct neighbour *p = node_neighbour(n, id);
	uint64_t now = loop_now_ms();

	if (!p || (p->wrong_ms && now - p->wrong_ms < WRONG_AGAIN_MS))
		return;
	p->wrong_ms = now;
	report_warning("node %u at %s gave other bytes of %s than belong to it: they are not taken", id, p->address,
	               name);
}

static void came_up(void *arg, struct peer *peer)
{
	struct neighbour *p = arg;

	(void)peer;
	if (p->was_down)
		report_notice("node %u at %s is there again", p->id, p->address);
	p->was_down = false;
	deliver_begin(p);
	heal_now(p->node->heal);
}

static void went_down(void *arg, struct peer *peer, const char *why)
{
	struct neighbour *p = arg;

	(void)peer;
	if (!p->node->stopping)
		report_warning("node %u at %s is away: %s", p->id, p->address, why);
	p->was_down = true;
}

/* What the other says of itself: which map it goes by, and whether it has settled. */
static void heard(void *arg, int rc, const struct peer_answer *a, const struct error *err)
{
	struct neighbour *p = arg;
	const char *settled;

	(void)err;
	p->asking = false;
	if (p->node->stopping || !p->id)
		return; /* let go */
	if (!rc && a->status == 200) {
		settled = message_header(a->head, "X-Garner-Settled");
		p->map = wire_map_version(a->head);
		if (!settled || message_number(settled, CLUSTER_VERSION_MAX, &p->settled))
			p->settled = 0;
		map_keeper_seen(p->node->maps, p->map);
		heal_look(p->node->heal);
	}
	deliver_begin(p);
}

static void ask_health(void *neighbour)
{
	struct neighbour *p = neighbour;

	loop_timer_set(&p->ask, ASK_HEALTH_MS);
	if (p->asking || peer_state(p->peer) != PEER_UP)
		return;
	p->asking =
		peer_request(p->peer,
	                     &(struct peer_call){ .method = "GET", .target = "/v1/health", .done = heard, .arg = p },
	                     NULL, NULL) == 0;
}

static void add_neighbour(struct node *n, const struct cluster_node *c)
{
	struct neighbour *p = NULL;
	struct error err = { 0 };
	struct peer_options options;

	for (size_t i = 0; i < CLUSTER_NODES_MAX && !p; i++)
		if (!n->neighbours[i].id)
			p = &n->neighbours[i];
	if (!p)
		return;
	*p = (struct neighbour){ .node = n, .id = c->id };
	snprintf(p->name, sizeof p->name, "n%u", c->id);
	cluster_node_address(c, p->address);
	options = (struct peer_options){ .name = p->name,
		                         .host = c->host,
		                         .port = c->port,
		                         .tls = n->tls,
		                         .tls_name = c->host,
		                         .key = n->cluster.key,
		                         .on_up = came_up,
		                         .on_down = went_down,
		                         .arg = p };
	if (peer_new(n->loop, &options, &p->peer, &err)) {
		report_error("node %u: %s", c->id, error_text(&err));
		p->id = 0;
		return;
	}
	loop_timer_init(&p->ask, n->loop, ask_health, p);
	loop_timer_set(&p->ask, 0);
}

static void forget_job(void *arg)
{
	struct neighbour *gone = arg;

	hint_forget(gone->node->hints, gone->id);
	free(gone);
}

/* What was asked of it ends now. */
static void let_go(struct neighbour *p)
{
	struct peer *peer = p->peer;

	loop_timer_cancel(&p->ask);
	p->id = 0;
	p->peer = NULL;
	peer_free(peer);
}

static void drop_neighbour(struct neighbour *p)
{
	struct neighbour *gone = malloc(sizeof *gone);

	report_notice("node %u at %s is not of the cluster any more", p->id, p->address);
	if (gone) {
		*gone = *p;
		if (executor_run(p->node->work, forget_job, gone))
			free(gone);
	}
	let_go(p);
}

/* Whether the neighbour is not of the map, or is somewhere else by now. */
static bool is_gone(const struct cluster_map *map, const struct neighbour *p)
{
	const struct cluster_node *c = cluster_map_node(map, p->id);
	char address[CLUSTER_ADDRESS_TEXT];

	return !c || strcmp(cluster_node_address(c, address), p->address) != 0;
}

static void map_changed(void *arg, const struct cluster_map *map)
{
	struct node *n = arg;
	bool here = cluster_map_node(map, n->self);

	for (size_t i = 0; i < CLUSTER_NODES_MAX; i++)
		if (n->neighbours[i].id && is_gone(map, &n->neighbours[i]))
			drop_neighbour(&n->neighbours[i]);
	for (size_t i = 0; i < map->node_count; i++)
		if (map->node[i].id != n->self && !node_neighbour(n, map->node[i].id))
			add_neighbour(n, &map->node[i]);
	if (!here && !n->told_gone)
		report_warning("this node is not of the cluster any more: it can be stopped, and its data deleted");
	n->told_gone = !here;
	if (n->heal)
		heal_map_changed(n->heal);
}

/* ---- hints ---- */

struct missed {
	struct node *node;
	unsigned id;
	char name[OBJECT_NAME_MAX + 1];
	struct object_version version;
};

static void hint_job(void *arg)
{
	struct missed *m = arg;
	int rc = hint_add(m->node->hints, m->id, m->name, m->version);

	if (rc)
		report_warning("cannot note what node %u has missed (%s): a comparison will find it", m->id,
		               strerror(-rc));
	free(m);
}

void node_hint(struct node *n, unsigned id, const char *name, struct object_version version)
{
	struct missed *m = id == n->self ? NULL : malloc(sizeof *m);

	if (!m) {
		/* What this node itself has missed it asks the others for. */
		if (id == n->self)
			heal_now(n->heal);
		return;
	}
	*m = (struct missed){ .node = n, .id = id, .version = version };
	snprintf(m->name, sizeof m->name, "%s", name);
	if (executor_run(n->work, hint_job, m))
		free(m);
}

/* ---- scrub ---- */

struct found {
	struct node *node;
	char name[OBJECT_NAME_MAX + 1];
};

static void found_here(void *arg)
{
	struct found *f = arg;

	heal_object(f->node->heal, f->name);
	free(f);
}

static void scrub_found(void *arg, const char *name, const struct object_meta *meta)
{
	struct node *n = arg;
	struct found *f = malloc(sizeof *f);

	(void)meta;
	report_error("%s: the copy here is damaged", name);
	if (!f)
		return;
	f->node = n;
	snprintf(f->name, sizeof f->name, "%s", name);
	if (loop_post(n->loop, found_here, f))
		free(f);
}

/* ---- beginning ---- */

static int find_self(struct node *n, struct error *err)
{
	const struct node_options *o = n->options;
	const struct cluster_map *map = &n->cluster.map;

	if (o->node && cluster_map_node(map, o->node)) {
		n->self = o->node;
		return 0;
	}
	for (size_t i = 0; !o->node && i < map->node_count; i++)
		if (map->node[i].port == o->port && strcmp(map->node[i].host, o->host) == 0)
			n->self = map->node[i].id;
	if (n->self)
		return 0;
	if (o->node)
		return error_set(
			err, -EINVAL,
			"%s has no node %u: join it (garner cluster join HOST:PORT), then take the newest map: "
			"garner cluster map >FILE",
			o->cluster_file, o->node);
	return error_set(err, -EINVAL,
	                 "%s has no node at %s: say which one this is (--node N); or join it (garner cluster join "
	                 "%s), then take the newest map: garner cluster map >FILE",
	                 o->cluster_file, o->listen, o->listen);
}

static int open_objects(struct node *n, struct error *err)
{
	struct object_store_options options = { .drives = n->options->drive,
		                                .drive_count = n->options->drive_count,
		                                .cluster_id = n->cluster.map.id,
		                                .node_id = n->self };
	bool lost = false;
	int rc;

	for (size_t i = 0; i < options.drive_count; i++) {
		rc = disk_make_path(disk_posix(), options.drives[i]);
		if (rc)
			return error_set(err, rc, "%s: %s", options.drives[i], strerror(-rc));
	}
	rc = object_store_open(&options, &n->objects, err);
	if (!rc)
		rc = hints_open(object_store_node_dir(n->objects), 0, &n->hints, &lost, err);
	if (!rc && lost)
		report_warning("what other nodes have missed is not known any more; comparing finds it");
	return rc;
}

static int open_agreement(struct node *n, struct error *err)
{
	char path[PATH_MAX];

	if (strcmp(n->cluster.map.agreement, "local") == 0) {
		snprintf(path, sizeof path, "%s/agreement.db", object_store_node_dir(n->objects));
		return agreement_open_local(path, &n->agreement, err);
	}
	return agreement_open_etcd(&(struct agreement_etcd_options){ .endpoints = n->cluster.map.agreement,
	                                                             .cluster_id = n->cluster.map.id,
	                                                             .tls = cluster_file_tls(&n->cluster) },
	                           &n->agreement, err);
}

/* What lives on the loop. */
struct beginning {
	struct node *node;
	struct error err;
	int rc;
};

static int open_server(struct node *n, struct error *err)
{
	struct server_options options = { .host = n->options->host,
		                          .port = n->options->port,
		                          .tls = n->tls,
		                          .key = n->cluster.key,
		                          .limits = { .connections = n->options->connections,
		                                      .body_max = OBJECT_LENGTH_MAX,
		                                      .bodies_max = n->options->memory },
		                          .open_paths = node_open_paths,
		                          .open_paths_count = node_open_paths_count };

	route_handler(n, &options.handler);
	return server_new(n->loop, &options, &n->server, err);
}

static void begin_here(void *arg)
{
	struct beginning *b = arg;
	struct node *n = b->node;
	char path[PATH_MAX];
	struct map_ref *m;

	snprintf(path, sizeof path, "%s/cluster.map", object_store_node_dir(n->objects));
	b->rc = map_keeper_new(&(struct map_keeper_options){ .loop = n->loop,
	                                                     .agreement = n->agreement,
	                                                     .path = path,
	                                                     .first = &n->cluster.map,
	                                                     .on_change = map_changed,
	                                                     .arg = n },
	                       &n->maps, &b->err);
	if (b->rc)
		return;
	m = map_keeper_get(n->maps);
	n->heal = heal_new(n);
	if (n->heal)
		map_changed(n, &m->map);
	map_ref_put(m);
	if (!n->heal)
		b->rc = error_set(&b->err, -ENOMEM, "out of memory");
	if (!b->rc)
		b->rc = identity_begin(n, &b->err);
	if (!b->rc)
		b->rc = open_server(n, &b->err);
}

/* The loop serves already: what it looks at is changed there. */
struct scrub_change {
	struct node *node;
	struct object_scrub *scrub;
};

static void scrub_here(void *arg)
{
	struct scrub_change *c = arg;
	struct object_scrub *before = c->node->scrub;

	c->node->scrub = c->scrub;
	c->scrub = before;
}

static int begin_scrub(struct node *n, struct error *err)
{
	struct scrub_change c = { .node = n };
	int rc;

	if (!n->options->scrub_rate)
		return 0;
	rc = object_scrub_start(n->objects, n->options->scrub_rate, n->options->scrub_ms / 1000, scrub_found, n,
	                        &c.scrub);
	if (!rc && loop_run(n->loop, scrub_here, &c)) {
		object_scrub_stop(c.scrub);
		rc = -ENOMEM;
	}
	return rc ? error_set(err, rc, "cannot start the scrub: %s", strerror(-rc)) : 0;
}

static void end_scrub(struct node *n)
{
	struct scrub_change c = { .node = n };

	while (n->loop && loop_run(n->loop, scrub_here, &c))
		;
	object_scrub_stop(c.scrub);
}

static int begin(struct node *n, struct error *err)
{
	struct beginning b = { .node = n };
	int rc = cluster_file_load(n->options->cluster_file, CLUSTER_NODE_PEM, &n->cluster, err);

	if (!rc)
		rc = find_self(n, err);
	if (!rc && n->cluster.tls)
		rc = tls_load(n->cluster.ca, n->cluster.pem, &n->tls, err);
	if (!rc)
		rc = open_objects(n, err);
	if (!rc)
		rc = open_agreement(n, err);
	if (!rc)
		rc = loop_new("node", &n->loop, err);
	if (!rc && !(n->work = executor_new("work", WORK_THREADS, false)))
		rc = error_set(err, -ENOMEM, "cannot start threads");
	if (rc)
		return rc;
	if (loop_run(n->loop, begin_here, &b))
		return error_set(err, -ENOMEM, "out of memory");
	if (b.rc) {
		if (err)
			*err = b.err;
		return b.rc;
	}
	return begin_scrub(n, err);
}

int node_start(const struct node_options *options, struct node **node, struct error *err)
{
	struct node *n = calloc(1, sizeof *n);
	int rc;

	if (!n)
		return error_set(err, -ENOMEM, "out of memory");
	n->options = options;
	n->started_ms = loop_now_ms();
	n->answers = piece_budget_new(options->memory);
	rc = n->answers ? begin(n, err) : error_set(err, -ENOMEM, "out of memory");
	if (rc) {
		node_stop(n);
		return rc;
	}
	report_notice("node %u serves at %s", n->self, options->listen);
	*node = n;
	return 0;
}

/* ---- ending ---- */

static void drained(void *arg)
{
	struct node *n = arg;

	server_free(n->server);
	n->server = NULL;
}

static void end_here(void *arg)
{
	struct node *n = arg;

	n->stopping = true;
	if (n->server)
		server_drain(n->server, DRAIN_MS, drained, n);
	if (n->heal)
		heal_stop(n->heal);
	if (n->maps)
		map_keeper_stop(n->maps);
}

struct question {
	struct node *node;
	bool yes;
};

/* When the requests are answered, the other nodes need not be asked any more; what still waits for them ends. */
static void is_idle(void *arg)
{
	struct question *q = arg;
	struct node *n = q->node;

	q->yes = false;
	if (n->server)
		return;
	for (size_t i = 0; i < CLUSTER_NODES_MAX; i++)
		if (n->neighbours[i].id)
			let_go(&n->neighbours[i]);
	q->yes = n->unfinished == 0;
}

static void wait_idle(struct node *n)
{
	struct question q = { .node = n };

	while (loop_run(n->loop, is_idle, &q) == 0 && !q.yes)
		nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
}

static void last_here(void *arg)
{
	struct node *n = arg;

	identity_end(n);
	heal_free(n->heal);
}

void node_stop(struct node *n)
{
	if (!n)
		return;
	end_scrub(n);
	if (n->loop) {
		loop_run(n->loop, end_here, n);
		wait_idle(n);
	}
	executor_free(n->work);
	agreement_close(n->agreement);
	if (n->loop)
		loop_run(n->loop, last_here, n);
	object_store_close(n->objects);
	loop_free(n->loop);
	map_keeper_free(n->maps);
	hints_close(n->hints);
	tls_free(n->tls);
	cluster_file_destroy(&n->cluster);
	piece_budget_put(n->answers);
	free(n);
}
