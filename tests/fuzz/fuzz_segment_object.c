/* SPDX-License-Identifier: GPL-3.0-only */
/* fuzz_segment_object.c: a stored segment from a store that may be anything. Odd first byte: the bytes as they are, with a
 * key, without, and with only the header's tag made right. Even: header, index and table are taken from the input and put
 * together with every digest, checksum and tag right, as a malicious store of a plain pool could, so that what lies
 * behind them gets to see them.
 */
#include "base/bytes.h"
#include "base/crc32c.h"
#include "lib/segment_forge.h"
#include "log/segment_object.h"

#include <stdlib.h>

#define RECORDS_MOST 64u
#define CHUNKS_MOST 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct seal_key plain_key = { .plain = true };
static const struct seal_key secret_key = { .bytes = { 1 } };

static void open_chunks(const struct segment_meta *meta, const uint8_t *object, size_t len, const uint8_t *table)
{
	uint8_t *plain = malloc(CHUNK_BYTES);
	uint64_t end = meta->chunks_offset;

	if (!plain)
		abort();
	for (uint32_t i = 0; i < meta->chunk_count; i++) {
		struct seal_box box;
		uint64_t offset;
		uint32_t got;

		segment_table_entry(meta, table, i, &offset, &box);
		/* In order, without gaps, none larger than a chunk: so an object is never larger than its segment. */
		if (offset != end || box.stored_length > CHUNK_BYTES || box.plain_length > CHUNK_BYTES)
			abort();
		end += box.stored_length;
		if (box.stored_length && end <= len &&
		    segment_chunk_open(meta, i, &box, object + offset, &plain_key, plain, &got, NULL) == 0 &&
		    got != box.plain_length)
			abort();
	}
	free(plain);
}

/* What is accepted must keep the promises of segment_object.h. */
static void check_opened(const struct segment_meta *m, const struct record *records)
{
	uint8_t *seen = calloc(1, SEGMENT_SLOTS_MAX);

	if (!seen)
		abort();
	for (uint32_t i = 0; i < m->record_count; i++) {
		if (!record_has_slot(records[i].kind))
			continue;
		if (records[i].slot >= m->slots || seen[records[i].slot]++)
			abort();
		if ((uint64_t)records[i].slot * m->slot_bytes / CHUNK_BYTES >= m->chunk_count)
			abort();
	}
	free(seen);
}

static int open_object(const uint8_t *bytes, size_t size, const struct seal_key *key)
{
	struct segment_meta meta;
	struct record *records = NULL;
	uint8_t *table = NULL;
	/* A copy of exactly this length, so that a sanitizer sees one byte too many. */
	uint8_t *object = malloc(size ? size : 1);
	struct error err = { 0 };
	int rc;

	if (!object)
		abort();
	if (size)
		memcpy(object, bytes, size);
	rc = segment_meta_decode(object, size, key, &meta, &err);
	if (rc == 0 && segment_meta_bytes(&meta) > SEGMENT_OBJECT_META_MAX)
		abort();
	if (rc == 0)
		rc = segment_meta_open(&meta, object, size, key, &records, &table, &err);
	if (rc == 0) {
		check_opened(&meta, records);
		open_chunks(&meta, object, size, table);
	} else if (err.code != rc || !err.text[0]) {
		abort();
	}
	free(table);
	free(records);
	free(object);
	return rc;
}

static void open_raw(const uint8_t *data, size_t size)
{
	uint8_t *copy;

	open_object(data, size, &plain_key);
	if (open_object(data, size, &secret_key) == 0)
		abort(); /* nobody guesses a tag */
	if (size < SEGMENT_OBJECT_HEADER)
		return;
	copy = malloc(size);
	if (!copy)
		abort();
	memcpy(copy, data, size);
	memcpy(copy, "GARNSEGS", 8);
	forge_header_tag(copy);
	open_object(copy, size, &plain_key);
	free(copy);
}

static void fix_record(uint8_t *bytes, uint32_t number)
{
	uint8_t place[12] = { 0 };

	put_le32(place + 8, number);
	put_le32(bytes, crc32c(crc32c(0, place, sizeof place), bytes + 4, RECORD_BYTES - 4));
}

