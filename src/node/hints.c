/* SPDX-License-Identifier: GPL-3.0-only */
/* hints.c: which objects other nodes have missed, in SQLite.
 *
 * Hints that are added at the same time share a transaction and its sync: whoever finds none under way carries out all that wait. Taking
 * hints out is not synced: one that comes back is delivered twice, which does no harm.
 */
#include "node/hints.h"

#include "base/sqlite_error.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define APPLICATION_ID 0x67686e74 /* "ghnt" */
#define SCHEMA_VERSION 1
#define ALL_NODES 0u
#define PATH_ROOM 4096

static const char settings[] = "PRAGMA locking_mode = EXCLUSIVE;"
			       "PRAGMA journal_mode = WAL;"
			       "PRAGMA synchronous = NORMAL;"
			       "PRAGMA journal_size_limit = 16777216;"
			       "PRAGMA trusted_schema = OFF;"
			       "PRAGMA cell_size_check = ON;";

static const char schema[] =
	"BEGIN;"
	"CREATE TABLE hint (node INTEGER NOT NULL, name TEXT NOT NULL, counter INTEGER NOT NULL, tie INTEGER NOT NULL,"
	" PRIMARY KEY (node, name)) WITHOUT ROWID;"
	"CREATE TABLE dropped (node INTEGER PRIMARY KEY, dropped INTEGER NOT NULL);"
	"PRAGMA application_id = %d;"
	"PRAGMA user_version = %d;"
	"COMMIT;";

enum statement {
	BEGIN,
	COMMIT,
	ROLLBACK,
	GET,
	PUT,
	NEXT,
	REMOVE,
	FORGET,
	COUNTS,
	DROPPED_GET,
	DROPPED_PUT,
	DROPPED_FORGET,
	STATEMENTS
};

static const char *const statements[STATEMENTS] = {
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
	[GET] = "SELECT counter, tie FROM hint WHERE node = ?1 AND name = ?2",
	[PUT] = "INSERT OR REPLACE INTO hint (node, name, counter, tie) VALUES (?1, ?2, ?3, ?4)",
	[NEXT] = "SELECT name, counter, tie FROM hint WHERE node = ?1 AND name > ?2 ORDER BY name LIMIT ?3",
	[REMOVE] = "DELETE FROM hint WHERE node = ?1 AND name = ?2",
	[FORGET] = "DELETE FROM hint WHERE node = ?1",
	[COUNTS] = "SELECT node, count(*) FROM hint GROUP BY node",
	[DROPPED_GET] = "SELECT node, dropped FROM dropped ORDER BY node",
	[DROPPED_PUT] = "INSERT OR REPLACE INTO dropped (node, dropped) VALUES (?1, ?2)",
	[DROPPED_FORGET] = "DELETE FROM dropped WHERE node = ?1",
};

/* What is known of a node without asking the database. */
struct hint_node {
	unsigned node;
	uint64_t count;
	bool told;     /* its own word on `dropped` counts, and not that on all nodes */
	bool dropped;  /* hints for it were dropped */
	uint64_t mark; /* grows with each that is */
};

struct adding {
	unsigned node;
	const char *name;
	struct object_version version;
	int status;
	bool done;
	TAILQ_ENTRY(adding) link;
};

TAILQ_HEAD(addings, adding);

struct hints {
	pthread_mutex_t db_mutex; /* guards db, sql */
	sqlite3 *db;
	sqlite3_stmt *sql[STATEMENTS];
	bool durable;
	uint64_t max;

	pthread_mutex_t mutex; /* guards what follows; taken after db_mutex, never before */
	pthread_cond_t finished;
	struct addings waiting;
	bool busy;
	struct hint_node *node;
	size_t node_count;
	uint64_t count;
	bool all_dropped;
};

/* ---- SQLite ---- */

/* By the primary code: an error of the disk beneath does not make the hints damaged. */
static int errno_of(int code)
{
	return sqlite_errno(code & 0xff);
}

static int execute(struct hints *h, const char *sql)
{
	int code = sqlite3_exec(h->db, sql, NULL, NULL, NULL);

	return code == SQLITE_OK ? 0 : errno_of(code);
}

static void reset(struct hints *h, enum statement which)
{
	(void)sqlite3_reset(h->sql[which]);
	(void)sqlite3_clear_bindings(h->sql[which]);
}

