/* SPDX-License-Identifier: GPL-3.0-only */
/* test_epoch.c: owning an image: claims raced by several hosts, terms, fencing, and where a log ends. */
#include "image/epoch_private.h"
#include "lib/pool_fixture.h"
#include "lib/weak_store.h"

#include "base/clock.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define IMAGE UINT64_C(0xfeed0000cafe)

static const struct host alpha = { .id = 0xa, .name = "alpha" }, beta = { .id = 0xb, .name = "beta" };
static char dir[200];
static struct pool *pool;
static struct error err;

static int setup(void **state)
{
	(void)state;
	fixture_make_dir(dir);
	pool = fixture_open_pool(dir, true);
	memset(&err, 0, sizeof err);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	pool_close(pool);
	fixture_remove_dir(dir);
	return 0;
}

static struct log_view load(void)
{
	struct log_view view;

	if (log_view_load(pool, IMAGE, &view, &err))
		fail_msg("%s", error_text(&err));
	return view;
}

/* An object where a segment would be: all that probing looks at. */
static void put_name(segment_no_t number, uint64_t epoch)
{
	char key[STORE_KEY_MAX + 1];

	segment_key_format(IMAGE, number, epoch, key);
	assert_int_equal(store_put_wait(pool->store, key, "x", 1, 0, &err), 0);
}

static void remove_name(segment_no_t number, uint64_t epoch)
{
	char key[STORE_KEY_MAX + 1];

	segment_key_format(IMAGE, number, epoch, key);
	assert_int_equal(store_remove_wait(pool->store, key, &err), 0);
}

static segment_no_t find_end(const struct log_view *view, segment_no_t hint)
{
	segment_no_t end;

	if (log_find_end(pool, IMAGE, view, hint, &end, &err))
		fail_msg("%s", error_text(&err));
	return end;
}

/* A view with these terms, made without a store. */
static struct log_view view_of(const struct term *terms, size_t count)
{
	struct log_view view = { .term_count = count };

	view.terms = malloc(count * sizeof *terms);
	assert_non_null(view.terms);
	memcpy(view.terms, terms, count * sizeof *terms);
	view.newest_epoch = terms[count - 1].epoch;
	return view;
}

/* A whole take-over, as a host does it. */
static void own(const struct host *host, struct log_view *view)
{
	segment_no_t end;

	log_view_destroy(view);
	*view = load();
	assert_int_equal(epoch_claim(pool, IMAGE, host, view, &err), 0);
	end = find_end(view, 0);
	if (epoch_begin_term(pool, IMAGE, view, end + 1, &err))
		fail_msg("%s", error_text(&err));
}

/* ---- claiming ---- */

static void an_image_that_nobody_wrote_has_no_epoch(void **state)
{
	struct log_view view = load();

	(void)state;
	assert_int_equal(view.newest_epoch, 0);
	assert_int_equal(view.term_count, 0);
	assert_int_equal(log_view_epoch_of(&view, 1), 0);
	assert_int_equal(find_end(&view, 0), 0);
	log_view_destroy(&view);
}

static void a_claim_is_seen_and_fences_the_older_epoch(void **state)
{
	struct log_view view = { 0 }, seen;

	(void)state;
	own(&alpha, &view);
	assert_int_equal(view.newest_epoch, 1);
	assert_int_equal(epoch_superseded(pool, IMAGE, 1, &err), 0);
	seen = load();
	assert_int_equal(seen.newest_epoch, 1);
	assert_int_equal(seen.owner_host, alpha.id);
	assert_string_equal(seen.owner_name, "alpha");
	assert_false(seen.released);
	assert_int_equal(seen.term_count, 1);
	assert_int_equal(seen.terms[0].first, 1);
	assert_int_equal(epoch_claim(pool, IMAGE, &beta, &seen, &err), 0);
	assert_int_equal(seen.newest_epoch, 2);
	assert_int_equal(epoch_superseded(pool, IMAGE, 1, &err), 1);
	assert_int_equal(epoch_superseded(pool, IMAGE, 2, &err), 0);
	/* The first host's view is old: it cannot claim what is claimed. */
	assert_int_equal(epoch_claim(pool, IMAGE, &alpha, &view, &err), -EBUSY);
	assert_non_null(strstr(err.text, "beta"));
	log_view_destroy(&view);
	log_view_destroy(&seen);
}

