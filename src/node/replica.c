/* SPDX-License-Identifier: GPL-3.0-only */
/* replica.c: what other nodes ask of the objects here: /v1/replica/POOL/KEY, lists of them, and what comparing needs.
 *
 * Decides nothing: the rules are in object_store.h. Each answer says whether it counts as a vote, and what was there.
 */
#include "base/clock.h"
#include "node/node_private.h"
#include "node/object_wire.h"
#include "store/placement.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One request of a replica's. */
struct replica_exchange {
	struct exchange x;
	char name[OBJECT_NAME_MAX + 1];
	struct object_put *put; /* while its body comes in */
	bool is_put;
	/* what came back, on its way to the loop */
	int status;
	bool voted; /* its answers counted when it came */
	bool vote, had, claimed, already, more;
	struct object_meta meta;
	struct object_version floor;
	bool has_age;
	uint64_t age_s;
	uint8_t *bytes;
	size_t length;
	struct evbuffer *text;
	/* of a read */
	bool head_only, has_version, has_range;
	struct object_version version;
	uint64_t offset, first, last;
	size_t admitted; /* bytes that were set aside for the answer, and are not the answer's yet */
	/* of a comparison */
	unsigned other;
};

/* Once the answer has come: it counts only if nothing was missing before it was asked for, either. Any thread. */
static void set_vote(struct replica_exchange *e)
{
	e->vote = e->voted && node_votes(e->x.node);
}

/* Whether this node is to hold it, by the map that the request goes by. Any thread. */
static bool is_held_here(const struct replica_exchange *e, const char *name)
{
	struct placement place;

	placement_of(&e->x.map->map, name, &place);
	return placement_has(&place, e->x.node->self);
}

static struct replica_exchange *begin(struct node *n, struct server_request *r, const char *name,
                                      const struct exchange_ops *ops)
{
	struct replica_exchange *e = calloc(1, sizeof *e);

	if (!e) {
		server_answer_text(r, 503, "out of memory");
		return NULL;
	}
	if (name)
		snprintf(e->name, sizeof e->name, "%s", name);
	e->voted = node_votes(n);
	exchange_begin(&e->x, ops, n, r);
	return e;
}

static void done(struct replica_exchange *e)
{
	if (e->text)
		evbuffer_free(e->text);
	free(e->bytes);
	if (e->admitted)
		node_give_back(e->x.node, e->admitted);
	exchange_end(&e->x);
	free(e);
}

static void post(struct replica_exchange *e, loop_fn *fn)
{
	while (loop_post(e->x.node->loop, fn, e))
		;
}

/* ---- answers ---- */

static void add_meta(struct replica_exchange *e)
{
	char meta[WIRE_META_TEXT];

	if (e->had) {
		wire_meta_format(&e->meta, meta);
		server_answer_header(e->x.request, WIRE_META, meta);
	}
	if (e->status == -ENOENT && !object_version_is_none(e->floor)) {
		object_version_format(e->floor, meta);
		server_answer_header(e->x.request, WIRE_FLOOR, meta);
	}
	if (e->claimed)
		server_answer_header(e->x.request, WIRE_CLAIMED, "1");
	server_answer_header(e->x.request, WIRE_VOTE, e->vote ? "1" : "0");
}

static void answer_reason(struct exchange *x, int status, const char *reason, const char *text)
{
	server_answer_header(x->request, WIRE_REASON, reason);
	server_answer_text(x->request, status, "%s", text);
	exchange_answered(x);
}

/* Answers what went wrong. */
static void answer_error(struct replica_exchange *e)
{
	add_meta(e);
	switch (e->status) {
	case -ESTALE:
		answer_reason(&e->x, 409, "newer", "another version is there");
		return;
	case -EEXIST:
		answer_reason(&e->x, 409, "exists", "the object exists");
		return;
	case -ENOENT:
		answer_reason(&e->x, 404, "absent", "no such object");
		return;
	case -EBADMSG:
		if (e->is_put) {
			server_request_refused(e->x.request, WIRE_WRONG_BODY);
			answer_reason(&e->x, 400, "digest", WIRE_WRONG_BODY);
			return;
		}
		answer_reason(&e->x, 500, "damaged", "this copy is damaged");
		return;
	case -EREMCHG:
		answer_reason(&e->x, 409, "map", "by this node's map that object is not its own");
		return;
	case -ENOSPC:
	case -EROFS:
		answer_reason(&e->x, 507, "full", "no drive takes new objects");
		return;
	default:
		answer_reason(&e->x, e->status == -ENOMEM ? 503 : 500, "failed", strerror(-e->status));
	}
}

