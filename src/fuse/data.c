/* SPDX-License-Identifier: GPL-3.0-only */
/* data.c: reading, writing, flushing and what else touches the bytes of an image. Runs on the loop's threads, or, when the
 * engine answers later, on the engine's. */
#include "fuse/front.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

/* The result of a copy is told in 32 bits. */
#define COPY_BYTES_MAX (1024u * 1024 * 1024)

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static void reply_read(struct op *op, int64_t result)
{
	if (result < 0)
		fuse_reply_err(op->req, (int)-result);
	else
		fuse_reply_buf(op->req, op->buf, (size_t)result);
}

static void reply_count(struct op *op, int64_t result)
{
	if (result < 0)
		fuse_reply_err(op->req, (int)-result);
	else
		fuse_reply_write(op->req, (size_t)result);
}

static void reply_status(struct op *op, int64_t result)
{
	fuse_reply_err(op->req, result < 0 ? (int)-result : 0);
}

static void reply_offset(struct op *op, int64_t result)
{
	if (result < 0)
		fuse_reply_err(op->req, (int)-result);
	else
		fuse_reply_lseek(op->req, (off_t)result);
}

/* What a write or a copy answered is kept over the flush that follows it. */
static void reply_kept(struct op *op, int64_t result)
{
	reply_count(op, result < 0 ? result : op->kept);
}

/* A flush that failed leaves the file as it was: the next one has to say so again. */
static void reply_flushed(struct op *op, int64_t result)
{
	if (result < 0)
		atomic_store(&op->handle->written, true);
	reply_status(op, result);
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static int64_t step_flush(struct op *op, int64_t result)
{
	op->kept = result;
	return image_flush(op->handle->image, IMAGE_FLUSH_POLICY, op_done, op);
}

static int64_t step_resize(struct op *op, int64_t result)
{
	(void)result;
	return image_resize(op->handle->image, op->size, op_done, op);
}

static inline void mark_written(struct handle *h)
{
	if (!atomic_load_explicit(&h->written, memory_order_relaxed))
		atomic_store_explicit(&h->written, true, memory_order_relaxed);
}

/* ---- reading and writing ----------------------------------------------------------------------------------------- */

void data_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct front *f = front_of(req);
	struct op *op;

	(void)ino;
	if (size > IO_BYTES_MAX || off < 0) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	op = op_take(req, fi, reply_read);
	if (!op)
		return;
	if (!op_buffer(op)) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	op_start(f, op, image_read(op->handle->image, (uint64_t)off, op->buf, size, op_done, op));
}

void data_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct front *f = front_of(req);
	struct handle *h = handle_of(fi);
	struct op *op;

	(void)ino;
	if (off < 0) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	op = op_take(req, fi, reply_count);
	if (!op)
		return;
	if (fi->writepage)
		atomic_store(&h->opened->page_written, true);
	mark_written(h);
	if (h->sync || fi->flags & (O_SYNC | O_DSYNC)) {
		op->step = step_flush;
		op->reply = reply_kept;
	}
	op_start(f, op, image_write(h->image, (uint64_t)off, buf, size, op_done, op));
}

/* ---- flushing ---------------------------------------------------------------------------------------------------- */

/* close(2): what was written through this handle (or through a mapping, for which the kernel takes any handle) is flushed,
 * so that an error reaches the program that wrote. */
void data_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct front *f = front_of(req);
	struct handle *h = handle_of(fi);
	struct op *op;
	bool written;

	(void)ino;
	written = h->flags & IMAGE_WRITE &&
	          (atomic_exchange(&h->written, false) || atomic_load(&h->opened->page_written));
	if (!written) {
		fuse_reply_err(req, 0);
		return;
	}
	op = op_take(req, fi, reply_flushed);
	if (op)
		op_start(f, op, image_flush(h->image, IMAGE_FLUSH_POLICY, op_done, op));
}

void data_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct front *f = front_of(req);
	struct handle *h = handle_of(fi);
	struct op *op = op_take(req, fi, reply_flushed);

	(void)ino;
	(void)datasync; /* size and times are in the log with the data */
	if (!op)
		return;
	atomic_store(&h->written, false);
	op_start(f, op, image_flush(h->image, IMAGE_FLUSH_POLICY, op_done, op));
}

/* ---- space ------------------------------------------------------------------------------------------------------- */

/* A log has no space to reserve: plain preallocation only sets the size. The kernel serialises this with every write that
 * would extend the file, so the size looked at here still holds when it is set. */
void data_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi)
{
	struct front *f = front_of(req);
	struct handle *h = handle_of(fi);
	int kind = mode & ~FALLOC_FL_KEEP_SIZE;
	struct node_attr now;
	struct op *op;
	off_t end;

	(void)ino;
	if ((kind != 0 && kind != FALLOC_FL_PUNCH_HOLE && kind != FALLOC_FL_ZERO_RANGE) ||
	    mode == FALLOC_FL_PUNCH_HOLE) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	if (offset < 0 || length <= 0 || __builtin_add_overflow(offset, length, &end)) {
		fuse_reply_err(req, offset < 0 || length <= 0 ? EINVAL : EFBIG);
		return;
	}
	op = op_take(req, fi, reply_status);
	if (!op)
		return;
	mark_written(h);
	image_stat(h->image, &now);
	op->size = (uint64_t)end;
	if (!(mode & FALLOC_FL_KEEP_SIZE) && op->size > now.size)
		op->step = step_resize;
	op_start(f, op, kind ? image_discard(h->image, (uint64_t)offset, (uint64_t)length, op_done, op) : 0);
}

void data_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct front *f = front_of(req);
	struct op *op;

	(void)ino;
	if (whence != SEEK_DATA && whence != SEEK_HOLE) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	if (off < 0) {
		fuse_reply_err(req, ENXIO);
		return;
	}
	op = op_take(req, fi, reply_offset);
	if (op)
		op_start(f, op, image_seek(op->handle->image, (uint64_t)off, whence == SEEK_DATA, op_done, op));
}

void data_copy(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in, fuse_ino_t ino_out,
               off_t off_out, struct fuse_file_info *fi_out, size_t len, int flags)
{
	struct front *f = front_of(req);
	struct handle *from = handle_of(fi_in), *to = handle_of(fi_out);
	struct op *op;

	(void)ino_in;
	(void)ino_out;
	if (flags || off_in < 0 || off_out < 0) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	if (len > COPY_BYTES_MAX)
		len = COPY_BYTES_MAX;
	op = op_take(req, fi_out, reply_count);
	if (!op)
		return;
	mark_written(to);
	if (to->sync) {
		op->step = step_flush;
		op->reply = reply_kept;
	}
	op_start(f, op, image_copy(from->image, (uint64_t)off_in, to->image, (uint64_t)off_out, len, op_done, op));
}
