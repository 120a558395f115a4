/* SPDX-License-Identifier: GPL-3.0-only */
/* seal.c: boxes: zstd, then an AEAD or a checksum over the stored bytes.
 *
 * What the tag covers, in both kinds of pool, is
 *
 *     ad length u64 LE, ad, method u8, plain length u32 LE, stored length u32 LE, stored bytes
 *
 * (with a key, all but the stored bytes is the AEAD's associated data), so that nothing a box says about itself can be
 * changed. The tag is checked before the bytes reach the decompressor. Must never know what the bytes mean.
 */
#include "seal/seal.h"

#include "base/bytes.h"
#include "seal/crypto_init.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>
#include <zstd_errors.h>

#define SEAL_LENGTH_MAX ((size_t)64 << 20)
#define SEAL_LEVEL_DEFAULT 1
#define AD_FIXED (8 + 1 + 4 + 4)
#define AD_ON_STACK 256
/* A thread keeps a scratch buffer up to this size; larger ones are given back after each box. */
#define SCRATCH_KEPT_MAX ((size_t)1 << 20)

static_assert(SEAL_KEY_BYTES == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "key size");
static_assert(SEAL_NONCE_BYTES == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "nonce size");
static_assert(SEAL_TAG_BYTES == crypto_aead_xchacha20poly1305_ietf_ABYTES, "tag size");
static_assert(SEAL_TAG_BYTES == sizeof(XXH128_canonical_t), "checksum size");
static_assert(SEAL_BOX_BYTES == 4 + 4 + 1 + 3 + SEAL_NONCE_BYTES + SEAL_TAG_BYTES, "box size");

struct sealer {
	ZSTD_CCtx *zstd;
	int level;
};

/* What one thread keeps between boxes that it opens. */
struct opener {
	ZSTD_DCtx *zstd;
	uint8_t *scratch; /* decrypted bytes that are still compressed */
	size_t scratch_size;
};

/* What is authenticated beside the stored bytes. */
struct bound_ad {
	uint8_t *bytes;
	size_t length;
	uint8_t on_stack[AD_ON_STACK];
};

static pthread_key_t opener_key;
static bool opener_key_made;

static void scratch_free(struct opener *o)
{
	if (o->scratch)
		sodium_memzero(o->scratch, o->scratch_size);
	free(o->scratch);
	o->scratch = NULL;
	o->scratch_size = 0;
}

static void opener_free(void *arg)
{
	struct opener *o = arg;

	scratch_free(o);
	ZSTD_freeDCtx(o->zstd);
	free(o);
}

static void init_once(void)
{
	if (sodium_init() < 0) {
		fputs("garner: libsodium cannot be initialised\n", stderr);
		abort();
	}
	opener_key_made = pthread_key_create(&opener_key, opener_free) == 0;
}

void crypto_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	if (pthread_once(&once, init_once) != 0)
		abort();
}

/* This thread's opener, made on first use; NULL when memory is short. */
static struct opener *opener_get(void)
{
	struct opener *o;

	if (!opener_key_made)
		return NULL;
	o = pthread_getspecific(opener_key);
	if (o)
		return o;
	o = calloc(1, sizeof *o);
	if (!o)
		return NULL;
	o->zstd = ZSTD_createDCtx();
	if (!o->zstd || pthread_setspecific(opener_key, o) != 0) {
		opener_free(o);
		return NULL;
	}
	return o;
}

static uint8_t *opener_scratch(struct opener *o, size_t len)
{
	if (o->scratch_size < len) {
		scratch_free(o);
		o->scratch = malloc(len);
		if (!o->scratch)
			return NULL;
		o->scratch_size = len;
	}
	return o->scratch;
}

