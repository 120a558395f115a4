/* SPDX-License-Identifier: GPL-3.0-only */
/* heal_pull.c: one object that another node has and this one has not. */
#include "node/heal_private.h"
#include "node/replica_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pull {
	struct node *node;
	char name[OBJECT_NAME_MAX + 1];
	struct object_meta meta;
	heal_done_fn *done;
	void *arg;
	struct object_put *put;
	int status;
	bool new, wrong;
	unsigned from;
};

static void end(void *arg)
{
	struct pull *p = arg;
	struct node *n = p->node;

	if (p->wrong)
		node_gave_wrong_bytes(n, p->from, p->name);
	if (!p->status && p->new) {
		n->counters.pulled++;
		n->counters.pulled_bytes += p->meta.length;
	}
	p->done(p->arg, p->status);
	free(p);
	node_done(n);
}

static void end_soon(struct pull *p, int status)
{
	p->status = status;
	while (loop_post(p->node->loop, end, p))
		;
}

/* What is newer here is better. */
static void was_put(void *arg, const struct object_put_result *r)
{
	struct pull *p = arg;

	p->new = !r->status && !r->already;
	p->wrong = r->status == -EBADMSG;
	end_soon(p, r->status == -ESTALE ? 0 : r->status);
}

static void release_bytes(void *bytes)
{
	free(bytes);
}

static void was_read(void *arg, unsigned id, const struct replica_answer *a, uint8_t *bytes, size_t length)
{
	struct pull *p = arg;
	int rc = a->status;

	(void)id;
	if (!rc && length != p->meta.length) {
		p->wrong = true;
		rc = -EBADMSG;
	}
	if (!rc)
		rc = object_put_begin(p->node->objects, p->name, &p->meta, OBJECT_RULE_COPY, &p->put);
	if (rc) {
		free(bytes);
		end_soon(p, rc);
		return;
	}
	if (length)
		object_put_append(p->put, bytes, length, release_bytes, bytes);
	else
		free(bytes);
	object_put_finish(p->put, was_put, p);
}

void heal_pull(struct node *n, unsigned id, struct map_ref *map, const char *name, const struct object_meta *meta,
               heal_done_fn *done, void *arg)
{
	struct pull *p = calloc(1, sizeof *p);

	if (!p) {
		done(arg, -ENOMEM);
		return;
	}
	p->node = n;
	p->from = id;
	snprintf(p->name, sizeof p->name, "%s", name);
	p->meta = *meta;
	p->meta.flags &= OBJECT_FLAGS_SHARED;
	p->done = done;
	p->arg = arg;
	node_begin(n);
	if (meta->flags & OBJECT_TOMBSTONE)
		object_store_remove(n->objects, name, meta->version, meta->flags & OBJECT_CLAIMED, OBJECT_RULE_COPY,
		                    was_put, p);
	else if (object_store_takes(n->objects, meta->length))
		replica_read(n, id, map, name, meta->version, 0, SIZE_MAX, was_read, p);
	else /* it would be read again and again, by every pass */
		end_soon(p, -ENOSPC);
}
