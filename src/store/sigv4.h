/* SPDX-License-Identifier: GPL-3.0-only */
/* sigv4.h: signs one HTTP request for S3 with AWS signature version 4. Pure: the time comes in, nothing is sent.
 *
 * The rules: path and query are percent-encoded here, once, and what was signed comes back for the URL, so that both
 * are the same bytes. Whoever sends the request must leave dot components of the path as they are
 * (CURLOPT_PATH_AS_IS), must send the extra headers with the values given here, and the Host header as given here
 * (with ":port" where the port is not the scheme's own). A signing key is derived anew each time: four HMACs of a
 * few bytes. Must never put a secret into a message.
 */
#ifndef GARNER_STORE_SIGV4_H
#define GARNER_STORE_SIGV4_H

#include "base/error.h"

#include <stddef.h>
#include <time.h>

#define SIGV4_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"

#define SIGV4_QUERY_MAX 32   /* pairs */
#define SIGV4_HEADERS_MAX 16 /* extra signed headers */
#define SIGV4_TEXT_MAX 4096  /* bytes of a path, a name or a value; a session token has at most twice as many */

/* What sigv4_sign() gives: Authorization, x-amz-date, x-amz-content-sha256, and x-amz-security-token with a token. */
#define SIGV4_LINES_MAX 4

struct sigv4_pair {
	const char *name;
	const char *value; /* in a query NULL means "" */
};

struct sigv4_request {
	const char *method; /* "GET" */
	const char *host;   /* as in the Host header */
	const char *path;   /* not encoded, begins with '/' */

	const struct sigv4_pair *query; /* not encoded, in any order */
	size_t query_count;
	const struct sigv4_pair *headers; /* names in lower case, in any order; not host and none of ours */
	size_t header_count;

	const char *payload_sha256_hex; /* of the body (64 lower-case digits), or SIGV4_UNSIGNED_PAYLOAD */
	time_t now;
	const char *region;
	const char *service; /* "s3" */
	const char *access_key;
	const char *secret_key;
	const char *session_token; /* or NULL */
};

struct sigv4_signed {
	char *target;                 /* "/path?query", encoded: what follows "https://host" in the URL */
	char *lines[SIGV4_LINES_MAX]; /* "Name: value", Authorization first */
	size_t line_count;
};

/* Signs `request`. Returns 0 with `*result` owned by the caller, to be given to sigv4_signed_destroy(); -EINVAL when
 * a part of the request is missing, too long, or has characters it cannot have (a line break in a header's value,
 * say: `err` names the part, and never shows a key or token), or the time is no year of four digits; -ENOMEM; -EIO
 * when libsodium does not work. `*result` is empty after a failure. Any thread; never blocks. */
int sigv4_sign(const struct sigv4_request *request, struct sigv4_signed *result, struct error *err);

/* Wipes and frees what `result` holds, and leaves it empty. An empty one is ignored. */
void sigv4_signed_destroy(struct sigv4_signed *result);

#endif
