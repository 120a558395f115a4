/* SPDX-License-Identifier: GPL-3.0-only */
/* nonce_table.c: which requests were seen already: two generations of open-addressed sets, at most half full. */
#include "node/nonce_table.h"

#include "base/bytes.h"

#include <stdlib.h>

#define SLOTS_MIN ((size_t)1024)

struct generation {
	uint64_t *slots; /* 0: free */
	size_t room;     /* slots, a power of two */
	size_t count;
};

struct nonce_table {
	struct generation now, before;
	uint64_t span_ms, begun_ms;
	size_t most;
};

/* Where it is, or would be. Nonces are random already. */
static size_t find(const struct generation *g, uint64_t short_nonce)
{
	size_t i = (size_t)short_nonce & (g->room - 1);

	while (g->slots[i] && g->slots[i] != short_nonce)
		i = (i + 1) & (g->room - 1);
	return i;
}

static bool has(const struct generation *g, uint64_t short_nonce)
{
	return g->room && g->slots[find(g, short_nonce)] == short_nonce;
}

static bool grow(struct generation *g)
{
	struct generation bigger = { .room = g->room ? 2 * g->room : SLOTS_MIN, .count = g->count };

	bigger.slots = calloc(bigger.room, sizeof bigger.slots[0]);
	if (!bigger.slots)
		return false;
	for (size_t i = 0; i < g->room; i++)
		if (g->slots[i])
			bigger.slots[find(&bigger, g->slots[i])] = g->slots[i];
	free(g->slots);
	*g = bigger;
	return true;
}

struct nonce_table *nonce_table_new(uint64_t span_ms, size_t most)
{
	struct nonce_table *t = calloc(1, sizeof *t);

	if (!t)
		return NULL;
	t->span_ms = span_ms;
	t->most = most;
	return t;
}

void nonce_table_free(struct nonce_table *t)
{
	if (!t)
		return;
	free(t->now.slots);
	free(t->before.slots);
	free(t);
}

static void turn(struct nonce_table *t, uint64_t now_ms)
{
	bool both = now_ms - t->begun_ms >= 2 * t->span_ms;

	free(t->before.slots);
	t->before = both ? (struct generation){ 0 } : t->now;
	if (both)
		free(t->now.slots);
	t->now = (struct generation){ 0 };
	t->begun_ms = now_ms;
}

enum nonce_verdict nonce_table_add(struct nonce_table *t, const uint8_t nonce[NODE_NONCE_BYTES], uint64_t now_ms)
{
	uint64_t short_nonce = get_le64(nonce);

	if (!short_nonce)
		short_nonce = 1;
	if (now_ms - t->begun_ms >= t->span_ms)
		turn(t, now_ms);
	if (has(&t->now, short_nonce) || has(&t->before, short_nonce))
		return NONCE_REPLAYED;
	if (t->now.count >= t->most)
		return NONCE_FULL;
	if (2 * (t->now.count + 1) > t->now.room && !grow(&t->now))
		return NONCE_FULL;
	t->now.slots[find(&t->now, short_nonce)] = short_nonce;
	t->now.count++;
	return NONCE_FRESH;
}
