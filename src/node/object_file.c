/* SPDX-License-Identifier: GPL-3.0-only */
/* object_file.c: the form of one object as a file on a drive, and its name there. */
#include "node/object_file.h"

#include "base/blake2bp.h"
#include "base/bytes.h"
#include "base/crc32c.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAGIC "GARNOBJ\n"
#define FORMAT 1u
#define READ_AT_ONCE (16u * OBJECT_FILE_BLOCK)

/* Where what is in the header. What lies between and after is zero. */
enum {
	AT_MAGIC = 0,
	AT_FORMAT = 8,
	AT_FLAGS = 12,
	AT_COUNTER = 16,
	AT_TIE = 24,
	AT_LENGTH = 32,
	AT_STORED = 40,
	AT_DIGEST = 48,
	AT_SUMS_CRC = 80,
	AT_NAME_BYTES = 84,
	AT_NAME = 88,
	AT_CRC = OBJECT_FILE_HEADER - 4,
};

_Static_assert(AT_NAME + OBJECT_NAME_MAX < AT_CRC, "a name has room in the header");

void object_name_hash(const char *name, uint8_t hash[OBJECT_HASH_BYTES])
{
	crypto_generichash(hash, OBJECT_HASH_BYTES, (const uint8_t *)name, strlen(name), NULL, 0);
}

unsigned object_bucket_of(const char *name)
{
	uint8_t hash[OBJECT_HASH_BYTES];

	object_name_hash(name, hash);
	return hash[0] % OBJECT_BUCKETS;
}

bool object_has_body(const struct object_meta *meta)
{
	return !(meta->flags & (OBJECT_TOMBSTONE | OBJECT_DAMAGED));
}

size_t object_file_blocks(uint64_t length)
{
	return (size_t)((length + OBJECT_FILE_BLOCK - 1) / OBJECT_FILE_BLOCK);
}

uint64_t object_file_sums_at(uint64_t length)
{
	return OBJECT_FILE_HEADER + length;
}

uint64_t object_file_bytes(const struct object_meta *meta)
{
	if (!object_has_body(meta))
		return OBJECT_FILE_HEADER;
	return object_file_sums_at(meta->length) + 4 * (uint64_t)object_file_blocks(meta->length);
}

int object_precedence(const struct object_meta *a, const struct object_meta *b)
{
	int order = object_version_compare(a->version, b->version);

	if (!order)
		order = (int)!(a->flags & OBJECT_DAMAGED) - (int)!(b->flags & OBJECT_DAMAGED);
	if (!order)
		order = (int)(a->flags & OBJECT_CLAIMED) - (int)(b->flags & OBJECT_CLAIMED);
	return order;
}

/* ---- the header ---- */

void object_header_encode(const struct object_header *h, uint8_t bytes[OBJECT_FILE_HEADER])
{
	const struct object_meta *meta = &h->entry.meta;
	size_t name_bytes = strlen(h->entry.name);

	memset(bytes, 0, OBJECT_FILE_HEADER);
	memcpy(bytes + AT_MAGIC, MAGIC, 8);
	put_le32(bytes + AT_FORMAT, FORMAT);
	put_le32(bytes + AT_FLAGS, meta->flags & OBJECT_FLAGS_FILE);
	put_le64(bytes + AT_COUNTER, meta->version.counter);
	put_le64(bytes + AT_TIE, meta->version.tie);
	put_le64(bytes + AT_LENGTH, meta->length);
	put_le64(bytes + AT_STORED, h->entry.stored_s);
	memcpy(bytes + AT_DIGEST, meta->digest, OBJECT_DIGEST_BYTES);
	put_le32(bytes + AT_SUMS_CRC, h->sums_crc);
	put_le16(bytes + AT_NAME_BYTES, (uint16_t)name_bytes);
	memcpy(bytes + AT_NAME, h->entry.name, name_bytes);
	put_le32(bytes + AT_CRC, crc32c(0, bytes, AT_CRC));
}

