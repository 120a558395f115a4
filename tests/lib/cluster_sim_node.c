/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_sim_node.c: operations at their coordinators: drives struct coordinate as a daemon would, over the simulated network. */
#include "lib/cluster_sim_private.h"

#include "node/coordinate_list.h"

#include <stdlib.h>
#include <string.h>

static struct operation *find(struct sim *s, uint64_t id)
{
	for (struct operation *op = s->operations; op; op = op->next)
		if (op->id == id)
			return op;
	return NULL;
}

static void forget(struct sim *s, struct operation *op)
{
	struct operation **at = &s->operations;

	while (*at != op)
		at = &(*at)->next;
	*at = op->next;
	free(op);
}

void node_forget(struct sim *s, unsigned node)
{
	for (struct operation *op = s->operations, *next; op; op = next) {
		next = op->next;
		if (op->node == node)
			forget(s, op);
	}
}

/* ---- the client ---- */

static void answer(struct sim *s, struct operation *op, enum coordinate_result result, const struct copy *copy)
{
	struct message m = { .kind = M_ANSWER, .from = op->node, .to = NODES + op->gateway, .op = op->gateway_try };

	if (op->is_answered)
		return;
	op->is_answered = true;
	m.result = result;
	m.object = op->object;
	m.flag = op->is_list;
	m.map = s->node[op->node].map;
	if (copy)
		m.copy = *copy;
	if (op->is_list)
		memcpy(m.all, op->pages[op->node], sizeof m.all);
	sim_trace(s, op->object, "node %u op %u answers %d %s", op->node + 1, (unsigned)op->id, result,
	          copy ? sim_version(copy->version) : "");
	sim_send(s, m);
}

/* The body for the client: from the next that has it. */
static void read_next(struct sim *s, struct operation *op)
{
	op->is_reading = op->holder < op->answer.holder_count;
	if (!op->is_reading) {
		answer(s, op, RESULT_UNAVAILABLE, NULL);
		return;
	}
	sim_send(s, (struct message){ .kind = M_READ,
	                              .from = op->node,
	                              .to = op->answer.holder[op->holder] - 1,
	                              .op = op->id,
	                              .step = COORDINATE_STEPS_MAX + (unsigned)op->holder,
	                              .object = op->object,
	                              .copy = { .version = op->answer.meta.version } });
	sim_later(s,
	          (struct message){ .kind = M_NOT_IN_TIME,
	                            .from = op->node,
	                            .to = op->node,
	                            .op = op->id,
	                            .step = COORDINATE_STEPS_MAX + (unsigned)op->holder },
	          STEP_TIME);
}

static void read_replied(struct sim *s, struct operation *op, const struct message *m)
{
	if (!op->is_reading || m->step != COORDINATE_STEPS_MAX + (unsigned)op->holder)
		return;
	if (m->kind == M_READ_REPLY && m->flag) {
		op->is_reading = false;
		answer(s, op, RESULT_DONE, &m->copy);
		return;
	}
	op->holder++;
	read_next(s, op);
}

/* ---- steps ---- */

static void send_put(struct sim *s, struct operation *op, unsigned id)
{
	const struct sent_step *step = &op->step[id];

	sim_send(s, (struct message){ .kind = M_PUT,
	                              .from = op->node,
	                              .to = step->node - 1,
	                              .op = op->id,
	                              .step = id,
	                              .map = op->map,
	                              .object = op->object,
	                              .copy = step->copy,
	                              .rule = step->rule });
}

static void replied(struct operation *op, unsigned id, enum coordinate_status status)
{
	struct coordinate_reply reply = { .status = status };

	coordinate_replied(&op->c, id, &reply);
}

static void start_put(struct sim *s, struct operation *op, const struct coordinate_step *step)
{
	struct sent_step *sent = &op->step[step->id];

	sent->copy = (struct copy){ .has = true, .version = step->meta.version, .flags = step->meta.flags };
	sent->rule = step->rule;
	sent->body = step->body;
	if (s->options.sabotage == SABOTAGE_NO_WRITE_BACK && step->rule == PUT_COPY) {
		struct coordinate_reply reply = { .status = REPLICA_ACCEPTED, .vote = true };

		coordinate_replied(&op->c, step->id, &reply);
		return;
	}
	if (step->body == BODY_COPY) {
		sent->is_reading = true;
		sim_send(s, (struct message){ .kind = M_READ,
		                              .from = op->node,
		                              .to = step->source - 1,
		                              .op = op->id,
		                              .step = step->id,
		                              .object = op->object,
		                              .copy = sent->copy });
		return;
	}
	sent->copy.digest = step->body == BODY_OURS ? op->body : step->body == BODY_CLAIM ? op->claim_body : 0;
	sent->copy.body = sent->copy.digest;
	if (step->body != BODY_OURS || op->is_body_here)
		send_put(s, op, step->id);
}

