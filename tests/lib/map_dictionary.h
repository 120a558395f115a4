/* SPDX-License-Identifier: GPL-3.0-only */
/* map_dictionary.h: for tests of the grain map: plays the part of SQLite and the log, loading and saving nodes as the engine
 * does. Include after the headers that cmocka.h needs. */
#ifndef GARNER_TESTS_MAP_DICTIONARY_H
#define GARNER_TESTS_MAP_DICTIONARY_H

#include "base/hash.h"
#include "map/grain_map.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What SQLite (rows) and the log (address -> node) hold; owns the arrays. */
struct dictionary {
	struct hash *rows, *log;
	struct hash *changed;
	segment_no_t next_segment;
};

static inline uint64_t node_key(unsigned level, uint64_t index)
{
	return (uint64_t)level << 58 | index;
}

static inline void hash_put_copy(struct hash *h, uint64_t key, const map_entry_t *entries)
{
	map_entry_t *copy = malloc(MAP_NODE_BYTES);

	assert_non_null(copy);
	memcpy(copy, entries, MAP_NODE_BYTES);
	free(hash_remove(h, key));
	assert_int_equal(hash_put(h, key, copy), 0);
}

static inline void hash_free_all(struct hash *h)
{
	size_t cursor = 0;
	uint64_t key;
	void *v;

	while ((v = hash_next(h, &cursor, &key)))
		free(v);
	hash_free(h);
}

static inline void dictionary_init(struct dictionary *d)
{
	*d = (struct dictionary){ .rows = hash_new(), .log = hash_new(), .changed = hash_new(), .next_segment = 1 };
	assert_true(d->rows && d->log && d->changed);
}

static inline void dictionary_destroy(struct dictionary *d)
{
	hash_free_all(d->rows);
	hash_free_all(d->log);
	hash_free(d->changed);
}

/* Loads what the map asked for, as the engine does: the row if there is one, else the copy in the log. */
static inline void load(struct dictionary *d, struct grain_map *m, const struct map_need *need)
{
	const map_entry_t *entries = hash_get(d->rows, node_key(need->level, need->index));

	if (!entries && need->address != MAP_ENTRY_LOCAL)
		entries = hash_get(d->log, need->address);
	if (!entries)
		fail_msg("level %u index %llu is nowhere", need->level, (unsigned long long)need->index);
	assert_int_equal(grain_map_install(m, need->level, need->index, entries), 0);
}

/* Each call again until nothing is missing; a bound tells a map that forgets what it was just given. */
#define PLAY(d, m, call)                             \
	do {                                         \
		int tries = 0, rc;                   \
		while ((rc = (call)) == -EAGAIN) {   \
			assert_true(++tries < 5000); \
			load(d, m, &need);           \
		}                                    \
		assert_int_equal(rc, 0);             \
	} while (0)

static inline void play_update(struct dictionary *d, struct grain_map *m, grain_no_t first, size_t n,
                               const map_entry_t *e)
{
	struct map_need need;

	PLAY(d, m, grain_map_pin(m, first, n, false, &need));
	grain_map_update(m, first, n, e);
	grain_map_unpin(m, first, n);
}

static inline void play_clear(struct dictionary *d, struct grain_map *m, grain_no_t first, size_t n)
{
	struct map_need need;

	PLAY(d, m, grain_map_pin(m, first, n, true, &need));
	grain_map_clear(m, first, n);
	grain_map_unpin(m, first, n);
}

static inline map_entry_t play_get(struct dictionary *d, struct grain_map *m, grain_no_t grain)
{
	struct map_need need;
	map_entry_t e;

	PLAY(d, m, grain_map_lookup(m, grain, 1, &e, &need));
	return e;
}

static inline void save_batch(struct dictionary *d, const struct map_batch *b)
{
	for (size_t i = 0; i < map_batch_count(b); i++) {
		unsigned level;
		uint64_t index;
		const map_entry_t *entries = map_batch_node(b, i, &level, &index);

		hash_put_copy(d->rows, node_key(level, index), entries);
		assert_int_equal(hash_put(d->changed, node_key(level, index), d), 0);
	}
}

static inline void play_save(struct dictionary *d, struct grain_map *m)
{
	struct map_batch *b = grain_map_freeze(m);

	assert_non_null(b);
	save_batch(d, b);
	grain_map_thaw(m, b, true);
}

/* A map as after a restart: the root from its row or, with `root`, from the log. */
static inline struct grain_map *play_open(struct dictionary *d, struct map_budget *budget, map_entry_t root)
{
	struct grain_map *m = grain_map_new(budget);
	const map_entry_t *entries;

	assert_non_null(m);
	entries = root ? hash_get(d->log, root) : hash_get(d->rows, node_key(MAP_LEVELS - 1, 0));
	if (entries)
		assert_int_equal(grain_map_install(m, MAP_LEVELS - 1, 0, entries), 0);
	return m;
}

/* Writes what changed into the log, level by level, as a checkpoint does, and drops some of the rows that the log now has.
 * Returns the root's address. */
static inline map_entry_t play_checkpoint(struct dictionary *d, struct grain_map *m, unsigned drop_one_in)
{
	map_entry_t root = MAP_ENTRY_NONE;

	for (unsigned level = 0; level < MAP_LEVELS; level++) {
		struct hash *todo = d->changed, *rest = hash_new();
		size_t cursor = 0;
		uint64_t key;

		assert_non_null(rest);
		while (hash_next(todo, &cursor, &key)) {
			uint64_t index = key & (((uint64_t)1 << 58) - 1),
				 parent = node_key(level + 1, index / MAP_FANOUT);
			map_entry_t address = map_entry(0, d->next_segment++, (uint32_t)(index % 1000));
			map_entry_t *row;

			if (key >> 58 != level) {
				assert_int_equal(hash_put(rest, key, d), 0);
				continue;
			}
			hash_put_copy(d->log, address, hash_get(d->rows, key));
			root = address;
			if (level == MAP_LEVELS - 1)
				continue;
			row = hash_get(d->rows, parent);
			assert_non_null(row); /* inner rows are never dropped here */
			row[index % MAP_FANOUT] = address;
			assert_int_equal(hash_put(rest, parent, d), 0);
			grain_map_set_address(m, level, index, address);
			if (level == 0 && drop_one_in && rand() % (int)drop_one_in == 0)
				free(hash_remove(d->rows, key));
		}
		hash_free(d->changed);
		d->changed = rest;
	}
	return root;
}

#endif
