/* SPDX-License-Identifier: GPL-3.0-only */
/* history_private.h: what the files of a history share. */
#ifndef GARNER_TESTS_HISTORY_PRIVATE_H
#define GARNER_TESTS_HISTORY_PRIVATE_H

#include "history.h"

#include <stdbool.h>

#define HISTORY_TEXT 1024

enum history_kind {
	HISTORY_PUT,
	HISTORY_REMOVE,
	HISTORY_CREATE,
	HISTORY_OWN,
	/* those that read: */
	HISTORY_GET,
	HISTORY_HEAD,
	HISTORY_ANY,
	HISTORY_LIST
};

enum history_outcome { HISTORY_UNKNOWN, HISTORY_OK, HISTORY_ABSENT, HISTORY_EXISTS, HISTORY_WRONG };

struct history_op {
	char *id, *key, *value, *found; /* found: NULL until it has ended */
	uint64_t begin, end;
	enum history_kind kind;
	enum history_outcome outcome;
	size_t word; /* history_key.c: of `value`, or of `found` in a read */
};

/* What a listing, or a read of what never changes, says of a key. */
struct history_seen {
	struct history_op *op;
	bool present;
	bool agrees; /* history_key.c: some state during its time was so */
};

struct history {
	struct history_op *op;
	size_t op_count, op_room;
	size_t *by_id; /* hash table: place in `op` and 1 */
	size_t id_room;
	struct history_stats stats;
};

/* Whether the operations on one key, sorted by their beginnings, can be explained; `seen` has room for as many as there are operations in
 * all. If not, the text says why. */
bool history_check_key(struct history *h, struct history_op **op, size_t count, struct history_seen *seen,
                       size_t seen_count, char text[HISTORY_TEXT]);

#endif
