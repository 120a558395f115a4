/* SPDX-License-Identifier: GPL-3.0-only */
/* test_rewind.c: new images as others were: that each moment that can be had is what the disk was then.
 *
 * The oracle keeps the state after every change, with its position in the log and the time. GARNER_TEST_SEED repeats a run,
 * GARNER_TEST_ROUNDS makes it longer.
 */
#include "lib/image_fixture.h"
#include "lib/oracle.h"
#include "lib/spy_store.h"

#include "base/clock.h"
#include "image/clean.h"
#include "image/past.h"
#include "image/pool_copy.h"
#include "image/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define DISK ((size_t)384 << 10)
#define DISK_MAX (2 * DISK)
#define TRACKS 40

static struct image_fixture f;
static struct error err;

/* After some change. */
struct state {
	struct oracle *disk;
	struct log_position at;
	uint64_t time_ns;
};

/* An image, and everything that it was. */
struct track {
	char name[20];
	bool gone;
	struct oracle *disk; /* now */
	struct state *states;
	size_t count;
};

static struct track tracks[TRACKS];
static size_t track_count;

static int set_up(void **state)
{
	(void)state;
	alarm(300);
	memset(&err, 0, sizeof err);
	image_fixture_init(&f, true);
	f.options.trash_ms = 1;
	image_fixture_open(&f, 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (size_t k = 0; k < track_count; k++) {
		for (size_t n = 0; n < tracks[k].count; n++)
			oracle_free(tracks[k].states[n].disk);
		free(tracks[k].states);
		oracle_free(tracks[k].disk);
	}
	memset(tracks, 0, sizeof tracks);
	track_count = 0;
	image_fixture_destroy(&f);
	return 0;
}

static struct random some_random(void)
{
	uint64_t seed = env_number("GARNER_TEST_SEED", clock_wall_ns());

	print_message("seed %" PRIu64 "\n", seed);
	return (struct random){ seed };
}

/* ---- changes ------------------------------------------------------------------------------------------------------ */

static struct track *new_track(struct oracle *disk)
{
	struct track *t = &tracks[track_count];

	assert_true(track_count < TRACKS);
	snprintf(t->name, sizeof t->name, "disk%zu", track_count++);
	t->disk = disk;
	return t;
}

static void note(struct track *t, struct image *i)
{
	struct log *log = atomic_load(&i->log);

	assert_non_null(log);
	t->states = reallocarray(t->states, t->count + 1, sizeof *t->states);
	assert_non_null(t->states);
	t->states[t->count++] = (struct state){ oracle_clone(t->disk), log_position(log), clock_wall_ns() };
	assert_non_null(t->states[t->count - 1].disk);
}

static void change(struct random *r, struct track *t, struct image *i)
{
	static uint8_t buf[24000];
	size_t len = 1 + random_below(r, random_once_in(r, 4) ? sizeof buf : 5000);
	uint64_t size = oracle_size(t->disk), at = random_below(r, DISK_MAX - sizeof buf);

	switch (random_below(r, 12)) {
	case 0:
		len = random_below(r, DISK_MAX);
		assert_int_equal(resize_wait(i, len), 0);
		oracle_resize(t->disk, len);
		break;
	case 1:
	case 2:
		assert_int_equal(discard_wait(i, at, 4 * len), 0);
		oracle_zero(t->disk, at, 4 * len);
		break;
	default:
		/* In a few places again and again. */
		if (size > DISK / 4 && random_once_in(r, 2))
			at = random_below(r, DISK / 4);
		random_fill(r, buf, len);
		assert_int_equal(write_wait(i, at, buf, len), len);
		oracle_write(t->disk, at, buf, len);
	}
	note(t, i);
	if (random_once_in(r, 6))
		assert_int_equal(flush_wait(i, IMAGE_FLUSH_LOCAL), 0);
	if (random_once_in(r, 15))
		assert_int_equal(save_now(i, random_once_in(r, 2)), 0);
	if (random_once_in(r, 10))
		usleep(150000); /* the segment ends */
}

static void change_some(struct random *r, struct track *t, unsigned changes)
{
	struct image *i = image_fixture_open_image(f.engine, t->name);

	while (changes--)
		change(r, t, i);
	image_fixture_close_image(i);
}

static uint64_t id_of(struct engine *e, const char *path)
{
	struct node_attr attr;

	if (engine_resolve(e, path, &attr, &err))
		fail_msg("%s: %s", path, error_text(&err));
	return attr.id;
}

/* Deletes whatever nothing needs any more. How many segments. */
static uint64_t clean(const struct track *t)
{
	const struct clean_options options = { .now = true };
	struct clean_result result;

	if (engine_clean(f.engine, id_of(f.engine, t->name), &options, NULL, NULL, &result, &err))
		fail_msg("%s: %s", t->name, error_text(&err));
	return result.removed_segments;
}

static struct track *begin_disk(void)
{
	struct track *t = new_track(oracle_new());

	image_fixture_create(f.engine, t->name);
	return t;
}

static void restart(bool lose_cache)
{
	image_fixture_close(&f);
	if (lose_cache)
		image_fixture_lose_cache(&f, 0);
	image_fixture_open(&f, 0);
}

/* ---- comparing ---------------------------------------------------------------------------------------------------- */

/* Whether the image is as one of the two says, sector by sector; b is NULL when only one will do. */
static void check_either(struct engine *e, const char *name, const struct oracle *a, const struct oracle *b)
{
	static uint8_t is[DISK_MAX], first[DISK_MAX], second[DISK_MAX];
	struct node_attr attr;
	struct image *i;

	assert_int_equal(engine_resolve(e, name, &attr, &err), 0);
	if (attr.size != oracle_size(a) && (!b || attr.size != oracle_size(b)))
		fail_msg("%s: %" PRIu64 " bytes instead of %" PRIu64, name, attr.size, oracle_size(a));
	if (image_open(e, attr.id, IMAGE_READ, &i, &err))
		fail_msg("%s: %s", name, error_text(&err));
	memset(is, 0, sizeof is);
	assert_int_equal(read_wait(i, 0, is, sizeof is), attr.size);
	image_close(i, IMAGE_READ);
	oracle_read(a, 0, first, sizeof first);
	oracle_read(b ? b : a, 0, second, sizeof second);
	for (size_t k = 0; k < attr.size; k += 512)
		if (memcmp(is + k, first + k, 512) != 0 && memcmp(is + k, second + k, 512) != 0)
			fail_msg("%s: other bytes at %zu", name, k);
}

static uint64_t errors_in_pool(void)
{
	static struct verify_report report;

	memset(&report, 0, sizeof report);
	assert_int_equal(pool_verify(f.engine->pool, NULL, &report, NULL, NULL, &err), 0);
	for (size_t k = 0; k < report.text_count; k++)
		print_message("  %s\n", report.text[k]);
	return report.errors;
}

/* ---- rewinding ---------------------------------------------------------------------------------------------------- */

static int rewind_to(struct engine *e, const char *from, struct image_moment *m, const char *name)
{
	struct node_attr attr;
	int rc = engine_rewind(e, id_of(e, from), m, NODE_ROOT, name, &attr, &err);

	/* What changes nothing, such as discarding past the end, is in no log: there may be nothing yet. */
	if (rc && rc != -ERANGE && rc != -ENODATA)
		fail_msg("%s: %s", from, error_text(&err));
	return rc;
}

/* The last state that is no later than the position. -1: none. */
static int state_at(const struct track *t, struct log_position at)
{
	int k = (int)t->count - 1;

	while (k >= 0 && log_position_compare(t->states[k].at, at) > 0)
		k--;
	return k;
}

/* Nothing had been logged yet: that is no moment. */
static bool is_before_all(const struct state *s)
{
	return s->at.segment == 1 && s->at.record == 0;
}

/* Rewinds to a state, by its time or position, and compares. With `exact` it must be that very one. Whether it could be had. */
static bool rewind_and_check(struct track *t, size_t wanted, bool by_time, bool exact)
{
	const struct state *s = &t->states[wanted];
	const struct oracle *after;
	struct image_moment m = { .time_ns = s->time_ns };
	char name[20];

	if (!by_time)
		m = (struct image_moment){ .segment = s->at.segment, .record = s->at.record };
	snprintf(name, sizeof name, "disk%zu", track_count);
	if (rewind_to(f.engine, t->name, &m, name)) {
		assert_true(!exact || is_before_all(s));
		return false;
	}
	assert_true(m.time_ns <= s->time_ns);
	int k = state_at(t, (struct log_position){ m.segment, m.record });
	int order = k < 0 ? -1 : log_position_compare(t->states[k].at, s->at);
	/* A later state that wrote nothing is the same one, and a segment may have ended in between. */
	if (order > 0)
		order = 0;
	if (exact || !by_time)
		assert_int_equal(order, 0);
	/* The end of a segment may lie within a change. */
	after = order < 0 ? t->states[k + 1].disk : NULL;
	if (k >= 0)
		check_either(f.engine, name, t->states[k].disk, after);
	if (!after)
		new_track(oracle_clone(t->states[k].disk));
	else
		assert_int_equal(engine_unlink(f.engine, NODE_ROOT, name, &err), 0);
	return true;
}

static void check_exactly(struct track *t, size_t wanted, bool by_time)
{
	bool before_all = is_before_all(&t->states[wanted]);

	assert_true(rewind_and_check(t, wanted, by_time, true) || before_all);
}

/* The image itself, to some state that can be had; and what that makes of it is one more. */
static void rewind_in_place(struct random *r, struct track *t)
{
	const struct state *s = &t->states[random_below(r, t->count)];
	struct image_moment m = { .segment = s->at.segment, .record = s->at.record }, now;
	int rc = engine_rewind_in_place(f.engine, id_of(f.engine, t->name), &m, &now, &err);

	if (rc == -ERANGE)
		return;
	if (rc)
		fail_msg("%s: %s", t->name, error_text(&err));
	check_either(f.engine, t->name, s->disk, NULL);
	oracle_free(t->disk);
	t->disk = oracle_clone(s->disk);
	struct image *i = image_fixture_open_image(f.engine, t->name);
	note(t, i);
	image_fixture_close_image(i);
}

static void every_moment_that_can_be_had_is_what_the_disk_was(void **state)
{
	struct random r = some_random();
	uint64_t rounds = env_number("GARNER_TEST_ROUNDS", 30), had = 0, removed = 0;

	(void)state;
	begin_disk();
	for (uint64_t n = 0; n < rounds; n++) {
		struct track *t = &tracks[random_below(&r, track_count)];
		if (t->gone)
			t = &tracks[track_count - 1];
		if (!t->gone)
			change_some(&r, t, 1 + (unsigned)random_below(&r, n ? 12 : 60));
		if (!t->gone && track_count < TRACKS)
			had += rewind_and_check(t, random_below(&r, t->count), random_once_in(&r, 2), false);
		if (!t->gone && random_once_in(&r, 4))
			rewind_in_place(&r, t);
		if (!t->gone && random_once_in(&r, 4))
			removed += clean(t);
		if (random_once_in(&r, 5))
			restart(random_once_in(&r, 2));
		if (!t->gone && random_once_in(&r, 8) && track_count > 3) {
			assert_int_equal(engine_unlink(f.engine, NODE_ROOT, t->name, &err), 0);
			t->gone = true;
		}
		for (size_t k = random_below(&r, 3); k < track_count; k += 3)
			if (!tracks[k].gone)
				check_either(f.engine, tracks[k].name, tracks[k].disk, NULL);
	}
	print_message("%" PRIu64 " of %" PRIu64 " moments could be had; %" PRIu64 " segments were deleted\n", had,
	              rounds, removed);
	/* How many is a matter of luck: what was deleted by cleaning cannot be had. */
	assert_true(had > 0 || rounds < 30);
	restart(true);
	for (size_t k = 0; k < track_count; k++)
		if (!tracks[k].gone)
			check_either(f.engine, tracks[k].name, tracks[k].disk, NULL);
	assert_int_equal(errors_in_pool(), 0);
}

static void with_history_every_moment_can_be_had(void **state)
{
	struct random r = some_random();
	uint64_t rounds = env_number("GARNER_TEST_ROUNDS", 12);
	struct track *t = begin_disk();
	uint64_t id = id_of(f.engine, t->name);

	(void)state;
	assert_int_equal(engine_history_keep(f.engine, id, 3600, &err), 0);
	for (uint64_t n = 0; n < rounds; n++) {
		change_some(&r, t, 30);
		if (random_once_in(&r, 3))
			rewind_in_place(&r, t);
		if (random_once_in(&r, 3))
			assert_int_equal(clean(t), 0);
		for (int k = 0; k < 3 && track_count < TRACKS; k++)
			check_exactly(t, random_below(&r, t->count), random_once_in(&r, 2));
		if (random_once_in(&r, 3))
			restart(random_once_in(&r, 2));
	}
	restart(true);
	for (size_t k = 0; k < track_count; k++)
		check_either(f.engine, tracks[k].name, tracks[k].disk, NULL);
	assert_int_equal(errors_in_pool(), 0);
}

static void an_image_in_use_is_not_rewound_in_place(void **state)
{
	struct random r = some_random();
	struct track *t = begin_disk();
	struct image_moment m, now;
	uint64_t id = id_of(f.engine, t->name);
	struct image *i;

	(void)state;
	change_some(&r, t, 20);
	i = image_fixture_open_image(f.engine, t->name);
	m = (struct image_moment){ .time_ns = clock_wall_ns() };
	assert_int_equal(engine_rewind_in_place(f.engine, id, &m, &now, &err), -EBUSY);
	change(&r, t, i);
	image_fixture_close_image(i);
	check_either(f.engine, t->name, t->disk, NULL);
	m = (struct image_moment){ .time_ns = t->states[0].time_ns - 3600000000000 };
	assert_int_equal(engine_rewind_in_place(f.engine, id, &m, &now, &err), -ERANGE);
	check_either(f.engine, t->name, t->disk, NULL);
	change_some(&r, t, 5);
	restart(true);
	check_either(f.engine, t->name, t->disk, NULL);
}

static void in_place_to_a_snapshot_and_back(void **state)
{
	struct random r = some_random();
	struct track *t = begin_disk();
	struct snapshot_info info;
	struct image_moment m, now;
	struct oracle *then;
	uint64_t id = id_of(f.engine, t->name);

	(void)state;
	for (int k = 0; k < 2; k++) {
		change_some(&r, t, 40);
		then = oracle_clone(t->disk);
		assert_non_null(then);
		assert_int_equal(engine_snapshot_create(f.engine, &id, 1, k ? "b" : "a", &err), 0);
		change_some(&r, t, 40);
		assert_int_equal(engine_snapshot_find(f.engine, id, k ? "b" : "a", &info, &err), 0);
		assert_int_equal(engine_rewind_in_place(f.engine, info.id, &m, &now, &err), 0);
		check_either(f.engine, t->name, then, NULL);
		restart(k);
		check_either(f.engine, t->name, then, NULL);
		m = now;
		assert_int_equal(engine_rewind_in_place(f.engine, id, &m, &now, &err), 0);
		check_either(f.engine, t->name, t->disk, NULL);
		restart(true);
		check_either(f.engine, t->name, t->disk, NULL);
		oracle_free(then);
	}
	assert_int_equal(errors_in_pool(), 0);
}

static bool is_rewound(const struct snapshot *s)
{
	segment_no_t next;

	return snapshot_rewound_parse(s->info.name, &next);
}

static int count_rewound(void *arg, const struct snapshot *s)
{
	*(unsigned *)arg += is_rewound(s);
	return 0;
}

static unsigned rewound_holds(uint64_t id)
{
	unsigned count = 0;

	assert_int_equal(snapshot_list(f.engine->pool, id, count_rewound, &count, &err), 0);
	return count;
}

static void write_all(struct track *t, uint8_t byte)
{
	static uint8_t buf[DISK];
	struct image *i = image_fixture_open_image(f.engine, t->name);

	memset(buf, byte, sizeof buf);
	assert_int_equal(write_wait(i, 0, buf, sizeof buf), sizeof buf);
	oracle_write(t->disk, 0, buf, sizeof buf);
	assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);
	assert_int_equal(save_now(i, true), 0);
	assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);
	note(t, i);
	image_fixture_close_image(i);
}