struct claimer {
	pthread_t thread;
	pthread_barrier_t *start;
	struct host host;
	int rc;
};

static void *race_to_claim(void *arg)
{
	struct claimer *c = arg;
	struct log_view view;

	c->rc = log_view_load(pool, IMAGE, &view, NULL);
	pthread_barrier_wait(c->start);
	if (!c->rc)
		c->rc = epoch_claim(pool, IMAGE, &c->host, &view, NULL);
	log_view_destroy(&view);
	return NULL;
}

static void of_racing_claimers_exactly_one_wins(void **state)
{
	struct claimer claimers[6];
	pthread_barrier_t start;

	(void)state;
	assert_int_equal(pthread_barrier_init(&start, NULL, 6), 0);
	for (uint64_t round = 1; round <= 10; round++) {
		unsigned winners = 0;
		uint64_t winner = 0;
		for (unsigned i = 0; i < 6; i++) {
			claimers[i] = (struct claimer){ .start = &start, .host = { .id = 100 + i, .name = "racer" } };
			assert_int_equal(pthread_create(&claimers[i].thread, NULL, race_to_claim, &claimers[i]), 0);
		}
		for (unsigned i = 0; i < 6; i++)
			assert_int_equal(pthread_join(claimers[i].thread, NULL), 0);
		for (unsigned i = 0; i < 6; i++) {
			if (claimers[i].rc == 0) {
				winners++;
				winner = claimers[i].host.id;
			} else {
				assert_int_equal(claimers[i].rc, -EBUSY);
			}
		}
		assert_int_equal(winners, 1);
		struct log_view view = load();
		assert_int_equal(view.newest_epoch, round);
		assert_int_equal(view.owner_host, winner);
		log_view_destroy(&view);
	}
	pthread_barrier_destroy(&start);
}

static void a_claim_without_a_term_is_passed_over_by_the_next_claimer(void **state)
{
	struct log_view a = { 0 }, lost, c = { 0 };
	uint8_t digest[DIGEST_BYTES] = { 0 };

	(void)state;
	own(&alpha, &a);
	fixture_put_small(pool, IMAGE, 1, 1, digest);
	lost = load();
	assert_int_equal(epoch_claim(pool, IMAGE, &beta, &lost, &err), 0); /* and dies */
	own(&alpha, &c);
	assert_int_equal(c.newest_epoch, 3);
	assert_int_equal(c.term_count, 2);
	assert_int_equal(c.terms[0].epoch, 1);
	assert_int_equal(c.terms[1].epoch, 3);
	assert_int_equal(c.terms[1].first, 2);
	/* Should it come back to life, its term counts for nobody. */
	assert_int_equal(epoch_begin_term(pool, IMAGE, &lost, 2, &err), 0);
	put_name(2, 2);
	struct log_view seen = load();
	assert_int_equal(seen.term_count, 2);
	assert_int_equal(log_view_epoch_of(&seen, 2), 3);
	assert_int_equal(find_end(&seen, 0), 1);
	log_view_destroy(&a);
	log_view_destroy(&lost);
	log_view_destroy(&c);
	log_view_destroy(&seen);
}

static void a_term_written_between_the_look_and_the_claim_is_not_missed(void **state)
{
	struct log_view a, b;
	uint8_t digest[DIGEST_BYTES] = { 0 };

	(void)state;
	a = load();
	assert_int_equal(epoch_claim(pool, IMAGE, &alpha, &a, &err), 0);
	b = load(); /* sees epoch 1, no term */
	assert_int_equal(b.newest_epoch, 1);
	assert_int_equal(b.term_count, 0);
	assert_int_equal(epoch_begin_term(pool, IMAGE, &a, 1, &err), 0);
	fixture_put_small(pool, IMAGE, 1, 1, digest);
	assert_int_equal(epoch_superseded(pool, IMAGE, 1, &err), 0); /* so alpha may acknowledge it */
	assert_int_equal(epoch_claim(pool, IMAGE, &beta, &b, &err), 0);
	assert_int_equal(b.term_count, 1);
	assert_int_equal(find_end(&b, 0), 1);
	assert_int_equal(epoch_begin_term(pool, IMAGE, &b, 2, &err), 0);
	assert_int_equal(log_view_epoch_of(&b, 1), 1);
	log_view_destroy(&a);
	log_view_destroy(&b);
}

