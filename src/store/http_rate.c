/* SPDX-License-Identifier: GPL-3.0-only */
/* http_rate.c: the token bucket. */
#include "store/http_rate.h"

#define SECOND_NS 1000000000ull
#define LONGEST_NS (3600 * SECOND_NS) /* nothing is owed for longer */

static int64_t burst(const struct http_rate *r)
{
	return (int64_t)(r->per_second / 10 ? r->per_second / 10 : 1);
}

void http_rate_init(struct http_rate *r, uint64_t per_second, uint64_t now_ns)
{
	/* So that products with a second's nanoseconds fit: no link has a hundred gigabytes per second. */
	if (per_second > 100000000000ull)
		per_second = 0;
	*r = (struct http_rate){ .per_second = per_second, .filled_ns = now_ns };
	r->tokens = burst(r);
}

bool http_rate_open(struct http_rate *r, uint64_t now_ns, uint64_t *wait_ns)
{
	uint64_t passed = now_ns - r->filled_ns;

	*wait_ns = 0;
	if (!r->per_second)
		return true;
	if (passed > LONGEST_NS)
		passed = LONGEST_NS;
	uint64_t more = (uint64_t)((unsigned __int128)passed * r->per_second / SECOND_NS);
	if (more) {
		r->tokens += (int64_t)more;
		r->filled_ns = now_ns;
	}
	if (r->tokens > burst(r))
		r->tokens = burst(r);
	if (r->tokens > 0)
		return true;
	*wait_ns = (uint64_t)((unsigned __int128)(uint64_t)(1 - r->tokens) * SECOND_NS / r->per_second) + 1;
	return false;
}

void http_rate_take(struct http_rate *r, uint64_t bytes)
{
	if (r->per_second)
		r->tokens -= (int64_t)bytes;
}
