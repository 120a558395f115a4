/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_history.c: the checks of a history. */
#include "lib/cluster_history.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

size_t history_begin(struct history *h, enum history_kind kind, unsigned object, unsigned gateway, uint64_t time)
{
	if (h->count == h->room) {
		h->room = h->room ? 2 * h->room : 1024;
		h->record = realloc(h->record, h->room * sizeof *h->record);
		if (!h->record)
			abort();
	}
	h->record[h->count] = (struct history_record){
		.kind = kind, .object = object, .gateway = gateway, .begin = time, .end = UINT64_MAX
	};
	return h->count++;
}

void history_free(struct history *h)
{
	free(h->record);
}

static const char *kind_name(enum history_kind kind)
{
	static const char *const names[] = { "put", "create", "claim", "remove", "read", "read-any", "list" };

	return names[kind];
}

const char *history_describe(const struct history_record *r, char *text, size_t room)
{
	static const char *const outcomes[] = { "unknown", "done", "exists" };
	int n = snprintf(text, room, "%" PRIu64 "..%" PRId64 " gateway %u %s %u: %s", r->begin,
	                 r->end == UINT64_MAX ? -1 : (int64_t)r->end, r->gateway, kind_name(r->kind), r->object,
	                 outcomes[r->outcome]);

	if (r->outcome != HISTORY_UNKNOWN && n > 0 && (size_t)n < room)
		snprintf(text + n, room - (size_t)n, " %" PRIu64 ".%04" PRIx64 "%s", r->told.counter,
		         r->told.tie & 0xffff, r->kind >= HISTORY_READ && !r->is_live ? " (nothing)" : "");
	return text;
}

/* ---- one object ---- */

struct checker {
	const struct history *all;
	unsigned object;
	char *text;
	size_t room;
	uint64_t *time;
};

static bool is_newer(struct object_version a, struct object_version b)
{
	return object_version_compare(a, b) > 0;
}

static bool is_write(const struct history_record *r)
{
	return r->kind <= HISTORY_REMOVE;
}

static bool concerns(const struct checker *k, const struct history_record *r)
{
	return r->object == k->object;
}

/* What was sent as that version, or NULL. */
static const struct history_record *writer_of(const struct checker *k, struct object_version v, uint64_t *sent)
{
	for (size_t i = 0; i < k->all->count; i++) {
		const struct history_record *r = &k->all->record[i];

		if (!is_write(r) || !concerns(k, r))
			continue;
		for (unsigned t = 0; t < r->try_count; t++) {
			if (object_version_compare(r->tries[t].version, v) == 0) {
				*sent = r->tries[t].time;
				return r;
			}
		}
	}
	return NULL;
}

/* The lowest version above `above` that is a removal (or, !removal, anything live) sent before `time`; none if there is none. */
static struct object_version next_sent(const struct checker *k, struct object_version above, uint64_t time,
                                       bool is_removal)
{
	struct object_version lowest = OBJECT_VERSION_NONE;

	for (size_t i = 0; i < k->all->count; i++) {
		const struct history_record *r = &k->all->record[i];

		if (!is_write(r) || !concerns(k, r) || (r->kind == HISTORY_REMOVE) != is_removal)
			continue;
		for (unsigned t = 0; t < r->try_count; t++)
			if (r->tries[t].time < time && is_newer(r->tries[t].version, above) &&
			    (object_version_is_none(lowest) || is_newer(lowest, r->tries[t].version)))
				lowest = r->tries[t].version;
	}
	return lowest;
}

/* Whether what it was told must be as new as what others were told before. */
static bool is_bound(const struct history_record *r)
{
	if (r->kind == HISTORY_ANY || r->outcome == HISTORY_UNKNOWN)
		return false;
	/* A creation by quorum may be refused by one replica alone. */
	return r->outcome == HISTORY_DONE || r->kind == HISTORY_CLAIM;
}

/* Whether what it was told binds those after it: a listing copies nothing, so it may show what is not there the next time. */
static bool is_binding(const struct history_record *r)
{
	return is_bound(r) && r->kind != HISTORY_LIST;
}

/* The newest version that anybody had been told of by `time`. `told`: as noted for each record, as "nothing" stands for a version. */
static struct object_version bound_at(const struct checker *k, const struct object_version *told, uint64_t time,
                                      const struct history_record **by)
{
	struct object_version bound = OBJECT_VERSION_NONE;

	for (size_t i = 0; i < k->all->count; i++) {
		const struct history_record *r = &k->all->record[i];

		if (concerns(k, r) && is_binding(r) && r->end < time && is_newer(told[i], bound)) {
			bound = told[i];
			*by = r;
		}
	}
	return bound;
}

static bool fail(const struct checker *k, const struct history_record *r, const struct history_record *by,
                 const char *why)
{
	char one[120], two[120] = "";

	history_describe(r, one, sizeof one);
	if (by)
		history_describe(by, two, sizeof two);
	snprintf(k->text, k->room, "%s: %s%s%s", why, one, by ? " | " : "", two);
	*k->time = r->end == UINT64_MAX ? r->begin : r->end;
	return false;
}

