/* SPDX-License-Identifier: GPL-3.0-only */
/* seal.h: compress and seal one piece of bytes ("box"), and open it again.
 *
 * With a key: XChaCha20-Poly1305 with a random nonce per box. Without (a plain pool): XXH3-128 of the same bytes and
 * associated data, so that damage and misplacement are found all the same, at the speed of memory; forgery, which no digest
 * without a key can find, is not. The associated data says where the
 * box belongs (image, segment, chunk), so that a box moved elsewhere does not open. Compression is zstd, kept only where
 * it saves at least an eighth of the length; a box says which it is. Pure functions; any thread.
 */
#ifndef GARNER_SEAL_SEAL_H
#define GARNER_SEAL_SEAL_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEAL_KEY_BYTES 32
#define SEAL_NONCE_BYTES 24
#define SEAL_TAG_BYTES 16

/* A key, or the absence of one. Wipe with sodium_memzero when done. */
struct seal_key {
	bool plain;
	uint8_t bytes[SEAL_KEY_BYTES];
};

enum seal_method { SEAL_STORED = 0, SEAL_ZSTD = 1 };

/* What must be kept beside a box's bytes to open it. */
struct seal_box {
	uint32_t stored_length;
	uint32_t plain_length;
	uint8_t method;
	uint8_t nonce[SEAL_NONCE_BYTES]; /* zeros in a plain pool */
	uint8_t tag[SEAL_TAG_BYTES];
};

/* A box's description as bytes: stored length 4, plain length 4, method 1, zeros 3, nonce 24, tag 16. */
#define SEAL_BOX_BYTES 52
void seal_box_encode(const struct seal_box *box, uint8_t out[SEAL_BOX_BYTES]);
/* -EBADMSG when the method is unknown, a reserved byte is set, or a length is over `max` (plain or stored). */
int seal_box_decode(const uint8_t in[SEAL_BOX_BYTES], uint32_t max, struct seal_box *box);

/* The most bytes that seal() writes for `len` plain ones. (It never grows the bytes: equal to len.) */
static inline size_t seal_bound(size_t len)
{
	return len;
}

/* A compression context, reused by one thread for many boxes. NULL when memory is short. */
struct sealer;
struct sealer *sealer_new(int level); /* zstd level; 0: the default of this project (1) */
void sealer_free(struct sealer *s);

/* Seals `len` bytes of `plain` (len at most 64 MiB, not 0) into `out` (room for seal_bound(len), may not overlap) and
 * fills `box`. Returns 0, or -ENOMEM. */
int seal(struct sealer *s, const struct seal_key *key, const void *ad, size_t ad_len, const void *plain, size_t len,
         uint8_t *out, struct seal_box *box);

/* Opens `box`, whose stored bytes are at `stored` (box->stored_length of them), into `plain` (room for
 * box->plain_length). Returns 0, or -EBADMSG when the tag is wrong, the bytes do not decompress, or to another length:
 * nothing of `plain` may be used then. -ENOMEM. */
int seal_open(const struct seal_key *key, const void *ad, size_t ad_len, const uint8_t *stored,
              const struct seal_box *box, void *plain);

#define DIGEST_BYTES 32
/* BLAKE2b-256 of `a` followed by `b` (either may be empty). */
void digest_of(const void *a, size_t a_len, const void *b, size_t b_len, uint8_t out[DIGEST_BYTES]);

#endif
