/* SPDX-License-Identifier: GPL-3.0-only */
/* segment_object.c: packs a segment into the object that the store keeps, and opens one again, piece by piece.
 *
 * Header, little-endian: 0 magic "GARNSEGS", 8 version u32, 12 flags u32 (1: sealed with a key), 16 pool uuid, 32 image u64,
 * 40 number u64, 48 epoch u64, 56 slot bytes u32, 60 slots u32, 64 record count u32, 68 chunk count u32, 72 checkpoint
 * (segment u64, record u32, zero u32), 88 prev digest, 120 digest, 152 image size u64, 160 time of packing u64, 168 index
 * box, 220 zero u32, 224 digest of the table, 256 chunks offset u64, 264 records as written u32 (0: not said), zeros, 480 tag. Magic, version and tag stay where they
 * are in every later version.
 *
 * The tag speaks for the header, the header for the index (its box) and for the table (its digest), the table for the
 * chunks (their boxes): what is opened here is what was packed. In a plain pool that finds damage, not malice, so
 * every number is checked all the same.
 */
#include "log/segment_object.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/crc32c.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#define HEADER_TAG (SEGMENT_OBJECT_HEADER - DIGEST_BYTES)
#define FLAG_KEYED 1u
#define PART_INDEX UINT32_MAX
#define AD_BYTES (8 + POOL_UUID_BYTES + 8 + 8 + 4)
#define SLOT_FREE UINT32_MAX

static const uint8_t object_magic[8] = "GARNSEGS";
static const char ad_magic[8] = "gnrsegmt";

static_assert(DIGEST_BYTES == crypto_generichash_BYTES, "digest size");
static_assert(SEAL_KEY_BYTES <= crypto_generichash_KEYBYTES_MAX, "key size");
static_assert(SEGMENT_OBJECT_HEADER + 2 * SEGMENT_SLOTS_MAX * RECORD_BYTES +
                              SEGMENT_BYTES_MAX / CHUNK_BYTES * SEGMENT_TABLE_ENTRY <=
                      SEGMENT_OBJECT_META_MAX,
              "the largest header, index and table fit");

static void make_ad(const uint8_t pool[POOL_UUID_BYTES], uint64_t image, segment_no_t number, uint32_t part,
                    uint8_t out[AD_BYTES])
{
	memcpy(out, ad_magic, 8);
	memcpy(out + 8, pool, POOL_UUID_BYTES);
	put_le64(out + 8 + POOL_UUID_BYTES, image);
	put_le64(out + 16 + POOL_UUID_BYTES, number);
	put_le32(out + 24 + POOL_UUID_BYTES, part);
}

static void header_tag(const struct seal_key *key, const uint8_t *header, uint8_t tag[DIGEST_BYTES])
{
	if (key->plain)
		digest_of(header, HEADER_TAG, NULL, 0, tag);
	else
		crypto_generichash(tag, DIGEST_BYTES, header, HEADER_TAG, key->bytes, SEAL_KEY_BYTES);
}

static uint32_t slots_per_chunk(uint32_t slot_bytes)
{
	return CHUNK_BYTES / slot_bytes;
}

/* Which record owns each slot, SLOT_FREE where none does; and how many slots there are up to the last one used. */
struct slot_owners {
	uint32_t record[SEGMENT_SLOTS_MAX];
	uint32_t used;
};

/* Returns NULL when memory is short. *bad is set when a slot is out of range or has two owners. */
static struct slot_owners *slot_owners_new(const struct record *records, size_t count, uint32_t slots, bool *bad)
{
	struct slot_owners *o = malloc(sizeof *o);

	if (!o)
		return NULL;
	memset(o->record, 0xff, sizeof o->record);
	o->used = 0;
	*bad = false;
	for (size_t i = 0; i < count; i++) {
		uint32_t slot = records[i].slot;

		if (!record_has_slot(records[i].kind))
			continue;
		if (slot >= slots || slot >= SEGMENT_SLOTS_MAX || o->record[slot] != SLOT_FREE) {
			*bad = true;
			break;
		}
		o->record[slot] = (uint32_t)i;
		if (slot >= o->used)
			o->used = slot + 1;
	}
	return o;
}

