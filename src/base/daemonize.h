/* SPDX-License-Identifier: GPL-3.0-only */
/* daemonize.h: goes to the background, and lets the command return only once the daemon serves.
 *
 * The fork comes first, before anything starts threads. The parent waits on a pipe. The child keeps the caller's standard
 * error until daemonize_ready(), so that what goes wrong before is read on the terminal, once. */
#ifndef GARNER_BASE_DAEMONIZE_H
#define GARNER_BASE_DAEMONIZE_H

#include "base/error.h"

struct daemonize {
	int ready_fd; /* the child's end of the pipe; -1 when nobody waits */
};

/* Nobody waits: for the foreground. */
#define DAEMONIZE_NONE ((struct daemonize){ -1 })

/* Forks. Returns 0 in the child, which is a session of its own by then. The parent never returns: it exits 0 once the child
 * is ready, else with the child's exit code (1 and a line of its own when a signal killed it). Returns a negative
 * errno, without having forked, when that is not possible. */
int daemonize_start(struct daemonize *d, struct error *err);

/* The daemon serves: standard input, output and error become /dev/null, reports go to syslog, the root becomes the current
 * directory, and the parent exits. Does nothing when nobody waits, or when called again. */
void daemonize_ready(struct daemonize *d);

#endif
