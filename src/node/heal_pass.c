/* SPDX-License-Identifier: GPL-3.0-only */
/* heal_pass.c: compares with each of the other nodes: digests of buckets, then the lists of those that differ, then what is missing.
 *
 * Only what both hold by the map is compared. A pass is complete when every other node was asked; a node that is leaving may be away,
 * as long as enough others hold what it held (a write quorum less one may be missing). Who had lost something when it was asked is asked
 * once more when all others were: it may have got that again, and then another may have lost it that was asked later. So is who has a
 * damaged copy of what a node without a vote lacks: that node may have been one of those that took it, and is not whole while nobody can give
 * it that version, or a newer one.
 */
#include "node/heal_private.h"
#include "node/object_wire.h"
#include "node/replica_client.h"
#include "store/placement.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PULLS_MAX 4 /* at a time */
#define PAGE 500    /* entries of a bucket's list */
#define ANSWER_MAX (8 << 20)
#define COMPARE_STALL_MS 60000 /* the other node reads its whole index */

struct entry {
	char name[OBJECT_NAME_MAX + 1];
	struct object_meta meta;
};

struct heal_pass {
	struct node *node;
	struct map_ref *map;
	heal_pass_fn *done;
	void *arg;
	struct heal_pass_result result;
	bool stopping;
	size_t at;                     /* which node of the map comes next */
	bool again[CLUSTER_NODES_MAX]; /* by place in the map: to be asked twice ... */
	bool second;                   /* ... as is done now */
	unsigned other;                /* its id */
	unsigned away;                 /* leaving nodes that were not there */
	struct object_bucket ours[OBJECT_BUCKETS], theirs[OBJECT_BUCKETS];
	int status;         /* of what came from a thread of the store */
	unsigned bucket;    /* being compared */
	struct entry *page; /* of the other's list */
	size_t count, next; /* of the page, and the next to be looked at */
	bool more;
	char last[OBJECT_NAME_MAX + 1];
	unsigned under_way; /* entries that are looked at or pulled */
	struct loop_timer pace;
};

/* One entry of the page, while it is looked at. */
struct looked_at {
	struct heal_pass *pass;
	struct entry entry;
};

static void next_node(struct heal_pass *p);
static void next_bucket(struct heal_pass *p);
static void more_entries(void *pass);

/* ---- the end ---- */

static void finish(struct heal_pass *p)
{
	struct node *n = p->node;

	loop_timer_cancel(&p->pace);
	p->result.complete = !p->result.why[0];
	p->done(p->arg, &p->result);
	map_ref_put(p->map);
	free(p->page);
	free(p);
	node_done(n);
}

static void fault(struct heal_pass *p, const char *what, const char *why)
{
	if (!p->result.why[0])
		snprintf(p->result.why, sizeof p->result.why, "node %u: %s%s%s", p->other, what, why ? ": " : "",
		         why ? why : "");
}

/* ---- entries ---- */

/* During a pause nothing goes on but by its end: else that would find the pass somewhere else. */
static void entry_done(struct looked_at *l)
{
	struct heal_pass *p = l->pass;

	free(l);
	p->under_way--;
	if (!loop_timer_is_set(&p->pace))
		more_entries(p);
}

static void pulled(void *arg, int status)
{
	struct looked_at *l = arg;
	struct heal_pass *p = l->pass;
	uint64_t rate = p->node->options->heal_rate, wait_ms = 0;

	if (!status) {
		p->result.pulled++;
		wait_ms = rate ? l->entry.meta.length * 1000 / rate : 0;
	} else if (status != -ENOENT && status != -ESTALE) {
		p->result.failed++;
		fault(p, l->entry.name, strerror(-status));
	}
	if (wait_ms && !loop_timer_is_set(&p->pace))
		loop_timer_set(&p->pace, wait_ms);
	entry_done(l);
}

