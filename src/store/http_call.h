/* SPDX-License-Identifier: GPL-3.0-only */
/* http_call.h: one HTTP request, waited for: for log-ins and metadata, never for data.
 *
 * A connection of its own, no redirects, no retries: whoever calls decides what an answer means. Nothing of what is
 * sent or received comes into a message but the host's name and the status. (libcurl's own buffers are freed, but not
 * wiped.)
 */
#ifndef GARNER_STORE_HTTP_CALL_H
#define GARNER_STORE_HTTP_CALL_H

#include "base/error.h"
#include "store/http_tls.h"

#include <stddef.h>
#include <stdint.h>

struct http_call {
	const char *method;         /* "GET", "PUT", "POST", ... */
	const char *url;            /* checked with http_url_allowed() */
	const char *const *headers; /* lines "Name: value", ended by NULL; may be NULL */
	const void *body;           /* NULL: none */
	size_t body_length;
	const struct http_tls *tls; /* may be NULL */
	uint64_t timeout_ms;        /* for all of it; 0: 10 s */
	uint64_t connect_ms;        /* to be connected; 0: as long as for all of it */
	size_t reply_max;           /* bytes of body; more is an error; 0: 64 KiB */
};

struct http_reply {
	long status;
	char *body; /* followed by a NUL that does not count; never NULL after success */
	size_t length;
	CURL *easy; /* holds the headers */
};

/* Asks, and waits for the whole answer, whatever its status: 0, and `*reply` is to be destroyed. Otherwise a negative
 * errno with the host and what to do in `err`, and nothing to destroy: -EINVAL a URL that http_url_allowed() refuses,
 * or a control character in a header; -ETIMEDOUT; -EHOSTUNREACH no connection, or no such name; -EKEYREJECTED TLS
 * failed (certificates); -EMSGSIZE the answer is too large (its head: 64 KiB); -EPROTO it is not HTTP; -EIO the
 * connection broke; -ENOMEM; and what http_tls_apply() returns. Any thread; blocks, at most for the timeout (names are
 * looked up within it where libcurl can). */
int http_call(const struct http_call *call, struct http_reply *reply, struct error *err);

/* The value of the first header of that name (in any case), or NULL. Lives until the next call for the same reply. */
const char *http_reply_header(const struct http_reply *reply, const char *name);

/* Wipes the body and frees. Also for a reply that is all zeros. */
void http_reply_destroy(struct http_reply *reply);

#endif
