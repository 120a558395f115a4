/* SPDX-License-Identifier: GPL-3.0-only */
/* recorder.h: a disk that remembers, in one order, everything that is done below one directory.
 *
 * The disk passes every call through to the real file system. A recording holds each write with its bytes, each sync and
 * each change of a directory, with the moments at which the call began and was answered. crash_state.h builds from it what
 * a power cut at any moment could have left. Paths outside the directory pass through unrecorded. Whatever was in the
 * directory before is taken as durable. When memory is short it aborts: this is for tests.
 *
 * SQLite writes past the seam: record_vfs_install() puts its writes, syncs and deletions into the same recording.
 */
#ifndef GARNER_TESTS_RECORDER_H
#define GARNER_TESTS_RECORDER_H

#include "base/disk.h"

#include <stdint.h>

struct recording;

/* A recording of `dir`, which exists. NULL (errno says why) when it cannot be read. */
struct recording *recording_new(const char *dir);
/* Nobody uses its disk or VFS any more. NULL is ignored. */
void recording_free(struct recording *r);

/* The disk to give to what is tested. Lives as long as the recording; any thread. */
struct disk *recording_disk(struct recording *r);

/* Puts a value of the test's own into the order: "flushed up to write 17". Of each kind a crash state tells the last one
 * before the cut. A value that a call promised is noted after the call was answered; one that bounds what may be there
 * ("write 18 is issued") before the call is made. Any thread. */
#define RECORDING_NOTE_KINDS 4
void recording_note(struct recording *r, unsigned kind, uint64_t value);

/* How many moments there are so far: a cut is from 0 (nothing happened) to this (everything did). Any thread. */
uint64_t recording_moments(struct recording *r);

/* From now on an fdatasync of a file, or a sync of a directory, whose name (its last component) contains `part` is done and
 * answered, but remembered as if it had not been ("": every one; NULL: none). Shows that a test sees a missing sync. */
void recording_forget_syncs(struct recording *r, const char *part);

/* How many writes, syncs and changes of directories were recorded: a test that records nothing tests nothing. */
struct recording_counts {
	uint64_t writes, syncs, dir_syncs, dir_changes, notes;
	uint64_t unseen; /* files that somebody made below the directory without the seam */
};
void recording_counts(struct recording *r, struct recording_counts *counts);

/* The recording as text, one line an operation, from moment `from` to `to`: for the report of a failure. */
void recording_print(struct recording *r, uint64_t from, uint64_t to);

/* Makes SQLite's default VFS one that records into `r`; record_vfs_remove() brings the old one back (all connections are
 * closed). One at a time. Returns 0 or -errno. */
int record_vfs_install(struct recording *r);
void record_vfs_remove(void);

#endif
