/* SPDX-License-Identifier: GPL-3.0-only */
/* replica_client.h: a replica of an object asked for something, be it on another node or on this one: one way to ask for both.
 *
 * What a coordinator is told of its replicas, without how. All on the loop's thread; every `done` runs once, later, never within the
 * call. Names and metas are copied. A map reference is taken for as long as the call lasts.
 */
#ifndef GARNER_NODE_REPLICA_CLIENT_H
#define GARNER_NODE_REPLICA_CLIENT_H

#include "node/node_private.h"

/* What a replica said. */
struct replica_answer {
	/* 0, or of a put or removal -ESTALE (a newer one is there), -EEXIST, -ENOSPC, -EROFS, -EBADMSG; of a look or read -ENOENT, -EBADMSG
	 * (this copy is damaged); of any -EREMCHG: it goes by a newer map; anything else: it did not answer. */
	int status;
	bool answered;               /* it did, whatever it said */
	bool vote;                   /* the answer counts */
	bool had;                    /* `meta` says what is there (look, read) or was there (put, remove) */
	bool claimed;                /* that was once made through the agreement */
	bool already;                /* of a put: nothing had to be done */
	struct object_version floor; /* with -ENOENT: the node's floor, or none */
	uint64_t age_s;              /* of replica_look_age(): for how many seconds it has been there */
	struct object_meta meta;     /* shared flags, and OBJECT_DAMAGED and (of this node only) OBJECT_CONFIRMED */
	uint64_t took_us;
	const char *why; /* for the log, when it did not answer; lives during the call */
};
typedef void replica_done_fn(void *arg, unsigned node_id, const struct replica_answer *answer);

void replica_look(struct node *n, unsigned id, struct map_ref *map, const char *name, replica_done_fn *done, void *arg);
/* The same of another node, which says for how long it has had it. */
void replica_look_age(struct node *n, unsigned id, struct map_ref *map, const char *name, replica_done_fn *done,
                      void *arg);

/* A tombstone of meta->version, with OBJECT_CLAIMED if meta->flags has it. */
void replica_remove(struct node *n, unsigned id, struct map_ref *map, const char *name, const struct object_meta *meta,
                    enum object_rule rule, replica_done_fn *done, void *arg);

/* ---- put ---- */

struct replica_put;

/* Begins a put; the pieces of the body follow, in order, as they come. NULL when memory is short: `done` is not called then. It may be
 * called before the body is complete: the put is then gone. */
struct replica_put *replica_put_begin(struct node *n, unsigned id, struct map_ref *map, const char *name,
                                      const struct object_meta *meta, enum object_rule rule, replica_done_fn *done,
                                      void *arg);
/* Takes a reference of its own. */
void replica_put_piece(struct replica_put *p, struct piece *piece);
/* All of it was given. */
void replica_put_end(struct replica_put *p);
/* Without `done`. */
void replica_put_abort(struct replica_put *p);

/* ---- read ---- */

/* As a replica_done_fn; with status 0 `bytes` (malloc'ed, NULL when there are none) belongs to the receiver. The replica has verified
 * them. Who takes all of an object compares it with the digest of `answer->meta`; of a range it is signed what was sent. */
typedef void replica_read_fn(void *arg, unsigned node_id, const struct replica_answer *answer, uint8_t *bytes,
                             size_t length);

/* Reads [offset, offset + len) of that version (or less, where it ends); -ESTALE when another version is there. `len` SIZE_MAX: all. */
void replica_read(struct node *n, unsigned id, struct map_ref *map, const char *name, struct object_version version,
                  uint64_t offset, size_t len, replica_read_fn *done, void *arg);

#endif
