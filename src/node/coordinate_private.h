/* SPDX-License-Identifier: GPL-3.0-only */
/* coordinate_private.h: what coordinate.c (steps, events, the end), coordinate_look.c (looking and copying) and coordinate_put.c (puts and
 * claims) share. */
#ifndef GARNER_NODE_COORDINATE_PRIVATE_H
#define GARNER_NODE_COORDINATE_PRIVATE_H

#include "node/coordinate.h"

enum coordinate_phase {
	PHASE_LOOK,         /* replicas are asked */
	PHASE_COPY,         /* what they have is copied until a quorum has it */
	PHASE_BODY,         /* the claim waits for the body */
	PHASE_CLAIM,        /* the agreement is asked */
	PHASE_HELP,         /* another's claim is made true */
	PHASE_PUT,          /* ours is put */
	PHASE_RELEASE,      /* of what was removed */
	PHASE_RELEASE_DEAD, /* of a claim that nothing can come of */
	PHASE_END           /* answered */
};

enum coordinate_sent_what { SENT_ASK, SENT_COPY, SENT_PUT, SENT_AGAIN, SENT_REPAIR, SENT_AGREEMENT };

enum look_state { LOOK_NONE, LOOK_PENDING, LOOK_SEEN, LOOK_FAILED };
enum copy_state { COPY_NONE, COPY_PENDING, COPY_HOLDS, COPY_FAILED };
enum put_state { PUT_NONE, PUT_PENDING, PUT_ACCEPTED, PUT_STALE, PUT_EXISTS, PUT_FULL, PUT_FAILED };

/* ---- coordinate.c ---- */

/* Whether the replicas that `counts` says yes to are a quorum in each set. */
bool coordinate_quorum(const struct coordinate *c, bool (*counts)(const struct coordinate_replica *r));

/* Room for a step in the queue, all zero but for its kind; it must be there. */
struct coordinate_step *coordinate_step(struct coordinate *c, enum coordinate_step_kind kind);

/* The same for a step that is answered, at replica `index`. NULL, with the client answered, when the operation has used all its
 * steps; NULL, too, when no more are to be begun. */
struct coordinate_step *coordinate_send(struct coordinate *c, enum coordinate_step_kind kind,
                                        enum coordinate_sent_what what, size_t index);

/* Ends the operation for the client; only the first answer counts. The step is the caller's to complete (NULL: there is none, as
 * nobody waits). `meta` may be NULL. */
struct coordinate_step *coordinate_answer(struct coordinate *c, enum coordinate_result result,
                                          const struct object_meta *meta);

/* Where the replica of that id is in the placement, or -1. */
int coordinate_index(const struct coordinate *c, unsigned node);

static inline bool coordinate_is_live(const struct object_meta *meta)
{
	return !object_version_is_none(meta->version) && !(meta->flags & OBJECT_TOMBSTONE);
}

/* ---- coordinate_look.c ---- */

/* Asks all replicas (anew). When all is known and copied as the kind needs, coordinate_looked() is called. */
void coordinate_look(struct coordinate *c);
void coordinate_look_replied(struct coordinate *c, size_t index, const struct coordinate_reply *reply);
void coordinate_copy_replied(struct coordinate *c, size_t index, const struct coordinate_reply *reply);

/* ---- coordinate_put.c ---- */

/* What a look found is in c->newest (and c->floor). */
void coordinate_looked(struct coordinate *c);

/* Puts our body (PHASE_PUT) or that of the claim c->helped (PHASE_HELP) to all replicas. */
void coordinate_put(struct coordinate *c, enum coordinate_phase phase);
void coordinate_put_replied(struct coordinate *c, size_t index, const struct coordinate_reply *reply);

#endif
