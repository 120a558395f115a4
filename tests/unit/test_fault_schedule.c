/* SPDX-License-Identifier: GPL-3.0-only */
/* test_fault_schedule.c: the fault proxy's schedule is the same for the same seed, and its rate is what was asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/random.h"
#include "tools/fault_schedule.h"

#include <errno.h>
#include <string.h>

#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)

static struct fault_schedule schedule_of(uint64_t seed, uint64_t faults_max, const char *first, const char *second)
{
	struct fault_schedule s;

	fault_schedule_init(&s, seed, faults_max);
	if (first)
		assert_int_equal(fault_schedule_add(&s, first, NULL), 0);
	if (second)
		assert_int_equal(fault_schedule_add(&s, second, NULL), 0);
	return s;
}

static void the_same_seed_gives_the_same_faults(void **state)
{
	struct fault_schedule a = schedule_of(7, UINT64_MAX, "503=0.2,3", "reset-after=0.1");
	struct fault_schedule b = schedule_of(7, UINT64_MAX, "reset-after=0.1", "503=0.2,3");

	(void)state;
	for (int i = 0; i < 1000; i++) {
		struct fault_verdict x = fault_schedule_next(&a), y = fault_schedule_next(&b);

		assert_int_equal(x.kind, y.kind);
		assert_int_equal(x.random, y.random);
		assert_int_equal(x.argument, x.kind == FAULT_503 ? 3 : 0);
		assert_int_equal(x.has_argument, x.kind == FAULT_503);
	}
	assert_int_equal(a.requests, 1000);
	assert_int_equal(a.faults, a.counts[FAULT_503] + a.counts[FAULT_RESET_AFTER]);
}

static void another_seed_gives_other_faults(void **state)
{
	struct fault_schedule a = schedule_of(7, UINT64_MAX, "500=0.5", NULL);
	struct fault_schedule b = schedule_of(8, UINT64_MAX, "500=0.5", NULL);
	int same = 0, same_shifted = 0;
	enum fault_kind before = FAULT_NONE;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		enum fault_kind x = fault_schedule_next(&a).kind, y = fault_schedule_next(&b).kind;

		same += x == y;
		same_shifted += before == y;
		before = x;
	}
	assert_in_range(same, 400, 600);
	assert_in_range(same_shifted, 400, 600);
}

static void a_requests_fate_depends_on_its_number_and_not_on_the_rules_before(void **state)
{
	struct fault_schedule a = schedule_of(3, UINT64_MAX, "stall=0.3", NULL);
	struct fault_schedule b = schedule_of(3, UINT64_MAX, NULL, NULL);

	(void)state;
	for (int i = 0; i < 100; i++) {
		(void)fault_schedule_next(&a);
		assert_int_equal(fault_schedule_next(&b).kind, FAULT_NONE);
	}
	assert_int_equal(fault_schedule_add(&b, "stall=0.3", NULL), 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(fault_schedule_next(&a).kind, fault_schedule_next(&b).kind);
}

static void faults_are_as_frequent_as_asked_for(void **state)
{
	struct fault_schedule s = schedule_of(1, UINT64_MAX, "corrupt=0.01", "slow=0.25,1000");

	(void)state;
	for (int i = 0; i < 100000; i++)
		(void)fault_schedule_next(&s);
	assert_in_range(s.counts[FAULT_CORRUPT], 900, 1100);
	assert_in_range(s.counts[FAULT_SLOW], 24500, 25500);
	assert_int_equal(s.faults, s.counts[FAULT_CORRUPT] + s.counts[FAULT_SLOW]);
}

static void probability_one_is_always_and_zero_is_never(void **state)
{
	struct fault_schedule s = schedule_of(1, UINT64_MAX, "500=0", "429=1");

	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(fault_schedule_next(&s).kind, FAULT_429);
	fault_schedule_off(&s);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(fault_schedule_next(&s).kind, FAULT_NONE);
	assert_int_equal(s.requests, 2000);
	assert_int_equal(s.faults, 1000);
}

static void no_more_faults_come_than_were_allowed(void **state)
{
	struct fault_schedule s = schedule_of(1, 3, "500=1", NULL);

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(fault_schedule_next(&s).kind, FAULT_500);
	for (int i = 0; i < 100; i++)
		assert_int_equal(fault_schedule_next(&s).kind, FAULT_NONE);
	s = schedule_of(1, 0, "500=1", NULL);
	assert_int_equal(fault_schedule_next(&s).kind, FAULT_NONE);
}

static void every_kind_can_be_named(void **state)
{
	(void)state;
	for (enum fault_kind k = FAULT_NONE + 1; k < FAULT_KINDS; k++) {
		struct fault_schedule s;
		char text[64];

		fault_schedule_init(&s, 1, UINT64_MAX);
		strcpy(text, fault_kind_name(k));
		strcat(text, k == FAULT_SLOW ? "=1,5" : "=1");
		assert_int_equal(fault_schedule_add(&s, text, NULL), 0);
		assert_int_equal(fault_schedule_next(&s).kind, k);
	}
}

static void a_rule_takes_the_place_of_the_one_before(void **state)
{
	struct fault_schedule s = schedule_of(1, UINT64_MAX, "truncate=0.9,10", "truncate=1,20");

	(void)state;
	assert_int_equal(fault_schedule_next(&s).argument, 20);
	assert_int_equal(fault_schedule_add(&s, "truncate=1", NULL), 0);
	assert_false(fault_schedule_next(&s).has_argument);
	assert_int_equal(fault_schedule_add(&s, "truncate=0", NULL), 0);
	assert_int_equal(fault_schedule_next(&s).kind, FAULT_NONE);
}

static void what_is_not_a_rule_is_refused_and_changes_nothing(void **state)
{
	static const char *const wrong[] = {
		"",
		"=",
		"500",
		"500=",
		"501=1",
		"none=1",
		"500=1.5",
		"500=-1",
		"500=nan",
		"500=inf",
		"500=1e-1",
		"500=0x1",
		"500=1 ",
		" 500=1",
		"500=.",
		"500=1,",
		"500=1,x",
		"500=1,-1",
		"500=1,5,6",
		"500=1,86401",
		"slow=1",
		"slow=1,0",
		"corrupt=1,5",
		"truncate=1,101",
		"stall=1,0",
		"reset=1",
		"500=0..1",
		"duplicate=1,60001",
		"stall=1,99999999999999999999999999999",
		"500=0.00000000000000000000000000000000001",
	};
	struct fault_schedule s = schedule_of(1, UINT64_MAX, "500=0.25,7", NULL), before = s;

	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		struct error err = { 0 };

		if (fault_schedule_add(&s, wrong[i], &err) != -EINVAL)
			fail_msg("'%s' was taken", wrong[i]);
		assert_int_equal(err.code, -EINVAL);
		assert_memory_equal(&s, &before, sizeof s);
	}
}

static void probabilities_add_up_to_one_at_most(void **state)
{
	struct fault_schedule s = schedule_of(1, UINT64_MAX, "500=0.6", "503=0.4");
	struct error err = { 0 };

	(void)state;
	assert_int_equal(fault_schedule_add(&s, "429=0.1", &err), -EINVAL);
	assert_non_null(strstr(err.text, "1.1"));
	assert_int_equal(fault_schedule_add(&s, "500=0.5", NULL), 0);
	assert_int_equal(fault_schedule_add(&s, "429=0.1", NULL), 0);
}

static void delays_are_read_to_the_nanosecond(void **state)
{
	static const char *const wrong[] = { "", "-1", "60000.1", "1ms", "1e3", "x", "1.2.3", "inf", " 1" };
	uint64_t ns = 5;

	(void)state;
	assert_int_equal(fault_delay_parse("0", &ns, NULL), 0);
	assert_int_equal(ns, 0);
	assert_int_equal(fault_delay_parse("12", &ns, NULL), 0);
	assert_int_equal(ns, 12 * MS);
	assert_int_equal(fault_delay_parse("0.25", &ns, NULL), 0);
	assert_int_equal(ns, 250000);
	assert_int_equal(fault_delay_parse("60000", &ns, NULL), 0);
	assert_int_equal(ns, 60 * SECOND);
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		struct error err = { 0 };

		assert_int_equal(fault_delay_parse(wrong[i], &ns, &err), -EINVAL);
		assert_int_equal(err.code, -EINVAL);
		assert_int_equal(ns, 60 * SECOND);
	}
}

static void numbers_are_digits_up_to_a_maximum(void **state)
{
	uint64_t v = 5;

	(void)state;
	assert_int_equal(fault_number_parse("18446744073709551615", UINT64_MAX, &v), 0);
	assert_true(v == UINT64_MAX);
	assert_int_equal(fault_number_parse("18446744073709551616", UINT64_MAX, &v), -EINVAL);
	assert_int_equal(fault_number_parse("101", 100, &v), -EINVAL);
	assert_int_equal(fault_number_parse("", 100, &v), -EINVAL);
	assert_int_equal(fault_number_parse("+1", 100, &v), -EINVAL);
	assert_int_equal(fault_number_parse("1 ", 100, &v), -EINVAL);
	assert_true(v == UINT64_MAX);
}

/* ---- token bucket ------------------------------------------------------------------------------------------------ */

