/* SPDX-License-Identifier: GPL-3.0-only */
/* policy.h: what is wanted of one image: object images/<id>/policy, sealed with the image key. Private to src/image.
 *
 * It may be put by any host; the owner looks at it when it becomes the owner, when it is put there, and every minute while it is written.
 * Blocks on the store.
 */
#ifndef GARNER_IMAGE_POLICY_H
#define GARNER_IMAGE_POLICY_H

#include "image/pool.h"

struct policy {
	uint64_t history_s; /* every moment of the last so many seconds can be had; 0: none is kept for its own sake */
};

/* Zeros when nothing was ever said. */
int policy_load(struct pool *p, uint64_t image, struct policy *policy, struct error *err);
int policy_save(struct pool *p, uint64_t image, const struct policy *policy, struct error *err);

#endif
