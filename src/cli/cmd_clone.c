/* SPDX-License-Identifier: GPL-3.0-only */
/* cmd_clone.c: garner clone: a new image that begins as another one, or a snapshot of it, and shares what they have in common; and garner flatten, by
 * which they part.
 */
#include "cli/command.h"
#include "cli/progress.h"
#include "cli/target.h"

#include "ctl/ctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int cmd_clone(const struct command *c, int argc, char **argv)
{
	const struct command_option options[] = { { 0 } };
	struct ctl_client *client = NULL;
	char from[PATH_MAX], name[NAME_BYTES_MAX + 1];
	const char *words[2];
	struct error err = { 0 };
	uint64_t id, dir;
	int rc = command_parse(c, argc, argv, options, 2, 2, words);

	if (rc != 0)
		return command_parse_exit(rc);
	rc = target_moment(words[0], from, &err);
	if (!rc)
		rc = target_place_beside(words[1], from, &dir, name, &err);
	if (!rc)
		rc = ctl_connect(from, &client, &id, &err);
	if (!rc)
		rc = ctl_clone(client, id, dir, name, &err);
	ctl_disconnect(client);
	return rc < 0 ? command_failed(c, &err) : EXIT_DONE;
}

/* ---- flatten ---- */

struct flatten_watch {
	struct progress progress;
	bool started;
	uint64_t most;
};

static bool flatten_step(void *arg, uint64_t left)
{
	struct flatten_watch *w = arg;

	if (!w->started)
		progress_start(&w->progress, "flatten", NULL, left);
	w->started = true;
	if (left > w->most)
		w->most = w->progress.view.total = left;
	progress_update(&w->progress, w->most - left);
	return !interrupted();
}

int cmd_flatten(const struct command *c, int argc, char **argv)
{
	const struct command_option options[] = { { 0 } };
	struct flatten_watch watch = { 0 };
	struct ctl_client *client = NULL;
	struct error err = { 0 };
	const char *path;
	uint64_t id;
	int rc = command_parse(c, argc, argv, options, 1, 1, &path);

	if (rc != 0)
		return command_parse_exit(rc);
	interrupt_catch();
	rc = target_want_image(path, &err);
	if (!rc)
		rc = ctl_connect(path, &client, &id, &err);
	if (!rc)
		rc = ctl_flatten(client, id, flatten_step, &watch, &err);
	if (watch.started)
		progress_end(&watch.progress);
	ctl_disconnect(client);
	if (rc == -EINTR)
		rc = error_set(&err, rc, "interrupted; what was done is done: run it again to go on");
	return rc < 0 ? command_failed(c, &err) : EXIT_DONE;
}
