/* SPDX-License-Identifier: GPL-3.0-only */
/* op.c: the life of an operation: first step on the caller's thread, later ones where what it waited for arrives. */
#include "image/private.h"

#include <errno.h>
#include <stdlib.h>

static void op_free(struct op *op)
{
	if (op->destroy)
		op->destroy(op);
	if (op->uses_log)
		image_unuse_log(op->image);
	free(op->node_bytes);
	free(op);
}

int64_t image_op_start(struct op *op)
{
	int64_t result = op->step(op);

	if (result != -EINPROGRESS)
		op_free(op);
	return result;
}

void image_op_resume(void *arg)
{
	struct op *op = arg;
	int64_t result = op->step(op);

	if (result == -EINPROGRESS)
		return;
	image_done_fn *done = op->done;
	void *done_arg = op->arg;
	op_free(op);
	done(done_arg, result);
}

void image_op_fetched(struct fetch_op *fetch)
{
	struct op *op = (struct op *)fetch;

	if (executor_run(op->image->engine->work, image_op_resume, op))
		image_op_resume(op);
}

struct log *image_use_log(struct image *i)
{
	atomic_fetch_add(&i->users, 1);
	struct log *log = atomic_load(&i->log);
	if (!log)
		atomic_fetch_sub(&i->users, 1);
	return log;
}

void image_unuse_log(struct image *i)
{
	atomic_fetch_sub(&i->users, 1);
}
