/* SPDX-License-Identifier: GPL-3.0-only */
/* defrag.h: what is read in disk order, and lies scattered over the log, is appended to the log again in that order. Private to src/image.
 *
 * A store is read in chunks. A database that was written at random and is read from one end to the other has a chunk fetched for every few
 * grains of it: then, while those chunks are here, their grains are moved, as cleaning moves them (move.c), and the next reader
 * who has not got them fetches what it reads and not many times as much. Cleaning takes away what that leaves behind.
 *
 * Only in images that this host owns, while gc_target lets cleaning go on by itself, and where neither history nor a snapshot nor a clone
 * keeps what is moved where it was, too. Little is fetched again for it, and it goes slowly, and not at all while much waits for the
 * store.
 */
#ifndef GARNER_IMAGE_DEFRAG_H
#define GARNER_IMAGE_DEFRAG_H

#include "base/error.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define DEFRAG_RANGES 32

struct image;

struct defrag {
	pthread_mutex_t mutex; /* guards what follows */
	struct defrag_range {
		uint64_t begin, end; /* bytes of the disk */
	} range[DEFRAG_RANGES];
	unsigned count;

	/* Of the thread that moves: */
	uint64_t looked_ns; /* when it was asked for snapshots; 0: never */
	bool held;          /* there are some, or that is not known */
};

void defrag_init(struct defrag *d);
void defrag_destroy(struct defrag *d);

/* For a sequential reader of [begin, end) so many bytes are fetched. Any thread; never blocks on anything but memory. */
void defrag_note(struct image *i, uint64_t begin, uint64_t end, uint64_t fetched);

/* Moves some of what was noted. The caller has a reference, and calls it on one thread, which may block on the disk. 0, or why it could
 * not; then that part is left as it is. */
int defrag_step(struct image *i, struct error *err);

#endif
