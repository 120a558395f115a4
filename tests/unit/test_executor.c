/* SPDX-License-Identifier: GPL-3.0-only */
/* test_executor.c: jobs on a fixed set of threads, now and later. */
#include "base/executor.h"
#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* What jobs did, in order. */
static struct {
	pthread_mutex_t mutex;
	int done[2048];
	size_t count;
} diary = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static int numbers[2048];
static sem_t gate, inside;

static int setup(void **state)
{
	(void)state;
	diary.count = 0;
	for (int i = 0; i < 2048; i++)
		numbers[i] = i;
	return sem_init(&gate, 0, 0) < 0 || sem_init(&inside, 0, 0) < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	return sem_destroy(&gate) < 0 || sem_destroy(&inside) < 0 ? -1 : 0;
}

static void wait_on(sem_t *s)
{
	while (sem_wait(s) < 0)
		if (errno != EINTR)
			abort();
}

static void write_down(void *arg)
{
	pthread_mutex_lock(&diary.mutex);
	diary.done[diary.count++] = *(int *)arg;
	pthread_mutex_unlock(&diary.mutex);
}

static size_t written(void)
{
	pthread_mutex_lock(&diary.mutex);
	size_t count = diary.count;
	pthread_mutex_unlock(&diary.mutex);
	return count;
}

/* Keeps a thread busy until the gate is opened once. */
static void block(void *arg)
{
	(void)arg;
	sem_post(&inside);
	wait_on(&gate);
}

