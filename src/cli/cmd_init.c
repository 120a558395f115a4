/* SPDX-License-Identifier: GPL-3.0-only */
/* cmd_init.c: garner init: makes a pool in a store. */
#include "cli/command.h"
#include "cli/target.h"

#include "base/bytes.h"
#include "base/size.h"
#include "log/types.h"

#include <errno.h>
#include <stdio.h>

static int make_pool(const char *word, const struct target_key *key, uint32_t grain, struct error *err)
{
	const struct store_options options = { .passwd_file = key->passwd_file };
	struct secret *secret = NULL;
	struct pool *pool = NULL;
	char url[PATH_MAX], uuid[UUID_TEXT_BYTES];
	int rc;

	rc = target_url(word, url, err);
	if (rc == 0)
		rc = pool_secret(key->key_file, key->passphrase_file, &secret, err);
	if (rc == 0)
		rc = pool_init(url, &options, secret, grain, err);
	/* Opened again: what cannot be opened now with this key had better be known now. */
	if (rc == 0)
		rc = pool_open(url, &options, secret, &pool, err);
	if (rc == 0)
		printf("%s: made %s pool %s\n", pool->store->url, pool->sealed ? "a sealed" : "a plain (not encrypted)",
		       uuid_format(pool->uuid, uuid));
	pool_close(pool);
	secret_free(secret);
	return rc;
}

int cmd_init(const struct command *c, int argc, char **argv)
{
	struct target_key key = { 0 };
	const char *grain_word = NULL, *store;
	const struct command_option options[] = {
		{ "key-file", &key.key_file, NULL },
		{ "passphrase-file", &key.passphrase_file, NULL },
		{ "passwd-file", &key.passwd_file, NULL },
		{ "grain", &grain_word, NULL },
		{ 0 },
	};
	struct error err = { 0 };
	uint64_t grain = GRAIN_BYTES_MIN;
	int rc = command_parse(c, argc, argv, options, 1, 1, &store);

	if (rc != 0)
		return command_parse_exit(rc);
	if (key.key_file && key.passphrase_file)
		return command_usage(c, "--key-file and --passphrase-file exclude each other");
	if (grain_word && size_parse(grain_word, &grain, &err) < 0)
		return command_usage(c, "--grain: %s", error_text(&err));
	if (!is_power_of_two(grain) || grain < GRAIN_BYTES_MIN || grain > GRAIN_BYTES_MAX)
		return command_usage(c, "--grain %s: it is one of 4K, 8K, 16K, 32K, 64K", grain_word);
	return make_pool(store, &key, (uint32_t)grain, &err) < 0 ? command_failed(c, &err) : EXIT_DONE;
}
