/* SPDX-License-Identifier: GPL-3.0-only */
/* test_server_limits.c: what a client can make a node's server hold, and for how long: connections, heads, bodies, answers. */
#include "node/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lib/wire_fixture.h"

#include <sys/resource.h>

#define MIB ((size_t)1024 * 1024)
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const char any_digest[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static void say_head(struct wire *wire, int fd, const char *method, const char *target, uint64_t length)
{
	const struct node_header digest = { "X-Garner-Digest", any_digest };
	char *head =
		wire_head(wire, server_session(wire->server), method, target, &digest, length ? 1 : 0, length, NULL);

	assert_true(wire_say(fd, head));
	free(head);
}

static void expect(int fd, const char *until, const char *what)
{
	char *got = wire_hear(fd, until);

	if (!strstr(got, what))
		print_message("%s\n", got);
	assert_non_null(strstr(got, what));
	free(got);
}

static bool send_zeros(int fd, size_t length)
{
	static const char zeros[65536];

	while (length) {
		size_t n = length < sizeof zeros ? length : sizeof zeros;
		if (!wire_send(fd, zeros, n))
			return false;
		length -= n;
	}
	return true;
}

/* ---- heads ---- */

static void heads_that_are_too_large_are_refused(void **state)
{
	struct wire *wire = wire_new(NULL, NULL);
	static char text[200000];
	size_t used;
	int fd;

	(void)state;
	fd = wire_connect(wire->port);
	used = (size_t)sprintf(text, "GET /");
	memset(text + used, 'a', 100000);
	(void)wire_send(fd, text, used + 100000);
	expect(fd, NULL, "HTTP/1.1 414 ");
	close(fd);

	fd = wire_connect(wire->port);
	used = (size_t)sprintf(text, "GET / HTTP/1.1\r\nHost: x\r\nA: ");
	memset(text + used, 'a', 100000);
	(void)wire_send(fd, text, used + 100000);
	expect(fd, NULL, "HTTP/1.1 431 ");
	close(fd);

	fd = wire_connect(wire->port);
	used = (size_t)sprintf(text, "GET / HTTP/1.1\r\nHost: x\r\n");
	for (int i = 0; i < 100; i++)
		used += (size_t)sprintf(text + used, "A%d: b\r\n", i);
	(void)wire_send(fd, text, used);
	expect(fd, NULL, "HTTP/1.1 431 ");
	close(fd);

	assert_int_equal(wire_stats(wire).refused_malformed, 3);
	assert_int_equal(wire->heads, 0);
	wire_free(wire);
}

static void a_head_must_end_in_time(void **state)
{
	struct server_limits limits = { .head_ms = 150 };
	struct wire *wire = wire_new(&limits, NULL);
	int fd = wire_connect(wire->port);
	bool open = true;

	(void)state;
	/* A byte now and then: not idle, and never done. */
	for (const char *c = "GET / HTTP/1.1\r\nHost: x\r\nAccept: a-very-long-list-of-things-that-does-not-end";
	     *c && open; c++) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		open = wire_send(fd, c, 1) && poll(&p, 1, 20) == 0;
	}
	assert_false(open);
	assert_true(wire_is_closed(fd));
	assert_int_equal(wire_stats(wire).refused_slow, 1);
	close(fd);
	wire_free(wire);
}

static void a_connection_without_requests_is_closed_in_time(void **state)
{
	struct server_limits limits = { .idle_ms = 100 };
	struct wire *wire = wire_new(&limits, NULL);
	int silent = wire_connect(wire->port), used = wire_connect(wire->port);

	(void)state;
	say_head(wire, used, "GET", "/bytes?n=1", 0);
	expect(used, "\r\n\r\n", "HTTP/1.1 200 ");
	assert_true(wire_is_closed(silent));
	assert_true(wire_is_closed(used));
	assert_int_equal(wire_stats(wire).refused_slow, 0);
	close(silent);
	close(used);
	wire_free(wire);
}

/* ---- bodies ---- */

static void a_body_must_move(void **state)
{
	struct server_limits limits = { .progress_ms = 200, .progress_bytes = 10000 };
	struct wire *wire = wire_new(&limits, NULL);
	int stalled = wire_connect(wire->port), slow = wire_connect(wire->port);

	(void)state;
	say_head(wire, stalled, "PUT", "/sink", MIB);
	assert_true(send_zeros(stalled, 100000));
	say_head(wire, slow, "PUT", "/sink", MIB);
	for (int i = 0; i < 3000 && send_zeros(slow, 1); i++)
		(void)usleep(5000);
	assert_true(wire_is_closed(stalled));
	assert_true(wire_is_closed(slow));
	assert_int_equal(wire_stats(wire).refused_slow, 2);
	assert_int_equal(wire->aborts, 2);
	assert_int_equal(wire_stats(wire).body_bytes, 0);
	close(stalled);
	close(slow);
	wire_free(wire);
}

