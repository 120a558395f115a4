/* SPDX-License-Identifier: GPL-3.0-only */
/* swift_login_env.c: what the environment says of how to log in to Swift, where nothing was given. */
#include "store/swift_login_private.h"

#include <string.h>

bool swift_login_ends_in(const char *url, const char *tail)
{
	size_t length = strlen(url), end = strlen(tail);

	while (length > 0 && url[length - 1] == '/')
		length--;
	return length >= end && memcmp(url + length - end, tail, end) == 0;
}

static bool is_version_1(const char *auth_url)
{
	return swift_login_ends_in(auth_url, "/v1") || swift_login_ends_in(auth_url, "/v1.0");
}

bool swift_login_is_keystone(const struct swift_login_options *o)
{
	if (swift_login_ends_in(o->auth_url, "/v3"))
		return true;
	return !is_version_1(o->auth_url) &&
	       (o->project || o->user_domain || o->project_domain || o->application_credential_id);
}

static void fill(const struct environment *e, const char **field, const char *name)
{
	if (!*field)
		*field = environment_get(e, name);
}

/* User and key come from the same pair of variables, so that the key of one log-in is not sent to another. */
static void fill_user(const struct environment *e, struct swift_login_options *o, bool keystone)
{
	bool openstack = keystone && (environment_get(e, "OS_USERNAME") || environment_get(e, "OS_PASSWORD"));

	fill(e, &o->user, openstack ? "OS_USERNAME" : "ST_USER");
	if (!o->passwd_file)
		fill(e, &o->key, openstack ? "OS_PASSWORD" : "ST_KEY");
}

static void fill_keystone(const struct environment *e, struct swift_login_options *o)
{
	/* An application credential has its own project, and is meant where no user was given. */
	if (!o->user && !o->key && !o->application_credential_secret) {
		fill(e, &o->application_credential_id, "OS_APPLICATION_CREDENTIAL_ID");
		if (o->application_credential_id && !o->passwd_file)
			fill(e, &o->application_credential_secret, "OS_APPLICATION_CREDENTIAL_SECRET");
	}
	if (!o->application_credential_id) {
		fill(e, &o->project, "OS_PROJECT_NAME");
		fill(e, &o->user_domain, "OS_USER_DOMAIN_NAME");
		fill(e, &o->project_domain, "OS_PROJECT_DOMAIN_NAME");
	}
	fill(e, &o->region, "OS_REGION_NAME");
	fill(e, &o->interface, "OS_INTERFACE");
}

void swift_login_options_from_env(const struct environment *environment, struct swift_login_options *o)
{
	bool keystone = false;

	fill(environment, &o->auth_url, "ST_AUTH");
	if (!o->auth_url) {
		fill(environment, &o->auth_url, "OS_AUTH_URL");
		keystone = o->auth_url;
	}
	if (!o->auth_url)
		return;
	/* Of a URL that does not say what it is, ST_USER or ST_KEY says so. */
	if (!keystone && !is_version_1(o->auth_url))
		keystone = swift_login_is_keystone(o) ||
		           (!environment_get(environment, "ST_USER") && !environment_get(environment, "ST_KEY"));
	if (keystone)
		fill_keystone(environment, o);
	if (!o->application_credential_id)
		fill_user(environment, o, keystone);
}
