/* SPDX-License-Identifier: GPL-3.0-only */
/* test_trace_text.c: a boot trace as text and back, what is no trace, and which one is worth keeping. */
#include "image/trace.h"

#include "lib/random.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- encoding ---- */

/* What a trace says, written out. */
static size_t units_of(const struct trace_run *runs, size_t count, uint32_t *units)
{
	size_t n = 0;

	for (size_t k = 0; k < count; k++)
		for (uint32_t u = 0; u < runs[k].count; u++) {
			assert_true(n < TRACE_UNITS);
			units[n++] = runs[k].first + u;
		}
	return n;
}

/* Encodes and decodes; how many of the units there still are, at the begin. */
static size_t come_back(const uint32_t *units, size_t count, size_t *runs)
{
	static uint32_t back[TRACE_UNITS];
	struct fields *f = trace_encode(units, count);
	struct trace_run *list;

	assert_non_null(f);
	assert_int_equal(trace_decode(f, &list, runs), 0);
	fields_free(f);
	size_t n = units_of(list, *runs, back);
	assert_true(n <= count);
	assert_memory_equal(back, units, n * sizeof *units);
	free(list);
	return n;
}

static void units_come_back_in_their_order(void **state)
{
	static const uint32_t units[] = { 9, 10, 11, 3, 2, 1, 0, 100, 101, 0xfffffffdu, TRACE_UNIT_MAX, 5, 5, 6 };
	struct random r = { 1 };
	uint32_t many[500];
	size_t runs;

	(void)state;
	assert_int_equal(come_back(units, 14, &runs), 14);
	assert_int_equal(runs, 9);
	for (unsigned k = 1; k < 200; k++) {
		for (unsigned n = 0; n < k; n++)
			many[n] = n && random_below(&r, 3) ? many[n - 1] + 1 : (uint32_t)random_below(&r, 1u << 31);
		assert_int_equal(come_back(many, k, &runs), k);
	}
}

static int encoded(const struct fields *f, size_t *len)
{
	static const struct seal_key plain = { .plain = true };
	uint8_t *bytes;
	int rc = object_encode(f, OBJECT_TRACE, "images/1/trace", &plain, &bytes, len);

	if (!rc)
		free(bytes);
	return rc;
}

static void a_long_trace_is_cut_to_fit_its_object(void **state)
{
	static uint32_t units[TRACE_UNITS];
	struct random r = { 2 };
	size_t runs, len;

	(void)state;
	for (unsigned k = 0; k < TRACE_UNITS; k++)
		units[k] = k;
	assert_int_equal(come_back(units, TRACE_UNITS, &runs), TRACE_UNITS);
	assert_int_equal(runs, 1);
	for (unsigned most = 16; most <= 31; most += 5) {
		for (unsigned k = 0; k < TRACE_UNITS; k++)
			units[k] = (uint32_t)random_below(&r, 1u << most) | 1u << most;
		struct fields *f = trace_encode(units, TRACE_UNITS);
		assert_int_equal(encoded(f, &len), 0);
		assert_true(len <= OBJECT_BYTES_MAX);
		fields_free(f);
		assert_in_range(come_back(units, TRACE_UNITS, &runs), 6000, TRACE_UNITS);
	}
}

static int decode(const char *unit, const char *text)
{
	struct fields *f = fields_new();
	struct trace_run *runs = NULL;
	size_t count;
	int rc;

	assert_non_null(f);
	if (unit)
		fields_add_text(f, "unit", unit);
	if (text)
		fields_add_text(f, "runs", text);
	rc = trace_decode(f, &runs, &count);
	fields_free(f);
	if (!rc) {
		uint32_t units[TRACE_UNITS];
		units_of(runs, count, units);
		free(runs);
	} else {
		assert_null(runs);
	}
	return rc;
}