static void a_claim_whose_answer_is_lost_does_not_block_the_next(void **state)
{
	struct faulty_store f;
	struct log_view a = load(), b = { 0 };

	(void)state;
	faulty_put_in(&f, pool, 1, true);
	assert_int_not_equal(epoch_claim(pool, IMAGE, &alpha, &a, &err), 0);
	faulty_take_out(&f, pool);
	assert_int_equal(epoch_claim(pool, IMAGE, &alpha, &a, &err), -EBUSY);
	own(&beta, &b);
	assert_int_equal(b.newest_epoch, 2);
	log_view_destroy(&a);
	log_view_destroy(&b);
}

static void a_hand_over_is_marked_by_the_owner_only(void **state)
{
	struct log_view view = { 0 }, seen;

	(void)state;
	own(&alpha, &view);
	assert_int_equal(epoch_release(pool, IMAGE, &beta, &view, 0, &err), -EPERM);
	assert_int_equal(epoch_release(pool, IMAGE, &alpha, &view, 0, &err), 0);
	seen = load();
	assert_true(seen.released);
	assert_int_equal(seen.owner_host, alpha.id);
	assert_int_equal(lease_wait_expired(pool, &seen, NULL, &err), 0);
	log_view_destroy(&view);
	log_view_destroy(&seen);
}

/* ---- where create-only puts are not atomic ---- */

/* What a put of `host` leaves that comes long after it looked: the epoch is another's. */
static void put_late(const struct host *host, uint64_t epoch)
{
	struct log_view view = { .newest_epoch = epoch - 1 };
	char key[STORE_KEY_MAX + 1];

	epoch_key(IMAGE, epoch, key);
	assert_int_equal(store_remove_wait(pool->store, key, &err), 0);
	assert_int_equal(epoch_claim(pool, IMAGE, host, &view, &err), 0);
	log_view_destroy(&view);
}

static void an_owner_stays_it_though_another_host_is_named(void **state)
{
	struct log_view view = { 0 }, seen;
	atomic_bool stop = true;

	(void)state;
	pool->store->capabilities = STORE_READ_LATEST;
	pool->clock = &weak_clock;
	own(&alpha, &view);
	put_late(&beta, 1);
	seen = load();
	assert_int_equal(seen.owner_host, alpha.id);
	assert_string_equal(seen.owner_name, "alpha");
	assert_false(seen.released);
	assert_int_equal(epoch_superseded(pool, IMAGE, 1, &err), 0);
	log_view_destroy(&seen);
	/* Whose lease is waited for, and who may take the image back at once, is told rightly: alpha's, and alpha. */
	assert_int_equal(lease_renew(pool, &beta, 1, 1000, &err), 0);
	seen = load();
	assert_int_equal(lease_wait_expired(pool, &seen, &stop, &err), 0);
	log_view_destroy(&seen);
	assert_int_equal(epoch_release(pool, IMAGE, &alpha, &view, 0, &err), 0);
	seen = load();
	assert_true(seen.released);
	assert_int_equal(seen.owner_host, alpha.id);
	log_view_destroy(&seen);
	own(&beta, &view);
	assert_int_equal(view.newest_epoch, 2);
	assert_int_equal(epoch_superseded(pool, IMAGE, 1, &err), 1);
	log_view_destroy(&view);
}

