/* SPDX-License-Identifier: GPL-3.0-only */
/* test_seal.c: boxes open to what was sealed, where it was sealed, or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "seal/seal.h"

#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#define PIECE 65536

static const struct seal_key plain_key = { .plain = true };
static const struct seal_key secret_key = { .bytes = { 1, 2, 3, 4, 5 } };
static const struct seal_key other_key = { .bytes = { 1, 2, 3, 4, 6 } };

static uint64_t random_state;

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void fill_random(uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)next_random();
}

/* One sealed piece and what it was sealed from. */
struct piece {
	uint8_t *plain, *stored;
	size_t len;
	struct seal_box box;
};

static void piece_make(struct piece *p, const struct seal_key *key, size_t len, bool compressible, const char *ad)
{
	struct sealer *s = sealer_new(0);

	assert_non_null(s);
	p->len = len;
	p->plain = malloc(len);
	p->stored = malloc(seal_bound(len));
	assert_non_null(p->plain);
	assert_non_null(p->stored);
	if (compressible)
		memset(p->plain, 'a', len);
	else
		fill_random(p->plain, len);
	assert_int_equal(seal(s, key, ad, strlen(ad), p->plain, len, p->stored, &p->box), 0);
	sealer_free(s);
}

static void piece_free(struct piece *p)
{
	free(p->plain);
	free(p->stored);
}

/* Opens into a buffer of exactly the length the box claims, so that a sanitizer sees a write past it. */
static int piece_open(const struct piece *p, const struct seal_key *key, const char *ad)
{
	uint8_t *out = malloc(p->box.plain_length ? p->box.plain_length : 1);
	int rc;

	assert_non_null(out);
	rc = seal_open(key, ad, strlen(ad), p->stored, &p->box, out);
	if (rc == 0) {
		assert_int_equal(p->box.plain_length, p->len);
		assert_memory_equal(out, p->plain, p->len);
	}
	free(out);
	return rc;
}

static const struct seal_key *const both_keys[] = { &plain_key, &secret_key };

static void what_was_sealed_opens_again(void **state)
{
	static const size_t lengths[] = { 1, 7, 8, 9, 4096, PIECE, 3 * PIECE + 5, 2 << 20 };

	(void)state;
	for (size_t k = 0; k < 2; k++)
		for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
			for (int compressible = 0; compressible < 2; compressible++) {
				struct piece p;

				piece_make(&p, both_keys[k], lengths[i], compressible, "image 1");
				assert_int_equal(piece_open(&p, both_keys[k], "image 1"), 0);
				assert_true(p.box.stored_length <= lengths[i]);
				piece_free(&p);
			}
}

static void random_bytes_are_stored_and_repeating_ones_compressed(void **state)
{
	struct piece p;

	(void)state;
	piece_make(&p, &secret_key, PIECE, false, "");
	assert_int_equal(p.box.method, SEAL_STORED);
	assert_int_equal(p.box.stored_length, PIECE);
	piece_free(&p);
	piece_make(&p, &secret_key, PIECE, true, "");
	assert_int_equal(p.box.method, SEAL_ZSTD);
	assert_true(p.box.stored_length < PIECE / 8);
	piece_free(&p);
}

static void compression_that_saves_less_than_an_eighth_is_not_kept(void **state)
{
	struct sealer *s = sealer_new(0);
	uint8_t *plain = malloc(PIECE), *out = malloc(PIECE);
	struct seal_box box;
	bool stored = false, packed = false;

	(void)state;
	for (size_t zeros = 0; zeros <= PIECE / 4; zeros += 512) {
		fill_random(plain, PIECE);
		memset(plain, 0, zeros);
		assert_int_equal(seal(s, &plain_key, "", 0, plain, PIECE, out, &box), 0);
		if (box.method == SEAL_ZSTD)
			assert_true(box.stored_length <= PIECE - PIECE / 8);
		else
			assert_int_equal(box.stored_length, PIECE);
		/* The frame costs a few bytes, never 512. */
		if (zeros < PIECE / 8)
			assert_int_equal(box.method, SEAL_STORED);
		if (zeros >= PIECE / 8 + 512)
			assert_int_equal(box.method, SEAL_ZSTD);
		stored |= box.method == SEAL_STORED;
		packed |= box.method == SEAL_ZSTD;
	}
	assert_true(stored && packed);
	free(plain);
	free(out);
	sealer_free(s);
}

