/* SPDX-License-Identifier: GPL-3.0-only */
/* verify_chunk.h: checks a chunk that was in the cache before a restart against the checksums of its segment's index. */
#ifndef GARNER_CACHE_VERIFY_CHUNK_H
#define GARNER_CACHE_VERIFY_CHUNK_H

#include "log/segment.h"

/* Checks an unverified chunk of a pinned segment. Returns 1: it is (now) present; 0: it was damaged, and is marked absent, since the
 * store has it, or was evicted meanwhile; -EIO: damaged, and the store does not have it. Reports damage. Blocks on the local disk. Any thread. */
int verify_chunk(struct segment *s, uint32_t chunk);

#endif
