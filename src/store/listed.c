/* SPDX-License-Identifier: GPL-3.0-only */
/* listed.c: the objects of a page. */
#include "store/listed.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

struct listed_object *listed_objects_add(struct listed_objects *objects)
{
	if (objects->count == objects->room) {
		size_t room = objects->room ? 2 * objects->room : 16;
		struct listed_object *list = reallocarray(objects->list, room, sizeof *list);

		if (!list)
			return NULL;
		objects->list = list;
		objects->room = room;
	}
	objects->list[objects->count] = (struct listed_object){ 0 };
	return &objects->list[objects->count++];
}

void listed_objects_destroy(struct listed_objects *objects)
{
	free(objects->list);
	*objects = (struct listed_objects){ 0 };
}

uint64_t listed_version(const char *etag)
{
	unsigned char hash[crypto_generichash_BYTES_MIN];
	uint64_t version = 0;
	size_t len = etag ? strlen(etag) : 0;

	if (len >= 2 && etag[0] == '"' && etag[len - 1] == '"') {
		etag++;
		len -= 2;
	}
	if (len == 0)
		return 0;
	crypto_generichash(hash, sizeof hash, (const unsigned char *)etag, len, NULL, 0);
	for (size_t i = 0; i < sizeof version; i++)
		version = version << 8 | hash[i];
	return version ? version : 1;
}
