/* SPDX-License-Identifier: GPL-3.0-only */
/* test_loop.c: what is posted runs, in order, on the loop's thread, and all of it before the loop ends. */
#include "node/loop.h"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define THREADS 4
#define EACH 5000

struct counted {
	struct loop *loop;
	unsigned next[THREADS]; /* the loop's */
	unsigned wrong, ran;
};

struct post {
	struct counted *counted;
	unsigned thread, number;
};

static void count(void *arg)
{
	struct post *p = arg;
	struct counted *c = p->counted;

	c->ran++;
	if (!loop_here(c->loop) || c->next[p->thread]++ != p->number)
		c->wrong++;
	free(p);
}

struct poster {
	struct counted *counted;
	unsigned thread;
};

static void *post_all(void *arg)
{
	struct poster *poster = arg;

	for (unsigned i = 0; i < EACH; i++) {
		struct post *p = malloc(sizeof *p);
		if (!p)
			return arg;
		*p = (struct post){ .counted = poster->counted, .thread = poster->thread, .number = i };
		if (loop_post(poster->counted->loop, count, p) < 0)
			return arg;
	}
	return NULL;
}

static void what_threads_post_runs_in_their_order_before_the_loop_ends(void **state)
{
	struct counted c = { 0 };
	struct poster posters[THREADS];
	pthread_t threads[THREADS];
	void *failed;

	(void)state;
	assert_int_equal(loop_new("test", &c.loop, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		posters[i] = (struct poster){ .counted = &c, .thread = i };
		assert_int_equal(pthread_create(&threads[i], NULL, post_all, &posters[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
	loop_free(c.loop);
	assert_int_equal(c.ran, THREADS * EACH);
	assert_int_equal(c.wrong, 0);
}

struct chain {
	struct loop *loop;
	unsigned left;
};

static void post_again(void *arg)
{
	struct chain *c = arg;

	if (--c->left)
		(void)loop_post(c->loop, post_again, c);
}

static void what_is_posted_while_the_loop_ends_runs_too(void **state)
{
	struct chain c = { .left = 100 };

	(void)state;
	assert_int_equal(loop_new("test", &c.loop, NULL), 0);
	assert_int_equal(loop_post(c.loop, post_again, &c), 0);
	loop_free(c.loop);
	assert_int_equal(c.left, 0);
}

static void run_inside(void *arg)
{
	struct chain *c = arg;

	c->left++;
	if (c->left < 3)
		(void)loop_run(c->loop, run_inside, c);
}

static void running_waits_and_may_be_nested(void **state)
{
	struct chain c = { 0 };

	(void)state;
	assert_int_equal(loop_new("test", &c.loop, NULL), 0);
	assert_false(loop_here(c.loop));
	assert_int_equal(loop_run(c.loop, run_inside, &c), 0);
	assert_int_equal(c.left, 3);
	loop_free(c.loop);
}

struct timers {
	struct loop *loop;
	struct loop_timer first, second, never;
	unsigned order[4], ran;
	sem_t over;
};

static void first(void *arg)
{
	struct timers *t = arg;

	t->order[t->ran++] = 1;
}

static void never(void *arg)
{
	struct timers *t = arg;

	t->order[t->ran++] = 9;
}

static void second(void *arg)
{
	struct timers *t = arg;

	t->order[t->ran++] = 2;
	sem_post(&t->over);
}

static void set_timers(void *arg)
{
	struct timers *t = arg;

	loop_timer_init(&t->first, t->loop, first, t);
	loop_timer_init(&t->second, t->loop, second, t);
	loop_timer_init(&t->never, t->loop, never, t);
	loop_timer_cancel(&t->never); /* also before it was ever set */
	loop_timer_set(&t->second, 20);
	loop_timer_set(&t->never, 1);
	loop_timer_set(&t->first, 1000000);
	loop_timer_set(&t->first, 5);
	if (!loop_timer_is_set(&t->never))
		return;
	loop_timer_cancel(&t->never);
}

static void timers_run_in_their_order_unless_they_are_cancelled(void **state)
{
	struct timers t = { 0 };

	(void)state;
	sem_init(&t.over, 0, 0);
	assert_int_equal(loop_new("test", &t.loop, NULL), 0);
	assert_int_equal(loop_run(t.loop, set_timers, &t), 0);
	while (sem_wait(&t.over) < 0)
		;
	loop_free(t.loop);
	assert_int_equal(t.ran, 2);
	assert_int_equal(t.order[0], 1);
	assert_int_equal(t.order[1], 2);
	sem_destroy(&t.over);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_threads_post_runs_in_their_order_before_the_loop_ends),
		cmocka_unit_test(what_is_posted_while_the_loop_ends_runs_too),
		cmocka_unit_test(running_waits_and_may_be_nested),
		cmocka_unit_test(timers_run_in_their_order_unless_they_are_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
