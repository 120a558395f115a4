/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_sim_gateway.c: clients of a simulated cluster: each asks one thing after the other, makes versions by a clock that is wrong,
 * tries again elsewhere when no answer comes, with the same version, and with a higher one when it is told so: not of a creation or
 * removal that may have come to be. */
#include "lib/cluster_sim_private.h"

#define TRIES 7

static struct object_version next_version(struct sim *s, struct gateway *g)
{
	uint64_t now = (1000 * SECOND + s->now + (uint64_t)g->skew);

	g->last = now > g->last ? now : g->last + 1;
	return (struct object_version){ .counter = g->last, .tie = random_next(&s->random) };
}

static void seen(struct gateway *g, struct object_version v)
{
	if (v.counter > g->last)
		g->last = v.counter;
}

static struct history_record *record_of(struct sim *s, const struct gateway *g)
{
	return &s->history.record[g->record];
}

static void later(struct sim *s, unsigned g, enum message_kind kind, uint64_t op, uint64_t delay)
{
	if (!s->is_quiet)
		sim_later(s, (struct message){ .kind = kind, .from = NODES + g, .to = NODES + g, .op = op }, delay);
}

static void note_version(struct sim *s, struct gateway *g)
{
	struct history_record *r = record_of(s, g);

	r->tries[r->try_count++] = (struct history_try){ .version = g->version, .time = s->now };
}

/* ---- asking ---- */

static void try(struct sim *s, unsigned at)
{
	struct gateway *g = &s->gateway[at];
	const struct cluster_map *map = &s->maps[g->map];
	struct message m = { .kind = M_REQUEST, .from = NODES + at, .map = g->map, .object = g->object };
	struct placement p;

	g->try = ++s->next_id;
	g->tries++;
	sim_place(s, g->map, g->object, &p);
	m.to = g->tries == 1 && !random_once_in(&s->random, 3)
	               ? p.node[0] - 1
	               : map->node[random_below(&s->random, map->node_count)].id - 1;
	m.op = g->try;
	m.operation = g->is_looked && g->tries == 1 ? COORDINATE_CREATE_LOOKED : g->kind;
	m.flag = g->is_list;
	m.copy = (struct copy){ .version = g->version, .digest = record_of(s, g)->body };
	sim_send(s, m);
	later(s, at, M_TRY_ENDS, g->try, TRY_TIME);
}

static void choose(struct sim *s, struct gateway *g)
{
	unsigned dice = (unsigned)random_below(&s->random, 100);

	g->object = (unsigned)random_below(&s->random, OBJECTS);
	/* Who has looked may go on to create. */
	if (g->absent && random_once_in(&s->random, 2)) {
		g->object = g->absent - 1;
		dice = 99;
	}
	g->is_any = g->is_list = false;
	if (dice < 35) {
		g->kind = sim_object_kind(g->object) == OBJECT_CREATES && dice < 15 ? COORDINATE_CONFIRM
		                                                                    : COORDINATE_LOOK;
		g->is_any = g->kind == COORDINATE_CONFIRM;
	} else if (dice < 42) {
		g->kind = COORDINATE_LOOK;
		g->is_list = true;
	} else if (dice < 60) {
		g->kind = COORDINATE_REMOVE;
	} else if (!s->options.is_contested && sim_object_kind(g->object) == OBJECT_CREATES &&
	           g != &s->gateway[g->object % GATEWAYS]) {
		g->kind = COORDINATE_LOOK; /* such names have one owner */
	} else {
		static const enum coordinate_kind kinds[] = { COORDINATE_PUT, COORDINATE_CLAIM, COORDINATE_CREATE };

		g->kind = kinds[sim_object_kind(g->object)];
	}
}

static void begin(struct sim *s, unsigned at)
{
	static const enum history_kind kinds[] = { HISTORY_PUT,    HISTORY_CREATE, HISTORY_CLAIM,
		                                   HISTORY_REMOVE, HISTORY_READ,   HISTORY_ANY };
	struct gateway *g = &s->gateway[at];

	choose(s, g);
	g->is_looked = g->kind == COORDINATE_CREATE && g->absent == g->object + 1;
	g->absent = 0;
	g->tries = 0;
	g->was_unsure = false;
	g->is_busy = true;
	g->version = OBJECT_VERSION_NONE;
	g->record = history_begin(&s->history, g->is_list ? HISTORY_LIST : kinds[g->kind],
	                          g->is_list ? OBJECTS : g->object, at, s->now);
	if (g->kind != COORDINATE_LOOK && g->kind != COORDINATE_CONFIRM) {
		g->version = next_version(s, g);
		record_of(s, g)->body = g->kind == COORDINATE_REMOVE ? 0 : random_next(&s->random) | 1;
		note_version(s, g);
	}
	sim_trace(s, g->object, "gateway %u begins kind %d %s", at, g->kind, sim_version(g->version));
	try(s, at);
}

/* ---- answers ---- */

static void end(struct sim *s, unsigned at, enum history_outcome outcome)
{
	struct gateway *g = &s->gateway[at];
	struct history_record *r = record_of(s, g);

	r->outcome = outcome;
	r->end = outcome == HISTORY_UNKNOWN ? UINT64_MAX : s->now;
	sim_trace(s, g->object, "gateway %u ends: %d %s%s", at, outcome, sim_version(r->told),
	          r->is_live ? " live" : "");
	g->is_busy = false;
	g->try = 0;
	later(s, at, M_NEXT, 0, sim_between(s, 0, s->is_calm ? 2 * SECOND : 300 * MS));
}