/* Entries that follow one another, whatever lengths they claim. */
static void fix_offsets(uint8_t *table, uint32_t chunks)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < chunks; i++) {
		put_le32(table + i * SEGMENT_TABLE_ENTRY, at);
		at += get_le32(table + i * SEGMENT_TABLE_ENTRY + 4);
	}
}

/* How many chunks the records reach, at most CHUNKS_MOST; gives the entries lengths that fit them. */
static uint32_t fit_table(const uint8_t *index, uint32_t records, uint32_t grain, uint8_t *table)
{
	uint32_t per = CHUNK_BYTES / grain, used = 0, chunks;
	bool owned[CHUNKS_MOST] = { false };

	for (uint32_t i = 0; i < records; i++) {
		uint32_t slot = get_le16(index + i * RECORD_BYTES + 6);

		if (!record_has_slot(index[i * RECORD_BYTES + 4]) || slot / per >= CHUNKS_MOST)
			continue;
		owned[slot / per] = true;
		if (slot >= used)
			used = slot + 1;
	}
	chunks = (used + per - 1) / per;
	for (uint32_t i = 0; i < chunks; i++) {
		uint8_t *box = table + i * SEGMENT_TABLE_ENTRY + 4;
		uint32_t bytes = (used - i * per < per ? used - i * per : per) * grain;

		box[8] %= 2;
		memset(box + 9, 0, 3);
		put_le32(box, owned[i] ? 1 + get_le32(box) % bytes : 0);
		put_le32(box + 4, owned[i] ? bytes : 0);
	}
	fix_offsets(table, chunks);
	return chunks;
}

static void open_forged(const uint8_t *data, size_t size)
{
	static const uint32_t grains[] = { 4096, 8192, 16384, 32768, 65536 };
	uint8_t header[SEGMENT_OBJECT_HEADER] = "GARNSEGS";
	uint8_t index[RECORDS_MOST * RECORD_BYTES] = { 0 }, table[CHUNKS_MOST * SEGMENT_TABLE_ENTRY] = { 0 };
	uint8_t *object;
	uint32_t records, chunks, grain;
	size_t len, n, tail;
	bool fit;

	if (size < 8)
		return;
	records = data[0] % (RECORDS_MOST + 1);
	chunks = data[1] % (CHUNKS_MOST + 1);
	grain = grains[data[2] % 5];
	put_le32(header + 8, SEGMENT_OBJECT_VERSION);
	put_le64(header + FORGE_NUMBER, data[3] + 1u);
	put_le32(header + 56, grain);
	put_le32(header + 60, (1u << 20 << data[4] % 7) / grain);
	put_le32(header + FORGE_RECORD_COUNT, records);
	put_le64(header + 72, data[5]);
	fit = data[6] & 1;
	data += 8;
	size -= 8;

	n = records * RECORD_BYTES < size ? records * RECORD_BYTES : size;
	memcpy(index, data, n);
	for (uint32_t i = 0; i < records; i++)
		fix_record(index + i * RECORD_BYTES, i);
	data += n;
	size -= n;
	n = chunks * SEGMENT_TABLE_ENTRY < size ? chunks * SEGMENT_TABLE_ENTRY : size;
	memcpy(table, data, n);
	if (fit)
		chunks = fit_table(index, records, grain, table);
	else if (chunks % 2 == 0)
		fix_offsets(table, chunks);
	put_le32(header + FORGE_CHUNK_COUNT, chunks);
	tail = size - n;

	object = malloc(SEGMENT_OBJECT_HEADER + sizeof index + sizeof table + tail);
	if (!object)
		abort();
	len = forge_object(header, index, records * RECORD_BYTES, table, chunks * SEGMENT_TABLE_ENTRY, object);
	if (len == 0)
		abort();
	memcpy(object + len, data + n, tail);
	open_object(object, len + tail, &plain_key);
	free(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] & 1)
		open_raw(data + 1, size - 1);
	else
		open_forged(data + 1, size - 1);
	return 0;
}