static void what_is_no_trace_is_refused(void **state)
{
	static const char *const bad[] = {
		"",           " ",
		"x",          "1 ",
		" 1",         "1  2",
		"1,2",        "+",
		"1+",         "+1",
		"1+0",        "1+-1",
		"-1",         "A",
		"1+2+3",      "ffffffff",
		"100000000",  "1+4001",
		"1+4000 2",   "1 1+4000",
		"fffffffe+2", "fffffffe+3fff",
		"0+ffffffff", "1+100000001",
		"1\t2",       "1 +2",
		"0x1",        "11111111111111111111111111111111",
		"1+ 2",       "1 2 3 4\n",
	};
	static const char *const good[] = { "0",          "1+4000", "1+3fff 2", "fffffffe",
		                            "fffffffe+1", "1 2 3",  "5 5 5",    "0001+01" };

	(void)state;
	for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++)
		if (decode("65536", bad[k]) != -EBADMSG)
			fail_msg("\"%s\" was taken", bad[k]);
	for (size_t k = 0; k < sizeof good / sizeof good[0]; k++)
		if (decode("65536", good[k]) != 0)
			fail_msg("\"%s\" was not taken", good[k]);
	assert_int_equal(decode("4096", "1"), -EBADMSG);
	assert_int_equal(decode("0", "1"), -EBADMSG);
	assert_int_equal(decode("", "1"), -EBADMSG);
	assert_int_equal(decode(NULL, "1"), -EBADMSG);
	assert_int_equal(decode("65536", NULL), -EBADMSG);
}

static void any_text_is_a_trace_within_bounds_or_refused(void **state)
{
	static const char letters[] = "0123456789abcdef+++      gF\n";
	struct random r = { 3 };
	char text[400];

	(void)state;
	for (unsigned k = 0; k < 20000; k++) {
		size_t len = random_below(&r, sizeof text);
		for (size_t n = 0; n < len; n++)
			text[n] = letters[random_below(&r, k % 2 ? 22 : sizeof letters - 1)];
		text[len] = 0;
		int rc = decode("65536", text);
		assert_true(rc == 0 || rc == -EBADMSG);
	}
}

/* ---- what is worth keeping ---- */

static void a_trace_that_says_the_same_is_no_news(void **state)
{
	static const struct trace_run old[] = { { 1000, 50 }, { 0, 50 } };
	uint32_t units[200];

	(void)state;
	for (uint32_t k = 0; k < 200; k++)
		units[k] = k;
	assert_false(trace_is_news(units, TRACE_UNITS_MIN - 1, true, NULL, 0));
	assert_true(trace_is_news(units, TRACE_UNITS_MIN, true, NULL, 0));
	assert_true(trace_is_news(units, 100, true, old, 2));
	for (uint32_t k = 0; k < 50; k++)
		units[50 + k] = 1000 + k;
	assert_false(trace_is_news(units, 100, true, old, 2));
	assert_false(trace_is_news(units, 100, false, old, 2));
	/* A tenth is nothing, neither more nor less nor other. */
	assert_false(trace_is_news(units, 110, true, old, 2));
	assert_true(trace_is_news(units, 115, true, old, 2));
	assert_false(trace_is_news(units, 90, true, old, 2));
	assert_true(trace_is_news(units, 85, true, old, 2));
	/* Who only looked does not make it shorter. */
	assert_false(trace_is_news(units, 20, false, old, 2));
	assert_true(trace_is_news(units, 20, true, old, 2));
	/* One that names units twice. */
	static const struct trace_run twice[] = { { 0, 50 }, { 0, 50 }, { 10, 20 } };
	assert_true(trace_is_news(units, 100, true, twice, 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(units_come_back_in_their_order),
		cmocka_unit_test(a_long_trace_is_cut_to_fit_its_object),
		cmocka_unit_test(what_is_no_trace_is_refused),
		cmocka_unit_test(any_text_is_a_trace_within_bounds_or_refused),
		cmocka_unit_test(a_trace_that_says_the_same_is_no_news),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
