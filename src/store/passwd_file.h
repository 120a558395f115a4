/* SPDX-License-Identifier: GPL-3.0-only */
/* passwd_file.h: a small file that holds what logs in to a store: a name and a secret, readable by its owner alone.
 *
 * One line "NAME:SECRET", cut at the last colon (names such as "test:tester" contain one); or two lines, the name and
 * the secret. Blank lines and lines that begin with '#' do not count, nor do blanks at the ends of a line.
 */
#ifndef GARNER_STORE_PASSWD_FILE_H
#define GARNER_STORE_PASSWD_FILE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

#define PASSWD_FIELD_MAX 512

struct passwd_entry {
	char name[PASSWD_FIELD_MAX + 1];
	char secret[PASSWD_FIELD_MAX + 1];
};

/* Reads `path`. When `name` is not NULL it is the name, and one line may also be the secret alone: what follows
 * "NAME:", or, when it does not begin so, all of it; and of two lines the first must be `name`. Wipe `*entry` with
 * sodium_memzero() after use. Returns 0; -EACCES when others than its owner can use it (and says the chmod or chown
 * that helps); -EINVAL when it is no regular file or holds something else; -ENOENT ... The text in `err` names the file
 * and never what is in it. Any thread; blocks. */
int passwd_file_read(const char *path, const char *name, struct passwd_entry *entry, struct error *err);

/* Reads a regular file of at most `room` - 1 bytes without NULs, whoever may read it, and ends it with a NUL. `buf` is
 * to be wiped by the caller. `*others` (may be NULL) tells whether group or others have any right to it. Returns 0,
 * -EINVAL no regular file or NULs in it, -EFBIG, -ENOENT ... with the text. Any thread; blocks. */
int passwd_file_load(const char *path, char *buf, size_t room, bool *others, struct error *err);

#endif
