/* SPDX-License-Identifier: GPL-3.0-only */
/* client_past.c: the command's side of the control socket: what is asked about the past of an image. */
#include "ctl/ctl.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is told of a rewinding. */
struct rewound {
	struct image_moment moment, before;
};

static int moment_line(void *arg, const char *line)
{
	struct rewound *r = arg;
	struct image_moment m;

	if (sscanf(line, "%*s %" SCNu64 " %" SCNu32 " %" SCNu64, &m.segment, &m.record, &m.time_ns) != 3)
		return -EPROTO;
	if (!strncmp(line, "moment ", 7))
		r->moment = m;
	else if (!strncmp(line, "before ", 7))
		r->before = m;
	return 0;
}

static int not_understood(int rc, struct error *err)
{
	return rc == -EPROTO ? error_set(err, rc, "the daemon's answer is not understood") : rc;
}

/* `hex`: the name, or "-". */
static int ask_to_rewind(struct ctl_client *client, uint64_t id, uint64_t dir, const char *hex, struct rewound *r,
                         struct error *err)
{
	const struct image_moment m = r->moment;
	char request[160 + CTL_NAME_TEXT_MAX];

	snprintf(request, sizeof request, "rewind %016" PRIx64 " %016" PRIx64 " %s %" PRIu64 " %" PRIu32 " %" PRIu64,
	         id, dir, hex, m.segment, m.record, m.time_ns);
	return not_understood(ctl_call(client, request, moment_line, r, err), err);
}

int ctl_moment_find(struct ctl_client *client, uint64_t id, struct image_moment *m, struct error *err)
{
	struct rewound r = { .moment = *m };
	char request[100];
	int rc;

	snprintf(request, sizeof request, "moment %016" PRIx64 " %" PRIu64 " %" PRIu32 " %" PRIu64, id, m->segment,
	         m->record, m->time_ns);
	rc = not_understood(ctl_call(client, request, moment_line, &r, err), err);
	*m = r.moment;
	return rc;
}

int ctl_rewind(struct ctl_client *client, uint64_t id, struct image_moment *m, uint64_t dir, const char *name,
               struct error *err)
{
	struct rewound r = { .moment = *m };
	char hex[CTL_NAME_TEXT_MAX];
	int rc;

	ctl_name_encode(name, hex);
	rc = ask_to_rewind(client, id, dir, hex, &r, err);
	*m = r.moment;
	return rc;
}

int ctl_rewind_in_place(struct ctl_client *client, uint64_t id, struct image_moment *m, struct image_moment *before,
                        struct error *err)
{
	struct rewound r = { .moment = *m };
	int rc = ask_to_rewind(client, id, 0, "-", &r, err);

	*m = r.moment;
	*before = r.before;
	return rc;
}

static int add_span(struct ctl_past *p, const char *line)
{
	struct history_span s, *more;

	if (sscanf(line, "span %" SCNu64 " %" SCNu32 " %" SCNu64 " %" SCNu64, &s.begin.segment, &s.begin.record,
	           &s.begin.time_ns, &s.bytes) != 4)
		return -EPROTO;
	more = reallocarray(p->spans, p->span_count + 1, sizeof *more);
	if (!more)
		return -ENOMEM;
	p->spans = more;
	p->spans[p->span_count++] = s;
	return 0;
}

static int add_snapshot(struct ctl_past *p, const char *line)
{
	void *more = reallocarray(p->snapshots, p->snapshot_count + 1, sizeof *p->snapshots);

	if (!more)
		return -ENOMEM;
	p->snapshots = more;
	static_assert(SNAPSHOT_NAME_MAX == 64, "the number below");
	if (sscanf(line, "snapshot %" SCNu64 " %64s", &p->snapshots[p->snapshot_count].time_ns,
	           p->snapshots[p->snapshot_count].name) != 2)
		return -EPROTO;
	p->snapshot_count++;
	return 0;
}

static int past_line(void *arg, const char *line)
{
	struct ctl_past *p = arg;
	struct history *h = &p->history;
	struct image_moment m;
	char which;

	if (!strncmp(line, "span ", 5))
		return add_span(p, line);
	if (!strncmp(line, "snapshot ", 9))
		return add_snapshot(p, line);
	if (sscanf(line, "keep %" SCNu64, &h->keep_s) == 1 || sscanf(line, "segments %" SCNu64, &h->segments) == 1)
		return 0;
	if (sscanf(line, "%c%*s %" SCNu64 " %" SCNu32 " %" SCNu64, &which, &m.segment, &m.record, &m.time_ns) == 4 &&
	    (!strncmp(line, "oldest ", 7) || !strncmp(line, "newest ", 7)))
		*(which == 'o' ? &h->oldest : &h->newest) = m;
	return 0; /* a later daemon may say more */
}

int ctl_history(struct ctl_client *client, uint64_t id, uint64_t since_ns, struct ctl_past *past, struct error *err)
{
	char request[96];

	*past = (struct ctl_past){ 0 };
	snprintf(request, sizeof request, "history %016" PRIx64 " %" PRIu64, id, since_ns);
	int rc = ctl_call(client, request, past_line, past, err);
	return rc == -ENOMEM ? error_set(err, rc, "out of memory") : not_understood(rc, err);
}

void ctl_past_free(struct ctl_past *past)
{
	free(past->snapshots);
	free(past->spans);
	*past = (struct ctl_past){ 0 };
}

int ctl_keep(struct ctl_client *client, uint64_t id, uint64_t seconds, struct error *err)
{
	char request[64];

	snprintf(request, sizeof request, "keep %016" PRIx64 " %" PRIu64, id, seconds);
	return ctl_call(client, request, NULL, NULL, err);
}
