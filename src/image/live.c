/* SPDX-License-Identifier: GPL-3.0-only */
/* live.c: which slots of a log the maps of its moments lead to. */
#include "image/live.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORD_BITS 64u

int live_init(struct live *l, segment_no_t end)
{
	*l = (struct live){ .end = end };
	l->segments = calloc(end + 1, sizeof *l->segments);
	return l->segments ? 0 : -ENOMEM;
}

void live_destroy(struct live *l)
{
	for (segment_no_t k = 0; l->segments && k < l->end; k++)
		for (int set = 0; set < LIVE_SETS; set++)
			free(l->segments[k].bits[set]);
	free(l->segments);
	*l = (struct live){ 0 };
}

static bool has(const struct live_segment *s, enum live_set set, uint32_t slot)
{
	return slot / WORD_BITS < s->words[set] && s->bits[set][slot / WORD_BITS] >> slot % WORD_BITS & 1;
}

/* Room for the slot, and for those that will probably follow. */
static int grow(struct live_segment *s, enum live_set set, uint32_t slot)
{
	size_t words = slot / WORD_BITS + 1;

	if (words <= s->words[set])
		return 0;
	if (words < 2u * s->words[set])
		words = 2u * s->words[set];
	uint64_t *more = realloc(s->bits[set], words * sizeof *more);
	if (!more)
		return -ENOMEM;
	memset(more + s->words[set], 0, (words - s->words[set]) * sizeof *more);
	s->bits[set] = more;
	s->words[set] = (uint16_t)words;
	return 0;
}

int live_add(struct live *l, enum live_set set, map_entry_t entry)
{
	segment_no_t number = map_entry_segment(entry);
	uint32_t slot = map_entry_slot(entry);

	if (!number || number > l->end)
		return -EBADMSG;
	struct live_segment *s = &l->segments[number - 1];
	if (has(s, set, slot))
		return 0;
	int rc = grow(s, set, slot);
	if (rc)
		return rc;
	s->bits[set][slot / WORD_BITS] |= (uint64_t)1 << slot % WORD_BITS;
	s->count[set]++;
	l->slots[set]++;
	return 0;
}

bool live_has(const struct live *l, enum live_set set, segment_no_t number, uint32_t slot)
{
	return number && number <= l->end && has(&l->segments[number - 1], set, slot);
}

uint32_t live_count(const struct live *l, enum live_set set, segment_no_t number)
{
	return number && number <= l->end ? l->segments[number - 1].count[set] : 0;
}

uint32_t live_union(const struct live *l, segment_no_t number)
{
	uint32_t count = 0;

	if (!number || number > l->end)
		return 0;
	const struct live_segment *s = &l->segments[number - 1];
	for (unsigned k = 0; k < s->words[LIVE_NOW] || k < s->words[LIVE_PAST]; k++) {
		uint64_t word = k < s->words[LIVE_NOW] ? s->bits[LIVE_NOW][k] : 0;
		word |= k < s->words[LIVE_PAST] ? s->bits[LIVE_PAST][k] : 0;
		count += (uint32_t)__builtin_popcountll(word);
	}
	return count;
}

void live_keep(struct live *l, segment_no_t number)
{
	if (number && number <= l->end)
		l->segments[number - 1].kept = true;
}

bool live_is_kept(const struct live *l, segment_no_t number)
{
	return number && number <= l->end && l->segments[number - 1].kept;
}

bool live_is_garbage(const struct live *l, segment_no_t number)
{
	if (!number || number > l->end)
		return false;
	const struct live_segment *s = &l->segments[number - 1];
	return !s->kept && !s->count[LIVE_NOW] && !s->count[LIVE_PAST];
}

bool live_is_movable(const struct live *l, segment_no_t number)
{
	if (!number || number > l->end)
		return false;
	const struct live_segment *s = &l->segments[number - 1];
	return !s->kept && s->count[LIVE_NOW] && !s->count[LIVE_PAST];
}
