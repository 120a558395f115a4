/* SPDX-License-Identifier: GPL-3.0-only */
/* map_db.h: grain maps in SQLite: one row per node, one row of state per image, and a small table of cached values.
 *
 * Everything here can be lost: it is rebuilt from the log. What is here must never be ahead of what is durable in the log:
 * the caller syncs the log before it saves. A save is one transaction, so rows and state are of one log position. WAL,
 * exclusive locking, synchronous=NORMAL: a power cut loses the last saves, never half of one. Every row carries a crc32c.
 * One connection behind one mutex; any thread; blocks as SQLite does on the local disk.
 */
#ifndef GARNER_MAP_MAP_DB_H
#define GARNER_MAP_MAP_DB_H

#include "base/error.h"
#include "log/segment_file.h"
#include "log/types.h"
#include "map/grain_map.h"

struct map_db;

/* The image as of `position`: rows plus this give the map there; replaying the log from there gives it now. */
struct map_state {
	struct log_position position;
	/* These tell whether the log is still the same one: of segment position.segment - 1; and, when the position is in
	 * the middle of a segment, when that was made (wall clock). */
	uint8_t prev_digest[DIGEST_BYTES];
	uint64_t segment_created_ns;
	bool clean; /* it is what the newest checkpoint says */
	uint64_t size, allocated, mtime_ns;
	struct log_position checkpoint; /* the record of the newest checkpoint in the log; segment 0: none yet */
	map_entry_t checkpoint_root;
	uint16_t layers; /* that entries may point into, besides the image's own log */
};

/* Opens or makes the database at `path`. With `check` (after an unclean end) runs PRAGMA quick_check. Damage of any kind, or
 * a schema of another version, is -EBADMSG: the caller moves the file away and opens anew. */
int map_db_open(const char *path, bool check, struct map_db **db, struct error *err);
/* Checkpoints the WAL and closes. NULL is ignored. */
void map_db_close(struct map_db *db);

/* Whether anything in it was found damaged since it was opened: then it is not to be opened again. */
bool map_db_damaged(struct map_db *db);

/* 0, -ENOENT, -EBADMSG, -EIO. */
int map_db_load_state(struct map_db *db, uint64_t image, struct map_state *state, struct error *err);
int map_db_load_node(struct map_db *db, uint64_t image, unsigned level, uint64_t index, map_entry_t *entries,
                     struct error *err);

/* Saves the batch's nodes (marking them "changed since the last checkpoint") and the state, in one transaction. */
int map_db_save(struct map_db *db, uint64_t image, const struct map_state *state, const struct map_batch *batch,
                struct error *err);

/* Visits the nodes of one level that changed since the last checkpoint, in index order. each() returns 0 to go on; it must
 * not call map_db. Entries are valid during the call. Rows are read in pages, so memory is bounded. */
int map_db_each_changed(struct map_db *db, uint64_t image, unsigned level,
                        int (*each)(void *arg, uint64_t index, const map_entry_t *entries), void *arg,
                        struct error *err);

/* A checkpoint that is being written: inner nodes with their children's new addresses are put here as they are made, and
 * everything becomes visible, with `state`, when it ends: one transaction that also clears all "changed" marks. Between
 * begin and end no map_db_save() of that image. `commit` false rolls back. */
int map_db_checkpoint_begin(struct map_db *db, uint64_t image, struct error *err);
int map_db_checkpoint_node(struct map_db *db, uint64_t image, unsigned level, uint64_t index,
                           const map_entry_t *entries, struct error *err);
int map_db_checkpoint_end(struct map_db *db, uint64_t image, const struct map_state *state, bool commit,
                          struct error *err);

/* Drops everything kept for the image. */
int map_db_forget(struct map_db *db, uint64_t image, struct error *err);

/* A cache of small values by key (directory entries, image attributes) that are all in the store too. -ENOENT. */
int map_db_cache_put(struct map_db *db, const char *key, uint64_t version, const void *value, size_t len);
/* `*value` malloc'ed. */
int map_db_cache_get(struct map_db *db, const char *key, uint64_t *version, void **value, size_t *len);
int map_db_cache_remove(struct map_db *db, const char *key);

#endif
