/* SPDX-License-Identifier: GPL-3.0-only */
/* random.h: random numbers that a seed gives again (splitmix64), and the numbers that tests take from their environment. */
#ifndef GARNER_TESTS_RANDOM_H
#define GARNER_TESTS_RANDOM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static inline uint64_t env_number(const char *name, uint64_t fallback)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : fallback;
}

struct random {
	uint64_t state;
};

static inline uint64_t random_next(struct random *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* 0 to n-1. */
static inline uint64_t random_below(struct random *r, uint64_t n)
{
	return random_next(r) % n;
}

static inline bool random_once_in(struct random *r, uint64_t n)
{
	return random_below(r, n) == 0;
}

static inline void random_fill(struct random *r, void *buf, size_t len)
{
	uint8_t *at = buf;

	for (size_t n; len; at += n, len -= n) {
		uint64_t v = random_next(r);
		n = len < sizeof v ? len : sizeof v;
		memcpy(at, &v, n);
	}
}

#endif
