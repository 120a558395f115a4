/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_sim.c: simulated time, the network, the agreement; a life from its beginning to its end. */
#include "lib/cluster_sim_private.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIFE (60 * SECOND)    /* with faults */
#define AFTER (10 * SECOND)   /* without, and gateways still ask */
#define SETTLED (40 * SECOND) /* until all replicas are alike */

const char *const sim_names[OBJECTS] = {
	"p/claim-1", "p/claim-2", "p/create-1", "p/create-2", "p/plain-1", "p/plain-2"
};

enum object_kind sim_object_kind(unsigned object)
{
	return object < 2 ? OBJECT_CLAIMS : object < 4 ? OBJECT_CREATES : OBJECT_PLAIN;
}

/* ---- small things ---- */

uint64_t sim_between(struct sim *s, uint64_t from, uint64_t to)
{
	return from + random_below(&s->random, to - from + 1);
}

bool sim_chance(struct sim *s, unsigned per_mille)
{
	return random_below(&s->random, 1000) < per_mille;
}

const char *sim_version(struct object_version v)
{
	static char text[4][40];
	static unsigned next;
	char *at = text[next++ % 4];

	snprintf(at, sizeof text[0], "%" PRIu64 ".%04" PRIx64, v.counter, v.tie & 0xffff);
	return at;
}

void sim_trace(const struct sim *s, unsigned object, const char *format, ...)
{
	va_list args;

	if (!s->options.is_traced || object != s->options.traced)
		return;
	fprintf(stderr, "%11.6f ", (double)s->now / 1e6);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

struct object_meta sim_meta(const struct copy *copy)
{
	struct object_meta meta = { .version = copy->version, .flags = copy->flags, .length = 8 };

	memcpy(meta.digest, &copy->digest, sizeof copy->digest);
	return meta;
}

bool sim_was_claimed(const struct sim *s, struct object_version v)
{
	for (size_t i = 0; i < s->claimed_count; i++)
		if (object_version_compare(s->claimed[i], v) == 0)
			return true;
	return false;
}

void sim_place(const struct sim *s, uint64_t map, unsigned object, struct placement *p)
{
	placement_of(&s->maps[map], sim_names[object], p);
}

/* ---- time ---- */

static bool is_before(const struct event *a, const struct event *b)
{
	return a->time != b->time ? a->time < b->time : a->order < b->order;
}

static void push(struct sim *s, struct event *e)
{
	size_t at = s->heap_count++;

	if (s->heap_count > s->heap_room) {
		s->heap_room = s->heap_room ? 2 * s->heap_room : 1024;
		s->heap = realloc(s->heap, s->heap_room * sizeof(struct event *));
		if (!s->heap)
			abort();
	}
	e->order = ++s->order;
	for (; at && is_before(e, s->heap[(at - 1) / 2]); at = (at - 1) / 2)
		s->heap[at] = s->heap[(at - 1) / 2];
	s->heap[at] = e;
}

static struct event *pop(struct sim *s)
{
	struct event *first = s->heap[0], *last = s->heap[--s->heap_count];
	size_t at = 0;

	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= s->heap_count)
			break;
		if (child + 1 < s->heap_count && is_before(s->heap[child + 1], s->heap[child]))
			child++;
		if (!is_before(s->heap[child], last))
			break;
		s->heap[at] = s->heap[child];
		at = child;
	}
	s->heap[at] = last;
	return first;
}

static void schedule(struct sim *s, const struct message *m, uint64_t delay)
{
	struct event *e = s->spare;

	if (e)
		s->spare = e->next;
	else
		e = malloc(sizeof *e);
	if (!e)
		abort();
	e->m = *m;
	e->time = s->now + delay;
	e->next = NULL;
	push(s, e);
}

static void release(struct sim *s, struct event *e)
{
	e->next = s->spare;
	s->spare = e;
}

static unsigned life_of(const struct sim *s, unsigned place)
{
	return place < NODES ? s->node[place].life : place < AGREEMENT ? s->gateway[place - NODES].life : 0;
}