static void sleep_ms(unsigned ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

/* Waits at most a minute, which is far more than a slow machine needs. */
static void wait_for(size_t count)
{
	for (unsigned i = 0; i < 60000 && written() < count; i++)
		sleep_ms(1);
	assert_int_equal(written(), count);
}

static void one_thread_runs_jobs_in_the_order_given(void **state)
{
	struct executor *e = executor_new("order", 1, false);

	(void)state;
	assert_non_null(e);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(executor_run(e, write_down, &numbers[i]), 0);
	executor_drain(e);
	assert_int_equal(written(), 1000);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(diary.done[i], i);
	executor_free(e);
}

static void freeing_runs_what_is_queued(void **state)
{
	struct executor *e = executor_new("free", 2, false);

	(void)state;
	assert_non_null(e);
	for (int i = 0; i < 500; i++)
		assert_int_equal(executor_run(e, write_down, &numbers[i]), 0);
	executor_free(e);
	assert_int_equal(diary.count, 500);
	executor_free(NULL);
}

static void as_many_jobs_run_together_as_there_are_threads(void **state)
{
	struct executor *e = executor_new("many", 3, false);

	(void)state;
	assert_non_null(e);
	for (int i = 0; i < 5; i++)
		assert_int_equal(executor_run(e, block, NULL), 0);
	for (int i = 0; i < 3; i++)
		wait_on(&inside);
	/* Three are inside; two have no thread. */
	assert_int_equal(executor_depth(e), 2);
	sleep_ms(20);
	assert_int_equal(sem_trywait(&inside), -1);
	for (int i = 0; i < 5; i++)
		sem_post(&gate);
	executor_drain(e);
	assert_int_equal(executor_depth(e), 0);
	executor_free(e);
}

static void write_down_slowly(void *arg)
{
	sem_post(&inside);
	sleep_ms(30);
	write_down(arg);
}

static void draining_waits_for_the_job_that_runs(void **state)
{
	struct executor *e = executor_new("drain", 2, false);

	(void)state;
	assert_non_null(e);
	executor_drain(e);
	assert_int_equal(executor_run(e, write_down_slowly, &numbers[0]), 0);
	wait_on(&inside); /* nothing is queued any more */
	executor_drain(e);
	assert_int_equal(written(), 1);
	for (int i = 1; i < 4; i++)
		assert_int_equal(executor_run(e, write_down_slowly, &numbers[i]), 0);
	executor_drain(e);
	assert_int_equal(written(), 4);
	executor_free(e);
}

struct again {
	struct executor *executor;
	int left;
};

static void run_again(void *arg)
{
	struct again *a = arg;

	write_down(&a->left);
	if (a->left-- > 0)
		(void)executor_run(a->executor, run_again, a);
}

static void a_job_may_queue_another_even_while_freeing(void **state)
{
	struct executor *e = executor_new("again", 2, false);
	struct again a = { .executor = e, .left = 50 };

	(void)state;
	assert_non_null(e);
	assert_int_equal(executor_run(e, run_again, &a), 0);
	executor_free(e);
	assert_int_equal(diary.count, 51);
}

static void delayed_jobs_run_by_time_and_not_before_it(void **state)
{
	struct executor *e = executor_new("later", 1, false);
	static const unsigned delays[] = { 120, 30, 90, 60, 30, 150 };
	static const int expected[] = { 1, 4, 3, 2, 0, 5 };
	uint64_t begin = clock_monotonic_ns();

	(void)state;
	assert_non_null(e);
	for (int i = 0; i < 6; i++)
		assert_int_equal(executor_run_after(e, delays[i], write_down, &numbers[i]), 0);
	wait_for(6);
	assert_true(clock_monotonic_ns() - begin >= 150 * UINT64_C(1000000));
	assert_memory_equal(diary.done, expected, sizeof expected);
	executor_free(e);
}

static void many_delayed_jobs_run_in_the_order_of_their_times(void **state)
{
	enum { N = 200 };
	struct executor *e = executor_new("heap", 1, false);
	uint64_t soonest[N], latest[N]; /* between which each was due */

	(void)state;
	assert_non_null(e);
	/* The thread is kept busy until all of them are due, so that only their times decide. */
	assert_int_equal(executor_run(e, block, NULL), 0);
	wait_on(&inside);
	for (unsigned i = 0; i < N; i++) {
		uint64_t delay_ms = i * 77 % N;
		soonest[i] = clock_monotonic_ns() + delay_ms * 1000000;
		assert_int_equal(executor_run_after(e, delay_ms, write_down, &numbers[i]), 0);
		latest[i] = clock_monotonic_ns() + delay_ms * 1000000;
	}
	sleep_ms(N + 20);
	sem_post(&gate);
	wait_for(N);
	for (unsigned i = 1; i < N; i++)
		assert_true(soonest[diary.done[i - 1]] <= latest[diary.done[i]]);
	executor_free(e);
}

static void a_delayed_job_finds_an_idle_thread_while_another_is_busy(void **state)
{
	struct executor *e = executor_new("idle", 2, false);

	(void)state;
	assert_non_null(e);
	sleep_ms(10); /* both sleep without an end in sight */
	assert_int_equal(executor_run_after(e, 50, write_down, &numbers[0]), 0);
	assert_int_equal(executor_run(e, block, NULL), 0);
	wait_on(&inside);
	wait_for(1);
	sem_post(&gate);
	executor_free(e);
}

static void an_earlier_time_is_not_missed_by_those_who_sleep_for_a_later_one(void **state)
{
	struct executor *e = executor_new("early", 2, false);

	(void)state;
	assert_non_null(e);
	assert_int_equal(executor_run_after(e, 3600000, write_down, &numbers[9]), 0);
	sleep_ms(20);
	assert_int_equal(executor_run_after(e, 20, write_down, &numbers[1]), 0);
	wait_for(1);
	assert_int_equal(diary.done[0], 1);
	executor_free(e);
}

static void freeing_drops_what_was_delayed_and_draining_does_not_wait_for_it(void **state)
{
	struct executor *e = executor_new("drop", 2, false);

	(void)state;
	assert_non_null(e);
	for (int i = 0; i < 40; i++)
		assert_int_equal(executor_run_after(e, 3600000, write_down, &numbers[i]), 0);
	assert_int_equal(executor_run_after(e, UINT64_MAX, write_down, &numbers[0]), 0);
	assert_int_equal(executor_depth(e), 0);
	executor_drain(e);
	executor_free(e);
	assert_int_equal(diary.count, 0);
}

static void *open_gate_soon(void *arg)
{
	sleep_ms(100);
	sem_post(&gate);
	return arg;
}

static void freeing_drops_what_falls_due_meanwhile(void **state)
{
	struct executor *e = executor_new("due", 1, false);
	pthread_t opener;

	(void)state;
	assert_non_null(e);
	assert_int_equal(executor_run(e, block, NULL), 0);
	wait_on(&inside);
	assert_int_equal(executor_run_after(e, 1, write_down, &numbers[0]), 0);
	assert_int_equal(pthread_create(&opener, NULL, open_gate_soon, NULL), 0);
	executor_free(e);
	assert_int_equal(pthread_join(opener, NULL), 0);
	assert_int_equal(diary.count, 0);
}

struct self {
	char name[16];
	int nice;
	int policy;
	bool signals_blocked;
};

static void look_at_self(void *arg)
{
	struct self *self = arg;
	sigset_t set;

	(void)pthread_getname_np(pthread_self(), self->name, sizeof self->name);
	self->nice = getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid));
	self->policy = sched_getscheduler((pid_t)syscall(SYS_gettid));
	(void)pthread_sigmask(SIG_BLOCK, NULL, &set);
	self->signals_blocked = sigismember(&set, SIGTERM) == 1;
}

