/* SPDX-License-Identifier: GPL-3.0-only */
/* node_private.h: what the files of a running node share.
 *
 *   node.c            the node: begins, ends; what happens when the map changes
 *   identity.c        whether the answers of this node count
 *   route.c           which path is served by whom
 *   replica.c         /v1/replica: what other nodes ask of this one's objects
 *   replica_client.c  the same asked of any node, this one included
 *   operation.c serve_put.c serve_get.c serve_list.c   /v1/object, /v1/list: this node as coordinator
 *   deliver.c         hints are delivered
 *   heal.c            compares with the other nodes, and gets what is missing here
 *   admin.c status.c  what operators ask
 *
 * All of it belongs to the loop's thread, but where it says otherwise.
 */
#ifndef GARNER_NODE_NODE_PRIVATE_H
#define GARNER_NODE_NODE_PRIVATE_H

#include "base/executor.h"
#include "node/agreement.h"
#include "node/hints.h"
#include "node/loop.h"
#include "node/map_keeper.h"
#include "node/node.h"
#include "node/object_scrub.h"
#include "node/object_store.h"
#include "node/peer.h"
#include "node/server.h"
#include "node/tls.h"
#include "store/cluster_file.h"

#include <jansson.h>
#include <stdatomic.h>

/* Another node of the map, as this one knows it. */
struct neighbour {
	struct node *node;
	unsigned id; /* 0: this place is free */
	char name[16];
	char address[CLUSTER_ADDRESS_TEXT];
	struct peer *peer;
	bool delivering;   /* deliver.c is at its hints */
	uint64_t wrong_ms; /* when it was last told that it gave wrong bytes; 0: never */
	bool was_down;
	uint64_t map, settled; /* what it said last: the map it goes by alone, and the one it has settled for */
	struct loop_timer ask; /* for that */
	bool asking;
};

struct node_counters {
	uint64_t puts, gets, heads, removes, lists; /* as coordinator */
	uint64_t put_bytes, get_bytes;
	uint64_t no_quorum;
	uint64_t delivered; /* hints */
	uint64_t pulled, pulled_bytes;
	uint64_t repaired; /* replicas that were written back or put again */
};

struct heal;
struct identity;

struct node {
	const struct node_options *options;
	struct cluster_file cluster;
	unsigned self;
	uint64_t started_ms;
	struct loop *loop;
	struct server *server;
	struct tls *tls; /* NULL: plain */
	struct object_store *objects;
	struct object_scrub *scrub;
	struct hints *hints;
	struct agreement *agreement;
	struct map_keeper *maps;
	struct executor *work;        /* for what blocks */
	struct piece_budget *answers; /* bytes that were read for others, and are not sent yet */
	struct neighbour neighbours[CLUSTER_NODES_MAX];
	struct heal *heal;
	struct identity *identity;
	bool stopping, told_gone;
	struct node_counters counters;
	unsigned unfinished; /* operations, calls and jobs that still refer to the node */
};

/* ---- requests that are being served ---- */

struct exchange;

struct exchange_ops {
	void (*body)(struct exchange *x, struct piece *piece); /* the reference is its own */
	void (*end)(struct exchange *x);
	void (*abort)(struct exchange *x); /* x->request is gone */
};

/* What serves a request begins with this. */
struct exchange {
	const struct exchange_ops *ops;
	struct node *node;
	struct server_request *request; /* NULL: answered or gone */
	struct map_ref *map;            /* by which it goes */
};

/* Begins to serve, by the newest map: the context of the request is `x` from now on. */
void exchange_begin(struct exchange *x, const struct exchange_ops *ops, struct node *node, struct server_request *r);
/* Gives the map back. Once, when nothing goes on any more. */
void exchange_end(struct exchange *x);

/* Answers with that, which is freed; 503 when it is NULL. */
void answer_json(struct server_request *r, int status, json_t *json);

