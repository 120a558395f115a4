/* SPDX-License-Identifier: GPL-3.0-only */
/* pool_copy_image.c: one image of a copy: its log as of one moment, and who owned it.
 *
 * The moment: the end of the log is found under the terms that were read before, and then there is no newer epoch. Whoever takes
 * the image over later looks for the end after claiming its epoch, and so finds all of these segments. An epoch that is claimed
 * and has no term yet may turn out to begin earlier; then what a cut off host stored last is in the copy too, until it is
 * brought up to date: a disk as it was, of which one later state never came to be.
 */
#include "image/pool_copy_private.h"

#include "base/clock.h"
#include "base/hash.h"
#include "image/clean.h"
#include "image/layers.h"
#include "image/snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATE_TRIES 5
#define TERMS_DEPTH_MAX 1024u
#define EPOCHS_PER_BATCH 256u

/* ---- the moment -------------------------------------------------------------------------------------------------- */

static int find_end(struct image_copy *i, struct error *err)
{
	segment_no_t from;
	int rc = log_find_by_listing(i->c->from, i->image, &i->view, &from, err);

	return rc ? rc : log_find_end(i->c->from, i->image, &i->view, from, &i->end, err);
}

/* The object, and up to which segment it lets others be missing. */
static int read_cleaned(struct image_copy *i, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct cleaned cleaned = { 0 };
	int rc = cleaned_load(i->c->from, i->image, &cleaned, err);

	if (rc && rc != -ENOENT)
		return rc;
	i->cleaned = cleaned.segment;
	image_object_key(i->image, "cleaned", key);
	pool_copy_objects_free(&i->said, 1);
	return pool_copy_get_one(i->c, i->c->from->store, key, &i->said, err);
}

/* The head comes first, so that what it names is not past the end. */
static int read_log(struct image_copy *i, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	int rc;

	image_object_key(i->image, "head", key);
	pool_copy_objects_free(&i->head, 1);
	rc = pool_copy_get_one(i->c, i->c->from->store, key, &i->head, err);
	if (!rc)
		rc = read_cleaned(i, err);
	log_view_destroy(&i->view);
	if (!rc)
		rc = log_view_load(i->c->from, i->image, &i->view, err);
	if (!rc)
		rc = find_end(i, err);
	if (rc && ((rc != -ENOENT && rc != -EBADMSG) || !i->view.newest_epoch))
		return rc;
	/* Who took it over meanwhile may have cleaned away, or said so, what was looked for. */
	int newer = epoch_superseded(i->c->from, i->image, i->view.newest_epoch, err);
	return newer ? newer : rc;
}

/* The list of layers is added to before the log leads there, and removed when it does not any more: one that was not removed
 * meanwhile has all that the log leads to. */
static int read_state_once(struct image_copy *i, struct error *err)
{
	struct layer_list before = i->layers;
	int rc = read_log(i, err);

	if (rc)
		return rc;
	i->layers = (struct layer_list){ 0 };
	rc = pool_copy_layers_read(i, err);
	if (!rc && !pool_copy_layers_extend(&i->layers, &before))
		rc = 1;
	layer_list_destroy(&before);
	return rc;
}

static int read_state(struct image_copy *i, struct error *err)
{
	int rc = 1;

	for (int try = 0; try < STATE_TRIES && rc == 1; try++)
		rc = read_state_once(i, err);
	return rc == 1 ? error_set(err, -EAGAIN, "hosts keep taking the image over, or flattening it: run it again")
	               : rc;
}

/* ---- what the target has ----------------------------------------------------------------------------------------- */

/* The random number that tells who claimed an epoch. */
static int epoch_nonce(struct pool *p, const struct image_copy *i, uint64_t epoch, uint64_t *nonce, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct fields *f;
	int rc;

	epoch_key(i->image, epoch, key);
	rc = pool_get_object(p, key, OBJECT_EPOCH, &i->key, &f, err);
	if (rc)
		return rc;
	if (fields_hex64(f, "nonce", nonce))
		rc = error_set(err, -EBADMSG, "%s: a field is missing or damaged", key);
	fields_free(f);
	return rc;
}

static int was_changed(const struct image_copy *i, struct error *err)
{
	return error_set(err, -EEXIST,
	                 "in %s the image was opened for writing (by %s) since it was copied: it is no older copy, "
	                 "and is left alone",
	                 i->c->to->store->url, i->there.owner_name);
}

