/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_sim_replica.c: a model of what a node keeps and of the replica's rules; pulling from others, hints, dropped tombstones. */
#include "lib/cluster_sim_private.h"

#include <string.h>

/* ---- the map ---- */

static void erase(struct copy *copy)
{
	*copy = (struct copy){ .has = false };
}

/* What a node does not hold by its map it neither takes nor keeps nor gives away. */
static bool is_placed(const struct sim *s, unsigned node, unsigned object)
{
	struct placement p;

	sim_place(s, s->node[node].map, object, &p);
	return placement_has(&p, node + 1);
}

/* Takes a newer map; -> whether `map` is not older than what it has. */
bool replica_adopt(struct sim *s, unsigned node, uint64_t map)
{
	struct node *n = &s->node[node];

	if (map < n->map)
		return false;
	if (map == n->map)
		return true;
	n->map = map;
	/* What it holds no more goes before anything can change again. */
	for (unsigned i = 0; i < OBJECTS && !cluster_map_moving(&s->maps[map]); i++)
		if (!is_placed(s, node, i) && s->options.sabotage != SABOTAGE_STRAYS)
			erase(&n->copy[i]);
	return true;
}

/* ---- one copy ---- */

bool replica_vote(const struct sim *s, unsigned node, unsigned object)
{
	if (s->options.sabotage == SABOTAGE_RECOVERING_VOTES)
		return true;
	return !s->node[node].is_recovering && !s->node[node].copy[object].is_lost;
}

struct coordinate_reply replica_ask(struct sim *s, unsigned node, unsigned object)
{
	const struct copy *copy = &s->node[node].copy[object];
	struct coordinate_reply reply = { .vote = replica_vote(s, node, object), .status = REPLICA_META };

	if (copy->has && copy->is_damaged && s->options.sabotage != SABOTAGE_DAMAGED_IS_ABSENT)
		reply.status = REPLICA_DAMAGED;
	else if (!copy->has || copy->is_damaged)
		reply.status = REPLICA_ABSENT;
	if (reply.status != REPLICA_ABSENT)
		reply.meta = sim_meta(copy);
	else
		reply.floor = s->node[node].floor;
	return reply;
}

bool replica_read(struct sim *s, unsigned node, unsigned object, struct object_version version, struct copy *copy)
{
	struct copy *mine = &s->node[node].copy[object];

	if (!mine->has || object_version_compare(mine->version, version) != 0)
		return false;
	mine->is_damaged = mine->is_damaged || mine->body != mine->digest;
	*copy = *mine;
	return !mine->is_damaged;
}

/* Whether it may not know yet which versions under that name were dropped: one that lost its data, or holds the name only since the map
 * moves, until it has pulled from all others. */
static bool has_no_floor(const struct sim *s, unsigned node, unsigned object)
{
	const struct node *n = &s->node[node];
	struct placement p;

	if (n->is_recovering)
		return true;
	if (!cluster_map_moving(&s->maps[n->map]) || n->passed >= s->joint)
		return false;
	sim_place(s, n->map, object, &p);
	return !placement_set_has(&p.set[0], node + 1);
}

struct coordinate_reply replica_put(struct sim *s, unsigned node, unsigned object, const struct copy *copy,
                                    enum coordinate_put_rule rule)
{
	struct node *n = &s->node[node];
	struct copy *mine = &n->copy[object];
	bool is_live = mine->has && !(mine->flags & OBJECT_TOMBSTONE);
	int order = mine->has ? object_version_compare(copy->version, mine->version) : 1;
	struct coordinate_reply reply = { .status = REPLICA_ACCEPTED, .vote = replica_vote(s, node, object) };

