/* SPDX-License-Identifier: GPL-3.0-only */
/* epoch.c: who may write an image: claiming, fencing, handing over.
 *
 * Epochs are dense: N+1 is created only by one who saw N, and none is removed while the image lives. So the newest is
 * found by probing, no listing is trusted, and "is there a newer one" is one question about one key.
 *
 * Of an epoch object only its being there is relied on, see epoch.h.
 *
 * After a claim the terms are read again: the owner of an older epoch may have written its term between our first look
 * and our claim, and may have been entitled to acknowledge what it stored under it. What it writes after our claim it
 * cannot acknowledge, because it looks for a newer epoch after each put.
 */
#include "image/epoch_private.h"
#include "image/pool_claim.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLAIM_TRIES 8
#define CLAIM_PATIENCE_NS UINT64_C(30000000000)

void epoch_key(uint64_t image, uint64_t epoch, char key[STORE_KEY_MAX + 1])
{
	snprintf(key, STORE_KEY_MAX + 1, "images/%016" PRIx64 "/epochs/%016" PRIx64, image, epoch);
}

/* ---- the epoch object -------------------------------------------------------------------------------------------- */

struct epoch_object {
	uint64_t host, nonce, claimed_ns, released, last;
	char name[65];
};

static struct fields *epoch_fields(const struct epoch_object *o)
{
	struct fields *f = fields_new();

	if (!f)
		return NULL;
	fields_add_hex64(f, "host", o->host);
	fields_add_text(f, "hostname", o->name);
	fields_add_u64(f, "time", o->claimed_ns);
	fields_add_hex64(f, "nonce", o->nonce);
	if (o->released) {
		fields_add_u64(f, "released", 1);
		fields_add_u64(f, "last", o->last);
	}
	return f;
}

/* As pool_claim() does when `claim`, else over what is there. */
static int epoch_object_put(struct pool *p, uint64_t image, uint64_t epoch, const struct epoch_object *o, bool claim,
                            struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct seal_key sealing;
	struct fields *f = epoch_fields(o);
	int rc;

	if (!f)
		return -ENOMEM;
	epoch_key(image, epoch, key);
	image_key(&p->master, image, &sealing);
	if (claim)
		rc = pool_claim(p, key, OBJECT_EPOCH, &sealing, f, err);
	else
		rc = pool_put_object(p, key, OBJECT_EPOCH, &sealing, f, 0, err);
	sodium_memzero(&sealing, sizeof sealing);
	fields_free(f);
	return rc;
}

static void epoch_object_new(const struct host *host, struct epoch_object *o)
{
	*o = (struct epoch_object){ .host = host->id, .claimed_ns = clock_wall_ns() };
	randombytes_buf(&o->nonce, sizeof o->nonce);
	snprintf(o->name, sizeof o->name, "%s", host->name);
}

