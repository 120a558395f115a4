/* SPDX-License-Identifier: GPL-3.0-only */
/* store_s3.c: objects in a bucket of Amazon S3, Ceph RGW, MinIO or another server that speaks S3.
 *
 * Every try is signed anew (sigv4.h), a put with the SHA-256 of its body, which the server checks. The end of a listing's page is
 * the last key, so that no token of the server needs to be kept.
 */
#include "store/aws_credentials.h"
#include "store/environment.h"
#include "store/http_retry.h"
#include "store/http_tls.h"
#include "store/s3_delete.h"
#include "store/s3_meaning.h"
#include "store/s3_xml.h"
#include "store/sigv4.h"
#include "store/store_http.h"
#include "store/store_types.h"

#include <curl/curl.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EXAMPLE "s3://bucket/prefix?endpoint=https://s3.example.org"
#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define REGION_DEFAULT "us-east-1"
#define HOST_MAX 256

struct s3_store {
	struct http_store http;
	struct aws_credentials *credentials;
	char bucket[STORE_URL_CONTAINER_MAX + 1];
	char region[64];
	char origin[HOST_MAX + 16]; /* "https://host:port" */
	char host[HOST_MAX];        /* as in the Host header */
	bool path_style;            /* else the bucket is the first part of the host */
	struct s3_delete bulk;
};

/* ---- asking ---- */

static const char *method_of(const struct http_op *op)
{
	static const char *const names[] = { [HTTP_GET] = "GET",
		                             [HTTP_HEAD] = "HEAD",
		                             [HTTP_PUT] = "PUT",
		                             [HTTP_POST] = "POST",
		                             [HTTP_DELETE] = "DELETE" };

	return names[op->request.method];
}

/* "/bucket/name", or "/name" where the host tells the bucket. */
static void path_of(const struct s3_store *s, const struct http_op *op, char path[HTTP_NAME_MAX + 300])
{
	char name[HTTP_NAME_MAX] = "";
	bool whole = op->kind == HTTP_OP_LIST || op->kind == HTTP_OP_PLACE || op->kind == HTTP_OP_MAKE_PLACE ||
	             op->kind == HTTP_OP_POST;

	if (!whole)
		http_store_name(&s->http, op->key, name);
	if (s->path_style)
		snprintf(path, HTTP_NAME_MAX + 300, "/%s%s%s", s->bucket, whole ? "" : "/", name);
	else
		snprintf(path, HTTP_NAME_MAX + 300, "/%s", name);
}

struct s3_query {
	struct sigv4_pair pair[5];
	size_t count;
	char prefix[HTTP_NAME_MAX];
	char after[STORE_URL_MAX + LISTED_KEY_MAX + 2];
	char max[16];
};

static void query_of(const struct s3_store *s, const struct http_op *op, struct s3_query *q)
{
	q->count = 0;
	if (op->kind == HTTP_OP_POST)
		q->pair[q->count++] = (struct sigv4_pair){ "delete", NULL };
	if (op->kind != HTTP_OP_LIST && op->kind != HTTP_OP_PLACE)
		return;
	http_store_name(&s->http, op->prefix, q->prefix);
	snprintf(q->max, sizeof q->max, "%zu", op->max);
	q->pair[q->count++] = (struct sigv4_pair){ "list-type", "2" };
	q->pair[q->count++] = (struct sigv4_pair){ "encoding-type", "url" };
	q->pair[q->count++] = (struct sigv4_pair){ "max-keys", q->max };
	q->pair[q->count++] = (struct sigv4_pair){ "prefix", q->prefix };
	if (!op->after[0])
		return;
	snprintf(q->after, sizeof q->after, "%s%s", s->http.prefix, op->after);
	q->pair[q->count++] = (struct sigv4_pair){ "start-after", q->after };
}

/* What is sent with the op beside what every request has; both are signed, too. */
static size_t headers_of(const struct http_op *op, struct sigv4_pair headers[2])
{
	if (op->kind != HTTP_OP_POST)
		return 0;
	headers[0] = (struct sigv4_pair){ "content-md5", op->digest.md5.base64 };
	headers[1] = (struct sigv4_pair){ "content-type", "application/xml" };
	return 2;
}

static int send_pair(const struct sigv4_pair *pair, struct http_head *head)
{
	char line[100];

	snprintf(line, sizeof line, "%s: %s", pair->name, pair->value);
	return http_head_add(head, line);
}

static int send_head(const struct s3_store *s, const struct sigv4_signed *signature, struct http_head *head)
{
	size_t room = strlen(s->origin) + strlen(signature->target) + 1;
	char *url = malloc(room);
	int rc = -ENOMEM;

	if (!url)
		return rc;
	snprintf(url, room, "%s%s", s->origin, signature->target);
	rc = http_head_url(head, url);
	for (size_t i = 0; !rc && i < signature->line_count; i++)
		rc = http_head_add(head, signature->lines[i]);
	free(url);
	return rc;
}

