/* SPDX-License-Identifier: GPL-3.0-only */
/* test_fault_queue.c: bytes leave the fault proxy's queue in order, when they are due, and their memory comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/random.h"
#include "tools/fault_queue.h"

#include <string.h>

#define IOV_MAX_TEST 8

static struct fault_pool pool;

/* Receives `text` into the queue, due at `due_ns`. */
static void receive(struct fault_queue *q, uint64_t due_ns, const void *text, size_t len)
{
	uint8_t *room;
	size_t size;

	assert_int_equal(fault_queue_room(q, &room, &size), 0);
	assert_true(size >= 65536 && len <= size);
	memcpy(room, text, len);
	fault_queue_filled(q, len);
	assert_int_equal(fault_queue_keep(q, q, due_ns, room, len), 0);
}

/* Takes up to `max` bytes that are due off the queue. */
static size_t take(struct fault_queue *q, uint64_t now_ns, char *out, size_t max)
{
	struct iovec iov[IOV_MAX_TEST];
	int n = fault_queue_gather(q, now_ns, max, iov, IOV_MAX_TEST);
	size_t len = 0;

	for (int i = 0; i < n; i++) {
		memcpy(out + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	assert_true(len <= max);
	fault_queue_sent(q, len);
	return len;
}

static void assert_takes(struct fault_queue *q, uint64_t now_ns, const char *text)
{
	char out[100] = "";

	out[take(q, now_ns, out, sizeof out - 1)] = '\0';
	assert_string_equal(out, text);
}

static void bytes_leave_when_they_are_due_and_in_order(void **state)
{
	struct fault_queue q;

	(void)state;
	fault_queue_init(&q, &pool);
	receive(&q, 100, "one ", 4);
	receive(&q, 200, "two ", 4);
	assert_int_equal(fault_queue_copy(&q, 200, "three ", 6), 0);
	receive(&q, 300, "four", 4);
	assert_takes(&q, 99, "");
	assert_takes(&q, 100, "one ");
	assert_takes(&q, 250, "two three ");
	assert_int_equal(fault_queue_front(&q)->due_ns, 300);
	assert_takes(&q, 300, "four");
	assert_null(fault_queue_front(&q));
	fault_queue_clear(&q);
}

static void nothing_overtakes_what_was_queued_before(void **state)
{
	struct fault_queue q;

	(void)state;
	fault_queue_init(&q, &pool);
	receive(&q, 500, "slow", 4);
	receive(&q, 100, "quick", 5);
	assert_takes(&q, 499, "");
	assert_takes(&q, 500, "slowquick");
	fault_queue_clear(&q);
}

static void a_signal_waits_for_the_bytes_before_it(void **state)
{
	struct fault_queue q;

	(void)state;
	fault_queue_init(&q, &pool);
	receive(&q, 100, "body", 4);
	assert_int_equal(fault_queue_signal(&q, 100, FAULT_ITEM_PACE, 77), 0);
	receive(&q, 100, "more", 4);
	assert_takes(&q, 100, "body");
	assert_int_equal(fault_queue_front(&q)->kind, FAULT_ITEM_PACE);
	assert_int_equal(fault_queue_front(&q)->argument, 77);
	assert_takes(&q, 100, "");
	fault_queue_pop(&q);
	assert_takes(&q, 100, "more");
	fault_queue_clear(&q);
}

static void two_queues_share_bytes_without_disturbing_each_other(void **state)
{
	struct fault_queue a, b;
	uint8_t *room;
	size_t size;

	(void)state;
	fault_queue_init(&a, &pool);
	fault_queue_init(&b, &pool);
	assert_int_equal(fault_queue_room(&a, &room, &size), 0);
	memcpy(room, "twice", 5);
	fault_queue_filled(&a, 5);
	assert_int_equal(fault_queue_keep(&a, &a, 1, room, 5), 0);
	assert_int_equal(fault_queue_keep(&b, &a, 2, room, 5), 0);
	assert_takes(&a, 1, "twice");
	receive(&a, 3, "other", 5);
	fault_queue_clear(&a);
	assert_takes(&b, 2, "twice");
	fault_queue_clear(&b);
	assert_int_equal(pool.held, 0);
}

static void bytes_that_are_not_kept_cost_nothing(void **state)
{
	struct fault_queue q;
	uint8_t *room, *again;
	size_t size;

	(void)state;
	fault_queue_init(&q, &pool);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(fault_queue_room(&q, &room, &size), 0);
		fault_queue_filled(&q, size);
		assert_int_equal(fault_queue_room(&q, &again, &size), 0);
		assert_ptr_equal(room, again);
	}
	assert_int_equal(fault_queue_cost(&q), 0);
	fault_queue_rest(&q);
	assert_int_equal(pool.held, 0);
	fault_queue_clear(&q);
}

static void the_cost_counts_bytes_and_pieces(void **state)
{
	struct fault_queue q;

	(void)state;
	fault_queue_init(&q, &pool);
	for (int i = 0; i < 1000; i++)
		receive(&q, (uint64_t)i, "x", 1);
	assert_true(fault_queue_cost(&q) >= 1000 * (1 + sizeof(struct fault_item)));
	fault_queue_clear(&q);
	assert_int_equal(fault_queue_cost(&q), 0);
	assert_int_equal(pool.held, 0);
}

static void a_long_random_stream_comes_out_as_it_went_in(void **state)
{
	static char in[1 << 16], out[1 << 16];
	uint64_t seed = env_number("SEED", 1), now = 0, in_sum = 0, out_sum = 0, in_count = 0, out_count = 0;
	struct random r = { .state = seed };
	struct fault_queue q;

	(void)state;
	fault_queue_init(&q, &pool);
	for (int i = 0; i < 3000 || q.count > 0; i++) {
		size_t n = i < 3000 ? 1 + random_below(&r, random_once_in(&r, 4) ? sizeof in : 100) : 0;

		random_fill(&r, in, n);
		for (size_t k = 0; k < n; k++)
			in_sum += ++in_count * (uint8_t)in[k];
		if (n > 0 && random_once_in(&r, 5))
			assert_int_equal(fault_queue_copy(&q, now + 5, in, n), 0);
		else if (n > 0)
			receive(&q, now + 5, in, n);
		now += random_below(&r, 3);
		if (i >= 3000)
			now += 5;
		n = take(&q, now, out, 1 + random_below(&r, sizeof out));
		for (size_t k = 0; k < n; k++)
			out_sum += ++out_count * (uint8_t)out[k];
	}
	if (in_count != out_count || in_sum != out_sum)
		fail_msg("SEED=%ju: %ju bytes in, %ju out", (uintmax_t)seed, (uintmax_t)in_count, (uintmax_t)out_count);
	fault_queue_rest(&q);
	assert_int_equal(pool.held, 0);
	fault_queue_clear(&q);
}

static int clear_pool(void **state)
{
	(void)state;
	fault_pool_clear(&pool);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_leave_when_they_are_due_and_in_order),
		cmocka_unit_test(nothing_overtakes_what_was_queued_before),
		cmocka_unit_test(a_signal_waits_for_the_bytes_before_it),
		cmocka_unit_test(two_queues_share_bytes_without_disturbing_each_other),
		cmocka_unit_test(bytes_that_are_not_kept_cost_nothing),
		cmocka_unit_test(the_cost_counts_bytes_and_pieces),
		cmocka_unit_test(a_long_random_stream_comes_out_as_it_went_in),
	};

	return cmocka_run_group_tests_name("fault_queue", tests, NULL, clear_pool);
}