static void a_slow_body_that_moves_is_taken_and_its_pieces_do_not_wait_for_each_other(void **state)
{
	struct server_limits limits = { .progress_ms = 2000, .progress_bytes = 1 };
	struct wire *wire = wire_new(&limits, NULL);
	int fd = wire_connect(wire->port);

	(void)state;
	say_head(wire, fd, "PUT", "/sink", 3000);
	for (unsigned i = 1; i <= 3; i++) {
		assert_true(send_zeros(fd, 1000));
		/* Handed over although there would be room for more in the piece. */
		assert_true(wire_becomes(wire->pieces == i));
	}
	expect(fd, "\r\n\r\n", "X-Garner-Length: 3000\r\n");
	close(fd);
	wire_free(wire);
}

static void a_handler_that_takes_its_time_is_not_the_clients_fault(void **state)
{
	struct server_limits limits = { .progress_ms = 50, .progress_bytes = 200000, .head_ms = 50, .idle_ms = 10000 };
	struct wire *wire = wire_new(&limits, NULL);
	int fd = wire_connect(wire->port);

	(void)state;
	say_head(wire, fd, "GET", "/hold", 0);
	assert_true(wire_becomes(wire->held_count == 1));
	(void)usleep(300000);
	assert_int_equal(wire->aborts, 0);
	wire_release(wire);
	expect(fd, "\r\n\r\n", "HTTP/1.1 200 ");
	close(fd);
	wire_free(wire);
}

static void a_body_longer_than_may_be_is_refused(void **state)
{
	struct server_limits limits = { .body_max = 1000 };
	struct wire *wire = wire_new(&limits, NULL);
	int fd = wire_connect(wire->port);

	(void)state;
	say_head(wire, fd, "PUT", "/sink", 1001);
	assert_true(send_zeros(fd, 1001));
	expect(fd, "\r\n\r\n", "HTTP/1.1 413 ");
	say_head(wire, fd, "PUT", "/sink", 1000);
	assert_true(send_zeros(fd, 1000));
	expect(fd, "X-Garner-Length: 1000\r\n", "HTTP/1.1 201 ");
	assert_int_equal(wire->heads, 1);
	close(fd);
	wire_free(wire);
}

static void beyond_the_bodies_that_fit_clients_are_asked_to_come_again(void **state)
{
	struct server_limits limits = { .bodies_max = 4 * MIB, .linger_ms = 500 };
	struct wire *wire = wire_new(&limits, NULL);
	int held[4], more[20];

	(void)state;
	for (size_t i = 0; i < COUNT(held); i++) {
		held[i] = wire_connect(wire->port);
		say_head(wire, held[i], "PUT", "/keep", MIB);
		assert_true(send_zeros(held[i], MIB));
	}
	assert_true(wire_becomes(wire->held_count == COUNT(held)));
	assert_int_equal(wire_stats(wire).body_bytes, 4 * MIB);
	for (size_t i = 0; i < COUNT(more); i++) {
		char *got;

		more[i] = wire_connect(wire->port);
		say_head(wire, more[i], "PUT", "/keep", 2 * MIB);
		/* Not stuck: it can send, is answered, and is cut off. */
		(void)send_zeros(more[i], 2 * MIB);
		got = wire_hear(more[i], "\r\n\r\n");
		if (got[0]) {
			assert_non_null(strstr(got, "HTTP/1.1 503 "));
			assert_non_null(strstr(got, "Retry-After: 1\r\n"));
			assert_non_null(strstr(got, "Connection: close\r\n"));
		}
		assert_true(wire_stats(wire).body_bytes <= 4 * MIB);
		free(got);
	}
	assert_int_equal(wire_stats(wire).refused_overload, COUNT(more));
	/* A short one keeps its connection, and comes in when there is room. */
	say_head(wire, held[0], "GET", "/bytes?n=1", 0);
	int fd = wire_connect(wire->port);
	say_head(wire, fd, "PUT", "/sink", 1000);
	assert_true(send_zeros(fd, 1000));
	expect(fd, "\n\r\n", "HTTP/1.1 503 ");
	wire_release(wire);
	assert_true(wire_becomes(wire_stats(wire).body_bytes == 0));
	say_head(wire, fd, "PUT", "/sink", 1000);
	assert_true(send_zeros(fd, 1000));
	expect(fd, "X-Garner-Length: 1000\r\n", "HTTP/1.1 201 ");
	close(fd);
	for (size_t i = 0; i < COUNT(held); i++)
		close(held[i]);
	for (size_t i = 0; i < COUNT(more); i++)
		close(more[i]);
	wire_free(wire);
}

/* ---- answers ---- */

