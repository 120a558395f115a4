/* SPDX-License-Identifier: GPL-3.0-only */
/* test_report.c: lines for the operator. Each test turns standard error into a pipe and reads what arrived. */
#include "base/report.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct capture {
	int saved_stderr;
	int pipe[2];
	char text[8192];
};

static void capture_begin(struct capture *c)
{
	assert_int_equal(pipe(c->pipe), 0);
	c->saved_stderr = dup(STDERR_FILENO);
	assert_true(c->saved_stderr >= 0);
	assert_int_equal(dup2(c->pipe[1], STDERR_FILENO), STDERR_FILENO);
	assert_int_equal(close(c->pipe[1]), 0);
}

static const char *capture_end(struct capture *c)
{
	size_t len = 0;
	ssize_t n;

	assert_int_equal(dup2(c->saved_stderr, STDERR_FILENO), STDERR_FILENO);
	assert_int_equal(close(c->saved_stderr), 0);
	while ((n = read(c->pipe[0], c->text + len, sizeof c->text - 1 - len)) > 0)
		len += (size_t)n;
	assert_int_equal(n, 0);
	assert_int_equal(close(c->pipe[0]), 0);
	c->text[len] = '\0';
	return c->text;
}

static void lines_carry_the_program_and_say_when_it_is_a_warning(void **state)
{
	struct capture c;

	(void)state;
	report_init("garnerfs", REPORT_NOTICE);
	capture_begin(&c);
	report_error("image %s: gone", "vm1");
	report_warning("sync=none");
	report_notice("%d images", 3);
	assert_string_equal(capture_end(&c), "garnerfs: image vm1: gone\n"
	                                     "garnerfs: warning: sync=none\n"
	                                     "garnerfs: 3 images\n");
}

static void what_is_less_urgent_than_asked_is_not_shown(void **state)
{
	struct capture c;

	(void)state;
	report_init("garner", REPORT_WARNING);
	capture_begin(&c);
	report_debug("no");
	report_notice("no");
	report_warning("yes");
	assert_string_equal(capture_end(&c), "garner: warning: yes\n");

	report_init("garner", REPORT_DEBUG);
	capture_begin(&c);
	report_debug("yes");
	assert_string_equal(capture_end(&c), "garner: debug: yes\n");
}

static void a_name_with_control_characters_stays_on_one_line(void **state)
{
	struct capture c;

	(void)state;
	report_init("garner", REPORT_NOTICE);
	capture_begin(&c);
	report_notice("%s: bad", "a\nroot: all is well\x1b[2J\r");
	assert_string_equal(capture_end(&c), "garner: a?root: all is well?[2J?: bad\n");
}

static void a_very_long_line_is_cut_and_marked(void **state)
{
	struct capture c;
	char longest[5000];

	(void)state;
	memset(longest, 'y', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	report_init("garner", REPORT_NOTICE);
	capture_begin(&c);
	report_notice("%s", longest);
	const char *text = capture_end(&c);
	assert_true(strlen(text) > 1000 && strlen(text) < sizeof longest);
	assert_string_equal(text + strlen(text) - 5, "y...\n");
}

static void errno_survives(void **state)
{
	struct capture c;

	(void)state;
	report_init("garner", REPORT_NOTICE);
	capture_begin(&c);
	errno = ESTALE;
	report_notice("hello");
	assert_int_equal(errno, ESTALE);
	capture_end(&c);
}

static void standard_error_is_quiet_once_syslog_has_the_lines(void **state)
{
	struct capture c;

	(void)state;
	report_init("garner-test", REPORT_NOTICE);
	capture_begin(&c);
	report_to_syslog();
	report_notice("test of report_to_syslog()");
	assert_string_equal(capture_end(&c), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_carry_the_program_and_say_when_it_is_a_warning),
		cmocka_unit_test(what_is_less_urgent_than_asked_is_not_shown),
		cmocka_unit_test(a_name_with_control_characters_stays_on_one_line),
		cmocka_unit_test(a_very_long_line_is_cut_and_marked),
		cmocka_unit_test(errno_survives),
		/* The last: there is no way back. */
		cmocka_unit_test(standard_error_is_quiet_once_syslog_has_the_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
