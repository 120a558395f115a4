/* SPDX-License-Identifier: GPL-3.0-only */
/* fuzz_size.c: any text is a size or a duration of at most 63 bits, or is refused with a message. */
#include "base/size.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int (*parse)(const char *, uint64_t *, struct error *), const char *text)
{
	struct error err = { 0 };
	uint64_t value = UINT64_MAX;
	int rc = parse(text, &value, &err);

	if (rc == 0 ? value > INT64_MAX : rc != -EINVAL || value != UINT64_MAX || err.code != rc || !*error_text(&err))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char out[SIZE_TEXT_MAX];
	uint64_t bytes = 0;
	char *text = malloc(len + 1);

	if (!text)
		return 0;
	memcpy(text, data, len);
	text[len] = '\0';
	check(size_parse, text);
	check(duration_parse, text);
	free(text);

	memcpy(&bytes, data, len < sizeof bytes ? len : sizeof bytes);
	if (strlen(size_format(bytes, out)) >= sizeof out)
		abort();
	return 0;
}
