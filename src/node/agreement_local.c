/* SPDX-License-Identifier: GPL-3.0-only */
/* agreement_local.c: the agreement of a cluster of one node: a SQLite database that is synced before anything is answered. */
#include "node/agreement_private.h"

#include "base/executor.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define APPLICATION_ID 0x67726e61 /* "grna" */
#define SCHEMA_VERSION 1

#define SETTINGS                                \
	"PRAGMA locking_mode = EXCLUSIVE;"      \
	"PRAGMA journal_mode = WAL;"            \
	"PRAGMA synchronous = FULL;"            \
	"PRAGMA journal_size_limit = 16777216;" \
	"PRAGMA trusted_schema = OFF;"          \
	"PRAGMA cell_size_check = ON;"

enum sql { SQL_BEGIN, SQL_COMMIT, SQL_ROLLBACK, SQL_GET, SQL_PUT, SQL_DELETE, SQL_COUNT };

static const char *const statements[SQL_COUNT] = {
	[SQL_BEGIN] = "BEGIN IMMEDIATE",
	[SQL_COMMIT] = "COMMIT",
	[SQL_ROLLBACK] = "ROLLBACK",
	[SQL_GET] = "SELECT value FROM agreed WHERE key = ?1",
	[SQL_PUT] = "INSERT OR REPLACE INTO agreed (key, value) VALUES (?1, ?2)",
	[SQL_DELETE] = "DELETE FROM agreed WHERE key = ?1",
};

struct local {
	struct agreement agreement;
	struct executor *thread; /* one: it alone uses what follows */
	sqlite3 *db;
	sqlite3_stmt *sql[SQL_COUNT];
	char path[]; /* for messages */
};

/* ---- SQLite ---- */

static int failed(struct local *l, struct error *err)
{
	int code = sqlite3_errcode(l->db), rc = -EIO;

	switch (code & 0xff) {
	case SQLITE_NOMEM:
		rc = -ENOMEM;
		break;
	case SQLITE_FULL:
		rc = -ENOSPC;
		break;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return error_set(err, -EBUSY, "%s is in use: does another garnerd run on this directory?", l->path);
	case SQLITE_READONLY:
		rc = -EROFS;
		break;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_ERROR: /* our statements fit our schema: it is another one */
	case SQLITE_CONSTRAINT:
	case SQLITE_SCHEMA:
		rc = -EBADMSG;
		break;
	case SQLITE_CANTOPEN:
		if (sqlite3_system_errno(l->db) > 0)
			rc = -sqlite3_system_errno(l->db);
		break;
	default:
		break;
	}
	return error_set(err, rc, "%s: %s", l->path, sqlite3_errmsg(l->db));
}

/* Runs a statement that gives no rows. */
static int run(struct local *l, enum sql which, struct error *err)
{
	sqlite3_stmt *s = l->sql[which];
	int rc = sqlite3_step(s) == SQLITE_DONE ? 0 : failed(l, err);

	(void)sqlite3_reset(s);
	(void)sqlite3_clear_bindings(s);
	return rc;
}

static int get(struct local *l, struct agreement_call *call, struct error *err)
{
	sqlite3_stmt *s = l->sql[SQL_GET];
	int rc = 0, code = sqlite3_bind_text(s, 1, call->key, -1, SQLITE_STATIC);

	if (code == SQLITE_OK)
		code = sqlite3_step(s);
	if (code == SQLITE_ROW) {
		const void *blob = sqlite3_column_blob(s, 0);

		call->found_length = (size_t)sqlite3_column_bytes(s, 0);
		call->found = malloc(call->found_length + 1);
		if (!call->found)
			rc = error_set(err, -ENOMEM, "%s: out of memory", l->path);
		else if (call->found_length)
			memcpy(call->found, blob, call->found_length);
	} else if (code != SQLITE_DONE) {
		rc = failed(l, err);
	}
	(void)sqlite3_reset(s);
	(void)sqlite3_clear_bindings(s);
	return rc;
}

static int change(struct local *l, const struct agreement_call *call, enum agreement_step step, struct error *err)
{
	enum sql which = step == AGREEMENT_PUT ? SQL_PUT : SQL_DELETE;
	sqlite3_stmt *s = l->sql[which];
	int code = sqlite3_bind_text(s, 1, call->key, -1, SQLITE_STATIC);

	if (code == SQLITE_OK && step == AGREEMENT_PUT)
		code = sqlite3_bind_blob(s, 2, call->value, (int)call->value_length, SQLITE_STATIC);
	return code == SQLITE_OK ? run(l, which, err) : failed(l, err);
}

/* ---- calls ---- */

