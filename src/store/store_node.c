/* SPDX-License-Identifier: GPL-3.0-only */
/* store_node.c: objects on storage nodes: a request goes to one of the object's nodes, its coordinator, which sees to the others.
 *
 * The version of a put or removal is made once and kept over all tries, so that trying again, at whatever node, is always safe. A node
 * that refuses, is silent, or cannot prove its answer is left for the next one at once; only when all were asked a request waits.
 * Must not know how nodes agree.
 */
#include "base/clock.h"
#include "store/node_head.h"
#include "store/node_listing.h"
#include "store/node_store.h"
#include "store/store_types.h"

#include "base/bytes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAP_WAIT_MS 5            /* for a map that is being asked for */
#define FIND_MAP_MS 10000        /* when the store is opened */
#define BYTES_PER_MS (16 * 1024) /* of a body that a node may be silent longer for, while it writes it to its disks */
#define DOUBLINGS 3              /* of that time, when all nodes were silent */
#define SUMMED_MAX (256 * 1024)  /* longer parts of immutable objects are sealed, and checked by who opens them */
#define SMALL (256 * 1024)       /* reads up to here say how fast a node is */
#define REFUSALS_MAX 4           /* as malformed, by one node or another, until that is believed */
#define EXAMPLE "node://h1:7070,h2:7070,h3:7070/my-pool?cluster=/etc/garnerfs/cluster"

struct node_try {
	unsigned node; /* id */
	uint8_t nonce[NODE_NONCE_BYTES];
	uint64_t began_ns;
};

/* With every op. The engine's thread's alone. */
struct node_op {
	struct object_version version; /* of a put or removal; none: not made yet */
	struct node_try try[2];        /* by the request's `which` */
	uint64_t map_version;          /* that what follows is about */
	unsigned ids[CLUSTER_NODES_MAX];
	size_t count;
	unsigned tried; /* bit i: ids[i], in this round */
	unsigned rounds;
	unsigned refusals;
	bool overtaken; /* it has a higher version than in the first try */
	bool same;      /* the next try asks the same node */
	bool wants_map; /* but not before the map is there that is being asked for */
};

static bool writes(const struct http_op *op)
{
	return op->kind == HTTP_OP_PUT || op->kind == HTTP_OP_REMOVE;
}

static bool about_the_pool(const struct http_op *op)
{
	return op->kind == HTTP_OP_LIST || op->kind == HTTP_OP_PLACE;
}

static bool any_replica(const struct http_op *op)
{
	return (op->kind == HTTP_OP_GET || op->kind == HTTP_OP_HEAD) && op->flags & STORE_GET_IMMUTABLE;
}

/* ---- asking ---- */

/* Which nodes can be asked, by the newest map. */
static void find_nodes(struct node_store *s, const struct http_op *op, struct node_op *n)
{
	char name[OBJECT_NAME_MAX + 1];
	struct placement p;

	n->map_version = s->map.version;
	n->tried = 0;
	n->count = 0;
	if (about_the_pool(op)) {
		unsigned first = s->turn++;

		for (size_t i = 0; i < s->map.node_count; i++)
			n->ids[n->count++] = s->map.node[(first + i) % s->map.node_count].id;
		return;
	}
	snprintf(name, sizeof name, "%s/%s", s->pool, op->key);
	placement_of(&s->map, name, &p);
	for (size_t i = 0; i < p.count; i++)
		n->ids[n->count++] = p.node[i];
}

/* All were asked: begins anew. A second try at the same time goes to another node than the first, if there is one. */
static int choose_again(struct node_store *s, const struct http_op *op, struct node_op *n, unsigned which, uint64_t now)
{
	unsigned not_this = 0;
	int i;

	for (size_t k = 0; k < n->count && which == 1; k++)
		if (n->ids[k] == n->try[0].node)
			not_this = 1u << k;
	i = node_peers_choose(&s->peers, n->ids, n->count, not_this, any_replica(op), now);
	if (which == 1)
		return i < 0 ? node_peers_choose(&s->peers, n->ids, n->count, 0, false, now) : i;
	n->tried = 0;
	n->rounds++;
	return i;
}