/* How many bytes chunk `i` holds: none when no slot of it is owned; the last one is cut behind the last slot used. */
static uint32_t chunk_plain_bytes(const struct slot_owners *o, uint32_t slot_bytes, uint32_t i)
{
	uint32_t per = slots_per_chunk(slot_bytes), first = i * per;
	uint32_t end = first + per < o->used ? first + per : o->used;

	for (uint32_t slot = first; slot < end; slot++)
		if (o->record[slot] != SLOT_FREE)
			return (end - first) * slot_bytes;
	return 0;
}

/* ---- packing ---- */

struct packing {
	const struct segment_pack *p;
	struct sealer *sealer;
	const struct seal_key *key;
	struct record *records; /* the needed ones */
	uint32_t count;
	uint8_t *index; /* the same, encoded */
	struct slot_owners *owners;
	uint32_t chunks;
	uint8_t *object;
	size_t length; /* so far */
	struct seal_box index_box;
	size_t table; /* where in the object */
	struct error *err;
};

/* What seal_open() says, after the name of what it was about. */
static const char *why(int rc)
{
	return rc == -EBADMSG ? "is damaged, or sealed with another key" : strerror(-rc);
}

static int out_of_memory(struct error *err)
{
	return error_set(err, -ENOMEM, "out of memory");
}

/* Keeps the needed records: all of them, if that is what was sealed. */
static int keep_needed(struct packing *k)
{
	const struct segment_pack *p = k->p;
	bool whole, *keep = malloc(p->record_count + 1);
	int rc = keep ? segment_digest_fits(p->image, p->number, p->prev_digest, p->records, p->record_count, p->digest,
	                                    &whole)
	              : -ENOMEM;

	if (rc == 0 && !whole)
		rc = records_mark_needed(p->records, p->record_count, keep);
	for (size_t i = 0; rc == 0 && i < p->record_count; i++) {
		if (!whole && !keep[i])
			continue;
		record_encode(&p->records[i], 0, k->count, k->index + (size_t)k->count * RECORD_BYTES);
		k->records[k->count++] = p->records[i];
	}
	free(keep);
	if (rc == -EBADMSG)
		return error_set(k->err, rc, "the records of segment %" PRIu64 " do not give its digest", p->number);
	return rc < 0 ? out_of_memory(k->err) : 0;
}

/* Keeps what is needed, and makes sure that what will be written is what a reader accepts. */
static int gather(struct packing *k)
{
	const struct segment_pack *p = k->p;
	bool bad;
	int rc;

	k->records = malloc((p->record_count + 1) * sizeof *k->records);
	k->index = malloc(p->record_count * RECORD_BYTES + 1);
	if (!k->records || !k->index)
		return out_of_memory(k->err);
	rc = keep_needed(k);
	if (rc < 0)
		return rc;
	k->owners = slot_owners_new(k->records, k->count, p->shape.slots, &bad);
	if (!k->owners)
		return out_of_memory(k->err);
	if (bad)
		return error_set(k->err, -EBADMSG,
		                 "segment %" PRIu64 " has a slot out of range, or two records for one slot", p->number);
	for (size_t i = 0; p->kept_slots && i < k->count; i++)
		*p->kept_slots += record_has_slot(k->records[i].kind);
	k->chunks = (k->owners->used + slots_per_chunk(p->shape.slot_bytes) - 1) / slots_per_chunk(p->shape.slot_bytes);
	return 0;
}

/* Puts the needed slots of chunk `i` into `plain`, zeros where there is none, and checks each. */
static int read_chunk(struct packing *k, uint32_t i, uint8_t *plain, uint32_t bytes)
{
	const struct segment_pack *p = k->p;
	uint32_t slot_bytes = p->shape.slot_bytes, first = i * slots_per_chunk(slot_bytes), n = bytes / slot_bytes;
	const uint32_t *owner = &k->owners->record[first];

	memset(plain, 0, bytes);
	for (uint32_t at = 0, end; at < n; at = end) {
		int rc;

		end = at + 1;
		if (owner[at] == SLOT_FREE)
			continue;
		while (end < n && owner[end] != SLOT_FREE)
			end++;
		rc = p->slot_data(p->arg, first + at, end - at, plain + (size_t)at * slot_bytes);
		if (rc < 0)
			return error_set(k->err, rc,
			                 "cannot read slots %" PRIu32 " to %" PRIu32 " of segment %" PRIu64 ": %s",
			                 first + at, first + end - 1, p->number, strerror(-rc));
	}
	for (uint32_t at = 0; at < n; at++) {
		if (owner[at] == SLOT_FREE)
			continue;
		if (crc32c(0, plain + (size_t)at * slot_bytes, slot_bytes) != k->records[owner[at]].data_crc)
			return error_set(k->err, -EBADMSG,
			                 "slot %" PRIu32 " of segment %" PRIu64 " is damaged: wrong checksum",
			                 first + at, p->number);
	}
	return 0;
}

