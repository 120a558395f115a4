/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_sim_private.h: the parts of a simulated cluster. cluster_sim.c: time, network, the agreement. cluster_sim_replica.c: what a node
 * keeps, and how nodes make themselves alike. cluster_sim_node.c: the coordinator's operations at a node. cluster_sim_gateway.c: clients.
 * cluster_sim_fault.c: what goes wrong.
 */
#ifndef GARNER_TESTS_CLUSTER_SIM_PRIVATE_H
#define GARNER_TESTS_CLUSTER_SIM_PRIVATE_H

#include "lib/cluster_history.h"
#include "lib/cluster_sim.h"
#include "lib/random.h"

#include "node/coordinate.h"
#include "store/cluster_map.h"
#include "store/placement.h"

/* Microseconds. */
#define MS ((uint64_t)1000)
#define SECOND (1000 * MS)
#define STEP_TIME (700 * MS)        /* until a replica counts as failed */
#define AGREEMENT_TIME (1500 * MS)  /* the same of the agreement */
#define OPERATION_TIME (5 * SECOND) /* a coordinator's deadline */
#define TRY_TIME (3 * SECOND)       /* until a gateway tries another coordinator */
#define WINDOW (3 * SECOND)         /* no request older than that is listened to */
#define PULL_TIME (3 * SECOND)      /* nor a pull's answer */
#define DROP_AGE (15 * SECOND)      /* of a tombstone: more than all of the above together */

#define OBJECTS 6
#define NODES CLUSTER_NODES_MAX /* by id - 1 */
#define GATEWAYS 4
#define PLACES (NODES + GATEWAYS + 1) /* ends of the network: nodes, gateways, the agreement */
#define AGREEMENT (PLACES - 1)
#define HINTS 64
#define MAPS 512 /* versions of the map in one life */

enum object_kind { OBJECT_PLAIN, OBJECT_CLAIMS, OBJECT_CREATES };

/* What a node keeps of an object: durable. */
struct copy {
	bool has;
	bool is_lost;    /* all knowledge of it: no vote until all others were pulled from */
	bool is_damaged; /* it was noticed that the body is not what was put */
	struct object_version version;
	unsigned flags;
	uint64_t digest, body; /* alike, unless a bit flipped */
	uint64_t since;        /* when it was put in place */
};

enum message_kind {
	/* to nodes */
	M_REQUEST,
	M_ASK,
	M_PUT,
	M_READ,
	M_PULL,
	M_TOMBSTONE,
	M_DROP,
	M_LIST,
	/* answers, to nodes */
	M_REPLY,
	M_READ_REPLY,
	M_PULLED,
	M_TOMBSTONE_REPLY,
	M_LISTED,
	M_AGREED,
	/* to the agreement */
	M_CLAIM,
	M_RELEASE,
	M_RAISE,
	/* to a gateway */
	M_ANSWER,
	/* a node or gateway to itself */
	M_COMMIT,
	M_NOT_IN_TIME,
	M_DEADLINE,
	M_BODY,
	M_TICK,
	M_CONTINUE,
	M_TRY_ENDS,
	M_NEXT,
	/* from nowhere */
	M_FAULT,
	M_FAULT_ENDS
};

struct message {
	enum message_kind kind;
	unsigned from, to;
	unsigned life; /* of `to`, of what it tells itself */
	uint64_t sent; /* when it was signed */
	uint64_t op;   /* a coordinator's operation, a pass, a gateway's try */
	unsigned step;
	uint64_t map; /* its version */
	unsigned object;
	struct copy copy;
	enum coordinate_put_rule rule;
	enum coordinate_kind operation;
	struct coordinate_reply reply;
	enum coordinate_agreed agreed;
	unsigned releases; /* M_CLAIM: before which it was begun */
	enum coordinate_result result;
	bool flag; /* M_RELEASE: upto. M_REQUEST, M_ANSWER: a listing. M_READ_REPLY: the body is there. M_PULLED: it has lost nothing */
	struct object_version floor;
	struct copy all[OBJECTS]; /* M_PULLED, M_LISTED; M_ANSWER of a listing */
};

struct event {
	uint64_t time, order;
	struct message m;
	struct event *next; /* of spare ones, or of those that a node which stands still has not seen */
};

struct hint {
	bool is_used;
	unsigned node, object;
	struct object_version version;
};

/* A pull of all others. */
struct pass {
	bool is_on, is_raising, is_second;
	uint64_t id, map;
	uint32_t waits, again; /* bits of nodes: of whom an answer is waited for; who is asked twice */
};

struct node {
	bool exists, is_up, is_stopped, is_leaving_for_good;
	unsigned life;
	/* durable */
	struct copy copy[OBJECTS];
	struct object_version floor;
	bool is_recovering;
	uint64_t map;
	uint64_t passed; /* the map of the last pass */
	struct hint hint[HINTS];
	/* not */
	struct pass pass;
	bool is_full, is_slow, is_slow_disk;
	uint32_t tombstone_yes; /* who holds the tombstone that is to be dropped */
	unsigned tombstone_object;
	struct object_version tombstone;
	struct event *backlog, **backlog_end;
};

/* A step that a replica or the agreement is to answer. */
struct sent_step {
	enum coordinate_step_kind kind;
	unsigned node;
	bool is_reading; /* the source is asked for the body */
	struct copy copy;
	enum coordinate_put_rule rule;
	enum coordinate_body body;
};

