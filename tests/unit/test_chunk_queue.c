/* SPDX-License-Identifier: GPL-3.0-only */
/* test_chunk_queue.c: the order of chunks, its memory of segments that go, and the memory of chunks that went. */
#include "cache/chunk_queue.h"

#include "base/clock.h"
#include "lib/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct segment_set *set, *other;

static int setup(void **state)
{
	static const uint8_t pool[POOL_UUID_BYTES] = "a pool of tests";

	(void)state;
	set = segment_set_new(disk_posix(), "/nowhere", pool, 1);
	other = segment_set_new(disk_posix(), "/nowhere", pool, 2);
	return set && other ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	segment_set_free(set);
	segment_set_free(other);
	return 0;
}

static struct segment *segment_of(struct segment_set *of, segment_no_t number)
{
	struct segment *s = segment_pin(of, number);

	assert_non_null(s);
	segment_unpin(s);
	return s;
}

static void push(struct chunk_queue *q, struct segment *s, uint32_t chunk)
{
	assert_int_equal(chunk_queue_push(q, (struct chunk_ref){ s, chunk }), 0);
}

static void assert_pops(struct chunk_queue *q, const struct segment *s, uint32_t chunk)
{
	struct chunk_ref ref;

	assert_true(chunk_queue_pop(q, &ref));
	assert_ptr_equal(ref.segment, s);
	assert_int_equal(ref.chunk, chunk);
}

/* ---- order ---- */

static void chunks_leave_in_the_order_they_came(void **state)
{
	struct chunk_queue q = { 0 };
	struct segment *a = segment_of(set, 1), *b = segment_of(set, 2);
	struct chunk_ref ref;

	(void)state;
	assert_false(chunk_queue_pop(&q, &ref));
	push(&q, a, 7);
	push(&q, b, 3);
	push(&q, a, 7);
	assert_int_equal(q.count, 3);
	assert_pops(&q, a, 7);
	assert_pops(&q, b, 3);
	push(&q, b, 4);
	assert_pops(&q, a, 7);
	assert_pops(&q, b, 4);
	assert_false(chunk_queue_pop(&q, &ref));
	assert_int_equal(q.count, 0);
	chunk_queue_destroy(&q);
}

/* The oldest are at the end of the ring and the youngest at its start when there is no more room. */
static void order_is_kept_when_a_wrapped_ring_grows(void **state)
{
	struct chunk_queue q = { 0 };
	struct segment *s = segment_of(set, 1);
	uint32_t in = 0, out = 0;

	(void)state;
	push(&q, s, in++);
	size_t first = q.capacity;
	assert_true(first >= 2);
	while (q.count < first)
		push(&q, s, in++);
	for (size_t i = 0; i < first / 2 + 1; i++)
		assert_pops(&q, s, out++);
	while (q.count < first)
		push(&q, s, in++);
	assert_int_equal(q.capacity, first);
	push(&q, s, in++);
	assert_true(q.capacity > first);
	for (int i = 0; i < 5000; i++)
		push(&q, s, in++);
	while (q.count)
		assert_pops(&q, s, out++);
	assert_int_equal(out, in);
	chunk_queue_destroy(&q);
}

/* ---- forgetting ---- */

static bool is_it(const struct segment *s, const void *arg)
{
	return s == arg;
}

static bool is_of_set(const struct segment *s, const void *arg)
{
	return s->set == arg;
}

static void forgetting_a_segment_blanks_its_entries_and_no_others(void **state)
{
	struct chunk_queue q = { 0 };
	struct segment *a = segment_of(set, 1), *b = segment_of(set, 2), *far = segment_of(other, 1);

	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		push(&q, a, i);
		push(&q, b, i);
		push(&q, far, i);
	}
	chunk_queue_forget(&q, is_it, a);
	chunk_queue_forget(&q, is_it, a); /* passes over what is blank */
	for (uint32_t i = 0; i < 3; i++) {
		assert_pops(&q, NULL, i);
		assert_pops(&q, b, i);
		assert_pops(&q, far, i);
	}
	chunk_queue_destroy(&q);
}

