/* SPDX-License-Identifier: GPL-3.0-only */
/* sqlite_error.h: what SQLite's result codes mean to a program whose database it can make anew, or must not touch. */
#ifndef GARNER_BASE_SQLITE_ERROR_H
#define GARNER_BASE_SQLITE_ERROR_H

#include <sqlite3.h>

/* The negative errno of a result code, extended or not: -ENOMEM, -ENOSPC, -EROFS, -EBUSY, -EBADMSG (the file is damaged, or not one
 * of ours: statements that fit our schema are no "logic error"), else -EIO. Pure. */
int sqlite_errno(int code);

/* The same of a call on `db` (which may be NULL: it was not opened) that returned `code`, by what the connection knows of it, and with
 * the operating system's errno where the file could not be opened. *text: SQLite's words, until the next call on `db`. The caller
 * keeps others from `db`. */
int sqlite_failed(sqlite3 *db, int code, const char **text);

#endif
