/* SPDX-License-Identifier: GPL-3.0-only */
/* store_url.c: takes apart the URL of a remote store. Must never put a parameter's value into a message. */
#include "store/store_url.h"

#include "store/object_version.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define BUCKET_MIN 3
#define BUCKET_MAX 63
#define NAME_MAX_SHOWN 32 /* longer ones are no parameters of ours, and may be anything */

struct scheme {
	const char *name;
	const char *container; /* what its containers are called */
	const char *example;
	const char *secrets; /* where they belong */
	int (*check)(const struct scheme *scheme, const char *container, size_t len, struct error *err);
	bool hosts; /* "//HOST:PORT,HOST:PORT/" stands before the container, and there is no prefix */
};

/* ---- characters ---- */

static bool is_lower_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_name_char(char c)
{
	return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' || c == '-';
}

static bool is_bucket_char(char c)
{
	return is_lower_or_digit(c) || c == '.' || c == '-';
}

/* The first of `len` bytes that is not `good`, or NULL. */
static const char *find_bad(const char *text, size_t len, bool (*good)(char c))
{
	for (size_t i = 0; i < len; i++)
		if (!good(text[i]))
			return &text[i];
	return NULL;
}

static int secret_in_url(const struct scheme *scheme, struct error *err)
{
	return error_set(err, -EINVAL, "secrets do not belong in a store's URL, which others can see: %s",
	                 scheme->secrets);
}

/* ---- containers ---- */

/* Whether the bytes are four numbers with dots between, as an IPv4 address is. */
static bool is_address(const char *text, size_t len)
{
	unsigned dots = 0;

	for (size_t i = 0; i < len; i++) {
		if (text[i] == '.')
			dots++;
		else if (text[i] < '0' || text[i] > '9')
			return false;
	}
	return dots == 3;
}

static int check_bucket(const struct scheme *scheme, const char *bucket, size_t len, struct error *err)
{
	const char *bad = find_bad(bucket, len, is_bucket_char);

	if (bad)
		return error_set(err, -EINVAL,
		                 "a bucket's name cannot contain '%c', only a-z, 0-9, '.' and '-'; example: %s", *bad,
		                 scheme->example);
	if (len < BUCKET_MIN || len > BUCKET_MAX)
		return error_set(err, -EINVAL, "a bucket's name has %d to %d characters, not %zu; example: %s",
		                 BUCKET_MIN, BUCKET_MAX, len, scheme->example);
	if (!is_lower_or_digit(bucket[0]) || !is_lower_or_digit(bucket[len - 1]) || memmem(bucket, len, "..", 2))
		return error_set(err, -EINVAL,
		                 "a bucket's name begins and ends with a letter or digit and has no two dots in a row; "
		                 "example: %s",
		                 scheme->example);
	if (is_address(bucket, len))
		return error_set(err, -EINVAL,
		                 "a bucket's name cannot look like an address; give the server's as "
		                 "endpoint=; example: %s",
		                 scheme->example);
	return 0;
}

static int check_container(const struct scheme *scheme, const char *container, size_t len, struct error *err)
{
	const char *bad = find_bad(container, len, is_name_char);

	if (bad)
		return error_set(err, -EINVAL,
		                 "a container's name cannot contain '%c', only A-Z, a-z, 0-9, '.', '_' and '-'; "
		                 "example: %s",
		                 *bad, scheme->example);
	if (len > STORE_URL_CONTAINER_MAX)
		return error_set(err, -EINVAL, "a container's name has at most %d characters, not %zu; example: %s",
		                 STORE_URL_CONTAINER_MAX, len, scheme->example);
	if (strspn(container, ".") >= len && len <= 2)
		return error_set(err, -EINVAL, "a container cannot be called '.' or '..'; example: %s",
		                 scheme->example);
	return 0;
}

static int check_pool(const struct scheme *scheme, const char *pool, size_t len, struct error *err)
{
	char name[OBJECT_POOL_MAX + 1] = "";

	if (len <= OBJECT_POOL_MAX)
		memcpy(name, pool, len);
	if (!object_pool_valid(name))
		return error_set(err, -EINVAL,
		                 "a pool's name has 1 to %d of a-z, 0-9, '.', '_' and '-', and begins with a letter or "
		                 "digit; example: %s",
		                 OBJECT_POOL_MAX, scheme->example);
	return 0;
}

