/* SPDX-License-Identifier: GPL-3.0-only */
/* head.c: an image's head: a hint where its newest checkpoint is. Whoever uses it verifies it. */
#include "image/epoch.h"

#include <errno.h>

static int head_parse(const struct fields *f, struct head *head)
{
	uint64_t record;

	if (fields_hex64(f, "epoch", &head->epoch) || fields_u64(f, "segment", &head->checkpoint.segment) ||
	    fields_u64(f, "record", &record) || fields_u64(f, "size", &head->size) ||
	    fields_u64(f, "allocated", &head->allocated) || fields_u64(f, "mtime", &head->mtime_ns) ||
	    fields_u64(f, "grain", &head->grain_bytes) || record > UINT32_MAX)
		return -EBADMSG;
	head->checkpoint.record = (uint32_t)record;
	return 0;
}

int head_load(struct pool *p, uint64_t image, struct head *head, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct fields *f;
	int rc;

	rc = image_get_object(p, image, "head", OBJECT_HEAD, key, &f, err);
	if (rc)
		return rc;
	rc = head_parse(f, head);
	fields_free(f);
	return rc ? error_set(err, rc, "%s: a field is missing or damaged", key) : 0;
}

int head_save(struct pool *p, uint64_t image, const struct head *head, struct error *err)
{
	struct fields *f = fields_new();
	int rc;

	if (!f)
		return -ENOMEM;
	fields_add_hex64(f, "epoch", head->epoch);
	fields_add_u64(f, "segment", head->checkpoint.segment);
	fields_add_u64(f, "record", head->checkpoint.record);
	fields_add_u64(f, "size", head->size);
	fields_add_u64(f, "allocated", head->allocated);
	fields_add_u64(f, "mtime", head->mtime_ns);
	fields_add_u64(f, "grain", head->grain_bytes);
	rc = image_put_object(p, image, "head", OBJECT_HEAD, f, err);
	fields_free(f);
	return rc;
}
