/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_sim_fault.c: what goes wrong in a simulated cluster, and the administrator, who changes the map. */
#include "lib/cluster_sim_private.h"

#include <stdio.h>
#include <string.h>

const char *sim_fault_name(enum sim_fault kind)
{
	static const char *const names[FAULT_KINDS] = {
		"slow node",
		"loss",
		"lingering requests",
		"one-way partition",
		"split",
		"killed",
		"stopped",
		"wiped",
		"full disk",
		"flipped bit",
		"forgotten object",
		"slow disk",
		"agreement away",
		"agreement unsure",
		"clock steps",
		"gateway dies",
		"join",
		"leave",
	};

	return names[kind];
}

/* ---- what there is ---- */

/* Whether more than that could lose what W - 1 losses must not lose. */
static bool is_damaged(const struct sim *s)
{
	const struct cluster_map *map = &s->maps[s->map];

	for (size_t i = 0; i < map->node_count; i++) {
		const struct node *n = &s->node[map->node[i].id - 1];

		if (n->is_recovering || n->is_leaving_for_good)
			return true;
		for (unsigned k = 0; k < OBJECTS; k++)
			if (n->copy[k].is_lost || (n->copy[k].has && n->copy[k].body != n->copy[k].digest))
				return true;
	}
	return false;
}

static unsigned any_node(struct sim *s)
{
	const struct cluster_map *map = &s->maps[s->map];

	return map->node[random_below(&s->random, map->node_count)].id - 1;
}

/* A change of the map begins only when the one before is over, and everybody knows of it. */
static bool may_change_map(const struct sim *s)
{
	const struct cluster_map *map = &s->maps[s->map];

	if (cluster_map_moving(map) || s->map + 20 > MAPS)
		return false;
	for (size_t i = 0; i < map->node_count; i++)
		if (s->node[map->node[i].id - 1].map != s->map)
			return false;
	return true;
}

static bool join(struct sim *s)
{
	struct cluster_map map = s->maps[s->map];
	unsigned id = cluster_map_next_node(&map);

	if (!may_change_map(s) || id > NODES || map.node_count >= 8)
		return false;
	map.node[map.node_count++] = (struct cluster_node){
		.id = id, .host = "h", .port = (uint16_t)id, .weight = 100, .state = NODE_JOINING
	};
	map.last_node = id;
	sim_set_map(s, &map);
	s->joint = s->map;
	memset(&s->node[id - 1], 0, sizeof s->node[id - 1]);
	s->node[id - 1].exists = s->node[id - 1].is_recovering = true;
	s->node[id - 1].map = s->map;
	sim_start(s, id - 1);
	return true;
}

static bool leave(struct sim *s)
{
	struct cluster_map map = s->maps[s->map];
	size_t i = random_below(&s->random, map.node_count);
	unsigned node = map.node[i].id - 1;
	bool is_dead = map.quorum > 1 && random_once_in(&s->random, 3) && !is_damaged(s);

	if (!may_change_map(s) || map.node_count <= map.replicas)
		return false;
	map.node[i].state = NODE_LEAVING;
	map.last_node = cluster_map_next_node(&map) - 1;
	sim_set_map(s, &map);
	s->joint = s->map;
	if (is_dead) {
		s->node[node].is_leaving_for_good = true;
		sim_kill(s, node);
	}
	return true;
}

void fault_admin(struct sim *s)
{
	struct cluster_map map = s->maps[s->map];
	size_t kept = 0;

	if (!s->joint || s->is_agreement_away)
		return;
	for (size_t i = 0; i < map.node_count; i++) {
		const struct node *n = &s->node[map.node[i].id - 1];

		if (map.node[i].state != NODE_LEAVING && (n->passed < s->joint || n->is_recovering))
			return;
		for (unsigned k = 0; k < OBJECTS; k++)
			if (map.node[i].state != NODE_LEAVING && n->copy[k].is_lost)
				return;
	}
	for (size_t i = 0; i < map.node_count; i++) {
		if (map.node[i].state == NODE_LEAVING) {
			sim_kill(s, map.node[i].id - 1);
			s->node[map.node[i].id - 1].exists = false;
			continue;
		}
		map.node[kept] = map.node[i];
		map.node[kept++].state = NODE_UP;
	}
	map.node_count = kept;
	sim_set_map(s, &map);
	s->joint = 0;
}