#define WINDOW_S 6

/* One that was rewound in place needs, at moments after that, what its history had no more use for. Whether it was quick enough for the
 * moment to be one that is kept. */
static bool moment_after_rewinding_outlives_cleaning(void)
{
	struct track *t = begin_disk();
	uint64_t id = id_of(f.engine, t->name);
	struct image_moment m, now;
	struct node_attr attr;
	char name[40];

	assert_int_equal(engine_history_keep(f.engine, id, WINDOW_S, &err), 0);
	write_all(t, 'a');
	size_t old = t->count - 1;
	write_all(t, 'b');
	sleep(WINDOW_S + 1);
	m = (struct image_moment){ .segment = t->states[old].at.segment, .record = t->states[old].at.record };
	assert_int_equal(engine_rewind_in_place(f.engine, id, &m, &now, &err), 0);
	assert_int_equal(rewound_holds(id), 1);
	check_either(f.engine, t->name, t->states[old].disk, NULL);
	struct image *i = image_fixture_open_image(f.engine, t->name);
	m = (struct image_moment){ .segment = log_position(atomic_load(&i->log)).segment };
	image_fixture_close_image(i);
	/* All of it is overwritten, and what the window needs besides is not from before it. */
	write_all(t, 'c');
	clean(t);
	snprintf(name, sizeof name, "%s-then", t->name);
	int rc = engine_rewind(f.engine, id, &m, NODE_ROOT, name, &attr, &err);
	if (!rc)
		check_either(f.engine, name, t->states[old].disk, NULL);
	else
		assert_int_equal(rc, -ERANGE);
	assert_int_equal(errors_in_pool(), 0);

	/* Once those moments are gone, so is what was kept for them. */
	assert_int_equal(engine_history_keep(f.engine, id, 0, &err), 0);
	for (int k = 0; k < 3; k++) {
		write_all(t, 'd');
		clean(t);
	}
	assert_int_equal(rewound_holds(id), 0);
	assert_int_equal(errors_in_pool(), 0);
	return !rc;
}