static void forgetting_a_set_blanks_all_of_its_segments(void **state)
{
	struct chunk_queue q = { 0 };
	struct segment *a = segment_of(set, 1), *b = segment_of(set, 2), *far = segment_of(other, 1);

	(void)state;
	push(&q, a, 1);
	push(&q, far, 2);
	push(&q, b, 3);
	chunk_queue_forget(&q, is_of_set, set);
	assert_pops(&q, NULL, 1);
	assert_pops(&q, far, 2);
	assert_pops(&q, NULL, 3);
	chunk_queue_destroy(&q);
}

/* ---- growing ---- */

/* Those of segment 2. */
static bool is_of_two(const struct chunk_ref *ref)
{
	return ref->segment->number == 2;
}

/* Whatever is blank or over goes when the ring is full, wherever its start is; the others keep their order. */
static void full_ring_drops_what_is_over_before_it_grows(void **state)
{
	struct chunk_queue q = { .is_over = is_of_two };
	struct segment *a = segment_of(set, 1), *b = segment_of(set, 2), *c = segment_of(set, 3);
	uint32_t in = 0, out = 0;

	(void)state;
	push(&q, a, in++);
	size_t first = q.capacity;
	assert_pops(&q, a, out++);
	for (uint32_t i = 0; i < first * 20; i++) {
		push(&q, i % 3 ? b : c, i);
		if (i % 16 == 0)
			push(&q, a, in++);
		if (i % 97 == 0)
			chunk_queue_forget(&q, is_it, c);
		struct chunk_ref ref;
		/* Some leave in between. */
		if (i % 32 == 0 && chunk_queue_pop(&q, &ref) && ref.segment == a)
			assert_int_equal(ref.chunk, out++);
	}
	assert_true(q.capacity <= 4 * first);
	for (struct chunk_ref ref; chunk_queue_pop(&q, &ref);)
		if (ref.segment == a)
			assert_int_equal(ref.chunk, out++);
	assert_int_equal(out, in);
	chunk_queue_destroy(&q);
}

static void ring_that_all_need_grows(void **state)
{
	struct chunk_queue q = { .is_over = is_of_two };
	struct segment *a = segment_of(set, 1);

	(void)state;
	for (uint32_t i = 0; i < 10000; i++)
		push(&q, a, i);
	assert_int_equal(q.count, 10000);
	for (uint32_t i = 0; i < 10000; i++)
		assert_pops(&q, a, i);
	chunk_queue_destroy(&q);
}

/* The next that is not blank: what is blank may be there still or not. */
static bool pop_whole(struct chunk_queue *q, struct chunk_ref *ref)
{
	while (chunk_queue_pop(q, ref))
		if (ref->segment)
			return true;
	return false;
}

static void assert_next_is(struct chunk_queue *q, const struct chunk_ref *model)
{
	struct chunk_ref ref;

	if (!model->segment)
		return;
	assert_true(pop_whole(q, &ref));
	assert_ptr_equal(ref.segment, model->segment);
	assert_int_equal(ref.chunk, model->chunk);
}

