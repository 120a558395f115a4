/* SPDX-License-Identifier: GPL-3.0-only */
/* test_pool_claim.c: claims on a store where creating is not atomic: of all hosts that race, one at most believes. In simulated
 * time, in many interleavings that a seed decides (GARNER_TEST_SEED; the default is always the same ones).
 */
#include "image/epoch.h"
#include "image/pool_claim.h"
#include "lib/random.h"
#include "lib/weak_store.h"
#include "seal/crypto_init.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define HOSTS_MAX 3
#define OBJECTS_MAX 4
#define LATE_MAX 16
#define BYTES_MAX 1024
#define SETTLE 1000u /* D, in units of simulated time */
#define IMAGE 7u

/* What a put does to the store, now or later. */
struct change {
	uint64_t when, stamp;
	char key[STORE_KEY_MAX + 1];
	uint8_t bytes[BYTES_MAX];
	size_t len;
};

struct sim_host {
	struct sim *sim;
	pthread_t thread;
	uint64_t wake;
	bool over;
	struct store store; /* the one store, as this host sees it */
	struct pool_clock clock;
	struct pool pool;
	int rc;
};

/* Hosts are threads of which one at a time runs: the one whose time is the earliest. */
struct sim {
	struct random random;
	uint64_t now;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	unsigned running, hosts;
	struct sim_host host[HOSTS_MAX];
	struct change object[OBJECTS_MAX]; /* as they are, with the stamp of the put that lasts */
	unsigned objects;
	struct change late[LATE_MAX]; /* tries whose answer was lost, on their way */
	unsigned lates;
	bool checks;  /* a create-only put looks first whether there is an object; else it is a put like any other */
	bool resends; /* puts get lost, and are sent again but for those to be sent once */
};

static uint64_t draw(struct sim *sim, uint64_t below)
{
	return random_below(&sim->random, below);
}

/* ---- simulated time ---- */

/* The mutex is held. */
static void run_earliest(struct sim *sim)
{
	unsigned next = sim->hosts;

	for (unsigned i = 0; i < sim->hosts; i++)
		if (!sim->host[i].over && (next == sim->hosts || sim->host[i].wake < sim->host[next].wake))
			next = i;
	sim->running = next;
	if (next < sim->hosts && sim->host[next].wake > sim->now)
		sim->now = sim->host[next].wake;
	pthread_cond_broadcast(&sim->changed);
}

static void wait_for_turn(struct sim_host *h)
{
	while (&h->sim->host[h->sim->running] != h)
		pthread_cond_wait(&h->sim->changed, &h->sim->mutex);
}

static void pass_time(void *arg, uint64_t units)
{
	struct sim_host *h = arg;

	pthread_mutex_lock(&h->sim->mutex);
	h->wake = h->sim->now + units;
	run_earliest(h->sim);
	wait_for_turn(h);
	pthread_mutex_unlock(&h->sim->mutex);
}

static uint64_t sim_now(void *arg)
{
	return ((struct sim_host *)arg)->sim->now;
}

/* Mostly short, at times long enough to spoil a claim. */
static void some_time(struct sim_host *h)
{
	pass_time(h, draw(h->sim, 12) ? draw(h->sim, SETTLE / 5) : draw(h->sim, 2 * SETTLE));
}

/* ---- the store ---- */

static struct change *find_object(struct sim *sim, const char *key)
{
	for (unsigned i = 0; i < sim->objects; i++)
		if (strcmp(sim->object[i].key, key) == 0)
			return &sim->object[i];
	return NULL;
}

/* Of two puts the one that was begun later lasts, whichever is carried out first. */
static void carry_out(struct sim *sim, const struct change *c)
{
	struct change *object = find_object(sim, c->key);

	if (!object)
		object = &sim->object[sim->objects++];
	if (c->stamp >= object->stamp)
		*object = *c;
}

static void carry_out_what_is_late(struct sim *sim)
{
	for (unsigned i = 0; i < sim->lates; i++) {
		if (sim->late[i].when > sim->now)
			continue;
		carry_out(sim, &sim->late[i]);
		sim->late[i--] = sim->late[--sim->lates];
	}
}

/* The first try is lost to its sender, and arrives some time. */
static void lose_first_try(struct sim_host *h, const struct change *c)
{
	struct sim *sim = h->sim;
	struct change *late = &sim->late[sim->lates++];

	assert_true(sim->lates <= LATE_MAX);
	*late = *c;
	late->when = late->stamp = sim->now + draw(sim, 3 * SETTLE);
	some_time(h);
}

static void sim_put(struct store *s, const char *key, const struct iovec *iov, int iovcnt, unsigned flags,
                    store_done_fn *done, void *arg)
{
	struct sim_host *h = (struct sim_host *)((char *)s - offsetof(struct sim_host, store));
	struct change c = { .len = iov->iov_len };

	assert_true(iovcnt == 1 && c.len <= BYTES_MAX);
	snprintf(c.key, sizeof c.key, "%s", key);
	memcpy(c.bytes, iov->iov_base, c.len);
	some_time(h);
	if (h->sim->resends && draw(h->sim, 3) == 0) {
		lose_first_try(h, &c);
		if (flags & STORE_PUT_ONCE) {
			done(arg, -ETIMEDOUT, NULL);
			return;
		}
	}
	c.stamp = h->sim->now;
	carry_out_what_is_late(h->sim);
	if (flags & STORE_PUT_CREATE_ONLY && h->sim->checks && find_object(h->sim, key)) {
		some_time(h);
		done(arg, -EEXIST, NULL);
		return;
	}
	some_time(h);
	carry_out_what_is_late(h->sim);
	carry_out(h->sim, &c);
	some_time(h);
	done(arg, 0, NULL);
}