/* Whether both have the same terms object. */
static int same_terms(struct image_copy *i, uint64_t epoch, bool *same, struct error *err)
{
	struct copy_object mine, theirs = { 0 };
	char key[STORE_KEY_MAX + 1];
	int rc;

	terms_key(i->image, epoch, key);
	rc = pool_copy_get_one(i->c, i->c->from->store, key, &mine, err);
	if (!rc)
		rc = pool_copy_get_one(i->c, i->c->to->store, key, &theirs, err);
	*same = !rc && !mine.gone && !theirs.gone && mine.len == theirs.len &&
	        memcmp(mine.bytes, theirs.bytes, mine.len) == 0;
	pool_copy_objects_free(&mine, 1);
	pool_copy_objects_free(&theirs, 1);
	return rc;
}

/* What is there must be an earlier part of what is here: made by the same hosts' claims, and not in use. */
static int check_target(struct image_copy *i, struct error *err)
{
	uint64_t mine, theirs, newest;
	bool same = true;
	int rc = log_view_load(i->c->to, i->image, &i->there, err);

	if (rc)
		return error_prefix(err, rc, "in %s", i->c->to->store->url);
	newest = i->there.newest_epoch;
	if (newest == 0)
		return 0;
	if (newest > i->view.newest_epoch)
		return was_changed(i, err);
	rc = epoch_nonce(i->c->from, i, newest, &mine, err);
	if (!rc)
		rc = epoch_nonce(i->c->to, i, newest, &theirs, err);
	if (!rc && i->there.term_count)
		rc = same_terms(i, i->there.terms[i->there.term_count - 1].epoch, &same, err);
	if (rc)
		return rc;
	/* A copy never has a newest epoch that is not released, unless there is a newer one that it did not come to. */
	if (mine != theirs || !same || (newest == i->view.newest_epoch && !i->there.released))
		return was_changed(i, err);
	return 0;
}

/* ---- terms ------------------------------------------------------------------------------------------------------- */

/* The epoch in whose object the list goes on; 0: in none. */
static int terms_before(const struct image_copy *i, const struct copy_object *o, uint64_t *before, struct error *err)
{
	struct fields *f;
	int rc = object_decode(o->bytes, o->len, OBJECT_TERM, o->key, &i->key, &f, err);

	if (rc)
		return rc;
	rc = fields_hex64(f, "before", before);
	fields_free(f);
	if (rc == -ENOENT)
		*before = 0;
	return rc == -EBADMSG ? error_set(err, rc, "%s: its list of terms is damaged", o->key) : 0;
}

/* Those that the newest one goes on in, too. Any order: nobody reads them yet. */
static int copy_terms(struct image_copy *i, struct error *err)
{
	uint64_t epoch = i->view.term_count ? i->view.terms[i->view.term_count - 1].epoch : 0;
	char key[STORE_KEY_MAX + 1];
	int rc = 0;

	for (unsigned depth = 0; epoch && !rc; depth++) {
		struct copy_object o;
		uint64_t before = 0;

		terms_key(i->image, epoch, key);
		rc = pool_copy_get_one(i->c, i->c->from->store, key, &o, err);
		if (!rc && (o.gone || depth == TERMS_DEPTH_MAX))
			rc = error_set(err, -EBADMSG, "%s: missing, or one of too many", key);
		if (!rc)
			rc = terms_before(i, &o, &before, err);
		if (!rc && before >= epoch)
			rc = error_set(err, -EBADMSG, "%s: its list of terms is damaged", key);
		if (!rc)
			rc = pool_copy_put_one(i->c, &o, err);
		pool_copy_objects_free(&o, 1);
		epoch = before;
	}
	return rc;
}

/* ---- epochs ------------------------------------------------------------------------------------------------------ */

static int copy_epoch_batch(struct image_copy *i, uint64_t first, size_t count, struct error *err)
{
	struct copy_object *list = calloc(count, sizeof *list);
	int rc;

	if (!list)
		return -ENOMEM;
	for (size_t n = 0; n < count; n++)
		epoch_key(i->image, first + n, list[n].key);
	rc = pool_copy_get(i->c, i->c->from->store, list, count, err);
	for (size_t n = 0; n < count && !rc; n++)
		if (list[n].gone)
			rc = error_set(err, -EBADMSG, "%s is missing", list[n].key);
	if (!rc)
		rc = pool_copy_put(i->c, list, count, err);
	pool_copy_objects_free(list, count);
	free(list);
	return rc;
}

/* Those before the newest, as they are. */
static int copy_older_epochs(struct image_copy *i, struct error *err)
{
	uint64_t next = i->there.newest_epoch + 1, end = i->view.newest_epoch;
	int rc = 0;

	while (next < end && !rc) {
		uint64_t count = end - next < EPOCHS_PER_BATCH ? end - next : EPOCHS_PER_BATCH;

		rc = copy_epoch_batch(i, next, (size_t)count, err);
		next += count;
	}
	return rc;
}

