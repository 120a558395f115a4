/* SPDX-License-Identifier: GPL-3.0-only */
/* object_body.c: the body of a put: summing it, and writing it in pieces of a good size. */
#include "node/object_body.h"

#include "base/blake2bp.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define IOVECS 64
#define ALIGNMENT 4096u /* of O_DIRECT: enough for every drive there is */
#define WRITEBACK_BYTES (UINT64_C(4) << 20)

_Static_assert(BODY_WRITE % OBJECT_FILE_BLOCK == 0 && OBJECT_FILE_HEADER % ALIGNMENT == 0, "direct writes are aligned");

/* ---- buffers ---- */

void body_buffers_init(struct body_buffers *pool)
{
	*pool = (struct body_buffers){ 0 };
	pthread_mutex_init(&pool->mutex, NULL);
}

void body_buffers_free(struct body_buffers *pool)
{
	while (pool->count)
		free(pool->spare[--pool->count]);
	pthread_mutex_destroy(&pool->mutex);
}

/* NULL when memory is short. */
static void *buffer_get(struct body_buffers *pool)
{
	void *buffer = NULL;

	pthread_mutex_lock(&pool->mutex);
	if (pool->count)
		buffer = pool->spare[--pool->count];
	pthread_mutex_unlock(&pool->mutex);
	return buffer || posix_memalign(&buffer, ALIGNMENT, BODY_WRITE) == 0 ? buffer : NULL;
}

static void buffer_put(struct body_buffers *pool, void *buffer)
{
	pthread_mutex_lock(&pool->mutex);
	if (pool->count < BODY_BUFFERS) {
		pool->spare[pool->count++] = buffer;
		buffer = NULL;
	}
	pthread_mutex_unlock(&pool->mutex);
	free(buffer);
}

/* ---- pieces ---- */

static void release_first(struct body_pieces *pieces)
{
	struct body_piece *piece = STAILQ_FIRST(pieces);

	STAILQ_REMOVE_HEAD(pieces, link);
	if (piece->release)
		piece->release(piece->arg);
	free(piece);
}

void body_pieces_release(struct body_pieces *pieces)
{
	while (!STAILQ_EMPTY(pieces))
		release_first(pieces);
}

/* Where one is in what is held. */
struct cursor {
	const struct body_piece *piece;
	size_t at;
};

/* The next run of bytes, at most `most` of them, of which there are as many. */
static struct iovec next_run(struct cursor *c, size_t most)
{
	struct iovec run = { .iov_len = c->piece->len - c->at };

	run.iov_base = (uint8_t *)(uintptr_t)c->piece->bytes + c->at;
	if (run.iov_len > most) {
		run.iov_len = most;
		c->at += most;
	} else {
		*c = (struct cursor){ STAILQ_NEXT(c->piece, link), 0 };
	}
	return run;
}

static struct cursor first_held(const struct object_body *b)
{
	return (struct cursor){ STAILQ_FIRST(&b->held), b->held_at };
}

/* The first `len` bytes of what is held are written. */
static void let_go(struct object_body *b, size_t len)
{
	b->written += len;
	len += b->held_at;
	while (!STAILQ_EMPTY(&b->held) && len >= STAILQ_FIRST(&b->held)->len) {
		len -= STAILQ_FIRST(&b->held)->len;
		release_first(&b->held);
	}
	b->held_at = len;
}

/* ---- a body ---- */

int body_init(struct object_body *b, struct disk *disk, struct body_buffers *pool, uint64_t length)
{
	*b = (struct object_body){ .disk = disk, .pool = pool, .length = length };
	STAILQ_INIT(&b->held);
	blake2bp_init(&b->digest);
	b->sums = malloc(4 * object_file_blocks(length) + 1);
	return b->sums ? 0 : -ENOMEM;
}

void body_free(struct object_body *b)
{
	if (b->disk)
		body_pieces_release(&b->held);
	free(b->sums);
	b->sums = NULL;
}

int body_take(struct object_body *b, struct body_piece *piece)
{
	const uint8_t *bytes = piece->bytes;
	size_t len = piece->len;
	uint64_t at = b->summed;

	if (len > b->length - at)
		return -EBADMSG;
	blake2bp_update(&b->digest, bytes, len);
	while (len) {
		size_t room = OBJECT_FILE_BLOCK - at % OBJECT_FILE_BLOCK, n = len < room ? len : room;
		b->block_crc = crc32c(b->block_crc, bytes, n);
		at += n;
		if (n == room || at == b->length) {
			put_le32(b->sums + 4 * ((at - 1) / OBJECT_FILE_BLOCK), b->block_crc);
			b->block_crc = 0;
		}
		bytes += n;
		len -= n;
	}
	b->summed = at;
	STAILQ_INSERT_TAIL(&b->held, piece, link);
	return 0;
}

