/* SPDX-License-Identifier: GPL-3.0-only */
/* cmd_snapshot.c: garner snapshot: names moments of images, through the daemon that has the pool mounted. */
#include "cli/command.h"
#include "cli/moment.h"
#include "cli/quiesce.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define IMAGES_MAX 64
#define GUESTS_MAX 64

static int print_line(void *arg, const char *line)
{
	(void)arg;
	puts(line);
	return 0;
}

/* ---- creating ----------------------------------------------------------------------------------------------------- */

/* What one moment is made of. */
struct group {
	struct ctl_client *client;
	char name[SNAPSHOT_NAME_MAX + 1];
	uint64_t ids[IMAGES_MAX];
	size_t count;
};

static int find_group(struct group *g, const char *const *words, size_t count, struct error *err)
{
	struct moment m;
	int rc = 0;

	for (size_t k = 0; k < count && !rc; k++) {
		ctl_disconnect(g->client);
		g->client = NULL;
		rc = moment_parse_named(words[k], &m, err);
		if (!rc && k && strcmp(m.s.name, g->name) != 0)
			rc = error_set(err, -EINVAL, "the snapshots of a group have one name: %s or %s", g->name,
			               m.s.name);
		if (rc)
			break;
		strcpy(g->name, m.s.name); /* the same size */
		rc = moment_connect(m.path, &g->client, &g->ids[k], err);
	}
	g->count = count;
	return rc;
}

struct hold {
	struct group *group;
	struct quiesce *guests;
	bool over; /* the moment is taken */
};

/* The guests go on while the rest takes its time. What becomes of that is told by the second quiesce_end(). */
static void let_go(void *arg)
{
	struct hold *h = arg;

	h->over = true;
	(void)quiesce_end(h->guests, NULL);
	ctl_set_deadline(h->group->client, 0);
}

/* The moment was not what was asked for: nobody shall find it by its name and believe it. */
static int take_back(struct group *g, int rc, struct error *err)
{
	struct error why = { 0 };
	int failed = 0;

	for (size_t k = 0; k < g->count; k++) {
		int r = ctl_snapshot_change(g->client, "delete", g->name, g->ids[k], failed ? NULL : &why);

		failed = failed ? failed : r;
	}
	if (failed)
		return error_prefix(err, rc, "snapshot \"%s\" may not be quiesced and cannot be deleted (%s)", g->name,
		                    error_text(&why));
	return error_prefix(err, rc, "no snapshot was kept");
}

static int create_quiesced(struct group *g, const char *const *sockets, size_t count, struct error *err)
{
	struct error thaw = { 0 };
	struct hold h = { .group = g };
	/* What may take long, and what cannot be at all, comes before guests are held. */
	int rc = ctl_snapshot_check(g->client, g->name, g->ids, g->count, err);

	if (!rc)
		rc = quiesce_begin(sockets, count, &quiesce_usual_limits, &interrupt_noted, &h.guests, err);
	if (rc)
		return rc;
	uint64_t deadline = clock_monotonic_ns() + QUIESCE_HOLD_MS * 1000000ull;
	ctl_set_deadline(g->client, deadline);
	if (interrupted())
		rc = error_set(err, -EINTR, "interrupted");
	else
		rc = ctl_snapshot_create(g->client, g->name, g->ids, g->count, let_go, &h, err);
	/* The daemon may answer so of its store. */
	if (rc == -ETIMEDOUT && !h.over && clock_monotonic_ns() >= deadline)
		error_set(err, rc,
		          "no snapshot was taken within %d s, and guests cannot be held longer: see garner status",
		          QUIESCE_HOLD_MS / 1000);
	int thawed = quiesce_end(h.guests, &thaw);
	if (rc && thawed && thawed != -ESTALE)
		error_prefix(err, rc, "%s", error_text(&thaw));
	else if (!rc && thawed) {
		rc = error_set(err, thawed, "%s", error_text(&thaw));
		take_back(g, rc, err);
	}
	quiesce_free(h.guests);
	return rc;
}

