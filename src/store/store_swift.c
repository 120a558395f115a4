/* SPDX-License-Identifier: GPL-3.0-only */
/* store_swift.c: objects in a container of OpenStack Swift, by its own API.
 *
 * A put carries the MD5 of its body as ETag, which every object server checks. What can change (all but segments) is asked for
 * with X-Newest, as a replica that was away answers with what it had. Listings lag behind, which the store says by not claiming
 * STORE_LIST_CONSISTENT.
 */
#include "store/http_tls.h"
#include "store/store_http.h"
#include "store/store_types.h"
#include "store/swift_listing.h"
#include "store/swift_login.h"

#include <curl/curl.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct swift_store {
	struct http_store http;
	struct swift_login *login;
	char container[STORE_URL_CONTAINER_MAX + 1]; /* of characters that a URL's path can have */
};

/* ---- asking ---- */

/* "&name=value", the value encoded. 0 or -ENOMEM. */
static int add_query(char *url, size_t room, const char *name, const char *value)
{
	char *encoded = curl_easy_escape(NULL, value, 0);
	size_t at = strlen(url);

	if (!encoded)
		return -ENOMEM;
	int n = snprintf(url + at, room - at, "&%s=%s", name, encoded);
	curl_free(encoded);
	return n < (int)(room - at) ? 0 : -ENAMETOOLONG;
}

static int list_url(const struct swift_store *s, const struct http_op *op, char *url, size_t room)
{
	char text[STORE_URL_MAX + LISTED_KEY_MAX + 2];
	size_t at = strlen(url);
	int rc;

	snprintf(url + at, room - at, "?format=json&limit=%zu", op->max);
	snprintf(text, sizeof text, "%s%s", s->http.prefix, op->prefix);
	rc = text[0] ? add_query(url, room, "prefix", text) : 0;
	if (rc || !op->after[0])
		return rc;
	snprintf(text, sizeof text, "%s%s", s->http.prefix, op->after);
	return add_query(url, room, "marker", text);
}

static int add_url(const struct swift_store *s, const struct http_op *op, const char *storage_url,
                   struct http_head *head)
{
	size_t room = strlen(storage_url) + 8 * 1024;
	char *url = malloc(room), name[HTTP_NAME_MAX];
	int rc = 0;

	if (!url)
		return -ENOMEM;
	if (op->kind == HTTP_OP_LIST || op->kind == HTTP_OP_PLACE || op->kind == HTTP_OP_MAKE_PLACE) {
		snprintf(url, room, "%s/%s", storage_url, s->container);
	} else {
		http_store_name(&s->http, op->key, name);
		snprintf(url, room, "%s/%s/%s", storage_url, s->container, name);
	}
	if (op->kind == HTTP_OP_LIST || op->kind == HTTP_OP_PLACE)
		rc = list_url(s, op, url, room);
	if (!rc)
		rc = http_head_url(head, url);
	free(url);
	return rc;
}

static int add_lines(struct http_op *op, const char *token, struct http_head *head)
{
	char line[sizeof((struct swift_session *)0)->token + 32];
	int rc;

	snprintf(line, sizeof line, "X-Auth-Token: %s", token);
	rc = http_head_add(head, line);
	sodium_memzero(line, sizeof line);
	if (!rc && op->kind == HTTP_OP_PUT) {
		snprintf(line, sizeof line, "ETag: %s", op->digest.md5.hex);
		rc = http_head_add(head, line);
		if (!rc && op->flags & STORE_PUT_CREATE_ONLY)
			rc = http_head_add(head, "If-None-Match: *");
	}
	if (!rc && (op->kind == HTTP_OP_GET || op->kind == HTTP_OP_HEAD) && !(op->flags & STORE_GET_IMMUTABLE))
		rc = http_head_add(head, "X-Newest: true");
	return rc;
}

static int swift_prepare(struct http_store *store, struct http_op *op, struct http_head *head, struct error *err)
{
	struct swift_store *s = (struct swift_store *)store;
	struct swift_session session;
	int rc = swift_login_get(s->login, &session, err);

	if (rc)
		return rc;
	rc = add_url(s, op, session.storage_url, head);
	if (!rc)
		rc = add_lines(op, session.token, head);
	op->login[op->request.which] = session.generation;
	sodium_memzero(&session, sizeof session);
	return rc ? error_set(err, rc, "out of memory") : 0;
}

