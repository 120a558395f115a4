/* SPDX-License-Identifier: GPL-3.0-only */
/* keys.h: the pool's master key: made, wrapped with what the owner keeps, unwrapped; and the keys derived from it.
 *
 * The wrapping key is Argon2id of a passphrase, or of a key file's bytes. What is stored is the wrapped key, its salt and
 * the cost that was used. Changing the passphrase wraps the same master key again and touches no data.
 */
#ifndef GARNER_SEAL_KEYS_H
#define GARNER_SEAL_KEYS_H

#include "base/error.h"
#include "seal/seal.h"

#define KEYS_SALT_BYTES 16
#define KEYS_WRAPPED_BYTES (SEAL_NONCE_BYTES + SEAL_KEY_BYTES + SEAL_TAG_BYTES)

/* What the owner keeps: the bytes of a passphrase or key file. In locked memory. */
struct secret;

/* Reads a key file (any 16 to 4096 bytes; all of them count) or a passphrase file (its first line without the newline, at
 * least 8 characters). -EACCES when the file is not 0600/0400 and owned by the caller or root, saying the chmod that
 * helps; -EINVAL when too short; -ENOENT ... The text in `err` names the file and never its content. */
int secret_from_key_file(const char *path, struct secret **secret, struct error *err);
int secret_from_passphrase_file(const char *path, struct secret **secret, struct error *err);
/* Asks on the terminal without echo (twice when `confirm`). -ENOTTY when there is no terminal. */
int secret_from_terminal(const char *prompt, bool confirm, struct secret **secret, struct error *err);
/* Wipes and frees. NULL is ignored. */
void secret_free(struct secret *s);

struct wrapped_key {
	uint8_t salt[KEYS_SALT_BYTES];
	uint64_t ops_limit; /* Argon2id passes */
	uint64_t mem_limit; /* bytes */
	uint8_t bytes[KEYS_WRAPPED_BYTES];
};

/* A new random master key. */
void master_key_new(struct seal_key *master);

/* Wraps `master` with `secret`, with a fresh salt, at the interactive cost of libsodium (64 MiB, 2 passes). 0 or -ENOMEM. */
int master_key_wrap(const struct seal_key *master, const struct secret *secret, struct wrapped_key *wrapped,
                    struct error *err);

/* -EKEYREJECTED when the secret is the wrong one ("wrong passphrase or key file"), -EBADMSG when the stored cost is absurd
 * (over 4 GiB or 100 passes: refused before it is tried), -ENOMEM. */
int master_key_unwrap(const struct wrapped_key *wrapped, const struct secret *secret, struct seal_key *master,
                      struct error *err);

/* The keys below a master key, by crypto_kdf (BLAKE2b). Of a plain master they are plain. */
void image_key(const struct seal_key *master, uint64_t image_id, struct seal_key *out); /* context "gnrimage" */
void catalog_key(const struct seal_key *master, struct seal_key *out);                  /* context "gnrcatlg", id 1 */

#endif