static bool is_missing(const struct object_meta *ours, const struct object_meta *theirs)
{
	int order = object_version_compare(ours->version, theirs->version);

	if (order)
		return order < 0;
	return ours->flags & OBJECT_DAMAGED || (theirs->flags & ~ours->flags & OBJECT_CLAIMED);
}

/* It is damaged there. One whose answers count has what it took, and the copy is nobody's gain. */
static void looked_for_damaged(void *arg, unsigned id, const struct replica_answer *a)
{
	struct looked_at *l = arg;
	struct heal_pass *p = l->pass;
	bool lacks = a->status == -ENOENT ||
	             (!a->status && object_version_compare(a->meta.version, l->entry.meta.version) < 0);

	(void)id;
	if (a->status && a->status != -ENOENT)
		fault(p, l->entry.name, a->why);
	else if (lacks && !p->second)
		p->again[p->at - 1] = true; /* those that are asked meanwhile may have it */
	else if (lacks)
		fault(p, l->entry.name, "its copy is damaged, and no other node has given a good one");
	entry_done(l);
}

static void looked(void *arg, unsigned id, const struct replica_answer *a)
{
	struct looked_at *l = arg;
	struct heal_pass *p = l->pass;

	(void)id;
	if (!p->stopping && (a->status == -ENOENT || (!a->status && is_missing(&a->meta, &l->entry.meta)))) {
		p->result.missing++;
		heal_pull(p->node, p->other, p->map, l->entry.name, &l->entry.meta, pulled, l);
		return;
	}
	if (a->status && a->status != -ENOENT)
		fault(p, l->entry.name, a->why);
	entry_done(l);
}

static void list_bucket(struct heal_pass *p);

static void more_entries(void *pass)
{
	struct heal_pass *p = pass;

	while (!p->stopping && p->next < p->count && p->under_way < PULLS_MAX) {
		struct looked_at *l = malloc(sizeof *l);
		if (!l) {
			fault(p, "out of memory", NULL);
			break;
		}
		l->pass = p;
		l->entry = p->page[p->next++];
		p->under_way++;
		bool damaged = l->entry.meta.flags & OBJECT_DAMAGED;
		if (damaged && node_votes(p->node)) {
			p->under_way--;
			free(l);
			continue;
		}
		replica_look(p->node, p->node->self, p->map, l->entry.name, damaged ? looked_for_damaged : looked, l);
	}
	if (p->under_way)
		return;
	if (p->stopping || p->next < p->count)
		next_node(p);
	else if (p->more)
		list_bucket(p);
	else
		next_bucket(p);
}

/* ---- lists of buckets ---- */

/* "NAME VERSION LENGTH DIGEST FLAGS" */
static int parse_entry(char *line, struct entry *e)
{
	char *space = strchr(line, ' ');

	if (!space)
		return -EINVAL;
	*space = '\0';
	if (!object_name_valid(line) || wire_meta_parse(space + 1, &e->meta))
		return -EINVAL;
	snprintf(e->name, sizeof e->name, "%s", line);
	return 0;
}

static int parse_page(struct heal_pass *p, const struct peer_answer *a)
{
	const char *more = message_header(a->head, "X-Garner-More");
	char *line;
	int rc = 0;

	p->count = p->next = 0;
	while (!rc && (line = evbuffer_readln(a->body, NULL, EVBUFFER_EOL_LF))) {
		rc = p->count == PAGE ? -EINVAL : parse_entry(line, &p->page[p->count]);
		p->count += !rc;
		free(line);
	}
	p->more = more && more[0] == '1' && p->count;
	if (p->count)
		snprintf(p->last, sizeof p->last, "%s", p->page[p->count - 1].name);
	return rc;
}

static bool taken(struct heal_pass *p, int rc, const struct peer_answer *a, const struct error *err)
{
	if (rc) {
		fault(p, "it does not answer", error_text(err));
	} else if (a->status != 200) {
		map_keeper_seen(p->node->maps, wire_map_version(a->head));
		fault(p, a->status == 409 || a->status == 503 ? "it goes by another map" : "it cannot be compared with",
		      NULL);
	}
	return !rc && a->status == 200;
}

