/* SPDX-License-Identifier: GPL-3.0-only */
/* test_catalog_change.c: changes of names that are stopped at every step, and raced by other hosts. */
#include "lib/catalog_fixture.h"

#include "base/clock.h"
#include "image/catalog_private.h"
#include "image/verify.h"

#include <pthread.h>
#include <time.h>

/* ---- crashes ---- */

/* Runs the change on host 1, which dies after `steps` changes of the store. Returns true when it came through. */
static bool dies_after(unsigned steps, bool lose_answer, int (*change)(struct catalog *c))
{
	struct faulty_store f;
	int rc;

	faulty_put_in(&f, pool[1], steps, lose_answer);
	rc = change(host[1]);
	bool reached = f.done >= steps;
	faulty_take_out(&f, pool[1]);
	return rc == 0 && !reached;
}

static int rename_a_over_b(struct catalog *c)
{
	return move(c, NODE_ROOT, "a", NODE_ROOT, "b");
}

static int unlink_a(struct catalog *c)
{
	return drop(c, NODE_ROOT, "a", NODE_FILE);
}

static void reset_names(void)
{
	struct seen seen = list_anew(NODE_ROOT);
	struct error err = { 0 };

	for (size_t i = 0; i < seen.count; i++)
		assert_int_equal(drop(host[0], NODE_ROOT, seen.names[i], NODE_FILE), 0);
	seen = trash(host[0]);
	for (size_t i = 0; i < seen.count; i++)
		assert_int_equal(catalog_trash_done(host[0], seen.ids[i], &err), 0);
}

/* Renames a over b and dies after `steps` changes. Whatever happened, `a` has exactly one name that counts, and `b` is either
 * at its name or offered for deletion. */
static bool rename_stopped_at(unsigned steps, bool lose_answer)
{
	uint64_t a = create(host[0], NODE_ROOT, "a", NODE_FILE), b = create(host[0], NODE_ROOT, "b", NODE_FILE);
	bool finished = dies_after(steps, lose_answer, rename_a_over_b);
	struct seen gone = trash(host[2]), seen = list_anew(NODE_ROOT);

	assert_false(has(&gone, a));
	assert_true(has(&seen, a));
	assert_true(has(&seen, b) != has(&gone, b));
	if (has(&seen, b)) {
		assert_int_equal(seen.count, 2);
		assert_int_equal(at(host[3], NODE_ROOT, "b"), b);
		assert_int_equal(at(host[3], NODE_ROOT, "a"), a);
	} else {
		/* What was left at the old name is gone since it was met by the listing. */
		assert_int_equal(seen.count, 1);
		assert_string_equal(seen.names[0], "b");
		assert_int_equal(at(host[3], NODE_ROOT, "b"), a);
		assert_int_equal(at(host[3], NODE_ROOT, "a"), 0);
		assert_int_equal(fixture_count(pool[0], "names/"), 1);
	}
	if (finished)
		assert_int_equal(at(host[3], NODE_ROOT, "b"), a);
	reset_names();
	return finished;
}

static void a_rename_that_crashes_at_any_step_loses_nothing(void **state)
{
	unsigned steps = 0;

	(void)state;
	while (!rename_stopped_at(steps, false)) {
		if (steps > 0)
			rename_stopped_at(steps, true);
		steps++;
		assert_true(steps < 20);
	}
	assert_true(steps >= 4); /* trash, put, unmark, remove */
}

static void an_unlink_that_crashes_at_any_step_leaves_the_image_named_or_in_the_trash(void **state)
{
	unsigned steps = 0;
	bool finished = false;

	(void)state;
	for (; !finished; steps++) {
		uint64_t a = create(host[0], NODE_ROOT, "a", NODE_FILE);
		finished = dies_after(steps, false, unlink_a);
		struct seen gone = trash(host[2]), seen = list_anew(NODE_ROOT);
		assert_true(has(&seen, a) != has(&gone, a));
		assert_true(!finished || has(&gone, a));
		reset_names();
		assert_true(steps < 20);
	}
	assert_true(steps >= 3);
}