static int seal_part(struct packing *k, uint32_t part, const uint8_t *plain, size_t len, struct seal_box *box)
{
	uint8_t ad[AD_BYTES];
	int rc;

	make_ad(k->p->pool, k->p->image, k->p->number, part, ad);
	rc = seal(k->sealer, k->key, ad, sizeof ad, plain, len, k->object + k->length, box);
	if (rc < 0)
		return error_set(k->err, rc, "cannot seal segment %" PRIu64 ": %s", k->p->number, strerror(-rc));
	k->length += box->stored_length;
	return 0;
}

static int pack_chunks(struct packing *k)
{
	uint8_t *plain = malloc(CHUNK_BYTES);
	size_t start = k->length;
	int rc = plain ? 0 : out_of_memory(k->err);

	for (uint32_t i = 0; rc == 0 && i < k->chunks; i++) {
		uint8_t *entry = k->object + k->table + (size_t)i * SEGMENT_TABLE_ENTRY;
		uint32_t bytes = chunk_plain_bytes(k->owners, k->p->shape.slot_bytes, i);
		struct seal_box box = { 0 };

		put_le32(entry, (uint32_t)(k->length - start));
		if (bytes) {
			rc = read_chunk(k, i, plain, bytes);
			if (rc == 0)
				rc = seal_part(k, i, plain, bytes, &box);
		}
		seal_box_encode(&box, entry + 4);
	}
	free(plain);
	return rc;
}

/* As low as it can be: programs that do not know the records in it refuse it for that, and not as damaged. */
static uint32_t version_of(const struct packing *k)
{
	for (uint32_t i = 0; i < k->count; i++)
		if (k->records[i].kind == RECORD_SHARE)
			return SEGMENT_OBJECT_VERSION;
	return 1;
}

static void pack_header(struct packing *k, size_t chunks_offset)
{
	const struct segment_pack *p = k->p;
	uint8_t *h = k->object;

	memset(h, 0, SEGMENT_OBJECT_HEADER);
	memcpy(h, object_magic, sizeof object_magic);
	put_le32(h + 8, version_of(k));
	put_le32(h + 12, k->key->plain ? 0 : FLAG_KEYED);
	memcpy(h + 16, p->pool, POOL_UUID_BYTES);
	put_le64(h + 32, p->image);
	put_le64(h + 40, p->number);
	put_le64(h + 48, p->epoch);
	put_le32(h + 56, p->shape.slot_bytes);
	put_le32(h + 60, p->shape.slots);
	put_le32(h + 64, k->count);
	put_le32(h + 68, k->chunks);
	put_le64(h + 72, p->checkpoint.segment);
	put_le32(h + 80, p->checkpoint.record);
	memcpy(h + 88, p->prev_digest, DIGEST_BYTES);
	memcpy(h + 120, p->digest, DIGEST_BYTES);
	put_le64(h + 152, p->image_size);
	put_le64(h + 160, clock_wall_ns());
	seal_box_encode(&k->index_box, h + 168);
	digest_of(h + k->table, (size_t)k->chunks * SEGMENT_TABLE_ENTRY, NULL, 0, h + 224);
	put_le64(h + 256, chunks_offset);
	put_le32(h + 264, (uint32_t)p->record_count);
	header_tag(k->key, h, h + HEADER_TAG);
}

/* Numbers that a reader would refuse: better not stored at all. */
static int check_pack(const struct segment_pack *p, struct error *err)
{
	if (p->record_count > p->shape.records_max)
		return error_set(err, -EINVAL, "%zu records in segment %" PRIu64 ", %" PRIu32 " fit", p->record_count,
		                 p->number, p->shape.records_max);
	if (p->number == 0 || p->number >> MAP_ENTRY_SEGMENT_BITS || p->checkpoint.segment > p->number ||
	    (p->checkpoint.segment == 0 && p->checkpoint.record != 0))
		return error_set(err, -EINVAL,
		                 "segment number %" PRIu64 " with checkpoint %" PRIu64 ":%" PRIu32 " cannot be",
		                 p->number, p->checkpoint.segment, p->checkpoint.record);
	return 0;
}

