/* SPDX-License-Identifier: GPL-3.0-only */
/* test_peer_trouble.c: one node as the client of another that restarts, lies, stalls, is away, or is somebody else. */
#include "node/peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lib/tamper_proxy.h"
#include "lib/wire_fixture.h"

#define MIB ((size_t)1024 * 1024)
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static uint8_t megabytes[4 * 1024 * 1024];

static struct wire_ask get(struct wire_peer *w, const char *target)
{
	struct wire_ask a = { .method = "GET", .target = target };

	wire_ask(w, &a);
	free(a.answer);
	return a;
}

static struct wire_ask put(struct wire_peer *w, const char *target, size_t length)
{
	struct wire_ask a = { .method = "PUT", .target = target, .body = megabytes, .length = length, .piece = 65536 };

	wire_ask(w, &a);
	free(a.answer);
	return a;
}

static enum peer_state state_of(struct wire_peer *w)
{
	return wire_peer_stats(w).state;
}

/* ---- sessions ---- */

static void a_node_that_has_started_again_is_asked_again(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);
	struct wire_peer *w = wire_peer_new(wire, NULL);

	(void)state;
	for (unsigned i = 1; i <= 3; i++) {
		assert_int_equal(get(w, "/bytes?n=10").status, 200);
		assert_int_equal(wire_peer_stats(w).session_changes, i);
		assert_int_equal(wire->heads, i);
		wire_stop(wire);
		wire_start(wire);
	}
	assert_int_equal(w->downs, 0);
	wire_peer_free(w);
	wire_free(wire);
}

static void a_body_is_not_sent_before_the_session_is_known(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);
	struct wire_peer *w = wire_peer_new(wire, NULL);

	(void)state;
	assert_int_equal(put(w, "/sink", 4 * MIB).status, 201);
	assert_true(wire_peer_stats(w).bytes_out < 4 * MIB + 10000);
	assert_int_equal(wire_stats(wire).requests, 2);
	wire_peer_free(w);
	wire_free(wire);
}

static void a_body_for_a_session_that_is_over_fails_and_succeeds_the_next_time(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);
	struct wire_peer *w = wire_peer_new(wire, NULL);
	struct wire_ask a;

	(void)state;
	assert_int_equal(put(w, "/sink", 1000).status, 201);
	wire_stop(wire);
	wire_start(wire);
	/* The old connection is gone, which may be seen before or after it is used. */
	assert_true(wire_becomes(wire_peer_stats(w).connections == 0));
	a = put(w, "/sink", 1000);
	assert_int_equal(a.rc, -ESTALE);
	assert_non_null(strstr(a.err.text, "started again"));
	assert_int_equal(put(w, "/sink", 1000).status, 201);
	assert_int_equal(w->downs, 0);
	wire_peer_free(w);
	wire_free(wire);
}

/* ---- lies ---- */

static int ask_through(struct wire *wire, struct tamper_proxy *t, const char *method, const char *target,
                       const char *why)
{
	struct peer_options options = { 0 };
	struct wire_ask a = { .method = method, .target = target };
	struct wire_peer *w;

	t->server_port = wire->port;
	tamper_start(t);
	options.port = t->port;
	w = wire_peer_new(wire, &options);
	wire_ask(w, &a);
	if (a.rc < 0 && why && !strstr(a.err.text, why))
		print_message("%s\n", a.err.text);
	if (a.rc < 0 && why)
		assert_non_null(strstr(a.err.text, why));
	if (a.rc < 0)
		assert_int_equal(state_of(w), PEER_DOWN);
	free(a.answer);
	wire_peer_free(w);
	tamper_stop(t);
	return a.rc;
}

static void answers_that_were_changed_are_not_believed(void **state)
{
	static const struct {
		const char *what, *with, *target, *why;
	} cases[] = {
		{ "HTTP/1.1 200", "HTTP/1.1 201", "/bytes?n=100", "was changed" },
		{ "Content-Length: 100", "Content-Length: 099", "/bytes?n=100", "Content-Length" },
		{ "X-Garner-Length: 0", "X-Garner-Length: 1", "/sink", "was changed" },
		{ "X-Garner-Length", "X-Gibson-Length", "/sink", "was changed" },
		{ "X-Garner-Reason: newer", "X-Garner-Reason: older", "/refuse", "was changed" },
		{ "X-Garner-Body: ", "X-Gibson-Body: ", "/bytes?n=100", "was changed" },
		{ "X-Garner-Answer", "X-Gibson-Answer", "/sink", "not signed" },
		{ "X-Garner-Answer: mac=", "X-Garner-Answer: mad=", "/sink", "malformed" },
		{ "no\n", "on\n", "/refuse", "not the one that was signed" },
	};
	struct wire *wire = wire_new(NULL, NULL);

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct tamper_proxy t = { .what = cases[i].what, .with = cases[i].with };
		int rc = ask_through(wire, &t, "GET", cases[i].target, cases[i].why);

		assert_int_equal(rc, i == 1 ? -EPROTO : -EACCES);
	}
	struct tamper_proxy honest = { 0 };
	assert_int_equal(ask_through(wire, &honest, "GET", "/bytes?n=100", NULL), 0);
	wire_free(wire);
}

