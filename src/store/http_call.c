/* SPDX-License-Identifier: GPL-3.0-only */
/* http_call.c: one HTTP request, waited for. Must never put into a message what was sent or received. */
#include "store/http_call.h"

#include <errno.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 10000
#define REPLY_MAX ((size_t)64 << 10)
#define HEAD_MAX ((size_t)64 << 10)
#define BODY_FIRST 4096

/* A transfer under way. */
struct transfer {
	const struct http_call *call;
	CURL *easy;
	struct curl_slist *headers;
	char *body;
	size_t length, room, most;
	size_t head; /* bytes of header lines so far */
	bool too_large, no_memory;
	char trouble[CURL_ERROR_SIZE];
};

/* ---- what libcurl calls ---- */

static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
	struct transfer *t = arg;

	(void)line;
	t->head += size * count;
	t->too_large |= t->head > HEAD_MAX;
	return t->too_large ? 0 : size * count;
}

/* Makes room for `more` bytes and a NUL, without leaving a copy behind. */
static bool grow(struct transfer *t, size_t more)
{
	size_t room = t->room ? t->room : BODY_FIRST;
	char *body;

	if (t->room > t->length + more)
		return true;
	while (room <= t->length + more)
		room *= 2;
	body = malloc(room);
	if (!body)
		return false;
	if (t->body) {
		memcpy(body, t->body, t->length);
		sodium_memzero(t->body, t->room);
		free(t->body);
	}
	t->body = body;
	t->room = room;
	return true;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *arg)
{
	struct transfer *t = arg;
	size_t more = size * count;

	if (more > t->most - t->length) {
		t->too_large = true;
		return 0;
	}
	if (!grow(t, more)) {
		t->no_memory = true;
		return 0;
	}
	memcpy(t->body + t->length, bytes, more);
	t->length += more;
	return more;
}

/* ---- asking ---- */

/* A line break would begin another header. */
static bool has_control(const char *line)
{
	for (; *line; line++)
		if ((unsigned char)*line < ' ' || *line == 0x7f)
			return true;
	return false;
}

static int add_header(struct transfer *t, const char *line, struct error *err)
{
	struct curl_slist *longer;

	if (has_control(line))
		return error_set(err, -EINVAL,
		                 "the value of '%.*s' has control characters or line breaks in it: it cannot be sent",
		                 (int)strcspn(line, ":\r\n"), line);
	longer = curl_slist_append(t->headers, line);
	if (!longer)
		return error_set(err, -ENOMEM, "no memory for a request");
	t->headers = longer;
	return 0;
}

static int add_headers(struct transfer *t, struct error *err)
{
	int rc = add_header(t, "Expect:", err);

	if (rc == 0)
		rc = add_header(t, "User-Agent: garnerfs", err);
	for (const char *const *line = t->call->headers; rc == 0 && line && *line; line++)
		rc = add_header(t, *line, err);
	return rc;
}

static void free_headers(struct transfer *t)
{
	for (struct curl_slist *h = t->headers; h; h = h->next)
		sodium_memzero(h->data, strlen(h->data));
	curl_slist_free_all(t->headers);
	t->headers = NULL;
}

static CURLcode set_method(struct transfer *t)
{
	const struct http_call *call = t->call;
	CURLcode code = CURLE_OK;

	if (strcmp(call->method, "HEAD") == 0)
		return curl_easy_setopt(t->easy, CURLOPT_NOBODY, 1L);
	if (call->body || strcmp(call->method, "GET") != 0) {
		/* The length goes first: the bytes need not end in a NUL. They are read where they are, not copied. */
		code = curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE,
		                        (curl_off_t)(call->body ? call->body_length : 0));
		if (code == CURLE_OK)
			code = curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, call->body ? call->body : "");
	}
	if (code == CURLE_OK)
		code = curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, call->method);
	return code;
}

static CURLcode set_callbacks(struct transfer *t)
{
	CURLcode code = curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_header);

	if (code == CURLE_OK)
		code = curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
	if (code == CURLE_OK)
		code = curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_body);
	if (code == CURLE_OK)
		code = curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
	if (code == CURLE_OK)
		code = curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->trouble);
	return code;
}