/* Chooses the node of a try. NULL: there is none, which no map allows. */
static struct node_peer *choose(struct node_store *s, const struct http_op *op, struct node_op *n, unsigned which)
{
	uint64_t now = clock_monotonic_ns();
	int i;

	if (n->map_version != s->map.version)
		find_nodes(s, op, n);
	else if (n->same && which == 0)
		return node_peers_find(&s->peers, n->try[0].node);
	i = node_peers_choose(&s->peers, n->ids, n->count, n->tried, any_replica(op), now);
	if (i < 0)
		i = choose_again(s, op, n, which, now);
	if (i < 0)
		return NULL;
	n->tried |= 1u << i;
	return node_peers_find(&s->peers, n->ids[i]);
}

static void write_target(const struct node_store *s, const struct http_op *op, struct node_head *h)
{
	int n;

	if (!about_the_pool(op)) {
		snprintf(h->target, sizeof h->target, "/v1/object/%s/%s", s->pool, op->key);
		return;
	}
	/* Keys need no escapes there. */
	n = snprintf(h->target, sizeof h->target, "/v1/list/%s?max=%zu", s->pool, op->max);
	if (op->prefix[0])
		n += snprintf(h->target + n, sizeof h->target - (size_t)n, "&prefix=%s", op->prefix);
	if (op->after[0])
		snprintf(h->target + n, sizeof h->target - (size_t)n, "&after=%.*s", STORE_KEY_MAX, op->after);
}

/* The kind of create-only put. What an earlier try of ours left has to be looked for. */
static const char *create_kind(const struct http_op *op, bool is_first)
{
	if (!(op->flags & STORE_UPLOAD))
		return "claim";
	return op->flags & STORE_PUT_LOOKED && is_first ? "looked" : "quorum";
}

static void write_headers(struct node_store *s, const struct http_op *op, struct node_op *n, struct node_head *h)
{
	char version[OBJECT_VERSION_TEXT];
	bool is_first = object_version_is_none(n->version);

	node_head_header(h, "X-Garner-Map", "%" PRIu64, s->map.version);
	if (writes(op)) {
		if (is_first)
			n->version = version_clock_next(&s->versions);
		object_version_format(n->version, version);
		node_head_header(h, "X-Garner-Version", "%s", version);
	}
	if (op->kind == HTTP_OP_PUT) {
		node_head_header(h, "X-Garner-Digest", "%s", op->digest.blake2bp);
		if (op->flags & STORE_PUT_CREATE_ONLY)
			node_head_header(h, "X-Garner-Create", "%s", create_kind(op, is_first));
	}
	if (op->kind == HTTP_OP_GET || op->kind == HTTP_OP_HEAD)
		node_head_header(h, "X-Garner-Read", "%s", any_replica(op) ? "any" : "latest");
}

static int node_prepare(struct http_store *store, struct http_op *op, struct http_head *head, struct error *err)
{
	struct node_store *s = (struct node_store *)store;
	struct http_request *r = &op->request;
	struct node_op *n = op->own;
	struct node_try *try = &n->try[r->which];
	struct node_session session;
	char address[CLUSTER_ADDRESS_TEXT];
	struct node_head h;
	struct node_peer *peer;

	node_head_begin(&h);
	node_store_look_for_nodes(s);
	pthread_mutex_lock(&s->mutex);
	if (n->wants_map && s->map_asked_for) {
		pthread_mutex_unlock(&s->mutex);
		r->again_ms = MAP_WAIT_MS;
		return error_set(err, -EAGAIN, "the cluster's map is being asked for");
	}
	peer = choose(s, op, n, r->which);
	if (!peer) {
		pthread_mutex_unlock(&s->mutex);
		return error_set(err, -EIO, "the cluster's map has no node for it");
	}
	try->node = peer->id;
	session = peer->session;
	memcpy(address, peer->address, sizeof address);
	write_target(s, op, &h);
	write_headers(s, op, n, &h);
	pthread_mutex_unlock(&s->mutex);
	n->same = n->wants_map = false;
	r->try_ms = (NODE_TRY_MS + iovec_bytes(r->body, r->body_count) / BYTES_PER_MS)
	            << (n->rounds < DOUBLINGS ? n->rounds : DOUBLINGS);
	try->began_ns = clock_monotonic_ns();
	return node_head_sign(&h, r, head, s->file.tls, address, &s->file.key, &session, try->nonce, err);
}

