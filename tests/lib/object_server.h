/* SPDX-License-Identifier: GPL-3.0-only */
/* object_server.h: an object store in memory behind http_server.h that speaks S3 or Swift, and fails as a test says.
 *
 * It checks what a real one checks: the digest of a body, the token, and that nothing is overwritten under If-None-Match. It
 * does not check signatures: real gateways do, in the system tests. For tests only.
 */
#ifndef GARNER_TESTS_OBJECT_SERVER_H
#define GARNER_TESTS_OBJECT_SERVER_H

#include "lib/http_server.h"
#include "store/body_digest.h"

#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdarg.h>

#define OBJECTS_MAX 64

struct stored_object {
	char name[400];
	uint8_t *bytes;
	size_t length;
	struct body_md5 md5;
};

struct object_server {
	struct http_server http;
	bool swift;
	char url[300];                            /* of a pool in it */
	pthread_mutex_t mutex;                    /* guards what follows */
	struct stored_object object[OBJECTS_MAX]; /* in order of names */
	size_t count;
	bool no_place;         /* there is no bucket or container */
	size_t bent;           /* while not 0, this place in each listed name shows another character */
	unsigned lose;         /* so many puts work, and the connection is closed without an answer */
	unsigned accept;       /* so many puts do nothing, and are answered with 202 ... */
	const char *accepted;  /* ... and this body, if not NULL */
	unsigned fail;         /* so many requests for objects and listings ... */
	int fail_status;       /* ... are answered with this status */
	const char *fail_code; /* of S3 */
	/* Bulk deletes, of S3. */
	unsigned bulks, singles; /* so many there were, and deletes of one object */
	int bulk_status;         /* while not 0, they are answered with this status, ... */
	const char *bulk_code;   /* ... and this code, or without a document */
	const char *bulk_text;   /* while not NULL, they do nothing and are answered with this */
	unsigned leave;          /* so many objects are not deleted by them ... */
	const char *leave_code;  /* ... but this is said */
	unsigned lose_bulks;     /* so many work, and the connection is closed without an answer */
	bool hold_bulks;         /* they are not answered */
	/* Of S3: keys role-1, role-2, ..., at /role. */
	unsigned roles;           /* so many were given out */
	unsigned role;            /* while not 0, requests signed with other keys than those of that number ... */
	int refusal;              /* ... are answered with this status ... */
	const char *refusal_code; /* ... and this code */
	bool hold_refused;        /* when http_server_let_go() is called */
	char token[32];
	unsigned logins;
	int login_status; /* of a log-in; 0: success */
	char seen[512];   /* of the last put or get: the headers that matter */
	char text[65536];
};

static inline void object_server_error(struct object_server *s, int status, const char *code,
                                       struct http_server_answer *a)
{
	a->status = status;
	if (s->swift)
		return;
	a->body_length = (size_t)snprintf(s->text, sizeof s->text,
	                                  "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>said the test"
	                                  "</Message></Error>",
	                                  code);
	a->body = s->text;
}

static inline struct stored_object *object_server_find(struct object_server *s, const char *name)
{
	for (size_t i = 0; i < s->count; i++)
		if (strcmp(s->object[i].name, name) == 0)
			return &s->object[i];
	return NULL;
}

/* For the test itself, too. */
static inline void object_server_keep(struct object_server *s, const char *name, const void *bytes, size_t length)
{
	struct stored_object *o = object_server_find(s, name);
	struct iovec iov = { (void *)(uintptr_t)bytes, length };
	size_t i = 0;

	if (!o) {
		assert(s->count < OBJECTS_MAX);
		while (i < s->count && strcmp(s->object[i].name, name) < 0)
			i++;
		memmove(&s->object[i + 1], &s->object[i], (s->count - i) * sizeof s->object[0]);
		s->count++;
		o = &s->object[i];
		*o = (struct stored_object){ 0 };
		snprintf(o->name, sizeof o->name, "%s", name);
	}
	free(o->bytes);
	o->bytes = malloc(length + 1);
	if (length)
		memcpy(o->bytes, bytes, length);
	o->length = length;
	body_md5(&iov, 1, &o->md5, NULL);
}

