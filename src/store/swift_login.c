/* SPDX-License-Identifier: GPL-3.0-only */
/* swift_login.c: keeping a session with Swift, and logging in the first way, version 1. Must never put a key or a token
 * into a message. */
#include "store/swift_login.h"

#include "store/http_call.h"
#include "store/login_time.h"
#include "store/passwd_file.h"
#include "store/renewal.h"
#include "store/swift_login_private.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARGIN_NS (UINT64_C(300) * 1000000000)
#define FIELD_MAX PASSWD_FIELD_MAX
#define EXPIRES_MAX 12 /* digits */

struct swift_login {
	struct swift_login_options options; /* with strings of its own */
	struct http_tls tls;
	bool keystone;
	struct renewal *renewal;
};

/* ---- what both ways share ---- */

int swift_login_explain(long status, const struct swift_login_options *o, const char *name, struct error *err)
{
	char host[HTTP_HOST_TEXT_MAX];

	http_url_host(o->auth_url, host);
	if (status == 401 || status == 403)
		return error_set(err, -EACCES, "%s refused user '%s' (%ld): check the user, the key%s", host, name,
		                 status, o->project ? ", the project and the domains" : "");
	/* TempAuth says 400 of a path that it does not know; Keystone, of much else. */
	if (status == 404 || status == 405 || status == 410 || (status >= 300 && status < 400) ||
	    (status == 400 && !swift_login_is_keystone(o)))
		return error_set(
			err, -EINVAL,
			"there is no log-in at %s (it answered %ld); check the auth URL: for version 1 it is like "
			"https://host/auth/v1.0, for Keystone like https://host:5000/v3",
			o->auth_url, status);
	return error_set(err, -EIO, "%s could not log in user '%s': it answered %ld", host, name, status);
}

static bool is_token(const char *token)
{
	size_t length = strlen(token);

	for (const char *p = token; *p; p++)
		if (*p <= ' ' || *p > '~')
			return false;
	return length > 0 && length <= SWIFT_TOKEN_MAX;
}

int swift_session_set(struct swift_session *session, const char *url, const char *token,
                      const struct swift_login_options *o, struct error *err)
{
	char host[HTTP_HOST_TEXT_MAX];
	size_t length = url ? strlen(url) : 0;
	int rc;

	http_url_host(o->auth_url, host);
	if (!url || !token)
		return error_set(err, -EPROTO, "%s answered the log-in without a %s; is the auth URL right?", host,
		                 url ? "token" : "storage URL");
	if (!is_token(token))
		return error_set(err, -EPROTO, "%s answered the log-in with a token that cannot be one", host);
	while (length > 0 && url[length - 1] == '/')
		length--;
	if (length == 0 || length > SWIFT_STORAGE_URL_MAX || strpbrk(url, "?#"))
		return error_set(err, -EPROTO, "%s answered the log-in with a storage URL that cannot be one", host);
	memset(session, 0, sizeof *session);
	memcpy(session->storage_url, url, length);
	memcpy(session->token, token, strlen(token));
	rc = http_url_allowed(session->storage_url, o->tls, err);
	return rc < 0 ? error_prefix(err, rc, "the storage URL that %s gave", host) : 0;
}

/* ---- version 1 ---- */

/* A token without a time lasts until it is refused. */
static uint64_t read_lifetime(const char *expires)
{
	size_t digits = expires ? strspn(expires, "0123456789") : 0;

	if (digits == 0 || expires[digits] != '\0')
		return RENEWAL_FOREVER;
	return login_time_between(0, digits > EXPIRES_MAX ? INT64_MAX : strtoll(expires, NULL, 10));
}

/* http_reply_header() gives a value only until the next one is asked for. */
static int read_session(const struct http_reply *reply, const struct swift_login_options *o,
                        struct swift_session *session, uint64_t *lifetime_ns, struct error *err)
{
	char url[SWIFT_STORAGE_URL_MAX + 2];
	const char *token, *value = http_reply_header(reply, "X-Storage-Url");
	bool there = value;

	(void)snprintf(url, sizeof url, "%s", there ? value : "");
	*lifetime_ns = read_lifetime(http_reply_header(reply, "X-Auth-Token-Expires"));
	token = http_reply_header(reply, "X-Auth-Token");
	if (!token)
		token = http_reply_header(reply, "X-Storage-Token");
	return swift_session_set(session, there ? url : NULL, token, o, err);
}

