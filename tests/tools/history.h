/* SPDX-License-Identifier: GPL-3.0-only */
/* history.h: what several clients did to one pool at the same time, and whether a store that keeps its promises can have answered so.
 *
 * A history is a text with a line when an operation begins and one when it ends:
 *
 *	b ID TIME KIND KEY VALUE         VALUE: what is written, or -
 *	e ID TIME OUTCOME VALUE          VALUE: what was found, or -
 *
 * IDs are unique, times are of one clock. An operation without an end, or with the outcome "unknown", may have been carried out, or may
 * be at any time later. Values are words, each written by one operation only (segments apart, which are written by their owner again,
 * with the same bytes). Kinds:
 *
 *	put remove        replace whatever is there. While it is not answered a put may take effect more than once
 *	create            only where nothing is. Outcomes: ok, exists. If a try of it was not answered, "exists" may mean that it was made,
 *	                  was removed by others, and then one of others was made; but not that it comes to be after that
 *	own               the same of a key that only its owner ever makes; trying again with the same value is no second winner
 *	get head          ok with the value (head: "#" and its length), or absent. They see what was answered before they began
 *	any               a read of what never changes: it may still see what was removed, but not lack what was stored
 *	list              KEY is a prefix; ok, and the keys with commas between
 *
 * For each key apart it is looked for an order of the operations that explains all answers and keeps the order of those that did not
 * overlap. Listings, and what "any" does not find, have to agree with some state during their time, and say nothing to the others.
 * Outcome "wrong" is for bytes that nobody wrote.
 *
 * Pure: texts go in, texts come out.
 */
#ifndef GARNER_TESTS_HISTORY_H
#define GARNER_TESTS_HISTORY_H

#include <stddef.h>
#include <stdint.h>

struct history;

struct history *history_new(void);
void history_free(struct history *h);

/* Adds the lines of a text; a last line that is not ended was cut off by a kill, and is left out. 0, or -EINVAL with the number of the
 * line in *line. */
int history_add(struct history *h, const char *text, size_t length, size_t *line);

/* Looks for violations: tell(arg, text) for each, at most one for a key. Returns how many. */
typedef void history_tell_fn(void *arg, const char *text);
size_t history_check(struct history *h, history_tell_fn *tell, void *arg);

struct history_stats {
	size_t operations, unknown, keys, reads, writes;
	uint64_t longest_ns; /* of an operation that was answered */
	size_t states_max;   /* at one time, of one key: how hard it was */
};
void history_stats(const struct history *h, struct history_stats *stats);

/* How many bytes a value has: decided by its word. */
uint64_t history_value_length(const char *value);
uint64_t history_hash(const char *text, uint64_t seed);

#endif
