/* SPDX-License-Identifier: GPL-3.0-only */
/* test_checkpoint.c: the bytes of checkpoints and map nodes: there and back, and what is refused. */
#include "map/checkpoint.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "map/grain_map.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct checkpoint example = {
	.position = { .segment = 0x123456789a, .record = 0xfedcba98 },
	.size = (uint64_t)5 << 40,
	.allocated = 987654321,
	.mtime_ns = 1700000000123456789,
	.time_ns = 1700000001000000000,
};

static struct checkpoint example_with_root(void)
{
	struct checkpoint c = example;

	c.root = map_entry(5, 0x1234567, 77);
	c.layers = 6;
	return c;
}

static void sign(uint8_t bytes[CHECKPOINT_BYTES])
{
	put_le32(bytes + CHECKPOINT_BYTES - 4, crc32c(0, bytes, CHECKPOINT_BYTES - 4));
}

static void a_checkpoint_comes_back_as_it_was(void **state)
{
	struct checkpoint in = example_with_root(), out;
	uint8_t bytes[CHECKPOINT_BYTES];

	(void)state;
	checkpoint_encode(&in, bytes);
	assert_memory_equal(bytes, "GCKP\2\0\0\0", 8);
	assert_int_equal(get_le64(bytes + 8), in.root);
	assert_int_equal(get_le64(bytes + 16), in.position.segment);
	assert_int_equal(get_le32(bytes + 24), in.position.record);
	assert_int_equal(get_le64(bytes + 32), in.size);
	assert_int_equal(get_le64(bytes + 56), in.time_ns);
	assert_int_equal(get_le32(bytes + 64), 6);
	assert_int_equal(checkpoint_decode(bytes, &out, NULL), 0);
	assert_true(out.root == in.root && out.size == in.size && out.allocated == in.allocated);
	assert_true(out.mtime_ns == in.mtime_ns && out.time_ns == in.time_ns && out.layers == in.layers);
	assert_int_equal(log_position_compare(out.position, in.position), 0);
}

static void an_empty_image_has_no_root(void **state)
{
	struct checkpoint in = { .size = 4096 }, out;
	uint8_t bytes[CHECKPOINT_BYTES];

	(void)state;
	checkpoint_encode(&in, bytes);
	assert_int_equal(checkpoint_decode(bytes, &out, NULL), 0);
	assert_true(out.root == MAP_ENTRY_NONE);
}

static void without_layers_it_is_of_the_first_version(void **state)
{
	struct checkpoint in = example_with_root(), out;
	uint8_t bytes[CHECKPOINT_BYTES];

	(void)state;
	in.layers = 0;
	checkpoint_encode(&in, bytes);
	assert_memory_equal(bytes, "GCKP\1\0\0\0", 8);
	/* Its root is in a layer that there is not. */
	assert_int_equal(checkpoint_decode(bytes, &out, NULL), -EBADMSG);
	in.root = map_entry(0, 1, 1);
	checkpoint_encode(&in, bytes);
	assert_int_equal(checkpoint_decode(bytes, &out, NULL), 0);
	assert_int_equal(out.layers, 0);
}

static void every_flipped_bit_is_found(void **state)
{
	struct checkpoint in = example_with_root(), out;
	uint8_t bytes[CHECKPOINT_BYTES];
	struct error err = { 0 };

	(void)state;
	checkpoint_encode(&in, bytes);
	for (size_t bit = 0; bit < CHECKPOINT_BYTES * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(checkpoint_decode(bytes, &out, &err), -EBADMSG);
		assert_true(err.text[0] != 0);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_int_equal(checkpoint_decode(bytes, &out, NULL), 0);
}

static void a_newer_version_is_told_from_damage(void **state)
{
	struct checkpoint in = example_with_root(), out;
	uint8_t bytes[CHECKPOINT_BYTES];

	(void)state;
	checkpoint_encode(&in, bytes);
	put_le32(bytes + 4, CHECKPOINT_VERSION + 1);
	sign(bytes);
	assert_int_equal(checkpoint_decode(bytes, &out, NULL), -EPROTONOSUPPORT);
	put_le32(bytes + 4, 0);
	sign(bytes);
	assert_int_equal(checkpoint_decode(bytes, &out, NULL), -EBADMSG);
}

static void impossible_values_are_refused_though_signed(void **state)
{
	struct checkpoint in = example_with_root(), out;
	uint8_t bytes[CHECKPOINT_BYTES];

	(void)state;
	in.root = MAP_ENTRY_LOCAL;
	checkpoint_encode(&in, bytes);
	assert_int_equal(checkpoint_decode(bytes, &out, NULL), -EBADMSG);
	in.root = MAP_ENTRY_NONE; /* but allocated grains */
	checkpoint_encode(&in, bytes);
	assert_int_equal(checkpoint_decode(bytes, &out, NULL), -EBADMSG);
	in = example_with_root();
	in.allocated = MAP_GRAINS_MAX + 1;
	checkpoint_encode(&in, bytes);
	assert_int_equal(checkpoint_decode(bytes, &out, NULL), -EBADMSG);
	in = example_with_root();
	checkpoint_encode(&in, bytes);
	bytes[200] = 1;
	sign(bytes);
	assert_int_equal(checkpoint_decode(bytes, &out, NULL), -EBADMSG);
}

static void a_node_comes_back_as_it_was(void **state)
{
	map_entry_t in[MAP_FANOUT], out[MAP_FANOUT];
	uint8_t bytes[MAP_NODE_BYTES];

	(void)state;
	for (unsigned i = 0; i < MAP_FANOUT; i++)
		in[i] = i % 3 ? map_entry(i, i * 1000003ull, i * 7) : MAP_ENTRY_NONE;
	map_node_encode(in, bytes);
	assert_int_equal(get_le64(bytes + 8 * 100), in[100]);
	assert_int_equal(map_node_decode(bytes, true, out), 0);
	assert_memory_equal(in, out, sizeof in);
}

static void a_local_child_is_for_sqlite_only(void **state)
{
	map_entry_t in[MAP_FANOUT] = { [511] = MAP_ENTRY_LOCAL }, out[MAP_FANOUT];
	uint8_t bytes[MAP_NODE_BYTES];

	(void)state;
	map_node_encode(in, bytes);
	assert_int_equal(map_node_decode(bytes, true, out), -EBADMSG);
	assert_int_equal(map_node_decode(bytes, false, out), 0);
	assert_true(out[511] == MAP_ENTRY_LOCAL);
}

static void a_slot_of_segment_0_is_refused(void **state)
{
	map_entry_t in[MAP_FANOUT] = { [7] = map_entry(0, 0, 2) }, out[MAP_FANOUT];
	uint8_t bytes[MAP_NODE_BYTES];

	(void)state;
	for (int layer = 0; layer < 2; layer++) {
		in[7] = map_entry((unsigned)layer, 0, 2);
		map_node_encode(in, bytes);
		assert_int_equal(map_node_decode(bytes, true, out), -EBADMSG);
		assert_int_equal(map_node_decode(bytes, false, out), -EBADMSG);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_checkpoint_comes_back_as_it_was),
		cmocka_unit_test(an_empty_image_has_no_root),
		cmocka_unit_test(without_layers_it_is_of_the_first_version),
		cmocka_unit_test(every_flipped_bit_is_found),
		cmocka_unit_test(a_newer_version_is_told_from_damage),
		cmocka_unit_test(impossible_values_are_refused_though_signed),
		cmocka_unit_test(a_node_comes_back_as_it_was),
		cmocka_unit_test(a_local_child_is_for_sqlite_only),
		cmocka_unit_test(a_slot_of_segment_0_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
