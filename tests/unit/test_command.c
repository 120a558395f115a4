/* SPDX-License-Identifier: GPL-3.0-only */
/* test_command.c: the words of a subcommand: options, arguments, and what is wrong with them. */
#include "cli/command.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct command command = { "copy", "FROM [TO]", "copy a thing", "", NULL };

struct parsed {
	int rc;
	const char *file, *argument[2], *disk[2];
	bool long_listing, json;
};

/* Parses the words, which end with NULL. What it prints is of no interest here. */
static struct parsed parse(char *first, ...)
{
	struct parsed p = { 0 };
	const struct command_option options[] = {
		{ "file", &p.file, NULL },    { "json", NULL, &p.json },    { "l", NULL, &p.long_listing },
		{ "disk", &p.disk[0], NULL }, { "disk", &p.disk[1], NULL }, { 0 },
	};
	char name[] = "copy";
	char *argv[16] = { name };
	int argc = 1, quiet = open("/dev/null", O_WRONLY), out, errors;
	va_list words;

	va_start(words, first);
	for (char *word = first; word; word = va_arg(words, char *))
		argv[argc++] = word;
	va_end(words);
	fflush(stdout);
	out = dup(STDOUT_FILENO);
	errors = dup(STDERR_FILENO);
	assert_true(quiet >= 0 && out >= 0 && errors >= 0);
	dup2(quiet, STDOUT_FILENO);
	dup2(quiet, STDERR_FILENO);
	p.rc = command_parse(&command, argc, argv, options, 1, 2, p.argument);
	fflush(stdout);
	dup2(out, STDOUT_FILENO);
	dup2(errors, STDERR_FILENO);
	close(out);
	close(errors);
	close(quiet);
	return p;
}

#define PARSE(...) parse(__VA_ARGS__, (char *)NULL)

static void options_may_stand_anywhere(void **state)
{
	struct parsed p = PARSE("a", "--file", "f", "b", "-l");

	(void)state;
	assert_int_equal(p.rc, 0);
	assert_string_equal(p.file, "f");
	assert_string_equal(p.argument[0], "a");
	assert_string_equal(p.argument[1], "b");
	assert_true(p.long_listing);
	assert_false(p.json);
}

static void a_value_may_follow_an_equals_sign(void **state)
{
	struct parsed p = PARSE("--file=x=y", "--json", "a");

	(void)state;
	assert_int_equal(p.rc, 0);
	assert_string_equal(p.file, "x=y");
	assert_true(p.json);
	assert_null(p.argument[1]);
}

static void an_option_that_is_listed_twice_may_be_given_twice(void **state)
{
	struct parsed p = PARSE("--disk", "x", "a", "--disk=y");

	(void)state;
	assert_int_equal(p.rc, 0);
	assert_string_equal(p.disk[0], "x");
	assert_string_equal(p.disk[1], "y");
	p = PARSE("a", "--disk=x");
	assert_int_equal(p.rc, 0);
	assert_null(p.disk[1]);
	assert_int_equal(PARSE("--disk", "x", "a", "--disk=y", "--disk=z").rc, EXIT_USAGE);
}

static void after_two_dashes_nothing_is_an_option(void **state)
{
	struct parsed p = PARSE("--", "--json", "-l");

	(void)state;
	assert_int_equal(p.rc, 0);
	assert_string_equal(p.argument[0], "--json");
	assert_string_equal(p.argument[1], "-l");
	assert_false(p.json);
}

static void wrong_words_are_usage_errors(void **state)
{
	(void)state;
	assert_int_equal(PARSE("--nonsense", "a").rc, EXIT_USAGE);
	assert_int_equal(PARSE("-j", "a").rc, EXIT_USAGE);
	assert_int_equal(PARSE("-json", "a").rc, EXIT_USAGE);
	assert_int_equal(PARSE("--l", "a").rc, EXIT_USAGE);
	assert_int_equal(PARSE("--fil", "f", "a").rc, EXIT_USAGE);
	assert_int_equal(PARSE("a", "--file").rc, EXIT_USAGE);
	assert_int_equal(PARSE("a", "--file=").rc, EXIT_USAGE);
	assert_int_equal(PARSE("a", "--file", "f", "--file", "g").rc, EXIT_USAGE);
	assert_int_equal(PARSE("a", "--json=yes").rc, EXIT_USAGE);
	assert_int_equal(PARSE("a", "b", "c").rc, EXIT_USAGE);
	assert_int_equal(PARSE("").rc, EXIT_USAGE);
	assert_int_equal(PARSE("--json").rc, EXIT_USAGE);
}

static void asking_for_help_ends_the_command_well(void **state)
{
	struct parsed p = PARSE("--help");

	(void)state;
	assert_int_equal(p.rc, -1);
	assert_int_equal(command_parse_exit(p.rc), EXIT_DONE);
	assert_int_equal(command_parse_exit(EXIT_USAGE), EXIT_USAGE);
}

static void what_would_steer_a_terminal_is_printed_as_a_question_mark(void **state)
{
	char text[200] = "";
	int out = dup(STDOUT_FILENO), pipe_fds[2];

	(void)state;
	assert_true(out >= 0);
	assert_int_equal(pipe(pipe_fds), 0);
	fflush(stdout);
	dup2(pipe_fds[1], STDOUT_FILENO);
	command_print("disk.raw \xc3\xa4\xe2\x82\xac|\x1b[2J|\n|\x7f|\xc2\x9b"
	              "2J|\xc2\xa0|\xc2");
	fflush(stdout);
	dup2(out, STDOUT_FILENO);
	close(out);
	close(pipe_fds[1]);
	assert_true(read(pipe_fds[0], text, sizeof text - 1) > 0);
	close(pipe_fds[0]);
	assert_string_equal(text, "disk.raw \xc3\xa4\xe2\x82\xac|?[2J|?|?|?2J|\xc2\xa0|\xc2");
}

static void an_interrupt_is_noted_and_breaks_off_what_waits(void **state)
{
	int ends[2];
	char byte;

	(void)state;
	interrupt_catch();
	assert_false(interrupted());
	assert_int_equal(pipe(ends), 0);
	/* The alarm only ends the test should the read be taken up again. */
	alarm(20);
	if (fork() == 0) {
		usleep(200000);
		_exit(kill(getppid(), SIGINT) == 0 ? 0 : 1);
	}
	assert_int_equal(read(ends[0], &byte, 1), -1);
	assert_true(interrupted());
	alarm(0);
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_may_stand_anywhere),
		cmocka_unit_test(a_value_may_follow_an_equals_sign),
		cmocka_unit_test(an_option_that_is_listed_twice_may_be_given_twice),
		cmocka_unit_test(after_two_dashes_nothing_is_an_option),
		cmocka_unit_test(wrong_words_are_usage_errors),
		cmocka_unit_test(asking_for_help_ends_the_command_well),
		cmocka_unit_test(what_would_steer_a_terminal_is_printed_as_a_question_mark),
		cmocka_unit_test(an_interrupt_is_noted_and_breaks_off_what_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
