/* SPDX-License-Identifier: GPL-3.0-only */
/* disk_file.h: the disk at either end of a copy (copy.h): a file of this host, or an image of a store (store_images.h); and where such
 * disks have their names. All calls block, and return 0 or a negative errno.
 */
#ifndef GARNER_CLI_DISK_FILE_H
#define GARNER_CLI_DISK_FILE_H

#include "base/error.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct disk_file;
struct disk_place;

struct disk_look {
	uint64_t size; /* bytes */
	uint32_t mode; /* permission bits */
	bool fixed;    /* it has no time of its last change: a block device */
	int64_t mtime_s;
	uint32_t mtime_ns;
};

struct disk_file_ops {
	/* The truth, not what a cache of attributes remembers. */
	int (*look)(struct disk_file *f, struct disk_look *look);
	/* All `len` bytes, or -ENODATA when the disk ends first. */
	int (*read)(struct disk_file *f, uint8_t *buf, size_t len, uint64_t offset);
	int (*write)(struct disk_file *f, const uint8_t *buf, size_t len, uint64_t offset);
	/* Makes a range read as zeros and gives its space back. -EOPNOTSUPP: zeros have to be written. */
	int (*punch)(struct disk_file *f, uint64_t offset, uint64_t len);
	/* The first data, or hole, from `offset` on: UINT64_MAX when there is none. Where holes cannot be told all is data. */
	int (*next)(struct disk_file *f, uint64_t offset, bool data, uint64_t *found);
	int (*resize)(struct disk_file *f, uint64_t size);
	void (*close)(struct disk_file *f);
};

struct disk_file {
	const struct disk_file_ops *ops;
};

struct disk_place_ops {
	/* A disk to be read. -EINVAL when it is neither a file nor a device. */
	int (*open_source)(struct disk_place *p, const char *name, struct disk_file **file, struct error *err);
	/* Whether a disk has the name already: 1, 0. -EEXIST: something that is none. It need not be readable. */
	int (*is_there)(struct disk_place *p, const char *name, struct error *err);
	/* The part of a copy to `to`, made if it is not there; `part` becomes its name. -EBUSY when another command is at it. */
	int (*open_part)(struct disk_place *p, const char *to, uint32_t mode, char part[PATH_MAX],
	                 struct disk_file **file, struct error *err);
	/* Makes it durable and gives it its name. -EEXIST when something has it, and may not be replaced. *named says whether the
	 * part is gone, also after an error. */
	int (*name_part)(struct disk_place *p, struct disk_file *file, const char *part, const char *to, bool replace,
	                 bool *named, struct error *err);
};

struct disk_place {
	const struct disk_place_ops *ops;
};

/* Files and block devices by their paths. */
struct disk_place *disk_place_files(void);

#endif
