/* SPDX-License-Identifier: GPL-3.0-only */
/* timeline.c: see timeline.h. */
#include "cli/timeline.h"

#include "base/size.h"

#include <inttypes.h>
#include <string.h>

#define NS_PER_S UINT64_C(1000000000)

/* The shortest round step of which so many rows are enough. */
static uint64_t choose_step(uint64_t ns)
{
	static const uint32_t seconds[] = { 1,   2,    5,    10,   15,    30,    60,    120,   300,    600,
		                            900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800 };
	uint64_t step = 0;

	for (size_t k = 0; k < sizeof seconds / sizeof seconds[0]; k++) {
		step = seconds[k] * NS_PER_S;
		if (ns / step + 2 <= TIMELINE_ROWS_MAX)
			return step;
	}
	return (ns / (TIMELINE_ROWS_MAX - 2) / step + 1) * step;
}

/* The part of a span that lies within [from, to). */
static uint64_t part_of(const struct history_span *s, uint64_t end_ns, uint64_t from, uint64_t to)
{
	uint64_t begin = s->begin.time_ns, length = end_ns > begin ? end_ns - begin : 1, end = begin + length;
	uint64_t a = from > begin ? from : begin, b = to < end ? to : end;

	return a < b ? (uint64_t)((double)s->bytes * ((double)(b - a) / (double)length) + 0.5) : 0;
}

void timeline_make(const struct history_span *spans, size_t count, struct timeline *t)
{
	uint64_t first = UINT64_MAX, last = 0;

	*t = (struct timeline){ 0 };
	for (size_t k = 0; k < count; k++) {
		first = spans[k].begin.time_ns < first ? spans[k].begin.time_ns : first;
		last = spans[k].begin.time_ns > last ? spans[k].begin.time_ns : last;
	}
	if (!count)
		return;
	t->step_ns = choose_step(last - first);
	first -= first % t->step_ns;
	t->count = (size_t)((last - first) / t->step_ns) + 1;
	for (size_t r = 0; r < t->count; r++) {
		struct timeline_row *row = &t->row[r];
		row->begin_ns = first + r * t->step_ns;
		for (size_t k = 0; k < count; k++) {
			if (spans[k].begin.time_ns < row->begin_ns + t->step_ns &&
			    (!row->segment || spans[k].begin.time_ns <= row->begin_ns))
				row->segment = spans[k].begin.segment;
			if (k + 1 < count)
				row->bytes += part_of(&spans[k], spans[k + 1].begin.time_ns, row->begin_ns,
				                      row->begin_ns + t->step_ns);
		}
	}
}

static void draw_bar(FILE *out, uint64_t bytes, uint64_t most, unsigned width)
{
	unsigned length = most ? (unsigned)((double)bytes / (double)most * width + 0.5) : 0;

	if (bytes && !length)
		length = 1;
	for (unsigned k = 0; k < width; k++)
		putc(k < length ? '#' : ' ', out);
}

void timeline_draw(FILE *out, const struct timeline *t, const struct ctl_past *past, unsigned width)
{
	char when[CLOCK_TEXT_MAX], size[SIZE_TEXT_MAX];
	uint64_t most = 0;
	size_t s = 0;

	for (size_t r = 0; r < t->count; r++)
		most = t->row[r].bytes > most ? t->row[r].bytes : most;
	for (size_t r = 0; r < t->count; r++) {
		const struct timeline_row *row = &t->row[r];
		fprintf(out, "%s  ", clock_wall_format(row->begin_ns, when));
		draw_bar(out, row->bytes, most, width);
		fprintf(out, "  %s\n", row->bytes ? size_format(row->bytes, size) : "-");
		for (; s < past->snapshot_count &&
		       (r + 1 == t->count || past->snapshots[s].time_ns < row->begin_ns + t->step_ns);
		     s++)
			fprintf(out, "%s  @%s\n", clock_wall_format(past->snapshots[s].time_ns, when),
			        past->snapshots[s].name);
	}
}
