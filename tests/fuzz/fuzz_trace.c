/* SPDX-License-Identifier: GPL-3.0-only */
/* fuzz_trace.c: boot traces from any text: what decoding accepts stays within its bounds, and says the same when it is encoded
 * and decoded again; and units from any bytes come back in their order.
 *
 * The first byte chooses which of the two the rest is.
 */
#include "image/trace.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The units of the runs, one after the other; aborts when they are none that decoding may give. The caller frees. */
static uint32_t *units_of(const struct trace_run *runs, size_t count, size_t *units)
{
	uint32_t *list = malloc(TRACE_UNITS * sizeof *list);

	if (!list || !count)
		abort();
	*units = 0;
	for (size_t i = 0; i < count; i++) {
		if (!runs[i].count || runs[i].count > TRACE_UNITS - *units ||
		    runs[i].count - 1 > TRACE_UNIT_MAX - runs[i].first)
			abort();
		for (uint32_t k = 0; k < runs[i].count; k++)
			list[(*units)++] = runs[i].first + k;
	}
	return list;
}

/* Encodes and decodes `units`: of them, as many from the first on as have room must come back. */
static void round_trip(const uint32_t *units, size_t count)
{
	struct fields *f = trace_encode(units, count);
	struct trace_run *runs;
	uint32_t *back;
	size_t run_count, back_count;

	if (!f || trace_decode(f, &runs, &run_count) < 0)
		abort();
	back = units_of(runs, run_count, &back_count);
	if (back_count > count || memcmp(back, units, back_count * sizeof *units) != 0)
		abort();
	if (back_count < count && strlen(fields_text(f, "runs", 0)) < TRACE_TEXT_MAX - 32)
		abort();
	free(back);
	free(runs);
	fields_free(f);
}

static void decode(const uint8_t *bytes, size_t size)
{
	char *text = malloc(size + 1);
	struct fields *f = fields_new();
	struct trace_run *runs;
	uint32_t *units;
	size_t count, unit_count;

	if (!text || !f)
		abort();
	memcpy(text, bytes, size);
	text[size] = '\0';
	fields_add_u64(f, "unit", TRACE_UNIT_BYTES);
	fields_add_text(f, "runs", text);
	if (trace_decode(f, &runs, &count) == 0) {
		units = units_of(runs, count, &unit_count);
		round_trip(units, unit_count);
		(void)trace_is_news(units, unit_count, true, runs, count);
		free(units);
		free(runs);
	}
	fields_free(f);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t *units;
	size_t count = size / sizeof *units;

	if (size && data[0] % 2 == 0) {
		decode(data + 1, size - 1);
		return 0;
	}
	if (!count)
		return 0;
	count = count < TRACE_UNITS ? count : TRACE_UNITS;
	units = malloc(count * sizeof *units);
	if (!units)
		abort();
	memcpy(units, data, count * sizeof *units);
	for (size_t i = 0; i < count; i++)
		units[i] = units[i] > TRACE_UNIT_MAX ? TRACE_UNIT_MAX : units[i];
	round_trip(units, count);
	free(units);
	return 0;
}
