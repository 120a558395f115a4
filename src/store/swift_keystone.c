/* SPDX-License-Identifier: GPL-3.0-only */
/* swift_keystone.c: logging in to Swift with Keystone version 3: a token, and the storage URL out of its catalog. Must
 * never put a key or a token into a message. */
#include "base/clock.h"
#include "store/http_call.h"
#include "store/login_json.h"
#include "store/login_time.h"
#include "store/renewal.h"
#include "store/swift_login_private.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_MAX ((size_t)1 << 20) /* catalogs can be long */
#define URL_MAX 600

/* ---- the question ---- */

static json_t *domain(const char *name)
{
	return name ? json_pack("{ss}", "name", name) : json_pack("{ss}", "id", "default");
}

static json_t *by_password(const struct swift_login_options *o, const struct swift_identity *identity)
{
	const char *project_domain = o->project_domain ? o->project_domain : o->user_domain;

	return json_pack("{s{s{s[s]s{s{sssss o}}}s{s{sss o}}}}", "auth", "identity", "methods", "password", "password",
	                 "user", "name", identity->name, "password", identity->secret, "domain", domain(o->user_domain),
	                 "scope", "project", "name", o->project, "domain", domain(project_domain));
}

static json_t *by_application(const struct swift_identity *identity)
{
	return json_pack("{s{s{s[s]s{ssss}}}}", "auth", "identity", "methods", "application_credential",
	                 "application_credential", "id", identity->name, "secret", identity->secret);
}

/* The body of the question, to be wiped and freed. */
static char *question(const struct swift_login_options *o, const struct swift_identity *identity, size_t *length)
{
	json_t *json = o->application_credential_id ? by_application(identity) : by_password(o, identity);
	char *text = json ? login_json_print(json, length) : NULL;

	login_json_free(json);
	return text;
}

static void tokens_url(const char *auth_url, char url[URL_MAX])
{
	size_t length = strlen(auth_url);

	while (length > 0 && auth_url[length - 1] == '/')
		length--;
	(void)snprintf(url, URL_MAX, "%.*s%s/auth/tokens", (int)length, auth_url,
	               swift_login_ends_in(auth_url, "/v3") ? "" : "/v3");
}

/* ---- the answer ---- */

/* By the server's own clock where it says when it began, so that this host's need not be right. */
static int read_lifetime(const json_t *token, const char *host, uint64_t *lifetime_ns, struct error *err)
{
	const char *begins = login_json_string(token, "issued_at", 64),
		   *ends = login_json_string(token, "expires_at", 64);
	int64_t begin, end;

	*lifetime_ns = RENEWAL_FOREVER;
	if (!ends)
		return 0;
	if (login_time_parse(ends, &end) < 0)
		return error_set(err, -EPROTO, "%s says in no known way when its token runs out", host);
	if (!begins || login_time_parse(begins, &begin) < 0)
		begin = (int64_t)(clock_wall_ns() / 1000000000u);
	*lifetime_ns = login_time_between(begin, end);
	if (*lifetime_ns == 0)
		return error_set(err, -EKEYEXPIRED,
		                 "%s gave a token that has run out already; is this host's clock right?", host);
	return 0;
}

static bool is_interface(const json_t *endpoint, const char *wanted)
{
	const char *interface = json_string_value(json_object_get(endpoint, "interface"));
	size_t length;

	if (!wanted)
		wanted = "public";
	length = strlen(wanted); /* of "publicURL", which older tools write, "public" counts */
	if (length > 3 && strcmp(wanted + length - 3, "URL") == 0)
		length -= 3;
	return interface && strlen(interface) == length && strncmp(interface, wanted, length) == 0;
}

static const char *region_of(const json_t *endpoint)
{
	const char *region = login_json_string(endpoint, "region_id", 255);

	if (!region)
		region = login_json_string(endpoint, "region", 255);
	return region ? region : "";
}

/* What a search through the catalog found. */
struct found {
	const char *url; /* in the catalog */
	const char *region;
	const char *other_region; /* that has one too, when no region is wanted */
};

