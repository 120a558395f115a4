/* SPDX-License-Identifier: GPL-3.0-only */
/* object_heads.h: the first bytes of the segment objects that were read last.
 *
 * Who opens an image asks for the header of its newest segment, its index, its table, and the chunks with the checkpoint and the
 * map's root, one after another. One request has brought most of that, or all of it when the segment is small, as one that ends
 * with a checkpoint is. What is kept is verified by who uses it, as what comes from the store is; objects do not change.
 */
#ifndef GARNER_CACHE_OBJECT_HEADS_H
#define GARNER_CACHE_OBJECT_HEADS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct object_heads;

/* NULL when memory is short. All calls may be made on any thread. */
struct object_heads *object_heads_new(void);
void object_heads_free(struct object_heads *h); /* NULL is ignored */

/* Keeps a copy of the first `len` bytes of the object; `whole`: it has no more. Some are kept at a time, each for a few seconds. */
void object_heads_keep(struct object_heads *h, const char *key, const uint8_t *bytes, size_t len, bool whole);

/* Copies [offset, offset+*len) of the object to `buf`, as store_get() would; fewer, and *len says how many, where the object ends.
 * False when not all of that is here. */
bool object_heads_read(struct object_heads *h, const char *key, uint64_t offset, uint8_t *buf, size_t *len);

/* What is kept of the object has turned out to be damaged. */
void object_heads_drop(struct object_heads *h, const char *key);

#endif