static void ask_agreement(struct sim *s, struct operation *op, const struct coordinate_step *step)
{
	struct message m = { .kind = step->kind == STEP_CLAIM ? M_CLAIM : M_RELEASE,
		             .from = op->node,
		             .to = AGREEMENT };

	if (step->kind == STEP_CLAIM && s->options.sabotage == SABOTAGE_NO_CLAIM) {
		coordinate_agreed(&op->c, step->id, AGREED_DONE, OBJECT_VERSION_NONE);
		return;
	}
	m.op = op->id;
	m.step = step->id;
	m.object = op->object;
	m.flag = step->upto;
	m.copy = (struct copy){ .version = step->meta.version, .digest = op->body };
	m.releases = s->claim[op->object].releases; /* as if it had been asked for just now */
	sim_send(s, m);
}

static void confirm(struct sim *s, struct operation *op, struct object_version version)
{
	struct copy *copy = &s->node[op->node].copy[op->object];

	if (copy->has && object_version_compare(copy->version, version) == 0)
		copy->flags |= OBJECT_CONFIRMED;
}

static void answer_step(struct sim *s, struct operation *op, const struct coordinate_step *step)
{
	bool is_read = op->kind == COORDINATE_LOOK || op->kind == COORDINATE_CONFIRM;
	struct copy copy = { .version = step->meta.version, .flags = step->meta.flags };

	if (step->result == RESULT_DONE && is_read) {
		op->answer = *step;
		op->holder = 0;
		read_next(s, op);
	} else {
		answer(s, op, step->result, &copy);
	}
}

static void start_step(struct sim *s, struct operation *op, const struct coordinate_step *step)
{
	bool is_agreement = step->kind == STEP_CLAIM || step->kind == STEP_RELEASE;

	if (step->id < COORDINATE_STEPS_MAX) {
		op->step[step->id] = (struct sent_step){ .kind = step->kind, .node = step->node };
		sim_later(s,
		          (struct message){ .kind = M_NOT_IN_TIME,
		                            .from = op->node,
		                            .to = op->node,
		                            .op = op->id,
		                            .step = step->id },
		          is_agreement ? AGREEMENT_TIME : STEP_TIME);
	}
	switch (step->kind) {
	case STEP_ASK:
		sim_send(s, (struct message){ .kind = M_ASK,
		                              .from = op->node,
		                              .to = step->node - 1,
		                              .op = op->id,
		                              .step = step->id,
		                              .map = op->map,
		                              .object = op->object });
		break;
	case STEP_PUT:
		start_put(s, op, step);
		break;
	case STEP_CLAIM:
	case STEP_RELEASE:
		ask_agreement(s, op, step);
		break;
	case STEP_CONFIRM:
		confirm(s, op, step->meta.version);
		break;
	case STEP_HINT:
		replica_hint(s, op->node, step->node - 1, op->object, step->meta.version);
		break;
	case STEP_ANSWER:
		answer_step(s, op, step);
		break;
	case STEP_FINISHED:
		op->is_finished = true;
		break;
	}
}

static void drain(struct sim *s, struct operation *op)
{
	struct coordinate_step step;

	while (coordinate_next(&op->c, &step))
		start_step(s, op, &step);
	if (op->is_finished && !op->is_reading)
		forget(s, op);
}

/* ---- listings ---- */

