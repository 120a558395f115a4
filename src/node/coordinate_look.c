/* SPDX-License-Identifier: GPL-3.0-only */
/* coordinate_look.c: which version is the newest, and that a quorum has it before anybody is told of it. */
#include "node/coordinate_private.h"

/* ---- who counts for what ---- */

static bool look_votes(const struct coordinate_replica *r)
{
	return r->look == LOOK_SEEN && r->seen.vote;
}

static bool look_may_vote(const struct coordinate_replica *r)
{
	return r->look == LOOK_PENDING || look_votes(r);
}

static bool holds(const struct coordinate_replica *r)
{
	return r->copy == COPY_HOLDS && r->copy_votes;
}

static bool may_hold(const struct coordinate_replica *r)
{
	return holds(r) || r->copy == COPY_PENDING || (r->copy == COPY_NONE && r->look == LOOK_PENDING);
}

/* Whether it said that it has, or had, an object or tombstone. */
static bool has_version(const struct coordinate_replica *r)
{
	return r->look == LOOK_SEEN && (r->seen.status == REPLICA_META || r->seen.status == REPLICA_DAMAGED);
}

/* ---- the newest version ---- */

enum choice { CHOICE_MADE, CHOICE_WAITS, CHOICE_FAILS };

/* Whether a quorum may have accepted this version: of the first set, which has all from before a change of the map. */
static bool may_be_accepted(const struct coordinate *c, struct object_version version)
{
	const struct placement_set *set = &c->placement.set[0];
	unsigned count = 0;

	for (size_t i = 0; i < c->placement.count; i++) {
		const struct coordinate_replica *r = &c->replica[i];

		if (placement_set_has(set, c->placement.node[i]))
			count += !look_votes(r) ||
			         (has_version(r) && object_version_compare(r->seen.meta.version, version) >= 0);
	}
	return count >= set->quorum;
}

/* The newest version that is older than `below` (none: any), with the flags of all that have it. Returns whether there is one;
 * *is_readable: somebody has its body. */
static bool newest_below(const struct coordinate *c, struct object_version below, struct object_meta *newest,
                         bool *is_readable)
{
	*newest = (struct object_meta){ .version = OBJECT_VERSION_NONE };
	*is_readable = false;
	for (size_t i = 0; i < c->placement.count; i++) {
		const struct coordinate_replica *r = &c->replica[i];
		const struct object_meta *meta = &r->seen.meta;
		int order;

		if (!has_version(r))
			continue;
		if (!object_version_is_none(below) && object_version_compare(meta->version, below) >= 0)
			continue;
		order = object_version_compare(meta->version, newest->version);
		if (order < 0)
			continue;
		if (order > 0) {
			*newest = *meta;
			*is_readable = false;
		}
		newest->flags |= meta->flags & OBJECT_CLAIMED;
		*is_readable = *is_readable || r->seen.status == REPLICA_META;
	}
	newest->flags &= ~(unsigned)OBJECT_CONFIRMED;
	return !object_version_is_none(newest->version);
}

static enum choice choose(struct coordinate *c)
{
	struct object_version below = OBJECT_VERSION_NONE;
	bool is_readable, is_waiting = false;

	for (size_t i = 0; i < c->placement.count; i++)
		is_waiting = is_waiting || c->replica[i].look == LOOK_PENDING;
	while (newest_below(c, below, &c->newest, &is_readable)) {
		if (is_readable)
			return CHOICE_MADE;
		if (may_be_accepted(c, c->newest.version))
			return is_waiting ? CHOICE_WAITS : CHOICE_FAILS;
		below = c->newest.version;
	}
	return CHOICE_MADE;
}

/* ---- asking ---- */

void coordinate_look(struct coordinate *c)
{
	if (c->rounds == COORDINATE_ROUNDS) {
		coordinate_answer(c, RESULT_UNAVAILABLE, NULL);
		return;
	}
	c->rounds++;
	c->look_generation++;
	c->phase = PHASE_LOOK;
	c->floor = OBJECT_VERSION_NONE;
	c->newest = (struct object_meta){ .version = OBJECT_VERSION_NONE };
	for (size_t i = 0; i < c->placement.count; i++) {
		struct coordinate_replica *r = &c->replica[i];

		r->look = LOOK_PENDING;
		r->copy = COPY_NONE;
		r->copy_votes = r->has_newest = false;
		if (!coordinate_send(c, STEP_ASK, SENT_ASK, i))
			return;
	}
}

/* ---- copying ---- */

static bool needs_copies(const struct coordinate *c)
{
	if (object_version_is_none(c->newest.version))
		return false;
	switch (c->kind) {
	case COORDINATE_CREATE:
		return coordinate_is_live(&c->newest) &&
		       object_version_compare(c->newest.version, c->ours.version) != 0;
	case COORDINATE_CLAIM:
		return coordinate_is_live(&c->newest) || c->is_claim_dead;
	default:
		return true;
	}
}

/* What its answer says of the newest version. */
static void note_holder(struct coordinate *c, struct coordinate_replica *r)
{
	int order;

	if (r->copy != COPY_NONE || !has_version(r) || r->seen.status != REPLICA_META)
		return;
	order = object_version_compare(r->seen.meta.version, c->newest.version);
	if (order < 0)
		return;
	r->copy = COPY_HOLDS;
	r->copy_votes = r->seen.vote;
	r->has_newest = order == 0;
}

/* The replica to copy from: this node if it can. -1: none. */
static int source_of(const struct coordinate *c)
{
	int found = -1;

	for (size_t i = 0; i < c->placement.count; i++)
		if (c->replica[i].has_newest && (found < 0 || c->placement.node[i] == c->self))
			found = (int)i;
	return found;
}

