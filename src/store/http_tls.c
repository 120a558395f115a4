/* SPDX-License-Identifier: GPL-3.0-only */
/* http_tls.c: which servers may be spoken to, and how they prove who they are.
 *
 * URLs are taken apart by libcurl, which also asks them: two parsers could disagree on what the host is.
 */
#include "store/http_tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode library_state;

static void init_library(void)
{
	library_state = curl_global_init(CURL_GLOBAL_DEFAULT);
}

int http_library_init(void)
{
	if (pthread_once(&once, init_library) != 0 || library_state != CURLE_OK)
		return -ENOMEM;
	return 0;
}

static int copy_text(const char *from, const char **to)
{
	*to = from ? strdup(from) : NULL;
	return from && !*to ? -ENOMEM : 0;
}

int http_tls_copy(const struct http_tls *from, struct http_tls *to)
{
	*to = (struct http_tls){ 0 };
	if (!from)
		return 0;
	to->allow_plain = from->allow_plain;
	if (copy_text(from->ca_file, &to->ca_file) < 0 || copy_text(from->client_cert, &to->client_cert) < 0)
		return -ENOMEM;
	return copy_text(from->client_key, &to->client_key);
}

void http_tls_release(struct http_tls *copy)
{
	free((char *)(uintptr_t)copy->ca_file);
	free((char *)(uintptr_t)copy->client_cert);
	free((char *)(uintptr_t)copy->client_key);
	*copy = (struct http_tls){ 0 };
}

/* libcurl says of a file that it cannot use little more than that. */
static int check_file(const char *what, const char *path, struct error *err)
{
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK) : -1;

	if (path && fd < 0)
		return error_set(err, -errno, "the %s %s cannot be read: %s", what, path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return 0;
}

static int check_files(const struct http_tls *tls, struct error *err)
{
	int rc;

	if (tls->client_key && !tls->client_cert)
		return error_set(err, -EINVAL,
		                 "a client key was given without a client certificate: give both, or neither");
	rc = check_file("file of certificate authorities", tls->ca_file, err);
	if (rc == 0)
		rc = check_file("client certificate", tls->client_cert, err);
	if (rc == 0)
		rc = check_file("client key", tls->client_key, err);
	return rc;
}

int http_tls_apply(const struct http_tls *tls, CURL *easy, struct error *err)
{
	static const struct http_tls plainest;
	CURLcode code;
	int rc;

	if (!tls)
		tls = &plainest;
	rc = check_files(tls, err);
	if (rc < 0)
		return rc;
	code = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (code == CURLE_OK && tls->ca_file)
		code = curl_easy_setopt(easy, CURLOPT_CAINFO, tls->ca_file);
	if (code == CURLE_OK && tls->client_cert)
		code = curl_easy_setopt(easy, CURLOPT_SSLCERT, tls->client_cert);
	if (code == CURLE_OK && tls->client_cert)
		code = curl_easy_setopt(easy, CURLOPT_SSLKEY, tls->client_key ? tls->client_key : tls->client_cert);
	if (code == CURLE_OUT_OF_MEMORY)
		return error_set(err, -ENOMEM, "no memory for a connection");
	if (code != CURLE_OK)
		return error_set(err, -ENOTSUP, "this libcurl cannot do what is asked of it: %s",
		                 curl_easy_strerror(code));
	return 0;
}

/* Takes `url` apart. NULL with `*why` when it is none. Free with curl_url_cleanup(). */
static CURLU *parse_url(const char *url, const char **why)
{
	CURLU *parts = http_library_init() == 0 ? curl_url() : NULL;
	CURLUcode code;

	*why = "no memory";
	if (!parts)
		return NULL;
	code = curl_url_set(parts, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME);
	if (code == CURLUE_OK)
		return parts;
	*why = code == CURLUE_OUT_OF_MEMORY ? "no memory" : curl_url_strerror(code);
	curl_url_cleanup(parts);
	return NULL;
}

/* One part of a URL, without the brackets of an IPv6 address; "" when it is not there or too long for any use. */
static void url_part(CURLU *parts, CURLUPart which, char *out, size_t room)
{
	char *text = NULL;
	size_t length = 0;

	out[0] = '\0';
	if (curl_url_get(parts, which, &text, 0) == CURLUE_OK && text) {
		const char *start = text;

		length = strlen(text);
		if (which == CURLUPART_HOST && text[0] == '[' && text[length - 1] == ']') {
			start++;
			length -= 2;
		}
		if (length < room) {
			memcpy(out, start, length);
			out[length] = '\0';
		}
	}
	curl_free(text);
}

