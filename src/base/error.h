/* SPDX-License-Identifier: GPL-3.0-only */
/* error.h: a message for a person, carried beside an errno.
 *
 * Functions return 0 or a negative errno. One that can say more than the number takes a `struct error *` (which may be
 * NULL) and fills it where the cause is known: the object's name and what to do. It is printed once, at the top.
 */
#ifndef GARNER_BASE_ERROR_H
#define GARNER_BASE_ERROR_H

#include <stddef.h>

#define ERROR_TEXT_MAX 512

struct error {
	int code; /* negative errno, or 0 when nothing was set */
	char text[ERROR_TEXT_MAX];
};

/* Sets `err` (if not NULL) to `code` and the formatted text, and returns `code`. errno is preserved. Long text is cut
 * and marked with "...". Any thread; the caller owns `err`. */
int error_set(struct error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts "format: " in front of the text already in `err` and returns err's code, or `code` if err is NULL. When err holds
 * no text yet, the text becomes "format: <strerror>". Used on the way up to add the name of the thing. */
int error_prefix(struct error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The static analyser sees one file at a time: tell it that what comes back is the (negative) code. */
#ifdef __clang_analyzer__
#define error_set(err, code, ...) ((void)error_set(err, code, __VA_ARGS__), code)
#define error_prefix(err, code, ...) ((void)error_prefix(err, code, __VA_ARGS__), code)
#endif

/* The text, or strerror of the code when none was set. Never NULL. The result lives as long as `err`. */
const char *error_text(const struct error *err);

#endif
