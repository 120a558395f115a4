/* SPDX-License-Identifier: GPL-3.0-only */
/* coordinate_put.c: puts, removals and creations: who accepted, what refusals mean, and what is done about claims. */
#include "node/coordinate_private.h"

/* ---- who counts for what ---- */

static bool accepted(const struct coordinate_replica *r)
{
	return r->put == PUT_ACCEPTED && r->put_votes;
}

static bool may_accept(const struct coordinate_replica *r)
{
	return r->put == PUT_PENDING || accepted(r);
}

static bool has_refused(const struct coordinate_replica *r)
{
	return r->put == PUT_STALE || r->put == PUT_EXISTS;
}

/* What it has only ever gets newer, so a refusal with a vote is for good. */
static bool has_not_refused_for_good(const struct coordinate_replica *r)
{
	return !(has_refused(r) && r->put_votes);
}

static bool is_any(const struct coordinate *c, enum put_state state)
{
	for (size_t i = 0; i < c->placement.count; i++)
		if (c->replica[i].put == state)
			return true;
	return false;
}

/* The newest of what refusals told of: live ones only, or any; version none if there is none. */
static struct object_meta newest_refusal(const struct coordinate *c, bool is_only_live)
{
	struct object_meta newest = { .version = OBJECT_VERSION_NONE };

	for (size_t i = 0; i < c->placement.count; i++) {
		const struct coordinate_replica *r = &c->replica[i];

		if (has_refused(r) && (!is_only_live || coordinate_is_live(&r->refused_by)) &&
		    object_version_compare(r->refused_by.version, newest.version) > 0)
			newest = r->refused_by;
	}
	return newest;
}

/* ---- putting ---- */

static bool send_put(struct coordinate *c, size_t index, enum coordinate_sent_what what, enum coordinate_put_rule rule)
{
	struct coordinate_step *step = coordinate_send(c, STEP_PUT, what, index);

	if (!step)
		return false;
	step->rule = rule;
	if (c->phase == PHASE_HELP) {
		step->meta = (struct object_meta){ .version = c->helped, .flags = OBJECT_CLAIMED };
		step->body = BODY_CLAIM;
	} else {
		step->meta = c->ours;
		step->body = c->kind == COORDINATE_REMOVE ? BODY_NONE : BODY_OURS;
	}
	return true;
}

void coordinate_put(struct coordinate *c, enum coordinate_phase phase)
{
	c->phase = (uint8_t)phase;
	c->put_generation++;
	c->ack_count = 0;
	if (phase == PHASE_PUT) {
		c->helped = OBJECT_VERSION_NONE;
		c->is_put = true;
	}
	for (size_t i = 0; i < c->placement.count; i++)
		c->replica[i].put = PUT_PENDING;
	for (size_t i = 0; i < c->placement.count; i++)
		if (!send_put(c, i, SENT_PUT, c->kind == COORDINATE_CREATE ? PUT_ABSENT : PUT_FRESH))
			return;
}

/* A quorum has created it, so an older one there is of a creator that failed. */
static void put_over_older(struct coordinate *c)
{
	if (c->kind != COORDINATE_CREATE || !c->is_spread)
		return;
	for (size_t i = 0; i < c->placement.count; i++) {
		struct coordinate_replica *r = &c->replica[i];

		if (r->put != PUT_EXISTS || object_version_compare(r->refused_by.version, c->ours.version) > 0)
			continue;
		r->put = send_put(c, i, SENT_AGAIN, PUT_FRESH) ? PUT_NONE : PUT_FAILED;
	}
}

/* This node knows now that a quorum has what it has itself. */
static void confirm_own(struct coordinate *c, size_t index)
{
	if ((c->kind == COORDINATE_CREATE || c->kind == COORDINATE_CLAIM) && c->is_spread &&
	    object_version_is_none(c->helped) && c->replica[index].put == PUT_ACCEPTED &&
	    c->placement.node[index] == c->self)
		coordinate_step(c, STEP_CONFIRM)->meta = c->ours;
}

static void put_done(struct coordinate *c)
{
	struct object_meta claimed = { .version = c->helped, .flags = OBJECT_CLAIMED };
	int self = coordinate_index(c, c->self);
	struct coordinate_step *step;

	c->is_spread = true;
	if (c->phase == PHASE_HELP) {
		coordinate_answer(c, RESULT_EXISTS, &claimed);
		return;
	}
	if (c->kind == COORDINATE_REMOVE && c->was_claimed) {
		c->phase = PHASE_RELEASE;
		step = coordinate_send(c, STEP_RELEASE, SENT_AGREEMENT, 0);
		if (step) {
			step->meta = c->ours;
			step->upto = true;
		}
		return;
	}
	coordinate_answer(c, RESULT_DONE, &c->ours);
	put_over_older(c);
	if (self >= 0)
		confirm_own(c, (size_t)self);
}

/* ---- when no quorum accepts ---- */

/* Whether somebody may have seen what we create: not all have refused it. */
static bool may_be_made(const struct coordinate *c)
{
	if (c->kind != COORDINATE_CREATE)
		return false;
	for (size_t i = 0; i < c->placement.count; i++)
		if (!has_refused(&c->replica[i]))
			return true;
	return false;
}

