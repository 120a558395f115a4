/* SPDX-License-Identifier: GPL-3.0-only */
/* node_ask.h: a small signed request to one of several storage nodes, asked in turn until one answers: for maps, states and commands,
 * not for objects.
 */
#ifndef GARNER_STORE_NODE_ASK_H
#define GARNER_STORE_NODE_ASK_H

#include "store/cluster_map.h"
#include "store/http.h"
#include "store/node_auth.h"

#define NODE_ASK_ADDRESSES (CLUSTER_NODES_MAX + 16)

struct node_ask {
	/* ---- set by the caller, who keeps it and what it points to until done() ---- */
	struct http_engine *engine;
	const struct node_key *key;
	bool tls;
	enum http_method method; /* HTTP_GET or HTTP_POST, without a body */
	const char *target;      /* "/v1/map": less than NODE_TARGET_MAX bytes */
	enum http_class class;
	uint64_t deadline_ms, try_ms;                           /* as of struct http_request */
	bool one_round;                                         /* each is asked once at most */
	size_t room;                                            /* bytes of the answer */
	size_t count;                                           /* of addresses, at least one */
	char address[NODE_ASK_ADDRESSES][CLUSTER_ADDRESS_TEXT]; /* "host:port" */
	/* May be NULL. On the engine's thread, for an answer of 200 that is proven: whether it is of use, as of judge(). */
	enum http_verdict (*answered)(struct node_ask *a, struct error *err);
	void (*done)(struct node_ask *a); /* as of struct http_request */
	void *arg;

	/* ---- the result ---- */
	int result; /* 0, or -errno with `err` */
	struct error err;
	char *body; /* of the answer, with an end; the caller frees; NULL after a failure */
	size_t length;
	size_t from; /* which address answered */

	/* ---- private ---- */
	struct http_request request;
	struct node_session session;
	uint8_t nonce[NODE_NONCE_BYTES];
	bool same; /* the next try asks the same one */
	bool begun;
	unsigned turns; /* how many were asked, none twice in a row */
};

/* Any thread; does not block. */
void node_ask_submit(struct node_ask *a);
/* The same, and waits; `done` is not used. Returns the result. */
int node_ask_wait(struct node_ask *a, struct error *err);

#endif
