/* SPDX-License-Identifier: GPL-3.0-only */
/* test_server_auth.c: the handler sees requests only that are signed, of this session, and not seen before; and every answer to one that is
 * signed is signed. */
#include "base/blake2bp.h"
#include "node/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lib/wire_fixture.h"

static char digest_of_x[NODE_DIGEST_TEXT];

static int start(void **state)
{
	uint8_t digest[32];

	blake2bp("x", 1, digest, sizeof digest);
	node_digest_text(digest, digest_of_x);
	*state = wire_new(NULL, NULL);
	return 0;
}

static int stop(void **state)
{
	wire_free(*state);
	return 0;
}

static const struct node_session *session_of(struct wire *wire)
{
	return server_session(wire->server);
}

/* Sends it over a connection of its own, and returns the answer's head and body (free it). */
static char *exchange(struct wire *wire, const char *head, const char *body)
{
	int fd = wire_connect(wire->port);
	char *answer;

	assert_true(wire_say(fd, head));
	(void)wire_say(fd, body);
	answer = wire_hear(fd, "\r\n\r\n");
	close(fd);
	return answer;
}

static void expect(struct wire *wire, const char *head, const char *body, const char *status, bool is_signed)
{
	char *answer = exchange(wire, head, body);

	if (!strstr(answer, status))
		print_message("%s\n%s\n", head, answer);
	assert_non_null(strstr(answer, status));
	assert_int_equal(strstr(answer, "X-Garner-Answer: mac=") != NULL, is_signed);
	free(answer);
}

static void a_signed_request_is_let_in(void **state)
{
	struct wire *wire = *state;
	const struct node_header digest = { "X-Garner-Digest", digest_of_x };
	char *head = wire_head(wire, session_of(wire), "PUT", "/sink", &digest, 1, 1, NULL);

	expect(wire, head, "x", "HTTP/1.1 201 ", true);
	assert_int_equal(wire->heads, 1);
	assert_int_equal(wire->ends, 1);
	free(head);
}

static void requests_without_a_proof_are_refused_unseen(void **state)
{
	struct wire *wire = *state;

	expect(wire, "GET /sink HTTP/1.1\r\nHost: x\r\n\r\n", "", "HTTP/1.1 401 ", false);
	expect(wire, "GET /sink HTTP/1.1\r\nHost: x\r\nAuthorization: Basic eA==\r\n\r\n", "", "HTTP/1.1 401 ", false);
	expect(wire, "GET /v1/healthy HTTP/1.1\r\nHost: x\r\n\r\n", "", "HTTP/1.1 401 ", false);
	expect(wire, "GET //v1/health HTTP/1.1\r\nHost: x\r\n\r\n", "", "HTTP/1.1 401 ", false);
	expect(wire, "DELETE /v1/health HTTP/1.1\r\nHost: x\r\n\r\n", "", "HTTP/1.1 401 ", false);
	expect(wire, "GET /v1/health HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n", "x", "HTTP/1.1 401 ", false);
	assert_int_equal(wire->heads, 0);
	assert_int_equal(wire_stats(wire).refused_unauthenticated, 6);
}

static void open_paths_need_no_proof(void **state)
{
	struct wire *wire = *state;

	expect(wire, "GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n", "", "HTTP/1.1 200 ", false);
	expect(wire, "GET /open?a=b HTTP/1.1\r\nHost: x\r\n\r\n", "", "HTTP/1.1 200 ", false);
	expect(wire, "HEAD /open HTTP/1.1\r\nHost: x\r\n\r\n", "", "HTTP/1.1 200 ", false);
	assert_int_equal(wire->heads, 3);
}

static void a_proof_on_an_open_path_must_be_right(void **state)
{
	struct wire *wire = *state;
	char *head = wire_head(wire, session_of(wire), "GET", "/open", NULL, 0, 0, NULL);

	expect(wire, head, "", "HTTP/1.1 200 ", true);
	expect(wire, head, "", "HTTP/1.1 401 ", true); /* again */
	free(head);
	wire->key.bytes[0] ^= 1;
	head = wire_head(wire, session_of(wire), "GET", "/open", NULL, 0, 0, NULL);
	expect(wire, head, "", "HTTP/1.1 401 ", false);
	free(head);
}