static void answer_refused(struct coordinate *c)
{
	struct object_meta newest = newest_refusal(c, false);

	/* It exists for the client only when a quorum has it: else who reads next may find nothing. */
	if (c->kind == COORDINATE_CREATE && coordinate_is_live(&newest))
		coordinate_look(c);
	else if (!object_version_is_none(newest.version))
		coordinate_answer(c, may_be_made(c) ? RESULT_GONE : RESULT_NEWER, &newest);
	else
		coordinate_answer(c, is_any(c, PUT_FULL) ? RESULT_FULL : RESULT_UNAVAILABLE, NULL);
}

/* The same for bodies of claims, ours or another's. */
static void claim_refused(struct coordinate *c)
{
	struct object_meta live = newest_refusal(c, true), newest = newest_refusal(c, false);
	bool is_for_good = !coordinate_quorum(c, has_not_refused_for_good);

	/* One that failed must not hide what the others are about to say. */
	if (!is_for_good && is_any(c, PUT_PENDING))
		return;
	if (!object_version_is_none(live.version)) {
		coordinate_look(c);
	} else if (!is_for_good) {
		coordinate_answer(c, is_any(c, PUT_FULL) ? RESULT_FULL : RESULT_UNAVAILABLE, NULL);
	} else if (c->phase == PHASE_HELP) {
		c->is_claim_dead = true;
		coordinate_look(c);
	} else {
		coordinate_answer(c, RESULT_GONE, &newest);
	}
}

static void note_put(struct coordinate *c, size_t index, const struct coordinate_reply *reply)
{
	struct coordinate_replica *r = &c->replica[index];

	r->put_votes = reply->vote;
	switch (reply->status) {
	case REPLICA_ACCEPTED:
		r->put = PUT_ACCEPTED;
		c->was_claimed = c->was_claimed || reply->was_claimed;
		if (reply->vote)
			c->ack[c->ack_count++] = c->placement.node[index];
		break;
	case REPLICA_STALE:
	case REPLICA_EXISTS:
		r->put = reply->status == REPLICA_STALE ? PUT_STALE : PUT_EXISTS;
		r->refused_by = reply->meta;
		break;
	case REPLICA_FULL:
		r->put = PUT_FULL;
		break;
	default:
		r->put = PUT_FAILED;
		break;
	}
}

void coordinate_put_replied(struct coordinate *c, size_t index, const struct coordinate_reply *reply)
{
	note_put(c, index, reply);
	if (c->is_answered) {
		put_over_older(c);
		confirm_own(c, index);
		return;
	}
	if (c->phase != PHASE_PUT && c->phase != PHASE_HELP)
		return;
	if (coordinate_quorum(c, accepted))
		put_done(c);
	else if (coordinate_quorum(c, may_accept))
		return;
	else if (c->kind == COORDINATE_CLAIM)
		claim_refused(c);
	else
		answer_refused(c);
}

/* ---- creations, after looking ---- */

/* The version that a creation of ours must be above, as no object is there; none if that is so already. */
static struct object_meta in_the_way(const struct coordinate *c)
{
	struct object_meta above = c->newest;

	if (object_version_compare(c->floor, above.version) > 0)
		above = (struct object_meta){ .version = c->floor, .flags = OBJECT_TOMBSTONE };
	if (object_version_compare(above.version, c->ours.version) < 0)
		above.version = OBJECT_VERSION_NONE;
	return above;
}

static void claim(struct coordinate *c)
{
	struct coordinate_step *step;

	if (c->is_claim_dead) {
		c->phase = PHASE_RELEASE_DEAD;
		step = coordinate_send(c, STEP_RELEASE, SENT_AGREEMENT, 0);
		if (step)
			step->meta.version = c->helped;
		return;
	}
	if (!c->is_body_here) {
		c->phase = PHASE_BODY;
		return;
	}
	c->phase = PHASE_CLAIM;
	step = coordinate_send(c, STEP_CLAIM, SENT_AGREEMENT, 0);
	if (step)
		step->meta = c->ours;
}

void coordinate_looked(struct coordinate *c)
{
	bool is_ours = object_version_compare(c->newest.version, c->ours.version) == 0;
	struct object_meta above = in_the_way(c);

	if (coordinate_is_live(&c->newest) && !is_ours) {
		coordinate_answer(c, RESULT_EXISTS, &c->newest);
	} else if (coordinate_is_live(&c->newest) && c->kind == COORDINATE_CLAIM) {
		/* An earlier try of ours, or who helped it, has put it. */
		coordinate_answer(c, RESULT_DONE, &c->ours);
	} else if (!coordinate_is_live(&c->newest) && !object_version_is_none(above.version) && !c->is_claim_dead) {
		coordinate_answer(c, c->is_put ? RESULT_GONE : RESULT_NEWER, &above);
	} else if (c->kind == COORDINATE_CREATE) {
		coordinate_put(c, PHASE_PUT);
	} else {
		claim(c);
	}
}
