/* SPDX-License-Identifier: GPL-3.0-only */
/* test_share_list.c: the slots of share records: there and back, what is joined, and what is refused. */
#include "map/share_list.h"

#include "base/bytes.h"
#include "map/grain_map.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define RUNS 32 /* where they begin */

static uint8_t bytes[SHARE_LIST_BYTES];
static struct share_list out;

/* Of grains 1024 to 2576: two leaves, nothing, a run of 10 grains, and two of a deeper layer. */
static struct share_list example(void)
{
	struct share_list l;

	share_list_begin(&l, 1024);
	assert_true(share_list_add(&l, SHARE_LEAVES, map_entry(2, 9, 100), 1, 512));
	assert_true(share_list_add(&l, SHARE_LEAVES, map_entry(2, 9, 101), 1, 512));
	assert_true(share_list_add(&l, SHARE_NOTHING, MAP_ENTRY_NONE, 500, 0));
	assert_true(share_list_add(&l, SHARE_NOTHING, MAP_ENTRY_NONE, 16, 0));
	for (unsigned k = 0; k < 10; k++)
		assert_true(share_list_add(&l, SHARE_GRAINS, map_entry(2, 7, 5 + k), 1, 0));
	assert_true(share_list_add(&l, SHARE_GRAINS, map_entry(3, 7, 15), 1, 0));
	assert_true(share_list_add(&l, SHARE_GRAINS, map_entry(3, 7, 16), 1, 0));
	return l;
}

static void a_list_comes_back_as_it_was(void **state)
{
	struct share_list l = example();

	(void)state;
	assert_int_equal(l.count, 4);
	assert_int_equal(l.grains, 2 * 512 + 516 + 12);
	assert_int_equal(l.layers, 3);
	share_list_encode(&l, bytes);
	assert_memory_equal(bytes, "GSHR\1\0\0\0", 8);
	assert_int_equal(share_list_decode(bytes, &out, NULL), 0);
	assert_true(out.first == l.first && out.grains == l.grains && out.layers == 3 && out.count == 4);
	for (unsigned k = 0; k < 4; k++)
		assert_true(out.runs[k].entry == l.runs[k].entry && out.runs[k].count == l.runs[k].count &&
		            out.runs[k].mapped == l.runs[k].mapped && out.runs[k].kind == l.runs[k].kind);
}

static void only_what_lies_together_is_joined(void **state)
{
	struct share_list l;

	(void)state;
	share_list_begin(&l, 0);
	assert_true(share_list_add(&l, SHARE_LEAVES, map_entry(1, 1, 1), 1, 512));
	assert_true(share_list_add(&l, SHARE_LEAVES, map_entry(1, 1, 2), 1, 511)); /* not as many */
	assert_true(share_list_add(&l, SHARE_LEAVES, map_entry(1, 1, 4), 1, 511)); /* not the next */
	assert_true(share_list_add(&l, SHARE_GRAINS, map_entry(1, 1, 5), 1, 0));   /* no leaf */
	assert_true(share_list_add(&l, SHARE_GRAINS, map_entry(1, 2, 6), 1, 0));   /* elsewhere */
	assert_true(share_list_add(&l, SHARE_GRAINS, map_entry(1, 2, SEGMENT_SLOTS_MAX - 1), 1, 0));
	assert_true(share_list_add(&l, SHARE_GRAINS, map_entry(1, 3, 0), 1, 0)); /* another segment */
	assert_int_equal(l.count, 7);
	share_list_encode(&l, bytes);
	assert_int_equal(share_list_decode(bytes, &out, NULL), 0);
}

static void a_full_list_takes_no_more_than_it_can_hold(void **state)
{
	struct share_list l;
	uint32_t n = 0;

	(void)state;
	share_list_begin(&l, 5);
	while (share_list_add(&l, SHARE_GRAINS, map_entry(1, 1, 2 * n), 1, 0))
		n++;
	assert_int_equal(n, SHARE_RUNS_MAX);
	assert_int_equal(l.grains, n);
	assert_true(share_list_add(&l, SHARE_GRAINS, map_entry(1, 1, 2 * n - 1), 1, 0)); /* joined */
	share_list_encode(&l, bytes);
	assert_int_equal(share_list_decode(bytes, &out, NULL), 0);
	assert_int_equal(out.grains, n + 1);
}