static void a_claim_that_cannot_be_told_owns_nothing_and_the_next_one_goes_past_it(void **state)
{
	struct weak_store weak;
	struct log_view view = { 0 }, seen;
	struct pool_clock late = weak_clock;

	(void)state;
	pool->clock = &late;
	weak_put_in(&weak, pool, STORE_READ_LATEST);
	own(&alpha, &view);
	late.now_ns = weak_slow_ns;
	assert_int_equal(epoch_claim(pool, IMAGE, &alpha, &view, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.text, "try again"));
	assert_int_equal(view.newest_epoch, 1);
	late.now_ns = weak_now_ns;
	assert_int_equal(epoch_claim(pool, IMAGE, &alpha, &view, &err), -EBUSY);
	seen = load();
	assert_int_equal(seen.newest_epoch, 2);
	assert_int_equal(seen.term_count, 1);
	log_view_destroy(&seen);
	own(&alpha, &view);
	assert_int_equal(view.newest_epoch, 3);
	log_view_destroy(&view);
	weak_take_out(&weak, pool);
}

static int own_patiently(const struct host *host, struct log_view *view)
{
	static const atomic_bool never;

	log_view_destroy(view);
	*view = load();
	return epoch_claim_patiently(pool, IMAGE, host, view, &never, &err);
}

static void a_claim_that_meets_faults_is_made_again(void **state)
{
	struct weak_store weak;
	struct log_view view = { 0 }, seen;

	(void)state;
	pool->clock = &weak_clock;
	weak_put_in(&weak, pool, STORE_READ_LATEST);
	own(&beta, &view);

	/* Made, not made, made, not made: of which the first made 2, the third 3. */
	atomic_store(&weak.faults, 4);
	assert_int_equal(own_patiently(&alpha, &view), 0);
	assert_int_equal(atomic_load(&weak.faults), 0);
	assert_int_equal(view.newest_epoch, 4);
	assert_int_equal(view.owner_host, alpha.id);
	assert_int_equal(view.term_count, 1);
	assert_int_equal(epoch_begin_term(pool, IMAGE, &view, 1, &err), 0);
	seen = load();
	assert_int_equal(seen.newest_epoch, 4);
	assert_int_equal(seen.owner_host, alpha.id);
	log_view_destroy(&seen);

	/* Not for ever; and the claim is another's to make then. */
	atomic_store(&weak.faults, 1000);
	assert_int_equal(own_patiently(&alpha, &view), -EIO);
	assert_in_range(atomic_load(&weak.faults), 900, 999);
	atomic_store(&weak.faults, 0);
	own(&beta, &view);
	log_view_destroy(&view);
	weak_take_out(&weak, pool);
}

/* Its claim is left open, and then another host makes one. */
static void an_open_claim_gives_way_to_a_made_one(void **state)
{
	struct weak_store weak;
	struct log_view view = { 0 }, mine;
	static const atomic_bool never;

	(void)state;
	pool->clock = &weak_clock;
	weak_put_in(&weak, pool, STORE_READ_LATEST);
	own(&alpha, &view);
	mine = load();
	own(&beta, &view);
	own(&beta, &view);
	assert_int_equal(epoch_claim_patiently(pool, IMAGE, &alpha, &mine, &never, &err), -EBUSY);
	log_view_destroy(&mine);
	log_view_destroy(&view);
	weak_take_out(&weak, pool);
}

static void a_claim_is_not_made_again_while_the_engine_ends(void **state)
{
	struct weak_store weak;
	struct log_view view = { 0 };
	atomic_bool stop = true;

	(void)state;
	pool->clock = &weak_clock;
	own(&alpha, &view);
	weak_put_in(&weak, pool, STORE_READ_LATEST);
	atomic_store(&weak.faults, 1);
	assert_int_equal(epoch_claim_patiently(pool, IMAGE, &beta, &view, &stop, &err), -EIO);
	weak_take_out(&weak, pool);
	log_view_destroy(&view);
	assert_int_equal(own_patiently(&beta, &view), 0);
	log_view_destroy(&view);
}

static void a_lone_host_claims_where_hosts_cannot_be_told_apart(void **state)
{
	struct weak_store weak;
	struct log_view view = { 0 }, old;

	(void)state;
	weak_put_in(&weak, pool, 0);
	weak.unconditional = true;
	own(&alpha, &view);
	old = load();
	own(&alpha, &view);
	assert_int_equal(view.newest_epoch, 2);
	assert_int_equal(epoch_claim(pool, IMAGE, &alpha, &old, &err), -EBUSY);
	log_view_destroy(&old);
	log_view_destroy(&view);
	weak_take_out(&weak, pool);
}

