/* SPDX-License-Identifier: GPL-3.0-only */
/* pool_claim.h: making an object of which one host only may take itself for the maker. Private to src/image.
 *
 * Where create-only puts are atomic (STORE_CREATE_ONLY) one such put decides. Where they are not, but reading shows what was
 * answered (STORE_READ_LATEST), the host looks that there is no object, puts its own, waits for D, and looks whose it is: only
 * who finds its own bytes believes. Look and put together take at most D by its monotonic clock, and the put is sent once;
 * else the host does not believe, whatever it would find. Then no two hosts believe:
 *
 *   A's put is answered at a, B's at b, not before a. B did not see A's object, so it looked before a, and since it believes,
 *   b <= a + D. A looks at a + D or later, B after b: both when both puts have been answered. From then on which of the two
 *   the store keeps does not change, as neither is carried out again; and one object has the bytes of one host.
 *
 * A put that the store carries out later than that, of a host that gave up or does not believe, may still replace the object.
 * Nobody believes in it; but what the object says about its maker may then be wrong. So whoever believes must remember it, or
 * write it down where nobody else writes: that the object exists stays true, and who made it may never be read from it.
 *
 * Where a store has neither (pool_may_write()), one host is taken to be alone.
 */
#ifndef GARNER_IMAGE_POOL_CLAIM_H
#define GARNER_IMAGE_POOL_CLAIM_H

#include "image/pool.h"

/* D. A claim takes a little more where create-only puts are not atomic. */
#define CLAIM_MS 1500u

/* Puts an object if there is none, as well as the store can: where it knows no conditions by looking first, which keeps out what
 * was there before. -EEXIST. Blocks on the store. */
int pool_put_new(struct store *s, const char *store_key, const void *bytes, size_t len, struct error *err);

/* Makes an object (fields, kind and key as of pool_put_object()) that must differ from every other host's. 0: it is there, and of
 * all hosts this one made it. -EEXIST: another's is there. -ETIMEDOUT, -EAGAIN (with a text): that cannot be told; it may be there,
 * and nobody may take itself for its maker on that account. Other errors are the store's, and leave open as much. Blocks. */
int pool_claim(struct pool *p, const char *store_key, enum object_kind kind, const struct seal_key *key,
               const struct fields *f, struct error *err);

#endif
