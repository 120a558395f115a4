/* SPDX-License-Identifier: GPL-3.0-only */
/* piece.c: a piece of a body, which several hold at the same time, counted against a budget. */
#include "node/piece.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct piece_budget {
	_Atomic uint64_t used;
	uint64_t limit;
	atomic_uint references;
};

struct piece {
	atomic_uint references;
	struct piece_budget *budget; /* of `room` bytes; may be NULL */
	size_t room, length;
	uint8_t bytes[];
};

struct piece_budget *piece_budget_new(uint64_t limit)
{
	struct piece_budget *b = calloc(1, sizeof *b);

	if (!b)
		return NULL;
	b->limit = limit;
	atomic_init(&b->references, 1);
	return b;
}

void piece_budget_put(struct piece_budget *b)
{
	if (b && atomic_fetch_sub(&b->references, 1) == 1)
		free(b);
}

bool piece_budget_reserve(struct piece_budget *b, uint64_t bytes)
{
	uint64_t used = atomic_load(&b->used);

	do {
		if (bytes > b->limit || used > b->limit - bytes)
			return false;
	} while (!atomic_compare_exchange_weak(&b->used, &used, used + bytes));
	return true;
}

void piece_budget_release(struct piece_budget *b, uint64_t bytes)
{
	atomic_fetch_sub(&b->used, bytes);
}

uint64_t piece_budget_used(const struct piece_budget *b)
{
	return atomic_load(&b->used);
}

struct piece *piece_new(size_t room, struct piece_budget *reserved)
{
	struct piece *p = malloc(sizeof *p + room);

	if (!p)
		return NULL;
	atomic_init(&p->references, 1);
	p->budget = reserved;
	p->room = room;
	p->length = 0;
	if (reserved)
		atomic_fetch_add(&reserved->references, 1);
	return p;
}

struct piece *piece_copy(const void *bytes, size_t length)
{
	struct piece *p = piece_new(length, NULL);

	if (p && length) {
		memcpy(p->bytes, bytes, length);
		p->length = length;
	}
	return p;
}

struct piece *piece_get(struct piece *p)
{
	atomic_fetch_add(&p->references, 1);
	return p;
}

void piece_put(struct piece *p)
{
	if (!p || atomic_fetch_sub(&p->references, 1) != 1)
		return;
	if (p->budget) {
		piece_budget_release(p->budget, p->room);
		piece_budget_put(p->budget);
	}
	free(p);
}

const uint8_t *piece_bytes(const struct piece *p)
{
	return p->bytes;
}

size_t piece_length(const struct piece *p)
{
	return p->length;
}

static void let_go(const void *bytes, size_t length, void *arg)
{
	(void)bytes;
	(void)length;
	piece_put(arg);
}

int piece_add_to(struct piece *p, struct evbuffer *buffer)
{
	if (!p->length)
		return 0;
	if (evbuffer_add_reference(buffer, p->bytes, p->length, let_go, piece_get(p)) == 0)
		return 0;
	piece_put(p);
	return -ENOMEM;
}

uint8_t *piece_room(struct piece *p, size_t *room)
{
	*room = p->room - p->length;
	return p->bytes + p->length;
}

void piece_fill(struct piece *p, size_t length)
{
	p->length += length;
}

size_t piece_shrink(struct piece **p)
{
	size_t left = (*p)->room - (*p)->length;
	struct piece *smaller = left ? realloc(*p, sizeof **p + (*p)->length) : NULL;

	if (!smaller)
		return 0;
	smaller->room -= left;
	*p = smaller;
	return left;
}