/* Both names, and a mark of the image, are left over. */
static void who_may_not_write_sees_one_name_and_leaves_the_other(void **state)
{
	uint64_t d = create(host[0], NODE_ROOT, "d", NODE_DIRECTORY), a = create(host[0], NODE_ROOT, "a", NODE_FILE);
	struct entry_place old = entry_place(pool[0], NODE_ROOT, "a"), new = entry_place(pool[0], d, "b");
	struct catalog_entry entry, moved;
	struct faulty_store f;
	struct error err = { 0 };

	(void)state;
	assert_false(dies_after(1, false, unlink_a));
	assert_int_equal(catalog_lookup(host[0], NODE_ROOT, "a", 0, &entry, &err), 0);
	moved = entry;
	moved.parent = d;
	strcpy(moved.name, "b");
	moved.serial++;
	assert_int_equal(entry_write(pool[0], &moved, 0, &err), 0);
	faulty_put_in(&f, pool[1], UINT32_MAX, false);
	catalog_set_read_only(host[1]);
	for (int k = 0; k < 2; k++) {
		struct seen seen = { 0 }, below = { 0 };

		/* The one that counts is met last, and first. */
		assert_int_equal(catalog_list(host[1], NODE_ROOT, see_entry, &seen, &err), 0);
		assert_int_equal(catalog_list(host[1], d, see_entry, &below, &err), 0);
		assert_int_equal(below.count, 1);
		assert_int_equal(below.ids[0], a);
		assert_int_equal(at(host[1], NODE_ROOT, "a"), 0);
		assert_int_equal(at(host[1], d, "b"), a);
		assert_int_equal(catalog_get(host[1], a, &entry), 0);
		assert_string_equal(entry.name, "b");
		assert_int_equal(catalog_refresh(host[1], NODE_ROOT, 0, &err), 0);
	}
	struct verify_report *report = calloc(1, sizeof *report);
	assert_non_null(report);
	assert_int_equal(pool_verify(pool[1], NULL, report, NULL, NULL, &err), 0);
	assert_int_equal(report->errors, 0);
	free(report);
	assert_int_equal(atomic_load(&f.done), 0);
	faulty_take_out(&f, pool[1]);
	assert_int_equal(entry_read(pool[0], &old, &entry, &err), 0);
	assert_int_equal(entry_read(pool[0], &new, &entry, &err), 0);
	assert_int_equal(fixture_count(pool[0], "trash/"), 1);
	/* Who may write takes it away. */
	assert_int_equal(at(host[2], d, "b"), a);
	assert_int_equal(at(host[2], NODE_ROOT, "a"), 0);
	assert_int_equal(entry_read(pool[0], &old, &entry, &err), -ENOENT);
	assert_int_equal(fixture_count(pool[0], "trash/"), 0);
}

static void a_mark_that_a_crash_left_is_taken_away_by_the_next_rename(void **state)
{
	uint64_t a = create(host[0], NODE_ROOT, "a", NODE_FILE);

	(void)state;
	assert_false(dies_after(1, false, unlink_a));
	assert_int_equal(fixture_count(pool[0], "trash/"), 1);
	assert_int_equal(trash(host[0]).count, 0);
	assert_int_equal(move(host[0], NODE_ROOT, "a", NODE_ROOT, "c"), 0);
	assert_int_equal(fixture_count(pool[0], "trash/"), 0);
	assert_int_equal(at(host[2], NODE_ROOT, "c"), a);
}

static void a_create_whose_answer_is_lost_is_whole_or_not_there(void **state)
{
	struct faulty_store f;
	struct seen seen;
	uint64_t id;

	(void)state;
	faulty_put_in(&f, pool[1], 1, true);
	assert_int_not_equal(try_create(host[1], NODE_ROOT, "a", NODE_FILE, &id), 0);
	faulty_take_out(&f, pool[1]);
	seen = list_anew(NODE_ROOT);
	assert_int_equal(seen.count, 1);
	assert_int_equal(seen.ids[0], id);
}

/* ---- two hosts at once ---- */

struct other_host {
	int (*change)(struct catalog *c);
	int rc;
};

static void other_host_acts(void *arg)
{
	struct other_host *other = arg;

	other->rc = other->change(host[2]);
}

/* Host 1 does `first`; before its change number `step` of the store host 2 does all of `second`. */
static void interleave(int (*first)(struct catalog *c), int *first_rc, unsigned step, int (*second)(struct catalog *c),
                       int *second_rc)
{
	struct other_host other = { .change = second, .rc = 1 };
	struct faulty_store f;

	faulty_put_in(&f, pool[1], UINT32_MAX, false);
	f.before = other_host_acts;
	f.before_arg = &other;
	f.before_step = step;
	*first_rc = first(host[1]);
	faulty_take_out(&f, pool[1]);
	*second_rc = other.rc;
}

static int replace_a(struct catalog *c)
{
	uint64_t id;
	int rc = unlink_a(c);

	return rc ? rc : try_create(c, NODE_ROOT, "a", NODE_FILE, &id);
}

