/* SPDX-License-Identifier: GPL-3.0-only */
/* renewal.c: a value that runs out, fetched anew by a thread of its own some time before it does. */
#include "store/renewal.h"

#include "base/clock.h"
#include "base/report.h"
#include "store/http_retry.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define NS_PER_S UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)
#define BETWEEN_FETCHES_NS NS_PER_S
#define PAUSE_MAX_S 60
#define FIRST_TRIES 8 /* at most, however long the patience */
#define SLEEP_MAX_NS (3600 * NS_PER_S)

struct renewal {
	struct renewal_options options; /* `what` is the field below */
	char what[128];
	pthread_t thread;
	void *fetched; /* the fetching thread's alone */

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t wake;  /* `due_ns` came nearer, or `stopping` */
	void *value;
	uint64_t generation;
	uint64_t end_ns;   /* when the value runs out, by clock_monotonic_ns() */
	uint64_t due_ns;   /* when to fetch */
	uint64_t begun_ns; /* the last fetch */
	unsigned failures; /* since the last success */
	bool refused;
	bool told_end; /* that it ran out and could not be renewed has been reported */
	bool stopping;
	struct error last; /* of the last fetch, if that failed */
};

/* A number below `limit`, which is not 0, to spread requests. */
static uint64_t by_chance(uint64_t limit)
{
	uint64_t number = clock_monotonic_ns();

	(void)!getrandom(&number, sizeof number, GRND_NONBLOCK);
	return number % limit;
}

