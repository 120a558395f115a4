/* SPDX-License-Identifier: GPL-3.0-only */
/* blake2bp.c: BLAKE2bp as its authors describe it (https://www.blake2.net/blake2.pdf, section 2.10; RFC 7693 has BLAKE2b).
 *
 * Block k of 128 bytes belongs to lane k mod 4. While every lane has more to come a stripe of four blocks is compressed at once, a
 * vector holding the same word of the four lanes. The compiler makes the vectors: of one source, for each kind of processor.
 * The end of the input, where lanes end at different blocks, is compressed lane by lane.
 */
#include "base/blake2bp.h"

#include "base/bytes.h"

#include <string.h>

#define BLOCK 128u
#define WORDS 16
#define ROUNDS 12

static const uint64_t iv[8] = {
	0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
	0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};

/* Which word of the message comes where, in each round. The last two rounds are like the first two. */
#define SIGMA(round)                                                                                           \
	round(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,                                                            \
	      12, 13, 14, 15) round(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7,                            \
	                            5, 3) round(11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9,             \
	                                        4) round(7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8) \
		round(9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3,                                        \
	              13) round(2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1,                             \
	                        9) round(12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11)                 \
			round(13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10)                            \
				round(6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5)                    \
					round(10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0)            \
						round(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)    \
							round(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3)

/* One round for words or for vectors of words: v[] is the state, m[] the message. */
#define MIX(a, b, c, d, x, y)          \
	v[a] += v[b] + m[x];           \
	v[d] = ROTATE_32(v[d] ^ v[a]); \
	v[c] += v[d];                  \
	v[b] = ROTATE_24(v[b] ^ v[c]); \
	v[a] += v[b] + m[y];           \
	v[d] = ROTATE_16(v[d] ^ v[a]); \
	v[c] += v[d];                  \
	v[b] = ROTATE_63(v[b] ^ v[c]);

#define ROUND(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15) \
	MIX(0, 4, 8, 12, s0, s1)                                                    \
	MIX(1, 5, 9, 13, s2, s3)                                                    \
	MIX(2, 6, 10, 14, s4, s5)                                                   \
	MIX(3, 7, 11, 15, s6, s7)                                                   \
	MIX(0, 5, 10, 15, s8, s9)                                                   \
	MIX(1, 6, 11, 12, s10, s11)                                                 \
	MIX(2, 7, 8, 13, s12, s13)                                                  \
	MIX(3, 4, 9, 14, s14, s15)

/* ---- one lane ---- */

static uint64_t rotate(uint64_t x, unsigned n)
{
	return x >> n | x << (64 - n);
}

#define ROTATE_32(x) rotate(x, 32)
#define ROTATE_24(x) rotate(x, 24)
#define ROTATE_16(x) rotate(x, 16)
#define ROTATE_63(x) rotate(x, 63)

/* `count`: bytes of the lane up to the end of this block. */
static void compress(uint64_t h[8], const uint8_t block[BLOCK], uint64_t count, bool last_block, bool last_node)
{
	uint64_t v[WORDS], m[WORDS];

	for (int i = 0; i < WORDS; i++)
		m[i] = get_le64(block + 8 * i);
	memcpy(v, h, 8 * sizeof *v);
	memcpy(v + 8, iv, 8 * sizeof *v);
	v[12] ^= count;
	v[14] ^= last_block ? UINT64_MAX : 0;
	v[15] ^= last_block && last_node ? UINT64_MAX : 0;
	SIGMA(ROUND)
	for (int i = 0; i < 8; i++)
		h[i] ^= v[i] ^ v[i + 8];
}

#undef ROTATE_32
#undef ROTATE_24
#undef ROTATE_16
#undef ROTATE_63

/* ---- four lanes at once ---- */

typedef uint64_t vector __attribute__((vector_size(32)));
typedef uint32_t vector_32 __attribute__((vector_size(32)));
typedef uint8_t vector_8 __attribute__((vector_size(32)));

/* By whole bytes: the bytes of each word change places. */
#define BYTES(x, a, b, c, d, e, f, g, h)                                                                            \
	((vector)__builtin_shufflevector((vector_8)(x), (vector_8)(x), a, b, c, d, e, f, g, h, 8 + a, 8 + b, 8 + c, \
	                                 8 + d, 8 + e, 8 + f, 8 + g, 8 + h, 16 + a, 16 + b, 16 + c, 16 + d, 16 + e, \
	                                 16 + f, 16 + g, 16 + h, 24 + a, 24 + b, 24 + c, 24 + d, 24 + e, 24 + f,    \
	                                 24 + g, 24 + h))
#define SHUFFLE_32(x) ((vector)__builtin_shufflevector((vector_32)(x), (vector_32)(x), 1, 0, 3, 2, 5, 4, 7, 6))
#define SHUFFLE_24(x) BYTES(x, 3, 4, 5, 6, 7, 0, 1, 2)
#define SHUFFLE_16(x) BYTES(x, 2, 3, 4, 5, 6, 7, 0, 1)
#define SHIFT(x, n) ((x) >> (n) | (x) << (64 - (n)))