/* ---- what answers mean ---- */

static enum http_verdict swift_judge(struct http_store *store, struct http_op *op, struct error *err)
{
	struct swift_store *s = (struct swift_store *)store;
	const struct http_request *r = &op->request;

	switch (r->status) {
	case 202:
		/* Some object server has one with a newer timestamp, by a proxy whose clock is ahead: this one is not stored. */
		if (op->kind != HTTP_OP_PUT)
			return HTTP_JUDGE_BY_STATUS;
		error_set(err, -EBUSY,
		          "the server has a newer object, or one of a clock that is ahead: set the clocks (NTP)");
		return HTTP_JUDGE_AGAIN;
	case 401:
		swift_login_refused(s->login, op->login[r->which]);
		error_set(err, -EACCES, "the server does not accept the log-in any more");
		return HTTP_JUDGE_AGAIN;
	case 403:
		error_set(err, -EACCES, "the user may not do this in container %s", s->container);
		return HTTP_JUDGE_FAIL;
	case 404:
		if (op->kind != HTTP_OP_PUT)
			return HTTP_JUDGE_BY_STATUS;
		/* Not -ENOENT, which would say that there is no such object. */
		error_set(err, -ENODEV, "there is no container %s: check the URL, or make the container", s->container);
		return HTTP_JUDGE_FAIL;
	case 413:
		error_set(err, -ENOSPC, "the account's or container's quota is used up");
		return HTTP_JUDGE_FAIL;
	case 422:
		error_set(err, -EIO, "the bytes arrived damaged");
		return HTTP_JUDGE_AGAIN;
	case 498: /* rate limits of the ratelimit middleware */
		error_set(err, -EBUSY, "the server asks for fewer requests");
		return HTTP_JUDGE_AGAIN;
	default:
		return HTTP_JUDGE_BY_STATUS;
	}
}

static int swift_read_listing(const struct http_op *op, struct listed_objects *objects, bool *more, struct error *err)
{
	struct swift_listing listing;
	int rc;

	if (op->request.status == 204)
		return 0;
	rc = swift_listing_parse(op->request.buf, op->request.length, &listing, err);
	if (rc)
		return rc;
	*objects = listing.objects;
	*more = listing.entries >= op->max;
	listing.objects = (struct listed_objects){ 0 };
	swift_listing_destroy(&listing);
	return 0;
}

/* ---- opening ---- */

static void swift_destroy(struct http_store *store)
{
	swift_login_close(((struct swift_store *)store)->login);
}

static int swift_log_in(struct http_store *store, const struct store_url *url, const struct http_access *access,
                        const struct store_options *options, struct error *err)
{
	struct swift_store *s = (struct swift_store *)store;
	struct swift_login_options login = {
		.passwd_file = access->passwd_file,
		.tls = &access->tls,
		.auth_url = store_url_parameter(url, "auth"),
		.user = store_url_parameter(url, "user"),
		.project = store_url_parameter(url, "project"),
		.user_domain = store_url_parameter(url, "user_domain"),
		.project_domain = store_url_parameter(url, "project_domain"),
		.region = store_url_parameter(url, "region"),
		.interface = store_url_parameter(url, "interface"),
		.patience_ms = options->deadline_ms ? options->deadline_ms : HTTP_DEADLINE_MS,
	};

	snprintf(s->container, sizeof s->container, "%s", url->container);
	swift_login_options_from_env(NULL, &login);
	return swift_login_open(&login, &s->login, err);
}

static const char *const swift_parameters[] = { "auth",           "user",   "project",   "user_domain",
	                                        "project_domain", "region", "interface", HTTP_STORE_PARAMETERS };

static const struct http_store_kind swift_kind = {
	.size = sizeof(struct swift_store),
	.parameters = swift_parameters,
	.parameter_count = sizeof swift_parameters / sizeof swift_parameters[0],
	.capabilities = STORE_READ_LATEST, /* by X-Newest */
	.sum = HTTP_SUM_MD5,
	.log_in = swift_log_in,
	.prepare = swift_prepare,
	.judge = swift_judge,
	.read_listing = swift_read_listing,
	.destroy = swift_destroy,
};

static int swift_open(const char *url, const struct store_options *options, struct store **store, struct error *err)
{
	return http_store_open(&swift_kind, url, options, store, err);
}

const struct store_type store_swift_type = {
	.scheme = "swift",
	.open = swift_open,
};
