/* SPDX-License-Identifier: GPL-3.0-only */
/* catalog_private.h: what the files behind catalog.h share. Private to src/image.
 *
 * catalog.c reads, catalog_change.c changes, catalog_trash.c keeps the trash and walks, catalog_load.c gets many entries.
 */
#ifndef GARNER_IMAGE_CATALOG_PRIVATE_H
#define GARNER_IMAGE_CATALOG_PRIVATE_H

#include "image/catalog_cache.h"

#include <pthread.h>

struct catalog {
	struct pool *pool;
	struct map_db *db; /* may be NULL */
	bool read_only;    /* set once, before there are threads */

	/* One change of names at a time on this host, as a kernel does it for one directory. Held over calls to the store, which
	 * is why nothing that only reads takes it. Taken before `mutex`. */
	pthread_mutex_t changes;

	pthread_mutex_t mutex; /* guards what follows; never held over the store */
	struct catalog_cache *cache;
	uint64_t generation; /* of this host's changes: what was read before one is not remembered after it */
	struct catalog_entry root;
	bool damage_told; /* that an entry cannot be read */
};

/* Asks the store for one entry and remembers the answer; of two entries for one id settles which exists. -ENOENT. */
int catalog_read(struct catalog *c, const struct entry_place *place, struct catalog_entry *entry, struct error *err);

/* Reads a directory again if what is known is older than `max_age_ms`. */
int catalog_refresh(struct catalog *c, uint64_t dir, uint64_t max_age_ms, struct error *err);

/* After a change of this host's: forgets `gone` and remembers `entry` (either may be NULL). */
void catalog_changed(struct catalog *c, const struct entry_place *gone, const struct catalog_entry *entry);

/* One entry of a listing of the store. */
struct listed_entry {
	struct entry_place place;
	uint64_t version;
	int rc; /* 0; -ENOENT gone meanwhile; -EBADMSG, -EPROTONOSUPPORT: cannot be read, `text` says why; else the store's */
	struct catalog_entry entry; /* when rc is 0 */
	char *text;                 /* malloc'ed or NULL */
};

struct listed_entries {
	struct listed_entry *list;
	size_t count;
	bool strangers; /* there are objects that are no entries */
};

/* Whether listings show late what was put or removed (no STORE_LIST_CONSISTENT). Then they prove nothing: what they show is asked
 * for before it is believed, and so is what is remembered here and not shown. */
bool catalog_listings_lag(const struct catalog *c);

/* Lists the entries whose keys begin with `prefix`, and gets those whose version is not known, several at a time; where listings
 * lag all of them. Returns 0, or why the listing failed. To be destroyed by the caller in any case. */
int catalog_load(struct catalog *c, const char *prefix, struct listed_entries *entries, struct error *err);
/* The same of one directory; where listings lag also what is remembered of it. */
int catalog_load_dir(struct catalog *c, uint64_t dir, struct listed_entries *entries, struct error *err);
void listed_entries_destroy(struct listed_entries *entries);

/* Puts the mark that the image's data is to go, as soon as no entry names it. */
int trash_mark(struct catalog *c, const struct catalog_entry *entry, struct error *err);
int trash_unmark(struct catalog *c, uint64_t id, struct error *err);

#endif
