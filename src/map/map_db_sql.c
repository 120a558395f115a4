/* SPDX-License-Identifier: GPL-3.0-only */
/* map_db_sql.c: the SQLite connection of map_db: how it is opened, its schema and statements, and what its errors mean. */
#include "map/map_db_sql.h"

#include "base/sqlite_error.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define APPLICATION_ID 0x67726e72 /* "grnr" */
#define SCHEMA_VERSION 1

/* 4000 pages of 4 KiB: the WAL is copied into the database every 16 MiB, and kept at no more than that. */
#define SETTINGS                                \
	"PRAGMA locking_mode = EXCLUSIVE;"      \
	"PRAGMA page_size = 4096;"              \
	"PRAGMA journal_mode = WAL;"            \
	"PRAGMA synchronous = NORMAL;"          \
	"PRAGMA wal_autocheckpoint = 4000;"     \
	"PRAGMA journal_size_limit = 16777216;" \
	"PRAGMA cache_size = -8192;"            \
	"PRAGMA temp_store = MEMORY;"           \
	"PRAGMA trusted_schema = OFF;"          \
	"PRAGMA cell_size_check = ON;"

/* An image without state is being forgotten. Slots are never used again, so leftovers cannot be taken for another's. */
static const char schema[] =
	"BEGIN;"
	"CREATE TABLE image (slot INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER NOT NULL UNIQUE, state BLOB);"
	"CREATE TABLE node (key INTEGER PRIMARY KEY, crc INTEGER NOT NULL, entries BLOB NOT NULL);"
	"CREATE TABLE changed (key INTEGER PRIMARY KEY);"
	"CREATE TABLE cache (key TEXT PRIMARY KEY, version INTEGER NOT NULL, crc INTEGER NOT NULL, value BLOB NOT NULL)"
	" WITHOUT ROWID;"
	"PRAGMA application_id = %d;"
	"PRAGMA user_version = %d;"
	"COMMIT;";

static const char *const statements[SQL_COUNT] = {
	[SQL_BEGIN] = "BEGIN IMMEDIATE",
	[SQL_COMMIT] = "COMMIT",
	[SQL_ROLLBACK] = "ROLLBACK",
	[SQL_IMAGE_SLOT] = "SELECT slot FROM image WHERE id = ?1",
	[SQL_STATE_GET] = "SELECT state FROM image WHERE id = ?1 AND state IS NOT NULL",
	[SQL_STATE_PUT] = "INSERT INTO image (id, state) VALUES (?1, ?2)"
			  " ON CONFLICT (id) DO UPDATE SET state = excluded.state",
	[SQL_NODE_GET] = "SELECT crc, entries FROM node"
			 " WHERE key = ((SELECT slot FROM image WHERE id = ?1) << 32 | ?2)",
	[SQL_NODE_PUT] = "INSERT OR REPLACE INTO node (key, crc, entries) VALUES (?1, ?2, ?3)",
	[SQL_CHANGED_PUT] = "INSERT OR IGNORE INTO changed (key) VALUES (?1)",
	[SQL_CHANGED_GET] = "SELECT 1 FROM changed"
			    " WHERE key = ((SELECT slot FROM image WHERE id = ?1) << 32 | ?2)",
	[SQL_CHANGED_PAGE] = "SELECT c.key, n.crc, n.entries FROM changed AS c LEFT JOIN node AS n ON n.key = c.key"
			     " WHERE c.key >= ?1 AND c.key < ?2 ORDER BY c.key LIMIT ?3",
	[SQL_CHANGED_CLEAR] = "DELETE FROM changed WHERE key >= ?1 AND key < ?2",
	[SQL_FORGET_MARK] = "UPDATE image SET state = NULL WHERE id = ?1",
	[SQL_FORGET_NODES] = "DELETE FROM node WHERE key IN"
			     " (SELECT key FROM node WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3)",
	[SQL_FORGET_IMAGE] = "DELETE FROM image WHERE id = ?1",
	[SQL_FORGOTTEN] = "SELECT id FROM image WHERE state IS NULL LIMIT 1",
	[SQL_CACHE_PUT] = "INSERT OR REPLACE INTO cache (key, version, crc, value) VALUES (?1, ?2, ?3, ?4)",
	[SQL_CACHE_GET] = "SELECT version, crc, value FROM cache WHERE key = ?1",
	[SQL_CACHE_REMOVE] = "DELETE FROM cache WHERE key = ?1",
};

void map_db_lock(struct map_db *db)
{
	int rc = pthread_mutex_lock(&db->mutex);

	assert(rc == 0);
	(void)rc;
}

void map_db_unlock(struct map_db *db)
{
	int rc = pthread_mutex_unlock(&db->mutex);

	assert(rc == 0);
	(void)rc;
}

int map_db_failed(struct map_db *db, int code, struct error *err)
{
	const char *text;
	int rc = sqlite_failed(db->sqlite, code, &text);

	if ((code & 0xff) == SQLITE_TOOBIG) /* nothing of ours is */
		rc = -EBADMSG;
	db->damaged |= rc == -EBADMSG;
	return error_set(err, rc, "map database: %s", text);
}

void map_db_reset(struct map_db *db, enum map_sql which)
{
	/* The result repeats the error of the last step, which its caller has seen. */
	(void)sqlite3_reset(db->sql[which]);
	(void)sqlite3_clear_bindings(db->sql[which]);
}