static bool has_part(CURLU *parts, CURLUPart which)
{
	char *text = NULL;
	bool there = curl_url_get(parts, which, &text, 0) == CURLUE_OK && text;

	curl_free(text);
	return there;
}

static enum http_place place_of_host(const char *host)
{
	static const uint8_t loopback6[16] = { [15] = 1 }, metadata6[] = { 0xfd, 0x00, 0x0e, 0xc2 };
	uint8_t v4[4], v6[16];

	if (strcasecmp(host, "localhost") == 0)
		return HTTP_PLACE_LOOPBACK;
	if (inet_pton(AF_INET, host, v4) == 1) {
		if (v4[0] == 127)
			return HTTP_PLACE_LOOPBACK;
		return v4[0] == 169 && v4[1] == 254 ? HTTP_PLACE_LINK_LOCAL : HTTP_PLACE_ELSEWHERE;
	}
	if (inet_pton(AF_INET6, host, v6) == 1) {
		if (memcmp(v6, loopback6, sizeof v6) == 0)
			return HTTP_PLACE_LOOPBACK;
		if ((v6[0] == 0xfe && (v6[1] & 0xc0) == 0x80) || memcmp(v6, metadata6, sizeof metadata6) == 0)
			return HTTP_PLACE_LINK_LOCAL;
	}
	return HTTP_PLACE_ELSEWHERE;
}

int http_url_allowed(const char *url, const struct http_tls *tls, struct error *err)
{
	char scheme[16], host[256], shown[HTTP_HOST_TEXT_MAX];
	const char *why;
	CURLU *parts = parse_url(url, &why);
	int rc = 0;

	if (!parts && strcmp(why, "no memory") == 0)
		return error_set(err, -ENOMEM, "no memory to read a URL");
	if (!parts && strchr(url, '@'))
		return error_set(err, -EINVAL,
		                 "the URL is not one (%s); write it like https://host:port/path, without a user", why);
	if (!parts)
		return error_set(err, -EINVAL, "'%.*s' is not a URL (%s); write it like https://host:port/path",
		                 (int)strcspn(url, "?"), url, why);
	url_part(parts, CURLUPART_SCHEME, scheme, sizeof scheme);
	url_part(parts, CURLUPART_HOST, host, sizeof host);
	http_url_host(url, shown);
	if (strcasecmp(scheme, "http") != 0 && strcasecmp(scheme, "https") != 0)
		rc = error_set(err, -EINVAL, "the URL of %s begins with '%s://'; only https:// and http:// can be used",
		               shown, scheme);
	else if (!host[0])
		rc = error_set(err, -EINVAL, "the URL names no host; write it like https://host:port/path");
	else if (has_part(parts, CURLUPART_USER) || has_part(parts, CURLUPART_PASSWORD))
		rc = error_set(err, -EINVAL,
		               "the URL of %s has a user or password in it, where others can read them; "
		               "take it out and use a passwd file or the environment",
		               shown);
	else if (strcasecmp(scheme, "http") == 0 && place_of_host(host) != HTTP_PLACE_LOOPBACK &&
	         !(tls && tls->allow_plain))
		rc = error_set(err, -EINVAL,
		               "http:// to %s would show keys and data to the network; "
		               "use https://, or allow it with plain=yes",
		               shown);
	curl_url_cleanup(parts);
	return rc;
}

enum http_place http_url_place(const char *url)
{
	enum http_place place = HTTP_PLACE_ELSEWHERE;
	const char *why;
	char host[256];
	CURLU *parts = parse_url(url, &why);

	if (parts) {
		url_part(parts, CURLUPART_HOST, host, sizeof host);
		place = place_of_host(host);
	}
	curl_url_cleanup(parts);
	return place;
}

const char *http_url_host(const char *url, char host[HTTP_HOST_TEXT_MAX])
{
	const char *why;
	char name[HTTP_HOST_TEXT_MAX - 16] = "", port[8] = "";
	CURLU *parts = parse_url(url, &why);

	if (parts) {
		url_part(parts, CURLUPART_HOST, name, sizeof name);
		url_part(parts, CURLUPART_PORT, port, sizeof port);
	}
	curl_url_cleanup(parts);
	if (!name[0])
		(void)snprintf(host, HTTP_HOST_TEXT_MAX, "the server");
	else
		(void)snprintf(host, HTTP_HOST_TEXT_MAX, strchr(name, ':') ? "[%s]%s%s" : "%s%s%s", name,
		               port[0] ? ":" : "", port);
	return host;
}
