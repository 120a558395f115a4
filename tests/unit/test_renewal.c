/* SPDX-License-Identifier: GPL-3.0-only */
/* test_renewal.c: a value is there as long as it lives, and a new one before it ends. */
#include "store/renewal.h"

#include "lib/loopback_http.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <errno.h>

#define NS_PER_MS UINT64_C(1000000)

/* Fetches the number of the fetch, for as long and as well as the test says. */
struct source {
	atomic_uint fetches;
	atomic_int failure;   /* 0, or what the next fetches fail with */
	atomic_uint recovers; /* 0, or after how many of them it ends */
	atomic_uint lifetime_ms;
	atomic_bool inside, overlapped;
};

static struct source source;
static struct renewal *renewal;
static struct error err;

static int fetch(void *arg, void *value, uint64_t *lifetime_ns, struct error *why)
{
	struct source *s = arg;
	unsigned number, lifetime_ms = atomic_load(&s->lifetime_ms);
	int rc = atomic_load(&s->failure);

	if (atomic_exchange(&s->inside, true))
		atomic_store(&s->overlapped, true);
	number = atomic_fetch_add(&s->fetches, 1) + 1;
	*lifetime_ns = lifetime_ms ? lifetime_ms * NS_PER_MS : RENEWAL_FOREVER;
	if (number == atomic_load(&s->recovers))
		atomic_store(&s->failure, 0);
	if (rc < 0)
		error_set(why, rc, "the source is shut");
	else
		memcpy(value, &number, sizeof number);
	atomic_store(&s->inside, false);
	return rc;
}

static uint64_t patience_ms;

static int open_renewal(unsigned lifetime_ms)
{
	const struct renewal_options options = { .what = "the number",
		                                 .size = sizeof(unsigned),
		                                 .fetch = fetch,
		                                 .arg = &source,
		                                 .margin_ns = 300000 * NS_PER_MS,
		                                 .patience_ms = patience_ms };

	atomic_store(&source.lifetime_ms, lifetime_ms);
	return renewal_new(&options, &renewal, &err);
}

static int setup(void **state)
{
	(void)state;
	memset(&source, 0, sizeof source);
	memset(&err, 0, sizeof err);
	patience_ms = 0;
	renewal = NULL;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	renewal_free(renewal);
	return atomic_load(&source.overlapped) ? -1 : 0;
}

static bool value_is_at_least(void *arg)
{
	unsigned value;

	return renewal_get(renewal, &value, NULL, NULL) == 0 && value >= *(unsigned *)arg;
}

static bool fetches_are_at_least(void *arg)
{
	return atomic_load(&source.fetches) >= *(unsigned *)arg;
}

static bool is_gone(void *arg)
{
	unsigned value;

	(void)arg;
	return renewal_get(renewal, &value, NULL, NULL) == -EAGAIN;
}

static void a_value_without_end_is_fetched_once(void **state)
{
	unsigned value = 0;
	uint64_t generation = 0;

	(void)state;
	assert_int_equal(open_renewal(0), 0);
	assert_int_equal(renewal_get(renewal, &value, &generation, NULL), 0);
	assert_int_equal(value, 1);
	assert_int_equal(atomic_load(&source.fetches), 1);
}

static void the_first_failure_is_the_callers(void **state)
{
	(void)state;
	atomic_store(&source.failure, -EACCES);
	assert_int_equal(open_renewal(0), -EACCES);
	assert_string_equal(err.text, "the source is shut");
	assert_null(renewal);
	assert_int_equal(atomic_load(&source.fetches), 1);
}

static void the_first_fetch_is_tried_again_after_faults_that_pass(void **state)
{
	static const int passing[] = { -EIO, -ETIMEDOUT, -EHOSTUNREACH };
	unsigned value = 0;

	(void)state;
	patience_ms = 3600 * 1000;
	for (size_t i = 0; i < sizeof passing / sizeof passing[0]; i++) {
		renewal_free(renewal);
		renewal = NULL;
		atomic_store(&source.fetches, 0);
		atomic_store(&source.recovers, 2);
		atomic_store(&source.failure, passing[i]);
		assert_int_equal(open_renewal(0), 0);
		assert_int_equal(renewal_get(renewal, &value, NULL, NULL), 0);
		assert_int_equal(value, 3);
	}
}

static void a_refusal_is_not_tried_again_however_great_the_patience(void **state)
{
	static const int lasting[] = { -EACCES, -EINVAL, -EPROTO, -ENOKEY, -ENOMEM };

	(void)state;
	patience_ms = 3600 * 1000;
	for (size_t i = 0; i < sizeof lasting / sizeof lasting[0]; i++) {
		atomic_store(&source.failure, lasting[i]);
		assert_int_equal(open_renewal(0), lasting[i]);
		assert_null(renewal);
		assert_int_equal(atomic_load(&source.fetches), i + 1);
	}
}

/* No pause is as short as that. */
static void the_first_fetch_is_not_begun_again_when_patience_has_run_out(void **state)
{
	(void)state;
	patience_ms = 1;
	atomic_store(&source.failure, -EIO);
	assert_int_equal(open_renewal(0), -EIO);
	assert_string_equal(err.text, "the source is shut");
	assert_null(renewal);
	assert_int_equal(atomic_load(&source.fetches), 1);
}

static bool says_why(void *arg)
{
	unsigned value;

	return renewal_get(renewal, &value, NULL, &err) == -EAGAIN && strstr(err.text, arg);
}

