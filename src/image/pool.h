/* SPDX-License-Identifier: GPL-3.0-only */
/* pool.h: one store prefix with its format object and keys: made by `garner init`, opened by everything else.
 *
 * The format object ("pool", OBJECT_POOL, always in a plain box) has the fields: version, uuid, created, grain, sealed (0/1), wrapped key
 * (salt, ops, mem, key), capabilities found by probing (pool_probe.h). A pool of a newer version is refused.
 */
#ifndef GARNER_IMAGE_POOL_H
#define GARNER_IMAGE_POOL_H

#include "base/error.h"
#include "log/segment_file.h"
#include "seal/keys.h"
#include "seal/object.h"
#include "store/store.h"

#define POOL_VERSION 1
#define POOL_KEY "pool"

/* How long a claim waits (pool_claim.h), and by which clock: tests have their own. */
struct pool_clock {
	uint64_t (*now_ns)(void *arg); /* monotonic */
	void (*sleep_ns)(void *arg, uint64_t ns);
	void *arg;
	uint64_t settle_ns;
};

struct pool {
	struct store *store;            /* its capabilities are those that were found when the pool was made */
	const struct pool_clock *clock; /* NULL: the host's */
	uint8_t uuid[POOL_UUID_BYTES];
	bool sealed;
	uint32_t grain_bytes; /* of new images */
	uint64_t created_ns;
	struct seal_key master;  /* plain when not sealed */
	struct seal_key catalog; /* derived */
};

/* Makes a pool: opens the store (creating the place), finds out what it keeps of its promises (which takes some dozen requests),
 * and puts the format object as pool_claim() does. `secret` NULL: a plain pool. -EEXIST when a pool is there ("already a pool:
 * ..."), -ENOTEMPTY when other objects are. After -ETIMEDOUT and -EAGAIN there may be a pool, or not. */
int pool_init(const char *url, const struct store_options *options, const struct secret *secret, uint32_t grain_bytes,
              struct error *err);
/* The same in a store that is open. `clock` may be NULL. */
int pool_make(struct store *s, const struct pool_clock *clock, const struct secret *secret, uint32_t grain_bytes,
              struct error *err);

/* Opens a pool. `secret` may be NULL for a plain pool; -ENOKEY when it is sealed and no secret was given (says which
 * options there are), -EKEYREJECTED, -ENOENT ("no pool at ...: make one with garner init"), -EPROTONOSUPPORT (newer). */
int pool_open(const char *url, const struct store_options *options, const struct secret *secret, struct pool **pool,
              struct error *err);
/* Whether images may be written: 0, or -EOPNOTSUPP where the store cannot tell two hosts apart (neither STORE_CREATE_ONLY nor
 * STORE_READ_LATEST), unless `exclusive` says that there is but one. */
int pool_may_write(const struct pool *p, bool exclusive, struct error *err);
/* Closes the store, wipes keys. NULL is ignored. */
void pool_close(struct pool *p);

/* Whether a pool may be made there without having been asked for: in a directory that is empty. 1 yes, 0 no, or -errno. */
int pool_may_begin(const char *url, const struct store_options *options, struct error *err);

/* Wraps the master key with another secret and replaces the format object. Data is not touched. */
int pool_rewrap(struct pool *p, const struct secret *secret, struct error *err);

/* Reads the secret that the two paths name (at most one; both NULL: *secret = NULL). */
int pool_secret(const char *key_file, const char *passphrase_file, struct secret **secret, struct error *err);

/* "xxxxxxxx-xxxx-..." */
#define UUID_TEXT_BYTES 37
const char *uuid_format(const uint8_t uuid[16], char out[UUID_TEXT_BYTES]);

/* Small objects with their codec, blocking: get + decode, encode + put. `key` is the sealing key. What came damaged is asked
 * for once more: perhaps it was only so on its way. With STORE_PUT_CREATE_ONLY as pool_put_new(): atomic only where the store is. */
int pool_get_object(struct pool *p, const char *store_key, enum object_kind kind, const struct seal_key *key,
                    struct fields **f, struct error *err);
int pool_put_object(struct pool *p, const char *store_key, enum object_kind kind, const struct seal_key *key,
                    const struct fields *f, unsigned put_flags, struct error *err);

/* "images/<id>/<name>": the key of an object of which an image has one. */
void image_object_key(uint64_t image, const char *name, char store_key[STORE_KEY_MAX + 1]);
/* The two above for such an object, sealed with the image key. `store_key` is filled in, for what the caller says of the content. */
int image_get_object(struct pool *p, uint64_t image, const char *name, enum object_kind kind,
                     char store_key[STORE_KEY_MAX + 1], struct fields **f, struct error *err);
int image_put_object(struct pool *p, uint64_t image, const char *name, enum object_kind kind, const struct fields *f,
                     struct error *err);

#endif
