/* SPDX-License-Identifier: GPL-3.0-only */
/* node.h: a storage node: its objects, its server, and its part in the cluster. */
#ifndef GARNER_NODE_NODE_H
#define GARNER_NODE_NODE_H

#include "base/error.h"
#include "node/options.h"

struct node;

/* Opens the drives, finds itself in the cluster, and serves. The options are kept by the caller as long as the node. Returns 0 and
 * *node when it can be asked; -EINVAL, -EADDRINUSE, -EBUSY ... with a text that says what to do. Blocks. */
int node_start(const struct node_options *options, struct node **node, struct error *err);

/* Takes no new requests, ends those under way (for at most some seconds), closes everything. Blocks. NULL is ignored. */
void node_stop(struct node *n);

#endif
