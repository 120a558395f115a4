/* SPDX-License-Identifier: GPL-3.0-only */
/* heal.c: when this node looks after what it holds: passes of comparing, repairs of single objects, sweeps; and when a move of the
 * cluster's map is done.
 *
 * A pass begins at the start, when a node is back, when the map has changed, every so often, and again soon when it was not complete
 * although it has to be: this node has lost something, or nodes are joining or leaving.
 *
 * A map is settled for this node when a pass was complete that began after every other node went by that map alone: whatever was put
 * by the one before was there to be found; and when nothing is here any more that is others' by it. Only from a settled map does
 * the cluster go on to the next: what was left over could come back to life on a node that is to hold it again. When all nodes have said so, the one with the lowest id makes the next map, in which
 * joining nodes are as all others, and leaving ones are gone.
 */
#include "node/heal_private.h"
#include "node/replica_client.h"
#include "store/placement.h"

#include "base/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define SOON_MS 200
#define AGAIN_MS 2000
#define REPAIRS_MAX 10000

/* A copy here that is damaged: got from any of the others that has it. */
struct repair {
	struct heal *heal;
	char name[OBJECT_NAME_MAX + 1];
	struct map_ref *map;
	struct placement place;
	size_t at;
	struct object_meta ours;
	TAILQ_ENTRY(repair) link;
};

struct heal {
	struct node *node;
	struct heal_pass *pass;
	bool sweeping, again, settling, stopping;
	bool noting,
		recovers; /* what the last pass has shown is made durable; among it that nothing is lost any more */
	int note_status;
	bool needs_pass; /* the last one was not complete, or none was made yet */
	bool soon;       /* the timer is set for the next pass to begin soon, and not to be put off */
	struct heal_pass_result last;
	struct loop_timer timer;
	struct heal_stats stats;
	TAILQ_HEAD(, repair) repairs;
	unsigned repair_count;
	bool repairing;
};

static void begin_pass(void *heal);

/* ---- repairs ---- */

static void repair_next(struct heal *h);

static void repair_end(struct repair *r)
{
	struct heal *h = r->heal;

	map_ref_put(r->map);
	free(r);
	h->repairing = false;
	repair_next(h);
}

static void repair_try(struct repair *r);

static void repair_pulled(void *arg, int status)
{
	struct repair *r = arg;

	if (status) {
		repair_try(r);
		return;
	}
	report_notice("%s: the damaged copy was replaced by that of node %u", r->name, r->place.node[r->at - 1]);
	r->heal->node->counters.repaired++;
	repair_end(r);
}

static void repair_looked(void *arg, unsigned id, const struct replica_answer *a)
{
	struct repair *r = arg;

	if (!a->status && a->had && !(a->meta.flags & OBJECT_DAMAGED) &&
	    object_version_compare(a->meta.version, r->ours.version) >= 0)
		heal_pull(r->heal->node, id, r->map, r->name, &a->meta, repair_pulled, r);
	else
		repair_try(r);
}

static void repair_try(struct repair *r)
{
	struct node *n = r->heal->node;

	while (r->at < r->place.count) {
		unsigned id = r->place.node[r->at++];
		if (id == n->self)
			continue;
		replica_look(n, id, r->map, r->name, repair_looked, r);
		return;
	}
	report_error("%s: the copy here is damaged, and no other node has a good one now", r->name);
	repair_end(r);
}

static void repair_begin(void *arg, unsigned id, const struct replica_answer *a)
{
	struct repair *r = arg;

	(void)id;
	if (a->status || !(a->meta.flags & OBJECT_DAMAGED)) {
		repair_end(r);
		return;
	}
	r->ours = a->meta;
	placement_of(&r->map->map, r->name, &r->place);
	repair_try(r);
}

static void repair_next(struct heal *h)
{
	struct repair *r = TAILQ_FIRST(&h->repairs);

	if (!r || h->repairing || h->stopping)
		return;
	TAILQ_REMOVE(&h->repairs, r, link);
	h->repair_count--;
	h->repairing = true;
	r->map = map_keeper_get(h->node->maps);
	replica_look(h->node, h->node->self, r->map, r->name, repair_begin, r);
}

