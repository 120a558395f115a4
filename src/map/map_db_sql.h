/* SPDX-License-Identifier: GPL-3.0-only */
/* map_db_sql.h: the SQLite side of map_db: connection, schema, statements, errors. Private to src/map.
 *
 * Every image has a small number, its slot; a node's row id is slot << 32 | level << 28 | index, so nodes of one level lie
 * in index order in one integer b-tree. Which nodes changed since the last checkpoint is a second table of the same keys,
 * so that marks are set and cleared without touching 4 KiB rows.
 */
#ifndef GARNER_MAP_MAP_DB_SQL_H
#define GARNER_MAP_MAP_DB_SQL_H

#include "base/error.h"
#include "map/map_db.h"

#include <pthread.h>
#include <sqlite3.h>
#include <sys/queue.h>

enum map_sql {
	SQL_BEGIN,
	SQL_COMMIT,
	SQL_ROLLBACK,
	SQL_IMAGE_SLOT,    /* ?1 image -> slot */
	SQL_STATE_GET,     /* ?1 image -> state */
	SQL_STATE_PUT,     /* ?1 image, ?2 state */
	SQL_NODE_GET,      /* ?1 image, ?2 key within the image -> crc, entries */
	SQL_NODE_PUT,      /* ?1 key, ?2 crc, ?3 entries */
	SQL_CHANGED_PUT,   /* ?1 key */
	SQL_CHANGED_GET,   /* ?1 image, ?2 key within the image -> 1 */
	SQL_CHANGED_PAGE,  /* ?1 first key, ?2 end, ?3 limit -> key, crc, entries */
	SQL_CHANGED_CLEAR, /* ?1 first key, ?2 end */
	SQL_FORGET_MARK,   /* ?1 image */
	SQL_FORGET_NODES,  /* ?1 first key, ?2 end, ?3 limit */
	SQL_FORGET_IMAGE,  /* ?1 image */
	SQL_FORGOTTEN,     /* -> image: one whose forgetting was cut short */
	SQL_CACHE_PUT,     /* ?1 key, ?2 version, ?3 crc, ?4 value */
	SQL_CACHE_GET,     /* ?1 key -> version, crc, value */
	SQL_CACHE_REMOVE,  /* ?1 key */
	SQL_COUNT
};

struct map_checkpoint;

struct map_db {
	pthread_mutex_t mutex; /* guards all below; held over SQLite calls, never over a callback */
	sqlite3 *sqlite;
	sqlite3_stmt *sql[SQL_COUNT];
	LIST_HEAD(, map_checkpoint) checkpoints; /* being written */
	bool damaged;                            /* something in it was found to be */
};

/* Opens the connection, makes or checks the schema, prepares the statements. Errors as map_db_open(). */
int map_db_connect(struct map_db *db, const char *path, bool check, struct error *err);
/* Finalizes and closes; any part of it may be missing. */
void map_db_disconnect(struct map_db *db);

/* The negative errno for an SQLite result code of this connection, with SQLite's words in `err`. */
int map_db_failed(struct map_db *db, int code, struct error *err);

/* Runs a statement that returns no rows, and resets it. 0 or a negative errno. */
int map_db_run(struct map_db *db, enum map_sql which, struct error *err);
/* Steps a query to its next row: 1, 0 at the end, or a negative errno. The caller resets it with map_db_reset(). */
int map_db_row(struct map_db *db, enum map_sql which, struct error *err);
void map_db_reset(struct map_db *db, enum map_sql which);

/* How many pages the database has. */
int map_db_pages(struct map_db *db, int64_t *pages, struct error *err);

/* Ends a transaction: commits when `rc` is 0, rolls back otherwise or when the commit fails. Returns the outcome. */
int map_db_finish(struct map_db *db, int rc, struct error *err);

void map_db_lock(struct map_db *db);
void map_db_unlock(struct map_db *db);

#endif
