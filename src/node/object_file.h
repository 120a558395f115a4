/* SPDX-License-Identifier: GPL-3.0-only */
/* object_file.h: the form of one object as a file on a drive, and its name there. garnerfs-node(7) has it byte by byte.
 *
 * A header of OBJECT_FILE_HEADER bytes, the body, and a CRC-32C of each OBJECT_FILE_BLOCK bytes of the body. Of a tombstone, and
 * of an object that is known to be damaged, there is only the header. The file's name tells all that decides which of two files of
 * one object counts: hash of the name, version, flags. Knows nothing of indexes or drives.
 *
 * Reading blocks as reading a file does; the rest is pure.
 */
#ifndef GARNER_NODE_OBJECT_FILE_H
#define GARNER_NODE_OBJECT_FILE_H

#include "node/object_store.h"

#define OBJECT_FILE_HEADER 4096u
#define OBJECT_FILE_BLOCK 65536u
#define OBJECT_HASH_BYTES 16
#define OBJECT_DIRS 16u
/* The flags that a file has. */
#define OBJECT_FLAGS_FILE ((unsigned)(OBJECT_TOMBSTONE | OBJECT_CLAIMED) | OBJECT_DAMAGED)

/* BLAKE2b-128 of "POOL/KEY". */
void object_name_hash(const char *name, uint8_t hash[OBJECT_HASH_BYTES]);

struct object_header {
	struct object_entry entry; /* flags: those of OBJECT_FLAGS_FILE */
	uint32_t sums_crc;         /* CRC-32C of the table of sums */
};

void object_header_encode(const struct object_header *h, uint8_t bytes[OBJECT_FILE_HEADER]);
/* -EBADMSG with what is wrong. What is accepted is valid in all its parts and has room in a file. */
int object_header_decode(const uint8_t bytes[OBJECT_FILE_HEADER], struct object_header *h, struct error *err);

/* Whether a body follows the header. */
bool object_has_body(const struct object_meta *meta);
/* How many blocks a body has, and where the table of their sums and the file end. */
size_t object_file_blocks(uint64_t length);
uint64_t object_file_sums_at(uint64_t length);
uint64_t object_file_bytes(const struct object_meta *meta);

/* ---- names of files ---- */

struct object_file_id {
	uint8_t hash[OBJECT_HASH_BYTES];
	struct object_version version;
	unsigned flags; /* of OBJECT_FLAGS_FILE */
};

#define OBJECT_FILE_NAME 69 /* "<hash>-<version>-<flags>" and its end */
void object_file_id(const char *name, const struct object_meta *meta, struct object_file_id *id);
void object_file_name(const struct object_file_id *id, char text[OBJECT_FILE_NAME]);
/* 0, or -EINVAL when no object's file is named so. */
int object_file_name_parse(const char *text, struct object_file_id *id);
/* Which of the OBJECT_DIRS directories it is in. */
unsigned object_file_dir(const struct object_file_id *id);

/* Which of two records of one name counts: > 0 when `a` does. The higher version; of one version the one that is not damaged; then
 * the one with the claimed mark. */
int object_precedence(const struct object_meta *a, const struct object_meta *b);

/* ---- reading ---- */

/* Reads the header of an open file and compares the file's size with it. -EBADMSG, -EIO. */
int object_file_read_header(struct disk *disk, int fd, struct object_header *h, struct error *err);

/* Reads [offset, offset+len), which lies within the body, into `bytes`, after comparing every block that it touches with its sum. */
int object_file_read_range(struct disk *disk, int fd, const struct object_header *h, uint64_t offset, size_t len,
                           uint8_t *bytes, struct error *err);

/* Reads the whole body into `bytes` (NULL: nowhere) and compares it with the digest; `sums` too when that is wanted: the whole file
 * is then as it was written. */
int object_file_read_all(struct disk *disk, int fd, const struct object_header *h, uint8_t *bytes, bool sums,
                         struct error *err);

#endif
