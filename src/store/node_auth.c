/* SPDX-License-Identifier: GPL-3.0-only */
/* node_auth.c: how a gateway and storage nodes prove to each other that they have the cluster's key.
 *
 * What is signed goes into the MAC as a list of fields, each with its length in front, so that no two lists are the same bytes.
 * Must never put the key into a message.
 */
#include "store/node_auth.h"

#include "base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_FILE_MAX 256 /* bytes; the digits and some white space are fewer */

static const char prefix[] = "X-Garner-";

/* ---- the key ---- */

static int check_key_file(const char *path, const struct stat *st, struct error *err)
{
	if (!S_ISREG(st->st_mode))
		return error_set(err, -EINVAL, "%s is not a regular file", path);
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return error_set(err, -EACCES, "%s belongs to another user; run: chown %u '%s'", path,
		                 (unsigned)geteuid(), path);
	if (st->st_mode & 077)
		return error_set(err, -EACCES,
		                 "%s can be used by others (mode %03o), who would be let in by every node; run: "
		                 "chmod 600 '%s'",
		                 path, (unsigned)(st->st_mode & 0777), path);
	return 0;
}

/* The text of the file; -errno. Not blocking, so that a FIFO is refused and not waited for. */
static ssize_t read_key_file(const char *path, char *text, size_t room, struct error *err)
{
	struct stat st;
	ssize_t got = 0, n = 1;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), rc;

	if (fd < 0)
		return error_set(err, -errno, "the cluster's key %s cannot be read: %s", path, strerror(errno));
	rc = fstat(fd, &st) < 0 ? error_set(err, -errno, "%s: %s", path, strerror(errno))
	                        : check_key_file(path, &st, err);
	while (rc == 0 && n != 0 && (size_t)got < room) {
		n = read(fd, text + got, room - (size_t)got);
		if (n < 0 && errno != EINTR)
			rc = error_set(err, -errno, "%s: %s", path, strerror(errno));
		else if (n > 0)
			got += n;
	}
	close(fd);
	return rc < 0 ? rc : got;
}

int node_key_load(const char *path, struct node_key *key, struct error *err)
{
	char text[KEY_FILE_MAX];
	ssize_t length;
	size_t digits = 0, bytes;
	int rc = 0;

	if (sodium_init() < 0)
		return error_set(err, -EIO, "libsodium cannot be used: there is no source of random numbers");
	length = read_key_file(path, text, sizeof text, err);
	if (length < 0)
		return (int)length;
	while (length > 0 && strchr(" \t\r\n", text[length - 1]) && text[length - 1])
		length--;
	digits = (size_t)length;
	if (digits != 2 * sizeof key->bytes ||
	    sodium_hex2bin(key->bytes, sizeof key->bytes, text, digits, NULL, &bytes, NULL) != 0 ||
	    bytes != sizeof key->bytes) {
		node_key_wipe(key);
		rc = error_set(err, -EINVAL,
		               "%s is not a cluster's key: it must hold %zu hexadecimal digits and nothing else", path,
		               2 * sizeof key->bytes);
	}
	sodium_memzero(text, sizeof text);
	return rc;
}

void node_key_wipe(struct node_key *key)
{
	sodium_memzero(key, sizeof *key);
}

/* ---- the MAC ---- */

struct mac {
	crypto_generichash_state state;
};

static void mac_field(struct mac *m, const void *bytes, size_t length)
{
	uint8_t prefixed[8];

	put_le64(prefixed, length);
	crypto_generichash_update(&m->state, prefixed, sizeof prefixed);
	crypto_generichash_update(&m->state, bytes, length);
}

static void mac_text(struct mac *m, const char *text)
{
	mac_field(m, text, strlen(text));
}

static void mac_number(struct mac *m, uint64_t number)
{
	uint8_t bytes[8];

	put_le64(bytes, number);
	mac_field(m, bytes, sizeof bytes);
}

static void mac_begin(struct mac *m, const struct node_key *key, const char *label)
{
	crypto_generichash_init(&m->state, key->bytes, sizeof key->bytes, NODE_MAC_BYTES);
	mac_text(m, label);
}

static void mac_end(struct mac *m, uint8_t mac[NODE_MAC_BYTES])
{
	crypto_generichash_final(&m->state, mac, NODE_MAC_BYTES);
	sodium_memzero(m, sizeof *m);
}

/* ---- headers ---- */

