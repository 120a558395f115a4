/* SPDX-License-Identifier: GPL-3.0-only */
/* pool_copy.h: copies a pool, or one image of it, into another store, in a way that can be broken off and run again.
 *
 * The copy is the same pool: same uuid, same wrapped key, objects byte for byte, so that it opens with the same secret. Leases and
 * the trash stay behind, and every image arrives released, owned by nobody. The source may be in use by hosts: of each image the
 * copy gets the log as it was at one moment, a prefix of what was written.
 *
 * The order, and why a crash may come at any point:
 *   1. copy/pool, the marker, into an empty place: the later format object under another key. As long as there is no object
 *      "pool" nobody can open the place as a pool, nor make another there; the marker lets a second run go on.
 *   2. Of each image the logs that it is a clone of, then its list of layers, see pool_copy_layers.c; then the segments up to the end,
 *      which was found first. They never change and are put where nothing is. In a copy that is a pool already they only make the gap-free run longer: a later prefix of the same log.
 *   3. Its terms, which nobody reads before there is an epoch; the older epochs; the newest one, marked as released. Until an epoch is
 *      there readers find the terms before it, and with that the shorter log; from then on the longer one, which is whole.
 *   4. Its head, a hint that is verified by whoever uses it, and its trace, likewise.
 *   5. The names, when all images are there: so no name leads to an image that is not whole.
 *   6. "pool", from the marker; then the marker goes. One that is left behind means nothing.
 *
 * A place that is a pool already must be this one, and what is in it must be older: an image that was opened for writing there has
 * an epoch that the source does not have, and is refused, as is a name that stands for something else. Nothing is deleted but snapshots that
 * the source does not have any more, and the list of layers of an image that was flattened; what a clone in the target needs stays.
 */
#ifndef GARNER_IMAGE_POOL_COPY_H
#define GARNER_IMAGE_POOL_COPY_H

#include "image/pool.h"

struct pool_copy_report {
	uint64_t images;                    /* that are whole in the copy now */
	uint64_t segments, bytes;           /* copied; bytes: as stored */
	uint64_t same_segments, same_bytes; /* that were there already */
	uint64_t names;                     /* directory entries put */
	uint64_t left;                      /* names in the copy that the source does not have any more; they stay */
	uint64_t gone;                      /* images that were deleted while they were copied */
	bool made;                          /* there was no pool before */
};

/* Called now and then, at least four times a second while waiting for transfers: stored bytes of segments that are done, and of
 * all there are; `path`: of the image under way, or "". Returns false to stop. */
typedef bool pool_copy_progress_fn(void *arg, const char *path, uint64_t done, uint64_t total);

/* Copies the image at `path` with the directories above it (NULL: everything) from pool `from` into the open store `to`, which
 * stays the caller's. `progress` may be NULL. Every segment is checked on its way as garner verify does. Returns 0; -EINTR when
 * `progress` ended it; -ENOTEMPTY (the place holds other things), -EXDEV (it is another pool, or another copy has been begun there),
 * -EINVAL (it is the source), -EEXIST and -EBUSY (it was changed since it was copied, or is in use), -EBADMSG (the source is
 * damaged, see garner verify), -EAGAIN (names keep changing, or an image its owner, or was flattened meanwhile), -ENOENT or -EISDIR for the path, or what the stores say. After any
 * of them it may be run again. The report is filled in any case. Memory: some 128 MiB at most for segments on their way (or one
 * segment), 32 bytes for each segment of an image, and all directory entries. Blocks; one at a time for a target. */
int pool_copy(struct pool *from, struct store *to, const char *path, struct pool_copy_report *report,
              pool_copy_progress_fn *progress, void *arg, struct error *err);

#endif
