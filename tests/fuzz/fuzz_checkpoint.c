/* SPDX-License-Identifier: GPL-3.0-only */
/* fuzz_checkpoint.c: checkpoints and map nodes from any bytes: decoding never reads or claims what is not there, and what
 * it accepts is encoded to the same bytes again. */
#include "map/checkpoint.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "map/grain_map.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_checkpoint(const uint8_t *data, size_t size, bool sign)
{
	uint8_t in[CHECKPOINT_BYTES] = { 0 }, out[CHECKPOINT_BYTES];
	struct checkpoint c;
	struct error err;

	memcpy(in, data, size < sizeof in ? size : sizeof in);
	if (sign) /* a fuzzer does not guess checksums */
		put_le32(in + CHECKPOINT_BYTES - 4, crc32c(0, in, CHECKPOINT_BYTES - 4));
	if (checkpoint_decode(in, &c, &err) < 0)
		return;
	checkpoint_encode(&c, out);
	if (memcmp(in, out, sizeof in) != 0)
		abort();
}

static void try_node(const uint8_t *data, size_t size, bool from_log)
{
	uint8_t in[MAP_NODE_BYTES] = { 0 }, out[MAP_NODE_BYTES];
	map_entry_t entries[MAP_FANOUT];

	memcpy(in, data, size < sizeof in ? size : sizeof in);
	if (map_node_decode(in, from_log, entries) < 0)
		return;
	for (size_t i = 0; i < MAP_FANOUT; i++)
		if (entries[i] != MAP_ENTRY_NONE && map_entry_segment(entries[i]) == 0 &&
		    (from_log || entries[i] != MAP_ENTRY_LOCAL))
			abort();
	map_node_encode(entries, out);
	if (memcmp(in, out, sizeof in) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_checkpoint(data, size, false);
	try_checkpoint(data, size, true);
	try_node(data, size, false);
	try_node(data, size, true);
	return 0;
}
