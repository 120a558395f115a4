/* SPDX-License-Identifier: GPL-3.0-only */
/* serve_list.c: /v1/list: what there is in a pool, out of what every node has; coordinate_list.h says what that is. */
#include "node/coordinate_list.h"
#include "node/node_private.h"
#include "node/object_wire.h"
#include "store/placement.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS_MAX 1000
#define PAGE 1000        /* of each node: more than is asked for, as tombstones are passed over */
#define ROUNDS_MAX 10000 /* pages of nothing but tombstones that are passed over for one request */
#define ANSWER_MAX (1 << 20)

struct node_page {
	unsigned id;
	bool answered;
	struct list_page page;
	struct list_entry *entries;
	char *text; /* that the keys are in */
};

struct listing {
	struct exchange x;
	char pool[OBJECT_POOL_MAX + 1];
	char prefix[OBJECT_NAME_MAX + 1]; /* of names: "POOL/..." */
	char after[OBJECT_NAME_MAX + 1];  /* "" from the first */
	size_t max;
	unsigned rounds;
	struct node_page node[CLUSTER_NODES_MAX];
	size_t nodes, waiting;
};

/* One question to one node. */
struct question {
	struct listing *l;
	struct node_page *to;
	int status;
	bool vote; /* what it says counts. Of this node: did so when it was asked, until it has answered */
	bool more;
	size_t count;
	struct list_entry *entries;
	char *text;
};

static void ask_all(struct listing *l);

/* ---- the end ---- */

static void drop_pages(struct listing *l)
{
	for (size_t i = 0; i < l->nodes; i++) {
		free(l->node[i].entries);
		free(l->node[i].text);
	}
	l->nodes = 0;
}

static void end(struct listing *l)
{
	drop_pages(l);
	exchange_end(&l->x);
	free(l);
}

static void refuse(struct listing *l, const char *why)
{
	if (l->x.request) {
		l->x.node->counters.no_quorum++;
		server_answer_header(l->x.request, WIRE_REASON, "quorum");
		server_answer_text(l->x.request, 503, "%s", why);
		exchange_answered(&l->x);
	}
	end(l);
}

static void answer(struct listing *l, const struct list_entry *entries, size_t count, bool more)
{
	size_t skip = strlen(l->pool) + 1;
	json_t *objects = json_array();
	char version[OBJECT_VERSION_TEXT];

	for (size_t i = 0; i < count; i++) {
		object_version_format(entries[i].meta.version, version);
		json_array_append_new(objects, json_pack("{s:s, s:I, s:s}", "key", entries[i].key + skip, "size",
		                                         (json_int_t)entries[i].meta.length, "version", version));
	}
	if (l->x.request) {
		answer_json(l->x.request, 200, json_pack("{s:o, s:b}", "objects", objects, "more", more));
		exchange_answered(&l->x);
	} else {
		json_decref(objects);
	}
	end(l);
}

/* ---- all have answered ---- */

static void merge(struct listing *l)
{
	struct list_entry *out = calloc(l->max, sizeof *out);
	struct list_page pages[CLUSTER_NODES_MAX];
	unsigned answered[CLUSTER_NODES_MAX];
	struct list_result result;
	size_t count = 0;

	for (size_t i = 0; i < l->nodes; i++) {
		if (!l->node[i].answered)
			continue;
		pages[count] = l->node[i].page;
		answered[count++] = l->node[i].id;
	}
	if (!out || !l->x.request || !coordinate_list_enough(&l->x.map->map, l->pool, answered, count)) {
		free(out);
		refuse(l, "too few of the nodes have answered for a listing that is complete");
		return;
	}
	result = coordinate_list_merge(pages, count, out, l->max);
	if (result.is_out_of_order ||
	    (!result.count && result.has_more && (!result.last || ++l->rounds > ROUNDS_MAX))) {
		refuse(l, "the nodes' listings make no sense");
	} else if (!result.count && result.has_more) {
		snprintf(l->after, sizeof l->after, "%s", result.last);
		drop_pages(l);
		ask_all(l);
	} else {
		answer(l, out, result.count, result.has_more);
	}
	free(out);
}

static void answered(struct question *q)
{
	struct listing *l = q->l;
	struct node_page *p = q->to;

	p->entries = q->entries;
	p->text = q->text;
	p->answered = !q->status && q->vote;
	p->page = (struct list_page){ .entry = q->entries, .count = q->count, .has_more = q->more };
	free(q);
	if (--l->waiting == 0)
		merge(l);
}

/* What a node has that is, by the map, others' proves nothing: they may have removed it since. It counts as a tombstone that is older than
 * anything, so that the page keeps its place. */
static void pass_over_strays(struct question *q)
{
	struct placement place;

	for (size_t i = 0; i < q->count; i++) {
		placement_of(&q->l->x.map->map, q->entries[i].key, &place);
		if (!placement_has(&place, q->to->id))
			q->entries[i].meta = (struct object_meta){ .flags = OBJECT_TOMBSTONE };
	}
}

/* ---- this node's page ---- */

static void listed_here(void *question)
{
	answered(question);
}

static void listed(void *arg, int status, const struct object_entry *entries, size_t count, bool more)
{
	struct question *q = arg;
	size_t room = 0, used = 0;

	for (size_t i = 0; i < count; i++)
		room += strlen(entries[i].name) + 1;
	q->status = status;
	q->vote = q->vote && node_votes(q->l->x.node);
	q->more = more;
	q->text = malloc(room + 1);
	q->entries = calloc(count + 1, sizeof *q->entries);
	if (!q->text || !q->entries)
		q->status = -ENOMEM;
	for (size_t i = 0; !q->status && i < count; i++) {
		size_t n = strlen(entries[i].name) + 1;
		memcpy(q->text + used, entries[i].name, n);
		q->entries[i] = (struct list_entry){ .key = q->text + used, .meta = entries[i].meta };
		used += n;
		q->count++;
	}
	pass_over_strays(q);
	while (loop_post(q->l->x.node->loop, listed_here, q))
		;
}