static int epoch_object_get(struct pool *p, uint64_t image, uint64_t epoch, struct epoch_object *o, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct seal_key sealing;
	struct fields *f;
	const char *name;
	int rc;

	memset(o, 0, sizeof *o);
	epoch_key(image, epoch, key);
	image_key(&p->master, image, &sealing);
	rc = pool_get_object(p, key, OBJECT_EPOCH, &sealing, &f, err);
	sodium_memzero(&sealing, sizeof sealing);
	if (rc)
		return rc;
	name = fields_text(f, "hostname", 0);
	if (!name || fields_hex64(f, "host", &o->host) || fields_hex64(f, "nonce", &o->nonce) ||
	    fields_u64(f, "time", &o->claimed_ns))
		rc = -EBADMSG;
	else
		snprintf(o->name, sizeof o->name, "%s", name);
	if (!rc && fields_u64(f, "released", &o->released) == -EBADMSG)
		rc = -EBADMSG;
	if (!rc && o->released && fields_u64(f, "last", &o->last))
		rc = -EBADMSG;
	fields_free(f);
	return rc ? error_set(err, rc, "%s: a field is missing or damaged", key) : 0;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static void key_of_epoch(const void *arg, uint64_t number, char key[STORE_KEY_MAX + 1])
{
	epoch_key(*(const uint64_t *)arg, number, key);
}

static int newest_epoch(struct pool *p, uint64_t image, struct log_view *view, struct error *err)
{
	struct probe_sequence epochs = { .key = key_of_epoch, .arg = &image };
	struct head head;
	uint64_t from = 0;
	int rc = head_load(p, image, &head, err);

	/* A head that is missing or damaged only costs time. */
	if (rc == 0) {
		from = head.epoch;
		view->checkpoint = head.checkpoint;
	} else if (rc != -ENOENT && rc != -EBADMSG && rc != -EPROTONOSUPPORT) {
		return rc;
	}
	rc = probe_run(p->store, &epochs, from, &view->newest_epoch, err);
	if (rc == -ENOENT && from)
		rc = probe_run(p->store, &epochs, 0, &view->newest_epoch, err);
	return rc;
}

/* Whether the newest epoch has written its term: then that is the object that was loaded. */
static bool has_begun(const struct log_view *view)
{
	return view->term_count && view->terms[view->term_count - 1].epoch == view->newest_epoch;
}

/* Of the terms that were just loaded, with owner_host as their object says it. */
static int find_writer(struct pool *p, uint64_t image, struct log_view *view, struct error *err)
{
	struct epoch_object o;
	int rc;

	view->writer_host = view->term_count ? view->owner_host : 0;
	if (!view->term_count || view->owner_host)
		return 0;
	rc = epoch_object_get(p, image, view->terms[view->term_count - 1].epoch, &o, err);
	if (!rc)
		view->writer_host = o.host;
	return rc;
}

int log_view_load(struct pool *p, uint64_t image, struct log_view *view, struct error *err)
{
	struct epoch_object o;
	int rc;

	memset(view, 0, sizeof *view);
	rc = newest_epoch(p, image, view, err);
	if (rc || view->newest_epoch == 0)
		return rc;
	rc = epoch_object_get(p, image, view->newest_epoch, &o, err);
	if (!rc)
		rc = terms_load_newest(p, image, view->newest_epoch, view, err);
	if (!rc)
		rc = find_writer(p, image, view, err);
	if (rc) {
		log_view_destroy(view);
		return rc;
	}
	/* Only its owner releases an epoch, and only its owner writes its term. */
	view->released = o.released;
	if (has_begun(view) && view->owner_host)
		return 0;
	view->owner_host = o.host;
	memcpy(view->owner_name, o.name, sizeof view->owner_name);
	return 0;
}

void log_view_destroy(struct log_view *view)
{
	free(view->terms);
	memset(view, 0, sizeof *view);
}

uint64_t log_view_epoch_of(const struct log_view *view, segment_no_t number)
{
	size_t low = 0, high = view->term_count;

	/* The last term whose first number is not past `number`. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (view->terms[middle].first <= number)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? view->terms[low - 1].epoch : 0;
}

void epoch_look(struct pool *p, uint64_t image, uint64_t epoch, store_length_fn *done, void *arg)
{
	char key[STORE_KEY_MAX + 1];

	epoch_key(image, epoch + 1, key);
	store_head(p->store, key, done, arg);
}

int epoch_superseded(struct pool *p, uint64_t image, uint64_t epoch, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	uint64_t size;
	int rc;

	epoch_key(image, epoch + 1, key);
	rc = store_head_wait(p->store, key, &size, err);
	if (rc == -ENOENT)
		return 0;
	return rc ? rc : 1;
}

/* ---- owning ------------------------------------------------------------------------------------------------------ */

int epoch_claim(struct pool *p, uint64_t image, const struct host *host, struct log_view *view, struct error *err)
{
	struct epoch_object mine, there;
	struct log_view terms = { 0 };
	uint64_t epoch = view->newest_epoch + 1;
	int rc;

	epoch_object_new(host, &mine);
	rc = epoch_object_put(p, image, epoch, &mine, true, err);
	if (rc == -EEXIST) {
		rc = epoch_object_get(p, image, epoch, &there, err);
		return rc ? rc
		          : error_set(err, -EBUSY, "%s (host %016" PRIx64 ") was quicker to claim epoch %" PRIu64,
		                      there.name, there.host, epoch);
	}
	if (rc)
		return rc;
	rc = terms_load_newest(p, image, epoch - 1, &terms, err);
	if (!rc)
		rc = find_writer(p, image, &terms, err);
	if (rc) {
		log_view_destroy(&terms);
		return error_prefix(err, rc, "claimed epoch %" PRIu64 ", but cannot read the terms before it", epoch);
	}
	free(view->terms);
	view->terms = terms.terms;
	view->term_count = terms.term_count;
	view->writer_host = terms.writer_host;
	view->newest_epoch = epoch;
	view->owner_host = host->id;
	memcpy(view->owner_name, mine.name, sizeof view->owner_name);
	view->released = false;
	return 0;
}

/* What became of a claim that was left open: whether to claim again, and then the epoch after the view's. */
static bool may_claim_again(struct pool *p, uint64_t image, const struct host *host, struct log_view *view)
{
	struct log_view now;

	if (log_view_load(p, image, &now, NULL))
		return false;
	bool may = now.newest_epoch == view->newest_epoch ||
	           (now.newest_epoch == view->newest_epoch + 1 && now.owner_host == host->id);
	if (may) {
		struct log_view old = *view;
		*view = now;
		now = old;
	}
	log_view_destroy(&now);
	return may;
}

int epoch_claim_patiently(struct pool *p, uint64_t image, const struct host *host, struct log_view *view,
                          const atomic_bool *stop, struct error *err)
{
	uint64_t until = clock_monotonic_ns() + CLAIM_PATIENCE_NS;

	for (unsigned tries = 1;; tries++) {
		int rc = epoch_claim(p, image, host, view, err);
		bool open = rc == -EIO || rc == -ETIMEDOUT || rc == -EAGAIN;
		if (!open || p->store->capabilities & STORE_CREATE_ONLY || tries == CLAIM_TRIES ||
		    clock_monotonic_ns() > until || atomic_load(stop) || !may_claim_again(p, image, host, view))
			return rc;
	}
}

int epoch_release(struct pool *p, uint64_t image, const struct host *host, const struct log_view *view,
                  segment_no_t last, struct error *err)
{
	struct epoch_object o;
	int rc;

	if (view->owner_host != host->id || view->newest_epoch == 0)
		return error_set(err, -EPERM, "epoch %" PRIu64 " belongs to %s, not to this host", view->newest_epoch,
		                 view->owner_name);
	rc = epoch_object_get(p, image, view->newest_epoch, &o, err);
	if (rc)
		return rc;
	if (o.host != host->id && p->store->capabilities & STORE_CREATE_ONLY)
		return error_set(err, -EPERM, "epoch %" PRIu64 " belongs to %s, not to this host", view->newest_epoch,
		                 o.name);
	/* The object of one who lost, put late: the epoch is ours all the same. */
	if (o.host != host->id)
		epoch_object_new(host, &o);
	o.released = 1;
	o.last = last;
	return epoch_object_put(p, image, view->newest_epoch, &o, false, err);
}