static void again(struct sim *s, unsigned at, bool is_unsure)
{
	struct gateway *g = &s->gateway[at];

	g->was_unsure = g->was_unsure || is_unsure;
	/* All nodes that it knows of may be gone. */
	if (is_unsure && random_once_in(&s->random, 3))
		g->map = s->map;
	g->try = 0;
	if (g->tries == TRIES)
		end(s, at, HISTORY_UNKNOWN);
	else
		later(s, at, M_CONTINUE, 0, sim_between(s, 10 * MS, 500 * MS));
}

static bool creates(const struct gateway *g)
{
	return g->kind == COORDINATE_CREATE || g->kind == COORDINATE_CLAIM;
}

static bool is_own(const struct history_record *r, struct object_version v)
{
	for (unsigned t = 0; t < r->try_count; t++)
		if (object_version_compare(r->tries[t].version, v) == 0)
			return true;
	return false;
}

/* "Exists": it may be ours, of an earlier try. */
static void exists(struct sim *s, unsigned at, const struct message *m)
{
	struct gateway *g = &s->gateway[at];
	struct history_record *r = record_of(s, g);

	r->told = m->copy.version;
	if (is_own(r, m->copy.version)) {
		end(s, at, HISTORY_DONE);
		return;
	}
	r->is_certain = g->kind == COORDINATE_CLAIM && !g->was_unsure;
	for (unsigned t = 0; t < r->try_count; t++)
		r->is_certain = r->is_certain && !sim_was_claimed(s, r->tries[t].version);
	end(s, at, HISTORY_EXISTS);
}

static void told(struct sim *s, unsigned at, const struct message *m)
{
	struct gateway *g = &s->gateway[at];
	struct history_record *r = record_of(s, g);

	if (g->kind == COORDINATE_LOOK || g->kind == COORDINATE_CONFIRM) {
		r->told = m->copy.version;
		r->is_live = m->result == RESULT_DONE;
		r->body = m->copy.body;
		if (g->kind == COORDINATE_LOOK && !r->is_live)
			g->absent = g->object + 1;
	} else {
		r->told = g->version;
	}
	end(s, at, HISTORY_DONE);
}

/* A listing is as many records as there are objects. */
static void listed(struct sim *s, unsigned at, const struct message *m)
{
	struct gateway *g = &s->gateway[at];
	uint64_t begin = record_of(s, g)->begin;

	record_of(s, g)->end = s->now;
	for (unsigned i = 0; i < OBJECTS; i++) {
		size_t number = history_begin(&s->history, HISTORY_LIST, i, at, begin);
		struct history_record *r = &s->history.record[number];

		r->end = s->now;
		r->outcome = HISTORY_DONE;
		r->told = m->all[i].version;
		r->is_live = m->all[i].has;
		sim_trace(s, i, "gateway %u listed %s", at, sim_version(r->told));
	}
	g->is_busy = false;
	g->try = 0;
	later(s, at, M_NEXT, 0, sim_between(s, 0, 300 * MS));
}

static void answered(struct sim *s, unsigned at, const struct message *m)
{
	struct gateway *g = &s->gateway[at];

	seen(g, m->copy.version);
	switch (m->result) {
	case RESULT_DONE:
	case RESULT_ABSENT:
		if (m->flag)
			listed(s, at, m);
		else
			told(s, at, m);
		break;
	case RESULT_EXISTS:
		exists(s, at, m);
		break;
	case RESULT_NEWER:
		/* What was made, seen and removed must not come to be once more; nor be removed twice what was made anew. */
		if (g->kind == COORDINATE_REMOVE && g->was_unsure) {
			end(s, at, HISTORY_UNKNOWN);
			break;
		}
		if (creates(g) && g->was_unsure && s->options.sabotage != SABOTAGE_CREATE_AGAIN) {
			end(s, at, HISTORY_UNKNOWN);
			break;
		}
		g->version = next_version(s, g);
		if (g->tries < TRIES)
			note_version(s, g);
		again(s, at, false);
		break;
	case RESULT_MAP:
		g->map = s->map;
		again(s, at, true); /* other replicas may have taken it */
		break;
	case RESULT_GONE:
		end(s, at, HISTORY_UNKNOWN);
		break;
	default:
		again(s, at, true);
		break;
	}
}

void gateway_message(struct sim *s, const struct message *m)
{
	unsigned at = m->to - NODES;
	struct gateway *g = &s->gateway[at];

	switch (m->kind) {
	case M_ANSWER:
		if (g->is_busy && g->try && m->op == g->try)
			answered(s, at, m);
		break;
	case M_TRY_ENDS:
		if (g->is_busy && g->try == m->op)
			again(s, at, true);
		break;
	case M_CONTINUE:
		if (g->is_busy)
			try(s, at);
		break;
	case M_NEXT:
		if (!g->is_busy)
			begin(s, at);
		break;
	default:
		break;
	}
}

void gateway_start(struct sim *s, unsigned g)
{
	s->gateway[g].map = s->map;
	later(s, g, M_NEXT, 0, sim_between(s, 0, 100 * MS));
}

/* One that starts again knows no versions, but its clock may. */
void gateway_die(struct sim *s, unsigned g)
{
	s->gateway[g].life++;
	s->gateway[g].is_busy = false;
	s->gateway[g].try = 0;
	s->gateway[g].last = 0;
	s->gateway[g].absent = 0;
	gateway_start(s, g);
}
