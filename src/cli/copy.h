/* SPDX-License-Identifier: GPL-3.0-only */
/* copy.h: copies one disk, sparse, in a way that can be broken off and run again.
 *
 * The copy grows as TO.garner-part and gets its name when it is whole and synced, so under that name there is all or nothing.
 * A copy that finds the part of an earlier one compares it with the source and writes only what differs: this is right
 * whatever became of the source or of the part meanwhile, and what was not written yet is a hole, which costs no reading.
 * Knows nothing of what the disks are.
 */
#ifndef GARNER_CLI_COPY_H
#define GARNER_CLI_COPY_H

#include "base/error.h"
#include "cli/disk_file.h"
#include "cli/whole_file.h"

#include <stdbool.h>
#include <stdint.h>

#define COPY_PART_SUFFIX WHOLE_FILE_SUFFIX

struct copy_options {
	bool replace; /* whether a disk named `to` may be replaced */
	/* Called after each step with the bytes done and their total; returns false to break off. */
	bool (*step)(void *arg, uint64_t done, uint64_t total);
	void *arg;
};

struct copy_counts {
	uint64_t size;    /* of the source */
	uint64_t data;    /* bytes of it that are not in holes */
	uint64_t written; /* bytes that had to be written */
	bool same_before; /* the target was there already, with the same bytes */
	bool part_left;   /* it failed, and the part is there to go on from */
};

/* One end of a copy. */
struct copy_end {
	struct disk_place *place;
	const char *name;
};

/* Copies disk `from` to `to`. A disk `to` that holds the same bytes already is success, with nothing written. -EEXIST when it
 * holds others and may not be replaced; -EBUSY when another copy to `to` runs; -EAGAIN when the source changed meanwhile; -EINTR
 * when step() said so. */
int copy_disk(const struct copy_end *from, const struct copy_end *to, const struct copy_options *options,
              struct copy_counts *counts, struct error *err);

#endif