/* One moment of all the images that are named. */
static int create(const char *const *words, size_t count, const char *const *sockets, size_t guests, struct error *err)
{
	struct group g = { 0 };
	int rc = find_group(&g, words, count, err);

	if (!rc && guests)
		rc = create_quiesced(&g, sockets, guests, err);
	else if (!rc)
		rc = ctl_snapshot_create(g.client, g.name, g.ids, g.count, NULL, NULL, err);
	ctl_disconnect(g.client);
	return rc;
}

static int create_each(const char *const *words, size_t count, struct error *err)
{
	int rc = 0;

	for (size_t k = 0; k < count && !rc; k++)
		rc = create(&words[k], 1, NULL, 0, err);
	return rc;
}

/* ---- what else there is to do ------------------------------------------------------------------------------------- */

static int change(const char *verb, const char *word, struct error *err)
{
	struct ctl_client *client = NULL;
	struct moment m;
	uint64_t id;
	int rc = moment_parse_named(word, &m, err);

	if (!rc)
		rc = moment_connect(m.path, &client, &id, err);
	if (!rc)
		rc = ctl_snapshot_change(client, verb, m.s.name, id, err);
	ctl_disconnect(client);
	return rc;
}

static int list(const char *path, bool json, struct error *err)
{
	struct ctl_client *client = NULL;
	uint64_t id;
	int rc = moment_connect(path, &client, &id, err);

	if (!rc)
		rc = ctl_snapshot_list(client, id, json, print_line, NULL, err);
	ctl_disconnect(client);
	return rc;
}

/* 0, or EXIT_USAGE after having said why. */
static int check_sockets(const struct command *c, const char *const *sockets, size_t guests)
{
	for (size_t k = 0; k < guests; k++)
		for (size_t l = 0; l < k; l++)
			if (!strcmp(sockets[k], sockets[l]))
				return command_usage(c, "--quiesce %s is given twice", sockets[k]);
	return 0;
}

int cmd_snapshot(const struct command *c, int argc, char **argv)
{
	bool group = false, json = false;
	const char *sockets[GUESTS_MAX + 1] = { NULL };
	struct command_option options[2 + GUESTS_MAX + 1] = { { .name = "group", .flag = &group },
		                                              { .name = "json", .flag = &json } };
	const char *words[1 + IMAGES_MAX] = { NULL };
	struct error err = { 0 };
	size_t count = 0, guests = 0;

	for (size_t k = 0; k < GUESTS_MAX; k++)
		options[2 + k] = (struct command_option){ .name = "quiesce", .value = &sockets[k] };
	int rc = command_parse(c, argc, argv, options, 2, 1 + IMAGES_MAX, words);

	if (rc != 0)
		return command_parse_exit(rc);
	while (count < IMAGES_MAX && words[1 + count])
		count++;
	while (sockets[guests])
		guests++;
	bool creates = !strcmp(words[0], "create"), lists = !strcmp(words[0], "list");
	if (((group || guests) && !creates) || (json && !lists))
		return command_usage(c, "--%s does not go with %s",
		                     json && !lists ? "json"
		                     : group        ? "group"
		                                    : "quiesce",
		                     words[0]);
	if (guests && count > 1 && !group)
		return command_usage(c, "several images are one moment with --group only: --quiesce wants that");
	if (check_sockets(c, sockets, guests))
		return EXIT_USAGE;
	if (lists ? count != 1 : !count)
		return command_usage(c, lists ? "list: one image at a time" : "which image?");
	interrupt_catch();
	if (creates)
		rc = group || guests ? create(words + 1, count, sockets, guests, &err)
		                     : create_each(words + 1, count, &err);
	else if (lists)
		rc = list(words[1], json, &err);
	else if (!strcmp(words[0], "delete") || !strcmp(words[0], "protect") || !strcmp(words[0], "unprotect"))
		for (size_t k = 0; k < count && !rc; k++)
			rc = change(words[0], words[1 + k], &err);
	else
		return command_usage(c, "\"%s\" is not create, list, delete, protect or unprotect", words[0]);
	return rc < 0 ? command_failed(c, &err) : EXIT_DONE;
}