	if (rule == PUT_ABSENT && s->options.sabotage == SABOTAGE_NO_ABSENT_RULE)
		rule = PUT_FRESH;
	reply.was_claimed = mine->has && (mine->flags & OBJECT_CLAIMED);
	if (mine->has)
		reply.meta = sim_meta(mine);
	if (order == 0 && !mine->is_damaged)
		return reply;
	if (order != 0 && rule == PUT_ABSENT && is_live) {
		reply.status = REPLICA_EXISTS;
	} else if (order < 0 && s->options.sabotage != SABOTAGE_OLD_WINS) {
		reply.status = REPLICA_STALE;
	} else if (!mine->has && rule != PUT_COPY && has_no_floor(s, node, object)) {
		reply.status = REPLICA_FAILED;
	} else if (!mine->has && rule != PUT_COPY && s->options.sabotage != SABOTAGE_NO_FLOOR &&
	           object_version_compare(copy->version, n->floor) <= 0) {
		reply.status = REPLICA_STALE;
		reply.meta = (struct object_meta){ .version = n->floor, .flags = OBJECT_TOMBSTONE };
	} else if (n->is_full && !(copy->flags & OBJECT_TOMBSTONE)) {
		reply.status = REPLICA_FULL;
	} else {
		bool was_lost = mine->is_lost;
		unsigned sticky = mine->has ? mine->flags & OBJECT_CLAIMED : 0;

		*mine = *copy;
		mine->has = true;
		mine->is_lost = was_lost;
		mine->is_damaged = false;
		mine->body = copy->digest;
		mine->flags = (copy->flags & ~(unsigned)OBJECT_CONFIRMED) | sticky;
		mine->since = s->now;
	}
	sim_trace(s, object, "node %u put %s%s rule %d -> %d%s", node + 1, sim_version(copy->version),
	          copy->flags & OBJECT_TOMBSTONE ? "(gone)" : "", rule, reply.status, reply.vote ? "" : " no vote");
	return reply;
}

/* ---- passes: pulling from all others ---- */

static bool has_lost(const struct node *n)
{
	for (unsigned i = 0; i < OBJECTS; i++)
		if (n->copy[i].is_lost)
			return true;
	return n->is_recovering;
}

static void send_pulls(struct sim *s, unsigned node)
{
	struct node *n = &s->node[node];

	for (unsigned i = 0; i < NODES; i++)
		if (n->pass.waits & 1u << i)
			sim_send(s, (struct message){
					    .kind = M_PULL, .from = node, .to = i, .op = n->pass.id, .map = n->map });
}

static void begin_pulls(struct sim *s, unsigned node)
{
	struct node *n = &s->node[node];
	const struct cluster_map *map = &s->maps[n->map];

	n->pass = (struct pass){ .is_on = true, .id = ++s->next_id, .map = n->map };
	for (size_t i = 0; i < map->node_count; i++)
		if (map->node[i].id != node + 1 && !s->node[map->node[i].id - 1].is_leaving_for_good)
			n->pass.waits |= 1u << (map->node[i].id - 1);
	if (s->options.sabotage == SABOTAGE_HASTY_RECOVERY && n->pass.waits)
		n->pass.waits = 1u << __builtin_ctz(n->pass.waits);
	send_pulls(s, node);
}

/* What was lost is told to the agreement first, so that votes from before do not count any more. */
static void begin_pass(struct sim *s, unsigned node)
{
	struct node *n = &s->node[node];

	if (!has_lost(n)) {
		begin_pulls(s, node);
		return;
	}
	n->pass = (struct pass){ .is_on = true, .is_raising = true, .id = ++s->next_id };
	sim_send(s, (struct message){ .kind = M_RAISE, .from = node, .to = AGREEMENT, .op = n->pass.id });
}

static void end_pass(struct sim *s, unsigned node)
{
	struct node *n = &s->node[node];

	n->pass.is_on = false;
	n->passed = n->pass.map;
	n->is_recovering = false;
	for (unsigned i = 0; i < OBJECTS; i++)
		n->copy[i].is_lost = false;
	for (unsigned i = 0; i < OBJECTS; i++)
		sim_trace(s, i, "node %u has passed, map %u", node + 1, (unsigned)n->map);
}

/* All were asked. Who had lost something when it was asked may have got that again, and then another may have lost it that was asked
 * after that: so those are asked once more. */
static void ask_again(struct sim *s, unsigned node)
{
	struct pass *p = &s->node[node].pass;

	if (!p->again || p->is_second) {
		end_pass(s, node);
		return;
	}
	p->is_second = true;
	p->id = ++s->next_id;
	p->waits = p->again;
	send_pulls(s, node);
}

