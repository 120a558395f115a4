/* SPDX-License-Identifier: GPL-3.0-only */
/* cmd_snapshot.c: garner snapshot: names moments of images, through the daemon that has the pool mounted. */
#include "cli/command.h"
#include "cli/target.h"

#include "ctl/ctl.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMAGES_MAX 64

/* "IMAGE@NAME", cut up. */
struct moment {
	char path[PATH_MAX];
	const char *name;
};

static int parse_moment(const char *word, struct moment *m, struct error *err)
{
	const char *at = strrchr(word, '@');

	if (!at || at == word || !at[1])
		return error_set(err, -EINVAL,
		                 "%s: give an image and the snapshot's name, as in vm1.raw@before-upgrade", word);
	if ((size_t)(at - word) >= sizeof m->path)
		return error_set(err, -ENAMETOOLONG, "%s: the path is too long", word);
	memcpy(m->path, word, (size_t)(at - word));
	m->path[at - word] = '\0';
	m->name = at + 1;
	if (!snapshot_name_valid(m->name))
		return error_set(err, -EINVAL,
		                 "%s: a snapshot's name is up to %d letters, digits and . _ : + -, and does not begin "
		                 "with . or -",
		                 m->name, SNAPSHOT_NAME_MAX);
	return 0;
}

/* A connection to the daemon that has the image, and the image's id. */
static int find_image(const char *path, struct ctl_client **client, uint64_t *id, struct error *err)
{
	int rc = target_want_image(path, err);

	return rc ? rc : ctl_connect(path, client, id, err);
}

static int print_line(void *arg, const char *line)
{
	(void)arg;
	puts(line);
	return 0;
}

/* ---- what there is to do ------------------------------------------------------------------------------------------ */

/* One moment of all the images that are named. */
static int create(const char *const *words, size_t count, struct error *err)
{
	struct ctl_client *client = NULL;
	const char *name = NULL;
	struct moment m;
	uint64_t ids[IMAGES_MAX];
	int rc = 0;

	for (size_t k = 0; k < count && !rc; k++) {
		ctl_disconnect(client);
		client = NULL;
		rc = parse_moment(words[k], &m, err);
		if (!rc && name && strcmp(m.name, name) != 0)
			rc = error_set(err, -EINVAL, "the snapshots of a group have one name: %s or %s", name, m.name);
		name = m.name;
		if (!rc)
			rc = find_image(m.path, &client, &ids[k], err);
	}
	if (!rc)
		rc = ctl_snapshot_create(client, name, ids, count, NULL, NULL, err);
	ctl_disconnect(client);
	return rc;
}

static int create_each(const char *const *words, size_t count, struct error *err)
{
	int rc = 0;

	for (size_t k = 0; k < count && !rc; k++)
		rc = create(&words[k], 1, err);
	return rc;
}

static int change(const char *verb, const char *word, struct error *err)
{
	struct ctl_client *client = NULL;
	struct moment m;
	uint64_t id;
	int rc = parse_moment(word, &m, err);

	if (!rc)
		rc = find_image(m.path, &client, &id, err);
	if (!rc)
		rc = ctl_snapshot_change(client, verb, m.name, id, err);
	ctl_disconnect(client);
	return rc;
}

static int list(const char *path, bool json, struct error *err)
{
	struct ctl_client *client = NULL;
	uint64_t id;
	int rc = find_image(path, &client, &id, err);

	if (!rc)
		rc = ctl_snapshot_list(client, id, json, print_line, NULL, err);
	ctl_disconnect(client);
	return rc;
}

int cmd_snapshot(const struct command *c, int argc, char **argv)
{
	bool group = false, json = false;
	const struct command_option options[] = { { .name = "group", .flag = &group },
		                                  { .name = "json", .flag = &json },
		                                  { 0 } };
	const char *words[1 + IMAGES_MAX] = { NULL };
	struct error err = { 0 };
	size_t count = 0;
	int rc = command_parse(c, argc, argv, options, 2, 1 + IMAGES_MAX, words);

	if (rc != 0)
		return command_parse_exit(rc);
	while (count < IMAGES_MAX && words[1 + count])
		count++;
	bool creates = !strcmp(words[0], "create"), lists = !strcmp(words[0], "list");
	if ((group && !creates) || (json && !lists))
		return command_usage(c, "--%s does not go with %s", group ? "group" : "json", words[0]);
	if (lists ? count != 1 : !count)
		return command_usage(c, lists ? "list: one image at a time" : "which image?");
	interrupt_catch();
	if (creates)
		rc = group ? create(words + 1, count, &err) : create_each(words + 1, count, &err);
	else if (lists)
		rc = list(words[1], json, &err);
	else if (!strcmp(words[0], "delete") || !strcmp(words[0], "protect") || !strcmp(words[0], "unprotect"))
		for (size_t k = 0; k < count && !rc; k++)
			rc = change(words[0], words[1 + k], &err);
	else
		return command_usage(c, "\"%s\" is not create, list, delete, protect or unprotect", words[0]);
	return rc < 0 ? command_failed(c, &err) : EXIT_DONE;
}
