/* SPDX-License-Identifier: GPL-3.0-only */
/* cmd_transfer.c: garner import and export: copy a disk into and out of a mount, or a store; or what differs between two of its moments. */
#include "cli/command.h"
#include "cli/copy.h"
#include "cli/delta.h"
#include "cli/progress.h"
#include "cli/store_images.h"
#include "cli/target.h"

#include "base/report.h"
#include "base/size.h"

#include <errno.h>
#include <limits.h>
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

/* `store`: of an end that is in it; it is closed. NULL: both are files. */
static int transfer(const struct command *c, const struct copy_end *from, const struct copy_end *to, bool replace,
                    struct store_images *store)
{
	struct transfer t = { .label = c->name };
	const struct copy_options options = { .replace = replace, .step = transfer_step, .arg = &t };
	char size[SIZE_TEXT_MAX], data[SIZE_TEXT_MAX], written[SIZE_TEXT_MAX];
	struct copy_counts counts;
	struct error err = { 0 };
	int rc;

	interrupt_catch();
	rc = copy_disk(from, to, &options, &counts, &err);
	if (t.started)
		progress_end(&t.progress);
	if (store) {
		struct error closing = { 0 };
		int closed = store_images_close(store, &closing);
		if (rc == 0 && closed < 0) {
			rc = closed;
			err = closing;
		}
	}
	if (rc < 0) {
		command_failed(c, &err);
		if (counts.part_left)
			report_notice("%s: the same command again goes on from here; to give up, remove %s%s", c->name,
			              to->name, COPY_PART_SUFFIX);
		return EXIT_FAILED;
	}
	if (counts.same_before)
		printf("%s: is there already, and the same\n", to->name);
	else
		printf("%s: %s, of which %s is data; %s written\n", to->name, size_format(counts.size, size),
		       size_format(counts.data, data), size_format(counts.written, written));
	return EXIT_DONE;
}

/* Opens the store, which becomes the place of `end`. */
static int open_store(const char *word, const struct target_key *key, bool read_only, struct copy_end *end,
                      struct store_images **store, struct error *err)
{
	enum target_kind kind;
	int rc = target_find(word, &kind, err);

	if (!rc && kind != TARGET_STORE)
		rc = error_set(err, -EINVAL, "%s is no store: without one give only an image in a mount, and a file",
		               word);
	/* Before there is a cache directory that would be left behind. */
	interrupt_catch();
	if (!rc)
		rc = store_images_open(word, key, read_only, store, err);
	if (!rc)
		end->place = store_images_place(*store);
	return rc;
}

/* ---- what differs between two moments ------------------------------------------------------------------------------ */

static const char *moment_name(const char *name, const char *none)
{
	return name[0] ? name : none;
}

/* How much it was: to standard error where a stream goes to standard output. */
static void tell(const char *what, const char *file, const struct delta_counts *counts)
{
	char data[SIZE_TEXT_MAX], stream[SIZE_TEXT_MAX], text[PATH_MAX + 300];

	snprintf(text, sizeof text, "%s: from %s to %s: %s of data, in a stream of %s", what,
	         moment_name(counts->from_name, "nothing"), moment_name(counts->to_name, "now"),
	         size_format(counts->data, data), size_format(counts->stream, stream));
	if (strcmp(file, "-") != 0)
		puts(text);
	else
		report_notice("%s", text);
}

static int transfer_ended(const struct command *c, struct transfer *t, int rc, const struct error *err)
{
	if (t->started)
		progress_end(&t->progress);
	return rc < 0 ? command_failed(c, err) : EXIT_DONE;
}

static int export_delta(const struct command *c, const char *since, const char *image, const char *file, bool replace)
{
	struct transfer t = { .label = c->name };
	const struct delta_options options = { .replace = replace, .step = transfer_step, .arg = &t };
	struct delta_counts counts;
	struct moment from = { 0 }, to;
	struct error err = { 0 };
	int rc = moment_parse(image, &to, &err);

	if (!rc && since)
		rc = moment_beside(&to, since, &from, &err);
	if (!rc && !strcmp(file, "-") && isatty(STDOUT_FILENO))
		rc = error_set(&err, -EINVAL, "a stream is not for a terminal: give a file, or a pipe");
	if (rc)
		return command_failed(c, &err);
	interrupt_catch();
	rc = transfer_ended(c, &t, delta_export(since ? &from : NULL, &to, file, &options, &counts, &err), &err);
	if (!rc)
		tell(image, file, &counts);
	return rc;
}

