/* SPDX-License-Identifier: GPL-3.0-only */
/* test_range_lock.c: exclusive locks on ranges, granted in the order asked for. */
#include "base/range_lock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

struct request {
	struct range_lock lock;
	unsigned granted_as; /* 1 for the first callback that ran, ...; 0: none yet */
};

static unsigned grants;

static void note(void *arg)
{
	struct request *r = arg;

	assert_int_equal(r->granted_as, 0);
	r->granted_as = ++grants;
}

static bool ask(struct range_locks *locks, struct request *r, uint64_t first, uint64_t last)
{
	r->granted_as = 0;
	return range_lock(locks, &r->lock, first, last, note, r);
}

static int setup(void **state)
{
	static struct range_locks locks;

	range_locks_init(&locks);
	grants = 0;
	*state = &locks;
	return 0;
}

static int teardown(void **state)
{
	range_locks_destroy(*state);
	return 0;
}

static void ranges_that_do_not_touch_are_held_together(void **state)
{
	struct range_locks *locks = *state;
	struct request a, b, c;

	assert_true(ask(locks, &a, 0, 9));
	assert_true(ask(locks, &b, 10, 19));
	assert_true(ask(locks, &c, UINT64_MAX, UINT64_MAX));
	range_unlock(locks, &b.lock);
	range_unlock(locks, &a.lock);
	range_unlock(locks, &c.lock);
	assert_int_equal(grants, 0);
}

static void one_shared_number_makes_the_later_wait(void **state)
{
	struct range_locks *locks = *state;
	struct request a, left, right, inside, around;

	assert_true(ask(locks, &a, 10, 20));
	assert_false(ask(locks, &left, 5, 10));
	assert_false(ask(locks, &right, 20, 25));
	assert_false(ask(locks, &inside, 12, 13));
	assert_false(ask(locks, &around, 0, UINT64_MAX));
	range_unlock(locks, &a.lock);
	assert_int_equal(left.granted_as, 1);
	assert_int_equal(right.granted_as, 2);
	assert_int_equal(inside.granted_as, 3);
	assert_int_equal(around.granted_as, 0);
	range_unlock(locks, &right.lock);
	range_unlock(locks, &left.lock);
	assert_int_equal(around.granted_as, 0);
	range_unlock(locks, &inside.lock);
	assert_int_equal(around.granted_as, 4);
	range_unlock(locks, &around.lock);
}

static void a_later_request_does_not_overtake_an_earlier_waiter(void **state)
{
	struct range_locks *locks = *state;
	struct request holder, waiter, late;

	assert_true(ask(locks, &holder, 0, 9));
	assert_false(ask(locks, &waiter, 5, 15));
	/* Free of the holder, but not of the waiter. */
	assert_false(ask(locks, &late, 12, 20));
	range_unlock(locks, &holder.lock);
	assert_int_equal(waiter.granted_as, 1);
	assert_int_equal(late.granted_as, 0);
	range_unlock(locks, &waiter.lock);
	assert_int_equal(late.granted_as, 2);
	range_unlock(locks, &late.lock);
}

static void the_same_range_is_granted_in_the_order_asked_for(void **state)
{
	enum { N = 50 };
	struct range_locks *locks = *state;
	struct request r[N];

	assert_true(ask(locks, &r[0], 7, 7));
	for (unsigned i = 1; i < N; i++)
		assert_false(ask(locks, &r[i], 7, 7));
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(grants, i);
		range_unlock(locks, &r[i].lock);
		if (i + 1 < N)
			assert_int_equal(r[i + 1].granted_as, i + 1);
	}
}

static void what_would_have_to_wait_is_not_taken_by_trying(void **state)
{
	struct range_locks *locks = *state;
	struct request holder, waiter;
	struct range_lock lock, other;

	assert_true(ask(locks, &holder, 10, 20));
	assert_false(ask(locks, &waiter, 20, 30));
	assert_false(range_lock_try(locks, &lock, 5, 10));
	assert_false(range_lock_try(locks, &lock, 30, 40)); /* the waiter's */
	assert_true(range_lock_try(locks, &lock, 31, 40));
	assert_false(range_lock_try(locks, &other, 40, 40));
	assert_true(range_lock_try(locks, &other, 0, 9));
	/* What was not taken is in nobody's way. */
	range_unlock(locks, &holder.lock);
	assert_int_equal(waiter.granted_as, 1);
	range_unlock(locks, &waiter.lock);
	/* What was taken is. */
	assert_false(ask(locks, &holder, 35, 50));
	range_unlock(locks, &lock);
	assert_int_equal(holder.granted_as, 2);
	range_unlock(locks, &holder.lock);
	range_unlock(locks, &other);
}