/* Whether all that it should hold was put in place: a full disk must not make a pass look whole. */
static bool take_all(struct sim *s, unsigned node, const struct message *m)
{
	struct node *n = &s->node[node];
	bool is_whole = true;

	if (object_version_compare(m->floor, n->floor) > 0)
		n->floor = m->floor;
	for (unsigned i = 0; i < OBJECTS; i++) {
		if (m->all[i].has && is_placed(s, node, i))
			is_whole = replica_put(s, node, i, &m->all[i], PUT_COPY).status != REPLICA_FULL && is_whole;
	}
	return is_whole;
}

static void pulled(struct sim *s, const struct message *m)
{
	struct node *n = &s->node[m->to];

	if (m->sent + PULL_TIME < s->now || !replica_adopt(s, m->to, m->map))
		return;
	if (!take_all(s, m->to, m))
		return;
	if (!n->pass.is_on || n->pass.is_raising || m->op != n->pass.id)
		return;
	n->pass.waits &= ~(1u << m->from);
	if (!m->flag)
		n->pass.again |= 1u << m->from;
	if (!n->pass.waits)
		ask_again(s, m->to);
}

/* All it has that `m->from` should hold, and can be read. */
static void answer_pull(struct sim *s, const struct message *m)
{
	struct message answer = { .kind = M_PULLED, .from = m->to, .to = m->from, .op = m->op, .sent = m->sent };
	struct node *n = &s->node[m->to];

	if (!replica_adopt(s, m->to, m->map))
		answer.op = 0;
	answer.map = n->map;
	answer.floor = n->floor;
	answer.flag = !has_lost(n);
	for (unsigned i = 0; i < OBJECTS; i++) {
		struct copy copy;

		if (n->copy[i].has && is_placed(s, m->to, i) && replica_read(s, m->to, i, n->copy[i].version, &copy))
			answer.all[i] = copy;
	}
	sim_send(s, answer);
}

static void tick_pass(struct sim *s, unsigned node)
{
	struct node *n = &s->node[node];
	bool is_moving = cluster_map_moving(&s->maps[n->map]);

	if (n->pass.is_on && !n->pass.is_raising && n->pass.map != n->map)
		n->pass.is_on = false; /* others may hold what it pulls by now */
	if (n->pass.is_on && !n->pass.is_raising) {
		send_pulls(s, node);
	} else if (has_lost(n) || (is_moving && n->passed < n->map)) {
		begin_pass(s, node);
	} else {
		const struct cluster_map *map = &s->maps[n->map];
		unsigned other = map->node[random_below(&s->random, map->node_count)].id - 1;

		if (other != node)
			sim_send(s, (struct message){ .kind = M_PULL, .from = node, .to = other, .map = n->map });
	}
}

/* ---- tombstones ---- */

static bool may_drop(const struct sim *s, unsigned node, unsigned object, struct object_version version, uint64_t map)
{
	const struct node *n = &s->node[node];
	const struct copy *copy = &n->copy[object];

	return copy->has && (copy->flags & OBJECT_TOMBSTONE) && object_version_compare(copy->version, version) == 0 &&
	       copy->since + DROP_AGE < s->now && replica_vote(s, node, object) && n->map == map &&
	       !cluster_map_moving(&s->maps[map]);
}

static void drop(struct sim *s, unsigned node, unsigned object, struct object_version version)
{
	struct node *n = &s->node[node];

	sim_trace(s, object, "node %u drops tombstone %s", node + 1, sim_version(version));
	erase(&n->copy[object]);
	if (object_version_compare(version, n->floor) > 0)
		n->floor = version;
}

static void tick_tombstones(struct sim *s, unsigned node)
{
	struct node *n = &s->node[node];
	unsigned object = (unsigned)random_below(&s->random, OBJECTS);
	struct copy *copy = &n->copy[object];
	struct placement p;

	if (!copy->has || !(copy->flags & OBJECT_TOMBSTONE))
		return;
	if (s->options.sabotage == SABOTAGE_EARLY_DROP) {
		drop(s, node, object, copy->version);
		return;
	}
	sim_place(s, n->map, object, &p);
	if (p.node[0] != node + 1 || !may_drop(s, node, object, copy->version, n->map))
		return;
	n->tombstone_yes = 0;
	n->tombstone_object = object;
	n->tombstone = copy->version;
	for (size_t i = 0; i < p.count; i++)
		sim_send(s, (struct message){ .kind = M_TOMBSTONE,
		                              .from = node,
		                              .to = p.node[i] - 1,
		                              .object = object,
		                              .copy = *copy,
		                              .map = n->map });
}

