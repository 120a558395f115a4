/* SPDX-License-Identifier: GPL-3.0-only */
/* hints.h: which objects other nodes have missed: kept durably until they have got them.
 *
 * A hint is (node, name, version): that node did not accept this version when it was put; whoever delivers it sends what the name
 * holds by then. For each (node, name) the highest version is kept. Bounded: beyond HINTS_MAX hints no more are kept, and each
 * node whose hint was dropped is marked as needing a full comparison, durably. Knows nothing of networks.
 *
 * All calls may be made on any thread; they block for as long as a small write to the local disk, and hint_add() for a sync, which
 * those that come at the same time share: not on a thread that must not block.
 */
#ifndef GARNER_NODE_HINTS_H
#define GARNER_NODE_HINTS_H

#include "base/error.h"
#include "store/object_version.h"

#include <stddef.h>

#define HINTS_MAX 1000000u
#define HINTS_NODE_MAX 65535u /* highest id of a node */

struct hints;

struct hint {
	char name[OBJECT_NAME_MAX + 1];
	struct object_version version;
};

/* Opens DIR/hints.db or makes it. One that is damaged is moved to hints.db.damaged and begun anew, and *lost is then true: every node
 * needs a full comparison (hint_full() says so for all, until hint_full_done()). `max`: 0 is HINTS_MAX. Returns 0; -EIO, ... */
int hints_open(const char *dir, unsigned max, struct hints **hints, bool *lost, struct error *err);
/* NULL is ignored. */
void hints_close(struct hints *h);

/* Adds it, or raises the version of the one that is there; durable when it returns 0. -EINVAL: node or name; -EIO: it is not kept,
 * and the node is marked (in memory at least) as needing a full comparison. */
int hint_add(struct hints *h, unsigned node, const char *name, struct object_version version);

/* Up to `max` hints of the node, in order of names after `after` (NULL: from the first), into `batch`. Returns how many, or -errno. */
int hint_next(struct hints *h, unsigned node, const char *after, struct hint *batch, size_t max);

/* The node has this version, or a newer one: drops its hint unless that is for a newer version still. */
int hint_done(struct hints *h, unsigned node, const char *name, struct object_version version);
/* The node is gone for good: drops all of its hints, and its mark. */
int hint_forget(struct hints *h, unsigned node);

/* How many hints there are for the node; for all (node 0). Never blocks. */
uint64_t hint_count(struct hints *h, unsigned node);

/* Whether hints for the node were dropped, so that only a full comparison tells what it missed. *mark (NULL: not wanted) stands for what
 * was dropped up to now. Never blocks. */
bool hint_full(struct hints *h, unsigned node, uint64_t *mark);
/* A full comparison was made that began after hint_full() gave this mark. Durable. -EAGAIN when more was dropped since. */
int hint_full_done(struct hints *h, unsigned node, uint64_t mark);

#endif