struct chain {
	struct range_locks *locks;
	struct range_lock *lock; /* on the heap, freed in the callback */
	unsigned *done;
};

static void unlock_and_free(void *arg)
{
	struct chain *c = arg;

	++*c->done;
	range_unlock(c->locks, c->lock);
	free(c->lock);
	free(c);
}

static void a_callback_may_release_and_free_its_lock(void **state)
{
	struct range_locks *locks = *state;
	struct request holder;
	unsigned done = 0;

	assert_true(ask(locks, &holder, 0, 100));
	for (uint64_t i = 0; i < 20; i++) {
		struct chain *c = malloc(sizeof *c);
		assert_non_null(c);
		*c = (struct chain){ .locks = locks, .lock = malloc(sizeof *c->lock), .done = &done };
		assert_non_null(c->lock);
		assert_false(range_lock(locks, c->lock, i % 3, 3, unlock_and_free, c));
	}
	range_unlock(locks, &holder.lock);
	assert_int_equal(done, 20);
}

enum { NUMBERS = 16, THREADS = 4, ROUNDS = 3000 };

static struct range_locks shared;
static unsigned numbers[NUMBERS]; /* each guarded by a lock on its range only */
static atomic_uint total;

struct worker {
	unsigned seed;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool granted;
};

static void wake(void *arg)
{
	struct worker *w = arg;

	pthread_mutex_lock(&w->mutex);
	w->granted = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->mutex);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct range_lock lock;
		unsigned a = (unsigned)rand_r(&w->seed) % NUMBERS, b = (unsigned)rand_r(&w->seed) % NUMBERS;
		unsigned first = a < b ? a : b, last = a < b ? b : a;

		w->granted = false;
		if (!range_lock(&shared, &lock, first, last, wake, w)) {
			pthread_mutex_lock(&w->mutex);
			while (!w->granted)
				pthread_cond_wait(&w->cond, &w->mutex);
			pthread_mutex_unlock(&w->mutex);
		}
		for (unsigned n = first; n <= last; n++)
			numbers[n]++;
		atomic_fetch_add(&total, last - first + 1);
		range_unlock(&shared, &lock);
	}
	return NULL;
}

static void threads_never_hold_the_same_number_together(void **state)
{
	const char *given = getenv("GARNER_TEST_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	struct worker w[THREADS];
	pthread_t thread[THREADS];
	unsigned sum = 0;

	(void)state;
	print_message("GARNER_TEST_SEED=%u\n", seed);
	range_locks_init(&shared);
	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct worker){ .seed = seed + i };
		assert_int_equal(pthread_mutex_init(&w[i].mutex, NULL), 0);
		assert_int_equal(pthread_cond_init(&w[i].cond, NULL), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	for (unsigned n = 0; n < NUMBERS; n++)
		sum += numbers[n];
	assert_int_equal(sum, total);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_cond_destroy(&w[i].cond);
		pthread_mutex_destroy(&w[i].mutex);
	}
	range_locks_destroy(&shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ranges_that_do_not_touch_are_held_together, setup, teardown),
		cmocka_unit_test_setup_teardown(one_shared_number_makes_the_later_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(a_later_request_does_not_overtake_an_earlier_waiter, setup, teardown),
		cmocka_unit_test_setup_teardown(the_same_range_is_granted_in_the_order_asked_for, setup, teardown),
		cmocka_unit_test_setup_teardown(what_would_have_to_wait_is_not_taken_by_trying, setup, teardown),
		cmocka_unit_test_setup_teardown(a_callback_may_release_and_free_its_lock, setup, teardown),
		cmocka_unit_test(threads_never_hold_the_same_number_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
