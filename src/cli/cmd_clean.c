/* SPDX-License-Identifier: GPL-3.0-only */
/* cmd_clean.c: garner gc and garner df: cleaning the logs of images, and what images take in the store. */
#include "cli/command.h"
#include "cli/image_list.h"
#include "cli/progress.h"
#include "cli/target.h"

#include "base/report.h"
#include "base/size.h"
#include "ctl/ctl.h"
#include "ctl/status.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define WORDS_MAX 100

/* ---- all images that are meant ---- */

/* Does something with one image. `name`: as people know it. */
typedef int image_fn(void *arg, struct ctl_client *client, const char *name, uint64_t id, struct error *err);

struct visit {
	const struct command *command;
	image_fn *each;
	int (*mount)(void *arg, struct ctl_client *client,
	             struct error *err); /* after the images of a mount; may be NULL */
	void *arg;
	unsigned done, failed;
};

/* One that fails is told, and the others get their turn: 0, unless there is nobody to ask any more. */
static int visited(struct visit *v, int rc, const struct error *err)
{
	v->done++;
	if (!rc)
		return 0;
	v->failed++;
	(void)command_failed(v->command, err);
	return rc == -EINTR || rc == -ENOTCONN || rc == -ECONNRESET || rc == -EPIPE ? rc : 0;
}

static int each_of(struct visit *v, const char *word)
{
	struct image_list list = { 0 };
	struct ctl_client *client = NULL;
	struct error err = { 0 };
	uint64_t id;
	int rc = target_want_mount(word, &err);

	if (!rc)
		rc = ctl_connect(word, &client, &id, &err);
	if (!rc && !id)
		rc = image_list_from_mount(&list, word, &err);
	if (rc || id) {
		rc = visited(v, rc ? rc : v->each(v->arg, client, word, id, &err), &err);
	} else {
		image_list_sort(&list);
		for (size_t k = 0; !rc && k < list.count; k++)
			rc = visited(v, v->each(v->arg, client, list.image[k].path, list.image[k].id, &err), &err);
		if (!rc && v->mount && (rc = v->mount(v->arg, client, &err)))
			rc = visited(v, rc, &err);
	}
	image_list_destroy(&list);
	ctl_disconnect(client);
	return rc == -EINTR ? rc : 0;
}

static int each_word(struct visit *v, const char **words)
{
	int rc = 0;

	for (int k = 0; !rc && k < WORDS_MAX && words[k]; k++)
		rc = each_of(v, words[k]);
	if (v->failed && v->done > 1)
		report_error("%s: %u of %u could not be done", v->command->name, v->failed, v->done);
	return v->failed ? EXIT_FAILED : EXIT_DONE;
}

/* ---- gc ---- */

struct cleaning {
	struct clean_options options;
	struct progress progress;
	enum clean_phase phase; /* that is shown */
	bool shown;
};

static bool show_progress(void *arg, enum clean_phase phase, uint64_t done, uint64_t all)
{
	static const char *const labels[] = { "storing", "reading maps", "moving", "deleting" };
	struct cleaning *c = arg;

	if ((unsigned)phase >= sizeof labels / sizeof labels[0])
		return !interrupted();
	if (!c->shown || c->phase != phase) {
		if (c->shown)
			progress_end(&c->progress);
		progress_start(&c->progress, labels[phase], phase == CLEAN_MARK ? "nodes" : "segments", all);
		c->phase = phase;
		c->shown = true;
	}
	if (phase != CLEAN_SETTLE)
		progress_update(&c->progress, done);
	return !interrupted();
}

static void print_result(const char *name, const struct clean_options *o, const struct clean_result *r)
{
	char before[SIZE_TEXT_MAX], removed[SIZE_TEXT_MAX], moved[SIZE_TEXT_MAX], waiting[SIZE_TEXT_MAX];

	command_print(name);
	printf(": %" PRIu64 " segments of %s; %s%" PRIu64 " of %s %s", r->segments, size_format(r->bytes, before),
	       o->dry_run ? "" : "deleted ", r->removed_segments, size_format(r->removed_bytes, removed),
	       o->dry_run ? "are garbage" : "");
	printf("%s%s %" PRIu64 " by moving %s", o->dry_run ? ", " : "and ", o->dry_run ? "would empty" : "emptied",
	       r->moved_segments, size_format(r->moved_bytes, moved));
	if (r->waiting_segments)
		printf("; %" PRIu64 " of %s wait for their deletion", r->waiting_segments,
		       size_format(r->waiting_bytes, waiting));
	putchar('\n');
}

