/* SPDX-License-Identifier: GPL-3.0-only */
/* test_http_latency.c: when to ask a second time. */
#include "store/http_latency.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void add(struct http_latency *l, uint64_t us, unsigned times)
{
	while (times--)
		http_latency_add(l, us);
}

static void few_answers_say_nothing(void **state)
{
	struct http_latency l = { 0 };

	(void)state;
	add(&l, 20000, 63);
	assert_int_equal(http_latency_percentile(&l, 500), 0);
	assert_int_equal(http_latency_hedge_us(&l), 0);
	add(&l, 20000, 1);
	assert_true(http_latency_hedge_us(&l) > 0);
}

static void a_percentile_is_right_to_an_eighth(void **state)
{
	(void)state;
	for (uint64_t us = 1; us < 100000000; us += us / 3 + 1) {
		struct http_latency l = { 0 };
		add(&l, us, 900);
		add(&l, us * 10, 100);
		assert_in_range(http_latency_percentile(&l, 900), us, us + us / 8 + 1);
		assert_in_range(http_latency_percentile(&l, 901), us * 10, us * 10 + us * 10 / 8 + 1);
	}
}

static void a_second_request_waits_until_nearly_all_others_were_answered(void **state)
{
	struct http_latency l = { 0 };

	(void)state;
	add(&l, 20000, 990);
	add(&l, 2000000, 10);
	assert_in_range(http_latency_hedge_us(&l), 20000, 22501);
}

static void quick_answers_are_not_asked_for_twice(void **state)
{
	struct http_latency l = { 0 };

	(void)state;
	add(&l, 100, 1000);
	assert_int_equal(http_latency_hedge_us(&l), 2000);
}

static void only_one_in_twenty_is_asked_for_twice(void **state)
{
	struct http_latency l = { 0 };
	unsigned spent = 0;

	(void)state;
	for (int i = 0; i < 2000; i++) {
		http_latency_add(&l, 20000);
		spent += http_latency_spend(&l);
	}
	assert_in_range(spent, 90, 100);
}

static void what_was_long_ago_is_forgotten(void **state)
{
	struct http_latency l = { 0 };

	(void)state;
	add(&l, 500000, 4096);
	add(&l, 10000, 40000);
	assert_in_range(http_latency_percentile(&l, 980), 10000, 11251);
	assert_in_range(l.total, 2048, 4097);
}

static void no_time_is_too_long(void **state)
{
	struct http_latency l = { 0 };

	(void)state;
	add(&l, UINT64_MAX, 100);
	assert_true(http_latency_percentile(&l, 500) > 1000000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(few_answers_say_nothing),
		cmocka_unit_test(a_percentile_is_right_to_an_eighth),
		cmocka_unit_test(a_second_request_waits_until_nearly_all_others_were_answered),
		cmocka_unit_test(quick_answers_are_not_asked_for_twice),
		cmocka_unit_test(only_one_in_twenty_is_asked_for_twice),
		cmocka_unit_test(what_was_long_ago_is_forgotten),
		cmocka_unit_test(no_time_is_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