static void the_answer_to_another_request_is_not_believed(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);
	struct tamper_proxy t = { .replay = true, .server_port = wire->port };
	struct peer_options options = { 0 };
	struct wire_peer *w;

	(void)state;
	tamper_start(&t);
	options.port = t.port;
	w = wire_peer_new(wire, &options);
	assert_int_equal(get(w, "/sink").status, 201);
	assert_int_equal(get(w, "/sink").rc, -EACCES);
	wire_peer_free(w);
	tamper_stop(&t);
	wire_free(wire);
}

static int ask_liar(struct wire *wire, const char *says, const char *method)
{
	struct tamper_proxy t = { .says = says };
	struct peer_options options = { 0 };
	struct wire_ask a = { .method = method, .target = "/x" };
	struct wire_peer *w;

	tamper_start(&t);
	options.port = t.port;
	w = wire_peer_new(wire, &options);
	wire_ask(w, &a);
	assert_int_equal(state_of(w), a.rc == -EMSGSIZE ? PEER_UNKNOWN : PEER_DOWN);
	free(a.answer);
	wire_peer_free(w);
	tamper_stop(&t);
	return a.rc;
}

static void somebody_else_is_not_believed(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);

	(void)state;
	assert_int_equal(ask_liar(wire, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "GET"), -EACCES);
	assert_int_equal(ask_liar(wire, "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", "GET"), -EACCES);
	assert_int_equal(ask_liar(wire,
	                          "HTTP/1.1 401 No\r\nContent-Length: 0\r\nX-Garner-Challenge: "
	                          "session=00112233445566778899aabbccddeeff,time=1,mac="
	                          "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n\r\n",
	                          "GET"),
	                 -EACCES);
	assert_int_equal(ask_liar(wire, "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "GET"), -EMSGSIZE);
	assert_int_equal(ask_liar(wire, "HTTP/1.1 200 OK\r\n\r\n", "GET"), -EPROTO);
	assert_int_equal(ask_liar(wire, "SSH-2.0-OpenSSH\r\n", "GET"), -EPROTO);
	assert_int_equal(ask_liar(wire, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", "GET"), -EPROTO);
	assert_int_equal(ask_liar(wire, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD"), -EACCES);
	wire_free(wire);
}

static void a_node_with_another_key_is_not_believed(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);
	struct peer_options options = { .key = wire->key };
	struct wire_peer *w;
	struct wire_ask a;

	(void)state;
	options.key.bytes[5] ^= 1;
	w = wire_peer_new(wire, &options);
	a = get(w, "/bytes?n=10");
	assert_int_equal(a.rc, -EACCES);
	assert_non_null(strstr(a.err.text, "key"));
	a = put(w, "/sink", 1000);
	assert_int_equal(a.rc, -EHOSTDOWN);
	assert_int_equal(wire->heads, 0);
	wire_peer_free(w);
	wire_free(wire);
}

/* ---- silence ---- */

static void a_node_that_says_nothing_fails_in_time_and_is_down(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);
	struct tamper_proxy t = { 0 };
	struct peer_options options = { .stall_ms = 100 };
	struct wire_peer *w;
	struct wire_ask a;

	(void)state;
	tamper_start(&t);
	options.port = t.port;
	w = wire_peer_new(wire, &options);
	a = get(w, "/x");
	assert_int_equal(a.rc, -ETIMEDOUT);
	assert_non_null(strstr(a.err.text, "n2"));
	assert_int_equal(w->downs, 1);
	a = get(w, "/x");
	assert_int_equal(a.rc, -EHOSTDOWN);
	assert_non_null(strstr(wire_peer_stats(w).last_error, "100 ms"));
	wire_peer_free(w);
	tamper_stop(&t);
	wire_free(wire);
}

static void a_node_that_stops_in_the_middle_of_an_answer_fails_in_time(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);
	struct tamper_proxy t = { .says = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc" };
	struct peer_options options = { .stall_ms = 100 };
	struct wire_peer *w;

	(void)state;
	tamper_start(&t);
	options.port = t.port;
	w = wire_peer_new(wire, &options);
	assert_int_equal(get(w, "/x").rc, -ETIMEDOUT);
	wire_peer_free(w);
	tamper_stop(&t);
	wire_free(wire);
}

static void a_node_that_takes_long_has_the_time_that_the_caller_gives(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);
	struct peer_options options = { .stall_ms = 50 };
	struct wire_peer *w = wire_peer_new(wire, &options);
	struct wire_ask a = { .method = "GET", .target = "/hold", .stall_ms = WIRE_PATIENCE_MS };

	(void)state;
	wire_ask_start(w, &a);
	assert_true(wire_becomes(wire->held_count == 1));
	(void)usleep(200000);
	wire_release(wire);
	wire_ask_wait(&a);
	assert_int_equal(a.status, 200);
	free(a.answer);
	wire_peer_free(w);
	wire_free(wire);
}

static void cancel_here(void *arg)
{
	struct wire_ask *a = arg;

	a->over = true;
	peer_cancel(a->request);
	sem_post(&a->done);
}

static void a_caller_that_takes_long_is_not_the_nodes_fault(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);
	struct peer_options options = { .stall_ms = 100 };
	struct wire_peer *w = wire_peer_new(wire, &options);
	struct wire_ask a = {
		.method = "PUT", .target = "/sink", .body = megabytes, .length = MIB, .piece = 65536, .stop_short = true
	};

	(void)state;
	wire_ask_start(w, &a);
	assert_true(wire_becomes(wire->pieces >= 4));
	(void)usleep(400000);
	assert_int_equal(state_of(w), PEER_UNKNOWN);
	assert_int_equal(loop_run(w->loop, cancel_here, &a), 0);
	wire_ask_wait(&a);
	assert_true(wire_becomes(wire->aborts == 1));
	assert_int_equal(get(w, "/bytes?n=1").status, 200);
	wire_peer_free(w);
	wire_free(wire);
}

static void a_node_that_does_not_wait_for_a_caller_any_longer_is_not_away(void **state)
{
	struct server_limits limits = { .progress_ms = 200 };
	struct wire *wire = wire_new(&limits, NULL);
	struct wire_peer *w = wire_peer_new(wire, NULL);
	struct wire_ask held = { .method = "GET", .target = "/hold", .stall_ms = WIRE_PATIENCE_MS };
	struct wire_ask a = {
		.method = "PUT", .target = "/sink", .body = megabytes, .length = MIB, .piece = 65536, .stop_short = true
	};

	(void)state;
	/* On a connection that was not used before. */
	wire_ask_start(w, &held);
	assert_true(wire_becomes(wire->held_count == 1));
	wire_ask_start(w, &a);
	wire_ask_wait(&a);
	assert_true(a.rc < 0);
	assert_int_equal(w->downs, 0);
	wire_release(wire);
	wire_ask_wait(&held);
	assert_int_equal(held.status, 200);
	free(held.answer);
	assert_int_equal(get(w, "/bytes?n=1").status, 200);
	wire_peer_free(w);
	wire_free(wire);
}

/* ---- away, and back ---- */

static void a_node_that_is_away_is_down_and_up_again_when_it_is_back(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);
	struct peer_options options = { .ping_ms = 20 };
	struct wire_peer *w = wire_peer_new(wire, &options);

	(void)state;
	assert_true(wire_becomes(w->ups == 1));
	for (unsigned i = 1; i <= 3; i++) {
		wire_stop(wire);
		assert_true(wire_becomes(w->downs == i));
		assert_int_equal(get(w, "/bytes?n=1").rc, -EHOSTDOWN);
		assert_int_equal(state_of(w), PEER_DOWN);
		wire_start(wire);
		assert_true(wire_becomes(w->ups == i + 1));
		assert_int_equal(get(w, "/bytes?n=1").status, 200);
	}
	assert_true(wire_peer_stats(w).round_trip_us > 0);
	wire_peer_free(w);
	wire_free(wire);
}

