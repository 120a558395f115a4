/* SPDX-License-Identifier: GPL-3.0-only */
/* http_retry.h: what an answer's status means, which faults pass, and how long to wait before the next try. Pure. */
#ifndef GARNER_STORE_HTTP_RETRY_H
#define GARNER_STORE_HTTP_RETRY_H

#include <stdbool.h>
#include <stdint.h>

/* Whether a request answered with this status may be sent again unchanged: 408, 429, and the 5xx that pass. */
bool http_status_passes(long status);

/* 0 for a 2xx, else the negative errno that the status stands for; -EIO for those without a meaning of their own. */
int http_status_errno(long status);

/* Whether a failed transfer (a CURLcode) may be sent again: what the network did, not what was asked. */
bool http_transfer_passes(int curl_code);

/* The next wait by decorrelated jitter: between BACKOFF_MIN_MS and three times the last one, at most BACKOFF_MAX_MS. `last_ms`
 * is 0 the first time, `random` any number. */
#define HTTP_BACKOFF_MIN_MS 50
#define HTTP_BACKOFF_MAX_MS 5000
uint64_t http_backoff_ms(uint64_t last_ms, uint32_t random);

/* What a Retry-After header asks for, in ms: a number of seconds or an HTTP date after `now`. 0 when it is neither. */
uint64_t http_retry_after_ms(const char *value, int64_t now);

#endif