static inline bool object_server_body_whole(struct object_server *s, const struct http_server_request *r)
{
	struct iovec iov = { (void *)(uintptr_t)r->body, r->body_length };
	char sha256[BODY_SHA256_HEX_ROOM];
	struct body_md5 md5;

	if (s->swift)
		return !body_md5(&iov, 1, &md5, NULL) && strcmp(http_server_header(r, "ETag"), md5.hex) == 0;
	return !body_sha256(&iov, 1, sha256, NULL) &&
	       strcmp(http_server_header(r, "x-amz-content-sha256"), sha256) == 0;
}

static inline void object_server_put(struct object_server *s, const struct http_server_request *r, const char *name,
                                     struct http_server_answer *a)
{
	if (s->no_place) {
		object_server_error(s, 404, "NoSuchBucket", a);
	} else if (strcmp(http_server_header(r, "If-None-Match"), "*") == 0 && object_server_find(s, name)) {
		object_server_error(s, 412, "PreconditionFailed", a);
	} else if (s->accept) {
		s->accept--;
		a->status = 202;
		a->body = s->accepted;
		a->body_length = s->accepted ? strlen(s->accepted) : 0;
	} else if (!object_server_body_whole(s, r)) {
		object_server_error(s, s->swift ? 422 : 400, "XAmzContentSHA256Mismatch", a);
	} else {
		object_server_keep(s, name, r->body, r->body_length);
		a->status = s->swift ? 201 : 200;
		if (s->lose) {
			s->lose--;
			a->drop = true;
		}
	}
}

static inline void object_server_get(struct object_server *s, const struct http_server_request *r, const char *name,
                                     struct http_server_answer *a)
{
	struct stored_object *o = object_server_find(s, name);
	static char range[80];
	size_t first = 0, last;

	if (!o || s->no_place) {
		object_server_error(s, 404, s->no_place ? "NoSuchBucket" : "NoSuchKey", a);
		return;
	}
	a->body = o->bytes;
	a->body_length = o->length;
	a->name[0] = "ETag";
	a->value[0] = o->md5.hex;
	if (sscanf(http_server_header(r, "Range"), "bytes=%zu-%zu", &first, &last) != 2)
		return;
	if (first >= o->length) {
		*a = (struct http_server_answer){ 0 };
		object_server_error(s, 416, "InvalidRange", a);
		return;
	}
	if (last >= o->length)
		last = o->length - 1;
	snprintf(range, sizeof range, "bytes %zu-%zu/%zu", first, last, o->length);
	a->status = 206;
	a->body = o->bytes + first;
	a->body_length = last - first + 1;
	a->name[1] = "Content-Range";
	a->value[1] = range;
}

static inline void object_server_delete(struct object_server *s, struct stored_object *o)
{
	if (!o)
		return;
	free(o->bytes);
	s->count--;
	memmove(o, o + 1, (size_t)(&s->object[s->count] - o) * sizeof *o);
}

/* Deletes what is named between <Key> and </Key>, and says what it leaves, from byte `n` of the text on; returns where that ends. */
static inline size_t object_server_delete_named(struct object_server *s, const struct http_server_request *r, size_t n)
{
	char *body = strndup((const char *)r->body, r->body_length);

	for (char *key = body; key && (key = strstr(key, "<Key>"));) {
		char *end = strstr(key, "</Key>");

		assert(end);
		*end = '\0';
		key += strlen("<Key>");
		if (s->leave && object_server_find(s, key)) {
			s->leave--;
			n += (size_t)snprintf(
				s->text + n, sizeof s->text - n,
				"<Error><Key>%s</Key><Code>%s</Code><Message>said the test</Message></Error>", key,
				s->leave_code);
		} else {
			object_server_delete(s, object_server_find(s, key));
		}
		key = end + 1;
	}
	free(body);
	return n;
}