static int s3_prepare(struct http_store *store, struct http_op *op, struct http_head *head, struct error *err)
{
	struct s3_store *s = (struct s3_store *)store;
	char path[HTTP_NAME_MAX + 300];
	struct sigv4_signed signature;
	struct sigv4_pair headers[2];
	size_t header_count = headers_of(op, headers);
	struct s3_query query;
	struct aws_keys keys;
	int rc = aws_credentials_get(s->credentials, &keys, &op->login[op->request.which], err);

	if (rc)
		return rc;
	path_of(s, op, path);
	query_of(s, op, &query);
	struct sigv4_request request = {
		.method = method_of(op),
		.host = s->host,
		.path = path,
		.query = query.pair,
		.query_count = query.count,
		.headers = headers,
		.header_count = header_count,
		.payload_sha256_hex =
			op->kind == HTTP_OP_PUT || op->kind == HTTP_OP_POST ? op->digest.sha256 : EMPTY_SHA256,
		.now = time(NULL),
		.region = s->region,
		.service = "s3",
		.access_key = keys.access_key,
		.secret_key = keys.secret_key,
		.session_token = keys.session_token[0] ? keys.session_token : NULL,
	};
	rc = sigv4_sign(&request, &signature, err);
	sodium_memzero(&keys, sizeof keys);
	if (rc)
		return rc;
	rc = send_head(s, &signature, head);
	for (size_t i = 0; !rc && i < header_count; i++)
		rc = send_pair(&headers[i], head);
	if (!rc && op->kind == HTTP_OP_PUT && op->flags & STORE_PUT_CREATE_ONLY)
		rc = http_head_add(head, "If-None-Match: *");
	sigv4_signed_destroy(&signature);
	return rc ? error_set(err, rc, "out of memory") : 0;
}

/* ---- what answers mean ---- */

/* Keys that the server does not take may have run out, or have been changed in their file: they are found anew. Keys that are just
 * wrong are wrong the second time, too: those that were found after a refusal are not found once more for the same request. An answer to
 * a HEAD has no body that says what is wrong: Amazon answers 400 when a token has run out, 403 when it does not know the key. */
static bool keys_refused(struct s3_store *s, struct http_op *op, const char *code)
{
	const struct http_request *r = &op->request;
	uint64_t login = op->login[r->which];

	if (strcmp(code, "ExpiredToken") != 0 && strcmp(code, "TokenRefreshRequired") != 0) {
		bool untold = r->method == HTTP_HEAD && !code[0] &&
		              (r->status == 400 || r->status == 401 || r->status == 403);
		if (!untold && strcmp(code, "InvalidAccessKeyId") != 0 && strcmp(code, "SignatureDoesNotMatch") != 0)
			return false;
		if (op->refused && op->refused != login)
			return false;
		op->refused = login;
	}
	aws_credentials_refused(s->credentials, login);
	return true;
}

static enum http_verdict s3_judge(struct http_store *store, struct http_op *op, struct error *err)
{
	struct s3_store *s = (struct s3_store *)store;
	const struct http_request *r = &op->request;
	const struct s3_meaning *m;
	struct s3_error fault = { 0 };

	if (r->status >= 200 && r->status < 300)
		return HTTP_JUDGE_BY_STATUS;
	bool told = r->fault_length && !s3_error_parse(r->fault, r->fault_length, &fault, NULL);
	if (op->kind == HTTP_OP_POST && s3_delete_unknown(r->status, fault.code)) {
		error_set(err, -EOPNOTSUPP, "the server knows no bulk delete (status %ld)", r->status);
		return HTTP_JUDGE_FAIL;
	}
	if (keys_refused(s, op, told ? fault.code : "")) {
		error_set(err, -EACCES, "the server does not accept the keys (%s)",
		          told ? fault.code : "it does not say why");
		return HTTP_JUDGE_AGAIN;
	}
	if (!told) {
		if (r->status == 301 || r->status == 307)
			return error_set(err, -EINVAL, "the bucket is in another region: give it as region=..."),
			       HTTP_JUDGE_FAIL;
		return HTTP_JUDGE_BY_STATUS;
	}
	m = s3_meaning_find(fault.code);
	if (m) {
		error_set(err, m->rc, "%s (%s)",
		          m->text            ? m->text
		          : fault.message[0] ? fault.message
		                             : "refused",
		          fault.code);
		return m->verdict;
	}
	if (fault.region[0] && strcmp(fault.region, s->region) != 0) {
		error_set(err, -EINVAL, "the bucket is in another region: give it as region=%s", fault.region);
		return HTTP_JUDGE_FAIL;
	}
	int rc = http_status_errno(r->status);
	error_set(err, rc ? rc : -EIO, "%s (status %ld, %s)", fault.message[0] ? fault.message : "refused", r->status,
	          fault.code);
	return http_status_passes(r->status) ? HTTP_JUDGE_AGAIN : HTTP_JUDGE_FAIL;
}

static int s3_read_listing(const struct http_op *op, struct listed_objects *objects, bool *more, struct error *err)
{
	struct s3_listing listing;
	int rc = s3_listing_parse(op->request.buf, op->request.length, &listing, err);

	if (rc)
		return rc;
	*objects = listing.objects;
	*more = listing.truncated;
	listing.objects = (struct listed_objects){ 0 };
	s3_listing_destroy(&listing);
	return 0;
}