static uint64_t add_ns(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

uint64_t renewal_wait_ns(uint64_t lifetime_ns, uint64_t margin_ns)
{
	if (lifetime_ns == RENEWAL_FOREVER)
		return RENEWAL_FOREVER;
	if (margin_ns > lifetime_ns / 4)
		margin_ns = lifetime_ns / 4;
	return lifetime_ns - margin_ns - by_chance(margin_ns / 8 + 1);
}

static uint64_t due_after_failure(const struct renewal *r, uint64_t now)
{
	uint64_t pause = r->failures < 7 ? UINT64_C(1) << (r->failures - 1) : PAUSE_MAX_S;

	if (pause > PAUSE_MAX_S)
		pause = PAUSE_MAX_S;
	return now + pause * NS_PER_S / 2 + by_chance(pause * NS_PER_S / 2);
}

/* Notes how a fetch ended. Returns what is to be reported of it, if anything. */
enum news { NEWS_NONE, NEWS_FAILED, NEWS_RAN_OUT, NEWS_WELL_AGAIN };

static enum news settle(struct renewal *r, int rc, uint64_t lifetime_ns, const struct error *err)
{
	uint64_t now = clock_monotonic_ns();
	enum news news = NEWS_NONE;

	if (rc == 0) {
		news = r->failures ? NEWS_WELL_AGAIN : NEWS_NONE;
		memcpy(r->value, r->fetched, r->options.size);
		r->generation++;
		r->end_ns = lifetime_ns == RENEWAL_FOREVER ? UINT64_MAX : add_ns(now, lifetime_ns);
		r->due_ns = add_ns(now, renewal_wait_ns(lifetime_ns, r->options.margin_ns));
		r->failures = 0;
		r->refused = r->told_end = false;
		r->last = (struct error){ 0 };
	} else {
		r->failures++;
		r->due_ns = due_after_failure(r, now);
		r->last = *err;
		r->last.code = rc;
		if (r->failures == 1)
			news = NEWS_FAILED;
		if (!r->told_end && (r->refused || now >= r->end_ns)) {
			news = NEWS_RAN_OUT;
			r->told_end = true;
		}
	}
	if (r->due_ns < r->begun_ns + BETWEEN_FETCHES_NS)
		r->due_ns = r->begun_ns + BETWEEN_FETCHES_NS;
	return news;
}

static void tell(const struct renewal *r, enum news news, const struct error *err)
{
	if (news == NEWS_FAILED)
		report_warning("%s could not be renewed yet: %s; it goes on trying", r->what, error_text(err));
	else if (news == NEWS_RAN_OUT)
		report_error("%s ran out and could not be renewed: %s; it goes on trying, and the store waits", r->what,
		             error_text(err));
	else if (news == NEWS_WELL_AGAIN)
		report_notice("%s renewed after all", r->what);
}

/* With the lock held, which is given up meanwhile. */
static void fetch_once(struct renewal *r)
{
	struct error err = { 0 };
	uint64_t lifetime_ns = RENEWAL_FOREVER;
	enum news news;
	int rc;

	r->begun_ns = clock_monotonic_ns();
	pthread_mutex_unlock(&r->lock);
	rc = r->options.fetch(r->options.arg, r->fetched, &lifetime_ns, &err);
	err.code = rc;
	pthread_mutex_lock(&r->lock);
	news = settle(r, rc, lifetime_ns, &err);
	pthread_mutex_unlock(&r->lock);
	sodium_memzero(r->fetched, r->options.size);
	tell(r, news, &err);
	pthread_mutex_lock(&r->lock);
}

static void sleep_for(struct renewal *r, uint64_t ns)
{
	struct timespec until;
	int rc;

	if (ns > SLEEP_MAX_NS)
		ns = SLEEP_MAX_NS;
	rc = clock_gettime(CLOCK_MONOTONIC, &until);
	assert(rc == 0);
	ns += (uint64_t)until.tv_nsec;
	until.tv_sec += (time_t)(ns / NS_PER_S);
	until.tv_nsec = (long)(ns % NS_PER_S);
	rc = pthread_cond_timedwait(&r->wake, &r->lock, &until);
	assert(rc == 0 || rc == ETIMEDOUT);
}

static void *thread_main(void *arg)
{
	struct renewal *r = arg;

	pthread_mutex_lock(&r->lock);
	while (!r->stopping) {
		uint64_t now = clock_monotonic_ns();

		if (now < r->due_ns)
			sleep_for(r, r->due_ns - now);
		else
			fetch_once(r);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

static int start_thread(struct renewal *r)
{
	sigset_t all, before;
	int rc, restored;

	(void)sigfillset(&all);
	rc = pthread_sigmask(SIG_SETMASK, &all, &before);
	if (rc != 0)
		return -rc;
	rc = pthread_create(&r->thread, NULL, thread_main, r);
	if (rc == 0)
		(void)pthread_setname_np(r->thread, "renewal");
	restored = pthread_sigmask(SIG_SETMASK, &before, NULL);
	assert(restored == 0);
	return -rc;
}

static void wipe_and_free(void *value, size_t size)
{
	if (value)
		sodium_memzero(value, size);
	free(value);
}

static void free_memory(struct renewal *r)
{
	wipe_and_free(r->value, r->options.size);
	wipe_and_free(r->fetched, r->options.size);
	free(r);
}

static int init_lock(struct renewal *r)
{
	int rc = -pthread_mutex_init(&r->lock, NULL);

	if (rc)
		return rc;
	rc = clock_cond_init(&r->wake);
	if (rc)
		pthread_mutex_destroy(&r->lock);
	return rc;
}

static struct renewal *allocate(const struct renewal_options *options)
{
	struct renewal *r = calloc(1, sizeof *r);

	if (!r)
		return NULL;
	r->options = *options;
	(void)snprintf(r->what, sizeof r->what, "%s", options->what);
	r->options.what = r->what;
	r->value = calloc(1, options->size);
	r->fetched = calloc(1, options->size);
	if (r->value && r->fetched && init_lock(r) == 0)
		return r;
	free_memory(r);
	return NULL;
}

static bool fault_passes(int rc)
{
	return rc == -EIO || rc == -ETIMEDOUT || rc == -EHOSTUNREACH;
}

/* Whether to try again: waits before it, but not past `end_ns`. */
static bool wait_a_little(uint64_t *wait_ms, uint64_t end_ns)
{
	struct timespec pause;

	*wait_ms = http_backoff_ms(*wait_ms, (uint32_t)by_chance(UINT64_C(1) << 32));
	if (add_ns(clock_monotonic_ns(), *wait_ms * NS_PER_MS) >= end_ns)
		return false;
	pause = (struct timespec){ (time_t)(*wait_ms / 1000), (long)(*wait_ms % 1000 * NS_PER_MS) };
	(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	return true;
}

/* Into r->fetched. */
static int fetch_first(struct renewal *r, uint64_t *lifetime_ns, struct error *err)
{
	uint64_t end_ns = add_ns(clock_monotonic_ns(), r->options.patience_ms * NS_PER_MS), wait_ms = 0;
	int tries = 0, rc;

	do {
		*lifetime_ns = RENEWAL_FOREVER;
		r->begun_ns = clock_monotonic_ns();
		rc = r->options.fetch(r->options.arg, r->fetched, lifetime_ns, err);
	} while (fault_passes(rc) && ++tries < FIRST_TRIES && wait_a_little(&wait_ms, end_ns));
	return rc;
}

int renewal_new(const struct renewal_options *options, struct renewal **renewal, struct error *err)
{
	uint64_t lifetime_ns;
	struct renewal *r = allocate(options);
	int rc;

	if (!r)
		return error_set(err, -ENOMEM, "no memory for %s", options->what);
	rc = fetch_first(r, &lifetime_ns, err);
	if (rc < 0)
		goto fail;
	(void)settle(r, 0, lifetime_ns, NULL);
	sodium_memzero(r->fetched, options->size);
	rc = start_thread(r);
	if (rc < 0) {
		error_set(err, rc, "no thread to renew %s: %s", options->what, strerror(-rc));
		goto fail;
	}
	*renewal = r;
	return 0;
fail:
	pthread_cond_destroy(&r->wake);
	pthread_mutex_destroy(&r->lock);
	free_memory(r);
	return rc;
}

void renewal_free(struct renewal *r)
{
	int rc;

	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->stopping = true;
	pthread_cond_signal(&r->wake);
	pthread_mutex_unlock(&r->lock);
	rc = pthread_join(r->thread, NULL);
	assert(rc == 0);
	pthread_cond_destroy(&r->wake);
	pthread_mutex_destroy(&r->lock);
	free_memory(r);
}

/* Why there is no value, with the lock held. */
static int explain(const struct renewal *r, struct error *err)
{
	if (!r->last.code)
		return error_set(err, -EAGAIN, "%s is being renewed", r->what);
	return error_set(err, -EAGAIN, "%s could not be renewed: %s", r->what, error_text(&r->last));
}

int renewal_get(struct renewal *r, void *value, uint64_t *generation, struct error *err)
{
	int rc = 0;

	pthread_mutex_lock(&r->lock);
	if (r->refused || clock_monotonic_ns() >= r->end_ns) {
		/* The thread sleeps by a clock that stands still while the host is suspended. */
		pthread_cond_signal(&r->wake);
		rc = explain(r, err);
	} else {
		memcpy(value, r->value, r->options.size);
		if (generation)
			*generation = r->generation;
	}
	pthread_mutex_unlock(&r->lock);
	return rc;
}

void renewal_expired(struct renewal *r, uint64_t generation)
{
	pthread_mutex_lock(&r->lock);
	if (generation == r->generation && !r->refused) {
		r->refused = true;
		r->due_ns = r->begun_ns + BETWEEN_FETCHES_NS; /* in the past, mostly */
		pthread_cond_signal(&r->wake);
	}
	pthread_mutex_unlock(&r->lock);
}