/* ---- faults ---- */

static void ends(struct sim *s, enum sim_fault kind, unsigned from, unsigned to, uint64_t most)
{
	struct message m = { .kind = M_FAULT_ENDS, .step = kind, .from = from, .to = to };

	sim_later(s, m, sim_between(s, 300 * MS, most));
}

static void split(struct sim *s)
{
	uint64_t sides = random_next(&s->random);

	for (unsigned a = 0; a < PLACES; a++)
		for (unsigned b = 0; b < PLACES; b++)
			s->is_deaf[a][b] = s->is_deaf[a][b] || (sides >> a & 1) != (sides >> b & 1);
	ends(s, FAULT_SPLIT, 0, 0, 5 * SECOND);
}

static bool kill(struct sim *s, bool is_wiped)
{
	unsigned node = any_node(s);
	struct node *n = &s->node[node];

	if (!n->is_up || (is_wiped && (s->maps[s->map].quorum < 2 || is_damaged(s))))
		return false;
	sim_kill(s, node);
	if (is_wiped) {
		uint64_t map = n->map;

		memset(n->copy, 0, sizeof n->copy);
		memset(n->hint, 0, sizeof n->hint);
		n->floor = OBJECT_VERSION_NONE;
		n->passed = 0;
		n->is_recovering = true;
		n->map = map; /* read from the cluster file again */
		for (unsigned i = 0; i < OBJECTS; i++)
			sim_trace(s, i, "node %u is wiped", node + 1);
	}
	ends(s, FAULT_KILL, node, 0, is_wiped ? 2 * SECOND : 8 * SECOND);
	return true;
}

static bool stop(struct sim *s)
{
	unsigned node = any_node(s);

	if (!s->node[node].is_up || s->node[node].is_stopped)
		return false;
	s->node[node].is_stopped = true;
	ends(s, FAULT_STOP, node, s->node[node].life, random_once_in(&s->random, 4) ? 25 * SECOND : 4 * SECOND);
	return true;
}

static bool forget(struct sim *s)
{
	unsigned node = any_node(s), object = (unsigned)random_below(&s->random, OBJECTS);

	if (!s->node[node].copy[object].has || s->maps[s->map].quorum < 2 || is_damaged(s))
		return false;
	s->node[node].copy[object] = (struct copy){ .is_lost = true };
	s->node[node].pass.is_on = false; /* one that is under way may have pulled it already */
	sim_trace(s, object, "node %u forgets", node + 1);
	return true;
}

/* A bad disk: a bit in every second object, of which half are noticed at once. */
static bool flip(struct sim *s)
{
	unsigned node = any_node(s);

	if (s->maps[s->map].quorum < 2 || is_damaged(s))
		return false;
	for (unsigned i = 0; i < OBJECTS; i++) {
		struct copy *copy = &s->node[node].copy[i];

		if (!copy->has || (copy->flags & OBJECT_TOMBSTONE) || random_once_in(&s->random, 2))
			continue;
		copy->body ^= 1u << random_below(&s->random, 32);
		copy->is_damaged = random_once_in(&s->random, 2);
		sim_trace(s, i, "node %u has a flipped bit", node + 1);
	}
	return true;
}

static bool step_clock(struct sim *s)
{
	struct gateway *g = &s->gateway[random_below(&s->random, GATEWAYS)];
	uint64_t most = random_once_in(&s->random, 10) ? 900 * SECOND : 30 * SECOND;

	g->skew = (int64_t)sim_between(s, 0, 2 * most) - (int64_t)most;
	return true;
}

static bool deafen(struct sim *s)
{
	unsigned from = any_node(s), to = any_node(s);

	if (random_once_in(&s->random, 4))
		from = NODES + (unsigned)random_below(&s->random, GATEWAYS + 1);
	else if (random_once_in(&s->random, 4))
		to = NODES + (unsigned)random_below(&s->random, GATEWAYS + 1);
	if (from == to)
		return false;
	s->is_deaf[from][to] = true;
	ends(s, FAULT_ONE_WAY, from, to, 6 * SECOND);
	return true;
}

static bool node_fault(struct sim *s, enum sim_fault kind)
{
	unsigned node = any_node(s);

	if (kind == FAULT_SLOW)
		s->node[node].is_slow = true;
	else if (kind == FAULT_FULL)
		s->node[node].is_full = true;
	else
		s->node[node].is_slow_disk = true;
	ends(s, kind, node, 0, 4 * SECOND);
	return true;
}

