/* SPDX-License-Identifier: GPL-3.0-only */
/* http_latency.c: the histogram of answers. */
#include "store/http_latency.h"

#define SAMPLES_MIN 64   /* fewer say nothing about the slowest */
#define SAMPLES_MAX 4096 /* then all are halved */
#define HEDGE_PER_THOUSAND 980
#define HEDGE_FLOOR_US 2000 /* below it a second request would only compete with the first */
#define HEDGE_COST 20       /* one in so many may be asked twice */
#define BUDGET_MAX (10 * HEDGE_COST)

/* Eight buckets to a doubling: three bits below the highest one. */
static unsigned bucket_of(uint64_t us)
{
	if (us < 8)
		return (unsigned)us;
	unsigned top = 63 - (unsigned)__builtin_clzll(us);
	unsigned i = (top - 2) * 8 + (unsigned)(us >> (top - 3) & 7);
	return i < HTTP_LATENCY_BUCKETS ? i : HTTP_LATENCY_BUCKETS - 1;
}

/* The first value past the bucket. */
static uint64_t bucket_end(unsigned i)
{
	if (i < 8)
		return i + 1;
	unsigned top = i / 8 + 2;
	return (1ull << top) + ((uint64_t)(i % 8) + 1) * (1ull << (top - 3));
}

void http_latency_add(struct http_latency *l, uint64_t us)
{
	if (l->total >= SAMPLES_MAX) {
		l->total = 0;
		for (unsigned i = 0; i < HTTP_LATENCY_BUCKETS; i++) {
			l->bucket[i] /= 2;
			l->total += l->bucket[i];
		}
	}
	l->bucket[bucket_of(us)]++;
	l->total++;
	if (l->budget < BUDGET_MAX)
		l->budget++;
}

uint64_t http_latency_percentile(const struct http_latency *l, unsigned per_thousand)
{
	uint64_t want = ((uint64_t)l->total * per_thousand + 999) / 1000, seen = 0;

	if (l->total < SAMPLES_MIN)
		return 0;
	for (unsigned i = 0; i < HTTP_LATENCY_BUCKETS; i++) {
		seen += l->bucket[i];
		if (seen >= want)
			return bucket_end(i);
	}
	return bucket_end(HTTP_LATENCY_BUCKETS - 1);
}

uint64_t http_latency_hedge_us(const struct http_latency *l)
{
	uint64_t usual = http_latency_percentile(l, HEDGE_PER_THOUSAND);

	if (!usual)
		return 0;
	return usual > HEDGE_FLOOR_US ? usual : HEDGE_FLOOR_US;
}

bool http_latency_spend(struct http_latency *l)
{
	if (l->budget < HEDGE_COST)
		return false;
	l->budget -= HEDGE_COST;
	return true;
}
