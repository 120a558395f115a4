/* SPDX-License-Identifier: GPL-3.0-only */
/* clock.h: the two clocks, in nanoseconds. */
#ifndef GARNER_BASE_CLOCK_H
#define GARNER_BASE_CLOCK_H

#include <pthread.h>
#include <stdint.h>

/* CLOCK_MONOTONIC (CLOCK_BOOTTIME where there is one, so that a suspended host's lease runs out): for leases, timeouts,
 * ages. Any thread; never blocks; never fails. */
uint64_t clock_monotonic_ns(void);

/* CLOCK_REALTIME: for what people see (file times), for the days in the trash, which outlast every other clock, and as where
 * versions of objects on storage nodes begin (object_version.h); for no other decision. */
uint64_t clock_wall_ns(void);

/* Initializes a condition whose timed waits go by CLOCK_MONOTONIC, as steps of the wall clock must not prolong them. 0 or -errno. */
int clock_cond_init(pthread_cond_t *c);

#define CLOCK_TEXT_MAX 32

/* A time of that clock for people, as local time: "2026-02-03 04:05:06 +0000". Writes into `out` and returns it. Any thread. */
const char *clock_wall_format(uint64_t ns, char out[CLOCK_TEXT_MAX]);

#endif
