/* SPDX-License-Identifier: GPL-3.0-only */
/* loop.h: a thread with an event loop, and how other threads hand it work.
 *
 * Whatever lives on a loop (servers, peers, timers) is used on its thread only, and needs no locks. There may be several loops;
 * none knows of another. Knows nothing of what it runs; nothing that runs on it may block.
 */
#ifndef GARNER_NODE_LOOP_H
#define GARNER_NODE_LOOP_H

#include "base/error.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

struct loop;
typedef void loop_fn(void *arg);

/* Starts a thread named `name` (at most 15 characters are shown). 0 with *loop, or -errno. End it with loop_free(). */
int loop_new(const char *name, struct loop **loop, struct error *err);

/* Ends the loop: all that was posted before is run, and what that posts in turn; then the thread ends. What lives on the loop must
 * have been ended before, by something posted. Not from the loop itself. NULL is ignored. */
void loop_free(struct loop *l);

/* Has fn(arg) run on the loop's thread, in the order of the calls. 0, or -ENOMEM. Any thread; never blocks. The caller sees to it
 * that nobody posts to a loop that is freed. */
int loop_post(struct loop *l, loop_fn *fn, void *arg);

/* The same, and waits until it has run. On the loop's own thread it is simply called. */
int loop_run(struct loop *l, loop_fn *fn, void *arg);

/* Whether the caller is on the loop's thread. */
bool loop_here(const struct loop *l);

/* For events of files and sockets; on the loop's thread only. */
struct event_base *loop_base(struct loop *l);

/* Milliseconds of clock_monotonic_ns(). */
uint64_t loop_now_ms(void);

/* ---- timers: on the loop's thread only ---- */

struct loop_timer {
	struct event event;
	loop_fn *fn;
	void *arg;
};

void loop_timer_init(struct loop_timer *t, struct loop *l, loop_fn *fn, void *arg);
/* Runs fn(arg) once, `ms` from now; a time set before no longer counts. */
void loop_timer_set(struct loop_timer *t, uint64_t ms);
bool loop_timer_is_set(const struct loop_timer *t);
/* After this it does not run. May be called at any time after loop_timer_init(), also by fn, which may free the timer. */
void loop_timer_cancel(struct loop_timer *t);

#endif
