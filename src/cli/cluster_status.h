/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_status.h: what the nodes of a cluster say of themselves, as a table or JSON, and whether all of it is well. Pure, but for the
 * printing.
 */
#ifndef GARNER_CLI_CLUSTER_STATUS_H
#define GARNER_CLI_CLUSTER_STATUS_H

#include "store/cluster_call.h"

#include <stdio.h>

/* Prints the answers of all nodes to /v1/status. Returns whether all is green: every node answered, is "ok", has the same newest map, sees its
 * peers and its drives, and has nothing left to do. */
bool cluster_status_print(FILE *out, const struct cluster_map *map, const struct cluster_answer *answers, size_t count,
                          bool json);

#endif
