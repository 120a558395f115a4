/* SPDX-License-Identifier: GPL-3.0-only */
/* loop.c: a thread with an event loop, and how other threads hand it work: a list with a mutex, and an eventfd that wakes it. */
#include "node/loop.h"

#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

struct posted {
	loop_fn *fn;
	void *arg;
	STAILQ_ENTRY(posted) link;
};

STAILQ_HEAD(posted_list, posted);

struct loop {
	struct event_base *base;
	struct event wake;
	int wake_fd;
	pthread_t thread;
	char name[16];

	pthread_mutex_t mutex; /* guards what follows */
	struct posted_list posted;
	bool stopping;
};

/* Runs what was posted, also what that posts. False when there is no more and the loop is to stop. */
static bool run_posted(struct loop *l)
{
	struct posted_list list = STAILQ_HEAD_INITIALIZER(list);
	struct posted *p;
	bool stopping;

	pthread_mutex_lock(&l->mutex);
	STAILQ_CONCAT(&list, &l->posted);
	stopping = l->stopping && STAILQ_EMPTY(&list);
	pthread_mutex_unlock(&l->mutex);
	while ((p = STAILQ_FIRST(&list))) {
		STAILQ_REMOVE_HEAD(&list, link);
		p->fn(p->arg);
		free(p);
	}
	return !stopping;
}

static void wake_up(struct loop *l)
{
	/* Fails only when the counter is full, and then the loop will wake up anyway. */
	(void)!eventfd_write(l->wake_fd, 1);
}

static void wake_event(evutil_socket_t fd, short what, void *arg)
{
	struct loop *l = arg;
	uint64_t count;
	bool stopping;

	(void)what;
	(void)!read(fd, &count, sizeof count);
	if (!run_posted(l)) {
		event_base_loopbreak(l->base);
		return;
	}
	pthread_mutex_lock(&l->mutex);
	stopping = l->stopping;
	pthread_mutex_unlock(&l->mutex);
	if (stopping)
		wake_up(l);
}

static void *run(void *arg)
{
	struct loop *l = arg;
	sigset_t set;

	/* A peer may have closed what we write to. */
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	event_base_loop(l->base, EVLOOP_NO_EXIT_ON_EMPTY);
	return NULL;
}

static struct event_base *make_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (!config)
		return NULL;
	/* Used on one thread; and timeouts of milliseconds need a timer that has them. */
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_PRECISE_TIMER);
	base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

static void destroy(struct loop *l)
{
	if (l->base)
		event_base_free(l->base);
	if (l->wake_fd >= 0)
		close(l->wake_fd);
	pthread_mutex_destroy(&l->mutex);
	free(l);
}

int loop_new(const char *name, struct loop **loop, struct error *err)
{
	struct loop *l = calloc(1, sizeof *l);
	int rc;

	*loop = NULL;
	if (!l)
		return error_set(err, -ENOMEM, "no memory for an event loop");
	pthread_mutex_init(&l->mutex, NULL);
	STAILQ_INIT(&l->posted);
	(void)snprintf(l->name, sizeof l->name, "%s", name);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->base = make_base();
	if (l->wake_fd < 0 || !l->base) {
		destroy(l);
		return error_set(err, -ENOMEM, "cannot make an event loop: out of memory or of file descriptors");
	}
	event_assign(&l->wake, l->base, l->wake_fd, EV_READ | EV_PERSIST, wake_event, l);
	rc = event_add(&l->wake, NULL) ? ENOMEM : pthread_create(&l->thread, NULL, run, l);
	if (rc) {
		destroy(l);
		return error_set(err, -rc, "cannot start the thread of an event loop: %s", strerror(rc));
	}
	(void)pthread_setname_np(l->thread, l->name);
	*loop = l;
	return 0;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->mutex);
	l->stopping = true;
	pthread_mutex_unlock(&l->mutex);
	wake_up(l);
	pthread_join(l->thread, NULL);
	destroy(l);
}

int loop_post(struct loop *l, loop_fn *fn, void *arg)
{
	struct posted *p = malloc(sizeof *p);
	bool first;

	if (!p)
		return -ENOMEM;
	*p = (struct posted){ .fn = fn, .arg = arg };
	pthread_mutex_lock(&l->mutex);
	first = STAILQ_EMPTY(&l->posted);
	STAILQ_INSERT_TAIL(&l->posted, p, link);
	pthread_mutex_unlock(&l->mutex);
	if (first)
		wake_up(l);
	return 0;
}

struct waited {
	loop_fn *fn;
	void *arg;
	sem_t done;
};

static void run_waited(void *arg)
{
	struct waited *w = arg;

	w->fn(w->arg);
	sem_post(&w->done);
}

int loop_run(struct loop *l, loop_fn *fn, void *arg)
{
	struct waited w = { .fn = fn, .arg = arg };
	int rc;

	if (loop_here(l)) {
		fn(arg);
		return 0;
	}
	sem_init(&w.done, 0, 0);
	rc = loop_post(l, run_waited, &w);
	while (rc == 0 && sem_wait(&w.done) < 0 && errno == EINTR)
		;
	sem_destroy(&w.done);
	return rc;
}

bool loop_here(const struct loop *l)
{
	return pthread_equal(pthread_self(), l->thread);
}

struct event_base *loop_base(struct loop *l)
{
	return l->base;
}

uint64_t loop_now_ms(void)
{
	return clock_monotonic_ns() / 1000000;
}

/* ---- timers ---- */

static void timer_event(evutil_socket_t fd, short what, void *arg)
{
	struct loop_timer *t = arg;

	(void)fd;
	(void)what;
	t->fn(t->arg);
}

void loop_timer_init(struct loop_timer *t, struct loop *l, loop_fn *fn, void *arg)
{
	t->fn = fn;
	t->arg = arg;
	evtimer_assign(&t->event, l->base, timer_event, t);
}

void loop_timer_set(struct loop_timer *t, uint64_t ms)
{
	struct timeval wait = { .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	/* Only the memory for the very first timers can be missing; the loop has some already. */
	(void)evtimer_add(&t->event, &wait);
}

bool loop_timer_is_set(const struct loop_timer *t)
{
	return evtimer_pending(&t->event, NULL);
}

void loop_timer_cancel(struct loop_timer *t)
{
	(void)evtimer_del(&t->event);
}
