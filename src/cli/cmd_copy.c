/* SPDX-License-Identifier: GPL-3.0-only */
/* cmd_copy.c: garner copy: a pool, or one image of it, from store to store. Run again it goes on, or brings the copy up to date. */
#include "cli/command.h"
#include "cli/progress.h"
#include "cli/target.h"

#include "base/size.h"
#include "image/pool_copy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

struct copy_watch {
	struct progress progress;
	bool started;
};

static bool copy_step(void *arg, const char *path, uint64_t done, uint64_t total)
{
	struct copy_watch *w = arg;

	(void)path;
	/* The total is known before the first segment. */
	if (total && !w->started) {
		progress_start(&w->progress, "copy", NULL, total);
		w->started = true;
	}
	if (w->started)
		progress_update(&w->progress, done);
	return !interrupted();
}

static const char *plural(uint64_t count)
{
	return count == 1 ? "" : "s";
}

static void print_sum(const char *to, const struct pool_copy_report *r)
{
	char copied[SIZE_TEXT_MAX], same[SIZE_TEXT_MAX];

	printf("%s: %" PRIu64 " image%s: %" PRIu64 " segment%s (%s) copied", to, r->images, plural(r->images),
	       r->segments, plural(r->segments), size_format(r->bytes, copied));
	if (r->same_segments)
		printf(", %" PRIu64 " (%s) there already", r->same_segments, size_format(r->same_bytes, same));
	puts("");
	if (r->gone)
		printf("%" PRIu64 " image%s deleted meanwhile, and left out\n", r->gone,
		       r->gone == 1 ? " was" : "s were");
	if (r->left)
		printf("%" PRIu64 " name%s in the copy that the source does not have: nothing is deleted there\n",
		       r->left, r->left == 1 ? " is" : "s are");
}

static int copy(struct pool *from, struct store *to, const char *path, struct error *err)
{
	struct copy_watch watch = { 0 };
	struct pool_copy_report report;
	int rc;

	interrupt_catch();
	rc = pool_copy(from, to, path, &report, copy_step, &watch, err);
	if (watch.started)
		progress_end(&watch.progress);
	if (rc == 0)
		print_sum(to->url, &report);
	if (rc == -EINTR)
		error_set(err, rc, "interrupted after %" PRIu64 " segments: the same command again goes on from here",
		          report.segments + report.same_segments);
	return rc;
}

int cmd_copy(const struct command *c, int argc, char **argv)
{
	struct target_key key = { 0 };
	struct store_options to_options = { .create = true };
	const struct command_option options[] = {
		{ "key-file", &key.key_file, NULL },
		{ "passphrase-file", &key.passphrase_file, NULL },
		{ "from-passwd-file", &key.passwd_file, NULL },
		{ "to-passwd-file", &to_options.passwd_file, NULL },
		{ 0 },
	};
	const char *arguments[3];
	struct pool *from = NULL;
	struct store *to = NULL;
	struct error err = { 0 };
	char url[PATH_MAX];
	int rc = command_parse(c, argc, argv, options, 2, 3, arguments);

	if (rc != 0)
		return command_parse_exit(rc);
	rc = target_open_pool(arguments[0], &key, &from, &err);
	if (rc == 0)
		rc = target_url(arguments[1], url, &err);
	if (rc == 0)
		rc = store_open(url, &to_options, &to, &err);
	if (rc == 0)
		rc = copy(from, to, arguments[2], &err);
	if (rc < 0)
		command_failed(c, &err);
	store_close(to);
	pool_close(from);
	return rc < 0 ? EXIT_FAILED : EXIT_DONE;
}
