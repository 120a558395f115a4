/* SPDX-License-Identifier: GPL-3.0-only */
/* executor.h: a fixed set of threads that run jobs in the order given, and jobs at a later time.
 *
 * For work that may block: packing, file-store I/O, metadata calls. The queue is unbounded because every producer is
 * bounded by what it waits for; executor_depth() is there to assert that. Knows nothing of what it runs.
 */
#ifndef GARNER_BASE_EXECUTOR_H
#define GARNER_BASE_EXECUTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct executor;
typedef void job_fn(void *arg);

/* Starts `threads` threads named `name` (at most 12 characters are shown). `background` lowers their CPU and I/O
 * priority so that they give way to guests, as far as that can be undone (executor_set_urgent()). Returns NULL with errno when
 * a thread cannot be made. */
struct executor *executor_new(const char *name, unsigned threads, bool background);

/* Runs what is queued, drops what was delayed (its jobs are not called), joins the threads, frees. Not from a job. NULL is
 * ignored. */
void executor_free(struct executor *e);

/* Queues job(arg). Returns 0, or -ENOMEM. Any thread; never blocks. */
int executor_run(struct executor *e, job_fn *job, void *arg);

/* Runs job(arg) on one of the threads no sooner than `delay_ms` from now. Returns 0, or -ENOMEM. */
int executor_run_after(struct executor *e, uint64_t delay_ms, job_fn *job, void *arg);

/* Background threads begin no job for `ms` (at most a day) from now, unless it is urgent. Any thread; never blocks on a job. */
void executor_hold(struct executor *e, uint64_t ms);

/* Background threads run at normal CPU priority while `urgent`, from their next job on. Any thread; never blocks. */
void executor_set_urgent(struct executor *e, bool urgent);

/* Waits until the queue is empty and no job is running; delayed jobs do not count. Not from a job. */
void executor_drain(struct executor *e);

/* How many jobs wait for a thread; delayed jobs do not count before their time. */
size_t executor_depth(struct executor *e);

#endif