/* ---- terms ---- */

static void a_term_begins_after_what_is_there(void **state)
{
	struct log_view a = { 0 }, b;
	uint8_t digest[DIGEST_BYTES] = { 0 };

	(void)state;
	own(&alpha, &a);
	fixture_put_small(pool, IMAGE, 1, 1, digest);
	fixture_put_small(pool, IMAGE, 2, 1, digest);
	b = load();
	assert_int_equal(epoch_claim(pool, IMAGE, &beta, &b, &err), 0);
	assert_int_equal(epoch_begin_term(pool, IMAGE, &b, 4, &err), -ENOENT); /* segment 3 is not there */
	assert_int_equal(epoch_begin_term(pool, IMAGE, &b, 0, &err), -EINVAL);
	assert_int_equal(epoch_begin_term(pool, IMAGE, &b, 3, &err), 0);
	/* The same once more is the same; anything else is refused. */
	struct log_view again = load();
	again.term_count = 1;
	assert_int_equal(epoch_begin_term(pool, IMAGE, &again, 3, &err), 0);
	again.term_count = 1;
	assert_int_equal(epoch_begin_term(pool, IMAGE, &again, 2, &err), -EEXIST);
	assert_int_equal(log_view_epoch_of(&b, 2), 1);
	assert_int_equal(log_view_epoch_of(&b, 3), 2);
	assert_int_equal(log_view_epoch_of(&b, UINT64_C(1) << 39), 2);
	assert_int_equal(log_view_epoch_of(&b, 0), 0);
	log_view_destroy(&a);
	log_view_destroy(&b);
	log_view_destroy(&again);
}

static void terms_that_hold_nothing_leave_no_trace(void **state)
{
	struct log_view view = { 0 };
	uint8_t digest[DIGEST_BYTES] = { 0 };

	(void)state;
	for (int i = 0; i < 5; i++)
		own(i % 2 ? &alpha : &beta, &view);
	assert_int_equal(view.newest_epoch, 5);
	assert_int_equal(view.term_count, 1);
	fixture_put_small(pool, IMAGE, 1, 5, digest);
	for (int i = 0; i < 5; i++)
		own(i % 2 ? &alpha : &beta, &view);
	assert_int_equal(view.term_count, 2);
	assert_int_equal(view.terms[0].epoch, 5);
	assert_int_equal(view.terms[1].epoch, 10);
	assert_int_equal(view.terms[1].first, 2);
	assert_int_equal(find_end(&view, 1), 1);
	log_view_destroy(&view);
}

static void a_list_of_terms_may_grow_past_one_object(void **state)
{
	enum { COUNT = 2 * TERMS_PER_OBJECT + 3 };
	struct term *terms = malloc((COUNT + 1) * sizeof *terms);
	struct log_view view;
	char key[STORE_KEY_MAX + 1];

	(void)state;
	assert_non_null(terms);
	for (uint64_t i = 0; i <= COUNT; i++)
		terms[i] = (struct term){ .epoch = 3 * i + 1, .first = 7 * i + 1 };
	/* Each term that ends an object was the newest once; and the last. */
	static const size_t ends[] = { TERMS_PER_OBJECT, 2 * TERMS_PER_OBJECT, COUNT };
	for (size_t e = 0; e < 3; e++) {
		uint8_t digest[DIGEST_BYTES] = { 0 };
		size_t n = ends[e];
		view = view_of(terms, n - 1);
		view.newest_epoch = terms[n - 1].epoch;
		fixture_put_small(pool, IMAGE, terms[n - 1].first - 1, terms[n - 2].epoch, digest);
		if (epoch_begin_term(pool, IMAGE, &view, terms[n - 1].first, &err))
			fail_msg("%s", error_text(&err));
		log_view_destroy(&view);
	}
	memset(&view, 0, sizeof view);
	assert_int_equal(terms_load(pool, IMAGE, terms[COUNT - 1].epoch, &view, &err), 0);
	assert_int_equal(view.term_count, COUNT);
	assert_memory_equal(view.terms, terms, COUNT * sizeof *terms);
	/* Should the older part be lost, that is damage, and never "no term". */
	terms_key(IMAGE, terms[TERMS_PER_OBJECT - 1].epoch, key);
	assert_int_equal(store_remove_wait(pool->store, key, &err), 0);
	assert_int_equal(terms_load(pool, IMAGE, terms[COUNT - 1].epoch, &view, &err), -EBADMSG);
	log_view_destroy(&view);
	free(terms);
}