/* That which was read must have been written there; and none that was refused for good. */
static bool check_source(const struct checker *k, const struct history_record *r)
{
	uint64_t sent;
	const struct history_record *w = writer_of(k, r->told, &sent);

	if (!w || w->kind == HISTORY_REMOVE || sent > r->end)
		return fail(k, r, w, "an object that nobody ever put");
	if (r->kind != HISTORY_LIST && r->outcome == HISTORY_DONE && r->body != w->body)
		return fail(k, r, w, "other bytes than were put under that version");
	if (w->outcome == HISTORY_EXISTS && w->is_certain)
		return fail(k, r, w, "what was refused is there");
	/* All binding answers before the end of its maker were of that version. */
	if (w->kind != HISTORY_PUT && w->outcome == HISTORY_DONE && object_version_compare(w->told, r->told) != 0)
		return fail(k, r, w, "what was created once came to be twice");
	return true;
}

/* "Nothing" is the lowest removal that it can be; *told. */
static bool check_nothing(const struct checker *k, const struct history_record *r, struct object_version bound,
                          const struct history_record *by, struct object_version *told)
{
	uint64_t sent;
	const struct history_record *w = object_version_is_none(bound) ? NULL : writer_of(k, bound, &sent);

	*told = bound;
	if (!object_version_is_none(r->told) && is_newer(r->told, bound)) {
		*told = r->told;
		return true;
	}
	if (!w || w->kind == HISTORY_REMOVE)
		return true;
	*told = next_sent(k, bound, r->end, true);
	return !object_version_is_none(*told) || fail(k, r, by, "lost: not found, and nobody removed it");
}

static bool check_told(const struct checker *k, const struct history_record *r, struct object_version *told)
{
	const struct history_record *by = NULL;
	struct object_version bound;
	uint64_t begin = r->begin;

	/* A version of a later try is as old as that try. */
	for (unsigned t = 0; is_write(r) && r->outcome == HISTORY_DONE && t < r->try_count; t++)
		if (object_version_compare(r->tries[t].version, *told) == 0)
			begin = r->tries[t].time;
	bound = bound_at(k, told - (r - k->all->record), begin, &by);
	if (is_write(r) && r->outcome == HISTORY_DONE)
		return is_newer(r->told, bound) ||
		       (by && by->kind >= HISTORY_CLAIM && object_version_compare(r->told, bound) == 0) ||
		       fail(k, r, by, "done, though older than what was there before it began");
	if (!is_write(r) && !r->is_live)
		return check_nothing(k, r, bound, by, told);
	if (!check_source(k, r))
		return false;
	return !is_newer(bound, r->told) || fail(k, r, by, "lost: an older version was read");
}

/* No two creations of one name, but with a removal between. */
static bool check_winners(const struct checker *k)
{
	for (size_t i = 0; i < k->all->count; i++) {
		const struct history_record *a = &k->all->record[i];

		if ((a->kind != HISTORY_CLAIM && a->kind != HISTORY_CREATE) || !concerns(k, a) ||
		    a->outcome != HISTORY_DONE)
			continue;
		for (size_t j = 0; j < k->all->count; j++) {
			const struct history_record *b = &k->all->record[j];
			struct object_version between;

			if (i == j || b->kind != a->kind || !concerns(k, b) || b->outcome != HISTORY_DONE ||
			    !is_newer(b->told, a->told))
				continue;
			between = next_sent(k, a->told, UINT64_MAX, true);
			if (object_version_is_none(between) || is_newer(between, b->told))
				return fail(k, b, a, "two winners");
		}
	}
	return true;
}

static int by_end(const void *a, const void *b)
{
	const struct history_record *x = *(const struct history_record *const *)a;
	const struct history_record *y = *(const struct history_record *const *)b;

	return x->end < y->end ? -1 : x->end > y->end;
}

/* In the order of their ends, so that each finds its bound complete. */
static bool check_object(const struct checker *k)
{
	const struct history_record **order = calloc(k->all->count + 1, sizeof *order);
	struct object_version *told = calloc(k->all->count + 1, sizeof *told);
	bool is_good = true;
	size_t count = 0;

	if (!order || !told)
		abort();
	for (size_t i = 0; i < k->all->count; i++) {
		told[i] = k->all->record[i].told;
		if (concerns(k, &k->all->record[i]) && k->all->record[i].outcome != HISTORY_UNKNOWN)
			order[count++] = &k->all->record[i];
	}
	qsort(order, count, sizeof *order, by_end);
	for (size_t i = 0; i < count && is_good; i++) {
		const struct history_record *r = order[i];

		if (r->kind == HISTORY_ANY)
			is_good = !r->is_live || check_source(k, r);
		else if (is_bound(r))
			is_good = check_told(k, r, &told[r - k->all->record]);
	}
	is_good = is_good && check_winners(k);
	free(order);
	free(told);
	return is_good;
}

bool history_check(const struct history *h, unsigned objects, char *text, size_t room, unsigned *object, uint64_t *time)
{
	for (*object = 0; *object < objects; ++*object) {
		struct checker k = { .all = h, .object = *object, .text = text, .room = room, .time = time };

		if (!check_object(&k))
			return false;
	}
	return true;
}
