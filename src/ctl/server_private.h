/* SPDX-License-Identifier: GPL-3.0-only */
/* server_private.h: what the connections of the control socket (server.c) and its commands (server_commands.c) know of each other. Private to
 * src/ctl. On the worker that runs the connection's command.
 */
#ifndef GARNER_CTL_SERVER_PRIVATE_H
#define GARNER_CTL_SERVER_PRIVATE_H

#include "base/error.h"
#include "image/image.h"

#include <stdbool.h>
#include <stddef.h>

struct connection;

struct engine *connection_engine(const struct connection *c);
/* Sends all of it, or finds out that nobody listens any more. May block for some seconds. */
void connection_send(struct connection *c, const char *buf, size_t len);
/* False when the peer is gone, or the server ends: what runs is to be given up. */
bool connection_listens(const struct connection *c);

/* Whether the command of that line only looks at what is in memory. The line may be anything. */
bool server_request_is_quick(const char *line);
/* "garner 1 COMMAND [WORD...]": runs it, and sends the lines of its answer, but not the last one. The line is cut up in place. */
int server_run_request(struct connection *c, char *line, struct error *err);

#endif
