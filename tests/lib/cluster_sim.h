/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_sim.h: a cluster of storage nodes in simulated time, in one thread, the same again from the same seed.
 *
 * Gateways with wrong clocks put, create, remove, read and list a few objects through coordinators that run the real rules
 * (node/coordinate*.h, store/placement.h); replicas, network, disks and the agreement are simple models with all the faults they can have.
 * What the gateways saw goes into a history (cluster_history.h), which is checked at the end.
 *
 * `sabotage` breaks one rule on purpose, in the simulation, not in what is tested: to see that the checker notices.
 */
#ifndef GARNER_TESTS_CLUSTER_SIM_H
#define GARNER_TESTS_CLUSTER_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sim_fault {
	FAULT_SLOW,             /* all messages to and from a node take long for a while */
	FAULT_LOSS,             /* some messages are lost for a while */
	FAULT_LINGER,           /* some requests arrive long after later ones, once more or for the first time */
	FAULT_ONE_WAY,          /* one node does not hear another (or the agreement, or a gateway) */
	FAULT_SPLIT,            /* the nodes fall in two halves */
	FAULT_KILL,             /* a node is killed, and started again later */
	FAULT_STOP,             /* a node stands still, and goes on later */
	FAULT_WIPE,             /* a node is killed, and comes back with an empty disk */
	FAULT_FULL,             /* a node's disk is full for a while */
	FAULT_FLIP,             /* a bit of a stored body flips */
	FAULT_FORGET,           /* what a node knows of an object is lost with its body */
	FAULT_SLOW_DISK,        /* puts take long to be durable */
	FAULT_AGREEMENT_AWAY,   /* the agreement does not answer for a while */
	FAULT_AGREEMENT_UNSURE, /* its answers are lost, its requests linger */
	FAULT_CLOCK,            /* a gateway's clock steps */
	FAULT_GATEWAY,          /* a gateway dies in the middle of an operation */
	FAULT_JOIN,             /* a node is added */
	FAULT_LEAVE,            /* a node is taken out */
	FAULT_KINDS
};

enum sim_sabotage {
	SABOTAGE_NONE,
	SABOTAGE_EARLY_ANSWER,      /* done when the first replica accepted */
	SABOTAGE_RECOVERING_VOTES,  /* answers of recovering nodes count */
	SABOTAGE_NO_WRITE_BACK,     /* reads answer without copying */
	SABOTAGE_EARLY_DROP,        /* tombstones are dropped by each replica when it likes */
	SABOTAGE_NO_CLAIM,          /* the agreement is not asked */
	SABOTAGE_NO_ABSENT_RULE,    /* replicas ignore it */
	SABOTAGE_NO_FLOOR,          /* replicas forget what they dropped */
	SABOTAGE_NOT_DURABLE,       /* replicas answer before it is durable */
	SABOTAGE_DAMAGED_IS_ABSENT, /* a copy that cannot be read is said not to be there */
	SABOTAGE_OLD_SET_ONLY,      /* a moving map is used as if nothing moved */
	SABOTAGE_HASTY_RECOVERY,    /* one other node is pulled from, not all */
	SABOTAGE_STRAYS,            /* what a node holds no more stays there and is served when it holds it again */
	SABOTAGE_OLD_WINS,          /* replicas accept any version */
	SABOTAGE_SHORT_LIST,        /* listings of half of the nodes are believed */
	SABOTAGE_CREATE_AGAIN,      /* gateways create once more what may have been removed meanwhile */
	SABOTAGE_KINDS
};

struct sim_options {
	uint64_t seed;
	enum sim_sabotage sabotage;
	uint32_t without;  /* a bit for each kind of fault that is left out */
	uint64_t end;      /* microseconds; 0: as long as always */
	bool is_contested; /* names that are for one owner are created by all gateways */
	bool is_traced;    /* what happens to object `traced` goes to stderr */
	unsigned traced;
};

#define SIM_TEXT 256

struct sim_result {
	bool is_good;
	char text[SIM_TEXT]; /* what is wrong */
	unsigned object;     /* with which object */
	uint64_t time;       /* when it showed */
	unsigned faults, fault[FAULT_KINDS];
	unsigned nodes, replicas, quorum;
	unsigned operations, done, unknown; /* of the gateways */
};

const char *sim_fault_name(enum sim_fault kind);
const char *sim_sabotage_name(enum sim_sabotage kind);

/* One life of a cluster. */
struct sim_result sim_run(const struct sim_options *options);

/* Runs the life again with fewer kinds of faults, as long as it still fails; then once more with the trace of what happened to the object
 * on stderr, and how to repeat it. */
void sim_explain(const struct sim_options *options);

#endif
