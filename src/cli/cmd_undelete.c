/* SPDX-License-Identifier: GPL-3.0-only */
/* cmd_undelete.c: garner undelete: what is in the trash of a mount, and having an image of it back. */
#include "cli/command.h"
#include "cli/target.h"

#include "ctl/ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Looks for the one image that is meant: by its id, or by its name. */
struct search {
	const char *word;
	struct ctl_trashed found;
	unsigned count;
};

static int print_one(void *arg, const struct ctl_trashed *t)
{
	(void)arg;
	printf("%016" PRIx64 "  deleted %s  kept until %s  ", t->id, t->deleted, t->expires);
	command_print(t->name);
	putchar('\n');
	return 0;
}

static int look_for(void *arg, const struct ctl_trashed *t)
{
	struct search *s = arg;
	char id[17];

	snprintf(id, sizeof id, "%016" PRIx64, t->id);
	if (strcmp(s->word, id) != 0 && strcmp(s->word, t->name) != 0)
		return 0;
	s->found = *t;
	s->count++;
	return 0;
}

static int restore(struct ctl_client *client, const char *word, const char *path, struct error *err)
{
	struct search s = { .word = word };
	char name[NAME_BYTES_MAX + 1] = "";
	uint64_t dir = 0;
	int rc = ctl_trash_list(client, look_for, &s, err);

	if (!rc && !s.count)
		rc = error_set(err, -ENOENT, "%s is not in the trash: garner undelete MOUNTPOINT shows what is", word);
	if (!rc && s.count > 1)
		rc = error_set(err, -EEXIST, "%u images of the name %s are in the trash: say which one by its id",
		               s.count, word);
	if (!rc && path)
		rc = target_place(path, &dir, name, err);
	if (!rc)
		rc = ctl_undelete(client, s.found.id, dir, path ? name : NULL, err);
	if (rc == -ESTALE && !path)
		return error_set(err, rc, "the directory of %s is gone: say where it is to be", s.found.name);
	return rc;
}

int cmd_undelete(const struct command *c, int argc, char **argv)
{
	const struct command_option options[] = { { 0 } };
	struct ctl_client *client = NULL;
	const char *words[3];
	struct error err = { 0 };
	uint64_t id;
	int rc = command_parse(c, argc, argv, options, 1, 3, words);

	if (rc != 0)
		return command_parse_exit(rc);
	rc = target_want_mount(words[0], &err);
	if (!rc)
		rc = ctl_connect(words[0], &client, &id, &err);
	if (!rc)
		rc = words[1] ? restore(client, words[1], words[2], &err)
		              : ctl_trash_list(client, print_one, NULL, &err);
	ctl_disconnect(client);
	return rc < 0 ? command_failed(c, &err) : EXIT_DONE;
}
