/* SPDX-License-Identifier: GPL-3.0-only */
/* whole_file.h: files that get their names when they are whole and synced, so that under a name there is all or nothing; and
 * reading and writing all of something at once.
 */
#ifndef GARNER_CLI_WHOLE_FILE_H
#define GARNER_CLI_WHOLE_FILE_H

#include "base/error.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define WHOLE_FILE_SUFFIX ".garner-part"

/* Reads all `len` bytes, or answers -ENODATA when the file ends first. */
int file_read_all(int fd, uint8_t *buf, size_t len, uint64_t offset);
int file_write_all(int fd, const uint8_t *buf, size_t len, uint64_t offset);

/* Opens TO.garner-part, made if it is not there, for reading and writing, locked; `part` becomes its path. -EBUSY when another
 * command is at it. */
int whole_file_open(const char *to, mode_t mode, char part[PATH_MAX], int *fd, struct error *err);

/* Syncs it and gives it its name. -EEXIST when there is a file of that name, and it may not be replaced. *named says whether the
 * part is gone, also after an error. */
int whole_file_name(int fd, const char *part, const char *to, bool replace, bool *named, struct error *err);

#endif
