/* SPDX-License-Identifier: GPL-3.0-only */
/* checkpoint.c: the bytes of checkpoint records and of map nodes. */
#include "map/checkpoint.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "map/grain_map.h"

#include <errno.h>
#include <inttypes.h>

#define CHECKPOINT_MAGIC 0x504b4347u /* "GCKP" */
#define CRC_OFFSET (CHECKPOINT_BYTES - 4)

void checkpoint_encode(const struct checkpoint *c, uint8_t out[CHECKPOINT_BYTES])
{
	memset(out, 0, CHECKPOINT_BYTES);
	put_le32(out, CHECKPOINT_MAGIC);
	put_le32(out + 4, c->layers ? CHECKPOINT_VERSION : 1);
	put_le64(out + 8, c->root);
	put_le64(out + 16, c->position.segment);
	put_le32(out + 24, c->position.record);
	put_le64(out + 32, c->size);
	put_le64(out + 40, c->allocated);
	put_le64(out + 48, c->mtime_ns);
	put_le64(out + 56, c->time_ns);
	put_le32(out + 64, c->layers);
	put_le32(out + CRC_OFFSET, crc32c(0, out, CRC_OFFSET));
}

/* An entry that a log can hold: nothing, or a slot of some segment. */
static bool is_address_or_none(map_entry_t e)
{
	return e == MAP_ENTRY_NONE || map_entry_segment(e) != 0;
}

int checkpoint_decode(const uint8_t in[CHECKPOINT_BYTES], struct checkpoint *c, struct error *err)
{
	uint32_t version = get_le32(in + 4);

	if (get_le32(in) != CHECKPOINT_MAGIC)
		return error_set(err, -EBADMSG, "not a checkpoint: magic %08" PRIx32, get_le32(in));
	if (get_le32(in + CRC_OFFSET) != crc32c(0, in, CRC_OFFSET))
		return error_set(err, -EBADMSG, "checkpoint is damaged: wrong checksum");
	if (version > CHECKPOINT_VERSION)
		return error_set(err, -EPROTONOSUPPORT, "checkpoint of version %" PRIu32 ": this program knows %d",
		                 version, CHECKPOINT_VERSION);
	if (version == 0)
		return error_set(err, -EBADMSG, "checkpoint of version 0");
	*c = (struct checkpoint){
		.root = get_le64(in + 8),
		.position = { .segment = get_le64(in + 16), .record = get_le32(in + 24) },
		.size = get_le64(in + 32),
		.allocated = get_le64(in + 40),
		.mtime_ns = get_le64(in + 48),
		.time_ns = get_le64(in + 56),
		.layers = get_le32(in + 64),
	};
	if (!is_address_or_none(c->root))
		return error_set(err, -EBADMSG, "checkpoint with an impossible root %016" PRIx64, c->root);
	if (c->allocated > MAP_GRAINS_MAX || (c->allocated > 0 && c->root == MAP_ENTRY_NONE))
		return error_set(err, -EBADMSG, "checkpoint claims %" PRIu64 " grains", c->allocated);
	if (c->layers >= 1u << MAP_ENTRY_LAYER_BITS || map_entry_layer(c->root) > c->layers ||
	    (c->layers == 0) != (version == 1))
		return error_set(err, -EBADMSG, "checkpoint of version %" PRIu32 " with %" PRIu32 " layers", version,
		                 c->layers);
	if (get_le32(in + 28) != 0 || !is_zero(in + 68, CRC_OFFSET - 68))
		return error_set(err, -EBADMSG, "checkpoint with reserved bytes set");
	return 0;
}

void map_node_encode(const map_entry_t *entries, uint8_t out[4096])
{
	for (size_t i = 0; i < MAP_FANOUT; i++)
		put_le64(out + 8 * i, entries[i]);
}

int map_node_decode(const uint8_t in[4096], bool from_log, map_entry_t *entries)
{
	for (size_t i = 0; i < MAP_FANOUT; i++) {
		map_entry_t e = get_le64(in + 8 * i);

		if (!is_address_or_none(e) && (from_log || e != MAP_ENTRY_LOCAL))
			return -EBADMSG;
		entries[i] = e;
	}
	return 0;
}
