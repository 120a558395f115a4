/* SPDX-License-Identifier: GPL-3.0-only */
/* history_key.c: whether there is an order of the operations on one key that explains all answers.
 *
 * Goes through the beginnings and ends in order of time, with all states that are possible: what is stored, and which of the operations
 * under way have had their effect or have seen what they answered. At the end of an operation those states remain in which it has.
 * When none remains, there is no such order.
 */
#include "history_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS 64 /* operations under way at one time, those of unknown outcome not counted */
#define ABSENT 0u

struct state {
	uint32_t word; /* what is stored; 0: nothing */
	uint64_t done; /* a bit for each slot */
};

struct event {
	uint64_t time;
	bool is_end;
	struct history_op *op;
	struct history_seen *seen; /* or this */
};

struct checker {
	struct history *h;
	const char *key;
	const char **word; /* from 1 */
	size_t word_count;
	struct state *state;
	size_t state_count, state_room;
	struct history_op *slot[SLOTS];
	uint64_t creates; /* slots of creations that were answered ok */
	struct history_op *
		*free; /* writes of unknown outcome that have begun: they may take effect at any time from now on */
	size_t free_count;
	struct history_seen **watching; /* that have begun, and do not agree with any state yet */
	size_t watching_count;
	char *text;
};

/* ---- words ---- */

static size_t word_of(struct checker *c, const char *word)
{
	for (size_t i = 1; i <= c->word_count; i++)
		if (strcmp(c->word[i], word) == 0)
			return i;
	return 0;
}

static bool is_write(const struct history_op *op)
{
	return op->kind < HISTORY_GET;
}

/* Numbers what is written; what is read must be of that. */
static bool number_words(struct checker *c, struct history_op **op, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (!is_write(op[i]) || op[i]->kind == HISTORY_REMOVE)
			continue;
		op[i]->word = word_of(c, op[i]->value);
		if (!op[i]->word) {
			c->word[++c->word_count] = op[i]->value;
			op[i]->word = c->word_count;
		}
	}
	for (size_t i = 0; i < count; i++) {
		bool reads = (op[i]->kind == HISTORY_GET || op[i]->kind == HISTORY_ANY) && op[i]->outcome == HISTORY_OK;
		if (op[i]->outcome == HISTORY_WRONG || (reads && !(op[i]->word = word_of(c, op[i]->found)))) {
			snprintf(c->text, HISTORY_TEXT, "%.200s: %.60s read what nobody has written: %.80s", c->key,
			         op[i]->id, op[i]->found);
			return false;
		}
	}
	return true;
}

/* ---- states ---- */

/* Whether what is stored is what the operation of that slot has answered. */
static bool fits(const struct checker *c, const struct history_op *op, uint32_t word)
{
	char length[24];

	switch (op->kind) {
	case HISTORY_GET:
		return op->outcome == HISTORY_OK ? word == op->word : word == ABSENT;
	case HISTORY_HEAD:
		if (op->outcome != HISTORY_OK)
			return word == ABSENT;
		if (word == ABSENT)
			return false;
		snprintf(length, sizeof length, "#%llu", (unsigned long long)history_value_length(c->word[word]));
		return strcmp(length, op->found) == 0;
	case HISTORY_CREATE:
		return op->outcome == HISTORY_EXISTS && word != ABSENT && word != op->word;
	case HISTORY_OWN:
		return op->outcome == HISTORY_EXISTS && word != ABSENT;
	default:
		return false;
	}
}

/* A state and one in which more is done, of the same word: the second is enough. Creations are different: done, they cannot be used. */
static bool covers(const struct checker *c, const struct state *more, const struct state *less)
{
	return more->word == less->word && (less->done & ~more->done) == 0 &&
	       ((less->done ^ more->done) & c->creates) == 0;
}

static void add_state(struct checker *c, struct state s)
{
	size_t kept = 0;

	for (size_t i = 0; i < SLOTS; i++)
		if (c->slot[i] && fits(c, c->slot[i], s.word))
			s.done |= UINT64_C(1) << i;
	for (size_t i = 0; i < c->state_count; i++)
		if (covers(c, &c->state[i], &s))
			return;
	/* What is replaced is before those that are still to be looked at, or among them: they keep their order. */
	for (size_t i = 0; i < c->state_count; i++)
		if (!covers(c, &s, &c->state[i]))
			c->state[kept++] = c->state[i];
	c->state_count = kept;
	if (c->state_count == c->state_room) {
		c->state_room = c->state_room ? 2 * c->state_room : 64;
		c->state = realloc(c->state, c->state_room * sizeof *c->state);
		if (!c->state)
			abort();
	}
	c->state[c->state_count++] = s;
	if (c->state_count > c->h->stats.states_max)
		c->h->stats.states_max = c->state_count;
}