/* ---- what answers mean ---- */

/* The next node at once, until all were asked; then with a wait. */
static enum http_verdict next_node(const struct node_op *n)
{
	return (unsigned)__builtin_popcount(n->tried) < n->count ? HTTP_JUDGE_AT_ONCE : HTTP_JUDGE_AGAIN;
}

static enum http_verdict same_node(struct node_op *n, unsigned which)
{
	n->try[0].node = n->try[which].node;
	n->same = true;
	return HTTP_JUDGE_AT_ONCE;
}

/* Names the node, once. */
static void name_node(struct node_store *s, const struct node_try *try, struct error *err)
{
	const struct node_peer *peer = node_peers_find(&s->peers, try->node);

	error_prefix(err, err->code, "node %s", peer ? peer->address : "that is gone");
}

static enum http_verdict no_answer(struct node_store *s, struct node_op *n, unsigned which, struct error *err)
{
	struct node_peer *peer;

	pthread_mutex_lock(&s->mutex);
	peer = node_peers_find(&s->peers, n->try[which].node);
	if (peer)
		node_peer_lost(peer, clock_monotonic_ns());
	name_node(s, &n->try[which], err);
	pthread_mutex_unlock(&s->mutex);
	return next_node(n);
}

static enum http_verdict node_lost(struct http_store *store, struct http_op *op, struct error *err)
{
	return no_answer((struct node_store *)store, op->own, op->request.which, err);
}

/* What a node says of its own accord: that it is there, how fast, and which map it has. */
static void note_answer(struct node_store *s, const struct http_op *op, const struct node_try *try)
{
	const struct http_request *r = &op->request;
	const char *map = http_answer_header(r, "X-Garner-Map");
	uint64_t now = clock_monotonic_ns();
	struct node_peer *peer;
	bool newer;

	pthread_mutex_lock(&s->mutex);
	newer = map && strtoull(map, NULL, 10) > s->map.version;
	peer = node_peers_find(&s->peers, try->node);
	if (peer) {
		node_peer_answered(peer);
		if (!writes(op) && !about_the_pool(op) && r->length <= SMALL && r->status < 500)
			node_peer_took(peer, (now - try->began_ns) / 1000, now);
	}
	pthread_mutex_unlock(&s->mutex);
	if (newer)
		node_store_ask_for_map(s, try->node);
}

/* "n1=350,n2=900" becomes ", n1 350 us, n2 900 us". What is not of that form ends it. */
static void add_acks(const char *acks, char *text, size_t room)
{
	size_t used = strlen(text);
	unsigned node;
	int length = 0;
	unsigned long us;

	while (acks && used < room && sscanf(acks, "n%5u=%9lu%n", &node, &us, &length) == 2) {
		used += (size_t)snprintf(text + used, room - used, ", n%u %lu us", node, us);
		acks += length;
		if (*acks++ != ',')
			break;
	}
}

static void note_acks(struct node_store *s, const struct http_op *op, const struct node_try *try)
{
	uint64_t us = (clock_monotonic_ns() - try->began_ns) / 1000;
	const struct node_peer *peer;

	pthread_mutex_lock(&s->mutex);
	peer = node_peers_find(&s->peers, try->node);
	snprintf(s->acks, sizeof s->acks, "coordinator %s %" PRIu64 " us", peer ? peer->address : "gone", us);
	add_acks(http_answer_header(&op->request, "X-Garner-Acks"), s->acks, sizeof s->acks);
	pthread_mutex_unlock(&s->mutex);
}

/* It may be ours, of an earlier try. */
static enum http_verdict exists(struct http_op *op, struct error *err)
{
	const struct node_op *n = op->own;

	op->request.maybe_done |= n->overtaken;
	error_set(err, -EEXIST, "exists");
	return HTTP_JUDGE_FAIL;
}

static enum http_verdict made_and_gone(struct error *err)
{
	error_set(err, -EIO, "it may have been made, and was changed or removed since");
	return HTTP_JUDGE_FAIL;
}

/* 409: somebody has used a newer version, or another map is in force. */
static enum http_verdict conflict(struct node_store *s, struct http_op *op, struct error *err)
{
	struct http_request *r = &op->request;
	struct node_op *n = op->own;
	const char *reason = http_answer_header(r, "X-Garner-Reason"), *text;
	struct object_version there;