static void search_endpoints(const json_t *service, const struct swift_login_options *o, struct found *found)
{
	const json_t *endpoints = json_object_get(service, "endpoints"), *endpoint;
	size_t i;

	json_array_foreach(endpoints, i, endpoint)
	{
		const char *region = region_of(endpoint);
		const char *url = login_json_string(endpoint, "url", SWIFT_STORAGE_URL_MAX);

		if (!url || !is_interface(endpoint, o->interface) || (o->region && strcmp(region, o->region) != 0))
			continue;
		if (!found->url) {
			found->url = url;
			found->region = region;
		} else if (strcmp(region, found->region) != 0) {
			found->other_region = region;
		}
	}
}

static int find_storage_url(const json_t *token, const struct swift_login_options *o, const char *host,
                            const char **url, struct error *err)
{
	const json_t *catalog = json_object_get(token, "catalog"), *service;
	struct found found = { 0 };
	size_t i;

	json_array_foreach(catalog, i, service)
	{
		const char *type = json_string_value(json_object_get(service, "type"));

		if (type && strcmp(type, "object-store") == 0)
			search_endpoints(service, o, &found);
	}
	if (!found.url)
		return error_set(err, -EINVAL,
		                 "the catalog at %s has no object-store with interface '%s'%s%s; check OS_REGION_NAME, "
		                 "OS_INTERFACE "
		                 "and the project",
		                 host, o->interface ? o->interface : "public", o->region ? " in region " : "",
		                 o->region ? o->region : "");
	if (found.other_region)
		return error_set(err, -EINVAL,
		                 "the catalog at %s has an object-store in several regions, such as '%s' and '%s'; "
		                 "choose one with "
		                 "OS_REGION_NAME",
		                 host, found.region, found.other_region);
	*url = found.url;
	return 0;
}

static int read_answer(const struct http_reply *reply, const struct swift_login_options *o,
                       struct swift_session *session, uint64_t *lifetime_ns, struct error *err)
{
	char host[HTTP_HOST_TEXT_MAX];
	const char *url = NULL;
	json_t *json, *token;
	int rc;

	http_url_host(o->auth_url, host);
	json = login_json_parse(reply->body, reply->length, host, err);
	if (!json)
		return -EPROTO;
	token = json_object_get(json, "token");
	if (json_is_object(token))
		rc = find_storage_url(token, o, host, &url, err);
	else
		rc = error_set(err, -EPROTO, "%s answered the log-in without a token; is the auth URL right?", host);
	if (rc == 0)
		rc = read_lifetime(token, host, lifetime_ns, err);
	if (rc == 0)
		rc = swift_session_set(session, url, http_reply_header(reply, "X-Subject-Token"), o, err);
	login_json_free(json);
	return rc;
}

int swift_keystone_fetch(const struct swift_login_options *o, const struct swift_identity *identity,
                         struct swift_session *session, uint64_t *lifetime_ns, struct error *err)
{
	static const char *const headers[] = { "Content-Type: application/json", "Accept: application/json", NULL };
	char url[URL_MAX];
	struct http_call call = { .method = "POST",
		                  .url = url,
		                  .headers = headers,
		                  .tls = o->tls,
		                  .timeout_ms = o->timeout_ms,
		                  .reply_max = REPLY_MAX };
	struct http_reply reply = { 0 };
	char *body = question(o, identity, &call.body_length);
	int rc;

	if (!body)
		return error_set(err, -EINVAL,
		                 "the user, the key, the project or a domain is not UTF-8 (or memory is short)");
	tokens_url(o->auth_url, url);
	call.body = body;
	rc = http_call(&call, &reply, err);
	if (rc == 0 && (reply.status < 200 || reply.status > 299))
		rc = swift_login_explain(reply.status, o, identity->name, err);
	else if (rc == 0)
		rc = read_answer(&reply, o, session, lifetime_ns, err);
	http_reply_destroy(&reply);
	sodium_memzero(body, call.body_length);
	free(body);
	return rc;
}
