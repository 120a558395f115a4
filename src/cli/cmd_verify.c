/* SPDX-License-Identifier: GPL-3.0-only */
/* cmd_verify.c: garner verify: reads everything in a store and checks every tag and chain. Changes nothing, so that it may run
 * beside mounts of the same pool and be run again at any time. */
#include "cli/command.h"
#include "cli/progress.h"
#include "cli/target.h"

#include "base/report.h"
#include "base/size.h"
#include "image/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct verify_watch {
	struct progress progress;
	bool started;
	char label[64]; /* "verify NAME" of the image under way */
};

static bool verify_step(void *arg, const char *path, uint64_t segment, uint64_t last)
{
	struct verify_watch *w = arg;
	char label[sizeof w->label];

	snprintf(label, sizeof label, "verify %.50s", path ? path : "");
	for (char *p = label; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	if (!w->started || strcmp(label, w->label) != 0) {
		strcpy(w->label, label);
		/* Many small images pass in no time: the clock for the next line goes on, whatever the image. */
		uint64_t last_ns = w->progress.last_ns;
		bool shown = w->progress.shown;

		progress_start(&w->progress, w->label, "segments", last);
		if (w->started) {
			w->progress.last_ns = last_ns;
			w->progress.shown = shown;
		}
		w->started = true;
	}
	progress_update(&w->progress, segment);
	return !interrupted();
}

static void print_faults(const struct command *c, const struct verify_report *r)
{
	for (size_t i = 0; i < r->text_count; i++)
		report_error("%s: %s", c->name, r->text[i]);
	if (r->errors > r->text_count)
		report_error("%s: and %" PRIu64 " more", c->name, r->errors - r->text_count);
}

static void print_sum(const struct verify_report *r)
{
	char size[SIZE_TEXT_MAX];

	printf("%" PRIu64 " image%s, %" PRIu64 " segment%s, %s read: ", r->images, r->images == 1 ? "" : "s",
	       r->segments, r->segments == 1 ? "" : "s", size_format(r->bytes, size));
	if (r->errors)
		printf("%" PRIu64 " fault%s\n", r->errors, r->errors == 1 ? "" : "s");
	else
		puts("all is well");
	if (r->cleaned)
		printf("%" PRIu64
		       " segment%s cleaned away, and nothing leads there; the chain is not checked across these gaps\n",
		       r->cleaned, r->cleaned == 1 ? " was" : "s were");
	if (r->stray)
		printf("%" PRIu64 " segment%s not part of any image (left by interrupted uploads): harmless\n",
		       r->stray, r->stray == 1 ? " is" : "s are");
}

static int verify(const struct command *c, const char *store, const char *path, const struct target_key *key)
{
	struct verify_report *report = calloc(1, sizeof *report);
	struct verify_watch watch = { 0 };
	struct pool *pool = NULL;
	struct error err = { 0 };
	int rc;

	if (!report) {
		error_set(&err, -ENOMEM, "out of memory");
		return command_failed(c, &err);
	}
	rc = target_open_pool(store, key, &pool, &err);
	if (rc == 0) {
		interrupt_catch();
		rc = pool_verify(pool, path, report, verify_step, &watch, &err);
		if (watch.started)
			progress_end(&watch.progress);
		print_faults(c, report);
		if (rc == -EINTR)
			error_set(&err, rc, "interrupted after %" PRIu64 " segments: run it again to see the rest",
			          report->segments);
		else if (rc == 0)
			print_sum(report);
	}
	if (rc < 0)
		command_failed(c, &err);
	pool_close(pool);
	rc = rc < 0 || report->errors ? EXIT_FAILED : EXIT_DONE;
	free(report);
	return rc;
}

int cmd_verify(const struct command *c, int argc, char **argv)
{
	struct target_key key = { 0 };
	const struct command_option options[] = {
		{ "key-file", &key.key_file, NULL },
		{ "passphrase-file", &key.passphrase_file, NULL },
		{ "passwd-file", &key.passwd_file, NULL },
		{ 0 },
	};
	const char *arguments[2];
	int rc = command_parse(c, argc, argv, options, 1, 2, arguments);

	if (rc != 0)
		return command_parse_exit(rc);
	return verify(c, arguments[0], arguments[1], &key);
}