/* ---- another node's page ---- */

/* "NAME VERSION LENGTH DIGEST FLAGS" a line, all of it in `q->text`. */
static int parse_lines(struct question *q)
{
	char *rest = q->text, *line;
	size_t lines = 0;

	for (const char *c = q->text; *c; c++)
		lines += *c == '\n';
	q->entries = calloc(lines + 1, sizeof *q->entries);
	if (!q->entries)
		return -ENOMEM;
	while ((line = strsep(&rest, "\n")) && line[0]) {
		struct list_entry *e = &q->entries[q->count];
		char *space = strchr(line, ' ');
		if (!space || q->count == lines)
			return -EPROTO;
		*space = '\0';
		if (!object_name_valid(line) || wire_meta_parse(space + 1, &e->meta) ||
		    strncmp(line, q->l->prefix, strlen(q->l->prefix)) != 0)
			return -EPROTO;
		e->key = line;
		q->count++;
	}
	return 0;
}

static void peer_listed(void *arg, int rc, const struct peer_answer *a, const struct error *err)
{
	struct question *q = arg;
	const char *more, *vote;
	size_t length;

	(void)err;
	q->status = rc ? rc : a->status == 200 ? 0 : -EIO;
	if (!rc)
		map_keeper_seen(q->l->x.node->maps, wire_map_version(a->head));
	if (!q->status) {
		more = message_header(a->head, "X-Garner-More");
		vote = message_header(a->head, WIRE_VOTE);
		q->more = more && more[0] == '1';
		q->vote = vote && vote[0] == '1';
		length = evbuffer_get_length(a->body);
		q->text = malloc(length + 1);
		if (q->text) {
			evbuffer_remove(a->body, q->text, length);
			q->text[length] = '\0';
		}
		q->status = q->text ? parse_lines(q) : -ENOMEM;
		pass_over_strays(q);
	}
	answered(q);
}

static int ask_peer(struct question *q)
{
	struct listing *l = q->l;
	struct neighbour *p = node_neighbour(l->x.node, q->to->id);
	char target[2 * OBJECT_NAME_MAX + 128], map[24];
	struct node_header header = { WIRE_MAP, map };
	struct error err = { 0 };

	if (!p)
		return -EHOSTDOWN;
	snprintf(map, sizeof map, "%" PRIu64, l->x.map->map.version);
	snprintf(target, sizeof target, "/v1/replica-list?prefix=%s&max=%d%s%s", l->prefix, PAGE,
	         l->after[0] ? "&after=" : "", l->after);
	return peer_request(p->peer,
	                    &(struct peer_call){ .method = "GET",
	                                         .target = target,
	                                         .headers = &header,
	                                         .headers_count = 1,
	                                         .answer_max = ANSWER_MAX,
	                                         .done = peer_listed,
	                                         .arg = q },
	                    NULL, &err);
}

/* ---- asking ---- */

static void ask_all(struct listing *l)
{
	const struct cluster_map *map = &l->x.map->map;

	l->nodes = map->node_count;
	l->waiting = l->nodes + 1; /* so that none of the answers is the last before all were asked */
	memset(l->node, 0, sizeof l->node);
	for (size_t i = 0; i < l->nodes; i++) {
		struct question *q = calloc(1, sizeof *q);

		l->node[i].id = map->node[i].id;
		if (!q) {
			l->waiting--;
			continue;
		}
		q->l = l;
		q->to = &l->node[i];
		if (q->to->id == l->x.node->self) {
			q->vote = node_votes(l->x.node);
			object_store_list(l->x.node->objects, l->prefix, l->after[0] ? l->after : NULL, PAGE, listed,
			                  q);
		} else if (ask_peer(q)) {
			q->status = -EHOSTDOWN;
			answered(q);
		}
	}
	if (--l->waiting == 0)
		merge(l);
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

static const struct exchange_ops listing_ops = { no_body, nothing, nothing };

void object_serve_list(struct node *n, struct server_request *r, const char *pool)
{
	const struct message_head *head = server_request_head(r);
	const char *prefix = message_parameter(head, "prefix"), *after = message_parameter(head, "after");
	const char *max = message_parameter(head, "max");
	uint64_t count = KEYS_MAX;
	struct listing *l;

	if ((max && (message_number(max, KEYS_MAX, &count) || !count)) ||
	    (prefix && strlen(prefix) > OBJECT_NAME_MAX - OBJECT_POOL_MAX - 1) ||
	    (after && strlen(after) > OBJECT_NAME_MAX - OBJECT_POOL_MAX - 1)) {
		server_answer_text(r, 400, "prefix, after or max makes no sense");
		return;
	}
	l = calloc(1, sizeof *l);
	if (!l) {
		server_answer_text(r, 503, "out of memory");
		return;
	}
	exchange_begin(&l->x, &listing_ops, n, r);
	n->counters.lists++;
	l->max = (size_t)count;
	snprintf(l->pool, sizeof l->pool, "%s", pool);
	snprintf(l->prefix, sizeof l->prefix, "%s/%s", pool, prefix ? prefix : "");
	if (after && after[0])
		snprintf(l->after, sizeof l->after, "%s/%s", pool, after);
	ask_all(l);
}
