/* SPDX-License-Identifier: GPL-3.0-only */
/* cmd_rewind.c: garner rewind: a new image as another one was at some moment. */
#include "cli/command.h"
#include "cli/target.h"

#include "base/time_text.h"
#include "ctl/ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* "SEGMENT.RECORD" */
static bool parse_position(const char *text, struct image_moment *m)
{
	int end = 0;

	return text[0] >= '0' && text[0] <= '9' &&
	       sscanf(text, "%20" SCNu64 ".%9" SCNu32 "%n", &m->segment, &m->record, &end) == 2 && !text[end] &&
	       m->segment;
}

static int parse_moment(const char *text, struct image_moment *m, struct error *err)
{
	uint64_t now = clock_wall_ns();
	int rc;

	*m = (struct image_moment){ 0 };
	if (parse_position(text, m))
		return 0;
	*m = (struct image_moment){ 0 };
	rc = time_parse(text, now, &m->time_ns, err);
	if (!rc && m->time_ns > now)
		rc = error_set(err, -EINVAL, "'%s' is yet to come", text);
	return rc;
}

static int rewind_to_snapshot(const char *image, const char *to, const char *new, struct error *err)
{
	char word[PATH_MAX], from[PATH_MAX], name[NAME_BYTES_MAX + 1];
	struct ctl_client *client = NULL;
	uint64_t id, dir;
	int rc, n = snprintf(word, sizeof word, "%s%s", image, to);

	if (n < 0 || (size_t)n >= sizeof word)
		return error_set(err, -ENAMETOOLONG, "%.40s...: the path is too long", image);
	rc = target_moment(word, from, err);
	if (!rc)
		rc = target_place_beside(new, image, &dir, name, err);
	if (!rc)
		rc = ctl_connect(from, &client, &id, err);
	if (!rc)
		rc = ctl_clone(client, id, dir, name, err);
	ctl_disconnect(client);
	if (!rc)
		printf("%s is as %s was\n", new, word);
	return rc;
}

static int rewind_to_moment(const char *image, const char *to, const char *new, struct error *err)
{
	char name[NAME_BYTES_MAX + 1], when[TIME_TEXT_MAX];
	struct ctl_client *client = NULL;
	struct image_moment m;
	uint64_t id, dir;
	int rc = parse_moment(to, &m, err);

	if (!rc)
		rc = target_want_image(image, err);
	if (!rc)
		rc = target_place_beside(new, image, &dir, name, err);
	if (!rc)
		rc = ctl_connect(image, &client, &id, err);
	if (!rc)
		rc = ctl_rewind(client, id, &m, dir, name, err);
	ctl_disconnect(client);
	if (!rc)
		printf("%s is as %s was at %s (log %" PRIu64 ".%" PRIu32 ")\n", new, image,
		       time_format(m.time_ns, when), m.segment, m.record);
	return rc;
}

int cmd_rewind(const struct command *c, int argc, char **argv)
{
	const char *to = NULL, *as = NULL, *image;
	const struct command_option options[] = { { "to", &to, NULL }, { "as", &as, NULL }, { 0 } };
	struct error err = { 0 };
	int rc = command_parse(c, argc, argv, options, 1, 1, &image);

	if (rc != 0)
		return command_parse_exit(rc);
	if (!to || !as)
		return command_usage(
			c, "give the moment with --to, and with --as the name of the image that begins there");
	rc = to[0] == '@' ? rewind_to_snapshot(image, to, as, &err) : rewind_to_moment(image, to, as, &err);
	return rc < 0 ? command_failed(c, &err) : EXIT_DONE;
}
