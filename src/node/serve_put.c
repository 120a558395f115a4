/* SPDX-License-Identifier: GPL-3.0-only */
/* serve_put.c: /v1/object: objects are put, made create-only, and removed, with this node as their coordinator. */
#include "node/object_wire.h"
#include "node/operation.h"

#include <string.h>

static void put_answer(struct operation *o, const struct coordinate_step *step)
{
	char acks[OPERATION_ACKS_TEXT];

	if (step->result != RESULT_DONE) {
		operation_refuse(o, step);
		return;
	}
	operation_acks(o, step, acks);
	if (acks[0])
		server_answer_header(o->x.request, WIRE_ACKS, acks);
	server_answer(o->x.request, o->kind == COORDINATE_REMOVE ? 204 : 201, NULL);
	exchange_answered(&o->x);
}

/* Which kind of put is asked for; -1 and an answer when it is none. */
static int kind_of(struct server_request *r, const struct message_head *head)
{
	const char *create = message_header(head, WIRE_CREATE);

	if (!create)
		return COORDINATE_PUT;
	if (strcmp(create, "quorum") == 0)
		return COORDINATE_CREATE;
	if (strcmp(create, "looked") == 0)
		return COORDINATE_CREATE_LOOKED;
	if (strcmp(create, "claim") != 0) {
		server_answer_text(r, 400, "unknown word in " WIRE_CREATE);
		return -1;
	}
	if (head->length <= AGREEMENT_BODY_MAX)
		return COORDINATE_CLAIM;
	server_answer_text(r, 413, "what is claimed has at most %d bytes", AGREEMENT_BODY_MAX);
	return -1;
}

void object_serve_put(struct node *n, struct server_request *r, const char *name)
{
	const struct message_head *head = server_request_head(r);
	struct object_meta meta;
	struct error err = { 0 };
	struct operation *o;
	int kind;

	if (wire_put_meta(head, &meta, &err)) {
		server_answer_text(r, 400, "%s", error_text(&err));
		return;
	}
	if (meta.length > OBJECT_LENGTH_MAX) {
		server_answer_text(r, 413, "an object has at most %llu bytes", OBJECT_LENGTH_MAX);
		return;
	}
	meta.flags = 0;
	kind = kind_of(r, head);
	if (kind < 0)
		return;
	o = operation_new(n, r, name, (enum coordinate_kind)kind, &meta, put_answer);
	if (!o)
		return;
	n->counters.puts++;
	n->counters.put_bytes += meta.length;
	operation_run(o);
}

void object_serve_remove(struct node *n, struct server_request *r, const char *name)
{
	const char *version = message_header(server_request_head(r), WIRE_VERSION);
	struct object_meta meta = { .flags = 0 };
	struct operation *o;

	if (!version || object_version_parse(version, &meta.version)) {
		server_answer_text(r, 400, "a removal needs " WIRE_VERSION);
		return;
	}
	o = operation_new(n, r, name, COORDINATE_REMOVE, &meta, put_answer);
	if (!o)
		return;
	n->counters.removes++;
	operation_run(o);
}
