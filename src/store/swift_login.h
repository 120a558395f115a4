/* SPDX-License-Identifier: GPL-3.0-only */
/* swift_login.h: logging in to OpenStack Swift: the storage URL and a token, renewed before it runs out.
 *
 * Two ways: version 1 (TempAuth and its like), where a GET with user and key is answered with both; and Keystone
 * version 3, where a POST is answered with a token and a catalog that has the URL. An auth URL that ends in /v3 is
 * Keystone's, one that ends in /v1 or /v1.0 is not; of any other, that it is comes from a project, a domain or an
 * application credential being given. Knows nothing of containers and objects.
 */
#ifndef GARNER_STORE_SWIFT_LOGIN_H
#define GARNER_STORE_SWIFT_LOGIN_H

#include "base/error.h"
#include "store/environment.h"
#include "store/http_tls.h"

#include <stdint.h>

#define SWIFT_STORAGE_URL_MAX 511
#define SWIFT_TOKEN_MAX 4096

struct swift_login;

/* NULL: not given. Nothing of it is used after swift_login_open(). */
struct swift_login_options {
	const char *auth_url;
	const char *user;
	const char *key;         /* a secret */
	const char *passwd_file; /* USER:KEY, or the key alone (see passwd_file.h), when `key` is not given */
	const struct http_tls *tls;
	uint64_t timeout_ms;  /* of one log-in; 0: 10 s */
	uint64_t patience_ms; /* with faults that pass, until the first log-in: renewal.h; 0: it is tried once */

	/* Keystone's alone. */
	const char *project;
	const char *user_domain;    /* name; NULL: the domain whose id is "default" */
	const char *project_domain; /* name; NULL: as user_domain */
	const char *region;         /* NULL: the only one that has an object store */
	const char *interface;      /* "public" (NULL), "internal" or "admin" */
	const char *application_credential_id;
	const char *application_credential_secret; /* a secret; NULL: from the passwd file */
};

/* Wipe with sodium_memzero() after use. */
struct swift_session {
	char storage_url[SWIFT_STORAGE_URL_MAX + 1]; /* allowed by http_url_allowed(), without slashes at its end */
	char token[SWIFT_TOKEN_MAX + 1];
	uint64_t generation; /* which log-in this is of, for swift_login_refused(): the token itself need not be kept */
};

/* Fills in what is not given: from ST_AUTH, ST_USER and ST_KEY for version 1; from OS_AUTH_URL, OS_USERNAME,
 * OS_PASSWORD, OS_PROJECT_NAME, OS_USER_DOMAIN_NAME, OS_PROJECT_DOMAIN_NAME, OS_REGION_NAME, OS_INTERFACE and
 * OS_APPLICATION_CREDENTIAL_ID/SECRET for Keystone. Without an auth URL, ST_AUTH counts before OS_AUTH_URL. Where a
 * passwd file is given, no key is taken from the environment. The strings stay the environment's. */
void swift_login_options_from_env(const struct environment *environment, struct swift_login_options *options);

/* Logs in, and begins to renew. Returns 0 and `*login`; -EINVAL when something is missing or there is no log-in at that
 * URL (and says what to give); -EACCES when the user is refused (naming the user, never the key), or the passwd file is
 * open to others; -EPROTO an answer that makes no sense; -EIO the server has a fault; and what http_call() returns.
 * Blocks. */
int swift_login_open(const struct swift_login_options *options, struct swift_login **login, struct error *err);

/* Blocks until a log-in that is under way has ended, at most its timeout. No other call may be under way. NULL is
 * ignored. */
void swift_login_close(struct swift_login *l);

/* Copies the session as of now. 0, or -EAGAIN while it has run out and is being renewed, with the reason if that goes
 * badly. Any thread; never blocks for long. */
int swift_login_get(struct swift_login *l, struct swift_session *session, struct error *err);

/* A request with the token of that generation was answered 401: it is renewed at once (at most once per second), unless
 * there is another one by now. Any thread; never blocks for long. */
void swift_login_refused(struct swift_login *l, uint64_t generation);

#endif
