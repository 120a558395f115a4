/* SPDX-License-Identifier: GPL-3.0-only */
/* coordinate.h: what the coordinator of an object decides: a state machine for each operation. Events go in, steps come out.
 *
 * Pure: no I/O, no clock, no threads, no memory of its own, no bytes of bodies. Whoever drives it sends the steps to replicas and to
 * the agreement, measures time, and says what came back. One thread at a time may use one struct coordinate.
 *
 * What it relies on (test_cluster_sim.c shows for most of it what is lost without)
 * --------------------------------------------------------------------------------
 *  - A replica answers a put only when it is durable, and shows nobody a version that is not.
 *  - A replica whose copy has a damaged body goes on saying which version it had (REPLICA_DAMAGED): if it said "absent", two such
 *    answers could hide an object that a quorum took. If it has lost even the version, its answer for that name is no vote. A put of
 *    that very version is written anew there, not "accepted at once".
 *  - A replica that has dropped a tombstone remembers the highest version it ever dropped, one for the whole node: its *floor*. Where it
 *    has nothing under a name, it refuses puts of clients (PUT_FRESH) that are not above its floor as REPLICA_STALE, the version being
 *    the floor and the flag a tombstone's. Else a put of an old version, made by a slow clock or arriving late, would be taken by those
 *    that dropped the tombstone and then be removed by one that has not. Copies (PUT_COPY) are not held against the floor. A
 *    recovering or joining node takes the highest floor of all that it pulls from; until it has asked all others for theirs, a node that
 *    lost its data, or that holds a name only since the map began to move, fails puts of clients where it has nothing.
 *  - Tombstones are dropped only while the map is not moving, when all replicas said they hold that very one, and each has held it for
 *    longer than any request or copy can be under way.
 *  - All steps of an operation carry one version of the map, and a replica refuses an older one than its own (REPLICA_MAP), and that
 *    is looked at when the object is put in place, not only when the request begins. A node that comes up with its data lost has the
 *    agreement raise the map's version, and pulls with that: so a vote it gave before cannot be counted together with one that another
 *    gave after it was pulled from.
 *  - A pass (pulling all that a node should hold, from all others but those that are given up and leave) is whole only if all that was
 *    pulled was stored; a loss that is noticed meanwhile begins it anew; and who had lost something when it was asked is asked once more
 *    after all others: it may have got that again from a node that lost it before that one's turn came. A damaged copy that nobody can
 *    mend is in the end treated as forgotten: no vote, the map raised, a pass. A moving map comes to rest when all nodes that stay have
 *    made a pass under it.
 *  - A node takes, keeps, lists and gives away only what its map places on it. When a map that does not move takes something from it,
 *    it goes before the node takes the next map; and a change begins only when all nodes have the map before it: else an old copy
 *    would come back when the node holds the name again, after the tombstone was dropped. Hints go only to nodes that still hold the name.
 *  - A client's request is carried out once (nonces): one that comes again later could create what was refused and is removed by then.
 *  - No step is sent, signed or put in place after the operation's deadline (coordinate_give_up()); nodes that were stopped for hours
 *    must not go on where they were.
 *
 * The rules
 * ---------
 * A quorum is W votes in each set of the placement; answers without a vote (of recovering nodes) are used for what they say, and never
 * counted.
 *  - PUT: to all at once; done when a quorum accepted. Once that cannot be: 409 with the newest version if any refused as stale, else
 *    507 if any is full, else 503. A client that takes a higher version after 409 writes the same bytes twice: the first try may be
 *    seen and be overwritten before the second is there. What is created must not be seen, removed and seen again: so 409 is for
 *    creations that nobody can have seen, else 410; and a client that does not know what became of an earlier try takes 409 for 410.
 *  - LOOK (head, get latest): the newest version of a quorum of answers; unless a quorum is known to have it or a newer one, it is
 *    copied until that is so, then answered. So is a tombstone. A newest version whose body nobody can read is passed over only if so
 *    few have it that it never was accepted by a quorum (of the first set: it is the one that has all from before a change).
 *  - CONFIRM (get any, where this node's copy is not CONFIRMED): as LOOK; then this node's copy is repaired if need be, and marked.
 *  - CREATE (create-only, "quorum"): looks first, and only then puts with the ABSENT rule. Without looking, one replica that had missed
 *    the object would take the new one, which has the higher version and would win although the client was told "exists". Creators
 *    that race are not kept apart by that: a loser's bytes win if its version is higher, and if it tries again it may be told that it
 *    was done, too. So this kind is for names that have one owner, who keeps the version over all tries. CREATE_LOOKED: the owner has
 *    looked by himself (LOOK: nothing there), and has not tried to create it since: the first look is left out.
 *  - CLAIM (create-only, "claim"): 1. look; live => exists (or done, if it is of our version). 2. a tombstone or floor not below our
 *    version => 409. 3. claim; won, or ours already => 4; another's => it is helped: its body is put until a quorum accepted => exists;
 *    if so many refuse it for a newer version that no quorum can ever accept it, that claim is dead: look again (which copies the
 *    tombstone until a quorum has it), release it, and claim again. 4. our body is put; refused for a newer live one => look again =>
 *    exists; for a newer tombstone, by so many that no quorum can accept => 410. Four looks at most, then 503.
 *    After a try whose answer was lost, the client keeps the version; it counts "exists" with one of its own versions as done.
 *  - REMOVE: as PUT, with a tombstone; if what was there was claimed, the claim is released before it is done.
 */