static void moments_after_rewinding_in_place_outlive_cleaning(void **state)
{
	bool kept = false;

	(void)state;
	for (int k = 0; k < 4 && !kept; k++)
		kept = moment_after_rewinding_outlives_cleaning();
	assert_true(kept);
}

static int any_object(void *arg, const struct store_entry *entry)
{
	(void)arg;
	print_message("%s\n", entry->key);
	return 1;
}

/* What it holds of itself does not keep it from going. */
static void one_that_was_rewound_in_place_can_be_deleted(void **state)
{
	struct random r = some_random();
	struct track *t = begin_disk();
	uint64_t id = id_of(f.engine, t->name);
	struct image_moment m, now;
	char prefix[STORE_KEY_MAX + 1];

	(void)state;
	assert_int_equal(engine_history_keep(f.engine, id, 3600, &err), 0);
	change_some(&r, t, 20);
	m = (struct image_moment){ .segment = t->states[10].at.segment, .record = t->states[10].at.record };
	assert_int_equal(engine_rewind_in_place(f.engine, id, &m, &now, &err), 0);
	assert_int_equal(rewound_holds(id), 1);
	assert_int_equal(engine_unlink(f.engine, NODE_ROOT, t->name, &err), 0);
	restart(false);
	restart(false);
	snprintf(prefix, sizeof prefix, "images/%016" PRIx64 "/", id);
	assert_int_equal(store_list_each(f.engine->pool->store, prefix, NULL, any_object, NULL, &err), 0);
	t->gone = true;
}

