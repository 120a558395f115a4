/* SPDX-License-Identifier: GPL-3.0-only */
/* serve_get.c: /v1/object: objects are looked for and read, with this node as their coordinator.
 *
 * "any" is for objects that never change: the copy here is given at once if it is known that a quorum has that version; else that
 * is found out first. "latest" always asks a quorum. The body comes from here, or from the first of the others that can give it.
 */
#include "node/object_wire.h"

#include "base/blake2bp.h"
#include "node/operation.h"
#include "node/replica_client.h"
#include "store/placement.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is wanted, and how far it is. */
struct get {
	struct node *node;
	uint64_t admitted; /* bytes that were set aside for the answer, and are not the answer's yet */
	bool has_range;
	uint64_t first, last;
	struct object_meta meta;
	unsigned holder[COORDINATE_REPLICAS_MAX];
	size_t holder_count, at;
};

/* A read of the copy here, before any other node is asked. */
struct quick {
	struct exchange x;
	char name[OBJECT_NAME_MAX + 1];
	struct get get;
	int status;
	struct object_meta meta;
	uint8_t *bytes;
	size_t length;
};

/* ---- answers ---- */

static void add_meta(struct server_request *r, const struct object_meta *meta)
{
	char version[OBJECT_VERSION_TEXT];

	object_version_format(meta->version, version);
	server_answer_header(r, WIRE_VERSION, version);
}

/* `length` is what was set aside; from now on it is the answer's. */
static void answer_bytes(struct exchange *x, struct get *g, const struct object_meta *meta, uint8_t *bytes,
                         size_t length)
{
	char digest[NODE_DIGEST_TEXT];
	struct server_request *r = x->request;

	x->node->counters.get_bytes += length;
	g->admitted = 0;
	add_meta(r, meta);
	if (g->has_range && !length) {
		server_answer_headerf(r, "Content-Range", "bytes */%" PRIu64, meta->length);
		server_answer(r, 416, NULL);
		free(bytes);
		exchange_answered(x);
	} else if (g->has_range) {
		server_answer_headerf(r, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, g->first,
		                      g->first + length - 1, meta->length);
		answer_read(x, 206, bytes, length);
	} else {
		node_digest_text(meta->digest, digest);
		server_answer_header(r, WIRE_DIGEST, digest);
		answer_read(x, 200, bytes, length);
	}
}

static size_t length_of(const struct get *g)
{
	return g->has_range ? (size_t)(g->last - g->first) + 1 : SIZE_MAX;
}

/* How many bytes of an object of that length are wanted. */
static uint64_t wanted_of(const struct get *g, uint64_t length)
{
	if (!g->has_range)
		return length;
	if (g->first >= length)
		return 0;
	return (g->last < length ? g->last + 1 : length) - g->first;
}

static void give_back(struct get *g)
{
	if (g->admitted)
		node_give_back(g->node, g->admitted);
	g->admitted = 0;
}

/* ---- by a quorum ---- */

static void read_next(struct operation *o);

/* What another node gave, when it is all of the object, is compared with what a quorum said of it: who asked for a range could not. */
static bool is_right(struct operation *o, unsigned id, const uint8_t *bytes, size_t length)
{
	const struct get *g = o->arg;
	uint8_t digest[OBJECT_DIGEST_BYTES];

	if (length != g->admitted)
		return false;
	if (id == o->x.node->self || !g->has_range || length != g->meta.length || !length)
		return true;
	blake2bp(bytes, length, digest, sizeof digest);
	if (sodium_memcmp(digest, g->meta.digest, sizeof digest) == 0)
		return true;
	node_gave_wrong_bytes(o->x.node, id, o->name);
	return false;
}

static void holder_read(void *arg, unsigned id, const struct replica_answer *a, uint8_t *bytes, size_t length)
{
	struct operation *o = arg;
	struct get *g = o->arg;

	o->open--;
	if (a->status == -EBADMSG && id == o->x.node->self)
		heal_object(o->x.node->heal, o->name);
	if (!o->x.request || a->status || !is_right(o, id, bytes, length)) {
		free(bytes);
		if (o->x.request)
			read_next(o);
	} else {
		answer_bytes(&o->x, g, &g->meta, bytes, length);
	}
	operation_settled(o);
}

static void read_next(struct operation *o)
{
	struct get *g = o->arg;

	if (g->at == g->holder_count) {
		server_answer_header(o->x.request, WIRE_REASON, "quorum");
		server_answer_text(o->x.request, 503, "no node can give the object now");
		exchange_answered(&o->x);
		return;
	}
	o->open++;
	replica_read(o->x.node, g->holder[g->at++], o->x.map, o->name, g->meta.version, g->has_range ? g->first : 0,
	             length_of(g), holder_read, o);
}

