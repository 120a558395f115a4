/* SPDX-License-Identifier: GPL-3.0-only */
/* test_server.c: a node's HTTP server as clients see it that speak for themselves: connections that are kept, requests that follow each
 * other, bodies that end early, answers. */
#include "node/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lib/random.h"
#include "lib/wire_fixture.h"

#define MIB ((size_t)1024 * 1024)

static const char any_digest[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static int start(void **state)
{
	*state = wire_new(NULL, NULL);
	return 0;
}

static int stop(void **state)
{
	wire_free(*state);
	return 0;
}

static char *head_of(struct wire *wire, const char *method, const char *target, uint64_t length, const char *more)
{
	const struct node_header digest = { "X-Garner-Digest", any_digest };

	return wire_head(wire, server_session(wire->server), method, target, &digest, length ? 1 : 0, length, more);
}

static void say_head(struct wire *wire, int fd, const char *method, const char *target, uint64_t length,
                     const char *more)
{
	char *head = head_of(wire, method, target, length, more);

	assert_true(wire_say(fd, head));
	free(head);
}

static size_t count(const char *text, const char *what)
{
	size_t n = 0;

	for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
		n++;
	return n;
}

static void expect(int fd, const char *until, const char *what)
{
	char *got = wire_hear(fd, until);

	if (!strstr(got, what))
		print_message("%s\n", got);
	assert_non_null(strstr(got, what));
	free(got);
}

static void a_connection_is_used_again(void **state)
{
	struct wire *wire = *state;
	int fd = wire_connect(wire->port);

	for (int i = 0; i < 100; i++) {
		say_head(wire, fd, "PUT", "/sink", 3, NULL);
		assert_true(wire_say(fd, "abc"));
		expect(fd, "\r\n\r\n", "HTTP/1.1 201 ");
	}
	assert_int_equal(wire_stats(wire).connections, 1);
	close(fd);
	assert_true(wire_becomes(wire_stats(wire).connections == 0));
	assert_int_equal(wire->aborts, 0);
}

static void a_client_that_says_so_is_let_go(void **state)
{
	struct wire *wire = *state;
	int fd = wire_connect(wire->port);

	say_head(wire, fd, "GET", "/bytes?n=5", 0, "Connection: close\r\n");
	char *got = wire_hear(fd, NULL);
	assert_non_null(strstr(got, "HTTP/1.1 200 "));
	assert_non_null(strstr(got, "Connection: close"));
	free(got);
	close(fd);
}

static void requests_in_one_go_are_answered_one_after_the_other(void **state)
{
	struct wire *wire = *state;
	int fd = wire_connect(wire->port);
	size_t used = 0, room = 256 * 1024;
	char *all = malloc(room), *got;

	assert_non_null(all);
	for (int i = 0; i < 300; i++) {
		char *head = head_of(wire, "PUT", i % 3 ? "/sink" : "/refuse", 10, NULL);

		used += (size_t)snprintf(all + used, room - used, "%s0123456789", head);
		free(head);
	}
	char *last = head_of(wire, "GET", "/bytes?n=1", 0, "Connection: close\r\n");
	used += (size_t)snprintf(all + used, room - used, "%s", last);
	assert_true(used < room);
	assert_true(wire_send(fd, all, used));
	got = wire_hear(fd, NULL);
	assert_int_equal(count(got, "HTTP/1.1 201 "), 200);
	assert_int_equal(count(got, "HTTP/1.1 409 "), 100);
	assert_int_equal(count(got, "HTTP/1.1 200 "), 1);
	assert_int_equal(wire->heads, 301);
	close(fd);
	free(last);
	free(got);
	free(all);
}

static void a_request_byte_by_byte_is_one(void **state)
{
	struct wire *wire = *state;
	char *head = head_of(wire, "PUT", "/sink", 5, NULL);
	int fd = wire_connect(wire->port);

	for (char *c = head; *c; c++)
		assert_true(wire_send(fd, c, 1));
	for (const char *c = "hello"; *c; c++) {
		assert_true(wire_send(fd, c, 1));
		(void)usleep(1000);
	}
	expect(fd, "\r\n\r\n", "X-Garner-Length: 5\r\n");
	close(fd);
	free(head);
}

static void an_answer_to_head_has_no_body(void **state)
{
	struct wire *wire = *state;
	int fd = wire_connect(wire->port);

	say_head(wire, fd, "HEAD", "/bytes?n=1234", 0, NULL);
	say_head(wire, fd, "HEAD", "/nothing", 0, "Connection: close\r\n");
	char *got = wire_hear(fd, NULL);
	assert_non_null(strstr(got, "Content-Length: 1234\r\n"));
	assert_int_equal(count(got, "HTTP/1.1 "), 2);
	assert_string_equal(got + strlen(got) - 4, "\r\n\r\n");
	close(fd);
	free(got);
}

static void a_client_that_waits_to_go_on_is_told(void **state)
{
	struct wire *wire = *state;
	int fd = wire_connect(wire->port);

	say_head(wire, fd, "PUT", "/sink", 5, "Expect: 100-continue\r\n");
	expect(fd, "\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n");
	assert_true(wire_say(fd, "hello"));
	expect(fd, "\r\n\r\n", "HTTP/1.1 201 ");
	/* And on the same connection once more. */
	say_head(wire, fd, "PUT", "/sink", 5, "Expect: 100-continue\r\n");
	expect(fd, "\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n");
	assert_true(wire_say(fd, "hello"));
	expect(fd, "\r\n\r\n", "HTTP/1.1 201 ");
	close(fd);
}

static void a_client_that_waits_to_go_on_is_refused_at_once(void **state)
{
	struct wire *wire = *state;
	int fd = wire_connect(wire->port);

	say_head(wire, fd, "PUT", "/refuse", 50000000, "Expect: 100-continue\r\n");
	char *got = wire_hear(fd, NULL);
	assert_null(strstr(got, "100 Continue"));
	assert_non_null(strstr(got, "HTTP/1.1 409 "));
	assert_non_null(strstr(got, "Connection: close"));
	close(fd);
	free(got);
}

/* Sends `length` bytes, or as many as are taken. */
static void send_zeros(int fd, size_t length)
{
	char *zeros = calloc(1, 65536);

	assert_non_null(zeros);
	while (length) {
		size_t n = length < 65536 ? length : 65536;
		if (!wire_send(fd, zeros, n))
			break;
		length -= n;
	}
	free(zeros);
}

static void the_rest_of_a_refused_body_is_read_when_it_is_short(void **state)
{
	struct wire *wire = *state;
	int fd = wire_connect(wire->port);

	for (int i = 0; i < 3; i++) {
		say_head(wire, fd, "PUT", i == 1 ? "/refuse-later" : "/refuse", 900000, NULL);
		send_zeros(fd, 900000);
		expect(fd, "\r\n\r\n", "HTTP/1.1 409 ");
	}
	/* What is left of the bodies of the answers is read here, too. */
	say_head(wire, fd, "GET", "/bytes?n=1", 0, "Connection: close\r\n");
	expect(fd, NULL, "HTTP/1.1 200 ");
	assert_int_equal(wire->ends, 1);
	close(fd);
}

static void after_the_refusal_of_a_long_body_the_connection_is_closed(void **state)
{
	struct wire *wire = *state;
	int fd = wire_connect(wire->port);

	say_head(wire, fd, "PUT", "/refuse", 100 * MIB, NULL);
	send_zeros(fd, 300000);
	char *got = wire_hear(fd, NULL);
	assert_non_null(strstr(got, "HTTP/1.1 409 "));
	assert_non_null(strstr(got, "Connection: close"));
	close(fd);
	free(got);
}

static void a_body_that_ends_early_is_aborted(void **state)
{
	struct wire *wire = *state;
	int fd = wire_connect(wire->port);

	say_head(wire, fd, "PUT", "/sink", 1000000, NULL);
	send_zeros(fd, 500000);
	close(fd);
	assert_true(wire_becomes(wire->aborts == 1));
	assert_int_equal(wire->ends, 0);
	assert_int_equal(wire_stats(wire).body_bytes, 0);
	assert_int_equal(wire_stats(wire).connections, 0);
}

static void bytes_after_a_body_are_the_next_request(void **state)
{
	struct wire *wire = *state;
	int fd = wire_connect(wire->port);

	say_head(wire, fd, "PUT", "/sink", 5, NULL);
	assert_true(wire_say(fd, "hello, and more than was announced\r\n\r\n"));
	char *got = wire_hear(fd, NULL);
	assert_non_null(strstr(got, "HTTP/1.1 201 "));
	assert_non_null(strstr(got, "HTTP/1.1 400 "));
	assert_int_equal(wire->heads, 1);
	close(fd);
	free(got);
}

static void the_handler_hears_of_a_client_that_goes_while_it_works(void **state)
{
	struct wire *wire = *state;
	int fd = wire_connect(wire->port);

	say_head(wire, fd, "PUT", "/hold", 3, NULL);
	assert_true(wire_say(fd, "abc"));
	assert_true(wire_becomes(wire->held_count == 1));
	close(fd);
	assert_true(wire_becomes(wire->aborts == 1));
	wire_release(wire); /* nothing is left */
	assert_int_equal(wire_stats(wire).connections, 0);
}

static void an_answer_may_come_later_and_requests_wait_for_it(void **state)
{
	struct wire *wire = *state;
	int fd = wire_connect(wire->port);

	say_head(wire, fd, "GET", "/hold", 0, NULL);
	say_head(wire, fd, "GET", "/bytes?n=3", 0, "Connection: close\r\n");
	assert_true(wire_becomes(wire->held_count == 1));
	(void)usleep(20000);
	assert_int_equal(wire->heads, 1);
	wire_release(wire);
	char *got = wire_hear(fd, NULL);
	assert_int_equal(count(got, "HTTP/1.1 200 "), 2);
	close(fd);
	free(got);
}

static void a_handler_that_pauses_gets_all_of_the_body(void **state)
{
	struct wire *wire = *state;
	int fd = wire_connect(wire->port);

	say_head(wire, fd, "PUT", "/pause", 2 * MIB, NULL);
	send_zeros(fd, 2 * MIB);
	expect(fd, "\r\n\r\n", "X-Garner-Length: 2097152\r\n");
	assert_true(wire->pieces >= 16);
	close(fd);
}

static void a_handler_that_pauses_may_refuse(void **state)
{
	struct wire *wire = *state;
	int fd = wire_connect(wire->port);

	for (int i = 0; i < 3; i++) {
		say_head(wire, fd, "PUT", "/pause-refuse", 900000, NULL);
		send_zeros(fd, 900000);
		expect(fd, "no\n", "HTTP/1.1 409 ");
	}
	assert_int_equal(wire->pieces, 3);
	assert_int_equal(wire_stats(wire).body_bytes, 0);
	close(fd);
}

static void an_answer_that_cannot_be_sent_becomes_a_500(void **state)
{
	struct wire *wire = *state;
	int fd = wire_connect(wire->port);

	say_head(wire, fd, "GET", "/bad", 0, NULL);
	char *got = wire_hear(fd, NULL);
	assert_non_null(strstr(got, "HTTP/1.1 500 "));
	assert_non_null(strstr(got, "X-Garner-Answer: mac="));
	assert_null(strstr(got, "lines: x"));
	close(fd);
	free(got);
}

static void a_large_answer_arrives_whole_at_a_slow_reader(void **state)
{
	struct wire *wire = *state;
	size_t length = 4 * MIB, body = 0;
	int fd = wire_connect(wire->port);
	char bytes[65536], *head_end;
	ssize_t n;

	say_head(wire, fd, "GET", "/bytes?n=4194304", 0, "Connection: close\r\n");
	n = recv(fd, bytes, sizeof bytes - 1, 0);
	assert_true(n > 0);
	bytes[n] = '\0';
	head_end = strstr(bytes, "\r\n\r\n");
	assert_non_null(head_end);
	body = (size_t)(bytes + n - (head_end + 4));
	while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0) {
		for (ssize_t i = 0; i < n; i += 1009) {
			size_t at = body + (size_t)i;
			assert_int_equal((uint8_t)bytes[i], (uint8_t)(at * 7 + at / 251));
		}
		body += (size_t)n;
		if (body % 7 == 0)
			(void)usleep(1000);
	}
	assert_int_equal(body, length);
	assert_true(wire_becomes(wire_stats(wire).answer_bytes == 0));
	close(fd);
}