#define ENVIRONMENT(names) "put them in the environment (" names ") or in a file named by passwd_file="

static const struct scheme schemes[] = {
	{ "s3", "bucket", "s3://my-bucket/disks", ENVIRONMENT("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
	  check_bucket, false },
	{ "swift", "container", "swift://my-container/disks", ENVIRONMENT("ST_KEY or OS_PASSWORD"), check_container,
	  false },
	{ "node", "pool", "node://h1:7070,h2:7070,h3:7070/my-pool?cluster=/etc/garnerfs/cluster",
	  "the cluster's key is in the file cluster.key beside the one that cluster= names", check_pool, true },
};

/* ---- hosts ---- */

/* One "HOST:PORT"; HOST is a name, an address, or an IPv6 address in brackets. */
static bool host_valid(const char *text, size_t len)
{
	const char *colon = memrchr(text, ':', len);
	size_t host = colon ? (size_t)(colon - text) : 0, digits = colon ? len - host - 1 : 0;
	unsigned long port = 0;

	if (!host || host > 255 || digits < 1 || digits > 5 || colon[1] == '0')
		return false;
	for (size_t i = 1; i <= digits; i++) {
		if (colon[i] < '0' || colon[i] > '9')
			return false;
		port = port * 10 + (unsigned long)(colon[i] - '0');
	}
	if (text[0] == '[')
		return port <= 65535 && host > 2 && text[host - 1] == ']' &&
		       strspn(text + 1, "0123456789abcdefABCDEF:.") == host - 2;
	return port <= 65535 && !find_bad(text, host, is_name_char);
}

static int take_hosts(const struct scheme *scheme, const char *text, size_t len, struct store_url *out,
                      struct error *err)
{
	size_t at = 0;

	if (memchr(text, '@', len))
		return secret_in_url(scheme, err);
	while (at < len) {
		const char *comma = memchr(text + at, ',', len - at);
		size_t n = comma ? (size_t)(comma - text) - at : len - at;

		if (!host_valid(text + at, n) || at + n + 1 == len)
			return error_set(err, -EINVAL,
			                 "nodes in a store's URL are written HOST:PORT,HOST:PORT; example: %s",
			                 scheme->example);
		at += n + 1;
	}
	memcpy(out->hosts, text, len);
	out->hosts[len] = '\0';
	return 0;
}

/* ---- the parts ---- */

/* Finds the scheme, and where what follows its "://" begins. */
static const struct scheme *find_scheme(const char *url, const char **rest)
{
	for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
		size_t len = strlen(schemes[i].name);

		if (strncmp(url, schemes[i].name, len) == 0 && strncmp(url + len, "://", 3) == 0) {
			*rest = url + len + 3;
			return &schemes[i];
		}
	}
	return NULL;
}

static int check_bytes(const char *url, struct error *err)
{
	size_t len = strnlen(url, STORE_URL_MAX + 1);

	if (len > STORE_URL_MAX)
		return error_set(err, -EINVAL, "the store's URL is longer than %d bytes", STORE_URL_MAX);
	for (size_t i = 0; i < len; i++) {
		if (url[i] <= 0x20 || url[i] >= 0x7f)
			return error_set(err, -EINVAL,
			                 "a store's URL cannot contain spaces, control or non-ASCII characters; in a "
			                 "parameter's value write them as %%XX, a space as %%20");
		if (url[i] == '#')
			return error_set(err, -EINVAL,
			                 "a store's URL cannot contain '#'; in a parameter's value write it as %%23");
	}
	return 0;
}

static int take_container(const struct scheme *scheme, const char *text, size_t len, struct store_url *out,
                          struct error *err)
{
	int rc;

	if (len == 0)
		return error_set(err, -EINVAL, "the store's URL names no %s; example: %s", scheme->container,
		                 scheme->example);
	/* "user:password@" before it, most likely. */
	if (memchr(text, '@', len) || memchr(text, ':', len))
		return secret_in_url(scheme, err);
	rc = scheme->check(scheme, text, len, err);
	if (rc < 0)
		return rc;
	memcpy(out->container, text, len);
	out->container[len] = '\0';
	return 0;
}

