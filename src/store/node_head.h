/* SPDX-License-Identifier: GPL-3.0-only */
/* node_head.h: the head of a signed request to a storage node, made for the HTTP engine, and what proves an answer.
 *
 * Knows nothing of what is asked. For prepare() and judge() of struct http_request: on the engine's thread.
 */
#ifndef GARNER_STORE_NODE_HEAD_H
#define GARNER_STORE_NODE_HEAD_H

#include "store/http.h"
#include "store/node_auth.h"

#define NODE_HEAD_HEADERS 8
#define NODE_HEAD_LINE 160
#define NODE_TARGET_MAX 1024

/* What is asked; filled by node_head_begin() and node_head_header(). */
struct node_head {
	struct node_header header[NODE_HEAD_HEADERS];
	size_t count;
	char value[NODE_HEAD_HEADERS][NODE_HEAD_LINE];
	char target[NODE_TARGET_MAX];
};

void node_head_begin(struct node_head *h);
/* A header; `name` is static, its value is copied: at most NODE_HEAD_LINE - 1 bytes. */
void node_head_header(struct node_head *h, const char *name, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Signs it and writes it into `head`: the URL of h->target at `address` ("host:port"), the headers, Authorization. `r` says the method,
 * the body's length and the range. `nonce` is wanted again for the answer. 0 or a negative errno with `err`. */
int node_head_sign(const struct node_head *h, const struct http_request *r, struct http_head *head, bool tls,
                   const char *address, const struct node_key *key, const struct node_session *session,
                   uint8_t nonce[NODE_NONCE_BYTES], struct error *err);

enum node_proof {
	NODE_PROVEN, /* the answer is a node's, to this very request */
	NODE_CHALLENGED, /* it is a refusal with a challenge: `session` is known now, and the request is to be signed anew */
	NODE_REPLAYED, /* curl has sent it twice, over a connection that was dead: what became of the first is not known */
	NODE_STRANGER, /* anybody's; `err` says why it is not believed */
};

/* Looks at an answer's headers, and at its body's digest. Bodies of more than `body_max` bytes are not summed. */
enum node_proof node_head_check(const struct http_request *r, const struct node_key *key,
                                const uint8_t nonce[NODE_NONCE_BYTES], struct node_session *session, size_t body_max,
                                struct error *err);

/* The clock that sessions are counted on, in ms. */
uint64_t node_head_now_ms(void);

#endif