/* ---- put and remove ---- */

static void put_answer(void *arg)
{
	struct replica_exchange *e = arg;

	if (e->x.request) {
		if (e->status) {
			answer_error(e);
		} else {
			add_meta(e);
			server_answer(e->x.request, e->already ? 200 : 201, NULL);
			exchange_answered(&e->x);
		}
	}
	done(e);
}

static void was_put(void *arg, const struct object_put_result *result)
{
	struct replica_exchange *e = arg;

	e->status = result->status;
	e->had = result->had;
	e->meta = result->was;
	e->claimed = result->claimed;
	e->already = result->already;
	set_vote(e);
	post(e, put_answer);
}

static void release_piece(void *piece)
{
	piece_put(piece);
}

static void put_body(struct exchange *x, struct piece *piece)
{
	struct replica_exchange *e = (struct replica_exchange *)x;

	object_put_append(e->put, piece_bytes(piece), piece_length(piece), release_piece, piece);
}

static void put_end(struct exchange *x)
{
	struct replica_exchange *e = (struct replica_exchange *)x;
	struct object_put *put = e->put;

	e->put = NULL;
	/* What was begun by an older map is not put in place. */
	if (e->x.map->map.version != map_keeper_version(x->node->maps)) {
		object_put_abort(put);
		answer_reason(x, 409, "map", "the cluster's map has changed");
		done(e);
		return;
	}
	object_put_finish(put, was_put, e);
}

/* Before its end nobody else refers to it; after that the store does. */
static void put_abort(struct exchange *x)
{
	struct replica_exchange *e = (struct replica_exchange *)x;

	if (!e->put)
		return;
	object_put_abort(e->put);
	done(e);
}

static const struct exchange_ops put_ops = { put_body, put_end, put_abort };

void replica_serve_put(struct node *n, struct server_request *r, const char *name)
{
	const struct message_head *head = server_request_head(r);
	enum object_rule rule;
	struct object_meta meta;
	struct error err = { 0 };
	struct replica_exchange *e;
	int rc;

	if (wire_put_meta(head, &meta, &err) || wire_rule(head, &rule)) {
		server_answer_text(r, 400, "%s", err.code ? error_text(&err) : "unknown " WIRE_RULE);
		return;
	}
	e = begin(n, r, name, &put_ops);
	if (!e)
		return;
	e->is_put = true;
	rc = is_held_here(e, name) ? object_put_begin(n->objects, name, &meta, rule, &e->put) : -EREMCHG;
	if (rc) {
		e->status = rc;
		answer_error(e);
		done(e);
	}
}

static void nothing_left(struct exchange *x)
{
	(void)x; /* the answer finds that nobody waits for it */
}

static void no_body(struct exchange *x, struct piece *piece)
{
	(void)x;
	piece_put(piece);
}

static const struct exchange_ops plain_ops = { no_body, nothing_left, nothing_left };

void replica_serve_remove(struct node *n, struct server_request *r, const char *name)
{
	const struct message_head *head = server_request_head(r);
	const char *version = message_header(head, WIRE_VERSION), *flags = message_header(head, WIRE_FLAGS);
	struct object_version v;
	struct replica_exchange *e;
	enum object_rule rule;
	unsigned f = 0;

	if (!version || object_version_parse(version, &v) || (flags && wire_flags_parse(flags, &f)) ||
	    wire_rule(head, &rule)) {
		server_answer_text(r, 400, "a removal needs " WIRE_VERSION);
		return;
	}
	e = begin(n, r, name, &plain_ops);
	if (!e)
		return;
	e->is_put = true;
	if (!is_held_here(e, name)) {
		e->status = -EREMCHG;
		answer_error(e);
		done(e);
		return;
	}
	object_store_remove(n->objects, name, v, f & OBJECT_CLAIMED, rule, was_put, e);
}

/* ---- look and read ---- */

static void look_answer(void *arg)
{
	struct replica_exchange *e = arg;

	if (e->x.request && e->status) {
		answer_error(e);
	} else if (e->x.request) {
		add_meta(e);
		if (e->has_age)
			server_answer_headerf(e->x.request, WIRE_AGE, "%" PRIu64, e->age_s);
		server_answer_head(e->x.request, 200, e->meta.length);
		exchange_answered(&e->x);
	}
	done(e);
}

