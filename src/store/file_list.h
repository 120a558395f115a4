/* SPDX-License-Identifier: GPL-3.0-only */
/* file_list.h: lists the objects of a file store: a walk of its directories in the byte order of whole keys.
 *
 * Directories that cannot hold a key of the range are not opened. Names that are no part of a valid key (".tmp",
 * "lost+found") are passed over. A walk is no snapshot: what is put or removed meanwhile may be in it or not.
 */
#ifndef GARNER_STORE_FILE_LIST_H
#define GARNER_STORE_FILE_LIST_H

#include "base/error.h"
#include "store/store.h"

/* Finds up to `max` objects below directory `root` whose key begins with `prefix` and is greater than `after` (NULL: any).
 * Returns 0 with `*entries` (malloc'ed, the caller's; NULL when there are none), `*count`, and `*more` when the list was cut
 * at `max`; -EINVAL when no key can begin with `prefix`; or the errno of a directory that cannot be read. Blocks. */
int file_list(const char *root, const char *prefix, const char *after, size_t max, struct store_entry **entries,
              size_t *count, bool *more, struct error *err);

#endif
