/* SPDX-License-Identifier: GPL-3.0-only */
/* cmd_list.c: garner ls: the images of a pool, from its store or through a mount. */
#include "cli/command.h"
#include "cli/image_list.h"
#include "cli/target.h"

#include "base/size.h"

#include <stdio.h>
#include <time.h>

static void print_details(const struct listed_image *image)
{
	char size[SIZE_TEXT_MAX] = "-", used[SIZE_TEXT_MAX] = "-", changed[32] = "-";
	time_t seconds = (time_t)(image->mtime_ns / 1000000000);
	struct tm tm;

	if (image->known) {
		size_format(image->size, size);
		size_format(image->allocated, used);
		if (localtime_r(&seconds, &tm))
			strftime(changed, sizeof changed, "%Y-%m-%d %H:%M", &tm);
	}
	printf("%10s  %10s used  %-16s  ", size, used, changed);
}

static int list_images(const char *word, enum target_kind kind, const struct target_key *key, bool details,
                       struct error *err)
{
	struct image_list list = { 0 };
	struct pool *pool = NULL;
	int rc;

	if (kind == TARGET_STORE) {
		rc = target_open_pool(word, key, &pool, err);
		if (rc == 0)
			rc = image_list_from_store(&list, pool, details, err);
	} else {
		rc = image_list_from_mount(&list, word, err);
	}
	if (rc == 0) {
		image_list_sort(&list);
		for (size_t i = 0; i < list.count; i++) {
			if (details)
				print_details(&list.image[i]);
			command_print(list.image[i].path[0] ? list.image[i].path : word);
			putchar('\n');
		}
	}
	image_list_destroy(&list);
	pool_close(pool);
	return rc;
}

int cmd_ls(const struct command *c, int argc, char **argv)
{
	struct target_key key = { 0 };
	bool details = false;
	const struct command_option options[] = {
		{ "key-file", &key.key_file, NULL },
		{ "passphrase-file", &key.passphrase_file, NULL },
		{ "passwd-file", &key.passwd_file, NULL },
		{ "l", NULL, &details },
		{ 0 },
	};
	struct error err = { 0 };
	enum target_kind kind;
	const char *word;
	int rc = command_parse(c, argc, argv, options, 1, 1, &word);

	if (rc != 0)
		return command_parse_exit(rc);
	rc = target_find(word, &kind, &err);
	if (rc == 0 && kind != TARGET_STORE && target_key_given(&key))
		return command_usage(c, TARGET_KEY_ASTRAY);
	if (rc == 0)
		rc = list_images(word, kind, &key, details, &err);
	return rc < 0 ? command_failed(c, &err) : EXIT_DONE;
}
