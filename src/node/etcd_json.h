/* SPDX-License-Identifier: GPL-3.0-only */
/* etcd_json.h: the few requests of etcd's JSON gateway (v3.4 and later) that are needed, and its answers. Pure: knows nothing of who is
 * asked, nor of what keys and values mean.
 */
#ifndef GARNER_NODE_ETCD_JSON_H
#define GARNER_NODE_ETCD_JSON_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is at a key. */
struct etcd_found {
	uint8_t *value; /* malloc'ed; NULL: there is no such key */
	size_t length;
	int64_t revision; /* of its last change; 0: there is no such key */
};

/* The body of a POST to /v3/kv/range that asks for one key. malloc'ed, or NULL: no memory. */
char *etcd_range_body(const char *key);

/* A second key of a transaction: a put is made only if its last change was `revision`, too; a deletion changes it. */
struct etcd_guard {
	const char *key;
	int64_t revision;
};

/* The body of a POST to /v3/kv/txn: if the last change of the key was `revision` (0: there is none), puts `value` there, or deletes it when
 * `value` is NULL; else gets it. `guard` may be NULL. malloc'ed, or NULL: no memory. */
char *etcd_txn_body(const char *key, int64_t revision, const void *value, size_t length,
                    const struct etcd_guard *guard);

/* Read answers of status 200. 0 and `*found` (free its value) or -ENOMEM; -EPROTO, with `err`, when it is no answer of etcd to that, or
 * holds a value of more than `value_max` bytes. */
int etcd_range_parse(const void *body, size_t length, const char *key, size_t value_max, struct etcd_found *found,
                     struct error *err);
/* `*done` is whether the change was made; if not, `*found` is what is there. */
int etcd_txn_parse(const void *body, size_t length, const char *key, size_t value_max, bool *done,
                   struct etcd_found *found, struct error *err);

/* What an answer of another status says, as a text for people, in `text`; printable ASCII. Returns it. */
#define ETCD_FAULT_TEXT 160
const char *etcd_fault_text(const char *body, size_t length, char text[ETCD_FAULT_TEXT]);

#endif
