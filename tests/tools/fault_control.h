/* SPDX-License-Identifier: GPL-3.0-only */
/* fault_control.h: the fault proxy's control socket: a line in, a line out.
 *
 *   down | up | delay MS | rate BYTES_PER_S | faults off | fault KIND=P[,ARG]     answered "ok" or "error TEXT"
 *   stats                                                                        answered with key=value pairs
 *
 * For tests on this machine: only the user who started the proxy can connect. Runs in the event loop's thread.
 */
#ifndef GARNER_TESTS_FAULT_CONTROL_H
#define GARNER_TESTS_FAULT_CONTROL_H

#include "base/error.h"

struct fault_proxy;
struct fault_control;

/* Listens at `path`, which must not exist, or be the socket of a proxy that is gone. Returns 0 with `*control` to be ended
 * with fault_control_free() before the proxy, or a negative errno with a text in `err`. */
int fault_control_listen(struct fault_proxy *proxy, const char *path, struct fault_control **control,
                         struct error *err);

/* Closes and removes the socket. NULL is ignored. */
void fault_control_free(struct fault_control *c);

#endif