static void looked(void *arg, int status, const struct object_meta *meta)
{
	struct replica_exchange *e = arg;

	e->status = status;
	set_vote(e);
	e->floor = object_store_floor(e->x.node->objects);
	if (!status) {
		e->had = true;
		e->meta = *meta;
		e->claimed = meta->flags & OBJECT_CLAIMED;
	}
	post(e, look_answer);
}

/* The same with its age, out of a listing that has only this name, if any that begins with it. */
static void looked_age(void *arg, int status, const struct object_entry *entries, size_t count, bool more)
{
	struct replica_exchange *e = arg;
	uint64_t now_s = clock_wall_ns() / 1000000000u;

	(void)more;
	if (!status && count && strcmp(entries[0].name, e->name) == 0) {
		e->has_age = true;
		e->age_s = now_s > entries[0].stored_s ? now_s - entries[0].stored_s : 0;
		looked(e, 0, &entries[0].meta);
	} else {
		looked(e, status ? status : -ENOENT, NULL);
	}
}

static void read_answer(void *arg)
{
	struct replica_exchange *e = arg;
	char digest[NODE_DIGEST_TEXT];
	uint8_t *bytes = e->bytes;

	if (e->x.request && e->status == -ENOBUFS) {
		answer_overloaded(&e->x);
	} else if (e->x.request && e->status) {
		answer_error(e);
	} else if (e->x.request) {
		add_meta(e);
		if (e->has_range) {
			server_answer_headerf(e->x.request, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64,
			                      e->offset, e->offset + (e->length ? e->length - 1 : 0), e->meta.length);
		} else {
			node_digest_text(e->meta.digest, digest);
			server_answer_header(e->x.request, WIRE_DIGEST, digest);
		}
		e->bytes = NULL;
		e->admitted = 0;
		answer_read(&e->x, e->has_range ? 206 : 200, bytes, e->length);
	}
	done(e);
}

static bool admit(void *arg, size_t bytes)
{
	struct replica_exchange *e = arg;

	if (!node_admit(e->x.node, bytes))
		return false;
	e->admitted = bytes;
	return true;
}

static void was_read(void *arg, int status, const struct object_meta *meta, void *bytes, size_t length)
{
	struct replica_exchange *e = arg;

	set_vote(e);
	if (meta) {
		e->had = true;
		e->meta = *meta;
	}
	if (!status && e->has_version && object_version_compare(e->meta.version, e->version) != 0)
		status = -ESTALE;
	e->status = status;
	e->bytes = bytes;
	e->length = length;
	post(e, read_answer);
}

void replica_serve_get(struct node *n, struct server_request *r, const char *name)
{
	const struct message_head *head = server_request_head(r);
	const char *version = message_header(head, WIRE_VERSION);
	struct replica_exchange *e;
	struct object_version v;
	size_t length = SIZE_MAX;

	if (version && object_version_parse(version, &v)) {
		server_answer_text(r, 400, "no version: " WIRE_VERSION);
		return;
	}
	e = begin(n, r, name, &plain_ops);
	if (!e)
		return;
	if (strcmp(head->method, "HEAD") == 0) {
		if (message_header(head, WIRE_AGE))
			object_store_list(n->objects, name, NULL, 1, looked_age, e);
		else
			object_store_look(n->objects, name, looked, e);
		return;
	}
	if (version) {
		e->has_version = true;
		e->version = v;
	}
	if (head->has_range && head->range_last - head->range_first < OBJECT_LENGTH_MAX) {
		e->has_range = true;
		e->offset = head->range_first;
		length = (size_t)(head->range_last - head->range_first) + 1;
	}
	object_store_read_admitted(n->objects, name, e->offset, length, admit, was_read, e);
}

/* ---- lists ---- */

static void list_answer(void *arg)
{
	struct replica_exchange *e = arg;
	char floor[OBJECT_VERSION_TEXT];

	if (e->x.request && (e->status || !e->text)) {
		e->status = e->status ? e->status : -ENOMEM;
		answer_error(e);
	} else if (e->x.request) {
		add_meta(e);
		if (!object_version_is_none(e->floor)) {
			object_version_format(e->floor, floor);
			server_answer_header(e->x.request, WIRE_FLOOR, floor);
		}
		server_answer_header(e->x.request, "X-Garner-More", e->more ? "1" : "0");
		server_answer(e->x.request, 200, e->text);
		exchange_answered(&e->x);
	}
	done(e);
}

