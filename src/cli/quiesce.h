/* SPDX-License-Identifier: GPL-3.0-only */
/* quiesce.h: guests whose file systems are frozen for a moment, all of them, by their agents.
 *
 * Between quiesce_begin() and quiesce_end() guests stand still: do nothing there that may take long.
 */
#ifndef GARNER_CLI_QUIESCE_H
#define GARNER_CLI_QUIESCE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

/* How long guests are held at most, until what they are held for is given up. Windows lets go of its own after that time. */
#define QUIESCE_HOLD_MS 10000

/* How long a guest may take for what is asked of it. */
struct quiesce_limits {
	unsigned answer_ms, freeze_ms, thaw_ms;
};
extern const struct quiesce_limits quiesce_usual_limits;

struct quiesce;

/* Freezes the guests behind these sockets of their agents, which stay the caller's: all of them, or none and an error. Once *stop
 * is true it gives up (-EINTR). From here on SIGTSTP and SIGQUIT wait. */
int quiesce_begin(const char *const *sockets, size_t count, const struct quiesce_limits *limits,
                  const volatile bool *stop, struct quiesce **q, struct error *err);

/* Thaws those that are not yet. Returns 0 when all were frozen until now; -ESTALE when one was not; another error when one may be
 * frozen still: calling it again then tries again. */
int quiesce_end(struct quiesce *q, struct error *err);

/* Does not thaw. NULL is ignored. */
void quiesce_free(struct quiesce *q);

#endif