/* One that counts, and is not itself the proof or covered by a field of its own. */
static bool is_listed(const char *name, const char *but)
{
	return strncasecmp(name, prefix, sizeof prefix - 1) == 0 && strcasecmp(name, but) != 0;
}

static int by_name(const void *a, const void *b)
{
	const struct node_header *const *x = a, *const *y = b;

	return strcasecmp((*x)->name, (*y)->name);
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static void mac_lower(struct mac *m, const char *name)
{
	uint8_t prefixed[8], part[32];
	size_t length = strlen(name);

	put_le64(prefixed, length);
	crypto_generichash_update(&m->state, prefixed, sizeof prefixed);
	for (size_t i = 0; i < length; i += sizeof part) {
		size_t n = length - i < sizeof part ? length - i : sizeof part;
		for (size_t j = 0; j < n; j++)
			part[j] = (uint8_t)lower(name[i + j]);
		crypto_generichash_update(&m->state, part, n);
	}
}

/* Adds how many headers count, and them, sorted by name. */
static int mac_headers(struct mac *m, const struct node_header *headers, size_t count, const char *but)
{
	const struct node_header *listed[NODE_HEADERS_MAX];
	size_t n = 0;

	if (count > NODE_HEADERS_MAX)
		return -E2BIG;
	for (size_t i = 0; i < count; i++)
		if (is_listed(headers[i].name, but))
			listed[n++] = &headers[i];
	qsort(listed, n, sizeof listed[0], by_name);
	mac_number(m, n);
	for (size_t i = 0; i < n; i++) {
		if (i > 0 && by_name(&listed[i - 1], &listed[i]) == 0)
			return -EINVAL;
		mac_lower(m, listed[i]->name);
		mac_text(m, listed[i]->value);
	}
	return 0;
}

/* A header that is a field of its own: "" when it is not there. -EINVAL when it is there twice. */
static int mac_header(struct mac *m, const struct node_header *headers, size_t count, const char *name)
{
	const char *value = NULL;

	for (size_t i = 0; i < count; i++) {
		if (strcasecmp(headers[i].name, name) != 0)
			continue;
		if (value)
			return -EINVAL;
		value = headers[i].value;
	}
	mac_text(m, value ? value : "");
	return 0;
}

const char *node_header_find(const struct node_header *headers, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcasecmp(headers[i].name, name) == 0)
			return headers[i].value;
	return NULL;
}

/* ---- hexadecimal digits, and the forms of the three headers ---- */

/* Takes exactly 2 * `length` lower-case digits, then moves on. */
static bool take_hex(const char **text, uint8_t *bytes, size_t length)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < 2 * length; i++) {
		const char *digit = **text ? strchr(digits, **text) : NULL;
		if (!digit)
			return false;
		bytes[i / 2] = (uint8_t)((i % 2 ? bytes[i / 2] << 4 : 0) | (digit - digits));
		(*text)++;
	}
	return true;
}

static bool take_text(const char **text, const char *expected)
{
	size_t length = strlen(expected);

	if (strncmp(*text, expected, length) != 0)
		return false;
	*text += length;
	return true;
}

/* Decimal, without leading zeros, below 2^63. */
static bool take_number(const char **text, uint64_t *number)
{
	const char *start = *text;

	*number = 0;
	while (**text >= '0' && **text <= '9') {
		if (*number > (INT64_MAX - 9) / 10)
			return false;
		*number = *number * 10 + (uint64_t)(**text - '0');
		(*text)++;
	}
	return *text > start && (*start != '0' || *text == start + 1);
}

void node_digest_text(const uint8_t digest[32], char text[NODE_DIGEST_TEXT])
{
	sodium_bin2hex(text, NODE_DIGEST_TEXT, digest, 32);
}

int node_digest_parse(const char *text, uint8_t digest[32])
{
	return take_hex(&text, digest, 32) && !*text ? 0 : -EINVAL;
}

/* ---- sessions ---- */

void node_session_begin(struct node_session *s, uint64_t now_ms)
{
	do
		randombytes_buf(s->id, sizeof s->id);
	while (!node_session_known(s));
	s->start_ms = now_ms;
}

bool node_session_known(const struct node_session *s)
{
	return !sodium_is_zero(s->id, sizeof s->id);
}

/* What a client takes for the session's beginning may lie before its clock's zero: differences wrap. */
uint64_t node_session_time(const struct node_session *s, uint64_t now_ms)
{
	return (now_ms - s->start_ms) & INT64_MAX;
}

