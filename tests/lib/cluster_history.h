/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_history.h: what the clients of a simulated cluster asked and were told, and whether that can be true of objects of which each
 * is one register.
 *
 * Versions give the order in which writes take effect, so that an operation's place is known without searching: whatever was told
 * to anybody before an operation began is a lower bound for what that operation is told.
 */
#ifndef GARNER_TESTS_CLUSTER_HISTORY_H
#define GARNER_TESTS_CLUSTER_HISTORY_H

#include "store/object_version.h"

#define HISTORY_TRIES 12

enum history_kind {
	HISTORY_PUT,
	HISTORY_CREATE,
	HISTORY_CLAIM,
	HISTORY_REMOVE,
	HISTORY_READ,
	HISTORY_ANY,
	HISTORY_LIST
};
enum history_outcome {
	HISTORY_UNKNOWN, /* no answer, or one that says nothing */
	HISTORY_DONE,    /* reads: told of `told`, or of nothing (version none or is_live false) */
	HISTORY_EXISTS   /* creations: told of `told` */
};

/* A version that was sent. All of one operation have the same body. */
struct history_try {
	struct object_version version;
	uint64_t time; /* when it was sent first */
};

struct history_record {
	enum history_kind kind;
	enum history_outcome outcome;
	unsigned object, gateway;
	uint64_t begin, end; /* end: UINT64_MAX while it has none */
	uint64_t body;       /* of puts and creations: what is written. Of reads: what was read */
	unsigned try_count;
	struct history_try tries[HISTORY_TRIES];
	bool is_certain;            /* HISTORY_EXISTS: none of its versions can ever take effect */
	struct object_version told; /* DONE of a write: the version that was accepted */
	bool is_live;               /* reads: there was an object */
};

struct history {
	size_t count, room;
	struct history_record *record;
};

/* A new record, which is valid until the next one is made; -> its number. */
size_t history_begin(struct history *h, enum history_kind kind, unsigned object, unsigned gateway, uint64_t time);
void history_free(struct history *h);

/* Looks for what cannot be. Returns true if all is well; else false with the reason, the object, and the time when it showed. */
bool history_check(const struct history *h, unsigned objects, char *text, size_t room, unsigned *object,
                   uint64_t *time);

/* One record in words, into `text`; returns it. */
const char *history_describe(const struct history_record *r, char *text, size_t room);

#endif