static int bound_ad_make(struct bound_ad *b, const void *ad, size_t ad_len, const struct seal_box *box)
{
	uint8_t *p;

	if (__builtin_add_overflow(ad_len, (size_t)AD_FIXED, &b->length))
		return -ENOMEM;
	b->bytes = b->length <= sizeof b->on_stack ? b->on_stack : malloc(b->length);
	if (!b->bytes)
		return -ENOMEM;
	p = b->bytes;
	put_le64(p, ad_len);
	p += 8;
	if (ad_len)
		memcpy(p, ad, ad_len);
	p += ad_len;
	*p++ = box->method;
	put_le32(p, box->plain_length);
	put_le32(p + 4, box->stored_length);
	return 0;
}

static void bound_ad_free(struct bound_ad *b)
{
	if (b->bytes != b->on_stack)
		free(b->bytes);
}

static void plain_tag(const struct bound_ad *b, const uint8_t *stored, size_t len, uint8_t tag[SEAL_TAG_BYTES])
{
	XXH128_canonical_t canonical;

	XXH128_canonicalFromHash(&canonical, XXH3_128bits_withSeed(stored, len, XXH3_64bits(b->bytes, b->length)));
	memcpy(tag, canonical.digest, SEAL_TAG_BYTES);
}

void seal_box_encode(const struct seal_box *box, uint8_t out[SEAL_BOX_BYTES])
{
	put_le32(out, box->stored_length);
	put_le32(out + 4, box->plain_length);
	out[8] = box->method;
	memset(out + 9, 0, 3);
	memcpy(out + 12, box->nonce, SEAL_NONCE_BYTES);
	memcpy(out + 12 + SEAL_NONCE_BYTES, box->tag, SEAL_TAG_BYTES);
}

int seal_box_decode(const uint8_t in[SEAL_BOX_BYTES], uint32_t max, struct seal_box *box)
{
	uint32_t stored_length = get_le32(in), plain_length = get_le32(in + 4);

	if (stored_length > max || plain_length > max)
		return -EBADMSG;
	if ((in[8] != SEAL_STORED && in[8] != SEAL_ZSTD) || !is_zero(in + 9, 3))
		return -EBADMSG;
	box->stored_length = stored_length;
	box->plain_length = plain_length;
	box->method = in[8];
	memcpy(box->nonce, in + 12, SEAL_NONCE_BYTES);
	memcpy(box->tag, in + 12 + SEAL_NONCE_BYTES, SEAL_TAG_BYTES);
	return 0;
}

struct sealer *sealer_new(int level)
{
	struct sealer *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	crypto_init();
	s->level = level ? level : SEAL_LEVEL_DEFAULT;
	s->zstd = ZSTD_createCCtx();
	if (!s->zstd) {
		free(s);
		return NULL;
	}
	return s;
}

void sealer_free(struct sealer *s)
{
	if (!s)
		return;
	ZSTD_freeCCtx(s->zstd);
	free(s);
}

/* Compresses into `out` when that saves an eighth, and fills the method and lengths of `box`. A compressor that fails, for
 * want of memory too, costs space only: the bytes are then stored. */
static const uint8_t *pack(struct sealer *s, const void *plain, size_t len, uint8_t *out, struct seal_box *box)
{
	size_t worth = len - (len + 7) / 8;
	size_t packed = ZSTD_compressCCtx(s->zstd, out, worth, plain, len, s->level);

	box->plain_length = (uint32_t)len;
	if (ZSTD_isError(packed)) {
		box->method = SEAL_STORED;
		box->stored_length = (uint32_t)len;
		return plain;
	}
	box->method = SEAL_ZSTD;
	box->stored_length = (uint32_t)packed;
	return out;
}

int seal(struct sealer *s, const struct seal_key *key, const void *ad, size_t ad_len, const void *plain, size_t len,
         uint8_t *out, struct seal_box *box)
{
	struct bound_ad bound;
	const uint8_t *packed;
	int rc;

	assert(len > 0 && len <= SEAL_LENGTH_MAX);
	memset(box, 0, sizeof *box);
	packed = pack(s, plain, len, out, box);
	rc = bound_ad_make(&bound, ad, ad_len, box);
	if (rc < 0)
		return rc;
	if (key->plain) {
		if (packed != out)
			memcpy(out, packed, box->stored_length);
		plain_tag(&bound, out, box->stored_length, box->tag);
	} else {
		randombytes_buf(box->nonce, sizeof box->nonce);
		/* Encrypts in place when the bytes were compressed into `out`. */
		crypto_aead_xchacha20poly1305_ietf_encrypt_detached(out, box->tag, NULL, packed, box->stored_length,
		                                                    bound.bytes, bound.length, NULL, box->nonce,
		                                                    key->bytes);
	}
	bound_ad_free(&bound);
	return 0;
}

