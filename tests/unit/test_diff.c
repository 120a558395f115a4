/* SPDX-License-Identifier: GPL-3.0-only */
/* test_diff.c: what differs between two moments of an image: nothing is missed, nothing is said of what nobody touched, and no
 * more of the maps is read than that.
 *
 * GARNER_TEST_SEED repeats a run.
 */
#include "lib/image_fixture.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((uint64_t)1 << 20)
#define DISK (12 * MIB)
#define GRAIN 4096u
#define GRAINS (DISK / GRAIN)
#define MOMENTS 7
#define LENGTH_MAX 70000 /* of a change that is not a discard */

static struct image_fixture f;
static struct error err;
static struct random rnd;

static int set_up(void **state)
{
	(void)state;
	alarm(300);
	memset(&err, 0, sizeof err);
	image_fixture_init(&f, true);
	image_fixture_open(&f, 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	image_fixture_destroy(&f);
	return 0;
}

/* ---- help --------------------------------------------------------------------------------------------------------- */

struct ranges {
	struct image_range *list;
	size_t count, most; /* most: the call is ended after so many */
	uint64_t nodes;
};

static int keep(void *arg, const struct image_range *range)
{
	struct ranges *r = arg;

	if (r->count == r->most)
		return 7;
	r->list = realloc(r->list, (r->count + 1) * sizeof *r->list);
	r->list[r->count++] = *range;
	return 0;
}

static struct image *open_snapshot(uint64_t image, const char *name)
{
	struct snapshot_info info;
	struct image *i = NULL;

	if (!name)
		return NULL;
	if (engine_snapshot_find(f.engine, image, name, &info, &err) ||
	    image_open(f.engine, info.id, IMAGE_READ, &i, &err))
		fail_msg("%s: %s", name, error_text(&err));
	return i;
}

/* Opens a moment anew by its position, or by its time. */
static struct image *open_moment(uint64_t image, struct image_moment m)
{
	struct image *i = NULL;

	if (engine_moment_open(f.engine, image, &m, &i, &err))
		fail_msg("%" PRIu64 ".%u: %s", m.segment, m.record, error_text(&err));
	return i;
}

/* Closes both. */
static int diff_opened(struct image *a, struct image *b, uint64_t begin, size_t most, struct ranges *r)
{
	int rc;

	*r = (struct ranges){ .most = most };
	rc = image_diff(a, b, begin, keep, r, &r->nodes, &err);
	image_close(b, IMAGE_READ);
	if (a)
		image_close(a, IMAGE_READ);
	if (rc < 0)
		fail_msg("%s", error_text(&err));
	return rc;
}

static int diff(uint64_t image, const char *from, const char *to, uint64_t begin, size_t most, struct ranges *r)
{
	return diff_opened(open_snapshot(image, from), open_snapshot(image, to), begin, most, r);
}

/* The moment that it is now. */
static struct image_moment now_of(uint64_t image)
{
	struct image_moment m = { .time_ns = clock_wall_ns() };

	if (engine_moment_find(f.engine, image, &m, &err))
		fail_msg("%s", error_text(&err));
	return m;
}

static int no_span(void *arg, const struct history_span *s)
{
	(void)arg;
	(void)s;
	return 1;
}

static struct image_moment first_of(uint64_t image)
{
	struct history h;

	if (engine_history(f.engine, image, 0, &h, no_span, NULL, &err) < 0)
		fail_msg("%s", error_text(&err));
	return h.oldest;
}

static void take(uint64_t image, const char *name)
{
	if (engine_snapshot_create(f.engine, &image, 1, name, &err))
		fail_msg("%s: %s", name, error_text(&err));
}

/* ---- against an oracle -------------------------------------------------------------------------------------------- */

/* One moment: its bytes, and which grains were touched since the one before. */
struct past {
	uint64_t size;
	uint8_t *bytes; /* DISK of them */
	bool *touched;
	char name[8];           /* of a snapshot; "": there is none */
	struct image_moment at; /* its place in the log, or (segment 0) its time */
};

/* By its name or by its place. */
static struct image *open_past(uint64_t image, const struct past *p)
{
	return p->name[0] && random_once_in(&rnd, 2) ? open_snapshot(image, p->name) : open_moment(image, p->at);
}

static void touch(struct past *p, uint64_t offset, uint64_t len)
{
	for (uint64_t g = offset / GRAIN; len && g <= (offset + len - 1) / GRAIN; g++)
		p->touched[g] = true;
}

static void write_some(struct image *i, struct past *p, uint64_t at, size_t len, bool zeros)
{
	static uint8_t buf[LENGTH_MAX];

	memset(buf, 0, len);
	if (!zeros)
		random_fill(&rnd, buf, len);
	assert_int_equal(write_wait(i, at, buf, len), len);
	memcpy(p->bytes + at, buf, len);
	touch(p, at, len);
	if (at + len > p->size)
		p->size = at + len;
}

static void change(struct image *i, struct past *p)
{
	size_t len = 1 + random_below(&rnd, random_once_in(&rnd, 3) ? LENGTH_MAX : 5000);
	uint64_t at = random_below(&rnd, DISK - len), size;

	switch (random_below(&rnd, 12)) {
	case 0: /* a discard, which may be of much */
		len = 1 + random_below(&rnd, 3 * MIB);
		assert_int_equal(discard_wait(i, at, len), 0);
		if (at < p->size) {
			len = len < p->size - at ? len : p->size - at;
			memset(p->bytes + at, 0, len);
			touch(p, at, len);
		}
		break;
	case 1:
		size = random_once_in(&rnd, 3) ? random_below(&rnd, DISK + 1)
		                               : p->size - random_below(&rnd, p->size < 9000 ? p->size + 1 : 9000);
		assert_int_equal(resize_wait(i, size), 0);
		if (size < p->size) {
			memset(p->bytes + size, 0, p->size - size);
			touch(p, size, p->size - size);
		}
		p->size = size;
		break;
	default:
		write_some(i, p, at, len, random_once_in(&rnd, 8));
	}
}

static bool all_zero(const uint8_t *bytes, uint64_t len)
{
	return !len || (!bytes[0] && !memcmp(bytes, bytes + 1, len - 1));
}

/* Ordered, joined, within the larger size, and zeros where zeros are said. */
static void check_shape(const struct ranges *r, const struct past *to, uint64_t end)
{
	uint64_t at = 0;

	for (size_t k = 0; k < r->count; k++) {
		const struct image_range *x = &r->list[k];

		assert_true(x->length && x->offset >= at && x->length <= end - x->offset);
		assert_false(k && x->offset == at && x->data == x[-1].data);
		at = x->offset + x->length;
		if (x->data)
			assert_true(at <= to->size);
		else
			assert_true(all_zero(to->bytes + x->offset, x->length));
	}
}

/* `from` NULL: an empty image. */
static void check_pair(uint64_t image, struct past *all, int from, int to)
{
	static bool told[DISK], touched[GRAINS];
	uint64_t from_size = from < 0 ? 0 : all[from].size, to_size = all[to].size;
	uint64_t end = from_size > to_size ? from_size : to_size, begin = from_size < to_size ? from_size : to_size;
	int first = from < to ? from + 1 : to + 1, last = from < to ? to : from;
	struct ranges r, rest;

	diff_opened(from < 0 ? NULL : open_past(image, &all[from]), open_past(image, &all[to]), 0, SIZE_MAX, &r);
	check_shape(&r, &all[to], end);
	memset(told, 0, sizeof told);
	memset(touched, 0, sizeof touched);
	for (size_t k = 0; k < r.count; k++)
		memset(told + r.list[k].offset, 1, r.list[k].length);
	for (int k = first; k <= last; k++)
		for (uint64_t g = 0; g < GRAINS; g++)
			touched[g] |= all[k].touched[g];
	for (uint64_t o = 0; o < DISK; o++) {
		bool differs = (from < 0 ? 0 : all[from].bytes[o]) != all[to].bytes[o] || (o >= begin && o < end);

		if (differs && !told[o])
			fail_msg("from %d to %d: offset %" PRIu64 " is missed", from, to, o);
		if (told[o] && !differs && !touched[o / GRAIN])
			fail_msg("from %d to %d: offset %" PRIu64 " was never touched", from, to, o);
	}
	/* What comes from the middle of a range on is the same. */
	if (r.count) {
		size_t k = random_below(&rnd, r.count);
		uint64_t skip = random_below(&rnd, r.list[k].length);

		diff_opened(from < 0 ? NULL : open_past(image, &all[from]), open_past(image, &all[to]),
		            r.list[k].offset + skip, SIZE_MAX, &rest);
		assert_int_equal(rest.count, r.count - k);
		assert_int_equal(rest.list[0].offset, r.list[k].offset + skip);
		assert_int_equal(rest.list[0].length, r.list[k].length - skip);
		assert_int_equal(rest.list[0].data, r.list[k].data);
		assert_memory_equal(rest.list + 1, r.list + k + 1, (r.count - k - 1) * sizeof *r.list);
		free(rest.list);
	}
	free(r.list);
}

/* Each moment on another host than the one before, or on the same with SQLite lost, or with nothing in between. */
static void any_two_moments_differ_where_they_were_touched(void **state)
{
	uint64_t seed = env_number("GARNER_TEST_SEED", clock_wall_ns()), id;
	struct past all[MOMENTS] = { 0 };
	struct image *i;

	(void)state;
	rnd.state = seed;
	print_message("GARNER_TEST_SEED=%" PRIu64 "\n", seed);
	id = image_fixture_create(f.engine, "disk");
	assert_int_equal(engine_history_keep(f.engine, id, 3600, &err), 0);
	for (unsigned k = 0; k < MOMENTS; k++) {
		struct past *p = &all[k];

		p->bytes = calloc(1, DISK);
		p->touched = calloc(GRAINS, sizeof *p->touched);
		if (random_once_in(&rnd, 2))
			snprintf(p->name, sizeof p->name, "m%u", k);
		if (k) {
			memcpy(p->bytes, all[k - 1].bytes, DISK);
			p->size = all[k - 1].size;
		}
		i = image_fixture_open_image(f.engine, "disk");
		/* What was never written to has no past. */
		if (!k)
			write_some(i, p, 0, GRAIN, false);
		for (unsigned n = (unsigned)random_below(&rnd, 25); n; n--)
			change(i, p);
		if (p->name[0])
			take(id, p->name);
		p->at = (struct image_moment){ .time_ns = clock_wall_ns() };
		if (random_once_in(&rnd, 2))
			p->at = now_of(id);
		image_fixture_close_image(i);
		if (random_once_in(&rnd, 3))
			continue;
		unsigned host = (unsigned)random_below(&rnd, 2);
		image_fixture_close(&f);
		if (random_once_in(&rnd, 2))
			image_fixture_lose_db(&f, host);
		image_fixture_open(&f, host);
		image_fixture_close_image(image_fixture_open_image(f.engine, "disk"));
	}
	for (int from = -1; from < MOMENTS; from++)
		for (int to = 0; to < MOMENTS; to++)
			check_pair(id, all, from, to);
	for (unsigned k = 0; k < MOMENTS; k++) {
		free(all[k].bytes);
		free(all[k].touched);
	}
}

/* ---- what it costs ------------------------------------------------------------------------------------------------ */

static void write_grain(struct image *i, uint64_t offset)
{
	uint8_t grain[GRAIN];

	random_fill(&rnd, grain, sizeof grain);
	assert_int_equal(write_wait(i, offset, grain, sizeof grain), sizeof grain);
}

/* 3,000 leaves under two inner nodes, on either side of a moment; a terabyte in all. */
static void only_the_ways_to_what_differs_are_read(void **state)
{
	const uint64_t leaf = 2 * MIB, far = (uint64_t)1 << 40;
	uint64_t id = image_fixture_create(f.engine, "disk");
	struct image *i = image_fixture_open_image(f.engine, "disk");
	struct ranges r;

	(void)state;
	for (uint64_t k = 0; k < 1500; k++) {
		write_grain(i, k * leaf);
		write_grain(i, far + k * leaf);
	}
	take(id, "one");
	take(id, "same");
	diff(id, "one", "same", 0, SIZE_MAX, &r);
	assert_int_equal(r.count, 0);
	assert_int_equal(r.nodes, 0);
	write_grain(i, far + 700 * leaf);
	take(id, "two");
	diff(id, "one", "two", 0, SIZE_MAX, &r);
	assert_int_equal(r.count, 1);
	assert_int_equal(r.list[0].offset, far + 700 * leaf);
	assert_int_equal(r.list[0].length, GRAIN);
	assert_true(r.list[0].data);
	assert_int_equal(r.nodes, 2 * MAP_LEVELS);
	free(r.list);
	/* Also after the image was opened elsewhere, from the store alone. */
	image_fixture_close_image(i);
	image_fixture_close(&f);
	image_fixture_open(&f, 1);
	i = image_fixture_open_image(f.engine, "disk");
	write_grain(i, 3 * leaf);
	take(id, "three");
	diff(id, "two", "three", 0, SIZE_MAX, &r);
	assert_int_equal(r.count, 1);
	assert_int_equal(r.nodes, 2 * MAP_LEVELS);
	free(r.list);
	/* What is before the begin is not read, and nothing after who has had enough. */
	diff(id, NULL, "three", far, SIZE_MAX, &r);
	assert_int_equal(r.list[0].offset, far);
	assert_true(r.nodes <= 1500 + 3 + MAP_LEVELS);
	free(r.list);
	assert_int_equal(diff(id, NULL, "three", 0, 5, &r), 7);
	assert_int_equal(r.count, 5);
	assert_true(r.nodes < 10 + MAP_LEVELS);
	free(r.list);
	image_fixture_close_image(i);
}

static int count_key(void *arg, const struct store_entry *entry)
{
	(void)entry;
	++*(unsigned *)arg;
	return 0;
}

/* What holds moments of the image, in the store. */
static unsigned holds(uint64_t image)
{
	char prefix[60];
	unsigned count = 0;

	snprintf(prefix, sizeof prefix, "images/%016" PRIx64 "/snapshots/", image);
	assert_int_equal(store_list_each(f.engine->pool->store, prefix, NULL, count_key, &count, &err), 0);
	return count;
}

/* Records that discard far more than there is, on either side of a checkpoint. */
static void moments_cost_what_differs_and_leave_nothing(void **state)
{
	const uint64_t leaf = 2 * MIB, tib = (uint64_t)1 << 40;
	uint64_t id = image_fixture_create(f.engine, "disk");
	struct image *i = image_fixture_open_image(f.engine, "disk");
	struct image_moment empty, full, none;
	struct ranges r;

	(void)state;
	assert_int_equal(engine_history_keep(f.engine, id, 3600, &err), 0);
	assert_int_equal(resize_wait(i, 16 * tib), 0);
	assert_int_equal(discard_wait(i, 0, 16 * tib), 0);
	empty = now_of(id);
	for (uint64_t k = 0; k < 100; k++)
		write_grain(i, k * 100 * leaf);
	full = now_of(id);
	assert_int_equal(discard_wait(i, 0, 16 * tib), 0);
	none = now_of(id);
	diff_opened(open_moment(id, empty), open_moment(id, none), 0, SIZE_MAX, &r);
	assert_int_equal(r.count, 0);
	assert_true(r.nodes < 10);
	diff_opened(open_moment(id, empty), open_moment(id, full), 0, SIZE_MAX, &r);
	assert_int_equal(r.count, 100);
	assert_true(r.nodes < 300);
	free(r.list);
	diff_opened(open_moment(id, full), open_moment(id, none), 0, SIZE_MAX, &r);
	assert_int_equal(r.count, 100);
	assert_false(r.list[99].data);
	assert_true(r.nodes < 300);
	free(r.list);
	/* One image for each moment, however often it is opened. */
	assert_int_equal(holds(id), 3);
	image_fixture_close_image(i);
	image_fixture_close(&f);
	image_fixture_open(&f, 0);
	assert_int_equal(holds(id), 0);
}

static void a_moment_that_there_is_not_is_not_opened(void **state)
{
	uint64_t id = image_fixture_create(f.engine, "disk");
	struct image *i = image_fixture_open_image(f.engine, "disk"), *a;
	struct image_moment early = { .time_ns = 1 }, late = { .segment = 1000 };

	(void)state;
	write_grain(i, 0);
	assert_int_equal(flush_wait(i, IMAGE_FLUSH_REMOTE), 0);
	assert_int_equal(engine_moment_open(f.engine, id, &early, &a, &err), -ERANGE);
	assert_int_equal(engine_moment_open(f.engine, id, &late, &a, &err), -ERANGE);
	assert_int_equal(engine_moment_find(f.engine, id, &late, &err), -ERANGE);
	assert_int_equal(engine_moment_find(f.engine, id + 1, &late, &err), -ENOENT);
	assert_int_equal(holds(id), 0);
	image_fixture_close_image(i);
}

/* The maps of a clone's moments lead into the log of what it was cloned from, and from there further. */
static void a_clone_differs_by_what_was_written_to_it(void **state)
{
	const uint64_t leaf = 2 * MIB;
	uint64_t id = image_fixture_create(f.engine, "disk");
	struct image *i = image_fixture_open_image(f.engine, "disk");
	struct node_attr attr;
	struct ranges r;

	(void)state;
	for (uint64_t k = 0; k < 600; k++)
		write_grain(i, k * leaf);
	image_fixture_close_image(i);
	for (unsigned depth = 0; depth < 3; depth++) {
		char name[20];

		snprintf(name, sizeof name, "clone%u", depth);
		assert_int_equal(engine_clone(f.engine, id, NODE_ROOT, name, &attr, &err), 0);
		id = attr.id;
		take(id, "one");
		i = image_fixture_open_image(f.engine, name);
		write_grain(i, (5 + depth) * leaf + GRAIN);
		image_fixture_close_image(i);
		take(id, "two");
		diff(id, "one", "two", 0, SIZE_MAX, &r);
		assert_int_equal(r.count, 1);
		assert_int_equal(r.list[0].offset, (5 + depth) * leaf + GRAIN);
		assert_int_equal(r.nodes, 2 * MAP_LEVELS);
		free(r.list);
		/* And its moments, of which the first is before any checkpoint of its own. */
		diff_opened(open_moment(id, first_of(id)), open_moment(id, now_of(id)), 0, SIZE_MAX, &r);
		assert_int_equal(r.count, 1);
		assert_int_equal(r.list[0].offset, (5 + depth) * leaf + GRAIN);
		free(r.list);
		diff_opened(NULL, open_moment(id, first_of(id)), 0, SIZE_MAX, &r);
		assert_int_equal(r.count, 600 + 599);
		free(r.list);
		/* Data and holes of all leaves, of which those that were written to are longer. */
		diff(id, NULL, "two", 0, SIZE_MAX, &r);
		assert_int_equal(r.count, 600 + 599);
		for (uint64_t k = 0; k < 600; k++) {
			assert_true(r.list[2 * k].data && r.list[2 * k].offset == k * leaf);
			assert_int_equal(r.list[2 * k].length, k >= 5 && k <= 5 + depth ? 2 * GRAIN : GRAIN);
		}
		free(r.list);
	}
}

static void only_snapshots_of_one_image_are_compared(void **state)
{
	uint64_t id = image_fixture_create(f.engine, "disk"), other = image_fixture_create(f.engine, "other");
	struct image *i = image_fixture_open_image(f.engine, "disk"), *a, *b;
	struct ranges r = { .most = SIZE_MAX };
	struct snapshot_info info;

	(void)state;
	take(id, "one");
	take(other, "one");
	a = open_snapshot(id, "one");
	b = open_snapshot(other, "one");
	assert_int_equal(image_diff(a, b, 0, keep, &r, NULL, &err), -EINVAL);
	assert_int_equal(image_diff(a, i, 0, keep, &r, NULL, &err), -EINVAL);
	assert_int_equal(image_diff(i, a, 0, keep, &r, NULL, &err), -EINVAL);
	assert_int_equal(image_diff(NULL, a, 0, keep, &r, NULL, &err), 0);
	assert_int_equal(r.count, 0);
	assert_int_equal(engine_snapshot_find(f.engine, id, "two", &info, &err), -ENOENT);
	image_close(a, IMAGE_READ);
	image_close(b, IMAGE_READ);
	image_fixture_close_image(i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(any_two_moments_differ_where_they_were_touched, set_up, tear_down),
		cmocka_unit_test_setup_teardown(only_the_ways_to_what_differs_are_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(moments_cost_what_differs_and_leave_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_moment_that_there_is_not_is_not_opened, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_clone_differs_by_what_was_written_to_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(only_snapshots_of_one_image_are_compared, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