/* Nor from being parted from what it is a clone of, which ends its history. */
static void a_clone_that_was_rewound_in_place_can_be_flattened(void **state)
{
	struct random r = some_random();
	struct track *t = begin_disk(), *c = new_track(oracle_new());
	struct image_moment m, now;
	struct node_attr attr;

	(void)state;
	change_some(&r, t, 20);
	assert_int_equal(engine_clone(f.engine, id_of(f.engine, t->name), NODE_ROOT, c->name, &attr, &err), 0);
	oracle_free(c->disk);
	c->disk = oracle_clone(t->disk);
	assert_int_equal(engine_history_keep(f.engine, attr.id, 3600, &err), 0);
	change_some(&r, c, 20);
	m = (struct image_moment){ .segment = c->states[10].at.segment, .record = c->states[10].at.record };
	assert_int_equal(engine_rewind_in_place(f.engine, attr.id, &m, &now, &err), 0);
	assert_int_equal(rewound_holds(attr.id), 1);
	if (engine_flatten(f.engine, attr.id, NULL, NULL, &err))
		fail_msg("%s", error_text(&err));
	assert_int_equal(rewound_holds(attr.id), 0);
	check_either(f.engine, c->name, c->states[10].disk, NULL);
	restart(true);
	check_either(f.engine, c->name, c->states[10].disk, NULL);
	assert_int_equal(errors_in_pool(), 0);
}

