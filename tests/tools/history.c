/* SPDX-License-Identifier: GPL-3.0-only */
/* history.c: the lines of a history, and which operations belong to which key. What is possible decides history_key.c. */
#include "history_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH_LEAST 96u /* room for the words at the beginning */

uint64_t history_hash(const char *text, uint64_t seed)
{
	uint64_t h = seed ^ 0x9e3779b97f4a7c15u;

	for (; *text; text++) {
		h = (h ^ (unsigned char)*text) * 0xbf58476d1ce4e5b9u;
		h ^= h >> 31;
	}
	h = (h ^ h >> 30) * 0x94d049bb133111ebu;
	return h ^ h >> 29;
}

/* Most are small, some as long as packed segments. Names (values that begin with c) are small. */
uint64_t history_value_length(const char *value)
{
	uint64_t x = history_hash(value, 7), kind = x % 100;
	uint64_t most = value[0] == 'c' || kind < 70 ? 8192 : kind < 95 ? 200000 : 1500000;

	return LENGTH_LEAST + (x >> 8) % most;
}

/* ---- tables ---- */

struct history *history_new(void)
{
	return calloc(1, sizeof(struct history));
}

void history_free(struct history *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < h->op_count; i++) {
		free(h->op[i].key);
		free(h->op[i].value);
		free(h->op[i].found);
		free(h->op[i].id);
	}
	free(h->op);
	free(h->by_id);
	free(h);
}

static size_t *place_of(struct history *h, const char *id)
{
	size_t at = history_hash(id, 1) & (h->id_room - 1);

	while (h->by_id[at] && strcmp(h->op[h->by_id[at] - 1].id, id) != 0)
		at = (at + 1) & (h->id_room - 1);
	return &h->by_id[at];
}

static void grow_ids(struct history *h)
{
	free(h->by_id);
	h->id_room = h->id_room ? 4 * h->id_room : 1024;
	h->by_id = calloc(h->id_room, sizeof *h->by_id);
	if (!h->by_id)
		abort();
	for (size_t i = 0; h->op && i < h->op_count; i++)
		*place_of(h, h->op[i].id) = i + 1;
}

static struct history_op *find(struct history *h, const char *id)
{
	size_t *at = h->id_room ? place_of(h, id) : NULL;

	return at && *at ? &h->op[*at - 1] : NULL;
}

static struct history_op *add(struct history *h, const char *id)
{
	struct history_op *op;

	if (!h->by_id || 2 * (h->op_count + 1) > h->id_room)
		grow_ids(h);
	if (!h->op || h->op_count == h->op_room) {
		h->op_room = h->op_room ? 2 * h->op_room : 1024;
		h->op = realloc(h->op, h->op_room * sizeof *h->op);
		if (!h->op)
			abort();
	}
	op = &h->op[h->op_count];
	*op = (struct history_op){ .id = strdup(id), .end = UINT64_MAX, .outcome = HISTORY_UNKNOWN };
	if (!op->id)
		abort();
	*place_of(h, id) = ++h->op_count;
	return op;
}

/* ---- lines ---- */

static int word_of(const char *word, const char *const *words, int count)
{
	for (int i = 0; i < count; i++)
		if (strcmp(word, words[i]) == 0)
			return i;
	return -EINVAL;
}

static int begin_line(struct history *h, char *word[5])
{
	static const char *const kinds[] = {
		[HISTORY_PUT] = "put", [HISTORY_REMOVE] = "remove", [HISTORY_CREATE] = "create", [HISTORY_OWN] = "own",
		[HISTORY_GET] = "get", [HISTORY_HEAD] = "head",     [HISTORY_ANY] = "any",       [HISTORY_LIST] = "list"
	};
	int kind = word_of(word[2], kinds, (int)(sizeof kinds / sizeof kinds[0]));
	struct history_op *op;

	if (kind < 0 || find(h, word[0]))
		return -EINVAL;
	op = add(h, word[0]);
	op->begin = strtoull(word[1], NULL, 10);
	op->kind = (enum history_kind)kind;
	op->key = strdup(word[3]);
	op->value = strdup(word[4]);
	return 0;
}

static int end_line(struct history *h, char *word[4])
{
	static const char *const outcomes[] = { [HISTORY_UNKNOWN] = "unknown",
		                                [HISTORY_OK] = "ok",
		                                [HISTORY_ABSENT] = "absent",
		                                [HISTORY_EXISTS] = "exists",
		                                [HISTORY_WRONG] = "wrong" };
	int outcome = word_of(word[2], outcomes, (int)(sizeof outcomes / sizeof outcomes[0]));
	struct history_op *op = find(h, word[0]);

	if (outcome < 0 || !op || op->found)
		return -EINVAL;
	op->end = strtoull(word[1], NULL, 10);
	op->outcome = (enum history_outcome)outcome;
	op->found = strdup(word[3]);
	return op->end < op->begin ? -EINVAL : 0;
}

