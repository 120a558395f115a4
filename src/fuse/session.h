/* SPDX-License-Identifier: GPL-3.0-only */
/* session.h: one mount, from opening the pool to having closed it. */
#ifndef GARNER_FUSE_SESSION_H
#define GARNER_FUSE_SESSION_H

#include "base/error.h"
#include "base/daemonize.h"
#include "fuse/options.h"

/* Whether something can be mounted there: a directory, empty, of ours to mount on. Returns 0, or a negative errno and one
 * clear text. */
int session_check_mountpoint(const char *mountpoint, struct error *err);

/* Opens the pool, mounts it, serves it until it is unmounted or SIGTERM, SIGINT or SIGHUP comes, and closes the pool. Calls
 * daemonize_ready() once the mount is usable. Returns 0 when all ended well (what had to stay in the cache directory is
 * reported), or a negative errno with a text. To be called on the only thread; that thread's signals are left blocked. */
int session_run(const struct mount_options *options, struct daemonize *d, struct error *err);

#endif
