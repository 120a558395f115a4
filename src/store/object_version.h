/* SPDX-License-Identifier: GPL-3.0-only */
/* object_version.h: which of several puts and removals of one object counts, on storage nodes; and what a node knows of an object
 * beside its bytes.
 *
 * A version is made once for a put or removal, by whoever asks for it, and kept over all tries: the same version always means the
 * same bytes, and a try that lingers loses against what came after it. The counter is a hybrid logical clock: wall-clock
 * nanoseconds, but always more than any that was seen. Two versions of the same counter are told apart by `tie`, which is random.
 * Knows nothing of networks or disks.
 */
#ifndef GARNER_STORE_OBJECT_VERSION_H
#define GARNER_STORE_OBJECT_VERSION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct object_version {
	uint64_t counter, tie;
};

/* Of "nothing was ever there": lower than any other. */
#define OBJECT_VERSION_NONE ((struct object_version){ 0, 0 })

/* < 0, 0 or > 0 as `a` is older than, the same as, or newer than `b`. */
int object_version_compare(struct object_version a, struct object_version b);
bool object_version_is_none(struct object_version v);

/* No counter is higher, so that there is always a next one. */
#define OBJECT_COUNTER_MAX (UINT64_MAX / 2)

/* "<counter>.<tie>", 16 hex digits each. */
#define OBJECT_VERSION_TEXT 34
void object_version_format(struct object_version v, char text[OBJECT_VERSION_TEXT]);
/* Exactly that form, not the version "none", no counter above OBJECT_COUNTER_MAX. 0 or -EINVAL. */
int object_version_parse(const char *text, struct object_version *v);

/* A source of versions, each higher than all before it and all that were seen. Any thread. */
struct version_clock {
	pthread_mutex_t mutex;
	uint64_t last; /* counter; guarded by mutex */
};

void version_clock_init(struct version_clock *c);
void version_clock_destroy(struct version_clock *c);
/* A new one. */
struct object_version version_clock_next(struct version_clock *c);
/* Somebody else has used this counter. */
void version_clock_seen(struct version_clock *c, uint64_t counter);

/* ---- what is known of an object ---- */

#define OBJECT_DIGEST_BYTES 32 /* the first of BLAKE2bp of the body */
#define OBJECT_DIGEST_TEXT (2 * OBJECT_DIGEST_BYTES + 1)
#define OBJECT_LENGTH_MAX (128ull * 1024 * 1024) /* bytes: a segment of 64 MiB, packed, and some */

enum object_flags {
	OBJECT_TOMBSTONE = 1 << 0, /* it was removed; there is no body */
	OBJECT_CLAIMED =
		1 << 1, /* was once made create-only through the agreement, which may hold a claim for its name still */
	OBJECT_CONFIRMED = 1 << 2, /* this replica knows that a write quorum has this version; never sent to others */
};

struct object_meta {
	struct object_version version;
	uint64_t length; /* bytes of the body */
	uint8_t digest[OBJECT_DIGEST_BYTES];
	unsigned flags; /* enum object_flags */
};

/* "POOL/KEY": a pool's name is 1 to 64 of [a-z0-9._-] and begins with a letter or digit; the key is as of store_key_valid(). */
#define OBJECT_POOL_MAX 64
#define OBJECT_NAME_MAX (OBJECT_POOL_MAX + 1 + 200)
bool object_pool_valid(const char *pool);
bool object_name_valid(const char *name);

#endif
