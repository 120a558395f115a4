/* SPDX-License-Identifier: GPL-3.0-only */
/* etcd_json.c: keys and values are base64 there, and numbers of 64 bits are strings; what is false, zero or empty is left out. */
#include "node/etcd_json.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VARIANT sodium_base64_VARIANT_ORIGINAL

/* ---- requests ---- */

static char *base64(const void *bytes, size_t length)
{
	size_t room = sodium_base64_encoded_len(length, VARIANT);
	char *text = malloc(room);

	return text ? sodium_bin2base64(text, room, bytes, length, VARIANT) : NULL;
}

char *etcd_range_body(const char *key)
{
	char *name = base64(key, strlen(key)), *body = NULL;

	if (name && asprintf(&body, "{\"key\":\"%s\"}", name) < 0)
		body = NULL;
	free(name);
	return body;
}

/* Texts may be NULL: memory was short. */
static char *compare(const char *name, int64_t revision)
{
	char *text = NULL;

	if (!name ||
	    asprintf(&text, "{\"key\":\"%s\",\"target\":\"MOD\",\"result\":\"EQUAL\",\"mod_revision\":\"%" PRId64 "\"}",
	             name, revision) < 0)
		return NULL;
	return text;
}

static char *put(const char *name, const char *value)
{
	char *text = NULL;

	if (!name || !value || asprintf(&text, "{\"request_put\":{\"key\":\"%s\",\"value\":\"%s\"}}", name, value) < 0)
		return NULL;
	return text;
}

static char *erase(const char *name)
{
	char *text = NULL;

	if (!name || asprintf(&text, "{\"request_delete_range\":{\"key\":\"%s\"}}", name) < 0)
		return NULL;
	return text;
}

static char *transaction(const char *name, const char *compares[2], const char *changes[2])
{
	char *body = NULL;

	if (!name || !compares[0] || !changes[0] ||
	    asprintf(&body,
	             "{\"compare\":[%s%s%s],\"success\":[%s%s%s],"
	             "\"failure\":[{\"request_range\":{\"key\":\"%s\"}}]}",
	             compares[0], compares[1] ? "," : "", compares[1] ? compares[1] : "", changes[0],
	             changes[1] ? "," : "", changes[1] ? changes[1] : "", name) < 0)
		return NULL;
	return body;
}

char *etcd_txn_body(const char *key, int64_t revision, const void *value, size_t length, const struct etcd_guard *guard)
{
	char *name = base64(key, strlen(key)), *text = base64(value ? value : "", value ? length : 0);
	char *other = guard ? base64(guard->key, strlen(guard->key)) : NULL, *body = NULL;
	char *compares[2] = { compare(name, revision), guard && value ? compare(other, guard->revision) : NULL };
	char *changes[2] = { value ? put(name, text) : erase(name), guard && !value ? put(other, "") : NULL };

	if (!guard || compares[1] || changes[1])
		body = transaction(name, (const char *[]){ compares[0], compares[1] },
		                   (const char *[]){ changes[0], changes[1] });
	for (int k = 0; k < 2; k++) {
		free(compares[k]);
		free(changes[k]);
	}
	free(other);
	free(text);
	free(name);
	return body;
}

/* ---- answers ---- */

static int no_answer(struct error *err)
{
	return error_set(err, -EPROTO, "what answers is not etcd, or one that is not understood");
}

static json_t *parse(const void *body, size_t length, struct error *err)
{
	json_t *answer = json_loadb(length ? body : "", length, JSON_REJECT_DUPLICATES, NULL);

	/* An empty answer means that there is nothing: it has to be etcd's. */
	if (json_is_string(json_object_get(json_object_get(answer, "header"), "cluster_id")))
		return answer;
	json_decref(answer);
	no_answer(err);
	return NULL;
}