/* The request's answer was given, or will never be. */
void exchange_answered(struct exchange *x);

/* What is read to be sent counts from before it is read until it is sent, so that clients that do not take it cannot fill the memory:
 * node_admit() (any thread) sets bytes aside, or returns false; then the answer is answer_overloaded(). answer_read() answers with
 * malloc'ed bytes for which as many were set aside, and gives those back when they are sent. */
bool node_admit(struct node *n, uint64_t bytes);
void node_give_back(struct node *n, uint64_t bytes);
void answer_overloaded(struct exchange *x);
void answer_read(struct exchange *x, int status, uint8_t *bytes, size_t length);

/* ---- of the node ---- */

/* The peer of that id, or NULL: this node itself, or one that is not in the map. */
struct neighbour *node_neighbour(struct node *n, unsigned id);
/* Whether answers of this node's replicas may count. Any thread. */
bool node_votes(struct node *n);
/* Something refers to the node until node_done(). */
void node_begin(struct node *n);
void node_done(struct node *n);

/* identity.c: on the loop. */
int identity_begin(struct node *n, struct error *err);
void identity_end(struct node *n);
/* "ok", "recovering" ... */
const char *node_state_text(struct node *n);
/* Whether a complete pass by that version of the map brings back all that was lost. */
bool node_may_recover(struct node *n, uint64_t map);
/* The objects are all here, if object_store_state() says so. */
void node_recovered(struct node *n);

/* A peer gave bytes of an object that are not those: a line in the log, now and then. */
void node_gave_wrong_bytes(struct node *n, unsigned id, const char *name);

/* A peer has missed a version: kept durably (soon). */
void node_hint(struct node *n, unsigned id, const char *name, struct object_version version);

/* route.c */
extern const struct server_open_path node_open_paths[];
extern const size_t node_open_paths_count;
void route_handler(struct node *n, struct server_handler *handler);

/* replica.c */
void replica_serve_put(struct node *n, struct server_request *r, const char *name);
void replica_serve_get(struct node *n, struct server_request *r, const char *name);
void replica_serve_remove(struct node *n, struct server_request *r, const char *name);
void replica_serve_list(struct node *n, struct server_request *r);
void replica_serve_digests(struct node *n, struct server_request *r);
void replica_serve_bucket(struct node *n, struct server_request *r);

/* serve_put.c, serve_get.c, serve_list.c */
void object_serve_put(struct node *n, struct server_request *r, const char *name);
void object_serve_remove(struct node *n, struct server_request *r, const char *name);
void object_serve_get(struct node *n, struct server_request *r, const char *name);
void object_serve_list(struct node *n, struct server_request *r, const char *pool);

/* deliver.c: to a node that is up. */
void deliver_begin(struct neighbour *p);

/* heal.c */
struct heal *heal_new(struct node *n);
void heal_free(struct heal *h);
void heal_stop(struct heal *h);
/* Compare soon with all, or with those that want it. */
void heal_now(struct heal *h);
/* Something was heard of another node: perhaps a move is done. */
void heal_look(struct heal *h);
/* The map is another one. */
void heal_map_changed(struct heal *h);
/* This replica is damaged: get it from another. */
void heal_object(struct heal *h, const char *name);
struct heal_stats {
	bool running;
	uint64_t passes, missing, pulled, failed;
	uint64_t settled;          /* the map for which everything is where it belongs, as far as this node can say */
	uint64_t last_complete_ms; /* loop's clock; 0: none yet */
	char last_error[ERROR_TEXT_MAX];
};
void heal_get_stats(const struct heal *h, struct heal_stats *stats);

/* admin.c, status.c */
void admin_serve(struct node *n, struct server_request *r, const char *what);
void status_serve(struct node *n, struct server_request *r);
void metrics_serve(struct node *n, struct server_request *r);
void health_serve(struct node *n, struct server_request *r);
void map_serve(struct node *n, struct server_request *r);

#endif
