/* SPDX-License-Identifier: GPL-3.0-only */
/* verify_segment.c: checks one stored segment, from its header to the last slot. */
#include "image/verify_private.h"

#include "base/crc32c.h"
#include "map/share_list.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NO_RECORD UINT32_MAX

/* One segment, opened. */
struct opened {
	struct verify *v;
	segment_no_t number;
	const uint8_t *bytes;
	size_t len;
	struct segment_meta meta;
	struct record *records;
	uint8_t *table;
	uint32_t *owner; /* of each slot: its record */
};

enum slot_use verify_slot_use(const struct verify *v, segment_no_t number, uint32_t slot)
{
	const struct segment_slots *s = &v->segments[number - 1];

	if (slot >= s->slots)
		return SLOT_UNUSED;
	return (enum slot_use)(s->uses[slot / 4] >> slot % 4 * 2 & 3);
}

static int remember_slots(struct opened *o)
{
	struct segment_slots *s = &o->v->segments[o->number - 1];

	o->owner = malloc(SEGMENT_SLOTS_MAX * sizeof *o->owner);
	s->uses = calloc(1, o->meta.slots / 4 + 1);
	if (!o->owner || !s->uses)
		return -ENOMEM;
	memset(o->owner, 0xff, SEGMENT_SLOTS_MAX * sizeof *o->owner);
	s->slots = o->meta.slots;
	for (uint32_t i = 0; i < o->meta.record_count; i++) {
		const struct record *r = &o->records[i];
		enum slot_use use = record_is_grain(r->kind) ? SLOT_DATA
		                    : r->kind == RECORD_NODE ? SLOT_NODE
		                                             : SLOT_OTHER;

		if (!record_has_slot(r->kind))
			continue;
		o->owner[r->slot] = i;
		s->uses[r->slot / 4] |= (uint8_t)((unsigned)use << r->slot % 4 * 2);
	}
	return 0;
}

/* Whether the header says what it must, and the chain goes on. */
static bool check_header(struct opened *o, uint64_t epoch)
{
	const struct segment_meta *m = &o->meta;
	struct verify *v = o->v;

	if (memcmp(m->pool, v->pool->uuid, sizeof m->pool) != 0 || m->image != v->image || m->number != o->number) {
		verify_note(v, "segment %" PRIu64 ": its place holds segment %" PRIu64 " of image %016" PRIx64,
		            o->number, m->number, m->image);
		return false;
	}
	if (m->epoch != epoch)
		verify_note(v, "segment %" PRIu64 ": stored in epoch %" PRIu64 ", but packed in %" PRIu64, o->number,
		            epoch, m->epoch);
	if (m->slot_bytes != v->grain_bytes)
		verify_note(v, "segment %" PRIu64 ": slots of %" PRIu32 " bytes in an image with grains of %" PRIu32,
		            o->number, m->slot_bytes, v->grain_bytes);
	if (v->digest_known && memcmp(m->prev_digest, v->digest, DIGEST_BYTES) != 0)
		verify_note(v, "segment %" PRIu64 ": does not follow the segment before: the chain is broken",
		            o->number);
	return true;
}

static void check_checkpoint(struct opened *o, const uint8_t *body)
{
	struct verify *v = o->v;
	struct checkpoint c;
	struct error err = { 0 };

	if (checkpoint_decode(body, &c, &err)) {
		verify_note(v, "segment %" PRIu64 ": %s", o->number, error_text(&err));
		return;
	}
	if (c.position.segment > o->number)
		verify_note(v, "segment %" PRIu64 ": a checkpoint of a later position, %" PRIu64 ":%" PRIu32, o->number,
		            c.position.segment, c.position.record);
	v->checkpoint = c;
	v->checkpoint_segment = o->number;
	v->have_checkpoint = true;
	v->gap = false;
}

static void check_share(struct opened *o, const struct record *r, const uint8_t *bytes)
{
	struct segment_slots *s = &o->v->segments[o->number - 1];
	struct share_list list;
	struct error err = { 0 };

	if (share_list_decode(bytes, &list, &err))
		verify_note(o->v, "segment %" PRIu64 ": slot %u: %s", o->number, r->slot, error_text(&err));
	else if (list.first != r->value)
		verify_note(o->v,
		            "segment %" PRIu64 ": slot %u is a share of grains from %" PRIu64
		            " on, its record of %" PRIu64,
		            o->number, r->slot, list.first, r->value);
	else if (list.layers > s->layers)
		s->layers = (uint16_t)list.layers;
}