/* ---- while another host cleans ------------------------------------------------------------------------------------ */

/* Host 1, which gets an image that is nobody's for a moment, just before what it is rewound to is held. */
struct meanwhile {
	struct spy_store spy;
	const char *name;
	const char *snapshot; /* is deleted; NULL: history ends */
	uint64_t removed;     /* segments */
	bool done;
};

static void clean_meanwhile(void *arg, const char *key)
{
	const struct clean_options now = { .now = true };
	struct meanwhile *m = arg;
	struct clean_result result;
	struct error why = { 0 };

	if (!strstr(key, "/snapshots/") || m->done)
		return;
	m->done = true;
	struct engine *other = image_fixture_open_beside(&f, 1);
	uint64_t id = id_of(other, m->name);
	if (m->snapshot)
		assert_int_equal(engine_snapshot_delete(other, id, m->snapshot, &why), 0);
	else
		assert_int_equal(engine_history_keep(other, id, 0, &why), 0);
	assert_int_equal(engine_clean(other, id, &now, NULL, NULL, &result, &why), 0);
	m->removed = result.removed_segments;
	assert_int_equal(engine_close(other, &why), 0);
}

static void begin_meanwhile(struct meanwhile *m)
{
	spy_store_over(&m->spy, f.engine->pool->store);
	f.engine->pool->store = &m->spy.store;
	atomic_store(&m->spy.before_put_arg, m);
	atomic_store(&m->spy.before_put, clean_meanwhile);
}

static void discard_all(struct track *t)
{
	struct image *i = image_fixture_open_image(f.engine, t->name);

	assert_int_equal(discard_wait(i, 0, DISK_MAX), 0);
	oracle_zero(t->disk, 0, DISK_MAX);
	note(t, i);
	image_fixture_close_image(i);
}

/* It is as it was before, and goes on. */
static void check_not_rewound(struct random *r, struct track *t, struct meanwhile *m, uint64_t id)
{
	assert_true(m->done && m->removed);
	assert_int_equal(rewound_holds(id), 0);
	check_either(f.engine, t->name, t->disk, NULL);
	change_some(r, t, 5);
	image_fixture_close(&f);
	spy_store_destroy(&m->spy);
	image_fixture_open(&f, 0);
	check_either(f.engine, t->name, t->disk, NULL);
	assert_int_equal(errors_in_pool(), 0);
}

static void a_moment_that_goes_before_it_is_held_is_not_rewound_to(void **state)
{
	struct random r = some_random();
	static struct meanwhile m;
	struct track *t = begin_disk();
	struct image_moment at = { 0 }, now;
	uint64_t id = id_of(f.engine, t->name);

	(void)state;
	m = (struct meanwhile){ .name = t->name };
	assert_int_equal(engine_history_keep(f.engine, id, 3600, &err), 0);
	change_some(&r, t, 40);
	restart(false);
	id_of(f.engine, t->name);
	discard_all(t);
	restart(false);
	id_of(f.engine, t->name);
	begin_meanwhile(&m);
	at = (struct image_moment){ .segment = t->states[30].at.segment, .record = t->states[30].at.record };
	assert_int_equal(engine_rewind_in_place(f.engine, id, &at, &now, &err), -EAGAIN);
	assert_non_null(strstr(error_text(&err), "cleaning"));
	check_not_rewound(&r, t, &m, id);
}

