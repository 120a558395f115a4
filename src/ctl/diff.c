/* SPDX-License-Identifier: GPL-3.0-only */
/* diff.c: snapshots found by name, and what differs between two moments: both ends of what is said on the socket about that.
 *
 * A diff goes in pieces, so that neither end holds all of a big one, and no worker of the daemon waits for a client that does
 * something with each range.
 */
#include "ctl/ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define RANGES_MAX 8192 /* of one answer */

/* ---- the daemon's side ---- */

int ctl_print_found(FILE *out, struct engine *e, const char *name, uint64_t id, struct error *err)
{
	struct snapshot_info s;
	int rc = engine_snapshot_find(e, id, name, &s, err);

	if (!rc)
		fprintf(out, "%016" PRIx64 " %016" PRIx64 " %" PRIu64 " %" PRIu64 "\n", s.id, s.origin, s.time_ns,
		        s.size);
	return rc;
}

struct printing {
	FILE *out;
	unsigned count;
};

static int print_range(void *arg, const struct image_range *r)
{
	struct printing *p = arg;

	if (p->count++ == RANGES_MAX) {
		fprintf(p->out, "more %" PRIu64 "\n", r->offset);
		return 1;
	}
	fprintf(p->out, "%s %" PRIu64 " %" PRIu64 "\n", r->data ? "data" : "zero", r->offset, r->length);
	return 0;
}

static int open_moment(struct engine *e, uint64_t image, const char *word, struct image **i, struct error *err)
{
	struct image_moment m = { 0 };
	struct snapshot_info s;
	int rc, end = 0;

	if (word[0] != '@') {
		rc = engine_snapshot_find(e, image, word, &s, err);
		return rc ? rc : image_open(e, s.id, IMAGE_READ, i, err);
	}
	if (sscanf(word, "@%20" SCNu64 ".%10" SCNu32 "%n", &m.segment, &m.record, &end) != 2 || word[end] || !m.segment)
		return error_set(err, -EINVAL, "'%.40s' is no position of a log", word);
	return engine_moment_open(e, image, &m, i, err);
}

int ctl_print_diff(FILE *out, struct engine *e, uint64_t id, const char *from, const char *to, uint64_t begin,
                   struct error *err)
{
	struct printing p = { .out = out };
	struct image *a = NULL, *b = NULL;
	int rc = strcmp(from, "-") ? open_moment(e, id, from, &a, err) : 0;

	if (!rc)
		rc = open_moment(e, id, to, &b, err);
	if (!rc)
		rc = image_diff(a, b, begin, print_range, &p, NULL, err);
	if (b)
		image_close(b, IMAGE_READ);
	if (a)
		image_close(a, IMAGE_READ);
	return rc == 1 ? 0 : rc;
}

/* ---- the command's side ---- */

static int read_found(void *arg, const char *line)
{
	struct snapshot_info *s = arg;

	return sscanf(line, "%16" SCNx64 " %16" SCNx64 " %" SCNu64 " %" SCNu64, &s->id, &s->origin, &s->time_ns,
	              &s->size) == 4
	               ? 0
	               : -EPROTO;
}

static int not_understood(int rc, struct error *err)
{
	return rc == -EPROTO ? error_set(err, rc, "the daemon's answer is not understood") : rc;
}

int ctl_snapshot_find(struct ctl_client *client, const char *name, uint64_t id, struct snapshot_info *info,
                      struct error *err)
{
	struct snapshot_info found = { 0 };
	char request[64 + SNAPSHOT_NAME_MAX];
	int rc;

	snprintf(found.name, sizeof found.name, "%s", name);
	snprintf(request, sizeof request, "snapshot find %s %016" PRIx64, found.name, id);
	rc = not_understood(ctl_call(client, request, read_found, &found, err), err);
	if (!rc)
		*info = found;
	return rc;
}

int ctl_snapshot_import(struct ctl_client *client, const char *name, uint64_t id, uint64_t origin, struct error *err)
{
	char request[80 + SNAPSHOT_NAME_MAX];

	snprintf(request, sizeof request, "snapshot import %.*s %016" PRIx64 " %016" PRIx64, SNAPSHOT_NAME_MAX, name,
	         id, origin);
	return ctl_call(client, request, NULL, NULL, err);
}

struct reading {
	struct image_range *range;
	size_t count, room;
	uint64_t more;
};

static int read_range(void *arg, const char *line)
{
	struct reading *r = arg;
	struct image_range range;
	char kind[8];

	if (sscanf(line, "more %" SCNu64, &r->more) == 1)
		return 0;
	if (sscanf(line, "%7s %" SCNu64 " %" SCNu64, kind, &range.offset, &range.length) != 3 ||
	    (strcmp(kind, "data") != 0 && strcmp(kind, "zero") != 0))
		return -EPROTO;
	range.data = kind[0] == 'd';
	if (r->count == r->room) {
		size_t room = r->room ? 2 * r->room : 256;
		void *grown = reallocarray(r->range, room, sizeof *r->range);

		if (!grown)
			return -ENOMEM;
		r->range = grown;
		r->room = room;
	}
	r->range[r->count++] = range;
	return 0;
}

int ctl_diff(struct ctl_client *client, uint64_t id, const char *from, const char *to, uint64_t *begin,
             struct image_range **ranges, size_t *count, struct error *err)
{
	struct reading r = { .more = UINT64_MAX };
	char request[80 + 2 * SNAPSHOT_NAME_MAX];
	int rc;

	snprintf(request, sizeof request, "diff %016" PRIx64 " %.*s %.*s %" PRIu64, id, SNAPSHOT_NAME_MAX,
	         from ? from : "-", SNAPSHOT_NAME_MAX, to, *begin);
	rc = not_understood(ctl_call(client, request, read_range, &r, err), err);
	if (rc) {
		free(r.range);
		return rc == -ENOMEM ? error_set(err, rc, "out of memory") : rc;
	}
	*begin = r.more;
	*ranges = r.range;
	*count = r.count;
	return 0;
}