#ifndef GARNER_NODE_COORDINATE_H
#define GARNER_NODE_COORDINATE_H

#include "store/object_version.h"
#include "store/placement.h"

#include <stdbool.h>
#include <stddef.h>

#define COORDINATE_REPLICAS_MAX (2 * CLUSTER_REPLICAS_MAX)
#define COORDINATE_ROUNDS 4      /* looks of one operation; then 503 */
#define COORDINATE_STEPS_MAX 256 /* steps of one operation, whatever happens; when they are used up: 503 */

#define COORDINATE_QUEUE_MAX (4 * COORDINATE_REPLICAS_MAX)

enum coordinate_kind {
	COORDINATE_PUT,
	COORDINATE_CREATE, /* create-only, kind "quorum" */
	COORDINATE_CLAIM,  /* create-only, kind "claim" */
	COORDINATE_REMOVE,
	COORDINATE_LOOK,         /* head or get of the latest */
	COORDINATE_CONFIRM,      /* get of any, when this node has no confirmed copy */
	COORDINATE_CREATE_LOOKED /* create-only, kind "looked" */
};

/* ---- steps: what is to be done ---- */

enum coordinate_step_kind {
	STEP_ASK,   /* ask replica `node` for what it has. Answered by coordinate_replied() */
	STEP_PUT,   /* send replica `node` the object: see the fields. Answered by coordinate_replied() */
	STEP_CLAIM, /* agreement: claim the name for our version and body. Answered by coordinate_agreed() */
	STEP_RELEASE, /* agreement: release a claim of exactly meta.version, or of any up to it (`upto`). coordinate_agreed() */
	STEP_CONFIRM, /* mark this node's own copy CONFIRMED if it is still meta.version. No answer */
	STEP_HINT,    /* note durably that `node` lacks meta.version of the name or a newer one. No answer */
	STEP_ANSWER, /* answer the client: `result` and what goes with it. Comes exactly once, unless the client gave up */
	STEP_FINISHED /* nothing is outstanding, nothing more comes: the struct may be freed. The last step */
};

/* Of STEP_PUT: which body. */
enum coordinate_body {
	BODY_NONE,  /* a tombstone has none */
	BODY_OURS,  /* as the client sends it: goes out while it comes in */
	BODY_CLAIM, /* the one the agreement told of, which is another's */
	BODY_COPY   /* that of replica `source` (maybe this node), of exactly meta.version */
};

