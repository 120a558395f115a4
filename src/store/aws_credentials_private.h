/* SPDX-License-Identifier: GPL-3.0-only */
/* aws_credentials_private.h: where keys come from: what the files aws_*.c share. */
#ifndef GARNER_STORE_AWS_CREDENTIALS_PRIVATE_H
#define GARNER_STORE_AWS_CREDENTIALS_PRIVATE_H

#include "store/aws_credentials.h"

#include <stdbool.h>
#include <stdint.h>

/* The place that was chosen, with all that is needed to ask it again. Strings are its own. */
struct aws_source {
	/* Fills in `keys` and how long they last (renewal.h). Blocks. */
	int (*fetch)(const struct aws_source *s, struct aws_keys *keys, uint64_t *lifetime_ns, struct error *err);
	char what[128];        /* for messages */
	char *path;            /* passwd file, or file of profiles */
	char *profile;         /* its section */
	char *url;             /* whole for a container; scheme and host of the metadata service for an instance */
	char *token_file;      /* holds the Authorization of a container; NULL: */
	char *token;           /* it is this; NULL: none. A secret */
	struct aws_keys *keys; /* from the environment. Secrets */
};

/* Checks and copies; `token` may be NULL. 0, or -EINVAL saying what is wrong with which of them, after `where`. */
int aws_keys_set(struct aws_keys *keys, const char *access_key, const char *secret_key, const char *token,
                 const char *where, struct error *err);

/* Reads section `profile` of the INI file `path`. `*others` (may be NULL) tells whether others than its owner can use
 * the file. Returns 0; -ENOENT when there is no such file; -ENOKEY when it has no such section, or no keys in it;
 * -EINVAL for half a pair of keys, or keys that cannot be; other errors of reading. */
int aws_profile_read(const char *path, const char *profile, struct aws_keys *keys, bool *others, struct error *err);

/* Makes `s` the role of the container that the environment names. 0, also when it names none (then s->fetch stays
 * NULL); -EINVAL when it names one that may not be asked; -ENOMEM. Does not ask it. */
int aws_container_source(const struct aws_credentials_options *options, struct aws_source *s, struct error *err);

/* The same for the role of an EC2 instance, which is always there unless the environment disables it. */
int aws_instance_source(const struct aws_credentials_options *options, struct aws_source *s, struct error *err);

#endif
