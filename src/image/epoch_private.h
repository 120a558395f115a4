/* SPDX-License-Identifier: GPL-3.0-only */
/* epoch_private.h: what the files behind epoch.h share. Private to src/image. */
#ifndef GARNER_IMAGE_EPOCH_PRIVATE_H
#define GARNER_IMAGE_EPOCH_PRIVATE_H

#include "image/epoch.h"

/* The most terms in one object. Longer lists go on in an older object, so that none ever outgrows OBJECT_BYTES_MAX. */
#define TERMS_PER_OBJECT 2048u

void epoch_key(uint64_t image, uint64_t epoch, char key[STORE_KEY_MAX + 1]);
void terms_key(uint64_t image, uint64_t epoch, char key[STORE_KEY_MAX + 1]);

/* Reads terms/<epoch> (and what it goes on in) into view->terms, replacing them, and whose it is into owner_host and owner_name
 * (0 and "" when that is not said, as in older pools). -ENOENT: this epoch has no term. */
int terms_load(struct pool *p, uint64_t image, uint64_t epoch, struct log_view *view, struct error *err);
/* Reads the terms of the newest epoch up to `epoch` that has some; none at all is success. */
int terms_load_newest(struct pool *p, uint64_t image, uint64_t epoch, struct log_view *view, struct error *err);

/* A dense sequence of objects in the store, of which one wants the last. */
struct probe_sequence {
	void (*key)(const void *arg, uint64_t number, char key[STORE_KEY_MAX + 1]);
	const void *arg;
};

/* Finds the last number of the run from..*last that exists without a gap, `from` itself being asked for too unless it is
 * 0. -ENOENT when `from` does not exist. Asks for 1, 2, 4 ... 32 numbers at a time. */
int probe_run(struct store *s, const struct probe_sequence *sequence, uint64_t from, uint64_t *last, struct error *err);

#endif