int segment_object_pack(const struct segment_pack *p, struct sealer *sealer, const struct seal_key *key,
                        uint8_t **object, size_t *len, struct error *err)
{
	struct packing k = { .p = p, .sealer = sealer, .key = key, .err = err };
	size_t index_bytes, chunks_offset;
	uint8_t *fitted;
	int rc = check_pack(p, err);

	if (rc < 0)
		return rc;
	rc = gather(&k);
	if (rc < 0)
		goto out;
	index_bytes = (size_t)k.count * RECORD_BYTES;
	/* At most: sealing grows nothing. */
	k.object = malloc(SEGMENT_OBJECT_HEADER + index_bytes + (size_t)k.chunks * (SEGMENT_TABLE_ENTRY + CHUNK_BYTES));
	if (!k.object) {
		rc = out_of_memory(err);
		goto out;
	}
	k.length = SEGMENT_OBJECT_HEADER;
	if (index_bytes)
		rc = seal_part(&k, PART_INDEX, k.index, index_bytes, &k.index_box);
	if (rc < 0)
		goto out;
	k.table = k.length;
	k.length += (size_t)k.chunks * SEGMENT_TABLE_ENTRY;
	chunks_offset = k.length;
	rc = pack_chunks(&k);
	if (rc < 0)
		goto out;
	pack_header(&k, chunks_offset);

	fitted = realloc(k.object, k.length);
	*object = fitted ? fitted : k.object;
	*len = k.length;
	k.object = NULL;
out:
	free(k.object);
	free(k.owners);
	free(k.index);
	free(k.records);
	return rc;
}

/* ---- opening ---- */

static const char *meta_misfit(const struct segment_meta *m)
{
	struct segment_shape shape;
	uint64_t index_bytes = (uint64_t)m->record_count * RECORD_BYTES;

	if (m->slots > SEGMENT_SLOTS_MAX || m->slot_bytes > GRAIN_BYTES_MAX ||
	    segment_shape(m->slot_bytes, m->slot_bytes * m->slots, &shape) < 0)
		return "no segment has that shape";
	if (m->number == 0 || m->number >> MAP_ENTRY_SEGMENT_BITS)
		return "the segment number is out of range";
	if (m->record_count > shape.records_max || m->chunk_count > shape.chunks)
		return "it claims more records or chunks than fit";
	if (m->index_box.plain_length != index_bytes || m->index_box.stored_length > index_bytes ||
	    (m->index_box.stored_length == 0) != (index_bytes == 0))
		return "the index has another size than its records need";
	if (m->chunks_offset != m->table_offset + (uint64_t)m->chunk_count * SEGMENT_TABLE_ENTRY)
		return "the chunks do not begin behind the table";
	if (m->checkpoint.segment > m->number || (m->checkpoint.segment == 0 && m->checkpoint.record != 0))
		return "the last checkpoint is in a later segment";
	return NULL;
}

/* What stays the same in all versions: magic, tag, version, flags. */
static int check_envelope(const uint8_t *h, size_t len, const struct seal_key *key, struct error *err)
{
	uint8_t tag[DIGEST_BYTES];
	uint32_t version, flags;

	if (len < SEGMENT_OBJECT_HEADER)
		return error_set(err, -EBADMSG, "segment object cut short: %zu bytes", len);
	if (memcmp(h, object_magic, sizeof object_magic) != 0)
		return error_set(err, -EBADMSG, "not a segment object: no magic");
	header_tag(key, h, tag);
	if (sodium_memcmp(tag, h + HEADER_TAG, DIGEST_BYTES) != 0)
		return error_set(err, -EBADMSG, "segment object damaged, or sealed with another key: wrong header tag");
	version = get_le32(h + 8);
	flags = get_le32(h + 12);
	if (version > SEGMENT_OBJECT_VERSION || flags & ~FLAG_KEYED)
		return error_set(err, -EPROTONOSUPPORT,
		                 "segment object of format version %" PRIu32 " (flags %" PRIx32
		                 "), this program knows %d: upgrade garnerfs",
		                 version, flags, SEGMENT_OBJECT_VERSION);
	if (version == 0)
		return error_set(err, -EBADMSG, "segment object of impossible format version %" PRIu32, version);
	if (flags != (key->plain ? 0 : FLAG_KEYED))
		return error_set(err, -EBADMSG, "segment object is %s, the pool is not", flags ? "sealed" : "plain");
	return 0;
}

