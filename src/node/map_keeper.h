/* SPDX-License-Identifier: GPL-3.0-only */
/* map_keeper.h: the cluster's map as this node knows it: kept up to date with the agreement, remembered over restarts.
 *
 * Whatever works by a map holds a reference to it until it is done, so that the keeper can say when nothing goes by an older one
 * any more (map_keeper_drained()): only then does what is read from this node's replicas stay true. All on the loop's thread.
 */
#ifndef GARNER_NODE_MAP_KEEPER_H
#define GARNER_NODE_MAP_KEEPER_H

#include "base/error.h"
#include "node/agreement.h"
#include "node/loop.h"
#include "store/cluster_map.h"

struct map_keeper;

/* A map that does not change any more. */
struct map_ref {
	struct cluster_map map;
	/* ---- the keeper's ---- */
	struct map_keeper *keeper;
	unsigned users;
	struct map_ref *older;
};

struct map_keeper_options {
	struct loop *loop;
	struct agreement *agreement;     /* outlives the keeper */
	const char *path;                /* where the newest map is remembered; copied */
	const struct cluster_map *first; /* what the cluster file says */
	unsigned poll_ms;                /* between questions to the agreement; 0: 1000 */
	/* A newer map is there; map_keeper_get() gives it. */
	void (*on_change)(void *arg, const struct cluster_map *map);
	void *arg;
};

/* Reads what is remembered (blocks on that file), and begins to ask the agreement. Where that has no map yet, it gets the first one.
 * 0 with *keeper; -ENOMEM. A remembered map that is damaged, or of another cluster, is passed over with a warning. */
int map_keeper_new(const struct map_keeper_options *options, struct map_keeper **keeper, struct error *err);
/* All references must have been put. NULL is ignored. */
void map_keeper_free(struct map_keeper *k);
/* Asks no more; what the agreement still answers is passed over. Before the agreement is closed, which comes before the free. */
void map_keeper_stop(struct map_keeper *k);

/* The newest map. The reference is the caller's: map_ref_put(). Never NULL. */
struct map_ref *map_keeper_get(struct map_keeper *k);
struct map_ref *map_ref_get(struct map_ref *m);
void map_ref_put(struct map_ref *m);

/* Its version, without a reference. */
uint64_t map_keeper_version(const struct map_keeper *k);
/* The highest version of which this is true: nothing here goes by an older one. */
uint64_t map_keeper_drained(const struct map_keeper *k);

/* Whether the newest map has the node. */
bool map_keeper_has(const struct map_keeper *k, unsigned node);

/* Somebody goes by that version: if it is newer than the one here, the agreement is asked at once. */
void map_keeper_seen(struct map_keeper *k, uint64_t version);

/* Whether the agreement has answered the last question. */
bool map_keeper_agrees(const struct map_keeper *k);

/* Makes `map`, whose version is one more than that of the newest one, the cluster's. done(arg, status, err) runs on the loop, once; 0
 * when it is the newest map here, too; -ESTALE when another change came first; -EINVAL when the map is none. */
void map_keeper_change(struct map_keeper *k, const struct cluster_map *map, agreement_done_fn *done, void *arg);

#endif
