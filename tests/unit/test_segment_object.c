/* SPDX-License-Identifier: GPL-3.0-only */
/* test_segment_object.c: segments packed for the store and opened again, and what is refused on the way. */
#include "log/segment_object.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "lib/segment_forge.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define SEGMENT (1u << 20)
#define IMAGE UINT64_C(0x1234)
#define NUMBER 42

static const uint8_t pool[POOL_UUID_BYTES] = "a pool's uuid ..";
static const struct seal_key plain_key = { .plain = true };
static const struct seal_key secret_key = { .bytes = "a key of nearly thirty-two bytes" };
static const struct seal_key *const keys[] = { &plain_key, &secret_key };

/* ---- a segment in memory ---- */

struct segment {
	uint32_t grain;
	uint8_t *bytes;
	struct record records[1024];
	size_t count;
	uint32_t next_slot;
	unsigned reads;
	uint32_t absent; /* this slot cannot be read; UINT32_MAX: none */
	uint8_t digest[DIGEST_BYTES];
	struct error err;
};

static uint8_t prev_digest[DIGEST_BYTES] = { 9, 8, 7 };

static struct segment *segment_new(uint32_t grain)
{
	struct segment *s = calloc(1, sizeof *s);

	assert_non_null(s);
	s->grain = grain;
	s->absent = UINT32_MAX;
	s->bytes = malloc(SEGMENT);
	assert_non_null(s->bytes);
	memset(s->bytes, 0xee, SEGMENT); /* slots never written are not zeros */
	return s;
}

static void segment_free(struct segment *s)
{
	free(s->bytes);
	free(s);
}

static void add(struct segment *s, struct record r)
{
	assert_true(s->count < sizeof s->records / sizeof s->records[0]);
	s->records[s->count++] = r;
}

/* A slot with bytes that compress (`seed` below 128) or do not. */
static void add_slot(struct segment *s, uint8_t kind, uint64_t value, unsigned seed)
{
	uint8_t *at = s->bytes + (size_t)s->next_slot * s->grain;

	for (uint32_t i = 0; i < s->grain; i++)
		at[i] = seed < 128 ? (uint8_t)seed : (uint8_t)rand_r(&seed);
	add(s, (struct record){ .kind = kind,
	                        .slot = (uint16_t)s->next_slot,
	                        .value = value,
	                        .count = 1,
	                        .data_crc = crc32c(0, at, s->grain),
	                        .time_ns = s->count });
	s->next_slot++;
}

static int slot_data(void *arg, uint32_t slot, uint32_t count, void *buf)
{
	struct segment *s = arg;

	s->reads++;
	if (s->absent >= slot && s->absent < slot + count)
		return -EIO;
	memcpy(buf, s->bytes + (size_t)slot * s->grain, (size_t)count * s->grain);
	return 0;
}

static struct segment_pack packing_of(struct segment *s)
{
	struct segment_pack p = {
		.pool = pool,
		.image = IMAGE,
		.number = NUMBER,
		.epoch = 6,
		.records = s->records,
		.record_count = s->count,
		.checkpoint = { 40, 17 },
		.prev_digest = prev_digest,
		.digest = s->digest,
		.image_size = UINT64_C(1) << 40,
		.slot_data = slot_data,
		.arg = s,
	};

	assert_int_equal(segment_shape(s->grain, SEGMENT, &p.shape), 0);
	assert_int_equal(segment_digest(IMAGE, NUMBER, prev_digest, s->records, s->count, s->digest), 0);
	return p;
}

static int pack_as(const struct segment_pack *p, const struct seal_key *key, uint8_t **object, size_t *len,
                   struct error *err)
{
	struct sealer *sealer = sealer_new(0);
	int rc;

	assert_non_null(sealer);
	*object = NULL;
	rc = segment_object_pack(p, sealer, key, object, len, err);
	sealer_free(sealer);
	return rc;
}

static size_t pack(struct segment *s, const struct seal_key *key, uint8_t **object)
{
	struct segment_pack p = packing_of(s);
	size_t len;

	if (pack_as(&p, key, object, &len, &s->err) < 0)
		fail_msg("pack: %s", error_text(&s->err));
	return len;
}

/* Opens header, index and table of an object: 0 or the first error. */
static int open_meta(const uint8_t *object, size_t len, const struct seal_key *key, struct segment_meta *meta,
                     struct record **records, uint8_t **table, struct error *err)
{
	int rc = segment_meta_decode(object, len, key, meta, err);

