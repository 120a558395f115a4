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
	atomic_int failure; /* 0, or what the next fetches fail with */
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
	if (rc < 0)
		error_set(why, rc, "the source is shut");
	else
		memcpy(value, &number, sizeof number);
	atomic_store(&s->inside, false);
	return rc;
}

static int open_renewal(unsigned lifetime_ms)
{
	const struct renewal_options options = { .what = "the number",
		                                 .size = sizeof(unsigned),
		                                 .fetch = fetch,
		                                 .arg = &source,
		                                 .margin_ns = 300000 * NS_PER_MS };

	atomic_store(&source.lifetime_ms, lifetime_ms);
	return renewal_new(&options, &renewal, &err);
}

static int setup(void **state)
{
	(void)state;
	memset(&source, 0, sizeof source);
	memset(&err, 0, sizeof err);
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

	return renewal_get(renewal, &value, NULL) == 0 && value >= *(unsigned *)arg;
}

static bool fetches_are_at_least(void *arg)
{
	return atomic_load(&source.fetches) >= *(unsigned *)arg;
}

static bool is_gone(void *arg)
{
	unsigned value;

	(void)arg;
	return renewal_get(renewal, &value, NULL) == -EAGAIN;
}

static void a_value_without_end_is_fetched_once(void **state)
{
	unsigned value = 0;
	uint64_t generation = 0;

	(void)state;
	assert_int_equal(open_renewal(0), 0);
	assert_int_equal(renewal_get(renewal, &value, &generation), 0);
	assert_int_equal(value, 1);
	assert_int_equal(atomic_load(&source.fetches), 1);
	assert_int_equal(renewal_trouble(renewal, &err), -EAGAIN);
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
	unsigned twice = 2, next;

	(void)state;
	assert_int_equal(open_renewal(60000), 0);
	atomic_store(&source.lifetime_ms, 1);
	renewal_expired(renewal, 1); /* so that the second value lives for a moment */
	assert_true(loopback_becomes(fetches_are_at_least, &twice));
	atomic_store(&source.failure, -EIO);
	assert_true(loopback_becomes(is_gone, NULL));
	next = atomic_load(&source.fetches) + 2; /* begun and failed once, surely */
	assert_true(loopback_becomes(fetches_are_at_least, &next));
	assert_int_equal(renewal_trouble(renewal, &err), -EIO);
	assert_string_equal(err.text, "the source is shut");
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
	if (loopback_becomes(fetches_are_at_least, &(unsigned){ 2 }) && renewal_get(renewal, &value, NULL) == 0)
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
	assert_int_equal(renewal_get(renewal, &value, NULL), -EAGAIN);
	assert_int_equal(value, 77);
	assert_true(loopback_becomes(fetches_are_at_least, &second));
	assert_int_equal(renewal_get(renewal, &value, NULL), -EAGAIN);
	atomic_store(&source.failure, 0);
	assert_true(loopback_becomes(value_is_at_least, &second));
}

static void refusing_an_old_value_means_nothing(void **state)
{
	unsigned second = 2, value;
	uint64_t generation;

	(void)state;
	assert_int_equal(open_renewal(0), 0);
	assert_int_equal(renewal_get(renewal, &value, &generation), 0);
	renewal_expired(renewal, generation);
	assert_true(loopback_becomes(value_is_at_least, &second));
	for (int i = 0; i < 100; i++)
		renewal_expired(renewal, generation);
	assert_int_equal(renewal_get(renewal, &value, NULL), 0);
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
	assert_int_equal(renewal_get(renewal, &value, NULL), 0);
	assert_int_equal(value, 2);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_value_without_end_is_fetched_once),
		CASE(the_first_failure_is_the_callers),
		cmocka_unit_test(there_is_time_left_when_a_value_is_renewed),
		CASE(a_value_is_renewed_before_it_ends),
		CASE(a_value_that_ran_out_is_gone_until_fetching_works),
		CASE(failing_to_renew_takes_nothing_away),
		CASE(a_refused_value_is_gone_until_there_is_a_new_one),
		CASE(refusing_an_old_value_means_nothing),
		CASE(many_refusals_are_one_fetch),
	};

	return cmocka_run_group_tests_name("renewal", tests, NULL, NULL);
}