/* `text` begins after the container: it is empty or begins with '/'. */
static int take_prefix(const struct scheme *scheme, const char *text, size_t len, struct store_url *out,
                       struct error *err)
{
	size_t from = 0;

	if (len) { /* the '/' in front, and one at the end */
		text++;
		len--;
	}
	if (len > 1 && text[len - 1] == '/')
		len--;
	for (size_t i = 0; i <= len && len; i++) {
		size_t component = i - from;

		if (i < len && text[i] != '/') {
			if (!is_name_char(text[i]))
				return error_set(
					err, -EINVAL,
					"the prefix in a store's URL cannot contain '%c', only A-Z, a-z, 0-9, '.', "
					"'_', '-' and '/'; example: %s",
					text[i], scheme->example);
			continue;
		}
		if (component == 0)
			return error_set(err, -EINVAL,
			                 "the prefix in a store's URL cannot have two '/' in a row; example: %s",
			                 scheme->example);
		if (component <= 2 && memcmp(text + from, "..", component) == 0)
			return error_set(
				err, -EINVAL,
				"the prefix in a store's URL cannot have '.' or '..' between its '/'; example: %s",
				scheme->example);
		from = i + 1;
	}
	memcpy(out->prefix, text, len);
	out->prefix[len] = '\0';
	return 0;
}

/* ---- parameters ---- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes `len` bytes to `out`, with an end. Returns the length, or -EINVAL: a '%' without two digits, or one that
 * stands for a control character. */
static int decode(const char *text, size_t len, char *out)
{
	int used = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '%') {
			int high = len - i > 2 ? hex_digit(text[i + 1]) : -1;
			int low = high < 0 ? -1 : hex_digit(text[i + 2]);

			if (low < 0)
				return -EINVAL;
			c = (unsigned char)(high << 4 | low);
			i += 2;
		}
		if (c < 0x20 || c == 0x7f)
			return -EINVAL;
		out[used++] = (char)c;
	}
	out[used] = '\0';
	return used;
}

static bool names_a_secret(const char *name)
{
	static const char *const words[] = { "secret", "password", "passphrase", "key", "token" };

	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (strcasestr(name, words[i]))
			return true;
	return false;
}

/* Whether a value is a server's address with a user or password in it. */
static bool has_user(const char *value)
{
	const char *server = strstr(value, "://");

	return server && strchr(server, '@');
}

/* The known names, as "endpoint, region", cut when `room` is short. */
static const char *known_names(const char *const *known, size_t count, char *out, size_t room)
{
	size_t used = 0;

	(void)snprintf(out, room, "none");
	for (size_t i = 0; i < count && used < room; i++) {
		int n = snprintf(out + used, room - used, "%s%s", i ? ", " : "", known[i]);

		if (n < 0)
			break;
		used += (size_t)n;
	}
	return out;
}

/* A name that may be shown: it looks like one, and not like something that was pasted into the wrong place. */
static bool may_be_shown(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len <= NAME_MAX_SHOWN && !find_bad(name, len, is_name_char);
}

static int check_name(const char *name, const char *const *known, size_t known_count, const struct store_url *out,
                      struct error *err)
{
	char names[256];
	size_t i = 0;

	while (i < known_count && strcmp(known[i], name) != 0)
		i++;
	if (i == known_count && !may_be_shown(name))
		return error_set(err, -EINVAL, "the store's URL has a parameter that is not known; those there are: %s",
		                 known_names(known, known_count, names, sizeof names));
	if (i == known_count)
		return error_set(err, -EINVAL, "the store's URL has a parameter '%s'; those there are: %s", name,
		                 known_names(known, known_count, names, sizeof names));
	if (store_url_parameter(out, name))
		return error_set(err, -EINVAL, "the store's URL has two parameters '%s'; the parameters there are: %s",
		                 name, known_names(known, known_count, names, sizeof names));
	return 0;
}

