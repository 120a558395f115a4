/* SPDX-License-Identifier: GPL-3.0-only */
/* object.h: the container of every small object in a store (pool format, directory entry, epoch, term, head, lease, trace).
 *
 * A header with magic, version and kind, then a sealed box whose content is text: one "name value" line per field. The
 * object's key in the store is part of the associated data, so that an object copied to another key does not open.
 * Unknown fields are kept silent about and ignored; an unknown version is refused with a text that says to upgrade.
 *
 * Bytes: magic "GARNOBJ1" 8, version u32 LE, kind u32 LE, box description SEAL_BOX_BYTES, box bytes.
 */
#ifndef GARNER_SEAL_OBJECT_H
#define GARNER_SEAL_OBJECT_H

#include "base/error.h"
#include "seal/seal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OBJECT_VERSION 1
#define OBJECT_BYTES_MAX (64 * 1024) /* no small object is larger, sealed or open */

enum object_kind {
	OBJECT_POOL = 1,  /* "pool": always in a plain box, since it holds the wrapped key */
	OBJECT_ENTRY = 2, /* a directory entry */
	OBJECT_EPOCH = 3,
	OBJECT_TERM = 4,
	OBJECT_HEAD = 5,
	OBJECT_LEASE = 6,
	OBJECT_TRASH = 7,
	OBJECT_TRACE = 8,
	OBJECT_SNAPSHOT = 9,
	OBJECT_LAYERS = 10,
	OBJECT_POLICY = 11,
	OBJECT_CLEANED = 12,
};

/* The fields of one object, in order. */
struct fields;

/* Empty fields, or NULL when memory is short. NULL is ignored by free. */
struct fields *fields_new(void);
void fields_free(struct fields *f);

/* Adds a field. Names are [a-z0-9_]+; text values may hold any byte but NUL (newline, backslash and control bytes are
 * escaped on the way out, as backslash and two hex digits). A name may be added several times (a list). Short memory is
 * remembered, and reported by object_encode() as -ENOMEM. */
void fields_add_text(struct fields *f, const char *name, const char *value);
void fields_add_u64(struct fields *f, const char *name, uint64_t value);                  /* decimal */
void fields_add_hex64(struct fields *f, const char *name, uint64_t value);                /* 16 hex digits: ids */
void fields_add_bytes(struct fields *f, const char *name, const void *bytes, size_t len); /* hex */

/* The `nth` (from 0) value of that name, or NULL. Lives as long as `f`. */
const char *fields_text(const struct fields *f, const char *name, size_t nth);

/* Reads a field as a number or bytes. Returns 0, -ENOENT when it is not there, or -EBADMSG when it is not of that form
 * (for bytes: not exactly `len` long). */
int fields_u64(const struct fields *f, const char *name, uint64_t *value);
int fields_hex64(const struct fields *f, const char *name, uint64_t *value);
int fields_bytes(const struct fields *f, const char *name, void *bytes, size_t len);

/* Makes the object's bytes: `*bytes` is malloc'ed and then the caller's. Returns 0, -ENOMEM, or -EFBIG. */
int object_encode(const struct fields *f, enum object_kind kind, const char *store_key, const struct seal_key *key,
                  uint8_t **bytes, size_t *len);

/* Checks and opens an object. Returns 0 with `*f` to be freed by the caller; -EBADMSG damaged, misplaced, of another kind,
 * or sealed with another key; -EPROTONOSUPPORT of a newer version; -ENOMEM. `err` names the store key. */
int object_decode(const uint8_t *bytes, size_t len, enum object_kind kind, const char *store_key,
                  const struct seal_key *key, struct fields **f, struct error *err);

#endif
