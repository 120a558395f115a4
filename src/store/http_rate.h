/* SPDX-License-Identifier: GPL-3.0-only */
/* http_rate.h: a limit in bytes per second, as a token bucket. Pure: the time is given. One thread. */
#ifndef GARNER_STORE_HTTP_RATE_H
#define GARNER_STORE_HTTP_RATE_H

#include <stdbool.h>
#include <stdint.h>

struct http_rate {
	uint64_t per_second; /* 0: no limit */
	int64_t tokens;      /* bytes that may pass now; below zero: taken ahead */
	uint64_t filled_ns;
};

/* A tenth of a second's bytes may pass at once. */
void http_rate_init(struct http_rate *r, uint64_t per_second, uint64_t now_ns);

/* Whether bytes may pass now. If not, `*wait_ns` is how long until they may. */
bool http_rate_open(struct http_rate *r, uint64_t now_ns, uint64_t *wait_ns);

/* `bytes` have passed: as many as came in one piece, even if that was more than there was room for. */
void http_rate_take(struct http_rate *r, uint64_t bytes);

#endif
