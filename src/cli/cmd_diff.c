/* SPDX-License-Identifier: GPL-3.0-only */
/* cmd_diff.c: garner diff: which ranges differ between two moments of an image. */
#include "cli/command.h"
#include "cli/moment.h"

#include "base/size.h"
#include "base/time_text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

struct output {
	bool json;
	uint64_t ranges, data, zero; /* how many, and bytes */
};

static int print_range(void *arg, const struct image_range *r)
{
	struct output *o = arg;

	printf(o->json ? "{\"offset\":%" PRIu64 ",\"length\":%" PRIu64 ",\"kind\":\"%s\"}\n"
	               : "%16" PRIu64 "  %16" PRIu64 "  %s\n",
	       r->offset, r->length, r->data ? "data" : "zero");
	o->ranges++;
	*(r->data ? &o->data : &o->zero) += r->length;
	/* Who reads the output may have gone. */
	return interrupted() ? -EINTR : ferror(stdout) ? -EPIPE : 0;
}

static void tell_past(const struct moment *m)
{
	char when[TIME_TEXT_MAX];

	if (m->is_past)
		printf("%s@%s: %s (log %" PRIu64 ".%" PRIu32 ")\n", m->path, m->s.name,
		       time_format(m->past.time_ns, when), m->past.segment, m->past.record);
}

static int diff(struct moment *from, struct moment *to, bool json, struct error *err)
{
	struct output o = { .json = json };
	char data[SIZE_TEXT_MAX], zero[SIZE_TEXT_MAX];
	int rc = moment_find(from, "diff", err);

	if (!rc)
		rc = moment_find(to, "diff", err);
	if (!rc && from->image != to->image)
		rc = error_set(err, -EINVAL, "%s and %s are two images: only moments of one can be compared",
		               from->path, to->path);
	if (!rc && !json) {
		tell_past(from);
		tell_past(to);
		printf("%16s  %16s  now\n", "offset", "length");
	}
	if (!rc)
		rc = moment_diff(from, to, print_range, &o, err);
	moment_release(to);
	moment_release(from);
	if (!rc && !json)
		printf("%" PRIu64 " %s: %s data, %s zeros\n", o.ranges, o.ranges == 1 ? "range" : "ranges",
		       size_format(o.data, data), size_format(o.zero, zero));
	if (rc == -EINTR)
		error_set(err, rc, "interrupted");
	return rc;
}

int cmd_diff(const struct command *c, int argc, char **argv)
{
	bool json = false;
	const struct command_option options[] = { { .name = "json", .flag = &json }, { 0 } };
	const char *words[2];
	struct moment from, to;
	struct error err = { 0 };
	int rc = command_parse(c, argc, argv, options, 2, 2, words);

	if (rc != 0)
		return command_parse_exit(rc);
	if (moment_parse_any(words[0], &from, &err) || moment_parse_any(words[1], &to, &err))
		return command_failed(c, &err);
	if (!from.s.name[0] && !to.s.name[0])
		return command_usage(c, "name a moment, as in vm1.raw@before-upgrade: both are the image as it is");
	interrupt_catch();
	rc = diff(&from, &to, json, &err);
	if (rc == -EPIPE)
		return EXIT_FAILED; /* command_finish() says it */
	return rc < 0 ? command_failed(c, &err) : EXIT_DONE;
}