void heal_object(struct heal *h, const char *name)
{
	struct repair *r;

	TAILQ_FOREACH(r, &h->repairs, link)
		if (strcmp(r->name, name) == 0)
			return;
	/* What is one too many is found by the next pass. */
	r = h->stopping || h->repair_count == REPAIRS_MAX ? NULL : calloc(1, sizeof *r);
	if (!r)
		return;
	r->heal = h;
	snprintf(r->name, sizeof r->name, "%s", name);
	TAILQ_INSERT_TAIL(&h->repairs, r, link);
	h->repair_count++;
	repair_next(h);
}

/* ---- the end of a move ---- */

static void settled(void *arg, int status, const struct error *err)
{
	struct heal *h = arg;

	h->settling = false;
	if (status && status != -ESTALE)
		report_warning("the cluster's map cannot be changed now: %s", error_text(err));
	node_done(h->node);
}

static struct cluster_map *settled_map(const struct cluster_map *map)
{
	struct cluster_map *next = malloc(sizeof *next);

	if (!next)
		return NULL;
	*next = *map;
	next->version++;
	next->last_node = cluster_map_next_node(map) - 1;
	next->node_count = 0;
	for (size_t i = 0; i < map->node_count; i++) {
		if (map->node[i].state == NODE_LEAVING)
			continue;
		next->node[next->node_count] = map->node[i];
		next->node[next->node_count++].state = NODE_UP;
	}
	memset(&next->node[next->node_count], 0, (CLUSTER_NODES_MAX - next->node_count) * sizeof next->node[0]);
	return next;
}

/* Whether every node says that all is where this map wants it. */
static bool all_settled(struct heal *h, const struct cluster_map *map)
{
	if (h->stats.settled != map->version)
		return false;
	for (size_t i = 0; i < map->node_count; i++) {
		const struct cluster_node *c = &map->node[i];
		const struct neighbour *p = node_neighbour(h->node, c->id);

		if (c->id == h->node->self)
			continue;
		if (c->state == NODE_LEAVING && (!p || peer_state(p->peer) != PEER_UP))
			continue;
		if (!p || peer_state(p->peer) != PEER_UP || p->settled != map->version)
			return false;
	}
	return true;
}

static void settle(struct heal *h)
{
	struct map_ref *m = map_keeper_get(h->node->maps);
	struct cluster_map *next = NULL;
	unsigned lowest = 0;

	for (size_t i = 0; i < m->map.node_count; i++)
		if (m->map.node[i].state != NODE_LEAVING && (!lowest || m->map.node[i].id < lowest))
			lowest = m->map.node[i].id;
	if (!h->settling && cluster_map_moving(&m->map) && lowest == h->node->self && all_settled(h, &m->map) &&
	    (next = settled_map(&m->map))) {
		h->settling = true;
		node_begin(h->node);
		report_notice("all objects are where map %" PRIu64 " wants them", m->map.version);
		map_keeper_change(h->node->maps, next, settled, h);
	}
	free(next);
	map_ref_put(m);
}

/* ---- passes ---- */

static bool has_to_be_complete(struct heal *h)
{
	struct map_ref *m = map_keeper_get(h->node->maps);
	bool moving = cluster_map_moving(&m->map) && h->stats.settled != m->map.version;

	map_ref_put(m);
	return moving || h->needs_pass || object_store_state(h->node->objects, NULL) != OBJECT_STORE_COMPLETE;
}

static void wait_for_next(struct heal *h)
{
	if (h->stopping || h->pass || h->noting || h->sweeping)
		return;
	loop_timer_set(&h->timer, h->again ? SOON_MS : has_to_be_complete(h) ? AGAIN_MS : h->node->options->heal_ms);
	h->soon = h->again;
	h->again = false;
}

static void swept(void *arg, int status)
{
	struct heal *h = arg;

	h->sweeping = false;
	if (!status && h->last.all_by_map)
		h->stats.settled = h->last.map;
	else
		h->needs_pass = true;
	if (!h->stopping)
		settle(h);
	wait_for_next(h);
}