enum coordinate_put_rule {
	PUT_FRESH,  /* accepted if newer than what is there; where nothing is, if above the floor */
	PUT_ABSENT, /* the same, but refused (REPLICA_EXISTS) when a live object of another version is there */
	PUT_COPY    /* accepted if newer than what is there */
};

enum coordinate_result {
	RESULT_DONE,       /* 200, 201, 204. Of reads: meta, and the nodes to read the body from */
	RESULT_ABSENT,     /* 404. Of reads; meta.version is that of the tombstone, or none */
	RESULT_EXISTS,     /* 412: meta is what is there (of a claim: only its version) */
	RESULT_NEWER,      /* 409 newer: the client takes a version above meta.version and tries again */
	RESULT_MAP,        /* 409 map: a replica has a newer map */
	RESULT_GONE,       /* 410: may have been made, and was removed again */
	RESULT_FULL,       /* 507 */
	RESULT_DAMAGED,    /* 500: all replicas answered, and none can read the newest version */
	RESULT_UNAVAILABLE /* 503: no quorum, no agreement, or too many rounds. A put may still come to be */
};

struct coordinate_step {
	unsigned id; /* to be given back with the answer */
	enum coordinate_step_kind kind;
	unsigned node; /* the replica's id: STEP_ASK, STEP_PUT, STEP_HINT */
	struct object_meta
		meta; /* of what is put, confirmed, hinted, released or answered. STEP_PUT with BODY_CLAIM: version and
	                                * flags only */
	enum coordinate_body body;     /* STEP_PUT */
	enum coordinate_put_rule rule; /* STEP_PUT */
	unsigned source;               /* STEP_PUT with BODY_COPY: a replica's id */
	bool upto;                     /* STEP_RELEASE */
	enum coordinate_result result; /* STEP_ANSWER */
	/* STEP_ANSWER, RESULT_DONE of a read: which replicas have the body; this node first if it has it. If one cannot give that very
	 * version any more, the next is asked; if none can and no byte was sent, the answer is 503. */
	size_t holder_count;
	unsigned holder[COORDINATE_REPLICAS_MAX];
	/* STEP_ANSWER, RESULT_DONE of a put or removal: whose vote counted, in the order they came. */
	size_t ack_count;
	unsigned ack[COORDINATE_REPLICAS_MAX];
};

/* ---- events: what has come back ---- */

enum coordinate_status {
	REPLICA_ACCEPTED,    /* STEP_PUT: it is durable there */
	REPLICA_STALE,       /* STEP_PUT: `meta`, newer, is there (or the floor: its version, flag OBJECT_TOMBSTONE) */
	REPLICA_EXISTS,      /* STEP_PUT, PUT_ABSENT: `meta`, live and of another version, is there */
	REPLICA_META,        /* STEP_ASK: `meta` is there: an object or a tombstone */
	REPLICA_DAMAGED,     /* STEP_ASK: `meta` was there, and its body cannot be read */
	REPLICA_ABSENT,      /* STEP_ASK: nothing is there; see `floor` */
	REPLICA_SOURCE_GONE, /* STEP_PUT, BODY_COPY: `source` did not give that version; the target is not to blame */
	REPLICA_FULL,        /* STEP_PUT: no space left */
	REPLICA_MAP,         /* its map is newer */
	REPLICA_FAILED       /* anything else: not reached, no answer in time, an answer that makes no sense */
};

struct coordinate_reply {
	enum coordinate_status status;
	bool vote;                   /* false of a node that is recovering */
	bool was_claimed;            /* REPLICA_ACCEPTED: what was there before had OBJECT_CLAIMED */
	struct object_meta meta;     /* of live objects and tombstones */
	struct object_version floor; /* REPLICA_ABSENT: the node's floor, or none */
};

