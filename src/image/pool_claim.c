/* SPDX-License-Identifier: GPL-3.0-only */
/* pool_claim.c: making an object of which one host only may take itself for the maker. Must not know what is made. */
#include "image/pool_claim.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- time -------------------------------------------------------------------------------------------------------- */

static uint64_t host_now_ns(void *arg)
{
	(void)arg;
	return clock_monotonic_ns();
}

static void host_sleep_ns(void *arg, uint64_t ns)
{
	uint64_t end = clock_monotonic_ns() + ns;

	(void)arg;
	for (uint64_t now = clock_monotonic_ns(); now < end; now = clock_monotonic_ns()) {
		struct timespec left = { (time_t)((end - now) / 1000000000u), (long)((end - now) % 1000000000u) };
		/* An interrupted sleep is gone on with. */
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &left, NULL);
	}
}

static const struct pool_clock host_clock = {
	.now_ns = host_now_ns,
	.sleep_ns = host_sleep_ns,
	.settle_ns = CLAIM_MS * UINT64_C(1000000),
};

/* ---- puts -------------------------------------------------------------------------------------------------------- */

static int put_new(struct store *s, const char *store_key, const void *bytes, size_t len, unsigned flags,
                   struct error *err)
{
	uint64_t size;
	int rc = store_put_wait(s, store_key, bytes, len, flags | STORE_PUT_CREATE_ONLY, err);

	if (rc != -EOPNOTSUPP || s->capabilities & STORE_CREATE_ONLY)
		return rc;
	rc = store_head_wait(s, store_key, &size, err);
	if (rc == 0)
		return error_set(err, -EEXIST, "%s: the object exists: %s", s->url, store_key);
	return rc == -ENOENT ? store_put_wait(s, store_key, bytes, len, flags, err) : rc;
}

int pool_put_new(struct store *s, const char *store_key, const void *bytes, size_t len, struct error *err)
{
	return put_new(s, store_key, bytes, len, 0, err);
}

/* Whether these very bytes are there. */
static int is_ours(struct store *s, const char *store_key, const uint8_t *bytes, size_t len, bool *ours,
                   struct error *err)
{
	uint8_t *there = malloc(len + 1);
	size_t got;
	int rc;

	if (!there)
		return error_set(err, -ENOMEM, "out of memory");
	rc = store_get_wait(s, store_key, 0, there, len + 1, &got, err);
	*ours = !rc && got == len && memcmp(there, bytes, len) == 0;
	free(there);
	return rc;
}

static int made_by_another(const char *store_key, struct error *err)
{
	return error_set(err, -EEXIST, "%s: another host made it", store_key);
}

/* One put decides. */
static int claim_at_once(struct store *s, const char *store_key, const uint8_t *bytes, size_t len, struct error *err)
{
	bool ours;
	int rc = pool_put_new(s, store_key, bytes, len, err);

	if (rc != -EEXIST)
		return rc;
	/* A store that repeats a put whose answer was lost meets its own object. */
	rc = is_ours(s, store_key, bytes, len, &ours, err);
	if (rc)
		return rc;
	return ours ? 0 : made_by_another(store_key, err);
}

/* Looks, and puts where there is none. 0: in time, and sent once: a try that was given up might yet be carried out when everybody
 * has looked. */
static int put_in_time(struct store *s, const struct pool_clock *clock, const char *store_key, const uint8_t *bytes,
                       size_t len, struct error *err)
{
	uint64_t began = clock->now_ns(clock->arg), size;
	int rc = store_head_wait(s, store_key, &size, err);

	if (rc != -ENOENT)
		return rc ? rc : made_by_another(store_key, err);
	rc = put_new(s, store_key, bytes, len, STORE_PUT_ONCE, err);
	if (rc)
		return rc == -EEXIST ? made_by_another(store_key, err) : rc;
	if (clock->now_ns(clock->arg) - began > clock->settle_ns)
		return error_set(err, -ETIMEDOUT,
		                 "%s: the store took more than %" PRIu64
		                 " ms, too long to tell whether another host was first: try again",
		                 store_key, clock->settle_ns / 1000000);
	return 0;
}

/* Put, settle, look. */
static int claim_settled(struct pool *p, const char *store_key, const uint8_t *bytes, size_t len, struct error *err)
{
	const struct pool_clock *clock = p->clock ? p->clock : &host_clock;
	bool ours = false;
	int rc = put_in_time(p->store, clock, store_key, bytes, len, err);

	if (rc)
		return rc;
	/* A little longer, as clocks do not run alike. */
	clock->sleep_ns(clock->arg, clock->settle_ns + clock->settle_ns / 8);
	rc = is_ours(p->store, store_key, bytes, len, &ours, err);
	if (rc == -ENOENT)
		return error_set(err, -EAGAIN, "%s: it was made, and is gone again: try again", store_key);
	if (rc)
		return rc;
	return ours ? 0 : made_by_another(store_key, err);
}

int pool_claim(struct pool *p, const char *store_key, enum object_kind kind, const struct seal_key *key,
               const struct fields *f, struct error *err)
{
	unsigned has = p->store->capabilities;
	uint8_t *bytes;
	size_t len;
	int rc = object_encode(f, kind, store_key, key, &bytes, &len);

	if (rc)
		return error_set(err, rc, "cannot make object %s: %s", store_key, strerror(-rc));
	if (!(has & STORE_CREATE_ONLY) && has & STORE_READ_LATEST)
		rc = claim_settled(p, store_key, bytes, len, err);
	else
		rc = claim_at_once(p->store, store_key, bytes, len, err);
	free(bytes);
	return rc;
}