static int bad(struct error *err, const char *what)
{
	return error_set(err, -EBADMSG, "object file: %s", what);
}

static int check_meta(const struct object_meta *meta, struct error *err)
{
	if (meta->flags & ~OBJECT_FLAGS_FILE)
		return bad(err, "it has flags that this version does not know");
	if (object_version_is_none(meta->version) || meta->version.counter > OBJECT_COUNTER_MAX)
		return bad(err, "its version is none");
	if (meta->length > OBJECT_LENGTH_MAX)
		return bad(err, "it is longer than any object");
	if (meta->flags & OBJECT_TOMBSTONE && (meta->length || !is_zero(meta->digest, OBJECT_DIGEST_BYTES)))
		return bad(err, "a tombstone has a body");
	if (meta->flags & OBJECT_TOMBSTONE && meta->flags & OBJECT_DAMAGED)
		return bad(err, "a tombstone is damaged");
	return 0;
}

int object_header_decode(const uint8_t bytes[OBJECT_FILE_HEADER], struct object_header *h, struct error *err)
{
	struct object_meta *meta = &h->entry.meta;
	size_t name_bytes = get_le16(bytes + AT_NAME_BYTES);

	memset(h, 0, sizeof *h);
	if (memcmp(bytes + AT_MAGIC, MAGIC, 8) != 0)
		return bad(err, "it does not begin as one");
	if (get_le32(bytes + AT_CRC) != crc32c(0, bytes, AT_CRC))
		return bad(err, "the checksum of its header is wrong");
	if (get_le32(bytes + AT_FORMAT) != FORMAT)
		return error_set(err, -EBADMSG, "object file: format %" PRIu32 ", not %u", get_le32(bytes + AT_FORMAT),
		                 FORMAT);
	meta->flags = get_le32(bytes + AT_FLAGS);
	meta->version.counter = get_le64(bytes + AT_COUNTER);
	meta->version.tie = get_le64(bytes + AT_TIE);
	meta->length = get_le64(bytes + AT_LENGTH);
	memcpy(meta->digest, bytes + AT_DIGEST, OBJECT_DIGEST_BYTES);
	h->entry.stored_s = get_le64(bytes + AT_STORED);
	h->sums_crc = get_le32(bytes + AT_SUMS_CRC);
	if (name_bytes > OBJECT_NAME_MAX)
		return bad(err, "its name is too long");
	memcpy(h->entry.name, bytes + AT_NAME, name_bytes);
	if (strlen(h->entry.name) != name_bytes || !object_name_valid(h->entry.name))
		return bad(err, "its name is none");
	if (!is_zero(bytes + AT_NAME + name_bytes, AT_CRC - AT_NAME - name_bytes) ||
	    get_le16(bytes + AT_NAME_BYTES + 2))
		return bad(err, "there is more in its header than this version knows");
	return check_meta(meta, err);
}

/* ---- names of files ---- */

void object_file_id(const char *name, const struct object_meta *meta, struct object_file_id *id)
{
	object_name_hash(name, id->hash);
	id->version = meta->version;
	id->flags = meta->flags & OBJECT_FLAGS_FILE;
}

void object_file_name(const struct object_file_id *id, char text[OBJECT_FILE_NAME])
{
	char hex[2 * OBJECT_HASH_BYTES + 1], version[OBJECT_VERSION_TEXT];

	sodium_bin2hex(hex, sizeof hex, id->hash, OBJECT_HASH_BYTES);
	object_version_format(id->version, version);
	snprintf(text, OBJECT_FILE_NAME, "%s-%s-%x", hex, version, id->flags & OBJECT_FLAGS_FILE);
}