/* A line for each: NAME VERSION LENGTH DIGEST FLAGS. */
static void listed(void *arg, int status, const struct object_entry *entries, size_t count, bool more)
{
	struct replica_exchange *e = arg;
	char meta[WIRE_META_TEXT];

	e->status = status;
	e->more = more;
	set_vote(e);
	e->text = status ? NULL : evbuffer_new();
	for (size_t i = 0; e->text && i < count; i++) {
		wire_meta_format(&entries[i].meta, meta);
		if (evbuffer_add_printf(e->text, "%s %s\n", entries[i].name, meta) < 0)
			e->status = -ENOMEM;
	}
	post(e, list_answer);
}

/* The parameters that say which part of a list is wanted. */
static bool list_range(struct server_request *r, const char **after, uint64_t *max)
{
	const struct message_head *head = server_request_head(r);
	const char *text = message_parameter(head, "max");

	*after = message_parameter(head, "after");
	*max = 0;
	if ((text && message_number(text, OBJECT_LIST_MAX, max)) || (*after && strlen(*after) > OBJECT_NAME_MAX)) {
		server_answer_text(r, 400, "after or max makes no sense");
		return false;
	}
	return true;
}

void replica_serve_list(struct node *n, struct server_request *r)
{
	const char *prefix = message_parameter(server_request_head(r), "prefix"), *after;
	struct replica_exchange *e;
	uint64_t max;

	if (!list_range(r, &after, &max))
		return;
	if (!prefix || strlen(prefix) > OBJECT_NAME_MAX) {
		server_answer_text(r, 400, "a list needs a prefix");
		return;
	}
	e = begin(n, r, NULL, &plain_ops);
	if (e)
		object_store_list(n->objects, prefix, after, (size_t)max, listed, e);
}

/* ---- comparing ---- */

/* Whether this node and the one that asks both hold it, by the same map. On any thread. */
static bool both_hold(void *arg, const char *name)
{
	const struct replica_exchange *e = arg;
	struct placement p;

	placement_of(&e->x.map->map, name, &p);
	return placement_has(&p, e->x.node->self) && placement_has(&p, e->other);
}

static void summed(void *arg, int status, const struct object_bucket buckets[OBJECT_BUCKETS])
{
	struct replica_exchange *e = arg;
	char digest[2 * sizeof buckets[0].digest + 1];

	e->status = status;
	set_vote(e);
	e->floor = object_store_floor(e->x.node->objects);
	e->text = status ? NULL : evbuffer_new();
	for (size_t i = 0; e->text && i < OBJECT_BUCKETS; i++) {
		for (size_t k = 0; k < sizeof buckets[i].digest; k++)
			snprintf(digest + 2 * k, 3, "%02x", buckets[i].digest[k]);
		if (evbuffer_add_printf(e->text, "%s %" PRIu64 "\n", digest, buckets[i].count) < 0)
			e->status = -ENOMEM;
	}
	post(e, list_answer);
}

static struct replica_exchange *begin_comparison(struct node *n, struct server_request *r)
{
	const char *text = message_parameter(server_request_head(r), "node");
	struct replica_exchange *e;
	uint64_t other;

	if (!text || message_number(text, CLUSTER_NODE_ID_MAX, &other)) {
		server_answer_text(r, 400, "which node asks?");
		return NULL;
	}
	e = begin(n, r, NULL, &plain_ops);
	if (e)
		e->other = (unsigned)other;
	return e;
}

void replica_serve_digests(struct node *n, struct server_request *r)
{
	struct replica_exchange *e = begin_comparison(n, r);

	if (e)
		object_store_buckets(n->objects, both_hold, e, summed, e);
}

void replica_serve_bucket(struct node *n, struct server_request *r)
{
	const char *text = message_parameter(server_request_head(r), "bucket"), *after;
	struct replica_exchange *e;
	uint64_t bucket, max;

	if (!list_range(r, &after, &max))
		return;
	if (!text || message_number(text, OBJECT_BUCKETS - 1, &bucket)) {
		server_answer_text(r, 400, "which bucket?");
		return;
	}
	e = begin_comparison(n, r);
	if (e)
		object_store_bucket(n->objects, (unsigned)bucket, after, (size_t)max, both_hold, e, listed, e);
}