/* ---- requests ---- */

static int request_mac(const struct node_key *key, const struct node_auth_request *r, const struct node_credentials *c,
                       uint8_t mac[NODE_MAC_BYTES])
{
	struct mac m;
	int rc;

	mac_begin(&m, key, "garner-request-1");
	mac_text(&m, r->method);
	mac_text(&m, r->target);
	mac_field(&m, c->session, sizeof c->session);
	mac_number(&m, c->time_ms);
	mac_field(&m, c->nonce, sizeof c->nonce);
	mac_number(&m, r->length);
	rc = mac_header(&m, r->headers, r->count, "X-Garner-Digest");
	if (rc == 0)
		rc = mac_headers(&m, r->headers, r->count, "X-Garner-Digest");
	if (rc == 0)
		rc = mac_header(&m, r->headers, r->count, "Range");
	mac_end(&m, mac);
	return rc;
}

int node_auth_sign(const struct node_key *key, const struct node_auth_request *request,
                   const struct node_session *session, uint64_t now_ms, uint8_t nonce[NODE_NONCE_BYTES],
                   char text[NODE_AUTHORIZATION_TEXT])
{
	struct node_credentials c;
	char session_text[2 * NODE_SESSION_BYTES + 1], nonce_text[2 * NODE_NONCE_BYTES + 1];
	char mac_hex[2 * NODE_MAC_BYTES + 1];
	int rc;

	memcpy(c.session, session->id, sizeof c.session);
	c.time_ms = node_session_known(session) ? node_session_time(session, now_ms) : 0;
	randombytes_buf(c.nonce, sizeof c.nonce);
	rc = request_mac(key, request, &c, c.mac);
	if (rc < 0)
		return rc;
	sodium_bin2hex(session_text, sizeof session_text, c.session, sizeof c.session);
	sodium_bin2hex(nonce_text, sizeof nonce_text, c.nonce, sizeof c.nonce);
	sodium_bin2hex(mac_hex, sizeof mac_hex, c.mac, sizeof c.mac);
	(void)snprintf(text, NODE_AUTHORIZATION_TEXT, "Garner session=%s,time=%" PRIu64 ",nonce=%s,mac=%s",
	               session_text, c.time_ms, nonce_text, mac_hex);
	memcpy(nonce, c.nonce, sizeof c.nonce);
	return 0;
}

int node_auth_parse(const char *text, struct node_credentials *c)
{
	if (!take_text(&text, "Garner session=") || !take_hex(&text, c->session, sizeof c->session) ||
	    !take_text(&text, ",time=") || !take_number(&text, &c->time_ms) || !take_text(&text, ",nonce=") ||
	    !take_hex(&text, c->nonce, sizeof c->nonce) || !take_text(&text, ",mac=") ||
	    !take_hex(&text, c->mac, sizeof c->mac) || *text)
		return -EINVAL;
	return 0;
}

int node_auth_verify(const struct node_key *key, const struct node_auth_request *request,
                     const struct node_credentials *credentials)
{
	uint8_t mac[NODE_MAC_BYTES];
	int rc = request_mac(key, request, credentials, mac);

	if (rc == 0 && sodium_memcmp(mac, credentials->mac, sizeof mac) != 0)
		rc = -EACCES;
	sodium_memzero(mac, sizeof mac);
	return rc;
}

bool node_auth_current(const struct node_session *own, const struct node_credentials *c, uint64_t now_ms)
{
	uint64_t now = node_session_time(own, now_ms);
	uint64_t off = now > c->time_ms ? now - c->time_ms : c->time_ms - now;

	return sodium_memcmp(own->id, c->session, sizeof own->id) == 0 && off <= NODE_AUTH_WINDOW_MS;
}

/* ---- challenges ---- */

static void challenge_mac(const struct node_key *key, const uint8_t session[NODE_SESSION_BYTES], uint64_t time_ms,
                          const uint8_t nonce[NODE_NONCE_BYTES], uint8_t mac[NODE_MAC_BYTES])
{
	struct mac m;

	mac_begin(&m, key, "garner-challenge-1");
	mac_field(&m, session, NODE_SESSION_BYTES);
	mac_number(&m, time_ms);
	mac_field(&m, nonce, NODE_NONCE_BYTES);
	mac_end(&m, mac);
}

