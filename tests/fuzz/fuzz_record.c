/* SPDX-License-Identifier: GPL-3.0-only */
/* fuzz_record.c: index records from outside, as they are and with their checksum made right; and whatever list of records
 * comes out of that: which are needed, against the definition, and twice the same.
 */
#include "base/bytes.h"
#include "base/crc32c.h"
#include "log/record.h"

#include <stdlib.h>

#define COUNT_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fix_crc(uint8_t bytes[RECORD_BYTES], uint64_t salt, uint32_t number)
{
	uint8_t place[12];

	put_le64(place, salt);
	put_le32(place + 8, number);
	put_le32(bytes, crc32c(crc32c(0, place, sizeof place), bytes + 4, RECORD_BYTES - 4));
}

/* What decodes must be encoded to the same bytes: the digest of a segment depends on it. */
static bool decode(const uint8_t bytes[RECORD_BYTES], uint64_t salt, uint32_t number, struct record *r)
{
	uint8_t again[RECORD_BYTES];

	if (record_decode(bytes, salt, number, r) < 0)
		return false;
	record_encode(r, salt, number, again);
	if (memcmp(bytes, again, RECORD_BYTES) != 0)
		abort();
	if (record_has_slot(r->kind) != (r->slot != RECORD_NO_SLOT) ||
	    (record_has_slot(r->kind) && r->slot >= SEGMENT_SLOTS_MAX))
		abort();
	return true;
}

static bool covers(const struct record *later, const struct record *r)
{
	if (record_is_grain(later->kind))
		return later->value == r->value;
	return later->kind == RECORD_ZERO && r->value >= later->value && r->value - later->value < later->count;
}

static bool needed(const struct record *list, size_t count, size_t i)
{
	if (!record_is_grain(list[i].kind))
		return true;
	for (size_t j = i + 1; j < count; j++) {
		if (list[j].kind == RECORD_CHECKPOINT || list[j].kind == RECORD_MARK)
			return true;
		if (covers(&list[j], &list[i]))
			return false;
	}
	return true;
}

/* Reading a list, packing it and packing the result again must give one list. */
static void check_list(const struct record *list, size_t count)
{
	struct record kept[COUNT_MAX];
	bool keep[COUNT_MAX];
	size_t n = 0;

	if (records_mark_needed(list, count, keep) < 0)
		abort();
	for (size_t i = 0; i < count; i++) {
		if (keep[i] != needed(list, count, i))
			abort();
		if (keep[i])
			kept[n++] = list[i];
	}
	if (records_mark_needed(kept, n, keep) < 0)
		abort();
	for (size_t i = 0; i < n; i++)
		if (!keep[i])
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct record list[COUNT_MAX], r;
	uint8_t bytes[RECORD_BYTES];
	uint64_t salt;
	size_t count = 0;

	if (size < 8)
		return 0;
	salt = get_le64(data);
	for (size_t at = 8; at + RECORD_BYTES <= size && count < COUNT_MAX; at += RECORD_BYTES) {
		memcpy(bytes, data + at, RECORD_BYTES);
		decode(bytes, salt, (uint32_t)count, &r);
		/* Few kinds and few grains, so that records meet; the fuzzer finds the rest above. */
		bytes[4] = (uint8_t)(bytes[4] % (RECORD_SHARE + 1));
		fix_crc(bytes, salt, (uint32_t)count);
		if (decode(bytes, salt, (uint32_t)count, &list[count]))
			count++;
	}
	check_list(list, count);
	return 0;
}