static void put_terms(uint64_t epoch, const char *const *list)
{
	char key[STORE_KEY_MAX + 1];
	struct seal_key sealing;
	struct fields *f = fields_new();

	assert_non_null(f);
	for (; *list; list++)
		fields_add_text(f, "term", *list);
	image_key(&pool->master, IMAGE, &sealing);
	terms_key(IMAGE, epoch, key);
	assert_int_equal(pool_put_object(pool, key, OBJECT_TERM, &sealing, f, 0, &err), 0);
	fields_free(f);
}

static void damaged_terms_are_refused(void **state)
{
	static const char *const bad[][4] = {
		{ NULL },
		{ "2:1" },
		{ "1:1", "3:0" },
		{ "1:1", "3:1" },
		{ "1:2", "3:5" },
		{ "1:1", "1:3", "3:5" },
		{ "1:1", "3:5 " },
		{ "1:1", "3" },
		{ "1:1", " 3:5" },
		{ "1:1", "3:-5" },
		{ "1:1", "3:10000000000" },
		{ "1:1", "2:9", "3:5" },
		{ "", "3:5" },
	};
	static const char *const good[] = { "1:1", "3:ff", NULL };
	struct log_view view = { 0 };

	(void)state;
	put_terms(3, good);
	assert_int_equal(terms_load(pool, IMAGE, 3, &view, &err), 0);
	assert_int_equal(view.terms[1].first, 255);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		put_terms(3, bad[i]);
		if (terms_load(pool, IMAGE, 3, &view, &err) != -EBADMSG)
			fail_msg("terms %zu were taken", i);
	}
	log_view_destroy(&view);
}

/* ---- the end ---- */

static void the_end_is_found_from_any_hint(void **state)
{
	static const struct term one = { .epoch = 1, .first = 1 };
	struct log_view view = view_of(&one, 1);

	(void)state;
	for (segment_no_t n = 1; n <= 140; n++) {
		put_name(n, 1);
		if (n < 10 || n % 13 == 0 || n > 135)
			for (segment_no_t hint = 0; hint <= n; hint += n < 10 ? 1 : 9)
				assert_int_equal(find_end(&view, hint), n);
	}
	log_view_destroy(&view);
}

static void what_is_beyond_a_gap_does_not_count(void **state)
{
	static const struct term one = { .epoch = 1, .first = 1 };
	struct log_view view = view_of(&one, 1);
	segment_no_t end;

	(void)state;
	for (segment_no_t n = 1; n <= 60; n++)
		if (n != 41)
			put_name(n, 1);
	assert_int_equal(find_end(&view, 0), 40);
	assert_int_equal(find_end(&view, 40), 40);
	assert_int_equal(log_find_by_listing(pool, IMAGE, &view, &end, &err), 0);
	assert_int_equal(end, 40);
	assert_int_equal(log_find_end(pool, IMAGE, &view, 41, &end, &err), -ENOENT);
	remove_name(1, 1);
	assert_int_equal(log_find_by_listing(pool, IMAGE, &view, &end, &err), 0);
	assert_int_equal(end, 0);
	log_view_destroy(&view);
}

