/* SPDX-License-Identifier: GPL-3.0-only */
/* drive_journal.h: what makes a small object durable with one sync of a file that is there already.
 *
 * The file "journal" of a drive was written to its end once, so overwriting a part of it changes nothing else of the file system. It
 * has two halves (journal_entry.h). The object's own file gets its final name, but is not synced; the object is an entry of the
 * journal, which drive_commit() syncs once for all who wait. When a half is full the other one is filled, and a thread empties
 * the full one: it syncs the files of which it has entries, then their directories, and then gives it a new tag, durably, which ends
 * its entries. Files are kept open until then: a descriptor that was there before the writing misses no error of it. What finds no
 * room goes the other way: its file and its directory are synced.
 *
 * After an unclean end drive_replay() makes the files of all entries again that are not whole. That brings nothing back that is gone:
 *	- What was replaced on this drive, by a newer version, a tombstone or the claimed mark: that was durable before, as an entry or a
 *	  file, and of one name drive_compare() keeps what counts most (object_precedence()).
 *	- What was replaced on another drive, or forgotten, and what a forgotten tombstone had removed: drive_journal_settle() comes before,
 *	  and leaves no entry of the name. The name's lane is held, so there is no new one.
 *	- What was found damaged: the same version is whole again.
 *	- A put that was not answered may come back, as a whole, as it may when its own file was synced.
 * The mark "confirmed" is in the index only, whose row stays.
 *
 * An error of the journal ends its use: what it has is synced as files, and it is removed. Everything here may be called on any thread
 * and blocks as the disk does, unless it says otherwise.
 */
#ifndef GARNER_NODE_DRIVE_JOURNAL_H
#define GARNER_NODE_DRIVE_JOURNAL_H

#include "node/journal_entry.h"

#include <sys/uio.h>

#define DRIVE_JOURNAL_LEAST (UINT64_C(64) << 10) /* bytes: a smaller one is none */

struct drive;
struct drive_check;
struct drive_journal;

/* A put on its way into the journal. */
struct journal_put {
	/* Set by the caller. */
	const struct object_header *object;
	struct iovec *iov; /* the body; the first and the last of them are the journal's to fill in */
	int iov_count;     /* with these two */
	/* The journal's. */
	unsigned half;
	size_t slot;
	uint8_t header[JOURNAL_HEADER];
};

/* ---- open and close: drive_journal_open.c ---- */

/* Reads what the journal of a drive has after an unclean end, makes the files again that are missing or not whole, and syncs all of them.
 * Their directories are synced by drive_compare(), which comes next.
 * check->journal_damaged: it cannot tell everything that was once durable in it. */
int drive_replay(struct drive *d, struct drive_check *check, struct error *err);
/* From now on the drive has a journal of so many bytes, or of those that the file has: 0: what fits the drive; less than
 * DRIVE_JOURNAL_LEAST: none. What the file had must be in files. 0 also when there can be none; an error is the drive's. */
int drive_journal_open(struct drive *d, uint64_t bytes, struct error *err);
/* Empties it. 0: all that was answered is in files, synced. Nobody uses it any more. Also when there is none. */
int drive_journal_close(struct drive *d);

/* ---- a put: drive_journal.c ---- */

/* Room for it. False: there is none now, or no journal. Never blocks. */
bool drive_journal_begin(struct drive *d, struct journal_put *p);
/* The put is over. `fd`, if it is not -1, is that of its file, whose name was not synced: the journal's from now on. Never blocks. */
void drive_journal_end(struct drive *d, struct journal_put *p, int fd);

/* Writes the entries of these and syncs: all of them are durable. An error is the journal's, which is out of use then. One thread
 * at a time: of drive_commit(). */
int drive_journal_write(struct drive *d, struct journal_put *const *puts, size_t count);

/* The journal has no entry of that name when it returns 0. -EIO: the drive failed. With the name's lane. */
int drive_journal_settle(struct drive *d, const char *name);

/* It is out of use after an error. Never blocks. */
bool drive_journal_failed(const struct drive *d);

#endif
