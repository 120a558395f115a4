/* SPDX-License-Identifier: GPL-3.0-only */
/* pool_probe.h: what a store keeps of what it promises, found out by asking it. Private to src/image. */
#ifndef GARNER_IMAGE_POOL_PROBE_H
#define GARNER_IMAGE_POOL_PROBE_H

#include "store/store.h"

/* Where probing puts its objects. A crash may leave some: they are no content of a pool. */
#define PROBE_PREFIX "probe/"

/* Sets *capabilities (enum store_capability) to those that the store claims and that were not found wanting:
 *   STORE_CREATE_ONLY       of several create-only puts of one key at once one wins, and its object stays, every time;
 *   STORE_READ_LATEST       an object that was replaced is read as it is now, every time;
 *   STORE_LIST_CONSISTENT   a listing shows all that was put.
 * A store that refuses create-only puts (-EOPNOTSUPP) gets none of them: none of the servers whose promises are written down does
 * that, and it may be one that answers from any replica. Blocks; removes what it has put. */
int pool_probe(struct store *s, uint64_t *capabilities, struct error *err);

#endif
