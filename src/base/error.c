/* SPDX-License-Identifier: GPL-3.0-only */
/* error.c: a message for a person, carried beside an errno. */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Ends a text that did not fit with "...", not in the middle of a UTF-8 character. */
static void mark_cut(char text[ERROR_TEXT_MAX])
{
	size_t end = ERROR_TEXT_MAX - sizeof "...";

	while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80)
		end--;
	memcpy(text + end, "...", sizeof "...");
}

/* In parentheses because of the macros that the static analyser sees. */
int(error_set)(struct error *err, int code, const char *format, ...)
{
	int saved = errno;
	va_list args;

	if (!err)
		return code;
	va_start(args, format);
	int len = vsnprintf(err->text, sizeof err->text, format, args);
	va_end(args);
	if (len < 0)
		err->text[0] = '\0';
	else if ((size_t)len >= sizeof err->text)
		mark_cut(err->text);
	err->code = code;
	errno = saved;
	return code;
}

int(error_prefix)(struct error *err, int code, const char *format, ...)
{
	int saved = errno;
	char rest[ERROR_TEXT_MAX];
	va_list args;

	if (!err)
		return code;
	if (!err->text[0])
		err->code = code;
	(void)snprintf(rest, sizeof rest, "%s", err->text[0] ? err->text : strerror(-code));

	va_start(args, format);
	int len = vsnprintf(err->text, sizeof err->text, format, args);
	va_end(args);
	if (len < 0) {
		memcpy(err->text, rest, sizeof rest);
	} else if ((size_t)len >= sizeof err->text) {
		mark_cut(err->text);
	} else {
		size_t room = sizeof err->text - (size_t)len;
		int more = snprintf(err->text + len, room, ": %s", rest);
		if (more < 0 || (size_t)more >= room)
			mark_cut(err->text);
	}
	errno = saved;
	return err->code;
}

const char *error_text(const struct error *err)
{
	return err->text[0] ? err->text : strerror(-err->code);
}