/* Whether it lacks something that it is to hold. */
static void note_vote(struct heal_pass *p, const struct peer_answer *a)
{
	const char *vote = message_header(a->head, WIRE_VOTE);

	if (!vote || vote[0] != '1')
		p->again[p->at - 1] = true;
}

static void listed(void *arg, int rc, const struct peer_answer *a, const struct error *err)
{
	struct heal_pass *p = arg;

	if (!taken(p, rc, a, err)) {
		next_node(p);
	} else if (parse_page(p, a)) {
		fault(p, "its list makes no sense", NULL);
		next_node(p);
	} else {
		note_vote(p, a);
		more_entries(p);
	}
}

static void ask(struct heal_pass *p, const char *target,
                void (*done)(void *arg, int rc, const struct peer_answer *answer, const struct error *err))
{
	struct neighbour *peer = node_neighbour(p->node, p->other);
	char map[24];
	struct node_header header = { WIRE_MAP, map };
	struct error err = { 0 };
	int rc = -EHOSTDOWN;

	snprintf(map, sizeof map, "%" PRIu64, p->map->map.version);
	if (peer)
		rc = peer_request(peer->peer,
		                  &(struct peer_call){ .method = "GET",
		                                       .target = target,
		                                       .headers = &header,
		                                       .headers_count = 1,
		                                       .answer_max = ANSWER_MAX,
		                                       .stall_ms = COMPARE_STALL_MS,
		                                       .done = done,
		                                       .arg = p },
		                  NULL, &err);
	if (rc) {
		fault(p, "it is away", NULL);
		next_node(p);
	}
}

static void list_bucket(struct heal_pass *p)
{
	char target[OBJECT_NAME_MAX + 128];

	snprintf(target, sizeof target, "/v1/bucket?node=%u&bucket=%u&max=%d%s%s", p->node->self, p->bucket, PAGE,
	         p->last[0] ? "&after=" : "", p->last);
	ask(p, target, listed);
}

static void next_bucket(struct heal_pass *p)
{
	while (++p->bucket < OBJECT_BUCKETS) {
		if (memcmp(p->ours[p->bucket].digest, p->theirs[p->bucket].digest, sizeof p->ours[0].digest) == 0)
			continue;
		p->last[0] = '\0';
		list_bucket(p);
		return;
	}
	next_node(p);
}

/* ---- digests ---- */

static int parse_bucket(const char *line, struct object_bucket *b)
{
	size_t n = strspn(line, "0123456789abcdef");

	if (n != 2 * sizeof b->digest || line[n] != ' ' || message_number(line + n + 1, UINT64_MAX, &b->count))
		return -EINVAL;
	for (size_t i = 0; i < sizeof b->digest; i++) {
		unsigned byte;
		sscanf(line + 2 * i, "%2x", &byte);
		b->digest[i] = (uint8_t)byte;
	}
	return 0;
}

static void digested(void *arg, int rc, const struct peer_answer *a, const struct error *err)
{
	struct heal_pass *p = arg;
	struct object_version floor;
	unsigned count = 0;
	bool good = true;
	const char *text;
	char *line;

	if (!taken(p, rc, a, err)) {
		next_node(p);
		return;
	}
	note_vote(p, a);
	text = message_header(a->head, WIRE_FLOOR);
	if (text && object_version_parse(text, &floor) == 0 && object_version_compare(floor, p->result.floor) > 0)
		p->result.floor = floor;
	while (good && (line = evbuffer_readln(a->body, NULL, EVBUFFER_EOL_LF))) {
		good = count < OBJECT_BUCKETS && parse_bucket(line, &p->theirs[count++]) == 0;
		free(line);
	}
	if (!good || count != OBJECT_BUCKETS) {
		fault(p, "its digests make no sense", NULL);
		next_node(p);
		return;
	}
	p->bucket = UINT32_MAX;
	next_bucket(p);
}

