/* SPDX-License-Identifier: GPL-3.0-only */
/* aws_credentials.h: the keys that sign requests to S3: found where AWS's own tools look, and renewed before they run
 * out.
 *
 * The first of these that there is: a passwd file that was given; AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
 * AWS_SESSION_TOKEN; the profile AWS_PROFILE or "default" in AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials; the
 * role of an ECS or EKS container (AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI,
 * AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE or _TOKEN); the role of an EC2 instance (IMDSv2, at
 * AWS_EC2_METADATA_SERVICE_ENDPOINT, unless AWS_EC2_METADATA_DISABLED is "true"). What is chosen stays chosen; refused
 * keys are read from there again, so that a file can be changed under a running mount. Knows nothing of S3.
 */
#ifndef GARNER_STORE_AWS_CREDENTIALS_H
#define GARNER_STORE_AWS_CREDENTIALS_H

#include "base/error.h"
#include "store/environment.h"

#include <stdint.h>

#define AWS_ACCESS_KEY_MAX 128
#define AWS_SECRET_KEY_MAX 128
#define AWS_SESSION_TOKEN_MAX 4096

struct aws_credentials;

/* Wipe with sodium_memzero() after use. */
struct aws_keys {
	char access_key[AWS_ACCESS_KEY_MAX + 1];
	char secret_key[AWS_SECRET_KEY_MAX + 1];
	char session_token[AWS_SESSION_TOKEN_MAX + 1]; /* "" for keys that last */
};

/* Nothing of it is used after aws_credentials_open(). */
struct aws_credentials_options {
	const char *passwd_file; /* ACCESS:SECRET (see passwd_file.h); NULL: none */
	struct environment environment;
	const char *home;           /* NULL: HOME */
	const char *container_host; /* for tests; NULL: http://169.254.170.2 */
	uint64_t patience_ms; /* with faults that pass, until the first keys: renewal.h; 0: they are asked for once */
};

/* Finds the keys and begins to renew them. Returns 0 and `*credentials`; -ENOKEY when there are none anywhere (and
 * names all the ways); -EACCES, -EINVAL ... when what was given explicitly cannot be used (and says why, never a
 * secret). Blocks: for a role until it is known, and where nothing is given about a second, for an EC2 metadata service
 * that is not there, which is not waited for any longer. */
int aws_credentials_open(const struct aws_credentials_options *options, struct aws_credentials **credentials,
                         struct error *err);

/* Blocks until a renewal that is under way has ended, at most some 15 seconds. No other call may be under way. NULL is
 * ignored. */
void aws_credentials_close(struct aws_credentials *c);

/* Copies the keys as of now, and which ones they are into `*generation` (never 0), for aws_credentials_refused(). 0, or
 * -EAGAIN while they have run out and are being renewed, with the reason if that goes badly. Any thread; never blocks for
 * long. */
int aws_credentials_get(struct aws_credentials *c, struct aws_keys *keys, uint64_t *generation, struct error *err);

/* The server said that the keys of that generation are unknown or have run out (not that they may not do something): they
 * are fetched again, at most once per second, unless there are others by now. Any thread; never blocks for long. */
void aws_credentials_refused(struct aws_credentials *c, uint64_t generation);

#endif