void sim_later(struct sim *s, struct message m, uint64_t delay)
{
	m.life = life_of(s, m.to);
	if (!m.sent)
		m.sent = s->now;
	schedule(s, &m, delay);
}

/* ---- the network ---- */

void sim_send(struct sim *s, struct message m)
{
	bool is_agreement = m.from == AGREEMENT || m.to == AGREEMENT;
	uint64_t delay = m.from == m.to ? 10 : sim_between(s, 100, 2 * MS);

	if (!m.sent)
		m.sent = s->now;
	if (m.from != m.to) {
		if (s->is_deaf[m.from][m.to] || sim_chance(s, s->loss) || (is_agreement && s->is_agreement_away) ||
		    (is_agreement && sim_chance(s, s->agreement_loss)))
			return;
		if ((m.from < NODES && s->node[m.from].is_slow) || (m.to < NODES && s->node[m.to].is_slow))
			delay += sim_between(s, 50 * MS, 1200 * MS);
		if (sim_chance(s, s->linger)) {
			schedule(s, &m, delay + sim_between(s, 300 * MS, is_agreement ? 10 * SECOND : 4 * SECOND));
			/* Nonces see to it that a client's request is never taken twice. */
			if (m.kind == M_REQUEST || sim_chance(s, 500))
				return;
		}
	}
	schedule(s, &m, delay);
}

/* ---- the agreement ---- */

void sim_set_map(struct sim *s, const struct cluster_map *map)
{
	struct error err;

	if (s->map + 1 == MAPS)
		return;
	s->map++;
	s->maps[s->map] = *map;
	s->maps[s->map].version = s->map;
	if (cluster_map_check(&s->maps[s->map], &err) < 0) {
		fprintf(stderr, "%s\n", error_text(&err));
		abort();
	}
}

static void claim(struct sim *s, const struct message *m, struct message *answer)
{
	struct claim *c = &s->claim[m->object];

	if (c->is_held) {
		answer->agreed = AGREED_EXISTS;
		answer->copy = (struct copy){ .version = c->version, .digest = c->body };
		return;
	}
	if (m->releases != c->releases) {
		answer->agreed = AGREED_FAILED;
		return;
	}
	*c = (struct claim){
		.is_held = true, .version = m->copy.version, .body = m->copy.digest, .releases = c->releases
	};
	if (s->claimed_count == s->claimed_room) {
		s->claimed_room = s->claimed_room ? 2 * s->claimed_room : 256;
		s->claimed = realloc(s->claimed, s->claimed_room * sizeof *s->claimed);
		if (!s->claimed)
			abort();
	}
	s->claimed[s->claimed_count++] = c->version;
}

static void agreement_message(struct sim *s, const struct message *m)
{
	struct message answer = { .kind = M_AGREED, .from = AGREEMENT, .to = m->from, .op = m->op, .step = m->step };
	struct claim *c = &s->claim[m->object];
	int order = object_version_compare(c->version, m->copy.version);

	if (m->kind == M_TICK) {
		fault_admin(s);
		sim_later(s, *m, 500 * MS);
		return;
	}
	answer.agreed = AGREED_DONE;
	answer.object = m->object;
	if (m->kind == M_CLAIM)
		claim(s, m, &answer);
	else if (m->kind == M_RELEASE && c->is_held && (order == 0 || (m->flag && order < 0))) {
		c->is_held = false;
		c->releases++;
	} else if (m->kind == M_RAISE) {
		sim_set_map(s, &s->maps[s->map]);
		answer.map = s->map;
	}
	if (m->kind != M_RAISE)
		sim_trace(s, m->object, "agreement %s %s from %u: %d, held %d %s",
		          m->kind == M_CLAIM ? "claim" : "release", sim_version(m->copy.version), m->from + 1,
		          answer.agreed, c->is_held, sim_version(c->version));
	sim_send(s, answer);
}

/* ---- nodes ---- */

