/* SPDX-License-Identifier: GPL-3.0-only */
/* test_grain_map_model.c: grain_map.c's random life against a flat array, and its life under threads. */
#include "lib/map_dictionary.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define MIB ((size_t)1 << 20)

/* The model: some regions of the disk, flat. */
#define REGIONS 12
#define REGION_GRAINS 8192

struct world {
	struct dictionary d;
	struct map_budget *budget;
	struct grain_map *map;
	grain_no_t base[REGIONS];
	map_entry_t (*now)[REGION_GRAINS], (*saved)[REGION_GRAINS];
	bool any_saved;
	unsigned op;
};

static unsigned below(unsigned n)
{
	return (unsigned)rand() % n;
}

static uint64_t model_count(map_entry_t (*model)[REGION_GRAINS])
{
	uint64_t count = 0;

	for (int r = 0; r < REGIONS; r++)
		for (int i = 0; i < REGION_GRAINS; i++)
			count += model[r][i] != MAP_ENTRY_NONE;
	return count;
}

static void compare_with(struct world *w, struct grain_map *m, map_entry_t (*model)[REGION_GRAINS])
{
	static map_entry_t out[REGION_GRAINS];
	struct map_need need;

	for (int r = 0; r < REGIONS; r++) {
		PLAY(&w->d, m, grain_map_lookup(m, w->base[r], REGION_GRAINS, out, &need));
		for (int i = 0; i < REGION_GRAINS; i++)
			if (out[i] != model[r][i])
				fail_msg("op %u: region %d grain %d is %llx, not %llx", w->op, r, i,
				         (unsigned long long)out[i], (unsigned long long)model[r][i]);
	}
}

static void random_change(struct world *w)
{
	static map_entry_t e[1500];
	unsigned r = below(REGIONS), n = below(4) ? 1 + below(20) : 1 + below(1500), at = below(REGION_GRAINS - n);
	bool clear = below(4) == 0;

	for (unsigned i = 0; i < n; i++)
		e[i] = clear || below(20) == 0 ? MAP_ENTRY_NONE : map_entry(below(3), 1 + below(100000), below(16000));
	if (clear)
		play_clear(&w->d, w->map, w->base[r] + at, n);
	else
		play_update(&w->d, w->map, w->base[r] + at, n, e);
	memcpy(&w->now[r][at], e, n * sizeof e[0]);
}

static void random_search(struct world *w)
{
	unsigned r = below(REGIONS), at = below(REGION_GRAINS);
	bool mapped = below(2);
	grain_no_t found, expect = GRAIN_NONE;
	struct map_need need;

	for (unsigned i = at; i < REGION_GRAINS && expect == GRAIN_NONE; i++)
		if ((w->now[r][i] != MAP_ENTRY_NONE) == mapped)
			expect = w->base[r] + i;
	PLAY(&w->d, w->map, grain_map_next(w->map, w->base[r] + at, w->base[r] + REGION_GRAINS, mapped, &found, &need));
	if (found != expect)
		fail_msg("op %u: next(%d) from region %u grain %u: %llu, not %llu", w->op, mapped, r, at,
		         (unsigned long long)found, (unsigned long long)expect);
}

/* Changes go on between the freeze and its end; now and then the save fails. */
static void random_save(struct world *w)
{
	size_t bytes = sizeof w->now[0] * REGIONS;
	map_entry_t(*moment)[REGION_GRAINS] = malloc(bytes);
	struct map_batch *b = grain_map_freeze(w->map);
	bool saved = below(5) > 0;

	assert_true(moment && b);
	memcpy(moment, w->now, bytes);
	for (unsigned i = below(6); i > 0; i--)
		random_change(w);
	if (saved) {
		save_batch(&w->d, b);
		memcpy(w->saved, moment, bytes);
	}
	grain_map_thaw(w->map, b, saved);
	free(moment);
}

static void random_crash(struct world *w)
{
	grain_map_free(w->map);
	w->map = play_open(&w->d, w->budget, MAP_ENTRY_NONE);
	memcpy(w->now, w->saved, sizeof w->now[0] * REGIONS);
	grain_map_set_allocated(w->map, model_count(w->saved));
	if (below(3) == 0)
		compare_with(w, w->map, w->now);
}

