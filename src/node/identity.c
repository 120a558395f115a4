/* SPDX-License-Identifier: GPL-3.0-only */
/* identity.c: whether this node still has what it had: only then do its answers count.
 *
 * The agreement knows each node by a random text, its incarnation, which is made with its first drive and kept there. The rules:
 *
 *   its drives are complete          its answers count, once the agreement knows this incarnation
 *   its drives are new, and the      it never held anything: it is registered, and its answers count
 *   agreement knows no incarnation
 *   its drives are new, and the      it was registered and stopped before it could note that
 *   agreement knows this incarnation
 *   its drives are new, and the      all of it was lost: recovering
 *   agreement knows another one
 *   something is missing             recovering
 *
 * While it recovers its answers do not count. First the agreement raises the version of the map, so that no vote it gave before can be
 * counted together with those that others give from now on. Then a whole pass of heal.c, by that map, gets what it is to hold.
 */
#include "node/node_private.h"

#include "base/report.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AGAIN_MS 1000

enum identity_state {
	IDENTITY_ASKING,     /* what does the agreement know? */
	IDENTITY_REGISTER,   /* it is to know this incarnation; the answers count after that */
	IDENTITY_RAISE,      /* the map's version is to be raised */
	IDENTITY_RECOVERING, /* a whole pass is needed */
	IDENTITY_KNOWN,      /* the answers count, as long as nothing is lost */
};

struct identity {
	struct node *node;
	enum identity_state state;
	bool new; /* drives that never held anything */
	char incarnation[33];
	uint64_t raised; /* the version of the map from which on others know of the loss */
	uint64_t loss;   /* for which it was raised */
	struct loop_timer timer;
	bool busy;
	/* what the agreement has said, on its way to the loop */
	int status;
	char previous[AGREEMENT_INCARNATION_MAX + 1];
	bool had;
	_Atomic bool known;
};

static void step(void *identity);

bool node_votes(struct node *n)
{
	return n->identity && atomic_load(&n->identity->known) &&
	       object_store_state(n->objects, NULL) == OBJECT_STORE_COMPLETE;
}

const char *node_state_text(struct node *n)
{
	struct identity *i = n->identity;

	if (!map_keeper_has(n->maps, n->self))
		return "removed";
	if (node_votes(n))
		return "ok";
	if (!i || i->state == IDENTITY_ASKING || i->state == IDENTITY_REGISTER)
		return "waiting for the agreement";
	return "recovering";
}

/* ---- the incarnation ---- */

static int load_incarnation(struct identity *i, struct error *err)
{
	char path[PATH_MAX];
	uint8_t random[16];
	ssize_t n;
	int fd, rc;

	snprintf(path, sizeof path, "%s/incarnation", object_store_node_dir(i->node->objects));
	fd = disk_open(disk_posix(), path, O_RDWR | O_CREAT, 0600);
	if (fd < 0)
		return error_set(err, fd, "%s: %s", path, strerror(-fd));
	n = disk_pread(disk_posix(), fd, i->incarnation, 32, 0);
	rc = n < 0 ? (int)n : 0;
	if (!rc && (n != 32 || strspn(i->incarnation, "0123456789abcdef") != 32)) {
		randombytes_buf(random, sizeof random);
		sodium_bin2hex(i->incarnation, sizeof i->incarnation, random, sizeof random);
		rc = disk_pwrite(disk_posix(), fd, i->incarnation, 32, 0);
		if (!rc)
			rc = disk_fdatasync(disk_posix(), fd);
		if (!rc)
			rc = disk_sync_dir(disk_posix(), object_store_node_dir(i->node->objects));
	}
	disk_close(disk_posix(), fd);
	return rc ? error_set(err, rc, "%s: %s", path, strerror(-rc)) : 0;
}

/* ---- the agreement's answers ---- */

static void again(struct identity *i)
{
	i->busy = false;
	if (!i->node->stopping)
		loop_timer_set(&i->timer, AGAIN_MS);
	node_done(i->node);
}

static void go_on(struct identity *i)
{
	i->busy = false;
	node_done(i->node);
	step(i);
}

