/* SPDX-License-Identifier: GPL-3.0-only */
/* verify.h: reads everything that a pool holds of its images and checks that it is whole.
 *
 * Of every image: each segment of the gap-free run (header, its place, the hash chain, index, table, every chunk, every
 * slot's checksum), and the newest checkpoint with all map nodes below it. Changes nothing. Segments past the end, or of an
 * epoch that was fenced, are no errors: they are counted as stray. Memory: a few segments, and two bits per slot of the image.
 */
#ifndef GARNER_IMAGE_VERIFY_H
#define GARNER_IMAGE_VERIFY_H

#include "image/pool.h"

#define VERIFY_TEXTS 20

struct verify_report {
	uint64_t images, segments, bytes; /* checked; bytes: as stored */
	uint64_t stray;                   /* segments that do not count */
	uint64_t cleaned;                 /* segments that cleaning took, and nothing leads to */
	uint64_t errors;
	size_t text_count;                       /* of the first VERIFY_TEXTS errors */
	char text[VERIFY_TEXTS][ERROR_TEXT_MAX]; /* "a/b.raw: segment 7: ..." */
};

/* Called now and then; `last`: the number of the image's last segment. Returns false to stop. */
typedef bool verify_progress_fn(void *arg, const char *path, uint64_t segment, uint64_t last);

/* Verifies the image at `path` (NULL: every image, and that every directory entry can be read and reached). Returns 0 when it has
 * looked at everything: report->errors says with what result; -EINTR when `progress` (may be NULL) ended it; -ENOENT or
 * -EISDIR for the path; or what the store says when it is away. The report is filled in any case. Blocks. */
int pool_verify(struct pool *p, const char *path, struct verify_report *report, verify_progress_fn *progress, void *arg,
                struct error *err);

#endif
