/* SPDX-License-Identifier: GPL-3.0-only */
/* operation.c: steps of the rules become questions to replicas and to the agreement, and answers become events. */
#include "node/operation.h"

#include "base/blake2bp.h"
#include "base/clock.h"
#include "node/object_wire.h"
#include "node/replica_client.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE (128 * 1024)

/* One step that is to be answered. */
struct step_call {
	struct operation *o;
	struct coordinate_step step;
	struct replica_put *put; /* while it takes a body */
	struct step_call *next;  /* of those that get the body as it comes */
	/* of the agreement, on its way to the loop */
	enum coordinate_agreed agreed;
	struct object_version version;
	uint8_t *body;
	size_t length;
	uint64_t admitted; /* bytes that were set aside for a copy */
};

static void drive(struct operation *o);

/* ---- the end ---- */

static void operation_free(struct operation *o)
{
	loop_timer_cancel(&o->deadline);
	for (size_t i = 0; i < o->piece_count; i++)
		piece_put(o->pieces[i]);
	free(o->pieces);
	free(o->claim);
	if (o->free_arg)
		o->free_arg(o->arg);
	exchange_end(&o->x);
	free(o);
}

/* ---- calls ---- */

static struct step_call *call_new(struct operation *o, const struct coordinate_step *step)
{
	struct step_call *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->o = o;
	c->step = *step;
	o->open++;
	return c;
}

/* No more of the body for it. */
static void forget_put(struct step_call *c)
{
	struct step_call **at;

	for (at = &c->o->puts; *at; at = &(*at)->next) {
		if (*at == c) {
			*at = c->next;
			return;
		}
	}
}

static void reply(struct step_call *c, const struct coordinate_reply *r)
{
	struct operation *o = c->o;
	unsigned id = c->step.id;

	forget_put(c);
	if (c->admitted)
		node_give_back(o->x.node, c->admitted);
	free(c->body);
	free(c);
	o->open--;
	coordinate_replied(&o->rules, id, r);
	drive(o);
}

static void reply_failed(struct step_call *c, enum coordinate_status status)
{
	reply(c, &(struct coordinate_reply){ .status = status });
}

static enum coordinate_status status_of(const struct replica_answer *a, bool is_put)
{
	switch (a->status) {
	case 0:
		if (is_put)
			return REPLICA_ACCEPTED;
		return a->meta.flags & OBJECT_DAMAGED ? REPLICA_DAMAGED : REPLICA_META;
	case -ESTALE:
		return a->had ? REPLICA_STALE : REPLICA_FAILED;
	case -EEXIST:
		return a->had ? REPLICA_EXISTS : REPLICA_FAILED;
	case -ENOENT:
		return is_put ? REPLICA_FAILED : REPLICA_ABSENT;
	case -ENOSPC:
	case -EROFS:
		return REPLICA_FULL;
	case -EREMCHG:
		return REPLICA_MAP;
	default:
		return REPLICA_FAILED;
	}
}

static void replied(struct step_call *c, const struct replica_answer *a)
{
	struct coordinate_reply r = { .status = status_of(a, c->step.kind == STEP_PUT),
		                      .vote = a->vote,
		                      .was_claimed = a->claimed,
		                      .floor = a->floor };

	if (a->had)
		r.meta = a->meta;
	r.meta.flags &= OBJECT_FLAGS_SHARED | OBJECT_CONFIRMED;
	if (a->status == -EBADMSG && c->step.kind == STEP_PUT && c->step.body == BODY_OURS)
		c->o->doubts_body = true;
	if (c->step.kind == STEP_PUT && r.status == REPLICA_ACCEPTED && c->o->ack_count < COORDINATE_REPLICAS_MAX) {
		c->o->ack[c->o->ack_count].node = c->step.node;
		c->o->ack[c->o->ack_count++].us = (clock_monotonic_ns() - c->o->began_ns) / 1000;
	}
	reply(c, &r);
}

static void asked(void *arg, unsigned id, const struct replica_answer *a)
{
	(void)id;
	replied(arg, a);
}

/* ---- puts ---- */

static void was_put(void *arg, unsigned id, const struct replica_answer *a)
{
	struct step_call *c = arg;

	(void)id;
	c->put = NULL;
	replied(c, a);
}

static enum object_rule rule_of(const struct coordinate_step *step)
{
	static const enum object_rule rules[] = {
		[PUT_FRESH] = OBJECT_RULE_NEWER, [PUT_ABSENT] = OBJECT_RULE_ABSENT, [PUT_COPY] = OBJECT_RULE_COPY
	};