static void a_bucket_without_a_rate_never_waits(void **state)
{
	struct token_bucket b;

	(void)state;
	token_bucket_set(&b, 0, 5);
	assert_true(token_bucket_available(&b, 5) == UINT64_MAX);
	token_bucket_take(&b, UINT64_MAX);
	assert_true(token_bucket_available(&b, 5) == UINT64_MAX);
	assert_int_equal(token_bucket_wait_ns(&b, UINT64_MAX, 5), 0);
}

static void a_bucket_begins_empty_and_fills_at_its_rate(void **state)
{
	struct token_bucket b;

	(void)state;
	token_bucket_set(&b, 1000000, 100);
	assert_int_equal(token_bucket_available(&b, 100), 0);
	assert_int_equal(token_bucket_available(&b, 100 + 1 * MS), 1000);
	token_bucket_take(&b, 400);
	assert_int_equal(token_bucket_available(&b, 100 + 1 * MS), 600);
	assert_int_equal(token_bucket_available(&b, 50), 600);
	assert_int_equal(token_bucket_available(&b, 100 + 2 * MS), 1600);
}

static void a_pause_saves_up_no_more_than_a_short_burst(void **state)
{
	static const uint64_t rates[] = { 1, 1000, 1000000, 1000000000, TOKEN_RATE_MAX };

	(void)state;
	for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
		struct token_bucket b;

		token_bucket_set(&b, rates[i], 0);
		uint64_t full = token_bucket_available(&b, UINT64_MAX);
		assert_true(full >= token_bucket_quantum(&b));
		assert_true(full <= 2 * token_bucket_quantum(&b) || full <= rates[i] / 20);
		assert_int_equal(token_bucket_wait_ns(&b, token_bucket_quantum(&b), UINT64_MAX), 0);
	}
}

