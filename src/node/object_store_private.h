/* SPDX-License-Identifier: GPL-3.0-only */
/* object_store_private.h: what the files of the object store share.
 *
 * What changes a name holds its lane from before it looks to after what it replaced is gone: names have lanes by their hash. Whoever
 * finds a lane taken waits without a thread. Lock order: a lane; then the mutex of a put, of the store, or of a drive, of which
 * no two are held together. No mutex is held over I/O.
 */
#ifndef GARNER_NODE_OBJECT_STORE_PRIVATE_H
#define GARNER_NODE_OBJECT_STORE_PRIVATE_H

#include "base/executor.h"
#include "node/drive.h"
#include "node/object_body.h"

#define OBJECT_LANES 4096u

/* Somebody who wants a lane. */
struct lane_wait {
	job_fn *go; /* runs on a thread of `changers` with the lane */
	void *arg;
	STAILQ_ENTRY(lane_wait) link;
};

struct lane {
	bool taken;
	STAILQ_HEAD(, lane_wait) waiting;
};

struct object_store {
	struct disk *disk;
	struct drive *drive;
	size_t drive_count;
	char node_dir[DRIVE_PATH_MAX + 8];
	/* writers take bodies; changers hold lanes and wait for syncs; readers read bodies; lookers only look at the index; scanners go
	 * through all of it. */
	struct executor *writers, *changers, *readers, *lookers, *scanners;
	struct body_buffers buffers;
	/* Grows before a name's entry is taken off one drive because another has a newer one: who looked at the other first, and at
	 * this one last, has seen neither. */
	_Atomic uint64_t moves;
	_Atomic uint64_t loss;      /* grows with each loss, from 1 */
	_Atomic uint64_t recovered; /* all that was lost up to this one was pulled again */
	bool is_new;                /* nothing was ever pulled: `loss` 1 */
	_Atomic uint64_t puts, reads, damaged;
	atomic_uint puts_waiting;

	pthread_mutex_t list_mutex; /* guards the list, over the writing of it: a leaf */
	struct drive_list list;

	pthread_mutex_t
		floor_mutex; /* guards the floor as others see it; never held over I/O: a leaf, also under list_mutex */
	struct object_version floor;

	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t quiet;
	uint64_t under_way; /* operations whose `done` is to come, and puts that were begun */
	struct lane lanes[OBJECT_LANES];
};

/* ---- object_store.c ---- */

/* One more operation is under way; one has ended. */
void store_enter(struct object_store *s);
void store_leave(struct object_store *s);

/* Whether the lane of `name` is held now; else wait->go runs when it is. */
bool lane_enter(struct object_store *s, const char *name, struct lane_wait *wait);
void lane_leave(struct object_store *s, const char *name);

/* Runs job(arg) on `e`; on this thread when memory is short. */
void store_run(struct executor *e, job_fn *job, void *arg);

/* What is there of a name: on all drives that can be read. */
struct lookup {
	struct object_entry entry; /* the one that counts */
	struct drive *drive;       /* where it is; NULL: nothing is there */
	size_t count;              /* of what other drives have, which is older */
	struct {
		struct drive *drive;
		struct object_entry entry;
	} other[OBJECT_STORE_DRIVES_MAX];
};

/* 0 also when nothing is there. -EIO no drive can be read. */
int store_lookup(struct object_store *s, const char *name, struct lookup *found);

/* The drive for a new object of that name, but for those in `tried` (a bit each by number). NULL with -ENOSPC, -EROFS or -EIO in *rc. */
struct drive *store_place(struct object_store *s, const char *name, uint64_t bytes, bool tombstone, uint32_t tried,
                          int *rc);
uint32_t store_drive_bit(const struct object_store *s, const struct drive *d);

/* From now on the drives tell when they fail. */
void store_watch_drives(struct object_store *s);

/* Something that was acknowledged is gone. */
void store_lost(struct object_store *s, const char *drive_out);

/* ---- object_put.c ---- */

/* With the lane: what is older than `entry`, which is durable on `drive`, goes. */
void store_remove_older(struct object_store *s, struct drive *drive, const struct object_entry *entry,
                        const struct lookup *before);

/* ---- object_read.c ---- */

/* Reads an object on the calling thread: see object_store_read(). `bytes` may be NULL: only verified. */
int store_read(struct object_store *s, const char *name, uint64_t offset, size_t len, struct object_meta *meta,
               void **bytes, size_t *got);
/* Verifies one copy, its sums too; it is moved aside when it is damaged. */
int store_verify(struct object_store *s, const char *name, struct object_meta *meta);

/* ---- object_list.c ---- */

/* Up to `max` entries in order, of the drives together: see object_index_page(). *complete: there are no more. Returns how many. */
int store_page(struct object_store *s, int bucket, const char *from, const char *after, struct object_entry *entries,
               size_t max, bool *complete);

#endif