int body_check(struct object_body *b, const uint8_t digest[OBJECT_DIGEST_BYTES])
{
	uint8_t found[OBJECT_DIGEST_BYTES];

	if (b->summed != b->length)
		return -EBADMSG;
	blake2bp_final(&b->digest, found, sizeof found);
	return memcmp(found, digest, sizeof found) == 0 ? 0 : -EBADMSG;
}

/* ---- writing ---- */

void body_begin_file(struct object_body *b, int fd)
{
	b->direct = b->length >= BODY_WRITE && disk_set_direct(fd, true);
}

static void leave_direct(struct object_body *b, int fd)
{
	if (b->direct)
		(void)disk_set_direct(fd, false);
	b->direct = false;
}

/* -EINVAL, -ENOMEM: it has to go through the page cache. */
static int write_direct(struct object_body *b, int fd)
{
	struct cursor c = first_held(b);
	uint8_t *buffer = buffer_get(b->pool);
	int rc;

	if (!buffer)
		return -ENOMEM;
	for (size_t at = 0; at < BODY_WRITE;) {
		struct iovec run = next_run(&c, BODY_WRITE - at);
		memcpy(buffer + at, run.iov_base, run.iov_len);
		at += run.iov_len;
	}
	rc = disk_pwrite(b->disk, fd, buffer, BODY_WRITE, OBJECT_FILE_HEADER + b->written);
	buffer_put(b->pool, buffer);
	return rc;
}

static int write_cached(struct object_body *b, int fd, size_t len)
{
	struct cursor c = first_held(b);
	int rc = 0;

	for (size_t at = 0; rc == 0 && at < len;) {
		struct iovec iov[IOVECS];
		size_t from = at;
		int count = 0;

		for (; count < IOVECS && at < len; count++) {
			iov[count] = next_run(&c, len - at);
			at += iov[count].iov_len;
		}
		rc = disk_pwritev(b->disk, fd, iov, count, OBJECT_FILE_HEADER + b->written + from);
	}
	if (rc == 0 && b->written + len - b->started_writeback >= WRITEBACK_BYTES) {
		b->started_writeback = b->written + len;
		disk_start_writeback(fd);
	}
	return rc;
}

int body_write(struct object_body *b, int fd)
{
	while (b->written < b->summed) {
		uint64_t held = b->summed - b->written;
		size_t len = held < BODY_WRITE ? (size_t)held : BODY_WRITE;
		int rc = -EINVAL;

		if (len < BODY_WRITE && b->summed < b->length)
			return 0;
		if (len < BODY_WRITE)
			leave_direct(b, fd);
		if (b->direct)
			rc = write_direct(b, fd);
		if (rc == -EINVAL || rc == -ENOMEM) {
			leave_direct(b, fd);
			rc = write_cached(b, fd, len);
		}
		if (rc < 0)
			return rc;
		let_go(b, len);
	}
	if (b->written == b->length)
		leave_direct(b, fd);
	return 0;
}

int body_copy(struct object_body *b, int from, int to, bool *write_failed)
{
	uint8_t *block = malloc(OBJECT_FILE_BLOCK);
	int rc = block ? 0 : -ENOMEM;

	*write_failed = false;
	(void)disk_set_direct(from, false);
	leave_direct(b, to);
	for (uint64_t at = 0; rc == 0 && at < b->written; at += OBJECT_FILE_BLOCK) {
		size_t n = b->written - at < OBJECT_FILE_BLOCK ? (size_t)(b->written - at) : OBJECT_FILE_BLOCK;

		if (disk_pread(b->disk, from, block, n, OBJECT_FILE_HEADER + at) != (ssize_t)n ||
		    crc32c(0, block, n) != get_le32(b->sums + 4 * (at / OBJECT_FILE_BLOCK))) {
			rc = -EIO;
		} else {
			rc = disk_pwrite(b->disk, to, block, n, OBJECT_FILE_HEADER + at);
			*write_failed = rc < 0;
		}
	}
	free(block);
	if (rc == 0 && b->written < b->length)
		body_begin_file(b, to);
	return rc;
}
