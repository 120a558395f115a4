/* SPDX-License-Identifier: GPL-3.0-only */
/* test_sqlite_error.c: what SQLite's codes become, alone and from a connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/sqlite_error.h"

#include <errno.h>
#include <string.h>

static void codes_mean_what_a_caller_can_do(void **state)
{
	static const struct {
		int code, rc;
	} cases[] = {
		{ SQLITE_NOMEM, -ENOMEM },
		{ SQLITE_FULL, -ENOSPC },
		{ SQLITE_READONLY_DBMOVED, -EROFS },
		{ SQLITE_BUSY, -EBUSY },
		{ SQLITE_LOCKED_SHAREDCACHE, -EBUSY },
		{ SQLITE_CORRUPT_INDEX, -EBADMSG },
		{ SQLITE_NOTADB, -EBADMSG },
		{ SQLITE_ERROR, -EBADMSG },
		{ SQLITE_SCHEMA, -EBADMSG },
		{ SQLITE_IOERR, -EIO },
		{ SQLITE_IOERR_FSYNC, -EIO },
		{ SQLITE_IOERR_NOMEM, -ENOMEM },
		{ SQLITE_IOERR_CORRUPTFS, -EBADMSG },
		{ SQLITE_IOERR_DATA, -EBADMSG },
		{ SQLITE_MISUSE, -EIO },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_int_equal(sqlite_errno(cases[i].code), cases[i].rc);
}

static void a_connection_knows_more_than_its_code(void **state)
{
	const char *text = NULL;
	sqlite3 *db = NULL;

	(void)state;
	assert_int_equal(sqlite3_open_v2("/nowhere/at/all", &db, SQLITE_OPEN_READONLY, NULL), SQLITE_CANTOPEN);
	assert_int_equal(sqlite_failed(db, SQLITE_CANTOPEN, &text), -ENOENT);
	/* Of another error it knows nothing. */
	assert_int_equal(sqlite_failed(db, SQLITE_FULL, &text), -ENOSPC);
	assert_string_equal(text, sqlite3_errstr(SQLITE_FULL));
	sqlite3_close(db);

	assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
	int code = sqlite3_exec(db, "SELECT a FROM nowhere", NULL, NULL, NULL);
	assert_int_equal(sqlite_failed(db, code, &text), -EBADMSG);
	assert_non_null(strstr(text, "nowhere"));
	sqlite3_close(db);

	assert_int_equal(sqlite_failed(NULL, SQLITE_NOMEM, &text), -ENOMEM);
	assert_string_equal(text, sqlite3_errstr(SQLITE_NOMEM));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(codes_mean_what_a_caller_can_do),
		cmocka_unit_test(a_connection_knows_more_than_its_code),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
