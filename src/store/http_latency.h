/* SPDX-License-Identifier: GPL-3.0-only */
/* http_latency.h: how long answers take, and when to ask for one a second time. Pure. One thread.
 *
 * A histogram with eight buckets to each doubling, halved now and then, so that it follows the network's weather. A second
 * request is worth it when nearly all others would have been answered; a budget keeps them to a twentieth of all, so that a
 * server that is slow because of its load is not given more of it.
 */
#ifndef GARNER_STORE_HTTP_LATENCY_H
#define GARNER_STORE_HTTP_LATENCY_H

#include <stdbool.h>
#include <stdint.h>

#define HTTP_LATENCY_BUCKETS 256

struct http_latency {
	uint32_t bucket[HTTP_LATENCY_BUCKETS];
	uint32_t total;
	uint32_t budget; /* in twentieths of a request */
};

/* An answer took `us` microseconds. */
void http_latency_add(struct http_latency *l, uint64_t us);

/* The time within which `per_thousand` of a thousand answers came, rounded up to a bucket's end; 0 while too few are known. */
uint64_t http_latency_percentile(const struct http_latency *l, unsigned per_thousand);

/* How long to wait for an answer before asking again, in microseconds; 0: do not. */
uint64_t http_latency_hedge_us(const struct http_latency *l);

/* Takes a second request out of the budget; false when there is none left. */
bool http_latency_spend(struct http_latency *l);

#endif
