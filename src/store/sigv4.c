/* SPDX-License-Identifier: GPL-3.0-only */
/* sigv4.c: AWS signature version 4.
 *
 * The canonical request and the string to sign are never kept: their pieces go straight into the hash and the HMAC,
 * so that no copy of a session token is left behind. Every byte that goes in was checked before, since a line break
 * in the wrong place would sign, or send, another request than was meant.
 */
#include "store/sigv4.h"

#include <errno.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define ALGORITHM "AWS4-HMAC-SHA256"
#define HASH_BYTES crypto_hash_sha256_BYTES
#define HASH_HEX (2 * HASH_BYTES + 1)
#define KEY_PREFIX "AWS4"

#define METHOD_MAX 16
#define HOST_MAX 300
#define SCOPE_PART_MAX 64
#define ACCESS_KEY_MAX 512
#define SECRET_KEY_MAX 1024
#define HEADER_NAME_MAX 64

/* Those that are always signed: host, x-amz-content-sha256, x-amz-date, x-amz-security-token. */
#define OWN_HEADERS 4
#define ALL_HEADERS (SIGV4_HEADERS_MAX + OWN_HEADERS)

/* What is worked out on the way. */
struct signing {
	const struct sigv4_request *request;
	char date[sizeof "YYYYMMDD"];
	char time[sizeof "YYYYMMDDTHHMMSSZ"];
	struct sigv4_pair headers[ALL_HEADERS]; /* sorted by name */
	size_t header_count;
	char signed_names[ALL_HEADERS * (HEADER_NAME_MAX + 1)]; /* "host;range;..." */
	char scope[sizeof "YYYYMMDD" + 2 * (SCOPE_PART_MAX + 1) + sizeof "aws4_request"];
	size_t path_length; /* of the target: the rest, after a '?', is the query */
};

/* ---- what a request may consist of ---- */

