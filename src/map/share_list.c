/* SPDX-License-Identifier: GPL-3.0-only */
/* share_list.c: the bytes of share records' slots. */
#include "map/share_list.h"

#include "base/bytes.h"
#include "map/grain_map.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#define SHARE_MAGIC 0x52485347u /* "GSHR" */
#define HEADER_BYTES 32
#define RUN_BYTES 16

_Static_assert(HEADER_BYTES + SHARE_RUNS_MAX * RUN_BYTES <= SHARE_LIST_BYTES, "the runs fit");

void share_list_begin(struct share_list *l, grain_no_t first)
{
	l->first = first;
	l->grains = 0;
	l->layers = 0;
	l->count = 0;
}

uint64_t share_run_grains(const struct share_run *run)
{
	return run->kind == SHARE_LEAVES ? (uint64_t)run->count * MAP_FANOUT : run->count;
}

/* Whether a run can go on with this one. */
static bool goes_on(const struct share_run *last, const struct share_run *next)
{
	if (last->kind != next->kind || last->mapped != next->mapped || last->count > UINT32_MAX - next->count)
		return false;
	if (last->kind == SHARE_NOTHING)
		return true;
	return map_entry_slot(next->entry) && last->entry + last->count == next->entry;
}

bool share_list_add(struct share_list *l, enum share_kind kind, map_entry_t entry, uint32_t count, unsigned mapped)
{
	struct share_run next = { entry, count, (uint16_t)mapped, (uint16_t)kind };
	struct share_run *last = l->count ? &l->runs[l->count - 1] : NULL;

	assert(count && (kind == SHARE_NOTHING || count == 1));
	if (last && goes_on(last, &next))
		last->count += count;
	else if (l->count < SHARE_RUNS_MAX)
		l->runs[l->count++] = next;
	else
		return false;
	l->grains += share_run_grains(&next);
	if (map_entry_layer(entry) > l->layers)
		l->layers = map_entry_layer(entry);
	return true;
}

void share_list_encode(const struct share_list *l, uint8_t out[SHARE_LIST_BYTES])
{
	memset(out, 0, SHARE_LIST_BYTES);
	put_le32(out, SHARE_MAGIC);
	put_le32(out + 4, SHARE_LIST_VERSION);
	put_le64(out + 8, l->first);
	put_le64(out + 16, l->grains);
	put_le32(out + 24, l->layers);
	put_le32(out + 28, l->count);
	for (uint32_t k = 0; k < l->count; k++) {
		uint8_t *at = out + HEADER_BYTES + (size_t)k * RUN_BYTES;
		put_le64(at, l->runs[k].entry);
		put_le32(at + 8, l->runs[k].count);
		put_le16(at + 12, l->runs[k].mapped);
		put_le16(at + 14, l->runs[k].kind);
	}
}

/* Whether the slots are such as there can be. */
static bool is_place(const struct share_run *r)
{
	return map_entry_layer(r->entry) && map_entry_segment(r->entry) &&
	       r->count <= SEGMENT_SLOTS_MAX - map_entry_slot(r->entry);
}

/* Of a run that begins at grain `at`. */
static bool is_run(const struct share_run *r, grain_no_t at)
{
	if (!r->count)
		return false;
	switch (r->kind) {
	case SHARE_NOTHING:
		return r->entry == MAP_ENTRY_NONE && !r->mapped;
	case SHARE_GRAINS:
		return is_place(r) && !r->mapped;
	case SHARE_LEAVES:
		return is_place(r) && r->mapped && r->mapped <= MAP_FANOUT && at % MAP_FANOUT == 0;
	default:
		return false;
	}
}

static int decode_runs(const uint8_t *in, struct share_list *l, struct error *err)
{
	uint64_t grains = 0;
	uint32_t layers = 0;

	for (uint32_t k = 0; k < l->count; k++) {
		const uint8_t *at = in + HEADER_BYTES + (size_t)k * RUN_BYTES;
		struct share_run *r = &l->runs[k];
		*r = (struct share_run){ get_le64(at), get_le32(at + 8), get_le16(at + 12), get_le16(at + 14) };
		if (!is_run(r, l->first + grains))
			return error_set(err, -EBADMSG,
			                 "share of grains from %" PRIu64 " on: run %" PRIu32 " is impossible", l->first,
			                 k);
		if (map_entry_layer(r->entry) > layers)
			layers = map_entry_layer(r->entry);
		grains += share_run_grains(r);
		if (grains > l->grains)
			break;
	}
	if (grains != l->grains || layers != l->layers)
		return error_set(err, -EBADMSG,
		                 "share of grains from %" PRIu64 " on: its runs are not what it says they are",
		                 l->first);
	return 0;
}

int share_list_decode(const uint8_t in[SHARE_LIST_BYTES], struct share_list *l, struct error *err)
{
	uint32_t version = get_le32(in + 4);

	if (get_le32(in) != SHARE_MAGIC)
		return error_set(err, -EBADMSG, "not a share: magic %08" PRIx32, get_le32(in));
	if (version > SHARE_LIST_VERSION)
		return error_set(err, -EPROTONOSUPPORT, "share of version %" PRIu32 ": this program knows %d", version,
		                 SHARE_LIST_VERSION);
	if (version == 0)
		return error_set(err, -EBADMSG, "share of version 0");
	l->first = get_le64(in + 8);
	l->grains = get_le64(in + 16);
	l->layers = get_le32(in + 24);
	l->count = get_le32(in + 28);
	if (!l->count || l->count > SHARE_RUNS_MAX || l->first >= MAP_GRAINS_MAX ||
	    l->grains > MAP_GRAINS_MAX - l->first)
		return error_set(err, -EBADMSG,
		                 "share claims %" PRIu64 " grains from %" PRIu64 " on in %" PRIu32 " runs", l->grains,
		                 l->first, l->count);
	size_t used = HEADER_BYTES + (size_t)l->count * RUN_BYTES;
	if (!is_zero(in + used, SHARE_LIST_BYTES - used))
		return error_set(err, -EBADMSG, "share with reserved bytes set");
	return decode_runs(in, l, err);
}