static void a_client_that_never_reads_is_let_go(void **state)
{
	struct server_limits limits = { .progress_ms = 300, .progress_bytes = 1000 };
	struct wire *wire = wire_new(&limits, NULL);
	int fd = wire_connect(wire->port);

	(void)state;
	say_head(wire, fd, "GET", "/bytes?n=30000000", 0);
	assert_true(wire_becomes(wire->ends == 1));
	/* More requests do not make it hold more: nobody looks at them. */
	for (int i = 0; i < 20; i++)
		say_head(wire, fd, "GET", "/bytes?n=30000000", 0);
	assert_true(wire_becomes(wire_stats(wire).connections == 0));
	assert_int_equal(wire->ends, 1);
	assert_int_equal(wire_stats(wire).refused_slow, 1);
	assert_int_equal(wire_stats(wire).answer_bytes, 0);
	close(fd);
	wire_free(wire);
}

static void a_client_that_never_stops_sending_is_cut_off_after_its_refusal(void **state)
{
	struct server_limits limits = { .linger_ms = 200 };
	struct wire *wire = wire_new(&limits, NULL);
	int fd = wire_connect(wire->port);

	(void)state;
	assert_true(wire_say(fd, "nonsense\r\n"));
	while (send_zeros(fd, 1000))
		(void)usleep(2000);
	assert_true(wire_becomes(wire_stats(wire).connections == 0));
	close(fd);
	wire_free(wire);
}

/* ---- connections ---- */

/* Both ends of a thousand connections are ours. */
static void need_descriptors(void)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_cur >= 2500)
		return;
	if (limit.rlim_max < 2500) {
		print_message("skipped: only %llu file descriptors may be open\n", (unsigned long long)limit.rlim_max);
		skip();
	}
	limit.rlim_cur = 2500;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void of_a_thousand_connections_a_hundred_are_there(void **state)
{
	struct server_limits limits = { .connections = 100 };
	struct wire *wire = wire_new(&limits, NULL);
	static int fds[1000];

	(void)state;
	need_descriptors();
	for (size_t i = 0; i < COUNT(fds); i++) {
		fds[i] = wire_connect(wire->port);
		if (i % 50 == 0)
			assert_true(wire_stats(wire).connections <= 100);
	}
	/* The newest are served: those that were idle for longest have made room. */
	say_head(wire, fds[999], "GET", "/bytes?n=1", 0);
	expect(fds[999], "\r\n\r\n", "HTTP/1.1 200 ");
	assert_int_equal(wire_stats(wire).connections, 100);
	assert_true(wire_is_closed(fds[0]));
	for (size_t i = 0; i < COUNT(fds); i++)
		close(fds[i]);
	assert_true(wire_becomes(wire_stats(wire).connections == 0));
	wire_free(wire);
}

static void connections_at_work_are_not_closed_for_new_ones(void **state)
{
	struct server_limits limits = { .connections = 100 };
	struct wire *wire = wire_new(&limits, NULL);
	static int fds[1000];
	unsigned answered = 0, refused = 0;

	(void)state;
	need_descriptors();
	for (size_t i = 0; i < 100; i++) {
		fds[i] = wire_connect(wire->port);
		say_head(wire, fds[i], "GET", "/hold", 0);
	}
	assert_true(wire_becomes(wire->held_count == 100));
	for (size_t i = 100; i < COUNT(fds); i++)
		fds[i] = wire_connect(wire->port);
	for (size_t i = 100; i < COUNT(fds); i++) {
		char *got = wire_hear(fds[i], NULL);
		refused += strstr(got, "HTTP/1.1 503 ") != NULL;
		free(got);
	}
	assert_int_equal(refused, 900);
	assert_int_equal(wire_stats(wire).refused_connections, 900);
	wire_release(wire);
	for (size_t i = 0; i < 100; i++) {
		char *got = wire_hear(fds[i], "\r\n\r\n");
		answered += strstr(got, "HTTP/1.1 200 ") != NULL;
		free(got);
	}
	assert_int_equal(answered, 100);
	for (size_t i = 0; i < COUNT(fds); i++)
		close(fds[i]);
	wire_free(wire);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(heads_that_are_too_large_are_refused),
		cmocka_unit_test(a_head_must_end_in_time),
		cmocka_unit_test(a_connection_without_requests_is_closed_in_time),
		cmocka_unit_test(a_body_must_move),
		cmocka_unit_test(a_slow_body_that_moves_is_taken_and_its_pieces_do_not_wait_for_each_other),
		cmocka_unit_test(a_handler_that_takes_its_time_is_not_the_clients_fault),
		cmocka_unit_test(a_body_longer_than_may_be_is_refused),
		cmocka_unit_test(beyond_the_bodies_that_fit_clients_are_asked_to_come_again),
		cmocka_unit_test(a_client_that_never_reads_is_let_go),
		cmocka_unit_test(a_client_that_never_stops_sending_is_cut_off_after_its_refusal),
		cmocka_unit_test(of_a_thousand_connections_a_hundred_are_there),
		cmocka_unit_test(connections_at_work_are_not_closed_for_new_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