/* Takes a quantum as often as may be, each time a bit later than it might have been, and counts. */
static uint64_t pass_for_ten_seconds(uint64_t rate, struct random *r)
{
	struct token_bucket b;
	uint64_t now = 12345, end = now + 10 * SECOND, passed = 0;

	token_bucket_set(&b, rate, now);
	for (;;) {
		uint64_t quantum = token_bucket_quantum(&b), wait = token_bucket_wait_ns(&b, quantum, now);

		now += wait;
		if (now > end)
			return passed;
		assert_true(token_bucket_available(&b, now) >= quantum);
		assert_true(wait == 0 || token_bucket_available(&b, now) < 2 * quantum);
		token_bucket_take(&b, quantum);
		passed += quantum;
		now += random_below(r, 1 * MS);
	}
}

static void over_time_the_rate_is_exact_however_late_it_is_asked(void **state)
{
	static const uint64_t rates[] = { 100, 1000, 77777, 1000000, 52428800 };
	struct random r = { .state = env_number("SEED", 1) };

	(void)state;
	for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
		struct token_bucket b = { .rate = rates[i] };
		uint64_t passed = pass_for_ten_seconds(rates[i], &r), most = 10 * rates[i];

		if (passed > most || passed + 2 * token_bucket_quantum(&b) < most)
			fail_msg("rate %ju: %ju bytes in 10 s", (uintmax_t)rates[i], (uintmax_t)passed);
	}
}

static void the_wait_is_long_enough_and_not_longer(void **state)
{
	struct token_bucket b;
	uint64_t now = 0;

	(void)state;
	token_bucket_set(&b, 333, now);
	for (int i = 0; i < 1000; i++) {
		uint64_t wait = token_bucket_wait_ns(&b, 64, now);

		assert_true(wait > 1);
		assert_true(token_bucket_available(&b, now + wait - 1) < 64);
		now += wait;
		assert_int_equal(token_bucket_available(&b, now), 64);
		token_bucket_take(&b, 64);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_seed_gives_the_same_faults),
		cmocka_unit_test(another_seed_gives_other_faults),
		cmocka_unit_test(a_requests_fate_depends_on_its_number_and_not_on_the_rules_before),
		cmocka_unit_test(faults_are_as_frequent_as_asked_for),
		cmocka_unit_test(probability_one_is_always_and_zero_is_never),
		cmocka_unit_test(no_more_faults_come_than_were_allowed),
		cmocka_unit_test(every_kind_can_be_named),
		cmocka_unit_test(a_rule_takes_the_place_of_the_one_before),
		cmocka_unit_test(what_is_not_a_rule_is_refused_and_changes_nothing),
		cmocka_unit_test(probabilities_add_up_to_one_at_most),
		cmocka_unit_test(delays_are_read_to_the_nanosecond),
		cmocka_unit_test(numbers_are_digits_up_to_a_maximum),
		cmocka_unit_test(a_bucket_without_a_rate_never_waits),
		cmocka_unit_test(a_bucket_begins_empty_and_fills_at_its_rate),
		cmocka_unit_test(a_pause_saves_up_no_more_than_a_short_burst),
		cmocka_unit_test(over_time_the_rate_is_exact_however_late_it_is_asked),
		cmocka_unit_test(the_wait_is_long_enough_and_not_longer),
	};

	return cmocka_run_group_tests_name("fault_schedule", tests, NULL, NULL);
}