static void get_answer(struct operation *o, const struct coordinate_step *step)
{
	struct get *g = o->arg;

	if (step->result != RESULT_DONE) {
		operation_refuse(o, step);
		return;
	}
	g->meta = step->meta;
	g->holder_count = step->holder_count;
	memcpy(g->holder, step->holder, sizeof g->holder);
	if (node_admit(g->node, wanted_of(g, g->meta.length))) {
		g->admitted = wanted_of(g, g->meta.length);
		read_next(o);
	} else {
		answer_overloaded(&o->x);
	}
}

static void head_answer(struct operation *o, const struct coordinate_step *step)
{
	char digest[NODE_DIGEST_TEXT];

	if (step->result != RESULT_DONE) {
		operation_refuse(o, step);
		return;
	}
	add_meta(o->x.request, &step->meta);
	node_digest_text(step->meta.digest, digest);
	server_answer_header(o->x.request, WIRE_DIGEST, digest);
	server_answer_head(o->x.request, 200, step->meta.length);
	exchange_answered(&o->x);
}

static void get_free(void *get)
{
	give_back(get);
	free(get);
}

static void by_quorum(struct node *n, struct server_request *r, const char *name, enum coordinate_kind kind,
                      const struct get *get)
{
	bool head = strcmp(server_request_head(r)->method, "HEAD") == 0;
	struct get *g = malloc(sizeof *g);
	struct operation *o;

	if (!g) {
		server_answer_text(r, 503, "out of memory");
		return;
	}
	*g = *get;
	o = operation_new(n, r, name, kind, NULL, head ? head_answer : get_answer);
	if (!o) {
		free(g);
		return;
	}
	o->arg = g;
	o->free_arg = get_free;
	operation_run(o);
}

/* ---- at once ---- */

static void quick_answer(void *arg)
{
	struct quick *q = arg;
	struct server_request *r = q->x.request;
	struct node *n = q->x.node;

	if (r && !q->status && q->meta.flags & OBJECT_CONFIRMED) {
		answer_bytes(&q->x, &q->get, &q->meta, q->bytes, q->length);
	} else {
		free(q->bytes);
		give_back(&q->get);
		if (q->status == -EBADMSG)
			heal_object(n->heal, q->name);
		if (r && q->status == -ENOBUFS)
			answer_overloaded(&q->x);
		else if (r)
			by_quorum(n, r, q->name, COORDINATE_CONFIRM, &q->get);
	}
	exchange_end(&q->x);
	free(q);
}

static bool quick_admit(void *arg, size_t bytes)
{
	struct quick *q = arg;

	if (!node_admit(q->get.node, bytes))
		return false;
	q->get.admitted = bytes;
	return true;
}

static void quick_read(void *arg, int status, const struct object_meta *meta, void *bytes, size_t length)
{
	struct quick *q = arg;

	q->status = status;
	if (meta)
		q->meta = *meta;
	q->bytes = bytes;
	q->length = length;
	while (loop_post(q->x.node->loop, quick_answer, q))
		;
}

static void no_body(struct exchange *x, struct piece *piece)
{
	(void)x;
	piece_put(piece);
}

static void nothing(struct exchange *x)
{
	(void)x;
}

static const struct exchange_ops quick_ops = { no_body, nothing, nothing };

static void at_once(struct node *n, struct server_request *r, const char *name, const struct get *get)
{
	struct quick *q = calloc(1, sizeof *q);

	if (!q) {
		server_answer_text(r, 503, "out of memory");
		return;
	}
	exchange_begin(&q->x, &quick_ops, n, r);
	snprintf(q->name, sizeof q->name, "%s", name);
	q->get = *get;
	object_store_read_admitted(n->objects, name, get->has_range ? get->first : 0, length_of(get), quick_admit,
	                           quick_read, q);
}

static bool is_replica(struct node *n, const char *name)
{
	struct map_ref *m = map_keeper_get(n->maps);
	struct placement place;

	placement_of(&m->map, name, &place);
	map_ref_put(m);
	return placement_has(&place, n->self);
}

void object_serve_get(struct node *n, struct server_request *r, const char *name)
{
	const struct message_head *head = server_request_head(r);
	const char *read = message_header(head, WIRE_READ);
	struct get g = {
		.node = n, .has_range = head->has_range, .first = head->range_first, .last = head->range_last
	};

	if (g.has_range && g.last - g.first >= OBJECT_LENGTH_MAX) {
		server_answer_text(r, 400, "a range has at most %llu bytes", OBJECT_LENGTH_MAX);
		return;
	}
	if (strcmp(head->method, "HEAD") == 0)
		n->counters.heads++;
	else
		n->counters.gets++;
	if (!read || strcmp(read, "any") != 0)
		by_quorum(n, r, name, COORDINATE_LOOK, &g);
	else if (strcmp(head->method, "GET") == 0 && is_replica(n, name))
		at_once(n, r, name, &g);
	else
		by_quorum(n, r, name, is_replica(n, name) ? COORDINATE_CONFIRM : COORDINATE_LOOK, &g);
}
