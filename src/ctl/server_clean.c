/* SPDX-License-Identifier: GPL-3.0-only */
/* server_clean.c: the daemon's side of "clean" and "space": what they say, line by line. */
#include "ctl/server_clean.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct telling {
	bool (*say)(void *arg, const char *line);
	void *arg;
};

static bool tell_progress(void *arg, enum clean_phase phase, uint64_t done, uint64_t all)
{
	struct telling *t = arg;
	char line[80];

	snprintf(line, sizeof line, "phase %d %" PRIu64 " %" PRIu64, (int)phase, done, all);
	return t->say(t->arg, line);
}

int server_clean(struct engine *e, const char *how, uint64_t id, bool (*say)(void *arg, const char *line), void *arg,
                 struct error *err)
{
	struct clean_options options = { .dry_run = !strcmp(how, "dry-run"), .now = !strcmp(how, "now") };
	struct telling t = { say, arg };
	struct clean_result r;
	char line[300];

	if (!options.dry_run && !options.now && strcmp(how, "gently") != 0)
		return error_set(err, -EINVAL, "\"%s\" is no way to clean: gently, now or dry-run", how);
	int rc = engine_clean(e, id, &options, tell_progress, &t, &r, err);
	if (rc)
		return rc;
	snprintf(line, sizeof line,
	         "result %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
	         " %" PRIu64,
	         r.segments, r.bytes, r.moved_segments, r.moved_bytes, r.removed_segments, r.removed_bytes,
	         r.waiting_segments, r.waiting_bytes, r.orphans);
	say(arg, line);
	return 0;
}

int server_orphans(struct engine *e, const char *how, bool (*say)(void *arg, const char *line), void *arg,
                   struct error *err)
{
	bool dry_run = !strcmp(how, "dry-run");
	uint64_t found;
	char line[40];

	if (!dry_run && strcmp(how, "now") != 0)
		return error_set(err, -EINVAL, "\"%s\" is no way to look for orphans: now or dry-run", how);
	int rc = engine_find_orphans(e, dry_run, &found, err);
	if (rc)
		return rc;
	snprintf(line, sizeof line, "found %" PRIu64, found);
	say(arg, line);
	return 0;
}

int server_space(struct engine *e, uint64_t id, bool (*say)(void *arg, const char *line), void *arg, struct error *err)
{
	struct image_space s;
	char line[300];
	int rc = engine_space(e, id, &s, err);

	if (rc)
		return rc;
	snprintf(line, sizeof line,
	         "space %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
	         " %" PRIu64 " %.3f",
	         s.logical, s.allocated, s.live, s.shared, s.history, s.garbage, s.stored, s.segments, s.snapshots,
	         s.ratio);
	say(arg, line);
	return 0;
}