int map_db_row(struct map_db *db, enum map_sql which, struct error *err)
{
	int code = sqlite3_step(db->sql[which]);

	if (code == SQLITE_ROW)
		return 1;
	return code == SQLITE_DONE ? 0 : map_db_failed(db, code, err);
}

int map_db_run(struct map_db *db, enum map_sql which, struct error *err)
{
	int rc = map_db_row(db, which, err);

	assert(rc <= 0);
	map_db_reset(db, which);
	return rc;
}

int map_db_finish(struct map_db *db, int rc, struct error *err)
{
	if (rc == 0)
		rc = map_db_run(db, SQL_COMMIT, err);
	/* After some errors SQLite has rolled back already. A rollback that fails leaves nothing that could be committed:
	 * the next BEGIN fails then. */
	if (rc < 0 && !sqlite3_get_autocommit(db->sqlite))
		(void)map_db_run(db, SQL_ROLLBACK, NULL);
	return rc;
}

static int execute(struct map_db *db, const char *sql, struct error *err)
{
	int code = sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL);

	return code == SQLITE_OK ? 0 : map_db_failed(db, code, err);
}

/* The first column of the first row of a query, as a number, or as whether its text is `text`. */
static int query_number(struct map_db *db, const char *sql, const char *text, sqlite3_int64 *value, struct error *err)
{
	sqlite3_stmt *stmt = NULL;
	int code = sqlite3_prepare_v2(db->sqlite, sql, -1, &stmt, NULL);

	if (code == SQLITE_OK)
		code = sqlite3_step(stmt);
	if (code != SQLITE_ROW) {
		int rc = map_db_failed(db, code == SQLITE_DONE ? SQLITE_CORRUPT : code, err);

		sqlite3_finalize(stmt);
		return rc;
	}
	if (text) {
		const char *got = (const char *)sqlite3_column_text(stmt, 0);

		*value = got && strcmp(got, text) == 0;
	} else {
		*value = sqlite3_column_int64(stmt, 0);
	}
	sqlite3_finalize(stmt);
	return 0;
}

int map_db_pages(struct map_db *db, int64_t *pages, struct error *err)
{
	sqlite3_int64 count = 0;
	int rc = query_number(db, "PRAGMA page_count", NULL, &count, err);

	*pages = count;
	return rc;
}

static int make_schema(struct map_db *db, struct error *err)
{
	char sql[sizeof schema + 32];

	snprintf(sql, sizeof sql, schema, APPLICATION_ID, SCHEMA_VERSION);
	return execute(db, sql, err);
}

static int check_schema(struct map_db *db, struct error *err)
{
	sqlite3_int64 id, version, tables;
	int rc = query_number(db, "PRAGMA application_id", NULL, &id, err);

	if (rc == 0)
		rc = query_number(db, "PRAGMA user_version", NULL, &version, err);
	if (rc == 0)
		rc = query_number(db, "SELECT count(*) FROM sqlite_master", NULL, &tables, err);
	if (rc < 0)
		return rc;
	if (id == 0 && version == 0 && tables == 0)
		return make_schema(db, err);
	if (id != APPLICATION_ID)
		return error_set(err, -EBADMSG, "map database: this file belongs to another program");
	if (version != SCHEMA_VERSION)
		return error_set(err, -EBADMSG, "map database: version %lld, not %d", (long long)version,
		                 SCHEMA_VERSION);
	return 0;
}

static int check_content(struct map_db *db, struct error *err)
{
	sqlite3_int64 good;
	int rc = query_number(db, "PRAGMA quick_check(1)", "ok", &good, err);

	if (rc < 0)
		return rc;
	return good ? 0 : error_set(err, -EBADMSG, "map database: the check found damage");
}

static int prepare_statements(struct map_db *db, struct error *err)
{
	for (int i = 0; i < SQL_COUNT; i++) {
		int code =
			sqlite3_prepare_v3(db->sqlite, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &db->sql[i], NULL);

		if (code != SQLITE_OK)
			return map_db_failed(db, code, err);
	}
	return 0;
}

int map_db_connect(struct map_db *db, const char *path, bool check, struct error *err)
{
	sqlite3_int64 wal;
	int code, rc;

	code = sqlite3_open_v2(
		path, &db->sqlite,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE, NULL);
	if (code != SQLITE_OK)
		return map_db_failed(db, code, err);
	sqlite3_extended_result_codes(db->sqlite, 1);
	sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	rc = execute(db, SETTINGS, err);
	if (rc < 0)
		return rc;
	rc = query_number(db, "PRAGMA journal_mode", "wal", &wal, err);
	if (rc < 0)
		return rc;
	if (!wal)
		return error_set(err, -EIO, "map database: the file system does not allow a write-ahead log");
	if (check) {
		rc = check_content(db, err);
		if (rc < 0)
			return rc;
	}
	rc = check_schema(db, err);
	if (rc < 0)
		return rc;
	return prepare_statements(db, err);
}

void map_db_disconnect(struct map_db *db)
{
	if (!db->sqlite)
		return;
	for (int i = 0; i < SQL_COUNT; i++)
		(void)sqlite3_finalize(db->sql[i]);
	/* Closing the only connection copies the WAL into the database and removes it; should that fail, the WAL stays
	 * and is read at the next opening. */
	(void)sqlite3_close(db->sqlite);
	db->sqlite = NULL;
}