	return rules[step->rule];
}

static void begin_put(struct step_call *c, const struct object_meta *meta)
{
	struct operation *o = c->o;

	c->put = replica_put_begin(o->x.node, c->step.node, o->x.map, o->name, meta, rule_of(&c->step), was_put, c);
}

/* A body that is here as a whole. */
static void put_whole(struct step_call *c, const struct object_meta *meta, const uint8_t *bytes, size_t length)
{
	begin_put(c, meta);
	for (size_t at = 0; c->put && at < length; at += PIECE) {
		struct piece *piece = piece_copy(bytes + at, length - at < PIECE ? length - at : PIECE);
		if (!piece) {
			replica_put_abort(c->put);
			c->put = NULL;
			break;
		}
		replica_put_piece(c->put, piece);
		piece_put(piece);
	}
	if (c->put)
		replica_put_end(c->put);
	else
		reply_failed(c, REPLICA_FAILED);
}

/* The client's body: what of it is here now, and the rest as it comes. */
static void put_ours(struct step_call *c)
{
	struct operation *o = c->o;
	struct object_meta meta = c->step.meta;

	begin_put(c, &meta);
	if (!c->put) {
		reply_failed(c, REPLICA_FAILED);
		return;
	}
	for (size_t i = 0; i < o->piece_count; i++)
		replica_put_piece(c->put, o->pieces[i]);
	if (o->body_done) {
		replica_put_end(c->put);
	} else {
		c->next = o->puts;
		o->puts = c;
	}
}

static void copy_read(void *arg, unsigned id, const struct replica_answer *a, uint8_t *bytes, size_t length)
{
	struct step_call *c = arg;

	(void)id;
	if (a->status)
		reply_failed(c, REPLICA_SOURCE_GONE);
	else
		put_whole(c, &c->step.meta, bytes, length);
	free(bytes);
}

static void put(struct step_call *c)
{
	struct operation *o = c->o;

	switch (c->step.body) {
	case BODY_NONE:
		replica_remove(o->x.node, c->step.node, o->x.map, o->name, &c->step.meta, rule_of(&c->step), asked, c);
		return;
	case BODY_OURS:
		put_ours(c);
		return;
	case BODY_CLAIM:
		o->claim_meta.flags = c->step.meta.flags;
		put_whole(c, &o->claim_meta, o->claim, o->claim_length);
		return;
	case BODY_COPY:
		if (!node_admit(o->x.node, c->step.meta.length)) {
			reply_failed(c, REPLICA_FAILED);
			return;
		}
		c->admitted = c->step.meta.length;
		o->x.node->counters.repaired++;
		replica_read(o->x.node, c->step.source, o->x.map, o->name, c->step.meta.version, 0, SIZE_MAX, copy_read,
		             c);
		return;
	}
}

/* ---- the agreement ---- */

static void agreed_here(void *arg)
{
	struct step_call *c = arg;
	struct operation *o = c->o;
	unsigned id = c->step.id;
	enum coordinate_agreed agreed = c->agreed;
	struct object_version version = c->version;

	if (c->body) {
		free(o->claim);
		o->claim = c->body;
		o->claim_length = c->length;
		o->claim_meta = (struct object_meta){ .version = version, .length = c->length };
		blake2bp(o->claim, o->claim_length, o->claim_meta.digest, sizeof o->claim_meta.digest);
	}
	free(c);
	o->open--;
	coordinate_agreed(&o->rules, id, agreed, version);
	drive(o);
}

static void agreed_soon(struct step_call *c)
{
	while (loop_post(c->o->x.node->loop, agreed_here, c))
		;
}

static void claimed(void *arg, int status, struct agreement_holder *holder, const struct error *err)
{
	struct step_call *c = arg;

	(void)err;
	c->agreed = !status ? AGREED_DONE : status == -EEXIST ? AGREED_EXISTS : AGREED_FAILED;
	if (status == -EEXIST) {
		c->version = holder->version;
		c->body = holder->body ? holder->body : calloc(1, 1);
		c->length = holder->body ? holder->length : 0;
		holder->body = NULL;
		if (!c->body)
			c->agreed = AGREED_FAILED;
	}
	agreed_soon(c);
}

static void released(void *arg, int status, const struct error *err)
{
	struct step_call *c = arg;

	(void)err;
	c->agreed = status ? AGREED_FAILED : AGREED_DONE;
	agreed_soon(c);
}

