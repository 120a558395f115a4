/* SPDX-License-Identifier: GPL-3.0-only */
/* journal_entry.h: the form of a drive's journal: the header of one of its halves, and an entry, which is one object.
 * garnerfs-node(7) has it byte by byte.
 *
 * A half begins with a block that holds its header; entries follow, each from the beginning of a block: a header, then the body. The
 * tag of a half is made anew, at random, whenever the half is used again, and is in each of its entries: what an earlier use left,
 * or what is in the body of an object, is never taken for an entry. Knows nothing of drives or files. All of it is pure.
 */
#ifndef GARNER_NODE_JOURNAL_ENTRY_H
#define GARNER_NODE_JOURNAL_ENTRY_H

#include "node/object_file.h"

#define JOURNAL_BLOCK 4096u
#define JOURNAL_HEADER 512u /* of a half and of an entry: one sector, which a power cut leaves old or new */
#define JOURNAL_TAG_BYTES 16
#define JOURNAL_HALF_MAX (UINT64_C(1) << 30)
#define JOURNAL_BODY_MAX (UINT64_C(256) << 10)

struct journal_half_header {
	uint8_t tag[JOURNAL_TAG_BYTES];
	uint64_t bytes; /* of the half, its header's block too: a multiple of JOURNAL_BLOCK, at most JOURNAL_HALF_MAX */
};

void journal_half_encode(const struct journal_half_header *h, uint8_t bytes[JOURNAL_HEADER]);
/* -EBADMSG: it is none. */
int journal_half_decode(const uint8_t bytes[JOURNAL_HEADER], struct journal_half_header *h);

struct journal_entry {
	uint8_t tag[JOURNAL_TAG_BYTES]; /* the half's */
	uint64_t sequence;              /* of the entries of the half, from 0 */
	uint64_t durable;            /* how many of them were synced before this one was written: at most `sequence` */
	struct object_header object; /* with a body, of JOURNAL_BODY_MAX bytes at most */
};

/* How much an entry takes in the journal. */
uint64_t journal_entry_bytes(uint64_t body_length);
void journal_entry_encode(const struct journal_entry *e, uint8_t bytes[JOURNAL_HEADER]);
/* -EBADMSG: it is none. What is accepted is valid in all its parts. */
int journal_entry_decode(const uint8_t bytes[JOURNAL_HEADER], struct journal_entry *e);
/* Computes the table of sums of the body, 4 bytes for each of object_file_blocks(), and compares it and the digest. -EBADMSG: the body is
 * not the entry's. */
int journal_entry_check_body(const struct journal_entry *e, const uint8_t *body, uint8_t *sums);

#endif
