/* SPDX-License-Identifier: GPL-3.0-only */
/* http_tls.h: which servers may be spoken to, and how they prove who they are: one set of rules for all that speaks
 * HTTP.
 *
 * TLS 1.2 or newer with a verified certificate, or plain HTTP where nobody can listen in: on the host itself, or where
 * the operator allowed it. Knows nothing of what is sent.
 */
#ifndef GARNER_STORE_HTTP_TLS_H
#define GARNER_STORE_HTTP_TLS_H

#include "base/error.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>

struct http_tls {
	const char *ca_file;     /* PEM: the authorities that count; NULL: the system's */
	const char *client_cert; /* PEM: shown to servers that ask; NULL: none */
	const char *client_key;  /* PEM: its key; NULL: in the same file */
	bool allow_plain;        /* plain http:// to any host */
};

/* Copies the strings too: 0 or -ENOMEM. `from` may be NULL. Release the copy with http_tls_release(), also after
 * -ENOMEM. */
int http_tls_copy(const struct http_tls *from, struct http_tls *to);
void http_tls_release(struct http_tls *copy);

/* Makes libcurl ready on the first call: before the first curl_easy_init(). The functions below do so themselves. 0 or
 * -ENOMEM. Any thread. */
int http_library_init(void);

/* Sets the rules on a handle: http and https only, no redirects, TLS as `tls` says (NULL: the system's authorities), no
 * signals. The strings are copied. Returns 0; -EINVAL for a key without a certificate; -ENOENT, -EACCES ... when a file
 * cannot be read, naming it; -ENOMEM. */
int http_tls_apply(const struct http_tls *tls, CURL *easy, struct error *err);

/* Whether `url` may be asked: http or https, a host, no user or password in it; and plain http only to a loopback
 * address (127.0.0.0/8, ::1, localhost), or anywhere when `tls` (which may be NULL) allows it. Returns 0, -EINVAL with
 * a text that says what to write instead (and never quotes a URL that has a password in it), or -ENOMEM. Any thread;
 * asks no name server. */
int http_url_allowed(const char *url, const struct http_tls *tls, struct error *err);

/* Where a URL's host is, as far as that can be told without asking a name server. */
enum http_place {
	HTTP_PLACE_LOOPBACK,   /* this host */
	HTTP_PLACE_LINK_LOCAL, /* the cloud's metadata services: 169.254.0.0/16, fe80::/10 and fd00:ec2::/32 */
	HTTP_PLACE_ELSEWHERE,  /* any other host, and whatever is no URL */
};
enum http_place http_url_place(const char *url);

/* Writes "host" or "host:port" of `url` into `host` for messages, and returns it; "the server" when there is none. */
#define HTTP_HOST_TEXT_MAX 128
const char *http_url_host(const char *url, char host[HTTP_HOST_TEXT_MAX]);

#endif
