/* SPDX-License-Identifier: GPL-3.0-only */
/* cmd_transfer.c: garner import and export: copy a disk into and out of a mount. */
#include "cli/command.h"
#include "cli/copy.h"
#include "cli/progress.h"
#include "cli/target.h"

#include "base/report.h"
#include "base/size.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct transfer {
	struct progress progress;
	bool started;
	const char *label;
};

static bool transfer_step(void *arg, uint64_t done, uint64_t total)
{
	struct transfer *t = arg;

	if (!t->started)
		progress_start(&t->progress, t->label, NULL, total);
	t->started = true;
	progress_update(&t->progress, done);
	return !interrupted();
}

static int transfer(const struct command *c, const char *from, const char *to, bool replace)
{
	struct transfer t = { .label = c->name };
	const struct copy_options options = { .replace = replace, .step = transfer_step, .arg = &t };
	char size[SIZE_TEXT_MAX], data[SIZE_TEXT_MAX], written[SIZE_TEXT_MAX];
	struct copy_counts counts;
	struct error err = { 0 };
	int rc;

	interrupt_catch();
	rc = copy_file(from, to, &options, &counts, &err);
	if (t.started)
		progress_end(&t.progress);
	if (rc < 0) {
		command_failed(c, &err);
		if (counts.part_left)
			report_notice("%s: the same command again goes on from here; to give up, remove %s%s", c->name,
			              to, COPY_PART_SUFFIX);
		return EXIT_FAILED;
	}
	if (counts.same_before)
		printf("%s: is there already, and the same\n", to);
	else
		printf("%s: %s, of which %s is data; %s written\n", to, size_format(counts.size, size),
		       size_format(counts.data, data), size_format(counts.written, written));
	return EXIT_DONE;
}

int cmd_import(const struct command *c, int argc, char **argv)
{
	bool replace = false;
	const struct command_option options[] = { { "replace", NULL, &replace }, { 0 } };
	const char *arguments[2];
	struct error err = { 0 };
	int rc = command_parse(c, argc, argv, options, 2, 2, arguments);

	if (rc != 0)
		return command_parse_exit(rc);
	if (access(arguments[0], R_OK) < 0)
		rc = error_set(&err, -errno, "%s: %s", arguments[0], strerror(errno));
	if (rc < 0 || target_want_place(arguments[1], &err) < 0)
		return command_failed(c, &err);
	return transfer(c, arguments[0], arguments[1], replace);
}

int cmd_export(const struct command *c, int argc, char **argv)
{
	bool replace = false;
	const struct command_option options[] = { { "replace", NULL, &replace }, { 0 } };
	const char *arguments[2];
	struct error err = { 0 };
	int rc = command_parse(c, argc, argv, options, 2, 2, arguments);

	if (rc != 0)
		return command_parse_exit(rc);
	if (target_want_image(arguments[0], &err) < 0)
		return command_failed(c, &err);
	return transfer(c, arguments[0], arguments[1], replace);
}