static inline void object_server_bulk(struct object_server *s, const struct http_server_request *r,
                                      struct http_server_answer *a)
{
	struct iovec iov = { (void *)(uintptr_t)r->body, r->body_length };
	struct body_md5 md5;
	size_t n;

	s->bulks++;
	if (s->no_place) {
		object_server_error(s, 404, "NoSuchBucket", a);
	} else if (s->bulk_status) {
		a->status = s->bulk_status;
		if (s->bulk_code)
			object_server_error(s, s->bulk_status, s->bulk_code, a);
	} else if (!object_server_body_whole(s, r) || body_md5(&iov, 1, &md5, NULL) ||
	           strcmp(http_server_header(r, "Content-MD5"), md5.base64) != 0) {
		object_server_error(s, 400, "BadDigest", a);
	} else if (s->bulk_text) {
		a->body = s->bulk_text;
		a->body_length = strlen(s->bulk_text);
	} else if (s->hold_bulks) {
		a->hold = true;
	} else {
		n = (size_t)snprintf(s->text, sizeof s->text, "<DeleteResult>");
		n = object_server_delete_named(s, r, n);
		n += (size_t)snprintf(s->text + n, sizeof s->text - n, "</DeleteResult>");
		a->body = s->text;
		a->body_length = n;
		if (s->lose_bulks) {
			s->lose_bulks--;
			a->drop = true;
		}
	}
}

/* One page. */
static inline void object_server_list(struct object_server *s, const struct evkeyvalq *query,
                                      struct http_server_answer *a)
{
	const char *prefix = evhttp_find_header(query, "prefix");
	const char *after = evhttp_find_header(query, s->swift ? "marker" : "start-after");
	const char *most = evhttp_find_header(query, s->swift ? "limit" : "max-keys");
	size_t n = 0, max = most ? strtoul(most, NULL, 10) : 1000, listed = 0, i;

	if (s->no_place) {
		object_server_error(s, 404, "NoSuchBucket", a);
		return;
	}
	n = (size_t)snprintf(s->text, sizeof s->text, "%s", s->swift ? "[" : "<ListBucketResult>");
	for (i = 0; i < s->count; i++) {
		const struct stored_object *o = &s->object[i];
		if ((prefix && strncmp(o->name, prefix, strlen(prefix)) != 0) || (after && strcmp(o->name, after) <= 0))
			continue;
		if (listed == max)
			break;
		char name[sizeof o->name];
		snprintf(name, sizeof name, "%s", o->name);
		if (s->bent && s->bent < strlen(name))
			name[s->bent] ^= 1;
		n += (size_t)snprintf(
			s->text + n, sizeof s->text - n,
			s->swift ? "%s{\"name\":\"%s\",\"bytes\":%zu,\"hash\":\"%s\","
				   "\"last_modified\":\"2026-01-01T00:00:00.000000\"}"
				 : "%s<Contents><Key>%s</Key><Size>%zu</Size><ETag>\"%s\"</ETag></Contents>",
			s->swift && listed ? "," : "", name, o->length, o->md5.hex);
		listed++;
	}
	n += (size_t)snprintf(s->text + n, sizeof s->text - n, "%s",
	                      s->swift       ? "]"
	                      : i < s->count ? "<IsTruncated>true</IsTruncated></ListBucketResult>"
	                                     : "<IsTruncated>false</IsTruncated></ListBucketResult>");
	a->body = s->text;
	a->body_length = n;
}

static inline void object_server_log_in(struct object_server *s, struct http_server_answer *a)
{
	static char url[100];

	if (s->login_status) {
		a->status = s->login_status;
		return;
	}
	snprintf(s->token, sizeof s->token, "token-%u", ++s->logins);
	snprintf(url, sizeof url, "http://127.0.0.1:%u/v1/AUTH_test", s->http.port);
	a->name[0] = "X-Storage-Url";
	a->value[0] = url;
	a->name[1] = "X-Auth-Token";
	a->value[1] = s->token;
}

