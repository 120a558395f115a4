/* SPDX-License-Identifier: GPL-3.0-only */
/* heal_sweep.c: what need not be kept here any more: objects that are other nodes' by the map, and tombstones that have done their work.
 *
 * Nothing is forgotten that is not proven. An object of other nodes goes when each of those that are to hold it says that it has
 * this version or a newer one; or when each of them has nothing, and a floor that shows that it may have been removed and forgotten. A tombstone goes when each of the replicas has had it for long, or has dropped it before, as its floor
 * shows: then there is no older copy anywhere, nor under way, that it would have to keep down. A node that does not answer, or does
 * not vote, proves nothing; and while the map is moving, nothing is proven.
 */
#include "node/heal_private.h"
#include "node/replica_client.h"
#include "store/placement.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 200

struct sweep {
	struct node *node;
	struct map_ref *map;
	heal_done_fn *done;
	void *arg;
	struct object_entry *page;
	size_t count, at;
	bool more;
	int status;
	char last[OBJECT_NAME_MAX + 1];
	/* of the entry that is being looked at: */
	struct placement place;
	bool is_held, proven;             /* held: by the map this node's, too; it is an old tombstone then */
	unsigned waiting, have, have_not; /* of the others: how many have it, or had it */
	uint64_t left;                    /* others' objects that could not be forgotten */
};

static void list_more(struct sweep *s);
static void next_entry(struct sweep *s);

static void end(struct sweep *s)
{
	struct node *n = s->node;

	s->done(s->arg, s->status ? s->status : s->left ? -EAGAIN : 0);
	map_ref_put(s->map);
	free(s->page);
	free(s);
	node_done(n);
}

/* ---- forgetting ---- */

static void forgotten_here(void *arg)
{
	next_entry(arg);
}

static void forgotten(void *arg, int status)
{
	struct sweep *s = arg;

	(void)status; /* the next sweep finds it again */
	while (loop_post(s->node->loop, forgotten_here, s))
		;
}

static void released(void *arg, int status, const struct error *err)
{
	struct sweep *s = arg;
	const struct object_entry *e = &s->page[s->at - 1];

	(void)err;
	if (status)
		forgotten(s, status);
	else
		object_store_forget(s->node->objects, e->name, e->meta.version, forgotten, s);
}

static void forget(struct sweep *s)
{
	const struct object_entry *e = &s->page[s->at - 1];

	if (s->is_held && e->meta.flags & OBJECT_CLAIMED)
		agreement_release(s->node->agreement, e->name, e->meta.version, released, s);
	else
		object_store_forget(s->node->objects, e->name, e->meta.version, forgotten, s);
}

/* ---- proving ---- */

static void looked(void *arg, unsigned id, const struct replica_answer *a)
{
	struct sweep *s = arg;
	const struct object_entry *e = &s->page[s->at - 1];
	int order = a->had ? object_version_compare(a->meta.version, e->meta.version) : -1;

	(void)id;
	if (!a->vote)
		s->proven = false;
	else if (s->is_held && a->status == -ENOENT)
		s->proven &= object_version_compare(a->floor, e->meta.version) >= 0;
	else if (s->is_held)
		s->proven &= a->had && order == 0 && a->age_s >= s->node->options->tombstone_ms / 1000;
	else if (a->had && order >= 0 && !(a->meta.flags & OBJECT_DAMAGED))
		s->have++;
	else if (a->status == -ENOENT && object_version_compare(a->floor, e->meta.version) >= 0)
		s->have_not++;
	else
		s->proven = false;
	if (--s->waiting)
		return;
	if (s->have && s->have_not)
		s->proven = false;
	if (s->proven) {
		forget(s);
		return;
	}
	s->left += !s->is_held;
	next_entry(s);
}

/* Whether it may be gone, if the others say so. */
static bool is_candidate(struct sweep *s, const struct object_entry *e)
{
	uint64_t now_s = clock_wall_ns() / 1000000000u, keep_s = s->node->options->tombstone_ms / 1000;

	placement_of(&s->map->map, e->name, &s->place);
	s->is_held = placement_has(&s->place, s->node->self);
	if (!s->is_held)
		return true;
	return e->meta.flags & OBJECT_TOMBSTONE && !cluster_map_moving(&s->map->map) && e->stored_s + keep_s < now_s;
}

static void next_entry(struct sweep *s)
{
	if (s->node->stopping || s->map->map.version != map_keeper_version(s->node->maps)) {
		s->status = -ECANCELED;
		end(s);
		return;
	}
	while (s->at < s->count) {
		const struct object_entry *e = &s->page[s->at++];
		if (!is_candidate(s, e))
			continue;
		s->proven = true;
		s->waiting = s->have = s->have_not = 0;
		for (size_t i = 0; i < s->place.count; i++)
			s->waiting += s->place.node[i] != s->node->self;
		if (!s->waiting) {
			forget(s);
			return;
		}
		for (size_t i = 0; i < s->place.count; i++)
			if (s->place.node[i] != s->node->self)
				replica_look_age(s->node, s->place.node[i], s->map, e->name, looked, s);
		return;
	}
	if (s->more)
		list_more(s);
	else
		end(s);
}

/* ---- listing ---- */

static void listed_here(void *arg)
{
	struct sweep *s = arg;

	if (s->status)
		end(s);
	else
		next_entry(s);
}

static void listed(void *arg, int status, const struct object_entry *entries, size_t count, bool more)
{
	struct sweep *s = arg;

	s->status = status;
	s->count = status ? 0 : count;
	s->at = 0;
	s->more = more && count;
	if (s->count) {
		memcpy(s->page, entries, count * sizeof *entries);
		snprintf(s->last, sizeof s->last, "%s", entries[count - 1].name);
	}
	while (loop_post(s->node->loop, listed_here, s))
		;
}

static void list_more(struct sweep *s)
{
	object_store_list(s->node->objects, "", s->last[0] ? s->last : NULL, PAGE, listed, s);
}

void heal_sweep(struct node *n, heal_done_fn *done, void *arg)
{
	struct sweep *s = calloc(1, sizeof *s);

	if (!s || !(s->page = calloc(PAGE, sizeof *s->page))) {
		free(s);
		done(arg, -ENOMEM);
		return;
	}
	s->node = n;
	s->map = map_keeper_get(n->maps);
	s->done = done;
	s->arg = arg;
	node_begin(n);
	list_more(s);
}
