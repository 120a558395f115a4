/* SPDX-License-Identifier: GPL-3.0-only */
/* catalog_entry.h: one directory entry as an object in the store: its key, its bytes, and which of two counts. Private to
 * src/image.
 *
 * The root's own attributes are the entry with parent 0 and an empty name; its key is names/root.
 */
#ifndef GARNER_IMAGE_CATALOG_ENTRY_H
#define GARNER_IMAGE_CATALOG_ENTRY_H

#include "image/catalog.h"

#define ENTRY_HASH_BYTES 16
#define ENTRY_BYTES_MAX 8192 /* no entry's object is larger */

/* Where an entry is: its directory and the hash of its name. */
struct entry_place {
	uint64_t dir;
	uint8_t hash[ENTRY_HASH_BYTES];
};

/* 0, -EINVAL (empty, ".", "..", with '/'), -ENAMETOOLONG. */
int entry_name_check(const char *name, struct error *err);

struct entry_place entry_place(const struct pool *p, uint64_t dir, const char *name);
bool entry_place_equal(const struct entry_place *a, const struct entry_place *b);

void entry_key(const struct entry_place *place, char key[STORE_KEY_MAX + 1]);
/* "names/<dir id>/" */
void entry_prefix(uint64_t dir, char prefix[STORE_KEY_MAX + 1]);
/* False for what is no entry's key, and for names/root. */
bool entry_key_parse(const char *key, struct entry_place *place);

/* -EBADMSG also when the entry does not belong at that place. */
int entry_decode(const struct pool *p, const struct entry_place *place, const uint8_t *bytes, size_t len,
                 struct catalog_entry *entry, struct error *err);

/* Get and put; block on the store. */
int entry_read(struct pool *p, const struct entry_place *place, struct catalog_entry *entry, struct error *err);
int entry_write(struct pool *p, const struct catalog_entry *entry, unsigned put_flags, struct error *err);
int entry_remove(struct pool *p, const struct entry_place *place, struct error *err);

/* Of two entries for one id: whether `a` is the one that counts. The same answer on every host. */
bool entry_counts_over(const struct catalog_entry *a, const struct entry_place *a_place, const struct catalog_entry *b,
                       const struct entry_place *b_place);

#endif
