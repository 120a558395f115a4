/* SPDX-License-Identifier: GPL-3.0-only */
/* object_index.c: the index of one drive, in SQLite.
 *
 * Two connections: what is looked up does not wait for what is written. Each row has a checksum of its own, as SQLite has none.
 */
#include "node/object_index.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/sqlite_error.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define APPLICATION_ID 0x676f626a /* "gobj" */
#define SCHEMA_VERSION 1
#define ROW_BYTES 72
#define BUSY_MS 10000 /* nobody else writes; this is for the moment in which the log begins anew */

#define SETTINGS                                \
	"PRAGMA page_size = 4096;"              \
	"PRAGMA journal_mode = WAL;"            \
	"PRAGMA synchronous = NORMAL;"          \
	"PRAGMA wal_autocheckpoint = 4000;"     \
	"PRAGMA journal_size_limit = 16777216;" \
	"PRAGMA cache_size = -16384;"           \
	"PRAGMA temp_store = MEMORY;"           \
	"PRAGMA trusted_schema = OFF;"          \
	"PRAGMA cell_size_check = ON;"

static const char schema[] =
	"BEGIN IMMEDIATE;"
	"CREATE TABLE objects (name TEXT PRIMARY KEY, bucket INTEGER NOT NULL, row BLOB NOT NULL) WITHOUT ROWID;"
	"CREATE INDEX by_bucket ON objects (bucket);"
	"CREATE TABLE complete (one INTEGER PRIMARY KEY);"
	"PRAGMA application_id = %d;"
	"PRAGMA user_version = %d;"
	"COMMIT;";

enum statement { GET, PAGE_FROM, PAGE_AFTER, BUCKET, BEGIN, COMMIT, ROLLBACK, GET_CHANGING, PUT, REMOVE, STATEMENTS };
#define FIRST_OF_WRITER BEGIN

static const char *const statements[STATEMENTS] = {
	[GET] = "SELECT name, row FROM objects WHERE name = ?1",
	[PAGE_FROM] = "SELECT name, row FROM objects WHERE name >= ?1 ORDER BY name LIMIT ?2",
	[PAGE_AFTER] = "SELECT name, row FROM objects WHERE name > ?1 ORDER BY name LIMIT ?2",
	/* By the index by_bucket, which has the names in order after the bucket. */
	[BUCKET] = "SELECT name, row FROM objects WHERE bucket = ?3 AND name > ?1 ORDER BY name LIMIT ?2",
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
	[GET_CHANGING] = "SELECT name, row FROM objects WHERE name = ?1",
	[PUT] = "INSERT OR REPLACE INTO objects (name, bucket, row) VALUES (?1, ?2, ?3)",
	[REMOVE] = "DELETE FROM objects WHERE name = ?1",
};

struct connection {
	sqlite3 *db;
	pthread_mutex_t mutex; /* guards db and its statements; of the writer, for the length of a transaction */
};

struct object_index {
	struct connection reader, writer;
	sqlite3_stmt *sql[STATEMENTS];
	bool durable; /* how the writer commits; guarded by its mutex */
};

/* ---- errors ---- */

static int failed(struct connection *c, int code, struct error *err)
{
	const char *text;
	int rc = sqlite_failed(c->db, code, &text);

	return error_set(err, rc, "index: %s", text);
}

/* ---- rows ---- */

static uint32_t row_crc(const char *name, const uint8_t row[ROW_BYTES])
{
	return crc32c(crc32c(0, name, strlen(name)), row, ROW_BYTES - 4);
}

static void row_encode(const struct object_entry *e, uint8_t row[ROW_BYTES])
{
	put_le64(row, e->meta.version.counter);
	put_le64(row + 8, e->meta.version.tie);
	put_le64(row + 16, e->meta.length | (uint64_t)e->meta.flags << 56);
	put_le32(row + 24, (uint32_t)e->stored_s);
	put_le32(row + 28, (uint32_t)(e->stored_s >> 32));
	memcpy(row + 32, e->meta.digest, OBJECT_DIGEST_BYTES);
	memset(row + 64, 0, 4);
	put_le32(row + ROW_BYTES - 4, row_crc(e->name, row));
}

/* The current row of a query: name and row. */
static int row_decode(sqlite3_stmt *stmt, struct object_entry *e, struct error *err)
{
	const char *name = (const char *)sqlite3_column_text(stmt, 0);
	const uint8_t *row = sqlite3_column_blob(stmt, 1);

	if (!name || !row)
		return -ENOMEM;
	if (sqlite3_column_bytes(stmt, 1) != ROW_BYTES || strlen(name) > OBJECT_NAME_MAX || !object_name_valid(name) ||
	    get_le32(row + ROW_BYTES - 4) != row_crc(name, row))
		return error_set(err, -EBADMSG, "index: a row is damaged");
	memset(e, 0, sizeof *e);
	memcpy(e->name, name, strlen(name) + 1);
	e->meta.version = (struct object_version){ get_le64(row), get_le64(row + 8) };
	e->meta.length = get_le64(row + 16) & (UINT64_MAX >> 8);
	e->meta.flags = row[23];
	e->stored_s = get_le64(row + 24);
	memcpy(e->meta.digest, row + 32, OBJECT_DIGEST_BYTES);
	return 0;
}

