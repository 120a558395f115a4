/* SPDX-License-Identifier: GPL-3.0-only */
/* client_clean.c: the command's side of "clean", "orphans" and "space". */
#include "ctl/ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct cleaning {
	clean_progress_fn *progress;
	void *arg;
	struct clean_result *result;
	bool known;
};

/* What is not understood a later daemon may say besides. */
static int clean_line(void *arg, const char *line)
{
	struct cleaning *c = arg;
	struct clean_result *r = c->result;
	uint64_t done, all;
	int phase;

	if (sscanf(line, "phase %d %" SCNu64 " %" SCNu64, &phase, &done, &all) == 3)
		return !c->progress || c->progress(c->arg, (enum clean_phase)phase, done, all) ? 0 : -EINTR;
	if (sscanf(line,
	           "result %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
	           " %" SCNu64,
	           &r->segments, &r->bytes, &r->moved_segments, &r->moved_bytes, &r->removed_segments,
	           &r->removed_bytes, &r->waiting_segments, &r->waiting_bytes, &r->orphans) == 9)
		c->known = true;
	return 0;
}

int ctl_clean(struct ctl_client *client, uint64_t id, const struct clean_options *options, clean_progress_fn *progress,
              void *arg, struct clean_result *result, struct error *err)
{
	struct cleaning c = { progress, arg, result, false };
	char request[64];

	memset(result, 0, sizeof *result);
	snprintf(request, sizeof request, "clean %s %016" PRIx64,
	         options->dry_run ? "dry-run"
	         : options->now   ? "now"
	                          : "gently",
	         id);
	int rc = ctl_call(client, request, clean_line, &c, err);
	if (rc == -EINTR)
		return error_set(err, rc, "stopped; what was done is done");
	return rc || c.known ? rc : error_set(err, -EPROTO, "the daemon's answer is not understood");
}

struct space_reader {
	struct image_space *space;
	bool known;
};

static int space_line(void *arg, const char *line)
{
	struct space_reader *r = arg;
	struct image_space *s = r->space;

	if (sscanf(line,
	           "space %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
	           " %" SCNu64 " %lf",
	           &s->logical, &s->allocated, &s->live, &s->shared, &s->history, &s->garbage, &s->stored, &s->segments,
	           &s->snapshots, &s->ratio) == 10)
		r->known = true;
	return 0;
}

int ctl_space(struct ctl_client *client, uint64_t id, struct image_space *space, struct error *err)
{
	struct space_reader r = { space, false };
	char request[64];

	memset(space, 0, sizeof *space);
	snprintf(request, sizeof request, "space %016" PRIx64, id);
	int rc = ctl_call(client, request, space_line, &r, err);
	return rc || r.known ? rc : error_set(err, -EPROTO, "the daemon's answer is not understood");
}

struct orphans_reader {
	uint64_t *found;
	bool known;
};

static int orphans_line(void *arg, const char *line)
{
	struct orphans_reader *r = arg;

	if (sscanf(line, "found %" SCNu64, r->found) == 1)
		r->known = true;
	return 0;
}

int ctl_orphans(struct ctl_client *client, bool dry_run, uint64_t *found, struct error *err)
{
	struct orphans_reader r = { found, false };
	int rc = ctl_call(client, dry_run ? "orphans dry-run" : "orphans now", orphans_line, &r, err);

	return rc || r.known ? rc : error_set(err, -EPROTO, "the daemon's answer is not understood");
}
