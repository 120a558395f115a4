/* SPDX-License-Identifier: GPL-3.0-only */
/* range_lock.c: exclusive locks on ranges of numbers, granted in the order asked for.
 *
 * One list in order of arrival. There are as many entries as writes in flight, so walking it is cheap.
 */
#include "base/range_lock.h"

#include <assert.h>
#include <stddef.h>

void range_locks_init(struct range_locks *locks)
{
	int rc = pthread_mutex_init(&locks->mutex, NULL);

	assert(rc == 0);
	TAILQ_INIT(&locks->all);
}

void range_locks_destroy(struct range_locks *locks)
{
	assert(TAILQ_EMPTY(&locks->all));
	int rc = pthread_mutex_destroy(&locks->mutex);
	assert(rc == 0);
}

static bool overlap(const struct range_lock *a, const struct range_lock *b)
{
	return a->first <= b->last && b->first <= a->last;
}

/* Whether an entry before `lock`, holder or waiter, is in its way. The mutex is held. */
static bool obstructed(const struct range_locks *locks, const struct range_lock *lock)
{
	const struct range_lock *other;

	TAILQ_FOREACH(other, &locks->all, link) {
		if (other == lock)
			return false;
		if (overlap(other, lock))
			return true;
	}
	return false;
}

bool range_lock(struct range_locks *locks, struct range_lock *lock, uint64_t first, uint64_t last,
                void (*granted)(void *arg), void *arg)
{
	assert(first <= last);
	*lock = (struct range_lock){ .first = first, .last = last, .granted = granted, .arg = arg };

	pthread_mutex_lock(&locks->mutex);
	TAILQ_INSERT_TAIL(&locks->all, lock, link);
	bool held = !obstructed(locks, lock);
	lock->held = held;
	pthread_mutex_unlock(&locks->mutex);
	return held;
}

bool range_lock_try(struct range_locks *locks, struct range_lock *lock, uint64_t first, uint64_t last)
{
	assert(first <= last);
	*lock = (struct range_lock){ .first = first, .last = last };

	pthread_mutex_lock(&locks->mutex);
	TAILQ_INSERT_TAIL(&locks->all, lock, link);
	lock->held = !obstructed(locks, lock);
	if (!lock->held)
		TAILQ_REMOVE(&locks->all, lock, link);
	pthread_mutex_unlock(&locks->mutex);
	return lock->held;
}

void range_unlock(struct range_locks *locks, struct range_lock *lock)
{
	struct range_lock *go = NULL, **tail = &go, *waiter;

	pthread_mutex_lock(&locks->mutex);
	assert(lock->held);
	waiter = TAILQ_NEXT(lock, link);
	TAILQ_REMOVE(&locks->all, lock, link);
	for (; waiter; waiter = TAILQ_NEXT(waiter, link)) {
		if (waiter->held || !overlap(waiter, lock) || obstructed(locks, waiter))
			continue;
		waiter->held = true;
		*tail = waiter;
		tail = &waiter->next_granted;
	}
	pthread_mutex_unlock(&locks->mutex);

	/* Nobody releases a lock before its callback has run, so the list stays; but the callback may end its own entry. */
	while ((waiter = go)) {
		go = waiter->next_granted;
		waiter->granted(waiter->arg);
	}
}
