/* SPDX-License-Identifier: GPL-3.0-only */
/* store_images.h: the images of a store without a mount: an engine in this process, with a cache directory of its own, in TMPDIR (or
 * /var/tmp), which takes up to a gigabyte and goes at the end.
 *
 * To others this is a host like any: it may be kept waiting by an owner, and owns what it writes until it is closed. One thread.
 */
#ifndef GARNER_CLI_STORE_IMAGES_H
#define GARNER_CLI_STORE_IMAGES_H

#include "cli/disk_file.h"
#include "cli/target.h"

struct store_images;

/* Opens the pool in store `word`, which is a URL, or a directory that holds a pool. */
int store_images_open(const char *word, const struct target_key *key, bool read_only, struct store_images **s,
                      struct error *err);
/* Hands over what was written to. 0: all of it is in the store. Frees, in any case. */
int store_images_close(struct store_images *s, struct error *err);

/* Its images by their paths in the pool ("a/b.raw"); as a source also "a/b.raw@SNAPSHOT". What is copied there is in the store when it gets its
 * name. */
struct disk_place *store_images_place(struct store_images *s);

/* Fences the image's owner, and hands it over again: any host may open it then. `owner` becomes "HOSTNAME (HOST-ID)", or "". */
int store_images_take_over(struct store_images *s, const char *path, char owner[128], struct error *err);

#endif
