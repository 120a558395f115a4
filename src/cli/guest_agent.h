/* SPDX-License-Identifier: GPL-3.0-only */
/* guest_agent.h: QEMU's guest agent, by which a running guest is asked to freeze its file systems and to thaw them.
 *
 * It is spoken to through the unix socket of the guest's virtio-serial channel org.qemu.guest_agent.0: a line of JSON there, a line
 * of JSON back. What the guest says is foreign: it is bounded and checked, and may be late, be another's, or never come. Every wait
 * has an end. Not for several threads at once.
 */
#ifndef GARNER_CLI_GUEST_AGENT_H
#define GARNER_CLI_GUEST_AGENT_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct guest_agent;

/* Connects, throws away what an earlier client left to be read, and makes sure that nothing is frozen. `socket` must stay valid.
 * Each of the guest's answers may take `answer_ms`. Once *stop is true (NULL: never) waiting ends with -EINTR, but for
 * guest_agent_thawed(). Returns 0; -ENOENT, -ECONNREFUSED or -EBUSY for the socket; -ETIMEDOUT; -ECONNRESET; -EPROTO;
 * -EOPNOTSUPP when the agent may not do it; -EALREADY when the guest is frozen; -EIO with the agent's own words. The text names
 * the socket. Free with guest_agent_close(). */
int guest_agent_connect(const char *socket, unsigned answer_ms, const volatile bool *stop, struct guest_agent **agent,
                        struct error *err);

/* Does not thaw. NULL is ignored. */
void guest_agent_close(struct guest_agent *agent);

/* Asks for all file systems to be frozen, and does not wait. From here on the guest may be frozen, whatever comes back. */
int guest_agent_freeze(struct guest_agent *agent, struct error *err);

/* Waits for that, `timeout_ms` at most. Returns 0 when at least one file system is frozen; -ENODATA when there was none; and as
 * above. */
int guest_agent_frozen(struct guest_agent *agent, unsigned timeout_ms, struct error *err);

/* Whether the guest may be frozen by this agent: after guest_agent_freeze(), until guest_agent_thawed() returned 0 or -ESTALE. */
bool guest_agent_holds(const struct guest_agent *agent);

/* Asks for all to be thawed, and does not wait: also in the middle of an answer. */
int guest_agent_thaw(struct guest_agent *agent, struct error *err);

/* Waits for that. Returns 0, or -ESTALE when nothing was frozen any more: the guest has thawed by itself at some time before. */
int guest_agent_thawed(struct guest_agent *agent, unsigned timeout_ms, struct error *err);

#endif
