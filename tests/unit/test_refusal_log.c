/* SPDX-License-Identifier: GPL-3.0-only */
/* test_refusal_log.c: one line per kind and peer in a span of time, and a count of the others. */
#include "node/refusal_log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int saved_stderr, captured;

static int capture(void **state)
{
	char path[] = "/tmp/garner-refusals-XXXXXX";

	(void)state;
	captured = mkstemp(path);
	saved_stderr = dup(STDERR_FILENO);
	return captured < 0 || saved_stderr < 0 || unlink(path) < 0 || dup2(captured, STDERR_FILENO) < 0;
}

static int release(void **state)
{
	(void)state;
	(void)dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	close(captured);
	return 0;
}

/* What was written since the last call. */
static const char *said(void)
{
	static char text[65536];
	ssize_t n = pread(captured, text, sizeof text - 1, 0);

	assert_true(n >= 0);
	text[n] = '\0';
	assert_int_equal(ftruncate(captured, 0), 0);
	assert_int_equal(lseek(captured, 0, SEEK_SET), 0);
	return text;
}

static size_t lines(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static void the_first_of_a_span_is_said_and_the_others_are_counted(void **state)
{
	struct refusal_log *log = refusal_log_new(10000);
	const char *text;

	(void)state;
	for (int i = 0; i < 500; i++)
		refusal_log_add(log, REFUSED_UNAUTHENTICATED, i % 2 ? "10.0.0.1:5" : "10.0.0.1:6", 1000 + i,
		                "because %d", i);
	text = said();
	assert_int_equal(lines(text), 1);
	assert_non_null(strstr(text, "10.0.0.1:6: refused: not authenticated: because 0"));
	refusal_log_tick(log, 10999);
	assert_string_equal(said(), "");
	refusal_log_tick(log, 11000);
	text = said();
	assert_int_equal(lines(text), 1);
	assert_non_null(strstr(text, "499 times more"));
	refusal_log_add(log, REFUSED_UNAUTHENTICATED, "10.0.0.1:5", 12000, "again");
	assert_non_null(strstr(said(), "again"));
	refusal_log_free(log);
	assert_string_equal(said(), "");
}

static void each_kind_and_each_peer_has_its_own_line(void **state)
{
	struct refusal_log *log = refusal_log_new(10000);

	(void)state;
	refusal_log_add(log, REFUSED_SLOW, "10.0.0.1:5", 0, "a");
	refusal_log_add(log, REFUSED_MALFORMED, "10.0.0.1:5", 0, "b");
	refusal_log_add(log, REFUSED_SLOW, "10.0.0.2:5", 0, "c");
	refusal_log_add(log, REFUSED_SLOW, "[::1]:5", 0, "d");
	refusal_log_add(log, REFUSED_SLOW, "[::1]:6", 0, "e");
	assert_int_equal(lines(said()), 4);
	refusal_log_free(log);
	assert_non_null(strstr(said(), "[::1]: too slow: refused 1 times more"));
}

static void so_many_peers_that_nobody_reads_it_are_counted_together(void **state)
{
	struct refusal_log *log = refusal_log_new(10000);
	const char *text;
	char peer[32];

	(void)state;
	for (int i = 0; i < 1000; i++) {
		(void)snprintf(peer, sizeof peer, "10.0.%d.%d:7", i / 250, i % 250);
		refusal_log_add(log, REFUSED_MALFORMED, peer, 5, "x");
	}
	assert_int_equal(lines(said()), 64);
	refusal_log_tick(log, 20000);
	text = said();
	assert_int_equal(lines(text), 1);
	assert_non_null(strstr(text, "936 times more to other clients"));
	refusal_log_free(log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_first_of_a_span_is_said_and_the_others_are_counted, capture,
		                                release),
		cmocka_unit_test_setup_teardown(each_kind_and_each_peer_has_its_own_line, capture, release),
		cmocka_unit_test_setup_teardown(so_many_peers_that_nobody_reads_it_are_counted_together, capture,
		                                release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
