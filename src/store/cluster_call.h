/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_call.h: asking the nodes of a cluster about themselves, and telling them what to do, for commands. Calls block.
 *
 * Knows nothing of what is asked.
 */
#ifndef GARNER_STORE_CLUSTER_CALL_H
#define GARNER_STORE_CLUSTER_CALL_H

#include "store/cluster_map.h"
#include "store/http.h"

struct cluster_client;

#define CLUSTER_ANSWER_MAX (256 * 1024) /* bytes */

struct cluster_answer {
	unsigned node;
	char address[CLUSTER_ADDRESS_TEXT];
	int result; /* 0, or -errno with `err`, which names the node */
	struct error err;
	char *body; /* with an end; NULL after a failure; cluster_answer_destroy() frees */
	size_t length;
};

/* Reads the cluster's file and what is beside it, as a gateway does, and asks the nodes for a newer map. 0 also when none of them answers:
 * then the map is the file's. A negative errno when the file cannot be used. */
int cluster_client_open(const char *path, struct cluster_client **client, struct error *err);
void cluster_client_close(struct cluster_client *c);

/* The newest map. Lives until the next cluster_client_refresh(). */
const struct cluster_map *cluster_client_map(const struct cluster_client *c);
/* Asks for a newer one. 0 (there may be none), or why no node has answered. */
int cluster_client_refresh(struct cluster_client *c, struct error *err);

/* Asks nodes in turn until one answers: `node` first, or any when it is 0; `only`: no other. `method` is HTTP_GET or HTTP_POST (without a
 * body), `target` a path with its query. Returns answer->result; the answer is to be destroyed. */
int cluster_client_ask(struct cluster_client *c, enum http_method method, const char *target, unsigned node, bool only,
                       struct cluster_answer *answer);

/* Asks every node of the map at the same time; answers are in its order, and each is to be destroyed. Returns their number. */
size_t cluster_client_ask_all(struct cluster_client *c, const char *target,
                              struct cluster_answer answers[CLUSTER_NODES_MAX]);

void cluster_answer_destroy(struct cluster_answer *a);

#endif
