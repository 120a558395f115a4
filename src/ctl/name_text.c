/* SPDX-License-Identifier: GPL-3.0-only */
/* name_text.c: file names, which may hold any bytes, as words of the control protocol: in hex. */
#include "ctl/ctl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void ctl_name_encode(const char *name, char out[CTL_NAME_TEXT_MAX])
{
	size_t n = 0;

	for (; *name && n + 2 < CTL_NAME_TEXT_MAX; name++)
		n += (size_t)snprintf(out + n, 3, "%02x", (unsigned char)*name);
	out[n] = '\0';
}

int ctl_name_decode(const char *text, char name[NAME_BYTES_MAX + 1])
{
	size_t len = strlen(text);
	unsigned byte;

	if (!len || len % 2 || len >= CTL_NAME_TEXT_MAX || strspn(text, "0123456789abcdef") != len)
		return -EPROTO;
	for (size_t k = 0; k < len / 2; k++) {
		if (sscanf(text + 2 * k, "%2x", &byte) != 1 || !byte)
			return -EPROTO;
		name[k] = (char)byte;
	}
	name[len / 2] = '\0';
	return 0;
}