static void a_snapshot_that_goes_before_it_is_held_is_not_rewound_to(void **state)
{
	struct random r = some_random();
	static struct meanwhile m;
	struct track *t = begin_disk();
	struct image_moment at = { 0 }, now;
	struct snapshot s;
	uint64_t id = id_of(f.engine, t->name);

	(void)state;
	m = (struct meanwhile){ .name = t->name, .snapshot = "then" };
	change_some(&r, t, 40);
	assert_int_equal(engine_snapshot_create(f.engine, &id, 1, "then", &err), 0);
	assert_int_equal(snapshot_load(f.engine->pool, id, "then", &s, &err), 0);
	discard_all(t);
	restart(false);
	id_of(f.engine, t->name);
	assert_int_equal(snapshot_remember(f.engine, &s), 0);
	begin_meanwhile(&m);
	assert_int_equal(engine_rewind_in_place(f.engine, s.info.id, &at, &now, &err), -ENOENT);
	check_not_rewound(&r, t, &m, id);
}

static void another_host_rewinds_to_what_the_owner_has_uploaded(void **state)
{
	struct random r = some_random();
	struct track *t = begin_disk();
	struct image *i = image_fixture_open_image(f.engine, t->name);
	struct image_moment m;
	struct node_attr attr;
	struct engine *other;

	(void)state;
	for (int k = 0; k < 40; k++)
		change(&r, t, i);
	assert_int_equal(engine_flush(f.engine, id_of(f.engine, t->name), NULL, NULL, &err), 0);
	note(t, i);
	const struct state s = t->states[t->count - 1];
	usleep(1000);
	for (int k = 0; k < 10; k++)
		change(&r, t, i);
	other = image_fixture_open_beside(&f, 1);
	m = (struct image_moment){ .segment = s.at.segment, .record = s.at.record };
	assert_int_equal(rewind_to(other, t->name, &m, "copy"), 0);
	check_either(other, "copy", s.disk, NULL);
	/* Of what is later nobody but the owner knows all. */
	m = (struct image_moment){ .time_ns = clock_wall_ns() };
	assert_int_equal(engine_rewind(other, id_of(other, t->name), &m, NODE_ROOT, "no", &attr, &err), -EAGAIN);
	image_fixture_close_image(i);
	assert_int_equal(engine_close(other, &err), 0);
	check_either(f.engine, "copy", s.disk, NULL);
	assert_int_equal(errors_in_pool(), 0);
}

/* What is to be kept is said on one host, and the owner, which writes on another, goes by it. */
static void the_owner_goes_by_what_was_said_on_another_host(void **state)
{
	struct track *t = begin_disk();
	struct image *i = image_fixture_open_image(f.engine, t->name);
	struct engine *other = image_fixture_open_beside(&f, 1);
	uint64_t until = clock_monotonic_ns() + seconds_ns(60), kept = 0;

	(void)state;
	assert_int_equal(engine_history_keep(other, id_of(other, t->name), 3600, &err), 0);
	while (kept != 3600 && clock_monotonic_ns() < until) {
		assert_int_equal(write_wait(i, 0, "something", 9), 9);
		pthread_mutex_lock(&i->open_mutex);
		i->policy_looked_ns = 0;
		kept = i->policy.history_s;
		pthread_mutex_unlock(&i->open_mutex);
		engine_kick(f.engine);
		usleep(20000);
	}
	assert_int_equal(kept, 3600);
	image_fixture_close_image(i);
	assert_int_equal(engine_close(other, &err), 0);
}

struct spans {
	size_t count;
	uint64_t bytes, last_ns;
};

static int add_span(void *arg, const struct history_span *s)
{
	struct spans *all = arg;

	assert_true(s->begin.time_ns >= all->last_ns);
	all->last_ns = s->begin.time_ns;
	all->bytes += s->bytes;
	all->count++;
	return 0;
}

static void the_past_is_told_and_how_much_of_it_must_be_kept(void **state)
{
	struct random r = some_random();
	struct track *t = begin_disk();
	struct spans all = { 0 }, late = { 0 };
	struct history h;
	struct kept_past kept;
	struct image *i = image_fixture_open_image(f.engine, t->name);
	uint64_t id = i->id, middle;

	(void)state;
	assert_int_equal(engine_history(f.engine, id, 0, &h, add_span, &all, &err), -ENODATA);
	assert_int_equal(history_kept(i, &kept, &err), 0);
	assert_int_equal(kept.from, 0);
	assert_int_equal(engine_history_keep(f.engine, id, 3600, &err), 0);
	assert_int_equal(engine_history_keep(f.engine, id, HISTORY_MAX_S + 1, &err), -EINVAL);
	image_fixture_close_image(i);
	change_some(&r, t, 60);
	restart(false);
	middle = clock_wall_ns();
	for (int k = 0; k < 4; k++) {
		change_some(&r, t, 20);
		restart(false);
	}
	id_of(f.engine, t->name);
	assert_int_equal(engine_history(f.engine, id, 0, &h, add_span, &all, &err), 0);
	assert_int_equal(h.keep_s, 3600);
	assert_true(h.oldest.segment == 1 && h.oldest.record == 1 && h.newest.segment == h.segments + 1);
	assert_true(all.count == h.segments + 1 && all.bytes > DISK && all.last_ns == h.newest.time_ns);
	assert_int_equal(engine_history(f.engine, id, middle, &h, add_span, &late, &err), 0);
	assert_true(late.count < all.count && late.bytes < all.bytes && late.count > 1);
	/* All of an hour; then of a second that is over, from the last checkpoint on. */
	i = image_fixture_open_image(f.engine, t->name);
	assert_int_equal(history_kept(i, &kept, &err), 0);
	assert_int_equal(kept.from, 1);
	assert_int_equal(engine_history_keep(f.engine, id, 1, &err), 0);
	usleep(1100000);
	assert_int_equal(history_kept(i, &kept, &err), 0);
	assert_true(kept.from > 1 && kept.from <= kept.segment && kept.segment <= h.segments);
	image_fixture_close_image(i);
}