/* ---- open and close ---- */

static int execute(struct connection *c, const char *sql, struct error *err)
{
	int code = sqlite3_exec(c->db, sql, NULL, NULL, NULL);

	return code == SQLITE_OK ? 0 : failed(c, code, err);
}

static int query_number(struct connection *c, const char *sql, sqlite3_int64 *number, struct error *err)
{
	sqlite3_stmt *stmt = NULL;
	int code = sqlite3_prepare_v2(c->db, sql, -1, &stmt, NULL), rc = 0;

	if (code == SQLITE_OK)
		code = sqlite3_step(stmt);
	if (code == SQLITE_ROW)
		*number = sqlite3_column_int64(stmt, 0);
	else
		rc = failed(c, code == SQLITE_DONE ? SQLITE_CORRUPT : code, err);
	sqlite3_finalize(stmt);
	return rc;
}

static int connect_to(struct connection *c, const char *path, struct error *err)
{
	int code =
		sqlite3_open_v2(path, &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);

	if (code != SQLITE_OK)
		return failed(c, code, err);
	sqlite3_extended_result_codes(c->db, 1);
	sqlite3_busy_timeout(c->db, BUSY_MS);
	return execute(c, SETTINGS, err);
}

static int check_schema(struct connection *c, bool *complete, struct error *err)
{
	sqlite3_int64 id, version, tables, done;
	int rc = query_number(c, "PRAGMA application_id", &id, err);

	if (rc == 0)
		rc = query_number(c, "PRAGMA user_version", &version, err);
	if (rc == 0)
		rc = query_number(c, "SELECT count(*) FROM sqlite_master", &tables, err);
	if (rc < 0)
		return rc;
	if (!id && !version && !tables) {
		char sql[sizeof schema + 32];
		snprintf(sql, sizeof sql, schema, APPLICATION_ID, SCHEMA_VERSION);
		*complete = false;
		return execute(c, sql, err);
	}
	if (id != APPLICATION_ID || version != SCHEMA_VERSION)
		return error_set(err, -EBADMSG, "index: another program, or another version of this one, made it");
	rc = query_number(c, "SELECT count(*) FROM complete", &done, err);
	*complete = rc == 0 && done > 0;
	return rc;
}

static int prepare(struct object_index *x, struct error *err)
{
	for (int i = 0; i < STATEMENTS; i++) {
		struct connection *c = i >= FIRST_OF_WRITER ? &x->writer : &x->reader;
		int code = sqlite3_prepare_v3(c->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &x->sql[i], NULL);

		if (code != SQLITE_OK)
			return failed(c, code, err);
	}
	return 0;
}

int object_index_open(const char *path, struct object_index **index, bool *complete, struct error *err)
{
	struct object_index *x = calloc(1, sizeof *x);
	int rc;

	if (!x)
		return -ENOMEM;
	pthread_mutex_init(&x->reader.mutex, NULL);
	pthread_mutex_init(&x->writer.mutex, NULL);
	rc = connect_to(&x->writer, path, err);
	if (rc == 0)
		rc = check_schema(&x->writer, complete, err);
	if (rc == 0)
		rc = connect_to(&x->reader, path, err);
	if (rc == 0)
		rc = prepare(x, err);
	if (rc < 0) {
		object_index_close(x);
		return rc;
	}
	*index = x;
	return 0;
}

