/* SPDX-License-Identifier: GPL-3.0-only */
/* test_peer.c: one node as the client of another: bodies both ways, sessions, proofs, and being down. */
#include "node/peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lib/random.h"
#include "lib/wire_fixture.h"

#define MIB ((size_t)1024 * 1024)

static uint8_t *make_bytes(size_t length)
{
	struct random r = { .state = length };
	uint8_t *bytes = malloc(length);

	assert_non_null(bytes);
	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)random_next(&r);
	return bytes;
}

static void a_small_request_is_answered(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);
	struct wire_peer *w = wire_peer_new(wire, NULL);
	struct wire_ask a = { .method = "GET", .target = "/bytes?n=1000" };

	(void)state;
	wire_ask(w, &a);
	assert_int_equal(a.rc, 0);
	assert_int_equal(a.status, 200);
	assert_int_equal(a.answer_length, 1000);
	assert_int_equal(wire_peer_stats(w).session_changes, 1);
	assert_int_equal(peer_state(w->peer), PEER_UP);
	free(a.answer);
	wire_peer_free(w);
	wire_free(wire);
}

static void bodies_go_there_and_back_in_pieces_of_any_size(void **state)
{
	static const struct {
		size_t length, piece;
	} cases[] = { { 1, 0 },       { 4096, 1 },        { 100000, 777 },
		      { 8 * MIB, 0 }, { 8 * MIB, 65536 }, { 8 * MIB + 1, 131072 } };
	struct wire *wire = wire_new(NULL, NULL);
	struct wire_peer *w = wire_peer_new(wire, NULL);

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		uint8_t *bytes = make_bytes(cases[i].length);
		struct wire_ask a = { .method = "PUT",
			              .target = "/echo",
			              .body = bytes,
			              .length = cases[i].length,
			              .piece = cases[i].piece,
			              .answer_max = cases[i].length };

		wire_ask(w, &a);
		if (a.rc < 0)
			print_message("%s\n", error_text(&a.err));
		assert_int_equal(a.rc, 0);
		assert_int_equal(a.status, 200);
		assert_int_equal(a.answer_length, cases[i].length);
		assert_memory_equal(a.answer, bytes, a.answer_length);
		free(a.answer);
		free(bytes);
	}
	assert_int_equal(wire_stats(wire).body_bytes, 0);
	assert_int_equal(wire_stats(wire).answer_bytes, 0);
	wire_peer_free(w);
	wire_free(wire);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_small_request_is_answered),
		cmocka_unit_test(bodies_go_there_and_back_in_pieces_of_any_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
