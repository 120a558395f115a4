/* SPDX-License-Identifier: GPL-3.0-only */
/* crc32c.c: CRC-32C by the processor's instruction, or by tables.
 *
 * The instruction takes three cycles but can be started every cycle, so long buffers are cut in three streams whose sums
 * are joined: the sum of a stream followed by n bytes is its sum "moved" over n zero bytes, xor the sum of those bytes.
 * Moving is linear, hence four table lookups. All tables are made before main().
 */
#include "base/crc32c.h"

#include "base/bytes.h"

#define POLYNOMIAL 0x82f63b78u /* bit 31 is x^0 */

/* Three streams make 4080 bytes, so that a grain of 4 KiB is nearly all done by the fast loop. */
#define STREAM_BYTES 1360

typedef uint32_t crc_fn(uint32_t crc, const void *buf, size_t len);

static uint32_t byte_table[8][256];   /* [k][b]: the sum of byte b followed by k zero bytes */
static uint32_t stream_table[4][256]; /* [k][b]: b << 8k, moved over STREAM_BYTES zero bytes */
static crc_fn *best = crc32c_portable;

/* a * b modulo the polynomial. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
	uint32_t product = 0;

	for (uint32_t bit = 0x80000000u; bit; bit >>= 1) {
		if (a & bit)
			product ^= b;
		b = b & 1 ? b >> 1 ^ POLYNOMIAL : b >> 1;
	}
	return product;
}

/* x^(8 * bytes) modulo the polynomial: multiplying by it moves a sum over that many zero bytes. */
static uint32_t mover(uint64_t bytes)
{
	uint32_t result = 0x80000000u, square = 0x80000000u >> 8;

	for (; bytes; bytes >>= 1) {
		if (bytes & 1)
			result = multiply(result, square);
		square = multiply(square, square);
	}
	return result;
}

uint32_t crc32c_portable(uint32_t crc, const void *buf, size_t len)
{
	const uint8_t *p = buf;

	crc = ~crc;
	for (; len >= 8; len -= 8, p += 8) {
		uint32_t low = crc ^ get_le32(p), high = get_le32(p + 4);
		crc = byte_table[7][low & 0xff] ^ byte_table[6][low >> 8 & 0xff] ^ byte_table[5][low >> 16 & 0xff] ^
		      byte_table[4][low >> 24] ^ byte_table[3][high & 0xff] ^ byte_table[2][high >> 8 & 0xff] ^
		      byte_table[1][high >> 16 & 0xff] ^ byte_table[0][high >> 24];
	}
	for (; len > 0; len--, p++)
		crc = crc >> 8 ^ byte_table[0][(crc ^ *p) & 0xff];
	return ~crc;
}

#if defined(__x86_64__)

static uint64_t move_over_stream(uint64_t crc)
{
	return stream_table[0][crc & 0xff] ^ stream_table[1][crc >> 8 & 0xff] ^ stream_table[2][crc >> 16 & 0xff] ^
	       stream_table[3][crc >> 24 & 0xff];
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t start, const void *buf, size_t len)
{
	const uint8_t *p = buf;
	uint64_t crc = ~start;

	for (; len >= 3 * STREAM_BYTES; len -= 3 * STREAM_BYTES, p += 3 * STREAM_BYTES) {
		uint64_t second = 0, third = 0;
		for (size_t i = 0; i < STREAM_BYTES; i += 8) {
			crc = __builtin_ia32_crc32di(crc, get_le64(p + i));
			second = __builtin_ia32_crc32di(second, get_le64(p + STREAM_BYTES + i));
			third = __builtin_ia32_crc32di(third, get_le64(p + 2 * STREAM_BYTES + i));
		}
		crc = move_over_stream(crc) ^ second;
		crc = move_over_stream(crc) ^ third;
	}
	for (; len >= 8; len -= 8, p += 8)
		crc = __builtin_ia32_crc32di(crc, get_le64(p));
	for (; len > 0; len--, p++)
		crc = __builtin_ia32_crc32qi((uint32_t)crc, *p);
	return ~(uint32_t)crc;
}

static crc_fn *choose(void)
{
	__builtin_cpu_init();
	return __builtin_cpu_supports("sse4.2") ? crc32c_sse42 : crc32c_portable;
}

#else

static crc_fn *choose(void)
{
	return crc32c_portable;
}

#endif

__attribute__((constructor)) static void make_tables(void)
{
	uint32_t over_stream = mover(STREAM_BYTES);

	for (uint32_t b = 0; b < 256; b++) {
		for (unsigned k = 0; k < 8; k++)
			byte_table[k][b] = multiply(b, mover(k + 1));
		for (unsigned k = 0; k < 4; k++)
			stream_table[k][b] = multiply(b << 8 * k, over_stream);
	}
	best = choose();
}

uint32_t crc32c(uint32_t crc, const void *buf, size_t len)
{
	return best(crc, buf, len);
}
