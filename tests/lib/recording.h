/* SPDX-License-Identifier: GPL-3.0-only */
/* recording.h: what a recording is made of: shared by recorder.c, record_vfs.c and crash_state.c, and nobody else. */
#ifndef GARNER_TESTS_RECORDING_H
#define GARNER_TESTS_RECORDING_H

#include "lib/recorder.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

enum op_kind {
	OP_NONE,     /* was called off */
	OP_WRITE,    /* bytes into a file */
	OP_ZERO,     /* a range reads as zeros from here on, its blocks are given back */
	OP_TRUNCATE, /* the size becomes `len` */
	OP_GROW,     /* the size becomes at least offset + len */
	OP_SYNC,     /* fdatasync */
	OP_CREATE,   /* dir/name is the new file `ino` */
	OP_MKDIR,    /* dir/name is the new directory `ino` */
	OP_LINK,     /* dir/name is `ino` too */
	OP_UNLINK,   /* dir/name is gone (also rmdir) */
	OP_RENAME,   /* `ino` goes from dir/name to dir2/name2 */
	OP_SYNC_DIR,
	OP_NOTE, /* offset: kind, len: value */
};

#define ROOT_INO 1u
#define MOMENT_NEVER UINT64_MAX

struct op {
	enum op_kind kind;
	uint64_t begin; /* moment at which the call was made */
	uint64_t
		end; /* moment at which it was answered; MOMENT_NEVER: not yet, or it failed and may have done anything */
	bool base;   /* was there before the recording: durable */
	bool durable; /* O_DSYNC: durable once answered */
	uint32_t ino; /* the file; OP_SYNC_DIR: the directory */
	uint32_t dir, dir2;
	char *name, *name2;
	mode_t mode;
	uint64_t offset, len;
	uint8_t *data; /* NULL: zeros */
};

struct name_entry {
	uint32_t dir, ino;
	bool is_dir;
	char *name;
};

struct recording {
	struct disk disk; /* first: recording_disk() is this */
	char *root;       /* real path of the directory, no slash at its end */
	char *alias;      /* the same as the caller wrote it */

	/* Held over calls that change names, so that the table below follows the file system. Taken before `lock`. */
	pthread_mutex_t names_lock;
	struct name_entry *names; /* guarded by names_lock */
	size_t name_count, name_room;

	pthread_mutex_t lock; /* guards all below; never held over a system call */
	struct op *ops;
	size_t op_count, op_room;
	uint64_t moment;
	uint32_t next_ino;
	struct open_file {
		uint32_t ino; /* 0: not recorded */
		bool dsync;
	} * open_files;
	size_t open_room;
	char *forget;
	struct recording_counts counts;
};

/* Where a path leads: directory number and last component. False when it is not below the root (or is the root itself). Needs
 * names_lock. `*name` points into `buf`. */
bool recording_resolve(struct recording *r, const char *path, char buf[4096], uint32_t *dir, const char **name);
/* The entry of a name, or NULL. Needs names_lock. */
struct name_entry *recording_find(struct recording *r, uint32_t dir, const char *name);
/* The number of the directory at `path`, or 0. Needs names_lock. */
uint32_t recording_dir(struct recording *r, const char *path);

/* Begins an operation: copies `op` (names and data become the recording's), stamps it, returns its index. */
size_t recording_begin(struct recording *r, const struct op *op);
/* It was answered. `ok` false: it failed, and nobody knows what of it was done. */
void recording_end(struct recording *r, size_t index, bool ok);
/* It failed and had no effect (an error of a change of a directory). */
void recording_cancel(struct recording *r, size_t index);

/* Around the opening of a file, both with names_lock held: recording_opening() before the system call, recording_opened()
 * after it with whether it succeeded. The latter returns the file's number, 0 when it is outside. */
struct opening {
	bool existed;
	size_t create, truncate; /* operations begun, or SIZE_MAX */
};
void recording_opening(struct recording *r, const char *path, int flags, mode_t mode, struct opening *o);
uint32_t recording_opened(struct recording *r, const char *path, const struct opening *o, bool ok);

/* Around the removal of a name (unlink, rmdir), likewise. Returns the operation, or SIZE_MAX when nothing is recorded. */
size_t recording_removing(struct recording *r, const char *path);
void recording_removed(struct recording *r, const char *path, size_t op, bool ok);

/* Whether syncs of the file or directory are to be forgotten. Takes names_lock. */
bool recording_forgets(struct recording *r, uint32_t ino);

/* Begins a write to file `ino`; all-zero bytes are kept as a length. */
size_t recording_begin_write(struct recording *r, uint32_t ino, bool durable, const struct iovec *iov, int iovcnt,
                             uint64_t offset);
/* Only `len` bytes of it were written. */
void recording_shorten(struct recording *r, size_t index, uint64_t len);

#endif