static void random_checkpoint(struct world *w)
{
	map_entry_t root;
	struct grain_map *elsewhere;
	struct hash *rows = w->d.rows;

	if (!hash_get(rows, node_key(MAP_LEVELS - 1, 0)) || hash_count(w->d.changed) == 0)
		return;
	root = play_checkpoint(&w->d, w->map, 2);
	w->d.rows = hash_new();
	assert_non_null(w->d.rows);
	elsewhere = play_open(&w->d, w->budget, root); /* a host that has the log only */
	compare_with(w, elsewhere, w->saved);
	grain_map_free(elsewhere);
	hash_free(w->d.rows);
	w->d.rows = rows;
}

static void play_random(unsigned seed, unsigned ops)
{
	struct world w = { .budget = map_budget_new(MIB) };

	print_message("seed %u\n", seed);
	srand(seed);
	dictionary_init(&w.d);
	w.now = calloc(REGIONS, sizeof w.now[0]);
	w.saved = calloc(REGIONS, sizeof w.saved[0]);
	assert_true(w.budget && w.now && w.saved);
	for (int r = 0; r < REGIONS; r++)
		w.base[r] = (uint64_t)r * (MAP_GRAINS_MAX / REGIONS) + below(100000);
	w.map = play_open(&w.d, w.budget, MAP_ENTRY_NONE);
	for (w.op = 0; w.op < ops; w.op++) {
		unsigned what = below(1000);

		if (what < 600)
			random_change(&w);
		else if (what < 900)
			random_search(&w);
		else if (what < 960)
			random_save(&w);
		else if (what < 980)
			grain_map_shrink(w.map, below(300) * MAP_NODE_BYTES);
		else if (what < 988)
			random_checkpoint(&w);
		else if (what < 994)
			random_crash(&w);
		else
			compare_with(&w, w.map, w.now);
		assert_true(grain_map_allocated(w.map) <= (uint64_t)REGIONS * REGION_GRAINS);
	}
	compare_with(&w, w.map, w.now);
	assert_int_equal(grain_map_allocated(w.map), model_count(w.now));
	grain_map_free(w.map);
	assert_int_equal(map_budget_used(w.budget), 0);
	map_budget_free(w.budget);
	dictionary_destroy(&w.d);
	free(w.now);
	free(w.saved);
}

static void a_random_life_matches_a_flat_array(void **state)
{
	const char *seed = getenv("GARNER_TEST_SEED");

	(void)state;
	if (seed) {
		play_random((unsigned)strtoul(seed, NULL, 0), 6000);
		return;
	}
	play_random(1, 3000);
	play_random(2, 3000);
	play_random((unsigned)time(NULL), 3000);
}

/* Threads: three writers, each with its own grains of shared leaves, a reader, and one who freezes and drops. */
#define WRITERS 3
#define WRITER_ROUNDS 1500
#define SHARED_LEAVES 40

struct stage {
	struct grain_map *map;
	struct dictionary d;
	pthread_mutex_t dictionary;
	pthread_rwlock_t updates;
	atomic_int writers_left;
	atomic_int failures;
};

static bool stage_load(struct stage *s, const struct map_need *need)
{
	map_entry_t *entries;
	bool good;

	pthread_mutex_lock(&s->dictionary);
	entries = hash_get(s->d.rows, node_key(need->level, need->index));
	good = entries && grain_map_install(s->map, need->level, need->index, entries) == 0;
	pthread_mutex_unlock(&s->dictionary);
	if (!good)
		atomic_fetch_add(&s->failures, 1);
	return good;
}

struct writer {
	struct stage *stage;
	unsigned number;
	map_entry_t last[SHARED_LEAVES];
};

static void *write_away(void *arg)
{
	struct writer *w = arg;
	struct stage *s = w->stage;
	struct map_need need;
	map_entry_t out;
	unsigned seed = w->number;
	int rc;

	for (int i = 0; i < WRITER_ROUNDS && !atomic_load(&s->failures); i++) {
		unsigned leaf = (unsigned)rand_r(&seed) % SHARED_LEAVES;
		grain_no_t grain = leaf * 512ull + w->number;
		map_entry_t e = map_entry(w->number, (segment_no_t)i + 1, 1);

		while ((rc = grain_map_lookup(s->map, grain, 1, &out, &need)) == -EAGAIN)
			if (!stage_load(s, &need))
				return NULL;
		if (rc < 0 || out != w->last[leaf])
			atomic_fetch_add(&s->failures, 1);
		pthread_rwlock_rdlock(&s->updates);
		while ((rc = grain_map_pin(s->map, grain, 1, false, &need)) == -EAGAIN && stage_load(s, &need))
			;
		if (rc == 0) {
			grain_map_update(s->map, grain, 1, &e);
			grain_map_unpin(s->map, grain, 1);
			w->last[leaf] = e;
		} else {
			atomic_fetch_add(&s->failures, 1);
		}
		pthread_rwlock_unlock(&s->updates);
	}
	atomic_fetch_sub(&s->writers_left, 1);
	return NULL;
}

