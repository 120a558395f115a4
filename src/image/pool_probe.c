/* SPDX-License-Identifier: GPL-3.0-only */
/* pool_probe.c: what a store keeps of what it promises.
 *
 * A server may check for an object and make it in two steps: then each of several puts one after the other is answered rightly,
 * and only puts at the same moment tell. One race may end well by chance, so there are several.
 */
#include "image/pool_probe.h"

#include "image/flight.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define ROUNDS 8
#define AT_ONCE 4
#define PROBE_BYTES 24

struct probe {
	struct store *store;
	uint64_t nonce;
	unsigned found; /* enum store_capability: not found wanting yet */
};

static void probe_prefix(const struct probe *p, char prefix[STORE_KEY_MAX + 1])
{
	snprintf(prefix, STORE_KEY_MAX + 1, PROBE_PREFIX "%016" PRIx64 "-", p->nonce);
}

static void probe_key(const struct probe *p, unsigned round, char key[STORE_KEY_MAX + 1])
{
	probe_prefix(p, key);
	snprintf(key + strlen(key), STORE_KEY_MAX + 1 - strlen(key), "%u", round);
}

static void probe_text(char text[PROBE_BYTES], unsigned number)
{
	memset(text, 0, PROBE_BYTES);
	snprintf(text, PROBE_BYTES, "garnerfs probe %u", number);
}

/* Whether `text` is what is read. What is not there at all was not read either. */
static int reads_as(struct store *s, const char *key, const char text[PROBE_BYTES], bool *same, struct error *err)
{
	char got[PROBE_BYTES + 1];
	size_t len = 0;
	int rc = store_get_wait(s, key, 0, got, sizeof got, &len, err);

	*same = !rc && len == PROBE_BYTES && memcmp(got, text, len) == 0;
	return rc == -ENOENT ? 0 : rc;
}

/* ---- create-only ------------------------------------------------------------------------------------------------- */

struct contender {
	struct flight *flight;
	char text[PROBE_BYTES];
	struct iovec iov;
	int status; /* written before flight_end() */
};

static void contended(void *arg, int status, const struct error *err)
{
	struct contender *c = arg;

	c->status = status;
	flight_end(c->flight, status == -EEXIST || status == -EOPNOTSUPP ? 0 : status, err);
}

static int contend(struct store *s, const char *key, struct contender contenders[AT_ONCE], struct error *err)
{
	struct flight flight;
	int rc = flight_init(&flight);

	if (rc)
		return rc;
	for (unsigned i = 0; i < AT_ONCE; i++) {
		struct contender *c = &contenders[i];

		c->flight = &flight;
		probe_text(c->text, i);
		c->iov = (struct iovec){ c->text, sizeof c->text };
		flight_begin(&flight, AT_ONCE);
		store_put(s, key, &c->iov, 1, STORE_PUT_CREATE_ONLY, contended, c);
	}
	rc = flight_wait(&flight, err);
	flight_destroy(&flight);
	return rc;
}

/* Several at once, and one who comes later: one has won, and what it put is there. */
static int race(struct probe *p, const char *key, struct error *err)
{
	struct contender contenders[AT_ONCE];
	const struct contender *winner = NULL;
	unsigned winners = 0;
	bool intact = false;
	char late[PROBE_BYTES];
	int rc = contend(p->store, key, contenders, err);

	if (rc)
		return rc;
	for (unsigned i = 0; i < AT_ONCE; i++) {
		if (contenders[i].status == -EOPNOTSUPP) {
			p->found = 0;
			return 0;
		}
		if (contenders[i].status == 0) {
			winner = &contenders[i];
			winners++;
		}
	}
	probe_text(late, AT_ONCE);
	rc = store_put_wait(p->store, key, late, sizeof late, STORE_PUT_CREATE_ONLY, err);
	if (rc == 0)
		winners++;
	else if (rc != -EEXIST)
		return rc;
	rc = winner ? reads_as(p->store, key, winner->text, &intact, err) : 0;
	if (winners != 1 || !intact)
		p->found &= ~(unsigned)STORE_CREATE_ONLY;
	return rc;
}

/* ---- reading and listing ----------------------------------------------------------------------------------------- */

static int replace(struct probe *p, const char *key, struct error *err)
{
	char text[PROBE_BYTES];
	bool same;

	for (unsigned i = 0; i < 2; i++) {
		int rc;

		probe_text(text, 100 + i);
		rc = store_put_wait(p->store, key, text, sizeof text, 0, err);
		if (!rc)
			rc = reads_as(p->store, key, text, &same, err);
		if (rc)
			return rc;
		if (!same)
			p->found &= ~(unsigned)STORE_READ_LATEST;
	}
	return 0;
}

static int count_one(void *arg, const struct store_entry *entry)
{
	(void)entry;
	(*(unsigned *)arg)++;
	return 0;
}

static int run_rounds(struct probe *p, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	unsigned listed = 0;
	int rc = 0;

	for (unsigned round = 0; round < ROUNDS && !rc; round++) {
		probe_key(p, round, key);
		if (p->found & STORE_CREATE_ONLY)
			rc = race(p, key, err);
		if (!rc)
			rc = replace(p, key, err);
	}
	if (rc)
		return rc;
	probe_prefix(p, key);
	rc = store_list_each(p->store, key, NULL, count_one, &listed, err);
	if (!rc && listed != ROUNDS)
		p->found &= ~(unsigned)STORE_LIST_CONSISTENT;
	return rc;
}

static int clean_up(struct probe *p, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	int rc = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		probe_key(p, round, key);
		int removed = store_remove_wait(p->store, key, rc ? NULL : err);
		rc = rc ? rc : removed;
	}
	return rc;
}

int pool_probe(struct store *s, uint64_t *capabilities, struct error *err)
{
	struct probe p = { .store = s, .found = STORE_CREATE_ONLY | STORE_READ_LATEST | STORE_LIST_CONSISTENT };
	int rc, removed;

	randombytes_buf(&p.nonce, sizeof p.nonce);
	rc = run_rounds(&p, err);
	/* Also after a failure: a put that was not answered may have happened. */
	removed = clean_up(&p, rc ? NULL : err);
	if (!rc)
		rc = removed;
	*capabilities = p.found & s->capabilities;
	return rc ? error_prefix(err, rc, "cannot find out what the store can do") : 0;
}
