/* SPDX-License-Identifier: GPL-3.0-only */
/* drive.h: one drive: a directory with objects' files, an index of them, and a state of health.
 *
 *	drive drives lock unclean        which drive this is; the node's drives; held while it is open; there while it is open
 *	index.db                         what is there (object_index.h)
 *	rebuild                          there when the index was found damaged: it is built anew at the next start
 *	objects/<x>/<hash>-<version>-<f> the objects (object_file.h)
 *	tmp/<n>                          being written
 *	quarantine/                      files that were found damaged
 *	node/                            what the node keeps for itself
 *
 * A change of the drive is a file that is durable under its final name, and then a row in the index, which drive_commit() brings about:
 * those that wait for it at the same time go together. Knows nothing of the rules by which objects replace each other.
 *
 * Errors of the drive itself change its state, which others are told of (drive_watch_fn). All calls block as the disk does, and may be
 * made on any thread, unless they say otherwise.
 */
#ifndef GARNER_NODE_DRIVE_H
#define GARNER_NODE_DRIVE_H

#include "node/drive_set.h"
#include "node/object_file.h"
#include "node/object_index.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#define DRIVE_FILE_PATH (DRIVE_PATH_MAX + OBJECT_FILE_NAME + 32)

enum drive_state {
	DRIVE_OK,
	DRIVE_READ_ONLY,
	DRIVE_INDEX_DAMAGED, /* is out of use until the node starts again, and builds it anew */
	DRIVE_FAILED,
};

struct drive;

/* The drive went from being usable to a worse state; called once for each state, on the thread that found out, before the call that
 * found out returns. No lock is held. */
typedef void drive_watch_fn(void *arg, struct drive *d, enum drive_state state);

/* A change of the index that waits for others. */
struct drive_op {
	/* Set by the caller. */
	enum drive_op_kind { DRIVE_PUT, DRIVE_REMOVE, DRIVE_CONFIRM } kind;
	struct object_entry entry; /* PUT: of a file that is synced under its name; else name and version */
	bool durable;              /* the change of the index must outlast a power cut: of a removal */
	/* The drive's. */
	struct object_entry before; /* what the index had of the name */
	bool had, done;
	int status;
	TAILQ_ENTRY(drive_op) link;
};

struct drive {
	struct disk *disk;
	char path[DRIVE_PATH_MAX];
	char id[DRIVE_ID_TEXT];
	uint64_t seed; /* of its place in the order of drives for a name */
	uint64_t reserve;
	struct object_index *index; /* NULL when it could not be opened */
	int lock_fd;
	drive_watch_fn *watch;
	void *watch_arg;
	_Atomic uint64_t *loss;   /* NULL, or grows before the objects of the drive are out of reach */
	bool ready;               /* index and files agree: the end can be a clean one */
	_Atomic int state;        /* enum drive_state: gets worse only */
	_Atomic uint64_t full_at; /* monotonic time of the last -ENOSPC; 0: none */
	atomic_bool full_told;
	atomic_uint read_errors;
	_Atomic uint64_t capacity, next_tmp, quarantined, groups;
	_Atomic int64_t objects, tombstones, bytes;

	pthread_mutex_t mutex; /* guards the queue, and `done` of what is in it */
	pthread_cond_t finished;
	TAILQ_HEAD(drive_ops, drive_op) waiting;
	bool busy; /* a group is under way */
};

/* ---- open and close: drive_open.c ---- */

/* Takes the lock file of `path`: -EBUSY when another process has it. */
int drive_lock(struct drive *d, struct disk *disk, const char *path, struct error *err);

/* What drive_open() found. */
struct drive_check {
	uint64_t added, removed, replaced; /* objects of the index, after an unclean end */
	uint64_t missing;                  /* were in the index and have no file: are marked as damaged now */
	uint64_t damaged; /* files that cannot be read, or, while the index is built anew, do not verify: moved aside */
	bool rebuilt;     /* there was no (whole) index */
};

/* Makes the drive ready after drive_lock(); the file "drive" exists, with the id `id`. Compares files and index where that is needed.
 * -EIO, -EROFS, ...: nothing but drive_close() may be called. */
int drive_open(struct drive *d, const char *id, uint64_t reserve, struct drive_check *check, struct error *err);
/* A clean end unless the drive has failed. */
void drive_close(struct drive *d);
/* Compares files and index, and puts right what differs: drive_check.c. The index is empty when `rebuild`. */
int drive_compare(struct drive *d, bool rebuild, struct drive_check *check, struct error *err);

/* ---- health ---- */

bool drive_readable(const struct drive *d);
const char *drive_state_text(struct drive *d);
/* Whether it takes a new object of so many bytes now: a healthy drive with more free than its reserve; a tombstone needs none. */
bool drive_takes(struct drive *d, uint64_t bytes, bool tombstone);
/* What a failed write, sync or change of the drive means for it: -ENOSPC and -EDQUOT full, -EROFS read-only, -ENOMEM and -EMFILE
 * nothing, everything else failed. `what` for the report. Returns `rc`. */
int drive_write_failed(struct drive *d, int rc, const char *what);
/* The same of the index. -EBADMSG: it is damaged. */
int drive_index_failed(struct drive *d, int rc, const struct error *err);
/* A file could not be read for another reason than its content: after some of these the drive has failed. */
void drive_read_failed(struct drive *d);
/* Free bytes for whoever may write; 0 when that cannot be found out. */
uint64_t drive_free_bytes(struct drive *d);

/* ---- files ---- */

void drive_object_path(const struct drive *d, const char *name, const struct object_meta *meta,
                       char path[DRIVE_FILE_PATH]);
/* The directory of objects of that number, below OBJECT_DIRS. */
void drive_directory(const struct drive *d, unsigned number, char path[DRIVE_FILE_PATH]);
/* Makes durable what came and went in these directories of objects, by number; NULL: in all. 0 or -errno. */
int drive_sync_directories(struct drive *d, const bool *wanted);
/* Makes an empty file to write an object into; returns its descriptor (also for reading). */
int drive_new_file(struct drive *d, char path[DRIVE_FILE_PATH]);
/* The file at `path` becomes that of the object, its header written last, and is synced under its name, but its directory is not:
 * drive_commit() does that. Errors are reported to drive_write_failed(). */
int drive_place_file(struct drive *d, int fd, const char *path, const struct object_header *h);
/* Makes the file of an entry that has no body, as drive_place_file(). */
int drive_place_bare(struct drive *d, const struct object_entry *entry);
/* Removes the file of the object, if it is there. Not durable. */
void drive_unlink_object(struct drive *d, const char *name, const struct object_meta *meta);
/* Moves a file to the quarantine, or removes it when that is full. */
void drive_quarantine(struct drive *d, const char *path);

/* ---- changes of the index: drive_commit.c ---- */

/* Syncs the directories of what is put, and changes the index. 0, and all calls that begin later see it. Waits for the group under
 * way, and goes with all others that wait. For DRIVE_CONFIRM: -ENOENT when that version is not there. */
int drive_commit(struct drive *d, struct drive_op *op);
/* The entry is there or is not any more: for the counts. */
void drive_count(struct drive *d, const struct object_meta *meta, int sign);

#endif
