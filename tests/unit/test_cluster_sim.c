/* SPDX-License-Identifier: GPL-3.0-only */
/* test_cluster_sim.c: many lives of a simulated cluster with all that goes wrong, and what its clients saw: nothing that was answered is
 * ever lost, nothing comes back, no name has two creators. And that each rule is needed: without it, the checker finds a life that fails.
 *
 * GARNER_TEST_SEED repeats one life and explains it; GARNER_TEST_ROUNDS: how many lives (500).
 */
#include "lib/cluster_sim.h"
#include "lib/random.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#define FAULTS_MIN 60
#define KINDS_MIN 12

static void fail_life(const struct sim_options *options, const struct sim_result *result)
{
	print_error("seed %" PRIu64 ": %s\n", options->seed, result->text);
	sim_explain(options);
	fail_msg("run again with GARNER_TEST_SEED=%" PRIu64, options->seed);
}

static void whatever_happens_nothing_that_was_answered_is_lost(void **state)
{
	uint64_t seed = env_number("GARNER_TEST_SEED", 0), rounds = seed ? 1 : env_number("GARNER_TEST_ROUNDS", 500);
	uint64_t fault[FAULT_KINDS] = { 0 }, operations = 0, done = 0,
		 first = seed ? seed : env_number("GARNER_TEST_FIRST", 1);
	unsigned sizes = 0;

	(void)state;
	for (uint64_t i = 0; i < rounds; i++) {
		struct sim_options options = { .seed = first + i };
		struct sim_result result = sim_run(&options);
		unsigned kinds = 0;

		if (!result.is_good)
			fail_life(&options, &result);
		for (unsigned k = 0; k < FAULT_KINDS; k++) {
			kinds += result.fault[k] > 0;
			fault[k] += result.fault[k];
		}
		if (result.faults < FAULTS_MIN || kinds < KINDS_MIN - 2)
			fail_msg("seed %" PRIu64 ": only %u faults of %u kinds", options.seed, result.faults, kinds);
		operations += result.operations;
		done += result.done;
		sizes |= 1u << result.nodes;
	}
	print_message("%" PRIu64 " lives from seed %" PRIu64 ": %" PRIu64 " operations, %" PRIu64 " done\n", rounds,
	              first, operations, done);
	for (unsigned k = 0; k < FAULT_KINDS; k++)
		print_message("  %s: %" PRIu64 "\n", sim_fault_name(k), fault[k]);
	if (rounds >= 100) {
		for (unsigned k = 0; k < FAULT_KINDS; k++)
			assert_true(fault[k] > 0);
		assert_int_equal(sizes, 0xfe);
		assert_true(done > operations / 2);
	}
}

static void the_same_seed_is_the_same_life(void **state)
{
	struct sim_options options = { .seed = 4711 };
	struct sim_result a = sim_run(&options), b = sim_run(&options);

	(void)state;
	assert_int_equal(a.operations, b.operations);
	assert_int_equal(a.done, b.done);
	assert_memory_equal(a.fault, b.fault, sizeof a.fault);
}

#define ONLY(kinds) (((1u << FAULT_KINDS) - 1) & ~(unsigned)(kinds))
#define KIND(kind) (1u << FAULT_##kind)

/* Of some rules only a few kinds of faults show what they are for: more of those, then. */
static uint32_t left_out(enum sim_sabotage kind)
{
	switch (kind) {
	case SABOTAGE_NO_WRITE_BACK:
		return ONLY(KIND(LOSS) | KIND(SPLIT) | KIND(ONE_WAY) | KIND(KILL) | KIND(GATEWAY));
	case SABOTAGE_DAMAGED_IS_ABSENT:
		return ONLY(KIND(FLIP) | KIND(LOSS) | KIND(SPLIT) | KIND(FULL) | KIND(KILL));
	case SABOTAGE_STRAYS:
		return KIND(WIPE) | KIND(FLIP) | KIND(FORGET) | KIND(LINGER) | KIND(AGREEMENT_AWAY) |
		       KIND(AGREEMENT_UNSURE);
	default:
		return 0;
	}
}

static void each_rule_that_is_broken_is_noticed(void **state)
{
	uint64_t rounds = env_number("GARNER_TEST_SABOTAGE_ROUNDS", 500);
	unsigned missed = 0;

	(void)state;
	if (env_number("GARNER_TEST_SEED", 0))
		skip();
	for (unsigned kind = SABOTAGE_NONE + 1; kind < SABOTAGE_KINDS; kind++) {
		struct sim_options options = { .sabotage = (enum sim_sabotage)kind };
		struct sim_result result = { .is_good = true };

		options.without = left_out(options.sabotage);
		/* A tombstone must grow old between two changes of the map. */
		options.end = kind == SABOTAGE_STRAYS ? 180000000 : 0;
		options.is_contested = kind == SABOTAGE_NO_ABSENT_RULE;
		while (result.is_good && options.seed < rounds) {
			options.seed++;
			result = sim_run(&options);
		}
		print_message("%s: %s (seed %" PRIu64 ") %s\n", sim_sabotage_name(options.sabotage),
		              result.is_good ? "NOT NOTICED" : "noticed", options.seed, result.text);
		missed += result.is_good;
		/* It is the sabotage that is noticed. */
		options.sabotage = SABOTAGE_NONE;
		assert_true(sim_run(&options).is_good);
	}
	assert_int_equal(missed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_happens_nothing_that_was_answered_is_lost),
		cmocka_unit_test(the_same_seed_is_the_same_life),
		cmocka_unit_test(each_rule_that_is_broken_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
