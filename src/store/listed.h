/* SPDX-License-Identifier: GPL-3.0-only */
/* listed.h: a page of a remote listing, as read from XML or JSON: what s3_xml.h and swift_listing.h have in common. Pure. */
#ifndef GARNER_STORE_LISTED_H
#define GARNER_STORE_LISTED_H

#include <stddef.h>
#include <stdint.h>

#define LISTED_KEY_MAX 1024 /* bytes of a key, in S3 and in Swift */
#define LISTED_MAX 1000     /* objects on a page: more were never asked for, and are refused */

/* One object, its whole key as the store knows it: with the prefix, and with any byte but 0. */
struct listed_object {
	char key[LISTED_KEY_MAX + 1];
	uint64_t size;
	uint64_t version; /* as in store_entry; 0: not known */
};

struct listed_objects {
	struct listed_object *list; /* in the order of the answer */
	size_t count;
	size_t room;
};

/* A new object at the end of the list, all zero, or NULL when memory is short. There may be LISTED_MAX of them: the
 * caller checks `count` before. */
struct listed_object *listed_objects_add(struct listed_objects *objects);
/* Frees the list and leaves it empty. */
void listed_objects_destroy(struct listed_objects *objects);

/* A number for an ETag, the same with and without quotes around it, and on every host. Never 0, but for NULL and "". */
uint64_t listed_version(const char *etag);

#endif
