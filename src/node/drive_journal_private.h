/* SPDX-License-Identifier: GPL-3.0-only */
/* drive_journal_private.h: what the files of a drive's journal share. */
#ifndef GARNER_NODE_DRIVE_JOURNAL_PRIVATE_H
#define GARNER_NODE_DRIVE_JOURNAL_PRIVATE_H

#include "node/drive.h"

#define JOURNAL_HALVES 2u

/* One entry of a half: its file. */
struct journal_file {
	uint8_t hash[OBJECT_HASH_BYTES]; /* of the object's name */
	int fd;                          /* -1: nobody was answered because of this entry */
};

struct journal_half {
	enum { HALF_EMPTY, HALF_OPEN, HALF_FULL } state;
	uint64_t taken;       /* bytes that are given away */
	unsigned outstanding; /* puts that have room in it and are not over */
	uint64_t emptied;     /* how often it was */
	struct journal_file *file;
	size_t file_count;

	/* Of who writes entries while something is outstanding; else of who empties it. */
	uint8_t tag[JOURNAL_TAG_BYTES];
	uint64_t at; /* where the next entry goes: bytes from the beginning of the half */
	uint64_t sequence, durable;
};

struct drive_journal {
	struct drive *d;
	/* The same file twice: each tells its user of an error that the other one's sync has met. */
	int fd, reset_fd;
	uint64_t half_bytes;
	size_t files_max; /* of a half */
	pthread_t thread;
	bool running;
	atomic_bool failed;

	pthread_mutex_t
		mutex; /* guards what follows, and the halves but for what is told there: a leaf, never held over I/O */
	pthread_cond_t changed;
	struct journal_half half[JOURNAL_HALVES];
	unsigned current; /* the half that is filled, if it is open */
	bool closed;      /* takes nothing more */
	bool over;        /* the thread has ended */
};

/* Gives the half a new tag: durable when `fd`, which is one of the journal, was synced. */
int journal_half_reset(struct drive_journal *j, unsigned half, int fd);
void journal_path(const struct drive *d, char path[DRIVE_FILE_PATH]);
/* The thread that empties halves. */
void *journal_main(void *arg);

#endif