	if (reason && strcmp(reason, "map") == 0) {
		node_store_ask_for_map(s, n->try[r->which].node);
		n->wants_map = true;
		r->maybe_done = true; /* it may be a replica that has the other one, and others have taken it */
		error_set(err, -EIO, "the node has another map of the cluster");
		return same_node(n, r->which);
	}
	if (reason && strcmp(reason, "exists") == 0 && op->kind == HTTP_OP_PUT)
		return exists(op, err);
	text = http_answer_header(r, "X-Garner-Version");
	if (!writes(op) || !reason || strcmp(reason, "newer") != 0 || !text || object_version_parse(text, &there)) {
		error_set(err, -EIO, "the node refuses without a reason that is known");
		return next_node(n);
	}
	version_clock_seen(&s->versions, there.counter);
	/* What was made, seen and removed must not come to be once more; nor must what others have made since go that was removed. */
	if (op->kind == HTTP_OP_REMOVE && r->maybe_done) {
		error_set(err, -EIO, "it may have been removed, and was made anew since");
		return HTTP_JUDGE_FAIL;
	}
	if (op->flags & STORE_PUT_CREATE_ONLY && r->maybe_done)
		return made_and_gone(err);
	n->version = version_clock_next(&s->versions);
	n->overtaken = true;
	error_set(err, -EIO, "the object has been changed by others again and again");
	return same_node(n, r->which);
}

