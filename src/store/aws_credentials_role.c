/* SPDX-License-Identifier: GPL-3.0-only */
/* aws_credentials_role.c: the keys of the role that a container (ECS, EKS) or an EC2 instance has: from a metadata
 * service that only this host can reach. They run out, and the service has new ones some time before. */
#include "store/aws_credentials_private.h"
#include "store/http_call.h"
#include "store/http_retry.h"
#include "store/login_json.h"
#include "store/login_time.h"
#include "store/passwd_file.h"
#include "store/renewal.h"

#include "base/clock.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CONTAINER_HOST "http://169.254.170.2"
#define INSTANCE_HOST "http://169.254.169.254"
#define TOKEN_PATH "/latest/api/token"
#define TOKEN_SECONDS "21600"
#define ROLES_PATH "/latest/meta-data/iam/security-credentials/"

#define URL_MAX 1024
#define TOKEN_MAX 4096
#define ROLE_MAX 128
#define CONNECT_MS 1000
#define INSTANCE_MS 5000
#define CONTAINER_MS 10000

/* That a metadata service may be asked over plain http is known of its address, not of the operator's options. */
static const struct http_tls plain = { .allow_plain = true };

/* ---- what both answer ---- */

/* What an answer that is no success means: -EIO for what passes. */
static int code_of(long status)
{
	if (status == 401 || status == 403)
		return -EACCES;
	return http_status_passes(status) ? -EIO : -EPROTO;
}

/* How long keys with this Expiration last. */
static int read_lifetime(const json_t *json, const char *who, uint64_t *lifetime_ns, struct error *err)
{
	const char *text = login_json_string(json, "Expiration", 64);
	int64_t end, now = (int64_t)(clock_wall_ns() / 1000000000u);

	*lifetime_ns = RENEWAL_FOREVER;
	if (!json_object_get(json, "Expiration"))
		return 0;
	if (!text || login_time_parse(text, &end) < 0)
		return error_set(err, -EPROTO, "%s says in no known way when its keys run out", who);
	*lifetime_ns = login_time_between(now, end);
	if (*lifetime_ns == 0)
		return error_set(err, -EKEYEXPIRED, "%s gave keys that ran out at %s; is this host's clock right?", who,
		                 text);
	return 0;
}

static int read_keys(const struct http_reply *reply, const char *who, struct aws_keys *keys, uint64_t *lifetime_ns,
                     struct error *err)
{
	json_t *json = login_json_parse(reply->body, reply->length, who, err);
	const char *access, *secret, *token, *code;
	int rc = -EPROTO;

	if (!json)
		return rc;
	access = login_json_string(json, "AccessKeyId", AWS_ACCESS_KEY_MAX);
	secret = login_json_string(json, "SecretAccessKey", AWS_SECRET_KEY_MAX);
	token = login_json_string(json, "Token", AWS_SESSION_TOKEN_MAX);
	code = login_json_string(json, "Code", 64);
	if (code && strcmp(code, "Success") != 0)
		error_set(err, rc, "%s has no keys: it says %s", who, code);
	else if (!access || !secret || !token)
		error_set(err, rc, "%s answered without usable keys (AccessKeyId, SecretAccessKey and Token)", who);
	else
		rc = read_lifetime(json, who, lifetime_ns, err);
	if (rc == 0)
		rc = aws_keys_set(keys, access, secret, token, who, err);
	login_json_free(json);
	return rc;
}

/* Whether plain http to `url` stays where nobody can listen in. */
static bool is_nearby(const char *url)
{
	return http_url_place(url) != HTTP_PLACE_ELSEWHERE || strncasecmp(url, "https:", 6) == 0;
}

static int join(char **out, const char *head, const char *tail, struct error *err)
{
	size_t room = strlen(head) + strlen(tail) + 1;

	*out = malloc(room);
	if (!*out)
		return error_set(err, -ENOMEM, "no memory for a URL");
	(void)snprintf(*out, room, "%s%s", head, tail);
	return 0;
}

/* ---- a container ---- */

/* Writes the header line that lets this container ask; "" when it needs none. */
static int authorization(const struct aws_source *s, char *line, size_t room, struct error *err)
{
	char text[TOKEN_MAX + 1] = "";
	int rc = 0, length;

	line[0] = '\0';
	if (s->token_file)
		rc = passwd_file_load(s->token_file, text, sizeof text, NULL, err);
	if (rc == 0 && (s->token_file || s->token)) {
		text[strcspn(text, "\r\n")] = '\0';
		length = snprintf(line, room, "Authorization: %s", s->token_file ? text : s->token);
		if (length < 0 || (size_t)length >= room)
			rc = error_set(err, -EINVAL, "AWS_CONTAINER_AUTHORIZATION_TOKEN is longer than %d bytes",
			               TOKEN_MAX);
	}
	sodium_memzero(text, sizeof text);
	return rc;
}

