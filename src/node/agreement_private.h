/* SPDX-License-Identifier: GPL-3.0-only */
/* agreement_private.h: what the kinds of agreement share: a call, and how what is kept is packed.
 *
 * agreement.c checks what is asked for and answers; a kind gets whole calls, and finishes each with agreement_call_end().
 */
#ifndef GARNER_NODE_AGREEMENT_PRIVATE_H
#define GARNER_NODE_AGREEMENT_PRIVATE_H

#include "node/agreement.h"

enum agreement_call_kind {
	AGREEMENT_CLAIM,
	AGREEMENT_RELEASE,
	AGREEMENT_MAP_GET,
	AGREEMENT_MAP_SET,
	AGREEMENT_NODE_GET,
	AGREEMENT_NODE_REGISTER,
};

#define AGREEMENT_KEY_MAX (OBJECT_NAME_MAX + 8)

/* A value as it is kept: 4 bytes "GNA" and the format's version, 4 bytes CRC-32C of the key with its end and of all that follows, 8 bytes
 * version's counter (of a map: its version; of a node: 0), 8 bytes its tie (else 0), then the bytes. Little-endian. */
#define AGREEMENT_VALUE_HEADER 24
#define AGREEMENT_VALUE_MAX (AGREEMENT_VALUE_HEADER + AGREEMENT_BODY_MAX)

struct agreement_value {
	struct object_version version;
	const uint8_t *bytes; /* in what was unpacked */
	size_t length;
};

/* Packs into malloc'ed bytes, or NULL: no memory. */
uint8_t *agreement_pack(const char *key, struct object_version version, const void *bytes, size_t length,
                        size_t *packed_length);
/* 0, or -EBADMSG with a text that names the key. */
int agreement_unpack(const char *key, const void *packed, size_t length, struct agreement_value *value,
                     struct error *err);

struct agreement_call {
	struct agreement *agreement;
	enum agreement_call_kind kind;
	char key[AGREEMENT_KEY_MAX];   /* "claims/NAME", "map", "nodes/ID" */
	struct object_version version; /* claim: of it; release: up to this; map_set: { expected, 0 } */
	uint8_t *value;                /* packed: what is to be there afterwards, or NULL */
	size_t value_length;
	union {
		agreement_claim_fn *claim;
		agreement_done_fn *done;
		agreement_map_fn *map;
		agreement_node_fn *node;
	} answer;
	void *arg;
	/* ---- for the kind ---- */
	uint8_t *found; /* what was there, packed, malloc'ed, or NULL: answers and compares with it */
	size_t found_length;
	void *own;
};

struct agreement_ops {
	/* Does the call and ends it with agreement_call_end(), on a thread of its own. */
	void (*start)(struct agreement *a, struct agreement_call *call);
	void (*close)(struct agreement *a);
};

/* What every kind begins with. */
struct agreement {
	const struct agreement_ops *ops;
};

/* What the rules say, given what is there (call->found): the same for all kinds. */
enum agreement_step {
	AGREEMENT_ANSWER, /* nothing to change: end the call with `*status` */
	AGREEMENT_PUT,    /* put call->value in place of what was found */
	AGREEMENT_DELETE, /* delete what was found */
};
enum agreement_step agreement_decide(const struct agreement_call *call, int *status, struct error *err);

/* Answers from `status` and call->found, and frees the call with all it holds but `own`. */
void agreement_call_end(struct agreement_call *call, int status, const struct error *err);

#endif
