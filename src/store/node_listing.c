/* SPDX-License-Identifier: GPL-3.0-only */
/* node_listing.c: reads a storage node's listing. */
#include "store/node_listing.h"

#include "store/json_shape.h"
#include "store/object_version.h"
#include "store/store.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static const struct json_shape shape_most = { .depth = 3, .values = (size_t)LISTED_MAX * 4 + 8 };

static int check_shape(const char *body, size_t length, struct error *err)
{
	struct json_shape shape = json_shape_of(body, length, shape_most);

	if (shape.depth > shape_most.depth || shape.values > shape_most.values)
		return error_set(err, -EBADMSG, "the node's listing has more in it than a page");
	return 0;
}

static int add_entry(struct listed_objects *objects, const json_t *entry, struct error *err)
{
	const json_t *size = json_object_get(entry, "size");
	const char *key = json_string_value(json_object_get(entry, "key"));
	const char *version = json_string_value(json_object_get(entry, "version"));
	struct object_version parsed;
	struct listed_object *object;

	if (!key || !store_key_valid(key))
		return error_set(err, -EBADMSG, "the node lists an object whose key cannot be one");
	if (!json_is_integer(size) || json_integer_value(size) < 0)
		return error_set(err, -EBADMSG, "the node lists an object whose size is no number of bytes");
	if (!version || object_version_parse(version, &parsed))
		return error_set(err, -EBADMSG, "the node lists an object without a version");
	object = listed_objects_add(objects);
	if (!object)
		return error_set(err, -ENOMEM, "out of memory while reading a listing");
	snprintf(object->key, sizeof object->key, "%s", key);
	object->size = (uint64_t)json_integer_value(size);
	object->version = listed_version(version);
	return 0;
}

static int add_entries(const json_t *page, struct listed_objects *objects, bool *more, struct error *err)
{
	const json_t *list = json_object_get(page, "objects"), *flag = json_object_get(page, "more");
	int rc = 0;

	if (!json_is_array(list) || !json_is_boolean(flag))
		return error_set(err, -EBADMSG, "the node's listing is none");
	if (json_array_size(list) > LISTED_MAX)
		return error_set(err, -EBADMSG, "the node lists more than the %d objects that were asked for",
		                 LISTED_MAX);
	for (size_t i = 0; i < json_array_size(list) && !rc; i++)
		rc = add_entry(objects, json_array_get(list, i), err);
	*more = json_is_true(flag);
	return rc;
}

int node_listing_parse(const void *body, size_t length, struct listed_objects *objects, bool *more, struct error *err)
{
	json_error_t cause;
	json_t *page;
	int rc;

	*objects = (struct listed_objects){ 0 };
	*more = false;
	if (length > NODE_LISTING_MAX)
		return error_set(err, -EBADMSG, "the node's listing is longer than %d bytes", NODE_LISTING_MAX);
	rc = check_shape(body, length, err);
	if (rc)
		return rc;
	page = json_loadb(length ? body : "", length, JSON_REJECT_DUPLICATES, &cause);
	if (!page && json_error_code(&cause) == json_error_out_of_memory)
		return error_set(err, -ENOMEM, "out of memory while reading a listing");
	if (!page)
		return error_set(err, -EBADMSG, "the node's listing is not JSON: see byte %d", cause.position);
	rc = add_entries(page, objects, more, err);
	json_decref(page);
	return rc;
}