static int fetch_container(const struct aws_source *s, struct aws_keys *keys, uint64_t *lifetime_ns, struct error *err)
{
	char line[TOKEN_MAX + 32], host[HTTP_HOST_TEXT_MAX];
	const char *headers[] = { "Accept: application/json", line, NULL };
	const struct http_call call = {
		.method = "GET", .url = s->url, .headers = headers, .tls = &plain, .timeout_ms = CONTAINER_MS
	};
	struct http_reply reply = { 0 };
	int rc = authorization(s, line, sizeof line, err);

	if (!line[0])
		headers[1] = NULL;
	if (rc == 0)
		rc = http_call(&call, &reply, err);
	http_url_host(s->url, host);
	if (rc == 0 && reply.status != 200)
		rc = error_set(
			err, code_of(reply.status),
			"the container's credentials service at %s answered %ld; check AWS_CONTAINER_CREDENTIALS_* and "
			"AWS_CONTAINER_AUTHORIZATION_TOKEN",
			host, reply.status);
	else if (rc == 0)
		rc = read_keys(&reply, host, keys, lifetime_ns, err);
	http_reply_destroy(&reply);
	sodium_memzero(line, sizeof line);
	return rc;
}

/* https to anywhere; http to this host, and to where ECS and EKS have their services. */
static int check_full_uri(const char *url, struct error *err)
{
	static const char *const services[] = { "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]" };
	char host[HTTP_HOST_TEXT_MAX];
	bool allowed = http_url_place(url) == HTTP_PLACE_LOOPBACK || strncasecmp(url, "https:", 6) == 0;
	int rc = http_url_allowed(url, &plain, err);

	if (rc < 0)
		return error_prefix(err, rc, "AWS_CONTAINER_CREDENTIALS_FULL_URI");
	http_url_host(url, host);
	for (size_t i = 0; i < sizeof services / sizeof services[0]; i++) {
		size_t length = strlen(services[i]);

		allowed |= strncmp(host, services[i], length) == 0 && (!host[length] || host[length] == ':');
	}
	if (!allowed)
		return error_set(err, -EINVAL,
		                 "AWS_CONTAINER_CREDENTIALS_FULL_URI names %s: over http it may only name this host, "
		                 "169.254.170.2 or 169.254.170.23; use https",
		                 host);
	return 0;
}

/* Copies `text` to `*copy`, which stays NULL when `text` is. */
static int copy_text(const char *text, char **copy, struct error *err)
{
	return text ? join(copy, text, "", err) : 0;
}

