/* SPDX-License-Identifier: GPL-3.0-only */
/* fuzz_seal_box.c: a box whose description and stored bytes come from outside; in a plain pool also with a tag made right,
 * as a malicious store could, so that the decompressor sees the bytes; and sealing what came, both kinds of pool.
 */
#include "base/bytes.h"
#include "seal/seal.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define LENGTH_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct seal_key plain_key = { .plain = true };
static const struct seal_key secret_key = { .bytes = { 1 } };
static const uint8_t ad[] = "image 1 segment 2 chunk 3";

/* The tag as the format describes it, made without the code under test. */
static void make_tag(const uint8_t *stored, struct seal_box *box)
{
	uint8_t bound[8 + sizeof ad + 9];
	XXH128_canonical_t tag;

	put_le64(bound, sizeof ad);
	memcpy(bound + 8, ad, sizeof ad);
	bound[8 + sizeof ad] = box->method;
	put_le32(bound + 9 + sizeof ad, box->plain_length);
	put_le32(bound + 13 + sizeof ad, box->stored_length);
	XXH128_canonicalFromHash(&tag,
	                         XXH3_128bits_withSeed(stored, box->stored_length, XXH3_64bits(bound, sizeof bound)));
	memcpy(box->tag, tag.digest, sizeof box->tag);
	memset(box->nonce, 0, sizeof box->nonce);
}

/* Buffers of exactly the lengths that the box claims, so that a sanitizer sees one byte too many. */
static int open_box(const struct seal_key *key, const uint8_t *stored, const struct seal_box *box)
{
	uint8_t *plain = malloc(box->plain_length ? box->plain_length : 1);
	int rc;

	if (!plain)
		abort();
	rc = seal_open(key, ad, sizeof ad, stored, box, plain);
	free(plain);
	return rc;
}

static void open_foreign(const uint8_t *data, size_t size)
{
	struct seal_box box;
	uint8_t *stored;

	if (size < SEAL_BOX_BYTES || seal_box_decode(data, LENGTH_MAX, &box) < 0)
		return;
	data += SEAL_BOX_BYTES;
	size -= SEAL_BOX_BYTES;
	if (box.stored_length > size)
		box.stored_length = (uint32_t)size;
	stored = malloc(box.stored_length ? box.stored_length : 1);
	if (!stored)
		abort();
	memcpy(stored, data, box.stored_length);
	open_box(&plain_key, stored, &box);
	if (open_box(&secret_key, stored, &box) == 0)
		abort(); /* nobody guesses a tag */
	make_tag(stored, &box);
	open_box(&plain_key, stored, &box);
	free(stored);
}

static void seal_and_open(const uint8_t *data, size_t size)
{
	struct sealer *s = sealer_new(0);
	uint8_t *stored = malloc(seal_bound(size)), *back = malloc(size);
	struct seal_box box;

	if (!s || !stored || !back)
		abort();
	for (int keyed = 0; keyed < 2; keyed++) {
		const struct seal_key *key = keyed ? &secret_key : &plain_key;

		if (seal(s, key, ad, sizeof ad, data, size, stored, &box) < 0 ||
		    seal_open(key, ad, sizeof ad, stored, &box, back) < 0 || memcmp(data, back, size) != 0)
			abort();
	}
	free(back);
	free(stored);
	sealer_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	open_foreign(data, size);
	if (size > 0)
		seal_and_open(data, size);
	return 0;
}
