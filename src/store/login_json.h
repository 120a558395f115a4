/* SPDX-License-Identifier: GPL-3.0-only */
/* login_json.h: JSON that has secrets in it. (jansson's own buffers are freed, but not wiped.) */
#ifndef GARNER_STORE_LOGIN_JSON_H
#define GARNER_STORE_LOGIN_JSON_H

#include "base/error.h"

#include <jansson.h>
#include <stddef.h>

/* Reads an object. NULL with `err` (-EPROTO) when `text` is none; what `who` answered is not quoted. Free with
 * login_json_free(). */
json_t *login_json_parse(const char *text, size_t length, const char *who, struct error *err);

/* The string at `key` of `object`, or NULL when there is none or it is empty or longer than `most` bytes or has
 * anything in it but printable ASCII: such a string cannot be part of a header. */
const char *login_json_string(const json_t *object, const char *key, size_t most);

/* Writes `json` into a new buffer that the caller wipes and frees. NULL when memory is short. */
char *login_json_print(const json_t *json, size_t *length);

/* Wipes all strings and drops the reference, which must be the only one. NULL is ignored. */
void login_json_free(json_t *json);

#endif
