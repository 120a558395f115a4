/* SPDX-License-Identifier: GPL-3.0-only */
/* test_object_model.c: a storage node's object store against the rules of a replica written down once more, with random operations: one
 * after the other with restarts, and from many threads on few names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/object_wait.h"
#include "lib/remove_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMES 6u
#define STEPS 600u
#define THREADS 6u
#define THREAD_STEPS 120u
#define DRIVES 3u

static char base[200], path[DRIVES][256];
static const char *drives[DRIVES] = { path[0], path[1], path[2] };
static struct object_store *s;
static uint64_t seed;

struct value {
	uint64_t counter; /* 0: nothing */
	bool tombstone, claimed, confirmed;
};

static const char *name_of(unsigned i, char name[64])
{
	snprintf(name, 64, "pool/images/%u", i);
	return name;
}

/* What a version holds: nobody needs to remember. */
static size_t length_of(uint64_t counter)
{
	return counter * 2654435761u % 140000;
}

static void start(void)
{
	struct error err = { 0 };

	if (open_drives(&s, NULL, DRIVES, drives, 1, &err) != 0)
		fail_msg("%s", err.text);
}

static void restart(bool unclean)
{
	char file[1024];

	object_store_close(s);
	s = NULL;
	for (unsigned i = 0; unclean && i < DRIVES; i++) {
		snprintf(file, sizeof file, "%s/unclean", path[i]);
		close(open(file, O_CREAT | O_WRONLY, 0600));
	}
	start();
}

/* ---- one after the other ---- */

static int model_put(struct value *v, uint64_t floor, uint64_t counter, bool tombstone, bool claimed,
                     enum object_rule rule)
{
	bool absent = rule == OBJECT_RULE_ABSENT;

	if (!v->counter && counter <= floor && rule != OBJECT_RULE_COPY)
		return -ESTALE;
	if (v->counter == counter) {
		if (v->tombstone != tombstone)
			return -EBADMSG;
		v->claimed |= claimed;
		return 0;
	}
	if (absent && v->counter && !v->tombstone)
		return -EEXIST;
	if (counter < v->counter)
		return -ESTALE;
	*v = (struct value){ counter, tombstone, v->claimed || claimed, false };
	return 0;
}

static void check_value(unsigned i, const struct value *v)
{
	struct object_meta meta;
	char name[64];
	int rc = look_wait(s, name_of(i, name), &meta);

	if (!v->counter) {
		assert_int_equal(rc, -ENOENT);
		return;
	}
	assert_int_equal(rc, 0);
	assert_int_equal(meta.version.counter, v->counter);
	assert_int_equal(meta.flags, (v->tombstone ? OBJECT_TOMBSTONE : 0) | (v->claimed ? OBJECT_CLAIMED : 0) |
	                                     (v->confirmed ? OBJECT_CONFIRMED : 0));
	assert_int_equal(read_made(s, name, v->counter, length_of(v->counter)), v->tombstone ? -ENOENT : 0);
}

static void model_step(struct random *r, struct value values[NAMES], uint64_t *floor)
{
	unsigned i = (unsigned)random_below(r, NAMES);
	uint64_t counter = (values[i].counter ? values[i].counter : *floor) + random_below(r, 4);
	enum object_rule rule = (enum object_rule)random_below(r, 3);
	struct value *v = &values[i], before = *v;
	struct object_put_result result = { 0 };
	char name[64];

	counter = counter > 1 ? counter - 1 : 1;
	name_of(i, name);
	switch (random_below(r, 10)) {
	case 0:
		assert_int_equal(confirm_wait(s, name, counter), v->counter == counter ? 0 : -ENOENT);
		v->confirmed |= v->counter == counter;
		return;
	case 1:
		assert_int_equal(forget_wait(s, name, counter), v->counter == counter ? 0 : -ENOENT);
		if (v->counter == counter && v->tombstone && counter > *floor)
			*floor = counter;
		if (v->counter == counter)
			*v = (struct value){ 0 };
		return;
	case 2:
	case 3:
	case 4: {
		bool claimed = random_once_in(r, 5);
		rule = OBJECT_RULE_NEWER;
		int want = model_put(v, *floor, counter, true, claimed, rule);
		assert_int_equal(remove_wait(s, name, counter, claimed ? OBJECT_CLAIMED : 0, &result), want);
		break;
	}
	default: {
		bool claimed = random_once_in(r, 5);
		int want = model_put(v, *floor, counter, false, claimed, rule);
		assert_int_equal(
			put_made(s, name, counter, length_of(counter), claimed ? OBJECT_CLAIMED : 0, rule, &result),
			want);
	}
	}
	/* Where nothing was, the floor refuses as a tombstone would. */
	if (!before.counter && counter <= *floor && rule != OBJECT_RULE_COPY)
		before = (struct value){ .counter = *floor };
	assert_int_equal(result.had, before.counter != 0);
	assert_int_equal(result.was.version.counter, before.counter);
	assert_int_equal(result.claimed, before.claimed);
}

