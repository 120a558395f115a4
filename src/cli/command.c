/* SPDX-License-Identifier: GPL-3.0-only */
/* command.c: what every subcommand has in common: options, usage errors, interruption. */
#include "cli/command.h"

#include "base/report.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int command_failed(const struct command *c, const struct error *err)
{
	report_error("%s: %s", c->name, error_text(err));
	return EXIT_FAILED;
}

int command_usage(const struct command *c, const char *format, ...)
{
	char text[ERROR_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	report_error("%s: %s", c->name, text);
	fprintf(stderr, "usage: garner %s %s\n", c->name, c->words);
	return EXIT_USAGE;
}

void command_print(const char *text)
{
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) { /* C1 in UTF-8 */
			putchar('?');
			c++;
		} else {
			putchar(*c < ' ' || *c == 0x7f ? '?' : *c);
		}
	}
}

static int print_command_help(const struct command *c)
{
	printf("Usage: garner %s %s\n%c%s.\n", c->name, c->words, c->summary[0] - 'a' + 'A', c->summary + 1);
	if (c->detail[0])
		printf("\n%s", c->detail);
	return -1;
}

/* The option that `word` (dashes taken off) names, up to '=' or its end: of several of that name the first without a value, if there
 * is one. */
static const struct command_option *find_option(const struct command_option *options, const char *word, bool one_dash)
{
	const struct command_option *found = NULL;
	size_t len = strcspn(word, "=");

	for (const struct command_option *o = options; o->name; o++)
		if (strlen(o->name) == len && !strncmp(o->name, word, len) && one_dash == (len == 1)) {
			if (o->flag || !*o->value)
				return o;
			found = o;
		}
	return found;
}

/* Reads the option at argv[*i]; its value may be the next word. */
static int parse_option(const struct command *c, int argc, char **argv, int *i, const struct command_option *options)
{
	const char *word = argv[*i];
	bool one_dash = word[1] != '-';
	const struct command_option *o;
	const char *value = strchr(word, '=');

	if (!strcmp(word, "--help") || !strcmp(word, "-h"))
		return print_command_help(c);
	o = find_option(options, word + (one_dash ? 1 : 2), one_dash);
	if (!o)
		return command_usage(c, "there is no option %s", word);
	if (o->flag) {
		if (value)
			return command_usage(c, "%.*s takes no value", (int)(value - word), word);
		*o->flag = true;
		return 0;
	}
	if (*o->value)
		return command_usage(c, "--%s is given too often", o->name);
	if (value)
		value++;
	else if (*i + 1 < argc)
		value = argv[++*i];
	if (!value || !*value)
		return command_usage(c, "--%s wants a value", o->name);
	*o->value = value;
	return 0;
}

int command_parse(const struct command *c, int argc, char **argv, const struct command_option *options, int least,
                  int most, const char **arguments)
{
	bool only_arguments = false;
	int count = 0;

	for (int i = 0; i < most; i++)
		arguments[i] = NULL;
	for (int i = 1; i < argc; i++) {
		if (!only_arguments && !strcmp(argv[i], "--")) {
			only_arguments = true;
		} else if (!only_arguments && argv[i][0] == '-' && argv[i][1]) {
			int rc = parse_option(c, argc, argv, &i, options);

			if (rc != 0)
				return rc;
		} else if (count == most) {
			return command_usage(c, "'%s' is one argument too many", argv[i]);
		} else if (!argv[i][0]) {
			return command_usage(c, "an argument is empty");
		} else {
			arguments[count++] = argv[i];
		}
	}
	if (count < least)
		return command_usage(c, "%s", count == 0 ? "arguments are missing" : "an argument is missing");
	return 0;
}

int command_finish(const struct command *c, int code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	report_error("%s%scannot write the output: %s", c ? c->name : "", c ? ": " : "", strerror(errno));
	return code == EXIT_DONE ? EXIT_FAILED : code;
}

/* ---- interruption ------------------------------------------------------------------------------------------------- */

volatile bool interrupt_noted;

static void note_interrupt(int signal_number)
{
	(void)signal_number;
	interrupt_noted = true;
}

void interrupt_catch(void)
{
	struct sigaction action = { .sa_handler = note_interrupt }; /* no SA_RESTART: what waits shall look up */
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction old;

	/* A reader that went away is an error like others, so that what was begun is ended in order. */
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
		/* nohup ignores hang-ups on purpose. Shells ignore SIGINT for what runs in their background, but who sends it
		 * there means it. */
		if (signals[i] == SIGHUP && sigaction(SIGHUP, NULL, &old) == 0 && old.sa_handler == SIG_IGN)
			continue;
		sigaction(signals[i], &action, NULL);
	}
}

bool interrupted(void)
{
	return interrupt_noted;
}