static void a_box_does_not_open_elsewhere(void **state)
{
	(void)state;
	for (size_t k = 0; k < 2; k++) {
		struct piece p;

		piece_make(&p, both_keys[k], PIECE, true, "segment 7 chunk 1");
		assert_int_equal(piece_open(&p, both_keys[k], "segment 7 chunk 2"), -EBADMSG);
		assert_int_equal(piece_open(&p, both_keys[k], ""), -EBADMSG);
		piece_free(&p);
	}
}

static void another_key_does_not_open_a_box(void **state)
{
	struct piece p;

	(void)state;
	piece_make(&p, &secret_key, PIECE, false, "x");
	assert_int_equal(piece_open(&p, &other_key, "x"), -EBADMSG);
	assert_int_equal(piece_open(&p, &plain_key, "x"), -EBADMSG);
	piece_free(&p);
	piece_make(&p, &plain_key, PIECE, false, "x");
	assert_int_equal(piece_open(&p, &secret_key, "x"), -EBADMSG);
	piece_free(&p);
}

static void any_changed_bit_of_a_box_is_found(void **state)
{
	(void)state;
	for (size_t k = 0; k < 2; k++)
		for (int compressible = 0; compressible < 2; compressible++) {
			struct piece p;
			struct seal_box good;
			uint8_t bytes[SEAL_BOX_BYTES];

			piece_make(&p, both_keys[k], 600, compressible, "ad");
			good = p.box;
			for (size_t bit = 0; bit < p.box.stored_length * 8u; bit++) {
				p.stored[bit / 8] ^= (uint8_t)(1 << bit % 8);
				assert_int_equal(piece_open(&p, both_keys[k], "ad"), -EBADMSG);
				p.stored[bit / 8] ^= (uint8_t)(1 << bit % 8);
			}
			for (size_t bit = 0; bit < SEAL_BOX_BYTES * 8; bit++) {
				seal_box_encode(&good, bytes);
				bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
				/* A caller has as many stored bytes as the box says, or refuses it. */
				if (seal_box_decode(bytes, 600, &p.box) < 0 || p.box.stored_length > good.stored_length)
					continue;
				assert_int_equal(piece_open(&p, both_keys[k], "ad"), -EBADMSG);
			}
			p.box = good;
			assert_int_equal(piece_open(&p, both_keys[k], "ad"), 0);
			piece_free(&p);
		}
}

static void truncated_bytes_are_refused(void **state)
{
	(void)state;
	for (size_t k = 0; k < 2; k++)
		for (int compressible = 0; compressible < 2; compressible++) {
			struct piece p;

			piece_make(&p, both_keys[k], 5000, compressible, "ad");
			while (p.box.stored_length > 0) {
				p.box.stored_length--;
				assert_int_equal(piece_open(&p, both_keys[k], "ad"), -EBADMSG);
				p.box.stored_length /= 2;
			}
			piece_free(&p);
		}
}

/* Makes a valid tag for a box of a plain pool by hand, as the format says: that is what a malicious store can do. */
static void forge_plain_tag(const char *ad, const uint8_t *stored, struct seal_box *box)
{
	uint8_t bound[4096];
	uint64_t ad_len = strlen(ad);
	size_t n = 0;

	assert_true(8 + ad_len + 9 <= sizeof bound);
	for (int i = 0; i < 8; i++)
		bound[n++] = (uint8_t)(ad_len >> 8 * i);
	memcpy(bound + n, ad, ad_len);
	n += ad_len;
	bound[n++] = box->method;
	for (int i = 0; i < 4; i++)
		bound[n++] = (uint8_t)(box->plain_length >> 8 * i);
	for (int i = 0; i < 4; i++)
		bound[n++] = (uint8_t)(box->stored_length >> 8 * i);
	XXH128_hash_t hash = XXH3_128bits_withSeed(stored, box->stored_length, XXH3_64bits(bound, n));
	for (int i = 0; i < 8; i++) {
		box->tag[i] = (uint8_t)(hash.high64 >> (56 - 8 * i));
		box->tag[8 + i] = (uint8_t)(hash.low64 >> (56 - 8 * i));
	}
}