static int import_delta(const struct command *c, const char *file, const char *image)
{
	struct transfer t = { .label = c->name };
	const struct delta_options options = { .step = transfer_step, .arg = &t };
	struct delta_counts counts;
	struct error err = { 0 };
	int rc;

	interrupt_catch();
	rc = transfer_ended(c, &t, delta_import(image, file, &options, &counts, &err), &err);
	if (rc && counts.half_way)
		report_notice("%s: %s is half-way to %s: import a whole stream from %s again%s%s", c->name, image,
		              moment_name(counts.to_name, "there"), moment_name(counts.from_name, "nothing"),
		              counts.from_name[0] ? "; as it was it is still there, as its snapshot " : "",
		              counts.from_name);
	else if (!rc && counts.there_before)
		printf("%s: has snapshot %s already, and is left as it is\n", image, counts.to_name);
	else if (!rc)
		tell(image, "", &counts);
	return rc;
}

/* ---- the commands -------------------------------------------------------------------------------------------------- */

int cmd_import(const struct command *c, int argc, char **argv)
{
	bool replace = false;
	const char *onto = NULL;
	struct target_key key = { 0 };
	const struct command_option options[] = {
		{ "replace", NULL, &replace },
		{ "onto", &onto, NULL },
		{ "key-file", &key.key_file, NULL },
		{ "passphrase-file", &key.passphrase_file, NULL },
		{ "passwd-file", &key.passwd_file, NULL },
		{ 0 },
	};
	const char *arguments[3];
	struct store_images *store = NULL;
	struct error err = { 0 };
	int rc = command_parse(c, argc, argv, options, 1, 3, arguments);

	if (rc != 0)
		return command_parse_exit(rc);
	if (onto && (arguments[1] || replace))
		return command_usage(c, "--onto IMAGE goes with one FILE, and nothing else");
	if (!onto && !arguments[1])
		return command_usage(c, "an argument is missing");
	if (!arguments[2] && target_key_given(&key))
		return command_usage(c, TARGET_KEY_ASTRAY);
	if (onto)
		return import_delta(c, arguments[0], onto);
	struct copy_end from = { disk_place_files(), arguments[0] }, to = from;
	to.name = arguments[arguments[2] ? 2 : 1];
	if (access(from.name, R_OK) < 0)
		rc = error_set(&err, -errno, "%s: %s", from.name, strerror(errno));
	else if (arguments[2])
		rc = open_store(arguments[1], &key, false, &to, &store, &err);
	else
		rc = target_want_place(to.name, &err);
	return rc < 0 ? command_failed(c, &err) : transfer(c, &from, &to, replace, store);
}

int cmd_export(const struct command *c, int argc, char **argv)
{
	bool replace = false, stream = false;
	const char *since = NULL;
	struct target_key key = { 0 };
	const struct command_option options[] = {
		{ "replace", NULL, &replace },
		{ "stream", NULL, &stream },
		{ "since", &since, NULL },
		{ "key-file", &key.key_file, NULL },
		{ "passphrase-file", &key.passphrase_file, NULL },
		{ "passwd-file", &key.passwd_file, NULL },
		{ 0 },
	};
	const char *arguments[3];
	struct store_images *store = NULL;
	struct error err = { 0 };
	int rc = command_parse(c, argc, argv, options, 2, 3, arguments);

	if (rc != 0)
		return command_parse_exit(rc);
	if ((stream || since) && arguments[2])
		return command_usage(c, "a stream is made of an image in a mount");
	if (!arguments[2] && target_key_given(&key))
		return command_usage(c, TARGET_KEY_ASTRAY);
	if (stream || since)
		return export_delta(c, since, arguments[0], arguments[1], replace);
	struct copy_end from = { disk_place_files(), arguments[arguments[2] ? 1 : 0] }, to = from;
	to.name = arguments[arguments[2] ? 2 : 1];
	if (arguments[2])
		rc = open_store(arguments[0], &key, true, &from, &store, &err);
	else
		rc = target_want_image(from.name, &err);
	return rc < 0 ? command_failed(c, &err) : transfer(c, &from, &to, replace, store);
}