static int patched(size_t at, uint64_t value, size_t size)
{
	struct share_list l = example();
	struct error err = { 0 };

	share_list_encode(&l, bytes);
	for (size_t k = 0; k < size; k++)
		bytes[at + k] = (uint8_t)(value >> 8 * k);
	int rc = share_list_decode(bytes, &out, &err);
	assert_true(!rc || err.text[0]);
	return rc;
}

static void what_cannot_be_is_refused(void **state)
{
	(void)state;
	assert_int_equal(patched(0, 0x52485347, 4), 0);
	assert_int_equal(patched(0, 0x504b4347, 4), -EBADMSG); /* magic */
	assert_int_equal(patched(4, 2, 4), -EPROTONOSUPPORT);  /* version */
	assert_int_equal(patched(4, 0, 4), -EBADMSG);
	assert_int_equal(patched(8, 2048, 8), 0);        /* first grain */
	assert_int_equal(patched(8, 1025, 8), -EBADMSG); /* leaves do not begin there */
	assert_int_equal(patched(8, MAP_GRAINS_MAX - 512, 8), -EBADMSG);
	assert_int_equal(patched(8, UINT64_MAX & ~511ull, 8), -EBADMSG);
	assert_int_equal(patched(16, 0, 8), -EBADMSG); /* grains */
	assert_int_equal(patched(16, 1551, 8), -EBADMSG);
	assert_int_equal(patched(16, UINT64_MAX, 8), -EBADMSG);
	assert_int_equal(patched(24, 2, 4), -EBADMSG); /* layers */
	assert_int_equal(patched(24, 4, 4), -EBADMSG);
	assert_int_equal(patched(28, 0, 4), -EBADMSG); /* runs */
	assert_int_equal(patched(28, 3, 4), -EBADMSG);
	assert_int_equal(patched(28, 5, 4), -EBADMSG);
	assert_int_equal(patched(28, SHARE_RUNS_MAX + 1, 4), -EBADMSG);
	assert_int_equal(patched(28, UINT32_MAX, 4), -EBADMSG);
	assert_int_equal(patched(RUNS + 4 * 16, 1, 1), -EBADMSG); /* behind them */
	assert_int_equal(patched(SHARE_LIST_BYTES - 1, 1, 1), -EBADMSG);
}

static void runs_that_cannot_be_are_refused(void **state)
{
	(void)state;
	assert_int_equal(patched(RUNS, map_entry(0, 9, 100), 8), -EBADMSG); /* the own log */
	assert_int_equal(patched(RUNS, map_entry(2, 0, 100), 8), -EBADMSG); /* no segment */
	assert_int_equal(patched(RUNS, MAP_ENTRY_LOCAL, 8), -EBADMSG);
	assert_int_equal(patched(RUNS, map_entry(2, 9, SEGMENT_SLOTS_MAX - 2), 8), 0);
	assert_int_equal(patched(RUNS, map_entry(2, 9, SEGMENT_SLOTS_MAX - 1), 8), -EBADMSG); /* past its end */
	assert_int_equal(patched(RUNS + 8, 0, 4), -EBADMSG);                                  /* count */
	assert_int_equal(patched(RUNS + 8, UINT32_MAX, 4), -EBADMSG);
	assert_int_equal(patched(RUNS + 12, 0, 2), -EBADMSG); /* mapped */
	assert_int_equal(patched(RUNS + 12, 513, 2), -EBADMSG);
	assert_int_equal(patched(RUNS + 14, 3, 2), -EBADMSG);                  /* kind */
	assert_int_equal(patched(RUNS + 16, map_entry(2, 1, 1), 8), -EBADMSG); /* nothing, somewhere */
	assert_int_equal(patched(RUNS + 16 + 12, 1, 2), -EBADMSG);
	assert_int_equal(patched(RUNS + 16 + 8, UINT32_MAX, 4), -EBADMSG);
	assert_int_equal(patched(RUNS + 32 + 12, 1, 2), -EBADMSG); /* grains */
	assert_int_equal(patched(RUNS + 48 + 14, SHARE_LEAVES, 2), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_list_comes_back_as_it_was),
		cmocka_unit_test(only_what_lies_together_is_joined),
		cmocka_unit_test(a_full_list_takes_no_more_than_it_can_hold),
		cmocka_unit_test(what_cannot_be_is_refused),
		cmocka_unit_test(runs_that_cannot_be_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