static void who_has_said_all_still_gets_the_answer(void **state)
{
	struct wire *wire = *state;
	int fd = wire_connect(wire->port);

	say_head(wire, fd, "GET", "/bytes?n=4000000", 0, NULL);
	expect(fd, "\r\n\r\n", "HTTP/1.1 200 "); /* some of it is there; most is not */
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	size_t got = 0;
	char bytes[65536];
	ssize_t n;
	while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0)
		got += (size_t)n;
	assert_int_equal(n, 0);
	assert_true(got > 2 * MIB);
	close(fd);
}

static void a_server_that_ends_tells_the_handler(void **state)
{
	struct wire *wire = *state;
	int a = wire_connect(wire->port), b = wire_connect(wire->port), c = wire_connect(wire->port);

	say_head(wire, a, "GET", "/hold", 0, NULL);
	say_head(wire, b, "PUT", "/sink", 1000, NULL);
	send_zeros(b, 10);
	assert_true(wire_becomes(wire->held_count == 1 && wire->heads == 2));
	wire_stop(wire);
	assert_int_equal(wire->aborts, 2);
	assert_true(wire_is_closed(a) && wire_is_closed(b) && wire_is_closed(c));
	close(a);
	close(b);
	close(c);
}

static atomic_uint drained_count;

static void drained(void *arg)
{
	(void)arg;
	atomic_fetch_add(&drained_count, 1);
}

