/* SPDX-License-Identifier: GPL-3.0-only */
/* operation.h: an operation that this node coordinates: coordinate.h decides, replica_client.h and agreement.h are asked, and what comes
 * of it goes to whoever serves the request (serve_put.c, serve_get.c).
 *
 * Holds the body of a put for as long as a replica may still want it: pieces count against the server's budget until then. All on
 * the loop's thread.
 */
#ifndef GARNER_NODE_OPERATION_H
#define GARNER_NODE_OPERATION_H

#include "node/coordinate.h"
#include "node/node_private.h"

#define OPERATION_DEADLINE_MS 20000 /* from its beginning, or from the last of its body that came */

struct operation;

/* The outcome, once; `step` is a STEP_ANSWER, and lives during the call. Not called when the request is gone. Late replicas may still
 * be served after it. */
typedef void operation_answer_fn(struct operation *o, const struct coordinate_step *step);

struct operation {
	struct exchange x; /* x.request is NULL once it is answered */
	char name[OBJECT_NAME_MAX + 1];
	enum coordinate_kind kind;
	struct object_meta ours;
	operation_answer_fn *answer;
	void *arg; /* of who serves: freed by free_arg, if not NULL, when the operation is over */
	void (*free_arg)(void *arg);
	uint64_t began_ns;

	/* ---- operation.c's own ---- */
	struct coordinate rules;
	struct loop_timer deadline;
	uint64_t end_ms;
	struct piece **pieces;
	size_t piece_count, piece_room;
	bool body_done, running, ended;
	bool doubts_body;       /* a replica says that it is not what was announced */
	unsigned open;          /* calls that have not come back */
	struct step_call *puts; /* those that want the body as it comes */
	uint8_t *claim;         /* another's body, which is helped */
	size_t claim_length;
	struct object_meta claim_meta;
	size_t ack_count;
	struct {
		unsigned node;
		uint64_t us;
	} ack[COORDINATE_REPLICAS_MAX]; /* who accepted, and when */
};

/* Makes an operation for the request, which must not have been answered, and binds both: NULL, and the request is answered, when that
 * cannot be. `answer` and what goes with it is to be set before operation_run(). */
struct operation *operation_new(struct node *n, struct server_request *r, const char *name, enum coordinate_kind kind,
                                const struct object_meta *ours, operation_answer_fn *answer);

/* Begins. Of operations with a body: pieces and the end come from the request. It ends by itself. */
void operation_run(struct operation *o);

/* The request was answered later than in `answer`: the operation may end now. */
void operation_settled(struct operation *o);

/* "n2=410,n1=950": who acknowledged, after how many microseconds. */
#define OPERATION_ACKS_TEXT 200
void operation_acks(const struct operation *o, const struct coordinate_step *step, char text[OPERATION_ACKS_TEXT]);

/* Answers what is no success, the same for all. */
void operation_refuse(struct operation *o, const struct coordinate_step *step);

#endif