/* A number as etcd writes it: a string of digits. */
static int number(const json_t *value, int64_t *n)
{
	const char *text = json_string_value(value);
	char *end;

	if (!text || *text < '1' || *text > '9')
		return -EPROTO;
	errno = 0;
	*n = strtoll(text, &end, 10);
	return *end || errno ? -EPROTO : 0;
}

/* Decodes base64, which is left out when it stands for nothing. */
static int decode(const json_t *text, size_t max, uint8_t **bytes, size_t *length)
{
	size_t chars = text ? json_string_length(text) : 0, room = chars / 4 * 3 + 3;
	const char *from = text ? json_string_value(text) : "";

	if (!from || chars > (max + 2) / 3 * 4)
		return -EPROTO;
	*bytes = malloc(room);
	if (!*bytes)
		return -ENOMEM;
	if (sodium_base642bin(*bytes, room, from, chars, NULL, length, NULL, VARIANT) == 0 && *length <= max)
		return 0;
	free(*bytes);
	*bytes = NULL;
	return -EPROTO;
}

/* The answer to a request for one key: `range` has "kvs" of one entry or none. */
static int read_range(const json_t *range, const char *key, size_t value_max, struct etcd_found *found)
{
	const json_t *list = json_object_get(range, "kvs"), *entry;
	uint8_t *name = NULL;
	size_t length = 0;
	int rc;

	if (!list)
		return 0;
	entry = json_array_get(list, 0);
	if (json_array_size(list) != 1 || !json_is_object(entry))
		return -EPROTO;
	rc = decode(json_object_get(entry, "key"), strlen(key), &name, &length);
	if (!rc && (length != strlen(key) || memcmp(name, key, length) != 0))
		rc = -EPROTO;
	free(name);
	if (!rc)
		rc = number(json_object_get(entry, "mod_revision"), &found->revision);
	if (!rc)
		rc = decode(json_object_get(entry, "value"), value_max, &found->value, &found->length);
	return rc;
}

static int finish(json_t *answer, int rc, struct etcd_found *found, struct error *err)
{
	json_decref(answer);
	if (!rc)
		return 0;
	free(found->value);
	*found = (struct etcd_found){ 0 };
	return rc == -ENOMEM ? error_set(err, rc, "out of memory for an answer of etcd") : no_answer(err);
}

int etcd_range_parse(const void *body, size_t length, const char *key, size_t value_max, struct etcd_found *found,
                     struct error *err)
{
	json_t *answer = parse(body, length, err);

	*found = (struct etcd_found){ 0 };
	if (!answer)
		return -EPROTO;
	return finish(answer, read_range(answer, key, value_max, found), found, err);
}

int etcd_txn_parse(const void *body, size_t length, const char *key, size_t value_max, bool *done,
                   struct etcd_found *found, struct error *err)
{
	json_t *answer = parse(body, length, err);
	const json_t *responses, *range, *succeeded;
	int rc = 0;

	*found = (struct etcd_found){ 0 };
	if (!answer)
		return -EPROTO;
	succeeded = json_object_get(answer, "succeeded");
	responses = json_object_get(answer, "responses");
	*done = json_is_true(succeeded);
	range = json_object_get(json_array_get(responses, 0), "response_range");
	if ((succeeded && !json_is_boolean(succeeded)) || json_array_size(responses) < 1 ||
	    (!*done && json_array_size(responses) != 1))
		rc = -EPROTO;
	else if (!*done)
		rc = json_is_object(range) ? read_range(range, key, value_max, found) : -EPROTO;
	return finish(answer, rc, found, err);
}

const char *etcd_fault_text(const char *body, size_t length, char text[ETCD_FAULT_TEXT])
{
	json_t *answer = json_loadb(length ? body : "", length, 0, NULL);
	const char *said = json_string_value(json_object_get(answer, "error"));

	if (!said)
		said = json_string_value(json_object_get(answer, "message"));
	snprintf(text, ETCD_FAULT_TEXT, "%s", said ? said : "no reason given");
	for (char *p = text; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
	json_decref(answer);
	return text;
}
