/* SPDX-License-Identifier: GPL-3.0-only */
/* executor.c: a fixed set of threads that run jobs in the order given, and jobs at a later time.
 *
 * Delayed jobs wait in a heap ordered by time. Every idle thread sleeps until the earliest of them, so that whichever is
 * woken first puts those that are due on the queue; an earlier time wakes all sleepers to look again.
 */
#include "base/executor.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BACKGROUND_NICE 10
#define BACKGROUND_IOPRIO (2 << 13 | 7) /* class best effort, lowest level; linux/ioprio.h */
#define IOPRIO_WHO_ONE 1
#define NAME_SHOWN 12
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

struct job {
	job_fn *run;
	void *arg;
	uint64_t due_ns;   /* delayed jobs: CLOCK_MONOTONIC, the clock of the condition */
	uint64_t sequence; /* delayed jobs: orders those due at the same time */
	STAILQ_ENTRY(job) link;
};

STAILQ_HEAD(job_list, job);

struct executor {
	pthread_mutex_t mutex;
	pthread_cond_t work; /* a job came, an earlier time was set, or it is over */
	pthread_cond_t idle; /* the queue is empty and no job runs */
	/* All up to next_sequence: guarded by mutex. */
	struct job_list queue;
	size_t depth; /* jobs in the queue */
	unsigned running;
	bool stopping;
	struct job **delayed; /* a heap, the earliest first */
	size_t delayed_count, delayed_room;
	uint64_t hold_until_ns; /* background threads begin no job before */
	uint64_t next_sequence;
	atomic_bool urgent;
	/* Set once. */
	bool background;
	char name[NAME_SHOWN + 1];
	unsigned threads; /* that were started */
	pthread_t thread[];
};