/* What a client that asks page after page gets, each node giving so many keys at a time. */
static bool merge(struct sim *s, struct operation *op, struct copy out[OBJECTS])
{
	size_t at_a_time = 1 + random_below(&s->random, OBJECTS), max = 1 + random_below(&s->random, OBJECTS);
	struct list_entry entry[NODES][OBJECTS], merged[OBJECTS];
	const char *after = "";
	struct list_result result;

	memset(out, 0, OBJECTS * sizeof *out);
	do {
		struct list_page page[NODES] = { 0 };
		size_t pages = 0;

		for (unsigned i = 0; i < NODES; i++) {
			struct list_page *p = &page[pages];

			if (!(op->listed & 1u << i))
				continue;
			p->entry = entry[i];
			for (unsigned k = 0; k < OBJECTS; k++) {
				if (!op->pages[i][k].has || strcmp(sim_names[k], after) <= 0)
					continue;
				if (p->count == at_a_time)
					p->has_more = true;
				else
					entry[i][p->count++] =
						(struct list_entry){ sim_names[k], sim_meta(&op->pages[i][k]) };
			}
			pages++;
		}
		result = coordinate_list_merge(page, pages, merged, max);
		if (result.is_out_of_order || (result.has_more && !result.last))
			return false;
		for (size_t i = 0; i < result.count; i++)
			for (unsigned k = 0; k < OBJECTS; k++)
				if (strcmp(sim_names[k], merged[i].key) == 0)
					out[k] = (struct copy){ .has = true, .version = merged[i].meta.version };
		after = result.last;
	} while (result.has_more);
	return true;
}

static void end_list(struct sim *s, struct operation *op)
{
	unsigned answered[NODES];
	struct copy out[OBJECTS];
	size_t count = 0;
	bool is_enough;

	for (unsigned i = 0; i < NODES; i++)
		if (op->listed & 1u << i)
			answered[count++] = i + 1;
	is_enough = coordinate_list_enough(&s->maps[op->map], "p", answered, count);
	if (s->options.sabotage == SABOTAGE_SHORT_LIST)
		is_enough = count > 0;
	is_enough = is_enough && merge(s, op, out);
	memcpy(op->pages[op->node], out, sizeof out);
	answer(s, op, is_enough ? RESULT_DONE : RESULT_UNAVAILABLE, NULL);
	forget(s, op);
}

static void listed(struct sim *s, struct operation *op, const struct message *m)
{
	if (m->reply.status == REPLICA_MAP) {
		answer(s, op, RESULT_MAP, NULL);
		forget(s, op);
		return;
	}
	if (m->reply.vote) {
		memcpy(op->pages[m->from], m->all, sizeof m->all);
		op->listed |= 1u << m->from;
	}
	op->asked &= ~(1u << m->from);
	if (!op->asked)
		end_list(s, op);
}

static void start_list(struct sim *s, struct operation *op)
{
	const struct cluster_map *map = &s->maps[op->map];

	for (size_t i = 0; i < map->node_count; i++) {
		op->asked |= 1u << (map->node[i].id - 1);
		sim_send(s, (struct message){ .kind = M_LIST,
		                              .from = op->node,
		                              .to = map->node[i].id - 1,
		                              .op = op->id,
		                              .map = op->map });
	}
	sim_later(s, (struct message){ .kind = M_NOT_IN_TIME, .from = op->node, .to = op->node, .op = op->id },
	          STEP_TIME);
}

/* ---- requests ---- */

static struct operation *new_operation(struct sim *s, const struct message *m)
{
	struct operation *op = calloc(1, sizeof *op);

	if (!op)
		abort();
	op->id = ++s->next_id;
	op->node = m->to;
	op->gateway = m->from - NODES;
	op->gateway_life = s->gateway[op->gateway].life;
	op->gateway_try = m->op;
	op->object = m->object;
	op->map = s->node[m->to].map;
	op->deadline = s->now + OPERATION_TIME;
	op->kind = m->operation;
	op->body = m->copy.digest;
	op->is_list = m->flag;
	op->next = s->operations;
	s->operations = op;
	return op;
}

void node_request(struct sim *s, const struct message *m)
{
	bool is_read = m->operation == COORDINATE_LOOK || m->operation == COORDINATE_CONFIRM;
	bool is_current = replica_adopt(s, m->to, m->map);
	struct operation *op = new_operation(s, m);
	struct object_meta ours = sim_meta(&m->copy);
	struct placement p;
	struct copy copy = s->node[m->to].copy[m->object];

	op->map = s->node[m->to].map;
	if (!is_current) {
		answer(s, op, RESULT_MAP, NULL);
		forget(s, op);
		return;
	}
	if (op->is_list) {
		start_list(s, op);
		return;
	}
	if (op->kind == COORDINATE_CONFIRM && copy.has && (copy.flags & OBJECT_CONFIRMED) &&
	    replica_read(s, m->to, m->object, copy.version, &copy)) {
		answer(s, op, RESULT_DONE, &copy);
		forget(s, op);
		return;
	}
	sim_place(s, op->map, m->object, &p);
	if (s->options.sabotage == SABOTAGE_OLD_SET_ONLY) {
		p.sets = 1;
		p.count = p.set[0].count;
	}
	sim_trace(s, m->object, "node %u op %u kind %d of gateway %u %s", m->to + 1, (unsigned)op->id, op->kind,
	          op->gateway, sim_version(ours.version));
	coordinate_init(&op->c, op->kind, &p, m->to + 1, is_read ? NULL : &ours);
	sim_later(s, (struct message){ .kind = M_DEADLINE, .from = m->to, .to = m->to, .op = op->id }, OPERATION_TIME);
	if (!is_read)
		sim_later(s, (struct message){ .kind = M_BODY, .from = m->to, .to = m->to, .op = op->id },
		          sim_between(s, 0, 50 * MS));
	drain(s, op);
}