static void another_key_is_refused_and_told_nothing(void **state)
{
	struct wire *wire = *state;
	char *head, *answer;

	wire->key.bytes[31] ^= 0x80;
	head = wire_head(wire, session_of(wire), "GET", "/sink", NULL, 0, 0, NULL);
	answer = exchange(wire, head, "");
	assert_non_null(strstr(answer, "HTTP/1.1 401 "));
	assert_null(strstr(answer, "X-Garner-Challenge"));
	assert_null(strstr(answer, "X-Garner-Answer"));
	assert_int_equal(wire->heads, 0);
	free(answer);
	free(head);
}

static void a_replay_is_refused_on_any_connection(void **state)
{
	struct wire *wire = *state;
	char *head = wire_head(wire, session_of(wire), "GET", "/bytes?n=3", NULL, 0, 0, NULL);
	char *answer;

	expect(wire, head, "", "HTTP/1.1 200 ", true);
	for (int i = 0; i < 3; i++) {
		answer = exchange(wire, head, "");
		assert_non_null(strstr(answer, "HTTP/1.1 401 "));
		assert_non_null(strstr(answer, "X-Garner-Reason: replayed"));
		free(answer);
	}
	assert_int_equal(wire->heads, 1);
	assert_int_equal(wire_stats(wire).refused_replayed, 3);
	free(head);
}

static void times_outside_the_window_are_challenged(void **state)
{
	/* As of a client that takes the session for older or younger than it is. */
	static const uint64_t off_ms[] = { NODE_AUTH_WINDOW_MS + 5000, 86400000, UINT64_C(1) << 60 };
	struct wire *wire = *state;

	for (size_t i = 0; i < sizeof off_ms / sizeof off_ms[0]; i++) {
		struct node_session s = *session_of(wire);
		char *head, *answer;

		s.start_ms -= off_ms[i];
		head = wire_head(wire, &s, "GET", "/sink", NULL, 0, 0, NULL);
		answer = exchange(wire, head, "");
		assert_non_null(strstr(answer, "HTTP/1.1 401 "));
		assert_non_null(strstr(answer, "X-Garner-Challenge: session="));
		assert_non_null(strstr(answer, "X-Garner-Answer: mac="));
		free(answer);
		free(head);
	}
	assert_int_equal(wire->heads, 0);
}

static void another_session_is_challenged(void **state)
{
	struct wire *wire = *state;
	struct node_session s = *session_of(wire), none = { 0 };
	char *head;

	s.id[3] ^= 1;
	head = wire_head(wire, &s, "GET", "/sink", NULL, 0, 0, NULL);
	expect(wire, head, "", "X-Garner-Challenge: session=", true);
	free(head);
	head = wire_head(wire, &none, "GET", "/sink", NULL, 0, 0, NULL);
	expect(wire, head, "", "X-Garner-Challenge: session=", true);
	free(head);
	assert_int_equal(wire->heads, 0);
}

/* Puts `with` in place of `what`, which must be there and as long. */
static void change(char *head, const char *what, const char *with)
{
	char *at = strstr(head, what);

	assert_non_null(at);
	assert_int_equal(strlen(what), strlen(with));
	memcpy(at, with, strlen(with));
}