enum coordinate_agreed {
	AGREED_DONE, /* won; or released (or there was nothing to release) */
	AGREED_EXISTS, /* STEP_CLAIM: there is a claim, of `version`: maybe our own. If not, keep its body until the end */
	AGREED_FAILED /* not known whether it was done */
};

/* ---- the machine ---- */

/* Private: what was sent, and whether it is still unanswered. */
struct coordinate_sent {
	uint8_t what;       /* enum coordinate_sent_what */
	uint8_t index;      /* of the replica in the placement */
	uint8_t generation; /* of the look or put that it belongs to */
	bool is_open;
};

/* Private: what is known of a replica. */
struct coordinate_replica {
	uint8_t look;                  /* enum look_state: the question of this round */
	struct coordinate_reply seen;  /* its answer */
	uint8_t copy;                  /* enum copy_state: whether it has the newest version or one above */
	bool copy_votes;               /* and may be counted */
	bool has_newest;               /* it has exactly that one */
	uint8_t put;                   /* enum put_state: of our body, or that of the claim that is helped */
	bool put_votes;                /* the answer to that may be counted */
	struct object_meta refused_by; /* PUT_STALE, PUT_EXISTS: what is there */
	bool is_hinted;
};

/* All members are private. */
struct coordinate {
	enum coordinate_kind kind;
	uint8_t phase; /* enum coordinate_phase */
	unsigned self;
	struct placement placement;
	struct object_meta ours;
	struct coordinate_replica replica[COORDINATE_REPLICAS_MAX];
	struct object_meta newest;    /* what the look found; version none: nothing */
	struct object_version floor;  /* the highest of those that have nothing */
	struct object_version helped; /* whose claim is in the way */
	unsigned rounds;
	uint8_t look_generation, put_generation;
	bool is_body_here, is_answered, is_given_up, is_client_gone, is_finished;
	bool is_put;        /* ours was sent to replicas: somebody may have seen it */
	bool is_spread;     /* a quorum took what was put, so the others should have it, too */
	bool was_claimed;   /* what a removal removed was */
	bool is_claim_dead; /* `helped` can never be accepted by a quorum */
	size_t ack_count;
	unsigned ack[COORDINATE_REPLICAS_MAX];
	unsigned sent_count, open_count; /* of `sent`, whose places are the steps' ids */
	struct coordinate_sent sent[COORDINATE_STEPS_MAX];
	struct coordinate_step queue[COORDINATE_QUEUE_MAX]; /* a ring: steps that wait to be taken */
	unsigned queue_first, queue_count;
};

/* Begins an operation on an object that `placement` is of, at node `self` (which need not be one of the replicas). `ours`: of puts and
 * creations version, length, digest; of removals the version; reads: NULL. Flags are added here. */
void coordinate_init(struct coordinate *c, enum coordinate_kind kind, const struct placement *placement, unsigned self,
                     const struct object_meta *ours);

/* Gives the next step, or returns false when there is none for now. Take all after coordinate_init() and after each event. */
bool coordinate_next(struct coordinate *c, struct coordinate_step *step);

/* The answer to a STEP_ASK or STEP_PUT. Exactly one for each; a failure or the end of its time is one, too, and what comes later than
 * that is not told. An id that is not open is ignored. */
void coordinate_replied(struct coordinate *c, unsigned id, const struct coordinate_reply *reply);

/* The answer to a STEP_CLAIM or STEP_RELEASE. `version`: of AGREED_EXISTS. */
void coordinate_agreed(struct coordinate *c, unsigned id, enum coordinate_agreed agreed, struct object_version version);

/* The whole body has come from the client (COORDINATE_CLAIM waits for it before it claims), and its digest was right. */
void coordinate_body_received(struct coordinate *c);

/* The operation's time is over, or (is_client_gone) nobody waits for it: no more steps are begun; the client, if there is one and it
 * was not answered, gets RESULT_UNAVAILABLE. What is open must still be answered (puts whose body will never be whole: as failed). */
void coordinate_give_up(struct coordinate *c, bool is_client_gone);

#endif