/* Sends replica `index` the newest version. */
static bool send_copy(struct coordinate *c, size_t index, enum coordinate_sent_what what)
{
	bool has_body = coordinate_is_live(&c->newest);
	int source = source_of(c);
	struct coordinate_step *step;

	if (has_body && source < 0)
		return false;
	step = coordinate_send(c, STEP_PUT, what, index);
	if (!step)
		return false;
	step->meta = c->newest;
	step->body = has_body ? BODY_COPY : BODY_NONE;
	step->rule = PUT_COPY;
	if (has_body)
		step->source = c->placement.node[source];
	return true;
}

/* Whether a copy may be sent there: it has answered, it may be counted, and it has not a newer one whose body is damaged: that would
 * refuse ours and still be of no use. */
static bool wants_copy(const struct coordinate *c, const struct coordinate_replica *r)
{
	return r->copy == COPY_NONE && look_votes(r) &&
	       !(has_version(r) && object_version_compare(r->seen.meta.version, c->newest.version) > 0);
}

static void found(struct coordinate *c);

static void continue_copies(struct coordinate *c)
{
	for (size_t i = 0; i < c->placement.count; i++)
		note_holder(c, &c->replica[i]);
	if (!needs_copies(c) || coordinate_quorum(c, holds)) {
		found(c);
		return;
	}
	for (size_t i = 0; i < c->placement.count; i++) {
		struct coordinate_replica *r = &c->replica[i];

		if (!wants_copy(c, r))
			continue;
		if (!send_copy(c, i, SENT_COPY))
			return;
		r->copy = COPY_PENDING;
	}
	if (!coordinate_quorum(c, may_hold))
		coordinate_answer(c, RESULT_UNAVAILABLE, NULL);
}

void coordinate_copy_replied(struct coordinate *c, size_t index, const struct coordinate_reply *reply)
{
	struct coordinate_replica *r = &c->replica[index];

	switch (reply->status) {
	case REPLICA_ACCEPTED:
	case REPLICA_STALE:
		r->copy = COPY_HOLDS;
		r->copy_votes = reply->vote;
		r->has_newest = reply->status == REPLICA_ACCEPTED;
		if (c->is_answered && r->has_newest && c->kind == COORDINATE_CONFIRM &&
		    coordinate_is_live(&c->newest) && c->placement.node[index] == c->self)
			coordinate_step(c, STEP_CONFIRM)->meta = c->newest;
		break;
	case REPLICA_SOURCE_GONE:
		/* It has a newer one by now, or its copy is damaged: the next round will show. */
		r->copy = COPY_FAILED;
		if (c->phase == PHASE_COPY) {
			coordinate_look(c);
			return;
		}
		break;
	default:
		r->copy = COPY_FAILED;
		break;
	}
	if (c->phase == PHASE_COPY)
		continue_copies(c);
}

/* ---- what was found ---- */

static void answer_read(struct coordinate *c)
{
	bool is_live = coordinate_is_live(&c->newest);
	struct coordinate_step *step = coordinate_answer(c, is_live ? RESULT_DONE : RESULT_ABSENT, &c->newest);
	int source = source_of(c);

	if (!step || !is_live)
		return;
	if (source >= 0)
		step->holder[step->holder_count++] = c->placement.node[source];
	for (size_t i = 0; i < c->placement.count; i++)
		if (c->replica[i].has_newest && (int)i != source)
			step->holder[step->holder_count++] = c->placement.node[i];
}

/* This node's copy: marked, or mended first. */
static void confirm(struct coordinate *c)
{
	int self = coordinate_index(c, c->self);

	if (self < 0 || !coordinate_is_live(&c->newest))
		return;
	if (c->replica[self].has_newest)
		coordinate_step(c, STEP_CONFIRM)->meta = c->newest;
	else if (c->replica[self].copy == COPY_NONE && c->replica[self].look == LOOK_SEEN)
		send_copy(c, (size_t)self, SENT_REPAIR);
}

static void found(struct coordinate *c)
{
	if (c->kind == COORDINATE_LOOK || c->kind == COORDINATE_CONFIRM) {
		answer_read(c);
		if (c->kind == COORDINATE_CONFIRM)
			confirm(c);
		return;
	}
	coordinate_looked(c);
}

/* Why nobody has the body: those that do not answer may have it, or it is lost. */
static void answer_unreadable(struct coordinate *c)
{
	enum coordinate_result result = RESULT_DAMAGED;

	for (size_t i = 0; i < c->placement.count; i++)
		if (!look_votes(&c->replica[i]))
			result = RESULT_UNAVAILABLE;
	coordinate_answer(c, result, NULL);
}

void coordinate_look_replied(struct coordinate *c, size_t index, const struct coordinate_reply *reply)
{
	struct coordinate_replica *r = &c->replica[index];
	bool is_answer =
		reply->status == REPLICA_META || reply->status == REPLICA_DAMAGED || reply->status == REPLICA_ABSENT;

	r->look = is_answer ? LOOK_SEEN : LOOK_FAILED;
	r->seen = *reply;
	if (reply->status == REPLICA_ABSENT && reply->vote && object_version_compare(reply->floor, c->floor) > 0)
		c->floor = reply->floor;
	if (c->phase == PHASE_COPY) {
		continue_copies(c);
		return;
	}
	if (c->phase != PHASE_LOOK)
		return;
	if (!coordinate_quorum(c, look_votes)) {
		if (!coordinate_quorum(c, look_may_vote))
			coordinate_answer(c, RESULT_UNAVAILABLE, NULL);
		return;
	}
	switch (choose(c)) {
	case CHOICE_MADE:
		c->phase = PHASE_COPY;
		continue_copies(c);
		break;
	case CHOICE_FAILS:
		answer_unreadable(c);
		break;
	case CHOICE_WAITS:
		break;
	}
}
