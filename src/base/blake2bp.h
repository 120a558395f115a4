/* SPDX-License-Identifier: GPL-3.0-only */
/* blake2bp.h: BLAKE2bp, unkeyed: the digest of the bodies of objects on storage nodes.
 *
 * BLAKE2bp is BLAKE2b over four parts of the input, each hashed on its own and the four results hashed together. It is as strong, and
 * where the processor works on four numbers at a time it takes a third of the time. An object is hashed by the gateway
 * and by each of its replicas, so that is most of what a put costs. libsodium has BLAKE2b alone.
 */
#ifndef GARNER_BASE_BLAKE2BP_H
#define GARNER_BASE_BLAKE2BP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLAKE2BP_BYTES 64
#define BLAKE2BP_LANES 4
#define BLAKE2BP_STRIPE 512u /* of the input: a block of 128 bytes for each lane */

struct blake2bp {
	uint64_t h[8][BLAKE2BP_LANES];
	uint64_t stripes; /* hashed */
	size_t held;
	uint8_t buffer[2 * BLAKE2BP_STRIPE];
};

/* One thread at a time for each hash; none of these fail or block. */
void blake2bp_init(struct blake2bp *b);
void blake2bp_update(struct blake2bp *b, const void *bytes, size_t len);
/* The first `len` bytes (1 to BLAKE2BP_BYTES) of the digest. The hash is used up. */
void blake2bp_final(struct blake2bp *b, uint8_t *digest, size_t len);

/* All three. */
void blake2bp(const void *bytes, size_t len, uint8_t *digest, size_t digest_len);

/* From here on in another way: 0 is the best that this processor has, the last one works on all. False when there are not so many.
 * Here for the tests; while nobody hashes. */
bool blake2bp_use(unsigned way);

#endif