static void tombstone_reply(struct sim *s, const struct message *m)
{
	struct node *n = &s->node[m->to];
	struct placement p;

	if (m->object != n->tombstone_object || object_version_compare(m->copy.version, n->tombstone) != 0 ||
	    m->map != n->map || m->sent + WINDOW < s->now)
		return;
	n->tombstone_yes |= 1u << m->from;
	sim_place(s, n->map, m->object, &p);
	for (size_t i = 0; i < p.count; i++)
		if (!(n->tombstone_yes & 1u << (p.node[i] - 1)))
			return;
	for (size_t i = 0; i < p.count; i++)
		sim_send(s, (struct message){ .kind = M_DROP,
		                              .from = m->to,
		                              .to = p.node[i] - 1,
		                              .object = m->object,
		                              .copy = m->copy,
		                              .map = n->map });
	n->tombstone = OBJECT_VERSION_NONE;
}

/* ---- hints ---- */

void replica_hint(struct sim *s, unsigned node, unsigned of, unsigned object, struct object_version version)
{
	struct node *n = &s->node[node];

	for (unsigned i = 0; i < HINTS; i++) {
		if (n->hint[i].is_used)
			continue;
		n->hint[i] = (struct hint){ .is_used = true, .node = of, .object = object, .version = version };
		return;
	}
}

static void tick_hints(struct sim *s, unsigned node)
{
	struct node *n = &s->node[node];

	for (unsigned i = 0; i < HINTS; i++) {
		const struct hint *h = &n->hint[i];
		struct placement p;
		struct copy copy;

		if (!h->is_used)
			continue;
		sim_place(s, n->map, h->object, &p);
		if (!placement_has(&p, h->node + 1) || !n->copy[h->object].has ||
		    !replica_read(s, node, h->object, n->copy[h->object].version, &copy) ||
		    object_version_compare(copy.version, h->version) < 0) {
			n->hint[i].is_used = false;
			continue;
		}
		sim_send(s, (struct message){ .kind = M_PUT,
		                              .from = node,
		                              .to = h->node,
		                              .step = i,
		                              .map = n->map,
		                              .object = h->object,
		                              .copy = copy,
		                              .rule = PUT_COPY });
	}
}

/* What nobody could mend may be the only copy of a version that no quorum accepted: it is given up as if it were lost, and all others
 * are pulled from before this node votes on it again. */
static void tick_damaged(struct sim *s, unsigned node)
{
	struct node *n = &s->node[node];

	for (unsigned i = 0; i < OBJECTS; i++) {
		if (!n->copy[i].has || !n->copy[i].is_damaged || !random_once_in(&s->random, 4))
			continue;
		n->copy[i] = (struct copy){ .is_lost = true };
		n->pass.is_on = false;
		sim_trace(s, i, "node %u gives up its damaged copy", node + 1);
	}
}

void replica_tick(struct sim *s, unsigned node)
{
	tick_damaged(s, node);
	tick_pass(s, node);
	tick_tombstones(s, node);
	tick_hints(s, node);
	for (unsigned i = 0; i < OBJECTS; i++) { /* the scrubber */
		struct copy copy;

		if (random_once_in(&s->random, 4) && s->node[node].copy[i].has)
			replica_read(s, node, i, s->node[node].copy[i].version, &copy);
	}
}

/* ---- messages ---- */

static void reply(struct sim *s, const struct message *m, struct coordinate_reply r)
{
	sim_send(s, (struct message){ .kind = M_REPLY,
	                              .from = m->to,
	                              .to = m->from,
	                              .op = m->op,
	                              .step = m->step,
	                              .object = m->object,
	                              .reply = r });
}