static void threads_are_named_and_leave_signals_to_the_program(void **state)
{
	struct executor *e = executor_new("a-name-that-is-long", 1, false);
	struct self self;
	sigset_t set;

	(void)state;
	assert_non_null(e);
	assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &set), 0);
	assert_int_equal(sigismember(&set, SIGTERM), 0);
	/* The name is set by the maker right after the thread began. */
	sleep_ms(10);
	assert_int_equal(executor_run(e, look_at_self, &self), 0);
	executor_free(e);
	assert_string_equal(self.name, "a-name-that--0");
	assert_true(self.signals_blocked);
}

static void background_threads_give_way_unless_it_is_urgent_and_others_do_not(void **state)
{
	struct executor *low = executor_new("low", 1, true), *usual = executor_new("usual", 1, false);
	struct self low_self, urgent_self, again_self, usual_self;
	int nice = getpriority(PRIO_PROCESS, 0);

	(void)state;
	assert_non_null(low);
	assert_non_null(usual);
	assert_int_equal(executor_run(low, look_at_self, &low_self), 0);
	assert_int_equal(executor_run(usual, look_at_self, &usual_self), 0);
	executor_drain(low);
	executor_set_urgent(low, true);
	assert_int_equal(executor_run(low, look_at_self, &urgent_self), 0);
	executor_drain(low);
	executor_set_urgent(low, false);
	assert_int_equal(executor_run(low, look_at_self, &again_self), 0);
	executor_free(low);
	executor_free(usual);
	if (geteuid() == 0) {
		assert_int_equal(low_self.policy, SCHED_IDLE);
		assert_int_equal(again_self.policy, SCHED_IDLE);
	}
	assert_int_equal(urgent_self.policy, SCHED_BATCH);
	assert_int_equal(usual_self.nice, nice);
	assert_int_equal(getpriority(PRIO_PROCESS, 0), nice);
}

#define AN_HOUR_MS 3600000

static void held_background_threads_begin_nothing_and_end_what_they_began(void **state)
{
	struct executor *e = executor_new("held", 2, true);

	(void)state;
	assert_non_null(e);
	assert_int_equal(executor_run(e, block, NULL), 0);
	wait_on(&inside);
	executor_hold(e, AN_HOUR_MS);
	sem_post(&gate);
	executor_drain(e);
	for (int i = 0; i < 3; i++)
		assert_int_equal(executor_run(e, write_down, &numbers[i]), 0);
	/* One that falls due meanwhile has to wait too. */
	assert_int_equal(executor_run_after(e, 1, write_down, &numbers[3]), 0);
	for (unsigned i = 0; i < 60000 && executor_depth(e) < 4; i++)
		sleep_ms(1);
	assert_int_equal(executor_depth(e), 4);
	sleep_ms(50);
	assert_int_equal(written(), 0);
	assert_int_equal(executor_depth(e), 4);
	/* But nobody waits an hour for the end. */
	executor_free(e);
	assert_int_equal(diary.count, 4);
}

static void held_jobs_run_in_their_order_when_the_hold_is_over(void **state)
{
	struct executor *e = executor_new("over", 1, true);
	static const int expected[] = { 0, 1, 2, 3 };
	uint64_t begin = clock_monotonic_ns();

	(void)state;
	assert_non_null(e);
	executor_hold(e, 100);
	for (int i = 0; i < 4; i++)
		assert_int_equal(executor_run(e, write_down, &numbers[i]), 0);
	/* Draining waits for that. */
	executor_drain(e);
	assert_true(clock_monotonic_ns() - begin >= 100 * UINT64_C(1000000));
	assert_int_equal(written(), 4);
	assert_memory_equal(diary.done, expected, sizeof expected);
	/* One that is over is in nobody's way. */
	assert_int_equal(executor_run(e, write_down, &numbers[4]), 0);
	executor_drain(e);
	assert_int_equal(written(), 5);
	executor_free(e);
}

