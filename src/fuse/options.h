/* SPDX-License-Identifier: GPL-3.0-only */
/* options.h: the command line of garnerfs and of mount.garnerfs.
 *
 * Only reads and checks words; touches no file. Also knows the options that mount(8) and fstab add: those that are for others
 * are passed over, those that are the kernel's are passed on. */
#ifndef GARNER_FUSE_OPTIONS_H
#define GARNER_FUSE_OPTIONS_H

#include "base/error.h"
#include "image/image.h"

#include <stdbool.h>

#define THREADS_DEFAULT 16
#define THREADS_MAX 128

enum mount_action {
	ACTION_MOUNT,
	ACTION_HELP,
	ACTION_VERSION,
	ACTION_NOTHING, /* mount -f: all but the mount */
};

struct mount_options {
	enum mount_action action;
	struct engine_options engine; /* its strings are those below */
	char *store, *mountpoint;
	char *cache_dir, *key_file, *passphrase_file;
	char *passwd_file, *ca_file, *client_cert, *client_key;
	char *kernel_options; /* "nosuid,nodev", "" when there are none */
	bool foreground;
	bool debug;
	bool allow_other, default_permissions;
	unsigned threads; /* of the FUSE loop */
};

/* Reads the command line. `root` says whether the caller may mount for others, which decides two defaults. Returns 0, or
 * -EINVAL with a text that names the word, or -ENOMEM. End with options_free(), also after an error. `argv` may be
 * permuted. Not thread-safe (getopt). */
int options_parse(int argc, char **argv, bool root, struct mount_options *o, struct error *err);
void options_free(struct mount_options *o);

/* Makes relative file names absolute, since the daemon leaves the directory it was started in. The store's URL is checked
 * by the engine, and is absolute as it is. Returns 0 or a negative errno. */
int options_make_absolute(struct mount_options *o, struct error *err);

/* What --help prints. */
extern const char options_help[];

#endif
