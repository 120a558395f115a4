/* SPDX-License-Identifier: GPL-3.0-only */
/* verify_lost.c: entries that nobody can reach: those below a directory that has no entry any more.
 *
 * A listing takes a while, and a directory that is made or renamed meanwhile may be missed under both names. So what is found is read once
 * more: lost is what was so both times, with all directories that were met at any of them.
 */
#include "image/verify_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 256

void verify_lost_destroy(struct verify_lost *lost)
{
	free(lost->list);
	*lost = (struct verify_lost){ 0 };
}

/* Those that count, by id: of two for one id reading takes the other away. */
static int collect(const struct listed_entries *entries, struct hash *by_id)
{
	int rc = 0;

	for (size_t k = 0; k < entries->count && !rc; k++) {
		struct listed_entry *e = &entries->list[k];
		const struct listed_entry *other;

		if (e->rc)
			continue;
		other = hash_get(by_id, e->entry.id);
		if (!other || entry_counts_over(&e->entry, &e->place, &other->entry, &other->place))
			rc = hash_put(by_id, e->entry.id, e);
	}
	return rc;
}

/* Whether going up from the directory one comes to the root. `older`: what an earlier listing had, or NULL. */
static bool is_reachable(uint64_t dir, const struct hash *by_id, const struct hash *older)
{
	for (unsigned depth = 0; dir != NODE_ROOT; depth++) {
		const struct listed_entry *e = hash_get(by_id, dir);

		if (!e && older)
			e = hash_get(older, dir);
		if (!e || e->entry.type != NODE_DIRECTORY || depth == DEPTH_MAX)
			return false;
		dir = e->place.dir;
	}
	return true;
}

static int add(struct verify_lost *lost, const struct listed_entry *e)
{
	struct catalog_entry *more = reallocarray(lost->list, lost->count + 1, sizeof *more);

	if (!more)
		return -ENOMEM;
	lost->list = more;
	lost->list[lost->count] = e->entry;
	lost->list[lost->count++].parent = e->place.dir;
	return 0;
}

/* Of those that count. `before`: what was lost by an earlier listing, and has to be so again; or NULL. */
static int find(const struct hash *by_id, const struct hash *older, const struct hash *before, struct verify_lost *lost)
{
	const struct listed_entry *e;
	size_t cursor = 0;
	uint64_t id;
	int rc = 0;

	while (!rc && (e = hash_next(by_id, &cursor, &id)))
		if (!is_reachable(e->place.dir, by_id, older) && (!before || hash_get(before, id)))
			rc = add(lost, e);
	return rc;
}

static int find_again(struct catalog *c, const struct hash *older, struct verify_lost *lost, struct error *err)
{
	struct hash *by_id = hash_new(), *before = hash_new();
	struct listed_entries entries = { 0 };
	int rc = by_id && before ? 0 : -ENOMEM;

	for (size_t k = 0; k < lost->count && !rc; k++)
		rc = hash_put(before, lost->list[k].id, lost);
	lost->count = 0;
	if (!rc)
		rc = catalog_load(c, "names/", &entries, err);
	if (!rc)
		rc = collect(&entries, by_id);
	if (!rc)
		rc = find(by_id, older, before, lost);
	listed_entries_destroy(&entries);
	hash_free(before);
	hash_free(by_id);
	return rc;
}

static int by_place(const void *a, const void *b)
{
	const struct catalog_entry *x = a, *y = b;

	if (x->parent != y->parent)
		return x->parent < y->parent ? -1 : 1;
	return strcmp(x->name, y->name);
}

int verify_find_lost(struct catalog *c, const struct listed_entries *entries, struct verify_lost *lost,
                     struct error *err)
{
	struct hash *by_id = hash_new();
	int rc = by_id ? collect(entries, by_id) : -ENOMEM;

	if (!rc)
		rc = find(by_id, NULL, NULL, lost);
	if (!rc && lost->count)
		rc = find_again(c, by_id, lost, err);
	if (!rc && lost->count)
		qsort(lost->list, lost->count, sizeof *lost->list, by_place);
	hash_free(by_id);
	return rc;
}