static inline void object_server_give_role(struct object_server *s, struct http_server_answer *a)
{
	static char text[200];

	s->roles++;
	a->body_length = (size_t)snprintf(text, sizeof text,
	                                  "{\"AccessKeyId\": \"role-%u\", \"SecretAccessKey\": "
	                                  "\"secret-of-the-test\", \"Token\": \"token-of-the-test\"}",
	                                  s->roles);
	a->body = text;
}

static inline bool object_server_refuses(struct object_server *s, const struct http_server_request *r)
{
	char credential[40];

	snprintf(credential, sizeof credential, "Credential=role-%u/", s->role);
	return s->role && !strstr(http_server_header(r, "Authorization"), credential);
}

static inline void object_server_asked(void *arg, const struct http_server_request *r, struct http_server_answer *a)
{
	struct object_server *s = arg;
	struct evkeyvalq query;
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(r->real);
	const char *path = evhttp_uri_get_path(uri), *root = s->swift ? "/v1/AUTH_test/place" : "/place";
	const char *name = strncmp(path, root, strlen(root)) == 0 ? path + strlen(root) : NULL;

	evhttp_parse_query_str(evhttp_uri_get_query(uri) ? evhttp_uri_get_query(uri) : "", &query);
	pthread_mutex_lock(&s->mutex);
	if (s->swift && strcmp(path, "/auth/v1.0") == 0) {
		object_server_log_in(s, a);
	} else if (s->swift && strcmp(http_server_header(r, "X-Auth-Token"), s->token) != 0) {
		a->status = 401;
	} else if (!s->swift && strcmp(path, "/role") == 0) {
		object_server_give_role(s, a);
	} else if (!name || (*name && *name != '/')) {
		a->status = 400;
	} else if (s->fail && (r->method == EVHTTP_REQ_POST || (name[0] && (name[1] || r->method == EVHTTP_REQ_GET)))) {
		s->fail--;
		object_server_error(s, s->fail_status, s->fail_code, a);
	} else if (object_server_refuses(s, r)) {
		object_server_error(s, s->refusal, s->refusal_code, a);
		a->hold = s->hold_refused;
	} else if (!*name) {
		if (r->method == EVHTTP_REQ_PUT)
			s->no_place = false;
		else if (r->method == EVHTTP_REQ_POST && evhttp_find_header(&query, "delete"))
			object_server_bulk(s, r, a);
		else
			object_server_list(s, &query, a);
	} else {
		snprintf(s->seen, sizeof s->seen, "newest=%s auth=%d", http_server_header(r, "X-Newest"),
		         http_server_header(r, "Authorization")[0] || http_server_header(r, "X-Auth-Token")[0]);
		if (r->method == EVHTTP_REQ_PUT)
			object_server_put(s, r, name + 1, a);
		else if (r->method == EVHTTP_REQ_DELETE) {
			struct stored_object *o = object_server_find(s, name + 1);
			a->status = o || !s->swift ? 204 : 404;
			object_server_delete(s, o);
			s->singles++;
		} else {
			object_server_get(s, r, name + 1, a);
		}
	}
	pthread_mutex_unlock(&s->mutex);
	evhttp_clear_headers(&query);
}

static inline void object_server_start(struct object_server *s, bool swift)
{
	memset(s, 0, sizeof *s);
	s->swift = swift;
	pthread_mutex_init(&s->mutex, NULL);
	http_server_start(&s->http, object_server_asked, s);
	if (swift) {
		setenv("ST_KEY", "secret-of-the-test", 1);
		snprintf(s->url, sizeof s->url,
		         "swift://place/pool?auth=http://127.0.0.1:%u/auth/v1.0&user=test:tester", s->http.port);
	} else {
		setenv("AWS_ACCESS_KEY_ID", "id-of-the-test", 1);
		setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-test", 1);
		snprintf(s->url, sizeof s->url, "s3://place/pool?endpoint=http://127.0.0.1:%u&style=path",
		         s->http.port);
	}
}

static inline void object_server_stop(struct object_server *s)
{
	http_server_stop(&s->http);
	for (size_t i = 0; i < s->count; i++)
		free(s->object[i].bytes);
	pthread_mutex_destroy(&s->mutex);
}

#endif
