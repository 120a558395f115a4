/* SPDX-License-Identifier: GPL-3.0-only */
/* cmd_clone.c: garner clone: a new image that begins as another one, or a snapshot of it, and shares what they have in common. */
#include "cli/command.h"
#include "cli/target.h"

#include "ctl/ctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Both in one mount. */
static int one_mount(const char *from, uint64_t dir, const char *to, struct error *err)
{
	char parent[PATH_MAX];
	struct stat a, b;
	int rc = target_parent(to, parent, err);

	if (rc)
		return rc;
	if (stat(from, &a) || stat(parent, &b))
		return error_set(err, -errno, "%s: %s", to, strerror(errno));
	if (a.st_dev != b.st_dev || b.st_ino != dir)
		return error_set(err, -EXDEV, "%s is not in the mount of %s: use garner copy between pools", to, from);
	return 0;
}

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
		rc = target_place(words[1], &dir, name, &err);
	if (!rc)
		rc = one_mount(from, dir, words[1], &err);
	if (!rc)
		rc = ctl_connect(from, &client, &id, &err);
	if (!rc)
		rc = ctl_clone(client, id, dir, name, &err);
	ctl_disconnect(client);
	return rc < 0 ? command_failed(c, &err) : EXIT_DONE;
}