static void a_plain_tag_is_made_as_the_format_says(void **state)
{
	struct piece p;
	struct seal_box made;

	(void)state;
	piece_make(&p, &plain_key, 900, true, "where it belongs");
	made = p.box;
	forge_plain_tag("where it belongs", p.stored, &p.box);
	assert_memory_equal(made.tag, p.box.tag, sizeof made.tag);
	piece_free(&p);
}

static void bytes_that_decompress_to_another_length_are_refused(void **state)
{
	struct piece p;

	(void)state;
	piece_make(&p, &plain_key, 2000, true, "ad");
	assert_int_equal(p.box.method, SEAL_ZSTD);
	for (int change = -1; change <= 1; change += 2) {
		p.box.plain_length = (uint32_t)(2000 + change);
		forge_plain_tag("ad", p.stored, &p.box);
		assert_int_equal(piece_open(&p, &plain_key, "ad"), -EBADMSG);
	}
	p.box.plain_length = 2000;
	p.stored[0] ^= 0xff; /* no zstd frame any more */
	forge_plain_tag("ad", p.stored, &p.box);
	assert_int_equal(piece_open(&p, &plain_key, "ad"), -EBADMSG);
	piece_free(&p);
}

static void lengths_that_seal_never_makes_are_refused_in_spite_of_a_good_tag(void **state)
{
	uint8_t stored[64] = { 0 }, out[128];
	struct seal_box box = { .method = SEAL_STORED, .stored_length = 64, .plain_length = 65 };

	(void)state;
	forge_plain_tag("", stored, &box);
	assert_int_equal(seal_open(&plain_key, "", 0, stored, &box, out), -EBADMSG);
	box.plain_length = 63;
	forge_plain_tag("", stored, &box);
	assert_int_equal(seal_open(&plain_key, "", 0, stored, &box, out), -EBADMSG);
	box.stored_length = box.plain_length = 0;
	forge_plain_tag("", stored, &box);
	assert_int_equal(seal_open(&plain_key, "", 0, stored, &box, out), -EBADMSG);
	box.stored_length = box.plain_length = 64;
	box.method = 2;
	forge_plain_tag("", stored, &box);
	assert_int_equal(seal_open(&plain_key, "", 0, stored, &box, out), -EBADMSG);
	box.method = SEAL_STORED;
	forge_plain_tag("", stored, &box);
	assert_int_equal(seal_open(&plain_key, "", 0, stored, &box, out), 0);
	box.nonce[3] = 1;
	assert_int_equal(seal_open(&plain_key, "", 0, stored, &box, out), -EBADMSG);
}

static void the_same_bytes_are_sealed_under_another_nonce_each_time(void **state)
{
	struct piece a, b;

	(void)state;
	piece_make(&a, &secret_key, 4096, true, "ad");
	piece_make(&b, &secret_key, 4096, true, "ad");
	assert_memory_not_equal(a.box.nonce, b.box.nonce, SEAL_NONCE_BYTES);
	assert_memory_not_equal(a.stored, b.stored, a.box.stored_length);
	piece_free(&a);
	piece_free(&b);
}

static void sealed_bytes_do_not_show_the_plain_ones(void **state)
{
	struct piece p;

	(void)state;
	piece_make(&p, &secret_key, 4096, false, "ad");
	for (size_t i = 0; i + 16 <= 4096; i += 16)
		assert_memory_not_equal(p.plain + i, p.stored + i, 16);
	piece_free(&p);
}

static void a_long_place_is_bound_like_a_short_one(void **state)
{
	char ad[1001];
	struct piece p;

	(void)state;
	memset(ad, 'p', 1000);
	ad[1000] = '\0';
	for (size_t k = 0; k < 2; k++) {
		piece_make(&p, both_keys[k], 4096, true, ad);
		assert_int_equal(piece_open(&p, both_keys[k], ad), 0);
		ad[999] = 'q';
		assert_int_equal(piece_open(&p, both_keys[k], ad), -EBADMSG);
		ad[999] = 'p';
		piece_free(&p);
	}
}

