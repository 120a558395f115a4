/* SPDX-License-Identifier: GPL-3.0-only */
/* test_piece.c: pieces are held by many, are not copied, and give back to their budget what they took. */
#include "node/piece.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void a_budget_gives_what_it_has_and_no_more(void **state)
{
	struct piece_budget *b = piece_budget_new(100);

	(void)state;
	assert_true(piece_budget_reserve(b, 60));
	assert_false(piece_budget_reserve(b, 41));
	assert_false(piece_budget_reserve(b, UINT64_MAX));
	assert_true(piece_budget_reserve(b, 40));
	assert_int_equal(piece_budget_used(b), 100);
	piece_budget_release(b, 100);
	assert_int_equal(piece_budget_used(b), 0);
	piece_budget_put(b);
}

static void a_piece_counts_for_as_long_as_anybody_holds_it(void **state)
{
	struct piece_budget *b = piece_budget_new(100);
	struct evbuffer *buffer = evbuffer_new();
	struct piece *p;
	size_t room;
	uint8_t *at;

	(void)state;
	assert_true(piece_budget_reserve(b, 50));
	p = piece_new(50, b);
	at = piece_room(p, &room);
	assert_int_equal(room, 50);
	memset(at, 'x', 20);
	piece_fill(p, 20);
	(void)piece_room(p, &room);
	assert_int_equal(room, 30);
	assert_int_equal(piece_shrink(&p), 30);
	assert_int_equal(piece_shrink(&p), 0);
	piece_budget_release(b, 30);
	assert_int_equal(piece_length(p), 20);
	assert_int_equal(piece_add_to(p, buffer), 0);
	assert_int_equal(evbuffer_get_length(buffer), 20);
	/* Not a copy. */
	assert_ptr_equal(evbuffer_pullup(buffer, 20), piece_bytes(p));
	piece_put(piece_get(p));
	piece_put(p);
	assert_int_equal(piece_budget_used(b), 20);
	/* The budget outlives who made it. */
	piece_budget_put(b);
	assert_int_equal(piece_budget_used(b), 20);
	evbuffer_free(buffer);
}

static void an_empty_piece_adds_nothing(void **state)
{
	struct evbuffer *buffer = evbuffer_new();
	struct piece *p = piece_copy(NULL, 0);

	(void)state;
	assert_int_equal(piece_add_to(p, buffer), 0);
	assert_int_equal(evbuffer_get_length(buffer), 0);
	piece_put(p);
	piece_put(NULL);
	evbuffer_free(buffer);
}

static void *hold_and_let_go(void *arg)
{
	struct piece *p = arg;

	for (int i = 0; i < 20000; i++) {
		struct evbuffer *buffer = i % 100 ? NULL : evbuffer_new();

		piece_get(p);
		if (buffer) {
			(void)piece_add_to(p, buffer);
			evbuffer_free(buffer);
		}
		piece_put(p);
	}
	piece_put(p);
	return NULL;
}

static void threads_hold_a_piece_at_the_same_time(void **state)
{
	struct piece_budget *b = piece_budget_new(1000);
	struct piece *p;
	pthread_t threads[3];

	(void)state;
	assert_true(piece_budget_reserve(b, 100));
	p = piece_new(100, b);
	piece_fill(p, 100);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hold_and_let_go, piece_get(p)), 0);
	piece_put(p);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(piece_budget_used(b), 0);
	piece_budget_put(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_budget_gives_what_it_has_and_no_more),
		cmocka_unit_test(a_piece_counts_for_as_long_as_anybody_holds_it),
		cmocka_unit_test(an_empty_piece_adds_nothing),
		cmocka_unit_test(threads_hold_a_piece_at_the_same_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