static void one_good_ping_is_not_enough_when_more_are_wanted(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);
	struct peer_options options = { .ping_ms = 10, .up_after = 5 };
	struct wire_peer *w;

	(void)state;
	wire_stop(wire);
	w = wire_peer_new(wire, &options);
	assert_true(wire_becomes(w->downs == 1));
	wire_start(wire);
	assert_true(wire_becomes(w->ups == 1));
	assert_true(wire->heads >= 5);
	wire_peer_free(w);
	wire_free(wire);
}

static void without_pings_the_next_good_answer_brings_it_up(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);
	struct wire_peer *w;

	(void)state;
	wire_stop(wire);
	w = wire_peer_new(wire, NULL);
	assert_int_equal(get(w, "/x").rc, -ECONNREFUSED);
	assert_int_equal(get(w, "/x").rc, -EHOSTDOWN);
	wire_peer_free(w);
	wire_free(wire);
}

static void pings_go_on_while_all_connections_are_busy(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);
	struct peer_options options = { .ping_ms = 10, .connections_max = 2 };
	struct wire_peer *w = wire_peer_new(wire, &options);
	struct wire_ask a[3];
	uint64_t before;

	(void)state;
	assert_true(wire_becomes(w->ups == 1));
	for (size_t i = 0; i < COUNT(a); i++) {
		a[i] = (struct wire_ask){ .method = "GET", .target = "/hold" };
		wire_ask_start(w, &a[i]);
	}
	assert_true(wire_becomes(wire->held_count == 2));
	before = wire->heads;
	assert_true(wire_becomes(wire->heads >= before + 5));
	assert_int_equal(wire->held_count, 2);
	wire_release(wire);
	assert_true(wire_becomes(wire->held_count == 3));
	wire_release(wire);
	for (size_t i = 0; i < COUNT(a); i++) {
		wire_ask_wait(&a[i]);
		assert_int_equal(a[i].status, 200);
		free(a[i].answer);
	}
	wire_peer_free(w);
	wire_free(wire);
}

