/* SPDX-License-Identifier: GPL-3.0-only */
/* delta.h: what differs between two moments of an image, out of a mount as a stream, and into another mount. garner-delta(5)
 *
 * An import goes on where the image is at the moment at which the stream begins, and gives it the moment at which it ends. While
 * it runs the image has a snapshot DELTA_MARKER; who finds that knows that what is there is neither of the two moments, and
 * first takes back what was changed since the first. Blocks.
 */
#ifndef GARNER_CLI_DELTA_H
#define GARNER_CLI_DELTA_H

#include "cli/moment.h"

#define DELTA_MARKER "import-unfinished"

struct delta_options {
	bool replace; /* whether a file of that name may be replaced, by an export */
	/* Called after each step with how far it is; returns false to break off. */
	bool (*step)(void *arg, uint64_t done, uint64_t total);
	void *arg;
};

struct delta_counts {
	uint64_t data, zeros; /* bytes of the image */
	uint64_t stream;      /* bytes of the stream */
	bool there_before;    /* import: the image had that moment already */
	bool half_way;        /* import: it failed, and the image is neither what it was nor what it should be */
	char from_name[SNAPSHOT_NAME_MAX + 1],
		to_name[SNAPSHOT_NAME_MAX + 1]; /* of the stream's moments, "" for none */
};

/* Writes what differs from `from` (NULL: all of it) at `to` into file `file`, which is there when it is whole; "-" is standard
 * output. Neither moment was found yet. -EINTR when step() said so. */
int delta_export(struct moment *from, struct moment *to, const char *file, const struct delta_options *options,
                 struct delta_counts *counts, struct error *err);

/* Brings `image` from the moment at which the stream in `file` ("-": standard input) begins to that at which it ends. A file is checked to its
 * end before anything is changed. -ENOENT, -ESTALE: the image has not the first moment; -EBUSY: it has changed since then;
 * -EBADMSG: the stream is damaged. */
int delta_import(const char *image, const char *file, const struct delta_options *options, struct delta_counts *counts,
                 struct error *err);

#endif
