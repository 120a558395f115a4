/* SPDX-License-Identifier: GPL-3.0-only */
/* test_object_crash.c: the power goes at every moment of puts, replacements, removals and forgetting on a storage node's drive: what
 * was answered is there, what was under way is there as a whole or not at all, and nothing half-written is served.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/crash_state.h"
#include "lib/object_wait.h"
#include "lib/recorder.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define BODY 70000u         /* two blocks, and many sectors */
#define LARGE_BODY 1200000u /* goes past the page cache, but for its end */

enum what { PUT, ABSENT, CLAIM, REMOVE, FORGET, CONFIRM, RESTART };

static const struct step {
	enum what what;
	unsigned key;
	uint64_t counter;
} steps[] = {
	{ PUT, 0, 1 },    { CLAIM, 1, 2 },  { PUT, 0, 3 },     { REMOVE, 1, 4 }, { PUT, 2, 5 },    { CONFIRM, 2, 5 },
	{ PUT, 1, 6 },    { REMOVE, 2, 7 }, { RESTART, 0, 0 }, { FORGET, 2, 7 }, { ABSENT, 2, 8 }, { CLAIM, 2, 8 },
	{ REMOVE, 3, 9 }, { PUT, 0, 10 },   { FORGET, 1, 6 },  { PUT, 3, 11 },
};

#define STEPS (sizeof steps / sizeof steps[0])
#define KEYS 4u

static char dir[256], drive[300], after_cut[300];
static struct recording *recording;
static uint64_t base_seed;
static struct disk_ops forgetful;
static struct disk hasty;
static struct disk_ops hasty_ops;

struct value {
	uint64_t counter; /* 0: never was there */
	bool tombstone, claimed;
};

static const char *name_of(unsigned key)
{
	static const char *const names[KEYS] = { "pool/a", "pool/images/1/head", "pool/x", "other/a" };

	return names[key];
}

static size_t body_of(unsigned key)
{
	return key == 3 ? LARGE_BODY : BODY;
}

/* What the key holds when `done` steps were done. */
static struct value value_after(unsigned key, size_t done)
{
	struct value v = { 0 };

	for (size_t i = 0; i < done; i++) {
		const struct step *s = &steps[i];
		if (s->what >= CONFIRM || s->key != key)
			continue;
		if (s->what == FORGET)
			v = (struct value){ 0 };
		else
			v = (struct value){ s->counter, s->what == REMOVE, v.claimed || s->what == CLAIM };
	}
	return v;
}

static struct object_store *open_store(const char *path, struct disk *disk)
{
	struct object_store *s = NULL;
	struct error err = { 0 };

	if (open_drives(&s, disk, 1, &path, 1, &err) != 0)
		fail_msg("%s", err.text);
	return s;
}

static int do_step(struct object_store *s, const struct step *step)
{
	const char *name = name_of(step->key);

	switch (step->what) {
	case PUT:
		return put_made(s, name, step->counter, body_of(step->key), 0, OBJECT_RULE_NEWER, NULL);
	case ABSENT:
		return put_made(s, name, step->counter, body_of(step->key), 0, OBJECT_RULE_ABSENT, NULL);
	case CLAIM:
		return put_made(s, name, step->counter, body_of(step->key), OBJECT_CLAIMED, OBJECT_RULE_NEWER, NULL);
	case REMOVE:
		return remove_wait(s, name, step->counter, 0, NULL);
	case FORGET:
		return forget_wait(s, name, step->counter);
	case CONFIRM:
		return confirm_wait(s, name, step->counter);
	case RESTART:
		break;
	}
	return 0;
}

static void do_steps(void)
{
	struct object_store *s = open_store(drive, recording_disk(recording));
	uint64_t loss;

	(void)object_store_state(s, &loss);
	assert_int_equal(object_store_recovered(s, loss), 0);
	recording_note(recording, 1, 1);
	for (size_t i = 0; i < STEPS; i++) {
		if (steps[i].what == RESTART) {
			object_store_close(s);
			s = open_store(drive, recording_disk(recording));
		}
		assert_int_equal(do_step(s, &steps[i]), 0);
		recording_note(recording, 0, i + 1);
	}
	object_store_close(s);
}

static void record(void)
{
	assert_int_equal(record_vfs_install(recording), 0);
	do_steps();
	record_vfs_remove();
}

/* Whether the store holds that of the key. */
static bool holds(struct object_store *s, unsigned key, struct value v)
{
	struct object_meta meta;
	int rc = look_wait(s, name_of(key), &meta);

	if (!v.counter)
		return rc == -ENOENT;
	if (rc != 0 || object_version_compare(meta.version, version_of(v.counter)) != 0 ||
	    meta.flags & OBJECT_DAMAGED || v.tombstone != !!(meta.flags & OBJECT_TOMBSTONE) ||
	    v.claimed != !!(meta.flags & OBJECT_CLAIMED))
		return false;
	return read_made(s, name_of(key), v.counter, body_of(key)) == (v.tombstone ? -ENOENT : 0);
}

