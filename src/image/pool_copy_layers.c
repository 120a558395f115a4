/* SPDX-License-Identifier: GPL-3.0-only */
/* pool_copy_layers.c: what an image of a copy is a clone of: the logs that it leads to, and the list of them.
 *
 * The list is added to before the log leads there, and removed by flattening, after a checkpoint that needs no other log. So one that was
 * read around the moment of which the log is copied has all that is needed. The logs are copied before it, each with what the image holds
 * there: that this is in the target says that all of it was in the source while it was copied, and whatever becomes of the image in the
 * source later harms nothing.
 *
 * In a target that is a pool already a list that goes on with the one there is put before the segments that need it. One that was begun
 * anew must never be there with what was written before, nor the old one with what comes now. So the first segment that the target lacks
 * is put last: until then nobody sees those behind it, and the old list stays. Where the image has no layers any more it stays until the
 * end: the last checkpoint does not need it. Else one that cannot be read is there meanwhile, and who opens the image is told so.
 */
#include "image/pool_copy_private.h"

#include "base/hash.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* ---- the list ---------------------------------------------------------------------------------------------------- */

static int read_list(struct pool *p, uint64_t image, struct layer_list *list, struct error *err)
{
	int rc = layer_list_load(p, image, list, err);

	return rc == -ENOENT ? 0 : rc;
}

int pool_copy_layers_read(struct image_copy *i, struct error *err)
{
	layer_list_destroy(&i->layers);
	return read_list(i->c->from, i->image, &i->layers, err);
}

bool pool_copy_layers_extend(const struct layer_list *list, const struct layer_list *before)
{
	if (list->count < before->count)
		return false;
	for (size_t k = 0; k < before->count; k++)
		if (!layer_ref_equal(&list->refs[k], &before->refs[k]))
			return false;
	return true;
}

/* Of what is missing in the source: whether that is because the image leads there no more. Returns why the copy ends. */
static int why_missing(struct image_copy *i, int code, struct error *err)
{
	struct error other = { 0 };
	struct layer_list now;
	int rc = read_list(i->c->from, i->image, &now, &other);

	if (!rc && !pool_copy_layers_extend(&now, &i->layers))
		code = error_set(err, -EAGAIN, "it was flattened meanwhile: run it again");
	layer_list_destroy(&now);
	return code;
}

/* ---- the logs ---------------------------------------------------------------------------------------------------- */

/* Whether what the layer needs was copied: 1, 0, or an error. */
static int is_copied(struct image_copy *i, const struct layer_ref *ref, struct error *err)
{
	char name[SNAPSHOT_NAME_MAX + 1];
	struct snapshot held;
	int rc;

	if (!hash_get(i->c->copied, ref->image) || (ref->epoch && pool_copy_end_of(i->c, ref->image) < ref->last))
		return 0;
	layer_hold_name(i->image, ref->hold, name);
	rc = snapshot_load_any(i->c->to, ref->image, name, &held, err);
	if (rc)
		return rc == -ENOENT || rc == -EBADMSG ? 0 : rc;
	return 1;
}

/* The hold itself, when a listing did not show it. */
static int copy_hold(struct image_copy *i, const struct layer_ref *ref, struct error *err)
{
	char name[SNAPSHOT_NAME_MAX + 1];
	struct snapshot held;
	int rc;

	layer_hold_name(i->image, ref->hold, name);
	rc = snapshot_load_any(i->c->from, ref->image, name, &held, err);
	if (rc == -ENOENT || (!rc && held.segment > pool_copy_end_of(i->c, ref->image)))
		return error_set(err, -EBADMSG,
		                 "image %016" PRIx64
		                 " does not keep what is needed of it: garner verify tells more of the source",
		                 ref->image);
	return rc ? rc : snapshot_save(i->c->to, &held, false, err);
}