static void sim_get(struct store *s, const char *key, uint64_t offset, void *buf, size_t len, unsigned flags,
                    store_length_fn *done, void *arg)
{
	struct sim_host *h = (struct sim_host *)((char *)s - offsetof(struct sim_host, store));
	const struct change *object;
	size_t got = 0;

	assert_true(offset == 0 && !(flags & STORE_GET_IMMUTABLE));
	some_time(h);
	carry_out_what_is_late(h->sim);
	object = find_object(h->sim, key);
	if (object) {
		got = object->len < len ? object->len : len;
		memcpy(buf, object->bytes, got);
	}
	some_time(h);
	done(arg, object ? 0 : -ENOENT, got, NULL);
}

static void sim_head(struct store *s, const char *key, store_length_fn *done, void *arg)
{
	char nothing;

	sim_get(s, key, 0, &nothing, 0, 0, done, arg);
}

static const struct store_ops sim_ops = { .put = sim_put, .get = sim_get, .head = sim_head };

/* ---- races ---- */

static void *claim(void *arg)
{
	struct sim_host *h = arg;
	struct host name = { .id = 100 + (uint64_t)(h - h->sim->host), .name = "racer" };
	struct log_view view = { 0 };

	pthread_mutex_lock(&h->sim->mutex);
	wait_for_turn(h);
	pthread_mutex_unlock(&h->sim->mutex);
	h->rc = epoch_claim(&h->pool, IMAGE, &name, &view, NULL);
	log_view_destroy(&view);
	pthread_mutex_lock(&h->sim->mutex);
	h->over = true;
	run_earliest(h->sim);
	pthread_mutex_unlock(&h->sim->mutex);
	return NULL;
}

/* How many hosts believe that the epoch is theirs. */
static unsigned race(uint64_t seed, unsigned capabilities, bool resends)
{
	struct sim *sim = calloc(1, sizeof *sim);
	unsigned believers = 0;

	assert_non_null(sim);
	sim->random.state = seed;
	sim->resends = resends;
	sim->checks = draw(sim, 2);
	sim->hosts = 2 + (unsigned)draw(sim, 2);
	assert_int_equal(pthread_mutex_init(&sim->mutex, NULL) || pthread_cond_init(&sim->changed, NULL), 0);
	for (unsigned i = 0; i < sim->hosts; i++) {
		struct sim_host *h = &sim->host[i];

		h->sim = sim;
		h->store = (struct store){ .ops = &sim_ops, .capabilities = capabilities };
		h->clock = (struct pool_clock){ sim_now, pass_time, h, SETTLE };
		h->pool = (struct pool){ .store = &h->store, .clock = &h->clock, .master = { .plain = true } };
		h->wake = draw(sim, 3 * SETTLE / 2);
	}
	run_earliest(sim);
	for (unsigned i = 0; i < sim->hosts; i++)
		assert_int_equal(pthread_create(&sim->host[i].thread, NULL, claim, &sim->host[i]), 0);
	for (unsigned i = 0; i < sim->hosts; i++)
		assert_int_equal(pthread_join(sim->host[i].thread, NULL), 0);
	for (unsigned i = 0; i < sim->hosts; i++) {
		int rc = sim->host[i].rc;

		believers += rc == 0;
		if (rc && rc != -EBUSY && rc != -ETIMEDOUT && rc != -EAGAIN)
			fail_msg("seed %" PRIu64 ": %s", seed, strerror(-rc));
	}
	pthread_cond_destroy(&sim->changed);
	pthread_mutex_destroy(&sim->mutex);
	free(sim);
	return believers;
}

struct tally {
	unsigned none, one, more;
};

static struct tally race_often(unsigned races, unsigned capabilities, bool resends)
{
	uint64_t seed = env_number("GARNER_TEST_SEED", 1);
	struct tally t = { 0 };

	for (unsigned i = 0; i < races; i++) {
		unsigned believers = race(seed + i, capabilities, resends);

		t.none += believers == 0;
		t.one += believers == 1;
		t.more += believers > 1;
		if (believers > 1 && !(capabilities & STORE_CREATE_ONLY))
			fail_msg("seed %" PRIu64 ": %u hosts believe", seed + i, believers);
	}
	return t;
}

static void of_hosts_that_race_one_at_most_believes(void **state)
{
	struct tally t = race_often(1500, STORE_READ_LATEST, false);

	(void)state;
	assert_int_equal(t.more, 0);
	assert_true(t.one > 100);
}

static void a_put_that_was_sent_twice_deceives_nobody(void **state)
{
	struct tally t = race_often(3000, STORE_READ_LATEST, true);

	(void)state;
	assert_int_equal(t.more, 0);
	assert_true(t.one > 50);
}

/* Were it not so, the tests above would prove nothing. */
static void who_takes_such_a_store_at_its_word_believes_with_others(void **state)
{
	struct tally t = race_often(100, STORE_CREATE_ONLY, false);

	(void)state;
	assert_true(t.more > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_hosts_that_race_one_at_most_believes),
		cmocka_unit_test(a_put_that_was_sent_twice_deceives_nobody),
		cmocka_unit_test(who_takes_such_a_store_at_its_word_believes_with_others),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
