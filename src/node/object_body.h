/* SPDX-License-Identifier: GPL-3.0-only */
/* object_body.h: the body of a put on its way into a file: summed as it comes, held until there is enough of it for one write.
 *
 * A body of at least BODY_WRITE bytes goes past the page cache (O_DIRECT) where the file system lets it: nobody reads a new object
 * soon, its pages would push out those that are read, and touching a fresh page costs more than writing it. What is left
 * at the end, less than BODY_WRITE bytes, takes the usual way, as a small object does: it is there with one sync.
 *
 * Private to the object store. One thread at a time; the pool is for all.
 */
#ifndef GARNER_NODE_OBJECT_BODY_H
#define GARNER_NODE_OBJECT_BODY_H

#include "base/blake2bp.h"
#include "node/object_file.h"

#include <pthread.h>
#include <sodium.h>
#include <sys/queue.h>

#define BODY_WRITE (UINT64_C(1) << 20) /* a multiple of OBJECT_FILE_BLOCK */

/* ---- memory that the kernel can write from directly: a few buffers of BODY_WRITE bytes ---- */

#define BODY_BUFFERS 4

struct body_buffers {
	pthread_mutex_t mutex; /* guards what follows: a leaf */
	void *spare[BODY_BUFFERS];
	unsigned count;
};

void body_buffers_init(struct body_buffers *pool);
void body_buffers_free(struct body_buffers *pool);

/* ---- a body ---- */

/* Bytes that somebody else keeps, until they are released. From malloc(). */
struct body_piece {
	const void *bytes;
	size_t len;
	void (*release)(void *arg); /* may be NULL */
	void *arg;
	STAILQ_ENTRY(body_piece) link;
};

STAILQ_HEAD(body_pieces, body_piece);

/* Releases and frees all of them. */
void body_pieces_release(struct body_pieces *pieces);

struct object_body {
	struct disk *disk;
	struct body_buffers *pool;
	uint64_t length;          /* as announced */
	uint64_t summed, written; /* bytes from the beginning; written: a multiple of BODY_WRITE, or all */
	uint64_t started_writeback;
	uint32_t block_crc;      /* of the block that is not complete */
	uint8_t *sums;           /* CRC-32C of each whole block that was summed */
	struct blake2bp digest;  /* of what was summed */
	struct body_pieces held; /* summed, not written */
	size_t held_at;          /* bytes of the first of them that are written */
	bool direct;             /* writes go past the page cache now */
};

/* -ENOMEM. */
int body_init(struct object_body *b, struct disk *disk, struct body_buffers *pool, uint64_t length);
/* Releases what is held. Also of one that was never begun, all zero. */
void body_free(struct object_body *b);

/* Takes and sums a piece. -EBADMSG, and the piece is still the caller's: it is more than was announced. */
int body_take(struct object_body *b, struct body_piece *piece);

/* `fd`, which is empty, is the body's file from now on: what body_write() writes to. */
void body_begin_file(struct object_body *b, int fd);
/* Writes what is enough for a write; all, when all is there. On an error, that of the write, nothing of it is lost: it can be called again
 * when body_copy() has filled another file. */
int body_write(struct object_body *b, int fd);
/* Brings what was written from one file to another, which is begun, checking it. -EIO: it cannot be read back; else *write_failed, and
 * the error of writing. */
int body_copy(struct object_body *b, int from, int to, bool *write_failed);

/* All is there: whether it is what was announced: -EBADMSG. Once. */
int body_check(struct object_body *b, const uint8_t digest[OBJECT_DIGEST_BYTES]);

#endif
