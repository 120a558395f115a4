/* SPDX-License-Identifier: GPL-3.0-only */
/* deliver.c: hints are delivered: a node that is up again gets what it has missed.
 *
 * One object after the other for each node: what this node has of it now is put there, which takes it if it is newer. What this node
 * does not hold (any more) is not its business: the comparison of heal.c finds it.
 */
#include "node/node_private.h"
#include "node/replica_client.h"
#include "store/placement.h"

#include "base/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 64
#define PIECE (128 * 1024)
#define RETRY_MS 1000

struct delivery {
	struct node *node;
	unsigned id;
	struct map_ref *map;
	struct hint batch[BATCH];
	int count, at;
	uint64_t delivered;
	struct object_version version; /* of what is being sent */
};

static void next(struct delivery *d);

static void end(struct delivery *d)
{
	struct node *n = d->node;
	struct neighbour *p = node_neighbour(n, d->id);

	if (d->delivered)
		report_notice("node %u got %llu objects that it had missed", d->id, (unsigned long long)d->delivered);
	if (p)
		p->delivering = false;
	map_ref_put(d->map);
	free(d);
	node_done(n);
}

/* ---- the table, which blocks ---- */

static void fetched(void *arg)
{
	struct delivery *d = arg;

	d->at = 0;
	if (d->count <= 0)
		end(d);
	else
		next(d);
}

static void fetch_job(void *arg)
{
	struct delivery *d = arg;

	d->count = hint_next(d->node->hints, d->id, NULL, d->batch, BATCH);
	while (loop_post(d->node->loop, fetched, d))
		;
}

static void strike_job(void *arg)
{
	struct delivery *d = arg;

	for (int i = 0; i < d->at; i++)
		hint_done(d->node->hints, d->id, d->batch[i].name, d->batch[i].version);
	fetch_job(d);
}

/* ---- one object ---- */

/* Enough for now: what was delivered of this batch is struck off when it is tried again. */
static void give_up(struct delivery *d)
{
	end(d);
}

static void was_put(void *arg, unsigned id, const struct replica_answer *a)
{
	struct delivery *d = arg;

	(void)id;
	if (a->status && a->status != -ESTALE) {
		give_up(d);
		return;
	}
	if (!a->status && !a->already) {
		d->delivered++;
		d->node->counters.delivered++;
	}
	d->at++;
	next(d);
}

static void send_body(struct delivery *d, const struct object_meta *meta, const uint8_t *bytes, size_t length)
{
	const struct hint *h = &d->batch[d->at];
	struct replica_put *put =
		replica_put_begin(d->node, d->id, d->map, h->name, meta, OBJECT_RULE_COPY, was_put, d);

	if (!put) {
		give_up(d);
		return;
	}
	for (size_t at = 0; at < length; at += PIECE) {
		struct piece *piece = piece_copy(bytes + at, length - at < PIECE ? length - at : PIECE);
		if (!piece) {
			replica_put_abort(put);
			give_up(d);
			return;
		}
		replica_put_piece(put, piece);
		piece_put(piece);
	}
	replica_put_end(put);
}

static void was_read(void *arg, unsigned id, const struct replica_answer *a, uint8_t *bytes, size_t length)
{
	struct delivery *d = arg;

	(void)id;
	if (a->status == -ENOENT || a->status == -ESTALE || a->status == -EBADMSG) {
		d->at++;
		next(d);
	} else if (a->status) {
		give_up(d);
	} else {
		send_body(d, &a->meta, bytes, length);
	}
	free(bytes);
}

static void looked(void *arg, unsigned id, const struct replica_answer *a)
{
	struct delivery *d = arg;
	const struct hint *h = &d->batch[d->at];

	(void)id;
	if (a->status && a->status != -ENOENT) {
		give_up(d);
		return;
	}
	if (a->status || object_version_compare(a->meta.version, h->version) < 0) {
		d->at++;
		next(d);
		return;
	}
	d->version = a->meta.version;
	if (a->meta.flags & OBJECT_TOMBSTONE)
		replica_remove(d->node, d->id, d->map, h->name, &a->meta, OBJECT_RULE_COPY, was_put, d);
	else
		replica_read(d->node, d->node->self, d->map, h->name, a->meta.version, 0, SIZE_MAX, was_read, d);
}

/* By the map there is now. What moved away meanwhile is not that node's business any more. */
static bool holds(const struct delivery *d, const char *name)
{
	struct placement place;

	placement_of(&d->map->map, name, &place);
	return placement_has(&place, d->id);
}

static void next(struct delivery *d)
{
	const struct neighbour *p = node_neighbour(d->node, d->id);

	if (d->node->stopping || !p || peer_state(p->peer) != PEER_UP ||
	    d->map->map.version != map_keeper_version(d->node->maps)) {
		give_up(d);
		return;
	}
	while (d->at < d->count && !holds(d, d->batch[d->at].name))
		d->at++;
	if (d->at < d->count) {
		replica_look(d->node, d->node->self, d->map, d->batch[d->at].name, looked, d);
		return;
	}
	if (executor_run(d->node->work, strike_job, d))
		give_up(d);
}

void deliver_begin(struct neighbour *p)
{
	struct node *n = p->node;
	struct delivery *d;

	if (p->delivering || n->stopping || peer_state(p->peer) != PEER_UP || !hint_count(n->hints, p->id))
		return;
	d = calloc(1, sizeof *d);
	if (!d)
		return;
	d->node = n;
	d->id = p->id;
	d->map = map_keeper_get(n->maps);
	p->delivering = true;
	node_begin(n);
	if (executor_run(n->work, fetch_job, d))
		end(d);
}