/* Builds one state and looks. Returns how much is wrong, and prints it when `aloud`. */
static int look_after_cut(uint64_t cut, uint64_t seed, bool aloud)
{
	struct crash_state state;
	struct object_store *s;
	char text[200];
	int wrong = 0;

	assert_int_equal(crash_state_build(recording, cut, seed, CRASH_ANY, after_cut, &state), 0);
	size_t done = state.noted[0] ? (size_t)state.note[0] : 0, next = done < STEPS ? done + 1 : done;
	s = open_store(after_cut, &hasty);
	for (unsigned k = 0; k < KEYS; k++) {
		struct object_meta meta = { 0 };
		if (holds(s, k, value_after(k, done)) || holds(s, k, value_after(k, next)))
			continue;
		wrong++;
		if (aloud) {
			int rc = look_wait(s, name_of(k), &meta);
			print_error("%s: after %zu steps %s is %d: version %llu, flags %x\n",
			            crash_state_text(&state, text), done, name_of(k), rc,
			            (unsigned long long)meta.version.counter, meta.flags);
		}
	}
	/* Nothing acknowledged is missing, and the store knows that. */
	if (state.noted[1] && object_store_state(s, NULL) != OBJECT_STORE_COMPLETE) {
		wrong++;
		if (aloud)
			print_error("%s: it is not complete\n", crash_state_text(&state, text));
	}
	/* It can be worked with. */
	if (put_made(s, name_of(0), 1000, BODY, 0, OBJECT_RULE_NEWER, NULL) != 0)
		wrong++;
	object_store_close(s);
	assert_int_equal(crash_state_remove(after_cut), 0);
	return wrong;
}

/* One cut in `each`, other ones with another seed. */
static int look_at_cuts(bool aloud, uint64_t each)
{
	uint64_t moments = recording_moments(recording);
	int wrong = 0;

	for (uint64_t cut = base_seed % each; cut <= moments && (aloud || !wrong); cut += each)
		wrong += look_after_cut(cut, base_seed + cut, aloud);
	return wrong;
}

static void what_was_answered_is_there_after_a_power_cut_and_the_rest_is_whole(void **state)
{
	struct recording_counts counts;

	(void)state;
	record();
	recording_counts(recording, &counts);
	assert_true(counts.syncs >= 14 && counts.dir_syncs >= 14 && counts.dir_changes >= 30);
	assert_int_equal(look_at_cuts(true, 2), 0);
}

static void a_sync_of_an_object_that_is_missing_would_be_seen(void **state)
{
	(void)state;
	recording_forget_syncs(recording, "-"); /* objects are named so */
	record();
	assert_true(look_at_cuts(false, 5) > 0);
}

static int (*sync_dir)(struct disk *d, const char *path);

static int sync_dir_but_objects(struct disk *d, const char *path)
{
	return strstr(path, "/objects/") ? 0 : sync_dir(d, path);
}

static void a_sync_of_a_directory_that_is_missing_would_be_seen(void **state)
{
	struct disk *d = recording_disk(recording);

	(void)state;
	forgetful = *d->ops;
	sync_dir = forgetful.sync_dir;
	forgetful.sync_dir = sync_dir_but_objects;
	d->ops = &forgetful;
	record();
	assert_true(look_at_cuts(false, 5) > 0);
}

static int synced(struct disk *d, int fd)
{
	(void)d;
	(void)fd;
	return 0;
}

static int dir_synced(struct disk *d, const char *path)
{
	(void)d;
	(void)path;
	return 0;
}

static int start_recording(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(dir, sizeof dir, "%s/garner-object-crash-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	snprintf(drive, sizeof drive, "%s/drive", dir);
	snprintf(after_cut, sizeof after_cut, "%s/after", dir);
	if (mkdir(drive, 0700) < 0)
		return -1;
	/* Those who look need no syncs. */
	hasty_ops = *disk_posix()->ops;
	hasty_ops.fdatasync = synced;
	hasty_ops.sync_dir = dir_synced;
	hasty.ops = &hasty_ops;
	recording = recording_new(drive);
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
		TEST(a_sync_of_a_directory_that_is_missing_would_be_seen),
	};

	base_seed = env_number("GARNER_TEST_SEED", (uint64_t)time(NULL));
	printf("GARNER_TEST_SEED=%llu\n", (unsigned long long)base_seed);
	return cmocka_run_group_tests_name("object_crash", tests, NULL, NULL);
}
