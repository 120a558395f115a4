/* SPDX-License-Identifier: GPL-3.0-only */
/* json_shape.h: how much a parser would make of a text that somebody else has sent. Pure. */
#ifndef GARNER_STORE_JSON_SHAPE_H
#define GARNER_STORE_JSON_SHAPE_H

#include <stddef.h>

struct json_shape {
	size_t depth;  /* of nested arrays and objects */
	size_t values; /* commas and opening brackets, outside strings: hardly fewer than a parser makes values */
};

/* Counts up to what exceeds `most` in either. A few bytes of JSON can cost a parser hundreds of memory each, so that the length of a
 * text alone bounds nothing. Does not judge whether it is JSON. */
struct json_shape json_shape_of(const char *text, size_t length, struct json_shape most);

#endif
