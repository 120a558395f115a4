/* SPDX-License-Identifier: GPL-3.0-only */
/* nonce_table.h: which requests were seen already: a bounded memory of their nonces.
 *
 * Two generations: what was added is known for at least one span of time, and forgotten after two at the latest. Only the first
 * 64 bits of a nonce are kept: two requests that share them by chance (not in practice) cost one of them a second try. Only
 * nonces of requests that were signed go in here, so nobody without the key can fill it. Knows nothing of clocks. Not locked.
 */
#ifndef GARNER_NODE_NONCE_TABLE_H
#define GARNER_NODE_NONCE_TABLE_H

#include "store/node_auth.h"

#include <stddef.h>
#include <stdint.h>

struct nonce_table;

enum nonce_verdict {
	NONCE_FRESH,    /* noted */
	NONCE_REPLAYED, /* is known */
	NONCE_FULL,     /* cannot be noted: too many in this span of time, or memory is short */
};

/* Remembers each for `span_ms` at least, and no more than `most` of them in such a time. NULL when memory is short. */
struct nonce_table *nonce_table_new(uint64_t span_ms, size_t most);
/* NULL is ignored. */
void nonce_table_free(struct nonce_table *t);

/* `now_ms` never goes back. */
enum nonce_verdict nonce_table_add(struct nonce_table *t, const uint8_t nonce[NODE_NONCE_BYTES], uint64_t now_ms);

#endif