/* Words 4k to 4k + 3 of the four blocks of a stripe, each a vector of the four lanes. */
#define TRANSPOSE(k)                                                                  \
	do {                                                                          \
		vector r0, r1, r2, r3;                                                \
		memcpy(&r0, stripe + 32 * (k), sizeof r0);                            \
		memcpy(&r1, stripe + 32 * (k) + BLOCK, sizeof r1);                    \
		memcpy(&r2, stripe + 32 * (k) + 2 * BLOCK, sizeof r2);                \
		memcpy(&r3, stripe + 32 * (k) + 3 * BLOCK, sizeof r3);                \
		vector low01 = __builtin_shufflevector(r0, r1, 0, 4, 2, 6);           \
		vector high01 = __builtin_shufflevector(r0, r1, 1, 5, 3, 7);          \
		vector low23 = __builtin_shufflevector(r2, r3, 0, 4, 2, 6);           \
		vector high23 = __builtin_shufflevector(r2, r3, 1, 5, 3, 7);          \
		m[4 * (k)] = __builtin_shufflevector(low01, low23, 0, 1, 4, 5);       \
		m[4 * (k) + 1] = __builtin_shufflevector(high01, high23, 0, 1, 4, 5); \
		m[4 * (k) + 2] = __builtin_shufflevector(low01, low23, 2, 3, 6, 7);   \
		m[4 * (k) + 3] = __builtin_shufflevector(high01, high23, 2, 3, 6, 7); \
	} while (0)

/* Loops of these stay loops when optimising a little, and then nothing is in registers. */
#define START(i) (v[i] = h[i], v[(i) + 8] = (vector){ iv[i], iv[i], iv[i], iv[i] })
#define END(i) (h[i] ^= v[i] ^ v[(i) + 8])

#define COMPRESS_STRIPES                                     \
	vector h[8];                                         \
                                                             \
	memcpy(h, state, sizeof h);                          \
	for (; count; count--, stripe += BLAKE2BP_STRIPE) {  \
		vector v[WORDS], m[WORDS];                   \
		done += BLOCK;                               \
		TRANSPOSE(0);                                \
		TRANSPOSE(1);                                \
		TRANSPOSE(2);                                \
		TRANSPOSE(3);                                \
		START(0);                                    \
		START(1);                                    \
		START(2);                                    \
		START(3);                                    \
		START(4);                                    \
		START(5);                                    \
		START(6);                                    \
		START(7);                                    \
		v[12] ^= (vector){ done, done, done, done }; \
		SIGMA(ROUND)                                 \
		END(0);                                      \
		END(1);                                      \
		END(2);                                      \
		END(3);                                      \
		END(4);                                      \
		END(5);                                      \
		END(6);                                      \
		END(7);                                      \
	}                                                    \
	memcpy(state, h, sizeof h);

/* `count` stripes, none of which is the last one of any lane; `done`: bytes of each lane before them. */
typedef void stripes_fn(uint64_t state[8][BLAKE2BP_LANES], const uint8_t *stripe, size_t count, uint64_t done);

#define WAYS_MAX 3

static void lane_by_lane(uint64_t state[8][BLAKE2BP_LANES], const uint8_t *stripe, size_t count, uint64_t done)
{
	for (int lane = 0; lane < BLAKE2BP_LANES; lane++) {
		uint64_t h[8];

		for (int i = 0; i < 8; i++)
			h[i] = state[i][lane];
		for (size_t k = 0; k < count; k++)
			compress(h, stripe + k * BLAKE2BP_STRIPE + (size_t)lane * BLOCK, done + (k + 1) * BLOCK, false,
			         false);
		for (int i = 0; i < 8; i++)
			state[i][lane] = h[i];
	}
}

#if defined(__x86_64__)

#define ROTATE_32(x) SHUFFLE_32(x)
#define ROTATE_24(x) SHUFFLE_24(x)
#define ROTATE_16(x) SHUFFLE_16(x)
#define ROTATE_63(x) SHIFT(x, 63)

__attribute__((target("avx2"))) static void stripes_avx2(uint64_t state[8][BLAKE2BP_LANES], const uint8_t *stripe,
                                                         size_t count, uint64_t done)
{
	COMPRESS_STRIPES
}

#undef ROTATE_32
#undef ROTATE_24
#undef ROTATE_16
#define ROTATE_32(x) SHIFT(x, 32)
#define ROTATE_24(x) SHIFT(x, 24)
#define ROTATE_16(x) SHIFT(x, 16)

/* With twice as many registers, and an instruction for each rotation. */
__attribute__((target("avx512vl,avx512bw"))) static void
stripes_avx512(uint64_t state[8][BLAKE2BP_LANES], const uint8_t *stripe, size_t count, uint64_t done)
{
	COMPRESS_STRIPES
}

/* The ways of this processor, the best first. */
static unsigned find_ways(stripes_fn *ways[WAYS_MAX])
{
	unsigned count = 0;

	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
		ways[count++] = stripes_avx512;
	if (__builtin_cpu_supports("avx2"))
		ways[count++] = stripes_avx2;
	ways[count++] = lane_by_lane;
	return count;
}

