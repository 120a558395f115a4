/* SPDX-License-Identifier: GPL-3.0-only */
/* catalog_cache.h: what a catalog remembers in memory: entries by place and by id, and which directories were listed.
 * Private to src/image. Knows no store and no lock: the catalog holds its mutex around every call.
 *
 * Two entries for one id may both be here (a rename that crashed, or is under way elsewhere). The one that counts is found
 * by id and in listings; the other only by its place, until the catalog has settled which of them exists.
 */
#ifndef GARNER_IMAGE_CATALOG_CACHE_H
#define GARNER_IMAGE_CATALOG_CACHE_H

#include "image/catalog_entry.h"

struct catalog_cache;

struct cached_entry {
	struct catalog_entry entry;
	struct entry_place place;
	uint64_t version; /* of the store's listing; 0: not known */
	uint64_t read_ns; /* monotonic: the store was asked no earlier than this */
};

struct catalog_cache *catalog_cache_new(void);
void catalog_cache_free(struct catalog_cache *cache);

/* Remembers what the store said (replacing what was known of that place). `*rival`: the place of another entry with the
 * same id, dir 0 when there is none. 0 or -ENOMEM. */
int catalog_cache_put(struct catalog_cache *cache, const struct catalog_entry *entry, const struct entry_place *place,
                      uint64_t version, uint64_t read_ns, struct entry_place *rival);
void catalog_cache_drop(struct catalog_cache *cache, const struct entry_place *place);

/* NULL when nothing is known. Valid until the next change. */
const struct cached_entry *catalog_cache_find(struct catalog_cache *cache, const struct entry_place *place);
const struct cached_entry *catalog_cache_find_id(struct catalog_cache *cache, uint64_t id);

/* The directory was listed, beginning at `listed_ns`, and everything seen was put with that time: forgets the others. */
int catalog_cache_listed(struct catalog_cache *cache, uint64_t dir, uint64_t listed_ns);
/* The listing does not show any more what does not exist. */
void catalog_cache_unlist(struct catalog_cache *cache, uint64_t dir);
/* When the directory was listed last; 0: never. */
uint64_t catalog_cache_listed_ns(struct catalog_cache *cache, uint64_t dir);

/* The places in a directory where an entry is remembered, `*places` malloc'ed. 0 or -ENOMEM. */
int catalog_cache_places(struct catalog_cache *cache, uint64_t dir, struct entry_place **places, size_t *count);

/* The entries of a directory, `*entries` malloc'ed. 0 or -ENOMEM. */
int catalog_cache_copy(struct catalog_cache *cache, uint64_t dir, struct catalog_entry **entries, size_t *count);

#endif
