/* SPDX-License-Identifier: GPL-3.0-only */
/* moment.h: moments of images as they are named on the command line: IMAGE@SNAPSHOT, or IMAGE, which is now; and IMAGE@TIME or
 * IMAGE@SEGMENT.RECORD, a position of the log, where any moment will do.
 *
 * "Now" becomes a snapshot of its own where a moment is needed that stays what it is; it is deleted when the moment is let go.
 * Only for images in a mount. Blocks on the daemon.
 */
#ifndef GARNER_CLI_MOMENT_H
#define GARNER_CLI_MOMENT_H

#include "ctl/ctl.h"

#include <limits.h>

struct moment {
	char path[PATH_MAX];       /* of the image */
	struct snapshot_info s;    /* its name is "" for now; the rest is known after moment_find() */
	bool passing;              /* the snapshot was made by moment_find() ... */
	bool in_doubt;             /* ... or may be, later: it was not waited for */
	uint64_t image;            /* its id */
	bool may_be_past, is_past; /* it can be meant as, or was found as, a moment that has no name: */
	struct image_moment past;
};

/* "IMAGE@NAME" or "IMAGE", cut up. What is there as a file is an image, whatever is in its name. -EINVAL, -ENAMETOOLONG. */
int moment_parse(const char *word, struct moment *m, struct error *err);
/* The same where times and positions may be given; a snapshot that has such a name is meant first. */
int moment_parse_any(const char *word, struct moment *m, struct error *err);
/* "SEGMENT.RECORD", or a time as time_parse() reads it, up to now. -EINVAL. */
int moment_parse_past(const char *text, struct image_moment *m, struct error *err);
/* The same where a snapshot has to be named. */
int moment_parse_named(const char *word, struct moment *m, struct error *err);

/* Another snapshot of the same image, by its name. */
int moment_beside(const struct moment *m, const char *word, struct moment *other, struct error *err);

/* A connection to the daemon that has the image, and the image's id. */
int moment_connect(const char *path, struct ctl_client **client, uint64_t *id, struct error *err);

/* Finds the snapshot, or makes one of now, whose name begins with `label`. End with moment_release(), also after an error. */
int moment_find(struct moment *m, const char *label, struct error *err);

/* Deletes the snapshot if it was made by moment_find(); a failure is reported. */
void moment_release(struct moment *m);

/* Opens the snapshot's file for reading. */
int moment_open(const struct moment *m, int *fd, struct error *err);

/* Calls each() for what differs between two moments of one image that were found (`from` NULL: from an empty image), as
 * image_diff() does. The daemon is asked piece by piece, so each() may take its time. */
int moment_diff(const struct moment *from, const struct moment *to, image_range_fn *each, void *arg, struct error *err);

#endif