static uint64_t now_ns(void)
{
	struct timespec t;
	int rc = clock_gettime(CLOCK_MONOTONIC, &t);

	assert(rc == 0);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static bool sooner(const struct job *a, const struct job *b)
{
	return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->sequence < b->sequence;
}

/* Puts `job` where the heap has a free place at `i`, or above. */
static void sift_up(struct job **heap, size_t i, struct job *job)
{
	for (; i > 0 && sooner(job, heap[(i - 1) / 2]); i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = job;
}

static struct job *take_earliest(struct executor *e)
{
	struct job **heap = e->delayed, *earliest = heap[0], *last = heap[--e->delayed_count];
	size_t count = e->delayed_count, i = 0;

	for (size_t child; (child = 2 * i + 1) < count; i = child) {
		if (child + 1 < count && sooner(heap[child + 1], heap[child]))
			child++;
		if (!sooner(heap[child], last))
			break;
		heap[i] = heap[child];
	}
	if (count > 0)
		heap[i] = last;
	return earliest;
}

static void enqueue(struct executor *e, struct job *job)
{
	STAILQ_INSERT_TAIL(&e->queue, job, link);
	e->depth++;
	pthread_cond_signal(&e->work);
}

/* Until when no job is begun; 0: one may be begun. */
static uint64_t held_until(const struct executor *e)
{
	bool held = e->background && e->hold_until_ns && !e->stopping && !atomic_load(&e->urgent) &&
	            now_ns() < e->hold_until_ns;

	return held ? e->hold_until_ns : 0;
}

/* Sleeps until there may be something to do; not beyond `due`, if that is not 0. */
static void wait_for_work(struct executor *e, uint64_t due)
{
	int rc;

	if (e->delayed_count > 0 && (!due || e->delayed[0]->due_ns < due))
		due = e->delayed[0]->due_ns;
	if (due) {
		struct timespec t = { .tv_sec = (time_t)(due / NS_PER_S), .tv_nsec = (long)(due % NS_PER_S) };
		rc = pthread_cond_timedwait(&e->work, &e->mutex, &t);
	} else {
		rc = pthread_cond_wait(&e->work, &e->mutex);
	}
	assert(rc == 0 || rc == ETIMEDOUT);
}

/* The next job, or NULL when it is over. */
static struct job *next_job(struct executor *e)
{
	for (;;) {
		if (!e->stopping && e->delayed_count > 0) {
			uint64_t now = now_ns();
			while (e->delayed_count > 0 && e->delayed[0]->due_ns <= now)
				enqueue(e, take_earliest(e));
		}
		struct job *job = STAILQ_FIRST(&e->queue);
		uint64_t held = job ? held_until(e) : 0;
		if (job && !held) {
			STAILQ_REMOVE_HEAD(&e->queue, link);
			e->depth--;
			/* While jobs were held, all who were told of one may have been the same thread. */
			if (e->background && e->depth)
				pthread_cond_signal(&e->work);
			return job;
		}
		if (e->stopping)
			return NULL;
		wait_for_work(e, held);
	}
}

/* Whether a thread may leave SCHED_IDLE again. */
static bool may_come_back(void)
{
	struct rlimit limit;

	return geteuid() == 0 || (getrlimit(RLIMIT_NICE, &limit) == 0 && limit.rlim_cur >= 20);
}

/* A woken guest thread takes the processor from a SCHED_IDLE thread at once; any other class may keep it for milliseconds. A
 * refusal only means that guests may notice the work, so it is passed over. */
static void set_priority(bool urgent)
{
	pid_t thread = (pid_t)syscall(SYS_gettid);
	struct sched_param param = { .sched_priority = 0 };
	bool back = may_come_back();

	(void)sched_setscheduler(thread, urgent || !back ? SCHED_BATCH : SCHED_IDLE, &param);
	if (!back)
		(void)setpriority(PRIO_PROCESS, (id_t)thread, BACKGROUND_NICE);
	(void)syscall(SYS_ioprio_set, IOPRIO_WHO_ONE, thread, urgent ? 0 : BACKGROUND_IOPRIO);
}

void executor_set_urgent(struct executor *e, bool urgent)
{
	/* Who is held back hears of it. */
	if (!atomic_exchange(&e->urgent, urgent) && urgent) {
		pthread_mutex_lock(&e->mutex);
		pthread_cond_broadcast(&e->work);
		pthread_mutex_unlock(&e->mutex);
	}
}

void executor_hold(struct executor *e, uint64_t ms)
{
	uint64_t until = now_ns() + ms * NS_PER_MS;

	pthread_mutex_lock(&e->mutex);
	if (e->hold_until_ns < until)
		e->hold_until_ns = until;
	pthread_mutex_unlock(&e->mutex);
}

static void *thread_main(void *arg)
{
	struct executor *e = arg;
	struct job *job;
	bool urgent = false;

	if (e->background)
		set_priority(false);
	pthread_mutex_lock(&e->mutex);
	while ((job = next_job(e))) {
		e->running++;
		pthread_mutex_unlock(&e->mutex);
		if (e->background && urgent != atomic_load(&e->urgent))
			set_priority(urgent = !urgent);
		job->run(job->arg);
		free(job);
		pthread_mutex_lock(&e->mutex);
		e->running--;
		if (e->running == 0 && e->depth == 0)
			pthread_cond_broadcast(&e->idle);
	}
	pthread_mutex_unlock(&e->mutex);
	return NULL;
}

/* Starts the threads with all signals blocked, so that the program's own threads get them. Returns 0 or an errno. */
static int start_threads(struct executor *e, unsigned threads)
{
	sigset_t all, before;
	int rc;

	(void)sigfillset(&all);
	rc = pthread_sigmask(SIG_SETMASK, &all, &before);
	assert(rc == 0);
	while (rc == 0 && e->threads < threads) {
		rc = pthread_create(&e->thread[e->threads], NULL, thread_main, e);
		if (rc == 0) {
			char name[16];
			(void)snprintf(name, sizeof name, "%s-%u", e->name, e->threads % 100);
			(void)pthread_setname_np(e->thread[e->threads], name);
			e->threads++;
		}
	}
	int restored = pthread_sigmask(SIG_SETMASK, &before, NULL);
	assert(restored == 0);
	return rc;
}

static int init_conditions(struct executor *e)
{
	int rc = -clock_cond_init(&e->work);

	if (rc != 0)
		return rc;
	rc = pthread_cond_init(&e->idle, NULL);
	if (rc != 0)
		pthread_cond_destroy(&e->work);
	return rc;
}

struct executor *executor_new(const char *name, unsigned threads, bool background)
{
	struct executor *e = calloc(1, sizeof *e + threads * sizeof e->thread[0]);
	int rc;

	if (!e)
		return NULL;
	STAILQ_INIT(&e->queue);
	e->background = background;
	(void)snprintf(e->name, sizeof e->name, "%s", name);
	rc = pthread_mutex_init(&e->mutex, NULL);
	if (rc != 0)
		goto no_mutex;
	rc = init_conditions(e);
	if (rc != 0)
		goto no_conditions;
	rc = start_threads(e, threads);
	if (rc != 0) {
		executor_free(e);
		errno = rc;
		return NULL;
	}
	return e;

no_conditions:
	pthread_mutex_destroy(&e->mutex);
no_mutex:
	free(e);
	errno = rc;
	return NULL;
}

void executor_free(struct executor *e)
{
	if (!e)
		return;
	pthread_mutex_lock(&e->mutex);
	e->stopping = true;
	pthread_cond_broadcast(&e->work);
	pthread_mutex_unlock(&e->mutex);
	for (unsigned i = 0; i < e->threads; i++) {
		int rc = pthread_join(e->thread[i], NULL);
		assert(rc == 0);
	}
	for (size_t i = 0; i < e->delayed_count; i++)
		free(e->delayed[i]);
	free(e->delayed);
	pthread_cond_destroy(&e->idle);
	pthread_cond_destroy(&e->work);
	pthread_mutex_destroy(&e->mutex);
	free(e);
}

static struct job *job_new(job_fn *run, void *arg)
{
	struct job *job = calloc(1, sizeof *job);

	if (job) {
		job->run = run;
		job->arg = arg;
	}
	return job;
}

int executor_run(struct executor *e, job_fn *run, void *arg)
{
	struct job *job = job_new(run, arg);

	if (!job)
		return -ENOMEM;
	pthread_mutex_lock(&e->mutex);
	enqueue(e, job);
	pthread_mutex_unlock(&e->mutex);
	return 0;
}

/* Makes room in the heap for one more. The mutex is held. */
static int reserve_delayed(struct executor *e)
{
	if (e->delayed_count < e->delayed_room)
		return 0;
	size_t room = e->delayed_room ? 2 * e->delayed_room : 16;
	struct job **bigger = reallocarray(e->delayed, room, sizeof *bigger);
	if (!bigger)
		return -ENOMEM;
	e->delayed = bigger;
	e->delayed_room = room;
	return 0;
}

int executor_run_after(struct executor *e, uint64_t delay_ms, job_fn *run, void *arg)
{
	struct job *job = job_new(run, arg);
	int rc;

	if (!job)
		return -ENOMEM;
	if (__builtin_mul_overflow(delay_ms, NS_PER_MS, &job->due_ns) ||
	    __builtin_add_overflow(job->due_ns, now_ns(), &job->due_ns) || job->due_ns > INT64_MAX)
		job->due_ns = INT64_MAX;

	pthread_mutex_lock(&e->mutex);
	rc = reserve_delayed(e);
	if (rc == 0) {
		job->sequence = e->next_sequence++;
		sift_up(e->delayed, e->delayed_count++, job);
		if (e->delayed[0] == job)
			pthread_cond_broadcast(&e->work);
	}
	pthread_mutex_unlock(&e->mutex);
	if (rc < 0)
		free(job);
	return rc;
}

void executor_drain(struct executor *e)
{
	pthread_mutex_lock(&e->mutex);
	while (e->depth > 0 || e->running > 0)
		pthread_cond_wait(&e->idle, &e->mutex);
	pthread_mutex_unlock(&e->mutex);
}

size_t executor_depth(struct executor *e)
{
	pthread_mutex_lock(&e->mutex);
	size_t depth = e->depth;
	pthread_mutex_unlock(&e->mutex);
	return depth;
}