	return rc < 0 ? rc : segment_meta_open(meta, object, len, key, records, table, err);
}

static int try_open(const uint8_t *object, size_t len, const struct seal_key *key, struct error *err)
{
	struct segment_meta meta;
	struct record *records = NULL;
	uint8_t *table = NULL;
	int rc = open_meta(object, len, key, &meta, &records, &table, err);

	free(records);
	free(table);
	return rc;
}

/* ---- round trips ---- */

/* Opens everything and compares it with what `s` holds: needed slots as they were, all others zeros. */
static void assert_holds(struct segment *s, const uint8_t *object, size_t len, const struct seal_key *key)
{
	struct segment_meta meta;
	struct record *records;
	uint8_t *table, *bytes = calloc(1, SEGMENT), *expected = calloc(1, SEGMENT), *plain = malloc(CHUNK_BYTES);
	bool *keep = calloc(s->count + 1, 1);
	uint64_t end;
	size_t n = 0;

	assert_true(bytes && expected && plain && keep);
	if (open_meta(object, len, key, &meta, &records, &table, &s->err) < 0)
		fail_msg("open: %s", error_text(&s->err));
	end = meta.chunks_offset;
	for (uint32_t i = 0; i < meta.chunk_count; i++) {
		struct seal_box box;
		uint64_t offset;
		uint32_t got;

		segment_table_entry(&meta, table, i, &offset, &box);
		assert_int_equal(offset, end);
		end = offset + box.stored_length;
		assert_true(end <= len);
		if (!box.stored_length)
			continue;
		assert_int_equal(segment_chunk_open(&meta, i, &box, object + offset, key, plain, &got, &s->err), 0);
		assert_true(got <= CHUNK_BYTES);
		memcpy(bytes + (size_t)i * CHUNK_BYTES, plain, got);
	}
	assert_int_equal(end, len);

	assert_int_equal(records_mark_needed(s->records, s->count, keep), 0);
	for (size_t i = 0; i < s->count; i++) {
		const struct record *r = &s->records[i];

		if (!keep[i])
			continue;
		if (!records || n >= meta.record_count) {
			fail();
			return;
		}
		assert_true(records[n].kind == r->kind && records[n].value == r->value && records[n].slot == r->slot);
		assert_true(records[n].time_ns == r->time_ns && records[n].data_crc == r->data_crc);
		n++;
		if (record_has_slot(r->kind))
			memcpy(expected + (size_t)r->slot * s->grain, s->bytes + (size_t)r->slot * s->grain, s->grain);
	}
	assert_int_equal(n, meta.record_count);
	assert_int_equal(memcmp(bytes, expected, SEGMENT), 0);
	free(records);
	free(table);
	free(keep);
	free(plain);
	free(expected);
	free(bytes);
}

/* A few of everything, with overwritten slots, over several chunks. */
static struct segment *mixed_segment(uint32_t grain)
{
	struct segment *s = segment_new(grain);

	for (unsigned i = 0; i < 10; i++)
		add_slot(s, RECORD_DATA, i % 7, i < 5 ? i : 1000 + i);
	add(s, (struct record){ .kind = RECORD_ZERO, .slot = RECORD_NO_SLOT, .value = 2, .count = 2 });
	add_slot(s, RECORD_NODE, 0, 3);
	add_slot(s, RECORD_CHECKPOINT, 0, 4);
	add(s, (struct record){ .kind = RECORD_RESIZE, .slot = RECORD_NO_SLOT, .value = UINT64_C(1) << 40 });
	add_slot(s, RECORD_DATA, 1, 2000);
	return s;
}

static void segment_survives_packing_and_opening(void **state)
{
	static const uint32_t grains[] = { 4096, 8192, 16384, 32768, 65536 };

	(void)state;
	for (size_t k = 0; k < 2; k++) {
		for (size_t g = 0; g < sizeof grains / sizeof grains[0]; g++) {
			struct segment *s = mixed_segment(grains[g]);
			uint8_t *object;
			size_t len = pack(s, keys[k], &object);

			assert_holds(s, object, len, keys[k]);
			free(object);
			segment_free(s);
		}
	}
}