int object_file_name_parse(const char *text, struct object_file_id *id)
{
	char version[OBJECT_VERSION_TEXT], again[OBJECT_FILE_NAME];
	size_t bytes;

	if (strlen(text) != OBJECT_FILE_NAME - 1)
		return -EINVAL;
	if (sodium_hex2bin(id->hash, sizeof id->hash, text, 2 * sizeof id->hash, NULL, &bytes, NULL) != 0 ||
	    bytes != sizeof id->hash)
		return -EINVAL;
	memcpy(version, text + 2 * sizeof id->hash + 1, sizeof version - 1);
	version[sizeof version - 1] = '\0';
	if (object_version_parse(version, &id->version) < 0)
		return -EINVAL;
	char digit = text[OBJECT_FILE_NAME - 2];
	id->flags = digit >= 'a' ? (unsigned)(digit - 'a') + 10 : (unsigned)(digit - '0');
	/* One name each: what is not as we write it is none of ours. */
	object_file_name(id, again);
	return strcmp(text, again) == 0 ? 0 : -EINVAL;
}

unsigned object_file_dir(const struct object_file_id *id)
{
	return id->hash[0] / (256 / OBJECT_DIRS);
}

/* ---- reading ---- */

/* Reads exactly that much. A file that ends first is damaged. */
static int read_exactly(struct disk *disk, int fd, void *buf, size_t len, uint64_t offset, struct error *err)
{
	ssize_t n = disk_pread(disk, fd, buf, len, offset);

	/* The file system's own checksum: that is not what a torn write looks like. */
	if (n == -EBADMSG)
		n = -EIO;
	if (n < 0)
		return error_set(err, (int)n, "object file: reading: %s", strerror((int)-n));
	return (size_t)n == len ? 0 : bad(err, "it is cut short");
}

int object_file_read_header(struct disk *disk, int fd, struct object_header *h, struct error *err)
{
	uint8_t bytes[OBJECT_FILE_HEADER];
	struct stat st;
	int rc = read_exactly(disk, fd, bytes, sizeof bytes, 0, err);

	if (rc == 0)
		rc = object_header_decode(bytes, h, err);
	if (rc < 0)
		return rc;
	if (fstat(fd, &st) < 0)
		return error_set(err, -errno, "object file: %s", strerror(errno));
	if ((uint64_t)st.st_size != object_file_bytes(&h->entry.meta))
		return bad(err, "it has not the size that its header tells");
	return 0;
}

/* The table of sums, after comparing it with the header. Free with free(). */
static int read_sums(struct disk *disk, int fd, const struct object_header *h, uint8_t **sums, struct error *err)
{
	size_t len = 4 * object_file_blocks(h->entry.meta.length);
	uint8_t *table = malloc(len ? len : 1);
	int rc;

	if (!table)
		return -ENOMEM;
	rc = read_exactly(disk, fd, table, len, object_file_sums_at(h->entry.meta.length), err);
	if (rc == 0 && crc32c(0, table, len) != h->sums_crc)
		rc = bad(err, "the table of sums is damaged");
	if (rc < 0)
		free(table);
	else
		*sums = table;
	return rc;
}

/* Compares whole blocks of the body, of which `first` is the number of the first, with their sums. */
static int check_blocks(const uint8_t *bytes, size_t len, uint64_t first, const uint8_t *sums, struct error *err)
{
	for (size_t at = 0; at < len; at += OBJECT_FILE_BLOCK, first++) {
		size_t n = len - at < OBJECT_FILE_BLOCK ? len - at : OBJECT_FILE_BLOCK;
		if (crc32c(0, bytes + at, n) != get_le32(sums + 4 * first))
			return error_set(err, -EBADMSG, "object file: block %" PRIu64 " of the body is damaged", first);
	}
	return 0;
}

/* Reads whole blocks from `at`, a multiple of the block, to `end`, a multiple too or the end of the body; copies what lies in
 * [offset, offset+len) of it. */