/* A put has come whole; it takes a while to be durable. */
static void put_comes(struct sim *s, const struct message *m)
{
	struct message commit = *m;
	bool is_slow = s->node[m->to].is_slow_disk;

	commit.kind = M_COMMIT;
	if (s->options.sabotage == SABOTAGE_NOT_DURABLE)
		reply(s, m,
		      (struct coordinate_reply){ .status = REPLICA_ACCEPTED,
		                                 .vote = replica_vote(s, m->to, m->object) });
	sim_later(s, commit, is_slow ? sim_between(s, 50 * MS, SECOND) : sim_between(s, MS, 20 * MS));
}

static void commit(struct sim *s, const struct message *m)
{
	struct coordinate_reply r = { .status = REPLICA_FAILED };

	if (m->sent + 2 * WINDOW >= s->now) {
		if (!replica_adopt(s, m->to, m->map))
			r.status = REPLICA_MAP;
		else if (is_placed(s, m->to, m->object))
			r = replica_put(s, m->to, m->object, &m->copy, m->rule);
	}
	if (s->options.sabotage != SABOTAGE_NOT_DURABLE)
		reply(s, m, r);
}

static void asked(struct sim *s, const struct message *m)
{
	if (!replica_adopt(s, m->to, m->map))
		reply(s, m, (struct coordinate_reply){ .status = REPLICA_MAP });
	else
		reply(s, m, replica_ask(s, m->to, m->object));
}

static void read_comes(struct sim *s, const struct message *m)
{
	struct message answer = { .kind = M_READ_REPLY, .from = m->to, .to = m->from, .op = m->op, .step = m->step };

	answer.flag = replica_read(s, m->to, m->object, m->copy.version, &answer.copy);
	sim_send(s, answer);
}

static void list_comes(struct sim *s, const struct message *m)
{
	struct message answer = { .kind = M_LISTED, .from = m->to, .to = m->from, .op = m->op, .step = m->step };

	answer.reply.status = replica_adopt(s, m->to, m->map) ? REPLICA_META : REPLICA_MAP;
	answer.reply.vote = true;
	for (unsigned i = 0; i < OBJECTS; i++) {
		answer.reply.vote = answer.reply.vote && replica_vote(s, m->to, i);
		if (is_placed(s, m->to, i))
			answer.all[i] = s->node[m->to].copy[i];
	}
	sim_send(s, answer);
}

void replica_message(struct sim *s, const struct message *m)
{
	bool is_old = m->sent + WINDOW < s->now;

	switch (m->kind) {
	case M_ASK:
		if (!is_old)
			asked(s, m);
		break;
	case M_PUT:
		if (!is_old)
			put_comes(s, m);
		break;
	case M_COMMIT:
		commit(s, m);
		break;
	case M_READ:
		if (!is_old)
			read_comes(s, m);
		break;
	case M_LIST:
		if (!is_old)
			list_comes(s, m);
		break;
	case M_PULL:
		if (!is_old)
			answer_pull(s, m);
		break;
	case M_PULLED:
		pulled(s, m);
		break;
	case M_TOMBSTONE:
		if (!is_old && may_drop(s, m->to, m->object, m->copy.version, m->map))
			sim_send(s, (struct message){ .kind = M_TOMBSTONE_REPLY,
			                              .from = m->to,
			                              .to = m->from,
			                              .object = m->object,
			                              .copy = m->copy,
			                              .map = m->map });
		break;
	case M_TOMBSTONE_REPLY:
		tombstone_reply(s, m);
		break;
	case M_DROP:
		if (!is_old && may_drop(s, m->to, m->object, m->copy.version, m->map))
			drop(s, m->to, m->object, m->copy.version);
		break;
	case M_REPLY: /* of a hint */
		if (m->step < HINTS && (m->reply.status == REPLICA_ACCEPTED || m->reply.status == REPLICA_STALE))
			s->node[m->to].hint[m->step].is_used = false;
		break;
	case M_AGREED: /* of a lost node's new incarnation */
		if (s->node[m->to].pass.is_raising && m->op == s->node[m->to].pass.id && m->map) {
			replica_adopt(s, m->to, m->map);
			begin_pulls(s, m->to);
		}
		break;
	default:
		break;
	}
}