static void unlinking_does_not_remove_what_another_host_put_there_meanwhile(void **state)
{
	int first, second;
	uint64_t a = create(host[0], NODE_ROOT, "a", NODE_FILE);

	(void)state;
	/* Before the mark is put: so before the entry is read again. */
	interleave(unlink_a, &first, 0, replace_a, &second);
	assert_int_equal(second, 0);
	/* The first host saw that its entry was gone, and unlinked what it found then: an entry that it had read. */
	assert_int_equal(first, 0);
	struct seen gone = trash(host[0]);
	assert_int_equal(gone.count, 2);
	assert_true(has(&gone, a));
	assert_int_equal(list_anew(NODE_ROOT).count, 0);
}

static int rename_a_to_c(struct catalog *c)
{
	return move(c, NODE_ROOT, "a", NODE_ROOT, "c");
}

static void a_rename_and_an_unlink_at_once_leave_the_image_named_or_in_the_trash(void **state)
{
	(void)state;
	for (unsigned step = 0; step < 4; step++) {
		int first, second;
		uint64_t a = create(host[0], NODE_ROOT, "a", NODE_FILE);
		interleave(unlink_a, &first, step, rename_a_to_c, &second);
		struct seen gone = trash(host[0]), seen = list_anew(NODE_ROOT);
		assert_true(has(&seen, a) != has(&gone, a));
		if (step == 0) {
			assert_int_equal(second, 0);
			assert_int_equal(first, -ENOENT);
			assert_true(has(&seen, a));
		}
		reset_names();

		a = create(host[0], NODE_ROOT, "a", NODE_FILE);
		interleave(rename_a_to_c, &first, step, unlink_a, &second);
		gone = trash(host[0]);
		seen = list_anew(NODE_ROOT);
		assert_true(has(&seen, a) != has(&gone, a));
		reset_names();
	}
}

static int create_in_d(struct catalog *c)
{
	uint64_t d = at(c, NODE_ROOT, "d"), id;

	return d ? try_create(c, d, "inside", NODE_FILE, &id) : -ENOENT;
}

static int rmdir_d(struct catalog *c)
{
	return drop(c, NODE_ROOT, "d", NODE_DIRECTORY);
}

static int move_h_over_d(struct catalog *c)
{
	return move(c, NODE_ROOT, "h", NODE_ROOT, "d");
}

/* Either the file is reachable, or it was not created. */
static void check_nothing_is_hidden(int created)
{
	uint64_t d = at(host[3], NODE_ROOT, "d");
	bool found = d && at(host[3], d, "inside") != 0;

	if ((created == 0) != found)
		fail_msg("creating answered %d, but the file is %sthere", created, found ? "" : "not ");
}

static void a_directory_that_is_removed_while_it_is_used_hides_nothing(void **state)
{
	(void)state;
	for (unsigned step = 0; step < 4; step++) {
		for (int turn = 0; turn < 4; turn++) {
			int (*away)(struct catalog *) = turn < 2 ? rmdir_d : move_h_over_d;
			int first, second;

			create(host[0], NODE_ROOT, "d", NODE_DIRECTORY);
			if (turn >= 2)
				create(host[0], NODE_ROOT, "h", NODE_DIRECTORY);
			if (turn % 2)
				interleave(create_in_d, &first, step, away, &second);
			else
				interleave(away, &first, step, create_in_d, &second);
			if (second != 1)
				check_nothing_is_hidden(turn % 2 ? first : second);
			uint64_t d = at(host[0], NODE_ROOT, "d");
			if (d && at(host[0], d, "inside"))
				assert_int_equal(drop(host[0], d, "inside", NODE_FILE), 0);
			if (d)
				assert_int_equal(rmdir_d(host[0]), 0);
			if (at(host[0], NODE_ROOT, "h"))
				assert_int_equal(drop(host[0], NODE_ROOT, "h", NODE_DIRECTORY), 0);
			assert_int_equal(fixture_count(pool[0], "names/"), 0);
		}
	}
}

static void of_two_renames_of_one_image_one_name_remains(void **state)
{
	int first, second;

	(void)state;
	for (unsigned step = 0; step < 3; step++) {
		uint64_t a = create(host[0], NODE_ROOT, "a", NODE_FILE);
		create(host[0], NODE_ROOT, "b", NODE_FILE);
		interleave(rename_a_over_b, &first, step, rename_a_to_c, &second);
		struct seen seen = list_anew(NODE_ROOT), again = list_anew(NODE_ROOT);
		unsigned names = 0;
		for (size_t i = 0; i < seen.count; i++)
			names += seen.ids[i] == a;
		assert_int_equal(names, 1);
		assert_int_equal(again.count, seen.count);
		assert_int_equal(fixture_count(pool[0], "names/"), seen.count);
		assert_false(at(host[0], NODE_ROOT, "b") == a && at(host[0], NODE_ROOT, "c") == a);
		reset_names();
	}
}

