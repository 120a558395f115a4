/* SPDX-License-Identifier: GPL-3.0-only */
/* aws_credentials.c: which of the places that may hold keys does, and keeping what it holds. */
#include "store/aws_credentials.h"

#include "base/report.h"
#include "store/aws_credentials_private.h"
#include "store/passwd_file.h"
#include "store/renewal.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARGIN_NS (UINT64_C(300) * 1000000000)

struct aws_credentials {
	struct aws_source source;
	struct renewal *renewal;
};

/* ---- keys ---- */

static bool is_printable(const char *text, char least)
{
	for (; *text; text++)
		if (*text < least || *text > '~')
			return false;
	return true;
}

int aws_keys_set(struct aws_keys *keys, const char *access_key, const char *secret_key, const char *token,
                 const char *where, struct error *err)
{
	size_t access = strlen(access_key), secret = strlen(secret_key), session = token ? strlen(token) : 0;

	if (access == 0 || access > AWS_ACCESS_KEY_MAX || !is_printable(access_key, '!'))
		return error_set(err, -EINVAL, "%s: the access key is empty, longer than %d bytes, or has blanks in it",
		                 where, AWS_ACCESS_KEY_MAX);
	if (secret == 0 || secret > AWS_SECRET_KEY_MAX || !is_printable(secret_key, ' '))
		return error_set(
			err, -EINVAL,
			"%s: the secret key is empty, longer than %d bytes, or has unprintable characters in it", where,
			AWS_SECRET_KEY_MAX);
	if (session > AWS_SESSION_TOKEN_MAX || (token && !is_printable(token, '!')))
		return error_set(err, -EINVAL, "%s: the session token is longer than %d bytes or has blanks in it",
		                 where, AWS_SESSION_TOKEN_MAX);
	sodium_memzero(keys, sizeof *keys);
	memcpy(keys->access_key, access_key, access);
	memcpy(keys->secret_key, secret_key, secret);
	if (token)
		memcpy(keys->session_token, token, session);
	return 0;
}

/* ---- a passwd file ---- */

static int fetch_passwd(const struct aws_source *s, struct aws_keys *keys, uint64_t *lifetime_ns, struct error *err)
{
	struct passwd_entry entry;
	int rc = passwd_file_read(s->path, NULL, &entry, err);

	*lifetime_ns = RENEWAL_FOREVER;
	if (rc == 0)
		rc = aws_keys_set(keys, entry.name, entry.secret, NULL, s->path, err);
	sodium_memzero(&entry, sizeof entry);
	return rc;
}

static int passwd_source(const struct aws_credentials_options *options, struct aws_source *s, struct error *err)
{
	if (!options->passwd_file)
		return 0;
	s->path = strdup(options->passwd_file);
	if (!s->path)
		return error_set(err, -ENOMEM, "no memory for a path");
	(void)snprintf(s->what, sizeof s->what, "the keys in %s", s->path);
	s->fetch = fetch_passwd;
	return 0;
}

/* ---- the environment ---- */

static int fetch_environment(const struct aws_source *s, struct aws_keys *keys, uint64_t *lifetime_ns,
                             struct error *err)
{
	(void)err;
	*keys = *s->keys;
	*lifetime_ns = RENEWAL_FOREVER;
	return 0;
}