/* ---- connections and the queue ---- */

static void requests_wait_for_a_connection_and_not_too_many(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);
	struct peer_options options = { .connections_max = 3, .queue_max = 10 };
	struct wire_peer *w = wire_peer_new(wire, &options);
	static struct wire_ask a[16];
	unsigned busy = 0, good = 0;

	(void)state;
	for (size_t i = 0; i < COUNT(a); i++) {
		a[i] = (struct wire_ask){ .method = "GET", .target = "/hold" };
		wire_ask_start(w, &a[i]);
		if (i < 3)
			assert_true(wire_becomes(wire->held_count == i + 1));
	}
	assert_true(wire_becomes(wire_peer_stats(w).queued == 10));
	assert_int_equal(wire_peer_stats(w).connections, 3);
	for (unsigned done = 3; done < 16; done += 3) {
		wire_release(wire);
		assert_true(wire_becomes(wire->held_count >= (done + 3 < 13 ? done + 3 : 13)));
	}
	wire_release(wire);
	for (size_t i = 0; i < COUNT(a); i++) {
		wire_ask_wait(&a[i]);
		busy += a[i].rc == -EBUSY;
		good += a[i].rc == 0;
		free(a[i].answer);
	}
	assert_int_equal(good, 13);
	assert_int_equal(busy, 3);
	wire_peer_free(w);
	wire_free(wire);
}

static void a_connection_that_the_node_has_closed_is_replaced(void **state)
{
	struct server_limits limits = { .idle_ms = 60 };
	struct wire *wire = wire_new(&limits, NULL);
	struct wire_peer *w = wire_peer_new(wire, NULL);

	(void)state;
	for (int i = 0; i < 20; i++) {
		assert_int_equal(get(w, "/bytes?n=10").status, 200);
		(void)usleep(58000 + (unsigned)i * 300);
	}
	assert_int_equal(w->downs, 0);
	wire_peer_free(w);
	wire_free(wire);
}

static void idle_connections_are_closed(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);
	struct peer_options options = { .idle_ms = 50 };
	struct wire_peer *w = wire_peer_new(wire, &options);

	(void)state;
	assert_int_equal(get(w, "/bytes?n=10").status, 200);
	assert_true(wire_becomes(wire_peer_stats(w).connections == 0));
	assert_int_equal(get(w, "/bytes?n=10").status, 200);
	wire_peer_free(w);
	wire_free(wire);
}

static void a_refusal_before_the_end_of_the_body_is_delivered(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);
	struct wire_peer *w = wire_peer_new(wire, NULL);

	(void)state;
	for (int i = 0; i < 5; i++) {
		struct wire_ask a = put(w, i % 2 ? "/refuse" : "/refuse-later", 4 * MIB);

		assert_int_equal(a.rc, 0);
		assert_int_equal(a.status, 409);
	}
	assert_int_equal(w->downs, 0);
	wire_peer_free(w);
	wire_free(wire);
}