static int bind_number(struct hints *h, enum statement which, int at, uint64_t number)
{
	return sqlite3_bind_int64(h->sql[which], at, (sqlite3_int64)number) == SQLITE_OK ? 0 : -ENOMEM;
}

static int bind_name(struct hints *h, enum statement which, const char *name)
{
	return sqlite3_bind_text(h->sql[which], 2, name, -1, SQLITE_STATIC) == SQLITE_OK ? 0 : -ENOMEM;
}

/* 1: there is a row; 0: there is none (more). */
static int step(struct hints *h, enum statement which)
{
	int code = sqlite3_step(h->sql[which]);

	return code == SQLITE_ROW ? 1 : code == SQLITE_DONE ? 0 : errno_of(sqlite3_extended_errcode(h->db));
}

static int run(struct hints *h, enum statement which)
{
	int rc = step(h, which);

	reset(h, which);
	return rc;
}

static int begin(struct hints *h, bool durable)
{
	int rc = 0;

	if (h->durable != durable)
		rc = execute(h, durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
	if (rc < 0)
		return rc;
	h->durable = durable;
	return run(h, BEGIN);
}

static int end(struct hints *h, int rc)
{
	if (rc == 0)
		rc = run(h, COMMIT);
	if (rc < 0 && !sqlite3_get_autocommit(h->db))
		(void)run(h, ROLLBACK);
	return rc;
}

/* ---- what is known of nodes ---- */

/* With the mutex. NULL when memory is short. */
static struct hint_node *node_of(struct hints *h, unsigned node)
{
	for (size_t i = 0; i < h->node_count; i++)
		if (h->node[i].node == node)
			return &h->node[i];
	struct hint_node *bigger = realloc(h->node, (h->node_count + 1) * sizeof *bigger);
	if (!bigger)
		return NULL;
	h->node = bigger;
	bigger[h->node_count] = (struct hint_node){ .node = node };
	return &bigger[h->node_count++];
}

static void count(struct hints *h, unsigned node, int64_t change)
{
	pthread_mutex_lock(&h->mutex);
	struct hint_node *n = node_of(h, node);
	h->count += (uint64_t)change;
	if (n)
		n->count += (uint64_t)change;
	pthread_mutex_unlock(&h->mutex);
}

static void mark_dropped(struct hints *h, unsigned node)
{
	pthread_mutex_lock(&h->mutex);
	struct hint_node *n = node_of(h, node);
	if (n) {
		n->told = n->dropped = true;
		n->mark++;
	} else {
		h->all_dropped = true;
	}
	pthread_mutex_unlock(&h->mutex);
}

/* ---- open and close ---- */

static int64_t number_of(struct hints *h, const char *sql)
{
	sqlite3_stmt *stmt = NULL;
	int64_t number = -1;

	if (sqlite3_prepare_v2(h->db, sql, -1, &stmt, NULL) == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW)
		number = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return number;
}

static bool passes_check(struct hints *h)
{
	sqlite3_stmt *stmt = NULL;
	bool good = false;

	if (sqlite3_prepare_v2(h->db, "PRAGMA quick_check(1)", -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_step(stmt) == SQLITE_ROW) {
		const char *text = (const char *)sqlite3_column_text(stmt, 0);
		good = text && strcmp(text, "ok") == 0;
	}
	sqlite3_finalize(stmt);
	return good;
}

static int load(struct hints *h)
{
	int rc;

	while ((rc = step(h, COUNTS)) > 0)
		count(h, (unsigned)sqlite3_column_int64(h->sql[COUNTS], 0), sqlite3_column_int64(h->sql[COUNTS], 1));
	reset(h, COUNTS);
	while (rc == 0 && (rc = step(h, DROPPED_GET)) > 0) {
		unsigned node = (unsigned)sqlite3_column_int64(h->sql[DROPPED_GET], 0);
		bool dropped = sqlite3_column_int64(h->sql[DROPPED_GET], 1);
		if (node == ALL_NODES) {
			h->all_dropped = dropped;
		} else {
			struct hint_node *n = node_of(h, node);
			if (!n) {
				rc = -ENOMEM;
				break;
			}
			n->told = true;
			n->dropped = dropped;
		}
		rc = 0;
	}
	reset(h, DROPPED_GET);
	return rc;
}

static int connect_to(struct hints *h, const char *path, struct error *err)
{
	char sql[sizeof schema + 32];
	int rc = sqlite3_open_v2(path, &h->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);

	rc = rc == SQLITE_OK ? execute(h, settings) : errno_of(rc);
	int64_t tables = rc == 0 ? number_of(h, "SELECT count(*) FROM sqlite_master") : -1;
	if (rc == 0 && tables == 0) {
		snprintf(sql, sizeof sql, schema, APPLICATION_ID, SCHEMA_VERSION);
		rc = execute(h, sql);
	}
	if (rc == 0 && (number_of(h, "PRAGMA application_id") != APPLICATION_ID ||
	                number_of(h, "PRAGMA user_version") != SCHEMA_VERSION || !passes_check(h)))
		rc = -EBADMSG;
	for (int i = 0; rc == 0 && i < STATEMENTS; i++)
		if (sqlite3_prepare_v3(h->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &h->sql[i], NULL) !=
		    SQLITE_OK)
			rc = errno_of(sqlite3_extended_errcode(h->db));
	if (rc == 0)
		rc = load(h);
	return rc < 0 ? error_set(err, rc, "%s: %s", path, h->db ? sqlite3_errmsg(h->db) : strerror(-rc)) : 0;
}

static void disconnect(struct hints *h)
{
	for (int i = 0; i < STATEMENTS; i++) {
		sqlite3_finalize(h->sql[i]);
		h->sql[i] = NULL;
	}
	sqlite3_close(h->db);
	h->db = NULL;
	free(h->node);
	h->node = NULL;
	h->node_count = 0;
	h->count = 0;
	h->all_dropped = false;
}

/* What hints there were nobody knows: every node needs a full comparison. */
static int begin_anew(struct hints *h, const char *path, struct error *err)
{
	char old[PATH_ROOM + 16];
	int rc;

	disconnect(h);
	snprintf(old, sizeof old, "%s.damaged", path);
	if (rename(path, old) < 0 && errno != ENOENT)
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	snprintf(old, sizeof old, "%s-wal", path);
	(void)remove(old);
	rc = connect_to(h, path, err);
	if (rc == 0)
		rc = begin(h, true);
	if (rc < 0)
		return rc;
	rc = bind_number(h, DROPPED_PUT, 1, ALL_NODES);
	if (rc == 0)
		rc = bind_number(h, DROPPED_PUT, 2, 1);
	if (rc == 0)
		rc = run(h, DROPPED_PUT);
	h->all_dropped = true;
	return end(h, rc);
}

int hints_open(const char *dir, unsigned max, struct hints **hints, bool *lost, struct error *err)
{
	struct hints *h = calloc(1, sizeof *h);
	char path[PATH_ROOM];
	int rc;

	*lost = false;
	if (!h)
		return -ENOMEM;
	pthread_mutex_init(&h->db_mutex, NULL);
	pthread_mutex_init(&h->mutex, NULL);
	pthread_cond_init(&h->finished, NULL);
	TAILQ_INIT(&h->waiting);
	h->max = max ? max : HINTS_MAX;
	rc = snprintf(path, sizeof path, "%s/hints.db", dir) < (int)sizeof path ? connect_to(h, path, err)
	                                                                        : -ENAMETOOLONG;
	if (rc == -EBADMSG) {
		*lost = true;
		rc = begin_anew(h, path, err);
	}
	if (rc < 0) {
		hints_close(h);
		return rc;
	}
	*hints = h;
	return 0;
}

void hints_close(struct hints *h)
{
	if (!h)
		return;
	disconnect(h);
	pthread_cond_destroy(&h->finished);
	pthread_mutex_destroy(&h->mutex);
	pthread_mutex_destroy(&h->db_mutex);
	free(h);
}

/* ---- adding ---- */

/* 1 and *version; 0 when there is none. Within the lock of the database. */
static int get(struct hints *h, unsigned node, const char *name, struct object_version *version)
{
	int rc = bind_number(h, GET, 1, node);

	if (rc == 0)
		rc = bind_name(h, GET, name);
	if (rc == 0)
		rc = step(h, GET);
	if (rc > 0)
		*version = (struct object_version){ (uint64_t)sqlite3_column_int64(h->sql[GET], 0),
			                            (uint64_t)sqlite3_column_int64(h->sql[GET], 1) };
	reset(h, GET);
	return rc;
}

static int put(struct hints *h, const struct adding *a)
{
	int rc = bind_number(h, PUT, 1, a->node);

	if (rc == 0)
		rc = bind_name(h, PUT, a->name);
	if (rc == 0)
		rc = bind_number(h, PUT, 3, a->version.counter);
	if (rc == 0)
		rc = bind_number(h, PUT, 4, a->version.tie);
	if (rc == 0)
		return run(h, PUT);
	reset(h, PUT);
	return rc;
}

static int put_dropped(struct hints *h, unsigned node, bool dropped)
{
	int rc = bind_number(h, DROPPED_PUT, 1, node);

	if (rc == 0)
		rc = bind_number(h, DROPPED_PUT, 2, dropped);
	if (rc == 0)
		return run(h, DROPPED_PUT);
	reset(h, DROPPED_PUT);
	return rc;
}

static int add_one(struct hints *h, struct adding *a)
{
	struct object_version there;
	int rc = get(h, a->node, a->name, &there);

	if (rc < 0 || (rc > 0 && object_version_compare(there, a->version) >= 0))
		return rc < 0 ? rc : 0;
	if (rc == 0) {
		pthread_mutex_lock(&h->mutex);
		bool room = h->count < h->max;
		pthread_mutex_unlock(&h->mutex);
		if (!room) {
			mark_dropped(h, a->node);
			return put_dropped(h, a->node, true);
		}
		count(h, a->node, 1);
	}
	return put(h, a);
}

/* The counts as the database has them: after a transaction that was taken back. */
static void count_again(struct hints *h)
{
	pthread_mutex_lock(&h->mutex);
	h->count = 0;
	for (size_t i = 0; i < h->node_count; i++)
		h->node[i].count = 0;
	pthread_mutex_unlock(&h->mutex);
	while (step(h, COUNTS) > 0)
		count(h, (unsigned)sqlite3_column_int64(h->sql[COUNTS], 0), sqlite3_column_int64(h->sql[COUNTS], 1));
	reset(h, COUNTS);
}

static void add_group(struct hints *h, struct addings *group)
{
	struct adding *a;
	int rc;

	pthread_mutex_lock(&h->db_mutex);
	rc = begin(h, true);
	if (rc == 0) {
		TAILQ_FOREACH(a, group, link)
			if (rc == 0)
				rc = add_one(h, a);
		rc = end(h, rc);
		if (rc < 0)
			count_again(h);
	}
	pthread_mutex_unlock(&h->db_mutex);
	TAILQ_FOREACH(a, group, link) {
		a->status = rc;
		if (rc < 0)
			mark_dropped(h, a->node);
	}
}

int hint_add(struct hints *h, unsigned node, const char *name, struct object_version version)
{
	struct adding own = { .node = node, .name = name, .version = version };

	if (node < 1 || node > HINTS_NODE_MAX || !object_name_valid(name) || object_version_is_none(version))
		return -EINVAL;
	pthread_mutex_lock(&h->mutex);
	TAILQ_INSERT_TAIL(&h->waiting, &own, link);
	while (!own.done) {
		struct addings group = TAILQ_HEAD_INITIALIZER(group);
		struct adding *a;

		if (h->busy) {
			pthread_cond_wait(&h->finished, &h->mutex);
			continue;
		}
		h->busy = true;
		TAILQ_CONCAT(&group, &h->waiting, link);
		pthread_mutex_unlock(&h->mutex);
		add_group(h, &group);
		pthread_mutex_lock(&h->mutex);
		TAILQ_FOREACH(a, &group, link)
			a->done = true;
		h->busy = false;
		pthread_cond_broadcast(&h->finished);
	}
	pthread_mutex_unlock(&h->mutex);
	return own.status;
}

/* ---- delivering ---- */

static int next(struct hints *h, unsigned node, const char *after, struct hint *batch, size_t max)
{
	size_t n = 0;
	int rc = bind_number(h, NEXT, 1, node);

	if (rc == 0)
		rc = bind_name(h, NEXT, after ? after : "");
	if (rc == 0)
		rc = bind_number(h, NEXT, 3, max);
	while (rc == 0 && n < max && (rc = step(h, NEXT)) > 0) {
		const char *name = (const char *)sqlite3_column_text(h->sql[NEXT], 0);
		rc = 0;
		if (!name || strlen(name) > OBJECT_NAME_MAX)
			rc = name ? -EBADMSG : -ENOMEM;
		else {
			snprintf(batch[n].name, sizeof batch[n].name, "%s", name);
			batch[n].version.counter = (uint64_t)sqlite3_column_int64(h->sql[NEXT], 1);
			batch[n++].version.tie = (uint64_t)sqlite3_column_int64(h->sql[NEXT], 2);
			continue;
		}
		break;
	}
	reset(h, NEXT);
	return rc < 0 ? rc : (int)n;
}

int hint_next(struct hints *h, unsigned node, const char *after, struct hint *batch, size_t max)
{
	if (max > HINTS_MAX)
		max = HINTS_MAX;
	pthread_mutex_lock(&h->db_mutex);
	int rc = next(h, node, after, batch, max);
	pthread_mutex_unlock(&h->db_mutex);
	return rc;
}

int hint_done(struct hints *h, unsigned node, const char *name, struct object_version version)
{
	struct object_version there;
	int rc;

	pthread_mutex_lock(&h->db_mutex);
	rc = begin(h, false);
	if (rc == 0) {
		rc = get(h, node, name, &there);
		bool gone = rc > 0 && object_version_compare(there, version) <= 0;
		rc = rc > 0 ? 0 : rc;
		if (gone) {
			rc = bind_number(h, REMOVE, 1, node);
			if (rc == 0)
				rc = bind_name(h, REMOVE, name);
			if (rc == 0)
				rc = run(h, REMOVE);
		}
		rc = end(h, rc);
		if (rc == 0 && gone)
			count(h, node, -1);
	}
	pthread_mutex_unlock(&h->db_mutex);
	return rc;
}

int hint_forget(struct hints *h, unsigned node)
{
	int rc;

	pthread_mutex_lock(&h->db_mutex);
	rc = begin(h, true);
	if (rc == 0) {
		rc = bind_number(h, FORGET, 1, node);
		if (rc == 0)
			rc = run(h, FORGET);
		if (rc == 0)
			rc = bind_number(h, DROPPED_FORGET, 1, node);
		if (rc == 0)
			rc = run(h, DROPPED_FORGET);
		rc = end(h, rc);
	}
	if (rc == 0) {
		pthread_mutex_lock(&h->mutex);
		struct hint_node *n = node_of(h, node);
		if (n) {
			h->count -= n->count;
			*n = (struct hint_node){ .node = node, .mark = n->mark };
		}
		pthread_mutex_unlock(&h->mutex);
	}
	pthread_mutex_unlock(&h->db_mutex);
	return rc;
}

/* ---- what is known ---- */

uint64_t hint_count(struct hints *h, unsigned node)
{
	uint64_t n = 0;

	pthread_mutex_lock(&h->mutex);
	if (node == ALL_NODES)
		n = h->count;
	for (size_t i = 0; i < h->node_count; i++)
		if (h->node[i].node == node)
			n = h->node[i].count;
	pthread_mutex_unlock(&h->mutex);
	return n;
}

bool hint_full(struct hints *h, unsigned node, uint64_t *mark)
{
	pthread_mutex_lock(&h->mutex);
	bool full = h->all_dropped;
	if (mark)
		*mark = 0;
	for (size_t i = 0; i < h->node_count; i++)
		if (h->node[i].node == node) {
			full = h->node[i].told ? h->node[i].dropped : full;
			if (mark)
				*mark = h->node[i].mark;
		}
	pthread_mutex_unlock(&h->mutex);
	return full;
}

int hint_full_done(struct hints *h, unsigned node, uint64_t mark)
{
	int rc;

	pthread_mutex_lock(&h->db_mutex); /* so that nothing is dropped meanwhile */
	pthread_mutex_lock(&h->mutex);
	struct hint_node *n = node_of(h, node);
	bool same = n && n->mark == mark;
	pthread_mutex_unlock(&h->mutex);
	rc = !n ? -ENOMEM : !same ? -EAGAIN : begin(h, true);
	if (rc == 0) {
		rc = end(h, put_dropped(h, node, false));
		pthread_mutex_lock(&h->mutex);
		n = node_of(h, node);
		if (rc == 0 && n && n->mark == mark) {
			n->told = true;
			n->dropped = false;
		}
		pthread_mutex_unlock(&h->mutex);
	}
	pthread_mutex_unlock(&h->db_mutex);
	return rc;
}
