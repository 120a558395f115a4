/* SPDX-License-Identifier: GPL-3.0-only */
/* policy.c: see policy.h. */
#include "image/policy.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>

static void key_of(uint64_t image, char key[STORE_KEY_MAX + 1])
{
	snprintf(key, STORE_KEY_MAX + 1, "images/%016" PRIx64 "/policy", image);
}

int policy_load(struct pool *p, uint64_t image, struct policy *policy, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct seal_key sealing;
	struct fields *f;
	int rc;

	*policy = (struct policy){ 0 };
	key_of(image, key);
	image_key(&p->master, image, &sealing);
	rc = pool_get_object(p, key, OBJECT_POLICY, &sealing, &f, err);
	sodium_memzero(&sealing, sizeof sealing);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	if (fields_u64(f, "history", &policy->history_s) == -EBADMSG)
		rc = error_set(err, -EBADMSG, "%s: a field is damaged", key);
	fields_free(f);
	return rc;
}

int policy_save(struct pool *p, uint64_t image, const struct policy *policy, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct seal_key sealing;
	struct fields *f = fields_new();
	int rc;

	if (!f)
		return error_set(err, -ENOMEM, "out of memory");
	key_of(image, key);
	fields_add_u64(f, "history", policy->history_s);
	image_key(&p->master, image, &sealing);
	rc = pool_put_object(p, key, OBJECT_POLICY, &sealing, f, 0, err);
	sodium_memzero(&sealing, sizeof sealing);
	fields_free(f);
	return rc;
}
