/* SPDX-License-Identifier: GPL-3.0-only */
/* node_listing.h: reads a page of a storage node's listing of a pool, in JSON:
 *
 *	{"objects":[{"key":"images/0123/head","size":512,"version":"0123456789abcdef.0123456789abcdef"}, ...],"more":true}
 *
 * Pure. Checks all of it, as any answer from a network.
 */
#ifndef GARNER_STORE_NODE_LISTING_H
#define GARNER_STORE_NODE_LISTING_H

#include "base/error.h"
#include "store/listed.h"

#include <stdbool.h>
#include <stddef.h>

#define NODE_LISTING_MAX (1024 * 1024) /* bytes; a page of LISTED_MAX objects has less than half of it */

/* 0; -EBADMSG: it is no such page, has an object that cannot be (its key, size or version), or more of them than LISTED_MAX; -ENOMEM.
 * `*objects` is to be destroyed also after a failure. */
int node_listing_parse(const void *body, size_t length, struct listed_objects *objects, bool *more, struct error *err);

#endif