/* Programs that do not know them must not take the segment for a damaged one. */
static void only_a_segment_with_shares_is_of_a_new_version(void **state)
{
	(void)state;
	for (unsigned shares = 0; shares < 2; shares++) {
		struct segment *s = mixed_segment(4096);
		uint8_t *object;

		if (shares)
			add_slot(s, RECORD_SHARE, 77, 5);
		size_t len = pack(s, &plain_key, &object);
		assert_int_equal(get_le32(object + 8), shares ? 2 : 1);
		assert_holds(s, object, len, &plain_key);
		free(object);
		segment_free(s);
	}
}

static void header_says_what_was_packed(void **state)
{
	struct segment *s = mixed_segment(4096);
	struct segment_meta m;
	uint8_t *object;
	size_t len = pack(s, &secret_key, &object);

	(void)state;
	assert_memory_equal(object, "GARNSEGS\1\0\0\0\1\0\0\0a pool's uuid ..", 32);
	assert_int_equal(segment_meta_decode(object, len, &secret_key, &m, &s->err), 0);
	assert_memory_equal(m.pool, pool, sizeof pool);
	assert_true(m.image == IMAGE && m.number == NUMBER && m.epoch == 6);
	assert_true(m.slot_bytes == 4096 && m.slots == 256 && m.chunk_count == 1);
	assert_true(m.checkpoint.segment == 40 && m.checkpoint.record == 17);
	assert_true(m.image_size == UINT64_C(1) << 40 && m.packed_ns != 0);
	assert_memory_equal(m.prev_digest, prev_digest, DIGEST_BYTES);
	assert_memory_equal(m.digest, s->digest, DIGEST_BYTES);
	assert_int_equal(m.index_offset, SEGMENT_OBJECT_HEADER);
	assert_int_equal(m.chunks_offset, m.table_offset + SEGMENT_TABLE_ENTRY);
	assert_true(segment_meta_bytes(&m) < len);
	free(object);
	segment_free(s);
}

static void random_segments_survive_packing_and_opening(void **state)
{
	const char *text = getenv("GARNER_TEST_SEED");
	unsigned seed = text ? (unsigned)strtoul(text, NULL, 0) : (unsigned)time(NULL);

	(void)state;
	print_message("GARNER_TEST_SEED=%u\n", seed);
	for (unsigned round = 0; round < 40; round++) {
		struct segment *s = segment_new(4096u << rand_r(&seed) % 5);
		unsigned slots = (unsigned)rand_r(&seed) % (SEGMENT / s->grain + 1),
			 grains = 1 + (unsigned)rand_r(&seed) % 300;
		uint8_t *object;
		size_t len;

		while (s->next_slot < slots && s->count < 1000) {
			unsigned dice = (unsigned)rand_r(&seed) % 40;
			uint64_t grain = (unsigned)rand_r(&seed) % grains;

			if (dice < 30)
				add_slot(s, RECORD_DATA, grain, (unsigned)rand_r(&seed) % 512);
			else if (dice < 38)
				add(s, (struct record){ .kind = RECORD_ZERO,
				                        .slot = RECORD_NO_SLOT,
				                        .value = grain,
				                        .count = 1 + (uint32_t)rand_r(&seed) % 100 });
			else
				add_slot(s, dice == 38 ? RECORD_NODE : RECORD_CHECKPOINT, grain, dice);
		}
		len = pack(s, keys[round % 2], &object);
		assert_holds(s, object, len, keys[round % 2]);
		free(object);
		segment_free(s);
	}
}

static void segment_without_slots_or_records_can_be_packed(void **state)
{
	(void)state;
	for (size_t k = 0; k < 2; k++) {
		struct segment *s = segment_new(4096);
		uint8_t *object;
		size_t len = pack(s, keys[k], &object);

		assert_int_equal(len, SEGMENT_OBJECT_HEADER);
		assert_holds(s, object, len, keys[k]);
		free(object);
		add(s, (struct record){ .kind = RECORD_RESIZE, .slot = RECORD_NO_SLOT, .value = 5 });
		len = pack(s, keys[k], &object);
		assert_holds(s, object, len, keys[k]);
		assert_int_equal(s->reads, 0);
		free(object);
		segment_free(s);
	}
}