static void segments_of_an_old_epoch_past_a_later_term_never_count(void **state)
{
	static const struct term terms[] = { { 1, 1 }, { 4, 5 }, { 6, 8 } };
	struct log_view view = view_of(terms, 3);
	segment_no_t end;

	(void)state;
	for (segment_no_t n = 1; n <= 12; n++) {
		put_name(n, 1); /* the host that was cut off goes on, on and on */
		put_name(n, 3); /* one that never had a term */
	}
	for (segment_no_t n = 5; n <= 9; n++)
		put_name(n, 4);
	put_name(8, 6);
	assert_int_equal(log_view_epoch_of(&view, 4), 1);
	assert_int_equal(log_view_epoch_of(&view, 5), 4);
	assert_int_equal(log_view_epoch_of(&view, 7), 4);
	assert_int_equal(log_view_epoch_of(&view, 8), 6);
	assert_int_equal(find_end(&view, 0), 8);
	assert_int_equal(log_find_by_listing(pool, IMAGE, &view, &end, &err), 0);
	assert_int_equal(end, 8);
	remove_name(8, 6);
	assert_int_equal(find_end(&view, 0), 7);
	/* A segment that a term was begun after must be there: a shorter log is a damaged one. */
	remove_name(6, 4);
	assert_int_equal(log_find_end(pool, IMAGE, &view, 0, &end, &err), -EBADMSG);
	assert_int_equal(end, 5);
	assert_non_null(strstr(err.text, "segment 6"));
	log_view_destroy(&view);
}

static void a_store_that_does_not_answer_is_no_end(void **state)
{
	static const struct term one = { .epoch = 1, .first = 1 };
	struct log_view view = view_of(&one, 1), other;
	struct faulty_store f;
	segment_no_t end;

	(void)state;
	put_name(1, 1);
	faulty_put_in(&f, pool, 0, false);
	assert_int_equal(log_find_end(pool, IMAGE, &view, 0, &end, &err), -EIO);
	assert_int_equal(log_view_load(pool, IMAGE, &other, &err), -EIO);
	assert_int_equal(epoch_superseded(pool, IMAGE, 1, &err), -EIO);
	faulty_take_out(&f, pool);
	log_view_destroy(&view);
}

/* ---- head, leases, removal ---- */

static void the_head_is_a_hint_that_may_be_wrong(void **state)
{
	struct head head = { .epoch = 1,
		             .checkpoint = { 7, 9 },
		             .size = 1,
		             .allocated = 2,
		             .mtime_ns = 3,
		             .grain_bytes = 4096 },
		    got;
	struct log_view view = { 0 }, seen;

	(void)state;
	assert_int_equal(head_load(pool, IMAGE, &got, &err), -ENOENT);
	for (int i = 0; i < 3; i++)
		own(&alpha, &view);
	for (uint64_t epoch = 0; epoch < 9; epoch++) {
		head.epoch = epoch;
		assert_int_equal(head_save(pool, IMAGE, &head, &err), 0);
		assert_int_equal(head_load(pool, IMAGE, &got, &err), 0);
		assert_int_equal(got.epoch, epoch);
		assert_int_equal(log_position_compare(got.checkpoint, head.checkpoint), 0);
		assert_true(got.size == 1 && got.allocated == 2 && got.mtime_ns == 3 && got.grain_bytes == 4096);
		seen = load();
		assert_int_equal(seen.newest_epoch, 3);
		log_view_destroy(&seen);
	}
	log_view_destroy(&view);
}

static void a_lease_is_renewed_and_dropped(void **state)
{
	struct lease lease;

	(void)state;
	assert_int_equal(lease_load(pool, alpha.id, &lease, &err), -ENOENT);
	assert_int_equal(lease_renew(pool, &alpha, 17, 15000, &err), 0);
	assert_int_equal(lease_load(pool, alpha.id, &lease, &err), 0);
	assert_int_equal(lease.counter, 17);
	assert_int_equal(lease.lease_ms, 15000);
	assert_string_equal(lease.name, "alpha");
	assert_int_equal(lease_drop(pool, &alpha, &err), 0);
	assert_int_equal(lease_load(pool, alpha.id, &lease, &err), -ENOENT);
	assert_int_equal(lease_renew(pool, &alpha, 1, UINT64_MAX, &err), -EINVAL);
}

static void a_lease_that_stays_the_same_has_run_out_after_a_third_more(void **state)
{
	struct log_view view = { .newest_epoch = 1, .owner_host = 0xa };
	uint64_t began = clock_monotonic_ns();

	(void)state;
	assert_int_equal(lease_wait_expired(pool, &view, NULL, &err), 0); /* none at all */
	assert_int_equal(lease_renew(pool, &alpha, 1, 300, &err), 0);
	assert_int_equal(lease_wait_expired(pool, &view, NULL, &err), 0);
	assert_true(clock_monotonic_ns() - began >= 400 * 1000000ull);
}