/* Whether lengths and method fit together as seal() makes them. */
static bool box_plausible(const struct seal_box *box)
{
	if (box->plain_length == 0 || box->plain_length > SEAL_LENGTH_MAX || box->stored_length == 0)
		return false;
	if (box->method == SEAL_STORED)
		return box->stored_length == box->plain_length;
	return box->method == SEAL_ZSTD && box->stored_length < box->plain_length;
}

static int decompress(struct opener *o, const uint8_t *packed, const struct seal_box *box, void *plain)
{
	size_t got = ZSTD_decompressDCtx(o->zstd, plain, box->plain_length, packed, box->stored_length);

	if (ZSTD_isError(got))
		return ZSTD_getErrorCode(got) == ZSTD_error_memory_allocation ? -ENOMEM : -EBADMSG;
	return got == box->plain_length ? 0 : -EBADMSG;
}

static int open_plain(const struct bound_ad *bound, const uint8_t *stored, const struct seal_box *box, void *plain)
{
	uint8_t tag[SEAL_TAG_BYTES];
	struct opener *o;

	plain_tag(bound, stored, box->stored_length, tag);
	/* The nonce is outside the digest; it is zeros here, so any other value is damage. */
	if (memcmp(tag, box->tag, sizeof tag) != 0 || !is_zero(box->nonce, sizeof box->nonce))
		return -EBADMSG;
	if (box->method == SEAL_STORED) {
		memcpy(plain, stored, box->plain_length);
		return 0;
	}
	o = opener_get();
	return o ? decompress(o, stored, box, plain) : -ENOMEM;
}

static int open_keyed(const struct seal_key *key, const struct bound_ad *bound, const uint8_t *stored,
                      const struct seal_box *box, void *plain)
{
	struct opener *o = NULL;
	uint8_t *to = plain;
	int rc;

	if (box->method == SEAL_ZSTD) {
		o = opener_get();
		to = o ? opener_scratch(o, box->stored_length) : NULL;
		if (!to)
			return -ENOMEM;
	}
	if (crypto_aead_xchacha20poly1305_ietf_decrypt_detached(to, NULL, stored, box->stored_length, box->tag,
	                                                        bound->bytes, bound->length, box->nonce,
	                                                        key->bytes) != 0)
		rc = -EBADMSG;
	else
		rc = o ? decompress(o, to, box, plain) : 0;
	if (o && o->scratch_size > SCRATCH_KEPT_MAX)
		scratch_free(o);
	return rc;
}

int seal_open(const struct seal_key *key, const void *ad, size_t ad_len, const uint8_t *stored,
              const struct seal_box *box, void *plain)
{
	struct bound_ad bound;
	int rc;

	crypto_init();
	if (!box_plausible(box))
		return -EBADMSG;
	rc = bound_ad_make(&bound, ad, ad_len, box);
	if (rc < 0)
		return rc;
	rc = key->plain ? open_plain(&bound, stored, box, plain) : open_keyed(key, &bound, stored, box, plain);
	bound_ad_free(&bound);
	return rc;
}

void digest_of(const void *a, size_t a_len, const void *b, size_t b_len, uint8_t out[DIGEST_BYTES])
{
	crypto_generichash_state state;

	crypto_init();
	crypto_generichash_init(&state, NULL, 0, DIGEST_BYTES);
	if (a_len)
		crypto_generichash_update(&state, a, a_len);
	if (b_len)
		crypto_generichash_update(&state, b, b_len);
	crypto_generichash_final(&state, out, DIGEST_BYTES);
}
