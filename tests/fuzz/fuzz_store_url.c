/* SPDX-License-Identifier: GPL-3.0-only */
/* fuzz_store_url.c: any text is a store's URL whose parts are what they should be and which is shown as what it
 * means, or is refused with a message. The first byte chooses what is put in front of the text. */
#include "store/store_url.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char *const known[] = { "endpoint", "region", "style", "user", "a", "b" };

#define KNOWN (sizeof known / sizeof known[0])

static bool same(const struct store_url *a, const struct store_url *b)
{
	if (strcmp(a->scheme, b->scheme) != 0 || strcmp(a->container, b->container) != 0 ||
	    strcmp(a->prefix, b->prefix) != 0 || strcmp(a->hosts, b->hosts) != 0)
		return false;
	for (size_t i = 0; i < KNOWN; i++) {
		const char *x = store_url_parameter(a, known[i]), *y = store_url_parameter(b, known[i]);

		if (!x != !y || (x && strcmp(x, y) != 0))
			return false;
	}
	return true;
}

static void check_parts(const struct store_url *u, const char *url)
{
	size_t prefix = strlen(u->prefix);

	bool node = strcmp(u->scheme, "node") == 0;

	if ((strcmp(u->scheme, "s3") != 0 && strcmp(u->scheme, "swift") != 0 && !node) || !*u->container ||
	    (!node && *u->hosts) || (node && *u->prefix) || strpbrk(u->hosts, "/@?\r\n") || strchr(u->container, '/') ||
	    u->prefix[0] == '/' || (prefix && u->prefix[prefix - 1] == '/') || strstr(u->prefix, "//"))
		abort();
	for (size_t i = 0; i < KNOWN; i++) {
		const char *value = store_url_parameter(u, known[i]);

		if (value && (!*value || strpbrk(value, "\r\n") || strlen(value) > strlen(url)))
			abort();
	}
}

static void check(const char *url)
{
	struct store_url u, again;
	struct error err = { 0 };
	int rc = store_url_parse(url, known, KNOWN, &u, &err);

	if (rc < 0) {
		if (rc != -EINVAL || err.code != rc || !*error_text(&err) || strpbrk(err.text, "\r\n") || *u.container)
			abort();
		return;
	}
	check_parts(&u, url);
	if (store_url_parse(store_url_show(&u), known, KNOWN, &again, NULL) != 0 || !same(&u, &again) ||
	    strcmp(store_url_show(&u), store_url_show(&again)) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char *const heads[] = {
		"", "s3://", "swift://", "s3://bucket/", "s3://bucket?", "swift://c/p?a=", "node://h:1,", "node://h:1/"
	};
	const char *head;
	char *url;

	if (len < 1)
		return 0;
	head = heads[data[0] % (sizeof heads / sizeof heads[0])];
	url = malloc(strlen(head) + len);
	if (!url)
		return 0;
	strcpy(url, head);
	memcpy(url + strlen(head), data + 1, len - 1);
	url[strlen(head) + len - 1] = '\0';
	check(url);
	free(url);
	return 0;
}
