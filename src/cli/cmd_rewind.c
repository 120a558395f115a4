/* SPDX-License-Identifier: GPL-3.0-only */
/* cmd_rewind.c: garner rewind: a new image as another one was at some moment, or that image itself. */
#include "cli/command.h"
#include "cli/moment.h"
#include "cli/target.h"

#include "base/time_text.h"
#include "ctl/ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What is asked for: `new` NULL: in place. */
struct wish {
	const char *image, *to, *new;
};

static void tell(const struct wish *w, const struct image_moment *m, const struct image_moment *before)
{
	char when[TIME_TEXT_MAX];

	printf("%s is as %s was at %s", w->new ? w->new : w->image, w->new ? w->image : "it",
	       time_format(m->time_ns, when));
	if (w->to[0] != '@')
		printf(" (log %" PRIu64 ".%" PRIu32 ")", m->segment, m->record);
	putchar('\n');
	if (!w->new)
		printf("what it was until now: garner rewind %s --to %" PRIu64 ".%" PRIu32 "\n", w->image,
		       before->segment, before->record);
}

static int rewind_in_place(const struct wish *w, struct ctl_client *client, uint64_t id, struct image_moment *m,
                           struct error *err)
{
	struct image_moment before;
	int rc = ctl_rewind_in_place(client, id, m, &before, err);

	if (!rc)
		tell(w, m, &before);
	return rc;
}

static int rewind_to_snapshot(const struct wish *w, struct error *err)
{
	char word[PATH_MAX], from[PATH_MAX], name[NAME_BYTES_MAX + 1];
	struct ctl_client *client = NULL;
	struct image_moment m = { 0 };
	uint64_t id, dir;
	int rc, n = snprintf(word, sizeof word, "%s%s", w->image, w->to);

	if (n < 0 || (size_t)n >= sizeof word)
		return error_set(err, -ENAMETOOLONG, "%.40s...: the path is too long", w->image);
	rc = target_moment(word, from, err);
	if (!rc && w->new)
		rc = target_place_beside(w->new, w->image, &dir, name, err);
	if (!rc)
		rc = ctl_connect(from, &client, &id, err);
	if (!rc)
		rc = w->new ? ctl_clone(client, id, dir, name, err) : rewind_in_place(w, client, id, &m, err);
	ctl_disconnect(client);
	if (!rc && w->new)
		printf("%s is as %s was\n", w->new, word);
	return rc;
}

static int rewind_to_moment(const struct wish *w, struct error *err)
{
	char name[NAME_BYTES_MAX + 1];
	struct ctl_client *client = NULL;
	struct image_moment m;
	uint64_t id, dir;
	int rc = moment_parse_past(w->to, &m, err);

	if (!rc)
		rc = target_want_image(w->image, err);
	if (!rc && w->new)
		rc = target_place_beside(w->new, w->image, &dir, name, err);
	if (!rc)
		rc = ctl_connect(w->image, &client, &id, err);
	if (!rc && !w->new)
		rc = rewind_in_place(w, client, id, &m, err);
	else if (!rc)
		rc = ctl_rewind(client, id, &m, dir, name, err);
	ctl_disconnect(client);
	if (!rc && w->new)
		tell(w, &m, NULL);
	return rc;
}

int cmd_rewind(const struct command *c, int argc, char **argv)
{
	struct wish w = { 0 };
	const struct command_option options[] = { { "to", &w.to, NULL }, { "as", &w.new, NULL }, { 0 } };
	struct error err = { 0 };
	int rc = command_parse(c, argc, argv, options, 1, 1, &w.image);

	if (rc != 0)
		return command_parse_exit(rc);
	if (!w.to)
		return command_usage(c, "give the moment with --to");
	rc = w.to[0] == '@' ? rewind_to_snapshot(&w, &err) : rewind_to_moment(&w, &err);
	return rc < 0 ? command_failed(c, &err) : EXIT_DONE;
}
