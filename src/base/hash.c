/* SPDX-License-Identifier: GPL-3.0-only */
/* hash.c: a table from 64-bit keys to pointers.
 *
 * Open addressing with linear probing in a power of two of slots, at most three quarters full. Removing closes the gap by
 * moving later pairs of the run back, so there are no tombstones and a table does not age. Pairs only ever move backwards
 * and never over an empty slot; visiting therefore starts before an empty slot (`gap`) and goes backwards, so that a pair
 * moved by the removal of the one just returned has always been visited already.
 */
#include "base/hash.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define SLOTS_MIN 16

struct slot {
	uint64_t key;
	void *value; /* NULL: empty */
};

struct hash {
	struct slot *slots;
	size_t mask; /* number of slots - 1 */
	size_t count;
	size_t gap; /* an empty slot */
};

/* Every bit of the key moves about half of the bits of the result (the finisher of splitmix64). */
static uint64_t mix(uint64_t key)
{
	key = (key ^ key >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	key = (key ^ key >> 27) * UINT64_C(0x94d049bb133111eb);
	return key ^ key >> 31;
}

/* The slot that holds `key`, or the empty one where it would go. */
static size_t find(const struct hash *h, uint64_t key)
{
	size_t i = (size_t)mix(key) & h->mask;

	while (h->slots[i].value && h->slots[i].key != key)
		i = (i + 1) & h->mask;
	return i;
}

struct hash *hash_new(void)
{
	struct hash *h = calloc(1, sizeof *h);

	if (!h)
		return NULL;
	h->slots = calloc(SLOTS_MIN, sizeof *h->slots);
	if (!h->slots) {
		free(h);
		return NULL;
	}
	h->mask = SLOTS_MIN - 1;
	return h;
}

void hash_free(struct hash *h)
{
	if (!h)
		return;
	free(h->slots);
	free(h);
}

void *hash_get(const struct hash *h, uint64_t key)
{
	return h->slots[find(h, key)].value;
}

/* Fills slot `i`, known to be empty. */
static void fill(struct hash *h, size_t i, uint64_t key, void *value)
{
	h->slots[i] = (struct slot){ .key = key, .value = value };
	h->count++;
	while (h->slots[h->gap].value)
		h->gap = (h->gap + 1) & h->mask;
}

static int grow(struct hash *h)
{
	struct hash bigger = { .mask = h->mask * 2 + 1 };

	bigger.slots = calloc(bigger.mask + 1, sizeof *bigger.slots);
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; i <= h->mask; i++)
		if (h->slots[i].value)
			fill(&bigger, find(&bigger, h->slots[i].key), h->slots[i].key, h->slots[i].value);
	free(h->slots);
	*h = bigger;
	return 0;
}

int hash_put(struct hash *h, uint64_t key, void *value)
{
	size_t i = find(h, key);

	assert(value);
	if (h->slots[i].value) {
		h->slots[i].value = value;
		return 0;
	}
	if (h->count >= (h->mask + 1) / 4 * 3) {
		int rc = grow(h);
		if (rc < 0)
			return rc;
		i = find(h, key);
	}
	fill(h, i, key, value);
	return 0;
}

void *hash_remove(struct hash *h, uint64_t key)
{
	size_t hole = find(h, key);
	void *value = h->slots[hole].value;

	if (!value)
		return NULL;
	for (size_t i = (hole + 1) & h->mask; h->slots[i].value; i = (i + 1) & h->mask) {
		size_t home = (size_t)mix(h->slots[i].key) & h->mask;
		/* It may move into the hole if its search, which begins at home, passes the hole on the way to i. */
		if (((i - home) & h->mask) >= ((i - hole) & h->mask)) {
			h->slots[hole] = h->slots[i];
			hole = i;
		}
	}
	h->slots[hole].value = NULL;
	h->count--;
	return value;
}

size_t hash_count(const struct hash *h)
{
	return h->count;
}

void *hash_next(const struct hash *h, size_t *cursor, uint64_t *key)
{
	while (*cursor < h->mask) {
		const struct slot *s = &h->slots[(h->gap - 1 - *cursor) & h->mask];
		++*cursor;
		if (s->value) {
			*key = s->key;
			return s->value;
		}
	}
	return NULL;
}
