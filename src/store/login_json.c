/* SPDX-License-Identifier: GPL-3.0-only */
/* login_json.c: JSON that has secrets in it. Must never put any of it into a message. */
#include "store/login_json.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

json_t *login_json_parse(const char *text, size_t length, const char *who, struct error *err)
{
	/* The parser's own words quote what it read. */
	json_error_t where;
	json_t *json = json_loadb(text, length, 0, &where);

	if (!json)
		error_set(err, -EPROTO, "what %s answered is not JSON (line %d, column %d); is it the right server?",
		          who, where.line, where.column);
	else if (!json_is_object(json)) {
		error_set(err, -EPROTO, "what %s answered is not a JSON object; is it the right server?", who);
		login_json_free(json);
		json = NULL;
	}
	sodium_memzero(&where, sizeof where);
	return json;
}

const char *login_json_string(const json_t *object, const char *key, size_t most)
{
	const char *text = json_string_value(json_object_get(object, key));
	size_t length = text ? strlen(text) : 0;

	if (length == 0 || length > most || length != json_string_length(json_object_get(object, key)))
		return NULL;
	for (const char *p = text; *p; p++)
		if (*p <= ' ' || *p > '~')
			return NULL;
	return text;
}

char *login_json_print(const json_t *json, size_t *length)
{
	size_t room = json_dumpb(json, NULL, 0, JSON_COMPACT);
	char *text = room ? malloc(room + 1) : NULL;

	if (!text)
		return NULL;
	*length = json_dumpb(json, text, room, JSON_COMPACT);
	text[room] = '\0';
	if (*length == room)
		return text;
	sodium_memzero(text, room);
	free(text);
	return NULL;
}

/* As deep as jansson reads (JSON_PARSER_MAX_DEPTH). */
static void wipe(json_t *json)
{
	const char *key;
	json_t *value;
	size_t i;

	if (json_is_string(json))
		sodium_memzero((char *)(uintptr_t)json_string_value(json), json_string_length(json));
	json_object_foreach(json, key, value) wipe(value);
	json_array_foreach(json, i, value) wipe(value);
}

void login_json_free(json_t *json)
{
	if (json)
		wipe(json);
	json_decref(json);
}