/* The newest epoch as its owner would leave it after this last segment. */
static int make_released(const struct image_copy *i, struct copy_object *o, struct error *err)
{
	static const char *const names[] = { "host", "hostname", "time", "nonce" };
	struct fields *f, *released = fields_new();
	int rc = object_decode(o->bytes, o->len, OBJECT_EPOCH, o->key, &i->key, &f, err);

	if (rc || !released) {
		fields_free(released);
		if (!rc)
			fields_free(f);
		return rc ? rc : -ENOMEM;
	}
	for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
		const char *value = fields_text(f, names[n], 0);

		if (value)
			fields_add_text(released, names[n], value);
		else
			rc = error_set(err, -EBADMSG, "%s: a field is missing or damaged", o->key);
	}
	fields_free(f);
	fields_add_u64(released, "released", 1);
	fields_add_u64(released, "last", i->end);
	free(o->bytes);
	o->bytes = NULL;
	if (!rc)
		rc = object_encode(released, OBJECT_EPOCH, o->key, &i->key, &o->bytes, &o->len);
	fields_free(released);
	return rc;
}

/* From now on readers of the copy see all of it. */
static int copy_newest_epoch(struct image_copy *i, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct copy_object o;
	int rc;

	/* Both are at their ends: it is there. */
	if (i->there.newest_epoch == i->view.newest_epoch && i->view.released)
		return 0;
	epoch_key(i->image, i->view.newest_epoch, key);
	rc = pool_copy_get_one(i->c, i->c->from->store, key, &o, err);
	if (!rc && o.gone)
		rc = error_set(err, -EBADMSG, "%s is missing", key);
	if (!rc && !i->view.released)
		rc = make_released(i, &o, err);
	o.replace = i->there.newest_epoch == i->view.newest_epoch;
	if (!rc)
		rc = pool_copy_put_one(i->c, &o, err);
	pool_copy_objects_free(&o, 1);
	return rc;
}

/* ---- hints ------------------------------------------------------------------------------------------------------- */

/* A head that names what is not there would cost whoever trusts it a listing; none does as well. */
static bool head_fits(const struct image_copy *i)
{
	struct fields *f;
	uint64_t segment;
	bool fits;

	if (i->head.gone || object_decode(i->head.bytes, i->head.len, OBJECT_HEAD, i->head.key, &i->key, &f, NULL))
		return false;
	fits = fields_u64(f, "segment", &segment) == 0 && segment <= i->end;
	fields_free(f);
	return fits;
}

/* An object of the image that may be there, as it is now. */
static int copy_as_it_is(struct image_copy *i, const char *name, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct copy_object o;
	int rc;

	image_object_key(i->image, name, key);
	rc = pool_copy_get_one(i->c, i->c->from->store, key, &o, err);
	o.replace = true;
	if (!rc)
		rc = pool_copy_put_one(i->c, &o, err);
	pool_copy_objects_free(&o, 1);
	return rc;
}

static int copy_hints(struct image_copy *i, struct error *err)
{
	int rc = 0;

	i->head.replace = true;
	if (head_fits(i))
		rc = pool_copy_put_one(i->c, &i->head, err);
	return rc ? rc : copy_as_it_is(i, "trace", err);
}

/* ---- snapshots --------------------------------------------------------------------------------------------------- */

struct snapshots {
	struct image_copy *copy;
	struct hash *kept; /* ids of those that are in the target as they should be */
	struct error *err;
};

/* One that was made since the end was found waits for the next time. */
static int copy_snapshot(void *arg, const struct snapshot *s)
{
	struct snapshots *all = arg;
	int rc = s->segment > all->copy->end ? 0 : snapshot_save(all->copy->c->to, s, false, all->err);

	return rc || s->segment > all->copy->end ? rc : hash_put(all->kept, s->info.id, all);
}

/* What it is, and what it needs, is known to nobody. */
static int refuse_damaged(void *arg, const struct error *why)
{
	struct snapshots *all = arg;

	return error_set(all->err, -EBADMSG, "a snapshot cannot be read: %s", error_text(why));
}

/* A hold comes before the list that names it. */
static bool is_young_hold(const struct snapshot *s)
{
	uint64_t holder, hold;

	return layer_hold_parse(s->info.name, &holder, &hold) &&
	       (int64_t)(clock_wall_ns() - s->info.time_ns) < (int64_t)CLEAN_HOLD_GRACE_NS;
}

