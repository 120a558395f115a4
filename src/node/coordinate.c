/* SPDX-License-Identifier: GPL-3.0-only */
/* coordinate.c: what all kinds of operations share: the steps that wait to be taken, what is still unanswered, quorums, hints, the end. */
#include "node/coordinate_private.h"

#include <assert.h>
#include <string.h>

#define NO_ID ((unsigned)-1)

/* ---- steps ---- */

struct coordinate_step *coordinate_step(struct coordinate *c, enum coordinate_step_kind kind)
{
	struct coordinate_step *step = &c->queue[(c->queue_first + c->queue_count) % COORDINATE_QUEUE_MAX];

	/* An event makes at most one step of each sort for each replica, and all are taken after each event. */
	assert(c->queue_count < COORDINATE_QUEUE_MAX);
	c->queue_count++;
	*step = (struct coordinate_step){ .id = NO_ID, .kind = kind };
	return step;
}

struct coordinate_step *coordinate_send(struct coordinate *c, enum coordinate_step_kind kind,
                                        enum coordinate_sent_what what, size_t index)
{
	struct coordinate_step *step;

	if (c->is_given_up)
		return NULL;
	if (c->sent_count == COORDINATE_STEPS_MAX) {
		coordinate_answer(c, RESULT_UNAVAILABLE, NULL);
		return NULL;
	}
	step = coordinate_step(c, kind);
	step->id = c->sent_count;
	step->node = c->placement.node[index];
	c->sent[c->sent_count++] = (struct coordinate_sent){
		.what = (uint8_t)what,
		.index = (uint8_t)index,
		.generation = what == SENT_PUT ? c->put_generation : c->look_generation,
		.is_open = true,
	};
	c->open_count++;
	return step;
}

struct coordinate_step *coordinate_answer(struct coordinate *c, enum coordinate_result result,
                                          const struct object_meta *meta)
{
	struct coordinate_step *step;

	if (c->is_answered)
		return NULL;
	c->is_answered = true;
	c->phase = PHASE_END;
	if (c->is_client_gone)
		return NULL;
	step = coordinate_step(c, STEP_ANSWER);
	step->result = result;
	if (meta)
		step->meta = *meta;
	step->ack_count = c->ack_count;
	memcpy(step->ack, c->ack, sizeof step->ack);
	return step;
}

bool coordinate_next(struct coordinate *c, struct coordinate_step *step)
{
	if (!c->queue_count)
		return false;
	*step = c->queue[c->queue_first];
	c->queue_first = (c->queue_first + 1) % COORDINATE_QUEUE_MAX;
	c->queue_count--;
	return true;
}

/* ---- replicas ---- */

bool coordinate_quorum(const struct coordinate *c, bool (*counts)(const struct coordinate_replica *r))
{
	for (size_t s = 0; s < c->placement.sets; s++) {
		const struct placement_set *set = &c->placement.set[s];
		unsigned count = 0;

		for (size_t i = 0; i < c->placement.count; i++)
			if (placement_set_has(set, c->placement.node[i]) && counts(&c->replica[i]))
				count++;
		if (count < set->quorum)
			return false;
	}
	return true;
}

int coordinate_index(const struct coordinate *c, unsigned node)
{
	for (size_t i = 0; i < c->placement.count; i++)
		if (c->placement.node[i] == node)
			return (int)i;
	return -1;
}

/* ---- the end ---- */

/* Notes which replicas lack what a quorum accepted, as far as it is known by now. */
static void hint(struct coordinate *c)
{
	for (size_t i = 0; i < c->placement.count; i++) {
		struct coordinate_replica *r = &c->replica[i];
		struct coordinate_step *step;

		if (r->is_hinted || (r->put != PUT_FAILED && r->put != PUT_FULL))
			continue;
		r->is_hinted = true;
		step = coordinate_step(c, STEP_HINT);
		step->node = c->placement.node[i];
		step->meta = c->ours;
		if (!object_version_is_none(c->helped))
			step->meta = (struct object_meta){ .version = c->helped, .flags = OBJECT_CLAIMED };
	}
}

static void settle(struct coordinate *c)
{
	if (!c->is_answered)
		return;
	if (c->is_spread)
		hint(c);
	if (!c->open_count && !c->is_finished) {
		c->is_finished = true;
		coordinate_step(c, STEP_FINISHED);
	}
}

/* ---- events ---- */