/* What the other host read of "b" before, for its slow write. */
static struct catalog_entry slow;

static int write_b_late(struct catalog *c)
{
	struct error err = { 0 };

	(void)c;
	slow.serial++;
	return entry_write(pool[2], &slow, 0, &err);
}

static int unlink_b(struct catalog *c)
{
	return drop(c, NODE_ROOT, "b", NODE_FILE);
}

/* Attributes that another host writes late bring the replaced entry back: before the new one is put, or after. */
static void a_late_write_of_the_replaced_entry_does_not_lose_the_renamed_image(void **state)
{
	int (*const others[])(struct catalog *) = { write_b_late, unlink_b };

	(void)state;
	for (size_t k = 0; k < 2; k++)
		for (unsigned step = 0; step < 3; step++) {
			int first, second;
			uint64_t a = create(host[0], NODE_ROOT, "a", NODE_FILE);
			uint64_t b = create(host[0], NODE_ROOT, "b", NODE_FILE);
			struct error err = { 0 };

			assert_int_equal(catalog_lookup(host[2], NODE_ROOT, "b", 0, &slow, &err), 0);
			interleave(rename_a_over_b, &first, step, others[k], &second);
			assert_int_equal(second, 0);
			assert_int_equal(first, 0);
			assert_int_equal(at(host[3], NODE_ROOT, "b"), a);
			struct seen gone = trash(host[0]);
			assert_int_equal(gone.count, 1);
			assert_int_equal(gone.ids[0], b);
			assert_int_equal(fixture_count(pool[0], "names/"), 1);
			reset_names();
		}
}

static int change_mode(struct catalog *c, uint64_t id, uint32_t mode)
{
	struct catalog_entry entry;
	struct error err = { 0 };

	assert_int_equal(catalog_get(c, id, &entry), 0);
	entry.mode = mode;
	return catalog_update(c, &entry, &err);
}

/* The mark alone says that it is being removed: then nothing may be written. One that a crash left long ago says nothing. */
static void attributes_of_an_entry_that_is_being_removed_are_left_alone(void **state)
{
	uint64_t a = create(host[0], NODE_ROOT, "a", NODE_FILE), d = create(host[0], NODE_ROOT, "d", NODE_DIRECTORY);
	struct catalog_entry before, after;
	struct error err = { 0 };
	char key[STORE_KEY_MAX + 1];
	struct fields *mark = fields_new();

	(void)state;
	assert_int_equal(change_mode(host[0], a, 0600), 0);
	assert_int_equal(change_mode(host[0], d, 0700), 0);
	assert_false(dies_after(1, false, unlink_a));
	assert_int_equal(catalog_lookup(host[2], NODE_ROOT, "a", 0, &before, &err), 0);
	assert_int_equal(change_mode(host[0], a, 0644), -EBUSY);
	assert_int_equal(catalog_lookup(host[2], NODE_ROOT, "a", 0, &after, &err), 0);
	assert_int_equal(after.mode, 0600);
	assert_int_equal(after.serial, before.serial);

	assert_non_null(mark);
	snprintf(key, sizeof key, "trash/%016" PRIx64, a);
	fields_add_hex64(mark, "id", a);
	fields_add_hex64(mark, "parent", NODE_ROOT);
	fields_add_text(mark, "name", "a");
	fields_add_u64(mark, "time", clock_wall_ns() - UINT64_C(3600) * 1000000000);
	fields_add_u64(mark, "mode", 0600);
	fields_add_u64(mark, "uid", 7);
	fields_add_u64(mark, "gid", 8);
	fields_add_u64(mark, "grain", before.grain_bytes);
	fields_add_u64(mark, "created", before.created_ns);
	fields_add_u64(mark, "serial", before.serial);
	assert_int_equal(pool_put_object(pool[0], key, OBJECT_TRASH, &pool[0]->catalog, mark, 0, &err), 0);
	fields_free(mark);
	assert_int_equal(change_mode(host[0], a, 0644), 0);
	assert_int_equal(catalog_lookup(host[2], NODE_ROOT, "a", 0, &after, &err), 0);
	assert_int_equal(after.mode, 0644);
}

/* ---- many threads ---- */

#define NAMES 8

struct racer {
	pthread_t thread;
	struct catalog *c;
	uint64_t won[NAMES];
};

