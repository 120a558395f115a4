/* SPDX-License-Identifier: GPL-3.0-only */
/* quiesce.c: freezing several guests at once, so that none of them waits for another longer than it must. */
#include "cli/quiesce.h"

#include "cli/guest_agent.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

const struct quiesce_limits quiesce_usual_limits = { .answer_ms = 5000, .freeze_ms = 60000, .thaw_ms = 30000 };

struct guest {
	struct guest_agent *agent; /* NULL: not connected */
	int asked;                 /* 0, or why it could not be asked to thaw */
};

struct quiesce {
	struct quiesce_limits limits;
	sigset_t old_mask;
	bool masked;
	struct error stale; /* that a guest was not frozen any more when it was to be thawed */
	size_t count;
	struct guest guest[];
};

/* A command that is stopped, or dumps core, with frozen guests in its hands. */
static void hold_signals(struct quiesce *q)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTSTP);
	sigaddset(&set, SIGQUIT);
	q->masked = !pthread_sigmask(SIG_BLOCK, &set, &q->old_mask);
}

static int freeze_all(struct quiesce *q, struct error *err)
{
	int rc = 0;

	for (size_t k = 0; k < q->count && !rc; k++)
		rc = guest_agent_freeze(q->guest[k].agent, err);
	for (size_t k = 0; k < q->count && !rc; k++)
		rc = guest_agent_frozen(q->guest[k].agent, q->limits.freeze_ms, err);
	return rc;
}

int quiesce_begin(const char *const *sockets, size_t count, const struct quiesce_limits *limits,
                  const volatile bool *stop, struct quiesce **quiesce, struct error *err)
{
	struct quiesce *q = calloc(1, sizeof *q + count * sizeof q->guest[0]);
	struct error thaw = { 0 };
	int rc = 0;

	*quiesce = NULL;
	if (!q)
		return error_set(err, -ENOMEM, "out of memory");
	q->limits = *limits;
	q->count = count;
	for (size_t k = 0; k < count && !rc; k++)
		rc = guest_agent_connect(sockets[k], limits->answer_ms, stop, &q->guest[k].agent, err);
	if (!rc) {
		hold_signals(q);
		rc = freeze_all(q, err);
		if (rc && quiesce_end(q, &thaw) && thaw.code != -ESTALE)
			error_prefix(err, rc, "%s", error_text(&thaw));
	}
	if (rc)
		quiesce_free(q);
	else
		*quiesce = q;
	return rc;
}

int quiesce_end(struct quiesce *q, struct error *err)
{
	int rc = 0;

	/* All are asked before one is waited for. */
	for (size_t k = 0; k < q->count; k++)
		if (guest_agent_holds(q->guest[k].agent))
			q->guest[k].asked = guest_agent_thaw(q->guest[k].agent, err);
	for (size_t k = 0; k < q->count; k++) {
		struct guest *g = &q->guest[k];
		struct error e = { 0 };

		if (!guest_agent_holds(g->agent))
			continue;
		int thawed = g->asked ? g->asked : guest_agent_thawed(g->agent, q->limits.thaw_ms, &e);
		if (thawed == -ESTALE && !q->stale.code)
			q->stale = e;
		else if (thawed && thawed != -ESTALE && !rc)
			rc = g->asked ? thawed : error_set(err, thawed, "%s", error_text(&e));
	}
	return rc || !q->stale.code ? rc : error_set(err, -ESTALE, "%s", q->stale.text);
}

void quiesce_free(struct quiesce *q)
{
	if (!q)
		return;
	for (size_t k = 0; k < q->count; k++)
		guest_agent_close(q->guest[k].agent);
	if (q->masked)
		pthread_sigmask(SIG_SETMASK, &q->old_mask, NULL);
	free(q);
}