/* One call from its look to its change: nobody else has the database open. */
static int do_call(struct local *l, struct agreement_call *call, struct error *err)
{
	enum agreement_step step;
	struct error ignored;
	int status = 0, rc;

	rc = run(l, SQL_BEGIN, err);
	if (rc)
		return rc;
	rc = get(l, call, err);
	if (rc)
		goto undo;
	step = agreement_decide(call, &status, err);
	if (step == AGREEMENT_ANSWER) {
		rc = status;
		goto undo;
	}
	rc = change(l, call, step, err);
	if (!rc)
		rc = run(l, SQL_COMMIT, err);
	if (!rc)
		return 0;
undo:
	/* A failed commit may have ended the transaction already. */
	if (!sqlite3_get_autocommit(l->db))
		(void)run(l, SQL_ROLLBACK, &ignored);
	return rc;
}

static void job(void *arg)
{
	struct agreement_call *call = arg;
	struct error err = { 0 };
	int rc = do_call((struct local *)call->agreement, call, &err);

	agreement_call_end(call, rc, &err);
}

static void local_start(struct agreement *a, struct agreement_call *call)
{
	struct local *l = (struct local *)a;

	if (executor_run(l->thread, job, call))
		agreement_call_end(call, -ENOMEM, NULL);
}

/* ---- opening and closing ---- */

static void local_close(struct agreement *a)
{
	struct local *l = (struct local *)a;

	executor_free(l->thread);
	for (int i = 0; i < SQL_COUNT; i++)
		sqlite3_finalize(l->sql[i]);
	sqlite3_close(l->db);
	free(l);
}

static const struct agreement_ops local_ops = { .start = local_start, .close = local_close };

static int pragma(struct local *l, const char *text, int *value, struct error *err)
{
	sqlite3_stmt *s = NULL;
	int rc = 0;

	if (sqlite3_prepare_v2(l->db, text, -1, &s, NULL) != SQLITE_OK || sqlite3_step(s) != SQLITE_ROW)
		rc = failed(l, err);
	else
		*value = sqlite3_column_int(s, 0);
	sqlite3_finalize(s);
	return rc;
}

/* An empty database becomes ours; one of another kind is refused. */
static int check_schema(struct local *l, struct error *err)
{
	int application = 0, version = 0, tables = 0, rc;
	char text[256];

	rc = pragma(l, "PRAGMA application_id", &application, err);
	if (!rc)
		rc = pragma(l, "PRAGMA user_version", &version, err);
	if (!rc)
		rc = pragma(l, "SELECT count(*) FROM sqlite_master", &tables, err);
	if (rc)
		return rc;
	if (application == APPLICATION_ID && version == SCHEMA_VERSION)
		return 0;
	if (application || version || tables)
		return error_set(err, -EBADMSG, "%s is not an agreement's database of this version of garnerd",
		                 l->path);
	snprintf(text, sizeof text,
	         "BEGIN; CREATE TABLE agreed (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;"
	         "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT;",
	         APPLICATION_ID, SCHEMA_VERSION);
	return sqlite3_exec(l->db, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : failed(l, err);
}

static int open_database(struct local *l, struct error *err)
{
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW;
	int rc;

	if (sqlite3_open_v2(l->path, &l->db, flags, NULL) != SQLITE_OK)
		return l->db ? failed(l, err) : error_set(err, -ENOMEM, "%s: out of memory", l->path);
	(void)sqlite3_busy_timeout(l->db, 0);
	if (sqlite3_exec(l->db, SETTINGS, NULL, NULL, NULL) != SQLITE_OK)
		return failed(l, err);
	rc = check_schema(l, err);
	for (int i = 0; i < SQL_COUNT && !rc; i++)
		if (sqlite3_prepare_v3(l->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &l->sql[i], NULL) !=
		    SQLITE_OK)
			rc = failed(l, err);
	return rc;
}

int agreement_open_local(const char *path, struct agreement **agreement, struct error *err)
{
	struct local *l = calloc(1, sizeof *l + strlen(path) + 1);
	int rc;

	*agreement = NULL;
	if (!l)
		return error_set(err, -ENOMEM, "%s: out of memory", path);
	l->agreement.ops = &local_ops;
	memcpy(l->path, path, strlen(path) + 1);
	rc = open_database(l, err);
	if (!rc) {
		l->thread = executor_new("agreement", 1, false);
		if (!l->thread)
			rc = error_set(err, errno ? -errno : -ENOMEM, "%s: a thread cannot be started", path);
	}
	if (rc) {
		local_close(&l->agreement);
		return rc;
	}
	*agreement = &l->agreement;
	return 0;
}