/* The row of a node may only become visible together with its node becoming clean, or a loader would install an old
 * one: the dictionary's mutex is held over both, as the engine's single flight per node does. */
static void *freeze_away(void *arg)
{
	struct stage *s = arg;

	while (atomic_load(&s->writers_left) > 0) {
		struct map_batch *b;

		pthread_rwlock_wrlock(&s->updates);
		b = grain_map_freeze(s->map);
		pthread_rwlock_unlock(&s->updates);
		if (!b) {
			atomic_fetch_add(&s->failures, 1);
			break;
		}
		pthread_mutex_lock(&s->dictionary);
		for (size_t i = 0; i < map_batch_count(b); i++) {
			unsigned level;
			uint64_t index;
			const map_entry_t *entries = map_batch_node(b, i, &level, &index);
			map_entry_t *copy = malloc(MAP_NODE_BYTES);

			memcpy(copy, entries, MAP_NODE_BYTES);
			free(hash_remove(s->d.rows, node_key(level, index)));
			hash_put(s->d.rows, node_key(level, index), copy);
		}
		pthread_mutex_unlock(&s->dictionary);
		grain_map_thaw(s->map, b, true);
		pthread_mutex_lock(&s->dictionary);
		grain_map_shrink(s->map, 8 * MAP_NODE_BYTES);
		pthread_mutex_unlock(&s->dictionary);
	}
	return NULL;
}

static void *read_away(void *arg)
{
	struct stage *s = arg;
	struct map_need need;
	map_entry_t out[512];
	grain_no_t found;
	unsigned seed = 99;

	while (atomic_load(&s->writers_left) > 0) {
		if (grain_map_lookup(s->map, (uint64_t)rand_r(&seed) % (SHARED_LEAVES * 512), 512, out, &need) ==
		    -EAGAIN)
			stage_load(s, &need);
		if (grain_map_next(s->map, 0, SHARED_LEAVES * 512, true, &found, &need) == -EAGAIN)
			stage_load(s, &need);
		(void)grain_map_dirty(s->map);
	}
	return NULL;
}

static void threads_see_their_own_updates_while_one_freezes(void **state)
{
	struct map_budget *budget = map_budget_new(MIB);
	struct stage s = { .map = grain_map_new(budget), .writers_left = WRITERS };
	struct writer writers[WRITERS];
	pthread_t threads[WRITERS + 2];

	(void)state;
	assert_non_null(s.map);
	dictionary_init(&s.d);
	pthread_mutex_init(&s.dictionary, NULL);
	pthread_rwlock_init(&s.updates, NULL);
	for (unsigned i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){ .stage = &s, .number = i };
		assert_int_equal(pthread_create(&threads[i], NULL, write_away, &writers[i]), 0);
	}
	assert_int_equal(pthread_create(&threads[WRITERS], NULL, freeze_away, &s), 0);
	assert_int_equal(pthread_create(&threads[WRITERS + 1], NULL, read_away, &s), 0);
	for (int i = 0; i < WRITERS + 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(atomic_load(&s.failures), 0);
	for (unsigned i = 0; i < WRITERS; i++)
		for (unsigned leaf = 0; leaf < SHARED_LEAVES; leaf++)
			assert_true(play_get(&s.d, s.map, leaf * 512ull + i) == writers[i].last[leaf]);
	pthread_rwlock_destroy(&s.updates);
	pthread_mutex_destroy(&s.dictionary);
	dictionary_destroy(&s.d);
	grain_map_free(s.map);
	map_budget_free(budget);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_random_life_matches_a_flat_array),
		cmocka_unit_test(threads_see_their_own_updates_while_one_freezes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