static void slots_not_needed_are_neither_read_nor_stored(void **state)
{
	struct segment *s = segment_new(4096);
	struct segment_meta meta;
	struct record *records;
	struct seal_box box;
	uint8_t *object, *table;
	uint64_t offset;
	size_t len;

	(void)state;
	/* Three chunks of 16; the first is overwritten completely by the third, and the second but for one slot. */
	for (unsigned i = 0; i < 16; i++)
		add_slot(s, RECORD_DATA, i, 1000 + i);
	for (unsigned i = 0; i < 16; i++)
		add_slot(s, RECORD_DATA, i == 7 ? 99 : i, 2000 + i);
	for (unsigned i = 0; i < 9; i++)
		add_slot(s, RECORD_DATA, i, 3000 + i);
	add(s, (struct record){ .kind = RECORD_ZERO, .slot = RECORD_NO_SLOT, .value = 9, .count = 8 });
	s->absent = 20;
	len = pack(s, &plain_key, &object);
	assert_holds(s, object, len, &plain_key);
	assert_int_equal(s->reads, 2);

	assert_int_equal(open_meta(object, len, &plain_key, &meta, &records, &table, &s->err), 0);
	assert_int_equal(meta.record_count, 11);
	assert_int_equal(meta.chunk_count, 3);
	segment_table_entry(&meta, table, 0, &offset, &box);
	assert_int_equal(box.stored_length, 0);
	assert_int_equal(offset, meta.chunks_offset);
	segment_table_entry(&meta, table, 1, &offset, &box);
	assert_int_equal(offset, meta.chunks_offset);
	/* One random slot among zeros. */
	assert_true(box.stored_length > 4096 && box.stored_length < 2 * 4096);
	segment_table_entry(&meta, table, 2, &offset, &box);
	assert_int_equal(box.plain_length, 9 * 4096);
	free(records);
	free(table);
	free(object);
	segment_free(s);
}

static void packing_again_gives_other_nonces_and_the_same_digest(void **state)
{
	struct segment *s = mixed_segment(4096);
	struct segment_meta a, b;
	struct seal_box box_a, box_b;
	uint8_t *one, *two, *table_a, *table_b;
	uint64_t offset;
	size_t len = pack(s, &secret_key, &one);

	(void)state;
	assert_int_equal(pack(s, &secret_key, &two), len);
	assert_int_equal(open_meta(one, len, &secret_key, &a, NULL, &table_a, &s->err), 0);
	assert_int_equal(open_meta(two, len, &secret_key, &b, NULL, &table_b, &s->err), 0);
	assert_memory_equal(a.digest, b.digest, DIGEST_BYTES);
	assert_memory_not_equal(a.index_box.nonce, b.index_box.nonce, SEAL_NONCE_BYTES);
	segment_table_entry(&a, table_a, 0, &offset, &box_a);
	segment_table_entry(&b, table_b, 0, &offset, &box_b);
	assert_memory_not_equal(box_a.nonce, box_b.nonce, SEAL_NONCE_BYTES);
	assert_memory_not_equal(one + offset, two + offset, 64);
	free(table_a);
	free(table_b);
	free(two);
	free(one);
	segment_free(s);
}

static void either_result_may_be_left_out(void **state)
{
	struct segment *s = mixed_segment(4096);
	struct segment_meta meta;
	struct record *records = NULL;
	uint8_t *object, *table = NULL;
	size_t len = pack(s, &plain_key, &object);

	(void)state;
	assert_int_equal(open_meta(object, len, &plain_key, &meta, NULL, NULL, &s->err), 0);
	assert_int_equal(open_meta(object, len, &plain_key, &meta, &records, NULL, &s->err), 0);
	assert_int_equal(open_meta(object, len, &plain_key, &meta, NULL, &table, &s->err), 0);
	assert_true(records && table);
	free(records);
	free(table);
	free(object);
	segment_free(s);
}

/* ---- what packing refuses ---- */

static void damaged_slot_is_named_and_not_packed(void **state)
{
	struct segment *s = mixed_segment(4096);
	struct segment_pack p = packing_of(s);
	uint8_t *object;
	size_t len;

	(void)state;
	/* Slot 0 was overwritten: nobody minds. Slot 8 is needed. */
	s->bytes[5] ^= 1;
	assert_int_equal(pack_as(&p, &plain_key, &object, &len, &s->err), 0);
	free(object);
	s->bytes[8 * 4096 + 4095] ^= 0x80;
	assert_int_equal(pack_as(&p, &plain_key, &object, &len, &s->err), -EBADMSG);
	assert_non_null(strstr(s->err.text, "slot 8 of segment 42"));
	s->bytes[8 * 4096 + 4095] ^= 0x80;
	s->absent = 8;
	assert_int_equal(pack_as(&p, &plain_key, &object, &len, &s->err), -EIO);
	segment_free(s);
}

