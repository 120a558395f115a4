/* SPDX-License-Identifier: GPL-3.0-only */
/* policy.c: see policy.h. */
#include "image/policy.h"

#include <errno.h>

int policy_load(struct pool *p, uint64_t image, struct policy *policy, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct fields *f;
	int rc;

	*policy = (struct policy){ 0 };
	rc = image_get_object(p, image, "policy", OBJECT_POLICY, key, &f, err);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	if (fields_u64(f, "history", &policy->history_s) == -EBADMSG)
		rc = error_set(err, -EBADMSG, "%s: a field is damaged", key);
	fields_free(f);
	return rc;
}

int policy_save(struct pool *p, uint64_t image, const struct policy *policy, struct error *err)
{
	struct fields *f = fields_new();
	int rc;

	if (!f)
		return error_set(err, -ENOMEM, "out of memory");
	fields_add_u64(f, "history", policy->history_s);
	rc = image_put_object(p, image, "policy", OBJECT_POLICY, f, err);
	fields_free(f);
	return rc;
}