static bool is_alnum(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_method_char(unsigned char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool is_visible(unsigned char c)
{
	return c > 0x20 && c < 0x7f;
}

/* A comma would end the access key in the Authorization line. */
static bool is_access_key_char(unsigned char c)
{
	return is_visible(c) && c != ',';
}

static bool is_scope_char(unsigned char c)
{
	return is_alnum(c) || c == '.' || c == '_' || c == '-';
}

static bool is_header_name_char(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

static bool is_line_char(unsigned char c)
{
	return c == '\t' || (c >= 0x20 && c != 0x7f);
}

static bool is_any(unsigned char c)
{
	return c != '\0';
}

/* Refuses `text` when it is missing, longer than `max` bytes, or has a byte that is not `good`. Does not show it. */
static int check_text(const char *what, const char *text, size_t max, bool (*good)(unsigned char c), struct error *err)
{
	size_t len;

	if (!text || !*text)
		return error_set(err, -EINVAL, "the request cannot be signed: its %s is missing", what);
	len = strnlen(text, max + 1);
	if (len > max)
		return error_set(err, -EINVAL, "the request cannot be signed: its %s is longer than %zu bytes", what,
		                 max);
	for (size_t i = 0; i < len; i++)
		if (!good((unsigned char)text[i]))
			return error_set(err, -EINVAL,
			                 "the request cannot be signed: its %s contains a space, a line break or "
			                 "another character that cannot be there",
			                 what);
	return 0;
}

static int check_payload(const char *hex, struct error *err)
{
	if (hex && strcmp(hex, SIGV4_UNSIGNED_PAYLOAD) == 0)
		return 0;
	if (!hex || strnlen(hex, HASH_HEX) != HASH_HEX - 1 || strspn(hex, "0123456789abcdef") != HASH_HEX - 1)
		return error_set(err, -EINVAL,
		                 "the request cannot be signed: the payload's SHA-256 is not 64 lower-case hexadecimal "
		                 "digits");
	return 0;
}

static int check_query(const struct sigv4_request *r, struct error *err)
{
	int rc = 0;

	if (r->query_count > SIGV4_QUERY_MAX)
		return error_set(err, -EINVAL, "the request cannot be signed: it has more than %d query parameters",
		                 SIGV4_QUERY_MAX);
	for (size_t i = 0; i < r->query_count && rc == 0; i++) {
		rc = check_text("query parameter's name", r->query[i].name, SIGV4_TEXT_MAX, is_any, err);
		if (rc == 0 && r->query[i].value && *r->query[i].value)
			rc = check_text("query parameter's value", r->query[i].value, SIGV4_TEXT_MAX, is_any, err);
	}
	return rc;
}

static int check_headers(const struct sigv4_request *r, struct error *err)
{
	int rc = 0;

	if (r->header_count > SIGV4_HEADERS_MAX)
		return error_set(err, -EINVAL, "the request cannot be signed: it has more than %d headers of its own",
		                 SIGV4_HEADERS_MAX);
	for (size_t i = 0; i < r->header_count && rc == 0; i++) {
		const struct sigv4_pair *h = &r->headers[i];

		rc = check_text("header's name", h->name, HEADER_NAME_MAX, is_header_name_char, err);
		if (rc == 0 && strcmp(h->name, "authorization") == 0)
			rc = error_set(err, -EINVAL,
			               "the request cannot be signed: authorization is not a header to sign");
		if (rc == 0)
			rc = check_text("header's value", h->value, SIGV4_TEXT_MAX, is_line_char, err);
	}
	return rc;
}

static int check_request(const struct sigv4_request *r, struct error *err)
{
	int rc = check_text("method", r->method, METHOD_MAX, is_method_char, err);

	if (rc == 0)
		rc = check_text("host", r->host, HOST_MAX, is_visible, err);
	if (rc == 0)
		rc = check_text("path", r->path, SIGV4_TEXT_MAX, is_any, err);
	if (rc == 0 && r->path[0] != '/')
		rc = error_set(err, -EINVAL, "the request cannot be signed: its path does not begin with '/'");
	if (rc == 0)
		rc = check_query(r, err);
	if (rc == 0)
		rc = check_headers(r, err);
	if (rc == 0)
		rc = check_payload(r->payload_sha256_hex, err);
	if (rc == 0)
		rc = check_text("region", r->region, SCOPE_PART_MAX, is_scope_char, err);
	if (rc == 0)
		rc = check_text("service", r->service, SCOPE_PART_MAX, is_scope_char, err);
	if (rc == 0)
		rc = check_text("access key", r->access_key, ACCESS_KEY_MAX, is_access_key_char, err);
	if (rc == 0)
		rc = check_text("secret key", r->secret_key, SECRET_KEY_MAX, is_line_char, err);
	if (rc == 0 && r->session_token)
		rc = check_text("session token", r->session_token, 2 * SIGV4_TEXT_MAX, is_visible, err);
	return rc;
}

/* ---- the target ---- */

static bool is_unreserved(unsigned char c)
{
	return is_alnum(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

/* Writes `text` percent-encoded at `out`, which has room for three bytes of each, and returns the end. */
static char *put_encoded(char *out, const char *text, bool keep_slash)
{
	static const char digits[] = "0123456789ABCDEF";

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (is_unreserved(c) || (keep_slash && c == '/')) {
			*out++ = (char)c;
		} else {
			*out++ = '%';
			*out++ = digits[c >> 4];
			*out++ = digits[c & 15];
		}
	}
	return out;
}

/* Where the encoded form of `c` comes in byte order: '%' is before every unreserved character, and the end before
 * all. */
static int encoded_rank(unsigned char c)
{
	return is_unreserved(c) ? 256 + c : c;
}

static int compare_encoded(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return encoded_rank((unsigned char)*a) - encoded_rank((unsigned char)*b);
}

static const char *value_of(const struct sigv4_pair *p)
{
	return p->value ? p->value : "";
}

static int compare_query(const void *a, const void *b)
{
	const struct sigv4_pair *x = a, *y = b;
	int order = compare_encoded(x->name, y->name);

	return order ? order : compare_encoded(value_of(x), value_of(y));
}

/* Makes the target, which holds the path and the query as they are signed. */
static int make_target(struct signing *s, char **target)
{
	const struct sigv4_request *r = s->request;
	struct sigv4_pair query[SIGV4_QUERY_MAX];
	size_t room = 3 * strlen(r->path) + 1;
	char *out;

	for (size_t i = 0; i < r->query_count; i++) {
		query[i] = r->query[i];
		room += 3 * (strlen(query[i].name) + strlen(value_of(&query[i]))) + 2;
	}
	if (r->query_count)
		qsort(query, r->query_count, sizeof query[0], compare_query);
	*target = malloc(room);
	if (!*target)
		return -ENOMEM;
	out = put_encoded(*target, r->path, true);
	s->path_length = (size_t)(out - *target);
	for (size_t i = 0; i < r->query_count; i++) {
		*out++ = i ? '&' : '?';
		out = put_encoded(out, query[i].name, false);
		*out++ = '=';
		out = put_encoded(out, value_of(&query[i]), false);
	}
	*out = '\0';
	return 0;
}

/* ---- what is signed ---- */

static int set_time(struct signing *s, struct error *err)
{
	struct tm tm;

	if (s->request->now < 0 || !gmtime_r(&s->request->now, &tm) || tm.tm_year > 9999 - 1900)
		return error_set(err, -EINVAL, "the request cannot be signed: this computer's clock is absurd; set it");
	/* Both always fit: the year has four digits. */
	(void)strftime(s->date, sizeof s->date, "%Y%m%d", &tm);
	(void)strftime(s->time, sizeof s->time, "%Y%m%dT%H%M%SZ", &tm);
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	const struct sigv4_pair *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* Appends to a string whose room is known to be enough. */
static char *put(char *out, const char *text)
{
	size_t len = strlen(text);

	memcpy(out, text, len + 1);
	return out + len;
}

/* All headers that are signed, in order, and their names. */
static int collect_headers(struct signing *s, struct error *err)
{
	const struct sigv4_request *r = s->request;
	char *out = s->signed_names;

	for (size_t i = 0; i < r->header_count; i++)
		s->headers[s->header_count++] = r->headers[i];
	s->headers[s->header_count++] = (struct sigv4_pair){ "host", r->host };
	s->headers[s->header_count++] = (struct sigv4_pair){ "x-amz-content-sha256", r->payload_sha256_hex };
	s->headers[s->header_count++] = (struct sigv4_pair){ "x-amz-date", s->time };
	if (r->session_token)
		s->headers[s->header_count++] = (struct sigv4_pair){ "x-amz-security-token", r->session_token };
	qsort(s->headers, s->header_count, sizeof s->headers[0], compare_names);
	for (size_t i = 0; i < s->header_count; i++) {
		if (i && strcmp(s->headers[i - 1].name, s->headers[i].name) == 0)
			return error_set(err, -EINVAL, "the request cannot be signed: it has two headers %s",
			                 s->headers[i].name);
		if (i)
			out = put(out, ";");
		out = put(out, s->headers[i].name);
	}
	return 0;
}

static void make_scope(struct signing *s)
{
	char *out = put(s->scope, s->date);

	out = put(put(out, "/"), s->request->region);
	out = put(put(out, "/"), s->request->service);
	put(out, "/aws4_request");
}

static void hash_bytes(crypto_hash_sha256_state *hash, const char *bytes, size_t len)
{
	crypto_hash_sha256_update(hash, (const unsigned char *)bytes, len);
}

static void hash_text(crypto_hash_sha256_state *hash, const char *text)
{
	hash_bytes(hash, text, strlen(text));
}

/* A header's value without spaces around it, and one space where there are several. */
static void hash_trimmed(crypto_hash_sha256_state *hash, const char *value)
{
	static const char blank[] = " \t";

	value += strspn(value, blank);
	while (*value) {
		size_t word = strcspn(value, blank);

		hash_bytes(hash, value, word);
		value += word;
		value += strspn(value, blank);
		if (*value)
			hash_text(hash, " ");
	}
}

/* The SHA-256 of the canonical request. */
static void hash_request(const struct signing *s, const char *target, char hex[HASH_HEX])
{
	const char *query = target[s->path_length] == '?' ? target + s->path_length + 1 : "";
	crypto_hash_sha256_state hash;
	unsigned char digest[HASH_BYTES];

	crypto_hash_sha256_init(&hash);
	hash_text(&hash, s->request->method);
	hash_text(&hash, "\n");
	hash_bytes(&hash, target, s->path_length);
	hash_text(&hash, "\n");
	hash_text(&hash, query);
	hash_text(&hash, "\n");
	for (size_t i = 0; i < s->header_count; i++) {
		hash_text(&hash, s->headers[i].name);
		hash_text(&hash, ":");
		hash_trimmed(&hash, s->headers[i].value);
		hash_text(&hash, "\n");
	}
	hash_text(&hash, "\n");
	hash_text(&hash, s->signed_names);
	hash_text(&hash, "\n");
	hash_text(&hash, s->request->payload_sha256_hex);
	crypto_hash_sha256_final(&hash, digest);
	sodium_bin2hex(hex, HASH_HEX, digest, sizeof digest);
	sodium_memzero(&hash, sizeof hash);
}

/* out = HMAC(key, texts one after the other, up to a NULL). `out` may be `key`. */
static void hmac(const void *key, size_t key_length, const char *const *texts, unsigned char out[HASH_BYTES])
{
	crypto_auth_hmacsha256_state state;

	crypto_auth_hmacsha256_init(&state, key, key_length);
	for (; *texts; texts++)
		crypto_auth_hmacsha256_update(&state, (const unsigned char *)*texts, strlen(*texts));
	crypto_auth_hmacsha256_final(&state, out);
	sodium_memzero(&state, sizeof state);
}

static void make_signature(const struct signing *s, const char *request_hex, char hex[HASH_HEX])
{
	const char *steps[] = { s->date, s->request->region, s->request->service, "aws4_request" };
	const char *to_sign[] = { ALGORITHM, "\n", s->time, "\n", s->scope, "\n", request_hex, NULL };
	char first[sizeof KEY_PREFIX + SECRET_KEY_MAX];
	unsigned char key[HASH_BYTES];
	size_t len;

	put(put(first, KEY_PREFIX), s->request->secret_key);
	len = strlen(first);
	for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
		const char *texts[] = { steps[i], NULL };

		hmac(i ? (const void *)key : first, i ? sizeof key : len, texts, key);
	}
	hmac(key, sizeof key, to_sign, key);
	sodium_bin2hex(hex, HASH_HEX, key, sizeof key);
	sodium_memzero(first, sizeof first);
	sodium_memzero(key, sizeof key);
}

/* ---- the answer ---- */

/* Adds the texts up to a NULL as one line. */
static int add_line(struct sigv4_signed *result, const char *const *texts)
{
	size_t room = 1;
	char *line, *out;

	for (size_t i = 0; texts[i]; i++)
		room += strlen(texts[i]);
	line = malloc(room);
	if (!line)
		return -ENOMEM;
	out = line;
	for (size_t i = 0; texts[i]; i++)
		out = put(out, texts[i]);
	result->lines[result->line_count++] = line;
	return 0;
}

static int add_lines(const struct signing *s, const char *signature, struct sigv4_signed *result)
{
	const struct sigv4_request *r = s->request;
	const char *const lines[SIGV4_LINES_MAX][11] = {
		{ "Authorization: ", ALGORITHM, " Credential=", r->access_key, "/", s->scope,
		  ", SignedHeaders=", s->signed_names, ", Signature=", signature, NULL },
		{ "x-amz-date: ", s->time, NULL },
		{ "x-amz-content-sha256: ", r->payload_sha256_hex, NULL },
		{ "x-amz-security-token: ", r->session_token, NULL },
	};
	size_t count = r->session_token ? SIGV4_LINES_MAX : SIGV4_LINES_MAX - 1;
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++)
		rc = add_line(result, lines[i]);
	return rc;
}

int sigv4_sign(const struct sigv4_request *request, struct sigv4_signed *result, struct error *err)
{
	struct signing s = { .request = request };
	char hash[HASH_HEX], signature[HASH_HEX];
	int rc;

	*result = (struct sigv4_signed){ 0 };
	if (sodium_init() < 0)
		return error_set(err, -EIO, "libsodium cannot be initialised");
	rc = check_request(request, err);
	if (rc == 0)
		rc = set_time(&s, err);
	if (rc == 0)
		rc = collect_headers(&s, err);
	if (rc < 0)
		return rc;
	make_scope(&s);
	rc = make_target(&s, &result->target);
	if (rc == 0) {
		hash_request(&s, result->target, hash);
		make_signature(&s, hash, signature);
		rc = add_lines(&s, signature, result);
	}
	if (rc < 0) {
		error_set(err, rc, "out of memory while signing a request");
		sigv4_signed_destroy(result);
	}
	return rc;
}

static void wipe_and_free(char *text)
{
	if (text)
		sodium_memzero(text, strlen(text));
	free(text);
}

void sigv4_signed_destroy(struct sigv4_signed *result)
{
	wipe_and_free(result->target);
	for (size_t i = 0; i < result->line_count; i++)
		wipe_and_free(result->lines[i]);
	*result = (struct sigv4_signed){ 0 };
}
