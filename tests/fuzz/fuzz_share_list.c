/* SPDX-License-Identifier: GPL-3.0-only */
/* fuzz_share_list.c: slots of share records from any bytes: what is accepted covers what it says, leads to layers only,
 * and is encoded to the same bytes again. */
#include "map/share_list.h"

#include "base/bytes.h"
#include "map/grain_map.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_run(const struct share_list *l, const struct share_run *r, grain_no_t at)
{
	if (!r->count || at < l->first || at >= MAP_GRAINS_MAX || share_run_grains(r) > MAP_GRAINS_MAX - at)
		abort();
	if (r->kind == SHARE_NOTHING) {
		if (r->entry != MAP_ENTRY_NONE)
			abort();
		return;
	}
	if (!map_entry_layer(r->entry) || map_entry_layer(r->entry) > l->layers || !map_entry_segment(r->entry) ||
	    map_entry_slot(r->entry) + r->count > SEGMENT_SLOTS_MAX)
		abort();
	if (r->kind == SHARE_LEAVES && (at % MAP_FANOUT || !r->mapped || r->mapped > MAP_FANOUT))
		abort();
}

static void decode(const uint8_t in[SHARE_LIST_BYTES])
{
	uint8_t out[SHARE_LIST_BYTES];
	struct share_list l;
	struct error err = { 0 };
	uint64_t grains = 0;
	int rc = share_list_decode(in, &l, &err);

	if (rc < 0) {
		if (err.code != rc || !err.text[0])
			abort();
		return;
	}
	for (uint32_t k = 0; k < l.count; k++) {
		check_run(&l, &l.runs[k], l.first + grains);
		grains += share_run_grains(&l.runs[k]);
	}
	if (grains != l.grains)
		abort();
	share_list_encode(&l, out);
	if (memcmp(in, out, sizeof out) != 0)
		abort();
}

/* What does not depend on luck is made right: the magic, the sum, the highest layer, the end. */
static void make_right(uint8_t in[SHARE_LIST_BYTES])
{
	uint32_t count = 1 + in[28] % 8, layers = 0;
	uint64_t grains = 0;

	memcpy(in, "GSHR\1\0\0\0", 8);
	put_le64(in + 8, get_le64(in + 8) % MAP_GRAINS_MAX & ~(uint64_t)(MAP_FANOUT - 1));
	for (uint32_t k = 0; k < count; k++) {
		uint8_t *at = in + 32 + (size_t)k * 16;
		put_le16(at + 14, at[14] % 3);
		if (!at[14])
			put_le64(at, 0);
		if (at[14] != SHARE_LEAVES)
			put_le16(at + 12, 0);
		grains += (uint64_t)get_le32(at + 8) * (at[14] == SHARE_LEAVES ? MAP_FANOUT : 1);
		if (map_entry_layer(get_le64(at)) > layers)
			layers = map_entry_layer(get_le64(at));
	}
	put_le64(in + 16, grains);
	put_le32(in + 24, layers);
	put_le32(in + 28, count);
	memset(in + 32 + (size_t)count * 16, 0, SHARE_LIST_BYTES - 32 - (size_t)count * 16);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t in[SHARE_LIST_BYTES] = { 0 };

	memcpy(in, data, size < sizeof in ? size : sizeof in);
	decode(in);
	memcpy(in, "GSHR\1\0\0\0", 8);
	decode(in);
	make_right(in);
	decode(in);
	return 0;
}
