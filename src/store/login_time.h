/* SPDX-License-Identifier: GPL-3.0-only */
/* login_time.h: the points in time that log-in services write: ISO 8601, as in "2026-01-31T12:00:00Z". */
#ifndef GARNER_STORE_LOGIN_TIME_H
#define GARNER_STORE_LOGIN_TIME_H

#include <stdint.h>

/* Reads "YYYY-MM-DDTHH:MM:SS", with a fraction (which does not count) or without, then "Z", "+HH:MM", "-HH:MM" or
 * nothing (which means UTC), into seconds since 1970. Returns 0, or -EINVAL for any other text and for years before
 * 1970. */
int login_time_parse(const char *text, int64_t *seconds);

/* Nanoseconds from `from` to `to` (seconds), for renewal.h: 0 when `to` is not later, and at most ten years. */
uint64_t login_time_between(int64_t from, int64_t to);

#endif