int object_index_close(struct object_index *x)
{
	int code = SQLITE_OK;

	if (!x)
		return 0;
	for (int i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(x->sql[i]);
	sqlite3_close(x->reader.db);
	if (x->writer.db)
		code = sqlite3_wal_checkpoint_v2(x->writer.db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	int rc = code == SQLITE_OK ? 0 : failed(&x->writer, code, NULL);
	sqlite3_close(x->writer.db);
	pthread_mutex_destroy(&x->reader.mutex);
	pthread_mutex_destroy(&x->writer.mutex);
	free(x);
	return rc;
}

int object_index_delete(struct disk *disk, const char *path)
{
	/* The log first: a new database must not find an old one's. */
	static const char *const suffixes[] = { "-wal", "-shm", "-journal", "" };

	for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
		char *file;
		if (asprintf(&file, "%s%s", path, suffixes[i]) < 0)
			return -ENOMEM;
		int rc = disk_unlink(disk, file);
		free(file);
		if (rc < 0 && rc != -ENOENT)
			return rc;
	}
	return 0;
}

int object_index_complete(struct object_index *x, struct error *err)
{
	int rc = object_index_begin(x, true, err);

	if (rc < 0)
		return rc;
	return object_index_end(x, execute(&x->writer, "INSERT OR REPLACE INTO complete (one) VALUES (1)", err), err);
}

/* ---- reading ---- */

static void reset(struct object_index *x, enum statement which)
{
	/* The result repeats the error of the last step, which its caller has seen. */
	(void)sqlite3_reset(x->sql[which]);
	(void)sqlite3_clear_bindings(x->sql[which]);
}

/* Copied: the name may lie where the rows are put. */
static int bind_name(struct object_index *x, enum statement which, const char *name)
{
	return sqlite3_bind_text(x->sql[which], 1, name, -1, SQLITE_TRANSIENT) == SQLITE_OK ? 0 : -ENOMEM;
}

static int bind_number(struct object_index *x, enum statement which, int at, sqlite3_int64 number)
{
	return sqlite3_bind_int64(x->sql[which], at, number) == SQLITE_OK ? 0 : -ENOMEM;
}

/* All rows of a query whose arguments are bound. */
static int read_rows(struct object_index *x, struct connection *c, enum statement which, struct object_entry *entries,
                     size_t max, struct error *err)
{
	size_t count = 0;
	int code, rc = 0;

	while (count < max && (code = sqlite3_step(x->sql[which])) != SQLITE_DONE) {
		rc = code == SQLITE_ROW ? row_decode(x->sql[which], &entries[count], err) : failed(c, code, err);
		if (rc < 0)
			break;
		count++;
	}
	return rc < 0 ? rc : (int)count;
}

static int query(struct object_index *x, enum statement which, const char *name, unsigned bucket,
                 struct object_entry *entries, size_t max, struct error *err)
{
	int rc;

	pthread_mutex_lock(&x->reader.mutex);
	rc = bind_name(x, which, name);
	if (rc == 0 && which != GET)
		rc = bind_number(x, which, 2, (sqlite3_int64)max);
	if (rc == 0 && which == BUCKET)
		rc = bind_number(x, which, 3, bucket);
	if (rc == 0)
		rc = read_rows(x, &x->reader, which, entries, max, err);
	reset(x, which);
	pthread_mutex_unlock(&x->reader.mutex);
	return rc;
}

int object_index_get(struct object_index *x, const char *name, struct object_entry *entry, struct error *err)
{
	return query(x, GET, name, 0, entry, 1, err);
}

int object_index_page(struct object_index *x, const char *from, const char *after, struct object_entry *entries,
                      size_t max, struct error *err)
{
	return query(x, after ? PAGE_AFTER : PAGE_FROM, after ? after : from, 0, entries, max, err);
}

int object_index_bucket(struct object_index *x, unsigned bucket, const char *after, struct object_entry *entries,
                        size_t max, struct error *err)
{
	return query(x, BUCKET, after ? after : "", bucket, entries, max, err);
}

/* ---- writing ---- */

static int run(struct object_index *x, enum statement which, struct error *err)
{
	int code = sqlite3_step(x->sql[which]);
	int rc = code == SQLITE_DONE ? 0 : failed(&x->writer, code, err);

	reset(x, which);
	return rc;
}

int object_index_begin(struct object_index *x, bool durable, struct error *err)
{
	int rc = 0;

	pthread_mutex_lock(&x->writer.mutex);
	if (x->durable != durable)
		rc = execute(&x->writer, durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", err);
	if (rc == 0) {
		x->durable = durable;
		rc = run(x, BEGIN, err);
	}
	if (rc < 0)
		pthread_mutex_unlock(&x->writer.mutex);
	return rc;
}

int object_index_end(struct object_index *x, int rc, struct error *err)
{
	if (rc == 0)
		rc = run(x, COMMIT, err);
	/* After some errors SQLite has rolled back already. */
	if (rc < 0 && !sqlite3_get_autocommit(x->writer.db))
		(void)run(x, ROLLBACK, NULL);
	pthread_mutex_unlock(&x->writer.mutex);
	return rc;
}

int object_index_get_changing(struct object_index *x, const char *name, struct object_entry *entry, struct error *err)
{
	int rc = bind_name(x, GET_CHANGING, name);

	if (rc == 0)
		rc = read_rows(x, &x->writer, GET_CHANGING, entry, 1, err);
	reset(x, GET_CHANGING);
	return rc;
}

int object_index_put(struct object_index *x, const struct object_entry *entry, struct error *err)
{
	uint8_t row[ROW_BYTES];
	int rc = bind_name(x, PUT, entry->name);

	row_encode(entry, row);
	if (rc == 0)
		rc = bind_number(x, PUT, 2, object_bucket_of(entry->name));
	if (rc == 0 && sqlite3_bind_blob(x->sql[PUT], 3, row, sizeof row, SQLITE_STATIC) != SQLITE_OK)
		rc = -ENOMEM;
	if (rc == 0)
		return run(x, PUT, err);
	reset(x, PUT);
	return rc;
}

int object_index_remove(struct object_index *x, const char *name, struct error *err)
{
	int rc = bind_name(x, REMOVE, name);

	if (rc == 0)
		return run(x, REMOVE, err);
	reset(x, REMOVE);
	return rc;
}
