/* SPDX-License-Identifier: GPL-3.0-only */
/* target.h: what a word on the command line names: a store, something in a mount, or neither; and the pool behind a store.
 *
 * A mount is known by its control socket attribute, which every file and directory in it has. Blocks on file systems and,
 * in target_open_pool(), on the store.
 */
#ifndef GARNER_CLI_TARGET_H
#define GARNER_CLI_TARGET_H

#include "base/error.h"
#include "image/image.h"
#include "image/pool.h"

#include <limits.h>
#include <stdbool.h>

enum target_kind {
	TARGET_STORE,     /* a URL, or a directory that holds a pool */
	TARGET_DIRECTORY, /* a mount point, or a directory in a mount */
	TARGET_IMAGE,     /* a file in a mount */
};

/* Finds out what `word` is. -ENOTSUP when it is there but neither in a mount nor a pool, -ENOENT, -ENOTCONN for a mount whose
 * daemon is gone; each text says what to do. */
int target_find(const char *word, enum target_kind *kind, struct error *err);

/* The same where only an image, or only something in a mount, will do. */
int target_want_image(const char *word, struct error *err);
int target_want_mount(const char *word, struct error *err);

/* Whether a file could be made at `path`: 0 when its directory is in a mount, otherwise an error as above. Does not look
 * whether `path` itself is there. */
int target_want_place(const char *path, struct error *err);

/* Where something is to be made at `path`, as above: its directory's inode number and the name. */
int target_place(const char *path, uint64_t *dir, char name[NAME_BYTES_MAX + 1], struct error *err);

/* The same in the mount in which `beside` is. */
int target_place_beside(const char *path, const char *beside, uint64_t *dir, char name[NAME_BYTES_MAX + 1],
                        struct error *err);
/* The file below .snapshots that is snapshot `name` of an image; does not look whether it is there. */
int target_snapshot(const char *image, const char *name, char out[PATH_MAX], struct error *err);

/* The file that is meant by "IMAGE" or "IMAGE@SNAPSHOT", in a mount: the image itself, or the one below .snapshots. */
int target_moment(const char *word, char out[PATH_MAX], struct error *err);

/* The mount point above `path`, which is in a mount, as an absolute path. */
int target_mount_point(const char *path, char out[PATH_MAX], struct error *err);

/* The directory part of `path`: "." when it has none. -ENAMETOOLONG. */
int target_parent(const char *path, char out[PATH_MAX], struct error *err);

/* `word` as a store URL: what is no URL is a path, made absolute. */
int target_url(const char *word, char out[PATH_MAX], struct error *err);

/* What the options --key-file, --passphrase-file and --passwd-file said; NULL: not given. */
struct target_key {
	const char *key_file, *passphrase_file;
	const char *passwd_file; /* of the store, not of the pool in it */
};

/* Whether any was. Where no store is opened that is a mistake, and TARGET_KEY_ASTRAY says so. */
bool target_key_given(const struct target_key *key);
#define TARGET_KEY_ASTRAY "--key-file, --passphrase-file and --passwd-file go with a STORE"

/* Opens the pool in store `word`. A sealed pool for which no key was given is opened with a passphrase asked on the terminal,
 * if there is one. Close with pool_close(). */
int target_open_pool(const char *word, const struct target_key *key, struct pool **pool, struct error *err);

#endif
