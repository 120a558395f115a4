/* SPDX-License-Identifier: GPL-3.0-only */
/* json_shape.c: counts brackets and commas outside strings. */
#include "store/json_shape.h"

#include <stdbool.h>

struct json_shape json_shape_of(const char *text, size_t length, struct json_shape most)
{
	struct json_shape shape = { 0 };
	size_t depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < length && shape.depth <= most.depth && shape.values <= most.values; i++) {
		char c = text[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
			continue;
		}
		in_string = c == '"';
		if (c == '[' || c == '{')
			depth++;
		else if ((c == ']' || c == '}') && depth > 0)
			depth--;
		shape.depth = depth > shape.depth ? depth : shape.depth;
		shape.values += c == '[' || c == '{' || c == ',';
	}
	return shape;
}