/* One that was copied before may have been shared from since. */
static int copy_base(struct image_copy *i, const struct layer_ref *ref, struct error *err)
{
	struct catalog_entry entry = { .id = ref->image, .grain_bytes = i->grain_bytes };
	int rc = is_copied(i, ref, err);

	if (rc)
		return rc < 0 ? rc : 0;
	rc = pool_copy_image_again(i->c, &entry, err);
	if (!rc)
		rc = is_copied(i, ref, err);
	if (!rc)
		rc = copy_hold(i, ref, err);
	return rc == -ENOENT || rc == -EBADMSG ? why_missing(i, rc, err) : rc < 0 ? rc : 0;
}

int pool_copy_layers_bases(struct image_copy *i, struct error *err)
{
	int rc = 0;

	/* Each has a list of its own: those after the first of a group are found on the way. */
	for (size_t k = 0; k < i->layers.count && !rc; k++)
		if (i->layers.refs[k].hold)
			rc = copy_base(i, &i->layers.refs[k], err);
	return rc;
}

/* ---- in the target ----------------------------------------------------------------------------------------------- */

int pool_copy_hold_used(struct pool_copy *c, const struct snapshot *s, struct error *err)
{
	uint64_t holder, hold;
	struct layer_list list;
	int rc, used = 0;

	if (!layer_hold_parse(s->info.name, &holder, &hold))
		return 0;
	rc = layer_list_load(c->to, holder, &list, err);
	/* One that cannot be read may name it. */
	if (rc)
		return rc == -EBADMSG ? 1 : rc == -ENOENT ? 0 : rc;
	for (size_t k = 0; k < list.count; k++)
		used |= list.refs[k].image == s->image && list.refs[k].hold == hold;
	layer_list_destroy(&list);
	return used;
}

struct needing {
	struct pool_copy *c;
	uint64_t holder;
	struct error *err;
};

/* A hold of a moment that leads to other logs: what needs these is what the image holds there. */
static int needs_layers(void *arg, const struct snapshot *s)
{
	struct needing *n = arg;
	uint64_t hold;

	return s->layers && layer_hold_parse(s->info.name, &n->holder, &hold) ? pool_copy_hold_used(n->c, s, n->err)
	                                                                      : 0;
}

int pool_copy_layers_turn(struct image_copy *i, struct error *err)
{
	i->turned = true;
	struct fields *f = i->layers.count ? fields_new() : NULL;
	int rc;

	if (!i->layers.count)
		return 0;
	if (!f)
		return -ENOMEM;
	fields_add_u64(f, "copying", 1);
	rc = image_put_object(i->c->to, i->image, "layers", OBJECT_LAYERS, f, err);
	fields_free(f);
	return rc;
}

/* The image was flattened. A clone of what it was before, which the source does not have any more, or not like that, needs the list still.
 * One that has no layers now can do with the old list; one that has others cannot. */
static int drop_old_list(struct image_copy *i, struct error *err)
{
	struct needing needing = { .c = i->c, .err = err };
	int rc = snapshot_list(i->c->to, i->image, needs_layers, &needing, err);

	if (rc < 0)
		return rc;
	if (rc && i->layers.count)
		return error_set(
			err, -EEXIST,
			"in %s image %016" PRIx64
			" is a clone of it as it was before it was flattened: copy that one by its name first, "
			"or delete it there",
			i->c->to->store->url, needing.holder);
	i->relist = !rc;
	return 0;
}

int pool_copy_layers_begin(struct image_copy *i, struct error *err)
{
	struct layer_list there;
	int rc = read_list(i->c->to, i->image, &there, err);
	bool goes_on = !rc && pool_copy_layers_extend(&i->layers, &there), longer = i->layers.count > there.count;

	layer_list_destroy(&there);
	/* One that cannot be read is of no use to anybody. */
	i->relist = rc == -EBADMSG;
	if (rc)
		return rc == -EBADMSG ? 0 : rc;
	if (!goes_on)
		return drop_old_list(i, err);
	return longer ? layer_list_save(i->c->to, i->image, &i->layers, err) : 0;
}

int pool_copy_layers_end(struct image_copy *i, struct error *err)
{
	if (!i->relist)
		return 0;
	return i->layers.count ? layer_list_save(i->c->to, i->image, &i->layers, err)
	                       : layer_list_remove(i->c->to, i->image, err);
}