static bool both_hold(void *arg, const char *name)
{
	const struct heal_pass *p = arg;
	struct placement place;

	placement_of(&p->map->map, name, &place);
	return placement_has(&place, p->node->self) && placement_has(&place, p->other);
}

static void summed_here(void *arg)
{
	struct heal_pass *p = arg;
	char target[64];

	if (p->status) {
		fault(p, "the index here", strerror(-p->status));
		finish(p);
		return;
	}
	snprintf(target, sizeof target, "/v1/digests?node=%u", p->node->self);
	ask(p, target, digested);
}

static void summed(void *arg, int status, const struct object_bucket buckets[OBJECT_BUCKETS])
{
	struct heal_pass *p = arg;

	p->status = status;
	if (!status)
		memcpy(p->ours, buckets, sizeof p->ours);
	while (loop_post(p->node->loop, summed_here, p))
		;
}

/* ---- nodes ---- */

/* The smallest write quorum of any pool. */
static unsigned least_quorum(const struct cluster_map *map)
{
	unsigned least = map->quorum;

	for (size_t i = 0; i < map->pool_count; i++)
		if (map->pool[i].quorum < least)
			least = map->pool[i].quorum;
	return least;
}

static bool may_be_passed_over(struct heal_pass *p, const struct cluster_node *c)
{
	const struct neighbour *peer = node_neighbour(p->node, c->id);

	if (c->state != NODE_LEAVING || (peer && peer_state(peer->peer) == PEER_UP))
		return false;
	return ++p->away < least_quorum(&p->map->map);
}

/* Goes on to the next node that is to be asked in this round. */
static bool find_node(struct heal_pass *p)
{
	const struct cluster_map *map = &p->map->map;

	for (; p->at < map->node_count; p->at++) {
		const struct cluster_node *c = &map->node[p->at];
		if (c->id != p->node->self && (!p->second || p->again[p->at]) && !may_be_passed_over(p, c))
			return true;
	}
	return false;
}

static void next_node(struct heal_pass *p)
{
	bool found = !p->stopping && find_node(p);

	if (!found && !p->stopping && !p->second) {
		p->second = true;
		p->at = 0;
		found = find_node(p);
	}
	if (found) {
		p->other = p->map->map.node[p->at++].id;
		object_store_buckets(p->node->objects, both_hold, p, summed, p);
		return;
	}
	if (p->stopping)
		fault(p, "stopped", NULL);
	finish(p);
}

/* On the loop, so that nothing is answered within the call that began it. */
static void begin(void *arg)
{
	next_node(arg);
}

struct heal_pass *heal_pass_begin(struct node *n, heal_pass_fn *done, void *arg)
{
	struct heal_pass *p = calloc(1, sizeof *p);

	if (!p || !(p->page = calloc(PAGE, sizeof *p->page))) {
		free(p);
		return NULL;
	}
	p->node = n;
	p->map = map_keeper_get(n->maps);
	p->done = done;
	p->arg = arg;
	p->result.map = p->map->map.version;
	p->result.all_by_map = map_keeper_drained(n->maps) == p->result.map;
	for (size_t i = 0; i < CLUSTER_NODES_MAX; i++) {
		const struct neighbour *peer = &n->neighbours[i];
		const struct cluster_node *c = peer->id ? cluster_map_node(&p->map->map, peer->id) : NULL;
		if (!c || (c->state == NODE_LEAVING && peer_state(peer->peer) != PEER_UP))
			continue;
		if (peer->map < p->result.map)
			p->result.all_by_map = false;
	}
	object_store_state(n->objects, &p->result.loss);
	loop_timer_init(&p->pace, n->loop, more_entries, p);
	node_begin(n);
	while (loop_post(n->loop, begin, p))
		;
	return p;
}

void heal_pass_stop(struct heal_pass *p)
{
	p->stopping = true;
	if (loop_timer_is_set(&p->pace))
		loop_timer_set(&p->pace, 0);
}
