/* SPDX-License-Identifier: GPL-3.0-only */
/* swift_listing.c: reads a page of a Swift container's listing, in JSON. */
#include "store/swift_listing.h"

#include "store/json_shape.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define HASH_TEXT_MAX 128
#define TIME_TEXT_MAX 64

/* An entry has five to ten values. */
static const struct json_shape shape_most = { .depth = 8, .values = (size_t)LISTED_MAX * 32 };

static int check_shape(const char *body, size_t len, struct error *err)
{
	struct json_shape shape = json_shape_of(body, len, shape_most);

	if (shape.depth > shape_most.depth)
		return error_set(err, -EBADMSG, "the server's listing is nested too deeply");
	if (shape.values > shape_most.values)
		return error_set(err, -EBADMSG, "the server's listing has more than %zu values", shape_most.values);
	return 0;
}

/* A string of `entry`, or "" when it has none. NULL when it is no string or longer than `max`. */
static const char *entry_text(const json_t *entry, const char *name, size_t max)
{
	const json_t *value = json_object_get(entry, name);

	if (!value)
		return "";
	return json_is_string(value) && json_string_length(value) <= max ? json_string_value(value) : NULL;
}

static uint64_t version_of(const char *hash, const char *modified)
{
	char both[HASH_TEXT_MAX + TIME_TEXT_MAX + 2];

	if (!*hash)
		return 0;
	(void)snprintf(both, sizeof both, "%s %s", hash, modified);
	return listed_version(both);
}

static int add_entry(struct listed_objects *objects, const json_t *entry, struct error *err)
{
	const char *name, *hash, *modified;
	const json_t *bytes;
	struct listed_object *object;

	if (!json_is_object(entry))
		return error_set(err, -EBADMSG, "the server's listing has an entry that is no object");
	if (json_object_get(entry, "subdir"))
		return 0;
	name = entry_text(entry, "name", LISTED_KEY_MAX);
	if (!name || !*name)
		return error_set(err, -EBADMSG, "the server lists an object without a name of 1 to %d bytes",
		                 LISTED_KEY_MAX);
	bytes = json_object_get(entry, "bytes");
	if (!json_is_integer(bytes) || json_integer_value(bytes) < 0)
		return error_set(err, -EBADMSG, "the server lists an object whose size is no number of bytes");
	hash = entry_text(entry, "hash", HASH_TEXT_MAX);
	modified = entry_text(entry, "last_modified", TIME_TEXT_MAX);
	if (!hash || !modified)
		return error_set(err, -EBADMSG,
		                 "the server lists an object whose hash or time is no text of that kind");
	object = listed_objects_add(objects);
	if (!object)
		return error_set(err, -ENOMEM, "out of memory while reading a listing");
	memcpy(object->key, name, strlen(name) + 1);
	object->size = (uint64_t)json_integer_value(bytes);
	object->version = version_of(hash, modified);
	return 0;
}

static int add_entries(struct swift_listing *listing, const json_t *array, struct error *err)
{
	int rc = 0;

	if (!json_is_array(array))
		return error_set(err, -EBADMSG, "the server's listing is no array");
	listing->entries = json_array_size(array);
	if (listing->entries > LISTED_MAX)
		return error_set(err, -EBADMSG, "the server lists more than the %d objects that were asked for",
		                 LISTED_MAX);
	for (size_t i = 0; i < listing->entries && rc == 0; i++)
		rc = add_entry(&listing->objects, json_array_get(array, i), err);
	return rc;
}

int swift_listing_parse(const void *body, size_t len, struct swift_listing *listing, struct error *err)
{
	json_error_t cause;
	json_t *array;
	int rc;

	*listing = (struct swift_listing){ 0 };
	if (len > SWIFT_BODY_MAX)
		return error_set(err, -EBADMSG, "the server's listing is longer than %d bytes", SWIFT_BODY_MAX);
	rc = check_shape(body, len, err);
	if (rc < 0)
		return rc;
	array = json_loadb(len ? body : "", len, JSON_REJECT_DUPLICATES, &cause);
	/* Not the parser's own words: they quote the server's. */
	if (!array && json_error_code(&cause) == json_error_out_of_memory)
		return error_set(err, -ENOMEM, "out of memory while reading a listing");
	if (!array)
		return error_set(err, -EBADMSG, "the server's listing is not JSON: see byte %d", cause.position);
	rc = add_entries(listing, array, err);
	json_decref(array);
	if (rc < 0)
		swift_listing_destroy(listing);
	return rc;
}

void swift_listing_destroy(struct swift_listing *listing)
{
	listed_objects_destroy(&listing->objects);
	*listing = (struct swift_listing){ 0 };
}
