/* SPDX-License-Identifier: GPL-3.0-only */
/* replica_client.c: asking a replica: by a request to its node, or by a call to the objects of this one. */
#include "node/replica_client.h"

#include "base/clock.h"
#include "node/object_wire.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PUT_STALL_MS 3000 /* a replica's disk may be busy; whoever waits for the client waits for a quorum only */
#define HEADERS_MAX 8
#define NUMBER_TEXT 24

/* One question, wherever it goes. */
struct call {
	struct node *node;
	unsigned id;
	struct map_ref *map;
	char name[OBJECT_NAME_MAX + 1];
	uint64_t began_ns;
	bool voted;                 /* this node's answers counted then */
	replica_done_fn *done;      /* or */
	replica_read_fn *read_done; /* of a read */
	void *arg;
	struct replica_answer answer;
	struct error err;
	uint8_t *bytes;
	size_t length;
	/* of a read */
	struct object_version version;
	uint64_t offset;
	size_t want;
	/* of a put */
	struct replica_put *put;
};

struct replica_put {
	struct call *call; /* NULL: nobody asks any more */
	struct object_meta meta;
	struct object_put *local;    /* on this node */
	struct peer_request *remote; /* on another; NULL also when it is over */
};

/* ---- ending ---- */

static struct call *call_new(struct node *n, unsigned id, struct map_ref *map, const char *name, replica_done_fn *done,
                             void *arg)
{
	struct call *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->node = n;
	c->id = id;
	c->map = map_ref_get(map);
	snprintf(c->name, sizeof c->name, "%s", name);
	c->began_ns = clock_monotonic_ns();
	c->voted = node_votes(n);
	c->done = done;
	c->arg = arg;
	node_begin(n);
	return c;
}

static void call_free(struct call *c)
{
	struct node *n = c->node;

	free(c->bytes);
	map_ref_put(c->map);
	free(c);
	node_done(n);
}

/* On the loop. */
static void call_end(void *arg)
{
	struct call *c = arg;

	if (c->put) {
		c->put->call = NULL;
		c->put->remote = NULL;
		if (!c->put->local)
			free(c->put);
	}
	c->answer.took_us = (clock_monotonic_ns() - c->began_ns) / 1000;
	c->answer.why = c->err.text[0] ? c->err.text : c->answer.status ? strerror(-c->answer.status) : "";
	if (c->read_done) {
		uint8_t *bytes = c->bytes;
		c->bytes = NULL;
		c->read_done(c->arg, c->id, &c->answer, c->answer.status ? (free(bytes), NULL) : bytes, c->length);
	} else if (c->done) {
		c->done(c->arg, c->id, &c->answer);
	}
	call_free(c);
}

/* From any thread. Without memory to say so, the call runs where it is only if that is the loop. */
static void call_end_soon(struct call *c)
{
	while (loop_post(c->node->loop, call_end, c))
		;
}

static void fail(struct call *c, int status, const char *why)
{
	c->answer.status = status;
	c->answer.answered = false;
	error_set(&c->err, status, "%s", why);
	call_end_soon(c);
}

/* ---- another node's answer ---- */

static int refusal(int status, const struct message_head *head)
{
	const char *reason = message_header(head, WIRE_REASON);

	if (status == 404)
		return -ENOENT;
	if (status == 507)
		return -ENOSPC;
	if (status == 409 && reason) {
		if (strcmp(reason, "newer") == 0)
			return -ESTALE;
		if (strcmp(reason, "exists") == 0)
			return -EEXIST;
		if (strcmp(reason, "map") == 0)
			return -EREMCHG;
	}
	if (reason &&
	    ((status == 500 && strcmp(reason, "damaged") == 0) || (status == 400 && strcmp(reason, "digest") == 0)))
		return -EBADMSG;
	return -EIO;
}

static bool is_one(const struct message_head *head, const char *name)
{
	const char *value = message_header(head, name);

	return value && strcmp(value, "1") == 0;
}

static void read_answer(struct call *c, const struct peer_answer *a)
{
	const char *meta = message_header(a->head, WIRE_META), *floor = message_header(a->head, WIRE_FLOOR);
	const char *age = message_header(a->head, WIRE_AGE);
	struct replica_answer *to = &c->answer;

	map_keeper_seen(c->node->maps, wire_map_version(a->head));
	to->status = a->status >= 200 && a->status < 300 ? 0 : refusal(a->status, a->head);
	to->answered = to->status != -EIO;
	to->vote = to->answered && is_one(a->head, WIRE_VOTE);
	to->claimed = is_one(a->head, WIRE_CLAIMED);
	to->already = a->status == 200;
	if (floor && object_version_parse(floor, &to->floor))
		to->floor = OBJECT_VERSION_NONE;
	if (age && message_number(age, UINT64_MAX, &to->age_s))
		to->age_s = 0;
	to->had = meta && wire_meta_parse(meta, &to->meta) == 0;
	if (meta && !to->had) {
		*to = (struct replica_answer){ .status = -EPROTO };
		error_set(&c->err, -EPROTO, "its answer makes no sense");
	} else if (!to->answered) {
		error_set(&c->err, -EIO, "it answered with status %d", a->status);
	}
}

