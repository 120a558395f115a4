/* SPDX-License-Identifier: GPL-3.0-only */
/* agreement.h: what all nodes of a cluster have to agree on, and quorums of object replicas cannot decide: who made an object that
 * may be made only once (claims), which nodes there are (the map), and whether a node still has the data that it had.
 *
 * With one node all of it is in a SQLite database beside its objects; with more it is in etcd. Every call is asynchronous: it
 * returns at once, and its `done` runs once, on a thread of the agreement, with no lock held, and must not block for long. What is
 * given is copied before the call returns. Any thread may call. A failure (a status other than the ones named) means that the
 * outcome is not known: the change may have been made, or may still be. Every call may be repeated.
 *
 * Everything that is kept has a format version and a checksum over its name and its bytes; what does not fit is -EBADMSG and left
 * as it is. Knows nothing of replicas or of what a map says.
 */
#ifndef GARNER_NODE_AGREEMENT_H
#define GARNER_NODE_AGREEMENT_H

#include "base/error.h"
#include "store/http_tls.h"
#include "store/object_version.h"

#include <stddef.h>
#include <stdint.h>

struct agreement;

#define AGREEMENT_BODY_MAX (64 * 1024)      /* of a claim */
#define AGREEMENT_MAP_MAX (64 * 1024)       /* of a map's text */
#define AGREEMENT_INCARNATION_MAX 128       /* bytes of an incarnation's text */
#define AGREEMENT_NODE_MAX (1u << 20)       /* the highest node id */
#define AGREEMENT_MAP_VERSION_MAX INT64_MAX /* maps have versions from 1 to this */

/* Who has a name. */
struct agreement_holder {
	struct object_version version;
	uint8_t *body; /* malloc'ed; `done` may keep it by setting this to NULL, and frees it then */
	size_t length;
};

/* `status` is 0 (won: the claim is the caller's, be it from an earlier try: a holder of the same version is the caller itself),
 * -EEXIST with the holder (`holder` is NULL otherwise), or a failure. What is pointed to lives during the call. */
typedef void agreement_claim_fn(void *arg, int status, struct agreement_holder *holder, const struct error *err);
typedef void agreement_done_fn(void *arg, int status, const struct error *err);
/* `status` is 0; -ENOENT: there is no map yet; or a failure. `text` has an end, which does not count in `length`. */
typedef void agreement_map_fn(void *arg, int status, const char *text, size_t length, uint64_t version,
                              const struct error *err);
/* `status` is 0, with the incarnation that was registered before, or NULL when there was none; or a failure. */
typedef void agreement_node_fn(void *arg, int status, const char *previous, const struct error *err);

/* Opens (and makes, when it is missing) the database `path`, in a directory that is there. 0; -EBUSY when another process has it
 * open; -EBADMSG it is damaged or none of ours; -EIO, -ENOSPC, ... with a text that names it. Blocks. */
int agreement_open_local(const char *path, struct agreement **agreement, struct error *err);

struct agreement_etcd_options {
	const char *endpoints;  /* "https://h1:2379,https://h2:2379": 1 to AGREEMENT_ENDPOINTS_MAX */
	const char *cluster_id; /* 32 hex digits */
	struct http_tls tls;    /* strings copied; the client's certificate is in the same file as its key */
	uint64_t deadline_ms;   /* of a call, all tries included; 0: 10 s */
	uint64_t try_ms;        /* that an endpoint may be silent before the next is asked; 0: 1000 */
};

#define AGREEMENT_ENDPOINTS_MAX 9

/* Asks nothing yet: etcd may come later. 0; -EINVAL with a text that says what is wrong with the endpoints; -ENOMEM, -EAGAIN no thread.
 */
int agreement_open_etcd(const struct agreement_etcd_options *options, struct agreement **agreement, struct error *err);

/* Waits for the calls that are under way, then frees. Not from a `done`. NULL is ignored. */
void agreement_close(struct agreement *a);

/* Makes `name` the caller's unless it is somebody's. `name` is as of object_name_valid(), `version` is not none, and `length` at most
 * AGREEMENT_BODY_MAX: else -EINVAL. */
void agreement_claim(struct agreement *a, const char *name, struct object_version version, const void *body,
                     size_t length, agreement_claim_fn *done, void *arg);

/* Removes the claim of `name` if its version is `upto` or older. 0 also when there is none, or a newer one. */
void agreement_release(struct agreement *a, const char *name, struct object_version upto, agreement_done_fn *done,
                       void *arg);

/* The newest map. */
void agreement_map_get(struct agreement *a, agreement_map_fn *done, void *arg);

/* Replaces the map of version `expected` (0: there is none yet) by `text`, the map of version expected + 1. 0 (also when that very text
 * is there already); -ESTALE when another version is there; or a failure. -EINVAL: `text` is empty or too long, or has a 0 byte. */
void agreement_map_set(struct agreement *a, uint64_t expected, const char *text, size_t length, agreement_done_fn *done,
                       void *arg);

/* What is registered for node `id`, as `previous`. */
void agreement_node_get(struct agreement *a, unsigned id, agreement_node_fn *done, void *arg);

/* Registers what node `id` (1 to AGREEMENT_NODE_MAX) is now; `incarnation` is a text of 1 to AGREEMENT_INCARNATION_MAX printable ASCII
 * characters. */
void agreement_node_register(struct agreement *a, unsigned id, const char *incarnation, agreement_node_fn *done,
                             void *arg);

#endif
