/* SPDX-License-Identifier: GPL-3.0-only */
/* test_store_file_crash.c: the power goes at every moment of a few puts and removals: what was answered is there, and what
 * was under way is there as a whole or not at all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/crash_state.h"
#include "lib/recorder.h"
#include "store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define OBJECT_BYTES 5000 /* several sectors, so that it can be torn */
#define SEEDS 3           /* states for each cut */

static const struct step {
	const char *key;
	int value; /* what all its bytes are; 0 removes it */
	unsigned flags;
} steps[] = {
	{ "pool", 1, STORE_PUT_CREATE_ONLY },
	{ "images/1/epochs/1", 2, STORE_PUT_CREATE_ONLY },
	{ "images/1/segments/1", 3, 0 },
	{ "pool", 4, 0 },
	{ "names/1/x", 5, STORE_PUT_CREATE_ONLY },
	{ "names/1/x", 0, 0 },
	{ "images/1/epochs/1", 0, 0 },
	{ "names/1/x", 6, 0 },
	{ "pool", 7, 0 },
};

#define STEPS (sizeof steps / sizeof steps[0])

static const char *const keys[] = { "pool", "images/1/epochs/1", "images/1/segments/1", "names/1/x" };

#define KEYS (sizeof keys / sizeof keys[0])

static char dir[256], pool[300], after_cut[300];
static struct recording *recording;
static uint64_t base_seed;

/* The value of `key` when `done` steps were done. */
static int value_after(const char *key, size_t done)
{
	int value = 0;

	for (size_t i = 0; i < done; i++)
		if (strcmp(steps[i].key, key) == 0)
			value = steps[i].value;
	return value;
}

static void do_steps(void)
{
	struct store_options options = { .disk = recording_disk(recording) };
	uint8_t bytes[OBJECT_BYTES];
	struct store *s;

	assert_int_equal(store_open(pool, &options, &s, NULL), 0);
	for (size_t i = 0; i < STEPS; i++) {
		memset(bytes, steps[i].value, sizeof bytes);
		if (steps[i].value)
			assert_int_equal(store_put_wait(s, steps[i].key, bytes, sizeof bytes, steps[i].flags, NULL), 0);
		else
			assert_int_equal(store_remove_wait(s, steps[i].key, NULL), 0);
		recording_note(recording, 0, i + 1);
	}
	store_close(s);
}

/* The value of `key` in a store: 0 when it is absent, -1 when it is not what any put wrote. */
static int value_in(struct store *s, const char *key)
{
	uint8_t bytes[OBJECT_BYTES + 1];
	size_t n = 0;
	int rc = store_get_wait(s, key, 0, bytes, sizeof bytes, &n, NULL);

	if (rc == -ENOENT)
		return 0;
	if (rc != 0 || n != OBJECT_BYTES)
		return -1;
	for (size_t i = 1; i < n; i++)
		if (bytes[i] != bytes[0])
			return -1;
	return bytes[0] ? bytes[0] : -1;
}

/* Builds one state and looks. Returns the number of objects that are wrong, and prints them when `aloud`. */
static int look_after_cut(uint64_t cut, uint64_t seed, bool aloud)
{
	struct store_options options = { .threads = 1 };
	struct crash_state state;
	char text[200];
	struct store *s;
	size_t done;
	int wrong = 0;

	assert_int_equal(crash_state_build(recording, cut, seed, CRASH_ANY, after_cut, &state), 0);
	done = state.noted[0] ? (size_t)state.note[0] : 0;
	assert_int_equal(store_open(after_cut, &options, &s, NULL), 0);
	for (size_t i = 0; i < KEYS; i++) {
		int value = value_in(s, keys[i]), before = value_after(keys[i], done),
		    next = value_after(keys[i], done < STEPS ? done + 1 : done);

		if (value == before || value == next)
			continue;
		wrong++;
		if (aloud)
			print_error("%s: after %zu steps %s is %d, and not %d or %d\n", crash_state_text(&state, text),
			            done, keys[i], value, before, next);
	}
	store_close(s);
	assert_int_equal(crash_state_remove(after_cut), 0);
	return wrong;
}

/* Looks at states of every cut; when not `aloud`, until one is wrong. */
static int look_at_all_cuts(bool aloud)
{
	uint64_t moments = recording_moments(recording);
	int wrong = 0;

	for (uint64_t cut = 0; cut <= moments; cut++)
		for (uint64_t i = 0; i < SEEDS && (aloud || wrong == 0); i++)
			wrong += look_after_cut(cut, base_seed + cut * SEEDS + i, aloud);
	return wrong;
}

static void what_was_answered_is_there_after_a_power_cut_and_the_rest_is_whole(void **state)
{
	struct recording_counts counts;

	(void)state;
	do_steps();
	recording_counts(recording, &counts);
	assert_true(counts.writes >= 7 && counts.syncs >= 7 && counts.dir_syncs >= 9 && counts.dir_changes >= 9);
	assert_int_equal(counts.unseen, 0);
	assert_int_equal(look_at_all_cuts(true), 0);
}

static void a_sync_of_an_object_that_is_missing_would_be_seen(void **state)
{
	(void)state;
	recording_forget_syncs(recording, "-"); /* temporary files are named so */
	do_steps();
	assert_true(look_at_all_cuts(false) > 0);
}

static void a_sync_of_a_directory_above_that_is_missing_would_be_seen(void **state)
{
	(void)state;
	recording_forget_syncs(recording, "images");
	do_steps();
	assert_true(look_at_all_cuts(false) > 0);
}

static int start_recording(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(dir, sizeof dir, "%s/garner-store-crash-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	snprintf(pool, sizeof pool, "%s/pool", dir);
	snprintf(after_cut, sizeof after_cut, "%s/after", dir);
	if (mkdir(pool, 0700) < 0)
		return -1;
	recording = recording_new(pool);
	return recording ? 0 : -1;
}

static int end_recording(void **state)
{
	(void)state;
	recording_free(recording);
	return crash_state_remove(dir);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start_recording, end_recording)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_answered_is_there_after_a_power_cut_and_the_rest_is_whole),
		TEST(a_sync_of_an_object_that_is_missing_would_be_seen),
		TEST(a_sync_of_a_directory_above_that_is_missing_would_be_seen),
	};
	const char *seed = getenv("GARNER_TEST_SEED");

	base_seed = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
	printf("GARNER_TEST_SEED=%llu\n", (unsigned long long)base_seed);
	return cmocka_run_group_tests_name("store_file_crash", tests, NULL, NULL);
}