static void take_body(struct call *c, const struct peer_answer *a)
{
	c->length = evbuffer_get_length(a->body);
	if (!c->answer.had || (c->length && !(c->bytes = malloc(c->length)))) {
		c->answer = (struct replica_answer){ .status = -EPROTO };
		return;
	}
	if (c->length)
		evbuffer_remove(a->body, c->bytes, c->length);
}

static void peer_answered(void *arg, int rc, const struct peer_answer *a, const struct error *err)
{
	struct call *c = arg;

	if (rc) {
		c->answer.status = rc;
		c->err = *err;
	} else {
		read_answer(c, a);
		if (c->read_done && !c->answer.status)
			take_body(c, a);
	}
	call_end(c);
}

/* ---- asking another node ---- */

struct wire_headers {
	struct node_header header[HEADERS_MAX];
	size_t count;
	char map[NUMBER_TEXT], version[OBJECT_VERSION_TEXT], digest[NODE_DIGEST_TEXT], flags[WIRE_FLAGS_TEXT],
		range[64];
};

static void add(struct wire_headers *h, const char *name, const char *value)
{
	h->header[h->count++] = (struct node_header){ name, value };
}

static void add_map(struct wire_headers *h, const struct map_ref *map)
{
	snprintf(h->map, sizeof h->map, "%" PRIu64, map->map.version);
	add(h, WIRE_MAP, h->map);
}

static void add_version(struct wire_headers *h, struct object_version version)
{
	object_version_format(version, h->version);
	add(h, WIRE_VERSION, h->version);
}

static void add_flags(struct wire_headers *h, unsigned flags)
{
	wire_flags_format(flags, h->flags);
	add(h, WIRE_FLAGS, h->flags);
}

static void ask(struct call *c, const char *method, struct wire_headers *h, uint64_t length, size_t answer_max,
                unsigned stall_ms, struct peer_request **request)
{
	struct neighbour *p = node_neighbour(c->node, c->id);
	char target[OBJECT_NAME_MAX + 32];
	int rc;

	if (request)
		*request = NULL;
	if (!p) {
		fail(c, -EHOSTDOWN, "it is not in the map");
		return;
	}
	snprintf(target, sizeof target, "/v1/replica/%s", c->name);
	rc = peer_request(p->peer,
	                  &(struct peer_call){ .method = method,
	                                       .target = target,
	                                       .headers = h->header,
	                                       .headers_count = h->count,
	                                       .length = length,
	                                       .answer_max = answer_max,
	                                       .stall_ms = stall_ms,
	                                       .done = peer_answered,
	                                       .arg = c },
	                  request, &c->err);
	if (rc) {
		c->answer.status = rc;
		call_end_soon(c);
	}
}

/* ---- looking ---- */

static void vote_here(struct call *c)
{
	c->answer.answered = true;
	c->answer.vote = c->voted && node_votes(c->node);
}

static void looked_here(void *arg, int status, const struct object_meta *meta)
{
	struct call *c = arg;

	c->answer.status = status;
	if (!status || status == -ENOENT)
		vote_here(c);
	if (status == -ENOENT)
		c->answer.floor = object_store_floor(c->node->objects);
	if (!status) {
		c->answer.had = true;
		c->answer.meta = *meta;
		c->answer.claimed = meta->flags & OBJECT_CLAIMED;
	}
	call_end_soon(c);
}

void replica_look(struct node *n, unsigned id, struct map_ref *map, const char *name, replica_done_fn *done, void *arg)
{
	struct call *c = call_new(n, id, map, name, done, arg);
	struct wire_headers h = { .count = 0 };

	if (!c)
		abort(); /* as much as any daemon can do without memory for a few hundred bytes */
	if (id == n->self) {
		object_store_look(n->objects, name, looked_here, c);
		return;
	}
	add_map(&h, map);
	ask(c, "HEAD", &h, 0, 0, 0, NULL);
}

void replica_look_age(struct node *n, unsigned id, struct map_ref *map, const char *name, replica_done_fn *done,
                      void *arg)
{
	struct call *c = call_new(n, id, map, name, done, arg);
	struct wire_headers h = { .count = 0 };

	if (!c)
		abort();
	add_map(&h, map);
	add(&h, WIRE_AGE, "1");
	ask(c, "HEAD", &h, 0, 0, 0, NULL);
}

/* ---- put and remove ---- */

