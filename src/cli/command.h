/* SPDX-License-Identifier: GPL-3.0-only */
/* command.h: what every subcommand of garner has in common: its place in the table, its exit code, its usage errors.
 *
 * A subcommand gets its own words (argv[0] is its name) and returns an exit code. What went wrong it prints itself, in one
 * line, by command_failed() or command_usage(). Results go to standard output, everything else to standard error.
 */
#ifndef GARNER_CLI_COMMAND_H
#define GARNER_CLI_COMMAND_H

#include "base/error.h"

#include <stdbool.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct command {
	const char *name;
	const char *words;   /* its arguments, as usage shows them */
	const char *summary; /* one line */
	const char *detail;  /* further lines for `garner help NAME`; each ends in a newline */
	int (*run)(const struct command *c, int argc, char **argv);
};

int cmd_init(const struct command *c, int argc, char **argv);
int cmd_create(const struct command *c, int argc, char **argv);
int cmd_ls(const struct command *c, int argc, char **argv);
int cmd_info(const struct command *c, int argc, char **argv);
int cmd_status(const struct command *c, int argc, char **argv);
int cmd_flush(const struct command *c, int argc, char **argv);
int cmd_clone(const struct command *c, int argc, char **argv);
int cmd_history(const struct command *c, int argc, char **argv);
int cmd_rewind(const struct command *c, int argc, char **argv);
int cmd_flatten(const struct command *c, int argc, char **argv);
int cmd_snapshot(const struct command *c, int argc, char **argv);
int cmd_diff(const struct command *c, int argc, char **argv);
int cmd_takeover(const struct command *c, int argc, char **argv);
int cmd_import(const struct command *c, int argc, char **argv);
int cmd_export(const struct command *c, int argc, char **argv);
int cmd_copy(const struct command *c, int argc, char **argv);
int cmd_gc(const struct command *c, int argc, char **argv);
int cmd_df(const struct command *c, int argc, char **argv);
int cmd_undelete(const struct command *c, int argc, char **argv);
int cmd_verify(const struct command *c, int argc, char **argv);
int cmd_cluster(const struct command *c, int argc, char **argv);
int cmd_key(const struct command *c, int argc, char **argv);

/* Prints "garner NAME: TEXT" and returns EXIT_FAILED. */
int command_failed(const struct command *c, const struct error *err);

/* Prints the text and, below it, how the command is used. Returns EXIT_USAGE. */
int command_usage(const struct command *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Prints text to standard output in which a name may be that others chose, by way of a store: what would steer a terminal (C0 and C1 control
 * characters) is shown as '?'. No newline follows. */
void command_print(const char *text);

/* ---- options ------------------------------------------------------------------------------------------------------ */

/* One long option. Exactly one of `value` and `flag` is set. One that may be given several times is listed that often. */
struct command_option {
	const char *name;   /* "key-file"; a single letter is written with one dash, "l" */
	const char **value; /* gets the word that follows, or what stands after '=' */
	bool *flag;         /* becomes true */
};

/* Sorts argv into options and between `least` and `most` arguments, which are left in `arguments` (room for `most`; those
 * not given are NULL). Options may stand anywhere before "--". Returns 0, EXIT_USAGE after having said why, or -1 when --help was asked and answered: the
 * caller then returns EXIT_DONE. The option list ends with a NULL name. */
int command_parse(const struct command *c, int argc, char **argv, const struct command_option *options, int least,
                  int most, const char **arguments);

/* Whether a parse that did not return 0 ends the command, and with which code. */
static inline int command_parse_exit(int rc)
{
	return rc < 0 ? EXIT_DONE : rc;
}

/* Flushes standard output; EXIT_FAILED (and says so) when something printed did not arrive, else `code`. */
int command_finish(const struct command *c, int code);

/* ---- interruption ------------------------------------------------------------------------------------------------- */

/* From now on SIGINT, SIGTERM and SIGHUP do not kill but are noted, and break off calls that wait; SIGPIPE is ignored. */
void interrupt_catch(void);

/* Whether one has come. */
bool interrupted(void);

/* The same as a variable, for calls that watch one. */
extern volatile bool interrupt_noted;

#endif
