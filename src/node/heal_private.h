/* SPDX-License-Identifier: GPL-3.0-only */
/* heal_private.h: what the files of healing share.
 *
 *   heal.c         when: passes, repairs, when a move of the map is done
 *   heal_pass.c    compares with each of the other nodes, one after the other, and names what is missing here
 *   heal_pull.c    gets one object from one node
 *   heal_sweep.c   forgets what is not held here any more, and what was removed long ago
 *
 * All on the loop's thread.
 */
#ifndef GARNER_NODE_HEAL_PRIVATE_H
#define GARNER_NODE_HEAL_PRIVATE_H

#include "node/node_private.h"

/* ---- heal_pull.c ---- */

/* Has this node take the object of that version from node `id`. done(arg, status): 0 it is here, or something newer; -ENOENT, -ESTALE: it
 * is not there any more; -EBADMSG: damaged there; or another failure. `name` and `meta` are copied. */
typedef void heal_done_fn(void *arg, int status);
void heal_pull(struct node *n, unsigned id, struct map_ref *map, const char *name, const struct object_meta *meta,
               heal_done_fn *done, void *arg);

/* ---- heal_pass.c ---- */

struct heal_pass_result {
	bool complete;               /* every node that has to be asked was, and all that was missing came */
	uint64_t map;                /* the map it went by */
	bool all_by_map;             /* when it began, all others went by that map alone */
	uint64_t loss;               /* of object_store_state() when it began */
	struct object_version floor; /* the highest of those that were asked */
	uint64_t missing, pulled, failed;
	char why[ERROR_TEXT_MAX]; /* why it is not complete */
};
typedef void heal_pass_fn(void *arg, const struct heal_pass_result *result);
struct heal_pass;
/* Begins a pass. NULL when memory is short. `done` is called once, and the pass is gone then. */
struct heal_pass *heal_pass_begin(struct node *n, heal_pass_fn *done, void *arg);
/* Ends as soon as what is under way has come back; not complete then. */
void heal_pass_stop(struct heal_pass *p);

/* ---- heal_sweep.c ---- */

/* Goes through all names here once; `done` is called at the end: with 0 when nothing is left here that is others'; -EAGAIN when that cannot be
 * proven to be theirs yet; -ECANCELED when the map has changed. */
void heal_sweep(struct node *n, heal_done_fn *done, void *arg);

#endif
