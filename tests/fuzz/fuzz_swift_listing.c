/* SPDX-License-Identifier: GPL-3.0-only */
/* fuzz_swift_listing.c: any bytes are a listing within the bounds, or are refused with a message. */
#include "store/swift_listing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void parse(const char *body, size_t len)
{
	struct swift_listing l;
	struct error err = { 0 };
	int rc = swift_listing_parse(body, len, &l, &err);

	if (rc < 0) {
		if ((rc != -EBADMSG && rc != -ENOMEM) || err.code != rc || !*error_text(&err) || l.objects.list ||
		    l.objects.count || l.entries)
			abort();
		return;
	}
	if (l.entries > LISTED_MAX || l.objects.count > l.entries)
		abort();
	for (size_t i = 0; i < l.objects.count; i++) {
		const struct listed_object *o = &l.objects.list[i];

		if (strnlen(o->key, sizeof o->key) == sizeof o->key || !*o->key || o->size > INT64_MAX)
			abort();
	}
	swift_listing_destroy(&l);
}

/* The bytes as a body, and as what follows the name of a good object. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char head[] = "[{\"name\":\"a\",\"bytes\":1,\"hash\":\"h\",", tail[] = "}]";
	char *body = malloc(sizeof head - 1 + len + sizeof tail - 1);

	if (!body)
		return 0;
	memcpy(body, head, sizeof head - 1);
	memcpy(body + sizeof head - 1, data, len);
	memcpy(body + sizeof head - 1 + len, tail, sizeof tail - 1);
	parse((const char *)data, len);
	parse(body, sizeof head - 1 + len + sizeof tail - 1);
	free(body);
	return 0;
}
