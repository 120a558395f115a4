/* SPDX-License-Identifier: GPL-3.0-only */
/* cmd_history.c: garner history: what there is of an image's past, and how much of it is to be kept. */
#include "cli/command.h"
#include "cli/target.h"
#include "cli/timeline.h"

#include "base/size.h"
#include "base/time_text.h"
#include "ctl/ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* ---- printing ----------------------------------------------------------------------------------------------------- */

static void print_json_moment(const char *name, const struct image_moment *m)
{
	printf("\"%s\":{\"log\":\"%" PRIu64 ".%" PRIu32 "\",\"time_ns\":%" PRIu64 "}", name, m->segment, m->record,
	       m->time_ns);
}

static void print_json(const struct ctl_past *p)
{
	printf("{\"keep_seconds\":%" PRIu64 ",\"segments\":%" PRIu64 ",", p->history.keep_s, p->history.segments);
	print_json_moment("oldest", &p->history.oldest);
	putchar(',');
	print_json_moment("newest", &p->history.newest);
	printf(",\"snapshots\":[");
	for (size_t k = 0; k < p->snapshot_count; k++)
		printf("%s{\"name\":\"%s\",\"time_ns\":%" PRIu64 "}", k ? "," : "", p->snapshots[k].name,
		       p->snapshots[k].time_ns);
	printf("],\"written\":[");
	for (size_t k = 0; k + 1 < p->span_count; k++)
		printf("%s{\"log\":\"%" PRIu64 ".0\",\"time_ns\":%" PRIu64 ",\"until_ns\":%" PRIu64
		       ",\"bytes\":%" PRIu64 "}",
		       k ? "," : "", p->spans[k].begin.segment, p->spans[k].begin.time_ns,
		       p->spans[k + 1].begin.time_ns, p->spans[k].bytes);
	printf("]}\n");
}

static void print_end(const char *name, const struct image_moment *m)
{
	char when[TIME_TEXT_MAX];

	printf("%s  %s  log %" PRIu64 ".%" PRIu32 "\n", name, time_format(m->time_ns, when), m->segment, m->record);
}

/* What was written, and the snapshots, in the order of time. */
static void print_lines(const struct ctl_past *p)
{
	char when[TIME_TEXT_MAX], size[SIZE_TEXT_MAX];
	size_t s = 0;

	for (size_t k = 0; k < p->span_count; k++) {
		const struct history_span *span = &p->spans[k];
		for (;
		     s < p->snapshot_count && (k + 1 == p->span_count || p->snapshots[s].time_ns < span->begin.time_ns);
		     s++)
			printf("%s  @%s\n", time_format(p->snapshots[s].time_ns, when), p->snapshots[s].name);
		if (k + 1 < p->span_count)
			printf("%s  log %" PRIu64 ".0  %s\n", time_format(span->begin.time_ns, when),
			       span->begin.segment, size_format(span->bytes, size));
	}
}

static unsigned bar_width(void)
{
	struct winsize w;
	const unsigned beside = 42;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) || w.ws_col < beside + 10)
		return 38;
	return w.ws_col - beside > 100 ? 100 : w.ws_col - beside;
}

static void print_text(const struct ctl_past *p)
{
	struct timeline t;

	if (p->history.keep_s)
		printf("kept    every moment of the last %" PRIu64 " s\n", p->history.keep_s);
	else
		printf("kept    no history: of what is overwritten within seconds, the last is there (see --keep)\n");
	print_end("oldest", &p->history.oldest);
	print_end("newest", &p->history.newest);
	if (!isatty(STDOUT_FILENO)) {
		print_lines(p);
		return;
	}
	timeline_make(p->spans, p->span_count, &t);
	putchar('\n');
	timeline_draw(stdout, &t, p, bar_width());
}

/* ---- the command -------------------------------------------------------------------------------------------------- */

static int keep(struct ctl_client *client, uint64_t id, const char *text, struct error *err)
{
	uint64_t ms;
	int rc = duration_parse(text, &ms, err);

	return rc ? rc : ctl_keep(client, id, (ms + 999) / 1000, err);
}

static int show(struct ctl_client *client, uint64_t id, const char *since, bool json, struct error *err)
{
	struct ctl_past past = { 0 };
	uint64_t since_ns = 0;
	int rc = since ? time_parse(since, clock_wall_ns(), &since_ns, err) : 0;

	if (!rc)
		rc = ctl_history(client, id, since_ns, &past, err);
	if (!rc)
		(json ? print_json : print_text)(&past);
	ctl_past_free(&past);
	return rc;
}

int cmd_history(const struct command *c, int argc, char **argv)
{
	const char *since = NULL, *duration = NULL, *image;
	bool json = false;
	const struct command_option options[] = {
		{ "since", &since, NULL }, { "keep", &duration, NULL }, { "json", NULL, &json }, { 0 }
	};
	struct ctl_client *client = NULL;
	struct error err = { 0 };
	uint64_t id;
	int rc = command_parse(c, argc, argv, options, 1, 1, &image);

	if (rc != 0)
		return command_parse_exit(rc);
	if (duration && (since || json))
		return command_usage(c, "--keep changes what is kept, and shows nothing");
	rc = target_want_image(image, &err);
	if (!rc)
		rc = ctl_connect(image, &client, &id, &err);
	if (!rc)
		rc = duration ? keep(client, id, duration, &err) : show(client, id, since, json, &err);
	ctl_disconnect(client);
	return rc < 0 ? command_failed(c, &err) : EXIT_DONE;
}
