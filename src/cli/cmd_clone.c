/* SPDX-License-Identifier: GPL-3.0-only */
/* cmd_clone.c: garner clone: a new image that begins as another one, or a snapshot of it, and shares what they have in common. */
#include "cli/command.h"
#include "cli/target.h"

#include "ctl/ctl.h"

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