int aws_container_source(const struct aws_credentials_options *options, struct aws_source *s, struct error *err)
{
	const struct environment *e = &options->environment;
	const char *relative = environment_get(e, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char *full = environment_get(e, "AWS_CONTAINER_CREDENTIALS_FULL_URI");
	int rc;

	if (!relative && !full)
		return 0;
	if (relative && relative[0] != '/')
		return error_set(err, -EINVAL, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI must begin with '/'");
	if (strlen(relative ? relative : full) > URL_MAX)
		return error_set(err, -EINVAL, "AWS_CONTAINER_CREDENTIALS_%s_URI is longer than %d bytes",
		                 relative ? "RELATIVE" : "FULL", URL_MAX);
	rc = relative ? 0 : check_full_uri(full, err);
	if (rc == 0 && relative)
		rc = join(&s->url, options->container_host ? options->container_host : CONTAINER_HOST, relative, err);
	else if (rc == 0)
		rc = copy_text(full, &s->url, err);
	if (rc == 0)
		rc = copy_text(environment_get(e, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"), &s->token_file, err);
	if (rc == 0)
		rc = copy_text(environment_get(e, "AWS_CONTAINER_AUTHORIZATION_TOKEN"), &s->token, err);
	if (rc == 0) {
		(void)snprintf(s->what, sizeof s->what, "the keys of the container's role");
		s->fetch = fetch_container;
	}
	return rc;
}

/* ---- an EC2 instance ---- */

static int ask_instance(const struct aws_source *s, const char *method, const char *path, const char *header,
                        struct http_reply *reply, struct error *err)
{
	char url[URL_MAX + 1];
	const char *const headers[] = { header, NULL };
	const struct http_call call = { .method = method,
		                        .url = url,
		                        .headers = headers,
		                        .tls = &plain,
		                        .timeout_ms = INSTANCE_MS,
		                        .connect_ms = CONNECT_MS };
	int length = snprintf(url, sizeof url, "%s%s", s->url, path);

	if (length < 0 || (size_t)length >= sizeof url)
		return error_set(err, -EINVAL, "the URL of the EC2 metadata service is longer than %d bytes", URL_MAX);
	return http_call(&call, reply, err);
}

/* Gets the token that this service wants with every question, as the header line that carries it. */
static int instance_token(const struct aws_source *s, char *line, size_t room, struct error *err)
{
	struct http_reply reply;
	char host[HTTP_HOST_TEXT_MAX];
	int length, rc = ask_instance(s, "PUT", TOKEN_PATH, "X-aws-ec2-metadata-token-ttl-seconds: " TOKEN_SECONDS,
	                              &reply, err);

	line[0] = '\0';
	if (rc < 0)
		return rc;
	http_url_host(s->url, host);
	length = snprintf(line, room, "X-aws-ec2-metadata-token: %s", reply.body);
	if (reply.status != 200)
		rc = error_set(err, code_of(reply.status), "the metadata service at %s gave no token: it answered %ld",
		               host, reply.status);
	else if (reply.length == 0 || strlen(reply.body) != reply.length || length < 0 || (size_t)length >= room ||
	         strpbrk(reply.body, "\r\n"))
		rc = error_set(err, -EPROTO, "the metadata service at %s gave a token that cannot be one", host);
	http_reply_destroy(&reply);
	return rc;
}

/* Gets the name of the instance's role. */
static int instance_role(const struct aws_source *s, const char *token, char role[ROLE_MAX + 1], struct error *err)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+=,.@_-";
	struct http_reply reply;
	char host[HTTP_HOST_TEXT_MAX];
	size_t length;
	int rc = ask_instance(s, "GET", ROLES_PATH, token, &reply, err);

	if (rc < 0)
		return rc;
	http_url_host(s->url, host);
	length = strspn(reply.body, allowed);
	if (reply.status == 404 || (reply.status == 200 && reply.length == 0))
		rc = error_set(err, -ENOKEY, "this EC2 instance has no role: attach one to it");
	else if (reply.status != 200)
		rc = error_set(err, code_of(reply.status),
		               "the metadata service at %s did not name a role: it answered %ld", host, reply.status);
	else if (length == 0 || length > ROLE_MAX || (reply.body[length] && !strchr("\r\n", reply.body[length])))
		rc = error_set(err, -EPROTO, "the metadata service at %s named a role that cannot be one", host);
	else
		(void)snprintf(role, ROLE_MAX + 1, "%.*s", (int)length, reply.body);
	http_reply_destroy(&reply);
	return rc;
}

static int fetch_instance(const struct aws_source *s, struct aws_keys *keys, uint64_t *lifetime_ns, struct error *err)
{
	char token[TOKEN_MAX], role[ROLE_MAX + 1], path[sizeof ROLES_PATH + ROLE_MAX], host[HTTP_HOST_TEXT_MAX];
	struct http_reply reply = { 0 };
	int rc = instance_token(s, token, sizeof token, err);

	if (rc == 0)
		rc = instance_role(s, token, role, err);
	if (rc == 0) {
		(void)snprintf(path, sizeof path, ROLES_PATH "%s", role);
		rc = ask_instance(s, "GET", path, token, &reply, err);
	}
	http_url_host(s->url, host);
	if (rc == 0 && reply.status != 200)
		rc = error_set(err, code_of(reply.status),
		               "the metadata service at %s has no keys for role %s: it answered %ld", host, role,
		               reply.status);
	else if (rc == 0)
		rc = read_keys(&reply, host, keys, lifetime_ns, err);
	http_reply_destroy(&reply);
	sodium_memzero(token, sizeof token);
	return rc;
}

int aws_instance_source(const struct aws_credentials_options *options, struct aws_source *s, struct error *err)
{
	const struct environment *e = &options->environment;
	const char *disabled = environment_get(e, "AWS_EC2_METADATA_DISABLED");
	const char *url = environment_get(e, "AWS_EC2_METADATA_SERVICE_ENDPOINT");
	char host[HTTP_HOST_TEXT_MAX];
	int rc;

	if (disabled && strcasecmp(disabled, "true") == 0)
		return 0;
	if (!url)
		url = INSTANCE_HOST;
	rc = http_url_allowed(url, &plain, err);
	if (rc < 0)
		return error_prefix(err, rc, "AWS_EC2_METADATA_SERVICE_ENDPOINT");
	if (!is_nearby(url))
		return error_set(
			err, -EINVAL,
			"AWS_EC2_METADATA_SERVICE_ENDPOINT names %s: over http it may only name a link-local address",
			http_url_host(url, host));
	rc = copy_text(url, &s->url, err);
	if (rc < 0)
		return rc;
	for (size_t end = strlen(s->url); end > 0 && s->url[end - 1] == '/'; end--)
		s->url[end - 1] = '\0';
	(void)snprintf(s->what, sizeof s->what, "the keys of the EC2 instance's role");
	s->fetch = fetch_instance;
	return 0;
}