static int take_line(struct history *h, char *line)
{
	char *word[7], *rest = line, *w;
	size_t n = 0;

	while (n < 7 && (w = strsep(&rest, " ")))
		word[n++] = w;
	if (n == 6 && strcmp(word[0], "b") == 0)
		return begin_line(h, word + 1);
	return n == 5 && strcmp(word[0], "e") == 0 ? end_line(h, word + 1) : -EINVAL;
}

int history_add(struct history *h, const char *text, size_t length, size_t *line)
{
	const char *end;

	for (*line = 1; length && (end = memchr(text, '\n', length)); ++*line) {
		char *copy = strndup(text, (size_t)(end - text));
		int rc = copy ? take_line(h, copy) : -ENOMEM;

		free(copy);
		if (rc)
			return rc;
		length -= (size_t)(end - text) + 1;
		text = end + 1;
	}
	return 0;
}

/* ---- by keys ---- */

static int by_key(const void *a, const void *b)
{
	const struct history_op *const *x = a, *const *y = b;
	int order = strcmp((*x)->key, (*y)->key);

	return order ? order : ((*x)->begin > (*y)->begin) - ((*x)->begin < (*y)->begin);
}

/* Whether a listing has the key. */
static bool names(const struct history_op *list, const char *key)
{
	size_t length = strlen(key);

	for (const char *at = list->found; at && (at = strstr(at, key)); at += length)
		if ((at == list->found || at[-1] == ',') && (at[length] == ',' || !at[length]))
			return true;
	return false;
}

/* The listings that say something of a key, as what is seen of it. */
static size_t add_listings(struct history *h, const char *key, struct history_seen *seen)
{
	size_t count = 0;

	for (size_t i = 0; i < h->op_count; i++) {
		struct history_op *op = &h->op[i];
		if (op->kind == HISTORY_LIST && op->outcome == HISTORY_OK &&
		    strncmp(key, op->key, strlen(op->key)) == 0)
			seen[count++] = (struct history_seen){ .op = op, .present = names(op, key) };
	}
	return count;
}

static size_t check_keys(struct history *h, struct history_op **sorted, size_t count, history_tell_fn *tell, void *arg)
{
	struct history_seen *seen = calloc(h->op_count + 1, sizeof *seen);
	size_t bad = 0, next;
	char text[HISTORY_TEXT];

	if (!seen)
		abort();
	for (size_t i = 0; i < count; i = next) {
		size_t seen_count = add_listings(h, sorted[i]->key, seen);

		for (next = i + 1; next < count && strcmp(sorted[next]->key, sorted[i]->key) == 0; next++)
			;
		h->stats.keys++;
		if (!history_check_key(h, sorted + i, next - i, seen, seen_count, text)) {
			bad++;
			tell(arg, text);
		}
	}
	free(seen);
	return bad;
}

/* Keys in listings that nobody has ever made. */
static size_t check_strangers(struct history *h, struct history_op **sorted, size_t count, history_tell_fn *tell,
                              void *arg)
{
	size_t bad = 0;

	for (size_t i = 0; i < h->op_count; i++) {
		char *copy = h->op[i].kind == HISTORY_LIST && h->op[i].outcome == HISTORY_OK ? strdup(h->op[i].found)
		                                                                             : NULL,
		     *rest = copy, *key;
		while (copy && strcmp(copy, "-") != 0 && (key = strsep(&rest, ","))) {
			struct history_op probe = { .key = key }, *wanted = &probe;
			size_t low = 0, high = count;
			while (low < high) {
				size_t middle = (low + high) / 2;
				if (strcmp(sorted[middle]->key, wanted->key) < 0)
					low = middle + 1;
				else
					high = middle;
			}
			if (low < count && strcmp(sorted[low]->key, key) == 0)
				continue;
			char text[HISTORY_TEXT];
			snprintf(text, sizeof text, "%.200s: listed by %.60s, and never made", key, h->op[i].id);
			tell(arg, text);
			bad++;
			break;
		}
		free(copy);
	}
	return bad;
}

size_t history_check(struct history *h, history_tell_fn *tell, void *arg)
{
	struct history_op **sorted = calloc(h->op_count + 1, sizeof *sorted);
	size_t count = 0, bad;

	if (!sorted)
		abort();
	h->stats = (struct history_stats){ .operations = h->op_count };
	for (size_t i = 0; i < h->op_count; i++) {
		struct history_op *op = &h->op[i];
		h->stats.unknown += op->outcome == HISTORY_UNKNOWN;
		*(op->kind >= HISTORY_GET ? &h->stats.reads : &h->stats.writes) += 1;
		if (op->outcome != HISTORY_UNKNOWN && op->end - op->begin > h->stats.longest_ns)
			h->stats.longest_ns = op->end - op->begin;
		if (op->kind != HISTORY_LIST)
			sorted[count++] = op;
	}
	qsort(sorted, count, sizeof *sorted, by_key);
	bad = check_keys(h, sorted, count, tell, arg);
	bad += check_strangers(h, sorted, count, tell, arg);
	free(sorted);
	return bad;
}

void history_stats(const struct history *h, struct history_stats *stats)
{
	*stats = h->stats;
}