static void what_history_does_not_keep_is_cleaned_away_and_said_so(void **state)
{
	struct random r = some_random();
	struct track *t = begin_disk();
	struct image_moment m;
	uint64_t id = id_of(f.engine, t->name);
	struct node_attr attr;

	(void)state;
	assert_int_equal(engine_history_keep(f.engine, id, 3600, &err), 0);
	for (int k = 0; k < 4; k++) {
		change_some(&r, t, 40);
		restart(false);
		id_of(f.engine, t->name);
	}
	assert_int_equal(clean(t), 0);
	assert_true(rewind_and_check(t, 20, false, true));
	assert_true(rewind_and_check(t, 30, false, true));
	assert_int_equal(engine_history_keep(f.engine, id, 0, &err), 0);
	/* What was rewound holds what it needs; the rest goes once all of the disk was written anew. */
	struct image *i = image_fixture_open_image(f.engine, t->name);
	assert_int_equal(discard_wait(i, 0, DISK_MAX), 0);
	oracle_zero(t->disk, 0, DISK_MAX);
	note(t, i);
	image_fixture_close_image(i);
	assert_true(clean(t) > 0);
	m = (struct image_moment){ .segment = t->states[60].at.segment, .record = t->states[60].at.record };
	assert_int_equal(engine_rewind(f.engine, id, &m, NODE_ROOT, "no", &attr, &err), -ERANGE);
	assert_non_null(strstr(error_text(&err), "cleaned"));
	change_some(&r, t, 10);
	m = (struct image_moment){ .time_ns = clock_wall_ns() };
	assert_int_equal(engine_rewind(f.engine, id, &m, NODE_ROOT, "now", &attr, &err), 0);
	check_either(f.engine, "now", t->disk, NULL);
	restart(true);
	for (size_t k = 0; k < track_count; k++)
		check_either(f.engine, tracks[k].name, tracks[k].disk, NULL);
	assert_int_equal(errors_in_pool(), 0);
}

static void what_was_flattened_has_its_past_from_then_on(void **state)
{
	struct random r = some_random();
	struct track *t = begin_disk(), *flat = &tracks[1];
	struct image_moment m;
	struct history h;
	struct spans all = { 0 };
	uint64_t id;

	(void)state;
	assert_int_equal(engine_history_keep(f.engine, id_of(f.engine, t->name), 3600, &err), 0);
	change_some(&r, t, 40);
	assert_true(rewind_and_check(t, 30, false, true));
	id = id_of(f.engine, flat->name);
	assert_int_equal(engine_history_keep(f.engine, id, 3600, &err), 0);
	/* All of it may be in the first segment still. */
	change_some(&r, flat, random_once_in(&r, 2) ? 3 : 30);
	const size_t before = flat->count;
	assert_int_equal(engine_flatten(f.engine, id, NULL, NULL, &err), 0);
	change_some(&r, flat, 20);
	restart(random_once_in(&r, 2));
	id_of(f.engine, t->name);
	id_of(f.engine, flat->name);
	for (size_t n = 0; n < before; n++) {
		const struct state *s = &flat->states[n];
		m = (struct image_moment){ .segment = s->at.segment, .record = s->at.record };
		assert_int_equal(rewind_to(f.engine, flat->name, &m, "no"), -ERANGE);
		m = (struct image_moment){ .time_ns = s->time_ns };
		assert_int_equal(rewind_to(f.engine, flat->name, &m, "no"), -ERANGE);
		assert_non_null(strstr(error_text(&err), "cleaned"));
	}
	assert_int_equal(engine_history(f.engine, id, 0, &h, add_span, &all, &err), 0);
	assert_true(h.oldest.time_ns > flat->states[before - 1].time_ns);
	/* The first one that it tells of can be had, and all that came later. */
	m = h.oldest;
	m.time_ns = 0;
	assert_int_equal(rewind_to(f.engine, flat->name, &m, "oldest"), 0);
	check_either(f.engine, "oldest", flat->states[before - 1].disk, NULL);
	for (size_t n = before; n < flat->count; n += 3) {
		assert_true(rewind_and_check(flat, n, random_once_in(&r, 2), true));
		assert_true(rewind_and_check(t, n % t->count, false, true));
	}
	/* What lies before may go, if nothing leads there. */
	clean(flat);
	assert_true(rewind_and_check(flat, before, false, true));
	assert_int_equal(errors_in_pool(), 0);
}