static void asked_here(void *arg)
{
	struct identity *i = arg;

	if (i->status) {
		again(i);
		return;
	}
	if (!i->new)
		i->state = object_store_state(i->node->objects, NULL) == OBJECT_STORE_COMPLETE ? IDENTITY_REGISTER
		                                                                               : IDENTITY_RAISE;
	else if (!i->had || strcmp(i->previous, i->incarnation) == 0)
		i->state = IDENTITY_REGISTER;
	else
		i->state = IDENTITY_RAISE;
	if (i->state == IDENTITY_RAISE)
		report_warning("objects that this node held are gone: it gets them from the others, and does not count "
		               "until then");
	go_on(i);
}

static void asked(void *arg, int status, const char *previous, const struct error *err)
{
	struct identity *i = arg;

	(void)err;
	i->status = status;
	i->had = previous != NULL;
	snprintf(i->previous, sizeof i->previous, "%s", previous ? previous : "");
	while (loop_post(i->node->loop, asked_here, i))
		;
}

static void registered_here(void *arg)
{
	struct identity *i = arg;

	if (i->status) {
		again(i);
		return;
	}
	i->state = IDENTITY_KNOWN;
	atomic_store(&i->known, true);
	go_on(i);
}

/* On a thread of the agreement, which may block for as long as the note takes. */
static void registered(void *arg, int status, const char *previous, const struct error *err)
{
	struct identity *i = arg;
	uint64_t loss;

	(void)previous;
	(void)err;
	if (!status && i->new) {
		object_store_state(i->node->objects, &loss);
		status = object_store_recovered(i->node->objects, loss);
		i->new = status != 0;
	}
	i->status = status;
	while (loop_post(i->node->loop, registered_here, i))
		;
}

static void raised(void *arg, int status, const struct error *err)
{
	struct identity *i = arg;

	(void)err;
	if (status) {
		again(i);
		return;
	}
	i->raised = map_keeper_version(i->node->maps);
	i->state = IDENTITY_RECOVERING;
	go_on(i);
	heal_now(i->node->heal);
}

static void raise_map(struct identity *i)
{
	struct map_ref *m = map_keeper_get(i->node->maps);
	struct cluster_map *next = malloc(sizeof *next);

	if (next) {
		*next = m->map;
		next->version++;
		object_store_state(i->node->objects, &i->loss);
		map_keeper_change(i->node->maps, next, raised, i);
	} else {
		again(i);
	}
	free(next);
	map_ref_put(m);
}

/* ---- steps ---- */

static void step(void *identity)
{
	struct identity *i = identity;
	struct node *n = i->node;
	uint64_t loss;

	if (i->busy || n->stopping)
		return;
	/* Something more was lost since. */
	if (object_store_state(n->objects, &loss) == OBJECT_STORE_LOST && i->state >= IDENTITY_RECOVERING &&
	    (i->state == IDENTITY_KNOWN || loss != i->loss))
		i->state = IDENTITY_RAISE;
	i->busy = true;
	node_begin(n);
	switch (i->state) {
	case IDENTITY_ASKING:
		agreement_node_get(n->agreement, n->self, asked, i);
		return;
	case IDENTITY_REGISTER:
		agreement_node_register(n->agreement, n->self, i->incarnation, registered, i);
		return;
	case IDENTITY_RAISE:
		atomic_store(&i->known, false);
		raise_map(i);
		return;
	default:
		again(i);
	}
}

bool node_may_recover(struct node *n, uint64_t map)
{
	struct identity *i = n->identity;

	return i && i->state == IDENTITY_RECOVERING && map >= i->raised;
}

void node_recovered(struct node *n)
{
	struct identity *i = n->identity;

	if (i->state != IDENTITY_RECOVERING || object_store_state(n->objects, NULL) != OBJECT_STORE_COMPLETE)
		return;
	i->new = false;
	i->state = IDENTITY_REGISTER;
	step(i);
}

/* ---- begin and end ---- */

int identity_begin(struct node *n, struct error *err)
{
	struct identity *i = calloc(1, sizeof *i);
	int rc;

	if (!i)
		return error_set(err, -ENOMEM, "out of memory");
	i->node = n;
	i->new = object_store_state(n->objects, NULL) == OBJECT_STORE_NEW;
	loop_timer_init(&i->timer, n->loop, step, i);
	n->identity = i;
	rc = load_incarnation(i, err);
	if (!rc)
		step(i);
	return rc;
}

void identity_end(struct node *n)
{
	if (!n->identity)
		return;
	loop_timer_cancel(&n->identity->timer);
	free(n->identity);
	n->identity = NULL;
}