static void who_gets_no_value_is_told_why(void **state)
{
	unsigned second = 2, value;

	(void)state;
	assert_int_equal(open_renewal(0), 0);
	atomic_store(&source.failure, -EACCES);
	renewal_expired(renewal, 1);
	assert_int_equal(renewal_get(renewal, &value, NULL, &err), -EAGAIN);
	assert_int_equal(err.code, -EAGAIN);
	assert_non_null(strstr(err.text, "the number "));
	assert_true(loopback_becomes(says_why, "the number could not be renewed: the source is shut"));
	atomic_store(&source.failure, 0);
	assert_true(loopback_becomes(value_is_at_least, &second));
}

static void there_is_time_left_when_a_value_is_renewed(void **state)
{
	static const uint64_t s = 1000 * NS_PER_MS;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		assert_in_range(renewal_wait_ns(3600 * s, 320 * s), 3240 * s, 3280 * s);
		assert_in_range(renewal_wait_ns(320 * s, 320 * s), 230 * s, 240 * s);
		assert_in_range(renewal_wait_ns(32, 320 * s), 23, 24);
	}
	assert_true(renewal_wait_ns(0, s) == 0);
	assert_true(renewal_wait_ns(RENEWAL_FOREVER, s) == RENEWAL_FOREVER);
}

static void a_value_is_renewed_before_it_ends(void **state)
{
	unsigned third = 3;

	(void)state;
	assert_int_equal(open_renewal(2000), 0);
	assert_true(loopback_becomes(value_is_at_least, &third));
}

static void a_value_that_ran_out_is_gone_until_fetching_works(void **state)
{
	unsigned twice = 2, next, value;

	(void)state;
	assert_int_equal(open_renewal(60000), 0);
	atomic_store(&source.lifetime_ms, 1);
	renewal_expired(renewal, 1); /* so that the second value lives for a moment */
	assert_true(loopback_becomes(fetches_are_at_least, &twice));
	atomic_store(&source.failure, -EIO);
	assert_true(loopback_becomes(is_gone, NULL));
	next = atomic_load(&source.fetches) + 2; /* begun and failed once, surely */
	assert_true(loopback_becomes(fetches_are_at_least, &next));
	assert_int_equal(renewal_get(renewal, &value, NULL, &err), -EAGAIN);
	assert_string_equal(err.text, "the number could not be renewed: the source is shut");
	atomic_store(&source.lifetime_ms, 60000);
	atomic_store(&source.failure, 0);
	assert_true(loopback_becomes(value_is_at_least, &next));
}

static void failing_to_renew_takes_nothing_away(void **state)
{
	unsigned third = 3, value;

	(void)state;
	assert_int_equal(open_renewal(2000), 0);
	atomic_store(&source.failure, -EIO);
	/* Fetched again half a second before its end, in vain. On a machine too busy to look until then it is gone. */
	if (loopback_becomes(fetches_are_at_least, &(unsigned){ 2 }) && renewal_get(renewal, &value, NULL, NULL) == 0)
		assert_int_equal(value, 1);
	atomic_store(&source.failure, 0);
	assert_true(loopback_becomes(value_is_at_least, &third));
}

static void a_refused_value_is_gone_until_there_is_a_new_one(void **state)
{
	unsigned second = 2, value = 77;

	(void)state;
	assert_int_equal(open_renewal(0), 0);
	atomic_store(&source.failure, -EIO);
	renewal_expired(renewal, 1);
	assert_int_equal(renewal_get(renewal, &value, NULL, NULL), -EAGAIN);
	assert_int_equal(value, 77);
	assert_true(loopback_becomes(fetches_are_at_least, &second));
	assert_int_equal(renewal_get(renewal, &value, NULL, NULL), -EAGAIN);
	atomic_store(&source.failure, 0);
	assert_true(loopback_becomes(value_is_at_least, &second));
}

static void refusing_an_old_value_means_nothing(void **state)
{
	unsigned second = 2, value;
	uint64_t generation;

	(void)state;
	assert_int_equal(open_renewal(0), 0);
	assert_int_equal(renewal_get(renewal, &value, &generation, NULL), 0);
	renewal_expired(renewal, generation);
	assert_true(loopback_becomes(value_is_at_least, &second));
	for (int i = 0; i < 100; i++)
		renewal_expired(renewal, generation);
	assert_int_equal(renewal_get(renewal, &value, NULL, NULL), 0);
	assert_int_equal(value, 2);
}

static void many_refusals_are_one_fetch(void **state)
{
	unsigned second = 2, value;

	(void)state;
	assert_int_equal(open_renewal(0), 0);
	for (int i = 0; i < 100; i++)
		renewal_expired(renewal, 1);
	assert_true(loopback_becomes(value_is_at_least, &second));
	assert_int_equal(renewal_get(renewal, &value, NULL, NULL), 0);
	assert_int_equal(value, 2);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_value_without_end_is_fetched_once),
		CASE(the_first_failure_is_the_callers),
		CASE(the_first_fetch_is_tried_again_after_faults_that_pass),
		CASE(a_refusal_is_not_tried_again_however_great_the_patience),
		CASE(the_first_fetch_is_not_begun_again_when_patience_has_run_out),
		cmocka_unit_test(there_is_time_left_when_a_value_is_renewed),
		CASE(a_value_is_renewed_before_it_ends),
		CASE(a_value_that_ran_out_is_gone_until_fetching_works),
		CASE(failing_to_renew_takes_nothing_away),
		CASE(a_refused_value_is_gone_until_there_is_a_new_one),
		CASE(who_gets_no_value_is_told_why),
		CASE(refusing_an_old_value_means_nothing),
		CASE(many_refusals_are_one_fetch),
	};

	return cmocka_run_group_tests_name("renewal", tests, NULL, NULL);
}