/* What was about to be durable may be. */
static void drop_event(struct sim *s, struct event *e)
{
	const struct message *m = &e->m;

	if (m->kind == M_COMMIT && s->node[m->to].exists && !s->node[m->to].is_recovering && sim_chance(s, 500) &&
	    s->node[m->to].map == m->map)
		replica_put(s, m->to, m->object, &m->copy, m->rule);
	release(s, e);
}

void sim_kill(struct sim *s, unsigned node)
{
	struct node *n = &s->node[node];

	n->is_up = n->is_stopped = false;
	n->life++;
	n->pass = (struct pass){ .is_on = false };
	n->tombstone = OBJECT_VERSION_NONE;
	node_forget(s, node);
	while (n->backlog) {
		struct event *e = n->backlog;

		n->backlog = e->next;
		drop_event(s, e);
	}
	n->backlog_end = &n->backlog;
}

void sim_start(struct sim *s, unsigned node)
{
	s->node[node].is_up = true;
	s->node[node].backlog_end = &s->node[node].backlog;
	sim_later(s, (struct message){ .kind = M_TICK, .from = node, .to = node }, sim_between(s, 0, SECOND));
}

/* What it has not seen comes all at once, in order. */
void sim_wake(struct sim *s, unsigned node)
{
	struct node *n = &s->node[node];

	n->is_stopped = false;
	while (n->backlog) {
		struct event *e = n->backlog;

		n->backlog = e->next;
		e->next = NULL;
		e->time = s->now;
		push(s, e);
	}
	n->backlog_end = &n->backlog;
}

static void node_message(struct sim *s, const struct message *m)
{
	switch (m->kind) {
	case M_TICK:
		if (!s->is_agreement_away && !s->is_deaf[AGREEMENT][m->to] && sim_chance(s, 700))
			replica_adopt(s, m->to, s->map);
		replica_tick(s, m->to);
		sim_later(s, (struct message){ .kind = M_TICK, .from = m->to, .to = m->to },
		          sim_between(s, 500 * MS, 1500 * MS));
		break;
	case M_REQUEST:
		if (m->sent + WINDOW >= s->now)
			node_request(s, m);
		break;
	case M_REPLY:
	case M_READ_REPLY:
	case M_AGREED:
	case M_NOT_IN_TIME:
	case M_DEADLINE:
	case M_BODY:
	case M_LISTED:
		if ((!m->op || !node_event(s, m)) && (!m->op || m->kind == M_AGREED))
			replica_message(s, m);
		break;
	default:
		replica_message(s, m);
		break;
	}
}

static void dispatch(struct sim *s, struct event *e)
{
	const struct message *m = &e->m;
	bool is_own = m->kind >= M_COMMIT && m->kind < M_FAULT;
	struct node *n = &s->node[m->to < NODES ? m->to : 0];

	if (is_own && m->life != life_of(s, m->to)) {
		drop_event(s, e);
		return;
	}
	if (m->kind == M_FAULT || m->kind == M_FAULT_ENDS) {
		fault_message(s, m);
	} else if (m->to == AGREEMENT) {
		agreement_message(s, m);
	} else if (m->to >= NODES) {
		gateway_message(s, m);
	} else if (n->exists && n->is_stopped) {
		*n->backlog_end = e;
		n->backlog_end = &e->next;
		e->next = NULL;
		return;
	} else if (n->exists && n->is_up) {
		node_message(s, m);
	}
	release(s, e);
}

static void run_until(struct sim *s, uint64_t time)
{
	while (s->heap_count && s->heap[0]->time <= time) {
		struct event *e = pop(s);

		s->now = e->time;
		dispatch(s, e);
	}
	s->now = time;
}

/* ---- a life ---- */