/* The state after an operation has its effect, if it can. */
static bool apply(const struct history_op *op, uint64_t bit, const struct state *s, struct state *after)
{
	*after = *s;
	after->done |= bit;
	if (op->kind == HISTORY_CREATE || op->kind == HISTORY_OWN) {
		/* One that was answered, once; an owner's may find its own. */
		if ((bit & s->done) || (s->word != ABSENT && !(op->kind == HISTORY_OWN && s->word == op->word)))
			return false;
	}
	after->word = op->kind == HISTORY_REMOVE ? ABSENT : (uint32_t)op->word;
	return true;
}

/* All that can follow from the states there are, without any further beginning or end. Each turn looks at all states anew, until
 * nothing is added: there are few. */
static void close_states(struct checker *c)
{
	bool again = true;

	for (size_t i = 0, n = c->state_count; i < n; i++) {
		struct state s = c->state[0];
		memmove(c->state, c->state + 1, (--c->state_count) * sizeof *c->state);
		add_state(c, s);
	}
	while (again) {
		size_t n = c->state_count;
		struct state *now = malloc((n + 1) * sizeof *now), after;

		if (!now)
			abort();
		memcpy(now, c->state, n * sizeof *now);
		for (size_t i = 0; i < n; i++) {
			for (size_t k = 0; k < SLOTS; k++)
				if (c->slot[k] && is_write(c->slot[k]) &&
				    apply(c->slot[k], c->slot[k]->outcome == HISTORY_OK ? UINT64_C(1) << k : 0, &now[i],
				          &after))
					add_state(c, after);
			for (size_t k = 0; k < c->free_count; k++)
				if (apply(c->free[k], 0, &now[i], &after))
					add_state(c, after);
		}
		again = c->state_count != n || memcmp(now, c->state, n * sizeof *now) != 0;
		free(now);
	}
}

static void look(struct checker *c)
{
	size_t kept = 0;

	for (size_t w = 0; w < c->watching_count; w++) {
		struct history_seen *seen = c->watching[w];
		for (size_t i = 0; i < c->state_count && !seen->agrees; i++)
			seen->agrees = (c->state[i].word != ABSENT) == seen->present;
		if (!seen->agrees)
			c->watching[kept++] = seen;
	}
	c->watching_count = kept;
}

/* ---- events ---- */

static const char *outcome_text(const struct history_op *op)
{
	static const char *const texts[] = { "unknown", "ok", "absent", "exists", "wrong" };

	return texts[op->outcome];
}

static const char *kind_text(const struct history_op *op)
{
	static const char *const texts[] = { "put", "remove", "create", "own", "get", "head", "any", "list" };

	return texts[op->kind];
}

/* What was possible just before, for people. */
static void tell_states(const struct checker *c, const struct state *state, size_t count)
{
	size_t used = strlen(c->text);

	for (size_t i = 0; i < count && used < HISTORY_TEXT - 100; i++)
		used += (size_t)snprintf(c->text + used, HISTORY_TEXT - used, "%s%.60s", i ? ", " : "",
		                         state[i].word == ABSENT ? "nothing" : c->word[state[i].word]);
}

static bool end_of(struct checker *c, struct history_op *op)
{
	size_t slot, kept = 0, before = c->state_count;
	struct state *was;

	for (slot = 0; slot < SLOTS && c->slot[slot] != op; slot++)
		;
	if (slot == SLOTS)
		return true;
	was = malloc((before + 1) * sizeof *was);
	if (!was)
		abort();
	memcpy(was, c->state, before * sizeof *was);
	for (size_t i = 0; i < before; i++) {
		if (!(c->state[i].done >> slot & 1))
			continue;
		c->state[kept] = c->state[i];
		c->state[kept++].done &= ~(UINT64_C(1) << slot);
	}
	c->state_count = kept;
	c->slot[slot] = NULL;
	c->creates &= ~(UINT64_C(1) << slot);
	if (!kept) {
		snprintf(c->text, HISTORY_TEXT,
		         "%.200s: %s %.60s (%llu to %llu) wrote %.60s, answered %s %.60s; there could be only: ",
		         c->key, kind_text(op), op->id, (unsigned long long)op->begin, (unsigned long long)op->end,
		         op->value, outcome_text(op), op->found);
		tell_states(c, was, before);
	}
	free(was);
	return kept > 0;
}