static atomic_bool stop_renewing;

static void *renew(void *arg)
{
	(void)arg;
	for (uint64_t counter = 2; !atomic_load(&stop_renewing); counter++) {
		if (lease_renew(pool, &alpha, counter, 600, NULL))
			abort();
		usleep(100 * 1000);
	}
	return NULL;
}

static void an_owner_that_renews_is_alive(void **state)
{
	struct log_view view = { .newest_epoch = 1, .owner_host = 0xa };
	pthread_t thread;

	(void)state;
	assert_int_equal(lease_renew(pool, &alpha, 1, 600, &err), 0);
	assert_int_equal(pthread_create(&thread, NULL, renew, NULL), 0);
	assert_int_equal(lease_wait_expired(pool, &view, NULL, &err), -EBUSY);
	assert_non_null(strstr(err.text, "alpha"));
	atomic_store(&stop_renewing, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void waiting_for_a_lease_can_be_stopped(void **state)
{
	struct log_view view = { .newest_epoch = 1, .owner_host = 0xa };
	atomic_bool stop = true;

	(void)state;
	assert_int_equal(lease_renew(pool, &alpha, 1, 600000, &err), 0);
	assert_int_equal(lease_wait_expired(pool, &view, &stop, &err), -EINTR);
}

static void removing_an_image_leaves_nothing_and_can_be_resumed(void **state)
{
	struct head head = { .epoch = 1, .grain_bytes = 4096 };
	struct log_view view = { 0 };
	struct faulty_store f;

	(void)state;
	own(&alpha, &view);
	for (segment_no_t n = 1; n <= 40; n++)
		put_name(n, 1);
	assert_int_equal(head_save(pool, IMAGE, &head, &err), 0);
	assert_int_equal(head_save(pool, IMAGE + 1, &head, &err), 0);
	faulty_put_in(&f, pool, 20, false);
	assert_int_equal(image_objects_remove(pool, IMAGE, &err), -EIO);
	faulty_take_out(&f, pool);
	assert_int_equal(epoch_superseded(pool, IMAGE, 0, &err), 1); /* the epochs are still there */
	assert_int_equal(image_objects_remove(pool, IMAGE, &err), 0);
	assert_int_equal(fixture_count(pool, "images/0000feed0000cafe/"), 0);
	assert_int_equal(fixture_count(pool, "images/0000feed0000caff/"), 1);
	log_view_destroy(&view);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(an_image_that_nobody_wrote_has_no_epoch),
		T(a_claim_is_seen_and_fences_the_older_epoch),
		T(of_racing_claimers_exactly_one_wins),
		T(a_claim_without_a_term_is_passed_over_by_the_next_claimer),
		T(a_term_written_between_the_look_and_the_claim_is_not_missed),
		T(a_claim_whose_answer_is_lost_does_not_block_the_next),
		T(a_hand_over_is_marked_by_the_owner_only),
		T(an_owner_stays_it_though_another_host_is_named),
		T(a_claim_that_cannot_be_told_owns_nothing_and_the_next_one_goes_past_it),
		T(a_claim_that_meets_faults_is_made_again),
		T(an_open_claim_gives_way_to_a_made_one),
		T(a_claim_is_not_made_again_while_the_engine_ends),
		T(a_lone_host_claims_where_hosts_cannot_be_told_apart),
		T(a_term_begins_after_what_is_there),
		T(terms_that_hold_nothing_leave_no_trace),
		T(a_list_of_terms_may_grow_past_one_object),
		T(damaged_terms_are_refused),
		T(the_end_is_found_from_any_hint),
		T(what_is_beyond_a_gap_does_not_count),
		T(segments_of_an_old_epoch_past_a_later_term_never_count),
		T(a_store_that_does_not_answer_is_no_end),
		T(the_head_is_a_hint_that_may_be_wrong),
		T(a_lease_is_renewed_and_dropped),
		T(a_lease_that_stays_the_same_has_run_out_after_a_third_more),
		T(an_owner_that_renews_is_alive),
		T(waiting_for_a_lease_can_be_stopped),
		T(removing_an_image_leaves_nothing_and_can_be_resumed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