static int clean_one(void *arg, struct ctl_client *client, const char *name, uint64_t id, struct error *err)
{
	struct cleaning *c = arg;
	struct clean_result result;

	c->shown = false;
	int rc = ctl_clean(client, id, &c->options, show_progress, c, &result, err);
	if (c->shown)
		progress_end(&c->progress);
	if (!rc)
		print_result(name, &c->options, &result);
	return rc ? error_prefix(err, rc, "%s", name) : 0;
}

/* Where listings lag there is no telling. */
static int find_orphans(void *arg, struct ctl_client *client, struct error *err)
{
	const struct cleaning *c = arg;
	uint64_t found;
	int rc = ctl_orphans(client, c->options.dry_run, &found, err);

	if (rc == -EOPNOTSUPP)
		return 0;
	if (!rc && found)
		printf("%" PRIu64 " image%s without a name %s into the trash (garner undelete lists what is there)\n",
		       found, found == 1 ? "" : "s", c->options.dry_run ? "would go" : "went");
	return rc;
}

int cmd_gc(const struct command *c, int argc, char **argv)
{
	struct cleaning cleaning = { 0 };
	const struct command_option options[] = {
		{ "dry-run", NULL, &cleaning.options.dry_run },
		{ "now", NULL, &cleaning.options.now },
		{ 0 },
	};
	struct visit visit = { .command = c, .each = clean_one, .mount = find_orphans, .arg = &cleaning };
	const char *words[WORDS_MAX];
	int rc = command_parse(c, argc, argv, options, 1, WORDS_MAX, words);

	if (rc != 0)
		return command_parse_exit(rc);
	if (cleaning.options.dry_run && cleaning.options.now)
		return command_usage(c, "--dry-run changes nothing, now or later");
	interrupt_catch();
	return each_word(&visit, words);
}

/* ---- df ---- */

struct listing {
	bool json, begun;
};

static void print_json(const char *name, const struct image_space *s)
{
	printf("{\"image\": ");
	status_json_string(stdout, name);
	printf(", \"logical\": %" PRIu64 ", \"allocated\": %" PRIu64 ", \"live\": %" PRIu64 ", \"shared\": %" PRIu64
	       ", \"history\": %" PRIu64 ", \"garbage\": %" PRIu64 ", \"stored\": %" PRIu64 ", \"segments\": %" PRIu64
	       ", \"snapshots\": %" PRIu64 ", \"ratio\": %.3f}\n",
	       s->logical, s->allocated, s->live, s->shared, s->history, s->garbage, s->stored, s->segments,
	       s->snapshots, s->ratio);
}

static int space_one(void *arg, struct ctl_client *client, const char *name, uint64_t id, struct error *err)
{
	struct listing *l = arg;
	struct image_space s;
	int rc = ctl_space(client, id, &s, err);

	if (rc)
		return error_prefix(err, rc, "%s", name);
	if (l->json) {
		print_json(name, &s);
		return 0;
	}
	const uint64_t values[] = { s.logical, s.allocated, s.live, s.shared, s.history, s.garbage, s.stored };
	if (!l->begun)
		printf("%10s %10s %10s %10s %10s %10s %10s %6s  %s\n", "logical", "allocated", "live", "shared",
		       "history", "garbage", "stored", "ratio", "image");
	l->begun = true;
	for (size_t k = 0; k < sizeof values / sizeof values[0]; k++) {
		char text[SIZE_TEXT_MAX];
		printf("%10s ", size_format(values[k], text));
	}
	printf("%5.2fx  ", s.ratio);
	command_print(name);
	putchar('\n');
	return 0;
}

int cmd_df(const struct command *c, int argc, char **argv)
{
	struct listing listing = { 0 };
	const struct command_option options[] = { { "json", NULL, &listing.json }, { 0 } };
	struct visit visit = { .command = c, .each = space_one, .arg = &listing };
	const char *words[WORDS_MAX];
	int rc = command_parse(c, argc, argv, options, 1, WORDS_MAX, words);

	if (rc != 0)
		return command_parse_exit(rc);
	interrupt_catch();
	return each_word(&visit, words);
}