static void first_map(struct sim *s, struct sim_result *result)
{
	struct cluster_map map = { .id = "00000000000000000000000000000000", .version = 1 };
	unsigned nodes = 1 + (unsigned)random_below(&s->random, 7);

	map.replicas = nodes < 3 ? nodes : nodes < 5 || random_once_in(&s->random, 2) ? 3 : 5;
	map.quorum = map.replicas / 2 + 1 + (unsigned)random_below(&s->random, map.replicas - map.replicas / 2);
	if (random_once_in(&s->random, 2))
		map.quorum = map.replicas / 2 + 1;
	map.node_count = nodes;
	strcpy(map.agreement, "http://etcd:2379");
	for (unsigned i = 0; i < nodes; i++) {
		map.node[i] =
			(struct cluster_node){ .id = i + 1, .host = "h", .port = (uint16_t)(i + 1), .weight = 100 };
		s->node[i].exists = true;
		s->node[i].map = 1;
	}
	result->nodes = nodes;
	result->replicas = map.replicas;
	result->quorum = map.quorum;
	sim_set_map(s, &map);
}

static void begin(struct sim *s, struct sim_result *result)
{
	/* A seed's neighbours should not be alike. */
	s->random.state = s->options.seed * 0xd1342543de82ef95u + 0x632be59bd9b4e019u;
	first_map(s, result);
	for (unsigned i = 0; i < NODES; i++) {
		s->node[i].backlog_end = &s->node[i].backlog;
		if (s->node[i].exists)
			sim_start(s, i);
	}
	for (unsigned g = 0; g < GATEWAYS; g++)
		gateway_start(s, g);
	sim_later(s, (struct message){ .kind = M_TICK, .from = AGREEMENT, .to = AGREEMENT }, SECOND);
	fault_start(s);
}