/* All that was to be got is here, and noted durably. */
static void noted_here(void *arg)
{
	struct heal *h = arg;
	struct node *n = h->node;

	h->noting = false;
	if (h->note_status) {
		h->needs_pass = true;
	} else if (!h->stopping) {
		if (h->recovers)
			node_recovered(n);
		h->sweeping = true;
		heal_sweep(n, swept, h);
	}
	wait_for_next(h);
	node_done(n);
}

/* What the pass has shown is made durable: the others' floor, which is this node's, too, as it has what they have; and, if it had lost
 * something, that it has not any more. */
static void note_job(void *arg)
{
	struct heal *h = arg;
	struct object_store *objects = h->node->objects;

	h->note_status = object_store_raise_floor(objects, h->last.floor);
	if (!h->note_status && h->recovers)
		h->note_status = object_store_recovered(objects, h->last.loss);
	if (!h->note_status && h->recovers)
		report_notice("this node has got again all that it is to hold");
	else if (h->note_status && h->note_status != -EAGAIN)
		report_error("cannot note what was got from the other nodes: %s", strerror(-h->note_status));
	while (loop_post(h->node->loop, noted_here, h))
		;
}

static void pass_ended(void *arg, const struct heal_pass_result *r)
{
	struct heal *h = arg;
	struct node *n = h->node;

	h->pass = NULL;
	h->last = *r;
	h->stats.passes++;
	h->stats.missing = r->missing - (r->pulled < r->missing ? r->pulled : r->missing);
	h->stats.pulled += r->pulled;
	h->stats.failed += r->failed;
	h->needs_pass = !r->complete;
	snprintf(h->stats.last_error, sizeof h->stats.last_error, "%s", r->why);
	if (r->pulled)
		report_notice("%" PRIu64 " objects were got from other nodes", r->pulled);
	if (h->stopping)
		return;
	if (r->complete) {
		h->stats.last_complete_ms = loop_now_ms();
		h->recovers = r->all_by_map && node_may_recover(n, r->map);
		h->noting = true;
		node_begin(n);
		if (executor_run(n->work, note_job, h) == 0)
			return;
		h->noting = false;
		h->needs_pass = true;
		node_done(n);
	}
	wait_for_next(h);
}

static void begin_pass(void *heal)
{
	struct heal *h = heal;

	h->soon = false;
	settle(h);
	if (h->pass || h->noting || h->sweeping || h->stopping) {
		h->again = true;
		return;
	}
	h->pass = heal_pass_begin(h->node, pass_ended, h);
	if (!h->pass)
		wait_for_next(h);
}

void heal_now(struct heal *h)
{
	if (h->stopping)
		return;
	if (h->pass || h->noting || h->sweeping) {
		h->again = true;
	} else if (!h->soon) {
		h->soon = true;
		loop_timer_set(&h->timer, SOON_MS);
	}
}

void heal_map_changed(struct heal *h)
{
	if (h->pass)
		heal_pass_stop(h->pass);
	h->needs_pass = true;
	heal_now(h);
}

void heal_look(struct heal *h)
{
	if (!h->stopping)
		settle(h);
}

/* ---- begin and end ---- */

struct heal *heal_new(struct node *n)
{
	struct heal *h = calloc(1, sizeof *h);

	if (!h)
		return NULL;
	h->node = n;
	h->needs_pass = true;
	TAILQ_INIT(&h->repairs);
	loop_timer_init(&h->timer, n->loop, begin_pass, h);
	loop_timer_set(&h->timer, SOON_MS);
	return h;
}

void heal_stop(struct heal *h)
{
	h->stopping = true;
	loop_timer_cancel(&h->timer);
	if (h->pass)
		heal_pass_stop(h->pass);
}

void heal_free(struct heal *h)
{
	struct repair *r;

	if (!h)
		return;
	while ((r = TAILQ_FIRST(&h->repairs))) {
		TAILQ_REMOVE(&h->repairs, r, link);
		free(r);
	}
	free(h);
}

void heal_get_stats(const struct heal *h, struct heal_stats *stats)
{
	*stats = h->stats;
	stats->running = h->pass != NULL;
}