static void hold_can_be_prolonged_while_jobs_wait(void **state)
{
	struct executor *e = executor_new("longer", 1, true);
	uint64_t begin = clock_monotonic_ns();

	(void)state;
	assert_non_null(e);
	executor_hold(e, 200);
	assert_int_equal(executor_run(e, write_down, &numbers[0]), 0);
	executor_hold(e, AN_HOUR_MS);
	/* A slow machine may have come too late. */
	bool in_time = clock_monotonic_ns() - begin < 200 * UINT64_C(1000000);
	sleep_ms(300);
	assert_true(written() == 0 || !in_time);
	executor_free(e);
	assert_int_equal(diary.count, 1);
}

static void urgent_jobs_are_not_held(void **state)
{
	struct executor *e = executor_new("urgent", 2, true);

	(void)state;
	assert_non_null(e);
	executor_hold(e, AN_HOUR_MS);
	for (int i = 0; i < 3; i++)
		assert_int_equal(executor_run(e, write_down, &numbers[i]), 0);
	sleep_ms(30);
	assert_int_equal(written(), 0);
	executor_set_urgent(e, true);
	executor_drain(e);
	assert_int_equal(written(), 3);
	executor_hold(e, AN_HOUR_MS);
	assert_int_equal(executor_run(e, write_down, &numbers[3]), 0);
	executor_drain(e);
	assert_int_equal(written(), 4);
	/* The hour is not over. */
	executor_set_urgent(e, false);
	assert_int_equal(executor_run(e, write_down, &numbers[4]), 0);
	sleep_ms(30);
	assert_int_equal(written(), 4);
	executor_free(e);
	assert_int_equal(diary.count, 5);
}

static void threads_that_are_not_background_are_never_held(void **state)
{
	struct executor *e = executor_new("usual", 1, false);

	(void)state;
	assert_non_null(e);
	executor_hold(e, AN_HOUR_MS);
	assert_int_equal(executor_run(e, write_down, &numbers[0]), 0);
	wait_for(1);
	executor_free(e);
}

/* The thread looks at the clock just then. */
static void job_that_comes_as_a_hold_ends_is_not_forgotten(void **state)
{
	struct executor *e = executor_new("end", 1, true);

	(void)state;
	assert_non_null(e);
	for (size_t i = 0; i < 300; i++) {
		uint64_t end = clock_monotonic_ns() + 1000000;
		executor_hold(e, 1);
		while (clock_monotonic_ns() + i % 120 * 1000 < end)
			;
		assert_int_equal(executor_run(e, write_down, &numbers[i]), 0);
		wait_for(i + 1);
	}
	executor_free(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_thread_runs_jobs_in_the_order_given, setup, teardown),
		cmocka_unit_test_setup_teardown(freeing_runs_what_is_queued, setup, teardown),
		cmocka_unit_test_setup_teardown(as_many_jobs_run_together_as_there_are_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(draining_waits_for_the_job_that_runs, setup, teardown),
		cmocka_unit_test_setup_teardown(a_job_may_queue_another_even_while_freeing, setup, teardown),
		cmocka_unit_test_setup_teardown(delayed_jobs_run_by_time_and_not_before_it, setup, teardown),
		cmocka_unit_test_setup_teardown(many_delayed_jobs_run_in_the_order_of_their_times, setup, teardown),
		cmocka_unit_test_setup_teardown(a_delayed_job_finds_an_idle_thread_while_another_is_busy, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(an_earlier_time_is_not_missed_by_those_who_sleep_for_a_later_one, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(freeing_drops_what_was_delayed_and_draining_does_not_wait_for_it, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(freeing_drops_what_falls_due_meanwhile, setup, teardown),
		cmocka_unit_test_setup_teardown(threads_are_named_and_leave_signals_to_the_program, setup, teardown),
		cmocka_unit_test_setup_teardown(background_threads_give_way_unless_it_is_urgent_and_others_do_not,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(held_background_threads_begin_nothing_and_end_what_they_began, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(held_jobs_run_in_their_order_when_the_hold_is_over, setup, teardown),
		cmocka_unit_test_setup_teardown(hold_can_be_prolonged_while_jobs_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(urgent_jobs_are_not_held, setup, teardown),
		cmocka_unit_test_setup_teardown(threads_that_are_not_background_are_never_held, setup, teardown),
		cmocka_unit_test_setup_teardown(job_that_comes_as_a_hold_ends_is_not_forgotten, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
