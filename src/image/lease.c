/* SPDX-License-Identifier: GPL-3.0-only */
/* lease.c: a host's heartbeat in the store, and watching another host's until it has stopped.
 *
 * Clocks of two hosts are never compared. The observer sees a counter, and measures with its own monotonic clock how
 * long it stays the same.
 */
#include "image/epoch.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define LEASE_MS_MAX (60 * 60 * 1000u) /* more is taken for damage */
#define LOOK_MS_MAX 500u               /* the longest time between two looks */
#define STOP_LOOK_MS 20u               /* how often `*stop` is looked at */

static void lease_key(uint64_t host_id, char key[STORE_KEY_MAX + 1])
{
	snprintf(key, STORE_KEY_MAX + 1, "leases/%016" PRIx64, host_id);
}

int lease_load(struct pool *p, uint64_t host_id, struct lease *lease, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct fields *f;
	const char *name;
	int rc;

	lease_key(host_id, key);
	rc = pool_get_object(p, key, OBJECT_LEASE, &p->catalog, &f, err);
	if (rc)
		return rc;
	name = fields_text(f, "hostname", 0);
	if (!name || fields_u64(f, "counter", &lease->counter) || fields_u64(f, "lease_ms", &lease->lease_ms) ||
	    lease->lease_ms > LEASE_MS_MAX)
		rc = error_set(err, -EBADMSG, "%s: a field is missing or damaged", key);
	else
		snprintf(lease->name, sizeof lease->name, "%s", name);
	fields_free(f);
	return rc;
}

int lease_renew(struct pool *p, const struct host *host, uint64_t counter, uint64_t lease_ms, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct fields *f;
	int rc;

	if (lease_ms > LEASE_MS_MAX)
		return error_set(err, -EINVAL, "a lease of %" PRIu64 " ms: at most an hour is allowed", lease_ms);
	f = fields_new();
	if (!f)
		return -ENOMEM;
	lease_key(host->id, key);
	fields_add_u64(f, "counter", counter);
	fields_add_text(f, "hostname", host->name);
	fields_add_u64(f, "lease_ms", lease_ms);
	rc = pool_put_object(p, key, OBJECT_LEASE, &p->catalog, f, 0, err);
	fields_free(f);
	return rc;
}

int lease_drop(struct pool *p, const struct host *host, struct error *err)
{
	char key[STORE_KEY_MAX + 1];

	lease_key(host->id, key);
	return store_remove_wait(p->store, key, err);
}

/* Sleeps until `until` (monotonic). False when `*stop` became true. */
static bool sleep_until(uint64_t until, const atomic_bool *stop)
{
	for (;;) {
		uint64_t now = clock_monotonic_ns();

		if (stop && atomic_load(stop))
			return false;
		if (now >= until)
			return true;
		uint64_t left = until - now;
		if (left > STOP_LOOK_MS * 1000000ull)
			left = STOP_LOOK_MS * 1000000ull;
		struct timespec t = { .tv_nsec = (long)left };
		/* An interrupted sleep only means an earlier look. */
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
	}
}

int lease_wait_expired(struct pool *p, const struct log_view *view, const atomic_bool *stop, struct error *err)
{
	struct lease first, now;
	uint64_t began, wait_ms, look_ms, deadline;
	int rc;

	if (view->newest_epoch == 0 || view->released)
		return 0;
	rc = lease_load(p, view->owner_host, &first, err);
	if (rc == -ENOENT)
		return 0;
	if (rc)
		return rc;
	/* Counted from after the answer: the renewal that we see was begun before, so its owner's own time ends earlier. */
	began = clock_monotonic_ns();
	wait_ms = first.lease_ms + (first.lease_ms + 2) / 3;
	deadline = began + wait_ms * 1000000;
	look_ms = first.lease_ms / 8 < LOOK_MS_MAX ? first.lease_ms / 8 : LOOK_MS_MAX;
	for (bool last = false; !last;) {
		uint64_t next = clock_monotonic_ns() + look_ms * 1000000;

		if (!sleep_until(next < deadline ? next : deadline, stop))
			return error_set(err, -EINTR, "stopped while waiting for the lease of %s", first.name);
		/* The look that decides is begun after the deadline. */
		last = clock_monotonic_ns() >= deadline;
		rc = lease_load(p, view->owner_host, &now, err);
		if (rc == -ENOENT)
			return 0;
		if (rc)
			return rc;
		if (now.counter != first.counter || now.lease_ms != first.lease_ms)
			return error_set(err, -EBUSY, "in use by %s (host %016" PRIx64 "), which is alive", now.name,
			                 view->owner_host);
	}
	return 0;
}