static CURLcode set_request(struct transfer *t)
{
	const struct http_call *call = t->call;
	long timeout = (long)(call->timeout_ms ? call->timeout_ms : TIMEOUT_MS);
	long connect = call->connect_ms ? (long)call->connect_ms : timeout;
	CURLcode code = curl_easy_setopt(t->easy, CURLOPT_URL, call->url);

	/* A proxy stands elsewhere: it cannot reach what only this host can, and must not be shown what is plain. */
	if (code == CURLE_OK && http_url_place(call->url) != HTTP_PLACE_ELSEWHERE)
		code = curl_easy_setopt(t->easy, CURLOPT_PROXY, "");
	if (code == CURLE_OK)
		code = curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
	if (code == CURLE_OK)
		code = curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, timeout);
	if (code == CURLE_OK)
		code = curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT_MS, connect);
	if (code == CURLE_OK)
		code = set_method(t);
	if (code == CURLE_OK)
		code = set_callbacks(t);
	return code;
}

/* What libcurl said of the connection: from the system and the TLS library, but a name in a certificate may be
 * anybody's. */
static const char *connection_trouble(struct transfer *t, CURLcode code)
{
	if (!t->trouble[0])
		return curl_easy_strerror(code);
	for (char *p = t->trouble; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	return t->trouble;
}

static int explain(struct transfer *t, CURLcode code, struct error *err)
{
	char host[HTTP_HOST_TEXT_MAX];

	http_url_host(t->call->url, host);
	if (t->too_large)
		return error_set(err, -EMSGSIZE,
		                 "%s sent a much longer answer than belongs to the question; is it the right "
		                 "server?",
		                 host);
	if (t->no_memory || code == CURLE_OUT_OF_MEMORY)
		return error_set(err, -ENOMEM, "no memory for the answer of %s", host);
	switch (code) {
	case CURLE_OPERATION_TIMEDOUT:
		return error_set(err, -ETIMEDOUT, "%s did not answer in time; check that it is up and reachable", host);
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_CONNECT:
		return error_set(err, -EHOSTUNREACH,
		                 "no connection to %s (%s); check that it is up and the name and port are right", host,
		                 connection_trouble(t, code));
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
		return error_set(err, -EKEYREJECTED,
		                 "no trusted TLS connection to %s (%s); check the certificate and the CA file", host,
		                 connection_trouble(t, code));
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
		return error_set(err, -EPROTO, "what %s sent is not HTTP; check the port, and http against https",
		                 host);
	default:
		return error_set(err, -EIO, "the connection to %s broke (%s); check that it is the right server", host,
		                 curl_easy_strerror(code));
	}
}

static void free_body(char *body, size_t length)
{
	if (body)
		sodium_memzero(body, length);
	free(body);
}

static int perform(struct transfer *t, struct error *err)
{
	CURLcode code;
	int rc = http_tls_apply(t->call->tls, t->easy, err);

	if (rc == 0)
		rc = add_headers(t, err);
	if (rc < 0)
		return rc;
	code = set_request(t);
	if (code == CURLE_OK)
		code = curl_easy_perform(t->easy);
	if (code != CURLE_OK)
		return explain(t, code, err);
	if (!grow(t, 0))
		return error_set(err, -ENOMEM, "no memory for an answer");
	t->body[t->length] = '\0';
	return 0;
}

int http_call(const struct http_call *call, struct http_reply *reply, struct error *err)
{
	struct transfer t = { .call = call, .most = call->reply_max ? call->reply_max : REPLY_MAX };
	int rc;

	*reply = (struct http_reply){ 0 };
	rc = http_url_allowed(call->url, call->tls, err);
	if (rc < 0)
		return rc;
	t.easy = curl_easy_init();
	rc = t.easy ? perform(&t, err) : error_set(err, -ENOMEM, "no memory for a connection");
	if (rc == 0) {
		(void)curl_easy_getinfo(t.easy, CURLINFO_RESPONSE_CODE, &reply->status);
		/* The handle outlives what it was told of. */
		(void)curl_easy_setopt(t.easy, CURLOPT_ERRORBUFFER, NULL);
		(void)curl_easy_setopt(t.easy, CURLOPT_HTTPHEADER, NULL);
		reply->easy = t.easy;
		reply->body = t.body;
		reply->length = t.length;
	} else {
		curl_easy_cleanup(t.easy);
		free_body(t.body, t.length);
	}
	free_headers(&t);
	return rc;
}

const char *http_reply_header(const struct http_reply *reply, const char *name)
{
	struct curl_header *header;

	if (curl_easy_header(reply->easy, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
		return NULL;
	return header->value;
}

void http_reply_destroy(struct http_reply *reply)
{
	free_body(reply->body, reply->length);
	curl_easy_cleanup(reply->easy);
	*reply = (struct http_reply){ 0 };
}
