/* SPDX-License-Identifier: GPL-3.0-only */
/* server_clean.h: the commands "clean", "orphans" and "space" of the control socket. Private to src/ctl. Every line of the answer goes to say(), which
 * returns false when nobody listens any more.
 */
#ifndef GARNER_CTL_SERVER_CLEAN_H
#define GARNER_CTL_SERVER_CLEAN_H

#include "image/image.h"

/* `how`: gently, now or dry-run. */
int server_clean(struct engine *e, const char *how, uint64_t id, bool (*say)(void *arg, const char *line), void *arg,
                 struct error *err);
int server_orphans(struct engine *e, const char *how, bool (*say)(void *arg, const char *line), void *arg,
                   struct error *err);
int server_space(struct engine *e, uint64_t id, bool (*say)(void *arg, const char *line), void *arg, struct error *err);

#endif