static void put_here(void *arg, const struct object_put_result *r)
{
	struct call *c = arg;

	c->answer.status = r->status;
	c->answer.had = r->had;
	c->answer.meta = r->was;
	c->answer.claimed = r->claimed;
	c->answer.already = r->already;
	if (!r->status || r->status == -ESTALE || r->status == -EEXIST)
		vote_here(c);
	call_end_soon(c);
}

void replica_remove(struct node *n, unsigned id, struct map_ref *map, const char *name, const struct object_meta *meta,
                    enum object_rule rule, replica_done_fn *done, void *arg)
{
	struct call *c = call_new(n, id, map, name, done, arg);
	struct wire_headers h = { .count = 0 };

	if (!c)
		abort();
	if (id == n->self) {
		object_store_remove(n->objects, name, meta->version, meta->flags & OBJECT_CLAIMED, rule, put_here, c);
		return;
	}
	add_map(&h, map);
	add_version(&h, meta->version);
	add_flags(&h, meta->flags & OBJECT_CLAIMED);
	add(&h, WIRE_RULE, wire_rule_name(rule));
	ask(c, "DELETE", &h, 0, 0, PUT_STALL_MS, NULL);
}

struct replica_put *replica_put_begin(struct node *n, unsigned id, struct map_ref *map, const char *name,
                                      const struct object_meta *meta, enum object_rule rule, replica_done_fn *done,
                                      void *arg)
{
	struct replica_put *p = calloc(1, sizeof *p);
	struct call *c = p ? call_new(n, id, map, name, done, arg) : NULL;
	struct wire_headers h = { .count = 0 };
	int rc;

	if (!c) {
		free(p);
		return NULL;
	}
	p->call = c;
	p->meta = *meta;
	c->put = p;
	if (id == n->self) {
		rc = object_put_begin(n->objects, name, meta, rule, &p->local);
		if (rc)
			fail(c, rc, strerror(-rc));
		return p;
	}
	add_map(&h, map);
	add_version(&h, meta->version);
	add_flags(&h, meta->flags & OBJECT_CLAIMED);
	node_digest_text(meta->digest, h.digest);
	add(&h, WIRE_DIGEST, h.digest);
	add(&h, WIRE_RULE, wire_rule_name(rule));
	ask(c, "PUT", &h, meta->length, 0, PUT_STALL_MS, &p->remote);
	return p;
}

static void release_piece(void *piece)
{
	piece_put(piece);
}

void replica_put_piece(struct replica_put *p, struct piece *piece)
{
	if (!p->call)
		return;
	if (p->local)
		object_put_append(p->local, piece_bytes(piece), piece_length(piece), release_piece, piece_get(piece));
	else if (p->remote && peer_send(p->remote, piece)) {
		p->remote = NULL;
		fail(p->call, -EPIPE, "the body does not fit what was announced");
	}
}

/* The body of one on another node ends by its length. */
void replica_put_end(struct replica_put *p)
{
	struct object_put *local = p->local;

	if (!local)
		return;
	p->local = NULL;
	object_put_finish(local, put_here, p->call);
}

void replica_put_abort(struct replica_put *p)
{
	struct call *c = p->call;

	if (p->local)
		object_put_abort(p->local);
	if (p->remote)
		peer_cancel(p->remote);
	if (c && (p->local || p->remote)) {
		call_free(c);
	} else if (c) {
		/* Its end is on its way. */
		c->put = NULL;
		c->done = NULL;
	}
	free(p);
}

/* ---- reading ---- */

static void read_here(void *arg, int status, const struct object_meta *meta, void *bytes, size_t len)
{
	struct call *c = arg;

	if (!status && object_version_compare(meta->version, c->version) != 0)
		status = -ESTALE;
	c->answer.status = status;
	if (meta) {
		c->answer.had = true;
		c->answer.meta = *meta;
	}
	if (!status || status == -ENOENT || status == -EBADMSG || status == -ESTALE)
		vote_here(c);
	c->bytes = bytes;
	c->length = len;
	call_end_soon(c);
}

void replica_read(struct node *n, unsigned id, struct map_ref *map, const char *name, struct object_version version,
                  uint64_t offset, size_t len, replica_read_fn *done, void *arg)
{
	struct call *c = call_new(n, id, map, name, NULL, arg);
	struct wire_headers h = { .count = 0 };

	if (!c)
		abort();
	c->read_done = done;
	c->version = version;
	c->offset = offset;
	c->want = len;
	if (id == n->self) {
		object_store_read(n->objects, name, offset, len, read_here, c);
		return;
	}
	add_map(&h, map);
	add_version(&h, version);
	if (offset || len != SIZE_MAX) {
		snprintf(h.range, sizeof h.range, "bytes=%" PRIu64 "-%" PRIu64, offset, offset + len - 1);
		add(&h, "Range", h.range);
	}
	ask(c, "GET", &h, 0, len == SIZE_MAX ? OBJECT_LENGTH_MAX : len, PUT_STALL_MS, NULL);
}
