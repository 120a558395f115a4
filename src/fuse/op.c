/* SPDX-License-Identifier: GPL-3.0-only */
/* op.c: data requests: an op for each loop thread, and what happens when the engine answers later. */
#include "fuse/front.h"

#include <errno.h>
#include <stdlib.h>

#define FREE_OPS_MAX 32 /* kept with their buffers; what is above goes back to the system */

static void op_free(struct op *op)
{
	free(op->buf);
	free(op);
}

/* Also the destructor of a loop thread's op. */
static void op_put_back(void *arg)
{
	struct op *op = arg;
	struct front *f = op->front;
	bool keep;

	pthread_mutex_lock(&f->mutex);
	keep = f->free_op_count < FREE_OPS_MAX;
	if (keep) {
		op->next_free = f->free_ops;
		f->free_ops = op;
		f->free_op_count++;
	}
	pthread_mutex_unlock(&f->mutex);
	if (!keep)
		op_free(op);
}

int ops_init(struct front *f)
{
	return -pthread_key_create(&f->op_key, op_put_back);
}

void ops_end(struct front *f)
{
	pthread_key_delete(f->op_key);
	while (f->free_ops) {
		struct op *op = f->free_ops;

		f->free_ops = op->next_free;
		op_free(op);
	}
	f->free_op_count = 0;
}

/* The thread has none: its last one went away with a request, or it is new. */
static struct op *op_new(struct front *f)
{
	struct op *op;

	pthread_mutex_lock(&f->mutex);
	op = f->free_ops;
	if (op) {
		f->free_ops = op->next_free;
		f->free_op_count--;
	}
	pthread_mutex_unlock(&f->mutex);
	if (!op)
		op = calloc(1, sizeof *op);
	if (!op)
		return NULL;
	op->front = f;
	if (pthread_setspecific(f->op_key, op) != 0) {
		op_free(op);
		return NULL;
	}
	return op;
}

struct op *op_take(fuse_req_t req, const struct fuse_file_info *fi, op_reply_fn *reply)
{
	struct front *f = front_of(req);
	struct op *op = pthread_getspecific(f->op_key);

	if (!op)
		op = op_new(f);
	if (!op) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	op->req = req;
	op->handle = handle_of(fi);
	op->step = NULL;
	op->reply = reply;
	return op;
}

void *op_buffer(struct op *op)
{
	if (!op->buf && posix_memalign(&op->buf, 4096, IO_BYTES_MAX) != 0)
		op->buf = NULL;
	return op->buf;
}

/* Makes the calls that are left, as long as they answer at once. After -EINPROGRESS the op is not ours. */
static int64_t op_run(struct op *op, int64_t result)
{
	while (result >= 0 && op->step) {
		op_step_fn *step = op->step;

		op->step = NULL;
		result = step(op, result);
	}
	return result;
}

void op_start(struct front *f, struct op *op, int64_t result)
{
	result = op_run(op, result);
	if (result == -EINPROGRESS) {
		atomic_fetch_add(&f->away, 1);
		pthread_setspecific(f->op_key, NULL);
		return;
	}
	op->reply(op, result);
}

void op_done(void *arg, int64_t result)
{
	struct op *op = arg;
	struct front *f = op->front;

	result = op_run(op, result);
	if (result == -EINPROGRESS)
		return;
	op->reply(op, result);
	op_put_back(op);
	atomic_fetch_sub(&f->away, 1);
}
