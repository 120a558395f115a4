/* SPDX-License-Identifier: GPL-3.0-only */
/* aws_profile.c: the keys of one profile in a file such as ~/.aws/credentials. Must never put what it holds into a
 * message. */
#include "store/aws_credentials_private.h"
#include "store/passwd_file.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FILE_MAX ((size_t)256 << 10)

struct profile {
	const char *access_key, *secret_key, *token; /* into the text; NULL: not there */
	bool found;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* Cuts the blanks off both ends. */
static char *trim(char *text)
{
	char *end;

	while (is_blank(*text))
		text++;
	for (end = text + strlen(text); end > text && is_blank(end[-1]); end--)
		end[-1] = '\0';
	return text;
}

/* Cuts off a comment: '#' or ';' after a blank (keys may contain them). */
static void cut_comment(char *value)
{
	for (char *p = value; *p; p++)
		if ((*p == '#' || *p == ';') && (p == value || is_blank(p[-1]))) {
			*p = '\0';
			return;
		}
}

/* Whether the line "[name]" names `profile`. */
static bool is_section(char *line, const char *profile)
{
	char *end = strchr(line, ']');

	if (!end)
		return false;
	*end = '\0';
	return strcmp(trim(line + 1), profile) == 0;
}

static void read_setting(char *line, struct profile *p)
{
	char *value = strchr(line, '=');
	const char *name;

	if (!value)
		return;
	*value++ = '\0';
	cut_comment(value);
	value = trim(value);
	name = trim(line);
	if (!*value)
		return;
	if (strcasecmp(name, "aws_access_key_id") == 0)
		p->access_key = value;
	else if (strcasecmp(name, "aws_secret_access_key") == 0)
		p->secret_key = value;
	else if (strcasecmp(name, "aws_session_token") == 0)
		p->token = value;
}

static void parse(char *text, const char *profile, struct profile *p)
{
	bool inside = false;
	char *rest = text;

	while (rest) {
		char *line = trim(strsep(&rest, "\n"));

		if (*line == '[') {
			inside = is_section(line, profile);
			p->found |= inside;
		} else if (inside && *line != '#' && *line != ';') {
			read_setting(line, p);
		}
	}
}

int aws_profile_read(const char *path, const char *profile, struct aws_keys *keys, bool *others, struct error *err)
{
	char *text = malloc(FILE_MAX + 1);
	struct profile p = { 0 };
	int rc;

	if (!text)
		return error_set(err, -ENOMEM, "no memory to read %s", path);
	rc = passwd_file_load(path, text, FILE_MAX + 1, others, err);
	if (rc < 0)
		goto out;
	parse(text, profile, &p);
	if (!p.found)
		rc = error_set(err, -ENOKEY, "%s has no profile [%s]; set AWS_PROFILE to one that it has", path,
		               profile);
	else if (!p.access_key && !p.secret_key)
		rc = error_set(err, -ENOKEY,
		               "profile [%s] in %s has no aws_access_key_id; other ways to log in (role_arn, sso, "
		               "credential_process) cannot be used",
		               profile, path);
	else if (!p.access_key || !p.secret_key)
		rc = error_set(err, -EINVAL, "profile [%s] in %s has %s, but no %s", profile, path,
		               p.access_key ? "aws_access_key_id" : "aws_secret_access_key",
		               p.access_key ? "aws_secret_access_key" : "aws_access_key_id");
	else
		rc = aws_keys_set(keys, p.access_key, p.secret_key, p.token, path, err);
out:
	sodium_memzero(text, FILE_MAX + 1);
	free(text);
	return rc;
}