static void claim(struct step_call *c)
{
	struct operation *o = c->o;
	uint8_t *body = malloc(o->ours.length + 1);
	size_t at = 0;

	for (size_t i = 0; body && i < o->piece_count; i++) {
		memcpy(body + at, piece_bytes(o->pieces[i]), piece_length(o->pieces[i]));
		at += piece_length(o->pieces[i]);
	}
	if (body)
		agreement_claim(o->x.node->agreement, o->name, o->ours.version, body, at, claimed, c);
	else
		claimed(c, -ENOMEM, NULL, NULL);
	free(body);
}

/* ---- steps ---- */

/* Puts whose body will never be whole. `running` is set. */
static void end_unfinished_puts(struct operation *o)
{
	while (o->puts) {
		struct step_call *c = o->puts;
		o->puts = c->next;
		if (c->put)
			replica_put_abort(c->put);
		c->put = NULL;
		reply_failed(c, REPLICA_FAILED);
	}
}

static void answer(struct operation *o, const struct coordinate_step *step)
{
	if (step->result == RESULT_UNAVAILABLE)
		o->x.node->counters.no_quorum++;
	if (!o->x.request)
		return;
	o->answer(o, step);
	/* With the answer the request ends, and with it the body. */
	if (!o->x.request && !o->body_done)
		end_unfinished_puts(o);
}

static void take(struct operation *o, const struct coordinate_step *step)
{
	struct node *n = o->x.node;
	struct step_call *c = NULL;

	switch (step->kind) {
	case STEP_CONFIRM:
		object_store_confirm(n->objects, o->name, step->meta.version, NULL, NULL);
		return;
	case STEP_HINT:
		node_hint(n, step->node, o->name, step->meta.version);
		return;
	case STEP_ANSWER:
		answer(o, step);
		return;
	case STEP_FINISHED:
		o->ended = true;
		return;
	default:
		break;
	}
	c = call_new(o, step);
	if (!c) {
		coordinate_replied(&o->rules, step->id, &(struct coordinate_reply){ .status = REPLICA_FAILED });
		coordinate_agreed(&o->rules, step->id, AGREED_FAILED, OBJECT_VERSION_NONE);
		return;
	}
	if (step->kind == STEP_ASK)
		replica_look(n, step->node, o->x.map, o->name, asked, c);
	else if (step->kind == STEP_PUT)
		put(c);
	else if (step->kind == STEP_CLAIM)
		claim(c);
	else
		agreement_release(n->agreement, o->name, step->meta.version, released, c);
}

static void give_up(void *operation)
{
	struct operation *o = operation;

	coordinate_give_up(&o->rules, !o->x.request);
	drive(o);
}

/* Takes all steps there are. What a step leads to within this call finds it running, and leaves its steps to it. */
static void drive(struct operation *o)
{
	struct coordinate_step step;

	if (o->running)
		return;
	o->running = true;
	/* After a stop of the process the time may be over before the timer says so. */
	if (loop_now_ms() > o->end_ms)
		coordinate_give_up(&o->rules, !o->x.request);
	while (!o->ended && coordinate_next(&o->rules, &step))
		take(o, &step);
	o->running = false;
	operation_settled(o);
}

void operation_settled(struct operation *o)
{
	if (!o->running && o->ended && !o->open && !o->x.request)
		operation_free(o);
}

/* ---- the request ---- */

static void more_time(struct operation *o)
{
	o->end_ms = loop_now_ms() + OPERATION_DEADLINE_MS;
	loop_timer_set(&o->deadline, OPERATION_DEADLINE_MS);
}

static void body(struct exchange *x, struct piece *piece)
{
	struct operation *o = (struct operation *)x;

	if (o->piece_count == o->piece_room) {
		size_t room = o->piece_room ? 2 * o->piece_room : 16;
		struct piece **more = realloc(o->pieces, room * sizeof *more);
		if (!more) {
			piece_put(piece);
			return; /* the body is then too short for everybody */
		}
		o->pieces = more;
		o->piece_room = room;
	}
	o->pieces[o->piece_count++] = piece;
	more_time(o);
	for (struct step_call *c = o->puts, *next; c; c = next) {
		next = c->next;
		if (c->put)
			replica_put_piece(c->put, piece);
	}
}

/* Whether the bytes are those announced: asked before the agreement is given them. Others find it out when they have all of it. */
static bool body_is_right(struct operation *o)
{
	uint8_t digest[OBJECT_DIGEST_BYTES];
	struct blake2bp state;

	blake2bp_init(&state);
	for (size_t i = 0; i < o->piece_count; i++)
		blake2bp_update(&state, piece_bytes(o->pieces[i]), piece_length(o->pieces[i]));
	blake2bp_final(&state, digest, sizeof digest);
	return sodium_memcmp(digest, o->ours.digest, sizeof digest) == 0;
}