int segment_meta_decode(const uint8_t *bytes, size_t len, const struct seal_key *key, struct segment_meta *meta,
                        struct error *err)
{
	struct segment_meta m = { .index_offset = SEGMENT_OBJECT_HEADER };
	const char *misfit;
	int rc = check_envelope(bytes, len, key, err);

	if (rc < 0)
		return rc;
	memcpy(m.pool, bytes + 16, POOL_UUID_BYTES);
	m.image = get_le64(bytes + 32);
	m.number = get_le64(bytes + 40);
	m.epoch = get_le64(bytes + 48);
	m.slot_bytes = get_le32(bytes + 56);
	m.slots = get_le32(bytes + 60);
	m.record_count = get_le32(bytes + 64);
	m.chunk_count = get_le32(bytes + 68);
	m.checkpoint.segment = get_le64(bytes + 72);
	m.checkpoint.record = get_le32(bytes + 80);
	memcpy(m.prev_digest, bytes + 88, DIGEST_BYTES);
	memcpy(m.digest, bytes + 120, DIGEST_BYTES);
	m.image_size = get_le64(bytes + 152);
	m.packed_ns = get_le64(bytes + 160);
	if (seal_box_decode(bytes + 168, SEGMENT_OBJECT_META_MAX, &m.index_box) < 0)
		return error_set(err, -EBADMSG, "segment header makes no sense: the index box is none");
	memcpy(m.table_digest, bytes + 224, DIGEST_BYTES);
	m.chunks_offset = get_le64(bytes + 256);
	m.written_count = get_le32(bytes + 264);
	m.table_offset = m.index_offset + m.index_box.stored_length;

	misfit = meta_misfit(&m);
	if (misfit)
		return error_set(err, -EBADMSG, "segment header makes no sense: %s", misfit);
	*meta = m;
	return 0;
}

static int open_index(const struct segment_meta *m, const uint8_t *bytes, const struct seal_key *key,
                      struct record *records, struct error *err)
{
	size_t len = (size_t)m->record_count * RECORD_BYTES;
	uint8_t ad[AD_BYTES], digest[DIGEST_BYTES];
	uint8_t *index = malloc(len + 1);
	int rc = 0;

	if (!index)
		return out_of_memory(err);
	make_ad(m->pool, m->image, m->number, PART_INDEX, ad);
	if (len)
		rc = seal_open(key, ad, sizeof ad, bytes + m->index_offset, &m->index_box, index);
	if (rc < 0) {
		error_set(err, rc, "the index of segment %" PRIu64 " %s", m->number, why(rc));
		goto out;
	}
	segment_digest_index(m->image, m->number, m->prev_digest, index, len, digest);
	if (memcmp(digest, m->digest, DIGEST_BYTES) != 0) {
		rc = error_set(err, -EBADMSG, "the index of segment %" PRIu64 " does not give its digest", m->number);
		goto out;
	}
	for (uint32_t i = 0; i < m->record_count; i++) {
		if (record_decode(index + (size_t)i * RECORD_BYTES, 0, i, &records[i]) < 0) {
			rc = error_set(err, -EBADMSG, "record %" PRIu32 " of segment %" PRIu64 " is damaged", i,
			               m->number);
			goto out;
		}
	}
out:
	free(index);
	return rc;
}

/* Each entry lies where the one before ends and holds as many bytes as the records ask for. */
static int check_table(const struct segment_meta *m, const uint8_t *table, const struct slot_owners *owners,
                       struct error *err)
{
	uint32_t per = slots_per_chunk(m->slot_bytes);
	uint64_t at = 0;

