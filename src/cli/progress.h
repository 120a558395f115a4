/* SPDX-License-Identifier: GPL-3.0-only */
/* progress.h: how far long work has come: a bar on a terminal, a plain line every ten seconds elsewhere.
 *
 * Writes to standard error only. Not for several threads at once.
 */
#ifndef GARNER_CLI_PROGRESS_H
#define GARNER_CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROGRESS_LINE_MAX 256

/* What a line is made of. */
struct progress_view {
	const char *label;    /* what is being done, one or two words */
	const char *unit;     /* what is counted: "segments"; NULL: bytes */
	uint64_t done, total; /* total 0: not known */
	double rate;          /* units per second; 0: not known yet */
};

/* Writes one line into `out`: with a bar that makes it at most `width` columns, or without when `width` is 0. Returns `out`. */
const char *progress_format(const struct progress_view *view, unsigned width, char out[PROGRESS_LINE_MAX]);

struct progress {
	struct progress_view view;
	bool terminal, shown;
	uint64_t started_ns, last_ns; /* of the last line, or of the start */
	uint64_t last_done;
};

/* Begins. `label` and `unit` must stay valid. */
void progress_start(struct progress *p, const char *label, const char *unit, uint64_t total);

/* Shows the state when it is time to; call as often as wanted. */
void progress_update(struct progress *p, uint64_t done);

/* Takes the bar away, so that the next line of output begins at the left edge. */
void progress_end(struct progress *p);

#endif