static int read_blocks(struct disk *disk, int fd, const uint8_t *sums, uint64_t at, uint64_t end, uint64_t offset,
                       size_t len, uint8_t *bytes, struct error *err)
{
	uint8_t *buf = malloc(READ_AT_ONCE);
	int rc = buf ? 0 : -ENOMEM;

	for (; rc == 0 && at < end; at += READ_AT_ONCE) {
		size_t n = end - at < READ_AT_ONCE ? (size_t)(end - at) : READ_AT_ONCE;
		rc = read_exactly(disk, fd, buf, n, OBJECT_FILE_HEADER + at, err);
		if (rc == 0)
			rc = check_blocks(buf, n, at / OBJECT_FILE_BLOCK, sums, err);
		if (rc < 0)
			break;
		uint64_t from = at > offset ? at : offset, to = at + n < offset + len ? at + n : offset + len;
		memcpy(bytes + (from - offset), buf + (from - at), (size_t)(to - from));
	}
	free(buf);
	return rc;
}

int object_file_read_range(struct disk *disk, int fd, const struct object_header *h, uint64_t offset, size_t len,
                           uint8_t *bytes, struct error *err)
{
	uint64_t length = h->entry.meta.length, end;
	uint8_t *sums = NULL;
	int rc;

	if (offset > length || len > length - offset)
		return -EINVAL;
	if (!len)
		return 0;
	rc = read_sums(disk, fd, h, &sums, err);
	if (rc < 0)
		return rc;
	end = round_up(offset + len, OBJECT_FILE_BLOCK);
	if (end > length)
		end = length;
	uint64_t begin = round_down(offset, OBJECT_FILE_BLOCK);
	if (begin == offset && end == offset + len) { /* whole blocks: straight to where they are wanted */
		rc = read_exactly(disk, fd, bytes, len, OBJECT_FILE_HEADER + offset, err);
		if (rc == 0)
			rc = check_blocks(bytes, len, offset / OBJECT_FILE_BLOCK, sums, err);
	} else {
		rc = read_blocks(disk, fd, sums, begin, end, offset, len, bytes, err);
	}
	free(sums);
	return rc;
}

/* Goes through the body, a piece of `bytes` (or of `room` when that is NULL) at a time. */
static int digest_body(struct disk *disk, int fd, uint64_t length, uint8_t *bytes, uint8_t *room, const uint8_t *sums,
                       uint8_t digest[OBJECT_DIGEST_BYTES], struct error *err)
{
	struct blake2bp state;
	int rc = 0;

	blake2bp_init(&state);
	for (uint64_t at = 0; rc == 0 && at < length; at += READ_AT_ONCE) {
		size_t n = length - at < READ_AT_ONCE ? (size_t)(length - at) : READ_AT_ONCE;
		uint8_t *piece = bytes ? bytes + at : room;
		rc = read_exactly(disk, fd, piece, n, OBJECT_FILE_HEADER + at, err);
		if (rc == 0 && sums)
			rc = check_blocks(piece, n, at / OBJECT_FILE_BLOCK, sums, err);
		if (rc == 0)
			blake2bp_update(&state, piece, n);
	}
	blake2bp_final(&state, digest, OBJECT_DIGEST_BYTES);
	return rc;
}

int object_file_read_all(struct disk *disk, int fd, const struct object_header *h, uint8_t *bytes, bool sums,
                         struct error *err)
{
	uint8_t digest[OBJECT_DIGEST_BYTES], *room = NULL, *table = NULL;
	int rc = 0;

	if (!object_has_body(&h->entry.meta))
		return 0;
	if (!bytes && !(room = malloc(READ_AT_ONCE)))
		return -ENOMEM;
	if (sums)
		rc = read_sums(disk, fd, h, &table, err);
	if (rc == 0)
		rc = digest_body(disk, fd, h->entry.meta.length, bytes, room, table, digest, err);
	if (rc == 0 && memcmp(digest, h->entry.meta.digest, sizeof digest) != 0)
		rc = bad(err, "the digest of its body is wrong");
	free(table);
	free(room);
	return rc;
}