	if (m->chunk_count != (owners->used + per - 1) / per)
		return error_set(err, -EBADMSG, "segment %" PRIu64 " has %" PRIu32 " chunks for %" PRIu32 " slots",
		                 m->number, m->chunk_count, owners->used);
	for (uint32_t i = 0; i < m->chunk_count; i++) {
		const uint8_t *entry = table + (size_t)i * SEGMENT_TABLE_ENTRY;
		uint32_t bytes = chunk_plain_bytes(owners, m->slot_bytes, i);
		struct seal_box box;

		if (seal_box_decode(entry + 4, CHUNK_BYTES, &box) < 0 || get_le32(entry) != at ||
		    box.plain_length != bytes || box.stored_length > bytes || (box.stored_length == 0) != (bytes == 0))
			return error_set(err, -EBADMSG,
			                 "the entry of chunk %" PRIu32 " of segment %" PRIu64 " makes no sense", i,
			                 m->number);
		at += box.stored_length;
	}
	return 0;
}

int segment_meta_open(const struct segment_meta *meta, const uint8_t *bytes, size_t len, const struct seal_key *key,
                      struct record **records, uint8_t **table, struct error *err)
{
	size_t table_bytes = (size_t)meta->chunk_count * SEGMENT_TABLE_ENTRY;
	struct slot_owners *owners = NULL;
	struct record *list = NULL;
	uint8_t *copy = NULL;
	uint8_t digest[DIGEST_BYTES];
	bool bad;
	int rc = 0;

	if (len < segment_meta_bytes(meta))
		return error_set(err, -EBADMSG,
		                 "segment %" PRIu64 " cut short: %zu bytes, header, index and table need %" PRIu64,
		                 meta->number, len, segment_meta_bytes(meta));
	digest_of(bytes + meta->table_offset, table_bytes, NULL, 0, digest);
	if (memcmp(digest, meta->table_digest, DIGEST_BYTES) != 0)
		return error_set(err, -EBADMSG, "the chunk table of segment %" PRIu64 " is damaged", meta->number);

	list = malloc(((size_t)meta->record_count + 1) * sizeof *list);
	copy = malloc(table_bytes + 1);
	if (!list || !copy) {
		rc = out_of_memory(err);
		goto out;
	}
	rc = open_index(meta, bytes, key, list, err);
	if (rc < 0)
		goto out;
	owners = slot_owners_new(list, meta->record_count, meta->slots, &bad);
	if (!owners) {
		rc = out_of_memory(err);
		goto out;
	}
	if (bad) {
		rc = error_set(err, -EBADMSG,
		               "segment %" PRIu64 " has a slot out of range, or two records for one slot",
		               meta->number);
		goto out;
	}
	memcpy(copy, bytes + meta->table_offset, table_bytes);
	rc = check_table(meta, copy, owners, err);
	if (rc < 0)
		goto out;
	if (records) {
		*records = list;
		list = NULL;
	}
	if (table) {
		*table = copy;
		copy = NULL;
	}
out:
	free(owners);
	free(copy);
	free(list);
	return rc;
}

void segment_table_entry(const struct segment_meta *meta, const uint8_t *table, uint32_t i, uint64_t *offset,
                         struct seal_box *box)
{
	const uint8_t *entry = table + (size_t)i * SEGMENT_TABLE_ENTRY;

	assert(i < meta->chunk_count);
	*offset = meta->chunks_offset + get_le32(entry);
	/* A table that was not checked (a cache's copy, say) gives an empty box rather than a wild one. */
	if (seal_box_decode(entry + 4, CHUNK_BYTES, box) < 0)
		memset(box, 0, sizeof *box);
}

int segment_chunk_open(const struct segment_meta *meta, uint32_t i, const struct seal_box *box, const uint8_t *stored,
                       const struct seal_key *key, uint8_t *plain, uint32_t *plain_len, struct error *err)
{
	uint8_t ad[AD_BYTES];
	int rc;

	if (box->plain_length > CHUNK_BYTES || box->plain_length % meta->slot_bytes != 0)
		return error_set(err, -EBADMSG, "chunk %" PRIu32 " of segment %" PRIu64 " claims %" PRIu32 " bytes", i,
		                 meta->number, box->plain_length);
	make_ad(meta->pool, meta->image, meta->number, i, ad);
	rc = seal_open(key, ad, sizeof ad, stored, box, plain);
	if (rc < 0)
		return error_set(err, rc, "chunk %" PRIu32 " of segment %" PRIu64 " %s", i, meta->number, why(rc));
	*plain_len = box->plain_length;
	return 0;
}
