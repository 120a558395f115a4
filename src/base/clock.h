/* SPDX-License-Identifier: GPL-3.0-only */
/* clock.h: the two clocks, in nanoseconds. */
#ifndef GARNER_BASE_CLOCK_H
#define GARNER_BASE_CLOCK_H

#include <stdint.h>

/* CLOCK_MONOTONIC (CLOCK_BOOTTIME where there is one, so that a suspended host's lease runs out): for leases, timeouts,
 * ages. Any thread; never blocks; never fails. */
uint64_t clock_monotonic_ns(void);

/* CLOCK_REALTIME: for what people see (file times), never for decisions. */
uint64_t clock_wall_ns(void);

#endif