/* Against a plain array, with segments forgotten at any fill and any place in the ring. */
static void queue_does_what_an_array_would(void **state)
{
	const char *text = getenv("GARNER_TEST_SEED");
	struct random r = { text ? strtoull(text, NULL, 0) : clock_wall_ns() };
	struct chunk_queue q = { 0 };
	static struct chunk_ref model[40000];
	size_t in = 0, out = 0;

	(void)state;
	printf("seed %llu\n", (unsigned long long)r.state);
	while (in < 40000) {
		struct segment *s = segment_of(set, 1 + random_below(&r, 4));
		bool more = random_once_in(&r, 2);
		for (uint64_t n = random_below(&r, more ? 900 : 400); n && in < 40000; n--) {
			model[in] = (struct chunk_ref){ s, (uint32_t)in };
			push(&q, s, (uint32_t)in++);
		}
		for (uint64_t n = random_below(&r, more ? 500 : 900); n && out < in; n--, out++)
			assert_next_is(&q, &model[out]);
		if (!random_once_in(&r, 3))
			continue;
		s = segment_of(set, 1 + random_below(&r, 4));
		chunk_queue_forget(&q, is_it, s);
		for (size_t i = out; i < in; i++)
			if (model[i].segment == s)
				model[i].segment = NULL;
	}
	for (; out < in; out++)
		assert_next_is(&q, &model[out]);
	struct chunk_ref ref;
	assert_false(pop_whole(&q, &ref));
	chunk_queue_destroy(&q);
}

/* ---- ghosts ---- */

static void chunk_is_remembered_once_and_is_no_other(void **state)
{
	struct ghosts g;
	struct chunk_ref ref = { segment_of(set, 5), 9 }, chunk = { ref.segment, 8 },
			 number = { segment_of(set, 6), 9 }, image = { segment_of(other, 5), 9 };

	(void)state;
	assert_int_equal(ghosts_init(&g, 10), 0);
	assert_false(ghosts_take(&g, &ref));
	ghosts_add(&g, &ref);
	assert_false(ghosts_take(&g, &chunk));
	assert_false(ghosts_take(&g, &number));
	assert_false(ghosts_take(&g, &image));
	assert_true(ghosts_take(&g, &ref));
	assert_false(ghosts_take(&g, &ref));
	ghosts_destroy(&g);
}

/* Two of them may want one slot: of a quarter as many as there are slots one in eight or so are lost. */
static void most_of_what_there_is_room_for_is_remembered(void **state)
{
	struct ghosts g;
	unsigned found = 0;

	(void)state;
	assert_int_equal(ghosts_init(&g, 4096), 0);
	for (unsigned pass = 0; pass < 2; pass++)
		for (segment_no_t n = 1; n <= 64; n++)
			for (uint32_t i = 0; i < 16; i++) {
				struct chunk_ref ref = { segment_of(set, n), i };
				if (!pass)
					ghosts_add(&g, &ref);
				else
					found += ghosts_take(&g, &ref);
			}
	assert_in_range(found, 1024 * 3 / 4, 1024);
	ghosts_destroy(&g);
}

/* However many go by: newer ones drive out older ones. */
static void newest_are_remembered_when_there_are_too_many(void **state)
{
	struct ghosts g;
	unsigned found = 0;

	(void)state;
	assert_int_equal(ghosts_init(&g, 1), 0);
	size_t slots = g.mask + 1;
	for (uint32_t i = 0; i < slots * 8; i++) {
		struct chunk_ref ref = { segment_of(set, 1 + i / 128), i % 128 };
		ghosts_add(&g, &ref);
	}
	for (uint32_t i = 0; i < slots * 8; i++) {
		struct chunk_ref ref = { segment_of(set, 1 + i / 128), i % 128 };
		bool there = ghosts_take(&g, &ref);
		found += there;
		if (i >= slots * 8 - 1)
			assert_true(there);
	}
	assert_in_range(found, slots / 2, slots);
	ghosts_destroy(&g);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(chunks_leave_in_the_order_they_came),
		T(order_is_kept_when_a_wrapped_ring_grows),
		T(forgetting_a_segment_blanks_its_entries_and_no_others),
		T(forgetting_a_set_blanks_all_of_its_segments),
		T(full_ring_drops_what_is_over_before_it_grows),
		T(ring_that_all_need_grows),
		T(queue_does_what_an_array_would),
		T(chunk_is_remembered_once_and_is_no_other),
		T(most_of_what_there_is_room_for_is_remembered),
		T(newest_are_remembered_when_there_are_too_many),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