/* Checks every slot of an opened chunk; the slots are met in the order of the log. */
static void check_slots(struct opened *o, uint32_t chunk, const uint8_t *plain, uint32_t plain_len)
{
	uint32_t slot_bytes = o->meta.slot_bytes, per = CHUNK_BYTES / slot_bytes;

	for (uint32_t i = 0; i < per && chunk * per + i < o->meta.slots; i++) {
		uint32_t slot = chunk * per + i, number = o->owner[slot];
		const uint8_t *at = plain + (size_t)i * slot_bytes;

		if (number == NO_RECORD)
			continue;
		if ((i + 1) * slot_bytes > plain_len)
			verify_note(o->v, "segment %" PRIu64 ": slot %" PRIu32 " is missing", o->number, slot);
		else if (crc32c(0, at, slot_bytes) != o->records[number].data_crc)
			verify_note(o->v, "segment %" PRIu64 ": slot %" PRIu32 " is damaged: wrong checksum", o->number,
			            slot);
		else if (o->records[number].kind == RECORD_CHECKPOINT)
			check_checkpoint(o, at);
		else if (o->records[number].kind == RECORD_SHARE)
			check_share(o, &o->records[number], at);
	}
}

static int check_chunks(struct opened *o)
{
	uint8_t *plain = malloc(CHUNK_BYTES);
	uint32_t per = CHUNK_BYTES / o->meta.slot_bytes;

	if (!plain)
		return -ENOMEM;
	for (uint32_t i = 0; i * per < o->meta.slots; i++) {
		struct seal_box box = { 0 };
		struct error err = { 0 };
		uint32_t plain_len = 0;
		uint64_t offset = 0;

		if (i < o->meta.chunk_count)
			segment_table_entry(&o->meta, o->table, i, &offset, &box);
		if (box.stored_length == 0) {
			/* Says which needed slots are missing, if any. */
			check_slots(o, i, plain, 0);
		} else if (offset > o->len || box.stored_length > o->len - offset) {
			verify_note(o->v, "segment %" PRIu64 ": cut short: chunk %" PRIu32 " is missing", o->number, i);
		} else if (segment_chunk_open(&o->meta, i, &box, o->bytes + offset, &o->v->key, plain, &plain_len,
		                              &err)) {
			verify_note(o->v, "segment %" PRIu64 ": chunk %" PRIu32 ": %s", o->number, i, error_text(&err));
		} else {
			check_slots(o, i, plain, plain_len);
		}
	}
	free(plain);
	return 0;
}

int verify_segment(struct verify *v, segment_no_t number, uint64_t epoch, const uint8_t *bytes, size_t len)
{
	struct opened o = { .v = v, .number = number, .bytes = bytes, .len = len };
	struct error err = { 0 };
	bool usable = false;
	int rc = segment_meta_decode(bytes, len, &v->key, &o.meta, &err);

	if (!rc && !check_header(&o, epoch))
		goto out;
	if (!rc) {
		memcpy(v->digest, o.meta.digest, DIGEST_BYTES);
		v->digest_known = true;
		usable = true;
		rc = segment_meta_open(&o.meta, bytes, len, &v->key, &o.records, &o.table, &err);
	}
	if (rc == -ENOMEM)
		goto out;
	if (rc) {
		verify_note(v, "segment %" PRIu64 ": %s", number, error_text(&err));
		v->incomplete = true;
		rc = 0;
		goto out;
	}
	rc = remember_slots(&o);
	if (!rc)
		rc = check_chunks(&o);
	if (!rc && !v->incomplete && !v->gap &&
	    o.meta.checkpoint.segment != (v->have_checkpoint ? v->checkpoint_segment : 0))
		verify_note(v,
		            "segment %" PRIu64 ": says that the last checkpoint is in segment %" PRIu64
		            ", it is in %" PRIu64,
		            number, o.meta.checkpoint.segment, v->have_checkpoint ? v->checkpoint_segment : 0);
out:
	if (!usable) {
		v->digest_known = false;
		v->incomplete = true;
	}
	free(o.records);
	free(o.table);
	free(o.owner);
	return rc;
}
