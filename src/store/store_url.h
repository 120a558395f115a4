/* SPDX-License-Identifier: GPL-3.0-only */
/* store_url.h: takes apart the URL of a remote store: s3://BUCKET/PREFIX?name=value&..., swift://CONTAINER/PREFIX?... or
 * node://HOST:PORT,HOST:PORT/POOL?...
 *
 * The rules: a URL is seen by others (in ps, fstab, logs), so that it holds no secret. A parameter that looks like
 * one is refused, and so is a user or password in a server's address; no message shows a parameter's value, nor a
 * part of a URL that could not be taken apart. Pure; does not know which parameters there are: the caller says so.
 */
#ifndef GARNER_STORE_STORE_URL_H
#define GARNER_STORE_STORE_URL_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define STORE_URL_MAX 511           /* bytes */
#define STORE_URL_CONTAINER_MAX 256 /* bytes; of an S3 bucket 63 */
#define STORE_URL_PARAMETERS_MAX 32

/* May be copied by assignment. */
struct store_url {
	char scheme[8];                              /* "s3", "swift" or "node" */
	char hosts[STORE_URL_MAX + 1];               /* of node: "HOST:PORT,HOST:PORT", or "" */
	char container[STORE_URL_CONTAINER_MAX + 1]; /* or bucket, or pool */
	char prefix[STORE_URL_MAX + 1];              /* without '/' at either end; may be empty */

	/* ---- for the functions below ---- */
	char shown[STORE_URL_MAX + 1];
	char text[STORE_URL_MAX + 1]; /* names and values of the parameters, decoded, each with its end */
	struct {
		uint16_t name, value; /* where in `text` */
	} parameters[STORE_URL_PARAMETERS_MAX];
	size_t parameter_count;
};

/* Takes `url` apart. The bucket follows the rules of S3 (3 to 63 of [a-z0-9.-], a letter or digit at both ends, not
 * an address); a Swift container has 1 to 256 of [A-Za-z0-9._-]; a pool of nodes is as of object_pool_valid(), with hosts before it, or
 * none, and no prefix. The prefix consists of components of
 * [A-Za-z0-9._-]. The query is percent-decoded ('+' stays what it is); of its names, those in `known` may occur,
 * once each and with a value, but never one that contains "secret", "password", "passphrase", "key" or "token",
 * known or not. Returns 0 with `*out`; or -EINVAL with a text that says what is wrong and shows an example, or lists
 * the known names. Any thread. */
int store_url_parse(const char *url, const char *const *known, size_t known_count, struct store_url *out,
                    struct error *err);

/* The value of a parameter, not empty, or NULL when it was not given. Lives as long as `url`. */
const char *store_url_parameter(const struct store_url *url, const char *name);

/* The URL for messages: nothing in it is secret; the query as it was given; no '/' at the end of the prefix. It
 * means the same as the URL that was parsed. Lives as long as `url`. */
const char *store_url_show(const struct store_url *url);

#endif