static void segment_that_nobody_could_open_is_not_packed(void **state)
{
	struct segment *s = mixed_segment(4096);
	struct segment_pack good = packing_of(s), p = good;
	uint8_t other[DIGEST_BYTES] = { 0 };
	uint8_t *object;
	size_t len;

	(void)state;
	p.digest = other;
	assert_int_equal(pack_as(&p, &plain_key, &object, &len, &s->err), -EBADMSG);
	p = good;
	p.number = 0;
	assert_int_equal(pack_as(&p, &plain_key, &object, &len, &s->err), -EINVAL);
	p = good;
	p.checkpoint.segment = NUMBER + 1;
	assert_int_equal(pack_as(&p, &plain_key, &object, &len, &s->err), -EINVAL);
	p = good;
	p.record_count = p.shape.records_max + 1;
	assert_int_equal(pack_as(&p, &plain_key, &object, &len, &s->err), -EINVAL);
	s->records[8].slot = 7; /* whose owner is needed too */
	p = packing_of(s);
	assert_int_equal(pack_as(&p, &plain_key, &object, &len, &s->err), -EBADMSG);
	s->records[8].slot = 256;
	p = packing_of(s);
	assert_int_equal(pack_as(&p, &plain_key, &object, &len, &s->err), -EBADMSG);
	segment_free(s);
}

/* ---- what opening refuses ---- */