static void random_operations_with_restarts_do_what_the_rules_say(void **state)
{
	struct random r = { .state = seed };
	struct value values[NAMES] = { { 0 } };
	uint64_t floor = 0;

	(void)state;
	for (unsigned step = 0; step < STEPS; step++) {
		model_step(&r, values, &floor);
		if (random_once_in(&r, 40))
			restart(random_once_in(&r, 2));
		unsigned i = (unsigned)random_below(&r, NAMES);
		check_value(i, &values[i]);
	}
}

/* ---- many threads ---- */

struct worker {
	uint64_t seed;
	uint64_t accepted[NAMES]; /* the highest */
	char wrong[200];
};

static _Atomic uint64_t next_counter = 1;

#define WRONG(...)                                                        \
	do {                                                              \
		if (!w->wrong[0])                                         \
			snprintf(w->wrong, sizeof w->wrong, __VA_ARGS__); \
	} while (0)

static void check_result(struct worker *w, unsigned i, uint64_t counter, bool absent, int rc,
                         const struct object_put_result *result)
{
	uint64_t was = result->was.version.counter;

	if (rc == 0) {
		if (w->accepted[i] < counter)
			w->accepted[i] = counter;
		if (result->already ? was != counter : was >= counter)
			WRONG("version %llu replaced %llu", (unsigned long long)counter, (unsigned long long)was);
		if (absent && !result->already && result->had && !(result->was.flags & OBJECT_TOMBSTONE))
			WRONG("a create-only put replaced version %llu", (unsigned long long)was);
	} else if (rc == -ESTALE) {
		if (was <= counter)
			WRONG("version %llu is stale, and %llu is there", (unsigned long long)counter,
			      (unsigned long long)was);
	} else if (rc == -EEXIST) {
		if (!absent || was == counter || result->was.flags & OBJECT_TOMBSTONE)
			WRONG("version %llu exists: %llu", (unsigned long long)counter, (unsigned long long)was);
	} else {
		WRONG("a put is answered %d", rc);
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct random r = { .state = w->seed };
	uint64_t seen[NAMES] = { 0 };

	for (unsigned step = 0; step < THREAD_STEPS; step++) {
		unsigned i = (unsigned)random_below(&r, NAMES);
		struct object_put_result result;
		struct object_meta meta;
		char name[64];

		name_of(i, name);
		if (random_once_in(&r, 3)) {
			uint8_t *bytes, *want;
			size_t got;
			int rc = read_wait(s, name, 0, SIZE_MAX, &meta, &bytes, &got);
			uint64_t counter = meta.version.counter;
			want = rc == 0 ? malloc(length_of(counter) + 1) : NULL;
			if (want)
				body_fill(counter, want, length_of(counter));
			if (rc != 0 && rc != -ENOENT)
				WRONG("a read is answered %d", rc);
			if (rc == 0 &&
			    (!want || counter < seen[i] || got != length_of(counter) || memcmp(want, bytes, got) != 0))
				WRONG("version %llu is read wrongly, or after %llu", (unsigned long long)counter,
				      (unsigned long long)seen[i]);
			if (rc == 0)
				seen[i] = counter;
			free(want);
			free(bytes);
			continue;
		}
		/* Sometimes one that another thread has put, or puts now. */
		uint64_t counter = atomic_fetch_add(&next_counter, 1);
		bool tombstone = random_once_in(&r, 4), absent = !tombstone && random_once_in(&r, 3);
		if (counter > 20 && random_once_in(&r, 4))
			counter -= random_below(&r, 20);
		/* Version and kind belong together: of two puts of one version both mean the same. */
		tombstone = counter % 4 == 0;
		absent = absent && !tombstone;
		int rc = tombstone ? remove_wait(s, name, counter, 0, &result)
		                   : put_made(s, name, counter, length_of(counter), 0,
		                              absent ? OBJECT_RULE_ABSENT : OBJECT_RULE_NEWER, &result);
		check_result(w, i, counter, absent, rc, &result);
		if (look_wait(s, name, &meta) != 0 || (rc == 0 && meta.version.counter < counter))
			WRONG("version %llu was put, and is not there", (unsigned long long)counter);
	}
	return NULL;
}

static void many_threads_on_few_names_leave_the_highest_that_was_taken(void **state)
{
	struct worker w[THREADS] = { 0 };
	pthread_t thread[THREADS];
	struct object_store_stats stats;

	(void)state;
	for (unsigned i = 0; i < THREADS; i++) {
		w[i].seed = seed + i;
		assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	for (unsigned i = 0; i < THREADS; i++)
		if (w[i].wrong[0])
			fail_msg("%s", w[i].wrong);
	for (int again = 0; again < 2; again++) {
		for (unsigned k = 0; k < NAMES; k++) {
			struct object_meta meta;
			uint64_t highest = 0;
			char name[64];
			for (unsigned i = 0; i < THREADS; i++)
				highest = w[i].accepted[k] > highest ? w[i].accepted[k] : highest;
			assert_int_equal(look_wait(s, name_of(k, name), &meta), 0);
			assert_int_equal(meta.version.counter, highest);
		}
		restart(true);
	}
	object_store_stats(s, &stats);
	assert_int_equal(stats.objects + stats.tombstones, NAMES);
}

static void *put_own(void *arg)
{
	struct worker *w = arg;
	char name[64];

	for (uint64_t i = 1; i <= 40; i++) {
		snprintf(name, sizeof name, "pool/own/%llu/%llu", (unsigned long long)w->seed, (unsigned long long)i);
		if (put_made(s, name, i, length_of(i), 0, OBJECT_RULE_ABSENT, NULL) != 0 ||
		    confirm_wait(s, name, i) != 0 || read_made(s, name, i, length_of(i)) != 0)
			WRONG("%s", name);
	}
	return NULL;
}

static void many_threads_on_many_names_do_not_meet(void **state)
{
	struct worker w[2 * THREADS] = { 0 };
	pthread_t thread[2 * THREADS];
	struct object_store_stats stats;

	(void)state;
	for (unsigned i = 0; i < 2 * THREADS; i++) {
		w[i].seed = i;
		assert_int_equal(pthread_create(&thread[i], NULL, put_own, &w[i]), 0);
	}
	for (unsigned i = 0; i < 2 * THREADS; i++)
		pthread_join(thread[i], NULL);
	for (unsigned i = 0; i < 2 * THREADS; i++)
		if (w[i].wrong[0])
			fail_msg("%s", w[i].wrong);
	object_store_stats(s, &stats);
	assert_int_equal(stats.objects, 2 * THREADS * 40);
}

static int make(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(base, sizeof base, "%s/garner-model-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(base))
		return -1;
	for (unsigned i = 0; i < DRIVES; i++) {
		snprintf(path[i], sizeof path[i], "%s/%u", base, i);
		if (mkdir(path[i], 0700) < 0)
			return -1;
	}
	start();
	return 0;
}

static int unmake(void **state)
{
	(void)state;
	object_store_close(s);
	s = NULL;
	return remove_tree(base);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(random_operations_with_restarts_do_what_the_rules_say),
		TEST(many_threads_on_few_names_leave_the_highest_that_was_taken),
		TEST(many_threads_on_many_names_do_not_meet),
	};

	seed = env_number("GARNER_TEST_SEED", (uint64_t)time(NULL));
	printf("GARNER_TEST_SEED=%llu\n", (unsigned long long)seed);
	return cmocka_run_group_tests_name("object_model", tests, NULL, NULL);
}