static void drain_here(void *arg)
{
	struct wire *wire = arg;

	server_drain(wire->server, WIRE_PATIENCE_MS, drained, wire);
}

static void a_server_that_is_to_end_finishes_what_it_has(void **state)
{
	struct wire *wire = *state;
	int idle = wire_connect(wire->port), busy = wire_connect(wire->port);

	say_head(wire, idle, "GET", "/bytes?n=1", 0, NULL);
	expect(idle, "\r\n\r\n", "HTTP/1.1 200 ");
	say_head(wire, busy, "GET", "/hold", 0, NULL);
	assert_true(wire_becomes(wire->held_count == 1));
	drained_count = 0;
	assert_int_equal(loop_run(wire->loop, drain_here, wire), 0);
	assert_true(wire_is_closed(idle));
	assert_int_equal(drained_count, 0);
	wire_release(wire);
	expect(busy, "\r\n\r\n", "HTTP/1.1 200 ");
	assert_true(wire_is_closed(busy));
	assert_true(wire_becomes(drained_count == 1));
	close(idle);
	close(busy);
}

static void bytes_at_random_do_no_harm(void **state)
{
	struct wire *wire = *state;
	struct random r = { .state = env_number("SEED", 20260101) };

	print_message("SEED=%llu\n", (unsigned long long)r.state);
	for (int i = 0; i < 200; i++) {
		char *head = head_of(wire, "PUT", "/sink", 100, NULL);
		size_t length = strlen(head);
		int fd = wire_connect(wire->port);

		for (uint64_t n = random_below(&r, 4); n; n--)
			head[random_below(&r, length)] = (char)random_next(&r);
		(void)wire_send(fd, head, random_below(&r, length + 1));
		send_zeros(fd, random_below(&r, 200));
		close(fd);
		free(head);
	}
	assert_true(wire_becomes(wire_stats(wire).connections == 0));
	assert_int_equal(wire->heads, wire->ends + wire->aborts);
	assert_int_equal(wire_stats(wire).body_bytes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_connection_is_used_again, start, stop),
		cmocka_unit_test_setup_teardown(a_client_that_says_so_is_let_go, start, stop),
		cmocka_unit_test_setup_teardown(requests_in_one_go_are_answered_one_after_the_other, start, stop),
		cmocka_unit_test_setup_teardown(a_request_byte_by_byte_is_one, start, stop),
		cmocka_unit_test_setup_teardown(an_answer_to_head_has_no_body, start, stop),
		cmocka_unit_test_setup_teardown(a_client_that_waits_to_go_on_is_told, start, stop),
		cmocka_unit_test_setup_teardown(a_client_that_waits_to_go_on_is_refused_at_once, start, stop),
		cmocka_unit_test_setup_teardown(the_rest_of_a_refused_body_is_read_when_it_is_short, start, stop),
		cmocka_unit_test_setup_teardown(after_the_refusal_of_a_long_body_the_connection_is_closed, start, stop),
		cmocka_unit_test_setup_teardown(a_body_that_ends_early_is_aborted, start, stop),
		cmocka_unit_test_setup_teardown(bytes_after_a_body_are_the_next_request, start, stop),
		cmocka_unit_test_setup_teardown(the_handler_hears_of_a_client_that_goes_while_it_works, start, stop),
		cmocka_unit_test_setup_teardown(an_answer_may_come_later_and_requests_wait_for_it, start, stop),
		cmocka_unit_test_setup_teardown(a_handler_that_pauses_gets_all_of_the_body, start, stop),
		cmocka_unit_test_setup_teardown(a_handler_that_pauses_may_refuse, start, stop),
		cmocka_unit_test_setup_teardown(an_answer_that_cannot_be_sent_becomes_a_500, start, stop),
		cmocka_unit_test_setup_teardown(a_large_answer_arrives_whole_at_a_slow_reader, start, stop),
		cmocka_unit_test_setup_teardown(who_has_said_all_still_gets_the_answer, start, stop),
		cmocka_unit_test_setup_teardown(a_server_that_ends_tells_the_handler, start, stop),
		cmocka_unit_test_setup_teardown(a_server_that_is_to_end_finishes_what_it_has, start, stop),
		cmocka_unit_test_setup_teardown(bytes_at_random_do_no_harm, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
