/* SPDX-License-Identifier: GPL-3.0-only */
/* object_index.h: the index of one drive: for each name what is there. SQLite.
 *
 * It holds nothing that the files cannot give back, but for OBJECT_CONFIRMED. A transaction is in the page cache when it is
 * committed, and not yet durable, unless that is asked for: after a power cut the index may be some transactions old, never torn.
 * Knows nothing of files, and takes what it is given.
 *
 * Reading calls may be made on any thread; so may writing ones, but from object_index_begin() to object_index_end() only by the
 * thread that began. All block as reading a local database does. Errors: -EBADMSG the database is damaged: build it anew;
 * -EIO, -ENOSPC, -EROFS, -ENOMEM.
 */
#ifndef GARNER_NODE_OBJECT_INDEX_H
#define GARNER_NODE_OBJECT_INDEX_H

#include "node/object_store.h"

struct object_index;

/* Opens the index at `path` or makes it. *complete: object_index_complete() was called once; else it is new, or was
 * being built when that ended. */
int object_index_open(const char *path, struct object_index **index, bool *complete, struct error *err);
/* 0 when all that was committed is durable in the database; else there is a log that holds it, perhaps. NULL is ignored. */
int object_index_close(struct object_index *x);
/* Removes the files of the index at `path`. */
int object_index_delete(struct disk *disk, const char *path);
/* It now has all there is, durably. Outside of transactions. */
int object_index_complete(struct object_index *x, struct error *err);

/* 1 and *entry; 0 when the name is not there. */
int object_index_get(struct object_index *x, const char *name, struct object_entry *entry, struct error *err);

/* Up to `max` entries in order of names, beginning after `after`, or, if that is NULL, with the first that is not before `from`.
 * Returns how many. */
int object_index_page(struct object_index *x, const char *from, const char *after, struct object_entry *entries,
                      size_t max, struct error *err);
/* The same of one bucket. */
int object_index_bucket(struct object_index *x, unsigned bucket, const char *after, struct object_entry *entries,
                        size_t max, struct error *err);

/* A transaction, which object_index_end(0) commits; with an error it is taken back, and that error is returned. `durable`: it, and
 * all before, outlasts a power cut when end returns 0. */
int object_index_begin(struct object_index *x, bool durable, struct error *err);
int object_index_end(struct object_index *x, int rc, struct error *err);
/* Within a transaction: object_index_get() of what the transaction sees. */
int object_index_get_changing(struct object_index *x, const char *name, struct object_entry *entry, struct error *err);
/* Within a transaction: the entry of that name from now on. */
int object_index_put(struct object_index *x, const struct object_entry *entry, struct error *err);
/* Within a transaction. Not there is 0 too. */
int object_index_remove(struct object_index *x, const char *name, struct error *err);

#endif