static void a_box_is_described_in_52_bytes_and_back(void **state)
{
	struct seal_box box = { .stored_length = 0x01020304, .plain_length = 0x0a0b0c0d, .method = SEAL_ZSTD }, back;
	uint8_t bytes[SEAL_BOX_BYTES];

	(void)state;
	memset(box.nonce, 0x11, sizeof box.nonce);
	memset(box.tag, 0x22, sizeof box.tag);
	seal_box_encode(&box, bytes);
	assert_memory_equal(bytes, "\x04\x03\x02\x01\x0d\x0c\x0b\x0a\x01\0\0\0\x11", 13);
	assert_int_equal(bytes[35], 0x11);
	assert_int_equal(bytes[36], 0x22);
	assert_int_equal(seal_box_decode(bytes, UINT32_MAX, &back), 0);
	assert_int_equal(back.stored_length, box.stored_length);
	assert_int_equal(back.plain_length, box.plain_length);
	assert_int_equal(back.method, box.method);
	assert_memory_equal(back.nonce, box.nonce, sizeof box.nonce);
	assert_memory_equal(back.tag, box.tag, sizeof box.tag);
	assert_int_equal(seal_box_decode(bytes, 0x0a0b0c0c, &back), -EBADMSG);
	assert_int_equal(seal_box_decode(bytes, 0x0a0b0c0d, &back), 0);
	bytes[8] = 2;
	assert_int_equal(seal_box_decode(bytes, UINT32_MAX, &back), -EBADMSG);
	bytes[8] = 1;
	for (int i = 9; i < 12; i++) {
		bytes[i] = 1;
		assert_int_equal(seal_box_decode(bytes, UINT32_MAX, &back), -EBADMSG);
		bytes[i] = 0;
	}
}

static void *open_many(void *arg)
{
	for (int i = 0; i < 50; i++)
		if (piece_open(arg, &secret_key, "ad") != 0)
			return arg;
	return NULL;
}

static void many_threads_open_at_once(void **state)
{
	struct piece p;
	pthread_t threads[4];
	void *failed;

	(void)state;
	piece_make(&p, &secret_key, PIECE, true, "ad");
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, open_many, &p), 0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
	piece_free(&p);
}

static void a_digest_is_of_both_parts_in_order(void **state)
{
	uint8_t whole[DIGEST_BYTES], parts[DIGEST_BYTES], expected[DIGEST_BYTES];

	(void)state;
	digest_of("abcdef", 6, NULL, 0, whole);
	digest_of("abc", 3, "def", 3, parts);
	assert_memory_equal(whole, parts, DIGEST_BYTES);
	digest_of(NULL, 0, "abcdef", 6, parts);
	assert_memory_equal(whole, parts, DIGEST_BYTES);
	crypto_generichash(expected, sizeof expected, (const uint8_t *)"abcdef", 6, NULL, 0);
	assert_memory_equal(whole, expected, DIGEST_BYTES);
	digest_of("def", 3, "abc", 3, parts);
	assert_memory_not_equal(whole, parts, DIGEST_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_sealed_opens_again),
		cmocka_unit_test(random_bytes_are_stored_and_repeating_ones_compressed),
		cmocka_unit_test(compression_that_saves_less_than_an_eighth_is_not_kept),
		cmocka_unit_test(a_box_does_not_open_elsewhere),
		cmocka_unit_test(another_key_does_not_open_a_box),
		cmocka_unit_test(any_changed_bit_of_a_box_is_found),
		cmocka_unit_test(truncated_bytes_are_refused),
		cmocka_unit_test(a_plain_tag_is_made_as_the_format_says),
		cmocka_unit_test(bytes_that_decompress_to_another_length_are_refused),
		cmocka_unit_test(lengths_that_seal_never_makes_are_refused_in_spite_of_a_good_tag),
		cmocka_unit_test(the_same_bytes_are_sealed_under_another_nonce_each_time),
		cmocka_unit_test(sealed_bytes_do_not_show_the_plain_ones),
		cmocka_unit_test(a_long_place_is_bound_like_a_short_one),
		cmocka_unit_test(a_box_is_described_in_52_bytes_and_back),
		cmocka_unit_test(many_threads_open_at_once),
		cmocka_unit_test(a_digest_is_of_both_parts_in_order),
	};
	const char *seed = getenv("GARNER_TEST_SEED");

	random_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
	if (random_state == 0)
		random_state = 1;
	printf("GARNER_TEST_SEED=%llu\n", (unsigned long long)random_state);
	return cmocka_run_group_tests_name("seal", tests, NULL, NULL);
}
