/* SPDX-License-Identifier: GPL-3.0-only */
/* fuzz_node_auth.c: any text as an Authorization, a challenge, a digest and an answer's proof: exactly the forms that are written are read,
 * and none that was not made with the key is believed. */
#include "store/node_auth.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const struct node_key key = { { 42 } };
static const uint8_t nonce[NODE_NONCE_BYTES] = { 7 };

static void authorization(const char *text)
{
	const struct node_auth_request request = { .method = "GET", .target = "/" };
	struct node_credentials c;
	char again[NODE_AUTHORIZATION_TEXT], session[33], nonce_hex[33], mac[65];
	int rc = node_auth_parse(text, &c);

	if (rc < 0) {
		if (rc != -EINVAL)
			abort();
		return;
	}
	sodium_bin2hex(session, sizeof session, c.session, sizeof c.session);
	sodium_bin2hex(nonce_hex, sizeof nonce_hex, c.nonce, sizeof c.nonce);
	sodium_bin2hex(mac, sizeof mac, c.mac, sizeof c.mac);
	(void)snprintf(again, sizeof again, "Garner session=%s,time=%" PRIu64 ",nonce=%s,mac=%s", session, c.time_ms,
	               nonce_hex, mac);
	if (strcmp(text, again) != 0 || node_auth_verify(&key, &request, &c) != -EACCES)
		abort();
}

static void challenge(const char *text)
{
	struct node_session s = { 0 };
	int rc = node_challenge_learn(&key, text, nonce, 0, &s);

	if ((rc != -EINVAL && rc != -EACCES) || node_session_known(&s))
		abort();
}

static void digest(const char *text)
{
	uint8_t bytes[32];
	char again[NODE_DIGEST_TEXT];

	if (node_digest_parse(text, bytes) < 0)
		return;
	node_digest_text(bytes, again);
	if (strcmp(again, text) != 0)
		abort();
}

static void answer(const char *text)
{
	const struct node_header header = { "X-Garner-Answer", text };
	const struct node_auth_answer a = { .status = 200, .headers = &header, .count = 1 };
	struct error err = { 0 };

	if (node_answer_verify(&key, nonce, &a, &err) != -EACCES || !err.text[0] || strlen(err.text) > 200)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	/* Exactly as long as it is, so that a read past its end is seen. */
	char *text = malloc(len + 1);

	if (!text)
		return 0;
	memcpy(text, data, len);
	text[len] = '\0';
	authorization(text);
	challenge(text);
	digest(text);
	answer(text);
	free(text);
	return 0;
}
