/* SPDX-License-Identifier: GPL-3.0-only */
/* node_auth.h: how a gateway and storage nodes prove to each other, message by message, that they have the cluster's key.
 *
 * A request's Authorization is a MAC (BLAKE2b-256 with the key) over all of it that matters; an answer's X-Garner-Answer is one
 * over the answer and the request's nonce, so that an acknowledgement cannot be made up or taken from another request. What is
 * covered: the method, the target as sent, the body's length, Range, and every header whose name begins with X-Garner-; other
 * headers must not decide anything. Bodies are covered by digests that are headers themselves:
 *
 *   X-Garner-Digest  of the object's bytes. Required with every request that has a body; the receiver compares. An answer of status
 *                    200 with a body that is the whole object carries it too, and who asked compares.
 *   X-Garner-Body    of the bytes of this answer's body, where X-Garner-Digest does not say it (parts of objects, listings).
 *
 * A request names the node's session, 16 random bytes that a node makes when it starts, and the milliseconds since then. Whoever
 * does not know them signs with the zero session, and gets them with the refusal (X-Garner-Challenge). Only who has the key gets
 * a challenge or a signed answer at all.
 *
 * Knows nothing of sockets; and of clocks only what it is told. Every function may be called on any thread; none blocks but
 * node_key_load().
 */
#ifndef GARNER_STORE_NODE_AUTH_H
#define GARNER_STORE_NODE_AUTH_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NODE_KEY_BYTES 32
#define NODE_SESSION_BYTES 16
#define NODE_NONCE_BYTES 16
#define NODE_MAC_BYTES 32
#define NODE_DIGEST_TEXT 65 /* 64 hexadecimal digits and the NUL */

/* Times further than this from the node's own are refused, with a challenge. */
#define NODE_AUTH_WINDOW_MS 30000

/* A message with more headers is not signed and not believed. */
#define NODE_HEADERS_MAX 64

/* ---- the key ---- */

struct node_key {
	uint8_t bytes[NODE_KEY_BYTES];
};

/* Reads 64 hexadecimal digits (and white space at the end) from a regular file that only its owner, who is root or the one who
 * asks, may read. 0; -EACCES for a wrong owner or mode, -EINVAL for another content, or what open(2) says; `err` says what to do.
 * Wipe it with node_key_wipe(). */
int node_key_load(const char *path, struct node_key *key, struct error *err);
void node_key_wipe(struct node_key *key);

/* ---- messages ---- */

struct node_header {
	const char *name, *value;
};

/* What of a request is signed. `headers` may hold any headers in any order: those that count are picked, whatever the case of
 * their names. Borrowed for the call. */
struct node_auth_request {
	const char *method, *target;
	const struct node_header *headers;
	size_t count;
	uint64_t length; /* of the body */
};

struct node_auth_answer {
	int status;
	const struct node_header *headers;
	size_t count;
	uint64_t length; /* what Content-Length says: that of a HEAD's answer too; 0 where there is none */
};

/* The value of the only header of this name (in any case), or NULL. */
const char *node_header_find(const struct node_header *headers, size_t count, const char *name);

/* The lower-case hexadecimal digits of the first 32 bytes of BLAKE2bp: for X-Garner-Digest and X-Garner-Body. */
void node_digest_text(const uint8_t digest[32], char text[NODE_DIGEST_TEXT]);
/* Exactly 64 lower-case hexadecimal digits: 0 or -EINVAL. */
int node_digest_parse(const char *text, uint8_t digest[32]);

/* ---- sessions ---- */

/* A node's session: its own, or what a client believes of it. Not locked. */
struct node_session {
	uint8_t id[NODE_SESSION_BYTES]; /* zeros: not known */
	uint64_t start_ms; /* on the clock of whoever has this struct: when the session's time was 0; wraps */
};

/* A node that starts: makes one. */
void node_session_begin(struct node_session *s, uint64_t now_ms);
bool node_session_known(const struct node_session *s);
/* The session's time, in milliseconds. */
uint64_t node_session_time(const struct node_session *s, uint64_t now_ms);

/* ---- requests ---- */

struct node_credentials {
	uint8_t session[NODE_SESSION_BYTES];
	uint64_t time_ms;
	uint8_t nonce[NODE_NONCE_BYTES];
	uint8_t mac[NODE_MAC_BYTES];
};

#define NODE_AUTHORIZATION_TEXT 192

/* Signs a request with a new nonce; `text` is the value of its Authorization header, `nonce` is wanted again for the answer.
 * `session` may be unknown (zeros). 0, -E2BIG (too many headers) or -EINVAL (a header that counts is there twice). */
int node_auth_sign(const struct node_key *key, const struct node_auth_request *request,
                   const struct node_session *session, uint64_t now_ms, uint8_t nonce[NODE_NONCE_BYTES],
                   char text[NODE_AUTHORIZATION_TEXT]);

/* Reads an Authorization header's value: exactly the form that node_auth_sign() writes. 0 or -EINVAL. */
int node_auth_parse(const char *text, struct node_credentials *credentials);

/* Whether the request was signed with the key: 0; -EACCES; -E2BIG or -EINVAL as above. Says nothing of session, time and replays. */
int node_auth_verify(const struct node_key *key, const struct node_auth_request *request,
                     const struct node_credentials *credentials);

/* Of a node, after node_auth_verify(): whether the session is its own and the time within the window. If not, it wants to be
 * challenged. Replays are another question (node/nonce_table.h). */
bool node_auth_current(const struct node_session *own, const struct node_credentials *credentials, uint64_t now_ms);

/* ---- challenges ---- */

#define NODE_CHALLENGE_TEXT 160

/* The value of X-Garner-Challenge in the answer to a request with this nonce. */
void node_challenge_make(const struct node_key *key, const struct node_session *own, uint64_t now_ms,
                         const uint8_t nonce[NODE_NONCE_BYTES], char text[NODE_CHALLENGE_TEXT]);

/* Checks the challenge in the answer to the request with this nonce, and learns the session. 0, -EINVAL (malformed) or -EACCES
 * (made without the key, or for another request); then `session` is as it was. */
int node_challenge_learn(const struct node_key *key, const char *text, const uint8_t nonce[NODE_NONCE_BYTES],
                         uint64_t now_ms, struct node_session *session);

/* ---- answers ---- */

#define NODE_ANSWER_TEXT 72

/* The value of X-Garner-Answer of an answer to the request with this nonce; the header itself is not covered. 0, -E2BIG or -EINVAL. */
int node_answer_sign(const struct node_key *key, const uint8_t nonce[NODE_NONCE_BYTES],
                     const struct node_auth_answer *answer, char text[NODE_ANSWER_TEXT]);

/* Looks for X-Garner-Answer among the headers and checks it. 0; -EACCES with the reason: there is none, it is malformed or it is
 * wrong. The body is to be compared by the caller, with X-Garner-Body or X-Garner-Digest. */
int node_answer_verify(const struct node_key *key, const uint8_t nonce[NODE_NONCE_BYTES],
                       const struct node_auth_answer *answer, struct error *err);

#endif