void coordinate_init(struct coordinate *c, enum coordinate_kind kind, const struct placement *placement, unsigned self,
                     const struct object_meta *ours)
{
	memset(c, 0, sizeof *c);
	c->kind = kind == COORDINATE_CREATE_LOOKED ? COORDINATE_CREATE : kind;
	c->placement = *placement;
	c->self = self;
	if (ours)
		c->ours = *ours;
	c->ours.flags = kind == COORDINATE_REMOVE ? OBJECT_TOMBSTONE : kind == COORDINATE_CLAIM ? OBJECT_CLAIMED : 0;
	if (kind == COORDINATE_PUT || kind == COORDINATE_REMOVE || kind == COORDINATE_CREATE_LOOKED)
		coordinate_put(c, PHASE_PUT);
	else
		coordinate_look(c);
	settle(c);
}

/* Closes the step of that id, and tells which it was; NULL if it is not open. */
static const struct coordinate_sent *close_sent(struct coordinate *c, unsigned id)
{
	if (id >= c->sent_count || !c->sent[id].is_open)
		return NULL;
	c->sent[id].is_open = false;
	c->open_count--;
	return &c->sent[id];
}

/* What comes after the client was answered, or belongs to an earlier look, is no more than noted. */
static void repaired(struct coordinate *c, size_t index, const struct coordinate_reply *reply)
{
	if (reply->status == REPLICA_ACCEPTED && c->placement.node[index] == c->self)
		coordinate_step(c, STEP_CONFIRM)->meta = c->newest;
}

void coordinate_replied(struct coordinate *c, unsigned id, const struct coordinate_reply *reply)
{
	const struct coordinate_sent *sent = close_sent(c, id);

	if (!sent)
		return;
	/* Votes under an older map cannot be counted together with others under the newer. */
	if (reply->status == REPLICA_MAP)
		coordinate_answer(c, RESULT_MAP, NULL);
	switch (sent->what) {
	case SENT_ASK:
		if (sent->generation == c->look_generation)
			coordinate_look_replied(c, sent->index, reply);
		break;
	case SENT_COPY:
		if (sent->generation == c->look_generation)
			coordinate_copy_replied(c, sent->index, reply);
		break;
	case SENT_PUT:
		if (sent->generation == c->put_generation)
			coordinate_put_replied(c, sent->index, reply);
		break;
	case SENT_AGAIN:
		if (reply->status != REPLICA_ACCEPTED && reply->status != REPLICA_STALE)
			c->replica[sent->index].put = PUT_FAILED;
		break;
	case SENT_REPAIR:
		repaired(c, sent->index, reply);
		break;
	default:
		break;
	}
	settle(c);
}

static void claim_agreed(struct coordinate *c, enum coordinate_agreed agreed, struct object_version version)
{
	if (agreed == AGREED_FAILED) {
		coordinate_answer(c, RESULT_UNAVAILABLE, NULL);
	} else if (agreed == AGREED_DONE || object_version_compare(version, c->ours.version) == 0) {
		coordinate_put(c, PHASE_PUT);
	} else {
		c->helped = version;
		coordinate_put(c, PHASE_HELP);
	}
}

void coordinate_agreed(struct coordinate *c, unsigned id, enum coordinate_agreed agreed, struct object_version version)
{
	if (!close_sent(c, id))
		return;
	switch (c->phase) {
	case PHASE_CLAIM:
		claim_agreed(c, agreed, version);
		break;
	case PHASE_RELEASE:
		coordinate_answer(c, agreed == AGREED_FAILED ? RESULT_UNAVAILABLE : RESULT_DONE, &c->ours);
		break;
	case PHASE_RELEASE_DEAD:
		c->is_claim_dead = false;
		c->helped = OBJECT_VERSION_NONE;
		if (agreed == AGREED_FAILED)
			coordinate_answer(c, RESULT_UNAVAILABLE, NULL);
		else
			coordinate_looked(c);
		break;
	default:
		break;
	}
	settle(c);
}

void coordinate_body_received(struct coordinate *c)
{
	c->is_body_here = true;
	if (c->phase == PHASE_BODY)
		coordinate_looked(c);
	settle(c);
}

void coordinate_give_up(struct coordinate *c, bool is_client_gone)
{
	c->is_given_up = true;
	c->is_client_gone = c->is_client_gone || is_client_gone;
	coordinate_answer(c, RESULT_UNAVAILABLE, NULL);
	settle(c);
}