#elif defined(__aarch64__)

#define ROTATE_32(x) SHUFFLE_32(x)
#define ROTATE_24(x) SHUFFLE_24(x)
#define ROTATE_16(x) SHUFFLE_16(x)
#define ROTATE_63(x) SHIFT(x, 63)

static void stripes_neon(uint64_t state[8][BLAKE2BP_LANES], const uint8_t *stripe, size_t count, uint64_t done)
{
	COMPRESS_STRIPES
}

static unsigned find_ways(stripes_fn *ways[WAYS_MAX])
{
	ways[0] = stripes_neon;
	ways[1] = lane_by_lane;
	return 2;
}

#else

static unsigned find_ways(stripes_fn *ways[WAYS_MAX])
{
	ways[0] = lane_by_lane;
	return 1;
}

#endif

static stripes_fn *best;

bool blake2bp_use(unsigned way)
{
	stripes_fn *ways[WAYS_MAX];

	if (way >= find_ways(ways))
		return false;
	best = ways[way];
	return true;
}

__attribute__((constructor)) static void use_best(void)
{
	(void)blake2bp_use(0);
}

/* ---- the tree ---- */

/* Of the parameter block: digests of 64 bytes within the tree too, fan-out 4, depth 2. */
static void init_node(uint64_t h[8], uint64_t offset, unsigned depth)
{
	memcpy(h, iv, sizeof iv);
	h[0] ^= BLAKE2BP_BYTES | BLAKE2BP_LANES << 16 | 2u << 24;
	h[1] ^= offset;
	h[2] ^= depth | BLAKE2BP_BYTES << 8;
}

void blake2bp_init(struct blake2bp *b)
{
	for (unsigned lane = 0; lane < BLAKE2BP_LANES; lane++) {
		uint64_t h[8];

		init_node(h, lane, 0);
		for (int i = 0; i < 8; i++)
			b->h[i][lane] = h[i];
	}
	b->stripes = 0;
	b->held = 0;
}

static void hash_stripes(struct blake2bp *b, const uint8_t *bytes, size_t count)
{
	best(b->h, bytes, count, b->stripes * BLOCK);
	b->stripes += count;
}

/* A stripe is hashed once a whole one follows: then no lane ends in it. */
void blake2bp_update(struct blake2bp *b, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	while (b->held && b->held + len >= 2 * BLAKE2BP_STRIPE) {
		size_t n = b->held < BLAKE2BP_STRIPE ? BLAKE2BP_STRIPE - b->held : 0;

		memcpy(b->buffer + b->held, at, n);
		at += n;
		len -= n;
		b->held += n - BLAKE2BP_STRIPE;
		hash_stripes(b, b->buffer, 1);
		memcpy(b->buffer, b->buffer + BLAKE2BP_STRIPE, b->held);
	}
	if (!b->held && len >= 2 * BLAKE2BP_STRIPE) {
		size_t count = len / BLAKE2BP_STRIPE - 1;

		hash_stripes(b, at, count);
		at += count * BLAKE2BP_STRIPE;
		len -= count * BLAKE2BP_STRIPE;
	}
	if (len)
		memcpy(b->buffer + b->held, at, len);
	b->held += len;
}

/* The end of a lane: none, one or two blocks. */
static void end_lane(const struct blake2bp *b, unsigned lane, uint64_t h[8])
{
	uint64_t done = b->stripes * BLOCK;
	bool last_node = lane == BLAKE2BP_LANES - 1;

	for (int i = 0; i < 8; i++)
		h[i] = b->h[i][lane];
	for (size_t at = (size_t)lane * BLOCK;; at += BLAKE2BP_STRIPE) {
		uint8_t block[BLOCK] = { 0 };
		size_t left = b->held > at ? b->held - at : 0, n = left < BLOCK ? left : BLOCK;
		bool last = left <= BLAKE2BP_STRIPE;

		memcpy(block, b->buffer + at, n);
		done += n;
		compress(h, block, done, last, last_node);
		if (last)
			return;
	}
}

void blake2bp_final(struct blake2bp *b, uint8_t *digest, size_t len)
{
	uint8_t lanes[BLAKE2BP_LANES * BLAKE2BP_BYTES];
	uint8_t whole[BLAKE2BP_BYTES];
	uint64_t h[8];

	for (unsigned lane = 0; lane < BLAKE2BP_LANES; lane++) {
		end_lane(b, lane, h);
		for (int i = 0; i < 8; i++)
			put_le64(lanes + lane * BLAKE2BP_BYTES + 8 * i, h[i]);
	}
	init_node(h, 0, 1);
	compress(h, lanes, BLOCK, false, true);
	compress(h, lanes + BLOCK, sizeof lanes, true, true);
	for (int i = 0; i < 8; i++)
		put_le64(whole + 8 * i, h[i]);
	memcpy(digest, whole, len);
}

void blake2bp(const void *bytes, size_t len, uint8_t *digest, size_t digest_len)
{
	struct blake2bp b;

	blake2bp_init(&b);
	blake2bp_update(&b, bytes, len);
	blake2bp_final(&b, digest, digest_len);
}
