/* SPDX-License-Identifier: GPL-3.0-only */
/* size.h: sizes and durations as people write them. */
#ifndef GARNER_BASE_SIZE_H
#define GARNER_BASE_SIZE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* Reads "512", "10G", "4K", "1.5T", "8MiB" (powers of 1024; an optional "B" or "iB" after the letter K M G T P E, either
 * case) into `*bytes`. Returns 0, or -EINVAL with a text in `err` that quotes the input: empty, negative, trailing
 * characters, a fraction of a byte, or too large for 63 bits. */
int size_parse(const char *text, uint64_t *bytes, struct error *err);

/* Reads "5s", "500ms", "2m", "1h" or plain seconds "5" into milliseconds. Errors as above. */
int duration_parse(const char *text, uint64_t *ms, struct error *err);

/* Writes `bytes` for people into `out` ("0 B", "1.5 GiB", "10 GiB") and returns `out`. 24 bytes are always enough. */
#define SIZE_TEXT_MAX 24
const char *size_format(uint64_t bytes, char out[SIZE_TEXT_MAX]);

#endif