/* Nobody has it open: after a while it is not owned any more. */
static void wait_for_hand_over(uint64_t id)
{
	bool owned = true;

	for (int k = 0; k < 3000 && owned; k++) {
		struct image *i = image_get(f.engine, id);
		owned = i && atomic_load(&i->log);
		if (i)
			image_put(i);
		usleep(10000);
	}
	assert_false(owned);
}

static void what_is_kept_whole_is_history_and_its_loss_is_found(void **state)
{
	struct random r = some_random();
	struct track *t = begin_disk();
	struct image_space space;
	struct snapshot held;
	uint64_t id = id_of(f.engine, t->name);

	(void)state;
	assert_int_equal(engine_history_keep(f.engine, id, 3600, &err), 0);
	change_some(&r, t, 60);
	restart(false);
	id_of(f.engine, t->name);
	struct image *i = image_fixture_open_image(f.engine, t->name);
	assert_int_equal(discard_wait(i, 0, DISK_MAX), 0);
	oracle_zero(t->disk, 0, DISK_MAX);
	image_fixture_close_image(i);
	change_some(&r, t, 20);
	restart(false);
	assert_int_equal(clean(t), 0);
	if (random_once_in(&r, 2))
		wait_for_hand_over(id);
	assert_int_equal(engine_space(f.engine, id, &space, &err), 0);
	print_message("history %" PRIu64 ", garbage %" PRIu64 "\n", space.history, space.garbage);
	assert_true(space.history > 50000 && space.garbage == 0);
	assert_int_equal(engine_history_keep(f.engine, id, 0, &err), 0);
	assert_int_equal(engine_space(f.engine, id, &space, &err), 0);
	assert_true(space.garbage > 50000 && space.history == 0);
	assert_true(clean(t) > 0);
	assert_int_equal(errors_in_pool(), 0);

	/* A moment that says it holds what is gone. */
	assert_int_equal(engine_snapshot_create(f.engine, &id, 1, "now", &err), 0);
	assert_int_equal(snapshot_load(f.engine->pool, id, "now", &held, &err), 0);
	held.whole_from = 1;
	assert_int_equal(snapshot_save(f.engine->pool, &held, false, &err), 0);
	assert_int_equal(errors_in_pool(), 1);
}

static void what_was_rewound_is_copied_with_all_it_needs(void **state)
{
	struct random r = some_random();
	static struct pool_copy_report report;
	struct store_options so = { .create = true };
	struct track *t = begin_disk();
	struct policy policy;
	uint64_t id = id_of(f.engine, t->name);
	struct store *to;
	char url[300];

	(void)state;
	f.options.trash_ms = 0;
	restart(false);
	assert_int_equal(engine_history_keep(f.engine, id_of(f.engine, t->name), 60, &err), 0);
	change_some(&r, t, 60);
	/* One that nobody opened for writing, and one of that. */
	assert_true(rewind_and_check(t, 30, false, true));
	assert_int_equal(engine_history_keep(f.engine, id_of(f.engine, tracks[1].name), 60, &err), 0);
	change_some(&r, &tracks[1], 10);
	assert_true(rewind_and_check(&tracks[1], 2, false, true));
	assert_true(rewind_and_check(t, 45, true, true));
	snprintf(url, sizeof url, "file://%s/copy", f.dir);
	restart(false);
	assert_int_equal(store_open(url, &so, &to, &err), 0);
	assert_int_equal(pool_copy(f.engine->pool, to, NULL, &report, NULL, NULL, &err), 0);
	store_close(to);
	image_fixture_close(&f);
	snprintf(f.store, sizeof f.store, "%.255s", url);
	f.options.store_url = f.store;
	image_fixture_open(&f, 1);
	for (size_t k = 0; k < track_count; k++)
		check_either(f.engine, tracks[k].name, tracks[k].disk, NULL);
	assert_int_equal(policy_load(f.engine->pool, id, &policy, &err), 0);
	assert_int_equal(policy.history_s, 60);
	assert_int_equal(errors_in_pool(), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(every_moment_that_can_be_had_is_what_the_disk_was),
		T(with_history_every_moment_can_be_had),
		T(an_image_in_use_is_not_rewound_in_place),
		T(in_place_to_a_snapshot_and_back),
		T(moments_after_rewinding_in_place_outlive_cleaning),
		T(one_that_was_rewound_in_place_can_be_deleted),
		T(a_clone_that_was_rewound_in_place_can_be_flattened),
		T(a_moment_that_goes_before_it_is_held_is_not_rewound_to),
		T(a_snapshot_that_goes_before_it_is_held_is_not_rewound_to),
		T(another_host_rewinds_to_what_the_owner_has_uploaded),
		T(the_owner_goes_by_what_was_said_on_another_host),
		T(what_was_rewound_is_copied_with_all_it_needs),
		T(the_past_is_told_and_how_much_of_it_must_be_kept),
		T(what_was_flattened_has_its_past_from_then_on),
		T(what_is_kept_whole_is_history_and_its_loss_is_found),
		T(what_history_does_not_keep_is_cleaned_away_and_said_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