static void s3_remove_many(struct http_store *store, const char *const *keys, size_t count, store_done_fn *done,
                           void *arg)
{
	s3_delete(store, &((struct s3_store *)store)->bulk, keys, count, done, arg);
}

/* ---- opening ---- */

static void s3_destroy(struct http_store *store)
{
	aws_credentials_close(((struct s3_store *)store)->credentials);
}

/* Takes scheme, host and port out of the endpoint. */
static int read_endpoint(struct s3_store *s, const char *endpoint, struct error *err)
{
	char *scheme = NULL, *host = NULL, *port = NULL, *path = NULL;
	const char *dot = s->path_style ? "" : ".", *bucket = s->path_style ? "" : s->bucket;
	CURLU *u = curl_url();
	int rc = -EINVAL, n;

	if (!u)
		return error_set(err, -ENOMEM, "out of memory");
	if (curl_url_set(u, CURLUPART_URL, endpoint, 0) || curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) ||
	    curl_url_get(u, CURLUPART_HOST, &host, 0) || curl_url_get(u, CURLUPART_PATH, &path, 0) ||
	    strcmp(path, "/") != 0) {
		error_set(err, rc, "endpoint should be http(s)://HOST or http(s)://HOST:PORT; example: %s", EXAMPLE);
		goto out;
	}
	/* A port that is the scheme's own is not in the Host header. */
	curl_url_get(u, CURLUPART_PORT, &port, CURLU_NO_DEFAULT_PORT);
	n = snprintf(s->host, sizeof s->host, "%s%s%s%s%s", bucket, dot, host, port ? ":" : "", port ? port : "");
	if (n >= (int)sizeof s->host) {
		error_set(err, rc, "the endpoint's name is too long");
		goto out;
	}
	snprintf(s->origin, sizeof s->origin, "%s://%s", scheme, s->host);
	rc = 0;
out:
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	curl_free(path);
	curl_url_cleanup(u);
	return rc;
}

/* Which server, which region, how the bucket is named. */
static int read_place(struct s3_store *s, const struct store_url *url, struct error *err)
{
	const char *endpoint = store_url_parameter(url, "endpoint"), *style = store_url_parameter(url, "style");
	const char *region = store_url_parameter(url, "region");
	char amazon[128];

	if (!region)
		region = environment_get(NULL, "AWS_REGION");
	if (!region)
		region = environment_get(NULL, "AWS_DEFAULT_REGION");
	if (!region)
		region = REGION_DEFAULT;
	if (strlen(region) >= sizeof s->region ||
	    strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(region))
		return error_set(err, -EINVAL, "region should be a name such as eu-central-1");
	if (style && strcmp(style, "path") != 0 && strcmp(style, "host") != 0)
		return error_set(err, -EINVAL, "style is path (http://host/bucket) or host (http://bucket.host)");
	snprintf(s->region, sizeof s->region, "%s", region);
	snprintf(s->bucket, sizeof s->bucket, "%s", url->container);
	/* A bucket with a dot is not covered by the certificate of *.host. */
	s->path_style = style ? strcmp(style, "path") == 0 : endpoint || strchr(s->bucket, '.');
	if (!endpoint) {
		snprintf(amazon, sizeof amazon, "https://s3.%s.amazonaws.com", region);
		endpoint = amazon;
	}
	return read_endpoint(s, endpoint, err);
}

static int s3_log_in(struct http_store *store, const struct store_url *url, const struct http_access *access,
                     const struct store_options *options, struct error *err)
{
	struct s3_store *s = (struct s3_store *)store;
	struct aws_credentials_options credentials = {
		.passwd_file = access->passwd_file,
		.patience_ms = options->deadline_ms ? options->deadline_ms : HTTP_DEADLINE_MS,
	};
	int rc = read_place(s, url, err);

	if (!rc)
		rc = http_url_allowed(s->origin, &access->tls, err);
	return rc ? rc : aws_credentials_open(&credentials, &s->credentials, err);
}

static const char *const s3_parameters[] = { "endpoint", "region", "style", HTTP_STORE_PARAMETERS };

static const struct http_store_kind s3_kind = {
	.size = sizeof(struct s3_store),
	.parameters = s3_parameters,
	.parameter_count = sizeof s3_parameters / sizeof s3_parameters[0],
	.capabilities = STORE_CREATE_ONLY | STORE_LIST_CONSISTENT | STORE_READ_LATEST,
	.log_in = s3_log_in,
	.prepare = s3_prepare,
	.judge = s3_judge,
	.read_listing = s3_read_listing,
	.remove_many = s3_remove_many,
	.destroy = s3_destroy,
};

static int s3_open(const char *url, const struct store_options *options, struct store **store, struct error *err)
{
	return http_store_open(&s3_kind, url, options, store, err);
}

const struct store_type store_s3_type = {
	.scheme = "s3",
	.open = s3_open,
};
