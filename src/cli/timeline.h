/* SPDX-License-Identifier: GPL-3.0-only */
/* timeline.h: how much was written when, as rows of equal time. Pure but for the printing. */
#ifndef GARNER_CLI_TIMELINE_H
#define GARNER_CLI_TIMELINE_H

#include "ctl/ctl.h"

#include <stdio.h>

#define TIMELINE_ROWS_MAX 24

struct timeline_row {
	uint64_t begin_ns;
	uint64_t segment; /* of the log, in which it begins or which begins in it */
	uint64_t bytes;
};

struct timeline {
	uint64_t step_ns; /* of each row: a round number of seconds */
	size_t count;
	struct timeline_row row[TIMELINE_ROWS_MAX + 1];
};

/* From the first span to the last, which ends it. What a span wrote is taken to be written evenly. Without spans there are no rows. */
void timeline_make(const struct history_span *spans, size_t count, struct timeline *t);

/* One row a line, the longest bar `width` characters; snapshots stand where they belong. */
void timeline_draw(FILE *out, const struct timeline *t, const struct ctl_past *past, unsigned width);

#endif