static void an_answer_longer_than_the_caller_wants_is_no_sign_of_trouble(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);
	struct wire_peer *w = wire_peer_new(wire, NULL);
	struct wire_ask a = { .method = "GET", .target = "/bytes?n=1001", .answer_max = 1000 };

	(void)state;
	wire_ask(w, &a);
	assert_int_equal(a.rc, -EMSGSIZE);
	assert_int_equal(w->downs, 0);
	assert_int_equal(get(w, "/bytes?n=1000").status, 200);
	wire_peer_free(w);
	wire_free(wire);
}

static void requests_that_cannot_be_written_are_refused(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);
	struct wire_peer *w = wire_peer_new(wire, NULL);
	static char target[9000];

	(void)state;
	assert_int_equal(get(w, "/a b").rc, -EINVAL);
	assert_int_equal(get(w, "a").rc, -EINVAL);
	memset(target, 'a', sizeof target - 1);
	target[0] = '/';
	assert_int_equal(get(w, target).rc, -EINVAL);
	wire_peer_free(w);
	wire_free(wire);
}

static void what_is_under_way_when_it_ends_is_given_up(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);
	struct peer_options options = { .connections_max = 2 };
	struct wire_peer *w = wire_peer_new(wire, &options);
	struct wire_ask a[4];

	(void)state;
	for (size_t i = 0; i < COUNT(a); i++) {
		a[i] = (struct wire_ask){ .method = "GET", .target = "/hold" };
		wire_ask_start(w, &a[i]);
	}
	assert_true(wire_becomes(wire->held_count == 2));
	assert_int_equal(loop_run(w->loop, wire_peer_stop_here, w), 0);
	for (size_t i = 0; i < COUNT(a); i++) {
		wire_ask_wait(&a[i]);
		assert_int_equal(a[i].rc, -ECANCELED);
	}
	free(w);
	assert_true(wire_becomes(wire->aborts == 2));
	wire_free(wire);
}

static void a_name_is_looked_up(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);
	struct peer_options options = { .host = "localhost" };
	struct wire_peer *w = wire_peer_new(wire, &options);
	struct wire_ask a;

	(void)state;
	/* It may be ::1 first, where nobody listens: each address is tried. */
	for (int i = 0; i < 3; i++) {
		a = get(w, "/bytes?n=10");
		assert_int_equal(a.rc, 0);
	}
	assert_int_equal(w->downs, 0);
	wire_peer_free(w);
	options.host = "no-such-host.invalid";
	w = wire_peer_new(wire, &options);
	a = get(w, "/bytes?n=10");
	assert_int_equal(a.rc, -EHOSTUNREACH);
	wire_peer_free(w);
	wire_free(wire);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_that_has_started_again_is_asked_again),
		cmocka_unit_test(a_body_is_not_sent_before_the_session_is_known),
		cmocka_unit_test(a_body_for_a_session_that_is_over_fails_and_succeeds_the_next_time),
		cmocka_unit_test(answers_that_were_changed_are_not_believed),
		cmocka_unit_test(the_answer_to_another_request_is_not_believed),
		cmocka_unit_test(somebody_else_is_not_believed),
		cmocka_unit_test(a_node_with_another_key_is_not_believed),
		cmocka_unit_test(a_node_that_says_nothing_fails_in_time_and_is_down),
		cmocka_unit_test(a_node_that_stops_in_the_middle_of_an_answer_fails_in_time),
		cmocka_unit_test(a_node_that_takes_long_has_the_time_that_the_caller_gives),
		cmocka_unit_test(a_caller_that_takes_long_is_not_the_nodes_fault),
		cmocka_unit_test(a_node_that_does_not_wait_for_a_caller_any_longer_is_not_away),
		cmocka_unit_test(a_node_that_is_away_is_down_and_up_again_when_it_is_back),
		cmocka_unit_test(one_good_ping_is_not_enough_when_more_are_wanted),
		cmocka_unit_test(without_pings_the_next_good_answer_brings_it_up),
		cmocka_unit_test(pings_go_on_while_all_connections_are_busy),
		cmocka_unit_test(requests_wait_for_a_connection_and_not_too_many),
		cmocka_unit_test(a_connection_that_the_node_has_closed_is_replaced),
		cmocka_unit_test(idle_connections_are_closed),
		cmocka_unit_test(a_refusal_before_the_end_of_the_body_is_delivered),
		cmocka_unit_test(an_answer_longer_than_the_caller_wants_is_no_sign_of_trouble),
		cmocka_unit_test(requests_that_cannot_be_written_are_refused),
		cmocka_unit_test(what_is_under_way_when_it_ends_is_given_up),
		cmocka_unit_test(a_name_is_looked_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