void node_challenge_make(const struct node_key *key, const struct node_session *own, uint64_t now_ms,
                         const uint8_t nonce[NODE_NONCE_BYTES], char text[NODE_CHALLENGE_TEXT])
{
	char session_text[2 * NODE_SESSION_BYTES + 1], mac_hex[2 * NODE_MAC_BYTES + 1];
	uint8_t mac[NODE_MAC_BYTES];
	uint64_t time_ms = node_session_time(own, now_ms);

	challenge_mac(key, own->id, time_ms, nonce, mac);
	sodium_bin2hex(session_text, sizeof session_text, own->id, sizeof own->id);
	sodium_bin2hex(mac_hex, sizeof mac_hex, mac, sizeof mac);
	(void)snprintf(text, NODE_CHALLENGE_TEXT, "session=%s,time=%" PRIu64 ",mac=%s", session_text, time_ms, mac_hex);
}

int node_challenge_learn(const struct node_key *key, const char *text, const uint8_t nonce[NODE_NONCE_BYTES],
                         uint64_t now_ms, struct node_session *session)
{
	struct node_session new;
	uint8_t mac[NODE_MAC_BYTES], own[NODE_MAC_BYTES];
	uint64_t time_ms;
	int rc = 0;

	if (!take_text(&text, "session=") || !take_hex(&text, new.id, sizeof new.id) || !take_text(&text, ",time=") ||
	    !take_number(&text, &time_ms) || !take_text(&text, ",mac=") || !take_hex(&text, mac, sizeof mac) || *text ||
	    !node_session_known(&new))
		return -EINVAL;
	challenge_mac(key, new.id, time_ms, nonce, own);
	if (sodium_memcmp(mac, own, sizeof mac) != 0)
		rc = -EACCES;
	sodium_memzero(own, sizeof own);
	if (rc == 0) {
		new.start_ms = now_ms - time_ms;
		*session = new;
	}
	return rc;
}

/* ---- answers ---- */

static int answer_mac(const struct node_key *key, const uint8_t nonce[NODE_NONCE_BYTES],
                      const struct node_auth_answer *a, uint8_t mac[NODE_MAC_BYTES])
{
	struct mac m;
	int rc;

	mac_begin(&m, key, "garner-answer-1");
	mac_field(&m, nonce, NODE_NONCE_BYTES);
	mac_number(&m, (uint64_t)a->status);
	mac_number(&m, a->length);
	rc = mac_headers(&m, a->headers, a->count, "X-Garner-Answer");
	mac_end(&m, mac);
	return rc;
}

int node_answer_sign(const struct node_key *key, const uint8_t nonce[NODE_NONCE_BYTES],
                     const struct node_auth_answer *answer, char text[NODE_ANSWER_TEXT])
{
	uint8_t mac[NODE_MAC_BYTES];
	int rc = answer_mac(key, nonce, answer, mac);

	if (rc < 0)
		return rc;
	memcpy(text, "mac=", 4);
	sodium_bin2hex(text + 4, NODE_ANSWER_TEXT - 4, mac, sizeof mac);
	return 0;
}

int node_answer_verify(const struct node_key *key, const uint8_t nonce[NODE_NONCE_BYTES],
                       const struct node_auth_answer *answer, struct error *err)
{
	const char *text = NULL;
	uint8_t mac[NODE_MAC_BYTES], own[NODE_MAC_BYTES];
	int rc;

	for (size_t i = 0; i < answer->count; i++) {
		if (strcasecmp(answer->headers[i].name, "X-Garner-Answer") != 0)
			continue;
		if (text)
			return error_set(err, -EACCES, "the answer has two proofs");
		text = answer->headers[i].value;
	}
	if (!text)
		return error_set(err, -EACCES,
		                 "the answer (status %d) is not signed: is the key of the cluster another one there?",
		                 answer->status);
	if (!take_text(&text, "mac=") || !take_hex(&text, mac, sizeof mac) || *text)
		return error_set(err, -EACCES, "the answer's X-Garner-Answer is malformed");
	rc = answer_mac(key, nonce, answer, own);
	if (rc == 0 && sodium_memcmp(mac, own, sizeof mac) != 0)
		rc = -EACCES;
	sodium_memzero(own, sizeof own);
	if (rc < 0)
		return error_set(err, -EACCES, "the answer (status %d) is signed with another key, or was changed",
		                 answer->status);
	return 0;
}