static void refuse(struct operation *o, int status, const char *reason, const char *text)
{
	server_answer_header(o->x.request, WIRE_REASON, reason);
	server_answer_text(o->x.request, status, "%s", text);
	exchange_answered(&o->x);
}

static void refuse_body(struct operation *o)
{
	server_request_refused(o->x.request, WIRE_WRONG_BODY);
	refuse(o, 400, "digest", WIRE_WRONG_BODY);
}

static void body_end(struct exchange *x)
{
	struct operation *o = (struct operation *)x;
	struct step_call *list = o->puts;

	o->body_done = true;
	o->puts = NULL;
	if (o->kind == COORDINATE_CLAIM && !body_is_right(o)) {
		refuse_body(o);
		give_up(o);
		return;
	}
	while (list) {
		struct step_call *c = list;
		list = c->next;
		c->next = NULL;
		if (c->put)
			replica_put_end(c->put);
	}
	coordinate_body_received(&o->rules);
	drive(o);
}

/* The client is gone. Puts whose body will never be whole end now; what is whole goes on for the others' sake. */
static void client_gone(struct exchange *x)
{
	struct operation *o = (struct operation *)x;

	o->running = true;
	coordinate_give_up(&o->rules, true);
	end_unfinished_puts(o);
	o->running = false;
	drive(o);
}

static const struct exchange_ops operation_ops = { body, body_end, client_gone };

struct operation *operation_new(struct node *n, struct server_request *r, const char *name, enum coordinate_kind kind,
                                const struct object_meta *ours, operation_answer_fn *answer_fn)
{
	struct operation *o = calloc(1, sizeof *o);
	struct placement place;

	if (!o) {
		server_answer_text(r, 503, "out of memory");
		return NULL;
	}
	exchange_begin(&o->x, &operation_ops, n, r);
	snprintf(o->name, sizeof o->name, "%s", name);
	o->kind = kind;
	o->answer = answer_fn;
	o->began_ns = clock_monotonic_ns();
	if (ours)
		o->ours = *ours;
	placement_of(&o->x.map->map, name, &place);
	coordinate_init(&o->rules, kind, &place, n->self, ours);
	loop_timer_init(&o->deadline, n->loop, give_up, o);
	return o;
}

void operation_run(struct operation *o)
{
	more_time(o);
	drive(o);
}

/* ---- answers ---- */

void operation_acks(const struct operation *o, const struct coordinate_step *step, char text[OPERATION_ACKS_TEXT])
{
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < step->ack_count; i++)
		for (size_t k = 0; k < o->ack_count; k++)
			if (o->ack[k].node == step->ack[i] && used + 40 < OPERATION_ACKS_TEXT) {
				used += (size_t)snprintf(text + used, OPERATION_ACKS_TEXT - used, "%sn%u=%" PRIu64,
				                         used ? "," : "", o->ack[k].node, o->ack[k].us);
				break;
			}
}

void operation_refuse(struct operation *o, const struct coordinate_step *step)
{
	char version[OBJECT_VERSION_TEXT];

	switch (step->result) {
	case RESULT_NEWER:
		object_version_format(step->meta.version, version);
		server_answer_header(o->x.request, WIRE_VERSION, version);
		refuse(o, 409, "newer", "a newer version is there");
		return;
	case RESULT_EXISTS:
		object_version_format(step->meta.version, version);
		server_answer_header(o->x.request, WIRE_VERSION, version);
		refuse(o, 412, "exists", "the object exists");
		return;
	case RESULT_MAP:
		refuse(o, 503, "map", "a replica has a newer map of the cluster");
		return;
	case RESULT_ABSENT:
		refuse(o, 404, "absent", "no such object");
		return;
	case RESULT_GONE:
		refuse(o, 410, "removed", "it may have been made, and was removed again");
		return;
	case RESULT_FULL:
		refuse(o, 507, "full", "too few of the nodes have space left");
		return;
	case RESULT_DAMAGED:
		refuse(o, 500, "damaged", "every copy of the object is damaged");
		return;
	default:
		/* It may also have been damaged on the way to that replica. */
		if (o->doubts_body && o->body_done && !body_is_right(o))
			refuse_body(o);
		else
			refuse(o, 503, "quorum", "too few of the nodes that hold this object have answered");
		return;
	}
}
