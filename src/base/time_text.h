/* SPDX-License-Identifier: GPL-3.0-only */
/* time_text.h: points in time as people write them. */
#ifndef GARNER_BASE_TIME_TEXT_H
#define GARNER_BASE_TIME_TEXT_H

#include "base/clock.h"
#include "base/error.h"

#include <stdint.h>

/* Reads "2026-11-21 23:10:05.25" (local time; seconds, or all of the time of day, may be left out), the same with Z or +01:00 behind it or a
 * T in it (RFC 3339), or "-10s", "-5m": so long before `now_ns`. Into ns since 1970. -EINVAL with a text that quotes the input. */
int time_parse(const char *text, uint64_t now_ns, uint64_t *ns, struct error *err);

/* "2026-02-03 04:05:06.789 +0000", local time, the fraction rounded up: reading it back gives no earlier time. */
#define TIME_TEXT_MAX 40
const char *time_format(uint64_t ns, char out[TIME_TEXT_MAX]);

#endif