static int environment_source(const struct aws_credentials_options *options, struct aws_source *s, struct error *err)
{
	const struct environment *e = &options->environment;
	const char *access = environment_get(e, "AWS_ACCESS_KEY_ID"),
		   *secret = environment_get(e, "AWS_SECRET_ACCESS_KEY");

	if (!access && !secret)
		return 0;
	if (!access || !secret)
		return error_set(err, -EINVAL, "%s is set in the environment, but %s is not: set both, or neither",
		                 access ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY",
		                 access ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID");
	s->keys = calloc(1, sizeof *s->keys);
	if (!s->keys)
		return error_set(err, -ENOMEM, "no memory for keys");
	(void)snprintf(s->what, sizeof s->what, "the keys in the environment");
	s->fetch = fetch_environment;
	return aws_keys_set(s->keys, access, secret, environment_get(e, "AWS_SESSION_TOKEN"),
	                    "AWS_ACCESS_KEY_ID and its like", err);
}

/* ---- a profile ---- */

static int fetch_profile(const struct aws_source *s, struct aws_keys *keys, uint64_t *lifetime_ns, struct error *err)
{
	*lifetime_ns = RENEWAL_FOREVER;
	return aws_profile_read(s->path, s->profile, keys, NULL, err);
}

/* The file of profiles, to be freed; NULL also when there is no home. */
static char *profiles_path(const struct aws_credentials_options *options, const char *given)
{
	static const char below[] = "/.aws/credentials";
	const char *home = options->home ? options->home : environment_get(&options->environment, "HOME");
	size_t room = home ? strlen(home) + sizeof below : 0;
	char *path;

	if (given || !home)
		return given ? strdup(given) : NULL;
	path = malloc(room);
	if (path)
		(void)snprintf(path, room, "%s%s", home, below);
	return path;
}

static int profile_source(const struct aws_credentials_options *options, struct aws_source *s, struct error *err)
{
	const char *profile = environment_get(&options->environment, "AWS_PROFILE");
	const char *file = environment_get(&options->environment, "AWS_SHARED_CREDENTIALS_FILE");
	char *path = profiles_path(options, file);
	bool others = false;
	struct aws_keys keys;
	int rc;

	if (!path && profile)
		return error_set(err, -ENOKEY,
		                 "AWS_PROFILE is set, but neither HOME nor AWS_SHARED_CREDENTIALS_FILE says where");
	if (!path)
		return 0;
	rc = aws_profile_read(path, profile ? profile : "default", &keys, &others, err);
	sodium_memzero(&keys, sizeof keys);
	if (rc == 0) {
		s->path = path;
		path = NULL;
		s->profile = strdup(profile ? profile : "default");
		if (!s->profile)
			return error_set(err, -ENOMEM, "no memory for a profile");
		(void)snprintf(s->what, sizeof s->what, "the keys of profile %s in %s", s->profile, s->path);
		s->fetch = fetch_profile;
		if (others)
			report_warning("%s can be used by others; run: chmod 600 '%s'", s->path, s->path);
	} else if (!profile && !file && (rc == -ENOENT || rc == -ENOTDIR || rc == -EACCES || rc == -ENOKEY)) {
		/* Nobody said that it must be there. */
		rc = 0;
	}
	free(path);
	return rc;
}

/* ---- all of them ---- */

static void release_source(struct aws_source *s)
{
	if (s->token)
		sodium_memzero(s->token, strlen(s->token));
	if (s->keys)
		sodium_memzero(s->keys, sizeof *s->keys);
	free(s->path);
	free(s->profile);
	free(s->url);
	free(s->token_file);
	free(s->token);
	free(s->keys);
}

static int choose_source(const struct aws_credentials_options *options, struct aws_source *s, struct error *err)
{
	int rc = passwd_source(options, s, err);

	if (rc == 0 && !s->fetch)
		rc = environment_source(options, s, err);
	if (rc == 0 && !s->fetch)
		rc = profile_source(options, s, err);
	if (rc == 0 && !s->fetch)
		rc = aws_container_source(options, s, err);
	return rc;
}

static int none_found(const struct error *why, struct error *err)
{
	return error_set(
		err, -ENOKEY,
		"no keys for S3: give a passwd file (ACCESS:SECRET), or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
		"or a profile in ~/.aws/credentials (AWS_PROFILE, AWS_SHARED_CREDENTIALS_FILE), or run in a container "
		"with a role (AWS_CONTAINER_CREDENTIALS_*) or on an EC2 instance with one (%s)",
		error_text(why));
}

static int fetch_any(void *arg, void *value, uint64_t *lifetime_ns, struct error *err)
{
	const struct aws_source *s = arg;

	return s->fetch(s, value, lifetime_ns, err);
}

static int start_renewal(struct aws_credentials *c, uint64_t patience_ms, struct error *err)
{
	const struct renewal_options options = { .what = c->source.what,
		                                 .size = sizeof(struct aws_keys),
		                                 .fetch = fetch_any,
		                                 .arg = &c->source,
		                                 .margin_ns = MARGIN_NS,
		                                 .patience_ms = patience_ms };

	return renewal_new(&options, &c->renewal, err);
}

/* The last resort: nobody said that this is an EC2 instance, so that it is not one is no error of its own. */
static int try_instance(const struct aws_credentials_options *options, struct aws_credentials *c, struct error *err)
{
	struct error why = { 0 };
	int rc = aws_instance_source(options, &c->source, &why);

	if (rc == 0 && !c->source.fetch)
		rc = error_set(&why, -ENOKEY, "AWS_EC2_METADATA_DISABLED forbids to ask");
	if (rc == 0)
		rc = start_renewal(c, 0, &why);
	/* A service that answers is there, and worth waiting for. */
	if (rc == -EIO)
		rc = start_renewal(c, options->patience_ms, &why);
	return rc < 0 ? none_found(&why, err) : 0;
}

int aws_credentials_open(const struct aws_credentials_options *options, struct aws_credentials **credentials,
                         struct error *err)
{
	struct aws_credentials *c = calloc(1, sizeof *c);
	int rc;

	if (!c)
		return error_set(err, -ENOMEM, "no memory for keys");
	rc = choose_source(options, &c->source, err);
	if (rc == 0)
		rc = c->source.fetch ? start_renewal(c, options->patience_ms, err) : try_instance(options, c, err);
	if (rc < 0) {
		release_source(&c->source);
		free(c);
		return rc;
	}
	*credentials = c;
	return 0;
}

void aws_credentials_close(struct aws_credentials *c)
{
	if (!c)
		return;
	renewal_free(c->renewal);
	release_source(&c->source);
	free(c);
}

int aws_credentials_get(struct aws_credentials *c, struct aws_keys *keys, uint64_t *generation, struct error *err)
{
	return renewal_get(c->renewal, keys, generation, err);
}

void aws_credentials_refused(struct aws_credentials *c, uint64_t generation)
{
	renewal_expired(c->renewal, generation);
}