static bool begin_of(struct checker *c, struct history_op *op)
{
	if (op->outcome == HISTORY_UNKNOWN) {
		if (is_write(op))
			c->free[c->free_count++] = op;
		return true;
	}
	for (size_t i = 0; i < SLOTS; i++) {
		if (c->slot[i])
			continue;
		c->slot[i] = op;
		if ((op->kind == HISTORY_CREATE || op->kind == HISTORY_OWN) && op->outcome == HISTORY_OK)
			c->creates |= UINT64_C(1) << i;
		return true;
	}
	snprintf(c->text, HISTORY_TEXT, "%.200s: more than %d operations at one time", c->key, SLOTS);
	return false;
}

static bool seen_event(struct checker *c, const struct event *e)
{
	if (!e->is_end) {
		c->watching[c->watching_count++] = e->seen;
		look(c);
		return true;
	}
	if (e->seen->agrees)
		return true;
	snprintf(c->text, HISTORY_TEXT, "%.200s: %s %.60s (%llu to %llu) %s it, and there could be only: ", c->key,
	         kind_text(e->seen->op), e->seen->op->id, (unsigned long long)e->seen->op->begin,
	         (unsigned long long)e->seen->op->end, e->seen->present ? "has" : "lacks");
	tell_states(c, c->state, c->state_count);
	return false;
}

static bool take_event(struct checker *c, const struct event *e)
{
	bool good;

	if (e->seen)
		return seen_event(c, e);
	good = e->is_end ? end_of(c, e->op) : begin_of(c, e->op);
	/* After an end nothing new can follow from what remains. */
	if (good && !e->is_end) {
		close_states(c);
		look(c);
	}
	return good;
}

/* Of the same time, beginnings come first: then they overlap, and more is possible. */
static int by_time(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	return x->is_end - y->is_end;
}

/* What "any" did not find is looked at as listings are; what it found need only have been written, and begun before. */
static bool take_any(struct checker *c, struct history_op **op, size_t count, const struct history_op *any)
{
	for (size_t i = 0; i < count; i++)
		if (is_write(op[i]) && op[i]->word == any->word && op[i]->begin <= any->end)
			return true;
	snprintf(c->text, HISTORY_TEXT, "%.200s: %.60s read %.80s before anybody wrote it", c->key, any->id,
	         any->found);
	return false;
}

static bool run(struct checker *c, struct history_op **op, size_t count, struct history_seen *seen, size_t seen_count,
                struct event *event)
{
	size_t n = 0;
	bool good = true;

	for (size_t i = 0; i < count && good; i++) {
		if (op[i]->kind == HISTORY_ANY) {
			if (op[i]->outcome == HISTORY_OK)
				good = take_any(c, op, count, op[i]);
			else if (op[i]->outcome == HISTORY_ABSENT)
				seen[seen_count++] = (struct history_seen){ .op = op[i] };
			continue;
		}
		event[n++] = (struct event){ .time = op[i]->begin, .op = op[i] };
		if (op[i]->outcome != HISTORY_UNKNOWN)
			event[n++] = (struct event){ .time = op[i]->end, .is_end = true, .op = op[i] };
	}
	for (size_t i = 0; i < seen_count; i++) {
		event[n++] = (struct event){ .time = seen[i].op->begin, .seen = &seen[i] };
		event[n++] = (struct event){ .time = seen[i].op->end, .is_end = true, .seen = &seen[i] };
	}
	qsort(event, n, sizeof *event, by_time);
	add_state(c, (struct state){ ABSENT, 0 });
	for (size_t i = 0; i < n && good; i++)
		good = take_event(c, &event[i]);
	return good;
}

bool history_check_key(struct history *h, struct history_op **op, size_t count, struct history_seen *seen,
                       size_t seen_count, char text[HISTORY_TEXT])
{
	struct checker c = { .h = h, .key = op[0]->key, .text = text };
	struct event *event = calloc(2 * (count + seen_count) + 1, sizeof *event);
	bool good;

	c.word = calloc(count + 1, sizeof *c.word);
	c.free = calloc(count + 1, sizeof *c.free);
	c.watching = calloc(count + seen_count + 1, sizeof *c.watching);
	if (!event || !c.word || !c.free || !c.watching)
		abort();
	good = number_words(&c, op, count) && run(&c, op, count, seen, seen_count, event);
	free(event);
	free(c.word);
	free(c.free);
	free(c.watching);
	free(c.state);
	return good;
}