/* The first line of what the node says of its refusal. */
static void say(const struct http_request *r, int rc, struct error *err)
{
	char text[200];

	snprintf(text, sizeof text, "%.*s", (int)strcspn(r->fault, "\r\n"), r->fault);
	for (char *p = text; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
	error_set(err, rc, "%s (status %ld)", text[0] ? text : "refused", r->status);
}

/* Statuses without a meaning of their own. */
static enum http_verdict refused(struct http_op *op, struct error *err)
{
	const struct http_request *r = &op->request;
	struct node_op *n = op->own;

	say(r, r->status == 403 ? -EACCES : -EIO, err);
	if (r->status >= 500 || r->status == 408 || r->status == 429)
		return next_node(n);
	/* A body that arrived damaged is malformed, too. */
	return r->status == 400 && ++n->refusals < REFUSALS_MAX ? next_node(n) : HTTP_JUDGE_FAIL;
}

static enum http_verdict judge_status(struct node_store *s, struct http_op *op, struct error *err)
{
	struct http_request *r = &op->request;

	switch (r->status) {
	case 200:
	case 201:
	case 204:
	case 206:
		return HTTP_JUDGE_DONE;
	case 404:
		if (op->kind == HTTP_OP_REMOVE)
			return HTTP_JUDGE_DONE;
		if (op->kind == HTTP_OP_GET || op->kind == HTTP_OP_HEAD)
			return HTTP_JUDGE_BY_STATUS;
		return refused(op, err);
	case 409:
		return conflict(s, op, err);
	case 410:
		return made_and_gone(err);
	case 412:
		return exists(op, err);
	case 413:
		error_set(err, -EFBIG, "the object is longer than a node takes");
		return HTTP_JUDGE_FAIL;
	case 416: /* past the object's end there is nothing to be read */
		return op->kind == HTTP_OP_GET ? HTTP_JUDGE_DONE : refused(op, err);
	case 507:
		error_set(err, -ENOSPC, "the nodes' drives are full");
		return HTTP_JUDGE_FAIL;
	default:
		return refused(op, err);
	}
}

static enum http_verdict node_judge(struct http_store *store, struct http_op *op, struct error *err)
{
	struct node_store *s = (struct node_store *)store;
	struct http_request *r = &op->request;
	struct node_op *n = op->own;
	struct node_try *try = &n->try[r->which];
	struct node_session session = { 0 };
	struct node_peer *peer;
	enum node_proof proof;
	enum http_verdict verdict;

	proof = node_head_check(r, &s->file.key, try->nonce, &session, any_replica(op) ? SUMMED_MAX : SIZE_MAX, err);
	switch (proof) {
	case NODE_CHALLENGED:
		pthread_mutex_lock(&s->mutex);
		peer = node_peers_find(&s->peers, try->node);
		if (peer)
			peer->session = session;
		pthread_mutex_unlock(&s->mutex);
		return same_node(n, r->which);
	case NODE_REPLAYED:
		r->maybe_done = true;
		return next_node(n);
	case NODE_STRANGER:
		r->maybe_done = true; /* whoever has answered may have handed it on */
		return no_answer(s, n, r->which, err);
	case NODE_PROVEN:
		break;
	}
	note_answer(s, op, try);
	verdict = judge_status(s, op, err);
	if (verdict == HTTP_JUDGE_DONE && op->kind == HTTP_OP_PUT)
		note_acks(s, op, try);
	if (err->code && err->code != -EEXIST) {
		pthread_mutex_lock(&s->mutex);
		name_node(s, try, err);
		pthread_mutex_unlock(&s->mutex);
	}
	return verdict;
}

static int node_read_listing(const struct http_op *op, struct listed_objects *objects, bool *more, struct error *err)
{
	return node_listing_parse(op->request.buf, op->request.length, objects, more, err);
}

static void node_acks(struct http_store *store, char *text, size_t room)
{
	struct node_store *s = (struct node_store *)store;

	pthread_mutex_lock(&s->mutex);
	snprintf(text, room, "%s", s->acks);
	pthread_mutex_unlock(&s->mutex);
}

/* ---- opening ---- */

static void node_destroy(struct http_store *store)
{
	struct node_store *s = (struct node_store *)store;

	cluster_file_destroy(&s->file);
	if (!s->ready)
		return;
	version_clock_destroy(&s->versions);
	pthread_mutex_destroy(&s->mutex);
}

static int node_access(struct http_store *store, const struct store_url *url, struct http_access *access,
                       struct error *err)
{
	struct node_store *s = (struct node_store *)store;
	const char *path = store_url_parameter(url, "cluster");
	int rc;

	if (!path || path[0] != '/')
		return error_set(
			err, -EINVAL,
			"give the cluster's file, as 'garner cluster init' wrote it, with its whole path; example: %s",
			EXAMPLE);
	rc = cluster_file_load(path, CLUSTER_GATEWAY_PEM, &s->file, err);
	if (rc)
		return rc;
	if (pthread_mutex_init(&s->mutex, NULL))
		return error_set(err, -ENOMEM, "out of memory");
	version_clock_init(&s->versions);
	s->ready = true;
	s->map = s->file.map;
	node_peers_set(&s->peers, &s->map);
	snprintf(s->pool, sizeof s->pool, "%.*s", OBJECT_POOL_MAX, url->container);
	snprintf(s->hosts, sizeof s->hosts, "%s", url->hosts);
	access->tls = cluster_file_tls(&s->file);
	return 0;
}

static int node_log_in(struct http_store *store, const struct store_url *url, const struct http_access *access,
                       const struct store_options *options, struct error *err)
{
	uint64_t deadline_ms = options->deadline_ms ? options->deadline_ms : HTTP_DEADLINE_MS;

	(void)url;
	(void)access;
	return node_store_find_map((struct node_store *)store, deadline_ms < FIND_MAP_MS ? deadline_ms : FIND_MAP_MS,
	                           err);
}

static const char *const node_parameters[] = { "cluster" };

static const struct http_store_kind node_kind = {
	.size = sizeof(struct node_store),
	.op_size = sizeof(struct node_op),
	.parameters = node_parameters,
	.parameter_count = sizeof node_parameters / sizeof node_parameters[0],
	.capabilities = STORE_CREATE_ONLY | STORE_LIST_CONSISTENT | STORE_READ_LATEST,
	.looks_first = true,
	.sum = HTTP_SUM_BLAKE2BP,
	.judges_all = true,
	.access = node_access,
	.log_in = node_log_in,
	.prepare = node_prepare,
	.judge = node_judge,
	.lost = node_lost,
	.read_listing = node_read_listing,
	.acks = node_acks,
	.destroy = node_destroy,
};

static int node_open(const char *url, const struct store_options *options, struct store **store, struct error *err)
{
	return http_store_open(&node_kind, url, options, store, err);
}

const struct store_type store_node_type = {
	.scheme = "node",
	.open = node_open,
};