static int fetch_version_1(const struct swift_login_options *o, const struct swift_identity *identity,
                           struct swift_session *session, uint64_t *lifetime_ns, struct error *err)
{
	char user[FIELD_MAX + 32], key[FIELD_MAX + 32];
	const char *const headers[] = { user, key, NULL };
	const struct http_call call = {
		.method = "GET", .url = o->auth_url, .headers = headers, .tls = o->tls, .timeout_ms = o->timeout_ms
	};
	struct http_reply reply = { 0 };
	int rc;

	(void)snprintf(user, sizeof user, "X-Auth-User: %s", identity->name);
	(void)snprintf(key, sizeof key, "X-Auth-Key: %s", identity->secret);
	rc = http_call(&call, &reply, err);
	if (rc == 0 && (reply.status < 200 || reply.status > 299))
		rc = swift_login_explain(reply.status, o, identity->name, err);
	else if (rc == 0)
		rc = read_session(&reply, o, session, lifetime_ns, err);
	http_reply_destroy(&reply);
	sodium_memzero(key, sizeof key);
	return rc;
}

/* ---- options ---- */

#define FIELDS 12

/* Every string of the options, so that what is done to one is done to all. */
static void list_fields(struct swift_login_options *o, const char **fields[FIELDS])
{
	const char **all[FIELDS] = { &o->auth_url,
		                     &o->user,
		                     &o->key,
		                     &o->passwd_file,
		                     &o->project,
		                     &o->user_domain,
		                     &o->project_domain,
		                     &o->region,
		                     &o->interface,
		                     &o->application_credential_id,
		                     &o->application_credential_secret,
		                     NULL };

	memcpy(fields, all, sizeof all);
}

/* Replaces every string by a copy, or by NULL when memory is short. */
static int own_fields(struct swift_login_options *o)
{
	const char **fields[FIELDS];
	int rc = 0;

	list_fields(o, fields);
	for (const char ***f = fields; *f; f++) {
		if (!**f)
			continue;
		**f = strdup(**f);
		if (!**f)
			rc = -ENOMEM;
	}
	return rc;
}

static void wipe_fields(struct swift_login_options *o)
{
	const char **fields[FIELDS];

	list_fields(o, fields);
	for (const char ***f = fields; *f; f++) {
		char *text = (char *)(uintptr_t) * *f;

		if (text)
			sodium_memzero(text, strlen(text));
		free(text);
		**f = NULL;
	}
}

/* That what goes into headers and messages is of a sane length, and has no line breaks in it. */
static int check_fields(const struct swift_login_options *options, struct error *err)
{
	struct swift_login_options o = *options;
	const char **fields[FIELDS];

	list_fields(&o, fields);
	for (const char ***f = fields; *f; f++) {
		const char *text = **f ? **f : "";

		if (*f != &o.passwd_file && strlen(text) > FIELD_MAX)
			return error_set(err, -EINVAL,
			                 "the user, the key or the URL to log in to Swift is longer than %d bytes",
			                 FIELD_MAX);
		for (; *text; text++)
			if ((unsigned char)*text < ' ' || *text == 0x7f)
				return error_set(
					err, -EINVAL,
					"the user, the key or the URL to log in to Swift has control characters in it");
	}
	return 0;
}

static int check_keystone(const struct swift_login_options *o, struct error *err)
{
	if (swift_login_ends_in(o->auth_url, "/v2.0"))
		return error_set(err, -EINVAL,
		                 "Keystone's version 2 cannot be used; give the auth URL of version 3, ending in /v3");
	if (!o->application_credential_id && !o->project)
		return error_set(err, -EINVAL,
		                 "no project to log in to with Keystone: set OS_PROJECT_NAME, or give an application "
		                 "credential");
	if (o->application_credential_id && !o->application_credential_secret && !o->passwd_file)
		return error_set(
			err, -EINVAL,
			"the application credential has no secret: set OS_APPLICATION_CREDENTIAL_SECRET, or give a "
			"passwd file");
	return 0;
}