static bool wrong(struct sim *s, struct sim_result *result, unsigned object, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
static bool wrong(struct sim *s, struct sim_result *result, unsigned object, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(result->text, sizeof result->text, format, args);
	va_end(args);
	result->object = object;
	result->time = s->now;
	return false;
}

static bool are_alike(const struct copy *a, const struct copy *b)
{
	bool is_a = a->has && !(a->flags & OBJECT_TOMBSTONE), is_b = b->has && !(b->flags & OBJECT_TOMBSTONE);

	if (!is_a || !is_b)
		return is_a == is_b;
	return object_version_compare(a->version, b->version) == 0 && a->body == b->body;
}

/* All replicas have the same; it goes into the history as what was read at last. */
static bool check_replicas(struct sim *s, struct sim_result *result)
{
	for (unsigned i = 0; i < OBJECTS; i++) {
		struct history_record *r;
		const struct copy *first;
		struct placement p;
		size_t number;

		sim_place(s, s->map, i, &p);
		first = &s->node[p.node[0] - 1].copy[i];
		for (size_t k = 0; k < p.count; k++) {
			const struct copy *copy = &s->node[p.node[k] - 1].copy[i];

			if (copy->has && copy->body != copy->digest)
				return wrong(s, result, i, "the copy of node %u is still damaged", p.node[k]);
			if (!are_alike(first, copy))
				return wrong(s, result, i, "nodes %u and %u have %s and %s", p.node[0], p.node[k],
				             sim_version(first->version), sim_version(copy->version));
		}
		number = history_begin(&s->history, HISTORY_READ, i, GATEWAYS, s->now);
		r = &s->history.record[number];
		r->end = s->now + 1;
		r->outcome = HISTORY_DONE;
		r->is_live = first->has && !(first->flags & OBJECT_TOMBSTONE);
		r->told = first->version;
		r->body = first->body;
	}
	return true;
}

static bool check_nodes(struct sim *s, struct sim_result *result)
{
	if (cluster_map_moving(&s->maps[s->map]))
		return wrong(s, result, OBJECTS, "the map never stopped moving");
	for (unsigned i = 0; i < NODES; i++) {
		if (s->node[i].exists && s->node[i].is_recovering)
			return wrong(s, result, OBJECTS, "node %u never recovered", i + 1);
		for (unsigned h = 0; h < HINTS && s->node[i].exists; h++)
			if (s->node[i].hint[h].is_used)
				return wrong(s, result, s->node[i].hint[h].object, "a hint of node %u is left", i + 1);
	}
	return true;
}

static bool check(struct sim *s, struct sim_result *result)
{
	bool is_lively = false, is_good = check_nodes(s, result) && check_replicas(s, result);
	unsigned tried = 0;
	struct sim_result told = *result;

	/* What clients saw says more than what is left. */
	if (!history_check(&s->history, OBJECTS, told.text, sizeof told.text, &told.object, &told.time)) {
		*result = told;
		return false;
	}
	for (size_t i = 0; i < s->history.count; i++) {
		const struct history_record *r = &s->history.record[i];

		if (r->gateway < GATEWAYS && r->kind == HISTORY_READ && r->begin > s->end - SETTLED - AFTER) {
			is_lively = is_lively || r->outcome == HISTORY_DONE;
			tried++;
		}
		result->operations++;
		result->done += r->outcome != HISTORY_UNKNOWN;
		result->unknown += r->outcome == HISTORY_UNKNOWN;
	}
	/* In rare lives nobody has read anything. */
	if (tried && !is_lively && is_good && !s->options.end)
		return wrong(s, result, OBJECTS, "nothing can be read though all faults are over: %u tried", tried);
	return is_good;
}

static void free_all(struct sim *s)
{
	for (unsigned i = 0; i < NODES; i++)
		sim_kill(s, i);
	while (s->heap_count)
		release(s, s->heap[--s->heap_count]);
	while (s->spare) {
		struct event *e = s->spare;

		s->spare = e->next;
		free(e);
	}
	history_free(&s->history);
	free(s->claimed);
	free(s->heap);
	free(s);
}

struct sim_result sim_run(const struct sim_options *options)
{
	struct sim_result result = { 0 };
	struct sim *s = calloc(1, sizeof *s);
	uint64_t life = options->end ? options->end : LIFE;

	if (!s)
		abort();
	s->options = *options;
	begin(s, &result);
	run_until(s, life);
	fault_calm(s);
	run_until(s, life + AFTER);
	s->is_quiet = true;
	for (unsigned g = 0; g < GATEWAYS; g++)
		s->gateway[g].life++; /* what they were about to do */
	s->end = s->now + SETTLED;
	run_until(s, s->end);
	result.is_good = check(s, &result);
	result.faults = s->faults;
	memcpy(result.fault, s->fault, sizeof result.fault);
	free_all(s);
	return result;
}

/* ---- explaining ---- */

const char *sim_sabotage_name(enum sim_sabotage kind)
{
	static const char *const names[SABOTAGE_KINDS] = {
		"none",
		"early answer",
		"recovering nodes vote",
		"no write-back",
		"tombstones dropped early",
		"no claim",
		"no absent rule",
		"no floor",
		"not durable",
		"damaged is absent",
		"old set only",
		"hasty recovery",
		"strays",
		"old wins",
		"short list",
		"created again",
	};

	return names[kind];
}

void sim_explain(const struct sim_options *options)
{
	struct sim_options less = *options;
	struct sim_result result;

	for (unsigned kind = 0; kind < FAULT_KINDS; kind++) {
		less.without |= 1u << kind;
		if (sim_run(&less).is_good)
			less.without &= ~(1u << kind);
	}
	for (uint64_t end = 5 * SECOND; end < LIFE; end += 5 * SECOND) {
		less.end = end;
		if (!sim_run(&less).is_good)
			break;
		less.end = options->end;
	}
	result = sim_run(&less);
	less.is_traced = true;
	less.traced = result.object;
	fprintf(stderr,
	        "GARNER_TEST_SEED=%" PRIu64 " without faults 0x%x, sabotage: %s; %u nodes, %u replicas, quorum %u\n",
	        options->seed, less.without, sim_sabotage_name(options->sabotage), result.nodes, result.replicas,
	        result.quorum);
	for (unsigned kind = 0; kind < FAULT_KINDS; kind++)
		if (result.fault[kind])
			fprintf(stderr, "  fault: %s, %u times\n", sim_fault_name(kind), result.fault[kind]);
	sim_run(&less);
	fprintf(stderr, "object %u at %.6f: %s\n", result.object, (double)result.time / 1e6, result.text);
}