/* Whether the source still has it: 1, 0, or an error. A listing that lags may not have shown it. */
static int is_here(struct image_copy *i, const struct snapshot *s, struct error *err)
{
	struct snapshot here;
	int rc = snapshot_load_any(i->c->from, s->image, s->info.name, &here, err);

	return rc ? (rc == -ENOENT ? 0 : rc) : here.info.id == s->info.id;
}

/* A clone that was made in the target, or whose list of layers was not brought up to date yet, keeps what it holds. What nobody
 * needs any more goes with a later copy, or a cleaning there. */
static int remove_snapshot(void *arg, const struct snapshot *s)
{
	struct snapshots *all = arg;
	int rc;

	if (hash_get(all->kept, s->info.id) || is_young_hold(s))
		return 0;
	rc = pool_copy_hold_used(all->copy->c, s, all->err);
	if (!rc)
		rc = is_here(all->copy, s, all->err);
	if (!rc)
		rc = snapshot_remove(all->copy->c->to, s->image, s->info.name, all->err);
	return rc < 0 ? rc : 0;
}

static int copy_snapshots(struct image_copy *i, struct error *err)
{
	struct snapshots all = { i, hash_new(), err };
	int rc = all.kept ? 0 : error_set(err, -ENOMEM, "out of memory");

	if (!rc)
		rc = snapshot_list_checked(i->c->from, i->image, copy_snapshot, refuse_damaged, &all, err);
	if (!rc)
		rc = snapshot_list(i->c->to, i->image, remove_snapshot, &all, err);
	hash_free(all.kept);
	return rc;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

/* Whether the target was left alone meanwhile. */
static int check_unused(struct image_copy *i, struct error *err)
{
	int rc = epoch_superseded(i->c->to, i->image, i->view.newest_epoch, err);

	if (rc == 1)
		return error_set(err, -EBUSY, "in %s the image was opened for writing while it was copied",
		                 i->c->to->store->url);
	return rc;
}

static int copy_log(struct image_copy *i, struct error *err)
{
	int rc = pool_copy_segments(i, err);

	i->said.replace = true;
	if (!rc)
		rc = pool_copy_put_one(i->c, &i->said, err);
	if (!rc)
		rc = copy_terms(i, err);
	if (!rc)
		rc = copy_older_epochs(i, err);
	if (!rc)
		rc = copy_newest_epoch(i, err);
	if (!rc)
		rc = copy_hints(i, err);
	if (!rc)
		rc = copy_snapshots(i, err);
	return rc ? rc : check_unused(i, err);
}

/* What the image is a clone of comes first: it takes long, and what is read of the image's own log then is as new as it can be. */
static int copy_all(struct image_copy *i, struct error *err)
{
	int rc = pool_copy_layers_read(i, err);

	if (!rc)
		rc = pool_copy_layers_bases(i, err);
	if (!rc)
		rc = read_state(i, err);
	if (!rc)
		rc = pool_copy_layers_bases(i, err);
	if (!rc)
		rc = check_target(i, err);
	if (!rc)
		rc = pool_copy_layers_begin(i, err);
	/* One that was never opened for writing is a name, and a list of layers. */
	if (!rc && i->view.newest_epoch)
		rc = copy_log(i, err);
	if (!rc)
		rc = pool_copy_layers_end(i, err);
	return rc ? rc : copy_as_it_is(i, "policy", err);
}

int pool_copy_image_again(struct pool_copy *c, const struct catalog_entry *entry, struct error *err)
{
	struct image_copy i = { .c = c, .image = entry->id, .grain_bytes = entry->grain_bytes };
	int rc;

	i.counted = pool_copy_end_of(c, entry->id);
	image_key(&c->from->master, i.image, &i.key);
	rc = copy_all(&i, err);
	if (!rc && hash_put(c->copied, entry->id, (void *)(uintptr_t)(i.end + 1)))
		rc = -ENOMEM;
	pool_copy_objects_free(&i.head, 1);
	pool_copy_objects_free(&i.said, 1);
	layer_list_destroy(&i.layers);
	log_view_destroy(&i.view);
	log_view_destroy(&i.there);
	free(i.sizes);
	free(i.there_sizes);
	sodium_memzero(&i.key, sizeof i.key);
	return rc;
}

int pool_copy_image(struct pool_copy *c, const struct catalog_entry *entry, struct error *err)
{
	return hash_get(c->copied, entry->id) ? 0 : pool_copy_image_again(c, entry, err);
}

segment_no_t pool_copy_end_of(const struct pool_copy *c, uint64_t image)
{
	uintptr_t copied = (uintptr_t)hash_get(c->copied, image);

	return copied ? copied - 1 : 0;
}
