/* SPDX-License-Identifier: GPL-3.0-only */
/* swift_listing.h: reads a page of a Swift container's listing, in JSON.
 *
 * Bodies come from the network, so that everything is bounded: the body's length, the depth, the number of values
 * (before any memory is taken for them), the length of each name and the number of entries. Pure; knows nothing of
 * requests.
 */
#ifndef GARNER_STORE_SWIFT_LISTING_H
#define GARNER_STORE_SWIFT_LISTING_H

#include "base/error.h"
#include "store/listed.h"

#include <stddef.h>

#define SWIFT_BODY_MAX (8 << 20) /* bytes of an answer: a page with the longest of names, escaped */

struct swift_listing {
	struct listed_objects objects;
	size_t entries; /* objects, and what was passed over: as many as were asked for means that there may be more */
};

/* Reads a page: an array of objects with name, bytes, hash (the ETag) and last_modified; "subdir" entries are passed
 * over. The version is of hash and last_modified together, so that it changes too when an object is replaced by its
 * equal; it is 0 when there is no hash. Returns 0 with `*listing`, to be given to swift_listing_destroy(); -EBADMSG
 * when `body` is no listing, or not within the bounds (`err` says why); -ENOMEM. `*listing` is empty after a
 * failure. */
int swift_listing_parse(const void *body, size_t len, struct swift_listing *listing, struct error *err);
void swift_listing_destroy(struct swift_listing *listing);

#endif