static void *race_to_create(void *arg)
{
	struct racer *r = arg;
	char name[16];

	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof name, "n%d", i);
		int rc = try_create(r->c, NODE_ROOT, name, NODE_FILE, &r->won[i]);
		if (rc)
			r->won[i] = rc == -EEXIST ? 0 : UINT64_MAX;
	}
	return NULL;
}

static void of_racing_creators_exactly_one_wins(void **state)
{
	struct racer racers[HOSTS];
	char name[16];

	(void)state;
	for (int i = 0; i < HOSTS; i++) {
		racers[i].c = host[i];
		assert_int_equal(pthread_create(&racers[i].thread, NULL, race_to_create, &racers[i]), 0);
	}
	for (int i = 0; i < HOSTS; i++)
		assert_int_equal(pthread_join(racers[i].thread, NULL), 0);
	for (int i = 0; i < NAMES; i++) {
		unsigned winners = 0;
		snprintf(name, sizeof name, "n%d", i);
		for (int h = 0; h < HOSTS; h++) {
			assert_true(racers[h].won[i] != UINT64_MAX);
			if (racers[h].won[i]) {
				winners++;
				assert_int_equal(at(host[0], NODE_ROOT, name), racers[h].won[i]);
			}
		}
		assert_int_equal(winners, 1);
	}
}

struct worker {
	pthread_t thread;
	struct catalog *c;
	unsigned number, seed;
	bool failed;
};

/* Renames what it finds, to names that nobody had before: see BUGS in garnerfs(8) for those that somebody had. */
static void *work(void *arg)
{
	struct worker *w = arg;
	struct error err = { 0 };
	char to[32];

	for (int i = 0; i < 30; i++) {
		struct seen seen = { 0 };
		struct catalog_entry e;
		int rc = catalog_list(w->c, NODE_ROOT, see_entry, &seen, &err);

		if (rc == 0 && seen.count) {
			const char *from = seen.names[(unsigned)rand_r(&w->seed) % seen.count];
			snprintf(to, sizeof to, "m%u-%d", w->number, i);
			if (rand_r(&w->seed) % 3)
				rc = catalog_rename(w->c, NODE_ROOT, from, NODE_ROOT, to, true, NULL, &err);
			else
				rc = catalog_lookup(w->c, NODE_ROOT, from, 1, &e, &err);
		}
		if (rc && rc != -ENOENT && rc != -EBUSY) {
			fprintf(stderr, "%s\n", error_text(&err));
			w->failed = true;
		}
	}
	return NULL;
}

static void images_survive_renames_by_many_hosts_at_once(void **state)
{
	const char *text = getenv("GARNER_TEST_SEED");
	unsigned seed = text ? (unsigned)strtoul(text, NULL, 0) : (unsigned)time(NULL);
	struct worker workers[2 * HOSTS];
	uint64_t ids[NAMES];
	struct seen seen;
	char name[16];

	(void)state;
	print_message("GARNER_TEST_SEED=%u\n", seed);
	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof name, "n%d", i);
		ids[i] = create(host[0], NODE_ROOT, name, NODE_FILE);
	}
	for (int i = 0; i < 2 * HOSTS; i++) {
		workers[i] = (struct worker){ .c = host[i % HOSTS], .number = (unsigned)i, .seed = seed + (unsigned)i };
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (int i = 0; i < 2 * HOSTS; i++)
		assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
	for (int i = 0; i < 2 * HOSTS; i++)
		assert_false(workers[i].failed);
	seen = list_anew(NODE_ROOT);
	assert_int_equal(trash(host[0]).count, 0);
	for (int i = 0; i < NAMES; i++)
		if (!has(&seen, ids[i]))
			fail_msg("image %d lost, seed %u", i, seed);
	assert_int_equal(seen.count, NAMES);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_rename_that_crashes_at_any_step_loses_nothing),
		T(an_unlink_that_crashes_at_any_step_leaves_the_image_named_or_in_the_trash),
		T(who_may_not_write_sees_one_name_and_leaves_the_other),
		T(a_mark_that_a_crash_left_is_taken_away_by_the_next_rename),
		T(a_create_whose_answer_is_lost_is_whole_or_not_there),
		T(unlinking_does_not_remove_what_another_host_put_there_meanwhile),
		T(a_rename_and_an_unlink_at_once_leave_the_image_named_or_in_the_trash),
		T(a_directory_that_is_removed_while_it_is_used_hides_nothing),
		T(of_two_renames_of_one_image_one_name_remains),
		T(a_late_write_of_the_replaced_entry_does_not_lose_the_renamed_image),
		T(attributes_of_an_entry_that_is_being_removed_are_left_alone),
		T(of_racing_creators_exactly_one_wins),
		T(images_survive_renames_by_many_hosts_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