static bool network_fault(struct sim *s, enum sim_fault kind)
{
	if (kind == FAULT_LOSS)
		s->loss = (unsigned)sim_between(s, 20, 300);
	else if (kind == FAULT_LINGER)
		s->linger = (unsigned)sim_between(s, 20, 200);
	else if (kind == FAULT_AGREEMENT_AWAY)
		s->is_agreement_away = true;
	else
		s->agreement_loss = 400;
	ends(s, kind, 0, 0, 4 * SECOND);
	return true;
}

static bool inject(struct sim *s, enum sim_fault kind)
{
	switch (kind) {
	case FAULT_ONE_WAY:
		return deafen(s);
	case FAULT_SPLIT:
		split(s);
		return true;
	case FAULT_KILL:
		return kill(s, false);
	case FAULT_WIPE:
		return kill(s, true);
	case FAULT_STOP:
		return stop(s);
	case FAULT_FLIP:
		return flip(s);
	case FAULT_FORGET:
		return forget(s);
	case FAULT_CLOCK:
		return step_clock(s);
	case FAULT_GATEWAY:
		gateway_die(s, (unsigned)random_below(&s->random, GATEWAYS));
		return true;
	case FAULT_JOIN:
		return join(s);
	case FAULT_LEAVE:
		return leave(s);
	case FAULT_SLOW:
	case FAULT_FULL:
	case FAULT_SLOW_DISK:
		return node_fault(s, kind);
	default:
		return network_fault(s, kind);
	}
}

static void next_fault(struct sim *s)
{
	sim_later(s, (struct message){ .kind = M_FAULT }, sim_between(s, 50 * MS, SECOND));
}

void fault_start(struct sim *s)
{
	for (unsigned g = 0; g < GATEWAYS; g++)
		step_clock(s);
	next_fault(s);
}

static void fault_ends(struct sim *s, enum sim_fault kind, unsigned from, unsigned to)
{
	switch (kind) {
	case FAULT_SLOW:
		s->node[from].is_slow = false;
		break;
	case FAULT_FULL:
		s->node[from].is_full = false;
		break;
	case FAULT_SLOW_DISK:
		s->node[from].is_slow_disk = false;
		break;
	case FAULT_LOSS:
		s->loss = 0;
		break;
	case FAULT_LINGER:
		s->linger = 0;
		break;
	case FAULT_ONE_WAY:
		s->is_deaf[from][to] = false;
		break;
	case FAULT_SPLIT:
		memset(s->is_deaf, 0, sizeof s->is_deaf);
		break;
	case FAULT_KILL:
		if (s->node[from].exists && !s->node[from].is_up && !s->node[from].is_leaving_for_good)
			sim_start(s, from);
		break;
	case FAULT_STOP:
		if (s->node[from].is_stopped && s->node[from].life == to)
			sim_wake(s, from);
		break;
	case FAULT_AGREEMENT_AWAY:
		s->is_agreement_away = false;
		break;
	case FAULT_AGREEMENT_UNSURE:
		s->agreement_loss = 0;
		break;
	default:
		break;
	}
}

void fault_message(struct sim *s, const struct message *m)
{
	if (s->is_calm)
		return;
	if (m->kind == M_FAULT_ENDS) {
		fault_ends(s, (enum sim_fault)m->step, m->from, m->to);
		return;
	}
	for (unsigned tries = 0; tries < 10; tries++) {
		enum sim_fault kind = (enum sim_fault)random_below(&s->random, FAULT_KINDS);

		if (s->options.without & 1u << kind || !inject(s, kind))
			continue;
		s->faults++;
		s->fault[kind]++;
		break;
	}
	next_fault(s);
}

void fault_calm(struct sim *s)
{
	s->is_calm = true;
	s->loss = s->linger = s->agreement_loss = 0;
	s->is_agreement_away = false;
	memset(s->is_deaf, 0, sizeof s->is_deaf);
	for (unsigned i = 0; i < NODES; i++) {
		struct node *n = &s->node[i];

		n->is_slow = n->is_full = n->is_slow_disk = false;
		if (!n->exists || n->is_leaving_for_good)
			continue;
		if (n->is_stopped)
			sim_wake(s, i);
		if (!n->is_up)
			sim_start(s, i);
	}
}