static void every_single_bit_flip_in_header_index_or_table_is_refused(void **state)
{
	(void)state;
	for (size_t k = 0; k < 2; k++) {
		struct segment *s = mixed_segment(65536);
		struct segment_meta meta;
		uint8_t *object;
		size_t len = pack(s, keys[k], &object);

		assert_int_equal(segment_meta_decode(object, len, keys[k], &meta, &s->err), 0);
		for (size_t bit = 0; bit < segment_meta_bytes(&meta) * 8; bit++) {
			object[bit / 8] ^= (uint8_t)(1u << bit % 8);
			if (try_open(object, len, keys[k], NULL) != -EBADMSG)
				fail_msg("bit %zu of byte %zu may be flipped", bit % 8, bit / 8);
			object[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		assert_int_equal(try_open(object, len, keys[k], &s->err), 0);
		free(object);
		segment_free(s);
	}
}

static void flipped_bit_in_a_chunk_is_refused(void **state)
{
	(void)state;
	for (size_t k = 0; k < 2; k++) {
		struct segment *s = mixed_segment(4096);
		struct segment_meta meta;
		struct seal_box box;
		uint8_t *object, *table, *plain = malloc(CHUNK_BYTES);
		uint64_t offset;
		uint32_t got;
		size_t len = pack(s, keys[k], &object);

		assert_non_null(plain);
		assert_int_equal(open_meta(object, len, keys[k], &meta, NULL, &table, &s->err), 0);
		segment_table_entry(&meta, table, 0, &offset, &box);
		for (size_t at = 0; at < box.stored_length; at += 97) {
			object[offset + at] ^= 4;
			assert_int_equal(
				segment_chunk_open(&meta, 0, &box, object + offset, keys[k], plain, &got, &s->err),
				-EBADMSG);
			object[offset + at] ^= 4;
		}
		assert_int_equal(segment_chunk_open(&meta, 0, &box, object + offset, keys[k], plain, &got, &s->err), 0);
		free(plain);
		free(table);
		free(object);
		segment_free(s);
	}
}

static void chunk_opens_only_where_it_belongs(void **state)
{
	(void)state;
	for (size_t k = 0; k < 2; k++) {
		struct segment *s = mixed_segment(65536);
		struct segment_meta meta, other;
		struct seal_box box;
		uint8_t *object, *table, *plain = malloc(CHUNK_BYTES);
		uint64_t offset;
		uint32_t got;
		size_t len = pack(s, keys[k], &object);

		assert_non_null(plain);
		assert_int_equal(open_meta(object, len, keys[k], &meta, NULL, &table, &s->err), 0);
		segment_table_entry(&meta, table, 8, &offset, &box);
		assert_int_equal(segment_chunk_open(&meta, 8, &box, object + offset, keys[k], plain, &got, &s->err), 0);
		assert_int_equal(got, CHUNK_BYTES);
		assert_int_equal(segment_chunk_open(&meta, 9, &box, object + offset, keys[k], plain, &got, &s->err),
		                 -EBADMSG);
		other = meta;
		other.image++;
		assert_int_equal(segment_chunk_open(&other, 8, &box, object + offset, keys[k], plain, &got, &s->err),
		                 -EBADMSG);
		other = meta;
		other.number++;
		assert_int_equal(segment_chunk_open(&other, 8, &box, object + offset, keys[k], plain, &got, &s->err),
		                 -EBADMSG);
		other = meta;
		other.pool[3]++;
		assert_int_equal(segment_chunk_open(&other, 8, &box, object + offset, keys[k], plain, &got, &s->err),
		                 -EBADMSG);
		/* The epoch is not part of the place: a segment packed again in a later term is the same log. */
		other = meta;
		other.epoch++;
		assert_int_equal(segment_chunk_open(&other, 8, &box, object + offset, keys[k], plain, &got, &s->err),
		                 0);
		box.plain_length = CHUNK_BYTES + 65536;
		assert_int_equal(segment_chunk_open(&meta, 8, &box, object + offset, keys[k], plain, &got, &s->err),
		                 -EBADMSG);
		free(plain);
		free(table);
		free(object);
		segment_free(s);
	}
}

static void object_cut_short_is_refused_at_every_length(void **state)
{
	(void)state;
	for (size_t k = 0; k < 2; k++) {
		struct segment *s = mixed_segment(65536);
		struct segment_meta meta;
		uint8_t *object;
		size_t len = pack(s, keys[k], &object);

		assert_int_equal(segment_meta_decode(object, len, keys[k], &meta, &s->err), 0);
		for (size_t cut = 0; cut < segment_meta_bytes(&meta); cut++) {
			/* In memory of its own, so that reading on is found. */
			uint8_t *part = malloc(cut + 1);

			assert_non_null(part);
			memcpy(part, object, cut);
			part = realloc(part, cut ? cut : 1);
			assert_non_null(part);
			assert_int_equal(try_open(part, cut, keys[k], &s->err), -EBADMSG);
			free(part);
		}
		assert_int_equal(try_open(object, segment_meta_bytes(&meta), keys[k], &s->err), 0);
		free(object);
		segment_free(s);
	}
}

static void object_of_another_key_is_refused(void **state)
{
	struct segment *s = mixed_segment(4096);
	struct seal_key wrong = secret_key;
	uint8_t *sealed, *plain;
	size_t sealed_len = pack(s, &secret_key, &sealed), plain_len = pack(s, &plain_key, &plain);

	(void)state;
	wrong.bytes[31] ^= 1;
	assert_int_equal(try_open(sealed, sealed_len, &wrong, &s->err), -EBADMSG);
	assert_int_equal(try_open(sealed, sealed_len, &plain_key, &s->err), -EBADMSG);
	assert_int_equal(try_open(plain, plain_len, &secret_key, &s->err), -EBADMSG);
	/* Also when somebody without the key makes the tag right for a plain pool. */
	forge_header_tag(sealed);
	assert_int_equal(try_open(sealed, sealed_len, &plain_key, &s->err), -EBADMSG);
	assert_non_null(strstr(s->err.text, "sealed"));
	free(plain);
	free(sealed);
	segment_free(s);
}

/* Packs a mixed segment, changes `len` bytes of the header, makes the tag right, and opens it. */
static int open_patched(uint32_t offset, uint64_t value, size_t len)
{
	struct segment *s = mixed_segment(4096);
	uint8_t *object, v[8];
	size_t object_len = pack(s, &plain_key, &object);
	int rc;

	put_le64(v, value);
	memcpy(object + offset, v, len);
	forge_header_tag(object);
	rc = try_open(object, object_len, &plain_key, NULL);
	free(object);
	segment_free(s);
	return rc;
}

static void header_that_makes_no_sense_is_refused_in_spite_of_its_tag(void **state)
{
	(void)state;
	assert_int_equal(open_patched(48, 7, 8), 0); /* the epoch may be any */
	assert_int_equal(open_patched(8, 2, 4), 0);
	assert_int_equal(open_patched(8, 3, 4), -EPROTONOSUPPORT);
	assert_int_equal(open_patched(8, 0, 4), -EBADMSG);
	assert_int_equal(open_patched(FORGE_FLAGS, 1, 4), -EBADMSG);
	assert_int_equal(open_patched(FORGE_FLAGS, 2, 4), -EPROTONOSUPPORT);
	assert_int_equal(open_patched(FORGE_IMAGE, 1, 8), -EBADMSG);
	assert_int_equal(open_patched(FORGE_NUMBER, 0, 8), -EBADMSG);
	assert_int_equal(open_patched(FORGE_NUMBER, UINT64_C(1) << 40, 8), -EBADMSG);
	assert_int_equal(open_patched(56, 0, 4), -EBADMSG); /* slot bytes */
	assert_int_equal(open_patched(56, 65536, 4), -EBADMSG);
	assert_int_equal(open_patched(60, 0, 4), -EBADMSG); /* slots */
	assert_int_equal(open_patched(60, 0x40000100, 4), -EBADMSG);
	assert_int_equal(open_patched(FORGE_RECORD_COUNT, 0, 4), -EBADMSG);
	assert_int_equal(open_patched(FORGE_RECORD_COUNT, UINT32_MAX, 4), -EBADMSG);
	assert_int_equal(open_patched(FORGE_CHUNK_COUNT, 0, 4), -EBADMSG);
	assert_int_equal(open_patched(FORGE_CHUNK_COUNT, 17, 4), -EBADMSG);
	assert_int_equal(open_patched(72, NUMBER + 1, 8), -EBADMSG); /* checkpoint */
	assert_int_equal(open_patched(72, 0, 8), -EBADMSG);
	assert_int_equal(open_patched(FORGE_INDEX_BOX, UINT32_MAX, 4), -EBADMSG);
	assert_int_equal(open_patched(FORGE_INDEX_BOX, 0, 4), -EBADMSG);
	assert_int_equal(open_patched(FORGE_INDEX_BOX + 4, 64, 4), -EBADMSG);
	assert_int_equal(open_patched(FORGE_INDEX_BOX + 8, 2, 1), -EBADMSG);
	assert_int_equal(open_patched(FORGE_CHUNKS_OFFSET, UINT64_MAX, 8), -EBADMSG);
	assert_int_equal(open_patched(FORGE_CHUNKS_OFFSET, 512, 8), -EBADMSG);
}

/* ---- indexes and tables that nobody packed, behind right digests ---- */

struct forged {
	uint8_t header[SEGMENT_OBJECT_HEADER];
	uint8_t index[8 * RECORD_BYTES];
	uint8_t table[16 * SEGMENT_TABLE_ENTRY];
	uint32_t records, chunks;
};

/* Two records, in the first and the third of three chunks of one slot each; the second is empty. */
static void forge_init(struct forged *f)
{
	const struct record records[2] = { { .kind = RECORD_DATA, .value = 5, .slot = 0, .count = 1 },
		                           { .kind = RECORD_DATA, .value = 6, .slot = 2, .count = 1 } };
	struct segment *s = segment_new(65536);
	uint8_t *object;

	memset(f, 0, sizeof *f);
	pack(s, &plain_key, &object);
	memcpy(f->header, object, sizeof f->header);
	free(object);
	segment_free(s);
	f->records = 2;
	f->chunks = 3;
	for (uint32_t i = 0; i < 2; i++) {
		record_encode(&records[i], 0, i, f->index + i * RECORD_BYTES);
		seal_box_encode(&(struct seal_box){ .stored_length = 1000, .plain_length = 65536, .method = SEAL_ZSTD },
		                f->table + 2 * i * SEGMENT_TABLE_ENTRY + 4);
	}
	put_le32(f->table + 1 * SEGMENT_TABLE_ENTRY, 1000);
	put_le32(f->table + 2 * SEGMENT_TABLE_ENTRY, 1000);
}

static int forge_open(struct forged *f)
{
	uint8_t object[sizeof *f];
	size_t len;

	put_le32(f->header + FORGE_RECORD_COUNT, f->records);
	put_le32(f->header + FORGE_CHUNK_COUNT, f->chunks);
	len = forge_object(f->header, f->index, f->records * RECORD_BYTES, f->table, f->chunks * SEGMENT_TABLE_ENTRY,
	                   object);
	assert_true(len > 0);
	return try_open(object, len, &plain_key, NULL);
}

static void set_record(struct forged *f, uint32_t number, uint16_t slot)
{
	const struct record r = { .kind = RECORD_DATA, .value = 9 + number, .slot = slot, .count = 1 };

	record_encode(&r, 0, number, f->index + number * RECORD_BYTES);
}

static void index_with_impossible_slots_is_refused(void **state)
{
	struct forged f;

	(void)state;
	forge_init(&f);
	assert_int_equal(forge_open(&f), 0);
	f.records = 3;
	set_record(&f, 2, 2); /* a slot twice */
	assert_int_equal(forge_open(&f), -EBADMSG);
	set_record(&f, 2, 16); /* a slot that there is not */
	assert_int_equal(forge_open(&f), -EBADMSG);
	set_record(&f, 2, 3); /* a slot behind the last chunk */
	assert_int_equal(forge_open(&f), -EBADMSG);
	set_record(&f, 2, 1); /* a slot in a chunk that stores nothing */
	assert_int_equal(forge_open(&f), -EBADMSG);
	f.index[2 * RECORD_BYTES + 20] ^= 1; /* a record that fails its checksum */
	assert_int_equal(forge_open(&f), -EBADMSG);
	f.records = 1; /* a chunk that no record needs */
	assert_int_equal(forge_open(&f), -EBADMSG);
	f.records = 2;
	assert_int_equal(forge_open(&f), 0);
}

static int open_with_table(uint32_t chunk, uint32_t at, uint64_t value, size_t len)
{
	struct forged f;
	uint8_t v[8];

	forge_init(&f);
	put_le64(v, value);
	memcpy(f.table + chunk * SEGMENT_TABLE_ENTRY + at, v, len);
	return forge_open(&f);
}

static void table_with_impossible_entries_is_refused(void **state)
{
	(void)state;
	assert_int_equal(open_with_table(0, 0, 0, 4), 0);
	assert_int_equal(open_with_table(0, 0, 1, 4), -EBADMSG);          /* a gap */
	assert_int_equal(open_with_table(2, 0, 999, 4), -EBADMSG);        /* an overlap */
	assert_int_equal(open_with_table(2, 0, UINT32_MAX, 4), -EBADMSG); /* beyond the end */
	assert_int_equal(open_with_table(2, 4, 65537, 4), -EBADMSG);      /* stored length */
	assert_int_equal(open_with_table(2, 4, UINT32_MAX, 4), -EBADMSG);
	assert_int_equal(open_with_table(2, 4, 0, 4), -EBADMSG);    /* needed, and nothing stored */
	assert_int_equal(open_with_table(2, 8, 4096, 4), -EBADMSG); /* plain length */
	assert_int_equal(open_with_table(2, 8, 131072, 4), -EBADMSG);
	assert_int_equal(open_with_table(1, 4, 1, 4), -EBADMSG); /* not needed, and something stored */
	assert_int_equal(open_with_table(1, 8, 65536, 4), -EBADMSG);
	assert_int_equal(open_with_table(2, 12, 2, 1), -EBADMSG); /* method */
	assert_int_equal(open_with_table(2, 13, 1, 1), -EBADMSG); /* reserved */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(segment_survives_packing_and_opening),
		cmocka_unit_test(only_a_segment_with_shares_is_of_a_new_version),
		cmocka_unit_test(header_says_what_was_packed),
		cmocka_unit_test(random_segments_survive_packing_and_opening),
		cmocka_unit_test(segment_without_slots_or_records_can_be_packed),
		cmocka_unit_test(slots_not_needed_are_neither_read_nor_stored),
		cmocka_unit_test(packing_again_gives_other_nonces_and_the_same_digest),
		cmocka_unit_test(either_result_may_be_left_out),
		cmocka_unit_test(damaged_slot_is_named_and_not_packed),
		cmocka_unit_test(segment_that_nobody_could_open_is_not_packed),
		cmocka_unit_test(every_single_bit_flip_in_header_index_or_table_is_refused),
		cmocka_unit_test(flipped_bit_in_a_chunk_is_refused),
		cmocka_unit_test(chunk_opens_only_where_it_belongs),
		cmocka_unit_test(object_cut_short_is_refused_at_every_length),
		cmocka_unit_test(object_of_another_key_is_refused),
		cmocka_unit_test(header_that_makes_no_sense_is_refused_in_spite_of_its_tag),
		cmocka_unit_test(index_with_impossible_slots_is_refused),
		cmocka_unit_test(table_with_impossible_entries_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
