/* SPDX-License-Identifier: GPL-3.0-only */
/* sqlite_error.c: SQLite's result codes as errnos. */
#include "base/sqlite_error.h"

#include <errno.h>

int sqlite_errno(int code)
{
	switch (code & 0xff) {
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_ERROR:
	case SQLITE_CONSTRAINT:
	case SQLITE_MISMATCH:
	case SQLITE_FORMAT:
	case SQLITE_SCHEMA:
		return -EBADMSG;
	case SQLITE_IOERR:
		if (code == SQLITE_IOERR_NOMEM)
			return -ENOMEM;
		return code == SQLITE_IOERR_CORRUPTFS || code == SQLITE_IOERR_DATA ? -EBADMSG : -EIO;
	default:
		return -EIO;
	}
}

int sqlite_failed(sqlite3 *db, int code, const char **text)
{
	int extended = db ? sqlite3_extended_errcode(db) : code;

	*text = db ? sqlite3_errmsg(db) : sqlite3_errstr(code);
	if ((extended & 0xff) != (code & 0xff)) { /* misuse, or an error that the connection did not record */
		extended = code;
		*text = sqlite3_errstr(code);
	}
	if ((extended & 0xff) == SQLITE_CANTOPEN && db && sqlite3_system_errno(db) > 0)
		return -sqlite3_system_errno(db);
	return sqlite_errno(extended);
}