static int check_options(const struct swift_login_options *o, bool keystone, struct error *err)
{
	bool application = keystone && o->application_credential_id;
	int rc = http_url_allowed(o->auth_url, o->tls, err);

	if (rc < 0)
		return error_prefix(err, rc, "the auth URL");
	rc = check_fields(o, err);
	if (rc == 0 && keystone)
		rc = check_keystone(o, err);
	if (rc < 0)
		return rc;
	if (!application && !o->user && !o->passwd_file)
		return error_set(err, -EINVAL,
		                 "no user to log in to Swift: give user=, a passwd file (USER:KEY), or set %s",
		                 keystone ? "OS_USERNAME" : "ST_USER");
	if (!application && !o->key && !o->passwd_file)
		return error_set(err, -EINVAL,
		                 "no key to log in to Swift as '%s': give a passwd file (USER:KEY), or set %s", o->user,
		                 keystone ? "OS_PASSWORD" : "ST_KEY");
	return 0;
}

/* ---- the session ---- */

static int fetch_session(void *arg, void *value, uint64_t *lifetime_ns, struct error *err)
{
	const struct swift_login *l = arg;
	const struct swift_login_options *o = &l->options;
	bool application = l->keystone && o->application_credential_id;
	struct swift_identity identity = { .name = application ? o->application_credential_id : o->user,
		                           .secret = application ? o->application_credential_secret : o->key };
	struct passwd_entry entry;
	int rc = 0;

	/* The file is read each time, so that the key can be changed under a running mount. */
	if (!identity.secret) {
		rc = passwd_file_read(o->passwd_file, identity.name, &entry, err);
		identity = (struct swift_identity){ .name = entry.name, .secret = entry.secret };
	}
	if (rc == 0)
		rc = l->keystone ? swift_keystone_fetch(o, &identity, value, lifetime_ns, err)
		                 : fetch_version_1(o, &identity, value, lifetime_ns, err);
	sodium_memzero(&entry, sizeof entry);
	return rc;
}

static int start(struct swift_login *l, struct error *err)
{
	char host[HTTP_HOST_TEXT_MAX], what[HTTP_HOST_TEXT_MAX + 32];
	const struct renewal_options options = { .what = what,
		                                 .size = sizeof(struct swift_session),
		                                 .fetch = fetch_session,
		                                 .arg = l,
		                                 .margin_ns = MARGIN_NS,
		                                 .patience_ms = l->options.patience_ms };

	(void)snprintf(what, sizeof what, "the log-in at %s", http_url_host(l->options.auth_url, host));
	return renewal_new(&options, &l->renewal, err);
}

int swift_login_open(const struct swift_login_options *options, struct swift_login **login, struct error *err)
{
	struct swift_login *l;
	bool keystone;
	int rc;

	if (!options->auth_url)
		return error_set(err, -EINVAL,
		                 "no auth URL to log in to Swift: give auth=https://host/auth/v1.0, or set ST_AUTH or "
		                 "OS_AUTH_URL");
	keystone = swift_login_is_keystone(options);
	rc = check_options(options, keystone, err);
	if (rc < 0)
		return rc;
	l = calloc(1, sizeof *l);
	if (!l)
		return error_set(err, -ENOMEM, "no memory to log in");
	l->keystone = keystone;
	l->options = *options;
	rc = own_fields(&l->options);
	if (http_tls_copy(options->tls, &l->tls) < 0)
		rc = -ENOMEM;
	l->options.tls = &l->tls;
	rc = rc < 0 ? error_set(err, rc, "no memory to log in") : start(l, err);
	if (rc < 0) {
		swift_login_close(l);
		return rc;
	}
	*login = l;
	return 0;
}

void swift_login_close(struct swift_login *l)
{
	if (!l)
		return;
	renewal_free(l->renewal);
	wipe_fields(&l->options);
	http_tls_release(&l->tls);
	free(l);
}

int swift_login_get(struct swift_login *l, struct swift_session *session, struct error *err)
{
	uint64_t generation;
	int rc = renewal_get(l->renewal, session, &generation, err);

	if (rc == 0)
		session->generation = generation;
	return rc;
}

void swift_login_refused(struct swift_login *l, uint64_t generation)
{
	renewal_expired(l->renewal, generation);
}
