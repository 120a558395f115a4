/* SPDX-License-Identifier: GPL-3.0-only */
/* test_blake2bp.c: BLAKE2bp against what another implementation gives, by all ways to the same digest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/blake2bp.h"
#include "lib/random.h"

#include <stdlib.h>
#include <string.h>

#define LENGTH_MAX 100000u

/* Made by Python's hashlib.blake2b, of which a tree can be built; the first is among the vectors that the authors have published. Byte i
 * of the input is i * i + i / 256. */
static const struct {
	size_t length;
	const char *hex;
} known[] = {
	{ 0, "b5ef811a8038f70b628fa8b294daae7492b1ebe343a80eaabbf1f6ae664dd67b9d90b0120791eab81dc96985f28849f6a305186a8"
	     "5501b405114bfa678df9380" },
	{ 1, "a139280e72757b723e6473d5be59f36e9d50fc5cd7d4585cbc09804895a36c521242fb2789f85cb9e35491f31d4a6952f9d8e097a"
	     "ef94fa1ca0b12525721f03d" },
	{ 127, "952562c6a9c7da60ad3e19ec21f21e8ad2a615a47338296bda74758e7506ff8f357643f196508fab07bb6a7b69b9359ad381bfb"
	       "b63f52afbcee029c236a849e3" },
	{ 128, "b96e2899f088ed0b3a287f75265f93d24179a6f81f0f25f22ce75b7f31ff091e80c16ba213e4f74b51a6b3b9adce40693dcae34"
	       "7d7d4a5d8c482717b54008222" },
	{ 129, "c09821e47a4874dff5bca97ba1add791a0cd03b4fac45b59e7cec55721dcad549acc82444c9e20b58e8c21c279157704bb581af"
	       "93024402e5ea66d1d6072f729" },
	{ 511, "1a935a7982c3d004e7be51c6cf95c38b70c5d436696046df29c6a60096f742e1fb9a998bf8bfc5d080994e83d3c0d1ab7ddfd48"
	       "f494bb65ce1cb91fe2753686a" },
	{ 512, "c72a6141daa275acbc71e6eab5f8e05dd1065dfcc73ac43e5541ef9214dc3ffb9e3133c0167e0703715ff660ee3298ec433860e"
	       "6553984cf33467f40bed83413" },
	{ 513, "34d65e1a7970b22317cfe0a1a3329f5b8953b3d6445263fec9268faaad5773291425bb0867b79973764593b785be212880267f9"
	       "c3fca6b31afd56cdf3b3ea9a7" },
	{ 896, "5a00058eb68fca9ac3f30ee7fe5b2e5c588ec2c6a8f34c5fcb0cee7bfc349dab5698523d8c584fb8648648b29d6a34715966c78"
	       "5dd3d5c2aa30a9aba38d71787" },
	{ 897, "9da38588fe0e4eb8374899878fb41d1a279ab29c29207fb751df7cbf688ebf908b08341d0822aed1b2704562a3aade5aafa507f"
	       "e8d52ff10146afd4a03fdc30d" },
	{ 1024, "e20842ff4d6297a391dd549abc236d972df619e3398c6120ae50248b97cf33faf5aa874085fcbc89227e9759330fad6f7dec8e"
	        "aa33941a72b12df15cdcc89023" },
	{ 1025, "a315cb4dd67d12bcecb5f5e9d5427d61dcd750932137baf89c74891a48cb7d43015c6cf9e3a8a156286e6b11210345e4f84462"
	        "a6423cbe1554941593a1c83bdb" },
	{ 100000, "a36262ae3f74f03ccdc86d4ebbd83ad8fa5dda399de75db65ee611c3af20f0ac9955caf2a55ba43547325732331e515a022a"
	          "3bb396e37f30fa5f045e6934d423" },
};

static uint8_t *input;

static void assert_digest(const uint8_t digest[BLAKE2BP_BYTES], const char *hex)
{
	static const char digits[] = "0123456789abcdef";
	char text[2 * BLAKE2BP_BYTES + 1] = { 0 };

	for (size_t i = 0; i < BLAKE2BP_BYTES; i++) {
		text[2 * i] = digits[digest[i] >> 4];
		text[2 * i + 1] = digits[digest[i] & 15];
	}
	assert_string_equal(text, hex);
}

static void it_is_the_published_one(void **state)
{
	uint8_t digest[BLAKE2BP_BYTES];

	(void)state;
	for (unsigned way = 0; blake2bp_use(way); way++)
		for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
			blake2bp(known[k].length ? input : NULL, known[k].length, digest, sizeof digest);
			assert_digest(digest, known[k].hex);
		}
	assert_true(blake2bp_use(0));
}

static void a_short_digest_is_the_beginning_of_the_long_one(void **state)
{
	uint8_t whole[BLAKE2BP_BYTES], part[BLAKE2BP_BYTES];

	(void)state;
	blake2bp(input, 1000, whole, sizeof whole);
	for (size_t len = 1; len <= BLAKE2BP_BYTES; len++) {
		memset(part, 0, sizeof part);
		blake2bp(input, 1000, part, len);
		assert_memory_equal(part, whole, len);
		for (size_t i = len; i < sizeof part; i++)
			assert_int_equal(part[i], 0);
	}
}

static void all_ways_lead_to_the_same(void **state)
{
	uint8_t best[BLAKE2BP_BYTES], other[BLAKE2BP_BYTES];

	(void)state;
	for (size_t len = 0; len < 4000; len++) {
		assert_true(blake2bp_use(0));
		blake2bp(input + len % 7, len, best, sizeof best);
		for (unsigned way = 1; blake2bp_use(way); way++) {
			blake2bp(input + len % 7, len, other, sizeof other);
			assert_memory_equal(best, other, sizeof best);
		}
	}
	assert_true(blake2bp_use(0));
}

static void pieces_of_any_size_make_the_same(void **state)
{
	struct random rnd = { env_number("GARNER_TEST_SEED", 1) };
	static const size_t most[] = { 2, 130, 600, 1100, 5000, 70000 };

	(void)state;
	for (int round = 0; round < 2000; round++) {
		size_t length = random_below(&rnd, round % 10 ? 6000 : LENGTH_MAX);
		size_t largest = most[random_below(&rnd, sizeof most / sizeof *most)];
		uint8_t once[BLAKE2BP_BYTES], pieces[BLAKE2BP_BYTES];
		struct blake2bp b;

		blake2bp(input, length, once, sizeof once);
		blake2bp_init(&b);
		for (size_t at = 0, n; at < length; at += n) {
			n = random_below(&rnd, largest + 1);
			n = n < length - at ? n : length - at;
			blake2bp_update(&b, input + at, n);
		}
		blake2bp_final(&b, pieces, sizeof pieces);
		assert_memory_equal(once, pieces, sizeof once);
	}
}

static int set_up(void **state)
{
	(void)state;
	input = malloc(LENGTH_MAX);
	for (size_t i = 0; input && i < LENGTH_MAX; i++)
		input[i] = (uint8_t)(i * i + i / 256);
	return input ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	free(input);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_the_published_one),
		cmocka_unit_test(a_short_digest_is_the_beginning_of_the_long_one),
		cmocka_unit_test(all_ways_lead_to_the_same),
		cmocka_unit_test(pieces_of_any_size_make_the_same),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
