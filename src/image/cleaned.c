/* SPDX-License-Identifier: GPL-3.0-only */
/* cleaned.c: the object that says up to which checkpoint an image's log was cleaned. */
#include "image/clean.h"

#include "image/private.h"

#include <errno.h>

int cleaned_load(struct pool *p, uint64_t image, struct cleaned *c, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct fields *f;
	int rc;

	rc = image_get_object(p, image, "cleaned", OBJECT_CLEANED, key, &f, err);
	if (rc)
		return rc;
	c->oldest = 0;
	if (fields_hex64(f, "epoch", &c->epoch) || fields_u64(f, "segment", &c->segment) ||
	    fields_hex64(f, "root", &c->root) || !c->segment || fields_u64(f, "oldest", &c->oldest) == -EBADMSG ||
	    c->oldest > c->segment)
		rc = error_set(err, -EBADMSG, "%s: a field is missing or damaged", key);
	if (!rc && !c->oldest)
		c->oldest = c->segment;
	fields_free(f);
	return rc;
}

int cleaned_save(struct pool *p, uint64_t image, const struct cleaned *c, struct error *err)
{
	struct fields *f = fields_new();
	int rc;

	if (!f)
		return error_set(err, -ENOMEM, "out of memory");
	fields_add_hex64(f, "epoch", c->epoch);
	fields_add_u64(f, "segment", c->segment);
	fields_add_hex64(f, "root", c->root);
	if (c->oldest && c->oldest != c->segment)
		fields_add_u64(f, "oldest", c->oldest);
	rc = image_put_object(p, image, "cleaned", OBJECT_CLEANED, f, err);
	fields_free(f);
	return rc;
}

bool cleaned_after(const struct cleaned *c, map_entry_t root)
{
	/* A root of another log is that with which a clone began: older than any of its own. */
	if (map_entry_layer(root) || map_entry_layer(c->root))
		return root != c->root && map_entry_layer(root);
	return root < c->root;
}

/* What a host says that stood still and was fenced may be put over what its successor has said, so what an older epoch says is not all that
 * may be: then nothing was cleaned for certain only when there is no later checkpoint, by which it would have been, or the map is of the newest
 * owner's. */
bool image_cleaned_after(const struct image *i, const struct cleaned *c, map_entry_t root, segment_no_t written)
{
	const struct log_view *v = &i->view;
	uint64_t owner = v->term_count ? v->terms[v->term_count - 1].epoch : 0;
	uint64_t epoch = map_entry_layer(root) ? 0 : log_view_epoch_of(v, map_entry_segment(root));

	return cleaned_after(c, root) || (c->epoch < owner && epoch < owner && i->end_checkpoint.segment > written);
}