static void what_was_changed_on_the_way_is_refused(void **state)
{
	static const struct {
		const char *what, *with;
	} changes[] = { { "PUT", "GET" },
		        { "/sink", "/echo" },
		        { "a=1", "a=2" },
		        { "Content-Length: 1", "Content-Length: 2" },
		        { "X-Garner-Map: 5", "X-Garner-Map: 6" },
		        { "X-Garner-Map: 5", "X-Gibson-Map: 5" },
		        { "bytes=0-1", "bytes=0-2" },
		        { "Range", "Banga" } };
	struct wire *wire = *state;
	const struct node_header headers[] = { { "X-Garner-Digest", digest_of_x },
		                               { "X-Garner-Map", "5" },
		                               { "Range", "bytes=0-1" } };

	for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
		char *head = wire_head(wire, session_of(wire), "PUT", "/sink?a=1", headers, 3, 1, NULL);

		change(head, changes[i].what, changes[i].with);
		expect(wire, head, "xx", "HTTP/1.1 401 ", false);
		free(head);
	}
	char *head = wire_head(wire, session_of(wire), "PUT", "/sink?a=1", headers, 3, 1, NULL);
	char *digest = strstr(head, digest_of_x);
	*digest = *digest == '0' ? '1' : '0';
	expect(wire, head, "x", "HTTP/1.1 401 ", false);
	free(head);
	assert_int_equal(wire->heads, 0);
}

static void a_body_needs_a_digest(void **state)
{
	struct wire *wire = *state;
	const struct node_header bad = { "X-Garner-Digest", "abc" };
	char *head = wire_head(wire, session_of(wire), "PUT", "/sink", NULL, 0, 1, NULL);

	expect(wire, head, "x", "HTTP/1.1 400 ", true);
	free(head);
	head = wire_head(wire, session_of(wire), "PUT", "/sink", &bad, 1, 1, NULL);
	expect(wire, head, "x", "HTTP/1.1 400 ", true);
	free(head);
	head = wire_head(wire, session_of(wire), "PUT", "/sink", NULL, 0, 0, NULL);
	expect(wire, head, "", "HTTP/1.1 201 ", true);
	free(head);
	assert_int_equal(wire->heads, 1);
}

static void too_many_requests_a_minute_are_refused_for_now(void **state)
{
	struct wire *wire = *state;

	wire_stop(wire);
	wire->limits.nonces_max = 5;
	wire_start(wire);
	for (int i = 0; i < 8; i++) {
		char *head = wire_head(wire, session_of(wire), "GET", "/bytes?n=1", NULL, 0, 0, NULL);

		expect(wire, head, "", i < 5 ? "HTTP/1.1 200 " : "Retry-After: ", true);
		free(head);
	}
	assert_int_equal(wire->heads, 5);
}

static void after_a_new_start_nothing_can_be_replayed(void **state)
{
	struct wire *wire = *state;
	char *head = wire_head(wire, session_of(wire), "GET", "/bytes?n=3", NULL, 0, 0, NULL);

	expect(wire, head, "", "HTTP/1.1 200 ", true);
	wire_stop(wire);
	wire_start(wire);
	expect(wire, head, "", "HTTP/1.1 401 ", true);
	assert_int_equal(wire->heads, 1);
	free(head);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_signed_request_is_let_in, start, stop),
		cmocka_unit_test_setup_teardown(requests_without_a_proof_are_refused_unseen, start, stop),
		cmocka_unit_test_setup_teardown(open_paths_need_no_proof, start, stop),
		cmocka_unit_test_setup_teardown(a_proof_on_an_open_path_must_be_right, start, stop),
		cmocka_unit_test_setup_teardown(another_key_is_refused_and_told_nothing, start, stop),
		cmocka_unit_test_setup_teardown(a_replay_is_refused_on_any_connection, start, stop),
		cmocka_unit_test_setup_teardown(times_outside_the_window_are_challenged, start, stop),
		cmocka_unit_test_setup_teardown(another_session_is_challenged, start, stop),
		cmocka_unit_test_setup_teardown(what_was_changed_on_the_way_is_refused, start, stop),
		cmocka_unit_test_setup_teardown(a_body_needs_a_digest, start, stop),
		cmocka_unit_test_setup_teardown(too_many_requests_a_minute_are_refused_for_now, start, stop),
		cmocka_unit_test_setup_teardown(after_a_new_start_nothing_can_be_replayed, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
