/* SPDX-License-Identifier: GPL-3.0-only */
/* refusal_log.h: lines for the operator about what was refused and to whom: one per kind and peer in ten seconds, with a count of
 * those that were left out. Bounded: beyond 64 at a time, those of other peers are counted together. Not locked.
 */
#ifndef GARNER_NODE_REFUSAL_LOG_H
#define GARNER_NODE_REFUSAL_LOG_H

#include <stdint.h>

struct refusal_log;

enum refusal_kind {
	REFUSED_MALFORMED,
	REFUSED_UNAUTHENTICATED,
	REFUSED_REPLAYED,
	REFUSED_OVERLOAD,
	REFUSED_SLOW,
	REFUSED_CONNECTION,
	REFUSED_TLS,
	REFUSED_KINDS
};

/* NULL when memory is short. */
struct refusal_log *refusal_log_new(uint64_t span_ms);
/* Says what was left out so far. NULL is ignored. */
void refusal_log_free(struct refusal_log *log);

/* Something of this kind was refused to `peer` ("address:port"; the port does not count) because of `why`. */
void refusal_log_add(struct refusal_log *log, enum refusal_kind kind, const char *peer, uint64_t now_ms,
                     const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Says what was left out of spans that are over. To be called now and then. */
void refusal_log_tick(struct refusal_log *log, uint64_t now_ms);

#endif