/* Takes "name=value". `*used` bytes of out->text are taken; what is decoded is never longer than what it came from. */
static int take_parameter(const struct scheme *scheme, const char *text, size_t len, const char *const *known,
                          size_t known_count, struct store_url *out, size_t *used, struct error *err)
{
	const char *equals = memchr(text, '=', len);
	size_t name_length = equals ? (size_t)(equals - text) : len;
	char *name = out->text + *used, *value;
	int n = decode(text, name_length, name), m, rc;

	if (n >= 0 && names_a_secret(name))
		return secret_in_url(scheme, err);
	if (n <= 0 || !equals)
		return error_set(err, -EINVAL, "the parameters in a store's URL are written ?name=value&name=value");
	rc = check_name(name, known, known_count, out, err);
	if (rc < 0)
		return rc;
	value = name + n + 1;
	m = decode(equals + 1, len - name_length - 1, value);
	if (m < 0)
		return error_set(
			err, -EINVAL,
			"the value of '%s' in the store's URL has a '%%' that does not begin a character (%%20 "
			"is a space, %%25 a '%%')",
			name);
	if (m == 0)
		return error_set(err, -EINVAL, "'%s' in the store's URL has no value; write %s=VALUE or leave it out",
		                 name, name);
	if (has_user(value))
		return secret_in_url(scheme, err);
	if (out->parameter_count == STORE_URL_PARAMETERS_MAX)
		return error_set(err, -EINVAL, "the store's URL has more than %d parameters", STORE_URL_PARAMETERS_MAX);
	out->parameters[out->parameter_count].name = (uint16_t)*used;
	out->parameters[out->parameter_count].value = (uint16_t)(*used + (size_t)n + 1);
	out->parameter_count++;
	*used += (size_t)n + (size_t)m + 2;
	return 0;
}

static int take_query(const struct scheme *scheme, const char *query, const char *const *known, size_t known_count,
                      struct store_url *out, struct error *err)
{
	size_t used = 0;
	bool more = *query;

	while (more) {
		size_t len = strcspn(query, "&");
		int rc = take_parameter(scheme, query, len, known, known_count, out, &used, err);

		if (rc < 0)
			return rc;
		more = query[len] == '&';
		query += len + more;
	}
	return 0;
}

/* ---- the whole ---- */

int store_url_parse(const char *url, const char *const *known, size_t known_count, struct store_url *out,
                    struct error *err)
{
	const struct scheme *scheme;
	const char *rest, *query;
	size_t container, path;
	int rc;

	*out = (struct store_url){ 0 };
	rc = check_bytes(url, err);
	if (rc < 0)
		goto out;
	scheme = find_scheme(url, &rest);
	if (!scheme) {
		rc = error_set(err, -EINVAL,
		               "the URL of a remote store begins with s3://, swift:// or node://; examples: %s, %s, %s",
		               schemes[0].example, schemes[1].example, schemes[2].example);
		goto out;
	}
	if (scheme->hosts) {
		size_t hosts = strcspn(rest, "/?");

		rc = take_hosts(scheme, rest, hosts, out, err);
		if (rc < 0)
			goto out;
		rest += hosts + (rest[hosts] == '/');
	}
	container = strcspn(rest, "/?");
	path = strcspn(rest + container, "?");
	query = rest + container + path;
	query += *query == '?';
	rc = take_container(scheme, rest, container, out, err);
	if (rc == 0)
		rc = take_prefix(scheme, rest + container, path, out, err);
	if (rc == 0 && scheme->hosts && *out->prefix)
		rc = error_set(err, -EINVAL, "the store's URL has more than a pool's name after the nodes; example: %s",
		               scheme->example);
	if (rc == 0)
		rc = take_query(scheme, query, known, known_count, out, err);
	if (rc < 0)
		goto out;
	(void)snprintf(out->scheme, sizeof out->scheme, "%s", scheme->name);
	rc = snprintf(out->shown, sizeof out->shown, "%s://%s%s%s%s%s%s%s", scheme->name, out->hosts,
	              scheme->hosts ? "/" : "", out->container, *out->prefix ? "/" : "", out->prefix, *query ? "?" : "",
	              query);
	assert(rc > 0 && (size_t)rc <= strlen(url)); /* it consists of parts of it */
	rc = 0;
out:
	if (rc < 0)
		*out = (struct store_url){ 0 };
	return rc;
}

const char *store_url_parameter(const struct store_url *url, const char *name)
{
	for (size_t i = 0; i < url->parameter_count; i++)
		if (strcmp(url->text + url->parameters[i].name, name) == 0)
			return url->text + url->parameters[i].value;
	return NULL;
}

const char *store_url_show(const struct store_url *url)
{
	return url->shown;
}
