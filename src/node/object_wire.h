/* SPDX-License-Identifier: GPL-3.0-only */
/* object_wire.h: what is said of an object in the headers of requests and answers, written and read. Pure. */
#ifndef GARNER_NODE_OBJECT_WIRE_H
#define GARNER_NODE_OBJECT_WIRE_H

#include "node/http_message.h"
#include "node/object_store.h"
#include "store/cluster_map.h"
#include "store/object_version.h"

#include <stdbool.h>
#include <stdint.h>

#define WIRE_VERSION "X-Garner-Version"
#define WIRE_DIGEST "X-Garner-Digest"
#define WIRE_FLAGS "X-Garner-Flags"   /* "-", or "claimed", "tombstone", "damaged" with commas between */
#define WIRE_MAP "X-Garner-Map"       /* version of the map that the sender goes by */
#define WIRE_RULE "X-Garner-Rule"     /* "fresh", "absent" or "copy": of a put to a replica */
#define WIRE_FLOOR "X-Garner-Floor"   /* of a replica that has nothing: its floor */
#define WIRE_CREATE "X-Garner-Create" /* "quorum" or "claim": of a create-only put to a coordinator */
#define WIRE_READ "X-Garner-Read"     /* "any" or "latest" */
#define WIRE_VOTE "X-Garner-Vote"     /* "1" or "0": whether a replica's answer counts */
#define WIRE_META "X-Garner-Meta" /* of a replica's answer: VERSION LENGTH DIGEST FLAGS of what it has, or had before */
#define WIRE_CLAIMED "X-Garner-Claimed" /* "1": what was there has OBJECT_CLAIMED, or had it once */
#define WIRE_AGE \
	"X-Garner-Age" /* of a look at a replica, when it is asked for: for how many seconds it has been there */
#define WIRE_REASON "X-Garner-Reason" /* of a refusal: "newer", "exists", "map", "damaged", "removed", "down" */
#define WIRE_ACKS "X-Garner-Acks" /* "n2=410,n1=950": nodes that have the object durably, after how many microseconds */

#define WIRE_WRONG_BODY "the body is not the one that was announced"

#define WIRE_FLAGS_TEXT 40
void wire_flags_format(unsigned flags, char text[WIRE_FLAGS_TEXT]);
/* 0 or -EINVAL. */
int wire_flags_parse(const char *text, unsigned *flags);

#define WIRE_META_TEXT 192
void wire_meta_format(const struct object_meta *meta, char text[WIRE_META_TEXT]);
int wire_meta_parse(const char *text, struct object_meta *meta);

/* enum object_rule in WIRE_RULE: 0, or -EINVAL. Without the header OBJECT_RULE_NEWER. */
int wire_rule(const struct message_head *head, enum object_rule *rule);
const char *wire_rule_name(enum object_rule rule);

/* The name "POOL/KEY" in a path that begins with `prefix` ("/v1/object/"): within the path, or NULL when it is none. */
const char *wire_name(const char *path, const char *prefix);

/* The version of a map in WIRE_MAP: 0 when there is none or it is none. */
uint64_t wire_map_version(const struct message_head *head);

/* What a put says of its object: version, digest, flags, and the body's length. 0, or -EINVAL with a reason. */
int wire_put_meta(const struct message_head *head, struct object_meta *meta, struct error *err);

#endif