/* An operation at its coordinator. */
struct operation {
	uint64_t id;
	unsigned node, gateway, gateway_life, object;
	uint64_t gateway_try, map, deadline;
	enum coordinate_kind kind;
	bool is_body_here, is_answered, is_list, is_finished;
	uint64_t body, claim_body;
	struct coordinate c;
	struct sent_step step[COORDINATE_STEPS_MAX];
	bool is_reading; /* the body for the client's answer */
	struct coordinate_step answer;
	size_t holder;
	struct copy pages[NODES][OBJECTS]; /* of a listing */
	uint32_t asked, listed;
	struct operation *next;
};

struct gateway {
	unsigned life;
	int64_t skew;  /* of its clock, microseconds */
	uint64_t last; /* counter */
	uint64_t map;
	bool is_busy;
	size_t record;
	enum coordinate_kind kind;
	bool is_any, is_list;
	unsigned object, tries;
	unsigned absent; /* number + 1 of the object that was just found to be absent; 0: none */
	bool is_looked;  /* it creates what it found to be absent */
	uint64_t try;
	bool was_unsure; /* a try had no answer */
	struct object_version version;
};

struct claim {
	bool is_held;
	struct object_version version;
	uint64_t body;
	unsigned releases; /* of all claims of that name */
};

struct sim {
	struct sim_options options;
	struct random random;
	uint64_t now, order, end, next_id;
	struct event **heap, *spare;
	size_t heap_count, heap_room;
	struct cluster_map maps[MAPS]; /* [version] */
	uint64_t map;                  /* the newest */
	uint64_t joint;                /* the version that began what is moving; 0: nothing is */
	struct claim claim[OBJECTS];
	struct object_version *claimed; /* all that ever were */
	size_t claimed_count, claimed_room;
	struct node node[NODES];
	struct gateway gateway[GATEWAYS];
	struct operation *operations;
	struct history history;
	/* faults */
	bool is_calm;                 /* faults are over */
	bool is_quiet;                /* gateways ask no more */
	bool is_deaf[PLACES][PLACES]; /* [from][to] */
	unsigned loss, linger;        /* per mille */
	unsigned agreement_loss;
	bool is_agreement_away;
	unsigned faults, fault[FAULT_KINDS];
};

extern const char *const sim_names[OBJECTS];
enum object_kind sim_object_kind(unsigned object);

/* ---- cluster_sim.c ---- */

void sim_trace(const struct sim *s, unsigned object, const char *format, ...) __attribute__((format(printf, 3, 4)));
uint64_t sim_between(struct sim *s, uint64_t from, uint64_t to);
bool sim_chance(struct sim *s, unsigned per_mille);
const char *sim_version(struct object_version v); /* short; one of a few static places */
struct copy sim_tombstone(struct object_version v);
struct object_meta sim_meta(const struct copy *copy);

/* Over the network. */
void sim_send(struct sim *s, struct message m);
/* To itself, after `delay`; not if it dies before. */
void sim_later(struct sim *s, struct message m, uint64_t delay);
/* The placement under a version of the map. */
void sim_place(const struct sim *s, uint64_t map, unsigned object, struct placement *p);
/* The agreement makes the next version of the map, of this. */
void sim_set_map(struct sim *s, const struct cluster_map *map);
void sim_wake(struct sim *s, unsigned node);
/* Stops, drops what was volatile. */
void sim_kill(struct sim *s, unsigned node);
void sim_start(struct sim *s, unsigned node);
bool sim_was_claimed(const struct sim *s, struct object_version v);

/* ---- cluster_sim_replica.c ---- */

bool replica_adopt(struct sim *s, unsigned node, uint64_t map);
bool replica_vote(const struct sim *s, unsigned node, unsigned object);
struct coordinate_reply replica_ask(struct sim *s, unsigned node, unsigned object);
/* Puts a copy in place, or refuses it. */
struct coordinate_reply replica_put(struct sim *s, unsigned node, unsigned object, const struct copy *copy,
                                    enum coordinate_put_rule rule);
/* Whether the body can be read; notes it if it is damaged. */
bool replica_read(struct sim *s, unsigned node, unsigned object, struct object_version version, struct copy *copy);
void replica_message(struct sim *s, const struct message *m);
void replica_tick(struct sim *s, unsigned node);
void replica_hint(struct sim *s, unsigned node, unsigned of, unsigned object, struct object_version version);

/* ---- cluster_sim_node.c ---- */

void node_request(struct sim *s, const struct message *m);
/* An event of an operation; -> whether there is that operation. */
bool node_event(struct sim *s, const struct message *m);
void node_forget(struct sim *s, unsigned node);

/* ---- cluster_sim_gateway.c ---- */

void gateway_start(struct sim *s, unsigned g);
void gateway_message(struct sim *s, const struct message *m);
/* All that is still going on has no known end. */
void gateway_die(struct sim *s, unsigned g);

/* ---- cluster_sim_fault.c ---- */

void fault_start(struct sim *s);
void fault_message(struct sim *s, const struct message *m);
/* Ends all faults. */
void fault_calm(struct sim *s);
/* Ends a change of the map when all have what they need. */
void fault_admin(struct sim *s);

#endif
