/* SPDX-License-Identifier: GPL-3.0-only */
/* range_lock.h: exclusive locks on ranges of numbers, granted in the order asked for.
 *
 * Two holders never overlap. A request that overlaps a holder, or an earlier waiter, waits without a thread: its callback
 * runs when it is granted. The engine locks the grains of a write from before its slots are reserved until the map points
 * at them, so that log order and map order agree for every grain.
 */
#ifndef GARNER_BASE_RANGE_LOCK_H
#define GARNER_BASE_RANGE_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct range_lock {
	/* The caller embeds it; private fields below. */
	uint64_t first, last;
	void (*granted)(void *arg);
	void *arg;
	bool held;
	TAILQ_ENTRY(range_lock) link;
	struct range_lock *next_granted; /* between being granted and being told */
};

struct range_locks {
	pthread_mutex_t mutex;
	TAILQ_HEAD(, range_lock) all; /* holders and waiters, in order of arrival; guarded by mutex */
};

void range_locks_init(struct range_locks *locks);
/* Nothing may be held or waiting. */
void range_locks_destroy(struct range_locks *locks);

/* Asks for [first, last], both included. Returns true when it is held at once; else false, and granted(arg) is called
 * later, once, by the thread that releases the obstacle, with no lock held. `lock` belongs to the caller, and must stay
 * until it is released. Any thread; never blocks. */
bool range_lock(struct range_locks *locks, struct range_lock *lock, uint64_t first, uint64_t last,
                void (*granted)(void *arg), void *arg);

/* Takes it only if nothing, neither a holder nor a waiter, is in its way: false, and nothing is asked for. So one may be taken while others
 * are held, in any order. Any thread; never blocks. */
bool range_lock_try(struct range_locks *locks, struct range_lock *lock, uint64_t first, uint64_t last);

/* Gives it back and runs the callbacks of those who can go now. */
void range_unlock(struct range_locks *locks, struct range_lock *lock);

#endif