/* ---- events ---- */

static void body_comes(struct sim *s, struct operation *op)
{
	bool is_gone = s->gateway[op->gateway].life != op->gateway_life;

	if (is_gone)
		coordinate_give_up(&op->c, true);
	else
		coordinate_body_received(&op->c);
	op->is_body_here = true;
	for (unsigned i = 0; i < op->c.sent_count; i++) {
		if (op->step[i].kind != STEP_PUT || op->step[i].body != BODY_OURS || !op->c.sent[i].is_open)
			continue;
		if (is_gone || op->c.is_given_up)
			replied(op, i, REPLICA_FAILED);
		else
			send_put(s, op, i);
	}
}

static void source_replied(struct sim *s, struct operation *op, const struct message *m)
{
	struct sent_step *step = &op->step[m->step];

	if (!step->is_reading)
		return;
	step->is_reading = false;
	if (!m->flag) {
		replied(op, m->step, REPLICA_SOURCE_GONE);
	} else if (op->c.is_given_up) {
		replied(op, m->step, REPLICA_FAILED);
	} else {
		step->copy.digest = m->copy.digest;
		step->copy.body = m->copy.body;
		send_put(s, op, m->step);
	}
}

static void not_in_time(struct operation *op, unsigned id)
{
	if (op->step[id].kind == STEP_CLAIM || op->step[id].kind == STEP_RELEASE)
		coordinate_agreed(&op->c, id, AGREED_FAILED, OBJECT_VERSION_NONE);
	else
		replied(op, id, op->step[id].is_reading ? REPLICA_SOURCE_GONE : REPLICA_FAILED);
	op->step[id].is_reading = false;
}

static void put_replied(struct sim *s, struct operation *op, const struct message *m)
{
	struct coordinate_reply reply = m->reply;

	if (s->options.sabotage == SABOTAGE_EARLY_ANSWER && reply.status == REPLICA_ACCEPTED &&
	    op->step[m->step].body != BODY_COPY && op->step[m->step].body != BODY_CLAIM &&
	    (op->kind == COORDINATE_PUT || op->kind == COORDINATE_REMOVE))
		answer(s, op, RESULT_DONE, &op->step[m->step].copy);
	sim_trace(s, op->object, "node %u op %u step %u: node %u says %d %s", op->node + 1, (unsigned)op->id, m->step,
	          m->from + 1, reply.status, sim_version(reply.meta.version));
	coordinate_replied(&op->c, m->step, &reply);
}

bool node_event(struct sim *s, const struct message *m)
{
	struct operation *op = find(s, m->op);

	if (!op || op->node != m->to)
		return false;
	if (op->is_list) {
		if (m->kind == M_LISTED)
			listed(s, op, m);
		else
			end_list(s, op);
		return true;
	}
	if (s->now >= op->deadline && !op->c.is_given_up)
		coordinate_give_up(&op->c, false);
	if (m->step >= COORDINATE_STEPS_MAX) {
		read_replied(s, op, m);
	} else if (m->kind == M_REPLY) {
		put_replied(s, op, m);
	} else if (m->kind == M_READ_REPLY) {
		source_replied(s, op, m);
	} else if (m->kind == M_AGREED) {
		if (m->agreed == AGREED_EXISTS)
			op->claim_body = m->copy.digest;
		sim_trace(s, op->object, "node %u op %u agreed %d %s", op->node + 1, (unsigned)op->id, m->agreed,
		          sim_version(m->copy.version));
		coordinate_agreed(&op->c, m->step, m->agreed, m->copy.version);
	} else if (m->kind == M_NOT_IN_TIME) {
		not_in_time(op, m->step);
	} else if (m->kind == M_BODY) {
		body_comes(s, op);
	}
	drain(s, op);
	return true;
}
